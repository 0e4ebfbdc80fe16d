"""Embedding, gather, scatter_add, index_add and their gradients. It has not run on a GPU yet.

Indices are checked as everywhere on CuPy, which waits for the device; not while a step is recorded: there an index out
of range reads NaN and adds nothing. Under `use_deterministic_algorithms` sums go in the order of the indices, by
sorting them first; otherwise by atomic additions, whose order differs from run to run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import determinism
from ..recorder import CaptureError, recording
from . import launch
from .launch import FLOATS, INDICES, THREADS, Source, blocks, contiguous, new, row_blocks, wide_loads, zeros
from .namespace import check_along, check_indices

__all__ = ["SERVES"]

_SOURCE = Source("rows.cu", T=FLOATS, I=INDICES)
_TAKE, _ADD, _ADD_SORTED = (_SOURCE.kernel(name) for name in ("take_rows", "add_rows", "add_sorted_rows"))
_GATHER, _ADD_ALONG = _SOURCE.kernel("gather_along"), _SOURCE.kernel("add_along")
_BLOCKS = 8192


def _index(index: Any) -> Any:
    """An index array in C order, of a dtype that kernels take."""
    return contiguous(index if index.dtype.name in INDICES else index.astype("int64"))


def _sums(dtype: Any) -> str:
    return "float64" if dtype.itemsize == 8 else "float32"


# -- rows --------------------------------------------------------------------------------------------------------------


def _taken(x: Any, index: Any, outer: int, rows: int, shape: tuple[int, ...]) -> Any:
    """x (outer, rows, ...) at the vector `index`, as an array of `shape`."""
    x, out = contiguous(x), new(shape, x.dtype)
    n = x.size // max(outer * rows, 1)
    block = row_blocks(n, x.itemsize)
    wide = int(n * x.itemsize % 16 == 0 and wide_loads(x, out))
    grid = blocks(outer * index.size, block[1]) if n else 0
    _TAKE[x.dtype, index.dtype](grid, block, x, index, out, outer, index.size, rows, n, wide)
    return out


def _added(source: Any, index: Any, into: Any, shape: tuple[int, ...], outer: int, rows: int, skipped: int = -1) -> Any:
    """`into` (zeros where None) of `shape`, as (outer, rows, n), with rows of source (outer, len(index), n) added."""
    source, count = contiguous(source), index.size
    n = math.prod(shape) // max(outer * rows, 1)
    if not determinism.wanted():
        table = zeros(shape, _sums(source.dtype)) if into is None else into.astype(_sums(source.dtype), order="C")
        size = outer * count * n
        key = source.dtype, index.dtype
        _ADD[key](blocks(size, THREADS, _BLOCKS), THREADS, source, index, table, outer, count, rows, n, skipped)
        return table.astype(source.dtype, copy=False)
    if recording() is not None:
        raise CaptureError("sums at indices in a fixed order sort the indices, which cannot be captured")
    xp = launch.machine.xp
    index = xp.where(index < 0, index + rows, index).astype("int64")
    order = xp.argsort(index, kind="stable")
    table = zeros(shape, source.dtype) if into is None else xp.array(into, order="C")
    block = min(max(32, 1 << max(n - 1, 0).bit_length()), THREADS)
    grid = count * outer if n else 0
    _ADD_SORTED[source.dtype, "int64"](grid, block, source, index[order], order, table, count, rows, n, skipped)
    return table


def embedding(input: Any, weight: Any, padding_idx: Any = None, scale_grad_by_freq: bool = False) -> Any:
    """As the op."""
    if weight.dtype.name not in FLOATS or input.dtype.kind not in "iu" or weight.ndim < 2:
        return NotImplemented
    check_indices(weight.shape, input)
    return _taken(weight, _index(input).reshape(-1), 1, weight.shape[0], (*input.shape, *weight.shape[1:]))


def embedding_gradient(g: Any, input: Any, shape: Any, padding_idx: Any, scale_grad_by_freq: bool) -> Any:
    """The rule of `embedding` for the table, in one launch and without a copy of `g`."""
    if g.dtype.name not in FLOATS or scale_grad_by_freq:
        return NotImplemented
    skipped = -1 if padding_idx is None else padding_idx
    return _added(g, _index(input).reshape(-1), None, tuple(shape), 1, shape[0], skipped)


def embedding_grad(input: Any, index: Any, rows: int) -> Any:
    """As the op."""
    if input.dtype.name not in FLOATS or index.dtype.kind not in "iu":
        return NotImplemented
    check_indices((rows,), index)
    return _added(input, _index(index).reshape(-1), None, (rows, *input.shape[index.ndim :]), 1, rows)


def _along(size: tuple[int, ...], indices: Any) -> tuple[int, int, Any, tuple[int, ...]] | None:
    """An index of full slices, then an array: (outer size, rows, the array as a vector, shape of the result)."""
    *full, last = indices
    d = len(full)
    if any(not isinstance(s, slice) or s != slice(None) for s in full) or isinstance(last, slice) or d >= len(size):
        return None
    if last.dtype.kind not in "iu":
        return None
    check_indices(size, indices)
    outer = math.prod(size[:d])
    return outer, size[d], _index(last).reshape(-1), (*size[:d], *last.shape, *size[d + 1 :])


def index(input: Any, indices: Any) -> Any:
    """As the op, of one index array."""
    found = _along(input.shape, indices) if input.dtype.name in FLOATS else None
    return NotImplemented if found is None else _taken(input, found[2], found[0], found[1], found[3])


def index_adjoint(input: Any, size: tuple[int, ...], indices: Any) -> Any:
    """As the op, of one index array."""
    found = _along(tuple(size), indices) if input.dtype.name in FLOATS else None
    if found is None or input.shape != found[3]:
        return NotImplemented
    return _added(input, found[2], None, tuple(size), found[0], found[1])


def index_put(input: Any, values: Any, view: Any, indices: Any, accumulate: bool = False) -> Any:
    """As the op, where it adds, at one index array."""
    if not accumulate or view or indices is None or not hasattr(values, "dtype") or values.dtype != input.dtype:
        return NotImplemented
    found = _along(input.shape, indices) if input.dtype.name in FLOATS else None
    if found is None or values.shape != found[3]:
        return NotImplemented
    return _added(values, found[2], input, input.shape, found[0], found[1])


# -- one element of each line ------------------------------------------------------------------------------------------


def _lines(input: Any, dim: Any, index: Any) -> tuple[int, int, int, int] | None:
    """(outer, length, places, inner) where `index` covers `input` in all dimensions but `dim`."""
    ndim = input.ndim
    if not ndim or input.dtype.name not in FLOATS or type(dim) is not int or not -ndim <= dim < ndim:
        return None
    d = dim % ndim
    whole = index.dtype.kind in "iu" and index.ndim == ndim
    if not whole or index.shape[:d] != input.shape[:d] or index.shape[d + 1 :] != input.shape[d + 1 :]:
        return None
    check_along(input, d, index)
    return math.prod(input.shape[:d]), input.shape[d], index.shape[d], math.prod(input.shape[d + 1 :])


def gather(input: Any, dim: Any, index: Any, sparse_grad: bool = False) -> Any:
    """As the op."""
    found = _lines(input, dim, index)
    if found is None:
        return NotImplemented
    x, at, out = contiguous(input), _index(index), new(index.shape, input.dtype)
    _GATHER[x.dtype, at.dtype](blocks(out.size, THREADS, _BLOCKS), THREADS, x, at, out, *found)
    return out


def scatter_add(input: Any, dim: Any, index: Any, src: Any) -> Any:
    """As the op."""
    found = _lines(input, dim, index)
    if found is None or not hasattr(src, "dtype") or src.dtype != input.dtype or src.shape != index.shape:
        return NotImplemented
    outer, length, places, inner = found
    source, at = contiguous(src), _index(index)
    if determinism.wanted():  # as rows of one element
        xp = launch.machine.xp
        line = xp.arange(outer * inner).reshape(outer, 1, inner)
        at = xp.where(at < 0, at + length, at).reshape(outer, places, inner)
        flat = (line // inner * length + at) * inner + line % inner
        return _added(source.reshape(-1), flat.reshape(-1), input, input.shape, 1, input.size)
    table = input.astype(_sums(input.dtype), order="C")
    grid = blocks(source.size, THREADS, _BLOCKS)
    _ADD_ALONG[source.dtype, at.dtype](grid, THREADS, source, at, table, outer, length, places, inner)
    return table.astype(input.dtype, copy=False)


SERVES: dict[str, Callable[..., Any]] = {
    "embedding": embedding,
    "embedding.grad": embedding_gradient,
    "embedding_grad": embedding_grad,
    "gather": gather,
    "index": index,
    "index_adjoint": index_adjoint,
    "index_put": index_put,
    "scatter_add": scatter_add,
}
