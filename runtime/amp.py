"""`chainrule.amp`: autocast, and the scaling of losses that a training in float16 needs.

The scale, the count of rounds since it grew and what was found in the gradients are tensors on the device: nothing
waits for them, and a captured step (`chainrule.capture`) carries them on from replay to replay. An optimizer that can
leave a step out on the device (`fused=True` or `capturable=True`) is given what was found; for any other one the host
reads one number, as in PyTorch.

Source: Micikevicius et al., Mixed Precision Training (2018), section 3.2; PyTorch's documentation of torch.amp for the
numbers and the order of calls.
"""

from __future__ import annotations

import enum
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ..autograd import FUNCTIONS, Tensor, float16, float32, int32, no_grad
from ..autograd.autocast import autocast, get_autocast_dtype, is_autocast_available, is_autocast_enabled
from ..autograd.errors import warn
from ..autograd.op import raw
from ..autograd.storage import as_memory, dense_order, mark_all_written

__all__ = ["GradScaler", "OptState", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


class OptState(enum.Enum):
    """What a GradScaler has done for an optimizer since its last `update`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class _Round:
    """What one optimizer has done since the last `update`: its stage, and by device whether a gradient was not finite
    (a 0-d tensor there, 1 or 0).
    """

    def __init__(self) -> None:
        self.stage = OptState.READY
        self.found: dict[Any, Tensor] = {}

    def found_inf(self, device: Any) -> Tensor:
        """What was found on all devices, on this one; 0 where no gradient was looked at."""
        total: Any = None
        for found in self.found.values():
            here = found.to(device)
            total = here if total is None else total + here
        return FUNCTIONS["zeros"]((), dtype=float32, device=device) if total is None else total


class GradScaler:
    """Multiplies the loss by a large number, so that float16's small gradients do not vanish, and divides it out again.

    `scale(loss).backward()`, then `step(optimizer)`, which leaves the step out where a gradient is Inf or NaN, then
    `update()`: the scale is multiplied by `backoff_factor` after such a round, and by `growth_factor` after
    `growth_interval` rounds without one. `unscale_(optimizer)` before clipping. With enabled=False all of them pass
    through. Warns and is disabled for device="cuda" where there is no GPU. `get_scale` and `state_dict` wait for
    the device; nothing else does (see the module for `step`). init_scale: the first scale.

    Source: P. Micikevicius et al., "Mixed precision training", 2018, section 3.2.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device, self._enabled = device, enabled
        if enabled and not is_autocast_available(device):
            warn(f"chainrule.{device}.amp.GradScaler is enabled, but {device.upper()} is not available.  Disabling.")
            self._enabled = False
        if self._enabled:
            if growth_factor <= 1.0:
                raise ValueError("The growth factor must be > 1.0.")
            if backoff_factor >= 1.0:
                raise ValueError("The backoff factor must be < 1.0.")
        self._growth_factor, self._backoff_factor, self._growth_interval = (
            growth_factor,
            backoff_factor,
            growth_interval,
        )
        self._init_scale, self._init_tracker = float(init_scale), 0
        #: on the device of the first loss, from then on
        self._scale: Tensor | None = None
        self._growth_tracker: Tensor | None = None
        self._rounds: dict[int, _Round] = {}

    def _round(self, optimizer: Any) -> _Round:
        return self._rounds.setdefault(id(optimizer), _Round())

    def _scale_on(self, device: Any) -> Tensor:
        """The scale as a tensor, which is made on this device where there is none."""
        if self._scale is None:
            self._scale = FUNCTIONS["full"]((), self._init_scale, dtype=float32, device=device)
            self._growth_tracker = FUNCTIONS["full"]((), self._init_tracker, dtype=int32, device=device)
            for t in (self._scale, self._growth_tracker):
                as_memory(t)
        return self._scale.to(device)

    def scale(self, outputs: Any) -> Any:
        """A tensor, or tensors in containers, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale_on(outputs.device)
        if isinstance(outputs, (list, tuple)):
            scaled = [self.scale(x) for x in outputs]
            return type(outputs)(*scaled) if hasattr(outputs, "_fields") else type(outputs)(scaled)
        if isinstance(outputs, Iterable):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def _unscale(self, optimizer: Any, divide: bool, half: bool) -> dict[Any, Tensor]:
        """Look for Inf and NaN in an optimizer's gradients, and divide them by the scale: one pass for each device.

        What was found, by device. `half`: gradients in float16 are no error.
        """
        together: dict[Any, list[Tensor]] = {}
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    if p.grad.dtype == float16 and not half and not group.get("master_weights"):
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    together.setdefault(p.grad.device, []).append(p.grad.detach())
        found: dict[Any, Tensor] = {}
        with no_grad():
            for device, grads in together.items():
                scale = self._scale_on(device)
                found[device] = FUNCTIONS["zeros"]((), dtype=float32, device=device)
                _unscale_all(grads, found[device], scale.reciprocal() if divide else None)
        return found

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, once a round.

        ValueError for gradients in float16, in which the quotient would vanish again, unless the optimizer keeps master
        weights.
        """
        if not self._enabled:
            return
        state = self._round(optimizer)
        if state.stage is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state.stage is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        state.found = self._unscale(optimizer, divide=True, half=False)
        state.stage = OptState.UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(...)` with the gradients unscaled, left out where one of them is not finite."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        state = self._round(optimizer)
        if state.stage is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            result = self._step_on_the_device(optimizer, state, args, kwargs)
        else:
            if state.stage is OptState.READY:
                self.unscale_(optimizer)
            skipped = any(found.item() for found in state.found.values())
            result = None if skipped else optimizer.step(*args, **kwargs)
        state.stage = OptState.STEPPED
        return result

    def _step_on_the_device(self, optimizer: Any, state: _Round, args: Any, kwargs: Any) -> Any:
        """The step of an optimizer that leaves it out by itself: it gets what was found, and divides by the scale."""
        if "grad_scaler" in inspect.signature(optimizer.step).parameters:
            warn(
                "GradScaler is going to stop passing itself as a keyword argument to the passed optimizer. In the near "
                "future GradScaler registers `grad_scale: Tensor` and `found_inf: Tensor` to the passed optimizer and "
                "let the optimizer use them directly.",
                FutureWarning,
            )
            return optimizer.step(*args, **kwargs, grad_scaler=self)
        if state.stage is OptState.READY:
            state.found = self._unscale(optimizer, divide=False, half=True)
            device = next(iter(state.found), self._device)
            given, scale = getattr(optimizer, "grad_scale", None), self._scale_on(device)
            optimizer.grad_scale = scale if given is None else scale * given
        else:
            device = next(iter(state.found), self._device)
            optimizer.grad_scale = getattr(optimizer, "grad_scale", None)
        optimizer.found_inf = state.found_inf(device)
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            del optimizer.grad_scale, optimizer.found_inf

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """End the round: change the scale by what was found, or set it to `new_scale`."""
        if not self._enabled:
            return
        with no_grad():
            if new_scale is not None:
                device = new_scale.device if isinstance(new_scale, Tensor) else self._device
                self._scale_on(device)
                assert self._scale is not None
                if isinstance(new_scale, Tensor):
                    if new_scale.numel() != 1 or new_scale.requires_grad or not new_scale.is_floating_point():
                        raise AssertionError(
                            "new_scale should be a float or a 1-element chainrule.FloatTensor with requires_grad=False."
                        )
                    self._scale.copy_(new_scale.reshape(()))
                else:
                    self._scale.fill_(float(new_scale))
            else:
                looked = [state for state in self._rounds.values() if state.found]
                if not looked:
                    raise AssertionError("No inf checks were recorded prior to update.")
                assert self._scale is not None
                assert self._growth_tracker is not None
                found = looked[0].found_inf(self._scale.device)
                for state in looked[1:]:
                    found = found + state.found_inf(self._scale.device)
                factors = self._growth_factor, self._backoff_factor, self._growth_interval
                _update_scale(self._scale, self._growth_tracker, found, *factors)
        self._rounds.clear()

    def get_scale(self) -> float:
        """The scale, read from the device; 1 when disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by after enough rounds without Inf or NaN."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set the growth factor."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after a round with Inf or NaN."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set the backoff factor."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many rounds without Inf or NaN the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set the growth interval."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """False where all calls pass through."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors, interval and the rounds since the last growth; {} when disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._init_tracker if self._growth_tracker is None else self._growth_tracker.item(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._init_scale, self._init_tracker = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        if self._scale is not None and self._growth_tracker is not None:
            self._scale.fill_(self._init_scale)
            self._growth_tracker.fill_(self._init_tracker)

    def __getstate__(self) -> dict[str, Any]:
        """Pickled, it is a scaler between two rounds."""
        if self._rounds:
            raise AssertionError(
                "A GradScaler instance may only be pickled at the beginning of an iteration, or at the end after "
                "scaler.update()."
            )
        tracker = self._init_tracker if self._growth_tracker is None else self._growth_tracker.item()
        now = {"_init_scale": self.get_scale(), "_init_tracker": tracker}
        return {**self.__dict__, **now, "_scale": None, "_growth_tracker": None}


def _unscale_all(grads: list[Tensor], found: Tensor, inverse: Tensor | None) -> None:
    """Multiply `grads` by `inverse` in place, and set `found` to 1 where an element is not finite."""
    step = raw(found.array).backend.steps.get("unscale")
    if step is not None:
        together = [g.array for g in grads if dense_order(g.array) is not None]
        if step(together, found.array, None if inverse is None else inverse.array) is not NotImplemented:
            mark_all_written([*together, found.array])
            grads = [g for g in grads if dense_order(g.array) is None]
    for g in grads:
        found.copy_(FUNCTIONS["maximum"](found, (~g.isfinite().all()).to(float32)))
        if inverse is not None:
            g.mul_(inverse)


def _update_scale(scale: Tensor, tracker: Tensor, found: Tensor, growth: float, backoff: float, interval: int) -> None:
    """Change the scale and the count of rounds, in place."""
    step = raw(scale.array).backend.steps.get("update_scale")
    if step is not None:
        step(scale.array, tracker.array, found.array, float(growth), float(backoff), int(interval))
        mark_all_written([scale.array, tracker.array])
        return
    where = FUNCTIONS["where"]
    bad, rounds, grown = found > 0, tracker + 1, scale * growth
    due = rounds == interval
    grown = where(due & grown.isfinite(), grown, scale)
    scale.copy_(where(bad, scale * backoff, grown))
    tracker.copy_(where(bad | due, 0, rounds))


def _cast(value: Any, target: Any, place: str) -> Any:
    if isinstance(value, Tensor):
        narrow = value.is_floating_point() and value.device.type == place and value.element_size() < 8
        return value.to(target) if narrow else value
    if isinstance(value, dict):
        return {_cast(k, target, place): _cast(v, target, place) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_cast(v, target, place) for v in value])
    return value


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str = "cuda", cast_inputs: Any = None
) -> Callable[..., Any]:
    """Decorator of a Function's `forward` that is called under autocast.

    With `cast_inputs`, floating tensors are cast to that dtype, and autocast is off inside; without it, `forward`
    runs in the state that it meets. `custom_bwd` restores that state for `backward`. fwd: the method; without it,
    a decorator. device_type: whose autocast is meant.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        on = is_autocast_enabled(device_type)
        args[0]._fwd_used_autocast, args[0]._dtype = on and cast_inputs is None, get_autocast_dtype(device_type)
        if cast_inputs is None or not on:
            return fwd(*args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(*_cast(args, cast_inputs, device_type), **_cast(kwargs, cast_inputs, device_type))

    return decorated


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str = "cuda") -> Callable[..., Any]:
    """Decorator of a Function's `backward`: it runs in the state of autocast that its `forward` (`custom_fwd`) met.

    bwd: the method; without it, a decorator. device_type: whose autocast is meant, as of `custom_fwd`.
    """
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, args[0]._dtype, args[0]._fwd_used_autocast):
            return bwd(*args, **kwargs)

    return decorated
