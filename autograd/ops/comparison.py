"""Comparisons, logic and bits: tensors of bools (or integers), which carry no gradient.

Sources: names, argument order and dtypes as in PyTorch.
"""

from __future__ import annotations

from ..op import op
from ..public import api, expose

__all__ = [
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "eq",
    "ge",
    "gt",
    "isclose",
    "isin",
    "le",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "ne",
]


@op(types="same")
def eq(xp, input, other):
    """input == other, elementwise."""
    return input == other


@op(types="same")
def ne(xp, input, other):
    """input != other, elementwise."""
    return input != other


@op(types="same")
def lt(xp, input, other):
    """input < other, elementwise."""
    return input < other


@op(types="same")
def le(xp, input, other):
    """input <= other, elementwise."""
    return input <= other


@op(types="same")
def gt(xp, input, other):
    """input > other, elementwise."""
    return input > other


@op(types="same")
def ge(xp, input, other):
    """input >= other, elementwise."""
    return input >= other


@op(types="same")
def isclose(xp, input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """|input - other| <= atol + rtol * |other|, elementwise; infinities are close to themselves, NaN if `equal_nan`."""
    return xp.isclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan)


@op
def isin(xp, elements, test_elements, assume_unique=False, invert=False):
    """Whether each of `elements` is among `test_elements`; the contrary with `invert`.

    assume_unique: both have distinct elements.
    """
    return xp.isin(elements, test_elements, assume_unique=assume_unique, invert=invert)


# -- logic ------------------------------------------------------------------------------------------------------------


@op
def logical_not(xp, input):
    """Whether each element is 0."""
    return xp.logical_not(input)


@op(types="same")
def logical_and(xp, input, other):
    """Whether both elements are nonzero."""
    return xp.logical_and(input, other)


@op(types="same")
def logical_or(xp, input, other):
    """Whether at least one of the elements is nonzero."""
    return xp.logical_or(input, other)


@op(types="same")
def logical_xor(xp, input, other):
    """Whether exactly one of the elements is nonzero."""
    return xp.logical_xor(input, other)


# -- bits -------------------------------------------------------------------------------------------------------------


def _integral(*operands):
    for x in operands:
        if isinstance(x, float) or (hasattr(x, "dtype") and x.dtype.kind not in "biu"):
            raise ValueError("bits are those of integers and bools, not of floating-point numbers")


@op
def bitwise_not(xp, input):
    """The bits inverted; logical not for bools."""
    _integral(input)
    return xp.invert(input)


@op(types="same")
def bitwise_and(xp, input, other):
    """The bits that both have."""
    _integral(input, other)
    return xp.bitwise_and(input, other)


@op(types="same")
def bitwise_or(xp, input, other):
    """The bits that at least one has."""
    _integral(input, other)
    return xp.bitwise_or(input, other)


@op(types="same")
def bitwise_xor(xp, input, other):
    """The bits that exactly one has."""
    _integral(input, other)
    return xp.bitwise_xor(input, other)


@op(types="same")
def bitwise_left_shift(xp, input, other):
    """The bits of `input` moved up by `other` places."""
    _integral(input, other)
    return xp.left_shift(input, other)


@op(types="same")
def bitwise_right_shift(xp, input, other):
    """The bits of `input` moved down by `other` places, keeping the sign."""
    _integral(input, other)
    return xp.right_shift(input, other)


# -- all elements at once ---------------------------------------------------------------------------------------------


@api
def equal(input, other):
    """True if both tensors have the same shape and elements."""
    return tuple(input.array.shape) == tuple(other.array.shape) and bool(eq(input, other).array.all())


@api
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """True if all elements are close. See `isclose`."""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


expose(eq, ne, lt, le, gt, ge, inplace=True)
expose(not_equal=ne, less=lt, less_equal=le, greater=gt, greater_equal=ge, inplace=True)
expose(isclose)
expose(isin, methods=False)
expose(logical_not, logical_and, logical_or, logical_xor, inplace=True)
expose(bitwise_not, bitwise_and, bitwise_or, bitwise_xor, bitwise_left_shift, bitwise_right_shift, inplace=True)
