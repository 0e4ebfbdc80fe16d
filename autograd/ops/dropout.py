"""Dropout and its kin. What is random is drawn first, and the ops are pure functions of it.

Dropout of elements draws a seed, from which and from its position an element's fate follows (backends/hashing.py), so
no mask is kept for backward. The others make a mask, with one element for each channel or example.

Everywhere p is the probability to drop, and what is kept is scaled by 1 / (1 - p), so that nothing is to be done at
test time (PyTorch's convention; Srivastava et al. 2014 write p for keeping, and scale at test time).
"""

from __future__ import annotations

import math

from ... import backends
from ...backends.hashing import hashed, limit
from ..composite import composite
from ..errors import OpError, warn
from ..op import GRAPH, op, raw
from ..public import inplace as in_place
from ..tensor import wrap

__all__ = [
    "alpha_dropout",
    "drop_connect",
    "drop_path",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "dropout_add",
    "feature_alpha_dropout",
    "keep_mask",
]


@op(name="dropout")
def dropped(xp, input, mask, /, scale):
    """input * scale where the mask (bool, broadcast to the input) is True, and 0 elsewhere."""
    if input.dtype.kind in "biu":
        return input * mask * scale
    return input * (mask * xp.asarray(scale, input.dtype))  # the mask is often much smaller


@dropped.grad("input")
def _(F, g, mask, scale):
    return F.dropout(g, mask, scale)


@op(types="float")
def dropout_by_seed(xp, input, /, seed, p):
    """0 with probability p < 1, otherwise input / (1 - p), elementwise: by hashes of the seed and the position."""
    kept = hashed(xp.arange(input.size, dtype="uint32"), seed) >= limit(p)
    return xp.where(kept.reshape(input.shape), input * (1 / (1 - p)), xp.asarray(0, input.dtype))


@dropout_by_seed.grad("input")
def _(F, g, seed, p):
    return F.dropout_by_seed(g, seed, p)


@composite(name="dropout_add")
def dropped_and_added(F, input, other, /, seed, p):
    """dropout_by_seed(input, seed, p) + other."""
    return F.dropout_by_seed(input, seed, p) + other


@op
def keep_by_seed(xp, input, /, size, seed, p):
    """Bools of shape `size`, False with probability p < 1: which elements `dropout_by_seed` keeps of such an input."""
    count = math.prod(size)
    return (hashed(xp.arange(count, dtype="uint32"), seed) >= limit(p)).reshape(size)


def check_probability(p):
    """ValueError unless p is a probability."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def source(generator, backend):
    """The generator to draw from: the one given, or the default one of the backend."""
    from ..random import _source  # which imports ops itself

    return _source(generator, backend)


def keep_mask(input, shape, p, generator=None):
    """A bool tensor of `shape` where `input` lives, False with probability p."""
    array = input.array
    backend = backends.of(array)
    if p == 1:
        return wrap(backend.xp.zeros(tuple(shape), "bool"), None)
    seed = source(generator, backend).seed_of_hash()
    return wrap(raw(array).keep_by_seed(array, tuple(shape), seed, p), None)


def _drop(input, shape, p, training, inplace, generator):
    """Dropout with one random number per element of `shape`, which broadcasts to the input's."""
    check_probability(p)
    if not training or p == 0 or not math.prod(input.shape):
        return input
    scale = 0.0 if p == 1 else 1 / (1 - p)
    mask = keep_mask(input, shape, p, generator)
    return in_place(input, GRAPH.dropout, mask, scale) if inplace else GRAPH.dropout(input, mask, scale)


def _per_channel(shape):
    return (*shape[:2], *(1,) * (len(shape) - 2))


def dropout(input, p=0.5, training=True, inplace=False, generator=None):
    """Zero each element with probability p and scale the others by 1 / (1 - p), in training; otherwise the input
    itself.

    What is dropped depends on the generator and on the elements' positions alone, not on threads, device or memory. Any
    shape.
    """
    check_probability(p)
    if p == 1 or not training or p == 0 or not math.prod(input.shape):
        return _drop(input, input.shape, p, training, inplace, generator)
    seed = source(generator, backends.of(input.array)).seed_of_hash()
    if inplace:
        return in_place(input, GRAPH.dropout_by_seed, seed, p)
    return GRAPH.dropout_by_seed(input, seed, p)


def drawn_seed(input, p, training, generator=None):
    """The seed of `dropout` of these elements; None where none is dropped, or all are."""
    check_probability(p)
    if not training or p in (0, 1) or not math.prod(input.shape):
        return None
    from ..random import _source  # which imports ops itself

    return _source(generator, backends.of(input.array)).seed_of_hash()


