"""Unrolled call paths, so that all that a call needs is a local name: closures for one and two inputs, for one with
parameters (views among them), for several inputs, and for a list of them.

A generic path takes a third longer on small tensors. A path serves tensors of one floating dtype, tracked or not, in
the default modes and under `no_grad`, and hands everything else to `Op.general`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import storage
from .dtypes import BFLOAT16, COMPLEX, SELDOM
from .errors import NotDense
from .modes import DEFAULT, MODES, NO_GRAD
from .tensor import Node, Tensor, next_serial, wrap

if TYPE_CHECKING:
    from .op import Op

__all__ = ["binary_path", "parametric_path", "several_path", "shape_of", "unary_path", "variadic_path"]

_new = object.__new__


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of an operand, () for a number."""
    return x.shape if hasattr(x, "shape") else ()


def unary_path(op: Op) -> Callable[[Any], Any]:
    """The call of one tracked tensor."""
    general, kernels, defaults = op.general, op.kernels, op.default_params
    modes, shared = MODES.get, storage.SHARED
    plan: Any = None  # worked out at the first call: most programs call few of the ops
    keep = narrow = one = None

    def prepare() -> None:
        nonlocal plan, keep, narrow, one
        plan = op.plan((True,))
        keep, narrow, one = plan.keep, plan.narrow, plan.one

    def call(input: Any, out: Any = None) -> Any:
        mode = modes()
        if out is not None or not isinstance(input, Tensor) or (mode is not DEFAULT and mode is not NO_GRAD):
            return general((input,), {"out": out})
        parent = input.node
        try:
            a = input.array
        except NotDense:
            return general((input,), {})
        if parent is None:
            if input.leaf:
                parent = input
            elif a.dtype.kind != "f":
                return general((input,), {})
        if SELDOM and a.dtype in SELDOM:
            return general((input,), {})
        try:
            value = kernels[type(a)](a)
        except Exception as error:
            return op.across(error, (input,), {})
        if parent is None or mode is NO_GRAD:
            return wrap(value, None)
        if plan is None:
            prepare()
        if keep is None:
            saved = ()
        else:
            if one is not None:
                saved = (value if one else a,)
            else:
                saved = keep((a, value)) if narrow else keep((a, value, a.shape, *defaults, (True,)))
            if shared:
                saved = storage.protect(saved)
        node = _new(Node)  # as Node.__init__ does it; to call that takes as long as the rest of this
        node.plan = plan
        node.parents = (parent,)
        node.saved = saved
        node.shape = value.shape
        node.dtype = value.dtype
        node.hooks = None
        node.serial = next_serial()
        t = _new(Tensor)
        t.array = value
        t.node = node
        t.leaf = False
        t._grad = None
        return t

    return call


