"""Kernels of losses: one node where the composition has five or more, and no pass over memory that can be saved."""

from __future__ import annotations

from typing import Any

import numpy as np

from .softmax import shifted

__all__ = ["LOSS"]

_FLOATS = (np.dtype("float32"), np.dtype("float64"))


def checked_target(target: Any, classes: int, ignore_index: int = -100) -> Any:
    """`target` with 0 where it is ignored; IndexError for a class that does not exist."""
    if not in_range(target, classes):
        bad = ((target < 0) | (target >= classes)) & (target != ignore_index)
        if bad.any():
            raise IndexError(f"Target {target[bad].flat[0]} is out of bounds.")
        return np.where(target == ignore_index, 0, target)
    if 0 <= ignore_index < classes:
        return np.where(target == ignore_index, 0, target)
    return target


def in_range(index: Any, size: int) -> bool:
    """True where all of `index` lie in [0, size): one pass, since negative numbers are huge ones as unsigned."""
    if not index.size:
        return True
    if index.dtype == np.int64:
        index = index.view(np.uint64)
    elif index.dtype.kind != "u":
        return bool(index.min() >= 0 and index.max() < size)
    return int(index.max()) < size


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Logits (N, C) with class indices (N,). Keeps exp(logits - maximum) and its row sums; backward is one pass."""
    if (
        weight is not None
        or label_smoothing
        or size_average is not None
        or reduce is not None
        or reduction not in ("mean", "sum", "none")
        or input.ndim != 2
        or input.dtype not in _FLOATS
        or target.dtype.kind not in "iu"
        or target.shape != input.shape[:1]
        or not input.size
    ):
        return NotImplemented
    n, classes = input.shape
    safe = checked_target(target, classes, ignore_index)
    e = shifted(np.ascontiguousarray(input), 1)
    at = np.arange(0, n * classes, classes) + safe
    picked = e.reshape(-1)[at]
    np.exp(e, out=e)
    total = np.add.reduce(e, axis=1)
    losses = np.log(total)
    losses -= picked
    kept, count = None, n
    if safe is not target:
        kept = target != ignore_index
        losses[~kept] = 0
        count = int(kept.sum())
    residual = (e, total, at, kept, count, reduction)
    if reduction == "none":
        return losses, residual
    out = np.add.reduce(losses)
    if reduction == "mean":
        out = out / count if count else out * np.nan
    return out.astype(input.dtype), residual


def cross_entropy_grad(g: Any, residual: Any, needs: Any) -> Any:
    e, total, at, kept, count, reduction = residual
    if reduction == "mean":
        g = g / count if count else g * np.nan
    scale = np.divide(g, total)
    at_target = np.broadcast_to(g, total.shape)
    if kept is not None:
        scale, at_target = np.where(kept, scale, 0), np.where(kept, at_target, 0)
    out = e * scale[:, None]
    out.reshape(-1)[at] -= at_target
    return out, None, None


def mse_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None) -> Any:
    if (
        weight is not None
        or size_average is not None
        or reduce is not None
        or reduction not in ("mean", "sum")
        or not isinstance(input, np.ndarray)
        or not isinstance(target, np.ndarray)
        or input.shape != target.shape
        or input.dtype not in _FLOATS
        or target.dtype != input.dtype
        or not input.size
    ):
        return NotImplemented
    difference = input - target
    flat = difference.reshape(-1, order="A")  # any order: a copy only for memory with gaps
    out = np.dot(flat, flat)
    scale = 2.0
    if reduction == "mean":
        out, scale = out / input.size, 2.0 / input.size
    return out.astype(input.dtype), (difference, scale)


def mse_loss_grad(g: Any, residual: Any, needs: Any) -> Any:
    difference, scale = residual
    g = g * scale
    return difference * g if needs[0] else None, difference * -g if needs[1] else None, None


LOSS = {
    "checked_target": checked_target,
    "cross_entropy": cross_entropy,
    "cross_entropy.grad": cross_entropy_grad,
    "mse_loss": mse_loss,
    "mse_loss.grad": mse_loss_grad,
}
