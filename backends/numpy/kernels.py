"""NumPy's (and Python's) own functions where they are an op's forward as they stand: one Python call less per op."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import compiled
from ..compiled.listed import STATE, do, made
from .attention import ATTENTION
from .choice import CHOICE
from .convolution import CONVOLUTION
from .distances import DISTANCES
from .dropout import DROPOUT
from .embedding import EMBEDDING
from .integers import INTEGERS
from .linalg import LINALG
from .linear import LINEAR
from .loss import LOSS
from .normalisation import NORMALISATION
from .ordering import ORDERING
from .pooling import POOLING
from .recurrent import RECURRENT
from .softmax import SOFTMAX
from .special import SPECIAL

__all__ = ["KERNELS", "PLAIN"]

# A Python number costs a ufunc 0.25 microseconds to convert; a 0-d array of the dtype costs nothing.
_ONE = {np.dtype(name): np.ones((), name) for name in ("float16", "float32", "float64")}


def _tanh_grad(g: Any, out: Any) -> Any:
    if STATE.calls is not None:
        t = made(np.multiply, out, out)
        do(np.subtract, _ONE.get(t.dtype, 1), t, out=t)
        return made(np.multiply, g, t)
    t = out * out
    one = _ONE.get(t.dtype, 1)
    if t.size == 1:  # NumPy's out= is slow for a single element, and scalars have none
        return g * (one - t)
    np.subtract(one, t, t)
    return np.multiply(g, t, t)


_ADDS_UP_IN_ITSELF = {np.dtype("float32"), np.dtype("float64")}


def _sum(input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The ufunc's own method for the common dtypes, without np.sum's Python; the generic forward for the others."""
    if input.dtype == bool and not keepdim and dtype is None:
        return _count_nonzero(input, dim)
    if type(dim) is tuple and len(dim) == 1:
        (dim,) = dim
    if (
        dtype is not None
        or input.dtype not in _ADDS_UP_IN_ITSELF
        or not (dim is None or (type(dim) is int and -input.ndim <= dim < input.ndim))
    ):
        return NotImplemented
    if STATE.calls is not None:
        kept = [1 if dim is None or d == dim % input.ndim else n for d, n in enumerate(input.shape)]
        out = np.empty([n for d, n in enumerate(kept) if not (dim is None or d == dim % input.ndim)], input.dtype)
        do(np.add.reduce, input, axis=dim, out=out)
        return out.reshape(kept) if keepdim else out
    # NumPy's stubs know keepdims as a literal only
    return np.add.reduce(input, axis=dim, keepdims=keepdim)  # type: ignore[call-overload]


def _count_nonzero(input: Any, dim: Any = None) -> Any:
    """Of bools, by counting their bytes: ten times as quick as a sum that makes an int64 of each."""
    if dim is not None or STATE.calls is not None:
        return NotImplemented
    return np.asarray(np.count_nonzero(input if input.dtype == bool else input != 0))


_count_nonzero.partial = True  # type: ignore[attr-defined]
_sum.partial = True  # type: ignore[attr-defined]


def _mean(input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    total = _sum(input, dim, keepdim, dtype) if input.size and input.dtype != bool else NotImplemented
    return total if total is NotImplemented else made(np.true_divide, total, input.size // total.size)


_mean.partial = True  # type: ignore[attr-defined]
for _function in (_sum, _mean):
    _function.listed = True  # type: ignore[attr-defined]


def _expand(input: Any, shape: tuple[int, ...]) -> Any:
    extra = len(shape) - input.ndim
    if shape == (1,) * extra + input.shape:  # nothing is repeated: a view that can be written
        return input[(*(None,) * extra, ...)]
    strides = [0] * extra
    for have, want, step in zip(input.shape, shape[extra:], input.strides):
        if have != want and have != 1:
            return np.broadcast_to(input, shape)  # which says what is wrong
        strides.append(step if have == want else 0)
    source = np.asarray(input)
    if extra < 0 or not source.size or not source.flags.c_contiguous:
        return np.broadcast_to(input, shape)
    # a read-only view, five times quicker to make than by broadcast_to
    view = np.ndarray(shape, input.dtype, source, 0, strides)
    view.flags.writeable = False
    return view


#: without compiled kernels
PLAIN: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "mul.grad.input": operator.mul,
    "mul.grad.other": operator.mul,
    "div": operator.truediv,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "count_nonzero": _count_nonzero,
    "neg": np.negative,
    "abs": np.absolute,
    "exp": np.exp,
    "expm1": np.expm1,
    "expand": _expand,
    "log": np.log,
    "log1p": np.log1p,
    "mean": _mean,
    "sqrt": np.sqrt,
    "sum": _sum,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "tanh.grad": _tanh_grad,
    **CHOICE,
    **CONVOLUTION,
    **DISTANCES,
    **DROPOUT,
    **INTEGERS,
    **LINALG,
    **ATTENTION,
    **EMBEDDING,
    **LINEAR,
    **LOSS,
    **NORMALISATION,
    **ORDERING,
    **POOLING,
    **RECURRENT,
    **SOFTMAX,
    **SPECIAL,
}

KERNELS = PLAIN | {name: compiled.chosen(name, PLAIN.get(name)) for name in compiled.TABLE}
