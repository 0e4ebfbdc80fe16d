"""Making tensors."""

from __future__ import annotations

from typing import Any

from .. import backends
from ..backends import np
from . import storage
from .device import device as Device
from .dtypes import default_dtype, to_numpy_dtype
from .public import function
from .tensor import Tensor, wrap

__all__ = ["as_tensor", "from_numpy", "legacy_tensor", "tensor"]


def _to_array(data: Any) -> Any:
    """Host data as an array of PyTorch's dtype for it: Python floats in the default dtype, ints in int64."""
    if isinstance(data, Tensor):
        return data.array
    if isinstance(data, (np.ndarray, np.generic)):
        return data
    try:
        return np.asarray(data.__array__()) if hasattr(data, "__array__") else _from_python(data)
    except ValueError as error:
        raise ValueError(f"tensor(): {error}; nested sequences must have equal lengths") from None


def _from_python(data: Any) -> Any:
    if isinstance(data, (list, tuple)):
        data = _plain(data)
    array = np.asarray(data)
    if array.dtype == np.float64 and not _has_numpy(data):
        return array.astype(default_dtype())
    if array.dtype == object:
        raise TypeError("tensor(): the data must be numbers, in sequences of equal lengths")
    return array if array.size or array.dtype != np.float64 else array.astype(default_dtype())


def _plain(data: Any) -> Any:
    return [x.array if isinstance(x, Tensor) else _plain(x) if isinstance(x, (list, tuple)) else x for x in data]


def _has_numpy(data: Any) -> bool:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic))


def _placed(array: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    if dtype is not None:
        array = array.astype(to_numpy_dtype(dtype), copy=False)
    if device is not None:
        place = Device(device)
        array = place.backend.asarray(array, index=place.index)
    t = wrap(array, None)
    if requires_grad:
        t.requires_grad = True
    return t


@function
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A new tensor with a copy of `data` (numbers, nested sequences, a NumPy or CuPy array, a Tensor).

    dtype: default: that of the array; the default dtype for Python floats, int64 for ints, bool for bools.
    """
    array = _to_array(data)
    owner = backends.of(array)
    return _placed(owner.xp.array(array, copy=True), dtype, device, requires_grad)


@function
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, sharing its memory where it can."""
    if isinstance(data, Tensor):
        return data if dtype is None and device is None else data.to(device=device, dtype=dtype)
    array = _to_array(data)
    t = _placed(array, dtype, device, False)
    if isinstance(data, np.ndarray) and np.shares_memory(t.array, data):
        storage.share(data)
    return t


@function
def from_numpy(ndarray: Any) -> Tensor:
    """A tensor on the memory of a NumPy array: a change of one is seen in the other."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    to_numpy_dtype(ndarray.dtype)
    storage.share(ndarray)
    return wrap(ndarray, None)


def legacy_tensor(*args: Any, device: Any = None) -> Tensor:
    """`Tensor(2, 3)`: uninitialised, of that shape; `Tensor(data)`: the data in the default dtype."""
    if len(args) == 1 and not isinstance(args[0], int):
        data = args[0]
        if isinstance(data, Tensor):
            return data.detach()
        return _placed(_to_array(data), default_dtype(), device, False)
    return _placed(np.empty(args or (0,), default_dtype()), None, device, False)
