"""What programs are made from (program.py): the list that a thread's calls go into while one is made."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    *("ACTIVE", "FORKS", "STATE", "Call", "Guarded", "Host", "Listing", "Live", "Pieces", "Translation"),
    *("contiguous", "do", "following", "guarded", "keep", "made", "note", "note_pieces", "number", "own", "reshaped"),
]


class Call(NamedTuple):
    """One thing to do: a Kernel with arrays and numbers, or any other function; what it returns is not used."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    #: what has to stay alive although it is no argument: arrays whose addresses are in a table
    keep: Any = None


class Live:
    """A number that changes from run to run: stands among the arguments of a call for what `value` is then."""

    __slots__ = ("followed", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        #: what was worked out from it and others (see `following`)
        self.followed: dict[Any, Any] = {}


def following(host: Callable[..., Any], function: Callable[..., Any], given: dict[str, Any]) -> Any:
    """The numbers of `function(**given)`; where there are `Live` ones among `given`, as such, once for the same ones.

    `host(action)` has them worked out anew in each run.
    """
    late = [(name, x) for name, x in given.items() if isinstance(x, Live)]
    if not late:
        return function(**given)
    key = (function, *[(name, id(x) if isinstance(x, Live) else x) for name, x in given.items()])
    known = late[0][1].followed
    if key not in known:
        now = {name: number(x) for name, x in given.items()}
        cells = tuple([Live(x) for x in function(**now)])

        def again() -> None:
            for name, x in late:
                now[name] = x.value
            for cell, value in zip(cells, function(**now)):
                cell.value = value

        host(again)
        known[key] = cells, late
    return known[key][0]


class Host(NamedTuple):
    """Something to be done at each run that is no part of its data: what kernels do before it may be done after it."""

    function: Callable[[], Any]

    def __call__(self) -> None:
        self.function()


def number(x: Any) -> Any:
    """What a `Live` stands for now; anything else as it is."""
    return x.value if isinstance(x, Live) else x


class Pieces:
    """Lists of calls that may go on at the same time, each in its order; called, it does them one after another."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: tuple[tuple[Call, ...], ...]) -> None:
        self.pieces = pieces

    def __call__(self) -> None:
        for piece in self.pieces:
            for function, args, kwargs, _ in piece:
                function(*map(number, args), **kwargs)


class Translation:
    """A call as stages of pieces of (kernel, arguments); what has to stay alive; cells whose numbers change."""

    __slots__ = ("keep", "live", "stages")

    def __init__(self, stages: list[list[list[Any]]], keep: Any = None, live: list[Any] | None = None) -> None:
        self.stages, self.keep, self.live = stages, keep, live or []

    def calls(self) -> list[Any]:
        """All of them, in an order in which one thread may do them."""
        return [call for stage in self.stages for piece in stage for call in piece]


class Listing(list[Call]):
    """The calls that were made, in order. `whole`: nothing touched data beside them."""

    def __init__(self, scratch: dict[Any, SimpleNamespace] | None = None) -> None:
        super().__init__()
        self.whole = True
        #: which of the pieces that may go on at the same time is being listed
        self.piece = 0
        self._own = {} if scratch is None else scratch

    def own(self, local: Any) -> SimpleNamespace:
        """What stands for a thread's own memory in the piece that is being listed: any thread may do that later."""
        return self._own.setdefault((local, self.piece), SimpleNamespace())


def in_turns(array: Any) -> Any:
    """A new array, in memory that others had where a step is being recorded."""
    from ..numpy.memory import in_turns

    return in_turns(array)


def made(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)` where that makes new arrays and no more: they are the same ones in each run."""
    calls = STATE.calls
    if calls is None:
        return function(*args)
    STATE.calls = None
    try:
        out = function(*args)
    finally:
        STATE.calls = calls
    if isinstance(out, tuple):
        out = tuple([o if o is None else in_turns(np.asarray(o)) for o in out])
        calls.append(Call(_again, (function, args, out)))
        return out
    out = in_turns(np.asarray(out))
    if isinstance(function, np.ufunc):
        calls.append(Call(function, args, {"out": out}))
    else:
        calls.append(Call(_again, (function, args, (out,))))
    return out


def _again(function: Callable[..., Any], args: tuple[Any, ...], into: tuple[Any, ...]) -> None:
    new = function(*map(number, args))
    for old, value in zip(into, new if isinstance(new, tuple) else (new,)):
        if old is not None:
            old[...] = value


def contiguous(a: Any, dtype: Any = None) -> Any:
    """np.ascontiguousarray, of an array."""
    found = np.ascontiguousarray(a, dtype)
    calls = STATE.calls
    if calls is not None and found.size and not np.may_share_memory(found, a):
        calls.append(Call(np.copyto, (found.reshape(np.shape(a)), a), {"casting": "unsafe"}))
    return found


def reshaped(a: Any, *shape: int) -> Any:
    """a.reshape(shape), of an array."""
    found = a.reshape(shape)
    calls = STATE.calls
    if calls is not None and found.size and not np.may_share_memory(found, a):
        calls.append(Call(np.copyto, (found.reshape(a.shape), a)))
    return found


class _State(threading.local):
    calls: Listing | None = None


#: how many forks made this process
FORKS = [0]


def _forked() -> None:
    FORKS[0] += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

#: how many threads make a list: looked at first, in each call of a kernel
ACTIVE = [0]
STATE = _State()


class Guarded:
    """A Kernel that sets flag[0] where its arguments are wrong; `error(*args)` is what to raise then."""

    __slots__ = ("error", "flag", "kernel")

    def __init__(self, kernel: Any, flag: Any, error: Callable[..., Exception]) -> None:
        self.kernel, self.flag, self.error = kernel, flag, error

    def __call__(self, *args: Any) -> None:
        self.kernel(*args)
        if self.flag[0]:
            raise self.error(*args)


def guarded(kernel: Callable[..., Any], flag: Any, error: Callable[..., Exception], *args: Any) -> None:
    """`kernel(*args)`, which looks whether data are in range; in a program nothing is done after it if they are not."""
    do(Guarded(kernel, flag, error), *args)


def note(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
    """Write down a call in this thread's list, if it makes one."""
    calls = STATE.calls
    if calls is not None:
        calls.append(Call(function, args, kwargs or {}))


def note_pieces(call: Callable[..., Any], pieces: list[tuple[Any, ...]]) -> bool:
    """Do `call(*piece)` for each piece in turn and write them down as such; False where this thread makes no list."""
    calls = STATE.calls
    if calls is None:
        return False
    if len(pieces) == 1:
        call(*pieces[0])
        return True
    parts, outer = [], calls.piece
    for i, piece in enumerate(pieces):
        begun = len(calls)
        calls.piece = i
        try:
            call(*piece)
        finally:
            calls.piece = outer
        parts.append(tuple(calls[begun:]))
        del calls[begun:]
    calls.append(Call(Pieces(tuple(parts))))
    return True


def keep(*arrays: Any) -> None:
    """Let the call that was noted last keep arrays alive whose addresses it got."""
    calls = STATE.calls
    if calls:
        calls[-1] = calls[-1]._replace(keep=arrays)


def own(local: threading.local) -> Any:
    """`local`, where a thread keeps its scratch memory; what stands for it while a list is made."""
    return local if STATE.calls is None else STATE.calls.own(local)


def do(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`function(*args, **kwargs)`, which touches data in a function that is LOWERED: one entry of the list, whatever it
    calls. Its result is the same array in each run, so it writes into one that is given.
    """
    calls = STATE.calls
    if calls is None:
        return function(*args, **kwargs)
    calls.append(Call(function, args, kwargs))
    STATE.calls = None
    try:
        return function(*args, **kwargs)
    finally:
        STATE.calls = calls
