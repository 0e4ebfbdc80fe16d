"""Python's operators on tensors. Each goes straight to its op's unrolled path.

An operand that is none (a string, None, an object with operators of its own) is left to Python: the other side's
operator is tried, and `t == None` is False.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

from .. import backends
from .errors import OpError
from .op import OPS, Op
from .ops.arithmetic import add, div, floor_divide, mul, neg, pow, remainder, sub
from .ops.comparison import (
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    eq,
    ge,
    gt,
    le,
    lt,
    ne,
)
from .ops.elementwise import abs as _absolute
from .paths import binary_path
from .public import inplace
from .tensor import Tensor, method

_add, _sub, _mul, _div, _pow, _neg = add.quick, sub.quick, mul.quick, div.quick, pow.quick, neg.quick
_floor_divide, _remainder, _abs = floor_divide.quick, remainder.quick, _absolute.quick


def _refused(other: Any) -> Any:
    """What an operator answers to a TypeError: NotImplemented for a foreign operand, the error itself for ours."""
    if isinstance(other, (Tensor, Number)):
        raise
    try:
        backends.of(other)
    except TypeError:
        return NotImplemented
    raise


def _operator_path(name: str, op: Op) -> Any:
    """The operator `name` as an unrolled path of its own: one call less than to hand on the operands."""

    def general(args: Any, kwargs: Any) -> Any:
        try:
            return op.general(args, kwargs)
        except TypeError:
            return _refused(args[1])

    path = binary_path(op, general)
    path.__name__ = path.__qualname__ = name
    path.__doc__ = op.__doc__
    return method(path)


for _name, _op in {"add": add, "sub": sub, "mul": mul, "truediv": div, "pow": pow, "matmul": OPS["matmul"]}.items():
    _operator_path(f"__{_name}__", _op)
Tensor.__radd__, Tensor.__rmul__ = Tensor.__add__, Tensor.__mul__  # type: ignore[method-assign]


@method
def __rsub__(self: Tensor, other: Any) -> Tensor:
    try:
        return _sub(other, self)
    except TypeError:
        return _refused(other)


@method
def __rtruediv__(self: Tensor, other: Any) -> Tensor:
    try:
        return _div(other, self)
    except TypeError:
        return _refused(other)


@method
def __rpow__(self: Tensor, other: Any) -> Tensor:
    try:
        return _pow(other, self)
    except TypeError:
        return _refused(other)


@method
def __neg__(self: Tensor) -> Tensor:
    return _neg(self)


@method
def __abs__(self: Tensor) -> Tensor:
    return _abs(self)


@method
def __pos__(self: Tensor) -> Tensor:
    return self.positive()


@method
def __invert__(self: Tensor) -> Tensor:
    return bitwise_not(self)


@method
def __divmod__(self: Tensor, other: Any) -> tuple[Tensor, Tensor]:
    return self // other, self % other


@method
def __rdivmod__(self: Tensor, other: Any) -> tuple[Tensor, Tensor]:
    return other // self, other % self


@method
def __rmatmul__(self: Tensor, other: Any) -> Tensor:
    try:
        return OPS["matmul"].quick(other, self)
    except TypeError:
        return _refused(other)


def _operator(name: str, call: Callable[[Any, Any], Any], reflected: bool = True) -> None:
    """`__name__`, and `__rname__` where `reflected`, by the function of two operands `call`."""

    def forward(self: Tensor, other: Any) -> Any:
        if other is None:  # NumPy would compare each element
            return NotImplemented
        try:
            return call(self, other)
        except TypeError:
            return _refused(other)

    def backward(self: Tensor, other: Any) -> Any:
        try:
            return call(other, self)
        except TypeError:
            return _refused(other)

    for key, f in [(f"__{name}__", forward), (f"__r{name}__", backward)][: 2 if reflected else 1]:
        f.__name__ = f.__qualname__ = key
        method(f)


for _name, _call in {
    "floordiv": _floor_divide,
    "mod": _remainder,
    "and": bitwise_and.quick,
    "or": bitwise_or.quick,
    "xor": bitwise_xor.quick,
    "lshift": bitwise_left_shift.quick,
    "rshift": bitwise_right_shift.quick,
}.items():
    _operator(_name, _call)

for _op in (eq, ne, lt, le, gt, ge):
    _operator(_op.name, _op.quick, reflected=False)

Tensor.__hash__ = object.__hash__  # type: ignore[assignment]  # by identity: tensors are keys of dictionaries and sets


def _inplace_operator(name: str, target: Callable[..., Any]) -> None:
    def changed(self: Tensor, other: Any) -> Tensor:
        try:
            return inplace(self, target, other)
        except TypeError:
            return _refused(other)

    changed.__name__ = changed.__qualname__ = f"__i{name}__"
    method(changed)


for _name, _target in {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "truediv": _div,
    "floordiv": _floor_divide,
    "mod": _remainder,
    "pow": _pow,
    "and": bitwise_and,
    "or": bitwise_or,
    "xor": bitwise_xor,
    "lshift": bitwise_left_shift,
    "rshift": bitwise_right_shift,
}.items():
    _inplace_operator(_name, _target)


# -- a tensor of one element as a Python number -----------------------------------------------------------------------


@method
def __bool__(self: Tensor) -> bool:
    if self.array.size != 1:
        which = "more than one value" if self.array.size else "no values"
        raise OpError(f"Boolean value of Tensor with {which} is ambiguous; use any() or all()")
    return bool(self.array.item())


@method
def __float__(self: Tensor) -> float:
    return float(self.item())


@method
def __complex__(self: Tensor) -> complex:
    return complex(self.item())


@method
def __int__(self: Tensor) -> int:
    return int(self.item())


@method
def __index__(self: Tensor) -> int:
    if self.array.dtype.kind not in "biu" or self.array.size != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(self.array.item())


@method
def __round__(self: Tensor, ndigits: int = 0) -> Tensor:
    return OPS["round"](self, decimals=ndigits)


@method
def __trunc__(self: Tensor) -> Tensor:
    return OPS["trunc"](self)
