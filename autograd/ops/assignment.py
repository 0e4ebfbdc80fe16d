"""What puts other values, another device or another owner under a tensor: `fill_`, `zero_`, `copy_`, `to` a device.

As ops they give the value the gradient and the overwritten tensor zeros, so a recorded `zero_()` keeps the tensor in
the graph, as in PyTorch. Without recording they write into the memory.
"""

from __future__ import annotations

from typing import Any

from .. import storage
from ..complexes import is_complex
from ..device import device_of, move
from ..dtypes import differentiable
from ..errors import OpError
from ..modes import MODES
from ..op import op
from ..public import function
from ..tensor import Tensor, method

__all__ = ["copy", "fill", "overwrite", "to_device"]


@op(broadcast=True)
def copy(xp, input, src):
    """`src`, broadcast to the shape of `input` and in its dtype. The gradient of `input` is zero."""
    out = xp.empty_like(input)
    out[...] = src
    return out


@copy.grad("input")
def _(F, g):
    return F.zeros_of(g, shape=g.shape, dtype=g.dtype)


@copy.grad("src")
def _(F, g):
    return g


@op(broadcast=True)
def fill(xp, input, value):
    """A tensor like `input` filled with `value`, a number or a 0-d tensor. The gradient of `input` is zero."""
    out = xp.empty_like(input)
    out[...] = value
    return out


@fill.grad("input")
def _(F, g):
    return F.zeros_of(g, shape=g.shape, dtype=g.dtype)


@fill.grad("value")
def _(F, g):
    return g


@op
def to_device(xp, input, /, device, source, non_blocking=False):
    """`input` on another device; `source` is the device that it is on, to which its gradient goes back.

    non_blocking: the host need not wait for a copy from pinned memory to a GPU.
    """
    storage.note_crossing()
    return move(input, device, non_blocking)


@to_device.grad("input")
def _(F, g, device, source):
    return F.to_device(g, device=source, source=device)


def overwrite(t: Tensor, values: Any, name: str) -> Tensor:
    """Put an array, a number or a Tensor in the place of all of t's values, as the in-place op `name` does."""
    recording = MODES.get().grad
    gradients = isinstance(values, Tensor) and values.requires_grad and differentiable(t.array.dtype)
    if recording and (t.requires_grad or gradients):
        storage.check_assignable(t, t, name, recording)
        made = fill if isinstance(values, (bool, int, float, complex)) else copy
        return storage.assign(t, made(t, values), name, recording)
    storage.write(t, values.array if isinstance(values, Tensor) else values)
    return t


@method
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Put the values of `src`, broadcast and in this tensor's dtype, in the place of this tensor's."""
    if isinstance(src, (bool, int, float, complex)):
        return overwrite(self, _filling(self, src), "copy_")
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
    have, given = tuple(self.array.shape), tuple(src.array.shape)
    if len(given) > len(have) or any(n not in (1, m) for n, m in zip(given[::-1], have[::-1], strict=False)):
        raise OpError(
            f"copy_: output with shape {list(have)} doesn't match the broadcast shape, the source has {list(given)}"
        )
    here, there = device_of(self.array), device_of(src.array)
    if here != there:
        src = to_device(src, device=here, source=there, non_blocking=non_blocking)
    if is_complex(src.array) and not is_complex(self.array):
        src = src.to(self.dtype)  # which says what is lost
    return overwrite(self, src, "copy_")


def _filling(self: Tensor, value: Any) -> Any:
    """The value of a fill as a number that the dtype can take, or a 0-d Tensor."""
    from ..creation import check_value

    if not isinstance(value, Tensor):
        return check_value(value, self.array.dtype)
    if value.array.ndim:
        raise OpError(f"fill only supports a 0-dimension value tensor, got one with {value.array.ndim} dimensions")
    return value if value.requires_grad else check_value(value, self.array.dtype)


@method
def fill_(self: Tensor, value: Any) -> Tensor:
    """Set all elements to `value`, a number or a 0-d tensor."""
    return overwrite(self, _filling(self, value), "fill_")


@function(name="fill")
def _fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like `input` whose elements are all `value`, a number or a 0-d tensor."""
    return fill(input, _filling(input, value))


@method
def zero_(self: Tensor) -> Tensor:
    """Set all elements to 0."""
    return overwrite(self, 0, "zero_")


@method
def apply_(self: Tensor, callable: Any) -> Tensor:
    """Replace each element x by callable(x), one by one, on the CPU alone: slow. For tensors outside the graph."""
    return _elementwise(self, "apply_", callable)


@method
def map_(self: Tensor, tensor: Tensor, callable: Any) -> Tensor:
    """Replace each element x by callable(x, y), with the element y of `tensor`, one by one, on the CPU alone: slow."""
    if tensor.requires_grad and MODES.get().grad:
        raise OpError("map_(): can't record a Python function; use ops, or detach() the tensor")
    return _elementwise(self, "map_", callable, tensor.expand(self.array.shape).tolist())


def _elementwise(t: Tensor, name: str, function: Any, *others: Any) -> Tensor:
    if t.requires_grad and MODES.get().grad:
        raise OpError(f"{name}(): can't record a Python function; use ops, or detach() the tensor")
    if t.device.type != "cpu":
        raise TypeError(f"{name} is only implemented on CPU tensors")

    def each(*values: Any) -> Any:
        return [each(*v) for v in zip(*values, strict=True)] if isinstance(values[0], list) else function(*values)

    from ..creation import tensor

    values = each(t.tolist(), *others)
    storage.write(t, tensor(values, dtype=t.dtype).array.reshape(t.array.shape))
    return t
