"""Kernels of softmax and log_softmax: every pass after the first in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["SOFTMAX", "shifted"]


def shifted(x: Any, dim: int) -> Any:
    """`x` minus its maximum along `dim`, as a new array. Rows that are -inf throughout become NaN."""
    return np.subtract(x, np.maximum.reduce(x, axis=dim, keepdims=True))


def _served(x: Any, dim: int, dtype: Any) -> bool:
    return dtype is None and x.dtype.kind == "f" and x.dtype.itemsize > 2 and x.size > 0 and -x.ndim <= dim < x.ndim


def softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    if not _served(input, dim, dtype):
        return NotImplemented
    out = shifted(input, dim)
    np.exp(out, out=out)
    return np.divide(out, np.add.reduce(out, axis=dim, keepdims=True), out=out)


def softmax_grad(g: Any, out: Any, dim: int) -> Any:
    if not out.ndim:
        return g * 0
    if dim in (-1, out.ndim - 1):
        inner = np.vecdot(g, out)[..., None]  # one pass, no product in memory
        result = g - inner
    else:
        product = g * out
        result = np.subtract(g, np.add.reduce(product, axis=dim, keepdims=True), out=product)
    return np.multiply(result, out, out=result)


def log_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    if not _served(input, dim, dtype):
        return NotImplemented
    out = shifted(input, dim)
    total = np.add.reduce(np.exp(out), axis=dim, keepdims=True)
    return np.subtract(out, np.log(total, out=total), out=out)


def log_softmax_grad(g: Any, out: Any, dim: int) -> Any:
    if not out.ndim:
        return g * 0
    result = np.exp(out)
    np.multiply(result, np.add.reduce(g, axis=dim, keepdims=True), out=result)
    return np.subtract(g, result, out=result)


softmax.partial = log_softmax.partial = True  # type: ignore[attr-defined]

SOFTMAX: dict[str, Callable[..., Any]] = {
    "softmax": softmax,
    "softmax.grad": softmax_grad,
    "log_softmax": log_softmax,
    "log_softmax.grad": log_softmax_grad,
}
