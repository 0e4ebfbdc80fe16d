"""`chainrule.backends.cudnn`: NVIDIA's library of kernels for the GPU, and PyTorch's settings of it.

Convolutions, normalisation and attention are graphs (graphs.py) built by nvidia-cudnn-frontend and kept as plans
(plans.py); recurrent layers are calls of the library's older interface (recurrent.py). Whatever cuDNN does not serve,
and everything where it is not installed (the extras `cudnn12` and `cudnn13`), falls back: convolutions to gathered
windows and matrix products (windows.py), norms to kernels of our own, the rest to the compositions of ops.

No module here imports CuPy: what to run on is handed to plans.py by the CuPy backend, so tests run every kernel on
NumPy arrays with a stand-in for the library that computes what a graph describes (tests/cudnn_stand_in.py).
It has not run on a GPU yet; `make test-cudnn-static` builds its graphs for an H100 without one.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

__all__ = [
    "allow_tf32",
    "batch_norm",
    "benchmark",
    "benchmark_limit",
    "deterministic",
    "enabled",
    "flags",
    "is_acceptable",
    "is_available",
    "layer_norm",
    "version",
]

#: False: no kernel of cuDNN's is used
enabled = True
#: True: of the plans for a new shape, the quickest of `benchmark_limit` is taken, by running them; False: the first
benchmark = False
#: None or 0: all of them
benchmark_limit: int | None = 10
#: True: only kernels that give the same bits each time
deterministic = False
#: True: batch norm in training by cuDNN; False: by our kernels. Not a setting of PyTorch's, as the next
batch_norm = True
#: True: layer and RMS norm by cuDNN; False: by our kernels
layer_norm = False
#: True: float32 convolutions may round their factors to 10 bits for the tensor cores
allow_tf32 = True


def is_available() -> bool:
    """True where cuDNN is installed with its frontend, and CuPy finds a GPU for it."""
    from .library import why_not

    return not why_not()


def version() -> int | None:
    """The version as one number, 91900 for 9.19.0; None where the library is not installed."""
    from .library import library

    found = library()
    return None if found is None else int(found.backend_version())


def is_acceptable(tensor: Any) -> bool:
    """True for a tensor of a dtype that cuDNN computes in, on a GPU, where cuDNN is available and enabled."""
    kind = str(tensor.dtype).rpartition(".")[2]
    return enabled and tensor.is_cuda and kind in ("float16", "bfloat16", "float32", "float64") and is_available()


@contextlib.contextmanager
def flags(
    enabled: bool = False,
    benchmark: bool = False,
    benchmark_limit: int = 10,
    deterministic: bool = False,
    allow_tf32: bool = True,
) -> Iterator[None]:
    """Settings of this module that hold inside the context, those that are left out with the defaults shown.

    enabled: cuDNN's kernels may be used. benchmark: of the plans for a new shape the quickest of `benchmark_limit` (0:
    of all) is taken, by running them. deterministic: only kernels that give the same bits each time. allow_tf32:
    float32 convolutions may round their factors to 10 bits.
    """
    now = vars(sys.modules[__name__])
    given = {
        "enabled": enabled,
        "benchmark": benchmark,
        "benchmark_limit": benchmark_limit,
        "deterministic": deterministic,
        "allow_tf32": allow_tf32,
    }
    before = {name: now[name] for name in given}
    now.update(given)
    try:
        yield
    finally:
        now.update(before)
