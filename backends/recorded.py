"""Arrays that are being recorded: NumPy's arrays in wrappers, whose every operation goes through the recorder.

They are a backend of their own, so that the engine, its rules and whatever else computes with arrays run on them
unchanged (as they do on the strict backend's): an operator, a function of the namespace `xp` and a kernel each become
entries of the recorder's list. What would read a number on the host is refused: it would be the number of this call.

An op's forward without a kernel is one entry, whatever it does inside; rules are taken apart into their operators.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Backend
from .numpy import BACKEND as NUMPY
from .recorder import Recorded, recording, refused

__all__ = ["BACKEND", "RecordedArray", "RecordedBackend", "complex_scalars"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: functions that say something of shapes and dtypes, and read no element
_METADATA = _names(
    "shape ndim size result_type can_cast iscomplexobj isrealobj broadcast_shapes may_share_memory shares_memory"
)
#: functions whose result has a shape that depends on the elements
_DATA_SHAPED = _names(
    "nonzero flatnonzero argwhere unique unique_all unique_counts unique_inverse unique_values extract compress "
    "bincount trim_zeros union1d intersect1d setdiff1d setxor1d delete array_equal array_equiv allclose"
)
_OPS_DATA_SHAPED = _names("nonzero bincount bag_members")
#: functions that write into their first argument
_WRITES_FIRST = _names("copyto put put_along_axis place putmask fill_diagonal")
_METHODS_THAT_WRITE = _names("fill put sort partition")
_HOST_READS = _names("item tolist tobytes tofile dump dumps")
_LAYOUT = _names("shape dtype ndim size nbytes itemsize strides flags")


def _real(x: Any) -> Any:
    """Arguments outside of a recording: the arrays that are held."""
    if isinstance(x, Recorded):
        return x.held[()] if x.scalar else x.held
    return type(x)(map(_real, x)) if type(x) in (tuple, list) else x


class RecordedArray(Recorded):
    """A NumPy array within a recorded step. `scalar`: outside, NumPy has a scalar here."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        if name in _LAYOUT:
            return getattr(self.held, name)
        if name in ("T", "mT", "real", "imag"):
            return _do(name, operator.attrgetter(name), self)
        if name in _HOST_READS:
            raise refused(f"{name}()")
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(name)
        return functools.partial(_method, name, self)

    @property
    def base(self) -> Any:
        """None where this array holds all of its memory alone."""
        recorder: Any = recording()
        return None if recorder is not None and recorder.sole(self) else self.held.base

    def __getitem__(self, index: Any) -> Any:
        if _is_mask(index):
            raise refused("a boolean index")
        return _do("[]", operator.getitem, self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        _do("[]=", operator.setitem, self, index, value, writes=(self,))

    def __len__(self) -> int:
        return len(self.held)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self.held)))

    def __repr__(self) -> str:
        return f"recorded {self.held.dtype}{list(self.held.shape)}"

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _function(func.__name__, func, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        if recording() is None:
            return np.asarray(self.held, *args)
        raise refused("numpy()")

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __reduce__(self) -> Any:
        raise refused("pickling a tensor")


def _read(what: str) -> Callable[..., Any]:
    def refuse(self: RecordedArray, *args: Any) -> Any:
        if recording() is None:
            return getattr(self.held, f"__{what}__")(*args)
        raise refused(f"{what}() of a tensor")

    return refuse


for _name in ("bool", "int", "float", "index", "complex", "contains", "format"):
    setattr(RecordedArray, f"__{_name}__", _read(_name))


def _is_mask(index: Any) -> bool:
    if isinstance(index, (tuple, list)):
        return any(map(_is_mask, index))
    return getattr(index, "dtype", None) == np.bool_ and index.ndim > 0


def _do(name: str, function: Callable[..., Any], *args: Any, writes: Any = (), **kwargs: Any) -> Any:
    """Carry out and note a call; outside of a recording, the plain call."""
    recorder: Any = recording()
    if recorder is None:
        return function(*map(_real, args), **{k: _real(v) for k, v in kwargs.items()})
    return recorder.call(name, function, args, kwargs, writes)


class _Method:
    """A method by its name, of arrays and of scalars."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, array: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(array, self.name)(*args, **kwargs)


def _method(name: str, array: RecordedArray, *args: Any, **kwargs: Any) -> Any:
    if name in ("nonzero", "compress"):
        raise refused(f"{name}()")
    out = kwargs.get("out")
    written = (array,) if name in _METHODS_THAT_WRITE else () if out is None else (out,)
    return _do(name, _Method(name), array, *args, writes=written, **kwargs)


def _ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    recorder: Any = recording()
    out = kwargs.pop("out", None)
    out = out[0] if isinstance(out, tuple) and len(out) == 1 else out
    if recorder is not None and method == "__call__" and not kwargs:
        return recorder.elementwise(ufunc, inputs, out)
    if out is not None:
        kwargs["out"] = out
    written = (inputs[0],) if method == "at" else () if out is None else out if isinstance(out, tuple) else (out,)
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    return _do(name, getattr(ufunc, method), *inputs, writes=written, **kwargs)


def _function(name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name in _METADATA or recording() is None:
        return function(*map(_real, args), **{k: _real(v) for k, v in kwargs.items()})
    if name in _DATA_SHAPED or (name == "where" and len(args) == 1):
        raise refused(f"{name}()")
    out = kwargs.get("out")
    written = args[:1] if name in _WRITES_FIRST else () if out is None else (out,)
    return _do(name, function, *args, writes=written, **kwargs)


def _operator(name: str, ufunc: np.ufunc | None) -> Callable[..., Any]:
    plain, reflected = name.removeprefix("r"), name.startswith("r") and name != "rshift"
    plainly = getattr(operator, f"__{plain}__", divmod)

    def operate(self: RecordedArray, *others: Any) -> Any:
        operands = (*others, self) if reflected else (self, *others)
        if any(x is None or isinstance(x, (str, bytes)) or not _operand(x) for x in others):
            return NotImplemented
        if ufunc is None or complex_scalars(operands):
            return _do(plain, plainly, *operands)
        return _ufunc(ufunc, "__call__", operands, {})

    operate.__name__ = f"__{name}__"
    return operate


def complex_scalars(operands: Any) -> bool:
    """Whether these are NumPy's scalars, complex ones: their operators * and abs round otherwise than ufuncs do."""
    scalar = all(x.scalar if isinstance(x, Recorded) else not isinstance(x, np.ndarray) for x in operands)
    return scalar and any(np.iscomplexobj(x.held if isinstance(x, Recorded) else x) for x in operands)


def _operand(x: Any) -> bool:
    return isinstance(x, (int, float, complex, Recorded, np.ndarray, np.generic)) or hasattr(x, "value")


def _inplace(name: str, ufunc: np.ufunc) -> Callable[..., Any]:
    another = _operator(name, ufunc)

    def operate(self: RecordedArray, other: Any) -> Any:
        if self.scalar:  # as NumPy's scalars: another one
            return another(self, other)
        _ufunc(ufunc, "__call__", (self, other), {"out": self})
        return self

    operate.__name__ = f"__i{name}__"
    return operate


# Powers stay operators: NumPy's ** takes other ways for some exponents than np.power does.
_BINARY: dict[str, np.ufunc | None] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": None,
    "divmod": None,
    "matmul": np.matmul,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}
