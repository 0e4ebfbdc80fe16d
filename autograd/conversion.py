"""From one dtype and device to another: `to` and its short forms, and PyTorch's tensor types (`FloatTensor`, ...)."""

from __future__ import annotations

import warnings
from typing import Any

from ..backends import np
from .creation import legacy_tensor
from .device import CPU, device, device_of
from .dtypes import (
    bfloat16,
    bool_,
    complex64,
    complex128,
    default_dtype,
    differentiable,
    dtype,
    float16,
    float32,
    float64,
    from_numpy_dtype,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    to_numpy_dtype,
    uint8,
)
from .layout import preserve_format
from .op import OPS
from .public import function
from .tensor import Tensor, method, wrap

__all__ = [
    "BFloat16Tensor",
    "BoolTensor",
    "ByteTensor",
    "CharTensor",
    "DoubleTensor",
    "FloatTensor",
    "HalfTensor",
    "IntTensor",
    "LongTensor",
    "ShortTensor",
    "TensorType",
    "convert",
]


#: devices of which there is one
_SINGLE = ("cpu", "meta")


def convert(
    t: Tensor,
    kind: Any,
    place: Any,
    copy: bool = False,
    memory_format: Any = preserve_format,
    non_blocking: bool = False,
) -> Tensor:
    """`t` in NumPy dtype `kind` on device `place` (None: as it is): `t` itself where nothing changes, unless `copy`."""
    result = t
    if place is not None:
        here = device_of(t.array)
        if place.type not in _SINGLE and place.index is None:
            place = device(place.type, place.backend.current_device())
        if place.type != here.type or (place.type not in _SINGLE and place.index != here.index):
            result = OPS["to_device"](result, device=place, source=here, non_blocking=non_blocking)
    if kind is not None and kind != result.array.dtype:
        if result.array.dtype.kind == "c" and kind.kind not in "cb":
            warnings.warn("Casting complex values to real discards the imaginary part", UserWarning, stacklevel=3)
        if differentiable(kind):
            result = OPS["cast"](result, dtype=kind)
        else:
            array = result.array
            result = wrap((array.real if array.dtype.kind == "c" and kind.kind != "b" else array).astype(kind), None)
    if memory_format is not preserve_format:
        arranged = result.contiguous(memory_format=memory_format)
        result = arranged if arranged is not result or not copy else result
    return OPS["clone"](result) if copy and result is t else result


def _is_dtype(x: Any) -> bool:
    if isinstance(x, type):
        return x in (float, int, bool) or issubclass(x, np.generic)
    return isinstance(x, (dtype, np.dtype))


@method
def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """This tensor in another dtype or on another device; itself where nothing changes, unless `copy=True`.

    to(dtype, non_blocking=False, copy=False), to(device=None, dtype=None, non_blocking=False, copy=False),
    to(other, non_blocking=False, copy=False); each with `memory_format`. Recorded: the gradient comes back in
    this dtype and on this device.
    """
    where, kind, copy, form, soon = split_to(args, kwargs, "to")
    return convert(self, kind, where, copy, form, soon)


def split_to(args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> tuple[Any, Any, bool, Any, bool]:
    """(device, NumPy dtype, copy, memory_format, non_blocking) of a call of `to` in any of its forms."""
    options = dict(kwargs)
    rest = list(args)
    where: Any = options.pop("device", None)
    kind: Any = options.pop("dtype", None)
    other: Any = options.pop("other", None)
    if rest:
        first = rest.pop(0)
        if isinstance(first, Tensor):
            other = first
        elif _is_dtype(first):
            kind = first
        else:
            where = first
            if rest and (rest[0] is None or _is_dtype(rest[0])):
                kind = rest.pop(0) or kind
    if other is not None:
        where, kind = other.device, other.dtype
    flags = dict(zip(("non_blocking", "copy"), rest, strict=False))
    for key, value in options.items():
        if key not in ("non_blocking", "copy", "memory_format") or key in flags:
            raise TypeError(f"{name}() got an unexpected keyword argument {key!r}")
        flags[key] = value
    if len(rest) > 2:
        raise TypeError(
            f"{name}() takes a dtype, a device or a tensor, then non_blocking and copy; got {len(args)} arguments"
        )
    if where is not None:
        where = device(where)
        where.backend  # noqa: B018  the clear error, where the device cannot be had
    if kind is not None:
        kind = to_numpy_dtype(kind)
    form = flags.get("memory_format") or preserve_format
    return where, kind, bool(flags.get("copy", False)), form, bool(flags.get("non_blocking", False))


def _short_form(name: str, kind: dtype) -> None:
    def converted(self: Tensor, memory_format: Any = preserve_format) -> Tensor:
        return convert(self, kind.dtype, None, memory_format=memory_format)

    converted.__name__, converted.__qualname__ = name, f"Tensor.{name}"
    converted.__doc__ = f"This tensor in {kind.name}."
    method(converted)


for _name, _kind in {
    "float": float32,
    "double": float64,
    "half": float16,
    "bfloat16": bfloat16,
    "cfloat": complex64,
    "cdouble": complex128,
    "long": int64,
    "int": int32,
    "short": int16,
    "char": int8,
    "byte": uint8,
    "bool": bool_,
}.items():
    _short_form(_name, _kind)


@method
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor in the dtype and on the device of `other`."""
    return convert(self, other.array.dtype, device_of(other.array))


@method
def cpu(self: Tensor, memory_format: Any = preserve_format) -> Tensor:
    """This tensor in the host's memory."""
    return convert(self, None, CPU, memory_format=memory_format)


@method
def cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = preserve_format) -> Tensor:
    """This tensor on a GPU (the current one unless given). RuntimeError where CuPy or a GPU is missing."""
    where, *_ = split_to(("cuda" if device is None else device,), {}, "cuda")
    return convert(self, None, where, memory_format=memory_format, non_blocking=non_blocking)


