"""`Compare`: measurements as tables, one for each label, with a row for each sub-label and a column per description."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from typing import Any

from .measurement import Measurement, ordered_unique, select_unit, trim_sigfig, unit_to_english

__all__ = ["Colorize", "Compare"]

_BEST, _GOOD, _BAD, _WORST = "\033[92m\033[1m", "\033[34m\033[1m", "\033[2m\033[91m", "\033[31m\033[1m"
_END = "\033[0m\033[0m"


class Colorize(enum.Enum):
    """Beside what numbers are coloured: nothing, their column, their row."""

    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


class Compare:
    """Tables of measurements.

    results: Measurements; those of one task are taken together. `print()` or `str()` gives the tables.
    """

    def __init__(self, results: Iterable[Measurement]) -> None:
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trim = self._warn = False
        self._colors = Colorize.NONE

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Add measurements. ValueError for anything else."""
        results = list(results)
        for r in results:
            if not isinstance(r, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(r)} instead.")
        self._results += results

    def trim_significant_figures(self) -> None:
        """Show only the digits that the spread of the times bears."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Colour good and bad numbers, beside the best of their column, or of their row."""
        self._colors = Colorize.ROWWISE if rowwise else Colorize.COLUMNWISE

    def highlight_warnings(self) -> None:
        """Show the spread of noisy measurements."""
        self._warn = True

    def __str__(self) -> str:
        groups: dict[Any, list[Measurement]] = {}
        for m in Measurement.merge(self._results):
            groups.setdefault(m.task_spec.label, []).append(m)
        return "\n".join([_Table(group, self._trim, self._warn, self._colors).text() for group in groups.values()])

    def print(self) -> None:
        """Print the tables."""
        print(str(self))  # noqa: T201


class _Table:
    def __init__(self, results: list[Measurement], trim: bool, warn: bool, colors: Colorize) -> None:
        self.label, self.trim, self.warn, self.colors = results[0].task_spec.label or "", trim, warn, colors
        self.unit, self.scale = select_unit(min(m.median for m in results))
        self.columns = ordered_unique(m.task_spec.description for m in results)
        self.rows = ordered_unique((m.task_spec.num_threads, m.task_spec.env, m.as_row_name) for m in results)
        self.rows.sort(key=lambda row: (row[0], row[1] or ""))
        self.cells = {self._place(m): m for m in results}

    @staticmethod
    def _place(m: Measurement) -> tuple[Any, ...]:
        spec = m.task_spec
        return spec.num_threads, spec.env, m.as_row_name, spec.description

    def _formatted(self, column: Any) -> list[str]:
        """The numbers of a column, of one length."""
        found = [self.cells.get((*row, column)) for row in self.rows]
        there = [m for m in found if m is not None]
        left = [math.ceil(math.log10(m.median / self.scale)) for m in there]
        right = 1
        if self.trim:
            right = min(max(m.significant_figures - d for m, d in zip(there, left, strict=True)), 1)
            right = max(right, 0)
        width = max(left) + right + (1 if right else 0)
        warn = self.warn and any(m.has_warnings for m in there)
        texts = []
        for m in found:
            number, note = "", ""
            if m is not None:
                value = m.median / self.scale
                number = f"{trim_sigfig(value, m.significant_figures) if self.trim else value:.{right}f}"
                note = f" (! {m.iqr / m.median * 100:.0f}%)" if warn and m.has_warnings else ""
            texts.append(f"{number:>{width}}{note:>{7 if warn else 0}}")
        longest = max(map(len, texts))
        return [text.ljust(longest) for text in texts]

    def _colored(self, text: str, m: Measurement | None, best: float) -> str:
        if m is None or self.colors is Colorize.NONE:
            return text
        if m.median <= best * 1.01 or m.median <= best + 100e-9:
            return f"{_BEST}{text}{_END}"
        if m.median <= best * 1.1:
            return f"{_GOOD}{text}{_END}"
        if m.median >= best * 5:
            return f"{_WORST}{text}{_END}"
        return f"{_BAD}{text}{_END}" if m.median >= best * 2 else text

    def _best(self, row: tuple[Any, ...], column: Any) -> float:
        """The least time beside a cell: in its row, or in its column with as many threads."""
        if self.colors is Colorize.ROWWISE:
            beside = [(*row, c) for c in self.columns]
        else:
            beside = [(*r, column) for r in self.rows if r[0] == row[0]]
        return min([self.cells[p].median for p in beside if p in self.cells], default=0.0)

    def _names(self) -> list[str]:
        """The titles of the rows, after where they ran, which is said when it changes."""
        longest, before, found = max(len(env or "") for _, env, _ in self.rows), None, []
        for threads, env, name in self.rows:
            said = f"({env})" if env and (threads, env) != before else ""
            found.append(f"  {said:{longest + 4}}{name}")
            before = threads, env
        return found

    def text(self) -> str:
        names = self._names()
        texts = [self._formatted(c) for c in self.columns]
        first = max(map(len, names))
        widths = [max(len(c or ""), len(t[0])) for c, t in zip(self.columns, texts, strict=True)]
        head = [" " * first, *[(c or "").center(w) for c, w in zip(self.columns, widths, strict=True)]]
        total = len("  |  ".join(head))
        lines = [f"[{f' {self.label} '.center(total - 2, '-')}]", "  |  ".join(head)]
        threads = None
        for i, (row, name) in enumerate(zip(self.rows, names, strict=True)):
            if row[0] != threads:
                threads = row[0]
                lines.append(f"{threads} threads: ".ljust(total, "-"))
            cells = [
                self._colored(t[i].center(w), self.cells.get((*row, c)), self._best(row, c))
                for c, t, w in zip(self.columns, texts, widths, strict=True)
            ]
            lines.append("  |  ".join([name.ljust(first), *cells]))
        lines.append(f"\nTimes are in {unit_to_english(self.unit)}s ({self.unit}).")
        note = ""
        if self.warn and any(m.has_warnings for m in self.cells.values()):
            note = "(! XX%) Measurement has high variance, where XX is the IQR / median * 100.\n"
        return "\n".join([*lines, note])
