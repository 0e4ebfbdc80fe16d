"""NumPy's rarer functions on Tensors that want a gradient: statistics, interpolation, convolution, edited arrays.

Each is composed of our functions. On other tensors NumPy's own function runs on the data and gives what NumPy gives, as
a PyTorch tensor would get it; see interop.py. Imported when the first is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backends import np
from . import linalg, seldom
from .dtypes import from_numpy_dtype
from .interop import F, _reduced
from .tensor import Tensor

__all__ = ["WITH_GRADIENT"]

#: NumPy's name -> ours on Tensors
WITH_GRADIENT: dict[str, Callable[..., Any]] = {}


def _implements(*names: str) -> Callable[..., Any]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            WITH_GRADIENT[name] = function
        return function

    return register


def _tensor(x: Any) -> Tensor:
    """An argument as a tensor; Python's floats in double precision, as NumPy takes them."""
    return x if isinstance(x, Tensor) else F.as_tensor(np.asarray(x))


def _keeps(keepdims: Any) -> bool:
    return bool(keepdims) and keepdims is not np._NoValue


def _given(x: Any, default: Any = None) -> Any:
    return default if x is np._NoValue or x is None else x


# -- statistics -------------------------------------------------------------------------------------------------------


@_implements("cov")
def _cov(
    m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None, fweights: Any = None,
    aweights: Any = None, *, dtype: Any = None,
) -> Tensor:  # fmt: skip
    correction = int(not bias) if ddof is None else ddof
    weights = {k: None if w is None else _tensor(w) for k, w in (("fweights", fweights), ("aweights", aweights))}
    return _typed(F.cov(_variables(m, y, rowvar), correction=correction, **weights), dtype)


@_implements("corrcoef")
def _corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Tensor:
    return _typed(F.corrcoef(_variables(x, y, rowvar)), dtype)


def _typed(t: Tensor, dtype: Any) -> Tensor:
    return t if dtype is None else t.to(from_numpy_dtype(np.dtype(dtype)))


def _variables(m: Any, y: Any, rowvar: bool) -> Tensor:
    parts = []
    for part in (m, y):
        if part is not None:
            t = _tensor(part)
            parts.append(t if t.ndim < 2 or rowvar else t.T)
    return parts[0] if len(parts) == 1 else F.cat([p.reshape(1, -1) if p.ndim < 2 else p for p in parts], dim=0)


def _quantile(ours: str, scale: float) -> Callable[..., Any]:
    def find(
        a: Tensor, q: Any, axis: Any = None, *, method: str = "linear", keepdims: Any = False, **options: Any
    ) -> Tensor:
        if any(v is not None and v is not False and v is not np._NoValue for v in options.values()):
            raise TypeError(f"np.{ours} of a Tensor that wants a gradient takes no {', '.join(options)}")
        t = _tensor(a)
        at = _tensor(q).to(t.dtype) * scale
        if isinstance(axis, tuple):
            rest = [d for d in range(t.ndim) if d not in {x % t.ndim for x in axis}]
            kept = [t.shape[d] if d in rest else 1 for d in range(t.ndim)]
            t = t.movedim(rest, list(range(len(rest)))).reshape(*[t.shape[d] for d in rest], -1)
            found = getattr(F, ours)(t, at, dim=-1, interpolation=method)
            return found.reshape(*at.shape, *kept) if _keeps(keepdims) else found
        return getattr(F, ours)(t, at, dim=axis, keepdim=_keeps(keepdims), interpolation=method)

    return find


for _nan in ("", "nan"):
    WITH_GRADIENT[f"{_nan}quantile"] = _quantile(f"{_nan}quantile", 1.0)
    WITH_GRADIENT[f"{_nan}percentile"] = _quantile(f"{_nan}quantile", 0.01)


@_implements("median")
def _median(a: Tensor, axis: Any = None, *, keepdims: Any = False, **options: Any) -> Tensor:
    return WITH_GRADIENT["quantile"](a, 0.5, axis, keepdims=keepdims)


@_implements("nanmedian")
def _nanmedian(a: Tensor, axis: Any = None, *, keepdims: Any = False, **options: Any) -> Tensor:
    return WITH_GRADIENT["nanquantile"](a, 0.5, axis, keepdims=keepdims)


@_implements("ptp")
def _ptp(a: Tensor, axis: Any = None, *, keepdims: Any = False) -> Tensor:
    return _reduced("amax", a, axis, keepdims) - _reduced("amin", a, axis, keepdims)


