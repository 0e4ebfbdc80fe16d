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
from typing import Any, NamedTuple

from .base import NoElements

__all__ = [
    "CaptureError",
    "Entry",
    "Recorded",
    "Recorder",
    "check",
    "decided",
    "host",
    "live",
    "paused",
    "recording",
    "refused",
    "within",
]


class CaptureError(RuntimeError):
    """Something in a step that cannot be captured: what it was, and where."""


def refused(what: str) -> CaptureError:
    """The error for what a recorded step cannot do; the recorder keeps it, should the step swallow it."""
    error = CaptureError(f"{what} cannot be captured: the host would read a value that is another one at each replay")
    recorder = _RECORDER.get()
    if recorder is not None:
        recorder.failure = recorder.failure or error
    return error


class Recorded:
    """An array as a recorded step sees it, where it sees another than there is: a wrapper of `held`."""

    __slots__ = ("__weakref__", "held", "scalar")

    def __init__(self, held: Any, scalar: bool = False) -> None:
        self.held, self.scalar = held, scalar


class Entry(NamedTuple):
    """A line of what a replay does: a call by its name, the arrays that it reads and writes, and what does it again."""

    name: str
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    calls: list[Any]


class Recorder:
    """One recording of a step. Made by `Backend.recorder()`, used once.

    The front calls `static` for each array among the step's arguments, then `record`, and later `replay` any number of
    times. What raises in `record` has been undone there: memory that was written into holds what it held before.
    """

    #: what the step did with tensors, for the front; set by it
    tensors: Any = None
    #: the first thing that could not be captured, should the step have swallowed its error
    failure: BaseException | None = None

    def static(self, array: Any) -> Any:
        """A buffer for an argument: a copy of `array`, which the recorded step reads. Before each replay the front
        gives the new arguments to `replay`, in the order in which their buffers were made.
        """
        raise NotImplementedError

    def enter(self, array: Any) -> Any:
        """The array of a tensor from outside, as the step is to see it."""
        return array

    def made(self, array: Any) -> Any:
        """An array that the step made without the recorder (of Python's numbers, say), as it is to see it."""
        return array

    def record(self, step: Callable[[], Any]) -> Any:
        """Carry `step()` out, while `recording()` gives this recorder, and return what it returns."""
        raise NotImplementedError

    def replay(self, arrays: Sequence[Any]) -> None:
        """Do again what was recorded, with other arguments of the same shapes and dtypes."""
        raise NotImplementedError

    def written(self) -> list[Any]:
        """Arrays on the memory from outside that each replay writes into."""
        raise NotImplementedError

    def changed_arguments(self) -> bool:
        """Whether the step wrote into a buffer that `static` made."""
        return False

    def listing(self) -> list[Any]:
        """What a replay does, in order, as `Entry`s; empty where the recording cannot be looked into."""
        return []

    def host(self, action: Callable[[], Any], undo: Callable[[], Any] | None = None) -> Any:
        """`action()`, now and at each replay, in order; its result now. It may neither read nor write what is computed
        within the step. `undo()` takes the first one back, should the recording fail.
        """
        raise NotImplementedError

    def live(self, compute: Callable[[], Any], undo: Callable[[], Any] | None = None) -> Any:
        """What `compute()` gives (a number, or a tuple or dict of them) now and, as `host` does, anew at each replay:
        in forms that stand for the number of the time. Who gets them hands them on to kernels, and looks at none.
        """
        raise NotImplementedError

    def update(self, name: str, function: Callable[..., Any], *args: Any, writes: Sequence[Any], **numbers: Any) -> Any:
        """`function(*args, **numbers)`, which changes the arrays `writes` in place, now and at each replay."""
        raise NotImplementedError

    def check(self, function: Callable[..., Any], *args: Any) -> None:
        """`function(*args)`, which looks at arrays on the host and raises for bad ones, now and at each replay; left
        out where the host would have to wait for the device.
        """

    def source(self, find: Callable[[], Any]) -> Any:
        """The random source that `find()` gives (another one later, after `manual_seed`), as the step draws from it."""
        raise NotImplementedError

    def outside(self) -> contextlib.AbstractContextManager[None]:
        """A block that is not recorded, but carried out at once and never again."""
        return within(None)

    def state(self, find: Callable[[], Any]) -> Any:
        """The state of the generator that `find()` gives, as the array of bytes of its `get_state()`."""
        raise refused("the state of a generator")

    def set_state(self, find: Callable[[], Any], state: Any) -> None:
        """Let the generator that `find()` gives go on from the state in an array, by its `go_on`."""
        raise refused("the state of a generator")

    def guard(self, holds: Callable[[], bool]) -> None:
        """What was recorded holds as long as `holds()`: asked before each replay, and where it says no, the step is
        recorded anew.
        """
        raise NotImplementedError


_RECORDER: ContextVar[Recorder | None] = ContextVar("chainrule_recorder", default=None)


def recording() -> Recorder | None:
    """The recorder of this context; None where nothing is being recorded."""
    return _RECORDER.get()


def host(action: Callable[[], Any], undo: Callable[[], Any] | None = None) -> Any:
    """`action()`, which a recorded step repeats at each replay."""
    recorder = _RECORDER.get()
    return action() if recorder is None else recorder.host(action, undo)


def live(compute: Callable[[], Any], undo: Callable[[], Any] | None = None) -> Any:
    """The numbers that `compute()` gives; in a recorded step, anew at each replay."""
    recorder = _RECORDER.get()
    return compute() if recorder is None else recorder.live(compute, undo)


def check(function: Callable[..., Any], *args: Any) -> None:
    """`function(*args)`, which looks at arrays on the host and raises for bad ones; part of a recorded step, too.

    Arrays of the meta backend have no elements to look at, and pass.
    """
    recorder = _RECORDER.get()
    if recorder is None:
        try:  # contextlib.suppress takes longer than most checks
            function(*args)
        except NoElements:
            pass
    else:
        recorder.check(function, *args)


def decided(read: Callable[[], Any]) -> Any:
    """What `read()` says on the host of something that it finds before a step: fixed in a recording, which holds only
    as long as `read()` says the same.
    """
    recorder = _RECORDER.get()
    if recorder is None:
        return read()
    with paused():
        value = read()
    recorder.guard(lambda: read() == value)
    return value


@contextlib.contextmanager
def within(recorder: Recorder | None) -> Iterator[None]:
    """A block in which `recorder` records; None: nobody does."""
    token = _RECORDER.set(recorder)
    try:
        yield
    finally:
        _RECORDER.reset(token)


def paused() -> contextlib.AbstractContextManager[None]:
    """A block of a recorded step that is not recorded: what is done once, such as an optimizer's plan."""
    recorder = _RECORDER.get()
    return within(None) if recorder is None else recorder.outside()
