"""The Pareto distribution of the first kind."""

from __future__ import annotations

import math
from typing import Any

from . import constraints
from ._functions import F
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["Pareto"]


class Pareto(Distribution):
    """p(x) = alpha scale^alpha / x^(alpha + 1) for x >= scale: a tail that falls as a power.

    Mean alpha scale / (alpha - 1) for alpha > 1, variance scale² alpha / ((alpha - 1)² (alpha - 2)) for alpha > 2,
    infinite below. Source: Johnson, Kotz, Balakrishnan, 1994, chapter 20.
    """

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}
    has_rsample = True

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        super().__init__(self.scale.size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:  # type: ignore[override]
        """From scale on."""
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Any:
        """Infinite where alpha <= 1."""
        a = self.alpha.clamp(min=1)
        return a * self.scale / (a - 1)

    @property
    def mode(self) -> Any:
        return self.scale

    @property
    def variance(self) -> Any:
        """Infinite where alpha <= 2."""
        a = self.alpha.clamp(min=2)
        return self.scale.pow(2) * a / ((a - 1).pow(2) * (a - 2))

    def rsample(self, sample_shape: Any = ()) -> Any:
        u = F.rand(self._extended_shape(sample_shape), dtype=self.scale.dtype, device=self.scale.device)
        return self.icdf(u)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        inside = self.alpha.log() + self.alpha * self.scale.log() - (self.alpha + 1) * value.log()
        return F.where(value >= self.scale, inside, -math.inf)

    def cdf(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        return -(self.alpha * (self.scale / value).log()).expm1()

    def icdf(self, value: Any) -> Any:
        return self.scale * (-(-value).log1p() / self.alpha).exp()

    def entropy(self) -> Any:
        return (self.scale / self.alpha).log() + (1 + self.alpha.reciprocal())
