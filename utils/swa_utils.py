"""Averages of a model's weights over its training; also `chainrule.optim.swa_utils`, PyTorch's path.

They stand here and not in optim, which knows no modules.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor, no_grad
from ..autograd.tracking import decided
from ..nn.normalization import _BatchNorm
from ..optim.lr_scheduler.swa import SWALR

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _checked(decay: float) -> float:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")
    return decay


def _ema(averaged: Tensor, current: Tensor, decay: float) -> Tensor:
    return decay * averaged + (1 - decay) * current


def _mean(averaged: Tensor, current: Tensor, count: Any) -> Tensor:
    return averaged + (current - averaged) / (count + 1)


def _each(one: Callable[[Tensor, Tensor, Any], Tensor]) -> Callable[[Any, Any, Any], None]:
    """`one` for a list of averages, in place; integers, as counters in buffers, are rounded towards 0."""

    @no_grad()
    def update(averaged: Any, current: Any, num_averaged: Any) -> None:
        for a, c in zip(averaged, current):
            a.copy_(one(a, c, num_averaged))

    return update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], None]:
    """The exponential moving average of lists of tensors, in place: a ← decay · a + (1 - decay) · p."""
    decay = _checked(decay)
    return _each(lambda a, c, _: _ema(a, c, decay))


def get_swa_multi_avg_fn() -> Callable[[Any, Any, Any], None]:
    """The mean of all so far, of lists of tensors, in place: a ← a + (p - a) / (n + 1)."""
    return _each(_mean)


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """The exponential moving average of one tensor: decay · a + (1 - decay) · p, 0 <= decay <= 1.

    Source: A. Tarvainen, H. Valpola, "Mean teachers are better role models", 2017. ValueError for other decays.
    """
    decay = _checked(decay)

    @no_grad()
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return _ema(ema_param, current_param, decay)

    return ema_update


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, Any], Tensor]:
    """The mean of all so far, of one tensor: a + (p - a) / (n + 1).

    Source: P. Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018.
    """

    @no_grad()
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return _mean(averaged_param, current_param, num_averaged)

    return swa_update


class AveragedModel(nn.Module):
    """A copy of `model` whose parameters are the average of those that `update_parameters(model)` was shown.

    The first call copies them. avg_fn (average, current, count) → new average, of one tensor; multi_avg_fn the same of
    lists, in place; by default the mean (SWA, Polyak's average). use_buffers: average the buffers as well; otherwise
    they are those of the model shown last. device: where to keep it. state_dict: "n_averaged" and "module.…".

    Sources: B. Polyak, A. Juditsky, "Acceleration of stochastic approximation by averaging", 1992; P. Izmailov et al.,
    "Averaging weights leads to wider optima and better generalization", 2018.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: nn.Module,
        device: Any = None,
        avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
        multi_avg_fn: Callable[[Any, Any, Any], None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", FUNCTIONS["tensor"](0, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the averaged model."""
        return self.module(*args, **kwargs)

    def _tensors(self, model: nn.Module) -> list[Tensor]:
        return list(itertools.chain(model.parameters(), model.buffers() if self.use_buffers else ()))

    @no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the present parameters of `model` into the average."""
        averaged = self._tensors(self.module)
        current = [c.detach().to(a.device) for a, c in zip(averaged, self._tensors(model))]
        if decided(lambda: bool(self.n_averaged == 0)):
            for a, c in zip(averaged, current):
                a.copy_(c)
        elif self.avg_fn is not None:
            count = self.n_averaged.to(averaged[0].device) if averaged else self.n_averaged
            for a, c in zip(averaged, current):
                a.copy_(self.avg_fn(a.detach(), c, count))
        else:
            (self.multi_avg_fn or get_swa_multi_avg_fn())([a.detach() for a in averaged], current, self.n_averaged)
        if not self.use_buffers:
            for a, c in zip(self.module.buffers(), model.buffers()):
                a.detach().copy_(c.detach().to(a.device))
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: nn.Module, device: Any = None) -> None:
    """Compute the running statistics of the batch normalisations in `model` anew, as means over a pass of `loader`.

    A batch that is a list or tuple has the input first. After averaging weights the statistics of none of the averaged
    models fit.

    Source: P. Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018, section
    3.2.
    """
    momenta = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.reset_running_stats()
        module.momentum = None  # the plain mean of all batches
    for batch in loader:
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(x if device is None else x.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)
