"""The LKJ distribution of correlation matrices, by their Cholesky factors."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Size, finfo
from . import constraints
from ._functions import F
from .beta import Beta
from .distribution import Distribution

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Triangles L (..., dim, dim) of correlation matrices C = L Lᵀ with the density det(C)^(η - 1), up to a factor.

    η = `concentration`: 1 is uniform over correlation matrices, more is nearer to the identity. A prior of
    correlations. `sample` draws row by row, the "onion" method: of row i the squared length of what is left of the
    diagonal is Beta(i/2, η + (dim - 1 - i)/2), its direction uniform; so each correlation has the variance
    1/(2η + dim - 1) that the density says, which PyTorch's draws exceed for dim > 2. ValueError for dim < 2.

    Source: D. Lewandowski, D. Kurowicka, H. Joe, "Generating random correlation matrices based on vines and extended
    onion method", 2009.
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        self.concentration = F.as_tensor(concentration)
        super().__init__(self.concentration.shape, Size((dim, dim)), validate_args=validate_args)
        rows = F.arange(dim, dtype=self.concentration.dtype, device=self.concentration.device)
        rest = self.concentration.unsqueeze(-1) + 0.5 * (dim - 1 - rows)
        # row 0 has nothing left of the diagonal; its share is multiplied by a direction of zeros
        self._beta = Beta(rows.clamp_min(1) / 2, rest, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(LKJCholesky, _instance)
        LKJCholesky.__init__(new, self.dim, self.concentration.expand(tuple(batch_shape)), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = ()) -> Any:
        share = self._beta.sample(sample_shape).unsqueeze(-1)
        kind = {"dtype": share.dtype, "device": share.device}
        normal = F.tril(F.randn(self._extended_shape(sample_shape), **kind), -1)
        length = normal.pow(2).sum(-1, keepdim=True).sqrt()
        left = share.sqrt() * F.where(length == 0, 0.0, normal / F.where(length == 0, 1.0, length))
        diagonal = (1 - left.pow(2).sum(-1)).clamp_min(finfo(left.dtype).tiny).sqrt()
        return left + F.diag_embed(diagonal)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        n = self.dim - 1
        order = F.arange(n, 0, -1, dtype=self.concentration.dtype, device=self.concentration.device) - 1
        order = 2 * (self.concentration - 1).unsqueeze(-1) + order
        found = (order * value.diagonal(dim1=-2, dim2=-1)[..., 1:].log()).sum(-1)
        alpha = self.concentration + 0.5 * n
        return found - (0.5 * n * math.log(math.pi) + F.mvlgamma(alpha - 0.5, n) - F.lgamma(alpha) * n)
