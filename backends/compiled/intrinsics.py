"""What kernels call that Python cannot say: views of NumPy's arrays, bits of floats, and vector code.

Each is a `Lazy` that writes LLVM's intermediate representation when a kernel is compiled. Vectors are written out with
`vector_width()` lanes of float32, since compilers often choose narrower ones than the processor has: 16 with AVX-512, 8
with AVX2, 4 elsewhere. CHAINRULE_VECTOR_WIDTH sets another, for tests.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from .build import _HEADER, Lazy, written

__all__ = [
    "address",
    "bits",
    "call_at",
    "checked",
    "edged_microkernel",
    "from_bits",
    "get",
    "microkernel",
    "move",
    "narrow_microkernel",
    "power_of_two",
    "put",
    "transpose_tile",
    "vector_width",
    "view",
]

#: the symbol at the address of the type numpy.ndarray
NDARRAY = "chainrule_ndarray"
_CONTIGUOUS_AND_ALIGNED = 0x0101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED


@functools.cache
def vector_width() -> int:
    """Lanes of float32 in one of the processor's vectors."""
    given = os.environ.get("CHAINRULE_VECTOR_WIDTH")
    if given:
        return int(given)
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


def _word(builder: Any, base: Any, offset: int) -> Any:
    from llvmlite import ir

    i64 = ir.IntType(64)
    return builder.load(builder.inttoptr(builder.add(base, ir.Constant(i64, offset)), i64.as_pointer()))


@functools.cache
def view(kind: str, dimensions: int) -> Lazy:
    """view(object): the NumPy array at that address, C-contiguous, as numba's array."""

    def build() -> Any:
        import numba
        from llvmlite import ir
        from numba.extending import intrinsic
        from numba.np.arrayobj import make_array, populate_array

        element = numba.from_dtype(np.dtype(kind))
        array = numba.types.Array(element, dimensions, "C")

        @intrinsic
        def view(context: Any, obj: Any) -> Any:
            def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                i64 = ir.IntType(64)
                size = ir.Constant(i64, np.dtype(kind).itemsize)
                data, dims = _word(builder, args[0], _HEADER), _word(builder, args[0], _HEADER + 16)
                shape = [_word(builder, dims, 8 * i) for i in range(dimensions)]
                strides: list[Any] = []
                step = size
                for n in reversed(shape):
                    strides.insert(0, step)
                    step = builder.mul(step, n)
                made = make_array(array)(context, builder)
                pointer = builder.inttoptr(data, context.get_data_type(element).as_pointer())
                populate_array(made, data=pointer, shape=shape, strides=strides, itemsize=size, meminfo=None)
                return made._getvalue()

            return array(numba.types.intp), code

        return view

    return Lazy(("view", kind, dimensions), build)


@functools.cache
def checked(kind: str, dimensions: int) -> Lazy:
    """checked(object): whether this is a NumPy array (no subclass) of this dtype and ndim, C-contiguous and aligned."""

    def build() -> Any:
        import numba
        from llvmlite import ir
        from numba.extending import intrinsic

        number = np.dtype(kind).num

        @intrinsic
        def checked(context: Any, obj: Any) -> Any:
            def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                i32, i64 = ir.IntType(32), ir.IntType(64)
                # id(numpy.ndarray) differs from process to process: a symbol that build.py defines before loading
                kinds = builder.module.globals
                if NDARRAY not in kinds:
                    ir.GlobalVariable(builder.module, ir.IntType(8), NDARRAY)
                kind = builder.ptrtoint(builder.module.globals[NDARRAY], i64)

                def field(base: Any, offset: int, mask: int, value: int) -> Any:
                    at = builder.inttoptr(builder.add(base, ir.Constant(i64, offset)), i32.as_pointer())
                    found = builder.and_(builder.load(at), ir.Constant(i32, mask))
                    return builder.icmp_signed("==", found, ir.Constant(i32, value))

                whole = _CONTIGUOUS_AND_ALIGNED
                is_array = builder.icmp_signed("==", _word(builder, args[0], _HEADER - 8), kind)
                with builder.if_else(is_array, likely=True) as (then, otherwise):
                    with then:
                        descr = _word(builder, args[0], _HEADER + 40)
                        ok = field(args[0], _HEADER + 8, -1, dimensions)
                        ok = builder.and_(ok, field(args[0], _HEADER + 48, whole, whole))
                        ok = builder.and_(ok, field(descr, _HEADER + 12, -1, number))
                        checks = builder.block
                    with otherwise:
                        elsewhere = builder.block
                result = builder.phi(ir.IntType(1))
                result.add_incoming(ok, checks)
                result.add_incoming(ir.Constant(ir.IntType(1), 0), elsewhere)
                return result

            return numba.types.boolean(numba.types.intp), code

        return checked

    return Lazy(("checked", kind, dimensions), build)


