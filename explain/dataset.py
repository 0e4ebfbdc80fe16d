"""The inputs of a data set that a unit answers to most."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from .. import nn
from ..autograd import FUNCTIONS, Tensor, no_grad
from ..utils.data import DataLoader, Dataset
from .batches import batches, place_of
from .descent import counted
from .receptive_field import receptive_field
from .scope import Layer, looking
from .scores import Target, plain, scores

__all__ = ["TopInputs", "top_inputs"]


class TopInputs(NamedTuple):
    """What `top_inputs` finds: inputs (k, ...), the unit's values (k,), indices in the data (k,), places (k, D).

    crops: k tensors (C, h, w), what the unit saw of each input; smaller at the border. Empty where not asked for.
    """

    inputs: Tensor
    values: Tensor
    indices: Tensor
    places: Tensor
    crops: tuple[Tensor, ...] = ()


def top_inputs(
    model: nn.Module,
    data: Tensor | Dataset | DataLoader | Iterable[Any],
    layer: Layer | None = None,
    unit: Target = 0,
    *,
    k: int = 9,
    crop: bool = False,
    batch: int = 64,
    progress: bool = False,
) -> TopInputs:
    """The k inputs of the data for which a unit's value is largest, in falling order; of equal ones the first.

    layer, unit: a channel of a layer's maps (N, C, ...) counts by its largest value, and `places` says where that is,
    (k, D) for D dimensions of places, (k, 0) for other units; see `Target` for classes, places and functions. None is
    the model's own output. data: inputs (N, ...), a Dataset of inputs or of tuples that begin with one, or batches of
    either, such as a DataLoader gives; `indices` count samples in the order in which they come, so a loader that
    shuffles counts otherwise than its data set. batch: how many of a tensor or data set go through at once; only k
    inputs are kept, on the model's device. crop: cut out of each what the unit sees from its place, by
    `receptive_field`. ValueError for k < 1, for no data, and for crops where the unit has no place.
    Source: M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", 2014.
    """
    if k < 1 or batch < 1:
        raise ValueError(f"the {k} largest in batches of {batch}; one at least is needed")
    total = math.ceil(len(data) / batch) if isinstance(data, Tensor) else None
    best: list[Tensor] = []
    seen = 0
    with looking(model) as look, no_grad(), counted(total, progress) as tick:
        run = look.until(model, [layer])
        for inputs, _ in batches(data, batch, place_of(model)):
            values, places = _answers(run(inputs)[0], unit)
            indices = FUNCTIONS["arange"](seen, seen + len(inputs), device=inputs.device)
            found = [inputs, values, indices, places]
            if best:
                found = [FUNCTIONS["cat"](pair) for pair in zip(best, found, strict=True)]
            order = found[1].argsort(descending=True, stable=True)[:k]
            best, seen = [field[order] for field in found], seen + len(inputs)
            tick({"largest": best[1][0]})
    if not best:
        raise ValueError("there are no inputs in the data")
    inputs, values, indices, places = best
    crops: tuple[Tensor, ...] = ()
    if crop:
        if not places.shape[1]:
            raise ValueError("a crop is what a channel of maps (N, C, ...) sees from a place; this unit has none")
        field = receptive_field(model, layer, inputs[:1], samples=0)
        crops = tuple(
            [x[(slice(None), *field.window(tuple(at)))] for x, at in zip(inputs, places.tolist(), strict=True)]
        )
    return TopInputs(inputs, values, indices, places, crops)


def _answers(output: Any, unit: Target) -> tuple[Tensor, Tensor]:
    """The unit's value for each input (N,), and its place (N, D)."""
    channel = plain(unit)
    if isinstance(channel, int) and isinstance(output, Tensor) and output.dim() > 2:
        maps = output[:, channel]
        values, flat = maps.flatten(1).max(1)
        columns = FUNCTIONS["unravel_index"](flat, tuple(maps.shape[1:]))
        return values, FUNCTIONS["stack"](list(columns), dim=1)
    values = scores(output, unit)
    return values, values.new_zeros((len(values), 0)).long()
