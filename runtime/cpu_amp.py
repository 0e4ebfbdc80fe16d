"""The CPU's autocast and GradScaler, by PyTorch's older names: `chainrule.cpu.amp`."""

from __future__ import annotations

from typing import Any

from ..autograd import bfloat16
from ..autograd.errors import warn
from .amp import GradScaler as _GradScaler
from .amp import autocast as _autocast
from .amp import custom_bwd, custom_fwd

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]


def _deprecated(name: str) -> None:
    warn(
        f"`chainrule.cpu.amp.{name}(args...)` is deprecated. "
        f"Please use `chainrule.amp.{name}('cpu', args...)` instead.",
        FutureWarning,
    )


class autocast(_autocast):
    """`chainrule.autocast("cpu", dtype, enabled)`.

    cache_enabled: PyTorch's, as there.
    """

    def __init__(self, enabled: bool = True, dtype: Any = bfloat16, cache_enabled: bool = True) -> None:
        _deprecated("autocast")
        super().__init__("cpu", dtype, enabled, cache_enabled)


class GradScaler(_GradScaler):
    """`chainrule.amp.GradScaler("cpu", ...)`.

    init_scale, growth_factor, backoff_factor, growth_interval, enabled: that class's.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        _deprecated("GradScaler")
        super().__init__("cpu", init_scale, growth_factor, backoff_factor, growth_interval, enabled)