def _build_address() -> Any:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic
    from numba.np.arrayobj import make_array

    @intrinsic
    def address(context: Any, array: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = make_array(signature.args[0])(context, builder, value=args[0])
            return builder.ptrtoint(value.data, ir.IntType(64))

        return numba.types.int64(array), code

    return address


#: address(array): the address of the first element
address = Lazy("address", _build_address)


def _build_power_of_two() -> Any:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    @intrinsic
    def power_of_two(context: Any, n: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            i32 = ir.IntType(32)
            bits = builder.shl(builder.add(args[0], ir.Constant(i32, 127)), ir.Constant(i32, 23))
            return builder.bitcast(bits, ir.FloatType())

        return numba.types.float32(numba.types.int32), code

    return power_of_two


#: power_of_two(n): 2^n as a float32 for an int32 from -126 to 127, by its bits
power_of_two = Lazy("power_of_two", _build_power_of_two)


def _build_bits() -> Any:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    @intrinsic
    def bits(context: Any, x: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], ir.IntType(32))

        return numba.types.int32(numba.types.float32), code

    return bits


def _build_from_bits() -> Any:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    @intrinsic
    def from_bits(context: Any, n: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], ir.FloatType())

        return numba.types.float32(numba.types.int32), code

    return from_bits


#: bits(x): the 32 bits of a float32 as an int32
bits = Lazy("bits", _build_bits)
#: from_bits(n): the float32 that has the bits of an int32
from_bits = Lazy("from_bits", _build_from_bits)


@functools.cache
def microkernel(rows: int, vectors: int, width: int | None = None) -> Lazy:
    """The product that convolution, attention and recurrent layers are made of, on a tile of registers.

        C[m, :] = beta C[m, :] + sum_t sum_k A[offset[t] + m rs + k cs] B[t bs + k ldb + :]

    for m < rows, over vectors * width columns, in float32 (a batch-reduce GEMM: Georganas et al. 2020, "Harnessing deep
    learning via a single building block"). The accumulators stay in registers; for each k the vectors of B are loaded,
    and each element of A is broadcast to a fused multiply-add. `rs` and `cs` are the strides of A, so A may be read
    transposed. Arguments, all int64: addresses of A, B, C and of the table of offsets (int64, in elements), number of
    taps t, number of k, rs, cs, ldb, bs, row stride of C (all in elements), beta (0 or 1). Tiles of rows * vectors
    registers and `vectors` + 1 more must fit the processor: at most 28 of 32 with AVX-512, 14 of 16 with AVX2.
    """
    width = width or vector_width()
    return Lazy(("microkernel", rows, vectors, width), lambda: _build_microkernel(rows, vectors, width))


@functools.cache
def edged_microkernel(rows: int, vectors: int, width: int | None = None) -> int:
    """`microkernel` for any number of columns and any start, as the address of a function for `call_at`:

        C[m, :n] = beta S[m, :n] + sum_t sum_k A[offset[t] + m rs + k cs] B[t bs + k ldb + :n]

    Three arguments more: the address of S, its row stride (0 for a bias), and n. Nothing beyond column n of C and S is
    touched; B has whole vectors.
    """
    lanes = width or vector_width()
    what = ("edged microkernel", rows, vectors, lanes)
    return written("tile", what, 15, lambda b, args: _write_microkernel(b, args, rows, vectors, lanes))


