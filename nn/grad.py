"""Gradients of convolutions as functions, under PyTorch's names.

A convolution is linear in its input and in its weight, so each gradient is the convolution's own rule, and is
differentiable itself.
"""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor, grad
from ..autograd.creation import zeros
from ..autograd.modes import MODES, enable_grad
from ..autograd.ops.convolution import conv1d, conv2d, conv3d

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]


def _gradient(convolution: Any, input: Any, weight: Any, grad_output: Tensor, of: int, *settings: Any) -> Tensor:
    """The gradient for the argument number `of`, which is given by its size."""
    record = MODES.get().grad
    given = weight if of == 0 else input
    size = input if of == 0 else weight
    start = zeros(tuple(size), dtype=given.dtype, device=given.device, requires_grad=True)
    stride, padding, dilation, groups = settings
    with enable_grad():
        pair = (start, given) if of == 0 else (given, start)
        out = convolution(*pair, None, stride, padding, dilation, groups)
        return grad(out, start, grad_output, create_graph=record)[0]


def conv1d_input(
    input_size: Any,
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv1d for its input, of size `input_size`, given that for its output.

    stride, padding, dilation and groups are the convolution's.
    """
    return _gradient(conv1d, input_size, weight, grad_output, 0, stride, padding, dilation, groups)


def conv1d_weight(
    input: Tensor,
    weight_size: Any,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv1d for its weight, of size `weight_size`, given that for its output.

    stride, padding, dilation and groups are the convolution's.
    """
    return _gradient(conv1d, input, weight_size, grad_output, 1, stride, padding, dilation, groups)


def conv2d_input(
    input_size: Any,
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv2d for its input, of size `input_size`, given that for its output.

    stride, padding, dilation and groups are the convolution's.
    """
    return _gradient(conv2d, input_size, weight, grad_output, 0, stride, padding, dilation, groups)


def conv2d_weight(
    input: Tensor,
    weight_size: Any,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv2d for its weight, of size `weight_size`, given that for its output.

    stride, padding, dilation and groups are the convolution's.
    """
    return _gradient(conv2d, input, weight_size, grad_output, 1, stride, padding, dilation, groups)


def conv3d_input(
    input_size: Any,
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv3d for its input, of size `input_size`, given that for its output.

    stride, padding, dilation and groups are the convolution's.
    """
    return _gradient(conv3d, input_size, weight, grad_output, 0, stride, padding, dilation, groups)


def conv3d_weight(
    input: Tensor,
    weight_size: Any,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv3d for its weight, of size `weight_size`, given that for its output.

    stride, padding, dilation and groups are the convolution's.
    """
    return _gradient(conv3d, input, weight_size, grad_output, 1, stride, padding, dilation, groups)
