"""Dropout of elements by hashes of a seed and of their positions: one pass, and no mask.

An element's number is the one that it has in C order. In memory of another order (channels-last) it is worked out from
up to three steps: of the outermost dimensions, of the next, of the innermost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..hashing import limit, words
from ..numpy.memory import empty_like
from ..recorder import host
from .build import kernel
from .elementwise import flat, memory_of
from .listed import STATE, following
from .mathematics import hashed
from .pool import parallel

__all__ = ["SERVES"]

f4 = np.float32
_LEAST = 1 << 17


@kernel("f4[:] f4[:] i8 i8 i8 f4 i8 i8", fast=True)
def _dropout(x, y, low, high, least, scale, start, stop):
    x, y = x[start:stop], y[start:stop]
    a, b, first, bound = np.uint32(low), np.uint32(high), np.uint32(start), np.uint32(least)
    for i in range(x.size):
        h = hashed(np.uint32(np.uint32(i) + first), a, b)
        y[i] = x[i] * scale if h >= bound else f4(0)


@kernel("f4[:,:] f4[:,:] i8 i8 i8 f4 i8 i8 i8 i8 i8 i8", fast=True)
def _dropout_moved(x, y, low, high, least, scale, rows, outer, inner, step, start, stop):
    x, y = x[start:stop], y[start:stop]
    a, b, bound, by = np.uint32(low), np.uint32(high), np.uint32(least), np.uint32(step)
    for r in range(len(x)):
        u, v = x[r], y[r]
        first = np.uint32((start + r) // rows * outer + (start + r) % rows * inner)
        for i in range(u.size):
            h = hashed(np.uint32(np.uint32(np.uint32(i) * by) + first), a, b)
            v[i] = u[i] * scale if h >= bound else f4(0)


@kernel("u1[:] i8 i8 i8 i8 i8")
def _keep(y, low, high, least, start, stop):
    y = y[start:stop]
    a, b, first, bound = np.uint32(low), np.uint32(high), np.uint32(start), np.uint32(least)
    for i in range(y.size):
        y[i] = np.uint8(1) if hashed(np.uint32(np.uint32(i) + first), a, b) >= bound else np.uint8(0)


def _steps(a: Any) -> tuple[int, int, int, int, int] | None:
    """How memory without gaps goes through the numbers of its elements: as (..., rows, width) with a step for each.

    (rows, width, outer, inner, step), or None where there are more than three.
    """
    numbers: list[int] = []
    width = 1
    for n in reversed(a.shape):
        numbers.insert(0, width)
        width *= n
    dims: list[list[int]] = []  # [size, step], neighbours joined
    for d in sorted(range(a.ndim), key=lambda d: (-a.strides[d], -a.shape[d])):
        if a.shape[d] == 1:
            continue
        if dims and dims[-1][1] == numbers[d] * a.shape[d]:
            dims[-1] = [dims[-1][0] * a.shape[d], numbers[d]]
        else:
            dims.append([a.shape[d], numbers[d]])
    if len(dims) > 3:
        return None
    (_, outer), (rows, inner), (width, step) = [[1, 0]] * (3 - len(dims)) + dims
    return rows, width, outer, inner, step


def _words(seed: Any) -> Any:
    return words(seed) if STATE.calls is None else following(host, words, {"seed": seed})


def dropout_by_seed(input: Any, seed: int, p: float) -> Any:
    vectors = flat(input)
    if vectors is None:
        return NotImplemented
    steps = None
    if not input.flags.c_contiguous:
        steps = _steps(input)
        if steps is None:
            return NotImplemented
    out = empty_like(input)
    (x,), y = vectors, memory_of(out)
    numbers = (*_words(seed), limit(p), 1 / (1 - p))
    if steps is None:
        parallel(_dropout, x.size, x, y, *numbers, least=_LEAST, step=256)
    else:
        rows, width, *by = steps
        x, y = x.reshape(-1, width), y.reshape(-1, width)
        parallel(_dropout_moved, len(x), x, y, *numbers, rows, *by, least=1 + _LEAST // width)
    return out


def keep_by_seed(input: Any, size: tuple[int, ...], seed: int, p: float) -> Any:
    mask = np.empty(size, bool)
    parallel(_keep, mask.size, mask.reshape(-1).view(np.uint8), *_words(seed), limit(p), least=2 * _LEAST, step=256)
    return mask


SERVES: dict[str, Callable[..., Any]] = {"dropout_by_seed": dropout_by_seed, "keep_by_seed": keep_by_seed}
