"""Finding and loading cuDNN, its Python frontend, and the libraries that it loads itself.

Two things go wrong where only wheels of NVIDIA's are installed, outside the folders that the linker searches: without
libcublasLt the process is aborted, and without libnvrtc-builtins every kernel that cuDNN compiles at run time fails
with an internal error. So both are loaded first, by their paths. It has not run on a GPU yet.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

__all__ = ["dynamic", "library", "missing", "preload", "why_not"]

_INSTALL = "pip install 'chainrule[cudnn12]' or pip install 'chainrule[cudnn13]', as nvidia-smi says"
#: what to load before cuDNN, in this order
_FIRST = ("libnvrtc-builtins.so.*", "libnvrtc.so.*", "libcublasLt.so.*", "libcublas.so.*")


def _folders() -> list[Path]:
    """The `lib` folders of NVIDIA's wheels: nvidia/cu13/lib, nvidia/cublas/lib, nvidia/cuda_nvrtc/lib ..."""
    roots = [Path(entry) / "nvidia" for entry in sys.path if entry]
    return [folder for root in roots for folder in sorted(root.glob("*/lib")) if folder.is_dir()]


def preload() -> list[Path]:
    """Load what cuDNN will look for; the files that were loaded. What no wheel has, the linker may still find."""
    loaded = []
    for pattern in _FIRST:
        for file in (f for folder in _folders() for f in sorted(folder.glob(pattern)) if ".alt." not in f.name):
            try:
                ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
            except OSError:  # for another CUDA than the driver's
                continue
            loaded.append(file)
            break
    return loaded


def _has_cublas(loaded: list[Path]) -> bool:
    if any(file.name.startswith("libcublasLt") for file in loaded):
        return True
    for name in ("libcublasLt.so.13", "libcublasLt.so.12"):
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            return True
        except OSError:
            continue
    return False


@functools.cache
def _found() -> tuple[Any, str]:
    """(the frontend, why it cannot be had)."""
    if sys.platform != "linux":
        return None, "cuDNN is used on Linux alone"
    try:
        importlib.metadata.version("nvidia-cudnn-frontend")
    except importlib.metadata.PackageNotFoundError:
        return None, f"nvidia-cudnn-frontend is not installed: {_INSTALL}"
    if not _has_cublas(preload()):
        return None, f"cuDNN needs libcublasLt: {_INSTALL}"
    try:
        import cudnn

        cudnn.backend_version()
    except Exception as error:  # a missing libcudnn raises what the frontend's compiled part makes of it
        return None, f"cuDNN cannot be loaded: {error}"
    return cudnn, ""


def library() -> Any:
    """The module `cudnn` of nvidia-cudnn-frontend, with cuDNN loaded; None where either is missing."""
    return _found()[0]


def missing() -> str:
    """Why the frontend or cuDNN cannot be loaded; empty where they are."""
    return str(_found()[1])


def why_not() -> str:
    """Why no kernel of cuDNN's can run on this machine; empty where they can."""
    found, reason = _found()
    if found is None:
        return reason
    try:
        import cupy

        return "" if cupy.cuda.runtime.getDeviceCount() else "there is no GPU"
    except Exception as error:  # no CuPy, or no driver
        return str(error)


@functools.cache
def dynamic() -> ctypes.CDLL | None:
    """The library itself, for what the frontend does not know; None where it is missing. Needs no frontend."""
    if sys.platform != "linux" or not _has_cublas(preload()):
        return None
    wheels = [folder / "libcudnn.so.9" for folder in _folders() if (folder / "libcudnn.so.9").exists()]
    for name in [*map(str, wheels), "libcudnn.so.9"]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
