"""Linear and bilinear maps of the last dimension.

Source: PyTorch's documentation of `linear` and `bilinear` for names and shapes.
"""

from __future__ import annotations

import math

from ..composite import composite
from ..dtypes import from_numpy_dtype
from ..op import op

__all__ = ["bilinear", "feed_forward", "linear"]


@op(broadcast=True)  # for a bias of one element
def linear(xp, input, weight, bias=None, /):
    """input @ weight.T + bias: the affine map of the last dimension.

    input (*, in_features), weight (out_features, in_features) or (in_features,), bias (out_features,) or (): the result
    is (*, out_features), or (*) for a weight of one dimension. All have one dtype.
    """
    if weight.dtype != input.dtype or (bias is not None and bias.dtype != input.dtype):
        kinds = ", ".join(str(x.dtype) for x in (input, weight, bias) if x is not None)
        raise ValueError(
            "mat1 and mat2 must have the same dtype, but got "
            f"{' and '.join(from_numpy_dtype(x.dtype).short for x in (input, weight))}: "
            f"input, weight and bias are {kinds}; convert one with .to(dtype)"
        )
    if not input.ndim or not weight.ndim or weight.ndim > 2 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(_misfit(input.shape, weight.shape))
    rows = xp.matmul(input.reshape(math.prod(input.shape[:-1]), input.shape[-1]), weight.T)
    if bias is not None:
        rows = rows + bias
    return rows.reshape((*input.shape[:-1], *weight.shape[:-1]))


def _misfit(given, weight):
    if not given or not weight or len(weight) > 2:
        return f"input needs at least one dimension and weight one or two, got {list(given)} and {list(weight)}"
    return (
        f"mat1 and mat2 shapes cannot be multiplied ({math.prod(given[:-1])}x{given[-1]} and {weight[-1]}x"
        f"{math.prod(weight[:-1])}): the input has {given[-1]} features (its last dimension), and the layer takes "
        f"{weight[-1]} (the last dimension of its weight), for shapes {list(given)} and {list(weight)}"
    )


@linear.grad("input")
def _(F, g, weight):
    if len(weight.shape) == 1:
        return F.unsqueeze(g, -1) * weight
    return F.matmul(g, weight)


@linear.grad("weight")
def _(F, g, input, weight_shape):
    rows = _rows(F, input)
    if len(weight_shape) == 1:
        return F.matmul(F.reshape(g, (rows.shape[0],)), rows)
    return F.matmul(F.permute(F.reshape(g, (rows.shape[0], weight_shape[0])), (1, 0)), rows)


@linear.grad("bias")
def _(F, g, shape):
    return F.sum(g, dim=tuple(range(len(g.shape) - len(shape)))) if len(g.shape) > len(shape) else g


def _rows(F, x):
    """`x` with all dimensions but the last in one."""
    return F.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


@composite
def bilinear(F, input1, input2, weight, bias=None, /):
    """y[..., k] = input1ᵀ weight[k] input2 + bias[k].

    input1 (*, in1), input2 (*, in2) with the same leading dimensions, weight (out, in1, in2), bias (out,): (*, out).
    """
    if len(weight.shape) != 3 or tuple(input1.shape[:-1]) != tuple(input2.shape[:-1]):
        raise ValueError(
            f"bilinear takes inputs with equal leading dimensions and a weight of three, got {list(input1.shape)}, "
            f"{list(input2.shape)} and {list(weight.shape)}"
        )
    out, in1, in2 = weight.shape
    if input1.shape[-1] != in1 or input2.shape[-1] != in2:
        raise ValueError(
            f"the weight {list(weight.shape)} wants inputs of sizes {in1} and {in2}, "
            f"got {input1.shape[-1]} and {input2.shape[-1]}"
        )
    left, right = _rows(F, input1), _rows(F, input2)
    count = left.shape[0]
    # (out, in1, in2) x (count, in2) -> (count, out, in1), then against input1
    mapped = F.reshape(F.matmul(right, F.permute(F.reshape(weight, (out * in1, in2)), (1, 0))), (count, out, in1))
    result = F.reshape(F.matmul(mapped, F.reshape(left, (count, in1, 1))), (count, out))
    if bias is not None:
        result = result + bias
    return F.reshape(result, (*input1.shape[:-1], out))


@composite
def feed_forward(F, input, weight1, weight2, bias1=None, bias2=None, /, activation="relu"):
    """linear(f(linear(input, weight1, bias1)), weight2, bias2): two maps of the last dimension, and f between them.

    f: "relu", or "gelu_tanh", gelu's tanh form. input (*, in), weight1 (hidden, in), weight2 (out, hidden), biases
    (hidden,) and (out,) or None: the result is (*, out). On a GPU f and its gradient are part of the matrix products.
    """
    if activation not in ("relu", "gelu_tanh"):
        raise ValueError(f"feed_forward: activation is 'relu' or 'gelu_tanh', not {activation!r}")
    hidden = F.linear(input, weight1, bias1)
    hidden = F.relu(hidden) if activation == "relu" else F.gelu(hidden, approximate="tanh")
    return F.linear(hidden, weight2, bias2)
