"""Layouts of arrays as cuDNN wants them: dense, dimensions in order or channels last, and on a boundary of 16 bytes.

An array that is none of this (a slice, an expanded gradient) is copied first; so is one operand of two that lie in
different orders, the smaller where there is a choice. Nothing else is copied.
"""

from __future__ import annotations

from typing import Any

__all__ = ["channels_last", "dense", "steps"]

Ints = tuple[int, ...]


def steps(shape: Ints, last: bool = False) -> Ints:
    """The steps, in elements, of a dense array of `shape`: in order, or channels (dimension 1) `last` in memory."""
    order = (0, *range(2, len(shape)), 1) if last else range(len(shape))
    found, step = [0] * len(shape), 1
    for d in reversed(tuple(order)):
        found[d] = step
        step *= shape[d]
    return tuple(found)


def channels_last(x: Any) -> bool:
    """Whether (N, C, ...) has its channels closest together in memory.

    Where sizes of 1 leave it open, the strides decide as they stand, which keep what a tensor was converted to.
    """
    if x.ndim < 3 or x.strides[1] != x.itemsize:
        return False
    if x.shape[1] == 1:
        return any(n > 1 for n in x.shape[2:])
    return x.strides[-1] >= x.itemsize * x.shape[1]


def _is_dense(x: Any, last: bool) -> bool:
    wanted = steps(x.shape, last)
    return all(n == 1 or have == step * x.itemsize for n, have, step in zip(x.shape, x.strides, wanted))


def dense(runtime: Any, x: Any, last: bool = False) -> Any:
    """`x`, or where it is not dense in this order, or not aligned, a copy that is."""
    if _is_dense(x, last) and not runtime.pointer(x) % 16:
        return x
    copy = runtime.empty(x.shape, x.dtype, last)
    copy[...] = x
    return copy
