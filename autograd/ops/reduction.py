"""Reductions: sums, means, extrema, spread, order statistics; and running sums, products and extrema (scans).

`dim` is a number, several, or None for all; `keepdim` keeps the reduced dimensions with size 1. Floats of 16 bits add
up in float32.

Kinks: `amax`, `amin` and `max()`/`min()` of a whole tensor share ties evenly; what returns indices sends the gradient
to the index that it returned. `std` has gradient 0 where it is 0 (PyTorch too).

Products do not divide by their factors: the gradient of `prod` and `cumprod` is a recurrence (`linear_scan`) whose
gradient is the same recurrence backwards, so every order is right at zeros.

Sources: names, defaults, dtypes and the behaviour of empty tensors as in PyTorch; parallel scans: Blelloch, Prefix Sums
and Their Applications, 1990.
"""

from __future__ import annotations

import builtins
import math

from ... import backends
from .. import return_types
from ..autocast import listed
from ..composite import composite
from ..dims import numpy_names, wrap_dim, wrap_dims
from ..dtypes import is_floating, to_numpy_dtype
from ..errors import OpError
from ..op import GRAPH, OPS, op
from ..public import api, expose, function
from ..tensor import Tensor, method
from ..tracking import check
from .arithmetic import maximum, minimum
from .sorting import argsort, ordered

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cummax_indices",
    "cumprod",
    "cumsum",
    "linear_scan",
    "logcumsumexp",
    "logsumexp",
    "mean",
    "mode_indices",
    "nanmean",
    "nansum",
    "prod",
    "shift",
    "std",
    "sum",
    "var",
]


def dims_of(dim, ndim):
    """The dimensions that a reduction takes, as a tuple: all for None and for ()."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    dims = wrap_dims(dim, ndim)
    return dims if ndim else ()


def _count(shape, dim):
    """How many elements each result of a reduction is made of."""
    return math.prod([shape[d] for d in dims_of(dim, len(shape))])


def _unreduced(F, g, shape, dim, keepdim):
    """A reduction's result with the reduced dimensions back in, of size 1 (none are needed for a 0-d one)."""
    if keepdim or not shape or dim is None:
        return g
    dims = dims_of(dim, len(shape))
    return F.reshape(g, tuple([1 if i in dims else n for i, n in enumerate(shape)]))


def _floating(name, input):
    if not is_floating(input.dtype):
        raise OpError(f"{name}() takes floating-point tensors, got {input.dtype}; convert it, e.g. with .float()")


def _adding(input, dtype):
    """The dtype to add (or multiply) up in, and the one of the result."""
    kind = input.dtype if dtype is None else to_numpy_dtype(dtype)
    if dtype is None and kind.kind in "biu":
        return "int64", "int64"
    return ("float32" if kind.itemsize == 2 and is_floating(kind) else kind), kind


# -- sums and means ---------------------------------------------------------------------------------------------------


@op
def sum(xp, input, dim=None, keepdim=False, dtype=None):
    """Sum over `dim`; integers and bools add up in int64. The sum of nothing is 0."""
    inner, kind = _adding(input, dtype)
    out = xp.sum(input, axis=dims_of(dim, input.ndim), keepdims=keepdim, dtype=inner)
    return out if inner is kind or out.dtype == kind else out.astype(kind)


@sum.grad("input")
def _(F, g, shape, dim, keepdim):
    if dim is None:
        return F.expand(g, shape)
    return F.expand(_unreduced(F, g, shape, dim, keepdim), shape)


@op
def mean(xp, input, dim=None, keepdim=False, dtype=None):
    """Mean over `dim`, of floats (or as floats of `dtype`). The mean of nothing is NaN."""
    if dtype is None and input.dtype.kind != "c":
        _floating("mean", input)
    inner, kind = _adding(input, dtype)
    total = xp.sum(input, axis=dims_of(dim, input.ndim), keepdims=keepdim, dtype=inner)
    out = total / _count(input.shape, dim) if input.size else total * math.nan
    return out if out.dtype == kind else out.astype(kind)


@mean.grad("input")
def _(F, g, shape, dim, keepdim):
    if dim is None:
        return F.expand(g / (math.prod(shape) or 1), shape)
    return F.expand(_unreduced(F, g, shape, dim, keepdim) / builtins.max(_count(shape, dim), 1), shape)


