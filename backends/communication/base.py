"""What processes that talk to one another share: how values are combined, work that is under way, groups.

Arrays here are NumPy's, contiguous, and written in place. A `Group` runs one operation after the other, in the order in
which they were asked for: in the calling thread, or where the caller does not wait, in a thread of the group's own, so
that sums are made while the program computes.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .futures import Future

__all__ = [
    "DistBackendError",
    "DistError",
    "DistNetworkError",
    "DistStoreError",
    "Group",
    "PeerError",
    "ReduceOp",
    "Work",
    "average",
    "combine",
    "wide",
]


class DistError(RuntimeError):
    """Something went wrong between processes; a RuntimeError."""


class DistBackendError(DistError):
    """An operation of a group failed, or took too long."""


class DistNetworkError(DistError):
    """A connection could not be made."""


class DistStoreError(DistError):
    """A store did not have what was waited for."""


class PeerError(DistBackendError):
    """Another process of the world has gone: what it said, if anything, is in the message."""


class ReduceOp(enum.Enum):
    """How the values of a group's processes are combined, element by element.

    AVG is the sum over the number of processes; BAND, BOR and BXOR are for whole numbers and bools. Sums of 16-bit
    floats are made in float32.
    """

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"
    BAND = "band"
    BOR = "bor"
    BXOR = "bxor"


ReduceOp.RedOpType = ReduceOp  # type: ignore[attr-defined]  # PyTorch's name for the type of its members

_UFUNCS = {
    ReduceOp.SUM: np.add,
    ReduceOp.AVG: np.add,
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
    ReduceOp.BAND: np.bitwise_and,
    ReduceOp.BOR: np.bitwise_or,
    ReduceOp.BXOR: np.bitwise_xor,
}


def check_op(op: Any, dtype: Any) -> None:
    """Raise for an operation that the dtype does not have."""
    if not isinstance(op, ReduceOp):
        raise TypeError(f"op is a ReduceOp, not {op!r}")
    if op in (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR) and dtype.kind not in "biu":
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with {dtype}: it is for whole numbers and bools")
    if op is ReduceOp.AVG and dtype.kind == "b":
        raise RuntimeError("Cannot use ReduceOp.AVG with bool")
    if op in (ReduceOp.MIN, ReduceOp.MAX) and dtype.kind == "c":
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with {dtype}: complex numbers have no order")


def narrow(dtype: Any) -> bool:
    """Whether a dtype is a 16-bit float: NumPy's own, or bfloat16 of ml_dtypes."""
    return dtype.itemsize == 2 and dtype.kind not in "biu"


def wide(array: Any) -> Any:
    """A copy to combine others into: 16-bit floats as float32."""
    return array.astype(np.float32) if narrow(array.dtype) else array.copy()


def combine(into: Any, other: Any, op: ReduceOp) -> None:
    """Combine an array with another, in place."""
    _UFUNCS[op](into, other, out=into, casting="same_kind")


def average(array: Any, count: int) -> None:
    """array / count, in place; whole numbers rounded down."""
    if array.dtype.kind in "iu":
        array //= count
    else:
        array /= count


def octets(array: Any) -> Any:
    """The bytes of a contiguous array, as an array of uint8 on the same memory."""
    return array.reshape(-1).view(np.uint8)


