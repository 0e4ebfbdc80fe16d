"""Classes: which are taken for which, and where in the plane a model decides for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import nn
from ..autograd import FUNCTIONS, Tensor, no_grad
from ..utils.metrics import confusion_matrix
from ..utils.reports import host
from .batches import batches, place_of
from .scope import looking

__all__ = ["Confused", "confusion", "decision_grid", "most_confused"]


def confusion(model: nn.Module, data: Any, *, num_classes: int | None = None, batch: int = 64) -> Tensor:
    """Counts (K, K) over labelled data: row i, column j holds how many samples of class i were taken for class j.

    data: a pair (inputs, classes) of tensors, a Dataset or a DataLoader. The answer is the largest score of an output
    (N, K, ...); an output (N,) or (N, 1) answers 1 where it is above 0, as logits do. num_classes: by default as many
    as there are scores. The model runs in evaluation mode. ValueError for data without classes, or classes beyond K.
    """
    answers, wanted = [], []
    with looking(model) as look, no_grad():
        run = look.until(model, [None], tensors=True)
        for inputs, classes in batches(data, batch, place_of(model)):
            if classes is None:
                raise ValueError("a confusion of classes needs data with classes: a pair (inputs, classes)")
            (output,) = run(inputs)
            single = output.dim() == 1 or output.shape[1] == 1
            answers.append((output.reshape(len(inputs)) > 0).long() if single else output.argmax(1))
            wanted.append(classes.reshape(answers[-1].shape))
            k = 2 if single else output.shape[1]
    if not answers:
        raise ValueError("there are no samples in the data")
    counts = confusion_matrix(FUNCTIONS["cat"](answers), FUNCTIONS["cat"](wanted), num_classes or k)
    return FUNCTIONS["tensor"](counts, device=answers[0].device)


class Confused(NamedTuple):
    """How many samples of class `true` were taken for class `answer`, and their share of the class."""

    true: Any
    answer: Any
    samples: int
    share: float


def most_confused(matrix: Any, k: int = 10, names: Sequence[Any] | None = None) -> list[Confused]:
    """The k most frequent mistakes of a `confusion`, the most frequent first; of equal counts the larger share.

    names: of the classes, to stand in the place of their numbers. Pairs that are never confused are left out.
    """
    counts = host(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a confusion matrix is square, (K, K), not {counts.shape}")
    if names is not None and len(names) != len(counts):
        raise ValueError(f"{len(names)} names of {len(counts)} classes")
    label = range(len(counts)) if names is None else names
    found = [
        Confused(label[i], label[j], int(count), float(count / row.sum()))
        for i, row in enumerate(counts)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(found, key=lambda pair: (-pair.samples, -pair.share))[:k]


def decision_grid(
    model: nn.Module, place: Any, resolution: int = 100, *, margin: float = 0.1, batch: int = 4096
) -> tuple[Tensor, Tensor, Tensor]:
    """A model's scores over a part of the plane: xs (R,), ys (R,) and scores (R, R, K), [i, j] being at (xs[j], ys[i]).

    place: ((left, right), (lower, upper)), or points (N, 2) as a tensor, around which the grid lies with `margin` of
    their extent on each side. The model takes points (M, 2), in the dtype of its parameters; an output (M,) gives
    scores (R, R). `plots.decision` draws it. ValueError for a place of another form, or without extent. resolution: R,
    the places along each side.
    """
    if resolution < 2:
        raise ValueError(f"a grid has 2 points or more in a row, not {resolution}")
    bounds = host(place).astype(float)
    if isinstance(place, Tensor):
        if bounds.ndim != 2 or bounds.shape[1] != 2 or not len(bounds):
            raise ValueError(f"points in the plane have shape (N, 2), not {bounds.shape}")
        low, high = bounds.min(0), bounds.max(0)
        bounds = [(a - margin * (b - a), b + margin * (b - a)) for a, b in zip(low, high, strict=True)]
    elif bounds.shape != (2, 2):
        raise ValueError(f"a place is ((left, right), (lower, upper)) or a tensor of points (N, 2), not {place!r}")
    if any(a >= b for a, b in bounds):
        raise ValueError(f"a place has an extent in both directions, left < right and lower < upper, not {bounds}")
    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    device = place_of(model) or (place.device if isinstance(place, Tensor) else None)
    xs, ys = (FUNCTIONS["linspace"](float(a), float(b), resolution, dtype=kind, device=device) for a, b in bounds)
    grid = FUNCTIONS["stack"]([xs.repeat(resolution), ys.repeat_interleave(resolution)], 1)
    with looking(model) as look, no_grad():
        run = look.until(model, [None], tensors=True)
        scores = FUNCTIONS["cat"]([run(part)[0].detach() for part, _ in batches(grid, batch)])
    return xs, ys, scores.reshape(resolution, resolution, *scores.shape[1:])
