"""What a Tensor says of itself: shape, dtype, device, place in the graph; and its way to NumPy and Python."""

from __future__ import annotations

from typing import Any

from .. import backends
from . import storage
from .device import device_of
from .dtypes import from_numpy_dtype, is_floating
from .errors import OpError
from .tensor import Node, Tensor, method, wrap

__all__ = ["Size"]


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple that can count its elements."""

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        total = 1
        for n in self:
            total *= n
        return total

    def __repr__(self) -> str:
        return f"chainrule.Size({list(self)})"

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: Any) -> Size:
        return Size(super().__add__(tuple(other)))


def _property(f: Any) -> Any:
    setattr(Tensor, f.__name__, property(f))
    return f


@_property
def shape(self: Tensor) -> Size:
    """The sizes of the dimensions."""
    return Size(self.array.shape)


Tensor.dtype = property(lambda self: from_numpy_dtype(self.array.dtype), doc="The element type.")  # type: ignore[attr-defined]
Tensor.device = property(lambda self: device_of(self.array), doc="Where the data lives.")  # type: ignore[attr-defined]


@_property
def ndim(self: Tensor) -> int:
    """The number of dimensions."""
    return self.array.ndim


@_property
def requires_grad(self: Tensor) -> bool:
    """True where gradients flow to this tensor. Setting it is for leaves."""
    return self.leaf or self.node is not None


def _set_requires_grad(self: Tensor, value: bool) -> None:
    if self.node is not None:
        if not value:
            raise OpError("you can only change requires_grad flags of leaf variables; use detach() for a tensor without history")
        return
    if value and not is_floating(self.array.dtype):
        raise OpError(f"only Tensors of floating point dtype can require gradients, not {self.array.dtype}")
    self.leaf = bool(value)


Tensor.requires_grad = Tensor.requires_grad.setter(_set_requires_grad)  # type: ignore[attr-defined]


@method
def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Set `requires_grad` and return the tensor."""
    _set_requires_grad(self, requires_grad)
    return self


@_property
def is_leaf(self: Tensor) -> bool:
    """True where no op made this tensor from others that require grad."""
    return self.node is None


@_property
def grad_fn(self: Tensor) -> Node | None:
    """The node that made this tensor."""
    return self.node


@method
def detach(self: Tensor) -> Tensor:
    """The same memory, outside the graph."""
    storage.as_memory(self)
    result = wrap(self.array, None)
    storage.link_detached(self, result)
    return result


def _data(self: Tensor) -> Tensor:
    return detach(self)


def _set_data(self: Tensor, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
    storage.as_memory(value)
    self.array = value.array
    self.family, self.chain = None, ()


Tensor.data = property(_data, _set_data, doc="This tensor's memory outside the graph; setting it gives the tensor other data.")  # type: ignore[attr-defined]


@method
def numpy(self: Tensor, *, force: bool = False) -> Any:
    """The data as a NumPy array that shares memory with this tensor. RuntimeError where it requires grad, unless `force`."""
    if self.requires_grad and not force:
        raise OpError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    backend = backends.of(self.array)
    if backend.device_of(self.array)[0] != "cpu":
        if not force:
            raise TypeError(f"can't convert {self.device} tensor to numpy. Use Tensor.cpu() to copy it to the host first.")
        return backend.to_host(self.array)
    storage.as_memory(self)
    storage.share(self.array, kept=True)
    return self.array[...]


@method
def item(self: Tensor) -> Any:
    """The one element as a Python number."""
    if self.array.size != 1:
        raise OpError(f"a Tensor with {self.array.size} elements cannot be converted to Scalar")
    return self.array.item()


@method
def tolist(self: Tensor) -> Any:
    """The data as nested lists of Python numbers."""
    return backends.of(self.array).to_host(self.array).tolist()


@method
def backward(
    self: Tensor,
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate gradients into `.grad` of the leaves behind this tensor. See `chainrule.autograd.backward`."""
    from . import tape

    tape.backward((self,), None if gradient is None else (gradient,), retain_graph, create_graph, inputs)
