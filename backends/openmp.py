"""`chainrule.backends.openmp`: whether loops run in OpenMP's threads."""

from __future__ import annotations

__all__ = ["is_available"]


def is_available() -> bool:
    """False: NumPy's BLAS has threads of its own."""
    return False
