"""Groups over MPI, by mpi4py: programs that mpiexec started.

Operations are MPI's nonblocking ones, polled until they are done: so a time limit holds, and a process that has ended
is noticed. Where MPI allows several threads (MPI_THREAD_MULTIPLE, which mpi4py asks for), a thread of the group polls
while the program computes. 16-bit floats are summed in float32, as MPI has none.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .base import DistBackendError, Group, PeerError, ReduceOp, Work, average, narrow, octets

__all__ = ["MpiGroup", "library"]

#: tag of the letters that take leave, on a communicator of their own
_BYE = 1
#: so long (seconds) after somebody has left, what he sent before may still come
_GRACE = 5.0


def library() -> Any:
    """mpi4py's MPI, started; ImportError that says what to install."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"the backend 'mpi' needs mpi4py and an MPI library ({error}): pip install mpi4py mpich"
        ) from error
    return MPI


class Control:
    """The world's communicator, and one on which processes that end tell the others."""

    def __init__(self) -> None:
        self.mpi = library()
        self.world = self.mpi.COMM_WORLD.Dup()
        self.farewells = self.mpi.COMM_WORLD.Dup()
        self.left: dict[int, float] = {}
        self.sent: list[Any] = []

    @property
    def threads(self) -> bool:
        """Whether several threads may talk at once."""
        return bool(self.mpi.Query_thread() == self.mpi.THREAD_MULTIPLE)

    def gone(self) -> dict[int, float]:
        """The processes that have left, and when that was noticed."""
        mpi, status = self.mpi, self.mpi.Status()
        while self.farewells.Iprobe(mpi.ANY_SOURCE, _BYE, status):
            self.farewells.Recv(np.empty(1, np.uint8), status.Get_source(), _BYE)
            self.left[status.Get_source()] = time.monotonic()
        return self.left

    def leave(self) -> None:
        """Tell all others that this process has nothing more to say."""
        if not self.mpi.Is_finalized():
            note, me = np.zeros(1, np.uint8), self.farewells.Get_rank()
            others = [r for r in range(self.farewells.Get_size()) if r != me]
            self.sent += [(self.farewells.Isend(note, r, _BYE), note) for r in others]

    def abort(self) -> None:
        """End all processes of the world, now."""
        self.mpi.COMM_WORLD.Abort(1)

    def poll(self, request: Any, end: float, what: str, ranks: Any, status: Any = None) -> None:
        """Wait for a request until the deadline, or until one of `ranks` has left and what it sent does not come."""
        began = last = time.monotonic()
        while not request.Test(status):
            now = time.monotonic()
            if now - began > 0.002:  # most are done in less; then let others have the processor
                time.sleep(0.0001 if now - began < 0.1 else 0.001)
            if now > end:
                raise DistBackendError(f"{what}: timed out; waited {now - began:.1f} s for ranks {list(ranks)}")
            if now - last > 0.5:
                last = now
                for rank, when in self.gone().items():
                    if rank in ranks and now - max(when, began) > _GRACE:
                        raise PeerError(f"{what}: rank {rank} has left the process group")


