"""`where` and relu on the host, by bits.

np.where branches at each element, and a processor guesses the branch of a random mask wrongly half the time: ten times
slower than arithmetic. A mask of all bits set or none, and `&` and `^` on the floats' bits, choose without branches.
Turned down: multiplying by the mask, which makes NaN of an infinite gradient that is not chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .memory import LARGE, empty_like

__all__ = ["CHOICE"]

_BITS = {np.dtype(f"f{n}"): np.dtype(f"i{n}") for n in (2, 4, 8)}
_ZERO = {kind: np.zeros((), kind) for kind in _BITS}
#: below this many elements np.where is quicker
_SMALL = 1024


def _bits(x: Any, dtype: Any, like: Any) -> Any:
    """The bits of an array of the dtype and shape, or of a number; None for anything else."""
    if type(x) is np.ndarray:
        return x.view(_BITS[dtype]) if x.dtype == dtype and x.shape == like.shape else None
    return np.asarray(x, dtype).view(_BITS[dtype]) if type(x) in (int, float, bool) else None


def _where(condition: Any, input: Any, other: Any) -> Any:
    array = input if type(input) is np.ndarray else other
    if type(condition) is not np.ndarray or condition.size < _SMALL or condition.dtype != bool:
        return np.where(condition, input, other)
    if type(array) is not np.ndarray or array.dtype not in _BITS:
        return np.where(condition, input, other)
    dtype = array.dtype
    a, b = _bits(input, dtype, condition), _bits(other, dtype, condition)
    if a is None or b is None:
        return np.where(condition, input, other)
    if condition.size * dtype.itemsize < LARGE:
        mask = condition.astype(_BITS[dtype])
    else:
        mask = empty_like(condition, _BITS[dtype])
        np.copyto(mask, condition)
    if not b.ndim and not b:  # 0.0, whose bits are all 0
        np.negative(mask, mask)
        np.bitwise_and(mask, a, mask)
    elif not a.ndim and not a:
        np.subtract(mask, 1, mask)
        np.bitwise_and(mask, b, mask)
    else:
        np.negative(mask, mask)
        np.bitwise_and(mask, a ^ b, mask)
        np.bitwise_xor(mask, b, mask)
    return mask.view(dtype)


def _relu(input: Any) -> Any:
    zero = _ZERO.get(input.dtype, 0)
    return np.maximum(input, zero) if input.nbytes < LARGE else np.maximum(input, zero, out=empty_like(input))


def _relu_grad(g: Any, out: Any) -> Any:
    return _where(out <= _ZERO.get(out.dtype, 0), 0, g)


CHOICE: dict[str, Callable[..., Any]] = {"where": _where, "relu": _relu, "relu.grad": _relu_grad}