@composite
def nansum(F, input, /, dim=None, keepdim=False, dtype=None):
    """Sum over `dim`, with NaN taken for 0 and given the gradient 0."""
    return F.sum(F.where(F.isnan(input), 0, input), dim=dim, keepdim=keepdim, dtype=dtype)


@composite
def nanmean(F, input, /, dim=None, keepdim=False, dtype=None):
    """Mean over `dim` of what is not NaN; NaN where nothing is left."""
    if not is_floating(getattr(input, "array", input).dtype):
        raise ValueError("expected input to have floating point dtype; convert it, e.g. with .float()")
    total = F.nansum(input, dim=dim, keepdim=keepdim, dtype=dtype)
    count = F.sum(F.logical_not(F.isnan(input)), dim=dim, keepdim=keepdim)
    return total / F.cast(count, dtype=total.dtype)


@op
def count_nonzero(xp, input, /, dim=None):
    """How many elements over `dim` are not 0, as int64."""
    return xp.sum(input != 0, axis=dims_of(dim, input.ndim), dtype="int64")


@op
def logsumexp(xp, input, /, dim=None, keepdim=False):
    """log Σ exp(input) over `dim`, without overflow; integers give floats. Of nothing (or of -inf alone) it is -inf.

    All -inf have the gradient 0 (PyTorch: NaN).
    """
    if not is_floating(input.dtype):
        input = input.astype("float32")
    dims = dims_of(dim, input.ndim)
    if _count(input.shape, dim):
        top = xp.max(input, axis=dims, keepdims=True)
        top = xp.where(xp.isfinite(top), top, 0)
    else:
        top = 0
    total = xp.sum(xp.exp(input - top), axis=dims, keepdims=True)
    out = xp.log(total) + top
    return out if keepdim else out.reshape([n for i, n in enumerate(input.shape) if i not in dims])


@logsumexp.grad("input")
def _(F, g, input, out, shape, dim, keepdim):
    top = F.where(F.isneginf(out), 0, out)
    top, g = _unreduced(F, top, shape, dim, keepdim), _unreduced(F, g, shape, dim, keepdim)
    return g * F.exp(input - top)


# -- products ---------------------------------------------------------------------------------------------------------


@op
def prod(xp, input, /, dim=None, keepdim=False, dtype=None):
    """Product over `dim`; integers and bools multiply in int64. The product of nothing is 1."""
    inner, kind = _adding(input, dtype)
    out = xp.prod(input, axis=dims_of(dim, input.ndim), keepdims=keepdim, dtype=inner)
    return out if out.dtype == kind else out.astype(kind)


@prod.grad("input")
def _(F, g, input, shape, dim, keepdim):
    dims = dims_of(dim, len(shape))
    g = _unreduced(F, g, shape, dim, keepdim)
    if not dims:
        return g
    # the reduced dimensions to the end, as one
    order = (*[i for i in range(len(shape)) if i not in dims], *dims)
    back = tuple([order.index(i) for i in range(len(shape))])
    moved = tuple([shape[i] for i in order])
    flat = F.reshape(F.permute(input, order), (*moved[: len(order) - len(dims)], _count(shape, dim)))
    before = F.shift(F.cumprod(flat, dim=-1), dim=-1, step=1, fill=1)
    last = F.shift(F.zeros_of(flat, shape=flat.shape, dtype=flat.dtype), dim=-1, step=-1, fill=1)
    after = F.linear_scan(last, F.shift(flat, dim=-1, step=-1, fill=0), dim=-1, reverse=True)
    return g * F.permute(F.reshape(before * after, moved), back)


# -- extrema ----------------------------------------------------------------------------------------------------------


def _nonempty(name, input, dim):
    if _count(input.shape, dim):
        return
    if dim is None and name in ("amax", "amin"):
        raise OpError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0: there is no extremum")
    raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size, got {list(input.shape)}")


def _shared(F, g, input, out, shape, dim, keepdim):
    """`g` shared evenly among the elements that equal the reduction's result."""
    here = input == _unreduced(F, out, shape, dim, keepdim)
    count = F.sum(here, dim=dims_of(dim, len(shape)), keepdim=True)
    share = _unreduced(F, g, shape, dim, keepdim) / F.cast(count, dtype=g.dtype)
    return F.where(here, share, 0)


