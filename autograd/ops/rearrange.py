"""Elements moved, repeated or left out: flips, rolls, repeats, diagonals, triangles, windows, strided views.

Many come in pairs that are each other's gradient: an op that takes elements out, and its adjoint, which puts them
back into zeros and adds up what meets. The adjoint of `name` is `name_adjoint`.
"""

from __future__ import annotations

from ... import backends
from ...backends import np
from ..autocast import listed
from ..dims import as_sizes, numpy_names, wrap_dim, wrap_dims
from ..dtypes import to_numpy_dtype
from ..errors import OpError
from ..op import op
from ..public import api, expose, function
from ..tensor import Tensor, method, wrap
from .shape import reshape, transpose

__all__ = [
    "as_strided",
    "as_strided_adjoint",
    "diagonal",
    "diagonal_adjoint",
    "flip",
    "repeat",
    "roll",
    "tril",
    "triu",
    "windows",
    "windows_adjoint",
]


# -- order ------------------------------------------------------------------------------------------------------------


@op
def flip(xp, input, /, dims):
    """A copy of `input` with the order reversed along `dims`."""
    return xp.array(xp.flip(input, wrap_dims(dims, input.ndim)), copy=True, order="C")


@flip.grad("input")
def _(F, g, dims):
    return F.flip(g, dims)


@method(name="flip")
def _flip_method(self, *dims, **kwargs):
    """See `chainrule.flip`; the dimensions one by one, or as a tuple."""
    return flip(self, as_sizes(dims or (kwargs["dims"],)))


@api
def fliplr(input):
    """`input` with its columns (dimension 1) in reverse order."""
    if len(input.shape) < 2:
        raise OpError(f"Input must be >= 2-d, got {len(input.shape)}-d")
    return flip(input, (1,))


@api
def flipud(input):
    """`input` with its rows (dimension 0) in reverse order."""
    if not input.shape:
        raise OpError("Input must be >= 1-d, got 0-d")
    return flip(input, (0,))


@op
def roll(xp, input, /, shifts, dims=None):
    """`input` shifted along `dims`; what leaves at one end comes in at the other. Without `dims`, taken flat."""
    shifts = tuple(shifts) if hasattr(shifts, "__iter__") else (shifts,)
    if dims is None or dims == ():
        if len(shifts) != 1:
            raise OpError(f"roll: shifts and dimensions must align; got {len(shifts)} shifts and no dims")
        return xp.roll(input, shifts[0])
    found = tuple([wrap_dim(d, input.ndim) for d in (dims if hasattr(dims, "__iter__") else (dims,))])
    if len(found) != len(shifts):
        raise OpError(f"roll: shifts and dimensions must align; got {len(shifts)} shifts and {len(found)} dims")
    return xp.roll(input, shifts, found)


@roll.grad("input")
def _(F, g, shifts, dims):
    back = tuple([-s for s in shifts]) if hasattr(shifts, "__iter__") else -shifts
    return F.roll(g, back, dims)


@method(name="roll")
def _roll_method(self, shifts, dims=None, **kwargs):
    """See `chainrule.roll`."""
    return roll(self, shifts, dims, **kwargs)


@api
@numpy_names
def rot90(input, k=1, dims=(0, 1)):
    """`input` turned k times by 90 degrees in the plane of `dims`, from the first of them towards the second."""
    dims = tuple(dims)
    if len(dims) != 2:
        raise OpError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    a, b = wrap_dims(dims, len(input.shape))
    turns = k % 4
    if turns == 0:
        return input.clone()
    if turns == 2:
        return flip(input, (a, b))
    return transpose(flip(input, (b,)), a, b) if turns == 1 else flip(transpose(input, a, b), (b,))


# -- repetition -------------------------------------------------------------------------------------------------------


@op
def repeat(xp, input, /, sizes):
    """`input` laid side by side `sizes[i]` times along each dimension; further sizes in front add dimensions."""
    if len(sizes) < input.ndim:
        raise OpError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor: "
            f"got {list(sizes)} for {list(input.shape)}"
        )
    return xp.tile(input, sizes)


