"""`chainrule.__config__`: what this copy runs on, as text."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

from ..autograd.device import get_num_threads
from ..backends import np
from .settings import get_num_interop_threads

__all__ = ["parallel_info", "show"]


def show() -> str:
    """Versions of the package, of Python, NumPy and its linear algebra, one in each line."""
    package = __name__.partition(".")[0]
    lines = [
        f"{package} {sys.modules[package].__version__}",
        f"Python {platform.python_version()}",
        f"NumPy {np.__version__}",
    ]
    built: Any = np.show_config(mode="dicts")
    for name in ("blas", "lapack"):
        found = built.get("Build Dependencies", {}).get(name, {})
        lines.append(f"{name.upper()} {found.get('name', 'unknown')} {found.get('version', '')}".rstrip())
    lines.append(f"{platform.system()} {platform.machine()}, {sys.byteorder}-endian")
    return f"{lines[0]} built with:\n" + "".join([f"  - {line}\n" for line in lines[1:]])


def parallel_info() -> str:
    """Threads, and what the environment says of them."""
    lines = [f"get_num_threads() : {get_num_threads()}", f"get_num_interop_threads() : {get_num_interop_threads()}"]
    lines.append(f"os.cpu_count() : {os.cpu_count()}")
    lines += [
        f"{name} : {os.environ.get(name, '[not set]')}"
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    ]
    return "".join([f"{line}\n" for line in lines])
