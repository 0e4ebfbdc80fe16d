"""Streams and events: all work of a GPU is one queue here, and an event is a mark in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ...autograd.device import device as place
from .devices import CUDA, need, synchronize

__all__ = ["Event", "Stream", "current_stream", "default_stream", "is_current_stream_capturing", "set_stream", "stream"]


class Stream:
    """The one queue in which a GPU's work runs: another stream would be this one. RuntimeError without a GPU."""

    def __init__(self, device: Any = None, priority: int = 0, **kwargs: Any) -> None:
        self.device_index, self.priority = need(device), priority

    @property
    def device(self) -> Any:
        """The GPU."""
        return place("cuda", self.device_index)

    def synchronize(self) -> None:
        """Wait until all work is done."""
        synchronize(self.device_index)

    def query(self) -> bool:
        """True when all work is done, for which it waits."""
        self.synchronize()
        return True

    def wait_stream(self, stream: Any) -> None:
        """Nothing: work runs in the order in which it was given."""

    def wait_event(self, event: Any) -> None:
        """Nothing: work runs in the order in which it was given."""

    def record_event(self, event: Any = None) -> Any:
        """An event at this place of the queue."""
        event = Event() if event is None else event
        event.record(self)
        return event


class Event:
    """A mark in a GPU's queue, to measure time: `start.record()`, work, `end.record()`, `start.elapsed_time(end)`.

    RuntimeError at `record` without a GPU.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self._timed, self._event = enable_timing, None

    def record(self, stream: Any = None) -> None:
        """Put the mark behind the work given so far."""
        need()
        self._event = CUDA.backend.event()

    def query(self) -> bool:
        """Whether the work before the mark is done."""
        return self._event is None or bool(self._event.done)

    def synchronize(self) -> None:
        """Wait for the work before the mark."""
        if self._event is not None:
            self._event.synchronize()

    def wait(self, stream: Any = None) -> None:
        """Nothing: work runs in the order in which it was given."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds between two marks."""
        if not (self._timed and end_event._timed):
            raise RuntimeError("Both events must be created with argument 'enable_timing=True'.")
        if self._event is None or end_event._event is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        end_event.synchronize()
        return CUDA.backend.elapsed(self._event, end_event._event)


def current_stream(device: Any = None) -> Stream:
    """The queue of a GPU."""
    return Stream(device)


default_stream = current_stream


@contextlib.contextmanager
def stream(stream: Any) -> Iterator[None]:
    """A context in which work goes to `stream`: all streams are one, so it changes nothing."""
    yield


def set_stream(stream: Any) -> None:
    """Nothing: all streams are one."""


def is_current_stream_capturing() -> bool:
    """False: there are no CUDA graphs."""
    return False
