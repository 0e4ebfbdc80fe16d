"""Collective calls between processes as functions with gradients, and the arrays behind tensors that libraries get.

The gradient of a result that has parts of all processes is itself a collective call, so all of them must go through
backward alike. `distributed.nn` has all of these functions under PyTorch's names; SyncBatchNorm stands on `all_gather`.
"""

from __future__ import annotations

import math
from typing import Any

from .. import backends
from ..backends import communication, np
from ..backends.communication import ReduceOp, Work
from ..backends.recorder import recording, refused
from .function import Function
from .namespaces import GRAPH
from .ops.normalisation import update_running
from .storage import as_memory, mark_written
from .tensor import Tensor, wrap

__all__ = ["Call", "all_gather", "device_group", "reduce_scatter", "sync_batch_norm", "world_group"]


def world_group(group: Any = None) -> Any:
    """The group that is given, or that of all processes; None where no world was joined."""
    if group is not None:
        return group
    world = communication.current()
    return None if world is None else world.default


def device_group(group: Any, index: int) -> Any:
    """The NCCL group of a group's GPUs, made when it is first used, with this process's GPU `index`."""
    group = group.origin or group
    if group.device is None:
        from ..backends.communication.nccl import NcclGroup

        group.device = NcclGroup(group, index)
    if group.device.index != index:
        raise ValueError(
            f"this process talks over NCCL with cuda:{group.device.index}, and the tensor is on cuda:{index}"
        )
    return group.device


class Call:
    """The arrays of one call: contiguous ones, where the group's library can reach them, and the way back."""

    def __init__(self, group: Any, first: Tensor) -> None:
        if not isinstance(first, Tensor):
            raise TypeError(f"Invalid function argument: expected a Tensor, not {type(first).__name__}")
        self.group = group
        self.written: list[Tensor] = []
        self.kind, self.index = backends.of(first.array).device_of(first.array)
        self.on_gpu = self.kind != "cpu" and group.nccl and len(group.ranks) > 1
        self.back: list[tuple[Any, Any]] = []

    def array(self, t: Tensor, written: bool = False) -> Any:
        """The array of `t`, or a contiguous copy of it, on the host unless NCCL is to have it."""
        if not isinstance(t, Tensor):
            raise TypeError(f"Invalid function argument: expected a Tensor, not {type(t).__name__}")
        as_memory(t)
        raw = t.array
        backend = backends.of(raw)
        if backend.device_of(raw) != (self.kind, self.index):
            first = self.kind if self.index is None else f"{self.kind}:{self.index}"
            raise ValueError(f"tensors of one collective call lie on one device, not on {first} and {t.device}")
        found = raw if raw.flags.c_contiguous else backend.xp.ascontiguousarray(raw)
        if self.kind != "cpu" and not self.on_gpu:
            found = np.ascontiguousarray(backend.to_host(found))
        if written:
            if not backend.writable(raw):
                raise RuntimeError(f"a collective call cannot write into an expanded tensor of shape {list(raw.shape)}")
            self.written.append(t)
            if found is not raw:
                self.back.append((raw, found))
        return found

    def give_back(self) -> None:
        """Copy what came into arrays that the library could not write into."""
        for raw, copy in self.back:
            raw[...] = copy if self.kind == "cpu" or self.on_gpu else backends.of(raw).asarray(copy, index=self.index)

    def engine(self) -> Any:
        """What carries the call out: the group, or that of its GPUs."""
        return device_group(self.group, self.index or 0) if self.on_gpu else self.group

    def _record(self, recorder: Any, engine: Any, name: str, args: Any) -> None:
        """Within a captured step: the call is made now and at each replay, and waited for."""
        if self.back:
            raise refused(f"{name} of a tensor that is not contiguous, or not on the host,")
        arrays = [x for arg in args for x in (arg if isinstance(arg, list) else [arg]) if hasattr(x, "dtype")]

        def again(*held: Any) -> None:
            rest = iter(held)
            real = [
                [next(rest) for _ in arg] if isinstance(arg, list) else next(rest) if hasattr(arg, "dtype") else arg
                for arg in args
            ]
            getattr(engine, name)(*real)

        recorder.update(name, again, *arrays, writes=arrays)  # what is only sent, too: the call must not be left out

    def run(self, name: str, async_op: bool, *args: Any) -> Work | None:
        """Call the operation of the group."""
        engine = self.engine()
        recorder = recording()
        if recorder is not None and not self.on_gpu:
            self._record(recorder, engine, name, args)
            return _Done() if async_op else None
        for t in self.written:
            mark_written(t.array)
        work: Work = getattr(engine, name)(*args, block=not async_op, after=self.give_back if self.back else None)
        work.outputs = self.written
        return work if async_op else None


class _Done(Work):
    """Work that was waited for."""

    def __init__(self) -> None:
        super().__init__("recorded")
        self._finish()


def _rows(array: Any, group: Any) -> list[Any]:
    return list(array.reshape(len(group.ranks), -1))


def _like(t: Tensor, shape: Any) -> Tensor:
    return wrap(backends.of(t.array).xp.empty(tuple(shape), t.array.dtype), None)


class _AllGather(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        ctx.group = group
        out = _like(tensor, (len(group.ranks), *tensor.shape))
        call = Call(group, tensor)
        call.run("all_gather", False, _rows(call.array(out, True), group), call.array(tensor))
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _ReduceScatter.apply(g, ctx.group), None


class _ReduceScatter(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        ctx.group = group
        out = _like(tensor, tensor.shape[1:])
        call = Call(group, tensor)
        call.run(
            "reduce_scatter", False, call.array(out, True).reshape(-1), _rows(call.array(tensor), group), ReduceOp.SUM
        )
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _AllGather.apply(g, ctx.group), None


def all_gather(tensor: Tensor, group: Any) -> Tensor:
    """The tensors of all processes, which have one shape, stacked along a new first dimension."""
    return _AllGather.apply(tensor, group)


def reduce_scatter(tensor: Tensor, group: Any) -> Tensor:
    """The sum over all processes of the part `tensor[i]`, where i is this one's place in the group."""
    return _ReduceScatter.apply(tensor, group)


def sync_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    group: Any,
) -> Tensor:
    """`batch_norm` in training, with mean and variance over the inputs (N_i, C, ...) of all processes of a group.

    With n_i elements per channel, mean m_i and biased variance v_i in process i, and w_i = n_i / Σ n_j:
    mean = Σ w_i m_i, variance = Σ w_i (v_i + (m_i - mean)²). One call gathers all of them, and the gradient takes one.
    """
    shape, channels = tuple(input.shape), input.shape[1]
    count = math.prod(n for d, n in enumerate(shape) if d != 1)
    wide = (1, channels, *(1,) * (len(shape) - 2))
    mean, var = GRAPH.moments(input, (0, *range(2, len(shape))))
    own = wrap(backends.of(input.array).xp.full(1, count, mean.array.dtype), None)
    rows = all_gather(GRAPH.concat(mean.reshape(-1), var.reshape(-1), own, dim=0), group)
    means, variances, counts = rows[:, :channels], rows[:, channels:-1], rows[:, -1:].detach()
    total = counts.sum()
    share = counts / total
    mean = (share * means).sum(0)
    var = (share * (variances + (means - mean) ** 2)).sum(0)
    update_running(running_mean, mean.array, momentum)
    update_running(running_var, (var.detach() * (total / (total - 1).clamp(min=1))).array, momentum)
    vectors = [None if v is None else v.reshape(wide) for v in (weight, bias)]
    return GRAPH.normalised(input, mean.reshape(wide), var.reshape(wide), *vectors, eps=eps)
