"""The walk from a result back to its leaves.

Every node carries a serial number, and creation order is a topological order: of the nodes that have a gradient and
wait for their turn, the newest is next, as all that it takes part in has been walked. No recursion, so a chain of
200,000 ops is walked (and freed) without touching the stack limit. Turned down: collecting and sorting all nodes first,
which takes a third longer. Un-broadcasting and the fitting of dtypes are done here, once, for every op.

What a node keeps is released as soon as its rules have run, unless the graph is retained.

The gradients of leaves are put into `.grad` when the walk is over. Those of leaves that somebody watches
(`register_post_accumulate_grad_hook`) are so when the oldest node that took them has been walked, for then they are
complete: an optimizer may step, or processes may begin to add them up, while the walk goes on.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Any

from .. import backends
from ..backends import np
from ..backends.recorder import recording as recorder_of
from . import storage
from .anomaly import check_gradient
from .dtypes import differentiable
from .errors import OpError, note
from .modes import MODES, recording
from .namespaces import GRAPH, raw
from .plan import Parts
from .tensor import WATCHED, Node, Tensor, wrap

__all__ = ["backward", "grad", "gradients", "reachable", "sum_to_shape", "when_done"]

_by_serial = attrgetter("serial")
#: the gradient of a scalar result for itself, by array type and dtype; rules never write into a gradient
_ONES: dict[Any, Any] = {}
#: bytes of a gradient from which it is worth finding out who holds it
LARGE = 1 << 16
#: what hooks asked to be called at the end of the backward() that is under way, by thread
_LATER = threading.local()
#: the namespaces in which a walk has begun
_STARTED: set[Any] = set()


class _Maps(threading.local):
    """How many maps are under way in a thread, whose functions may walk through one graph again and again."""

    depth = 0


_MAPS = _Maps()


def reachable(roots: Iterable[Any]) -> list[Node]:
    """All nodes behind `roots`, newest first."""
    seen = {r for r in roots if type(r) is Node}
    stack = list(seen)
    found = []  # in the order of the search, which is nearly the one wanted: the sort then has little to do
    while stack:
        node = stack.pop()
        found.append(node)
        for p in node.parents:
            if type(p) is Node and p not in seen:
                seen.add(p)
                stack.append(p)
    found.sort(key=_by_serial, reverse=True)
    return found


def _leading_to(order: list[Node], targets: set[Any]) -> list[Node]:
    """The nodes of `order` from which a target can be reached."""
    useful = set(targets)
    for node in reversed(order):
        if not useful.isdisjoint(node.parents):
            useful.add(node)
    return [node for node in order if node in useful]


def sum_to_shape(F: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """Sum a gradient over the dimensions along which its input was broadcast."""
    extra = len(g.shape) - len(shape)
    dims = tuple(range(extra)) + tuple([i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1])
    g = F.sum(g, dim=dims, keepdim=False)
    return g if tuple(g.shape) == shape else F.reshape(g, shape=shape)


def _fit(F: Any, g: Any, like: Any, node: Node) -> Any:
    """A rule's gradient, fitted to the shape and dtype of `like`, the vertex it is for."""
    if type(g) is Parts:
        return g
    shape = tuple(g.shape)
    if shape != like.shape:
        if not node.plan.broadcast:
            raise OpError(
                f"the gradient rule of {node.plan.op.name} returned shape {list(shape)} for an input of shape "
                f"{list(like.shape)}; only ops declared with broadcast=True are summed to shape"
            )
        g = sum_to_shape(F, g, like.shape)
    array = g.array if F is GRAPH else g
    if array.dtype != like.dtype:
        g = F.cast(g, dtype=like.dtype)
    return g


def _completed_by(grads: dict[Any, Any]) -> dict[Node, list[Tensor]]:
    """Watched leaves behind the roots, by the last node that adds to their gradients."""
    last: dict[Tensor, Node] = {}
    for node in reachable(grads):
        for p in node.parents:
            if p is not None and type(p) is not Node and p.after_hooks:
                last[p] = node
    found: dict[Node, list[Tensor]] = {}
    for leaf, node in last.items():
        found.setdefault(node, []).append(leaf)
    return found


def _complete(leaves: list[Tensor], grads: dict[Any, Any], F: Any) -> None:
    """Put the gradients of leaves into their `.grad`, before the walk is over."""
    for leaf in leaves:
        g = grads.pop(leaf, None)
        if g is not None:
            if leaf.hooks:
                g = _run_hooks(leaf.hooks, g, F)
            _accumulate(leaf, g, False)


