"""Matrix products on the registers' tile (intrinsics.microkernel), blocked for the caches as in Goto and van de Geijn
2008, "Anatomy of high-performance matrix multiplication".

    C = A B + bias, float32; A and B each as they stand or transposed

A block of B (KC x NC) is packed into panels as wide as the tile, zeros behind its last column, and stays in the second
cache; blocks of A are copied to rows whose distance is no power of two, and stay there beside it. Both copies are of
whole runs of memory, except for a transposed B, which goes through tiles in registers.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np

from .build import inlined, kernel
from .intrinsics import address, call_at, edged_microkernel, get, move, transpose_tile, vector_width
from .listed import own
from .pool import run, threads, worth

__all__ = ["PANEL", "ROWS", "aligned", "panels", "product", "scratch", "tiles_of", "transposed_panels"]

_WIDTH = vector_width()
#: the tile: rows, and vectors in a row; with its B vectors it fills the registers
ROWS, VECTORS = {16: (12, 2), 8: (6, 2)}.get(_WIDTH, (4, 2))
PANEL = VECTORS * _WIDTH
KC, NC, MC = 256, 16 * PANEL, 8 * ROWS
#: distance of A's copied rows: no multiple of the first cache's 4096 bytes
ROW = KC + 16
COLUMN = MC + 16
_PACKED, _COPIED = NC * KC, max(MC * ROW, KC * COLUMN)
#: multiplications that are worth a second thread; 3 million gained 4 microseconds at best, lost 20 on a busy machine
_LEAST = 1 << 22

_transpose, _call = transpose_tile(), call_at(15)
_local = threading.local()


@inlined
def panels(source, step, rows, columns, packed):
    """A matrix (rows, columns) with `step` floats from row to row, as panels of `rows`, zeros behind the columns."""
    for p in range((columns + PANEL - 1) // PANEL):
        first = p * PANEL
        base, width = p * rows * PANEL, min(PANEL, columns - first)
        for i in range(rows):
            a, b = source + 4 * (i * step + first), address(packed) + 4 * (base + i * PANEL)
            if width == PANEL:
                for j in range(0, PANEL, _WIDTH):
                    move(a + 4 * j, b + 4 * j)
            else:
                for j in range(width):
                    packed[base + i * PANEL + j] = get(a + 4 * j)
                for j in range(width, PANEL):
                    packed[base + i * PANEL + j] = 0


@inlined
def transposed_panels(source, step, rows, columns, packed):
    """The transpose of a matrix (rows, columns) as panels (columns, PANEL), zeros behind the rows."""
    whole = columns // _WIDTH * _WIDTH
    for p in range((rows + PANEL - 1) // PANEL):
        first = p * PANEL
        base, width = p * columns * PANEL, min(PANEL, rows - first)
        for j in range(0, PANEL, _WIDTH):
            if j + _WIDTH <= width:
                for k in range(0, whole, _WIDTH):
                    _transpose(
                        source + 4 * ((first + j) * step + k), step, address(packed) + 4 * (base + k * PANEL + j), PANEL
                    )
                for k in range(whole, columns):
                    for i in range(j, j + _WIDTH):
                        packed[base + k * PANEL + i] = get(source + 4 * ((first + i) * step + k))
            else:
                for i in range(j, j + _WIDTH):
                    at = source + 4 * (first + i) * step
                    for k in range(columns):
                        packed[base + k * PANEL + i] = get(at + 4 * k) if i < width else np.float32(0)


@inlined
def _copy(A, copied, transposed, i0, rows, k0, depth):
    """A[i0 : i0 + rows, k0 : k0 + depth], in the order in which it lies."""
    lines, run, first, second, to = rows, depth, i0, k0, ROW
    if transposed:
        lines, run, first, second, to = depth, rows, k0, i0, COLUMN
    step, whole = A.shape[1], run // _WIDTH * _WIDTH
    for i in range(lines):
        source, target = address(A) + 4 * ((first + i) * step + second), address(copied) + 4 * i * to
        for k in range(0, whole, _WIDTH):
            move(source + 4 * k, target + 4 * k)
        for k in range(whole, run):
            copied[i * to + k] = A[first + i, second + k]


@kernel("f4[:,:] f4[:,:] f4[:,:] f4[:] f4[:] i8[:] i8 i8 i8 i8 i8 i8")
def _gemm(A, B, C, bias, memory, tiles, transposed_a, transposed_b, m0, m1, n0, n1):
    depth = A.shape[0] if transposed_a else A.shape[1]
    packed, copied = memory[:_PACKED], memory[_PACKED : _PACKED + _COPIED]
    N = C.shape[1]
    rs, cs = (1, COLUMN) if transposed_a else (ROW, 1)
    if depth == 0:
        for i in range(m0, m1):
            for j in range(n0, n1):
                C[i, j] = bias[j] if bias.size else 0
    for j0 in range(n0, n1, NC):
        columns = min(NC, n1 - j0)
        for k0 in range(0, depth, KC):
            kc = min(KC, depth - k0)
            if transposed_b:
                transposed_panels(address(B) + 4 * (j0 * B.shape[1] + k0), B.shape[1], columns, kc, packed)
            else:
                panels(address(B) + 4 * (k0 * B.shape[1] + j0), B.shape[1], kc, columns, packed)
            for i0 in range(m0, m1, MC):
                rows = min(MC, m1 - i0)
                _copy(A, copied, transposed_a, i0, rows, k0, kc)
                # the rows are shared out evenly over tiles
                count = (rows + ROWS - 1) // ROWS
                high = (rows + count - 1) // count
                high_ones = rows - count * (high - 1)
                for p in range((columns + PANEL - 1) // PANEL):
                    j = j0 + p * PANEL
                    source, target = address(copied), address(C) + 4 * (i0 * N + j)
                    for i in range(count):
                        n = high if i < high_ones else high - 1
                        begin, step = (target, N) if k0 else (address(bias) + 4 * j, 0)
                        _call(
                            tiles[n],
                            (
                                source,
                                address(packed) + 4 * p * kc * PANEL,
                                target,
                                address(tiles),
                                1,
                                kc,
                                rs,
                                cs,
                                PANEL,
                                0,
                                N,
                                1 if k0 or bias.size else 0,
                                begin,
                                step,
                                min(PANEL, j0 + columns - j),
                            ),
                        )
                        source += 4 * n * rs
                        target += 4 * n * N


@lru_cache(maxsize=256)
def tiles_of(heights: frozenset[int]) -> Any:
    """At n the code of a tile of n rows, for those that blocks of these heights are shared out over; at 0 a 0.

    Tiles of 11 and 10 rows take 32 rows without waste, and two threads 32 of 64 each.
    """
    table = np.zeros(ROWS + 1, np.int64)
    for rows in heights:
        count = -(-rows // ROWS)
        high = -(-rows // count)
        for n in (high, high - 1) if rows < high * count else (high,):
            table[n] = edged_microkernel(n, VECTORS)
    return table


def scratch(size: int) -> Any:
    """`size` float32 of this thread's own, at an address that vectors like; the same memory from call to call."""
    mine = own(_local)
    found = getattr(mine, "memory", None)
    if found is None or found.size < size:
        found = mine.memory = aligned(size)
    return found


