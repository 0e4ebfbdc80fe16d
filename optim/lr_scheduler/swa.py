"""The schedule of stochastic weight averaging."""

from __future__ import annotations

import math
from typing import Any

from ..optimizer import number
from .base import LRScheduler, check_optimizer, per_group

__all__ = ["SWALR"]


class SWALR(LRScheduler):
    """From the rates as they are to swa_lr in `anneal_epochs` epochs, and swa_lr from there on.

    lr = s swa_lr + (1 - s) rate, s = (1 - cos(π t)) / 2 ("cos") or t ("linear") by anneal_strategy, t = epoch /
    anneal_epochs up to 1. Another schedule may go on changing the rates meanwhile. Source: P. Izmailov et al.,
    "Averaging weights leads to wider optima and better generalization", 2018.
    """

    def __init__(
        self,
        optimizer: Any,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        for group, lr in zip(optimizer.param_groups, per_group(optimizer, "swa_lr", swa_lr)):
            group["swa_lr"] = number(lr)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _part(self, step: int) -> float:
        t = min(1.0, max(0.0, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[Any]:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._part(step - 1), self._part(step)
        rates = []
        for group, lr in zip(self.optimizer.param_groups, self._cr_rates()):
            target = group["swa_lr"]
            plain = target if before == 1 else (lr - before * target) / (1 - before)  # without the annealing
            rates.append(target * now + plain * (1 - now))
        return rates
