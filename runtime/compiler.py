"""`chainrule.compile` and `chainrule.compiler`: programs that ask for compilation run as they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "allow_in_graph",
    "assume_constant_result",
    "compile",
    "cudagraph_mark_step_begin",
    "disable",
    "is_compiling",
    "is_dynamo_compiling",
    "is_exporting",
    "list_backends",
    "reset",
    "set_stance",
]


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable[..., Any] = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
    **others: Any,
) -> Any:
    """The function itself, or a module around the module: there is no compiler, and the results are the same without.

    A module becomes an `OptimizedModule`, as in PyTorch: the module itself is its `_orig_mod`, which is also how names
    in its `state_dict()` begin. A decorator with and without arguments. RuntimeError where both `mode` and `options`
    are given. disable=True returns the module itself. model: the function or module; fullgraph, dynamic, backend and
    others: PyTorch's, without effect.
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if model is None:
        return lambda function: compile(function, disable=disable)
    if disable or not hasattr(model, "named_parameters"):
        return model
    from ..nn import Module
    from .optimized import OptimizedModule

    return OptimizedModule(model) if isinstance(model, Module) and not isinstance(model, OptimizedModule) else model


def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, **others: Any) -> Any:
    """The function `fn` itself; a decorator with and without arguments. recursive: PyTorch's, without effect."""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn: Any) -> Any:
    """The function itself: there is no graph to allow it in."""
    return fn


def assume_constant_result(fn: Any) -> Any:
    """The function itself, which is called each time."""
    return fn


def is_compiling() -> bool:
    """False: nothing is compiled here."""
    return False


def is_dynamo_compiling() -> bool:
    """False: nothing is compiled here."""
    return False


def is_exporting() -> bool:
    """False: nothing is exported here."""
    return False


def list_backends(exclude_tags: Any = ()) -> list[str]:
    """[]: there is no compiler. exclude_tags: PyTorch's, without effect."""
    return []


def reset() -> None:
    """Nothing: nothing has been compiled."""


def cudagraph_mark_step_begin() -> None:
    """Nothing: there are no CUDA graphs."""


class set_stance:
    """A context and decorator that changes nothing: there is nothing to compile.

    stance, skip_guard_eval_unsafe and others: PyTorch's, without effect.
    """

    def __init__(self, stance: str = "default", *, skip_guard_eval_unsafe: bool = False, **others: Any) -> None:
        self.stance = stance

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        pass

    def __call__(self, fn: Any) -> Any:
        return fn
