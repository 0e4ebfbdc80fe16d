"""Max pooling: channels last, the channels of a pixel at a time; otherwise row by row of a plane.

Which elements a window covers along one dimension stands in a table, in both directions: for each output the inputs of
its window, for each input the outputs whose windows hold it. So padding, stride and dilation cost nothing in the loops,
and the gradient of each input element is written once, by gathering, whatever overlaps. One byte for each output is
kept: the number of the maximum in its window.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..numpy.memory import empty
from .build import kernel
from .listed import contiguous
from .pool import parallel

__all__ = ["SERVES"]

_FLOATS = frozenset({np.dtype("float32"), np.dtype("float64")})
#: elements that are worth a second thread
_LEAST = 1 << 14
#: fewer channels than this are taken as planes where the memory allows either
_FEW = 8
#: windows that have kernels of their own
_WHOLE = ((2, 2), (3, 3))
#: how to bring channels to the end, and back (np.moveaxis takes as long as a small pool)
_LAST = {n: (0, *range(2, n), 1) for n in (3, 4, 5)}
_FIRST = {n: (0, n - 1, *range(1, n - 1)) for n in (3, 4, 5)}


# -- kernels ----------------------------------------------------------------------------------------------------------
# A table has a row for each coordinate: how many partners it has, then partner and place in the window, in turn.


@functools.cache
def _max_last(height: int, width: int) -> Any:
    """The kernel for channels-last arrays (N, D, H, W, C): whole windows of height x width in registers."""

    @kernel("T[:,:,:,:,:] T[:,:,:,:,:] u1[:,:,:,:,:] i8[:,:] i8[:,:] i8[:,:] i8 i8", T="f4 f8")
    def max_last(x, y, found, deep, down, along, start, stop):
        layers, rows = y.shape[1], y.shape[2]
        for r in range(stop - start):
            row = start + r
            p, layer, n = row % rows, row // rows % layers, row // rows // layers
            for q in range(y.shape[3]):
                best, place = y[n, layer, p, q], found[n, layer, p, q]
                if height and down[p, 0] == height and along[q, 0] == width:
                    z, y0, x0 = deep[layer, 1], down[p, 1], along[q, 1]
                    dy, dx = down[p, 3] - y0, along[q, 3] - x0
                    for c in range(best.size):
                        top, at = x[n, z, y0, x0, c], np.int32(0)
                        for i in range(height):
                            for j in range(width):
                                v = x[n, z, y0 + i * dy, x0 + j * dx, c]
                                better = (v > top) | (v != v)
                                top = v if better else top
                                at = np.int32(i * width + j) if better else at
                        best[c] = top
                        place[c] = np.uint8(at)
                    continue
                first = True
                for i in range(deep[layer, 0]):
                    for j in range(down[p, 0]):
                        for k in range(along[q, 0]):
                            a = x[n, deep[layer, 1 + 2 * i], down[p, 1 + 2 * j], along[q, 1 + 2 * k]]
                            t = np.uint8(deep[layer, 2 + 2 * i] + down[p, 2 + 2 * j] + along[q, 2 + 2 * k])
                            if first:
                                for c in range(best.size):
                                    best[c] = a[c]
                                    place[c] = t
                                first = False
                            else:
                                for c in range(best.size):
                                    v = a[c]
                                    better = (v > best[c]) | (v != v)
                                    best[c] = v if better else best[c]
                                    place[c] = t if better else place[c]

    return max_last


@functools.cache
def _max_planes(step: int) -> Any:
    """The kernel for planes (N C, D, H, W), windows `step` apart along a row; 0 for any other distance."""

    @kernel("T[:,:,:,:] T[:,:,:,:] u1[:,:,:,:] i8[:,:] i8[:,:] i8[:,:] i8 i8 i8 i8", T="f4 f8")
    def max_planes(x, y, found, deep, down, along, low, high, start, stop):
        layers, rows = y.shape[1], y.shape[2]
        for r in range(stop - start):
            row = start + r
            p, layer, n = row % rows, row // rows % layers, row // rows // layers
            best, place = y[n, layer, p], found[n, layer, p]
            # from low to high windows are whole: place by place over all of them
            inner, at = best[low:high], place[low:high]
            for i in range(deep[layer, 0]):
                for j in range(down[p, 0]):
                    a = x[n, deep[layer, 1 + 2 * i], down[p, 1 + 2 * j]]
                    t = deep[layer, 2 + 2 * i] + down[p, 2 + 2 * j]
                    for k in range(along[low, 0] if low < high else 0):
                        u = np.uint8(t + along[low, 2 + 2 * k])
                        b = a[along[low, 1 + 2 * k] :]
                        gap = step if step else (along[low + 1, 1] - along[low, 1] if high - low > 1 else 1)
                        if i == 0 and j == 0 and k == 0:
                            for q in range(inner.size):
                                inner[q] = b[q * gap]
                                at[q] = u
                        else:
                            for q in range(inner.size):
                                v = b[q * gap]
                                better = (v > inner[q]) | (v != v)
                                inner[q] = v if better else inner[q]
                                at[q] = u if better else at[q]
            for e in range(low + best.size - high):
                q = e if e < low else e - low + high
                top = x[n, deep[layer, 1], down[p, 1], along[q, 1]]
                here = deep[layer, 2] + down[p, 2] + along[q, 2]
                for i in range(deep[layer, 0]):
                    for j in range(down[p, 0]):
                        for k in range(along[q, 0]):
                            v = x[n, deep[layer, 1 + 2 * i], down[p, 1 + 2 * j], along[q, 1 + 2 * k]]
                            better = (v > top) | (v != v)
                            top = v if better else top
                            here = deep[layer, 2 + 2 * i] + down[p, 2 + 2 * j] + along[q, 2 + 2 * k] if better else here
                best[q] = top
                place[q] = np.uint8(here)

    return max_planes


@kernel("T[:,:,:,:,:] u1[:,:,:,:,:] T[:,:,:,:,:] i8[:,:] i8[:,:] i8[:,:] i8 i8", T="f4 f8")
def _scatter_last(g, found, dx, deep, down, along, start, stop):
    layers, rows, zero = dx.shape[1], dx.shape[2], dx.dtype.type(0)
    for r in range(stop - start):
        row = start + r
        p, layer, n = row % rows, row // rows % layers, row // rows // layers
        for q in range(dx.shape[3]):
            out = dx[n, layer, p, q]
            first = True
            for i in range(deep[layer, 0]):
                for j in range(down[p, 0]):
                    for k in range(along[q, 0]):
                        z, y, x = deep[layer, 1 + 2 * i], down[p, 1 + 2 * j], along[q, 1 + 2 * k]
                        a, b = g[n, z, y, x], found[n, z, y, x]
                        t = np.uint8(deep[layer, 2 + 2 * i] + down[p, 2 + 2 * j] + along[q, 2 + 2 * k])
                        if first:
                            for c in range(out.size):
                                out[c] = a[c] if b[c] == t else zero
                            first = False
                        else:
                            for c in range(out.size):
                                v = out[c]
                                out[c] = v + a[c] if b[c] == t else v
            if first:
                for c in range(out.size):
                    out[c] = zero


@functools.cache
def _scatter_tiles(height: int, width: int) -> Any:
    """The kernel for channels-last arrays (N, H, W, C) and windows that lie side by side."""

    @kernel("T[:,:,:,:] u1[:,:,:,:] T[:,:,:,:] i8 i8", T="f4 f8")
    def scatter_tiles(g, found, dx, start, stop):
        rows, zero = g.shape[1], dx.dtype.type(0)
        for r in range(stop - start):
            p, n = (start + r) % rows, (start + r) // rows
            for q in range(g.shape[2]):
                a, b = g[n, p, q], found[n, p, q]
                for i in range(height):
                    for j in range(width):
                        out, t = dx[n, p * height + i, q * width + j], np.uint8(i * width + j)
                        for c in range(a.size):
                            out[c] = a[c] if b[c] == t else zero
            bottom = height if p < rows - 1 else dx.shape[1] - p * height
            for i in range(bottom):
                for q in range(g.shape[2] * width if i < height else 0, dx.shape[2]):
                    out = dx[n, p * height + i, q]
                    for c in range(out.size):
                        out[c] = zero

    return scatter_tiles


@kernel("T[:,:,:,:] u1[:,:,:,:] T[:,:] i8[:] i8[:] i8[:] i8[:] i8 i8", T="f4 f8")
def _scatter_planes(g, found, dx, deep, down, along, offset, start, stop):
    for m in range(stop - start):
        n = start + m
        out = dx[n]
        for i in range(out.size):
            out[i] = out.dtype.type(0)
        for layer in range(g.shape[1]):
            for p in range(g.shape[2]):
                a, b, base = g[n, layer, p], found[n, layer, p], deep[layer] + down[p]
                for q in range(a.size):
                    out[base + along[q] + offset[b[q]]] += a[q]


# -- the functions around them ----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _tables(shape: Any, window: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    """For three dimensions the inputs of each output, and for three dimensions the outputs of each input."""
    missing = 3 - len(size)
    full = [(1,) * missing + tuple(v) for v in (shape, window, stride)]
    padding, dilation, size = (0,) * missing + padding, (1,) * missing + dilation, (1,) * missing + size
    forward, backward = [], []
    weight = prod(window)
    for n, k, s, p, d, m in zip(*full, padding, dilation, size):
        weight //= k
        where = np.arange(m)[:, None] * s - p + np.arange(k) * d
        inside = (where >= 0) & (where < n)
        outputs, places = np.nonzero(inside)
        inputs = where[inside]
        forward.append(_table(outputs, inputs, places * weight, m))
        backward.append(_table(inputs, outputs, places * weight, n))
    return forward, backward


def _table(source: Any, partner: Any, place: Any, n: int) -> Any:
    order = np.lexsort((place, source))
    source, partner, place = source[order], partner[order], place[order]
    count = np.bincount(source, minlength=n)
    at = np.arange(len(source)) - (np.cumsum(count) - count)[source]
    table = np.zeros((n, 1 + 2 * max(int(count.max(initial=0)), 1)), np.int64)
    table[:, 0] = count
    table[source, 1 + 2 * at] = partner
    table[source, 2 + 2 * at] = place
    return table


@functools.lru_cache(maxsize=4096)
def _starts(shape: Any, window: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    """For each of three dimensions where windows begin, and for each place in a window how far in: in a flat plane."""
    missing = 3 - len(size)
    begins: list[Any] = []
    offsets, step = np.zeros(1, np.int64), 1
    for n, k, s, p, d, m in list(zip(shape, window, stride, padding, dilation, size))[::-1]:
        begins.insert(0, (np.arange(m) * s - p) * step)
        offsets = (np.arange(k)[:, None] * d * step + offsets).ravel()
        step *= n
    return *[np.zeros(1, np.int64)] * missing, *begins, offsets


def _as_last(x: Any) -> Any:
    """(N, D, H, W, C), contiguous."""
    last = contiguous(x.transpose(_LAST[x.ndim]))
    return last.reshape(last.shape[0], *(1,) * (5 - last.ndim), *last.shape[1:])


def _as_planes(x: Any) -> Any:
    """(N C, D, H, W), contiguous."""
    return contiguous(x).reshape(-1, *(1,) * (5 - x.ndim), *x.shape[2:])


def _are_planes(x: Any) -> bool:
    """Whether memory holds plane after plane, and not pixel after pixel."""
    return x.flags.c_contiguous and (x.shape[1] < _FEW or not x.transpose(_LAST[x.ndim]).flags.c_contiguous)


def _hashable(*given: Any) -> Any:
    return [tuple(v) for v in given]


def max_pool(input: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    if input.dtype not in _FLOATS or not 3 <= input.ndim <= 5 or not input.size or prod(kernel) > 256:
        return NotImplemented
    geometry = _hashable(input.shape[2:], kernel, stride, padding, dilation, size)
    (deep, down, along), _ = _tables(*geometry)
    n, channels, size = input.shape[0], input.shape[1], geometry[-1]
    if _are_planes(input):
        y, found = empty((n, channels, *size), input.dtype), empty((n, channels, *size), np.uint8)
        whole = np.nonzero(along[:, 0] == kernel[-1])[0]
        low, high = (int(whole[0]), int(whole[-1]) + 1) if whole.size else (0, 0)
        args: Any = _as_planes(input), _as_planes(y), _as_planes(found)
        tables: Any = (deep, down, along, low, high)
        run: Any = _max_planes(stride[-1] if stride[-1] <= 2 else 0)
        outer = n * channels
    else:
        y, found = empty((n, *size, channels), input.dtype), empty((n, *size, channels), np.uint8)
        y, found = y.transpose(_FIRST[y.ndim]), found.transpose(_FIRST[y.ndim])
        args, tables = (_as_last(input), _as_last(y), _as_last(found)), (deep, down, along)
        window = kernel[-2:] if len(kernel) > 1 and prod(kernel[:-2]) == 1 else ()
        run = _max_last(*(window if tuple(window) in _WHOLE else (0, 0)))
        outer = n
    total = outer * prod(size[:-1])
    parallel(run, total, *args, *tables, least=1 + _LEAST * total // max(y.size, 1))
    return y, found


def window_scatter(grad: Any, index: Any, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    if grad.dtype not in _FLOATS or not 3 <= grad.ndim <= 5 or index.dtype != np.uint8 or not grad.size:
        return NotImplemented
    geometry = _hashable(size, kernel, stride, padding, dilation, grad.shape[2:])
    n, channels, size = grad.shape[0], grad.shape[1], geometry[0]
    least = 1 + _LEAST // (channels * size[-1])
    if _are_planes(index):
        dx = empty((n * channels, prod(size)), grad.dtype)
        starts = _starts(*geometry)
        parallel(
            _scatter_planes, len(dx), _as_planes(grad), _as_planes(index), dx, *starts, least=1 + _LEAST // prod(size)
        )
        return dx.reshape(n, channels, *size)
    tiles = (
        tuple(kernel) == tuple(stride)
        and tuple(kernel) in _WHOLE
        and not any(padding)
        and all(d == 1 for d in dilation)
        and all(p * k <= length for p, k, length in zip(grad.shape[2:], kernel, size))  # ceil_mode reaches beyond
    )
    dx = empty((n, *size, channels), grad.dtype).transpose(_FIRST[grad.ndim])
    args = _as_last(grad), _as_last(index), _as_last(dx)
    if tiles:
        args = tuple([a[:, 0] for a in args])
        parallel(_scatter_tiles(*kernel), n * grad.shape[2], *args, least=1 + least // kernel[0])
    else:
        _, tables = _tables(*geometry)
        parallel(_scatter_last, n * prod(size[:-1]), *args, *tables, least=least)
    return dx


SERVES: dict[str, Callable[..., Any]] = {"max_pool": max_pool, "window_scatter": window_scatter}
