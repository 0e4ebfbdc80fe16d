"""Division of integers on the host: dividing by 0 is an error, where NumPy warns and gives 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["INTEGERS"]


def _checked(divide: Callable[..., Any]) -> Callable[..., Any]:
    def kernel(input: Any, other: Any) -> Any:
        if (other if isinstance(input, (int, float)) else input).dtype.kind not in "iu":
            return NotImplemented
        if not np.all(other):
            raise ZeroDivisionError("integer division or remainder by zero")
        return divide(input, other)

    kernel.partial = True  # type: ignore[attr-defined]
    return kernel


INTEGERS: dict[str, Callable[..., Any]] = {
    "floor_divide": _checked(np.floor_divide),
    "remainder": _checked(np.remainder),
    "fmod": _checked(np.fmod),
}
