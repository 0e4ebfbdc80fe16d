"""Products of matrices by NumPy's BLAS, on threads of ours.

OpenBLAS's own threads go on spinning after a product, in the way of everybody else's: on a busy machine a training step
of a small network takes ten times as long with them. So our products run with OpenBLAS at one thread: small ones in the
caller, large ones cut in as many pieces as there are threads. Another BLAS is left to its own ways.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled.listed import ACTIVE, do
from ..compiled.pool import run
from ..threads import ALONE, get_threads
from .memory import empty

__all__ = ["alone", "dot", "into", "matmul", "pieces"]

#: multiplications up to which OpenBLAS stays in the caller's thread anyhow (a matrix and a vector: numbers)
_SMALL, _SMALL_VECTOR = 1 << 18, 1 << 13
#: multiplications that are worth a second thread
_LARGE = 1 << 23


def alone(a: Any, b: Any) -> bool:
    """Whether OpenBLAS stays in the caller's thread anyhow."""
    if b.ndim < 2 or a.ndim < 2:
        return max(a.size, b.size) <= _SMALL_VECTOR
    return a.size * b.shape[1] <= _SMALL


def dot(a: Any, b: Any, out: Any = None) -> Any:
    """np.dot of matrices or vectors."""
    if not ACTIVE[0]:
        return into(a, b, out)
    if out is None:
        out = empty((*a.shape[:-1], *b.shape[1:]) if b.ndim > 1 else a.shape[:-1], np.result_type(a, b))
    return do(into, a, b, out)


def into(a: Any, b: Any, out: Any) -> Any:
    """`dot` itself."""
    if alone(a, b):
        return np.dot(a, b, out)
    with ALONE:
        count = _threads(a, b)
        if count < 2:
            return np.dot(a, b, out)
        if out is None:
            out = np.empty((len(a), b.shape[1]), np.result_type(a, b))
        run(np.matmul, cut(a, b, out, count))
    return out


def _threads(a: Any, b: Any) -> int:
    """How many threads share a product."""
    if b.ndim < 2 or a.ndim < 2 or a.dtype.kind != "f":
        return 1
    return min(get_threads(), a.size * b.shape[1] // _LARGE)


def cut(a: Any, b: Any, out: Any, count: int) -> list[tuple[Any, Any, Any]]:
    """The product of two matrices as `count` products, by rows or by columns of the result."""
    if len(a) >= b.shape[1]:
        step = -(-len(a) // count)
        return [(a[i : i + step], b, out[i : i + step]) for i in range(0, len(a), step)]
    step = -(-b.shape[1] // count)
    return [(a, b[:, i : i + step], out[:, i : i + step]) for i in range(0, b.shape[1], step)]


def pieces(a: Any, b: Any, out: Any) -> list[tuple[Any, Any, Any]]:
    """What `into` multiplies."""
    count = 1 if alone(a, b) else _threads(a, b)
    return [(a, b, out)] if count < 2 else cut(a, b, out, count)


def matmul(a: Any, b: Any, out: Any = None) -> Any:
    """np.matmul; stacks are cut along their first dimension."""
    if a.ndim < 3 or b.ndim != a.ndim or len(a) != len(b):
        if out is None and 0 < a.ndim < 3 and 0 < b.ndim < 3 and a.dtype.kind == "f":
            return dot(a, b)
        if a.size <= _SMALL_VECTOR and b.size <= _SMALL_VECTOR:
            return np.matmul(a, b, out=out)
        with ALONE:
            return np.matmul(a, b, out=out)
    work = a.size * b.shape[-1]
    if work <= _SMALL:
        return np.matmul(a, b, out=out)
    with ALONE:
        count = min(get_threads(), len(a), work // _LARGE)
        stack = a.shape[:-2] if a.shape[:-2] == b.shape[:-2] else None
        if count < 2 or a.dtype.kind != "f" or stack is None:
            return np.matmul(a, b, out=out)
        if out is None:
            out = np.empty((*stack, a.shape[-2], b.shape[-1]), np.result_type(a, b))
        step = -(-len(a) // count)
        run(np.matmul, [(a[i : i + step], b[i : i + step], out[i : i + step]) for i in range(0, len(a), step)])
    return out
