"""Groups over plain TCP connections: what a program gets that asks for "gloo".

It is our own because there is no engine to take: gloo's Python binding (pygloo) is no longer published, and processes
that no mpiexec started cannot be joined by MPI (MPICH refuses to merge two that met by Open_port and Connect). It is
simple and right rather than fast: every two processes have one connection; a sum is made by giving each process a part
of the array to add up, in the order of ranks, so all have the same bits; small arrays are sent to all at once. On a
network of many machines use "mpi".

Each connection has a thread that does nothing but receive, so a sender never waits for the other's program, and a
process that goes away is noticed at once by all: the kernel closes its connections, however it ended.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from .base import DistBackendError, DistNetworkError, Group, PeerError, ReduceOp, Work, average, combine, octets, wide
from .store import Store, connect, listen, loopback, read

__all__ = ["Mesh", "TcpGroup"]

#: kind, code, group, number, bytes that follow
_HEAD = struct.Struct("!HHQQQ")
_COLLECTIVE, _LETTER, _ENDED, _BYE = range(4)
_NAMES = (
    "barrier",
    "all_reduce",
    "broadcast",
    "reduce",
    "all_gather",
    "gather",
    "scatter",
    "reduce_scatter",
    "all_to_all",
)
_CODES = {name: code for code, name in enumerate(_NAMES)}
#: an array is sent to all as it is when that is at most so many bytes in all
_SMALL = 1 << 17


def own_address(towards: str) -> str:
    """The address of this machine by which others on the way to the host `towards` reach it."""
    address = socket.gethostbyname(towards)
    if loopback(towards):
        return address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting UDP sends nothing
        # this machine's own name may stand for a loopback address: then any address outside shows the way
        try:
            probe.connect(("192.0.2.1" if address.startswith("127.") else address, 9))
        except OSError:
            return address  # there is no way out: all are on this machine
        return str(probe.getsockname()[0])


class Mesh:
    """A connection to each other process of the world, made with the help of a store."""

    def __init__(self, store: Store, rank: int, size: int, timeout: float, host: str) -> None:
        self.rank, self.size, self.timeout = rank, size, timeout
        self.changed = threading.Condition()
        #: (sender, kind, group, number) -> what came
        self.boxes: dict[tuple[int, int, int, int], deque[tuple[int, Any]]] = {}
        #: processes that have gone -> how
        self.gone: dict[int, str] = {}
        #: what one of them said or how it ended, if not well
        self.broken: str | None = None
        #: called when a process has gone that should not have
        self.watchers: list[Callable[[], None]] = []
        self.closed = False
        self.peers: dict[int, socket.socket] = {}
        self.locks: dict[int, threading.Lock] = {}
        address = own_address(host)
        listener = listen(address, 0)
        try:
            self._meet(store, listener, address)
        except BaseException:
            self.forget()
            raise
        finally:
            listener.close()
        for peer, connection in self.peers.items():
            self.locks[peer] = threading.Lock()
            threading.Thread(
                target=self._receive, args=(peer, connection), name=f"chainrule-from-{peer}", daemon=True
            ).start()

    def _meet(self, store: Store, listener: socket.socket, address: str) -> None:
        """Connect to the processes of lower rank, and let those of higher rank connect."""
        end = time.monotonic() + self.timeout
        if self.rank == 0:
            store.set("token", os.urandom(16))
        token = store.get("token")
        store.set(f"address/{self.rank}", f"{address}:{listener.getsockname()[1]}")
        for peer in range(self.rank):
            host, _, port = store.get(f"address/{peer}").decode().rpartition(":")
            connection = connect(host, int(port), max(0.1, end - time.monotonic()))
            connection.sendall(token + struct.pack("!I", self.rank))
            self._tune(connection)
            self.peers[peer] = connection
        while len(self.peers) < self.size - 1:
            listener.settimeout(max(0.01, end - time.monotonic()))
            try:
                connection, _ = listener.accept()
                connection.settimeout(10)
                if read(connection, 16) != token:
                    connection.close()  # somebody else
                    continue
                peer = struct.unpack("!I", read(connection, 4))[0]
            except TimeoutError:
                missing = [r for r in range(self.size) if r != self.rank and r not in self.peers]
                raise DistNetworkError(
                    f"rank {self.rank} waited {self.timeout:g} s for ranks {missing} to connect"
                ) from None
            except OSError:
                continue
            connection.settimeout(None)
            self._tune(connection)
            self.peers[peer] = connection

    @staticmethod
    def _tune(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        times = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000))
        for name, value in times:
            if hasattr(socket, name):  # a machine that vanishes sends no farewell: noticed in half a minute
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    # -- receiving --------------------------------------------------------------------------------------------------

    def _receive(self, peer: int, connection: socket.socket) -> None:
        head = bytearray(_HEAD.size)
        try:
            while True:
                _fill(connection, memoryview(head))
                kind, code, group, number, size = _HEAD.unpack(head)
                data = np.empty(size, np.uint8)
                if size:
                    _fill(connection, data.data)
                if kind == _ENDED:
                    self._lost(peer, f"rank {peer} ended with an error:\n{data.tobytes().decode(errors='replace')}")
                    continue
                with self.changed:
                    if kind == _BYE:
                        self.gone.setdefault(peer, f"rank {peer} has left the process group")
                    else:
                        self.boxes.setdefault((peer, kind, group, number), deque()).append((code, data))
                    self.changed.notify_all()
        except OSError:
            if peer not in self.gone:
                self._lost(peer, f"rank {peer} closed its connection: its process was killed, or ended without a word")
        finally:
            connection.close()

    def _lost(self, peer: int, how: str) -> None:
        with self.changed:
            if not self.closed:
                self.gone.setdefault(peer, how)
                self.broken = self.broken or how
                watchers, self.watchers = self.watchers, []
            else:
                watchers = []
            self.changed.notify_all()
        for call in watchers:
            call()

    def take(self, peers: list[int], kind: int, group: int, number: int, end: float, what: str) -> tuple[int, int, Any]:
        """(sender, code, bytes) of the first message of this kind from one of `peers`, once it is there."""
        keys = [(peer, kind, group, number) for peer in peers]
        began = time.monotonic()
        with self.changed:
            while True:
                for key in keys:
                    box = self.boxes.get(key)
                    if box:
                        code, data = box.popleft()
                        if not box:
                            del self.boxes[key]
                        return key[0], code, data
                lost = self.broken or next((self.gone[p] for p in peers if p in self.gone), None)
                if lost or self.closed:
                    raise PeerError(f"{what}: {lost or 'the process group was destroyed'}")
                left = end - time.monotonic()
                if left <= 0:
                    raise DistBackendError(
                        f"{what}: timed out; rank {self.rank} waited {time.monotonic() - began:.1f} s for ranks {peers}"
                    )
                self.changed.wait(left)

    def here(self, peers: list[int], kind: int, group: int, number: int) -> bool:
        """Whether `take` would return, or raise, at once."""
        with self.changed:
            return bool(self.broken) or any(
                self.boxes.get((peer, kind, group, number)) or peer in self.gone for peer in peers
            )

    # -- sending ----------------------------------------------------------------------------------------------------

    def send(self, peer: int, kind: int, code: int, group: int, number: int, data: Any, what: str) -> None:
        """Send a contiguous array."""
        head = _HEAD.pack(kind, code, group, number, data.nbytes)
        try:
            with self.locks[peer]:
                if data.nbytes <= 4096:
                    self.peers[peer].sendall(head + data.tobytes())
                else:
                    self.peers[peer].sendall(head)
                    self.peers[peer].sendall(octets(data).data)
        except OSError as error:
            with self.changed:  # the thread that receives knows more in a moment
                self.changed.wait_for(lambda: peer in self.gone or self.closed, 2)
                how = self.broken or self.gone.get(peer, f"rank {peer} cannot be reached: {error}")
            raise PeerError(f"{what}: {how}") from None

    def _tell(self, kind: int, data: Any) -> None:
        for peer in list(self.peers):
            if peer not in self.gone and self.locks[peer].acquire(timeout=1):
                try:
                    self.peers[peer].settimeout(1)
                    self.peers[peer].sendall(_HEAD.pack(kind, 0, 0, 0, data.nbytes) + data.tobytes())
                except OSError:
                    pass
                finally:
                    self.locks[peer].release()

    def fail(self, text: str) -> None:
        """Tell all others that this process ends with an error."""
        if not self.closed:
            self._tell(_ENDED, np.frombuffer(text.encode(), np.uint8))
            self.closed = True

    def close(self) -> None:
        """Take leave, and close the connections when the others have taken theirs or a moment has passed."""
        if self.closed:
            return
        self._tell(_BYE, np.empty(0, np.uint8))
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for connection in self.peers.values():
            try:
                connection.shutdown(socket.SHUT_WR)  # what was sent still arrives
            except OSError:
                pass

    def forget(self) -> None:
        """In a forked child: the connections are the parent's, and must not stay open behind its back."""
        self.closed = True
        for connection in self.peers.values():
            connection.close()


