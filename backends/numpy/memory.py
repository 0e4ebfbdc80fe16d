"""Memory of large arrays: a pool of what died, and the C library's own thresholds.

The system zeroes and maps each page of a fresh block: an elementwise op over 32 MB takes 1.5 to 2 times as long into
fresh memory as into used, a training step of a net with 100 MB of activations 1.1 times. So what kernels write large
results to comes from `empty`: its blocks return to a pool when the last array on them dies. The pool is

* sized in classes, eight for each power of two, so that a block is at most an eighth larger than what it is asked for;
  a free block up to a quarter larger is taken before new memory is mapped;
* bounded by CHAINRULE_KEEP_MEMORY bytes ("2G" and the like), by default a quarter of the machine's memory; and before
  new memory is mapped, free blocks are given back until all blocks together take no more than the arrays in use did at
  their peak. So the pool does not raise the peak of a program;
* made of private anonymous mappings, so that a block given back leaves the process at once, on every system;
* safe under threads, inside finalizers (which never wait for it) and under fork (the child starts with no free blocks).

glibc's allocator would keep blocks as well as a pool does, and cuts and joins them, which a pool cannot; but it gives
large ones back at once. From the first backward on it is told to take blocks up to 32 MB, the most it can be told, from
its heap, and to keep up to 256 MB at the end of that; this serves the arrays that NumPy itself makes, too. So with
glibc the pool starts at 32 MB (from 1 MB on, ResNet-18 on 32 x 32 took 13 % more memory, half in each of the two), and
elsewhere at 1 MB. CHAINRULE_KEEP_MEMORY=0 leaves all to the C library.

Turned down:
* doing so at import, for a program that may never train;
* M_MMAP_MAX = 0, with which glibc takes all blocks from its heap: quicker by a further 4 % in that net and by 40 % in
  an elementwise chain over 64 MB, but free memory inside the heap stays with the process without bound, that of every
  library in it;
* an allocator in NumPy (NEP 49), which would bring the same gain in NumPy's own ops over more than 32 MB: its functions
  are machine code, which needs the extra `fast` and must outlive the last array of the process, and it holds for one
  context of one thread.
"""

from __future__ import annotations

import collections
import math
import mmap
import os
import threading
from typing import Any

import numpy as np

from .arena import LEAST, Arena

__all__ = [
    "ARENAS",
    "LARGE",
    "POOL",
    "Memory",
    "Pool",
    "empty",
    "empty_like",
    "give_back_heap",
    "in_turns",
    "keep_freed_memory",
    "zeros",
]


def _confstr(name: str) -> str | None:
    return os.confstr(name) if name in getattr(os, "confstr_names", ()) else None


_HEAP = 32 << 20  # glibc's heap takes no larger blocks
#: bytes from which memory comes from the pool: where glibc's heap is kept, it serves smaller blocks as quickly
LARGE = _HEAP if "glibc" in (_confstr("CS_GNU_LIBC_VERSION") or "") else 1 << 20
_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def _bound() -> int:
    """CHAINRULE_KEEP_MEMORY in bytes; a quarter of the machine's memory."""
    text = os.environ.get("CHAINRULE_KEEP_MEMORY", "").strip().upper().removesuffix("B")
    if text:
        try:
            return int(float(text.rstrip("KMGT")) * (1 << _UNITS.get(text[-1], 0)))
        except ValueError:
            raise ValueError(f"CHAINRULE_KEEP_MEMORY={text!r} is no number of bytes, such as 0, 500M or 2G") from None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):  # Windows
        return 2 << 30


