"""cross_entropy and nll_loss of class indices as one node: two launches forward, one backward, counts on the device.

Logits of 16 bits are read as they are and summed in float32, so under autocast nothing wider is made of them. Backward
writes into new memory, not over the logits: programs look at them after it. A class that does not exist gives NaN, as
nobody waits for the device to find it (an assertion that costs nothing, and that a captured step can have, too).

It has not run on a GPU yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .launch import FLOATS, INDICES, THREADS, Source, blocks, contiguous, new, new_like, row_blocks, wide_loads

__all__ = ["SERVES"]

_SOURCE = Source(
    "entropy.cu", T=FLOATS, I=INDICES, L=FLOATS, where=lambda T, I, L: T == L or (L == "float32" and T != "float64")
)
_FORWARD, _ACROSS, _TOTAL, _FINISH = (
    _SOURCE.kernel(f"entropy_{name}") for name in ("forward", "across", "total", "finish")
)
_BACKWARD, _ACROSS_BACKWARD = _SOURCE.kernel("entropy_backward"), _SOURCE.kernel("entropy_across_backward")
_PICKED, _PICKED_BACKWARD = _SOURCE.kernel("picked_forward"), _SOURCE.kernel("picked_backward")


#: rows whose losses one block adds up
_SHARE = 1 << 15


class _Kept(NamedTuple):
    x: Any
    target: Any
    weight: Any
    lse: Any
    count: Any
    form: tuple[Any, ...]
    sizes: tuple[int, int, int]
    ignored: int
    smoothing: float
    each: int


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
    """As the composite: (loss, what backward needs)."""
    return _entropy(input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing, input.dtype)


def _widened(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    return _entropy(
        input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing, np.dtype("float32")
    )


cross_entropy.widened = _widened  # type: ignore[attr-defined]


def _entropy(
    input: Any,
    target: Any,
    weight: Any,
    size_average: Any,
    ignore_index: int,
    reduce: Any,
    reduction: str,
    label_smoothing: float,
    kind: Any,
) -> Any:
    """The loss in the dtype `kind`."""
    found = _operands(input, target, weight, size_average, reduce, reduction)
    if found is None or not 0.0 <= label_smoothing <= 1.0:
        return NotImplemented
    x, place, w, sizes, sums = found
    outer, n, inner = sizes
    form = (x.dtype.name, place.dtype.name, kind.name)
    loss, lse, rest = new(target.shape, sums), new(target.shape, sums), (ignore_index, float(label_smoothing))
    if inner > 1:
        _ACROSS[form](blocks(outer * inner), THREADS, x, place, w, loss, lse, *sizes, *rest)
    else:
        block = row_blocks(n, x.itemsize)
        _FORWARD[form](blocks(outer, block[1]), block, x, place, w, loss, lse, outer, n, *rest, wide_loads(x))
    out, count = _total(form, loss, place, w, n, ignore_index, reduction, kind)
    return out, _Kept(x, place, w, lse, count, form, sizes, *rest, int(reduction == "none"))


def _operands(input: Any, target: Any, weight: Any, size_average: Any, reduce: Any, reduction: str) -> Any:
    """(input, target and weight as kernels take them, (outer, classes, inner), dtype of sums); None: not served."""
    if (
        size_average is not None
        or reduce is not None
        or reduction not in ("mean", "sum", "none")
        or input.dtype.name not in FLOATS
        or input.ndim < 2
        or not input.size
        or target.dtype.kind not in "iu"
        or target.shape != input.shape[:1] + input.shape[2:]
        or (weight is not None and weight.shape != input.shape[1:2])
    ):
        return None
    sums = "float64" if input.dtype.itemsize == 8 else "float32"
    place = contiguous(target if target.dtype.name in INDICES else target.astype("int64"))
    w = None if weight is None else contiguous(weight.astype(sums, copy=False))
    return contiguous(input), place, w, (input.shape[0], input.shape[1], math.prod(input.shape[2:])), sums


def _total(form: Any, loss: Any, place: Any, w: Any, n: int, ignored: int, reduction: str, kind: Any) -> Any:
    """(the loss after its reduction, the sum of the targets' weights or 1)."""
    count, out, mean = new((), loss.dtype), new((), kind), int(reduction == "mean")
    grid = blocks(loss.size, _SHARE, 512)
    parts = None if grid == 1 else new((grid, 2), "float64")
    _TOTAL[form](grid, 1024, loss, place, w, out, count, parts, loss.size, n, ignored, mean)
    if parts is not None:
        _FINISH[form](1, 512, parts, grid, out, count, mean)
    return (loss.astype(kind, copy=False) if reduction == "none" else out), count


def cross_entropy_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients for the logits alone; other inputs that want one have the composition's."""
    if needs[1] or (len(needs) > 2 and needs[2]):
        return NotImplemented
    k = residual
    outer, n, inner = k.sizes
    g, dx = contiguous(g), new_like(k.x)
    arrays = (g, k.x, k.target, k.weight, k.lse, k.count, dx)
    if inner > 1:
        rest = outer, n, inner, k.ignored, k.smoothing, k.each
        _ACROSS_BACKWARD[k.form](blocks(outer * inner), THREADS, *arrays, *rest)
    else:
        block = row_blocks(n, k.x.itemsize)
        rest = outer, n, k.ignored, k.smoothing, k.each, wide_loads(k.x, dx)
        _BACKWARD[k.form](blocks(outer, block[1]), block, *arrays, *rest)
    return dx, None, None


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """As the composite: (loss, what backward needs)."""
    found = _operands(input, target, weight, size_average, reduce, reduction)
    if found is None:
        return NotImplemented
    x, place, w, sizes, sums = found
    form, loss = (x.dtype.name, place.dtype.name, x.dtype.name), new(target.shape, sums)
    _PICKED[form](blocks(loss.size), THREADS, x, place, w, loss, *sizes, ignore_index)
    out, count = _total(form, loss, place, w, sizes[1], ignore_index, reduction, x.dtype)
    return out, (input.shape, x.dtype, place, w, count, form, sizes, ignore_index, int(reduction == "none"))


def nll_loss_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients for the log-probabilities alone."""
    if needs[1] or (len(needs) > 2 and needs[2]):
        return NotImplemented
    shape, kind, place, w, count, form, sizes, *rest = residual
    dx = new(shape, kind)
    grid = blocks(dx.size, THREADS, 1 << 14)
    _PICKED_BACKWARD[form](grid, THREADS, contiguous(g), place, w, count, dx, *sizes, *rest)
    return dx, None, None


SERVES: dict[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy,
    "cross_entropy.grad": cross_entropy_grad,
    "nll_loss": nll_loss,
    "nll_loss.grad": nll_loss_grad,
}
