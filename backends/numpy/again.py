"""Calls that are made again: their arguments as an entry keeps them, and what puts results into buffers.

An argument is what it was, but for three kinds that are others at each replay: a number in a `Live` cell, NumPy's
scalar for a 0-d buffer, and what a kernel kept for the kernel of its gradient.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..compiled.program import Call, Live
from ..recorder import CaptureError, Recorded

__all__ = [
    "Cell",
    "Residual",
    "Scalar",
    "again",
    "alike",
    "arrays_of",
    "as_kept",
    "changes",
    "differs",
    "flat",
    "held",
    "in_place",
    "is_pair",
    "now",
    "putter",
    "rebuilt",
]


class Cell:
    """What a kernel returned beside arrays, for the kernel of its gradient: another one at each replay."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: Any) -> None:
        self.value = value


class Residual(Cell):
    """The same of a kernel that is listed: at each replay it is in the same arrays."""

    __slots__ = ()


class Scalar:
    """Stands for a 0-d buffer among the arguments of a call that gets NumPy's scalar."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    @property
    def value(self) -> Any:
        return self.array[()]


_LATE = (Cell, Live, Scalar)


class _Again:
    """A function to be called again, whose results go into the buffers of the first call."""

    __slots__ = ("args", "function", "kwargs", "put")

    def __init__(self, function: Any, args: Any, kwargs: Any, put: Callable[[Any], None] | None) -> None:
        self.function, self.args, self.kwargs, self.put = function, args, kwargs, put

    def __call__(self) -> None:
        out = self.function(*map(now, self.args), **{k: now(v) for k, v in self.kwargs.items()})
        if self.put is not None:
            self.put(out)


class _Plainly:
    """The same, where no argument changes."""

    __slots__ = ("args", "function", "kwargs", "put")

    def __init__(self, function: Any, args: Any, kwargs: Any, put: Callable[[Any], None]) -> None:
        self.function, self.args, self.kwargs, self.put = function, args, kwargs, put

    def __call__(self) -> None:
        self.put(self.function(*self.args, **self.kwargs))


def now(x: Any) -> Any:
    """An argument as it is at this replay."""
    if type(x) in _LATE:
        return x.value
    return rebuilt(x, now) if isinstance(x, (tuple, list, dict)) else x


def as_kept(x: Any) -> Any:
    """An argument as an entry keeps it."""
    if isinstance(x, Recorded):
        return Scalar(x.held) if x.scalar else x.held
    if type(x) is Residual:
        return x.value
    return rebuilt(x, as_kept) if isinstance(x, (tuple, list, dict)) else x


def changes(x: Any) -> bool:
    """Whether an argument that an entry keeps is another one at each replay."""
    if isinstance(x, dict):
        x = list(x.values())
    return type(x) in _LATE or (isinstance(x, (tuple, list)) and any(map(changes, x)))


def differs(x: Any) -> bool:
    """Whether an argument is what a kernel made anew at each replay: not a number in a cell, nor an array."""
    if isinstance(x, dict):
        x = list(x.values())
    return type(x) is Cell or (isinstance(x, (tuple, list)) and any(map(differs, x)))


def in_place(x: Any) -> Any:
    """An argument for a kernel that is listed: it reads a scalar where that is, at each replay."""
    if type(x) is Scalar:
        return x.array
    return rebuilt(x, in_place) if isinstance(x, (tuple, list, dict)) else x


def rebuilt(x: Any, change: Callable[[Any], Any]) -> Any:
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


def again(function: Any, args: Any, kwargs: Any, put: Callable[[Any], None] | None) -> Call:
    """The call that does `function` again; `put` takes its result."""
    if changes((args, kwargs)):
        return Call(_Again(function, args, kwargs, put))
    return Call(function, args, kwargs) if put is None else Call(_Plainly(function, args, kwargs, put))


# -- arrays ---------------------------------------------------------------------------------------------------------


def held(x: Any) -> Any:
    """The array under a recorded one; anything else as it is."""
    return x.held if isinstance(x, Recorded) else x


def arrays_of(x: Any) -> Iterator[Any]:
    """The recorded and other arrays among arguments or results."""
    if isinstance(x, (Recorded, np.ndarray)):
        yield x
    elif isinstance(x, dict):
        for v in x.values():
            yield from arrays_of(v)
    elif isinstance(x, (tuple, list)):
        for v in x:
            yield from arrays_of(v)


def alike(array: Any) -> Any:
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


def putter(target: Any) -> Callable[[Any], None]:
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


def flat(x: Any) -> Iterator[Any]:
    """What stands in nested tuples and dicts."""
    if isinstance(x, (tuple, dict)):
        for v in x.values() if isinstance(x, dict) else x:
            yield from flat(v)
    else:
        yield x


def is_pair(out: Any) -> bool:
    """A composite's kernel returns its result and what its gradient needs, which is no array."""
    return type(out) is tuple and len(out) == 2 and not isinstance(out[1], (np.ndarray, np.generic))
