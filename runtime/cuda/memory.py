"""The memory of a GPU, as CuPy's pool has it."""

from __future__ import annotations

from typing import Any

from ...autograd.errors import OutOfMemoryError
from .devices import CUDA, is_available, need

__all__ = [
    "OutOfMemoryError",
    "empty_cache",
    "ipc_collect",
    "max_memory_allocated",
    "max_memory_cached",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_cached",
    "memory_reserved",
    "memory_stats",
    "memory_summary",
    "reset_max_memory_allocated",
    "reset_max_memory_cached",
    "reset_peak_memory_stats",
    "set_per_process_memory_fraction",
]


def empty_cache() -> None:
    """Give memory back that is held for later tensors."""
    if is_available():
        CUDA.backend.empty_cache()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) memory of a GPU in bytes."""
    return CUDA.backend.memory_info(need(device))


def memory_allocated(device: Any = None) -> int:
    """Bytes that tensors hold on the GPU; 0 without one."""
    return CUDA.backend.memory_used()[0] if is_available() else 0


def memory_reserved(device: Any = None) -> int:
    """Bytes that tensors hold, and those held for later ones."""
    return CUDA.backend.memory_used()[1] if is_available() else 0


#: the most that memory_allocated and memory_reserved have been since the last reset, as far as anybody looked
_peaks = {"allocated": 0, "reserved": 0}


def max_memory_allocated(device: Any = None) -> int:
    """The most that `memory_allocated` was when one of these functions was called: CuPy's pool keeps no peak."""
    _peaks["allocated"] = max(_peaks["allocated"], memory_allocated(device))
    return _peaks["allocated"]


def max_memory_reserved(device: Any = None) -> int:
    """The most that `memory_reserved` was. The pool gives memory back only on `empty_cache`, so this is its size."""
    _peaks["reserved"] = max(_peaks["reserved"], memory_reserved(device))
    return _peaks["reserved"]


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the peaks from now on."""
    _peaks["allocated"], _peaks["reserved"] = memory_allocated(device), memory_reserved(device)


reset_max_memory_allocated = reset_max_memory_cached = reset_peak_memory_stats
memory_cached, max_memory_cached = memory_reserved, max_memory_reserved


def memory_stats(device: Any = None) -> dict[str, int]:
    """Bytes now and at most, under PyTorch's keys."""
    return {
        "allocated_bytes.all.current": memory_allocated(device),
        "allocated_bytes.all.peak": max_memory_allocated(device),
        "reserved_bytes.all.current": memory_reserved(device),
        "reserved_bytes.all.peak": max_memory_reserved(device),
    }


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """`memory_stats` as lines of text."""
    return "\n".join(f"{name:32} {value:>16,}" for name, value in memory_stats(device).items())


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """Let tensors take at most this part of the GPU's memory."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    need(device)
    CUDA.backend.limit_memory(fraction)


def ipc_collect() -> None:
    """Nothing: no memory is shared with other processes."""
