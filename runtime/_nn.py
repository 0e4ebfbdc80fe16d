"""`chainrule._C._nn`: how a call of `to` reads its arguments, and functions of `nn.functional` by an inner path."""

from __future__ import annotations

from typing import Any

from ..autograd.conversion import split_to
from ..autograd.dtypes import from_numpy_dtype
from ..autograd.errors import OpError
from ..nn import functional

__all__ = ["_parse_to"]


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, Any]:
    """(device, dtype, non_blocking, memory_format) of a call of `to` with these arguments; None for what it leaves out.

    TypeError and RuntimeError as of `to`; RuntimeError for copy.
    """
    if "copy" in kwargs:
        raise OpError(".to() does not accept copy argument")
    where, kind, _, _, soon = split_to(args, kwargs, "to")
    return where, None if kind is None else from_numpy_dtype(kind), soon, kwargs.get("memory_format")


def __getattr__(name: str) -> Any:
    return getattr(functional, name)
