"""What a recorder has written down of a training: curves of numbers, and histograms over time; kept in one file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from ..autograd.serialization import replacing
from ..backends import np

__all__ = ["Curves", "HistogramCurves", "Histograms", "History", "Series"]


class Series(NamedTuple):
    """One number over time: the steps at which it was recorded, and its values, both of shape (T,)."""

    steps: Any
    values: Any


class Histograms(NamedTuple):
    """Histograms over time: steps (T,), counts (T, bins) and edges (T, bins + 1), as `numpy.histogram` gives them."""

    steps: Any
    counts: Any
    edges: Any


class Curves(Mapping[str, Any]):
    """Series by name, in the order in which they were first recorded."""

    kind: Any = Series
    types: tuple[Any, ...] = (np.int64, np.float64)

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[Any, ...]]] = {}

    def add(self, name: str, step: int, *values: Any) -> None:
        """Record a value at a step."""
        self._rows.setdefault(name, []).append((step, *values))

    def cut(self, steps: int) -> None:
        """Forget what was recorded at step number `steps` and later."""
        kept = {name: [row for row in rows if row[0] < steps] for name, rows in self._rows.items()}
        self._rows = {name: rows for name, rows in kept.items() if rows}

    def rows(self, name: str, since: int = 0) -> list[tuple[Any, ...]]:
        """(step, value) of each record of a name, from number `since` on."""
        return self._rows[name][since:]

    def __getitem__(self, name: str) -> Any:
        if name not in self._rows:
            raise KeyError(f"nothing was recorded of {name!r}; there is {', '.join(self._rows) or 'nothing'}")
        columns = zip(*self._rows[name], strict=True)
        return self.kind(*[np.array(column, dtype) for column, dtype in zip(columns, self.types, strict=True)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}: {len(rows)}' for n, rows in self._rows.items())})"


class HistogramCurves(Curves):
    """Histograms over time, by name."""

    kind = Histograms
    types = (np.int64, np.int64, np.float64)


@dataclass
class History:
    """The record of a run. `history["loss"]` is a Series of what was logged; so are the entries of the other curves.

    Parameters have the names of `named_parameters()`, layers those of `named_modules()`. By these names: rates, of each
    group of the optimizer; gradients and weights, the norms of each parameter's, and ratios, ‖update‖ / ‖weight‖; of
    each rectifier units, and dead, how many gave 0 for all samples of the step; of each layer's output means,
    deviations, zeros (the share of zeros) and, as histograms over time, activations; gradient_histograms; faults, how
    many elements were NaN or infinite; costs, "seconds" and "memory" (bytes) of each step. steps: how many there were.
    info: settings.
    """

    #: what was logged: losses, metrics
    values: Curves = field(default_factory=Curves)
    #: learning rates
    rates: Curves = field(default_factory=Curves)
    #: ‖gradient‖ of each parameter, as the optimizer saw it
    gradients: Curves = field(default_factory=Curves)
    #: ‖weight‖ of each parameter before the step
    weights: Curves = field(default_factory=Curves)
    #: ‖update‖ / ‖weight‖ of each parameter of two dimensions or more
    ratios: Curves = field(default_factory=Curves)
    #: of each rectifier: how many units gave 0 for all of the step's samples, and how many there are
    dead: Curves = field(default_factory=Curves)
    units: Curves = field(default_factory=Curves)
    #: of each layer's output: mean, standard deviation, share of zeros
    means: Curves = field(default_factory=Curves)
    deviations: Curves = field(default_factory=Curves)
    zeros: Curves = field(default_factory=Curves)
    #: how many elements were NaN or infinite, where some were: "output of fc1", "gradient of fc1.weight"
    faults: Curves = field(default_factory=Curves)
    #: "seconds" of each step, "memory" in bytes
    costs: Curves = field(default_factory=Curves)
    #: histograms of layers' outputs, and of gradients
    activations: HistogramCurves = field(default_factory=HistogramCurves)
    gradient_histograms: HistogramCurves = field(default_factory=HistogramCurves)
    #: how many steps there were
    steps: int = 0
    #: settings of the recorder, and what else the program wants to keep; JSON
    info: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Series:
        return self.values[name]  # type: ignore[no-any-return]

    def curves(self) -> dict[str, Curves]:
        """All curves by the name of the field."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("steps", "info")}

    def cut(self, steps: int) -> None:
        """Forget what was recorded at step number `steps` and later."""
        for curves in self.curves().values():
            curves.cut(steps)
        self.steps = min(self.steps, steps)

    def save(self, path: Any) -> None:
        """Write it as an .npz file, which takes the place of a former one whole or not at all."""
        index: list[tuple[str, str]] = []
        arrays = {}
        for kind, curves in self.curves().items():
            for name, series in curves.items():
                for column, array in zip(series._fields, series, strict=True):
                    arrays[f"{len(index)}.{column}"] = array
                index.append((kind, name))
        said = json.dumps({"format": 1, "index": index, "steps": self.steps, "info": self.info})
        with replacing(Path(path)) as file:
            np.savez_compressed(file, said=np.array(said), **arrays)

    @classmethod
    def load(cls, path: Any) -> History:
        """The history in a file that `save` wrote. ValueError for another file."""
        if not Path(path).exists():
            raise FileNotFoundError(f"no history at {path}")
        with np.load(path, allow_pickle=False) as file:
            if "said" not in file:
                raise ValueError(f"{path} is no history of a recorder")
            said = json.loads(str(file["said"]))
            if said["format"] != 1:
                raise ValueError(f"{path} has format {said['format']}; this version reads format 1")
            history = cls(steps=said["steps"], info=said["info"])
            for i, (kind, name) in enumerate(said["index"]):
                curves = history.curves()[kind]
                for row in zip(*[file[f"{i}.{column}"] for column in curves.kind._fields], strict=True):
                    curves.add(name, int(row[0]), *row[1:])
        return history

    def to_tensorboard(self, writer: Any, written: dict[tuple[str, str], int] | None = None) -> None:
        """Write all of it to TensorBoard: numbers as scalars, histograms as histograms.

        writer: a SummaryWriter, or a folder, for which one is made and closed. Tags: the names of what was logged;
        gradients/fc1.weight, rates/lr and so on. written: how many records of each curve are there already, brought up
        to date. Sums of histograms are those of the bins' middles.
        """
        if not hasattr(writer, "add_scalar"):
            from .tensorboard import SummaryWriter

            with SummaryWriter(str(writer)) as own:
                self.to_tensorboard(own, written)
            return
        written = {} if written is None else written
        for kind, curves in self.curves().items():
            for name in curves:
                tag = name if kind == "values" else f"{kind}/{name}"
                for step, *record in curves.rows(name, written.get((kind, name), 0)):
                    if curves.kind is Series:
                        writer.add_scalar(tag, record[0], step)
                    else:
                        _add_histogram(writer, tag, step, *record)
                written[kind, name] = len(curves.rows(name))
        writer.flush()


def _add_histogram(writer: Any, tag: str, step: int, counts: Any, edges: Any) -> None:
    middles = (edges[1:] + edges[:-1]) / 2
    sums = [float(counts.sum()), float(counts @ middles), float(counts @ middles**2)]
    # TensorBoard's buckets have right edges alone: an empty one ends where the first full one begins
    writer.add_histogram_raw(tag, float(edges[0]), float(edges[-1]), *sums, edges.tolist(), [0, *counts.tolist()], step)
