"""layer_norm and rms_norm as one node: one launch forward, two backward. It has not run on a GPU yet.

Kept for backward: the input, and mean and 1 / sqrt(var + eps) of each row in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .columns import column_sums_of_parts
from .launch import FLOATS, Source, blocks, contiguous, new, new_like, row_blocks, wide_loads

__all__ = ["SERVES"]

_SOURCE = Source("norms.cu", T=FLOATS, W=FLOATS, where=lambda T, W: T == W or (W == "float32" and T != "float64"))
_FORWARD, _BACKWARD = _SOURCE.kernel("norm_forward"), _SOURCE.kernel("norm_backward")
#: blocks of backward, two for each processor of an H100, and the shared memory that one takes at most
_BLOCKS, _SHARED = 264, 96 << 10


class _Kept(NamedTuple):
    x: Any
    weight: Any
    mean: Any
    scale: Any
    form: tuple[Any, Any]
    rms: int
    vectors: tuple[Any, ...]  # dtypes of weight and bias
    shape: tuple[int, ...]  # and their shape


def _forward(input: Any, other: Any, shape: Any, weight: Any, bias: Any, eps: float, rms: int) -> Any:
    """((result, sum or None), what backward needs)."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    given = [v for v in (weight, bias) if v is not None]
    kind = given[0].dtype if given else input.dtype
    if (
        not sizes
        or input.shape[len(input.shape) - len(sizes) :] != sizes
        or not input.size
        or any(v.shape != sizes or v.dtype != kind for v in given)
        or (input.dtype.name, kind.name) not in _SOURCE.forms
        or (other is not None and (other.shape != input.shape or other.dtype != input.dtype))
    ):
        return NotImplemented
    x, w, b = contiguous(input), *[None if v is None else contiguous(v) for v in (weight, bias)]
    n = math.prod(sizes)
    rows, sums = x.size // n, "float64" if x.itemsize == 8 else "float32"
    y, scale, mean, total = new_like(x), new((rows,), sums), None, None
    if not rms:
        mean = new((rows,), sums)
    if other is not None:
        other, total = contiguous(other), new_like(x)
    block, form = row_blocks(n, x.itemsize), (x.dtype.name, kind.name)
    wide = wide_loads(x, other, y, total)
    arrays = x, other, w, b, y, total, mean, scale
    _FORWARD[form](blocks(rows, block[1]), block, *arrays, rows, n, float(eps), rms, wide)
    kinds = tuple([None if v is None else v.dtype for v in (weight, bias)])
    return (y, total), _Kept(x if total is None else total, w, mean, scale, form, rms, kinds, sizes)


def _backward(g: Any, more: Any, k: _Kept, needs: Any) -> Any:
    """Gradients for input, weight and bias; `more` is added to the input's."""
    if g.dtype != k.x.dtype:
        return NotImplemented
    n, x = math.prod(k.shape), k.x
    rows, g, dx = x.size // n, contiguous(g), new_like(x)
    more = None if more is None else contiguous(more)
    wide = int(n * x.itemsize % 16 == 0 and wide_loads(g, x, more, dx))
    block, parts = row_blocks(n, x.itemsize), [None, None]
    wanted = [i for i in (0, 1) if k.vectors[i] is not None and needs[1 + i]]
    each = len(wanted) * n * k.scale.itemsize
    while block[1] > 1 and each * block[1] > _SHARED:
        block = block[0], block[1] // 2
    if each * block[1] > 2 * _SHARED:
        return NotImplemented
    grid = min(blocks(rows, block[1]), _BLOCKS)
    for i in wanted:
        parts[i] = new((grid, n), k.scale.dtype)
    arrays = g, x, k.weight, k.mean, k.scale, more, dx, *parts
    _BACKWARD[k.form](grid, block, *arrays, rows, n, k.rms, wide, shared=each * block[1])
    found = [None if p is None else column_sums_of_parts(p, kind).reshape(k.shape) for p, kind in zip(parts, k.vectors)]
    return dx, *found


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """As the composite: (result, what backward needs)."""
    found = _forward(input, None, normalized_shape, weight, bias, eps, 0)
    return found if found is NotImplemented else (found[0][0], found[1])


def layer_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients for input, weight and bias."""
    return _backward(g, None, residual, needs)


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """As the composite: (result, what backward needs)."""
    if eps is None:
        eps = {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(input.dtype.name) or np.finfo(input.dtype).eps
    found = _forward(input, None, normalized_shape, weight, None, float(eps), 1)
    return found if found is NotImplemented else (found[0][0], found[1])


def rms_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients for input and weight."""
    found = _backward(g, None, residual, (*needs, False))
    return found if found is NotImplemented else found[:2]


SERVES: dict[str, Callable[..., Any]] = {
    "layer_norm": layer_norm,
    "layer_norm.grad": layer_norm_grad,
    "rms_norm": rms_norm,
    "rms_norm.grad": rms_norm_grad,
}
