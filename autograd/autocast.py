"""Autocast: matrix products and convolutions in a narrow dtype, what needs the range in float32.

Which op belongs where is a table by device (autocast_lists.py). A tensor in float64 is left alone, as is an op that is
not listed, a call with an explicit `dtype=`, an in-place one and one with `out=`. A composite that is not listed
computes in the dtypes that it gets: what it is made of is not cast one by one. A function that stands before several
ops, but is one op to PyTorch's lists, says so (`listed`).

The cache, as PyTorch's: within the outermost autocast a parameter is narrowed once, however often it is used
(`cache_enabled`). Here it holds the array alone: each use has its own node in the graph, so its gradients are summed in
float32, and a change of the parameter in place, or a use under no_grad before, does no harm.

The state is one slot of the modes: off, an op asks nothing for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar, Token
from operator import is_
from typing import Any

from .. import backends
from ..backends.recorder import Recorded, recording
from .autocast_lists import ALONE, FIRST, LISTS, NARROW, REFUSED, WIDE, WIDEST
from .dtypes import BFLOAT16, bfloat16, dtype, float16, float32
from .errors import OpError, warn
from .modes import MODES, _ModeGuard, uncast, with_modes
from .namespaces import OPS
from .tensor import Tensor, wrap

__all__ = [
    "autocast",
    "clear_autocast_cache",
    "get_autocast_cpu_dtype",
    "get_autocast_dtype",
    "get_autocast_gpu_dtype",
    "is_autocast_available",
    "is_autocast_cache_enabled",
    "is_autocast_cpu_enabled",
    "is_autocast_enabled",
    "listed",
    "set_autocast_cache_enabled",
    "set_autocast_cpu_dtype",
    "set_autocast_cpu_enabled",
    "set_autocast_dtype",
    "set_autocast_enabled",
    "set_autocast_gpu_dtype",
]

#: what autocast narrows to where it is not told
_TARGETS: dict[str, dtype] = {"cpu": bfloat16, "cuda": float16}
_DEVICES = ("cpu", "cuda", "mps", "xpu")
_HALVES = (float16, bfloat16)
_HALF, _SINGLE = float16.dtype, float32.dtype

#: id of a narrowed parameter -> (the parameter, its array, the recorder that was at work, the parameter's version, what
#: it became); None outside of autocast
_CACHE: ContextVar[dict[tuple[int, Any], tuple[Any, ...]] | None] = ContextVar("chainrule_autocast_cache", default=None)
_caches: ContextVar[bool] = ContextVar("chainrule_autocast_caches", default=True)


def _pad_name(arrays: list[Any], params: dict[str, Any]) -> str:
    kind = {"reflect": "reflection", "replicate": "replication"}.get(params.get("mode", "constant"), "constant")
    return f"{kind}_pad{len(params['pad']) // 2}d"


def _div_name(arrays: list[Any], params: dict[str, Any]) -> str:
    return "div" if hasattr(arrays[0], "dtype") else "reciprocal"  # a number over a tensor


#: ops whose name in the lists depends on how they are called
_NAMES: dict[str, Callable[[list[Any], dict[str, Any]], str]] = {"div": _div_name, "pad": _pad_name}


class _State:
    """The devices on which autocast holds, and the dtypes that it narrows to there; one object for equal ones."""

    known: dict[frozenset[tuple[str, dtype]], _State] = {}

    def __init__(self, targets: dict[str, dtype]) -> None:
        self.targets = targets
        self.arrays = {place: kind.dtype for place, kind in targets.items()}

    def changed(self, place: str, target: dtype | None) -> _State | None:
        """This state with another dtype (None: off) for a device; None for a state that is off everywhere."""
        targets = {**self.targets, place: target}
        return _state({p: kind for p, kind in targets.items() if kind is not None})

    def without(self) -> _State | None:
        """This state with nothing cast."""
        return None

    def _wanted(self, name: str, arrays: list[Any], params: dict[str, Any]) -> tuple[Any, set[Any]] | None:
        """(the dtype for the inputs of this op, the dtypes to cast to it), or None: they stay as they are."""
        place = _place(arrays)
        if place not in self.arrays or params.get("dtype") is not None:
            return None
        policy = LISTS[place].get(_NAMES[name](arrays, params) if name in _NAMES else name)
        if policy is None or policy is ALONE:
            return None
        halves = {_HALF, *BFLOAT16}
        if policy is NARROW:
            target = self.arrays[place]
            return target, {*halves, _SINGLE} - {target}
        if policy is WIDE:
            return _SINGLE, halves
        if policy is WIDEST:
            mixed = any(hasattr(a, "dtype") and a.dtype == _SINGLE for a in arrays)
            return (_SINGLE, halves) if mixed else None
        if policy is REFUSED:
            raise OpError(
                f"{name}: unsafe in autocast for {place}, as its gradients may not fit {self.targets[place]}. Take "
                f"{name}_with_logits instead, of the values before the sigmoid, or compute it with autocast off"
            )
        assert policy is FIRST
        first, known = next(a.dtype for a in arrays if hasattr(a, "dtype")), {*halves, _SINGLE}
        return (first, known - {first}) if first in known else None

    def widens(self, op: Any, arrays: list[Any], params: dict[str, Any]) -> bool:
        """Whether the first input of this op has 16 bits and is to be float32."""
        wanted = self._wanted(op.name, arrays, params)
        return wanted is not None and wanted[0] == _SINGLE and getattr(arrays[0], "dtype", None) in wanted[1]

    def cast(
        self, op: Any, inputs: list[Any], arrays: list[Any], params: dict[str, Any]
    ) -> tuple[list[Any], list[Any]]:
        """The inputs of a call in the dtype that the lists want."""
        wanted = self._wanted(op.name, arrays, params)
        if wanted is None:
            return inputs, arrays
        target, from_ = wanted
        inputs, arrays = list(inputs), list(arrays)
        for i, array in enumerate(arrays):
            if hasattr(array, "dtype") and array.dtype in from_:
                if isinstance(inputs[i], Tensor):
                    inputs[i] = _cast(inputs[i], target)
                    arrays[i] = inputs[i].array
                else:
                    inputs[i] = arrays[i] = array.astype(target)
        return inputs, arrays

    def call(self, name: str, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """`function(...)` as one op of this name: its tensors are cast, and nothing within. Not listed: as it is."""
        given = [*args, *kwargs.values()]
        flat = [x for a in given for x in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(x, Tensor)]
        arrays = [t.array for t in flat]
        if name not in LISTS[_place(arrays)]:
            return function(*args, **kwargs)
        wanted = self._wanted(name, arrays, kwargs)
        if wanted is not None:
            target, from_ = wanted

            def fit(x: Any) -> Any:
                if isinstance(x, Tensor):
                    return _cast(x, target) if x.array.dtype in from_ else x
                return type(x)([fit(y) for y in x]) if type(x) in (list, tuple) else x

            args, kwargs = [fit(a) for a in args], {k: fit(a) for k, a in kwargs.items()}
        return uncast(function, *args, **kwargs)


def _place(arrays: list[Any]) -> str:
    first = next((a for a in arrays if hasattr(a, "dtype")), None)
    return "cpu" if first is None else backends.of(first).device_type


def _cast(t: Tensor, target: Any) -> Tensor:
    """`t` in another dtype; of a parameter that is narrowed, the array of the last time, where it is the same still."""
    cache, modes, array = _CACHE.get(), MODES.get(), t.array
    special = modes.anomaly or modes.packing or isinstance(array, Recorded)
    if cache is None or special or not t.leaf or not t.requires_grad or array.dtype != _SINGLE:
        return OPS["cast"](t, dtype=target)
    key, now = (id(t), target), (t, array, recording())  # what a captured step narrows is not there outside of it
    found = cache.get(key)
    if found is not None and all(map(is_, found[:3], now)) and found[3] == t._version:
        return OPS["cast"].record(found[4], [array], [t], {"dtype": target}) if modes.grad else wrap(found[4], None)
    narrow = OPS["cast"](t, dtype=target)
    cache[key] = (*now, t._version, narrow.array)
    return narrow


def listed(function: Any = None, *, name: str | None = None) -> Any:
    """Decorator: a function that is made of several ops, and one op to autocast's lists."""
    if function is None:
        return lambda f: listed(f, name=name)
    key = name or function.__name__

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        state = MODES.get().autocast
        return function(*args, **kwargs) if state is None else state.call(key, function, args, kwargs)

    return call