class Work:
    """An operation that has begun. `wait()` returns when it is done, and raises what went wrong."""

    #: True: nobody works on it unless somebody waits
    lazy = False

    def __init__(self, what: str) -> None:
        self.what = what
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Any], None]] = []
        self._lock = threading.Lock()
        self.source: int | None = None
        #: the tensors that it writes, which whoever asked for it notes here
        self.outputs: list[Any] = []

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error
        self._finish()

    def _finish(self) -> None:
        with self._lock:
            self._done.set()
            callbacks, self._callbacks = self._callbacks, []
        for call in callbacks:
            call(self)

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        """Call `call(work)` when it is done, in the thread that finished it; now if it is done."""
        with self._lock:
            if not self._done.is_set():
                self._callbacks.append(call)
                return
        call(self)

    def is_completed(self) -> bool:
        """Whether it is done, well or not."""
        return self._done.is_set()

    def is_success(self) -> bool:
        """Whether it is done and went well."""
        return self.is_completed() and self._error is None

    def exception(self) -> BaseException | None:
        """What went wrong, if anything."""
        return self._error

    def result(self) -> list[Any]:
        """The tensors that it writes; RuntimeError before it is done."""
        if not self.is_completed():
            raise RuntimeError("result(): the work is not done yet; wait() waits for it")
        return self.outputs

    def get_future(self) -> Future[list[Any]]:
        """A future of the tensors that it writes."""
        future: Future[list[Any]] = Future()

        def follow(work: Work) -> None:
            if isinstance(work._error, Exception):
                future.set_exception(work._error)
            else:
                future.set_result(work.outputs)

        self.add_done_callback(follow)
        if self.lazy and not self._done.is_set():
            threading.Thread(target=self._settle, daemon=True).start()
        return future

    def _settle(self) -> None:
        try:
            self.wait()
        except Exception:
            pass  # the future has it

    def source_rank(self) -> int:
        """The rank from which a `recv` of any source received."""
        if self.source is None:
            raise RuntimeError("source_rank() is for work that received something")
        return self.source

    def wait(self, timeout: Any = None) -> bool:
        """Wait until it is done, and raise its error; RuntimeError after `timeout` (seconds or timedelta)."""
        limit = None if timeout is None else getattr(timeout, "total_seconds", lambda: float(timeout))()
        if not self._done.wait(limit if limit != 0 else None):
            raise DistBackendError(f"{self.what}: not done after {limit:g} s")
        if self._error is not None:
            raise self._error
        return True

    synchronize = wait


