"""`ExponentialFamily`: what follows from the natural parameters and the log-normaliser alone."""

from __future__ import annotations

from typing import Any

from ..autograd import enable_grad, grad
from .distribution import Distribution
from .utils import sum_rightmost

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """Distributions with p(x; θ) = exp(t(x)·θ - F(θ) + k(x)), of a batch_shape and an event_shape as `Distribution` has
    them.

    A subclass gives `_natural_params` (θ, a tuple of tensors), `_log_normalizer(*θ)` (F) and `_mean_carrier_measure`
    (E[k]). `entropy` follows: F(θ) - θ·∇F(θ) - E[k] (F. Nielsen, R. Nock, "Entropies and cross-entropies of exponential
    families", 2010).
    """

    @property
    def _natural_params(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Any) -> Any:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> float:
        raise NotImplementedError

    def entropy(self) -> Any:
        with enable_grad():
            leaves = [p.detach().requires_grad_() for p in self._natural_params]
            normalizer = self._log_normalizer(*leaves)
            gradients = grad(normalizer.sum(), leaves, create_graph=True)
        found = -self._mean_carrier_measure + normalizer
        for leaf, g in zip(leaves, gradients, strict=True):
            found = found - sum_rightmost((leaf * g).reshape((*self._batch_shape, -1)), 1)
        return found
