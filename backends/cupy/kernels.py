"""Ops for which CuPy has a function of its own, and checks that NumPy makes and CuPy does not.

A check returns NotImplemented for good input, and then the op's own forward runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cupy
import cupyx.scipy.special as special

from ..cudnn import plans
from ..cudnn.attention import ATTENTION
from ..cudnn.normalisation import BATCH_NORM, LAYER_NORM
from ..cudnn.recurrent import RECURRENT
from ..recorder import recording
from . import gemm
from .convolution import CONVOLUTION
from .cudnn import chained, interface, runtime
from .namespace import check_along, check_indices, only_masks
from .own import OWN

__all__ = ["KERNELS"]


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """CuPy's special functions turn 16-bit floats into float64, and know no bfloat16: compute those in float32."""

    def kernel(input: Any) -> Any:
        if input.dtype.itemsize == 2:
            return function(input.astype("float32")).astype(input.dtype)
        return function(input)

    return kernel


def _partial(kernel: Callable[..., Any]) -> Callable[..., Any]:
    kernel.partial = True  # type: ignore[attr-defined]
    return kernel


@_partial
def power(input: Any, exponent: Any) -> Any:
    """ValueError for an integer to a negative power, where CuPy gives 0."""
    whole = all(x.dtype.kind in "iu" if hasattr(x, "dtype") else isinstance(x, int) for x in (input, exponent))
    if hasattr(exponent, "dtype") and recording() is not None:
        return NotImplemented
    if whole and bool((exponent < 0).any() if hasattr(exponent, "dtype") else exponent < 0):
        raise ValueError("Integers to negative integer powers are not allowed.")
    return NotImplemented


@_partial
def index(input: Any, indices: Any) -> Any:
    """IndexError for an index out of range, which wraps around on CuPy."""
    check_indices(input.shape, indices)
    return NotImplemented


@_partial
def gather(input: Any, dim: int, index: Any, sparse_grad: bool = False) -> Any:
    """As `index`."""
    if input.ndim and index.ndim:
        check_along(input, dim, index)
    return NotImplemented


@_partial
def embedding(input: Any, weight: Any, padding_idx: Any = None, scale_grad_by_freq: bool = False) -> Any:
    """As `index`."""
    check_indices(weight.shape, input)
    return NotImplemented


@_partial
def index_put(input: Any, values: Any, view: Any, indices: Any, accumulate: bool = False) -> Any:
    """The index is checked, and of values written to one element the last one stays, as in NumPy."""
    if indices is None:
        return NotImplemented
    view = view if Ellipsis in view else (*view, ...)
    check_indices(input[view].shape, indices)
    if accumulate or only_masks(indices) or not getattr(values, "ndim", 0):
        return NotImplemented
    return _written(input, _positions(input)[view][indices], values)


@_partial
def scatter(input: Any, dim: int, index: Any, src: Any) -> Any:
    """As `index_put`."""
    if index.dtype.kind not in "iu" or not input.ndim or index.ndim != input.ndim:
        return NotImplemented
    check_along(input, dim, index)
    fits = [n <= m for i, (n, m) in enumerate(zip(index.shape, input.shape)) if i != dim % input.ndim]
    if not getattr(src, "ndim", 0) or not all(fits) or any(n > m for n, m in zip(index.shape, src.shape)):
        return NotImplemented
    corner = tuple([slice(0, n) for n in index.shape])
    room = tuple([slice(None) if i == dim % input.ndim else s for i, s in enumerate(corner)])
    return _written(input, cupy.take_along_axis(_positions(input)[room], index, dim), src[corner])


def _positions(x: Any) -> Any:
    return cupy.arange(x.size).reshape(x.shape)


def _written(input: Any, places: Any, values: Any) -> Any:
    """A copy of `input` with `values` at the flat positions `places`. CuPy leaves open which of several stays.

    The others are written into an element beside the result: to leave them out by a mask, the host would count them.
    """
    turns = _positions(places)
    last = cupy.zeros(input.size, turns.dtype)
    cupy.maximum.at(last, places, turns)
    out = cupy.empty(input.size + 1, input.dtype)
    out[:-1] = input.reshape(-1)
    out[cupy.where(last[places] == turns, places, input.size)] = cupy.broadcast_to(values, places.shape)
    return out[:-1].reshape(input.shape)


def _first(kernel: Callable[..., Any], check: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel, and a check before the generic form of what it does not serve."""

    @_partial
    @functools.wraps(kernel)
    def either(*args: Any, **kwargs: Any) -> Any:
        out = kernel(*args, **kwargs)
        return check(*args, **kwargs) if out is NotImplemented else out

    return either


#: checks before the generic forms of ops that kernels of ours serve in part
CHECKS = {"index": index, "index_put": index_put, "gather": gather, "embedding": embedding}

KERNELS: dict[str, Callable[..., Any]] = {
    "erf": _elementwise(special.erf),
    "erfc": _elementwise(special.erfc),
    "erfinv": _elementwise(special.erfinv),
    "ndtr": _elementwise(special.ndtr),
    "lgamma": _elementwise(special.gammaln),
    "digamma": _elementwise(special.digamma),
    "pow": power,
    "scatter": scatter,
    **OWN,
    **{name: _first(OWN[name], check) for name, check in CHECKS.items()},
    **gemm.GEMM,
    **ATTENTION,
    **{name: _first(kernel, OWN[name]) for name, kernel in BATCH_NORM.items()},
    **CONVOLUTION,
    **RECURRENT,
    **chained("layer_norm", LAYER_NORM, OWN),
    **chained("rms_norm", LAYER_NORM, OWN),
}
plans.serve(runtime, interface)
