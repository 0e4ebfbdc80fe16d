"""Kernels of `linear`: one matrix product each, the bias added in place.

The gradient of a bias sums rows. BLAS does that 2 to 7 times as fast as `np.add.reduce`, as a product with ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..compiled.listed import do, made, reshaped
from .products import dot

__all__ = ["LINEAR", "turned"]

_BLAS = (np.dtype("float32"), np.dtype("float64"))


def turned(input: Any, outputs: int) -> bool:
    """Whether the gradient of the weight takes two leading dimensions as they lie in the input, the second first.

    So only the gradient of the outputs is copied, which is narrower: the input is a recurrent layer's, batch first.
    """
    return (
        input.ndim == 3
        and outputs < input.shape[2]
        and not input.flags.c_contiguous
        and input.transpose(1, 0, 2).flags.c_contiguous
    )


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    kind = input.dtype
    if (
        kind not in _BLAS
        or weight.dtype != kind
        or weight.ndim != 2
        or input.ndim < 1
        or input.shape[-1] != weight.shape[1]
        or (bias is not None and (bias.dtype != kind or bias.shape != weight.shape[:1]))
    ):
        return NotImplemented
    if input.ndim == 2:
        out = dot(input, weight.T)
        if bias is not None:
            do(np.add, out, bias, out=out)
        return out
    # one product for all leading dimensions: matmul would make one per matrix of the stack
    rows = dot(reshaped(input, _count(input), weight.shape[1]), weight.T)
    if bias is not None:
        do(np.add, rows, bias, out=rows)
    return rows.reshape(*input.shape[:-1], weight.shape[0])


linear.partial = True  # type: ignore[attr-defined]


def input_grad(g: Any, weight: Any) -> Any:
    if weight.ndim == 1:
        return made(np.multiply, g[..., None], weight)
    if g.ndim == 2:
        return dot(g, weight)
    return dot(reshaped(g, _count(g), weight.shape[0]), weight).reshape(*g.shape[:-1], weight.shape[1])


def weight_grad(g: Any, input: Any, weight_shape: tuple[int, ...]) -> Any:
    if len(weight_shape) == 2 and turned(input, weight_shape[0]):
        g, input = g.transpose(1, 0, 2), input.transpose(1, 0, 2)
    if input.ndim != 2:
        input = reshaped(input, _count(input), input.shape[-1])
    if len(weight_shape) == 1:
        return dot(reshaped(g, len(input)), input)
    if g.ndim != 2:
        g = reshaped(g, len(input), weight_shape[0])
    return dot(g.T, input)


def bias_grad(g: Any, shape: tuple[int, ...]) -> Any:
    if g.ndim == len(shape):
        return g
    rows = g if g.ndim == 2 and shape else reshaped(g, -1, *shape) if g.size else g.reshape(0, *shape)
    if rows.ndim == 1 or rows.dtype not in _BLAS or len(rows) < 16:
        return made(_sum_of_rows, rows)
    return dot(np.ones(len(rows), rows.dtype), rows)


def _sum_of_rows(rows: Any) -> Any:
    return np.add.reduce(rows, axis=0, dtype=np.float32 if rows.dtype.itemsize == 2 else None)


def _count(x: Any) -> int:
    """How many vectors of the last dimension `x` holds."""
    count = 1
    for n in x.shape[:-1]:
        count *= n
    return count


for _function in (linear, input_grad, weight_grad, bias_grad):
    _function.listed = True  # type: ignore[union-attr]

LINEAR: dict[str, Callable[..., Any]] = {
    "linear": linear,
    "linear.grad.input": input_grad,
    "linear.grad.weight": weight_grad,
    "linear.grad.bias": bias_grad,
}
