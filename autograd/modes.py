"""Modes of recording: grad mode, inference mode, anomaly detection, autocast.

All modes live in one ContextVar that holds one immutable, interned `Modes`, so threads and async tasks do not
disturb one another, and an op's fast path asks a single question: is it the default? Turned down: a ContextVar
per mode, which would cost the hot path one lookup each.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, NamedTuple

__all__ = [
    "DEFAULT",
    "MODES",
    "NO_GRAD",
    "Modes",
    "detect_anomaly",
    "enable_grad",
    "inference_mode",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "recording",
    "set_detect_anomaly",
    "set_grad_enabled",
    "uncast",
    "with_modes",
]


class Modes(NamedTuple):
    """What governs recording in this context."""

    grad: bool = True
    inference: bool = False
    anomaly: bool = False
    autocast: Any = None
    #: what ops keep goes through hooks (saved.py)
    packing: bool = False


DEFAULT = Modes()
NO_GRAD = Modes(grad=False)
_INTERNED: dict[Modes, Modes] = {DEFAULT: DEFAULT, NO_GRAD: NO_GRAD}
_CHANGED: dict[Any, Modes] = {}
MODES: ContextVar[Modes] = ContextVar("chainrule_modes", default=DEFAULT)


def with_modes(**changes: Any) -> Token[Modes]:
    """Set some modes and return the token that restores the former ones."""
    now = MODES.get()
    key = (now, *changes.items())
    modes = _CHANGED.get(key)
    if modes is None:
        modes = now._replace(**changes)
        modes = _CHANGED[key] = _INTERNED.setdefault(modes, modes)
    return MODES.set(modes)


def recording(grad: bool) -> Token[Modes]:
    """`with_modes(grad=grad)`, at less cost in the two usual cases."""
    now = MODES.get()
    if now.grad is grad:
        return MODES.set(now)
    return MODES.set(NO_GRAD) if now is DEFAULT else with_modes(grad=grad)


def uncast(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`function(...)` without autocast."""
    state = MODES.get().autocast
    token = with_modes(autocast=None if state is None else state.without())
    try:
        return function(*args, **kwargs)
    finally:
        MODES.reset(token)


class _ModeGuard:
    """Context manager and decorator that holds some modes; re-entrant."""

    _changes: dict[str, Any]

    def __init__(self) -> None:
        self._tokens: list[Token[Modes]] = []

    def __enter__(self) -> None:
        self._tokens.append(with_modes(**self._changes))

    def __exit__(self, *exc: Any) -> None:
        MODES.reset(self._tokens.pop())

    def _fresh(self) -> _ModeGuard:
        """A guard of the same modes for one call of a decorated function, so that threads do not share tokens."""
        guard = _ModeGuard()
        guard._changes = self._changes
        return guard

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isclass(function):
            raise TypeError(f"{type(self).__name__} decorates functions, not the class {function.__name__}")
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                # The mode holds while the generator runs, and not while its consumer does.
                inner = function(*args, **kwargs)
                sent, thrown = None, None
                while True:
                    try:
                        with self._fresh():
                            value = inner.send(sent) if thrown is None else inner.throw(thrown)
                    except StopIteration as stop:
                        return stop.value
                    sent, thrown = None, None
                    try:
                        sent = yield value
                    except GeneratorExit:
                        inner.close()
                        raise
                    except BaseException as error:
                        thrown = error

            return generator

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self._fresh():
                return function(*args, **kwargs)

        return wrapper


class no_grad(_ModeGuard):
    """Ops inside record nothing. A context manager and a decorator (with or without parentheses).

    function: what it decorates.
    """

    _changes = {"grad": False}

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self, function: None = None) -> None:
        super().__init__()


class enable_grad(no_grad):
    """Ops inside record again, under a `no_grad` outside. A context manager and a decorator.

    function: what it decorates.
    """

    _changes = {"grad": True}


class inference_mode(_ModeGuard):
    """`inference_mode(mode=True)`: as `no_grad`; `is_inference_mode_enabled` tells that it holds."""

    def __new__(cls, mode: Any = True) -> Any:
        return cls()(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self._changes = {"inference": True, "grad": False} if mode else {"inference": False, "grad": True}


class set_grad_enabled(_ModeGuard):
    """`set_grad_enabled(mode)` sets grad mode at once; used as a context manager it restores the former one."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self._changes = {"grad": bool(mode)}
        self._token: Token[Modes] | None = with_modes(**self._changes)

    def __enter__(self) -> None:
        if self._token is None:
            self._token = with_modes(**self._changes)
        self._tokens.append(self._token)
        self._token = None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if self._token is not None:  # used as a decorator: the mode is for the function alone
            MODES.reset(self._token)
            self._token = None
        return super().__call__(function)


class set_detect_anomaly(set_grad_enabled):
    """`set_detect_anomaly(mode)`: trap NaN and Inf where they arise, forward and backward. See `detect_anomaly`.

    check_nan=False traps nothing.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        _ModeGuard.__init__(self)
        self._changes = {"anomaly": bool(mode) and check_nan}
        self._token = with_modes(**self._changes)


class detect_anomaly(_ModeGuard):
    """Trap NaN and Inf: an op whose result is not finite raises RuntimeError, in forward and in backward.

    The error names the op, the shapes and the line of the user's program that recorded it. Every op is slower under it:
    it is for finding a fault, not for training. check_nan=False traps nothing.
    """

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__()
        self._changes = {"anomaly": check_nan}


def is_grad_enabled() -> bool:
    """True where ops are being recorded."""
    return MODES.get().grad


def is_inference_mode_enabled() -> bool:
    """Whether this is inside `inference_mode`."""
    return MODES.get().inference


def is_anomaly_enabled() -> bool:
    """Whether this is inside `detect_anomaly`."""
    return MODES.get().anomaly
