"""softmax, its logarithm, and cross entropy: a slice is read from memory once, and stays in the cache after that.

Slices that lie along a row are taken one by one; others, such as the classes of a pixel of (N, C, H, W), 256 next to
one another. Cross entropy writes the gradient of the logits, up to the factor that backward brings, in its forward:
(softmax - one-hot) times weight and share of the mean. That is the only array it keeps, and backward is a scaling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..numpy.memory import empty, empty_like
from . import Kept
from .build import inlined, kernel
from .listed import STATE, contiguous, do, guarded, made
from .mathematics import exp, log
from .pool import parallel

__all__ = ["SERVES"]

f4, f8 = np.float32, np.float64
_FLOAT32 = np.dtype(np.float32)
#: elements that are worth a second thread
_LEAST = 1 << 15
#: slices that are taken together where they lie across rows; fewer than _FEW next to one another are left to NumPy
_ACROSS, _FEW = 256, 8


# -- along rows -------------------------------------------------------------------------------------------------------


@kernel("f4[:,:] f4[:,:] i8 i8", fast=True)
def _softmax(x, y, start, stop):
    x, y = x[start:stop], y[start:stop]
    for i in range(len(x)):
        a, b = x[i], y[i]
        top = a[0]
        for j in range(a.size):
            top = max(top, a[j])
        total = f4(0)
        for j in range(a.size):
            b[j] = exp(a[j] - top)
        for j in range(a.size):  # in a loop of its own: see _entropy
            total += b[j]
        scale = f4(1) / total
        for j in range(a.size):
            b[j] *= scale


@kernel("f4[:,:] f4[:,:] f4[:,:] i8 i8", fast=True)
def _softmax_grad(g, y, dx, start, stop):
    g, y, dx = g[start:stop], y[start:stop], dx[start:stop]
    for i in range(len(y)):
        a, b, c = g[i], y[i], dx[i]
        inner = f4(0)
        for j in range(b.size):
            inner += a[j] * b[j]
        for j in range(b.size):
            c[j] = b[j] * (a[j] - inner)


@kernel("f4[:,:] f4[:,:] i8 i8", fast=True)
def _log_softmax(x, y, start, stop):
    x, y = x[start:stop], y[start:stop]
    for i in range(len(x)):
        a, b = x[i], y[i]
        top = a[0]
        for j in range(a.size):
            top = max(top, a[j])
        total = f4(0)
        for j in range(a.size):
            total += exp(a[j] - top)
        shift = log(total)
        for j in range(a.size):
            b[j] = (a[j] - top) - shift


@kernel("f4[:,:] f4[:,:] f4[:,:] i8 i8", fast=True)
def _log_softmax_grad(g, y, dx, start, stop):
    g, y, dx = g[start:stop], y[start:stop], dx[start:stop]
    for i in range(len(y)):
        a, b, c = g[i], y[i], dx[i]
        total = f4(0)
        for j in range(b.size):
            total += a[j]
        for j in range(b.size):
            c[j] = a[j] - exp(b[j]) * total


# -- across rows: (O, C, I), along C ----------------------------------------------------------------------------------
# work is counted in blocks of 256 slices; one and two (blocks, 256) are memory for them


@inlined
def _exponentials(x, y, top, total, n, first, last):
    """y = exp(x - maximum) of some slices, their maxima and sums."""
    a = x[n, 0, first:last]
    for j in range(top.size):
        top[j] = a[j]
        total[j] = f4(0)
    for c in range(1, x.shape[1]):
        a = x[n, c, first:last]
        for j in range(top.size):
            top[j] = max(top[j], a[j])
    for c in range(x.shape[1]):
        a, b = x[n, c, first:last], y[n, c, first:last]
        for j in range(top.size):
            e = exp(a[j] - top[j])
            b[j] = e
            total[j] += e


@kernel("f4[:,:,:] f4[:,:,:] f4[:,:] f4[:,:] i8 i8 i8", fast=True)
def _across(x, y, one, two, logarithm, start, stop):
    blocks = (x.shape[2] + _ACROSS - 1) // _ACROSS
    for t in range(start, stop):
        n, first = t // blocks, t % blocks * _ACROSS
        last = min(first + _ACROSS, x.shape[2])
        top, total = one[t, : last - first], two[t, : last - first]
        _exponentials(x, y, top, total, n, first, last)
        if logarithm:
            for j in range(top.size):
                total[j] = log(total[j])
            for c in range(x.shape[1]):
                a, b = x[n, c, first:last], y[n, c, first:last]
                for j in range(top.size):
                    b[j] = (a[j] - top[j]) - total[j]
        else:
            for j in range(top.size):
                total[j] = f4(1) / total[j]
            for c in range(x.shape[1]):
                b = y[n, c, first:last]
                for j in range(top.size):
                    b[j] *= total[j]


@kernel("f4[:,:,:] f4[:,:,:] f4[:,:,:] f4[:,:] i8 i8 i8", fast=True)
def _across_grad(g, y, dx, one, logarithm, start, stop):
    blocks = (y.shape[2] + _ACROSS - 1) // _ACROSS
    for t in range(start, stop):
        n, first = t // blocks, t % blocks * _ACROSS
        last = min(first + _ACROSS, y.shape[2])
        total = one[t, : last - first]
        for j in range(total.size):
            total[j] = f4(0)
        for c in range(y.shape[1]):
            a, b = g[n, c, first:last], y[n, c, first:last]
            if logarithm:
                for j in range(total.size):
                    total[j] += a[j]
            else:
                for j in range(total.size):
                    total[j] += a[j] * b[j]
        for c in range(y.shape[1]):
            a, b, d = g[n, c, first:last], y[n, c, first:last], dx[n, c, first:last]
            if logarithm:
                for j in range(total.size):
                    d[j] = a[j] - exp(b[j]) * total[j]
            else:
                for j in range(total.size):
                    d[j] = b[j] * (a[j] - total[j])


class _Laid:
    """An array of `shape` as matrix or (O, C, I) with the slices along `dim`; `rows` is None where neither fits."""

    def __init__(self, x: Any, dim: int) -> None:
        self.dim = dim % x.ndim
        self.rows: bool | None = True
        self.moved = self.dim != x.ndim - 1
        if self.moved and not np.moveaxis(x, self.dim, -1).flags.c_contiguous:
            self.moved, self.rows = False, False if math.prod(x.shape[self.dim + 1 :]) >= _FEW else None
        self.shape, n = x.shape, x.shape[self.dim]
        if self.rows:
            self.as_array: tuple[int, ...] = (x.size // n, n)
            self.items, self.each = x.size // n, n
        else:
            inner = math.prod(x.shape[self.dim + 1 :])
            outer, blocks = x.size // (n * inner), -(-inner // _ACROSS)
            self.as_array = (outer, n, inner)
            self.items, self.each = outer * blocks, n * _ACROSS

    def view(self, a: Any) -> Any:
        return contiguous(np.moveaxis(a, self.dim, -1) if self.moved else a).reshape(self.as_array)

    def new(self) -> Any:
        return empty(self.as_array, _FLOAT32)

    def room(self) -> Any:
        """A number for each slice of the blocks."""
        return np.empty((self.items, _ACROSS), _FLOAT32)

    def public(self, a: Any) -> Any:
        if not self.moved:
            return a.reshape(self.shape)
        rest = self.shape[: self.dim] + self.shape[self.dim + 1 :]
        return np.moveaxis(a.reshape(*rest, self.shape[self.dim]), -1, self.dim)

    def parallel(self, function: Any, *args: Any) -> None:
        parallel(function, self.items, *args, least=1 + _LEAST // self.each)


def _laid(x: Any, dim: int) -> _Laid | None:
    """How `x` lies, where it is served."""
    if x.dtype != _FLOAT32 or x.ndim == 0 or x.size == 0 or not -x.ndim <= dim < x.ndim:
        return None
    laid = _Laid(x, dim)
    return None if laid.rows is None else laid


def _forward(input: Any, dim: int, dtype: Any, logarithm: int) -> Any:
    laid = _laid(input, dim) if dtype is None else None
    if laid is None:
        return NotImplemented
    x, y = laid.view(input), laid.new()
    if laid.rows:
        laid.parallel(_log_softmax if logarithm else _softmax, x, y)
    else:
        laid.parallel(_across, x, y, laid.room(), laid.room(), logarithm)
    return laid.public(y)


def _backward(g: Any, out: Any, dim: int, logarithm: int) -> Any:
    laid = _laid(out, dim) if g.dtype == _FLOAT32 else None
    if laid is None:
        return NotImplemented
    a, b, dx = laid.view(g), laid.view(out), laid.new()
    if laid.rows:
        laid.parallel(_log_softmax_grad if logarithm else _softmax_grad, a, b, dx)
    else:
        laid.parallel(_across_grad, a, b, dx, laid.room(), logarithm)
    return laid.public(dx)


def softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    return _forward(input, dim, dtype, 0)


def softmax_grad(g: Any, out: Any, dim: int) -> Any:
    return _backward(g, out, dim, 0)


def log_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    return _forward(input, dim, dtype, 1)


def log_softmax_grad(g: Any, out: Any, dim: int) -> Any:
    return _backward(g, out, dim, 1)


# -- cross entropy ----------------------------------------------------------------------------------------------------


@kernel("i8[:] f4[:] f8[:] i8[:] i8 i8 i8")
def _shares(target, weight, scale, wrong, classes, ignored, mean):
    """scale: 1, or 1 / the sum of the targets' weights for the mean; wrong: 1 + the place of a target out of range."""
    total = f8(0)
    wrong[0] = 0
    for i in range(target.size):
        t = target[i]
        if t != ignored:
            if t < 0 or t >= classes:
                wrong[0] = i + 1
            else:
                total += f8(weight[t]) if weight.size else f8(1)
    scale[0] = f8(1)
    if mean:
        scale[0] = f8(1) / total if total != f8(0) else f8(np.nan)


