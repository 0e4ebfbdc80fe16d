"""Freed memory is kept for the next step.

glibc gives large freed blocks back to the system at once, and each training step then pays to have the same pages
zeroed and mapped again: half the time of an elementwise chain on 512 x 512 floats. From the first backward on, blocks
up to 32 MB come from the heap, and up to 256 MB of free heap is kept. CHAINRULE_KEEP_MEMORY=0 leaves the allocator
alone. Turned down: doing so at import, for a program that may never train; a pool of our own, which arrays that NumPy
makes cannot use.
"""

from __future__ import annotations

import os

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)


def keep_freed_memory() -> None:
    """Tell the C library's allocator, where it is glibc's."""
    if os.environ.get("CHAINRULE_KEEP_MEMORY") == "0":
        return
    import ctypes

    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  # only glibc has it; others give the numbers another meaning
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 256 << 20)
    except (AttributeError, OSError, TypeError):
        pass
