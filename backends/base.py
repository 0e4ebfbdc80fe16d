"""What a backend supplies to the engine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["FOREIGN", "Backend", "NoElements"]

#: the types of arrays that do not live on the host, of the backends that have been loaded
FOREIGN: set[type] = set()


class NoElements(NotImplementedError):
    """An array that has a shape alone was asked for its elements."""


class Backend:
    """An array library: its namespace, its array types, its own kernels, memory and random numbers.

    A subclass sets `name`, `xp` (the array namespace handed to every forward), `array_types` (classes of its
    arrays, scalars included), `device_type` and `kernels`. A kernel named like an op replaces the op's forward, and
    one named `op.grad` (or `op.grad.input` where an op has several rules) replaces its gradient rule in an ordinary
    backward pass, `op.grads` several rules of a call at once (plan.py); for a composite the pair `name` and `name.grad`
    makes it one node of the graph. `steps` are the updates of optimizers by their names: `step(p, g, *state,
    **numbers)` changes flat arrays p and state in place, or returns NotImplemented, and the formula serves.
    """

    name: str
    xp: Any
    array_types: tuple[type, ...]
    kernels: dict[str, Callable[..., Any]]
    steps: dict[str, Callable[..., Any]] = {}
    device_type = "cpu"
    #: False where NumPy's functions refuse the arrays themselves, so that the CPU's kernels need no guard against them
    taken_by_numpy = True

    def device_of(self, array: Any) -> tuple[str, int | None]:
        """(type, index) of the device that holds `array`."""
        raise NotImplementedError

    def asarray(self, data: Any, dtype: Any = None, index: int | None = None) -> Any:
        """`data` (host data, or an array of this backend) as an array of this backend, without a needless copy."""
        raise NotImplementedError

    def asarray_soon(self, data: Any, index: int | None = None) -> Any:
        """As `asarray`, and the host goes on where it can: `data` is not to be changed until it has arrived."""
        return self.asarray(data, index=index)

    def to_host(self, array: Any) -> Any:
        """`array` as a NumPy array; shares memory where it can."""
        raise NotImplementedError

    def owner(self, array: Any) -> Any:
        """The object that owns the memory of `array`: equal owners (by identity) mean shared storage."""
        raise NotImplementedError

    def sole(self, array: Any) -> bool:
        """True where only `array` holds its memory, all of it; False where that cannot be said."""
        return getattr(array, "base", None) is None

    def relu_into(self, array: Any) -> None:
        """max(array, 0), written into `array`."""
        self.xp.maximum(array, 0, out=array)

    def add_into(self, array: Any, other: Any) -> None:
        """array + other, of one shape and dtype, written into `array`."""
        self.xp.add(array, other, out=array)

    def writable(self, array: Any) -> bool:
        """False where elements of `array` share a memory cell (an expanded array) or the memory is read-only."""
        raise NotImplementedError

    def check_indices(self, shape: tuple[int, ...], indices: tuple[Any, ...]) -> None:
        """Raise IndexError for an index array that reaches out of `shape`, where the library itself would not."""

    def pointer(self, array: Any) -> int:
        """The address of the first element of `array`."""
        raise NotImplementedError

    def generic(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """An op's forward on arrays of this backend, where it has no kernel."""
        return functools.partial(forward, self.xp)

    def recorder(self, pool: Any = None) -> Any:
        """A new `Recorder` for whole-step capture. `pool`: of a GPU, the memory of another one's to share."""
        raise NotImplementedError(f"the {self.name} backend has no whole-step capture")

    def generator(self, seed: int | None) -> Any:
        """A new random generator. The engine draws from it by these methods of `numpy.random.Generator` alone:
        `random(size, dtype)` and `standard_normal(size, dtype)` in float32 and float64, `integers(low, high, size)` in
        int64, `permutation(n)`, `poisson(lam)`. Besides, `seed_of_hash()` gives 64 bits as an int of Python's,
        `get_state()` bytes, and `set_state(bytes)` takes them.
        """
        raise NotImplementedError

    def require(self) -> None:
        """Raise RuntimeError, saying what is missing, where this machine has no device for this backend."""

    def guarded(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        """A kernel or a rule as the engine is to call it: on the device of its arrays, where there are several.

        It raises TypeError for arrays of two devices, where the library would take them without a word.
        """
        return kernel

    def device_count(self) -> int:
        """How many devices there are; 0 where the library is there and no device is."""
        return 1

    def current_device(self) -> int:
        """The index of the device on which arrays are made that are given none."""
        return 0

    def set_device(self, index: int) -> None:
        """Make the device `index` the current one of this thread."""
        if index:
            raise RuntimeError(f"there is no device {index}")

    def select(self, index: int | None = None) -> None:
        """Let the library make its next arrays on device `index`; None: on the current one."""

    def selected(self) -> int:
        """The index of the device on which the library makes its next arrays."""
        return self.current_device()

    def get_threads(self) -> int:
        """How many threads of the host the library's matrix products use."""
        return 1

    def set_threads(self, n: int) -> None:
        """Let the library's matrix products use `n` threads of the host, where it can be told."""

    def pinned(self, array: Any) -> Any:
        """A copy of a NumPy array in memory of the host from which the device copies quickly."""
        raise NotImplementedError

    def is_pinned(self, array: Any) -> bool:
        """Whether a NumPy array lies in such memory."""
        return False

    def empty_cache(self) -> None:
        """Give memory back that the library holds for later arrays; nothing to do on a CPU."""

    def before_training(self) -> None:
        """Called once, before the first walk of a graph on this backend's arrays."""

    def synchronize(self) -> None:
        """Wait for the device to finish; nothing to do on a CPU."""

    def properties(self, index: int) -> Any:
        """Name, major, minor, total_memory and multi_processor_count of a GPU, as attributes."""
        raise NotImplementedError

    def memory_info(self, index: int) -> tuple[int, int]:
        """(free, total) bytes of a GPU's memory."""
        raise NotImplementedError

    def can_access_peer(self, index: int, peer: int) -> bool:
        """Whether one GPU reads another's memory."""
        raise NotImplementedError

    @property
    def streams(self) -> Any:
        """Streams, events and memory of the GPUs: see cupy/streams.py."""
        raise NotImplementedError
