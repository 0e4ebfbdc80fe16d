"""Depthwise and grouped convolutions of float32, channels last: a vector holds outputs of one or several groups.

A tile of up to eight outputs is summed in registers over all taps of the kernel (tiles.py). With one channel in each
group and a kernel of up to 3x3, tiles read the input in place, and the few windows that stick out are summed tap by
tap. Groups of very many channels are left to convolution.py, one by one. Otherwise what a row of
outputs reads is kept in a ring of rows in the second-level cache, with zeros at the sides; what a vector of outputs is
multiplied with, depends on the number of outputs in a group:

    fewer than a vector's lanes   The ring holds, for each number that a group reads, a vector of that number of each
                                  lane's own group: written once per row, read once per tap. So no multiplication is
                                  wasted on zeros, and no infinity of one group meets a zero of another.
    more                          A vector belongs to one group: the ring holds the row as it is, and each number is
                                  broadcast to all lanes.

The gradient for the input is the same sum with outputs and inputs exchanged: for each residue of the column modulo the
stride the taps that meet it. The gradient for the weight sums over the outputs of a row with one register for each tap.
Which rows, taps and columns belong together is worked out once per geometry, in tables.

Turned down: groups as blocks of a matrix with zeros between them (for groups of four a quarter of the speed), the ring
for depthwise convolutions (half the speed where the input does not fit the cache).
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any

import numpy as np

from ..numpy.memory import empty
from .build import inlined, kernel
from .gemm import aligned
from .intrinsics import address, vector_width
from .listed import contiguous, do, made, note, reshaped
from .pool import run, threads
from .tiles import over_positions, over_taps, spread

__all__ = ["forward", "input_gradient", "weight_gradient"]

_FLOAT32 = np.dtype(np.float32)
#: multiplications that are worth a thread of their own
_LEAST = 1 << 20
#: taps whose sums a weight gradient keeps in registers at a time
_TAPS = 9
#: in place of (terms, lanes): the ring holds rows as they are
_AS_IT_IS = (1, vector_width())
#: kernels up to 3x3 read in place: of larger ones too many windows stick out
_FEW_TAPS = 9
#: multiplications in a group from which a convolution without groups for each of them is quicker, in spite of copies
_WIDE = 1 << 24
f4 = np.float32


# -- kernels ----------------------------------------------------------------------------------------------------------
# `plan`: rows of outputs, rows of inputs, pixels of an input row, its channels, slots, elements of a slot, of a pixel
# in the ring, zeros at the left; elements of a block in a slot (0: the ring holds rows as they are), terms per lane,
# taps in all, outputs, lanes per group.


def _simple(terms: int, lanes: int) -> bool:
    """Whether a vector's lanes are filled by a fixed permutation of a few numbers that lie together."""
    width = vector_width()
    return width % lanes == 0 and width // lanes * terms <= 2 * width