def dropout_add(input, other, p=0.5, training=True, generator=None):
    """dropout(input, p, training) + other: the end of a residual branch, where it is added. An extra of ours.

    On a GPU one pass, for operands of one shape and dtype.
    """
    seed = drawn_seed(input, p, training, generator)
    if seed is None or input.dtype != other.dtype or tuple(input.shape) != tuple(other.shape):
        dropped = dropout(input, p, training) if seed is None else GRAPH.dropout_by_seed(input, seed, p)
        return dropped + other
    return GRAPH.dropout_add(input, other, seed, p)


def _feature_dropout(name, input, p, training, inplace, generator, ranks, strict):
    """Dropout of whole channels: (N, C, ...), or (C, ...) without a batch where the rank is the smaller of `ranks`."""
    check_probability(p)
    shape = tuple(input.shape)
    if len(shape) not in ranks:
        message = f"{name}: Expected {ranks[0]}D or {ranks[1]}D input, but received a {len(shape)}D input."
        if strict:
            raise ValueError(message)
        warn(f"{message} This behavior is deprecated and will result in an error in a future release.")
        if len(shape) < 2:
            raise OpError("Feature dropout requires at least 2 dimensions in the input")
    unbatched = len(shape) == ranks[0] and name != "dropout2d"
    if unbatched:
        return _drop(input, (shape[0], *(1,) * (len(shape) - 1)), p, training, inplace, generator)
    if name == "dropout2d" and len(shape) == 3:
        warn(
            "dropout2d: Received a 3-D input to dropout2d and assuming that channel-wise 1-D dropout behavior "
            "is desired - input is interpreted as shape (N, C, L), where C is the channel dim; use dropout1d for that."
        )
    return _drop(input, _per_channel(shape), p, training, inplace, generator)


def dropout1d(input, p=0.5, training=True, inplace=False, generator=None):
    """Dropout of whole channels of (N, C, L) or (C, L). p: the probability of each."""
    return _feature_dropout("dropout1d", input, p, training, inplace, generator, (2, 3), True)


def dropout2d(input, p=0.5, training=True, inplace=False, generator=None):
    """Dropout of whole channels of (N, C, H, W) (Tompson et al. 2015); three dimensions are (N, C, L), with a warning.

    p: the probability of each.
    """
    return _feature_dropout("dropout2d", input, p, training, inplace, generator, (3, 4), False)


def dropout3d(input, p=0.5, training=True, inplace=False, generator=None):
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W). p: the probability of each."""
    return _feature_dropout("dropout3d", input, p, training, inplace, generator, (4, 5), False)


#: what SELU tends to far below zero is -λα
_SELU_FLOOR = -1.7580993408473766


def _alpha_drop(input, shape, p, training, inplace, generator):
    check_probability(p)
    if not training or p == 0 or not math.prod(input.shape):
        return input
    if p == 1:
        scale, shift = 0.0, 0.0
    else:
        scale = ((_SELU_FLOOR * _SELU_FLOOR * p + 1) * (1 - p)) ** -0.5
        shift = -_SELU_FLOOR * scale * p
    mask = keep_mask(input, shape, p, generator)

    def alpha_dropout(x):
        return GRAPH.where(mask, x, _SELU_FLOOR) * scale + shift

    return in_place(input, alpha_dropout) if inplace else alpha_dropout(input)


def alpha_dropout(input, p=0.5, training=False, inplace=False, generator=None):
    """Dropout that keeps mean 0 and variance 1, for SELU networks (Klambauer et al. 2017).

    Dropped elements become -λα = -1.7581, and then all go through a x + b, a = ((λ²α² p + 1)(1 - p))^-1/2, b = λα a p.
    Any shape.
    """
    return _alpha_drop(input, input.shape, p, training, inplace, generator)


def feature_alpha_dropout(input, p=0.5, training=False, inplace=False, generator=None):
    """`alpha_dropout` of whole channels of (N, C, ...)."""
    if len(input.shape) < 2:
        raise OpError("Feature dropout requires at least 2 dimensions in the input")
    return _alpha_drop(input, _per_channel(tuple(input.shape)), p, training, inplace, generator)


def drop_connect(weight, p=0.5, training=True, generator=None):
    """DropConnect (Wan et al. 2013): dropout of a layer's weights instead of its outputs. An extra of ours.

    Scaled by 1 / (1 - p) in training; at test time the mean weights are used, not the paper's Gaussian. Any shape.
    """
    return dropout(weight, p, training, generator=generator)


def drop_path(input, p=0.0, training=True, generator=None):
    """Stochastic depth (Huang et al. 2016): drop a residual branch (N, ...) for whole examples. An extra of ours.

    p: the probability of that.
    """
    return _drop(input, (*input.shape[:1], *(1,) * (len(input.shape) - 1)), p, training, False, generator)
