"""Sums and casts of large arrays in 16 bits by wide loads; CuPy does the rest. It has not run on a GPU yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .launch import Source, blocks, in_one_order, wide_loads

__all__ = ["SERVES"]

_NARROW = ("float32", "float16", "bfloat16")
_SOURCE = Source("elementwise.cu", S=_NARROW, D=_NARROW)
_ADD_OR_CAST = _SOURCE.kernel("add_or_cast")
#: elements from which it is worth it; elements of a thread, and blocks at most
_WORTH, _EACH, _BLOCKS = 1 << 16, 8, 8192


def _launched(given: tuple[Any, ...], kind: Any) -> Any:
    x, *rest, out = in_one_order(*given, dtype=kind)
    other = rest[0] if rest else None
    grid = blocks(x.size, 256 * _EACH, _BLOCKS)
    _ADD_OR_CAST[x.dtype, out.dtype](grid, 256, x, other, out, x.size, wide_loads(x, other, out))
    return out


def add(input: Any, other: Any) -> Any:
    """As the op."""
    if (
        not (hasattr(input, "dtype") and hasattr(other, "dtype"))
        or input.dtype != other.dtype
        or input.shape != other.shape
        or input.size < _WORTH
        or input.dtype.itemsize != 2
        or input.dtype.name not in _NARROW
    ):
        return NotImplemented
    return _launched((input, other), input.dtype)


def cast(input: Any, dtype: Any) -> Any:
    """As the op."""
    kind = np.dtype(dtype)
    if input.size < _WORTH or kind == input.dtype or kind.name not in _NARROW or input.dtype.name not in _NARROW:
        return NotImplemented
    return _launched((input,), kind)


SERVES: dict[str, Callable[..., Any]] = {"add": add, "cast": cast}