@functools.cache
def narrow_microkernel(rows: int, columns: int, width: int | None = None) -> int:
    """`edged_microkernel` for so few columns that they would leave most of a vector empty: vectors lie along k.

    K is a multiple of the width and cs is 1. B holds for each tap the columns one after another, K numbers each.
    """
    lanes = width or vector_width()
    what = ("narrow microkernel", rows, columns, lanes)
    return written("narrow", what, 15, lambda b, args: _write_narrow(b, args, rows, columns, lanes))


def _write_narrow(b: Any, args: Any, rows: int, columns: int, width: int) -> None:
    from llvmlite import ir

    i64, f32 = ir.IntType(64), ir.FloatType()
    vector, pointer = ir.VectorType(f32, width), f32.as_pointer()
    A, B, C, offsets, taps, K, rs, _, _, bs, ldc, beta, S, lds, _ = args
    A, B, C, S = [b.inttoptr(a, pointer) for a in (A, B, C, S)]
    offsets = b.inttoptr(offsets, i64.as_pointer())
    fma = _declared(b.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{width}f32")
    total = _declared(b.module, ir.FunctionType(f32, [f32, vector]), f"llvm.vector.reduce.fadd.v{width}f32")
    places = [(m, j) for m in range(rows) for j in range(columns)]

    def const(n: int) -> Any:
        return ir.Constant(i64, n)

    def load(p: Any) -> Any:
        value = b.load(b.bitcast(p, vector.as_pointer()))
        value.align = 4
        return value

    start = b.block
    outer, inner, end, done = [b.append_basic_block(name) for name in ("tap", "k", "tap_end", "done")]
    b.branch(outer)
    b.position_at_end(outer)
    t = b.phi(i64)
    sums = [b.phi(vector) for _ in places]
    a0 = b.gep(A, [b.load(b.gep(offsets, [t]))])
    lines = [b.gep(a0, [b.mul(const(m), rs)]) for m in range(rows)]
    b0 = b.gep(B, [b.mul(t, bs)])
    panels = [b.gep(b0, [b.mul(const(j), K)]) for j in range(columns)]
    b.branch(inner)
    b.position_at_end(inner)
    k = b.phi(i64)
    acc = [b.phi(vector) for _ in places]
    weights = [load(b.gep(p, [k])) for p in panels]
    values = [load(b.gep(p, [k])) for p in lines]
    new = [b.call(fma, [values[m], weights[j], old]) for (m, j), old in zip(places, acc)]
    following = b.add(k, const(width))
    b.cbranch(b.icmp_signed("<", following, K), inner, end)
    b.position_at_end(end)
    after = b.add(t, const(1))
    b.cbranch(b.icmp_signed("<", after, taps), outer, done)
    for phi, first, next_ in (
        (t, const(0), after),
        *[(p, ir.Constant(vector, [0.0] * width), n) for p, n in zip(sums, new)],
    ):
        phi.add_incoming(first, start)
        phi.add_incoming(next_, end)
    for phi, first, next_ in ((k, const(0), following), *zip(acc, sums, new)):
        phi.add_incoming(first, outer)
        phi.add_incoming(next_, inner)
    b.position_at_end(done)
    found = [b.call(total, [ir.Constant(f32, -0.0), value], fastmath=("reassoc",)) for value in new]
    adding, storing = b.append_basic_block("add"), b.append_basic_block("store")
    b.cbranch(b.icmp_signed("!=", beta, const(0)), adding, storing)
    b.position_at_end(adding)
    added = []
    for (m, j), value in zip(places, found):
        old = b.load(b.gep(S, [b.add(b.mul(const(m), lds), const(j))]))
        old.align = 4
        added.append(b.fadd(value, old))
    b.branch(storing)
    b.position_at_end(storing)
    for (m, j), value, other in zip(places, found, added):
        phi = b.phi(f32)
        phi.add_incoming(value, done)
        phi.add_incoming(other, adding)
        found[m * columns + j] = phi
    for (m, j), value in zip(places, found):
        b.store(value, b.gep(C, [b.add(b.mul(const(m), ldc), const(j))])).align = 4


@functools.cache
def call_at(arguments: int) -> Lazy:
    """call_at(address, ...): a call of a function of so many int64 that returns nothing."""

    def build() -> Any:
        import numba
        from llvmlite import ir
        from numba.extending import intrinsic

        @intrinsic
        def call_at(context: Any, address: Any, rest: Any) -> Any:
            def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
                kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * arguments)
                given = [b.extract_value(args[1], i) for i in range(arguments)]
                b.call(b.inttoptr(args[0], kind.as_pointer()), given)
                return context.get_dummy_value()

            return numba.types.void(numba.types.int64, numba.types.UniTuple(numba.types.int64, arguments)), code

        return call_at

    return Lazy(("call_at", arguments), build)


