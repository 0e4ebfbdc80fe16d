"""The relaxed Bernoulli distribution."""

from __future__ import annotations

from typing import Any

from ..autograd import Size
from ..autograd.ops.activation import softplus
from . import constraints
from ._chances import Chances
from ._functions import F
from .transformed_distribution import TransformedDistribution
from .transforms import SigmoidTransform
from .utils import clamp_probs

__all__ = ["LogitRelaxedBernoulli", "RelaxedBernoulli"]


class LogitRelaxedBernoulli(Chances):
    """The logit of a relaxed Bernoulli number: (logits + logistic noise) / temperature.

    log p(y) = log t + a - 2 log(1 + exp(a)), a = logits - t y, with t the temperature, a number or a tensor. probs or
    logits: as of `Bernoulli`.

    Source: C. Maddison, A. Mnih, Y. Teh, "The concrete distribution: a continuous relaxation of discrete random
    variables", 2017.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.real
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self.temperature = temperature
        self._take_chances(probs, logits)
        super().__init__(self._param.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        for name, value in vars(self).items():
            vars(new)[name] = value.expand(batch_shape) if name in ("probs", "logits") else value
        new._batch_shape = Size(batch_shape)
        return new

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        u = clamp_probs(F.rand(shape, dtype=self._param.dtype, device=self._param.device))
        return (u.log() - (-u).log1p() + self.logits) / self.temperature

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        off = self.logits - value * self.temperature
        scale = F.as_tensor(self.temperature, dtype=off.dtype, device=off.device)
        return scale.log() + off - 2 * softplus(off)


class RelaxedBernoulli(TransformedDistribution):
    """A number in (0, 1) near 0 or 1 at low `temperature`, differentiable: σ of LogitRelaxedBernoulli.

    P(x > 1/2) is `probs` at every temperature; logits: ln(probs / (1 - probs)), given instead. Source: C. Maddison, A.
    Mnih, Y. Teh, "The concrete distribution: a continuous relaxation of discrete random variables", 2017.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    @property
    def temperature(self) -> Any:
        """The temperature: towards 0 samples become Bernoulli's, and their gradients' variance grows."""
        return self.base_dist.temperature

    @property
    def logits(self) -> Any:
        """log(p / (1 - p))."""
        return self.base_dist.logits

    @property
    def probs(self) -> Any:
        """The probabilities."""
        return self.base_dist.probs
