"""The CuPy backend: arrays on NVIDIA GPUs, computed by the same generic forwards as on the CPU.

It has been checked against the real CuPy package without a GPU (tests/test_cupy_static.py: every function, keyword and
method that an op uses), and has not run on a GPU yet. `pytest --backend=cupy` on a machine with one is what is missing.

Several GPUs: CuPy computes on the thread's current device, wherever the operands are. So with more than one device
every kernel and rule first makes the device of its arrays the current one, and refuses arrays of two devices. Turned
down: a `with Device(...)` around each, which would leave the sums that the tape makes between rules elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import cupy
import numpy as np

from ..base import Backend
from .kernels import KERNELS
from .namespace import Namespace, check_indices
from .random import DeviceGenerator

__all__ = ["BACKEND", "CupyBackend"]

_HOST = (np.ndarray, np.generic)
_INSTALL = "pip install 'chainrule[cuda12]' or pip install 'chainrule[cuda13]', as nvidia-smi says"


class CupyBackend(Backend):
    """CuPy arrays on the GPUs of this machine."""

    name = "cupy"
    device_type = "cuda"
    array_types = (cupy.ndarray,)
    kernels = KERNELS

    def __init__(self) -> None:
        self.xp = Namespace()
        self._current: ContextVar[int] = ContextVar("chainrule_cuda_device", default=0)

    # -- devices --------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _devices(self) -> tuple[int, str]:
        """(how many devices, why none)."""
        try:
            return cupy.cuda.runtime.getDeviceCount(), "the driver lists no device"
        except cupy.cuda.runtime.CUDARuntimeError as error:
            return 0, str(error)

    def device_count(self) -> int:
        return self._devices[0]

    def require(self) -> None:
        count, reason = self._devices
        if not count:
            raise RuntimeError(
                f"no CUDA device can be used: {reason}. Tensors on 'cuda' need an NVIDIA GPU, its driver, "
                f"and a CuPy for that driver: {_INSTALL}"
            )

    def current_device(self) -> int:
        return self._current.get()

    def set_device(self, index: int) -> None:
        self._current.set(self._checked(index))

    def select(self, index: int | None = None) -> None:
        if self.device_count() > 1:
            cupy.cuda.Device(self._checked(index)).use()

    def _checked(self, index: int | None) -> int:
        if index is None:
            return self._current.get()
        self.require()
        if not 0 <= index < self.device_count():
            last = self.device_count() - 1
            raise RuntimeError(f"invalid device cuda:{index}: the last one of this machine is cuda:{last}")
        return index

    def device_of(self, array: Any) -> tuple[str, int | None]:
        return "cuda", array.device.id

    def guarded(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        several = self.device_count() > 1

        @functools.wraps(kernel)
        def on_its_device(*args: Any, **kwargs: Any) -> Any:
            operands = args or kwargs.values()
            for x in operands:
                if isinstance(x, _HOST):  # CuPy takes scalars of NumPy's for numbers
                    raise TypeError("a kernel of the GPU was given an array of the CPU")
            if several:
                found = {a.device.id for a in operands if isinstance(a, cupy.ndarray)}
                if len(found) > 1:
                    raise TypeError(f"arrays on different devices: {', '.join(f'cuda:{i}' for i in sorted(found))}")
                for index in found:
                    cupy.cuda.Device(index).use()
            return kernel(*args, **kwargs)

        return on_its_device

    def synchronize(self) -> None:
        cupy.cuda.Device(self._current.get()).synchronize()

    # -- arrays and memory ----------------------------------------------------------------------------------------

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Any:
        self.require()
        if isinstance(data, cupy.ndarray):
            cupy.cuda.Device(data.device.id if index is None else self._checked(index)).use()
            if index is not None and data.device.id != index:
                data = data.copy()  # on the device in use, from wherever it is
            return data if dtype is None else data.astype(dtype, copy=False)
        cupy.cuda.Device(self._checked(index)).use()
        return cupy.asarray(np.asarray(data, dtype))

    def to_host(self, array: Any) -> Any:
        return cupy.asnumpy(array)

    def owner(self, array: Any) -> Any:
        # The array that the memory was taken for: CuPy's memory objects have no weak references, which arrays have.
        root = array if array.base is None else array.base
        return getattr(root.data, "root", root)

    def check_indices(self, shape: tuple[int, ...], indices: tuple[Any, ...]) -> None:
        check_indices(shape, indices)

    def pointer(self, array: Any) -> int:
        return array.data.ptr

    def writable(self, array: Any) -> bool:
        # CuPy has no read-only arrays. Elements share cells unless each step leaps over all that lies within it.
        span = array.itemsize
        for step, n in sorted((abs(s), n) for s, n in zip(array.strides, array.shape) if n > 1):
            if step < span:
                return array.size == 0
            span += step * (n - 1)
        return True

    def empty_cache(self) -> None:
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()

    # -- what the runtime tells of a GPU --------------------------------------------------------------------------

    def properties(self, index: int) -> Any:
        found = cupy.cuda.runtime.getDeviceProperties(self._checked(index))
        return SimpleNamespace(
            name=found["name"].decode(),
            major=found["major"],
            minor=found["minor"],
            total_memory=found["totalGlobalMem"],
            multi_processor_count=found["multiProcessorCount"],
        )

    def memory_info(self, index: int) -> tuple[int, int]:
        with cupy.cuda.Device(self._checked(index)):
            return cupy.cuda.runtime.memGetInfo()

    def memory_used(self) -> tuple[int, int]:
        pool = cupy.get_default_memory_pool()
        return pool.used_bytes(), pool.total_bytes()

    def limit_memory(self, fraction: float) -> None:
        cupy.get_default_memory_pool().set_limit(fraction=fraction)

    def can_access_peer(self, index: int, peer: int) -> bool:
        return bool(cupy.cuda.runtime.deviceCanAccessPeer(self._checked(index), self._checked(peer)))

    def event(self) -> Any:
        event = cupy.cuda.Event()
        event.record()
        return event

    def elapsed(self, start: Any, end: Any) -> float:
        return float(cupy.cuda.get_elapsed_time(start, end))

    def generator(self, seed: int | None) -> DeviceGenerator:
        self.require()
        return DeviceGenerator(self.xp, seed)


BACKEND = CupyBackend()
