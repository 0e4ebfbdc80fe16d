"""chainrule: a reverse-mode automatic-differentiation tensor engine on NumPy and CuPy, with PyTorch's names."""

import gc as _gc
import importlib as _importlib
import sys as _sys
from math import e, inf, nan, pi

# All that the import makes, it keeps: looking for garbage meanwhile is a twentieth of its time.
_collecting = _gc.isenabled()
_gc.disable()

from . import autograd
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
    cuda,
    device,
    dtype,
    enable_grad,
    finfo,
    float16,
    float32,
    float64,
    func,
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
)
from .autograd.attributes import layout
from .autograd.dtypes import bool_ as bool
from .autograd.dtypes import cdouble, cfloat, double, half, long, short
from .autograd.dtypes import float_ as float
from .autograd.dtypes import int_ as int

if _collecting:
    _gc.enable()

__version__ = "0.1.0"
newaxis = None

globals().update(_functions)  # the ops' functions: add, matmul, ...
_sys.modules.update({f"{__name__}.{name}": globals()[name] for name in ("cuda", "func", "linalg")})
vmap = func.vmap
_PACKAGES = ("nn", "optim", "utils", "models", "testing")

__all__ = sorted(name for name in globals() if not name.startswith("_"))


def __getattr__(name: str) -> object:
    """The packages above the engine, imported when a program names one, and the generator that draws now."""
    if name in _PACKAGES:
        return _importlib.import_module(f".{name}", __name__)
    if name == "default_generator":
        return random.default_generator()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _autograd_name(name: str) -> object:
    """PyTorch has `gradcheck` in autograd; it is imported from the testing kit, which stands above the engine."""
    if name in ("gradcheck", "gradgradcheck"):
        return getattr(_importlib.import_module(".testing", __name__), name)
    raise AttributeError(f"module {autograd.__name__!r} has no attribute {name!r}")


vars(autograd)["__getattr__"] = _autograd_name
