"""Images: interpolation, sampling at the points of a grid, and rearrangement of pixels and channels.

Interpolation on a regular grid is separable and linear: one `AxisMap` for each dimension, so every order of derivative
exists. `grid_sample` is a composition, differentiable in the image and in the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import floor
from typing import Any

from ...backends import np
from ..autocast import listed
from ..composite import composite
from ..dtypes import differentiable
from ..errors import OpError, warn
from ..op import OPS, op
from ..public import expose
from ..tensor import Tensor
from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from .resampling import AxisMap, along_all

__all__ = [
    "affine_grid",
    "affine_grid_adjoint",
    "channel_shuffle",
    "grid_sample",
    "interpolate",
    "pixel_shuffle",
    "pixel_unshuffle",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]


# -- interpolation ----------------------------------------------------------------------------------------------------


def _cubic(t: Any, a: float) -> Any:
    """Weights of the four neighbours at distances 1 + t, t, 1 - t, 2 - t (R. Keys, Cubic convolution, 1981).

    Between 0 and 1 the kernel is (a + 2) x³ - (a + 3) x² + 1, between 1 and 2 it is a x³ - 5 a x² + 8 a x - 4 a.
    """
    near = lambda x: ((a + 2) * x - (a + 3)) * x * x + 1
    far = lambda x: ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


@lru_cache(maxsize=1024)
def _table(n: int, size: int, mode: str, align: bool, ratio: float | None, antialias: bool, kind: str) -> AxisMap:
    """The map from n to `size` elements. ratio: input elements per output element, if the caller fixed it."""
    number = np.dtype(kind).type
    if align:
        scale = number(n - 1) / number(size - 1) if size > 1 else number(0)
    else:
        scale = number(ratio) if ratio is not None else number(n) / number(size)
    out = np.arange(size).astype(kind)
    if antialias:
        return _filtered(n, size, mode, float(scale))
    if mode == "nearest":
        where = np.minimum(np.floor(out * scale), n - 1)
        return AxisMap(where.astype(np.int64)[None], None, n, "interpolate")
    if mode == "nearest-exact":
        where = np.minimum(np.floor((out + number(0.5)) * scale), n - 1)
        return AxisMap(where.astype(np.int64)[None], None, n, "interpolate")
    x = out * scale if align else (out + number(0.5)) * scale - number(0.5)
    if mode == "cubic":
        first = np.floor(x)
        weight = np.stack(_cubic((x - first).astype(float), -0.75))
        where = first.astype(np.int64) + np.arange(-1, 3)[:, None]
        return AxisMap(np.clip(where, 0, n - 1), weight, n, "interpolate")
    x = np.maximum(x, 0)
    first = np.minimum(np.floor(x), n - 1)
    t = np.clip(x - first, 0, 1).astype(float)
    low = first.astype(np.int64)
    return AxisMap(np.stack([low, np.minimum(low + 1, n - 1)]), np.stack([1 - t, t]), n, "interpolate")


def _filtered(n: int, size: int, mode: str, scale: float) -> AxisMap:
    """Interpolation with the kernel stretched over as many elements as one output stands for."""
    stretch = max(scale, 1.0)
    reach = (2 if mode == "cubic" else 1) * stretch
    columns = []
    for i in range(size):
        center = scale * (i + 0.5)
        first, last = max(int(center - reach + 0.5), 0), min(int(center + reach + 0.5), n)
        x = np.abs(np.arange(first, last) - center + 0.5) / stretch
        if mode == "cubic":
            near, far = _cubic(x, -0.5)[1], _cubic(x - 1, -0.5)[0]
            weight = np.where(x < 1, near, np.where(x < 2, far, 0))
        else:
            weight = np.maximum(1 - x, 0)
        columns.append((first, weight / weight.sum()))
    taps = max(len(w) for _, w in columns)
    index, table = np.zeros((taps, size), np.int64), np.zeros((taps, size))
    for i, (first, weight) in enumerate(columns):
        index[:, i] = np.minimum(first + np.arange(taps), first + len(weight) - 1)
        table[: len(weight), i] = weight
    return AxisMap(index, table, n, "interpolate")


_MODES = {"linear": ("linear", 1), "bilinear": ("linear", 2), "trilinear": ("linear", 3), "bicubic": ("cubic", 2)}


@listed(name="upsample")
def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize the dimensions after (N, C) of input to `size`, or by `scale_factor` (rounded down).

    mode: "nearest" (as PyTorch has it: the element at floor(i n / size)), "nearest-exact" (at floor((i + ½) n / size)),
    "linear" (3-D input), "bilinear", "bicubic" (4-D), "trilinear" (5-D), "area" (averages).
    align_corners: the centres of the outer elements coincide, instead of their outer edges.
    recompute_scale_factor: positions are worked out from the sizes even where scale_factor is given.
    antialias: for "bilinear" and "bicubic", a kernel widened when sizes shrink.
    Integers: those of uint8 are rounded (½ up) after each dimension by "bilinear" and "bicubic"; NotImplementedError
    where others would be weighted.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"interpolate(): argument 'input' must be Tensor, not {type(input).__name__}")
    shape = tuple(input.array.shape)
    n = len(shape) - 2
    _check_mode(n, shape, mode, align_corners, antialias)
    sizes, scales = _target(n, shape, size, scale_factor, recompute_scale_factor)
    if mode in _MODES and _MODES[mode][1] != n:
        raise NotImplementedError(
            f"interpolate: Got {n + 2}D input, but {mode} mode needs {_MODES[mode][1] + 2}D input"
        )
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[n - 1](input, sizes)
    kind = "float64" if input.array.dtype == np.float64 else "float32"
    how = _MODES[mode][0] if mode in _MODES else mode
    whole = mode in _MODES and not differentiable(input.array.dtype)
    if whole and (input.array.dtype != np.uint8 or n != 2):
        raise NotImplementedError(
            f'"upsample_{mode}" not implemented for {input.array.dtype}; convert to a float dtype'
        )
    maps = []
    for axis in range(n):
        ratio = None if scales is None else 1.0 / scales[axis]
        # With a scale factor such as 1.05 that leaves the size, PyTorch copies in these cases, and resamples in others.
        copied = ratio is None or how == "linear" or antialias or (how == "nearest" and n == 2)
        if sizes[axis] == shape[axis + 2] and copied:
            continue
        table = _table(shape[axis + 2], sizes[axis], how, bool(align_corners), ratio, bool(antialias), kind)
        maps.append((axis + 2, table))
    if whole:
        weighted = OPS["cast"](input, dtype=np.float32)
        for one in reversed(maps):  # each row by itself, then the columns of what has been rounded, as in PyTorch
            weighted = OPS["clamp"](OPS["floor"](along_all(OPS["axis_map"], weighted, [one]) + 0.5), 0.0, 255.0)
        return OPS["cast"](weighted, dtype=np.uint8)
    return along_all(OPS["axis_map"], input, maps)


def _check_mode(n, shape, mode, align_corners, antialias):
    if mode not in ("nearest", "nearest-exact", "area", *_MODES):
        known = "nearest, nearest-exact, area, linear, bilinear, bicubic, trilinear"
        raise NotImplementedError(f"interpolate: unknown mode {mode!r}; there are {known}")
    if n not in (1, 2, 3):
        raise NotImplementedError(
            f"interpolate: Input Error: Only 3D, 4D and 5D input Tensors supported (got {len(shape)}D) for the modes: "
            f"nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact (got {mode})"
        )
    if mode not in _MODES and align_corners is not None:
        raise ValueError(
            "interpolate: align_corners option can only be set with the interpolating modes: "
            "linear | bilinear | bicubic | trilinear"
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(
            "interpolate: Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D input"
        )
    if 0 in shape[1:]:
        raise OpError(f"interpolate: only the batch may be empty, got input of size {list(shape)}")


def _target(n, shape, size, scale_factor, recompute):
    """The sizes to reach, and the scale factors where positions are worked out from those."""
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: exactly one of size and scale_factor must be given")
    given = size if size is not None else scale_factor
    values = (given,) * n if isinstance(given, (int, float)) else tuple(given)
    if len(values) != n:
        name = "size" if size is not None else "scale_factor"
        raise ValueError(
            f"interpolate: Input and output must have the same number of spatial dimensions, but got input with "
            f"spatial dimensions of {list(shape[2:])} and {name} {given}"
        )
    if size is not None:
        if recompute:
            raise ValueError("interpolate: recompute_scale_factor is not meaningful with an explicit size")
        sizes, scales = tuple([int(s) for s in values]), None
    else:
        sizes = tuple([floor(m * float(v)) for m, v in zip(shape[2:], values)])
        scales = None if recompute else values
    if any(s < 1 for s in sizes):
        raise OpError(
            f"interpolate: Input and output sizes should be greater than 0, but got input {list(shape[2:])} and output "
            f"{list(sizes)}"
        )
    return sizes, scales


def _older(name: str) -> None:
    warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.")


def upsample(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate` by its older name; warns."""
    _older("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode="nearest", by an older name; warns."""
    _older("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode="bilinear" and align_corners=True, by an older name; warns."""
    _older("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", True)


# -- sampling at points -----------------------------------------------------------------------------------------------


def _reflected(F, x, low, high):
    """x mirrored at low and high until it lies between them."""
    span = high - low
    if span <= 0:
        return x * 0.0
    x = x - low
    x = F.where(x < 0, -x, x)
    flips = F.floor(x / span)
    rest = x - flips * span
    odd = flips - 2.0 * F.floor(flips / 2.0) > 0.5
    return F.where(odd, span - rest, rest) + low


def _bounded(F, x, n, padding_mode, align):
    """A coordinate along a dimension of n elements, brought inside it; on the border its gradient is 0."""
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        x = _reflected(F, x, 0.0, n - 1.0) if align else _reflected(F, x, -0.5, n - 0.5)
    return F.where(x <= 0, 0.0, F.where(x >= n - 1, n - 1.0, x))


@composite
def grid_sample(F, input, grid, /, mode="bilinear", padding_mode="zeros", align_corners=None):
    """Sample input (N, C, H, W) at the points of grid (N, P, Q, 2), or (N, C, D, H, W) at grid (N, O, P, Q, 3).

    The last dimension of grid holds (x, y[, z]) in [-1, 1], for the outer edges of the image, or with align_corners
    for the centres of its outer elements. mode: "bilinear" (trilinear in 3-D), "nearest", "bicubic" (4-D only).
    padding_mode, for points outside: "zeros", "border" (the nearest element), "reflection". Result (N, C, P, Q).
    A point that is not a number samples 0.
    Source: M. Jaderberg et al., Spatial transformer networks, 2015; a nearest sample has no gradient for the grid.
    """
    n, align = len(input.shape) - 2, bool(align_corners)
    _check_grid(input.shape, grid.shape, mode, padding_mode)
    batch, channels, *size = input.shape
    count = 1
    for m in grid.shape[1:-1]:
        count *= m
    flat = F.reshape(input, (batch, channels, -1 if 0 not in input.shape else 0))
    points = []
    for axis, m in enumerate(size):
        x = F.reshape(grid[..., n - 1 - axis], (batch, 1, count))
        points.append((x + 1.0) * (0.5 * (m - 1)) if align else (x + 1.0) * (0.5 * m) - 0.5)
    if mode == "bicubic":
        taps = [_cubic_taps(F, x, m, padding_mode, align) for x, m in zip(points, size)]
    else:
        points = [_bounded(F, x, m, padding_mode, align) for x, m in zip(points, size)]
        taps = [_linear_taps(F, x) if mode == "bilinear" else [(F.round(x), None)] for x in points]
    out = None
    for corner in product(*taps):
        index, weight, inside = 0, None, None
        for (where, w), m in zip(corner, size):
            valid = (where >= 0) & (where <= m - 1)
            index = index * m + F.cast(F.where(valid, where, 0.0), dtype="int64")
            inside = valid if inside is None else inside & valid
            if w is not None:
                weight = w if weight is None else weight * w
        term = F.gather(flat, 2, F.expand(index, (batch, channels, count)))
        term = F.where(inside, term if weight is None else term * weight, 0.0)
        out = term if out is None else out + term
    return F.reshape(out, (batch, channels, *grid.shape[1:-1]))


def _linear_taps(F, x):
    low = F.floor(x)
    t = x - low
    return [(low, 1.0 - t), (low + 1.0, t)]


def _cubic_taps(F, x, n, padding_mode, align):
    first = F.floor(x)
    weights = _cubic(x - first, -0.75)
    return [(_bounded(F, first + (k - 1.0), n, padding_mode, align), w) for k, w in enumerate(weights)]


def _check_grid(shape, grid, mode, padding_mode):
    n = len(shape) - 2
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"grid_sample: expected mode to be 'bilinear', 'nearest' or 'bicubic', but got {mode!r}")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            f"grid_sample: expected padding_mode to be 'zeros', 'border', or 'reflection', but got {padding_mode!r}"
        )
    if n not in (2, 3) or len(grid) != n + 2 or grid[0] != shape[0] or grid[-1] != n:
        raise OpError(
            f"grid_sample: expected 4D or 5D input and a grid of as many dimensions, the same batch size and a last "
            f"dimension of size 2 or 3, but got input and grid of sizes {list(shape)} and {list(grid)}"
        )
    if mode == "bicubic" and n == 3:
        raise OpError("grid_sample: bicubic interpolation only supports 4D input")
    if 0 in shape[1:]:
        raise OpError(f"grid_sample: expected input to have non-empty spatial dimensions, but got {list(shape)}")


