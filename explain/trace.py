"""One run of a model as it happened: which module called which op, and what was computed from what.

The recorded graph (autograd/tape.py) knows only what wants a gradient, and composites by their parts or as one, as the
backend has it. Here every op is seen, integers and what runs under `no_grad` included.

Which tensor is which: a recorded tensor is known by its node, so what in-place ops make of it is a new value. Any other
is known by the object, and by its memory where the object is new (`detach`): a write into it is found by its serial
number, and belongs to the op that ended last before it.
"""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect
from collections.abc import Iterator
from typing import Any

from .. import backends, nn
from ..autograd import OPS, Tensor, storage
from ..autograd.composite import Composite
from ..autograd.tensor import next_serial
from ..autograd.watch import watched
from ..utils._pytree import tree_map_only
from ..utils.recorded import relative, tensors
from .inputs import Arguments, entered
from .scope import Looking, Reached

__all__ = ["Call", "Source", "Trace", "Value", "named"]


class Source:
    """What a value comes from that no op made: kind "input", "parameter", "buffer" or "constant", and its name."""

    __slots__ = ("kind", "name", "shape")

    def __init__(self, kind: str, name: str, shape: tuple[int, ...]) -> None:
        self.kind, self.name, self.shape = kind, name, shape


class Call:
    """A call of a module, or of an op (`module` None), with the calls inside it.

    name: of the op, or the module's path in the model. inputs, outputs: values of an op's tensors, None for inputs that
    are none; of a module the outputs alone. params: of an op.
    """

    __slots__ = ("inner", "inputs", "module", "name", "op", "outer", "outputs", "params")

    def __init__(self, name: str, outer: Call | None, module: Any = None, op: Any = None, params: Any = None) -> None:
        self.name, self.outer, self.module, self.op, self.params = name, outer, module, op, params
        self.inner: list[Call] = []
        self.inputs: list[Value | None] = []
        self.outputs: list[Value] = []
        if outer is not None:
            outer.inner.append(self)

    @property
    def path(self) -> str:
        """A module's path from the one that called it."""
        return relative(self.name, "" if self.outer is None else self.outer.name)

    def walk(self) -> Iterator[Call]:
        """This call and those inside it, in the order in which they began."""
        yield self
        for call in self.inner:
            yield from call.walk()

    def ops(self) -> Iterator[Call]:
        """The calls of ops inside that are no composites, in their order; of such an op itself."""
        return (call for call in self.walk() if call.op is not None and not isinstance(call.op, Composite))

    def around(self) -> Iterator[Call]:
        """This call and those that it stands in, outwards."""
        at: Call | None = self
        while at is not None:
            yield at
            at = at.outer


class Value:
    """A tensor as it was at one time: the ops that made it (or where it came from) and its shape."""

    __slots__ = ("makers", "serial", "shape")

    def __init__(self, makers: tuple[Call | Source, ...], shape: Any) -> None:
        self.makers, self.shape, self.serial = makers, tuple(shape), next_serial()


