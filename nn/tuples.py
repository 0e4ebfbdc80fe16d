"""Sizes per dimension, and how a layer shows its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["ntuple", "pair", "shown", "single", "triple"]


def ntuple(value: Any, n: int) -> tuple[Any, ...]:
    """`value` for each of `n` dimensions: a number stands for all of them, a sequence is taken as it is."""
    return tuple(value) if hasattr(value, "__iter__") else (value,) * n


def single(value: Any) -> tuple[Any, ...]:
    """A number as a 1-tuple."""
    return ntuple(value, 1)


def pair(value: Any) -> tuple[Any, ...]:
    """A number as a pair."""
    return ntuple(value, 2)


def triple(value: Any) -> tuple[Any, ...]:
    """A number as a triple."""
    return ntuple(value, 3)


def shown(module: Any, *names: str) -> str:
    """The named attributes as `a=1, b=2`, for `extra_repr`."""
    return ", ".join([f"{name}={getattr(module, name)}" for name in names])


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple[Any, ...]]:
    """The function that makes an n-tuple: PyTorch's form, which layers written for it import."""

    def parse(value: Any) -> tuple[Any, ...]:
        return ntuple(value, n)

    parse.__name__ = name
    return parse


_single, _pair, _triple, _quadruple = single, pair, triple, _ntuple(4, "_quadruple")
