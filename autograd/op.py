"""Ops: a forward on raw arrays, and one gradient rule per differentiable input written beneath it.

    @op
    def tanh(xp, input):
        return xp.tanh(input)

    @tanh.grad("input")
    def _(F, g, out):
        return g * (1 - out * out)

`xp` is the array namespace of the backend that owns the arrays. A rule gets `F`, the incoming gradient `g`, and
what it names: inputs, `out`, `shape` (of its own input; `other_shape` of the input `other`, `shapes` of all),
`needs` (which inputs want a gradient) and the op's parameters. What the rules of a call name is what the tape keeps,
and nothing else. In an ordinary backward pass `F` holds kernels and `g` is a raw array; under `create_graph` `F`
holds the ops and `g` is a Tensor. So one rule serves every order of derivative.

A composite is a plain composition of ops (`F` first); a backend may have a kernel pair of its name, and then a call
is one node of the graph, differentiated through the composition where a graph of the gradient is wanted.

Call paths: one and two tracked tensors without parameters take an unrolled path; all else goes through `apply`. Turned
down: one generic path (a third slower on small tensors), and a class per op (twice as slow, and no shorter to read).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from .. import backends
from . import storage
from .anomaly import check_finite, remember_line
from .dtypes import BFLOAT16, common_dtype, default_dtype, is_floating
from .errors import explain
from .modes import DEFAULT, MODES
from .tensor import Node, Tensor, wrap

__all__ = ["GRAPH", "OPS", "Composite", "Op", "composite", "op", "raw"]

OPS: dict[str, Op | Composite] = {}
ALIASES = {"axis": "dim", "axes": "dims", "keepdims": "keepdim", "x": "input", "a": "input", "y": "other"}
_SCALARS = (float, int)
_new = object.__new__


class _Graph:
    """The `F` of a rule when a graph of the gradient is wanted: the ops themselves."""

    def __getattr__(self, name: str) -> Any:
        try:
            target = OPS[name]
        except KeyError:
            raise AttributeError(f"there is no op {name!r}") from None
        setattr(self, name, target)
        return target


class _Raw:
    """The `F` of a rule in an ordinary backward pass: the kernels of one backend, on raw arrays."""

    def __init__(self, backend: backends.Backend) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        try:
            kernel = OPS[name].raw(self)
        except KeyError:
            raise AttributeError(f"there is no op {name!r}") from None
        setattr(self, name, kernel)
        return kernel


GRAPH: Any = _Graph()
_RAW: dict[str, _Raw] = {}


def raw(array: Any) -> Any:
    """The raw namespace of the backend that owns `array`."""
    return raw_of(backends.of(array))


def raw_of(backend: backends.Backend) -> Any:
    """The raw namespace of `backend`."""
    try:
        return _RAW[backend.name]
    except KeyError:
        return _RAW.setdefault(backend.name, _Raw(backend))


class _Kernels(dict[type, Callable[..., Any]]):
    """Array type -> kernel of one op, found on first use."""

    def __init__(self, owner: Op) -> None:
        super().__init__()
        self.owner = owner

    def __missing__(self, kind: type) -> Callable[..., Any]:
        backend = backends.of_type(kind)
        kernel = self[kind] = backend.guarded(self.owner.kernel_of(backend))
        return kernel


class Plan(dict[Any, tuple[Any, ...]]):
    """What one op keeps and runs for one set of inputs that want a gradient.

    As a mapping it gives, for a namespace `F`, the rules to run as `(input positions, rule, start, count, fits)`: the
    rule takes `count` of the saved values from `start` on. A backend's kernel in a rule's place does not take `F` (its
    count is `~count`), and `fits`: its gradients have the input's shape, which the tests of kernels prove.
    """

    __slots__ = ("broadcast", "keep", "mask", "narrow", "one", "op", "rules", "sources")

    def __init__(self, op: Op, mask: tuple[bool, ...]) -> None:
        super().__init__()
        self.op, self.mask, self.broadcast = op, mask, op.broadcast
        n, sources, rules, done = len(mask), [], [], set()
        for i, live in enumerate(mask):
            rule = op.rules.get(op.inputs[0] if op.variadic else op.inputs[i])
            if not live or rule is None or id(rule) in done:
                continue
            done.add(id(rule))
            start = len(sources)
            sources += [op.value_index(name, i, n) for name in rule.wants]
            if rule.joint:
                targets: Any = tuple(range(n)) if op.variadic else tuple(op.inputs.index(t) for t in rule.targets)
            else:
                targets = i
            rules.append((targets, rule, start, len(sources) - start))
        self.rules, self.sources = tuple(rules), tuple(sources)
        #: True when the kept values are inputs and the output alone, which the unrolled call paths have at hand.
        self.narrow = all(k <= n for k in sources)
        #: where the one kept value stands, when it is one that the unrolled call paths have at hand
        self.one = sources[0] if len(sources) == 1 and self.narrow else None
        if not sources:
            self.keep = None
        elif len(sources) == 1:
            self.keep = itemgetter(slice(sources[0], sources[0] + 1))
        else:
            self.keep = itemgetter(*sources)

    def __missing__(self, F: Any) -> tuple[Any, ...]:
        found = []
        for targets, rule, start, count in self.rules:
            function = rule.function
            if F is not GRAPH:
                kernels, name = F.backend.kernels, self.op.name
                key = (
                    f"{name}.grad"
                    if len({id(r) for r in self.op.rules.values()}) == 1
                    else f"{name}.grad.{rule.targets[0]}"
                )
                function = F.backend.guarded(kernels.get(key, function))
                if key in kernels:
                    if self.op.outputs == 1:
                        found.append((targets, function, start, ~count, not self.broadcast))
                        continue
                    function = _without_namespace(function)
            if self.op.outputs != 1:
                function = _completed(function)
            found.append((targets, function, start, count, False))
        result = self[F] = tuple(found)
        return result

    def unpack(self, node: Node, saved: tuple[Any, ...]) -> list[Any]:
        """What `node` kept, as Tensors attached to the graph, for a rule that records."""
        n, values = len(self.mask), []
        for k, v in zip(self.sources, saved, strict=True):
            if k < n:
                v = _attach(v, node.parents[k])
            elif k == n:
                v = self.op.attach_output(v, node)
            elif self.op.variadic and k == self.op.value_index(self.op.inputs[0], 0, n):
                v = tuple([_attach(x, p) for x, p in zip(v, node.parents, strict=True)])
            values.append(v)
        return values


def _attach(value: Any, parent: Any) -> Any:
    """A kept input as a Tensor again: the leaf itself, or a new handle on the same vertex of the graph."""
    if parent is None:
        return wrap(value, None) if hasattr(value, "dtype") else value
    if type(parent) is Node:
        return wrap(value, parent)
    if parent.array is value:
        return parent
    return OPS["alias"].record(value, [value], [parent], ())  # the leaf got other data since


def _without_namespace(kernel: Callable[..., Any]) -> Callable[..., Any]:
    return lambda F, g, *values: kernel(g, *values)


def _completed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A rule of a multi-output op gets a tuple of gradients; those that nobody asked for are zeros."""
    return lambda F, g, *values: function(F, g.complete(F), *values)


