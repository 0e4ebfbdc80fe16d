"""`chainrule.accelerator`: the device beside the CPU, whatever it is. Here it is a GPU or nothing."""

from __future__ import annotations

import importlib
from typing import Any

from ..autograd import device
from ..autograd import device as place
from . import cuda

__all__ = [
    "current_accelerator",
    "current_device_idx",
    "current_device_index",
    "current_stream",
    "device_count",
    "device_index",
    "empty_cache",
    "get_device_module",
    "get_memory_info",
    "is_available",
    "max_memory_allocated",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "reset_peak_memory_stats",
    "set_device_idx",
    "set_device_index",
    "set_stream",
    "synchronize",
]


def is_available() -> bool:
    """True where there is a GPU that can be used."""
    return cuda.is_available()


def device_count() -> int:
    """How many GPUs there are; 0 without one."""
    return cuda.device_count()


def current_accelerator(check_available: bool = False) -> device | None:
    """`device("cuda")` where there is a GPU, None where there is none; `check_available` changes nothing here."""
    return device("cuda") if is_available() else None


def _need() -> None:
    if not is_available():
        raise RuntimeError("Cannot access accelerator device when none is available.")


def current_device_index() -> int:
    """The index of the current GPU; RuntimeError without one."""
    _need()
    return cuda.current_device()


def set_device_index(device: Any) -> None:
    """Make a GPU the current one; RuntimeError without one."""
    _need()
    cuda.set_device(device)


current_device_idx, set_device_idx = current_device_index, set_device_index


class device_index(cuda.device):
    """`with accelerator.device_index(1):` makes a GPU the current one, and restores the former."""


def current_stream(device: Any = None) -> Any:
    """The queue of a GPU's work; RuntimeError without one."""
    _need()
    return cuda.current_stream(device)


def set_stream(stream: Any) -> None:
    """Nothing: all streams are one."""


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has finished; RuntimeError without one."""
    _need()
    cuda.synchronize(device)


def get_device_module(device: Any = None) -> Any:
    """The module of a device type, `chainrule.cuda` or `chainrule.cpu`; of the accelerator, or the CPU, by default."""
    kind = place(device).type if device is not None else "cuda" if is_available() else "cpu"
    return importlib.import_module(f".{kind}", __package__)


empty_cache = cuda.empty_cache
get_memory_info = cuda.mem_get_info
max_memory_allocated = cuda.max_memory_allocated
memory_allocated = cuda.memory_allocated
memory_reserved = cuda.memory_reserved
memory_stats = cuda.memory_stats
reset_peak_memory_stats = cuda.reset_peak_memory_stats
