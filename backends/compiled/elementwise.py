"""Functions of one array (glu: of its halves), elementwise, in float32: forward and gradient are one pass each.

Arrays may lie in memory in any order of dimensions without gaps (channels-last, say): the pass is over the memory as it
lies, and the result lies like the input. What has gaps, or another order than what it meets, is copied first: a copy
and a pass are still less than the passes of NumPy's formula.

tanh, sqrt and the plain arithmetic are NumPy's own, which are as quick on one thread.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..numpy.memory import empty, empty_like
from . import Kept
from .build import Inlined, Kernel, inlined, kernel
from .listed import made
from .mathematics import erf, exp, expm1, log, log1p, sigmoid, softplus
from .pool import parallel

__all__ = ["SERVES", "flat", "memory_of"]

f4 = np.float32
_FLOAT32 = np.dtype(np.float32)
#: elements that are worth a second thread
_LEAST = 1 << 17


def flat(*arrays: Any) -> list[Any] | None:
    """The memory of float32 arrays of one shape and one order of dimensions, as vectors; None where there are gaps."""
    first = arrays[0]
    found, shape = [], first.shape
    for a in arrays:
        if type(a) is not np.ndarray or a.dtype is not _FLOAT32 or a.shape != shape:
            return None
        flags = a.flags
        if not flags.aligned:
            return None
        if flags.c_contiguous:
            found.append(a.reshape(-1))
    if len(found) == len(arrays):
        return found
    order = _order(first)
    views = [a.transpose(order) for a in arrays]
    if not all(v.flags.c_contiguous for v in views):
        return None
    return [v.reshape(-1) for v in views]


def memory_of(out: Any) -> Any:
    """The memory of a fresh array without gaps, as a vector."""
    return out.reshape(-1) if out.flags.c_contiguous else out.transpose(_order(out)).reshape(-1)


def _order(a: Any) -> list[int]:
    """The dimensions as they lie in memory, the one with the widest step first."""
    return sorted(range(a.ndim), key=lambda d: (-abs(a.strides[d]), -a.shape[d]))


def _run(step: Kernel, *arrays: Any, numbers: tuple[float, float]) -> Any:
    """The kernel over float32 arrays of one shape and a new one that lies like the last; NotImplemented for others."""
    like = arrays[-1]
    vectors = flat(*arrays)
    if vectors is not None:
        out = empty_like(like)
        into = memory_of(out)
    else:
        shape = like.shape
        if any(type(a) is not np.ndarray or a.dtype is not _FLOAT32 or a.shape != shape for a in arrays):
            return NotImplemented
        order = _order(like)
        vectors = [made(_dense, a.transpose(order)).reshape(-1) for a in arrays]
        memory = empty([shape[d] for d in order], _FLOAT32)
        out = memory.transpose(sorted(range(len(order)), key=order.__getitem__))
        into = memory.reshape(-1)
    parallel(step, into.size, *vectors, into, *numbers, least=_LEAST, step=256)
    return out


def _dense(a: Any) -> Any:
    return np.require(a, None, ("C", "A"))


@functools.cache
def _forward(function: Inlined) -> Kernel:
    def forward(x, y, a, b, start, stop):
        x, y = x[start:stop], y[start:stop]
        for i in range(x.size):
            y[i] = function(x[i], a, b)

    forward.__name__ = function.function.__name__.lstrip("_")
    return kernel("f4[:] f4[:] f4 f4 i8 i8", fast=True)(forward)


@functools.cache
def _backward(function: Inlined) -> Kernel:
    def backward(g, x, dx, a, b, start, stop):
        g, x, dx = g[start:stop], x[start:stop], dx[start:stop]
        for i in range(x.size):
            dx[i] = function(g[i], x[i], a, b)

    backward.__name__ = function.function.__name__.lstrip("_")
    return kernel("f4[:] f4[:] f4[:] f4 f4 i8 i8", fast=True)(backward)


def _map(function: Inlined, input: Any, a: float = 0.0, b: float = 0.0) -> Any:
    """function(x, a, b) of each element."""
    return _run(_forward(function), input, numbers=(a, b))


def _chain(function: Inlined, g: Any, kept: Any, a: float = 0.0, b: float = 0.0) -> Any:
    """function(g, x, a, b) of each element of a gradient and of what a rule kept."""
    return _run(_backward(function), g, kept, numbers=(a, b))


# -- formulas: of an element x, or of its gradient g and of x (y: the result), and two numbers -------------------------

_TWICE_ROOT, _HALF_ROOT = f4(math.sqrt(8 / math.pi)), f4(math.sqrt(0.5))
_DENSITY = f4(1 / math.sqrt(2 * math.pi))
_TWO_BY_ROOT_PI = f4(2 / math.sqrt(math.pi))
SELU_SCALE, SELU_ALPHA = f4(1.0507009873554804934193349852946), f4(1.6732632423543772848170429916717)


@inlined
def _relu(x, a, b):
    return f4(0) if x <= f4(0) else x


@inlined
def _relu_grad(g, y, a, b):
    return f4(0) if y <= f4(0) else g


@inlined
def _leaky_relu(x, slope, b):
    return x if x > f4(0) else x * slope


@inlined
def _leaky_relu_grad(g, x, slope, b):
    return g if x > f4(0) else g * slope


@inlined
def _prelu_grad(g, x, slope, at_zero):
    return g if x > f4(0) else (g * slope if x < f4(0) else g * at_zero)


@inlined
def _prelu_grad_slope(g, x, a, b):
    return g * x if x < f4(0) else f4(0)


@inlined
def _clamp(x, low, high):
    x = low if x < low else x
    return high if x > high else x


@inlined
def _clamp_grad(g, x, low, high):
    return f4(0) if x <= low or x >= high else g


@inlined
def _abs_grad(g, x, a, b):
    return g if x > f4(0) else (-g if x < f4(0) else g * f4(0))


@inlined
def _exp(x, a, b):
    return exp(x)


@inlined
def _expm1(x, a, b):
    return expm1(x)


@inlined
def _log(x, a, b):
    return log(x)


@inlined
def _log1p(x, a, b):
    return log1p(x)


@inlined
def _erf(x, a, b):
    return erf(x)


@inlined
def _erf_grad(g, x, a, b):
    return g * (_TWO_BY_ROOT_PI * exp(-x * x))


@inlined
def _sigmoid(x, a, b):
    return sigmoid(x)


@inlined
def _sigmoid_grad(g, y, a, b):
    return g * (y * (f4(1) - y))


@inlined
def _tanh_grad(g, y, a, b):
    return g * (f4(1) - y * y)


@inlined
def _gelu(x, a, b):
    return x * (f4(0.5) * (erf(x * _HALF_ROOT) + f4(1)))


@inlined
def _gelu_grad(g, x, a, b):
    area = f4(0.5) * (erf(x * _HALF_ROOT) + f4(1))
    return g * (area + x * (exp(x * x * f4(-0.5)) * _DENSITY))


@inlined
def _gelu_tanh(x, a, b):
    # (1 + tanh(u)) / 2 = sigmoid(2u), without the cancellation where u is far below 0
    return x * sigmoid(_TWICE_ROOT * (x + f4(0.044715) * (x * x * x)))


@inlined
def _gelu_tanh_grad(g, x, a, b):
    square = x * x
    s = sigmoid(_TWICE_ROOT * (x + f4(0.044715) * (square * x)))
    slope = _TWICE_ROOT * (f4(1) + f4(0.134145) * square)
    return g * (s + x * (s * (f4(1) - s)) * slope)


@inlined
def _silu(x, a, b):
    return x / (f4(1) + exp(-x))


@inlined
def _silu_grad(g, x, a, b):
    s = sigmoid(x)
    return g * (s * (f4(1) + x * (f4(1) - s)))


@inlined
def _softplus(x, beta, threshold):
    scaled = x * beta
    return x if scaled > threshold else softplus(scaled) / beta


@inlined
def _softplus_grad(g, x, beta, threshold):
    scaled = x * beta
    return g if scaled > threshold else g * sigmoid(scaled)


@inlined
def _logsigmoid(x, a, b):
    return -softplus(-x)


@inlined
def _logsigmoid_grad(g, x, a, b):
    return g * sigmoid(-x)


@inlined
def _mish(x, a, b):
    e = exp(min(x, f4(20)))  # tanh(log(1 + e)) = ((1 + e)² - 1) / ((1 + e)² + 1)
    n = e * (e + f4(2))
    return x * (n / (n + f4(2)))


@inlined
def _mish_grad(g, x, a, b):
    e = exp(min(x, f4(20)))
    n = e * (e + f4(2))
    t = n / (n + f4(2))
    return g * (t + x * ((f4(2) / (n + f4(2))) * (f4(1) + t)) * (e / (f4(1) + e)))


@inlined
def _elu(x, alpha, b):
    return x if x > f4(0) else alpha * expm1(x)


@inlined
def _elu_grad(g, x, alpha, b):
    return g if x > f4(0) else g * (alpha * exp(x))


@inlined
def _selu(x, a, b):
    return SELU_SCALE * (x if x > f4(0) else SELU_ALPHA * expm1(x))


@inlined
def _selu_grad(g, x, a, b):
    return SELU_SCALE * g * (f4(1) if x >= f4(0) else SELU_ALPHA * exp(x))


@inlined
def _celu(x, alpha, b):
    return x if x > f4(0) else alpha * expm1(x / alpha)


@inlined
def _celu_grad(g, x, alpha, b):
    return g if x > f4(0) else g * exp(x / alpha)


@inlined
def _hardswish(x, a, b):
    up = x + f4(3)
    up = f4(0) if up < f4(0) else up
    return x * (f4(6) if up > f4(6) else up) / f4(6)


@inlined
def _hardswish_grad(g, x, a, b):
    inside = g * (x / f4(3) + f4(0.5)) if x > f4(-3) else f4(0)
    return g if x >= f4(3) else inside


@inlined
def _hardsigmoid(x, a, b):
    up = x + f4(3)
    up = f4(0) if up < f4(0) else up
    return (f4(6) if up > f4(6) else up) / f4(6)


@inlined
def _hardsigmoid_grad(g, x, a, b):
    up = x + f4(3)
    return f4(0) if up <= f4(0) or up >= f4(6) else g / f4(6)


# -- what takes the names of ops ---------------------------------------------------------------------------------------


def _plain(function: Inlined) -> Callable[..., Any]:
    return lambda input: _map(function, input)


def _plain_grad(function: Inlined) -> Callable[..., Any]:
    return lambda g, kept: _chain(function, g, kept)


def _leaky(input: Any, negative_slope: float = 0.01) -> Any:
    return _map(_leaky_relu, input, negative_slope)


def _leaky_grad(g: Any, input: Any, negative_slope: float) -> Any:
    # at 0 the gradient is the smaller slope's
    return _chain(_leaky_relu_grad, g, input, negative_slope) if 0 <= negative_slope <= 1 else NotImplemented


def _prelu(input: Any, weight: Any) -> Any:
    return _map(_leaky_relu, input, weight.item()) if _single(weight, input) else NotImplemented


def _prelus_grad(g: Any, input: Any, weight: Any) -> Any:
    if not _single(weight, input):
        return NotImplemented
    slope = weight.item()
    return _chain(_prelu_grad, g, input, slope, min(max(slope, 0.0), 1.0))


def _single(weight: Any, input: Any) -> bool:
    """Whether this is one float32 number that makes the input no larger."""
    return getattr(weight, "size", 0) == 1 and weight.dtype == _FLOAT32 and weight.ndim <= input.ndim


def _bound(x: Any) -> float | None:
    """A bound as a number, NaN for none, which nothing is below or above; None where it is no plain number."""
    return math.nan if x is None else float(x) if type(x) in (int, float) and x == x else None


def _clamped(input: Any, min: Any = None, max: Any = None) -> Any:
    low, high = _bound(min), _bound(max)
    if low is None or high is None or (min is None and max is None):
        return NotImplemented
    return _map(_clamp, input, low, high)


def _clamped_grad(g: Any, input: Any, min: Any, max: Any) -> Any:
    low, high = _bound(min), _bound(max)
    return NotImplemented if low is None or high is None else _chain(_clamp_grad, g, input, low, high)


def _gelus(input: Any, approximate: str = "none") -> Any:
    which = {"none": _gelu, "tanh": _gelu_tanh}.get(approximate)
    return NotImplemented if which is None else _map(which, input)


def _gelus_grad(g: Any, input: Any, approximate: str) -> Any:
    return _chain(_gelu_grad if approximate == "none" else _gelu_tanh_grad, g, input)


def _softpluses(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return _map(_softplus, input, beta, threshold)


def _softpluses_grad(g: Any, input: Any, beta: float, threshold: float) -> Any:
    return _chain(_softplus_grad, g, input, beta, threshold)


def _elus(input: Any, alpha: float = 1.0) -> Any:
    return _map(_elu, input, alpha)


def _elus_grad(g: Any, input: Any, alpha: float) -> Any:
    return _chain(_elu_grad, g, input, alpha) if 0 <= alpha <= 1 else NotImplemented


def _celus(input: Any, alpha: float = 1.0) -> Any:
    return _map(_celu, input, alpha) if alpha > 0 else NotImplemented


def _celus_grad(g: Any, input: Any, alpha: float) -> Any:
    return _chain(_celu_grad, g, input, alpha) if alpha > 0 else NotImplemented


def _pair(function: Inlined) -> Callable[..., Any]:
    """The forward of a composite, which keeps its input."""

    def forward(input: Any) -> Any:
        out = _map(function, input)
        return NotImplemented if out is NotImplemented else (out, Kept((input,)))

    return forward


def _pair_grad(function: Inlined) -> Callable[..., Any]:
    def backward(g: Any, residual: Any, needs: Any) -> Any:
        (input,) = residual
        return (_chain(function, np.asarray(g), input),)

    return backward


@kernel("f4[:,:,:] f4[:,:] i8 i8", fast=True)
def _glu(x, y, start, stop):
    x, y = x[start:stop], y[start:stop]
    for i in range(len(x)):
        a, b, c = x[i, 0], x[i, 1], y[i]
        for j in range(c.size):
            c[j] = a[j] * sigmoid(b[j])


@kernel("f4[:,:] f4[:,:,:] f4[:,:,:] i8 i8", fast=True)
def _glu_grad(g, x, dx, start, stop):
    g, x, dx = g[start:stop], x[start:stop], dx[start:stop]
    for i in range(len(x)):
        a, b, c, da, db = x[i, 0], x[i, 1], g[i], dx[i, 0], dx[i, 1]
        for j in range(c.size):
            da[j] = c[j] * sigmoid(b[j])
        for j in range(c.size):  # on its own: of more arrays at once LLVM cannot tell that they lie apart
            s = sigmoid(b[j])
            db[j] = c[j] * (a[j] * (s * (f4(1) - s)))


def _halves(input: Any, dim: int) -> tuple[int, int, tuple[int, ...]] | None:
    """(rows, width of a half, shape of a half) of a plain array with an even size along `dim`."""
    n = input.ndim
    if type(input) is not np.ndarray or not n or not -n <= dim < n or input.shape[dim] % 2 or flat(input) is None:
        return None
    if not input.flags.c_contiguous:
        return None
    d = dim % n
    shape = (*input.shape[:d], input.shape[d] // 2, *input.shape[d + 1 :])
    return math.prod(shape[:d]), math.prod(shape[d:]), shape


def _glus(input: Any, dim: int = -1) -> Any:
    halves = _halves(input, dim)
    if halves is None:
        return NotImplemented
    rows, width, shape = halves
    out = empty(shape, _FLOAT32)
    pair = input.reshape(rows, 2, width)
    parallel(_glu, rows, pair, out.reshape(rows, width), least=1 + _LEAST // max(width, 1))
    return out, Kept((pair, input.shape))


def _glus_grad(g: Any, residual: Any, needs: Any) -> Any:
    pair, shape = residual
    rows, _, width = pair.shape
    dx = empty(shape, _FLOAT32)
    given = made(_dense, g).reshape(rows, width)
    parallel(_glu_grad, rows, given, pair, dx.reshape(pair.shape), least=1 + _LEAST // max(width, 1))
    return (dx,)


SERVES: dict[str, Callable[..., Any]] = {
    "abs.grad": _plain_grad(_abs_grad),
    "relu": _plain(_relu),
    "relu.grad": _plain_grad(_relu_grad),
    "leaky_relu": _leaky,
    "leaky_relu.grad": _leaky_grad,
    "prelu_slope": _prelu,
    "prelu_slope.grad.input": _prelus_grad,
    "prelu_slope.grad.weight": _plain_grad(_prelu_grad_slope),
    "glu": _glus,
    "glu.grad": _glus_grad,
    "clamp": _clamped,
    "clamp.grad.input": _clamped_grad,
    "exp": _plain(_exp),
    "expm1": _plain(_expm1),
    "log": _plain(_log),
    "log1p": _plain(_log1p),
    "erf": _plain(_erf),
    "erf.grad": _plain_grad(_erf_grad),
    "sigmoid": _plain(_sigmoid),
    "sigmoid.grad": _plain_grad(_sigmoid_grad),
    "gelu": _gelus,
    "gelu.grad": _gelus_grad,
    "silu": _plain(_silu),
    "silu.grad": _plain_grad(_silu_grad),
    "softplus": _softpluses,
    "softplus.grad": _softpluses_grad,
    "logsigmoid": _plain(_logsigmoid),
    "logsigmoid.grad": _plain_grad(_logsigmoid_grad),
    "mish": _plain(_mish),
    "mish.grad": _plain_grad(_mish_grad),
    "elu": _elus,
    "elu.grad": _elus_grad,
    "celu": _celus,
    "celu.grad": _celus_grad,
    "selu": _pair(_selu),
    "selu.grad": _pair_grad(_selu_grad),
    "hardswish": _plain(_hardswish),
    "hardswish.grad": _plain_grad(_hardswish_grad),
    "hardsigmoid": _pair(_hardsigmoid),
    "hardsigmoid.grad": _pair_grad(_hardsigmoid_grad),
}
