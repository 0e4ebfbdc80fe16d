"""What NumPy does in a program, as calls of machine code: its own inner loops, its BLAS, and copies.

A ufunc's inner loops are C functions whose place and arguments are part of NumPy's stable ABI (`PyUFuncObject`). They
touch memory alone; the loops for numbers neither raise nor need the GIL. Called over the same elements in the same
order they give the same bits, and so does the function of OpenBLAS that np.dot calls. Each form that is known here is
translated; `translated` says None to any other, and Python calls that.

Arrays are known by the addresses of views that are kept: whoever holds a view keeps the memory where it is.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import numpy as np

from ..numpy import products
from ..threads import blas_function
from .build import kernel, written
from .intrinsics import address, call_at
from .listed import Call, Live, Translation

__all__ = ["translated"]

_call1, _call4, _call8, _call12 = (call_at(n) for n in (1, 4, 8, 12))
#: elements of an elementwise call, of its cheapest kind, that are worth a second thread; a piece is a multiple of _STEP
_LEAST, _STEP = 1 << 13, 256
#: dtypes whose loops are machine code that does not need the GIL
_KINDS = frozenset("?bBhHiIlLqQfd")
#: no loops for a copy that keeps bits, but these for unsigned numbers
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@kernel("i8[:] i8[:]")
def _loops(plan, room):
    """An inner loop over two outer dimensions: function, its data, operands, n0, n1, n; each address and its steps."""
    operands = plan[2]
    for k in range(operands):
        room[operands + 1 + k] = plan[9 + 4 * k]
    room[operands] = plan[5]
    at = address(room)
    for i in range(plan[3]):
        for j in range(plan[4]):
            for k in range(operands):
                room[k] = plan[6 + 4 * k] + i * plan[7 + 4 * k] + j * plan[8 + 4 * k]
            _call4(plan[0], (at, at + 8 * operands, at + 8 * operands + 8, plan[1]))


class _UFunc(ctypes.Structure):
    """The head of NumPy's PyUFuncObject, behind Python's own."""

    _fields_ = [
        *[(name, ctypes.c_int) for name in ("nin", "nout", "nargs", "identity")],
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
        ("reserved", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("types", ctypes.POINTER(ctypes.c_char)),
    ]


@functools.cache
def _loop(function: np.ufunc, kinds: str) -> tuple[int, int] | None:
    """(address, address of its data) of the inner loop for operands of these kinds, given as in `ufunc.types`."""
    found = _UFunc.from_address(id(function) + object.__basicsize__)
    name = found.name.decode() if found.name else ""
    if (name, found.nin, found.nout, found.ntypes) != (function.__name__, function.nin, function.nout, function.ntypes):
        return None  # not the layout that we know
    text = f"{kinds[: function.nin]}->{kinds[function.nin :]}"
    if text not in function.types or not _KINDS.issuperset(kinds):
        return None
    at = function.types.index(text)
    if not found.functions[at]:
        return None
    return found.functions[at], (found.data[at] or 0) if found.data else 0


def _place(a: Any) -> int:
    return a.__array_interface__["data"][0]


def _joined(shape: tuple[int, ...], strides: list[tuple[int, ...]]) -> list[list[Any]]:
    """Dimensions [size, strides of all operands], outermost first, neighbours joined where memory allows."""
    dims = [[n, *s] for n, *s in zip(shape, *strides) if n != 1]
    dims.sort(key=lambda d: -abs(d[-1]) if d[-1] else -max(map(abs, d[1:])))
    found: list[list[Any]] = []
    for d in dims:
        if found and all(outer == inner * d[0] for outer, inner in zip(found[-1][1:], d[1:])):
            found[-1] = [found[-1][0] * d[0], *d[1:]]
        else:
            found.append(d)
    return found


def _walk(loop: tuple[int, int], places: list[int], dims: list[list[Any]]) -> tuple[Any, Any]:
    """Arguments of `_loops` for at most three dimensions."""
    operands = len(places)
    n0, n1, n = [[1] + [0] * operands] * (3 - len(dims)) + dims
    plan = [*loop, operands, n0[0], n1[0], n[0]]
    for k, place in enumerate(places):
        plan += [place, n0[1 + k], n1[1 + k], n[1 + k]]
    return np.array(plan, np.int64), np.zeros(2 * operands + 1, np.int64)


def _alike(a: Any, b: Any) -> bool:
    """Whether two arrays are the same memory in the same order, or have none in common."""
    if _place(a) == _place(b) and a.strides == b.strides and a.shape == b.shape:
        return True
    return not np.may_share_memory(a, b)


def _elementwise(function: np.ufunc, args: tuple[Any, ...], out: Any) -> Translation | None:
    live: list[tuple[Any, int, Live]] = []
    operands = []
    kind = next((a.dtype for a in args if type(a) is np.ndarray), None)
    if kind is None or type(out) is not np.ndarray or not out.size or not out.flags.writeable:
        return None
    for a in args:
        if type(a) is not np.ndarray:
            value = a.value if isinstance(a, Live) else a
            if isinstance(value, np.generic):
                cell = np.array(value)
            elif type(value) in (int, float) and kind.kind in ("f" if type(value) is float else "fiu"):
                cell = np.array(value, kind)
            else:
                return None
            if isinstance(a, Live):
                live.append((cell.reshape(1), 0, a))
            a = cell
        operands.append(a[...])
    operands.append(out[...])
    if not all(a.flags.aligned and a.dtype.isnative for a in operands):
        return None
    loop = _loop(function, "".join(a.dtype.char for a in operands))
    if loop is None or not all(_alike(a, operands[-1]) for a in operands[:-1]):
        return None
    try:
        shown = [np.broadcast_to(a, out.shape) for a in operands]
    except ValueError:
        return None
    dims = _joined(out.shape, [a.strides for a in shown])
    if len(dims) > 3:
        return None
    return Translation([_cut(loop, [_place(a) for a in operands], dims)], operands, live)


def _cut(loop: tuple[int, int], places: list[int], dims: list[list[Any]]) -> list[list[Any]]:
    """An elementwise walk as pieces: its longest dimension is cut for the threads."""
    total = math.prod(d[0] for d in dims)
    count = min(products.get_threads(), total // _LEAST)
    longest = max(range(len(dims)), key=lambda i: dims[i][0], default=None)
    if count < 2 or longest is None or dims[longest][0] < count:
        return [[(_loops, _walk(loop, places, dims))]]
    size, inner = dims[longest][0], longest == len(dims) - 1
    step = -(-size // count)
    if inner and size >= count * _STEP:
        step = -(-step // _STEP) * _STEP
    pieces = []
    for first in range(0, size, step):
        part = [list(d) for d in dims]
        part[longest][0] = min(step, size - first)
        moved = [p + first * by for p, by in zip(places, dims[longest][1:])]
        pieces.append([(_loops, _walk(loop, moved, part))])
    return pieces


def _copied(to: Any, source: Any) -> Translation | None:
    """np.copyto of arrays of one dtype, by the loop that copies unsigned numbers of that size."""
    if type(to) is not np.ndarray:
        return None
    if type(source) in (int, float):
        source = np.array(source, to.dtype)
    if type(source) is not np.ndarray or to.dtype != source.dtype:
        return None
    kind = _UNSIGNED.get(to.dtype.itemsize)
    if kind is None or to.dtype.hasobject or to.dtype.kind in "SUVO":
        return None
    return _elementwise(np.positive, (source.view(kind),), to.view(kind))


def _summed(args: tuple[Any, ...], axis: Any, out: Any) -> Translation | None:
    """np.add.reduce along one axis of a matrix, or of a whole array, in the array's own floats.

    As NumPy does it: from zero, row after row of memory; within a row by the loop itself, in pairs of pairs.
    """
    x = args[0] if len(args) == 1 else None
    if type(x) is not np.ndarray or type(out) is not np.ndarray or x.dtype.char not in "fd" or out.dtype != x.dtype:
        return None
    if not x.size or not x.flags.c_contiguous or not out.flags.c_contiguous or np.may_share_memory(x, out):
        return None
    size, loop = x.itemsize, _loop(np.add, 3 * x.dtype.char)
    clear = _elementwise(np.positive, (np.zeros((), x.dtype),), out)
    if loop is None or clear is None or not (x.flags.aligned and x.dtype.isnative):
        return None
    if axis is None or x.ndim == 1:
        dims = [[x.size, 0, size, 0]]
    elif x.ndim == 2 and min(x.shape) > 1 and axis in (0, 1, -1, -2):
        rows, columns = x.shape
        down = axis % 2 == 0
        to = [0, size] if down else [size, 0]
        dims = [[rows, to[0], columns * size, to[0]], [columns, to[1], size, to[1]]]
    else:
        return None
    x, out = x[...], out[...]
    sums = (_loops, _walk(loop, [_place(out), _place(x), _place(out)], dims))
    return Translation([[[*clear.calls(), sums]]], (clear.keep, x, out))


# -- BLAS -------------------------------------------------------------------------------------------------------------


def _write_gemm(b: Any, args: Any, double: bool) -> None:
    """cblas_?gemm(row major, ...) with factors 1 and 0."""
    from llvmlite import ir

    i32, i64 = ir.IntType(32), ir.IntType(64)
    kind = ir.DoubleType() if double else ir.FloatType()
    function, ta, tb, m, n, k, x, ldx, y, ldy, out, ldo = args
    wants = [i32] * 3 + [i64] * 3 + [kind] + [i64] * 4 + [kind] + [i64] * 2
    given = [ir.Constant(i32, 101), b.trunc(ta, i32), b.trunc(tb, i32), m, n, k, ir.Constant(kind, 1.0)]
    given += [x, ldx, y, ldy, ir.Constant(kind, 0.0), out, ldo]
    b.call(b.inttoptr(function, ir.FunctionType(ir.VoidType(), wants).as_pointer()), given)


def _write_gemv(b: Any, args: Any, double: bool) -> None:
    """cblas_?gemv(row major, ...) with factors 1 and 0, over vectors without gaps."""
    from llvmlite import ir

    i32, i64 = ir.IntType(32), ir.IntType(64)
    kind, one = ir.DoubleType() if double else ir.FloatType(), ir.Constant(i64, 1)
    function, transposed, m, n, x, ldx, y, out = args
    wants = [i32] * 2 + [i64] * 2 + [kind] + [i64] * 4 + [kind] + [i64] * 2
    given = [ir.Constant(i32, 101), b.trunc(transposed, i32), m, n, ir.Constant(kind, 1.0), x, ldx, y, one]
    given += [ir.Constant(kind, 0.0), out, one]
    b.call(b.inttoptr(function, ir.FunctionType(ir.VoidType(), wants).as_pointer()), given)


@functools.cache
def _blas(name: str, double: bool) -> tuple[int, int] | None:
    """(address of the function in NumPy's OpenBLAS, address of code that calls it with int64 alone)."""
    found = blas_function(f"cblas_{'d' if double else 's'}{name}")
    if found is None:
        return None
    write, arguments = (_write_gemm, 12) if name == "gemm" else (_write_gemv, 8)
    return found, written(f"call_{name}", ("call", name, double), arguments, lambda b, args: write(b, args, double))


@kernel("i8 i8[:]")
def _gemm(code, given):
    _call12(
        code,
        (
            given[0], given[1], given[2], given[3], given[4], given[5], given[6], given[7], given[8], given[9],
            given[10], given[11],
        ),
    )  # fmt: skip


@kernel("i8 i8[:]")
def _gemv(code, given):
    _call8(code, (given[0], given[1], given[2], given[3], given[4], given[5], given[6], given[7]))


@kernel("i8 i8")
def _threads(function, n):
    _call1(function, (n,))


_PLAIN, _TRANSPOSED = 111, 112


def _stored(a: Any) -> tuple[int, int] | None:
    """(CBLAS's word, distance of rows) of a matrix, as NumPy tells them."""
    (rows, columns), size = a.strides, a.itemsize
    if columns == size and rows % size == 0 and rows >= a.shape[1] * size:
        return _PLAIN, rows // size
    if rows == size and columns % size == 0 and columns >= a.shape[0] * size:
        return _TRANSPOSED, columns // size
    return None


def _product(a: Any, b: Any, out: Any) -> Translation | None:
    """products.into: calls of BLAS, each in one thread."""
    if any(type(x) is not np.ndarray or x.dtype != a.dtype or not x.flags.aligned for x in (a, b, out)):
        return None
    if a.dtype.char not in "fd" or min(a.size, b.size, out.size) < 1 or not out.flags.c_contiguous:
        return None
    if any(np.may_share_memory(x, y) for x, y in ((a, b), (a, out), (b, out))):
        return None
    whole = products.pieces(a, b, out)
    if len(whole) == 1 and not all(x.ndim < 2 or x.flags.c_contiguous or x.flags.f_contiguous for x in (a, b)):
        return None  # np.dot copies them first
    calls = [_multiplied(*piece) for piece in whole]
    if any(c is None for c in calls):
        return None
    stages = [[[c] for c in calls]]
    if not products.alone(a, b):
        setter = blas_function("openblas_set_num_threads")
        if setter is None:
            return None
        stages = [[[(_threads, (setter, 1))]], *stages, [[(_threads, (setter, products.get_threads()))]]]
    return Translation(stages, (a[...], b[...], out[...]))


def _multiplied(a: Any, b: Any, out: Any) -> Any:
    """The call of one product of matrices, or of a vector and a matrix."""
    double = a.dtype.char == "d"
    if a.ndim == b.ndim == 2 and min(*a.shape, *b.shape) > 1:
        found, left, right = _blas("gemm", double), _stored(a), _stored(b)
        if found is None or left is None or right is None:
            return None
        given = left[0], right[0], *out.shape, a.shape[1], _place(a), left[1], _place(b), right[1], _place(out)
        return _gemm, (found[1], np.array([found[0], *given, out.strides[0] // out.itemsize]))
    if a.ndim == 1 and b.ndim == 2 and min(b.shape) > 1 and a.flags.c_contiguous and b.flags.c_contiguous:
        found = _blas("gemv", double)
        if found is None:
            return None
        return _gemv, (
            found[1],
            np.array([found[0], _TRANSPOSED, *b.shape, _place(b), b.shape[1], _place(a), _place(out)]),
        )
    return None


# -- what is known ----------------------------------------------------------------------------------------------------


def translated(call: Call) -> Translation | None:
    """A call of NumPy as calls of kernels, to the same bits; None where Python has to make it."""
    function, args, kwargs, _ = call
    if isinstance(function, np.ufunc):
        out = kwargs.get("out", args[function.nin] if len(args) == function.nargs else None)
        if function.nout != 1 or len(args) < function.nin or not set(kwargs) <= {"out"}:
            return None
        return _elementwise(function, args[: function.nin], out[0] if type(out) is tuple else out)
    if function is np.copyto and len(args) == 2 and set(kwargs) <= {"casting"}:
        return _copied(*args)
    if function is products.into and not kwargs:
        return _product(*args)
    if function == np.add.reduce and set(kwargs) <= {"axis", "out"}:
        return _summed(args, kwargs.get("axis", 0), kwargs.get("out"))
    return None
