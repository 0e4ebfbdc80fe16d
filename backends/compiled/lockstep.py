"""Machine calls, one after another and on all threads, without Python between them.

A `Stretch` is a table of stages; a stage holds pieces that may go on at the same time, and a piece some calls. The
thread that runs a stretch and the helpers that are awake go through the stages together: each takes its own piece of a
stage if nobody has, then whatever is left, and waits until all of the stage are done. So nobody is waited for but who
has taken a piece: a helper that sleeps, or that the system has set aside, costs its share of the speed and nothing
else. The pieces are what they are, whoever does them, and so are the results.

A piece is taken by setting its word from the last run's number to this one's, in one instruction; a helper that was
held up somewhere in an earlier run finds no piece of that run, and leaves. Words are numbered on from run to run, never
cleared, so that nothing has to be made ready. On a machine that is busy with other things, a stretch goes without
helpers for some runs.

Helpers look for the next run for a fifth of a millisecond and then sleep on a lock of Python's. One stretch at a time
has them: another thread's, meanwhile, does without. Turned down: a wake-up per stretch (20 to 50 microseconds), pieces
that belong to threads (all wait for the one that the system has set aside), sleeping in machine code (each system has
its own call for that).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import Unavailable
from .atomics import add, exchange, invoke, invoke_plain, load, pause, peek, poke, store
from .build import Kernel, inlined, kernel
from .listed import FORKS, Guarded, Live

__all__ = ["Stretch"]

# Layouts, in bytes; what different threads write lies in lines of the cache of its own.
_LINE = 64
#: a table: number of stages, addresses of stages, pieces and calls, of the C function that gives the processor up; then
#: the first wrong call, as 1 + its number + 2^32 times what it said
_STAGES, _STAGE_AT, _PIECE_AT, _CALL_AT, _YIELD, _WRONG = 0, 8, 16, 24, 32, _LINE
#: a stage: its first piece, number of pieces, and on a line of its own how many pieces were ever done
_FIRST, _COUNT, _DONE, _STAGE = 0, 8, _LINE, 2 * _LINE
#: a piece: the number of the last run that took it, its first call, the one after its last
_TAKEN, _BEGIN, _END, _PIECE = 0, 8, 16, _LINE
#: a call: addresses of the code, of the arguments, and 0 or that of a number which is not 0 where they were wrong
_CODE, _ARGUMENTS, _FLAG, _CALL = 0, 8, 16, 24
#: the board: whether somebody has it, and whether the process ends; on the next line a count that is odd while a run is
#: on, its table and number
_HELD, _CLOSED, _COUNTER, _TABLE, _RUN = 0, 8, _LINE, _LINE + 8, _LINE + 16
#: what a helper says, a line each behind those two: the table it is in, or 0; the last count it has seen; 1 awake
_INSIDE, _SEEN, _AWAKE = 0, 8, 16
_HELPERS, _MOST = 2 * _LINE, 256
#: what a call says where its flag is set
_BY_FLAG = 1 << 20
#: rounds of looking before the processor is given up, each time
_PATIENCE = 64


@inlined
def _go(table, run, me):
    """One thread's way through the stages of run number `run`."""
    stage, pieces, calls = peek(table + _STAGE_AT), peek(table + _PIECE_AT), peek(table + _CALL_AT)
    for _ in range(peek(table + _STAGES)):
        first, count = peek(stage + _FIRST), peek(stage + _COUNT)
        for turn in range(count):
            piece = pieces + _PIECE * (first + (me + turn) % count)
            if exchange(piece + _TAKEN, run - 1, run) != 0:
                for c in range(peek(piece + _BEGIN), peek(piece + _END)):
                    wrong = invoke(peek(calls + _CALL * c + _CODE), peek(calls + _CALL * c + _ARGUMENTS))
                    flag = peek(calls + _CALL * c + _FLAG)
                    if wrong == 0 and flag != 0 and peek(flag) != 0:
                        wrong = _BY_FLAG
                    if wrong != 0:
                        exchange(table + _WRONG, 0, (wrong << 32) + c + 1)
                        break
                add(stage + _DONE, 1)
        rounds = 0
        while load(stage + _DONE) < run * count:
            pause()
            rounds += 1
            if rounds >= _PATIENCE:
                invoke_plain(peek(table + _YIELD))
        if load(table + _WRONG) != 0:
            break
        stage += _STAGE


@kernel("i8 i8 i8")
def _conduct(board, table, run):
    """A run, with the helpers where nobody else has them."""
    if board != 0 and exchange(board + _HELD, 0, 1) != 0:
        poke(board + _TABLE, table)
        poke(board + _RUN, run)
        add(board + _COUNTER, 1)
        _go(table, run, 0)
        add(board + _COUNTER, 1)
        store(board + _HELD, 0)
    else:
        _go(table, run, 0)


