"""Every op of a stretch of a program goes through a function: for counting and timing. Nothing is asked elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from .autocast import _State
from .composite import Composite
from .modes import MODES, with_modes
from .namespaces import OPS

__all__ = ["watched"]


class _Watching(_State):
    """A state of autocast that does what the one outside does; while it holds, ops take their general path."""

    def __init__(self, outside: _State | None) -> None:
        super().__init__({} if outside is None else outside.targets)

        self._nothing = self if not self.targets else _Watching(None)

    def without(self) -> _State:
        return self._nothing


@contextlib.contextmanager
def watched(around: Callable[[Any, list[Any], dict[str, Any], Callable[[], Any]], Any]) -> Iterator[None]:
    """Inside, each call of an op is `around(op, inputs, params, call)`, which returns `call()`.

    Composites are taken apart into their ops, whatever kernels they have.
    """

    def replaced(target: Any) -> Any:
        run = type(target).apply
        if isinstance(target, Composite):
            return lambda inputs, params: target._compose(inputs, params)
        return lambda inputs, params: around(target, inputs, params, lambda: run(target, inputs, params))

    token = with_modes(autocast=_Watching(MODES.get().autocast))
    for target in OPS.values():
        vars(target)["apply"] = replaced(target)
    try:
        yield
    finally:
        for target in OPS.values():
            vars(target).pop("apply", None)
        MODES.reset(token)
