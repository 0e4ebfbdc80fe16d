"""`chainrule.cuda.tunable`: time several algorithms of a matrix product when its shape is met for the first time.

By default cuBLASLt's own heuristics choose. With tuning, the 8 that they rank first are run 10 times each, and the
fastest is kept as long as the program runs. Never while a step is captured: its warm-up has chosen by then.
"""

from __future__ import annotations

from ...backends import cuda

__all__ = ["enable", "is_enabled", "tuning_enable", "tuning_is_enabled"]

_state = {"enabled": False, "tuning": True}


def enable(val: bool = True) -> None:
    """Choose algorithms by time (val), if tuning is enabled too, which it is at first; val=False: cuBLASLt chooses."""
    _set(enabled=val)


def is_enabled() -> bool:
    """What `enable` was given; False at first."""
    return _state["enabled"]


def tuning_enable(val: bool = True) -> None:
    """val=False: no further shapes are timed."""
    _set(tuning=val)


def tuning_is_enabled() -> bool:
    """What `tuning_enable` was given; True at first."""
    return _state["tuning"]


def _set(**changes: bool) -> None:
    _state.update({name: bool(value) for name, value in changes.items()})
    cuda.tuning = _state["enabled"] and _state["tuning"]
