"""Fractional max pooling: windows whose starts advance by random steps, for output sizes between n and n / 2.

Source: B. Graham, "Fractional max-pooling", 2014; the sequence of starts is the paper's pseudorandom one.
"""

from __future__ import annotations

import math

from ... import backends
from ..autocast import listed
from ..errors import OpError
from ..op import GRAPH
from ..tensor import wrap
from .convolution import _tuple

__all__ = [
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
]

_NAMES = ("time", "height", "width")


def _starts(xp, samples, size, kernel, count):
    """Where the windows start along a dimension, per plane: int((i + u) α) - int(u α), the last one at the end."""
    last = xp.full((*samples.shape, 1), size - kernel, "int64")
    if count == 1:
        return last
    alpha = samples.dtype.type(size - kernel) / samples.dtype.type(count - 1)
    steps = (xp.arange(count - 1, dtype=samples.dtype) + samples[..., None]) * alpha
    return xp.concatenate([steps.astype("int64") - (samples * alpha).astype("int64")[..., None], last], -1)


def _fractional(name, n, input, kernel_size, output_size, output_ratio, samples, generator):
    """The maxima and their places in the plane."""
    shape = tuple(input.shape)
    if len(shape) not in (n + 1, n + 2):
        raise OpError(f"{name}: Expected {n + 1}D or {n + 2}D tensor, but got: {list(shape)}")
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    sizes = shape[-n:]
    if output_size is None:
        ratio = (output_ratio,) * n if isinstance(output_ratio, (int, float)) else tuple(output_ratio)
        if len(ratio) != n:
            raise ValueError(f"{name} requires output_ratio to either be a single Int or tuple of Ints.")
        output_size = [int(s * r) for s, r in zip(sizes, ratio, strict=True)]
    kernel = _tuple(kernel_size, n, name, "kernel_size", 1)
    out = _tuple(output_size, n, name, "output_size", 1)
    for what, size, k, count in zip(_NAMES[-n:], sizes, kernel, out, strict=True):
        if count + k - 1 > size:
            raise OpError(f"{name}(): pool {what} {k} too large relative to input {what} {size}")
    planes = (1, *shape[:1]) if len(shape) == n + 1 else shape[:2]
    backend = backends.of(input.array)
    xp, kind = backend.xp, input.array.dtype
    if samples is None:
        from ..random import _source, uniform  # which imports ops itself

        samples = xp.asarray(uniform(_source(generator, backend), xp, (*planes, n), kind))
    else:
        samples = samples.array
        if samples.shape != (*planes, n):
            raise OpError(f"{name}: Expect _random_samples of shape {[*planes, n]}, got {list(samples.shape)}")
    # the samples of a plane belong to width and height in two dimensions, to time, height and width in three
    order = (1, 0) if n == 2 else (0, 1, 2)
    index = xp.zeros((*planes, *(1,) * 2 * n), "int64")
    for axis in range(n):
        starts = _starts(xp, samples[..., order[axis]], sizes[axis], kernel[axis], out[axis])
        place = starts[..., None] + xp.arange(kernel[axis])  # (N, C, out, kernel) of this dimension
        form = [1] * (2 * n)
        form[axis], form[n + axis] = out[axis], kernel[axis]
        index = index + place.reshape(*planes, *form) * math.prod(sizes[axis + 1 :])
    index = index.reshape(*planes, math.prod(out), math.prod(kernel))
    flat = input.array.reshape(*planes, -1)
    values = xp.take_along_axis(flat, index.reshape(*planes, -1), -1).reshape(index.shape)
    best = wrap(xp.take_along_axis(index, xp.argmax(values, -1)[..., None], -1)[..., 0], None)
    found = GRAPH.gather(GRAPH.reshape(input, (*planes, -1)), 2, best)
    result = (*shape[:-n], *out)
    return GRAPH.reshape(found, result), GRAPH.reshape(best, result)


def fractional_max_pool2d_with_indices(
    input,
    kernel_size,
    output_size=None,
    output_ratio=None,
    return_indices=False,
    _random_samples=None,
    generator=None,
):
    """(values, indices) of `fractional_max_pool2d`; the indices count along the rows of a plane."""
    args = (kernel_size, output_size, output_ratio, _random_samples, generator)
    return _fractional("fractional_max_pool2d", 2, input, *args)


def fractional_max_pool3d_with_indices(
    input,
    kernel_size,
    output_size=None,
    output_ratio=None,
    return_indices=False,
    _random_samples=None,
    generator=None,
):
    """(values, indices) of `fractional_max_pool3d`; the indices count along the rows of a volume."""
    args = (kernel_size, output_size, output_ratio, _random_samples, generator)
    return _fractional("fractional_max_pool3d", 3, input, *args)


@listed
def fractional_max_pool2d(
    input,
    kernel_size,
    output_size=None,
    output_ratio=None,
    return_indices=False,
    _random_samples=None,
    generator=None,
):
    """The maxima of windows at pseudorandom places: input (N, C, H, W) or (C, H, W) to planes of `output_size`.

    output_ratio: output_size as a fraction of the input's. return_indices: (values, indices). _random_samples
    (N, C, 2), in [0, 1): what the places are drawn from.
    """
    args = (kernel_size, output_size, output_ratio, return_indices, _random_samples, generator)
    values, indices = fractional_max_pool2d_with_indices(input, *args)
    return (values, indices) if return_indices else values


@listed
def fractional_max_pool3d(
    input,
    kernel_size,
    output_size=None,
    output_ratio=None,
    return_indices=False,
    _random_samples=None,
    generator=None,
):
    """`fractional_max_pool2d` in three dimensions: input (N, C, T, H, W) or (C, T, H, W)."""
    args = (kernel_size, output_size, output_ratio, return_indices, _random_samples, generator)
    values, indices = fractional_max_pool3d_with_indices(input, *args)
    return (values, indices) if return_indices else values
