"""Tensors as text, in PyTorch's form.

A column of numbers has one width. Floats are shown with four digits; as integers with a point where all are whole; in
scientific form where the largest is over 1000 times the smallest or over 10^8, or the smallest under 10^-4. Tensors of
more than 1000 elements show three at each end of each dimension.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import Any, NamedTuple

from .. import backends
from ..backends import np
from .device import get_default_device
from .dtypes import complex_of, default_dtype, from_numpy_dtype, is_floating
from .public import function
from .tensor import Tensor, method
from .tracking import recording, refused

__all__ = ["get_printoptions", "set_printoptions"]


class _Options(NamedTuple):
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_DEFAULT = _Options()
_PROFILES = {
    "default": _DEFAULT,
    "short": _Options(precision=2, edgeitems=2),
    "full": _Options(threshold=math.inf),
}
_options: ContextVar[_Options] = ContextVar("chainrule_print_options", default=_DEFAULT)


@function
def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed, in this context; None leaves an option as it is.

    precision: digits after the point (4). threshold: elements above which the middle is left out (1000). edgeitems:
    elements shown at each end then (3). linewidth: characters (80). profile: 'default', 'short' or 'full', all of
    these at once. sci_mode: scientific form always (True), never (False), or where it reads better (None, which this
    call always sets).
    """
    options = _options.get()
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"profile must be one of {', '.join(_PROFILES)}, not {profile!r}")
        options = _PROFILES[profile]
    given: dict[str, Any] = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    _options.set(options._replace(sci_mode=sci_mode, **{k: v for k, v in given.items() if v is not None}))


@function
def get_printoptions() -> dict[str, Any]:
    """The options of `set_printoptions` that hold now."""
    return _options.get()._asdict()


class _Column:
    """How the numbers of one tensor are written: all in the same width."""

    def __init__(self, shown: Any, options: _Options) -> None:
        self.digits, self.floating, self.scientific, self.whole = options.precision, False, False, True
        self.width, self.imaginary = 1, None
        if shown.dtype.kind == "c":  # each part is a column of its own
            self.imaginary = _Column(shown.imag, options)
            shown = shown.real
        if not is_floating(shown.dtype):
            self.width = max((len(str(x)) for x in shown.ravel().tolist()), default=1)
            return
        self.floating = True
        values = shown.ravel().astype(np.float64)
        values = values[np.isfinite(values) & (values != 0)]
        if values.size:
            sizes = np.abs(values)
            low, high = float(sizes.min()), float(sizes.max())
            self.whole = bool((sizes == np.ceil(sizes)).all())
            self.scientific = high / low > 1000.0 or high > 1.0e8 or (not self.whole and low < 1.0e-4)
            if options.sci_mode is not None:
                self.scientific = options.sci_mode
        # Zeros and what is not finite do not widen the column; inf and nan may then stick out, as in PyTorch.
        self.width = max((len(self._text(x)) for x in values.tolist()), default=1)

    @property
    def whole_width(self) -> int:
        """What a number takes with its imaginary part; of those a minus counts beside the sign, as in PyTorch."""
        return self.width if self.imaginary is None else self.width + self.imaginary.width + 1

    def _text(self, x: float) -> str:
        if self.scientific:
            return f"{x:.{self.digits}e}"
        if self.whole:
            return f"{x:.0f}." if math.isfinite(x) else f"{x:.0f}"
        return f"{x:.{self.digits}f}"

    def text(self, x: Any) -> str:
        """One number, padded to the width."""
        if self.imaginary is not None:
            sign = "-" if math.copysign(1, x.imag) < 0 else "+"
            return f"{self._text(x.real).rjust(self.width)}{sign}{self.imaginary._text(abs(x.imag))}j"
        return (self._text(x) if self.floating else str(x)).rjust(self.width)


