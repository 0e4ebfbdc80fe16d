"""The CuPy backend: arrays on NVIDIA GPUs, computed by the same generic forwards as on the CPU.

It has been checked against the real CuPy package without a GPU (tests/test_cupy_static.py: every function, keyword and
method that an op uses), and has not run on a GPU yet. `pytest --backend=cupy` on a machine with one is what is missing.

Several GPUs: CuPy computes on the thread's current device, wherever the operands are. So with more than one device
every kernel and rule first makes the device of its arrays the current one, and refuses arrays of two devices. Turned
down: a `with Device(...)` around each, which would leave the sums that the tape makes between rules elsewhere.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from itertools import chain
from types import SimpleNamespace
from typing import Any

import cupy
import cupyx
import numpy as np

from ..base import Backend
from ..recorded import refused
from ..recorder import recording
from .kernels import KERNELS
from .namespace import Namespace, check_indices
from .own import STEPS
from .random import DeviceGenerator

__all__ = ["BACKEND", "CupyBackend"]

_HOST = (np.ndarray, np.generic)
#: what the name of CUDA's error says is missing, and what to do
_MISSING = {
    "InsufficientDriver": (
        "the driver is missing, or older than CuPy's CUDA",
        "Install NVIDIA's driver, or the extra for the CUDA version that nvidia-smi shows",
    ),
    "NoDevice": (
        "the driver finds no device",
        "Tensors on 'cuda' need an NVIDIA GPU; does CUDA_VISIBLE_DEVICES hide it?",
    ),
}
#: PyTorch's names of what the runtime tells of a device besides, and its own
_PROPERTIES = {
    "warp_size": "warpSize",
    "max_threads_per_block": "maxThreadsPerBlock",
    "max_threads_per_multi_processor": "maxThreadsPerMultiProcessor",
    "regs_per_multiprocessor": "regsPerMultiprocessor",
    "shared_memory_per_block": "sharedMemPerBlock",
    "shared_memory_per_block_optin": "sharedMemPerBlockOptin",
    "shared_memory_per_multiprocessor": "sharedMemPerMultiprocessor",
    "L2_cache_size": "l2CacheSize",
    "is_integrated": "integrated",
    "is_multi_gpu_board": "isMultiGpuBoard",
    "clock_rate": "clockRate",
    "memory_clock_rate": "memoryClockRate",
    "memory_bus_width": "memoryBusWidth",
    "pci_bus_id": "pciBusID",
    "pci_device_id": "pciDeviceID",
    "pci_domain_id": "pciDomainID",
}
_INSTALL = "pip install 'chainrule[cuda12]' or pip install 'chainrule[cuda13]'"


class CupyBackend(Backend):
    """CuPy arrays on the GPUs of this machine."""

    name = "cupy"
    device_type = "cuda"
    array_types = (cupy.ndarray,)
    kernels = KERNELS
    steps = {**STEPS}

    def __init__(self) -> None:
        self.xp = Namespace()
        self._sent: deque[Any] = deque()  # (event, array) of copies from pinned memory that are under way
        self._current: ContextVar[int] = ContextVar("chainrule_cuda_device", default=0)

    # -- devices --------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _devices(self) -> tuple[int, str]:
        """(how many devices, why none can be used)."""
        try:
            count, error = cupy.cuda.runtime.getDeviceCount(), "cudaErrorNoDevice"
        except cupy.cuda.runtime.CUDARuntimeError as raised:
            count, error = 0, str(raised)
        if not count:
            what, remedy = next((said for name, said in _MISSING.items() if name in error), (error, "See nvidia-smi"))
            return 0, f"{what} ({error}). {remedy}: {_INSTALL}"
        try:
            cupy.cuda.nvrtc.getVersion()  # it compiles most of what CuPy runs
        except Exception as raised:
            first = (str(raised).strip() or type(raised).__name__).splitlines()[0]
            kind = f"cupy-cuda{cupy.cuda.runtime.runtimeGetVersion() // 1000}x"
            return 0, f"CUDA's compiler is missing ({first}). Install a CUDA toolkit, or: pip install '{kind}[ctk]'"
        return count, ""

    def device_count(self) -> int:
        return self._devices[0]

    def require(self) -> None:
        count, reason = self._devices
        if not count:
            raise RuntimeError(f"no CUDA device can be used: {reason}")

    def current_device(self) -> int:
        return self._current.get()

    def set_device(self, index: int) -> None:
        self._current.set(self._checked(index))

    def select(self, index: int | None = None) -> None:
        if self.device_count() > 1:
            cupy.cuda.Device(self._checked(index)).use()

    def selected(self) -> int:
        return cupy.cuda.runtime.getDevice() if self.device_count() > 1 else 0

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
                several_outputs = [x for x in operands if type(x) is tuple]
                found = {a.device.id for a in chain(operands, *several_outputs) if isinstance(a, cupy.ndarray)}
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
        recorder: Any = recording()
        host = np.asarray(data, dtype)
        if recorder is not None:
            return recorder.constant(host)
        # From pinned memory CuPy copies while the program goes on, and may write there; other memory it copies first.
        return cupy.asarray(host, blocking=self.is_pinned(host))

    def asarray_soon(self, data: Any, index: int | None = None) -> Any:
        if isinstance(data, cupy.ndarray) or recording() is not None or not self.is_pinned(data):
            return self.asarray(data, index=index)
        cupy.cuda.Device(self._checked(index)).use()
        made = cupy.asarray(data, blocking=False)
        arrived = cupy.cuda.Event(disable_timing=True)
        arrived.record()
        self._sent.append((arrived, data))  # or the memory could be pinned for other data before it has been read
        while self._sent and self._sent[0][0].done:
            self._sent.popleft()
        return made

    def pinned(self, array: Any) -> Any:
        self.require()
        made = cupyx.empty_pinned(array.shape, array.dtype)
        made[...] = array
        return made

    def is_pinned(self, array: Any) -> bool:
        while array is not None and not isinstance(array, cupy.cuda.PinnedMemoryPointer):
            array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
        return array is not None

    def to_host(self, array: Any) -> Any:
        if recording() is not None:
            raise refused("moving a tensor to the CPU")
        return cupy.asnumpy(array)

    def recorder(self, pool: Any = None) -> Any:
        from .graphs import CupyRecorder

        return CupyRecorder(self.current_device(), pool)

    @property
    def streams(self) -> Any:
        from . import streams

        return streams

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
            **{name: found[key] for name, key in _PROPERTIES.items() if key in found},
        )

    def memory_info(self, index: int) -> tuple[int, int]:
        with cupy.cuda.Device(self._checked(index)):
            return cupy.cuda.runtime.memGetInfo()

    def can_access_peer(self, index: int, peer: int) -> bool:
        return bool(cupy.cuda.runtime.deviceCanAccessPeer(self._checked(index), self._checked(peer)))

    def generator(self, seed: int | None) -> DeviceGenerator:
        self.require()
        return DeviceGenerator(self.xp, seed)


BACKEND = CupyBackend()
