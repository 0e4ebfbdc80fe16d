"""Errors: caught where they happen, at no cost on the happy path, and told in the user's terms."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from .. import backends
from .tensor import Tensor

__all__ = [
    "NotDense",
    "OpError",
    "OutOfMemoryError",
    "OutOfRange",
    "Overridden",
    "explain",
    "note",
    "user_line",
    "user_place",
    "warn",
]


class OpError(RuntimeError, ValueError):
    """Bad input to an op. A RuntimeError, as in PyTorch, and a ValueError, as in NumPy."""


class NotDense(OpError):
    """An operation met a sparse tensor, which has no array of all its elements."""


class Overridden(NotDense, TypeError):
    """An op met an object that is no tensor and has `__torch_function__`."""


class OutOfRange(OpError, IndexError):
    """A dimension or a position that is not there: an IndexError, or to PyTorch's gather and scatter a RuntimeError."""


class OutOfMemoryError(RuntimeError):
    """A GPU has no memory left for an array."""


def device_name(x: Any) -> str:
    """Where an operand lives: cpu, cuda:0."""
    array = x.array if isinstance(x, Tensor) else x
    kind, index = backends.of(array).device_of(array)
    return kind if index is None else f"{kind}:{index}"


def describe(x: Any) -> str:
    """An operand in a few words: float32[3, 4] on cpu."""
    array = x.array if isinstance(x, Tensor) else x
    if hasattr(array, "dtype") and hasattr(array, "shape"):
        where = device_name(array)
        where = "" if where == "cpu" else f" on {where}"
        return f"{array.dtype}{list(array.shape)}{where}"
    if isinstance(x, (list, tuple)) and len(x) > 8:
        return f"{type(x).__name__} of {len(x)}"
    return repr(x) if isinstance(x, (int, float, bool, str, tuple, list, type(None))) else type(x).__name__


def call_text(op: Any, inputs: Any, params: dict[str, Any]) -> str:
    """A call as the user would write it, with dtypes and shapes for tensors."""
    shown = [describe(x) for x in inputs] + [f"{k}={describe(v)}" for k, v in params.items()]
    return f"{getattr(op, 'shown', op.name)}({', '.join(shown)})"


def explain(error: Exception, op: Any, inputs: Any, params: dict[str, Any]) -> Exception:
    """The error to raise for a kernel's `error`: of PyTorch's type, naming the op, the shapes and the remedy."""
    if getattr(error, "explained", False):
        return error
    from .wording import in_pytorchs_words, no_tensor

    call = call_text(op, inputs, params)
    devices = sorted({device_name(x) for x in inputs if hasattr(x, "dtype") and hasattr(x, "shape")}, reverse=True)
    if len(devices) > 1:
        found: Exception = OpError(
            f"{call}: Expected all tensors to be on the same device, but found at least two devices, {devices[0]} and "
            f"{devices[1]}! Move one with .to(device)"
        )
    elif isinstance(error, IndexError):  # NumPy's AxisError is one
        found = OutOfRange(f"{call}: {_out_of_range(error)}")
    elif type(error).__name__ == "OutOfMemoryError":  # CuPy's, whose class is not known here
        found = OutOfMemoryError(f"{call}: {error}")
    elif type(error) is ValueError or isinstance(error, (OverflowError, ZeroDivisionError)) or "boolean" in str(error):
        text = str(error)
        if "remapped shapes" in text:  # NumPy's words for matmul
            text = "the dimensions before the last two cannot be broadcast together"
        if "broadcast" in text and "remedy" not in text:
            text += "; sizes must be equal or 1 from the last dimension backwards: reshape, unsqueeze or expand one"
        found = OpError(f"{call}: {in_pytorchs_words(op.name, text, inputs, params)}")
    elif type(error) is AttributeError and (strange := no_tensor(str(error), op, inputs)):
        found = TypeError(strange)
    else:
        note(error, f"in {call}")
        found = error
    found.explained = True  # type: ignore[attr-defined]
    return found


def _out_of_range(error: IndexError) -> str:
    """NumPy's complaint in PyTorch's words."""
    rank, dim = getattr(error, "ndim", None), getattr(error, "axis", None)  # NumPy's AxisError
    if rank is None or dim is None:
        return str(error).replace("out of bounds for axis", "out of bounds for dimension")
    most = max(rank, 1)
    return f"Dimension out of range (expected to be in range of [{-most}, {most - 1}], but got {dim})"


def note(error: Exception, text: str) -> None:
    """Add a line to what an error says."""
    if hasattr(error, "add_note"):
        error.add_note(text)


_PACKAGE = __name__.partition(".")[0]
_INSIDE = f"{_PACKAGE}."


def user_place() -> tuple[str, int]:
    """File and line of the innermost frame outside this package."""
    frame = sys._getframe(1)
    while (outer := frame.f_back) is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(_INSIDE) and name != _PACKAGE:
            break
        frame = outer
    return frame.f_code.co_filename, frame.f_lineno


def user_line() -> str:
    """`user_place` in words."""
    return "{}:{}".format(*user_place())


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning that points at the innermost line outside this package."""
    package = __name__.partition(".")[0] + "."
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and (frame.f_globals.get("__name__", "") + ".").startswith(package):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
