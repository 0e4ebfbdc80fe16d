"""The Weibull distribution."""

from __future__ import annotations

from typing import Any

from . import constraints
from ._functions import F
from .distribution import Distribution
from .utils import broadcast_all, euler_constant

__all__ = ["Weibull"]


class Weibull(Distribution):
    """P(X <= x) = 1 - exp(-(x / scale)^k), k = `concentration`, x > 0; exponential for k = 1.

    Mean scale Γ(1 + 1/k), variance scale² (Γ(1 + 2/k) - Γ(1 + 1/k)²). `rsample` inverts the cdf. Source: Johnson,
    Kotz, Balakrishnan, 1994, chapter 21.
    """

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        super().__init__(self.scale.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.scale * (1 + 1 / self.concentration).lgamma().exp()

    @property
    def mode(self) -> Any:
        """0 where the concentration is at most 1 (PyTorch: NaN below 1)."""
        k = self.concentration
        return self.scale * ((k - 1) / k).clamp(min=0.0) ** k.reciprocal()

    @property
    def variance(self) -> Any:
        once, twice = (1 + 1 / self.concentration).lgamma(), (1 + 2 / self.concentration).lgamma()
        return self.scale.pow(2) * (twice.exp() - (2 * once).exp())

    def rsample(self, sample_shape: Any = ()) -> Any:
        u = 1 - F.rand(self._extended_shape(sample_shape), dtype=self.scale.dtype, device=self.scale.device)
        return self.scale * (-u.log()) ** self.concentration.reciprocal()

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        ratio = value / self.scale
        power = ratio.pow(self.concentration)
        return (self.concentration / self.scale).log() + (self.concentration - 1) * ratio.log() - power

    def cdf(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        return -(-(value / self.scale).pow(self.concentration)).expm1()

    def icdf(self, value: Any) -> Any:
        return self.scale * (-(-value).log1p()) ** self.concentration.reciprocal()

    def entropy(self) -> Any:
        inverse = self.concentration.reciprocal()
        return euler_constant * (1 - inverse) + (self.scale * inverse).log() + 1
