"""Tensor and Node: a value with its place in the graph, and a vertex of the graph.

A Tensor holds an array and, when it was recorded, the node that made it. The graph consists of nodes alone: a node
knows its parents (nodes, or leaf Tensors) and keeps what its rules named, so an intermediate Tensor that nobody
holds is freed, and there are no reference cycles. Methods and operators are attached where their ops are defined.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["METHODS", "WATCHED", "Node", "Tensor", "method", "named", "next_serial", "plain_results", "wrap"]

next_serial: Callable[[], int] = itertools.count(1).__next__
_new = object.__new__
#: leaves with hooks for when their gradient is complete
WATCHED: weakref.WeakSet[Tensor] = weakref.WeakSet()


class Node:
    """A vertex of the graph: one recorded call of an op.

    `parents` are the vertices of its inputs (None where an input wants no gradient), `saved` what its rules need,
    `shape` and `dtype` those of its output, `serial` its place in the order of creation. plan: the rules that run.
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
        from .vertex_names import vertex_name

        return vertex_name(self)

    @property
    def title(self) -> str:
        """What the op does, as users call it, e.g. avg_pool; the op's own name where that is all that is left."""
        op = self.plan.op  # an Op, or what stands for one: a Function's class, the output of several
        return op.title(self.saved if type(self.saved) is tuple else ()) if hasattr(op, "title") else op.name

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The parents, as PyTorch gives them: (vertex, output number)."""
        from .vertices import node_of_op

        parents = node_of_op(self)[0].parents
        return tuple(
            [node_of_op(p) if type(p) is Node else (p if p is None else AccumulateGrad(p), 0) for p in parents]
        )

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook(grad_inputs, grad_outputs)` when this node has done its work; what it returns stands in."""
        from .vertices import register_hook

        return register_hook(self, hook)

    def register_prehook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook(grad_outputs)` before this node does its work; what it returns stands in."""
        from .vertices import register_prehook

        return register_prehook(self, hook)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # all nodes have one type; what they tell is the op, as PyTorch's classes do
        from .vertices import vertex_class

        return vertex_class(self.name())

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"


class AccumulateGrad:
    """The end of a path in the graph as seen from `next_functions`: `variable` is the leaf."""

    __slots__ = ("variable",)
    next_functions = ()

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    def name(self) -> str:
        """PyTorch's name of a leaf's vertex."""
        return "torch::autograd::AccumulateGrad"

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook((), (grad,))` when a gradient was added to the leaf's."""
        from .vertices import register_hook

        return register_hook(self, hook)

    def register_prehook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook((grad,))` before a gradient is added to the leaf's; what it returns stands in."""
        from .vertices import register_prehook

        return register_prehook(self, hook)

    def __eq__(self, other: object) -> bool:
        return type(other) is AccumulateGrad and other.variable is self.variable

    def __hash__(self) -> int:
        return hash((AccumulateGrad, id(self.variable)))

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self.variable):#x}>"


def plain_results(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """`__torch_function__` of classes whose objects are to ops as other tensors are: parameters, buffers."""
    from .overrides import DisableTorchFunctionSubclass, overridden

    if not all(map(overridden, types)):
        return NotImplemented  # another library's call
    with DisableTorchFunctionSubclass():
        return func(*args, **(kwargs or {}))


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
    _retains: bool = False

    #: NumPy's operators leave the work to ours: `array * tensor` is a tensor
    __array_priority__ = 1000

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        from .creation import legacy_tensor

        made = legacy_tensor(*args, **kwargs)
        return made if cls is Tensor else made.as_subclass(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `__new__` has made the tensor."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__torch_function__ is not plain_results:
            from .overrides import activate

            activate()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What the class makes of the call `func(*args, **kwargs)`: its result, with tensors of this class.

        Subclasses may override it, and call it by `super()`. types: the classes among the arguments that do so.
        """
        from .overrides import default

        return default(cls, func, types, args, kwargs)

    if TYPE_CHECKING:  # attached elsewhere, by `method` and as properties
        requires_grad: bool
        grad: Any
        data: Any

        def __getattr__(self, name: str) -> Any: ...

        # operators, attached in operators.py and by the ops on indices: declared for type checkers and editors
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __rand__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __ror__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __rxor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rlshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __rrshift__(self, other: Any) -> Tensor: ...
        def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]: ...
        def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]: ...
        def __iadd__(self, other: Any) -> Self: ...
        def __isub__(self, other: Any) -> Self: ...
        def __imul__(self, other: Any) -> Self: ...
        def __itruediv__(self, other: Any) -> Self: ...
        def __ifloordiv__(self, other: Any) -> Self: ...
        def __imod__(self, other: Any) -> Self: ...
        def __ipow__(self, other: Any) -> Self: ...
        def __iand__(self, other: Any) -> Self: ...
        def __ior__(self, other: Any) -> Self: ...
        def __ixor__(self, other: Any) -> Self: ...
        def __ilshift__(self, other: Any) -> Self: ...
        def __irshift__(self, other: Any) -> Self: ...
        def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]  # elementwise
        def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]  # elementwise
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __hash__(self) -> int: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __trunc__(self) -> Tensor: ...
        def __round__(self, ndigits: int = 0) -> Tensor: ...
        def __bool__(self) -> bool: ...
        def __int__(self) -> int: ...
        def __float__(self) -> float: ...
        def __index__(self) -> int: ...
        def __len__(self) -> int: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __reversed__(self) -> Tensor: ...
        def __contains__(self, element: Any) -> bool: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any: ...


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
    setattr(Tensor, key, named(function, name))
    METHODS[key] = function
    return function


def named(function: Any, name: str | None) -> Any:
    """`function`, which calls itself by its first public name and not by that of its definition."""
    if name and function.__name__[0] == "_" != name[0]:
        function.__name__ = name
    return function
