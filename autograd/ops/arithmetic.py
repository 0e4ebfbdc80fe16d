"""Arithmetic of two operands: add, sub, mul, div, pow and kin, quotients and remainders, extrema of two, clamp.

`add`, `sub`, `mul` and `div` are lean ops of two operands, for the operators; what PyTorch's functions take besides
(`alpha=`, `rounding_mode=`) is done by functions of the same names in front of them.

Kinks: `maximum` and kin share a tie evenly, as in PyTorch. At a bound `clamp` gives its input 0, PyTorch gives it 1.

Sources: elementary calculus; names, defaults and promotion as in PyTorch.
"""

from __future__ import annotations

import cmath
import math

from ..complexes import is_complex
from ..composite import composite
from ..errors import OpError
from ..op import OPS, op
from ..public import api, expose, findable, old_order
from ..tensor import Tensor

__all__ = [
    "add",
    "addcdiv",
    "addcmul",
    "atan2",
    "clamp",
    "copysign",
    "div",
    "flat",
    "float_power",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "gcd",
    "heaviside",
    "hypot",
    "lcm",
    "ldexp",
    "lerp",
    "logaddexp",
    "logaddexp2",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "nextafter",
    "pow",
    "reciprocal",
    "remainder",
    "square",
    "sub",
    "trunc_divide",
    "xlogy",
]


def flat(target, *inputs):
    """Give the op `target` a gradient of zero for some inputs: it is constant between its steps."""
    for name in inputs:

        @target.grad(name)
        def _(F, g, shape):
            return F.zeros_of(g, shape=shape, dtype=g.dtype)


def is_number(x):
    """True for a Python number, which is an operand without a dtype of its own (NumPy's float64 is a float, too)."""
    return isinstance(x, (int, float, complex)) and not hasattr(x, "dtype")


# -- sums, products, quotients ----------------------------------------------------------------------------------------


@op(broadcast=True, types="same")
def add(xp, input, other):
    """input + other, elementwise."""
    return input + other


@add.grad("input")
def _(F, g):
    return g


@add.grad("other")
def _(F, g):
    return g


@op(broadcast=True, types="same")
def sub(xp, input, other):
    """input - other, elementwise."""
    return input - other


@sub.grad("input")
def _(F, g):
    return g


@sub.grad("other")
def _(F, g):
    return -g


@op(broadcast=True, types="same")
def mul(xp, input, other):
    """input * other, elementwise."""
    return input * other


@mul.grad("input")
def _(F, g, other):
    return g * other


@mul.grad("other")
def _(F, g, input):
    return g * input


@op(broadcast=True, types="float")
def div(xp, input, other):
    """input / other, elementwise; integers are divided as floats."""
    return input / other


@div.grad("input")
def _(F, g, other):
    return g / other


@div.grad("other")
def _(F, g, out, other):
    return -g * out / other


@op
def neg(xp, input):
    """-input, the negative of each element."""
    return -input


@neg.grad("input")
def _(F, g):
    return -g


@op(types="float")
def reciprocal(xp, input):
    """1 / input, elementwise; integers give floats."""
    return 1 / input


@reciprocal.grad("input")
def _(F, g, out):
    return -g * (out * out)


@op
def square(xp, input):
    """input², elementwise; bools give int64."""
    return input * input if input.dtype.kind != "b" else input.astype("int64")


@square.grad("input")
def _(F, g, input):
    return g * (2 * input)


@composite
def addcmul(F, input, tensor1, tensor2, /, value=1):
    """input + value * tensor1 * tensor2, elementwise."""
    return input + (tensor1 * tensor2 if value == 1 else value * tensor1 * tensor2)


@composite
def addcdiv(F, input, tensor1, tensor2, /, value=1):
    """input + value * tensor1 / tensor2, elementwise."""
    return input + (tensor1 / tensor2 if value == 1 else value * tensor1 / tensor2)


