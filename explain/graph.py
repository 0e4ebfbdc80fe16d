"""Graphs of models: what the tape recorded, op by op, and how modules hand their results on.

A module is drawn as it was called: a box, or down to `depth` a frame with what runs inside it. Edges carry the shapes
of the tensors that pass. Turned down: tracing by hooks alone, which sees what goes into modules and what comes out, but
not that two results were added in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import nn
from ..autograd import Tensor
from ..autograd.plan import PICK
from ..autograd.random import fork_rng
from ..autograd.tensor import Node
from ..utils.recorded import Places, places, relative, tensors, vertices
from .diagram import Graph
from .inputs import Arguments, call_of, entered
from .scope import looking
from .trace import Call, Source, Trace, Value, named

__all__ = ["draw_graph"]

#: part of a module's or op's name -> kind of box; the first that fits
_KINDS = {
    "convolution": ("conv",),
    "attention": ("attention", "lstm", "gru", "rnn"),
    "normalisation": ("norm",),
    "pooling": ("pool", "upsample", "interpolate"),
    "activation": ("relu", "gelu", "silu", "elu", "selu", "tanh", "sigmoid", "softmax", "mish", "softplus", "swish"),
    "linear": ("linear", "embedding", "matmul", "contract", "bilinear"),
}
_SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "matmul": "@"}


def draw_graph(
    what: Any,
    inputs: Any = None,
    *,
    level: str | None = None,
    depth: int | None = 1,
    params: bool = True,
    names: nn.Module | Mapping[str, Tensor] | None = None,
    training: bool = False,
) -> Graph:
    """The graph of a result, or of a model's run on `inputs`, from top to bottom.

    what: a tensor, or several in a tuple, list or dict: all that was recorded on the way to them (level "op"). Or a
    Module, with its inputs: a tensor, a tuple of several, or a dict of keyword arguments; or their shapes, as for
    `summary`.

    level "op": the leaves and ops of the tape, with shapes. What wants no gradient is not recorded and so not drawn.
    `names` (a Module, or a dict from name to tensor) names the leaves. Of a model the floats among the inputs are
    leaves, too, and ops stand in frames: one for each call of a module, down to `depth`.
    level "block" (for models): each call of a module is a box, and frames are modules whose inside is shown, down to
    `depth` (None: all the way); ops between them are boxes of their own, and edges carry shapes. Everything that ran is
    there, recorded or not, but for what does not lead from the inputs to the outputs.

    params: whether parameters are drawn (at level "block" those that ops outside of boxes use). training: leave the
    modules in the modes in which they are; otherwise the run is in evaluation mode. The model is afterwards as before.
    ValueError for a tensor without a graph, TypeError for what is neither tensors nor a Module.
    """
    if isinstance(what, nn.Module):
        if inputs is None:
            raise ValueError("draw_graph: a model is drawn as it runs; give its inputs")
        if level not in (None, "block", "op"):
            raise ValueError(f'draw_graph: level is "op" or "block", not {level!r}')
        recorded = None if level == "op" else True  # the tape as it is; or all that runs, however parameters are set
        with fork_rng(), looking(what, training=training, parameters=recorded) as look:
            if level == "op":
                return _of_run(what, call_of(what, inputs), depth, params)
            return _of_blocks(Trace(look, what, call_of(what, inputs)), depth, params)
    results = tensors(what)
    if not results:
        raise TypeError(f"draw_graph: expected tensors or a Module, not {type(what).__name__}")
    if level not in (None, "op"):
        raise ValueError("draw_graph: tensors have a graph of ops; for blocks give the model and its inputs")
    leaves = names.named_parameters() if isinstance(names, nn.Module) else (names or {}).items()
    return _of_tape(what, {t: ("", name) for name, t in leaves}, params)


# -- ops --------------------------------------------------------------------------------------------------------------


def _of_run(model: nn.Module, call: Arguments, depth: int | None, params: bool) -> Graph:
    """The tape of a run, with the floats among the inputs as leaves."""
    known: dict[Any, Any] = {p: ("parameter", name) for name, p in model.named_parameters()}
    (args, kwargs), given = entered(model, call)
    for name, start, copy in given:
        if start is not None:
            known[start], known[copy.node] = None, ("input", name)
    with places(model) as place:
        result = model(*args, **kwargs)
    return _of_tape(result, known, params, _Frames(model, place, depth))


class _Frames:
    """The clusters of the calls of modules in which nodes were recorded."""

    def __init__(self, model: nn.Module, place: Places, depth: int | None) -> None:
        self._place, self._depth = place, depth
        self._modules = dict(model.named_modules())
        self._keys: dict[int, str] = {}

    def of(self, graph: Graph, node: Node) -> str | None:
        """The cluster of a node, made where it is the first in it."""
        key, outer = None, ""
        for number, path in self._place.calls(node)[1:][: self._depth]:  # the first is the model's
            if number not in self._keys:
                kind = type(self._modules[path]).__name__
                self._keys[number] = graph.frame(f"{relative(path, outer)}: {kind}", key)
            key, outer = self._keys[number], path
        return key


def _of_tape(results: Any, known: dict[Any, Any], params: bool, frames: _Frames | None = None) -> Graph:
    """Nodes and leaves behind the results; known: (kind, or "", and name) of leaves, None for what is not drawn."""
    graph = Graph()
    keys: dict[Any, str] = {}
    found = [t for t in tensors(results) if t.requires_grad]
    if not found:
        raise ValueError("draw_graph: nothing was recorded on the way to these tensors; do inputs want gradients?")
    picked: dict[Node, list[Any]] = {}  # the outputs of an op with several that are used
    order = vertices(found)
    for vertex in order:
        if isinstance(vertex, Node) and vertex.plan is PICK:
            picked.setdefault(vertex.parents[0], []).append(vertex.shape)
    for vertex in order:
        if vertex in known or not isinstance(vertex, Node):
            called = known.get(vertex, ("", ""))
            if called is None:
                continue
            kind, name = called
            kind = kind or ("parameter" if isinstance(vertex, nn.Parameter) else "input")
            if params or kind != "parameter":
                keys[vertex] = graph.add(kind, name or "leaf", [_shape(vertex.shape)])
            continue
        if vertex.plan is PICK:
            keys[vertex] = keys[vertex.parents[0]]
            continue
        several = picked.get(vertex)
        shapes = [_shape(s) for s in dict.fromkeys(several)] if several else [_shape(vertex.shape)]
        name = vertex.title
        cluster = None if frames is None else frames.of(graph, vertex)
        keys[vertex] = graph.add(_kind(name, "op"), name, shapes, cluster)
        for parent in vertex.parents:
            if parent in keys:
                graph.join(keys[parent], keys[vertex])
    for name, t in named(results, "output"):
        if t.requires_grad:
            graph.join(keys[t.node or t], graph.add("output", name, [_shape(t.shape)]))
    return graph


# -- blocks -----------------------------------------------------------------------------------------------------------


class _Blocks:
    """Which box each op of a run belongs to, and in which frame that stands."""

    def __init__(self, trace: Trace, depth: int | None) -> None:
        self.depth, self.root = depth, trace.root
        self._boxes: dict[Call, Call] = {}
        self.calls: dict[Any, list[Call]] = {}  # of each module
        for call in trace.root.walk():
            if call.module is not None:
                self.calls.setdefault(call.module, []).append(call)

    def opened(self, call: Call) -> bool:
        """Whether the inside of a module's call is shown."""
        if call is self.root:
            return True
        if call.module is None:
            return False
        if self.depth is not None and sum(c.module is not None for c in call.around()) > self.depth:
            return False
        inside = [c for c in call.inner if c.module is not None]
        own = not type(call.module).__module__.startswith(nn.__name__)
        return bool(inside) or (own and len(call.inner) > 1)

    def end(self, maker: Call | Source) -> Call | Source:
        """Where an edge from what made a value begins."""
        return self.box(maker) if isinstance(maker, Call) else maker

    def box(self, call: Call) -> Call:
        """The outermost call around this one (or itself) that is not opened."""
        if call not in self._boxes:
            self._boxes[call] = self._box(call)
        return self._boxes[call]

    def _box(self, call: Call) -> Call:
        outer = call.outer
        if outer is not None and outer is not self.root and not self.opened(self.box(outer)):
            return self.box(outer)
        return call


