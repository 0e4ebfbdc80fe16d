"""Convolution on the CPU: blocks of gathered windows (im2col) times the weight, in a bounded scratch.

The batch is cut into blocks of samples (or of rows of one sample), so that a block's windows fill about two megabytes
and are still in the cache when the matrix product reads them. Nothing of it outlives the call. Results are channels
last in memory under their logical (N, C, ...) shape, and inputs are read fastest in that form.

Windows are gathered in one of two orders, whichever copies longer runs of memory:
    rows    one row per output position, (taps, channels) along it: with channels last, the last dimension's taps and
            the channels are one run
    planes  one row per (channel, tap), output positions along it: for few channels, as in the first layer of a network
The gradient for the input is a convolution with the mirrored weight where that costs about as much as the forward
(stride 1, small kernel); otherwise a matrix product gives each window's share, and these are added up in place.
Depthwise convolutions have no matrix product worth the name and go tap by tap, elementwise.

Turned down: fast Fourier transforms (kernels are small), one product per tap (measured 1.5 to 7 times slower), and
keeping the gathered windows for the backward pass (K times the memory of the input).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..compiled.listed import made
from ..compiled.pool import run
from ..threads import ALONE, get_threads
from .memory import empty, zeros
from .products import dot

__all__ = ["CONVOLUTION"]

#: bytes of gathered windows at a time: the order of a core's second-level cache
SCRATCH = 2 << 20


class _Windows:
    """The windows of x (N, C, *S) that a convolution's outputs of size `out` read, block by block.

    `for where, block in windows` gives the index (samples, rows) of a block in a channels-last output, and its windows
    as (groups, positions, K), the matrix in whose memory `order` says what is contiguous.
    """

    def __init__(self, x: Any, kernel: Any, out: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> None:
        self.x, self.kernel, self.out, self.stride, self.dilation, self.groups = (
            x,
            kernel,
            out,
            stride,
            dilation,
            groups,
        )
        self.before = [b for b, _ in padding]
        self.depth = x.shape[1] // groups
        self.planes = self._planes_are_faster()
        self.pointwise = prod(kernel) == 1 and groups == 1
        self.source = x if self.planes else np.moveaxis(x, 1, -1)
        self.frame: Any = None
        self.frame_of: Any = None
        self.scratch: Any = None

    def _planes_are_faster(self) -> bool:
        """Compare the orders' costs for one output position: about 15 ns for each run, 0.25 ns for each number."""
        taps = prod(self.kernel)
        near = self.groups == 1 and self.dilation[-1] == 1
        rows = taps * self.depth * (15 / (self.kernel[-1] * self.depth if near else self.depth) + 0.25)
        step = 0.25 if self.stride[-1] == 1 else 1.0
        planes = taps * self.depth * (15 / max(self.out[-1], 1) + step)
        return planes < rows

    def weights(self, weight: Any) -> Any:
        """A weight (O, C/groups, *kernel) as (groups, K, O/groups), in the order of the windows."""
        w = weight.reshape(self.groups, -1, self.depth, prod(self.kernel))
        if self.planes:
            return w.reshape(self.groups, w.shape[1], -1).swapaxes(1, 2)
        return w.transpose(0, 3, 2, 1).reshape(self.groups, -1, w.shape[1])

    def weight_of(self, matrix: Any) -> Any:
        """The inverse of `weights`: (groups, K, O/groups) as (O, C/groups, *kernel)."""
        g, _, o = matrix.shape
        if self.planes:
            w = matrix.swapaxes(1, 2)
        else:
            w = matrix.reshape(g, prod(self.kernel), self.depth, o).transpose(0, 3, 2, 1)
        return np.ascontiguousarray(w).reshape(g * o, self.depth, *self.kernel)

    def blocks(self) -> Any:
        """(first and last sample, first and last row) of each block."""
        n, rows = self.x.shape[0], self.out[0]
        row = prod(self.out[1:]) * prod(self.kernel) * self.x.shape[1] * self.x.itemsize
        if row * rows <= SCRATCH:
            step = max(1, SCRATCH // (row * rows))
            return [(i, min(i + step, n), 0, rows) for i in range(0, n, step)]
        step = max(1, SCRATCH // row)
        return [(i, i + 1, p, min(p + step, rows)) for i in range(n) for p in range(0, rows, step)]

    def __iter__(self) -> Any:
        for first, last, top, end in self.blocks():
            yield (slice(first, last), slice(top, end)), self._gather(first, last, top, end)

    def framed(self, first: int, last: int, top: int, end: int) -> Any:
        """The zero-padded piece of the source that a block reads; without a copy if that is possible."""
        axis = 2 if self.planes else 1
        tops = [top, *[0] * (len(self.out) - 1)]
        ends = [end, *self.out[1:]]
        low = [t * s - b for t, s, b in zip(tops, self.stride, self.before)]
        high = [
            (e - 1) * s - b + d * (k - 1) + 1
            for e, s, b, d, k in zip(ends, self.stride, self.before, self.dilation, self.kernel)
        ]
        size = self.x.shape[2:]
        inner = tuple([slice(max(a, 0), max(min(b, n), 0)) for a, b, n in zip(low, high, size)])
        index = (slice(first, last), *[slice(None)] * (axis - 1), *inner)
        piece = self.source[index]
        whole = all(a >= 0 and b <= n for a, b, n in zip(low, high, size))
        if whole and (self.planes or piece.strides[-1] == piece.itemsize or piece.shape[-1] == 1):
            return piece
        extent = [b - a for a, b in zip(low, high)]
        if self.planes:
            shape = (last - first, self.x.shape[1], *extent)
        else:
            shape = (last - first, *extent, self.x.shape[1])
        place = tuple([slice(s.start - a, max(s.stop, s.start) - a) for s, a in zip(inner, low)])
        if self.frame_of != (shape, place):  # the border stays zero from block to block
            self.frame, self.frame_of = np.zeros(shape, self.x.dtype), (shape, place)
        self.frame[(slice(None), *[slice(None)] * (axis - 1), *place)] = piece
        return self.frame

    def _gather(self, first: int, last: int, top: int, end: int) -> Any:
        x = self.framed(first, last, top, end)
        n, out, g, c = last - first, (end - top, *self.out[1:]), self.groups, self.depth
        spatial = x.strides[2:] if self.planes else x.strides[1:-1]
        channel = x.strides[1] if self.planes else x.strides[-1]
        steps = [t * s for t, s in zip(spatial, self.stride)]
        taps = [t * d for t, d in zip(spatial, self.dilation)]
        if self.planes:
            shape = (g, c, *self.kernel, n, *out)
            strides = (c * channel, channel, *taps, x.strides[0], *steps)
            matrix = (g, c * prod(self.kernel), n * prod(out))
        else:
            shape = (g, n, *out, *self.kernel, c)
            strides = (c * channel, x.strides[0], *steps, *taps, channel)
            matrix = (g, n * prod(out), c * prod(self.kernel))
        view = as_strided(x, shape, strides)
        if self.pointwise and not self.planes:
            return view.reshape(matrix)
        if self.scratch is None:
            self.scratch = np.empty(prod(shape), self.x.dtype)
        columns = self.scratch[: prod(shape)].reshape(shape)
        np.copyto(columns, view)
        columns = columns.reshape(matrix)
        return columns.swapaxes(1, 2) if self.planes else columns


def _serves(*arrays: Any) -> bool:
    """Single and double precision; the rest is for the generic forward."""
    return (
        all(a is None or a.dtype.char in "fd" for a in arrays) and len({a.dtype for a in arrays if a is not None}) == 1
    )


def _depthwise(channels: int, weight_shape: Any, groups: int) -> bool:
    return groups == channels == weight_shape[0] and weight_shape[1] == 1 and groups > 1


def _pieces(samples: int, work: int) -> list[tuple[int, int]]:
    """The batch cut up for the threads; whole where `work`, the multiplications, is not worth it."""
    count = max(min(get_threads(), samples, work // (1 << 21)), 1)
    step = max(-(-samples // count), 1)
    return [(i, min(i + step, samples)) for i in range(0, max(samples, 1), step)]


def conv(input: Any, weight: Any, bias: Any = None, stride=(1,), padding=((0, 0),), dilation=(1,), groups=1) -> Any:
    """The op `conv`."""
    if not _serves(input, weight, bias):
        return NotImplemented
    kernel = weight.shape[2:]
    size = [
        (n + b + a - d * (k - 1) - 1) // s + 1
        for n, k, s, (b, a), d in zip(input.shape[2:], kernel, stride, padding, dilation)
    ]
    result = empty((input.shape[0], *size, weight.shape[0]), input.dtype)

    def piece(first: int, last: int) -> None:
        x, out = input[first:last], result[first:last]
        windows = _Windows(x, kernel, size, stride, padding, dilation, groups)
        if _depthwise(x.shape[1], weight.shape, groups):
            _depthwise_forward(windows, weight, out)
        else:
            w = windows.weights(weight)
            for where, columns in windows:
                block = out[where].reshape(columns.shape[1], groups, -1)
                if groups == 1:
                    np.matmul(columns[0], w[0], out=block[:, 0])
                else:
                    block[...] = np.matmul(columns, w).swapaxes(0, 1)
        if bias is not None:  # in long runs: a bias of 20 numbers alone is slow to broadcast
            lines = out.reshape(-1, size[-1] * weight.shape[0])
            lines += np.tile(bias, size[-1])

    with ALONE:
        run(piece, _pieces(len(input), result.size * weight[0].size))
    return np.moveaxis(result, -1, 1)


def conv_weight(input: Any, grad: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The op `conv_weight`."""
    if not _serves(input, grad):
        return NotImplemented
    kernel = tuple(kernel)
    depth, channels = input.shape[1] // groups, grad.shape[1]
    pieces = _pieces(len(input), grad.size * depth * prod(kernel))
    totals: dict[int, Any] = {}

    def piece(first: int, last: int) -> None:
        x, g = input[first:last], np.moveaxis(grad[first:last], 1, -1)
        windows = _Windows(x, kernel, grad.shape[2:], stride, padding, dilation, groups)
        if _depthwise(x.shape[1], (channels, depth), groups):
            totals[first] = _depthwise_weight(windows, g)
            return
        total = np.zeros((groups, depth * prod(kernel), channels // groups), input.dtype)
        part = np.empty_like(total)
        for where, columns in windows:
            rows = g[where].reshape(columns.shape[1], groups, -1).swapaxes(0, 1)
            total += np.matmul(columns.swapaxes(1, 2), rows, out=part)
        totals[first] = windows.weight_of(total)

    with ALONE:
        run(piece, pieces)
    total = totals[0]
    for first, _ in pieces[1:]:  # in one order, whichever thread is ready first
        total += totals[first]
    return total


def conv_input(grad: Any, weight: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The op `conv_input`."""
    if not _serves(grad, weight):
        return NotImplemented
    kernel, out = weight.shape[2:], grad.shape[2:]
    channels = weight.shape[1] * groups
    depthwise = _depthwise(channels, weight.shape, groups)
    if all(s == 1 for s in stride) and (depthwise or prod(size) <= 1.4 * prod(out)):
        w = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
        w = np.flip(w, tuple(range(3, w.ndim))).reshape(channels, -1, *kernel)
        around = [d * (k - 1) - b for d, k, (b, _) in zip(dilation, kernel, padding)]
        pairs = [(a, n - p + d * (k - 1) - a) for a, n, p, d, k in zip(around, size, out, dilation, kernel)]
        return conv(grad, w, None, stride, pairs, dilation, groups)
    return _scatter(grad, weight, tuple(size), stride, padding, dilation, groups)


def _scatter(grad: Any, weight: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Each output's gradient times the weight is its window's share; add the shares up where the windows lie."""
    kernel, out = weight.shape[2:], grad.shape[2:]
    n, channels, depth = grad.shape[0], weight.shape[1] * groups, weight.shape[1]
    extent = [(p - 1) * s + d * (k - 1) + 1 for p, s, d, k in zip(out, stride, dilation, kernel)]
    before = [b for b, _ in padding]
    total = zeros((n, *size, channels), grad.dtype)
    last = np.moveaxis(grad, 1, -1)
    depthwise = _depthwise(channels, weight.shape, groups)
    # (groups, O/groups, taps · depth): the share of a window is a row of grad @ w
    w = weight.reshape(groups, -1, depth, prod(kernel)).swapaxes(2, 3).reshape(groups, -1, prod(kernel) * depth)
    # Where taps of the last dimension and channels are one run in memory, add whole runs, one output column at a time.
    runs = groups == 1 and dilation[-1] == 1 and kernel[-1] > 1 and depth < 64 and not depthwise
    sample = prod(out) * prod(kernel) * channels * grad.itemsize
    step = max(1, SCRATCH // max(sample, 1))
    target = tuple([slice(max(-b, 0), max(min(e - b, s), 0)) for b, e, s in zip(before, extent, size)])
    source = tuple([slice(t.start + b, max(t.stop, t.start) + b) for t, b in zip(target, before)])

    def piece(start: int, end: int) -> None:
        for first in range(start, end, step):
            block(first, min(first + step, end))

    def block(first: int, end: int) -> None:
        g = last[first:end]
        frame = np.zeros((len(g), *extent, channels), grad.dtype)
        shares: Any = None
        if not depthwise:
            flat = g.reshape(-1, groups, g.shape[-1] // groups).swapaxes(0, 1)
            shares = np.matmul(flat, w).reshape(groups, len(g), *out, *kernel, depth)
        if runs:
            _add_runs(frame, shares[0], kernel, out, stride, dilation)
        else:
            for tap in product(*map(range, kernel)):
                window = [slice(i * d, i * d + (p - 1) * s + 1, s) for i, p, s, d in zip(tap, out, stride, dilation)]
                place = frame[(slice(None), *window)]
                if depthwise:
                    place += g * weight[(slice(None), 0, *tap)]
                else:
                    place = place.reshape(*place.shape[:-1], groups, depth)
                    place += np.moveaxis(shares[(..., *tap, slice(None))], 0, -2)
        total[(slice(first, end), *target)] = frame[(slice(None), *source)]

    with ALONE:
        run(piece, _pieces(n, grad.size * weight[0].size))
    return np.moveaxis(total, -1, 1)


def _add_runs(frame: Any, shares: Any, kernel: Any, out: Any, stride: Any, dilation: Any) -> None:
    n, c, k = len(frame), frame.shape[-1], kernel[-1]
    lines = frame.reshape(n, *frame.shape[1:-2], -1)
    shares = shares.reshape(n, *out, *kernel[:-1], k * c)
    for tap in product(*map(range, kernel[:-1])):
        window = [slice(i * d, i * d + (p - 1) * s + 1, s) for i, p, s, d in zip(tap, out, stride, dilation)]
        part = lines[(slice(None), *window)]
        for q in range(out[-1]):
            start = q * stride[-1] * c
            part[..., start : start + k * c] += shares[(..., q, *tap, slice(None))]


# -- depthwise --------------------------------------------------------------------------------------------------------


def _shifted(windows: _Windows, where: Any) -> Any:
    """(tap, the block's inputs that meet it, channels last) for each tap."""
    (samples, rows) = where
    x = windows.framed(samples.start, samples.stop, rows.start, rows.stop)
    out = (rows.stop - rows.start, *windows.out[1:])
    for tap in product(*map(range, windows.kernel)):
        window = [
            slice(i * d, i * d + (p - 1) * s + 1, s) for i, p, s, d in zip(tap, out, windows.stride, windows.dilation)
        ]
        yield tap, x[(slice(None), *window)]


def _by_line(windows: _Windows) -> list[Any]:
    """Blocks for elementwise work: as `blocks`, for the memory of one tap."""
    n, rows = windows.x.shape[0], windows.out[0]
    row = prod(windows.out[1:]) * windows.x.shape[1] * windows.x.itemsize * 3
    step = max(1, SCRATCH // max(row * rows, 1))
    if row * rows <= SCRATCH:
        return [(slice(i, min(i + step, n)), slice(0, rows)) for i in range(0, n, step)]
    step = max(1, SCRATCH // row)
    return [(slice(i, i + 1), slice(p, min(p + step, rows))) for i in range(n) for p in range(0, rows, step)]


def _depthwise_forward(windows: _Windows, weight: Any, out: Any) -> None:
    windows.planes, windows.source = False, np.moveaxis(windows.x, 1, -1)
    for where in _by_line(windows):
        block = out[where]
        term = np.empty_like(block)
        for tap, x in _shifted(windows, where):
            w = np.broadcast_to(weight[(slice(None), 0, *tap)], block.shape[-2:]).copy()  # a long run to multiply by
            if not any(tap):
                np.multiply(x, w, out=block)
            else:
                block += np.multiply(x, w, out=term)


def _depthwise_weight(windows: _Windows, grad: Any) -> Any:
    windows.planes, windows.source = False, np.moveaxis(windows.x, 1, -1)
    total = np.zeros((windows.x.shape[1], 1, *windows.kernel), windows.x.dtype)
    for where in _by_line(windows):
        g = grad[where]
        ones = np.ones(prod(g.shape[:-1]), g.dtype)
        for tap, x in _shifted(windows, where):
            total[(slice(None), 0, *tap)] += ones @ (x * g).reshape(len(ones), -1)
    return total


def bias_grad(g: Any) -> Any:
    """The gradient of `conv` for its bias: sums over all but the channels, as a product where that is faster."""
    last = np.moveaxis(g, 1, -1)
    if not last.flags.c_contiguous or g.dtype.char not in "fd":
        return made(_sum_of_channels, g)
    rows = last.reshape(-1, g.shape[1])
    return dot(np.ones(len(rows), g.dtype), rows)


def _sum_of_channels(g: Any) -> Any:
    return g.sum(axis=(0, *range(2, g.ndim)))


for _kernel in (conv, conv_weight, conv_input):
    _kernel.partial = True  # type: ignore[union-attr]

bias_grad.listed = True  # type: ignore[attr-defined]

CONVOLUTION: dict[str, Callable[..., Any]] = {
    "conv": conv,
    "conv.grad.bias": bias_grad,
    "conv_input": conv_input,
    "conv_weight": conv_weight,
}
