"""`Timer`: timeit with one thread, warm-up, and the time of a single execution."""

from __future__ import annotations

import enum
import statistics
import sys
import textwrap
import time
import timeit
from collections.abc import Callable
from typing import Any

from ...runtime import accelerator
from .measurement import Measurement, TaskSpec, set_torch_threads

__all__ = ["Language", "Timer", "timer"]


class Language(enum.Enum):
    """What statements are written in; C++ cannot be timed."""

    PYTHON = 0
    CPP = 1


def timer() -> float:
    """The clock in seconds, read when the device has done what it was given."""
    if accelerator.is_available():
        accelerator.synchronize()
    return time.perf_counter()


def _code(text: str) -> str:
    return textwrap.dedent(text).removeprefix("\n").rstrip()


class Timer:
    """Times a statement of Python.

    stmt: the code; setup: what runs before it, once per run. timer: the clock. globals: names for both; `torch` is
    chainrule where they do not say otherwise. label, sub_label, description, env: see `TaskSpec`. num_threads: threads
    of the kernels. global_setup: PyTorch's, for C++. language: Language.PYTHON; RuntimeError for C++.
    """

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: Language | str = Language.PYTHON,
    ) -> None:
        if language not in (Language.PYTHON, "py", "python"):
            raise RuntimeError("Timer: statements in C++ cannot be timed here")
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        if global_setup:
            raise ValueError("global_setup is C++ only, and C++ cannot be timed here")
        package = sys.modules[__name__.partition(".")[0]]
        stmt, setup = _code(stmt), _code(setup)
        self._globals = {"torch": package, package.__name__: package, **(globals or {})}
        self._timer = timeit.Timer(stmt, setup, timer, self._globals)
        self._task_spec = TaskSpec(stmt, setup, global_setup, label, sub_label, description, env, num_threads)

    def _timeit(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)

    def timeit(self, number: int = 1000000) -> Measurement:
        """The time of one execution, from one run of `number`, after a warm-up of a hundredth of it."""
        with set_torch_threads(self._task_spec.num_threads):
            self._timeit(max(number // 100, 2))
            return Measurement(number, [self._timeit(number)], self._task_spec)

    def repeat(self, repeat: int = -1, number: int = -1) -> None:
        """NotImplementedError: `blocked_autorange` repeats."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def autorange(self, callback: Callable[[int, float], Any] | None = None) -> None:
        """NotImplementedError: `blocked_autorange` finds the number of executions."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def _block(self, min_run_time: float) -> int:
        """Executions in a run: enough for the clock's own time to be no ten-thousandth of it."""
        overhead = statistics.median([self._timeit(0) for _ in range(5)])
        number = 1
        while True:
            taken = self._timeit(number)
            if taken > min_run_time or (overhead / taken <= 1e-4 and taken >= min_run_time / 1000):
                return number
            number *= 10

    def _repeated(
        self,
        number: int,
        done: Callable[[list[float], float], bool],
        callback: Callable[[int, float], Any] | None,
    ) -> Measurement:
        times: list[float] = []
        while not times or not done(times, sum(times)):
            times.append(self._timeit(number))
            if callback is not None:
                callback(number, times[-1])
        return Measurement(number, times, self._task_spec)

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Runs of equal length until they have taken `min_run_time` seconds.

        callback: called with (executions, seconds) of each run.
        """
        with set_torch_threads(self._task_spec.num_threads):
            number = self._block(min_run_time)
            return self._repeated(number, lambda times, total: total >= min_run_time, callback)

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: Callable[[int, float], Any] | None = None,
    ) -> Measurement:
        """Runs until the interquartile range is below `threshold` times the median, or max_run_time seconds are over.

        min_run_time: seconds that are taken at the least. callback: as in `blocked_autorange`.
        """

        def done(times: list[float], total: float) -> bool:
            if total > max_run_time:
                return True
            enough = total >= min_run_time and len(times) > 3
            return enough and Measurement(number, times, self._task_spec).meets_confidence(threshold)

        with set_torch_threads(self._task_spec.num_threads):
            number = self._block(0.05)
            return self._repeated(number, done, callback)

    def collect_callgrind(self, number: int = 100, **options: Any) -> Any:
        """RuntimeError: instructions are not counted here. number, options: PyTorch's."""
        raise RuntimeError("Timer.collect_callgrind: instructions are not counted here; run the program under Valgrind")
