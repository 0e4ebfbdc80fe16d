"""The GPUs of this machine: how many, which, what they are."""

from __future__ import annotations

import importlib.util
from typing import Any

from ... import backends
from ...autograd.device import device as place

__all__ = [
    "can_device_access_peer",
    "current_device",
    "device",
    "device_count",
    "device_of",
    "get_arch_list",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "init",
    "is_available",
    "is_bf16_supported",
    "is_initialized",
    "set_device",
    "synchronize",
]

CUDA = place("cuda")


def device_count() -> int:
    """How many GPUs there are."""
    try:
        return backends.by_device("cuda").device_count()
    except (ImportError, RuntimeError):  # no CuPy; no driver or no device
        return 0


def is_available() -> bool:
    """True where tensors can be put on a GPU."""
    return device_count() > 0


def index_of(where: Any) -> int | None:
    """The index that an int, a device or its name gives."""
    return where if where is None or isinstance(where, int) else place(where).index


def current_device() -> int:
    """The index of the GPU on which tensors are made that name none."""
    return CUDA.backend.current_device()


def set_device(device: Any) -> None:
    """Make a GPU the current one of this thread."""
    index = index_of(device)
    if index is not None and index >= 0:
        CUDA.backend.set_device(index)


def synchronize(device: Any = None) -> None:
    """Wait until a GPU has finished what it was given."""
    CUDA.backend.streams.synchronize(need(device))


def _unavailable() -> RuntimeError:
    try:
        CUDA.backend  # noqa: B018  says what is missing
    except RuntimeError as error:
        return error
    return RuntimeError("there is no CUDA device")


def need(index: Any = None) -> int:
    """The index of a device that is there."""
    if not is_available():
        raise _unavailable()
    found = index_of(index)
    return current_device() if found is None else found


def is_initialized() -> bool:
    """True once a GPU has been used; here as soon as one can be."""
    return is_available()


def init() -> None:
    """Make the GPU ready; RuntimeError where there is none."""
    need()


def get_device_properties(device: Any = None) -> Any:
    """Name, `major`, `minor`, `total_memory` in bytes, `multi_processor_count`, and more by PyTorch's names."""
    return CUDA.backend.properties(need(device))


def get_device_name(device: Any = None) -> str:
    """The name that the maker gave a GPU."""
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a GPU, (major, minor)."""
    found = get_device_properties(device)
    return found.major, found.minor


def get_arch_list() -> list[str]:
    """[]: kernels are compiled for the GPU that is there, when they are first used."""
    return []


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether there is bfloat16 (the extra of that name) and a GPU that multiplies it.

    Those from compute capability 8.0 on do so by themselves; with `including_emulation` any GPU counts.
    """
    if not is_available() or importlib.util.find_spec("ml_dtypes") is None:
        return False
    return including_emulation or get_device_capability()[0] >= 8


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Whether a GPU reads another's memory; False where there is one."""
    return CUDA.backend.can_access_peer(need(device), need(peer_device))


class device:
    """`with cuda.device(1):` makes a GPU the current one, and restores the former; -1 and None change nothing."""

    def __init__(self, device: Any) -> None:
        index = index_of(device)
        self.idx = -1 if index is None else index
        self._before: list[int] = []

    def __enter__(self) -> None:
        if self.idx >= 0 and is_available():
            self._before.append(current_device())
            set_device(self.idx)

    def __exit__(self, *exc: Any) -> None:
        if self._before:
            set_device(self._before.pop())


class device_of(device):
    """`with cuda.device_of(tensor):` makes the GPU of `obj`, a tensor, the current one; nothing for one on the CPU."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.device if obj.is_cuda else None)
