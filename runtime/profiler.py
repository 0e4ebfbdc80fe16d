"""`chainrule.profiler`: how often each op was called, and how long it took, by the clock.

Backward passes run raw kernels, and are seen as a whole by a `record_function` around them. Timing costs each op a few
microseconds. Traces are written in Chrome's format (chrome://tracing).
"""

from __future__ import annotations

import contextlib
import enum
import functools
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..autograd.watch import watched

__all__ = [
    "EventList",
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


class _Entry:
    """The calls of one op: name, number, times in microseconds."""

    def __init__(self, key: str) -> None:
        self.key, self.count, self.cpu_time_total = key, 0, 0.0

    @property
    def cpu_time(self) -> float:
        """The mean time of a call."""
        return self.cpu_time_total / max(self.count, 1)

    self_cpu_time_total = property(lambda self: self.cpu_time_total)


class EventList(list[_Entry]):
    """The entries of a profile."""

    def table(self, sort_by: str | None = None, row_limit: int = 100, **options: Any) -> str:
        """The entries as text, sorted by 'cpu_time_total', 'cpu_time' or 'count' (the largest first)."""
        name = (sort_by or "cpu_time_total").removeprefix("self_").replace("cuda", "cpu").replace("device", "cpu")
        rows = sorted(self, key=lambda e: -getattr(e, name))[: row_limit if row_limit >= 0 else None]
        lines = [f"{'Name':32} {'CPU total':>12} {'CPU time avg':>12} {'# of Calls':>10}"]
        lines += [f"{e.key:32} {e.cpu_time_total:>10.1f}us {e.cpu_time:>10.1f}us {e.count:>10}" for e in rows]
        return "\n".join(lines)


class profile:
    """`with profile() as prof:` times the ops inside; `prof.key_averages().table(sort_by="cpu_time_total")`.

    With a `schedule`, `step()` moves on, and `on_trace_ready(prof)` is called after each recorded stretch.
    activities and other options are PyTorch's, without effect.
    """

    def __init__(
        self,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        **options: Any,
    ) -> None:
        self._schedule, self._ready, self.step_num = schedule, on_trace_ready, 0
        self._events: list[tuple[str, float, float]] = []
        self._stack = contextlib.ExitStack()
        self._action = ProfilerAction.NONE

    def _add(self, name: str, start: float, end: float) -> None:
        self._events.append((name, start, end))

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
        self._enter(self._schedule(0) if self._schedule else ProfilerAction.RECORD)

    def stop(self) -> None:
        """End; what was recorded is handed to `on_trace_ready`, unless `step` has done so."""
        recording = self in _recording
        self._leave()
        if recording and self._ready is not None:
            self._ready(self)

    def step(self) -> None:
        """The next step of the schedule."""
        self.step_num += 1
        if self._schedule is None:
            return
        if self._action is ProfilerAction.RECORD_AND_SAVE:
            self.stop()
        self._enter(self._schedule(self.step_num))

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.stop()

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """One entry per op and `record_function`."""
        found: dict[str, _Entry] = {}
        for name, start, end in self._events:
            entry = found.setdefault(name, _Entry(name))
            entry.count += 1
            entry.cpu_time_total += 1e6 * (end - start)
        return EventList(found.values())

    def events(self) -> list[tuple[str, float, float]]:
        """(name, start, end) of each call, in seconds of the clock."""
        return list(self._events)

    def export_chrome_trace(self, path: str) -> None:
        """Write the calls to a file for chrome://tracing."""
        events = [
            {"name": name, "ph": "X", "ts": 1e6 * start, "dur": 1e6 * (end - start), "pid": 0, "tid": 0}
            for name, start, end in self._events
        ]
        Path(path).write_text(json.dumps({"traceEvents": events}))


class emit_nvtx:
    """`with emit_nvtx():` as in PyTorch; no profiler of NVIDIA's listens here (see `cuda.nvtx`), so it does nothing."""

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
