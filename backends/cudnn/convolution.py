"""The ops `conv`, `conv_input` and `conv_weight` by cuDNN: convolution, and its gradients for input and weight.

Results lie channels last in memory where the data do, or the weight. The weight, the smallest of the three, is copied
into the data's order where it lies in the other; so is a gradient into its input's. 16-bit data in order are transposed
by cuDNN itself, through its workspace (600 MB for ResNet-50 at 256 images): let them lie channels last.

float16, bfloat16 and float32 (by the tensor cores where `allow_tf32`) are added up in float32. What cuDNN does not
support comes back as NotImplemented, and windows.py computes it. It has not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .graphs import Description, Slot
from .layouts import channels_last, dense, steps
from .plans import runtime

__all__ = ["CONVOLUTION", "room"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
Pairs = tuple[tuple[int, int], ...]


# -- geometry ---------------------------------------------------------------------------------------------------------


def room(size: Any, kernel: Any, out: Any, stride: Any, padding: Any, dilation: Any) -> Pairs | None:
    """Zeros before and after each dimension, from which cuDNN finds just `out` outputs; None where it had to crop.

    Of the paddings that read the same windows the symmetric one is taken, for which there are more kernels.
    """
    found = []
    for n, k, p, s, (before, _), d in zip(size, kernel, out, stride, padding, dilation):
        extent = (p - 1) * s + d * (k - 1) + 1  # of all windows together
        fits = [after for after in (before, max(extent - n - before, 0)) if 0 <= n + before + after - extent < s]
        if before < 0 or not fits:
            return None
        found.append((before, fits[0]))
    return tuple(found)


def out_size(size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[int, ...]:
    """The size of a convolution's result."""
    return tuple(
        [(n + b + a - d * (k - 1) - 1) // s + 1 for n, k, s, (b, a), d in zip(size, kernel, stride, padding, dilation)]
    )


def _cropped(x: Any, kernel: Any, out: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Any, Pairs | None]:
    """x and its padding, without what no window reads, where that is needed."""
    found = room(x.shape[2:], kernel, out, stride, padding, dilation)
    if found is not None:
        return x, found
    read = [slice(None), slice(None)]
    pairs = []
    for n, k, p, s, (before, _), d in zip(x.shape[2:], kernel, out, stride, padding, dilation):
        end = (p - 1) * s + d * (k - 1) + 1 - before
        read.append(slice(max(-before, 0), max(min(end, n), 0)))
        pairs.append((max(before, 0), 0))
    x = x[tuple(read)]
    return x, room(x.shape[2:], kernel, out, stride, pairs, dilation) if x.size else None


def _slot(shape: Any, dtype: Any, last: bool, flat: bool = False) -> Slot:
    """The slot of a dense array; one spatial dimension (`flat`) gets another of size 1 before it."""
    shape = tuple(shape)
    found = steps(shape, last)
    if flat:
        # the step of a dimension of size 1 is what keeps the order of the others
        shape, found = (*shape[:2], 1, shape[2]), (*found[:2], shape[2] * found[2], found[2])
    return Slot(shape, found, str(dtype))


def _options(stride: Any, pairs: Pairs, dilation: Any) -> tuple[tuple[str, Any], ...]:
    flat = len(stride) == 1
    return (
        ("padding", ((0, 0), *pairs) if flat else tuple(pairs)),
        ("stride", (1, *stride) if flat else tuple(stride)),
        ("dilation", (1, *dilation) if flat else tuple(dilation)),
    )


def _serves(*arrays: Any) -> Any:
    """What computes; None where cuDNN is not there or does not take such arrays."""
    found = runtime()
    first = arrays[0]
    if found is None or first.dtype.name not in FLOATS or not 3 <= first.ndim <= 5:
        return None
    if any(a is not None and (a.dtype != first.dtype or not a.size) for a in arrays):
        return None
    return found


def _described(kind: str, slots: Any, stride: Any, pairs: Pairs, dilation: Any) -> Description:
    return Description(kind, tuple(slots), _options(stride, pairs, dilation))


# -- the ops ----------------------------------------------------------------------------------------------------------


def conv(input: Any, weight: Any, bias: Any = None, stride=(1,), padding=((0, 0),), dilation=(1,), groups=1) -> Any:
    """y[n, o, p] = Σ_c Σ_i x[n, c, p·stride + i·dilation - before] w[o, c, i] + b[o]; the bias in the same kernel."""
    found = _serves(input, weight, bias)
    if found is None:
        return NotImplemented
    kernel = weight.shape[2:]
    size = out_size(input.shape[2:], kernel, stride, padding, dilation)
    x, pairs = _cropped(input, kernel, size, stride, padding, dilation)
    if pairs is None or min(size) < 1:
        return NotImplemented
    last = channels_last(x) or channels_last(weight)
    x, w = dense(found, x, last), dense(found, weight, last)
    shape, flat, dtype = (x.shape[0], w.shape[0], *size), x.ndim == 3, x.dtype.name
    y = found.empty(shape, x.dtype, last)

    def describe(with_bias: bool) -> Description:
        slots = [("x", _slot(x.shape, dtype, last, flat)), ("w", _slot(w.shape, dtype, last, flat))]
        if with_bias:
            one = (1, shape[1], *(1,) * len(size))
            slots.append(("b", _slot(one, dtype, last, flat)))
        return _described("conv", [*slots, ("y", _slot(shape, dtype, last, flat))], stride, pairs, dilation)

    key = ("conv", x.shape, w.shape, last, dtype, stride, pairs, dilation)
    if bias is not None:
        b = dense(found, bias)
        plan = found.plan((*key, "bias"), lambda: describe(True), x, w, b, y)
        if plan is not None:
            found.run(plan, x, w, b, y)
            return y
    plan = found.plan(key, lambda: describe(False), x, w, y)
    if plan is None:
        return NotImplemented
    found.run(plan, x, w, y)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * len(size))
    return y


