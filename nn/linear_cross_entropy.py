"""Cross entropy of a linear layer's result, in one call, and in pieces where the logits would not fit."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ..autograd import FUNCTIONS, Tensor
from ..autograd.errors import OpError
from ..autograd.ops.linear import linear
from ..autograd.ops.loss import cross_entropy, legacy_reduction
from ..autograd.recompute import recompute

__all__ = ["LinearCrossEntropyOptions", "linear_cross_entropy"]


@dataclasses.dataclass
class LinearCrossEntropyOptions:
    """How to compute linear_cross_entropy in pieces of the batch, so that never all logits exist at once.

    batch_chunk_size: rows per piece (None: as many as make the logits of a piece twice as large as the input). Each
    piece is computed a second time in the backward pass. The other settings (chunking_method, acc_policy, acc_dtype,
    allow_retain_graph) choose among PyTorch's ways and precisions of accumulation; they are checked, and change nothing
    here: pieces are summed in the input's dtype, and backward may always be repeated.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None

    def __post_init__(self) -> None:
        size = self.batch_chunk_size
        if size is not None and (not isinstance(size, int) or size <= 0):
            raise ValueError(f"batch_chunk_size must be positive int or None, got {size}")
        method = self.chunking_method
        if method not in (None, "auto") and not method.startswith("aspect_ratio:"):
            raise ValueError(f"invalid chunking_method: {method!r}")
        if self.acc_policy not in ("accurate", "balanced", "compact", "auto"):
            raise ValueError(f"invalid acc_policy: {self.acc_policy!r}")

    def _rows(self, count: int, width: int, classes: int) -> int:
        return self.batch_chunk_size or max(1, math.ceil(2 * count * width / max(classes, 1)))


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Tensor:
    """cross_entropy(input linear_weightᵀ + linear_bias, target, ...).

    Shapes: input (N, in) or (in,); linear_weight (C, in), or (C, d_1, ..., d_K, in) for targets (N, d_1, ..., d_K);
    linear_bias as linear_weight without its last dimension. options: compute in pieces of the batch, with less memory;
    that serves class indices and K = 0, other calls are computed at once. ignore_index, label_smoothing and weight:
    those of `cross_entropy`.
    """
    places = tuple(linear_weight.shape[1:-1])
    if places and input.ndim != 2:
        raise OpError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"(N, {linear_weight.shape[-1]}), got unbatched input with shape {tuple(input.shape)}"
        )
    settings = {"ignore_index": -100 if ignore_index is None else ignore_index, "label_smoothing": label_smoothing}

    def loss(x: Tensor, t: Tensor, reduction: str) -> Tensor:
        flat = linear_weight.reshape(-1, linear_weight.shape[-1]) if places else linear_weight
        bias = linear_bias.reshape(-1) if places and linear_bias is not None else linear_bias
        logits = linear(x, flat, bias)
        if places:
            logits = logits.reshape(x.shape[0], linear_weight.shape[0], *places)
        return cross_entropy(logits, t, weight, reduction=reduction, **settings)

    if options is None or places or input.ndim != 2 or target.ndim != 1:
        return loss(input, target, reduction)
    rows = options._rows(input.shape[0], input.shape[1], linear_weight.shape[0])
    if input.shape[0] <= rows:
        return loss(input, target, reduction)
    reduction = legacy_reduction(None, None, reduction)
    pieces = []
    for start in range(0, input.shape[0], rows):
        part = (input[start : start + rows], target[start : start + rows])
        pieces.append(recompute(loss, (*part, "none" if reduction == "none" else "sum"), {}))
    if reduction == "none":
        return FUNCTIONS["cat"](pieces)
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    return total if reduction == "sum" else total / _count(target, weight, settings["ignore_index"], total)


def _count(target: Tensor, weight: Tensor | None, ignored: int | float, like: Tensor) -> Tensor:
    """What the mean divides by: the number of targets that count, or the sum of their weights."""
    kept = target != ignored
    return kept.sum().to(like.dtype) if weight is None else weight[target[kept]].sum()
