"""NumPy's recorder: a step is run once on recorded arrays (../recorded.py), and each call is noted with its buffers.

The first run carries everything out, so its results are this call's; the arrays that it made are the buffers of all
later runs. A call of a ufunc writes straight into its buffer; a kernel that can be listed (compiled/program.py) leaves
its calls of machine code; any other function is called again, and what it returns is copied into the buffer. A view
needs no entry: it is the same memory.

Whose memory an entry writes into decides what else is kept. Memory from outside (parameters, statistics, an
optimizer's state) is copied before the first write, to be put back should the recording fail. Memory that was filled
without the recorder (`zeros`, a number of Python's) gets an entry that fills it again, if anything writes into it.
"""

from __future__ import annotations

import gc
import operator
import weakref
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..compiled import program
from ..compiled.program import Call, Host, Live, Program
from ..recorded import RecordedArray
from ..recorder import CaptureError, Entry, Recorded, Recorder, paused, within
from .arena import LEAST, Arena
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


class Cell:
    """What a kernel returned beside arrays, for the kernel of its gradient: another one at each replay."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: Any) -> None:
        self.value = value


class _Residual(Cell):
    """The same of a kernel that is listed: at each replay it is in the same arrays."""

    __slots__ = ()


class _Scalar:
    """Stands for a 0-d buffer among the arguments of a call that gets NumPy's scalar."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    @property
    def value(self) -> Any:
        return self.array[()]


_LATE = (Cell, Live, _Scalar)


class _Memory:
    """The memory that arrays of a step share: who filled it, and what it held before."""

    __slots__ = ("before", "filling", "outside", "owner", "size", "turns", "views", "written")

    def __init__(self, owner: Any, outside: bool, filling: Entry | None = None, turns: bool = False) -> None:
        self.owner, self.outside, self.filling, self.size = owner, outside, filling, owner.nbytes
        #: whether it is used again when nothing holds it
        self.turns = turns
        self.before: Any = None
        self.written = False
        self.views: list[weakref.ref[Any]] = []


class _Again:
    """A function to be called again, whose results go into the buffers of the first call."""

    __slots__ = ("args", "function", "kwargs", "put")

    def __init__(self, function: Any, args: Any, kwargs: Any, put: Callable[[Any], None] | None) -> None:
        self.function, self.args, self.kwargs, self.put = function, args, kwargs, put

    def __call__(self) -> None:
        out = self.function(*map(_now, self.args), **{k: _now(v) for k, v in self.kwargs.items()})
        if self.put is not None:
            self.put(out)


class _Plainly:
    """The same, where no argument changes."""

    __slots__ = ("args", "function", "kwargs", "put")

    def __init__(self, function: Any, args: Any, kwargs: Any, put: Callable[[Any], None]) -> None:
        self.function, self.args, self.kwargs, self.put = function, args, kwargs, put

    def __call__(self) -> None:
        self.put(self.function(*self.args, **self.kwargs))


def _now(x: Any) -> Any:
    """An argument as it is at this replay."""
    if type(x) in _LATE:
        return x.value
    return _rebuilt(x, _now) if isinstance(x, (tuple, list, dict)) else x


def _late(x: Any) -> Any:
    """An argument as an entry keeps it."""
    if isinstance(x, Recorded):
        return _Scalar(x.held) if x.scalar else x.held
    if type(x) is _Residual:
        return x.value
    return _rebuilt(x, _late) if isinstance(x, (tuple, list, dict)) else x


def _changes(x: Any) -> bool:
    """Whether an argument that an entry keeps is another one at each replay."""
    if isinstance(x, dict):
        x = list(x.values())
    return type(x) in _LATE or (isinstance(x, (tuple, list)) and any(map(_changes, x)))


def _differs(x: Any) -> bool:
    """Whether an argument is what a kernel made anew at each replay: not a number in a cell, nor an array."""
    if isinstance(x, dict):
        x = list(x.values())
    return type(x) is Cell or (isinstance(x, (tuple, list)) and any(map(_differs, x)))


def _in_place(x: Any) -> Any:
    """An argument for a kernel that is listed: it reads a scalar where that is, at each replay."""
    if type(x) is _Scalar:
        return x.array
    return _rebuilt(x, _in_place) if isinstance(x, (tuple, list, dict)) else x