_OFF = _State({})


def _state(targets: dict[str, dtype]) -> _State | None:
    key = frozenset(targets.items())
    if key and key not in _State.known:
        _State.known[key] = _State(targets)
    return _State.known[key] if key else None


def _now() -> _State:
    return MODES.get().autocast or _OFF


def _device_type(kind: Any) -> str:
    if not isinstance(kind, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(kind)}`")
    if kind not in _DEVICES:
        raise RuntimeError(f"User specified an unsupported autocast device_type '{kind}'; there are cpu and cuda")
    return kind


class autocast(_ModeGuard):
    """`autocast(device_type, dtype=None, enabled=True)`: matmul, linear, convolution, attention in a narrow dtype.

    dtype is bfloat16 (the extra package ml_dtypes) or float16; None: bfloat16 on the CPU, float16 on a GPU. Losses,
    prod and inverses compute in float32; all else in what it is given. Only tensors on a device of `device_type` are
    concerned. With enabled=False inside another one, nothing is cast. A context manager and a decorator; gradients have
    their parameters' dtypes. cache_enabled: a parameter that is used several times is narrowed once; None: as
    `is_autocast_cache_enabled()` says. Warns and stays off where the device cannot be had or does not know the dtype.
    """

    def __init__(
        self, device_type: str, dtype: dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        super().__init__()
        self.device = self.device_type = _device_type(device_type)
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = is_autocast_cache_enabled() if cache_enabled is None else bool(cache_enabled)
        self._caching: list[tuple[Token[Any], Token[Any]]] = []
        if enabled and not is_autocast_available(device_type):
            warn(f"User provided device_type of '{device_type}', but {device_type.upper()} is not available. Disabling")
            enabled = False
        if enabled and self.fast_dtype not in _HALVES:
            warn(
                f"In {device_type.upper()} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{device_type.upper()} Autocast only supports dtype of bfloat16, float16 currently."
            )
            enabled = False
        self._enabled = bool(enabled)
        if enabled:
            self.fast_dtype.dtype  # noqa: B018  bfloat16 without its package: the error is here

    @property
    def _changes(self) -> dict[str, Any]:  # type: ignore[override]
        return {"autocast": _now().changed(self.device, self.fast_dtype if self._enabled else None)}

    def _fresh(self) -> autocast:
        return autocast(self.device, self.fast_dtype, self._enabled, self._cache_enabled)

    def __enter__(self) -> autocast:  # type: ignore[override]
        super().__enter__()
        cache = _CACHE.get()
        cache = ({} if cache is None else cache) if self._cache_enabled else None
        self._caching.append((_CACHE.set(cache), _caches.set(self._cache_enabled)))
        return self

    def __exit__(self, *exc: Any) -> None:
        held, caches = self._caching.pop()
        _caches.reset(caches)
        _CACHE.reset(held)
        super().__exit__(*exc)


def is_autocast_available(device_type: str) -> bool:
    """True where autocast of this device type does something: the device can be had."""
    try:
        backends.by_device(_device_type(device_type))
    except (RuntimeError, ImportError):
        return device_type == "cpu"
    return True


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """True inside `autocast(device_type)`; of the GPU where no device type is given."""
    return _device_type(device_type or "cuda") in _now().targets


def is_autocast_cpu_enabled() -> bool:
    """True inside `autocast("cpu")`."""
    return is_autocast_enabled("cpu")


def get_autocast_dtype(device_type: str) -> dtype:
    """The dtype that autocast narrows to on this device, in the autocast that holds or by default."""
    kind = _device_type(device_type)
    return _now().targets.get(kind, _TARGETS.get(kind, float16))


def get_autocast_cpu_dtype() -> dtype:
    """The dtype that autocast narrows to on the CPU."""
    return get_autocast_dtype("cpu")


def get_autocast_gpu_dtype() -> dtype:
    """The dtype that autocast narrows to on a GPU."""
    return get_autocast_dtype("cuda")


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """`set_autocast_enabled(device_type, enabled)` without a context; with one argument, of the GPU."""
    kind, on = ("cuda", device_type) if enabled is None else (_device_type(device_type), enabled)
    target = get_autocast_dtype(kind)
    if on:
        target.dtype  # noqa: B018  bfloat16 without its package: the error is here
    with_modes(autocast=_now().changed(kind, target if on else None))


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """The former name of `set_autocast_enabled("cpu", enabled)`."""
    set_autocast_enabled("cpu", enabled)


def set_autocast_dtype(device_type: str, dtype: dtype) -> None:
    """Set the dtype that autocast narrows to on this device where it is not told: float16 or bfloat16."""
    kind = _device_type(device_type)
    if dtype not in _HALVES:
        raise OpError(f"autocast narrows to float16 or bfloat16, not {dtype}")
    _TARGETS[kind] = dtype
    if kind in _now().targets:
        with_modes(autocast=_now().changed(kind, dtype))


def set_autocast_cpu_dtype(dtype: dtype) -> None:
    """The former name of `set_autocast_dtype("cpu", dtype)`."""
    set_autocast_dtype("cpu", dtype)


def set_autocast_gpu_dtype(dtype: dtype) -> None:
    """The former name of `set_autocast_dtype("cuda", dtype)`."""
    set_autocast_dtype("cuda", dtype)


def is_autocast_cache_enabled() -> bool:
    """Whether autocast narrows a parameter once, however often it is used."""
    return _caches.get()


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Set whether autocast keeps narrowed parameters until its outermost context ends."""
    _caches.set(bool(enabled))
    if not enabled:
        _CACHE.set(None)


def clear_autocast_cache() -> None:
    """Forget the narrowed parameters."""
    cache = _CACHE.get()
    if cache is not None:
        cache.clear()