@op
def affine_grid(xp, theta, /, size, align_corners=None):
    """The grid of `grid_sample` for affine maps theta (N, 2, 3) or (N, 3, 4) and results of `size` (N, C, [D,] H, W).

    Each point (x, y[, z]) of the result in [-1, 1], of the centres of the elements, becomes theta (x, y[, z], 1).
    """
    n = len(size) - 2
    if n not in (2, 3) or tuple(theta.shape) != (size[0], n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape {size[0]}x{n}x{n + 1} for size {list(size)}, "
            f"got {list(theta.shape)}"
        )
    base = _base_grid(xp, theta, size[2:], align_corners)
    return xp.matmul(base, theta.swapaxes(1, 2)).reshape(size[0], *size[2:], n)


@affine_grid.grad("theta")
def _(F, g, size, align_corners):
    return F.affine_grid_adjoint(g, size, align_corners)


@op
def affine_grid_adjoint(xp, input, /, size, align_corners=None):
    """The transpose of the linear map `affine_grid`: a grid (N, [D,] H, W, n) gives (N, n, n + 1)."""
    base = _base_grid(xp, input, size[2:], align_corners)
    return xp.matmul(input.reshape(size[0], len(base), input.shape[-1]).swapaxes(1, 2), base)


@affine_grid_adjoint.grad("input")
def _(F, g, size, align_corners):
    return F.affine_grid(g, size, align_corners)


