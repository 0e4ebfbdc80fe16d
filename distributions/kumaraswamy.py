"""The Kumaraswamy distribution."""

from __future__ import annotations

from typing import Any

from ..autograd import finfo
from . import constraints
from ._functions import F
from .distribution import Distribution
from .utils import broadcast_all, euler_constant

__all__ = ["Kumaraswamy"]


class Kumaraswamy(Distribution):
    """P(X <= x) = 1 - (1 - xᵃ)ᵇ on (0, 1), a = `concentration1`, b = `concentration0`.

    Like Beta(a, b), with a cdf that can be inverted. p(x) = a b xᵃ⁻¹ (1 - xᵃ)ᵇ⁻¹, moments E[xⁿ] = b B(1 + n/a, b).
    Source: P. Kumaraswamy, "A generalized probability density function for double-bounded random processes", 1980.
    """

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.size(), validate_args=validate_args)

    def _moment(self, n: int) -> Any:
        """E[xⁿ] = b B(1 + n/a, b)."""
        first, b = 1 + n / self.concentration1, self.concentration0
        return (b.log() + first.lgamma() + b.lgamma() - (first + b).lgamma()).exp()

    @property
    def mean(self) -> Any:
        return self._moment(1)

    @property
    def mode(self) -> Any:
        """NaN where a parameter is below 1, or both are 1 (in PyTorch it is always NaN)."""
        a, b = self.concentration1, self.concentration0
        peak = ((a - 1) / (a * b - 1)).pow(a.reciprocal())
        return F.where((a < 1) | (b < 1) | ((a == 1) & (b == 1)), float("nan"), peak)

    @property
    def variance(self) -> Any:
        return self._moment(2) - self._moment(1).pow(2)

    def rsample(self, sample_shape: Any = ()) -> Any:
        about = finfo(self.concentration1.dtype)
        u = F.rand(
            self._extended_shape(sample_shape), dtype=self.concentration1.dtype, device=self.concentration1.device
        )
        return self.icdf(u.clamp(min=about.tiny)).clamp(min=about.tiny, max=1 - about.eps / 2)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        return a.log() + b.log() + F.xlogy(a - 1, value) + F.xlogy(b - 1, 1 - value.pow(a))

    def cdf(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        return -(self.concentration0 * (-value.pow(self.concentration1)).log1p()).expm1()

    def icdf(self, value: Any) -> Any:
        return (-((-value).log1p() / self.concentration0).expm1()).pow(self.concentration1.reciprocal())

    def entropy(self) -> Any:
        a, b = self.concentration1, self.concentration0
        harmonic = (b + 1).digamma() + euler_constant
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * harmonic - a.log() - b.log()
