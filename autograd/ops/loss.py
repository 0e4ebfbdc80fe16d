"""Losses. Names, arguments, defaults and reductions are PyTorch's; each formula stands in its docstring.

`reduction`: "mean", "sum" or "none"; the older `size_average` and `reduce` are understood. Elementwise losses whose
target has another shape than the input broadcast with PyTorch's warning, where PyTorch broadcasts at all. Compositions
are the reference; the NumPy backend has kernel pairs for the commonest ones.

Names and formulas after PyTorch's documentation; hinge losses as in lecture courses (Crammer & Singer 2001, Weston &
Watkins 1999), Dice after Milletari et al. 2016 (V-Net), focal loss after Lin et al. 2017.
"""

from __future__ import annotations

import math

from ... import backends
from ...backends import np
from ..composite import composite
from ..dtypes import is_floating, to_numpy_dtype
from ..errors import OpError, warn
from ..op import GRAPH, op
from ..public import expose
from ..tensor import wrap

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dice_loss",
    "focal_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multiclass_hinge_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "pairwise_distance",
    "perceptron_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "squared_hinge_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


# -- what losses share ------------------------------------------------------------------------------------------------


def legacy_reduction(size_average, reduce, reduction):
    """The reduction that the older arguments ask for, with PyTorch's warning; ValueError for an unknown one."""
    if size_average is not None or reduce is not None:
        averaged = size_average is None or size_average
        reduction = "none" if reduce is not None and not reduce else "mean" if averaged else "sum"
        warn(f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.")
    if reduction == "elementwise_mean":
        warn("reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.")
        reduction = "mean"
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def _reduced(F, losses, reduction):
    return F.mean(losses) if reduction == "mean" else F.sum(losses) if reduction == "sum" else losses


def _weighted(F, losses, weight, reduction):
    """Losses times elementwise weights; their mean is the weighted mean."""
    if weight is None:
        return _reduced(F, losses, reduction)
    losses = losses * _same_shape(weight, losses)
    return losses if reduction == "none" else F.sum(losses) / F.sum(weight) if reduction == "mean" else F.sum(losses)


def _same_shape(weight, losses):
    if tuple(weight.shape) != tuple(losses.shape):
        raise ValueError(
            f"Weights and input must have the same size, got {list(weight.shape)} and {list(losses.shape)}"
        )
    return weight


def _warn_shapes(input, target):
    if tuple(input.shape) != tuple(target.shape):
        warn(
            f"Using a target size ({list(target.shape)}) that is different to the input size ({list(input.shape)}). "
            "This will likely lead to incorrect results due to broadcasting. Please ensure they have the same size."
        )


def _floating(x):
    return hasattr(x, "dtype") and is_floating(to_numpy_dtype(x.dtype))


@op
def checked_target(xp, target, /, classes, ignore_index=-100):
    """Class indices with 0 in place of `ignore_index`. On a CPU, IndexError for any other that is not a class."""
    return xp.where(target == ignore_index, 0, target)


@op
def class_mask(xp, target, /, classes):
    """True at [..., c] where target [...] is c: one-hot over a new last dimension, nowhere for other numbers."""
    return target[..., None] == xp.arange(classes)


# -- classification ---------------------------------------------------------------------------------------------------


def _class_dim(input, target, name):
    """The dimension of the classes, after a check of the shapes (C), (N, C) or (N, C, d1, ...)."""
    if not input.shape:
        raise ValueError(f"{name} takes an input of at least one dimension (C), (N, C) or (N, C, d1, ...)")
    dim = 0 if len(input.shape) == 1 else 1
    expected = tuple(input.shape[:dim]) + tuple(input.shape[dim + 1 :])
    if tuple(target.shape) != expected:
        raise ValueError(
            f"{_misfit(input.shape, target.shape, expected)}: {name} of an input {list(input.shape)} wants "
            f"class indices of shape {list(expected)}, got {list(target.shape)}"
        )
    return dim


def _misfit(given, target, expected):
    """What does not fit, in PyTorch's words."""
    if len(given) <= 2 and len(target) > 1:
        return "0D or 1D target tensor expected, multi-target not supported"
    if len(given) > 1 and len(target) == len(expected) and given[0] != target[0]:
        return f"Expected input batch_size ({given[0]}) to match target batch_size ({target[0]})"
    return f"Expected target size {list(expected)}, got {list(target)}"


def _picked(F, log_p, target, weight, ignore_index, dim):
    """-log_p at the target times its class's weight, and that weight; zeros where the target is ignored."""
    classes = log_p.shape[dim]
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ValueError(
            f"weight tensor should be defined either for all {classes} classes or no classes, got {list(weight.shape)}"
        )
    safe = F.checked_target(target, classes, ignore_index)
    kept = target != ignore_index
    losses = -F.squeeze(F.gather(log_p, dim, F.unsqueeze(safe, dim)), dim)
    if weight is None:
        share = F.cast(kept, dtype=log_p.dtype)
    else:
        chosen = F.reshape(F.gather(weight, 0, F.reshape(safe, (-1,))), tuple(safe.shape))
        share = F.where(kept, chosen, 0.0)
        losses = losses * chosen
    return F.where(kept, losses, 0.0), share


def _index_target(target, name):
    if _floating(target):
        raise ValueError(
            f"{name}: expected target dtype to be Long or Byte, but got {target.dtype}: class indices are integers; "
            "convert with .long()"
        )


@composite(vertex=True)
def nll_loss(F, input, target, weight=None, /, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """-weight[target] * input[target]: the negative log-likelihood of class `target`, given log-probabilities.

    input (C), (N, C) or (N, C, d1, ...), target without the class dimension, weight (C). The mean divides by the sum of
    the targets' weights; targets equal to `ignore_index` count nowhere. IndexError for a class that does not exist.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    _index_target(target, "nll_loss")
    losses, share = _picked(F, input, target, weight, ignore_index, _class_dim(input, target, "nll_loss"))
    if reduction == "mean":
        return F.sum(losses) / F.sum(share)
    return _reduced(F, losses, reduction)


@composite
def cross_entropy(
    F,
    input,
    target,
    weight=None,
    /,
    size_average=None,
    ignore_index=-100,
    reduce=None,
    reduction="mean",
    label_smoothing=0.0,
):
    """-sum over classes of p * log(softmax(input)), for class indices (p is one-hot) or class probabilities.

    input: logits (C), (N, C) or (N, C, d1, ...). target: class indices without the class dimension, or floats of the
    input's shape. weight (C) scales each class's term; with indices the mean divides by the sum of the targets'
    weights, and targets equal to `ignore_index` count nowhere. label_smoothing ε replaces p by (1 - ε) p + ε / C
    (Szegedy et al. 2016). IndexError for a class that does not exist.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    dim = 0 if len(input.shape) == 1 else 1
    if tuple(target.shape) == tuple(input.shape) and input.shape:
        if not _floating(target):
            raise ValueError(f"Expected floating point type for target with class probabilities, got {target.dtype}")
        return _soft_cross_entropy(F, input, target, weight, dim, reduction, label_smoothing)
    _index_target(target, "cross_entropy")
    dim = _class_dim(input, target, "cross_entropy")
    log_p = F.log_softmax(input, dim)
    losses, share = _picked(F, log_p, target, weight, ignore_index, dim)
    if label_smoothing:
        classes = input.shape[dim]
        spread = -F.sum(log_p if weight is None else log_p * _along(F, weight, dim, len(input.shape)), dim=dim)
        spread = F.where(target != ignore_index, spread, 0.0)
        losses = losses * (1 - label_smoothing) + spread * (label_smoothing / classes)
    if reduction == "mean":
        return F.sum(losses) / F.sum(share)
    return _reduced(F, losses, reduction)


def _along(F, weight, dim, rank):
    """A vector as a tensor of `rank` dimensions that lies along `dim`."""
    return F.reshape(weight, tuple([weight.shape[0] if i == dim else 1 for i in range(rank)]))


def _soft_cross_entropy(F, input, target, weight, dim, reduction, label_smoothing):
    classes = input.shape[dim]
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    terms = F.log_softmax(input, dim) * target
    if weight is not None:
        terms = terms * _along(F, weight, dim, len(input.shape))
    if reduction == "none":
        return -F.sum(terms, dim=dim)
    count = math.prod(input.shape) // classes if reduction == "mean" else 1
    return -F.sum(terms) / count if count else -F.sum(terms) * math.nan


@op(types="float")
def log_probability(xp, input, /, complement=False):
    """log(p), or log(1 - p) for `complement`, at least -100; p must lie in [0, 1].

    The gradient is that of the logarithm, with p kept at 1e-12 or more: what was cut off still learns, as in PyTorch.
    """
    return xp.maximum(xp.log1p(-input) if complement else xp.log(input), -100)


log_probability.shown = "binary_cross_entropy"  # which users called


@log_probability.grad("input")
def _(F, g, input, complement):
    return -g / F.clamp(1 - input, 1e-12) if complement else g / F.clamp(input, 1e-12)


@composite(vertex=True)
def binary_cross_entropy(F, input, target, weight=None, /, size_average=None, reduce=None, reduction="mean"):
    """-weight * (target * log(input) + (1 - target) * log(1 - input)), the logarithms at least -100.

    input: probabilities, which must lie in [0, 1] (checked on a CPU); target of the same shape; weight broadcasts.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"Using a target size ({list(target.shape)}) that is different to the input size ({list(input.shape)}) is "
            "deprecated. Please ensure they have the same size."
        )
    losses = -(target * F.log_probability(input) + (1 - target) * F.log_probability(input, True))
    return _reduced(F, losses if weight is None else losses * weight, reduction)


@composite(inputs="input target weight pos_weight", vertex=True)
def binary_cross_entropy_with_logits(
    F, input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None
):
    """-weight * (pos_weight * target * log σ(input) + (1 - target) * log(1 - σ(input))), σ the sigmoid.

    Computed as (1 - target) * input - (1 + (pos_weight - 1) * target) * log σ(input), which does not overflow.
    target has the input's shape; weight and pos_weight broadcast to it.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(f"Target size ({list(target.shape)}) must be the same as input size ({list(input.shape)})")
    log_p = F.logsigmoid(input)
    if pos_weight is not None:
        log_p = log_p * ((pos_weight - 1) * target + 1)
    losses = (1 - target) * input - log_p
    return _reduced(F, losses if weight is None else losses * weight, reduction)


@composite
def kl_div(F, input, target, /, size_average=None, reduce=None, reduction="mean", log_target=False):
    """target * (log(target) - input), for log-probabilities `input`; with `log_target` the target is a logarithm, too.

    reduction "batchmean" divides the sum by the size of dimension 0: the divergence KL(target || exp(input)). Shapes:
    input and target of one shape, any.
    """
    if reduction == "mean" and size_average is None and reduce is None:
        warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' divides "
            "only by the batch size, and aligns with the KL div math definition."
        )
    batch = reduction == "batchmean"
    reduction = legacy_reduction(size_average, reduce, "sum" if batch else reduction)
    losses = F.exp(target) * (target - input) if log_target else F.xlogy(target, target) - target * input
    result = _reduced(F, losses, reduction)
    return result / input.shape[0] if batch and input.shape else result


@composite
def focal_loss(F, input, target, /, gamma=2.0, alpha=0.25, reduction="mean"):
    """-α (1 - p)^γ log(p), p the probability of the true label: binary cross entropy that passes over easy examples.

    input: logits; target of the same shape, 0 or 1; α weighs label 1 and 1 - α label 0 (a negative α: no weights).
    An extra of ours, with the defaults of Lin et al. 2017.
    """
    reduction = legacy_reduction(None, None, reduction)
    losses = F.binary_cross_entropy_with_logits(input, target, reduction="none")
    p = F.sigmoid(input)
    wrong = p * (1 - target) + (1 - p) * target
    losses = losses * wrong**gamma
    return _reduced(F, losses if alpha < 0 else losses * (alpha * target + (1 - alpha) * (1 - target)), reduction)


@composite
def dice_loss(F, input, target, /, smooth=1.0, reduction="mean"):
    """1 - (2 Σ input * target + smooth) / (Σ input + Σ target + smooth), the sums over all dimensions but the first.

    input: probabilities (N, ...), target of the same shape: one loss per example, which `reduction` combines. An extra
    of ours.
    """
    reduction = legacy_reduction(None, None, reduction)
    if tuple(input.shape) != tuple(target.shape) or not input.shape:
        raise ValueError(
            f"dice_loss: target {list(target.shape)} must have the shape of the input {list(input.shape)}, (N, ...)"
        )
    shape = (input.shape[0], math.prod(input.shape[1:]))
    p, t = F.reshape(input, shape), F.reshape(target, shape)
    overlap = F.sum(p * t, dim=1)
    return _reduced(F, 1 - (overlap * 2 + smooth) / (F.sum(p, dim=1) + F.sum(t, dim=1) + smooth), reduction)


# -- regression -------------------------------------------------------------------------------------------------------


@composite(inputs="input target weight")
def mse_loss(F, input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """(input - target)²; with `weight` (same shape) the weighted sum, or the weighted mean."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    _warn_shapes(input, target)
    difference = input - target
    return _weighted(F, difference * difference, weight, reduction)


@composite(inputs="input target weight")
def l1_loss(F, input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """|input - target|, with gradient 0 where they are equal. Shapes: input and target of one shape, any."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    _warn_shapes(input, target)
    return _weighted(F, F.abs(input - target), weight, reduction)


@composite(vertex=True)
def smooth_l1_loss(F, input, target, /, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """d² / (2 β) where d = |input - target| is below β, and d - β / 2 beyond; β = 0 is l1_loss.

    Shapes: input and target of one shape, any.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    _warn_shapes(input, target)
    d = F.abs(input - target)
    return _reduced(F, F.where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta) if beta else d, reduction)


@composite(inputs="input target weight", vertex=True)
def huber_loss(F, input, target, reduction="mean", delta=1.0, weight=None):
    """d² / 2 where d = |input - target| is at most δ, and δ (d - δ / 2) beyond (Huber 1964).

    `weight` (same shape) scales the losses; unlike mse_loss, the mean is not divided by its sum, as in PyTorch.
    """
    reduction = legacy_reduction(None, None, reduction)
    if delta <= 0:
        raise ValueError(f"huber_loss does not support non-positive values for delta, got {delta}")
    _warn_shapes(input, target)
    d = F.abs(input - target)
    losses = F.where(d <= delta, d * d * 0.5, delta * (d - 0.5 * delta))
    return _reduced(F, losses if weight is None else losses * _same_shape(weight, losses), reduction)


@composite
def poisson_nll_loss(
    F, input, target, /, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"
):
    """exp(input) - target * input, or input - target * log(input + eps) where the input is no logarithm.

    `full` adds Stirling's target * log(target) - target + log(2π target) / 2 where the target exceeds 1. log_input:
    whether it is one.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    losses = F.exp(input) - target * input if log_input else input - target * F.log(input + eps)
    if full:
        large = F.where(target > 1, target, 1.0)
        stirling = large * F.log(large) - large + 0.5 * F.log(2 * math.pi * large)
        losses = losses + F.where(target > 1, stirling, 0.0)
    return _reduced(F, losses, reduction)


@op
def raised(xp, input, /, min):
    """max(input, min), elementwise, with the gradient of the identity: a floor that does not stop learning.

    On a CPU, ValueError for a negative input: it serves variances.
    """
    return xp.maximum(input, xp.asarray(min, dtype=input.dtype))


@raised.grad("input")
def _(F, g):
    return g


@composite
def gaussian_nll_loss(F, input, target, var, /, full=False, eps=1e-6, reduction="mean"):
    """(log(v) + (input - target)² / v) / 2 with v = max(var, eps); `full` adds log(2π) / 2 (Nix & Weigend 1994).

    var: of the input's shape, or with a last dimension of 1, or without it; or a number. The floor passes gradients on.
    """
    reduction = legacy_reduction(None, None, reduction)
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        v = max(float(var), eps)
        log_v = math.log(v)
    else:
        if tuple(var.shape) != tuple(input.shape):
            if tuple(input.shape[:-1]) == tuple(var.shape):
                var = F.unsqueeze(var, -1)
            elif tuple(input.shape[:-1]) != tuple(var.shape[:-1]) or var.shape[-1] != 1:
                raise ValueError(f"var is of incorrect size: {list(var.shape)} for an input {list(input.shape)}")
        v = F.raised(var, eps)
        log_v = F.log(v)
    difference = input - target
    losses = 0.5 * (difference * difference / v + log_v)
    return _reduced(F, losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


# -- margins ----------------------------------------------------------------------------------------------------------


@composite
def hinge_loss(F, input, target, /, margin=1.0, reduction="mean"):
    """max(0, margin - target * input), for targets -1 and 1; gradient 0 at the kink. An extra of ours.

    Shapes: input and target of one shape, any.
    """
    return _reduced(F, F.relu(margin - target * input), legacy_reduction(None, None, reduction))


@composite
def squared_hinge_loss(F, input, target, /, margin=1.0, reduction="mean"):
    """max(0, margin - target * input)², for targets -1 and 1. An extra of ours.

    Shapes: input and target of one shape, any.
    """
    short = F.relu(margin - target * input)
    return _reduced(F, short * short, legacy_reduction(None, None, reduction))


@composite
def perceptron_loss(F, input, target, /, reduction="mean"):
    """max(0, -target * input), for targets -1 and 1 (Rosenblatt 1958). An extra of ours.

    Shapes: input and target of one shape, any.
    """
    return _reduced(F, F.relu(-target * input), legacy_reduction(None, None, reduction))


@composite
def hinge_embedding_loss(F, input, target, /, margin=1.0, size_average=None, reduce=None, reduction="mean"):
    """input where the target is 1, max(0, margin - input) where it is -1.

    Shapes: input and target of one shape, any.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    losses = F.where(target != 1, F.relu(margin - input), 0.0) + F.where(target != -1, input, 0.0)
    return _reduced(F, losses, reduction)


@composite(vertex=True)
def soft_margin_loss(F, input, target, /, size_average=None, reduce=None, reduction="mean"):
    """log(1 + exp(-target * input)), for targets -1 and 1; finite for any input (PyTorch's overflows to inf).

    Shapes: input and target of one shape, any.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    _warn_shapes(input, target)
    return _reduced(F, -F.logsigmoid(target * input), reduction)


@composite
def margin_ranking_loss(F, input1, input2, target, /, margin=0.0, size_average=None, reduce=None, reduction="mean"):
    """max(0, margin - target * (input1 - input2)): input1 should rank higher where the target is 1, lower where -1.

    Shapes: all three alike, any.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    ranks = {len(input1.shape), len(input2.shape), len(target.shape)}
    if len(ranks) > 1:
        raise ValueError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {list(input1.shape)}, input2: {list(input2.shape)}, target: {list(target.shape)} "
        )
    return _reduced(F, F.relu(margin - target * (input1 - input2)), reduction)


@composite(inputs="input target weight", vertex=True)
def multi_margin_loss(F, input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"):
    """Σ over i ≠ y of weight[y] * max(0, margin - x[y] + x[i])^p / C, for scores x (N, C) or (C) and classes y; p is
    1 or 2.
    """
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    reduction = legacy_reduction(size_average, reduce, reduction)
    short = _shortfalls(F, input, target, margin, "multi_margin_loss")
    if p == 2:
        short = short * short
    if weight is not None:
        short = short * F.unsqueeze(F.reshape(F.gather(weight, 0, F.reshape(target, (-1,))), tuple(target.shape)), -1)
    return _reduced(F, F.sum(short, dim=-1) / input.shape[-1], reduction)


@composite
def multiclass_hinge_loss(F, input, target, /, margin=1.0, reduction="mean", p=1):
    """Σ over i ≠ y of max(0, margin - x[y] + x[i])^p: the sum form of lecture courses (Weston & Watkins), not divided
    by C; p is 1 or 2.

    input (N, C) or (C), target (N) or (). An extra of ours.
    """
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    reduction = legacy_reduction(None, None, reduction)
    short = _shortfalls(F, input, target, margin, "multiclass_hinge_loss")
    return _reduced(F, F.sum(short * short if p == 2 else short, dim=-1), reduction)


def _shortfalls(F, input, target, margin, name):
    """max(0, margin - x[y] + x[i]) for every class i but y, 0 at y."""
    rank = len(input.shape)
    if rank not in (1, 2) or tuple(target.shape) != tuple(input.shape[:-1]):
        raise ValueError(
            f"{name}: input (N, C) or (C) and target (N) or () expected, "
            f"got {list(input.shape)} and {list(target.shape)}"
        )
    _index_target(target, name)
    classes = input.shape[-1]
    index = F.unsqueeze(F.checked_target(target, classes), -1)
    short = F.relu(margin - F.gather(input, rank - 1, index) + input)
    return F.where(F.class_mask(target, classes), 0.0, short)


@op
def label_list(xp, target, /):
    """True where a row of class indices has not ended: before its first negative number."""
    return xp.cumsum(target < 0, axis=-1) == 0


@composite(vertex=True)
def multilabel_margin_loss(F, input, target, /, size_average=None, reduce=None, reduction="mean"):
    """Σ over labels j and other classes i of max(0, 1 - x[j] + x[i]) / C.

    input (N, C) or (C); target of the same shape: each row lists class indices, up to the first -1.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if tuple(input.shape) != tuple(target.shape) or len(input.shape) not in (1, 2):
        raise ValueError(
            f"multilabel_margin_loss: target {list(target.shape)} must have the input's shape {list(input.shape)}"
        )
    _index_target(target, "multilabel_margin_loss")
    classes, rank = input.shape[-1], len(input.shape)
    listed = F.label_list(target)
    safe = F.checked_target(F.where(listed, target, 0), classes)
    at_labels = F.gather(input, rank - 1, safe)
    short = F.relu(1 - F.unsqueeze(at_labels, -1) + F.unsqueeze(input, -2))  # (..., label, class)
    others = ~F.any(F.class_mask(F.where(listed, target, -1), classes), dim=-2)
    counted = F.unsqueeze(listed, -1) & F.unsqueeze(others, -2)
    losses = F.sum(F.where(counted, short, 0.0), dim=(-2, -1)) / classes
    return _reduced(F, losses, reduction)


@composite
def multilabel_soft_margin_loss(F, input, target, weight=None, /, size_average=None, reduce=None, reduction="mean"):
    """Binary cross entropy of logits (N, C) against 0/1 targets, averaged over the classes; weight (C) scales
    classes.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    losses = -(target * F.logsigmoid(input) + (1 - target) * F.logsigmoid(-input))
    return _reduced(F, F.mean(losses if weight is None else losses * weight, dim=-1), reduction)


# -- distances --------------------------------------------------------------------------------------------------------


@composite
def cosine_similarity(F, x1, x2, /, dim=1, eps=1e-8):
    """Σ x1 * x2 / (max(‖x1‖, eps) * max(‖x2‖, eps)) along `dim`; the two broadcast."""
    if len(x1.shape) != len(x2.shape):  # `dim` is one of the result's
        common = np.broadcast_shapes(tuple(x1.shape), tuple(x2.shape))
        x1, x2 = F.expand(x1, common), F.expand(x2, common)
    n1 = F.clamp(F.vector_norm(x1, 2, dim, True), eps)
    n2 = F.clamp(F.vector_norm(x2, 2, dim, True), eps)
    return F.sum((x1 / n1) * (x2 / n2), dim=dim)


@composite
def pairwise_distance(F, x1, x2, /, p=2.0, eps=1e-6, keepdim=False):
    """‖x1 - x2 + eps‖ₚ, p = `p`, along the last dimension: (N, D) and (N, D) or (D) to (N)."""
    return F.vector_norm(x1 - x2 + eps, p, -1, keepdim)


@composite
def cosine_embedding_loss(F, input1, input2, target, /, margin=0.0, size_average=None, reduce=None, reduction="mean"):
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1; cos of the inputs along the last dimension.

    Inputs (N, D) with target (N), or (D) with (). The squared norms are raised by 1e-12, as in PyTorch.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if len(input1.shape) != len(target.shape) + 1 or len(input2.shape) != len(target.shape) + 1:
        raise ValueError(
            f"{len(target.shape)}D target tensor expects {len(target.shape) + 1}D input tensors, but found inputs with "
            f"sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    square1, square2 = F.sum(input1 * input1, dim=-1) + 1e-12, F.sum(input2 * input2, dim=-1) + 1e-12
    cos = F.sum(input1 * input2, dim=-1) / F.sqrt(square1 * square2)
    losses = F.where(target == 1, 1 - cos, 0.0) + F.where(target == -1, F.relu(cos - margin), 0.0)
    return _reduced(F, losses, reduction)


@composite
def triplet_margin_loss(
    F,
    anchor,
    positive,
    negative,
    /,
    margin=1.0,
    p=2.0,
    eps=1e-6,
    swap=False,
    size_average=None,
    reduce=None,
    reduction="mean",
):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d the pairwise p-distance along the last dimension.

    swap: take d(positive, negative) where it is the smaller distance to the negative (Balntas et al. 2016). eps: added
    to each difference. Shapes: (N, D) or (D).
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    ranks = [len(x.shape) for x in (anchor, positive, negative)]
    if len({*ranks}) > 1:
        raise ValueError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {ranks[0]}D, positive {ranks[1]}D, and negative {ranks[2]}D inputs"
        )
    near = F.pairwise_distance(anchor, positive, p, eps)
    far = F.pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = F.minimum(far, F.pairwise_distance(positive, negative, p, eps))
    return _reduced(F, F.relu(near - far + margin), reduction)


def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"
):
    """`triplet_margin_loss` with another distance: distance_function(x, y), by default pairwise_distance."""
    reduction = legacy_reduction(None, None, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = GRAPH.pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = GRAPH.minimum(far, distance(positive, negative))
    return _reduced(GRAPH, GRAPH.relu(near - far + margin), reduction)


# -- connectionist temporal classification ----------------------------------------------------------------------------

#: the logarithm of what is impossible: finite, so that differences of two of them are numbers
_NEVER = -1e30


@op
def ctc_labels(xp, targets, lengths, /, longest, blank):
    """The label sequences with blanks before, between and after: (N, 2 longest + 1), filled up with blanks.

    targets: (N, S), or the sequences one after another; lengths (N).
    """
    place = xp.arange(longest)
    if targets.ndim == 1 and targets.size:
        targets = targets[xp.minimum((xp.cumsum(lengths) - lengths)[:, None] + place, targets.size - 1)]
    labels = xp.full((lengths.shape[0], 2 * longest + 1), blank, "int64")
    if targets.size:
        labels[:, 1::2] = xp.where(place < lengths[:, None], targets[:, :longest], blank)
    return labels


@composite
def ctc_nll(F, log_probs, labels, input_lengths, target_lengths, /, blank=0):
    """-log of the probability of each label sequence: the forward recursion of Graves et al. 2006, in logarithms.

    log_probs (T, N, C), labels (N, 2 S + 1) with blanks, lengths (N): (N). inf for a sequence that does not fit.
    """
    steps, n, width = log_probs.shape[0], labels.shape[0], labels.shape[1]
    dtype = log_probs.dtype
    scores = F.clamp(F.gather(log_probs, 2, F.expand(F.unsqueeze(labels, 0), (steps, n, width))), _NEVER)
    never = F.zeros_of(scores, (n, 2), dtype) + _NEVER
    # a label may follow the label before it without a blank between, unless they are equal
    skip = labels != F.concat(
        F.zeros_of(labels, (n, min(2, width)), labels.dtype) + blank, F.narrow(labels, 1, 0, max(width - 2, 0)), dim=1
    )
    start = F.class_mask(F.zeros_of(labels, (n,), labels.dtype), width) | F.class_mask(
        F.zeros_of(labels, (n,), labels.dtype) + 1, width
    )
    ends = F.unsqueeze(input_lengths - 1, -1)
    alpha = final = F.where(start, scores[0], _NEVER)
    for t in range(1, steps):
        back = F.concat(never, alpha, dim=1)
        stay_or_step = F.logaddexp(alpha, F.narrow(back, 1, 1, width))
        jump = F.where(skip, F.narrow(back, 1, 0, width), _NEVER)
        alpha = F.logaddexp(stay_or_step, jump) + scores[t]
        final = F.where(ends >= t, alpha, final)
    last = F.unsqueeze(2 * target_lengths, -1)
    at_blank = F.gather(final, 1, last)
    at_label = F.where(last > 0, F.gather(final, 1, F.clamp(last - 1, 0)), _NEVER)
    loss = -F.squeeze(F.logaddexp(at_blank, at_label), 1)
    # no time step at all: certain for an empty sequence, impossible for another
    loss = F.where(input_lengths > 0, loss, F.cast(F.where(target_lengths > 0, 1.0, 0.0), dtype=dtype) * -_NEVER)
    return F.where(loss > -0.1 * _NEVER, math.inf, loss)


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """-log of the probability that log_probs spell the targets, summed over all alignments (Graves et al. 2006).

    log_probs (T, N, C) or (T, C): logarithms of probabilities; targets (N, S), or (sum of target_lengths); lengths (N),
    tensors or sequences. The mean divides each loss by its target's length first. zero_infinity: losses of sequences
    that do not fit are 0. The gradient is that for log_probs as they stand; PyTorch returns the one for the logits of a
    log_softmax before it. blank: the class that stands for no sign.
    """
    reduction = legacy_reduction(None, None, reduction)
    single = len(log_probs.shape) == 2
    if single:
        log_probs = GRAPH.unsqueeze(log_probs, 1)
        targets = GRAPH.reshape(targets, (1, -1)) if len(targets.shape) == 1 else targets
    if len(log_probs.shape) != 3:
        raise OpError(f"ctc_loss takes log_probs (T, N, C) or (T, C), got {list(log_probs.shape)}")
    steps, n, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise OpError(f"blank must be in label range [0, {classes}), got {blank}")
    inputs, outputs = (
        _lengths(x, log_probs, n, name)
        for x, name in ((input_lengths, "input_lengths"), (target_lengths, "target_lengths"))
    )
    longest = max(outputs, default=0)
    if max(inputs, default=0) > steps:
        raise OpError(f"Expected input_lengths to have value at most {steps}, but got value {max(inputs)}")
    room = targets.shape[1] if len(targets.shape) == 2 else targets.shape[0]
    if (longest if len(targets.shape) == 2 else sum(outputs)) > room:
        raise OpError(f"target_lengths ask for more labels than targets {list(targets.shape)} hold")
    backend = backends.of(log_probs.array)
    starts, ends = (wrap(backend.asarray(np.array(x, "int64")), None) for x in (inputs, outputs))
    labels = GRAPH.ctc_labels(targets, ends, longest, blank)
    losses = GRAPH.ctc_nll(log_probs, GRAPH.checked_target(labels, classes, -1), starts, ends, blank)
    if zero_infinity:
        losses = GRAPH.where(losses == math.inf, 0.0, losses)
    if reduction == "mean":
        return GRAPH.mean(losses / GRAPH.cast(GRAPH.clamp(ends, 1), dtype=losses.dtype))
    if reduction == "sum":
        return GRAPH.sum(losses)
    return GRAPH.squeeze(losses, 0) if single else losses


def _lengths(lengths, log_probs, n, name):
    """Lengths as Python ints."""
    if hasattr(lengths, "array"):
        lengths = backends.of(lengths.array).to_host(lengths.array)
    found = [int(x) for x in np.reshape(lengths, -1)]
    if len(found) != n or min(found, default=0) < 0:
        raise OpError(f"{name} must hold {n} lengths of 0 or more, one per example, got {found}")
    return found


expose(cosine_similarity, pairwise_distance, methods=False)
