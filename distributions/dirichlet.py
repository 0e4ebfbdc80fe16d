"""The Dirichlet distribution."""

from __future__ import annotations

from typing import Any

from . import constraints
from ._functions import F
from ._gamma import log_gamma_sample
from .exp_family import ExponentialFamily

__all__ = ["Dirichlet"]


class Dirichlet(ExponentialFamily):
    """p(x) = Γ(Σa) Π xᵢ^(aᵢ - 1) / Γ(aᵢ) at points x (..., K) of the simplex, a = `concentration` (..., K).

    Mean a / Σa; ValueError for a 0-d concentration. Samples are gamma samples over their sum, and their gradients
    those of the gamma samples. Source: S. Kotz, N. Balakrishnan, N. Johnson, "Continuous multivariate
    distributions", 2000, chapter 49.
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: Any, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def mode(self) -> Any:
        less = (self.concentration - 1).clamp(min=0.0)
        inside = less / less.sum(-1, True)
        corner = F.one_hot(self.concentration.argmax(dim=-1), self.concentration.shape[-1]).to(inside.dtype)
        return F.where((self.concentration < 1).all(dim=-1, keepdim=True), corner, inside)

    @property
    def variance(self) -> Any:
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Any:
        logs = log_gamma_sample(self.concentration, self._extended_shape(sample_shape))
        return F.softmax(logs, -1).to(self.concentration.dtype)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        a = self.concentration
        return F.xlogy(a - 1, value).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def entropy(self) -> Any:
        a, k = self.concentration, self.concentration.shape[-1]
        total = a.sum(-1)
        normaliser = a.lgamma().sum(-1) - total.lgamma()
        return normaliser - (k - total) * total.digamma() - ((a - 1) * a.digamma()).sum(-1)

    @property
    def _natural_params(self) -> Any:
        return (self.concentration,)

    def _log_normalizer(self, x: Any) -> Any:
        return x.lgamma().sum(-1) - x.sum(-1).lgamma()
