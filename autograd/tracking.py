"""What a step that is being recorded does with tensors: which it meets, which it makes, what it puts in their place.

While something is recorded, `Tensor.array`, `_grad` and `leaf` are properties: in the recording context they hand each
array to the recorder and note what was there before, in every other context they are what they were. So nothing in
the engine asks whether it is recorded, and no way to an array of the user's goes unseen. Turned down: a question in
each op, which would cost every call and miss what is done to arrays between ops.
"""

from __future__ import annotations

import contextlib
import weakref
from _thread import allocate_lock
from collections.abc import Iterator
from typing import Any

from ..backends.recorder import CaptureError, Recorded, check, decided, host, paused, recording, refused
from .tensor import Tensor, next_serial

__all__ = [
    "CaptureError",
    "Recorded",
    "Tensors",
    "check",
    "decided",
    "host",
    "paused",
    "properties",
    "recording",
    "refused",
]

_array: Any = Tensor.__dict__["array"]
_grad: Any = Tensor.__dict__["_grad"]
_leaf: Any = Tensor.__dict__["leaf"]


def _plain(array: Any) -> Any:
    """An array as code outside of the recording sees it."""
    return array.held if isinstance(array, Recorded) else array


class _Met:
    """A tensor from outside, as it was when the step met it."""

    __slots__ = ("array", "grad", "grad_first", "leaf", "node", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.array, self.node, self.leaf = tensor, _array.__get__(tensor), tensor.node, tensor.leaf
        self.grad = _grad.__get__(tensor)
        #: what the step did first with `.grad`: "read" or "set"; None: neither
        self.grad_first: str | None = None


class Tensors:
    """The tensors of one recorded step: those that it met, and those that it made and that still exist."""

    def __init__(self, recorder: Any) -> None:
        self.recorder = recorder
        self.met: dict[int, _Met] = {}
        self._made: dict[int, weakref.ref[Tensor]] = {}
        self.since = next_serial()
        #: the numbers (id) of the tensors that stand for arguments
        self.arguments: set[int] = set()

    def _is_made(self, t: Tensor) -> bool:
        found = self._made.get(id(t))
        return found is not None and found() is t

    def meet(self, t: Tensor) -> _Met:
        """Note a tensor from outside before anything is done to it."""
        found = self.met.get(id(t))
        if found is None:
            found = self.met[id(t)] = _Met(t)
        return found

    def array_of(self, t: Tensor) -> Any:
        """The array of `t` as the step sees it."""
        array = _array.__get__(t)
        if isinstance(array, Recorded):
            return array
        if self._is_made(t):
            seen = self.recorder.made(array)
            _array.__set__(t, seen)
            return seen
        met = self.meet(t)
        seen = self.recorder.enter(array)
        if isinstance(seen, Recorded) and seen.held is not array:  # a NumPy scalar, which has no memory
            met.array = seen.held
            _array.__set__(t, seen.held)
        return seen

    def set_array(self, t: Tensor, array: Any) -> None:
        """Put an array under `t`, which may be a new tensor."""
        try:
            _array.__get__(t)
        except AttributeError:
            self._made[id(t)] = weakref.ref(t)
        else:
            if not self._is_made(t):
                self.meet(t)
                if not isinstance(array, Recorded):
                    array = self.recorder.made(array)
        _array.__set__(t, array)

    def grad_of(self, t: Tensor) -> Any:
        """The gradient of `t`."""
        if not self._is_made(t):
            met = self.meet(t)
            met.grad_first = met.grad_first or "read"
        return _grad.__get__(t)

    def set_grad(self, t: Tensor, grad: Any) -> None:
        """Set the gradient of `t`."""
        try:
            _grad.__get__(t)
        except AttributeError:
            pass  # it is being made
        else:
            if not self._is_made(t):
                met = self.meet(t)
                met.grad_first = met.grad_first or "set"
        _grad.__set__(t, grad)

    def set_leaf(self, t: Tensor, leaf: bool) -> None:
        """Set whether `t` is a leaf that wants a gradient."""
        try:
            _leaf.__get__(t)
        except AttributeError:
            pass  # it is being made
        else:
            if not self._is_made(t):
                self.meet(t)
        _leaf.__set__(t, leaf)

    def check_graph(self, nodes: list[Any]) -> None:
        """CaptureError for a walk into a graph that was there before the step: a replay would walk into it again."""
        if any(node.serial < self.since for node in nodes):
            raise CaptureError("the step walks back into a graph from outside of it; detach() what it starts from")

    # -- the end of the step ------------------------------------------------------------------------------------------

    def write_back(self) -> None:
        """Within the step, at its end: what it put under tensors from outside goes into the memory they had before."""
        moved = []
        for met in self.met.values():
            if _leaf.__get__(met.tensor) is not met.leaf and id(met.tensor) not in self.arguments:
                raise CaptureError("requires_grad of a tensor from outside is another one after the step")
            now = _array.__get__(met.tensor)
            if _plain(now) is met.array:
                continue
            if now.shape != met.array.shape or now.dtype != met.array.dtype:
                raise CaptureError(
                    f"a tensor from outside of the step was {met.array.dtype}{list(met.array.shape)} and became "
                    f"{now.dtype}{list(now.shape)}: this cannot be captured, as a replay uses the same memory"
                )
            moved.append((met, now))
        if len(moved) > 1:
            moved = [(met, now.copy()) for met, now in moved]
        for met, now in moved:
            self.recorder.enter(met.array)[...] = now

    def settle(self) -> None:
        """After the step: tensors hold plain arrays, and no graph that leads into it."""
        for met in self.met.values():
            t = met.tensor
            _array.__set__(t, met.array)
            t.node = met.node
            _leave_family(t)
        for made in [x for r in self._made.values() if (x := r()) is not None]:
            _array.__set__(made, _plain(_array.__get__(made)))
            made.node = None
            if made.family is not None:
                made.family, made.chain = None, ()

    def restore(self) -> None:
        """After a step that failed: all tensors from outside are what they were."""
        self.settle()
        for met in self.met.values():
            met.tensor.leaf = met.leaf
            _grad.__set__(met.tensor, met.grad)


def _leave_family(t: Tensor) -> None:
    families = [t.family]
    for family in families:
        if family is not None:
            family.array = _plain(family.array)
            families += family.others() if len(families) == 1 else []


def _get_array(self: Tensor) -> Any:
    recorder = recording()
    return _plain(_array.__get__(self)) if recorder is None else recorder.tensors.array_of(self)


def _set_array(self: Tensor, array: Any) -> None:
    recorder = recording()
    if recorder is None:
        _array.__set__(self, array)
    else:
        recorder.tensors.set_array(self, array)


def _get_grad(self: Tensor) -> Any:
    recorder = recording()
    return _grad.__get__(self) if recorder is None else recorder.tensors.grad_of(self)


def _set_grad(self: Tensor, grad: Any) -> None:
    recorder = recording()
    if recorder is None:
        _grad.__set__(self, grad)
    else:
        recorder.tensors.set_grad(self, grad)


def _set_leaf(self: Tensor, leaf: bool) -> None:
    recorder = recording()
    if recorder is None:
        _leaf.__set__(self, leaf)
    else:
        recorder.tensors.set_leaf(self, leaf)


_lock = allocate_lock()  # threading's, without the import
_recordings = 0


def _count(change: int) -> None:
    global _recordings
    with _lock:
        _recordings += change
        if _recordings == 1 and change == 1:
            Tensor.array = property(_get_array, _set_array)  # type: ignore[assignment]
            Tensor._grad = property(_get_grad, _set_grad)  # type: ignore[assignment]
            Tensor.leaf = property(_leaf.__get__, _set_leaf)  # type: ignore[assignment]
        elif _recordings == 0:
            Tensor.array, Tensor._grad, Tensor.leaf = _array, _grad, _leaf


@contextlib.contextmanager
def properties() -> Iterator[None]:
    """A block in which tensors tell the recorder of their context what is done to them."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)
