"""`chainrule.profiler`: how often each op was called, and how long it took, by the clock.

Backward passes run raw kernels, and are seen as a whole by a `record_function` around them. Timing costs each op a few
microseconds. Traces are written in Chrome's format (chrome://tracing).
"""

from __future__ import annotations

import contextlib
import enum
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..autograd.watch import watched
from .profiled import EventList, FunctionEvent

profiler = sys.modules[__name__]  # PyTorch's module in which it defines them

__all__ = [
    "EventList",
    "FunctionEvent",
    "ProfilerAction",
    "ProfilerActivity",
    "emit_nvtx",
    "kineto_available",
    "profile",
    "record_function",
    "schedule",
    "tensorboard_trace_handler",
]


class ProfilerActivity(enum.Enum):
    """What is measured: ops on the CPU; the others are accepted."""

    CPU = 0
    CUDA = 1
    XPU = 2


class ProfilerAction(enum.Enum):
    """What a profiler does in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def kineto_available() -> bool:
    """True: there is `profile`."""
    return True


#: the profilers that record now, the innermost last
_recording: list[profile] = []


def _profiler_enabled() -> bool:
    """Whether a profiler records now."""
    return bool(_recording)


def _disable_profiler() -> None:
    """End the profilers that record now."""
    for profiler in reversed(_recording):
        profiler._leave()


class record_function:
    """`with record_function("name"):` makes a stretch of a program an entry of the profile; a decorator too."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self._begun: list[tuple[profile, FunctionEvent]] = []

    def __enter__(self) -> record_function:
        self._begun += [(profiler, profiler._begin(self.name)) for profiler in _recording]
        return self

    def __exit__(self, *exc: Any) -> None:
        while self._begun:
            profiler, event = self._begun.pop()
            profiler._end(event)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name):
                return function(*args, **kwargs)

        return wrapper


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0
) -> Callable[[int], ProfilerAction]:
    """What to do in which step: nothing for `wait` steps, warm up, record `active` ones, and again `repeat` times.

    A function of the step's number (from 0) that gives a ProfilerAction; skip_first steps come before, repeat=0
    goes on for ever.
    """

    def action(step: int) -> ProfilerAction:
        if step < skip_first:
            return ProfilerAction.NONE
        round_, place = divmod(step - skip_first, wait + warmup + active)
        if repeat and round_ >= repeat:
            return ProfilerAction.NONE
        if place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD_AND_SAVE if place == wait + warmup + active - 1 else ProfilerAction.RECORD

    return action


def _default_schedule_fn(step: int) -> ProfilerAction:
    """The schedule of a profiler without one: it records in each step."""
    return ProfilerAction.RECORD


class profile:
    """`with profile() as prof:` times the ops inside; `prof.key_averages().table(sort_by="cpu_time_total")`.

    With a `schedule`, `step()` moves on, and `on_trace_ready(prof)` is called after each recorded stretch.
    record_shapes: the sizes of inputs are kept. profile_memory: the bytes of results are counted. enabled=False records
    nothing; activities and other options are PyTorch's, without effect.
    """

    def __init__(
        self,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        **options: Any,
    ) -> None:
        self._shapes, self._memory, self._open = record_shapes, profile_memory, threading.local()
        self.schedule, self.on_trace_ready, self.step_num = schedule or _default_schedule_fn, on_trace_ready, 0
        if not options.get("enabled", True):
            self.schedule = lambda step: ProfilerAction.NONE
        #: what the program says about the run
        self.metadata: dict[str, str] = {}
        self._events = EventList()
        self._stack = contextlib.ExitStack()
        self._action = ProfilerAction.NONE

    def _begin(self, name: str) -> FunctionEvent:
        event, around = FunctionEvent(name, time.perf_counter()), vars(self._open).setdefault("events", [])
        event.thread = threading.get_native_id()
        if around:
            event.cpu_parent = around[-1]
            around[-1].cpu_children.append(event)
        around.append(event)
        self._events.append(event)
        return event

    def _end(self, event: FunctionEvent, memory: int = 0) -> None:
        end, around = time.perf_counter(), vars(self._open).setdefault("events", [])
        while event in around:
            around.pop().close(end, memory)

    def _around(self, op: Any, inputs: list[Any], params: dict[str, Any], call: Callable[[], Any]) -> Any:
        event, memory = self._begin(op.title(params.values())), 0
        if self._shapes:
            event.input_shapes = [list(getattr(x, "shape", ())) for x in inputs]
        try:
            result = call()
            if self._memory:
                made = result if isinstance(result, tuple) else (result,)
                memory = sum([getattr(x, "nbytes", 0) for x in made])
            return result
        finally:
            self._end(event, memory)

    def _enter(self, action: ProfilerAction) -> None:
        recording = action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        if recording and self not in _recording:
            self._events = EventList()
            self._events.memory = self._memory
            self._open = threading.local()
            _recording.append(self)
            self._stack.enter_context(watched(self._around))
        elif not recording:
            self._leave()
        self._action = action

    def _leave(self) -> None:
        if self in _recording:
            _recording.remove(self)
            self._stack.close()

    def start(self) -> None:
        """Begin."""
        self._enter(self.schedule(self.step_num))

    def stop(self) -> None:
        """End; what was recorded is handed to `on_trace_ready`, unless `step` has done so."""
        recording = self in _recording
        self._leave()
        if recording and self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def step(self) -> None:
        """The next step of the schedule."""
        self.step_num += 1
        if self._action is ProfilerAction.RECORD_AND_SAVE:
            self.stop()
        self._enter(self.schedule(self.step_num))

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.stop()

    def events(self) -> EventList:
        """Each call, in the order in which they began."""
        return self._events

    @property
    def function_events(self) -> EventList:
        """Each call."""
        return self.events()

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, **options: Any) -> EventList:
        """One entry per op and `record_function`; with group_by_input_shape, per sizes of inputs, too."""
        return self._events.key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self) -> FunctionEvent:
        """All calls as one entry."""
        return self._events.total_average()

    def table(self, **options: Any) -> str:
        """The calls as text, as of EventList."""
        return self._events.table(**options)

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all calls."""
        return self._events.self_cpu_time_total

    def export_chrome_trace(self, path: str) -> None:
        """Write the calls to a file for chrome://tracing."""
        self._events.export_chrome_trace(path)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write the calls with those around them to a file, as of EventList. metric: the attribute that is summed."""
        self._events.export_stacks(path, metric)

    def add_metadata(self, key: str, value: str) -> None:
        """Keep a text in `metadata`."""
        self.metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """Keep a text in JSON's form in `metadata`."""
        self.metadata[key] = value


class emit_nvtx:
    """`with emit_nvtx():` as in PyTorch; no profiler of NVIDIA's listens here (see `cuda.nvtx`), so it does nothing.

    enabled and record_shapes are PyTorch's, without effect.
    """

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        self.enabled, self.record_shapes = enabled, record_shapes

    def __enter__(self) -> emit_nvtx:
        return self

    def __exit__(self, *exc: Any) -> None:
        """Nothing to end."""


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """An `on_trace_ready` that writes each trace to a folder, as worker_name.TIME.pt.trace.json.

    use_gzip: files are packed, and end in .gz.
    """

    def handler(prof: profile) -> None:
        Path(dir_name).mkdir(parents=True, exist_ok=True)
        name = f"{worker_name or 'worker'}.{time.time_ns()}.pt.trace.json{'.gz' if use_gzip else ''}"
        prof.export_chrome_trace(str(Path(dir_name) / name))

    return handler
