"""Looking at a model without changing it.

Each method of the package looks inside `looking(model)`: whatever it switches or hangs in is put back at the end of
the block, also when an exception passes through. Turned down: working on a deep copy, which costs the memory of the
model and breaks methods that name a layer by the object itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from .. import nn
from ..autograd import Tensor, enable_grad

__all__ = ["Looking", "layer_of", "looking"]


class Looking:
    """What `looking` gives: hooks that are taken out at the end of the block."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def hook(self, module: nn.Module, function: Callable[[nn.Module, tuple[Any, ...], Any], Any]) -> None:
        """`function(module, arguments, output)` after each call of the module; what it returns replaces the output."""
        self._stack.callback(module.register_forward_hook(function).remove)

    def pre_hook(self, module: nn.Module, function: Callable[[nn.Module, tuple[Any, ...]], Any]) -> None:
        """`function(module, arguments)` before each call of the module; what it returns replaces the arguments."""
        self._stack.callback(module.register_forward_pre_hook(function).remove)

    def outputs(self, module: nn.Module) -> list[Any]:
        """A list that grows by the module's output with each call, still part of the graph."""
        found: list[Any] = []
        self.hook(module, lambda _module, _arguments, output: found.append(output))
        return found


@contextlib.contextmanager
def looking(model: nn.Module, *, training: bool = False) -> Iterator[Looking]:
    """A block in which the model is in evaluation mode, and gradients are recorded.

    At its end every module is in the mode in which it was, hooks hung in through the block are gone, and the
    parameters' `requires_grad` and `grad` are as before: inside, parameters want no gradient, so that a backward pass
    reaches inputs alone.

    training: leave the modes as they are (dropout drops, batch norm uses the batch).
    """
    with contextlib.ExitStack() as stack:
        for parameter in model.parameters():
            if parameter.requires_grad:
                stack.callback(parameter.requires_grad_, True)
                parameter.requires_grad_(False)
        if not training:
            for module in model.modules():
                stack.callback(setattr, module, "training", module.training)
            model.eval()
        stack.enter_context(enable_grad())
        yield Looking(stack)


def layer_of(model: nn.Module, layer: nn.Module | str) -> nn.Module:
    """The module of that name inside the model, or the module itself where it is one of the model's.

    ValueError for a module that the model does not have, with the names that there are.
    """
    names = {name: module for name, module in model.named_modules() if name}
    if isinstance(layer, str):
        if layer in names:
            return names[layer]
    elif any(module is layer for module in model.modules()):
        return layer
    said = repr(layer) if isinstance(layer, str) else f"a {type(layer).__name__}"
    raise ValueError(f"{type(model).__name__} has no layer {said}; it has {', '.join(names) or 'none'}")


def leaf(inputs: Any) -> Tensor:
    """A detached copy of the inputs that wants a gradient."""
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        what = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__
        raise TypeError(f"an input to explain is a tensor of floats, not {what}; for token ids take their embeddings")
    return inputs.detach().clone().requires_grad_()