def conv_input(grad: Any, weight: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The gradient of `conv` for its input, which is the transposed convolution."""
    found = _serves(grad, weight)
    pairs = room(size, weight.shape[2:], grad.shape[2:], stride, padding, dilation)
    if found is None or pairs is None or min(size) < 1:
        return NotImplemented
    last = channels_last(grad) or channels_last(weight)
    y, w = dense(found, grad, last), dense(found, weight, last)
    shape, flat, dtype = (y.shape[0], w.shape[1] * groups, *size), y.ndim == 3, y.dtype.name
    x = found.empty(shape, y.dtype, last)

    def describe() -> Description:
        slots = zip("ywx", (y.shape, w.shape, shape))
        named = [(name, _slot(s, dtype, last, flat)) for name, s in slots]
        return _described("conv_input", named, stride, pairs, dilation)

    key = ("conv_input", y.shape, w.shape, shape, last, dtype, stride, pairs, dilation)
    plan = found.plan(key, describe, y, w, x)
    if plan is None:
        return NotImplemented
    found.run(plan, y, w, x)
    return x


def conv_weight(input: Any, grad: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The gradient of `conv` for its weight."""
    found = _serves(input, grad)
    if found is None:
        return NotImplemented
    kernel = tuple(kernel)
    x, pairs = _cropped(input, kernel, grad.shape[2:], stride, padding, dilation)
    if pairs is None:
        return NotImplemented
    last = channels_last(x) or channels_last(grad)
    x, y = dense(found, x, last), dense(found, grad, last)
    shape, flat, dtype = (y.shape[1], x.shape[1] // groups, *kernel), x.ndim == 3, x.dtype.name
    w = found.empty(shape, x.dtype, last)

    def describe() -> Description:
        slots = zip("xyw", (x.shape, y.shape, shape))
        named = [(name, _slot(s, dtype, last, flat)) for name, s in slots]
        return _described("conv_weight", named, stride, pairs, dilation)

    key = ("conv_weight", x.shape, y.shape, shape, last, dtype, stride, pairs, dilation)
    plan = found.plan(key, describe, x, y, w)
    if plan is None:
        return NotImplemented
    found.run(plan, x, y, w)
    return w


CONVOLUTION: dict[str, Callable[..., Any]] = {"conv": conv, "conv_input": conv_input, "conv_weight": conv_weight}
for _kernel in CONVOLUTION.values():
    _kernel.partial = True  # type: ignore[attr-defined]
