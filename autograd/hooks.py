"""Hooks on gradients: `t.register_hook(f)` and its kin."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

from .errors import OpError
from .namespaces import GRAPH
from .plan import Parts
from .tensor import WATCHED, Tensor, method

__all__ = ["RemovableHandle", "add_hook"]

_ids = itertools.count()


class RemovableHandle:
    """Takes its hook out again: by `remove()`, or at the end of a `with` block.

    hooks: the dictionary that holds the hook under `id`. owner: whose hooks they are, held weakly.
    """

    def __init__(self, hooks: dict[int, Any], owner: Any = None) -> None:
        self.id = next(_ids)
        self._hooks = hooks
        self._owner = weakref.ref(owner) if owner is not None else None

    def remove(self) -> None:
        """Take the hook out; once is enough."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


def add_hook(owner: Any, hook: Callable[..., Any], slot: str = "hooks") -> RemovableHandle:
    """Put `hook` into the owner's dictionary of hooks, its attribute `slot`, which is made where it is None.

    TypeError for what cannot be called.
    """
    if not callable(hook):
        raise TypeError(f"a hook is a function, not {type(hook).__name__}")
    hooks = getattr(owner, slot)
    if hooks is None:
        hooks = {}
        setattr(owner, slot, hooks)
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


@method
def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call `hook(grad)` each time the gradient of this tensor is computed; what it returns replaces the gradient."""
    if not self.requires_grad:
        raise OpError("cannot register a hook on a tensor that doesn't require gradient")
    return add_hook(self.node if self.node is not None else self, hook)


@method
def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call `hook(tensor)` when backward() has put the whole gradient of this leaf into `.grad`, and may still go on."""
    if self.node is not None or not self.leaf:
        raise OpError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    if self.after_hooks is None:  # or it is there; the set compares by ==, which is elementwise
        WATCHED.add(self)
    return add_hook(self, hook, "after_hooks")


@method
def retain_grad(self: Tensor) -> None:
    """Keep the gradient of this non-leaf tensor in `.grad`, too."""
    if not self.requires_grad:
        raise OpError("can't retain_grad on Tensor that has requires_grad=False")
    if self.node is None or self._retains:
        return
    self._retains = True
    me = weakref.ref(self)  # the node must not keep its own tensor alive

    def keep(g: Any) -> None:
        t = me()
        if t is None or isinstance(g, Parts):
            return
        g = g if g.node is not None or g.leaf else GRAPH.clone(g)
        t.grad = g if t.grad is None else t.grad + g

    add_hook(self.node, keep)


def retains_grad(self: Tensor) -> bool:
    """True for a non-leaf whose gradient is kept in `.grad`."""
    return self.node is not None and self._retains


Tensor.retains_grad = property(retains_grad)  # type: ignore[attr-defined]
