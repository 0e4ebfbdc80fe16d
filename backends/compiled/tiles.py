"""The vector code of depthwise and grouped convolutions (depthwise.py): sums over taps, and over positions.

Both are told by tables where the taps of a kernel lie, so that kernel, dilation and borders are the same to them. An
element of the input is a vector over channels; or, `broadcast`, one number for a vector of outputs.
"""

from __future__ import annotations

import functools
from typing import Any

from .build import Lazy
from .intrinsics import vector_width

__all__ = ["over_positions", "over_taps", "spread"]


class _Writer:
    """Helps to write vector code with llvmlite's builder."""

    def __init__(self, builder: Any, width: int) -> None:
        from llvmlite import ir
        from numba.core import cgutils

        self.b, self.ir, self.width = builder, ir, width
        self.i64, self.i32, self.f32 = ir.IntType(64), ir.IntType(32), ir.FloatType()
        self.vector = ir.VectorType(self.f32, width)
        self.fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.vector, [self.vector] * 3), f"llvm.fma.v{width}f32"
        )
        self.zero = ir.Constant(self.vector, [0.0] * width)

    def const(self, n: int) -> Any:
        return self.ir.Constant(self.i64, n)

    def moved(self, p: Any, elements: Any) -> Any:
        """The address (an int64) so many float32 further."""
        return self.b.add(p, self.b.mul(elements, self.const(4)))

    def load(self, p: Any, lanes: int | None = None) -> Any:
        kind = self.ir.VectorType(self.f32, lanes or self.width)
        value = self.b.load(self.b.inttoptr(p, kind.as_pointer()))
        value.align = 4
        return value

    def load_all_alike(self, p: Any) -> Any:
        """One number in all lanes."""
        value = self.b.load(self.b.inttoptr(p, self.f32.as_pointer()))
        value.align = 4
        undefined = self.ir.Constant(self.vector, self.ir.Undefined)
        one = self.b.insert_element(undefined, value, self.ir.Constant(self.i32, 0))
        return self.b.shuffle_vector(
            one, undefined, self.ir.Constant(self.ir.VectorType(self.i32, self.width), [0] * self.width)
        )

    def store(self, value: Any, p: Any) -> None:
        self.b.store(value, self.b.inttoptr(p, self.vector.as_pointer())).align = 4

    def number(self, table: Any, at: Any) -> Any:
        """table[at], int64."""
        return self.b.load(self.b.inttoptr(self.b.add(table, self.b.mul(at, self.const(8))), self.i64.as_pointer()))

    def loop(self, count: Any, start: list[Any], body: Any) -> list[Any]:
        """`body(i, *values)` for i < count, from the values `start` on: the last values."""
        b = self.b
        before, inside, after = b.block, b.append_basic_block("loop"), b.append_basic_block("after")
        b.cbranch(b.icmp_signed(">", count, self.const(0)), inside, after)
        b.position_at_end(inside)
        i = b.phi(self.i64)
        values = [b.phi(v.type) for v in start]
        new = body(i, *values)
        following, end = b.add(i, self.const(1)), b.block
        for phi, first, last in zip([i, *values], [self.const(0), *start], [following, *new]):
            phi.add_incoming(first, before)
            phi.add_incoming(last, end)
        b.cbranch(b.icmp_signed("<", following, count), inside, after)
        b.position_at_end(after)
        results = [b.phi(v.type) for v in start]
        for phi, first, last in zip(results, start, new):
            phi.add_incoming(first, before)
            phi.add_incoming(last, end)
        return results

    def cases(self, value: Any, most: int, write: Any) -> None:
        """`write(n)` where value == n, for n from 1 to `most`."""
        b = self.b
        after = b.append_basic_block("after")
        switch = b.switch(value, after)
        for n in range(1, most + 1):
            block = b.append_basic_block(f"case{n}")
            switch.add_case(self.const(n), block)
            b.position_at_end(block)
            write(n)
            b.branch(after)
        b.position_at_end(after)


def _intrinsic(arguments: int, write: Any, width: int) -> Any:
    """An intrinsic of so many int64 that returns nothing."""
    import numba
    from numba.extending import intrinsic

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write(_Writer(builder, width), *args)
        return context.get_dummy_value()

    names = ", ".join(f"a{i}" for i in range(arguments))
    namespace: dict[str, Any] = {"signature": numba.types.void(*[numba.types.int64] * arguments), "code": code}
    exec(f"def tile(context, {names}):\n    return signature, code", namespace)
    return intrinsic(namespace["tile"])