@op(broadcast=True, types="same")
def lerp(xp, input, end, weight):
    """input + weight * (end - input), elementwise; `weight` is a number or a tensor. Exact at weights 0 and 1."""
    way = end - input
    if is_number(weight):
        return input + weight * way if abs(weight) < 0.5 else end - way * (1 - weight)
    return xp.where(xp.abs(weight) < 0.5, input + weight * way, end - way * (1 - weight))


@lerp.grad("input")
def _(F, g, weight):
    return g * (1 - weight)


@lerp.grad("end")
def _(F, g, weight):
    return g * weight


@lerp.grad("weight")
def _(F, g, input, end):
    return g * (end - input)


# -- division with rounding -------------------------------------------------------------------------------------------


def _not_bools(input, other):
    if (other if is_number(input) else input).dtype.kind == "b":
        raise ValueError("division with rounding is not defined for bools; convert them, e.g. with .long()")


@op(broadcast=True, types="same")
def floor_divide(xp, input, other):
    """floor(input / other), elementwise, in the operands' dtype. Its gradient is 0 (PyTorch has none).

    Integers divided by 0 are an error on the CPU.
    """
    _not_bools(input, other)
    return xp.floor_divide(input, other)


flat(floor_divide, "input", "other")


@op(broadcast=True, types="same")
def trunc_divide(xp, input, other):
    """trunc(input / other), elementwise, in the operands' dtype: `div(rounding_mode="trunc")`. Its gradient is 0."""
    if (other if is_number(input) else input).dtype.kind in "iu":
        return xp.floor_divide(input - xp.fmod(input, other), other)
    return xp.trunc(input / other)


flat(trunc_divide, "input", "other")


@op(broadcast=True, types="same")
def remainder(xp, input, other):
    """input - other * floor(input / other), elementwise: the sign is that of `other`, as of Python's %."""
    _not_bools(input, other)
    return xp.remainder(input, other)


@remainder.grad("input")
def _(F, g):
    return g


@remainder.grad("other")
def _(F, g, input, other):
    return -g * F.floor_divide(input, other)


@op(broadcast=True, types="same")
def fmod(xp, input, other):
    """input - other * trunc(input / other), elementwise: the sign is that of `input`, as of C's fmod."""
    _not_bools(input, other)
    return xp.fmod(input, other)


@fmod.grad("input")
def _(F, g):
    return g


@fmod.grad("other")
def _(F, g, input, other):
    return -g * F.trunc_divide(input, other)


@op(broadcast=True, types="same")
def gcd(xp, input, other):
    """The greatest common divisor of integers, elementwise."""
    return xp.gcd(input, other)


@op(broadcast=True, types="same")
def lcm(xp, input, other):
    """The least common multiple of integers, elementwise."""
    return xp.lcm(input, other)


# -- powers and logarithms --------------------------------------------------------------------------------------------


@op(broadcast=True, types="same")
def pow(xp, input, exponent):
    """input ** exponent, elementwise; 0 ** 0 is 1. Integers to negative integers are an error.

    Derivatives at base 0 are those of the formula where it is finite: of x**2, of x**0, and of 0**y, which is 0.
    """
    if is_number(exponent):
        if exponent == 3:  # a general power takes ten times as long
            return input * input * input
        if exponent == -1 and type(exponent) is int and input.dtype.kind not in "biu":
            return 1 / input
    if (exponent if is_number(input) else input).dtype.kind == "b":
        raise ValueError("powers of bools are not defined; convert them, e.g. with .long()")
    return input**exponent


@pow.grad("input")
def _(F, g, input, exponent):
    if is_number(exponent):
        if exponent == 2:
            return g * (2 * input)
        if exponent == 0:
            return F.zeros_of(g, shape=g.shape, dtype=g.dtype)
        return g * (exponent * F.pow(input, exponent - 1))
    corner = (input == 0) & (exponent == 0)  # 0 * 0**-1
    return F.where(corner, 0, g * (exponent * F.pow(input, F.where(corner, 1, exponent) - 1)))


