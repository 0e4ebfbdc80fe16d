"""Normalisation by mean and variance: of batches, layers, groups and instances; by root mean square, by norm, by
neighbours.

Two ops carry most of it: `moments` gives mean and biased variance, `normalised` applies them. layer_norm, group_norm
and instance_norm are compositions of the two, for which the NumPy backend has kernel pairs. Batch norm in training is
an op of its own, `batch_normalised`, with mean and variance as further outputs: its rule goes over the data twice where
those of the two ops after one another go over them four times. `batch_norm_relu` is the same with what usually follows
it, a shortcut added and a ReLU, and keeps nothing that the next layer does not keep anyway.

Sources: Ioffe & Szegedy 2015 (batch), Ba et al. 2016 (layer), Wu & He 2018 (group), Ulyanov et al. 2016 (instance),
Zhang & Sennrich 2019 (RMS), Krizhevsky et al. 2012 (local response). Names and defaults are PyTorch's.
"""

from __future__ import annotations

import math

from .. import storage
from ..composite import composite
from ..dtypes import finfo
from ..errors import OpError
from ..op import GRAPH, op

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize", "rms_norm"]


# -- the two ops ------------------------------------------------------------------------------------------------------


def _wide(xp, x):
    """`x` for sums: 16-bit floats as float32."""
    return x.astype("float32") if x.dtype.itemsize == 2 else x


def _count(shape, dims):
    return max(math.prod([shape[d] for d in dims]), 1)


@op(outputs=2)
def moments(xp, input, /, dims):
    """(mean, biased variance) over the dimensions `dims`, which are kept with size 1; in float32 for 16-bit input."""
    x, count = _wide(xp, input), _count(input.shape, dims)
    mean = xp.sum(x, axis=dims, keepdims=True) / count
    centred = x - mean
    return mean, xp.sum(centred * centred, axis=dims, keepdims=True) / count


@moments.grad("input")
def _(F, g, input, out, dims):
    (g_mean, g_var), count = g, _count(input.shape, dims)
    return (input - out[0]) * (g_var * (2 / count)) + g_mean / count


@op(broadcast=True)
def normalised(xp, input, mean, var, weight=None, bias=None, /, eps=1e-5):
    """(input - mean) / sqrt(var + eps) * weight + bias, all broadcast to the input's shape; in the input's dtype."""
    scale = 1 / xp.sqrt(var + eps)
    out = (input - mean) * scale
    if weight is not None:
        out = out * weight
    if bias is not None:
        out = out + bias
    return out.astype(input.dtype, copy=False)


@normalised.grad("input", "mean", "var", "weight", "bias")
def _(F, g, input, mean, var, weight, eps, needs):
    scale, centred = F.rsqrt(var + eps), input - mean
    direct = (g if weight is None else g * weight) * scale
    return (
        direct if needs[0] else None,
        -direct if needs[1] else None,
        direct * centred * (scale * scale * -0.5) if needs[2] else None,
        g * centred * scale if needs[3] else None,
        g if needs[4] else None,
    )


# -- with statistics of the batch -------------------------------------------------------------------------------------


def _channel_dims(shape):
    return (0, *range(2, len(shape)))


def _vector(vector, rank):
    """The shape in which a vector of one number per channel broadcasts against (N, C, ...)."""
    return None if vector is None else vector.reshape((1, -1, *(1,) * (rank - 2)))


@op(outputs=3)
def batch_normalised(xp, input, weight=None, bias=None, /, eps=1e-5):
    """((input - mean) / sqrt(var + eps) * weight + bias, mean, var), mean and biased variance those of each channel.

    input (N, C, ...), weight and bias (C), mean and var (1, C, 1, ...), in float32 for 16-bit input.
    """
    mean, var = moments.forward(xp, input, _channel_dims(input.shape))
    weight, bias = _vector(weight, input.ndim), _vector(bias, input.ndim)
    return normalised.forward(xp, input, mean, var, weight, bias, eps), mean, var


def _batch_gradients(F, g, g_mean, g_var, input, mean, var, weight, eps, needs):
    """Gradients for input, weight and bias, from those for the result and for its statistics."""
    shape = tuple(input.shape)
    dims, channels = _channel_dims(shape), (1, -1, *(1,) * (len(shape) - 2))
    count = _count(shape, dims)
    scale, centred = F.rsqrt(var + eps), input - mean
    total, along = F.sum(g, dim=dims, keepdim=True), F.sum(g * centred, dim=dims, keepdim=True)
    factor = scale if weight is None else scale * F.reshape(weight, channels)
    # the mean of the centred data is 0, so the variance does not depend on the mean
    level = (g_mean - factor * total) * (1 / count)
    slope = (g_var - factor * scale * scale * along * 0.5) * (2 / count)
    return (
        g * factor + centred * slope + level if needs[0] else None,
        F.reshape(along * scale, (-1,)) if needs[1] else None,
        F.reshape(total, (-1,)) if needs[2] else None,
    )


