"""The Euclidean norm of a whole array: one pass, by blocks whose sums are added in float64 in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .build import kernel
from .elementwise import flat
from .listed import made
from .pool import parallel

__all__ = ["SERVES"]

f4 = np.float32
_BLOCK = 4096


@kernel("f4[:] f8[:] i8 i8", fast=True)
def _squares(x, sums, start, stop):
    for b in range(start, stop):
        part = x[b * _BLOCK : (b + 1) * _BLOCK]
        total = f4(0)
        for i in range(part.size):
            total += part[i] * part[i]
        sums[b] = total


def vector_norm(input: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    if ord != 2 or dim is not None or keepdim:
        return NotImplemented
    vectors = flat(input)
    if vectors is None:
        return NotImplemented
    sums = np.empty(-(-input.size // _BLOCK))
    parallel(_squares, sums.size, *vectors, sums, least=32)
    return made(_root, sums)


def _root(sums: Any) -> Any:
    return f4(math.sqrt(sums.sum()))


SERVES: dict[str, Callable[..., Any]] = {"vector_norm": vector_norm}