@kernel("f4[:] f8[:] f4[:]", fast=True)
def _total(loss, scale, out):
    total = f8(0)
    for i in range(loss.size):
        total += f8(loss[i])
    out[0] = total * scale[0]


@kernel("f4[:,:] i8[:] f4[:] f4[:,:] f4[:] f8[:] f4 i8 i8 i8", fast=True)
def _entropy(x, target, weight, dx, loss, scales, smooth, ignored, start, stop):
    """loss of each row times its weight; dx: its gradient times the scale.

    smooth: the part of the probability that is spread over all classes. weight: of each class, or of length 0.
    """
    scale = f4(scales[0])
    spread = smooth / f4(x.shape[1])
    all_weights = f4(x.shape[1])
    if weight.size:
        all_weights = f4(0)
        for j in range(weight.size):
            all_weights += weight[j]
    for i in range(start, stop):
        a, d, t = x[i], dx[i], target[i]
        if t == ignored:
            for j in range(d.size):
                d[j] = f4(0)
            loss[i] = f4(0)
        else:
            top = a[0]
            for j in range(a.size):
                top = max(top, a[j])
            total = f4(0)
            for j in range(a.size):
                d[j] = exp(a[j] - top)
            # A loop that writes is compiled twice, in vectors and one by one, and which runs depends on how near `d`
            # lies behind `a` in memory: so what is summed in an order of its own is summed in a loop that only reads.
            for j in range(a.size):
                total += d[j]
            shift = log(total)
            share = (f4(1) - smooth) * (weight[t] if weight.size else f4(1))
            found = share * (shift - (a[t] - top))
            factor = scale * (share + spread * all_weights) / total
            if smooth > f4(0):
                rest = f4(0)
                if weight.size:
                    for j in range(a.size):
                        rest += weight[j] * (shift - (a[j] - top))
                        d[j] = d[j] * factor - scale * spread * weight[j]
                else:
                    for j in range(a.size):
                        rest += shift - (a[j] - top)
                        d[j] = d[j] * factor - scale * spread
                found += spread * rest
            else:
                for j in range(a.size):
                    d[j] *= factor
            d[t] -= scale * share
            loss[i] = found


