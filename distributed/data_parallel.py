"""DistributedDataParallel: each process has the module and a part of each batch; gradients are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .. import backends
from ..autograd import Tensor, is_grad_enabled
from ..autograd.storage import as_memory, mark_written
from ..autograd.tensor import wrap
from ..backends import np
from ..nn import Module
from ..runtime.parallel import moved
from . import collectives
from .buckets import GradBucket, Reducer, reached
from .groups import joined
from .join import Join, Joinable, JoinHook

__all__ = ["DistributedDataParallel", "GradBucket"]

#: bytes of tensors that are broadcast together
_TOGETHER = 1 << 26


def broadcast_tensors(tensors: list[Tensor], root: int, group: Any) -> None:
    """Copy tensors of number `root` into those of all, in few large pieces."""
    kinds: dict[Any, list[Tensor]] = {}
    for t in tensors:
        as_memory(t)
        kinds.setdefault((str(t.device), t.dtype), []).append(t)
    for members in kinds.values():
        piece: list[Tensor] = []
        for t in members:
            piece.append(t)
            if t is members[-1] or sum(x.array.nbytes for x in piece) >= _TOGETHER:
                _broadcast_piece(piece, root, group)
                piece = []


def _broadcast_piece(tensors: list[Tensor], root: int, group: Any) -> None:
    xp = backends.of(tensors[0].array).xp
    flat = xp.concatenate([t.array.reshape(-1) for t in tensors])
    collectives.broadcast(wrap(flat, None), group=group, group_src=root)
    if group.me != root:
        start = 0
        for t in tensors:
            t.array[...] = flat[start : start + t.array.size].reshape(t.array.shape)
            mark_written(t.array)
            start += t.array.size


class _Shadow(JoinHook):
    """What a process without inputs does for its model: its share of each sum is zero.

    In each round the processes tell one another who has inputs, whether gradients are averaged, buffers copied.
    """

    def __init__(self, model: Any, by_initial: bool) -> None:
        self.model, self.by_initial, self.group = model, by_initial, model._group
        self.divisor, self.lead = len(self.group.ranks), 0

    def round(self, active: bool, sync: bool, buffers: bool) -> tuple[bool, bool]:
        """(gradients are averaged, buffers are copied) in the round that begins."""
        n = len(self.group.ranks)
        row = np.zeros(2 + n, np.int32)
        row[:2] = sync, buffers
        row[2 + self.group.me] = active
        self.group.all_reduce(row)
        self.lead = int(row[2:].argmax())
        self.divisor = n if self.by_initial else int(row[2:].sum())
        return bool(row[0]), bool(row[1])

    def main_hook(self) -> None:
        sync, buffers = self.round(False, False, False)
        if buffers:
            broadcast_tensors(self.model._buffer_list, self.lead, self.group)
        if sync:
            self.model.reducer.shadow()

    def post_hook(self, is_last_joiner: bool) -> None:
        broadcast_tensors(self.model._everything(), self.lead, self.group)


class DistributedDataParallel(Module, Joinable):
    """Train `module` in all processes of a group, each on its own part of the batch, as if in one on the whole batch.

    At the start, parameters and buffers of rank 0 are copied to all. backward() leaves the average of the processes'
    gradients in `.grad`: sums are made in buckets of `bucket_cap_mb` megabytes (25; the first is 1) while backward goes
    on. A loss that is a mean gives what one process gets on the whole batch where the parts have equal sizes.

    device_ids: the GPU of a module that lives on one; inputs are moved there, or to `output_device`. process_group: who
    takes part (all). init_sync=False: processes start with the parameters and buffers that they have. Without
    bucket_cap_mb, bucket_cap_mb_list has the limits of the first bucket, the second, ...; the last is that of all
    others. forward_sync_buffers: copy rank 0's buffers to all before each forward (True); broadcast_buffers, its older
    name, holds for the start as well.

    find_unused_parameters: allow that some parameters take no part in the result; those that no process used keep their
    gradient. static_graph: which ones do is the same in each step. Gradients are always views of the buckets, so
    `gradient_as_bucket_view` and `batched_grad_copy` change nothing, no more than dim, check_reduction and
    skip_all_reduce_unused_params. NotImplementedError for delay_all_reduce_named_params, param_to_hook_all_reduce,
    mixed_precision and device_mesh, ValueError without a process group, RuntimeError for modules that differ between
    processes or have nothing to train.

    Source: S. Li et al., "PyTorch distributed: experiences on accelerating data parallel training", 2020.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Any = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool | None = None,
        init_sync: bool = True,
        process_group: Any = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
        delay_all_reduce_named_params: Any = None,
        param_to_hook_all_reduce: Any = None,
        mixed_precision: Any = None,
        device_mesh: Any = None,
        skip_all_reduce_unused_params: bool = False,
        bucket_cap_mb_list: Sequence[float] | None = None,
        batched_grad_copy: bool = False,
        forward_sync_buffers: bool | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("delay_all_reduce_named_params", delay_all_reduce_named_params),
            ("param_to_hook_all_reduce", param_to_hook_all_reduce),
            ("mixed_precision", mixed_precision),
            ("device_mesh", device_mesh),
        ):
            if value is not None:
                raise NotImplementedError(f"DistributedDataParallel takes no {name}")
        group = joined(process_group)
        if not any(p.requires_grad for p in module.parameters()):
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameters that require a "
                "gradient."
            )
        self.module, self.dim = module, dim
        self.device_ids, self.output_device = self._devices(module, device_ids, output_device)
        self.process_group, self.find_unused_parameters, self.static_graph = (
            group,
            find_unused_parameters,
            static_graph,
        )
        self.broadcast_buffers = broadcast_buffers is not False
        if forward_sync_buffers is not None:
            self.broadcast_buffers = forward_sync_buffers
        self.gradient_as_bucket_view = gradient_as_bucket_view
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        caps: Sequence[float] = bucket_cap_mb_list or [1, 25]
        if bucket_cap_mb is not None:
            caps = [min(bucket_cap_mb, 1), bucket_cap_mb]
        self.bucket_bytes_caps = [int(cap * 1024 * 1024) for cap in caps]
        self.parameters_to_ignore = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        self._start(init_sync, broadcast_buffers is not False)

    @staticmethod
    def _devices(module: Module, device_ids: Any, output_device: Any) -> tuple[Any, Any]:
        if not device_ids:
            return None, None
        kinds = {p.device.type for p in module.parameters()}
        if len(device_ids) > 1 or kinds == {"cpu"}:
            raise ValueError(
                "DistributedDataParallel device_ids and output_device arguments only work with single-device GPU "
                f"modules or CPU modules, but got device_ids {list(device_ids)}, output_device {output_device}, and "
                f"module parameters on {sorted(kinds)}."
            )
        return list(device_ids), device_ids[0] if output_device is None else output_device

    def _start(self, init_sync: bool, with_buffers: bool = True) -> None:
        named = [(n, p) for n, p in self.module.named_parameters() if n not in self.parameters_to_ignore]
        buffers = [b for n, b in self.module.named_buffers() if n not in self.parameters_to_ignore]
        trained = [(n, p) for n, p in named if p.requires_grad]
        for _, p in named:
            as_memory(p)
        # state that Module must not find: it is no part of the model
        self.__dict__["_group"] = group = self.process_group.twin()
        self.__dict__["_buffer_list"] = buffers
        if len(group.ranks) > 1:
            self._compare(named, group)
            if init_sync:
                broadcast_tensors([p for _, p in named] + (buffers if with_buffers else []), 0, group)
        self.__dict__["reducer"] = (
            Reducer(
                [p for _, p in trained],
                [n for n, _ in trained],
                group,
                self.bucket_bytes_caps,
                self.find_unused_parameters,
                self.static_graph,
            )
            if len(group.ranks) > 1
            else None
        )
        self.__dict__["_shadow"] = self.__dict__["_unused"] = None

    @staticmethod
    def _compare(named: Sequence[tuple[str, Tensor]], group: Any) -> None:
        """RuntimeError where the processes' modules have other parameters."""
        mine = [(n, tuple(p.shape), str(p.dtype)) for n, p in named]
        everybody: list[Any] = [None] * len(group.ranks)
        collectives.all_gather_object(everybody, mine, group)
        for rank, theirs in zip(group.ranks, everybody):
            if len(theirs) != len(everybody[0]):
                raise RuntimeError(
                    f"DDP expects same model across all ranks, but Rank {group.ranks[0]} has {len(everybody[0])} "
                    f"params, while rank {rank} has inconsistent {len(theirs)} params."
                )
            for a, b in zip(everybody[0], theirs):
                if a != b:
                    raise RuntimeError(
                        f"DDP expects same model across all ranks, but rank {group.ranks[0]} has {a[0]} of shape "
                        f"{list(a[1])}, {a[2]}, where rank {rank} has {b[0]} of shape {list(b[1])}, {b[2]}."
                    )

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_group", "reducer", "process_group", "_buffer_list", "_shadow", "_unused")
        return {k: v for k, v in self.__dict__.items() if k not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.process_group = joined(None)
        self._start(False)

    # -- a step -----------------------------------------------------------------------------------------------------

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's result; backward from it leaves averaged gradients, unless it was called under `no_sync`."""
        if self.device_ids:
            inputs, kwargs = moved(inputs, self.output_device), moved(kwargs, self.output_device)
        reducer: Reducer | None = self.reducer
        if reducer is None:
            return self.module(*inputs, **kwargs)
        sync = is_grad_enabled() and self.require_backward_grad_sync
        buffers = bool(self._buffer_list) and self.broadcast_buffers and self.require_forward_param_sync
        buffers = buffers and self.training
        root, reducer.join = 0, None
        if self._join_config.enable:
            work = Join.notify_join_context(self)
            if work is not None:
                work.wait()
            reducer.join = self._shadow
            reducer.join.round(True, sync, buffers)
            root = reducer.join.lead
        if sync:
            reducer.prepare()
        if buffers:
            broadcast_tensors(self._buffer_list, root, self._group)
        out = self.module(*inputs, **kwargs)
        if sync:
            reducer.arm(self._unused_after(out, reducer))
        else:
            reducer.reset()
        return out

    def _unused_after(self, out: Any, reducer: Reducer) -> list[int]:
        if not self.find_unused_parameters and not self.static_graph:
            return []
        if self.static_graph and self._unused is not None:
            return list(self._unused)
        used = reached(out)
        unused = [i for i, p in enumerate(reducer.params) if p not in used]
        self.__dict__["_unused"] = unused
        return unused

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """A block in which gradients add up in each process by itself; forward must be called inside it as well."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def join(
        self,
        divide_by_initial_world_size: bool = True,
        enable: bool = True,
        throw_on_early_termination: bool = False,
    ) -> Join:
        """A block around training in which processes may have different numbers of batches.

        A process that has come to the end of the block answers the others' collective calls with zeros until all have,
        and then takes their parameters. divide_by_initial_world_size: gradients are sums over the number of all
        processes, also of those that have no input left; otherwise over those that have. Other collective calls inside
        the block (SyncBatchNorm) need throw_on_early_termination=True: RuntimeError on all when one has no more input.
        """
        return Join(
            [self], enable, throw_on_early_termination, divide_by_initial_world_size=divide_by_initial_world_size
        )

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook of `Join` for a process without inputs; `divide_by_initial_world_size` is as in `join`."""
        if self.reducer is None:
            return JoinHook()
        self.__dict__["_shadow"] = _Shadow(self, kwargs.get("divide_by_initial_world_size", True))
        return self._shadow

    @property
    def join_device(self) -> Any:
        """Where the parameters are."""
        return next(self.module.parameters()).device

    @property
    def join_process_group(self) -> Any:
        """The group that it averages over."""
        return self.process_group

    def _everything(self) -> list[Tensor]:
        named = self.module.named_parameters()
        return [p for n, p in named if n not in self.parameters_to_ignore] + self._buffer_list

    def register_comm_hook(self, state: Any, hook: Callable[..., Any]) -> None:
        """Let `hook(state, bucket)` take the place of the average: it returns a Future of the bucket's flat gradient.

        See `chainrule.distributed.algorithms.ddp_comm_hooks.default_hooks`. With one process it is never called.
        """
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self.reducer is not None:
            if self.reducer.hook is not None:
                raise RuntimeError("register_comm_hook or register_builtin_comm_hook can only be called once.")
            self.reducer.hook = (state, hook)
