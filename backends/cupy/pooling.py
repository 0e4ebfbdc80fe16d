"""Max pools with their gradients, and linear maps along dimensions (average pools, interpolation, padding), on a GPU.

NCHW and NHWC are served as they lie: the result has its input's order of memory. A gradient asks, for each element of
the input, the windows that it is in, so nothing is added by atomic operations and results do not change from run to
run. It has not run on a GPU yet.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np

from . import launch
from .launch import FLOATS, Source, blocks, contiguous, new, wide_loads

__all__ = ["SERVES"]

_POOLS = Source("pooling.cu", T=FLOATS, I=("uint8", "int32"))
_MAX, _SCATTER, _GATHER = (_POOLS.kernel(name) for name in ("max_pool", "window_scatter", "window_gather"))
_AXES = Source("axes.cu", T=FLOATS)
_AXIS_MAP = _AXES.kernel("axis_map")
#: blocks of 256 threads at most
_BLOCKS = 1 << 16
#: a joint sum over several dimensions has at most this many terms for an element; longer ones go dimension by dimension
_TERMS = 64


# -- layouts -----------------------------------------------------------------------------------------------------------


def _last(x: Any) -> bool:
    """Whether the channels of x (N, C, *S) are neighbours in memory."""
    return x.ndim > 2 and not x.flags.c_contiguous and bool(_moved(x).flags.c_contiguous)


def _moved(x: Any) -> Any:
    """x (N, C, *S) as (N, *S, C)."""
    return x.transpose(0, *range(2, x.ndim), 1)


def _back(x: Any) -> Any:
    """x (N, *S, C) as (N, C, *S)."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def _as(x: Any, last: bool) -> Any:
    """x (N, C, *S) with its elements in this order."""
    return contiguous(_moved(x)) if last else contiguous(x)


def _new(shape: Any, dtype: Any, last: bool) -> tuple[Any, Any]:
    """Memory (N, C, *S) in this order: as the kernel gets it, and as it is returned."""
    if not last:
        made = new(shape, dtype)
        return made, made
    made = new((shape[0], *shape[2:], shape[1]), dtype)
    return made, _back(made)


def _three(numbers: Any, filled: int) -> tuple[int, ...]:
    return (*[filled] * (3 - len(numbers)), *[int(n) for n in numbers])


