"""The inverse gamma distribution."""

from __future__ import annotations

import math
from typing import Any

from . import constraints
from ._functions import F
from .gamma import Gamma
from .transformed_distribution import TransformedDistribution
from .transforms import PowerTransform
from .utils import broadcast_all

__all__ = ["InverseGamma"]


class InverseGamma(TransformedDistribution):
    """1 / z of z ~ Gamma(concentration, rate): p(x) = rateᵃ x^(-a - 1) exp(-rate / x) / Γ(a), a = concentration, x > 0.

    Mean rate / (a - 1) for a > 1, variance rate² / ((a - 1)² (a - 2)) for a > 2, infinite below. The conjugate
    prior of a normal distribution's variance: A. Gelman et al., "Bayesian data analysis", 2013, appendix A.
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        concentration, rate = broadcast_all(concentration, rate)
        base = Gamma(concentration, rate, validate_args=validate_args)
        reciprocal = PowerTransform(F.tensor(-1.0, dtype=rate.dtype, device=rate.device))
        super().__init__(base, reciprocal, validate_args=validate_args)

    @property
    def concentration(self) -> Any:
        """a, the concentration of 1 / x."""
        return self.base_dist.concentration

    @property
    def rate(self) -> Any:
        """The rate of 1 / x, and the scale of x."""
        return self.base_dist.rate

    @property
    def mean(self) -> Any:
        """Infinite where the concentration is at most 1."""
        return F.where(self.concentration > 1, self.rate / (self.concentration - 1), math.inf)

    @property
    def mode(self) -> Any:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Any:
        """Infinite where the concentration is at most 2."""
        a = self.concentration
        return F.where(a > 2, self.rate.square() / ((a - 1).square() * (a - 2)), math.inf)

    def entropy(self) -> Any:
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()
