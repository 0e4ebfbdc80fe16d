"""Groups over NCCL, through CuPy: arrays on GPUs, one GPU to a process. It has not run on a GPU yet.

Work is put on a stream of the group's own. That stream first waits for what the program's stream has been given, and
`wait()` lets the program's stream wait for it: the host waits for neither, and sums are made while backward goes on.
Signatures are those of CuPy 14's NcclCommunicator; which processes belong together the host's group tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Group, ReduceOp, Work, check_op

__all__ = ["NcclGroup", "available"]


def available() -> bool:
    """Whether CuPy finds NCCL."""
    try:
        from cupy.cuda import nccl
    except ImportError:
        return False
    return bool(nccl.available)


def _library() -> Any:
    from cupy.cuda import nccl

    if not available():
        raise RuntimeError(
            "collective calls on GPU tensors need NCCL, which CuPy does not find: pip install nvidia-nccl-cu12 (or "
            "-cu13), or init_process_group('gloo') to let them pass through the host"
        )
    return nccl


class _Pending(Work):
    """Work on the group's stream. `kept` are its arrays: the pool must not give their memory to others meanwhile."""

    def __init__(self, what: str, group: NcclGroup, event: Any, after: Callable[[], None] | None, kept: Any) -> None:
        super().__init__(what)
        self.group, self.event, self.after, self.kept = group, event, after, kept

    def is_completed(self) -> bool:
        return bool(self.event.done)

    def wait(self, timeout: Any = None) -> bool:
        with self.group.on_device():
            self.group.cupy.cuda.get_current_stream().wait_event(self.event)
        if self.after is not None:
            after, self.after = self.after, None
            after()
        if not self._done.is_set():
            self._finish()
        return True

    synchronize = wait

    def get_future(self) -> Any:
        self.wait()  # what follows is put behind it on the program's stream
        return super().get_future()


