"""Linear maps along dimensions (average pools, padding by reflection, interpolation), a row at a time.

A map along two neighbouring dimensions of memory goes through a row that stays in the cache: the sum of input rows,
and then of its pixels. What is summed for each output stands in a list (`entries` of the op's tables); a weight of
zero is not in it, so an infinite input that has no part in an output does not make it NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..numpy.memory import empty
from .build import kernel
from .listed import contiguous
from .pool import run, threads

__all__ = ["SERVES"]

_FLOATS = frozenset({np.dtype("float32"), np.dtype("float64")})
#: elements that are worth a second thread
_LEAST = 1 << 15


@kernel("T[:,:] T[:,:] T[:] i8[:] i8[:] T[:] i8[:] i8[:] T[:] i8 i8 i8 i8", T="f4 f8", fast=True)
def _separable(x, y, between, begin, row_of, row_weight, first, pixel_of, pixel_weight, inner, across, start, stop):
    """Rows of y from `start` to `stop`; across: also from pixel to pixel of `inner` numbers each."""
    outputs = len(begin) - 1
    inputs = len(x) // (len(y) // outputs)
    zero = between.dtype.type(0)
    for r in range(stop - start):
        p, n = (start + r) % outputs, (start + r) // outputs
        out = y[start + r]
        e0, e1 = begin[p], begin[p + 1]
        line = between[0:] if across else out
        if e0 == e1:
            for i in range(line.size):
                line[i] = zero
        elif across and e1 - e0 == 1 and row_weight[e0] == 1:
            line = x[n * inputs + row_of[e0]]
        else:
            a, u = x[n * inputs + row_of[e0]], row_weight[e0]
            if (e1 - e0) % 2 == 1:
                for i in range(line.size):
                    line[i] = u * a[i]
            else:
                b, v = x[n * inputs + row_of[e0 + 1]], row_weight[e0 + 1]
                for i in range(line.size):
                    line[i] = u * a[i] + v * b[i]
            for e in range((e1 - e0 - 1) // 2):
                f = e1 - 2 - 2 * e
                a, u = x[n * inputs + row_of[f]], row_weight[f]
                b, v = x[n * inputs + row_of[f + 1]], row_weight[f + 1]
                for i in range(line.size):
                    line[i] += u * a[i] + v * b[i]
        if not across:
            continue
        if inner == 1:
            for q in range(out.size):
                total = zero
                for e in range(first[q], first[q + 1]):
                    total += pixel_weight[e] * line[pixel_of[e]]
                out[q] = total
            continue
        for q in range(len(first) - 1):
            to = out[q * inner : (q + 1) * inner]
            e0, e1 = first[q], first[q + 1]
            if e0 == e1:
                for i in range(to.size):
                    to[i] = zero
                continue
            a, u = line[pixel_of[e0] * inner : (pixel_of[e0] + 1) * inner], pixel_weight[e0]
            if (e1 - e0) % 2 == 1:
                for i in range(to.size):
                    to[i] = u * a[i]
            else:
                b, v = line[pixel_of[e0 + 1] * inner : (pixel_of[e0 + 1] + 1) * inner], pixel_weight[e0 + 1]
                for i in range(to.size):
                    to[i] = u * a[i] + v * b[i]
            for e in range((e1 - e0 - 1) // 2):
                f = e1 - 2 - 2 * e
                a, u = line[pixel_of[f] * inner : (pixel_of[f] + 1) * inner], pixel_weight[f]
                b, v = line[pixel_of[f + 1] * inner : (pixel_of[f + 1] + 1) * inner], pixel_weight[f + 1]
                for i in range(to.size):
                    to[i] += u * a[i] + v * b[i]


_NONE = np.zeros(1, np.int64)


def _apply(x: Any, axes: list[tuple[int, Any]]) -> Any:
    """A contiguous array with a map along one axis of memory, or two neighbouring ones."""
    (axis, rows), shape = axes[0], list(x.shape)
    begin, row_of, row_weight = rows.entries
    first, pixel_of, pixel_weight, across = _NONE, _NONE, x.dtype.type(0).reshape(1), 0
    outer, inner = prod(shape[:axis]), prod(shape[axis + 1 :])
    shape[axis] = len(begin) - 1
    if len(axes) == 2:
        first, pixel_of, pixel_weight = axes[1][1].entries
        shape[axis + 1] = len(first) - 1
        inner, across = prod(shape[axis + 2 :]), 1
    y = empty(tuple(shape), x.dtype)
    lines = x.reshape(outer * x.shape[axis], -1)
    out = y.reshape(outer * shape[axis], -1)
    row_weight, pixel_weight = row_weight.astype(x.dtype), pixel_weight.astype(x.dtype)
    total = len(out)
    count = max(1, min(threads(), total, max(x.size, y.size) // _LEAST))

    def work(start: int, stop: int) -> None:
        between = np.empty(lines.shape[1] if across else 1, x.dtype)
        _separable(
            lines, out, between, begin, row_of, row_weight, first, pixel_of, pixel_weight, inner, across, start, stop
        )  # fmt: skip

    run(work, [(total * i // count, total * (i + 1) // count) for i in range(count)])
    return y


def _order(x: Any) -> list[int]:
    """The dimensions in the order of memory, channels last where that is possible."""
    last = [0, *range(2, x.ndim), 1]
    order = sorted(range(x.ndim), key=lambda i: -x.strides[i])
    for found in (last, order) if x.ndim > 2 else (order,):
        if x.transpose(found).flags.c_contiguous:
            return found
    return list(range(x.ndim))


def axis_map(input: Any, dim: Any, table: Any) -> Any:
    if input.dtype not in _FLOATS or input.ndim < 1 or not input.size:
        return NotImplemented
    order = _order(input)
    dims, tables = (dim, table) if isinstance(dim, tuple) else ((dim,), (table,))
    axes = sorted((order.index(d % input.ndim), i) for i, d in enumerate(dims))
    steps = [(axis, tables[i]) for axis, i in axes]
    if any(len(t.entries[0]) == 1 or t.n_in == 0 for t in tables):
        return NotImplemented  # nothing comes in or out
    last, final = steps[-1]
    if last == input.ndim - 1 and len(final.entries[1]) < len(final.entries[0]):
        return NotImplemented  # one element for each output, one by one in memory: NumPy's take is as quick
    x = contiguous(input.transpose(order))
    while steps:
        two = len(steps) > 1 and steps[1][0] == steps[0][0] + 1
        x = _apply(x, steps[: 1 + two])
        steps = steps[1 + two :]
    back = [0] * input.ndim
    for i, d in enumerate(order):
        back[d] = i
    return x.transpose(back)


SERVES: dict[str, Callable[..., Any]] = {"axis_map": axis_map}
