"""Indexing: `x[...]`, `x[...] = y`, and what is built on positions.

An index is taken in two steps, as PyTorch has it: first ints, slices, None and Ellipsis, which give a view (op
`slicing`), then index arrays and masks, which give a copy (op `index`). NumPy takes `x[0, :, [1, 2]]` in one step and
puts the dimension of the list first; here it stays where it stands. Negative steps work, and a list of lists is one
index array, both as in NumPy.

The gradient of both puts what arrives into zeros; where an index names an element more than once, gradients add up.
What is written twice by an assignment holds the last value, and only that one gets a gradient.
"""

from __future__ import annotations

from operator import index as as_int

from ... import backends
from ...backends import np
from .. import storage
from ..autocast import listed
from ..complexes import is_complex
from ..composite import composite
from ..dims import wrap_dim
from ..dtypes import from_numpy_dtype
from ..errors import OpError, OutOfRange, device_name
from ..modes import MODES
from ..op import OPS, op
from ..public import api, expose, function
from ..tensor import Tensor, method
from ..tracking import check
from .shape import reshape

__all__ = ["index", "index_adjoint", "index_put", "last_put", "narrow", "select", "slicing", "slicing_adjoint"]


# -- ops --------------------------------------------------------------------------------------------------------------


@op(view=True)
def slicing(xp, input, /, index):
    """`input[index]` for a tuple of ints, slices, None and Ellipsis: a view."""
    return input[index if Ellipsis in index else (*index, ...)]


@slicing.grad("input")
def _(F, g, shape, index):
    return F.slicing_adjoint(g, shape, index)


@op
def slicing_adjoint(xp, input, /, size, index):
    """Zeros of shape `size` that hold `input` at `index`."""
    out = xp.zeros(size, input.dtype)
    out[index] = input
    return out


@slicing_adjoint.grad("input")
def _(F, g, index):
    return F.slicing(g, index)


@op
def index(xp, input, /, indices):
    """`input[indices]` for a tuple of index arrays, masks and full slices: a copy."""
    return input[indices]


@index.grad("input")
def _(F, g, shape, indices):
    return F.index_adjoint(g, shape, indices)


@op
def index_adjoint(xp, input, /, size, indices):
    """Zeros of shape `size`, to which `input` is added at `indices`."""
    out = xp.zeros(size, input.dtype)
    if _only_masks(indices):
        out[indices] = input
    else:
        xp.add.at(out, indices, input)
    return out


@index_adjoint.grad("input")
def _(F, g, indices):
    return F.index(g, indices)


@op(inputs="input values", broadcast=True)
def index_put(xp, input, values, view, indices, accumulate=False):
    """A copy of `input` with `values` written (or added, under `accumulate`) at `input[view][indices]`.

    `view` is a tuple of ints, slices, None and Ellipsis; `indices` one of index arrays, masks and full slices, or None.
    """
    out = xp.array(input, copy=True)
    part = out[view if Ellipsis in view else (*view, ...)]
    if accumulate and indices is not None and not _only_masks(indices):
        xp.add.at(part, indices, values)
    elif accumulate:
        part[... if indices is None else indices] += values
    else:
        part[... if indices is None else in_order(xp, indices)] = values
    return out


@index_put.grad("input")
def _(F, g, view, indices, accumulate):
    return g if accumulate else F.index_put(g, 0, view, indices)


@index_put.grad("values")
def _(F, g, view, indices, accumulate):
    part = F.slicing(g, view)
    if indices is None:
        return part
    found = F.index(part, indices)
    if accumulate or _only_masks(indices):
        return found
    return F.where(F.last_put(part, indices), found, 0)


@op
def last_put(xp, input, /, indices):
    """For each element that an assignment `input[indices] = values` writes: is it the last one written there?"""
    places = xp.arange(input.size).reshape(input.shape)[indices]
    turns = xp.arange(places.size).reshape(places.shape)
    last = xp.zeros(input.size, turns.dtype)
    xp.maximum.at(last, places, turns)  # what `last[places] = turns` leaves is defined in NumPy alone
    return last[places] == turns


