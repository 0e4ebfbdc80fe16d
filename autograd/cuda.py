"""The GPUs, under PyTorch's names: `chainrule.cuda.is_available()` and kin. CuPy is imported when one of them needs it.

Without CuPy, a driver or a device there are 0 devices; what needs one then raises RuntimeError, and what only prepares
one (`manual_seed`, `empty_cache`) does nothing, as in PyTorch.
"""

from __future__ import annotations

from typing import Any

from .. import backends
from .conversion import tensor_type
from .device import device
from .dtypes import bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from .random import default_generator

__all__ = [
    "BoolTensor",
    "ByteTensor",
    "CharTensor",
    "DoubleTensor",
    "FloatTensor",
    "HalfTensor",
    "IntTensor",
    "LongTensor",
    "ShortTensor",
    "current_device",
    "device",
    "device_count",
    "empty_cache",
    "is_available",
    "manual_seed",
    "manual_seed_all",
    "set_device",
    "synchronize",
]

_CUDA = device("cuda")

FloatTensor = tensor_type(float32, _CUDA)
DoubleTensor = tensor_type(float64, _CUDA)
HalfTensor = tensor_type(float16, _CUDA)
ByteTensor = tensor_type(uint8, _CUDA)
CharTensor = tensor_type(int8, _CUDA)
ShortTensor = tensor_type(int16, _CUDA)
IntTensor = tensor_type(int32, _CUDA)
LongTensor = tensor_type(int64, _CUDA)
BoolTensor = tensor_type(bool_, _CUDA)


def device_count() -> int:
    """How many GPUs there are."""
    try:
        return backends.by_device("cuda").device_count()
    except ImportError:
        return 0


def is_available() -> bool:
    """True where tensors can be put on a GPU."""
    return device_count() > 0


def _index(where: Any) -> int | None:
    return where if where is None or isinstance(where, int) else device(where).index


def current_device() -> int:
    """The index of the GPU on which tensors are made that name none."""
    return _CUDA.backend.current_device()


def set_device(device: Any) -> None:
    """Make a GPU the current one of this thread."""
    index = _index(device)
    if index is not None and index >= 0:
        _CUDA.backend.set_device(index)


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has finished what it was given."""
    _CUDA.backend.synchronize()


def empty_cache() -> None:
    """Give memory back that is held for later tensors."""
    if is_available():
        _CUDA.backend.empty_cache()


def manual_seed(seed: int) -> None:
    """Seed the GPU's default generator."""
    if is_available():
        default_generator("cuda").manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the default generators of all GPUs; they have one in common."""
    manual_seed(seed)
