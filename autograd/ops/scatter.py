"""Gathering and scattering along a dimension, masks, and `where`.

All of them end in two pairs of ops that are each other's gradient: `index` with `index_put`, and `gather` with
`scatter_add`. Negative positions count from the end, as in NumPy (PyTorch raises).
"""

from __future__ import annotations

import contextlib

from ... import backends
from ...backends import np
from ...backends.base import NoElements
from ..autocast import listed
from ..complexes import is_complex
from ..composite import composite
from ..dims import numpy_names, wrap_dim
from ..dtypes import common_dtype, default_dtype
from ..errors import OpError
from ..op import OPS, op
from ..public import api, expose, function
from ..tensor import Tensor, method, wrap
from .indexing import index, index_put, positions
from .shape import broadcast_shapes, broadcast_tensors, expand, reshape

__all__ = [
    "argwhere",
    "gather",
    "index_select",
    "masked_fill",
    "nonzero",
    "one_hot",
    "scatter",
    "scatter_add",
    "where",
]

_FULL = slice(None)


def _along(xp, index, dim, ndim):
    """Index arrays that pick, at each place of `index`, the element with that coordinate along `dim`."""
    if not ndim:
        return ()
    grid = [xp.arange(n).reshape((*(1,) * i, n, *(1,) * (ndim - 1 - i))) for i, n in enumerate(index.shape)]
    grid[dim] = index
    return tuple(grid)


def _check(name, input, dim, index, src=None):
    """`dim` counted from the front, once the shapes are found to fit."""
    d = wrap_dim(dim, input.ndim)
    if index.dtype.kind not in "iu":
        raise OpError(f"{name}(): Expected dtype int64 for index, got {index.dtype}")
    if max(index.ndim, 1) != max(input.ndim, 1):
        raise OpError(
            f"Index tensor must have the same number of dimensions as input tensor: {name}() got {list(index.shape)} "
            f"for {list(input.shape)}"
        )
    _refuse_complex(name, input, src)
    bounds = [(n, m) for i, (n, m) in enumerate(zip(index.shape, input.shape)) if i != d]
    if src is not None and hasattr(src, "shape"):
        bounds += list(zip(index.shape, src.shape))
    if any(n > m for n, m in bounds):
        beside = "" if src is None else f" and src {list(getattr(src, 'shape', ()))}"
        raise OpError(
            f"Size does not match: {name}() along dimension {d} got index {list(index.shape)} for input "
            f"{list(input.shape)}{beside}; index must not be larger anywhere else"
        )
    return d


def _refuse_complex(name, target, src):
    """A complex source does not go into a real target, which would lose the imaginary parts."""
    if is_complex(getattr(src, "array", src)) and not is_complex(getattr(target, "array", target)):
        kinds = [getattr(x, "dtype", type(x).__name__) for x in (target, src)]
        raise OpError(f"{name}(): Expected self.dtype to be equal to src.dtype, got {kinds[0]} and {kinds[1]}")


def _trim(src, index):
    """The part of `src` that `index` covers."""
    if not hasattr(src, "shape") or src.shape == index.shape:
        return src
    return src.reshape(index.shape) if not src.ndim else src[tuple([slice(0, n) for n in index.shape])]


# -- gather and scatter -----------------------------------------------------------------------------------------------


