"""Shares of a data set for the processes of a parallel training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...autograd import Generator, OpError
from .sampler import Sampler, drawn

__all__ = ["DistributedSampler"]


def _group() -> Any:
    """The module `distributed`, with its process group running."""
    from ... import distributed

    if not distributed.is_initialized():
        raise OpError(  # ValueError and RuntimeError: PyTorch has raised either
            "Default process group has not been initialized, please make sure to call init_process_group, or give "
            "DistributedSampler num_replicas and rank"
        )
    return distributed


class DistributedSampler(Sampler[int]):
    """Every `num_replicas`-th index from `rank` on, of one order that all processes share.

    shuffle: a new order in each epoch, from `seed` + the number given to `set_epoch`; call it before each epoch. Where
    the samples do not divide evenly the first ones are repeated, or with `drop_last` the last ones left out.

    dataset: what the indices are of. num_replicas, rank: by default those of the process group. ValueError for a rank
    that is not below num_replicas.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        num_replicas = _group().get_world_size() if num_replicas is None else num_replicas
        rank = _group().get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        n = len(dataset)
        self.num_samples = n // num_replicas if drop_last else math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        if self.shuffle:
            order = drawn("randperm", n, generator=Generator().manual_seed(self.seed + self.epoch)).tolist()
        else:
            order = list(range(n))
        if not self.drop_last and order:
            order *= math.ceil(self.total_size / n)
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """The number of the epoch that follows: another gives another order."""
        self.epoch = epoch
