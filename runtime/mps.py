"""`chainrule.mps`: Apple's GPUs, without a backend: there are none, and what prepares one does nothing."""

from __future__ import annotations

from typing import Any

__all__ = [
    "current_device",
    "device_count",
    "empty_cache",
    "is_available",
    "manual_seed",
    "manual_seed_all",
    "synchronize",
]


def is_available() -> bool:
    """False: Apple's GPUs have no backend here."""
    return False


def device_count() -> int:
    """0: Apple's GPUs have no backend here."""
    return 0


def current_device() -> int:
    """RuntimeError: there is none."""
    raise RuntimeError("there is no backend for 'mps'; there are cpu and cuda")


def synchronize(device: Any = None) -> None:
    """RuntimeError: there is nothing to wait for."""
    raise RuntimeError("there is no backend for 'mps'; there are cpu and cuda")


def manual_seed(seed: int) -> None:
    """Nothing: there is no generator to seed."""


def manual_seed_all(seed: int) -> None:
    """Nothing: there is no generator to seed."""


def empty_cache() -> None:
    """Nothing: there is no memory to give back."""