@pow.grad("exponent")
def _(F, g, out, input, exponent):
    growing = (F.real_part(exponent) if is_complex(getattr(exponent, "array", exponent)) else exponent) >= 0
    if is_number(input):
        if input == 0:
            return F.where(growing, 0, g * out * -math.inf)
        if is_complex(input) or is_complex(getattr(out, "array", out)):
            return g * (out * cmath.log(input))
        return g * (out * (math.log(input) if input > 0 else math.nan))
    return g * (out * F.log(F.where((input == 0) & growing, 1, input)))


@op(broadcast=True, types="float")
def ldexp(xp, input, other):
    """input * 2**other, elementwise; integers give floats."""
    return input * 2.0**other


@ldexp.grad("input")
def _(F, g, other):
    return g * (2.0**other if is_number(other) else F.pow(2.0, other))


@ldexp.grad("other")
def _(F, g, out):
    return g * (out * math.log(2))


@op(broadcast=True, types="float")
def xlogy(xp, input, other):
    """input * log(other), elementwise; 0 where input is 0, unless `other` is NaN."""
    if is_number(other):
        if other > 0:
            return input * math.log(other)
        other = xp.asarray(other, input.dtype)
    silent = (input == 0) & (other == other)
    return xp.where(silent, 0, input * xp.log(xp.where(silent, 1, other)))


@xlogy.grad("input")
def _(F, g, input, other):
    return F.xlogy(F.where((input == 0) & (other <= 0), 0, g), other)


@xlogy.grad("other")
def _(F, g, input, other):
    return g * (input / F.where((input == 0) & (other == 0), 1, other))


def _difference(F, input, other, out):
    """input - other, 0 where both are the same infinity."""
    same = (input == other) & F.isinf(out)
    return F.where(same, 0, input) - F.where(same, 0, other)


@op(broadcast=True, types="float")
def logaddexp(xp, input, other):
    """log(exp(input) + exp(other)), elementwise, without overflow."""
    return xp.logaddexp(input, other)


@logaddexp.grad("input")
def _(F, g, input, other, out):
    return g * F.sigmoid(_difference(F, input, other, out))


@logaddexp.grad("other")
def _(F, g, input, other, out):
    return g * F.sigmoid(_difference(F, other, input, out))


@op(broadcast=True, types="float")
def logaddexp2(xp, input, other):
    """log2(2**input + 2**other), elementwise, without overflow."""
    return xp.logaddexp2(input, other)


@logaddexp2.grad("input")
def _(F, g, input, other, out):
    return g * F.sigmoid(_difference(F, input, other, out) * math.log(2))


@logaddexp2.grad("other")
def _(F, g, input, other, out):
    return g * F.sigmoid(_difference(F, other, input, out) * math.log(2))


# -- geometry and signs -----------------------------------------------------------------------------------------------


@op(broadcast=True, types="float")
def hypot(xp, input, other):
    """√(input² + other²), elementwise. The gradient at (0, 0) is 0, as of any norm; PyTorch's is NaN."""
    return xp.hypot(input, other)


@hypot.grad("input")
def _(F, g, input, out):
    return F.where(out == 0, 0, g * (input / F.where(out == 0, 1, out)))


@hypot.grad("other")
def _(F, g, other, out):
    return F.where(out == 0, 0, g * (other / F.where(out == 0, 1, out)))


@op(broadcast=True, types="float")
def atan2(xp, input, other):
    """The angle of the point (x=other, y=input), in (-π, π], elementwise. The gradient at (0, 0) is 0."""
    return xp.arctan2(input, other)


def _squares(F, input, other):
    """input² + other², 1 where that is 0."""
    total = input * input + other * other
    return F.where(total == 0, 1, total)


@atan2.grad("input")
def _(F, g, input, other):
    return g * (other / _squares(F, input, other))


@atan2.grad("other")
def _(F, g, input, other):
    return -g * (input / _squares(F, input, other))


@op(broadcast=True, types="float")
def copysign(xp, input, other):
    """|input| with the sign of `other` (of -0.0 too), elementwise. The gradient for `other` is 0, and at input 0."""
    return xp.copysign(input, other)


