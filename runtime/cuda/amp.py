"""The GPU's autocast and GradScaler, by PyTorch's older names: `chainrule.cuda.amp`."""

from __future__ import annotations

from typing import Any

from ...autograd import float16
from ...autograd.errors import warn
from ..amp import GradScaler as _GradScaler
from ..amp import autocast as _autocast
from ..amp import custom_bwd, custom_fwd

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]


def _deprecated(name: str) -> None:
    warn(
        f"`chainrule.cuda.amp.{name}(args...)` is deprecated. "
        f"Please use `chainrule.amp.{name}('cuda', args...)` instead.",
        FutureWarning,
    )


class autocast(_autocast):
    """`chainrule.autocast("cuda", dtype, enabled)`.

    cache_enabled: PyTorch's, as there.
    """

    def __init__(self, enabled: bool = True, dtype: Any = float16, cache_enabled: bool = True) -> None:
        _deprecated("autocast")
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(_GradScaler):
    """`chainrule.amp.GradScaler("cuda", ...)`.

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
        super().__init__("cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled)