def _of_blocks(trace: Trace, depth: int | None, params: bool) -> Graph:
    blocks = _Blocks(trace, depth)
    edges: dict[tuple[Any, Any, int], Value] = {}
    for op in trace.root.ops():
        target = blocks.box(op)
        for value in filter(None, op.inputs):
            for source in map(blocks.end, value.makers):
                if source is not target:
                    edges[source, target, id(value)] = value
    for name, value in trace.outputs.items():
        output = Source("output", name, value.shape)
        for source in map(blocks.end, value.makers):
            edges[source, output, id(value)] = value
    edges = _pruned(edges, params)
    return _drawn(trace, blocks, edges)


def _pruned(edges: dict[tuple[Any, Any, int], Value], params: bool) -> dict[tuple[Any, Any, int], Value]:
    """Without parameters of modules, constants, and ops that lie on no way from an input (or module) to an output."""

    def begins(end: Any) -> bool:
        if isinstance(end, Source):
            return end.kind == "input" or (params and end.kind in ("parameter", "buffer"))
        return end.module is not None

    into: dict[Any, list[Any]] = {}
    out_of: dict[Any, list[Any]] = {}
    for source, target, _ in edges:
        into.setdefault(target, []).append(source)
        out_of.setdefault(source, []).append(target)
    ends = {*into, *out_of}
    forward = _reached([e for e in ends if begins(e)], out_of)
    useful = [e for e in ends if (isinstance(e, Source) and e.kind == "output") or getattr(e, "module", None)]
    kept = forward & _reached(useful, into)

    def drawn(source: Any, target: Any) -> bool:
        if isinstance(source, Source) and source.kind != "input":
            return begins(source) and isinstance(target, Call) and target.module is None
        return True

    return {k: v for k, v in edges.items() if k[0] in kept and k[1] in kept and drawn(k[0], k[1])}


