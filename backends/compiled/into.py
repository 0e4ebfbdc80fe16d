"""Elementwise ops that write into their first argument: ReLU and addition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .build import kernel
from .pool import parallel

__all__ = ["SERVES"]

f4 = np.float32
_FLOATS = frozenset({np.dtype("float32"), np.dtype("float64")})
_LEAST = 1 << 15


@kernel("T[:] i8 i8", T="f4 f8", fast=True)
def _relu(x, start, stop):
    x = x[start:stop]
    for i in range(x.size):
        x[i] = f4(0) if x[i] <= f4(0) else x[i]


@kernel("T[:] T[:] i8 i8", T="f4 f8")
def _add(x, y, start, stop):
    x, y = x[start:stop], y[start:stop]
    for i in range(x.size):
        x[i] += y[i]


def _flat(*arrays: Any) -> Any:
    """Views of dense arrays that lie alike in memory, in the order of the memory; None where there are none."""
    first = arrays[0]
    order = sorted(range(first.ndim), key=lambda d: -first.strides[d])
    found = []
    for a in arrays:
        a = a.transpose(order)
        if a.dtype != first.dtype or not a.flags.c_contiguous:
            return None
        found.append(a.reshape(-1))
    return found


def relu_into(x: Any) -> bool:
    flat = _flat(x) if x.dtype in _FLOATS else None
    if flat is None:
        return False
    parallel(_relu, x.size, *flat, least=_LEAST)
    return True


def add_into(x: Any, y: Any) -> bool:
    flat = _flat(x, y) if x.dtype in _FLOATS else None
    if flat is None:
        return False
    parallel(_add, x.size, *flat, least=_LEAST)
    return True


SERVES: dict[str, Callable[..., bool]] = {"add": add_into, "relu": relu_into}
