"""`chainrule.special`: special functions under the names of `torch.special`, all elementwise unless said otherwise.

Formulas and their accuracy: backends/special.py and backends/bessel.py. Orthogonal polynomials are in polynomials.py.
Not there, because nothing that trains needs them: the Airy function, and Bessel functions of the second kind.
"""

from __future__ import annotations

import math
from typing import Any

from ..backends import bessel
from .composite import composite
from .op import OPS, op
from .public import FUNCTIONS
from .tensor import Tensor

__all__ = [
    "bessel_j0",
    "bessel_j1",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammainc",
    "gammaincc",
    "gammaln",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "igamma",
    "igammac",
    "log1p",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "modified_bessel_i0",
    "modified_bessel_i1",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "round",
    "sinc",
    "softmax",
    "spherical_bessel_j0",
    "xlog1py",
    "xlogy",
    "zeta",
]

# -- names that the engine has already --------------------------------------------------------------------------------

digamma, erf, erfc, erfinv, exp2 = [FUNCTIONS[n] for n in ("digamma", "erf", "erfc", "erfinv", "exp2")]
expm1, log1p, logit, sinc, xlogy = [FUNCTIONS[n] for n in ("expm1", "log1p", "logit", "sinc", "xlogy")]
expit, ndtr, psi, gammaln = FUNCTIONS["sigmoid"], OPS["ndtr"], FUNCTIONS["digamma"], FUNCTIONS["lgamma"]
multigammaln, round, log_softmax, softmax = [FUNCTIONS[n] for n in ("mvlgamma", "round", "log_softmax", "softmax")]
logsumexp, polygamma = FUNCTIONS["logsumexp"], FUNCTIONS["polygamma"]

# -- the normal distribution ------------------------------------------------------------------------------------------


@op(types="float")
def erfcx(xp, input):
    """exp(x²) erfc(x), elementwise: the tail of erfc without its decay."""
    return bessel.erfcx(xp, input)


@erfcx.grad("input")
def _(F, g, input, out):
    return g * (2 * input * out - 2 / math.sqrt(math.pi))


@op(types="float")
def log_ndtr(xp, input):
    """log Φ(x), elementwise: of the standard normal distribution's area below x, also where that underflows."""
    return bessel.log_ndtr(xp, input)


@log_ndtr.grad("input")
def _(F, g, input):
    return g * (math.sqrt(2 / math.pi) / F.erfcx(input * -math.sqrt(0.5)))


@op(types="float")
def ndtri(xp, input):
    """The x with Φ(x) = input, elementwise: the standard normal's quantile, ±inf at 0 and 1, NaN outside."""
    return bessel.ndtri(xp, input)


@ndtri.grad("input")
def _(F, g, out):
    return g * (F.exp(out * out / 2) * math.sqrt(2 * math.pi))


# -- logarithms -------------------------------------------------------------------------------------------------------


@composite
def entr(F, input):
    """-x log x, elementwise; 0 at 0, -inf below."""
    return F.where(input < 0, -math.inf, -F.xlogy(input, input))


@op(broadcast=True, types="float")
def xlog1py(xp, input, other):
    """x log(1 + y), elementwise, x = input and y = other; 0 where x is 0, unless y is NaN."""
    other = xp.asarray(other, input.dtype if hasattr(input, "dtype") else other.dtype)
    silent = (input == 0) & (other == other)
    return xp.where(silent, 0, input * xp.log1p(xp.where(silent, 0, other)))


@xlog1py.grad("input")
def _(F, g, input, other):
    return F.xlog1py(F.where((input == 0) & (other <= -1), 0, g), other)


@xlog1py.grad("other")
def _(F, g, input, other):
    return g * (input / F.where((input == 0) & (other == -1), 1, 1 + other))


# -- Bessel functions -------------------------------------------------------------------------------------------------


@op(types="float")
def bessel_j0(xp, input):
    """The Bessel function J₀(x) = 1/π ∫₀^π cos(x sin t) dt, of the first kind, elementwise."""
    return bessel.bessel_j(xp, input, 0)


