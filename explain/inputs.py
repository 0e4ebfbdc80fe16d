"""What a model is called with: from tensors, or from shapes alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from .. import nn
from ..autograd import FUNCTIONS, Tensor, float32
from ..autograd.dtypes import is_floating, to_numpy_dtype
from ..utils._pytree import tree_map_only
from ..utils.recorded import tensors
from .scope import leaf

__all__ = ["Arguments", "Entered", "arguments", "call_of", "entered", "is_shape", "made", "of_shapes"]

#: positional and keyword arguments of a call
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def arguments(inputs: Any) -> Arguments:
    """A tensor is the one argument, a tuple or list holds several, a dict those with keywords."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, (tuple, list)):
        return tuple(inputs), {}
    return (inputs,), {}


def call_of(
    model: nn.Module,
    given: Any,
    *,
    batch: int | None = None,
    batch_dim: int = 0,
    dtypes: Sequence[Any] | None = None,
    device: Any = None,
) -> Arguments:
    """The arguments of a call: as `arguments` has them, or made of shapes, with `batch` put in at `batch_dim`."""
    if not of_shapes(given):
        call = arguments(given)
        return call if device is None else tree_map_only(Tensor, lambda t: t.to(device), call)
    batched = lambda shape: tuple(shape) if batch is None else (*shape[:batch_dim], batch, *shape[batch_dim:])
    if isinstance(given, Mapping):
        shapes: Any = {name: batched(shape) for name, shape in given.items()}
    else:
        shapes = batched(given) if is_shape(given) else [batched(shape) for shape in given]
    return made(model, shapes, dtypes, device)


class Entered(NamedTuple):
    """A tensor on its way into a model: the name that `forward` has for it, the leaf (of floats), and its copy."""

    name: str
    leaf: Tensor | None
    copy: Tensor


def entered(model: nn.Module, call: Arguments) -> tuple[Arguments, list[Entered]]:
    """The arguments with copies of their tensors, which a model may write into; those of floats are recorded."""
    args, kwargs = call
    names: list[str] = []
    try:
        names = list(inspect.signature(model.forward).bind_partial(*args).arguments)
    except (TypeError, ValueError):  # no signature, or not of these arguments: the call will say so
        pass
    names += [f"input {i}" for i in range(len(names), len(args))]
    found: list[Entered] = []

    def copied(name: str, t: Tensor) -> Tensor:
        start = leaf(t) if t.is_floating_point() else None
        found.append(Entered(name, start, (t if start is None else start).clone()))
        return found[-1].copy

    def taken(name: str, value: Any) -> Any:
        several, number = len(tensors(value)) > 1, count()
        return tree_map_only(Tensor, lambda t: copied(f"{name}[{next(number)}]" if several else name, t), value)

    taken_args = tuple([taken(n, a) for n, a in zip(names, args)])
    return (taken_args, {n: taken(n, a) for n, a in kwargs.items()}), found


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


def of_shapes(given: Any) -> bool:
    """Whether it is a shape, or a sequence or dict of them, in place of tensors."""
    if is_shape(given):
        return True
    values = given.values() if isinstance(given, Mapping) else given if isinstance(given, (tuple, list)) else ()
    return bool(values) and all(map(is_shape, values))


def _filled(shape: Sequence[int], dtype: Any, device: Any) -> Tensor:
    if is_floating(to_numpy_dtype(dtype)):
        return FUNCTIONS["rand"](*shape, dtype=dtype, device=device)
    return FUNCTIONS["zeros"](*shape, dtype=dtype, device=device)
