"""Student's t-distribution."""

from __future__ import annotations

import math
from typing import Any

from . import constraints
from ._functions import F
from .chi2 import Chi2
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["StudentT"]


class StudentT(Distribution):
    """loc + scale · z / √(χ² / df), of a standard normal z and a chi-squared number of `df` degrees of freedom.

    p(x) = Γ((df + 1) / 2) / (Γ(df / 2) √(π df) scale) · (1 + t² / df)^(-(df + 1) / 2), t = (x - loc) / scale. Mean
    loc (df > 1), variance scale² df / (df - 2) (df > 2). Source: Johnson, Kotz, Balakrishnan, 1995, chapter 28.
    """

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """NaN where df <= 1."""
        return F.where(self.df <= 1, math.nan, self.loc)

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        """Infinite where df <= 2, NaN where df <= 1."""
        finite = self.scale.pow(2) * self.df / (self.df - 2)
        return F.where(self.df <= 1, math.nan, F.where(self.df <= 2, math.inf, finite))

    def rsample(self, sample_shape: Any = ()) -> Any:
        z = F.randn(self._extended_shape(sample_shape), dtype=self.df.dtype, device=self.df.device)
        spread = Chi2(self.df, validate_args=False).rsample(sample_shape)
        return self.loc + self.scale * z * (spread / self.df).rsqrt()

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        z, df = (value - self.loc) / self.scale, self.df
        return -0.5 * (df + 1) * (z * z / df).log1p() - self._normaliser()

    def _normaliser(self) -> Any:
        df = self.df
        beta = 0.5 * math.log(math.pi) + (0.5 * df).lgamma() - (0.5 * (df + 1)).lgamma()
        return self.scale.log() + 0.5 * df.log() + beta

    def entropy(self) -> Any:
        half = 0.5 * (self.df + 1)
        return self._normaliser() + half * (half.digamma() - (0.5 * self.df).digamma())
