"""Batch norm by kernels of our own, where cuDNN (backends/cudnn/normalisation.py) is absent or does not serve.

In training: one pass for the statistics, one that normalises, adds and rectifies; backward one pass for the two sums of
each channel and one for the gradients of input and shortcut. NCHW and NHWC are served as they lie. It has not run on a
GPU yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .launch import FLOATS, Source, blocks, contiguous, new, wide_loads
from .pooling import _as, _last, _new

__all__ = ["SERVES"]

_SOURCE = Source("batch_norm.cu", T=FLOATS)
_FIRST, _LAST, _WHOLE = (_SOURCE.kernel(f"moments_{part}") for part in ("first", "last", "whole"))
_NORMALISE = _SOURCE.kernel("normalise")
_SLOPES_FIRST, _SLOPES_LAST, _SLOPES_WHOLE, _SPREAD = (
    _SOURCE.kernel(f"slopes_{part}") for part in ("first", "last", "whole", "spread")
)
#: blocks of 256 threads at most, and blocks that fill a GPU
_BLOCKS, _FULL = 1 << 16, 528


class _Data:
    """How the channels of an array (N, C, ...) lie, and how its sums are shared out."""

    def __init__(self, x: Any, *others: Any) -> None:
        self.last = _last(x)
        self.channels, self.count = x.shape[1], x.size // max(x.shape[1], 1)
        self.inner = 1 if self.last else math.prod(x.shape[2:])
        self.outer = self.count // max(self.inner, 1)
        self.arrays: list[Any] = [None if a is None else _as(a, self.last) for a in (x, *others)]
        self.kind = np.dtype("float64" if x.dtype == np.float64 else "float32")
        self.pack = 16 // x.itemsize

    def packs(self, *arrays: Any) -> int:
        """1 where neighbours go by 16 bytes."""
        whole = self.channels if self.last else self.inner
        return int(whole % self.pack == 0 and bool(wide_loads(*self.arrays, *arrays)))

    def parts(self, packs: int) -> tuple[Any, Any, int]:
        """(grid, block, shares) of a sum over each channel."""
        loads = -(-self.channels // (self.pack if packs else 1))
        lanes = min(1 << (loads - 1).bit_length(), 32)
        tiles = -(-loads // lanes) if self.last else self.channels
        parts = max(1, min(-(-self.count // 512), -(-_FULL // tiles)))
        return (tiles, parts), ((lanes, 256 // lanes) if self.last else 256), parts

    def vector(self, vector: Any) -> Any:
        """One number per channel, wide; None stays None."""
        return None if vector is None else contiguous(vector.reshape(-1).astype(self.kind, copy=False))

    def spread(self, packs: int) -> int:
        """The grid of a pass over all elements."""
        return blocks(self.channels * self.count // (self.pack if packs else 1), 256, _BLOCKS)


def _serves(x: Any, *others: Any) -> bool:
    return (
        x.dtype.name in FLOATS
        and x.ndim >= 2
        and x.size > 0
        and all(a is None or (a.shape == x.shape and a.dtype == x.dtype) for a in others)
    )


def _normalised(data: _Data, mean: Any, var: Any, weight: Any, bias: Any, eps: float, relu: bool, shape: Any) -> Any:
    x, other = data.arrays
    made, y = _new(shape, x.dtype, data.last)
    packs = data.packs(made)
    _NORMALISE[x.dtype](
        *(data.spread(packs), 256, x, mean, var, data.vector(weight), data.vector(bias), other, made, float(eps)),
        *(int(relu), x.size, data.channels, data.inner, int(data.last), packs),
    )
    return y


def _forward(input: Any, weight: Any, bias: Any, other: Any, eps: float, relu: bool) -> Any:
    if not _serves(input, other):
        return NotImplemented
    data = _Data(input, other)
    x, packs = data.arrays[0], data.packs()
    grid, block, parts = data.parts(packs)
    sums = new((parts, 3, data.channels), data.kind)
    if data.last:
        _LAST[x.dtype](grid, block, x, sums, data.channels, data.count, parts, packs)
    else:
        _FIRST[x.dtype](grid, block, x, sums, data.channels, data.outer, data.inner, parts, packs)
    mean, var = new(data.channels, data.kind), new(data.channels, data.kind)
    _WHOLE[x.dtype](blocks(data.channels, 8), (32, 8), sums, mean, var, data.channels, parts)
    y = _normalised(data, mean, var, weight, bias, eps, relu, input.shape)
    kept = (1, -1, *(1,) * (input.ndim - 2))
    return y, mean.reshape(kept), var.reshape(kept)


def batch_normalised(input: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """As the op: (result, mean, biased variance)."""
    return _forward(input, weight, bias, None, eps, False)


def batch_norm_relu(input: Any, weight: Any = None, bias: Any = None, other: Any = None, eps: float = 1e-5) -> Any:
    """As the op: with an addition and a ReLU."""
    return _forward(input, weight, bias, other, eps, True)


def _backward(g: Any, input: Any, weight: Any, eps: float, out: Any, mean: Any, var: Any, needs: Any) -> Any:
    slope, *statistics = g
    if not _serves(input, slope, out):
        return NotImplemented
    data = _Data(input, slope, out)
    x, dy, y = data.arrays
    given = getattr(g, "given", range(len(g)))
    g_mean, g_var = (data.vector(s) if i in given else None for i, s in enumerate(statistics, 1))
    level, variance, packs = data.vector(mean), data.vector(var), data.packs()
    grid, block, parts = data.parts(packs)
    sums = new((parts, 2, data.channels), data.kind)
    if data.last:
        _SLOPES_LAST[x.dtype](grid, block, dy, y, x, level, sums, data.channels, data.count, parts, packs)
    else:
        _SLOPES_FIRST[x.dtype](grid, block, dy, y, x, level, sums, data.channels, data.outer, data.inner, parts, packs)
    d_weight, d_bias = new(data.channels, data.kind), new(data.channels, data.kind)
    factors = new((3, data.channels), data.kind)
    _SLOPES_WHOLE[x.dtype](
        *(blocks(data.channels, 8), (32, 8), sums, variance, data.vector(weight), g_mean, g_var),
        *(d_weight, d_bias, factors, float(eps), float(data.count), data.channels, parts),
    )
    made = other = dx = d_other = None
    if needs[0]:
        made, dx = _new(input.shape, x.dtype, data.last)
    if y is not None and needs[3]:
        other, d_other = _new(input.shape, x.dtype, data.last)
    if made is not None or other is not None:
        packs = data.packs(made, other)
        _SPREAD[x.dtype](
            *(data.spread(packs), 256, dy, y, x, level, factors, made, other, x.size, data.channels, data.inner),
            *(int(data.last), packs),
        )
    kind = data.kind if weight is None else weight.dtype
    vectors = [d.astype(kind, copy=False) if need else None for d, need in zip((d_weight, d_bias), needs[1:3])]
    return dx, *vectors, d_other


def batch_normalised_grad(g: Any, input: Any, weight: Any, eps: float, mean: Any, var: Any, needs: Any) -> Any:
    """(dx, dweight, dbias)."""
    found = _backward(g, input, weight, eps, None, mean, var, needs)
    return found if found is NotImplemented else found[:3]


def batch_norm_relu_grad(g: Any, input: Any, weight: Any, eps: float, out: Any, mean: Any, var: Any, needs: Any) -> Any:
    """(dx, dweight, dbias, dother)."""
    return _backward(g, input, weight, eps, out, mean, var, needs)


def normalised(input: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """As the op, with statistics and weights of one number per channel: batch norm in evaluation."""
    vectors = (mean, var, weight, bias)
    channels = input.shape[1] if input.ndim > 1 else 0
    shape = (1, channels, *(1,) * (input.ndim - 2))
    for v in vectors:
        if v is not None and tuple(v.shape) != shape and not (input.ndim == 2 and tuple(v.shape) == (channels,)):
            return NotImplemented
    wider = any(v is not None and v.dtype.itemsize > 4 and input.dtype.itemsize < 8 for v in vectors)
    if not _serves(input) or wider:
        return NotImplemented
    data = _Data(input, None)
    return _normalised(data, data.vector(mean), data.vector(var), weight, bias, eps, False, input.shape)


SERVES: dict[str, Callable[..., Any]] = {
    "batch_normalised": batch_normalised,
    "batch_normalised.grad": batch_normalised_grad,
    "batch_norm_relu": batch_norm_relu,
    "batch_norm_relu.grad": batch_norm_relu_grad,
    "normalised": normalised,
}