@copysign.grad("input")
def _(F, g, input, out):
    return g * (F.sign(input) * F.sign(out))


flat(copysign, "other")


@op(broadcast=True, types="same")
def heaviside(xp, input, values):
    """0 where input < 0, `values` where it is 0, 1 above, elementwise. `values` gets the gradient where input is 0.

    PyTorch has no gradient for it.
    """
    return xp.heaviside(input, values) if input.dtype.kind == "f" else xp.where(input == 0, values, input > 0)


flat(heaviside, "input")


@heaviside.grad("values")
def _(F, g, input):
    return F.where(input == 0, g, 0)


@op(broadcast=True, types="same")
def nextafter(xp, input, other):
    """The next floating number after `input` towards `other`, elementwise."""
    return xp.nextafter(input, other)


@nextafter.grad("input")
def _(F, g):
    return g


flat(nextafter, "other")


# -- extrema ----------------------------------------------------------------------------------------------------------


@op(broadcast=True, types="same")
def maximum(xp, input, other):
    """The larger, elementwise; NaN if one is NaN, and both then get the gradient. A tie shares it evenly."""
    return xp.maximum(input, other)


@maximum.grad("input")
def _(F, g, input, other):
    return F.where(input == other, g / 2, F.where(input < other, 0, g))


@maximum.grad("other")
def _(F, g, input, other):
    return F.where(input == other, g / 2, F.where(input > other, 0, g))


@op(broadcast=True, types="same")
def minimum(xp, input, other):
    """The smaller, elementwise; NaN if one is NaN, and both then get the gradient. A tie shares it evenly."""
    return xp.minimum(input, other)


@minimum.grad("input")
def _(F, g, input, other):
    return F.where(input == other, g / 2, F.where(input > other, 0, g))


@minimum.grad("other")
def _(F, g, input, other):
    return F.where(input == other, g / 2, F.where(input < other, 0, g))


@op(broadcast=True, types="same")
def fmax(xp, input, other):
    """The larger, elementwise; of a number and NaN the number. A tie shares the gradient evenly."""
    return xp.fmax(input, other)


@fmax.grad("input")
def _(F, g, input, other):
    return F.where(input == other, g / 2, F.where((input > other) | (other != other), g, 0))


@fmax.grad("other")
def _(F, g, input, other):
    return F.where(input == other, g / 2, F.where((input < other) | (input != input), g, 0))


@op(broadcast=True, types="same")
def fmin(xp, input, other):
    """The smaller, elementwise; of a number and NaN the number. A tie shares the gradient evenly."""
    return xp.fmin(input, other)


@fmin.grad("input")
def _(F, g, input, other):
    return F.where(input == other, g / 2, F.where((input < other) | (other != other), g, 0))


@fmin.grad("other")
def _(F, g, input, other):
    return F.where(input == other, g / 2, F.where((input > other) | (input != input), g, 0))


@op(broadcast=True, types="same")
def clamp(xp, input, min=None, max=None, /):
    """min(max(input, min), max), elementwise; a bound is a number, a tensor or None, and `max` wins where they cross.

    At a bound the input's gradient is 0 (PyTorch: 1), and a tensor bound gets all of it.
    """
    if min is None and max is None:
        raise ValueError("at least one of 'min' or 'max' must not be None")
    out = input
    if min is not None:
        out = xp.maximum(out, min)
    if max is not None:
        out = xp.minimum(out, max)
    return out


@clamp.grad("input")
def _(F, g, input, min, max):
    if min is None:
        outside = input >= max
    elif max is None:
        outside = input <= min
    else:
        outside = (input <= min) | (input >= max)
    return F.where(outside, 0, g)


@clamp.grad("min")
def _(F, g, input, min, max):
    here = input <= min
    return F.where(here if max is None else here & (min < max), g, 0)


@clamp.grad("max")
def _(F, g, input, min, max):
    here = input >= max
    return F.where(here if min is None else here | (min >= max), g, 0)


