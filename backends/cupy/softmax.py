"""softmax and log_softmax by kernels of our own: a row comes from memory once, sums are float32.

It has not run on a GPU yet.

Slices along the last dimension are rows, those along another one the columns of (outer, n, inner). An array whose
memory is not in C order, such as channels-last images, is copied into it first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .launch import FLOATS, THREADS, Source, blocks, contiguous, new_like, row_blocks, wide_loads

__all__ = ["SERVES"]

_SOURCE = Source("softmax.cu", T=FLOATS)
_FORWARD, _BACKWARD = _SOURCE.kernel("softmax_forward"), _SOURCE.kernel("softmax_backward")
_ACROSS, _ACROSS_BACKWARD = _SOURCE.kernel("softmax_across"), _SOURCE.kernel("softmax_across_backward")


def _served(x: Any, dim: int) -> bool:
    return x.dtype.name in FLOATS and x.ndim > 0 and x.size > 0 and -x.ndim <= dim < x.ndim


def _launched(rows: Any, across: Any, arrays: tuple[Any, ...], dim: int, log_of: int) -> Any:
    """The result of a kernel on `arrays`, all of one shape and dtype."""
    arrays = tuple([contiguous(x) for x in arrays])
    x, out = arrays[0], new_like(arrays[0])
    n, inner = x.shape[dim], math.prod(x.shape[dim % x.ndim + 1 :])
    outer = x.size // (n * inner)
    if inner > 1:
        across[x.dtype](blocks(outer * inner), THREADS, *arrays, out, outer, n, inner, log_of)
    else:
        block = row_blocks(n, x.itemsize)
        rows[x.dtype](blocks(outer, block[1]), block, *arrays, out, outer, n, log_of, wide_loads(*arrays, out))
    return out


def softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """As the op."""
    if dtype is not None or not _served(input, dim):
        return NotImplemented
    return _launched(_FORWARD, _ACROSS, (input,), dim, 0)


def log_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """As the op."""
    if dtype is not None or not _served(input, dim):
        return NotImplemented
    return _launched(_FORWARD, _ACROSS, (input,), dim, 1)


def softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """out * (g - sum(g * out)) along `dim`."""
    if g.dtype != out.dtype or not _served(out, dim):
        return NotImplemented
    return _launched(_BACKWARD, _ACROSS_BACKWARD, (g, out), dim, 0)


def log_softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """g - exp(out) * sum(g) along `dim`."""
    if g.dtype != out.dtype or not _served(out, dim):
        return NotImplemented
    return _launched(_BACKWARD, _ACROSS_BACKWARD, (g, out), dim, 1)


SERVES: dict[str, Callable[..., Any]] = {
    "log_softmax": log_softmax,
    "log_softmax.grad": log_softmax_grad,
    "softmax": softmax,
    "softmax.grad": softmax_grad,
}