def _class_of(size: int) -> int:
    """`size`, rounded up to a multiple of an eighth of the power of two below it."""
    step = max(1 << (size.bit_length() - 4), mmap.PAGESIZE)
    return -(-size // step) * step


def _map(size: int) -> Any:
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    block = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            block.madvise(mmap.MADV_HUGEPAGE)
        except OSError:  # a kernel without them
            pass
    return block


class Pool:
    """Blocks of memory (`mmap` objects) in use and free. All numbers are in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        #: blocks whose array died, on their way into `_free`: finalizers append here, whoever holds the lock
        self.returned: collections.deque[Any] = collections.deque()
        self._lock = threading.Lock()
        self._free: dict[int, list[tuple[int, Any]]] = {}
        self._clock = 0
        self.in_use = self.free = self.most_in_use = self.most = 0
        #: the most that has been in use: how far the pool may grow
        self._grown = 0
        self.mapped = self.unmapped = self.reused = 0

    def take(self, size: int) -> tuple[Any, bool]:
        """A block of at least `size` bytes, and whether it is all zero; None where there is none to be had."""
        size = _class_of(size)
        # Not for ever: a finalizer that runs in the midst of this may compute something, in the same thread.
        if not self._lock.acquire(timeout=0.01):
            return None, False
        try:
            self._sort_in()
            block = self._pick(size)
            fresh = block is None
            if fresh:
                self._shrink(max(0, self._grown - self.in_use - size))
                try:
                    block = _map(size)
                except (OSError, ValueError, OverflowError):
                    self._shrink(0)
                    return None, False
                self.mapped += 1
            else:
                self.reused += 1
            self.in_use += len(block)
            self._grown = max(self._grown, self.in_use)
            self.most_in_use = max(self.most_in_use, self.in_use)
            self.most = max(self.most, self.in_use + self.free)
        finally:
            self._lock.release()
        if self.returned:
            self.settle()
        return block, fresh

    def settle(self) -> None:
        """Sort in what came back, unless somebody is at it: who then does it."""
        while self.returned and self._lock.acquire(blocking=False):
            try:
                self._sort_in()
            finally:
                self._lock.release()

    def clear(self) -> None:
        """Give all free blocks back to the system."""
        with self._lock:
            self._sort_in()
            self._shrink(0)
            self._grown = self.in_use
        self.settle()

    def reset_peaks(self) -> None:
        """Count the peaks from now on."""
        with self._lock:
            self._sort_in()
            self.most_in_use, self.most = self.in_use, self.in_use + self.free
        self.settle()

    def stats(self) -> dict[str, int]:
        """The counts, by PyTorch's names for those of a GPU where it has one."""
        self.settle()
        return {
            "allocated_bytes.all.current": self.in_use,
            "allocated_bytes.all.peak": self.most_in_use,
            "reserved_bytes.all.current": self.in_use + self.free,
            "reserved_bytes.all.peak": self.most,
            "limit_bytes": self.limit,
            "smallest_bytes": LARGE,
            "num_device_alloc": self.mapped,
            "num_device_free": self.unmapped,
            "num_reused": self.reused,
        }

    def after_fork(self) -> None:
        """In the child: free blocks would be copied page by page, and another thread may hold the lock."""
        self._lock = threading.Lock()
        self._sort_in()
        self._shrink(0)

    # These run under the lock.

    def _sort_in(self) -> None:
        returned = self.returned
        while returned:
            block = returned.popleft()
            size = len(block)
            self.in_use -= size
            self.free += size
            self._clock += 1
            self._free.setdefault(size, []).append((self._clock, block))
        if self.free > self.limit:
            self._shrink(self.limit)

    def _pick(self, size: int) -> Any:
        """The block that died last, of this class or one of the next."""
        most, at = size + size // 4, size
        while at <= most:
            blocks = self._free.get(at)
            if blocks:
                self.free -= at
                return blocks.pop()[1]
            at = _class_of(at + 1)
        return None

    def _shrink(self, size: int) -> None:
        """Give blocks back, the longest unused first, until `size` bytes are left."""
        while self.free > size:
            oldest = min((blocks[0][0], at) for at, blocks in self._free.items() if blocks)[1]
            self._free[oldest].pop(0)
            self.free -= oldest
            self.unmapped += 1


POOL = Pool(_bound())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.after_fork)


class Memory(np.ndarray[Any, Any]):
    """The bytes of a block in use: the `base` of arrays on it, the last of which takes it along."""

    __slots__ = ()

    # as defaults: at the end of a process the module's names may be gone
    def __del__(self, kind: Any = mmap.mmap, returned: Any = POOL.returned, settle: Any = POOL.settle) -> None:
        block = self.base
        if type(block) is kind:  # not a view or a copy that somebody made of these bytes
            returned.append(block)
            settle()


#: thread -> where a step that it records gets memory from
ARENAS: dict[int, Arena] = {}


def empty(shape: Any, dtype: Any) -> Any:
    """`np.empty`, C-contiguous, from the pool where it is large. The array's `base` is then a `Memory` of its own."""
    size = _size(shape, dtype)
    if ARENAS and size >= LEAST and (arena := ARENAS.get(threading.get_ident())) is not None:
        return arena.empty(shape, dtype, size)
    if size >= LARGE:
        out, _ = _pooled(shape, dtype, size)
        if out is not None:
            return out
    return np.empty(shape, dtype)


def in_turns(array: Any) -> Any:
    """A new array, without gaps and its memory's only one, moved to where a recorded step has its memory from."""
    arena = ARENAS.get(threading.get_ident())
    dense = array.nbytes >= LEAST and array.base is None
    return arena.copy(array) if arena is not None and dense else array


def zeros(shape: Any, dtype: Any) -> Any:
    """`np.zeros`, from the pool where it is large."""
    size = _size(shape, dtype)
    if size >= LARGE:
        out, zero = _pooled(shape, dtype, size)
        if out is not None:
            if not zero:
                out.fill(0)
            return out
    return np.zeros(shape, dtype)


def empty_like(x: Any, dtype: Any = None) -> Any:
    """`np.empty_like`: the shape and order of dimensions in memory of `x`, from the pool where it is large."""
    dtype = x.dtype if dtype is None else dtype
    if (_size(x.shape, dtype) < LARGE and not ARENAS) or type(x) is not np.ndarray:
        return np.empty_like(x, dtype)
    if x.flags.c_contiguous:
        return empty(x.shape, dtype)
    order = sorted(range(x.ndim), key=lambda d: -abs(x.strides[d]))
    return empty(tuple([x.shape[d] for d in order]), dtype).transpose(sorted(range(x.ndim), key=order.__getitem__))


def _size(shape: Any, dtype: Any) -> int:
    return np.dtype(dtype).itemsize * (math.prod(shape) if isinstance(shape, (tuple, list)) else int(shape))


def _pooled(shape: Any, dtype: Any, size: int) -> tuple[Any, bool]:
    if POOL.limit and not np.dtype(dtype).hasobject:
        block, zero = POOL.take(size)
        if block is not None:
            return np.ndarray(shape, dtype, Memory.__new__(Memory, (len(block),), np.uint8, block)), zero
    return None, False


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


def give_back_heap() -> None:
    """Let the C library give all that is free back to the system, where it is glibc."""
    import ctypes

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        pass
