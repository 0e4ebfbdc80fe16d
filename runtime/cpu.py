"""`chainrule.cpu`: PyTorch's names for the one device that is always there."""

from __future__ import annotations

import contextlib
from typing import Any

from . import cpu_amp as amp

__all__ = [
    "amp",
    "current_device",
    "current_stream",
    "device_count",
    "is_available",
    "set_device",
    "stream",
    "synchronize",
]


def is_available() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1."""
    return 1


def current_device() -> str:
    """'cpu'."""
    return "cpu"


def set_device(device: Any) -> None:
    """Nothing: there is one."""


def synchronize(device: Any = None) -> None:
    """Nothing: what a call on the CPU computes is there when it returns."""


def current_stream(device: Any = None) -> None:
    """None: calls on the CPU run one after another."""


def stream(stream: Any) -> Any:
    """A context that changes nothing."""
    return contextlib.nullcontext(stream)
