"""Making tensors: from data, filled, in steps, and in the likeness of others.

A maker computes a raw array from a backend's namespace; the decorator `factory` makes the public function of it, with
the keywords that PyTorch gives all of them: out, dtype, layout, device, pin_memory, requires_grad. Turned down: a
signature and a tail of five lines in each of twenty functions.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from .. import backends
from ..backends import np
from . import storage
from .attributes import strided
from .device import CPU, device_of, move, place_of
from .dtypes import complex_of, default_dtype, from_numpy_dtype, is_floating, promote_numpy, to_numpy_dtype
from .errors import OpError
from .layout import channels_last, channels_last_3d, contiguous_format, preserve_format
from .public import function, signed
from .tensor import Tensor, method, wrap
from .tracking import Recorded

__all__ = ["as_tensor", "factory", "finish", "from_numpy", "legacy_tensor", "shape_of", "tensor"]

_PYTHON_NUMBERS = {float, int, bool, complex}


# -- data -------------------------------------------------------------------------------------------------------------


def _leaf_dtypes(data: Any) -> set[Any]:
    """The dtypes of the numbers in nested sequences: NumPy dtypes, and Python's types for Python's numbers."""
    found: set[Any] = set()
    stack = [data]
    while stack:
        x = stack.pop()
        if isinstance(x, (list, tuple)):
            kinds = set(map(type, x))
            if kinds <= _PYTHON_NUMBERS:
                found |= kinds
            else:
                stack += x
        else:
            found.add(x.dtype if isinstance(x, (np.ndarray, np.generic)) else type(x))
    return found


def _plain(data: Any) -> Any:
    """Nested sequences with the arrays of the Tensors in them."""
    if isinstance(data, (list, tuple)):
        if set(map(type, data)) <= _PYTHON_NUMBERS:
            return data
        return [_plain(x) for x in data]
    return move(data.array, CPU) if isinstance(data, Tensor) else data


def _from_python(data: Any, dtype: Any) -> Any:
    """Nested sequences of numbers as a host array: floats in the default dtype, ints in int64, bools in bool."""
    data = _plain(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"tensor(): {error}; nested sequences must have equal lengths") from None
    if array.dtype == np.uint64 or (array.dtype == object and all(isinstance(x, (int, float)) for x in array.flat)):
        raise ValueError("tensor(): an integer of the data is too large for int64")
    if array.dtype == object:
        raise TypeError("tensor(): the data must be numbers, in sequences of equal lengths")
    from_numpy_dtype(array.dtype)
    if dtype is not None:
        if array.dtype.kind == "c" and dtype.kind not in "cb":
            raise TypeError(f"tensor(): must be real number, not complex, for dtype {dtype}")
        return _cast(array, dtype)
    if not array.size:
        return array.astype(default_dtype()) if array.dtype == np.float64 else array
    kind = None
    for leaf in _leaf_dtypes(data):
        own = (
            default_dtype()
            if leaf is float
            else complex_of(default_dtype())
            if leaf is complex
            else array.dtype
            if isinstance(leaf, type) and leaf not in (int, bool)
            else leaf
        )
        own = np.dtype(own)
        kind = own if kind is None else promote_numpy(kind, own)
    return array if array.dtype == kind else array.astype(kind)


def _cast(array: Any, kind: Any) -> Any:
    """`array` in another dtype. RuntimeError for a number that an integer dtype cannot take, as -300 in uint8."""
    if kind.kind in "iu" and array.size and array.dtype.kind in "iuf":
        limits = np.iinfo(kind)
        low = -limits.max if kind.kind == "u" else limits.min  # PyTorch lets unsigned numbers wrap: -1 is 255 in uint8
        if not (array.min() >= low and array.max() <= limits.max):
            raise OpError(f"value cannot be converted to type {kind} without overflow")
    return array.astype(kind, copy=False)


def _is_array(x: Any) -> bool:
    """True for an array of one of the backends."""
    try:
        backends.of(x)
    except TypeError:
        return False
    return True


def to_array(data: Any, dtype: Any = None) -> Any:
    """Data of any kind as an array, in `dtype` where one is given; on the memory of arrays and Tensors where it can."""
    if isinstance(data, Tensor):
        array = data.array
    elif isinstance(data, (np.ndarray, np.generic, Recorded)) or type(data).__module__ == "cupy":
        array = data
    elif hasattr(data, "__array__"):
        array = np.asarray(data)
    elif isinstance(data, (list, tuple)) or not (_is_array(data) or hasattr(data, "__dlpack__")):
        return _from_python(data, dtype)
    else:
        array = data if _is_array(data) else from_dlpack(data).array
    from_numpy_dtype(array.dtype)
    return array if dtype is None else array.astype(dtype, copy=False)


def finish(array: Any, place: Any, requires_grad: bool) -> Tensor:
    """The Tensor of an array, on the device `place` (None: where it is)."""
    t = wrap(array if place is None else move(array, place), None)
    if requires_grad:
        t.requires_grad = True
    return t


def _kind(dtype: Any) -> Any:
    return None if dtype is None else to_numpy_dtype(dtype)


@function
def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A new tensor with a copy of `data` (numbers, nested sequences, a NumPy or CuPy array, a Tensor).

    dtype: default: that of the array; the default dtype for Python floats, int64 for ints, bool for bools.
    Ragged sequences raise ValueError, data other than numbers TypeError.
    """
    source = to_array(data, _kind(dtype))
    backend = backends.of(source)
    if backend.device_type != "cpu":
        backend.select(backend.device_of(source)[1])
    array = backend.xp.array(source, copy=True)
    on_device = device is None and (isinstance(data, Tensor) or backend.name != "numpy")
    t = finish(array, None if on_device else place_of(device), requires_grad)
    return t.pin_memory().requires_grad_(requires_grad) if pin_memory else t


