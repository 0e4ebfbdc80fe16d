"""Special functions on the host: the formulas of backends/special.py in blocks that stay in the cache.

In float32 erf has a formula of its own, one rational function for the whole line, an eighth of the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import special
from .choice import CHOICE

__all__ = ["SPECIAL"]

_BLOCK = 8192


class _Namespace:
    """NumPy with the branchless `where`."""

    where: Any = staticmethod(CHOICE["where"])

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        setattr(self, name, found)
        return found


_xp = _Namespace()


def _in_blocks(f: Callable[..., Any], x: Any) -> Any:
    """`f(block, out)` for each block of an array, in the order of memory, which the result keeps."""
    order = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i]))
    ordered = x.transpose(order)
    flat, target = ordered.reshape(-1), np.empty(x.size, x.dtype)
    for start in range(0, flat.size, _BLOCK):
        f(flat[start : start + _BLOCK], target[start : start + _BLOCK])
    return target.reshape(ordered.shape).transpose(np.argsort(order))


def _blocked(formula: Callable[..., Any]) -> Callable[..., Any]:
    def kernel(input: Any) -> Any:
        if input.size <= _BLOCK:
            return formula(_xp, input)

        def block(x: Any, out: Any) -> None:
            out[...] = formula(_xp, x)

        return _in_blocks(block, input)

    return kernel


# erf(x) / x as a rational function of x² for |x| < 3.9, where erf is 1 to float32: a least-squares fit of the relative
# error, iterated towards its minimax; 1.7e-8 in exact arithmetic, 3.5e-7 in float32. Highest powers first.
_END = 3.9
_OVER = [
    2.0664802475873323e-06,
    0.0002850619246293382,
    0.0037383245017486746,
    0.05266801746506475,
    0.189666294400867,
    1.1283791476640561,
]
_UNDER = [
    3.827007853115785e-05,
    0.0011573713161930827,
    0.014914233921286404,
    0.11381874327010025,
    0.501420158822647,
    1.0,
]
_SINGLE = np.dtype("float32")


def _horner(z: Any, coefficients: Sequence[float]) -> Any:
    total = z * np.float32(coefficients[0])
    for c in coefficients[1:-1]:
        total += np.float32(c)
        total *= z
    total += np.float32(coefficients[-1])
    return total


def _erf_single(x: Any, out: Any) -> None:
    """erf of a block of float32, to `out`, which may be x."""
    x = np.clip(x, np.float32(-_END), np.float32(_END))
    z = x * x
    x *= _horner(z, _OVER)
    x /= _horner(z, _UNDER)
    np.clip(x, np.float32(-1), np.float32(1), out)


_erf_general = _blocked(special.erf)


def _erf(input: Any) -> Any:
    if input.dtype != _SINGLE or not input.ndim:
        return _erf_general(input)
    return _in_blocks(_erf_single, input)


def _gelu_single(x: Any, out: Any) -> None:
    t = x * np.float32(math.sqrt(0.5))
    _erf_single(t, t)
    t += np.float32(1)
    t *= np.float32(0.5)
    np.multiply(t, x, out)


def _gelu(input: Any, approximate: str = "none") -> Any:
    if approximate != "none" or input.dtype != _SINGLE or not input.ndim:
        return NotImplemented
    return _in_blocks(_gelu_single, input)


_gelu.partial = True  # type: ignore[attr-defined]


SPECIAL: dict[str, Callable[..., Any]] = {
    "erf": _erf,
    "gelu": _gelu,
    **{name: _blocked(getattr(special, name)) for name in ("erfc", "erfinv", "ndtr", "lgamma", "digamma")},
}
