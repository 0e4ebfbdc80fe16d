"""Every op of a stretch of a program goes through a function: for counting and timing. Nothing is asked elsewhere.

`watched` stands around every op of the process while it holds. `seen` looks at the calls of one thread alone, and lets
composites be the one op that they are. Both hang on the state of autocast. States live on in the table of modes, so
there is one for all blocks: what a block wants is not in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from .autocast import _State
from .composite import Composite
from .modes import MODES, with_modes
from .namespaces import OPS

__all__ = ["seen", "watched"]


_Targets = frozenset[tuple[str, Any]]
_STATES: dict[tuple[Any, _Targets], Any] = {}
_LOOK: ContextVar[Callable[[Any, list[Any], dict[str, Any]], Any]] = ContextVar("chainrule_look")


class _Watching(_State):
    """A state of autocast that does what the one outside does; while it holds, ops take their general path."""

    def __init__(self, targets: _Targets) -> None:
        super().__init__(dict(targets))

    def without(self) -> _State:
        return _one(type(self), frozenset())


class _Seeing(_Watching):
    """One that shows each call to the function of the block."""

    def changed(self, place: str, target: Any) -> _State:
        targets = {**self.targets, place: target}
        return _one(_Seeing, frozenset((p, kind) for p, kind in targets.items() if kind is not None))

    def cast(
        self, op: Any, inputs: list[Any], arrays: list[Any], params: dict[str, Any]
    ) -> tuple[list[Any], list[Any]]:
        token = with_modes(autocast=None)  # what the function computes is not shown to it
        try:
            _LOOK.get()(op, inputs, params)
        finally:
            MODES.reset(token)
        return super().cast(op, inputs, arrays, params)


def _one(kind: type[_Watching], targets: _Targets) -> _Watching:
    if (kind, targets) not in _STATES:
        _STATES[kind, targets] = kind(targets)
    return _STATES[kind, targets]


def _hung(kind: type[_Watching]) -> Any:
    """The token that restores the modes without this state."""
    outside = MODES.get().autocast
    return with_modes(autocast=_one(kind, frozenset(() if outside is None else outside.targets.items())))


@contextlib.contextmanager
def seen(look: Callable[[Any, list[Any], dict[str, Any]], Any]) -> Iterator[None]:
    """Inside, `look(op, inputs, params)` comes before each call of an op by this thread (or task).

    A composite is one op. Nothing is changed: the same kernels compute the same. `look` may call ops of its own.
    """
    before, token = _LOOK.set(look), _hung(_Seeing)
    try:
        yield
    finally:
        MODES.reset(token)
        _LOOK.reset(before)


@contextlib.contextmanager
def watched(
    around: Callable[[Any, list[Any], dict[str, Any], Callable[[], Any]], Any], composites: bool = False
) -> Iterator[None]:
    """Inside, each call of an op is `around(op, inputs, params, call)`, which returns `call()`.

    Composites are taken apart into their ops, whatever kernels they have. composites: `around` gets them as well, and
    their ops come within `call()`.
    """

    def replaced(target: Any) -> Any:
        run = type(target)._compose if isinstance(target, Composite) else type(target).apply
        if isinstance(target, Composite) and not composites:
            return lambda inputs, params: run(target, inputs, params)
        return lambda inputs, params: around(target, inputs, params, lambda: run(target, inputs, params))

    token = _hung(_Watching)
    for target in OPS.values():
        vars(target)["apply"] = replaced(target)
    try:
        yield
    finally:
        for target in OPS.values():
            vars(target).pop("apply", None)
        MODES.reset(token)
