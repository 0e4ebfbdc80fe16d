"""A stand-in for CuPy and NCCL: ranks are threads, "GPU" arrays are NumPy's, pointers are real addresses.

With `between_processes` ranks are processes, which talk over a group on the host, and arrays those of fake_cupy.py.
Signatures are CuPy's (tests/test_communication.py compares them where CuPy is installed). What is put on a stream is
done at once, and noted: `log` has (stream, what) in order, so a test sees who waits for whom.
"""

import ctypes
import sys
import threading
import types
from queue import SimpleQueue

import numpy as np

import chainrule.distributed as dist

TYPES = {0: "i1", 1: "u1", 2: "i4", 3: "u4", 4: "i8", 5: "u8", 6: "f2", 7: "f4", 8: "f8", 9: "u2"}
NAMES = ["INT8", "UINT8", "INT32", "UINT32", "INT64", "UINT64", "FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"]
OPS = ["SUM", "PROD", "MAX", "MIN", "AVG"]
REDUCE = [np.add, np.multiply, np.maximum, np.minimum, np.add]


class Array(np.ndarray):
    """An array whose `data.ptr` is its address, as CuPy's."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)


def array(data, dtype=None):
    return np.array(data, dtype).view(Array)


def at(pointer, count, kind):
    size = np.dtype(TYPES[kind]).itemsize * count
    return np.frombuffer((ctypes.c_char * size).from_address(pointer), TYPES[kind])


class Device:
    def __init__(self, device=None):
        self.id = device

    def __enter__(self):
        pass

    def __exit__(self, *error):
        pass


class Event:
    def __init__(self, stream):
        self.stream, self.done = stream, True


class Stream:
    local = threading.local()

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.non_blocking, self.log = non_blocking, []

    @property
    def ptr(self):
        return id(self)

    def record(self, event=None):
        event = Event(self)
        self.log.append(("record", event))
        return event

    def wait_event(self, event):
        self.log.append(("wait", event))

    def __enter__(self):
        self.before, Stream.local.now = current(), self

    def __exit__(self, *error):
        Stream.local.now = self.before


def current():
    if not hasattr(Stream.local, "now"):
        Stream.local.now = Stream()
    return Stream.local.now


class World:
    """Where the communicators of one id meet."""

    def __init__(self, size):
        self.barrier, self.slots, self.mail = threading.Barrier(size), [None] * size, {}

    def all(self, rank, item):
        self.slots[rank] = item
        self.barrier.wait(10)
        found = list(self.slots)
        self.barrier.wait(10)
        return found


class ProcessWorld:
    """The same between processes: `group` is one on the host, of the same ranks."""

    def __init__(self, group):
        self.group = group
        self.mail = self

    def all(self, rank, item):
        found = [None] * len(self.group.ranks)
        dist.all_gather_object(found, item, self.group)
        return found

    def setdefault(self, key, _):
        return ProcessBox(self.group, key)


class ProcessBox:
    """Letters from one process to another."""

    def __init__(self, group, key):
        self.group, (self.source, self.to) = group, key

    def put(self, data):
        data = np.ascontiguousarray(data).view(np.uint8)
        if self.to == self.source:
            self.group.__dict__.setdefault("own", []).append(data)
            return
        self.group.send(np.array([data.size]), self.to).wait()
        self.group.send(data, self.to).wait()

    def get(self, timeout):
        if self.to == self.source:
            return self.group.own.pop(0)
        size = np.empty(1, np.int64)
        self.group.receive(size, self.source).wait()
        data = np.empty(int(size[0]), np.uint8)
        self.group.receive(data, self.source).wait()
        return data


def between_processes(group):
    """Put the fake CuPy in place, with an NCCL whose processes are those of `group`."""
    import fake_cupy

    cupy = fake_cupy.install()
    nccl = modules()["cupy.cuda.nccl"]
    sys.modules["cupy.cuda.nccl"] = cupy.cuda.nccl = nccl
    world = ProcessWorld(group.twin())
    NcclCommunicator.found = staticmethod(lambda commId, ndev: world)


class NcclCommunicator:
    worlds: dict = {}
    lock = threading.Lock()

    def __init__(self, ndev, commId, rank, config=None):
        assert isinstance(commId, bytes)
        assert len(commId) == 128
        self.world = self.found(commId, ndev)
        self.size, self.rank, self.calls = ndev, rank, []

    @classmethod
    def found(cls, commId, ndev):
        with cls.lock:
            return cls.worlds.setdefault(commId, World(ndev))

    def _note(self, name, stream):
        self.calls.append((name, stream))

    def _reduced(self, pointer, count, datatype, op, check):
        parts = self.world.all(self.rank, (check, at(pointer, count, datatype).copy()))
        assert {c for c, _ in parts} == {check}, "NCCL would hang: the processes make different calls"
        total = parts[0][1].copy()
        for _, part in parts[1:]:
            total = REDUCE[op](total, part)
        return (total / self.size).astype(total.dtype) if OPS[op] == "AVG" else total

    def abort(self):
        self.calls.append(("abort", None))

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        self._note("allReduce", stream)
        at(recvbuf, count, datatype)[:] = self._reduced(
            sendbuf, count, datatype, op, ("allReduce", count, datatype, op)
        )

    def reduce(self, sendbuf, recvbuf, count, datatype, op, root, stream):
        self._note("reduce", stream)
        total = self._reduced(sendbuf, count, datatype, op, ("reduce", count, datatype, op, root))
        if self.rank == root:
            at(recvbuf, count, datatype)[:] = total

    def broadcast(self, sendbuff, recvbuff, count, datatype, root, stream):
        self._note("broadcast", stream)
        parts = self.world.all(self.rank, at(sendbuff, count, datatype).copy())
        at(recvbuff, count, datatype)[:] = parts[root]

    def allGather(self, sendbuf, recvbuf, count, datatype, stream):
        self._note("allGather", stream)
        parts = self.world.all(self.rank, at(sendbuf, count, datatype).copy())
        at(recvbuf, count * self.size, datatype)[:] = np.concatenate(parts)

    def reduceScatter(self, sendbuf, recvbuf, recvcount, datatype, op, stream):
        self._note("reduceScatter", stream)
        total = self._reduced(sendbuf, recvcount * self.size, datatype, op, ("reduceScatter", recvcount, datatype, op))
        at(recvbuf, recvcount, datatype)[:] = total[recvcount * self.rank : recvcount * (self.rank + 1)]

    def send(self, sendbuf, count, datatype, peer, stream):
        self._note("send", stream)
        assert depth(), "letters to several processes go between groupStart and groupEnd"
        Queue.calls.append((0, self, peer, lambda: at(sendbuf, count, datatype).copy()))

    def recv(self, recvbuf, count, datatype, peer, stream):
        self._note("recv", stream)
        assert depth(), "letters to several processes go between groupStart and groupEnd"
        Queue.calls.append((1, self, peer, lambda data: at(recvbuf, count, datatype).__setitem__(slice(None), data)))


class _Queue(threading.local):
    open, calls = 0, None


Queue = _Queue()


def depth():
    return Queue.open


def groupStart():
    Queue.open += 1
    Queue.calls = []


def groupEnd():
    Queue.open -= 1
    for kind, comm, peer, act in sorted(Queue.calls, key=lambda c: c[0]):
        key = (peer, comm.rank) if kind else (comm.rank, peer)
        with comm.lock:
            box = comm.world.mail.setdefault(key, SimpleQueue())
        if kind:
            act(box.get(timeout=10))
        else:
            box.put(act())


def get_unique_id():
    return np.random.default_rng().bytes(128)


def modules():
    """{"cupy": ..., "cupy.cuda": ..., "cupy.cuda.nccl": ...}"""
    nccl = types.ModuleType("cupy.cuda.nccl")
    nccl.available = True
    for i, name in enumerate(NAMES):
        setattr(nccl, f"NCCL_{name}", i)
    for i, name in enumerate(OPS):
        setattr(nccl, f"NCCL_{name}", i)
    nccl.NcclCommunicator, nccl.get_unique_id = NcclCommunicator, get_unique_id
    nccl.groupStart, nccl.groupEnd = groupStart, groupEnd
    cuda = types.ModuleType("cupy.cuda")
    cuda.Device, cuda.Stream, cuda.get_current_stream, cuda.nccl = Device, Stream, current, nccl
    cupy = types.ModuleType("cupy")
    cupy.cuda = cuda
    cupy.concatenate = lambda arrays: np.concatenate(arrays).view(Array)
    return {"cupy": cupy, "cupy.cuda": cuda, "cupy.cuda.nccl": nccl}