@repeat.grad("input")
def _(F, g, shape, sizes):
    full = (1,) * (len(sizes) - len(shape)) + tuple(shape)
    pairs = [n for pair in zip(sizes, full) for n in pair]
    summed = F.sum(F.reshape(g, tuple(pairs)), dim=tuple(range(0, len(pairs), 2))) if pairs else g
    return F.reshape(summed, shape)


@method(name="repeat")
def _repeat_method(self, *sizes, **kwargs):
    """Copies of the tensor side by side: `repeat(2, 3)` or `repeat((2, 3))`."""
    return repeat(self, as_sizes(sizes or (kwargs["repeats"],)))


@api
@numpy_names
def tile(input, dims):
    """`input` laid side by side `dims[i]` times along each dimension; missing counts are 1, for leading dimensions."""
    counts = as_sizes((dims,))
    return repeat(input, (*(1,) * (len(input.shape) - len(counts)), *counts))


@method(name="tile")
def _tile_method(self, *dims, **kwargs):
    """See `chainrule.tile`; the counts one by one, or as a tuple."""
    return tile(self, as_sizes(dims or (kwargs["dims"],)))


@api
@numpy_names
def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each element (or slice along `dim`) repeated: a number of times, or by a tensor with a count for each.

    Without `dim` the input is taken flat. `output_size` is what the result's size will be, and is checked. Of counts
    alone the result is the positions repeated: [0, 2, 1] gives [1, 1, 2]. repeats: the number, or the counts.
    """
    if repeats is None:
        positions = np.arange(input.shape[0])
        return repeat_interleave(
            wrap(backends.of(input.array).asarray(positions), None), input, 0, output_size=output_size
        )
    if dim is None:
        input, dim = reshape(input, (-1,)), 0
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d]
    counts = np.asarray(repeats.tolist() if isinstance(repeats, Tensor) else repeats, dtype=np.int64).reshape(-1)
    if counts.size not in (1, n):
        raise OpError(f"repeats must have the same size as input along dim, but got {counts.size} and {n}")
    if counts.size and counts.min() < 0:
        raise OpError("repeats can not be negative")
    index = np.repeat(np.arange(n), counts)
    if output_size is not None and output_size != index.size:
        raise OpError(f"repeat_interleave: output_size is {output_size}, and the repeats make {index.size}")
    return input[(*(slice(None),) * d, index)]


# -- diagonals --------------------------------------------------------------------------------------------------------


def _diagonal(xp, array, offset, dim1, dim2):
    """A writable view of the diagonal."""
    d1, d2 = wrap_dim(dim1, array.ndim), wrap_dim(dim2, array.ndim)
    if d1 == d2:
        raise OpError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rest = [d for d in range(array.ndim) if d not in (d1, d2)]
    moved = array.transpose((*rest, d1, d2))
    moved = moved[..., :, offset:] if offset >= 0 else moved[..., -offset:, :]
    shape, steps = moved.shape, moved.strides
    return xp.lib.stride_tricks.as_strided(moved, (*shape[:-2], min(shape[-2:])), (*steps[:-2], steps[-2] + steps[-1]))


@op(view=True)
def diagonal(xp, input, /, offset=0, dim1=0, dim2=1):
    """The diagonal of the planes of dim1 and dim2, as the last dimension: a view. offset > 0 is above the main one."""
    return _diagonal(xp, input, offset, dim1, dim2)


@diagonal.grad("input")
def _(F, g, shape, offset, dim1, dim2):
    return F.diagonal_adjoint(g, shape, offset, dim1, dim2)


_diagonal_op = diagonal  # `diag` has an argument of that name


@op
def diagonal_adjoint(xp, input, /, size, offset=0, dim1=0, dim2=1):
    """Zeros of shape `size` with `input` on a diagonal."""
    out = xp.zeros(size, input.dtype)
    _diagonal(xp, out, offset, dim1, dim2)[...] = input
    return out


@diagonal_adjoint.grad("input")
def _(F, g, offset, dim1, dim2):
    return F.diagonal(g, offset, dim1, dim2)


@api
def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """Matrices, in the planes of dim1 and dim2 of the result, with the last dimension of `input` on a diagonal.

    offset: how far above the main one it lies.
    """
    n = len(input.shape) + 1
    d1, d2 = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if d1 == d2:
        raise OpError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    edge, rest = input.shape[-1] + abs(offset), iter(input.shape[:-1])
    return diagonal_adjoint(input, tuple([edge if d in (d1, d2) else next(rest) for d in range(n)]), offset, d1, d2)


@api
def diag(input, diagonal=0):
    """A matrix with the vector `input` on a diagonal; of a matrix, a copy of that diagonal."""
    if len(input.shape) == 1:
        return diag_embed(input, diagonal)
    if len(input.shape) != 2:
        raise OpError(f"diag(): Supports 1D or 2D tensors. Got {len(input.shape)}D")
    return _diagonal_op(input, diagonal).clone()


@api
def diagflat(input, offset=0):
    """A matrix with all elements of `input` on a diagonal. offset: how far above the main one it lies."""
    return diag_embed(reshape(input, (-1,)), offset)


@api
@listed
def trace(input):
    """The sum of a matrix's diagonal."""
    if len(input.shape) != 2:
        raise OpError(f"trace: expected a matrix, but got tensor with dim {len(input.shape)}")
    return diagonal(input).sum()


