"""The package tensorboard, or what to install."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["library"]


def library(name: str) -> Any:
    """A module of TensorBoard."""
    try:
        return importlib.import_module(f"tensorboard.{name}")
    except ImportError as error:
        if error.name and not error.name.startswith("tensorboard"):
            raise
        raise ImportError("SummaryWriter needs the package tensorboard: pip install chainrule[tensorboard]") from None