def _walk(
    grads: dict[Any, Any],
    F: Any,
    retain: bool,
    within: set[Node] | None = None,
    wanted: dict[Node, Any] | None = None,
    completes: dict[Node, list[Tensor]] | None = None,
) -> None:
    """Run the rules of the nodes in `grads` and behind them, moving gradients from each to its parents.

    within: the nodes to walk, None for all; others keep their gradients in `grads`. wanted: takes those of its keys.
    completes: leaves to serve when a node has been walked.
    """
    written, anomaly, graph = storage.last_write(), MODES.get().anomaly, F is GRAPH
    crossing = storage.crossed() and not graph
    waiting = [(-v.serial, v) for v in grads if type(v) is Node and (within is None or v in within)]
    heapify(waiting)
    # The first parent that got a gradient is kept apart with it: in a chain it is next, and no heap is needed.
    near = near_g = None
    while waiting or near is not None:
        if near is None or (waiting and -waiting[0][0] > near.serial):
            node = heappop(waiting)[1]
            g = grads.pop(node)
            if near is not None:
                _wait(near, near_g, grads, waiting, within)
        else:
            node, g = near, near_g
        near = near_g = None
        if node.hooks is not None:
            g = _run_hooks(node.hooks, g, F)
        if wanted is not None and node in wanted:
            wanted[node] = g
        saved = node.saved
        if type(saved) is not tuple:
            saved = _recover(node)
        if node.serial < written:
            storage.verify(node)
        plan, parents = node.plan, node.parents
        if graph:
            saved = plan.unpack(node, saved)
        elif crossing:
            F = _namespace_at(g)
        for target, rule, start, count, fits in plan[F]:
            try:
                if count == 1:
                    gi = rule(F, g, saved[start])
                elif count == -2:  # a kernel of one value
                    gi = rule(g, saved[start])
                elif count == 0:
                    gi = rule(F, g)
                elif count > 0:
                    gi = rule(F, g, *saved[start : start + count])
                else:
                    gi = rule(g, *saved[start : start + ~count])
            except Exception as error:
                note(error, f"in the backward of {plan.op.name}")
                raise
            if anomaly:
                check_gradient(node, target, gi)
            if type(target) is int:
                p = parents[target]
                inner = type(p) is Node
                like = p if inner else p.array
                if graph or gi.dtype is not like.dtype or (not fits and gi.shape != like.shape):
                    gi = _fit(F, gi, like, node)
                if p is near:
                    near_g = _plus(near_g, gi)
                    gi = None  # or what was added would live until the next rule is done
                elif inner and near is None and (not waiting or p not in grads) and (within is None or p in within):
                    near, near_g = p, gi
                elif not inner and not graph and gi.nbytes < LARGE:  # as _wait does it
                    old = grads.get(p)
                    grads[p] = gi if old is None else old + gi
                else:
                    _wait(p, gi, grads, waiting, within)
                    gi = None
            else:
                for p, gt in zip(parents if target is None else [parents[t] for t in target], gi, strict=True):
                    if p is not None and gt is not None:
                        like = p if type(p) is Node else p.array
                        if graph or gt.dtype is not like.dtype or gt.shape != like.shape:
                            gt = _fit(F, gt, like, node)
                        if p is near:
                            near_g = _plus(near_g, gt)
                        else:
                            _wait(p, gt, grads, waiting, within)
                gi = gt = None
        if saved and not retain and plan.frees:
            node.saved = None
        if completes is not None and node in completes:
            _complete(completes[node], grads, F)


def _namespace_at(g: Any) -> Any:
    """The namespace of the device that a gradient is on, where arrays are made from now on."""
    array = next(iter(g.given.values())) if type(g) is Parts else g
    F = raw(array)
    F.backend.select(F.backend.device_of(array)[1])
    return F


def _wait(p: Any, g: Any, grads: dict[Any, Any], waiting: list[tuple[int, Node]], within: set[Node] | None) -> None:
    """Add `g` to the gradient of a vertex; a node with its first one waits for its turn."""
    old = grads.get(p)
    if old is not None:
        grads[p] = None  # for `old` to be its only holder
        grads[p] = _plus(old, g)
        return
    grads[p] = g
    if type(p) is Node and (within is None or p in within):
        heappush(waiting, (-p.serial, p))


def _plus(old: Any, g: Any) -> Any:
    """`old + g`; in the memory of `old` where that is large and nobody but the caller's variable holds it."""
    if (
        type(old) is np.ndarray
        and old.nbytes >= LARGE
        and sys.getrefcount(old) == _LONE
        and type(g) is np.ndarray
        and g.dtype == old.dtype
        and g.shape == old.shape
        and old.flags.writeable
        and backends.of(old).sole(old)
    ):
        return np.add(old, g, out=old)
    return old + g


