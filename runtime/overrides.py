"""`chainrule.overrides`: PyTorch's protocol by which classes take over functions. Ops here do not ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..autograd import Tensor

__all__ = ["handle_torch_function", "has_torch_function", "has_torch_function_unary", "is_tensor_like"]


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether an argument that is no Tensor has `__torch_function__`."""
    return any(hasattr(type(x), "__torch_function__") for x in relevant_args if not isinstance(x, Tensor))


def has_torch_function_unary(arg: Any) -> bool:
    """`has_torch_function` of one argument."""
    return has_torch_function((arg,))


def has_torch_function_variadic(*args: Any) -> bool:
    """`has_torch_function` of several arguments."""
    return has_torch_function(args)


def handle_torch_function(public_api: Callable[..., Any], relevant_args: Any, *args: Any, **kwargs: Any) -> Any:
    """Ask the arguments that have `__torch_function__`, in order; TypeError where all of them decline."""
    kinds = tuple({type(x): None for x in relevant_args if has_torch_function((x,))})
    for kind in kinds:
        result = kind.__torch_function__(public_api, kinds, args, kwargs)
        if result is not NotImplemented:
            return result
    raise TypeError(f"no implementation found for {public_api.__name__} on types that implement __torch_function__")


def is_tensor_like(inp: Any) -> bool:
    """Whether it is a Tensor, or has `__torch_function__`."""
    return isinstance(inp, Tensor) or hasattr(type(inp), "__torch_function__")
