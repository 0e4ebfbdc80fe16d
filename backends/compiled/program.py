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

from . import Unavailable, available
from .build import Kernel
from .listed import ACTIVE, FORKS, STATE, Call, Guarded, Host, Listing, Live, Pieces, Translation, do, number

__all__ = ["LOWERED", "SCALARS", "Call", "Host", "Listing", "Live", "Program", "do", "listing"]

#: names of kernels and rules, and of optimizers' steps, that can be listed
LOWERED: frozenset[str] = frozenset(
    (
        *("linear", "linear.grad.bias", "linear.grad.input", "linear.grad.weight", "matmul"),
        *("adadelta", "adagrad", "adam", "adamax", "lion", "nadam", "radam", "rmsprop", "sgd"),
        *("abs.grad", "celu", "celu.grad", "clamp", "clamp.grad.input", "elu", "elu.grad", "erf", "erf.grad", "exp"),
        *("expm1", "gelu", "gelu.grad", "glu", "glu.grad", "hardsigmoid", "hardsigmoid.grad", "hardswish"),
        *("hardswish.grad", "leaky_relu", "leaky_relu.grad", "log", "log1p", "logsigmoid", "logsigmoid.grad", "mish"),
        *("mish.grad", "relu", "relu.grad", "selu", "selu.grad", "sigmoid", "sigmoid.grad", "silu", "silu.grad"),
        *("softplus", "softplus.grad"),
        *("conv", "conv.grad.bias", "conv_input", "conv_weight", "max_pool", "window_scatter", "axis_map"),
        *("dropout_by_seed", "keep_by_seed", "vector_norm", "mean", "sum", "tanh.grad"),
        *("embedding", "embedding_grad", "gather", "index_adjoint", "index_put", "scatter_add"),
        *("batch_norm_relu", "batch_norm_relu.grad", "batch_normalised", "batch_normalised.grad"),
        *("layer_norm", "layer_norm.grad", "rms_norm", "rms_norm.grad"),
        *("scaled_dot_product_attention", "scaled_dot_product_attention.grad"),
        *("gru", "gru.grad", "lstm", "lstm.grad", "rnn", "rnn.grad"),
        *("cross_entropy", "cross_entropy.grad", "log_softmax", "log_softmax.grad", "softmax", "softmax.grad"),
    )
)


#: those of them whose single number is NumPy's scalar, except in a list
SCALARS = frozenset(("mean", "sum", "vector_norm"))


@contextlib.contextmanager
def listing(scratch: dict[Any, Any] | None = None) -> Iterator[Listing]:
    """The list of the calls that this thread makes within. `scratch`: where lists share their scratch memory."""
    available()  # which is found out by a kernel
    before, STATE.calls = STATE.calls, Listing(scratch)
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
        stages: list[list[list[Any]]] = []
        live: list[Any] = []
        calls = list(calls)
        self._keep.append(calls)
        for call, found in self._ordered(calls):
            if found is None:
                self._close(stages, live)
                self.parts.append(_bound(call))
                continue
            live += found.live
            for pieces in found.stages:
                if len(pieces) == 1 and stages and len(stages[-1]) == 1:
                    stages[-1][0] += pieces[0]
                else:
                    stages.append(pieces)
        self._close(stages, live)

    def _ordered(self, calls: Iterable[Call]) -> list[tuple[Call, Translation | None]]:
        """The calls, each with its pieces, and those of the host before the kernels that they follow.

        So these are one stretch. Not before what may raise: after that, an eager step would count nothing.
        """
        done: list[Any] = []
        kernels: list[Any] = []
        for call in calls:
            found = self._pieces(call)
            if isinstance(call.function, Host):
                done.append((call, None))
            elif found is None or isinstance(call.function, Guarded):
                done += [*kernels, (call, found)]
                kernels = []
            else:
                kernels.append((call, found))
        return done + kernels

    def _pieces(self, call: Call) -> Translation | None:
        """The pieces of a call of machine code alone; None for others."""
        function, args, kwargs, _ = call
        if isinstance(function, (Kernel, Guarded)):
            return None if kwargs else Translation([[[(function, args)]]])
        if not isinstance(function, Pieces):
            return self._translated(call)
        pieces, live = [], []
        for piece in function.pieces:
            flat: list[Any] = []
            for inner in piece:
                found = self._pieces(inner)
                if found is None:
                    return None
                flat += found.calls()  # pieces within pieces are one thread's
                live += found.live
            pieces.append(flat)
        return Translation([pieces], live=live)

    def _translated(self, call: Call) -> Translation | None:
        if not available():
            return None
        try:
            from .foreign import translated

            found = translated(call)
        except Unavailable:  # Python makes the call
            return None
        if found is not None:
            self._keep.append(found.keep)
        return found

    def _close(self, stages: list[list[list[Any]]], live: list[Any]) -> None:
        if stages:
            self.parts.append(_stretch(list(stages), list(live)))
            stages.clear()
            live.clear()

    def run(self) -> None:
        """Do it all; another thread's run has to end first."""
        if self._forks != FORKS[0]:  # a thread of the parent's may hold the lock
            self._lock, self._forks = threading.Lock(), FORKS[0]
        with self._lock:
            for part in self.parts:
                part()


def _stretch(stages: list[list[list[Any]]], live: list[Any]) -> Callable[[], None]:
    """What runs stages of kernels: machine code, or Python where that cannot be made."""
    try:
        from .lockstep import Stretch

        stretch = Stretch(stages)
    except Unavailable:
        calls = [call for stage in stages for piece in stage for call in piece]

        def one_by_one() -> None:
            for memory, i, cell in live:
                memory[i] = cell.value
            for function, args in calls:
                function(*map(number, args))

        return one_by_one
    stretch.live += live
    return stretch.run


def _bound(call: Call) -> Callable[[], Any]:
    """A call with its arguments."""
    function, args, kwargs, _ = call
    if not any(isinstance(a, Live) for a in (*args, *kwargs.values())):
        return functools.partial(function, *args, **kwargs)

    def live() -> None:
        function(*map(number, args), **{name: number(a) for name, a in kwargs.items()})

    return live
