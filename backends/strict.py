"""The strict backend, for tests: NumPy arrays that behave like CuPy's, on a machine without a GPU.

Its arrays wrap NumPy's and refuse to become NumPy arrays by themselves, to be mixed with them, and to be read by the
host without being asked (`item()` and `to_host` ask); reductions give 0-d arrays, never scalars. Its namespace knows
only the functions, methods and keywords that NumPy and CuPy both have. It has no kernels: each op runs in its generic
form.
So an op that passes its tests here calls nothing that NumPy alone has. What it cannot show: the order of atomic sums,
strides of results, and that CuPy does not check indices.

The lists of what CuPy lacks were made by comparing cupy 14.2.0 with numpy 2.4.6: `dir` of both, and `inspect.signature`
of each function that both have. Turned down: array-api-strict, whose arrays NumPy's functions take without a word and
which knows neither methods nor `einsum`, `add.at`, float16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Backend
from .numpy.random import HostGenerator

__all__ = ["BACKEND", "StrictArray", "StrictBackend"]

#: functions of numpy, numpy.linalg and numpy.fft that CuPy has not (random numbers come from generators alone)
LACKS = {
    "": """
        asmatrix block bmat busday_count busday_offset char core ctypeslib datetime64 datetime_as_string
        datetime_data dtypes einsum_path emath errstate flexible float128 frompyfunc fromregex geomspace
        get_include getbufsize geterr geterrcall histogram_bin_edges info insert is_busday isnat longdouble ma
        matrix matvec memmap nanpercentile nanquantile ndenumerate nditer nested_iters object_ polyder polydiv
        polyint rec recarray record setbufsize seterr seterrcall show_runtime spacing str_ strings test
        timedelta64 typecodes unstack vecdot vecmat void""",
    "linalg": "diagonal matrix_norm multi_dot outer svdvals tensordot test trace vecdot vector_norm",
    "fft": "test",
    "lib": """
        Arrayterator NumpyVersion add_docstring add_newdoc array_utils format introspect mixins npyio recfunctions
        scimath test tracemalloc_domain user_array""",
}

_REDUCTIONS = "all any max min amax amin sum prod mean nanmax nanmin nansum nanprod nanmean"

#: keywords that NumPy's functions have and CuPy's have not; methods of arrays of the same names included
LACKS_KEYWORDS = {
    "": "like device",  # of every function
    **dict.fromkeys(_REDUCTIONS.split(), "initial where"),
    **dict.fromkeys(["std", "var", "nanstd", "nanvar"], "correction mean where"),
    "argpartition": "kind order",
    "argsort": "order stable",
    "array": "ndmax",
    "broadcast_arrays": "subok",
    "broadcast_to": "subok",
    "clip": "min max",
    "copy": "subok",
    "count_nonzero": "keepdims",
    "delete": "obj",
    "flip": "m",
    "isin": "kind",
    "indices": "sparse",
    "lexsort": "axis",
    "partition": "kind order",
    "percentile": "weights",
    "quantile": "weights",
    "reshape": "shape",
    "rot90": "m",
    "sort": "order stable",
    "stack": "arrays",
    "concatenate": "arrays",
    "concat": "arrays",
    "take": "mode",
    "take_along_axis": "arr",
    "unique": "sorted",
    "unpackbits": "count",
    "unravel_index": "shape",
    "linalg.cholesky": "upper",
    "linalg.matmul": "x1 x2",
    "linalg.matrix_power": "a",
    "linalg.matrix_rank": "A hermitian rtol",
    "linalg.matrix_transpose": "x",
    "linalg.pinv": "hermitian rtol",
    "linalg.svd": "hermitian",
    **dict.fromkeys([f"fft.{i}{r}fft{n}" for i in ("", "i") for r in ("", "r") for n in ("", "2", "n")], "out"),
}

#: methods and attributes of arrays that CuPy has not
LACKS_METHODS = ["ctypes", "getfield", "resize", "setfield", "setflags", "to_device"]

#: keywords of CuPy's elementwise functions
UFUNC_KEYWORDS = {"out", "dtype", "casting"}

#: elementwise functions whose method `at` CuPy has (those with a `_scatter_op`)
HAVE_AT = {"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"}


def _wrap(x: Any) -> Any:
    if isinstance(x, (np.ndarray, np.generic)):
        return StrictArray(np.asarray(x))
    if isinstance(x, (tuple, list)):
        return type(x)(map(_wrap, x)) if type(x) in (tuple, list) else tuple(map(_wrap, x))
    return x


def _unwrap(x: Any, name: str) -> Any:
    if type(x) is StrictArray:
        return x._a
    if isinstance(x, (np.ndarray, np.generic)):
        raise TypeError(f"{name}: a NumPy {type(x).__name__} was mixed with arrays of a device; CuPy refuses that too")
    if isinstance(x, (tuple, list)):
        return type(x)([_unwrap(v, name) for v in x])
    if isinstance(x, slice):
        return slice(_plain(x.start), _plain(x.stop), _plain(x.step))
    return x


def _plain(x: Any) -> Any:
    if isinstance(x, StrictArray):
        raise TypeError("an array of a device as the bound of a slice would be read by the host")
    return x


def _check_keywords(name: str, keywords: Any) -> None:
    lacking = set(keywords) & set(f"{LACKS_KEYWORDS['']} {LACKS_KEYWORDS.get(name, '')}".split())
    if lacking:
        raise TypeError(f"{name}(): CuPy has no keyword {', '.join(sorted(lacking))}")


class _Ufunc:
    """An elementwise function with the keywords and the methods that CuPy's has."""

    def __init__(self, function: np.ufunc) -> None:
        self.function, self.__name__ = function, function.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if set(kwargs) - UFUNC_KEYWORDS:
            raise TypeError(f"{self.__name__}(): CuPy has no keyword {', '.join(set(kwargs) - UFUNC_KEYWORDS)}")
        args, kwargs = _unwrap(args, self.__name__), {k: _unwrap(v, self.__name__) for k, v in kwargs.items()}
        return _wrap(self.function(*args, **kwargs))

    def at(self, a: Any, indices: Any, *values: Any) -> None:
        """In place a[indices] = function(a[indices], values), repeated indices counted each time."""
        if self.__name__ not in HAVE_AT:
            raise AttributeError(f"CuPy's {self.__name__} has no at()")
        if type(a) is not StrictArray:
            raise TypeError(f"{self.__name__}.at(): the target must be an array of the device")
        self.function.at(a._a, _unwrap(indices, self.__name__), *_unwrap(values, self.__name__))

    def outer(self, a: Any, b: Any) -> Any:
        """function(a[..., None], b)."""
        return _wrap(self.function.outer(_unwrap(a, self.__name__), _unwrap(b, self.__name__)))

    def _along(self, kind: str, a: Any, **kwargs: Any) -> Any:
        if self.__name__ not in ("add", "multiply"):
            raise NotImplementedError(f"CuPy's {self.__name__}.{kind} does not exist; it has those of add and multiply")
        _check_keywords("sum", kwargs)
        return _wrap(getattr(self.function, kind)(_unwrap(a, self.__name__), **kwargs))

    def reduce(self, a: Any, **kwargs: Any) -> Any:
        """The function over a dimension."""
        return self._along("reduce", a, **kwargs)

    def accumulate(self, a: Any, **kwargs: Any) -> Any:
        """The function over a dimension, with all results on the way."""
        return self._along("accumulate", a, **kwargs)


