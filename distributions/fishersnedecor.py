"""The F-distribution of Fisher and Snedecor."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import finfo
from . import constraints
from ._functions import F
from ._gamma import log_gamma_sample
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["FisherSnedecor"]


class FisherSnedecor(Distribution):
    """The ratio of two chi-squared numbers, each over its degrees of freedom `df1` and `df2`; x > 0.

    p(x) = r^(a) x^(a - 1) (1 + r x)^(-a - b) / B(a, b), a = df1 / 2, b = df2 / 2, r = df1 / df2. Mean df2 / (df2 -
    2) for df2 > 2. Source: Johnson, Kotz, Balakrishnan, 1995, chapter 27.
    """

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        super().__init__(self.df1.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """NaN where df2 <= 2."""
        return F.where(self.df2 <= 2, math.nan, self.df2 / (self.df2 - 2))

    @property
    def mode(self) -> Any:
        """NaN where df1 <= 2."""
        peak = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return F.where(self.df1 <= 2, math.nan, peak)

    @property
    def variance(self) -> Any:
        """NaN where df2 <= 4."""
        d1, d2 = self.df1, self.df2
        finite = 2 * d2.square() * (d1 + d2 - 2) / (d1 * (d2 - 2).square() * (d2 - 4))
        return F.where(d2 <= 4, math.nan, finite)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        log_ratio = log_gamma_sample(self.df1 / 2, shape) - log_gamma_sample(self.df2 / 2, shape)
        value = log_ratio.exp().to(self.df1.dtype) * (self.df2 / self.df1)
        return value.clamp(min=finfo(value.dtype).tiny)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        a, b, ratio = self.df1 / 2, self.df2 / 2, self.df1 / self.df2
        normaliser = (a + b).lgamma() - a.lgamma() - b.lgamma()
        return normaliser + a * ratio.log() + (a - 1) * value.log() - (a + b) * (ratio * value).log1p()
