"""Functions that few programs use: compositions of ops, and what makes complex numbers and takes them apart."""

from __future__ import annotations

from typing import Any

from .. import backends
from . import return_types, storage
from .autocast import listed
from .dims import wrap_dim
from .dtypes import differentiable, is_floating
from .errors import OpError
from .op import OPS
from .outs import takes_out
from .public import FUNCTIONS
from .tensor import Tensor, wrap
from .typed import TypedStorage, UntypedStorage

__all__ = [
    "angle",
    "as_strided_scatter",
    "complex",
    "conj",
    "conj_physical",
    "frexp",
    "gradient",
    "histogram",
    "imag",
    "index_reduce",
    "is_storage",
    "isreal",
    "narrow_copy",
    "nonzero_static",
    "pca_lowrank",
    "polar",
    "range",
    "real",
    "renorm",
    "resolve_conj",
    "resolve_neg",
    "split_with_sizes",
    "svd_lowrank",
    "unsafe_chunk",
    "unsafe_split",
    "unsafe_split_with_sizes",
    "view_as_complex",
    "view_as_real",
]

_range = range

# -- complex numbers --------------------------------------------------------------------------------------------------


def _has_parts(input: Tensor) -> bool:
    return input.array.dtype.kind == "c"


def complex(real: Tensor, imag: Tensor, *, out: Tensor | None = None) -> Tensor:
    """real + i·imag, elementwise, of two real tensors, float32 or float64: complex64 or complex128.

    The two broadcast. RuntimeError for complex tensors and for those of 16 bits.
    """
    found = OPS["complex"](real, imag)
    return found if out is None else storage.deliver(found, out, "complex")


def polar(abs: Tensor, angle: Tensor, *, out: Tensor | None = None) -> Tensor:
    """abs·cos(angle) + i·abs·sin(angle), elementwise, of two real tensors: angle in radians; see `complex`."""
    return complex(abs * angle.cos(), abs * angle.sin(), out=out)


def view_as_real(input: Tensor) -> Tensor:
    """A complex tensor with a last dimension of two, for the real and the imaginary parts: (*) → (*, 2), a view."""
    return OPS["view_as_real"](input)


def view_as_complex(input: Tensor) -> Tensor:
    """x[..., 0] + i·x[..., 1] of a real tensor: (*, 2) → (*), float32 as complex64, float64 as complex128, a view."""
    return OPS["view_as_complex"](input)


def real(input: Tensor) -> Tensor:
    """x of x + iy, elementwise, as a view; a real tensor itself."""
    return OPS["real_part"](input) if _has_parts(input) else input


def imag(input: Tensor) -> Tensor:
    """y of x + iy, elementwise, as a view. RuntimeError for real tensors."""
    if not _has_parts(input):
        raise OpError("imag is not implemented for tensors with non-complex dtypes.")
    return OPS["imaginary_part"](input)


def conj(input: Tensor) -> Tensor:
    """x - iy of x + iy, elementwise; a real tensor itself."""
    return OPS["conj"](input) if _has_parts(input) else input


conj_physical = conj