def _build_microkernel(rows: int, vectors: int, width: int) -> Any:
    import numba
    from numba.extending import intrinsic

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _write_microkernel(builder, args, rows, vectors, width)
        return context.get_dummy_value()

    @intrinsic
    def microkernel(
        context: Any, A: Any, B: Any, C: Any, offsets: Any, taps: Any, K: Any, rs: Any, cs: Any, ldb: Any, bs: Any,
        ldc: Any, beta: Any,
    ) -> Any:  # fmt: skip
        return numba.types.void(*[numba.types.int64] * 12), code

    return microkernel


def _declared(module: Any, kind: Any, name: str) -> Any:
    from llvmlite import ir

    return module.globals[name] if name in module.globals else ir.Function(module, kind, name)


def _write_microkernel(b: Any, args: Any, rows: int, vectors: int, width: int) -> None:
    """Code of the microkernel for 12 arguments, of the edged one for 15."""
    from llvmlite import ir

    i32, i64, f32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
    vector = ir.VectorType(f32, width)
    tile = rows * vectors

    def const(n: int) -> Any:
        return ir.Constant(i64, n)

    A, B, C, offsets, taps, K, rs, cs, ldb, bs, ldc, beta, *edge = args
    edged = bool(edge)
    fma = _declared(b.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{width}f32")
    pointer = f32.as_pointer()
    A, B, C = b.inttoptr(A, pointer), b.inttoptr(B, pointer), b.inttoptr(C, pointer)
    offsets = b.inttoptr(offsets, i64.as_pointer())
    zero, undefined = ir.Constant(vector, [0.0] * width), ir.Constant(vector, ir.Undefined)
    all_zero = ir.Constant(ir.VectorType(i32, width), [0] * width)

    if edged:
        S, lds, n = b.inttoptr(edge[0], pointer), edge[1], edge[2]
        i1 = ir.VectorType(ir.IntType(1), width)
        count = b.insert_element(ir.Constant(all_zero.type, ir.Undefined), b.trunc(n, i32), ir.Constant(i32, 0))
        count = b.shuffle_vector(count, count, all_zero)
        lanes = [ir.Constant(all_zero.type, list(range(v * width, v * width + width))) for v in range(vectors)]
        masks = [b.icmp_signed("<", numbers, count) for numbers in lanes]
        kinds = [vector.as_pointer(), i32, i1]
        read = _declared(
            b.module, ir.FunctionType(vector, [*kinds, vector]), f"llvm.masked.load.v{width}f32.p0v{width}f32"
        )
        write = _declared(
            b.module,
            ir.FunctionType(ir.VoidType(), [vector, *kinds]),
            f"llvm.masked.store.v{width}f32.p0v{width}f32",
        )
    else:
        S, lds = C, ldc

    def load(p: Any) -> Any:
        value = b.load(b.bitcast(p, vector.as_pointer()))
        value.align = 4
        return value

    def phis(kind: Any, values: list[Any], origin: Any) -> list[Any]:
        made = [b.phi(kind) for _ in values]
        for phi, value in zip(made, values):
            phi.add_incoming(value, origin)
        return made

    places = [(m, v) for m in range(rows) for v in range(vectors)]
    sources, targets = [
        [b.gep(base, [b.add(b.mul(const(m), stride), const(v * width))]) for m, v in places]
        for base, stride in ((S, lds), (C, ldc))
    ]
    start = b.block
    reading, outer, inner, end, done = [
        b.append_basic_block(name) for name in ("read_c", "tap", "k", "tap_end", "done")
    ]
    before = b.append_basic_block("before")
    # Whole tiles are read and written without masks: masked writes of what is in no cache take longer.
    first = [(start, [zero] * tile)]
    b.cbranch(b.icmp_signed("!=", beta, const(0)), reading, before)
    b.position_at_end(reading)
    if edged:
        whole = b.icmp_signed(">=", n, const(vectors * width))
        all_of_it, part_of_it = b.append_basic_block("read_whole"), b.append_basic_block("read_part")
        b.cbranch(whole, all_of_it, part_of_it)
        b.position_at_end(part_of_it)
        old = [
            b.call(read, [b.bitcast(p, vector.as_pointer()), ir.Constant(i32, 4), masks[v], zero])
            for p, (_, v) in zip(sources, places)
        ]
        first.append((part_of_it, old))
        b.branch(before)
        b.position_at_end(all_of_it)
    first.append((b.block, [load(p) for p in sources]))
    b.branch(before)
    b.position_at_end(before)
    begins = [b.phi(vector) for _ in places]
    for origin, values in first:
        for phi, value in zip(begins, values):
            phi.add_incoming(value, origin)
    # A's rows in groups of three off one address, p, p + rs, p + 2 rs: more addresses would not fit the registers
    groups = range(0, rows, 3)
    twice = b.mul(const(2), rs)
    b.branch(outer)

    b.position_at_end(outer)
    (t,) = phis(i64, [const(0)], before)
    sums = phis(vector, begins, before)
    a0 = b.gep(A, [b.load(b.gep(offsets, [t]))])
    starts = [b.gep(a0, [b.mul(const(m), rs)]) for m in groups]
    b0 = b.gep(B, [b.mul(t, bs)])
    b.branch(inner)

    b.position_at_end(inner)
    (k,) = phis(i64, [const(0)], outer)
    bases = phis(pointer, starts, outer)
    (at,) = phis(pointer, [b0], outer)
    acc = phis(vector, sums, outer)
    columns = [load(b.gep(at, [const(v * width)])) for v in range(vectors)]
    new = []
    for m in range(rows):
        base, rest = bases[m // 3], m % 3
        a = b.load(b.gep(base, [rs if rest == 1 else twice]) if rest else base)
        a.align = 4
        a = b.shuffle_vector(b.insert_element(undefined, a, ir.Constant(i32, 0)), undefined, all_zero)
        new += [b.call(fma, [a, columns[v], acc[m * vectors + v]]) for v in range(vectors)]
    following = b.add(k, const(1))
    for phi, value in zip([k, *bases, at, *acc], [following, *[b.gep(p, [cs]) for p in bases], b.gep(at, [ldb]), *new]):
        phi.add_incoming(value, inner)
    b.cbranch(b.icmp_signed("<", following, K), inner, end)

    b.position_at_end(end)
    following = b.add(t, const(1))
    for phi, value in zip([t, *sums], [following, *new]):
        phi.add_incoming(value, end)
    b.cbranch(b.icmp_signed("<", following, taps), outer, done)

    b.position_at_end(done)
    if edged:
        written_whole, written_part = b.append_basic_block("write_whole"), b.append_basic_block("write_part")
        end = b.append_basic_block("end")
        b.cbranch(b.icmp_signed(">=", n, const(vectors * width)), written_whole, written_part)
        b.position_at_end(written_part)
        for p, value, (_, v) in zip(targets, new, places):
            b.call(write, [value, b.bitcast(p, vector.as_pointer()), ir.Constant(i32, 4), masks[v]])
        b.branch(end)
        b.position_at_end(written_whole)
    for p, value in zip(targets, new):
        b.store(value, b.bitcast(p, vector.as_pointer())).align = 4
    if edged:
        b.branch(end)
        b.position_at_end(end)


@functools.cache
def transpose_tile(width: int | None = None) -> Lazy:
    """transpose_tile(source, row, target, to): a tile of width x width float32, transposed in registers.

    Addresses of the first elements, and the distances between rows in elements, all int64.
    """
    width = width or vector_width()
    return Lazy(("transpose_tile", width), lambda: _build_transpose_tile(width))


def _build_transpose_tile(width: int) -> Any:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    f32, i32, i64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
    vector = ir.VectorType(f32, width)
    lanes = range(width)

    def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
        source, row, target, to = args

        def place(base: Any, step: Any, i: int) -> Any:
            at = b.gep(b.inttoptr(base, f32.as_pointer()), [b.mul(ir.Constant(i64, i), step)])
            return b.bitcast(at, vector.as_pointer())

        def mixed(x: Any, y: Any, picks: list[int]) -> Any:
            return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(i32, width), picks))

        rows = []
        for i in lanes:
            rows.append(b.load(place(source, row, i)))
            rows[-1].align = 4
        # for each bit d of an index, lanes with d set change places with rows with d set
        d = 1
        while d < width:
            new = list(rows)
            for i in lanes:
                if not i & d:
                    x, y = rows[i], rows[i + d]
                    new[i] = mixed(x, y, [j if not j & d else width + j - d for j in lanes])
                    new[i + d] = mixed(x, y, [j + d if not j & d else width + j for j in lanes])
            rows, d = new, 2 * d
        for i in lanes:
            b.store(rows[i], place(target, to, i)).align = 4
        return context.get_dummy_value()

    @intrinsic
    def transpose_tile(context: Any, source: Any, row: Any, target: Any, to: Any) -> Any:
        return numba.types.void(*[numba.types.int64] * 4), code

    return transpose_tile


