"""Regions that keep nothing and run their forward again when backward needs what they would have kept.

The nodes of the region stay in the graph as they were recorded; only what they kept is dropped. When the walk reaches
one, the function runs again, the nodes of the two runs are paired by their order of creation, and each gets back what
its twin kept. So parameters inside, `autograd.grad` and higher orders work as without it. Turned down:
a Function whose backward calls backward, which cannot serve `autograd.grad`.

Source: T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import random
from .errors import OpError
from .modes import MODES, with_modes
from .saved import HOOKS
from .tensor import Node, Tensor, next_serial

__all__ = ["recompute"]


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, dict):
        result = list(result.values())
    return [t for x in result for t in _tensors(x)] if isinstance(result, (tuple, list)) else []


def _recorded(result: Any, since: int) -> list[Node]:
    """The nodes behind `result` that were recorded after the serial `since`, oldest first."""
    stack = [t.node for t in _tensors(result) if t.node is not None and t.node.serial > since]
    seen = set(stack)
    while stack:
        for p in stack.pop().parents:
            if type(p) is Node and p.serial > since and p not in seen:
                seen.add(p)
                stack.append(p)
    return sorted(seen, key=lambda n: n.serial)


class _Region:
    def __init__(self, run: Callable[[], Any], count: int) -> None:
        self.run, self.count = run, count
        self.found: dict[int, Any] = {}

    def restore(self, index: int) -> Any:
        if index not in self.found:
            since = next_serial()
            nodes = _recorded(self.run(), since)
            if len(nodes) != self.count:
                raise OpError(
                    f"checkpoint: the recomputation recorded {len(nodes)} ops, the forward {self.count}; the function "
                    "must do the same each time it is called"
                )
            self.found = dict(enumerate([n.saved for n in nodes]))
        return self.found.pop(index)


class _Kept:
    """In place of what a node kept: where to get it back."""

    __slots__ = ("index", "region")

    def __init__(self, region: _Region, index: int) -> None:
        self.region, self.index = region, index

    def restore(self, node: Node) -> Any:
        return self.region.restore(self.index)


def recompute(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], preserve_rng_state: bool = True
) -> Any:
    """`function(*args, **kwargs)`, of which backward keeps the arguments alone."""
    modes = MODES.get()
    if not modes.grad:
        return function(*args, **kwargs)
    state, hooks = random.get_rng_state() if preserve_rng_state else None, HOOKS.get()
    since = next_serial()
    result = function(*args, **kwargs)

    def run() -> Any:
        now = random.get_rng_state() if preserve_rng_state else None
        token, outside = with_modes(**modes._asdict()), HOOKS.set(hooks)
        try:
            if state is not None:
                random.set_rng_state(state)
            return function(*args, **kwargs)
        finally:
            HOOKS.reset(outside)
            MODES.reset(token)
            if now is not None:
                random.set_rng_state(now)

    nodes = _recorded(result, since)
    region = _Region(run, len(nodes))
    for index, node in enumerate(nodes):
        if node.saved:
            node.saved = _Kept(region, index)
    return result
