"""The namespace that forwards get: CuPy's, where it differs from NumPy's in what an op relies on, put right.

* Indices out of range wrap around silently on CuPy: `take` and the like check them, which waits for the device once
  (while a step is captured, nothing may wait, and nothing is checked).
* CuPy multiplies stacks of 16-bit matrices by casting or by a slow kernel for integers, and not in a graph: `matmul`.
* `add.at` knows few dtypes, and adds float16 in float16.
* Numbers of the host's cannot be copied while a step is captured: `asarray`.
* A strided view does not say whose memory it shows: `as_strided`.
* A singular matrix gives NaN without an error: `linalg`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cupy
import cupyx
import numpy as np

from ..recorder import recording
from . import gemm

__all__ = ["Namespace", "check_along", "check_indices", "only_masks"]


# -- indices ----------------------------------------------------------------------------------------------------------


def _check(index: Any, size: int, dim: int) -> None:
    # A recorded step cannot wait for the device: there, what is out of range is for its kernels to notice.
    if index.size and recording() is None and bool(((index < -size) | (index >= size)).any()):
        raise IndexError(
            f"index out of range: dimension {dim} has size {size}, and the indices go from {int(index.min())} to "
            f"{int(index.max())}"
        )


def check_indices(shape: tuple[int, ...], indices: Any) -> None:
    """IndexError where an integer array of `indices` (with masks and slices beside it) reaches out of `shape`."""
    dim = 0
    for index in indices if isinstance(indices, tuple) else (indices,):
        if isinstance(index, cupy.ndarray) and index.dtype.kind == "b":
            dim += index.ndim
            continue
        if isinstance(index, cupy.ndarray):
            _check(index, shape[dim], dim)
        dim += 1


def check_along(a: Any, dim: int | None, index: Any) -> None:
    """IndexError where `index` reaches out of dimension `dim` of `a` (None: out of all its elements in a row)."""
    _check(index, a.size if dim is None else a.shape[dim], 0 if dim is None else dim)


def only_masks(indices: Any) -> bool:
    """True where no element can be named twice: each index is a mask or a slice."""
    return all(isinstance(i, slice) or i.dtype.kind == "b" for i in indices)


def take(a: Any, indices: Any, axis: int | None = None, out: Any = None) -> Any:
    """As `cupy.take`; IndexError for an index out of range."""
    indices = cupy.asarray(indices)
    check_along(a, axis, indices)
    return cupy.take(a, indices, axis, out)


def take_along_axis(arr: Any, indices: Any, axis: int | None) -> Any:
    """As `cupy.take_along_axis`; IndexError for an index out of range."""
    check_along(arr, axis, indices)
    return cupy.take_along_axis(arr, indices, axis)


def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    """As `cupy.put_along_axis`; IndexError for an index out of range."""
    check_along(arr, axis, indices)
    cupy.put_along_axis(arr, indices, values, axis)


class _Ufunc:
    """A ufunc of CuPy's with an `at` that checks indices and takes every dtype."""

    def __init__(self, ufunc: Any) -> None:
        self.ufunc = ufunc

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.ufunc(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ufunc, name)

    def at(self, a: Any, indices: Any, b: Any) -> None:
        """`a[indices] op= b`, an element named twice being changed twice. The order may change from run to run."""
        check_indices(a.shape, indices)
        if a.dtype.itemsize > 2:
            self.ufunc.at(a, indices, b)
            return
        wide = np.dtype("int64" if a.dtype.kind in "iub" else "float32")
        total = a.astype(wide)
        self.ufunc.at(total, indices, b.astype(wide) if isinstance(b, cupy.ndarray) else b)
        a[...] = total.astype(a.dtype)


def asarray(a: Any, dtype: Any = None) -> Any:
    """As `cupy.asarray`; one number is no copy from the host, and in a captured step more of them are copied once."""
    if type(a) in (int, float, bool) and dtype is not None:
        return cupy.full((), a, dtype)
    recorder: Any = recording()
    if recorder is None or isinstance(a, cupy.ndarray):
        return cupy.asarray(a, dtype)
    return recorder.constant(np.asarray(a, dtype))


