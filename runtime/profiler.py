"""`chainrule.profiler`: how often each op was called, and how long it took, by the clock.

Backward passes run raw kernels, and are seen as a whole by a `record_function` around them. Timing costs each op a few
microseconds. Traces are written in Chrome's format (chrome://tracing).
"""

from __future__ import annotations

import contextlib
import enum
import functools
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..autograd.watch import watched

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
        self.name, self._started = name, 0.0

    def __enter__(self) -> record_function:
        self._started = time.perf_counter()
        return self

    def __exit__(self, *exc: Any) -> None:
        for profiler in _recording:
            profiler._add(self.name, self._started, time.perf_counter())

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


class FunctionEvent:
    """Calls of one op: its name (`key`), how many they are, and their time in microseconds.

    start, end: of a single call, in seconds of the clock.
    """

    def __init__(self, key: str, start: float = 0.0, end: float = 0.0) -> None:
        self.key = self.name = key
        self.start, self.end = start, end
        self.count, self.cpu_time_total = 1, 1e6 * (end - start)

    @property
    def cpu_time(self) -> float:
        """The mean time of a call."""
        return self.cpu_time_total / max(self.count, 1)

    self_cpu_time_total = property(lambda self: self.cpu_time_total)


class EventList(list[FunctionEvent]):
    """The entries of a profile; iterable: those that it begins with."""

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int = 75,
        max_name_column_width: int = 55,
        max_shapes_column_width: int = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
        **options: Any,
    ) -> str:
        """The entries as text, sorted by 'cpu_time_total', 'cpu_time' or 'count' (the largest first).

        header: a line above. Widths and other options are PyTorch's, without effect.
        """
        name = (sort_by or "cpu_time_total").removeprefix("self_").replace("cuda", "cpu").replace("device", "cpu")
        rows = sorted(self, key=lambda e: -getattr(e, name))[: row_limit if row_limit >= 0 else None]
        lines = [header] if header else []
        lines += [f"{'Name':32} {'CPU total':>12} {'CPU time avg':>12} {'# of Calls':>10}"]
        lines += [f"{e.key:32} {e.cpu_time_total:>10.1f}us {e.cpu_time:>10.1f}us {e.count:>10}" for e in rows]
        return "\n".join(lines)

    def key_averages(self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0, **options: Any) -> EventList:
        """One entry per name. What PyTorch groups by besides has no effect."""
        found: dict[str, FunctionEvent] = {}
        for event in self:
            entry = found.setdefault(event.key, FunctionEvent(event.key))
            entry.count += event.count
            entry.cpu_time_total += event.cpu_time_total
        for entry in found.values():
            entry.count -= 1
        return EventList(found.values())

    def total_average(self) -> FunctionEvent:
        """All as one entry."""
        total = FunctionEvent("Total")
        total.count = sum(event.count for event in self)
        total.cpu_time_total = sum(event.cpu_time_total for event in self)
        return total

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all."""
        return self.total_average().cpu_time_total

    def export_chrome_trace(self, path: str) -> None:
        """Write the calls to a file for chrome://tracing."""
        events = [
            {"name": e.name, "ph": "X", "ts": 1e6 * e.start, "dur": e.cpu_time_total, "pid": 0, "tid": 0} for e in self
        ]
        Path(path).write_text(json.dumps({"traceEvents": events}))

    def __str__(self) -> str:
        return self.table()


def _default_schedule_fn(step: int) -> ProfilerAction:
    """The schedule of a profiler without one: it records in each step."""
    return ProfilerAction.RECORD


class profile:
    """`with profile() as prof:` times the ops inside; `prof.key_averages().table(sort_by="cpu_time_total")`.

    With a `schedule`, `step()` moves on, and `on_trace_ready(prof)` is called after each recorded stretch.
    enabled=False records nothing; activities and other options are PyTorch's, without effect.
    """

    def __init__(
        self,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        **options: Any,
    ) -> None:
        self.schedule, self.on_trace_ready, self.step_num = schedule or _default_schedule_fn, on_trace_ready, 0
        if not options.get("enabled", True):
            self.schedule = lambda step: ProfilerAction.NONE
        #: what the program says about the run
        self.metadata: dict[str, str] = {}
        self._events = EventList()
        self._stack = contextlib.ExitStack()
        self._action = ProfilerAction.NONE

    def _add(self, name: str, start: float, end: float) -> None:
        self._events.append(FunctionEvent(name, start, end))

    def _around(self, op: Any, inputs: list[Any], params: dict[str, Any], call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return call()
        finally:
            self._add(op.title(params.values()), start, time.perf_counter())

    def _enter(self, action: ProfilerAction) -> None:
        recording = action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        if recording and self not in _recording:
            self._events.clear()
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
        """Each call."""
        return EventList(self._events)

    @property
    def function_events(self) -> EventList:
        """Each call."""
        return self.events()

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, **options: Any) -> EventList:
        """One entry per op and `record_function`."""
        return self._events.key_averages()

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

    use_gzip: PyTorch's, without effect: files are not packed.
    """

    def handler(prof: profile) -> None:
        Path(dir_name).mkdir(parents=True, exist_ok=True)
        name = f"{worker_name or 'worker'}.{time.time_ns()}.pt.trace.json"
        prof.export_chrome_trace(str(Path(dir_name) / name))

    return handler