def eye_like(input):
    """Identity matrices of the shape, dtype and device of `input`."""
    xp = backends.of(input.array).xp
    eye = xp.eye(input.shape[-2], input.shape[-1], dtype=input.array.dtype)
    return wrap(xp.array(xp.broadcast_to(eye, input.array.shape), copy=True), None)


# -- triangles --------------------------------------------------------------------------------------------------------


def _check_matrices(input, name):
    if input.ndim < 2:
        raise OpError(f"{name}: input tensor must have at least 2 dimensions, got {input.ndim}")


@op
def tril(xp, input, /, diagonal=0):
    """The lower triangle of the matrices in the last two dimensions, up to a diagonal; zeros above it."""
    _check_matrices(input, "tril")
    return xp.tril(input, diagonal)


@tril.grad("input")
def _(F, g, diagonal):
    return F.tril(g, diagonal)


@op
def triu(xp, input, /, diagonal=0):
    """The upper triangle of the matrices in the last two dimensions, from a diagonal on; zeros below it."""
    _check_matrices(input, "triu")
    return xp.triu(input, diagonal)


@triu.grad("input")
def _(F, g, diagonal):
    return F.triu(g, diagonal)


@function
def tril_indices(row, col, offset=0, *, dtype=None, device=None):
    """Rows and columns (2, n) of the elements of a matrix's lower triangle, up to diagonal `offset`."""
    return _indices(np.tril_indices(row, offset, col), dtype, device)


@function
def triu_indices(row, col, offset=0, *, dtype=None, device=None):
    """Rows and columns (2, n) of the elements of a matrix's upper triangle, from diagonal `offset` on."""
    return _indices(np.triu_indices(row, offset, col), dtype, device)


def _indices(pair, dtype, device):
    found = wrap(np.stack(pair).astype(np.int64 if dtype is None else to_numpy_dtype(dtype)), None)
    return found if device is None else found.to(device)


@function
def combinations(input, r=2, with_replacement=False):
    """All ways to take r elements of a vector, in order of position: one row per way.

    with_replacement: an element may be taken more than once.
    """
    from itertools import combinations as plain
    from itertools import combinations_with_replacement

    if len(input.shape) != 1:
        raise OpError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    ways = list((combinations_with_replacement if with_replacement else plain)(range(input.shape[0]), r))
    return input[np.array(ways, dtype=np.int64).reshape(len(ways), r)]


# -- windows and strides ----------------------------------------------------------------------------------------------


