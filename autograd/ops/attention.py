"""Scaled dot-product attention, alone and with many heads (Vaswani et al. 2017).

A query whose keys are all masked attends to nothing: its output is zero and so are its gradients, as in PyTorch's
attention since 2.5 (`softmax` itself gives NaN there). What dropout drops is drawn first and handed to the composition
as a mask.
"""

from __future__ import annotations

import math

from ...backends import np
from ..composite import composite
from ..errors import OpError
from ..op import GRAPH, op
from .dropout import check_probability, dropout, keep_mask

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


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
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if enable_gqa:
        key, value = _for_heads(F, key, query.shape[-3]), _for_heads(F, value, query.shape[-3])
    last = len(key.shape)
    scores = F.matmul(query * scale, F.permute(key, (*range(last - 2), last - 1, last - 2)))
    if is_causal:
        scores = F.where(F.causal_mask(query, query.shape[-2], key.shape[-2]), scores, -math.inf)
    if attn_mask is not None:
        boolean = str(attn_mask.dtype).endswith("bool")
        scores = F.where(attn_mask, scores, -math.inf) if boolean else scores + attn_mask
    p = F.masked_softmax(scores, -1)
    if kept is not None:
        p = F.dropout(p, kept, keep_scale)
    return F.matmul(p, value)


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
        raise ValueError("scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    shapes = tuple(query.shape), tuple(key.shape), tuple(value.shape)
    if min(map(len, shapes)) < 2 or shapes[0][-1] != shapes[1][-1] or shapes[1][-2] != shapes[2][-2]:
        raise OpError(
            "scaled_dot_product_attention takes (..., L, E), (..., S, E) and (..., S, Ev), got "
            f"{', '.join(str(list(s)) for s in shapes)}"
        )
    kept, keep_scale = None, 1.0
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


def multi_head_attention_forward(
    query,
    key,
    value,
    embed_dim_to_check,
    num_heads,
    in_proj_weight,
    in_proj_bias,
    bias_k,
    bias_v,
    add_zero_attn,
    dropout_p,
    out_proj_weight,
    out_proj_bias,
    training=True,
    key_padding_mask=None,
    need_weights=True,
    attn_mask=None,
    use_separate_proj_weight=False,
    q_proj_weight=None,
    k_proj_weight=None,
    v_proj_weight=None,
    static_k=None,
    static_v=None,
    average_attn_weights=True,
    is_causal=False,
):
    """concat over heads of attention(query Wq, key Wk, value Wv), times Wo: (output, weights or None).

    query (L, N, E), key and value (S, N, E), or without N. attn_mask (L, S) or (N * heads, L, S) and key_padding_mask
    (N, S): True (or -inf) where a query may *not* attend. output (L, N, E); weights (N, L, S), or (N, heads, L, S) if
    not averaged. Arguments as PyTorch's. A query with nothing to attend to gets weights 0 (PyTorch: NaN where weights
    are asked for).
    """
    F = GRAPH
    batched = len(query.shape) == 3
    if not batched:
        if len(query.shape) != 2:
            raise AssertionError(
                f"query should be unbatched 2D or batched 3D tensor but received {len(query.shape)}-D query tensor"
            )
        same = key is query, value is key
        query = F.unsqueeze(query, 1)
        key = query if same[0] else F.unsqueeze(key, 1)
        value = key if same[1] else F.unsqueeze(value, 1)
        key_padding_mask = None if key_padding_mask is None else F.unsqueeze(key_padding_mask, 0)
    length, batch, width = query.shape
    size = width // num_heads
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    if size * num_heads != width:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    if is_causal and attn_mask is None:
        raise ValueError("Need attn_mask if specifying the is_causal hint.")
    attn_mask, key_padding_mask = _additive(attn_mask, query), _additive(key_padding_mask, query)

    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected(query, key, value, width, in_proj_weight, separate, in_proj_bias)
    if attn_mask is not None and len(attn_mask.shape) == 2:
        attn_mask = F.unsqueeze(attn_mask, 0)
    if bias_k is not None and bias_v is not None:
        k = F.concat(k, F.expand(bias_k, (1, batch, width)), dim=0)
        v = F.concat(v, F.expand(bias_v, (1, batch, width)), dim=0)
        attn_mask, key_padding_mask = _one_more(attn_mask), _one_more(key_padding_mask)

    def heads(x):  # (S, N, E) -> (N, heads, S, E / heads)
        return F.permute(F.reshape(x, (x.shape[0], batch, num_heads, size)), (1, 2, 0, 3))

    q = heads(q)
    k = heads(k) if static_k is None else F.reshape(static_k, (batch, num_heads, *static_k.shape[1:]))
    v = heads(v) if static_v is None else F.reshape(static_v, (batch, num_heads, *static_v.shape[1:]))
    if add_zero_attn:
        zero = F.zeros_of(k, (batch, num_heads, 1, size), k.dtype)
        k, v = F.concat(k, zero, dim=2), F.concat(v, zero, dim=2)
        attn_mask, key_padding_mask = _one_more(attn_mask), _one_more(key_padding_mask)
    mask = attn_mask
    if mask is not None and mask.shape[0] != 1:
        mask = F.reshape(mask, (batch, num_heads, *mask.shape[1:]))
    if key_padding_mask is not None:
        padding = F.reshape(key_padding_mask, (batch, 1, 1, key_padding_mask.shape[1]))
        mask = padding if mask is None else mask + padding

    p = dropout_p if training else 0.0
    if need_weights:
        scores = F.matmul(q * (1 / math.sqrt(size)), F.transpose(k, -2, -1))
        weights = dropout(F.masked_softmax(scores if mask is None else scores + mask, -1), p)
        mixed = F.matmul(weights, v)
    else:
        mixed = scaled_dot_product_attention(q, k, v, mask, p)
    joined = F.reshape(F.permute(mixed, (2, 0, 1, 3)), (length, batch, width))
    output = F.linear(joined, out_proj_weight, out_proj_bias)
    output = output if batched else F.squeeze(output, 1)
    if not need_weights:
        return output, None
    weights = F.mean(weights, dim=1) if average_attn_weights else weights
    return output, weights if batched else F.squeeze(weights, 0)


def _additive(mask, like):
    """A bool mask (True: not allowed) as numbers to add."""
    if mask is None or not str(mask.dtype).endswith("bool"):
        return mask
    return GRAPH.where(mask, GRAPH.zeros_of(like, (), like.dtype) - math.inf, 0.0)


def _one_more(mask):
    """A mask with one more key, which is allowed."""
    if mask is None:
        return None
    return GRAPH.concat(mask, GRAPH.zeros_of(mask, (*mask.shape[:-1], 1), mask.dtype), dim=-1)


def _projected(query, key, value, width, weight, separate, bias):
    """query, key and value times their weights, with as few products as their being one tensor allows."""
    F = GRAPH
    parts = [None] * 3 if bias is None else [F.narrow(bias, 0, i * width, width) for i in range(3)]
    if separate is not None:
        return tuple([F.linear(x, w, b) for x, w, b in zip((query, key, value), separate, parts)])
    if query is key and key is value:
        return F.split(F.linear(query, weight, bias), (width, width, width), -1)
    q = F.linear(query, F.narrow(weight, 0, 0, width), parts[0])
    if key is value:
        both = None if bias is None else F.narrow(bias, 0, width, 2 * width)
        return q, *F.split(F.linear(key, F.narrow(weight, 0, width, 2 * width), both), (width, width), -1)
    return q, *[F.linear(x, F.narrow(weight, 0, i * width, width), parts[i]) for i, x in ((1, key), (2, value))]
