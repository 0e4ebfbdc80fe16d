"""Activation functions, all of torch.nn.functional's (softmax and kin stand in softmax.py).

Kinks: where left and right derivative differ, the gradient is the element of least norm between them: 0 for relu,
the bounded and the shrinking ones, the smaller slope for leaky_relu, prelu, elu and selu, 0 between slopes of opposite
sign. PyTorch takes the left derivative, so it differs at 0 for selu and for a slope above 1 or below 0, and at the
ends of hardswish.

Sources, by the function: ELU Clevert et al. 2015; SELU Klambauer et al. 2017; CELU Barron 2017; GELU Hendrycks and
Gimpel 2016; SiLU (swish) Elfwing et al. 2017; Mish Misra 2019; PReLU He et al. 2015; RReLU Xu et al. 2015; maxout
Goodfellow et al. 2013; GLU Dauphin et al. 2016; hardswish Howard et al. 2019. Names and defaults as in PyTorch.
"""

from __future__ import annotations

import math

from ...backends import special
from ..composite import composite
from ..dims import wrap_dim
from ..op import op
from ..public import FUNCTIONS, expose, function

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "maxout",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "silu",
    "softplus",
    "softshrink",
    "softsign",
    "tanhshrink",
    "threshold",
]

#: SELU's constants: λ, and α; the fixed point is mean 0 and variance 1
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


def _sides(F, g, input, left, right, at_left, at_right):
    """g times `left` below 0 and `right` above; `at_left` and `at_right` are their values at 0, which decide there."""
    if at_left * at_right < 0:
        return F.where(input > 0, g * right, F.where(input < 0, g * left, 0))
    return F.where(input > 0 if abs(at_left) <= abs(at_right) else input >= 0, g * right, g * left)


# -- piecewise linear -------------------------------------------------------------------------------------------------


@op
def relu(xp, input):
    """max(input, 0), elementwise. The derivative at 0 is 0."""
    return xp.maximum(input, 0)


@relu.grad("input")
def _(F, g, out):
    return F.where(out <= 0, 0, g)  # so NaN gets its gradient, as in PyTorch


@composite
def relu6(F, input):
    """min(max(input, 0), 6), elementwise, with gradient 0 at the ends."""
    return F.clamp(input, 0, 6)


@composite
def hardtanh(F, input, /, min_val=-1.0, max_val=1.0):
    """min(max(input, min_val), max_val), elementwise, with gradient 0 at the ends."""
    if max_val < min_val:
        raise ValueError(f"min_val {min_val} cannot be greater than max_val {max_val}")
    return F.clamp(input, min_val, max_val)


@composite
def hardsigmoid(F, input):
    """min(max(input + 3, 0), 6) / 6, elementwise."""
    return F.clamp(input + 3, 0, 6) / 6


@op(types="float", name="leaky_relu")
def leaky(xp, input, negative_slope=0.01):
    """`leaky_relu` for slopes of 0 and more, where the result has the input's sign."""
    return xp.where(input > 0, input, input * negative_slope)


@leaky.grad("input")
def _(F, g, out, negative_slope):
    # Of the two the result is kept: the next layer usually keeps it, too.
    return _sides(F, g, out, negative_slope, 1, negative_slope, 1)


def leaky_relu(input, negative_slope=0.01):
    """input where it is above 0, negative_slope * input elsewhere, elementwise."""
    if negative_slope < 0:
        return relu(input) + FUNCTIONS["clamp"](input, max=0) * negative_slope
    return leaky(input, negative_slope)


@op(types="same", broadcast=True)
def prelu_slope(xp, input, weight):
    """input where it is above 0, weight * input elsewhere; the two broadcast."""
    return xp.where(input > 0, input, input * weight)


@prelu_slope.grad("input")
def _(F, g, input, weight):
    slope = F.where(input > 0, 1, F.where(input < 0, weight, F.clamp(weight, 0, 1)))
    return g * slope


@prelu_slope.grad("weight")
def _(F, g, input):
    return F.where(input < 0, g * input, 0)