def _fill(connection: socket.socket, view: memoryview) -> None:
    while len(view):
        count = connection.recv_into(view)
        if not count:
            raise ConnectionError("closed")
        view = view[count:]


class _Letter(Work):
    """What `recv` waits for: the message is taken from its box by whoever asks first."""

    lazy = True

    def __init__(self, group: TcpGroup, array: Any, peers: list[int], tag: int) -> None:
        super().__init__(f"recv from {'any rank' if len(peers) > 1 else f'rank {peers[0]}'} with tag {tag}")
        self.group, self.array, self.peers, self.tag = group, array, peers, tag
        self.end = time.monotonic() + group.timeout
        self.taking = threading.Lock()

    def is_completed(self) -> bool:
        if not self._done.is_set() and self.group.mesh.here(self.peers, _LETTER, self.group.number, self.tag):
            self._take(self.end)
        return self._done.is_set()

    def _take(self, end: float) -> None:
        with self.taking:
            if self._done.is_set():
                return
            try:
                mesh = self.group.mesh
                peer, _, data = mesh.take(self.peers, _LETTER, self.group.number, self.tag, end, self.what)
                self.source = peer
                _put(self.array, data, self.what, peer)
            except BaseException as error:
                self._error = error
            self._finish()

    def wait(self, timeout: Any = None) -> bool:
        limit = None if timeout is None else getattr(timeout, "total_seconds", lambda: float(timeout))()
        self._take(self.end if limit is None else time.monotonic() + limit)
        return super().wait()


