"""Matrix products on NumPy."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .products import dot, matmul

__all__ = ["LINALG"]


def _matmul(input: Any, other: Any) -> Any:
    """np.matmul, made fit for small matrices, for stacks times one matrix, and for 16-bit floats."""
    kind = input.dtype
    if kind.itemsize == 2 and kind.kind not in "iu":  # BLAS has none, and NumPy's loop adds up in 16 bits
        return _matmul(input.astype(np.float32), other.astype(np.float32)).astype(kind)
    if kind.kind == "f" and 0 < input.ndim < 3 and 0 < other.ndim < 3:
        return dot(input, other)  # np.dot has half of np.matmul's overhead
    if input.ndim > 2 and other.ndim == 2:  # one product for the whole stack instead of one per matrix
        *stack, k = input.shape
        return dot(input.reshape(prod(stack), k), other).reshape(*stack, other.shape[1])
    return matmul(input, other)


LINALG: dict[str, Callable[..., Any]] = {"matmul": _matmul}
