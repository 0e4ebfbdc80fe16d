"""The kernel pair of scaled_dot_product_attention: one node, and one array of scores that every step works in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .products import matmul

__all__ = ["ATTENTION"]

_FLOATS = (np.dtype("float32"), np.dtype("float64"))


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
    """Without broadcasting between query, key and value. Keeps the probabilities."""
    lead = query.shape[:-2]
    if (
        query.dtype not in _FLOATS
        or key.dtype != query.dtype
        or value.dtype != query.dtype
        or key.shape[:-2] != lead
        or value.shape[:-2] != lead
        or not (query.size and key.size and value.size)
        or (attn_mask is not None and attn_mask.dtype not in (np.dtype(bool), query.dtype))
        or (attn_mask is not None and len(np.broadcast_shapes(attn_mask.shape, (*lead, 1, 1))) != query.ndim)
    ):
        return NotImplemented
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scaled = query * scale
    p = matmul(scaled, key.swapaxes(-1, -2))
    if is_causal:
        np.copyto(p, -np.inf, where=~np.tri(*p.shape[-2:], dtype=np.bool_))
    if attn_mask is not None:
        if np.broadcast_shapes(attn_mask.shape, p.shape) != p.shape:
            return NotImplemented
        if attn_mask.dtype == bool:
            np.copyto(p, -np.inf, where=~attn_mask)
        else:
            p += attn_mask
    top = np.maximum.reduce(p, axis=-1, keepdims=True)
    if attn_mask is not None:
        top[top == -np.inf] = 0  # nothing to attend to: zeros, not NaN
    p -= top
    np.exp(p, out=p)
    total = np.add.reduce(p, axis=-1, keepdims=True)
    if attn_mask is not None:
        total[total == 0] = 1
    p /= total
    out = matmul(_dropped(p, kept, keep_scale), value)
    return out, (scaled, key, value, p, kept, keep_scale, scale, attn_mask)


def _dropped(p: Any, kept: Any, keep_scale: float) -> Any:
    if kept is None:
        return p
    out = p * kept
    out *= keep_scale
    return out


def attention_grad(g: Any, residual: Any, needs: Any) -> Any:
    scaled, key, value, p, kept, keep_scale, scale, attn_mask = residual
    g_query = g_key = g_value = g_mask = None
    if needs[2]:
        g_value = matmul(_dropped(p, kept, keep_scale).swapaxes(-1, -2), g)
    if needs[0] or needs[1] or needs[3]:
        s = matmul(g, value.swapaxes(-1, -2))
        if kept is not None:
            s *= kept
            s *= keep_scale
        s -= np.vecdot(s, p)[..., None]
        s *= p
        if needs[0]:
            g_query = matmul(s, key)
            g_query *= scale
        if needs[1]:
            g_key = matmul(s.swapaxes(-1, -2), scaled)
        if needs[3]:
            g_mask = _summed(s, attn_mask.shape)
    return g_query, g_key, g_value, g_mask, None


def _summed(s: Any, shape: tuple[int, ...]) -> Any:
    """`s` summed over the dimensions along which an array of `shape` was broadcast to it."""
    extra = s.ndim - len(shape)
    dims = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1)
    return np.add.reduce(s, axis=dims).reshape(shape) if dims else s


ATTENTION: dict[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": attention,
    "scaled_dot_product_attention.grad": attention_grad,
}