def _put(array: Any, data: Any, what: str, peer: int) -> None:
    if data.nbytes != array.nbytes:
        raise DistBackendError(
            f"{what}: rank {peer} sent {data.nbytes} bytes where {array.nbytes} were expected; shapes and dtypes must "
            "agree"
        )
    octets(array)[...] = data


class TcpGroup(Group):
    """Some processes of a mesh."""

    backend = "gloo"

    def __init__(self, mesh: Mesh, ranks: Any, number: int, name: str, timeout: float) -> None:
        super().__init__(ranks, list(ranks).index(mesh.rank), name, timeout)
        self.mesh, self.number, self._step, self._twins = mesh, number, 0, 0
        self._others = [i for i in range(len(self.ranks)) if i != self.me]

    def _twin(self) -> Group:
        self._twins += 1
        number = (self.number << 16) + self._twins
        return TcpGroup(self.mesh, self.ranks, number, f"a twin of {self.group_name}", self.timeout)

    def _exchange(self, name: str, out: dict[int, Any], sources: Any, end: float) -> dict[int, Any]:
        """Send arrays to some processes of the group, and receive bytes from others: one step of all of them."""
        self._step += 1
        what = f"{name} (step {self._step} of {self.group_name or 'the group'})"
        for to, data in out.items():
            self.mesh.send(self.ranks[to], _COLLECTIVE, _CODES[name], self.number, self._step, data, what)
        came = {}
        waiting = {self.ranks[i]: i for i in sources}
        while waiting:
            peer, code, data = self.mesh.take(list(waiting), _COLLECTIVE, self.number, self._step, end, what)
            if code != _CODES[name]:
                raise DistBackendError(
                    f"{what}: rank {peer} is in {_NAMES[code]} meanwhile; all processes of a group must call the same "
                    "operations in the same order"
                )
            came[waiting.pop(peer)] = data
        return came

    def _barrier(self, end: float) -> None:
        self._exchange("barrier", dict.fromkeys(self._others, np.empty(0, np.uint8)), self._others, end)

    def _summed(self, name: str, mine: Any, came: dict[int, Any], op: ReduceOp) -> Any:
        """The arrays of all combined in the order of ranks."""
        total = None
        for i in range(len(self.ranks)):
            if i == self.me:
                part = mine
            else:
                if came[i].nbytes != mine.nbytes:
                    raise DistBackendError(
                        f"{name}: rank {self.ranks[i]} sent {came[i].nbytes} bytes where {mine.nbytes} were expected; "
                        "shapes and dtypes must agree"
                    )
                part = came[i].view(mine.dtype).reshape(mine.shape)
            if total is None:
                total = wide(part)
            else:
                combine(total, part, op)
        if op is ReduceOp.AVG:
            average(total, len(self.ranks))
        return total

    def _all_reduce(self, array: Any, op: ReduceOp, end: float) -> None:
        flat, n = array.reshape(-1), len(self.ranks)
        if array.nbytes * (n - 1) <= _SMALL:
            came = self._exchange("all_reduce", dict.fromkeys(self._others, flat), self._others, end)
            flat[...] = self._summed("all_reduce", flat, came, op)
            return
        cuts = [flat.size * i // n for i in range(n + 1)]
        parts = [flat[a:b] for a, b in itertools.pairwise(cuts)]
        came = self._exchange("all_reduce", {i: parts[i] for i in self._others}, self._others, end)
        parts[self.me][...] = self._summed("all_reduce", parts[self.me], came, op)
        came = self._exchange("all_reduce", dict.fromkeys(self._others, parts[self.me]), self._others, end)
        for i, data in came.items():
            _put(parts[i], data, "all_reduce", self.ranks[i])

    def _reduce(self, array: Any, root: int, op: ReduceOp, end: float) -> None:
        came = self._to_root("reduce", array, root, end)
        if self.me == root:
            array[...] = self._summed("reduce", array, came, op)

    def _to_root(self, name: str, array: Any, root: int, end: float) -> dict[int, Any]:
        if self.me == root:
            return self._exchange(name, {}, self._others, end)
        return self._exchange(name, {root: array}, (), end)

    def _broadcast(self, array: Any, root: int, end: float) -> None:
        """Down a binomial tree: who has it sends it to one more in each round."""
        n = len(self.ranks)
        place, bit = (self.me - root) % n, 1
        while bit < n and not place & bit:
            bit <<= 1
        self._step += 1
        what, code = f"broadcast (step {self._step} of {self.group_name or 'the group'})", _CODES["broadcast"]
        if place:
            parent = self.ranks[(place - bit + root) % n]
            _, theirs, data = self.mesh.take([parent], _COLLECTIVE, self.number, self._step, end, what)
            if theirs != code:
                raise DistBackendError(f"{what}: rank {parent} is in {_NAMES[theirs]} meanwhile")
            _put(array, data, what, parent)
        bit >>= 1
        while bit:
            if place + bit < n:
                child = self.ranks[(place + bit + root) % n]
                self.mesh.send(child, _COLLECTIVE, code, self.number, self._step, array, what)
            bit >>= 1

    def _all_gather(self, parts: list[Any], array: Any, end: float) -> None:
        came = self._exchange("all_gather", dict.fromkeys(self._others, array), self._others, end)
        self._take(parts, array, came, "all_gather")

    def _take(self, parts: list[Any], array: Any, came: dict[int, Any], what: str) -> None:
        parts[self.me].reshape(-1)[...] = array.reshape(-1)
        for i, data in came.items():
            _put(parts[i], data, what, self.ranks[i])

    def _gather(self, parts: list[Any] | None, array: Any, root: int, end: float) -> None:
        came = self._to_root("gather", array, root, end)
        if parts is not None and self.me == root:
            self._take(parts, array, came, "gather")

    def _scatter(self, array: Any, parts: list[Any] | None, root: int, end: float) -> None:
        if parts is not None and self.me == root:
            self._exchange("scatter", {i: parts[i] for i in self._others}, (), end)
            array.reshape(-1)[...] = parts[root].reshape(-1)
        else:
            _put(array, self._exchange("scatter", {}, (root,), end)[root], "scatter", self.ranks[root])

    def _reduce_scatter(self, out: Any, parts: list[Any], op: ReduceOp, end: float) -> None:
        came = self._exchange("reduce_scatter", {i: parts[i] for i in self._others}, self._others, end)
        mine = parts[self.me].reshape(-1)
        out.reshape(-1)[...] = self._summed("reduce_scatter", mine, came, op)

    def _all_to_all(self, outs: list[Any], ins: list[Any], end: float) -> None:
        came = self._exchange("all_to_all", {i: ins[i] for i in self._others}, self._others, end)
        self._take(outs, ins[self.me], came, "all_to_all")

    # -- from one to one ----------------------------------------------------------------------------------------------

    def send(self, array: Any, to: int, tag: int = 0) -> Work:
        """Send an array to number `to`; done when it is on its way."""
        work = Work(f"send to rank {self.ranks[to]} with tag {tag}")
        work._run(lambda: self.mesh.send(self.ranks[to], _LETTER, 0, self.number, tag, array, work.what))
        return work

    def receive(self, array: Any, source: int | None, tag: int = 0) -> Work:
        """Receive an array from number `source`, or from whoever sends first."""
        peers = [r for i, r in enumerate(self.ranks) if i != self.me] if source is None else [self.ranks[source]]
        return _Letter(self, array, peers, tag)