@function
def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A 0-d tensor with the number `s`, of the default dtype whatever kind of number it is."""
    return tensor(s, dtype=dtype or default_dtype(), device=device, requires_grad=requires_grad)


@function
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, sharing its memory where it can; a Tensor stays in its graph."""
    if isinstance(data, Tensor):
        return data if dtype is None and device is None else data.to(device=device, dtype=dtype)
    array = to_array(data, _kind(dtype))
    keep = device is None and backends.of(array).name != "numpy"
    t = finish(array, None if keep else place_of(device), False)
    _share(t, data)
    return t


def _share(t: Tensor, data: Any) -> None:
    """Note that `data` sees the memory of `t`, unless it is Python's numbers, which were copied."""
    if not isinstance(data, (Tensor, list, tuple, int, float)) and isinstance(t.array, np.ndarray):
        storage.share(t.array)


@function
def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """`obj` as a tensor: what `tensor` takes, DLPack exporters, and buffers (bytes) in `dtype`.

    copy: True copies, None shares memory where it can, False raises ValueError where it cannot.
    """
    if isinstance(obj, (bytes, bytearray, memoryview)):
        t = frombuffer(obj, dtype=default_dtype() if dtype is None else dtype)
        dtype = None
    else:
        t = as_tensor(obj)
    moved = t.to(device=device, dtype=dtype) if device is not None or dtype is not None else t
    if copy is False and (moved is not t or (isinstance(obj, (list, tuple, int, float)))):
        raise ValueError(
            f"asarray(): cannot alias {type(obj).__name__} as {moved.dtype} on {moved.device} without a copy"
        )
    if copy and moved is t:
        moved = t.clone()
    if moved.node is None and moved.leaf != requires_grad:
        moved = moved.detach()
        moved.requires_grad = requires_grad
    return moved


@function
def from_numpy(ndarray: Any) -> Tensor:
    """A tensor on the memory of a NumPy array: a change of one is seen in the other. Negative strides are welcome."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if not ndarray.dtype.isnative:
        raise ValueError(f"the array's byte order is not the machine's ({ndarray.dtype}): convert it with .astype()")
    to_numpy_dtype(ndarray.dtype)
    storage.share(ndarray)
    return wrap(ndarray.view(np.ndarray) if type(ndarray) is not np.ndarray else ndarray, None)


@function
def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A tensor on the memory of an object with the buffer protocol, seen as a row of numbers of `dtype`.

    offset: where to begin, in bytes; count: how many elements, -1 for all.
    """
    array = np.frombuffer(buffer, _kind(dtype), count, offset)
    storage.share(array)
    return finish(array, CPU, requires_grad)


class _Exporter:
    """A DLPack capsule as an object that exports it."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


@function
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of another library's: an object with `__dlpack__`, or a capsule of host memory.

    copy: True asks for memory of its own.
    """
    if type(ext_tensor).__name__ == "PyCapsule":
        ext_tensor = _Exporter(ext_tensor)
    if isinstance(ext_tensor, Tensor):
        array = ext_tensor.detach().array
    elif not hasattr(ext_tensor, "__dlpack_device__"):
        raise TypeError(f"from_dlpack(): {type(ext_tensor).__name__} has no __dlpack__")
    else:
        kind = int(ext_tensor.__dlpack_device__()[0])
        if kind not in (1, 2, 3, 13):
            raise OpError(
                f"from_dlpack(): no backend for DLPack device type {kind}; there are the CPU (1) and CUDA (2)"
            )
        backend = backends.by_device("cuda" if kind in (2, 13) else "cpu")
        array = backend.xp.from_dlpack(ext_tensor)
    from_numpy_dtype(array.dtype)
    if copy:
        array = array.copy()
    else:
        storage.share(array)
    return finish(array, None if device is None else place_of(device), False)


