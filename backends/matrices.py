"""A product of strided arrays as the calls of a GEMM that compute it: arithmetic on shapes and strides, nothing else.

A GEMM in the manner of cuBLASLt computes D = op(A) op(B) of column-major matrices, or of a batch of them at equal
distances. A row-major result is the column-major transpose, Dᵀ = op(B)ᵀ op(A)ᵀ: so the right factor comes first, and no
transpose, stack or slice is copied as long as one of its last two dimensions has unit stride.

All strides and offsets are counted in elements.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise, product
from math import prod
from typing import NamedTuple

__all__ = ["Gemm", "Plan", "contiguous", "matmul"]

#: calls of which a product may consist before an operand is rather copied, and the multiplications of a call from which
#: their number does not matter (some 10 microseconds of an H100)
_CALLS, _LARGE = 8, 1 << 31
#: larger sizes and leading dimensions are not promised to work (cublasLt.h: "expressed as int32_t")
_LARGEST = 2**31 - 1

_Ints = tuple[int, ...]


class Gemm(NamedTuple):
    """D = op(A) op(B), `batch` times: D is m x n, op(A) m x k, op(B) k x n, all column-major.

    `turn_a` says that op transposes, so that A is stored k x m; `ld_a` is the distance of two columns of the stored
    matrix, `step_a` that of two matrices of the batch (0: one for all).
    """

    m: int
    n: int
    k: int
    turn_a: bool
    turn_b: bool
    ld_a: int
    ld_b: int
    ld_d: int
    batch: int
    step_a: int
    step_b: int
    step_d: int


class Plan(NamedTuple):
    """A product as calls of one GEMM.

    `swapped`: A is the right factor and B the left one. `offsets`: where A, B and D begin, one triple per call.
    `copy`: the operand ("left" or "right") that must be made contiguous before another plan is made, `wide`: after it
    has been expanded to all leading dimensions. Without a `gemm` and a `copy` the result is empty or all zeros.
    """

    shape: _Ints
    gemm: Gemm | None = None
    swapped: bool = True
    offsets: tuple[_Ints, ...] = ()
    copy: str = ""
    wide: bool = False


def contiguous(shape: Iterable[int]) -> _Ints:
    """Strides of an array in C order."""
    strides, step = [], 1
    for n in reversed(tuple(shape)):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def _stored(rows: int, columns: int, row_step: int, column_step: int) -> tuple[bool, int] | None:
    """(whether the matrix lies in row order, its leading dimension); None where it lies in neither order.

    The stride of a dimension of size 1 says nothing. Rows (columns) that overlap are no matrix for a GEMM.
    """
    if columns == 1 or column_step == 1:
        ld = columns if rows == 1 else row_step
        if ld >= columns:
            return True, ld
    if rows == 1 or row_step == 1:
        ld = rows if columns == 1 else column_step
        if ld >= rows:
            return False, ld
    return None


def _leading(shape: _Ints, strides: _Ints, ndim: int) -> list[tuple[int, int]]:
    """(size, stride) of each of `ndim` dimensions before the last two; 0 is the stride of one that is repeated."""
    lead = [(n, 0 if n == 1 else s) for n, s in zip(shape[:-2], strides[:-2], strict=True)]
    return [(1, 0)] * (ndim - len(lead)) + lead


def _merged(parts: list[_Ints]) -> list[_Ints]:
    """Dimensions (size, *strides), those in one that are one for every operand."""
    merged: list[_Ints] = []
    for size, *steps in parts:
        if merged and all(outer == size * inner for outer, inner in zip(merged[-1][1:], steps, strict=True)):
            merged[-1] = (merged[-1][0] * size, *steps)
        else:
            merged.append((size, *steps))
    return merged


def matmul(
    left: _Ints, left_strides: _Ints, right: _Ints, right_strides: _Ints, out_strides: _Ints | None = None
) -> Plan | None:
    """The plan of `left @ right` by the rules of NumPy's matmul; None where a size is too large for a GEMM.

    The result is in C order, or has `out_strides` where both factors have two dimensions or more. ValueError for shapes
    that do not fit, and for strides of the result in neither order.
    """
    if not left or not right:
        raise ValueError("matmul takes arrays of one dimension or more")
    if len(left) == 1 or len(right) == 1:
        return _of_vectors(left, left_strides, right, right_strides)
    (m, k), (inner, n) = left[-2:], right[-2:]
    ndim = max(len(left), len(right)) - 2
    first, second = _leading(left, left_strides, ndim), _leading(right, right_strides, ndim)
    if k != inner or any(p != q and 1 not in (p, q) for (p, _), (q, _) in zip(first, second, strict=True)):
        raise ValueError(f"matrices of shapes {list(left)} and {list(right)} cannot be multiplied")
    lead = tuple([q if p == 1 else p for (p, _), (q, _) in zip(first, second, strict=True)])
    shape = (*lead, m, n)
    if not (m and n and k and prod(lead)):
        return Plan(shape)
    out = contiguous(shape) if out_strides is None else out_strides
    batch = _merged([(s, p[1], q[1], o) for s, p, q, o in zip(lead, first, second, out) if s > 1])

    (row, column), (out_row, out_column) = left_strides[-2:], out[-2:]
    while batch and batch[-1][2] == 0:  # one matrix for a stack whose rows follow one another: more rows of one product
        size, step, _, out_step = batch[-1]
        if m > 1 and (step, out_step) != (m * row, m * out_row):
            break
        rows, out_rows = (row, out_row) if m > 1 else (step, out_step)
        if _stored(size * m, k, rows, column) is None or _stored(size * m, n, out_rows, out_column) is None:
            break
        batch, m, row, out_row = batch[:-1], size * m, rows, out_rows

    a, b, d = _stored(m, k, row, column), _stored(k, n, *right_strides[-2:]), _stored(m, n, out_row, out_column)
    if a is None or b is None:
        return Plan(shape, copy="left" if a is None else "right")
    if d is None:
        raise ValueError(f"no GEMM writes a result of shape {list(shape)} with strides {list(out)}")
    # cublasLt.h says nothing of batches that go backwards
    inside = max([part for part in batch if min(part) >= 0], default=(1, 0, 0, 0))
    outside = [part for part in batch if part is not inside]
    if prod([part[0] for part in outside]) > _CALLS and inside[0] * m * n * k < _LARGE:
        broken = [any(p[i] != q[0] * q[i] for p, q in pairwise(batch)) or any(p[i] < 0 for p in batch) for i in (1, 2)]
        if any(broken):  # else the result's own strides are in the way
            return Plan(shape, copy="left" if broken[0] else "right", wide=True)
    size, *steps = inside
    offsets = [[sum(j * part[i] for j, part in zip(at, outside)) for i in (1, 2, 3)]
               for at in product(*[range(part[0]) for part in outside])]  # fmt: skip
    if d[0]:  # in row order: the transposed product, in column order
        gemm = Gemm(n, m, k, not b[0], not a[0], b[1], a[1], d[1], size, steps[1], steps[0], steps[2])
        places = tuple([(q, p, o) for p, q, o in offsets])
    else:
        gemm = Gemm(m, n, k, a[0], b[0], a[1], b[1], d[1], size, *steps)
        places = tuple([(p, q, o) for p, q, o in offsets])
    if max(gemm[:9]) > _LARGEST:
        return None
    return Plan(shape, gemm, d[0], places)


def _of_vectors(left: _Ints, left_strides: _Ints, right: _Ints, right_strides: _Ints) -> Plan | None:
    """`matmul` where the left factor is a row, the right one a column, or both."""
    row, column = len(left) == 1, len(right) == 1
    if row:
        left, left_strides = (1, *left), (0, *left_strides)
    if column:
        right, right_strides = (*right, 1), (*right_strides, 0)
    plan = matmul(left, left_strides, right, right_strides)
    if plan is None:
        return None
    *lead, m, n = plan.shape
    return plan._replace(shape=(*lead, *([] if row else [m]), *([] if column else [n])))
