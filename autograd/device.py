"""Devices: `device("cpu")`, `device("cuda:1")`; the one on which new tensors are made; and the way from one to another.

The default device lives in a ContextVar, as the modes do, so a thread or task that sets it disturbs no other.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from .. import backends

__all__ = [
    "CPU",
    "device",
    "device_of",
    "get_default_device",
    "get_num_threads",
    "move",
    "place_of",
    "set_default_device",
    "set_num_threads",
]


class device:
    """Where a tensor lives: a type ('cpu' or 'cuda') and, for cuda, an index. `device("cuda:1")`, `device("cuda", 1)`.

    Tensors on `device("meta")` have a shape and a dtype, and no elements: a model made there takes no memory.
    As a context manager it is the default device of the tensors made inside.
    """

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __new__(cls, type: Any = "cpu", index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        self = super().__new__(cls)
        if isinstance(type, int) and not isinstance(type, bool):
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
        return (
            f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> Any:
        return device, (str(self),)

    def __enter__(self) -> device:
        _default.set((self, *_default.get()))
        return self

    def __exit__(self, *exc: Any) -> None:
        _default.set(_default.get()[1:])

    @property
    def backend(self) -> backends.Backend:
        """The backend that serves this device; a clear error where it cannot be had."""
        try:
            return backends.by_device(self.type)
        except ImportError as error:
            lines = [line for line in str(error).splitlines() if line.strip(" =")]
            raise RuntimeError(
                f"no CUDA device can be used: CuPy cannot be imported ({lines[0] if lines else error}). For an NVIDIA "
                "GPU install the extra that matches its driver, as nvidia-smi shows it: pip install "
                "'chainrule[cuda12]' or pip install 'chainrule[cuda13]'"
            ) from error


CPU = device("cpu")
#: the default devices: the innermost first
_default: ContextVar[tuple[device, ...]] = ContextVar("chainrule_default_device", default=(CPU,))


def device_of(array: Any) -> device:
    """The device that holds `array`."""
    kind, index = backends.of(array).device_of(array)
    return CPU if kind == "cpu" else device(kind, index)


def get_default_device() -> device:
    """The device on which tensors are made that are given none."""
    return _default.get()[0]


def set_default_device(device: Any) -> None:
    """Set the device on which tensors are made that are given none, in this context; None: the CPU."""
    place = CPU if device is None else place_of(device)
    place.backend  # noqa: B018  an error here is better than one at the next tensor
    _default.set((place, *_default.get()[1:]))


def get_num_threads() -> int:
    """How many threads the CPU's matrix products use."""
    return CPU.backend.get_threads()


def set_num_threads(num: int) -> None:
    """Let the CPU's matrix products use `num` threads: NumPy's own BLAS (OpenBLAS) alone can be told."""
    if num < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {num}")
    CPU.backend.set_threads(num)


def place_of(where: Any) -> device:
    """`where` (None: the default) as a device."""
    return _default.get()[0] if where is None else where if type(where) is device else device(where)


def move(array: Any, place: device, non_blocking: bool = False) -> Any:
    """`array` on a device: itself where it is there already. non_blocking: the host need not wait for it."""
    if place.type == "cpu":
        if place.index not in (None, 0):
            raise RuntimeError(f"there is one CPU device: {place} does not exist")
        return array if backends.of(array).device_of(array)[0] == "cpu" else backends.of(array).to_host(array)
    backend = place.backend
    return backend.asarray_soon(array, place.index) if non_blocking else backend.asarray(array, index=place.index)