def aligned(size: int) -> Any:
    """`size` float32 zeros that begin where a line of the cache does."""
    raw = np.zeros(size + 16, np.float32)
    start = (-raw.__array_interface__["data"][0] // 4) % 16
    return raw[start : start + size]


_NONE = np.empty(0, np.float32)


def _piece(
    a: Any, b: Any, out: Any, bias: Any, transposed_a: int, transposed_b: int, m0: int, m1: int, *n: int
) -> None:
    rows = m1 - m0
    tiles = tiles_of(frozenset(h for h in (min(rows, MC), rows % MC) if h))
    _gemm(a, b, out, bias, scratch(_PACKED + _COPIED), tiles, transposed_a, transposed_b, m0, m1, *n)


def product(a: Any, b: Any, out: Any, transposed_a: int, transposed_b: int, bias: Any = _NONE) -> Any:
    """out = a b + bias, of C-contiguous float32 matrices, where `transposed_a` (or b) says that aᵀ stands for a."""
    m, n = out.shape
    k = a.shape[0] if transposed_a else a.shape[1]
    count = min(threads(), 1 + m * n * k // worth(_LEAST))
    if count == 1:
        pieces = [(0, m, 0, n)]
    elif n > m:  # each thread prepares its part of the larger factor, and all of the other
        step = -(-n // (PANEL * count)) * PANEL
        pieces = [(0, m, j, min(j + step, n)) for j in range(0, n, step)]
    else:
        step = -(-m // count)
        pieces = [(i, min(i + step, m), 0, n) for i in range(0, m, step)]
    run(_piece, [(a, b, out, bias, transposed_a, transposed_b, *p) for p in pieces])
    return out
