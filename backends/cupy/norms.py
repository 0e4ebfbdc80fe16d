"""layer_norm and rms_norm as one node, a residual branch added before: one launch forward, two backward.

Kept for backward: the input (or the sum), and mean and 1 / sqrt(var + eps) of each row in float32. Sum, norm and their
gradients may have different dtypes: a float32 stream with branches and results of 16 bits, as autocast makes it.
It has not run on a GPU yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..hashing import limit
from .columns import column_sums_of_parts
from .launch import FLOATS, Source, blocks, contiguous, new, new_like, row_blocks, signed, wide_loads

__all__ = ["SERVES"]


def _form(T: str, B: str, Y: str, W: str) -> bool:
    if T == B == Y:
        return T == W or (W == "float32" and T != "float64")
    return T == W == "float32" and "float64" not in (B, Y)


#: input and sum, branch, result, scale and shift
_SOURCE = Source("norms.cu", where=_form, T=FLOATS, B=FLOATS, Y=FLOATS, W=FLOATS)
_FORWARD, _BACKWARD = _SOURCE.kernel("norm_forward"), _SOURCE.kernel("norm_backward")
#: blocks of backward, two for each processor of an H100, and the shared memory that one takes at most
_BLOCKS, _SHARED = 264, 96 << 10
_ALL = (0, None, 0, 1.0)  # nothing is dropped


class _Kept(NamedTuple):
    x: Any
    weight: Any
    mean: Any
    scale: Any
    form: tuple[str, ...]
    rms: int
    vectors: tuple[Any, ...]  # dtypes of weight and bias
    shape: tuple[int, ...]  # and their shape
    drop: tuple[Any, ...]


def _forward(
    input: Any, other: Any, shape: Any, weight: Any, bias: Any, eps: float, rms: int, drop: Any = _ALL, kind: Any = None
) -> Any:
    """((result, sum or None), what backward needs)."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    given = [v for v in (weight, bias) if v is not None]
    vector = given[0].dtype if given else input.dtype
    kind = input.dtype if kind is None else np.dtype(kind)
    form = (input.dtype.name, (input if other is None else other).dtype.name, kind.name, vector.name)
    if (
        not sizes
        or input.shape[len(input.shape) - len(sizes) :] != sizes
        or not input.size
        or any(v.shape != sizes or v.dtype != vector for v in given)
        or form not in _SOURCE.forms
        or (other is not None and other.shape != input.shape)
    ):
        return NotImplemented
    x, w, b = contiguous(input), *[None if v is None else contiguous(v) for v in (weight, bias)]
    n = math.prod(sizes)
    rows, sums = x.size // n, "float64" if x.itemsize == 8 else "float32"
    y, scale, mean, total = new(x.shape, kind), new((rows,), sums), None, None
    if not rms:
        mean = new((rows,), sums)
    if other is not None:
        other, total = contiguous(other), new_like(x)
    block = row_blocks(n, x.itemsize)
    arrays = x, other, w, b, y, total, mean, scale
    rest = rows, n, float(eps), rms, *drop, wide_loads(x, other, y, total)
    _FORWARD[form](blocks(rows, block[1]), block, *arrays, *rest)
    kinds = tuple([None if v is None else v.dtype for v in (weight, bias)])
    return (y, total), _Kept(x if total is None else total, w, mean, scale, form, rms, kinds, sizes, drop)


def _backward(g: Any, more: Any, k: _Kept, needs: Any, branch: bool = False) -> Any:
    """Gradients for input, branch, weight and bias; `more` is added to the input's."""
    n, x = math.prod(k.shape), k.x
    if g.dtype.name != k.form[2] or (more is not None and more.dtype != x.dtype):
        return NotImplemented
    rows, g, dx = x.size // n, contiguous(g), new_like(x)
    more = None if more is None else contiguous(more)
    other = new(x.shape, k.form[1]) if branch and (k.form[1] != k.form[0] or k.drop is not _ALL) else None
    wide = int(n * x.itemsize % 16 == 0 and wide_loads(g, x, more, dx, other))
    block, parts = row_blocks(n, x.itemsize), [None, None]
    wanted = [i for i in (0, 1) if k.vectors[i] is not None and needs[i]]
    each = len(wanted) * n * k.scale.itemsize
    while block[1] > 1 and each * block[1] > _SHARED:
        block = block[0], block[1] // 2
    if each * block[1] > 2 * _SHARED:
        return NotImplemented
    grid = min(blocks(rows, block[1]), _BLOCKS)
    for i in wanted:
        parts[i] = new((grid, n), k.scale.dtype)
    arrays = g, x, k.weight, k.mean, k.scale, more, dx, other, *parts
    _BACKWARD[k.form](grid, block, *arrays, rows, n, k.rms, *k.drop, wide, shared=each * block[1])
    found = [None if p is None else column_sums_of_parts(p, kind).reshape(k.shape) for p, kind in zip(parts, k.vectors)]
    return dx, dx if other is None else other, *found


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """As the composite: (result, what backward needs)."""
    found = _forward(input, None, normalized_shape, weight, bias, eps, 0)
    return found if found is NotImplemented else (found[0][0], found[1])


def layer_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients for input, weight and bias."""
    found = _backward(g, None, residual, needs[1:])
    return found if found is NotImplemented else (found[0], *found[2:])


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """As the composite: (result, what backward needs)."""
    if eps is None:
        eps = {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(input.dtype.name) or np.finfo(input.dtype).eps
    found = _forward(input, None, normalized_shape, weight, None, float(eps), 1)
    return found if found is NotImplemented else (found[0][0], found[1])


def rms_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients for input and weight."""
    found = _backward(g, None, residual, (needs[1], False))
    return found if found is NotImplemented else (found[0], found[2])


def add_layer_norm(
    input: Any,
    other: Any,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    seed: Any = None,
    p: float = 0.0,
    dtype: Any = None,
) -> Any:
    """As the composite: ((result, sum), what backward needs)."""
    drop = _ALL
    if seed is not None:
        number = (signed(seed), None) if isinstance(seed, int) else (0, seed)
        drop = (*number, limit(p), 1 / (1 - p))
    return _forward(input, other, normalized_shape, weight, bias, eps, 0, drop, dtype)


def add_layer_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients for input, other, weight and bias, from those for the result and for the sum."""
    return _backward(g[0], g[1] if 1 in g.given else None, residual, needs[2:], needs[1])


SERVES: dict[str, Callable[..., Any]] = {
    "add_layer_norm": add_layer_norm,
    "add_layer_norm.grad": add_layer_norm_grad,
    "layer_norm": layer_norm,
    "layer_norm.grad": layer_norm_grad,
    "rms_norm": rms_norm,
    "rms_norm.grad": rms_norm_grad,
}
