"""Schedules by a factor: functions, steps, straight lines, powers, exponential and 1/t decay."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from .base import ClosedForm, LRScheduler, check_optimizer

__all__ = [
    "ConstantLR",
    "ExponentialLR",
    "InverseTimeLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "PolynomialLR",
    "StepLR",
]


class _OfFunctions(LRScheduler):
    """One function of the epoch, or one per group."""

    def __init__(self, optimizer: Any, lr_lambda: Any, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        count = len(optimizer.param_groups)
        self.lr_lambdas: list[Callable[[int], float]] = (
            list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * count
        )
        if len(self.lr_lambdas) != count:
            raise ValueError(f"Expected {count} lr_lambdas, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and plain functions; of an object that is called, its attributes."""
        state = {k: v for k, v in super().state_dict().items() if k != "lr_lambdas"}
        state["lr_lambdas"] = [None if hasattr(f, "__code__") else dict(f.__dict__) for f in self.lr_lambdas]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        for f, attributes in zip(self.lr_lambdas, state.pop("lr_lambdas")):
            if attributes is not None:
                f.__dict__.update(attributes)
        super().load_state_dict(state)


class LambdaLR(_OfFunctions):
    """base · lr_lambda(epoch), with one function or one per group; ValueError for another number of them."""

    def get_lr(self) -> list[Any]:
        return [base * f(self.last_epoch) for f, base in zip(self.lr_lambdas, self._cr_bases())]


class MultiplicativeLR(_OfFunctions):
    """lr · lr_lambda(epoch) each epoch from 1 on, with one function or one per group.

    That is base · lr_lambda(1) · ... · lr_lambda(epoch).
    """

    def get_lr(self) -> list[Any]:
        if self._cr_at_start():
            return self._cr_rates()
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, self._cr_rates())]


class StepLR(ClosedForm):
    """lr · gamma every `step_size` epochs: base · gamma^⌊epoch / step_size⌋."""

    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._cr_rates()
        return [lr * self.gamma for lr in self._cr_rates()]

    def _cr_closed_form(self, base: float) -> float:
        return base * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(ClosedForm):
    """lr · gamma at each of the epochs `milestones`: base · gamma^(number of milestones up to the epoch).

    A milestone given twice counts twice. As in K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image
    recognition", 2016, section 4.2.
    """

    def __init__(self, optimizer: Any, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        times = self.milestones[self.last_epoch]
        return [lr * self.gamma**times for lr in self._cr_rates()] if times else self._cr_rates()

    def _cr_closed_form(self, base: float) -> float:
        return base * self.gamma ** bisect_right(sorted(self.milestones.elements()), self.last_epoch)


class ConstantLR(ClosedForm):
    """base · factor, and from epoch `total_iters` on base; ValueError for a factor outside [0, 1]."""

    def __init__(self, optimizer: Any, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        if not 0 <= factor <= 1.0:
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        if self.last_epoch == 0:
            return [lr * self.factor for lr in self._cr_rates()]
        if self.last_epoch == self.total_iters:
            return [lr * (1.0 / self.factor) for lr in self._cr_rates()]
        return self._cr_rates()

    def _cr_closed_form(self, base: float) -> float:
        return base if self.last_epoch >= self.total_iters else base * self.factor


class LinearLR(ClosedForm):
    """base times a factor that goes in a straight line from start_factor to end_factor in `total_iters` epochs.

    base · (start_factor + (end_factor - start_factor) min(epoch, total_iters) / total_iters): a warm-up, as in P.
    Goyal et al., "Accurate, large minibatch SGD", 2017. ValueError for start_factor outside (0, 1] or end_factor
    outside [0, 1].
    """

    def __init__(
        self,
        optimizer: Any,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1.0:
            raise ValueError("Starting multiplicative factor expected to be greater than 0 and less or equal to 1.")
        if not 0 <= end_factor <= 1.0:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self._cr_rates()]
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._cr_rates()
        slope = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * slope
        return [lr * (1.0 + slope / before) for lr in self._cr_rates()]

    def _cr_closed_form(self, base: float) -> float:
        part = min(self.total_iters, self.last_epoch) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * part)


class ExponentialLR(ClosedForm):
    """lr · gamma each epoch: base · gamma^epoch, which is base · e^(-k epoch) for gamma = e^-k."""

    def __init__(self, optimizer: Any, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        return self._cr_rates() if self._cr_at_start() else [lr * self.gamma for lr in self._cr_rates()]

    def _cr_closed_form(self, base: float) -> float:
        return base * self.gamma**self.last_epoch


class InverseTimeLR(ClosedForm):
    """base / (1 + k · epoch): 1/t decay, whose sum diverges while the sum of its squares does not.

    PyTorch has it as LambdaLR(optimizer, lambda epoch: 1 / (1 + k * epoch)).
    Source: H. Robbins, S. Monro, "A stochastic approximation method", 1951.
    """

    def __init__(self, optimizer: Any, k: float, last_epoch: int = -1) -> None:
        if not k >= 0:
            raise ValueError(f"k should be >= 0 but is: {k}")
        self.k = k
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        if self._cr_at_start():
            return self._cr_rates()
        return [lr * (1 + self.k * (self.last_epoch - 1)) / (1 + self.k * self.last_epoch) for lr in self._cr_rates()]

    def _cr_closed_form(self, base: float) -> float:
        return base / (1 + self.k * self.last_epoch)


class PolynomialLR(ClosedForm):
    """base · (1 - epoch / total_iters)^power, and 0 from epoch `total_iters` on.

    As in L. Chen et al., "DeepLab", 2016 (power 0.9, an epoch being a batch).
    """

    def __init__(self, optimizer: Any, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        epoch, total = self.last_epoch, self.total_iters
        if self._cr_at_start() or epoch > total:
            return self._cr_rates()
        ratio = ((1.0 - epoch / total) / (1.0 - (epoch - 1) / total)) ** self.power
        return [lr * ratio for lr in self._cr_rates()]

    def _cr_closed_form(self, base: float) -> float:
        return base * (1.0 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power
