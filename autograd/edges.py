"""Edges of the graph, which `grad` and `backward` take in place of the tensors whose gradients pass there."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backends import np
from .errors import OpError
from .tensor import AccumulateGrad, Tensor, wrap

__all__ = ["GradientEdge", "tensor_at"]


class GradientEdge(NamedTuple):
    """A `node` of the graph, and `output_nr`, the number of its output."""

    node: Any
    output_nr: int


def tensor_at(edge: GradientEdge, like: Any = None) -> Tensor:
    """The leaf at the end of a path, or a tensor of no value with the edge's node. like: a tensor on its device."""
    node = edge.node
    if isinstance(node, AccumulateGrad):
        return node.variable
    if node.dtype is None:
        raise OpError("an edge of an op with several outputs is found by get_gradient_edge(tensor)")
    if isinstance(like, Tensor):
        return wrap(like.array, node)
    return wrap(np.broadcast_to(np.zeros((), node.dtype), node.shape), node)