@kernel("f4[:,:,:] i8[:,:] f4[:] f4[:,:,:] f4[:,:] f4[:,:] f4[:,:] f8[:] i8 i8 i8", fast=True)
def _entropy_across(x, target, weight, dx, loss, one, two, scales, ignored, start, stop):
    """The same for the classes along the middle dimension, without smoothing."""
    scale = f4(scales[0])
    blocks = (x.shape[2] + _ACROSS - 1) // _ACROSS
    for t in range(start, stop):
        n, first = t // blocks, t % blocks * _ACROSS
        last = min(first + _ACROSS, x.shape[2])
        top, total = one[t, : last - first], two[t, : last - first]
        found, place = loss[n, first:last], target[n, first:last]
        _exponentials(x, dx, top, total, n, first, last)
        for j in range(top.size):
            found[j] = log(total[j]) + top[j]
            total[j] = f4(1) / total[j]
        for j in range(top.size):  # from here on `top` is the weight
            k = place[j]
            if k == ignored:
                found[j] = top[j] = f4(0)
            else:
                share = weight[k] if weight.size else f4(1)
                found[j] = share * (found[j] - x[n, k, first + j])
                top[j] = share * scale
            total[j] *= top[j]
        for c in range(x.shape[1]):
            d = dx[n, c, first:last]
            for j in range(top.size):
                d[j] = f4(0) if top[j] == f4(0) else d[j] * total[j]
        for j in range(top.size):
            k = place[j]
            if k != ignored:
                dx[n, k, first + j] -= top[j]


