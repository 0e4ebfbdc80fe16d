"""Sums over the leading dimensions of an array: gradients of biases, of scales and shifts. It has not run on a GPU yet.

CuPy's own reduction gives each column to one block, whose threads then read a column with large steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .launch import FLOATS, Source, blocks, new, wide_loads

__all__ = ["SERVES", "column_sums", "column_sums_of_parts"]

_SOURCE = Source(
    "columns.cu", S=FLOATS, D=FLOATS, where=lambda S, D: S == D or ("float32" in (S, D) and "float64" not in (S, D))
)
_SUMS = _SOURCE.kernel("column_sums")
#: rows that a block adds up at least, and shares of the rows at most
_LEAST, _SHARES = 64, 128
#: elements and columns from which `sum` is done here
_WORTH, _COLUMNS = 1 << 14, 32


def column_sums(x: Any, dtype: Any) -> Any:
    """The sums of the columns of a matrix in C order, in `dtype`; added up in float32, or float64."""
    rows, n = x.shape
    per_pack = 16 // x.itemsize
    packs = n // per_pack if n % per_pack == 0 and wide_loads(x) else 0
    across = blocks(packs or n, 32)
    shares = min(blocks(rows, _LEAST), max(_SHARES * 8 // across, 1), _SHARES)
    if shares < 2:
        out = new((n,), dtype)
        _SUMS[x.dtype, out.dtype](across, (32, 8), x, out, rows, n, max(rows, 1), int(packs > 0))
        return out
    share = -(-rows // shares)
    parts = new((blocks(rows, share), n), "float64" if x.dtype.itemsize == 8 else "float32")
    _SUMS[x.dtype, parts.dtype]((across, len(parts)), (32, 8), x, parts, rows, n, share, int(packs > 0))
    return column_sums_of_parts(parts, dtype)


def column_sums_of_parts(parts: Any, dtype: Any) -> Any:
    """As `column_sums` of few rows, in one launch."""
    rows, n = parts.shape
    out = new((n,), dtype)
    _SUMS[parts.dtype, out.dtype](blocks(n, 32), (32, 8), parts, out, rows, n, max(rows, 1), 0)
    return out


def sum(input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """As the op, over the leading dimensions of a large array."""
    if dim is None or dtype is not None or input.size < _WORTH or input.dtype.name not in FLOATS:
        return NotImplemented
    given, ndim = dim if isinstance(dim, (tuple, list)) else (dim,), input.ndim
    k = len(given)
    n = math.prod(input.shape[k:])
    if (
        not k
        or n < _COLUMNS
        or not input.flags.c_contiguous
        or any(not -ndim <= d < ndim for d in given)
        or sorted(d % ndim for d in given) != list(range(k))
    ):
        return NotImplemented
    out = column_sums(input.reshape(-1, n), input.dtype)
    return out.reshape((*(1,) * k, *input.shape[k:]) if keepdim else input.shape[k:])


SERVES: dict[str, Callable[..., Any]] = {"sum": sum}
