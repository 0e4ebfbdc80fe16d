"""`chainrule.fx`: modules as graphs of calls, which programs look at, change, and run again.

`symbolic_trace(module)` calls the module with proxies in the place of tensors. What is done to these is noted in a
`Graph`; modules of `chainrule.nn` are noted as they are. A GraphModule runs the graph by the Python that is made of it.
What depends on values (an `if` on a tensor) cannot be traced, and says so.
"""

from __future__ import annotations

import builtins
import dis
import inspect
import operator
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from ..autograd import Tensor
from ..autograd.overrides import PUBLIC, activate
from ..nn import Module, Parameter
from .fx_graph import _SIGNS, Graph, Node, map_aggregate, map_arg
from .fx_module import GraphModule, Interpreter, Transformer

__all__ = [
    "Graph",
    "GraphModule",
    "Interpreter",
    "Node",
    "Proxy",
    "TraceError",
    "Tracer",
    "Transformer",
    "map_aggregate",
    "map_arg",
    "symbolic_trace",
    "wrap",
]

_NN = f"{__name__.partition('.')[0]}.nn"
#: functions that are called and not traced into: (globals of their module, name)
_wrapped: list[tuple[dict[str, Any], str]] = []
_lock = threading.RLock()


class TraceError(ValueError):
    """What a module does depends on values, which a tracer has not."""


class Proxy:
    """What stands for the result of `node` while a module is traced: calls and operators on it become nodes.

    tracer: what makes them.
    """

    def __init__(self, node: Node, tracer: Tracer | None = None) -> None:
        self.node, self.tracer = node, tracer or Tracer._of(node.graph)

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, k: str) -> Any:
        return Attribute(self, k)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __getitem__(self, index: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.getitem, (self, index), {})

    def __iter__(self) -> Any:
        frame: Any = sys._getframe(1)
        code, at = frame.f_code.co_code, frame.f_lasti
        names = _unpacked(code, at)
        if names is not None:  # a, b = x
            return (self[i] for i in range(names))
        raise TraceError(
            "Proxy object cannot be iterated. This can be attempted when the Proxy is used in a loop or as a *args or "
            "**kwargs function argument"
        )

    def __bool__(self) -> bool:
        raise TraceError("symbolically traced variables cannot be used as inputs to control flow")

    def __len__(self) -> int:
        raise RuntimeError("'len' is not supported in symbolic tracing: ask for x.shape[0], or wrap('len')")

    __index__ = __int__ = __float__ = __bool__  # type: ignore[assignment]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found: list[Proxy] = []
        map_aggregate((args, kwargs or {}), lambda x: found.append(x) if isinstance(x, Proxy) else x)
        name = PUBLIC.get(func, "")
        if name.startswith("Tensor."):
            return found[0].tracer.create_proxy("call_method", func.__name__, args, kwargs or {})
        return found[0].tracer.create_proxy("call_function", func, args, kwargs or {})


def _unpacked(code: bytes, at: int) -> int | None:
    """Into how many names the instruction at `at` unpacks, if it does."""
    return code[at + 1] if dis.opname[code[at]] == "UNPACK_SEQUENCE" else None


def _operators() -> None:
    def forward(function: Any) -> Any:
        return lambda self, *rest: self.tracer.create_proxy("call_function", function, (self, *rest), {})

    def reflected(function: Any) -> Any:
        return lambda self, other: self.tracer.create_proxy("call_function", function, (other, self), {})

    for name in (*_SIGNS, "neg", "invert", "pos", "abs"):
        function, plain = getattr(operator, name), name.rstrip("_")
        setattr(Proxy, f"__{plain}__", forward(function))
        if plain not in ("eq", "ne", "lt", "le", "gt", "ge", "neg", "invert", "pos", "abs"):
            setattr(Proxy, f"__r{plain}__", reflected(function))
    Proxy.__hash__ = object.__hash__  # type: ignore[method-assign]


_operators()


