"""What an op does that moves elements and no more, as copies into its result: for programs, which do them in machine
code (compiled/foreign.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled.program import Call

__all__ = ["CONSTANT", "moves"]

#: what makes an array of its shape alone
CONSTANT = frozenset(("empty_like", "ones", "ones_like", "zeros", "zeros_like", "zeros_of"))
_SAME = frozenset(("clone", "contiguous", "copy", "flatten", "reshape", "unflatten"))


def moves(name: str, args: tuple[Any, ...], params: dict[str, Any], out: Any) -> list[Call] | None:
    """The copies that the op `name` comes to with these arguments, of which `out` is the result; None for others."""
    if type(out) is not np.ndarray or not out.size:
        return None
    if name in _SAME:
        x = args[0]
        if name == "copy" and len(args) > 1:  # the op of that name copies its second argument
            return None
        if type(x) is not np.ndarray or x.dtype != out.dtype or x.size != out.size:
            return None
        if x.shape == out.shape:
            return [Call(np.copyto, (out, x))]
        return [Call(np.copyto, (out.reshape(x.shape), x))] if out.flags.c_contiguous else None
    if name not in ("concat", "stack") or set(params) - {"dim"} or not args:
        return None
    dim = params.get("dim", 0)
    if type(dim) is not int or any(type(x) is not np.ndarray or x.dtype != out.dtype for x in args):
        return None
    along, begin, calls = np.moveaxis(out, dim, 0), 0, []
    for x in args:
        if name == "stack":
            part, x = along[begin : begin + 1], x[None]
            begin += 1
        else:
            x = np.moveaxis(x, dim, 0)
            part = along[begin : begin + len(x)]
            begin += len(x)
        if part.shape != x.shape:
            return None
        if x.size:
            calls.append(Call(np.copyto, (part, x)))
    return calls if begin == len(along) else None
