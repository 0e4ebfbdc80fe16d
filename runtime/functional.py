"""`chainrule.functional`: the functions of tensors (`split`, `einsum`, `norm`, ...) by PyTorch's older path."""

from __future__ import annotations

from ..autograd import FUNCTIONS

globals().update(FUNCTIONS)

__all__ = sorted(FUNCTIONS)
