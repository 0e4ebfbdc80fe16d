"""What a backend supplies for whole-step capture (autograd/capture.py): a recorder of what is done, done again later.

A step is recorded by running it once in a context where `recording()` gives the recorder. NumPy's carries each call out
and notes it; CuPy's lets a stream be captured into a CUDA graph. What happens on the host within a step, and must
happen again at each replay, goes through the recorder:

    host(action)         a counter, a schedule, a generator: done now, and again at each replay, in this order
    live(compute)        numbers that change from step to step: a learning rate, bias corrections, a seed

Without a recorder both come to the plain call, so code that may be recorded is written

    numbers = live(lambda: optimizer.numbers(group, step))

and hands the numbers to kernels without asking what they are. On NumPy they are `Live` cells, for which a kernel gets
plain numbers each time; on CuPy 0-d arrays on the device, views of one buffer that is filled before each launch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

from .compiled.listed import Live

__all__ = ["CaptureError", "Live", "Recorder", "host", "live", "paused", "recording"]


class CaptureError(RuntimeError):
    """Something in a step that cannot be captured: what it was, and where."""


class Recorder:
    """One recording of a step. Made by `Backend.recorder()`, used once.

    The front calls `static` for each array among the step's arguments, then `record`, and later `replay` any number of
    times. What `record` raises, it has undone: memory that was written into holds what it held before.
    """

    def static(self, array: Any) -> Any:
        """A buffer for an argument: a copy of `array` which the recorded step reads. Before each replay the front
        gives the new arguments to `replay`, in the order in which their buffers were made.
        """
        raise NotImplementedError

    def record(self, step: Callable[[], Any]) -> Any:
        """Carry `step()` out, while `recording()` gives this recorder, and return what it returns."""
        raise NotImplementedError

    def replay(self, arrays: Sequence[Any]) -> None:
        """Do again what was recorded, with other arguments of the same shapes and dtypes."""
        raise NotImplementedError

    def host(self, action: Callable[[], Any]) -> Any:
        """`action()`, now and at each replay before the device's work, in order; its result now. It may neither read
        nor write what the device computes within the step.
        """
        raise NotImplementedError

    def live(self, compute: Callable[[], Any]) -> Any:
        """What `compute()` gives now and, for a number, a tuple of them or a dict, anew at each replay, as `host` does:
        floats and integers in forms that stand for the number of the time. Bools, strings and None are fixed; where one
        of them differs later, `replay` raises CaptureError before anything was done.
        """
        raise NotImplementedError

    def guard(self, read: Callable[[], Any]) -> None:
        """What was recorded holds as long as `read()` gives what it gives now; asked before each replay."""
        raise NotImplementedError


_RECORDER: ContextVar[Recorder | None] = ContextVar("chainrule_recorder", default=None)


def recording() -> Recorder | None:
    """The recorder of this context; None where nothing is being recorded."""
    return _RECORDER.get()


def host(action: Callable[[], Any]) -> Any:
    """`action()`, which a recorded step repeats at each replay."""
    recorder = _RECORDER.get()
    return action() if recorder is None else recorder.host(action)


def live(compute: Callable[[], Any]) -> Any:
    """The numbers that `compute()` gives; in a recorded step, anew at each replay."""
    recorder = _RECORDER.get()
    return compute() if recorder is None else recorder.live(compute)


@contextlib.contextmanager
def _with(recorder: Recorder | None) -> Iterator[None]:
    token = _RECORDER.set(recorder)
    try:
        yield
    finally:
        _RECORDER.reset(token)


def paused() -> contextlib.AbstractContextManager[None]:
    """A block of a recorded step that is not recorded: work on the host that is done once, such as a plan."""
    return _with(None)
