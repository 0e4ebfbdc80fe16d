"""`chainrule.amp`: autocast, and the scaling of losses that a training in float16 needs.

Source: Micikevicius et al., Mixed Precision Training (2018), section 3.2; PyTorch's documentation of torch.amp for the
numbers and the order of calls.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

from ..autograd import Tensor
from ..autograd.autocast import autocast, is_autocast_available, is_autocast_enabled
from ..autograd.errors import warn

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]

_READY, _UNSCALED, _STEPPED = "ready", "unscaled", "stepped"


class _Round:
    """What one optimizer has done since the last `update`: its stage, and whether a gradient was not finite."""

    def __init__(self) -> None:
        self.stage, self.found_inf = _READY, False


class GradScaler:
    """Multiplies the loss by a large number, so that float16's small gradients do not vanish, and divides it out again.

    `scale(loss).backward()`, then `step(optimizer)`, which leaves the step out where a gradient is Inf or NaN, then
    `update()`: the scale is multiplied by `backoff_factor` after such a round, and by `growth_factor` after
    `growth_interval` rounds without one. `unscale_(optimizer)` before clipping. With enabled=False all of them pass
    through. Warns and is disabled for device="cuda" where there is no GPU.
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
        self._scale, self._growth_factor, self._backoff_factor = float(init_scale), growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._rounds: dict[int, _Round] = {}

    def _round(self, optimizer: Any) -> _Round:
        return self._rounds.setdefault(id(optimizer), _Round())

    def scale(self, outputs: Any) -> Any:
        """A tensor, or tensors in containers, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, (list, tuple)):
            scaled = [self.scale(x) for x in outputs]
            return type(outputs)(*scaled) if hasattr(outputs, "_fields") else type(outputs)(scaled)
        if isinstance(outputs, Iterable):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, once a round."""
        if not self._enabled:
            return
        state = self._round(optimizer)
        if state.stage is _UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state.stage is _STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    g = p.grad.detach()
                    g.mul_(1.0 / self._scale)
                    state.found_inf |= not bool(g.isfinite().all())
        state.stage = _UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(...)` with the gradients unscaled, left out where one of them is not finite."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        state = self._round(optimizer)
        if state.stage is _STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state.stage is _READY:
            self.unscale_(optimizer)
        state.stage = _STEPPED
        return None if state.found_inf else optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """End the round: change the scale by what was found, or set it to `new_scale`."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        else:
            if not any(state.stage is not _READY for state in self._rounds.values()):
                raise AssertionError("No inf checks were recorded prior to update.")
            if any(state.found_inf for state in self._rounds.values()):
                self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
            else:
                self._growth_tracker += 1
                if self._growth_tracker == self._growth_interval:
                    grown = self._scale * self._growth_factor
                    self._scale, self._growth_tracker = grown if math.isfinite(grown) else self._scale, 0
        self._rounds.clear()

    def get_scale(self) -> float:
        """The scale; 1 when disabled."""
        return self._scale if self._enabled else 1.0

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
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        for name in ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"):
            setattr(self, "_" + name.removeprefix("_"), state_dict[name])


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

    With `cast_inputs`, floating tensors are cast to that dtype, and autocast is off inside; without it, `forward` runs
    in the state that it meets. `custom_bwd` restores that state for `backward`.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        on = is_autocast_enabled(device_type)
        args[0]._fwd_used_autocast = on and cast_inputs is None
        if cast_inputs is None or not on:
            return fwd(*args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(*_cast(args, cast_inputs, device_type), **_cast(kwargs, cast_inputs, device_type))

    return decorated


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str = "cuda") -> Callable[..., Any]:
    """Decorator of a Function's `backward`: it runs in the state of autocast that its `forward` (`custom_fwd`) met."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, enabled=args[0]._fwd_used_autocast):
            return bwd(*args, **kwargs)

    return decorated