@op
def amax(xp, input, /, dim=None, keepdim=False):
    """The largest over `dim`; NaN if there is one. Ties share the gradient evenly."""
    _nonempty("amax", input, dim)
    return xp.max(input, axis=dims_of(dim, input.ndim), keepdims=keepdim)


@amax.grad("input")
def _(F, g, input, out, shape, dim, keepdim):
    return _shared(F, g, input, out, shape, dim, keepdim)


@op
def amin(xp, input, /, dim=None, keepdim=False):
    """The smallest over `dim`; NaN if there is one. Ties share the gradient evenly."""
    _nonempty("amin", input, dim)
    return xp.min(input, axis=dims_of(dim, input.ndim), keepdims=keepdim)


@amin.grad("input")
def _(F, g, input, out, shape, dim, keepdim):
    return _shared(F, g, input, out, shape, dim, keepdim)


def _position(find, name, input, dim, keepdim):
    _nonempty(name, input, dim)
    if dim is not None:
        dim = wrap_dim(dim, input.ndim) if input.ndim else None
    return find(input, axis=dim, keepdims=keepdim)


@op
def argmax(xp, input, dim=None, keepdim=False):
    """The position of the (first) largest element along `dim`, or in the flattened tensor; NaN counts as largest."""
    return _position(xp.argmax, "argmax", input, dim, keepdim)


@op
def argmin(xp, input, dim=None, keepdim=False):
    """The position of the (first) smallest element along `dim`, or in the flattened tensor; NaN counts as smallest."""
    return _position(xp.argmin, "argmin", input, dim, keepdim)


def _spelt(dim, ndim):
    """The dimensions of any and all, for which () is none, as in PyTorch."""
    return () if isinstance(dim, (tuple, list)) and not dim else dims_of(dim, ndim)


@op
def any(xp, input, dim=None, keepdim=False):
    """Whether any element over `dim` is nonzero, as bool (as uint8 of uint8, as in PyTorch)."""
    out = xp.any(input, axis=_spelt(dim, input.ndim), keepdims=keepdim)
    return out.astype(input.dtype) if input.dtype.name == "uint8" else out


@op
def all(xp, input, dim=None, keepdim=False):
    """Whether all elements over `dim` are nonzero, as bool (as uint8 of uint8, as in PyTorch)."""
    out = xp.all(input, axis=_spelt(dim, input.ndim), keepdims=keepdim)
    return out.astype(input.dtype) if input.dtype.name == "uint8" else out


# -- spread -----------------------------------------------------------------------------------------------------------


def _variance(xp, name, input, dim, correction, keepdim):
    _floating(name, input)
    inner, dims, n = _adding(input, None)[0], dims_of(dim, input.ndim), _count(input.shape, dim)
    input = input.astype(inner, copy=False)
    away = input - xp.sum(input, axis=dims, keepdims=True) / builtins.max(n, 1)
    total = xp.sum(away * away, axis=dims, keepdims=keepdim)
    room = builtins.max(n - correction, 0)
    return total / room if room else total / xp.zeros((), total.dtype)


@op
def var(xp, input, /, dim=None, correction=1, keepdim=False):
    """Σ (input - mean)² / (n - correction) over `dim`; NaN where n is 0 or `correction` leaves nothing to divide by."""
    return _variance(xp, "var", input, dim, correction, keepdim).astype(input.dtype, copy=False)


def _room(shape, dim, correction):
    return builtins.max(_count(shape, dim) - correction, 0)


def _quotient(a, b):
    return a / b if b else math.inf


@var.grad("input")
def _(F, g, input, shape, dim, correction, keepdim):
    g = _unreduced(F, g, shape, dim, keepdim) * _quotient(2, _room(shape, dim, correction))
    return g * (input - F.mean(input, dim=dims_of(dim, len(shape)), keepdim=True))


@op
def std(xp, input, /, dim=None, correction=1, keepdim=False):
    """The square root of `var`. The gradient is 0 where it is 0."""
    return xp.sqrt(_variance(xp, "std", input, dim, correction, keepdim)).astype(input.dtype, copy=False)


@std.grad("input")
def _(F, g, input, out, shape, dim, correction, keepdim):
    g = F.where(out == 0, 0, g / F.where(out == 0, 1, out)) * _quotient(1, _room(shape, dim, correction))
    g = _unreduced(F, g, shape, dim, keepdim)
    return g * (input - F.mean(input, dim=dims_of(dim, len(shape)), keepdim=True))


# -- scans ------------------------------------------------------------------------------------------------------------


