"""The functions behind the layers: PyTorch's torch.nn.functional, by its names and signatures.

Nearly all are the ops themselves; here stand only the wrappers that add `inplace=`, an implicit `dim`, or a second
form. The extras are marked as ours in their docstrings.
"""

from __future__ import annotations

import inspect

from ..autograd.errors import OpError, warn
from ..autograd.modes import no_grad
from ..autograd.ops import activation as _activation
from ..autograd.ops import softmax as _softmax
from ..autograd.ops.activation import (
    gelu,
    glu,
    hardshrink,
    logsigmoid,
    maxout,
    prelu,
    rrelu,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
)
from ..autograd.ops.attention import scaled_dot_product_attention
from ..autograd.ops.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from ..autograd.ops.dropout import (
    alpha_dropout,
    drop_connect,
    drop_path,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    dropout_add,
    feature_alpha_dropout,
)
from ..autograd.ops.elementwise import sigmoid, tanh
from ..autograd.ops.embedding import embedding, embedding_bag
from ..autograd.ops.fractional import (
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
)
from ..autograd.ops.linear import bilinear, linear
from ..autograd.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    cosine_similarity,
    cross_entropy,
    ctc_loss,
    dice_loss,
    focal_loss,
    gaussian_nll_loss,
    hinge_embedding_loss,
    hinge_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    multi_margin_loss,
    multiclass_hinge_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
    pairwise_distance,
    perceptron_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
    squared_hinge_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from ..autograd.ops.multihead import multi_head_attention_forward
from ..autograd.ops.normalisation import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from ..autograd.ops.normalisation import normalize as _normalize
from ..autograd.ops.norms import pdist
from ..autograd.ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    fold,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
    unfold,
)
from ..autograd.ops.resampling import pad
from ..autograd.ops.scatter import one_hot
from ..autograd.ops.softmax import gumbel_softmax
from ..autograd.ops.vision import affine_grid as _affine_grid
from ..autograd.ops.vision import (
    channel_shuffle,
    interpolate,
    pixel_shuffle,
    pixel_unshuffle,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)
from ..autograd.ops.vision import grid_sample as _grid_sample
from ..autograd.public import inplace as _in_place
from .linear_cross_entropy import linear_cross_entropy

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "affine_grid",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "celu_",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dice_loss",
    "drop_connect",
    "drop_path",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "dropout_add",
    "elu",
    "elu_",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "focal_loss",
    "fold",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "grid_sample",
    "group_norm",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "hinge_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "leaky_relu_",
    "linear",
    "linear_cross_entropy",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "maxout",
    "mish",
    "mse_loss",
    "multi_head_attention_forward",
    "multi_margin_loss",
    "multiclass_hinge_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "native_channel_shuffle",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pdist",
    "perceptron_loss",
    "pixel_shuffle",
    "pixel_unshuffle",
    "poisson_nll_loss",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rms_norm",
    "rrelu",
    "rrelu_",
    "scaled_dot_product_attention",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "squared_hinge_loss",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "unfold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]


# -- activations with inplace -----------------------------------------------------------------------------------------


def _with_inplace(target):
    """The op with `inplace=False` as its last argument."""
    given = list(inspect.signature(target).parameters.values())
    count = len(given)

    def call(input, *args, inplace=False, **kwargs):
        if len(args) == count:
            *args, inplace = args
        return _in_place(input, target, *args, **kwargs) if inplace else target(input, *args, **kwargs)

    call.__name__ = call.__qualname__ = target.__name__
    last = inspect.Parameter("inplace", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False)
    plain = [p.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in given]
    call.__signature__ = inspect.Signature([*plain, last])
    call.__doc__ = f"{target.__doc__}\n\n    inplace: let the input hold the result."
    return call


celu = _with_inplace(_activation.celu)
elu = _with_inplace(_activation.elu)
hardsigmoid = _with_inplace(_activation.hardsigmoid)
hardswish = _with_inplace(_activation.hardswish)
hardtanh = _with_inplace(_activation.hardtanh)
leaky_relu = _with_inplace(_activation.leaky_relu)
mish = _with_inplace(_activation.mish)
relu = _with_inplace(_activation.relu)
relu6 = _with_inplace(_activation.relu6)
selu = _with_inplace(_activation.selu)
silu = _with_inplace(_activation.silu)
threshold = _with_inplace(_activation.threshold)


