"""Order: sort, topk and their kin, unique values, search, counts.

What gives values with their indices sends the gradient to the index that it returned. NaN counts as the greatest.
"""

from __future__ import annotations

from ... import backends
from ...backends import np
from .. import return_types
from ..composite import composite
from ..dims import numpy_names, wrap_dim
from ..errors import OpError
from ..op import op
from ..public import api, expose, function
from ..tensor import Tensor, wrap

__all__ = ["argsort", "bincount", "histc", "ordered", "searchsorted", "sort", "topk"]


@op
def argsort(xp, input, /, dim=-1, descending=False, stable=False):
    """The positions along `dim` in the order of their values. Equal values keep their order (also unless `stable`).

    descending: from the largest down.
    """
    if not input.ndim:
        wrap_dim(dim, 0)
        return xp.zeros((), np.int64)
    d = wrap_dim(dim, input.ndim)
    if not descending:
        return xp.argsort(input, axis=d, kind="stable")
    order = xp.flip(xp.argsort(xp.flip(input, d), axis=d, kind="stable"), d)
    return input.shape[d] - 1 - order


@op
def leading(xp, input, /, k, dim=-1, descending=False):
    """The first k positions of `argsort`."""
    order = argsort.forward(xp, input, dim=dim, descending=descending)
    return order[(slice(None),) * wrap_dim(dim, input.ndim) + (slice(0, k),)] if input.ndim else order


@composite
def sort(F, input, /, dim=-1, descending=False, stable=False):
    """The values in order along `dim`, and the positions that they came from."""
    order = F.argsort(input, dim=dim, descending=descending)
    return F.gather(input, dim, order), order


@op
def ordered(xp, input, /, dim=-1):
    """The values in ascending order along `dim`, NaN last: `sort` where nobody asks where they came from.

    On the host twenty times as quick as finding the permutation, which only the gradient's rule does.
    """
    if not input.ndim:
        wrap_dim(dim, 0)
        return input.copy()
    return xp.sort(input, axis=wrap_dim(dim, input.ndim))


@ordered.grad("input")
def _(F, g, input, dim):
    return F.gather(g, dim, F.argsort(F.argsort(input, dim=dim), dim=dim))


@composite
def topk(F, input, /, k, dim=-1, largest=True, sorted=True):
    """The k largest (or smallest) values along `dim` in order, and the positions that they came from."""
    d, n = wrap_dim(dim, len(input.shape)), input.shape[dim] if input.shape else 1
    if not 0 <= k <= n:
        raise OpError(f"selected index k out of range: k is {k}, and dimension {d} has size {n}")
    order = F.leading(input, k=k, dim=d, descending=largest)
    return F.gather(input, d, order), order


@api(name="sort")
@numpy_names
def _sort_function(input, dim=-1, descending=False, *, stable=False):
    """The values in order along `dim`, and the positions that they came from: (values, indices). Always stable.

    descending: from the largest down.
    """
    return return_types.sort(sort(input, dim=dim, descending=descending))


@api(name="topk")
@numpy_names
def _topk_function(input, k, dim=-1, largest=True, sorted=True):
    """The k largest (or smallest) values along `dim` in order, and where they came from: (values, indices).

    sorted=False asks for any order; they are in order all the same.
    """
    return return_types.topk(topk(input, k=k, dim=dim, largest=largest))


@api
@numpy_names
def kthvalue(input, k, dim=-1, keepdim=False):
    """The k-th smallest value (k from 1) along `dim` and the position that it came from: (values, indices)."""
    d, n = wrap_dim(dim, len(input.shape)), input.shape[dim] if input.shape else 1
    if not 1 <= k <= n:
        raise OpError(f"kthvalue(): selected number k out of range for dimension {d}: k is {k}, and its size {n}")
    if not input.shape:
        return return_types.kthvalue((input.clone(), argsort(input)))
    order = argsort(input, dim=d).narrow(d, k - 1, 1)
    values = input.gather(d, order)
    return return_types.kthvalue((values, order) if keepdim else (values.squeeze(d), order.squeeze(d)))


@api
def msort(input):
    """The values in order along the first dimension."""
    return ordered(input, dim=0)


# -- unique values ----------------------------------------------------------------------------------------------------


