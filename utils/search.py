"""Search for hyper-parameters: random, on a grid, and from coarse to fine; learning rates on a logarithmic scale."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .reports import generator, table

__all__ = [
    "Choice",
    "LogUniform",
    "SearchReport",
    "Trial",
    "Uniform",
    "coarse_to_fine",
    "grid_search",
    "log_grid",
    "random_search",
]


@dataclass(frozen=True)
class Uniform:
    """Numbers from low to high, all as likely; whole ones with `integer`.

    Bounds included. ValueError unless low < high.
    """

    low: float
    high: float
    integer: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (isinstance(self, LogUniform) and self.low <= 0):
            raise ValueError(f"{self} is empty: low must be below high, and above 0 on a logarithmic scale")

    def _to(self, value: float) -> float:
        return value

    def _from(self, place: float) -> float:
        return place

    def at(self, share: float) -> float:
        """The value at `share` (0 to 1) of the way, on the range's own scale."""
        low, high = self._to(self.low), self._to(self.high)
        value = min(max(self._from(low + share * (high - low)), self.low), self.high)
        return round(value) if self.integer else value

    def sample(self, source: Any) -> Any:
        """One value, by NumPy's generator."""
        return self.at(float(source.random()))

    def around(self, value: float, shrink: float) -> Any:
        """The range of `shrink` times the width about `value`, inside this one."""
        low, high, middle = self._to(self.low), self._to(self.high), self._to(value)
        half = shrink * (high - low) / 2
        start = min(max(middle - half, low), high - 2 * half)
        return type(self)(self._from(start), self._from(start + 2 * half), self.integer)


@dataclass(frozen=True)
class LogUniform(Uniform):
    """Numbers whose logarithms are uniform: 1e-5 to 1e-4 is as likely as 1e-2 to 1e-1. For rates and decays.

    ValueError unless 0 < low < high. integer: as of `Uniform`.
    """

    def _to(self, value: float) -> float:
        return math.log(value)

    def _from(self, place: float) -> float:
        return math.exp(place)


class Choice:
    """One of several values, all as likely."""

    def __init__(self, *values: Any) -> None:
        if not values:
            raise ValueError("there is nothing to choose from")
        self.values = values

    def sample(self, source: Any) -> Any:
        """One value, by NumPy's generator."""
        return self.values[int(source.integers(len(self.values)))]

    def around(self, value: Any, shrink: float) -> Choice:
        """The same values: they have no order to go by."""
        return self

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.values))})"


@dataclass(frozen=True)
class Trial:
    """One call of the objective: the parameters, `params`, and what it gave, `value`."""

    params: dict[str, Any]
    value: float


@dataclass(frozen=True)
class SearchReport:
    """All trials, best first; `str` is a table of them. mode: "min" or "max", what is best."""

    trials: tuple[Trial, ...]
    mode: str

    @property
    def best(self) -> Trial:
        """The best trial."""
        return self.trials[0]

    def __str__(self) -> str:
        names = list(self.best.params)
        return table(("value", *names), [(t.value, *(t.params[n] for n in names)) for t in self.trials])


def _report(trials: Sequence[Trial], mode: str) -> SearchReport:
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', not {mode!r}")
    sign = 1 if mode == "min" else -1
    return SearchReport(tuple(sorted(trials, key=lambda t: math.inf if math.isnan(t.value) else sign * t.value)), mode)


def random_search(
    objective: Callable[..., Any],
    space: Mapping[str, Any],
    trials: int = 20,
    mode: str = "min",
    seed: int | None = None,
) -> SearchReport:
    """Call `objective(**params)` for random params of `space` (name -> LogUniform, Uniform or Choice).

    Random beats a grid where few parameters matter, for each trial tries new values of all of them (J. Bergstra, Y.
    Bengio, "Random search for hyper-parameter optimization", 2012). NaN counts as the worst value. trials: how
    many. mode: "min" or "max" of the objective is better. seed: of the draws, by default from `manual_seed`.
    """
    if trials < 1 or not space:
        raise ValueError("a search needs one trial or more, and a space")
    source = generator(seed)
    drawn = [{name: part.sample(source) for name, part in space.items()} for _ in range(trials)]
    return _report([Trial(params, float(objective(**params))) for params in drawn], mode)


def grid_search(objective: Callable[..., Any], grid: Mapping[str, Sequence[Any]], mode: str = "min") -> SearchReport:
    """Call `objective(**params)` for every combination of the values in `grid`.

    A trial for each, best first. mode: "min" or "max" of the objective is better.
    """
    if not grid or not all(len(values) for values in grid.values()):
        raise ValueError("every parameter of the grid needs a value")
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return _report([Trial(params, float(objective(**params))) for params in combinations], mode)


def log_grid(low: float, high: float, n: int) -> list[float]:
    """n numbers from low to high in equal ratios.

    >>> from chainrule.utils.search import log_grid
    >>> [f"{v:.0e}" for v in log_grid(1e-4, 1e-1, 4)]
    ['1e-04', '1e-03', '1e-02', '1e-01']

    low · (high / low)^(i / (n - 1)), i = 0, ..., n - 1.
    """
    if n < 2:
        raise ValueError(f"a grid needs 2 points or more, not {n}")
    scale = LogUniform(low, high)
    return [scale.at(i / (n - 1)) for i in range(n)]


def coarse_to_fine(
    objective: Callable[..., Any],
    space: Mapping[str, Any],
    rounds: int = 3,
    trials: int = 10,
    shrink: float = 0.3,
    mode: str = "min",
    seed: int | None = None,
) -> SearchReport:
    """Random search in rounds, each in ranges `shrink` times as wide about the best so far; all are reported.

    trials: in each round; the other arguments as of `random_search`.
    """
    source, ranges = generator(seed), dict(space)
    found: list[Trial] = []
    for _ in range(rounds):
        part = random_search(objective, ranges, trials, mode, int(source.integers(2**62)))
        found += part.trials
        best = _report(found, mode).best
        ranges = {name: held.around(best.params[name], shrink) for name, held in ranges.items()}
    return _report(found, mode)
