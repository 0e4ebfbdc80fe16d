"""PyTorch's names of vertices: what `grad_fn` prints, e.g. AddmmBackward0 for a linear layer.

Most are the op's name. Where one op here is one of several there, its shapes and parameters tell which; where one op
there is several here, the vertex has the name of the last of them, but for losses, which note their own.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Any

from .function import _FunctionPlan
from .tensor import Node, Tensor
from .vertices import kept, node_of_op

__all__ = ["NOTED", "note_name", "vertex_name"]

#: names that composites gave to the vertex of their result
NOTED: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()

_OTHER = {
    "affine_grid": "affine_grid_generator",
    "batch_norm": "native_batch_norm",
    "batch_normalised": "native_batch_norm",
    "cast": "to_copy",
    "cholesky": "linalg_cholesky_ex",
    "concat": "cat",
    "contract": "view",
    "conv": "convolution",
    "cross_entropy": "nll_loss",
    "det": "linalg_det",
    "diagonal_adjoint": "diag_embed",
    "eigh": "linalg_eigh",
    "flatten": "view",
    "group_norm": "native_group_norm",
    "inv": "linalg_inv_ex",
    "layer_norm": "native_layer_norm",
    "logsigmoid": "log_sigmoid",
    "matrix_exp": "linalg_matrix_exp",
    "prelu_slope": "prelu_kernel",
    "qr": "linalg_qr",
    "reshape": "view",
    "solve": "linalg_solve_ex",
    "square": "pow",
    "svd": "linalg_svd",
    "unflatten": "view",
    "vector_norm": "linalg_vector_norm",
}


def _camel(words: str) -> str:
    """log1p_two -> Log1PTwo, as PyTorch writes names of classes."""
    joined = "".join([w[:1].upper() + w[1:] for w in words.strip("_").split("_")])
    return re.sub(r"\d[a-z]", lambda m: m.group().upper(), joined)


def note_name(result: Any, name: str) -> None:
    """Let the vertex of a result be called `name`, as one op, whatever was computed last."""
    if type(result) is Tensor and result.node is not None:
        NOTED[result.node] = name


def vertex_name(node: Node) -> str:
    """The name of `node`, in PyTorch's form."""
    node, _ = node_of_op(node)
    if node in NOTED:
        return f"{_camel(NOTED[node])}Backward0"
    if isinstance(node.plan, _FunctionPlan):
        return f"{node.plan.op.name}Backward"
    name = node.title
    found = _FORMS[name](node) if name in _FORMS else None
    return found or f"{_camel(_OTHER.get(name, name))}Backward0"


def _reduction(name: str) -> Callable[[Node], str]:
    return lambda node: f"{name}Backward{int(kept(node, 'dim') is not None)}"


def _extremum(name: str) -> Callable[[Node], str]:
    return lambda node: f"A{name.lower()}Backward0" if kept(node, "dim") is not None else f"{name}Backward1"


def _matmul(node: Node) -> str:
    return ("DotBackward0", "MvBackward0", "MmBackward0", "UnsafeViewBackward0")[min(len(node.shape), 3)]


def _linear(node: Node) -> str:
    biased = node.parents[2] is not None
    if len(node.shape) == 2:
        return "AddmmBackward0" if biased else "MmBackward0"
    return "ViewBackward0" if biased else "UnsafeViewBackward0"


def _pow(node: Node) -> str:
    if node.parents[1] is None:
        return "PowBackward0"
    return "PowBackward2" if isinstance(kept(node, "self"), (int, float, complex)) else "PowBackward1"


def _slicing(node: Node) -> str | None:
    """One view for each number, slice and None there: the last of them."""
    index = kept(node, "index")
    if index is None:
        return None
    last = [x for x in index if x is not Ellipsis and x != slice(None)]
    if not last:
        return "SliceBackward0" if slice(None) in index else "AliasBackward0"
    if last[-1] is None:
        return "UnsqueezeBackward0"
    return "SliceBackward0" if isinstance(last[-1], slice) else "SelectBackward0"


def _pooling(name: str) -> Callable[[Node], str]:
    def named(node: Node) -> str:
        shape = node.shape[0] if node.dtype is None else node.shape  # of several outputs the first
        n = max(len(shape) - 2, 1)
        return "SqueezeBackward1" if n == 1 else f"{name.format(n)}Backward0"

    return named


def _adaptive(node: Node) -> str:
    ones = all(size == 1 for size in node.shape[2:])
    return "MeanBackward1" if ones else f"AdaptiveAvgPool{len(node.shape) - 2}DBackward0"


_FORMS: dict[str, Callable[[Node], str | None]] = {
    "adaptive_avg_pool": _adaptive,
    "amax": _extremum("Max"),
    "amin": _extremum("Min"),
    "avg_pool": _pooling("AvgPool{}D"),
    "clamp": lambda node: "ClampBackward1",
    "linear": _linear,
    "matmul": _matmul,
    "max_pool": _pooling("MaxPool{}DWithIndices"),
    "mean": _reduction("Mean"),
    "pow": _pow,
    "prod": _reduction("Prod"),
    "slicing": _slicing,
    "sum": _reduction("Sum"),
}
