"""Curves over steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...utils.reports import host
from .panels import BLUE, INK, ORANGE, RED, drawing, palette, panel, titled

__all__ = ["curves"]


@drawing
def curves(
    lines: Any,
    x: Any = None,
    *,
    xlabel: str = "step",
    ylabel: str = "",
    log: bool = False,
    title: Any = None,
    axes: Any = None,
) -> Any:
    """Curves over steps: {name: values}, or one sequence of values. x: their places, by default 0, 1, 2, ...

    log: a logarithmic axis of values. What an ascent, an inversion or a style transfer reports of its steps.
    """
    named = dict(lines) if isinstance(lines, Mapping) else {None: lines}
    axes = panel(axes, 5, 3.2)
    for (name, values), colour in zip(named.items(), _colours(len(named)), strict=True):
        y = host(values)
        if y.ndim != 1:
            raise ValueError(f"a curve is a sequence of numbers, (steps,), not of shape {y.shape}")
        axes.plot(range(len(y)) if x is None else host(x), y, color=colour, label=name, linewidth=1.4)
    if any(name is not None for name in named):
        axes.legend(frameon=False)
    if log:
        axes.set_yscale("log")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    titled(axes, title)
    return axes.figure.figure


def _colours(n: int) -> list[Any]:
    return [BLUE, ORANGE, RED, INK][:n] if n <= 4 else palette(n)
