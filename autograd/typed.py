"""The memory of a tensor: its bytes, and as a row of its elements, PyTorch's older `storage()`."""

from __future__ import annotations

import os
from typing import Any

from .. import backends
from ..backends import np
from . import storage
from .device import device_of
from .tensor import Tensor, wrap

__all__ = ["TypedStorage", "UntypedStorage"]


class UntypedStorage:
    """The memory under a tensor and under all its views: a row of bytes. owner: an array, or how many zeros."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Any = 0) -> None:
        self._owner = np.zeros(owner, "uint8") if isinstance(owner, int) else owner

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first `nbytes` bytes of a file, read when they are looked at.

        shared: what is written goes into the file, which is made where there is none; otherwise the file must be long
        enough, and keeps what it has. RuntimeError where it cannot be opened or is too short.
        """
        try:
            mode: Any = "c" if not shared else "r+" if os.path.exists(filename) else "w+"
            return cls(np.asarray(np.memmap(filename, "uint8", mode, shape=(nbytes,))) if nbytes else 0)
        except (OSError, ValueError) as error:
            raise RuntimeError(f"unable to map {nbytes} bytes of the file <{filename}>: {error}") from error

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

    def untyped(self) -> UntypedStorage:
        """The memory itself."""
        return self

    def _bytes(self) -> Any:
        return self._owner.ravel(order="K").view("uint8")

    def __getitem__(self, index: Any) -> Any:
        found = self._bytes()[index]
        return UntypedStorage(found) if isinstance(index, slice) else int(found)

    def __setitem__(self, index: Any, value: int) -> None:
        self._bytes()[index] = value

    def tolist(self) -> list[int]:
        """The bytes as numbers from 0 to 255."""
        return self._bytes().tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self._bytes() if dtype is None else self._bytes().astype(dtype)


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