@op(inputs="input index")
def gather(xp, input, dim, index, sparse_grad=False):
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and so on: the shape of the result is that of `index`.

    sparse_grad: accepted; the gradient is dense.
    """
    d = _check("gather", input, dim, index)
    if not input.ndim or not index.ndim:
        return xp.take(input.reshape(-1), index)
    return input[_along(xp, index, d, input.ndim)]


@gather.grad("input")
def _(F, g, shape, dim, index):
    return F.scatter_add(F.zeros_of(g, shape, g.dtype), dim, index, g)


@op(inputs="input index src")
def scatter_add(xp, input, dim, index, src):
    """A copy of `input` with `src` added at the positions that `gather` would read."""
    d = _check("scatter_add", input, dim, index, src)
    out = xp.array(input, copy=True)
    xp.add.at(
        out.reshape(-1) if out.ndim < 2 else out, _flat_or_along(xp, index, d, input.ndim), _trim_flat(src, index)
    )
    return out


def _flat_or_along(xp, index, d, ndim):
    return index.reshape(-1) if ndim < 2 else _along(xp, index, d, ndim)


def _trim_flat(src, index):
    part = _trim(src, index)
    return part.reshape(-1) if index.ndim < 2 and hasattr(part, "shape") else part


@scatter_add.grad("input")
def _(F, g):
    return g


@scatter_add.grad("src")
def _(F, g, shape, dim, index):
    return _enlarged(F, F.gather(g, dim, index), shape)


def _enlarged(F, g, shape):
    """`g` in the corner of zeros of `shape`: the gradient of the part of a tensor that an index covered."""
    if tuple(g.shape) == tuple(shape):
        return g
    if len(g.shape) != len(shape):
        return F.reshape(g, shape)
    return F.slicing_adjoint(g, shape, tuple([slice(0, n) for n in g.shape]))


@op(inputs="input index src")
def scatter(xp, input, dim, index, src):
    """A copy of `input` with `src` (a tensor, or a number) at the positions that `gather` would read.

    Where a position is written twice, the last value stays, and only that one gets a gradient.
    """
    d = _check("scatter", input, dim, index, src)
    out = xp.array(input, copy=True)
    places = _flat_or_along(xp, xp.ascontiguousarray(index) if index.ndim else index, d, input.ndim)
    (out.reshape(-1) if out.ndim < 2 else out)[places] = _trim_flat(src, index)
    return out


@scatter.grad("input")
def _(F, g, dim, index):
    return F.scatter(g, dim, index, 0)


@scatter.grad("src")
def _(F, g, shape, dim, index):
    kept = F.where(F.last_scattered(g, dim, index), F.gather(g, dim, index), 0)
    return _enlarged(F, kept, shape)


@op(inputs="input index")
def last_scattered(xp, input, dim, index):
    """For each place of `index`: is it the last one that `scatter` writes to its position of `input`?"""
    d = wrap_dim(dim, input.ndim)
    where = _flat_or_along(xp, index, d, input.ndim)
    turns = xp.arange(index.size).reshape(index.shape if input.ndim > 1 else -1)
    last = xp.zeros(input.shape if input.ndim > 1 else input.size, turns.dtype)
    xp.maximum.at(last, where, turns)  # what `last[where] = turns` leaves is defined in NumPy alone
    return (last[where] == turns).reshape(index.shape)


@api(name="scatter", inplace=True)
@numpy_names
def _scatter_function(input, dim, index, src=None, *, value=None, reduce=None):
    """A copy of `input` with `src` (or the number `value`) at the positions that `gather` would read.

    reduce: None, or "add" or "multiply" to combine with what is there.
    """
    src = value if src is None else src
    if reduce is None:
        if isinstance(src, Tensor) and src.array.dtype != input.array.dtype:
            raise OpError(f"scatter(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}")
        return scatter(input, dim, index, src)
    if reduce not in ("add", "multiply"):
        raise OpError("reduce argument must be either add or multiply.")
    if not isinstance(src, Tensor):
        src = wrap(backends.of(input.array).xp.full(index.shape, src, input.array.dtype), None)
    return _scatter_reduce(input, dim, index, src, "sum" if reduce == "add" else "prod")


@api(name="scatter_reduce", inplace=True)
@numpy_names
def _scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """`input` with `src` combined at the positions that `gather` would read, by "sum", "prod", "mean", "amax", "amin".

    include_self: whether the values of `input` take part where something is scattered to. Ties share evenly.
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise OpError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.")
    if input.array.dtype != src.array.dtype:
        raise OpError(
            f"scatter_reduce(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    _check("scatter_reduce", input.array, dim, index.array, src.array)
    if reduce in ("sum", "mean"):
        base = input if include_self else scatter(input, dim, index, 0)
        total = scatter_add(base, dim, index, src)
        if reduce == "sum":
            return total
        count = scatter_add(_constant_like(input, int(include_self)), dim, index, _constant_like(src, 1))
        count = wrap(backends.of(input.array).xp.maximum(count.array, 1), None)
        return total / count if total.dtype.is_floating_point else OPS["div"](total, count, rounding_mode="floor")
    return _grouped(input, dim, index, src, reduce, include_self)


def _constant_like(x, value):
    return wrap(backends.of(x.array).xp.full(x.array.shape, value, x.array.dtype), None)


def _grouped(input, dim, index, src, reduce, include_self):
    """What is scattered to one cell side by side in a row of a table, filled up with the reduction's neutral value."""
    array, place = input.array, index.array
    xp = backends.of(array).xp
    d = wrap_dim(dim, array.ndim)
    where = _flat_or_along(xp, place, d, array.ndim)
    cells = xp.arange(array.size).reshape(array.shape if array.ndim > 1 else -1)[where].reshape(-1)
    order = xp.argsort(cells, kind="stable") if cells.size else cells
    counts = xp.bincount(cells, minlength=array.size) if cells.size else xp.zeros(array.size, cells.dtype)
    starts = xp.cumsum(counts) - counts
    rank = xp.zeros(cells.size, cells.dtype)
    rank[order] = xp.arange(cells.size) - starts[cells[order]]
    if reduce == "prod":
        neutral = 1
    else:
        limits = np.iinfo if array.dtype.kind in "iu" else None
        extreme = (limits(array.dtype).min, limits(array.dtype).max) if limits else (-float("inf"), float("inf"))
        neutral = extreme[0] if reduce == "amax" else extreme[1]
    width = int(counts.max()) + 1 if counts.size else 1
    table = wrap(xp.full((array.size, width), neutral, array.dtype), None)
    own = reshape(input, (-1,))
    if not include_self:
        own = where_(wrap(counts == 0, None), own, neutral)
    table = index_put(table, own, (_FULL, 0), None)
    given = src[tuple([slice(0, n) for n in place.shape])] if place.ndim else src
    table = index_put(table, reshape(given, (-1,)), (), (cells, rank + 1))
    return reshape(OPS[reduce](table, dim=1), array.shape)


# -- along one dimension ----------------------------------------------------------------------------------------------


def _at(input, dim, index, name):
    """(`input`, the tuple of index arrays) for positions along one dimension; a 0-d input as 1-d."""
    d = wrap_dim(dim, len(input.shape))
    where = positions(index, input.shape[d] if input.shape else 1, name)
    if where.ndim > 1:
        raise IndexError(f"{name}: Index is supposed to be a vector, got {where.ndim} dimensions")
    return (*(_FULL,) * d, where.reshape(-1))


@composite(inputs="input index")
def index_select(F, input, dim, index):
    """The slices of `input` at the positions `index` (a vector) along `dim`."""
    if not input.shape:
        return F.reshape(F.index(F.reshape(input, (1,)), _at(input, 0, index, "index_select()")), ())
    return F.index(input, _at(input, dim, index, "index_select()"))


@api(inplace=True)
@numpy_names
def index_add(input, dim, index, source, *, alpha=1):
    """A copy of `input` with `alpha * source` added at the positions `index` (a vector) along `dim`."""
    where = _at(input, dim, index, "index_add()")
    _slices_fit(input, where, source, "index_add()")
    return _put_slices(input, where, source if alpha == 1 else source * alpha, True)


@api(inplace=True)
@numpy_names
@listed
def index_copy(input, dim, index, source):
    """A copy of `input` with the slices of `source` at the positions `index` (a vector) along `dim`."""
    where = _at(input, dim, index, "index_copy()")
    _slices_fit(input, where, source, "index_copy()")
    return _put_slices(input, where, source, False)


@api(inplace=True)
@numpy_names
def index_fill(input, dim, index, value):
    """A copy of `input` with `value` (a number or a 0-d tensor) at the positions `index` (a vector) along `dim`."""
    if isinstance(value, Tensor):
        if value.shape:
            raise OpError(
                f"index_fill_ only supports a 0-dimensional value tensor, but got {len(value.shape)} dimension(s)"
            )
        _refuse_complex("index_fill", input, value)
        value = OPS["cast"](value, dtype=input.array.dtype)
    return _put_slices(input, _at(input, dim, index, "index_fill()"), value, False)


def _put_slices(input, where, source, accumulate):
    if input.shape:
        return index_put(input, source, (), where, accumulate)
    one = index_put(
        reshape(input, (1,)),
        source if not isinstance(source, Tensor) else reshape(source, (-1,)),
        (),
        where,
        accumulate,
    )
    return reshape(one, ())


def _slices_fit(input, where, source, name):
    _refuse_complex(name.removesuffix("()"), input, source)
    want = list(input.shape)
    if want:
        want[len(where) - 1] = where[-1].size
    if list(source.shape) != want and not (not input.shape and source.numel() == where[-1].size):
        raise OpError(f"{name}: source has shape {list(source.shape)}, and the index asks for {want}")


@api
@numpy_names
def take_along_dim(input, indices, dim=None):
    """The elements of `input` at `indices` along `dim`; the other dimensions broadcast. Without `dim`, taken flat."""
    if dim is None:
        return gather(reshape(input, (-1,)), 0, reshape(indices, (-1,)))
    d, n = wrap_dim(dim, len(input.shape)), len(input.shape)
    if len(indices.shape) != n:
        raise OpError(
            "take_along_dim(): input and indices should have the same number of dimensions, got "
            f"{n} and {len(indices.shape)}"
        )
    a, b = [(*x.shape[:d], 1, *x.shape[d + 1 :]) for x in (input, indices)]
    full = broadcast_shapes(a, b)
    input = expand(input, (*full[:d], input.shape[d], *full[d + 1 :]))
    return gather(input, d, expand(indices, (*full[:d], indices.shape[d], *full[d + 1 :])))


# -- masks and conditions ---------------------------------------------------------------------------------------------


@op(broadcast=True)
def where(xp, condition, input, other):
    """`input` where `condition` holds, `other` elsewhere; the three broadcast."""
    return xp.where(condition, input, other)


@where.grad("input")
def _(F, g, condition):
    return F.where(condition, g, 0)


@where.grad("other")
def _(F, g, condition):
    return F.where(condition, 0, g)


where_ = where


@function(name="where")
def _where_function(condition, input=None, other=None):
    """`input` where `condition` holds, else `other`; broadcast, dtypes promoted. Of a condition alone: `nonzero`."""
    if input is None and other is None:
        return _nonzero_function(condition, as_tuple=True)
    if input is None or other is None:
        raise TypeError("where() takes a condition, or a condition and two values")
    if condition.dtype not in (np.dtype(bool), np.dtype("uint8")):
        raise OpError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}")
    condition = OPS["cast"](condition, dtype=np.dtype(bool)) if condition.dtype == np.dtype("uint8") else condition
    pair = [x.item() if isinstance(x, np.generic) else x for x in (input, other)]
    arrays = [getattr(x, "array", x) for x in pair]
    kinds = [x.dtype if hasattr(x, "dtype") else None for x in arrays]
    if None in kinds or kinds[0] != kinds[1]:
        kind = common_dtype(arrays)
        for i, x in enumerate(pair):
            if kinds[i] is None:
                if all(k is None for k in kinds):
                    kind = common_dtype(arrays) if not any(isinstance(a, float) for a in arrays) else default_dtype()
                    pair[i] = wrap(backends.of(condition.array).xp.full((), x, kind), None)
            elif kinds[i] != kind:
                pair[i] = OPS["cast"](x, dtype=kind)
    return where(condition, *pair)


