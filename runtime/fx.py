"""`chainrule.fx`: the marks that programs put on functions for PyTorch's tracer. There is no tracer."""

from __future__ import annotations

from typing import Any

__all__ = [
    "Graph",
    "GraphModule",
    "Interpreter",
    "Node",
    "Proxy",
    "Tracer",
    "Transformer",
    "symbolic_trace",
    "wrap",
]


def wrap(fn_or_name: Any) -> Any:
    """The function, or its name, itself: it would be called and not traced into."""
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError(
            f"Unsupported type for global function! Must be either a callable or string name: {fn_or_name}"
        )
    return fn_or_name


def symbolic_trace(root: Any, concrete_args: Any = None) -> Any:
    """NotImplementedError: modules are not traced into graphs, whatever root and concrete_args are."""
    raise NotImplementedError(
        "chainrule has no symbolic tracer. To look at a model's intermediate results, register forward hooks on its "
        "modules; to change it, replace the modules"
    )


class _Absent:
    """A class to derive from and to ask for with `isinstance`; NotImplementedError when one is made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        symbolic_trace(None)


class Tracer(_Absent):
    """PyTorch's base class for tracers; NotImplementedError when one is made."""


class GraphModule(_Absent):
    """PyTorch's traced module; `isinstance` is False for all modules here, and NotImplementedError for a new one."""


class Graph(_Absent):
    """What PyTorch's tracer makes of a module; NotImplementedError when one is made."""


class Node(_Absent):
    """One call in PyTorch's `Graph`; NotImplementedError when one is made."""


class Proxy(_Absent):
    """What PyTorch's tracer calls a module with; `isinstance` is False for all tensors here."""


class Interpreter(_Absent):
    """PyTorch's base class of what runs a graph node by node; NotImplementedError when one is made."""


class Transformer(Interpreter):
    """PyTorch's base class of what makes one graph of another; NotImplementedError when one is made."""
