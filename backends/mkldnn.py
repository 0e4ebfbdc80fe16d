"""`chainrule.backends.mkldnn`: whether Intel's oneDNN computes."""

from __future__ import annotations

__all__ = ["enabled", "is_available"]

enabled = True


def is_available() -> bool:
    """False."""
    return False
