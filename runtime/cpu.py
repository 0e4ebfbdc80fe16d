"""`chainrule.cpu`: PyTorch's names for the one device that is always there.

PyTorch has none for the CPU's memory; those here are the ones it has for a GPU's. They are about the pool from which
kernels take large results; see backends/numpy/memory.py.
"""

from __future__ import annotations

import contextlib
from typing import Any

from ..backends import by_name
from . import cpu_amp as amp

__all__ = [
    "amp",
    "current_device",
    "current_stream",
    "device_count",
    "empty_cache",
    "is_available",
    "max_memory_allocated",
    "max_memory_reserved",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "reset_peak_memory_stats",
    "set_device",
    "stream",
    "synchronize",
]


def is_available() -> bool:
    """True: there is always a CPU."""
    return True


def device_count() -> int:
    """1: all processors are one device."""
    return 1


def current_device() -> str:
    """'cpu', the name of the one device."""
    return "cpu"


def set_device(device: Any) -> None:
    """Nothing: there is one."""


def synchronize(device: Any = None) -> None:
    """Nothing: what a call on the CPU computes is there when it returns."""


def current_stream(device: Any = None) -> None:
    """None: calls on the CPU run one after another."""


def stream(stream: Any) -> Any:
    """A context that changes nothing."""
    return contextlib.nullcontext(stream)


# -- memory -----------------------------------------------------------------------------------------------------------


_HOST: Any = by_name("numpy")


def empty_cache() -> None:
    """Give memory that is held for later tensors back to the system: the pool's, and the C library's."""
    _HOST.empty_cache()


def memory_allocated(device: Any = None) -> int:
    """Bytes of the pool's blocks that tensors hold."""
    return memory_stats()["allocated_bytes.all.current"]


def memory_reserved(device: Any = None) -> int:
    """Bytes of the pool's blocks: those that tensors hold, and those held for later ones."""
    return memory_stats()["reserved_bytes.all.current"]


def max_memory_allocated(device: Any = None) -> int:
    """The most that `memory_allocated` has been since the last reset."""
    return memory_stats()["allocated_bytes.all.peak"]


def max_memory_reserved(device: Any = None) -> int:
    """The most that `memory_reserved` has been since the last reset."""
    return memory_stats()["reserved_bytes.all.peak"]


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the peaks from now on."""
    _HOST.reset_peak_memory()


def memory_stats(device: Any = None) -> dict[str, int]:
    """Counts of the pool that holds the memory of large results for later ones.

    `allocated_bytes.all` and `reserved_bytes.all`, `.current` and `.peak`: bytes in use, and those with the free ones.
    `num_device_alloc`, `num_device_free`: blocks that the system gave, and got back; `num_reused`: those that served
    again. `limit_bytes`: what may lie free (environment variable CHAINRULE_KEEP_MEMORY: bytes, or such as 2G; 0 for no
    pool; by default a quarter of the machine's memory). `smallest_bytes`: the size from which results come from it.
    """
    return _HOST.memory_stats()
