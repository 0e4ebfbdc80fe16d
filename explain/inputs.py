"""What a model is called with: from tensors, or from shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor, float32
from ..autograd.dtypes import is_floating, to_numpy_dtype

__all__ = ["Arguments", "arguments", "is_shape", "made"]

#: positional and keyword arguments of a call
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def arguments(inputs: Any) -> Arguments:
    """A tensor is the one argument, a tuple or list holds several, a dict those with keywords."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, (tuple, list)):
        return tuple(inputs), {}
    return (inputs,), {}


def made(model: nn.Module, shapes: Any, dtypes: Sequence[Any] | None = None, device: Any = None) -> Arguments:
    """Arguments of these shapes: one shape, a sequence of shapes, or a dict of them by keyword.

    Floats lie between 0 and 1, drawn by the default generator; integers are 0, which every embedding knows. They are
    where the model's first parameter is.
    """
    if device is None:
        device = next((p.device for p in model.parameters()), None)
    if isinstance(shapes, Mapping):
        kinds = list(dtypes or [float32] * len(shapes))
        return (), {name: _filled(shape, kind, device) for (name, shape), kind in zip(shapes.items(), kinds)}
    several = [shapes] if is_shape(shapes) else list(shapes)
    kinds = list(dtypes or [float32] * len(several))
    if len(kinds) != len(several) or not all(map(is_shape, several)):
        raise ValueError(f"input_size is a shape or a sequence of shapes, with a dtype for each, not {shapes!r}")
    return tuple([_filled(shape, kind, device) for shape, kind in zip(several, kinds)]), {}


def is_shape(value: Any) -> bool:
    """Whether it is a sequence of sizes."""
    return isinstance(value, (tuple, list)) and all(isinstance(n, int) and not isinstance(n, bool) for n in value)


def _filled(shape: Sequence[int], dtype: Any, device: Any) -> Tensor:
    if is_floating(to_numpy_dtype(dtype)):
        return FUNCTIONS["rand"](*shape, dtype=dtype, device=device)
    return FUNCTIONS["zeros"](*shape, dtype=dtype, device=device)
