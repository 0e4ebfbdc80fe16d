"""Anomaly mode: trap a NaN where it arises, and say which line of the user's program it was.

As in PyTorch an Inf is none: masks of -inf and logarithms of 0 are ordinary. Beyond PyTorch, whose mode looks at
gradients alone, a NaN in the forward pass is trapped, too, where the result can get a gradient.
"""

from __future__ import annotations

import weakref
from typing import Any

from .. import backends
from .errors import OpError, call_text, describe, user_line
from .tensor import Node, Tensor

__all__ = ["check_gradient", "check_result", "line_of", "remember_line"]

_LINES: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()


def remember_line(result: Any) -> None:
    """Note the user's line for the node(s) that this call recorded."""
    for t in result if isinstance(result, tuple) else (result,):
        if t.node is not None:
            _LINES[t.node] = user_line()
            for parent in t.node.parents:  # the node of a multi-output op, behind its picks
                if type(parent) is Node and parent.dtype is None:
                    _LINES[parent] = _LINES[t.node]


def line_of(node: Node) -> str:
    """Where the node was recorded, if anomaly mode was on then."""
    return _LINES.get(node, "unknown: record under detect_anomaly() to see it")


def _has_nan(array: Any) -> bool:
    kind = getattr(array, "dtype", None)  # None also of Parts, whose gradients are checked one by one
    if kind is None or kind.kind not in "fcV":
        return False
    xp = backends.of(array).xp
    return bool(xp.isnan(array.astype("float32") if array.dtype.kind == "V" else array).any())


def check_result(op: Any, out: Any, inputs: Any) -> None:
    """Raise when a forward that can be recorded made a NaN out of numbers."""
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    if (
        any(x.requires_grad for x in tensors)
        and any(_has_nan(o) for o in (out if isinstance(out, tuple) else (out,)))
        and not any(_has_nan(x.array) for x in tensors)
    ):
        raise _explained(OpError(f"{call_text(op, inputs, {})} returned NaN in forward, at {user_line()}"))


def check_gradient(node: Node, position: int, grad: Any) -> None:
    """Raise when a rule returned a NaN."""
    for g in grad if isinstance(grad, (tuple, list)) else (grad,):
        array = g.array if isinstance(g, Tensor) else g
        if _has_nan(array):
            raise _explained(
                OpError(
                    f"Function '{node.name()}' returned nan values in its {position}th output: the gradient of "
                    f"{node.plan.op.name} for its input {position} ({describe(array)}); the op was recorded at "
                    f"{line_of(node)}"
                )
            )


def _explained(error: OpError) -> OpError:
    error.explained = True  # type: ignore[attr-defined]
    return error
