"""Samples of the gamma distribution with gradients, and its distribution function.

Both derivatives rest on one integral. With t = x·exp(∓u) the mass below (x <= a) or above (x > a) becomes

    ∫ p(t) dt = x p(x) ∫₀^∞ exp(φ(±u)) du,    φ(w) = -a w - x (exp(-w) - 1),

whose integrand is 1 at u = 0 and falls from there. Implicit differentiation of F(x; a) = const gives the gradient of a
sample, dx/da = -(∂F/∂a) / p(x), and with ∂ log p / ∂a = log t - ψ(a)

    d log x / da = ± ∫₀^∞ exp(φ(±u)) (ψ(a) - log x ± u) du.

Each is summed by the double-exponential rule u = c exp(s - exp(-s)), in float64. Measured against SciPy: relative error
below 2e-9 for 1e-2 <= a <= 1e5 and probabilities of 1e-6 to 1 - 1e-6. All of it consists of differentiable operations,
so the gradients of samples have gradients.

Sources: M. Figurnov, S. Mohamed, A. Mnih, "Implicit reparameterization gradients", 2018; G. Marsaglia, W. W. Tsang, "A
simple method for generating gamma variables", 2000; H. Takahasi, M. Mori, "Double exponential formulas for numerical
integration", 1974.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Function, Tensor, no_grad
from ..autograd.dtypes import float64
from ._functions import F

__all__ = ["gamma_cdf", "log_gamma_sample"]

_STEP = 0.1
#: (u / c, weight / c) of the rule
_NODES = [
    (math.exp(s - math.exp(-s)), _STEP * (1 + math.exp(-s)) * math.exp(s - math.exp(-s)))
    for s in (_STEP * k for k in range(-32, 43))
]


def _integral(a: Any, x: Any, offset: Any = None) -> Any:
    """∫₀^∞ exp(φ(w)) du, or with `offset` that of exp(φ(w)) (offset + w), w = u where x <= a and -u elsewhere."""
    with no_grad():
        below = x <= a
        side = F.where(below, 1.0, -1.0)
        scale = 1 / (F.minimum(a, a.sqrt()) * below + a.sqrt() * ~below + (a - x).abs())
    total: Any = 0.0
    for at, weight in _NODES:
        with no_grad():
            w = (side * scale * at).clamp(min=-700.0)
            fall = F.expm1(-w)
        term = F.exp(-a * w - x * fall) * (scale * weight)
        total = total + (term if offset is None else term * (offset + w))
    return total, side


def gamma_cdf(concentration: Tensor, x: Tensor) -> Tensor:
    """P(a, x) = ∫₀ˣ tᵃ⁻¹ exp(-t) dt / Γ(a) of x >= 0, in float64."""
    a, x = F.broadcast_tensors(concentration.to(float64), x.to(float64))
    inside = x > 0
    x = F.where(inside, x, 1.0)
    integral, side = _integral(a, x)
    mass = F.exp(a * x.log() - x - a.lgamma()) * integral
    return F.where(inside, F.where(side > 0, mass, 1 - mass), 0.0)


class _LogGammaSample(Function):
    """The logarithms of samples of rate 1: small concentrations give samples that underflow, and logarithms that don't.

    concentration: float64.
    """

    @staticmethod
    def forward(ctx: Any, concentration: Any) -> Any:
        shape = concentration.shape
        given = concentration.reshape(-1)
        boost = given < 1
        shifted = F.where(boost, given + 1, given)
        out = _marsaglia_tsang(shifted).log()
        # x of a is x of (a + 1), times uniform^(1 / a)
        uniform = 1 - F.rand(given.shape, dtype=given.dtype, device=given.device)
        out = (out + F.where(boost, uniform.log() / given, 0.0)).reshape(shape)
        ctx.save_for_backward(concentration, out)
        return out

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        a, log_x = ctx.saved_tensors
        integral, side = _integral(a, log_x.exp(), a.digamma() - log_x)
        return g * side * integral


def _marsaglia_tsang(a: Any) -> Any:
    """Samples of the concentrations a >= 1, a vector."""
    like = {"dtype": a.dtype, "device": a.device}
    d = a - 1 / 3
    c = (9 * d).rsqrt()
    found = F.ones(a.shape, **like)
    left = F.arange(a.numel(), device=a.device)
    while left.numel():
        z, u = F.randn(left.shape, **like), 1 - F.rand(left.shape, **like)
        v = (1 + c[left] * z) ** 3
        positive = v.clamp(min=1e-300)
        accepted = (v > 0) & (u.log() < 0.5 * z * z + d[left] * (1 - v + positive.log()))
        found[left[accepted]] = (d[left] * v)[accepted]
        left = left[~accepted]
    return found


def log_gamma_sample(concentration: Tensor, shape: Any) -> Tensor:
    """log x of samples of the gamma distribution of rate 1, in float64, differentiable in `concentration`."""
    return _LogGammaSample.apply(concentration.expand(shape).to(float64))
