"""Arithmetic of two operands: add, sub, mul, div, pow and kin, and negation.

Sources: elementary calculus; names, defaults and promotion as in PyTorch.
"""

from __future__ import annotations

from ..op import op
from ..public import expose

__all__ = ["add", "div", "mul", "neg", "pow", "sub"]


@op(broadcast=True, types="same")
def add(xp, input, other):
    """input + other, elementwise."""
    return input + other


@add.grad("input")
def _(F, g):
    return g


@add.grad("other")
def _(F, g):
    return g


@op(broadcast=True, types="same")
def sub(xp, input, other):
    """input - other, elementwise."""
    return input - other


@sub.grad("input")
def _(F, g):
    return g


@sub.grad("other")
def _(F, g):
    return -g


@op(broadcast=True, types="same")
def mul(xp, input, other):
    """input * other, elementwise."""
    return input * other


@mul.grad("input")
def _(F, g, other):
    return g * other


@mul.grad("other")
def _(F, g, input):
    return g * input


@op(broadcast=True, types="float")
def div(xp, input, other):
    """input / other, elementwise; integers are divided as floats."""
    return input / other


@div.grad("input")
def _(F, g, other):
    return g / other


@div.grad("other")
def _(F, g, out, other):
    return -g * out / other


@op
def neg(xp, input):
    """-input, elementwise."""
    return -input


@neg.grad("input")
def _(F, g):
    return -g


@op(broadcast=True, types="same")
def pow(xp, input, exponent):
    """input ** exponent, elementwise."""
    return input**exponent


@pow.grad("input")
def _(F, g, input, exponent):
    return g * exponent * input ** (exponent - 1)


@pow.grad("exponent")
def _(F, g, out, input):
    return g * out * F.log(input)


expose(add, sub, mul, div, neg, pow, inplace=True)
