"""The Gumbel distribution."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import finfo
from . import constraints
from ._functions import F
from .distribution import Distribution
from .utils import broadcast_all, euler_constant

__all__ = ["Gumbel"]


class Gumbel(Distribution):
    """The distribution of maxima: P(X <= x) = exp(-exp(-z)), z = (x - loc) / scale, p(x) = exp(-z - exp(-z)) / scale.

    Mean loc + γ scale with Euler's γ = 0.5772, variance π² scale² / 6, entropy log scale + 1 + γ. Source: Johnson,
    Kotz, Balakrishnan, 1995, chapter 22.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.loc + self.scale * euler_constant

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def stddev(self) -> Any:
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> Any:
        return self.stddev.pow(2)

    def rsample(self, sample_shape: Any = ()) -> Any:
        u = F.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        about = finfo(self.loc.dtype)
        return self.icdf(u.clamp(min=about.tiny, max=1 - about.eps / 2))

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        z = (self.loc - value) / self.scale
        return z - z.exp() - self.scale.log()

    def cdf(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        return (-((self.loc - value) / self.scale).exp()).exp()

    def icdf(self, value: Any) -> Any:
        return self.loc - self.scale * (-value.log()).log()

    def entropy(self) -> Any:
        return self.scale.log() + (1 + euler_constant)
