"""Collective calls on tensors: they write in place, and record nothing. With gradients: `distributed.nn`."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import Tensor
from ..autograd.collective import Call
from ..autograd.storage import mark_written
from ..backends import np
from ..backends.communication import ReduceOp, Work, seconds
from .groups import joined, place

__all__ = [
    "P2POp",
    "ReduceOp",
    "Work",
    "all_gather",
    "all_gather_coalesced",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_gather_single",
    "all_reduce",
    "all_reduce_coalesced",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "batch_isend_irecv",
    "broadcast",
    "broadcast_object_list",
    "gather",
    "gather_object",
    "irecv",
    "isend",
    "monitored_barrier",
    "recv",
    "recv_object_list",
    "reduce",
    "reduce_op",
    "reduce_scatter",
    "reduce_scatter_single",
    "reduce_scatter_tensor",
    "scatter",
    "scatter_object_list",
    "send",
    "send_object_list",
]

reduce_op = ReduceOp  # its name in older programs


def _of(group: Any) -> Any:
    """The group, or None for one that this process is not in."""
    return joined(group)


def _root(group: Any, rank: int | None, group_rank: int | None) -> int:
    found = place(group, rank, group_rank)
    assert found is not None
    return found


def _same(tensors: Sequence[Tensor], group: Any, name: str) -> None:
    if len(tensors) != len(group.ranks):
        raise ValueError(
            f"a {'world' if len(group.ranks) == 1 else 'group'} of "
            f"{'one process' if len(group.ranks) == 1 else f'{len(group.ranks)} processes'} has one of each, and "
            f"{name} got {len(tensors)}"
        )


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Any:
    """Combine the tensors of all processes, in place: t ← t₀ + ... + t_{P-1} in each, or what else `op` says.

    The tensors have one shape and dtype. With async_op a `Work`, and `t` is ready when that is done; None otherwise,
    and in a process that is not in the group, as for all of these calls.
    """
    if (g := _of(group)) is None:
        return None
    call = Call(g, tensor)
    return call.run("all_reduce", async_op, call.array(tensor, True), op)


def all_reduce_coalesced(tensors: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Any:
    """`all_reduce` of each of several tensors; with async_op the Work of the last."""
    works = [all_reduce(t, op, group, async_op) for t in tensors]
    return works[-1] if async_op and works else None


def reduce(
    tensor: Tensor,
    dst: int | None = None,
    op: Any = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Any:
    """Combine the tensors of all processes, in place in that of rank `dst`; the others' stay as they are.

    op: a `ReduceOp`. dst: a rank of the world, or group_dst: a place in the group; 0 by default.
    """
    if (g := _of(group)) is None:
        return None
    call, root = Call(g, tensor), _root(g, dst, group_dst)
    return call.run("reduce", async_op, call.array(tensor, g.me == root), root, op)


def broadcast(
    tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False, group_src: int | None = None
) -> Any:
    """Copy the tensor of rank `src` into those of all processes, in place.

    src: a rank of the world, or group_src: a place in the group; 0 by default. ValueError where both are given.
    """
    if (g := _of(group)) is None:
        return None
    call, root = Call(g, tensor), _root(g, src, group_src)
    return call.run("broadcast", async_op, call.array(tensor, g.me != root), root)


def all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False) -> Any:
    """Write the tensors of all processes into a list of P tensors: tensor_list[i] ← tᵢ, in each process."""
    if (g := _of(group)) is None:
        return None
    _same(tensor_list, g, "all_gather")
    _agree([tensor_list[g.me]], [tensor], "all_gather")
    call = Call(g, tensor)
    return call.run("all_gather", async_op, [call.array(t, True) for t in tensor_list], call.array(tensor))


def all_gather_coalesced(output_tensor_lists: Any, input_tensor_list: Any, group: Any = None, async_op: bool = False):
    """`all_gather` of each of several tensors: `output_tensor_lists[i]` has the i-th of all processes."""
    works = [all_gather(out, t, group, async_op) for out, t in zip(output_tensor_lists, input_tensor_list, strict=True)]
    return works[-1] if async_op and works else None


def _agree(outs: Sequence[Tensor], ins: Sequence[Tensor], name: str) -> None:
    for out, t in zip(outs, ins):
        if out.dtype != t.dtype:
            raise ValueError(f"{name}: Invalid usage of tensors with different dtypes: {out.dtype} and {t.dtype}")
        if out.numel() != t.numel():
            raise ValueError(f"{name}: shapes {list(out.shape)} and {list(t.shape)} have different numbers of elements")


def _rows(array: Any, count: int, name: str) -> list[Any]:
    """A contiguous array as `count` pieces of equal size, in order."""
    if array.size % count:
        raise ValueError(f"{name}: a tensor of shape {list(array.shape)} cannot be cut into {count} equal parts")
    return list(array.reshape(count, -1))


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False
) -> Any:
    """Write the tensors of all processes into one, behind one another (P·n, ...) or stacked (P, n, ...)."""
    if (g := _of(group)) is None:
        return None
    call = Call(g, input_tensor)
    if output_tensor.numel() != input_tensor.numel() * len(g.ranks) or output_tensor.dtype != input_tensor.dtype:
        raise ValueError(
            f"output tensor size must be equal to world_size times input tensor size, of one dtype: got "
            f"{output_tensor.dtype} {list(output_tensor.shape)} for {len(g.ranks)} of {input_tensor.dtype} "
            f"{list(input_tensor.shape)}"
        )
    rows = _rows(call.array(output_tensor, True), len(g.ranks), "all_gather_into_tensor")
    return call.run("all_gather", async_op, rows, call.array(input_tensor))


all_gather_single = all_gather_into_tensor


def gather(
    tensor: Tensor,
    gather_list: Any = None,
    dst: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Any:
    """Write the tensors of all processes into a list of P tensors of rank `dst`: gather_list[i] ← tᵢ.

    Elsewhere gather_list is None (ValueError otherwise). dst, group_dst: as of `reduce`.
    """
    if (g := _of(group)) is None:
        return None
    call, root = Call(g, tensor), _root(g, dst, group_dst)
    parts = None
    if g.me == root:
        if gather_list is None:
            raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
        _same(gather_list, g, "gather")
        _agree([gather_list[g.me]], [tensor], "gather")
        parts = [call.array(t, True) for t in gather_list]
    elif gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    return call.run("gather", async_op, parts, call.array(tensor), root)


def scatter(
    tensor: Tensor,
    scatter_list: Any = None,
    src: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Any:
    """Take this process's tensor from a list of P of rank `src`: t ← scatter_list[i] in number i.

    Elsewhere scatter_list is None (ValueError otherwise). src, group_src: as of `broadcast`.
    """
    if (g := _of(group)) is None:
        return None
    call, root = Call(g, tensor), _root(g, src, group_src)
    parts = None
    if g.me == root:
        if scatter_list is None:
            raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
        _same(scatter_list, g, "scatter")
        _agree([tensor], [scatter_list[g.me]], "scatter")
        parts = [call.array(t) for t in scatter_list]
    elif scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    return call.run("scatter", async_op, call.array(tensor, True), parts, root)


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Combine lists of P tensors, and take this process's: output ← Σⱼ input_listⱼ[i] in number i (or by `op`)."""
    if (g := _of(group)) is None:
        return None
    _same(input_list, g, "reduce_scatter")
    _agree([output], [input_list[g.me]], "reduce_scatter")
    call = Call(g, output)
    return call.run("reduce_scatter", async_op, call.array(output, True), [call.array(t) for t in input_list], op)


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Combine tensors (P·n, ...) or (P, n, ...), and take this process's part: `reduce_scatter` of its P pieces."""
    if (g := _of(group)) is None:
        return None
    if input.numel() != output.numel() * len(g.ranks) or output.dtype != input.dtype:
        raise ValueError(
            "input tensor must be the same size as output size times world size, of one dtype: got "
            f"{input.dtype} {list(input.shape)} for {len(g.ranks)} of {output.dtype} {list(output.shape)}"
        )
    call = Call(g, output)
    rows = _rows(call.array(input), len(g.ranks), "reduce_scatter_tensor")
    return call.run("reduce_scatter", async_op, call.array(output, True).reshape(-1), rows, op)


