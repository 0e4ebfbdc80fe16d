"""`chainrule.overrides`: `__torch_function__`, by which classes take over functions. See autograd/overrides.py.

A class with the method `__torch_function__(cls, func, types, args=(), kwargs=None)` is asked where one of its objects
is among the arguments of a public function, a method of Tensor or a property. `func` is that function itself
(`chainrule.add`, `Tensor.add`, `Tensor.shape.__get__`); what the method returns is the result, unless it is
NotImplemented. Subclasses of Tensor have one that makes the results tensors of their class.

Functions ask from the first subclass of Tensor on, the first mode, the first object of another class that an op,
`handle_torch_function` or `is_tensor_like` meets, and the first question here for the functions themselves. Until then
a function that is no op, zeros_like(x) say, takes an object of another class for a mistake: TypeError, AttributeError.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable
from typing import Any

from ..autograd import FUNCTIONS, Tensor
from ..autograd.overrides import (
    BY_MODES,
    NEVER,
    PUBLIC,
    TorchFunctionMode,
    activate,
    ask,
    current_modes,
    enabled,
    overloaded,
    overridden,
    public_functions,
)

__all__ = [
    "BaseTorchFunctionMode",
    "TorchFunctionMode",
    "get_default_nowrap_functions",
    "get_ignored_functions",
    "get_overridable_functions",
    "handle_torch_function",
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
    "is_tensor_like",
    "is_tensor_method_or_property",
    "resolve_name",
    "wrap_torch_function",
]


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether an argument's class takes over functions, or a mode holds that does."""
    return bool(current_modes()) or (enabled() and any(overridden(type(x)) for x in relevant_args))


def has_torch_function_unary(arg: Any) -> bool:
    """`has_torch_function` of one argument."""
    return has_torch_function((arg,))


def has_torch_function_variadic(*args: Any) -> bool:
    """`has_torch_function` of several arguments."""
    return has_torch_function(args)


def handle_torch_function(public_api: Callable[..., Any], relevant_args: Any, *args: Any, **kwargs: Any) -> Any:
    """Ask the mode that holds, and the classes of `relevant_args`; TypeError where all of them decline."""
    activate()  # an object was met that need not be a tensor
    return ask(public_api, overloaded(relevant_args) if enabled() else [], args, kwargs)


def wrap_torch_function(dispatcher: Callable[..., Iterable[Any]]) -> Callable[..., Any]:
    """Decorator: a function that can be taken over; `dispatcher(*args, **kwargs)` names the arguments to ask."""

    def decorate(func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return func(*args, **kwargs)

        return wrapped

    return decorate


def is_tensor_like(inp: Any) -> bool:
    """Whether it is a Tensor, or has `__torch_function__`."""
    if isinstance(inp, Tensor):
        return True
    if overridden(type(inp)):
        activate()  # the functions that it is about to be given to are to ask it
    return hasattr(type(inp), "__torch_function__")


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that calls the functions as they are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def get_overridable_functions() -> dict[Any, list[Any]]:
    """The functions that classes may take over, by the namespace that holds them."""
    activate()  # which collects those of Tensor
    root = __name__.partition(".")[0]
    found: dict[Any, list[Any]] = {
        importlib.import_module(f"{root}.{where}".rstrip(".")): [f for n, f in functions.items() if n not in BY_MODES]
        for where, functions in public_functions().items()
    }
    found[Tensor] = [f for f, name in PUBLIC.items() if name.startswith("Tensor.")]
    return found


def get_ignored_functions() -> set[Any]:
    """The public functions that classes do not take over: those that make tensors of none, settings, files."""
    return {FUNCTIONS[name] for name in NEVER | BY_MODES if name in FUNCTIONS}


def get_default_nowrap_functions() -> set[Any]:
    """The functions whose results `Tensor.__torch_function__` leaves as they are."""
    return {vars(Tensor)[name].__get__ for name in ("grad", "_base")}


def is_tensor_method_or_property(func: Any) -> bool:
    """Whether it is a method of Tensor, or the `__get__` of a property."""
    return func in get_overridable_functions()[Tensor]


def resolve_name(f: Any) -> str | None:
    """The path of a function that can be taken over, e.g. chainrule.Tensor.add; None for any other."""
    activate()
    return f"chainrule.{PUBLIC[f]}" if f in PUBLIC else None


def _get_current_function_mode() -> Any:
    """The innermost mode; None outside of all."""
    return (current_modes() or (None,))[-1]


def _get_current_function_mode_stack() -> list[Any]:
    """The modes that hold, the innermost last."""
    return list(current_modes())