def _windows(xp, array, dim, size, step):
    d, n = wrap_dim(dim, array.ndim), array.shape[wrap_dim(dim, array.ndim)] if array.ndim else 1
    if size < 0 or size > n or step <= 0:
        raise OpError(
            f"unfold: size {size} and step {step} do not fit dimension {d} of size {n} (step > 0, size <= {n})"
        )
    if not array.ndim:
        return array.reshape((1,))[:size]
    shape = (*array.shape[:d], (n - size) // step + 1, *array.shape[d + 1 :], size)
    steps = (*array.strides[:d], array.strides[d] * step, *array.strides[d + 1 :], array.strides[d])
    return xp.lib.stride_tricks.as_strided(array, shape, steps)


@op(view=True)
def windows(xp, input, /, dimension, size, step):
    """Windows of `size` along a dimension, one each `step`: a view with the windows in a new last dimension.

    It is `Tensor.unfold(dimension, size, step)`.
    """
    return _windows(xp, input, dimension, size, step)


@windows.grad("input")
def _(F, g, shape, dimension, size, step):
    return F.windows_adjoint(g, shape, dimension, size, step)


@op
def windows_adjoint(xp, input, /, full, dimension, size, step):
    """Zeros of shape `full`, to which the windows in `input` are added where they came from."""
    out = xp.zeros(full, input.dtype)
    if not full:
        return out + input.sum()
    d = wrap_dim(dimension, len(full))
    reach = (input.shape[d] - 1) * step + 1
    for k in range(size):
        out[(*(slice(None),) * d, slice(k, k + reach, step))] += input[..., k]
    return out


@windows_adjoint.grad("input")
def _(F, g, dimension, size, step):
    return F.windows(g, dimension, size, step)


@op(view=True)
def as_strided(xp, input, /, size, stride, start, memory):
    """A view of the memory of `input`: element i at `start` + Σ i·stride, in elements, counted from its first one.

    `memory`: the strides that are meant; where those of `input` are others, the result is a copy of the same elements.
    """
    places = _places(size, stride, start, input.shape, memory)
    if tuple([s // input.itemsize for s in input.strides]) != tuple(memory):
        return xp.take(input.reshape(-1), xp.asarray(places)).reshape(size)
    flat = xp.lib.stride_tricks.as_strided(input, (_reach(input.shape, memory),), (input.itemsize,))[start:]
    return xp.lib.stride_tricks.as_strided(flat, size, [s * input.itemsize for s in stride])


@as_strided.grad("input")
def _(F, g, shape, size, stride, start, memory):
    return F.as_strided_adjoint(g, size, stride, start, shape, memory)


@op
def as_strided_adjoint(xp, input, /, size, stride, start, full, memory):
    """Zeros of shape `full`, to which the elements of an `as_strided` view are added where they came from."""
    out = xp.zeros(full, input.dtype).reshape(-1)
    xp.add.at(out, xp.asarray(_places(size, stride, start, full, memory)), input.reshape(-1))
    return out.reshape(full)


@as_strided_adjoint.grad("input")
def _(F, g, size, stride, start, memory):
    return F.as_strided(g, size, stride, start, memory)


def _reach(shape, stride):
    """How many memory cells lie between the first and the last element."""
    return 1 + sum((n - 1) * s for n, s in zip(shape, stride)) if all(shape) else 0


def _cells(size, stride, start):
    """The memory cell of each element."""
    cells = np.asarray(start)
    for n, s in zip(size, stride):
        cells = cells[..., None] + s * np.arange(n)
    return cells.reshape(-1)


def _places(size, stride, start, shape, memory):
    """For each element of a strided view, the position (of the flat tensor) of the element that it shows."""
    reach = _reach(shape, memory)
    cells = _cells(size, stride, start)
    if len(size) != len(stride) or min(stride, default=0) < 0 or (cells.size and (start < 0 or cells.max() >= reach)):
        raise OpError(
            f"as_strided: size {list(size)}, stride {list(stride)} and offset {start} reach out of the {reach} "
            f"elements of memory of a tensor of shape {list(shape)}"
        )
    owners = np.full(reach, -1)
    owners[_cells(shape, memory, 0)] = np.arange(int(np.prod(shape, dtype=np.int64)))
    places = owners[cells]
    if cells.size and places.min() < 0:
        raise OpError("as_strided: the view shows memory between the elements of its tensor; call contiguous() first")
    return places


@api(name="as_strided")
def _as_strided_function(input, size, stride, storage_offset=None):
    """A view of the memory of `input`, element i at `storage_offset` + Σ i·stride (in elements).

    The default offset is that of `input`. The view stays within the elements of `input`; elements may overlap, and
    then their gradients add up. RuntimeError for a view that leaves them.
    """
    own = input.storage_offset()
    start = 0 if storage_offset is None else storage_offset - own
    given = {"size": as_sizes((size,)), "stride": as_sizes((stride,)), "start": start, "memory": input.stride()}
    return as_strided.apply([input], given)


expose(flip, roll, methods=False)
expose(diagonal)
expose(functions=False, unfold=windows)
expose(tril, triu, inplace=True)
