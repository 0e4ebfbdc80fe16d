"""How many threads share the work of the CPU: our own (compiled/pool.py) and those of NumPy's matrix products.

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

__all__ = ["ALONE", "blas_function", "get_threads", "set_threads"]

_count = 0


@functools.cache
def _library() -> tuple[Any, str, str] | None:
    """OpenBLAS, where NumPy brought it along, with what the names of its functions begin and end with."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))
            for prefix in ("scipy_", ""):
                for suffix in ("64_", ""):
                    names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
                    if all(hasattr(library, name) for name in names):
                        return library, prefix, suffix
    return None


@functools.cache
def _openblas() -> tuple[Any, Any] | None:
    """OpenBLAS's functions that get and set the number of threads."""
    found = _library()
    if found is None:
        return None
    library, prefix, suffix = found
    get, put = (getattr(library, f"{prefix}openblas_{verb}_num_threads{suffix}") for verb in ("get", "set"))
    put.argtypes, put.restype = [ctypes.c_int], None
    return get, put


def blas_function(name: str) -> int | None:
    """The address of one of OpenBLAS's functions, where it takes sizes as int64."""
    found = _library()
    if found is None or found[2] != "64_" or not hasattr(found[0], f"{found[1]}{name}64_"):
        return None
    return ctypes.cast(getattr(found[0], f"{found[1]}{name}64_"), ctypes.c_void_p).value


def get_threads() -> int:
    """The number of threads; at first what the BLAS was told by the environment, or the processors that we may use."""
    global _count
    if not _count:
        found, affinity = _openblas(), getattr(os, "sched_getaffinity", None)
        _count = int(found[0]()) if found else len(affinity(0)) if affinity else os.cpu_count() or 1
    return _count


def set_threads(n: int) -> None:
    """Use `n` threads from now on, in the BLAS as well where it can be told."""
    global _count
    _count = n
    found = _openblas()
    if found is not None:
        found[1](n)


class _Alone:
    """`with ALONE:` OpenBLAS stays in the thread that calls it."""

    def __enter__(self) -> None:
        found = _openblas()
        if found is not None:
            found[1](1)

    def __exit__(self, *_: object) -> None:
        found = _openblas()
        if found is not None:
            found[1](get_threads())


ALONE = _Alone()