def in_order(xp, indices):
    """Index arrays that NumPy walks in the order of their elements, so that the last of several values written stays.

    It walks in the order of memory, which for a transposed or reversed index array is another.
    """
    return tuple([i if isinstance(i, slice) else xp.ascontiguousarray(i) for i in indices])


def _only_masks(indices):
    """True where no element can be named twice: each index is a mask or a slice."""
    return all(isinstance(i, slice) or i.dtype.kind == "b" for i in indices)


# -- an index as it was written ---------------------------------------------------------------------------------------

_FULL = slice(None)


def split_index(input, index):
    """The two steps: (tuple of ints, slices, None and Ellipsis; tuple of arrays and full slices, or None)."""
    if type(index) is not tuple:
        index = _as_tuple(index) if type(index) is list else (index,)
    for i in index:
        if type(i) is not int and i is not None and i is not Ellipsis and not (type(i) is slice and _plain(i)):
            return _split_mixed(input, index)
    _count(index, input)
    return index, None


def _as_tuple(index):
    """The tuple that PyTorch takes a list for: x[[i, j]] is x[i, j], unless the list holds numbers alone.

    It warns. NumPy took lists so until version 1.23; a list of 32 and more is an array of indices in any case.
    """
    several = (Tensor, list, tuple, slice, range, np.ndarray)
    if len(index) >= 32 or not any(i is None or i is Ellipsis or isinstance(i, several) for i in index):
        return (index,)
    import warnings

    message = (
        "Using a non-tuple sequence for multidimensional indexing is deprecated: use x[tuple(seq)] instead of x[seq]"
    )
    warnings.warn(message, UserWarning, stacklevel=4)
    return tuple(index)


def _plain(s):
    return (
        (s.start is None or type(s.start) is int)
        and (s.stop is None or type(s.stop) is int)
        and (s.step is None or type(s.step) is int)
    )


def _count(index, input):
    """How many dimensions an index without arrays takes; IndexError for too many."""
    taken = sum([i is not None and i is not Ellipsis for i in index])
    if taken > len(input.shape) or index.count(Ellipsis) > 1:
        if not input.shape and len(index) == 1:
            raise IndexError(
                "slice() cannot be applied to a 0-dim tensor."
                if isinstance(index[0], slice)
                else "invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor to a number"
            )
        raise IndexError(
            f"too many indices for tensor of dimension {len(input.shape)}: the index has {taken}, and Ellipsis "
            f"{index.count(Ellipsis)} times"
        )


