"""Convolutions with a 3 x 3 kernel by Winograd's minimal filtering: a quarter of the multiplications.

F(m x m, 3 x 3) makes a tile of m x m outputs from (m + 2)^2 inputs and as many products for each pair of channels:

    Y = A^T [ (G g G^T) * (B^T d B) ] A        summed over the input channels before the last map

(Winograd 1980; Lavin and Gray 2016, "Fast algorithms for convolutional neural networks".) Over many tiles and channels
the product in brackets is (m + 2)^2 matrix products. For m = 4 they have a quarter of the multiplications of the
convolution itself, for m = 2 four ninths. The gradient for the input is the same with the kernel mirrored and its
channels exchanged; the one for the weight is G^T [ sum over tiles of (A dy A^T) * (B^T d B) ] G.

The usual points for m = 4, 0, 1, -1, 2, -2, make the largest error five times that of `POINTS`, which are among the
best, and whose A and B are exact in float32. Largest error against float64, over the standard deviation of the result,
for 64 to 512 channels:

    result                  F(4x4) 2e-5     F(2x2) 4e-6     direct sums 1e-6 to 1.1e-5, by their order
    gradient for the input  F(4x4) 3e-5     F(2x2) 4.5e-6   direct sums 1.7e-6 to 1.1e-5
    gradient for the weight F(4x4) 2.7e-5   F(2x2) 1e-5     direct sums 2.1e-5 (32 x 32 x 32 positions)

So F(4x4) is the default, where it is the cheapest; backends/mkldnn.py has a switch.

An infinity or NaN in the input makes its tile's outputs NaN, where sums of products would keep it to nine of them.

Arrays are channels last, and a vector holds that many channels of one pixel. Tiles are mapped and multiplied in blocks
that stay in the cache. Tiles at the border are read and written by way of a small zeroed copy, so any size and padding
will do; channels beyond a whole vector likewise.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import mkldnn
from ..numpy.memory import empty
from .build import inlined, kernel
from .intrinsics import address, grid_map, microkernel, move, transpose_tile, vector_width
from .listed import contiguous, do
from .pool import run, threads

__all__ = ["forward", "input_gradient", "matrices", "weight_gradient"]

f4 = np.float32
_FLOAT32 = np.dtype(np.float32)
#: interpolation points besides 0 and infinity, as p for the pair p and -p
POINTS = {2: (1.0,), 4: (0.625, 1.5)}
#: rows of a panel of weights that are multiplied at a time: they stay in the first-level cache
CHUNK = 256
#: rows of a panel of weights that are mapped at a time, where they are mapped for each panel anew
DEPTH = 128
#: tiles that a thread maps and multiplies at a time
BLOCK = 112
#: largest gradient of mapped weights, in elements, that each thread keeps its own sum of
SUMS = 3 << 18
#: largest mapped weight, in elements, that is made once and kept; a larger one is mapped where it is needed
KEPT = 1 << 20
#: elements of mapped tiles at a time, where threads share them
MAPPED = 2 << 20
#: multiplications that are worth a thread
LEAST = 1 << 22


@functools.cache
def matrices(m: int) -> Any:
    """A^T (m, m + 2), G (m + 2, 3) and B^T (m + 2, m + 2) of F(m, 3), as tuples of rows of numbers.

    From polynomials through `POINTS`, as Toom and Cook multiply them: A and G evaluate, B interpolates.
    """
    points = [0.0] + [sign * p for p in POINTS[m] for sign in (1.0, -1.0)]
    n = len(points)
    at, g, bt = np.zeros((m, n + 1)), np.zeros((n + 1, 3)), np.zeros((n + 1, n + 1))
    for j, p in enumerate(points):
        others = [q for i, q in enumerate(points) if i != j]
        at[:, j] = [p**i for i in range(m)]
        g[j] = [p**i / np.prod([p - q for q in others]) for i in range(3)]
        bt[j, :n] = np.poly(others)[::-1]
    at[m - 1, n] = g[n, 2] = 1
    bt[n] = np.poly(points)[::-1]
    at, g, bt = at + 0.0, g + 0.0, bt + 0.0  # no negative zeros
    return tuple(tuple(tuple(map(float, row)) for row in matrix) for matrix in (at, g, bt))


def _turned(matrix: Any) -> Any:
    return tuple(zip(*matrix))


@inlined
def odd(n):
    """n floats and what is missing to an odd number of cache lines: rows that far apart share no set of the cache."""
    return ((n + 15) // 16 | 1) * 16


@functools.cache
def _parts(m: int, width: int) -> Any:
    """What the kernels below are made of, for tiles of m x m outputs and vectors of `width` channels."""
    a, W, N = m + 2, width, 2 * width
    T = -(-9 // width)
    at, g, bt = matrices(m)
    weigh = grid_map(g, width=width)
    BIG, SMALL = (14, 4) if width == 16 else (6, 2)
    big, small = microkernel(BIG, 2, width), microkernel(SMALL, 2, width)
    transpose = transpose_tile(width)

    @inlined
    def product(A, rs, cs, B, C, ldc, rows, K, beta, zero):
        """C = beta C + A B for a panel B of 2 vectors of columns; rows are made up to a multiple of SMALL."""
        while rows > BIG - SMALL:
            big(A, B, C, zero, 1, K, rs, cs, N, 0, ldc, beta)
            A, C, rows = A + 4 * BIG * rs, C + 4 * BIG * ldc, rows - BIG
        while rows > 0:
            small(A, B, C, zero, 1, K, rs, cs, N, 0, ldc, beta)
            A, C, rows = A + 4 * SMALL * rs, C + 4 * SMALL * ldc, rows - SMALL

    @inlined
    def fetch(x, y0, x0, size, grid, depth, zero):
        """A square of pixels of x (H, W, C) from (y0, x0), as grid (size, size, depth): zero outside of x."""
        H, width, C = x.shape
        X, D = address(x), address(grid)
        for i in range(size):
            for j in range(size):
                to = (i * size + j) * depth
                inside = 0 <= y0 + i < H and 0 <= x0 + j < width
                if not inside:
                    for c in range(0, depth, W):
                        move(zero, D + 4 * (to + c))
                elif depth == C:
                    source = X + 4 * ((y0 + i) * width + x0 + j) * C
                    for c in range(0, C, W):
                        move(source + 4 * c, D + 4 * (to + c))
                else:
                    pixel, line = x[y0 + i, x0 + j], grid[to : to + depth]
                    for c in range(len(pixel)):
                        line[c] = pixel[c]

    @inlined
    def weights(w, base, sl, sr, sh, sw, lanes, rows, first, last, panel, U, dy, dx, stage):
        """Rows first .. last of a panel of G g G^T at address U: lane j of row r has its kernel at base + j sl + r sr.

        `sh` and `sw` are the kernel's strides, negative where it is mirrored. Lanes beyond `lanes` are zero.
        """
        whole = sw == 1 and sh == 3 and sr == 9 and sl == 9 * rows
        mirrored = sw == -1 and sh == -3 and sl == 9 and sr == 9 * lanes
        W0, S = address(w), address(stage)
        for half in range(0, N, W):
            lane = panel * N + half
            n = max(0, min(W, lanes - lane))
            for r in range(first, last):
                here, of_block = base + lane * sl + r * sr, (r - first) % W
                source, down, right, turned = S, 3 * W, W, 0
                if n == W and sl == 1:
                    source, down, right = W0 + 4 * here, sh, sw
                elif n == W and whole and last - r + of_block >= W:  # W rows at a time
                    turned, source = 0 if of_block else 9, S + 36 * of_block * W
                elif n == W and mirrored and r < rows - 1:  # whole vectors reach beyond the row, into the next
                    turned, source, down, right = T, S + 32 * W, -3 * W, -W
                else:
                    for k in range(9):
                        line = stage[k * W : (k + 1) * W]
                        for j in range(W):
                            line[j] = w[here + j * sl + k // 3 * sh + k % 3 * sw] if j < n else f4(0)
                for i in range(turned):
                    corner = here + i * W - (8 if mirrored else 0)
                    transpose(W0 + 4 * corner, sl, S + 4 * i * W * W, W)
                weigh(source, down, right, U + 4 * ((r - first) * N + half), dy, dx)

    def spreader(mapping, size):
        """The map of square tiles of x of a given size, one to each m x m outputs."""

        @inlined
        def spread(x, V, row, panel, position, grid, zero, top, left, down, across, start, stop):
            """Tiles start .. stop to V: tile t is at t * row, panel c // N of channels at a distance of `panel`."""
            _, H, width, C = x.shape
            depth = C if C % W == 0 else odd(C)
            X, D = address(x), address(grid)
            for t in range(start, stop):
                n, rest = t // (down * across), t % (down * across)
                y0, x0 = rest // across * m - top, rest % across * m - left
                if y0 >= 0 and x0 >= 0 and y0 + size <= H and x0 + size <= width and depth == C:
                    source, sy, sx = X + 4 * ((n * H + y0) * width + x0) * C, width * C, C
                else:
                    fetch(x[n], y0, x0, size, grid, depth, zero)
                    source, sy, sx = D, size * depth, depth
                target = V + 4 * (t - start) * row
                for c in range(0, C, W):
                    mapping(source + 4 * c, sy, sx, target + 4 * (c // N * panel + c % N), a * position, position)

        return spread

    return product, spreader(grid_map(bt, width=width), a), spreader(grid_map(_turned(at), width=width), m), weights


@functools.cache
def _turn(width: int) -> Any:
    W = width
    transpose = transpose_tile(width)

    @kernel("f4[:,:,:] f4[:,:,:] i8 i8")
    def winograd_turn(x, y, start, stop):
        """Samples start .. stop of x (N, C, pixels) as y (N, pixels, C)."""
        _, C, S = x.shape
        for n in range(start, stop):
            X, Y = address(x) + 4 * n * C * S, address(y) + 4 * n * C * S
            for s in range(0, S, W):
                for c in range(0, C, W):
                    if c + W <= C and s + W <= S:
                        transpose(X + 4 * (c * S + s), S, Y + 4 * (s * C + c), C)
                    else:
                        for i in range(s, min(s + W, S)):
                            for j in range(c, min(c + W, C)):
                                y[n, i, j] = x[n, j, i]

    return winograd_turn


@functools.cache
def _forward_kernels(m: int, width: int) -> Any:
    a, W, N = m + 2, width, 2 * width
    P = a * a
    outward = grid_map(matrices(m)[0], True, width)
    product, spread, _, weights = _parts(m, width)

    @inlined
    def collect(M, row, position, y, grid, bias, down, across, start, stop, first, last):
        """A^T M A + bias of tiles start .. stop into channels first .. last of y; M begins with channel `first`."""
        _, H, width, O = y.shape
        Y, D, b = address(y), address(grid), address(bias)
        depth = odd(last - first)
        for t in range(start, stop):
            n, rest = t // (down * across), t % (down * across)
            y0, x0 = rest // across * m, rest % across * m
            source = M + 4 * (t - start) * row
            if y0 + m <= H and x0 + m <= width and (last - first) % W == 0:
                target = Y + 4 * (((n * H + y0) * width + x0) * O + first)
                for o in range(0, last - first, W):
                    outward(source + 4 * o, a * position, position, target + 4 * o, width * O, O, b + 4 * (first + o))
            else:
                for o in range(0, last - first, W):
                    outward(source + 4 * o, a * position, position, D + 4 * o, m * depth, depth, b + 4 * (first + o))
                for i in range(min(m, H - y0)):
                    for j in range(min(m, width - x0)):
                        pixel = grid[(i * m + j) * depth : (i * m + j) * depth + last - first]
                        to = y[n, y0 + i, x0 + j, first:last]
                        for o in range(len(to)):
                            to[o] = pixel[o]

    @kernel("f4[:] i8 i8 i8 i8 i8 i8 i8 f4[:] i8 f4[:,:] i8 i8")
    def winograd_weight(w, base, sl, sr, sh, sw, lanes, rows, u, position, stages, start, stop):
        """Panels start .. stop of G g G^T into u (P, panels, rows, 2 vectors)."""
        stage = stages[start]
        for panel in range(start, stop):
            U = address(u) + 4 * panel * rows * N
            weights(w, base, sl, sr, sh, sw, lanes, rows, 0, rows, panel, U, a * position, position, stage)

    @kernel("f4[:,:,:,:] f4[:] i8 f4[:] f4[:,:,:,:] f4[:] i8 i8 i8 i8 i8 i8 i8")
    def winograd_tiles(x, u, upos, bias, y, scratch, top, left, down, across, block, start, stop):
        """Tiles start .. stop by blocks: all positions' products of a block, then its outputs."""
        C, O = x.shape[3], y.shape[3]
        panels = (O + N - 1) // N
        vrow, mrow = odd(C), odd(panels * N)
        vpos, mpos = odd((block + 4) * vrow), odd((block + 4) * mrow)
        zeros, grid = scratch[:16], scratch[16 : 16 + P * max(vrow, mrow)]
        V = address(scratch) + 4 * (16 + P * max(vrow, mrow))
        M = V + 4 * P * vpos
        zeros[:] = f4(0)
        grid[:] = f4(0)
        zero, U = address(zeros), address(u)
        t = start
        while t < stop:  # range() with a step that is not constant could raise
            end = min(t + block, stop)
            spread(x, V, vrow, N, vpos, grid, zero, top, left, down, across, t, end)
            for p in range(P):
                for k in range(0, C, CHUNK):
                    for panel in range(panels):
                        product(
                            V + 4 * (p * vpos + k), vrow, 1, U + 4 * (p * upos + (panel * C + k) * N),
                            M + 4 * (p * mpos + panel * N), mrow, end - t, min(CHUNK, C - k), k, zero,
                        )  # fmt: skip
            collect(M, mrow, mpos, y, grid, bias, down, across, t, end, 0, O)
            t = end

    @kernel("f4[:,:,:,:] f4[:] i8 f4[:] i8 i8 i8 i8 i8 i8 i8")
    def winograd_spread(x, v, vpos, scratch, top, left, down, across, base, start, stop):
        """B^T d B of tiles start .. stop into v (P, tiles from `base` on, C)."""
        vrow = odd(x.shape[3])
        zeros, grid = scratch[:16], scratch[16 : 16 + P * vrow]
        zeros[:] = f4(0)
        grid[:] = f4(0)
        V = address(v) + 4 * (start - base) * vrow
        spread(x, V, vrow, N, vpos, grid, address(zeros), top, left, down, across, start, stop)

    @kernel("f4[:] i8 i8 i8 i8 i8 i8 f4[:] i8 f4[:] f4[:,:,:,:] f4[:] i8 i8 i8 i8 i8 i8")
    def winograd_panels(
        w, base, sl, sr, sh, sw, C, v, vpos, bias, y, scratch, down, across, first, tiles, start, stop
    ):  # fmt: skip
        """Panels start .. stop of the outputs of `tiles` mapped tiles, from `first` on, mapping weights on the way."""
        O, vrow = y.shape[3], odd(C)
        mpos, upos = odd((tiles + 4) * N), odd(DEPTH * N)
        zeros, grid, stage = scratch[:16], scratch[16 : 16 + P * odd(N)], scratch[16 + P * odd(N) :][: 9 * W * W]
        U = address(scratch) + 4 * (16 + P * odd(N) + 9 * W * W)
        M, V, zero = U + 4 * P * upos, address(v), address(zeros)
        zeros[:] = f4(0)
        for panel in range(start, stop):
            for k in range(0, C, DEPTH):
                n = min(DEPTH, C - k)
                weights(w, base, sl, sr, sh, sw, O, C, k, k + n, panel, U, a * upos, upos, stage)
                for p in range(P):
                    product(V + 4 * (p * vpos + k), vrow, 1, U + 4 * p * upos, M + 4 * p * mpos, N, tiles, n, k, zero)
            collect(M, N, mpos, y, grid, bias, down, across, first, first + tiles, panel * N, min(panel * N + N, O))

    return winograd_weight, winograd_tiles, winograd_spread, winograd_panels


@functools.cache
def _gradient_kernels(m: int, width: int) -> Any:
    a, W, N = m + 2, width, 2 * width
    P, T = a * a, -(-9 // width)
    unweigh = grid_map(_turned(matrices(m)[1]), width=width)
    transpose = transpose_tile(width)
    product, spread, spread_gradient, _ = _parts(m, width)

    @inlined
    def finish(D, position, panel, dw, stage, first, last):
        """G^T D G of rows first .. last of a panel of D (P, O, 2 vectors) into dw (O, C, 9)."""
        C = dw.shape[1]
        S = address(stage)
        Q = S + 4 * T * W * W
        for o in range(first, last):
            for half in range(0, N, W):
                lane = panel * N + half
                n = min(W, C - lane)
                if n > 0:
                    unweigh(D + 4 * (o * N + half), a * position, position, S, 3 * W, W)
                    # the columns beyond the ninth are written over by those of the next lane, and so from behind
                    for i in range(T):
                        transpose(S + 4 * (T - 1 - i) * W * W, W, Q + 4 * (T - 1 - i) * W, 9)
                    if n == W:
                        target = address(dw) + 4 * (o * C + lane) * 9
                        for i in range(9):
                            move(Q + 4 * i * W, target + 4 * i * W)
                    else:
                        for j in range(n):
                            kernel3x3, lanes = dw[o, lane + j], stage[T * W * W + 9 * j : T * W * W + 9 * j + 9]
                            for k in range(9):
                                kernel3x3[k] = lanes[k]

    @kernel("f4[:,:,:,:] f4[:,:,:,:] f4[:] f4[:] i8 i8 i8 i8 i8 i8 i8")
    def winograd_gradient_tiles(x, g, du, scratch, top, left, down, across, block, start, stop):
        """The sum over tiles start .. stop of (A dy A^T) * (B^T d B), as du (panels of C, P, O, 2 vectors)."""
        C, O = x.shape[3], g.shape[3]
        panels = (C + N - 1) // N
        zrow, vpanel, dpos = odd(O), odd(block * N), odd((O + 4) * N)
        vpos, zpos, wide = odd(panels * vpanel), odd(block * zrow), P * max(odd(C), zrow)
        zeros, grid = scratch[:16], scratch[16 : 16 + wide]
        V = address(scratch) + 4 * (16 + wide)
        Z = V + 4 * P * vpos
        zeros[:] = f4(0)
        grid[:] = f4(0)
        zero, D = address(zeros), address(du)
        t = start
        while t < stop:
            end = min(t + block, stop)
            spread(x, V, N, vpanel, vpos, grid, zero, top, left, down, across, t, end)
            grid[:] = f4(0)
            spread_gradient(g, Z, zrow, N, zpos, grid, zero, 0, 0, down, across, t, end)
            grid[:] = f4(0)
            for p in range(P):
                for panel in range(panels):
                    product(
                        Z + 4 * p * zpos, 1, zrow, V + 4 * (p * vpos + panel * vpanel),
                        D + 4 * (panel * P + p) * dpos, N, O, end - t, t - start, zero,
                    )  # fmt: skip
            t = end

    @kernel("f4[:,:] f4[:,:,:] f4[:,:] i8 i8")
    def winograd_gradient_sum(parts, dw, stages, start, stop):
        """dw of outputs start .. stop from the sums of all threads."""
        O, C, _ = dw.shape
        dpos = odd((O + 4) * N)
        stage = stages[start]
        total = parts[0]
        for panel in range((C + N - 1) // N):
            for p in range(P):
                at = (panel * P + p) * dpos + start * N
                here = total[at : at + (stop - start) * N]
                for i in range(1, len(parts)):
                    more = parts[i, at : at + (stop - start) * N]
                    for j in range(len(here)):
                        here[j] += more[j]
            finish(address(total) + 4 * panel * P * dpos, dpos, panel, dw, stage, start, stop)

    @kernel("f4[:,:,:,:] f4[:] i8 i8 f4[:] i8 i8 i8 i8 i8 i8 i8")
    def winograd_gradient_inputs(x, v, vpanel, vpos, scratch, top, left, down, across, base, start, stop):
        """B^T d B of tiles start .. stop into v (P, panels, tiles from `base` on, 2 vectors)."""
        zeros, grid = scratch[:16], scratch[16 : 16 + P * odd(x.shape[3])]
        zeros[:] = f4(0)
        grid[:] = f4(0)
        V = address(v) + 4 * (start - base) * N
        spread(x, V, N, vpanel, vpos, grid, address(zeros), top, left, down, across, start, stop)

    @kernel("f4[:,:,:,:] f4[:] i8 f4[:] i8 i8 i8 i8 i8")
    def winograd_gradient_outputs(g, z, zpos, scratch, down, across, base, start, stop):
        """A dy A^T of tiles start .. stop into z (P, tiles from `base` on, O)."""
        zrow = odd(g.shape[3])
        zeros, grid = scratch[:16], scratch[16 : 16 + P * zrow]
        zeros[:] = f4(0)
        grid[:] = f4(0)
        Z = address(z) + 4 * (start - base) * zrow
        spread_gradient(g, Z, zrow, N, zpos, grid, address(zeros), 0, 0, down, across, start, stop)

    @kernel("f4[:] i8 i8 f4[:] i8 i8 f4[:,:,:] f4[:] i8 i8 i8 f4[:,:] i8 i8")
    def winograd_gradient_panels(
        v, vpanel, vpos, z, zpos, tiles, dw, du, each, beta, last, stages, start, stop
    ):  # fmt: skip
        """Panels start .. stop of du and, after the last tiles, of dw; panels of du are `each` apart."""
        O, dpos, zrow = len(dw), odd((len(dw) + 4) * N), odd(len(dw))
        stage = stages[start]
        zeros = stage[len(stage) - 16 :]
        zeros[:] = f4(0)
        zero, V, Z = address(zeros), address(v), address(z)
        for panel in range(start, stop):
            D = address(du) + 4 * panel * each
            for p in range(P):
                product(
                    Z + 4 * p * zpos, 1, zrow, V + 4 * (p * vpos + panel * vpanel), D + 4 * p * dpos, N, O, tiles,
                    beta, zero,
                )  # fmt: skip
            if last:
                finish(D, dpos, panel, dw, stage, 0, O)

    return (
        winograd_gradient_tiles,
        winograd_gradient_sum,
        winograd_gradient_inputs,
        winograd_gradient_outputs,
        winograd_gradient_panels,
    )


def _floats(n: int) -> Any:
    """n float32 that begin at a cache line."""
    raw = empty(n + 16, _FLOAT32)
    skip = -raw.ctypes.data % 64 // 4
    return raw[skip : skip + n]


def _weight_memory(w: Any) -> tuple[Any, tuple[int, ...]]:
    """The memory of a weight (O, C, 3, 3) as a vector, and the strides of o, c, h and w in elements."""
    C = w.shape[1]
    for axes in ((2, 3, 1, 0), (0, 2, 3, 1)):
        v = w.transpose(axes)
        if v.flags.c_contiguous:
            return v.reshape(-1), tuple(s // 4 for s in w.strides)
    return contiguous(w).reshape(-1), (9 * C, 9, 3, 1)


def _split(first: int, last: int, multiplications: int) -> list[tuple[int, int]]:
    """first .. last in as many pieces as there are threads, or as are worth a thread."""
    size = -(-(last - first) // max(1, min(threads(), multiplications // LEAST)))
    return [(i, min(i + size, last)) for i in range(first, last, size)]


def _channels_last(a: Any) -> Any:
    """An array (N, C, H, W) as contiguous (N, H, W, C)."""
    out = a.transpose(0, 2, 3, 1)
    if out.flags.c_contiguous:
        return out
    n, c, h, w = a.shape
    out = empty((n, h, w, c), _FLOAT32)
    planes, pixels = contiguous(a).reshape(n, c, h * w), out.reshape(n, h * w, c)
    run(_turn(vector_width()), [(planes, pixels, i, j) for i, j in _split(0, n, a.size)])
    return out


def _convolve(x: Any, w: Any, bias: Any, before: Any, size: Any, mirrored: bool, m: int) -> Any:
    """Channels-last x with weight w, or with w mirrored and its channels exchanged; `before`: zeros above and left."""
    W = vector_width()
    N, P = 2 * W, (m + 2) ** 2
    transform, by_tiles, spread, by_panels = _forward_kernels(m, W)
    memory, (so, sc, sh, sw) = _weight_memory(w)
    O, C = (w.shape[1], w.shape[0]) if mirrored else w.shape[:2]
    weight = (memory, 2 * (sh + sw), sc, so, -sh, -sw) if mirrored else (memory, 0, so, sc, sh, sw)
    y = empty((len(x), *size, O), _FLOAT32)
    panels, down, across = -(-O // N), -(-size[0] // m), -(-size[1] // m)
    tiles = len(x) * down * across
    work = P * tiles * C * O
    shift = np.zeros(panels * N, np.float32)
    if bias is not None:
        do(np.copyto, shift[:O], bias)
    vrow, mrow = odd(C), odd(panels * N)
    if P * C * O > KEPT:
        block = _block(tiles, P * vrow)
        vpos = odd((block + 4) * vrow)
        v, need = _floats(P * vpos), 16 + P * odd(N) + 9 * W * W + P * (odd(DEPTH * N) + odd((block + 4) * N))
        grids, mine = [[_floats(n) for _ in range(threads())] for n in (16 + P * vrow, need)]
        for first in range(0, tiles, block):
            last = min(first + block, tiles)
            pieces = _split(first, last, work)
            run(spread, [(x, v, vpos, own, *before, down, across, first, *p) for own, p in zip(grids, pieces)])
            common, pieces = (v, vpos, shift, y), _split(0, panels, work)
            shape = down, across, first, last - first
            run(by_panels, [(*weight, C, *common, own, *shape, *p) for own, p in zip(mine, pieces)])
    else:
        upos = odd(panels * C * N)
        u, stages = _floats(P * upos), empty((panels, 9 * W * W), _FLOAT32)
        pieces = _split(0, panels, P * C * O * 8)
        run(transform, [(*weight, O, C, u, upos, stages, i, j) for i, j in pieces])
        need = 16 + P * (max(vrow, mrow) + odd((BLOCK + 4) * vrow) + odd((BLOCK + 4) * mrow))
        pieces = _split(0, tiles, work)
        run(by_tiles, [(x, u, upos, shift, y, _floats(need), *before, down, across, BLOCK, i, j) for i, j in pieces])
    return y


def _block(tiles: int, each: int) -> int:
    """How many tiles are mapped at a time: blocks of the same size, of about MAPPED elements."""
    return -(-tiles // max(1, round(tiles * each / MAPPED)))


def _correlate(x: Any, g: Any, before: Any, m: int) -> Any:
    """The gradient (O, C, 9) for the weight, of channels-last input x and channels-last gradient g."""
    W = vector_width()
    N, P = 2 * W, (m + 2) ** 2
    by_tiles, add, inputs, outputs, by_panels = _gradient_kernels(m, W)
    C, O = x.shape[3], g.shape[3]
    panels, down, across = -(-C // N), -(-g.shape[1] // m), -(-g.shape[2] // m)
    tiles = len(x) * down * across
    work = P * tiles * C * O
    dw = empty((O, C, 9), _FLOAT32)
    zrow, dpos = odd(O), odd((O + 4) * N)
    size, grid = panels * P * dpos, 16 + P * max(odd(C), zrow)
    stage = -(-9 // W) * W * W + 9 * W + 32
    if size <= SUMS:
        pieces, stages = _split(0, tiles, work), empty((O, stage), _FLOAT32)
        parts = _floats(len(pieces) * size).reshape(len(pieces), size)
        need = grid + P * (odd(panels * odd(BLOCK * N)) + odd(BLOCK * zrow)) + 16
        mine = [_floats(need) for _ in pieces]
        run(by_tiles, [(x, g, *t, *before, down, across, BLOCK, *piece) for *t, piece in zip(parts, mine, pieces)])
        run(add, [(parts, dw, stages, i, j) for i, j in _split(0, O, size * 8)])
        return dw
    block = _block(tiles, P * max(C, O))
    vpanel, zpos = odd(block * N), odd(block * zrow)
    vpos = odd(panels * vpanel)
    v, z, stages = _floats(P * vpos), _floats(P * zpos + 16), empty((panels, stage), _FLOAT32)
    sums = None if block == tiles else _floats(size)  # tiles in one block: a panel's sums are finished at once
    for first in range(0, tiles, block):
        last = min(first + block, tiles)
        pieces = _split(first, last, work)
        run(inputs, [(x, v, vpanel, vpos, _floats(grid), *before, down, across, first, i, j) for i, j in pieces])
        run(outputs, [(g, z, zpos, _floats(grid), down, across, first, i, j) for i, j in pieces])
        common = v, vpanel, vpos, z, zpos, last - first, dw
        pieces = _split(0, panels, work)
        if sums is None:
            run(by_panels, [(*common, _floats(P * dpos), 0, 0, 1, stages, i, j) for i, j in pieces])
        else:
            run(by_panels, [(*common, sums, P * dpos, first, last == tiles, stages, i, j) for i, j in pieces])
    return dw


# -- what convolution calls -------------------------------------------------------------------------------------------


def _tile(samples: int, C: int, O: int, size: Any) -> int:
    """The m of the cheapest F(m x m, 3 x 3) for outputs of this size, or 0 where direct convolution is cheaper.

    Costs are cycles of a core with two fused multiply-adds of a vector per cycle, as measured: a mapped vector of
    channels takes 3 (m + 2)^2 cycles for input and output, twice that for a weight; products reach nine tenths of the
    peak, direct convolution eight. Another algorithm has to be a tenth cheaper: it has kernels of its own to compile.
    """
    W = vector_width()
    o = -(-O // (2 * W)) * 2 * W
    best, cost = 0, 9 * samples * size[0] * size[1] * C * o / (2 * W) / 0.8
    for m in (2,) if mkldnn.conv.fp32_precision == "ieee" else (4, 2):
        P = (m + 2) ** 2
        tiles = samples * -(-size[0] // m) * -(-size[1] // m)
        maps = 3 * P * (tiles * (C + O) + 2 * C * o) / W
        now = P * -(-tiles // 4) * 4 * C * o / (2 * W) / 0.9 + maps
        if now < 0.9 * cost:
            best, cost = m, now
    return best


def _served(weight_shape: Any, *arrays: Any) -> bool:
    return (
        len(weight_shape) == 4
        and tuple(weight_shape[2:]) == (3, 3)
        and min(weight_shape[:2]) >= vector_width()
        and all(a.ndim == 4 and a.dtype == _FLOAT32 and a.size > 0 for a in arrays)
    )


def forward(input: Any, weight: Any, bias: Any, padding: Any) -> Any:
    """Convolution of input (N, C, H, W) with weight (O, C, 3, 3), plus bias (O,) or None.

    `padding` is ((above, below), (left, right)). All these functions take arrays of any layout, quickest channels last,
    give results channels last, and NotImplemented where direct convolution is as quick or the dtype is not float32.
    """
    if not _served(weight.shape, input, weight) or (bias is not None and bias.dtype != _FLOAT32):
        return NotImplemented
    (above, below), (left, right) = padding
    size = input.shape[2] + above + below - 2, input.shape[3] + left + right - 2
    if min(size) < 1:
        return NotImplemented
    m = _tile(input.shape[0], weight.shape[1], weight.shape[0], size)
    if not m:
        return NotImplemented
    return _convolve(_channels_last(input), weight, bias, (above, left), size, False, m).transpose(0, 3, 1, 2)


def input_gradient(grad: Any, weight: Any, size: Any, padding: Any) -> Any:
    """The gradient for an input of `size` (H, W) of `forward`, from the gradient (N, O, H', W') for its result."""
    if not _served(weight.shape, grad, weight) or min(size) < 1:
        return NotImplemented
    (above, _), (left, _) = padding
    m = _tile(grad.shape[0], weight.shape[0], weight.shape[1], size)
    if not m:
        return NotImplemented
    return _convolve(_channels_last(grad), weight, None, (2 - above, 2 - left), size, True, m).transpose(0, 3, 1, 2)


def weight_gradient(input: Any, grad: Any, padding: Any) -> Any:
    """The gradient (O, C, 3, 3), C-contiguous, for the weight of `forward`."""
    if not _served((grad.shape[1], input.shape[1], 3, 3), input, grad):
        return NotImplemented
    (above, _), (left, _) = padding
    m = _tile(input.shape[0], grad.shape[1], input.shape[1], grad.shape[2:])
    if not m:
        return NotImplemented
    dw = _correlate(_channels_last(input), _channels_last(grad), (above, left), m)
    return dw.reshape(len(dw), -1, 3, 3)
