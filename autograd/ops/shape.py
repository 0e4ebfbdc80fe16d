"""Shape: views, which give the same elements another shape and share memory wherever the strides allow it.

A view op is declared `view=True`: `storage` links its result to its input, so a change in place of one is seen in the
other. `view` and `reshape` are the same here: they copy where no strides can express the shape. Turned down:
PyTorch's error for `view` on such memory, because layouts differ from PyTorch's (a weight may lie channels-last).
"""

from __future__ import annotations

from ...backends import np
from .. import storage
from ..complexes import is_complex
from ..dims import as_sizes, numpy_names, wrap_dim, wrap_dims
from ..dtypes import dtype as Dtype
from ..dtypes import to_numpy_dtype
from ..errors import OpError
from ..modes import MODES
from ..op import GRAPH, op
from ..public import api, expose, function
from ..tensor import Tensor, method

__all__ = [
    "alias",
    "bitcast",
    "broadcast_to",
    "cast",
    "clone",
    "expand",
    "flatten",
    "movedim",
    "permute",
    "reshape",
    "squeeze",
    "transpose",
    "unflatten",
    "unsqueeze",
    "view_assign",
    "zeros_of",
]


# -- the same elements ------------------------------------------------------------------------------------------------


@op(view=True)
def alias(xp, input):
    """The same values on the same memory: a new vertex of the graph."""
    return input[...] if input.ndim else input.reshape(())


@alias.grad("input")
def _(F, g):
    return g


@op
def clone(xp, input, /, memory_format=None):
    """A copy, with its gradient. `memory_format`: the order of dimensions in memory; default: that of `input`."""
    if memory_format is None:
        return xp.array(input, copy=True)
    return _in_format(xp, input, memory_format)


@clone.grad("input")
def _(F, g):
    return g


def _in_format(xp, input, memory_format):
    """A copy of `input` with its memory in the named format (an object whose text ends in e.g. channels_last)."""
    name = str(memory_format).rpartition(".")[2]
    if name == "preserve_format":
        return xp.array(input, copy=True)
    order = memory_order(name, input.ndim)
    back = [order.index(d) for d in range(input.ndim)]
    return xp.array(input.transpose(order), copy=True, order="C").transpose(back)


def memory_order(name, ndim):
    """The order of dimensions in memory, slowest first, of a named memory format."""
    if name == "contiguous_format":
        return tuple(range(ndim))
    if name == "channels_last" and ndim == 4:
        return 0, 2, 3, 1
    if name == "channels_last_3d" and ndim == 5:
        return 0, 2, 3, 4, 1
    raise OpError(
        f"required rank 4 tensor to use channels_last format (5 for channels_last_3d); got {name!r} with {ndim}"
    )


@op(view=True)
def cast(xp, input, /, dtype):
    """`input` in another dtype (itself where it has it). Gradients come back in the input's.

    Of complex numbers made real, the real parts are left.
    """
    if input.dtype.kind == "c" and np.dtype(dtype).kind != "c":
        input = input.real
    return input.astype(dtype, copy=False)


@cast.grad("input")
def _(F, g):
    return g


@op(view=True)
def bitcast(xp, input, /, dtype):
    """The bytes of `input` read as another dtype: `Tensor.view(dtype)`. The last dimension absorbs a change of size."""
    other_size = np.dtype(dtype).itemsize != input.itemsize
    return (xp.ascontiguousarray(input) if other_size and input.ndim else input).view(dtype)


@op
def zeros_of(xp, input, /, shape, dtype):
    """Zeros of a shape and dtype, where `input` lives."""
    return xp.zeros(shape, dtype)


# -- another shape ----------------------------------------------------------------------------------------------------


@op(view=True)
def reshape(xp, input, /, shape):
    """`input` with another shape, of as many elements; -1 stands for what is left."""
    return input.reshape(shape)


@reshape.grad("input")
def _(F, g, shape):
    return F.reshape(g, shape)


@op(view=True)
def unsqueeze(xp, input, /, dim):
    """`input` with a dimension of size 1 inserted at `dim`, in [-ndim - 1, ndim]."""
    n = input.ndim + 1
    d = wrap_dim(dim, n)
    return input.reshape((*input.shape[:d], 1, *input.shape[d:]))


@unsqueeze.grad("input")
def _(F, g, shape):
    return F.reshape(g, shape)


