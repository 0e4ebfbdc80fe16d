"""`Function`: an op with a backward of one's own, as PyTorch programs write it.

    class Exp(Function):
        @staticmethod
        def forward(ctx, x):
            out = x.exp()
            ctx.save_for_backward(out)
            return out

        @staticmethod
        def backward(ctx, g):
            (out,) = ctx.saved_tensors
            return g * out

    y = Exp.apply(x)

`@op` is the shorter way, and its rules serve all orders by construction; here `backward` must itself consist of
differentiable operations for a second derivative. A static `jvp(ctx, *tangents)` serves forward mode, with or without
a backward beside it; `vjp` is another name of `backward`.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

from .dtypes import differentiable
from .errors import OpError
from .modes import MODES, no_grad
from .namespaces import GRAPH
from .plan import Parts, Plan, pick_node
from .tensor import Node, Tensor, wrap

__all__ = ["Function", "FunctionCtx", "Variable", "once_differentiable", "pushing"]

_PUSHING: ContextVar[bool] = ContextVar("chainrule_pushing", default=False)


@contextlib.contextmanager
def pushing() -> Iterator[None]:
    """Context of a recorded backward pass that is there to be differentiated by its seed: the first half of forward
    mode (see functional.py). Its gradients have no value that matters, so Functions with a `jvp` take part by that.
    """
    token = _PUSHING.set(True)
    try:
        yield
    finally:
        _PUSHING.reset(token)


class FunctionCtx:
    """What passes from a Function's forward to its backward. Attributes may be set on it freely.

    needs_input_grad: which inputs want a gradient.
    """

    #: for `jvp`: shape and dtype of each argument that is a tensor
    _described: Any = ()

    def __init__(self, needs_input_grad: tuple[bool, ...] = ()) -> None:
        self.needs_input_grad = needs_input_grad
        self.materialize_grads = True
        self._saved: tuple[Any, ...] = ()
        self._saved_for_forward: tuple[Any, ...] | None = None
        self._outputs: dict[int, int] = {}
        self._node: Any = None
        self._dirty: tuple[Tensor, ...] = ()
        self._constant: tuple[Tensor, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors (inputs or outputs) for backward, where `saved_tensors` gives them."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save tensors, but got {type(t).__name__}; set an attribute of ctx"
                )
        self._saved = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `jvp`, where `saved_tensors` gives them."""
        self._saved_for_forward = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors kept by `save_for_backward`, attached to the graph."""
        node = self._node() if self._node is not None else None
        if node is None or not MODES.get().grad:
            return self._saved
        return tuple([_output(node, self._outputs[id(t)], t) if id(t) in self._outputs else t for t in self._saved])

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs forward changed in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which outputs carry no gradient."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """False: backward gets None, not zeros, for an output that no gradient came to."""
        self.materialize_grads = value


def _output(node: Node, index: int, t: Tensor) -> Tensor:
    if node.dtype is not None:
        return wrap(t.array, node)
    return wrap(t.array, pick_node(node, index, node.plan.described[node], t.array))  # type: ignore[attr-defined]


class _FunctionPlan(Plan):
    """The plan of a Function's nodes: one rule, its `backward`."""

    __slots__ = ("described",)

    def __init__(self, cls: type[Function], frees: bool) -> None:
        dict.__init__(self)
        self.op, self.broadcast, self.frees, self.mask = _Named(cls), True, frees, ()  # type: ignore[assignment]
        self.described: Any = weakref.WeakKeyDictionary()

    def __missing__(self, F: Any) -> tuple[Any, ...]:
        cls: Any = self.op.function  # the class itself: op is a _Named

        def rule(F: Any, g: Any, ctx: FunctionCtx, arrays: Any, expected: int) -> list[Any]:
            if isinstance(g, Parts):
                n = len(g.described)
                gs = g.complete(F) if ctx.materialize_grads else tuple([g.given.get(i) for i in range(n)])
            else:
                gs = (g,)
            gs = tuple([x if x is None or isinstance(x, Tensor) else wrap(x, None) for x in gs])
            if _PUSHING.get() and cls.jvp is not Function.jvp:
                return _turned(cls, ctx, gs)
            found = cls.backward(ctx, *gs)
            found = found if isinstance(found, (tuple, list)) else (found,)
            if len(found) < expected or any(x is not None for x in found[expected:]):
                raise OpError(
                    f"function {cls.__name__}Backward returned an incorrect number of gradients "
                    f"(expected {expected}, got {len(found)})"
                )
            for x in found:
                if x is not None and not isinstance(x, Tensor):
                    raise TypeError(
                        f"{cls.__name__}.backward returned a {type(x).__name__}; gradients are Tensors or None"
                    )
            return [x if x is None or F is GRAPH else x.array for x in found[:expected]]

        return ((None, rule, 0, 3, False),)  # None: a gradient for every input

    def unpack(self, node: Node, saved: Any) -> Any:
        return saved


class _Named:
    def __init__(self, cls: type[Function]) -> None:
        self.function, self.name = cls, cls.__name__


