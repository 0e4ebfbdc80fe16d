"""Functions of `nn.functional` under the names that PyTorch's root gives them, with the arguments that they have there.

`layer_norm`, `dropout(input, p, train)`, losses whose `reduction` is a number (0, the default, none; 1 mean; 2 sum).
Flags for cuDNN are taken and change nothing.
"""

from __future__ import annotations

from typing import Any

from .op import OPS
from .ops import convolution as _convolution
from .ops import dropout as _dropout
from .ops import embedding as _embedding
from .ops import loss as _loss
from .ops import normalisation as _normalisation
from .ops import pooling as _pooling
from .ops import vision as _vision
from .public import FUNCTIONS
from .public import inplace as _inplace
from .tensor import Tensor

__all__ = [
    "affine_grid_generator",
    "alpha_dropout",
    "alpha_dropout_",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy_with_logits",
    "conv_tbc",
    "cosine_embedding_loss",
    "ctc_loss",
    "dropout",
    "dropout_",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "feature_alpha_dropout_",
    "feature_dropout",
    "feature_dropout_",
    "frobenius_norm",
    "grid_sampler",
    "group_norm",
    "hinge_embedding_loss",
    "instance_norm",
    "kl_div",
    "layer_norm",
    "margin_ranking_loss",
    "max_pool1d_with_indices",
    "norm_except_dim",
    "nuclear_norm",
    "pdist",
    "poisson_nll_loss",
    "rms_norm",
    "rrelu_",
    "threshold_",
    "triplet_margin_loss",
]

bilinear, rms_norm, pdist = OPS["bilinear"], OPS["rms_norm"], OPS["pdist"]
_REDUCTIONS = ("none", "mean", "sum")


def _reduction(number: Any) -> str:
    return number if isinstance(number, str) else _REDUCTIONS[number]


# -- convolution ------------------------------------------------------------------------------------------------------


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Any:
    """conv1d of a sequence `input` (T, B, C) with `weight` (K, C, D) and `bias` (D): (T + 2 pad - K + 1, B, D).

    pad: zeros before and behind the sequence. RuntimeError for other numbers of dimensions.
    """
    if input.dim() != 3 or weight.dim() != 3 or bias.dim() != 1:
        raise RuntimeError(
            f"conv_tbc takes input (time, batch, in), weight (kernel, in, out) and bias (out), got shapes "
            f"{list(input.shape)}, {list(weight.shape)} and {list(bias.shape)}"
        )
    return _convolution.conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)


# -- normalisation ----------------------------------------------------------------------------------------------------


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:
    """`nn.functional.layer_norm`."""
    return _normalisation.layer_norm(input, tuple(normalized_shape), weight, bias, eps)