class MpiGroup(Group):
    """Some processes of MPI's world, with a communicator of their own."""

    backend = "mpi"

    def __init__(self, control: Control, comm: Any, ranks: Any, name: str, timeout: float) -> None:
        super().__init__(ranks, comm.Get_rank(), name, timeout)
        self.control, self.comm, self.threads = control, comm, control.threads

    def _twin(self) -> Group:
        return MpiGroup(self.control, self.comm.Dup(), self.ranks, f"a twin of {self.group_name}", self.timeout)

    def _wait(self, request: Any, end: float, name: str) -> None:
        others = [r for i, r in enumerate(self.ranks) if i != self.me]
        self.control.poll(request, end, f"{name} (rank {self.me} of {self.group_name or 'the group'})", others)

    def _op(self, op: ReduceOp, dtype: Any) -> Any:
        mpi = self.control.mpi
        if dtype.kind == "b":  # as NumPy: the sum of bools is "any", the product "all"
            same = {ReduceOp.SUM: mpi.BOR, ReduceOp.MAX: mpi.BOR, ReduceOp.PRODUCT: mpi.BAND, ReduceOp.MIN: mpi.BAND}
            if op in same:
                return same[op]
        return {
            ReduceOp.SUM: mpi.SUM,
            ReduceOp.AVG: mpi.SUM,
            ReduceOp.PRODUCT: mpi.PROD,
            ReduceOp.MIN: mpi.MIN,
            ReduceOp.MAX: mpi.MAX,
            ReduceOp.BAND: mpi.BAND,
            ReduceOp.BOR: mpi.BOR,
            ReduceOp.BXOR: mpi.BXOR,
        }[op]

    def _barrier(self, end: float) -> None:
        self._wait(self.comm.Ibarrier(), end, "barrier")

    def _all_reduce(self, array: Any, op: ReduceOp, end: float) -> None:
        work = _summable(array)
        self._wait(self.comm.Iallreduce(self.control.mpi.IN_PLACE, work, self._op(op, array.dtype)), end, "all_reduce")
        _store(array, work, op, len(self.ranks))

    def _reduce(self, array: Any, root: int, op: ReduceOp, end: float) -> None:
        work = _summable(array)
        if self.me == root:
            send, receive = self.control.mpi.IN_PLACE, work
        else:
            send, receive = work, None
        self._wait(self.comm.Ireduce(send, receive, self._op(op, array.dtype), root), end, "reduce")
        if self.me == root:
            _store(array, work, op, len(self.ranks))

    def _broadcast(self, array: Any, root: int, end: float) -> None:
        self._wait(self.comm.Ibcast(octets(array), root), end, "broadcast")

    def _letters(self, name: str, out: dict[int, Any], into: dict[int, Any], end: float) -> None:
        """Exchange bytes between some of the processes, in one Ialltoallv."""
        n, byte = len(self.ranks), self.control.mpi.BYTE
        send, send_spec = _packed(out, n, fill=True)
        receive, receive_spec = _packed(into, n, fill=False)
        self._wait(self.comm.Ialltoallv([send, *send_spec, byte], [receive, *receive_spec, byte]), end, name)
        for i, array in into.items():
            start = receive_spec[1][i]
            octets(array)[...] = receive[start : start + array.nbytes]

    def _all_gather(self, parts: list[Any], array: Any, end: float) -> None:
        n = len(self.ranks)
        if all(part.nbytes == array.nbytes for part in parts):
            came = np.empty((n, array.nbytes), np.uint8)
            self._wait(self.comm.Iallgather(octets(array), came), end, "all_gather")
            for part, row in zip(parts, came):
                octets(part)[...] = row
        else:
            self._letters("all_gather", dict.fromkeys(range(n), array), dict(enumerate(parts)), end)

    def _gather(self, parts: list[Any] | None, array: Any, root: int, end: float) -> None:
        into = dict(enumerate(parts)) if parts is not None and self.me == root else {}
        self._letters("gather", {root: array}, into, end)

    def _scatter(self, array: Any, parts: list[Any] | None, root: int, end: float) -> None:
        out = dict(enumerate(parts)) if parts is not None and self.me == root else {}
        self._letters("scatter", out, {root: array}, end)

    def _reduce_scatter(self, out: Any, parts: list[Any], op: ReduceOp, end: float) -> None:
        if any(part.size != out.size for part in parts):  # unequal parts: all of it, and each takes its own
            sizes = [part.size for part in parts]
            whole = np.concatenate([part.reshape(-1) for part in parts])
            self._all_reduce(whole, op, end)
            start = sum(sizes[: self.me])
            out.reshape(-1)[...] = whole[start : start + sizes[self.me]]
            return
        send = np.stack([_summable(part.reshape(-1)) for part in parts])
        work = np.empty(out.size, send.dtype)
        request = self.comm.Ireduce_scatter_block(send, work, self._op(op, out.dtype))
        self._wait(request, end, "reduce_scatter")
        _store(out.reshape(-1), work, op, len(self.ranks))

    def _all_to_all(self, outs: list[Any], ins: list[Any], end: float) -> None:
        self._letters("all_to_all", dict(enumerate(ins)), dict(enumerate(outs)), end)

    # -- from one to one ----------------------------------------------------------------------------------------------

    def send(self, array: Any, to: int, tag: int = 0) -> Work:
        """Send an array to number `to`."""
        kept = octets(array).copy()
        return _Request(self, self.comm.Isend(kept, to, tag), kept, f"send to rank {self.ranks[to]} with tag {tag}")

    def receive(self, array: Any, source: int | None, tag: int = 0) -> Work:
        """Receive an array from number `source`, or from whoever sends first."""
        place = self.control.mpi.ANY_SOURCE if source is None else source
        what = f"recv from {'any rank' if source is None else f'rank {self.ranks[source]}'} with tag {tag}"
        return _Request(self, self.comm.Irecv(octets(array), place, tag), array, what)


class _Request(Work):
    """A letter on its way."""

    lazy = True

    def __init__(self, group: MpiGroup, request: Any, kept: Any, what: str) -> None:
        super().__init__(what)
        self.group, self.request, self.kept = group, request, kept
        self.end = time.monotonic() + group.timeout
        self.status = group.control.mpi.Status()

    def is_completed(self) -> bool:
        if not self._done.is_set() and self.request.Test(self.status):
            self._arrived()
        return self._done.is_set()

    def _arrived(self) -> None:
        source = self.status.Get_source()
        self.source = self.group.ranks[source] if 0 <= source < len(self.group.ranks) else None
        self._finish()

    def wait(self, timeout: Any = None) -> bool:
        limit = None if timeout is None else getattr(timeout, "total_seconds", lambda: float(timeout))()
        if not self._done.is_set():
            others = [r for i, r in enumerate(self.group.ranks) if i != self.group.me]
            end = self.end if limit is None else time.monotonic() + limit
            self.group.control.poll(self.request, end, self.what, others, self.status)
            self._arrived()
        return super().wait()


def _summable(array: Any) -> Any:
    """What MPI can combine in the place of `array`: itself, or float32 for 16-bit floats, or bytes for bools."""
    if narrow(array.dtype):
        return array.astype(np.float32)
    return array.view(np.uint8) if array.dtype.kind == "b" else array


def _store(array: Any, work: Any, op: ReduceOp, count: int) -> None:
    if op is ReduceOp.AVG:
        average(work, count)
    if work.dtype != array.dtype and array.dtype.kind != "b":
        array[...] = work
    elif array.dtype.kind == "b":
        array[...] = work.view(bool)
    elif work is not array:
        array[...] = work


def _packed(parts: dict[int, Any], count: int, fill: bool) -> tuple[Any, tuple[list[int], list[int]]]:
    """(memory, (bytes for each process, where they begin)) for arrays one after another."""
    sizes = [parts[i].nbytes if i in parts else 0 for i in range(count)]
    starts = [sum(sizes[:i]) for i in range(count)]
    memory = np.empty(sum(sizes), np.uint8)
    for i, array in parts.items() if fill else ():
        memory[starts[i] : starts[i] + sizes[i]] = octets(array)
    return memory, (sizes, starts)
