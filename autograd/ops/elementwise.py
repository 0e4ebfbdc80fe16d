"""Functions of one operand, elementwise.

Integers and bools are computed in the default dtype, except where a function keeps them (abs, sign, rounding). Steps
(sign, floor, round and kin) have gradient 0, as in PyTorch.

Sources: elementary calculus; Abramowitz and Stegun, Handbook of Mathematical Functions, 6.4, 7.1; names, defaults and
dtypes as in PyTorch.
"""

from __future__ import annotations

import math

from ...backends import special
from ..complexes import is_complex
from ..op import op
from ..public import FUNCTIONS, api, expose
from ..tensor import method
from .arithmetic import flat

__all__ = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "deg2rad",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "frac",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "logit",
    "nan_to_num",
    "ndtr",
    "polygamma",
    "rad2deg",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "signbit",
    "sin",
    "sinc",
    "sinc_derivative",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
]

# -- powers, exponentials, logarithms ---------------------------------------------------------------------------------


@op(types="float")
def exp(xp, input):
    """e**input, elementwise."""
    return xp.exp(input)


@exp.grad("input")
def _(F, g, out):
    return g * out


@op(types="float")
def exp2(xp, input):
    """2**input, elementwise."""
    return xp.exp2(input)


@exp2.grad("input")
def _(F, g, out):
    return g * (out * math.log(2))


@op(types="float")
def expm1(xp, input):
    """e**input - 1, elementwise, exact for small input."""
    return xp.expm1(input)


@expm1.grad("input")
def _(F, g, out):
    return g * (out + 1)


@op(types="float")
def log(xp, input):
    """Natural logarithm, elementwise: of real numbers -∞ at 0, NaN below."""
    return xp.log(input)


@log.grad("input")
def _(F, g, input):
    return g / input


@op(types="float")
def log2(xp, input):
    """Logarithm to base 2, elementwise."""
    return xp.log2(input)


@log2.grad("input")
def _(F, g, input):
    return g / (input * math.log(2))


@op(types="float")
def log10(xp, input):
    """Logarithm to base 10, elementwise."""
    return xp.log10(input)


@log10.grad("input")
def _(F, g, input):
    return g / (input * math.log(10))


@op(types="float")
def log1p(xp, input):
    """log(1 + input), elementwise, exact for small input."""
    return xp.log1p(input)


@log1p.grad("input")
def _(F, g, input):
    return g / (input + 1)


@op(types="float")
def sqrt(xp, input):
    """Square root, elementwise. The derivative at 0 is inf."""
    return xp.sqrt(input)


@sqrt.grad("input")
def _(F, g, out):
    return g / (2 * out)


@op(types="float")
def rsqrt(xp, input):
    """1 / √input, elementwise."""
    return 1 / xp.sqrt(input)


@rsqrt.grad("input")
def _(F, g, out):
    return g * (-0.5 * out * out * out)


@op(types="float")
def cbrt(xp, input):
    """Cube root, elementwise, of negative numbers too (NumPy's name; PyTorch has none)."""
    return xp.cbrt(input)


@cbrt.grad("input")
def _(F, g, out):
    return g / (3 * out * out)


# -- angles -----------------------------------------------------------------------------------------------------------


@op(types="float")
def sin(xp, input):
    """The sine of each element, in radians."""
    return xp.sin(input)


@sin.grad("input")
def _(F, g, input):
    return g * F.cos(input)


@op(types="float")
def cos(xp, input):
    """The cosine of each element, in radians."""
    return xp.cos(input)


@cos.grad("input")
def _(F, g, input):
    return -g * F.sin(input)


@op(types="float")
def tan(xp, input):
    """The tangent sin / cos of each element, in radians."""
    return xp.tan(input)


@tan.grad("input")
def _(F, g, out):
    return g * (out * out + 1)


def _one_minus_square(x):
    """1 - x²; of a complex number with the sign of its imaginary zero, which says on what side of a cut it is."""
    return -(x * x - 1) if is_complex(getattr(x, "array", x)) else 1 - x * x


@op(types="float")
def asin(xp, input):
    """Arc sine, elementwise, in [-π/2, π/2]."""
    return xp.arcsin(input)


@asin.grad("input")
def _(F, g, input):
    return g / F.sqrt(_one_minus_square(input))


@op(types="float")
def acos(xp, input):
    """Arc cosine, elementwise, in [0, π]."""
    return xp.arccos(input)


@acos.grad("input")
def _(F, g, input):
    return -g / F.sqrt(_one_minus_square(input))


@op(types="float")
def atan(xp, input):
    """Arc tangent, elementwise, in (-π/2, π/2)."""
    return xp.arctan(input)


@atan.grad("input")
def _(F, g, input):
    return g / (input * input + 1)


@op(types="float")
def sinh(xp, input):
    """Hyperbolic sine (eˣ - e⁻ˣ) / 2, elementwise."""
    return xp.sinh(input)


@sinh.grad("input")
def _(F, g, input):
    return g * F.cosh(input)


@op(types="float")
def cosh(xp, input):
    """Hyperbolic cosine (eˣ + e⁻ˣ) / 2, elementwise."""
    return xp.cosh(input)


