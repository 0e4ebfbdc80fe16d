"""Python's operators on tensors. Each goes straight to its op's unrolled path."""

from __future__ import annotations

from typing import Any

from .ops.arithmetic import add, div, mul, neg, pow, sub
from .tensor import Tensor, method

_add, _sub, _mul, _div, _pow, _neg = add.quick, sub.quick, mul.quick, div.quick, pow.quick, neg.quick


@method
def __add__(self: Tensor, other: Any) -> Tensor:
    return _add(self, other)


@method
def __radd__(self: Tensor, other: Any) -> Tensor:
    return _add(self, other)


@method
def __sub__(self: Tensor, other: Any) -> Tensor:
    return _sub(self, other)


@method
def __rsub__(self: Tensor, other: Any) -> Tensor:
    return _sub(other, self)


@method
def __mul__(self: Tensor, other: Any) -> Tensor:
    return _mul(self, other)


@method
def __rmul__(self: Tensor, other: Any) -> Tensor:
    return _mul(self, other)


@method
def __truediv__(self: Tensor, other: Any) -> Tensor:
    return _div(self, other)


@method
def __rtruediv__(self: Tensor, other: Any) -> Tensor:
    return _div(other, self)


@method
def __pow__(self: Tensor, other: Any) -> Tensor:
    return _pow(self, other)


@method
def __rpow__(self: Tensor, other: Any) -> Tensor:
    return _pow(other, self)


@method
def __neg__(self: Tensor) -> Tensor:
    return _neg(self)
