"""The negative binomial distribution."""

from __future__ import annotations

from typing import Any

from ..autograd import no_grad
from ..autograd.ops.activation import logsigmoid
from . import constraints
from ._chances import Chances, one_of
from ._functions import F
from .gamma import Gamma
from .utils import broadcast_all

__all__ = ["NegativeBinomial"]


class NegativeBinomial(Chances):
    """The number of successes of probability p = `probs` before n = `total_count` failures; or logits = ln(p / (1 -
    p)).

    P(k) = Γ(n + k) / (k! Γ(n)) (1 - p)ⁿ pᵏ, k = 0, 1, ..., with n > 0 any real number; mean n p / (1 - p), variance n p
    / (1 - p)². Some texts call p the chance of a failure. Source: Johnson, Kemp, Kotz, 2005, chapter 5.
    """

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        name = one_of(probs, logits)
        self.total_count, value = broadcast_all(total_count, probs if name == "probs" else logits)
        self.total_count = self.total_count.type_as(value)
        vars(self)[name] = value
        super().__init__(value.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.total_count * F.exp(self.logits)

    @property
    def mode(self) -> Any:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Any:
        return self.mean / F.sigmoid(-self.logits)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Poisson numbers whose rates have a gamma distribution of concentration n and mean n p / (1 - p)."""
        with no_grad():
            rate = Gamma(self.total_count, F.exp(-self.logits), validate_args=False).sample(sample_shape)
            return F.poisson(rate)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        known = n * logsigmoid(-self.logits) + value * logsigmoid(self.logits)
        ways = (n + value).lgamma() - (1 + value).lgamma() - n.lgamma()
        return known + F.where(n + value == 0, 0.0, ways)
