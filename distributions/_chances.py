"""What the distributions of successes and failures share: `probs` or `logits`, each made from the other."""

from __future__ import annotations

from typing import Any

from ..autograd import Size, Tensor
from .distribution import Distribution
from .utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits

__all__ = ["Chances", "one_of"]


def one_of(probs: Any, logits: Any) -> str:
    """The name of the one that was given; ValueError where none was, or both."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return "logits" if probs is None else "probs"


class Chances(Distribution):
    """A distribution of which each element has a probability, given as `probs` or as `logits` = log(p / (1 - p)).

    ValueError where both are given, or neither.
    """

    def _take_chances(self, probs: Any, logits: Any) -> None:
        name = one_of(probs, logits)
        (value,) = broadcast_all(probs if name == "probs" else logits)
        vars(self)[name] = value

    @lazy_property
    def logits(self) -> Tensor:
        """log(p / (1 - p))."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """The probabilities."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def _param(self) -> Tensor:
        return vars(self)["probs" if "probs" in vars(self) else "logits"]

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._param.size()
