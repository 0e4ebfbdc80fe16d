"""Kernels of losses: one node where the composition has five or more, and no pass over memory that can be saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .products import dot
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


def log_probability(input: Any, complement: bool = False) -> Any:
    if input.size and not (input.min() >= 0 and input.max() <= 1):
        raise ValueError("all elements of input should be between 0 and 1")
    return np.maximum(np.log1p(-input) if complement else np.log(input), -100)


def raised(input: Any, min: float) -> Any:
    if input.size and input.min() < 0:
        raise ValueError("var has negative entry/entries")
    return np.maximum(input, min)


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
    return (out if out.dtype == input.dtype else out.astype(input.dtype)), residual


def cross_entropy_grad(g: Any, residual: Any, needs: Any) -> Any:
    e, total, at, kept, count, reduction = residual
    if reduction == "mean":
        g = g / count if count else g * np.nan
    scale = g / total
    if kept is not None:
        scale, g = np.where(kept, scale, 0), np.where(kept, g, 0)
    out = e * scale[:, None]
    out.reshape(-1)[at] -= g
    return out, None, None


def mse_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None
) -> Any:
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
    out = dot(flat, flat)
    scale = 2.0
    if reduction == "mean":
        out, scale = out / input.size, 2.0 / input.size
    return out.astype(input.dtype), (difference, scale)


def mse_loss_grad(g: Any, residual: Any, needs: Any) -> Any:
    difference, scale = residual
    g = g * scale
    return difference * g if needs[0] else None, difference * -g if needs[1] else None, None


# -- connectionist temporal classification ----------------------------------------------------------------------------

_NEVER = -1e30  # the logarithm of what is impossible


def _steps(alpha: Any, skip: Any) -> Any:
    """One step of the recursion without its scores: stay, go one label on, or jump over a blank."""
    out = alpha.copy()
    out[:, 1:] = np.logaddexp(out[:, 1:], alpha[:, :-1])
    out[:, 2:] = np.where(skip[:, 2:], np.logaddexp(out[:, 2:], alpha[:, :-2]), out[:, 2:])
    return out


def ctc_nll(log_probs: Any, labels: Any, input_lengths: Any, target_lengths: Any, blank: int = 0) -> Any:
    """Forward variables of all steps; the backward pass runs the recursion from the other end."""
    steps, n, _ = log_probs.shape
    width = labels.shape[1]
    if not steps or not n or log_probs.dtype not in _FLOATS or not (input_lengths > 0).all():
        return NotImplemented
    scores = np.take_along_axis(log_probs, np.broadcast_to(labels, (steps, n, width)), axis=2)
    np.maximum(scores, _NEVER, out=scores)
    skip = np.zeros(labels.shape, bool)
    skip[:, :2] = labels[:, :2] != blank
    skip[:, 2:] = labels[:, 2:] != labels[:, :-2]
    alpha = np.full(scores.shape, _NEVER, scores.dtype)
    alpha[0, :, :2] = scores[0, :, :2]
    for t in range(1, steps):
        np.add(_steps(alpha[t - 1], skip), scores[t], out=alpha[t])
    rows, last = np.arange(n), 2 * target_lengths
    final = alpha[input_lengths - 1, rows]
    before = np.where(last > 0, final[rows, np.maximum(last - 1, 0)], _NEVER)
    loss = -np.logaddexp(final[rows, last], before).astype(scores.dtype, copy=False)
    residual = (alpha, scores, skip, loss, labels, input_lengths, last, log_probs.shape)
    return np.where(loss > -0.1 * _NEVER, np.inf, loss).astype(scores.dtype), residual


def ctc_nll_grad(g: Any, residual: Any, needs: Any) -> Any:
    alpha, scores, skip, loss, labels, input_lengths, last, shape = residual
    steps, n, classes = shape
    rows, width = np.arange(n), labels.shape[1]
    end = np.full((n, width), _NEVER, scores.dtype)
    end[rows, last] = 0
    end[rows, np.maximum(last - 1, 0)] = 0
    beta, occupied = end, np.zeros(scores.shape, scores.dtype)
    # reversed, a jump over a blank is allowed where it was forwards, two labels on
    jump = np.zeros(skip.shape, bool)
    jump[:, 2:] = skip[:, ::-1][:, :-2]
    possible = loss <= -0.1 * _NEVER
    for t in range(steps - 1, -1, -1):
        if t < steps - 1:
            beta = _steps((beta + scores[t + 1])[:, ::-1], jump)[:, ::-1]
        beta = np.where((input_lengths - 1 == t)[:, None], end, beta)
        live = (possible & (t < input_lengths))[:, None]
        np.exp(alpha[t] + beta + loss[:, None], out=occupied[t], where=live)
    occupied *= -g[:, None]
    one_hot = (labels[..., None] == np.arange(classes)).astype(scores.dtype)
    return np.ascontiguousarray(np.matmul(occupied.transpose(1, 0, 2), one_hot).transpose(1, 0, 2)), None, None, None


LOSS: dict[str, Callable[..., Any]] = {
    "ctc_nll": ctc_nll,
    "ctc_nll.grad": ctc_nll_grad,
    "checked_target": checked_target,
    "cross_entropy": cross_entropy,
    "cross_entropy.grad": cross_entropy_grad,
    "log_probability": log_probability,
    "mse_loss": mse_loss,
    "mse_loss.grad": mse_loss_grad,
    "raised": raised,
}
