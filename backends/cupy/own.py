"""The ops that CUDA C kernels of ours serve (launch.py tells of them), by name.

All are partial: what they do not serve (other dtypes, broadcast operands) the generic forms do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import (
    activation,
    batch_norm,
    columns,
    dropout,
    elementwise,
    entropy,
    groups,
    many,
    norms,
    pooling,
    rows,
    softmax,
)

__all__ = ["OWN", "STEPS"]


def _partial(kernel: Callable[..., Any]) -> Callable[..., Any]:
    kernel.partial = True  # type: ignore[attr-defined]
    return kernel


_MODULES = (activation, batch_norm, columns, dropout, elementwise, entropy, groups, norms, pooling, rows, softmax)
OWN: dict[str, Callable[..., Any]] = {
    name: _partial(kernel) for module in _MODULES for name, kernel in module.SERVES.items()
}
#: what goes over many arrays at once: the steps of optimizers, norms and scaling of gradients
STEPS: dict[str, Callable[..., Any]] = many.SERVES
