"""The gamma distribution."""

from __future__ import annotations

from typing import Any

from ..autograd import finfo
from . import constraints
from ._functions import F
from ._gamma import gamma_cdf, log_gamma_sample
from .exp_family import ExponentialFamily
from .utils import broadcast_all

__all__ = ["Gamma"]


class Gamma(ExponentialFamily):
    """p(x) = rateᵃ xᵃ⁻¹ exp(-rate x) / Γ(a), a = `concentration`, x > 0.

    Mean a / rate, variance a / rate². `rsample` differentiates in both parameters, to any order (PyTorch's to the
    first); `cdf` too, which PyTorch has without a gradient in a.

    Sources: Johnson, Kotz, Balakrishnan, 1994, chapter 17; G. Marsaglia, W. Tsang, "A simple method for generating
    gamma variables", 2000; M. Figurnov, S. Mohamed, A. Mnih, "Implicit reparameterization gradients", 2018.
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.concentration / self.rate

    @property
    def mode(self) -> Any:
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Any:
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape: Any = ()) -> Any:
        log_x = log_gamma_sample(self.concentration, self._extended_shape(sample_shape))
        value = log_x.exp().to(self.concentration.dtype) / self.rate
        tiny = finfo(value.dtype).tiny
        return F.where(value < tiny, tiny, value)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        a, rate = self.concentration, self.rate
        return F.xlogy(a, rate) + F.xlogy(a - 1, value) - rate * value - a.lgamma()

    def cdf(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        return gamma_cdf(self.concentration, self.rate * value).to(self.concentration.dtype)

    def entropy(self) -> Any:
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()

    @property
    def _natural_params(self) -> Any:
        return self.concentration - 1, -self.rate

    def _log_normalizer(self, x: Any, y: Any) -> Any:
        return (x + 1).lgamma() + (x + 1) * F.log(-y.reciprocal())
