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
    """Pad (N, C, L) or (C, L) with `value`.

    padding: one number for all sides, or (left, right); negative ones crop.
    """

    dims = 1


class ConstantPad2d(_ConstantPadNd):
    """Pad (N, C, H, W) or (C, H, W) with `value`.

    padding: one number for all sides, or (left, right, top, bottom); negative ones crop.
    """

    dims = 2


class ConstantPad3d(_ConstantPadNd):
    """Pad (N, C, D, H, W) or (C, D, H, W) with `value`.

    padding: one number for all sides, or (left, right, top, bottom, front, back); negative ones crop.
    """

    dims = 3


class _ZeroPad(_ConstantPadNd):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """Pad (N, C, L) or (C, L) with zeros.

    padding: one number for all sides, or (left, right); negative ones crop.
    """

    dims = 1


class ZeroPad2d(_ZeroPad):
    """Pad (N, C, H, W) or (C, H, W) with zeros.

    padding: one number for all sides, or (left, right, top, bottom); negative ones crop.
    """

    dims = 2


class ZeroPad3d(_ZeroPad):
    """Pad (N, C, D, H, W) or (C, D, H, W) with zeros.

    padding: one number for all sides, or (left, right, top, bottom, front, back); negative ones crop.
    """

    dims = 3


class _ReflectionPadNd(_Pad):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """Pad (N, C, L) or (C, L) with its mirror image; the border itself is not repeated.

    padding: one number for all sides, or (left, right); negative ones crop.
    """

    dims = 1


class ReflectionPad2d(_ReflectionPadNd):
    """Pad (N, C, H, W) or (C, H, W) with its mirror image; the border itself is not repeated.

    padding: one number for all sides, or (left, right, top, bottom); negative ones crop.
    """

    dims = 2


class ReflectionPad3d(_ReflectionPadNd):
    """Pad (N, C, D, H, W) or (C, D, H, W) with its mirror image; the border itself is not repeated.

    padding: one number for all sides, or (left, right, top, bottom, front, back); negative ones crop.
    """

    dims = 3


class _ReplicationPadNd(_Pad):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """Pad (N, C, L) or (C, L) with its border.

    padding: one number for all sides, or (left, right); negative ones crop.
    """

    dims = 1


class ReplicationPad2d(_ReplicationPadNd):
    """Pad (N, C, H, W) or (C, H, W) with its border.

    padding: one number for all sides, or (left, right, top, bottom); negative ones crop.
    """

    dims = 2


class ReplicationPad3d(_ReplicationPadNd):
    """Pad (N, C, D, H, W) or (C, D, H, W) with its border.

    padding: one number for all sides, or (left, right, top, bottom, front, back); negative ones crop.
    """

    dims = 3


class _CircularPadNd(_Pad):
    mode = "circular"


class CircularPad1d(_CircularPadNd):
    """Pad (N, C, L) or (C, L) with its other end.

    padding: one number for all sides, or (left, right); negative ones crop.
    """

    dims = 1


class CircularPad2d(_CircularPadNd):
    """Pad (N, C, H, W) or (C, H, W) with its other end.

    padding: one number for all sides, or (left, right, top, bottom); negative ones crop.
    """

    dims = 2


class CircularPad3d(_CircularPadNd):
    """Pad (N, C, D, H, W) or (C, D, H, W) with its other end.

    padding: one number for all sides, or (left, right, top, bottom, front, back); negative ones crop.
    """

    dims = 3