def group_norm(
    input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    """`nn.functional.group_norm`."""
    return _normalisation.group_norm(input, num_groups, weight, bias, eps)


def batch_norm(
    input: Tensor,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Any:
    """`nn.functional.batch_norm` in the root's order of arguments."""
    return _normalisation.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(
    input: Tensor,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Any:
    """`nn.functional.instance_norm` in the root's order of arguments."""
    return _normalisation.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Any:
    """The norms of the slices of `v` along `dim`, the other dimensions kept with size 1; dim=-1: of all of it.

    pow: which norm, 2 for √Σx².
    """
    if dim == -1:
        return OPS["vector_norm"](v, ord=float(pow))
    others = tuple([d for d in range(len(v.shape)) if d != dim % len(v.shape)])
    return OPS["vector_norm"](v, ord=float(pow), dim=others, keepdim=True)


def frobenius_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The square root of the sum of squares over `dim`."""
    return OPS["vector_norm"](
        input, dim=dim if dim is None or isinstance(dim, int) else tuple(dim) or None, keepdim=keepdim
    )


def nuclear_norm(input: Tensor, dim: Any = (-2, -1), keepdim: bool = False) -> Any:
    """The sum of the singular values of matrices."""
    return FUNCTIONS["norm"](input, "nuc", dim, keepdim)


# -- dropout ----------------------------------------------------------------------------------------------------------


def dropout(input: Tensor, p: float, train: bool) -> Any:
    """`nn.functional.dropout`, in training where `train` is true."""
    return _dropout.dropout(input, p, train)


def dropout_(input: Tensor, p: float, train: bool) -> Any:
    """In-place form of `dropout`."""
    return _dropout.dropout(input, p, train, True)


def alpha_dropout(input: Tensor, p: float, train: bool) -> Any:
    """`nn.functional.alpha_dropout`, in training where `train` is true."""
    return _dropout.alpha_dropout(input, p, train)


def alpha_dropout_(input: Tensor, p: float, train: bool) -> Any:
    """In-place form of `alpha_dropout`."""
    return _dropout.alpha_dropout(input, p, train, True)


def feature_alpha_dropout(input: Tensor, p: float, train: bool) -> Any:
    """`nn.functional.feature_alpha_dropout`, in training where `train` is true."""
    return _dropout.feature_alpha_dropout(input, p, train)


def feature_alpha_dropout_(input: Tensor, p: float, train: bool) -> Any:
    """In-place form of `feature_alpha_dropout`."""
    return _dropout.feature_alpha_dropout(input, p, train, True)


def feature_dropout(input: Tensor, p: float, train: bool) -> Any:
    """Whole channels (dimension 1) are set to zero with probability p, the others divided by 1 - p."""
    if not train or p == 0:
        return input.clone() if not train else input * 1
    shape = (*input.shape[:2], *(1,) * (len(input.shape) - 2))
    kept = FUNCTIONS["bernoulli"](input.new_full(shape, 1 - p))
    return input * (kept / (1 - p) if p < 1 else kept)


def feature_dropout_(input: Tensor, p: float, train: bool) -> Any:
    """In-place form of `feature_dropout`."""
    return _inplace(input, feature_dropout, p, train)


def rrelu_(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Any:
    """In-place form of `rrelu`."""
    return _inplace(input, FUNCTIONS["rrelu"], lower, upper, training)


def threshold_(input: Tensor, threshold: float, value: float) -> Any:
    """In-place form of `threshold`."""
    return _inplace(input, FUNCTIONS["threshold"], threshold, value)


# -- embedding, images, pooling ---------------------------------------------------------------------------------------


def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    """weight[indices]; `padding_idx` -1: none. The table comes first here.

    scale_grad_by_freq and sparse as in `nn.functional.embedding`.
    """
    return _embedding.embedding(
        indices, weight, None if padding_idx == -1 else padding_idx, scale_grad_by_freq=scale_grad_by_freq
    )


def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Any, ...]:
    """`nn.functional.embedding_bag` with a number for the mode (0 sum, 1 mean, 2 max), as the first of a tuple."""
    found = _embedding.embedding_bag(
        indices,
        weight,
        offsets,
        scale_grad_by_freq=scale_grad_by_freq,
        mode=("sum", "mean", "max")[mode],
        per_sample_weights=per_sample_weights,
        include_last_offset=include_last_offset,
        padding_idx=padding_idx,
    )
    return (found,)


def grid_sampler(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Any:
    """`nn.functional.grid_sample` with numbers for the modes: bilinear, nearest, bicubic; zeros, border, reflection."""
    mode = ("bilinear", "nearest", "bicubic")[interpolation_mode]
    return _vision.grid_sample(input, grid, mode, ("zeros", "border", "reflection")[padding_mode], align_corners)


def affine_grid_generator(theta: Tensor, size: Any, align_corners: bool) -> Any:
    """`nn.functional.affine_grid`."""
    return _vision.affine_grid(theta, tuple(size), align_corners)


def max_pool1d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The maxima of windows, and where they stood. stride, padding, dilation and ceil_mode as in `max_pool1d`."""
    return _pooling.max_pool1d(input, kernel_size, stride or kernel_size, padding, dilation, ceil_mode, True)


# -- losses -----------------------------------------------------------------------------------------------------------


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Any = None, pos_weight: Any = None, reduction: Any = 0
) -> Any:
    """`nn.functional.binary_cross_entropy_with_logits`."""
    return OPS["binary_cross_entropy_with_logits"](
        input, target, weight, pos_weight=pos_weight, reduction=_reduction(reduction)
    )


def kl_div(input: Tensor, target: Tensor, reduction: Any = 0, *, log_target: bool = False) -> Any:
    """`nn.functional.kl_div`."""
    return OPS["kl_div"](input, target, reduction=_reduction(reduction), log_target=log_target)


def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: Any) -> Any:
    """`nn.functional.poisson_nll_loss`."""
    return OPS["poisson_nll_loss"](input, target, log_input, full, eps=eps, reduction=_reduction(reduction))


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: Any = 0
) -> Any:
    """`nn.functional.cosine_embedding_loss`."""
    return OPS["cosine_embedding_loss"](input1, input2, target, margin, reduction=_reduction(reduction))


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: Any = 0) -> Any:
    """`nn.functional.hinge_embedding_loss`."""
    return OPS["hinge_embedding_loss"](input, target, margin, reduction=_reduction(reduction))


def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: Any = 0) -> Any:
    """`nn.functional.margin_ranking_loss`."""
    return OPS["margin_ranking_loss"](input1, input2, target, margin, reduction=_reduction(reduction))


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: Any = 0,
) -> Any:
    """`nn.functional.triplet_margin_loss`."""
    return OPS["triplet_margin_loss"](anchor, positive, negative, margin, p, eps, swap, reduction=_reduction(reduction))


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: Any = 0,
    zero_infinity: bool = False,
) -> Any:
    """`nn.functional.ctc_loss`."""
    return _loss.ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank, _reduction(reduction), zero_infinity
    )
