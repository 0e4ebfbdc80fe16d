"""Joining tensors, and taking them apart."""

from __future__ import annotations

from itertools import accumulate

from ..dims import numpy_names, wrap_dim
from ..errors import OpError
from ..op import op
from ..public import api, function
from ..tensor import Tensor, method
from .shape import atleast_1d, atleast_2d, atleast_3d, broadcast_tensors, reshape

__all__ = ["cat", "chunk", "concat", "split", "stack", "tensor_split", "unbind"]


# -- joining ----------------------------------------------------------------------------------------------------------


@op(types="same")
def concat(xp, *tensors, dim=0):
    """The tensors one after another along `dim`; all other sizes are equal, and dtypes are promoted."""
    return xp.concatenate(tensors, axis=dim)


@concat.grad("*tensors")
def _(F, g, shapes, dim, needs):
    d, start, grads = dim % len(g.shape), 0, []
    for shape, need in zip(shapes, needs):
        stop = start + shape[d]
        grads.append(F.slicing(g, index=(*(slice(None),) * d, slice(start, stop))) if need else None)
        start = stop
    return tuple(grads)


@op(types="same")
def stack(xp, *tensors, dim=0):
    """The tensors, all of one shape, side by side along a new dimension `dim`."""
    first = tensors[0]
    if not 0 <= dim < first.ndim:
        return xp.stack(tensors, axis=dim)
    shape = first.shape  # a third of the time of xp.stack on small arrays
    return xp.concatenate(tensors, axis=dim).reshape((*shape[:dim], len(tensors), *shape[dim:]))


@stack.grad("*tensors")
def _(F, g, dim, needs):
    before = (slice(None),) * (dim % len(g.shape))
    return tuple([F.slicing(g, index=(*before, i)) if need else None for i, need in enumerate(needs)])


def _several(tensors, name, dim=0):
    if isinstance(dim, Tensor):
        raise TypeError(f"{name}(): the tensors come as one list or tuple, {name}([a, b], dim=0)")
    tensors = list(tensors) if not isinstance(tensors, Tensor) else list(unbind(tensors))
    if not tensors:
        raise OpError(f"{name}(): expected a non-empty list of Tensors")
    for i, x in enumerate(tensors):
        if not isinstance(x, Tensor) and not hasattr(x, "shape"):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}")
    return tensors


@function
@numpy_names
def cat(tensors, dim=0):
    """The tensors one after another along `dim`; all other sizes are equal, and dtypes are promoted.

    Tensors of shape (0,) are left out, as PyTorch's habit is.
    """
    tensors = _several(tensors, "cat", dim)
    ranks = {x.ndim for x in tensors}
    if len(ranks) > 1:
        tensors = [x for x in tensors if tuple(x.shape) != (0,)] or tensors
    if ranks == {0}:
        raise OpError("zero-dimensional tensor (at position 0) cannot be concatenated; use stack")
    wrap_dim(dim, tensors[0].ndim)
    return concat.direct(tensors, dim)


function(cat, name="concat")
function(cat, name="concatenate")


@function(name="stack")
@numpy_names
def _stack_function(tensors, dim=0):
    """The tensors, all of one shape, side by side along a new dimension `dim`."""
    tensors = _several(tensors, "stack", dim)
    first = tensors[0].shape
    for i, x in enumerate(tensors):
        if x.shape != first:
            raise OpError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and {list(x.shape)} at "
                f"entry {i}"
            )
    return stack.direct(tensors, wrap_dim(dim, len(first) + 1))


@function
def hstack(tensors):
    """The tensors side by side: along dimension 0 for 1-d tensors, along 1 for others."""
    tensors = atleast_1d(_several(tensors, "hstack"))
    return cat(tensors, 0 if len(tensors[0].shape) == 1 else 1)


@function
def vstack(tensors):
    """The tensors one below another, 1-d ones as rows."""
    return cat(atleast_2d(_several(tensors, "vstack")), 0)


function(vstack, name="row_stack")


@function
def dstack(tensors):
    """The tensors behind one another, along dimension 2."""
    return cat(atleast_3d(_several(tensors, "dstack")), 2)


@function
def column_stack(tensors):
    """The tensors side by side, 1-d ones as columns."""
    columns = [x if len(x.shape) > 1 else reshape(x, (-1, 1)) for x in _several(tensors, "column_stack")]
    return cat(columns, 1)


@function
def block_diag(*tensors):
    """A matrix with the tensors (of at most two dimensions) as blocks on its diagonal, zeros elsewhere."""
    blocks = [atleast_2d(x) for x in tensors] or _several((), "block_diag")
    for x in blocks:
        if len(x.shape) > 2:
            raise OpError(f"block_diag: Input tensors must have 2 or fewer dimensions. Input has {len(x.shape)}")
    width, left, rows = sum(x.shape[1] for x in blocks), 0, []
    for x in blocks:
        height, right = x.shape[0], width - left - x.shape[1]
        zeros = [x.new_zeros((height, n)) for n in (left, right)]
        rows.append(cat([zeros[0], x, zeros[1]], 1))
        left += x.shape[1]
    return cat(rows, 0)