class Attribute(Proxy):
    """`x.name` of a proxy: a method that is called, or, once it is used, a value."""

    def __init__(self, root: Proxy, attr: str) -> None:
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]
        """The node that reads the attribute, made when it is asked for."""
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class Tracer:
    """Makes graphs of modules. Subclasses say by `is_leaf_module` into which modules it does not look.

    autowrap_functions: functions that are noted as one call, as those of `wrap`. autowrap_modules: modules all of whose
    functions are. param_shapes_constant: PyTorch's, without effect.
    """

    def __init__(
        self, autowrap_modules: Any = (), autowrap_functions: Any = (), param_shapes_constant: bool = False
    ) -> None:
        self.graph = Graph()
        self.root: Any = None
        self._wrapped = [(vars(m), n) for m in autowrap_modules for n, f in vars(m).items() if inspect.isroutine(f)]
        self._wrapped += [(f.__globals__, f.__name__) for f in autowrap_functions]

    @staticmethod
    def _of(graph: Graph) -> Tracer:
        tracer = Tracer()
        tracer.graph, tracer.root = graph, graph.owning_module
        return tracer

    # -- what subclasses override -------------------------------------------------------------------------------------

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether a module is noted as one call: those of chainrule.nn are, containers apart."""
        return type(m).__module__.startswith(_NN) and not type(m).__module__.endswith(".container")

    def call_module(self, m: Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """What the call of the module `m` gives; `forward` calls it."""
        path = self.path_of_module(m)
        if self.is_leaf_module(m, path):
            return self.create_proxy("call_module", path, args, kwargs)
        return forward(*args, **kwargs)

    def path_of_module(self, mod: Module) -> str:
        """The path of a module from the root. NameError where it is not in there."""
        for name, m in self.root.named_modules():  # type: ignore[attr-defined]
            if m is mod:
                return name
        raise NameError("module is not installed as a submodule")

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any, name: str | None = None) -> Node:
        """A node at the end of the graph."""
        return self.graph.create_node(kind, target, args, kwargs, name)

    def proxy(self, node: Node) -> Proxy:
        """The proxy for a node."""
        return Proxy(node, self)

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, name: str | None = None, type_expr: Any = None
    ) -> Proxy:
        """The proxy for a new node whose arguments may hold proxies. type_expr: for the node's `type`."""
        node = self.create_node(kind, target, self.create_arg(tuple(args)), self.create_arg(dict(kwargs)), name)
        node.type = type_expr
        return self.proxy(node)

    def create_arg(self, a: Any) -> Any:
        """An argument as graphs hold it: nodes for proxies, paths for tensors of the module."""
        if isinstance(a, (tuple, list, dict, slice)):
            return map_aggregate(a, self.create_arg)
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, Tensor):
            return self.create_node("get_attr", self._path_of(a), (), {})
        if isinstance(a, Module):
            return self.create_node("get_attr", self.path_of_module(a), (), {})
        return a

    def _path_of(self, t: Tensor) -> str:
        root: Any = self.root
        for name, x in (*root.named_parameters(), *root.named_buffers()):
            if x is t:
                return name
        for name, x in vars(root).items():
            if x is t:
                return name
        number = 0
        while hasattr(root, f"_tensor_constant{number}"):
            number += 1
        setattr(root, f"_tensor_constant{number}", t)
        return f"_tensor_constant{number}"

    # -- tracing ------------------------------------------------------------------------------------------------------

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> Graph:
        """The graph of a module or a function `root`. concrete_args: values of arguments that are no inputs."""
        activate()
        self.root, function = (root, root.forward) if isinstance(root, Module) else (Module(), root)
        self.graph = Graph()
        args, kwargs = self._placeholders(function, concrete_args or {})
        with _lock, self._intercepted():
            result = function(*args, **kwargs)
        self.graph.output(self.create_arg(result))
        return self.graph

    def _placeholders(self, function: Any, concrete: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, p in inspect.signature(function).parameters.items():
            default = concrete.get(name, p.default)
            given = () if default is p.empty else (default,)
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                continue  # none are given
            proxy = self.create_proxy("placeholder", name, given, {})
            value = concrete.get(name, proxy)
            if p.kind is p.KEYWORD_ONLY:
                kwargs[name] = value
            else:
                args.append(value)
        return args, kwargs

    @contextmanager
    def _intercepted(self) -> Any:
        """A block in which modules are called by `call_module`, and their parameters are nodes."""
        call, tracer, path = Module.__call__, self, {id(p): n for n, p in self.root.named_parameters()}  # type: ignore[attr-defined]
        seen: dict[str, Proxy] = {}

        def called(module: Module, *args: Any, **kwargs: Any) -> Any:
            return tracer.call_module(module, lambda *a, **k: call(module, *a, **k), args, kwargs)

        def read(module: Module, name: str) -> Any:
            found = object.__getattribute__(module, name)
            if type(found) is Parameter and id(found) in path:
                where = path[id(found)]
                if where not in seen:
                    seen[where] = tracer.create_proxy("get_attr", where, (), {})
                return seen[where]
            return found

        kept = []
        for names, name in (*_wrapped, *self._wrapped):
            kept.append((names, name, names.get(name)))
            names[name] = _leaf(names.get(name) or getattr(builtins, name))
        Module.__call__ = called  # type: ignore[method-assign,assignment]
        Module.__getattribute__ = read  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            Module.__call__ = call  # type: ignore[method-assign]
            del Module.__getattribute__
            for names, name, function in reversed(kept):
                if function is None:
                    del names[name]
                else:
                    names[name] = function


def _leaf(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that becomes a node where a proxy is among its arguments."""

    def call(*args: Any, **kwargs: Any) -> Any:
        found: list[Proxy] = []
        map_aggregate((args, kwargs), lambda x: found.append(x) if isinstance(x, Proxy) else x)
        return (
            found[0].tracer.create_proxy("call_function", function, args, kwargs)
            if found
            else function(*args, **kwargs)
        )

    return call


def symbolic_trace(root: Any, concrete_args: dict[str, Any] | None = None) -> GraphModule:
    """The module or function `root` as a GraphModule.

    concrete_args: values of arguments that are no inputs of the graph. TraceError where a condition or a loop depends
    on what is traced.
    """
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, Module) else root.__name__
    return GraphModule(tracer.root, graph, name)


def wrap(fn_or_name: Any) -> Any:
    """Let a function of the calling module, given itself or by its name, be noted as one call and not traced into.

    A decorator; it returns what it was given.
    """
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError(
            f"Unsupported type for global function! Must be either a callable or string name: {fn_or_name}"
        )
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    _wrapped.append((sys._getframe(1).f_globals, name))
    return fn_or_name
