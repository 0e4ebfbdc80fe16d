"""`chainrule.backends.cpu`: which instructions for vectors the processor has."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

__all__ = ["get_cpu_capability"]


def get_cpu_capability() -> str:
    """ "AVX512" or "AVX2" for x86 processors that have them, else "DEFAULT", as NumPy found out when it was loaded."""
    said = cast(Any, np.show_config(mode="dicts"))["SIMD Extensions"]
    has = {*said["baseline"], *said["found"]}  # X86_V3 and V4 are what later versions of NumPy call these
    if has & {"AVX512_SKX", "X86_V4"}:
        return "AVX512"
    return "AVX2" if has & {"AVX2", "X86_V3"} else "DEFAULT"
