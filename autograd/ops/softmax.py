"""Softmax, its logarithm and its kin, along one dimension.

A slice that is -inf throughout has no distribution: softmax and log_softmax give NaN for it, as PyTorch does (it is the
limit's 0/0, and it shows the mistake); `scaled_dot_product_attention` gives zeros there instead. Slices that are -inf
in part are exact: probability 0 there, with gradient 0.
"""

from __future__ import annotations

from ... import backends
from ..composite import composite
from ..dtypes import finfo, is_floating
from ..op import GRAPH, op
from ..public import expose
from ..tensor import wrap
from .shape import movedim

__all__ = ["gumbel_softmax", "log_softmax", "softmax", "softmin"]


def _prepared(name, input, dim, dtype):
    """`input` in `dtype`, with at least one dimension, and `dim` checked."""
    if dtype is not None:
        input = input.astype(dtype)
    if not is_floating(input.dtype):
        raise ValueError(
            f"{name} takes floats, not {input.dtype}; pass dtype=chainrule.float32, or convert the tensor first"
        )
    rank = max(input.ndim, 1)
    if not -rank <= dim < rank:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})")
    if input.dtype.itemsize == 2:  # sums in 16 bits lose too much
        input = input.astype("float32")
    return input if input.ndim else input.reshape(1)


def _result(out, input, dtype):
    return out.reshape(input.shape).astype(input.dtype if dtype is None else dtype, copy=False)


@op
def softmax(xp, input, /, dim, dtype=None):
    """exp(input) / sum(exp(input)) along `dim`, computed after subtracting the maximum; `dtype` converts the input
    first.

    NaN along a slice that is -inf throughout.
    """
    x = _prepared("softmax", input, dim, dtype)
    if x.size:
        x = xp.exp(x - xp.max(x, axis=dim, keepdims=True))
        x = x / xp.sum(x, axis=dim, keepdims=True)
    return _result(x, input, dtype)


@softmax.grad("input")
def _(F, g, out, dim):
    return out * (g - F.sum(g * out, dim=dim, keepdim=True))


@op
def log_softmax(xp, input, /, dim, dtype=None):
    """input - log(sum(exp(input))) along `dim`: the logarithm of softmax, without its underflow."""
    x = _prepared("log_softmax", input, dim, dtype)
    if x.size:
        x = x - xp.max(x, axis=dim, keepdims=True)
        x = x - xp.log(xp.sum(xp.exp(x), axis=dim, keepdims=True))
    return _result(x, input, dtype)


@log_softmax.grad("input")
def _(F, g, out, dim):
    return g - F.exp(out) * F.sum(g, dim=dim, keepdim=True)


@composite
def softmin(F, input, /, dim, dtype=None):
    """softmax(-input) along `dim`."""
    return F.softmax(-input, dim, dtype)


def gumbel_softmax(logits, tau=1.0, hard=False, eps=1e-10, dim=-1, generator=None):
    """softmax((logits + noise) / tau) along `dim`, the noise standard Gumbel (Jang et al. 2017; Maddison et al. 2017).

    hard: one-hot of the largest, with the gradient of the soft sample. eps is accepted and unused, as in PyTorch. Any
    shape.
    """
    from ..random import _source, uniform  # which imports ops itself

    backend = backends.of(logits.array)
    xp, kind = backend.xp, logits.array.dtype
    draws = xp.asarray(uniform(_source(generator, backend), xp, logits.array.shape, kind))
    exponential = xp.maximum(-xp.log1p(-draws), finfo(kind).tiny)
    soft = GRAPH.softmax((logits + wrap(-xp.log(exponential), None)) / tau, dim)
    if not hard:
        return soft
    flat = wrap(soft.array, None)
    best = GRAPH.class_mask(GRAPH.argmax(flat, dim=dim), soft.shape[dim])
    return GRAPH.cast(movedim(best, -1, dim), dtype=soft.dtype) - flat + soft


expose(softmax, log_softmax)
