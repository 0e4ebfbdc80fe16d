"""The engine's functions under one short name: `F.log`, `F.where`, `F.randn`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ..autograd import FUNCTIONS

__all__ = ["F"]

F: Any = SimpleNamespace(**FUNCTIONS)