def _split_mixed(input, index):
    backend = backends.of(input.array)
    place = backend.device_of(input.array)[1]
    items = [_item(i, backend, place) for i in index]
    taken = sum([_dims_taken(i) for i in items])
    if taken > len(input.shape):
        raise IndexError(f"too many indices for tensor of dimension {len(input.shape)}: the index takes {taken}")
    dots = [n for n, i in enumerate(items) if i is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single Ellipsis ('...')")
    if dots:
        items[dots[0] : dots[0] + 1] = [_FULL] * (len(input.shape) - taken)
    view, arrays, d = [], [], 0
    for i in items:
        if not hasattr(i, "dtype"):
            view.append(i)
            if not isinstance(i, int):
                arrays.append(_FULL)
        elif i.ndim == 0:  # a single truth value: a new dimension of size 1 or 0
            view.append(None)
            arrays.append(i.reshape(1))
        else:
            view += [_FULL] * _dims_taken(i)
            arrays.append(i)
            if i.dtype.kind == "b" and tuple(input.shape[d : d + i.ndim]) != tuple(i.shape):
                raise IndexError(
                    f"The shape of the mask {list(i.shape)} at dimension {d} does not match the shape of the indexed "
                    f"tensor {list(input.shape)} there"
                )
        d += _dims_taken(i)
    while arrays and isinstance(arrays[-1], slice):
        arrays.pop()
    return tuple(view), tuple(arrays) or None


def _dims_taken(i):
    if i is None or i is Ellipsis:
        return 0
    return i.ndim if hasattr(i, "dtype") and i.dtype.kind == "b" else 1


def _item(i, backend, place):
    """One part of an index: an int, a slice of ints, None, Ellipsis, or an array on the tensor's device."""
    if i is None or i is Ellipsis or type(i) is int:
        return i
    if isinstance(i, slice):
        return slice(*[b if b is None or type(b) is int else _whole(b) for b in (i.start, i.stop, i.step)])
    if isinstance(i, Tensor):
        array = i.array
        if array.dtype == np.uint8:  # PyTorch's older masks
            array = array.astype(bool)
    elif isinstance(i, (bool, np.bool_)):
        array = np.asarray(i)
    elif isinstance(i, np.ndarray) or hasattr(i, "__array_interface__") or hasattr(i, "__cuda_array_interface__"):
        array = i
    elif hasattr(i, "__index__"):
        return as_int(i)
    elif isinstance(i, str):
        raise TypeError(f"a tensor is indexed by numbers, slices, None, Ellipsis, arrays and lists, not by {i!r}")
    elif hasattr(i, "__iter__") or hasattr(i, "__getitem__"):
        array = _from_sequence(i)
    else:
        raise IndexError(
            f"only integers, slices, Ellipsis, None, and integer or bool tensors, arrays and lists index; got {i!r}"
        )
    if array.dtype.kind not in "iub":
        raise IndexError(f"tensors used as indices must be integer or bool tensors, got {array.dtype}")
    if array.ndim == 0 and array.dtype.kind != "b":
        return int(array.item())
    if backend.device_type == "cpu" and type(array) in backends.FOREIGN:
        raise OpError(
            "indices should be either on cpu or on the same device as the indexed tensor (cpu), not on "
            f"{device_name(array)}"
        )
    return backend.asarray(array, index=place)


def _from_sequence(i):
    array = np.asarray([_host(x) for x in i])
    return array if array.size else array.astype(np.int64)


def _host(x):
    if isinstance(x, Tensor):
        return x.tolist()
    return [_host(y) for y in x] if isinstance(x, (list, tuple)) else x


def _whole(x):
    return int(x.item()) if isinstance(x, Tensor) else as_int(x)


# -- reading and writing ----------------------------------------------------------------------------------------------


@method
def __getitem__(self, index):
    """A view for ints, slices, None and Ellipsis; a copy where arrays, lists or masks take part."""
    view, arrays = split_index(self, index)
    if arrays is None:
        return slicing.direct(self, view)
    if view.count(_FULL) != len(view):
        self = slicing.direct(self, view)
    return _index_op.direct(self, arrays)


@method
def __setitem__(self, index, value):
    """Write `value`, broadcast and cast to the tensor's dtype, at the elements that `self[index]` shows."""
    view, arrays = split_index(self, index)
    if isinstance(value, Tensor) and arrays is None and _is_view_of(value, self, view):
        return  # Python's `x[i] += y`: the view was changed in place already
    recording = MODES.get().grad
    tracked = recording and (self.requires_grad or getattr(value, "requires_grad", False))
    if tracked:
        storage.check_assignable(self, self, "setitem", True)
    value = _assignable(self, value, view, arrays)
    if tracked:
        storage.assign(self, index_put.apply([self, value], {"view": view, "indices": arrays}), "setitem", True)
        return
    storage.as_memory(self)
    _write(self.array, view, arrays, getattr(value, "array", value))


def _write(array, view, arrays, value):
    """Write into memory that is not being recorded."""
    if not backends.of(array).writable(array):
        raise OpError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location, "
            "or the memory is read-only. Please clone() the tensor before performing the operation."
        )
    part = array[view if Ellipsis in view else (*view, ...)]
    if arrays is not None:
        backends.of(array).check_indices(part.shape, arrays)
    try:
        part[... if arrays is None else in_order(backends.of(array).xp, arrays)] = value
    except ValueError as error:
        raise OpError(f"setitem: {error}") from None
    storage.mark_written(part, storage.user_place())


