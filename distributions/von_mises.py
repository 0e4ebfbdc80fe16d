"""The von Mises distribution of angles."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import no_grad
from ..autograd.dtypes import float64
from . import constraints
from ._functions import F
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["VonMises"]

_ANGLES = 64


def _log_bessel(x: Any, order: int = 0) -> Any:
    """log I₀(x) or log I₁(x) of x > 0, relative error of the function 1e-13.

    The trapezoidal rule on (1/π) ∫₀^π cos(order t) exp(x cos t) dt, exact to exp(-2 · 64² / x), and beyond x = 200 the
    asymptotic series (Abramowitz and Stegun 9.6.19, 9.7.1).
    """
    kind, x = x.dtype, x.to(float64)
    near = x.clamp(max=200.0)
    total: Any = 0.0
    for k in range(_ANGLES + 1):
        t = math.pi * k / _ANGLES
        weight = (0.5 if k in (0, _ANGLES) else 1.0) / _ANGLES * (math.cos(t) if order else 1.0)
        total = total + weight * (near * (math.cos(t) - 1)).exp()
    far = x.clamp(min=200.0)
    series: Any = 1.0
    term: Any = 1.0
    for k in range(1, 9):
        term = term * (-(4 * order**2 - (2 * k - 1) ** 2) / (k * 8)) / far
        series = series + term
    found = F.where(x <= 200, near + total.log(), far - 0.5 * (2 * math.pi * far).log() + F.log(series))
    return found.to(kind)


class VonMises(Distribution):
    """p(x) = exp(concentration · cos(x - loc)) / (2π I₀(concentration)), angles in radians, samples in [-π, π).

    I₀ and I₁ are modified Bessel functions. No `rsample`. Sources: K. Mardia, P. Jupp, "Directional statistics",
    2000, section 3.5.4; D. Best, N. Fisher, "Efficient simulation of the von Mises distribution", 1979.
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """The direction, in radians."""
        return self.loc

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        """The circular variance, 1 - I₁ / I₀."""
        return 1 - (_log_bessel(self.concentration, 1) - _log_bessel(self.concentration)).exp()

    def sample(self, sample_shape: Any = ()) -> Any:
        """By rejection from a wrapped Cauchy distribution (D. Best, N. Fisher, 1979), in float64."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            k = self.concentration.expand(shape).to(float64).reshape(-1)
            tau = 1 + (1 + 4 * k * k).sqrt()
            rho = (tau - (2 * tau).sqrt()) / (2 * k)
            # where k is small the formula cancels, and r is 1 / k
            r = F.where(k < 1e-5, 1 / k + k, (1 + rho * rho) / (2 * rho))
            found, left = F.zeros_like(k), F.arange(k.numel(), device=k.device)
            while left.numel():
                u = F.rand((3, left.numel()), dtype=float64, device=k.device)
                z = F.cos(math.pi * u[0])
                f = ((1 + r[left] * z) / (r[left] + z)).clamp(-1.0, 1.0)
                c = k[left] * (r[left] - f)
                accepted = (c * (2 - c) - u[1] > 0) | ((c / u[1]).log() + 1 - c >= 0)
                angle = (u[2] - 0.5).sign() * F.acos(f)
                found[left[accepted]] = angle[accepted]
                left = left[~accepted]
            turned = found.reshape(shape) + self.loc.to(float64) + math.pi
            return (turned % (2 * math.pi) - math.pi).to(self.loc.dtype)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        found = self.concentration * F.cos(value - self.loc)
        return found - math.log(2 * math.pi) - _log_bessel(self.concentration)