@op
def shift(xp, input, /, dim, step=1, fill=0):
    """The elements moved by `step` (1 or -1) places along `dim`; the place that becomes free holds `fill`."""
    out = xp.full(input.shape, fill, input.dtype)
    to, of = (slice(1, None), slice(None, -1)) if step > 0 else (slice(None, -1), slice(1, None))
    lead = (slice(None),) * wrap_dim(dim, input.ndim)
    out[(*lead, to)] = input[(*lead, of)]
    return out


@shift.grad("input")
def _(F, g, dim, step):
    return F.shift(g, dim=dim, step=-step)


@op
def linear_scan(xp, input, weight, /, dim, reverse=False):
    """s[i] = input[i] + weight[i] * s[i - 1] along `dim`, from s[-1] = 0; from the other end if `reverse`.

    Both have the same shape. Computed in log₂(n) vectorised steps of doubling length.
    """
    d, n = wrap_dim(dim, input.ndim), input.shape[dim]
    total, factor = xp.array(input, copy=True), xp.array(weight, copy=True)
    lead, k = (slice(None),) * d, 1
    while k < n:
        near, far = (slice(k, None), slice(None, -k))[:: -1 if reverse else 1]
        near, far = (*lead, near), (*lead, far)
        total[near] = total[near] + factor[near] * total[far]
        factor[near] = factor[near] * factor[far]
        k *= 2
    return total


def _adjoint(F, g, weight, dim, reverse):
    return F.linear_scan(g, F.shift(weight, dim=dim, step=1 if reverse else -1), dim=dim, reverse=not reverse)


@linear_scan.grad("input")
def _(F, g, weight, dim, reverse):
    return _adjoint(F, g, weight, dim, reverse)


@linear_scan.grad("weight")
def _(F, g, out, weight, dim, reverse):
    return _adjoint(F, g, weight, dim, reverse) * F.shift(out, dim=dim, step=-1 if reverse else 1)


def _scanned(f, input, dim, dtype):
    d = wrap_dim(dim, input.ndim)
    inner, kind = _adding(input, dtype)
    out = f(input.reshape(1) if not input.ndim else input, axis=d, dtype=inner)
    return (out if input.ndim else out.reshape(())).astype(kind, copy=False)


@op
def cumsum(xp, input, /, dim, dtype=None):
    """Running sums along `dim`; integers and bools add up in int64."""
    return _scanned(xp.cumsum, input, dim, dtype)


@cumsum.grad("input")
def _(F, g, dim):
    return F.flip(F.cumsum(F.flip(g, (dim,)), dim=dim), (dim,)) if g.shape else g


@op
def cumprod(xp, input, /, dim, dtype=None):
    """Running products along `dim`; integers and bools multiply in int64."""
    return _scanned(xp.cumprod, input, dim, dtype)


@cumprod.grad("input")
def _(F, g, input, out, dim):
    if not g.shape:
        return g
    after = F.linear_scan(g, F.shift(input, dim=dim, step=-1), dim=dim, reverse=True)
    return after * F.shift(out, dim=dim, step=1, fill=1)


@op(types="float")
def logcumsumexp(xp, input, /, dim):
    """log Σ exp(input) of what came so far along `dim`, without overflow."""
    d = wrap_dim(dim, input.ndim)
    out, lead, k = xp.array(input, copy=True), (slice(None),) * d, 1
    while input.ndim and k < input.shape[d]:
        near, far = (*lead, slice(k, None)), (*lead, slice(None, -k))
        out[near] = xp.logaddexp(out[near], out[far])
        k *= 2
    return out


@logcumsumexp.grad("input")
def _(F, g, input, out, dim):
    if not g.shape:
        return g
    nothing = F.isneginf(out)
    level = F.where(nothing, 0, out)
    weight = F.exp(F.where(nothing, 0, level - F.shift(level, dim=dim, step=-1)))
    return F.linear_scan(g, weight, dim=dim, reverse=True) * F.exp(input - level)


