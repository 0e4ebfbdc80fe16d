"""Kernels of normalisation. Sums over the rows of a matrix are products with ones, which BLAS does fastest; what is
per channel or per row stays small, and every further pass over the data works in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .memory import empty_like
from .products import dot

__all__ = ["NORMALISATION"]

_FLOATS = (np.dtype("float32"), np.dtype("float64"))


# -- statistics over a batch: moments and normalised -------------------------------------------------------------------


def _as_rows(x: Any) -> Any:
    """(N, C, ...) with channels last in memory as a matrix (N * ..., C); None where that would copy."""
    if x.ndim == 2:
        return x
    moved = np.moveaxis(x, 1, -1)
    return moved.reshape(-1, x.shape[1]) if moved.flags.c_contiguous else None


def _channel_sums(a: Any, b: Any = None) -> Any:
    """Σ a, or Σ a * b, over all dimensions but the channels (dimension 1)."""
    rows = _as_rows(a)
    if b is None:
        if rows is not None:
            return dot(np.ones(len(rows), a.dtype), rows)
        return np.add.reduce(_row_sums(a.reshape(*a.shape[:2], -1)), axis=0)
    other = _as_rows(b)
    if rows is not None and other is not None:
        return _column_products(rows, other)
    a = a.reshape(*a.shape[:2], -1)
    return np.add.reduce(np.vecdot(a, b.reshape(a.shape)), axis=0)


def _column_products(a: Any, b: Any) -> Any:
    """Σ a * b over the rows of two matrices, in blocks: einsum adds row after row, and its error grows with them."""
    whole = len(a) - len(a) % 128
    blocks = [v[:whole].reshape(-1, 128, v.shape[1]) for v in (a, b)]
    rest = np.einsum("pc,pc->c", a[whole:], b[whole:])
    return np.add.reduce(np.einsum("bpc,bpc->bc", *blocks), axis=0) + rest if whole else rest


def _row_sums(x: Any) -> Any:
    """Sums over the last dimension."""
    return np.matmul(x, np.ones(x.shape[-1], x.dtype))


def _of_batch(x: Any, dims: Any) -> bool:
    return x.dtype in _FLOATS and x.ndim > 1 and x.size > 0 and tuple(dims) == (0, *range(2, x.ndim))


def moments(input: Any, dims: Any) -> Any:
    if not _of_batch(input, dims):
        return NotImplemented
    count, shape = input.size // input.shape[1], (1, -1, *(1,) * (input.ndim - 2))
    mean = (_channel_sums(input) / count).reshape(shape)
    centred = np.subtract(input, mean, out=_room(input, mean))
    return mean, (_channel_sums(centred, centred) / count).reshape(shape)


moments.partial = True  # type: ignore[attr-defined]


def _far(mean: Any, var: Any) -> bool:
    """Is some mean far from 0 beside its deviation? Then data are centred first, or differences lose their digits."""
    return bool((mean * mean > 64 * var).any())


def moments_grad(g: Any, input: Any, out: Any, dims: Any) -> Any:
    g_mean, g_var = g
    count = max(math.prod([input.shape[d] for d in dims]), 1)
    slope = g_var * (2 / count)
    if _far(*out):
        result = input - out[0]
        result *= slope
        result += g_mean / count
        return result
    # (input - mean) * slope + g_mean / count, the constants together
    result = np.multiply(input, slope, out=_room(input, slope))
    result += g_mean / count - out[0] * slope
    return result


def normalised(input: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    if input.dtype not in _FLOATS or mean.shape == input.shape:
        return NotImplemented
    scale = 1 / np.sqrt(var + eps)
    together = weight is not None and np.broadcast(weight, scale).size == scale.size
    if together:
        scale = scale * weight
    out = np.subtract(input, mean, out=_room(input, mean))
    out *= scale
    if weight is not None and not together:
        out *= weight
    if bias is not None:
        out += bias
    return out if out.dtype == input.dtype else out.astype(input.dtype)


def _room(*arrays: Any) -> Any:
    """Memory for what the first of the arrays makes with the others; None where it has another dtype or shape."""
    first = arrays[0]
    if all(a.dtype == first.dtype for a in arrays) and np.broadcast(*arrays).shape == first.shape and first.ndim:
        return empty_like(first)
    return None


normalised.partial = True  # type: ignore[attr-defined]


def normalised_grad(g: Any, input: Any, mean: Any, var: Any, weight: Any, eps: float, needs: Any) -> Any:
    scale = 1 / np.sqrt(var + eps)
    channels = (1, input.shape[1], *(1,) * (input.ndim - 2)) if input.ndim > 1 else None
    vectors = (channels, channels[1:2]) if channels else ()
    if mean.shape != channels or g.dtype not in _FLOATS or (weight is not None and weight.shape not in vectors):
        centred = input - mean
        direct = (g if weight is None else g * weight) * scale
        return (
            direct if needs[0] else None,
            -direct if needs[1] else None,
            direct * centred * (scale * scale * -0.5) if needs[2] else None,
            g * centred * scale if needs[3] else None,
            g if needs[4] else None,
        )
    # per channel: two sums give every gradient but the input's
    total = _channel_sums(g).reshape(channels)
    along = None
    if needs[2] or needs[3]:
        if _far(mean, var):
            along = _channel_sums(g, input - mean).reshape(channels)
        else:
            along = _channel_sums(g, input).reshape(channels) - mean * total
    factor = scale if weight is None else scale * weight.reshape(channels)
    return (
        np.multiply(g, factor, out=_room(g, factor)) if needs[0] else None,
        -factor * total if needs[1] else None,
        along * factor * (scale * scale * -0.5) if needs[2] else None,
        (along * scale).reshape(weight.shape) if needs[3] else None,
        total if needs[4] else None,
    )


def batch_normalised(input: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    if any(v is not None and v.dtype != input.dtype for v in (weight, bias)):
        return NotImplemented
    found = moments(input, (0, *range(2, input.ndim))) if input.ndim > 1 else NotImplemented
    if found is NotImplemented:
        return NotImplemented
    mean, var = found
    channels = mean.shape
    weight, bias = (None if v is None else v.reshape(channels) for v in (weight, bias))
    return normalised(input, mean, var, weight, bias, eps), mean, var


def batch_norm_relu(input: Any, weight: Any = None, bias: Any = None, other: Any = None, eps: float = 1e-5) -> Any:
    if other is not None and (other.shape != input.shape or other.dtype != input.dtype):
        return NotImplemented
    found = batch_normalised(input, weight, bias, eps)
    if found is NotImplemented:
        return NotImplemented
    out, mean, var = found
    if other is not None:
        out += other
    return np.maximum(out, 0, out=out), mean, var


def batch_normalised_grad(g: Any, input: Any, weight: Any, eps: float, mean: Any, var: Any, needs: Any) -> Any:
    """Two sums for each channel, and one combination of gradient and input with constants of the channel."""
    slope, g_mean, g_var = g
    if any(a is not None and (a.dtype not in _FLOATS or a.dtype != input.dtype) for a in (*g, weight)):
        return NotImplemented
    channels, count = mean.shape, input.size // input.shape[1]
    scale = 1 / np.sqrt(var + eps)
    factor = scale if weight is None else scale * weight.reshape(channels)
    total, far = _channel_sums(slope).reshape(channels), _far(mean, var)
    centred = np.subtract(input, mean, out=_room(input, mean)) if far else input
    along = _channel_sums(slope, centred).reshape(channels)
    if not far:
        along -= mean * total
    dx = None
    if needs[0]:
        level = (g_mean - factor * total) / count
        steep = (g_var - factor * scale * scale * along * 0.5) * (2 / count)
        if not far:
            level -= mean * steep
        dx = np.multiply(centred, steep, out=centred if far else _room(input, steep))
        dx += np.multiply(slope, factor, out=_room(slope, factor))
        dx += level
    return dx, (along * scale).reshape(-1) if needs[1] else None, total.reshape(-1) if needs[2] else None


def batch_norm_relu_grad(g: Any, input: Any, weight: Any, eps: float, out: Any, mean: Any, var: Any, needs: Any) -> Any:
    inner = np.where(out <= 0, g[0].dtype.type(0), g[0])
    found = batch_normalised_grad((inner, *g[1:]), input, weight, eps, mean, var, needs)
    return NotImplemented if found is NotImplemented else (*found, inner if needs[3] else None)


batch_normalised.partial = batch_norm_relu.partial = True  # type: ignore[attr-defined]
batch_normalised_grad.partial = batch_norm_relu_grad.partial = True  # type: ignore[attr-defined]


# -- statistics of each example: layer_norm, group_norm ----------------------------------------------------------------


def _standardised(rows: Any, eps: float) -> tuple[Any, Any]:
    """(rows - mean) / sqrt(var + eps) as a new array, and 1 / sqrt(var + eps) as a column."""
    width = rows.shape[1]
    out = rows - (_row_sums(rows) / width)[:, None]
    scale = np.vecdot(out, out)[:, None]
    scale /= width
    scale += eps
    np.sqrt(scale, out=scale)
    np.reciprocal(scale, out=scale)
    out *= scale
    return out, scale


def _standardised_grad(g: Any, standard: Any, scale: Any) -> Any:
    """The gradient of `_standardised`; writes into `g`."""
    width = standard.shape[1]
    inner = np.vecdot(g, standard)[:, None]
    g -= (_row_sums(g) / width)[:, None]
    g -= standard * (inner / width)
    g *= scale
    return g


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    sizes = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if (
        input.dtype not in _FLOATS
        or not input.size
        or not sizes
        or input.shape[-len(sizes) :] != sizes
        or any(v is not None and (v.shape != sizes or v.dtype != input.dtype) for v in (weight, bias))
    ):
        return NotImplemented
    standard, scale = _standardised(input.reshape(-1, math.prod(sizes)), eps)
    out = standard if weight is None else standard * weight.reshape(-1)
    if bias is not None:
        out = np.add(out, bias.reshape(-1), out=None if out is standard else out)
    elif out is standard:
        out = standard.copy()
    return out.reshape(input.shape), (standard, scale, weight, sizes)


def layer_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    standard, scale, weight, sizes = residual
    rows = g.reshape(standard.shape)
    g_input = g_weight = g_bias = None
    if needs[0]:
        direct = rows * weight.reshape(-1) if weight is not None else rows.copy()
        g_input = _standardised_grad(direct, standard, scale).reshape(g.shape)
    if needs[1]:
        g_weight = _column_products(rows, standard).reshape(sizes)
    if needs[2]:
        g_bias = dot(np.ones(len(rows), rows.dtype), rows).reshape(sizes)
    return g_input, g_weight, g_bias


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    if (
        input.dtype not in _FLOATS
        or input.ndim < 2
        or not input.size
        or num_groups < 1
        or input.shape[1] % num_groups
        or any(v is not None and (v.shape != input.shape[1:2] or v.dtype != input.dtype) for v in (weight, bias))
    ):
        return NotImplemented
    n, channels = input.shape[:2]
    standard, scale = _standardised(input.reshape(n * num_groups, -1), eps)
    columns = standard.reshape(n, channels, -1)
    out = columns * weight[:, None] if weight is not None else columns.copy()
    if bias is not None:
        out += bias[:, None]
    return out.reshape(input.shape), (standard, scale, weight)


def group_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    standard, scale, weight = residual
    columns = g.reshape(*g.shape[:2], -1)
    g_input = g_weight = g_bias = None
    if needs[0]:
        direct = columns * weight[:, None] if weight is not None else np.array(columns, order="C")
        g_input = _standardised_grad(direct.reshape(standard.shape), standard, scale).reshape(g.shape)
    if needs[1]:
        g_weight = np.add.reduce(np.vecdot(columns, standard.reshape(columns.shape)), axis=0)
    if needs[2]:
        g_bias = np.add.reduce(_row_sums(columns), axis=0)
    return g_input, g_weight, g_bias


NORMALISATION: dict[str, Callable[..., Any]] = {
    "batch_norm_relu": batch_norm_relu,
    "batch_norm_relu.grad": batch_norm_relu_grad,
    "batch_normalised": batch_normalised,
    "batch_normalised.grad": batch_normalised_grad,
    "group_norm": group_norm,
    "group_norm.grad": group_norm_grad,
    "layer_norm": layer_norm,
    "layer_norm.grad": layer_norm_grad,
    "moments": moments,
    "moments.grad": moments_grad,
    "normalised": normalised,
    "normalised.grad": normalised_grad,
}
