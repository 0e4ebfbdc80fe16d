"""Captured steps: which recording serves a call, what has to hold for it, what is done where there can be none."""

from __future__ import annotations

import functools
import threading
import traceback
from collections.abc import Callable
from itertools import repeat
from operator import attrgetter, is_
from typing import Any

from .. import backends
from ..backends.threads import get_threads
from .arguments import Arguments, results_of
from .device import get_default_device, place_of
from .dtypes import default_dtype
from .errors import _INSIDE, warn
from .listing import Listing
from .modes import MODES
from .storage import Replayed
from .surroundings import Surroundings
from .tracking import CaptureError, Tensors, properties, recording

__all__ = ["Captured"]

_array_of, _grad_of, _leaf_of = attrgetter("array"), attrgetter("_grad"), attrgetter("leaf")


class _Recording:
    """One recording, and what has to hold for it to serve a call."""

    def __init__(self, recorder: Any, key: Any, given: Arguments, result: Any, around: Surroundings) -> None:
        met = [m for m in recorder.tensors.met.values() if id(m.tensor) not in recorder.tensors.arguments]
        self.recorder, self.key, self.results = recorder, key, results_of(result)
        self.listing = recorder.listing()
        self.tensors, self.arrays = [m.tensor for m in met], [m.array for m in met]
        self.leaves = [m.leaf for m in met]
        known = {id(m.tensor) for m in met}
        first = [m for m in met if m.grad_first == "read"]
        looked_into = [m for m in first if m.grad is None or id(m.grad) in known]
        #: tensors whose gradient the step looked at before it set it, and what it found: none, or one that it read
        self.asked, self.found = [m.tensor for m in looked_into], [m.grad for m in looked_into]
        #: those that had a gradient, which the step did not read
        self.graded_before = [m.tensor for m in first if m.grad is not None and id(m.grad) not in known]
        last = [(m.tensor, m.tensor._grad) for m in met if m.grad_first and m.tensor._grad is not m.grad]
        last += [(m.tensor, m.grad) for m in met if m.grad_first == "set" and m.tensor._grad is m.grad]
        #: tensors whose gradient the step set, and what it left
        self.graded, self.grads = [t for t, _ in last], [g for _, g in last]
        self.around = around
        self.guards = getattr(recorder, "guards", ())
        self.replayed = Replayed(recorder.written())
        recorder.tensors = None

    def holds(self) -> bool:
        """Whether all is as it was when the step was recorded, but for the values."""
        return (
            all(map(is_, map(_array_of, self.tensors), self.arrays))
            and all(map(is_, map(_leaf_of, self.tensors), self.leaves))
            and all(map(is_, map(_grad_of, self.asked), self.found))
            and not any(map(is_, map(_grad_of, self.graded_before), repeat(None)))
            and self.around.unchanged()
            and all(guard() for guard in self.guards)
        )

    def replay(self, arrays: list[Any]) -> Any:
        self.recorder.replay(arrays)
        self.replayed.mark()
        for t, g in zip(self.graded, self.grads):
            t._grad = g
        return self.results()


