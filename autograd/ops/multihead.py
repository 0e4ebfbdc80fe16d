"""Attention with many heads, as one function of the inputs and all weights (Vaswani et al. 2017, section 3.2.2)."""

from __future__ import annotations

import math

from ..dtypes import is_floating, to_numpy_dtype
from ..errors import OpError, warn
from ..op import GRAPH
from .attention import scaled_dot_product_attention
from .dropout import dropout

__all__ = ["additive_mask", "multi_head_attention_forward"]


def additive_mask(mask, name, like, other=None, other_name=""):
    """A mask as numbers to add, in the dtype of `like`: -inf where a bool mask is True ("may not attend").

    Warns where `other`, the mask that it will be joined with, has another dtype; AssertionError for integers.
    """
    if mask is None:
        return None
    kind = to_numpy_dtype(mask.dtype)
    if kind.kind != "b" and not is_floating(kind):
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if other is not None and other.dtype != mask.dtype:
        warn(f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.")
    if kind.kind != "b":
        return mask
    return GRAPH.where(mask, GRAPH.zeros_of(like, (), like.dtype) - math.inf, 0.0)


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
    not averaged. is_causal says that attn_mask is the causal one, which then need not be read. Arguments as PyTorch's.
    A query with nothing to attend to gets weights 0 (PyTorch: NaN where weights are asked for). need_weights,
    average_attn_weights: whether weights are returned, and as their mean over heads; use_separate_proj_weight:
    q_proj_weight, k_proj_weight and v_proj_weight take in_proj_weight's place; static_k, static_v: given keys and
    values of the heads; the others as in `MultiheadAttention`.
    """
    F = GRAPH
    batched = _check_ranks(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same = key is query, value is key
        query = F.unsqueeze(query, 1)
        key = query if same[0] else F.unsqueeze(key, 1)
        value = key if same[1] else F.unsqueeze(value, 1)
        key_padding_mask = None if key_padding_mask is None else F.unsqueeze(key_padding_mask, 0)
    length, batch, width = query.shape
    size = width // num_heads
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    if is_causal and attn_mask is None:
        raise OpError("Need attn_mask if specifying the is_causal hint.")
    key_padding_mask = additive_mask(key_padding_mask, "key_padding_mask", query, attn_mask, "attn_mask")
    is_causal = is_causal and key_padding_mask is None and not need_weights and bias_k is None and not add_zero_attn
    attn_mask = None if is_causal else additive_mask(attn_mask, "attn_mask", query)

    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected(query, key, value, width, in_proj_weight, separate, in_proj_bias)
    if attn_mask is not None:
        attn_mask = _with_leading(attn_mask, (length, key.shape[0]), batch * num_heads)
    if (bias_k is None) != (bias_v is None):
        raise AssertionError("bias_k and bias_v belong together: one is set, the other is None")
    if bias_k is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or static value.")
        k = F.concat(k, F.expand(bias_k, (1, batch, width)), dim=0)
        v = F.concat(v, F.expand(bias_v, (1, batch, width)), dim=0)
        attn_mask, key_padding_mask = _one_more(attn_mask), _one_more(key_padding_mask)

    def heads(x):  # (S, N, E) -> (N, heads, S, E / heads)
        return F.permute(F.reshape(x, (x.shape[0], batch, num_heads, size)), (1, 2, 0, 3))

    q = heads(q)
    k = heads(k) if static_k is None else _static(static_k, "static_k", batch, num_heads, size)
    v = heads(v) if static_v is None else _static(static_v, "static_v", batch, num_heads, size)
    if add_zero_attn:
        zero = F.zeros_of(k, (batch, num_heads, 1, size), k.dtype)
        k, v = F.concat(k, zero, dim=2), F.concat(v, zero, dim=2)
        attn_mask, key_padding_mask = _one_more(attn_mask), _one_more(key_padding_mask)
    mask = attn_mask
    if mask is not None and mask.shape[0] != 1:
        mask = F.reshape(mask, (batch, num_heads, *mask.shape[1:]))
    if key_padding_mask is not None:
        if tuple(key_padding_mask.shape) != (batch, k.shape[2]):
            raise AssertionError(
                f"key_padding_mask must be of shape {(batch, key.shape[0])}, one row per example, got "
                f"{tuple(key_padding_mask.shape)} where {(batch, k.shape[2])} keys are attended to"
            )
        padding = F.reshape(key_padding_mask, (batch, 1, 1, key_padding_mask.shape[1]))
        mask = padding if mask is None else mask + padding

    p = dropout_p if training else 0.0
    if need_weights:
        scores = F.matmul(q * (1 / math.sqrt(size)), F.transpose(k, -2, -1))
        weights = dropout(F.masked_softmax(scores if mask is None else scores + mask, -1), p)
        mixed = F.matmul(weights, v)
    else:
        mixed = scaled_dot_product_attention(q, k, v, mask, p, is_causal)
    joined = F.reshape(F.permute(mixed, (2, 0, 1, 3)), (length, batch, width))
    output = F.linear(joined, out_proj_weight, out_proj_bias)
    output = output if batched else F.squeeze(output, 1)
    if not need_weights:
        return output, None
    weights = F.mean(weights, dim=1) if average_attn_weights else weights
    return output, weights if batched else F.squeeze(weights, 0)


# -- shapes -----------------------------------------------------------------------------------------------------------


def _check_ranks(query, key, value, key_padding_mask, attn_mask, num_heads):
    """Whether there is a batch; AssertionError unless all arguments agree about that."""
    rank = len(query.shape)
    if rank not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {rank}-D query tensor")
    kind = "batched (3-D)" if rank == 3 else "unbatched (2-D)"
    if len(key.shape) != rank or len(value.shape) != rank:
        raise AssertionError(
            f"For {kind} `query`, expected `key` and `value` to be {rank}-D but found {len(key.shape)}-D and "
            f"{len(value.shape)}-D tensors respectively"
        )
    if key_padding_mask is not None and len(key_padding_mask.shape) != rank - 1:
        raise AssertionError(
            f"For {kind} `query`, expected `key_padding_mask` to be `None` or {rank - 1}-D but found "
            f"{len(key_padding_mask.shape)}-D tensor instead"
        )
    if attn_mask is not None and len(attn_mask.shape) not in (2, 3):
        raise AssertionError(
            f"For {kind} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found {len(attn_mask.shape)}-D "
            "tensor instead"
        )
    if rank == 2 and attn_mask is not None and len(attn_mask.shape) == 3:
        expected = (num_heads, query.shape[0], key.shape[0])
        if tuple(attn_mask.shape) != expected:
            raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {tuple(attn_mask.shape)}")
    return rank == 3


def _check_sizes(query, key, value, embed_dim, num_heads, separate):
    width = query.shape[-1]
    if width != embed_dim:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim}, but got {width}")
    if width // num_heads * num_heads != width:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    key_shape, value_shape = tuple(key.shape), tuple(value.shape)
    if separate:
        if key_shape[:2] != value_shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key_shape[:2]} do not match value's {value_shape[:2]}"
            )
    elif key_shape != value_shape:
        raise AssertionError(f"key shape {key_shape} does not match value shape {value_shape}")


def _with_leading(mask, scores, maps):
    """attn_mask as (1, L, S) or (N * heads, L, S); OpError for another shape."""
    shape = tuple(mask.shape)
    if len(shape) == 2:
        if shape != scores:
            raise OpError(f"The shape of the 2D attn_mask is {shape}, but should be {scores}.")
        return GRAPH.unsqueeze(mask, 0)
    if shape != (maps, *scores):
        raise OpError(f"The shape of the 3D attn_mask is {shape}, but should be {(maps, *scores)}.")
    return mask


def _static(given, name, batch, num_heads, size):
    """Keys or values that stand in for projected ones: (N * heads, S, E / heads)."""
    if given.shape[0] != batch * num_heads:
        raise AssertionError(f"expecting {name}.size(0) of {batch * num_heads}, but got {given.shape[0]}")
    if given.shape[2] != size:
        raise AssertionError(f"expecting {name}.size(2) of {size}, but got {given.shape[2]}")
    return GRAPH.reshape(given, (batch, num_heads, *given.shape[1:]))


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