def binary_path(op: Op, general: Callable[..., Any] | None = None) -> Callable[[Any, Any], Any]:
    """The call of two operands: tracked tensors of one dtype, or one and a number. `general` takes all other calls."""
    general, kernels, defaults = general or op.general, op.kernels, op.default_params
    modes, shared = MODES.get, storage.SHARED
    plans: list[Any] = [None] * 4  # by which inputs want a gradient; False where none of them has a rule

    def find(live: int) -> Any:
        mask = tuple([bool(live & bit) and name in op.rules for bit, name in zip((1, 2), op.inputs, strict=True)])
        plans[live] = op.plan(mask) if any(mask) else False
        return plans[live]

    def call(input: Any, other: Any, out: Any = None) -> Any:
        mode = modes()
        if out is not None or (mode is not DEFAULT and mode is not NO_GRAD):
            return general((input, other), {"out": out})
        live, first, second = 0, None, None
        try:
            if isinstance(input, Tensor):
                a = array = input.array
                first = input.node
                if first is not None:
                    live = 1
                elif input.leaf:
                    first, live = input, 1
            elif type(input) is float or type(input) is int:
                a, array = input, None
            else:
                return general((input, other), {})
            if isinstance(other, Tensor):
                b = other.array
                second = other.node
                if second is not None:
                    live += 2
                elif other.leaf:
                    second = other
                    live += 2
                if array is None:
                    array = b
                elif a.dtype is not b.dtype:
                    return general((input, other), {})
            elif array is not None and (type(other) is float or type(other) is int):
                b = other
            else:
                return general((input, other), {})
            if (SELDOM and array.dtype in SELDOM) or (not live and array.dtype.kind != "f"):
                return general((input, other), {})
        except NotDense:
            return general((input, other), {})
        try:
            value = kernels[type(array)](a, b)
        except Exception as error:
            return op.across(error, (input, other), {})
        if not live or mode is NO_GRAD:
            return wrap(value, None)
        plan = plans[live]
        if plan is None:
            plan = find(live)
        if plan is False:
            return wrap(value, None)
        keep = plan.keep
        if keep is None:
            saved = ()
        else:
            one = plan.one
            if one is not None:
                saved = (a if one == 0 else b if one == 1 else value,)
            elif plan.narrow:
                saved = keep((a, b, value))
            else:
                saved = keep((a, b, value, shape_of(a), shape_of(b), *defaults, plan.mask))
            if shared:
                saved = storage.protect(saved)
        node = _new(Node)  # as Node.__init__ does it; to call that takes as long as the rest of this
        node.plan = plan
        node.parents = (first, second)
        node.saved = saved
        node.shape = value.shape
        node.dtype = value.dtype
        node.hooks = None
        node.serial = next_serial()
        t = _new(Tensor)
        t.array = value
        t.node = node
        t.leaf = False
        t._grad = None
        return t

    return call


def parametric_path(op: Op) -> Callable[..., Any]:
    """The call of one tensor and all parameters of an op, in their order: views, reductions and the like."""
    kernels, rules, names, view, typed = op.kernels, op.rules, op.params, op.view, op.types is not None
    modes, shared, link, several = MODES.get, storage.SHARED, storage.link_one, op.outputs != 1
    absent = tuple([op.defaults.get(n, op) for n in names])  # no parameter is the op itself
    plan: Any = None  # worked out at the first call: most programs call few of the ops
    keep = None

    def prepare() -> None:
        nonlocal plan, keep
        plan = op.plan((True,))
        keep = plan.keep

    def parts(input: Any, a: Any, value: Any, params: tuple[Any, ...], mode: Any) -> Any:
        parent = input.node or (input if input.leaf else None)
        if parent is None or mode is NO_GRAD:
            results = tuple([wrap(v, None) for v in value])
        else:
            results = op.record(value, [a], [parent], dict(zip(names, params, strict=True)))
        for index, t in enumerate(results):
            link(input, t, op, params, index)
        return results

    def given(params: tuple[Any, ...]) -> dict[str, Any]:
        return {n: v for n, v, default in zip(names, params, absent, strict=True) if v is not default}

    def call(input: Any, *params: Any) -> Any:
        mode = modes()
        if not isinstance(input, Tensor) or (mode is not DEFAULT and mode is not NO_GRAD):
            return op.apply([input], given(params))
        a = input.array
        if view:
            if not a.shape:
                storage.as_memory(input)
                a = input.array
        elif typed and a.dtype.kind != "f":
            return op.apply([input], given(params))
        if SELDOM and a.dtype in SELDOM and not (view and a.dtype in BFLOAT16):
            return op.apply([input], given(params))
        try:
            value = kernels[type(a)](a, *params)
        except Exception as error:
            return op.across(error, (input,), given(params))
        if several:
            return parts(input, a, value, params, mode)
        t = _new(Tensor)
        t.array = value
        t.leaf = False
        t._grad = None
        parent = input.node
        if parent is None and input.leaf:
            parent = input
        if parent is None or mode is NO_GRAD or not rules:
            t.node = None
        else:
            if plan is None:
                prepare()
            if keep is None:
                saved = ()
            else:
                saved = keep((a, value, a.shape, *params, (True,)))
                if shared:
                    saved = storage.protect(saved)
            node = t.node = _new(Node)  # as Node.__init__ does it; to call that takes as long as the rest of this
            node.plan = plan
            node.parents = (parent,)
            node.saved = saved
            node.shape = value.shape
            node.dtype = value.dtype
            node.hooks = None
            node.serial = next_serial()
        if view:
            link(input, t, op, params)
        return t

    return call


