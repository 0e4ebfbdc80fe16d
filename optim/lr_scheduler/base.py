"""LRScheduler: what the schedules share.

A schedule is `get_lr()`: the rates at `self.last_epoch`, computed from the rates that the groups have now. So several
schedules can act on one optimizer. `_cr_closed_form(base)` gives the same without history, for `step(epoch)`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ...autograd import Tensor
from ...autograd.tracking import paused, recording
from ..optimizer import Optimizer, number

__all__ = ["ClosedForm", "LRScheduler", "check_optimizer", "per_group", "set_lr", "warn_of_epoch"]


EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. "
    "Please use `scheduler.step()` to step the scheduler; with an epoch the closed form is used, if there is one"
)


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError for what is no optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def set_lr(group: dict[str, Any], lr: Any) -> None:
    """Set a group's rate; one that is a Tensor stays the same Tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(number(lr))
    else:
        group["lr"] = number(lr)


def per_group(optimizer: Any, name: str, value: Any) -> list[Any]:
    """One value for each group: a list or tuple of them, or the same for all."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. "
            f"{name} has {len(value)} values, param_groups has {count}."
        )
    return list(value)


def warn_of_epoch() -> None:
    """Say that `step(epoch)` is deprecated."""
    warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=4)


def _kept(lr: Any) -> Any:
    return lr.detach().clone() if isinstance(lr, Tensor) else lr


def _repeated(step: Callable[..., None]) -> Callable[..., None]:
    """A `step` that a captured training step repeats at each replay."""

    @functools.wraps(step)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        recorder = recording()
        if recorder is None:
            step(self, *args, **kwargs)
        else:
            given = [number(x) for x in args]  # a measure that is a Tensor would be another one each time
            with paused():
                undo = _restorer(self)
            recorder.host(lambda: step(self, *given, **kwargs), undo)

    return wrapper


def _restorer(scheduler: Any) -> Callable[[], None]:
    """What puts a schedule and the rates that it sets back to where they are now."""
    every = [scheduler, *getattr(scheduler, "_schedulers", ())]
    states = [(s, {k: list(v) if isinstance(v, list) else v for k, v in vars(s).items()}) for s in every]
    groups = [(g, dict(g), number(g["lr"])) for g in scheduler.optimizer.param_groups]

    def restore() -> None:
        for s, state in states:
            vars(s).update(state)
        for group, options, lr in groups:
            group.update(options)
            set_lr(group, lr)

    return restore


class _enable_get_lr_call:
    """Within it `get_lr` is called by a step, which is what it is for."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self.scheduler = scheduler

    def __enter__(self) -> None:
        self.scheduler._get_lr_called_within_step = True

    def __exit__(self, *error: Any) -> None:
        self.scheduler._get_lr_called_within_step = False


class LRScheduler:
    """Base of the schedules. A subclass defines `get_lr`, which gives the groups' rates at `self.last_epoch`.

    last_epoch: the epoch to go on from; -1 starts, and takes the groups' rates as the base (`initial_lr`). An lr
    that is a Tensor is written into.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _repeated(cls.__dict__["step"])  # type: ignore[method-assign]

    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Any, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _kept(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    "last_epoch >= 0: load the optimizer's state first, or start with last_epoch=-1"
                )
        self.base_lrs: list[Any] = [_kept(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        optimizer._cr_stepped = False
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list[Any]:
        """The groups' rates at `self.last_epoch`, a list; called by `step`. `get_last_lr` is for programs."""
        raise NotImplementedError

    def get_last_lr(self) -> list[Any]:
        """The rates that the last `step` set, one for each group."""
        return self._last_lr

    def _cr_rates(self) -> list[Any]:
        """The groups' rates as they are, for a `get_lr` that goes on from them."""
        self._cr_within_step()
        return [number(group["lr"]) for group in self.optimizer.param_groups]

    def _cr_at_start(self) -> bool:
        """Whether the rates are to stay: in epoch 0, and in the first step of a schedule that goes on."""
        return self.last_epoch == 0 or self._is_initial

    def _cr_bases(self) -> list[Any]:
        self._cr_within_step()
        return [number(base) for base in self.base_lrs]

    def _cr_within_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=4,
            )

    @_repeated
    def step(self, epoch: int | None = None) -> None:
        """Set the rates of the next epoch (or of `epoch`, which PyTorch deprecates).

        Call it after the optimizer's step.
        """
        self._step_count += 1
        if self._step_count == 2 and not self.optimizer._cr_stepped:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in the opposite order: "
                "`optimizer.step()` before `lr_scheduler.step()`; otherwise the first value of the schedule is skipped",
                UserWarning,
                stacklevel=3,
            )
        if epoch is not None:
            warn_of_epoch()
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        with _enable_get_lr_call(self):
            if epoch is None:
                self.last_epoch += 1
                values = self.get_lr()
            else:
                self.last_epoch = epoch
                closed = getattr(self, "_get_closed_form_lr", self.get_lr)
                values = closed()
        for group, lr in zip(self.optimizer.param_groups, values):
            set_lr(group, lr)
        self._cr_note_rates()

    def _cr_note_rates(self) -> None:
        self._last_lr: list[Any] = [_kept(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        self.__dict__.update(state_dict)


_LRScheduler = LRScheduler  # its name in older programs, which derive from it


class ClosedForm(LRScheduler):
    """A schedule that can tell an epoch's rate from the base alone."""

    def _cr_closed_form(self, base: float) -> float:
        raise NotImplementedError

    def _get_closed_form_lr(self) -> list[Any]:
        return [self._cr_closed_form(base) for base in self._cr_bases()]