@op
def cummax_indices(xp, input, /, dim, least=False):
    """The position of the largest (smallest, if `least`) element so far along `dim`: the last of several, or of NaN."""
    d = wrap_dim(dim, input.ndim)
    if not input.ndim:
        return xp.zeros((), "int64")
    place = xp.arange(input.shape[d]).reshape([-1 if i == d else 1 for i in range(input.ndim)])
    best, found = xp.array(input, copy=True), xp.array(xp.broadcast_to(place, input.shape), copy=True)
    lead, k = (slice(None),) * d, 1
    while k < input.shape[d]:
        near, far = (*lead, slice(k, None)), (*lead, slice(None, -k))
        a, b = best[near], best[far]
        older = ((b < a if least else b > a) & (a == a)) | ((b != b) & (a == a))
        best[near], found[near] = xp.where(older, b, a), xp.where(older, found[far], found[near])
        k *= 2
    return found


@op
def mode_indices(xp, input, /, dim):
    """The position of (the last of) the most frequent value along `dim`, the smallest of several such; dim kept."""
    d = wrap_dim(dim, input.ndim)
    if not input.ndim:
        return xp.zeros((), "int64")
    order = xp.moveaxis(xp.argsort(input, axis=d, kind="stable"), d, -1)
    values = xp.take_along_axis(xp.moveaxis(input, d, -1), order, -1)
    n = values.shape[-1]
    begins = xp.ones(values.shape, bool)
    begins[..., 1:] = values[..., 1:] != values[..., :-1]
    start, k = xp.where(begins, xp.arange(n), 0), 1
    while k < n:
        start[..., k:] = xp.maximum(start[..., k:], start[..., :-k])
        k *= 2
    last = xp.argmax(xp.arange(n) - start, axis=-1, keepdims=True)
    return xp.moveaxis(xp.take_along_axis(order, last, -1), -1, d)


# -- public faces -----------------------------------------------------------------------------------------------------


def _at(kind, input, index, dim, keepdim):
    """The values of `input` at `index` along `dim`, with their indices; the dimension is dropped unless `keepdim`."""
    values = OPS["gather"](input, dim, index)
    if keepdim or not input.array.ndim:
        return kind((values, index))
    squeeze = OPS["squeeze"]
    return kind((squeeze(values, dim=dim), squeeze(index, dim=dim)))


def _extremum(kind, whole, pairwise, position, input, dim, keepdim, other):
    if other is not None or isinstance(dim, Tensor):
        return pairwise(input, dim if other is None else other)
    if dim is None or isinstance(dim, (tuple, list)):
        return whole(input, dim=dim, keepdim=keepdim)
    if not input.array.ndim:
        return _at(kind, input, position(input, dim=dim, keepdim=True), dim, keepdim)
    d = wrap_dim(dim, input.array.ndim)
    index = position.direct(input, d, False)
    values = OPS["index"].direct(input, _places(backends.of(input.array).xp, index.array, d))
    if keepdim:
        values, index = OPS["unsqueeze"].direct(values, d), OPS["unsqueeze"].direct(index, d)
    return kind((values, index))


def _places(xp, index, d):
    """The index arrays that pick, along dimension `d`, the element at `index`, which lacks that dimension."""
    n = index.ndim
    grid = [xp.arange(size).reshape((size,) + (1,) * (n - 1 - i)) for i, size in enumerate(index.shape)]
    return (*grid[:d], index, *grid[d:])


@api
@numpy_names
def max(input, dim=None, keepdim=False, *, other=None):
    """`max(x)`: the largest element; `max(x, dim)`: (values, indices) along `dim`; `max(x, y)`: `maximum`.

    With `dim` the gradient goes to the index returned, without it ties share it evenly. As in NumPy, `dim` may be
    a tuple; the values alone are returned then.
    """
    return _extremum(return_types.max, amax, maximum, argmax, input, dim, keepdim, other)


@api
@numpy_names
def min(input, dim=None, keepdim=False, *, other=None):
    """`min(x)`: the smallest element; `min(x, dim)`: (values, indices) along `dim`; `min(x, y)`: `minimum`.

    See `max`.
    """
    return _extremum(return_types.min, amin, minimum, argmin, input, dim, keepdim, other)


@api
@numpy_names
def aminmax(input, *, dim=None, keepdim=False):
    """The smallest and the largest over `dim`, as (min, max)."""
    return return_types.aminmax((amin(input, dim=dim, keepdim=keepdim), amax(input, dim=dim, keepdim=keepdim)))


def _spread_arguments(dim, unbiased, keepdim, correction):
    """PyTorch's two forms, `var(dim, unbiased, keepdim)` and `var(dim, correction=, keepdim=)`."""
    if isinstance(dim, bool):  # x.var(False)
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError("give unbiased= or correction=, not both")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return {"dim": dim, "correction": correction, "keepdim": keepdim}


