"""Pictures of recorded trainings, to compare them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ...backends import np
from ...utils.history import Curves, History
from ...utils.measures import HEALTHY
from ...utils.run_report import family, spans_decades
from .panels import BLUE, GREEN, INK, RED, drawing, grid_of, palette, small_title

__all__ = ["training"]

#: columns beside those of what was logged: title; "log" for sizes over decades, "%" for shares, "" otherwise
COLUMNS = {
    "gradients": ("‖gradient‖", "log"),
    "ratios": ("‖update‖ / ‖weight‖", "log"),
    "weights": ("‖weight‖", "log"),
    "dead": ("dead units [%]", "%"),
    "means": ("mean of outputs", ""),
    "deviations": ("deviation of outputs", "log"),
    "zeros": ("zeros among outputs [%]", "%"),
    "rates": ("learning rate", ""),
}
#: a logarithmic axis shows so many times the median, and as small a part of it: what explodes shall not hide the rest
FAR = 1e6


@drawing
def training(
    runs: Any, columns: Sequence[str] | None = None, *, title: Any = None, size: float = 2.4, figure: Any = None
) -> Any:
    """What recorders wrote down, a row for each run: {name: history}, or one `History` alone (`recorder.history`).

    columns: any of what was logged ("loss" with val_loss, "accuracy"), of "gradients", "ratios" (updates, the healthy
    band green), "dead", and of "weights", "means", "deviations", "zeros", "rates"; by default what was logged and the
    first three, as far as they are there. Panels of a column share their axis. Layers go from dark (input) to light;
    vectors (biases) are left out where there are matrices. Numbers logged at many steps are pale, with their running
    mean. ValueError for a column that no run has.
    """
    named = dict(runs) if isinstance(runs, Mapping) else {None: runs}
    if not named or not all(isinstance(history, History) for history in named.values()):
        raise ValueError("training draws a History or {name: History}, such as recorder.history")
    found = {column: [_lines(history, column) for history in named.values()] for column in columns or _all(named)}
    for column, lines in found.items():
        if not any(lines):
            raise ValueError(f"no run has {column!r}; there is {', '.join(_all(named, COLUMNS)) or 'nothing'}")
    if not found:
        raise ValueError("nothing was recorded")
    width, height = size * len(found) + 0.3, 0.8 * size * len(named) + 0.4
    options = {"sharex": True, "sharey": "col"}
    figure, panels = grid_of(figure, title, len(named), len(found), width, height, **options)
    told: set[tuple[str, ...]] = set()
    for axes, (column, lines) in zip(panels.T, found.items(), strict=True):
        _column(axes, column, lines, told)
    for row, (name, history) in zip(panels, named.items(), strict=True):
        if name is not None:
            row[0].set_ylabel(textwrap.fill(str(name), int(10 * size)), fontsize=9, parse_math=False)
        if history.faults:
            first = min(int(steps[0]) for steps, _ in history.faults.values())
            _note(row[0], f"NaN or ∞\nfrom step {first}", RED)
    for axis in panels[-1]:
        axis.set_xlabel("step")
    return figure.figure


def _all(named: Mapping[Any, History], kinds: Any = ("gradients", "ratios", "dead")) -> list[str]:
    """The columns there are: what was logged, losses first, and those of `kinds` that some run has."""
    logged = dict.fromkeys(family(name) for history in named.values() for name in history.values)
    there = [kind for kind in kinds if any(getattr(history, kind) for history in named.values())]
    return [*sorted(logged, key=lambda name: "loss" not in name), *there]


def _lines(history: History, column: str) -> dict[str, tuple[Any, Any]]:
    """{label: (steps, values)} of a run in a column; what is not finite is NaN."""
    if column not in COLUMNS:
        curves = history.values
        names = [n for n in curves if family(n) == column] or [n for n in curves if n == column]
    else:
        curves = getattr(history, column)
        matrices = [n for n in curves if n in history.ratios] or [n for n in curves if not n.endswith("bias")]
        names = matrices or list(curves)
    lines = {name: curves[name] for name in names}
    if column in ("dead", "zeros"):
        whole = history.units if column == "dead" else Curves()
        lines = {n: (steps, 100 * y / (whole[n].values if n in whole else 1)) for n, (steps, y) in lines.items()}
    if lines and all(name.endswith(".weight") for name in lines):
        lines = {name.removesuffix(".weight"): line for name, line in lines.items()}
    return {name: (steps, np.where(np.isfinite(y), y, np.nan)) for name, (steps, y) in lines.items()}


def _column(axes: Sequence[Any], column: str, runs: Sequence[dict[str, Any]], told: set[tuple[str, ...]]) -> None:
    """The panels of a column, one for each run. told: the names that a legend has explained, one for all panels."""
    logged = column not in COLUMNS
    title, scale = (column, "") if logged else COLUMNS[column]
    values = np.concatenate([y for lines in runs for _, y in lines.values()])
    values = values[np.isfinite(values)]
    log = scale == "log" or (not scale and spans_decades(values))
    log = log and bool((values > 0).any())
    small_title(axes[0], title)
    for axis, lines in zip(axes, runs, strict=True):
        for (name, (steps, y)), colour in zip(lines.items(), _colours(len(lines), logged), strict=True):
            _line(axis, steps, np.where(y > 0, y, np.nan) if log else y, colour, name, smooth=logged)
        if not lines:
            _note(axis, "not recorded", INK)
        elif scale == "log" and not any((y != 0).any() for _, y in lines.values()):
            _note(axis, "all 0", RED)
        elif len(lines) > 1 and tuple(lines) not in told:
            _legend(axis, None if logged or column == "rates" else "layer")
            told.add(tuple(lines))
        if column == "ratios":
            axis.axhspan(*HEALTHY, color=GREEN, alpha=0.15, linewidth=0)
    if scale == "%":
        axes[0].set_ylim(-3, 103)
    elif log:
        values = values[values > 0]
        middle = float(np.median(values))
        low, high = max(float(values.min()), middle / FAR), min(float(values.max()), middle * FAR)
        if column == "ratios":
            low, high = min(low, HEALTHY[0]), max(high, HEALTHY[1])
        axes[0].set_yscale("log")
        axes[0].set_ylim(low / 1.5, high * 1.5)


def _colours(n: int, logged: bool) -> list[Any]:
    """Of n curves: of what was logged, or of layers from the input to the output."""
    import matplotlib

    if logged:
        return [BLUE, *palette(n)[1:]][:n]
    return [matplotlib.colormaps["viridis"](0.9 * i / max(n - 1, 1)) for i in range(n)]


def _line(axis: Any, steps: Any, y: Any, colour: Any, name: str, smooth: bool) -> None:
    """A curve; points of it that have no neighbours are dots."""
    wide = len(y) // 40
    if smooth and wide > 1:
        axis.plot(steps, y, color=colour, alpha=0.3, linewidth=0.8)
        steps, y = steps[wide // 2 :][: len(y) - wide + 1], np.convolve(y, np.full(wide, 1 / wide), "valid")
    gap = np.isnan(np.concatenate([[np.nan], y, [np.nan]]))
    alone = np.flatnonzero(gap[:-2] & ~gap[1:-1] & gap[2:])
    axis.plot(steps, y, color=colour, label=name, linewidth=1.2, marker=".", markersize=3, markevery=alone.tolist())


def _legend(axis: Any, title: str | None) -> None:
    """Names of the curves; of many layers some, the first and the last among them."""
    lines, names = axis.get_legend_handles_labels()
    some = sorted({round(i * (len(names) - 1) / 5) for i in range(6)}) if len(names) > 6 else range(len(names))
    shown = [lines[i] for i in some], [names[i] for i in some]
    options = {"handlelength": 1.2, "columnspacing": 0.8, "labelspacing": 0.2, "borderpad": 0.2, "framealpha": 0.8}
    narrow = max(len(names[i]) for i in some) <= 6
    legend = axis.legend(
        *shown, fontsize=6.5, title=title, title_fontsize=6.5, ncols=2 if narrow else 1, edgecolor="none", **options
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _note(axis: Any, text: str, colour: str) -> None:
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=colour, fontsize=8)