@cosh.grad("input")
def _(F, g, input):
    return g * F.sinh(input)


@op(types="float")
def tanh(xp, input):
    """Hyperbolic tangent (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ), elementwise."""
    return xp.tanh(input)


@tanh.grad("input")
def _(F, g, out):
    return g * (1 - out * out)


@op(types="float")
def asinh(xp, input):
    """Inverse of sinh, elementwise."""
    return xp.arcsinh(input)


@asinh.grad("input")
def _(F, g, input):
    return g / F.sqrt(input * input - -1)  # not + 1, which would lose the sign of an imaginary zero: the side of a cut


@op(types="float")
def acosh(xp, input):
    """Inverse of cosh, elementwise, for input >= 1."""
    return xp.arccosh(input)


@acosh.grad("input")
def _(F, g, input):
    if is_complex(getattr(input, "array", input)):
        return g / (F.sqrt(input - 1) * F.sqrt(input - -1))  # the other form is on another branch
    return g / F.sqrt(input * input - 1)


@op(types="float")
def atanh(xp, input):
    """Inverse of tanh, elementwise, for -1 < input < 1."""
    return xp.arctanh(input)


@atanh.grad("input")
def _(F, g, input):
    return g / (1 - input * input)


@op(types="float")
def deg2rad(xp, input):
    """Degrees as radians, elementwise: input * π / 180."""
    return input * (math.pi / 180)


@deg2rad.grad("input")
def _(F, g):
    return g * (math.pi / 180)


@op(types="float")
def rad2deg(xp, input):
    """Radians as degrees, elementwise: input * 180 / π."""
    return input * (180 / math.pi)


@rad2deg.grad("input")
def _(F, g):
    return g * (180 / math.pi)


@op(types="float")
def sinc(xp, input):
    """sin(π input) / (π input), elementwise, 1 at 0; all derivatives hold at 0 too."""
    return xp.sinc(input)


@sinc.grad("input")
def _(F, g, input):
    return g * F.sinc_derivative(input, n=1)