@composite
def prelu(F, input, weight):
    """input where it is above 0, weight * input elsewhere; `weight` has one element, or one per channel (dim 1)."""
    shape = weight.shape
    if len(shape) > 1:
        raise ValueError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got ndim = {len(shape)}")
    if shape and shape[0] != 1:
        channels = input.shape[1] if len(input.shape) > 1 else 1
        if channels != shape[0]:
            raise ValueError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {shape[0]} and "
                f"channel size = {channels}."
            )
        weight = F.reshape(weight, (1, -1, *(1,) * (len(input.shape) - 2)))
    elif shape and not input.shape:
        weight = F.reshape(weight, ())
    return F.prelu_slope(input, weight)


@op
def threshold(xp, input, /, threshold, value):
    """input where it is above `threshold`, the number `value` elsewhere, elementwise."""
    return xp.where(input > threshold, input, value).astype(input.dtype, copy=False)


@threshold.grad("input")
def _(F, g, input, threshold):
    return F.where(input > threshold, g, 0)


@op
def hardshrink(xp, input, lambd=0.5):
    """input where its magnitude is above `lambd`, 0 elsewhere, elementwise."""
    return xp.where(xp.abs(input) <= lambd, 0, input)


@hardshrink.grad("input")
def _(F, g, input, lambd):
    return F.where(F.abs(input) <= lambd, 0, g)


@op
def softshrink(xp, input, lambd=0.5):
    """input moved towards 0 by `lambd`, and 0 where it is nearer, elementwise."""
    if lambd < 0:
        raise ValueError(f"lambda must be greater or equal to 0, but found to be {lambd}")
    return input - xp.minimum(xp.maximum(input, -lambd), lambd)


@softshrink.grad("input")
def _(F, g, input, lambd):
    return F.where(F.abs(input) <= lambd, 0, g)


@op
def hardswish(xp, input):
    """input * min(max(input + 3, 0), 6) / 6, elementwise."""
    return input * xp.minimum(xp.maximum(input + 3, 0), 6) / 6


@hardswish.grad("input")
def _(F, g, input):
    return F.where(input >= 3, g, F.where(input > -3, g * (input / 3 + 0.5), 0))


