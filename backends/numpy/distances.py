"""Distances of the rows of two matrices, from differences, one coordinate at a time.

So no array is larger than the result: all coordinates of all pairs at once would take d times the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .memory import empty
from .products import matmul

__all__ = ["DISTANCES"]

_FLOATS = (np.dtype("float32"), np.dtype("float64"))
#: so many differences are worth a kernel; so many distances stay in the cache
_LEAST, _BLOCK = 1 << 11, 1 << 16
#: distances of this part of the largest coordinate lose three digits in a difference of products
_NEAR = 1e-3


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    """The composite `cdist`, for p = 2."""
    if (
        p != 2
        or x1.dtype not in _FLOATS
        or x2.dtype != x1.dtype
        or x1.ndim < 2
        or x1.shape[:-2] != x2.shape[:-2]
        or x1.shape[-1] != x2.shape[-1]
        or x1.size * x2.shape[-2] < _LEAST
    ):
        return NotImplemented
    (n, d), m = x1.shape[-2:], x2.shape[-2]
    out = empty((*x1.shape[:-1], m), x1.dtype)
    step = max(1, _BLOCK // m)
    gap = np.empty((min(step, n), m), x1.dtype)
    for a, b, found in zip(x1.reshape(-1, n, d), x2.reshape(-1, m, d), out.reshape(-1, n, m)):
        columns = np.ascontiguousarray(b.T)
        for start in range(0, n, step):
            rows, total = a[start : start + step], found[start : start + step]
            part = gap[: len(rows)]
            total[...] = 0
            for k in range(d):
                np.subtract(rows[:, k, None], columns[k], out=part)
                np.multiply(part, part, out=part)
                np.add(total, part, out=total)
    np.sqrt(out, out=out)
    if not np.isfinite(out).all():  # what overflows, the composition scales
        return NotImplemented
    return out, (x1, x2, out)


def cdist_grad(g: Any, residual: Any, needs: Any) -> Any:
    """With w = g / distance: Σⱼ wᵢⱼ (x1ᵢ - x2ⱼ), as products; moved to the middle first, so that little cancels.

    Where two points are so near to each other that much cancels, from differences.
    """
    x1, x2, out = residual
    middle = x2.mean(axis=-2, keepdims=True)
    a, b = x1 - middle, x2 - middle
    w = np.divide(g, out, out=np.zeros_like(out), where=out != 0)
    if ((out > 0) & (out < _NEAR * max(abs(a).max(), abs(b).max()))).any():
        return tuple([found if needed else None for found, needed in zip(_from_differences(w, x1, x2), needs)])
    first = w.sum(axis=-1)[..., None] * a - matmul(w, b) if needs[0] else None
    second = w.sum(axis=-2)[..., None] * b - matmul(np.swapaxes(w, -1, -2), a) if needs[1] else None
    return first, second


def _from_differences(w: Any, x1: Any, x2: Any) -> Any:
    first, second, part = np.empty_like(x1), np.empty_like(x2), np.empty_like(w)
    for k in range(x1.shape[-1]):
        np.subtract(x1[..., :, None, k], x2[..., None, :, k], out=part)
        np.multiply(part, w, out=part)
        first[..., k], second[..., k] = part.sum(axis=-1), -part.sum(axis=-2)
    return first, second


cdist.partial = True  # type: ignore[attr-defined]

DISTANCES: dict[str, Callable[..., Any]] = {"cdist": cdist, "cdist.grad": cdist_grad}