def several_path(op: Op) -> Callable[..., Any]:
    """The call of several inputs and all parameters of an op, in their order: tensors, numbers and None."""
    kernels, n, names, typed = op.kernels, len(op.inputs), op.params, op.types is not None
    modes, shared = MODES.get, storage.SHARED
    absent = tuple([op.defaults.get(name, op) for name in names])  # no parameter is the op itself
    plans: dict[int, Any] = {}  # by which inputs are tracked, as bits; False where none of them has a rule

    def given(params: tuple[Any, ...]) -> dict[str, Any]:
        return {n: v for n, v, default in zip(names, params, absent, strict=True) if v is not default}

    def find(live: int) -> Any:
        mask = tuple([bool(live >> i & 1) and name in op.rules for i, name in enumerate(op.inputs)])
        plans[live] = op.plan(mask) if any(mask) else False
        return plans[live]

    def call(*values: Any) -> Any:
        mode, inputs, params = modes(), values[:n], values[n:]
        if (mode is not DEFAULT and mode is not NO_GRAD) or BFLOAT16 or (COMPLEX and not typed):
            return op.apply(list(inputs), given(params))
        arrays, parents, live, bit, first = [], [], 0, 1, None
        for x in inputs:
            parent = None
            if isinstance(x, Tensor):
                a = x.array
                if first is None:
                    first, kind = a, a.dtype
                    if typed and kind.kind != "f":
                        return op.apply(list(inputs), given(params))
                elif typed and a.dtype is not kind:
                    return op.apply(list(inputs), given(params))
                arrays.append(a)
                parent = x.node
                if parent is not None:
                    live += bit
                elif x.leaf:
                    parent = x
                    live += bit
            elif x is None or type(x) is float or type(x) is int:
                arrays.append(x)
            else:
                return op.apply(list(inputs), given(params))
            parents.append(parent)
            bit += bit
        if first is None:
            return op.apply(list(inputs), given(params))
        try:
            value = kernels[type(first)](*arrays, *params)
        except Exception as error:
            return op.across(error, inputs, given(params))
        if not live or mode is NO_GRAD:
            return wrap(value, None)
        plan = plans.get(live)
        if plan is None:
            plan = find(live)
        if plan is False:
            return wrap(value, None)
        keep = plan.keep
        if keep is None:
            saved = ()
        else:
            if plan.narrow:
                saved = keep((*arrays, value))
            else:
                shapes = tuple([a.shape if hasattr(a, "shape") else () for a in arrays])
                saved = keep((*arrays, value, *shapes, *params, plan.mask, tuple(arrays), shapes))
            if shared:
                saved = storage.protect(saved)
        node = _new(Node)  # as Node.__init__ does it; to call that takes as long as the rest of this
        node.plan = plan
        node.parents = tuple(parents)
        node.saved = saved
        node.shape = value.shape
        node.dtype = value.dtype
        node.hooks = None
        node.serial = next_serial()
        return wrap(value, node)

    return call


def variadic_path(op: Op) -> Callable[..., Any]:
    """The call of a list of tensors of one dtype, and all parameters of an op, in their order."""
    kernels, names, modes = op.kernels, op.params, MODES.get

    def call(inputs: list[Any], *values: Any) -> Any:
        mode, params, arrays, parents, kind = modes(), dict(zip(names, values, strict=True)), [], [], None
        for x in inputs:
            if not isinstance(x, Tensor):
                break
            a = x.array
            if a.dtype is not kind:
                if kind is not None:
                    break
                kind = a.dtype
            arrays.append(a)
            parents.append(x.node or (x if x.leaf else None))
        if (
            len(arrays) != len(inputs)
            or (mode is not DEFAULT and mode is not NO_GRAD)
            or BFLOAT16
            or (COMPLEX and kind in COMPLEX)
        ):
            return op.apply(inputs, params)
        try:
            value = kernels[type(a)](*arrays, **params)
        except Exception as error:
            return op.across(error, inputs, params)
        if mode is NO_GRAD or parents.count(None) == len(parents):
            return wrap(value, None)
        return op.record(value, arrays, parents, params)

    return call