# -- public faces -----------------------------------------------------------------------------------------------------


def _integral(*operands):
    return all(x.array.dtype.kind in "biu" for x in operands if isinstance(x, Tensor))


def _scaled(target):
    """`target(input, alpha * other)` as a public function, and in PyTorch's old order (input, alpha, other)."""

    def function(input, other, *deprecated, alpha=1, out=None):
        if deprecated:
            alpha, other = old_order(target.name, (other, *deprecated), ("alpha",), 1)
        if alpha == 1:
            return target(input, other, out=out)
        if isinstance(alpha, float) and not isinstance(other, float) and _integral(input, other):
            raise OpError(f"{target.name}(): for integral tensors alpha must not be a floating point number")
        return target(input, other * alpha, out=out)

    function.__name__, function.__module__ = target.name, __name__
    function.__doc__ = target.__doc__.replace("other, e", "alpha * other, e")
    return findable(function, target)


add_scaled, sub_scaled = _scaled(add), _scaled(sub)
api(add_scaled, inplace=True)
api(sub_scaled, inplace=True)
api(sub_scaled, name="subtract", inplace=True)


def _with_value(target):
    """`target(input, tensor1, tensor2, value)` as a public function, and in the old order (input, value, tensors)."""

    def function(input, tensor1, tensor2, *deprecated, value=1, out=None):
        if deprecated:
            value, tensor1, tensor2 = old_order(target.name, (tensor1, tensor2, *deprecated), ("value",), 2)
        return target(input, tensor1, tensor2, value=value, out=out)

    function.__name__, function.__doc__, function.__module__ = target.name, target.__doc__, __name__
    return findable(function, target)


api(_with_value(addcmul), inplace=True)
api(_with_value(addcdiv), inplace=True)


def _div(input, other, *, rounding_mode=None, out=None):
    """input / other, elementwise; integers are divided as floats.

    rounding_mode: None, "trunc" (towards 0) or "floor"; the quotient then has the operands' dtype and gradient 0.
    """
    if rounding_mode is None:
        return div(input, other, out=out)
    if rounding_mode == "floor":
        return floor_divide(input, other, out=out)
    if rounding_mode == "trunc":
        return trunc_divide(input, other, out=out)
    raise OpError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found {rounding_mode!r}")


_div.__name__ = "div"
api(_div, name="div", inplace=True)
api(_div, name="divide", inplace=True)


@api
def rsub(input, other, *, alpha=1):
    """other - alpha * input, elementwise."""
    return sub_scaled(other, input, alpha=alpha)


@api(inplace=True)
def float_power(input, exponent):
    """input ** exponent, computed and returned in float64, or in complex128 where one of them is complex."""
    pair = input, exponent
    whole = any(is_complex(getattr(x, "array", x)) for x in pair)
    kind, number = ("complex128", complex) if whole else ("float64", float)
    return pow(*[OPS["cast"](x, dtype=kind) if isinstance(x, Tensor) else number(x) for x in pair])


@api
def positive(input):
    """The tensor itself: +input. RuntimeError for bools, as in PyTorch."""
    if input.array.dtype.kind == "b":
        raise OpError("The `+` operator, on a bool tensor is not supported.")
    return input


expose(mul, multiply=mul, inplace=True)
expose(true_divide=div, inplace=True)
expose(neg, pow, reciprocal, square, negative=neg, inplace=True)
expose(lerp, ldexp, xlogy, inplace=True)
expose(floor_divide, remainder, fmod, gcd, lcm, inplace=True)
expose(hypot, atan2, copysign, heaviside, nextafter, arctan2=atan2, inplace=True)
expose(logaddexp, logaddexp2, maximum, minimum, fmax, fmin)
expose(clamp, clip=clamp, inplace=True)


@api(inplace=True)
def clamp_min(input, min):
    """max(input, min), elementwise. See `clamp`."""
    return clamp(input, min)


@api(inplace=True)
def clamp_max(input, max):
    """min(input, max), elementwise. See `clamp`."""
    return clamp(input, None, max)
