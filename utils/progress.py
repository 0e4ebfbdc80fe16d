"""How far a program is, where people look: a bar on a terminal, lines of text in a log, a figure in a notebook."""

from __future__ import annotations

import io
import math
import sys
import time
from typing import TYPE_CHECKING, Any

from .measures import HEALTHY

if TYPE_CHECKING:
    from .recorder import Recorder

__all__ = ["LivePlot", "Progress", "in_notebook", "watcher"]


class Progress:
    """A bar on a terminal (tqdm, where it is installed); where there is none, in a log say, a line now and then.

        with Progress(1000, "steps") as progress:
            progress.update(loss=f"{loss:.3f}")

    total: how many there will be: ten lines; None: a line after 1, 2, 5, 10, 20, 50, ... initial: how many are
    done. Lines go to stderr. unit: the name of what is counted.
    """

    def __init__(self, total: int | None, unit: str = "steps", initial: int = 0) -> None:
        self.total, self.unit, self.done = total, unit, initial
        self.started = time.perf_counter()
        self.bar: Any = None
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar = tqdm(total=total, initial=initial, unit=f" {unit}", dynamic_ncols=True)

    def update(self, **figures: Any) -> None:
        """One more is done; `figures` are shown beside it."""
        self.done += 1
        if self.bar is not None:
            self.bar.set_postfix(figures, refresh=False)
            self.bar.update()
        elif self._due():
            shown = "".join([f", {name.replace('_', ' ')} {value}" for name, value in figures.items()])
            of = "" if self.total is None else f"/{self.total}"
            elapsed = time.perf_counter() - self.started
            sys.stderr.write(f"{self.done}{of} {self.unit}{shown}, {elapsed:.0f} s\n")
            sys.stderr.flush()

    def _due(self) -> bool:
        if self.total is None:
            return str(self.done).rstrip("0") in ("1", "2", "5")
        return self.done * 10 // self.total > (self.done - 1) * 10 // self.total

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def in_notebook() -> bool:
    """Whether the program runs in a notebook, which shows figures in place of text."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def watcher(total: int | None = None) -> Any:
    """What shows a recorder's training here: call it with the recorder after each step, `close` it in the end.

    total: how many steps there will be.
    """
    return LivePlot() if in_notebook() else _Lines(total)


class _Lines:
    """A recorder's numbers beside a Progress."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.progress: Progress | None = None

    def __call__(self, recorder: Recorder) -> None:
        if self.progress is None:
            self.progress = Progress(self.total, initial=recorder.steps - 1)
        self.progress.update(**{name: f"{value:.4g}" for name, value in recorder.latest().items()})

    def close(self) -> None:
        if self.progress is not None:
            self.progress.close()
        self.progress = None


class LivePlot:
    """One picture in a notebook, drawn anew after a look at the model: what was logged, and updates over weights.

    `figure` is a matplotlib Figure (extra `explain`). seconds: at least so long between two drawings.
    """

    def __init__(self, seconds: float = 0.5) -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError("a live plot needs matplotlib: pip install 'chainrule[explain]'") from None
        # no window, and no end of a cell, shows a figure that pyplot does not know
        self.figure = Figure(layout="constrained")
        self.seconds = seconds
        self._shown: Any = None
        self._recorder: Recorder | None = None
        self._drawn_at, self._looked_at = -math.inf, -1

    def __call__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        if recorder.looked_at > self._looked_at and time.perf_counter() - self._drawn_at > self.seconds:
            self._show(recorder)

    def _show(self, recorder: Recorder) -> None:
        """Draw, and show it in the place of what was shown before."""
        from IPython.display import Image, display

        draw(self.figure, recorder)
        file = io.BytesIO()
        self.figure.savefig(file, dpi=144)
        picture = Image(data=file.getvalue(), width=int(self.figure.get_figwidth() * 96))
        if self._shown is None:
            self._shown = display(picture, display_id=True)
        else:
            self._shown.update(picture)
        self._drawn_at, self._looked_at = time.perf_counter(), recorder.looked_at

    def close(self) -> None:
        """Draw the end."""
        if self._recorder is not None:
            self._show(self._recorder)
        self._recorder = self._shown = None


def draw(figure: Any, recorder: Recorder) -> None:
    """What a recorder knows, in a matplotlib figure: losses, other numbers, updates over weights.

    figure: a matplotlib Figure; its axes are cleared and drawn anew.
    """
    history = recorder.known
    losses = [name for name in history.values if "loss" in name.lower()]
    others = [name for name in history.values if name not in losses]
    panels = [names for names in (losses, others) if names]
    figure.clear()
    figure.set_size_inches(4 * (len(panels) + 1), 2.8)
    *left, right = figure.subplots(1, len(panels) + 1, squeeze=False)[0]
    for axes, names in zip(left, panels, strict=True):
        for name in names:
            series = history[name]
            axes.plot(series.steps, series.values, label=name, marker="." if len(series.steps) < 30 else None)
        axes.set(xlabel="step", title=", ".join(names))
        if len(names) > 1:
            axes.legend(frameon=False, fontsize=8)
    right.axhspan(*HEALTHY, color="#2f8f5b", alpha=0.12, linewidth=0)
    for i, (name, series) in enumerate(history.ratios.items()):
        shade = (0.13, 0.2 + 0.6 * i / max(len(history.ratios) - 1, 1), 0.65)  # first to last: dark to light
        right.plot(series.steps, series.values, color=shade, label=name, marker="." if len(series.steps) < 30 else None)
    right.set(xlabel="step", title="update / weight", yscale="log")
    if 0 < len(history.ratios) <= 6:
        right.legend(frameon=False, fontsize=8)
    for axes in (*left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
