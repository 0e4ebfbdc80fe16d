"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import Any

from ..autograd import Size, no_grad
from . import constraints
from ._functions import F
from .categorical import Categorical
from .distribution import Distribution

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """Σ_k π_k p_k: `mixture_distribution`, a Categorical, over the last batch dimension of `component_distribution`.

    The components' batch is (..., K), the mixture's (...). Mean Σ π_k μ_k, variance Σ π_k (σ_k² + (μ_k - mean)²).
    No `rsample`: the choice of a component has no gradient; `log_prob` has all. ValueError where the shapes do not
    fit. Source: G. McLachlan, D. Peel, "Finite mixture models", 2000.
    """

    arg_constraints: Any = {}

    def __init__(
        self, mixture_distribution: Any, component_distribution: Any, validate_args: bool | None = None
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError("The Mixture distribution needs to be an instance of chainrule.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError(
                "The Component distribution need to be an instance of chainrule.distributions.Distribution"
            )
        have, want = mixture_distribution.batch_shape, component_distribution.batch_shape[:-1]
        for a, b in zip(reversed(have), reversed(want), strict=False):
            if a != 1 and b != 1 and a != b:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({have}) is not compatible with "
                    f"`component_distribution.batch_shape` ({want})"
                )
        count = mixture_distribution.logits.shape[-1]
        if component_distribution.batch_shape[-1] != count:
            raise ValueError(
                f"`mixture_distribution component` ({count}) does not equal `component_distribution.batch_shape[-1]` "
                f"({component_distribution.batch_shape[-1]})"
            )
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        self._num_component = count
        super().__init__(want, component_distribution.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        vars(new).update(vars(self))
        batch_shape = Size(batch_shape)
        new._component_distribution = self._component_distribution.expand((*batch_shape, self._num_component))
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        new._batch_shape = batch_shape
        return new

    @constraints.dependent_property
    def support(self) -> Any:  # type: ignore[override]
        """That of the components."""
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Any:
        """The Categorical of the components."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Any:
        """The components, of batch shape (..., K)."""
        return self._component_distribution

    def _weights(self) -> Any:
        probs = self._mixture_distribution.probs
        return probs.reshape(probs.shape + (1,) * len(self._event_shape))

    @property
    def _component_dim(self) -> int:
        return -1 - len(self._event_shape)

    def _pad(self, x: Any) -> Any:
        """x with a dimension for the components, for mixtures that derive from this one."""
        return x.unsqueeze(self._component_dim)

    def _pad_mixture_dimensions(self, x: Any) -> Any:
        """x, of the shape of the mixture's batch, with as many dimensions as the components'."""
        missing = len(self.batch_shape) - len(self._mixture_distribution.batch_shape)
        shape = (*x.shape[:-1], *(1,) * missing, *x.shape[-1:], *(1,) * len(self._event_shape))
        return x.reshape(shape)

    @property
    def _event_ndims(self) -> int:
        return len(self._event_shape)

    @property
    def mean(self) -> Any:
        return (self._weights() * self._component_distribution.mean).sum(self._component_dim)

    @property
    def variance(self) -> Any:
        within = (self._weights() * self._component_distribution.variance).sum(self._component_dim)
        apart = self._component_distribution.mean - self.mean.unsqueeze(self._component_dim)
        return within + (self._weights() * apart.pow(2)).sum(self._component_dim)

    def cdf(self, x: Any) -> Any:
        below = self._component_distribution.cdf(x.unsqueeze(self._component_dim))
        return (below * self._mixture_distribution.probs).sum(-1)

    def log_prob(self, x: Any) -> Any:
        if self._validate_args:
            self._validate_sample(x)
        each = self._component_distribution.log_prob(x.unsqueeze(self._component_dim))
        weights = F.log_softmax(self._mixture_distribution.logits, -1)
        return (each + weights).logsumexp(-1)

    def sample(self, sample_shape: Any = ()) -> Any:
        with no_grad():
            picked = self._mixture_distribution.expand(self._batch_shape).sample(sample_shape)
            drawn = self._component_distribution.sample(sample_shape)
            index = picked.reshape(picked.shape + (1,) * (1 + len(self._event_shape)))
            index = index.expand((*picked.shape, 1, *self._event_shape))
            return drawn.gather(drawn.dim() + self._component_dim, index).squeeze(self._component_dim)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
