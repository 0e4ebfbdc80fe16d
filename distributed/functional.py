"""`chainrule.distributed.nn`: collective calls that have gradients.

Unlike those of `chainrule.distributed` they return new tensors, and write into none. What one process does with its
result counts for the gradients of all: the gradient of `all_reduce` is the sum of those of all processes, that of
`broadcast` comes back to `src`, and so on. All processes must go through backward alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd import FUNCTIONS, Tensor
from ..autograd.collective import all_gather as _stacked
from ..autograd.collective import reduce_scatter as _my_sum
from ..autograd.function import Function
from . import collectives
from .collectives import ReduceOp
from .groups import member, place

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


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, op: ReduceOp, group: Any) -> Tensor:
        ctx.op, ctx.group = op, group
        out = tensor.detach().clone()
        collectives.all_reduce(out, op, group)
        if op not in (ReduceOp.SUM, ReduceOp.AVG):
            ctx.save_for_backward(tensor, out)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        op, group = ctx.op, ctx.group
        if op in (ReduceOp.SUM, ReduceOp.AVG):
            return _AllReduce.apply(g, op, group), None, None
        tensor, out = ctx.saved_tensors
        g = _AllReduce.apply(g, ReduceOp.SUM, group)
        if op is ReduceOp.PRODUCT:
            return g * (out / tensor), None, None
        if op in (ReduceOp.MIN, ReduceOp.MAX):  # who has the extreme value gets the gradient; ties share it
            mine = (tensor == out).to(g.dtype)
            count = mine.clone()
            collectives.all_reduce(count, ReduceOp.SUM, group)
            return g * (mine / count), None, None
        raise RuntimeError(f"ReduceOp.{op.name} has no gradient")


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, root: int, group: Any) -> Tensor:
        ctx.root, ctx.group = root, group
        out = tensor.detach().clone()
        collectives.broadcast(out, group=group, group_src=root)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _Reduce.apply(g, ctx.root, ReduceOp.SUM, ctx.group), None, None


class _Reduce(Function):
    """The sum at `root`, zeros elsewhere."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, root: int, op: ReduceOp, group: Any) -> Tensor:
        ctx.root, ctx.op, ctx.group = root, op, group
        out = tensor.detach().clone()
        collectives.reduce(out, None, op, group, group_dst=root)
        return out if group.me == root else FUNCTIONS["zeros_like"](out)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        if ctx.op not in (ReduceOp.SUM, ReduceOp.AVG):
            raise RuntimeError(f"reduce with ReduceOp.{ctx.op.name} has no gradient; all_reduce has")
        g = _Broadcast.apply(g, ctx.root, ctx.group)
        return (g if ctx.op is ReduceOp.SUM else g / len(ctx.group.ranks)), None, None, None


class _AllToAll(Function):
    """Parts of a flat tensor to each process, `out` numbers to each and `into` from each."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, out: Sequence[int], into: Sequence[int], group: Any) -> Tensor:
        ctx.sizes, ctx.group = (out, into), group
        found = FUNCTIONS["empty"]((sum(into), *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)
        collectives.all_to_all_single(found, tensor.detach(), list(into), list(out), group)
        return found

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        out, into = ctx.sizes
        return _AllToAll.apply(g, into, out, ctx.group), None, None, None


def _root(group: Any, rank: int | None) -> int:
    found = place(group, rank, None)
    assert found is not None
    return found


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The sum of the tensors of all processes, or what else `op` says; gradients come back from all of them."""
    return _AllReduce.apply(tensor, op, member(group))


def broadcast(tensor: Tensor, src: int, group: Any = None) -> Tensor:
    """The tensor of rank `src`, to which the sum of all gradients comes back."""
    g = member(group)
    return _Broadcast.apply(tensor, _root(g, src), g)


def reduce(tensor: Tensor, dst: int, op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The sum of the tensors of all processes (or by `op`) on rank `dst`; zeros on the others."""
    g = member(group)
    return _Reduce.apply(tensor, _root(g, dst), op, g)


def all_gather(tensor: Tensor, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all processes, a tuple of P; each gets back the sum of its gradients everywhere."""
    return tuple(_stacked(tensor, member(group)).unbind(0))


def gather(tensor: Tensor, dst: int = 0, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all processes, a tuple of P on rank `dst`; zeros on the others. Gradients go back to each."""
    g = member(group)
    n, root = len(g.ranks), _root(g, dst)
    into = [tensor.numel() if g.me == root else 0] * n
    out = [tensor.numel() if i == root else 0 for i in range(n)]
    found = _AllToAll.apply(tensor.reshape(-1), out, into, g)
    if g.me != root:  # nothing came; what hangs on it still takes part in the walk back
        return tuple([FUNCTIONS["zeros_like"](tensor) + found.sum() for _ in range(n)])
    return tuple([part.reshape(tensor.shape) for part in found.split(tensor.numel())])


def scatter(tensors: Sequence[Tensor], src: int = 0, group: Any = None) -> Tensor:
    """This process's of the P tensors of rank `src`, which must be given (in any values) on the others too."""
    g = member(group)
    n, root = len(g.ranks), _root(g, src)
    if len(tensors) != n:
        raise ValueError(f"a group of {n} processes has one of each, and scatter got {len(tensors)}")
    size = tensors[0].numel()
    flat = FUNCTIONS["cat"]([t.reshape(-1) for t in tensors])
    if g.me != root:
        flat = flat[:0]
    into = [size if i == root else 0 for i in range(n)]
    return _AllToAll.apply(flat, [size if g.me == root else 0] * n, into, g).reshape(tensors[0].shape)


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """This process's of the lists of P tensors, combined: Σⱼ input_listⱼ[i] in number i.

    `output` is not written into: the result is returned. op: a `ReduceOp`, SUM by default.
    """
    g = member(group)
    if len(input_list) != len(g.ranks):
        raise ValueError(
            f"a group of {len(g.ranks)} processes has one of each, and reduce_scatter got {len(input_list)}"
        )
    stacked = FUNCTIONS["stack"](list(input_list))
    if op in (ReduceOp.SUM, ReduceOp.AVG):
        total = _my_sum(stacked, g)
        return total if op is ReduceOp.SUM else total / len(g.ranks)
    return _AllReduce.apply(stacked, op, g)[g.me]


def all_to_all(
    output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Any = None
) -> tuple[Tensor, ...]:
    """The tensors that the processes sent to this one, in the shapes of `output_tensor_list`."""
    g = member(group)
    out = [t.numel() for t in input_tensor_list]
    into = [t.numel() for t in output_tensor_list]
    found = _AllToAll.apply(FUNCTIONS["cat"]([t.reshape(-1) for t in input_tensor_list]), out, into, g)
    return tuple([part.reshape(t.shape) for part, t in zip(found.split(into), output_tensor_list)])


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Any = None,
    input_split_sizes: Any = None,
    group: Any = None,
) -> Tensor:
    """The parts of tensors, cut along the first dimension, that the processes sent to this one.

    input_split_sizes: P numbers of rows to send, output_split_sizes: to receive; None: equal parts. `output` gives
    the shape alone.
    """
    g = member(group)
    n = len(g.ranks)
    out = list(input_split_sizes or [input.shape[0] // n] * n)
    into = list(output_split_sizes or [output.shape[0] // n] * n)
    return _AllToAll.apply(input, out, into, g)
