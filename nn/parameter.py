"""Parameters and buffers: tensors that a module owns."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor, storage
from ..autograd.attributes import set_requires_grad
from ..autograd.creation import legacy_tensor
from ..autograd.serialization import PARAMETER
from ..autograd.tensor import plain_results

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


def _on_memory_of(cls: Any, data: Any) -> Any:
    """A tensor of class `cls` on the memory of `data`."""
    data = legacy_tensor() if data is None else data
    if not isinstance(data, Tensor):
        raise TypeError(f"{cls.__name__}() takes a Tensor, not {type(data).__name__}")
    storage.as_memory(data)
    self = object.__new__(cls)
    self.array, self.node, self.leaf, self._grad = data.array, None, False, None
    return self


class Parameter(Tensor):
    """A tensor that a module trains: as an attribute of a `Module` it appears in `parameters()`.

    It shares the memory of `data`. `requires_grad` says whether it is trained.
    """

    __torch_function__ = plain_results  # type: ignore[assignment]

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Any:
        """See the class."""
        self = _on_memory_of(cls, data)
        set_requires_grad(self, requires_grad)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (type(self), self.data, self.requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{Tensor.__repr__(self)}"


PARAMETER.append(Parameter)  # files keep them apart from other tensors


class Buffer(Tensor):
    """A tensor `data` that belongs to a module's state and is not trained.

    `persistent`: it is in the module's `state_dict`.
    """

    persistent = True
    __torch_function__ = plain_results  # type: ignore[assignment]

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        """See the class."""
        self = _on_memory_of(cls, data)
        self.persistent = persistent
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.data.clone(), persistent=self.persistent)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild_buffer, (type(self), self.data, self.persistent)


def _rebuild(cls: Any, data: Tensor, requires_grad: bool) -> Any:
    return cls(data, requires_grad)


def _rebuild_buffer(cls: Any, data: Tensor, persistent: bool) -> Any:
    return cls(data, persistent=persistent)


class _Uninitialized:
    """What tensors without a shape have in common: their memory comes later, and they stay the same object."""

    cls_to_become: Any

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        self = _on_memory_of(cls, legacy_tensor(0).to(device=device, dtype=dtype))
        self.leaf = requires_grad and cls.cls_to_become is Parameter
        return self

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become a tensor of `shape`, with memory that is not initialised yet."""
        this: Any = self
        empty = this.data.new_empty(shape)
        this.data = empty if device is None and dtype is None else empty.to(device=device, dtype=dtype)
        this.__class__ = self.cls_to_become

    def numel(self) -> int:
        """ValueError, as in PyTorch: a count of parameters would be wrong."""
        raise ValueError(
            "Attempted to use an uninitialized parameter: it has no elements yet. Call the lazy module once before"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        this: Any = self
        if id(self) not in memo:
            memo[id(self)] = type(this)(this.requires_grad, this.device, this.dtype)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        this: Any = self
        return type(this), (this.requires_grad, this.device, this.dtype)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):  # type: ignore[misc]
    """A parameter whose shape is not known until the first forward of its lazy module."""

    cls_to_become = Parameter


class UninitializedBuffer(_Uninitialized, Buffer):  # type: ignore[misc]
    """A buffer whose shape is not known until the first forward of its lazy module."""

    cls_to_become = Buffer


def is_lazy(t: Any) -> bool:
    """True for a parameter or buffer that has no shape yet."""
    return isinstance(t, _Uninitialized)
