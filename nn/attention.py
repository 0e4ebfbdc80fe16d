"""`nn.attention`: the names by which a program asks for a particular implementation of attention.

There is one implementation here per backend of arrays, so the request changes no result and no speed.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Iterator

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
    """A context in which PyTorch would compute attention by one of `backends`. Their names are checked, no more."""
    wanted = [backends] if isinstance(backends, SDPBackend) else list(backends)
    if not wanted:
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances")
    for backend in wanted:
        if not isinstance(backend, SDPBackend):
            raise AssertionError(f"Backend must be an instance of SDPBackend, not {type(backend).__name__}")
    yield
