"""Pooling: maxima, averages and Lp norms of windows, their inverses, and the windows themselves.

A max pool keeps, for each window, the position of its maximum *within the window*: one byte, as long as a window has at
most 256 elements. The indices that PyTorch returns (positions in the whole plane, int64) are worked out of it
when they are asked for. The gradient goes to the element found: `window_scatter`, whose own gradient is
`window_gather`. The first maximum wins, and a NaN wins over every number.

Average pools are window sums along one dimension after the other (`resampling.WindowSum`); their divisors factorise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

from ...backends import np
from ..autocast import listed
from ..complexes import NotForComplex, is_complex
from ..errors import OpError
from ..op import OPS, op
from ..public import function
from ..tensor import Tensor
from ..tracking import check
from .convolution import Ints, _extent, _padded, _taps, _tuple
from .resampling import AxisMap, WindowSum, along_all

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "col2im",
    "fold",
    "im2col",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "plane_index",
    "unfold",
    "window_gather",
    "window_scatter",
]

Sizes = int | None | Sequence[int | None]


# -- maxima: the ops --------------------------------------------------------------------------------------------------


@op(outputs=2)
def max_pool(xp, input, /, kernel, stride, padding, dilation, size):
    """The maximum of each window of input (N, C, *S), and its number in the window, row by row: two (N, C, *size).

    The number is an uint8, or an int32 where a window has more than 256 elements. Window p covers the elements
    p·stride - padding + i·dilation; what lies outside the input takes no part.
    """
    x = _surrounded(xp, input, kernel, stride, padding, dilation, size)
    best, index = None, None
    for t, (_, window) in enumerate(_taps(kernel, size, stride, dilation)):
        piece = x[window]
        if best is None:
            best = xp.array(piece, copy=True)
            index = xp.zeros(best.shape, "uint8" if prod(kernel) <= 256 else "int32")
            index += xp.asarray(first_inside(input.shape[2:], kernel, stride, padding, dilation, size))
        better = (piece > best) | (piece != piece)
        best = xp.where(better, piece, best)
        index = xp.where(better, xp.asarray(t, dtype=index.dtype), index)
    return best, index


@max_pool.grad("input")
def _(F, g, out, shape, kernel, stride, padding, dilation):
    return F.window_scatter(g[0], out[1], shape[2:], kernel, stride, padding, dilation)


@op
def window_scatter(xp, grad, index, /, size, kernel, stride, padding, dilation):
    """Zeros (N, C, *size), to which grad (N, C, *P) is added at the place `index` in each window."""
    out_size = grad.shape[2:]
    extent = _extent(kernel, out_size, stride, dilation)
    x = xp.zeros((*grad.shape[:2], *extent), grad.dtype)
    for t, (_, window) in enumerate(_taps(kernel, out_size, stride, dilation)):
        x[window] += xp.where(index == t, grad, xp.asarray(0, dtype=grad.dtype))
    return _padded(xp, x, [(-p, n - e + p) for p, n, e in zip(padding, size, extent)])


@window_scatter.grad("grad")
def _(F, g, index, kernel, stride, padding, dilation):
    return F.window_gather(g, index, kernel, stride, padding, dilation)


@op
def window_gather(xp, input, index, /, kernel, stride, padding, dilation):
    """The element of input (N, C, *S) at the place `index` (N, C, *P) in each window."""
    out_size = index.shape[2:]
    extent = _extent(kernel, out_size, stride, dilation)
    x = _padded(xp, input, [(p, e - n - p) for p, n, e in zip(padding, input.shape[2:], extent)])
    out = xp.zeros(index.shape, input.dtype)
    for t, (_, window) in enumerate(_taps(kernel, out_size, stride, dilation)):
        out = xp.where(index == t, x[window], out)
    return out


@window_gather.grad("input")
def _(F, g, index, shape, kernel, stride, padding, dilation):
    return F.window_scatter(g, index, shape[2:], kernel, stride, padding, dilation)


@op
def plane_index(xp, input, /, size, tables):
    """The number of an element in its window (N, C, *P), as its number in the plane of shape `size`, int64.

    tables: for each dimension the coordinates of the taps of each window, P rows of K numbers.
    """
    rest = input.astype("int64")
    found, step = xp.zeros(input.shape, "int64"), 1
    for axis in reversed(range(len(size))):
        outputs, taps = len(tables[axis]), len(tables[axis][0])
        start = xp.arange(outputs).reshape(-1, *(1,) * (len(size) - axis - 1)) * taps
        found += xp.take(xp.asarray(tables[axis], dtype="int64").reshape(-1), start + rest % taps) * step
        rest, step = rest // taps, step * size[axis]
    return found


def _surrounded(xp, x, kernel, stride, padding, dilation, size):
    """What the windows read of x, with the lowest value of the dtype around it."""
    extent = _extent(kernel, size, stride, dilation)
    if all(p == 0 and e <= n for p, e, n in zip(padding, extent, x.shape[2:])):
        return x
    lowest = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -float("inf")
    out = xp.full((*x.shape[:2], *extent), lowest, x.dtype)
    kept = [min(n, e - p) for n, e, p in zip(x.shape[2:], extent, padding)]
    inner = tuple([slice(p, p + n) for p, n in zip(padding, kept)])
    out[(..., *inner)] = x[(..., *[slice(0, n) for n in kept])]
    return out


@lru_cache(maxsize=1024)
def _first_inside(n, kernel, stride, padding, dilation, size):
    start = np.arange(size) * stride - padding
    return np.maximum(-(start // dilation), 0).clip(0, kernel - 1)


def first_inside(shape, kernel, stride, padding, dilation, size):
    """The number, in each window, of its first element inside the input: a host array (*size), uint8 or int32."""
    found = np.zeros((1,) * len(size), np.uint8 if prod(kernel) <= 256 else np.int32)
    for axis, values in enumerate(map(_first_inside, shape, kernel, stride, padding, dilation, size)):
        tail = (1,) * (len(size) - axis - 1)
        found = found * found.dtype.type(kernel[axis]) + values.astype(found.dtype).reshape(-1, *tail)
    return found


# -- windows as columns -----------------------------------------------------------------------------------------------


@op
def im2col(xp, input, /, kernel, dilation, padding, stride):
    """The windows of input (N, C, H, W) as columns: (N, C·prod(kernel), number of windows)."""
    size = _window_count(input.shape[2:], kernel, dilation, padding, stride)
    x = _padded(xp, input, [(p, p) for p in padding])
    out = xp.zeros((*input.shape[:2], *kernel, *size), input.dtype)
    for tap, window in _taps(kernel, size, stride, dilation):
        out[(slice(None), slice(None), *tap[1:])] = x[window]
    return out.reshape(input.shape[0], input.shape[1] * prod(kernel), prod(size))


@im2col.grad("input")
def _(F, g, shape, kernel, dilation, padding, stride):
    return F.col2im(g, shape[2:], kernel, dilation, padding, stride)


@op
def col2im(xp, input, /, size, kernel, dilation, padding, stride):
    """Columns (N, C·prod(kernel), number of windows), added up where the windows lie in (N, C, *size)."""
    count = _window_count(size, kernel, dilation, padding, stride)
    columns = input.reshape(input.shape[0], input.shape[1] // prod(kernel), *kernel, *count)
    x = xp.zeros((*columns.shape[:2], *[n + 2 * p for n, p in zip(size, padding)]), input.dtype)
    for tap, window in _taps(kernel, count, stride, dilation):
        x[window] += columns[(slice(None), slice(None), *tap[1:])]
    return _padded(xp, x, [(-p, -p) for p in padding])


@col2im.grad("input")
def _(F, g, kernel, dilation, padding, stride):
    return F.im2col(g, kernel, dilation, padding, stride)


def _window_count(size, kernel, dilation, padding, stride):
    return tuple([_count(n, k, s, p, d, False) for n, k, s, p, d in zip(size, kernel, stride, padding, dilation)])


# -- geometry ---------------------------------------------------------------------------------------------------------


def _count(n: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Number of windows. In ceil mode the last one may stick out, but starts inside the input or the left padding."""
    found = (n + 2 * padding - dilation * (kernel - 1) - 1 + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (found - 1) * stride >= n + padding:
        found -= 1
    return found


@lru_cache(maxsize=4096)
def _windows(name, n, shape, kernel, stride, padding, dilation, ceil_mode):
    """(kernel, stride, padding, dilation, number of windows) of a pool, one number for each dimension, after checks."""
    _check_dims(name, n, shape)
    kernel = _tuple(kernel, n, name, "kernel_size", 1)
    stride = kernel if stride is None or stride == () else _tuple(stride, n, name, "stride", 1)
    padding = _tuple(padding, n, name, "padding", 0)
    dilation = _tuple(dilation, n, name, "dilation", 1)
    if any(2 * p > d * (k - 1) + 1 for p, k, d in zip(padding, kernel, dilation)):
        raise OpError(
            f"{name}: pad should be at most half of effective kernel size, but got padding={padding}, "
            f"kernel_size={kernel} and dilation={dilation}"
        )
    size = tuple([_count(*a, ceil_mode) for a in zip(shape[-n:], kernel, stride, padding, dilation)])
    if any(s < 1 for s in size):
        raise OpError(
            f"{name}: Given input size: {list(shape[-n - 1 :])}. Calculated output size: {[shape[-n - 1], *size]}. "
            "Output size is too small"
        )
    return kernel, stride, padding, dilation, size


def _check_dims(name, n, shape):
    if len(shape) not in (n + 1, n + 2) or 0 in shape[-n:] or (len(shape) == n + 2 and shape[1] == 0):
        raise OpError(
            f"{name}: Expected {n + 1}D or {n + 2}D input with non-zero sizes (the batch may be empty), "
            f"but got input of size {list(shape)}"
        )


def _shape_of(name: str, input: Any, what: str = "input") -> tuple[int, ...]:
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument {what!r} must be Tensor, not {type(input).__name__}")
    return tuple(input.array.shape)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, int) or value is None else tuple(value)