class Trace:
    """A run of `model(*args, **kwargs)` inside `looking`: `root`, the model's call; `inputs` and `outputs`, by name.

    Float inputs come from leaves that want a gradient, so that the run is recorded. A module that returns what it was
    given, such as a dropout in evaluation, gives an alias of it. until: stop when this module has been called.
    """

    def __init__(self, look: Looking, model: nn.Module, call: Arguments, until: nn.Module | None = None) -> None:
        self._thread = threading.get_ident()
        self._values: dict[Any, Value] = {}
        #: id of the owner of memory -> it, and the last value in it
        self._memory: dict[int, tuple[Any, Value]] = {}
        self._ends: list[int] = []
        self._ended: list[Call] = []
        self._names = {module: name for name, module in model.named_modules()}
        self._stack: list[Call] = []
        for kind, pairs in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
            for name, t in pairs:
                self._note(t, Value((Source(kind, name, tuple(t.shape)),), t.shape))
        self.inputs: dict[str, Value] = {}
        (args, kwargs), given = entered(model, call)
        for name, _, t in given:
            self.inputs[name] = Value((Source("input", name, tuple(t.shape)),), t.shape)
            self._note(t, self.inputs[name])
        for module in self._names:
            look.pre_hook(module, self._enter)
            look.hook(module, self._leave)
        self._until, result = until, None
        with watched(self._around, composites=True), contextlib.suppress(Reached):
            result = model(*args, **kwargs)
        self.outputs = {name: self._value(t) for name, t in named(result, "output")}
        for kept in (self._values, self._memory, self._ends, self._ended, self._names):
            kept.clear()  # they hold every tensor of the run

    # -- values -------------------------------------------------------------------------------------------------------

    def _note(self, t: Tensor, value: Value) -> None:
        self._values[t if t.node is None else t.node] = value
        if hasattr(t.array, "base") or hasattr(t.array, "data"):
            owner = backends.of(t.array).owner(t.array)
            self._memory[id(owner)] = owner, value

    def _value(self, t: Tensor) -> Value:
        """The value that a tensor has now."""
        value = self._values.get(t if t.node is None else t.node)
        if value is None:
            value = self._found(t)
            self._note(t, value)
        if t.node is None:
            value = self._written(t, value)
        return value

    def _found(self, t: Tensor) -> Value:
        """The value of a tensor that no op is known to have made: by its memory, or by what is recorded before it."""
        held = self._memory.get(id(backends.of(t.array).owner(t.array)))
        if held is not None:
            return Value(held[1].makers, t.shape)
        if t.node is None:
            return Value((Source("constant", "", tuple(t.shape)),), t.shape)
        makers: dict[Call | Source, None] = {}
        seen, waiting = set(), [t.node]
        while waiting:
            vertex = waiting.pop()
            known = self._values.get(vertex)
            if known is not None:
                makers.update(dict.fromkeys(known.makers))
            elif vertex not in seen:
                seen.add(vertex)
                waiting += [p for p in getattr(vertex, "parents", ()) if p is not None]
        return Value(tuple(makers), t.shape)

    def _written(self, t: Tensor, value: Value) -> Value:
        """The value after writes into its memory that nothing recorded."""
        later = [serial for serial in storage.writes(t.array) if serial > value.serial]
        if not later:
            return value
        makers: dict[Any, None] = {}
        replaced = False
        for serial in later:
            place = bisect(self._ends, serial) - 1
            if place >= 0:
                replaced |= value in self._ended[place].inputs
                makers.update(dict.fromkeys(m for v in self._ended[place].outputs for m in v.makers))
        value = Value(tuple(makers) if replaced else (*value.makers, *makers), t.shape)
        self._note(t, value)
        return value

    # -- calls --------------------------------------------------------------------------------------------------------

    def _enter(self, module: nn.Module, args: Any) -> None:
        made = Call(self._names[module], self._stack[-1] if self._stack else None, module)
        if not self._stack:
            self.root = made
        self._stack.append(made)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> Any:
        made = self._stack[-1]

        def own(t: Tensor) -> Tensor:
            inside = any(isinstance(m, Call) and made in m.around() for m in self._value(t).makers)
            return t if inside else OPS["alias"](t)

        output = tree_map_only(Tensor, own, output)
        made.outputs = [self._value(t) for t in tensors(output)]
        self._stack.pop()
        if module is self._until:
            raise Reached
        return output

    def _around(self, op: Any, inputs: list[Any], params: dict[str, Any], call: Any) -> Any:
        if threading.get_ident() != self._thread or not self._stack:
            return call()
        made = Call(op.name, self._stack[-1], op=op, params=params)
        made.inputs = [self._value(x) if isinstance(x, Tensor) else None for x in inputs]
        self._stack.append(made)
        try:
            out = call()
        finally:
            self._stack.pop()
        for t in tensors(out):
            if isinstance(op, Composite):
                made.outputs.append(self._value(t))
            else:
                made.outputs.append(Value((made,), t.shape))
                self._note(t, made.outputs[-1])
        self._ends.append(next_serial())
        self._ended.append(made)
        return out


def named(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) for the tensors of a result."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, v in value.items():
            yield from named(v, _part(name, key))
    elif isinstance(value, (tuple, list)):
        keys = getattr(value, "_fields", range(len(value)))
        several = len(tensors(value)) > 1
        for key, v in zip(keys, value):
            yield from named(v, _part(name, key) if several else name)


def _part(name: str, key: Any) -> str:
    return f"{name}.{key}" if " " in name else f"{name} {key}"
