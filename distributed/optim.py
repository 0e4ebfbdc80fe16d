"""ZeroRedundancyOptimizer: each process keeps the optimizer's state of a part of the parameters alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..optim import Optimizer
from . import collectives
from .data_parallel import broadcast_tensors
from .groups import joined
from .join import Join, Joinable, JoinHook

__all__ = ["ZeroRedundancyOptimizer"]


def _hand(source: Iterable[dict[str, Any]], target: Iterable[dict[str, Any]]) -> None:
    """Copy the options of groups."""
    for old, new in zip(source, target):
        new.update({name: value for name, value in old.items() if name not in ("params", "param_names")})


class _Shadow(JoinHook):
    """What a process without inputs does for its part: it steps with the others, by the gradients that it has."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def main_hook(self) -> None:
        self.optimizer.update_parts()


class ZeroRedundancyOptimizer(Optimizer, Joinable):
    """An optimizer whose state is spread over the processes of a group: 1 / P of it in each of P.

    params and defaults: as of `optimizer_class`, which is made for this process's parameters. A parameter belongs to
    the process that has the fewest elements so far, the large ones first. `step` updates those of this process and
    copies all to all, so gradients should be equal everywhere, as DistributedDataParallel leaves them.

    `state_dict` needs `consolidate_state_dict(to)` before it, in all processes; `load_state_dict` takes the whole
    state. process_group: who takes part (all). parameters_as_bucket_view: PyTorch's, changes nothing.

    NotImplementedError for overlap_with_ddp, TypeError for parameters that are no dense tensors of one device,
    ValueError without a process group. Source: S. Rajbhandari et al., "ZeRO: memory optimizations toward training
    trillion parameter models", 2020 (stage 1).
    """

    def __init__(
        self,
        params: Any,
        optimizer_class: type[Optimizer],
        process_group: Any = None,
        parameters_as_bucket_view: bool = False,
        overlap_with_ddp: bool = False,
        **defaults: Any,
    ) -> None:
        if overlap_with_ddp:
            raise NotImplementedError("ZeroRedundancyOptimizer takes no overlap_with_ddp")
        self.process_group = joined(process_group)
        self._group = self.process_group.twin()
        self._gathered: dict[int, Any] | None = None
        self._loads = [0] * len(self._group.ranks)
        self._owner: dict[int, int] = {}
        self.optim: Any = None
        super().__init__(params, defaults)
        self.optim = optimizer_class(self._parts(self._group.me), **defaults)
        _hand(self.optim.param_groups, self.param_groups)  # the defaults of its class
        self.initialized = True

    # -- parts --------------------------------------------------------------------------------------------------------

    def _parts(self, rank: int) -> list[dict[str, Any]]:
        """The groups with the parameters of one process."""
        return [{**g, "params": [p for p in g["params"] if self._owner[id(p)] == rank]} for g in self.param_groups]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with "params" and options; each process takes a part of them."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.pop("param_names", None)
        for p in sorted(group["params"], key=lambda p: p.numel(), reverse=True):
            if p.is_sparse or p.device != self.join_device:
                raise TypeError("ZeroRedundancyOptimizer needs dense parameters, all on one device")
            owner = self._loads.index(min(self._loads))
            self._owner[id(p)] = owner
            self._loads[owner] += p.numel()
        if self.optim is not None:
            self.optim.add_param_group(self._parts(self._group.me)[-1])

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Update this process's parameters, then copy all parameters to all; returns the closure's result."""
        Join.notify_join_context(self)
        return self.update_parts(closure, **kwargs)

    def update_parts(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """`step`, of which no open `Join` hears."""
        self._gathered = None
        _hand(self.param_groups, self.optim.param_groups)  # schedules and programs change those of this optimizer
        loss = self.optim.step(closure, **kwargs) if closure is not None else self.optim.step(**kwargs)
        _hand(self.optim.param_groups, self.param_groups)
        for root in range(len(self._group.ranks)):
            broadcast_tensors([p for group in self._parts(root) for p in group["params"]], root, self._group)
        return loss

    # -- state --------------------------------------------------------------------------------------------------------

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Send the state of all processes to rank `to`; all have to call it. For a rank outside, nobody has it."""
        self._gathered = None
        if to not in self._group.ranks:
            return
        _hand(self.param_groups, self.optim.param_groups)
        root = self._group.ranks.index(to)
        parts: list[Any] | None = [None] * len(self._group.ranks) if self._group.me == root else None
        collectives.gather_object(self.optim.state_dict()["state"], parts, group=self._group, group_dst=root)
        if parts is not None:
            self._gathered = dict(enumerate(parts))

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as `optimizer_class` would have it; RuntimeError where it was not sent here."""
        if self._gathered is None:
            raise RuntimeError(
                f"Optimizer state has not been consolidated on rank {self._group.me}: "
                "call `consolidate_state_dict(to=...)` on all ranks before"
            )
        position: dict[int, int] = {}
        for group in self.param_groups:
            for p in group["params"]:
                position.setdefault(id(p), len(position))
        groups = [
            {**{k: v for k, v in g.items() if k != "params"}, "params": [position[id(p)] for p in g["params"]]}
            for g in self.param_groups
        ]
        state = {}
        for rank, part in self._gathered.items():
            own = [p for group in self._parts(rank) for p in group["params"]]
            state.update({position[id(own[i])]: entry for i, entry in part.items()})
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take this process's part of a whole state."""
        self._gathered = None
        super().load_state_dict(state_dict)
        own = {p for group in self._parts(self._group.me) for p in group["params"]}
        self.optim.state.clear()
        self.optim.state.update({p: entry for p, entry in self.state.items() if p in own})
        self.optim.__setstate__({})  # its plans know the old state
        self.state.clear()
        _hand(self.param_groups, self.optim.param_groups)

    # -- Join ---------------------------------------------------------------------------------------------------------

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook of a process without inputs: it steps, by the gradients that it has."""
        return _Shadow(self)

    @property
    def join_device(self) -> Any:
        """Where the parameters lie."""
        return self.param_groups[0]["params"][0].device

    @property
    def join_process_group(self) -> Any:
        """The group over which the state is spread."""
        return self.process_group
