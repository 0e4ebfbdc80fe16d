"""NumPy's recorder: a step is run once on recorded arrays (../recorded.py), and each call is noted with its buffers.

The first run carries everything out, so its results are this call's; the arrays that it made are the buffers of all
later runs. A call of a ufunc writes straight into its buffer; a kernel that can be listed (compiled/program.py) leaves
its calls of machine code; any other function is called again (again.py), which may take memory for a while, and what it
returns is copied into the buffer. A view needs no entry: it is the same memory.

Whose memory an entry writes into decides what else is kept (memories.py). Memory from outside (parameters, statistics,
an optimizer's state) is copied before the first write, to be put back should the recording fail. Memory that was filled
without the recorder (`zeros`, a number of Python's) gets an entry that fills it again, if anything writes into it.
"""

from __future__ import annotations

import contextlib
import gc
import operator
from _thread import get_ident
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..compiled import program
from ..compiled.program import Call, Host, Live, Program
from ..recorded import RecordedArray, complex_scalars
from ..recorder import CaptureError, Entry, Recorded, Recorder, paused, within
from .again import (
    Cell,
    Residual,
    again,
    alike,
    arrays_of,
    as_kept,
    changes,
    differs,
    flat,
    held,
    in_place,
    is_pair,
    now,
    putter,
    rebuilt,
)
from .memories import Memories
from .memory import ARENAS
from .moves import CONSTANT, moves
from .steps import STEPS

__all__ = ["NumpyRecorder"]

_UFUNCS: dict[Any, np.ufunc] = {
    operator.add: np.add,
    operator.sub: np.subtract,
    operator.mul: np.multiply,
    operator.truediv: np.true_divide,
}


