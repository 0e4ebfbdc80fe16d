"""`chainrule.onnx`: models are not exported."""

from __future__ import annotations

import contextlib
from typing import Any

__all__ = [
    "export",
    "is_in_onnx_export",
    "reshape_from_tensor_shape",
    "select_model_mode_for_export",
    "shape_as_tensor",
]


def export(model: Any, args: Any = (), f: Any = None, **options: Any) -> Any:
    """NotImplementedError that names the way: load the weights in PyTorch, and export there. No file `f` is written."""
    raise NotImplementedError(
        "chainrule writes no ONNX files. chainrule.save(model.state_dict(), path) writes a checkpoint that PyTorch's "
        "model of the same architecture loads: export that one"
    )


_export = export


def is_in_onnx_export() -> bool:
    """False: models are not exported here."""
    return False


@contextlib.contextmanager
def select_model_mode_for_export(model: Any, mode: Any = None) -> Any:
    """A context in which a model has the training mode `mode`."""
    before = model.training
    if mode is not None:
        model.train(bool(mode))
    try:
        yield model
    finally:
        model.train(before)


def shape_as_tensor(x: Any) -> Any:
    """The shape of `x` as a row of int64."""
    from ..autograd.creation import tensor

    return tensor(list(x.shape))


def reshape_from_tensor_shape(x: Any, shape: Any) -> Any:
    """`x` in the shape that a row of integers names."""
    return x.reshape(shape.tolist())
