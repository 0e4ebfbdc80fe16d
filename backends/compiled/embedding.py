"""Rows added up and picked by index arrays: gradients of embeddings and of indexing, gather and scatter_add.

Sums go in the order of the indices, as NumPy's `add.at` has them, whatever the number of threads: each thread owns a
range of the rows that are written to, and passes over all indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..numpy.loss import in_range
from ..numpy.memory import empty
from .build import kernel
from .listed import STATE, contiguous, do, guarded, made
from .pool import parallel

__all__ = ["SERVES"]

_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
#: elements that are worth a second thread
_LEAST = 1 << 16


@kernel("T[:,:,:] i8[:] T[:,:,:] i8 i8 i8", T="f4 f8")
def _add_rows(source, index, out, clear, start, stop):
    for o in range(len(out)):
        part, rows = out[o, start:stop], source[o]
        if clear:
            for r in range(len(part)):
                a = part[r]
                for j in range(a.size):
                    a[j] = 0
        for t in range(index.size):
            r = index[t] - start
            if 0 <= r < len(part):
                a, b = part[r], rows[t]
                for j in range(a.size):
                    a[j] += b[j]


@kernel("T[:,:] i8[:,:] T[:,:] i8 i8", T="f4 f8")
def _gather(x, index, out, start, stop):
    x, index, out = x[start:stop], index[start:stop], out[start:stop]
    for o in range(len(out)):
        a, at, b = x[o], index[o], out[o]
        for t in range(at.size):
            r = at[t]
            b[t] = a[r if r >= 0 else r + a.size]


@kernel("T[:,:,:] i8[:,:,:] T[:,:,:] i8 i8", T="f4 f8")
def _gather_inner(x, index, out, start, stop):
    x, index, out = x[start:stop], index[start:stop], out[start:stop]
    for o in range(len(out)):
        a = x[o]
        for t in range(out.shape[1]):
            at, b = index[o, t], out[o, t]
            for j in range(at.size):
                r = at[j]
                b[j] = a[r if r >= 0 else r + len(a), j]


@kernel("T[:,:] i8[:,:] T[:,:] i8 i8", T="f4 f8")
def _scatter_add(source, index, out, start, stop):
    source, index, out = source[start:stop], index[start:stop], out[start:stop]
    for o in range(len(out)):
        a, at, b = source[o], index[o], out[o]
        for t in range(at.size):
            r = at[t]
            b[r if r >= 0 else r + b.size] += a[t]


@kernel("T[:,:,:] i8[:,:,:] T[:,:,:] i8 i8", T="f4 f8")
def _scatter_add_inner(source, index, out, start, stop):
    source, index, out = source[start:stop], index[start:stop], out[start:stop]
    for o in range(len(out)):
        b = out[o]
        for t in range(index.shape[1]):
            at, a = index[o, t], source[o, t]
            for j in range(at.size):
                r = at[j]
                b[r if r >= 0 else r + len(b), j] += a[j]


def _array(x: Any, kinds: Any = _DTYPES) -> bool:
    return type(x) is np.ndarray and x.dtype in kinds and bool(x.flags.aligned)


# -- rows --------------------------------------------------------------------------------------------------------------


def _numbers(index: Any, rows: int) -> Any:
    """Row numbers as a vector of int64, negative ones counted from the front; None where one is out of range."""
    flat = contiguous(np.asarray(index), np.int64).reshape(-1)
    if STATE.calls is not None:
        return _counted(flat, rows)
    if in_range(flat, rows):
        return flat
    flat = np.where(flat < 0, flat + rows, flat)
    return flat if in_range(flat, rows) else None


@kernel("T[:,:] i8[:] T[:,:] i8 i8", T="f4 f8")
def _rows(table, index, out, start, stop):
    for i in range(start, stop):
        a, b = table[index[i]], out[i]
        for j in range(b.size):
            b[j] = a[j]


@kernel("i8[:] i8[:] i8")
def _in_table(index, wrong, rows):
    """wrong: 1 + the place of a number that is no row's."""
    wrong[0] = 0
    for i in range(index.size):
        if index[i] < 0 or index[i] >= rows:
            wrong[0] = i + 1


