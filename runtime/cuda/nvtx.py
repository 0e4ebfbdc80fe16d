"""Marks for NVIDIA's profiler; no profiler listens here, so they do nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["mark", "range", "range_pop", "range_push"]

_depth = 0


def mark(msg: str) -> None:
    """Nothing: a mark that no profiler reads."""


def range_push(msg: str) -> int:
    """Begin a range; its depth."""
    global _depth
    _depth += 1
    return _depth - 1


def range_pop() -> int:
    """End the innermost range; its depth."""
    global _depth
    _depth -= 1
    return _depth


@contextlib.contextmanager
def range(msg: str, *args: Any, **kwargs: Any) -> Iterator[None]:
    """A range as a context."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