def _build_move() -> Any:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    @intrinsic
    def move(context: Any, source: Any, target: Any) -> Any:
        def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
            pointer = ir.VectorType(ir.FloatType(), vector_width()).as_pointer()
            value = b.load(b.inttoptr(args[0], pointer))
            value.align = 4
            b.store(value, b.inttoptr(args[1], pointer)).align = 4
            return context.get_dummy_value()

        return numba.types.void(numba.types.int64, numba.types.int64), code

    return move


#: move(source, target): one vector of float32, between addresses
move = Lazy(("move", vector_width()), _build_move)


@functools.cache
def grid_map(matrix: tuple[tuple[float, ...], ...], shift: bool = False, width: int | None = None) -> Lazy:
    """A constant linear map of both directions of a square grid of vectors: D = M S M^T (+ b), as Winograd's need it.

    S is a grid of n x n vectors of `width` float32, M the matrix of m x n numbers, D a grid of m x m vectors. All
    arguments are int64: address of S, its strides along both directions (in elements), address of D, its strides; with
    `shift` the address of the vector b. Rows that differ in signs only, as those of points p and -p, share products.
    """
    width = width or vector_width()
    return Lazy(("grid_map", matrix, shift, width), lambda: _build_grid_map(matrix, shift, width))


def _pairs(matrix: tuple[tuple[float, ...], ...]) -> list[tuple[int, int | None]]:
    """The rows (i, j) that are e + o and e - o for some e and o without common columns; (i, None) for the others."""
    free, found = list(range(len(matrix))), []
    while free:
        i = free.pop(0)
        j = next((j for j in free if all(abs(a) == abs(b) for a, b in zip(matrix[i], matrix[j]))), None)
        same = j is not None and any(a == b != 0 for a, b in zip(matrix[i], matrix[j]))
        other = j is not None and any(a == -b != 0 for a, b in zip(matrix[i], matrix[j]))
        if j is not None and same and other:
            free.remove(j)
        found.append((i, j if same and other else None))
    return found