def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself, of any shape: conjugates and signs are computed at once."""
    return input


resolve_neg = resolve_conj


def isreal(input: Tensor) -> Tensor:
    """Whether y = 0 in x + iy, elementwise: bools; True for real numbers."""
    return imag(input) == 0 if _has_parts(input) else FUNCTIONS["ones_like"](input, dtype="bool")


@takes_out
def angle(input: Tensor) -> Tensor:
    """atan2(y, x) of x + iy, elementwise; of real numbers π below 0, NaN of NaN, 0 of others, without a gradient."""
    import math

    if _has_parts(input):
        return OPS["complex_angle"](input)
    x = input.detach() if is_floating(input.array.dtype) else input.float()
    found = OPS["where"](x < 0, math.pi, x * 0)
    return OPS["where"](x.isnan(), math.nan, OPS["where"](x.isinf() & (x > 0), 0.0, found)).to(x.dtype)


# -- numbers ----------------------------------------------------------------------------------------------------------


@takes_out
def frexp(input: Tensor) -> Any:
    """(mantissa, exponent) with input = mantissa · 2^exponent and 1/2 <= |mantissa| < 1."""
    if not is_floating(input.array.dtype):
        raise OpError(f"torch.frexp() only supports floating-point dtypes, got {input.dtype}")
    exponent = backends.of(input.array).xp.frexp(input.array)[1]
    half = exponent // 2  # in two steps: 2^-exponent alone may overflow
    mantissa = OPS["ldexp"](OPS["ldexp"](input, wrap(-half, None)), wrap(half - exponent, None))
    return return_types.frexp((mantissa, wrap(exponent.astype("int32"), None)))


def gradient(input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> list[Tensor]:
    """Differences of second order at the inner points, one-sided of `edge_order` at the ends: one tensor for each dim.

    spacing: the distance of neighbours (a number, or one for each dim), or their coordinates (a tensor for each dim).
    """
    rank = len(input.shape)
    dims = list(_range(rank)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    steps = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(dims)
    if len(steps) != len(dims):
        raise OpError(f"gradient(): expected spacing for {len(dims)} dimensions, got {len(steps)}")
    if edge_order not in (1, 2):
        raise OpError("gradient(): only edge_order=1 and edge_order=2 are supported")
    return [_slope(input, wrap_dim(d, rank), h, edge_order) for d, h in zip(dims, steps, strict=True)]


def _slope(x: Tensor, d: int, h: Any, edge_order: int) -> Tensor:
    n = x.shape[d]
    if n <= edge_order:
        raise OpError(f"gradient(): expected each dimension size to be at least {edge_order + 1}, got {n}")
    x = x if differentiable(x.array.dtype) else x.float()
    even = not (isinstance(h, Tensor) and h.shape)
    gaps = x.new_ones((n - 1,)) * h if even else (h[1:] - h[:-1]).to(x.dtype)  # the distances of neighbours
    rises = x.narrow(d, 1, n - 1) - x.narrow(d, 0, n - 1)
    slopes = rises / gaps.reshape([-1 if i == d else 1 for i in _range(len(x.shape))])
    if n == 2:
        return OPS["concat"](slopes, slopes, dim=d)
    shape = [-1 if i == d else 1 for i in _range(len(x.shape))]
    left, right = gaps[:-1].reshape(shape), gaps[1:].reshape(shape)
    before, after = slopes.narrow(d, 0, n - 2), slopes.narrow(d, 1, n - 2)
    inner = (before * right + after * left) / (left + right)
    first, last = slopes.narrow(d, 0, 1), slopes.narrow(d, n - 2, 1)
    if edge_order == 2:
        a, b = gaps[0], gaps[1]
        first = first + (first - after.narrow(d, 0, 1)) * (a / (a + b))
        a, b = gaps[-1], gaps[-2]
        last = last + (last - before.narrow(d, n - 3, 1)) * (a / (a + b))
    return OPS["concat"](first, inner, last, dim=d)


@takes_out
def histogram(
    input: Tensor, bins: Any = 100, *, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> Any:
    """(hist, bin_edges): how many values (or what weight) fall into each interval; the last one includes its end.

    bins: how many equal intervals of `range` (default: that of the data), or their edges. density: divided by the
    total and the widths.
    """
    x = input.array.reshape(-1)
    xp = backends.of(x).xp
    if not is_floating(x.dtype):
        raise OpError(f"histogram(): input tensor and hist tensor should be floating, got {input.dtype}")
    edges = bins.array if isinstance(bins, Tensor) else bins
    if range is None and not isinstance(bins, Tensor):
        low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
        range = (low, high) if low < high else (low - 0.5, high + 0.5)
    given = None if weight is None else weight.array.reshape(-1)
    found, at = xp.histogram(x, edges, range=None if isinstance(bins, Tensor) else tuple(range), weights=given)
    found, at = found.astype(x.dtype), at.astype(x.dtype)
    if density:
        found = found / (found.sum() * xp.diff(at))
    return return_types.histogram((wrap(found.astype(x.dtype), None), wrap(at, None)))


def range(start: float = 0, end: float | None = None, step: float = 1, **options: Any) -> Tensor:
    """start, start + step, ... up to `end`, which is included: PyTorch's old form of `arange`."""
    from .dtypes import default_dtype
    from .errors import warn

    warn(
        "range is deprecated and will be removed in a future release because its behavior is inconsistent with "
        "Python's range builtin. Instead, use arange, which produces values in [start, end)."
    )
    if end is None:
        start, end = 0, start
    count = int((end - start) / step + 1)
    out = options.pop("out", None)
    options.setdefault("dtype", default_dtype() if out is None else out.dtype)
    made = FUNCTIONS["arange"](count, dtype="float64").mul(step).add(start).to(**options)
    return made if out is None else storage.into(out, made)


