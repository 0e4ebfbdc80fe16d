"""`chainrule._assert`, `_check` and its relatives: what model files say of their arguments, by PyTorch's names.

`_check(cond, message)` raises RuntimeError where `cond` is False, its relatives the error of their name. `message` is
a function, called only then. A tensor is no condition but for `_check_tensor_all` and `_assert_async`, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import Tensor
from ..autograd.dtypes import bool_

__all__: list[str] = []

_Message = Callable[[], Any] | None


def _assert(condition: Any, message: str = "") -> None:
    """Python's assert as a function."""
    assert condition, message


def _check_with(error_type: type[Exception], cond: bool, message: _Message = None) -> None:
    """`error_type` with what `message()` says, unless `cond`."""
    if isinstance(cond, Tensor):
        raise TypeError("cond must be a bool, but got a Tensor. Use _check_tensor_all() to assert that all are true.")
    if not isinstance(cond, bool):
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    if message is not None and not callable(message):
        raise TypeError("message must be a callable")
    raise error_type("Expected cond to be True, but got False." if message is None else str(message()))


def _check(cond: bool, message: _Message = None) -> None:
    """RuntimeError unless `cond`."""
    _check_with(RuntimeError, cond, message)


def _check_index(cond: bool, message: _Message = None) -> None:
    """IndexError unless `cond`."""
    _check_with(IndexError, cond, message)


def _check_value(cond: bool, message: _Message = None) -> None:
    """ValueError unless `cond`."""
    _check_with(ValueError, cond, message)


def _check_type(cond: bool, message: _Message = None) -> None:
    """TypeError unless `cond`."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond: bool, message: _Message = None) -> None:
    """NotImplementedError unless `cond`."""
    _check_with(NotImplementedError, cond, message)


def _check_is_size(i: int, message: _Message = None, *, max: int | None = None) -> None:
    """RuntimeError unless 0 <= i, and i <= max where that is given."""
    _check_with(RuntimeError, bool(i >= 0 and (max is None or i <= max)), message)


def _check_tensor_all_with(error_type: type[Exception], cond: Tensor, message: _Message = None) -> None:
    """`error_type` with what `message()` says, unless all elements of the bool tensor `cond` are true."""
    if not isinstance(cond, Tensor) or cond.dtype is not bool_:
        raise TypeError(f"cond must be a tensor of bools, but got {getattr(cond, 'dtype', type(cond))}")
    _check_with(error_type, bool(cond.all()), message)


def _check_tensor_all(cond: Tensor, message: _Message = None) -> None:
    """RuntimeError unless all elements of the bool tensor `cond` are true."""
    _check_tensor_all_with(RuntimeError, cond, message)


def _assert_async(input: Tensor, assert_msg: str = "Expected Tensor with single nonzero value, but got zero") -> None:
    """RuntimeError where the tensor's one element is zero; here before the call returns."""
    _check_with(RuntimeError, bool(input), lambda: assert_msg)
