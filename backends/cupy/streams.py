"""Streams, events and memory of the GPUs, as the runtime shows them. Has not run on a GPU yet.

Streams wait for nobody (not for the null stream either), as PyTorch's; the null stream is the default one.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import cupy

__all__ = [
    "POOLS",
    "Peak",
    "current",
    "elapsed",
    "event",
    "external",
    "hold",
    "limit",
    "memory",
    "new",
    "null",
    "peak",
    "pool",
    "synchronize",
    "track",
    "use",
]

#: the memory pools of CUDA graphs (graphs.py), beside CuPy's own
POOLS: weakref.WeakSet[Any] = weakref.WeakSet()


def new(index: int, priority: int = 0) -> Any:
    """A new stream of a GPU."""
    with cupy.cuda.Device(index):
        return cupy.cuda.Stream(non_blocking=True, priority=priority)


def null() -> Any:
    """The default stream of any GPU."""
    return cupy.cuda.Stream.null


class _External:
    """A stream of somebody else's, by the protocol that CuPy asks for."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._pointer


def external(index: int, pointer: int) -> Any:
    """The stream of a GPU that lives at an address."""
    with cupy.cuda.Device(index):
        return cupy.cuda.Stream.from_external(_External(pointer))


def current(index: int) -> Any:
    """The stream that work for a GPU goes to, in this thread."""
    with cupy.cuda.Device(index):
        return cupy.cuda.get_current_stream()


def use(index: int, stream: Any) -> None:
    """Let work for a GPU go to `stream`, in this thread."""
    with cupy.cuda.Device(index):
        stream.use()


def event(index: int, timing: bool, blocking: bool, interprocess: bool) -> Any:
    """A new event of a GPU."""
    with cupy.cuda.Device(index):
        return cupy.cuda.Event(block=blocking, disable_timing=not timing, interprocess=interprocess)


def elapsed(start: Any, end: Any) -> float:
    """Milliseconds between two events."""
    return float(cupy.cuda.get_elapsed_time(start, end))


def synchronize(index: int) -> None:
    """Wait until a GPU has done all it was given."""
    cupy.cuda.Device(index).synchronize()


# -- memory -----------------------------------------------------------------------------------------------------------

_held: deque[Any] = deque()


def hold(array: Any, stream: Any) -> None:
    """Keep the memory of `array` until `stream` has done what it was given so far.

    The pool gives freed memory to later work of the stream that it was taken for, and knows nothing of other streams.
    """
    with cupy.cuda.Device(array.device.id):
        mark = cupy.cuda.Event(disable_timing=True)
        mark.record(stream)
    _held.append((mark, array))
    while _held and _held[0][0].done:
        _held.popleft()


def memory(index: int) -> tuple[int, int]:
    """(bytes that arrays hold, bytes that the pools hold) on a GPU, graphs included."""
    with cupy.cuda.Device(index):
        pools = [cupy.get_default_memory_pool(), *POOLS]
        return sum([p.used_bytes() for p in pools]), sum([p.total_bytes() for p in pools])


def pool() -> Any:
    """New memory for graphs."""
    made = cupy.cuda.MemoryPool()
    POOLS.add(made)
    return made


def limit(index: int, fraction: float) -> None:
    """Let arrays take at most this part of a GPU's memory."""
    with cupy.cuda.Device(index):
        cupy.get_default_memory_pool().set_limit(fraction=fraction)


class Peak(cupy.cuda.MemoryHook):
    """The most that arrays have held, by GPU. Counts what the thread takes that entered it, and what it gives back."""

    name = "chainrule.peak"

    def __init__(self) -> None:
        self.now: dict[int, int] = {}
        self.most: dict[int, int] = {}

    def begin(self, index: int) -> None:
        """Count from what is held now."""
        self.now[index] = self.most[index] = memory(index)[0]

    def malloc_postprocess(self, *, device_id: int, mem_size: int, **rest: Any) -> None:
        """Called by CuPy."""
        if device_id in self.now:
            self.now[device_id] += mem_size
            self.most[device_id] = max(self.most[device_id], self.now[device_id])

    def free_postprocess(self, *, device_id: int, mem_size: int, **rest: Any) -> None:
        """Called by CuPy."""
        if device_id in self.now:
            self.now[device_id] -= mem_size


_peak: Peak | None = None


def track(index: int) -> None:
    """Count the most that arrays hold from now on. Each later allocation takes a microsecond more."""
    global _peak
    if _peak is None:
        _peak = Peak()
        _peak.__enter__()
    _peak.begin(index)


def peak(index: int) -> int:
    """The most that arrays have held since `track`; before it, what the pools hold, which is as much or more."""
    used, held = memory(index)
    if _peak is None or index not in _peak.now:
        return held
    _peak.now[index] = used  # another thread may have taken and given back
    _peak.most[index] = max(_peak.most[index], used)
    return _peak.most[index]
