"""Whose memory a recorded step works in: where it came from, what it held before, and who still holds it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..compiled.program import Call
from ..recorded import RecordedArray
from ..recorder import Entry
from .again import arrays_of, held, rebuilt
from .arena import LEAST, Arena

__all__ = ["Memories"]


class _Memory:
    """The memory that arrays of a step share."""

    __slots__ = ("before", "filling", "outside", "owner", "size", "turns", "views", "written")

    def __init__(self, owner: Any, outside: bool, filling: Entry | None = None, turns: bool = False) -> None:
        #: outside: it was there before the step; filling: the entry that fills what the step made without the recorder;
        #: turns: it is used again when nothing holds it
        self.owner, self.outside, self.filling, self.turns = owner, outside, filling, turns
        #: bytes of the array for which it was taken
        self.size = owner.nbytes
        #: what it held before the first write
        self.before: Any = None
        self.written = False
        #: those that hold it: arrays as the step sees them, and what stands for what kernels keep
        self.views: list[weakref.ref[Any]] = []


class Memories:
    """All memory of one recorded step, by the arrays that own it. `owner` gives an array's."""

    def __init__(self, owner: Callable[[Any], Any]) -> None:
        self.owner, self.arena = owner, Arena()
        self._known: dict[int, _Memory] = {}

    def of(self, array: Any, outside: bool = True) -> _Memory:
        """That of an array; where it is not known, it comes from outside or is new."""
        owner = self.owner(array)
        memory = self._known.get(id(owner))
        if memory is None:
            memory = self._known[id(owner)] = _Memory(owner, outside, turns=id(owner) in self.arena.blocks)
        return memory

    def fill(self, array: Any) -> Entry | None:
        """The entry that will fill the memory of an array that the step made of constants, if that is new."""
        owner = self.owner(array)
        if id(owner) in self._known:
            return None
        filling = Entry("fill", (), (owner,), [])
        self._known[id(owner)] = _Memory(owner, False, filling)
        return filling

    def view(self, array: Any, scalar: bool = False, outside: bool = False) -> RecordedArray:
        """An array as the step sees it."""
        memory, found = self.of(array, outside), RecordedArray(array, scalar)
        if memory.turns and not memory.views:
            memory.size = array.nbytes
        self._hold(memory, found)
        return found

    def _hold(self, memory: _Memory, holder: Any) -> None:
        """Keep memory from being used again as long as `holder` exists."""

        def gone(reference: Any) -> None:
            memory.views.remove(reference)
            if memory.turns and not memory.views:
                self.arena.give_back(memory.owner)

        memory.views.append(weakref.ref(holder, gone))

    def keep(self, residual: Any, holder: Any) -> None:
        """Note what a kernel keeps for its gradient, which `holder` stands for."""
        for owner in {id(o): o for o in map(self.owner, arrays_of(residual))}.values():
            self._hold(self.of(owner, outside=False), holder)

    def sole(self, array: RecordedArray) -> bool:
        """Whether nothing but `array` holds its memory, all of it."""
        memory = self.of(array.held)
        return len(memory.views) == 1 and not (memory.outside or memory.filling) and array.nbytes >= memory.size

    def give_back(self, blocks: list[Any]) -> None:
        """Let blocks be taken again that nothing holds."""
        for block in blocks:
            if id(block) not in self._known or not self._known[id(block)].views:
                self.arena.give_back(block)

    def given(self, array: Any, arguments: Any) -> bool:
        """Whether a result lies in memory of the arguments."""
        owner = self.owner(array)
        return any(self.owner(held(x)) is owner for x in arrays_of(arguments))

    def adopted(self, arguments: Any, out: Any) -> Any:
        """Results in memory that others may have had; those in memory that is known as they are."""
        if isinstance(out, (tuple, list)):
            return rebuilt(out, lambda x: self.adopted(arguments, x))
        if not isinstance(out, np.ndarray) or out.nbytes < LEAST or min(out.strides, default=0) < 0:
            return out
        owner = self.owner(out)
        if out.nbytes != owner.nbytes or id(owner) in self._known or id(owner) in self.arena.blocks:
            return out
        return out if self.given(out, arguments) else self.arena.copy(out)

    # -- writes -------------------------------------------------------------------------------------------------------

    def about_to_write(self, targets: Iterable[Any]) -> None:
        """Note what is lost by a write: to be put back should the recording fail, or at each replay."""
        for target in targets:
            memory = self.of(held(target))
            memory.written = True
            if memory.before is None and memory.outside:
                memory.before = memory.owner.copy()
            elif memory.filling is not None and not memory.filling.calls:
                memory.filling.calls.append(Call(np.copyto, (memory.owner, memory.owner.copy())))

    def written(self) -> list[Any]:
        """The memory from outside that was written into."""
        return [m.owner for m in self._known.values() if m.before is not None]

    def restore(self) -> None:
        """Put back what that held before."""
        for memory in self._known.values():
            if memory.before is not None:
                np.copyto(memory.owner, memory.before)

    def forget(self) -> None:
        """Let go of all but the memory itself."""
        self._known = {}
