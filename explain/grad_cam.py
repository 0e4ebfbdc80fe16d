"""Where in an image the channels of a layer speak for a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import nn
from ..autograd import Tensor
from ..nn import functional as F
from ..nn.tuples import ntuple
from .entry import Entry, gradients
from .scope import Layer, looking
from .scores import Target

__all__ = ["grad_cam"]

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def grad_cam(
    model: nn.Module,
    inputs: Any,
    target: Target = None,
    *,
    layer: Layer,
    size: str | int | Sequence[int] | None = None,
    relu: bool = True,
) -> Tensor:
    """relu(Σₖ αₖ Aₖ), a map (N, *places): Aₖ the channels that the layer gives, αₖ the mean of ∂score/∂Aₖ over places.

    layer: one that gives (N, C, *places) with one to three dimensions of places, usually the last convolutional one.
    size: of the map, to which it is enlarged linearly; "input": that of the inputs; None: the layer's own.
    relu=False: with what speaks against the class, negative. ValueError for a layer without places. It suits networks
    that end in a global average pooling and a linear layer: of their last convolutional layer, αₖ is the linear layer's
    weight over the number of places. Where a fully connected layer looks at each place by itself, as in LeNet or VGG,
    the mean over places is a rough summary; integrated gradients and occlusion have no such limit. Source: R. R.
    Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", 2017.
    """
    with looking(model) as look:
        entry = Entry(look, model, inputs, target, layer)
        (slope,) = gradients(entry.score, entry.values)
    channels = entry.values[0].detach()
    places = channels.dim() - 2
    if places not in _MODES:
        raise ValueError(f"the layer gives {tuple(channels.shape)}, not (N, C, places) in one to three dimensions")
    weights = slope.flatten(2).mean(2).reshape(*channels.shape[:2], *(1,) * places)
    heat = (weights * channels).sum(1)
    heat = heat.relu() if relu else heat
    if size is None:
        return heat
    if size == "input":
        given = entry.inputs[0]
        if given.dim() < places + 1:
            raise ValueError(f"an input {tuple(given.shape)} has not the {places} dimensions of the layer's places")
        size = given.shape[-places:]
    sizes = ntuple(size, places)
    if len(sizes) != places or not all(hasattr(n, "__index__") and n > 0 for n in sizes):
        raise ValueError(f'a size is {places} sizes of 1 or more, one for all, "input" or None, not {size!r}')
    return F.interpolate(heat[:, None], sizes, mode=_MODES[places], align_corners=False)[:, 0]
