"""CUDA graphs: what a stream is given is captured once, and launched again as a whole. Has not run on a GPU yet.

`Graph` is the mechanism, which `chainrule.cuda.CUDAGraph` shows by PyTorch's names; `CupyRecorder` is whole-step
capture's recorder. What both rely on:

* The stream that is captured is a new one that waits for nobody, so no other work gets into the graph.
* While it is captured, arrays come from a memory pool of the graph's own, which lives as long as the graph and serves
  nothing else: memory that is given back within the step is used again within it, and outside of it by nobody.
* What the graph reads and did not make itself must stay where it is: the recorder holds the arrays of all tensors
  that the step met.
* Nothing is carried out while it is captured. So a recording that fails has changed nothing on the GPU, and one that
  succeeds is launched once for the call that recorded it.
* No garbage is collected meanwhile: what it would free (another graph, a library's handle) may not be freed then.

Numbers that change from step to step stand in one buffer on the device, filled by a copy before each launch. The GPU
makes that copy from pinned memory, some time after it was asked for, and until then that memory may not be written
into: there are several of it, used in turn, each waiting for its own copy. Turned down: numbers as arguments of a
kernel that writes them, which needs no pinned memory, and a kernel for each few numbers.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cupy
import cupyx
import numpy as np

from ..recorder import CaptureError, Recorder, within
from .random import DeviceGenerator, LiveSource
from .streams import pool as new_pool

__all__ = ["CupyRecorder", "Graph", "Numbers"]

#: numbers of 8 bytes that one recording may have, and how many launches their copies may be behind
CAPACITY, TURNS = 8192, 8


# -- the mechanism ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """A block in which no garbage is collected, after one collection."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Graph:
    """A CUDA graph of one GPU, and the memory that it works in. `pool`: another graph's, to share its memory.

    Graphs that share a pool must be launched in the order in which they were captured, each after the former is done.
    """

    def __init__(self, device: int, pool: Any = None) -> None:
        self.device = device
        self.pool = new_pool() if pool is None else pool
        self._graph: Any = None
        self._done: Any = None
        self._stream = -1

    @contextlib.contextmanager
    def capturing(self, stream: Any = None) -> Iterator[None]:
        """A block whose work on this GPU becomes the graph, instead of being done.

        stream: the one to capture, current in the block; a new one by default. In CUDA's other modes of capture the
        pool could not take memory meanwhile.
        """
        if self._graph is not None:
            raise RuntimeError("this graph has been captured already; reset() it first")
        with contextlib.ExitStack() as stack:
            stack.enter_context(cupy.cuda.Device(self.device))
            cupy.cuda.Device(self.device).synchronize()  # work that was given before is done before the graph's
            cupy.get_default_memory_pool().free_all_blocks()  # the other pool could not have what this one keeps
            stack.enter_context(_no_collection())
            stream = cupy.cuda.Stream(non_blocking=True) if stream is None else stream
            stack.enter_context(stream)
            stack.enter_context(cupy.cuda.using_allocator(self.pool.malloc))
            stream.begin_capture(cupy.cuda.runtime.streamCaptureModeRelaxed)
            try:
                yield
            except BaseException:
                with contextlib.suppress(Exception):  # the stream is usable again; there may be no graph
                    stream.end_capture()
                raise
            self._graph = stream.end_capture()

    @property
    def captured(self) -> bool:
        """Whether there is something to launch."""
        return self._graph is not None

    def upload(self) -> None:
        """Prepare the first launch, on the current stream."""
        with cupy.cuda.Device(self.device):
            self._graph.upload()

    def follow(self) -> None:
        """Let the current stream wait for the last launch, if that was on another one."""
        stream = cupy.cuda.get_current_stream()
        if self._done is not None and self._stream != stream.ptr:
            stream.wait_event(self._done)

    def launch(self) -> None:
        """Do what was captured, on the current stream, after the launch before it wherever that was."""
        if self._graph is None:
            raise RuntimeError("there is nothing to replay: this graph was not captured, or was reset")
        with cupy.cuda.Device(self.device):
            self.follow()
            stream = cupy.cuda.get_current_stream()
            if self._done is None:
                self._done = cupy.cuda.Event(disable_timing=True)
            self._graph.launch(stream)
            self._done.record(stream)
            self._stream = stream.ptr

    def dot(self) -> str:
        """The nodes of the graph in the language of Graphviz."""
        return str(self._graph.debug_dot_str())

    def reset(self) -> None:
        """Forget what was captured, once its last launch is done."""
        if self._done is not None:
            self._done.synchronize()
        self._graph = self._done = None
        self._stream = -1


