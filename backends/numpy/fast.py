"""Compiled kernels, where the extra `fast` (numba) is installed: one pass over memory for NumPy's many.

A kernel is a plain function of this file. It rounds after the same operations in the same order as its NumPy twin in
steps.py, so the results are equal to the last bit, and nobody can see which of the two ran. Turned down: fused
multiply-add and the flags of "fast math"; over 100,000 floats they gain nothing, as memory and the divisions take the
time.

numba is imported, and a kernel compiled, at the first arrays of LARGE elements: that takes most of a second in a
process. Machine code is kept in `__pycache__` beside this file, or, where that is read-only, in the user's cache
(numba's NUMBA_CACHE_DIR says where). CHAINRULE_FAST=0 leaves it all to NumPy.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["KERNELS", "LARGE", "compiled"]

#: elements from which numba is worth importing
LARGE = 4096


# Options come as factors: sign is -1 to climb, shrink 1 for no decay. A condition that is the same for all elements
# becomes a selection of lanes; a factor 0 would not do, as 0 times infinity is no number.


def _sgd(p: Any, g: Any, sign: float, decay: float, lr: float) -> None:
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = p[i] * decay + d
        p[i] = p[i] - d * lr


def _momentum(
    p: Any,
    g: Any,
    b: Any,
    sign: float,
    decay: float,
    lr: float,
    momentum: float,
    share: float,
    first: bool,
    nesterov: bool,
) -> None:
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = p[i] * decay + d
        velocity = d if first else b[i] * momentum + d * share
        b[i] = velocity
        p[i] = p[i] - (d + velocity * momentum if nesterov else velocity) * lr


def _adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    sign: float,
    decay: float,
    shrink: float,
    beta1: float,
    share1: float,
    beta2: float,
    share2: float,
    floor: float,
    lr: float,
) -> None:
    for i in range(p.size):
        d, start = g[i] * sign, p[i] * shrink
        if decay != 0:
            d = d + start * decay
        mean = m[i] * beta1 + d * share1
        square = v[i] * beta2 + d * d * share2
        m[i] = mean
        v[i] = square
        p[i] = start - mean / (np.sqrt(square) + floor) * lr


def _amsgrad(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    top: Any,
    sign: float,
    decay: float,
    shrink: float,
    beta1: float,
    share1: float,
    beta2: float,
    share2: float,
    floor: float,
    lr: float,
) -> None:
    for i in range(p.size):
        d, start = g[i] * sign, p[i] * shrink
        if decay != 0:
            d = d + start * decay
        mean = m[i] * beta1 + d * share1
        square = v[i] * beta2 + d * d * share2
        m[i] = mean
        v[i] = square
        largest = top[i]
        if not (largest > square or largest != largest):  # np.maximum: what is no number stays so
            largest = square
        top[i] = largest
        p[i] = start - mean / (np.sqrt(largest) + floor) * lr


#: the function, how many arrays it takes (the second is only read), how many flags come last
KERNELS: dict[str, tuple[Callable[..., None], int, int]] = {
    "sgd": (_sgd, 2, 0),
    "momentum": (_momentum, 3, 2),
    "adam": (_adam, 4, 0),
    "amsgrad": (_amsgrad, 5, 0),
}

_DTYPES = {np.dtype(np.float32), np.dtype(np.float64)}
_ready: dict[Any, Any] = {}


def compiled(name: str, *arrays: Any) -> Any:
    """The kernel of that name for these flat arrays, the one that is only read second; None: NumPy has to do."""
    first = arrays[0]
    dtype = first.dtype
    key = name, dtype
    if key not in _ready:
        if first.size < LARGE:
            return None
        _ready[key] = _loaded(name, dtype)
    kernel = _ready[key]
    if kernel is None:
        return None
    for a in arrays:
        flags = a.flags
        if a.dtype != dtype or not flags.c_contiguous or not (flags.writeable or a is arrays[1]):
            return None
    return kernel


def _loaded(name: str, dtype: Any) -> Any:
    if dtype not in _DTYPES or os.environ.get("CHAINRULE_FAST") == "0":
        return None
    try:
        import numba
    except Exception as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name == "numba"):
            _note(repr(error))
        return None
    try:
        return _compile(numba, name, dtype)
    except Exception as error:
        _note(repr(error))
        return None


def _compile(numba: Any, name: str, dtype: Any) -> Any:
    function, arrays, flags = KERNELS[name]
    number = numba.from_dtype(dtype)
    # Not aligned: views at any address are admitted, and those at a good one are read as fast.
    kinds = [numba.types.Array(number, 1, "C", readonly=i == 1, aligned=False) for i in range(arrays)]
    numbers = [number] * (function.__code__.co_argcount - arrays - flags)
    signature = numba.void(*kinds, *numbers, *[numba.boolean] * flags)
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(signature, cache=True, **options)(function)
    except Exception:  # no place for the cache, or it is damaged; what else is wrong is so without it too
        return numba.njit(signature, **options)(function)


@functools.cache
def _note(error: str) -> None:
    """Said once per error."""
    warnings.warn(
        f"numba is installed but does not work; NumPy's own, slower kernels serve instead: {error} "
        "(CHAINRULE_FAST=0 leaves numba alone)",
        UserWarning,
        stacklevel=2,
    )
