"""Graphs of `chainrule.fx`: what a program does to its inputs as a list of calls, and as Python again."""

from __future__ import annotations

import builtins
import importlib
import keyword
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..autograd import Size, dtype
from ..autograd.overrides import PUBLIC

__all__ = ["Graph", "Node", "map_aggregate", "map_arg"]

#: functions of the module operator -> how they are written
_NAMES = "add sub mul floordiv truediv mod pow matmul lshift rshift and_ or_ xor eq ne lt le gt ge"
_SIGNS = dict(zip(_NAMES.split(), "+ - * // / % ** @ << >> & | ^ == != < <= > >=".split(), strict=True))  # noqa: SIM905
_PACKAGE = __name__.partition(".")[0]


def map_aggregate(a: Any, fn: Callable[[Any], Any]) -> Any:
    """`a` with `fn` applied to all that tuples, lists, dicts and slices in it hold."""
    if isinstance(a, tuple):
        made = [map_aggregate(x, fn) for x in a]
        return type(a)(*made) if hasattr(a, "_fields") else tuple(made)
    if isinstance(a, list):
        return [map_aggregate(x, fn) for x in a]
    if isinstance(a, dict):
        return {k: map_aggregate(v, fn) for k, v in a.items()}
    if isinstance(a, slice):
        return slice(*[map_aggregate(x, fn) for x in (a.start, a.stop, a.step)])
    return fn(a)


def map_arg(a: Any, fn: Callable[[Node], Any]) -> Any:
    """`a` with `fn` applied to the nodes in it."""
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


class Node:
    """One step of a graph: `op` is placeholder, get_attr, call_function, call_method, call_module or output.

    `target` is the function, or the name of the argument, the attribute, the method or the module. `args` and `kwargs`
    hold nodes where results of other steps go in; assign them to change that. `users` are the nodes that take this
    one's result, `meta` is for programs.
    """

    def __init__(self, graph: Graph, name: str, op: str, target: Any, args: Any, kwargs: Any) -> None:
        self.graph, self.name, self.op, self.target = graph, name, op, target
        self.users: dict[Node, None] = {}
        self.meta: dict[str, Any] = {}
        self.type: Any = None
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._set(args, kwargs)

    def _set(self, args: Any, kwargs: Any) -> None:
        for node in self.all_input_nodes:
            node.users.pop(self, None)
        self._args, self._kwargs = tuple(args), dict(kwargs)
        for node in self.all_input_nodes:
            node.users[self] = None

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""
        return self._args

    @args.setter
    def args(self, args: Any) -> None:
        self._set(args, self._kwargs)

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments by keyword."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: Any) -> None:
        self._set(self._args, kwargs)

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes whose results this one takes, each once."""
        found: dict[Node, None] = {}
        map_arg((self._args, self._kwargs), lambda n: found.setdefault(n))
        return list(found)

    @property
    def next(self) -> Node:
        """The node after this one."""
        nodes = self.graph._nodes
        return nodes[nodes.index(self) + 1]

    @property
    def prev(self) -> Node:
        """The node before this one."""
        nodes = self.graph._nodes
        return nodes[nodes.index(self) - 1]

    def update_arg(self, idx: int, arg: Any) -> None:
        """Put another one in the place of the positional argument `idx`."""
        self.args = (*self._args[:idx], arg, *self._args[idx + 1 :])

    def update_kwarg(self, key: str, arg: Any) -> None:
        """Put another one in the place of the argument `key`."""
        self.kwargs = {**self._kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Take the result of `new_input` wherever this node took that of `old_input`."""
        args, kwargs = map_arg((self._args, self._kwargs), lambda n: new_input if n is old_input else n)
        self._set(args, kwargs)

    def replace_all_uses_with(self, replace_with: Node, delete_user_cb: Any = lambda user: True) -> list[Node]:
        """Let all users of this node take the result of `replace_with`; those that changed. delete_user_cb: which."""
        users = [u for u in self.users if u is not replace_with and delete_user_cb(u)]
        for user in users:
            user.replace_input_with(self, replace_with)
        return users

    def append(self, x: Node) -> None:
        """Move the node `x` to the place after this one."""
        self.graph._nodes.remove(x)
        self.graph._nodes.insert(self.graph._nodes.index(self) + 1, x)

    def prepend(self, x: Node) -> None:
        """Move the node `x` to the place before this one."""
        self.graph._nodes.remove(x)
        self.graph._nodes.insert(self.graph._nodes.index(self), x)

    def is_impure(self) -> bool:
        """Whether it stays though nobody takes its result."""
        return self.op in ("placeholder", "output") or (self.op == "call_method" and self.target.endswith("_"))

    def format_node(self) -> str:
        """The node in a line, as `print(graph)` shows it."""
        if self.op == "output":
            return f"return {self._args[0]}"
        shown = f"%{self.name} : [num_users={len(self.users)}] = {self.op}[target={_shown(self.target)}]"
        if self.op in ("placeholder", "get_attr"):
            return shown
        return f"{shown}(args = {_plain(self._args)}, kwargs = {_plain(self._kwargs)})"

    def __repr__(self) -> str:
        return self.name


