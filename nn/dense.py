"""Fully connected layers other than Linear: maxout, radial basis functions, DropConnect. All are extras of ours."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Tensor
from ..autograd.creation import empty
from . import functional as F
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter
from .tuples import shown

__all__ = ["RBF", "DropConnect", "Maxout"]


class Maxout(Linear):
    """y_o = max_j (W_{o,j} x + b_{o,j}): the largest of `pieces` linear functions.

    Shapes: x (*, in_features), y (*, out_features), weight (out_features · pieces, in_features) with the pieces of one
    output next to each other. Starts like Linear. Source: I. Goodfellow et al., "Maxout networks", 2013.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        pieces: int = 2,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_features, out_features * pieces, bias, device, dtype)
        self.out_features, self.pieces = out_features, pieces

    def forward(self, input: Tensor) -> Tensor:
        return F.maxout(super().forward(input), self.pieces, -1)

    def extra_repr(self) -> str:
        return f"{shown(self, 'in_features', 'out_features', 'pieces')}, bias={self.bias is not None}"


class RBF(Module):
    """y_o = exp(-‖x - c_o‖² / (2 σ_o²)): how near the input is to each of `out_features` centres.

    Shapes: x (*, in_features), y (*, out_features) in (0, 1]. Parameters: `centers` (out_features, in_features), which
    start standard normal, and `log_width` (out_features), ln σ, which starts at ½ ln(in_features): the typical distance
    of two inputs. Source: D. Broomhead, D. Lowe, "Multivariable functional interpolation and adaptive networks", 1988.
    """

    def __init__(self, in_features: int, out_features: int, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.centers = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        self.log_width = Parameter(empty(out_features, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the centres anew, and make all widths √in_features."""
        init.normal_(self.centers)
        init.constant_(self.log_width, 0.5 * math.log(max(self.in_features, 1)))

    def forward(self, input: Tensor) -> Tensor:
        away = input.unsqueeze(-2) - self.centers
        return (-0.5 * (away * away).sum(-1) * (-2 * self.log_width).exp()).exp()

    def extra_repr(self) -> str:
        return shown(self, "in_features", "out_features")


class DropConnect(Linear):
    """A `Linear` that drops single weights while training: y = x (M ∘ W)ᵀ / (1 - p) + b, M 0 with probability p.

    (*, in_features) to (*, out_features); in evaluation the whole W is used. Source: L. Wan et al., "Regularization of
    neural networks using DropConnect", 2013 (where M is drawn per example; here it is drawn once per call, so that the
    product stays one).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        p: float = 0.5,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"drop probability has to be between 0 and 1, but got {p}")
        super().__init__(in_features, out_features, bias, device, dtype)
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, F.drop_connect(self.weight, self.p, self.training), self.bias)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}"