class _Declared(NamedTuple):
    """The arguments of a forward or a rule after its first one, the namespace."""

    names: tuple[str, ...]
    positional: tuple[str, ...]
    before_slash: tuple[str, ...]
    defaults: dict[str, Any]
    variadic: bool


def _arguments(function: Callable[..., Any]) -> _Declared:
    """Read them off the code object: inspect.signature, 600 times over, would take a fifth of the package's import."""
    code, values = function.__code__, function.__defaults__ or ()
    names, n = code.co_varnames, code.co_argcount
    positional, keywords = names[:n], names[n : n + code.co_kwonlyargcount]
    variadic = bool(code.co_flags & inspect.CO_VARARGS)
    extra = names[n + code.co_kwonlyargcount : n + code.co_kwonlyargcount + 1] if variadic else ()
    defaults = dict(zip(positional[len(positional) - len(values) :], values, strict=True)) | (
        function.__kwdefaults__ or {}
    )
    return _Declared(
        (*positional[1:], *extra, *keywords), positional[1:], names[1 : code.co_posonlyargcount], defaults, variadic
    )


class Rule:
    """A gradient rule: the function, the inputs it is for, and the values it names."""

    __slots__ = ("function", "joint", "targets", "wants")

    def __init__(self, function: Callable[..., Any], targets: tuple[str, ...], joint: bool) -> None:
        self.function, self.targets, self.joint = function, targets, joint
        self.wants = _arguments(function).names[1:]


