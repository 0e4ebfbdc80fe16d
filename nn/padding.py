"""Padding: the borders of the last one to three dimensions.

`padding` is one number, or two per dimension, last one first.
"""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor
from . import functional as F
from .module import Module
from .tuples import ntuple, shown

__all__ = [
    f"{kind}Pad{n}d" for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero") for n in (1, 2, 3)
]


class _Pad(Module):
    dims = 0
    mode = ""

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = ntuple(padding, 2 * self.dims)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return shown(self, "padding", "value")


class ConstantPad1d(_ConstantPadNd):
    """Pad (N, C, L) or (C, L) with `value`."""

    dims = 1


class ConstantPad2d(_ConstantPadNd):
    """Pad (N, C, H, W) or (C, H, W) with `value`."""

    dims = 2


class ConstantPad3d(_ConstantPadNd):
    """Pad (N, C, D, H, W) or (C, D, H, W) with `value`."""

    dims = 3


class _ZeroPad(_ConstantPadNd):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """Pad (N, C, L) or (C, L) with zeros."""

    dims = 1


class ZeroPad2d(_ZeroPad):
    """Pad (N, C, H, W) or (C, H, W) with zeros."""

    dims = 2


class ZeroPad3d(_ZeroPad):
    """Pad (N, C, D, H, W) or (C, D, H, W) with zeros."""

    dims = 3


class ReflectionPad1d(_Pad):
    """Pad (N, C, L) or (C, L) with its mirror image; the border itself is not repeated."""

    dims, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Pad (N, C, H, W) or (C, H, W) with its mirror image; the border itself is not repeated."""

    dims, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Pad (N, C, D, H, W) or (C, D, H, W) with its mirror image; the border itself is not repeated."""

    dims, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Pad (N, C, L) or (C, L) with its border."""

    dims, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Pad (N, C, H, W) or (C, H, W) with its border."""

    dims, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Pad (N, C, D, H, W) or (C, D, H, W) with its border."""

    dims, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Pad (N, C, L) or (C, L) with its other end."""

    dims, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Pad (N, C, H, W) or (C, H, W) with its other end."""

    dims, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Pad (N, C, D, H, W) or (C, D, H, W) with its other end."""

    dims, mode = 3, "circular"
