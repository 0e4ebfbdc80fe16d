"""The threads that kernels run on: the calling one and workers of our own.

A kernel whose last two arguments are `start` and `stop` is cut into as many pieces as there are threads: the same
pieces for the same number of threads, so results do not differ from run to run. Kernels release the GIL. Small work is
done by the caller alone: to wake a worker takes some ten microseconds.

Turned down: numba's thread layers (its work queue ends the process when two Python threads enter it, OpenMP one that
was forked), concurrent.futures (48 microseconds a call).
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from ..threads import get_threads as threads
from .listed import ACTIVE, STATE, note_pieces

__all__ = ["parallel", "run", "threads", "worth"]

_jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
_workers: list[threading.Thread] = []
_start = threading.Lock()
_state = threading.local()


def _serve(jobs: Any) -> None:
    _state.worker = True
    while True:
        call, args, done = jobs.get()
        try:
            call(*args)
            done.put(None)
        except BaseException as error:
            done.put(error)
        del call, args, done


def _forget() -> None:
    """In a forked child the workers are gone."""
    global _jobs, _start
    _jobs, _start = queue.SimpleQueue(), threading.Lock()
    _workers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run(call: Callable[..., Any], pieces: list[tuple[Any, ...]]) -> None:
    """`call(*piece)` for each piece, on as many threads; the first error is raised once all have ended."""
    if ACTIVE[0] and note_pieces(call, pieces):
        return
    if len(pieces) == 1 or getattr(_state, "worker", False):
        for piece in pieces:
            call(*piece)
        return
    if len(_workers) < len(pieces) - 1:
        with _start:
            while len(_workers) < len(pieces) - 1:
                worker = threading.Thread(target=_serve, args=(_jobs,), name="chainrule-worker", daemon=True)
                worker.start()
                _workers.append(worker)
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    error: BaseException | None = None
    sent = 0
    try:
        for piece in pieces[1:]:
            _jobs.put((call, piece, done))
            sent += 1
        call(*pieces[0])
    except BaseException as failure:
        error = failure
    while sent:
        try:
            error = done.get() or error
            sent -= 1
        except KeyboardInterrupt as interrupt:  # not before the others have ended: they write into the caller's arrays
            error = interrupt
    if error is not None:
        raise error


def worth(least: int) -> int:
    """The work that is worth a thread: `least` where that has to be woken, less in a program, where it is awake."""
    return least if STATE.calls is None else max(least >> 4, 1)


def parallel(kernel: Callable[..., Any], total: int, *args: Any, least: int = 1, step: int = 1) -> None:
    """`kernel(*args, start, stop)` over 0 .. total, in pieces of at least `least` and multiples of `step`."""
    n = min(threads(), max(total // worth(least), 1))
    if n == 1:
        kernel(*args, 0, total)
        return
    size = -(-total // (n * step)) * step
    run(kernel, [(*args, i, min(i + size, total)) for i in range(0, total, size)])
