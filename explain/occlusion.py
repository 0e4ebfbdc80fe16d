"""What becomes of a score when parts of the input are covered."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor, no_grad
from ..nn.tuples import ntuple
from .entry import Entry
from .scope import looking
from .scores import Target

__all__ = ["occlusion"]


def occlusion(
    model: nn.Module,
    inputs: Any,
    target: Target = None,
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    value: Any = 0,
    batch: int = 64,
) -> Any:
    """By how much the score drops when a window covers a place: the mean of all windows over it, a map (N, *places).

    score(x) - score(x covered), for windows at 0, stride, 2 stride, ..., the last ones cut off at the edge.

    window: its sides along the last dimensions, which are the map's places; a number: along all dimensions behind the
    channels of (N, C, ...), or the features of (N, F). Dimensions between batch and places are covered whole. stride:
    by default the window's sides. value: what covers: a number, or a tensor that broadcasts against the inputs. batch:
    about how many inputs the model gets at once. Of several inputs each one of floats is covered in turn, and the
    result has their form, a tuple or dict; where there are none, integers are covered: by a token that says nothing,
    `value`. Source: M. D. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", 2014.
    """
    with looking(model) as look, no_grad():
        entry = Entry(look, model, inputs, target, integers=True)
        covers = entry.filled("a value", value)
        maps = [_map(entry, index, window, stride, cover, batch) for index, cover in enumerate(covers)]
    return entry.result(maps)


def _map(entry: Entry, index: int, window: Any, stride: Any, cover: Tensor, batch: int) -> Tensor:
    """The map of input number `index`."""
    x, before = entry.values[index], entry.score
    sides = _sides("window", window, x, len(ntuple(window, max(x.dim() - 2, 1))))
    steps = sides if stride is None else _sides("stride", stride, x, len(sides))
    places = x.shape[x.dim() - len(sides) :]
    if any(step > side for step, side in zip(steps, sides, strict=True)):
        raise ValueError(f"a stride of {steps} leaves gaps between windows of {sides}")
    starts = [range(0, max(n - side, 0) + step, step) for n, side, step in zip(places, sides, steps, strict=True)]
    windows = [tuple(slice(a, a + s) for a, s in zip(at, sides, strict=True)) for at in itertools.product(*starts)]
    total, times = before.new_zeros(len(before), *places), before.new_zeros(places)
    for first, last in entry.parts(len(windows), batch):
        here = windows[first:last]
        stacks = [v.expand(len(here), *v.shape) for v in entry.values]
        stacks[index] = FUNCTIONS["stack"]([_covered(x, cover, place) for place in here])
        for place, drop in zip(here, before - entry.variants(stacks), strict=True):
            total[(slice(None), *place)] += drop.reshape(-1, *(1,) * len(place))
            times[place] += 1
    return total / times


def _sides(what: str, given: int | Sequence[int], x: Tensor, count: int) -> tuple[int, ...]:
    sides = ntuple(given, count)
    if len(sides) != count or not 1 <= count < x.dim() or any(side < 1 for side in sides):
        raise ValueError(
            f"a {what} of {given} for inputs {tuple(x.shape)}: it takes sides of 1 or more behind the batch"
        )
    return sides


def _covered(x: Tensor, cover: Tensor, place: tuple[slice, ...]) -> Tensor:
    x = x.clone()
    x[(..., *place)] = cover[(..., *place)]
    return x