def _is_view_of(value, base, view):
    """True where `value` is the view `base[view]` itself."""
    return (
        value.family is not None
        and value.family is base.family
        and len(value.chain) == len(base.chain) + 1
        and value.chain[:-1] == base.chain
        and value.chain[-1][0] is slicing
        and value.chain[-1][1] == (view,)
    )


def _assignable(target, value, view, arrays):
    """`value` as an operand of `index_put`: in the target's dtype, without needless leading dimensions."""
    array = target.array
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, complex):
        from ..creation import check_value

        return check_value(value, array.dtype)
    if not isinstance(value, Tensor):
        backend, given = backends.of(array), type(value).__name__
        value = np.asarray(_host(value) if isinstance(value, (list, tuple)) else value)
        if value.dtype.kind in "OSU":  # NumPy would read NaN out of None, and numbers out of text
            raise TypeError(f"can't assign a {given} to a tensor of {array.dtype}: it is no number")
        return _strip(backend.asarray(value, array.dtype), array, view, arrays)
    if value.array.dtype != array.dtype:
        value = value.to(dtype=array.dtype) if is_complex(value.array) else OPS["cast"](value, dtype=array.dtype)
    return _strip(value, array, view, arrays)


def _strip(value, array, view, arrays):
    """Leading dimensions of size 1 beyond those of the place are left out, as NumPy does."""
    shape = tuple(value.shape)
    if not shape or shape[0] != 1:
        return value
    place = array[view if Ellipsis in view else (*view, ...)]
    ndim = (place if arrays is None else place[arrays]).ndim
    while len(shape) > ndim and shape[0] == 1:
        shape = shape[1:]
    return value.reshape(shape)


_index_op = index


# -- parts along a dimension ------------------------------------------------------------------------------------------


@composite
def narrow(F, input, /, dim, start, length):
    """`length` elements along `dim`, from `start` on: a view."""
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d] if input.shape else 0
    start = _whole(start)
    if not input.shape:
        raise OpError("narrow() cannot be applied to a 0-dim tensor.")
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start += n if start < 0 else 0
    if length < 0 or start + length > n:
        raise OpError(f"start ({start}) + length ({length}) exceeds dimension size ({n})")
    return F.slicing(input, index=(*(_FULL,) * d, slice(start, start + length)))


@composite
def select(F, input, /, dim, index):
    """The slice of `input` at `index` of dimension `dim`, without that dimension: a view."""
    if not input.shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, len(input.shape))
    i, n = _whole(index), input.shape[d]
    if not -n <= i < n:
        raise IndexError(f"select(): index {i} out of range for tensor of size {list(input.shape)} at dimension {dim}")
    return F.slicing(input, index=(*(_FULL,) * d, i))


@api
def select_scatter(input, src, dim, index):
    """A copy of `input` with `src` at `index` of dimension `dim`."""
    return _put(input, src, (*(_FULL,) * wrap_dim(dim, len(input.shape)), _whole(index)))


@api
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """A copy of `input` with `src` at start:end:step of dimension `dim`."""
    return _put(input, src, (*(_FULL,) * wrap_dim(dim, len(input.shape)), slice(start, end, step)))


def _put(input, src, view):
    place = input.array[(*view, ...)].shape
    if tuple(src.shape) != place:
        raise OpError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = "
            f"{list(place)}"
        )
    return index_put(input, src, view, None)


@api
def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """A copy of `input` with `src` on a diagonal of the planes of dim1 and dim2.

    offset: how far above the main one it lies.
    """
    from .rearrange import diagonal
    from .shape import view_assign

    given = (offset, dim1, dim2)
    place = diagonal(input.detach(), *given)
    if tuple(src.shape) != tuple(place.shape):
        raise OpError(f"expected src to have a size equal to the diagonal, {list(place.shape)}, got {list(src.shape)}")
    return view_assign(input, src, chain=((diagonal, given, None),))


