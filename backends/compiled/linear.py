"""Products of float32 matrices by our own blocked kernel (gemm.py), the bias in the same pass.

OpenBLAS keeps what is small or narrow, and all of float64.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..numpy.linear import turned
from ..numpy.memory import empty
from .gemm import PANEL, ROWS, product
from .listed import contiguous, reshaped

__all__ = ["SERVES", "dot"]

_FLOAT32 = np.dtype(np.float32)
#: multiplications from which our kernel is ahead of OpenBLAS; a transposed second factor takes that longer to prepare
_LEAST, _LEAST_TRANSPOSED = 1 << 21, 1 << 20
#: the part of a product's columns, one in so many, that may be multiplied for nothing, in a last panel that is not full
_EDGE = 4


def _as_stored(a: Any) -> tuple[Any, int] | None:
    """(matrix in C order, 1 if it is the transpose of `a`); None for other memory."""
    if a.flags.c_contiguous:
        return a, 0
    if a.flags.f_contiguous:
        return a.T, 1
    return None


def _pays(m: int, k: int, n: int) -> bool:
    """Whether our kernel may be ahead for a product of (m, k) and (k, n)."""
    return n >= 2 * PANEL and m >= ROWS and k >= 16 and m * n * k >= _LEAST_TRANSPOSED and -n % PANEL <= n // _EDGE


def dot(a: Any, b: Any, bias: Any = None) -> Any:
    """a @ b + bias of matrices; None where OpenBLAS does as well."""
    m, k = a.shape
    n = b.shape[1]
    if not _pays(m, k, n):
        return None
    if a.dtype != _FLOAT32 or b.dtype != _FLOAT32 or (bias is not None and bias.dtype != _FLOAT32):
        return None
    left, right = _as_stored(a), _as_stored(b)
    if left is None or right is None or (not right[1] and m * n * k < _LEAST):
        return None
    out = empty((m, n), _FLOAT32)
    if bias is None:
        return product(left[0], right[0], out, left[1], right[1])
    return product(left[0], right[0], out, left[1], right[1], contiguous(bias))


def _rows(x: Any) -> Any:
    return x if x.ndim == 2 else reshaped(x, prod(x.shape[:-1]), x.shape[-1])


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    if weight.ndim != 2 or input.ndim < 1 or input.shape[-1] != weight.shape[1]:
        return NotImplemented
    if bias is not None and bias.shape != weight.shape[:1]:
        return NotImplemented
    if not _pays(prod(input.shape[:-1]), *weight.shape[::-1]):
        return NotImplemented  # before anything is copied
    out = dot(_rows(input), weight.T, bias)
    if out is None:
        return NotImplemented
    return out if input.ndim == 2 else out.reshape(*input.shape[:-1], weight.shape[0])


def input_grad(g: Any, weight: Any) -> Any:
    if weight.ndim != 2 or not g.ndim or not _pays(prod(g.shape[:-1]), *weight.shape):
        return NotImplemented
    out = dot(_rows(g), weight)
    if out is None:
        return NotImplemented
    return out if g.ndim == 2 else out.reshape(*g.shape[:-1], weight.shape[1])


def weight_grad(g: Any, input: Any, weight_shape: tuple[int, ...]) -> Any:
    if len(weight_shape) != 2 or not g.ndim or not _pays(weight_shape[0], prod(g.shape[:-1]), weight_shape[1]):
        return NotImplemented
    if turned(input, weight_shape[0]):
        g, input = g.transpose(1, 0, 2), input.transpose(1, 0, 2)
    out = dot(_rows(g).T, _rows(input))
    return NotImplemented if out is None else out


def matmul(input: Any, other: Any) -> Any:
    if other.ndim != 2 or input.ndim < 2 or input.shape[-1] != other.shape[0]:
        return NotImplemented
    out = dot(_rows(input), other)
    if out is None:
        return NotImplemented
    return out if input.ndim == 2 else out.reshape(*input.shape[:-1], other.shape[1])


SERVES: dict[str, Callable[..., Any]] = {
    "linear": linear,
    "linear.grad.input": input_grad,
    "linear.grad.weight": weight_grad,
    "matmul": matmul,
}