@batch_normalised.grad("input", "weight", "bias")
def _(F, g, input, weight, eps, out_1, out_2, needs):
    return _batch_gradients(F, *g, input, out_1, out_2, weight, eps, needs)


@op(outputs=3)
def batch_norm_relu(xp, input, weight=None, bias=None, other=None, /, eps=1e-5):
    """(max(y, 0), mean, var) with y, mean, var of `batch_normalised`; of y + other where that is given.

    other: the input's shape and dtype.
    """
    out, mean, var = batch_normalised.forward(xp, input, weight, bias, eps)
    return xp.maximum(out if other is None else out + other, 0), mean, var


batch_norm_relu.shown = "batch_norm"


@batch_norm_relu.grad("input", "weight", "bias", "other")
def _(F, g, input, weight, eps, out_0, out_1, out_2, needs):
    inner = F.where(out_0 <= 0, 0, g[0])
    found = _batch_gradients(F, inner, g[1], g[2], input, out_1, out_2, weight, eps, needs)
    return (*found, inner if needs[3] else None)


def _over_channels(vector, rank):
    """A vector of one number per channel, to broadcast against (N, C, ...)."""
    if vector is None or rank == 2:
        return vector
    return GRAPH.reshape(vector, (1, -1, *(1,) * (rank - 2)))


def update_running(running, now, momentum):
    """Move a running statistic towards the batch's, in place; not recorded."""
    if running is not None:
        now = now.astype(running.array.dtype, copy=False).reshape(running.array.shape)
        storage.write(running, running.array * (1 - momentum) + now * momentum)


def _check_channels(name, channels, **vectors):
    for key, vector in vectors.items():
        if vector is not None and tuple(vector.shape) != (channels,):
            raise OpError(
                f"{name}: {key} should contain {channels} elements, one per channel, not {list(vector.shape)}"
            )


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """(input - mean) / sqrt(var + eps) * weight + bias per channel (dimension 1) of input (N, C, ...).

    Training, mean and biased variance are the batch's, and the running ones move towards them in place by `momentum`
    (the variance unbiased); otherwise the running ones are used. ValueError for one value per channel in training.
    """
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps, False, None)


def batch_norm_then_relu(
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
    other=None,
):
    """relu(batch_norm(input, ...) + other), in training as one node; `other` (default 0) of the input's shape."""
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps, True, other)


def _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps, rectified, other):
    rank = len(input.shape)
    if rank < 2:
        raise ValueError(f"batch_norm takes an input (N, C, ...), got {list(input.shape)}")
    channels = input.shape[1]
    _check_channels(
        "batch_norm", channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if training:
        count = math.prod([n for d, n in enumerate(input.shape) if d != 1])
        if count == 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size {list(input.shape)}"
            )
        together = rectified and (
            other is None or (tuple(other.shape) == tuple(input.shape) and other.dtype == input.dtype)
        )
        if together:
            out, mean, var = GRAPH.batch_norm_relu(input, weight, bias, other, eps=eps)
        else:
            out, mean, var = GRAPH.batch_normalised(input, weight, bias, eps=eps)
        update_running(running_mean, mean.array, momentum)
        update_running(running_var, var.array * (count / max(count - 1, 1)), momentum)
        if together:
            return out
    elif running_mean is None or running_var is None:
        raise OpError("Expected running_mean and running_var to be defined when training=False")
    else:
        mean, var = _over_channels(running_mean, rank), _over_channels(running_var, rank)
        out = GRAPH.normalised(input, mean, var, _over_channels(weight, rank), _over_channels(bias, rank), eps=eps)
    if rectified:
        out = GRAPH.relu(out if other is None else out + other)
    return out


