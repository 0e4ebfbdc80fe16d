"""NumPy's functions on Tensors: `np.sin(t)`, `np.sum(t, axis=0)`, `array * t` are recorded; and DLPack.

A NumPy function that has a counterpart here is that counterpart: its result is a Tensor, with its gradient. One that
has none runs on the data and gives what NumPy gives, as it would for a PyTorch tensor, but only where no gradient can
be lost: for a tensor that requires grad it is a TypeError. `out=`, `where=` and `initial=` are refused: there is no
gradient through memory that NumPy owns.

What gathers results (`np.concatenate(batches)`, `np.stack`, `np.copy`, `np.where(mask)`) gives arrays, too, where no
tensor wants a gradient: programs written for PyTorch go on with `.astype`, `.size` and the mean of comparisons.

Turned down: Tensors for those results, too (a caller of `np.percentile` expects NumPy's types), and no fallback at all
(then `np.save`, plotting and printing would need `.numpy()` everywhere).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import backends
from ..backends import np
from . import storage
from .modes import is_grad_enabled
from .namespaces import OPS
from .public import FUNCTIONS
from .tensor import Tensor, method

__all__ = ["NUMPY_FUNCTIONS", "NUMPY_UFUNCS"]


class _Functions:
    """The package's functions, by attribute."""

    def __getattr__(self, name: str) -> Any:
        return FUNCTIONS[name]


F: Any = _Functions()

#: NumPy's ufuncs, and the functions of ours that they are
NUMPY_UFUNCS = {
    **{
        name: name
        for name in (
            *("add", "floor_divide", "remainder", "fmod", "float_power", "positive", "sign", "exp", "exp2", "expm1"),
            *(
                "log",
                "log2",
                "log10",
                "log1p",
                "sqrt",
                "square",
                "reciprocal",
                "sin",
                "cos",
                "tan",
                "sinh",
                "cosh",
                "tanh",
            ),
            *("hypot", "maximum", "minimum", "fmax", "fmin", "logaddexp", "logaddexp2", "heaviside", "copysign"),
            *("floor", "ceil", "trunc", "isnan", "isinf", "isfinite", "signbit", "less", "less_equal", "greater"),
            *("greater_equal", "not_equal", "logical_and", "logical_or", "logical_xor", "logical_not"),
            *("bitwise_and", "bitwise_or", "bitwise_xor", "matmul", "deg2rad", "rad2deg"),
        )
    },
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "power": "pow",
    "negative": "neg",
    "equal": "eq",
    "absolute": "abs",
    "fabs": "abs",
    "rint": "round",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "degrees": "rad2deg",
    "radians": "deg2rad",
    "invert": "bitwise_not",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
}
_REDUCED = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "amax",
    "minimum": "amin",
    "logical_and": "all",
    "logical_or": "any",
}
_ACCUMULATED = {"add": "cumsum", "multiply": "cumprod"}


def _tensors(x: Any) -> list[Tensor]:
    """The Tensors in a call's arguments."""
    if isinstance(x, Tensor):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [t for y in x for t in _tensors(y)] if isinstance(x, (list, tuple)) else []


def _data(x: Any) -> Any:
    """Arguments with the data of the Tensors in them."""
    if isinstance(x, Tensor):
        return x.numpy()
    if isinstance(x, dict):
        return {k: _data(v) for k, v in x.items()}
    return type(x)([_data(v) for v in x]) if type(x) in (list, tuple) else x


#: their results are positions and counts, which have no gradient
_INTEGERS = frozenset({"argpartition", "argwhere", "count_nonzero", "digitize", "flatnonzero", "searchsorted"})