def _plain(x: Any) -> str:
    """An argument as nodes show it."""
    if isinstance(x, Node):
        return f"%{x.name}"
    if type(x) is tuple:
        return f"({', '.join(map(_plain, x))}{',' if len(x) == 1 else ''})"
    if type(x) is list:
        return f"[{', '.join(map(_plain, x))}]"
    if type(x) is dict:
        return f"{{{', '.join(f'{k}: {_plain(v)}' for k, v in x.items())}}}"
    return str(x)


def _shown(target: Any) -> str:
    if isinstance(target, str):
        return target
    module = getattr(target, "__module__", "").removeprefix("_")
    return f"{_PACKAGE}.{PUBLIC[target]}" if target in PUBLIC else f"{module}.{target.__name__}"


class Graph:
    """A list of nodes (`nodes`), from placeholders to the output, with ways to change it.

    owning_module: the GraphModule that runs it. After changes call its `recompile()`. tracer_cls, tracer_extras:
    PyTorch's, without effect.
    """

    def __init__(self, owning_module: Any = None, tracer_cls: Any = None, tracer_extras: Any = None) -> None:
        self.owning_module = owning_module
        self._nodes: list[Node] = []
        self._names: set[str] = set()
        self._before: Node | None = None

    @property
    def nodes(self) -> list[Node]:
        """The nodes in their order; a list of its own, so that nodes may be put in and erased in a loop over it."""
        return list(self._nodes)

    # -- making -------------------------------------------------------------------------------------------------------

    def _name(self, candidate: str) -> str:
        candidate = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", re.sub(r"\W", "_", candidate)).lower().strip("_") or "value"
        candidate = f"_{candidate}" if candidate[0].isdigit() else candidate
        name, base, count = candidate, re.sub(r"_\d+$", "", candidate), 0
        while name in self._names or keyword.iskeyword(name) or hasattr(builtins, name):
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name

    def create_node(
        self, op: str, target: Any, args: Any = (), kwargs: Any = None, name: str | None = None, type_expr: Any = None
    ) -> Node:
        """A new node at the end, or where `inserting_before` or `inserting_after` says. type_expr: for its `type`."""
        candidate = name or (target if isinstance(target, str) else target.__name__)
        node = Node(self, self._name(candidate), op, target, args, kwargs or {})
        node.type = type_expr
        at = len(self._nodes) if self._before is None else self._nodes.index(self._before)
        self._nodes.insert(at, node)
        return node

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = ...) -> Node:
        """A node for an argument of the program."""
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """A node for an attribute of the module, as "layer.weight"."""
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_function(self, the_function: Any, args: Any = (), kwargs: Any = None, type_expr: Any = None) -> Node:
        """A node for the call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, type_expr=type_expr)

    def call_method(self, method_name: str, args: Any = (), kwargs: Any = None, type_expr: Any = None) -> Node:
        """A node for the call of a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_module(self, module_name: str, args: Any = (), kwargs: Any = None, type_expr: Any = None) -> Node:
        """A node for the call of a module of the owning one."""
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def output(self, result: Any, type_expr: Any = None) -> Node:
        """The node for what the program returns."""
        return self.create_node("output", "output", (result,), type_expr=type_expr)

    def output_node(self) -> Node:
        """The node for what the program returns."""
        return next(n for n in reversed(self._nodes) if n.op == "output")

    def find_nodes(self, *, op: str, target: Any = None, sort: bool = True) -> list[Node]:
        """The nodes with this `op`, and this target where one is given, in their order."""
        return [n for n in self._nodes if n.op == op and (target is None or n.target == target)]

    @contextmanager
    def inserting_before(self, n: Node | None = None) -> Iterator[None]:
        """A block in which new nodes come before `n` (before all)."""
        before, self._before = self._before, n or self._nodes[0]
        try:
            yield
        finally:
            self._before = before

    @contextmanager
    def inserting_after(self, n: Node | None = None) -> Iterator[None]:
        """A block in which new nodes come after `n` (before all)."""
        at = 0 if n is None else self._nodes.index(n) + 1
        with self.inserting_before(self._nodes[at]) if at < len(self._nodes) else self._at_end():
            yield

    @contextmanager
    def _at_end(self) -> Iterator[None]:
        before, self._before = self._before, None
        try:
            yield
        finally:
            self._before = before

    # -- changing -----------------------------------------------------------------------------------------------------

    def erase_node(self, to_erase: Node) -> None:
        """Take a node out. RuntimeError where others take its result."""
        if to_erase.users:
            raise RuntimeError(
                f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in the graph: "
                f"{to_erase.users}!"
            )
        if to_erase in self._nodes:
            self._nodes.remove(to_erase)
        to_erase._set((), {})

    def eliminate_dead_code(self, is_impure_node: Any = None) -> bool:
        """Take out all nodes whose results nobody takes; whether there were any. is_impure_node: which stay."""
        before = len(self._nodes)
        for node in reversed(self.nodes):
            if not node.users and not (is_impure_node or Node.is_impure)(node):
                self.erase_node(node)
        return len(self._nodes) < before

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Any] = lambda n: n) -> Node:
        """A copy of another graph's node. arg_transform: this graph's node in the place of one of the other's."""
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        made = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        made.meta = dict(node.meta)
        return made

    def graph_copy(self, g: Graph, val_map: dict[Node, Any], return_output_node: bool = False) -> Any:
        """Copy all nodes of `g` into this graph, the output apart, whose value is returned.

        val_map: what stands for a node of `g`; it is filled in. return_output_node: with the output's node.
        """
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                found = map_arg(node.args[0], lambda n: val_map[n])
                return (found, node) if return_output_node else found
            val_map[node] = self.node_copy(node, lambda n: val_map[n])
        return None

    def __deepcopy__(self, memo: Any = None) -> Graph:
        made, known = Graph(), dict[Node, Node]()
        for node in self._nodes:
            known[node] = made.node_copy(node, lambda n: known[n])
        return made

    def lint(self) -> None:
        """RuntimeError where a node takes the result of a later one, or the module has not what a node names."""
        seen: set[Node] = set()
        for node in self._nodes:
            for source in node.all_input_nodes:
                if source not in seen:
                    raise RuntimeError(f"Argument '{source}' of Node '{node}' was used before it has been defined!")
            seen.add(node)
            if node.op in ("call_module", "get_attr") and self.owning_module is not None:
                at = self.owning_module
                for part in node.target.split("."):
                    if not hasattr(at, part):
                        raise RuntimeError(f"Node {node} target {node.target} references nonexistent attribute {part}")
                    at = getattr(at, part)

    # -- text ---------------------------------------------------------------------------------------------------------

    def python_code(self, root_module: str = "self") -> tuple[str, dict[str, Any]]:
        """The program as a function `forward` in Python, and the globals that it needs. root_module: what `self` is."""
        known: dict[str, Any] = {}
        lines = []
        last = {source: node for node in self._nodes for source in node.all_input_nodes}
        arguments = [root_module]

        def text(x: Any) -> str:
            return _text(x, known)

        for node in self._nodes:
            if node.op == "placeholder":
                stars = re.match(r"\**", node.target)[0]  # type: ignore[index]
                arguments.append(f"{stars}{node.name}" + (f" = {text(node.args[0])}" if node.args else ""))
                continue
            given = ", ".join([*map(text, node.args), *[f"{k} = {text(v)}" for k, v in node.kwargs.items()]])
            if node.op == "output":
                lines.append(f"return {text(node.args[0])}")
                continue
            if node.op == "get_attr":
                line = f"{_attribute(root_module, node.target)}"
            elif node.op == "call_module":
                line = f"{_attribute(root_module, node.target)}({given})"
            elif node.op == "call_method":
                first, *rest = [*map(text, node.args), *[f"{k} = {text(v)}" for k, v in node.kwargs.items()]]
                line = f"{first}.{node.target}({', '.join(rest)})"
            else:
                line = _call(node, text, given, known)
            done = [s.name for s in node.all_input_nodes if last[s] is node]
            lines.append(f"{node.name} = {line}" + (f";  {' = '.join(done)} = None" if done else ""))
        body = "\n".join(f"    {line}" for line in lines or ["pass"])
        return f"def forward({', '.join(arguments)}):\n{body}\n", known

    def print_tabular(self) -> None:
        """Print the nodes as a table."""
        rows = [("opcode", "name", "target", "args", "kwargs")]
        rows += [(n.op, n.name, _shown(n.target), str(n.args), str(n.kwargs)) for n in self._nodes]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        rows.insert(1, tuple(["-" * w for w in widths]))  # type: ignore[arg-type]
        print("\n".join("  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip() for row in rows))  # noqa: T201

    def __str__(self) -> str:
        return "graph():\n" + "\n".join(f"    {node.format_node()}" for node in self._nodes)


def _attribute(root: str, path: str) -> str:
    """`root.layer.0` as Python has it."""
    for part in path.split("."):
        root = f"{root}.{part}" if part.isidentifier() else f'getattr({root}, "{part}")'
    return root


def _call(node: Node, text: Callable[[Any], str], given: str, known: dict[str, Any]) -> str:
    target = node.target
    if getattr(target, "__module__", "") in ("_operator", "operator") and not node.kwargs:
        values, name = [text(x) for x in node.args], target.__name__
        if name in _SIGNS and len(values) == 2:
            return f"{values[0]} {_SIGNS[name]} {values[1]}"
        if name == "getitem":
            return f"{values[0]}[{values[1]}]"
        if name in ("neg", "invert", "pos"):
            return {"neg": "-", "invert": "~", "pos": "+"}[name] + values[0]
    if target is getattr and len(node.args) == 2 and str(node.args[1]).isidentifier():
        return f"{text(node.args[0])}.{node.args[1]}"
    return f"{_global(target, known)}({given})"


def _global(x: Any, known: dict[str, Any]) -> str:
    """The name by which the code knows a function or an object."""
    path = PUBLIC.get(x) if callable(x) else None
    if path is not None and not path.startswith("Tensor."):
        known[_PACKAGE] = importlib.import_module(_PACKAGE)
        return f"{_PACKAGE}.{path}"
    name = getattr(x, "__name__", type(x).__name__.lower())
    if getattr(builtins, name, None) is x:
        return name
    base = re.sub(r"\W", "_", f"_{getattr(x, '__module__', '')}_{name}")  # nodes' names begin with letters
    name, number = base, 0
    while known.get(name, x) is not x:
        number += 1
        name = f"{base}_{number}"
    known[name] = x
    return name


def _text(x: Any, known: dict[str, Any]) -> str:
    """An argument as Python."""
    if isinstance(x, Node):
        return x.name
    if isinstance(x, Size):
        return f"({''.join(f'{n}, ' for n in x)})"
    if isinstance(x, tuple) and not hasattr(x, "_fields"):
        return f"({', '.join(_text(v, known) for v in x)}{',' if len(x) == 1 else ''})"
    if isinstance(x, list):
        return f"[{', '.join(_text(v, known) for v in x)}]"
    if isinstance(x, dict):
        return f"{{{', '.join(f'{k!r}: {_text(v, known)}' for k, v in x.items())}}}"
    if isinstance(x, slice):
        return f"slice({', '.join(_text(v, known) for v in (x.start, x.stop, x.step))})"
    if isinstance(x, float) and not math.isfinite(x):
        return f'float("{x}")'
    if x is None or x is Ellipsis or isinstance(x, (bool, int, float, complex, str, bytes)):
        return repr(x) if x is not Ellipsis else "..."
    if isinstance(x, dtype):
        known[_PACKAGE] = importlib.import_module(_PACKAGE)
        return repr(x)
    return _global(x, known)
