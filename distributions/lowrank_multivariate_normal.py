"""The multivariate normal distribution whose covariance is a diagonal and few columns."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Size, Tensor, linalg
from . import constraints
from ._functions import F
from .distribution import Distribution
from .multivariate_normal import half_log_det, solve_lower
from .utils import lazy_property

__all__ = ["LowRankMultivariateNormal"]


class LowRankMultivariateNormal(Distribution):
    """MultivariateNormal with Σ = W Wᵀ + D: μ = `loc` (..., n), W = `cov_factor` (..., n, m), D = `cov_diag` (..., n).

    With C = I + Wᵀ D⁻¹ W, of m rows, Woodbury's identity gives Σ⁻¹ = D⁻¹ - D⁻¹ W C⁻¹ Wᵀ D⁻¹ and the determinant lemma
    log det Σ = log det C + Σᵢ log Dᵢ: the cost grows with n m², not n³. Batches broadcast. `rsample` is μ + W z + √D e
    of standard normal z and e. ValueError for shapes that do not fit.

    Source: N. Higham, "Accuracy and stability of numerical algorithms", 2002, section 26.1 (Woodbury's identity).
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Any, cov_factor: Any, cov_diag: Any, validate_args: bool | None = None) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        n = loc.shape[-1]
        if cov_factor.dim() < 2:
            raise ValueError("cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        if cov_factor.shape[-2] != n:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {n} x m")
        if cov_diag.shape[-1:] != (n,):
            raise ValueError(f"cov_diag must be a batch of vectors with shape {Size((n,))}")
        batch = Size(F.broadcast_shapes(loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1]))
        self.loc = loc.expand((*batch, n))
        self.cov_diag = cov_diag.expand((*batch, n))
        self.cov_factor = cov_factor.expand(batch + cov_factor.shape[-2:])
        super().__init__(batch, Size((n,)), validate_args=validate_args)
        self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag = cov_factor, cov_diag
        scaled = cov_factor.mT / cov_diag.unsqueeze(-2)  # Wᵀ D⁻¹
        eye = F.eye(cov_factor.shape[-1], dtype=loc.dtype, device=loc.device)
        self._capacitance_tril = linalg.cholesky(eye + scaled @ cov_factor)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        batch = Size(batch_shape)
        for name in ("loc", "cov_diag"):
            setattr(new, name, getattr(self, name).expand(batch + self._event_shape))
        new.cov_factor = self.cov_factor.expand(batch + self.cov_factor.shape[-2:])
        for name in ("_unbroadcasted_cov_factor", "_unbroadcasted_cov_diag", "_capacitance_tril"):
            setattr(new, name, getattr(self, name))
        Distribution.__init__(new, batch, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _full(self, matrix: Any) -> Any:
        return matrix.expand(self._batch_shape + self._event_shape + self._event_shape)

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def mode(self) -> Any:
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:  # type: ignore[override]
        """Dᵢ + Σⱼ Wᵢⱼ², (..., n)."""
        found = self._unbroadcasted_cov_factor.pow(2).sum(-1) + self._unbroadcasted_cov_diag
        return found.expand(self._batch_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """L (..., n, n), the lower triangle with Σ = L Lᵀ."""
        # Σ = √D (I + V Vᵀ) √D with V = W / √D, whose inner part is well conditioned
        root = self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        scaled = self._unbroadcasted_cov_factor / root
        eye = F.eye(self._event_shape[0], dtype=self.loc.dtype, device=self.loc.device)
        return self._full(root * linalg.cholesky(eye + scaled @ scaled.mT))

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """Σ = W Wᵀ + D, (..., n, n)."""
        factor = self._unbroadcasted_cov_factor
        return self._full(factor @ factor.mT + F.diag_embed(self._unbroadcasted_cov_diag))

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """Σ⁻¹, (..., n, n)."""
        diagonal = self._unbroadcasted_cov_diag
        part = solve_lower(self._capacitance_tril, self._unbroadcasted_cov_factor.mT / diagonal.unsqueeze(-2))
        return self._full(F.diag_embed(diagonal.reciprocal()) - part.mT @ part)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        few = shape[:-1] + self.cov_factor.shape[-1:]
        z = F.randn(few, dtype=self.loc.dtype, device=self.loc.device)
        e = F.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        along = (self._unbroadcasted_cov_factor @ z.unsqueeze(-1)).squeeze(-1)
        return self.loc + along + self._unbroadcasted_cov_diag.sqrt() * e

    def _squares(self, columns: Any) -> Any:
        """Σⱼ aⱼᵀ Σ⁻¹ aⱼ of the columns aⱼ of (..., n, k)."""
        scaled = columns / self._unbroadcasted_cov_diag.unsqueeze(-1)
        inner = solve_lower(self._capacitance_tril, self._unbroadcasted_cov_factor.mT @ scaled)
        return (columns * scaled).sum((-2, -1)) - inner.pow(2).sum((-2, -1))

    def _log_det(self) -> Any:
        return 2 * half_log_det(self._capacitance_tril) + self._unbroadcasted_cov_diag.log().sum(-1)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        n = self._event_shape[0]
        return -0.5 * (n * math.log(2 * math.pi) + self._log_det() + self._squares((value - self.loc).unsqueeze(-1)))

    def entropy(self) -> Any:
        n = self._event_shape[0]
        return (0.5 * (n * (1 + math.log(2 * math.pi)) + self._log_det())).expand(self._batch_shape)