@takes_out
@listed
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """The slices along `dim` scaled down to a p-norm of `maxnorm` where theirs is larger."""
    if len(input.shape) < 2:
        raise OpError(f"renorm(): input needs at least 2 dimensions, got {len(input.shape)} dimensions")
    others = tuple([d for d in _range(len(input.shape)) if d != wrap_dim(dim, len(input.shape))])
    norms = OPS["vector_norm"](input, ord=float(p), dim=others, keepdim=True)
    return input * OPS["where"](norms > maxnorm, maxnorm / (norms + 1e-7), 1.0)


# -- parts ------------------------------------------------------------------------------------------------------------


def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> Any:
    """Parts of the given sizes along `dim`."""
    return FUNCTIONS["split"](input, list(split_sizes), dim)


unsafe_split_with_sizes = split_with_sizes


def unsafe_split(tensor: Tensor, split_size: int, dim: int = 0) -> Any:
    """`split`; in PyTorch without a check of what is written into the parts, which is cheap here."""
    return FUNCTIONS["split"](tensor, split_size, dim)


def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    """`chunk`; in PyTorch without a check of what is written into the parts, which is cheap here."""
    return FUNCTIONS["chunk"](input, chunks, dim)


@takes_out
def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A copy of `narrow(dim, start, length)`."""
    return FUNCTIONS["narrow"](input, dim, start, length).clone()


def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The positions that are not zero, cut or filled up to `size` rows. fill_value: what fills up."""
    found = FUNCTIONS["nonzero"](input)[:size]
    rest = found.new_full((size - found.shape[0], found.shape[1]), fill_value)
    return OPS["concat"](found, rest, dim=0)


def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """`input` with the slices of `source` combined at the positions `index` along `dim`: prod, mean, amax or amin.

    include_self: the values of `input` take part.
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise OpError(f"reduce argument must be either prod, mean, amax or amin, got {reduce}.")
    d = wrap_dim(dim, len(source.shape))
    places = index.reshape([-1 if i == d else 1 for i in _range(len(source.shape))]).expand(source.shape)
    return FUNCTIONS["scatter_reduce"](input, d, places, source, reduce, include_self=include_self)


def is_storage(obj: Any) -> bool:
    """True for the memory of a tensor, `untyped_storage()` or `storage()`."""
    return isinstance(obj, (TypedStorage, UntypedStorage))


# -- few singular values ----------------------------------------------------------------------------------------------


def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> tuple[Any, Any, Any]:
    """(U, S, V) of the q largest singular values of A (less M): from the full decomposition, so exact.

    niter: PyTorch's, without effect.
    """
    u, s, v = FUNCTIONS["svd"](A if M is None else A - M)
    k = min(q or 6, s.shape[-1])
    return u[..., :k], s[..., :k], v[..., :k]


def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Any, Any, Any]:
    """(U, S, V) of the q (default min(6, m, n)) main components of the rows of A, its columns centred before.

    center=False: they are not. niter: PyTorch's, without effect.
    """
    q = min(6, *A.shape[-2:]) if q is None else q
    return svd_lowrank(A - A.mean(dim=-2, keepdim=True) if center else A, q)


def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A copy of `input` with `src` at the elements of the view `input.as_strided(size, stride, storage_offset)`."""
    found: Tensor = input.contiguous().clone()
    found.as_strided(size, stride, storage_offset).copy_(src)
    return found
