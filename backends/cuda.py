"""`chainrule.backends.cuda`: PyTorch's settings of products and attention on a GPU.

Those of products are obeyed (backends/cupy/gemm.py). Those of attention say whether cuDNN's kernel, which stores no
scores, may serve on a GPU; what it does not serve is a composition of ops, PyTorch's "math" form.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = [
    "cudnn_sdp_enabled",
    "enable_cudnn_sdp",
    "enable_flash_sdp",
    "enable_math_sdp",
    "enable_mem_efficient_sdp",
    "flash_sdp_enabled",
    "fused_sdp_enabled",
    "is_built",
    "math_sdp_enabled",
    "matmul",
    "mem_efficient_sdp_enabled",
    "preferred_linalg_library",
    "sdp_kernel",
]

_REDUCED = (
    "allow_fp16_reduced_precision_reduction",
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)


class _Matmul:
    """`chainrule.backends.cuda.matmul`: how products on a GPU may be rounded.

    fp32_precision: "ieee" and "none" multiply float32 exactly to rounding, "tf32" rounds the factors to 10 bits.
    allow_tf32 is the same by its older name, and `set_float32_matmul_precision` ("high", "medium") by another.
    allow_*_reduced_precision_reduction: the parts of a long sum of 16-bit products may be added up in 16 bits;
    allow_fp16_accumulation: the sum itself may be made in float16.
    """

    def __init__(self) -> None:
        self.allow_fp16_reduced_precision_reduction = True
        self.allow_bf16_reduced_precision_reduction = True
        self.allow_fp16_accumulation = False
        self._fp32, self._precision = "none", "highest"

    @property
    def fp32_precision(self) -> str:
        return self._fp32

    @fp32_precision.setter
    def fp32_precision(self, value: str) -> None:
        if value not in ("none", "ieee", "tf32"):
            raise RuntimeError(f"backend 'cuda' does not support precision {value!r}; it has 'none', 'ieee' and 'tf32'")
        self._fp32 = value
        self._precision = "high" if value == "tf32" else "highest"

    @property
    def allow_tf32(self) -> bool:
        return self._fp32 == "tf32"

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        self.fp32_precision = "tf32" if value else "ieee"

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(self, name) and name not in _REDUCED:
            raise AttributeError(f"Unknown attribute {name}")
        object.__setattr__(self, name, value)


matmul = _Matmul()
#: whether a product of a new shape is timed with several algorithms; `chainrule.cuda.tunable` sets it
tuning = False
_sdp = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}


def is_built() -> bool:
    """False: nothing here is compiled against CUDA."""
    return False


def enable_flash_sdp(enabled: bool) -> None:
    """Allow a form of attention that stores no scores; as `enable_cudnn_sdp`, which one it is does not matter."""
    _sdp["flash"] = bool(enabled)


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Allow a form of attention that stores no scores; as `enable_cudnn_sdp`, which one it is does not matter."""
    _sdp["mem_efficient"] = bool(enabled)


def enable_math_sdp(enabled: bool) -> None:
    """Allow the math form of attention, which runs wherever no other one serves, in any case."""
    _sdp["math"] = bool(enabled)


def enable_cudnn_sdp(enabled: bool) -> None:
    """Allow a form of attention that stores no scores: cuDNN's, used in 16 bits where one of the three is allowed."""
    _sdp["cudnn"] = bool(enabled)


def flash_sdp_enabled() -> bool:
    """What `enable_flash_sdp` was given."""
    return _sdp["flash"]


def mem_efficient_sdp_enabled() -> bool:
    """What `enable_mem_efficient_sdp` was given."""
    return _sdp["mem_efficient"]


def math_sdp_enabled() -> bool:
    """What `enable_math_sdp` was given."""
    return _sdp["math"]


def cudnn_sdp_enabled() -> bool:
    """What `enable_cudnn_sdp` was given."""
    return _sdp["cudnn"]


def fused_sdp_enabled() -> bool:
    """Whether attention may be a kernel that stores no scores; not a function of PyTorch's."""
    return _sdp["flash"] or _sdp["mem_efficient"] or _sdp["cudnn"]


@contextlib.contextmanager
def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True, enable_cudnn: bool = True
) -> Iterator[dict[str, bool]]:
    """Forms of attention that are allowed inside the context: see `enable_flash_sdp` and its kin.

    enable_flash, enable_mem_efficient, enable_cudnn: where one is True, attention may be a kernel that stores no
    scores. enable_math: the math form, which runs where no other one serves, whatever this says. The context's value is
    a dictionary of what is allowed.
    """
    before = dict(_sdp)
    _sdp.update(flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient, cudnn=enable_cudnn)
    try:
        yield dict(_sdp)
    finally:
        _sdp.update(before)


def preferred_linalg_library(backend: Any = None) -> str:
    """The library that factors matrices: "default", as CuPy chooses it. backend: PyTorch's, without effect."""
    return "default"
