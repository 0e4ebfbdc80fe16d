"""What a profiler recorded: calls, their sums by name, and the table of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["EventList", "FunctionEvent"]


class Interval(NamedTuple):
    """From `start` to `end`, in microseconds of the clock."""

    start: float
    end: float

    def elapsed_us(self) -> float:
        """How long it is."""
        return self.end - self.start


class FunctionEvent:
    """Calls of one op: its name (`key`), how many they are, times in microseconds, bytes of the results.

    start, end: of a single call, in seconds of the clock. What is `self_` leaves out the calls within these. Sizes of
    the inputs are in input_shapes, where the profiler kept them. What is on a device is counted with the CPU here.
    """

    device_time = device_time_total = self_device_time_total = 0.0
    cuda_time = cuda_time_total = self_cuda_time_total = 0.0
    device_memory_usage = self_device_memory_usage = flops = 0

    def __init__(self, key: str, start: float = 0.0, end: float = 0.0) -> None:
        self.key = self.name = key
        self.start, self.end = start, end
        self.count, self.cpu_time_total = 1, 1e6 * (end - start)
        self.self_cpu_time_total = self.cpu_time_total
        self.cpu_memory_usage = self.self_cpu_memory_usage = 0
        self.input_shapes: Any = []
        self.stack: list[str] = []
        self.thread = 0
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []

    def close(self, end: float, memory: int = 0) -> None:
        """The call is over, and left so many bytes."""
        self.end, self.cpu_time_total = end, 1e6 * (end - self.start)
        within = self.cpu_children
        self.self_cpu_time_total = self.cpu_time_total - sum([e.cpu_time_total for e in within])
        self.cpu_memory_usage = memory or sum([e.cpu_memory_usage for e in within])
        self.self_cpu_memory_usage = self.cpu_memory_usage - sum([e.cpu_memory_usage for e in within])

    def add(self, other: FunctionEvent) -> None:
        """Count what `other` counts."""
        self.count += other.count
        for name in ("cpu_time_total", "self_cpu_time_total", "cpu_memory_usage", "self_cpu_memory_usage"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def cpu_time(self) -> float:
        """The mean time of a call."""
        return self.cpu_time_total / max(self.count, 1)

    @property
    def time_range(self) -> Interval:
        """When it was, for a single call."""
        return Interval(1e6 * self.start, 1e6 * self.end)

    cpu_time_str = property(lambda self: _time(self.cpu_time))
    cpu_time_total_str = property(lambda self: _time(self.cpu_time_total))
    self_cpu_time_total_str = property(lambda self: _time(self.self_cpu_time_total))

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent key={self.key} count={self.count} self_cpu_time={self.self_cpu_time_total_str} "
            f"cpu_time={self.cpu_time_str} input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage}>"
        )


def _time(us: float) -> str:
    for length, unit in ((1e6, "s"), (1e3, "ms")):
        if us >= length:
            return f"{us / length:.3f}{unit}"
    return f"{us:.3f}us"


def _memory(bytes_: float) -> str:
    for power, unit in ((3, "GB"), (2, "MB"), (1, "KB")):
        if abs(bytes_) >= 1024**power:
            return f"{bytes_ / 1024**power:.2f} {unit}"
    return f"{bytes_} B"


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else f"{text[: width - 3]}..."


class EventList(list[FunctionEvent]):
    """The entries of a profile; iterable: those that it begins with.

    memory: whether tables show bytes. shapes: whether they show sizes of inputs.
    """

    memory = shapes = False

    def _of(self, events: Any, shapes: bool = False) -> EventList:
        found = EventList(events)
        found.memory, found.shapes = self.memory, shapes
        return found

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
        """The entries as text, sorted by an attribute, the largest first: 'cpu_time_total', 'self_cpu_time_total',
        'cpu_memory_usage', 'count'. Names of times on a device stand for those on the CPU. AttributeError for others.

        row_limit: entries shown, -1 for all. max_name_column_width, max_shapes_column_width: where texts are cut.
        header: a line above. top_level_events_only: only what no other entry called. Other options are PyTorch's,
        without effect.
        """
        rows = list(self)
        if sort_by is not None:
            name = sort_by.replace("cuda", "cpu").replace("device", "cpu")
            rows.sort(key=lambda e: -getattr(e, name))
        total = self.self_cpu_time_total

        def share(time: float) -> str:
            return f"{100 * time / total if total else 0:.2f}%"

        columns: dict[str, Callable[[FunctionEvent], str]] = {
            "Name": lambda e: _cut(e.key, max_name_column_width),
            "Self CPU %": lambda e: share(e.self_cpu_time_total),
            "Self CPU": lambda e: e.self_cpu_time_total_str,
            "CPU total %": lambda e: share(e.cpu_time_total),
            "CPU total": lambda e: e.cpu_time_total_str,
            "CPU time avg": lambda e: e.cpu_time_str,
        }
        if self.memory:
            columns["CPU Mem"] = lambda e: _memory(e.cpu_memory_usage)
            columns["Self CPU Mem"] = lambda e: _memory(e.self_cpu_memory_usage)
        columns["# of Calls"] = lambda e: str(e.count)
        if self.shapes:
            columns["Input Shapes"] = lambda e: _cut(str(e.input_shapes), max_shapes_column_width)
        rows = [e for e in rows if not (top_level_events_only and e.cpu_parent is not None)]
        shown = rows[: row_limit if row_limit >= 0 else None]
        widths = {
            title: max([len(text(e)) for e in rows], default=8) + 4 if title in ("Name", "Input Shapes") else 12
            for title, text in columns.items()
        }

        def line(texts: list[str]) -> str:
            return "".join([f"{text:>{w}}  " for text, w in zip(texts, widths.values(), strict=True)])

        rule = line(["-" * w for w in widths.values()])
        lines = ["=" * len(rule), header, "=" * len(rule)] if header else []
        if top_level_events_only:
            lines.append("This report only display top-level ops statistics")
        lines += [rule, line(list(columns)), rule, *[line([text(e) for text in columns.values()]) for e in shown], rule]
        return "\n".join([*lines, f"Self CPU time total: {_time(total)}", ""])

    def key_averages(self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0, **options: Any) -> EventList:
        """One entry per name, or per name and sizes of the inputs. Other options are PyTorch's, without effect."""
        found: dict[Any, FunctionEvent] = {}
        for event in self:
            key = (event.key, str(event.input_shapes)) if group_by_input_shapes else event.key
            entry = found.get(key)
            if entry is None:
                entry = found[key] = FunctionEvent(event.key)
                entry.count, entry.cpu_parent = 0, event.cpu_parent
                entry.input_shapes = event.input_shapes if group_by_input_shapes else []
            entry.add(event)
        return self._of(found.values(), group_by_input_shapes)

    def total_average(self) -> FunctionEvent:
        """All as one entry, whose time is that of all by themselves."""
        total = FunctionEvent("Total")
        total.count = 0
        for event in self:
            total.add(event)
        total.cpu_time_total = total.self_cpu_time_total
        return total

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all, each by itself."""
        return sum([event.self_cpu_time_total for event in self])

    def export_chrome_trace(self, path: str) -> None:
        """Write the calls to a file for chrome://tracing, packed where its name ends in .gz."""
        events = [
            {
                "name": e.name,
                "cat": "cpu_op",
                "ph": "X",
                "ts": 1e6 * e.start,
                "dur": e.cpu_time_total,
                "pid": 0,
                "tid": e.thread,
                "args": {"Input Dims": e.input_shapes} if e.input_shapes else {},
            }
            for e in self
        ]
        data = json.dumps({"traceEvents": events}).encode()
        Path(path).write_bytes(gzip.compress(data) if str(path).endswith(".gz") else data)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write the calls with those around them, `outer;inner TIME` in each line, for drawings of stacks.

        metric: the attribute whose sum is the time.
        """
        found: dict[str, float] = {}
        for e in self:
            names, outer = [e.name], e.cpu_parent
            while outer is not None:
                names.append(outer.name)
                outer = outer.cpu_parent
            line = ";".join(reversed(names)).replace(" ", "_")
            found[line] = found.get(line, 0.0) + getattr(e, metric.replace("cuda", "cpu"))
        Path(path).write_text("".join([f"{line} {int(time)}\n" for line, time in found.items()]))

    def __str__(self) -> str:
        return self.table()