@op(types="float")
def sinc_derivative(xp, input, /, n):
    """The n-th derivative of `sinc`, elementwise: its power series within 1 of 0, a recurrence outside.

    Outside, (x sinc)⁽ⁿ⁾ = x sinc⁽ⁿ⁾ + n sinc⁽ⁿ⁻¹⁾ is known: π**(n-1) sin(πx + nπ/2).
    """
    near = xp.minimum(xp.maximum(input, -1), 1)
    series = 0.0
    for k in range((n + 1) // 2, 20 + n):
        power = 2 * k - n
        scale = (-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k + 1) * math.perm(2 * k, n)
        series = series + scale * near**power
    far = xp.where(xp.abs(input) < 1, 1, input)
    outer = xp.sinc(far)
    for k in range(1, n + 1):
        outer = (math.pi ** (k - 1) * xp.sin(math.pi * far + k * math.pi / 2) - k * outer) / far
    return xp.where(xp.abs(input) < 1, series, outer)


@sinc_derivative.grad("input")
def _(F, g, input, n):
    return g * F.sinc_derivative(input, n=n + 1)


# -- signs, rounding, tests -------------------------------------------------------------------------------------------


@op
def abs(xp, input):
    """|input|, elementwise. The derivative at 0 is 0."""
    return xp.absolute(input)


@abs.grad("input")
def _(F, g, input):
    return g * F.sign(input)


@op
def sign(xp, input):
    """-1, 0 or 1 by the sign, elementwise; 0 for NaN, as in PyTorch."""
    if input.dtype.kind == "b":
        return input.copy()
    return (input > 0).astype(input.dtype) - (input < 0)


@op
def ceil(xp, input):
    """The smallest whole number not below, elementwise."""
    return input.copy() if input.dtype.kind in "biu" else xp.ceil(input)


@op
def floor(xp, input):
    """The largest whole number not above, elementwise."""
    return input.copy() if input.dtype.kind in "biu" else xp.floor(input)


@op
def trunc(xp, input):
    """The whole part, elementwise: rounded towards 0."""
    return input.copy() if input.dtype.kind in "biu" else xp.trunc(input)


@op
def round(xp, input, /, decimals=0):
    """Rounded to `decimals` places (before the point if negative), elementwise; halves go to the even neighbour."""
    return xp.round(input, decimals)


@op
def frac(xp, input):
    """input - trunc(input), elementwise: the part behind the point, with input's sign."""
    return input - xp.trunc(input)


@frac.grad("input")
def _(F, g):
    return g


for _step in (sign, ceil, floor, trunc, round):
    flat(_step, "input")


@op
def signbit(xp, input):
    """Whether the sign is set, elementwise: true for -0.0 as well."""
    return xp.signbit(input)


@op
def isnan(xp, input):
    """Whether each element is NaN."""
    return input != input


@op
def isinf(xp, input):
    """Whether each element is inf or -inf."""
    return xp.isinf(input)


@op
def isfinite(xp, input):
    """Whether each element is neither NaN nor infinite."""
    return xp.isfinite(input)


@op
def isposinf(xp, input):
    """Whether each element is inf."""
    return input == math.inf


@op
def isneginf(xp, input):
    """Whether each element is -inf."""
    return input == -math.inf


@op
def nan_to_num(xp, input, /, nan=None, posinf=None, neginf=None):
    """NaN replaced by `nan` (0), inf by `posinf` and -inf by `neginf` (the dtype's limits), with gradient 0 there."""
    if input.dtype.kind in "biu":
        return input.copy()
    return xp.nan_to_num(input, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


@nan_to_num.grad("input")
def _(F, g, input):
    return F.where(F.isfinite(input), g, 0)


# -- special functions ------------------------------------------------------------------------------------------------


@op(types="float")
def sigmoid(xp, input):
    """1 / (1 + exp(-input)), elementwise: the logistic function."""
    return 1 / (1 + xp.exp(-input))


@sigmoid.grad("input")
def _(F, g, out):
    return g * (out * (1 - out))


@op(types="float")
def logit(xp, input, /, eps=None):
    """log(p / (1 - p)), elementwise, the inverse of sigmoid; with `eps` p is input clamped to [eps, 1 - eps].

    The gradient is 0 where it is clamped, and at the bounds (PyTorch: not there).
    """
    if eps is not None:
        input = xp.minimum(xp.maximum(input, eps), 1 - eps)
    return xp.log(input / (1 - input))


@logit.grad("input")
def _(F, g, input, eps):
    if eps is None:
        return g / (input * (1 - input))
    inside = (input > eps) & (input < 1 - eps)
    p = F.where(inside, input, 0.5)
    return F.where(inside, g, 0) / (p * (1 - p))


@op(types="float")
def erf(xp, input):
    """The error function 2/√π ∫₀ˣ exp(-t²) dt, elementwise, to 7e-16."""
    return special.erf(xp, input)


@erf.grad("input")
def _(F, g, input):
    return g * (F.exp(-input * input) * (2 / math.sqrt(math.pi)))


@op(types="float")
def erfc(xp, input):
    """1 - erf(input), elementwise, to 1e-15 also where it is tiny."""
    return special.erfc(xp, input)


@erfc.grad("input")
def _(F, g, input):
    return g * (F.exp(-input * input) * (-2 / math.sqrt(math.pi)))


@op(types="float")
def erfinv(xp, input):
    """The inverse of erf, elementwise, on [-1, 1]."""
    return special.erfinv(xp, input)


@erfinv.grad("input")
def _(F, g, out):
    return g * (F.exp(out * out) * (math.sqrt(math.pi) / 2))


@op(types="float")
def ndtr(xp, input):
    """The area of the standard normal distribution below each element: erfc(-input / √2) / 2."""
    return special.ndtr(xp, input)


@ndtr.grad("input")
def _(F, g, input):
    return g * (F.exp(input * input * -0.5) * (1 / math.sqrt(2 * math.pi)))


@op(types="float")
def lgamma(xp, input):
    """log|Γ(input)|, elementwise; inf at 0, -1, -2, ..."""
    return special.lgamma(xp, input)


@lgamma.grad("input")
def _(F, g, input):
    return g * F.digamma(input)


@op(types="float")
def digamma(xp, input):
    """The derivative of log Γ(input), elementwise; -inf at 0, NaN at -1, -2, ..."""
    return special.digamma(xp, input)


@digamma.grad("input")
def _(F, g, input):
    return g * F.polygamma(1, input)


@op(inputs="input", types="float")
def polygamma(xp, n, input):
    """The n-th derivative of digamma, elementwise, n >= 0."""
    if n < 0:
        raise ValueError("polygamma(n, x) does not support negative n.")
    return special.polygamma(xp, input, n)


@polygamma.grad("input")
def _(F, g, n, input):
    return g * F.polygamma(n + 1, input)


@method(name="polygamma")
def _(self, n):
    """The n-th derivative of digamma, elementwise, n >= 0."""
    return polygamma(n, self)


FUNCTIONS["polygamma"] = polygamma


@api(inplace=True)
def mvlgamma(input, p):
    """The logarithm of the multivariate gamma function: Σ lgamma(input - j/2) for j < p, + p (p - 1)/4 log π."""
    total = lgamma(input)
    for j in range(1, p):
        total = total + lgamma(input - j / 2)
    return total + p * (p - 1) / 4 * math.log(math.pi)


expose(exp, exp2, expm1, log, log2, log10, log1p, sqrt, rsqrt, cbrt, inplace=True)
expose(sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, asinh, acosh, atanh, inplace=True)
expose(arcsin=asin, arccos=acos, arctan=atan, arcsinh=asinh, arccosh=acosh, arctanh=atanh, inplace=True)
expose(deg2rad, rad2deg, sinc, abs, sign, ceil, floor, trunc, round, frac, nan_to_num, inplace=True)
expose(absolute=abs, sgn=sign, fix=trunc, inplace=True)
expose(signbit, isnan, isinf, isfinite, isposinf, isneginf)
expose(sigmoid, logit, erf, erfc, erfinv, lgamma, digamma, inplace=True)
expose(expit=sigmoid, ndtr=ndtr, methods=False)