@_implements("average")
def _average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Any:
    a = _tensor(a)
    if weights is None:
        w = F.ones_like(a)
    else:
        w = _tensor(weights).to(a.dtype)
        if w.ndim == 1 and a.ndim > 1 and isinstance(axis, int):
            w = w.reshape([-1 if d == axis % a.ndim else 1 for d in range(a.ndim)])
        w = w.expand(a.shape)
    total = _reduced("sum", w, axis, keepdims)
    found = _reduced("sum", a * w, axis, keepdims) / total
    return (found, total) if returned else found


def _without_nan(ours: str, stand_in: float) -> Callable[..., Any]:
    def reduce(a: Tensor, axis: Any = None, *, keepdims: Any = False) -> Tensor:
        found = _reduced(ours, F.where(a.isnan(), stand_in, a), axis, keepdims)
        if np.isfinite(stand_in):
            return found
        return F.where(_reduced("all", a.isnan(), axis, keepdims), np.nan, found)  # nothing else is there

    return reduce


WITH_GRADIENT["nanmax"] = _without_nan("amax", -np.inf)
WITH_GRADIENT["nanmin"] = _without_nan("amin", np.inf)
WITH_GRADIENT["nanprod"] = _without_nan("prod", 1.0)


@_implements("nancumsum")
def _nancumsum(a: Tensor, axis: Any = None) -> Tensor:
    a = F.where(a.isnan(), 0.0, a)
    return F.cumsum(a.reshape(-1) if axis is None else a, dim=0 if axis is None else axis)


def _spread(root: bool) -> Callable[..., Any]:
    def find(a: Tensor, axis: Any = None, *, ddof: Any = 0, keepdims: Any = False, correction: Any = None) -> Tensor:
        there = (~a.isnan()).to(a.dtype)
        n = _reduced("sum", there, axis, True)
        off = F.where(a.isnan(), 0.0, a - _reduced("nansum", a, axis, True) / n)
        found = _reduced("sum", off * off, axis, keepdims)
        found = found / (n.reshape(found.shape) - _given(correction, ddof))
        return found.sqrt() if root else found

    return find


WITH_GRADIENT["nanvar"], WITH_GRADIENT["nanstd"] = _spread(False), _spread(True)


# -- curves -----------------------------------------------------------------------------------------------------------


@_implements("interp")
def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Tensor:
    if period is not None:
        raise TypeError("np.interp of Tensors that want a gradient takes no period")
    x, places, values = (_tensor(t) for t in (x, xp, fp))
    kind = next(t.dtype for t in (x, values, places) if t.requires_grad)
    x, places, values = (t.to(kind) for t in (x, places, values))
    at = F.searchsorted(places.detach(), x.detach().contiguous(), right=True).clamp(1, max(len(places) - 1, 1))
    if len(places) == 1:
        found = values[0].expand(x.shape)
    else:
        x0, x1, f0, f1 = places[at - 1], places[at], values[at - 1], values[at]
        found = f0 + (f1 - f0) * (x - x0) / (x1 - x0)
    found = F.where(x < places[0], values[0] if left is None else left, found)
    beyond = F.where(x > places[-1], values[-1] if right is None else right, values[-1])
    return F.where(x >= places[-1], beyond, found)


