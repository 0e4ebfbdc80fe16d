"""`chainrule.backends.mps`: Apple's GPUs have no backend."""

from __future__ import annotations

__all__ = ["is_available", "is_built"]


def is_built() -> bool:
    """False: there is no backend for Apple's GPUs."""
    return False


def is_available() -> bool:
    """False: there is no backend for Apple's GPUs."""
    return False