class Captured:
    """A function whose calls are recorded and replayed. Made by `capture`."""

    #: so many recordings are kept, the least used one goes
    LIMIT = 8

    def __init__(self, step: Callable[..., Any], strict: bool, warmup: int) -> None:
        functools.update_wrapper(self, step, updated=())
        self._step, self._strict, self._warmup = step, strict, warmup
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forget all recordings, and what could not be recorded."""
        self._recordings: list[_Recording] = []
        self._calls: dict[Any, int] = {}
        self._eager: set[Any] = set()
        self._made = 0

    @property
    def recordings(self) -> int:
        """How many recordings there are."""
        return len(self._recordings)

    @property
    def program(self) -> Listing:
        """What the recording that was used last does, call by call: an empty list before there is one."""
        return Listing(self._recordings[0].listing if self._recordings else [])

    def __repr__(self) -> str:
        name = getattr(self._step, "__qualname__", repr(self._step))
        return f"<captured {name}: {self.recordings} recordings>"

    def __str__(self) -> str:
        return f"{self!r}\n{self.program}" if self._recordings else repr(self)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: one capture for each instance."""
        if instance is None:
            return self
        bound = Captured(self._step.__get__(instance, owner), self._strict, self._warmup)
        instance.__dict__[self._step.__name__] = bound
        return bound

    def __reduce__(self) -> Any:
        return Captured, (self._step, self._strict, self._warmup)  # a copy has no recordings

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if recording() is not None:  # within another capture
            return self._step(*args, **kwargs)
        with self._lock:
            given = Arguments(args, kwargs)
            key = (given.key, MODES.get(), default_dtype(), get_default_device(), get_threads())
            for i, found in enumerate(self._recordings):
                if found.key == key and found.holds():
                    if i:
                        self._recordings.insert(0, self._recordings.pop(i))
                    return found.replay(given.arrays)
            return self._first(key, given)

    def _first(self, key: Any, given: Arguments) -> Any:
        """A call that no recording serves."""
        calls = self._calls.get(key, 0)
        if key in self._eager or calls < self._warmup:
            if len(self._calls) > 16 * self.LIMIT:
                self._calls.clear()
            self._calls[key] = calls + 1
            return self._detached(given)
        self._made += 1
        if self._made == 4 * self.LIMIT:
            warn(
                f"{self!r} has been recorded {self._made} times: an argument or a module's mode changes from call to "
                "call. Give numbers that change as tensors, and batches in few sizes"
            )
        try:
            made, result = self._record(key, given)
        except Exception as error:
            return self._failed(key, given, error)
        self._recordings.insert(0, made)
        del self._recordings[self.LIMIT :]
        return result

    def _detached(self, given: Arguments) -> Any:
        return results_of(self._step(*given.args, **given.kwargs))()

    def _record(self, key: Any, given: Arguments) -> tuple[_Recording, Any]:
        """The call, carried out and recorded; nothing has happened where it raises."""
        recorder = _backend_for(given).recorder()
        tensors = recorder.tensors = Tensors(recorder)
        args, kwargs = given.static(recorder)
        tensors.arguments = set(map(id, given.statics))
        around = Surroundings(self._step, args, kwargs)

        def whole() -> Any:
            result = self._step(*args, **kwargs)
            given.check_untouched(tensors)
            around.check()
            results_of(result, check=True)
            tensors.write_back()
            return result

        with properties():
            try:
                result = recorder.record(whole)
            except BaseException:
                tensors.restore()
                around.restore()
                raise
            tensors.settle()
        made = _Recording(recorder, key, given, result, around)
        return made, made.results()

    def _failed(self, key: Any, given: Arguments, error: Exception) -> Any:
        """Do the call after its recording failed, and was undone."""
        if isinstance(error, CaptureError) and self._strict:
            raise CaptureError(f"{error}{_place(error)}") from error
        result = self._detached(given)  # which raises what is the step's own error
        if self._strict:
            raise CaptureError(f"{error!r}{_place(error)}") from error
        if not self._eager:
            text = str(error) if isinstance(error, CaptureError) else repr(error)
            warn(f"{self!r} falls back to eager: {text}{_place(error)}")
        self._eager.add(key)
        return result


#: beginnings of the names of modules that are not the user's program
_LIBRARIES = (_INSIDE, "numpy.", "cupy.", "cupy_backends.", "contextlib.")


def _place(error: BaseException | None) -> str:
    """Where in the user's program an error came from."""
    seen: list[BaseException] = []  # an error can be its own cause
    while error is not None and not any(error is e for e in seen):
        seen.append(error)
        for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
            if not (frame.f_globals.get("__name__", "") + ".").startswith(_LIBRARIES):
                return f" (at {frame.f_code.co_filename}:{line})"
        error = error.__cause__
    return ""


def _backend_for(given: Arguments) -> Any:
    """The backend of the arrays given, the device's where one is on a device; the default device's."""
    found = [backends.of(a) for a in given.arrays]
    return next((b for b in found if b.device_type != "cpu"), found[0] if found else place_of(None).backend)
