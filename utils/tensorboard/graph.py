"""The graph of a model, for TensorBoard: what a forward pass records."""

from __future__ import annotations

from typing import Any

from ...autograd.tensor import Node
from ..recorded import places, tensors, vertices
from .library import library

__all__ = ["graph_of"]


def graph_of(model: Any, inputs: Any) -> Any:
    """A GraphDef of what a forward pass records: parameters, inputs that need gradients, and ops."""
    graph_def, node_def = (library(f"compat.proto.{n}_pb2") for n in ("graph", "node_def"))
    with places(model) as place:
        result = model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)
    top = type(model).__name__
    parameters = {id(p): f"{top}/{n.replace('.', '/')}" for n, p in model.named_parameters()}
    nodes: list[Any] = []
    names: dict[Any, str] = {}
    taken: dict[str, int] = {}

    def unique(name: str) -> str:
        taken[name] = taken.get(name, 0) + 1
        return name if taken[name] == 1 else f"{name}_{taken[name] - 1}"

    results = [t for t in tensors(result) if t.requires_grad]
    for vertex in vertices(results):
        if not isinstance(vertex, Node):
            names[vertex] = unique(parameters.get(id(vertex), "input"))
            kind = "Parameter" if id(vertex) in parameters else "Placeholder"
            nodes.append(node_def.NodeDef(name=names[vertex], op=kind))
            continue
        path, op = place.of(vertex), vertex.title
        inside = [] if path is None else [top, *path.split(".")] if path else [top]
        names[vertex] = unique("/".join([*inside, op]))
        sources = [names[p] for p in vertex.parents if p is not None]
        nodes.append(node_def.NodeDef(name=names[vertex], op=op, input=sources))
    for i, t in enumerate(results):
        nodes.append(node_def.NodeDef(name=unique(f"output_{i}"), op="Output", input=[names[t.node or t]]))
    if not nodes:
        raise ValueError("add_graph: the forward pass recorded nothing; do parameters need gradients, outside no_grad?")
    return graph_def.GraphDef(node=nodes)