def instance_norm(
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    """Batch norm of each example by itself: mean and variance over the dimensions after the channels of (N, C, ...).

    The running statistics, where given, move towards the mean over the batch of those of its examples; without
    `use_input_stats` they are used. ValueError for one value per channel of an example. running_mean, running_var,
    momentum, eps: as in `batch_norm`.
    """
    rank = len(input.shape)
    if rank < 3:
        raise ValueError(f"instance_norm takes an input (N, C, L, ...), got {list(input.shape)}")
    _check_channels(
        "instance_norm", input.shape[1], running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if use_input_stats:
        count = math.prod(input.shape[2:])
        if count == 1:
            raise ValueError(f"Expected more than 1 spatial element when training, got input size {list(input.shape)}")
        if running_mean is None and running_var is None:
            return GRAPH.group_norm(input, input.shape[1], weight, bias, eps)
        mean, var = GRAPH.moments(input, tuple(range(2, rank)))
        if input.shape[0]:
            update_running(running_mean, mean.array.mean(0), momentum)
            update_running(running_var, var.array.mean(0) * (count / max(count - 1, 1)), momentum)
    elif running_mean is None or running_var is None:
        raise OpError("Expected running_mean and running_var to be defined when use_input_stats=False")
    else:
        mean, var = _over_channels(running_mean, rank), _over_channels(running_var, rank)
    return GRAPH.normalised(input, mean, var, _over_channels(weight, rank), _over_channels(bias, rank), eps=eps)


# -- with statistics of each example ----------------------------------------------------------------------------------


def _last_dims(name, input, normalized_shape, **vectors):
    """The last dimensions, which must have the sizes `normalized_shape`."""
    sizes = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not sizes or tuple(input.shape[-len(sizes) :]) != sizes:
        raise ValueError(
            f"Given normalized_shape={list(sizes)}, {name} expects input with shape "
            f"[*{''.join(f', {n}' for n in sizes)}], but got input of size {list(input.shape)}"
        )
    for key, vector in vectors.items():
        if vector is not None and tuple(vector.shape) != sizes:
            raise ValueError(f"{name}: {key} {list(vector.shape)} must have the shape normalized_shape={list(sizes)}")
    return tuple(range(len(input.shape) - len(sizes), len(input.shape)))


@composite(inputs="input weight bias")
def layer_norm(F, input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """(input - mean) / sqrt(var + eps) * weight + bias, with mean and biased variance over the last dimensions.

    normalized_shape: the sizes of those dimensions, and the shape of weight and bias.
    """
    dims = _last_dims("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    mean, var = F.moments(input, dims)
    return F.normalised(input, mean, var, weight, bias, eps=eps)


@composite(inputs="input other weight bias", outputs=2)
def add_layer_norm(F, input, other, normalized_shape, weight=None, bias=None, eps=1e-5, seed=None, p=0.0, dtype=None):
    """(layer_norm(total), total), total = input + other: a residual branch `other` of the input's shape and its norm.

    seed: None, or of `other` a part p is dropped by it (`dropout_by_seed`). dtype: that of the norm, or the total's.
    """
    if tuple(other.shape) != tuple(input.shape):
        raise ValueError(f"add_layer_norm: other {list(other.shape)} must have the input's shape {list(input.shape)}")
    if seed is not None:
        other = F.dropout_by_seed(other, seed, p)
    total = input + other
    out = F.layer_norm(total, normalized_shape, weight, bias, eps)
    return out if dtype is None else F.cast(out, dtype=dtype), total


@composite(inputs="input weight bias")
def group_norm(F, input, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalise each of `num_groups` groups of channels of each example (N, C, ...), then scale and shift channels.

    weight and bias (C). ValueError where the groups do not divide the channels. eps is added to the variance.
    """
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise ValueError(f"Expected at least 2 dimensions for input tensor but received {len(shape)}")
    n, channels = shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(shape)} and num_groups={num_groups}"
        )
    _check_channels("group_norm", channels, weight=weight, bias=bias)
    grouped = F.reshape(input, (n, num_groups, channels // num_groups * math.prod(shape[2:])))
    mean, var = F.moments(grouped, (2,))
    out = F.reshape(F.normalised(grouped, mean, var, eps=eps), shape)
    along = (channels, *(1,) * (len(shape) - 2))
    if weight is not None:
        out = out * F.reshape(weight, along)
    if bias is not None:
        out = out + F.reshape(bias, along)
    return out if out.dtype == input.dtype else F.cast(out, dtype=input.dtype)


@composite(inputs="input weight")
def rms_norm(F, input, normalized_shape, weight=None, eps=None):
    """input / sqrt(mean(input²) + eps) * weight, the mean over the last dimensions, whose sizes are `normalized_shape`.

    eps: default the machine epsilon of the input's dtype.
    """
    dims = _last_dims("rms_norm", input, normalized_shape, weight=weight)
    if eps is None:
        eps = finfo(input.dtype).eps
    out = input * F.rsqrt(F.mean(input * input, dim=dims, keepdim=True) + eps)
    if weight is not None:
        out = out * weight
    return out if out.dtype == input.dtype else F.cast(out, dtype=input.dtype)


@composite
def local_response_norm(F, input, /, size, alpha=1e-4, beta=0.75, k=1.0):
    """input / (k + alpha * mean over `size` neighbouring channels of input²)^beta, for input (N, C, ...).

    Channels beyond the edge count as zeros in the mean.
    """
    shape = tuple(input.shape)
    if len(shape) < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {len(shape)} dimensions)")
    if not math.prod(shape):
        return input * 1
    squares, before = input * input, size // 2
    sides = [F.zeros_of(squares, (shape[0], n, *shape[2:]), squares.dtype) for n in (before, (size - 1) // 2)]
    padded = F.concat(sides[0], squares, sides[1], dim=1)
    total = F.narrow(padded, 1, 0, shape[1])
    for start in range(1, size):
        total = total + F.narrow(padded, 1, start, shape[1])
    return input / (total * (alpha / size) + k) ** beta


@composite
def normalize(F, input, /, p=2.0, dim=1, eps=1e-12):
    """input / max(‖input‖_p, eps), the norm along `dim`."""
    return input / F.clamp(F.vector_norm(input, p, dim, True), eps)
