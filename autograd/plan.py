"""What the tape keeps of a call, and which rules it runs: worked out once for each op and set of inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Set
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from .dtypes import differentiable
from .namespaces import GRAPH, OPS
from .tensor import Node, wrap

if TYPE_CHECKING:
    from .op import Op

__all__ = ["PICK", "Declared", "Parts", "Plan", "Rule", "arguments", "attach", "pick_node"]


class Declared(NamedTuple):
    """The arguments of a forward or a rule after its first one, the namespace."""

    names: tuple[str, ...]
    positional: tuple[str, ...]
    before_slash: tuple[str, ...]
    defaults: dict[str, Any]
    variadic: bool


def arguments(function: Callable[..., Any]) -> Declared:
    """Read them off the code object: inspect.signature, 600 times over, would take a fifth of the package's import."""
    code, values = function.__code__, function.__defaults__ or ()
    names, n = code.co_varnames, code.co_argcount
    positional, keywords = names[:n], names[n : n + code.co_kwonlyargcount]
    variadic = bool(code.co_flags & inspect.CO_VARARGS)
    extra = names[n + code.co_kwonlyargcount : n + code.co_kwonlyargcount + 1] if variadic else ()
    defaults = dict(zip(positional[len(positional) - len(values) :], values, strict=True)) | (
        function.__kwdefaults__ or {}
    )
    return Declared(
        (*positional[1:], *extra, *keywords), positional[1:], names[1 : code.co_posonlyargcount], defaults, variadic
    )


class Rule:
    """A gradient rule: the function, the inputs it is for, and the values it names."""

    __slots__ = ("function", "joint", "targets", "wants")

    def __init__(self, function: Callable[..., Any], targets: tuple[str, ...], joint: bool) -> None:
        self.function, self.targets, self.joint = function, targets, joint
        code = function.__code__
        self.wants = code.co_varnames[2 : code.co_argcount]


class Plan(dict[Any, tuple[Any, ...]]):
    """What one op keeps and runs for one set of inputs that want a gradient.

    As a mapping it gives, for a namespace `F`, the rules to run as `(input positions, rule, start, count, fits)`: the
    rule takes `count` of the saved values from `start` on. A backend's kernel in a rule's place does not take `F` (its
    count is `~count`), and `fits`: its gradients have the input's shape, which the tests of kernels prove.
    """

    __slots__ = ("_conjugating", "broadcast", "frees", "keep", "mask", "narrow", "one", "op", "rules", "sources")

    def __init__(self, op: Op, mask: tuple[bool, ...]) -> None:
        super().__init__()
        self.op, self.mask, self.broadcast = op, mask, op.broadcast
        self._conjugating: Plan | None = None
        n, rules, done = len(mask), [], set()
        sources: list[int] = []
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
        self.rules: tuple[Any, ...] = tuple(rules)
        self.sources = tuple(sources)
        #: whether arrays are kept, which a walk frees; shapes and parameters stay, and serve further walks
        self.frees = any(_is_array(op, k, n) for k in sources)
        #: True when the kept values are inputs and the output alone, which the unrolled call paths have at hand.
        self.narrow = all(k <= n for k in sources)
        #: where the one kept value stands, when it is one that the unrolled call paths have at hand
        self.one = sources[0] if len(sources) == 1 and self.narrow else None
        self.keep: Callable[[Any], Any] | None = None
        if len(sources) == 1:
            self.keep = itemgetter(slice(sources[0], sources[0] + 1))
        elif sources:
            self.keep = itemgetter(*sources)

    def __missing__(self, F: Any) -> tuple[Any, ...]:
        separate = self._separate(F)
        kernel = None if F is GRAPH else F.backend.kernels.get(f"{self.op.name}.grads")
        if kernel is None or len(separate) < 2:
            result = separate
        else:
            targets = tuple([target for target, *_ in separate])
            joint = F.backend.guarded(self._joint(kernel, F, separate))
            result = ((targets, joint, 0, ~len(self.sources), False),)
        self[F] = result
        return result

    def _joint(self, kernel: Any, F: Any, separate: tuple[Any, ...]) -> Callable[..., Any]:
        """A kernel `op.grads(g, given)` of several rules at once, and the rules for what it does not serve.

        given: for each input that wants a gradient what its rule names; the kernel gives the gradients in that order.
        """
        parts = [(self.op.inputs[i], start, count) for i, _, start, count in self.rules]

        def joint(g: Any, *values: Any) -> Any:
            found = kernel(g, {name: values[start : start + count] for name, start, count in parts})
            if found is not NotImplemented:
                return found
            each = []
            for _, function, start, count, _ in separate:
                part = values[start : start + (count if count >= 0 else ~count)]
                each.append(function(F, g, *part) if count >= 0 else function(g, *part))
            return each

        return joint

    def _separate(self, F: Any) -> tuple[Any, ...]:
        """Each rule by itself, as a walk takes it."""
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
                kernel = kernels.get(key)
                if getattr(kernel, "partial", False):
                    function, kernel = _either(kernel, function), None
                function = F.backend.guarded(kernel or function)
                if kernel is not None:
                    if self.op.outputs == 1:
                        found.append((targets, function, start, ~count, not self.broadcast))
                        continue
                    function = _without_namespace(function)
            if self.op.outputs != 1:
                function = _completed(function)
            found.append((targets, function, start, count, False))
        return tuple(found)

    def on_conjugates(self) -> Plan:
        """The plan of a call on complex numbers; see complexes.py."""
        if self._conjugating is None:
            from .complexes import ComplexPlan

            self._conjugating = ComplexPlan(self.op, self.mask)
        return self._conjugating

    def unpack(self, node: Node, saved: tuple[Any, ...]) -> list[Any]:
        """What `node` kept, as Tensors attached to the graph, for a rule that records."""
        n, values = len(self.mask), []
        for k, v in zip(self.sources, saved, strict=True):
            if k < n:
                v = attach(v, node.parents[k])
            elif k == n:
                v = self.op.attach_output(v, node)
            elif self.op.variadic and k == self.op.value_index(self.op.inputs[0], 0, n):
                v = tuple([attach(x, p) for x, p in zip(v, node.parents, strict=True)])
            elif k >= 2 * n + 4 + len(self.op.params):  # one of several outputs
                index = k - (2 * n + 4 + len(self.op.params))
                described = tuple([(shape, v.dtype) for shape in node.shape])
                v = wrap(v, pick_node(node, index, described, v))
            values.append(v)
        return values


