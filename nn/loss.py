"""Losses.

`reduction`: "mean" or "sum" over all elements, or "none". `size_average` and `reduce` are PyTorch's former way to say
it. The losses of margins stand in `margin`.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Tensor
from ..autograd.errors import warn
from . import functional as F
from .linear import Linear
from .linear_cross_entropy import LinearCrossEntropyOptions
from .margin import (
    CosineEmbeddingLoss,
    HingeEmbeddingLoss,
    HingeLoss,
    MarginRankingLoss,
    MulticlassHingeLoss,
    MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss,
    MultiMarginLoss,
    PerceptronLoss,
    SoftMarginLoss,
    SquaredHingeLoss,
    TripletMarginLoss,
    TripletMarginWithDistanceLoss,
)
from .reduction import _Loss, _WeightedLoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HingeLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "LinearCrossEntropyLoss",
    "LinearCrossEntropyOptions",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "MulticlassHingeLoss",
    "NLLLoss",
    "NLLLoss2d",
    "PerceptronLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "SquaredHingeLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]


class L1Loss(_Loss):
    """|x - y|, the absolute error.

    Shapes: input and target of one shape, any; the result is a number, or of that shape with reduction="none".
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class MSELoss(_Loss):
    """(x - y)², the squared error.

    Shapes: input and target of one shape, any; the result is a number, or of that shape with reduction="none".
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """½ (x - y)² / beta where |x - y| < beta, otherwise |x - y| - ½ beta.

    Shapes: input and target of one shape, any; the result is a number, or of that shape with reduction="none". Source:
    R. Girshick, "Fast R-CNN", 2015.
    """

    def __init__(
        self, size_average: Any = None, reduce: Any = None, reduction: str = "mean", beta: float = 1.0
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """½ (x - y)² where |x - y| ≤ delta, otherwise delta (|x - y| - ½ delta).

    Shapes: input and target of one shape, any; the result is a number, or of that shape with reduction="none". Source:
    P. Huber, "Robust estimation of a location parameter", 1964.
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class NLLLoss(_WeightedLoss):
    """-w[y] x[y] for log-probabilities x (N, C, *) and classes y (N, *); "mean" divides by Σ w[y].

    weight: w, one factor per class, (C,). Targets equal to `ignore_index` do not count.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class NLLLoss2d(NLLLoss):
    """`NLLLoss` under the name that it once had for images (N, C, H, W); making one warns."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        warn("`NLLLoss2d` has been deprecated. Please use `NLLLoss` instead as a drop-in replacement.", FutureWarning)
        super().__init__(weight, size_average, ignore_index, reduce, reduction)


class CrossEntropyLoss(_WeightedLoss):
    """-log softmax(x)[y], for logits x (N, C, *) and y either classes (N, *) or probabilities like x.

    weight: one factor per class; "mean" divides by the sum of the factors of the targets. ignore_index: such targets do
    not count. label_smoothing ε: targets become (1 - ε) y + ε / C.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class PoissonNLLLoss(_Loss):
    """exp(x) - y x; with log_input=False instead x - y log(x + eps).

    `full` adds Stirling's term y log y - y + ½ log 2πy. Shapes: input and target of one shape, any; the result is a
    number, or of that shape with reduction="none".
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: Any = None,
        eps: float = 1e-8,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        return F.poisson_nll_loss(
            log_input, target, log_input=self.log_input, full=self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(_Loss):
    """½ (log max(var, eps) + (x - y)² / max(var, eps)); `full` adds ½ log 2π. `forward(input, target, var)`.

    Shapes: input and target (N, *); var like input, or with a last dimension of 1, or without it. ValueError for a
    negative var (on a CPU).
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Tensor, target: Tensor, var: Any) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)


class KLDivLoss(_Loss):
    """y (log y - x) for log-probabilities x; log_target: y is given as its logarithm.

    reduction "batchmean" gives the divergence itself, "mean" divides it by the number of classes too. Shapes: input and
    target of one shape, any; the result is a number, or of that shape with reduction="none".
    """

    def __init__(
        self, size_average: Any = None, reduce: Any = None, reduction: str = "mean", log_target: bool = False
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class BCELoss(_WeightedLoss):
    """-w (y log x + (1 - y) log(1 - x)) for probabilities x, the logarithms held at -100 or more.

    weight: w, which broadcasts to the input. Shapes: input and target of one shape, any; the result is a number, or of
    that shape with reduction="none".
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """`BCELoss` of σ(x), computed without overflow: x are logits. weight: of each element; pos_weight multiplies the
    term of y.

    Shapes: input and target (N, *); weight and pos_weight broadcast to them, (C,) for one number per class.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class LinearCrossEntropyLoss(_WeightedLoss):
    """`CrossEntropyLoss` of a linear layer's result, the layer (`linear`) included: `forward(input, target)`.

    Shapes: input (N, in_features) or (in_features); target (N, *out_features) of num_classes classes, or (N, C,
    *out_features) of probabilities. options: see `LinearCrossEntropyOptions`.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ) -> None:
        super().__init__(weight=weight, reduction=reduction)
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.ignore_index, self.label_smoothing, self.options = ignore_index, label_smoothing, options
        wide = num_classes * math.prod(self.out_features)
        self.linear = Linear(in_features, wide, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        shape, bias = (self.num_classes, *self.out_features), self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, -1),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
            f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )


class CTCLoss(_Loss):
    """-log of the probability that log_probs (T, N, C) spell the targets, summed over all alignments.

    `forward(log_probs, targets, input_lengths, target_lengths)`: targets (N, S) or one after another in (Σ lengths).
    blank: the class that stands between labels. "mean" divides each loss by its target's length first. zero_infinity:
    sequences that do not fit cost 0 instead of infinity. Source: A. Graves et al., "Connectionist temporal
    classification", 2006.
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
        lengths = (input_lengths, target_lengths)
        return F.ctc_loss(log_probs, targets, *lengths, self.blank, self.reduction, self.zero_infinity)


# -- extras of ours ---------------------------------------------------------------------------------------------------


class DiceLoss(_Loss):
    """1 - (2 Σ x y + smooth) / (Σ x + Σ y + smooth) for probabilities x (N, ...) and masks y, per example.

    The soft form of one minus Dice's coefficient 2|A∩B| / (|A| + |B|); `smooth` lets empty masks count as found.
    An extra of ours. Source: F. Milletari, N. Navab, S.-A. Ahmadi, "V-Net", 2016 (there the sums in the denominator are
    of squares, which for masks of 0 and 1 is the same).
    """

    def __init__(self, smooth: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.smooth = smooth

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.dice_loss(input, target, smooth=self.smooth, reduction=self.reduction)


class FocalLoss(_Loss):
    """-α (1 - p)^γ log p for logits, p the probability of the true label: easy examples count little.

    α = `alpha` weighs label 1 and 1 - α label 0; a negative α: no weights. γ = `gamma`. Shapes: input and target of one
    shape, any; the result is a number, or of that shape with reduction="none". An extra of ours.
    Source: T.-Y. Lin et al., "Focal loss for dense object detection", 2017.
    """

    def __init__(self, gamma: float = 2.0, alpha: float = 0.25, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.gamma, self.alpha = gamma, alpha

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.focal_loss(input, target, gamma=self.gamma, alpha=self.alpha, reduction=self.reduction)