def _without_gradient(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """A function that has no counterpart here, on the data alone; one of the rarer ones where a gradient is wanted."""
    if name not in _INTEGERS and any(t.requires_grad for t in _tensors((args, kwargs))):
        from .interop_seldom import WITH_GRADIENT

        if name in WITH_GRADIENT:
            kwargs = dict(kwargs)
            _check_options(name, kwargs)
            return WITH_GRADIENT[name](*_as_tensors(args), **_as_tensors(kwargs))
        raise TypeError(
            f"np.{name} has no gradient here: call it on t.detach(), or use chainrule's functions for a gradient"
        )
    if name in _INTEGERS:
        args, kwargs = _detached(args), _detached(kwargs)
    return function(*_data(args), **_data(kwargs))


def _detached(x: Any) -> Any:
    """Arguments with their tensors outside the graph."""
    if isinstance(x, Tensor):
        return x.detach()
    if isinstance(x, dict):
        return {k: _detached(v) for k, v in x.items()}
    return type(x)([_detached(v) for v in x]) if type(x) in (list, tuple) else x


def _check_options(name: str, kwargs: dict[str, Any]) -> None:
    """Drop options that say nothing, refuse those that have no gradient."""
    for key in ("out", "where", "initial"):
        value = kwargs.pop(key, None)
        if value is not None and value is not np._NoValue and not (key == "where" and value is True):
            raise TypeError(
                f"np.{name}(..., {key}=) is not for Tensors: NumPy's memory has no gradient; assign the result instead"
            )


@method
def __array_ufunc__(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    name = ufunc.__name__
    if any(isinstance(x, Tensor) for x in kwargs.get("out") or ()):
        raise TypeError(
            f"np.{name}(..., out=) cannot write into a Tensor; assign the result, or use an in-place method"
        )
    _check_options(name, kwargs)
    dtype = kwargs.pop("dtype", None)
    for key, value in (("casting", "same_kind"), ("order", "K"), ("subok", True)):
        if kwargs.get(key) == value:
            del kwargs[key]
    target = _ufunc_method(name, method, kwargs)
    if target is None or kwargs:
        options = {**kwargs, **({} if dtype is None else {"dtype": dtype})}
        full_name = name if method == "__call__" else f"{name}.{method}"
        return _without_gradient(full_name, getattr(ufunc, method), inputs, options)
    result = target(*map(_operand, inputs))
    return result if dtype is None else result.to(np.dtype(dtype))


def _operand(x: Any) -> Any:
    """An operand of NumPy's as a Tensor of the CPU; Python's numbers stay what they are."""
    if isinstance(x, (Tensor, bool, int, float)):
        return x
    if isinstance(x, np.generic):
        return x.item()
    return FUNCTIONS["as_tensor"](x)


def _ufunc_method(name: str, how: str, kwargs: dict[str, Any]) -> Callable[..., Any] | None:
    """The function of ours that a ufunc's call, reduce, accumulate or outer is."""
    if how == "__call__":
        if name == "conjugate":
            from .seldom import conj

            return conj
        return FUNCTIONS.get(NUMPY_UFUNCS.get(name, ""))
    if how == "reduce" and name in _REDUCED:
        axis, keepdims = kwargs.pop("axis", 0), kwargs.pop("keepdims", False)
        return lambda t: _reduced(_REDUCED[name], t, axis, keepdims)
    if how == "accumulate" and name in _ACCUMULATED:
        axis = kwargs.pop("axis", 0)
        return lambda t: FUNCTIONS[_ACCUMULATED[name]](t, dim=axis)
    if how == "outer" and name in NUMPY_UFUNCS:
        return lambda a, b: FUNCTIONS[NUMPY_UFUNCS[name]](a.reshape((*a.shape, *(1,) * b.ndim)), b)
    return None


# -- __array_function__ -----------------------------------------------------------------------------------------------

#: NumPy's functions with a counterpart here, by name ("linalg.inv" for a submodule's); each takes NumPy's arguments
NUMPY_FUNCTIONS: dict[str, Callable[..., Any]] = {}


def _implements(*names: str) -> Callable[..., Any]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            NUMPY_FUNCTIONS[name] = function
        return function

    return register


@method
def __array_function__(self: Tensor, func: Any, types: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    module = func.__module__ or ""
    name = func.__name__ if module in ("numpy", "") else f"{module.removeprefix('numpy.')}.{func.__name__}"
    target = NUMPY_FUNCTIONS.get(name)
    if target is None or _gathers(name, args, kwargs):
        return _without_gradient(name, func, args, kwargs)
    kwargs = dict(kwargs)
    _check_options(name, kwargs)
    try:
        return target(*_as_tensors(args), **_as_tensors(kwargs))
    except TypeError as error:
        error.add_note(f"in np.{name} on Tensors")
        raise


_GATHERING = {"append", "column_stack", "concatenate", "copy", "dstack", "hstack", "stack", "vstack"}


def _gathers(name: str, args: Any, kwargs: Any) -> bool:
    """True where results are gathered on the host, and nothing is to be recorded."""
    if name not in _GATHERING and not (name == "where" and len(args) == 1):
        return False
    return not any(
        t.requires_grad or not isinstance(t.array, (np.ndarray, np.generic)) for t in _tensors((args, kwargs))
    )


def _as_tensors(x: Any) -> Any:
    """Arguments with Tensors in the place of NumPy's arrays."""
    if isinstance(x, np.ndarray):
        return FUNCTIONS["as_tensor"](x)
    if isinstance(x, dict):
        return {k: _as_tensors(v) for k, v in x.items()}
    return type(x)([_as_tensors(v) for v in x]) if type(x) in (list, tuple) else x


def _reduced(name: str, a: Tensor, axis: Any, keepdims: Any, **options: Any) -> Tensor:
    """A reduction over one axis, several (one after another where ours takes one alone), or all."""
    keepdims = bool(keepdims) and keepdims is not np._NoValue
    function = FUNCTIONS[name]
    if name in ("sum", "mean", "amax", "amin", "var", "std", "nansum", "nanmean"):
        axis = tuple(range(a.ndim)) if axis is None else axis
        return function(a, dim=axis, keepdim=keepdims, **options)
    if axis is None:
        flat = function(a.reshape(-1), dim=0, **options)
        return flat.reshape((1,) * a.ndim) if keepdims else flat
    axes = sorted({d % a.ndim for d in (axis if isinstance(axis, tuple) else (axis,))}, reverse=True)
    for d in axes:
        a = function(a, dim=d, keepdim=keepdims, **options)
    return a


def _register_reductions() -> None:
    def make(ours: str) -> Callable[..., Any]:
        def reduce(a: Tensor, axis: Any = None, dtype: Any = None, *, keepdims: Any = False) -> Tensor:
            return _reduced(ours, a if dtype is None else a.to(np.dtype(dtype)), axis, keepdims)

        return reduce

    for name, ours in {"sum": "sum", "prod": "prod", "mean": "mean", "nansum": "nansum", "nanmean": "nanmean"}.items():
        NUMPY_FUNCTIONS[name] = make(ours)

    def bare(ours: str) -> Callable[..., Any]:
        return lambda a, axis=None, *, keepdims=False: _reduced(ours, a, axis, keepdims)

    for name, ours in {
        "max": "amax",
        "amax": "amax",
        "min": "amin",
        "amin": "amin",
        "all": "all",
        "any": "any",
    }.items():
        NUMPY_FUNCTIONS[name] = bare(ours)

    def spread(ours: str) -> Callable[..., Any]:
        def reduce(
            a: Tensor,
            axis: Any = None,
            dtype: Any = None,
            *,
            ddof: float = 0,
            keepdims: Any = False,
            correction: Any = None,
        ) -> Tensor:
            correction = ddof if correction is None or correction is np._NoValue else correction
            return _reduced(ours, a if dtype is None else a.to(np.dtype(dtype)), axis, keepdims, correction=correction)

        return reduce

    NUMPY_FUNCTIONS["var"], NUMPY_FUNCTIONS["std"] = spread("var"), spread("std")

    def position(ours: str) -> Callable[..., Any]:
        def find(a: Tensor, axis: Any = None, *, keepdims: Any = False) -> Tensor:
            return FUNCTIONS[ours](a, dim=axis, keepdim=bool(keepdims) and keepdims is not np._NoValue)

        return find

    NUMPY_FUNCTIONS["argmax"], NUMPY_FUNCTIONS["argmin"] = position("argmax"), position("argmin")

    def scan(ours: str) -> Callable[..., Any]:
        def run(a: Tensor, axis: Any = None, dtype: Any = None) -> Tensor:
            a = a if dtype is None else a.to(np.dtype(dtype))
            return FUNCTIONS[ours](a.reshape(-1) if axis is None else a, dim=0 if axis is None else axis)

        return run

    NUMPY_FUNCTIONS["cumsum"], NUMPY_FUNCTIONS["cumprod"] = scan("cumsum"), scan("cumprod")


_register_reductions()


@_implements("concatenate")
def _concatenate(arrays: Any, axis: Any = 0, *, dtype: Any = None, casting: str = "same_kind") -> Tensor:
    parts = _sequence(arrays)
    joined = F.cat([p.reshape(-1) for p in parts], dim=0) if axis is None else F.cat(parts, dim=axis)
    return joined if dtype is None else joined.to(np.dtype(dtype))


def _sequence(arrays: Any) -> list[Tensor]:
    return [F.as_tensor(a) for a in arrays]


@_implements("stack")
def _stack(arrays: Any, axis: int = 0, *, dtype: Any = None, casting: str = "same_kind") -> Tensor:
    joined = F.stack(_sequence(arrays), dim=axis)
    return joined if dtype is None else joined.to(np.dtype(dtype))


for _name in ("vstack", "hstack", "dstack", "column_stack"):
    NUMPY_FUNCTIONS[_name] = lambda tup, *, _ours=_name: FUNCTIONS[_ours](_sequence(tup))


@_implements("split", "array_split")
def _split(ary: Tensor, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    return list(F.tensor_split(ary, indices_or_sections, dim=axis))


@_implements("where")
def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return tuple(F.nonzero(condition, as_tuple=True))
    return F.where(F.as_tensor(condition).bool(), x, y)


@_implements("clip")
def _clip(a: Tensor, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    low, high = (
        None if v is np._NoValue else v for v in (a_min if min is None else min, a_max if max is None else max)
    )
    return F.clamp(a, low, high)


@_implements("dot")
def _dot(a: Any, b: Any) -> Tensor:
    a, b = F.as_tensor(a), F.as_tensor(b)
    if not a.ndim or not b.ndim:
        return a * b
    return F.matmul(a, b) if b.ndim <= 2 else F.tensordot(a, b, dims=([a.ndim - 1], [b.ndim - 2]))


@_implements("inner")
def _inner(a: Any, b: Any) -> Tensor:
    a, b = F.as_tensor(a), F.as_tensor(b)
    return F.tensordot(a, b, dims=([a.ndim - 1], [b.ndim - 1])) if a.ndim and b.ndim else a * b


@_implements("outer")
def _outer(a: Any, b: Any) -> Tensor:
    return F.as_tensor(a).reshape(-1, 1) * F.as_tensor(b).reshape(1, -1)


@_implements("tensordot")
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    if not isinstance(axes, int):
        axes = tuple([list(x) if isinstance(x, (list, tuple)) else [x] for x in axes])
    return F.tensordot(F.as_tensor(a), F.as_tensor(b), dims=axes)


@_implements("einsum")
def _einsum(subscripts: str, *operands: Any, optimize: Any = False) -> Tensor:
    return F.einsum(subscripts, *_sequence(operands))


@_implements("transpose", "permute_dims")
def _transpose(a: Tensor, axes: Any = None) -> Tensor:
    return a.permute(tuple(range(a.ndim))[::-1] if axes is None else tuple(axes))


@_implements("reshape")
def _reshape(a: Tensor, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: Any = None) -> Tensor:
    if order != "C":
        raise TypeError("np.reshape of a Tensor knows order='C' alone; permute() the dimensions first")
    return a.reshape(shape if newshape is None else newshape)


@_implements("squeeze")
def _squeeze(a: Tensor, axis: Any = None) -> Tensor:
    return a.squeeze() if axis is None else a.squeeze(axis)


@_implements("expand_dims")
def _expand_dims(a: Tensor, axis: Any) -> Tensor:
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    n = a.ndim + len(axes)
    for d in sorted(d % n for d in axes):
        a = a.unsqueeze(d)
    return a


@_implements("repeat")
def _repeat(a: Tensor, repeats: Any, axis: Any = None) -> Tensor:
    return F.repeat_interleave(a.reshape(-1) if axis is None else a, repeats, dim=0 if axis is None else axis)


@_implements("tile")
def _tile(A: Tensor, reps: Any) -> Tensor:
    return F.tile(A, (reps,) if isinstance(reps, int) else tuple(reps))


@_implements("roll")
def _roll(a: Tensor, shift: Any, axis: Any = None) -> Tensor:
    return F.roll(a, shift) if axis is None else F.roll(a, shift, axis)


@_implements("flip")
def _flip(m: Tensor, axis: Any = None) -> Tensor:
    return m.flip(tuple(range(m.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,))


@_implements("sort")
def _sort(a: Tensor, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Tensor:
    return OPS["ordered"](a.reshape(-1) if axis is None else a, dim=-1 if axis is None else axis)


@_implements("argsort")
def _argsort(a: Tensor, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Tensor:
    return F.argsort(a.reshape(-1) if axis is None else a, dim=-1 if axis is None else axis)


@_implements("take")
def _take(a: Any, indices: Any, axis: Any = None) -> Tensor:
    index: Any = F.as_tensor(indices)
    return a.reshape(-1)[index] if axis is None else a[(slice(None),) * (axis % a.ndim) + (index,)]


@_implements("take_along_axis")
def _take_along_axis(arr: Tensor, indices: Any, axis: Any = -1) -> Tensor:
    return F.gather(arr.reshape(-1), 0, indices) if axis is None else F.gather(arr, axis, indices)


@_implements("copy")
def _copy(a: Tensor, order: str = "K", subok: bool = False) -> Tensor:
    return a.clone()


@_implements("round", "around")
def _round(a: Tensor, decimals: int = 0) -> Tensor:
    return F.round(a, decimals=decimals) if decimals else F.round(a)


@_implements("broadcast_to")
def _broadcast_to(array: Tensor, shape: Any, subok: bool = False) -> Tensor:
    return array.expand(tuple(shape) if isinstance(shape, (tuple, list)) else (shape,))


@_implements("shape")
def _shape_of(a: Tensor) -> Any:
    return tuple(a.shape)


@_implements("ndim")
def _ndim_of(a: Tensor) -> int:
    return a.ndim


@_implements("size")
def _size_of(a: Tensor, axis: Any = None) -> int:
    return a.numel() if axis is None else a.shape[axis]


for _name, _make in {"zeros_like": "zeros_like", "ones_like": "ones_like", "empty_like": "empty_like"}.items():
    NUMPY_FUNCTIONS[_name] = lambda a, dtype=None, order="K", subok=True, shape=None, *, device=None, _ours=_make: (
        FUNCTIONS[_ours](a, dtype=dtype)
        if shape is None
        else FUNCTIONS[_ours.removesuffix("_like")](shape, dtype=dtype or a.dtype)
    )


@_implements("full_like")
def _full_like(a: Tensor, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True) -> Tensor:
    return F.full_like(a, fill_value, dtype=dtype)


def _renamed(ours: str, names: dict[str, str]) -> Callable[..., Any]:
    """A function of ours under NumPy's names of its arguments, which stand in the same order."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return FUNCTIONS[ours](*args, **{names.get(k, k): v for k, v in kwargs.items()})

    return call


for _theirs, _ours, _names in (
    ("swapaxes", "transpose", {"a": "input", "axis1": "dim0", "axis2": "dim1"}),
    ("moveaxis", "movedim", {"a": "input"}),
    ("ravel", "flatten", {"a": "input"}),
    ("tril", "tril", {"m": "input", "k": "diagonal"}),
    ("triu", "triu", {"m": "input", "k": "diagonal"}),
    ("diag", "diag", {"v": "input", "k": "diagonal"}),
    ("trace", "trace", {"a": "input"}),
    ("kron", "kron", {"a": "input", "b": "other"}),
    ("fliplr", "fliplr", {"m": "input"}),
    ("flipud", "flipud", {"m": "input"}),
    ("diff", "diff", {"a": "input", "axis": "dim"}),
    ("sinc", "sinc", {"x": "input"}),
    ("nan_to_num", "nan_to_num", {"x": "input"}),
    ("atleast_1d", "atleast_1d", {}),
    ("atleast_2d", "atleast_2d", {}),
    ("atleast_3d", "atleast_3d", {}),
):
    NUMPY_FUNCTIONS[_theirs] = _renamed(_ours, _names)


# -- arrays -----------------------------------------------------------------------------------------------------------


@method
def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    """The data for `np.asarray(t)`, on the same memory where it can be; the errors are those of `Tensor.numpy`."""
    if copy:
        if self.requires_grad and is_grad_enabled():
            return self.numpy()  # the error
        return np.array(backends.of(self.array).to_host(self.array), dtype)
    array = self.numpy()
    if dtype is None or array.dtype == dtype:
        return array
    if copy is False:
        raise ValueError(f"a Tensor of {array.dtype} cannot be an array of {np.dtype(dtype)} without a copy")
    return array.astype(dtype)


@method
def __dlpack__(self: Tensor, **options: Any) -> Any:
    """A DLPack capsule of this tensor's memory, for `from_dlpack` of other libraries."""
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    storage.as_memory(self)
    storage.share(self.array, kept=True)
    return self.array.__dlpack__(**options)


@method
def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    """DLPack's (type, index) of the device."""
    storage.as_memory(self)
    return self.array.__dlpack_device__()
