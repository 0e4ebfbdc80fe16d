"""Steps of optimizers on flat arrays, in place: one pass over memory for NumPy's many.

A kernel rounds after the same operations in the same order as the formula in optim/ (for sgd and adam: as the steps of
numpy/steps.py) does with NumPy, so the results are equal to the last bit, and nobody can see which of the two ran.
Turned down: fused multiply-add and the flags of "fast math"; over arrays larger than the cache they gain nothing, as
memory and the divisions take the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..recorder import host
from .build import Kernel, kernel
from .listed import STATE, following, number
from .pool import parallel

__all__ = ["SERVES"]

#: elements that are worth a second thread
_LEAST = 1 << 16

# Options come as factors: sign is -1 to climb, shrink 1 for no decay. A condition that is the same for all elements
# becomes a selection of lanes; a factor 0 would not do, as 0 times infinity is no number.


@kernel("T[:] T[:] T T T i8 i8", T="f4 f8")
def _sgd(p, g, sign, decay, lr, start, stop):
    p, g = p[start:stop], g[start:stop]
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = p[i] * decay + d
        p[i] = p[i] - d * lr


@kernel("T[:] T[:] T[:] T T T T T i8 i8 i8 i8", T="f4 f8")
def _momentum(p, g, b, sign, decay, lr, momentum, share, first, nesterov, start, stop):
    p, g, b = p[start:stop], g[start:stop], b[start:stop]
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = p[i] * decay + d
        velocity = d if first else b[i] * momentum + d * share
        b[i] = velocity
        p[i] = p[i] - (d + velocity * momentum if nesterov else velocity) * lr


@kernel("T[:] T[:] T[:] T[:] T T T T T T T T T i8 i8", T="f4 f8")
def _adam(p, g, m, v, sign, decay, shrink, beta1, share1, beta2, share2, floor, lr, start, stop):
    p, g, m, v = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
    for i in range(p.size):
        d, old = g[i] * sign, p[i] * shrink
        if decay != 0:
            d = d + old * decay
        mean = m[i] * beta1 + d * share1
        square = v[i] * beta2 + d * d * share2
        m[i] = mean
        v[i] = square
        p[i] = old - mean / (math.sqrt(square) + floor) * lr


@kernel("T[:] T[:] T[:] T[:] T[:] T T T T T T T T T i8 i8", T="f4 f8")
def _amsgrad(p, g, m, v, top, sign, decay, shrink, beta1, share1, beta2, share2, floor, lr, start, stop):
    p, g, m, v, top = p[start:stop], g[start:stop], m[start:stop], v[start:stop], top[start:stop]
    for i in range(p.size):
        d, old = g[i] * sign, p[i] * shrink
        if decay != 0:
            d = d + old * decay
        mean = m[i] * beta1 + d * share1
        square = v[i] * beta2 + d * d * share2
        m[i] = mean
        v[i] = square
        largest = top[i]
        largest = largest if largest > square or largest != largest else square  # np.maximum: NaN stays
        top[i] = largest
        p[i] = old - mean / (math.sqrt(largest) + floor) * lr


@kernel("T[:] T[:] T[:] T T T T i8 i8", T="f4 f8")
def _adagrad(p, g, total, sign, decay, lr, eps, start, stop):
    p, g, total = p[start:stop], g[start:stop], total[start:stop]
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = d + p[i] * decay
        square = total[i] + d * d
        total[i] = square
        p[i] = p[i] - d * lr / (math.sqrt(square) + eps)


@kernel("T[:] T[:] T[:] T[:] T T T T T T i8 i8", T="f4 f8")
def _adadelta(p, g, squares, moves, sign, decay, lr, rho, share, eps, start, stop):
    p, g, squares, moves = p[start:stop], g[start:stop], squares[start:stop], moves[start:stop]
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = d + p[i] * decay
        square = squares[i] * rho + d * d * share
        moved = moves[i]
        delta = math.sqrt(moved + eps) / math.sqrt(square + eps) * d
        squares[i] = square
        moves[i] = moved * rho + delta * delta * share
        p[i] = p[i] - delta * lr


@kernel("T[:] T[:] T[:] T T T T T T i8 i8", T="f4 f8")
def _rmsprop(p, g, squares, sign, decay, lr, alpha, share, eps, start, stop):
    p, g, squares = p[start:stop], g[start:stop], squares[start:stop]
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = d + p[i] * decay
        square = squares[i] * alpha + d * d * share
        squares[i] = square
        p[i] = p[i] - d / (math.sqrt(square) + eps) * lr


@kernel("T[:] T[:] T[:] T[:] T T T T T T T i8 i8", T="f4 f8")
def _rmsprop_momentum(p, g, squares, b, sign, decay, lr, alpha, share, eps, momentum, start, stop):
    p, g, squares, b = p[start:stop], g[start:stop], squares[start:stop], b[start:stop]
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = d + p[i] * decay
        square = squares[i] * alpha + d * d * share
        squares[i] = square
        velocity = b[i] * momentum + d / (math.sqrt(square) + eps)
        b[i] = velocity
        p[i] = p[i] - velocity * lr


@kernel("T[:] T[:] T[:] T[:] T T T T T T T i8 i8", T="f4 f8")
def _adamax(p, g, m, top, sign, decay, lr, beta1, share1, beta2, eps, start, stop):
    p, g, m, top = p[start:stop], g[start:stop], m[start:stop], top[start:stop]
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = d + p[i] * decay
        mean = m[i] * beta1 + d * share1
        m[i] = mean
        largest, size = top[i] * beta2, abs(d) + eps
        largest = largest if largest > size or largest != largest else size
        top[i] = largest
        p[i] = p[i] - mean * lr / largest


@kernel("T[:] T[:] T[:] T[:] T T T T T T T T T T T i8 i8", T="f4 f8")
def _nadam(
    p, g, m, v, sign, decay, shrink, beta1, share1, beta2, share2, eps, ahead, here, correction, start, stop
):  # fmt: skip
    p, g, m, v = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = d + p[i] * decay
        mean = m[i] * beta1 + d * share1
        square = v[i] * beta2 + d * d * share2
        m[i] = mean
        v[i] = square
        p[i] = p[i] * shrink - (d * here + mean * ahead) / (math.sqrt(square / correction) + eps)


@kernel("T[:] T[:] T[:] T[:] T T T T T T T T T T i8 i8 i8", T="f4 f8")
def _radam(
    p, g, m, v, sign, decay, shrink, beta1, share1, beta2, share2, eps, lr, factor, rectified, start, stop
):  # fmt: skip
    p, g, m, v = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
    for i in range(p.size):
        d = g[i] * sign
        if decay != 0:
            d = d + p[i] * decay
        mean = m[i] * beta1 + d * share1
        square = v[i] * beta2 + d * d * share2
        m[i] = mean
        v[i] = square
        move = mean * lr
        if rectified:
            move = move * (factor / (math.sqrt(square) + eps))
        p[i] = p[i] * shrink - move


@kernel("T[:] T[:] T[:] T T T T T T T T i8 i8", T="f4 f8")
def _lion(p, g, m, sign, shrink, beta1, share1, beta2, share2, lr, zero, start, stop):
    p, g, m = p[start:stop], g[start:stop], m[start:stop]
    for i in range(p.size):
        d, mean = g[i] * sign, m[i]
        way = mean * beta1 + d * share1
        m[i] = mean * beta2 + d * share2
        p[i] = p[i] * shrink - (lr if way > zero else (-lr if way < zero else zero))


# -- what takes the names of steps -------------------------------------------------------------------------------------


def _run(step: Kernel, arrays: tuple[Any, ...], numbers: Callable[..., Any], options: dict[str, Any]) -> Any:
    """The kernel over flat arrays, of which the second is only read; NotImplemented for arrays that it cannot take.

    `numbers(**options)` are its factors; in a recorded step they are worked out anew each time.
    """
    dtype = arrays[0].dtype
    if not step.serves(dtype):
        return NotImplemented
    for a in arrays:
        flags = a.flags
        if (
            a.dtype != dtype
            or not (flags.c_contiguous and flags.aligned)
            or not (flags.writeable or a is arrays[1])
            or a.ndim != 1
        ):
            return NotImplemented
    given = numbers(**options) if STATE.calls is None else following(host, numbers, options)
    parallel(step, arrays[0].size, *arrays, *given, least=_LEAST, step=256)
    return None


def _sign(maximize: bool) -> float:
    return -1.0 if maximize else 1.0


def _of_sgd(*, lr, weight_decay, maximize, **_):
    return _sign(maximize), weight_decay, lr


def _of_momentum(*, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    return _sign(maximize), weight_decay, lr, momentum, 1 - dampening, int(first), int(nesterov)


def sgd(p: Any, g: Any, buffer: Any = None, **options: Any) -> Any:
    if buffer is None:
        return _run(_sgd, (p, g), _of_sgd, options)
    return _run(_momentum, (p, g, buffer), _of_momentum, options)


def _of_adam(*, lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step):
    root = math.sqrt(1 - beta2**step)
    decay, shrink = (0.0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    numbers = _sign(maximize), decay, shrink, beta1, 1 - beta1, beta2, 1 - beta2, eps * root
    return *numbers, lr * root / (1 - beta1**step)


def adam(p: Any, g: Any, *state: Any, **options: Any) -> Any:
    return _run(_amsgrad if len(state) == 3 else _adam, (p, g, *state), _of_adam, options)


def _of_adagrad(*, lr, eps, weight_decay, maximize):
    return _sign(maximize), weight_decay, lr, eps


def adagrad(p: Any, g: Any, total: Any, **options: Any) -> Any:
    return _run(_adagrad, (p, g, total), _of_adagrad, options)


def _of_adadelta(*, lr, rho, eps, weight_decay, maximize):
    return _sign(maximize), weight_decay, lr, rho, 1 - rho, eps


def adadelta(p: Any, g: Any, square: Any, moved: Any, **options: Any) -> Any:
    return _run(_adadelta, (p, g, square, moved), _of_adadelta, options)


def _of_rmsprop(*, lr, alpha, eps, momentum, centered, weight_decay, maximize):
    numbers = _sign(maximize), weight_decay, lr, alpha, 1 - alpha, eps
    return (*numbers, momentum) if momentum > 0 else numbers


def rmsprop(p: Any, g: Any, *state: Any, **options: Any) -> Any:
    if options["centered"]:
        return NotImplemented
    moving = number(options["momentum"]) > 0
    return _run(_rmsprop_momentum if moving else _rmsprop, (p, g, *state), _of_rmsprop, options)


def _of_adamax(*, lr, beta1, beta2, eps, weight_decay, maximize):
    return _sign(maximize), weight_decay, lr, beta1, 1 - beta1, beta2, eps


def adamax(p: Any, g: Any, mean: Any, top: Any, **options: Any) -> Any:
    return _run(_adamax, (p, g, mean, top), _of_adamax, options)


def _of_nadam(*, ahead, here, beta1, beta2, eps, shrink, weight_decay, maximize, correction):
    return _sign(maximize), weight_decay, shrink, beta1, 1 - beta1, beta2, 1 - beta2, eps, ahead, here, correction


def nadam(p: Any, g: Any, *state: Any, **options: Any) -> Any:
    return _run(_nadam, (p, g, *state), _of_nadam, options)


def _of_radam(*, lr, beta1, beta2, eps, shrink, weight_decay, maximize, rectified):
    numbers = _sign(maximize), weight_decay, shrink, beta1, 1 - beta1, beta2, 1 - beta2, eps, lr
    return *numbers, rectified or 0.0, int(rectified is not None)


def radam(p: Any, g: Any, *state: Any, **options: Any) -> Any:
    return _run(_radam, (p, g, *state), _of_radam, options)


def _of_lion(*, lr, beta1, beta2, weight_decay, maximize):
    return _sign(maximize), 1 - lr * weight_decay, beta1, 1 - beta1, beta2, 1 - beta2, lr, 0.0


def lion(p: Any, g: Any, mean: Any, **options: Any) -> Any:
    return _run(_lion, (p, g, mean), _of_lion, options)


SERVES: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (adadelta, adagrad, adam, adamax, lion, nadam, radam, rmsprop, sgd)
}
