"""Anomaly mode: trap what is not finite where it arises, and say which line of the user's program it was."""

from __future__ import annotations

import weakref
from typing import Any

from .. import backends
from .errors import OpError, call_text, describe, user_line
from .tensor import Node, Tensor

__all__ = ["check_finite", "check_gradient", "line_of", "remember_line"]

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


def _finite(array: Any) -> bool:
    kind = getattr(array, "dtype", None)  # None also of Parts, whose gradients are checked one by one
    if kind is None or kind.kind not in "fV":
        return True
    xp = backends.of(array).xp
    return bool(xp.isfinite(array.astype("float32") if array.dtype.kind == "V" else array).all())


def check_finite(op: Any, out: Any, inputs: Any, where: str) -> None:
    """Raise when a forward made a NaN or Inf out of finite inputs."""
    if all(_finite(o) for o in (out if isinstance(out, tuple) else (out,))):
        return
    if not all(_finite(x.array) for x in inputs if isinstance(x, Tensor)):
        return  # it came in from outside: masks of -inf are ordinary
    raise _explained(OpError(f"{call_text(op, inputs, {})} returned NaN or Inf in {where}, at {user_line()}"))


def check_gradient(node: Node, position: int, grad: Any) -> None:
    """Raise when a rule returned a NaN or Inf."""
    for g in grad if isinstance(grad, (tuple, list)) else (grad,):
        array = g.array if isinstance(g, Tensor) else g
        if not _finite(array):
            name = node.plan.op.name
            raise _explained(
                OpError(
                    f"the gradient of {name} for its input {position} ({describe(array)}) has NaN or Inf; "
                    f"the op was recorded at {line_of(node)}"
                )
            )


def _explained(error: OpError) -> OpError:
    error.explained = True  # type: ignore[attr-defined]
    return error