# -- makers -----------------------------------------------------------------------------------------------------------


def shape_of(sizes: tuple[Any, ...], size: Any, name: str) -> tuple[int, ...]:
    """The shape of `f(2, 3)`, `f((2, 3))` and `f(size=(2, 3))`; RuntimeError for a negative size."""
    if size is not None:
        sizes = tuple(size) if isinstance(size, (list, tuple)) else (size,)
    elif len(sizes) == 1 and isinstance(sizes[0], (list, tuple)):
        sizes = tuple(sizes[0])
    elif not sizes:
        raise TypeError(f"{name}() missing 1 required positional argument: 'size'")
    found = []
    for n in sizes:
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(f"{name}(): argument 'size' must be ints or a tuple of ints, not {type(n).__name__}")
        found.append(n.__index__())
    if any(n < 0 for n in found):
        raise OpError(f"{name}: Dimension size must be non-negative, got {found}")
    return tuple(found)


_KEYWORDS = ("out", "dtype", "layout", "device", "pin_memory", "requires_grad")


def _public(make: Callable[..., Any], made: Callable[..., Any], hidden: int) -> Callable[..., Any]:
    """`made` with the name, the docstring and the signature of `make` (without its first `hidden` parameters)."""
    keywords = made.__kwdefaults__ or {}

    def build() -> inspect.Signature:
        own = [p for p in list(inspect.signature(make).parameters.values())[hidden:] if p.name != "kind"]
        names = {p.name for p in own}
        rest = [
            inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=keywords[n])
            for n in keywords
            if n in _KEYWORDS and n not in names
        ]
        return inspect.Signature([p for p in own if p.kind is not p.VAR_KEYWORD] + rest)

    signed(made, make, build)
    return function(made)


