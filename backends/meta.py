"""The meta backend: arrays that have a shape and a dtype, and no elements. `chainrule.device("meta")`.

What an op would give is found by the op's own generic forward. Elementwise functions and products of matrices are
worked out from the shapes; every other function of NumPy runs on arrays whose elements all are one zero in memory. So
a model takes no memory, and an op at most that of its result, for as long as it runs. What depends on elements (the
number of those that are not zero, a Python number) raises NotImplementedError. Turned down: shapes of each op by hand,
four hundred rules that nobody would keep true.

All arrays are contiguous, those of views among them, and share memory with none.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .base import Backend, NoElements
from .numpy.random import HostGenerator

__all__ = ["BACKEND", "MetaArray", "MetaBackend"]

#: functions whose results have as many elements as the values tell
_BY_VALUES = frozenset("nonzero flatnonzero argwhere unique extract compress bincount trim_zeros".split())  # noqa: SIM905
#: functions that only make an array, and those that make one in the likeness of another
_MAKERS = frozenset({"empty", "zeros", "ones"})
_COPIES = frozenset("array asarray ascontiguousarray copy empty_like zeros_like ones_like full_like".split())  # noqa: SIM905
#: functions of matrices that refuse singular ones, as zeros are
_REGULAR = frozenset({"cholesky", "inv", "solve"})
#: functions of each element that NumPy has not as such
_ELEMENTWISE = frozenset({"where", "clip"})


def _refused(what: str) -> NoElements:
    return NoElements(f"Cannot copy out of meta tensor; no data! {what}")


class MetaArray:
    """The shape and the dtype of an array."""

    __slots__ = ("__weakref__", "_a")
    __array_ufunc__ = None  # NumPy's arrays and scalars leave operators to ours, which refuse them
    __hash__ = None  # type: ignore[assignment]
    base = None

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self._a = np.broadcast_to(np.zeros((), dtype), shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the dimensions."""
        return self._a.shape

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next, of an array that fills its memory."""
        found, step = [], self._a.itemsize
        for n in reversed(self._a.shape):
            found.append(step)
            step *= max(n, 1)
        return tuple(reversed(found))

    @property
    def flags(self) -> Any:
        """Those of an array that fills its memory."""
        return SimpleNamespace(c_contiguous=True, f_contiguous=self._a.ndim < 2, writeable=True, owndata=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"meta arrays have no {name}")
        if name in ("item", "tolist", "tobytes"):
            raise _refused(f"{name}() asks for it")
        found = getattr(self._a, name)
        if not callable(found):
            return _wrap(found)
        if name in _BY_VALUES:
            return getattr(BACKEND.xp, name)

        def method(*args: Any, **kwargs: Any) -> Any:
            kwargs = {k: _unwrap(v) for k, v in kwargs.items() if k != "out"}
            return _wrap(found(*_unwrap(args), **kwargs))

        return method

    def astype(self, dtype: Any, **options: Any) -> MetaArray:
        """The shape with another dtype."""
        return MetaArray(self.shape, dtype)

    def copy(self, *args: Any) -> MetaArray:
        """The same shape and dtype."""
        return MetaArray(self.shape, self._a.dtype)

    __copy__ = copy
    __deepcopy__ = copy

    def __getitem__(self, index: Any) -> Any:
        for i in index if isinstance(index, tuple) else (index,):
            if type(i) is MetaArray and i.dtype == bool:
                raise _refused("A mask chooses by its values")
        return _wrap(self._a[_unwrap(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        where, shape = self._a[_unwrap(index)].shape, np.shape(_unwrap(value))
        if np.broadcast_shapes(where, shape) != where and len(shape) <= len(where):
            raise ValueError(f"could not broadcast input array from shape {shape} into shape {where}")

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Any:
        return map(_wrap, self._a)

    def __repr__(self) -> str:
        return f"meta {self._a.dtype}{list(self.shape)}"

    def __reduce__(self) -> Any:
        return MetaArray, (self.shape, self._a.dtype)

    def _value(self, *args: Any, **kwargs: Any) -> Any:
        raise _refused("Its elements were asked for")

    __array__ = __array_function__ = __bool__ = __int__ = __float__ = __index__ = __complex__ = __contains__ = _value


def _wrap(x: Any) -> Any:
    if isinstance(x, (np.ndarray, np.generic)):
        return MetaArray(x.shape, x.dtype)
    if type(x) in (tuple, list):
        return type(x)(map(_wrap, x))
    return tuple(map(_wrap, x)) if isinstance(x, tuple) else x  # the results of linalg have names


def _unwrap(x: Any) -> Any:
    if type(x) is MetaArray:
        return x._a
    if isinstance(x, np.ndarray):
        raise NoElements("arrays of the host and of the meta device are mixed here, which is not implemented")
    return type(x)([_unwrap(v) for v in x]) if type(x) in (tuple, list) else x


def _regular(x: Any) -> Any:
    """Identities in the place of square matrices."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        return x
    return np.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), x.shape)


def _one(x: Any) -> Any:
    """One element of the dtype of an operand; a Python number as it is."""
    return np.ones((), x.dtype) if hasattr(x, "dtype") else x


