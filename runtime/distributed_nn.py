"""`chainrule.distributed.nn`: collective calls that have gradients. In a world of one they hand on what they get.

Unlike those of `chainrule.distributed` they return new tensors, and write into none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd import Tensor
from .distributed import ReduceOp, _joined, _one, _only

__all__ = [
    "all_gather",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "broadcast",
    "gather",
    "reduce",
    "reduce_scatter",
    "scatter",
]


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The tensors of all processes combined: a copy of this one."""
    _joined()
    return tensor.clone()


def broadcast(tensor: Tensor, src: int, group: Any = None) -> Tensor:
    """The tensor of rank `src`: a copy."""
    _only(src)
    return tensor.clone()


def reduce(tensor: Tensor, dst: int, op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The tensors of all processes combined, on rank `dst`: a copy of this one."""
    _only(dst)
    return tensor.clone()


def all_gather(tensor: Tensor, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all processes: a copy of this one."""
    _joined()
    return (tensor.clone(),)


def gather(tensor: Tensor, dst: int = 0, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all processes, on rank `dst`: a copy of this one."""
    _only(dst)
    return (tensor.clone(),)


def scatter(tensors: Sequence[Tensor], src: int = 0, group: Any = None) -> Tensor:
    """This process's of the tensors of rank `src`."""
    _only(src)
    _one(tensors)
    return tensors[0].clone()


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """This process's of the lists of tensors, combined."""
    _one(input_list)
    return input_list[0].clone()


def all_to_all(
    output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Any = None
) -> tuple[Tensor, ...]:
    """The tensors that the processes sent to this one."""
    _one(input_tensor_list)
    return (input_tensor_list[0].clone(),)


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Any = None,
    input_split_sizes: Any = None,
    group: Any = None,
) -> Tensor:
    """The parts of tensors that the processes sent to this one."""
    _joined()
    return input.clone()