def _rebuilt(x: Any, change: Callable[[Any], Any]) -> Any:
    """A container with each element changed; the same where none is."""
    if isinstance(x, dict):
        found = {k: change(v) for k, v in x.items()}
        return x if all(map(operator.is_, found.values(), x.values())) else found
    items = [change(v) for v in x]
    if all(map(operator.is_, items, x)):
        return x
    if type(x) in (tuple, list):
        return type(x)(items)
    made = tuple.__new__(type(x), items) if isinstance(x, tuple) else type(x)(items)
    made.__dict__.update(getattr(x, "__dict__", {}))
    return made


def _alike(array: Any) -> Any:
    """A copy whose elements lie as far from one another: the order in which NumPy takes them is the same."""
    strides = array.strides
    if array.flags.forc or not array.size or 0 in strides:
        return np.array(array, copy=True, order="K")
    reach = [(n - 1) * step for n, step in zip(array.shape, strides)]
    below = -sum(r for r in reach if r < 0)
    memory = np.zeros(below + sum(r for r in reach if r > 0) + array.itemsize, "u1")
    buffer = np.ndarray(array.shape, array.dtype, memory, below, strides)
    buffer[...] = array
    return buffer


def _held(x: Any) -> Any:
    return x.held if isinstance(x, Recorded) else x


def _arrays(x: Any) -> Iterator[Any]:
    """The recorded and other arrays among arguments or results."""
    if isinstance(x, (Recorded, np.ndarray)):
        yield x
    elif isinstance(x, dict):
        for v in x.values():
            yield from _arrays(v)
    elif isinstance(x, (tuple, list)):
        for v in x:
            yield from _arrays(v)


def _putter(target: Any) -> Callable[[Any], None]:
    """What copies a new result into the array of the first one."""
    shape, dtype = target.shape, target.dtype
    part: Any = ...
    if not target.flags.writeable:  # repeated by strides of 0: the memory under it holds each element once
        part = tuple([slice(0, 1) if step == 0 else slice(None) for step in target.strides])
        target = target[part]
        target.flags.writeable = True

    def put(value: Any) -> None:
        if getattr(value, "shape", None) != shape or value.dtype != dtype:
            raise CaptureError(
                f"a result is {value!r:.60} where {dtype}{list(shape)} was recorded: its shape depends on the data"
            )
        target[...] = value[part]

    return put


