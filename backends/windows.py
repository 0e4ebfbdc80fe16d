"""Convolution by gathered windows and matrix products, in functions that NumPy and CuPy share: where cuDNN is absent.

The windows that a few samples' outputs read are copied into one matrix (im2col), which the weight multiplies; for the
gradient of the input each output's share is added up where its window lies. Samples are taken a few at a time, so that
a block's windows are at most `SCRATCH` bytes, the only memory besides the result. A kernel of one tap with stride 1 and
no padding needs no copy. Results are in order in memory. 16-bit floats are multiplied by the namespace's `matmul`,
which adds in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

__all__ = ["conv", "conv_input", "conv_weight"]

#: bytes of gathered windows at a time
SCRATCH = 256 << 20


def _extent(kernel: Any, out: Any, stride: Any, dilation: Any) -> list[int]:
    return [(p - 1) * s + d * (k - 1) + 1 for k, p, s, d in zip(kernel, out, stride, dilation)]


def _framed(xp: Any, x: Any, padding: Any, extent: list[int]) -> Any:
    """What the windows read of x, zeros around it included."""
    pairs = [(b, e - n - b) for (b, _), n, e in zip(padding, x.shape[2:], extent)]
    read = [slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(pairs, x.shape[2:])]
    x = x[(slice(None), slice(None), *read)]
    if all(b <= 0 and a <= 0 for b, a in pairs):
        return x
    return xp.pad(x, ((0, 0), (0, 0), *[(max(b, 0), max(a, 0)) for b, a in pairs]))


def _columns(xp: Any, x: Any, kernel: Any, out: Any, stride: Any, dilation: Any, groups: int) -> Any:
    """The windows of a framed x (N, C, *extent) as (N, groups, C/groups · taps, outputs)."""
    n, channels = x.shape[:2]
    steps = x.strides[2:]
    shape = (n, channels, *kernel, *out)
    strides = (*x.strides[:2], *[s * d for s, d in zip(steps, dilation)], *[s * t for s, t in zip(steps, stride)])
    view = xp.lib.stride_tricks.as_strided(x, shape, strides)
    return view.reshape(n, groups, channels // groups * prod(kernel), prod(out))


def _blocks(samples: int, numbers: int, itemsize: int) -> Iterator[slice]:
    """The batch in pieces whose windows, of `numbers` each sample, fit the scratch."""
    step = max(SCRATCH // max(numbers * itemsize, 1), 1)
    for first in range(0, samples, step):
        yield slice(first, min(first + step, samples))


def conv(xp: Any, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The op `conv`."""
    kernel = weight.shape[2:]
    out = [
        (n + b + a - d * (k - 1) - 1) // s + 1
        for n, k, s, (b, a), d in zip(input.shape[2:], kernel, stride, padding, dilation)
    ]
    extent = _extent(kernel, out, stride, dilation)
    w = weight.reshape(groups, weight.shape[0] // groups, prod(weight.shape[1:]))
    result = xp.empty((input.shape[0], weight.shape[0], *out), input.dtype)
    for block in _blocks(len(input), input.shape[1] * prod(kernel) * prod(out), input.itemsize):
        columns = _columns(xp, _framed(xp, input[block], padding, extent), kernel, out, stride, dilation, groups)
        result[block] = xp.matmul(w, columns).reshape(len(columns), weight.shape[0], *out)
    if bias is not None:
        result += bias.reshape(-1, *(1,) * len(out))
    return result


def conv_weight(
    xp: Any, input: Any, grad: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """The op `conv_weight`."""
    out, channels, depth = grad.shape[2:], grad.shape[1], input.shape[1] // groups
    extent = _extent(kernel, out, stride, dilation)
    wide = "float32" if input.dtype.itemsize == 2 else input.dtype
    total = xp.zeros((groups, channels // groups, depth * prod(kernel)), wide)
    for block in _blocks(len(input), input.shape[1] * prod(kernel) * prod(out), input.itemsize):
        columns = _columns(xp, _framed(xp, input[block], padding, extent), kernel, out, stride, dilation, groups)
        rows = grad[block].reshape(len(columns), groups, channels // groups, prod(out))
        total += xp.matmul(rows, columns.swapaxes(2, 3)).sum(axis=0, dtype=wide)
    return total.reshape(channels, depth, *kernel).astype(input.dtype, copy=False)


def conv_input(
    xp: Any, grad: Any, weight: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """The op `conv_input`."""
    kernel, out, depth = weight.shape[2:], grad.shape[2:], weight.shape[1]
    extent = _extent(kernel, out, stride, dilation)
    channels, taps = depth * groups, prod(kernel)
    w = weight.reshape(groups, weight.shape[0] // groups, depth * taps).swapaxes(1, 2)
    result = xp.zeros((grad.shape[0], channels, *size), grad.dtype)
    wide = "float32" if grad.dtype.itemsize == 2 else grad.dtype
    into = [slice(max(-b, 0), max(min(e - b, n), 0)) for (b, _), e, n in zip(padding, extent, size)]
    start = [slice(i.start + b, max(i.stop, i.start) + b) for i, (b, _) in zip(into, padding)]
    for block in _blocks(len(grad), channels * taps * prod(out), grad.itemsize):
        rows = grad[block].reshape(-1, groups, grad.shape[1] // groups, prod(out))
        shares = xp.matmul(w, rows).reshape(len(rows), channels, *kernel, *out)
        frame = xp.zeros((len(rows), channels, *extent), wide)
        for tap in product(*map(range, kernel)):
            window = [slice(i * d, i * d + (p - 1) * s + 1, s) for i, p, s, d in zip(tap, out, stride, dilation)]
            frame[(slice(None), slice(None), *window)] += shares[(slice(None), slice(None), *tap)]
        result[(block, slice(None), *into)] = frame[(slice(None), slice(None), *start)]
    return result
