"""In-place ReLU and addition that write in place, and become one node with a batch norm before them.

What an in-place op changes is usually a new array that a tensor takes (storage.py). Where nothing but the tensor holds
its array, the array itself can be written: no node keeps it, or it would hold it. So `relu_` and `add_` need no memory.

And where the tensor is the result of a batch norm in training, and no other tensor, node or hook has to do with that
result, then batch norm, an addition and the ReLU become the one node `batch_norm_relu`, whose backward goes over the
data once less. That is what `nn.ReLU(inplace=True)` after `nn.BatchNorm2d`, and `out += shortcut` between them, are.
Reference counts decide; where they say that anything else might look at the value in between, nothing is done here.
"""

from __future__ import annotations

import sys
from typing import Any

from .. import backends
from . import storage
from .errors import OpError
from .modes import DEFAULT, MODES
from .op import OPS
from .ops.arithmetic import add_scaled
from .plan import PICK
from .public import IN_PLACE
from .tensor import Node, Tensor

__all__ = ["LEAST", "add_into", "relu_into"]

#: elements from which it is worth looking
LEAST = 4096


class _Holder:
    def __init__(self, held: Any) -> None:
        self.held = held


def _references(holder: Any) -> int:
    held = holder.held
    return sys.getrefcount(held)


#: references to what one object holds, and a local name: their number depends on the interpreter
_ALONE = _references(_Holder(object()))


def _writable(t: Any) -> bool:
    """Whether a recorded change may write into the array of `t`, which nothing else holds."""
    if type(t) is not Tensor or t.node is None or MODES.get() is not DEFAULT or t.__dict__:
        return False
    array = t.array
    if sys.getrefcount(array) != _ALONE or getattr(array, "size", 0) < LEAST or array.dtype.kind != "f":
        return False
    backend = backends.of(array)
    return backend.writable(array) and backend.sole(array)


def _loose(node: Any) -> bool:
    """Whether nothing waits for the gradient of a node that has been found to have one reference."""
    return type(node) is Node and node.hooks is None and type(node.saved) is tuple


def relu_into(t: Any) -> bool:
    """relu_ where it can write into t's own array."""
    if not _writable(t):
        return False
    array = t.array
    backends.of(array).relu_into(array)
    t.node = _with_batch_norm(t, array) or OPS["relu"].record(array, [array], [t.node], {}).node
    return True


def add_into(t: Any, other: Any, *more: Any, alpha: Any = 1, **options: Any) -> bool:
    """add_ where it can write into t's own array."""
    if more or options or alpha != 1 or type(other) is not Tensor or other is t or not _writable(t):
        return False
    array, added = t.array, other.array
    if added.shape != array.shape or added.dtype != array.dtype:
        return False
    backends.of(array).add_into(array, added)
    t.node = OPS["add"].record(array, [array, added], [t.node, other.node or (other if other.leaf else None)], {}).node
    return True


def _with_batch_norm(t: Any, out: Any) -> Any:
    """The node of batch norm, addition (if there is one) and ReLU in one, for their result; None where it cannot be."""
    node = t.node
    if sys.getrefcount(node) != _ALONE or not _loose(node):
        return None
    pick, other = node, None
    if node.plan.op is OPS["add"]:
        pick, other = node.parents
        if sys.getrefcount(pick) != _ALONE or not _loose(pick):
            return None
        if other is not None:
            shape, dtype = (other.shape, other.dtype) if type(other) is Node else (other.array.shape, other.array.dtype)
            if shape != out.shape or dtype != out.dtype:
                return None
    if pick.plan is not PICK or pick.saved[0] != 0:
        return None
    norm = pick.parents[0]
    if sys.getrefcount(norm) != _ALONE or not _loose(norm) or norm.plan.op is not OPS["batch_normalised"]:
        return None
    if norm.serial < storage.last_write():
        try:
            storage.verify(norm)
        except OpError:  # to be raised by its backward
            return None
    kept = dict(zip(norm.plan.op.rules["input"].wants, norm.saved, strict=True))
    made = OPS["batch_norm_relu"].record(
        (out, kept["out_1"], kept["out_2"]),
        [kept["input"], kept["weight"], None, None],
        [*norm.parents, other],
        {"eps": kept["eps"]},
    )
    return made[0].node


IN_PLACE.update({OPS["relu"]: relu_into, OPS["add"].quick: add_into, add_scaled: add_into})