def _only_inplace(function):
    def call(input, *args, **kwargs):
        return function(input, *args, **kwargs, inplace=True)

    call.__name__ = call.__qualname__ = f"{function.__name__}_"
    given = inspect.signature(function).parameters.values()
    call.__signature__ = inspect.Signature([p for p in given if p.name != "inplace"])
    call.__doc__ = f"In-place form of `{function.__name__}`."
    return call


celu_ = _only_inplace(celu)
elu_ = _only_inplace(elu)
hardtanh_ = _only_inplace(hardtanh)
leaky_relu_ = _only_inplace(leaky_relu)
relu_ = _only_inplace(relu)
rrelu_ = _only_inplace(rrelu)
selu_ = _only_inplace(selu)
threshold_ = _only_inplace(threshold)


# -- softmax with an implicit dim -------------------------------------------------------------------------------------


def _implicit_dim(name, input):
    warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.")
    return 0 if len(input.shape) in (0, 1, 3) else 1


def softmax(input, dim=None, _stacklevel=3, dtype=None):
    """exp(input) / sum(exp(input)) along `dim`; `dtype` converts the input first. Without `dim`: 0 or 1, with a
    warning.

    Any shape.
    """
    return _softmax.softmax(input, _implicit_dim("softmax", input) if dim is None else dim, dtype)


def log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """log(softmax(input)) along `dim`; `dtype` converts the input first. Without `dim`: 0 or 1, with a warning.

    Any shape.
    """
    return _softmax.log_softmax(input, _implicit_dim("log_softmax", input) if dim is None else dim, dtype)


def softmin(input, dim=None, _stacklevel=3, dtype=None):
    """softmax(-input) along `dim`; `dtype` converts the input first. Without `dim`: 0 or 1, with a warning.

    Any shape.
    """
    return _softmax.softmin(input, _implicit_dim("softmin", input) if dim is None else dim, dtype)


# -- second forms -----------------------------------------------------------------------------------------------------


def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """input / max(its p-norm along `dim`, eps); `out`: a tensor that is to hold the result, without a gradient.

    Any shape.
    """
    result = _normalize(input, p, dim, eps)
    if out is None:
        return result
    with no_grad():
        return out.copy_(result)


def _corners(align_corners):
    if align_corners is None:
        warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please "
            "specify align_corners=True if the old behavior is desired. See the documentation of grid_sample for "
            "details."
        )
    return bool(align_corners)


def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """See the op; align_corners left out is False, with a warning."""
    return _grid_sample(input, grid, mode, padding_mode, _corners(align_corners))


def affine_grid(theta, size, align_corners=None):
    """See the op; align_corners left out is False, with a warning."""
    return _affine_grid(theta, size, _corners(align_corners))


grid_sample.__doc__, affine_grid.__doc__ = _grid_sample.__doc__, _affine_grid.__doc__


def conv_tbc(input, weight, bias, pad=0):
    """`conv1d` of input (time, N, in), with weight (kernel, in, out) and bias (out): (time', N, out).

    pad: zeros at both ends.
    """
    shapes = tuple(input.shape), tuple(weight.shape), tuple(bias.shape)
    if [len(s) for s in shapes] != [3, 3, 1] or shapes[0][2] != shapes[1][1] or shapes[1][2] != shapes[2][0]:
        raise OpError(
            "conv_tbc takes input (time, N, in), weight (kernel, in, out) and bias (out), got "
            f"{', '.join(str(list(s)) for s in shapes)}"
        )
    return conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)


native_channel_shuffle = channel_shuffle


def _with_indices(pool):
    signature = inspect.signature(pool)

    def call(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.arguments["return_indices"] = True
        return pool(*bound.args, **bound.kwargs)

    call.__signature__ = signature
    call.__name__ = call.__qualname__ = f"{pool.__name__}_with_indices"
    call.__doc__ = f"(values, indices) of `{pool.__name__}`."
    return call


max_pool1d_with_indices = _with_indices(max_pool1d)
max_pool2d_with_indices = _with_indices(max_pool2d)
max_pool3d_with_indices = _with_indices(max_pool3d)
adaptive_max_pool1d_with_indices = _with_indices(adaptive_max_pool1d)
adaptive_max_pool2d_with_indices = _with_indices(adaptive_max_pool2d)
adaptive_max_pool3d_with_indices = _with_indices(adaptive_max_pool3d)
