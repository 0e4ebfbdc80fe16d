"""The Bernoulli distribution."""

from __future__ import annotations

from typing import Any

from ..autograd import no_grad
from ..autograd.ops.activation import softplus
from . import constraints
from ._chances import Chances
from ._functions import F

__all__ = ["Bernoulli"]


class Bernoulli(Chances):
    """1 with probability p = `probs` = σ(`logits`), otherwise 0; float values of the parameter's dtype.

    log p(x) = x log p + (1 - x) log(1 - p), mean p, variance p (1 - p). ValueError unless one of both is given.
    Source: Johnson, Kemp, Kotz, 2005, chapter 3.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._take_chances(probs, logits)
        super().__init__(self._param.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def mode(self) -> Any:
        """1 or 0, NaN where both are as probable."""
        one = (self.probs >= 0.5).to(self.probs.dtype)
        return F.where(self.probs == 0.5, float("nan"), one)

    @property
    def variance(self) -> Any:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Any:
        with no_grad():
            return F.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = F.broadcast_tensors(self.logits, value)
        return value * logits - softplus(logits)

    def entropy(self) -> Any:
        return softplus(self.logits) - self.logits * self.probs

    def enumerate_support(self, expand: bool = True) -> Any:
        return self._enumerated(F.arange(2, dtype=self._param.dtype, device=self._param.device), expand)
