"""Convolution on a GPU: by cuDNN where it is there and serves, otherwise by gathered windows and matrix products.

It has not run on a GPU yet.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from .. import windows
from ..cudnn import library
from ..cudnn.convolution import CONVOLUTION as LIBRARY
from ..cudnn.layouts import channels_last
from .columns import column_sums
from .launch import FLOATS
from .namespace import Namespace

__all__ = ["CONVOLUTION"]

_XP = Namespace()


@functools.cache
def _tell() -> None:
    """Once in a process: why convolutions are slow."""
    if library.missing():
        warnings.warn(f"convolutions are computed without cuDNN: {library.missing()}", UserWarning, stacklevel=3)


def conv(input: Any, weight: Any, bias: Any = None, stride=(1,), padding=((0, 0),), dilation=(1,), groups=1) -> Any:
    """The op `conv`."""
    found = LIBRARY["conv"](input, weight, bias, stride, padding, dilation, groups)
    if found is NotImplemented:
        _tell()
        return windows.conv(_XP, input, weight, bias, stride, padding, dilation, groups)
    return found


def conv_input(grad: Any, weight: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The op `conv_input`."""
    found = LIBRARY["conv_input"](grad, weight, size, stride, padding, dilation, groups)
    if found is NotImplemented:
        _tell()
        return windows.conv_input(_XP, grad, weight, size, stride, padding, dilation, groups)
    return found


def conv_weight(input: Any, grad: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The op `conv_weight`."""
    found = LIBRARY["conv_weight"](input, grad, kernel, stride, padding, dilation, groups)
    if found is NotImplemented:
        _tell()
        return windows.conv_weight(_XP, input, grad, kernel, stride, padding, dilation, groups)
    return found


def bias_grad(g: Any) -> Any:
    """The gradient of `conv` for its bias, where channels lie last: sums of columns."""
    if not channels_last(g) or g.dtype.name not in FLOATS:
        return NotImplemented
    rows = _XP.moveaxis(g, 1, -1)
    return column_sums(rows.reshape(-1, g.shape[1]), g.dtype) if rows.flags.c_contiguous else NotImplemented


bias_grad.partial = True  # type: ignore[attr-defined]

CONVOLUTION: dict[str, Callable[..., Any]] = {
    "conv": conv,
    "conv.grad.bias": bias_grad,
    "conv_input": conv_input,
    "conv_weight": conv_weight,
}