def _reached(starts: list[Any], links: dict[Any, list[Any]]) -> set[Any]:
    found, waiting = set(starts), list(starts)
    while waiting:
        for end in links.get(waiting.pop(), ()):
            if end not in found:
                found.add(end)
                waiting.append(end)
    return found


def _drawn(trace: Trace, blocks: _Blocks, edges: dict[tuple[Any, Any, int], Value]) -> Graph:
    graph = Graph()
    keys: dict[Any, str] = {}
    frames: dict[Call, str] = {}
    ends = {end for source, target, _ in edges for end in (source, target)}

    def frame(call: Call | None) -> str | None:
        if call is None or call is blocks.root:
            return None
        if call not in frames:
            outer = frame(call.outer)
            frames[call] = graph.frame(f"{call.path}: {type(call.module).__name__}", outer)
        return frames[call]

    for name, value in trace.inputs.items():
        if value.makers[0] in ends:
            keys[value.makers[0]] = graph.add("input", name, [_shape(value.shape)])
    for call in _boxes(blocks):
        if call not in ends:
            continue
        if call.module is None:
            name = call.op.title(call.params.values())
            kind = "sign" if name in _SIGNS else _kind(name, "op")
            keys[call] = graph.add(kind, _SIGNS.get(name, name), (), frame(call.outer))
            continue
        lines = [_settings(call.module)]
        calls = blocks.calls[call.module]
        if len(calls) > 1 and next(call.module.parameters(), None) is not None:
            lines.append(f"call {calls.index(call) + 1} of {len(calls)}, same weights")
        kind = _kind(type(call.module).__name__, "module")
        keys[call] = graph.add(kind, call.path, lines, frame(call.outer))
    for source, target, number in edges:
        for end in (source, target):
            if end not in keys:
                cluster = frame(target.outer) if isinstance(target, Call) else None
                keys[end] = graph.add(end.kind, end.name, [_shape(end.shape)] if end.kind != "output" else (), cluster)
        value = edges[source, target, number]
        known = isinstance(source, Source) and source.kind != "output"
        graph.join(keys[source], keys[target], "" if known else _shape(value.shape))
    return graph


def _boxes(blocks: _Blocks) -> Iterator[Call]:
    """The calls that are boxes, in the order of their running."""
    waiting = [blocks.root]
    while waiting:
        call = waiting.pop()
        if blocks.opened(call):
            waiting += reversed(call.inner)
        elif blocks.box(call) is call:
            yield call


# -- texts ------------------------------------------------------------------------------------------------------------


def _kind(name: str, default: str) -> str:
    lower = name.lower()
    return next((kind for kind, parts in _KINDS.items() if any(p in lower for p in parts)), default)


def _settings(module: nn.Module) -> str:
    """The class of a layer, with its window and what of it is not as usual."""
    text, kernel = type(module).__name__, getattr(module, "kernel_size", None)
    if kernel is None:
        return text
    dims = int(text[-2]) if text[-2:] in ("1d", "2d", "3d") else 1
    text += f" {'×'.join(map(str, kernel if isinstance(kernel, tuple) else (kernel,) * dims))}"
    for name in ("stride", "dilation"):
        value = getattr(module, name, 1)
        values = value if isinstance(value, tuple) else (value,)
        if set(values) != {1}:
            text += f", {name} {'×'.join(map(str, values if len(set(values)) > 1 else values[:1]))}"
    groups = getattr(module, "groups", 1)
    return text if groups == 1 else f"{text}, {groups} groups"


def _shape(shape: Any) -> str:
    if shape and isinstance(shape[0], tuple):
        return ", ".join(map(_shape, shape))
    return "×".join(map(str, shape)) or "number"
