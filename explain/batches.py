"""Data in batches: tensors, datasets and loaders alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import nn
from ..autograd import Tensor
from ..utils.data import DataLoader, Dataset

__all__ = ["batches", "place_of"]


def place_of(model: nn.Module) -> Any:
    """The device of the model's first parameter or buffer; None for a model that has none."""
    return next((t.device for several in (model.parameters(), model.buffers()) for t in several), None)


def batches(data: Any, size: int, device: Any = None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """(inputs, targets or None) of `size` samples each, on the device.

    data: a tensor of inputs, a pair (inputs, targets) of tensors, a Dataset whose samples are inputs or tuples that
    begin with (input, target), or batches of either, such as a DataLoader gives. TypeError for anything else.
    """
    if size < 1:
        raise ValueError(f"batches of {size} samples; one at least is needed")

    def placed(x: Any) -> Any:
        return x if device is None or not isinstance(x, Tensor) else x.to(device)

    if isinstance(data, Tensor):
        yield from ((placed(data[i : i + size]), None) for i in range(0, len(data), size))
        return
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(x, Tensor) for x in data):
        if len(data[0]) != len(data[1]):
            raise ValueError(f"{len(data[0])} inputs and {len(data[1])} targets")
        for i in range(0, len(data[0]), size):
            yield placed(data[0][i : i + size]), placed(data[1][i : i + size])
        return
    if isinstance(data, Dataset):
        data = DataLoader(data, batch_size=size)
    elif not hasattr(data, "__iter__"):
        raise TypeError(f"data is a tensor, a pair of tensors, a Dataset or batches, not {type(data).__name__}")
    for batch in data:
        if isinstance(batch, (tuple, list)):
            yield placed(batch[0]), placed(batch[1]) if len(batch) > 1 else None
        else:
            yield placed(batch), None
