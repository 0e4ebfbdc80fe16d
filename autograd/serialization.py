"""Pickling and copying of tensors.

A pickle holds the data as a NumPy array, the device's name and `requires_grad`; a tensor that ops made comes back as a
leaf, as in PyTorch. Views come back on memory of their own. Turned down: one pickled storage under all its views, which
would write a whole data set for a slice of it.
"""

from __future__ import annotations

import copy
from typing import Any

from .. import backends
from . import storage
from .creation import to_array
from .device import device, device_of, move
from .errors import OpError
from .tensor import Tensor, method, wrap

__all__ = ["rebuild"]

#: what belongs to the tensor's place in the graph, not to the tensor
_PLACE = {"after_hooks", "chain", "family", "hooks", "_retains"}


def _extras(t: Tensor) -> dict[str, Any]:
    """Attributes that a user or a subclass set."""
    return {k: v for k, v in vars(t).items() if k not in _PLACE}


def rebuild(kind: type, data: Any, place: str, requires_grad: bool, extras: dict[str, Any]) -> Tensor:
    """The tensor that a pickle describes."""
    t = wrap(move(to_array(data), device(place)), None)
    if kind is not Tensor:
        t = _as(kind, t)
    t.leaf = requires_grad
    vars(t).update(extras)
    return t


def _as(kind: type, t: Tensor) -> Tensor:
    """An instance of a subclass on the same array."""
    made: Tensor = object.__new__(kind)
    made.array, made.node, made.leaf, made._grad = t.array, None, t.leaf, None
    return made


@method
def __reduce_ex__(self: Tensor, protocol: Any) -> Any:
    storage.as_memory(self)
    data = backends.of(self.array).to_host(self.array)
    return rebuild, (type(self), data, str(device_of(self.array)), self.requires_grad, _extras(self))


@method
def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if self.node is not None:
        raise OpError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment; "
            "copy t.detach(), or use t.clone() to stay in the graph"
        )
    if id(self) in memo:
        return memo[id(self)]
    t = _as(type(self), wrap(self.array.copy(), None))
    t.leaf = self.leaf
    memo[id(self)] = t
    if self.grad is not None:
        t.grad = copy.deepcopy(self.grad, memo)
    vars(t).update(copy.deepcopy(_extras(self), memo))
    return t
