"""Which number of a model's output is to be explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ..autograd import FUNCTIONS, Tensor
from ..autograd.creation import arange

__all__ = ["Target", "plain", "scores", "settled"]

#: a class; a class of each sample (a tensor or a list); a place in the output behind the batch (a tuple); a function
#: from the output to a score of each sample; None: the class with the largest score of each sample
Target: TypeAlias = "int | Tensor | list[int] | tuple[int, ...] | Callable[[Any], Tensor] | None"


def scores(output: Any, target: Target = None) -> Tensor:
    """The score of each sample, shape (N,), out of a model's output (N, classes, ...).

    target: see `Target`. An output (N,) or (N, 1) is its own score where target is None. IndexError for a class that
    the output does not have, ValueError for a target of another length or a function that gives no score a sample.
    """
    if callable(target) and not isinstance(target, Tensor):
        chosen = target(output)
        if not isinstance(chosen, Tensor) or chosen.dim() > 1:
            shape = tuple(chosen.shape) if isinstance(chosen, Tensor) else type(chosen).__name__
            raise ValueError(f"a function as target gives one score a sample, shape (N,) or (), not {shape}")
        return chosen.reshape(-1)
    if not isinstance(output, Tensor):
        raise TypeError(
            f"the model or layer gives a {type(output).__name__}: name the score by a function as target or unit"
        )
    if output.dim() == 0 or (target is None and (output.dim() == 1 or output.shape[1:] == (1,))):
        return output.reshape(-1)
    if isinstance(target, tuple):
        chosen = output[(slice(None), *target)]
        if chosen.dim() != 1:
            raise ValueError(f"{target} is no place behind the batch of an output {tuple(output.shape)}")
        return chosen
    if output.dim() != 2:
        said = f"the model's output has shape {tuple(output.shape)}, not (N, classes)"
        raise ValueError(f"{said}: name a place by a tuple behind the batch, or the score by a function as target")
    if target is None:
        return output.gather(1, output.detach().argmax(1, keepdim=True))[:, 0]
    index: Any = plain(target)
    if isinstance(index, int):
        return output[:, index]
    if index.shape != (len(output),):
        raise ValueError(f"{tuple(index.shape)} classes as target of {len(output)} samples; one of each is needed")
    least, most = (int(i) for i in index.aminmax()) if len(index) else (0, 0)
    if least < -output.shape[1] or most >= output.shape[1]:  # a GPU would not say so
        raise IndexError(
            f"class {most if most >= output.shape[1] else least} of an output of {output.shape[1]} classes"
        )
    return output[arange(len(output), device=output.device), index.to(output.device)]


def plain(target: Target) -> Target:
    """A class as an int, classes of each sample as a tensor; what is neither, as it is. TypeError for other numbers."""
    if target is None or isinstance(target, int | tuple) or (callable(target) and not isinstance(target, Tensor)):
        return target
    index = FUNCTIONS["as_tensor"](target)
    if index.array.dtype.kind not in "iu":
        raise TypeError(f"a target is a class, an integer, not of {index.dtype}")
    return int(index) if index.dim() == 0 else index


def settled(output: Any, target: Target) -> Target:
    """`plain`, and for None the classes with the largest scores, so that they stay the same where scores change."""
    if target is None and isinstance(output, Tensor) and output.dim() == 2 and output.shape[1] != 1:
        return output.detach().argmax(1)
    return plain(target)
