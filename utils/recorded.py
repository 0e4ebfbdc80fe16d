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

__all__ = ["Places", "places", "relative", "tensors", "vertices"]


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
    """In which calls of modules a node was recorded; `places` makes one."""

    def __init__(self) -> None:
        #: the calls under way, from the node with this serial number on
        self._since: list[int] = [0]
        self._under_way: list[tuple[tuple[int, str], ...]] = [()]

    def enter(self, path: str) -> None:
        """A call of the module at `path` begins."""
        self._note((*self._under_way[-1], (len(self._since), path)))

    def leave(self) -> None:
        """The innermost call ends."""
        self._note(self._under_way[-1][:-1])

    def _note(self, calls: tuple[tuple[int, str], ...]) -> None:
        self._since.append(next_serial())
        self._under_way.append(calls)

    def calls(self, node: Node) -> tuple[tuple[int, str], ...]:
        """The calls of modules that were under way, from the outermost on: (number of the call, the module's path)."""
        return self._under_way[bisect(self._since, node.serial) - 1]

    def of(self, node: Node) -> str | None:
        """The path of the innermost module that was running, "" for the model itself, None outside it."""
        calls = self.calls(node)
        return calls[-1][1] if calls else None


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


def relative(path: str, outer: str) -> str:
    """A module's path from the one that called it; the whole path where it stands elsewhere in the model."""
    return path.removeprefix(f"{outer}.") if outer else path


def tensors(value: Any) -> list[Tensor]:
    """The tensors of a result: one, or those in lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [t for v in values for t in tensors(v)]
