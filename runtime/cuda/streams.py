"""Streams and events of a GPU: queues of work, and marks in them.

Work on tensors goes to the current stream, at first the default one. Two streams know nothing of one another's work
unless one waits for an event of the other's; what a stream computes from another one's tensors must be told by
`wait_stream`, and memory that is given back while another stream still reads it by `tensor.record_stream`.
"""

from __future__ import annotations

from typing import Any

from ...autograd.device import device as place
from .devices import CUDA, current_device, is_available, need, set_device

__all__ = [
    "Event",
    "ExternalStream",
    "Stream",
    "StreamContext",
    "current_stream",
    "default_stream",
    "get_stream_from_external",
    "is_current_stream_capturing",
    "set_stream",
    "stream",
]


class Stream:
    """A queue of a GPU's work beside the others. `priority`: negative numbers go first. RuntimeError without a GPU.

    `with stream:` makes it the current one in the block.
    """

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self._set(need(device), None, priority)

    def _set(self, index: int, handle: Any, priority: int = 0) -> Stream:
        self.device_index, self.priority = index, priority
        self.handle = CUDA.backend.streams.new(index, priority) if handle is None else handle
        self._contexts: list[StreamContext] = []
        return self

    @property
    def device(self) -> Any:
        """The GPU."""
        return place("cuda", self.device_index)

    @property
    def cuda_stream(self) -> int:
        """The address of the cudaStream_t, for other libraries; 0 for the default stream."""
        return int(self.handle.ptr)

    stream_id = cuda_stream

    def __cuda_stream__(self) -> tuple[int, int]:
        """The protocol by which libraries hand streams to one another: (version, address)."""
        return 0, self.cuda_stream

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.cuda_stream, self.device_index) == (
            other.cuda_stream,
            other.device_index,
        )

    def __hash__(self) -> int:
        return hash((self.cuda_stream, self.device_index))

    def __repr__(self) -> str:
        return f"<chainrule.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"

    def __enter__(self) -> Stream:
        self._contexts.append(StreamContext(self))
        self._contexts[-1].__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._contexts.pop().__exit__()

    def synchronize(self) -> None:
        """Wait until all its work is done."""
        self.handle.synchronize()

    def query(self) -> bool:
        """Whether all its work is done."""
        return bool(self.handle.done)

    def wait_stream(self, stream: Any) -> None:
        """What it is given from now on waits for what `stream` has been given so far."""
        self.wait_event(stream.record_event())

    def wait_event(self, event: Any) -> None:
        """What it is given from now on waits for the mark."""
        event.wait(self)

    def record_event(self, event: Any = None) -> Any:
        """An event at this place of the queue."""
        event = Event() if event is None else event
        event.record(self)
        return event


class ExternalStream(Stream):
    """A stream that another library made, by its address `stream_ptr`; it must live as long as this is used."""

    def __init__(self, stream_ptr: int, device: Any = None) -> None:
        index = need(device)
        self._set(index, CUDA.backend.streams.external(index, stream_ptr))


class Event:
    """A mark in a stream, to wait for and to measure time: `start.record()`, work, `end.record()`,
    `start.elapsed_time(end)`. RuntimeError at `record` without a GPU.

    enable_timing: it notes the time. blocking: who waits for it sleeps. interprocess: other processes may wait for it.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        if enable_timing and interprocess:
            raise RuntimeError("an event between processes notes no time: enable_timing=False")
        self._options, self._index = (enable_timing, blocking, interprocess), -1
        self._event: Any = None

    def record(self, stream: Any = None) -> None:
        """Put the mark behind the work that a stream (default: the current one) has been given so far."""
        stream = current_stream() if stream is None else stream
        index = stream.device_index
        if self._event is None:
            self._event, self._index = CUDA.backend.streams.event(index, *self._options), index
        elif self._index != index:
            raise RuntimeError(
                f"Event device cuda:{self._index} does not match recording stream's device {stream.device}"
            )
        self._event.record(stream.handle)

    @property
    def cuda_event(self) -> int:
        """The address of the cudaEvent_t, for other libraries; 0 before the first `record`."""
        return 0 if self._event is None else int(self._event.ptr)

    def query(self) -> bool:
        """Whether the work before the mark is done."""
        return self._event is None or bool(self._event.done)

    def synchronize(self) -> None:
        """Wait for the work before the mark."""
        if self._event is not None:
            self._event.synchronize()

    def wait(self, stream: Any = None) -> None:
        """What a stream (default: the current one) is given from now on waits for the mark."""
        if self._event is not None:
            (current_stream() if stream is None else stream).handle.wait_event(self._event)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds between two marks; waits for the second."""
        if not (self._options[0] and end_event._options[0]):
            raise RuntimeError("Both events must be created with argument 'enable_timing=True'.")
        if self._event is None or end_event._event is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        end_event.synchronize()
        return CUDA.backend.streams.elapsed(self._event, end_event._event)


def _known(index: int, handle: Any) -> Stream:
    return object.__new__(Stream)._set(index, handle)


def current_stream(device: Any = None) -> Stream:
    """The stream that work for a GPU goes to, in this thread."""
    index = need(device)
    return _known(index, CUDA.backend.streams.current(index))


def default_stream(device: Any = None) -> Stream:
    """The stream of a GPU that is current at first."""
    return _known(need(device), CUDA.backend.streams.null())


def get_stream_from_external(data_ptr: int, device: Any = None) -> Stream:
    """An `ExternalStream` of this address, `data_ptr`."""
    return ExternalStream(data_ptr, device)


def set_stream(stream: Any) -> None:
    """Make a stream the current one of this thread, and its GPU the current GPU; None changes nothing."""
    if stream is not None:
        if stream.device_index != current_device():
            set_device(stream.device_index)
        CUDA.backend.streams.use(stream.device_index, stream.handle)


class StreamContext:
    """A block in which a stream is the current one, and its GPU the current GPU; None changes nothing."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._before: list[tuple[int, Stream]] = []

    def __enter__(self) -> None:
        if self.stream is not None:
            self._before.append((current_device(), current_stream(self.stream.device_index)))
            set_stream(self.stream)

    def __exit__(self, *exc: Any) -> None:
        if self.stream is not None:
            index, before = self._before.pop()
            CUDA.backend.streams.use(before.device_index, before.handle)
            if index != before.device_index:
                set_device(index)


def stream(stream: Any) -> StreamContext:
    """`with cuda.stream(s):` a block whose work goes to `s`."""
    return StreamContext(stream)


def is_current_stream_capturing() -> bool:
    """Whether what is done now becomes part of a CUDA graph, instead of being carried out."""
    return is_available() and bool(current_stream().handle.is_capturing())
