"""PyTorch's path to extensions in C++ and CUDA: there are none here, and programs that can do without are told so."""

from __future__ import annotations

from typing import Any

__all__ = ["CUDA_HOME", "ROCM_HOME", "include_paths", "is_ninja_available", "library_paths", "load", "load_inline"]

#: no compiler of device code is looked for
CUDA_HOME = ROCM_HOME = None


def load(name: str, sources: Any, **options: Any) -> Any:
    """RuntimeError, as of a compiler that fails: extensions are written against PyTorch's own tensors.

    name, sources, options: PyTorch's.
    """
    raise RuntimeError(
        f"Error building extension {name!r}: extensions in C++ and CUDA are written against PyTorch's tensors. Take "
        "the program's way without it, or write the op in Python (autograd.Function, library.custom_op)"
    )


def load_inline(name: str, cpp_sources: Any, **options: Any) -> Any:
    """`load` of sources that are given as text: a RuntimeError. name, cpp_sources, options: PyTorch's."""
    return load(name, cpp_sources)


def is_ninja_available() -> bool:
    """False: nothing is built."""
    return False


def include_paths(*args: Any, **options: Any) -> list[str]:
    """Folders of headers: none. args, options: PyTorch's."""
    return []


library_paths = include_paths
