"""The beta distribution."""

from __future__ import annotations

from typing import Any

from ..autograd import finfo
from . import constraints
from ._functions import F
from .dirichlet import Dirichlet
from .exp_family import ExponentialFamily
from .utils import broadcast_all

__all__ = ["Beta"]


class Beta(ExponentialFamily):
    """p(x) = x^(a - 1) (1 - x)^(b - 1) / B(a, b) on (0, 1), a = `concentration1`, b = `concentration0`.

    Mean a / (a + b), variance a b / ((a + b)² (a + b + 1)). `rsample` takes the first of two shares of a Dirichlet
    sample. Source: Johnson, Kotz, Balakrishnan, 1995, chapter 25.
    """

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        both = F.stack(broadcast_all(concentration1, concentration0), -1)
        self._dirichlet = Dirichlet(both, validate_args=validate_args)
        super().__init__(self._dirichlet.batch_shape, validate_args=validate_args)

    @property
    def concentration1(self) -> Any:
        """The exponent of x, plus 1."""
        return self._dirichlet.concentration[..., 0]

    @property
    def concentration0(self) -> Any:
        """The exponent of 1 - x, plus 1."""
        return self._dirichlet.concentration[..., 1]

    @property
    def mean(self) -> Any:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Any:
        """The peak; where both parameters are below 1, the higher end, NaN where the ends are as high."""
        a, b = self.concentration1, self.concentration0
        less_a, less_b = (a - 1).clamp(min=0.0), (b - 1).clamp(min=0.0)
        peak = less_a / (less_a + less_b)
        end = F.where(a == b, float("nan"), (a > b).to(a.dtype))
        return F.where((a < 1) & (b < 1), end, peak)

    @property
    def variance(self) -> Any:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Any:
        value = self._dirichlet.rsample(sample_shape)[..., 0]
        about = finfo(value.dtype)
        return F.where(value < about.tiny, about.tiny, F.where(value == 1, 1 - about.eps / 2, value))

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        return F.xlogy(a - 1, value) + F.xlogy(b - 1, 1 - value) + (a + b).lgamma() - a.lgamma() - b.lgamma()

    def entropy(self) -> Any:
        a, b = self.concentration1, self.concentration0
        total = a + b
        normaliser = a.lgamma() + b.lgamma() - total.lgamma()
        return normaliser - (a - 1) * a.digamma() - (b - 1) * b.digamma() + (total - 2) * total.digamma()

    @property
    def _natural_params(self) -> Any:
        return self.concentration1, self.concentration0

    def _log_normalizer(self, x: Any, y: Any) -> Any:
        return x.lgamma() + y.lgamma() - (x + y).lgamma()
