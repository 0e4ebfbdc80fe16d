"""Functions of one operand, elementwise."""

from __future__ import annotations

from ..op import op
from ..public import expose

__all__ = ["log", "tanh"]


@op(types="float")
def tanh(xp, input):
    """Hyperbolic tangent, elementwise."""
    return xp.tanh(input)


@tanh.grad("input")
def _(F, g, out):
    return g * (1 - out * out)


@op(types="float")
def log(xp, input):
    """Natural logarithm, elementwise."""
    return xp.log(input)


@log.grad("input")
def _(F, g, input):
    return g / input


expose(tanh, log, inplace=True)
