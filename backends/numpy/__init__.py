"""The NumPy backend: arrays on the CPU.

NumPy returns scalars (`np.float32(3)`) for 0-d results; they are registered as arrays of this backend instead
of being wrapped after every kernel, which would cost each op 0.2 microseconds.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import compiled
from ..base import FOREIGN, Backend
from ..threads import get_threads, set_threads
from .kernels import KERNELS
from .memory import POOL, Memory, give_back_heap, keep_freed_memory
from .random import HostGenerator
from .steps import STEPS

__all__ = ["BACKEND", "NumpyBackend"]

#: elements from which compiled code pays where an op writes into its own argument
_LEAST_INTO = 8192


def _references(view: Any) -> int:
    base = view.base
    return sys.getrefcount(base)


#: references to the base of one array, and a local name: their number depends on the interpreter
_ALONE = _references(np.empty(2)[:1])


class NumpyBackend(Backend):
    """NumPy arrays on the host."""

    name = "numpy"
    xp = np
    array_types = (np.ndarray, np.generic)
    kernels = KERNELS
    steps = STEPS

    def device_of(self, array: Any) -> tuple[str, int | None]:
        return "cpu", None

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Any:
        if index not in (None, 0):
            raise RuntimeError(f"there is one CPU device: cpu:{index} does not exist")
        return np.asarray(data, dtype)

    def before_training(self) -> None:
        keep_freed_memory()

    def memory_stats(self) -> dict[str, int]:
        """Counts of the pool of large blocks; see `runtime.cpu.memory_stats`."""
        return POOL.stats()

    def reset_peak_memory(self) -> None:
        """Count the pool's peaks from now on."""
        POOL.reset_peaks()

    def empty_cache(self) -> None:
        """Give free memory back to the system: the pool's, and the C library's."""
        POOL.clear()
        give_back_heap()

    def relu_into(self, array: Any) -> None:
        if array.size < _LEAST_INTO or not compiled.available() or not compiled.write_into("relu", array):
            np.maximum(array, 0, out=array)

    def add_into(self, array: Any, other: Any) -> None:
        if array.size < _LEAST_INTO or not compiled.available() or not compiled.write_into("add", array, other):
            np.add(array, other, out=array)

    def sole(self, array: Any) -> bool:
        base, size = array.base, array.nbytes
        while base is not None:
            if sys.getrefcount(base) != _ALONE:
                return False
            if type(base) is Memory:
                return True
            if type(base) is not np.ndarray or base.nbytes != size:
                return False
            base = base.base
        return True

    def to_host(self, array: Any) -> Any:
        return np.asarray(array)

    def owner(self, array: Any) -> Any:
        # The last array of the chain: under it may lie a buffer or a DLPack capsule, which has no weak references, and
        # in the middle the holder that as_strided puts there.
        found, base = array, getattr(array, "base", None)
        while base is not None:
            if isinstance(base, np.ndarray):
                found = base
            base = getattr(base, "base", None)
        return found

    def pointer(self, array: Any) -> int:
        return array.ctypes.data

    def guarded(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        if not FOREIGN:
            return kernel

        @functools.wraps(kernel)
        def among_its_own(*args: Any, **kwargs: Any) -> Any:
            for x in args or kwargs.values():
                if type(x) in FOREIGN:  # NumPy's functions would hand its scalars on to CuPy
                    raise TypeError("a kernel of the CPU was given an array of another device")
            return kernel(*args, **kwargs)

        return among_its_own

    def writable(self, array: Any) -> bool:
        return array.flags.writeable

    def get_threads(self) -> int:
        return get_threads()

    def set_threads(self, n: int) -> None:
        set_threads(n)

    def recorder(self, pool: Any = None) -> Any:
        from .. import by_name
        from .recorder import NumpyRecorder

        by_name("recorded")  # the backend of the arrays that are recorded
        return NumpyRecorder(self.owner)

    def generator(self, seed: int | None) -> HostGenerator:
        return HostGenerator(seed)


BACKEND = NumpyBackend()