@functools.cache
def over_taps(broadcast: bool) -> Lazy:
    """y[m] = bias + sum_t x[table[2 t] + m step] w[table[2 t + 1]] for m < rows <= 8: vectors, `apart` elements apart.

    Arguments, all int64: rows, addresses of x, w, y, bias, table (int64, in elements), number of taps t, step, apart.
    """
    width = vector_width()

    def write(c: Any, rows: Any, x: Any, w: Any, y: Any, bias: Any, table: Any, taps: Any, by: Any, apart: Any) -> None:
        b = c.b
        start, by = c.load(bias), b.mul(by, c.const(4))

        def case(n: int) -> None:
            moves = [b.mul(c.const(m), by) for m in range(n)]

            def body(t: Any, *sums: Any) -> list[Any]:
                t = b.mul(t, c.const(2))
                at = c.moved(x, c.number(table, t))
                weight = c.load(c.moved(w, c.number(table, b.add(t, c.const(1)))))
                read = c.load_all_alike if broadcast else c.load
                return [b.call(c.fma, [read(b.add(at, move)), weight, s]) for move, s in zip(moves, sums)]

            for m, value in enumerate(c.loop(taps, [start] * n, body)):
                c.store(value, c.moved(y, b.mul(c.const(m), apart)))

        c.cases(rows, 8, case)

    return Lazy(("over_taps", broadcast, width), lambda: _intrinsic(9, write, width))


@functools.cache
def over_positions(broadcast: bool) -> Lazy:
    """w[table[2 t + 1]] += sum_q x[table[2 t] + q step] g[q] for t < taps <= 9: n vectors g, `apart` elements apart.

    Arguments, all int64: taps, addresses of x, g, w, table (int64, in elements), n, step, apart.
    """
    width = vector_width()

    def write(c: Any, taps: Any, x: Any, g: Any, w: Any, table: Any, n: Any, by: Any, apart: Any) -> None:
        b = c.b
        by, away = b.mul(by, c.const(4)), b.mul(apart, c.const(4))

        def case(count: int) -> None:
            moves = [b.mul(c.number(table, c.const(2 * t)), c.const(4)) for t in range(count)]

            def body(q: Any, at: Any, grad: Any, *sums: Any) -> list[Any]:
                value = c.load(grad)
                read = c.load_all_alike if broadcast else c.load
                new = [b.call(c.fma, [read(b.add(at, move)), value, s]) for move, s in zip(moves, sums)]
                return [b.add(at, by), b.add(grad, away), *new]

            _, _, *sums = c.loop(n, [x, g, *[c.zero] * count], body)
            for t, total in enumerate(sums):
                target = c.moved(w, c.number(table, c.const(2 * t + 1)))
                c.store(b.fadd(c.load(target), total), target)

        c.cases(taps, 9, case)

    return Lazy(("over_positions", broadcast, width), lambda: _intrinsic(8, write, width))


@functools.cache
def spread(terms: int, lanes: int) -> Lazy:
    """For n pixels `apart` elements: `terms` vectors each, lane l of vector i is number (l // lanes) terms + i.

    That is the input of outputs in groups of `lanes`, each of which reads the `terms` numbers of its group. Arguments,
    all int64: addresses of the numbers and of the vectors (one after the other), n, apart.
    """
    width = vector_width()

    def write(c: Any, source: Any, target: Any, n: Any, apart: Any) -> None:
        b = c.b
        away, size = b.mul(apart, c.const(4)), c.const(4 * terms * width)
        mask = c.ir.VectorType(c.i32, width)

        def body(q: Any, read: Any, to: Any) -> list[Any]:
            value = c.load(read, width // lanes * terms)
            for i in range(terms):
                chosen = c.ir.Constant(mask, [lane // lanes * terms + i for lane in range(width)])
                c.store(b.shuffle_vector(value, value, chosen), b.add(to, c.const(4 * i * width)))
            return [b.add(read, away), b.add(to, size)]

        c.loop(n, [source, target], body)

    return Lazy(("spread", terms, lanes, width), lambda: _intrinsic(4, write, width))
