"""`chainrule.backends.cuda`: PyTorch's settings of products and attention on a GPU, kept as they are set.

Attention is one composition of ops (and a kernel on the CPU), which is PyTorch's "math" form.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

__all__ = [
    "cudnn_sdp_enabled",
    "enable_cudnn_sdp",
    "enable_flash_sdp",
    "enable_math_sdp",
    "enable_mem_efficient_sdp",
    "flash_sdp_enabled",
    "is_built",
    "math_sdp_enabled",
    "matmul",
    "mem_efficient_sdp_enabled",
    "preferred_linalg_library",
    "sdp_kernel",
]

#: how products on the GPU may be rounded; CuPy asks the environment (CUPY_TF32) instead
matmul = SimpleNamespace(
    allow_tf32=False,
    allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
    allow_fp16_accumulation=False,
    fp32_precision="ieee",
)
_sdp = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}


def is_built() -> bool:
    """False: nothing here is compiled against CUDA."""
    return False


def enable_flash_sdp(enabled: bool) -> None:
    """Allow a form of attention; the math form is the one that runs."""
    _sdp["flash"] = bool(enabled)


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Allow a form of attention; the math form is the one that runs."""
    _sdp["mem_efficient"] = bool(enabled)


def enable_math_sdp(enabled: bool) -> None:
    """Allow the math form of attention, which runs in any case."""
    _sdp["math"] = bool(enabled)


def enable_cudnn_sdp(enabled: bool) -> None:
    """Allow a form of attention; the math form is the one that runs."""
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


@contextlib.contextmanager
def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True, enable_cudnn: bool = True
) -> Iterator[dict[str, bool]]:
    """Forms of attention that are allowed inside the context."""
    before = dict(_sdp)
    _sdp.update(flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient, cudnn=enable_cudnn)
    try:
        yield dict(_sdp)
    finally:
        _sdp.update(before)


def preferred_linalg_library(backend: Any = None) -> str:
    """'default': CuPy chooses."""
    return "default"
