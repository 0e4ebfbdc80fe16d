"""Losses of margins: of a score's sign, of ranks, of distances.

`reduction`: "mean" or "sum" over all elements, or "none". `size_average` and `reduce` are PyTorch's former way to say
it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import Tensor
from . import functional as F
from .reduction import _Loss, _WeightedLoss
from .shape import PairwiseDistance

__all__ = [
    "CosineEmbeddingLoss",
    "HingeEmbeddingLoss",
    "HingeLoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "MulticlassHingeLoss",
    "PerceptronLoss",
    "SoftMarginLoss",
    "SquaredHingeLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]


class HingeEmbeddingLoss(_Loss):
    """x where y = 1, max(0, margin - x) where y = -1; x is a distance, say.

    Shapes: input and target of one shape, any; the result is a number, or of that shape with reduction="none".
    """

    def __init__(
        self, margin: float = 1.0, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class MultiLabelMarginLoss(_Loss):
    """Σ_{i, j} max(0, 1 - (x[y_j] - x[i])) / C over the classes y_j of an example and all others i.

    Shapes: x and y (N, C) or (C); the classes of an example end at its first -1.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class SoftMarginLoss(_Loss):
    """log(1 + exp(-y x)) for y = ±1, the logistic loss.

    Shapes: input and target of one shape, any; the result is a number, or of that shape with reduction="none".
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_WeightedLoss):
    """The mean over classes of w BCE(σ(x), y) for x and y (N, C). weight: w, (C,)."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_soft_margin_loss(input, target, weight=self.weight, reduction=self.reduction)


class CosineEmbeddingLoss(_Loss):
    """1 - cos(x₁, x₂) where y = 1, max(0, cos(x₁, x₂) - margin) where y = -1.

    Shapes: x₁ and x₂ (N, D) or (D), y (N) or ().
    """

    def __init__(
        self, margin: float = 0.0, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class MarginRankingLoss(_Loss):
    """max(0, -y (x₁ - x₂) + margin) for y = ±1: x₁ ought to be greater where y = 1.

    Shapes: x₁, x₂ and y (N) or ().
    """

    def __init__(
        self, margin: float = 0.0, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class MultiMarginLoss(_WeightedLoss):
    """Σ_{i≠y} max(0, w[y] (margin - x[y] + x[i]))ᵖ / C for x (N, C) and classes y (N), p = 1 or 2.

    weight: w, one factor per class, (C,).
    """

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Tensor | None = None,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ValueError("only p == 1 and p == 2 supported")
        if weight is not None and weight.ndim != 1:
            raise ValueError(f"MultiMarginLoss: expected weight to be None or 1D tensor, got {weight.ndim}D instead")
        self.p, self.margin = p, margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction
        )


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d(a, b) = ‖a - b + eps‖ₚ with p = `p`.

    swap: the smaller of d(anchor, negative) and d(positive, negative) counts. Shapes: all three (N, D) or (D).
    Source: V. Balntas et al., "Learning local feature descriptors with triplets and shallow convolutional neural
    networks", 2016.
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if margin <= 0:
            raise ValueError(f"TripletMarginLoss: expected margin to be greater than 0, got {margin} instead")
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(
            *(anchor, positive, negative),
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


class TripletMarginWithDistanceLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d = `distance_function(x, y)`, by default ‖x - y‖₂.

    swap: as in `TripletMarginLoss`. Shapes: all three (N, *), as the distance takes them.
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        if margin <= 0:
            raise ValueError(
                f"TripletMarginWithDistanceLoss: expected margin to be greater than 0, got {margin} instead"
            )
        self.distance_function = PairwiseDistance() if distance_function is None else distance_function
        self.margin, self.swap = margin, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_with_distance_loss(
            *(anchor, positive, negative),
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )


# -- extras of ours: the losses of linear classifiers, as lectures write them ------------------------------------------


class HingeLoss(_Loss):
    """max(0, margin - y x) for scores x and y = ±1: a support vector machine's loss. An extra of ours.

    At the kink the gradient is 0. Shapes: input and target of one shape, any; the result is a number, or of that shape
    with reduction="none".
    Source: C. Cortes, V. Vapnik, "Support-vector networks", 1995.
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.hinge_loss(input, target, margin=self.margin, reduction=self.reduction)


class SquaredHingeLoss(HingeLoss):
    """max(0, margin - y x)² for scores x and y = ±1; differentiable at the margin, too. An extra of ours.

    Shapes: input and target of one shape, any; the result is a number, or of that shape with reduction="none".
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.squared_hinge_loss(input, target, margin=self.margin, reduction=self.reduction)


class MulticlassHingeLoss(_Loss):
    """Σ_{k≠y} max(0, margin - x[y] + x[k])ᵖ for scores x (N, C) and classes y (N), p = 1 or 2. An extra of ours.

    MultiMarginLoss divides the sum by C, this one does not. Source: J. Weston, C. Watkins, "Support vector machines for
    multi-class pattern recognition", 1999.
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean", p: int = 1) -> None:
        super().__init__(reduction=reduction)
        if p not in (1, 2):
            raise ValueError("only p == 1 and p == 2 supported")
        self.margin, self.p = margin, p

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multiclass_hinge_loss(input, target, margin=self.margin, reduction=self.reduction, p=self.p)


class PerceptronLoss(_Loss):
    """max(0, -y x) for scores x and y = ±1: its steps are w += y x for each mistake. An extra of ours.

    Shapes: input and target of one shape, any; the result is a number, or of that shape with reduction="none". Source:
    F. Rosenblatt, "The perceptron", 1958.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.perceptron_loss(input, target, reduction=self.reduction)
