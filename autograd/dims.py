"""Dimensions and sizes as callers write them: negative, as a tuple or one by one, under NumPy's names or PyTorch's."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from operator import index
from typing import Any

from .errors import OpError

__all__ = ["as_sizes", "numpy_names", "wrap_dim", "wrap_dims"]

_NUMPY = {"axis": "dim", "axes": "dims", "keepdims": "keepdim", "x": "input", "a": "input"}


def wrap_dim(dim: Any, ndim: int) -> int:
    """`dim` counted from the front; IndexError where there is none. A 0-d tensor has the dimensions 0 and -1."""
    n = ndim or 1
    d: int = dim if type(dim) is int else index(dim)
    if -n <= d < n:
        return d if d >= 0 else d + n
    raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {d})")


def wrap_dims(dims: Any, ndim: int) -> tuple[int, ...]:
    """One dimension or several, counted from the front; RuntimeError where one is named twice."""
    found = tuple([wrap_dim(d, ndim) for d in (dims if isinstance(dims, Iterable) else (dims,))])
    if len(set(found)) != len(found):
        twice = next(d for d in found if found.count(d) > 1)
        raise OpError(f"dim {twice} appears multiple times in the list of dims {list(found)}")
    return found


def as_sizes(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """The sizes of a call `f(2, 3)` or `f((2, 3))`."""
    for n in sizes:
        if type(n) is not int:
            break
    else:
        return sizes
    if len(sizes) == 1 and not isinstance(sizes[0], int) and isinstance(sizes[0], Iterable):
        sizes = tuple(sizes[0])
    return tuple([n if type(n) is int else index(n) for n in sizes])


def numpy_names(f: Any = None, **others: str) -> Any:
    """Decorator of a plain function: it takes NumPy's names for PyTorch's keywords too, as every op does.

    others: more names of arguments, as PyTorch has them where one argument stands for several of its forms.
    """
    if f is None:
        return functools.partial(numpy_names, **others)
    code = f.__code__  # quicker than inspect.signature, at import
    known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    renamed = {k: v for k, v in _NUMPY.items() if v in known and k not in known} | others

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = {renamed.get(k, k): v for k, v in kwargs.items()}
        return f(*args, **kwargs)

    return call