# -- PyTorch's tensor types -------------------------------------------------------------------------------------------


class TensorType(type):
    """A class of tensors by dtype (and device): `FloatTensor(2, 3)` makes one, `isinstance(t, FloatTensor)` tells.

    With sizes the tensor is not initialised; with data it holds the data in this dtype.
    """

    kind: dtype
    place: device

    def __call__(cls, *args: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], Tensor) and args[0].dtype != cls.kind:
            raise TypeError(f"{cls.__name__}() takes a {cls.kind} tensor, not {args[0].dtype}; convert it with .type()")
        return legacy_tensor(*args, dtype=cls.kind, device=cls.place)

    def __instancecheck__(cls, instance: Any) -> bool:
        if not isinstance(instance, Tensor):
            return False
        return instance.array.dtype == cls.kind and device_of(instance.array).type == cls.place.type

    def __repr__(cls) -> str:
        return f"<class {type_name(cls.kind, cls.place)!r}>"


class _TypeName(str):
    """The name of a tensor type, which equals PyTorch's: programs compare `t.type()` with 'torch.FloatTensor'."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and _bare(self) == _bare(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(f"torch.{_bare(self)}")

    def __reduce__(self) -> Any:
        return str, (str(self),)


def _bare(name: str) -> str:
    return name.removeprefix("torch.").removeprefix("chainrule.")


def type_name(kind: Any, place: Any) -> str:
    """PyTorch's name of a tensor type, e.g. chainrule.FloatTensor or chainrule.cuda.FloatTensor."""
    return _TypeName(f"chainrule.{'' if place.type == 'cpu' else place.type + '.'}{kind.short}Tensor")


def tensor_type(kind: dtype, place: device = CPU) -> Any:
    """The class of tensors of a dtype and device."""
    doc = f"Tensors of dtype {kind.name} on {place.type}. See `TensorType`."
    return TensorType(f"{kind.short}Tensor", (), {"kind": kind, "place": place, "__doc__": doc, "__module__": __name__})


FloatTensor = tensor_type(float32)
DoubleTensor = tensor_type(float64)
HalfTensor = tensor_type(float16)
BFloat16Tensor = tensor_type(bfloat16)
ByteTensor = tensor_type(uint8)
CharTensor = tensor_type(int8)
ShortTensor = tensor_type(int16)
IntTensor = tensor_type(int32)
LongTensor = tensor_type(int64)
BoolTensor = tensor_type(bool_)

_TYPES = {f"{k.short}Tensor": k for k in (float32, float64, float16, bfloat16, uint8, int8, int16, int32, int64, bool_)}


def _target(kind: Any) -> tuple[Any, Any]:
    """(NumPy dtype, device or None) of what `Tensor.type` takes: a dtype, a tensor type, or the name of one."""
    if isinstance(kind, TensorType):
        return kind.kind.dtype, kind.place
    if kind is Tensor:
        return default_dtype(), CPU
    if isinstance(kind, str):
        path = _bare(kind)
        place = device("cuda") if path.startswith("cuda.") else CPU
        name = path.removeprefix("cuda.")
        if name == "Tensor":
            return default_dtype(), place
        if name not in _TYPES:
            raise ValueError(f"invalid type: {kind!r}; a type is named like 'chainrule.FloatTensor'")
        return _TYPES[name].dtype, place
    return to_numpy_dtype(kind), None


@method(name="type")
def _type(self: Tensor, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
    """The name of this tensor's type ('chainrule.FloatTensor'); with `dtype`, the tensor converted to it."""
    if dtype is None:
        return type_name(from_numpy_dtype(self.array.dtype), device_of(self.array))
    return convert(self, *_target(dtype))


@function
def typename(obj: Any) -> str:
    """The name of a tensor's type, or of an object's class with its module."""
    if isinstance(obj, Tensor):
        return _type(obj)
    kind = obj if isinstance(obj, type) else type(obj)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


@function
def set_default_tensor_type(t: Any) -> None:
    """Set the default dtype by a tensor type or its name (PyTorch's old form of `set_default_dtype`)."""
    set_default_dtype(_target(t)[0])
