"""Kernels of embedding: a checked lookup, and rows added up by a product or by sorting, whichever suits the sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .loss import in_range
from .products import dot

__all__ = ["EMBEDDING"]

_BLAS = (np.dtype("float32"), np.dtype("float64"))


def embedding(input: Any, weight: Any, padding_idx: Any = None, scale_grad_by_freq: bool = False) -> Any:
    if not in_range(np.asarray(input), len(weight)):
        raise IndexError(f"index out of range in self: indices must lie in [0, {len(weight)})")
    return weight.take(input, axis=0)


def embedding_grad(input: Any, index: Any, rows: int) -> Any:
    if not input.size or input.dtype not in _BLAS:
        return NotImplemented
    flat, width = np.reshape(index, -1), input.shape[index.ndim :]
    columns = input.reshape(flat.size, -1)
    if rows <= 256:  # a small table: one product with the one-hot matrix
        hot = np.zeros((rows, flat.size), input.dtype)
        hot[flat, np.arange(flat.size)] = 1
        out = dot(hot, columns)
        if np.isfinite(out[0]).all():  # 0 * inf is NaN: what is not finite would reach every row of its column
            return out.reshape(rows, *width)
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    out = np.zeros((rows, columns.shape[1]), input.dtype)
    out[ordered[starts]] = np.add.reduceat(columns[order], starts, axis=0)
    return out.reshape(rows, *width)


embedding_grad.partial = True  # type: ignore[attr-defined]

EMBEDDING: dict[str, Callable[..., Any]] = {"embedding": embedding, "embedding_grad": embedding_grad}