def _is_array(op: Op, place: int, n: int) -> bool:
    """Whether an array, or several, stands at that place among the values of a call; see `Op.value_index`."""
    own, count = place - (2 * n + 1), len(op.params)
    if own < 0:
        return place <= n  # an input or the output, and no shape
    return op.params[own] == "indices" if own < count else own not in (count, count + 2)


def attach(value: Any, parent: Any) -> Any:
    """A kept input as a Tensor again: the leaf itself, or a new handle on the same vertex of the graph."""
    if parent is None:
        return wrap(value, None) if hasattr(value, "dtype") else value
    if type(parent) is Node:
        return wrap(value, parent)
    if parent.array is value:
        return parent
    return OPS["alias"].record(value, [value], [parent], {})  # the leaf got other data since


def _either(kernel: Any, rule: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel in a rule's place, and the rule for what it does not serve."""

    def either(F: Any, g: Any, *values: Any) -> Any:
        result = kernel(g, *values)
        return rule(F, g, *values) if result is NotImplemented else result

    return either


def _without_namespace(kernel: Callable[..., Any]) -> Callable[..., Any]:
    return lambda F, g, *values: kernel(g, *values)


def _completed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A rule of a multi-output op gets a tuple of gradients; those that nobody asked for are zeros."""
    return lambda F, g, *values: function(F, g.complete(F), *values)


# -- several outputs --------------------------------------------------------------------------------------------------


class Gradients(tuple[Any, ...]):
    """A gradient for each output of an op. `given`: the numbers of those that arrived; the others are zeros."""

    given: Set[int]


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

    def complete(self, F: Any) -> Gradients:
        """A gradient for each output; zeros where there was none (None for integer outputs)."""
        some = next(iter(self.given.values()))
        found = Gradients(
            [
                self.given[i]
                if i in self.given
                else F.zeros_of(some, shape=shape, dtype=dtype)
                if differentiable(dtype)
                else None
                for i, (shape, dtype) in enumerate(self.described)
            ]
        )
        found.given = self.given.keys()
        return found


def pick_node(node: Node, index: int, described: tuple[Any, ...], out: Any) -> Node:
    """The vertex of output `index` of a multi-output op's `node`; `described`: shape and dtype of each output."""
    return Node(PICK, (node,), (index, described), out.shape, out.dtype)


class _PickPlan(Plan):
    """The plan of every `pick` node: hand the gradient of output `index` to the node of the op."""

    __slots__ = ()

    def __init__(self) -> None:
        dict.__init__(self)
        self.broadcast, self.frees, self.mask, self.sources = False, False, (True,), (2, 2)
        self.rules = ((0, lambda F, g, index, described: Parts({index: g}, described), 0, 2, False),)

    def __missing__(self, F: Any) -> tuple[Any, ...]:
        return self.rules

    def unpack(self, node: Node, saved: tuple[Any, ...]) -> list[Any]:
        return list(saved)


class _Pick:
    name = "pick"


PICK = _PickPlan()
PICK.op = _Pick()  # type: ignore[assignment]
