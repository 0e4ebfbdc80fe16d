"""Updates of optimizers on flat arrays, in place: the formulas of optim/, without arrays for what lies between.

They go block by block, so that a block's scratch memory stays in the cache; each line is one pass over a block. Where
there are compiled kernels, those do the whole in one pass, to the same bits (compiled/optimizers.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import compiled

__all__ = ["PLAIN", "STEPS"]

_BLOCK = 1 << 16
_add, _sub, _mul, _div, _sqrt, _neg = np.add, np.subtract, np.multiply, np.divide, np.sqrt, np.negative


def _blocks(*arrays: Any) -> Iterator[tuple[Any, ...]]:
    """The arrays in pieces, with a scratch array of the piece's size in front."""
    size, dtype = arrays[0].size, arrays[0].dtype
    scratch = np.empty(min(size, _BLOCK), dtype)
    if size <= _BLOCK:
        yield scratch, *arrays
        return
    for i in range(0, size, _BLOCK):
        piece = [a[i : i + _BLOCK] for a in arrays]
        yield scratch[: piece[0].size], *piece


def _sgd(
    p: Any,
    g: Any,
    buffer: Any = None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
    first: bool,
) -> None:
    for t, p_, g_, *buffers in _blocks(p, g) if buffer is None else _blocks(p, g, buffer):
        if maximize:
            g_ = _neg(g_, t)
        if weight_decay:
            # t may hold g already
            g_ = _add(g_, p_ * weight_decay, t) if maximize else _add(_mul(p_, weight_decay, t), g_, t)
        if buffers:
            (b,) = buffers
            if first:
                b[...] = g_
            else:
                _mul(b, momentum, b)
                _add(b, g_ if dampening == 0 else g_ * (1 - dampening), b)
            g_ = _add(g_, b * momentum, t) if nesterov else b
        _sub(p_, _mul(g_, lr, t), p_)


def _adam(
    p: Any,
    g: Any,
    mean: Any,
    square: Any,
    largest: Any = None,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    step: int,
) -> None:
    # The bias corrections as factors: m̂ / (√v̂ + eps) = (root / (1 - β₁ᵗ)) m / (√v + eps root) with root = √(1 - β₂ᵗ).
    root = math.sqrt(1 - beta2**step)
    size, floor = lr * root / (1 - beta1**step), eps * root
    state = (mean, square) if largest is None else (mean, square, largest)
    for t, p_, g_, m, v, *top in _blocks(p, g, *state):
        if maximize:
            g_ = -g_
        if weight_decay:
            if decoupled:
                _mul(p_, 1 - lr * weight_decay, p_)
            else:
                g_ = g_ + _mul(p_, weight_decay, t)
        _mul(m, beta1, m)
        _add(m, _mul(g_, 1 - beta1, t), m)
        _mul(v, beta2, v)
        _mul(g_, g_, t)
        _add(v, _mul(t, 1 - beta2, t), v)
        if top:
            v = np.maximum(top[0], v, out=top[0])
        _sqrt(v, t)
        _add(t, floor, t)
        _div(m, t, t)
        _sub(p_, _mul(t, size, t), p_)


#: without compiled kernels
PLAIN: dict[str, Callable[..., Any]] = {"adam": _adam, "sgd": _sgd}

STEPS = PLAIN | {name: compiled.chosen(name, PLAIN.get(name), compiled.STEPS) for name in compiled.STEPS}