@_implements("gradient")
def _gradient(f: Tensor, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    axes = tuple(range(f.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    spacing = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    found = []
    for d, step in zip(axes, spacing, strict=True):
        step = _tensor(step)
        spaces = [step.to(f.dtype)] if step.ndim else float(step)
        (slope,) = seldom.gradient(f, spacing=spaces, dim=d, edge_order=edge_order)
        found.append(slope)
    return found[0] if len(found) == 1 else tuple(found)


@_implements("trapezoid", "trapz")
def _trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    y = _tensor(y)
    return F.trapezoid(y, dx=dx, dim=axis) if x is None else F.trapezoid(y, _tensor(x), dim=axis)


@_implements("convolve")
def _convolve(a: Any, v: Any, mode: str = "full") -> Tensor:
    a, v = _tensor(a).reshape(-1), _tensor(v).reshape(-1)
    a, v = (v, a) if len(v) > len(a) else (a, v)
    kind = a.dtype if a.is_floating_point() or not v.is_floating_point() else v.dtype
    rows = _full(a.to(kind), v.to(kind))
    least, most = len(v), len(a)
    if mode == "full":
        return rows
    if mode == "same":
        return rows[(least - 1) // 2 : (least - 1) // 2 + most]
    if mode != "valid":
        raise ValueError(f"np.convolve knows the modes full, same and valid, not {mode!r}")
    return rows[least - 1 : most]


def _full(a: Tensor, v: Tensor) -> Tensor:
    """Σ_k v[k] a[n - k] for all n where a factor is there."""
    return F.conv1d(a.reshape(1, 1, -1), v.flip(0).reshape(1, 1, -1), padding=len(v) - 1).reshape(-1)


@_implements("correlate")
def _correlate(a: Any, v: Any, mode: str = "valid") -> Tensor:
    a, v = _tensor(a), _tensor(v)
    if len(v) > len(a):
        return _convolve(v, a.flip(0), mode).flip(0)
    return _convolve(a, v.flip(0), mode)


@_implements("polyval")
def _polyval(p: Any, x: Any) -> Tensor:
    p, x = _tensor(p), _tensor(x)
    found = F.zeros_like(x) * p[0]
    for c in p:
        found = found * x + c
    return found


@_implements("fix")
def _fix(x: Tensor) -> Tensor:
    return F.trunc(x)


@_implements("i0")
def _i0(x: Tensor) -> Tensor:
    from .special import i0

    return i0(x)


@_implements("vander")
def _vander(x: Tensor, N: Any = None, increasing: bool = False) -> Tensor:
    return F.vander(x, N, increasing)


@_implements("ediff1d")
def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Tensor:
    ary = _tensor(ary).reshape(-1)
    parts = [to_begin, F.diff(ary), to_end]
    return F.cat([_tensor(p).to(ary.dtype).reshape(-1) for p in parts if p is not None], dim=0)


# -- products and forms -----------------------------------------------------------------------------------------------


@_implements("cross")
def _cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None) -> Tensor:
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    a, b = _tensor(a).movedim(axisa, -1), _tensor(b).movedim(axisb, -1)
    return linalg.cross(*F.broadcast_tensors(a, b), dim=-1).movedim(-1, axisc)


@_implements("vdot")
def _vdot(a: Any, b: Any) -> Tensor:
    return F.vdot(_tensor(a).reshape(-1), _tensor(b).reshape(-1))


@_implements("diagonal", "linalg.diagonal")
def _diagonal(a: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    return F.diagonal(a, offset, axis1, axis2)


@_implements("rot90")
def _rot90(m: Tensor, k: int = 1, axes: Any = (0, 1)) -> Tensor:
    return F.rot90(m, k, tuple(axes))


@_implements("append")
def _append(arr: Any, values: Any, axis: Any = None) -> Tensor:
    parts = [_tensor(x) for x in (arr, values)]
    kind = next(p.dtype for p in parts if p.requires_grad)
    parts = [p.to(kind) for p in parts]
    return F.cat([p.reshape(-1) for p in parts], dim=0) if axis is None else F.cat(parts, dim=axis)


@_implements("delete")
def _delete(arr: Tensor, obj: Any, axis: Any = None) -> Tensor:
    arr, axis = (arr.reshape(-1), 0) if axis is None else (arr, axis)
    return F.index_select(arr, axis, _tensor(np.delete(np.arange(arr.shape[axis]), obj)))


@_implements("compress")
def _compress(condition: Any, a: Tensor, axis: Any = None) -> Tensor:
    a, axis = (a.reshape(-1), 0) if axis is None else (a, axis)
    return F.index_select(a, axis, _tensor(np.flatnonzero(np.asarray(condition))))


@_implements("extract")
def _extract(condition: Any, arr: Tensor) -> Tensor:
    return arr.reshape(-1)[_tensor(condition).bool().reshape(-1)]


@_implements("select")
def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Tensor:
    found: Any = default
    for condition, choice in zip(reversed(list(condlist)), reversed(list(choicelist)), strict=True):
        found = F.where(_tensor(condition).bool(), choice, found)
    return found


@_implements("block")
def _block(arrays: Any) -> Tensor:
    depth, inner = 0, arrays
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0]

    def join(x: Any, axis: int) -> Tensor:
        if not isinstance(x, list):
            t = _tensor(x)
            return t.reshape((1,) * max(depth - t.ndim, 0) + tuple(t.shape))
        return F.cat([join(v, axis + 1) for v in x], dim=axis)

    return join(arrays, -depth) if depth else _tensor(arrays)


def _splits(axis: int) -> Callable[..., Any]:
    return lambda ary, indices_or_sections: list(
        F.tensor_split(ary, indices_or_sections, dim=0 if ary.ndim == 1 else axis)
    )


WITH_GRADIENT["hsplit"], WITH_GRADIENT["vsplit"], WITH_GRADIENT["dsplit"] = _splits(1), _splits(0), _splits(2)


@_implements("partition")
def _partition(a: Tensor, kth: Any, axis: Any = -1, **options: Any) -> Tensor:
    a, axis = (a.reshape(-1), 0) if axis is None else (a, axis)
    return F.sort(a, dim=axis)[0]