def _references(x: Any) -> int:
    return sys.getrefcount(x)


def _references_below(x: Any) -> int:
    return _references(x)


def _counted(count: Any) -> int:
    """References to a lone array, held by a variable and given to `count`: their number depends on the interpreter."""
    x = np.empty(1)
    return count(x)


_LONE, _LONE_BELOW = _counted(_references), _counted(_references_below)


def _recover(node: Node) -> tuple[Any, ...]:
    """What `node` kept, when it is not at hand: recomputed, unpacked by hooks, or both; otherwise an error."""
    if node.saved is None:
        raise OpError(
            f"Trying to backward through the graph a second time: what {node.plan.op.name} kept was freed by the first "
            "walk. Use retain_graph=True in the first call if you need two"
        )
    saved = node.saved
    while type(saved) is not tuple:
        saved = saved.restore(node)
    return saved


def _run_hooks(hooks: dict[int, Any], g: Any, F: Any) -> Any:
    given = g if isinstance(g, (Tensor, Parts)) else wrap(g, None)  # one object: a hook may leave a mark for the next
    for hook in list(hooks.values()):
        result = hook(given)
        if result is not None:
            given = result
    return given if given is g or F is GRAPH or isinstance(g, Parts) else given.array


def _own(g: Any, create_graph: bool) -> Any:
    """A gradient as a leaf's `.grad`: on memory that nothing else shares."""
    if create_graph:
        return g
    # a variable of backward's, given to _accumulate, and by that to this function
    if sys.getrefcount(g) > _LONE_BELOW or (getattr(g, "base", None) is not None and not _whole(g)):
        g = g.copy()
    return wrap(g, None)


def _whole(g: Any) -> bool:
    """Is a large view all that is left of its memory? The copy of a small one costs less than to find out."""
    return g.nbytes >= LARGE and _dense(g) and backends.of(g).sole(g)


def _dense(g: Any) -> bool:
    """Whether an array fills its memory, in any order of its dimensions."""
    return g.flags.c_contiguous or g.transpose(sorted(range(g.ndim), key=lambda d: -g.strides[d])).flags.c_contiguous


def _seed(root: Tensor, seed: Any, create_graph: bool) -> Any:
    if root.node is None and not root.leaf:
        raise OpError(
            "element 0 of tensors does not require grad and does not have a grad_fn: no input of this result requires "
            "grad, or it was computed under no_grad()"
        )
    array = root.array
    if seed is None:
        if array.size != 1:
            raise OpError(f"grad can be implicitly created only for scalar outputs, got shape {list(array.shape)}")
        if array.dtype.kind == "c":
            raise OpError(f"grad can be implicitly created only for real scalar outputs but got {array.dtype}")
        ones = _ONES.get((type(array), array.dtype)) if array.ndim == 0 else None
        if ones is None:
            ones = backends.of(array).xp.ones(array.shape, array.dtype)
            if array.ndim == 0 and type(ones) is np.ndarray:
                _ONES[type(array), array.dtype] = ones
        return wrap(ones, None) if create_graph else ones
    if not isinstance(seed, Tensor):
        seed = wrap(backends.of(array).asarray(seed, array.dtype), None)
    if tuple(seed.array.shape) != tuple(array.shape):
        raise OpError(
            f"Mismatch in shape: grad_output has shape {list(seed.array.shape)} and output {list(array.shape)}"
        )
    if (seed.array.dtype.kind == "c") != (array.dtype.kind == "c"):
        raise OpError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
            f"grad_output has a dtype of {seed.array.dtype} and output has a dtype of {array.dtype}"
        )
    if create_graph:
        return seed
    return seed.array if seed.array.dtype == array.dtype else seed.array.astype(array.dtype)


@contextlib.contextmanager
def mapping() -> Iterator[None]:
    """Context in which this thread's walks leave what nodes keep, for the next element of a map."""
    _MAPS.depth += 1
    try:
        yield
    finally:
        _MAPS.depth -= 1


