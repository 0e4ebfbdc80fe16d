"""Vertices of the graph in users' hands, as PyTorch has them: what they keep, hooks on them, notes about them.

`y.grad_fn._saved_self` is the first input that the node of y keeps, `_saved_result` its output, `_saved_other` and the
like further inputs and parameters, by the names that the op's rules use. The node of a Function has its context's
attributes. All this is seldom asked for, so nodes find it here and carry nothing for it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from .errors import OpError
from .hooks import RemovableHandle, add_hook, register_post_accumulate_grad_hook
from .hooks import register_hook as hook_on_tensor
from .namespaces import GRAPH
from .plan import PICK, Parts, Plan
from .tape import _fit, _recover
from .tensor import AccumulateGrad, Node, Tensor, wrap

__all__ = ["kept", "names", "node_of_op", "register_hook", "register_prehook", "show_what_nodes_keep", "vertex_class"]

_metadata: weakref.WeakKeyDictionary[Node, dict[Any, Any]] = weakref.WeakKeyDictionary()
_classes: dict[str, type[Node]] = {}


def vertex_class(name: str) -> type[Node]:
    """The class that a node with that name says it is."""
    if name not in _classes:
        _classes[name] = type(name, (Node,), {"__slots__": ()})
    return _classes[name]


def node_of_op(node: Node) -> tuple[Node, int]:
    """(the op's node, number of the output): of a node that stands for one output of several, the one behind it."""
    return (node.parents[0], node.saved[0]) if node.plan is PICK else (node, 0)


def _keeps(plan: Any) -> dict[str, tuple[Any, int]]:
    """PyTorch's name of each value that a plan's rules name: (rule, place among the kept values)."""
    found = {}
    for _, rule, start, _ in plan.rules:
        for i, name in enumerate(rule.wants):
            found[_in_pytorch(name, plan.op, rule)] = (rule, start + i)
    return found


def _in_pytorch(name: str, op: Any, rule: Any) -> str:
    if name == "shape":
        return f"{_in_pytorch(rule.targets[0], op, rule)}_sym_sizes"
    return "self" if name == op.inputs[0] else "result" if name == "out" else name


def _of_slicing(node: Node) -> dict[str, Any]:
    """What PyTorch's vertex keeps of the last view that an index takes: of a number `index`, else start, end, step."""
    index = [x for x in kept(node, "index") if x is not Ellipsis]
    taken = [i for i, x in enumerate(index) if x is not None and x != slice(None)]
    if not taken:
        return {}
    last = index[taken[-1]]
    found = {"dim": len([x for x in index[: taken[-1]] if not isinstance(x, int)])}
    if isinstance(last, int):
        return {**found, "index": last}
    end = sys.maxsize if last.stop is None else last.stop
    return {**found, "start": last.start or 0, "end": end, "step": last.step or 1}


def _of_split(node: Node) -> dict[str, Any]:
    dim, shapes = kept(node, "dim"), node.shape
    sizes = tuple([shape[dim] for shape in shapes])
    whole = list(shapes[0])
    whole[dim] = sum(sizes)
    return {"split_sizes": sizes, "split_size": sizes[0], "self_sym_sizes": tuple(whole)}


#: op -> what its vertex has beside, or in the place of, what the rules name
_DERIVED = {"slicing": _of_slicing, "split": _of_split}


def _derived(node: Node) -> dict[str, Any]:
    return _DERIVED[node.plan.op.name](node) if type(node.plan) is Plan and node.plan.op.name in _DERIVED else {}


def kept(node: Node, name: str) -> Any:
    """The value that a node keeps under PyTorch's name, as its rules get it; None where it keeps none (any more)."""
    if type(node.plan) is not Plan or type(node.saved) is not tuple:
        return None
    found = _keeps(node.plan).get(name)
    return None if found is None else node.saved[found[1]]


def names(node: Node) -> list[str]:
    """The `_saved_...` attributes of a node."""
    node, _ = node_of_op(node)
    if type(node.plan) is not Plan:
        return []
    return sorted(f"_saved_{name}" for name in {**_keeps(node.plan), **_derived(node)})


def _saved(node: Node, name: str) -> Any:
    plan = node.plan
    if type(plan) is not Plan:
        raise AttributeError(name)
    kept, derived = _keeps(plan), _derived(node)
    if name in derived:
        return derived[name]
    if name not in kept:
        if any(name == _in_pytorch(n, plan.op, rule) for rule in plan.op.rules.values() for n in rule.wants):
            return None  # for the gradient of an input that wants none
        raise AttributeError(f"{node.name()} keeps nothing under the name {name!r}, but {sorted(kept)}")
    if node.saved is None:
        raise OpError(
            "Trying to backward through the graph a second time (or directly access saved tensors after they have "
            "already been freed). Use retain_graph=True in the call that freed them"
        )
    saved = node.saved if type(node.saved) is tuple else _recover(node)
    return plan.unpack(node, saved)[kept[name][1]]


def attribute(node: Node, name: str) -> Any:
    """What a node has beside its slots; AttributeError for other names."""
    node, _ = node_of_op(node)
    if name.startswith("_saved_"):
        return _saved(node, name.removeprefix("_saved_"))
    if name == "metadata":
        return _metadata.setdefault(node, {})
    if name == "requires_grad":
        return True
    if name == "_sequence_nr":
        return lambda: node.serial
    if isinstance(getattr(node.plan.op, "function", None), type) and type(node.saved) is tuple:
        return getattr(node.saved[0], name)  # the context of a Function
    raise AttributeError(f"{node.name()!r} object has no attribute {name!r}")


def show_what_nodes_keep() -> None:
    """Let nodes answer for what they keep: from the first one that a program looks at.

    Python finds the attributes of a class with `__getattr__` more slowly, which is 6 % of a chain of small ops with
    their backward pass. A program that looks at no node does not pay that.
    """
    if "__getattr__" not in vars(Node):
        Node.__dir__ = lambda self: [*object.__dir__(self), *names(self)]  # type: ignore[method-assign, arg-type]
        Node.__getattr__ = attribute  # type: ignore[attr-defined]


# -- hooks ------------------------------------------------------------------------------------------------------------


def _tensor(g: Any) -> Any:
    return g if g is None or isinstance(g, Tensor) else wrap(g, None)


def _outputs(g: Any) -> tuple[Any, ...]:
    return tuple([_tensor(g.given.get(i)) for i in range(len(g.described))]) if type(g) is Parts else (_tensor(g),)


class _HookedPlan(Plan):
    """Another plan's rules as one, with hooks that see the gradients that it gives and those that it got."""

    __slots__ = ("hooks", "inner", "parents")

    def __init__(self, inner: Plan, parents: tuple[Any, ...]) -> None:
        dict.__init__(self)
        self.op, self.mask, self.broadcast, self.frees = inner.op, inner.mask, inner.broadcast, inner.frees
        self.inner, self.parents = inner, parents
        self.hooks: dict[int, Callable[..., Any]] | None = None

    def unpack(self, node: Node, saved: Any) -> Any:
        return self.inner.unpack(node, saved)

    def __missing__(self, F: Any) -> tuple[Any, ...]:
        each = self.inner[F]
        total = max([start + (count if count >= 0 else ~count) for _, _, start, count, _ in each], default=0)

        def rule(F: Any, g: Any, *saved: Any) -> list[Any]:
            found: list[Any] = [None] * len(self.parents)
            for target, function, start, count, _ in each:
                part = saved[start : start + (count if count >= 0 else ~count)]
                gi = function(F, g, *part) if count >= 0 else function(g, *part)
                if type(target) is int:
                    found[target] = gi
                else:
                    for t, x in zip(range(len(found)) if target is None else target, gi, strict=True):
                        found[t] = x
            return self._seen(F, g, found)

        result = ((None, rule, 0, total, False),)
        self[F] = result
        return result

    def _seen(self, F: Any, g: Any, found: list[Any]) -> list[Any]:
        place: Any = SimpleNamespace(plan=self.inner)
        for i, p in enumerate(self.parents):
            if p is None:
                found[i] = None
            elif found[i] is not None:
                found[i] = _fit(F, found[i], p if type(p) is Node else p.array, place)
        if any(type(x) is Parts for x in found):
            return found
        inputs, outputs = tuple([_tensor(x) for x in found]), _outputs(g)
        for hook in list((self.hooks or {}).values()):
            result = hook(inputs, outputs)
            if result is not None:
                inputs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
                if len(inputs) != len(found):
                    raise OpError(f"a hook returned {len(inputs)} gradients where there are {len(found)} inputs")
        return [x if x is None or F is GRAPH else x.array for x in inputs]


def register_hook(vertex: Any, hook: Callable[..., Any]) -> Any:
    """Call `hook(grad_inputs, grad_outputs)` when the vertex has done its work; a tuple that it returns stands in.

    At the end of a path, grad_inputs is () and the call comes after the gradient was added to the leaf's `.grad`.
    """
    if isinstance(vertex, AccumulateGrad):
        return _after_the_leaf(vertex.variable, hook)
    node, _ = node_of_op(vertex)
    if type(node.plan) is not _HookedPlan:
        node.plan = _HookedPlan(node.plan, node.parents)
    return add_hook(node.plan, hook)


def _after_the_leaf(leaf: Tensor, hook: Callable[..., Any]) -> Any:
    from .saved import Handles

    came: list[Any] = []

    def arrived(g: Tensor) -> None:
        came[:] = [g]

    return Handles(
        [hook_on_tensor(leaf, arrived), register_post_accumulate_grad_hook(leaf, lambda _: hook((), tuple(came)))]
    )


def register_prehook(vertex: Any, hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(grad_outputs)` before the vertex does its work; a tuple that it returns stands in."""

    def single(g: Any) -> Any:
        result = hook(_outputs(g))
        if result is None:
            return None
        result = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        if type(g) is not Parts:
            return result[0]
        raw = not isinstance(next(iter(g.given.values())), Tensor)
        return Parts({i: x.array if raw else x for i, x in enumerate(result) if x is not None}, g.described)

    if isinstance(vertex, AccumulateGrad):
        return hook_on_tensor(vertex.variable, single)
    return add_hook(node_of_op(vertex)[0], single)
