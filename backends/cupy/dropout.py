"""Dropout by seed: one launch, no mask, and the seed either a number or in the device's memory, for a captured step.

It has not run on a GPU yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..hashing import limit
from .launch import FLOATS, Source, blocks, contiguous, new, new_like, signed, wide_loads

__all__ = ["SERVES"]

_SOURCE = Source("dropout.cu", T=FLOATS)
_FORWARD, _MASK = _SOURCE.kernel("dropout_forward"), _SOURCE.kernel("dropout_mask")
#: elements of a thread, and blocks at most
_EACH, _BLOCKS = 8, 4096


def _seed(seed: Any) -> tuple[int, Any]:
    """(a number, None), or (0, an array of one int64)."""
    return (signed(seed), None) if isinstance(seed, int) else (0, seed)


def _dropped(input: Any, other: Any, seed: Any, p: float) -> Any:
    if input.dtype.name not in FLOATS:
        return NotImplemented
    x = contiguous(input)
    y, n = new_like(x), x.size
    grid = blocks(n, 256 * _EACH, _BLOCKS)
    _FORWARD[x.dtype](grid, 256, x, other, y, n, *_seed(seed), limit(p), 1 / (1 - p), wide_loads(x, other, y))
    return y


def dropout_by_seed(input: Any, seed: Any, p: float) -> Any:
    """As the op."""
    return _dropped(input, None, seed, p)


def dropout_add(input: Any, other: Any, seed: Any, p: float) -> Any:
    """As the composite: (dropout_by_seed(input) + other, what backward needs)."""
    if input.shape != other.shape or input.dtype != other.dtype:
        return NotImplemented
    found = _dropped(input, contiguous(other), seed, p)
    return found if found is NotImplemented else (found, (seed, p))


def dropout_add_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients for input and other."""
    return _dropped(g, None, *residual) if needs[0] else None, g


def keep_by_seed(input: Any, size: tuple[int, ...], seed: Any, p: float) -> Any:
    """As the op."""
    mask, n = new(size, "bool"), math.prod(size)
    _MASK["float32"](blocks(n, 256 * _EACH, _BLOCKS), 256, mask, n, *_seed(seed), limit(p))
    return mask


SERVES: dict[str, Callable[..., Any]] = {
    "dropout_add": dropout_add,
    "dropout_add.grad": dropout_add_grad,
    "dropout_by_seed": dropout_by_seed,
    "keep_by_seed": keep_by_seed,
}
