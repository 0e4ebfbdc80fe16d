"""Modules made of graphs of `chainrule.fx`, and what runs graphs node by node."""

from __future__ import annotations

import copy
import linecache
import types
from collections.abc import Iterator
from itertools import count
from typing import Any

from ..nn import Module
from .fx_graph import Graph, Node, map_arg

__all__ = ["GraphModule", "Interpreter", "Transformer"]

_numbers = count()


def _attribute(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = getattr(root, part)
    return root


class GraphModule(Module):
    """A module whose `forward` is the Python of its graph.

    root: a module, or a dict of modules and tensors by their paths; what the graph names is taken from it. graph: the
    program, later the attribute `graph`: call `recompile()` after changes of it. class_name: what it prints.
    """

    def __init__(self, root: Any, graph: Graph, class_name: str = "GraphModule") -> None:
        super().__init__()
        self._class_name = class_name
        if isinstance(root, Module):
            self.training = root.training
        for node in graph.nodes:
            if node.op in ("get_attr", "call_module"):
                found = root[node.target] if isinstance(root, dict) else _attribute(root, node.target)
                self._put(node.target, found)
        self.graph = graph

    def _put(self, path: str, value: Any) -> None:
        *above, name = path.split(".")
        at: Any = self
        for part in above:
            if not hasattr(at, part):
                setattr(at, part, Module())
            at = getattr(at, part)
        if not hasattr(at, name):
            if isinstance(value, Module) or not hasattr(value, "requires_grad") or value.requires_grad:
                setattr(at, name, value)
            else:
                at.register_buffer(name, value)

    @property
    def graph(self) -> Graph:
        """The program."""
        return vars(self)["_graph"]

    @graph.setter
    def graph(self, graph: Graph) -> None:
        vars(self)["_graph"] = graph
        graph.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The Python of `forward`."""
        return vars(self)["_code"]

    def recompile(self) -> str:
        """Make `forward` anew of the graph as it is now; its code."""
        code, known = self.graph.python_code("self")
        file = f"<fx graph {next(_numbers)}>"
        linecache.cache[file] = (len(code), None, code.splitlines(True), file)  # for what errors quote
        exec(compile(code, file, "exec"), known)
        vars(self)["_code"] = code
        vars(self)["forward"] = types.MethodType(known["forward"], self)
        return code

    def add_submodule(self, target: str, m: Module) -> bool:
        """Put the module `m` at a path; False where something else stands on the way."""
        at: Any = self
        for part in target.split(".")[:-1]:
            if not hasattr(at, part):
                setattr(at, part, Module())
            at = getattr(at, part)
            if not isinstance(at, Module):
                return False
        setattr(at, target.rpartition(".")[2], m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Take the module at a path out; whether there was one."""
        above, _, name = target.rpartition(".")
        at = self.get_submodule(above) if above else self
        if not isinstance(getattr(at, name, None), Module):
            return False
        delattr(at, name)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Take out the modules that the graph does not call."""
        used = {n.target for n in self.graph.nodes if n.op in ("call_module", "get_attr")}
        for path, _ in list(self.named_modules()):
            if path and not any(u == path or u.startswith(f"{path}.") or path.startswith(f"{u}.") for u in used):
                self.delete_submodule(path)

    def print_readable(self, print_output: bool = True, **options: Any) -> str:
        """The code as a class; print_output: printed, too."""
        body = "\n".join(f"    {line}" for line in self.code.splitlines())
        text = f"class {self._class_name}(Module):\n{body}\n"
        if print_output:
            print(text)  # noqa: T201
        return text

    def _get_name(self) -> str:
        return self._class_name

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphModule:
        held = {n.target: _attribute(self, n.target) for n in self.graph.nodes if n.op in ("get_attr", "call_module")}
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        GraphModule.__init__(made, copy.deepcopy(held, memo), copy.deepcopy(self.graph), self._class_name)
        made.training = self.training
        return made

    def __str__(self) -> str:
        return f"{super().__repr__()}\n\n\n\n{self.code}"


class Interpreter:
    """Runs a graph node by node: subclasses override what is done for a node.

    module: a GraphModule, or with `graph` any module that has what the graph names. garbage_collect_values: results are
    let go after their last use.
    """

    def __init__(self, module: Any, garbage_collect_values: bool = True, graph: Graph | None = None) -> None:
        self.module, self.graph = module, module.graph if graph is None else graph
        self.submodules = dict(module.named_modules())
        self.garbage_collect_values = garbage_collect_values
        self.env: dict[Node, Any] = {}

    def run(self, *args: Any, initial_env: dict[Node, Any] | None = None, enable_io_processing: bool = True) -> Any:
        """The result for the arguments. initial_env: results that are there already, by node."""
        self.env = dict(initial_env or {})
        self.args_iter: Iterator[Any] = iter(args)
        nodes = self.graph.nodes
        last = {source: node for node in nodes for source in node.all_input_nodes}
        for node in nodes:
            if node not in self.env:
                self.env[node] = self.run_node(node)
            if node.op == "output":
                return self.env[node]
            if self.garbage_collect_values:
                for source in node.all_input_nodes:
                    if last[source] is node:
                        self.env.pop(source, None)
        return None

    def run_node(self, n: Node) -> Any:
        """The result of the node `n`."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return getattr(self, n.op)(n.target, args, kwargs)

    def placeholder(self, target: str, args: Any, kwargs: Any) -> Any:
        """The next argument of `run`; the default where there is none left."""
        if target.startswith("*"):
            return list(self.args_iter)
        try:
            return next(self.args_iter)
        except StopIteration:
            if args:
                return args[0]
            message = f"Expected positional argument for parameter {target}, but one was not passed in!"
            raise RuntimeError(message) from None

    def get_attr(self, target: str, args: Any, kwargs: Any) -> Any:
        """The attribute of the module at the path `target`."""
        return self.fetch_attr(target)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """The result of a function."""
        return target(*args, **kwargs)

    def call_method(self, target: str, args: Any, kwargs: Any) -> Any:
        """The result of a method of the first argument."""
        self_obj, *rest = args
        return getattr(self_obj, target)(*rest, **kwargs)

    def call_module(self, target: str, args: Any, kwargs: Any) -> Any:
        """The result of the module at the path `target`."""
        return self.fetch_attr(target)(*args, **kwargs)

    def output(self, target: Any, args: Any, kwargs: Any) -> Any:
        """What the program returns."""
        return args[0]

    def fetch_attr(self, target: str) -> Any:
        """The attribute of the module at a path."""
        return _attribute(self.module, target)

    def fetch_args_kwargs_from_env(self, n: Node) -> Any:
        """The arguments of the node `n`, with the results of other nodes in them."""
        return self.map_nodes_to_values(n.args, n), self.map_nodes_to_values(n.kwargs, n)

    def map_nodes_to_values(self, args: Any, n: Node) -> Any:
        """`args` with results in the place of nodes; n: whose arguments they are."""
        return map_arg(args, lambda node: self.env[node])


class Transformer(Interpreter):
    """Makes one graph of another: its methods return proxies, and `transform()` a GraphModule of what they called."""

    def __init__(self, module: Any) -> None:
        from .fx import Tracer

        super().__init__(module)
        self.new_graph = Graph()
        self.tracer = Tracer()
        self.tracer.graph, self.tracer.root = self.new_graph, module

    def placeholder(self, target: str, args: Any, kwargs: Any) -> Any:
        """A proxy for an argument of the new graph."""
        return self.tracer.create_proxy("placeholder", target, args, kwargs)

    def get_attr(self, target: str, args: Any, kwargs: Any) -> Any:
        """A proxy for an attribute."""
        return self.tracer.create_proxy("get_attr", target, args, kwargs)

    def call_module(self, target: str, args: Any, kwargs: Any) -> Any:
        """A proxy for the result of a module."""
        return self.tracer.create_proxy("call_module", target, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A proxy for the result of a function."""
        return self.tracer.create_proxy("call_function", target, args, kwargs)

    def transform(self) -> GraphModule:
        """The new module, with the modules of the old one."""
        result = self.run()
        self.new_graph.output(self.tracer.create_arg(result))
        return GraphModule(self.module, self.new_graph)
