"""The GPUs, under PyTorch's names: `chainrule.cuda.is_available()` and kin. CuPy is imported when one of them needs it.

Without CuPy, a driver or a device there are 0 devices; what needs one then raises RuntimeError, and what only prepares
one (`manual_seed`, `empty_cache`) does nothing, as in PyTorch.
"""

from __future__ import annotations

from ...autograd.conversion import tensor_type
from ...autograd.dtypes import bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from . import amp, devices, graphs, memory, nvtx, random, streams, tunable
from .devices import *
from .devices import CUDA as _CUDA
from .graphs import *
from .memory import *
from .random import *
from .streams import *

__all__ = [
    *(
        "BFloat16Tensor",
        "BoolTensor",
        "ByteTensor",
        "CharTensor",
        "DoubleTensor",
        "FloatTensor",
        "HalfTensor",
        "IntTensor",
        "LongTensor",
        "ShortTensor",
    ),
    *("amp", "graphs", "memory", "nvtx", "random", "streams", "tunable"),
    *devices.__all__,
    *graphs.__all__,
    *memory.__all__,
    *random.__all__,
    *streams.__all__,
]

FloatTensor = tensor_type(float32, _CUDA)
DoubleTensor = tensor_type(float64, _CUDA)
HalfTensor = tensor_type(float16, _CUDA)
BFloat16Tensor = tensor_type(bfloat16, _CUDA)
ByteTensor = tensor_type(uint8, _CUDA)
CharTensor = tensor_type(int8, _CUDA)
ShortTensor = tensor_type(int16, _CUDA)
IntTensor = tensor_type(int32, _CUDA)
LongTensor = tensor_type(int64, _CUDA)
BoolTensor = tensor_type(bool_, _CUDA)


def __getattr__(name: str) -> bool:
    """`_initialized`, which programs that keep the states of generators ask."""
    if name == "_initialized":
        return devices.is_initialized()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