@op(view=True)
def squeeze(xp, input, /, dim=None):
    """`input` without its dimensions of size 1: all, or those named in `dim` (a number or a tuple)."""
    dims = range(input.ndim) if dim is None else wrap_dims(dim, input.ndim)
    return input.reshape(tuple([n for i, n in enumerate(input.shape) if n != 1 or i not in dims]))


@squeeze.grad("input")
def _(F, g, shape):
    return F.reshape(g, shape)


@op(view=True)
def flatten(xp, input, /, start_dim=0, end_dim=-1):
    """`input` with the dimensions from `start_dim` to `end_dim` in one; a 0-d tensor becomes 1-d."""
    first, last = wrap_dim(start_dim, input.ndim), wrap_dim(end_dim, input.ndim)
    if first > last:
        raise OpError("flatten() has invalid args: start_dim cannot come after end_dim")
    shape = input.shape
    count = 1
    for n in shape[first : last + 1]:
        count *= n
    return input.reshape((*shape[:first], count, *shape[last + 1 :]))


@flatten.grad("input")
def _(F, g, shape):
    return F.reshape(g, shape)


@op(view=True)
def unflatten(xp, input, /, dim, sizes):
    """`input` with dimension `dim` taken apart into `sizes`, one of which may be -1."""
    d = wrap_dim(dim, input.ndim)
    return input.reshape((*input.shape[:d], *_split_size(input.shape[d], as_sizes((sizes,)), d), *input.shape[d + 1 :]))


@unflatten.grad("input")
def _(F, g, shape):
    return F.reshape(g, shape)


