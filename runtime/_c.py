"""`chainrule._C`: the few questions that model libraries ask PyTorch's core directly."""

from __future__ import annotations

from ..autograd import Generator

__all__ = ["Generator", "_get_tracing_state"]


def _get_tracing_state() -> None:
    """None: nothing is being traced."""


def _jit_set_profiling_executor(mode: bool) -> bool:
    """False: there is no such executor."""
    return False


_jit_set_profiling_mode = _jit_set_profiling_executor


def _log_api_usage_once(*args: str) -> None:
    """Nothing: no use is logged."""


def _are_functorch_transforms_active() -> bool:
    """False: `func.vmap` and kin show themselves to nobody."""
    return False