class Op:
    """A differentiable function of arrays. Made by the decorator `op`; called like the function that it is.

    Attributes: `name`, `inputs` (names of the array arguments), `params` (names of the others, by keyword in rules),
    `forward`, `rules`, `kernels` (array type -> function).
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        *,
        inputs: str | None = None,
        broadcast: bool = False,
        types: str | None = None,
        view: bool = False,
        outputs: int | None = 1,
        name: str | None = None,
    ) -> None:
        self.forward, self.__doc__, self.__module__ = forward, forward.__doc__, forward.__module__
        self.name = self.__name__ = self.__qualname__ = name or forward.__name__
        self.broadcast, self.types, self.view, self.outputs = broadcast, types, view, outputs
        declared = _arguments(forward)
        self.names, self.defaults, self.variadic = declared.names, declared.defaults, declared.variadic
        if inputs is not None:
            self.inputs = tuple(inputs.split())
        elif self.variadic:
            self.inputs = self.names[:1]
        elif declared.before_slash:
            self.inputs = declared.before_slash
        else:
            self.inputs = tuple([n for n in declared.positional if n not in self.defaults])
        self.params = tuple(n for n in self.names if n not in self.inputs)
        #: True where a parameter stands between inputs, which are then passed on by name
        self.mixed = not self.variadic and self.names[: len(self.inputs)] != self.inputs
        self.required = tuple(
            n for n in self.names if n not in self.defaults and not (self.variadic and n in self.inputs)
        )
        self.default_params = tuple(self.defaults.get(n) for n in self.params)
        #: defaults of the inputs, and how many arguments make a call of inputs alone, in their order
        self._absent = tuple(self.defaults.get(n) for n in self.inputs)
        plain = not self.variadic and not self.mixed and set(self.required) <= set(self.inputs)
        self._fewest = len(self.required) if plain else len(self.names) + 1
        self.rules: dict[str, Rule] = {}
        self._plans: dict[tuple[bool, ...], Plan] = {}
        self.kernels = _Kernels(self)
        #: the unrolled call paths serve ops whose other arguments all have defaults
        self._fast = not view and outputs == 1 and not self.variadic and all(n in self.defaults for n in self.params)
        self.arity = len(self.inputs) if self._fast and len(self.inputs) < 3 else -1
        #: the call of the inputs alone, in order, for operators: unrolled for one and two (see the end of this file)
        self.quick: Callable[..., Any] = self._general
        #: the call as users make it
        self.function: Callable[..., Any] = self._general
        if self.name in OPS and OPS[self.name].__module__ != self.__module__:
            raise ValueError(f"an op named {self.name!r} exists already, in {OPS[self.name].__module__}")
        OPS[self.name] = self
        for namespace in (GRAPH, *_RAW.values()):
            namespace.__dict__.pop(self.name, None)

    def __repr__(self) -> str:
        return f"<op {self.name}{self.__signature__}>"

    @property
    def __signature__(self) -> inspect.Signature:
        """The forward's, without the namespace."""
        signature = inspect.signature(self.forward)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    # -- declaring ------------------------------------------------------------------------------------------------

    def grad(self, *targets: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator: the rule of the named input; of several, or of "*xs", a tuple of gradients, None for none."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            names = tuple(t.removeprefix("*") for t in targets)
            rule = Rule(function, names, joint=len(targets) > 1 or targets[0].startswith("*"))
            allowed = {*self.names, "out", "shape", "shapes", "needs", *(f"{n}_shape" for n in self.inputs)}
            for name in names:
                if name not in self.inputs:
                    raise TypeError(f"{self.name} has no input {name!r}; it has {', '.join(self.inputs)}")
            for want in rule.wants:
                if want not in allowed:
                    raise TypeError(
                        f"the rule of {self.name} for {', '.join(names)} asks for {want!r}; "
                        f"it may ask for {', '.join(sorted(allowed))}"
                    )
            for name in names:
                self.rules[name] = rule
            self._plans.clear()
            self._unroll()
            return function

        return register

    def _unroll(self) -> None:
        if self.arity in (1, 2):
            self.quick = _named(_unary_path(self) if self.arity == 1 else _binary_path(self), self)
            if self.names == ("input", "other")[: self.arity]:
                self.function = self.quick

    def _general(self, *args: Any, **kwargs: Any) -> Any:
        return self.general(args, kwargs)

    def value_index(self, name: str, own: int, n: int) -> int:
        """Where the value called `name` stands among a call's values, for the rule of input number `own` of `n`."""
        # values: n inputs, out, n shapes, parameters, needs, tuple of inputs, tuple of shapes
        if name == "out":
            return n
        if name == "shape":
            return n + 1 + own
        if name == "needs":
            return 2 * n + 1 + len(self.params)
        if name == "shapes":
            return 2 * n + 3 + len(self.params)
        if self.variadic and name == self.inputs[0]:
            return 2 * n + 2 + len(self.params)
        if name in self.inputs:
            return self.inputs.index(name)
        if name in self.params:
            return 2 * n + 1 + self.params.index(name)
        return n + 1 + self.inputs.index(name.removesuffix("_shape"))

    def plan(self, mask: tuple[bool, ...]) -> Plan:
        """The plan for the inputs that want a gradient (`mask`, one flag per input)."""
        try:
            return self._plans[mask]
        except KeyError:
            return self._plans.setdefault(mask, Plan(self, mask))

    def kernel_of(self, backend: backends.Backend) -> Callable[..., Any]:
        """The forward on arrays of `backend`: its kernel of this name, or the generic forward on its namespace."""
        forward, xp = self.forward, backend.xp

        def generic(*args: Any, **kwargs: Any) -> Any:
            return forward(xp, *args, **kwargs)

        kernel = backend.kernels.get(self.name)
        if kernel is None:
            return generic
        if not getattr(kernel, "partial", False):
            return kernel

        def either(*args: Any, **kwargs: Any) -> Any:
            out = kernel(*args, **kwargs)
            return generic(*args, **kwargs) if out is NotImplemented else out

        return either

    def raw(self, F: _Raw) -> Callable[..., Any]:
        """This op in the raw namespace `F`."""
        return self.kernel_of(F.backend)

    # -- calling --------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def bind(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Sort a call's arguments into inputs and parameters; NumPy's names for them are known too."""
        if self.variadic:
            inputs, values = list(args), {}
        else:
            if len(args) > len(self.names):
                raise TypeError(
                    f"{self.name}() takes {len(self.names)} arguments ({', '.join(self.names)}), got {len(args)}"
                )
            inputs, values = [], dict(zip(self.names, args, strict=False))
        for key, value in kwargs.items():
            name = key if key in self.names else ALIASES.get(key, key)
            if name not in self.names:
                raise TypeError(f"{self.name}() got an unexpected keyword {key!r}; it takes {', '.join(self.names)}")
            if name in values:
                raise TypeError(f"{self.name}() got two values for {name!r}")
            values[name] = value
        missing = [n for n in self.required if n not in values]
        if missing:
            raise TypeError(f"{self.name}() needs {', '.join(missing)}; its arguments are {', '.join(self.names)}")
        if not self.variadic:
            inputs = [values.pop(n, self.defaults.get(n)) for n in self.inputs]
        return inputs, values

    def general(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """The call with any arguments; `out=` takes the result, as NumPy and PyTorch have it."""
        if not kwargs and self._fewest <= len(args) <= len(self.inputs):
            return self.apply([*args, *self._absent[len(args) :]], {})  # inputs alone
        target = kwargs.pop("out", None)
        inputs, params = self.bind(args, kwargs)
        result = self.apply(inputs, params)
        return result if target is None else storage.deliver(result, target, self.name)

    def apply(self, inputs: list[Any], params: dict[str, Any]) -> Any:
        """The call after binding: fit dtypes, run the kernel, record."""
        modes = MODES.get()
        arrays: list[Any] = []
        first = None
        for position, x in enumerate(inputs):
            if isinstance(x, Tensor):
                if self.view and not position:
                    storage.as_memory(x)
                arrays.append(x.array)
                first = x.array if first is None else first
            elif x is None or type(x) in _SCALARS or type(x) is bool:
                arrays.append(x)
            else:
                x = self._operand(x, position)
                arrays.append(x)
                if hasattr(x, "dtype"):
                    first = x if first is None else first
        if first is None:
            shown = ", ".join(type(x).__name__ for x in inputs)
            raise TypeError(f"{self.name}() needs a Tensor among its inputs, got ({shown})")
        if modes.autocast is not None:
            inputs, arrays = modes.autocast.cast(self, inputs, arrays)
        if self.types is not None:
            inputs, arrays = self._promote(inputs, arrays)
        try:
            if self.mixed:
                out = self.kernels[type(first)](**dict(zip(self.inputs, arrays, strict=True)), **params)
            else:
                out = self.kernels[type(first)](*arrays, **params)
        except Exception as error:
            raise explain(error, self, inputs, params) from error
        if BFLOAT16 and self.outputs == 1 and "dtype" not in params:
            out = _narrowed(out, arrays)
        if modes.anomaly:
            check_finite(self, out, inputs, "forward")
        if not modes.grad or not self.rules:
            result = self._untracked(out)
        else:
            parents, live = [], False
            for name, x in zip(self.inputs * len(inputs) if self.variadic else self.inputs, inputs, strict=False):
                parent = None
                if isinstance(x, Tensor) and name in self.rules:
                    parent = x.node
                    if parent is None and x.leaf:
                        parent = x
                    if parent is not None:
                        live = True
                parents.append(parent)
            if live:
                result = self.record(
                    out, arrays, parents, tuple([params.get(n, self.defaults.get(n)) for n in self.params])
                )
                if modes.anomaly:
                    remember_line(result)
            else:
                result = self._untracked(out)
        if self.view and isinstance(inputs[0], Tensor):
            storage.link(inputs[0], result, self, params)
        return result

    def record(self, out: Any, arrays: Sequence[Any], parents: Sequence[Any], params: tuple[Any, ...]) -> Any:
        """The result as a Tensor with its node, which keeps what the plan says."""
        mask = tuple([p is not None for p in parents])
        plan = self.plan(mask)
        if plan.keep is None:
            saved = ()
        elif plan.narrow:
            saved = plan.keep((*arrays, out))
        else:
            shapes = tuple([_shape(a) for a in arrays])
            saved = plan.keep((*arrays, out, *shapes, *params, mask, tuple(arrays), shapes))
        if storage.SHARED:
            saved = storage.protect(saved)
        if self.outputs == 1:
            return wrap(out, Node(plan, tuple(parents), saved, out.shape, out.dtype))
        node = Node(plan, tuple(parents), saved, tuple([o.shape for o in out]), None)
        return self.attach_output(out, node)

    def attach_output(self, out: Any, node: Node) -> Any:
        """The output array(s) as Tensor(s) on `node`."""
        if self.outputs == 1:
            return wrap(out, node)
        described = tuple([(o.shape, o.dtype) for o in out])
        return tuple(
            [wrap(o, _pick_node(node, i, described, o) if is_floating(o.dtype) else None) for i, o in enumerate(out)]
        )

    def _untracked(self, out: Any) -> Any:
        if self.outputs == 1:
            return wrap(out, None)
        return tuple([wrap(o, None) for o in out])

    def _operand(self, x: Any, position: int) -> Any:
        """An input that is neither a Tensor nor a plain number: an array, or a NumPy scalar as a weak number."""
        if isinstance(x, backends.np.generic):
            return x.item()
        if isinstance(x, (float, int)):
            return float(x) if isinstance(x, float) else int(x)
        try:
            backends.of(x)
        except TypeError:
            name = self.inputs[0 if self.variadic else position]
            raise TypeError(f"{self.name}(): argument {name!r} must be Tensor, not {type(x).__name__}") from None
        storage.share(x)  # its owner may write into it while a node keeps it
        return x

    def _promote(self, inputs: list[Any], arrays: list[Any]) -> tuple[list[Any], list[Any]]:
        """Cast the inputs to their common dtype; ops of `types="float"` compute integers in the default dtype."""
        kinds = {x.dtype for x in arrays if hasattr(x, "dtype")}
        if len(kinds) == 1 and all(type(x) is int or hasattr(x, "dtype") for x in arrays if x is not None):
            (kind,) = kinds
        elif kinds:
            kind = common_dtype([x for x in arrays if x is not None])
        else:
            return inputs, arrays
        if self.types == "float" and not is_floating(kind):
            kind = default_dtype()
        elif self.types == "same" and kind.kind == "b" and any(type(x) is int for x in arrays):
            kind = common_dtype([x for x in arrays if x is not None])
        if kinds == {kind}:
            return inputs, arrays
        inputs, arrays = list(inputs), list(arrays)
        for i, x in enumerate(arrays):
            if hasattr(x, "dtype") and x.dtype != kind:
                if isinstance(inputs[i], Tensor):
                    inputs[i] = OPS["cast"](inputs[i], dtype=kind)
                    arrays[i] = inputs[i].array
                else:
                    arrays[i] = x.astype(kind)
        return inputs, arrays


def _narrowed(out: Any, arrays: Sequence[Any]) -> Any:
    """`out` in bfloat16 where all floating inputs are: NumPy takes one and a Python float, or a matmul, to float32."""
    if out.dtype.kind == "f":
        kinds = {x.dtype for x in arrays if hasattr(x, "dtype") and is_floating(x.dtype)}
        if len(kinds) == 1 and kinds <= BFLOAT16:
            return out.astype(*kinds)
    return out


def _shape(x: Any) -> tuple[int, ...]:
    return x.shape if hasattr(x, "shape") else ()


# -- unrolled call paths: closures, so that everything they need is a local name --------------------------------------


def _unary_path(op: Op) -> Callable[[Any], Any]:
    """The call of one tracked tensor."""
    general, kernels, defaults, plan = op.general, op.kernels, op.default_params, op.plan((True,))
    keep, narrow, one, modes, shared = plan.keep, plan.narrow, plan.one, MODES.get, storage.SHARED

    def call(input: Any, out: Any = None) -> Any:
        if out is not None or modes() is not DEFAULT or not isinstance(input, Tensor):
            return general((input,), {"out": out})
        parent = input.node
        if parent is None:
            if not input.leaf:
                return general((input,), {})
            parent = input
        a = input.array
        if BFLOAT16 and a.dtype in BFLOAT16:
            return general((input,), {})
        try:
            value = kernels[type(a)](a)
        except Exception as error:
            raise explain(error, op, (input,), {}) from error
        if keep is None:
            saved = ()
        else:
            if one is not None:
                saved = (value if one else a,)
            else:
                saved = keep((a, value)) if narrow else keep((a, value, a.shape, *defaults, (True,)))
            if shared:
                saved = storage.protect(saved)
        t = _new(Tensor)
        t.array = value
        t.node = Node(plan, (parent,), saved, value.shape, value.dtype)
        t.leaf = False
        t._grad = None
        return t

    return call


def _binary_path(op: Op) -> Callable[[Any, Any], Any]:
    """The call of two operands: tracked tensors of one dtype, or one and a number."""
    general, kernels, defaults = op.general, op.kernels, op.default_params
    modes, shared = MODES.get, storage.SHARED
    left, right = (name in op.rules for name in op.inputs)
    plans = [None, op.plan((True, False)) if left else None, op.plan((False, True)) if right else None]
    plans.append(op.plan((left, right)) if left or right else None)

    def call(input: Any, other: Any, out: Any = None) -> Any:
        if out is not None or modes() is not DEFAULT:
            return general((input, other), {"out": out})
        live, first, second = 0, None, None
        if isinstance(input, Tensor):
            a = input.array
            first = input.node
            if first is not None:
                live = 1
            elif input.leaf:
                first, live = input, 1
            if isinstance(other, Tensor):
                b = other.array
                second = other.node
                if second is not None:
                    live += 2
                elif other.leaf:
                    second = other
                    live += 2
                elif not live:
                    return general((input, other), {})
                if a.dtype is not b.dtype or (BFLOAT16 and a.dtype in BFLOAT16):
                    return general((input, other), {})
            elif live and (type(other) is float or type(other) is int):
                b = other
                if BFLOAT16 and a.dtype in BFLOAT16:
                    return general((input, other), {})
            else:
                return general((input, other), {})
            kind = type(a)
        elif (type(input) is float or type(input) is int) and isinstance(other, Tensor):
            a, b, live = input, other.array, 2
            second = other.node
            if second is None:
                if not other.leaf:
                    return general((input, other), {})
                second = other
            if BFLOAT16 and b.dtype in BFLOAT16:
                return general((input, other), {})
            kind = type(b)
        else:
            return general((input, other), {})
        try:
            value = kernels[kind](a, b)
        except Exception as error:
            raise explain(error, op, (input, other), {}) from error
        plan = plans[live]
        if plan is None:
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
                saved = keep((a, b, value, _shape(a), _shape(b), *defaults, plan.mask))
            if shared:
                saved = storage.protect(saved)
        t = _new(Tensor)
        t.array = value
        t.node = Node(plan, (first, second), saved, value.shape, value.dtype)
        t.leaf = False
        t._grad = None
        return t

    return call


def _named(call: Callable[..., Any], op: Op) -> Callable[..., Any]:
    call.__name__ = call.__qualname__ = op.name
    call.__doc__, call.__module__ = op.__doc__, op.__module__
    call.__wrapped__ = op  # type: ignore[attr-defined]  # where inspect finds the signature
    return call


# -- several outputs --------------------------------------------------------------------------------------------------


class Parts:
    """Gradients of some of a multi-output op's outputs, by output number, on their way to its one node."""

    __slots__ = ("described", "given")

    shape = dtype = None  # no node's shape: the walk then takes its careful path, which knows Parts

    def __init__(self, given: dict[int, Any], described: tuple[Any, ...]) -> None:
        self.given, self.described = given, described

    def __add__(self, other: Parts) -> Parts:
        total = dict(self.given)
        for i, g in other.given.items():
            total[i] = total[i] + g if i in total else g
        return Parts(total, self.described)

    def complete(self, F: Any) -> tuple[Any, ...]:
        """A gradient for each output; zeros where there was none (None for integer outputs)."""
        some = next(iter(self.given.values()))
        return tuple(
            [
                self.given[i]
                if i in self.given
                else F.zeros_of(some, shape=shape, dtype=dtype)
                if is_floating(dtype)
                else None
                for i, (shape, dtype) in enumerate(self.described)
            ]
        )


def _pick_node(node: Node, index: int, described: tuple[Any, ...], out: Any) -> Node:
    return Node(_PICK, (node,), (index, described), out.shape, out.dtype)


class _PickPlan(Plan):
    """The plan of every `pick` node: hand the gradient of output `index` to the node of the op."""

    __slots__ = ()

    def __init__(self) -> None:
        dict.__init__(self)
        self.broadcast, self.mask, self.sources = False, (True,), (2, 2)
        self.rules = ((0, lambda F, g, index, described: Parts({index: g}, described), 0, 2, False),)

    def __missing__(self, F: Any) -> tuple[Any, ...]:
        return self.rules

    def unpack(self, node: Node, saved: tuple[Any, ...]) -> list[Any]:
        return list(saved)


class _Pick:
    name = "pick"


_PICK = _PickPlan()
_PICK.op = _Pick()  # type: ignore[assignment]


# -- composites -------------------------------------------------------------------------------------------------------


class Composite(Op):
    """A composition of ops, `F` first, which a backend may replace by a kernel pair. Made by `composite`.

    A backend's kernel `name(*arrays, **params)` returns `(out, residual)`, or NotImplemented for what it does not
    serve; `name.grad(g, residual, needs)` returns one gradient per input. The composition is the reference, the
    fallback, and what is differentiated under `create_graph`.
    """

    def __init__(self, compose: Callable[..., Any], **options: Any) -> None:
        super().__init__(compose, **options)
        self.arity = -1
        self.quick = self.function = self._general
        self._fused: dict[type, Any] = {}
        self._fused_plan = _FusedPlan(self)

    def raw(self, F: _Raw) -> Callable[..., Any]:
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
            kernels = backends.of_type(kind).kernels
            self._fused[kind] = kernels.get(self.name)
        return self._fused[kind]

    def apply(self, inputs: list[Any], params: dict[str, Any]) -> Any:
        first = next((x for x in inputs if isinstance(x, Tensor)), None)
        if first is None:
            for i, x in enumerate(inputs):
                if x is not None and hasattr(x, "dtype"):
                    inputs[i] = first = wrap(x, None)
                    break
            else:
                raise TypeError(f"{self.name}() needs a Tensor among its inputs")
        modes = MODES.get()
        kernel = self._pair(first.array)
        if kernel is None or modes.anomaly or modes.autocast is not None:
            return self._compose(inputs, params)
        arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
        try:
            fused = (
                kernel(**dict(zip(self.inputs, arrays, strict=True)), **params)
                if self.mixed
                else kernel(*arrays, **params)
            )
        except Exception as error:
            raise explain(error, self, inputs, params) from error
        if fused is NotImplemented:
            return self._compose(inputs, params)
        out, residual = fused
        if not modes.grad:
            return wrap(out, None)
        parents = [x.node or (x if x.leaf else None) if isinstance(x, Tensor) else None for x in inputs]
        if not any(p is not None for p in parents):
            return wrap(out, None)
        kept = storage.protect(tuple(arrays)) if storage.SHARED else tuple(arrays)
        saved = (kept, params, residual, tuple([p is not None for p in parents]))
        return wrap(out, Node(self._fused_plan, tuple(parents), saved, out.shape, out.dtype))

    def _compose(self, inputs: list[Any], params: dict[str, Any]) -> Any:
        try:
            return self.compose(inputs, params)
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
        self.op, self.broadcast, self.mask = op, False, ()

    def __missing__(self, F: Any) -> tuple[Any, ...]:
        op, targets = self.op, tuple(range(len(self.op.inputs)))
        if F is GRAPH:

            def rule(F: Any, g: Any, inputs: Any, params: Any, residual: Any, needs: Any) -> Any:
                from .tape import gradients

                aliases = [OPS["alias"](x) if isinstance(x, Tensor) and x.requires_grad else x for x in inputs]
                live = [x for x in aliases if isinstance(x, Tensor) and x.requires_grad]
                found = iter(gradients(op.compose(aliases, params), live, g, create_graph=True))
                return [next(found) if isinstance(x, Tensor) and x.requires_grad else None for x in aliases]

        else:
            backward = F.backend.kernels[f"{op.name}.grad"]

            def rule(F: Any, g: Any, inputs: Any, params: Any, residual: Any, needs: Any) -> Any:
                return backward(g, residual, needs)

        result = self[F] = ((targets, rule, 0, 4, False),)
        return result

    def unpack(self, node: Node, saved: tuple[Any, ...]) -> list[Any]:
        arrays, *rest = saved
        return [tuple([_attach(v, p) for v, p in zip(arrays, node.parents, strict=True)]), *rest]


# -- decorators -------------------------------------------------------------------------------------------------------


def op(forward: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make an op of a forward function `forward(xp, *inputs, **params)`.

    The arguments before a `/` are the inputs (arrays; an optional one defaults to None), those after it are
    parameters; without a `/`, the arguments without a default are the inputs. Options:

    inputs: names of the inputs, where the signature cannot say it (a parameter that stands between them).
    broadcast: the inputs broadcast, and gradients are summed back to their shapes.
    types: "same" casts the inputs to their common dtype, "float" also integers to the default dtype; None leaves them.
    view: the output may share memory with the first input.
    outputs: number of outputs (None: as many as the call returns); with several, rules get a tuple of gradients.
    name: the op's name where it is not the function's.
    """
    if forward is None:
        return lambda function: Op(function, **options)
    return Op(forward, **options)


def composite(compose: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a composite of a function `compose(F, *inputs, **params)` over other ops. See `Composite`."""
    if compose is None:
        return lambda function: Composite(function, **options)
    return Composite(compose, **options)