@api
@numpy_names
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct values (or slices along `dim`), in order, whatever `sorted` is. Has no gradient.

    return_inverse: the position of each element's value among them as well; return_counts: how often each occurs.
    """
    array = input.array
    xp = backends.of(array).xp
    axis = None if dim is None else wrap_dim(dim, array.ndim)
    found = xp.unique(array, return_inverse=True, return_counts=True, axis=axis, equal_nan=False)
    values, inverse, counts = found
    inverse = inverse.reshape(array.shape if axis is None else -1)
    return _chosen(values, inverse, counts, return_inverse, return_counts)


@api
@numpy_names
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The values (or slices along `dim`) without those that equal the one before; options as in `unique`."""
    array = input.array
    xp = backends.of(array).xp
    lined = array.reshape(-1) if dim is None else xp.moveaxis(array, wrap_dim(dim, array.ndim), 0)
    n = lined.shape[0]
    rows = lined.reshape(n, -1) if lined.size else lined.reshape(n, 0)
    new = xp.concatenate([xp.ones(min(n, 1), bool), (rows[1:] != rows[:-1]).any(axis=1)])
    starts = xp.nonzero(new)[0]
    counts = xp.diff(xp.concatenate([starts, xp.asarray([n])])) if n else starts
    inverse = (xp.cumsum(new) - 1).reshape(array.shape if dim is None else -1)
    values = lined[starts] if dim is None else xp.moveaxis(lined[starts], 0, wrap_dim(dim, array.ndim))
    return _chosen(values, inverse, counts, return_inverse, return_counts)


def _chosen(values, inverse, counts, return_inverse, return_counts):
    chosen = [wrap(values, None)]
    chosen += [
        wrap(x.astype(np.int64, copy=False), None)
        for x, asked in ((inverse, return_inverse), (counts, return_counts))
        if asked
    ]
    return tuple(chosen) if len(chosen) > 1 else chosen[0]


# -- search and counts ------------------------------------------------------------------------------------------------


@op(inputs="sorted_sequence input")
def searchsorted(xp, sorted_sequence, input, right=False, out_int32=False):
    """Where to insert each value of `input` into the sorted last dimension of `sorted_sequence`, keeping it sorted."""
    side = "right" if right else "left"
    if sorted_sequence.ndim <= 1:
        found = xp.searchsorted(sorted_sequence, input, side=side)
    else:
        if sorted_sequence.shape[:-1] != input.shape[:-1]:
            raise OpError(
                "searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
                f"tensor and input value tensor must match, got {list(sorted_sequence.shape)} and {list(input.shape)}"
            )
        rows = zip(sorted_sequence.reshape(-1, sorted_sequence.shape[-1]), input.reshape(-1, input.shape[-1]))
        found = xp.stack([xp.searchsorted(s, v, side=side) for s, v in rows]).reshape(input.shape)
    return xp.asarray(found).astype(np.int32 if out_int32 else np.int64)


@function(name="searchsorted")
def _searchsorted_function(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where to insert each value of `input` into the sorted last dimension of `sorted_sequence`, keeping it sorted.

    right (or side="right"): after equal values, not before them. sorter: positions that put the sequence in order.
    out_int32: int32, not int64.
    """
    if side not in (None, "left", "right"):
        raise OpError(f"searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise OpError("searchsorted(): side and right can't be set to opposites, got side of left while right was True")
    if sorter is not None:
        sorted_sequence = sorted_sequence.gather(-1, sorter)
    if not isinstance(input, Tensor):
        input = wrap(backends.of(sorted_sequence.array).xp.asarray(input), None)
    return searchsorted(sorted_sequence, input, right=right or side == "right", out_int32=out_int32)


@function
def bucketize(input, boundaries, *, out_int32=False, right=False):
    """The number of the interval between the sorted `boundaries` that each value falls into.

    right: a value on a boundary belongs to the interval behind it. out_int32: int32, not int64.
    """
    if len(boundaries.shape) != 1:
        raise OpError(f"bucketize(): boundaries tensor must be 1 dimension, but got dim({len(boundaries.shape)})")
    return _searchsorted_function(boundaries, input, out_int32=out_int32, right=right)


@op
def bincount(xp, input, weights=None, /, minlength=0):
    """How often each of the numbers 0, 1, ... occurs in a vector; with `weights`, the sum of their weights.

    minlength: the least length of the result.
    """
    if input.ndim != 1 or input.dtype.kind not in "iu" or (input.size and input.min().item() < 0):
        raise OpError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and weights.shape != input.shape:
        raise OpError("weights should be 1-d and have the same length as input")
    if minlength < 0:
        raise OpError(f"minlength should be >= 0, got {minlength}")
    if not input.size:
        return xp.zeros(minlength, np.int64 if weights is None else np.float64)
    found = xp.bincount(input, weights, minlength)
    return found if weights is None or weights.dtype != np.float32 else found.astype(np.float32)


@op
def histc(xp, input, /, bins=100, min=0, max=0):
    """How many values fall into each of `bins` equal intervals of [min, max]; of the data's range if both are 0."""
    if bins <= 0:
        raise OpError(f"histc(): bins must be > 0, but got {bins}")
    if min > max:
        raise OpError(f"histc(): max must be larger than min, got [{min}, {max}]")
    if not input.size:
        return xp.zeros(bins, input.dtype)
    low, high = (input.min().item(), input.max().item()) if min == max else (float(min), float(max))
    if low == high:
        low, high = low - 1, high + 1
    if not abs(low) + abs(high) < float("inf"):
        raise OpError(f"histc(): range of [{low}, {high}] is not finite")
    return xp.histogram(input.reshape(-1), bins=bins, range=(low, high))[0].astype(input.dtype)


expose(argsort, bincount, histc)
