"""Devices: `device("cpu")`, `device("cuda:1")`."""

from __future__ import annotations

from typing import Any

from .. import backends

__all__ = ["CPU", "device", "device_of"]


class device:
    """Where a tensor lives: a type ('cpu' or 'cuda') and, for cuda, an index. `device("cuda:1")`, `device("cuda", 1)`."""

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __new__(cls, type: Any = "cpu", index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        self = super().__new__(cls)
        if isinstance(type, int):
            type, index = "cuda", type
        if not isinstance(type, str):
            raise TypeError(f"device(): a device is named by a string, not {type.__class__.__name__}")
        kind, colon, number = type.partition(":")
        if colon:
            if index is not None or not number.isdigit():
                raise RuntimeError(f"invalid device string: {type!r}; write 'cpu', 'cuda' or 'cuda:1'")
            index = int(number)
        if kind not in ("cpu", "cuda", "meta", "mps", "xpu"):
            raise RuntimeError(f"expected one of cpu, cuda as device type at start of device string: {type}")
        self.type, self.index = kind, index
        return self

    def __repr__(self) -> str:
        return f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> Any:
        return device, (str(self),)

    @property
    def backend(self) -> backends.Backend:
        """The backend that serves this device; a clear error where it cannot be had."""
        return backends.by_device(self.type)


CPU = device("cpu")


def device_of(array: Any) -> device:
    """The device that holds `array`."""
    kind, index = backends.of(array).device_of(array)
    return CPU if kind == "cpu" else device(kind, index)
