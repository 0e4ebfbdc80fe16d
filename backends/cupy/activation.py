"""Activations and their gradients in one launch each, with a bias where it comes with them. Not run on a GPU yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .columns import column_sums
from .launch import FLOATS, Source, blocks, contiguous, in_one_order, wide_loads

__all__ = ["SERVES", "bias_activation", "bias_activation_grad"]

_SOURCE = Source("activation.cu", T=FLOATS)
_FORWARD, _BACKWARD = _SOURCE.kernel("activation_forward"), _SOURCE.kernel("activation_backward")
#: as in the kernels
KINDS = {name: i for i, name in enumerate(("relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh"))}
#: elements of a thread, and blocks at most
_EACH, _BLOCKS = 8, 8192
#: elements from which it is worth it where CuPy has a kernel of its own
_WORTH = 1 << 16


def _forward(x: Any, bias: Any, kind: str) -> Any:
    if x.dtype.name not in FLOATS:
        return NotImplemented
    x, y = in_one_order(x if bias is None else contiguous(x))
    columns = 1 if bias is None else bias.size
    grid = blocks(x.size, 256 * _EACH, _BLOCKS)
    _FORWARD[x.dtype](grid, 256, x, bias, y, x.size, columns, KINDS[kind], wide_loads(x, y))
    return y


def _backward(g: Any, x: Any, bias: Any, kind: str) -> Any:
    if x.dtype.name not in FLOATS or g.dtype != x.dtype or g.shape != x.shape:
        return NotImplemented
    x, g, dx = in_one_order(x if bias is None else contiguous(x), g)
    columns = 1 if bias is None else bias.size
    grid = blocks(x.size, 256 * _EACH, _BLOCKS)
    _BACKWARD[x.dtype](grid, 256, g, x, bias, dx, x.size, columns, KINDS[kind], wide_loads(g, x, dx))
    return dx


def gelu(input: Any, approximate: str = "none") -> Any:
    """As the op."""
    if approximate not in ("none", "tanh"):
        return NotImplemented
    return _forward(input, None, "gelu" if approximate == "none" else "gelu_tanh")


def gelu_grad(g: Any, input: Any, approximate: str) -> Any:
    """As the rule."""
    return _backward(g, input, None, "gelu" if approximate == "none" else "gelu_tanh")


def relu(input: Any) -> Any:
    """As the op, of large arrays."""
    return _forward(input, None, "relu") if input.size >= _WORTH else NotImplemented


def sigmoid(input: Any) -> Any:
    """As the op."""
    return _forward(input, None, "sigmoid")


def tanh(input: Any) -> Any:
    """As the op, of large arrays."""
    return _forward(input, None, "tanh") if input.size >= _WORTH else NotImplemented


def silu(input: Any) -> Any:
    """As the op."""
    return _forward(input, None, "silu")


def silu_grad(g: Any, input: Any) -> Any:
    """As the rule."""
    return _backward(g, input, None, "silu")


def relu_grad(g: Any, out: Any) -> Any:
    """As the rule."""
    return _backward(g, out, None, "relu")


def sigmoid_grad(g: Any, out: Any) -> Any:
    """As the rule."""
    return _backward(g, out, None, "sigmoid")


def tanh_grad(g: Any, out: Any) -> Any:
    """As the rule."""
    return _backward(g, out, None, "tanh")


def bias_activation(x: Any, bias: Any, kind: str) -> Any:
    """f(x + bias), the bias along the last dimension or None: for products of matrices that cannot do it themselves."""
    return _forward(x, None if bias is None else contiguous(bias), kind)


def bias_activation_grad(g: Any, x: Any, bias: Any, kind: str) -> Any:
    """Gradients for x and bias; `x` is the result instead for relu, sigmoid and tanh."""
    of_result = kind in ("relu", "sigmoid", "tanh")
    dx = _backward(g, x, None if bias is None or of_result else contiguous(bias), kind)
    if dx is NotImplemented or bias is None:
        return dx, None
    return dx, column_sums(dx.reshape(-1, bias.size), bias.dtype)


SERVES: dict[str, Callable[..., Any]] = {
    "gelu": gelu,
    "gelu.grad": gelu_grad,
    "relu": relu,
    "relu.grad": relu_grad,
    "sigmoid": sigmoid,
    "sigmoid.grad": sigmoid_grad,
    "silu": silu,
    "silu.grad": silu_grad,
    "tanh": tanh,
    "tanh.grad": tanh_grad,
}
