"""The memory of a GPU, as the pools of CuPy and of CUDA graphs have it."""

from __future__ import annotations

from typing import Any

from ...autograd.errors import OutOfMemoryError
from .devices import CUDA, device_count, is_available, need

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
        for index in range(device_count()):
            max_memory_reserved(index)
        CUDA.backend.empty_cache()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) memory of a GPU in bytes."""
    return CUDA.backend.memory_info(need(device))


def _memory(device: Any) -> tuple[int, int]:
    return CUDA.backend.streams.memory(need(device)) if is_available() else (0, 0)


def memory_allocated(device: Any = None) -> int:
    """Bytes that tensors hold on a GPU, with those of CUDA graphs; 0 without one."""
    return _memory(device)[0]


def memory_reserved(device: Any = None) -> int:
    """Bytes that tensors hold, and those held for later ones."""
    return _memory(device)[1]


def max_memory_allocated(device: Any = None) -> int:
    """The most that tensors have held since `reset_peak_memory_stats`, counted from its first call on.

    Without one nothing is counted, as that takes time at each allocation, and `memory_reserved` is given, which is no
    less: the pool gives memory back on `empty_cache` alone.
    """
    return CUDA.backend.streams.peak(need(device)) if is_available() else 0


#: the most that memory_reserved has been since the last reset, as far as anybody looked
_reserved: dict[int, int] = {}


def max_memory_reserved(device: Any = None) -> int:
    """The most that `memory_reserved` was: as it shrinks on `empty_cache` alone, what it was before that, or is now."""
    if not is_available():
        return 0
    index = need(device)
    _reserved[index] = max(_reserved.get(index, 0), memory_reserved(index))
    return _reserved[index]


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the peaks of a GPU from now on."""
    if is_available():
        index = need(device)
        CUDA.backend.streams.track(index)
        _reserved[index] = memory_reserved(index)


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
    """`memory_stats` as lines of text. abbreviated: PyTorch's, without effect."""
    return "\n".join(f"{name:32} {value:>16,}" for name, value in memory_stats(device).items())


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """Let tensors take at most this part of the GPU's memory."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    CUDA.backend.streams.limit(need(device), fraction)


def ipc_collect() -> None:
    """Nothing: no memory is shared with other processes."""
