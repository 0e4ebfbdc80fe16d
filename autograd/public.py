"""The public faces of ops: functions of the package and methods of Tensor.

An op is the public function where its signature is PyTorch's; where PyTorch takes more forms (`x.view(2, 3)` and
`x.view((2, 3))`) a plain function stands before it. Both are collected here, and `chainrule/__init__.py` exports them.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from . import storage
from .modes import MODES, uncast
from .op import OPS, Op
from .tensor import Tensor, method, named

__all__ = ["FUNCTIONS", "IN_PLACE", "Signed", "api", "expose", "findable", "function", "inplace", "old_order", "signed"]

FUNCTIONS: dict[str, Callable[..., Any]] = {}
#: function -> what does its in-place form at once where it can, and says whether it did (fusion.py)
IN_PLACE: dict[Any, Callable[..., bool]] = {}


def function(f: Any = None, *, name: str | None = None) -> Any:
    """Decorator: a public function of the package."""
    if f is None:
        return lambda g: function(g, name=name)
    FUNCTIONS[name or f.__name__] = named(f, name)
    return f


def api(f: Any = None, *, name: str | None = None, inplace: bool = False) -> Any:
    """Decorator: a public function and a method of Tensor, and with `inplace` the method `name_` besides."""
    if f is None:
        return lambda g: api(g, name=name, inplace=inplace)
    key = name or f.__name__
    FUNCTIONS[key] = named(f, name)
    method(_own(f, f"Tensor.{key}"), name=key)
    if inplace:
        _inplace_method(key, f)
    return f


def _own(f: Any, name: str) -> Any:
    """The function once more: programs tell `Tensor.add` from `chainrule.add`, as keys of dictionaries for one."""
    if not isinstance(f, FunctionType):
        return f
    made = FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    made.__kwdefaults__, made.__annotations__, made.__doc__ = f.__kwdefaults__, f.__annotations__, f.__doc__
    made.__qualname__, made.__module__ = name, Tensor.__module__  # where pickle finds it
    vars(made).update(vars(f))
    return made


class Signed:
    """Behind a function that another made: `inspect.signature` finds it there, and only then is it worked out."""

    def __init__(self, build: Callable[[], inspect.Signature]) -> None:
        self._build = build

    @property
    def __signature__(self) -> inspect.Signature:
        return self._build()


def findable(made: Callable[..., Any], like: Callable[..., Any]) -> Callable[..., Any]:
    """`made`, which has the name of `like` but not its place, where pickle finds it: as `like.public`."""
    there: Any = getattr(sys.modules[like.__module__], like.__qualname__, like)  # an op, if `like` is a form of it
    made.__qualname__, there.public = f"{like.__qualname__}.public", made
    return made


def signed(made: Callable[..., Any], like: Callable[..., Any], build: Callable[[], inspect.Signature]) -> None:
    """Give `made` the name and the docstring of `like`, and the signature that `build` returns when it is asked for."""
    functools.update_wrapper(made, like)
    made.__wrapped__ = Signed(build)  # type: ignore[attr-defined]


def expose(*ops: Op, inplace: bool = False, functions: bool = True, methods: bool = True, **names: Op) -> None:
    """Make ops public under their own names, and under others (`absolute=abs`)."""
    for key, target in [*((o.name, o) for o in ops), *names.items()]:
        if functions:
            FUNCTIONS[key] = target if target.function == target._general else target.function
        if methods:
            method(_as_method(key, target), name=key)
        if inplace:
            _inplace_method(key, target)


def _as_method(name: str, target: Op) -> Callable[..., Any]:
    quick, call, general = target.quick, target.function, target.general

    if target.direct is not None and target.arity != 1:

        def bound(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            return general((self, *args), kwargs)

    elif target.arity == 1:

        def bound(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            return call(self, *args, **kwargs) if args or kwargs else quick(self)

    else:

        def bound(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            return call(self, *args, **kwargs)

    bound.__doc__ = target.__doc__
    return _of_tensor(bound, name)


def _inplace_method(name: str, target: Callable[..., Any]) -> None:
    def changed(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return inplace(self, target, *args, **kwargs)

    changed.__doc__ = f"In-place form of `{name}`."
    method(_of_tensor(changed, f"{name}_"), name=f"{name}_")


def _of_tensor(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Named as a method of Tensor, where pickle finds it."""
    function.__name__, function.__qualname__, function.__module__ = name, f"Tensor.{name}", Tensor.__module__
    return function


def inplace(t: Tensor, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """Compute `target(t, ...)` and let `t` hold the result, in t's dtype: the in-place form of any function."""
    state = MODES.get().autocast
    if state is not None and state.targets:
        return uncast(inplace, t, target, *args, **kwargs)
    if t.node is not None and (into := IN_PLACE.get(target)) is not None and into(t, *args, **kwargs):
        return t
    recording = MODES.get().grad
    if recording and t.node is None and t.leaf:
        storage.check_assignable(t, t, _changing(target), recording)
    value = target(t, *args, **kwargs)
    array, old, tracked = value.array, t.array, value.requires_grad or t.node is not None
    if array.dtype is old.dtype and array.shape == old.shape and not (recording and tracked):
        storage.write(t, array)
        return t
    name = _changing(target)
    if value.array.dtype != t.array.dtype:
        value = fit_dtype(value, t.array.dtype, name)
    if recording and value.node is None and not value.leaf and t.node is not None:
        value = OPS["copy"](t, value)  # t stays in the graph, with a gradient of zero for what it held
    return storage.assign(t, value, name, recording)


def _changing(target: Callable[..., Any]) -> str:
    """The name of the in-place form of a function."""
    return f"{getattr(target, '__name__', 'op')}_"


def old_order(name: str, given: tuple[Any, ...], numbers: tuple[str, ...], tensors: int) -> tuple[Any, ...]:
    """The arguments of PyTorch's old forms, where numbers stand before tensors: add(input, alpha, other). They warn.

    (the numbers, 1 where the call has fewer of them, and the tensors); TypeError for anything else.
    """
    found = [x for x in given if not isinstance(x, Tensor)]
    rest = [x for x in given if isinstance(x, Tensor)]
    fits = len(rest) == tensors and len(found) <= len(numbers) and isinstance(given[-1], Tensor)
    if not fits or not all(isinstance(x, (int, float)) for x in found):
        raise TypeError(f"{name}() takes {tensors} tensors in these places, and {', '.join(numbers)} by keyword")
    import warnings

    by_name = ", ".join(f"{n}=" for n in numbers)
    message = f"This overload of {name} is deprecated: give tensors first, then {by_name} by keyword"
    warnings.warn(message, UserWarning, stacklevel=3)
    return (*found, *[1] * (len(numbers) - len(found)), *rest)


def fit_dtype(value: Tensor, dtype: Any, name: str) -> Tensor:
    """`value` in the dtype of an in-place op's target; RuntimeError where that would lose its category."""
    from .dtypes import check_castable

    check_castable(name, value.array.dtype, dtype)
    return OPS["cast"](value, dtype=dtype)