# -- numbers that change ----------------------------------------------------------------------------------------------


class Numbers:
    """Numbers in the device's memory, each an array of one float64 or int64."""

    def __init__(self) -> None:
        self._device = cupy.empty(CAPACITY, "float64")
        self._whole = self._device.view("int64")
        self._host = np.zeros(CAPACITY, "float64")
        self._pinned: list[Any] = []
        self._copied: list[Any] = []
        self._turn = 0
        self.kinds: list[type] = []

    def add(self, value: float) -> Any:
        """A place for a number, whose value it is at first."""
        i = len(self.kinds)
        if i == CAPACITY:
            raise CaptureError(f"a captured step may have {CAPACITY} numbers that change from call to call, not more")
        self.kinds.append(float if isinstance(value, float) else int)
        self.set(i, value)
        return (self._device if self.kinds[i] is float else self._whole)[i : i + 1].reshape(())

    def set(self, i: int, value: float) -> None:
        """The value of a number from the next copy on."""
        if self.kinds[i] is float:
            self._host[i] = value
        elif isinstance(value, float):
            raise CaptureError(f"a number that was an integer when the step was recorded is {value!r} now")
        else:
            self._host.view("int64")[i] = value

    def send(self) -> None:
        """Let the current stream copy the numbers to the device."""
        count = len(self.kinds)
        if not count:
            return
        if not self._pinned:
            self._pinned = [cupyx.empty_pinned(count, "float64") for _ in range(TURNS)]
            self._copied = [None] * TURNS
        turn = self._turn
        if self._copied[turn] is None:
            self._copied[turn] = cupy.cuda.Event(disable_timing=True)
        else:
            self._copied[turn].synchronize()  # its last copy has been made
        pinned, stream = self._pinned[turn], cupy.cuda.get_current_stream()
        pinned[...] = self._host[:count]
        to_device = cupy.cuda.runtime.memcpyHostToDevice
        cupy.cuda.runtime.memcpyAsync(self._device.data.ptr, pinned.ctypes.data, pinned.nbytes, to_device, stream.ptr)
        self._copied[turn].record(stream)
        self._turn = (turn + 1) % TURNS


def _values(x: Any) -> Iterator[Any]:
    """The numbers in tuples and dicts, in order."""
    if isinstance(x, dict):
        x = x.values()
    elif not isinstance(x, tuple):
        yield x
        return
    for value in x:
        yield from _values(value)


# -- whole steps ------------------------------------------------------------------------------------------------------