@method(name="where")
def _where_method(self, condition, other):
    """This tensor where `condition` holds, `other` elsewhere."""
    return _where_function(condition, self, other)


@composite
def masked_fill(F, input, mask, value):
    """`input` with `value` (a number or a 0-d tensor) where `mask` holds; the mask broadcasts to the input."""
    if str(mask.dtype).rpartition(".")[2] not in ("bool", "uint8"):
        raise OpError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    if str(mask.dtype).endswith("uint8"):
        mask = F.cast(mask, dtype=np.dtype(bool))
    if isinstance(value, np.generic):
        value = value.item()
    if is_complex(getattr(value, "array", value)) and "complex" not in str(input.dtype):
        raise OpError(f"masked_fill_: value cannot be converted to type {input.dtype} without overflow: {value}")
    if hasattr(value, "dtype"):
        if value.shape:
            raise OpError(
                f"masked_fill_ only supports a 0-dimensional value tensor, but got {len(value.shape)} dimension(s)."
            )
        value = F.cast(value, dtype=input.dtype)
    elif str(input.dtype).rpartition(".")[2].strip("u").startswith("int"):
        value = int(value)
    return F.where(mask, value, input)


@api
def masked_select(input, mask):
    """The elements of `input` where `mask` holds, as a vector; the two broadcast."""
    if mask.array.dtype != bool:
        raise OpError(f"masked_select: expected BoolTensor for mask, got {mask.dtype}")
    input, mask = broadcast_tensors(input, mask)
    return index(input, (mask.array,)) if mask.shape else index(reshape(input, (1,)), (mask.array.reshape(1),))


@api(inplace=True)
def masked_scatter(input, mask, source):
    """`input` with the elements of `source`, in order, where `mask` holds; the mask broadcasts to the input."""
    if mask.array.dtype != bool:
        raise OpError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    if source.array.dtype != input.array.dtype:
        raise OpError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    input, mask = broadcast_tensors(input, mask)
    count = int(mask.array.sum())
    if source.numel() < count:
        raise OpError(f"masked_scatter: the mask takes {count} elements, and source has {source.numel()}")
    given = reshape(source, (-1,))[:count]
    if not input.shape:
        return reshape(index_put(reshape(input, (1,)), given, (), (mask.array.reshape(1),)), ())
    return index_put(input, given, (), (mask.array,))


@op
def nonzero(xp, input):
    """The positions of the elements that are not zero: one row (of as many numbers as dimensions) per element."""
    if not input.ndim:
        return xp.zeros((int(input.item() != 0), 0), np.int64)
    return xp.stack(xp.nonzero(input), axis=1).astype(np.int64, copy=False)


@api(name="nonzero")
def _nonzero_function(input, *, as_tuple=False):
    """The positions of the elements that are not zero: rows of a matrix, or under `as_tuple` a vector per dimension."""
    if not as_tuple:
        return nonzero(input)
    return tuple([x.contiguous() for x in nonzero(input if input.shape else reshape(input, (1,))).unbind(1)])


@api
def argwhere(input):
    """The positions of the elements that are not zero, as rows of a matrix."""
    return nonzero(input)


@op
def one_hot(xp, tensor, /, num_classes=-1):
    """int64 vectors with a one at each class number; as many classes as given, or as the largest number asks for.

    num_classes: that number, or -1.
    """
    if tensor.dtype.kind not in "iu":
        raise OpError(f"one_hot is only applicable to index tensor, got {tensor.dtype}")
    if num_classes == -1:
        if not tensor.size:
            raise OpError("Can not infer total number of classes from empty tensor; give num_classes")
        num_classes = tensor.max().item() + 1
    with contextlib.suppress(NoElements):
        if tensor.size and tensor.min().item() < 0:
            raise OpError("Class values must be non-negative.")
        if tensor.size and tensor.max().item() >= num_classes:
            raise OpError(
                f"Class values must be smaller than num_classes, got {tensor.max().item()} for {num_classes} classes"
            )
    flat = tensor.reshape(-1)
    out = xp.zeros((flat.size, num_classes), np.int64)
    out[xp.arange(flat.size), flat] = 1
    return out.reshape((*tensor.shape, num_classes))


expose(gather, index_select)
expose(scatter_add, masked_fill, inplace=True)
expose(one_hot, methods=False)