def factory(make: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the public function of a maker `make(backend, ..., kind)`, which returns an array of dtype `kind`."""

    def made(
        *args: Any,
        out: Any = None,
        dtype: Any = None,
        layout: Any = strided,
        device: Any = None,
        pin_memory: bool = False,
        requires_grad: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        place = place_of(device)
        if out is not None:
            place, dtype = out.device, dtype or out.dtype
        backend = place.backend
        if place.type != "cpu":
            backend.select(place.index)
        array = make(backend, *args, kind=_kind(dtype), **kwargs)
        if out is not None:
            return storage.into(out, finish(array, place, False))
        t = finish(array, place, requires_grad)
        return t.pin_memory().requires_grad_(requires_grad) if pin_memory else t

    return _public(make, made, hidden=1)


def blank(xp: Any, shape: tuple[int, ...], kind: Any, memory_format: Any = contiguous_format) -> Any:
    """An array that is not initialised."""
    if memory_format is channels_last or memory_format is channels_last_3d:
        if len(shape) != (4 if memory_format is channels_last else 5):
            raise OpError(
                f"{memory_format} is for tensors of rank {4 if memory_format is channels_last else 5}, not {len(shape)}"
            )
        n = len(shape)
        return xp.empty((shape[0], *shape[2:], shape[1]), kind).transpose((0, n - 1, *range(1, n - 1)))
    return xp.empty(shape, kind)


@factory
def empty(backend: Any, *sizes: Any, kind: Any, size: Any = None, memory_format: Any = contiguous_format) -> Any:
    """A tensor whose elements are not initialised. size: the shape, as numbers or one tuple."""
    return blank(backend.xp, shape_of(sizes, size, "empty"), kind or default_dtype(), memory_format)


@factory
def zeros(backend: Any, *sizes: Any, kind: Any, size: Any = None) -> Any:
    """A tensor of zeros: `zeros(2, 3)` or `zeros((2, 3))`, in the default dtype. size: the shape."""
    return backend.xp.zeros(shape_of(sizes, size, "zeros"), kind or default_dtype())


@factory
def ones(backend: Any, *sizes: Any, kind: Any, size: Any = None) -> Any:
    """A tensor of ones: `ones(2, 3)` or `ones((2, 3))`, in the default dtype. size: the shape."""
    return backend.xp.ones(shape_of(sizes, size, "ones"), kind or default_dtype())


def check_value(value: Any, kind: Any) -> Any:
    """`value` as a Python number that the dtype `kind` can take. RuntimeError where it cannot."""
    if isinstance(value, Tensor) or hasattr(value, "dtype"):
        return value.item()
    if not isinstance(value, (bool, int, float, complex)):
        raise TypeError(f"the fill value must be a number, not {type(value).__name__}")
    if isinstance(value, complex):
        if kind.kind != "c":
            raise OpError(f"value cannot be converted to type {kind} without overflow: {value}")
    elif is_floating(kind):
        if math.isfinite(value) and kind.itemsize < 8 and abs(value) > _largest(kind):
            raise OpError(f"value cannot be converted to type {kind} without overflow: {value}")
    elif kind.kind in "iu":
        if not math.isfinite(value):
            raise OpError(f"value cannot be converted to type {kind} without overflow: {value}")
        value = int(value)
        limits = np.iinfo(kind)
        if not (-limits.max if kind.kind == "u" else limits.min) <= value <= limits.max:
            raise OpError(f"value cannot be converted to type {kind} without overflow: {value}")
        if kind.kind == "u":
            value %= limits.max + 1
    return value


@functools.cache
def _largest(kind: Any) -> float:
    from .dtypes import finfo

    return finfo(kind).max


@factory
def full(backend: Any, size: Any, fill_value: Any, *, kind: Any) -> Any:
    """A tensor of shape `size` whose elements are all `fill_value`; its dtype is the value's unless given."""
    if not isinstance(size, (list, tuple)):
        raise TypeError(f"full(): argument 'size' must be a tuple of ints, not {type(size).__name__}")
    if kind is None:
        if isinstance(fill_value, np.generic):  # a number, as Python's
            fill_value = fill_value.item()
        kind = fill_value.array.dtype if isinstance(fill_value, Tensor) else _from_python(fill_value, None).dtype
    value = check_value(fill_value, kind)
    return backend.xp.full(shape_of((), size, "full"), value, kind)


@factory
def eye(backend: Any, n: int, m: int | None = None, *, kind: Any) -> Any:
    """The identity matrix, with n rows and m (default n) columns."""
    for name, value in (("n", n), ("m", n if m is None else m)):
        if value < 0:
            raise OpError(f"{name} must be greater or equal to 0, got {value}")
    return backend.xp.eye(n, m, dtype=kind or default_dtype())


def _number(x: Any) -> Any:
    return x.item() if hasattr(x, "item") else x


@factory
def arange(backend: Any, start: Any = 0, end: Any = None, step: Any = 1, *, kind: Any) -> Any:
    """start + i·step for all i with start + i·step < end (end is excluded): `arange(end)`, `arange(start, end, step)`.

    dtype: int64 where all three are integers, otherwise the default dtype. The elements are computed in float64 and
    rounded once.
    """
    if end is None:
        start, end = 0, start
    start, end, step = _number(start), _number(end), _number(step)
    if kind is None:
        kind = default_dtype() if any(isinstance(x, float) for x in (start, end, step)) else np.dtype("int64")
    if kind.kind == "b":
        raise TypeError("arange() has no bool form")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise OpError(f"unsupported range: {start} -> {end}")
    if not is_floating(kind):
        start, end, step = int(start), int(end), int(step)
    if step == 0:
        raise OpError("step must be nonzero")
    if (end - start) * step < 0:
        raise OpError(f"upper bound and lower bound inconsistent with step sign: arange({start}, {end}, {step})")
    count = (
        -((start - end) // step)
        if isinstance(step, int) and isinstance(end - start, int)
        else math.ceil((end - start) / step)
    )
    numbers = backend.xp.arange(count, dtype="float64" if is_floating(kind) else "int64")
    return (numbers * step + start).astype(kind, copy=False)


@factory
def linspace(backend: Any, start: Any, end: Any, steps: int, *, kind: Any) -> Any:
    """`steps` numbers from start to end, both included: start + i·(end - start)/(steps - 1).

    The second half is counted from the end, so the row is symmetric; integer dtypes cut the fractions off.
    """
    return _rounded(_spaced(backend.xp, start, end, steps), kind, "linspace")


@factory
def logspace(backend: Any, start: Any, end: Any, steps: int, base: float = 10.0, *, kind: Any) -> Any:
    """base**x for the x of `linspace(start, end, steps)`."""
    return _rounded(base ** _spaced(backend.xp, start, end, steps), kind, "logspace")


def _rounded(numbers: Any, kind: Any, name: str) -> Any:
    """`numbers` in the dtype `kind`, by default in the default one, or the complex one with such parts."""
    own = complex_of(default_dtype()) if numbers.dtype.kind == "c" else default_dtype()
    if own.kind == "c" and kind is not None and kind.kind != "c":
        raise OpError(f"{name}(): inferred dtype {own} can't be safely cast to passed dtype {kind}")
    return numbers.astype(kind or own)


def _spaced(xp: Any, start: Any, end: Any, steps: Any) -> Any:
    start, end, steps = _number(start), _number(end), _number(steps)
    if steps < 0:
        raise OpError("number of steps must be non-negative")
    i = xp.arange(steps, dtype="float64")
    step = (end - start) / max(steps - 1, 1)
    return xp.where(i < steps // 2 if steps > 1 else i == 0, start + step * i, end - step * (steps - 1 - i))


# -- in the likeness of a tensor --------------------------------------------------------------------------------------


def blank_like(input: Any, kind: Any, place: Any, memory_format: Any, name: str) -> tuple[Any, Any]:
    """(backend, array not initialised) with the shape of `input`, and in `preserve_format` its order in memory."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    array = input.array
    backend = backends.of(array) if place is None else place.backend
    if backend.device_type != "cpu":
        backend.select(backend.device_of(array)[1] if place is None else place.index)
    kind = array.dtype if kind is None else kind
    if memory_format is preserve_format and backend is backends.of(array):
        return backend, backend.xp.empty_like(array, kind)
    if memory_format is preserve_format:
        memory_format = contiguous_format
    return backend, blank(backend.xp, array.shape, kind, memory_format)


def like(fill: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the public function of `fill(backend, array, ...)`, which fills an array made like a tensor's."""
    name = fill.__name__

    def made(
        input: Tensor,
        *args: Any,
        dtype: Any = None,
        layout: Any = strided,
        device: Any = None,
        requires_grad: bool = False,
        memory_format: Any = preserve_format,
        pin_memory: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        place = None if device is None else place_of(device)
        backend, array = blank_like(input, _kind(dtype), place, memory_format, name)
        fill(backend, array, *args, **kwargs)
        return finish(array, place, requires_grad)

    keywords = made.__kwdefaults__ or {}  # now: `made` may be intercepted by the time that somebody asks

    def build() -> inspect.Signature:
        of_input = inspect.Parameter("input", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        own = list(inspect.signature(fill).parameters.values())[2:]
        rest = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=keywords[n]) for n in keywords]
        return inspect.Signature([of_input, *own, *rest])

    signed(made, fill, build)
    return function(made)


@like
def empty_like(backend: Any, array: Any) -> None:
    """A tensor of the input's shape and dtype that is not initialised."""


@like
def zeros_like(backend: Any, array: Any) -> None:
    """Zeros in the input's shape and dtype."""
    array[...] = 0


@like
def ones_like(backend: Any, array: Any) -> None:
    """Ones in the input's shape and dtype."""
    array[...] = 1


@like
def full_like(backend: Any, array: Any, fill_value: Any) -> None:
    """`fill_value` in the input's shape and dtype."""
    array[...] = check_value(fill_value, array.dtype)


@method
def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of `data` with this tensor's dtype and device unless given."""
    return tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def _new(make: Callable[..., Any], name: str) -> None:
    def made(self: Tensor, *args: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Tensor:
        return make(*args, dtype=dtype or self.dtype, device=device or self.device, **kwargs)

    made.__name__ = made.__qualname__ = name
    made.__doc__ = f"`chainrule.{make.__name__}` with this tensor's dtype and device unless given."
    method(made)


for _make in (empty, zeros, ones, full):
    _new(_make, f"new_{_make.__name__}")


# -- PyTorch's old constructors ---------------------------------------------------------------------------------------


def legacy_tensor(*args: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`Tensor(2, 3)`: not initialised, of that shape; `Tensor(data)`: the data in the default dtype."""
    kind = dtype or default_dtype()
    if len(args) == 1 and not isinstance(args[0], (int, np.integer)):
        data = args[0]
        if isinstance(data, Tensor):
            return data.detach()
        if not isinstance(data, tuple) or not hasattr(data, "numel"):  # a Size means a shape
            if isinstance(data, float):
                raise TypeError("Tensor(): data must be a sequence, not a float; use tensor() for a number")
            if dtype is not None:
                return finish(to_array(data).astype(kind), place_of(device), False)
            return tensor(data, dtype=kind, device=device)
    return empty(*(args or (0,)), dtype=kind, device=device)


@method
def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """PyTorch's old constructor: `t.new(2, 3)` is not initialised, `t.new(data)` holds the data; in t's dtype."""
    return legacy_tensor(*args, dtype=self.array.dtype, device=device or device_of(self.array))
