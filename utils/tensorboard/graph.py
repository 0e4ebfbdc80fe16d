"""The graph of a model, for TensorBoard: what a forward pass records."""

from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from ...autograd.tensor import Node, next_serial
from .library import library

__all__ = ["graph_of"]


def graph_of(model: Any, inputs: Any) -> Any:
    """A GraphDef of what a forward pass records: parameters, inputs that need gradients, and ops."""
    graph_def, node_def = (library(f"compat.proto.{n}_pb2") for n in ("graph", "node_def"))
    spans: list[tuple[int, int, str]] = []  # (first, last serial, name) of each call of a module
    handles = []
    for name, module in model.named_modules():
        begun: list[int] = []
        path = "/".join([type(model).__name__, *name.split(".")]) if name else type(model).__name__
        handles.append(module.register_forward_pre_hook(lambda *_, b=begun: b.append(next_serial())))
        handles.append(
            module.register_forward_hook(lambda *_, b=begun, p=path: spans.append((b.pop(), next_serial(), p)))
        )
    try:
        result = model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    parameters = {id(p): f"{type(model).__name__}/{n.replace('.', '/')}" for n, p in model.named_parameters()}
    nodes: list[Any] = []
    names: dict[int, str] = {}
    taken: dict[str, int] = {}

    def unique(name: str) -> str:
        taken[name] = taken.get(name, 0) + 1
        return name if taken[name] == 1 else f"{name}_{taken[name] - 1}"

    def op_name(node: Node) -> str:
        inside = [(last - first, path) for first, last, path in spans if first < node.serial < last]
        return unique(f"{min(inside)[1]}/{node.plan.op.name}" if inside else node.plan.op.name)

    def visit(root: Any) -> None:
        stack = [root]
        while stack:
            vertex = stack[-1]
            if id(vertex) in names:
                stack.pop()
                continue
            if not isinstance(vertex, Node):
                names[id(vertex)] = unique(parameters.get(id(vertex), "input"))
                kind = "Parameter" if id(vertex) in parameters else "Placeholder"
                nodes.append(node_def.NodeDef(name=names[id(vertex)], op=kind))
                continue
            parents = [p for p in vertex.parents if p is not None]
            waiting = [p for p in parents if id(p) not in names]
            if waiting:
                stack += waiting
                continue
            names[id(vertex)] = op_name(vertex)
            sources = [names[id(p)] for p in parents]
            nodes.append(node_def.NodeDef(name=names[id(vertex)], op=vertex.plan.op.name, input=sources))

    for i, t in enumerate(_tensors(result)):
        if t.requires_grad:
            vertex = t if t.node is None else t.node
            visit(vertex)
            nodes.append(node_def.NodeDef(name=unique(f"output_{i}"), op="Output", input=[names[id(vertex)]]))
    if not nodes:
        raise ValueError("add_graph: the forward pass recorded nothing; do parameters need gradients, outside no_grad?")
    return graph_def.GraphDef(node=nodes)


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    values = result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else ()
    return [t for value in values for t in _tensors(value)]
