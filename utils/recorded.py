"""The recorded graph, walked: for pictures of it (`explain.draw_graph`) and for TensorBoard."""

from __future__ import annotations

import contextlib
from bisect import bisect
from collections.abc import Iterable, Iterator
from typing import Any

from ..autograd import Tensor
from ..autograd.tape import reachable
from ..autograd.tensor import Node, next_serial
from ..nn import Module
from ..nn.registration import register_module_forward_hook, register_module_forward_pre_hook

__all__ = ["Places", "places", "tensors", "vertices"]


def vertices(results: Iterable[Tensor]) -> list[Node | Tensor]:
    """What the results were computed from, nodes and leaves, each behind what it was computed from itself.

    Nodes stand in the order in which they were recorded, leaves before their first use.
    """
    results = list(results)
    found: dict[Any, None] = {}
    for node in reversed(reachable([t.node for t in results if t.node is not None])):
        for parent in node.parents:
            if parent is not None:
                found.setdefault(parent)
        found.setdefault(node)
    for t in results:
        if t.node is None and t.leaf:
            found.setdefault(t)
    return list(found)


class Places:
    """In which call of a module a node was recorded; `places` makes one."""

    def __init__(self) -> None:
        #: from which serial number on a module was the innermost one: None outside the model
        self._since: list[int] = [0]
        self._paths: list[str | None] = [None]
        self._open: list[str] = []

    def enter(self, path: str) -> None:
        """A call of the module at `path` begins."""
        self._open.append(path)
        self._note(path)

    def leave(self) -> None:
        """The innermost call ends."""
        self._open.pop()
        self._note(self._open[-1] if self._open else None)

    def _note(self, path: str | None) -> None:
        self._since.append(next_serial())
        self._paths.append(path)

    def of(self, node: Node) -> str | None:
        """The path of the innermost module that was running, "" for the model itself, None outside it."""
        return self._paths[bisect(self._since, node.serial) - 1]


@contextlib.contextmanager
def places(model: Module) -> Iterator[Places]:
    """A block in which it is noted where in the model nodes are recorded."""
    found, names = Places(), {module: name for name, module in model.named_modules()}

    def enter(module: Module, args: Any) -> None:
        if module in names:
            found.enter(names[module])

    def leave(module: Module, args: Any, output: Any) -> None:
        if module in names:
            found.leave()

    before, after = register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)
    with before, after:
        yield found


def tensors(value: Any) -> list[Tensor]:
    """The tensors of a result: one, or those in lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [t for v in values for t in tensors(v)]
