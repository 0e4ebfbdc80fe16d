"""The world that this process belongs to: how it is joined, left, and how the others hear of an error.

An exception that nobody catches is told to the others: over TCP with its traceback, so theirs says what happened here;
under MPI by MPI_Abort, which ends them. Where the launcher asks for it, the traceback goes into a file for it, too.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from .base import Group, PeerError, Work
from .mpi import Control, MpiGroup
from .store import PrefixStore, Store
from .tcp import Mesh, TcpGroup

__all__ = ["Alone", "World", "current", "fail"]


class Alone(Group):
    """A group of this process alone, which needs no library: what is combined, copied or gathered is its own."""

    threads = False

    def _twin(self) -> Group:
        return Alone(self.ranks, 0, self.group_name, self.timeout)

    def _nothing(self, *_: Any) -> None:
        return None

    _barrier = _all_reduce = _reduce = _broadcast = _nothing

    def _all_gather(self, parts: Any, array: Any, *_: Any) -> None:
        parts[0].reshape(-1)[...] = array.reshape(-1)

    _gather = _all_gather

    def _scatter(self, array: Any, parts: Any, *_: Any) -> None:
        array.reshape(-1)[...] = parts[0].reshape(-1)

    _reduce_scatter = _scatter

    def _all_to_all(self, outs: Any, ins: Any, *_: Any) -> None:
        self._all_gather(outs, ins[0])

    def send(self, array: Any, to: int, tag: int = 0) -> Work:
        """ValueError: there is nobody."""
        raise ValueError("a world of one process has nobody to send to or to receive from")

    receive = send


class World:
    """All processes: of MPI (`control`), of a mesh of connections, or this one alone."""

    def __init__(self, rank: int, size: int, timeout: float, mesh: Mesh | None = None, control: Control | None = None):
        self.rank, self.size, self.timeout, self.mesh, self.control = rank, size, timeout, mesh, control
        self.groups: list[Group] = []
        self._number = 0
        self.default = self.group(range(size), timeout, "the default group")

    def group(self, ranks: Sequence[int], timeout: float, name: str = "") -> Any:
        """A group of some processes, which all processes of the world ask for at once; None for who is not in it."""
        self._number += 1
        name = name or f"group {self._number}"
        group: Group
        if self.size == 1:
            group = Alone(ranks, 0, name, timeout)
        elif self.control is not None:
            mpi, world = self.control.mpi, self.control.world
            inside = self.rank in ranks
            comm = world.Split(0 if inside else mpi.UNDEFINED, list(ranks).index(self.rank) if inside else 0)
            if not inside:
                return None
            group = MpiGroup(self.control, comm, ranks, name, timeout)
        else:
            if self.rank not in ranks:
                return None
            assert self.mesh is not None
            group = TcpGroup(self.mesh, ranks, self._number, name, timeout)
        self.groups.append(group)
        return group

    def close(self) -> None:
        """Leave."""
        for group in self.groups:
            group.close()
        if self.mesh is not None:
            self.mesh.close()
        if self.control is not None:
            self.control.leave()


#: the world, or None
_world: World | None = None


def current() -> World | None:
    """The world that was joined, if any."""
    return _world


def join_tcp(store: Store, rank: int, size: int, timeout: float, host: str, prefix: str) -> World:
    """Join a world whose processes meet at a store."""
    mesh = Mesh(PrefixStore(prefix, store), rank, size, timeout, host)
    world = _enter(World(rank, size, timeout, mesh=mesh))
    world.default.barrier()  # who serves the store may end it from here on
    return world


def join_mpi(timeout: float) -> World:
    """Join the world of mpiexec."""
    control = Control()
    world = control.world
    return _enter(World(world.Get_rank(), world.Get_size(), timeout, control=control))


def join_alone(timeout: float) -> World:
    """Join a world of one."""
    return _enter(World(0, 1, timeout))


def _enter(world: World) -> World:
    global _world
    _world = world
    if world.size > 1 and not _installed:
        _installed.append(sys.excepthook)
        sys.excepthook = _tell
        atexit.register(leave)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forked)
    return world


#: what was sys.excepthook before a world was joined
_installed: list[Callable[..., Any]] = []


def leave() -> None:
    """Leave the world, if there is one."""
    global _world
    world, _world = _world, None
    if world is not None:
        world.close()


def _forked() -> None:
    """A forked child, such as a worker of a DataLoader, is no member of the world."""
    global _world
    world, _world = _world, None
    if world is not None and world.mesh is not None:
        world.mesh.forget()


def _tell(kind: Any, error: Any, trace: Any) -> None:
    """The excepthook of a world of several processes."""
    if issubclass(kind, PeerError):  # the cause is elsewhere: show where this process was, without our own lines
        package = __name__.partition(".")[0]
        frames = [
            f for f, _ in traceback.walk_tb(trace) if f.f_globals.get("__name__", "").partition(".")[0] != package
        ]
        lines = traceback.format_list(
            [traceback.FrameSummary(f.f_code.co_filename, f.f_lineno, f.f_code.co_name) for f in frames]
        )
        sys.stderr.write("".join(lines) + f"{kind.__name__}: {error}\n")
    else:
        _installed[0](kind, error, trace)
    fail("".join(traceback.format_exception(kind, error, trace)), issubclass(kind, PeerError))


def fail(text: str, secondary: bool = False) -> None:
    """This process ends with an error: `text` for the launcher and for the other processes, which end as well.

    secondary: it ends because another did.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path and not os.path.exists(path):
        with open(path, "w") as file:
            json.dump({"message": text, "time": time.time(), "secondary": secondary}, file)
    world = _world
    if world is None:
        return
    if world.mesh is not None:
        world.mesh.fail(text)
    if world.control is not None:
        sys.stderr.flush()
        sys.stdout.flush()
        world.control.abort()