class NumpyRecorder(Recorder):
    """One recording of a step on NumPy arrays. `entries` is the list."""

    def __init__(self, owner: Callable[[Any], Any]) -> None:
        self.entries: list[Entry] = []
        self.failure: BaseException | None = None
        self.program = Program([])
        self._owner = owner
        self._memories: dict[int, _Memory] = {}
        self._entered: dict[int, RecordedArray] = {}
        self._statics: list[Any] = []
        self._written: list[Any] = []
        self._undo: list[Callable[[], Any]] = []
        self._sources: list[Any] = []
        self.guards: list[Callable[[], bool]] = []
        self.arena = Arena()
        self._scratch: dict[Any, Any] = {}

    # -- arrays -------------------------------------------------------------------------------------------------------

    def static(self, array: Any) -> Any:
        buffer = _alike(array)
        self._statics.append(buffer)
        self._entered[id(buffer)] = self._view(buffer, isinstance(array, np.generic), outside=False)
        return buffer

    def enter(self, array: Any) -> Any:
        """An array from outside, as the step sees it: the same wrapper each time."""
        found = self._entered.get(id(array))
        if found is None or found.held is not array:
            scalar = isinstance(array, np.generic)
            found = self._view(np.asarray(array) if scalar else array, scalar, outside=True)
            self._entered[id(found.held)] = found
        return found

    def made(self, array: Any) -> Any:
        """An array that the step filled without the recorder, as it sees it."""
        scalar = isinstance(array, np.generic)
        held = np.asarray(array) if scalar else array
        owner = self._owner(held)
        if id(owner) not in self._memories:
            filling = Entry("fill", (), (owner,), [])
            self._memories[id(owner)] = _Memory(owner, False, filling)
            self.entries.append(filling)
        found = self._entered[id(held)] = self._view(held, scalar, outside=False)
        return found

    def _memory(self, held: Any, outside: bool = True) -> _Memory:
        owner = self._owner(held)
        memory = self._memories.get(id(owner))
        if memory is None:
            memory = self._memories[id(owner)] = _Memory(owner, outside, turns=id(owner) in self.arena.blocks)
        return memory

    def _view(self, held: Any, scalar: bool, outside: bool) -> RecordedArray:
        memory, found = self._memory(held, outside), RecordedArray(held, scalar)
        memory.size = held.nbytes if memory.turns and not memory.views else memory.size
        self._hold(memory, found)
        return found

    def _hold(self, memory: _Memory, holder: Any) -> None:
        """Keep memory from being used again as long as `holder` exists."""

        def gone(reference: Any) -> None:
            memory.views.remove(reference)
            if memory.turns and not memory.views:
                self.arena.give_back(memory.owner)

        memory.views.append(weakref.ref(holder, gone))

    def _keep(self, residual: Any, holder: Any) -> None:
        """Note what a kernel keeps for its gradient, which `holder` stands for."""
        for owner in {id(o): o for o in map(self._owner, _arrays(residual))}.values():
            self._hold(self._memory(owner, outside=False), holder)

    def sole(self, array: Any) -> bool:
        """Whether nothing but `array` holds its memory, all of it."""
        memory = self._memory(array.held)
        return len(memory.views) == 1 and not (memory.outside or memory.filling) and array.nbytes >= memory.size

    def _about_to_write(self, targets: Iterable[Any]) -> None:
        for target in targets:
            memory = self._memory(_held(target))
            memory.written = True
            if memory.before is None and memory.outside:
                memory.before = memory.owner.copy()
            elif memory.filling is not None and not memory.filling.calls:
                memory.filling.calls.append(Call(np.copyto, (memory.owner, memory.owner.copy())))

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self, name: str, function: Callable[..., Any], args: Any, kwargs: dict[str, Any], writes: Any = ()) -> Any:
        """Carry a call out and note it. `writes`: what it writes into; otherwise its results get buffers."""
        self._about_to_write(writes)
        late, late_kwargs = _late(tuple(args)), _late(kwargs)
        with paused():
            out = function(*map(_now, late), **{k: _now(v) for k, v in late_kwargs.items()})
        if out is NotImplemented:
            return out
        if writes:
            self._note(name, (args, kwargs), writes, [self._again(function, late, late_kwargs, None)])
            return next((x for x in writes if _held(x) is out), None) if isinstance(out, np.ndarray) else None
        return self._results(name, function, (args, kwargs), late, late_kwargs, out)

    def elementwise(self, ufunc: np.ufunc, inputs: tuple[Any, ...], out: Any = None) -> Any:
        """A ufunc, which writes straight into its buffer."""
        late = _late(tuple(inputs))
        if out is not None:
            if isinstance(out, tuple):
                return self.call(ufunc.__name__, ufunc, inputs, {"out": out}, out)
            self._about_to_write((out,))
            held = _held(out)
            with paused():
                ufunc(*map(_now, late), out=held)
            self._note(ufunc.__name__, inputs, (held,), [self._again(ufunc, late, {"out": held}, None)])
            return out
        with paused():
            value = ufunc(*map(_now, late))
        if not isinstance(value, np.ndarray):
            return self._results(ufunc.__name__, ufunc, inputs, late, {}, value)
        value = self._adopted(inputs, value)
        # a 0-d array stands for a scalar: they have the same dtype, and the elements of an array are computed alike
        late = tuple([x.array if type(x) is _Scalar else x for x in late])
        self._note(ufunc.__name__, inputs, (value,), [self._again(ufunc, late, {"out": value}, None)])
        return self._view(value, False, outside=False)

    def kernel(self, name: str, kernel: Callable[..., Any], args: Any, params: dict[str, Any]) -> Any:
        """A kernel of the NumPy backend."""
        ufunc = kernel if isinstance(kernel, np.ufunc) else _UFUNCS.get(kernel)
        if ufunc is not None and not params:
            return self.elementwise(ufunc, args)
        late, late_params = _late(tuple(args)), _late(params)
        given = late, late_params
        if name in program.LOWERED and not _differs(given) and next(_arrays(given), None) is not None:
            self.arena.taken.clear()
            ARENAS[get_ident()] = self.arena
            try:
                with program.listing(self._scratch) as calls:  # not paused: numbers that follow from live ones are live
                    out = kernel(*_in_place(late), **_in_place(late_params))
            finally:
                del ARENAS[get_ident()]
            taken = list(self.arena.taken)
            try:
                if out is NotImplemented:
                    return out
                if calls.whole:
                    return self._lowered(name, (args, params), out, list(calls))
                return self._results(name, kernel, (args, params), late, late_params, out)
            finally:  # what nobody was given is free after the call
                for block in taken:
                    if id(block) not in self._memories or not self._memories[id(block)].views:
                        self.arena.give_back(block)
        else:
            with paused():
                out = kernel(*map(_now, late), **{k: _now(v) for k, v in late_params.items()})
            if out is NotImplemented:
                return out
        return self._results(name, kernel, (args, params), late, late_params, out)

    def _lowered(self, name: str, given: Any, out: Any, calls: list[Call]) -> Any:
        """The result of a kernel whose calls of machine code are the entry."""
        if _is_pair(out):
            residual = _Residual(out[1])
            self._keep(out[1], residual)
            result = self._wrapped(given, out[0])
            self._note(name, given, tuple(_arrays(out[0])), calls)
            return result, residual
        scalar = name in program.SCALARS and not out.ndim
        result = self._view(out, True, outside=False) if scalar else self._wrapped(given, out)
        self._note(name, given, tuple(_arrays(out)), calls)
        return result

    def _results(self, name: str, function: Any, given: Any, late: Any, kwargs: Any, out: Any) -> Any:
        """The result of a call that is made again, and whose results are copied into the buffers."""
        if name in CONSTANT and isinstance(out, (np.ndarray, np.generic)) and not _changes((late, kwargs)):
            return self.made(out)
        cell, value = None, out
        if _is_pair(out):
            value, cell = out[0], Cell(out[1])
            self._keep(out[1], cell)
        value = self._adopted(given, value)
        result = self._wrapped(given, value)
        put = self._putting(given, value, result)
        if cell is not None:
            first, keep = put, cell

            def put(new: Any) -> None:
                keep.value = new[1]
                if first is not None:
                    first(new[0])

        if put is not None:
            calls = moves(name, late, kwargs, value) or [self._again(function, late, kwargs, put)]
            self._note(name, given, tuple(_arrays(result)), calls)
        return result if cell is None else (result, cell)

    def _adopted(self, given: Any, out: Any) -> Any:
        """A result in memory that others may have had; where it is in memory that is known, as it is."""
        if isinstance(out, (tuple, list)):
            return _rebuilt(out, lambda x: self._adopted(given, x))
        if not isinstance(out, np.ndarray) or out.nbytes < LEAST or min(out.strides, default=0) < 0:
            return out
        owner = self._owner(out)
        if out.nbytes != owner.nbytes or id(owner) in self._memories or id(owner) in self.arena.blocks:
            return out
        return out if any(self._owner(_held(x)) is owner for x in _arrays(given)) else self.arena.copy(out)

    def _again(self, function: Any, args: Any, kwargs: Any, put: Callable[[Any], None] | None) -> Call:
        if _changes((args, kwargs)):
            return Call(_Again(function, args, kwargs, put))
        return Call(function, args, kwargs) if put is None else Call(_Plainly(function, args, kwargs, put))

    def _wrapped(self, given: Any, out: Any) -> Any:
        """A result as the step sees it: an array that was given, or comes twice, is one array there, too."""
        return self._seen({id(x.held): x for x in _arrays(given) if isinstance(x, Recorded) and not x.scalar}, out)

    def _seen(self, known: dict[int, Any], out: Any) -> Any:
        if isinstance(out, np.ndarray):
            if id(out) not in known:
                known[id(out)] = self._view(out, False, outside=False)
            return known[id(out)]
        if isinstance(out, np.generic):
            return self._view(np.asarray(out), True, outside=False)
        if isinstance(out, (tuple, list)):
            return _rebuilt(out, lambda x: self._seen(known, x))
        if out is None or isinstance(out, (bool, str)):
            return out
        raise CaptureError(
            f"a number of Python's, {out!r:.40}, came out of a call: it would be the same at each replay"
        )

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
        if isinstance(out, np.ndarray):
            owner = self._owner(out)
            if any(self._owner(_held(x)) is owner for x in _arrays(given)):
                return None
        return _putter(result.held)

    def _note(self, name: str, given: Any, outputs: Sequence[Any], calls: list[Call]) -> None:
        self.entries.append(Entry(name, [*map(_held, _arrays(given))], [*map(_held, outputs)], calls))

    def _note_host(self, name: str, action: Callable[[], None]) -> None:
        function: Any = Host(action)
        self.entries.append(Entry(name, (), (), [Call(function)]))

    # -- the host -----------------------------------------------------------------------------------------------------

    def host(self, action: Callable[[], Any], undo: Callable[[], Any] | None = None) -> Any:
        if undo is not None:
            self._undo.append(undo)
        with paused():
            result = action()

        def again() -> None:
            action()

        self._note_host("host", again)
        return result

    def live(self, compute: Callable[[], Any], undo: Callable[[], Any] | None = None) -> Any:
        cells: list[Live] = []

        def cell(x: Any) -> Any:
            if isinstance(x, (tuple, dict)):
                return _rebuilt(x, cell)
            cells.append(Live(x))
            return cells[-1]

        def again() -> None:
            for c, value in zip(cells, _flat(compute()), strict=True):
                c.value = value

        if undo is not None:
            self._undo.append(undo)
        with paused():
            found = cell(compute())
        self._note_host("numbers", again)
        return found

    def update(self, name: str, function: Callable[..., Any], *args: Any, writes: Sequence[Any], **numbers: Any) -> Any:
        """A step of an optimizer: `function(optimizer, p, g, *state, **numbers)`."""
        step, held = STEPS.get(name), [_held(x) for x in args[1:]]
        if name not in program.LOWERED or step is None or not all(x.flags.c_contiguous for x in held):
            self.call(name, function, args, numbers, writes)
            return
        self._about_to_write(writes)
        with program.listing(self._scratch) as calls:
            out = step(*[x.reshape(-1) for x in held], **numbers)
        if out is NotImplemented:
            self.call(name, function, args, numbers, writes)
            return
        listed = list(calls) if calls.whole else [self._again(function, _late(args), _late(numbers), None)]
        self._note(name, (args, numbers), writes, listed)

    def check(self, function: Callable[..., Any], *args: Any) -> None:
        late = _late(args)
        with paused():
            function(*map(_now, late))
        self._note("check", args, (), [self._again(function, late, {}, None)])

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

    def guard(self, holds: Callable[[], bool]) -> None:
        self.guards.append(holds)

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
                self._restore()
                if self.failure is None or self.failure is error:
                    raise
                raise self.failure from error  # what it was made of on its way
            finally:
                if collecting:
                    gc.enable()
        self.entries = [e for e in self.entries if e.calls]
        self._written = [m.owner for m in self._memories.values() if m.before is not None]
        self._undo.clear()
        self._memories, self._entered = {}, {}
        self.program = Program([call for entry in self.entries for call in entry.calls])
        return result

    def _restore(self) -> None:
        for undo in reversed(self._undo):
            undo()
        for memory in self._memories.values():
            if memory.before is not None:
                np.copyto(memory.owner, memory.before)

    def changed_arguments(self) -> bool:
        return any(self._memory(buffer).written for buffer in self._statics)

    def listing(self) -> list[Entry]:
        return self.entries

    def written(self) -> list[Any]:
        """The memory from outside that the step writes into."""
        return self._written

    def replay(self, arrays: Sequence[Any]) -> None:
        for buffer, array in zip(self._statics, arrays, strict=True):
            np.copyto(buffer, array)
        self.program.run()


class _Source:
    """A generator whose draws are entries."""

    def __init__(self, recorder: NumpyRecorder, find: Callable[[], Any]) -> None:
        self._recorder, self._find = recorder, find

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._recorder.draw(name, self._find, args, kwargs)


def _flat(x: Any) -> Iterator[Any]:
    if isinstance(x, (tuple, dict)):
        for v in x.values() if isinstance(x, dict) else x:
            yield from _flat(v)
    else:
        yield x


def _is_pair(out: Any) -> bool:
    """A composite's kernel returns its result and what its gradient needs, which is no array."""
    return type(out) is tuple and len(out) == 2 and not isinstance(out[1], (np.ndarray, np.generic))