@composite
def maxout(F, input, /, num_pieces, dim=1):
    """The largest of each `num_pieces` neighbours along `dim`, whose size they divide: (N, k·C, *) gives (N, C, *).

    Ties share evenly. Source: I. Goodfellow et al., "Maxout networks", 2013.
    """
    d = wrap_dim(dim, len(input.shape))
    size = input.shape[d]
    if num_pieces < 1 or size % num_pieces:
        raise ValueError(f"maxout: {num_pieces} pieces do not divide dimension {d} of size {size}")
    shape = (*input.shape[:d], size // num_pieces, num_pieces, *input.shape[d + 1 :])
    return F.amax(F.reshape(input, shape), dim=d + 1)


@function
def rrelu(input, lower=1 / 8, upper=1 / 3, training=False, inplace=False, *, generator=None):
    """leaky_relu, elementwise, with random slopes uniform in [lower, upper]; not in training with their mean."""
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    slope = FUNCTIONS["rand_like"](input, generator=generator) * (upper - lower) + lower
    return prelu_slope(input, slope)


# -- smooth below 0, and smooth ---------------------------------------------------------------------------------------


@op(types="float")
def elu(xp, input, alpha=1.0):
    """input where it is above 0, alpha * (exp(input) - 1) elsewhere, elementwise."""
    return xp.where(input > 0, input, alpha * xp.expm1(xp.minimum(input, 0)))


@elu.grad("input")
def _(F, g, input, alpha):
    return _sides(F, g, input, alpha * F.exp(F.clamp(input, None, 0)), 1, alpha, 1)


@composite
def selu(F, input):
    """1.0507 * elu(input, 1.67326), elementwise: keeps mean 0 and variance 1 through layers."""
    return SELU_SCALE * F.elu(input, alpha=SELU_ALPHA)


@op(types="float")
def celu(xp, input, alpha=1.0):
    """input where it is above 0, alpha * (exp(input / alpha) - 1) elsewhere, elementwise; smooth at 0."""
    if not alpha:
        raise ZeroDivisionError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return xp.where(input > 0, input, alpha * xp.expm1(xp.minimum(input / alpha, 0) if alpha > 0 else input / alpha))


@celu.grad("input")
def _(F, g, input, alpha):
    return F.where(input > 0, g, g * F.exp(F.where(input > 0, 0, input) / alpha))


_ROOT, _HALF_ROOT = math.sqrt(2 / math.pi), math.sqrt(0.5)


@op(types="float")
def gelu(xp, input, approximate="none"):
    """input * Φ(input), elementwise, Φ the standard normal distribution function.

    approximate="tanh": Φ is taken for (1 + tanh(√(2/π) (input + 0.044715 input³))) / 2.
    """
    if approximate == "none":
        return input * (0.5 * (special.erf(xp, input * _HALF_ROOT) + 1))
    if approximate != "tanh":
        raise ValueError(f"approximate argument must be either none or tanh, got {approximate!r}")
    return 0.5 * input * (1 + xp.tanh(_ROOT * (input + 0.044715 * (input * input * input))))


@gelu.grad("input")
def _(F, g, input, approximate):
    square = input * input
    if approximate == "none":
        area = 0.5 * (F.erf(input * _HALF_ROOT) + 1)
        return g * (area + input * (F.exp(square * -0.5) * (1 / math.sqrt(2 * math.pi))))
    t = F.tanh(_ROOT * (input + 0.044715 * (square * input)))
    return g * (0.5 * (1 + t) + 0.5 * input * (1 - t * t) * (_ROOT * (1 + 0.134145 * square)))


@op(types="float")
def silu(xp, input):
    """input * sigmoid(input), elementwise; also called swish."""
    return input / (1 + xp.exp(-input))


@silu.grad("input")
def _(F, g, input):
    s = F.sigmoid(input)
    return g * (s * (1 + input * (1 - s)))


def _softplus(xp, x):
    """log(1 + exp(x)) without overflow; xp.logaddexp is not vectorised, and takes 25 times as long."""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


@op(types="float")
def mish(xp, input):
    """input * tanh(log(1 + exp(input))), elementwise."""
    return input * xp.tanh(_softplus(xp, input))


@mish.grad("input")
def _(F, g, input):
    t = F.tanh(F.softplus(input))
    return g * (t + input * (1 - t * t) * F.sigmoid(input))


@op(types="float")
def softplus(xp, input, beta=1.0, threshold=20.0):
    """log(1 + exp(beta * input)) / beta, elementwise; input itself where beta * input is above `threshold`."""
    scaled = input * beta
    return xp.where(scaled > threshold, input, _softplus(xp, scaled) / beta)


@softplus.grad("input")
def _(F, g, input, beta, threshold):
    scaled = input * beta
    return F.where(scaled > threshold, g, g * F.sigmoid(scaled))


@op(types="float")
def logsigmoid(xp, input):
    """log(1 / (1 + exp(-input))), elementwise, without overflow."""
    return xp.minimum(input, 0) - xp.log1p(xp.exp(-xp.abs(input)))


@logsigmoid.grad("input")
def _(F, g, input):
    return g * F.sigmoid(-input)


@composite
def softsign(F, input):
    """input / (1 + |input|), elementwise."""
    return input / (F.abs(input) + 1)


@composite
def tanhshrink(F, input):
    """input - tanh(input), elementwise."""
    return input - F.tanh(input)


@composite
def glu(F, input, /, dim=-1):
    """a * sigmoid(b), where a and b are the halves of `input` along `dim`: (*, 2n, *) gives (*, n, *)."""
    if not input.shape:
        raise ValueError("glu does not support 0-dimensional tensors")
    d = wrap_dim(dim, len(input.shape))
    size = input.shape[d]
    if size % 2:
        raise ValueError(f"Halving dimension must be even, but dimension {d} is size {size}")
    half = size // 2
    return F.narrow(input, dim=d, start=0, length=half) * F.sigmoid(F.narrow(input, dim=d, start=half, length=half))


expose(relu, inplace=True)
expose(hardshrink)
expose(prelu)
expose(threshold, methods=False)
expose(selu, celu, inplace=True, methods=False)
