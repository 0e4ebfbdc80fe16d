"""The categorical distribution."""

from __future__ import annotations

from typing import Any

from ..autograd import Size, Tensor, finfo
from ..autograd.dtypes import int64
from . import constraints
from ._chances import one_of
from ._functions import F
from .distribution import Distribution
from .utils import lazy_property, logits_to_probs, probs_to_logits

__all__ = ["Categorical"]


class Categorical(Distribution):
    """Integers 0, ..., K - 1 with the probabilities `probs` (..., K), made to sum to 1, or softmax(`logits`).

    Samples are int64, of the batch's shape (...); log_prob(k) = log pₖ, entropy -Σ pₖ log pₖ; mean and variance are
    NaN, as the numbers are names. ValueError unless one of both is given, of at least one dimension. Source: K.
    Murphy, "Probabilistic machine learning: an introduction", 2022, section 2.5.
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        name = one_of(probs, logits)
        value = probs if name == "probs" else logits
        if value.dim() < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if name == "probs":
            vars(self)["probs"] = value / value.sum(-1, keepdim=True)
        else:
            vars(self)["logits"] = value - value.logsumexp(dim=-1, keepdim=True)
        self._num_events = value.shape[-1]
        super().__init__(value.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:  # type: ignore[override]
        """0 to K - 1."""
        return constraints.integer_interval(0, self._num_events - 1)

    @lazy_property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self) -> Tensor:
        """The probabilities."""
        return logits_to_probs(self.logits)

    @property
    def _param(self) -> Tensor:
        return vars(self)["probs" if "probs" in vars(self) else "logits"]

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter, (..., K)."""
        return self._param.size()

    @property
    def mean(self) -> Any:
        return F.full(self._batch_shape, float("nan"), dtype=self._param.dtype, device=self._param.device)

    @property
    def variance(self) -> Any:
        return self.mean

    @property
    def mode(self) -> Any:
        return self.probs.argmax(dim=-1)

    def sample(self, sample_shape: Any = ()) -> Any:
        count = Size(sample_shape).numel()
        rows = self.probs.detach().reshape(-1, self._num_events)
        shape = self._extended_shape(sample_shape)
        if shape.numel() == 0:
            return F.zeros(shape, dtype=int64, device=rows.device)
        return F.multinomial(rows, count, True).T.reshape(shape)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = self.logits, value.long()
        if value.shape != self._batch_shape:
            shape = F.broadcast_shapes(value.shape, self._batch_shape)
            logits, value = logits.expand((*shape, self._num_events)), value.expand(shape)
        return logits.gather(-1, value.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Any:
        finite = self.logits.clamp(min=finfo(self.logits.dtype).min)  # 0 log 0 = 0
        return -(finite * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        return self._enumerated(F.arange(self._num_events, dtype=int64, device=self._param.device), expand)