def _run(
    roots: Sequence[Tensor],
    seeds: Sequence[Any],
    create_graph: bool,
    retain_graph: bool | None,
    targets: Sequence[Tensor] | None,
    early: bool = False,
) -> tuple[dict[Any, Any], dict[Node, Any]]:
    """The gradients at the leaves, and at the nodes of `targets`. early: watched leaves have been served already."""
    retain = (create_graph if retain_graph is None else retain_graph) or _MAPS.depth > 0
    F = GRAPH if create_graph else raw(roots[0].array)
    if F not in _STARTED:
        _STARTED.add(F)
        backends.of(roots[0].array).before_training()
    grads: dict[Any, Any] = {}
    for root, seed in zip(roots, seeds, strict=True):
        g, at = _seed(root, seed, create_graph), root.node or root
        old = grads.get(at)
        grads[at] = g if old is None else old + g
        del g
    recorder = recorder_of()
    if recorder is not None:
        recorder.tensors.check_graph(reachable(grads))
    within: set[Node] | None = None
    wanted: dict[Node, Any] | None = None
    if targets is not None:
        order = reachable(grads)
        vertices = {t.node or t for t in targets}
        order = _leading_to(order, vertices)
        wanted = {v: None for v in vertices if type(v) is Node}
        order = [n for n in order if n not in wanted or not vertices.isdisjoint(_behind(n, order))] if wanted else order
        within = set(order)
    token = recording(create_graph)
    try:
        _walk(grads, F, retain, within, wanted, _completed_by(grads) if early else None)
        if wanted:
            for node in wanted:  # a target that is not walked through keeps its gradient here
                if wanted[node] is None and (g := grads.pop(node, None)) is not None:
                    wanted[node] = _run_hooks(node.hooks, g, F) if node.hooks else g
    finally:
        MODES.reset(token)
    for leaf, g in grads.items():
        if type(leaf) is not Node and leaf.hooks:
            grads[leaf] = _run_hooks(leaf.hooks, g, F)
    return grads, wanted or {}


def _behind(node: Node, order: list[Node]) -> set[Any]:
    """All vertices strictly behind `node`, within `order`."""
    known, found, stack = set(order), set(), [node]
    while stack:
        for p in stack.pop().parents:
            if p is not None and p not in found:
                found.add(p)
                if type(p) is Node and p in known:
                    stack.append(p)
    return found


def gradients(output: Any, inputs: Sequence[Tensor], seed: Any, create_graph: bool = False) -> list[Any]:
    """Gradients of an output (or of a list, with a list of seeds) for `inputs`, zeros where nothing depends on one.

    For rules and transforms.
    """
    pairs = [(output, seed)] if isinstance(output, Tensor) else list(zip(output, seed, strict=True))
    pairs = [(t, s) for t, s in pairs if t.node is not None or t.leaf]
    if not pairs:
        return [zeros_for(t) for t in inputs]
    leaves, nodes = _run([t for t, _ in pairs], [s for _, s in pairs], create_graph, True, inputs)
    found = [nodes.get(t.node) if t.node is not None else leaves.get(t) for t in inputs]
    return [
        zeros_for(t) if g is None else g if isinstance(g, Tensor) else wrap(g, None)
        for t, g in zip(inputs, found, strict=True)
    ]


def zeros_for(t: Tensor) -> Tensor:
    """Zeros like `t`."""
    return wrap(backends.of(t.array).xp.zeros(t.array.shape, t.array.dtype), None)


def _as_tuple(x: Any, like: Any = None) -> tuple[Any, ...]:
    """One tensor or several, as a tuple; edges as tensors there, on the devices of `like`."""
    if isinstance(x, Tensor) or x is None:
        return (x,)
    found = tuple(x)
    if all(t is None or isinstance(t, Tensor) for t in found):
        return found
    from .edges import GradientEdge, tensor_at

    if type(x) is GradientEdge:
        return (tensor_at(x, like),)
    several = like if isinstance(like, (tuple, list)) else ()
    each = [*several[: len(found)], *[None] * (len(found) - len(several))]
    return tuple([tensor_at(t, near) if type(t) is GradientEdge else t for t, near in zip(found, each, strict=True)])


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate the gradients of `tensors` into `.grad` of the leaves behind them (or of `inputs` alone).

    grad_tensors: the vector of the vector-Jacobian product, one per tensor; None for a scalar.
    retain_graph: keep what the nodes hold for another walk; default: the value of `create_graph`.
    create_graph: record the walk itself, for derivatives of higher order.
    """
    roots = _as_tuple(tensors, grad_tensors)
    seeds = (None,) * len(roots) if grad_tensors is None else _as_tuple(grad_tensors)
    if len(seeds) != len(roots):
        raise OpError(f"got {len(roots)} tensors and {len(seeds)} gradients")
    targets = None
    if inputs is not None:
        targets = _as_tuple(inputs)
        if not targets:
            raise OpError("'inputs' argument to backward() cannot be empty")
    if WATCHED and targets is None and not create_graph:
        outer = getattr(_LATER, "calls", None)
        calls: list[Callable[[], None]] = []
        _LATER.calls = calls
        try:
            leaves, nodes = _run(roots, seeds, False, retain_graph, None, True)
            for leaf in list(leaves):
                if type(leaf) is not Node:
                    g = leaves.pop(leaf)
                    _accumulate(leaf, g, False)
        finally:
            _LATER.calls = outer
        for call in calls:
            call()
        return
    leaves, nodes = _run(roots, seeds, create_graph, retain_graph, targets)
    allowed = None if targets is None else set(targets)
    for leaf in list(leaves):
        if type(leaf) is not Node and (allowed is None or leaf in allowed):
            g = leaves.pop(leaf)
            _accumulate(leaf, g, create_graph)
    for t in targets or ():
        if t.node is not None and nodes.get(t.node) is not None:
            _accumulate(t, nodes[t.node], create_graph)


def when_done(call: Callable[[], None]) -> None:
    """From a watched leaf's hook: call `call()` at the end of the backward() that serves it, now if there is none."""
    calls = getattr(_LATER, "calls", None)
    if calls is None:
        call()
    else:
        calls.append(call)