def _each(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What a function of each element gives: the dtype by one element, the shape by broadcasting."""
    given, named = _unwrap(args), {k: _unwrap(v) for k, v in kwargs.items()}
    made = function(*map(_one, given), **{k: _one(v) if k != "dtype" else v for k, v in named.items()})
    shape = np.broadcast_shapes(*[np.shape(x) for x in given])
    if isinstance(made, tuple):
        return tuple([MetaArray(shape, m.dtype) for m in made])
    return MetaArray(shape, np.asarray(made).dtype)


class _Ufunc:
    """An elementwise function: dtypes by one element, shapes by broadcasting."""

    def __init__(self, function: np.ufunc) -> None:
        self.function, self.__name__ = function, function.__name__

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        given = _unwrap(args)
        if self.function.signature is not None:  # matmul and kin
            a, b = (np.broadcast_to(_one(x), (*x.shape[:-2], *x.shape[-2:])) for x in given)
            return _product(a, b)
        made = _each(self.function, args, kwargs)
        return made if out is None else out

    def at(self, a: Any, indices: Any, *values: Any) -> None:
        """Nothing: there are no elements to change."""
        a[indices]

    def __getattr__(self, name: str) -> Any:
        return _function(getattr(self.function, name), name)


def _product(a: Any, b: Any) -> Any:
    """The matrix product by its shapes."""
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        return _wrap(np.matmul(a, b))  # which says what is wrong
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.ndim > 1 else ()
    return MetaArray((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *rows, *columns), np.result_type(a, b))


def _function(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if name in _BY_VALUES or (name == "where" and len(args) == 1):
            raise _refused(f"The size of what {name}() gives depends on it")
        if name in _MAKERS:
            made = _shape_of(*args, **kwargs)
        elif name == "full":
            made = _shape_of(args[0], kwargs.get("dtype", args[2] if len(args) > 2 else np.asarray(args[1]).dtype))
        elif name in _COPIES and hasattr(args[0], "dtype"):
            dtype = kwargs.get("dtype") or (args[1] if name != "full_like" and len(args) > 1 else None)
            made = MetaArray(kwargs.get("shape") or args[0].shape, dtype or args[0].dtype)
        elif name in _ELEMENTWISE:
            made = _each(function, args, kwargs)
        else:
            target = kwargs.pop("out", None)
            given = [_regular(x) for x in _unwrap(args)] if name in _REGULAR else _unwrap(args)
            made = _wrap(function(*given, **{k: _unwrap(v) for k, v in kwargs.items()}))
            made = made if target is None else target
        return made

    call.__name__ = name
    return call


def _shape_of(shape: Any, dtype: Any = float, **options: Any) -> MetaArray:
    return MetaArray(shape, dtype)


class _Namespace:
    """NumPy's namespace on meta arrays."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        thing = getattr(self._module, name)
        if name in ("linalg", "fft", "lib", "stride_tricks"):
            found: Any = _Namespace(thing)
        elif isinstance(thing, np.ufunc):
            found = _Ufunc(thing)
        elif isinstance(thing, type) or not callable(thing):
            found = thing
        else:
            found = _function(thing, name)
        setattr(self, name, found)
        return found


def _operator(name: str, reflected: bool, inplace: bool) -> Callable[..., Any]:
    names = {"sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide"}
    names |= {"mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
    names |= {"lshift": "left_shift", "rshift": "right_shift", "eq": "equal", "ne": "not_equal", "lt": "less"}
    names |= {"le": "less_equal", "gt": "greater", "ge": "greater_equal", "neg": "negative", "pos": "positive"}
    function = names.get(name, {"abs": "absolute"}.get(name, name))

    def operate(self: MetaArray, *others: Any) -> Any:
        out = getattr(BACKEND.xp, function)(*((*others, self) if reflected else (self, *others)))
        return self if inplace else out

    return operate


for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod".split():  # noqa: SIM905
    for _form in ("", "r", "i"):
        setattr(MetaArray, f"__{_form}{_name}__", _operator(_name, _form == "r", _form == "i"))
for _name in ["eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "abs", "invert"]:
    setattr(MetaArray, f"__{_name}__", _operator(_name, False, False))


class MetaGenerator(HostGenerator):
    """A generator that draws nothing."""

    def random(self, size: Any = None, dtype: Any = float) -> Any:  # type: ignore[override]
        """The shape of uniform numbers."""
        return MetaArray(() if size is None else size, dtype)

    standard_normal = random  # type: ignore[assignment]

    def integers(self, low: Any, high: Any = None, size: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """The shape of integers."""
        return MetaArray(() if size is None else size, np.int64)

    def permutation(self, n: Any) -> Any:  # type: ignore[override]
        """The shape of an order of n things."""
        return MetaArray((n,), np.int64)

    def poisson(self, lam: Any) -> Any:  # type: ignore[override]
        """The shape of counts."""
        return MetaArray(np.shape(_unwrap(lam)), np.int64)


class MetaBackend(Backend):
    """Arrays without elements."""

    name = "meta"
    xp = _Namespace(np)
    array_types = (MetaArray,)
    kernels: dict[str, Callable[..., Any]] = {}
    device_type = "meta"
    taken_by_numpy = False

    def device_of(self, array: Any) -> tuple[str, int | None]:
        return "meta", None

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Any:
        if not hasattr(data, "dtype"):
            data = np.asarray(data)
        return MetaArray(data.shape, dtype or data.dtype)

    def to_host(self, array: Any) -> Any:
        raise _refused(
            "Please use Module.to_empty() instead of Module.to() for memory that is not initialised, "
            "or load_state_dict(assign=True)"
        )

    def owner(self, array: Any) -> Any:
        return array

    def pointer(self, array: Any) -> int:
        return 0

    def writable(self, array: Any) -> bool:
        return True

    def generator(self, seed: int | None) -> MetaGenerator:
        return MetaGenerator(seed)


BACKEND = MetaBackend()
