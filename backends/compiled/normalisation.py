"""Normalisation by mean and variance: of batches, groups and instances over channels; of layers over rows.

Over channels, the data are rows of channels (channels last in memory) or planes of a channel (channels first). Both
have the same three kernels, whose constants are per example and channel, or per channel:

    statistics     mean and sum of squares about it, of each channel of each example
    y  = (x - mean) a + b,                  and maybe another array added, and a ReLU
    dx = A dy + B (x - mean) + C,           after one pass for the sums of dy and dy (x - mean)

Batch, instance and group norm differ in how those small statistics are combined, which is done in float64. Sums of
floats run over at most 128 rows or 1024 elements and start at the first of them, so a large mean costs no digits
(pairwise updates of mean and squares: Chan, Golub, LeVeque 1983), and the pieces do not depend on the threads.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..numpy.memory import empty
from . import Kept
from .build import kernel
from .columns import ROWS, WIDE, lanes, rows_pass, strip
from .intrinsics import address
from .listed import contiguous, made, reshaped
from .pool import parallel

__all__ = ["SERVES"]

f4, f8 = np.float32, np.float64
_FLOATS = frozenset({np.dtype("float32"), np.dtype("float64")})
#: elements that are worth a second thread
_LEAST = 1 << 15
#: elements of a plane or of a long row that are summed up in the arrays' own precision
_BLOCK = 1024


# -- rows of channels -------------------------------------------------------------------------------------------------
# x (B, R, C); the passes are those of columns.py, in blocks of 128 rows, K of them for each b


@kernel("T[:,:,:] T[:,:,:] T[:,:,:] f8[:,:] f8[:,:]", T="f4 f8")
def _rows_combined(x, s, q, mean, square):
    """What the pass "moments" found, s and q (B, K, C), as mean and sum of squares about it, (B, C)."""
    rows = x.shape[1]
    for b in range(len(x)):
        m, w = mean[b], square[b]
        m[:] = 0
        w[:] = 0
        for k in range(s.shape[1]):
            origin, total = x[b, k * ROWS], s[b, k]
            count = min(rows - k * ROWS, ROWS)
            for j in range(m.size):
                m[j] += count * f8(origin[j]) + f8(total[j])
        for j in range(m.size):
            m[j] /= rows
        for k in range(s.shape[1]):
            origin, total, squares = x[b, k * ROWS], s[b, k], q[b, k]
            count = min(rows - k * ROWS, ROWS)
            for j in range(m.size):
                near = f8(total[j]) / count
                off = f8(origin[j]) + near - m[j]
                w[j] += max(f8(squares[j]) - near * f8(total[j]), 0.0) + count * off * off


# -- planes of a channel ----------------------------------------------------------------------------------------------
# x (N, C, S); work is counted in planes


@kernel("T[:,:,:] f8[:,:] f8[:,:] i8 i8", T="f4 f8", fast=True)
def _planes_moments(x, mean, square, start, stop):
    channels, size = x.shape[1], x.shape[2]
    for t in range(start, stop):
        n, c = t // channels, t % channels
        plane = x[n, c]
        done, m, w = f8(0), f8(0), f8(0)
        for at in range(0, size, _BLOCK):
            block = plane[at : at + _BLOCK]
            origin, total, squares = block[0], f4(0), f4(0)
            for j in range(block.size):
                v = block[j] - origin
                total += v
                squares += v * v
            count = f8(block.size)
            near = f8(total) / count
            off = f8(origin) + near - m
            m += off * count / (done + count)
            w += max(f8(squares) - near * f8(total), 0.0) + off * off * done * count / (done + count)
            done += count
        mean[n, c] = m
        square[n, c] = w


@kernel("T[:,:,:] T[:,:,:] T[:,:] T[:,:] T[:,:] T[:,:,:] i8 i8 i8", T="f4 f8", fast=True)
def _planes_apply(x, other, mean, a, b, y, mode, start, stop):
    channels = x.shape[1]
    for t in range(start, stop):
        n, k = t // channels, t % channels
        at = n if len(mean) > 1 else 0
        m, c, d = mean[at, k], a[at, k], b[at, k]
        row, out, more = x[n, k], y[n, k], other[n, k]
        if mode == 0:
            for j in range(row.size):
                out[j] = (row[j] - m) * c + d
        elif mode == 1:
            for j in range(row.size):
                v = (row[j] - m) * c + d
                out[j] = f4(0) if v <= f4(0) else v
        else:
            for j in range(row.size):
                v = (row[j] - m) * c + d + more[j]
                out[j] = f4(0) if v <= f4(0) else v


@kernel("T[:,:,:] T[:,:,:] T[:,:,:] T[:,:] T[:,:,:] f8[:,:] f8[:,:] i8 i8 i8", T="f4 f8", fast=True)
def _planes_sums(g, x, y, mean, inner, s, q, mode, start, stop):
    channels, size = x.shape[1], x.shape[2]
    for t in range(start, stop):
        n, k = t // channels, t % channels
        m, total, along = mean[n if len(mean) > 1 else 0, k], f8(0), f8(0)
        slopes, row, out, kept = g[n, k], x[n, k], y[n, k], inner[n, k]
        for at in range(0, size, _BLOCK):
            u, v = slopes[at : at + _BLOCK], row[at : at + _BLOCK]
            w, z = out[at : at + _BLOCK], kept[at : at + _BLOCK]
            one, two = f4(0), f4(0)
            if mode == 0:
                for j in range(v.size):
                    one += u[j]
                    two += u[j] * (v[j] - m)
            elif mode == 1:
                for j in range(v.size):
                    slope = f4(0) if w[j] <= f4(0) else u[j]
                    one += slope
                    two += slope * (v[j] - m)
            else:
                for j in range(v.size):
                    slope = f4(0) if w[j] <= f4(0) else u[j]
                    z[j] = slope
                    one += slope
                    two += slope * (v[j] - m)
            total += f8(one)
            along += f8(two)
        s[n, k] = total
        q[n, k] = along


@kernel("T[:,:,:] T[:,:,:] T[:,:,:] T[:,:] T[:,:] T[:,:] T[:,:] T[:,:,:] i8 i8 i8", T="f4 f8", fast=True)
def _planes_grad(g, x, y, mean, a, b, c, dx, mode, start, stop):
    channels = x.shape[1]
    for t in range(start, stop):
        n, k = t // channels, t % channels
        at = n if len(mean) > 1 else 0
        m, p, q, r = mean[at, k], a[at, k], b[at, k], c[at, k]
        slope, row, found, out = g[n, k], x[n, k], y[n, k], dx[n, k]
        if mode == 1:
            for j in range(row.size):
                v = f4(0) if found[j] <= f4(0) else slope[j]
                out[j] = p * v + q * (row[j] - m) + r
        else:
            for j in range(row.size):
                out[j] = p * slope[j] + q * (row[j] - m) + r


# -- both -------------------------------------------------------------------------------------------------------------


class _Laid:
    """How an array (N, C, ...) lies in memory, and the three kernels on arrays that lie so.

    together: the examples are one, as for batch norm. Statistics and constants are (examples, C).
    """

    def __init__(self, x: Any, together: bool) -> None:
        self.shape, self.dtype = x.shape, x.dtype
        n, channels = x.shape[:2]
        size = math.prod(x.shape[2:])
        last = np.moveaxis(x, 1, -1).flags.c_contiguous
        self.rows = last and (channels > 1 or size == 1) and not (x.flags.c_contiguous and size > channels)
        if self.rows:
            self.as3 = (1, n * size, channels) if together else (n, size, channels)
            self.blocks = (self.as3[0], -(-self.as3[1] // ROWS), channels)
            self.items, self.each = math.prod(self.blocks[:2]), ROWS * channels
        else:
            self.as3, self.items, self.each = (n, channels, size), n * channels, size
        self.examples = 1 if together else n
        self.count = x.size // (self.examples * channels)

    def view(self, a: Any) -> Any:
        """An array of the same shape as a C-contiguous one of three dimensions; copied where it lies differently."""
        return contiguous(np.moveaxis(a, 1, -1) if self.rows else a).reshape(self.as3)

    def new(self) -> Any:
        return empty(self.as3, self.dtype)

    def public(self, a: Any) -> Any:
        """The opposite of `view`."""
        if not self.rows:
            return a.reshape(self.shape)
        return np.moveaxis(a.reshape(self.shape[0], *self.shape[2:], self.shape[1]), -1, 1)

    def parallel(self, function: Any, *args: Any) -> None:
        parallel(function, self.items, *args, least=1 + _LEAST // max(self.each, 1))

    def over_rows(
        self, task: str, reads: Sequence[Any], constants: Sequence[Any], out: Any = None, sums: Sequence[Any] = ()
    ) -> None:
        """A pass of columns.py; what it does not have is filled up with what is at hand."""
        x, unused = reads[0], np.empty((1, 1), self.dtype)
        read, fixed = [*reads, x, x][:3], [*constants, *[unused] * 4][:4]
        summed = [*sums, x, x][:2]
        self.parallel(rows_pass(task, self.dtype.str[1:]), *read, x if out is None else out, *fixed, *summed)

    def moments(self, x: Any) -> tuple[Any, Any]:
        """Mean and sum of squares about it, (examples, C), in float64."""
        if self.rows:
            s, q = np.empty(self.blocks, self.dtype), np.empty(self.blocks, self.dtype)
            self.over_rows("moments", [x], [], sums=(s, q))
            mean, square = np.empty((2, len(x), x.shape[2]))
            _rows_combined(x, s, q, mean, square)
            return mean, square
        mean, square = np.empty((2, *x.shape[:2]))
        self.parallel(_planes_moments, x, mean, square)
        if self.examples == 1 < len(x):
            return made(_joined, mean, square, x.shape[2])
        return mean, square

    def apply(self, x: Any, other: Any, mean: Any, a: Any, b: Any, mode: int) -> Any:
        """(x - mean) a + b and what `mode` says. The mean, float64, is rounded once: b makes up for it."""
        near, a, b = made(_rounded, mean, a, b, self.dtype)
        y = self.new()
        if self.rows:
            task = ("apply", "apply_relu", "apply_add_relu")[mode]
            self.over_rows(task, [x] if other is None else [x, other], [near, a, b], y)
        else:
            self.parallel(_planes_apply, x, x if other is None else other, near, a, b, y, mode)
        return y

    def sums(self, g: Any, x: Any, y: Any, mean: Any, inner: Any, mode: int) -> tuple[Any, Any]:
        """Sums of g and g (x - mean), (examples, C), in float64."""
        if self.rows:
            s, q = (np.empty(self.blocks, self.dtype) for _ in range(2))
            task = ("sums", "sums_relu", "sums_relu_kept")[mode]
            self.over_rows(task, [g, x] if y is None else [g, x, y], [mean], inner, (s, q))
            return made(_both, s, q, 1, False)
        y, inner = g if y is None else y, g if inner is None else inner
        s, q = np.empty((2, *x.shape[:2]))
        self.parallel(_planes_sums, g, x, y, mean, inner, s, q, mode)
        if self.examples == 1 < len(x):
            return made(_both, s, q, 0, True)
        return s, q

    def grad(self, g: Any, x: Any, y: Any, mean: Any, a: Any, b: Any, c: Any, mode: int) -> Any:
        """a g + b (x - mean) + c."""
        a, b, c = (contiguous(v, self.dtype) for v in (a, b, c))
        dx = self.new()
        if self.rows:
            task = "grad_relu" if mode else "grad"
            self.over_rows(task, [g, x] if y is None else [g, x, y], [mean, a, b, c], dx)
        else:
            self.parallel(_planes_grad, g, x, g if y is None else y, mean, a, b, c, dx, mode)
        return dx


def _vectors(input: Any, *vectors: Any) -> bool:
    """Whether input is a batch of float32 or float64 and each vector None or of its channels and dtype."""
    return (
        input.dtype in _FLOATS
        and input.ndim > 1
        and input.size > 0
        and all(v is None or (v.dtype == input.dtype and v.shape == input.shape[1:2]) for v in vectors)
    )


def _batch_norm(input: Any, weight: Any, bias: Any, other: Any, eps: float, mode: int) -> Any:
    if not _vectors(input, weight, bias):
        return NotImplemented
    if other is not None and (other.dtype != input.dtype or other.shape != input.shape):
        return NotImplemented
    laid = _Laid(input, together=True)
    x = laid.view(input)
    mean, var = laid.moments(x)
    var, a = made(_scales, var, weight, laid.count, eps)
    b = np.zeros_like(a) if bias is None else bias[None]
    y = laid.apply(x, None if other is None else laid.view(other), mean, a, b, mode if other is None else 2)
    shape = (1, -1, *(1,) * (input.ndim - 2))
    mean, var = made(_cast, mean, var, input.dtype)
    return laid.public(y), mean.reshape(shape), var.reshape(shape)


def _both(s: Any, q: Any, axis: int, keep: bool) -> Any:
    # NumPy's stubs know keepdims as a literal only
    return tuple([np.add.reduce(v, axis=axis, dtype=f8, keepdims=keep) for v in (s, q)])  # type: ignore[call-overload]


def _joined(mean: Any, square: Any, count: int) -> Any:
    """Mean and sum of squares of all examples from those of each."""
    middle = np.add.reduce(mean, axis=0, keepdims=True) / len(mean)
    off = mean - middle
    return middle, np.add.reduce(square + off * off * count, axis=0, keepdims=True)


def _rounded(mean: Any, a: Any, b: Any, dtype: Any) -> Any:
    near = mean.astype(dtype)
    return near, a.astype(dtype), (b - (mean - near) * a).astype(dtype)


def _scales(square: Any, weight: Any, count: int, eps: float) -> Any:
    """Variance, and what is multiplied by it."""
    var = square / count
    a = 1 / np.sqrt(var + eps)
    return var, a if weight is None else a * weight


def _cast(mean: Any, var: Any, dtype: Any) -> Any:
    return mean.astype(dtype), var.astype(dtype)


def batch_normalised(input: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    return _batch_norm(input, weight, bias, None, eps, 0)


def batch_norm_relu(input: Any, weight: Any = None, bias: Any = None, other: Any = None, eps: float = 1e-5) -> Any:
    return _batch_norm(input, weight, bias, other, eps, 1)


def _batch_norm_grad(g: Any, input: Any, weight: Any, eps: float, out: Any, mean: Any, var: Any, needs: Any) -> Any:
    kind = input.dtype
    if not _vectors(input, weight) or any(a.dtype != kind for a in (*g, mean, var)):
        return NotImplemented
    laid = _Laid(input, together=True)
    x, slope, y = laid.view(input), laid.view(g[0]), None if out is None else laid.view(out)
    m = reshaped(mean, 1, -1)
    inner, mode = None, 0 if out is None else 1
    if out is not None and needs[3]:
        inner, mode = laid.new(), 2
    total, along = laid.sums(slope, x, y, m, inner, mode)
    if inner is not None:  # what passed the ReLU
        slope, y, mode = inner, None, 0
    factor, steep, level, by_weight, by_bias = made(_factors, g[1], g[2], var, weight, total, along, laid.count, eps)
    dx = laid.public(laid.grad(slope, x, y, m, factor, steep, level, mode)) if needs[0] else None
    found = dx, by_weight if needs[1] else None, by_bias if needs[2] else None
    return found if out is None else (*found, None if inner is None else laid.public(inner))


def _factors(g_mean: Any, g_var: Any, var: Any, weight: Any, total: Any, along: Any, count: int, eps: float) -> Any:
    """Of dx = factor g + steep (x - mean) + level; the gradients for weight and bias."""
    scale = 1 / np.sqrt(var.reshape(1, -1).astype(f8) + eps)
    factor = scale if weight is None else scale * weight
    level = (g_mean.reshape(1, -1) - factor * total) / count
    steep = (g_var.reshape(1, -1) - factor * scale * scale * along * 0.5) * (2 / count)
    kind = var.dtype
    return factor, steep, level, (along * scale).reshape(-1).astype(kind), total.reshape(-1).astype(kind)


def batch_normalised_grad(g: Any, input: Any, weight: Any, eps: float, mean: Any, var: Any, needs: Any) -> Any:
    return _batch_norm_grad(g, input, weight, eps, None, mean, var, needs)


def batch_norm_relu_grad(g: Any, input: Any, weight: Any, eps: float, out: Any, mean: Any, var: Any, needs: Any) -> Any:
    return _batch_norm_grad(g, input, weight, eps, out, mean, var, needs)


# -- groups of channels of each example -------------------------------------------------------------------------------


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    if not _vectors(input, weight, bias) or num_groups < 1 or input.shape[1] % num_groups:
        return NotImplemented
    laid = _Laid(input, together=False)
    x = laid.view(input)
    mean, square = laid.moments(x)
    groups = (len(mean), num_groups, -1)
    middle = np.add.reduce(mean.reshape(groups), axis=2, keepdims=True) * (num_groups / input.shape[1])
    off = mean.reshape(groups) - middle
    total = np.add.reduce(square.reshape(groups) + off * off * laid.count, axis=2, keepdims=True)
    scale = 1 / np.sqrt(total * (num_groups / (input.shape[1] * laid.count)) + eps)
    of_channels = np.zeros(groups[:2] + off.shape[2:]) + middle
    a = (np.zeros_like(of_channels) + scale).reshape(mean.shape)
    middle = of_channels.reshape(mean.shape)
    if weight is not None:
        a *= weight
    b = np.zeros_like(a)
    if bias is not None:
        b += bias
    y = laid.apply(x, None, middle, a, b, 0)
    return laid.public(y), Kept((input, middle.astype(input.dtype), scale[..., 0], weight))


def group_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    if type(residual) is not Kept:
        return NotImplemented
    input, mean, scale, weight = residual
    if g.dtype != input.dtype:
        return NotImplemented
    laid = _Laid(input, together=False)
    x, slope = laid.view(input), laid.view(g)
    total, along = laid.sums(slope, x, None, mean, None, 0)
    groups = (*scale.shape, -1)
    of_channels = np.repeat(scale, mean.shape[1] // scale.shape[1], axis=1)
    dx = None
    if needs[0]:
        w = 1 if weight is None else weight
        count = laid.count * (mean.shape[1] // scale.shape[1])
        level, steep = (
            np.broadcast_to(
                np.add.reduce((v * w).reshape(groups), axis=2, keepdims=True),
                (*scale.shape, len(mean[0]) // scale.shape[1]),
            )
            for v in (total, along)
        )
        level, steep = level.reshape(mean.shape), steep.reshape(mean.shape)
        dx = laid.public(
            laid.grad(
                slope,
                x,
                None,
                mean,
                of_channels * w,
                steep * of_channels**3 * (-1 / count),
                level * of_channels * (-1 / count),
                0,
            )
        )
    return (
        dx,
        np.add.reduce(along * of_channels, axis=0).astype(g.dtype) if needs[1] else None,
        np.add.reduce(total, axis=0).astype(g.dtype) if needs[2] else None,
    )


# -- layers: rows -----------------------------------------------------------------------------------------------------


@kernel("T[:,:] T[:,:] T[:,:] T[:,:] T[:] T[:] f8 i8 i8 i8", T="f4 f8", fast=True)
def _layers(x, weight, bias, y, mean, scale, eps, centred, start, stop):
    """y = (x - mean) scale weight + bias for each row; the mean is 0 where not `centred`."""
    w, c, width = weight[0], bias[0], f8(x.shape[1])
    for i in range(start, stop):
        row, out = x[i], y[i]
        total = f8(0)
        if centred:
            for at in range(0, row.size, _BLOCK):
                block, part = row[at : at + _BLOCK], f4(0)
                for j in range(block.size):
                    part += block[j]
                total += f8(part)
        mean[i] = total / width
        m, total = mean[i], f8(0)
        for at in range(0, row.size, _BLOCK):
            block, part = row[at : at + _BLOCK], f4(0)
            for j in range(block.size):
                off = block[j] - m
                part += off * off
            total += f8(part)
        scale[i] = 1 / np.sqrt(total / width + eps)
        r = scale[i]
        for j in range(row.size):
            out[j] = (row[j] - m) * r * w[j] + c[j]


@functools.cache
def _layers_grad(kind: str) -> Any:
    wide, narrow = strip("standard_sums", kind, WIDE), strip("standard_sums", kind, 1)
    size, width = 4 if kind == "f4" else 8, lanes(kind)
    step = WIDE * width

    @kernel("T[:,:] T[:,:] T[:,:] T[:] T[:] T[:,:] T[:,:] T[:,:] T[:,:] i8 i8 i8 i8", T=kind, fast=True)
    def layers_grad(g, x, weight, mean, scale, dx, total, along, numbers, centred, wanted, start, stop):
        """dx; and for each block of 128 rows the sums of g and of g (x - mean) scale, where `wanted`."""
        w, columns = weight[0], x.shape[1]
        count = f8(columns)
        slopes, inputs, means, scales = address(g), address(x), address(mean), address(scale)
        for t in range(start, stop):
            if wanted:
                total[t, :] = 0
                along[t, :] = 0
            into, beside = address(total) + t * columns * size, address(along) + t * columns * size
            end = min((t + 1) * ROWS, len(x))
            for first in range(t * ROWS, end, 16):
                height = min(end - first, 16)
                for i in range(first, first + height):
                    row, slope, out, m, r = x[i], g[i], dx[i], mean[i], scale[i]
                    level, steep = f8(0), f8(0)
                    for at in range(0, columns, _BLOCK):
                        a, b, c = row[at : at + _BLOCK], slope[at : at + _BLOCK], w[at : at + _BLOCK]
                        one, two = f4(0), f4(0)
                        for j in range(a.size):
                            v = b[j] * c[j]
                            one += v
                            two += v * (a[j] - m)
                        level += f8(one)
                        steep += f8(two)
                    level = level / count * r if centred else f8(0)
                    # rounded to the arrays' precision, in the memory of this thread
                    numbers[t, 0], numbers[t, 1] = -level, -steep / count * r * r * r
                    c0, c1 = numbers[t, 0], numbers[t, 1]
                    for j in range(row.size):
                        out[j] = r * slope[j] * w[j] + c1 * (row[j] - m) + c0
                if wanted:
                    o, j = first * columns * size, 0
                    while j < columns:
                        at = j * size
                        if columns - j >= step:
                            wide(
                                slopes + o + at, inputs + o + at, 0, 0, means + first * size, scales + first * size,
                                0, 0, into + at, beside + at, height, columns, 0,
                            )  # fmt: skip
                            j += step
                        else:
                            narrow(
                                slopes + o + at, inputs + o + at, 0, 0, means + first * size, scales + first * size,
                                0, 0, into + at, beside + at, height, columns, min(columns - j, width),
                            )  # fmt: skip
                            j += width

    return layers_grad


def _layer_norm(input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float, centred: int) -> Any:
    sizes = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if (
        input.dtype not in _FLOATS
        or not input.size
        or not sizes
        or input.shape[-len(sizes) :] != sizes
        or any(v is not None and (v.shape != sizes or v.dtype != input.dtype) for v in (weight, bias))
    ):
        return NotImplemented
    kind, width = input.dtype, math.prod(sizes)
    x = contiguous(input).reshape(-1, width)
    w = np.ones((1, width), kind) if weight is None else contiguous(weight).reshape(1, width)
    b = np.zeros((1, width), kind) if bias is None else contiguous(bias).reshape(1, width)
    y, mean, scale = empty(x.shape, kind), np.empty(len(x), kind), np.empty(len(x), kind)
    parallel(_layers, len(x), x, w, b, y, mean, scale, float(eps), centred, least=1 + _LEAST // width)
    return y.reshape(input.shape), Kept((x, mean, scale, w, sizes, centred))


def _layer_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    if type(residual) is not Kept:
        return NotImplemented
    x, mean, scale, w, sizes, centred = residual
    kind = x.dtype
    if g.dtype != kind:
        return NotImplemented
    slope, wanted = contiguous(g).reshape(x.shape), int(any(needs[1:]))
    blocks = -(-len(x) // ROWS)
    total, along = np.empty((2, blocks if wanted else 1, x.shape[1]), kind)
    dx, numbers = empty(x.shape, kind), np.empty((blocks, 2), kind)
    least = 1 + _LEAST // (x.shape[1] * ROWS)
    function = _layers_grad(kind.str[1:])
    parallel(function, blocks, slope, x, w, mean, scale, dx, total, along, numbers, centred, wanted, least=least)
    found = made(_of_blocks, along, total, sizes) if wanted else ()
    return (dx.reshape(g.shape), *(v if n else None for v, n in zip(found or (None, None), needs[1:])))


def _of_blocks(along: Any, total: Any, sizes: tuple[int, ...]) -> Any:
    return tuple([np.add.reduce(v, axis=0, dtype=f8).astype(v.dtype).reshape(sizes) for v in (along, total)])


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    return _layer_norm(input, normalized_shape, weight, bias, eps, 1)


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: Any = None) -> Any:
    if eps is None and input.dtype in _FLOATS:
        eps = np.finfo(input.dtype).eps
    return _layer_norm(input, normalized_shape, weight, None, eps, 0)


SERVES: dict[str, Callable[..., Any]] = {
    "group_norm": group_norm,
    "group_norm.grad": group_norm_grad,
    "layer_norm": layer_norm,
    "layer_norm.grad": _layer_norm_grad,
    "rms_norm": rms_norm,
    "rms_norm.grad": _layer_norm_grad,
    "batch_norm_relu": batch_norm_relu,
    "batch_norm_relu.grad": batch_norm_relu_grad,
    "batch_normalised": batch_normalised,
    "batch_normalised.grad": batch_normalised_grad,
}
