"""The layout of a tensor in memory: strides, contiguity, memory formats."""

from __future__ import annotations

from typing import Any

from .. import backends
from . import storage
from .attributes import Size
from .dims import wrap_dim
from .ops.shape import clone, memory_order
from .tensor import Tensor, method

__all__ = [
    "channels_last",
    "channels_last_3d",
    "contiguous_format",
    "legacy_contiguous_format",
    "memory_format",
    "preserve_format",
]


class memory_format:
    """An order of dimensions in memory: `contiguous_format`, `channels_last`, `channels_last_3d`, `preserve_format`.

    name: what it prints.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"chainrule.{self.name}"

    def __reduce__(self) -> str:
        return self.name


contiguous_format = legacy_contiguous_format = memory_format("contiguous_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
preserve_format = memory_format("preserve_format")


@method
def is_contiguous(self: Tensor, memory_format: Any = contiguous_format) -> bool:
    """True where the elements lie in memory in the order of the format, without gaps."""
    array, name = self.array, getattr(memory_format, "name", str(memory_format))
    if name in ("contiguous_format", "preserve_format"):
        return bool(array.flags.c_contiguous)
    if (name == "channels_last" and array.ndim != 4) or (name == "channels_last_3d" and array.ndim != 5):
        return False
    return bool(array.transpose(memory_order(name, array.ndim)).flags.c_contiguous)


@method
def contiguous(self: Tensor, memory_format: Any = contiguous_format) -> Tensor:
    """The tensor itself where it lies in memory in the order of the format, otherwise a copy that does."""
    return self if is_contiguous(self, memory_format) else clone(self, memory_format=memory_format)


@method
def stride(self: Tensor, dim: int | None = None) -> Any:
    """The step in memory along each dimension (or along `dim`), counted in elements."""
    array = self.array
    steps = tuple([s // array.itemsize for s in array.strides])
    return steps if dim is None else steps[wrap_dim(dim, array.ndim)]


@method
def data_ptr(self: Tensor) -> int:
    """The address of the first element."""
    storage.as_memory(self)
    return backends.of(self.array).pointer(self.array)


@method
def storage_offset(self: Tensor) -> int:
    """How many elements of its memory lie before the tensor's first."""
    return (data_ptr(self) - self.untyped_storage().data_ptr()) // self.array.itemsize


@method
def size(self: Tensor, dim: int | None = None) -> Any:
    """The sizes of all dimensions, or that of `dim`."""
    shape = self.array.shape
    return Size(shape) if dim is None else shape[wrap_dim(dim, len(shape))]


@method
def dim(self: Tensor) -> int:
    """The number of dimensions."""
    return self.array.ndim


method(dim, name="ndimension")


@method
def numel(self: Tensor) -> int:
    """The number of elements."""
    return self.array.size


method(numel, name="nelement")


@method
def element_size(self: Tensor) -> int:
    """The size of an element in bytes."""
    return self.array.itemsize