class Group:
    """Some of the processes of a world, `ranks` in order; this process is number `me` among them.

    name: of the group, in messages. timeout: seconds that an operation may take.

    A subclass has the operations proper, which block until `deadline`: `_all_reduce(array, op, deadline)` and so on.
    `after` is called in the thread that did the work, when it is done.
    """

    backend = ""
    #: the backend's name as the program gave it; whether tensors on GPUs go over NCCL
    shown, nccl = "undefined", False
    #: the NCCL group of the same processes, made when it is first used
    device: Any = None
    #: the group of which this is a twin
    origin: Group | None = None
    #: False: another thread may not talk while the program's own does, so nothing runs behind the caller's back
    threads = True

    _all_reduce: Any
    _reduce: Any
    _broadcast: Any
    _all_gather: Any
    _gather: Any
    _scatter: Any
    _reduce_scatter: Any
    _all_to_all: Any
    _barrier: Any

    def __init__(self, ranks: Sequence[int], me: int, name: str, timeout: float) -> None:
        self.ranks, self.me, self.group_name, self.timeout = tuple(ranks), me, name, timeout
        self._lock, self._turn = threading.Condition(), threading.Lock()
        self._jobs: deque[tuple[Work, Callable[[], None]]] = deque()
        self._waiting, self._thread, self._closed = 0, None, False  # type: int, Any, bool
        self._count = 0

    # -- PyTorch's ProcessGroup -------------------------------------------------------------------------------------

    def rank(self) -> int:
        """The place of this process in the group."""
        return self.me

    def size(self) -> int:
        """How many processes are in the group."""
        return len(self.ranks)

    def name(self) -> str:
        """The backend's name."""
        return self.backend

    def twin(self) -> Any:
        """A group of the same processes, which all ask for it at once: its operations wait for none of this one's."""
        made = self._twin()
        made.shown, made.nccl, made.origin = self.shown, self.nccl, self.origin or self
        return made

    def _twin(self) -> Group:
        raise NotImplementedError

    # -- running ----------------------------------------------------------------------------------------------------

    def run(
        self,
        what: str,
        job: Callable[[float], None],
        block: bool = True,
        after: Callable[[], None] | None = None,
    ) -> Work:
        """Do `job(deadline)`, then `after()`, when what was asked for before is done.

        At once where the caller waits for it, otherwise behind his back.
        """
        self._count += 1
        work = Work(f"{what} (number {self._count} of {self.group_name or 'the group'}, rank {self.me})")

        def timed() -> None:
            with self._turn:
                job(time.monotonic() + self.timeout)
                if after is not None:
                    after()

        with self._lock:
            inline = (block and not self._waiting) or not self.threads
            if not inline:
                self._waiting += 1
                self._jobs.append((work, timed))
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="chainrule-group", daemon=True)
                    self._thread.start()
                self._lock.notify_all()
        if inline:
            work._run(timed)
        if block:
            work.wait()
        return work

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._jobs:
                    if self._closed:
                        return
                    self._lock.wait()
                work, job = self._jobs.popleft()
            try:
                job()
            except BaseException as error:
                work._error = error
            with self._lock:
                self._waiting -= 1
            work._finish()
            del work, job

    def close(self) -> None:
        """No more work: the thread ends when what was asked for is done."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    # -- operations -------------------------------------------------------------------------------------------------

    def all_reduce(self, array: Any, op: ReduceOp = ReduceOp.SUM, block: bool = True, after: Any = None) -> Work:
        """Combine the arrays of all processes, in each."""
        check_op(op, array.dtype)
        return self.run(_said("all_reduce", array), lambda end: self._all_reduce(array, op, end), block, after)

    def reduce(self, array: Any, root: int, op: ReduceOp = ReduceOp.SUM, block: bool = True, after: Any = None) -> Work:
        """Combine the arrays of all processes, in that of number `root`."""
        check_op(op, array.dtype)
        return self.run(_said("reduce", array), lambda end: self._reduce(array, root, op, end), block, after)

    def broadcast(self, array: Any, root: int, block: bool = True, after: Any = None) -> Work:
        """Copy the array of number `root` into those of all."""
        return self.run(_said("broadcast", array), lambda end: self._broadcast(array, root, end), block, after)

    def all_gather(self, parts: list[Any], array: Any, block: bool = True, after: Any = None) -> Work:
        """Copy the array of number i into `parts[i]`, in all processes; sizes may differ from part to part."""
        return self.run(_said("all_gather", array), lambda end: self._all_gather(parts, array, end), block, after)

    def gather(self, parts: list[Any] | None, array: Any, root: int, block: bool = True, after: Any = None) -> Work:
        """Copy the array of number i into `parts[i]` of number `root`."""
        return self.run(_said("gather", array), lambda end: self._gather(parts, array, root, end), block, after)

    def scatter(self, array: Any, parts: list[Any] | None, root: int, block: bool = True, after: Any = None) -> Work:
        """Copy `parts[i]` of number `root` into the array of number i."""
        return self.run(_said("scatter", array), lambda end: self._scatter(array, parts, root, end), block, after)

    def reduce_scatter(
        self, out: Any, parts: list[Any], op: ReduceOp = ReduceOp.SUM, block: bool = True, after: Any = None
    ) -> Work:
        """Combine the arrays `parts[i]` of all processes in `out` of number i."""
        check_op(op, out.dtype)
        return self.run(
            _said("reduce_scatter", out), lambda end: self._reduce_scatter(out, parts, op, end), block, after
        )

    def all_to_all(self, outs: list[Any], ins: list[Any], block: bool = True, after: Any = None) -> Work:
        """Copy `ins[j]` of number i into `outs[i]` of number j."""
        return self.run(_said("all_to_all", *ins[:1]), lambda end: self._all_to_all(outs, ins, end), block, after)

    def barrier(self, block: bool = True, after: Any = None) -> Work:
        """Done when all processes have come here."""
        return self.run("barrier", self._barrier, block, after)


def _said(name: str, *arrays: Any) -> str:
    return " ".join([name, "of", *[f"{a.dtype} {list(a.shape)}" for a in arrays]]) if arrays else name