def _split_size(total, sizes, dim):
    known = 1
    for n in sizes:
        known *= n if n != -1 else 1
    if sizes.count(-1) == 1 and known and total % known == 0:
        return [total // known if n == -1 else n for n in sizes]
    if -1 in sizes or known != total:
        raise OpError(f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({total})")
    return list(sizes)


def _reshaped(input, shape):
    return reshape.direct(input, shape)


@function(name="reshape")
@numpy_names
def _reshape_function(input, shape):
    """`input` with another shape of as many elements; -1 stands for what is left. A view where strides allow it."""
    return _reshaped(input, as_sizes((shape,)))


@method(name="reshape")
def _reshape_method(self, *shape, **kwargs):
    """See `chainrule.reshape`; the sizes one by one, or as a tuple."""
    return _reshaped(self, as_sizes(shape or (kwargs["shape"],)))


@method
def view(self, *shape, dtype=None, size=None):
    """`self` with another shape (`view(2, 3)`, `view((2, 3))`, one size may be -1), or its bytes as another dtype.

    A view of the memory where the strides allow it, a copy elsewhere. RuntimeError where the sizes do not fit.
    """
    if dtype is None and len(shape) == 1 and (type(shape[0]) is Dtype or isinstance(shape[0], (type, np.dtype))):
        (dtype,) = shape
    if dtype is not None:
        return bitcast.direct(self, to_numpy_dtype(dtype))
    return _reshaped(self, as_sizes(shape if size is None else (size,)))


@method
def view_as(self, other):
    """`self` viewed in the shape of `other`."""
    return _reshaped(self, tuple(other.shape))


@method
def reshape_as(self, other):
    """`self` in the shape of `other`."""
    return _reshaped(self, tuple(other.shape))


@api
def ravel(input):
    """`input` in one dimension."""
    return _reshaped(input, (-1,) if 0 not in input.shape else (0,))


@method(name="unflatten")
def _unflatten_method(self, dim, sizes):
    """See `chainrule.unflatten`."""
    return unflatten(self, dim, sizes)


# -- another order of dimensions --------------------------------------------------------------------------------------


@op(view=True)
def permute(xp, input, /, dims):
    """`input` with its dimensions in the order `dims`."""
    return input.transpose(dims)


@permute.grad("input")
def _(F, g, dims):
    n = len(dims)
    order = [0] * n
    for i, d in enumerate(dims):
        order[d % n] = i
    return F.permute(g, tuple(order))


@op(view=True)
def transpose(xp, input, /, dim0, dim1):
    """`input` with two dimensions exchanged."""
    if not input.ndim:
        wrap_dim(dim0, 0), wrap_dim(dim1, 0)
        return input.reshape(())
    return input.swapaxes(dim0, dim1)


@transpose.grad("input")
def _(F, g, dim0, dim1):
    return F.transpose(g, dim0, dim1)


@function(name="permute")
@numpy_names
def _permute_function(input, dims):
    """`input` with its dimensions in the order `dims`: a view. RuntimeError unless each is named once."""
    return permute.direct(input, _order(as_sizes((dims,)), len(input.shape)))


@method(name="permute")
def _permute_method(self, *dims, **kwargs):
    """See `chainrule.permute`; the dimensions one by one, or as a tuple."""
    return permute.direct(self, _order(as_sizes(dims or (kwargs["dims"],)), self.array.ndim))


def _order(dims, ndim):
    if len(dims) != ndim:
        raise OpError(
            f"permute(dims): the number of dims, {len(dims)}, must be that of the tensor's dimensions, {ndim}"
        )
    return wrap_dims(dims, ndim)


@api
def movedim(input, source, destination):
    """`input` with the dimensions `source` (a number or a tuple) moved to the positions `destination`: a view."""
    n = len(input.shape)
    src, dst = wrap_dims(source, n), wrap_dims(destination, n)
    if len(src) != len(dst):
        raise OpError(f"movedim: got {len(src)} source dims {list(src)} and {len(dst)} destination dims {list(dst)}")
    if not n:
        return alias(input)
    rest = iter([d for d in range(n) if d not in src])
    return permute.direct(input, tuple([src[dst.index(i)] if i in dst else next(rest) for i in range(n)]))


@api
def t(input):
    """The transpose of a matrix; tensors of less than two dimensions as they are."""
    n = len(input.shape)
    if n > 2:
        raise OpError(f"t() expects a tensor with <= 2 dimensions, but self is {n}D; use .mT or transpose(dim0, dim1)")
    return transpose.direct(input, 0, 1) if n == 2 else alias(input)


@api
def adjoint(input):
    """The last two dimensions exchanged, and complex numbers conjugated."""
    return _conjugated(_transposed(input))


def _transposed(input):
    """The last two dimensions exchanged."""
    if len(input.shape) < 2:
        raise OpError(f"adjoint(), mT and mH need a tensor of at least 2 dimensions, got {len(input.shape)}")
    return transpose.direct(input, -2, -1)


def _conjugated(input):
    return GRAPH.conj(input) if is_complex(input.array) else input


def _reversed(self):
    """All dimensions in reverse order; of a matrix, the transpose."""
    return permute.direct(self, tuple(range(self.array.ndim))[::-1])


def _hermitian(self):
    """The transpose of a matrix, complex numbers conjugated."""
    if self.array.ndim not in (0, 2):
        raise OpError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.array.ndim}-D tensor; use .mH")
    return _conjugated(_reversed(self))


Tensor.T = property(_reversed)
Tensor.mT = property(_transposed)
Tensor.H = property(_hermitian)
Tensor.mH = property(adjoint)


# -- broadcasting -----------------------------------------------------------------------------------------------------


@op(view=True)
def expand(xp, input, /, shape):
    """`input` broadcast to `shape`, without a copy."""
    extra = len(shape) - len(input.shape)
    if tuple(shape) == (1,) * extra + tuple(input.shape):  # nothing is repeated: a view that can be written
        return input[(*(None,) * extra, ...)]
    return xp.broadcast_to(input, shape)


@expand.grad("input")
def _(F, g, shape):
    extra = len(g.shape) - len(shape)
    dims = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    return F.reshape(F.sum(g, dims), shape) if dims else g


@method(name="expand")
def _expand_method(self, *size, implicit=False, **kwargs):
    """`self` broadcast to the sizes, without a copy; -1 keeps a dimension's size."""
    sizes, shape = as_sizes(size or (kwargs["size"],)), self.array.shape
    extra = len(sizes) - len(shape)
    if extra < 0:
        raise OpError(
            f"expand(): the number of sizes provided ({len(sizes)}) must be greater or equal to the number of "
            f"dimensions in the tensor ({len(shape)})"
        )
    full = []
    for i, n in enumerate(sizes):
        have = shape[i - extra] if i >= extra else None
        if n == -1 and have is None:
            raise OpError(f"expand({list(sizes)}): -1 isn't allowed in a leading, non-existing dimension {i}")
        if n != -1 and have not in (None, 1, n):
            raise OpError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at non-singleton "
                f"dimension {i}. Target sizes: {list(sizes)}. Tensor sizes: {list(shape)}"
            )
        full.append(have if n == -1 else n)
    return expand.direct(self, tuple(full))


@method
def expand_as(self, other):
    """`self` broadcast to the shape of `other`."""
    return _expand_method(self, tuple(other.shape))


