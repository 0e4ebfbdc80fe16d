"""Rows of a table: embedding, bags of embeddings. The gradient of a lookup adds rows up, and the gradient of that
looks them up.
"""

from __future__ import annotations

import math

from ... import backends
from .. import storage
from ..errors import OpError
from ..op import GRAPH, op
from ..tensor import Tensor, wrap

__all__ = ["embedding", "embedding_bag"]


@op(name="embedding")
def looked_up(xp, input, weight, /, padding_idx=None, scale_grad_by_freq=False):
    """weight[input]: rows of a table (V, ...) for indices of any shape.

    On a CPU, IndexError for an index that is no row. Rows `padding_idx` get no gradient; with `scale_grad_by_freq` a
    row's gradient is divided by how often it was looked up.
    """
    return weight[input]


@looked_up.grad("weight")
def _(F, g, input, shape, padding_idx, scale_grad_by_freq):
    if padding_idx is not None:
        g = F.where(_over_rows(F, input == padding_idx, g), 0.0, g)
    if scale_grad_by_freq:
        g = g / F.cast(_over_rows(F, F.occurrences(input), g), dtype=g.dtype)
    return F.embedding_grad(g, input, shape[0])


def _over_rows(F, x, rows):
    """`x` with trailing dimensions of size 1, to broadcast against `rows`."""
    return F.reshape(x, (*x.shape, *(1,) * (len(rows.shape) - len(x.shape))))


@op
def embedding_grad(xp, input, index, /, rows):
    """A table of `rows` rows, in which row i is the sum of the rows of `input` whose index is i."""
    out = xp.zeros((rows, *input.shape[index.ndim :]), input.dtype)
    xp.add.at(out, index, input)
    return out


@embedding_grad.grad("input")
def _(F, g, index):
    return F.embedding(index, g)


@op
def occurrences(xp, input, /):
    """How often the value of each element occurs among all of them."""
    if not input.size:
        return xp.zeros(input.shape, "int64")
    return xp.bincount(input.reshape(-1))[input]


def _indices(input, name):
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'indices' (position 2) must be Tensor, not {type(input).__name__}")
    if input.array.dtype.kind not in "iu":
        raise OpError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{input.array.dtype} instead (while checking arguments for {name})"
        )


def _padding(padding_idx, rows):
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % rows


def _renormalise(weight, index, max_norm, norm_type):
    """Scale the rows that are looked up down to a norm of `max_norm`, in place; not recorded."""
    xp = backends.of(weight.array).xp
    at = xp.unique(index.array)
    rows = weight.array[at]
    norms = xp.sum(xp.abs(rows) ** norm_type, axis=-1, keepdims=True) ** (1 / norm_type)
    changed = weight.array.copy()
    changed[at] = xp.where(norms > max_norm, rows * (max_norm / (norms + 1e-7)), rows)
    storage.write(weight, changed)


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """weight[input]: rows of a table (V, D) for indices of any shape (*), result (*, D).

    padding_idx: a row without gradient. max_norm: rows that are looked up are first scaled down, in place, to at most
    this `norm_type`-norm. scale_grad_by_freq: divide a row's gradient by its count in `input`. sparse is accepted;
    gradients are dense. IndexError for an index that is no row.
    """
    _indices(input, "embedding")
    padding_idx = _padding(padding_idx, weight.shape[0])
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    return GRAPH.embedding(input, weight, padding_idx, scale_grad_by_freq)


@op
def bag_numbers(xp, offsets, /, total):
    """The bag of each of `total` elements, when bag b begins at offsets[b]."""
    return xp.searchsorted(offsets, xp.arange(total), side="right") - 1


