"""What cuDNN's kernels need of CuPy: addresses, memory, the device, the stream. Loaded at the first of them.

It has not run on a GPU yet.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import cupy

from ..cudnn import library
from ..cudnn.layouts import steps
from ..cudnn.plans import Runtime

__all__ = ["DeviceArrays", "chained", "interface", "runtime"]


class DeviceArrays:
    """CuPy, as `plans.Runtime` wants to know an array library."""

    xp = cupy

    @staticmethod
    def pointer(array: Any) -> int:
        """The address of the first element."""
        return array.data.ptr

    @staticmethod
    def empty(shape: Any, dtype: Any, last: bool = False) -> Any:
        """A new array that owns its memory, channels last where `last`."""
        if not last:
            return cupy.empty(shape, dtype)
        memory = cupy.empty(math.prod(shape), dtype)
        strides = tuple([step * memory.itemsize for step in steps(tuple(shape), last=True)])
        return cupy.ndarray(tuple(shape), memory.dtype, memory.data, strides)

    @staticmethod
    def device() -> str:
        """Name, compute capability, multiprocessors and number of the current device."""
        return _described(cupy.cuda.runtime.getDevice())

    @staticmethod
    def stream() -> int:
        """The current stream."""
        return cupy.cuda.get_current_stream().ptr

    @staticmethod
    def capturing() -> bool:
        """Whether the current stream is being captured into a graph."""
        return bool(cupy.cuda.get_current_stream().is_capturing())

    @staticmethod
    def timed(call: Callable[[], None]) -> float:
        """Milliseconds that the device takes for what `call` starts."""
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, end))


@functools.cache
def _described(index: int) -> str:
    found = cupy.cuda.runtime.getDeviceProperties(index)
    return f"{found['name'].decode()} {found['major']}.{found['minor']} x{found['multiProcessorCount']}#{index}"


_ARRAYS = DeviceArrays()


def interface() -> tuple[Any, Any]:
    """cuDNN's own functions, and CuPy; (None, None) where it is not installed."""
    found = library.dynamic()
    return (None, None) if found is None else (found, _ARRAYS)


@functools.cache
def runtime() -> Runtime | None:
    """cuDNN on CuPy's arrays; None where it is not installed."""
    found = library.library()
    return None if found is None else Runtime(found, _ARRAYS)


def chained(name: str, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """The kernel pair of the composite `name` in `first`; that in `second` for what `first` does not serve."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        for pair in (first, second):
            found = pair[name](*args, **kwargs)
            if found is not NotImplemented:
                return found[0], (pair, found[1])
        return NotImplemented

    def backward(g: Any, residual: Any, needs: Any) -> Any:
        pair, kept = residual
        return pair[f"{name}.grad"](g, kept, needs)

    forward.partial = backward.partial = True  # type: ignore[attr-defined]
    return {name: forward, f"{name}.grad": backward}