def _accumulate(leaf: Tensor, g: Any, create_graph: bool) -> None:
    old = leaf._grad
    if storage.crossed() and not isinstance(g, Tensor):
        _namespace_at(g)
    if old is None:
        leaf._grad = _own(g, create_graph)
    elif create_graph or old.requires_grad:
        leaf._grad = old + (g if isinstance(g, Tensor) else wrap(g, None))
    else:
        storage.write(old, old.array + g)
    if leaf.after_hooks:
        for hook in list(leaf.after_hooks.values()):
            hook(leaf)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """Gradients of `outputs` for `inputs`, returned; no `.grad` is touched.

    An input on which the outputs do not depend is an error, or None under `allow_unused=True`, or zeros under
    `materialize_grads=True`. With `is_grads_batched` each of `grad_outputs` has a leading batch dimension, and so have
    the results. retain_graph: keep what nodes hold for another call (default: create_graph). only_inputs: PyTorch's,
    without effect.

    >>> x = chainrule.tensor(3.0, requires_grad=True)
    >>> (slope,) = chainrule.autograd.grad(x**3, x, create_graph=True)
    >>> slope.item(), chainrule.autograd.grad(slope, x)[0].item()
    (27.0, 18.0)
    """
    roots, targets = _as_tuple(outputs, grad_outputs), _as_tuple(inputs)
    seeds = _as_tuple(grad_outputs) if grad_outputs is not None else (None,) * len(roots)
    if len(seeds) != len(roots):
        raise OpError(f"got {len(roots)} outputs and {len(seeds)} grad_outputs")
    if not targets:
        raise OpError("grad() needs at least one input")
    for t in targets:
        if not isinstance(t, Tensor):
            raise TypeError(f"grad(): inputs are Tensors, not {type(t).__name__}")
        if not t.requires_grad:
            raise OpError("One of the differentiated Tensors does not require grad")
    if is_grads_batched:
        size = len(seeds[0])
        rows = [
            grad(
                roots,
                targets,
                tuple([s[i] for s in seeds]),
                True,
                create_graph,
                True,
                allow_unused,
                False,
                materialize_grads,
            )
            for i in range(size)
        ]
        return tuple([None if row[0] is None else GRAPH.stack(*row, dim=0) for row in zip(*rows, strict=True)])
    leaves, nodes = _run(roots, seeds, create_graph, retain_graph, targets)
    given = {id(s.array) for s in seeds if isinstance(s, Tensor)}
    results: list[Any] = []
    for t in targets:
        g = nodes.get(t.node) if t.node is not None else leaves.get(t)
        if g is None:
            if materialize_grads:
                g = zeros_for(t)
            elif not allow_unused:
                raise OpError(
                    "One of the differentiated Tensors appears to not have been used in the graph. "
                    "Set allow_unused=True if this is the desired behavior"
                )
        if g is not None and not isinstance(g, Tensor):
            if id(g) in given or (getattr(g, "base", None) is not None and not _whole(g)):  # memory of its own
                _namespace_at(g)
                g = g.copy()
            given.add(id(g))
            g = wrap(g, None)
        results.append(g)
    return tuple(results)


def floating(t: Tensor) -> bool:
    """True where `t` can carry a gradient."""
    return differentiable(t.array.dtype)
