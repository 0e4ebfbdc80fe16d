"""The list of the calls of a recorded step, for people to read and for tests to compare."""

from __future__ import annotations

from typing import Any

from .. import backends

__all__ = ["Listing"]


class Listing(list[Any]):
    """What a replay does, in order: entries with `name`, `inputs`, `outputs`. `print` shows them with the buffers."""

    def canonical(self) -> list[tuple[Any, ...]]:
        """The calls as (name, inputs, outputs), each array as (number of its memory, dtype, shape).

        Memory is numbered in the order in which it appears, so two recordings of one step give the same.
        """
        numbers: dict[int, int] = {}

        def described(array: Any) -> tuple[Any, ...]:
            owner = backends.of(array).owner(array)
            return numbers.setdefault(id(owner), len(numbers)), str(array.dtype), tuple(array.shape)

        return [(e.name, [*map(described, e.inputs)], [*map(described, e.outputs)]) for e in self]

    def __str__(self) -> str:
        def shown(arrays: Any) -> str:
            return ", ".join(f"%{number} {kind}{list(shape)}" for number, kind, shape in arrays)

        return "\n".join(f"{shown(out) or '-'} = {name}({shown(given)})" for name, given, out in self.canonical())
