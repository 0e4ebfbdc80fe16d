"""Composites: compositions of ops that a backend may replace by a kernel pair.

The composition is the reference, the fallback, and what is differentiated where a graph of the gradient is wanted.
With a kernel pair a call is one node of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import backends
from . import storage
from .complexes import COMPOSED, INSTEAD, instead, is_complex, refuse
from .device import device_of
from .dtypes import COMPLEX
from .errors import Overridden, explain
from .modes import MODES, with_modes
from .namespaces import GRAPH, OPS, Raw, raw_of
from .op import Op
from .plan import Plan, attach
from .tensor import Node, Tensor, wrap

__all__ = ["Composite", "composite"]


class Composite(Op):
    """A composition of ops, `F` first, which a backend may replace by a kernel pair. Made by `composite`.

    A backend's kernel `name(*arrays, **params)` returns `(out, residual)`, or NotImplemented for what it does not
    serve; `name.grad(g, residual, needs)` returns one gradient per input. The composition is the reference, the
    fallback, and what is differentiated under `create_graph`. With several outputs `g` is a tuple, zeros for those that
    nobody asked for (`plan.Gradients`). A kernel's attribute `widened` is one that takes inputs of 16 bits and gives
    what those would in float32: under autocast nothing wider is made of them. vertex: the graph calls the last vertex
    of the composition by the composite's name.
    """

    def __init__(self, compose: Callable[..., Any], vertex: bool = False, **options: Any) -> None:
        super().__init__(compose, **options)
        self.vertex = vertex
        self.arity, self.direct = -1, None  # no unrolled path
        self.quick = self.function = self._general
        self._fused: dict[type, Any] = {}
        self._fused_plan = _FusedPlan(self)

    def raw(self, F: Raw) -> Callable[..., Any]:
        kernel, compose = F.backend.kernels.get(self.name), self.forward

        def function(*args: Any, **kwargs: Any) -> Any:
            if kernel is not None:
                fused = kernel(*args, **kwargs)
                if fused is not NotImplemented:
                    return fused[0]
            return compose(F, *args, **kwargs)

        return function

    def kernel_of(self, backend: backends.Backend) -> Callable[..., Any]:
        return self.raw(raw_of(backend))

    def _pair(self, array: Any) -> Any:
        kind = type(array)
        if kind not in self._fused:
            backend = backends.of_type(kind)
            kernel = backend.kernels.get(self.name)
            guarded = self._fused[kind] = None if kernel is None else backend.guarded(kernel)
            if guarded is not kernel and hasattr(kernel, "widened"):
                guarded.widened = backend.guarded(kernel.widened)  # type: ignore[union-attr]
        return self._fused[kind]

    def apply(self, inputs: list[Any], params: dict[str, Any]) -> Any:
        for first in inputs:
            if isinstance(first, Tensor):
                break
        else:
            for i, x in enumerate(inputs):
                if x is not None and hasattr(x, "dtype"):
                    inputs[i] = first = wrap(x, None)
                    break
            else:
                kind = Overridden if any(hasattr(type(x), "__torch_function__") for x in inputs) else TypeError
                raise kind(f"{self.name}() needs a Tensor among its inputs")
        if COMPLEX and any(is_complex(x.array if isinstance(x, Tensor) else x) for x in inputs):
            if self.name in INSTEAD:
                return instead(self.name).apply(inputs, params)
            if self.name not in COMPOSED:
                refuse(self, [getattr(x, "array", x) for x in inputs])
            return self._compose(inputs, params)
        modes = MODES.get()
        kernel = self._pair(first.array)
        special = modes.anomaly or modes.packing
        if modes.autocast is not None:
            given = [x.array if isinstance(x, Tensor) else x for x in inputs]
            widened = getattr(kernel, "widened", None)
            if widened is not None and not special and modes.autocast.widens(self, given, params):
                out = self._fused_call(widened, inputs, params, modes)
                if out is not NotImplemented:
                    return out
            inputs, _ = modes.autocast.cast(self, inputs, given, params)
            token = with_modes(autocast=None)  # its parts compute in the dtypes that it got
            try:
                return self.apply(inputs, params)
            finally:
                MODES.reset(token)
        if kernel is None or special:
            return self._compose(inputs, params)
        out = self._fused_call(kernel, inputs, params, modes)
        return self._compose(inputs, params) if out is NotImplemented else out

    def _fused_call(self, kernel: Callable[..., Any], inputs: list[Any], params: dict[str, Any], modes: Any) -> Any:
        """The result of a kernel as one node, or NotImplemented."""
        arrays = tuple([x.array if isinstance(x, Tensor) else x for x in inputs])
        parents: tuple[Any, ...] = ()
        live: list[Any] = []
        if modes.grad:
            parents = tuple([x.node or (x if x.leaf else None) if isinstance(x, Tensor) else None for x in inputs])
            live = [p for p in parents if p is not None]
        if live and storage.SHARED:
            arrays = storage.protect(arrays)  # before the kernel, whose residual may be one of them
        try:
            fused = (
                kernel(**dict(zip(self.inputs, arrays, strict=True)), **params)
                if self.mixed
                else kernel(*arrays, **params)
            )
        except Exception as error:
            return self.across(error, inputs, params)
        if fused is NotImplemented:
            return fused
        out, residual = fused
        if not live:
            return self._untracked(out)
        saved = (arrays, params, residual, tuple([p is not None for p in parents]))
        if self.outputs == 1:
            return wrap(out, Node(self._fused_plan, parents, saved, out.shape, out.dtype))
        node = Node(self._fused_plan, parents, saved, tuple([o.shape for o in out]), None)
        return self.attach_output(out, node)

    def across(self, error: Exception, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
        if len({device_of(x.array) for x in inputs if isinstance(x, Tensor)}) > 1:
            return self._compose(list(inputs), params)  # whose ops know what to do
        raise explain(error, self, inputs, params) from error

    def forget_kernels(self) -> None:
        super().forget_kernels()
        self._fused.clear()
        self._fused_plan.clear()

    def _compose(self, inputs: list[Any], params: dict[str, Any]) -> Any:
        try:
            out = self.compose(inputs, params)
            if self.vertex:
                from .vertex_names import note_name

                note_name(out, self.name)
            return out
        except Exception as error:
            raise explain(error, self, inputs, params) from error

    def compose(self, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
        """The composition on tensors."""
        if self.mixed:
            return self.forward(GRAPH, **dict(zip(self.inputs, inputs, strict=True)), **params)
        return self.forward(GRAPH, *inputs, **params)


class _FusedPlan(Plan):
    """The plan of a composite's one node: its kernel's gradient, or the composition's where a graph is wanted."""

    __slots__ = ()

    def __init__(self, op: Composite) -> None:
        dict.__init__(self)
        self.op, self.broadcast, self.frees, self.mask = op, False, True, ()

    def __missing__(self, F: Any) -> tuple[Any, ...]:
        op: Any = self.op  # a Composite
        targets = None if op.variadic else tuple(range(len(op.inputs)))
        if F is GRAPH:

            def rule(F: Any, g: Any, inputs: Any, params: Any, residual: Any, needs: Any) -> Any:
                from .tape import gradients

                aliases = [OPS["alias"](x) if isinstance(x, Tensor) and x.requires_grad else x for x in inputs]
                live = [x for x in aliases if isinstance(x, Tensor) and x.requires_grad]
                out = op.compose(aliases, params)
                if op.outputs != 1:
                    out, g = [out[i] for i in g.given], list(g.given.values())
                elif out.dtype != g.dtype:
                    g = OPS["cast"](g, dtype=out.dtype)  # of a kernel that widened
                found = iter(gradients(out, live, g, create_graph=True))
                return [next(found) if isinstance(x, Tensor) and x.requires_grad else None for x in aliases]

        else:
            backward = F.backend.guarded(F.backend.kernels[f"{op.name}.grad"])

            def rule(F: Any, g: Any, inputs: Any, params: Any, residual: Any, needs: Any) -> Any:
                given = g if op.outputs == 1 else g.complete(F)
                found = backward(given, residual, needs)
                return _recomputed(op, g, inputs, params, needs) if found is NotImplemented else found

        result = self[F] = ((targets, rule, 0, 4, False),)
        return result

    def unpack(self, node: Node, saved: tuple[Any, ...]) -> list[Any]:
        arrays, *rest = saved
        return [tuple([attach(v, p) for v, p in zip(arrays, node.parents, strict=True)]), *rest]


def _recomputed(op: Any, g: Any, inputs: Any, params: Any, needs: Any) -> list[Any]:
    """The composition's gradients, where the kernel of the gradient cannot be compiled and the forward's could."""
    from .tape import gradients

    token = with_modes(grad=True)
    try:
        given = [wrap(x, None) if hasattr(x, "dtype") else x for x in inputs]
        live = [x.requires_grad_() for x, need in zip(given, needs, strict=True) if need]
        out = op.compose(given, params)
        if op.outputs != 1:
            out, g = [out[i] for i in g.given], list(g.given.values())
        elif out.array.dtype != g.dtype:
            g = g.astype(out.array.dtype)  # of a kernel that widened
        found = iter(gradients(out, live, g))
        return [next(found).array if need else None for need in needs]
    finally:
        MODES.reset(token)


def composite(compose: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a composite of a function `compose(F, *inputs, **params)` over other ops. See `Composite`."""
    if compose is None:
        return lambda function: Composite(function, **options)
    return Composite(compose, **options)