class NumpyRecorder(Recorder):
    """One recording of a step on NumPy arrays. `entries` is the list, `owner` gives the array that owns memory."""

    def __init__(self, owner: Callable[[Any], Any]) -> None:
        self.entries: list[Entry] = []
        self.failure: BaseException | None = None
        self.guards: list[Callable[[], bool]] = []
        self.program = Program([])
        self.memories = Memories(owner)
        #: id of an array from outside, or made of constants -> as the step sees it
        self._entered: dict[int, RecordedArray] = {}
        self._statics: list[Any] = []
        self._written: list[Any] = []
        self._undo: list[Callable[[], Any]] = []
        self._sources: list[Any] = []
        self._cells: list[Cell] = []
        self._scratch: dict[Any, Any] = {}

    # -- arrays -------------------------------------------------------------------------------------------------------

    def static(self, array: Any) -> Any:
        buffer = alike(array)
        self._statics.append(buffer)
        self._entered[id(buffer)] = self.memories.view(buffer, isinstance(array, np.generic))
        return buffer

    def enter(self, array: Any) -> Any:
        """An array from outside, as the step sees it: the same wrapper each time."""
        found = self._entered.get(id(array))
        if found is None or found.held is not array:
            scalar = isinstance(array, np.generic)
            found = self.memories.view(np.asarray(array) if scalar else array, scalar, outside=True)
            self._entered[id(found.held)] = found
        return found

    def made(self, array: Any) -> Any:
        """An array that the step filled without the recorder, as it sees it."""
        scalar = isinstance(array, np.generic)
        array = np.asarray(array) if scalar else array
        filling = self.memories.fill(array)
        if filling is not None:
            self.entries.append(filling)
        found = self._entered[id(array)] = self.memories.view(array, scalar)
        return found

    def sole(self, array: RecordedArray) -> bool:
        """Whether nothing but `array` holds its memory, all of it."""
        return self.memories.sole(array)

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self, name: str, function: Callable[..., Any], args: Any, kwargs: dict[str, Any], writes: Any = ()) -> Any:
        """Carry a call out and note it. `writes`: what it writes into; otherwise its results get buffers."""
        self.memories.about_to_write(writes)
        kept, named = as_kept(tuple(args)), as_kept(kwargs)
        out = _carried_out(function, kept, named)
        if out is NotImplemented:
            return out
        if writes:
            self._note(name, (args, kwargs), writes, [again(function, kept, named, None)])
            return next((x for x in writes if held(x) is out), None) if isinstance(out, np.ndarray) else None
        return self._results(name, function, (args, kwargs), kept, named, out)

    def elementwise(self, ufunc: np.ufunc, inputs: tuple[Any, ...], out: Any = None) -> Any:
        """A ufunc, which writes straight into its buffer."""
        name, kept = ufunc.__name__, as_kept(tuple(inputs))
        if isinstance(out, tuple):
            return self.call(name, ufunc, inputs, {"out": out}, out)
        if out is not None:
            self.memories.about_to_write((out,))
            into = {"out": held(out)}
            _carried_out(ufunc, kept, into)
            self._note(name, inputs, (out,), [again(ufunc, kept, into, None)])
            return out
        value = _carried_out(ufunc, kept, {})
        if not isinstance(value, np.ndarray):
            return self._results(name, ufunc, inputs, kept, {}, value)
        value = self.memories.adopted(inputs, value)
        # a 0-d array stands for a scalar: they have the same dtype, and the elements of an array are computed alike
        self._note(name, inputs, (value,), [again(ufunc, in_place(kept), {"out": value}, None)])
        return self.memories.view(value)

    def kernel(self, name: str, kernel: Callable[..., Any], args: Any, params: dict[str, Any]) -> Any:
        """A kernel of the NumPy backend."""
        ufunc = kernel if isinstance(kernel, np.ufunc) else _UFUNCS.get(kernel)
        if ufunc is not None and not params and (ufunc is kernel or not complex_scalars(args)):
            return self.elementwise(ufunc, args)
        given, kept, named = (args, params), as_kept(tuple(args)), as_kept(params)
        if name not in program.LOWERED or differs((kept, named)) or next(arrays_of((kept, named)), None) is None:
            out = _carried_out(kernel, kept, named)
            return out if out is NotImplemented else self._results(name, kernel, given, kept, named, out)
        with self._lent() as taken:
            with program.listing(self._scratch) as calls:  # not paused: numbers that follow from live ones are live
                out = kernel(*in_place(kept), **in_place(named))
            blocks = list(taken)
        try:
            if out is NotImplemented:
                return out
            if calls.whole:
                return self._listed(name, given, out, list(calls))
            return self._results(name, kernel, given, kept, named, out)
        finally:  # what nobody was given is free after the call
            self.memories.give_back(blocks)

    @contextlib.contextmanager
    def _lent(self) -> Iterator[list[Any]]:
        """A block in which kernels have their memory from the arena; gives the list of what they take."""
        arena = self.memories.arena
        arena.taken.clear()
        ARENAS[get_ident()] = arena
        try:
            yield arena.taken
        finally:
            del ARENAS[get_ident()]

    def _listed(self, name: str, given: Any, out: Any, calls: list[Call]) -> Any:
        """The result of a kernel whose calls of machine code are the entry."""
        if is_pair(out):
            residual = Residual(out[1])
            self.memories.keep(out[1], residual)
            result = self._wrapped(given, out[0])
            self._note(name, given, tuple(arrays_of(out[0])), calls)
            return result, residual
        scalar = name in program.SCALARS and not out.ndim
        result = self.memories.view(out, True) if scalar else self._wrapped(given, out)
        self._note(name, given, tuple(arrays_of(out)), calls)
        return result

    def _results(self, name: str, function: Any, given: Any, kept: Any, named: Any, out: Any) -> Any:
        """The result of a call that is made again, and whose results are copied into the buffers."""
        if name in CONSTANT and isinstance(out, (np.ndarray, np.generic)) and not changes((kept, named)):
            return self.made(out)
        cell = None
        if is_pair(out):
            out, cell = out[0], Cell(out[1])
            self._cells.append(cell)
            self.memories.keep(cell.value, cell)
        out = self.memories.adopted(given, out)
        result = self._wrapped(given, out)
        put = self._putting(given, out, result)
        if put is not None or cell is not None:
            put = put if cell is None else _with_cell(cell, put)
            calls = moves(name, kept, named, out) or [again(function, kept, named, put)]
            self._note(name, given, tuple(arrays_of(result)), calls)
        return result if cell is None else (result, cell)

    def _wrapped(self, given: Any, out: Any) -> Any:
        """A result as the step sees it: an array that was given, or comes twice, is one array there, too."""
        return self._seen({id(x.held): x for x in arrays_of(given) if isinstance(x, Recorded) and not x.scalar}, out)

    def _seen(self, known: dict[int, Any], out: Any) -> Any:
        if isinstance(out, np.ndarray):
            if id(out) not in known:
                known[id(out)] = self.memories.view(out)
            return known[id(out)]
        if isinstance(out, np.generic):
            return self.memories.view(np.asarray(out), True)
        if isinstance(out, (tuple, list)):
            return rebuilt(out, lambda x: self._seen(known, x))
        if out is None or isinstance(out, (bool, str)):
            return out
        raise CaptureError(f"a call gave {out!r:.40}, a number of Python's, which would be the same at each replay")

    def _putting(self, given: Any, out: Any, result: Any) -> Callable[[Any], None] | None:
        """What puts a new result into the buffers of the first one; None where all of it is in given memory."""
        if isinstance(out, (tuple, list)):
            found = [(i, self._putting(given, x, r)) for i, (x, r) in enumerate(zip(out, result, strict=True))]
            parts = [(i, put) for i, put in found if put is not None]

            def put_all(new: Any) -> None:
                for i, put in parts:
                    put(new[i])

            return put_all if parts else None
        if not isinstance(out, (np.ndarray, np.generic)):
            return None
        return None if isinstance(out, np.ndarray) and self.memories.given(out, given) else putter(result.held)

    def _note(self, name: str, given: Any, outputs: Sequence[Any], calls: list[Call]) -> None:
        self.entries.append(Entry(name, [*map(held, arrays_of(given))], [*map(held, outputs)], calls))

    def update(self, name: str, function: Callable[..., Any], *args: Any, writes: Sequence[Any], **numbers: Any) -> Any:
        """A step of an optimizer: `function(optimizer, p, g, *state, **numbers)`."""
        step, arrays = STEPS.get(name), [held(x) for x in args[1:]]
        if name not in program.LOWERED or step is None or not all(x.flags.c_contiguous for x in arrays):
            self.call(name, function, args, numbers, writes)
            return
        self.memories.about_to_write(writes)
        with program.listing(self._scratch) as calls:
            out = step(*[_numbers(x) for x in arrays], **numbers)
        if out is NotImplemented:
            self.call(name, function, args, numbers, writes)
            return
        listed = list(calls) if calls.whole else [again(function, as_kept(args), as_kept(numbers), None)]
        self._note(name, (args, numbers), writes, listed)

    def check(self, function: Callable[..., Any], *args: Any) -> None:
        kept = as_kept(args)
        _carried_out(function, kept, {})
        self._note("check", args, (), [again(function, kept, {}, None)])

    # -- the host -----------------------------------------------------------------------------------------------------

    def host(self, action: Callable[[], Any], undo: Callable[[], Any] | None = None) -> Any:
        if undo is not None:
            self._undo.append(undo)
        with paused():
            result = action()

        def repeat() -> None:
            action()

        self._note_host("host", repeat)
        return result

    def live(self, compute: Callable[[], Any], undo: Callable[[], Any] | None = None) -> Any:
        cells: list[Live] = []

        def cell(x: Any) -> Any:
            if isinstance(x, (tuple, dict)):
                return rebuilt(x, cell)
            cells.append(Live(x))
            return cells[-1]

        def repeat() -> None:
            for c, value in zip(cells, flat(compute()), strict=True):
                c.value = value

        if undo is not None:
            self._undo.append(undo)
        with paused():
            found = cell(compute())
        self._note_host("numbers", repeat)
        return found

    def _note_host(self, name: str, action: Callable[[], None]) -> None:
        function: Any = Host(action)
        self.entries.append(Entry(name, (), (), [Call(function)]))

    def guard(self, holds: Callable[[], bool]) -> None:
        self.guards.append(holds)

    # -- random numbers -----------------------------------------------------------------------------------------------

    def source(self, find: Callable[[], Any]) -> Any:
        return _Source(self, find)

    def draw(self, name: str, find: Callable[[], Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Numbers of the generator that `find()` gives: other ones at each replay."""
        self._undo_draws(find)
        if name == "seed_of_hash":
            return self.live(lambda: find().seed_of_hash())

        def drawn(*args: Any, **kwargs: Any) -> Any:
            return getattr(find(), name)(*args, **kwargs)

        return self.call(name, drawn, args, kwargs)

    def state(self, find: Callable[[], Any]) -> Any:
        return self.call("get_state", lambda: find().get_state().array, (), {})

    def set_state(self, find: Callable[[], Any], state: Any) -> None:
        self._undo_draws(lambda: find().source)
        self.check(lambda array: find().go_on(array), state)

    def _undo_draws(self, find: Callable[[], Any]) -> None:
        """See that a recording that fails has drawn nothing."""
        with paused():
            source = find()
            if not any(source is s for s in self._sources):
                self._sources.append(source)
                before = source.get_state()
                self._undo.append(lambda: source.set_state(before))

    # -- the whole ----------------------------------------------------------------------------------------------------

    def record(self, step: Callable[[], Any]) -> Any:
        collecting = gc.isenabled()
        gc.disable()  # when an array dies decides whose memory is used again: two recordings are to be the same
        with within(self):
            try:
                result = step()
                if self.failure is not None:
                    raise self.failure
            except BaseException as error:
                for undo in reversed(self._undo):
                    undo()
                self.memories.restore()
                if self.failure is None or self.failure is error:
                    raise
                raise self.failure from error  # what it was made of on its way
            finally:
                if collecting:
                    gc.enable()
        self.entries = [e for e in self.entries if e.calls]
        self.program = Program([call for entry in self.entries for call in entry.calls])
        self._written = self.memories.written()
        self._undo.clear()
        self._entered.clear()
        self._empty_cells()
        self.memories.forget()
        return result

    def changed_arguments(self) -> bool:
        return any(self.memories.of(buffer).written for buffer in self._statics)

    def listing(self) -> list[Entry]:
        return self.entries

    def written(self) -> list[Any]:
        return self._written

    def replay(self, arrays: Sequence[Any]) -> None:
        for buffer, array in zip(self._statics, arrays, strict=True):
            np.copyto(buffer, array)
        self.program.run()
        self._empty_cells()

    def _empty_cells(self) -> None:
        """Let go of what kernels kept for their gradients."""
        for cell in self._cells:
            cell.value = None


class _Source:
    """A generator whose draws are entries."""

    def __init__(self, recorder: NumpyRecorder, find: Callable[[], Any]) -> None:
        self._recorder, self._find = recorder, find

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._recorder.draw(name, self._find, args, kwargs)


def _carried_out(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """A call of kept arguments, as they are now, which is not recorded itself."""
    with paused():
        return function(*map(now, args), **{k: now(v) for k, v in kwargs.items()})


def _with_cell(cell: Cell, put: Callable[[Any], None] | None) -> Callable[[Any], None]:
    """What puts the pair of a composite's kernel where it belongs."""

    def put_pair(new: Any) -> None:
        cell.value = new[1]
        if put is not None:
            put(new[0])

    return put_pair


def _numbers(x: Any) -> Any:
    """A contiguous array as a flat one; of complex numbers real and imaginary parts, as optimizers take them."""
    flat = x.reshape(-1)
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat
