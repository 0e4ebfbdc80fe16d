"""What all losses share: how the losses of elements become one number."""

from __future__ import annotations

from typing import Any

from ..autograd.ops.loss import legacy_reduction
from .module import Module

__all__ = ["_Loss", "_WeightedLoss"]


class _Loss(Module):
    def __init__(self, size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> None:
        super().__init__()
        given = size_average is not None or reduce is not None
        self.reduction = legacy_reduction(size_average, reduce, reduction) if given else reduction


class _WeightedLoss(_Loss):
    def __init__(
        self, weight: Any = None, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
