"""What NumPy says of sizes that do not fit, in PyTorch's sentence: the one that programs and their readers look for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from math import prod
from typing import Any

__all__ = ["in_pytorchs_words", "no_tensor"]


def in_pytorchs_words(name: str, text: str, inputs: Sequence[Any], params: dict[str, Any]) -> str:
    """`text`, the complaint of the op `name`, after PyTorch's sentence for the same mistake where there is one."""
    shapes = [tuple(x.shape) for x in inputs if hasattr(x, "shape")]
    found = ""
    if name == "matmul" and len(shapes) == 2:
        found = _product(*shapes)
    elif name == "reshape" and "unknown dimension" in text:
        found = "only one dimension can be inferred"
    elif name == "reshape" and shapes and "shape" in params:
        found = f"shape '{list(params['shape'])}' is invalid for input of size {prod(shapes[0])}"
    elif name == "concat":
        found = _joined(shapes, params.get("dim", 0))
    elif "broadcast" in text:
        found = _together([shape for shape in shapes if shape])
    return f"{found}; {text}" if found else text


def no_tensor(text: str, op: Any, inputs: Sequence[Any]) -> str:
    """What to say where an op asked an input that is no tensor for a tensor's attribute; nothing for other errors."""
    for position, (name, x) in enumerate(zip(op.inputs, inputs), 1):
        kind = type(x).__name__
        if x is not None and not hasattr(x, "dtype") and text.startswith(f"{kind!r} object has no attribute"):
            return f"{op.name}(): argument {name!r} (position {position}) must be Tensor, not {kind}"
    return ""


def _product(a: tuple[int, ...], b: tuple[int, ...]) -> str:
    if not a or not b:
        return "both arguments to matmul need to be at least 1D"
    if a[-1] == b[-2 if len(b) > 1 else -1]:  # what does not fit stands before the matrices
        return _together([a[:-2], b[:-2]])
    if len(a) > 2 and len(b) > 2:
        return f"Expected size for first two dimensions of batch2 tensor to be: {[b[0], a[-1]]} but got: {list(b[:2])}"
    if len(b) == 1:
        rows = "x".join(map(str, a))
        if len(a) == 1:
            return f"inconsistent tensor size, expected tensor [{a[0]}] and src [{b[0]}]"
        return f"size mismatch, got input ({prod(a[:-1])}), mat ({rows}), vec ({b[0]})"
    return f"mat1 and mat2 shapes cannot be multiplied ({prod(a[:-1])}x{a[-1]} and {b[-2]}x{b[-1]})"


def _joined(shapes: list[tuple[int, ...]], dim: int) -> str:
    first = shapes[0]
    for number, shape in enumerate(shapes):
        if len(shape) != len(first):
            return f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}"
        for i, (m, n) in enumerate(zip(first, shape)):
            if m != n and i != dim % len(first):
                return (
                    f"Sizes of tensors must match except in dimension {dim % len(first)}. Expected size {m} but got "
                    f"size {n} for tensor number {number} in the list."
                )
    return ""


def _together(shapes: list[tuple[int, ...]]) -> str:
    """The first size from the end that does not fit: the shapes meet one after another."""
    met: tuple[int, ...] = ()
    for shape in shapes:
        rank, both = max(len(met), len(shape)), []
        for i, (m, n) in enumerate(zip_longest(reversed(met), reversed(shape), fillvalue=1)):
            if m != n and 1 not in (m, n):
                return (
                    f"The size of tensor a ({m}) must match the size of tensor b ({n}) at non-singleton dimension "
                    f"{rank - 1 - i}"
                )
            both.append(n if m == 1 else m)
        met = tuple(reversed(both))
    return ""
