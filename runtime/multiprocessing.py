"""`chainrule.multiprocessing`: Python's multiprocessing, and `spawn` for a function of the rank.

A tensor after `share_memory_()`, a module after `share_memory()`, is one memory for the processes that are started with
it. A tensor that goes through a queue is pickled: the other process gets a copy, not the same memory.
"""

from __future__ import annotations

import multiprocessing as _python
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import *  # noqa: F403
from typing import Any

__all__ = [
    *_python.__all__,  # type: ignore[attr-defined]
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "set_sharing_strategy",
    "spawn",
    "start_processes",
]


def set_sharing_strategy(new_strategy: str) -> None:
    """Takes 'file_descriptor' and 'file_system'; tensors are copied whichever it is."""
    if new_strategy not in get_all_sharing_strategies():
        raise AssertionError(f"there is no sharing strategy {new_strategy!r}")
    _strategy[0] = new_strategy


_strategy = ["file_descriptor"]


def get_sharing_strategy() -> str:
    """What `set_sharing_strategy` was given."""
    return _strategy[0]


def get_all_sharing_strategies() -> set[str]:
    """The two names that PyTorch has."""
    return {"file_descriptor", "file_system"}


class _Processes:
    """What `spawn(join=False)` returns."""

    def __init__(self, processes: list[Any], errors: list[Any]) -> None:
        self.processes, self._errors = processes, errors
        self._texts: dict[int, tuple[bool, str]] = {}

    def pids(self) -> list[int]:
        """The processes' numbers."""
        return [p.pid for p in self.processes]

    def join(self, timeout: float | None = None) -> bool:
        """Wait for all; RuntimeError with the traceback of the first that failed, the others are ended."""
        from multiprocessing.connection import wait

        running = {p.sentinel: i for i, p in enumerate(self.processes) if p.exitcode is None}
        done = wait(list(running), timeout) if running else []
        for sentinel in done:
            self.processes[running[sentinel]].join()  # it has closed its end, and is about to be gone
        failed = next((i for i, p in enumerate(self.processes) if p.exitcode not in (None, 0)), None)
        if failed is None:
            return len(done) == len(running)
        failed = self._first_to_fail(failed)
        for p in self.processes:
            if p.is_alive():
                p.terminate()
            p.join()
        code = self.processes[failed].exitcode
        how = f"was killed by {_signal(code)}" if code < 0 else f"terminated with exit code {code}"
        text = self._text(failed)[1]
        raise RuntimeError(f"process {failed} {how}" + (f"\n\n{text}" if text else ""))

    def _text(self, index: int) -> tuple[bool, str]:
        """(whether it ended because another did, its traceback)"""
        if index not in self._texts:
            self._texts[index] = (False, "") if self._errors[index].empty() else self._errors[index].get()
        return self._texts[index]

    def _first_to_fail(self, failed: int) -> int:
        """The process with the cause: those that only noticed that another had gone may have ended before it."""
        end = time.monotonic() + 2
        while True:
            ended = [i for i, p in enumerate(self.processes) if p.exitcode not in (None, 0)]
            causes = [i for i in ended if not self._text(i)[0]]
            if causes or time.monotonic() > end or all(p.exitcode is not None for p in self.processes):
                return causes[0] if causes else failed
            time.sleep(0.02)


def _signal(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _run(fn: Callable[..., Any], rank: int, args: tuple[Any, ...], errors: Any) -> None:
    try:
        fn(rank, *args)
    except BaseException as error:
        import traceback

        text = traceback.format_exc()
        distributed = sys.modules.get(_COMMUNICATION)
        errors.put((distributed is not None and isinstance(error, distributed.PeerError), text))
        if distributed is not None:
            distributed.fail(text)  # the processes of its world are to end as well, and to say why
        raise SystemExit(1) from None


_COMMUNICATION = f"{__name__.partition('.')[0]}.backends.communication"


def start_processes(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> Any:
    """Run `fn(rank, *args)` in `nprocs` processes. RuntimeError with its traceback where one fails.

    join: wait for their end; otherwise what is returned has `join(timeout=None)`, True when all have ended. daemon:
    they end with this process. start_method: "spawn", "fork" or "forkserver".
    """
    context: Any = _python.get_context(start_method)
    errors = [context.SimpleQueue() for _ in range(nprocs)]
    processes = [
        context.Process(target=_run, args=(fn, rank, args, errors[rank]), daemon=daemon) for rank in range(nprocs)
    ]
    for p in processes:
        p.start()
    started = _Processes(processes, errors)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> Any:
    """`start_processes` in fresh interpreters, for functions that can be imported by name."""
    return start_processes(fn, args, nprocs, join, daemon, start_method)
