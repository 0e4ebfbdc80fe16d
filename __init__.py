"""chainrule: a reverse-mode automatic-differentiation tensor engine on NumPy and CuPy, with PyTorch's names."""

import gc as _gc
import sys as _sys
import typing as _typing
from math import e, inf, nan, pi

# All that the import makes, it keeps: looking for garbage meanwhile is a twentieth of its time.
_collecting = _gc.isenabled()
_gc.disable()

from . import aliases as _aliases
from . import autograd, backends
from .autograd import FUNCTIONS as _functions
from .autograd import (
    BFloat16Tensor,
    BoolTensor,
    ByteTensor,
    CharTensor,
    DoubleTensor,
    FloatTensor,
    Generator,
    HalfTensor,
    IntTensor,
    LongTensor,
    ShortTensor,
    Size,
    Tensor,
    bfloat16,
    can_cast,
    channels_last,
    channels_last_3d,
    complex64,
    complex128,
    contiguous_format,
    device,
    dtype,
    enable_grad,
    finfo,
    float16,
    float32,
    float64,
    get_default_device,
    get_default_dtype,
    get_num_threads,
    grad,
    iinfo,
    inference_mode,
    int8,
    int16,
    int32,
    int64,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    linalg,
    memory_format,
    no_grad,
    preserve_format,
    promote_types,
    random,
    result_type,
    set_default_device,
    set_default_dtype,
    set_grad_enabled,
    set_num_threads,
    strided,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .autograd.attributes import layout
from .autograd.capture import CaptureError
from .autograd.dtypes import bool_ as bool
from .autograd.dtypes import cdouble, cfloat, double, half, long, short
from .autograd.dtypes import float_ as float
from .autograd.dtypes import int_ as int

if _typing.TYPE_CHECKING:  # late names, for editors
    from .autograd import func
    from .autograd.func import vmap
    from .torch_version import __version__

if _collecting:
    if (
        not _gc.get_freeze_count()
    ):  # by way of the frozen ones what was made is old at once, without a look at all of it
        _gc.freeze()
        _gc.unfreeze()
    _gc.enable()

newaxis = None

globals().update(_functions)  # the ops' functions: add, matmul, ...
_aliases.install(autograd, backends)
_attribute = _aliases.attribute("")

__all__ = sorted({*(name for name in globals() if not name.startswith("_")), *_aliases.top_names()} - {"aliases"})


def __getattr__(name: str) -> object:
    """The generator that draws now; packages above the engine and PyTorch's late names, imported when first used."""
    if name == "torch":  # torch.torch.Tensor stands in annotations, for PyTorch's package imports itself
        return _sys.modules[__name__]
    return random.default_generator if name == "default_generator" else _attribute(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_aliases.top_modules()})
