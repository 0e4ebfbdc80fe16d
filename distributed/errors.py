"""`record`, the decorator of programs for torchrun: what ends them is told to the launcher."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..backends.communication import current, fail

__all__ = ["record"]

P = ParamSpec("P")
R = TypeVar("R")


def record(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose errors before `init_process_group` the launcher hears of, with their traceback.

    Later ones, where nobody catches them, it hears of without this decorator as well.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception:
            if current() is None:
                fail(traceback.format_exc())
            raise

    return wrapper
