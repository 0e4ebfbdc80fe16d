"""`chainrule.SymInt` and its fellows: sizes of programs that PyTorch may trace. Nothing is traced here: sizes and
conditions are Python's numbers and bools.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd import OPS, Tensor
from ..autograd.creation import tensor

__all__ = [
    "SymBool",
    "SymFloat",
    "SymInt",
    "sym_float",
    "sym_int",
    "sym_ite",
    "sym_max",
    "sym_min",
    "sym_not",
    "sym_sum",
]


class SymInt:
    """PyTorch's size of a traced program. Sizes here are int, so `isinstance` is False for all of them."""

    def __init__(self, *args: Any) -> None:
        raise NotImplementedError("programs are not traced: sizes are Python's numbers")


class SymFloat(SymInt):
    """PyTorch's number of a traced program; numbers here are float."""


class SymBool(SymInt):
    """PyTorch's condition of a traced program; conditions here are bool."""


def sym_int(a: Any) -> int:
    """The number without its fraction."""
    return math.floor(a) if a >= 0 else math.ceil(a)


def sym_float(a: Any) -> float:
    """The number as float."""
    return float(a)


def sym_not(a: Any) -> bool:
    """Whether the condition does not hold."""
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """The greater number; float where one of them is."""
    return max(float(a), float(b)) if isinstance(a, float) or isinstance(b, float) else max(a, b)


def sym_min(a: Any, b: Any) -> Any:
    """The lesser number; float where one of them is."""
    return min(float(a), float(b)) if isinstance(a, float) or isinstance(b, float) else min(a, b)


def sym_sum(args: Any) -> Any:
    """The sum of the numbers."""
    return sum(args)


def sym_ite(b: bool, t: Any, f: Any) -> Any:
    """`t` if the condition holds, else `f`."""
    return t if b else f


def _shape_as_tensor(self: Tensor) -> Tensor:
    """The shape as a Tensor of int64."""
    return tensor(list(self.shape))


def _softmax_backward_data(grad_output: Tensor, output: Tensor, dim: int, input_dtype: Any) -> Tensor:
    """The gradient of softmax from its output: y·(g - Σ g·y)."""
    return (output * (grad_output - (grad_output * output).sum(dim, keepdim=True))).to(input_dtype)


def _log_softmax_backward_data(grad_output: Tensor, output: Tensor, dim: int, input_dtype: Any) -> Tensor:
    """The gradient of log_softmax from its output: g - exp(y)·Σ g."""
    return (grad_output - OPS["exp"](output) * grad_output.sum(dim, keepdim=True)).to(input_dtype)
