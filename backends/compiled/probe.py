"""The smallest kernel, compiled to see whether compiling works."""

from __future__ import annotations

from typing import Any

import numpy as np

from .build import kernel

__all__ = ["works"]


@kernel("f4[:] i8 i8")
def _count(x: Any, start: int, stop: int) -> None:
    for i in range(start, stop):
        x[i] = i


def works() -> None:
    """Raise what keeps kernels from being compiled, loaded or run."""
    x = np.empty(3, np.float32)
    _count(x, 0, 3)
    if x.tolist() != [0, 1, 2]:
        raise RuntimeError(f"a compiled kernel counted {x.tolist()}")
