"""Weights that a user has in a file, given where PyTorch's model libraries take the name of a download."""

import os
from typing import Any, TypeVar

from .. import nn
from ..autograd.serialization import load

M = TypeVar("M", bound=nn.Module)


def load_weights(model: M, weights: Any = None, **unknown: Any) -> M:
    """`model` with the weights of a checkpoint: a path (.pth, .pt, .safetensors), a state dict, or None for none.

    `pretrained=False`, the older spelling of None, is accepted. Nothing is downloaded: a name such as "DEFAULT"
    raises a ValueError that says so.
    """
    pretrained = unknown.pop("pretrained", False)
    if unknown:
        raise TypeError(f"{type(model).__name__} got an unexpected keyword argument {next(iter(unknown))!r}")
    if weights is None and not pretrained:
        return model
    if isinstance(weights, dict):
        model.load_state_dict(weights)
        return model
    if weights is None or not (isinstance(weights, os.PathLike) or os.path.isfile(str(weights))):
        raise ValueError(
            f"{type(model).__name__}: chainrule downloads no weights. Download the checkpoint of this architecture "
            f"and give its path: weights='model.pth' (got {'pretrained=True' if weights is None else repr(weights)})"
        )
    path = os.fspath(weights)
    state: Any
    if path.endswith(".safetensors"):
        from ..utils.safetensors import load_file

        state = load_file(path)
    else:
        state = load(path, map_location="cpu")
    model.load_state_dict(state.get("state_dict", state))
    return model