@method
def fill_diagonal_(self, fill_value, wrap=False):
    """Put a number on the main diagonal, in place; of a tensor with more than two dimensions, all of one size.

    wrap: in a matrix with more rows than columns the diagonal starts again below its end, one row left out.
    """
    shape = self.shape
    if len(shape) < 2:
        raise OpError(f"fill_diagonal_: dimensions must larger than 1, got {list(shape)}")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise OpError(f"fill_diagonal_: all dimensions of input must be of equal length, got {list(shape)}")
    place = np.arange(min(shape))
    places = (place,) * len(shape)
    if wrap and len(shape) == 2:
        places = np.divmod(np.arange(0, shape[0] * shape[1], shape[1] + 1), shape[1])
    self[tuple(places)] = fill_value
    return self


@function
def unravel_index(indices, shape):
    """The coordinates of positions in a flattened tensor of `shape`: one integer tensor per dimension."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if indices.dtype.is_floating_point or str(indices.dtype).endswith("bool"):
        raise OpError(f"unravel_index: expected 'indices' to be integers, but got {indices.dtype}")
    flat, strides = indices.numel(), [1]
    for n in sizes[:0:-1]:
        strides.append(strides[-1] * n)
    if flat and bool((indices.abs() >= strides[-1] * sizes[0]).any()):
        raise OpError(f"unravel_index: an index is out of bounds for shape {list(sizes)}")
    return tuple([indices // stride % n for n, stride in zip(sizes, reversed(strides))])


# -- index_put, take, put ---------------------------------------------------------------------------------------------


@api(name="index_put", inplace=True)
@listed(name="put_at")
def _index_put_function(input, indices, values, accumulate=False):
    """A copy of `input` with `values` written at `input[indices]` (a tuple of tensors), or added under `accumulate`."""
    view, arrays = split_index(input, tuple(indices))
    if isinstance(values, Tensor) and values.dtype != input.dtype:
        raise OpError(
            f"Index put requires the source and destination dtypes match, got {input.dtype} for the destination and "
            f"{values.dtype} for the source."
        )
    return index_put.apply([input, values], {"view": view, "indices": arrays, "accumulate": accumulate})


def positions(index, size, name):
    """An index tensor (or nested sequence) of whole numbers, as an array on the host or device that it is on."""
    array = index.array if isinstance(index, Tensor) else index if hasattr(index, "dtype") else np.asarray(index)
    if array.dtype.kind not in "iu":
        raise IndexError(f"{name}: the index must be a tensor of integers, got {from_numpy_dtype(array.dtype)}")
    if array.size and backends.of(array).device_of(array)[0] == "cpu":
        check(_check_positions, array, size, name)
    return array


def _check_positions(array, size, name):
    if not (-size <= array.min() and array.max() < size):
        raise OutOfRange(
            f"{name}: an index is out of range for {size} elements (they go from {array.min()} to {array.max()})"
        )


@api
def take(input, index):
    """The elements of `input`, taken flat, at the positions `index`; the result has the shape of `index`."""
    where = positions(index, input.numel(), "take()")
    return _index_op(reshape(input, (-1,)), (where,))


@api(inplace=True)
def put(input, index, source, accumulate=False):
    """A copy of `input` with `source` written (or added) at the flat positions `index`. accumulate: added."""
    where = positions(index, input.numel(), "put()").reshape(-1)
    if source.numel() != where.size:
        raise OpError(
            "put_(): Expected source and index to have the same number of elements, got "
            f"{source.numel()} and {where.size}"
        )
    if is_complex(source.array) and not is_complex(input.array):
        raise OpError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {input.dtype} and "
            f"source.dtype = {source.dtype}"
        )
    flat = index_put(reshape(input, (-1,)), reshape(source, (-1,)), (), (where,), accumulate)
    return reshape(flat, tuple(input.shape))


expose(narrow, select)
