"""Sums and means: NumPy's are exact enough, but they take one thread and a third of the memory's speed.

The dimensions are put in the order of the memory, and neighbours that share a fate are taken as one. What is left is
one of: sums along rows, down columns, or one of these for each of several arrays. Sums of floats run over at most 1024
elements of a row or 128 rows, and are added in float64; the pieces do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .build import kernel
from .columns import ROWS, rows_pass
from .listed import made
from .pool import parallel

__all__ = ["SERVES"]

f4, f8 = np.float32, np.float64
_FLOATS = frozenset({np.dtype("float32"), np.dtype("float64")})
_LEAST = 1 << 16
_BLOCK = 1024


@kernel("T[:,:] f8[:,:] i8 i8", T="f4 f8", fast=True)
def _row_sums(x, out, start, stop):
    """out[i, k]: the sum of block k of row i; work is counted in blocks."""
    blocks = out.shape[1]
    for t in range(start, stop):
        i, k = t // blocks, t % blocks
        block, total = x[i, k * _BLOCK : (k + 1) * _BLOCK], f4(0)
        for j in range(block.size):
            total += block[j]
        out[i, k] = total


def _along_rows(x: Any) -> Any:
    """Sums of the rows of a matrix, in float64."""
    blocks = -(-x.shape[1] // _BLOCK)
    parts = np.empty((len(x), blocks))
    parallel(_row_sums, parts.size, x, parts, least=1 + _LEAST // min(x.shape[1], _BLOCK))
    return parts[:, 0] if blocks == 1 else made(np.add.reduce, parts, 1)


def _down_columns(x: Any) -> Any:
    """Sums over the middle dimension of (B, R, C), in float64."""
    parts = np.empty((len(x), -(-x.shape[1] // ROWS), x.shape[2]), x.dtype)
    none = np.empty((1, 1), x.dtype)
    least = 1 + _LEAST // (min(x.shape[1], ROWS) * x.shape[2])
    total = rows_pass("total", x.dtype.str[1:])
    parallel(total, parts.shape[0] * parts.shape[1], x, x, x, x, none, none, none, none, parts, parts, least=least)
    return made(np.add.reduce, parts, 1, f8)


def _total(x: Any, dim: Any) -> Any:
    """The sum in float64 with the dimensions that stay, in their order; None where it is left to NumPy."""
    if x.dtype not in _FLOATS or not x.size or not x.ndim:
        return None
    dims = range(x.ndim) if dim is None else dim if isinstance(dim, tuple) else (dim,)
    if any(type(d) is not int or not -x.ndim <= d < x.ndim for d in dims):
        return None
    gone = {d % x.ndim for d in dims}
    if len(gone) != len(dims) or not gone:
        return None
    order = sorted(range(x.ndim), key=lambda d: -x.strides[d])
    laid = x.transpose(order)
    if not laid.flags.c_contiguous:
        return None
    groups: list[list[Any]] = []  # [whether they are summed over, size]
    for d in order:
        if x.shape[d] == 1:
            continue
        if groups and groups[-1][0] == (d in gone):
            groups[-1][1] *= x.shape[d]
        else:
            groups.append([d in gone, x.shape[d]])
    pattern = tuple(g for g, _ in groups)
    sizes = [n for _, n in groups]
    if pattern in ((True,), (False, True)):
        found = _along_rows(laid.reshape(-1, sizes[-1]))
    elif pattern == (True, False, True):
        found = made(np.add.reduce, _along_rows(laid.reshape(-1, sizes[2])).reshape(sizes[:2]), 0)
    elif pattern in ((True, False), (False, True, False)) and sizes[-1] >= 8:
        found = _down_columns(laid.reshape(-1, *sizes[-2:]))
    else:
        return None
    kept = [d for d in order if d not in gone]
    found = found.reshape([x.shape[d] for d in kept])
    return found.transpose([kept.index(d) for d in sorted(kept)]) if kept != sorted(kept) else found


def _given(found: Any, input: Any, dim: Any, keepdim: bool) -> Any:
    """The sum in the input's dtype, with the dimensions that are gone as 1 where they are kept."""
    if keepdim:
        dims = range(input.ndim) if dim is None else dim if isinstance(dim, tuple) else (dim,)
        gone = {d % input.ndim for d in dims}
        found = found.reshape([1 if d in gone else n for d, n in enumerate(input.shape)])
    return made(_cast, found, input.dtype)


def _cast(found: Any, dtype: Any) -> Any:
    return found.astype(dtype)[()]


def sum(input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    found = _total(input, dim) if dtype is None else None
    return NotImplemented if found is None else _given(found, input, dim, keepdim)


def mean(input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    found = _total(input, dim) if dtype is None else None
    if found is None:
        return NotImplemented
    return _given(made(np.true_divide, found, input.size // max(math.prod(found.shape), 1)), input, dim, keepdim)


SERVES: dict[str, Callable[..., Any]] = {"mean": mean, "sum": sum}
