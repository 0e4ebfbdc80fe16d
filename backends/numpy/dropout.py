"""Dropout by hashes on the host: a block at a time, so that what lies between stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..hashing import hashed, limit
from .memory import empty

__all__ = ["DROPOUT"]

_BLOCK = 1 << 14


def dropout_by_seed(input: Any, seed: int, p: float) -> Any:
    if input.dtype.kind != "f":
        return NotImplemented
    flat, least, scale = np.reshape(input, -1), limit(p), 1 / (1 - p)
    result = empty(input.shape, input.dtype)
    out = result.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        x, y = flat[start : start + _BLOCK], out[start : start + _BLOCK]
        kept = hashed(np.arange(start, start + x.size, dtype=np.uint32), seed) >= least
        np.multiply(x, scale, out=y)
        if np.isfinite(y).all():
            np.multiply(y, kept, out=y)
        else:  # 0 times infinity is no number
            y[~kept] = 0
    return result


dropout_by_seed.partial = True  # type: ignore[attr-defined]


def keep_by_seed(input: Any, size: tuple[int, ...], seed: int, p: float) -> Any:
    mask, least = np.empty(size, bool), limit(p)
    flat = mask.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        np.greater_equal(hashed(np.arange(start, start + part.size, dtype=np.uint32), seed), least, out=part)
    return mask


DROPOUT: dict[str, Callable[..., Any]] = {"dropout_by_seed": dropout_by_seed, "keep_by_seed": keep_by_seed}