class _Namespace:
    """A namespace of NumPy, without what CuPy has not."""

    def __init__(self, module: Any, path: str = "") -> None:
        self._module, self._path = module, path

    def __getattr__(self, name: str) -> Any:
        full = f"{self._path}.{name}".lstrip(".")
        if name in LACKS.get(self._path, "").split() or (name.startswith("_") or full == "random"):
            raise AttributeError(f"NumPy's {full} has no counterpart in CuPy")
        thing = getattr(self._module, name)
        if full in ("linalg", "fft", "lib", "lib.stride_tricks"):
            found: Any = _Namespace(thing, full)
        elif isinstance(thing, np.ufunc):
            found = _Ufunc(thing)
        elif isinstance(thing, type) or not callable(thing):
            found = thing
        else:
            found = _function(thing, full)
        setattr(self, name, found)
        return found


def _function(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    convert = name in ("array", "asarray", "asanyarray", "ascontiguousarray")

    def call(*args: Any, **kwargs: Any) -> Any:
        _check_keywords(name, kwargs)
        if convert and args and isinstance(args[0], (np.ndarray, np.generic)):  # said explicitly, as in CuPy
            return _wrap(function(*args, **kwargs))
        raw = _unwrap(args, name)
        out = function(*raw, **{k: _unwrap(v, name) for k, v in kwargs.items()})
        for given, was in zip(args, raw, strict=True):
            if out is was and type(given) is StrictArray:
                return given
        return _wrap(out)

    call.__name__ = name
    return call


class StrictArray:
    """A NumPy array in the part of CuPy's."""

    __slots__ = ("__weakref__", "_a")
    __array_ufunc__ = None  # NumPy's arrays and scalars leave operators to ours, which refuse them
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: Any) -> None:
        self._a = array

    def __getattr__(self, name: str) -> Any:
        if name in LACKS_METHODS or name.startswith("__"):
            raise AttributeError(f"CuPy's arrays have no {name}")
        found = getattr(self._a, name)
        if not callable(found):
            return _wrap(found)

        def method(*args: Any, **kwargs: Any) -> Any:
            _check_keywords(name, kwargs)
            raw = _unwrap(args, name)
            out = found(*raw, **{k: _unwrap(v, name) for k, v in kwargs.items()})
            if name in ("item", "tolist", "tobytes"):
                return out
            return self if out is self._a else _wrap(out)

        return method

    def __getitem__(self, index: Any) -> Any:
        return _wrap(self._a[_unwrap(index, "[]")])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._a[_unwrap(index, "[]")] = _unwrap(value, "[]=")

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Any:
        return map(_wrap, self._a)

    def __repr__(self) -> str:
        return f"strict {self._a!r}"

    def __copy__(self) -> StrictArray:
        return StrictArray(self._a.copy())

    def __deepcopy__(self, memo: Any) -> StrictArray:
        return StrictArray(self._a.copy())

    def __reduce__(self) -> Any:
        return StrictArray, (self._a,)

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("an array of a device was read by the host without being asked: say item(), or move it")

    __array__ = __array_function__ = __bool__ = __int__ = __float__ = __index__ = __complex__ = __contains__ = _refuse


