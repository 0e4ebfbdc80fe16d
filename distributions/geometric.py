"""The geometric distribution."""

from __future__ import annotations

from typing import Any

from ..autograd import finfo, no_grad
from ..autograd.ops.activation import softplus
from . import constraints
from ._chances import Chances
from ._functions import F

__all__ = ["Geometric"]


class Geometric(Chances):
    """The number of failures before the first success of probability p = `probs`: P(k) = (1 - p)ᵏ p, k = 0, 1, ...

    logits: ln(p / (1 - p)), given instead of probs. Mean (1 - p) / p, variance (1 - p) / p². Texts that count the
    trials have k + 1. ValueError for p = 0. Samples invert the cdf. Source: Johnson, Kemp, Kotz, 2005, chapter 5.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._take_chances(probs, logits)
        super().__init__(self._param.size(), validate_args=validate_args)
        if self._validate_args and probs is not None and not (self.probs > 0).all():
            raise ValueError(
                f"Expected parameter probs (Tensor of shape {tuple(self.probs.shape)}) of distribution {self!r} to be "
                f"positive but found invalid values:\n{self.probs}"
            )

    @property
    def mean(self) -> Any:
        return 1 / self.probs - 1

    @property
    def mode(self) -> Any:
        return F.zeros_like(self.probs)

    @property
    def variance(self) -> Any:
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape: Any = ()) -> Any:
        with no_grad():
            p = self.probs
            u = F.rand(self._extended_shape(sample_shape), dtype=p.dtype, device=p.device)
            return (u.clamp(min=finfo(p.dtype).tiny).log() / (-p).log1p()).floor()

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        value, logits = F.broadcast_tensors(value, self.logits)
        # log(1 - p) = -softplus(logits), log p = logits - softplus(logits)
        fail = F.where((value == 0) & (self.probs == 1), 0.0, -softplus(logits) * value)
        return fail + self.probs.log()

    def entropy(self) -> Any:
        return (softplus(self.logits) - self.logits * self.probs) / self.probs
