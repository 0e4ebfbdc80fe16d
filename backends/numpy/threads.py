"""How many threads NumPy's matrix products use.

NumPy's wheels bring OpenBLAS in a library of their own, which has a function for it. Another BLAS (Apple's, MKL, a
distribution's) reads its environment variable when it is loaded and is left alone. Turned down: threadpoolctl, one more
dependency for two calls.
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["get_threads", "set_threads"]


@functools.cache
def _openblas() -> tuple[Any, Any] | None:
    """OpenBLAS's functions that get and set the number of threads, where NumPy brought it along."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))
            for prefix in ("scipy_", ""):
                for suffix in ("64_", ""):
                    names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
                    if all(hasattr(library, name) for name in names):
                        return getattr(library, names[0]), getattr(library, names[1])
    return None


def get_threads() -> int:
    """The number of threads of a matrix product; where the BLAS does not say, that of the processors we may use."""
    found = _openblas()
    if found is not None:
        return int(found[0]())
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def set_threads(n: int) -> None:
    """Use `n` threads from now on, where the BLAS can be told."""
    found = _openblas()
    if found is not None:
        found[1](ctypes.c_int(n))