# -- products ---------------------------------------------------------------------------------------------------------


def _narrow(a: Any) -> bool:
    return a.dtype.itemsize == 2 and a.dtype.kind not in "iu"


def matmul(x1: Any, x2: Any, /) -> Any:
    """As `cupy.matmul`; floats are multiplied by cuBLASLt, without it 16-bit ones with sums in float32 as well."""
    out = gemm.matmul(x1, x2)
    if out is not NotImplemented:
        return out
    if not _narrow(x1) or x1.ndim < 2 or x2.ndim < 2:
        return cupy.matmul(x1, x2)
    if x2.ndim == 2 and x1.shape[-1] == x2.shape[0]:
        rows = x1.reshape(math.prod(x1.shape[:-1]), x1.shape[-1])
        return cupy.dot(rows, x2).reshape(*x1.shape[:-1], x2.shape[1])
    return cupy.matmul(x1.astype("float32"), x2.astype("float32")).astype(x1.dtype)


def einsum(subscripts: str, *operands: Any, optimize: Any = False) -> Any:
    """As `cupy.einsum`; 16-bit floats are multiplied in float32."""
    if not _narrow(operands[0]):
        return cupy.einsum(subscripts, *operands, optimize=optimize)
    wide = [x.astype("float32") for x in operands]
    return cupy.einsum(subscripts, *wide, optimize=optimize).astype(operands[0].dtype)


# -- views ------------------------------------------------------------------------------------------------------------


class _Rooted(cupy.cuda.MemoryPointer):
    """A pointer into the memory of the array `root`, which it keeps."""

    root: Any


def as_strided(x: Any, shape: Any = None, strides: Any = None) -> Any:
    """As in `cupy.lib.stride_tricks`; the view knows the array whose memory it shows."""
    base = x if x.base is None else x.base
    pointer = _Rooted(x.data.mem, x.data.ptr - x.data.mem.ptr)
    pointer.root = getattr(base.data, "root", base)
    return cupy.ndarray(
        x.shape if shape is None else tuple(shape),
        x.dtype,
        pointer,
        x.strides if strides is None else tuple(strides),
    )


def sliding_window_view(x: Any, window_shape: Any, axis: Any = None) -> Any:
    """As in `cupy.lib.stride_tricks`; the view knows the array whose memory it shows."""
    sizes = (window_shape,) if isinstance(window_shape, int) else tuple(window_shape)
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    shape, steps = list(x.shape), list(x.strides)
    for n, d in zip(sizes, axes, strict=True):
        shape[d] -= n - 1
        steps.append(x.strides[d])
        if n < 0 or shape[d] < 1 - (n == 0):
            raise ValueError(f"window of size {n} does not fit dimension {d} of size {x.shape[d]}")
    return as_strided(x, (*shape, *sizes), steps)


# -- linear algebra ---------------------------------------------------------------------------------------------------


class _Linalg:
    """`cupy.linalg`, with the errors of `numpy.linalg`."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(cupy.linalg, name)
        if not callable(found) or isinstance(found, type):
            return found

        @functools.wraps(found)
        def raising(*args: Any, **kwargs: Any) -> Any:
            with cupyx.errstate(linalg="raise"):
                return found(*args, **kwargs)

        setattr(self, name, raising)
        return raising


class Namespace:
    """What forwards know as `xp`."""

    asarray = staticmethod(asarray)
    take = staticmethod(take)
    take_along_axis = staticmethod(take_along_axis)
    put_along_axis = staticmethod(put_along_axis)
    matmul = staticmethod(matmul)
    einsum = staticmethod(einsum)

    def __init__(self) -> None:
        for name in ("add", "subtract", "maximum", "minimum"):
            setattr(self, name, _Ufunc(getattr(cupy, name)))
        self.linalg = _Linalg()
        tricks = SimpleNamespace(as_strided=as_strided, sliding_window_view=sliding_window_view)
        self.lib = SimpleNamespace(stride_tricks=tricks)

    def __getattr__(self, name: str) -> Any:
        found: Callable[..., Any] = getattr(cupy, name)
        setattr(self, name, found)
        return found
