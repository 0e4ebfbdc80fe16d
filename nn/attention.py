"""`nn.attention`: the names by which a program asks for a particular implementation of attention.

On the CPU there is one implementation, so the request changes nothing. On a GPU it says whether attention in 16 bits
may be cuDNN's, which stores no scores and with dropout has first derivatives alone, or has to be the math form.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Iterator

from ..autograd.ops.attention import sdp_kernel

__all__ = ["SDPBackend", "sdpa_kernel"]


class SDPBackend(enum.Enum):
    """PyTorch's implementations of scaled_dot_product_attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextlib.contextmanager
def sdpa_kernel(backends: SDPBackend | Iterable[SDPBackend], set_priority: bool = False) -> Iterator[None]:
    """A context in which attention is computed by one of `backends`: by one kernel, unless MATH stands alone.

    set_priority: PyTorch's, without effect.
    """
    wanted = [backends] if isinstance(backends, SDPBackend) else list(backends)
    if not wanted:
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances")
    for backend in wanted:
        if not isinstance(backend, SDPBackend):
            raise AssertionError(f"Backend must be an instance of SDPBackend, not {type(backend).__name__}")
    with sdp_kernel(
        enable_flash=SDPBackend.FLASH_ATTENTION in wanted,
        enable_math=SDPBackend.MATH in wanted,
        enable_mem_efficient=SDPBackend.EFFICIENT_ATTENTION in wanted,
        enable_cudnn=SDPBackend.CUDNN_ATTENTION in wanted,
    ):
        yield