reduce_scatter_single = reduce_scatter_tensor


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Any = None, async_op: bool = False
) -> Any:
    """Send a tensor to each process, and receive one from each.

    output_tensor_list[j] in number i ← input_tensor_list[i] of number j.
    """
    if (g := _of(group)) is None:
        return None
    _same(output_tensor_list, g, "all_to_all")
    _same(input_tensor_list, g, "all_to_all")
    call = Call(g, output_tensor_list[0])
    ins = [call.array(t) for t in input_tensor_list]
    return call.run("all_to_all", async_op, [call.array(t, True) for t in output_tensor_list], ins)


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Any = None,
    input_split_sizes: Any = None,
    group: Any = None,
    async_op: bool = False,
) -> Any:
    """Send a part of a tensor, along its first dimension, to each process; equal parts where no sizes are given.

    input_split_sizes: P numbers of rows to send, output_split_sizes: to receive. RuntimeError where they do not sum
    to the tensors' first dimensions.
    """
    if (g := _of(group)) is None:
        return None
    call, n = Call(g, output), len(g.ranks)

    def cut(array: Any, sizes: Any, which: str) -> list[Any]:
        if not sizes:
            if array.shape[0] % n:
                raise RuntimeError(f"Tensor's dim 0 does not divide equally across group size: {which} {array.shape}")
            sizes = [array.shape[0] // n] * n
        if len(sizes) != n or sum(sizes) != array.shape[0]:
            raise RuntimeError(f"Split sizes {list(sizes)} doesn't match total dim 0 size of {which} {array.shape}")
        ends = [sum(sizes[: i + 1]) for i in range(n)]
        return [array[end - size : end] for end, size in zip(ends, sizes)]

    ins = cut(call.array(input), input_split_sizes, "input")
    return call.run("all_to_all", async_op, cut(call.array(output, True), output_split_sizes, "output"), ins)


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None, timeout: Any = None) -> Any:
    """Wait until all processes of the group have come here; for `timeout` (seconds or timedelta) where it is given.

    device_ids: PyTorch's, without effect.
    """
    if (g := _of(group)) is None:
        return None
    limit = g.timeout if timeout is None else seconds(timeout)
    work = g.run("barrier", lambda end: g._barrier(min(end, time.monotonic() + limit)), block=not async_op)
    return work if async_op else None


