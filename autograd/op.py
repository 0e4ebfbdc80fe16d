"""Ops: a forward on raw arrays, and one gradient rule per differentiable input written beneath it.

    @op
    def tanh(xp, input):
        return xp.tanh(input)

    @tanh.grad("input")
    def _(F, g, out):
        return g * (1 - out * out)

`xp` is the array namespace of the backend that owns the arrays. A rule gets `F`, the incoming gradient `g`, and
what it names: inputs, `out`, `shape` (of its own input; `other_shape` of the input `other`, `shapes` of all),
`needs` (which inputs want a gradient), the op's parameters, and of several outputs each as `out_0`, `out_1`, ... What
the rules of a call name is what the tape keeps, and nothing else. In an ordinary backward pass `F` holds kernels and
`g` is a raw array; under `create_graph` `F` holds the ops and `g` is a Tensor. So one rule serves every order of
derivative.

In the default modes calls take an unrolled path (paths.py): `quick` for one and two inputs alone, `direct` for inputs
with parameters and for more of them. All else goes through `apply`. Turned down: a class per op, which is twice as slow
and no shorter to read. Compositions of ops are in composite.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from .. import backends
from . import storage
from .anomaly import check_result, remember_line
from .complexes import INSTEAD, complex_kernel, instead, is_complex
from .device import CPU, device_of
from .dtypes import BFLOAT16, COMPLEX, common_dtype, default_dtype, differentiable, is_floating
from .errors import NotDense, Overridden, explain
from .modes import MODES, uncast
from .namespaces import GRAPH, OPS, RAW, Raw, raw, raw_of
from .paths import binary_path, parametric_path, several_path, unary_path, variadic_path
from .plan import Plan, Rule, arguments, pick_node
from .tensor import Node, Tensor, wrap

__all__ = ["GRAPH", "OPS", "Op", "op", "raw", "raw_of"]

ALIASES = {"axis": "dim", "axes": "dims", "keepdims": "keepdim", "x": "input", "a": "input", "y": "other"}
_SCALARS = (float, int, complex)
#: PyTorch takes two Python numbers here, and gives a tensor without dimensions
_OF_NUMBERS = {"add", "sub", "mul", "div", "floor_divide", "trunc_divide"}


class _Kernels(dict[type, Callable[..., Any]]):
    """Array type -> kernel of one op, found on first use."""

    def __init__(self, owner: Op) -> None:
        super().__init__()
        self.owner = owner

    def __missing__(self, kind: type) -> Callable[..., Any]:
        backend = backends.of_type(kind)
        kernel = self[kind] = backend.guarded(self.owner.kernel_of(backend))
        return kernel


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
        conjugated: bool = True,
        name: str | None = None,
    ) -> None:
        self.forward, self.__doc__, self.__module__ = forward, forward.__doc__, forward.__module__
        self.name = self.__name__ = self.__qualname__ = name or forward.__name__
        self.broadcast, self.types, self.view, self.outputs = broadcast, types, view, outputs
        self.conjugated = conjugated
        declared = arguments(forward)
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
        #: a call's form, as the number of its arguments and its keywords -> what each is for, as `bind` found it
        self._forms: dict[tuple[Any, ...], tuple[tuple[int, ...], tuple[tuple[str, int], ...]]] = {}
        self.kernels = _Kernels(self)
        #: the unrolled call paths serve ops whose other arguments all have defaults
        self._fast = not view and outputs == 1 and not self.variadic and all(n in self.defaults for n in self.params)
        self.arity = len(self.inputs) if self._fast and len(self.inputs) < 3 else -1
        #: what rules call each one of several outputs: out_0, out_1, ...
        self.each_out = tuple([f"out_{i}" for i in range(outputs)]) if outputs and outputs > 1 else ()
        #: the call of the inputs alone, in order, for operators: unrolled for one and two (see the end of this file)
        self.quick: Callable[..., Any] = self._general
        #: the call of all inputs (of variadic ones as a list) and all parameters, in order; unrolled, where it can be
        self.direct: Any = None
        one = len(self.inputs) == 1 and not self.variadic and not self.mixed
        if (outputs == 1 or view) and one and self.params:
            self.direct = parametric_path(self)
        elif outputs == 1 and self.variadic and types == "same" and not view:
            self.direct = variadic_path(self)
        elif outputs == 1 and len(self.inputs) + bool(self.params) > 2 and not self.variadic and not self.mixed:
            self.direct = None if view else several_path(self)
        self._absent_all = (*self._absent, *self.default_params)
        self._picks: dict[tuple[Any, ...], Callable[..., Any]] = {}  # as `_forms`, for `direct`
        #: the call as users make it
        self.function: Callable[..., Any] = self._general
        if self.name in OPS and OPS[self.name].__module__ != self.__module__:
            raise ValueError(f"an op named {self.name!r} exists already, in {OPS[self.name].__module__}")
        OPS[self.name] = self
        for namespace in (GRAPH, *RAW.values()):
            namespace.__dict__.pop(self.name, None)

    def title(self, values: Iterable[Any]) -> str:
        """What a call does, as users call it, by the values of its parameters (or what its node keeps)."""
        return self.name

    def __repr__(self) -> str:
        return f"<op {self.name}{self.__signature__}>"

    def __reduce__(self) -> Any:
        return _op_named, (self.name,)

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
            allowed.update(self.each_out)
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
            self.quick = _named(unary_path(self) if self.arity == 1 else binary_path(self), self)
            if self.names == ("input", "other")[: self.arity]:
                self.function = self.quick

    def _general(self, *args: Any, **kwargs: Any) -> Any:
        return self.general(args, kwargs)

    def value_index(self, name: str, own: int, n: int) -> int:
        """Where the value called `name` stands among a call's values, for the rule of input number `own` of `n`."""
        # values: n inputs, out, n shapes, parameters, needs, tuple of inputs, tuple of shapes, each of several outputs
        if name == "out":
            return n
        if name in self.each_out:
            return 2 * n + 4 + len(self.params) + self.each_out.index(name)
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
        generic = backend.generic(self.forward)
        kernel = backend.kernels.get(self.name)
        if kernel is None:
            return generic
        if not getattr(kernel, "partial", False):
            return kernel

        def either(*args: Any, **kwargs: Any) -> Any:
            out = kernel(*args, **kwargs)
            return generic(*args, **kwargs) if out is NotImplemented else out

        return either

    def forget_kernels(self) -> None:
        """Find kernels anew: what was found while there was one device does not look at those of its operands."""
        self.kernels.clear()

    def raw(self, F: Raw) -> Callable[..., Any]:
        """This op in the raw namespace `F`."""
        return self.kernel_of(F.backend)

    # -- calling --------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def bind(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Sort a call's arguments into inputs and parameters; NumPy's names for them are known too."""
        form = (len(args), *kwargs)
        if form in self._forms:
            inputs, params = self._forms[form]
            values = (*self._absent, *args, *kwargs.values())
            return [values[i] for i in inputs], {name: values[i] for name, i in params}
        names = list(self.names[: len(args)])
        if self.variadic:
            names = []
        elif len(args) > len(self.names):
            raise TypeError(
                f"{self.name}() takes {len(self.names)} arguments ({', '.join(self.names)}), got {len(args)}"
            )
        for key in kwargs:
            name = key if key in self.names else ALIASES.get(key, key)
            if name not in self.names:
                raise TypeError(f"{self.name}() got an unexpected keyword {key!r}; it takes {', '.join(self.names)}")
            if name in names:
                raise TypeError(f"{self.name}() got two values for {name!r}")
            names.append(name)
        missing = [n for n in self.required if n not in names]
        if missing:
            raise TypeError(f"{self.name}() needs {', '.join(missing)}; its arguments are {', '.join(self.names)}")
        if self.variadic:
            return list(args), dict(zip(names, kwargs.values(), strict=True))
        places = dict(zip(self.inputs, range(len(self.inputs)), strict=True))  # of the defaults, where nothing is given
        places |= {name: len(self.inputs) + i for i, name in enumerate(names)}
        params = tuple([(name, places[name]) for name in names if name not in self.inputs])
        self._forms[form] = tuple([places[name] for name in self.inputs]), params
        if self.direct is not None:
            places = {name: i for i, name in enumerate((*self.inputs, *self.params))}
            places |= {name: len(places) + i for i, name in enumerate(names)}
            self._picks[form] = itemgetter(*[places[name] for name in (*self.inputs, *self.params)])
        return self.bind(args, kwargs)

    def general(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """The call with any arguments; `out=` takes the result, as NumPy and PyTorch have it."""
        try:
            pick = self._picks.get((len(args), *kwargs))
            if pick is not None:
                return self.direct(*pick((*self._absent_all, *args, *kwargs.values())))
            if not kwargs and self._fewest <= len(args) <= len(self.inputs):
                if self.direct is not None:
                    return self.direct(*args, *self._absent_all[len(args) :])
                return self.apply([*args, *self._absent[len(args) :]], {})  # inputs alone
            target = kwargs.pop("out", None)
            state = MODES.get().autocast
            if target is not None and state is not None and state.targets:
                return uncast(self.general, args, {**kwargs, "out": target})
            inputs, params = self.bind(args, kwargs)
            result = self.apply(inputs, params)
        except Overridden:
            from .overrides import first_met

            return first_met(self, args, kwargs)
        except NotDense as error:
            from .sparse import dispatch

            return dispatch(self, args, kwargs, error)
        return result if target is None else storage.deliver(result, target, self.name)

    def apply(self, inputs: list[Any], params: dict[str, Any]) -> Any:
        """The call after binding: fit dtypes, run the kernel, record."""
        modes = MODES.get()
        arrays: list[Any] = []
        first = None
        if COMPLEX and self.name in INSTEAD and any(is_complex(getattr(x, "array", x)) for x in inputs):
            return instead(self.name).apply(inputs, params)
        if self.view and isinstance(inputs[0], Tensor):
            storage.as_memory(inputs[0])
        for position, x in enumerate(inputs):
            if isinstance(x, Tensor):
                array = x.array
                arrays.append(array)
                if first is None:
                    first = array
            elif x is None or type(x) in _SCALARS or type(x) is bool:
                arrays.append(x)
            else:
                x = self._operand(x, position)
                arrays.append(x)
                if hasattr(x, "dtype"):
                    first = x if first is None else first
        if first is None:
            if self.name in _OF_NUMBERS and all(isinstance(x, (int, float, complex)) for x in inputs):
                from .creation import tensor

                return self.apply([tensor(inputs[0]), *inputs[1:]], params)
            shown = ", ".join(type(x).__name__ for x in inputs)
            raise TypeError(f"{self.name}() needs a Tensor among its inputs, got ({shown})")
        if modes.autocast is not None:
            inputs, arrays = modes.autocast.cast(self, inputs, arrays, params)
        if self.types is not None:
            inputs, arrays = self._promote(inputs, arrays)
        kernel = self.kernels[type(first)]
        if COMPLEX and any(map(is_complex, arrays)):
            kernel = complex_kernel(self, first, arrays)
        try:
            if self.mixed:
                out = kernel(**dict(zip(self.inputs, arrays, strict=True)), **params)
            else:
                out = kernel(*arrays, **params)
        except Exception as error:
            return self.across(error, inputs, params)
        if BFLOAT16 and self.outputs == 1 and "dtype" not in params:
            out = _narrowed(out, arrays)
        if modes.anomaly and modes.grad:
            check_result(self, out, inputs)
        parents: list[Any] = []
        live = False
        if modes.grad and self.rules:
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
            result = self.record(out, arrays, parents, params)
            if modes.anomaly:
                remember_line(result)
            if modes.packing:
                from .saved import pack

                pack(result)
        elif self.outputs == 1:
            result = wrap(out, None)
        else:
            result = self._untracked(out)
        if self.view and isinstance(inputs[0], Tensor):
            values = [params.get(n, default) for n, default in zip(self.params, self.default_params, strict=True)]
            storage.link(inputs[0], result, self, tuple(values))
        return result

    def across(self, error: Exception, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
        """After a kernel's error: the call again with 0-d tensors of the CPU moved to the others' device, recorded.

        So PyTorch has it for operands that broadcast (here: and where there is no gradient). Any other error is
        raised, explained.
        """
        inputs = [wrap(x, None) if isinstance(x, backends.np.ndarray) else x for x in inputs]
        places = {device_of(x.array): x for x in inputs if isinstance(x, Tensor)}
        if (self.broadcast or not self.rules) and len(places) == 2 and places.pop(CPU, None) is not None:
            (place,) = places
            moved = [
                OPS["to_device"](x, device=place, source=CPU)
                if isinstance(x, Tensor) and not x.array.ndim and device_of(x.array) == CPU
                else x
                for x in inputs
            ]
            if all(device_of(x.array) == place for x in moved if isinstance(x, Tensor)):
                return self.apply(moved, params)
        raise explain(error, self, inputs, params) from error

    def record(self, out: Any, arrays: Sequence[Any], parents: Sequence[Any], params: dict[str, Any]) -> Any:
        """The result as a Tensor with its node, which keeps what the plan says."""
        mask = tuple([p is not None for p in parents])
        plan = self.plan(mask)
        if COMPLEX and any(map(is_complex, (*arrays, *(out if self.outputs != 1 else (out,))))):
            plan = plan.on_conjugates()
        if plan.keep is None:
            saved = ()
        elif plan.narrow:
            saved = plan.keep((*arrays, out))
        else:
            shapes = tuple([a.shape if hasattr(a, "shape") else () for a in arrays])
            values = self.default_params
            if params:
                values = tuple([params.get(n, default) for n, default in zip(self.params, values, strict=True)])
            several = out if self.each_out else ()
            saved = plan.keep((*arrays, out, *shapes, *values, mask, tuple(arrays), shapes, *several))
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
            [wrap(o, pick_node(node, i, described, o) if differentiable(o.dtype) else None) for i, o in enumerate(out)]
        )

    def _untracked(self, out: Any) -> Any:
        if self.outputs == 1:
            return wrap(out, None)
        return tuple([wrap(o, None) for o in out])

    def _operand(self, x: Any, position: int) -> Any:
        """An input that is neither a Tensor nor a plain number: an array, or a NumPy scalar as a weak number."""
        if isinstance(x, backends.np.generic):
            return x.item()
        if isinstance(x, _SCALARS):
            return float(x) if isinstance(x, float) else complex(x) if isinstance(x, complex) else int(x)
        try:
            backends.of(x)
        except TypeError:
            name = self.inputs[0 if self.variadic else position]
            kind = Overridden if hasattr(type(x), "__torch_function__") else TypeError
            raise kind(f"{self.name}(): argument {name!r} must be Tensor, not {type(x).__name__}") from None
        storage.share(x)  # its owner may write into it while a node keeps it
        return x

    def _promote(self, inputs: list[Any], arrays: list[Any]) -> tuple[list[Any], list[Any]]:
        """Cast the inputs to their common dtype; ops of `types="float"` compute integers in the default dtype."""
        kinds = {x.dtype for x in arrays if hasattr(x, "dtype")}
        if not kinds:
            return inputs, arrays
        kind = next(iter(kinds))
        # no real Python number changes one floating dtype, and no Python integer any one dtype
        if len(kinds) > 1 or not (
            (kind.kind == "f" and all(type(x) is not complex for x in arrays))
            or all(type(x) is int or hasattr(x, "dtype") for x in arrays if x is not None)
        ):
            kind = common_dtype([x for x in arrays if x is not None])
        if self.types == "float" and not differentiable(kind):
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


def _forget_kernels() -> None:
    for op in OPS.values():
        op.forget_kernels()


backends.ON_FOREIGN.append(_forget_kernels)


def _op_named(name: str) -> Op:
    return OPS[name]


def _named(call: Callable[..., Any], op: Op) -> Callable[..., Any]:
    call.__name__, call.__qualname__ = op.name, f"{op.name}.function"  # where pickle finds it
    call.__doc__, call.__module__ = op.__doc__, op.__module__
    call.__wrapped__ = op  # type: ignore[attr-defined]  # where inspect finds the signature
    return call


def op(forward: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make an op of a forward function `forward(xp, *inputs, **params)`.

    The arguments before a `/` are the inputs (arrays; an optional one defaults to None), those after it are
    parameters; without a `/`, the arguments without a default are the inputs. Options:

    inputs: names of the inputs, where the signature cannot say it (a parameter that stands between them).
    broadcast: the inputs broadcast, and gradients are summed back to their shapes.
    types: "same" casts the inputs to their common dtype, "float" also integers to the default dtype; None leaves them.
    view: the output may share memory with the first input.
    outputs: number of outputs (None: as many as the call returns); with several, rules get a tuple of gradients.
    conjugated: False where the op is made for complex numbers, with rules of its own; see complexes.py.
    name: the op's name where it is not the function's.
    """
    if forward is None:
        return lambda function: Op(function, **options)
    return Op(forward, **options)
