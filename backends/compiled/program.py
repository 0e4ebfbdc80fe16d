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
from collections.abc import Iterable, Iterator

from . import available
from .listed import ACTIVE, STATE, Call, Listing, Live, do

__all__ = ["LOWERED", "Call", "Listing", "Live", "Program", "do", "listing"]

#: names of kernels and rules, and of optimizers' steps, that can be listed
LOWERED: frozenset[str] = frozenset()


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
    """Calls to be done again, in their order; a `Live` among their arguments stands for the number it holds then."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.calls = list(calls)

    def run(self) -> None:
        for function, args, kwargs in self.calls:
            function(*[a.value if type(a) is Live else a for a in args], **kwargs)
