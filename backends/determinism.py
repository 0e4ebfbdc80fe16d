"""Whether results must repeat bit for bit from run to run: `chainrule.use_deterministic_algorithms` sets it.

The CPU's do in any case. On a GPU, atomic additions make sums that depend on the order in which threads come.
"""

from __future__ import annotations

__all__ = ["want", "wanted"]

_wanted = False


def want(on: bool) -> None:
    """Set it, for all threads."""
    global _wanted
    _wanted = bool(on)


def wanted() -> bool:
    """What `want` was given; False at first."""
    return _wanted