class Function:
    """Base of a differentiable function with a backward of its own. See the module's docstring."""

    _plans: tuple[_FunctionPlan, _FunctionPlan]  # of calls that save nothing, and of the others

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "vjp" in cls.__dict__ and "backward" not in cls.__dict__:
            cls.backward = staticmethod(cls.vjp)  # type: ignore[method-assign]
        cls._plans = _FunctionPlan(cls, False), _FunctionPlan(cls, True)

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the result from Tensors, unrecorded. `forward(ctx, ...)`, or without ctx beside `setup_context`."""
        raise NotImplementedError("a Function needs a static forward(ctx, ...)")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients of the inputs, one per argument of forward; None for what is not a tensor."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    #: another name of backward, PyTorch's
    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """The outputs' tangents from those of the inputs, one per argument of forward; None for what is not a tensor.

        Only forward mode calls it, and where a class has none, forward mode differentiates its backward.
        """
        raise NotImplementedError("a Function needs a static jvp(ctx, *tangents) or a differentiable backward")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Call the function, and record it."""
        grad = MODES.get().grad
        parents = tuple([(a.node or (a if a.leaf else None)) if isinstance(a, Tensor) and grad else None for a in args])
        ctx: Any = FunctionCtx(tuple([p is not None for p in parents]))
        with no_grad():
            if "setup_context" in cls.__dict__ or any("setup_context" in c.__dict__ for c in cls.__mro__[:-1]):
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)  # type: ignore[attr-defined]
            else:
                result = cls.forward(ctx, *args)
        if not any(ctx.needs_input_grad):
            return result
        outputs: Sequence[Any] = result if isinstance(result, tuple) else (result,)
        for o in outputs:
            if o is not None and not isinstance(o, Tensor):
                raise TypeError(f"{cls.__name__}.forward returned a {type(o).__name__}; it returns Tensors")
        ctx._outputs = {id(o): i for i, o in enumerate(outputs) if not any(o is a for a in args)}
        # of a sparse tensor, its values are watched
        kept = tuple([getattr(t, "_held", t).array for t in ctx._saved if t is not None])
        saved, plan = (ctx, kept, len(args)), cls._plans[bool(kept)]
        single = not isinstance(result, tuple)
        if single:
            node = Node(plan, parents, saved, result.array.shape, result.array.dtype)
        else:
            node = Node(plan, parents, saved, tuple([getattr(o, "shape", None) for o in outputs]), None)
            plan.described[node] = tuple([(o.array.shape, o.array.dtype) for o in outputs if o is not None])
        ctx._node = weakref.ref(node)
        if cls.jvp is not Function.jvp:
            ctx._described = [(a.array.shape, a.array.dtype) if isinstance(a, Tensor) else None for a in args]
        made = [_attach(cls, ctx, node, i, o, single) for i, o in enumerate(outputs)]
        return made[0] if single else tuple(made)


def _attach(cls: type[Function], ctx: FunctionCtx, node: Node, index: int, o: Any, single: bool) -> Any:
    if o is None or any(o is t for t in ctx._constant) or not differentiable(o.array.dtype):
        return o
    place = node if single else pick_node(node, index, node.plan.described[node], o.array)  # type: ignore[attr-defined]
    if any(o is t for t in ctx._dirty):
        o.node, o.leaf = place, False
        return o
    return wrap(o.array, place)


def _turned(cls: type[Function], ctx: FunctionCtx, gs: tuple[Any, ...]) -> list[Any]:
    """Gradients of no value: their derivatives by `gs`, in the direction of tangents, are the outputs' tangents."""
    one = next(g for g in gs if g is not None)
    zeros = [None if of is None else GRAPH.zeros_of(one, shape=of[0], dtype=of[1]) for of in ctx._described]
    given = [z is not None and wanted for z, wanted in zip(zeros, ctx.needs_input_grad, strict=True)]
    found = iter(_Turned.apply(cls, ctx, zeros, given, *gs))
    return [next(found) if wanted else None for wanted in given]


class _Turned(Function):
    @staticmethod
    def forward(c: Any, cls: Any, ctx: Any, zeros: list[Any], given: list[bool], *gs: Any) -> Any:
        c.cls, c.ctx, c.zeros, c.given, c.count = cls, ctx, zeros, given, len(gs)
        return tuple([z for z, wanted in zip(zeros, given, strict=True) if wanted])

    @staticmethod
    def backward(c: Any, *tangents: Any) -> Any:
        ctx, each = copy.copy(c.ctx), iter(tangents)  # jvp may delete what it has read
        if ctx._saved_for_forward is not None:
            ctx._saved = ctx._saved_for_forward
        found = c.cls.jvp(ctx, *[next(each) if wanted else z for z, wanted in zip(c.zeros, c.given, strict=True)])
        found = found if isinstance(found, tuple) else (found,)
        if len(found) != c.count:
            raise OpError(f"{c.cls.__name__}.jvp returned {len(found)} tangents where there are {c.count} outputs")
        return (None, None, None, None, *found)


def once_differentiable(backward: Any) -> Any:
    """Decorator of a backward that is not differentiable: its gradients are constants for a second derivative."""

    def wrapper(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            return backward(ctx, *grads)

    return wrapper


class _IsTensor(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_IsTensor):
    """`Variable(data)` is the tensor `data` itself, and each tensor is an instance: PyTorch merged Variable into
    Tensor; old programs still name it. volatile: without effect, and said to be.
    """

    def __new__(cls, data: Any = None, requires_grad: bool | None = None, volatile: bool | None = None) -> Any:
        if volatile:
            text = "volatile was removed and now has no effect. Use `with torch.no_grad():` instead."
            warnings.warn(text, stacklevel=2)
        if data is None:
            return Tensor(0)
        if requires_grad:
            data = data.detach() if data.node is not None else data
            data.requires_grad = True
        return data