@op
def bag_members(xp, bag, kept, /, bags):
    """(bags, longest): the positions of the kept elements of each bag, in order, filled up with -1. `bag` is sorted."""
    positions = xp.nonzero(kept)[0]
    bag = bag[positions]
    counts = xp.bincount(bag, minlength=bags) if bag.size else xp.zeros(bags, "int64")
    longest = max(counts.max().item(), 1) if bags else 1
    place = xp.arange(longest)
    at = (xp.cumsum(counts) - counts)[:, None] + place
    if not positions.size:
        return xp.full(at.shape, -1)
    return xp.where(place < counts[:, None], positions[xp.minimum(at, positions.size - 1)], -1)


def embedding_bag(
    input,
    weight,
    offsets=None,
    max_norm=None,
    norm_type=2.0,
    scale_grad_by_freq=False,
    mode="mean",
    sparse=False,
    per_sample_weights=None,
    include_last_offset=False,
    padding_idx=None,
):
    """Sum, mean or maximum of the rows of `weight` that each bag of indices names: (bags, D).

    input (bags, n), or (total,) where bag b begins at offsets[b] (with `include_last_offset` the last offset is the
    end). Indices `padding_idx` count nowhere, an empty bag gives zeros. per_sample_weights (mode "sum" only) scale
    rows. The maximum's gradient goes to the first row that attains it. max_norm, norm_type, scale_grad_by_freq, sparse:
    as in `embedding`.
    """
    _indices(input, "embedding_bag")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None:
        if tuple(per_sample_weights.shape) != tuple(input.shape):
            raise ValueError(
                f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not None, it must have "
                f"the same shape as the input ({list(input.shape)})"
            )
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
                f"(got mode='{mode}')."
            )
    flat, bag, bags = _bags(input, offsets, include_last_offset)
    padding_idx = _padding(padding_idx, weight.shape[0])
    rows = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    kept = flat != (-1 if padding_idx is None else padding_idx)
    if mode == "max":
        return _largest(rows, GRAPH.bag_members(bag, kept, bags))
    if per_sample_weights is not None:
        rows = rows * GRAPH.reshape(per_sample_weights, (-1, 1))
    total = GRAPH.embedding_grad(GRAPH.where(GRAPH.unsqueeze(kept, -1), rows, 0.0), bag, bags)
    if mode == "sum":
        return total
    counts = GRAPH.embedding_grad(GRAPH.cast(kept, dtype=rows.dtype), bag, bags)
    return total / GRAPH.unsqueeze(GRAPH.clamp(counts, 1), -1)


def _bags(input, offsets, include_last_offset):
    """The indices in one dimension, the bag of each, and the number of bags."""
    shape = tuple(input.shape)
    if len(shape) == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                "sequences."
            )
        flat = GRAPH.reshape(input, (shape[0] * shape[1],))
        starts = wrap(backends.of(input.array).xp.arange(shape[0]) * shape[1], None)
        return flat, GRAPH.bag_numbers(starts, flat.shape[0]), shape[0]
    if len(shape) != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {len(shape)}")
    if offsets is None or len(offsets.shape) != 1:
        raise ValueError("offsets has to be a 1D Tensor" + (" but got None" if offsets is None else ""))
    bags = offsets.shape[0] - (1 if include_last_offset else 0)
    if offsets.shape[0] and int(offsets.array[0]) != 0:
        raise OpError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. However, "
            f"got {int(offsets.array[0])}"
        )
    starts = wrap(offsets.array[:bags], None)
    return input, GRAPH.bag_numbers(starts, shape[0]), bags


def _largest(rows, members):
    """The maximum over the rows that each row of `members` lists (-1: none), and zeros for an empty list."""
    there = GRAPH.unsqueeze(members >= 0, -1)
    listed = GRAPH.where(there, GRAPH.embedding(GRAPH.clamp(members, 0), rows), -math.inf)
    best = GRAPH.gather(listed, 1, GRAPH.argmax(listed, dim=1, keepdim=True))
    return GRAPH.where(GRAPH.narrow(there, 1, 0, 1)[:, 0], GRAPH.squeeze(best, 1), 0.0)