@bessel_j0.grad("input")
def _(F, g, input):
    return -g * F.bessel_j1(input)


@op(types="float")
def bessel_j1(xp, input):
    """The Bessel function J₁(x) = 1/π ∫₀^π cos(t - x sin t) dt, of the first kind, elementwise."""
    return bessel.bessel_j(xp, input, 1)


@bessel_j1.grad("input")
def _(F, g, input, out):
    return g * (F.bessel_j0(input) - _over(F, out, input))


def _over(F, out, x):
    """A function of order 1 over x, 1/2 at 0."""
    zero = x == 0
    return F.where(zero, 0.5, out / F.where(zero, 1.0, x))


@op(types="float")
def i0e(xp, input):
    """exp(-|x|) I₀(x), elementwise, with the modified Bessel function I₀ (see `i0`)."""
    return bessel.bessel_ie(xp, input, 0)


@i0e.grad("input")
def _(F, g, input, out):
    return g * (F.i1e(input) - F.sign(input) * out)


@op(types="float")
def i1e(xp, input):
    """exp(-|x|) I₁(x), elementwise, with the modified Bessel function I₁ (see `i1`)."""
    return bessel.bessel_ie(xp, input, 1)


@i1e.grad("input")
def _(F, g, input, out):
    return g * (F.i0e(input) - F.sign(input) * out - _over(F, out, input))


@op(types="float")
def i0(xp, input):
    """The modified Bessel function I₀(x) = 1/π ∫₀^π exp(x cos t) dt, of the first kind, elementwise."""
    return bessel.bessel_ie(xp, input, 0) * xp.exp(xp.abs(input))


@i0.grad("input")
def _(F, g, input):
    return g * F.i1(input)


@op(types="float")
def i1(xp, input):
    """The modified Bessel function I₁(x) = 1/π ∫₀^π cos(t) exp(x cos t) dt, of the first kind, elementwise."""
    return bessel.bessel_ie(xp, input, 1) * xp.exp(xp.abs(input))


@i1.grad("input")
def _(F, g, input, out):
    return g * (F.i0(input) - _over(F, out, input))


modified_bessel_i0, modified_bessel_i1 = i0, i1


def spherical_bessel_j0(input: Tensor) -> Tensor:
    """sin(x) / x, elementwise; 1 at 0."""
    return OPS["sinc"](input / math.pi)


# -- gamma and zeta ---------------------------------------------------------------------------------------------------


@op(broadcast=True, types="float")
def gammainc(xp, input, other):
    """P(a, x) = 1/Γ(a) ∫₀ˣ t^(a-1) e^-t dt, for a (`input`) and x not below 0. No gradient for a, as in PyTorch."""
    return bessel.gammainc(xp, input, other)


@gammainc.grad("other")
def _(F, g, input, other):
    return g * F.exp(F.xlogy(input - 1, other) - other - F.lgamma(input))


@op(broadcast=True, types="float")
def gammaincc(xp, input, other):
    """1 - P(a, x), without the loss of digits where P is near 1. See `gammainc`."""
    return bessel.gammainc(xp, input, other, True)


@gammaincc.grad("other")
def _(F, g, input, other):
    return -g * F.exp(F.xlogy(input - 1, other) - other - F.lgamma(input))


igamma, igammac = gammainc, gammaincc


@op(broadcast=True, types="float")
def zeta(xp, input, other):
    """Hurwitz's zeta function Σ (k + q)^-s over k = 0, 1, ..., elementwise; s = input > 1, q = other.

    No gradient for s.
    """
    return bessel.zeta(xp, input, other)


@zeta.grad("other")
def _(F, g, input, other):
    return -g * input * F.zeta(input + 1, other)


def __getattr__(name: str) -> Any:
    if "polynomial_" in name:
        from . import polynomials

        return getattr(polynomials, name)
    if name.startswith(("airy", "bessel_y", "modified", "scaled")):
        raise AttributeError(f"chainrule.special has no {name}: see the list in its docstring")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
