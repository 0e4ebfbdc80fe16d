"""Passes over the rows of a matrix, a strip of columns at a time, whose constants and sums stay in registers.

For data with the channels last: constants and sums per channel are vectors along the row. Compilers load and store them
anew for each row, which takes twice the time. A pass is one of `TASKS`; what it reads is called x0, x1, x2, its
constants c0 .. c3, its sums s0 and s1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .build import Kernel, Lazy, kernel
from .intrinsics import address, vector_width

__all__ = ["ROWS", "TASKS", "WIDE", "lanes", "rows_pass", "strip"]

#: rows that are summed up in the arrays' own precision; rows that a strip is followed down before the next strip
ROWS, _TILE = 128, 16
#: vectors of a strip
WIDE = 4


# -- what the passes compute ------------------------------------------------------------------------------------------
# v: how to write vector code; the results are what is stored (or None) and the new sums


def _moments(v: Any, x: Any, c: Any, s: Any) -> Any:
    off = v.sub(x[0], c[0])
    return None, [v.add(s[0], off), v.fma(off, off, s[1])]


def _apply(v: Any, x: Any, c: Any, s: Any) -> Any:
    return v.fma(v.sub(x[0], c[0]), c[1], c[2]), []


def _apply_relu(v: Any, x: Any, c: Any, s: Any) -> Any:
    y, _ = _apply(v, x, c, s)
    return v.without(y, y), []


def _apply_add_relu(v: Any, x: Any, c: Any, s: Any) -> Any:
    y = v.add(_apply(v, x, c, s)[0], x[1])
    return v.without(y, y), []


def _sums(v: Any, x: Any, c: Any, s: Any) -> Any:
    return None, [v.add(s[0], x[0]), v.fma(x[0], v.sub(x[1], c[0]), s[1])]


def _sums_relu(v: Any, x: Any, c: Any, s: Any) -> Any:
    return None, _sums(v, [v.without(x[2], x[0]), x[1]], c, s)[1]


def _sums_relu_kept(v: Any, x: Any, c: Any, s: Any) -> Any:
    g = v.without(x[2], x[0])
    return g, _sums(v, [g, x[1]], c, s)[1]


def _grad(v: Any, x: Any, c: Any, s: Any) -> Any:
    return v.fma(c[1], x[0], v.fma(c[2], v.sub(x[1], c[0]), c[3])), []


def _grad_relu(v: Any, x: Any, c: Any, s: Any) -> Any:
    return _grad(v, [v.without(x[2], x[0]), x[1]], c, s)


def _standard_sums(v: Any, x: Any, c: Any, s: Any) -> Any:
    return None, [v.add(s[0], x[0]), v.fma(x[0], v.mul(v.sub(x[1], c[0]), c[1]), s[1])]


def _total(v: Any, x: Any, c: Any, s: Any) -> Any:
    return None, [v.add(s[0], x[0])]


#: name -> (function, arrays read, constants, sums, whether it writes)
TASKS: dict[str, tuple[Callable[..., Any], int, int, int, bool]] = {
    "moments": (_moments, 1, 1, 2, False),  # c0: the block's first row
    "apply": (_apply, 1, 3, 0, True),
    "apply_relu": (_apply_relu, 1, 3, 0, True),
    "apply_add_relu": (_apply_add_relu, 2, 3, 0, True),
    "sums": (_sums, 2, 1, 2, False),
    "sums_relu": (_sums_relu, 3, 1, 2, False),
    "sums_relu_kept": (_sums_relu_kept, 3, 1, 2, True),
    "grad": (_grad, 2, 4, 0, True),
    "grad_relu": (_grad_relu, 3, 4, 0, True),
    "total": (_total, 1, 0, 1, False),
    "standard_sums": (_standard_sums, 2, 2, 2, False),
}
#: tasks whose constants are one number for each row
_PER_ROW = ("standard_sums",)


# -- vector code ------------------------------------------------------------------------------------------------------


class _Vectors:
    """Arithmetic on LLVM vectors of one type."""

    def __init__(self, builder: Any, kind: str, width: int) -> None:
        from llvmlite import ir
        from numba.core import cgutils

        self.b, self.ir, self.width, self.kind = builder, ir, width, kind
        self.element = ir.FloatType() if kind == "f4" else ir.DoubleType()
        self.type = ir.VectorType(self.element, width)
        self.letters = f"v{width}f{32 if kind == 'f4' else 64}"
        self.zero = ir.Constant(self.type, [0.0] * width)
        self._intrinsic = lambda result, args, name: cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(result, args), name
        )

    def add(self, a: Any, b: Any) -> Any:
        return self.b.fadd(a, b)

    def sub(self, a: Any, b: Any) -> Any:
        return self.b.fsub(a, b)

    def mul(self, a: Any, b: Any) -> Any:
        return self.b.fmul(a, b)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.b.call(self._intrinsic(self.type, [self.type] * 3, f"llvm.fma.{self.letters}"), [a, b, c])

    def without(self, y: Any, value: Any) -> Any:
        """`value` with 0 where y <= 0; y may be NaN."""
        return self.b.select(self.b.fcmp_ordered("<=", y, self.zero), self.zero, value)

    def mask(self, lanes: Any) -> Any:
        """True in the first `lanes` lanes."""
        ir, i32 = self.ir, self.ir.IntType(32)
        numbers = ir.Constant(ir.VectorType(i32, self.width), list(range(self.width)))
        return self.b.icmp_signed("<", numbers, self.same(self.b.trunc(lanes, i32)))

    def same(self, value: Any) -> Any:
        """A number in all lanes."""
        ir, i32 = self.ir, self.ir.IntType(32)
        undefined = ir.Constant(ir.VectorType(value.type, self.width), ir.Undefined)
        one = self.b.insert_element(undefined, value, ir.Constant(i32, 0))
        return self.b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(i32, self.width), [0] * self.width))

    def load(self, pointer: Any, mask: Any) -> Any:
        ir, at = self.ir, self.b.bitcast(pointer, self.type.as_pointer())
        size = 4 if self.kind == "f4" else 8
        if mask is None:
            value = self.b.load(at)
            value.align = size
            return value
        i32 = ir.IntType(32)
        function = self._intrinsic(
            self.type, [at.type, i32, mask.type, self.type], f"llvm.masked.load.{self.letters}.p0"
        )
        return self.b.call(function, [at, ir.Constant(i32, size), mask, self.zero])

    def store(self, value: Any, pointer: Any, mask: Any) -> None:
        ir, at = self.ir, self.b.bitcast(pointer, self.type.as_pointer())
        size = 4 if self.kind == "f4" else 8
        if mask is None:
            self.b.store(value, at).align = size
            return
        i32 = ir.IntType(32)
        function = self._intrinsic(
            ir.VoidType(), [self.type, at.type, i32, mask.type], f"llvm.masked.store.{self.letters}.p0"
        )
        self.b.call(function, [value, at, ir.Constant(i32, size), mask])


def lanes(kind: str) -> int:
    """Numbers in one vector."""
    return vector_width() if kind == "f4" else max(vector_width() // 2, 2)


@functools.cache
def strip(task: str, kind: str, vectors: int) -> Lazy:
    """(x0, x1, x2, out, c0, c1, c2, c3, s0, s1, rows, stride, lanes): a pass down a strip of columns.

    Addresses, as int64; the sums are added to. Of one vector, the first `lanes` lanes alone are touched. Constants of
    the tasks in _PER_ROW are one number for each row.
    """
    width = lanes(kind)
    return Lazy(("strip", task, kind, vectors, width), lambda: _build_strip(task, kind, vectors, width))


def _build_strip(task: str, kind: str, vectors: int, width: int) -> Any:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    compute, reads, constants, sums, writes = TASKS[task]
    i64 = ir.IntType(64)

    def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
        v = _Vectors(b, kind, width)
        *addresses, rows, stride, lanes = args
        pointers = [b.inttoptr(a, v.element.as_pointer()) for a in addresses]
        x, out, c, s = pointers[:reads], pointers[3], pointers[4 : 4 + constants], pointers[8 : 8 + sums]
        mask = v.mask(lanes) if vectors == 1 else None

        def at(pointer: Any, offset: Any, k: int) -> Any:
            return b.gep(pointer, [b.add(offset, ir.Constant(i64, k * width))])

        nothing = ir.Constant(i64, 0)
        by_row = task in _PER_ROW
        fixed = [] if by_row else [[v.load(at(p, nothing, k), mask) for p in c] for k in range(vectors)]
        first = [v.load(at(p, nothing, k), mask) for k in range(vectors) for p in s]
        start, loop, end = b.block, b.append_basic_block("rows"), b.append_basic_block("end")
        b.branch(loop)
        b.position_at_end(loop)
        row, offset = b.phi(i64), b.phi(i64)
        row.add_incoming(nothing, start)
        offset.add_incoming(nothing, start)
        totals = []
        for value in first:
            phi = b.phi(v.type)
            phi.add_incoming(value, start)
            totals.append(phi)
        if by_row:
            fixed = [[v.same(b.load(b.gep(p, [row]))) for p in c]] * vectors
        new: list[Any] = []
        for k in range(vectors):
            loaded = [v.load(at(p, offset, k), mask) for p in x]
            result, found = compute(v, loaded, fixed[k], totals[k * sums : (k + 1) * sums])
            if writes:
                v.store(result, at(out, offset, k), mask)
            new += found
        following = b.add(row, ir.Constant(i64, 1))
        row.add_incoming(following, loop)
        offset.add_incoming(b.add(offset, stride), loop)
        for phi, value in zip(totals, new):
            phi.add_incoming(value, loop)
        b.cbranch(b.icmp_signed("<", following, rows), loop, end)
        b.position_at_end(end)
        for i, value in enumerate(new):
            v.store(value, at(s[i % sums], nothing, i // sums), mask)
        return context.get_dummy_value()

    @intrinsic
    def strip(
        context: Any, x0: Any, x1: Any, x2: Any, out: Any, c0: Any, c1: Any, c2: Any, c3: Any, s0: Any, s1: Any,
        rows: Any, stride: Any, lanes: Any,
    ) -> Any:  # fmt: skip
        return numba.types.void(*[numba.types.int64] * 13), code

    return strip


# -- kernels ----------------------------------------------------------------------------------------------------------


@functools.cache
def rows_pass(task: str, kind: str) -> Kernel:
    """The kernel of a pass over x (B, R, C), in blocks of 128 rows, K of them for each b.

    rows_pass(task, kind)(x0, x1, x2, out, c0, c1, c2, c3, s0, s1, start, stop) for blocks start .. stop of B * K.
    Constants are (B or 1, C), sums (B, K, C), which it sets; for arrays that the task does not have, any will do.
    """
    wide, narrow = strip(task, kind, WIDE), strip(task, kind, 1)
    width = lanes(kind)
    size, sums, origin = 4 if kind == "f4" else 8, TASKS[task][3], task == "moments"
    step = WIDE * width

    @kernel(" ".join(["T[:,:,:]"] * 4 + ["T[:,:]"] * 4 + ["T[:,:,:]"] * 2 + ["i8 i8"]), T=kind)
    def over_rows(x0, x1, x2, out, c0, c1, c2, c3, s0, s1, start, stop):
        rows, columns = x0.shape[1], x0.shape[2]
        blocks = (rows + ROWS - 1) // ROWS
        read0, read1, read2, written = address(x0), address(x1), address(x2), address(out)
        into0, into1 = address(s0), address(s1)
        for t in range(start, stop):
            n, k = t // blocks, t % blocks
            count = min(rows - k * ROWS, ROWS)
            first = (n * rows + k * ROWS) * columns * size
            here = (n if len(c0) > 1 else 0) * columns * size
            constant0 = read0 + first if origin else address(c0) + here
            constant1, constant2, constant3 = address(c1) + here, address(c2) + here, address(c3) + here
            sum0, sum1 = into0 + t * columns * size, into1 + t * columns * size
            if sums > 0:
                s0[n, k, :] = 0
            if sums > 1:
                s1[n, k, :] = 0
            for r in range(0, count, _TILE):
                height = min(count - r, _TILE)
                o = first + r * columns * size
                j = 0
                while j < columns:
                    a = j * size
                    if columns - j >= step:
                        wide(
                            read0 + o + a, read1 + o + a, read2 + o + a, written + o + a, constant0 + a,
                            constant1 + a, constant2 + a, constant3 + a, sum0 + a, sum1 + a, height, columns, 0,
                        )  # fmt: skip
                        j += step
                    else:
                        narrow(
                            read0 + o + a, read1 + o + a, read2 + o + a, written + o + a, constant0 + a,
                            constant1 + a, constant2 + a, constant3 + a, sum0 + a, sum1 + a, height, columns,
                            min(columns - j, width),
                        )  # fmt: skip
                        j += width

    return over_rows
