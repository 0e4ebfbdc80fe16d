"""Programs: a list of calls of kernels, made while they run, and done again without what decided upon them.

    with listing() as calls:
        out = kernels["linear"](x, weight, bias)     # a name in LOWERED
    if not calls.whole: ...                          # NumPy's own kernel served: the list says nothing, `out` is there
    program = Program(calls)
    program.run()                                    # the same into the same memory

While a list is made, each call of a kernel, each `run` of pieces (pool.py) and each `do` is carried out and noted. A
function is LOWERED when all that touches data in it is one of these three; the rest of it (checks of shapes and
layouts, plans, memory) is done once. A list keeps the arrays alive that its calls got, so their memory is theirs.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from . import available
from .build import Kernel
from .listed import ACTIVE, FORKS, STATE, Call, Guarded, Listing, Live, Pieces, do, number

__all__ = ["LOWERED", "Call", "Listing", "Live", "Program", "do", "listing"]

#: names of kernels and rules, and of optimizers' steps, that can be listed
LOWERED: frozenset[str] = frozenset(
    (
        *("linear", "linear.grad.bias", "linear.grad.input", "linear.grad.weight", "matmul"),
        *("adadelta", "adagrad", "adam", "adamax", "lion", "nadam", "radam", "rmsprop", "sgd"),
        *("relu", "relu.grad"),
        *("cross_entropy", "cross_entropy.grad", "log_softmax", "log_softmax.grad", "softmax", "softmax.grad"),
    )
)


@contextlib.contextmanager
def listing() -> Iterator[Listing]:
    """The list of the calls that this thread makes within."""
    available()  # which is found out by a kernel
    before, STATE.calls = STATE.calls, Listing()
    ACTIVE[0] += 1
    try:
        yield STATE.calls
    finally:
        STATE.calls = before
        ACTIVE[0] -= 1


class Program:
    """Calls to be done again, in their order; a `Live` among their arguments stands for the number it holds then.

    Kernels that follow one another are one stretch (lockstep.py); anything else is called from Python.
    """

    def __init__(self, calls: Iterable[Call]) -> None:
        self._lock, self._forks = threading.Lock(), FORKS[0]
        self.parts: list[Callable[[], Any]] = []
        self._keep: list[Any] = []  # what translated calls work on
        self._live: list[Any] = []
        stages: list[list[list[Any]]] = []
        for call in calls:
            found = self._pieces(call)
            if found is None:
                self._close(stages)
                self.parts.append(_bound(call))
            elif len(found) == 1 and stages and len(stages[-1]) == 1:
                stages[-1][0] += found[0]
            else:
                stages.append(found)
        self._close(stages)

    def _pieces(self, call: Call) -> list[list[Any]] | None:
        """The pieces of a call of machine code alone, each a list of (kernel, arguments); None for others."""
        function, args, kwargs = call
        if isinstance(function, (Kernel, Guarded)):
            return None if kwargs else [[(function, args)]]
        if not isinstance(function, Pieces):
            found = self._translated(call)
            return None if found is None else found.pieces
        pieces = []
        for piece in function.pieces:
            flat: list[Any] = []
            for inner in piece:
                parts = self._pieces(inner)
                if parts is None:
                    return None
                flat += [call for part in parts for call in part]  # pieces within pieces are one thread's
            pieces.append(flat)
        return pieces

    def _translated(self, call: Call) -> Any:
        if not available():
            return None
        from .foreign import translated

        found = translated(call)
        if found is not None:
            self._keep.append(found.keep)
            self._live += found.live
        return found

    def _close(self, stages: list[list[list[Any]]]) -> None:
        if stages:
            from .lockstep import Stretch

            stretch = Stretch(list(stages))
            stretch.live += self._live
            self._live = []
            self.parts.append(stretch.run)
            stages.clear()

    def run(self) -> None:
        """Do it all; another thread's run has to end first."""
        if self._forks != FORKS[0]:  # a thread of the parent's may hold the lock
            self._lock, self._forks = threading.Lock(), FORKS[0]
        with self._lock:
            for part in self.parts:
                part()


def _bound(call: Call) -> Callable[[], Any]:
    """A call with its arguments."""
    function, args, kwargs = call
    if not any(isinstance(a, Live) for a in (*args, *kwargs.values())):
        return functools.partial(function, *args, **kwargs)

    def live() -> None:
        function(*map(number, args), **{name: number(a) for name, a in kwargs.items()})

    return live
