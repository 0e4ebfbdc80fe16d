"""Max pooling on the CPU.

The batch goes through in blocks that stay in the cache. For each place in the window one strided copy brings the
candidates together; comparing and selecting then runs over contiguous memory. Such a copy moves the channels of a
pixel as one element (NumPy's void dtype), which is several times faster than a ufunc over short runs. Positions are
bytes, and gradients are selected by masking their bits: a product with 0 would make NaN of an infinite gradient.

Where windows are large and few, as in pooling over the whole plane, they are gone through instead of the places.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from .memory import empty, zeros

__all__ = ["POOLING"]

_BLOCK = 1 << 19
_BITS: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype("float32"): np.dtype("int32"),
    np.dtype("float64"): np.dtype("int64"),
}


def _pixels(x: Any) -> Any:
    """Channels-last x (n, *S, C), contiguous: an array (n, *S) of pixels."""
    return x.view(f"V{x.shape[-1] * x.itemsize}")[..., 0]


def _places(kernel: Any, size: Any, stride: Any, dilation: Any) -> Any:
    """For each place in the window the slice of the input that it meets, without the batch."""
    for tap in product(*map(range, kernel)):
        yield tuple([slice(i * d, i * d + (p - 1) * s + 1, s) for i, p, s, d in zip(tap, size, stride, dilation)])


def _geometry(shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    """How far the windows reach, the part of the input inside that, and where it lies there."""
    extent = [(p - 1) * s + d * (k - 1) + 1 for p, s, k, d in zip(size, stride, kernel, dilation)]
    kept = [min(n, e - p) for n, e, p in zip(shape, extent, padding)]
    inner = tuple([slice(0, n) for n in kept])
    place = tuple([slice(p, p + n) for p, n in zip(padding, kept)])
    return extent, inner, place, all(p == 0 and e <= n for p, e, n in zip(padding, extent, shape))


def _first_inside(kernel: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    found = np.zeros((1,) * len(size), int)
    for axis, (k, s, p, d, n) in enumerate(zip(kernel, stride, padding, dilation, size)):
        first = np.maximum(-((np.arange(n) * s - p) // d), 0).clip(0, k - 1)
        found = found * k + first.reshape(-1, *(1,) * (len(size) - axis - 1))
    return found[..., None]


def _few(kernel: Any, size: Any) -> bool:
    return 4 * prod(size) < prod(kernel)


def _by_window(input: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    """`max_pool`, one window after the other."""
    parts = []  # for each dimension and window: the first place inside the input, and what it meets
    for n, k, s, p, d, count in zip(input.shape[2:], kernel, stride, padding, dilation, size):
        starts = [i * s - p for i in range(count)]
        ranges = [(max(0, -(a // d)), min(k, (n - 1 - a) // d + 1)) for a in starts]
        if any(low >= high for low, high in ranges):
            return NotImplemented
        parts.append([(low, slice(a + low * d, a + (high - 1) * d + 1, d)) for a, (low, high) in zip(starts, ranges)])
    lead = input.shape[:2]
    values = empty((*lead, *size), input.dtype)
    index = empty(values.shape, np.uint8 if prod(kernel) <= 256 else np.int32)
    for at, window in zip(np.ndindex(*size), product(*parts)):
        piece = input[(..., *[where for _, where in window])]
        flat = piece.reshape(*lead, -1)
        place = flat.argmax(-1)
        best = np.take_along_axis(flat, place[..., None], -1)[..., 0]
        wrong = np.isnan(best)
        if wrong.any():  # of several, the last one, as in PyTorch
            place[wrong] = flat.shape[-1] - 1 - np.isnan(flat[wrong])[..., ::-1].argmax(-1)
        found = [i + low for i, (low, _) in zip(np.unravel_index(place, piece.shape[2:]), window)]
        values[(..., *at)], index[(..., *at)] = best, np.ravel_multi_index(found, kernel)
    return values, index


def max_pool(input: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    """The op `max_pool`."""
    if input.dtype not in _BITS or input.ndim < 3 or not input.size:
        return NotImplemented
    if _few(kernel, size):
        found = _by_window(input, kernel, stride, padding, dilation, size)
        if found is not NotImplemented:
            return found
    n, channels = input.shape[:2]
    count = np.uint8 if prod(kernel) <= 256 else np.int32
    source = np.moveaxis(input, 1, -1)
    extent, inner, place, inside = _geometry(input.shape[2:], kernel, stride, padding, dilation, size)
    values = empty((n, *size, channels), input.dtype)
    index = empty(values.shape, count)
    start = 0 if inside else _first_inside(kernel, stride, padding, dilation, size)
    step = max(1, _BLOCK // (prod(extent) * channels * input.itemsize))
    frame = None if inside else np.full((min(step, n), *extent, channels), -np.inf, input.dtype)
    other = np.empty((min(step, n), *size, channels), input.dtype)
    mask = np.empty(other.shape, bool)
    for first in range(0, n, step):
        x = source[first : first + step]
        best, found = values[first : first + step], index[first : first + step]
        if frame is not None:
            frame[(slice(0, len(x)), *place)] = x[(slice(None), *inner)]
            x = frame[: len(x)]
        else:
            x = np.ascontiguousarray(x)
        rival, better = other[: len(x)], mask[: len(x)]
        pixels, best_pixels, rival_pixels = _pixels(x), _pixels(best), _pixels(rival)
        found[...] = start
        for t, where in enumerate(_places(kernel, size, stride, dilation)):
            if t == 0:
                np.copyto(best_pixels, pixels[(slice(None), *where)])
                continue
            np.copyto(rival_pixels, pixels[(slice(None), *where)])
            np.greater(rival, best, out=better)
            np.maximum(rival, best, out=best)
            # places come in rising order, so the last one that was better is the largest of them
            turn = better.view(np.uint8) if count is np.uint8 else better.astype(count)
            np.multiply(turn, count(t), out=turn)
            np.maximum(found, turn, out=found)
        if np.isnan(best.max()):
            _repair(x, found, kernel, stride, dilation, size)
    return np.moveaxis(values, -1, 1), np.moveaxis(index, -1, 1)


def _repair(x: Any, found: Any, kernel: Any, stride: Any, dilation: Any, size: Any) -> None:
    """Let the place of a NaN be found: the last one, as in PyTorch."""
    for t, where in enumerate(_places(kernel, size, stride, dilation)):
        found[np.isnan(x[(slice(None), *where)])] = t


def _in_plane(index: Any, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """The number in the whole input, without gaps, of each element that `index` says; None where one is outside."""
    found = np.arange(prod(index.shape[:2])).reshape(*index.shape[:2], *(1,) * len(size))
    places = np.unravel_index(index, kernel)
    for axis, (n, place, s, p, d) in enumerate(zip(size, places, stride, padding, dilation)):
        first = np.arange(index.shape[2 + axis]).reshape(-1, *(1,) * (len(size) - axis - 1)) * s - p
        where = first + place * d
        if where.min() < 0 or where.max() >= n:
            return None
        found = found * n + where
    return found


def window_scatter(grad: Any, index: Any, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """The op `window_scatter`."""
    if grad.dtype not in _BITS or not grad.size:
        return NotImplemented
    if index.dtype != np.uint8 or _few(kernel, grad.shape[2:]):
        where = _in_plane(index, size, kernel, stride, padding, dilation)
        if where is not None:
            scattered = zeros((*grad.shape[:2], *size), grad.dtype)
            np.add.at(scattered.reshape(-1), where.reshape(-1), grad.reshape(-1))
            return scattered
    if index.dtype != np.uint8:
        return NotImplemented
    n, channels, out_size = grad.shape[0], grad.shape[1], grad.shape[2:]
    extent, inner, place, inside = _geometry(size, kernel, stride, padding, dilation, out_size)
    apart = all(s >= d * (k - 1) + 1 for s, k, d in zip(stride, kernel, dilation))
    tiled = apart and inside and all(s == k and e == m for s, k, e, m in zip(stride, kernel, extent, size))
    total = (empty if tiled else zeros)((n, *size, channels), grad.dtype)
    g_last, index_last = np.moveaxis(grad, 1, -1), np.moveaxis(index, 1, -1)
    bits = _BITS[grad.dtype]
    step = max(1, _BLOCK // (prod(extent) * channels * grad.itemsize))
    share = np.empty((min(step, n), *out_size, channels), grad.dtype)
    mask = np.empty(share.shape, bool)
    for first in range(0, n, step):
        g = np.ascontiguousarray(g_last[first : first + step])
        found = np.ascontiguousarray(index_last[first : first + step])
        target = total[first : first + step]
        frame = target if inside else np.zeros((len(g), *extent, channels), grad.dtype)
        part, chosen = share[: len(g)], mask[: len(g)]
        whole, pixels = _pixels(part), _pixels(frame)
        for t, where in enumerate(_places(kernel, out_size, stride, dilation)):
            np.equal(found, np.uint8(t), out=chosen)
            every = np.negative(chosen.view(np.int8)).astype(bits)  # all bits set where chosen
            np.bitwise_and(g.view(bits), every, out=part.view(bits))
            if apart:
                np.copyto(pixels[(slice(None), *where)], whole)
            else:
                place_of = frame[(slice(None), *where)]
                place_of += part
        if not inside:
            target[(slice(None), *inner)] = frame[(slice(None), *place)]
    return np.moveaxis(total, -1, 1)


def window_gather(input: Any, index: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """The op `window_gather`, for large and few windows."""
    if not index.size or not (index.dtype != np.uint8 or _few(kernel, index.shape[2:])):
        return NotImplemented
    where = _in_plane(index, input.shape[2:], kernel, stride, padding, dilation)
    return NotImplemented if where is None else input.reshape(-1)[where]


max_pool.partial = window_scatter.partial = window_gather.partial = True  # type: ignore[attr-defined]

POOLING: dict[str, Callable[..., Any]] = {
    "max_pool": max_pool,
    "window_gather": window_gather,
    "window_scatter": window_scatter,
}