class CupyRecorder(Recorder):
    """A step as a CUDA graph; see backends/recorder.py for what its methods are for."""

    def __init__(self, device: int, pool: Any = None) -> None:
        self.device = device
        self.guards: list[Callable[[], bool]] = []
        self.graph = Graph(device, pool)
        self._statics: list[Any] = []
        self._kept: dict[int, Any] = {}
        self._again: list[Callable[[], Any]] = []
        self._undo: list[Callable[[], Any]] = []
        self._sources: list[Any] = []
        self._writes: list[Any] = []
        with cupy.cuda.Device(device):
            self._numbers = Numbers()
        self._allocator = cupy.cuda.get_allocator()
        self._aside: Any = None

    # -- arrays -------------------------------------------------------------------------------------------------------

    def static(self, array: Any) -> Any:
        if not isinstance(array, cupy.ndarray):
            raise CaptureError("an argument of the step is on the CPU: move it to the GPU before the call")
        with cupy.cuda.Device(self.device):
            buffer = self.enter(array).copy(order="K")
        self._statics.append(buffer)
        return buffer

    def enter(self, array: Any) -> Any:
        if not isinstance(array, cupy.ndarray):
            raise CaptureError(
                "a tensor on the CPU is used within the step: what the CPU computes is not done again at a replay. "
                "Move it to the GPU"
            )
        if array.device.id != self.device:
            raise CaptureError(
                f"the step uses cuda:{array.device.id} as well as cuda:{self.device}: a recording is of one GPU"
            )
        self._kept.setdefault(id(array), array)
        return array

    def constant(self, host: Any) -> Any:
        """An array of the host's as one on the device, made anew at each replay (something may write into it)."""
        with self.outside():
            array = cupy.asarray(host)
        return self.enter(array).copy()

    def written(self) -> list[Any]:
        # Only the optimizers' writes are known; whatever a replay reads may be written into.
        return [*self._kept.values(), *self._writes]

    # -- the host -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        if self._aside is None:
            self._aside = cupy.cuda.Stream(non_blocking=True)
        with within(None), self._aside, cupy.cuda.using_allocator(self._allocator):
            try:
                yield
            finally:
                self._aside.synchronize()

    def host(self, action: Callable[[], Any], undo: Callable[[], Any] | None = None) -> Any:
        if undo is not None:
            self._undo.append(undo)
        with self.outside():
            found = action()
        self._again.append(action)
        return found

    def live(self, compute: Callable[[], Any], undo: Callable[[], Any] | None = None) -> Any:
        if undo is not None:
            self._undo.append(undo)
        first, numbers = len(self._numbers.kinds), self._numbers
        fixed: list[Any] = []

        def place(x: Any) -> Any:
            if isinstance(x, dict):
                return {name: place(value) for name, value in x.items()}
            if isinstance(x, tuple):
                items = [place(value) for value in x]
                return type(x)(*items) if hasattr(x, "_fields") else tuple(items)
            if x is None or isinstance(x, (bool, str)):
                fixed.append(x)
                return x
            return numbers.add(x if isinstance(x, (int, float)) else x.item())

        def again() -> None:
            i, kept = first, iter(fixed)
            for x in _values(compute()):
                if x is None or isinstance(x, (bool, str)):
                    if x != next(kept):
                        raise CaptureError(f"{x!r} stood for another value when the step was recorded")
                    continue
                numbers.set(i, x if isinstance(x, (int, float)) else x.item())
                i += 1

        with self.outside():
            found = compute()
        made = place(found)
        self._again.append(again)
        return made

    def update(self, name: str, function: Callable[..., Any], *args: Any, writes: Sequence[Any], **numbers: Any) -> Any:
        self._writes += writes
        return function(*args, **numbers)

    def source(self, find: Callable[[], Any]) -> Any:
        with within(None):
            source = find()
        if not isinstance(source, DeviceGenerator):
            raise CaptureError("random numbers of the CPU are drawn within the step: draw them on the GPU")
        self._undo_draws(source)
        return LiveSource(find, self.live)

    def _undo_draws(self, source: Any) -> None:
        """See that a recording that fails has drawn nothing."""
        if not any(source is s for s in self._sources):
            self._sources.append(source)
            before = source.get_state()
            self._undo.append(lambda: source.set_state(before))

    def state(self, find: Callable[[], Any]) -> Any:
        found: list[Any] = []

        def read() -> None:
            now = find().get_state().array
            if found:
                found[0][...] = now
            else:
                found.append(now)

        self.host(read)
        return found[0]

    def set_state(self, find: Callable[[], Any], state: Any) -> None:
        with within(None):
            self._undo_draws(find().source)
        self.host(lambda: find().go_on(state))

    def guard(self, holds: Callable[[], bool]) -> None:
        self.guards.append(holds)

    # -- the whole ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def session(self, stream: Any = None) -> Iterator[None]:
        """A block that is recorded, and not carried out; see `Graph.capturing`. What raises in it is taken back."""
        try:
            with self.graph.capturing(stream), within(self):
                yield
                if self.failure is not None:
                    raise self.failure
        except BaseException as error:
            for undo in reversed(self._undo):
                undo()
            explained = _explained(error)
            if explained is not None:
                raise explained.with_traceback(error.__traceback__) from error
            raise
        self._undo.clear()

    def record(self, step: Callable[[], Any]) -> Any:
        with self.session():
            result = step()
        self.graph.upload()
        self._launch()
        return result

    def replay(self, arrays: Sequence[Any]) -> None:
        with cupy.cuda.Device(self.device):
            for action in self._again:
                action()
            self.graph.follow()
            for buffer, array in zip(self._statics, arrays, strict=True):
                buffer[...] = array
            self._launch()

    def _launch(self) -> None:
        with cupy.cuda.Device(self.device):
            self._numbers.send()
            self.graph.launch()


def _explained(error: BaseException) -> CaptureError | None:
    """A CaptureError for what CUDA and CuPy refuse while a stream is captured; None for other errors.

    CUDA's own are numbers 900 to 910 of cudaError_t (cudaErrorStreamCaptureUnsupported and kin).
    """
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        text, status = " ".join([str(cause), *getattr(cause, "__notes__", ())]), getattr(cause, "status", 0)
        if isinstance(cause, CaptureError):
            return CaptureError(text)
        if isinstance(cause, NotImplementedError) and "stream capture" in text:
            return CaptureError(f"a library that cannot be captured was called through CuPy: {text}")
        if "is capturing" in text or (isinstance(status, int) and 900 <= status <= 910):
            return CaptureError(
                f"{text}: something within the step waits for the GPU, or copies between it and the host. item(), "
                "bool(), nonzero(), an index that is a mask, and tensors made of the host's numbers do so"
            )
        cause = cause.__cause__ or cause.__context__
    return None
