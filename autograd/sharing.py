"""Memory that several processes write into: `Tensor.share_memory_`, and the way of such a tensor to a new process.

The memory has a file descriptor and no name, so nothing is left behind by a process that is killed. A forked process
has the mapping; a spawned one gets the descriptor when the tensor is among the arguments of its `Process`, and maps the
same pages. What goes through queues and files is a copy. Turned down: `multiprocessing.shared_memory`, whose segments
have names that somebody must remove. Processes that write at once overwrite each other element by element, as Hogwild
does on purpose (Niu et al. 2011); no version is counted across processes.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import weakref
from typing import Any

from .. import backends
from ..backends import np

#: what owns memory that is shared, by id -> (weak reference to it, descriptor)
_FILES: dict[int, tuple[Any, int]] = {}


def _file(size: int) -> int:
    """A descriptor of `size` bytes of memory without a name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("chainrule-shared")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _map(descriptor: int, size: int) -> Any:
    """The bytes behind a descriptor, which stays open as long as they are in use."""
    owner = np.frombuffer(mmap.mmap(descriptor, size), np.uint8)
    _FILES[id(owner)] = weakref.ref(owner), descriptor
    weakref.finalize(owner, _forget, id(owner), descriptor).atexit = False
    return owner


def _forget(key: int, descriptor: int) -> None:
    _FILES.pop(key, None)
    os.close(descriptor)


def _entry(array: Any) -> tuple[Any, int] | None:
    if not _FILES:
        return None
    owner = backends.of(array).owner(array)
    reference, descriptor = _FILES.get(id(owner), (None, 0))
    return None if reference is None or reference() is not owner else (owner, descriptor)


def is_shared(array: Any) -> bool:
    """Whether an array lies in memory made by `shared`."""
    return _entry(array) is not None


def shared(array: Any) -> Any:
    """A copy in memory that processes share, with the same order of the dimensions in it."""
    if not array.size or is_shared(array):
        return array
    axes = sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))
    memory = _map(_file(array.nbytes), array.nbytes).view(array.dtype)
    memory = memory.reshape([array.shape[i] for i in axes]).transpose([axes.index(i) for i in range(array.ndim)])
    memory[...] = array
    return memory


class Sent:
    """An array of shared memory on its way to a process that is being spawned: there it is an array on that memory."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce__(self) -> Any:
        from multiprocessing.reduction import DupFd

        array, (owner, descriptor) = self.array, _entry(self.array)  # type: ignore[misc]
        start = array.ctypes.data - owner.ctypes.data
        return _attach, (DupFd(descriptor), owner.nbytes, array.dtype, array.shape, array.strides, start)


def _attach(duplicate: Any, size: int, dtype: Any, shape: Any, strides: Any, start: int) -> Any:
    owner = _map(duplicate.detach(), size)
    return np.ndarray(shape, dtype, owner, start, strides)


def to_send(array: Any) -> Any:
    """What a pickle holds of an array: itself; for a process that is being spawned, shared memory as such."""
    context = sys.modules.get("multiprocessing.context")
    spawning = context is not None and context.get_spawning_popen() is not None
    return Sent(array) if spawning and os.name == "posix" and is_shared(array) else array