def _base_grid(xp, like, size, align_corners):
    """The points (x, y[, z], 1) of the elements of an image, one in each row."""
    lines = [_line(m, like.dtype.type, align_corners) for m in size]
    grid = np.stack([*reversed(np.meshgrid(*lines, indexing="ij")), np.ones(size)], axis=-1)
    return xp.asarray(grid.reshape(-1, len(size) + 1), dtype=like.dtype)


def _line(m, kind, align_corners):
    """The centres of `m` elements in [-1, 1].

    At the identity they lie on the kinks of `grid_sample`, where the last bit says which slope is taken, and a network
    that begins there (a spatial transformer) goes another way: so each step is rounded as PyTorch rounds it, whose
    processors multiply and add without a rounding between.
    """
    if m == 1:
        return np.zeros(1, kind)
    step, i = np.longdouble(kind(2) / kind(m - 1)), np.arange(m)
    line = np.where(i < m // 2, step * i - 1, 1 - step * (m - 1 - i)).astype(kind)
    return line if align_corners else line * kind(m - 1) / kind(m)


# -- rearrangement ----------------------------------------------------------------------------------------------------


@composite
def pixel_shuffle(F, input, /, upscale_factor):
    """Channels to pixels: (*, C r², H, W) becomes (*, C, H r, W r), r = upscale_factor.

    Source: W. Shi et al., Real-time single image and video super-resolution, 2016.
    """
    r, (*batch, c, h, w) = upscale_factor, _image("pixel_shuffle", input.shape)
    if r < 1 or c % (r * r):
        raise OpError(
            f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={c} is not divisible by {r}²"
        )
    b = len(batch)
    x = F.reshape(input, (*batch, c // (r * r), r, r, h, w))
    x = F.permute(x, (*range(b), b, b + 3, b + 1, b + 4, b + 2))
    return F.reshape(x, (*batch, c // (r * r), h * r, w * r))


@composite
def pixel_unshuffle(F, input, /, downscale_factor):
    """Pixels to channels, the inverse of `pixel_shuffle`: (*, C, H r, W r) becomes (*, C r², H, W)."""
    r, (*batch, c, h, w) = downscale_factor, _image("pixel_unshuffle", input.shape)
    if r < 1 or h % r or w % r:
        raise OpError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but {h} x {w} is not "
            f"divisible by {r}"
        )
    b = len(batch)
    x = F.reshape(input, (*batch, c, h // r, r, w // r, r))
    x = F.permute(x, (*range(b), b, b + 2, b + 4, b + 1, b + 3))
    return F.reshape(x, (*batch, c * r * r, h // r, w // r))


def _image(name, shape):
    if len(shape) < 3:
        raise OpError(
            f"{name} expects input to have at least 3 dimensions, but got input with {len(shape)} dimension(s)"
        )
    return shape


@composite
def channel_shuffle(F, input, /, groups):
    """Channels dealt out from `groups` groups in turn: channel i of group j goes to place i·groups + j. (N, C, *).

    Source: X. Zhang et al., ShuffleNet, 2018.
    """
    shape = tuple(input.shape)
    if len(shape) < 3:
        raise OpError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(shape)}")
    if groups < 1 or shape[1] % groups:
        raise OpError(
            f"channel_shuffle: number of channels must be divisible by groups. Got {shape[1]} channels, {groups} groups"
        )
    x = F.reshape(input, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return F.reshape(F.permute(x, (0, 2, 1, *range(3, len(shape) + 1))), shape)


expose(channel_shuffle, pixel_shuffle, pixel_unshuffle, methods=False)