def _rows(array: Any, column: _Column, indent: int, short: bool, options: _Options) -> str:
    """The numbers in nested brackets."""
    if array.ndim == 0:
        return column.text(array.item() if array.dtype.name != "bfloat16" else float(array))
    edge = options.edgeitems
    cut = short and len(array) > 2 * edge
    if array.ndim == 1:
        values = (array.astype(np.float64) if array.dtype.name == "bfloat16" else array).tolist()
        if cut:
            parts = [*map(column.text, values[:edge]), " ...", *map(column.text, values[len(values) - edge :])]
        else:
            parts = [column.text(x) for x in values]
        per_line = max(1, (options.linewidth - indent) // (column.whole_width + 2))
        lines = [", ".join(parts[i : i + per_line]) for i in range(0, len(parts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    indices = [*range(edge), None, *range(len(array) - edge, len(array))] if cut else range(len(array))
    blocks = ["..." if i is None else _rows(array[i], column, indent + 1, short, options) for i in indices]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(blocks) + "]"


def _edges(array: Any, edge: int) -> Any:
    """The elements that a shortened print shows."""
    for axis, n in enumerate(array.shape):
        if n > 2 * edge:
            array = np.take(array, [*range(edge), *range(n - edge, n)], axis=axis)
    return array


def numbers_of(array: Any, indent: int) -> str:
    """The numbers of an array on the host in nested brackets; lines begin after `indent` places."""
    if not array.size:
        return "[]"
    options = _options.get()
    short = array.size > options.threshold
    return _rows(array, _Column(_edges(array, options.edgeitems) if short else array, options), indent, short, options)


def text_of(t: Tensor, prefix: str | None = None) -> str:
    """The text of a tensor, which begins with `prefix`: without one with the name of a class of the user's."""
    if prefix is None:
        ours = type(t).__module__.partition(".")[0] == __name__.partition(".")[0]
        prefix = "tensor(" if ours else f"{type(t).__name__}("
    place = t.device
    array = t.array if place.type == "meta" else backends.of(t.array).to_host(t.array)
    kind, indent = array.dtype, len(prefix)
    notes = []
    if place.type != get_default_device().type or place.index is not None or place.type == "meta":
        notes.append(f"device='{place}'")
    if place.type == "meta":
        notes.append(f"size={tuple(array.shape)}")
        if kind != default_dtype():
            notes.append(f"dtype={from_numpy_dtype(kind)}")
        body = "..."
    elif array.size == 0:
        if array.ndim != 1:
            notes.append(f"size={tuple(array.shape)}")
        if kind != default_dtype():
            notes.append(f"dtype={from_numpy_dtype(kind)}")
        body = "[]"
    else:
        usual = complex_of(default_dtype()) if kind.kind == "c" else default_dtype()
        if kind != usual and kind.name not in ("int64", "bool"):
            notes.append(f"dtype={from_numpy_dtype(kind)}")
        body = numbers_of(array, indent)
    if t.node is not None:
        notes.append(f"grad_fn=<{t.node.name()}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    return with_notes(prefix + body, notes, indent)


def with_notes(text: str, notes: list[str], indent: int, newline: bool = False) -> str:
    """`text`, the notes on lines that are not too long, and the bracket that ends it. newline: before the first."""
    last = len(text) - text.rfind("\n") + 1
    for note in notes:
        if newline or last + len(note) + 2 > _options.get().linewidth:
            text += ",\n" + " " * indent + note
            last, newline = indent + len(note), False
        else:
            text += ", " + note
            last += len(note) + 2
    return text + ")"


@method
def __repr__(self: Tensor) -> str:
    if recording() is not None:
        raise refused("printing a tensor")
    return text_of(self)


@method
def __format__(self: Tensor, spec: str) -> str:
    """A 0-d tensor is formatted as its number: f"{loss:.4f}"; others, and those on meta, as their text alone."""
    if self.array.ndim == 0 and type(self) is Tensor and not self.is_meta:
        return format(self.item(), spec)
    return object.__format__(self, spec)
