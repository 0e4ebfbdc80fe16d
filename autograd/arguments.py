"""Arguments and results of a captured step: trees with arrays at their leaves."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

from ..backends import np
from .device import device
from .dtypes import dtype
from .storage import version
from .tensor import Tensor, wrap
from .tracking import CaptureError, Recorded

__all__ = ["Arguments", "results_of"]

_VALUES = (bool, int, float, str, bytes, complex, type(None), dtype, device, enum.Enum, np.dtype, range, type(...))


def _layout(array: Any) -> Any:
    """How the elements lie in memory, which decides the order in which a sum is taken."""
    return None if array.flags.c_contiguous else array.strides


class _Same:
    """An object as part of a key: equal to itself alone, and kept."""

    __slots__ = ("object",)

    def __init__(self, x: Any) -> None:
        self.object = x

    def __eq__(self, other: object) -> bool:
        return type(other) is _Same and other.object is self.object

    def __hash__(self) -> int:
        return id(self.object)


class Arguments:
    """The arguments of a call. `key`: all but the elements of arrays; `arrays`: those, in the order of the leaves."""

    __slots__ = ("args", "arrays", "key", "kwargs", "statics")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args, self.kwargs = args, kwargs
        self.arrays: list[Any] = []
        self.statics: list[Tensor] = []
        key = [self._describe(x) for x in args]
        if kwargs:
            key.append((tuple(kwargs), *[self._describe(x) for x in kwargs.values()]))
        self.key = tuple(key)

    def _describe(self, x: Any) -> Any:
        kind = type(x)
        if isinstance(x, Tensor):
            array = x.array
            self.arrays.append(array)
            return kind, array.shape, array.dtype, _layout(array), type(array), x.leaf or x.node is not None
        if isinstance(x, (np.ndarray, np.generic)):
            self.arrays.append(x)
            return kind, x.shape, x.dtype, _layout(x)
        if kind is float and x != x:
            return "nan"
        if isinstance(x, _VALUES):
            return kind, x
        if isinstance(x, dict):
            return kind, tuple(x), tuple([self._describe(v) for v in x.values()])
        if isinstance(x, (tuple, list)):
            return kind, tuple([self._describe(v) for v in x])
        if dataclasses.is_dataclass(x) and not isinstance(x, type):
            return kind, tuple([self._describe(getattr(x, f.name)) for f in dataclasses.fields(x)])
        return _Same(x)

    def static(self, recorder: Any) -> tuple[Any, Any]:
        """The same arguments, on static buffers."""

        def changed(x: Any) -> Any:
            if isinstance(x, Tensor):
                t = wrap(recorder.static(x.array), None).as_subclass(type(x))
                t.leaf = x.leaf or x.node is not None
                self.statics.append(t)
                return t
            if isinstance(x, (np.ndarray, np.generic)):
                return recorder.enter(recorder.static(x))
            return _mapped(changed, x)

        return changed(self.args), changed(self.kwargs)

    def check_untouched(self, tensors: Any) -> None:
        """CaptureError where the step did to an argument what the caller's own would not see."""
        changed = tensors.recorder.changed_arguments()
        for t in self.statics:
            met = tensors.met.get(id(t))
            if met is not None and met.tensor._grad is not None:
                raise CaptureError(
                    "the step leaves a gradient in an argument's .grad; return it from the step, by autograd.grad"
                )
            if changed or (met is not None and (_plain_array(t) is not met.array or version(met.array))):
                raise CaptureError("the step changes an argument in place; change a clone() of it, and return that")


def _plain_array(t: Tensor) -> Any:
    array = t.array
    return getattr(array, "held", array)


def _mapped(change: Callable[[Any], Any], x: Any) -> Any:
    """A container with each element changed; anything else as it is."""
    if isinstance(x, dict):
        found = {k: change(v) for k, v in x.items()}
        return found if type(x) is dict else type(x)(found)
    if isinstance(x, (tuple, list)):
        items = [change(v) for v in x]
        return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        made = object.__new__(type(x))
        for name, value in {**getattr(x, "__dict__", {}), **{f.name: getattr(x, f.name) for f in _fields(x)}}.items():
            object.__setattr__(made, name, change(value))
        return made
    return x


def _fields(x: Any) -> Any:
    return dataclasses.fields(x)


def results_of(result: Any, check: bool = False) -> Callable[[], Any]:
    """What gives the results of a call: tensors without a graph, in new containers each time."""

    def detached(x: Any) -> Any:
        if isinstance(x, Tensor):
            return x if x.node is None else x.detach()
        if check and isinstance(x, Recorded):
            raise CaptureError("the step returns a NumPy array; return a tensor")
        if check and isinstance(x, float):
            raise CaptureError(
                f"the step returns {x!r}, a number of Python's, which would be the same after each replay; return a "
                "tensor"
            )
        return _mapped(detached, x)

    if check:
        detached(result)
    if isinstance(result, Tensor) or result is None:
        found = detached(result)
        return lambda: found
    fixed = detached(result)
    return lambda: _mapped_through(fixed)


def _mapped_through(x: Any) -> Any:
    return x if isinstance(x, Tensor) else _mapped(_mapped_through, x)