def _operator(name: str) -> Callable[..., Any]:
    inplace = name.startswith("__i") and name != "__invert__"

    def operate(self: StrictArray, *others: Any) -> Any:
        out = getattr(self._a, name)(*_unwrap(others, name))
        if out is NotImplemented:
            return out
        return self if inplace else _wrap(out)

    operate.__name__ = name
    return operate


_BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod"

for _name in _BINARY.split():
    for _form in ("", "r", "i"):
        if (_form, _name) not in (("i", "matmul"), ("i", "divmod")):
            setattr(StrictArray, f"__{_form}{_name}__", _operator(f"__{_form}{_name}__"))
for _name in ["eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "abs", "invert"]:
    setattr(StrictArray, f"__{_name}__", _operator(f"__{_name}__"))


class StrictGenerator(HostGenerator):
    """NumPy's generator, whose numbers arrive on the device."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("random", "standard_normal", "integers", "permutation", "poisson"):
            return found
        return lambda *args, **kwargs: _wrap(found(*_unwrap(args, name), **kwargs))


class StrictBackend(Backend):
    """Arrays that refuse what CuPy's would."""

    name = "strict"
    xp = _Namespace(np)
    array_types = (StrictArray,)
    kernels: dict[str, Callable[..., Any]] = {}
    device_type = "cuda"  # what asks "is this on the host?" must get a device's answer

    def device_of(self, array: Any) -> tuple[str, int | None]:
        return "cuda", 0

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Any:
        if type(data) is StrictArray:
            return data if dtype is None else data.astype(dtype, copy=False)
        return StrictArray(np.asarray(data, dtype))

    def to_host(self, array: Any) -> Any:
        return array._a

    def owner(self, array: Any) -> Any:
        inner = array._a
        while isinstance(inner.base, np.ndarray):
            inner = inner.base
        return inner

    def pointer(self, array: Any) -> int:
        return array._a.ctypes.data

    def writable(self, array: Any) -> bool:
        return array._a.flags.writeable

    def generator(self, seed: int | None) -> StrictGenerator:
        return StrictGenerator(seed)


BACKEND = StrictBackend()
