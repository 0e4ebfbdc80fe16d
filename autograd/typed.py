"""The memory of a tensor: its bytes, and as a row of its elements, PyTorch's older `storage()`."""

from __future__ import annotations

from typing import Any

from .. import backends
from . import storage
from .device import device_of
from .tensor import Tensor, wrap

__all__ = ["TypedStorage", "UntypedStorage"]


class UntypedStorage:
    """The memory under a tensor and under all its views."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    @property
    def device(self) -> Any:
        """Where the memory is."""
        return device_of(self._owner)

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return backends.of(self._owner).pointer(self._owner)

    def nbytes(self) -> int:
        """The size in bytes."""
        return self._owner.nbytes

    size = __len__ = nbytes


class TypedStorage:
    """All elements of the memory under a tensor, in their order. Writing to it changes the tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def _view(self) -> Tensor:
        """All the memory, as a vector."""
        t = self._tensor
        storage.as_memory(t)
        owner = backends.of(t.array).owner(t.array)
        if owner.dtype != t.array.dtype:
            owner = owner.view(t.array.dtype)
        return wrap(owner.ravel(order="K"), None)

    @property
    def dtype(self) -> Any:
        """The type of the elements."""
        return self._tensor.dtype

    @property
    def device(self) -> Any:
        """Where the memory is."""
        return self._tensor.device

    def untyped(self) -> Any:
        """The memory in bytes."""
        return self._tensor.untyped_storage()

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return self.untyped().data_ptr()

    def nbytes(self) -> int:
        """The size in bytes."""
        return self.untyped().nbytes()

    def element_size(self) -> int:
        """Bytes per element."""
        return self._tensor.element_size()

    def size(self) -> int:
        """The number of elements."""
        return self.nbytes() // self.element_size()

    __len__ = size

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        return self._view().tolist()

    def __iter__(self) -> Any:
        return iter(self.tolist())

    def __getitem__(self, index: Any) -> Any:
        found = self._view()[index]
        return found.item() if not found.shape else found

    def __setitem__(self, index: Any, value: Any) -> None:
        self._view()[index] = value

    def fill_(self, value: Any) -> TypedStorage:
        """Set all elements."""
        self._view().fill_(value)
        return self

    def __repr__(self) -> str:
        rows = "\n ".join(map(str, self.tolist()))
        return (
            f" {rows}\n[chainrule.storage.TypedStorage(dtype={self.dtype}, device={self.device}) of size {len(self)}]"
        )
