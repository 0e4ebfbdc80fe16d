"""What was timed, and the times of it, with the digits that they can bear."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from ...autograd.device import get_num_threads, set_num_threads
from ...backends import np

__all__ = [
    "Measurement",
    "TaskSpec",
    "ordered_unique",
    "select_unit",
    "set_torch_threads",
    "trim_sigfig",
    "unit_to_english",
]

#: nobody measures finer than this, in seconds
_FINEST = 25e-9
_MOST_DIGITS = 4
#: share of the interquartile range in the median from which a measurement is said to be noisy, and very noisy
_NOISY, _VERY_NOISY = 0.1, 0.25
_UNITS = {"ns": ("nanosecond", 1e-9), "us": ("microsecond", 1e-6), "ms": ("millisecond", 1e-3), "s": ("second", 1)}


@dataclasses.dataclass(repr=False, eq=True, unsafe_hash=True)
class TaskSpec:
    """What a `Timer` times: statement, preparation, and what it is called in tables.

    stmt, setup, global_setup: code. label: the table's title; sub_label: the row's; description: the column's.
    env: where it ran, before the row's title. num_threads: threads of the kernels.
    """

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """Label or statement, and the sub-label."""
        if self.label is None and "\n" in self.stmt:
            more = f": ({self.sub_label})" if self.sub_label else ":"
            return f"stmt{more}\n{textwrap.indent(self.stmt, '  ')}"
        return (self.label or self.stmt) + (f": {self.sub_label}" if self.sub_label else "")

    def setup_str(self) -> str:
        """The preparation under its heading; empty where there is none."""
        if self.setup == "pass" or not self.setup:
            return ""
        if "\n" in self.setup:
            return f"setup:\n{textwrap.indent(self.setup, '  ')}"
        return f"setup: {self.setup}"

    def summarize(self) -> str:
        """Title, description and preparation, below one another."""
        parts = [part for part in (self.title, self.description, self.setup_str()) if part]
        return "\n".join([f"{part}\n" if "\n" in part else part for part in parts])


class Measurement:
    """Times of a statement, in seconds.

    number_per_run: how often it ran for each of raw_times. task_spec: what it was. metadata: what the caller likes.
    """

    def __init__(
        self, number_per_run: int, raw_times: list[float], task_spec: TaskSpec, metadata: dict[Any, Any] | None = None
    ) -> None:
        self.number_per_run, self.raw_times, self.task_spec, self.metadata = (
            number_per_run,
            raw_times,
            task_spec,
            metadata,
        )

    def __getattr__(self, name: str) -> Any:
        spec = self.__dict__.get("task_spec")
        if spec is None or name not in (*TaskSpec.__dataclass_fields__, "title", "setup_str"):
            raise AttributeError(f"'Measurement' object has no attribute {name!r}")
        return getattr(spec, name)

    @property
    def times(self) -> list[float]:
        """Seconds for one execution, for each run."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def median(self) -> float:
        """The median of `times`."""
        return float(np.median(self.times))

    @property
    def mean(self) -> float:
        """The mean of `times`."""
        return float(np.mean(self.times))

    @property
    def iqr(self) -> float:
        """The range from the 25th to the 75th percentile of `times`."""
        low, high = self._quartiles()
        return high - low

    def _quartiles(self) -> tuple[float, float]:
        low, high = np.quantile(self.times, [0.25, 0.75])
        return float(low), float(high)

    @property
    def significant_figures(self) -> int:
        """How many digits of the median can be trusted, 1 to 4, by the spread of the middle half of the times."""
        n = len(self.times)
        middle = sorted(self.times)[n // 4 : math.ceil(3 * n / 4)]
        spread = max(1.645 * float(np.std(middle)) / math.sqrt(len(middle)), _FINEST)
        return min(max(math.floor(math.log10(self.median / spread)), 1), _MOST_DIGITS)

    def meets_confidence(self, threshold: float = _NOISY) -> bool:
        """Whether the interquartile range is below `threshold` times the median."""
        return self.iqr / self.median < threshold

    @property
    def has_warnings(self) -> bool:
        """Whether the times are noisy: an interquartile range above a tenth of the median."""
        return self.iqr / self.median > _NOISY

    @property
    def as_row_name(self) -> str:
        """What its row is called in a table."""
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def __repr__(self) -> str:
        unit, scale = select_unit(self.median)
        n, threads = len(self.times), self.task_spec.num_threads
        lines = [f"{object.__repr__(self)}", self.task_spec.summarize()]
        if n == 1:
            lines.append(f"  {self.median / scale:.2f} {unit}")
        else:
            low, high = self._quartiles()
            lines.append(f"  Median: {self.median / scale:.2f} {unit}")
            lines.append(f"  IQR:    {self.iqr / scale:.2f} {unit} ({low / scale:.2f} to {high / scale:.2f})")
        many = f"{n} measurements, {self.number_per_run} runs per measurement"
        one = f"1 measurement, {self.number_per_run} runs "
        lines.append(f"  {many if n > 1 else one}, {threads} thread{'s' if threads > 1 else ''}")
        share = self.iqr / self.median
        if share > _NOISY:
            lines.append(f"  WARNING: Interquartile range is {share * 100:.1f}% of the median measurement.")
            cause = "suggests significant environmental influence"
            lines.append(f"           This {cause if share > _VERY_NOISY else 'could indicate system fluctuation'}.")
        return "\n".join(lines)

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """One measurement for each task, of all its times."""
        found: dict[TaskSpec, list[float]] = {}
        for m in measurements:
            found.setdefault(m.task_spec, []).extend(m.times)
        return [Measurement(1, times, spec) for spec, times in found.items()]


def select_unit(t: float) -> tuple[str, float]:
    """The unit for `t` seconds, and its length in seconds: ("us", 1e-06)."""
    step = math.floor(math.log10(t) / 3) if t > 0 else 0
    unit = {-1: "ms", -2: "us", -3: "ns"}.get(step, "s")
    return unit, _UNITS[unit][1]


def unit_to_english(u: str) -> str:
    """ "ns", "us", "ms" or "s" as a word."""
    return _UNITS[u][0]


def trim_sigfig(x: float, n: int) -> float:
    """`x` rounded to `n` significant digits."""
    place = n - math.ceil(math.log10(abs(x)))
    return float(round(x * 10**place) / 10**place)


def ordered_unique(elements: Iterable[Any]) -> list[Any]:
    """The elements, each once, in order of appearance."""
    return list(dict.fromkeys(elements))


@contextlib.contextmanager
def set_torch_threads(n: int) -> Iterator[None]:
    """Context in which kernels take `n` threads."""
    before = get_num_threads()
    try:
        set_num_threads(n)
        yield
    finally:
        set_num_threads(before)