def monitored_barrier(group: Any = None, timeout: Any = None, wait_all_ranks: bool = False) -> None:
    """`barrier`, with a time limit of its own; the error names the ranks that did not come.

    wait_all_ranks: PyTorch's, without effect.
    """
    barrier(group, timeout=timeout)


# -- from one to one --------------------------------------------------------------------------------------------------


def isend(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> Any:
    """Send a tensor to rank `dst`; returns Work. It must stay as it is until that is done.

    tag: the receiver takes the one with the same tag. group_dst: the receiver's place in the group, in place of dst.
    ValueError for this process itself, or in a world of one.
    """
    if (g := _of(group)) is None:
        return None
    if len(g.ranks) == 1:
        raise ValueError("a world of one process has nobody to send to or to receive from")
    to = place(g, dst, group_dst, None)
    if to is None:
        raise ValueError("send to which rank? dst or group_dst is needed")
    if to == g.me:
        raise ValueError(
            "Invalid destination rank: destination rank should not be the same as the rank of the current process."
        )
    call = Call(g, tensor)
    return call.engine().send(call.array(tensor), to, tag)


def irecv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> Any:
    """Receive into a tensor, from rank `src` or (None) from whichever rank sends first; returns Work.

    The tensor may be read when that is done. tag: that of the message to take. group_src: the sender's place in the
    group, in place of src. ValueError for this process itself, or in a world of one.
    """
    if (g := _of(group)) is None:
        return None
    if len(g.ranks) == 1:
        raise ValueError("a world of one process has nobody to send to or to receive from")
    call = Call(g, tensor)
    source = place(g, src, group_src, None)
    if source == g.me:
        raise ValueError("Invalid source rank: source rank should not be the same as the rank of the current process.")
    work = call.engine().receive(call.array(tensor, True), source, tag)
    mark_written(tensor.array)
    if call.back:
        work.add_done_callback(lambda done: None if done.exception() else call.give_back())
    return work


def send(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> None:
    """Send a tensor to rank `dst`, and wait until it is on its way. See `isend`."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def recv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> int:
    """Receive into a tensor, from rank `src` or from whichever rank sends first; returns the sender's rank.

    Options as of `irecv`.
    """
    work = irecv(tensor, src, group, tag, group_src)
    if work is None:
        return -1
    work.wait()
    return int(work.source_rank())


class P2POp:
    """One of the operations of `batch_isend_irecv`: `op` is isend or irecv, `peer` a rank of the world.

    group_peer: its place in the group instead. tag: as of `isend`.
    """

    def __init__(
        self,
        op: Callable[..., Any],
        tensor: Tensor,
        peer: int | None = None,
        group: Any = None,
        tag: int = 0,
        group_peer: int | None = None,
    ) -> None:
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be of type ``isend`` or ``irecv``.")
        self.op, self.tensor, self.peer, self.group, self.tag = op, tensor, peer, group, tag
        self.group_peer = group_peer


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Any]:
    """Begin several sends and receives; a list of Work."""
    return [p.op(p.tensor, p.peer, p.group, p.tag, p.group_peer) for p in p2p_op_list]


# -- objects ----------------------------------------------------------------------------------------------------------


def _pickled(obj: Any) -> Any:
    return np.frombuffer(pickle.dumps(obj), np.uint8)


def _unpickled(data: Any) -> Any:
    return pickle.loads(data.tobytes())


def _gathered(g: Any, data: Any) -> list[Any]:
    """The bytes of all processes, in all."""
    size, sizes = np.array([data.size], np.int64), [np.empty(1, np.int64) for _ in g.ranks]
    g.all_gather(sizes, size)
    parts = [np.empty(int(n[0]), np.uint8) for n in sizes]
    g.all_gather(parts, data)
    return parts


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Write the objects of all processes into a list of P.

    Objects are pickled, so as in PyTorch only processes that trust one another belong in a group.
    """
    if (g := _of(group)) is None:
        return
    _same(object_list, g, "all_gather_object")
    object_list[:] = [_unpickled(part) for part in _gathered(g, _pickled(obj))]


def gather_object(
    obj: Any, object_gather_list: Any = None, dst: int | None = None, group: Any = None, group_dst: int | None = None
) -> None:
    """Write the objects of all processes into a list of P of rank `dst`; see `all_gather_object` on trust.

    object_gather_list: that list, of any content; None elsewhere. dst, group_dst: as of `reduce`.
    """
    if (g := _of(group)) is None:
        return
    root, data = _root(g, dst, group_dst), _pickled(obj)
    if g.me == root:
        if object_gather_list is None:
            raise ValueError("Argument ``object_gather_list`` must be specified on destination rank.")
        _same(object_gather_list, g, "gather_object")
    size, sizes = np.array([data.size], np.int64), [np.empty(1, np.int64) for _ in g.ranks]
    g.all_gather(sizes, size)
    parts = [np.empty(int(n[0]), np.uint8) for n in sizes] if g.me == root else None
    g.gather(parts, data, root)
    if parts is not None:
        object_gather_list[:] = [_unpickled(part) for part in parts]


def broadcast_object_list(
    object_list: list[Any],
    src: int | None = None,
    group: Any = None,
    device: Any = None,
    group_src: int | None = None,
) -> None:
    """Copy the objects in the list of rank `src` into the lists of all, of the same length; they are pickled.

    src, group_src: as of `broadcast`. device: PyTorch's, without effect.
    """
    if (g := _of(group)) is None:
        return
    root = _root(g, src, group_src)
    rows = [_pickled(obj) for obj in object_list] if g.me == root else []
    sizes = np.array([row.size for row in rows] if rows else [0] * len(object_list), np.int64)
    if not object_list:
        return
    g.broadcast(sizes, root)
    data = np.concatenate(rows) if rows else np.empty(int(sizes.sum()), np.uint8)
    g.broadcast(data, root)
    if g.me != root:
        ends = np.cumsum(sizes)
        object_list[:] = [_unpickled(data[end - size : end]) for end, size in zip(ends, sizes)]


def scatter_object_list(
    scatter_object_output_list: list[Any],
    scatter_object_input_list: Any = None,
    src: int | None = None,
    group: Any = None,
    group_src: int | None = None,
) -> None:
    """Write this process's object of the list (of P) of rank `src` into the first place of a list; they are pickled.

    scatter_object_input_list: what rank `src` gives out, one object for each process; not looked at elsewhere. src,
    group_src: as of `broadcast`.
    """
    if (g := _of(group)) is None:
        return
    if not isinstance(scatter_object_output_list, list) or len(scatter_object_output_list) < 1:
        raise ValueError("Expected argument scatter_object_output_list to be a list of size at least 1.")
    root, rows = _root(g, src, group_src), None
    sizes = np.zeros(len(g.ranks), np.int64)
    if g.me == root:
        _same(scatter_object_input_list, g, "scatter_object_list")
        rows = [_pickled(obj) for obj in scatter_object_input_list]
        sizes[:] = [row.size for row in rows]
    g.broadcast(sizes, root)
    data = np.empty(int(sizes[g.me]), np.uint8)
    g.scatter(data, rows, root)
    scatter_object_output_list[0] = _unpickled(data)


def send_object_list(
    object_list: list[Any],
    dst: int | None = None,
    group: Any = None,
    device: Any = None,
    group_dst: int | None = None,
) -> None:
    """Send a list of objects, pickled, to rank `dst`, which calls `recv_object_list`.

    group_dst: the receiver's place in the group, in place of dst. device: PyTorch's, without effect.
    """
    if (g := _of(group)) is None:
        return
    to = _root(g, dst, group_dst)
    data = _pickled(list(object_list))
    g.send(np.array([data.size], np.int64), to).wait()
    g.send(data, to).wait()


def recv_object_list(
    object_list: list[Any],
    src: int | None = None,
    group: Any = None,
    device: Any = None,
    group_src: int | None = None,
) -> int:
    """Receive the objects that `send_object_list` sent into a list; returns the sender's rank.

    src: the sender (None: whoever sends first), or group_src: its place in the group. device: PyTorch's, without
    effect.
    """
    if (g := _of(group)) is None:
        return -1
    size = np.empty(1, np.int64)
    work = g.receive(size, place(g, src, group_src, None))
    work.wait()
    data = np.empty(int(size[0]), np.uint8)
    g.receive(data, g.ranks.index(work.source_rank())).wait()
    object_list[:] = _unpickled(data)
    return int(work.source_rank())