class NcclGroup:
    """The GPUs of the processes of a host's group: the same operations, on arrays of CuPy's on GPU `index`."""

    def __init__(self, host: Group, index: int) -> None:
        import cupy

        self.cupy, self.nccl, self.host, self.index = cupy, _library(), host, index
        unique = np.zeros(128, np.uint8)
        if host.me == 0:
            unique[:] = np.frombuffer(self.nccl.get_unique_id(), np.uint8)
        host.broadcast(unique, 0)
        with self.on_device():
            self.comm = self.nccl.NcclCommunicator(host.size(), unique.tobytes(), host.me)
            self.stream = cupy.cuda.Stream(non_blocking=True)
        mesh = getattr(host, "mesh", None)
        if mesh is not None:  # kernels of NCCL's wait for ever for one that has gone; MPI ends all by itself
            mesh.watchers.append(self.comm.abort)
        n = self.nccl
        self.types = {
            "int8": n.NCCL_INT8,
            "uint8": n.NCCL_UINT8,
            "bool": n.NCCL_UINT8,
            "int32": n.NCCL_INT32,
            "uint32": n.NCCL_UINT32,
            "int64": n.NCCL_INT64,
            "uint64": n.NCCL_UINT64,
            "float16": n.NCCL_FLOAT16,
            "bfloat16": n.NCCL_BFLOAT16,
            "float32": n.NCCL_FLOAT32,
            "float64": n.NCCL_FLOAT64,
        }
        self.ops = {
            ReduceOp.SUM: n.NCCL_SUM,
            ReduceOp.AVG: n.NCCL_AVG,
            ReduceOp.PRODUCT: n.NCCL_PROD,
            ReduceOp.MIN: n.NCCL_MIN,
            ReduceOp.MAX: n.NCCL_MAX,
        }

    def on_device(self) -> Any:
        """A block in which the group's GPU is the current one."""
        return self.cupy.cuda.Device(self.index)

    def _run(self, what: str, call: Callable[[int], None], block: bool, after: Any, arrays: Any) -> Work:
        """Put work on the group's stream, behind what the program's stream has now."""
        with self.on_device():
            now = self.cupy.cuda.get_current_stream()
            self.stream.wait_event(now.record())
            with self.stream:
                call(self.stream.ptr)
                work = _Pending(what, self, self.stream.record(), after, arrays)
        if block:
            work.wait()
        return work

    def _type(self, array: Any, op: ReduceOp | None = None) -> int:
        name = array.dtype.name
        if op is not None:
            check_op(op, array.dtype)
            if op not in self.ops or name == "bool":
                raise RuntimeError(f"Cannot use ReduceOp.{op.name} with NCCL and {name}")
        if name not in self.types:
            raise TypeError(f"NCCL has no dtype {name}")
        return int(self.types[name])

    def all_reduce(self, array: Any, op: ReduceOp = ReduceOp.SUM, block: bool = True, after: Any = None) -> Work:
        """Combine the arrays of all processes, in each."""
        kind, pointer = self._type(array, op), array.data.ptr
        return self._run(
            "all_reduce",
            lambda s: self.comm.allReduce(pointer, pointer, array.size, kind, self.ops[op], s),
            block,
            after,
            (array,),
        )

    def reduce(self, array: Any, root: int, op: ReduceOp = ReduceOp.SUM, block: bool = True, after: Any = None) -> Work:
        """Combine the arrays of all processes, in that of number `root`."""
        kind, pointer = self._type(array, op), array.data.ptr
        return self._run(
            "reduce",
            lambda s: self.comm.reduce(pointer, pointer, array.size, kind, self.ops[op], root, s),
            block,
            after,
            (array,),
        )

    def broadcast(self, array: Any, root: int, block: bool = True, after: Any = None) -> Work:
        """Copy the array of number `root` into those of all, byte by byte."""
        pointer, count, kind = array.data.ptr, array.nbytes, self.nccl.NCCL_UINT8
        return self._run(
            "broadcast", lambda s: self.comm.broadcast(pointer, pointer, count, kind, root, s), block, after, (array,)
        )

    def _letters(self, what: str, out: dict[int, Any], into: dict[int, Any], block: bool, after: Any) -> Work:
        """Send arrays to some processes and receive others, in one call group of NCCL's."""
        byte = self.nccl.NCCL_UINT8

        def call(stream: int) -> None:
            self.nccl.groupStart()
            for to, array in out.items():
                if array.nbytes:
                    self.comm.send(array.data.ptr, array.nbytes, byte, to, stream)
            for source, array in into.items():
                if array.nbytes:
                    self.comm.recv(array.data.ptr, array.nbytes, byte, source, stream)
            self.nccl.groupEnd()

        return self._run(what, call, block, after, (out, into))

    def all_gather(self, parts: list[Any], array: Any, block: bool = True, after: Any = None) -> Work:
        """Copy the array of number i into `parts[i]`, in all processes."""
        start, size = parts[0].data.ptr, array.nbytes
        if all(part.data.ptr == start + i * size and part.nbytes == size for i, part in enumerate(parts)):
            byte, pointer = self.nccl.NCCL_UINT8, array.data.ptr
            call = lambda s: self.comm.allGather(pointer, start, size, byte, s)
            return self._run("all_gather", call, block, after, (parts, array))
        everywhere = dict.fromkeys(range(self.host.size()), array)
        return self._letters("all_gather", everywhere, dict(enumerate(parts)), block, after)

    def gather(self, parts: Any, array: Any, root: int, block: bool = True, after: Any = None) -> Work:
        """Copy the array of number i into `parts[i]` of number `root`."""
        into = dict(enumerate(parts)) if self.host.me == root else {}
        return self._letters("gather", {root: array}, into, block, after)

    def scatter(self, array: Any, parts: Any, root: int, block: bool = True, after: Any = None) -> Work:
        """Copy `parts[i]` of number `root` into the array of number i."""
        out = dict(enumerate(parts)) if self.host.me == root else {}
        return self._letters("scatter", out, {root: array}, block, after)

    def all_to_all(self, outs: list[Any], ins: list[Any], block: bool = True, after: Any = None) -> Work:
        """Copy `ins[j]` of number i into `outs[i]` of number j."""
        return self._letters("all_to_all", dict(enumerate(ins)), dict(enumerate(outs)), block, after)

    def reduce_scatter(
        self, out: Any, parts: list[Any], op: ReduceOp = ReduceOp.SUM, block: bool = True, after: Any = None
    ) -> Work:
        """Combine the arrays `parts[i]` of all processes in `out` of number i."""
        kind = self._type(out, op)
        with self.on_device():
            whole = self.cupy.concatenate([part.ravel() for part in parts])
        return self._run(
            "reduce_scatter",
            lambda s: self.comm.reduceScatter(whole.data.ptr, out.data.ptr, out.size, kind, self.ops[op], s),
            block,
            after,
            (out, whole),
        )

    def send(self, array: Any, to: int, tag: int = 0) -> Work:
        """Send an array to number `to`; NCCL has no tags."""
        return self._letters("send", {to: array}, {}, False, None)

    def receive(self, array: Any, source: int | None, tag: int = 0) -> Work:
        """Receive an array from number `source`."""
        if source is None:
            raise ValueError("NCCL receives from a rank that is named")
        work = self._letters("recv", {}, {source: array}, False, None)
        work.source = self.host.ranks[source]
        return work