def _not_in_table(index: Any, wrong: Any, rows: int) -> Exception:
    return IndexError(f"index out of range in self: indices must lie in [0, {rows})")


def embedding(input: Any, weight: Any, padding_idx: Any = None, scale_grad_by_freq: bool = False) -> Any:
    if not _array(weight) or weight.ndim != 2 or not weight.flags.c_contiguous or input.dtype.kind not in "iu":
        return NotImplemented
    index, wrong = contiguous(input, np.int64).reshape(-1), np.empty(1, np.int64)
    guarded(_in_table, wrong, _not_in_table, index, wrong, len(weight))
    out = empty((*input.shape, weight.shape[1]), weight.dtype)
    rows = out.reshape(index.size, weight.shape[1])
    parallel(_rows, index.size, weight, index, rows, least=1 + _LEAST // max(weight.shape[1], 1))
    return out


@kernel("i8[:] i8[:] i8[:] i8")
def _wrapped(index, out, wrong, rows):
    """out: `index` with negative numbers counted from the end; wrong: 1 + the place of one that is out of range."""
    wrong[0] = 0
    for i in range(index.size):
        r = index[i] + rows if index[i] < 0 else index[i]
        if r < 0 or r >= rows:
            wrong[0] = i + 1
        out[i] = r


def _counted(index: Any, rows: int) -> Any:
    """The same as part of a program, whose later indices are looked at, too."""
    out, wrong = np.empty_like(index), np.empty(1, np.int64)
    try:
        guarded(_wrapped, wrong, _out_of_range, index, out, wrong, rows)
    except IndexError:
        return None
    return out


def _out_of_range(index: Any, out: Any, wrong: Any, rows: int) -> Exception:
    return IndexError(f"index {index[wrong[0] - 1]} is out of bounds for dimension with size {rows}")


def _added(source: Any, index: Any, out: Any, outer: int, rows: int, clear: bool) -> Any:
    """out (outer, rows, ...) with the rows of source (outer, len(index), ...) added at `index`."""
    inner = math.prod(out.shape) // max(outer * rows, 1)
    given = contiguous(source).reshape(outer, index.size, inner)
    into = out.reshape(outer, rows, inner)
    share = 1 + _LEAST * rows // max(outer * inner * (index.size + rows), 1)
    parallel(_add_rows, rows, given, index, into, clear, least=share)
    return out


def embedding_grad(input: Any, index: Any, rows: int) -> Any:
    if not _array(input):
        return NotImplemented
    numbers = _numbers(index, rows)
    if numbers is None:
        return NotImplemented
    out = empty((rows, *input.shape[np.ndim(index) :]), input.dtype)
    return _added(input, numbers, out, 1, rows, True)


def _along(size: tuple[int, ...], indices: tuple[Any, ...]) -> tuple[int, int, Any, tuple[int, ...]] | None:
    """An index of full slices, then integer arrays, as one vector: (outer size, rows, vector, shape of the result)."""
    first = 0
    while first < len(indices) and isinstance(indices[first], slice):
        if indices[first] != slice(None):
            return None
        first += 1
    arrays = indices[first:]
    if not arrays or any(isinstance(i, slice) or i.dtype.kind not in "iu" for i in arrays):
        return None
    last = first + len(arrays)
    parts = [_numbers(i, n) for i, n in zip(arrays, size[first:last])]
    if any(p is None for p in parts):
        return None
    vector, shape = parts[0], np.shape(arrays[0])
    if len(arrays) > 1:
        parts = [p.reshape(np.shape(i)) for p, i in zip(parts, arrays)]
        shape = np.broadcast_shapes(*[p.shape for p in parts])
        vector = made(_raveled, size[first:last], *parts)
    outer, rows = math.prod(size[:first]), math.prod(size[first:last])
    return outer, rows, vector, (*size[:first], *shape, *size[last:])


def _raveled(size: tuple[int, ...], *parts: Any) -> Any:
    return np.ravel_multi_index(np.broadcast_arrays(*parts), size).reshape(-1).astype(np.int64, copy=False)


def index_adjoint(input: Any, size: tuple[int, ...], indices: tuple[Any, ...]) -> Any:
    found = _along(size, indices) if _array(input) else None
    if found is None or input.shape != found[3]:
        return NotImplemented
    outer, rows, vector, _ = found
    return _added(input, vector, empty(size, input.dtype), outer, rows, True)


def index_put(input: Any, values: Any, view: Any, indices: Any, accumulate: bool = False) -> Any:
    if not accumulate or view or indices is None or not _array(input) or not _array(values, (input.dtype,)):
        return NotImplemented
    found = _along(input.shape, indices)
    if found is None or values.shape != found[3]:
        return NotImplemented
    outer, rows, vector, _ = found
    out = empty(input.shape, input.dtype)
    do(np.copyto, out, input)
    return _added(values, vector, out, outer, rows, False)


# -- one element of each line ------------------------------------------------------------------------------------------


def _lines(input: Any, dim: Any, index: Any) -> tuple[int, int, int, int, Any] | None:
    """(outer, length, places, inner, index) where `index` covers `input` in all dimensions but `dim`."""
    ndim = input.ndim
    if not _array(input) or not ndim or type(dim) is not int or not -ndim <= dim < ndim or index.dtype.kind not in "iu":
        return None
    d = dim % ndim
    if index.ndim != ndim or index.shape[:d] != input.shape[:d] or index.shape[d + 1 :] != input.shape[d + 1 :]:
        return None
    length = input.shape[d]
    outer, inner = math.prod(input.shape[:d]), math.prod(input.shape[d + 1 :])
    if STATE.calls is not None:
        at = _counted(contiguous(index, np.int64).reshape(-1), length)
        return None if at is None else (outer, length, index.shape[d], inner, at.reshape(index.shape))
    if index.size and not (-length <= index.min() and index.max() < length):
        return None
    return outer, length, index.shape[d], inner, np.ascontiguousarray(index, np.int64)


def gather(input: Any, dim: Any, index: Any, sparse_grad: bool = False) -> Any:
    found = _lines(input, dim, index)
    if found is None:
        return NotImplemented
    outer, length, places, inner, at = found
    out, x, least = empty(index.shape, input.dtype), contiguous(input), 1 + _LEAST // max(places * inner, 1)
    if inner == 1:
        shapes = (outer, length), (outer, places), (outer, places)
        arrays = [a.reshape(s) for a, s in zip((x, at, out), shapes)]
        parallel(_gather, outer, *arrays, least=least)
    else:
        shapes3 = (outer, length, inner), (outer, places, inner), (outer, places, inner)
        arrays = [a.reshape(s) for a, s in zip((x, at, out), shapes3)]
        parallel(_gather_inner, outer, *arrays, least=least)
    return out


def scatter_add(input: Any, dim: Any, index: Any, src: Any) -> Any:
    found = _lines(input, dim, index)
    if found is None or not _array(src, (input.dtype,)) or src.shape != index.shape:
        return NotImplemented
    outer, length, places, inner, at = found
    out = empty(input.shape, input.dtype)
    do(np.copyto, out, input)
    given, least = contiguous(src), 1 + _LEAST // max(places * inner, 1)
    if inner == 1:
        shapes = (outer, places), (outer, places), (outer, length)
        arrays = [a.reshape(s) for a, s in zip((given, at, out), shapes)]
        parallel(_scatter_add, outer, *arrays, least=least)
    else:
        shapes3 = (outer, places, inner), (outer, places, inner), (outer, length, inner)
        arrays = [a.reshape(s) for a, s in zip((given, at, out), shapes3)]
        parallel(_scatter_add_inner, outer, *arrays, least=least)
    return out


SERVES: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (embedding, embedding_grad, gather, index_adjoint, index_put, scatter_add)
}