@function
@numpy_names
def broadcast_to(input, size):
    """`input` broadcast to `size`, without a copy; -1 keeps a dimension's size."""
    return _expand_method(input, size)


@method(name="broadcast_to")
def _broadcast_to_method(self, *size, **kwargs):
    """See `chainrule.broadcast_to`; the sizes one by one, or as a tuple."""
    return broadcast_to(self, size if len(size) > 1 else size[0]) if size else broadcast_to(self, **kwargs)


@function
def broadcast_shapes(*shapes):
    """The shape to which shapes broadcast together."""
    from ..attributes import Size

    try:
        return Size(np.broadcast_shapes(*[tuple(s) if not isinstance(s, int) else (s,) for s in shapes]))
    except ValueError as error:
        raise OpError(f"Shape mismatch: objects cannot be broadcast to a single shape: {error}") from None


@function
def broadcast_tensors(*tensors):
    """The tensors, each broadcast to their common shape: views."""
    tensors = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    shape = tuple(broadcast_shapes(*[x.shape for x in tensors]))
    return tuple([expand.direct(x, shape) for x in tensors])


@function
def atleast_1d(*tensors):
    """The tensor(s) with at least one dimension."""
    return _each(tensors, lambda x: x if x.shape else _reshaped(x, (1,)))


@function
def atleast_2d(*tensors):
    """The tensor(s) with at least two dimensions, new ones in front."""
    return _each(tensors, lambda x: x if len(x.shape) > 1 else _reshaped(x, (1, *(x.shape or (1,)))))


@function
def atleast_3d(*tensors):
    """The tensor(s) with at least three dimensions: (n,) becomes (1, n, 1), (m, n) becomes (m, n, 1)."""

    def lifted(x):
        if len(x.shape) > 2:
            return x
        return _reshaped(x, (*x.shape, 1) if len(x.shape) == 2 else (1, *(x.shape or (1,)), 1))

    return _each(tensors, lifted)


def _each(tensors, f):
    if len(tensors) == 1:
        return f(tensors[0]) if isinstance(tensors[0], Tensor) else tuple([f(x) for x in tensors[0]])
    return tuple([f(x) for x in tensors])


# -- writes through views ---------------------------------------------------------------------------------------------


@op
def view_assign(xp, input, value, /, chain):
    """A copy of `input` whose view by `chain` holds `value`.

    chain: view ops one after another, each as (op, values of its parameters, number of the output or None).
    """
    out = xp.array(input, copy=True)
    view = _view(out, chain)
    view[...] = value.real if view.dtype.kind != "c" and is_complex(value) else value
    return out


@view_assign.grad("input")
def _(F, g, chain, value_shape):
    return F.view_assign(g, F.zeros_of(g, value_shape, g.dtype), chain)


@view_assign.grad("value")
def _(F, g, chain):
    for step, params, index in chain:
        g = getattr(F, step.name)(g, *params)
        g = g if index is None else g[index]
    return g


def _view(array, chain):
    for step, params, index in chain:
        array = step.kernels[type(array)](array, *params)
        array = array if index is None else array[index]
    return array


# -- in place: the tensor takes the shape of a view of itself ---------------------------------------------------------


def _becomes(name, f):
    """The method `name_`: let the tensor be the view `f(tensor, ...)` of its own memory."""

    def changed(self, *args, **kwargs):
        if MODES.get().grad:
            storage.check_assignable(self, self, f"{name}_", True)
        view = f(self, *args, **kwargs)
        if view.family is not self.family and view.family is not None:
            view.family.add(self)
        self.array, self.node, self.chain = view.array, view.node, view.chain
        return self

    changed.__name__ = changed.__qualname__ = f"{name}_"
    changed.__doc__ = f"In-place form of `{name}`: the same memory in another shape."
    method(changed, name=f"{name}_")


swapdims = transpose
expose(clone, squeeze, unsqueeze, flatten, transpose, swapdims=swapdims)


@api
def swapaxes(input, axis0, axis1):
    """`transpose` by other names of its arguments."""
    return transpose(input, axis0, axis1)


function(unflatten, name="unflatten")
api(movedim, name="moveaxis")
for _name, _f in {
    "squeeze": squeeze,
    "unsqueeze": unsqueeze,
    "t": t,
    "transpose": transpose,
    "swapaxes": swapaxes,
    "swapdims": transpose,
}.items():
    _becomes(_name, _f)
