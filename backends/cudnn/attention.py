"""Scaled dot-product attention by cuDNN, forward and backward, in float16 and bfloat16.

No matrix of scores is stored: kept are the inputs, the result, and the logarithm of each query's sum. Queries, keys and
values may lie at any distance from one another (parts of one packed array) as long as each row is contiguous; result
and gradients lie with heads inside positions, (B, L, H, E) in memory, so that joining the heads needs no copy.

A bool mask is handed over as numbers to add. Where a mask forbids, the number is the least finite float16, not -inf, of
which cuDNN makes NaN where a query may attend to nothing; such a query's result and gradients are set to 0 after and
before. Dropout is drawn from a seed within the kernel; or it takes the mask that the op was given. float32 is left to
the composition: cuDNN has no gradient for it. It has not run on a GPU yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import cudnn as settings
from ..cuda import fused_sdp_enabled
from .graphs import Description, Slot
from .layouts import steps
from .plans import Runtime, runtime

__all__ = ["ATTENTION"]

FLOATS = ("float16", "bfloat16")
FORBIDDEN = -65504.0


def _heads_inside(found: Runtime, shape: Any, dtype: Any) -> Any:
    """A new array (B, H, L, E) that lies in memory as (B, L, H, E)."""
    b, h, n, e = shape
    return found.empty((b, n, h, e), dtype).transpose(0, 2, 1, 3)


def _rows(found: Runtime, x: Any) -> Any:
    """x (B, H, L, E), or a copy, with contiguous rows on boundaries of 16 bytes, none of which is another."""
    steps_of = zip(x.shape[:-1], x.strides[:-1])
    whole = x.strides[-1] == x.itemsize and all(n == 1 or (s > 0 and s % 16 == 0) for n, s in steps_of)
    if whole and found.pointer(x) % 16 == 0:
        return x
    copy = _heads_inside(found, x.shape, x.dtype)
    copy[...] = x
    return copy


def _slot(x: Any) -> Slot:
    return Slot(x.shape, tuple([s // x.itemsize for s in x.strides]), x.dtype.name)


def _four(x: Any) -> Any:
    """(L, E) and (H, L, E) with the dimensions before them; None for more than four."""
    return x.reshape((1,) * (4 - x.ndim) + x.shape) if x.ndim < 5 else None


def _serves(query: Any, key: Any, value: Any, enable_gqa: bool) -> Runtime | None:
    """What computes; None where cuDNN is not there or does not take these."""
    found = runtime() if fused_sdp_enabled() else None
    if found is None or query.dtype.name not in FLOATS or {key.dtype, value.dtype} != {query.dtype}:
        return None
    lead, size = query.shape[:-2], query.shape[-1]
    if query.ndim > 4 or not (query.size and key.size and value.size):
        return None
    if size % 8 or value.shape[-1] % 8 or max(size, value.shape[-1]) > 256:
        return None
    if key.shape[:-2] != value.shape[:-2] or key.ndim != query.ndim:
        return None
    if key.shape[:-2] != lead:
        grouped = enable_gqa and query.ndim == 4 and key.shape[0] == lead[0] and lead[1] % key.shape[1] == 0
        return found if grouped else None
    return found


def _as_bias(found: Runtime, mask: Any, scores: Any, dtype: Any) -> Any:
    """(numbers to add, which queries may attend to something) for a mask that broadcasts to the scores."""
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    xp = found.xp
    allowed = mask if mask.dtype.kind == "b" else mask > FORBIDDEN
    some = allowed.any(axis=-1, keepdims=True)
    # constants on the device: a number of the host's would be copied there, which no captured step can do
    least = found.constant(FORBIDDEN, (), dtype)
    if mask.dtype.kind == "b":
        bias = xp.where(mask, found.constant(0.0, (), dtype), least)
    else:
        bias = xp.maximum(mask, least)
    # queries and keys in full; cuDNN broadcasts over batch and heads alone
    wanted = (*bias.shape[:2], *scores[2:])
    if bias.shape != wanted:
        bias = xp.broadcast_to(bias, wanted)
    return xp.ascontiguousarray(bias), some


class _Dropout(NamedTuple):
    """What is dropped: by a mask with the factor for what is kept, or by a seed with the probability."""

    slots: tuple[tuple[str, Slot], ...]
    operands: tuple[Any, ...]
    probability: float | None


def _by_mask(found: Runtime, kept: Any, keep_scale: float, scores: Any, dtype: Any) -> _Dropout:
    mask = found.xp.broadcast_to(kept.reshape((1,) * (4 - kept.ndim) + kept.shape), scores).astype(dtype)
    slots = (("kept", _slot(mask)), ("keep_scale", _ONE), ("keep_inverse", _ONE))
    return _Dropout(slots, (mask, found.constant(keep_scale, (1,)), found.constant(1 / keep_scale, (1,))), None)


def _by_seed(found: Runtime, seed: Any, p: float) -> _Dropout:
    if isinstance(seed, int):  # of a captured step it is in the device's memory already
        seed = found.xp.full((1,), seed - (seed >> 63 << 64), "int64")
    one = _ONE._replace(dtype="int64")
    return _Dropout((("seed", one), ("offset", one)), (seed, found.constant(0, (1,), "int64")), p)


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    kept: Any = None,
    keep_scale: float = 1.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """The composite `scaled_dot_product_attention`."""
    if kept is not None and not keep_scale:
        return NotImplemented
    drop = None if kept is None else lambda *given: _by_mask(given[0], kept, keep_scale, *given[1:])
    return _attended(query, key, value, attn_mask, drop, is_causal, scale, enable_gqa)


def attention_by_seed(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    seed: Any = 0,
    p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    own: list[bool] | None = None,
) -> Any:
    """The composite of that name; what is dropped is drawn by cuDNN's generator (Philox), from the seed."""
    if own is None:
        return NotImplemented
    found = _attended(
        query, key, value, attn_mask, lambda runtime, *_: _by_seed(runtime, seed, p), is_causal, scale, enable_gqa
    )
    if found is not NotImplemented:
        own.append(True)
    return found