@kernel("i8 i8 i8 i8")
def _help(board, me, rounds, give_up):
    """A helper's part in runs, until there was none for so many rounds."""
    mine, waited = board + _HELPERS + _LINE * me, 0
    while waited < rounds and load(board + _CLOSED) == 0:
        count = load(board + _COUNTER)
        if count % 2 == 1 and count != peek(mine + _SEEN):
            poke(mine + _SEEN, count)
            table, run = peek(board + _TABLE), peek(board + _RUN)
            store(mine + _INSIDE, table)
            if load(board + _COUNTER) == count:  # who frees the table sees us inside, or we see that the run is over
                _go(table, run, me + 1)
            store(mine + _INSIDE, 0)
            waited = 0
        else:
            pause()
            waited += 1
            if waited % _PATIENCE == 0:
                invoke_plain(give_up)


def _yielding() -> Any:
    """The system's function by which a thread lets others have its processor."""
    if sys.platform == "win32":
        return ctypes.windll.kernel32.SwitchToThread
    return ctypes.CDLL(None).sched_yield


_YIELDING = _yielding()
_GIVE_UP = ctypes.cast(_YIELDING, ctypes.c_void_p).value or 0


def _words(n: int) -> Any:
    """n int64 zeros that begin where a line of the cache does."""
    raw = np.zeros(n + _LINE // 8, np.int64)
    skip = -raw.__array_interface__["data"][0] % _LINE // 8
    return raw[skip : skip + n]


def _address(array: Any) -> int:
    return array.__array_interface__["data"][0]


# -- helpers ----------------------------------------------------------------------------------------------------------


class _Helpers:
    """The helpers of this process, and the board on which they are given runs."""

    def __init__(self) -> None:
        self.board = _words((_HELPERS + _MOST * _LINE) // 8)
        self.address = _address(self.board)
        self.words = memoryview(self.board)  # which Python reads three times as fast
        self.locks: list[Any] = []  # of each, taken while it is awake or nobody wants it
        self.starting = threading.Lock()
        self.rounds = 0

    def wake(self, n: int) -> None:
        """Let n helpers look for runs."""
        if len(self.locks) < n:
            self.start(n)
        words = self.words
        for at, lock in zip(range(_AWAKE_AT, _AWAKE_AT + n * _LINE // 8, _LINE // 8), self.locks):
            if not words[at]:
                words[at] = 1
                with contextlib.suppress(RuntimeError):  # somebody else has woken it
                    lock.release()

    def start(self, n: int) -> None:
        with self.starting:
            self.rounds = self.rounds or _rounds()
            while len(self.locks) < min(n, _MOST):
                lock, me = threading.Lock(), len(self.locks)
                lock.acquire()
                threading.Thread(target=self.help, args=(lock, me), name="chainrule-helper", daemon=True).start()
                self.locks.append(lock)

    def help(self, lock: Any, me: int) -> None:
        while True:
            lock.acquire()
            _help(self.address, me, self.rounds, _GIVE_UP)
            self.words[_AWAKE_AT + me * _LINE // 8] = 0

    def close(self) -> None:
        """Send all to sleep, before the code and the tables go that they may be in."""
        self.words[_CLOSED // 8] = 1
        end = time.monotonic() + 1
        while any(self.words[_AWAKE_AT + i * _LINE // 8] for i in range(len(self.locks))) and time.monotonic() < end:
            time.sleep(1e-4)

    def inside(self, address: int) -> bool:
        """Whether a helper may be in the table at this address."""
        return any(self.words[(_HELPERS + _INSIDE + i * _LINE) // 8] == address for i in range(len(self.locks)))


_AWAKE_AT = (_HELPERS + _AWAKE) // 8
#: a run that takes so many seconds more than twice the quickest one has waited for a helper that the system set aside,
#: as it does on a busy machine: so many runs go without
_HELD_UP, _ALONE = 2e-4, 16
#: seconds for which a helper looks for the next run
_LOOKING = 2e-4


def _rounds() -> int:
    """How many rounds a helper makes in that time."""
    board, rounds = _words(_HELPERS // 8 + _LINE), 64 * _PATIENCE
    _help(_address(board), 0, _PATIENCE, _GIVE_UP)
    begun = time.perf_counter()
    _help(_address(board), 0, rounds, _GIVE_UP)
    return max(_PATIENCE, int(rounds * _LOOKING / max(time.perf_counter() - begun, 1e-7)))


#: those of this process: a fork leaves the parent's behind
_NOW = [_Helpers()]


def _forked() -> None:
    _NOW[0] = _Helpers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
atexit.register(lambda: _NOW[0].close())


# -- stretches --------------------------------------------------------------------------------------------------------

#: tables that a helper was in when their stretch died
_LEFT: list[tuple[int, Any]] = []


def _release(address: int, memory: Any) -> None:
    """Let go of a table's memory, now or once no helper is in it."""
    _LEFT[:] = [(a, kept) for a, kept in [*_LEFT, (address, memory)] if _NOW[0].inside(a)]


class Stretch:
    """Calls of kernels as stages of pieces of calls, to be run any number of times, by one thread at a time.

    It keeps all arrays that it works on. Each array object is looked at anew in each run: where its memory is, and
    whether it still is what the kernel takes. A `Live` number is read before each run.
    """

    def __init__(self, stages: Sequence[Sequence[Sequence[tuple[Kernel | Guarded, tuple[Any, ...]]]]]) -> None:
        self.stages = stages
        self.calls = [call for stage in stages for piece in stage for call in piece]
        self.helpers = max([len(stage) for stage in stages], default=1) - 1
        self.live: list[tuple[Any, int, Live]] = []
        self.made, self.number = -1, 0
        #: seconds of the quickest run with helpers, and how many runs are to go without them
        self.best, self.alone = float("inf"), 0
        for driver in (_conduct, _help):
            driver.entry(None)  # what cannot be made is known here, and not in a run
        packed = [self._packed(*call) for call in self.calls]
        self.blocks = [block for _, block, _ in packed]
        pieces = [piece for stage in stages for piece in stage]
        sizes = [2 * _LINE, _STAGE * len(stages), _PIECE * len(pieces), _CALL * len(packed)]
        self.table = _words(sum(sizes) // 8)
        self.address = _address(self.table)
        self._stages, self._pieces, calls = [self.address + sum(sizes[:i]) for i in (1, 2, 3)]
        words = memoryview(self.table)
        for at, value in ((_STAGES, len(stages)), (_STAGE_AT, self._stages), (_PIECE_AT, self._pieces),
                          (_CALL_AT, calls), (_YIELD, _GIVE_UP)):  # fmt: skip
            words[at // 8] = value
        first = 0
        for i, stage in enumerate(stages):
            at = (self._stages - self.address + i * _STAGE) // 8
            words[at + _FIRST // 8], words[at + _COUNT // 8] = first, len(stage)
            first += len(stage)
        begin = 0
        for i, piece in enumerate(pieces):
            at = (self._pieces - self.address + i * _PIECE) // 8
            words[at + _BEGIN // 8], words[at + _END // 8] = begin, begin + len(piece)
            begin += len(piece)
        for i, (code, block, flag) in enumerate(packed):
            at = (calls - self.address + i * _CALL) // 8
            words[at], words[at + 1], words[at + 2] = code, _address(block), flag
        self.words = words
        self.counts = len(stages), len(pieces)
        weakref.finalize(self, _release, self.address, (self.table, self.blocks)).atexit = False

    def _packed(self, function: Any, args: tuple[Any, ...]) -> tuple[int, Any, int]:
        """(address of the code, packed arguments, address of its flag)."""
        flag = 0
        if isinstance(function, Guarded):
            function, flag = function.kernel, _address(function.flag)
        code, letters = function.block(args)
        if len(letters) != len(args):
            raise TypeError(f"kernel {function.name} takes {len(letters)} arguments, got {len(args)}")
        block = np.zeros(max(len(args), 1), np.int64)
        views: dict[str, Any] = {"i8": block, "f4": block.view(np.float32)[::2], "f8": block.view(np.float64)}
        if sys.byteorder == "big":
            raise Unavailable("arguments are packed for little-endian processors")
        for i, (letter, value) in enumerate(zip(letters, args)):
            if "[" in letter:
                block[i] = id(value)
                continue
            if isinstance(value, Live):
                self.live.append((memoryview(views[letter]), i, value))
                value = value.value
            views[letter][i] = value
        return code, block, flag

    def run(self) -> None:
        if self.made != FORKS[0]:
            self._catch_up()
        for view, i, live in self.live:
            view[i] = live.value
        self.number += 1
        if self.helpers and not self.alone:
            helpers = _NOW[0]
            helpers.wake(self.helpers)
            begun = time.perf_counter()
            _conduct(helpers.address, self.address, self.number)
            took = time.perf_counter() - begun
            if took < self.best:
                self.best = took
            elif took > 2 * self.best + _HELD_UP:
                self.alone = _ALONE
        else:
            self.alone = max(self.alone - 1, 0)
            _conduct(0, self.address, self.number)
        if self.words[_WRONG // 8]:
            self._complain()

    def _catch_up(self) -> None:
        """Number all as after a whole run, where one was broken off: by an error, or in the child of a fork."""
        stages, pieces = self.counts
        for i in range(stages):
            at = (self._stages - self.address + i * _STAGE) // 8
            self.words[at + _DONE // 8] = self.number * self.words[at + _COUNT // 8]
        for i in range(pieces):
            self.words[(self._pieces - self.address + i * _PIECE + _TAKEN) // 8] = self.number
        self.made = FORKS[0]

    def _complain(self) -> None:
        found = self.words[_WRONG // 8]
        self._catch_up()
        self.words[_WRONG // 8] = 0
        function: Any
        function, args = self.calls[(found & 0xFFFFFFFF) - 1]
        if isinstance(function, Guarded):
            if found >> 32 == _BY_FLAG:
                raise function.error(*args)
            function = function.kernel
        function.complain(args, (found >> 32) - 1)
