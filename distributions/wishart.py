"""The Wishart distribution."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Size, Tensor, linalg
from . import constraints
from ._functions import F
from .chi2 import Chi2
from .distribution import Distribution
from .multivariate_normal import given_matrix, half_log_det, lower_factor, solve_lower
from .utils import lazy_property

__all__ = ["Wishart"]


class Wishart(Distribution):
    """Σ xᵢ xᵢᵀ of `df` = ν independent x ~ N(0, V), positive definite (..., n, n); ν > n - 1 need not be whole.

    p(X) = det(X)^((ν - n - 1)/2) exp(-tr(V⁻¹ X)/2) / (2^(νn/2) det(V)^(ν/2) Γₙ(ν/2)). Exactly one of
    `covariance_matrix` V, `precision_matrix` V⁻¹ and `scale_tril` L (V = L Lᵀ) is given (ValueError). Mean ν V. The
    conjugate prior of a normal distribution's precision. `rsample` is L B Bᵀ Lᵀ with Bartlett's triangle B.

    Source: Kotz, Balakrishnan, Johnson, 2000; W. Smith, R. Hocking, "Wishart variate generator", 1972.
    """

    arg_constraints = {
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
        "df": constraints.greater_than(0),
    }
    support = constraints.positive_definite
    has_rsample = True

    def __init__(
        self,
        df: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        name, matrix = given_matrix(
            covariance_matrix=covariance_matrix, precision_matrix=precision_matrix, scale_tril=scale_tril
        )
        df = F.as_tensor(df).to(dtype=matrix.dtype, device=matrix.device)
        batch, event = Size(F.broadcast_shapes(matrix.shape[:-2], df.shape)), matrix.shape[-2:]
        if (df <= event[-1] - 1).any():
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {event[-1] - 1}.")
        self.df = df.expand(batch)
        vars(self)[name] = matrix.expand(batch + event)
        super().__init__(batch, event, validate_args=validate_args)
        self._low = lower_factor(name, vars(self)[name])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        vars(new).update(vars(self))
        batch_shape, had = Size(batch_shape), len(self._batch_shape)
        for name in ("df", "_low", "covariance_matrix", "precision_matrix", "scale_tril"):
            if name in vars(self):
                value = vars(self)[name]
                vars(new)[name] = value.expand(batch_shape + value.shape[had:])
        new._batch_shape = batch_shape
        return new

    @lazy_property
    def scale_tril(self) -> Tensor:
        """L (..., n, n), the lower triangle with V = L Lᵀ."""
        return self._low

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """V = L Lᵀ, (..., n, n)."""
        return self._low @ self._low.mT

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """V⁻¹, (..., n, n)."""
        inverse = solve_lower(self._low, F.eye(self._event_shape[-1], dtype=self._low.dtype, device=self._low.device))
        return inverse.mT @ inverse

    def _per_matrix(self) -> Any:
        return self.df.unsqueeze(-1).unsqueeze(-1)

    @property
    def mean(self) -> Any:
        return self._per_matrix() * self.covariance_matrix

    @property
    def mode(self) -> Any:
        """(ν - n - 1) V; NaN where ν <= n + 1."""
        factor = self.df - self._event_shape[-1] - 1
        factor = F.where(factor <= 0, math.nan, factor)
        return factor.unsqueeze(-1).unsqueeze(-1) * self.covariance_matrix

    @property
    def variance(self) -> Any:
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self._per_matrix() * (v.pow(2) + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def _degrees(self) -> Any:
        steps = F.arange(self._event_shape[-1], dtype=self._low.dtype, device=self._low.device)
        return self.df.unsqueeze(-1) - steps

    def rsample(self, sample_shape: Any = (), max_try_correction: Any = None) -> Any:
        """max_try_correction: PyTorch's, without effect: samples here are positive definite up to rounding."""
        shape = self._extended_shape(sample_shape)
        diagonal = Chi2(self._degrees(), validate_args=False).rsample(sample_shape).sqrt()
        normal = F.randn(shape, dtype=self._low.dtype, device=self._low.device)
        low = self._low @ (F.tril(normal, -1) + F.diag_embed(diagonal))
        return low @ low.mT

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        n, half = self._event_shape[-1], self.df / 2
        batch = F.broadcast_shapes(value.shape[:-2], self._low.shape[:-2]) + self._event_shape
        trace = F.cholesky_solve(value.expand(batch), self._low.expand(batch)).diagonal(dim1=-2, dim2=-1).sum(-1)
        scale = self.df * (n * math.log(2) / 2 + half_log_det(self._low))
        return (self.df - n - 1) / 2 * linalg.slogdet(value)[1] - trace / 2 - scale - F.mvlgamma(half, n)

    def entropy(self) -> Any:
        n, half = self._event_shape[-1], self.df / 2
        digammas = F.digamma(self._degrees() / 2).sum(-1)
        return (
            (n + 1) * (n * math.log(2) / 2 + half_log_det(self._low))
            + F.mvlgamma(half, n)
            - (self.df - n - 1) / 2 * digammas
            + self.df * n / 2
        )
