"""Batch, layer and RMS norm by cuDNN, forward and backward.

Batch norm in training is one kernel with what follows it, the addition of a shortcut and a ReLU; in the backward pass
one kernel masks the gradient by the ReLU's result, hands it to the shortcut, and gives the gradients of input, weight
and bias. The batch's variance is the running one after a step of momentum 1: cuDNN keeps only 1 / sqrt(var + eps),
from which a small variance could not be told. Weights of any dtype are given to cuDNN in float32.

Batch norm is served channels last alone: in order cuDNN 9.19 wants workspace for three copies of the data, and masks
no gradient by a ReLU. It takes channels in multiples of 8 (float32: of 4), and has no plan for batch norm at test time.
What it leaves, our kernels do (backends/cupy/batch_norm.py). Whose are quicker is to be measured on a GPU:
`settings.batch_norm` and `settings.layer_norm` choose. cuDNN's batch norm comes first, as it keeps small layers on the
chip and reads them once; its layer and RMS norm do not, as ours read rows once too, and need no seconds of compiling
for each new shape.

It has not run on a GPU yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import cudnn as settings
from .graphs import Description, Slot, number
from .layouts import channels_last, dense, steps
from .plans import Runtime, runtime

__all__ = ["BATCH_NORM", "LAYER_NORM"]

FLOATS = ("float16", "bfloat16", "float32")


def _vector(found: Runtime, vector: Any, size: int, default: float) -> Any:
    """`vector` in float32, dense; a constant for None."""
    if vector is None:
        return found.constant(default, (size,))
    if vector.dtype != "float32":
        vector = vector.astype("float32")
    return dense(found, vector.reshape(-1))


# -- batch norm -------------------------------------------------------------------------------------------------------


def _four(shape: Any) -> tuple[int, ...]:
    """(N, C) as (N, C, 1, 1), and (N, C, L) as (N, C, 1, L)."""
    shape = tuple(shape)
    return shape if len(shape) > 3 else (*shape[:2], 1, shape[2] if len(shape) == 3 else 1)


def _of_batch(x: Any) -> Runtime | None:
    """What computes batch norm of `x`; None where cuDNN is not there or does not take it."""
    found = runtime()
    served = settings.batch_norm and x.dtype.name in FLOATS and (x.ndim == 2 or (x.ndim <= 5 and channels_last(x)))
    if found is None or not served or x.size <= x.shape[1]:
        return None
    return found


def batch_normalised(input: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """The op `batch_normalised`: (result, mean, biased variance)."""
    return _forward(input, weight, bias, None, eps, relu=False)


def batch_norm_relu(input: Any, weight: Any = None, bias: Any = None, other: Any = None, eps: float = 1e-5) -> Any:
    """The op `batch_norm_relu`: with an addition and a ReLU."""
    if other is not None and (other.shape != input.shape or other.dtype != input.dtype):
        return NotImplemented
    return _forward(input, weight, bias, other, eps, relu=True)


def _forward(input: Any, weight: Any, bias: Any, other: Any, eps: float, relu: bool) -> Any:
    found = _of_batch(input)
    if found is None:
        return NotImplemented
    last, channels = channels_last(input), input.shape[1]
    x = dense(found, input, last)
    shape, per_channel = _four(x.shape), (1, channels, *(1,) * (len(_four(x.shape)) - 2))
    scale, shift = _vector(found, weight, channels, 1.0), _vector(found, bias, channels, 0.0)
    y = found.empty(x.shape, x.dtype, last)
    mean, inverse, next_mean, variance = (found.empty(channels, "float32") for _ in range(4))
    old_mean, old_variance = found.constant(0.0, (channels,)), found.constant(1.0, (channels,))
    data = Slot(shape, steps(shape, last), x.dtype.name)
    vector = Slot(per_channel, steps(per_channel, last), "float32")
    slots = [("x", data), ("scale", vector), ("bias", vector)]
    slots += [("running_mean", vector), ("running_variance", vector)]
    slots += [("eps", number(len(shape))), ("momentum", number(len(shape)))]
    operands = [x, scale, shift, old_mean, old_variance, float(eps), 1.0]
    if other is not None:
        slots.append(("other", data))
        operands.append(dense(found, other, last))
    slots += [("y", data), ("mean", vector), ("inverse", vector), ("next_mean", vector), ("next_variance", vector)]
    operands += [y, mean, inverse, next_mean, variance]
    key = ("batch_norm", shape, last, x.dtype.name, other is not None, relu)
    plan = found.plan(key, lambda: Description("batch_norm", tuple(slots), (("relu", relu),)), *operands)
    if plan is None:
        return NotImplemented
    found.run(plan, *operands)
    count = x.size // channels
    variance *= (count - 1) / count
    kept = (1, channels, *(1,) * (x.ndim - 2))
    return y, mean.reshape(kept), variance.reshape(kept)


def batch_normalised_grad(g: Any, input: Any, weight: Any, eps: float, mean: Any, var: Any, needs: Any) -> Any:
    """(dx, dweight, dbias)."""
    found = _backward(g, input, weight, eps, None, mean, var, needs)
    return found if found is NotImplemented else found[:3]


def batch_norm_relu_grad(g: Any, input: Any, weight: Any, eps: float, out: Any, mean: Any, var: Any, needs: Any) -> Any:
    """(dx, dweight, dbias, dother)."""
    return _backward(g, input, weight, eps, out, mean, var, needs)


def _backward(g: Any, input: Any, weight: Any, eps: float, out: Any, mean: Any, var: Any, needs: Any) -> Any:
    found = _of_batch(input)
    slope = g[0]
    if found is None or set(getattr(g, "given", range(len(g)))) != {0} or slope.dtype != input.dtype:
        return NotImplemented  # mean and variance were used for something else
    last, channels = channels_last(input), input.shape[1]
    x, dy = dense(found, input, last), dense(found, slope, last)
    shape, per_channel = _four(x.shape), (1, channels, *(1,) * (len(_four(x.shape)) - 2))
    inverse = 1 / found.xp.sqrt(var.reshape(-1) + eps)
    dx = found.empty(x.shape, x.dtype, last)
    dscale, dbias = (found.empty(channels, "float32") for _ in range(2))
    data = Slot(shape, steps(shape, last), x.dtype.name)
    vector = Slot(per_channel, steps(per_channel, last), "float32")
    slots = [("g", data), ("x", data), ("scale", vector), ("mean", vector), ("inverse", vector)]
    operands = [dy, x, _vector(found, weight, channels, 1.0), dense(found, mean.reshape(-1)), inverse]
    if out is not None:
        slots += [("y", data), ("zero", number(len(shape))._replace(dtype=x.dtype.name))]
        operands += [dense(found, out, last), 0.0]
    slots += [("dx", data), ("dscale", vector), ("dbias", vector)]
    operands += [dx, dscale, dbias]
    dother = None
    if out is not None and needs[3]:
        dother = found.empty(x.shape, x.dtype, last)
        slots.append(("dother", data))
        operands.append(dother)
    key = ("batch_norm.grad", shape, last, x.dtype.name, out is not None, dother is not None)
    plan = found.plan(key, lambda: Description("batch_norm.grad", tuple(slots)), *operands)
    if plan is None:
        return NotImplemented
    found.run(plan, *operands)
    kind = "float32" if weight is None else weight.dtype
    return (
        dx if needs[0] else None,
        dscale.astype(kind, copy=False) if needs[1] else None,
        dbias.astype(kind, copy=False) if needs[2] else None,
        dother,
    )


# -- layer and RMS norm -----------------------------------------------------------------------------------------------


def _rows(input: Any, normalized_shape: Any, *vectors: Any) -> Any:
    """(what computes, sizes, rows as a dense matrix); None where cuDNN is not there or does not take them."""
    found = runtime()
    sizes = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if (
        found is None
        or not settings.layer_norm
        or input.dtype.name not in FLOATS
        or not input.size
        or not sizes
        or input.shape[-len(sizes) :] != sizes
        or any(v is not None and v.shape != sizes for v in vectors)
    ):
        return None
    return found, sizes, dense(found, input).reshape(-1, math.prod(sizes))


def _row_slots(x: Any) -> tuple[Slot, Slot, Slot]:
    """Slots of the rows, of a vector along them, and of a number for each."""
    rows, width = x.shape
    shapes = ((rows, width, 1, 1), (1, width, 1, 1), (rows, 1, 1, 1))
    kinds = (x.dtype.name, "float32", "float32")
    data, vector, column = (Slot(shape, steps(shape), kind) for shape, kind in zip(shapes, kinds))
    return data, vector, column


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """The composite `layer_norm`. Keeps input, mean and inverse deviation."""
    given = _rows(input, normalized_shape, weight, bias)
    if given is None:
        return NotImplemented
    found, sizes, x = given
    data, vector, column = _row_slots(x)
    scale, shift = _vector(found, weight, x.shape[1], 1.0), _vector(found, bias, x.shape[1], 0.0)
    y, mean, inverse = found.empty(x.shape, x.dtype), *(found.empty(len(x), "float32") for _ in range(2))
    operands = (x, scale, shift, float(eps), y, mean, inverse)
    slots = (
        *(("x", data), ("scale", vector), ("bias", vector), ("eps", number(4))),
        *(("y", data), ("mean", column), ("inverse", column)),
    )
    plan = found.plan(("layer_norm", x.shape, x.dtype.name), lambda: Description("layer_norm", slots), *operands)
    if plan is None:
        return NotImplemented
    found.run(plan, *operands)
    kinds = [None if v is None else v.dtype for v in (weight, bias)]
    return y.reshape(input.shape), (x, scale, mean, inverse, sizes, kinds)


def layer_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    """(dx, dweight, dbias)."""
    x, scale, mean, inverse, sizes, kinds = residual
    found = runtime()
    if found is None or g.dtype != x.dtype:
        return NotImplemented
    data, vector, column = _row_slots(x)
    rows = dense(found, g).reshape(x.shape)
    dx, dscale, dbias = found.empty(x.shape, x.dtype), *(found.empty(x.shape[1], "float32") for _ in range(2))
    operands = (rows, x, scale, mean, inverse, dx, dscale, dbias)
    slots = (
        *(("g", data), ("x", data), ("scale", vector), ("mean", column), ("inverse", column)),
        *(("dx", data), ("dscale", vector), ("dbias", vector)),
    )
    key = ("layer_norm.grad", x.shape, x.dtype.name)
    plan = found.plan(key, lambda: Description("layer_norm.grad", slots), *operands)
    if plan is None:
        return NotImplemented
    found.run(plan, *operands)
    return (
        dx.reshape(g.shape) if needs[0] else None,
        dscale.astype(kinds[0], copy=False).reshape(sizes) if needs[1] else None,
        dbias.astype(kinds[1], copy=False).reshape(sizes) if needs[2] else None,
    )


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """The composite `rms_norm`. Keeps input and inverse root mean square."""
    given = _rows(input, normalized_shape, weight)
    if given is None:
        return NotImplemented
    found, sizes, x = given
    if eps is None:
        eps = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23}[x.dtype.name]
    data, vector, column = _row_slots(x)
    scale = _vector(found, weight, x.shape[1], 1.0)
    y, inverse = found.empty(x.shape, x.dtype), found.empty(len(x), "float32")
    operands = (x, scale, float(eps), y, inverse)
    slots = (("x", data), ("scale", vector), ("eps", number(4)), ("y", data), ("inverse", column))
    plan = found.plan(("rms_norm", x.shape, x.dtype.name), lambda: Description("rms_norm", slots), *operands)
    if plan is None:
        return NotImplemented
    found.run(plan, *operands)
    return y.reshape(input.shape), (x, scale, inverse, sizes, None if weight is None else weight.dtype)


def rms_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    """(dx, dweight)."""
    x, scale, inverse, sizes, kind = residual
    found = runtime()
    if found is None or g.dtype != x.dtype:
        return NotImplemented
    data, vector, column = _row_slots(x)
    rows = dense(found, g).reshape(x.shape)
    dx, dscale = found.empty(x.shape, x.dtype), found.empty(x.shape[1], "float32")
    operands = (rows, x, scale, inverse, dx, dscale)
    slots = (
        *(("g", data), ("x", data), ("scale", vector), ("inverse", column)),
        *(("dx", data), ("dscale", vector)),
    )
    key = ("rms_norm.grad", x.shape, x.dtype.name)
    plan = found.plan(key, lambda: Description("rms_norm.grad", slots), *operands)
    if plan is None:
        return NotImplemented
    found.run(plan, *operands)
    return (
        dx.reshape(g.shape) if needs[0] else None,
        dscale.astype(kind, copy=False).reshape(sizes) if needs[1] else None,
    )


BATCH_NORM: dict[str, Callable[..., Any]] = {
    "batch_norm_relu": batch_norm_relu,
    "batch_norm_relu.grad": batch_norm_relu_grad,
    "batch_normalised": batch_normalised,
    "batch_normalised.grad": batch_normalised_grad,
}
LAYER_NORM: dict[str, Callable[..., Any]] = {
    "layer_norm": layer_norm,
    "layer_norm.grad": layer_norm_grad,
    "rms_norm": rms_norm,
    "rms_norm.grad": rms_norm_grad,
}
for _kernel in BATCH_NORM.values():
    _kernel.partial = True  # type: ignore[attr-defined]