@functools.cache
def _fill(terms: int, lanes: int) -> Any:
    """Copy an input row into its slot of the ring; (0, 0): for any numbers of terms and lanes."""
    width, simple = vector_width(), terms > 0
    spreading = spread(terms, lanes) if simple else spread(1, 1)

    @inlined
    def fill(x, slot, plan, blocks):
        pixels, channels, pixel, left, size = plan[2], plan[3], plan[6], plan[7], plan[8]
        terms_of, lanes_of = plan[9], plan[12]
        if size == 0:
            to = slot[left * pixel : left * pixel + pixels * pixel]
            for i in range(to.size):
                to[i] = x[i]
            return
        for b in range(len(blocks)):
            first, count = blocks[b, 0], blocks[b, 1]
            part = slot[b * size + left * pixel :]
            if simple and count == width:
                spreading(address(x) + 4 * (first // lanes_of * terms_of), address(part), pixels, channels)
                continue
            for q in range(pixels):
                a = x[q * channels : (q + 1) * channels]
                for i in range(terms_of):
                    vector = part[q * pixel + i * width : q * pixel + (i + 1) * width]
                    for lane in range(vector.size):
                        vector[lane] = a[(first + lane) // lanes_of * terms_of + i] if lane < count else f4(0)

    return fill


@functools.cache
def _sum(expanded: tuple[int, int]) -> Any:
    """The kernel that sums over taps."""
    width = vector_width()
    fill, tile = _fill(*expanded), over_taps(expanded == _AS_IT_IS)

    @kernel(
        "f4[:,:] f4[:,:] f4[:] f4[:,:] f4[:,:] f4[:] i8[:] i8[:,:] i8[:,:] i8[:,:] i8[:,:] i8[:,:] i8 i8", fast=True
    )
    def depthwise_sum(x, w, bias, y, ring, spare, plan, rows, phases, columns, blocks, table, start, stop):
        outputs, inputs, slots, pixel, size, taps = plan[0], plan[1], plan[4], plan[6], plan[8], plan[10]
        terms, channels = plan[9], plan[11]
        for s in range(len(ring)):
            line = ring[s]
            for i in range(line.size):
                line[i] = f4(0)
        length = ring.shape[1]
        sample, loaded = -1, -1
        base, packed, reads = address(ring), address(w), address(table)
        for r in range(stop - start):
            row = start + r
            p, n = row % outputs, row // outputs
            if n != sample:
                sample, loaded = n, -1
            if rows[p, 0] > 0:
                low, high = rows[p, 1], rows[p, 2]
                for i in range(max(loaded + 1, low), high + 1):
                    fill(x[n * inputs + i], ring[i % slots], plan, blocks)
                loaded = max(loaded, high)
            for f in range(len(phases)):
                first, apart, count, c0, c1 = phases[f, 0], phases[f, 1], phases[f, 2], phases[f, 3], phases[f, 4]
                move = phases[f, 5] * pixel
                m = 0
                for e in range(rows[p, 0]):
                    slot = rows[p, 3 + 2 * e] % slots * length
                    tap = rows[p, 4 + 2 * e]
                    for c in range(c0, c1):
                        for i in range(terms):
                            table[m, 0] = slot + columns[c, 1] * pixel + (i * width if size else i)
                            table[m, 1] = ((tap + columns[c, 0]) * terms + i) * width
                            m += 1
                tiles = (count + 7) // 8
                high_tile = (count + tiles - 1) // tiles
                for b in range(len(blocks)):
                    valid, a = blocks[b, 1], base + 4 * blocks[b, 2]
                    v, begin = packed + 4 * b * taps * terms * width, address(bias) + 4 * b * width
                    for k in range(tiles):
                        q = min(k * high_tile, count - high_tile)
                        here = a + 4 * q * move
                        target = address(y[row]) + 4 * ((first + q * apart) * channels + blocks[b, 0])
                        away = apart * channels
                        if valid < width:
                            target, away = address(spare), width
                        tile(high_tile, here, v, target, begin, reads, m, move, away)
                        if valid < width:
                            line = y[row]
                            for t in range(high_tile):
                                at = (first + (q + t) * apart) * channels + blocks[b, 0]
                                to, of = line[at : at + valid], spare[t * width : t * width + valid]
                                for i in range(to.size):
                                    to[i] = of[i]

    return depthwise_sum


@functools.cache
def _weight(expanded: tuple[int, int]) -> Any:
    """The kernel that sums over outputs, for the gradient of the weight."""
    width = vector_width()
    fill, accumulate = _fill(*expanded), over_positions(expanded == _AS_IT_IS)

    @kernel("f4[:,:] f4[:,:] f4[:,:] f4[:,:] f4[:] i8[:] i8[:,:] i8[:,:] i8[:,:] i8[:,:] i8[:,:] i8 i8", fast=True)
    def depthwise_weight(x, g, w, ring, spare, plan, rows, phases, columns, blocks, table, start, stop):
        outputs, inputs, slots, pixel, size, taps = plan[0], plan[1], plan[4], plan[6], plan[8], plan[10]
        terms, channels = plan[9], plan[11]
        for s in range(len(ring)):
            line = ring[s]
            for i in range(line.size):
                line[i] = f4(0)
        length = ring.shape[1]
        sample, loaded = -1, -1
        base, total, reads = address(ring), address(w), address(table)
        count, move = phases[0, 2], phases[0, 5] * pixel
        for r in range(stop - start):
            row = start + r
            p, n = row % outputs, row // outputs
            if n != sample:
                sample, loaded = n, -1
            if rows[p, 0] == 0:
                continue
            low, high = rows[p, 1], rows[p, 2]
            for i in range(max(loaded + 1, low), high + 1):
                fill(x[n * inputs + i], ring[i % slots], plan, blocks)
            loaded = max(loaded, high)
            m = 0
            for e in range(rows[p, 0]):
                slot = rows[p, 3 + 2 * e] % slots * length
                tap = rows[p, 4 + 2 * e]
                for c in range(len(columns)):
                    for i in range(terms):
                        table[m, 0] = slot + columns[c, 1] * pixel + (i * width if size else i)
                        table[m, 1] = ((tap + columns[c, 0]) * terms + i) * width
                        m += 1
            visits = (m + 8) // 9
            for b in range(len(blocks)):
                valid, a, v = blocks[b, 1], base + 4 * blocks[b, 2], total + 4 * b * taps * terms * width
                grad, away = address(g[row]) + 4 * blocks[b, 0], channels
                if valid < width:
                    line = g[row]
                    for q in range(count):
                        of = line[q * channels + blocks[b, 0] : q * channels + blocks[b, 0] + valid]
                        to = spare[q * width : (q + 1) * width]
                        for i in range(of.size):
                            to[i] = of[i]
                    grad, away = address(spare), width
                for k in range(visits):
                    t0, t1 = m * k // visits, m * (k + 1) // visits
                    n_taps, at = t1 - t0, reads + 16 * t0
                    accumulate(n_taps, a, grad, v, at, count, move, away)

    return depthwise_weight


# Depthwise: the input where it is. `plan`: rows of outputs and of inputs, channels, pixels of an input row; a phase
# also has the range of outputs whose windows are inside the row. The last vector of channels overlaps the one before.


@inlined
def _taps_of(table, rows, p, columns, c0, c1, line, channels):
    """Where the taps of a row of outputs lie in the input and in the weight: their number."""
    m = 0
    for e in range(rows[p, 0]):
        for c in range(c0, c1):
            table[m, 0] = rows[p, 3 + 2 * e] * line + columns[c, 1] * channels
            table[m, 1] = rows[p, 4 + 2 * e] + columns[c, 0]
            m += 1
    return m


@functools.cache
def _sum_in_place() -> Any:
    """The kernel that sums over taps of depthwise convolutions."""
    width, tile = vector_width(), over_taps(False)

    @kernel("f4[:,:] f4[:,:] f4[:] f4[:,:] i8[:] i8[:,:] i8[:,:] i8[:,:] i8[:,:] i8 i8", fast=True)
    def depthwise_in_place(x, w, bias, y, plan, rows, phases, columns, table, start, stop):
        outputs, inputs, channels, pixels = plan[0], plan[1], plan[2], plan[3]
        line = pixels * channels
        packed, reads = address(w), address(table)
        for r in range(stop - start):
            p, n = (start + r) % outputs, (start + r) // outputs
            out = y[start + r]
            for f in range(len(phases)):
                first, apart, count, c0, c1 = phases[f, 0], phases[f, 1], phases[f, 2], phases[f, 3], phases[f, 4]
                move, q0, q1 = phases[f, 5], phases[f, 6], phases[f, 7]
                m = _taps_of(table, rows, p, columns, c0, c1, line, channels)
                for t in range(m):
                    table[t, 1] *= channels
                tiles = (q1 - q0 + 7) // 8
                high = (q1 - q0 + tiles - 1) // max(tiles, 1)
                for b in range((channels + width - 1) // width):
                    c = min(b * width, channels - width)
                    for k in range(tiles):
                        q = q0 + min(k * high, q1 - q0 - high)
                        here = address(x) + 4 * (n * inputs * line + q * move * channels + c)
                        target = address(out) + 4 * ((first + q * apart) * channels + c)
                        tile(
                            high, here, packed + 4 * c, target, address(bias) + 4 * c, reads, m, move * channels,
                            apart * channels,
                        )  # fmt: skip
                for k in range(q0 + count - q1):
                    q = k if k < q0 else k - q0 + q1
                    at = (first + q * apart) * channels
                    to = out[at : at + channels]
                    for i in range(to.size):
                        to[i] = bias[i]
                    for e in range(rows[p, 0]):
                        of = x[n * inputs + rows[p, 3 + 2 * e]]
                        for c in range(c0, c1):
                            pixel = columns[c, 1] + q * move
                            if pixel >= 0 and pixel < pixels:
                                a, v = (
                                    of[pixel * channels : (pixel + 1) * channels],
                                    w[rows[p, 4 + 2 * e] + columns[c, 0]],
                                )
                                for i in range(to.size):
                                    to[i] += a[i] * v[i]

    return depthwise_in_place


@functools.cache
def _weight_in_place() -> Any:
    """The kernel for the gradient of the weight of depthwise convolutions: w by vectors, and beside at the borders."""
    width, accumulate = vector_width(), over_positions(False)

    @kernel("f4[:,:] f4[:,:] f4[:,:] f4[:,:] i8[:] i8[:,:] i8[:,:] i8[:,:] i8[:,:] i8 i8", fast=True)
    def depthwise_weight_in_place(x, g, w, beside, plan, rows, phases, columns, table, start, stop):
        outputs, inputs, channels, pixels = plan[0], plan[1], plan[2], plan[3]
        line = pixels * channels
        reads = address(table)
        count, c1, move, q0, q1 = phases[0, 2], phases[0, 4], phases[0, 5], phases[0, 6], phases[0, 7]
        for r in range(stop - start):
            p, n = (start + r) % outputs, (start + r) // outputs
            grad = g[start + r]
            m = _taps_of(table, rows, p, columns, 0, c1, line, channels)
            for t in range(m):
                table[t, 1] *= w.shape[1]
            visits = (m + 8) // 9
            if q1 > q0:
                for b in range((channels + width - 1) // width):
                    c = min(b * width, channels - width)
                    here = address(x) + 4 * (n * inputs * line + q0 * move * channels + c)
                    of = address(grad) + 4 * (q0 * channels + c)
                    for k in range(visits):
                        t0, t1 = m * k // visits, m * (k + 1) // visits
                        accumulate(
                            t1 - t0, here, of, address(w) + 4 * b * width, reads + 16 * t0, q1 - q0, move * channels,
                            channels,
                        )  # fmt: skip
            for k in range(q0 + count - q1):
                q = k if k < q0 else k - q0 + q1
                b = grad[q * channels : (q + 1) * channels]
                for e in range(rows[p, 0]):
                    of = x[n * inputs + rows[p, 3 + 2 * e]]
                    for c in range(c1):
                        pixel = columns[c, 1] + q * move
                        if pixel >= 0 and pixel < pixels:
                            a = of[pixel * channels : (pixel + 1) * channels]
                            v = beside[rows[p, 4 + 2 * e] + columns[c, 0]]
                            for i in range(b.size):
                                v[i] += a[i] * b[i]

    return depthwise_weight_in_place


# -- geometry ---------------------------------------------------------------------------------------------------------


def _reads(n_out: int, n_in: int, taps: int, stride: int, before: int, dilation: int, back: bool) -> list[Any]:
    """For each output along a dimension the (input, tap) of its sum; `back`: of the transposed convolution."""
    found: list[Any] = []
    for p in range(n_out):
        if back:
            pairs = [divmod(p + before - i * dilation, stride) for i in range(taps)]
            found.append([(at, i) for i, (at, rest) in enumerate(pairs) if rest == 0])
        else:
            found.append([(p * stride - before + i * dilation, i) for i in range(taps)])
    return found


class _Plan:
    """The tables of a geometry: outputs in groups of `lanes`, each the sum of `terms` numbers for each tap."""

    def __init__(
        self, groups: int, lanes: int, terms: int, size: Any, out: Any, kernel: Any, stride: Any, before: Any,
        dilation: Any, back: bool,
    ) -> None:  # fmt: skip
        width = vector_width()
        self.groups, self.lanes, self.terms, self.taps = groups, lanes, terms, prod(kernel)
        self.outputs, self.inputs, self.out, self.size = groups * lanes, groups * terms, out, size
        self.in_place = lanes == terms == 1 and groups >= width and self.taps <= _FEW_TAPS
        self.broadcast = lanes >= width
        if self.broadcast:
            every = -(-lanes // width)
            self.blocks = [
                (g * lanes + i * width, min(width, lanes - i * width), g * terms)
                for g in range(groups)
                for i in range(every)
            ]
        else:
            self.blocks = [(i, min(width, self.outputs - i), 0) for i in range(0, self.outputs, width)]
        pixel = self.inputs if self.broadcast else terms * width
        # rows
        height, across = zip(size, out, kernel, stride, before, dilation)
        n_in, n_out, k, s, b, d = height
        found = [[(at, i) for at, i in r if 0 <= at < n_in] for r in _reads(n_out, n_in, k, s, b, d, back)]
        rows = np.zeros((n_out, 3 + 2 * k), np.int64)
        for p, pairs in enumerate(found):
            rows[p, 0] = len(pairs)
            for e, (at, i) in enumerate(pairs):
                rows[p, 3 + 2 * e : 5 + 2 * e] = at, i * kernel[1]
            if pairs:
                rows[p, 1:3] = min(at for at, _ in pairs), max(at for at, _ in pairs)
        some = rows[:, 0] > 0
        # a row stays in the ring until no later output needs it
        lowest = np.minimum.accumulate(rows[some, 1][::-1])[::-1]
        highest = np.maximum.accumulate(rows[some, 2])
        rows[some, 1] = lowest
        slots = int((highest - lowest).max(initial=0)) + 1
        # columns: the outputs in as many phases as the stride of a transposed convolution
        n_in, n_out, k, s, b, d = across
        found = _reads(n_out, n_in, k, s, b, d, back)
        n_phases = min(s, n_out) if back else 1
        low = min([at for r in found for at, _ in r], default=0)
        high = max([at for r in found for at, _ in r], default=0)
        left = 0 if self.in_place else max(0, -low)
        phases: list[tuple[int, ...]] = []
        columns: list[tuple[int, int]] = []
        for f in range(n_phases):
            first = len(columns)
            columns += [(i, at + left) for at, i in found[f]]
            count, move = len(range(f, n_out, n_phases)), 1 if back else s
            inside = [q for q in range(count) if all(0 <= at + q * move < n_in for at, _ in found[f])]
            within = (inside[0], inside[-1] + 1) if inside else (0, 0)
            phases.append((f, n_phases, count, first, len(columns), move, *within))
        padded = left + max(n_in, high + 1)
        block = 0 if self.broadcast else padded * pixel
        if not self.broadcast:
            self.blocks = [(first, count, i * block) for i, (first, count, _) in enumerate(self.blocks)]
        slot = padded * pixel * (1 if self.broadcast else len(self.blocks))
        self.expanded = _AS_IT_IS if self.broadcast else (terms, lanes) if _simple(terms, lanes) else (0, 0)
        self.ring = slots, slot
        self.tables = [
            np.array(v, np.int64).reshape(-1, n) for v, n in ((rows, 3 + 2 * kernel[0]), (phases, 8), (columns, 2))
        ]
        if self.in_place:
            self.numbers = np.array([out[0], size[0], self.inputs, size[1]], np.int64)
            self.work = prod(out) * self.outputs * self.taps // (prod(stride) if back else 1)
            return
        self.tables.append(np.array(self.blocks, np.int64))
        numbers = *out[:1], *size, self.inputs, slots, slot, pixel, left, block, terms, self.taps, self.outputs, lanes
        self.numbers = np.array(numbers, np.int64)
        self.work = prod(out) * self.outputs * self.terms * self.taps // (prod(stride) if back else 1)

    def table(self) -> Any:
        """For one thread: room for the offsets of taps."""
        return np.empty((self.taps * self.terms, 2), np.int64)

    def scratch(self, spare: int) -> Any:
        """For one thread: the ring, room for the last lanes, and for the table of taps."""
        ring = aligned(prod(self.ring)).reshape(self.ring)
        note(np.copyto, (ring, 0.0))  # as new
        return ring, aligned(spare * vector_width()), self.table()

    def packed(self, w: Any) -> Any:
        """A weight (outputs, terms, taps) as vectors [block][tap][term][lane]."""
        width = vector_width()
        if self.broadcast:
            every = -(-self.lanes // width)
            w = w.reshape(self.groups, self.lanes, self.terms, self.taps)
            full = np.zeros((self.groups, every * width, self.terms, self.taps), np.float32)
            full[:, : self.lanes] = w
        else:
            full = np.zeros((len(self.blocks) * width, self.terms, self.taps), np.float32)
            full[: self.outputs] = w
        out = aligned(len(self.blocks) * self.taps * self.terms * width).reshape(len(self.blocks), -1)
        out.reshape(-1, self.taps, self.terms, width)[...] = full.reshape(-1, width, self.terms, self.taps).transpose(
            0, 3, 2, 1
        )
        return out

    def unpacked(self, vectors: Any) -> Any:
        """The inverse of `packed`."""
        w = vectors.reshape(-1, self.taps, self.terms, vector_width()).transpose(0, 3, 2, 1)
        if self.broadcast:
            w = w.reshape(self.groups, -1, self.terms, self.taps)[:, : self.lanes]
        return np.ascontiguousarray(w.reshape(-1, self.terms, self.taps)[: self.outputs])

    def of_outputs(self, bias: Any) -> Any:
        """A number for each output, as vectors for each block."""
        width = vector_width()
        found = np.zeros((len(self.blocks), width), np.float32)
        if bias is not None:
            for row, (first, count, _) in zip(found, self.blocks):
                row[:count] = bias[first : first + count]
        return found.reshape(-1)

    def pieces(self, n: int) -> list[tuple[int, int]]:
        """The rows of n samples, cut for the threads."""
        total = n * self.out[0]
        count = max(1, min(threads(), total, n * self.work // _LEAST))
        return [(total * i // count, total * (i + 1) // count) for i in range(count)]


_plan = functools.lru_cache(maxsize=1024)(_Plan)


def _two(values: Any, fill: Any) -> tuple[int, ...]:
    return (fill,) * (2 - len(values)) + tuple(values)


def _lines(x: Any) -> Any:
    """(N, C, [H,] W) as rows of memory, channels last."""
    last = contiguous(x.transpose(0, *range(2, x.ndim), 1))
    return last.reshape(-1, last.shape[-1] * last.shape[-2])


def _served(*arrays: Any) -> bool:
    return all(a is None or (a.dtype == _FLOAT32 and a.size) for a in arrays)


# -- the functions ----------------------------------------------------------------------------------------------------


def _without_groups() -> Any:
    from . import convolution  # which calls this module for more than one group

    return convolution


def _wide(lanes: int, terms: int, taps: int, positions: int) -> bool:
    return min(lanes, terms) >= 32 and lanes * terms * taps * positions >= _WIDE


def _each(call: Any, groups: int, arrays: Any, channels: int, shape: Any, *geometry: Any) -> Any:
    """A convolution group by group: `arrays` with the dimension along which each is cut."""
    y = np.moveaxis(empty((shape[0], *shape[1:], channels), np.float32), -1, 1)
    parts = [np.split(a, groups, axis) if a is not None else [None] * groups for a, axis in arrays]
    for some, out in zip(zip(*parts), np.split(y, groups, 1)):
        part = call(*some, *geometry, 1)
        if part is NotImplemented:
            return NotImplemented
        do(np.copyto, out, part)
    return y


def _contract(plan: _Plan, x: Any, w: Any, bias: Any, n: int, shape: Any) -> Any:
    y = empty((n, *shape, plan.outputs), np.float32)
    rows, lines, numbers, tables = y.reshape(-1, plan.out[1] * plan.outputs), _lines(x), plan.numbers, plan.tables
    if plan.in_place:
        call: Any = _sum_in_place()
        w = contiguous(reshaped(w, -1, plan.taps).T)
        start = np.zeros(plan.outputs, np.float32) if bias is None else contiguous(bias)
    else:
        call, w, start = _sum(plan.expanded), made(plan.packed, w), made(plan.of_outputs, bias)

    def work(first: int, last: int) -> None:
        if plan.in_place:
            call(lines, w, start, rows, numbers, *tables, plan.table(), first, last)
            return
        ring, spare, table = plan.scratch(8)
        call(lines, w, start, rows, ring, spare, numbers, *tables, table, first, last)

    run(work, plan.pieces(n))
    return np.moveaxis(y, -1, 1)


def forward(input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The op `conv` for more than one group, in one or two dimensions."""
    if groups < 2 or input.ndim not in (3, 4) or not _served(input, weight, bias):
        return NotImplemented
    size, kernel = input.shape[2:], weight.shape[2:]
    out = [
        (n + b + a - d * (k - 1) - 1) // s + 1 for n, k, s, (b, a), d in zip(size, kernel, stride, padding, dilation)
    ]
    if _wide(len(weight) // groups, weight.shape[1], prod(kernel), len(input) * prod(out)):
        arrays, channels = ((input, 1), (weight, 0), (bias, 0)), len(weight)
        return _each(_without_groups().conv, groups, arrays, channels, (len(input), *out), stride, padding, dilation)
    geometry = _two(size, 1), _two(out, 1), _two(kernel, 1), _two(stride, 1), _two([b for b, _ in padding], 0)
    plan = _plan(groups, len(weight) // groups, weight.shape[1], *geometry, _two(dilation, 1), False)
    return _contract(plan, input, reshaped(weight, len(weight), weight.shape[1], -1), bias, len(input), out)


def input_gradient(grad: Any, weight: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The op `conv_input` for more than one group, in one or two dimensions."""
    if groups < 2 or grad.ndim not in (3, 4) or not _served(grad, weight):
        return NotImplemented
    out, kernel = grad.shape[2:], weight.shape[2:]
    if _wide(len(weight) // groups, weight.shape[1], prod(kernel), len(grad) * prod(out)):
        arrays, channels, shape = ((grad, 1), (weight, 0)), weight.shape[1] * groups, (len(grad), *size)
        return _each(_without_groups().conv_input, groups, arrays, channels, shape, size, stride, padding, dilation)
    geometry = _two(out, 1), _two(size, 1), _two(kernel, 1), _two(stride, 1), _two([b for b, _ in padding], 0)
    outputs, depth = len(weight) // groups, weight.shape[1]
    plan = _plan(groups, depth, outputs, *geometry, _two(dilation, 1), True)
    turned = reshaped(weight, groups, outputs, depth, -1).swapaxes(1, 2)
    turned = reshaped(turned, groups * depth, outputs, -1)
    return _contract(plan, grad, turned, None, len(grad), tuple(size))


def _depthwise_weight(plan: _Plan, lines: Any, g: Any, pieces: Any) -> Any:
    channels, width = plan.outputs, vector_width()
    vectors = -(-channels // width) * width
    parts = np.zeros((len(pieces), plan.taps, vectors), np.float32)
    beside = np.zeros((len(pieces), plan.taps, channels), np.float32)
    note(np.copyto, (parts, 0.0))
    note(np.copyto, (beside, 0.0))
    call, numbers, tables = _weight_in_place(), plan.numbers, plan.tables

    def work(part: int, first: int, last: int) -> None:
        call(lines, g, parts[part], beside[part], numbers, *tables, plan.table(), first, last)

    run(work, [(i, *piece) for i, piece in enumerate(pieces)])
    return made(_of_pieces, parts, beside, channels // width * width, channels)


def _of_pieces(parts: Any, beside: Any, whole: int, channels: int) -> Any:
    total, w = parts.sum(axis=0), beside.sum(axis=0)
    w[:, :whole] += total[:, :whole]
    if whole < channels:
        w[:, whole:] += total[:, whole - channels :]
    return w.T.copy()


def weight_gradient(input: Any, grad: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The op `conv_weight` for more than one group, in one or two dimensions."""
    if groups < 2 or input.ndim not in (3, 4) or not _served(input, grad):
        return NotImplemented
    size, out, outputs, depth = input.shape[2:], grad.shape[2:], grad.shape[1], input.shape[1] // groups
    if _wide(outputs // groups, depth, prod(kernel), len(input) * prod(out)):
        call, how = _without_groups().conv_weight, (kernel, stride, padding, dilation, 1)
        each = [call(x, g, *how) for x, g in zip(np.split(input, groups, 1), np.split(grad, groups, 1))]
        return NotImplemented if any(w is NotImplemented for w in each) else made(_concatenated, *each)
    geometry = _two(size, 1), _two(out, 1), _two(kernel, 1), _two(stride, 1), _two([b for b, _ in padding], 0)
    plan = _plan(groups, outputs // groups, depth, *geometry, _two(dilation, 1), False)
    lines, g, pieces = _lines(input), _lines(grad), plan.pieces(len(input))
    if plan.in_place:
        return _depthwise_weight(plan, lines, g, pieces).reshape(outputs, 1, *kernel)
    call = _weight(plan.expanded)
    parts = np.zeros((len(pieces), len(plan.blocks), plan.taps * plan.terms * vector_width()), np.float32)
    note(np.copyto, (parts, 0.0))
    numbers, tables = plan.numbers, plan.tables

    def work(part: int, first: int, last: int) -> None:
        ring, spare, table = plan.scratch(plan.out[1])
        call(lines, g, parts[part], ring, spare, numbers, *tables, table, first, last)

    run(work, [(i, *piece) for i, piece in enumerate(pieces)])
    return made(_unpacked, plan, parts).reshape(outputs, depth, *kernel)


def _unpacked(plan: _Plan, parts: Any) -> Any:
    return plan.unpacked(parts.sum(axis=0))


def _concatenated(*arrays: Any) -> Any:
    return np.concatenate(arrays)