def _window(shape: Any, last: bool, sizes: Any, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    outer, inner = (shape[0], shape[1]) if last else (shape[0] * shape[1], 1)
    rest = (_three(sizes, 1), _three(out, 1), _three(kernel, 1), _three(stride, 1), _three(padding, 0))
    return [outer, inner, *[n for part in (*rest, _three(dilation, 1)) for n in part]]


def _packs(inner: int, *arrays: Any) -> int:
    """1 where channels go by 16 bytes."""
    return int(inner % (16 // arrays[0].itemsize) == 0 and bool(wide_loads(*arrays)))


# -- max pools ---------------------------------------------------------------------------------------------------------


def max_pool(input: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    """As the op: the maxima, and their numbers in the windows."""
    if input.dtype.name not in FLOATS or not 3 <= input.ndim <= 5:
        return NotImplemented
    last = _last(input)
    x, shape = _as(input, last), (*input.shape[:2], *size)
    y, values = _new(shape, input.dtype, last)
    index, places = _new(shape, "uint8" if math.prod(kernel) <= 256 else "int32", last)
    window = _window(shape, last, input.shape[2:], size, kernel, stride, padding, dilation)
    packs = _packs(window[1], x, y)
    count = y.size // (16 // x.itemsize if packs else 1)
    _MAX[x.dtype, index.dtype](blocks(count, 256, _BLOCKS), 256, x, y, index, *window, packs)
    return values, places


def window_scatter(grad: Any, index: Any, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """As the op: the gradient of a max pool."""
    if grad.dtype.name not in FLOATS or index.dtype.name not in ("uint8", "int32") or not 3 <= grad.ndim <= 5:
        return NotImplemented
    last = _last(index)
    g, places, shape = _as(grad, last), _as(index, last), (*grad.shape[:2], *size)
    x, out = _new(shape, grad.dtype, last)
    window = _window(shape, last, size, grad.shape[2:], kernel, stride, padding, dilation)
    packs = _packs(window[1], g, x)
    count = x.size // (16 // x.itemsize if packs else 1)
    _SCATTER[g.dtype, places.dtype](blocks(count, 256, _BLOCKS), 256, g, places, x, *window, packs)
    return out


def window_gather(input: Any, index: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """As the op: the elements at the places that a max pool found."""
    if input.dtype.name not in FLOATS or index.dtype.name not in ("uint8", "int32") or not 3 <= input.ndim <= 5:
        return NotImplemented
    last = _last(index)
    x, places = _as(input, last), _as(index, last)
    y, out = _new(index.shape, input.dtype, last)
    window = _window(index.shape, last, input.shape[2:], index.shape[2:], kernel, stride, padding, dilation)
    packs = _packs(window[1], x, y)
    count = y.size // (16 // x.itemsize if packs else 1)
    _GATHER[x.dtype, places.dtype](blocks(count, 256, _BLOCKS), 256, x, places, y, *window, packs)
    return out


# -- maps along dimensions ---------------------------------------------------------------------------------------------

#: table -> {(device, dtype of the weights): its arrays there}
_TABLES: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()
_ONE: dict[Any, Any] = {}


def _on_device(table: Any, device: int, kind: str) -> tuple[Any, Any, Any]:
    """(start, index, weight) of a map on the device; a map of one element to itself for None."""
    held = _ONE if table is None else _TABLES.setdefault(table, {})
    found = held.get((device, kind))
    if found is None:
        start, index, weight = ([0, 1], [0], [1.0]) if table is None else table.entries
        xp = launch.machine.xp
        arrays = (np.asarray(start, np.int32), np.asarray(index, np.int32), np.asarray(weight, kind))
        found = held[device, kind] = tuple([xp.asarray(a) for a in arrays])
    return found


def _applied(x: Any, dims: list[int], tables: list[Any]) -> Any:
    """Maps along dimensions that follow one another, of an array in C order."""
    first, after = dims[0], dims[-1] + 1
    outer, inner = math.prod(x.shape[:first]), math.prod(x.shape[after:])
    sizes = [len(t.entries[0]) - 1 for t in tables]
    y = new((*x.shape[:first], *sizes, *x.shape[after:]), x.dtype)
    kind, device = "float64" if x.dtype == np.float64 else "float32", getattr(getattr(x, "device", None), "id", 0)
    arrays = [a for t in [*[None] * (3 - len(tables)), *tables] for a in _on_device(t, device, kind)]
    packs = _packs(inner, x, y)
    count = y.size // (16 // x.itemsize if packs else 1)
    shapes = (*_three(x.shape[first:after], 1), *_three(sizes, 1))
    _AXIS_MAP[x.dtype](blocks(count, 256, _BLOCKS), 256, x, y, outer, inner, *shapes, *arrays, packs)
    return y


def axis_map(input: Any, dim: Any, table: Any) -> Any:
    """As the op, in as few launches as the order of memory and the number of terms allow."""
    if input.dtype.name not in FLOATS or not input.size:
        return NotImplemented
    pairs = [(d % input.ndim, t) for d, t in (zip(dim, table) if isinstance(dim, tuple) else ((dim, table),))]
    if len({d for d, _ in pairs}) < len(pairs):
        return NotImplemented
    last = input.ndim > 2 and _last(input)
    place = [0, *range(2, input.ndim), 1] if last else list(range(input.ndim))
    x = _as(input, last)
    pending = sorted([(place.index(d), t) for d, t in pairs], key=itemgetter(0))
    while pending:
        together = [pending.pop(0)]
        while pending and len(together) < 3 and pending[0][0] == together[-1][0] + 1 and _short(together, pending[0]):
            together.append(pending.pop(0))
        x = _applied(x, [d for d, _ in together], [t for _, t in together])
    return _back(x) if last else x


def _short(together: list[tuple[int, Any]], more: tuple[int, Any]) -> bool:
    """Whether a joint sum stays short, so that summing twice over would not be less work."""
    return math.prod([int(np.diff(t.entries[0]).max(initial=0)) for _, t in (*together, more)]) <= _TERMS


SERVES: dict[str, Callable[..., Any]] = {f.__name__: f for f in (axis_map, max_pool, window_gather, window_scatter)}