def _with_spread(target):
    def function(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        return target(input, **_spread_arguments(dim, unbiased, keepdim, correction))

    function.__name__ = function.__qualname__ = target.name
    function.__doc__ = target.__doc__ + "\n\n    `unbiased=False` is the older way to say `correction=0`."
    return api(numpy_names(function))


_with_spread(var)
_with_spread(std)


@function
@numpy_names
def var_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The variance and the mean over `dim`. See `var`."""
    given = _spread_arguments(dim, unbiased, keepdim, correction)
    return var(input, **given), mean(input, dim=given["dim"], keepdim=keepdim)


@function
@numpy_names
def std_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The standard deviation and the mean over `dim`. See `std`."""
    given = _spread_arguments(dim, unbiased, keepdim, correction)
    return std(input, **given), mean(input, dim=given["dim"], keepdim=keepdim)


def _middle(input, dim, keepdim, ignore_nan):
    name = "nanmedian" if ignore_nan else "median"
    kind = getattr(return_types, name)
    if dim is None:
        flat = input.reshape(-1)
        if not flat.array.size:
            return OPS["sum"](flat) * math.nan  # as in PyTorch
        return OPS["gather"](ordered(flat), 0, _middle_rank(flat, 0, ignore_nan)).reshape(())
    _nonempty(name, input, dim)
    order = argsort(input, dim=dim)
    if not input.array.ndim:
        return kind((input.clone(), order))
    d = wrap_dim(dim, input.array.ndim)
    return _at(kind, input, OPS["gather"](order, d, _middle_rank(input, d, ignore_nan)), d, keepdim)


def _middle_rank(input, d, ignore_nan):
    """Where the median stands among the values in order along `d`, with the dimension kept."""
    lost, n = _nan_count(input, d), input.array.shape[d]
    if ignore_nan:
        return (n - lost - 1).clamp(min=0) // 2
    return OPS["where"](lost > 0, n - lost, (n - 1) // 2)  # NaN sorts last: a row with one yields it


def _nan_count(input, dim):
    """How many elements along `dim` are NaN, with the dimension kept."""
    return sum(OPS["isnan"](input), dim=dim, keepdim=True)


@api
@numpy_names
def median(input, dim=None, keepdim=False):
    """The middle value, the lower of two; NaN if there is one. With `dim`: (values, indices).

    The gradient goes to one element, also without `dim` (PyTorch then shares it among equal ones).
    """
    return _middle(input, dim, keepdim, False)


@api
@numpy_names
def nanmedian(input, dim=None, keepdim=False):
    """`median` of what is not NaN."""
    return _middle(input, dim, keepdim, True)


@api
@numpy_names
def mode(input, dim=-1, keepdim=False):
    """The most frequent value along `dim` (the smallest of several) and the position of its last: (values, indices)."""
    _nonempty("mode", input, dim)
    return _at(return_types.mode, input, mode_indices(input, dim=dim), dim, keepdim)


def _check_proportions(q):
    if q.size and not bool(((q >= 0) & (q <= 1)).all()):
        raise OpError("quantile(): q must be between 0 and 1")


def _quantile(input, q, dim, keepdim, interpolation, ignore_nan):
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise OpError(
            f"quantile(): interpolation must be linear, lower, higher, midpoint or nearest, not {interpolation!r}"
        )
    _floating("quantile", input.array)
    if not isinstance(q, Tensor):
        q = input.new_tensor(q)
    elif q.dtype != input.dtype:
        raise TypeError(f"quantile(): q has dtype {q.dtype} and input {input.dtype}; they must have the same")
    if q.array.ndim > 1:
        raise OpError(f"quantile(): q must be a number or a 1-dimensional tensor, got {list(q.shape)}")
    check(_check_proportions, q.array)
    shape = tuple(input.shape)
    if dim is None:
        input, d = input.reshape(-1), 0
        kept = (1,) * len(shape)
    else:
        d = wrap_dim(dim, len(shape))
        kept = tuple([1 if i == d else n for i, n in enumerate(shape)])
        input = input.reshape(-1) if not shape else input
    _nonempty("quantile", input, d)
    n = input.shape[d]
    ranked = ordered(input.movedim(d, -1))
    lost = _nan_count(ranked, -1)
    last = (n - 1 - lost).clamp(min=0) if ignore_nan else (lost > 0).long() * 0 + (n - 1)
    rank = q.reshape(-1) * OPS["cast"](last, dtype=input.array.dtype)
    low = {"higher": rank.ceil, "nearest": rank.round}.get(interpolation, rank.floor)().detach()
    gather = OPS["gather"]
    out = gather(ranked, -1, low.long())
    if interpolation in ("linear", "midpoint"):
        upper = gather(ranked, -1, rank.ceil().long())
        out = OPS["lerp"](out, upper, 0.5 if interpolation == "midpoint" else rank - low)
    spoiled = lost == n if ignore_nan else lost > 0
    out = OPS["where"](spoiled, math.nan, out).movedim(-1, 0)  # the quantiles first, then what was not reduced
    rest = kept if keepdim else tuple([s for i, s in enumerate(shape) if i != d]) if dim is not None else ()
    return out.reshape((*q.shape, *rest))


@api
@numpy_names
@listed
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """The q-quantiles over `dim` (a number, or None for all): between the values ranked floor and ceil of q (n - 1).

    q: a number, or a tensor of one dimension, which comes first in the result. interpolation: linear, lower, higher,
    midpoint or nearest. NaN where there is one.
    """
    return _quantile(input, q, dim, keepdim, interpolation, False)


@api
@numpy_names
@listed
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """`quantile` of what is not NaN."""
    return _quantile(input, q, dim, keepdim, interpolation, True)


@api
@numpy_names
def cummax(input, dim):
    """The largest so far along `dim`, and where it stood (the last of several): (values, indices)."""
    return _at(return_types.cummax, input, cummax_indices(input, dim=dim), dim, True)


@api
@numpy_names
def cummin(input, dim):
    """The smallest so far along `dim`, and where it stood (the last of several): (values, indices)."""
    return _at(return_types.cummin, input, cummax_indices(input, dim=dim, least=True), dim, True)


@api
@numpy_names
def diff(input, n=1, dim=-1, prepend=None, append=None):
    """The differences of neighbours along `dim`, taken `n` times, after `prepend` and `append` were put at the ends."""
    parts = [x for x in (prepend, input, append) if x is not None]
    out = OPS["concat"](*parts, dim=dim) if len(parts) > 1 else input
    if not out.shape:
        raise OpError("diff expects input to be at least one-dimensional")
    narrow = OPS["narrow"]
    for _ in range(n):
        size = out.shape[dim]
        if not size:
            break
        high, low = narrow(out, dim, 1, size - 1), narrow(out, dim, 0, size - 1)
        out = OPS["logical_xor"](high, low) if out.array.dtype.kind == "b" else high - low
    return out


def _panels(y, x, dx, dim):
    """The areas between neighbouring samples."""
    n = y.shape[dim]
    narrow = OPS["narrow"]
    both = narrow(y, dim, 1, builtins.max(n - 1, 0)) + narrow(y, dim, 0, builtins.max(n - 1, 0))
    if x is None:
        return both * (dx / 2)
    steps = diff(x, dim=-1 if x.array.ndim == 1 else dim)
    if x.array.ndim == 1:
        d = wrap_dim(dim, len(y.shape))
        steps = steps.reshape([-1 if i == d else 1 for i in range(len(y.shape))])
    return both * steps / 2


@function(name="trapz")
@function
@numpy_names
def trapezoid(y, x=None, *, dx=1, dim=-1):
    """The integral of samples `y` along `dim` by the trapezoidal rule; at the points `x`, or `dx` apart."""
    return sum(_panels(y, x, dx, dim), dim=dim)


@function
@numpy_names
def cumulative_trapezoid(y, x=None, *, dx=1, dim=-1):
    """The running integral of samples `y` along `dim` by the trapezoidal rule: one less than there are samples.

    x: the samples' places, or dx: their distance.
    """
    return cumsum(_panels(y, x, dx, dim), dim=dim)


@method
def sum_to_size(self, *size):
    """The sum over what would have to be broadcast to come back from `size`."""
    from ..tape import sum_to_shape

    size = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size
    return self if tuple(self.shape) == size else sum_to_shape(GRAPH, self, size)


expose(sum, mean, nansum, nanmean, prod, count_nonzero, logsumexp, amax, amin, argmax, argmin, any, all)
expose(logcumsumexp)
expose(cumsum, cumprod, inplace=True)