@function
def meshgrid(*tensors, indexing="ij"):
    """Coordinates of a grid: for vectors of sizes n, m, ... that many views of shape (n, m, ...).

    indexing: "ij" (default, as PyTorch's is today) or "xy", which exchanges the first two dimensions.
    """
    if len(tensors) == 1 and not isinstance(tensors[0], Tensor):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise OpError(f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for x in tensors:
        if len(x.shape) > 1:
            raise OpError(f"meshgrid: expected 0D or 1D tensors, but got {list(x.shape)}")
    swap = indexing == "xy" and len(tensors) > 1
    if swap:
        tensors = (tensors[1], tensors[0], *tensors[2:])
    n = len(tensors)
    grids = broadcast_tensors(*[reshape(x, (*(1,) * i, -1, *(1,) * (n - 1 - i))) for i, x in enumerate(tensors)])
    return (grids[1], grids[0], *grids[2:]) if swap else grids


@function
def cartesian_prod(*tensors):
    """All ways to take one element of each vector: one row per way; of a single vector, the vector."""
    if len(tensors) == 1:
        return tensors[0]
    return _stack_function([reshape(x, (-1,)) for x in meshgrid(*tensors)], 1)


# -- taking apart -----------------------------------------------------------------------------------------------------


@op(view=True, outputs=None)
def split(xp, input, /, sizes, dim=0):
    """Views of `input` along `dim` of the sizes given, which add up to its own."""
    before = (slice(None),) * wrap_dim(dim, input.ndim)
    stops = list(accumulate(sizes))
    return tuple([input[(*before, slice(stop - n, stop))] for n, stop in zip(sizes, stops)])


@split.grad("input")
def _(F, g, dim):
    return F.concat(*g, dim=dim)


@op(view=True, outputs=None)
def unbind(xp, input, /, dim=0):
    """Views of `input`, one for each index of dimension `dim`, without that dimension."""
    before = (slice(None),) * wrap_dim(dim, input.ndim)
    return tuple([input[(*before, i, ...)] for i in range(input.shape[wrap_dim(dim, input.ndim)])])


@unbind.grad("input")
def _(F, g, dim):
    return F.stack(*g, dim=dim)


#: PyTorch's two forms of the functions below, by their keywords
_FORMS = {"indices": "indices_or_sections", "sections": "indices_or_sections"}


def _parts(input, sizes, dim):
    return split.direct(input, tuple(sizes), dim)


def _extent(input, dim, name):
    if not input.shape:
        raise OpError(f"{name} expects at least a 1-dimensional tensor")
    d = wrap_dim(dim, len(input.shape))
    return d, input.shape[d]


@api(name="split")
@numpy_names(split_size="split_size_or_sections", split_sizes="split_size_or_sections")
def _split_function(tensor, split_size_or_sections, dim=0):
    """Views of `tensor` along `dim`: of a size each (the last may be smaller), or of the sizes of a list."""
    d, n = _extent(tensor, dim, "split")
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and n):
            raise OpError(f"split expects split_size be non-negative (and 0 for an empty dimension), but got {size}")
        sizes = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    else:
        sizes = [int(s) for s in split_size_or_sections]
        if sum(sizes) != n or min(sizes, default=0) < 0:
            raise OpError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {d}), "
                f"but got split_sizes={sizes}"
            )
    return _parts(tensor, sizes, d)


method(_split_function, name="split_with_sizes")


@api
@numpy_names
def chunk(input, chunks, dim=0):
    """At most `chunks` views of `input` along `dim`, of equal size but for the last."""
    d, n = _extent(input, dim, "chunk")
    if chunks <= 0:
        raise OpError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    size = -(-n // chunks)
    return _parts(input, [min(size, n - i) for i in range(0, n, size)] if n else [0] * chunks, d)


@api(name="unbind")
@numpy_names
def _unbind_function(input, dim=0):
    """Views of `input`, one for each index of dimension `dim`, without that dimension."""
    if not input.shape:
        raise OpError("Dimension specified as 0 but tensor has no dimensions")
    return unbind.direct(input, wrap_dim(dim, len(input.shape)))


@api
@numpy_names(**_FORMS, tensor_indices_or_sections="indices_or_sections")
def tensor_split(input, indices_or_sections, dim=0):
    """Views of `input` along `dim`: a number of nearly equal ones (larger first), or those between given indices."""
    d, n = _extent(input, dim, "tensor_split")
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        if count <= 0:
            raise OpError(f"number of sections must be larger than 0, got {count}")
        return _parts(input, [n // count + (i < n % count) for i in range(count)], d)
    bounds = [slice(None, i).indices(n)[1] for i in indices_or_sections]
    before = (slice(None),) * d
    return tuple([input[(*before, slice(a, b))] for a, b in zip([0, *bounds], [*bounds, n])])


@api
@numpy_names(**_FORMS)
def hsplit(input, indices_or_sections):
    """`tensor_split` along dimension 1 (0 of a vector); a number of sections must divide the size."""
    if not input.shape:
        raise OpError("torch.hsplit requires a tensor with at least 1 dimension, but got a tensor with 0 dimensions")
    return _even_split(input, indices_or_sections, 0 if len(input.shape) == 1 else 1, "hsplit")


@api
@numpy_names(**_FORMS)
def vsplit(input, indices_or_sections):
    """`tensor_split` along dimension 0 of at least two; a number of sections must divide the size."""
    return _even_split(input, indices_or_sections, 0, "vsplit", 2)


@api
@numpy_names(**_FORMS)
def dsplit(input, indices_or_sections):
    """`tensor_split` along dimension 2; a number of sections must divide the size."""
    return _even_split(input, indices_or_sections, 2, "dsplit", 3)


def _even_split(input, sections, dim, name, least=1):
    if len(input.shape) < least:
        raise OpError(f"{name} requires a tensor with at least {least} dimensions, but got {len(input.shape)}")
    if isinstance(sections, int) and (sections <= 0 or input.shape[dim] % sections):
        raise OpError(f"{name}: the size {input.shape[dim]} of dimension {dim} is not divisible by {sections} sections")
    return tensor_split(input, sections, dim)
