"""Dropout: elements or channels set to zero at random while training. In evaluation mode all of these are the identity.

Here `p` is the probability of dropping, and what stays is divided by 1 - p (some texts call p the probability of
keeping, and scale at test time). Source: N. Srivastava et al., "Dropout", 2014.
"""

from __future__ import annotations

from ..autograd import Tensor
from . import functional as F
from .module import Module

__all__ = [
    "AlphaDropout",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "StochasticDepth",
]


class _DropoutNd(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    """Each element is 0 with probability p, otherwise x / (1 - p); in evaluation x. Any shape.

    Where a text calls p the probability of keeping, and multiplies by it at test time, its p is 1 - p here.
    Source: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_DropoutNd):
    """Drops whole channels of (N, C, L) or (C, L), each with probability `p`; what stays is divided by 1 - p."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_DropoutNd):
    """Drops whole channels of (N, C, H, W), each with probability `p`; what stays is divided by 1 - p.

    Source: J. Tompson et al., "Efficient object localization using convolutional networks", 2015.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_DropoutNd):
    """Drops whole channels of (N, C, D, H, W), each with probability `p`; what stays is divided by 1 - p."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_DropoutNd):
    """Dropout that keeps mean 0 and variance 1, for SELU: what is dropped becomes -λα, then all is scaled and shifted.

    Each element is dropped with probability `p`. Any shape.
    Source: G. Klambauer et al., "Self-normalizing neural networks", 2017.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_DropoutNd):
    """`AlphaDropout` of whole channels of (N, C, *), each with probability `p`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.feature_alpha_dropout(input, self.p, self.training)


class StochasticDepth(Module):
    """A residual branch dropped at random while training: x · b / (1 - p), where b is 0 with probability p, else 1.

    mode "row": one b per example of (N, *); "batch": one for the whole batch. An extra of ours.
    Source: G. Huang et al., "Deep networks with stochastic depth", 2016.
    """

    def __init__(self, p: float, mode: str = "row") -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"drop probability has to be between 0 and 1, but got {p}")
        if mode not in ("batch", "row"):
            raise ValueError(f"mode has to be either 'batch' or 'row', but got {mode}")
        self.p, self.mode = p, mode

    def forward(self, input: Tensor) -> Tensor:
        if self.mode == "row":
            return F.drop_path(input, self.p, self.training)
        return F.drop_path(input.unsqueeze(0), self.p, self.training).squeeze(0)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"


class DropPath(Module):
    """`StochasticDepth` per example of (N, *); without `scale_by_keep` what stays is not divided by 1 - drop_prob.

    An extra of ours.
    """

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob, self.scale_by_keep = drop_prob, scale_by_keep

    def forward(self, input: Tensor) -> Tensor:
        out = F.drop_path(input, self.drop_prob, self.training)
        scaled = self.scale_by_keep or not self.training or not 0 < self.drop_prob < 1
        return out if scaled else out * (1 - self.drop_prob)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:0.3f}"