for _name, _ufn in _BINARY.items():
    setattr(RecordedArray, f"__{_name}__", _operator(_name, _ufn))
    setattr(RecordedArray, f"__r{_name}__", _operator(f"r{_name}", _ufn))
    if _ufn is not None and _name != "matmul":
        setattr(RecordedArray, f"__i{_name}__", _inplace(_name, _ufn))
for _name, _ufn in {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "neg": np.negative,
    "pos": np.positive,
    "abs": np.absolute,
    "invert": np.invert,
}.items():
    setattr(RecordedArray, f"__{_name}__", _operator(_name, _ufn))


class _Ufunc:
    """An elementwise function of the namespace."""

    def __init__(self, function: np.ufunc) -> None:
        self.function, self.__name__ = function, function.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) > self.function.nin:
            kwargs["out"] = args[self.function.nin :]
        return _ufunc(self.function, "__call__", args[: self.function.nin], kwargs)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: _ufunc(self.function, name, args, kwargs)


class _Namespace:
    """NumPy's functions on recorded arrays."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        thing = getattr(self._module, name)
        found: Any = thing
        if name in ("linalg", "fft", "lib", "stride_tricks"):
            found = _Namespace(thing)
        elif isinstance(thing, np.ufunc):
            found = _Ufunc(thing)
        elif callable(thing) and not isinstance(thing, type):

            def found(*args: Any, **kwargs: Any) -> Any:
                return _function(name, thing, args, kwargs)

        setattr(self, name, found)
        return found


class _Kernels(dict[str, Any]):
    """The NumPy backend's kernels (or its optimizers' steps), each of whose calls is an entry."""

    def __init__(self, plain: dict[str, Callable[..., Any]], call: str) -> None:
        super().__init__()
        self.plain, self.how = plain, call

    def __missing__(self, name: str) -> Callable[..., Any]:
        kernel, how = self.plain[name], self.how

        def recorded(*args: Any, **params: Any) -> Any:
            recorder: Any = recording()
            if recorder is None:
                return kernel(*map(_real, args), **{k: _real(v) for k, v in params.items()})
            return getattr(recorder, how)(name, kernel, args, params)

        recorded.partial = getattr(kernel, "partial", False)  # type: ignore[attr-defined]
        self[name] = recorded
        return recorded

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self.plain else default


class RecordedBackend(Backend):
    """The NumPy backend, recorded."""

    name = "recorded"
    xp = _Namespace(np)
    array_types = (RecordedArray,)

    def __init__(self, plain: Backend) -> None:
        self.plain = plain
        self.kernels = _Kernels(plain.kernels, "kernel")

    def generic(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """An op's forward is one entry."""
        name, function = forward.__name__, functools.partial(forward, np)

        def recorded(*args: Any, **params: Any) -> Any:
            if name == "index" and any(map(_is_mask, (*args[1:], *params.values()))):
                raise refused("a boolean index")
            if name in _OPS_DATA_SHAPED or (name == "one_hot" and -1 in (*args[1:], params.get("num_classes"))):
                raise refused(f"{name}()")
            return _do(name, function, *args, **params)

        return recorded

    def device_of(self, array: Any) -> tuple[str, int | None]:
        return "cpu", None

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Any:
        return data if dtype is None and isinstance(data, Recorded) else self.xp.asarray(data, dtype)

    def to_host(self, array: Any) -> Any:
        return array

    def owner(self, array: Any) -> Any:
        return self.plain.owner(array.held)

    def sole(self, array: Any) -> bool:
        recorder: Any = recording()
        return recorder is not None and recorder.sole(array)

    def pointer(self, array: Any) -> int:
        return self.plain.pointer(array.held)

    def writable(self, array: Any) -> bool:
        return not array.scalar and self.plain.writable(array.held)

    def relu_into(self, array: Any) -> None:
        _do("relu_", self.plain.relu_into, array, writes=(array,))

    def add_into(self, array: Any, other: Any) -> None:
        _do("add_", self.plain.add_into, array, other, writes=(array,))

    def get_threads(self) -> int:
        return self.plain.get_threads()

    def generator(self, seed: int | None) -> Any:
        return self.plain.generator(seed)


BACKEND = RecordedBackend(NUMPY)