def _build_grid_map(matrix: tuple[tuple[float, ...], ...], shift: bool, width: int) -> Any:
    import numba
    from llvmlite import ir
    from numba.core import cgutils
    from numba.extending import intrinsic

    i64, f32 = ir.IntType(64), ir.FloatType()
    vector = ir.VectorType(f32, width)
    outputs, inputs, pairs = len(matrix), len(matrix[0]), _pairs(matrix)

    def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
        source, down, right, target, target_down, target_right = args[:6]
        source, target = [b.inttoptr(p, f32.as_pointer()) for p in (source, target)]
        fma = cgutils.get_or_insert_function(b.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{width}f32")

        def at(base: Any, y: int, x: int, down: Any, right: Any) -> Any:
            offset = b.add(b.mul(ir.Constant(i64, y), down), b.mul(ir.Constant(i64, x), right))
            return b.bitcast(b.gep(base, [offset]), vector.as_pointer())

        def load(pointer: Any) -> Any:
            value = b.load(pointer)
            value.align = 4
            return value

        def plus(total: Any, factor: float, value: Any) -> Any:
            """total + factor * value."""
            if total is None:
                return value if factor == 1 else b.fmul(value, ir.Constant(vector, [factor] * width))
            if factor in (1, -1):
                return b.fadd(total, value) if factor == 1 else b.fsub(total, value)
            return b.call(fma, [value, ir.Constant(vector, [factor] * width), total])

        def sum_of(terms: list[tuple[float, Any]]) -> Any:
            total = None
            for factor, value in sorted(terms, key=lambda term: term[0] != 1):
                total = plus(total, factor, value)
            return total

        def applied(values: list[Any]) -> list[Any]:
            out: list[Any] = [None] * outputs
            for i, j in pairs:
                row = [(factor, value) for factor, value in zip(matrix[i], values) if factor]
                if j is None:
                    out[i] = sum_of(row)
                    continue
                odd = [a != c for a, c in zip(matrix[i], matrix[j])]
                even_terms = [(f, v) for f, v, o in zip(matrix[i], values, odd) if f and not o]
                odd_terms = [(f, v) for f, v, o in zip(matrix[i], values, odd) if f and o]
                scale = odd_terms[0][0]
                even = sum_of(even_terms)
                rest = sum_of([(f / scale, v) for f, v in odd_terms])
                out[i], out[j] = plus(even, scale, rest), plus(even, -scale, rest)
            return out

        columns = [applied([load(at(source, y, x, down, right)) for y in range(inputs)]) for x in range(inputs)]
        bias = load(b.bitcast(b.inttoptr(args[6], f32.as_pointer()), vector.as_pointer())) if shift else None
        for y in range(outputs):
            for x, value in enumerate(applied([column[y] for column in columns])):
                value = b.fadd(value, bias) if shift else value
                b.store(value, at(target, y, x, target_down, target_right)).align = 4
        return context.get_dummy_value()

    if shift:

        @intrinsic
        def grid_map(context: Any, S: Any, sy: Any, sx: Any, D: Any, dy: Any, dx: Any, bias: Any) -> Any:
            return numba.types.void(*[numba.types.int64] * 7), code

    else:

        @intrinsic
        def grid_map(context: Any, S: Any, sy: Any, sx: Any, D: Any, dy: Any, dx: Any) -> Any:
            return numba.types.void(*[numba.types.int64] * 6), code

    return grid_map


def _build_element(storing: bool) -> Any:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    pointer = ir.FloatType().as_pointer()
    f4, i8 = numba.types.float32, numba.types.int64
    if storing:

        @intrinsic
        def put(context: Any, at: Any, value: Any) -> Any:
            def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
                b.store(args[1], b.inttoptr(args[0], pointer)).align = 4
                return context.get_dummy_value()

            return numba.types.void(i8, f4), code

        return put

    @intrinsic
    def get(context: Any, at: Any) -> Any:
        def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
            value = b.load(b.inttoptr(args[0], pointer))
            value.align = 4
            return value

        return f4(i8), code

    return get


#: get(address): the float32 there; put(address, value)
get, put = Lazy("get", lambda: _build_element(False)), Lazy("put", lambda: _build_element(True))