def _attended(
    query: Any, key: Any, value: Any, attn_mask: Any, drop: Any, is_causal: bool, scale: float | None, enable_gqa: bool
) -> Any:
    found = _serves(query, key, value, enable_gqa)
    if found is None:
        return NotImplemented
    q, k, v = (_rows(found, _four(x)) for x in (query, key, value))
    scores = (*q.shape[:3], k.shape[2])
    bias = some = None
    if attn_mask is not None:
        lead = (1,) * (4 - attn_mask.ndim) + attn_mask.shape if attn_mask.ndim < 5 else None
        if lead is None or any(n not in (1, m) for n, m in zip(lead, scores)):
            return NotImplemented
        if attn_mask.dtype.kind != "b" and attn_mask.dtype != q.dtype:
            return NotImplemented
        bias, some = _as_bias(found, attn_mask, scores, q.dtype)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    dropped = None if drop is None else drop(found, scores, q.dtype)
    o = _heads_inside(found, (*q.shape[:3], v.shape[3]), q.dtype)
    sums = found.empty((*q.shape[:3], 1), "float32")
    options: tuple[tuple[str, Any], ...] = (("scale", scale), ("causal", is_causal))
    slots = [("q", _slot(q)), ("k", _slot(k)), ("v", _slot(v))]
    operands = [q, k, v]
    if bias is not None:
        slots.append(("bias", _slot(bias)))
        operands.append(bias)
    if dropped is not None:
        options = (*options, ("dropout", dropped.probability))
        slots += dropped.slots[:2]
        operands += dropped.operands[:2]
    slots += [("o", _slot(o)), ("sums", Slot(sums.shape, steps(sums.shape), "float32"))]
    operands += [o, sums]
    description = Description("attention", tuple(slots), options)
    plan = found.plan(description, lambda: description, *operands)
    if plan is None:
        return NotImplemented
    found.run(plan, *operands)
    if some is not None:
        o *= some
    out = o.reshape(*query.shape[:-1], value.shape[-1]) if query.ndim < 4 else o
    return out, (query, key, value, q, k, v, bias, some, attn_mask, dropped, o, sums, options)


_ONE = Slot((1, 1, 1, 1), (1, 1, 1, 1), "float32")


def attention_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients of query, key, value and of a mask of numbers."""
    query, key, value, q, k, v, bias, some, attn_mask, dropped, o, sums, options = residual
    found = runtime()
    if found is None or g.dtype != q.dtype:
        return NotImplemented
    do = _four(g)
    do = _rows(found, do if some is None else do * some)
    dq, dk, dv = (_heads_inside(found, x.shape, x.dtype) for x in (q, k, v))
    slots = [(name, _slot(x)) for name, x in zip(("q", "k", "v", "o", "do"), (q, k, v, o, do))]
    slots.append(("sums", Slot(sums.shape, steps(sums.shape), "float32")))
    operands = [q, k, v, o, do, sums]
    if bias is not None:
        slots.append(("bias", _slot(bias)))
        operands.append(bias)
    if dropped is not None:
        slots += dropped.slots
        operands += dropped.operands
    dbias = None
    if needs[3] and bias is not None:
        dbias = found.xp.zeros(bias.shape, bias.dtype)
    slots += [("dq", _slot(dq)), ("dk", _slot(dk)), ("dv", _slot(dv))]
    operands += [dq, dk, dv]
    if dbias is not None:
        slots.append(("dbias", _slot(dbias)))
        operands.append(dbias)
    options = (*options, ("deterministic", settings.deterministic))
    description = Description("attention.grad", tuple(slots), options)
    plan = found.plan(description, lambda: description, *operands)
    if plan is None:
        return NotImplemented
    found.run(plan, *operands)
    if dbias is not None:
        shape = (1,) * (4 - attn_mask.ndim) + attn_mask.shape
        dims = tuple([d for d, (n, m) in enumerate(zip(shape, dbias.shape)) if n != m])
        if dims:
            dbias = dbias.sum(axis=dims, keepdims=True, dtype="float32")
        dbias = dbias.astype(attn_mask.dtype, copy=False).reshape(attn_mask.shape)
    gradients = [
        x.reshape(like.shape) if need else None
        for x, like, need in zip((dq, dk, dv), (query, key, value), needs, strict=False)
    ]
    return (*gradients, dbias, None)


def attention_by_seed_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients of query, key, value and of a mask of numbers."""
    found = attention_grad(g, residual, needs)
    return found if found is NotImplemented else found[:4]


ATTENTION: dict[str, Callable[..., Any]] = {
    "attention_by_seed": attention_by_seed,
    "attention_by_seed.grad": attention_by_seed_grad,
    "scaled_dot_product_attention": attention,
    "scaled_dot_product_attention.grad": attention_grad,
}
