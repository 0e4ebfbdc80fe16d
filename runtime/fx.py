"""`chainrule.fx`: the marks that programs put on functions for PyTorch's tracer. There is no tracer."""

from __future__ import annotations

from typing import Any

__all__ = ["GraphModule", "Tracer", "symbolic_trace", "wrap"]


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


class Tracer:
    """PyTorch's base class for tracers; NotImplementedError when one is made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        symbolic_trace(None)


class GraphModule:
    """PyTorch's traced module; `isinstance` is False for all modules here, and NotImplementedError for a new one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        symbolic_trace(None)
