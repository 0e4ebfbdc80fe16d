"""The multivariate normal distribution."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Size, Tensor, linalg
from . import constraints
from ._functions import F
from .distribution import Distribution
from .utils import lazy_property

__all__ = ["MultivariateNormal"]


def solve_lower(low: Any, right: Any) -> Any:
    """L⁻¹ B for lower triangles L (..., n, n) and B (..., n, m), whose batches broadcast."""
    batch = F.broadcast_shapes(low.shape[:-2], right.shape[:-2])
    low, right = low.expand(batch + low.shape[-2:]), right.expand(batch + right.shape[-2:])
    return linalg.solve_triangular(low, right, upper=False)


def half_log_det(low: Any) -> Any:
    """log det L of lower triangles L."""
    return low.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def given_matrix(**matrices: Any) -> tuple[str, Any]:
    """(name, matrix) of the one that is not None; ValueError for none, several, or one that is no matrix."""
    given = [(name, value) for name, value in matrices.items() if value is not None]
    if len(given) != 1:
        raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
    ((name, matrix),) = given
    if matrix.dim() < 2:
        raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
    return name, matrix


def lower_factor(name: str, matrix: Any) -> Any:
    """L with Σ = L Lᵀ, of Σ, Σ⁻¹ or L itself."""
    if name == "scale_tril":
        return matrix
    if name == "covariance_matrix":
        return linalg.cholesky(matrix)
    # With J the reversal, P = L⁻ᵀ L⁻¹ gives J P J = C Cᵀ with C = J L⁻ᵀ J, which is lower triangular.
    inverse = F.flip(linalg.cholesky(F.flip(matrix, (-2, -1))), (-2, -1)).mT
    return solve_lower(inverse, F.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device))


class MultivariateNormal(Distribution):
    """p(x) = exp(-(x - μ)ᵀ Σ⁻¹ (x - μ) / 2) / √det(2πΣ), x of n components, μ = `loc` (..., n).

    Exactly one of `covariance_matrix` Σ, `precision_matrix` Σ⁻¹ and `scale_tril` L (Σ = L Lᵀ), each (..., n, n), is
    given (ValueError); L is the cheapest. Batches broadcast. `rsample` is μ + L z of standard normal z, entropy n
    (1 + log 2π) / 2 + log det L.

    Source: S. Kotz, N. Balakrishnan, N. Johnson, "Continuous multivariate distributions", 2000, chapter 45.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        name, matrix = given_matrix(
            covariance_matrix=covariance_matrix, precision_matrix=precision_matrix, scale_tril=scale_tril
        )
        batch = F.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        vars(self)[name] = matrix.expand(Size(batch) + matrix.shape[-2:])
        self.loc = loc.expand(Size(batch) + loc.shape[-1:])
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        self._unbroadcasted_scale_tril = lower_factor(name, matrix)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        vars(new).update(vars(self))
        batch_shape, had = Size(batch_shape), len(self._batch_shape)
        for name in ("loc", "covariance_matrix", "precision_matrix", "scale_tril"):
            if name in vars(self):
                value = vars(self)[name]
                vars(new)[name] = value.expand(batch_shape + value.shape[had:])
        new._batch_shape = batch_shape
        return new

    def _full(self, matrix: Any) -> Any:
        return matrix.expand(self._batch_shape + self._event_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """L (..., n, n), the lower triangle with Σ = L Lᵀ."""
        return self._full(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """Σ = L Lᵀ, (..., n, n)."""
        low = self._unbroadcasted_scale_tril
        return self._full(low @ low.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """Σ⁻¹, (..., n, n)."""
        low = self._unbroadcasted_scale_tril
        inverse = solve_lower(low, F.eye(low.shape[-1], dtype=low.dtype, device=low.device))
        return self._full(inverse.mT @ inverse)

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        low = self._unbroadcasted_scale_tril
        return low.pow(2).sum(-1).expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        noise = F.randn(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + (self._unbroadcasted_scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        low = self._unbroadcasted_scale_tril
        distance = solve_lower(low, (value - self.loc).unsqueeze(-1)).squeeze(-1).pow(2).sum(-1)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + distance) - half_log_det(low)

    def entropy(self) -> Any:
        found = 0.5 * self._event_shape[0] * (1 + math.log(2 * math.pi))
        return (found + half_log_det(self._unbroadcasted_scale_tril)).expand(self._batch_shape)
