"""`Join`: training in which processes have different numbers of inputs.

A process that comes to the end of the block answers the collective calls of those that go on, until all have come.
Each round begins with a sum over all processes: how many have inputs left. Names and meaning are PyTorch's.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple

from ..backends import np
from .groups import joined

__all__ = ["Join", "JoinHook", "Joinable"]


class JoinHook:
    """What a process without inputs does in the place of its `Joinable`."""

    def main_hook(self) -> None:
        """Answer the collective calls of one round of the others."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """When all have come to the end; is_last_joiner: this one was among the last."""


class _Config(NamedTuple):
    enable: bool = False
    throw: bool = False
    first: bool = False


class Joinable:
    """What makes collective calls in each round, and knows how to answer them: it has a `join_hook`.

    At the beginning of each round it calls `Join.notify_join_context(self)`.
    """

    _join_config = _Config()

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook of a process without inputs; `kwargs` are those of `Join`."""
        raise NotImplementedError

    @property
    def join_device(self) -> Any:
        """Where the tensors of its calls lie."""
        raise NotImplementedError

    @property
    def join_process_group(self) -> Any:
        """The group of its calls."""
        raise NotImplementedError


class Join:
    """A block in which processes may have different numbers of inputs: `with Join([model, ...]): ...`

    throw_on_early_termination: RuntimeError in all processes when one has no inputs left. ValueError where the
    joinables' groups differ. enable=False: the block does nothing. Other arguments are for the joinables'
    `join_hook`.
    """

    def __init__(
        self, joinables: list[Any], enable: bool = True, throw_on_early_termination: bool = False, **kwargs: Any
    ) -> None:
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        self._joinables, self._enable, self._throw = list(joinables), enable, throw_on_early_termination
        groups = [joined(j.join_process_group) for j in self._joinables]
        if any(g is not groups[0] for g in groups):
            raise ValueError("Using join context manager with multiple process groups")
        self._group = groups[0]
        self._hooks = [j.join_hook(**kwargs) for j in self._joinables] if enable else []

    def __enter__(self) -> None:
        for i, joinable in enumerate(self._joinables):
            joinable._join_config = _Config(self._enable, self._throw, i == 0)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for joinable in self._joinables:
            joinable._join_config = _Config()
        if not self._enable or kind is not None:
            return
        last = True
        while _count(self._group, 0):
            if self._throw:
                _count(self._group, 1)
                raise RuntimeError(f"Rank {self._group.me} exhausted all inputs.")
            last = False
            for hook in self._hooks:
                hook.main_hook()
        for hook in self._hooks:
            hook.post_hook(last)

    @staticmethod
    def notify_join_context(joinable: Joinable) -> Any:
        """Begin a round: say that this process has inputs left. Work, where a block is open and this is its first."""
        config = joinable._join_config
        if not config.enable or not config.first:
            return None
        group = joined(joinable.join_process_group)
        work = group.all_reduce(np.ones(1, np.int32), block=config.throw)
        if config.throw and _count(group, 0):
            raise RuntimeError("Detected at least one rank that exhausted inputs. Throwing across all ranks.")
        return work


def _count(group: Any, mine: int) -> int:
    """The sum of a number over all processes."""
    total = np.array([mine], np.int32)
    group.all_reduce(total)
    return int(total[0])
