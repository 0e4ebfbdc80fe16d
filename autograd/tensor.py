"""Tensor and Node: a value with its place in the graph, and a vertex of the graph.

A Tensor holds an array and, when it was recorded, the node that made it. The graph consists of nodes alone: a node
knows its parents (nodes, or leaf Tensors) and keeps what its rules named, so an intermediate Tensor that nobody
holds is freed, and there are no reference cycles. Methods and operators are attached where their ops are defined.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .op import Plan

__all__ = ["METHODS", "Node", "Tensor", "method", "next_serial", "wrap"]

next_serial: Callable[[], int] = itertools.count(1).__next__
_new = object.__new__


class Node:
    """A vertex of the graph: one recorded call of an op.

    `parents` are the vertices of its inputs (None where an input wants no gradient), `saved` what its rules need,
    `shape` and `dtype` those of its output, `serial` its place in the order of creation.
    """

    __slots__ = ("__weakref__", "dtype", "hooks", "parents", "plan", "saved", "serial", "shape")

    def __init__(self, plan: Plan, parents: tuple[Any, ...], saved: Any, shape: Any, dtype: Any) -> None:
        self.plan = plan
        self.parents = parents
        self.saved = saved
        self.shape = shape
        self.dtype = dtype
        self.hooks = None
        self.serial = next_serial()

    def name(self) -> str:
        """The op's name in PyTorch's form, e.g. MulBackward0."""
        words = self.plan.op.name.strip("_").split("_")
        return "".join([w[:1].upper() + w[1:] for w in words]) + "Backward0"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The parents, as PyTorch gives them: (vertex, output number)."""
        return tuple([(p if type(p) is Node or p is None else AccumulateGrad(p), 0) for p in self.parents])

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook(grad)` with the gradient of this node's output; what it returns replaces the gradient."""
        from .hooks import add_hook

        return add_hook(self, hook)

    def __repr__(self) -> str:
        return f"<{self.name()}>"


class AccumulateGrad:
    """The end of a path in the graph as seen from `next_functions`: `variable` is the leaf."""

    __slots__ = ("variable",)
    next_functions = ()

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    def name(self) -> str:
        """PyTorch's name of a leaf's vertex."""
        return "AccumulateGrad"

    def __repr__(self) -> str:
        return "<AccumulateGrad>"


class Tensor:
    """A multi-dimensional array that records what is done to it.

    `Tensor(3, 4)` is an uninitialised float32 tensor of that shape, `Tensor(data)` a float32 tensor of the data (as in
    PyTorch); `chainrule.tensor` is the usual way to make one. `t.array` is the NumPy or CuPy array itself, without a
    copy; 0-d results may be NumPy scalars. Treat it as read-only: what is written into it by hand is not seen by
    the checks against stale gradients.
    """

    __slots__ = ("__dict__", "__weakref__", "_grad", "array", "leaf", "node")

    array: Any
    node: Node | None
    leaf: bool
    _grad: Any  # the property `grad` checks what is assigned to it

    # Set on few tensors: kept in the instance's dictionary when they are.
    family: Any = None
    chain: tuple[Any, ...] = ()
    hooks: Any = None
    after_hooks: Any = None

    #: NumPy's operators leave the work to ours: `array * tensor` is a tensor
    __array_priority__ = 1000

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        from .creation import legacy_tensor

        if cls is not Tensor:  # a subclass's own __init__ does the work
            return _new(cls)
        return legacy_tensor(*args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `__new__` has made the tensor."""

    if TYPE_CHECKING:  # attached elsewhere, by `method` and as properties
        requires_grad: bool
        grad: Any
        data: Any

        def __getattr__(self, name: str) -> Any: ...


def wrap(array: Any, node: Node | None) -> Tensor:
    """A Tensor of `array`, made by `node` (None: not recorded). The way every op makes its result."""
    t = _new(Tensor)
    t.array = array
    t.node = node
    t.leaf = False
    t._grad = None
    return t


METHODS: dict[str, Callable[..., Any]] = {}


def method(function: Any = None, *, name: str | None = None) -> Any:
    """Decorator: make a function `f(self, ...)` a method of Tensor."""
    if function is None:
        return lambda f: method(f, name=name)
    key = name or function.__name__
    setattr(Tensor, key, function)
    METHODS[key] = function
    return function