# -- maxima: PyTorch's functions --------------------------------------------------------------------------------------


def _pool_maxima(name, n, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    shape = _shape_of(name, input)
    given = [_hashable(v) for v in (kernel_size, stride, padding, dilation)]
    geometry = _windows(name, n, shape, *given, bool(ceil_mode))
    values, index = _maxima(n, input, *geometry)
    if not return_indices:
        return values
    tables = tuple([_coordinates(*a) for a in zip(*geometry)])
    return values, plane_index(index, size=shape[-n:], tables=tables)


def _maxima(n, input, kernel, stride, padding, dilation, size):
    if len(input.shape) == n + 2:
        return max_pool(input, kernel=kernel, stride=stride, padding=padding, dilation=dilation, size=size)
    batch = OPS["reshape"](input, (1, *input.shape))
    found = max_pool(batch, kernel=kernel, stride=stride, padding=padding, dilation=dilation, size=size)
    return [OPS["reshape"](t, t.shape[1:]) for t in found]


@lru_cache(maxsize=1024)
def _coordinates(kernel: int, stride: int, padding: int, dilation: int, size: int) -> Any:
    return tuple([tuple([p * stride - padding + i * dilation for i in range(kernel)]) for p in range(size)])


@function
def max_pool1d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of input (N, C, L) or (C, L): window p covers p·stride - padding + i·dilation.

    The number of windows is (L + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1, rounded down, or up in
    `ceil_mode` as long as the last window starts inside the input or its left padding. stride defaults to kernel_size.
    With `return_indices` the positions of the maxima come too (int64). The gradient goes to that position; of equal
    maxima it is the first, and a NaN counts as the greatest.
    """
    return _pool_maxima("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@function
def max_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool1d` in two dimensions: input (N, C, H, W) or (C, H, W). Indices count along rows of the plane H x W."""
    return _pool_maxima("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@function
@listed
def max_pool3d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool1d` in three dimensions: input (N, C, D, H, W) or (C, D, H, W)."""
    return _pool_maxima("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# -- averages ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _average(n, size, kernel, stride, padding, include, divisor):
    """The average of each window along one dimension; `divisor` None: the number of elements that count."""
    if divisor is None:
        start = np.arange(size) * stride - padding
        last = np.minimum(start + kernel, n + padding if include else n)
        count = last - (start if include else np.maximum(start, 0))
        scale: Any = 1.0 / count
        if (count == count[0]).all():
            scale = 1.0 / int(count[0])
    else:
        scale = 1.0 / divisor
    return WindowSum(n, size, kernel, stride, padding, scale)


def _pool_averages(name, n, input, kernel_size, stride, padding, ceil_mode, include, divisor=None):
    shape = _shape_of(name, input)
    _check_floating(name, input)
    if divisor == 0:
        raise OpError(f"{name}: divisor must be not zero")
    given = [_hashable(v) for v in (kernel_size, stride, padding)]
    kernel, stride, padding, _, size = _windows(name, n, shape, *given, 1, bool(ceil_mode))
    maps = []
    for axis in range(n):
        # a divisor that is given divides once, in the first dimension
        by = None if divisor is None else divisor if axis == 0 else 1
        a = shape[axis - n], size[axis], kernel[axis], stride[axis], padding[axis]
        maps.append((axis - n, _average(*a, bool(include), by)))
    return along_all(OPS["axis_map"], input, maps)


def _check_floating(name, input):
    if input.array.dtype.kind in "iub":
        raise NotImplementedError(
            f'"{name}" not implemented for {input.array.dtype}; convert the input to a float dtype'
        )


@function
def avg_pool1d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The average of each window of input (N, C, L) or (C, L), with zeros around it; windows as in `max_pool1d`.

    The divisor is the number of the window's elements in the padded input, or without `count_include_pad` in the input.
    """
    return _pool_averages("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """`avg_pool1d` in two dimensions: input (N, C, H, W) or (C, H, W). `divisor_override` divides the sums instead."""
    args = input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _pool_averages("avg_pool2d", 2, *args)


@listed
def avg_pool3d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """`avg_pool2d` in three dimensions: input (N, C, D, H, W) or (C, D, H, W)."""
    args = input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _pool_averages("avg_pool3d", 3, *args)


def _pool_norms(name, n, input, norm_type, kernel_size, stride, ceil_mode):
    if is_complex(input.array):
        raise NotForComplex(f'"{name}" is for real numbers: take .abs() first')
    kernel = _tuple(_hashable(kernel_size), n, name, "kernel_size", 1)
    total = _pool_averages(name, n, input**norm_type, kernel, stride, 0, ceil_mode, True) * prod(kernel)
    nothing = total == 0
    return OPS["where"](nothing, 0.0, OPS["where"](nothing, 1.0, total) ** (1.0 / norm_type))


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """(Σ x^p)^(1/p) of each window of input (N, C, L) or (C, L), p = norm_type. The gradient where the sum is 0 is 0.

    PyTorch gives NaN for that gradient. stride: by default kernel_size; ceil_mode: as in `max_pool1d`.
    """
    return _pool_norms("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """`lp_pool1d` in two dimensions: input (N, C, H, W) or (C, H, W)."""
    return _pool_norms("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """`lp_pool1d` in three dimensions: input (N, C, D, H, W) or (C, D, H, W)."""
    return _pool_norms("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)


# -- windows that adapt to the input ----------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _adapted(n: int, size: int) -> Any:
    """Window p of `size` covers floor(p n / size) to ceil((p + 1) n / size) - 1: coordinates (size, K), counts (size,).

    Shorter windows repeat their last element.
    """
    p = np.arange(size)
    start, end = p * n // size, -(-(p + 1) * n // size)
    widest = int((end - start).max(initial=1))
    return np.minimum(start[:, None] + np.arange(widest), end[:, None] - 1), end - start


@lru_cache(maxsize=1024)
def _adapted_average(n: int, size: int) -> Any:
    if n % size == 0:
        return WindowSum(n, size, n // size, n // size, 0, size / n, name="adaptive_avg_pool")
    where, count = _adapted(n, size)
    weight = (np.arange(where.shape[1]) < count[:, None]) / count[:, None]
    return AxisMap(where.T.copy(), weight.T.copy(), n, "adaptive_avg_pool")


def _adaptive(name, n, input, output_size):
    """The shape of the input, and the number of windows for each dimension."""
    shape = _shape_of(name, input)
    _check_dims(name, n, shape)
    sizes = (output_size,) * n if isinstance(output_size, int) or output_size is None else tuple(output_size)
    if len(sizes) == 1:
        sizes *= n
    if len(sizes) != n or any(s is not None and (not isinstance(s, int) or s < 0) for s in sizes):
        raise OpError(f"{name}: expected output_size to be {n} non-negative integers or None, got {output_size}")
    return shape, tuple([shape[axis - n] if s is None else s for axis, s in enumerate(sizes)])


def _adaptive_averages(name, n, input, output_size):
    _check_floating(name, input) if isinstance(input, Tensor) else None
    shape, sizes = _adaptive(name, n, input, output_size)
    if 0 in sizes:
        return OPS["zeros_of"](input, shape=(*shape[:-n], *sizes), dtype=input.array.dtype)
    some = [(axis - n, size) for axis, size in enumerate(sizes) if size != shape[axis - n]]
    return along_all(OPS["axis_map"], input, [(axis, _adapted_average(shape[axis], size)) for axis, size in some])


@function
def adaptive_avg_pool1d(input: Tensor, output_size: Sizes) -> Tensor:
    """n = `output_size` averages of input (N, C, L) or (C, L): elements floor(p L / n) to ceil((p + 1) L / n) - 1."""
    return _adaptive_averages("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Sizes) -> Tensor:
    """`adaptive_avg_pool1d` in two dimensions: input (N, C, H, W) or (C, H, W); a size of None keeps the input's."""
    return _adaptive_averages("adaptive_avg_pool2d", 2, input, output_size)


@listed
def adaptive_avg_pool3d(input: Tensor, output_size: Sizes) -> Tensor:
    """`adaptive_avg_pool2d` in three dimensions: input (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_averages("adaptive_avg_pool3d", 3, input, output_size)


def _adaptive_maxima(name, n, input, output_size, return_indices):
    shape, sizes = _adaptive(name, n, input, output_size)
    if 0 in sizes:
        out = [OPS["zeros_of"](input, shape=(*shape[:-n], *sizes), dtype=d) for d in (input.array.dtype, "int64")]
        return tuple(out) if return_indices else out[0]
    tables = []
    for axis, size in enumerate(sizes):
        length = shape[axis - n]
        table, _ = _adapted(length, size)
        if length % size:  # repeat what neighbouring windows share
            input = OPS["axis_map"](input, axis - n, _repetition(length, size))
        tables.append(tuple(map(tuple, table.tolist())))
    kernel = tuple([len(t[0]) for t in tables])
    values, index = _maxima(n, input, kernel, kernel, (0,) * n, (1,) * n, sizes)
    return (values, plane_index(index, size=shape[-n:], tables=tuple(tables))) if return_indices else values


@lru_cache(maxsize=1024)
def _repetition(n: int, size: int) -> AxisMap:
    return AxisMap(_adapted(n, size)[0].reshape(1, -1), None, n, "adaptive_max_pool")


@function
def adaptive_max_pool1d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """`output_size` maxima of input (N, C, L) or (C, L), of the windows of `adaptive_avg_pool1d`.

    return_indices: their positions as well.
    """
    return _adaptive_maxima("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """`adaptive_max_pool1d` in two dimensions: input (N, C, H, W) or (C, H, W); a size of None keeps the input's."""
    return _adaptive_maxima("adaptive_max_pool2d", 2, input, output_size, return_indices)


@listed
def adaptive_max_pool3d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` in three dimensions: input (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_maxima("adaptive_max_pool3d", 3, input, output_size, return_indices)


# -- the way back from maxima -----------------------------------------------------------------------------------------


def _unpool(name, n, input, indices, kernel_size, stride, padding, output_size):
    shape = _shape_of(name, input)
    _check_dims(name, n, shape)
    if _shape_of(name, indices, "indices") != shape:
        raise OpError(
            f"{name}: Expected shape of indices to be that of the input, {list(shape)}, got {list(indices.shape)}"
        )
    kernel = _tuple(_hashable(kernel_size), n, name, "kernel_size", 1)
    stride = kernel if stride is None else _tuple(_hashable(stride), n, name, "stride", 1)
    padding = _tuple(_hashable(padding), n, name, "padding", 0)
    usual = [(p - 1) * s - 2 * q + k for p, s, q, k in zip(shape[-n:], stride, padding, kernel)]
    size = tuple(usual if output_size is None else output_size)[-n:]
    fits = len(size) == n and all(u - s < have < u + s for have, u, s in zip(size, usual, stride))
    if output_size is not None and not fits:
        raise OpError(f"{name}: invalid output_size {tuple(output_size)}: each must be within {stride} of {usual}")
    total = prod(size)
    flat = OPS["reshape"](indices, (*shape[:-n], prod(shape[-n:])))
    array = flat.array
    check(_check_indices, array, total, size, name)
    zeros = OPS["zeros_of"](input, shape=(*shape[:-n], total), dtype=input.array.dtype)
    out = OPS["scatter"](zeros, -1, flat, OPS["reshape"](input, flat.shape))
    return OPS["reshape"](out, (*shape[:-n], *size))


def _check_indices(array, total, size, name):
    if array.size and not bool((array >= 0).all() & (array < total).all()):
        raise OpError(f"{name}: Found an invalid max index: the output volume is of size {' x '.join(map(str, size))}")


@listed
def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """The partial inverse of `max_pool1d`: zeros, with the input at the positions `indices` that it returned.

    Length (L - 1) stride - 2 padding + kernel_size, or `output_size`. Where an index occurs twice the last value stays,
    and gets the gradient (PyTorch gives it to all of them).
    """
    return _unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


@listed
def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`max_unpool1d` in two dimensions: input (N, C, H, W) or (C, H, W)."""
    return _unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


@listed
def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`max_unpool1d` in three dimensions: input (N, C, D, H, W) or (C, D, H, W)."""
    return _unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


# -- columns: PyTorch's functions -------------------------------------------------------------------------------------


def _column_geometry(name, kernel_size, dilation, padding, stride):
    given = (kernel_size, "kernel_size", 1), (dilation, "dilation", 1), (padding, "padding", 0), (stride, "stride", 1)
    return [_tuple(_hashable(v), 2, name, what, least) for v, what, least in given]


def unfold(input: Tensor, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> Tensor:
    """The sliding windows of input (N, C, H, W) or (C, H, W) as columns: (N, C·KH·KW, number of windows).

    dilation, padding and stride place the windows as in `conv2d`.
    """
    shape = _shape_of("unfold", input)
    _check_dims("unfold", 2, shape)
    geometry = _column_geometry("unfold", kernel_size, dilation, padding, stride)
    count = _window_count(shape[-2:], *geometry)
    if any(c < 1 for c in count):
        raise OpError(
            f"unfold: Given input with spatial size {shape[-2:]}, kernel_size={geometry[0]}, dilation={geometry[1]}, "
            f"padding={geometry[2]}: calculated shape of the array of sliding blocks as {count}, which is too small"
        )
    if len(shape) == 4:
        return im2col(input, *geometry)
    out = im2col(OPS["reshape"](input, (1, *shape)), *geometry)
    return OPS["reshape"](out, out.shape[1:])


def fold(
    input: Tensor,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Ints = 0,
    stride: Ints = 1,
) -> Tensor:
    """The transpose of `unfold`, whose arguments it has: columns (N, C·KH·KW, L) or (C·KH·KW, L), added up where
    windows lie.
    """
    shape = _shape_of("fold", input)
    size = _tuple(_hashable(output_size), 2, "fold", "output_size", 1)
    geometry = _column_geometry("fold", kernel_size, dilation, padding, stride)
    count = _window_count(size, *geometry)
    taps = prod(geometry[0])
    if len(shape) not in (2, 3) or shape[-2] == 0 or shape[-2] % taps or shape[-1] != prod(count) or min(count) < 1:
        raise OpError(
            f"fold: expected input of size (N, a multiple of {taps}, {prod(count)}) for output_size={size}, "
            f"kernel_size={geometry[0]}, dilation={geometry[1]}, padding={geometry[2]}, stride={geometry[3]}, "
            f"got {list(shape)}"
        )
    if len(shape) == 3:
        return col2im(input, size, *geometry)
    out = col2im(OPS["reshape"](input, (1, *shape)), size, *geometry)
    return OPS["reshape"](out, out.shape[1:])
