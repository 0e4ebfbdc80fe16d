"""`chainrule._vmap_internals`: `vmap` under the name of its prototype, by which libraries map `autograd.grad`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..autograd.func import vmap

__all__ = ["_vmap", "vmap"]


def _vmap(func: Callable[..., Any], in_dims: Any = 0, out_dims: int = 0, allow_none_pass_through: bool = False) -> Any:
    """`vmap(func, in_dims, out_dims)`; random numbers differ between the elements.

    allow_none_pass_through: what `func` returns may be None, or have None among it, which is passed on.
    """
    if not allow_none_pass_through:
        return vmap(func, in_dims, out_dims, "different")

    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        returned: list[Any] = []

        def tensors(*row: Any) -> tuple[Any, ...]:
            returned[:] = [func(*row)]
            several = isinstance(returned[0], (tuple, list))
            return tuple([x for x in (returned[0] if several else returned) if x is not None])

        made = iter(vmap(tensors, in_dims, out_dims, "different")(*args))
        (last,) = returned
        if not isinstance(last, (tuple, list)):
            return None if last is None else next(made)
        return type(last)([None if x is None else next(made) for x in last])

    return wrapper
