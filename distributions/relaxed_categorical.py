"""The relaxed categorical distribution on one-hot vectors."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Size
from . import constraints
from ._functions import F
from .categorical import Categorical
from .distribution import Distribution
from .transformed_distribution import TransformedDistribution
from .transforms import ExpTransform
from .utils import clamp_probs

__all__ = ["ExpRelaxedCategorical", "RelaxedOneHotCategorical"]


class ExpRelaxedCategorical(Distribution):
    """The logarithm of a relaxed one-hot vector: log_softmax((logits + Gumbel noise) / temperature), (..., K).

    log p(y) = log (K - 1)! + (K - 1) log t + Σ log_softmax(logits - t y), with t the temperature. probs or logits: as
    of `Categorical`.

    Sources: C. Maddison, A. Mnih, Y. Teh, "The concrete distribution: a continuous relaxation of discrete random
    variables", 2017; E. Jang, S. Gu, B. Poole, "Categorical reparameterization with Gumbel-softmax", 2017.
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector  # strictly: vectors whose exponentials sum to 1
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self._categorical, self.temperature = Categorical(probs, logits), temperature
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        vars(new).update(vars(self))
        new._categorical = self._categorical.expand(batch_shape)
        new._batch_shape = Size(batch_shape)
        return new

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter, (..., K)."""
        return self._categorical.param_shape

    @property
    def logits(self) -> Any:
        """The logarithms of the probabilities."""
        return self._categorical.logits

    @property
    def probs(self) -> Any:
        """The probabilities."""
        return self._categorical.probs

    def rsample(self, sample_shape: Any = ()) -> Any:
        logits = self.logits
        u = clamp_probs(F.rand(self._extended_shape(sample_shape), dtype=logits.dtype, device=logits.device))
        return F.log_softmax((logits - (-u.log()).log()) / self.temperature, -1)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = F.broadcast_tensors(self.logits, value)
        k = self._event_shape[-1]
        scores = F.log_softmax(logits - value * self.temperature, -1).sum(-1)
        temperature = F.as_tensor(self.temperature, dtype=logits.dtype, device=logits.device)
        return math.lgamma(k) + (k - 1) * temperature.log() + scores


class RelaxedOneHotCategorical(TransformedDistribution):
    """A point (..., K) of the simplex near a corner at low `temperature`, differentiable: exp of ExpRelaxedCategorical.

    The largest component is k with probability `probs`ₖ at every temperature; logits: their logarithms up to a
    constant, given instead. Sources: C. Maddison, A. Mnih, Y. Teh, "The concrete distribution: a continuous relaxation
    of discrete random variables", 2017; E. Jang, S. Gu, B. Poole, "Categorical reparameterization with Gumbel-softmax",
    2017.
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    @property
    def temperature(self) -> Any:
        """The temperature: towards 0 samples become one-hot, and their gradients' variance grows."""
        return self.base_dist.temperature

    @property
    def logits(self) -> Any:
        """The logarithms of the probabilities."""
        return self.base_dist.logits

    @property
    def probs(self) -> Any:
        """The probabilities."""
        return self.base_dist.probs
