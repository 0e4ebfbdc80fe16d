"""`chainrule.types`: names for annotations, as in torch.types."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from ..autograd import Size, Tensor, device, dtype

__all__ = ["Device", "FileLike", "Number", "Size", "Tensor", "_TensorOrTensors", "_device", "_dtype", "_int", "_size"]

_device, _dtype = device, dtype
_int, _float, _bool = int, float, bool
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
Number: TypeAlias = int | float | bool
Device: TypeAlias = device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | Any