_NO_WEIGHT = np.empty(0, _FLOAT32)


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
    if (
        size_average is not None
        or reduce is not None
        or reduction not in ("mean", "sum", "none")
        or not 0.0 <= label_smoothing <= 1.0
        or input.ndim < 2
        or target.dtype.kind not in "iu"
        or target.shape != input.shape[:1] + input.shape[2:]
        or (weight is not None and (weight.shape != input.shape[1:2] or weight.dtype != _FLOAT32))
    ):
        return NotImplemented
    laid = _laid(input, 1)
    if laid is None or (label_smoothing and not laid.rows):
        return NotImplemented
    place = contiguous(target, np.int64).reshape(-1)
    w = _NO_WEIGHT if weight is None else contiguous(weight)
    scale, wrong = np.empty(1), np.empty(1, np.int64)
    guarded(_shares, wrong, _out_of_bounds, place, w, scale, wrong, input.shape[1], ignore_index, reduction == "mean")
    x, dx, loss = laid.view(input), laid.new(), np.empty(target.shape, _FLOAT32)
    if laid.rows:
        laid.parallel(_entropy, x, place, w, dx, loss.reshape(-1), scale, float(label_smoothing), ignore_index)
    else:
        flat = (laid.as_array[0], laid.as_array[2])
        laid.parallel(
            _entropy_across, x, place.reshape(flat), w, dx, loss.reshape(flat), laid.room(), laid.room(), scale,
            ignore_index,
        )  # fmt: skip
    residual = Kept((laid.public(dx), reduction))
    if reduction == "none":
        return loss, residual
    out = np.empty(1, _FLOAT32)
    _total(loss.reshape(-1), scale, out)
    return out.reshape(()), residual


def _out_of_bounds(place: Any, weight: Any, scale: Any, wrong: Any, classes: int, ignored: int, mean: Any) -> Exception:
    bad = place[(place != ignored) & ((place < 0) | (place >= classes))]
    return IndexError(f"Target {bad[0]} is out of bounds.")


def cross_entropy_grad(g: Any, residual: Any, needs: Any) -> Any:
    if type(residual) is not Kept:
        return NotImplemented
    dx, reduction = residual
    if reduction == "none":
        return made(np.multiply, dx, np.expand_dims(g, 1)), None, None
    if STATE.calls is None and g == 1:
        return dx, None, None
    out = empty_like(dx)
    do(np.multiply, dx, g, out=out)
    return out, None, None


SERVES: dict[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy,
    "cross_entropy.grad": cross_entropy_grad,
    "log_softmax": log_softmax,
    "log_softmax.grad": log_softmax_grad,
    "softmax": softmax,
    "softmax.grad": softmax_grad,
}
