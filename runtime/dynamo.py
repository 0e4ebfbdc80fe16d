"""`chainrule._dynamo`: what programs set on PyTorch's compiler; nothing is compiled here."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from .compiler import allow_in_graph, assume_constant_result, disable, is_compiling, list_backends, reset
from .optimized import OptimizedModule

__all__ = [
    "OptimizedModule",
    "allow_in_graph",
    "assume_constant_result",
    "config",
    "disable",
    "is_compiling",
    "list_backends",
    "mark_dynamic",
    "optimize",
    "reset",
]

eval_frame = sys.modules[__name__]  # PyTorch's module of OptimizedModule

#: takes any setting
config = SimpleNamespace(
    suppress_errors=False, cache_size_limit=8, recompile_limit=8, verbose=False, optimize_ddp=True, disable=True
)


def optimize(*args: Any, **kwargs: Any) -> Any:
    """A decorator that returns the function itself."""
    return lambda function: function


def mark_dynamic(t: Any, index: Any, **limits: Any) -> None:
    """Nothing: all sizes are dynamic."""


def mark_static_address(t: Any, guard: bool = True) -> None:
    """Nothing: nobody else relies on where memory lies."""


def mark_static(t: Any, index: Any = None) -> None:
    """Nothing: no sizes are told apart."""


def is_compile_supported(device_type: str) -> bool:
    """False: nothing is compiled on any device."""
    return False
