"""Scaled dot-product attention (Vaswani et al. 2017).

A query whose keys are all masked attends to nothing: its output is zero and so are its gradients, as in PyTorch's
attention since 2.5 (`softmax` itself gives NaN there). What dropout drops is drawn first and handed to the composition
as a mask; or as a seed, for a backend that has a kernel which needs no mask.
"""

from __future__ import annotations

import math

from ... import backends
from ...backends import np
from ...backends.cuda import sdp_kernel
from ..composite import composite
from ..errors import OpError
from ..op import GRAPH, op
from .dropout import check_probability, keep_mask, source

__all__ = ["scaled_dot_product_attention", "sdp_kernel"]


@op
def masked_softmax(xp, input, /, dim):
    """softmax along `dim`, where -inf means masked: a slice that is masked throughout gives zeros."""
    if not input.size:
        return xp.zeros_like(input)
    top = xp.max(input, axis=dim, keepdims=True)
    e = xp.exp(input - xp.where(top == -math.inf, xp.zeros_like(top), top))
    total = xp.sum(e, axis=dim, keepdims=True)
    return e / xp.where(total == 0, xp.ones_like(total), total)


@masked_softmax.grad("input")
def _(F, g, out, dim):
    return out * (g - F.sum(g * out, dim=dim, keepdim=True))


@op
def causal_mask(xp, input, /, rows, columns):
    """True where the column is not beyond the row: what a position may look at, itself and those before it."""
    return xp.arange(columns) <= xp.arange(rows)[:, None]


@composite(name="scaled_dot_product_attention")
def attended(
    F, query, key, value, attn_mask=None, kept=None, /, keep_scale=1.0, is_causal=False, scale=None, enable_gqa=False
):
    """softmax(query keyᵀ * scale + mask) value; `kept` (bool) and `keep_scale` are the dropout of the probabilities."""
    if enable_gqa:
        value = _for_heads(F, value, query.shape[-3])
    p = attention_weights(F, query, key, attn_mask, is_causal, scale, enable_gqa)
    if kept is not None:
        p = F.dropout(p, kept, keep_scale)
    return F.matmul(p, value)


def attention_weights(F, query, key, attn_mask=None, is_causal=False, scale=None, enable_gqa=False):
    """softmax(query keyᵀ * scale + mask), (..., L, S): how much each query looks at each key."""
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if enable_gqa:
        key = _for_heads(F, key, query.shape[-3])
    last = len(key.shape)
    scores = F.matmul(query * scale, F.permute(key, (*range(last - 2), last - 1, last - 2)))
    if is_causal:
        scores = F.where(F.causal_mask(query, query.shape[-2], key.shape[-2]), scores, -math.inf)
    if attn_mask is not None:
        boolean = str(attn_mask.dtype).endswith("bool")
        scores = F.where(attn_mask, scores, -math.inf) if boolean else scores + attn_mask
    return F.masked_softmax(scores, -1)


@composite
def attention_by_seed(
    F, query, key, value, attn_mask=None, /, seed=0, p=0.0, is_causal=False, scale=None, enable_gqa=False, own=None
):
    """Attention whose probabilities are dropped with probability p < 1: which ones, `keep_by_seed` says.

    A backend's kernel may draw them from the seed in a way of its own, so that no mask is stored. It then says so in
    the list `own`, and the composition, by which alone there are second derivatives, is refused.
    """
    if own:
        raise OpError(
            "scaled_dot_product_attention: with dropout, attention by cuDNN has first derivatives alone; with "
            "nn.attention.sdpa_kernel(SDPBackend.MATH) around the forward pass it has all of them"
        )
    shapes = tuple(query.shape), tuple(key.shape), tuple(value.shape)
    kept = F.keep_by_seed(query, _scores_shape(*shapes, attn_mask, enable_gqa), seed, p)
    return F.scaled_dot_product_attention(query, key, value, attn_mask, kept, 1 / (1 - p), is_causal, scale, enable_gqa)


def _for_heads(F, x, heads):
    """Keys or values with each head repeated, for `heads` heads of queries."""
    shape = tuple(x.shape)
    if shape[-3] == heads:
        return x
    if heads % shape[-3]:
        raise ValueError(f"the number of query heads, {heads}, is no multiple of the {shape[-3]} heads of key or value")
    wide = F.expand(F.unsqueeze(x, -3), (*shape[:-2], heads // shape[-3], *shape[-2:]))
    return F.reshape(wide, (*shape[:-3], heads, *shape[-2:]))


def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False, generator=None
):
    """softmax(query keyᵀ * scale + mask) value, over the last two dimensions: (..., L, E), (..., S, E), (..., S, Ev) ->
    (..., L, Ev).

    attn_mask broadcasts to (..., L, S): bool (True: may attend) or floats that are added. is_causal: position i attends
    to 0..i. dropout_p drops probabilities (always: pass 0 in evaluation). scale: default 1 / sqrt(E). enable_gqa: fewer
    heads of key and value (dimension -3), each for a group of query heads. A query with nothing to attend to gives
    zeros.
    """
    check_probability(dropout_p)
    if is_causal and attn_mask is not None:
        raise OpError("scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    shapes = tuple(query.shape), tuple(key.shape), tuple(value.shape)
    if min(map(len, shapes)) < 2 or shapes[0][-1] != shapes[1][-1] or shapes[1][-2] != shapes[2][-2]:
        raise OpError(
            "scaled_dot_product_attention takes (..., L, E), (..., S, E) and (..., S, Ev), got "
            f"{', '.join(str(list(s)) for s in shapes)}"
        )
    kept, keep_scale = None, 1.0
    if 0 < dropout_p < 1:
        backend = backends.of(query.array)
        if "attention_by_seed" in backend.kernels:
            seed = source(generator, backend).seed_of_hash()
            return GRAPH.attention_by_seed(
                query, key, value, attn_mask, seed, dropout_p, is_causal, scale, enable_gqa, own=[]
            )
    if dropout_p:
        kept = keep_mask(query, _scores_shape(*shapes, attn_mask, enable_gqa), dropout_p, generator)
        keep_scale = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
    return GRAPH.scaled_dot_product_attention(
        query, key, value, attn_mask, kept, keep_scale, is_causal, scale, enable_gqa
    )


def _scores_shape(query, key, value, attn_mask, enable_gqa):
    leading = query[:-2] if enable_gqa else np.broadcast_shapes(query[:-2], key[:-2])
    if attn_mask is not None:
        leading = np.broadcast_shapes(leading, tuple(attn_mask.shape)[:-2])
    return (*leading, query[-2], key[-2])
