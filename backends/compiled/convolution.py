"""Convolutions of float32 as sums over taps of small matrix products, on tiles of registers (intrinsics.py).

With channels last in memory, a run of output positions in a row reads rows of the input that lie a fixed stride apart,
so each tap of the kernel is a matrix product in place: positions by channels times channels by outputs. Nothing is
gathered per tap. What is copied:

* the weight, once per call, into panels [block of outputs][tap][channel][some vectors of outputs];
* the input, a few samples at a time per thread and only where need be, into a frame: zeros around it, channels last
  if they are not, and with rows of channels moved apart where a power of two would map them to the same cache lines.

`conv_input` is the same sum for each residue of the position modulo the stride (its phase), with the taps that meet it;
or, for large kernels without padding, each output's share added where its window lies. `conv_weight` reads the frame
transposed, and multiplies packed panels of the output's gradient. With up to four outputs, vectors lie along the
channels. Kernels of 3 x 3 go to winograd.py where that is quicker, groups to depthwise.py.

All geometry is worked out in Python, once per shape, into tables of offsets that kernels walk through: lines of
positions, taps, phases. So one to three dimensions, stride, dilation and padding cost the kernels nothing.

Turned down: im2col (copies each input once per tap; half the speed here), a tile that spans several lines (its rows
need an address each).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..numpy.memory import empty, zeros
from . import depthwise, winograd
from .build import inlined, kernel
from .intrinsics import address, call_at, edged_microkernel, move, narrow_microkernel, transpose_tile, vector_width
from .listed import contiguous, do, made, note, own
from .pool import parallel, run, threads, worth

__all__ = ["SERVES"]

_FLOAT32 = np.dtype(np.float32)
#: elements of the sum that one visit of a tile takes: its panel of weights stays in the first-level cache
_DEPTH = 256
#: elements of input that a thread works on at a time: half a second-level cache
_BLOCK = 1 << 17
#: elements of scratch that a thread keeps
_KEPT = 1 << 18
#: multiplications that are worth a thread of their own
_LEAST = 1 << 22
f4 = np.float32


# -- kernels ----------------------------------------------------------------------------------------------------------


_LANES = vector_width()
_transpose, _call = transpose_tile(), call_at(15)


@inlined
def _frame(x, frame, at, table, pixels, channels, apart, planes, step):
    """Copy a sample's lines of `pixels` into its frame: (from, to) of each in `table`; planes: x is channels first.

    Pixels are `step` numbers from each other in x, and `apart` in the frame.
    """
    for i in range(len(table)):
        source, target = at + table[i, 0], table[i, 1]
        if planes > 0:
            deep = channels // _LANES * _LANES
            for c in range(0, deep, _LANES):
                for w in range(0, pixels // _LANES * _LANES, _LANES):
                    _transpose(
                        address(x) + 4 * (source + c * planes + w), planes,
                        address(frame) + 4 * (target + w * apart + c), apart,
                    )  # fmt: skip
            for c in range(channels):
                w = pixels // _LANES * _LANES if c < deep else 0
                a = x[source + c * planes + w : source + c * planes + pixels]
                b = frame[target + w * apart + c :]
                for j in range(len(a)):
                    b[j * apart] = a[j]
        elif apart == channels and step == channels:
            a = x[source : source + pixels * channels]
            b = frame[target : target + pixels * channels]
            for j in range(len(b)):
                b[j] = a[j]
        else:
            for w in range(pixels):
                a = x[source + w * step : source + w * step + channels]
                b = frame[target + w * apart : target + w * apart + channels]
                for j in range(len(b)):
                    b[j] = a[j]


@kernel("f4[:] f4[:,:] i8[:,:] f4[:,:] i8 i8 i8 i8 i8 i8")
def _pack(w, panels, rows, stages, run, apart, across, columns, start, stop):
    """Row rows[i, 0] + block rows[i, 1] of panels gets the i-th number of w's runs, for all columns of the block.

    Runs are `apart` from each other in memory, columns `across`. A tile of columns and numbers is transposed in
    registers, and its rows go where they belong, a negative one nowhere.
    """
    runs, width = len(rows) // run, panels.shape[1]
    stage, source, target = address(stages) + 4 * _LANES * _LANES * start, address(w), address(panels)
    for block in range(start, stop):
        for part in range(0, width, _LANES):
            first = block * width + part
            n = min(_LANES, columns - first)
            for r in range(runs):
                corner = r * apart + first * across
                for f in range(0, run, _LANES):
                    count = min(_LANES, run - f)
                    at = corner + f
                    if n == _LANES and at + (_LANES - 1) * across + _LANES <= w.size:
                        _transpose(source + 4 * at, across, stage, _LANES)
                        for i in range(count):
                            row = rows[r * run + f + i, 0]
                            if row >= 0:
                                row += block * rows[r * run + f + i, 1]
                                move(stage + 4 * i * _LANES, target + 4 * (row * width + part))
                    else:
                        for i in range(count):
                            row = rows[r * run + f + i, 0]
                            if row >= 0:
                                line = panels[row + block * rows[r * run + f + i, 1], part:]
                                for j in range(_LANES):
                                    line[j] = w[at + i + j * across] if j < n else f4(0)


@kernel("f4[:] f4[:,:] i8[:,:] i8 i8 i8")
def _pack_rows(w, panels, rows, columns, start, stop):
    """The same, for a weight whose columns are next to each other in memory."""
    width = panels.shape[1]
    for block in range(start, stop):
        n = min(width, columns - block * width)
        for i in range(len(rows)):
            row = rows[i, 0]
            if row >= 0:
                line = panels[row + block * rows[i, 1]]
                source = w[i * columns + block * width : i * columns + block * width + n]
                for j in range(len(source)):
                    line[j] = source[j]
                for j in range(n, width):
                    line[j] = f4(0)


@kernel("f4[:] f4[:,:] f4[:] f4[:] f4[:] i8[:] i8[:,:] i8[:,:] i8[:] i8[:,:] i8[:] i8 i8 i8 i8")
def _sum_over_taps(x, panels, bias, y, frame, plan, framing, lines, taps, phases, tile, start, stop, block, end):
    samples, framed, pixels, channels, apart, planes = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5]
    size_x, size_frame, size_y, depth, at_once, columns = plan[6], plan[7], plan[8], plan[9], plan[10], plan[11]
    rs, ldc, biased, lines_at_once, step = plan[12], plan[13], plan[14], plan[15], plan[16]
    whole, short, rows, width = tile[0], tile[1], tile[2], panels.shape[1]
    if framed > 0:
        frame[:] = f4(0)
    to, panel, table, begin = address(y), address(panels), address(taps), address(bias)
    for turn in range((stop - start + samples - 1) // samples):
        n = start + turn * samples
        count = min(samples, stop - n)
        if framed > 0:
            for i in range(count):
                _frame(x, frame[i * size_frame :], (n + i) * size_x, framing, pixels, channels, apart, planes, step)
            base, size = address(frame), size_frame
        else:
            base, size = address(x) + 4 * n * size_x, size_x
        for p in range(len(phases)):
            first, last, wholes, shorts = phases[p, 0], phases[p, 1], phases[p, 2], phases[p, 3]
            tap, tap_end, matrix = phases[p, 4], phases[p, 5], phases[p, 6]
            for group in range((last - first + lines_at_once - 1) // lines_at_once):
                l0 = first + group * lines_at_once
                l1 = min(l0 + lines_at_once, last)
                for o in range(block, end):
                    n_columns = min(width, columns - o * width)
                    for visit in range((tap_end - tap + at_once - 1) // at_once):
                        t = tap + visit * at_once
                        corner = panel + 4 * width * (matrix + (o * (tap_end - tap) - tap) * depth)
                        for i in range(count):
                            for l in range(l0, l1):
                                t0, t1 = max(t, lines[l, 2]), min(t + at_once, lines[l, 3])
                                if t0 >= t1:
                                    continue
                                a = base + 4 * (i * size + lines[l, 0])
                                b = corner + 4 * width * t0 * depth
                                c = to + 4 * ((n + i) * size_y + lines[l, 1] + o * width)
                                s, lds, beta = c, ldc, 1
                                if t0 == lines[l, 2] and biased >= 0:
                                    s, lds, beta = begin + 4 * o * width, 0, biased
                                for _ in range(wholes):
                                    _call(
                                        whole,
                                        (
                                            a,
                                            b,
                                            c,
                                            table + 8 * t0,
                                            t1 - t0,
                                            depth,
                                            rs,
                                            1,
                                            width,
                                            depth * width,
                                            ldc,
                                            beta,
                                            s,
                                            lds,
                                            n_columns,
                                        ),
                                    )
                                    a += 4 * rows * rs
                                    c += 4 * rows * ldc
                                    s += 4 * rows * lds
                                for _ in range(shorts):
                                    _call(
                                        short,
                                        (
                                            a,
                                            b,
                                            c,
                                            table + 8 * t0,
                                            t1 - t0,
                                            depth,
                                            rs,
                                            1,
                                            width,
                                            depth * width,
                                            ldc,
                                            beta,
                                            s,
                                            lds,
                                            n_columns,
                                        ),
                                    )
                                    a += 4 * (rows - 1) * rs
                                    c += 4 * (rows - 1) * ldc
                                    s += 4 * (rows - 1) * lds


@kernel("f4[:] f4[:] f4[:,:] f4[:] f4[:,:] i8[:] i8[:,:] i8[:] i8[:] i8[:] i8[:] i8 i8 i8 i8")
def _sum_over_positions(x, g, w, frame, panel, plan, framing, lines, taps, reads, tile, start, stop, block, end):
    samples, framed, pixels, channels, apart, planes = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5]
    size_x, size_frame, columns, line, cs, lines_at_once = plan[6], plan[7], plan[8], plan[9], plan[10], plan[11]
    g_planes, wholes, shorts, step = plan[12], plan[13], plan[14], plan[15]
    whole, short, rows, width = tile[0], tile[1], tile[2], panel.shape[1]
    row = wholes * rows + shorts * (rows - 1)
    if framed > 0:
        frame[:] = f4(0)
    target, packed, table = address(w), address(panel), address(reads)
    ldw = w.shape[1]
    for turn in range((stop - start + samples - 1) // samples):
        n = start + turn * samples
        count = min(samples, stop - n)
        if framed > 0:
            for i in range(count):
                _frame(x, frame[i * size_frame :], (n + i) * size_x, framing, pixels, channels, apart, planes, step)
            base, size = address(frame), size_frame
        else:
            base, size = address(x) + 4 * n * size_x, size_x
        for group in range((len(lines) + lines_at_once - 1) // lines_at_once):
            l0 = group * lines_at_once
            l1 = min(l0 + lines_at_once, len(lines))
            n_lines = count * (l1 - l0)
            beta = 0 if n == start and l0 == 0 else 1
            for i in range(count):
                for l in range(l0, l1):
                    reads[i * (l1 - l0) + l - l0] = i * size + lines[l]
            # the panels of four blocks at a time, so that g is read in long runs
            for o0 in range(block, end, 4):
                o1 = min(o0 + 4, end)
                for i in range(count):
                    p0 = (n + i) * len(lines) * line + l0 * line
                    r0 = i * (l1 - l0) * line
                    if g_planes > 0:
                        for column in range(o0 * width, min(o1 * width, columns)):
                            o, j = column // width - o0, column % width
                            corner = (n + i) * columns * g_planes + column * g_planes + l0 * line
                            source = g[corner : corner + (l1 - l0) * line]
                            rows_of = panel[o * n_lines * line + r0 :]
                            for q in range(len(source)):
                                rows_of[q, j] = source[q]
                    else:
                        for q in range(0, (l1 - l0) * line, 16):
                            run = min(16, (l1 - l0) * line - q)
                            for o in range(o0, o1):
                                n_columns = min(width, columns - o * width)
                                at, r = (p0 + q) * columns + o * width, (o - o0) * n_lines * line + r0 + q
                                # what is copied beyond the last column is the next position's, and goes nowhere
                                if at + (run - 1) * columns + n_columns + _LANES <= g.size:
                                    for j in range(0, n_columns, _LANES):
                                        a, to = address(g) + 4 * (at + j), packed + 4 * (r * width + j)
                                        for _ in range(run):
                                            move(a, to)
                                            a += 4 * columns
                                            to += 4 * width
                                else:
                                    for k in range(run):
                                        for j in range(n_columns):
                                            panel[r + k, j] = g[at + k * columns + j]
                for o in range(o0, o1):
                    b = packed + 4 * (o - o0) * n_lines * line * width
                    for t in range(len(taps)):
                        a = base + 4 * taps[t]
                        c = target + 4 * (t * row * ldw + o * width)
                        for _ in range(wholes):
                            _call(
                                whole,
                                (a, b, c, table, n_lines, line, 1, cs, width, line * width, ldw, beta, c, ldw, width),
                            )
                            a += 4 * rows
                            c += 4 * rows * ldw
                        for _ in range(shorts):
                            _call(
                                short,
                                (a, b, c, table, n_lines, line, 1, cs, width, line * width, ldw, beta, c, ldw, width),
                            )
                            a += 4 * (rows - 1)
                            c += 4 * (rows - 1) * ldw


@kernel("f4[:,:] i8 i8")
def _add_up(parts, start, stop):
    """parts[0] += the sum of the others, in their order."""
    total = parts[0, start:stop]
    for i in range(1, len(parts)):
        part = parts[i, start:stop]
        for j in range(len(total)):
            total[j] += part[j]


@kernel("f4[:,:] f4[:,:] f4[:,:] i8 i8 i8")
def _unpack(matrix, w, stages, taps, start, stop):
    """w[o, (c, tap)] = matrix[(tap, c), o], for the outputs from start to stop, by tiles."""
    n, row = w.shape[1], matrix.shape[1]
    depth = n // taps
    stage, source, target = address(stages) + 4 * _LANES * _LANES * (start // _LANES), address(matrix), address(w)
    for first in range(start, stop, _LANES):
        c = t = 0
        outputs = min(_LANES, stop - first)
        for f in range(0, n, _LANES):
            count = min(_LANES, n - f)
            if outputs == _LANES and count == _LANES:
                for i in range(_LANES):
                    move(source + 4 * ((t * depth + c) * row + first), stage + 4 * i * _LANES)
                    t += 1
                    if t == taps:
                        t, c = 0, c + 1
                _transpose(stage, _LANES, target + 4 * (first * n + f), n)
            else:
                for i in range(count):
                    line = matrix[t * depth + c, first : first + outputs]
                    for o in range(len(line)):
                        w[first + o, f + i] = line[o]
                    t += 1
                    if t == taps:
                        t, c = 0, c + 1


# -- geometry ---------------------------------------------------------------------------------------------------------


def _three(values: Any, fill: Any) -> tuple[Any, ...]:
    """Numbers for one to three dimensions as numbers for three."""
    return (fill,) * (3 - len(values)) + tuple(values)


def _registers() -> int:
    return 32 if vector_width() == 16 else 16


def _tile(length: int, columns: int) -> tuple[int, int]:
    """(rows, vectors) of the tile of registers for lines of `length` and a number of columns."""
    lanes, registers = vector_width(), _registers()
    n = -(-columns // lanes)
    best, found = 0.0, (1, 1)
    for vectors in range(1, min(n, 4) + 1):
        most = min(14, (registers - 1 - vectors) // vectors)  # accumulators, a row of the panel, a number of the input
        rows = -(-length // -(-length // most))
        # what part of the columns is of use; multiplications per load, of which two are free; latency to be hidden
        useful = n / (-(-n // vectors) * vectors)
        busy = min(1.0, rows * vectors / (rows + vectors)) * min(1.0, rows * vectors / 8)
        if useful * busy * (1 + rows * vectors / 1000) > best:
            best, found = useful * busy * (1 + rows * vectors / 1000), (rows, vectors)
    return found


@cache
def _code(rows: int, across: int, narrow: bool = False) -> Any:
    """The code of a tile and of one that is a row shorter, as kernels take them."""
    make = narrow_microkernel if narrow else edged_microkernel
    return np.array([make(rows, across), make(max(rows - 1, 1), across), rows], np.int64)


def _pieces(length: int, rows: int) -> tuple[int, int]:
    """`length` as so many times `rows` and so many times rows - 1."""
    n = -(-length // rows)
    shorts = n * rows - length
    return n - shorts, shorts


class _Frame:
    """Where a window of positions of the input lies in memory: the input itself, or a copy with zeros around."""

    def __init__(
        self, channels: int, size: Any, low: Any, high: Any, planes: bool, spread: bool, every: Any = (1, 1, 1)
    ) -> None:
        """`low` and `high` bound the window, in steps of `every` positions."""
        inner = [(max(a, 0), min(b, -(-n // e))) for a, b, n, e in zip(low, high, size, every)]
        outside = any(pair != (a, b) for pair, a, b in zip(inner, low, high))
        apart = channels + 16 if spread and channels % 512 == 0 else channels
        self.framed = outside or planes or apart != channels or prod(every) > 1
        self.channels, self.planes = channels, prod(size) if planes else 0
        self.apart = apart if self.framed else channels
        self.extent = [b - a for a, b in zip(low, high)] if self.framed else list(size)
        self.origin = 0 if self.framed else self.offset(low)
        self.size_x = channels * prod(size)
        self.size = self.offset((self.extent[0], 0, 0)) if self.framed else self.size_x
        self.pixels = max(inner[2][1] - inner[2][0], 0)
        table = []
        number = 1 if planes else channels
        self.step = number * every[2]
        for d in range(*inner[0]):
            for h in range(*inner[1]):
                source = (d * every[0] * size[1] + h * every[1]) * size[2] * number + inner[2][0] * self.step
                table.append((source, self.offset((d - low[0], h - low[1], inner[2][0] - low[2]))))
        self.table = np.array(table if self.framed and self.pixels else [], np.int64).reshape(-1, 2)

    def offset(self, position: Any) -> int:
        d, h, w = position
        return ((d * self.extent[1] + h) * self.extent[2] + w) * self.apart

    def numbers(self, samples: int) -> list[int]:
        return [
            samples, int(self.framed), self.pixels, self.channels, self.apart, self.planes, self.size_x, self.size,
        ]  # fmt: skip


def _chunk(depth: int) -> int:
    """The largest divisor of `depth` up to _DEPTH, unless that is small."""
    found = next(n for n in range(min(depth, _DEPTH), 0, -1) if depth % n == 0)
    return found if found * 4 >= min(depth, _DEPTH) else depth


class _Plan:
    """All that `sum_over_taps` is told about a geometry.

    The output has `out` positions, cut into phases: (first position in each dimension, step, count, taps); a tap is
    (number in the kernel, position of the input that the first output reads); `stride` is how far apart two outputs of
    a phase read. Where it `adds`, phases have outputs in common and add to them.
    """

    def __init__(
        self, channels: int, size: Any, planes: bool, columns: int, out: Any, stride: Any, step: Any, phases: Any,
        adds: bool = False, every: Any = (1, 1, 1),
    ) -> None:  # fmt: skip
        low = [min(t[1][i] for p in phases for t in p[2]) for i in range(3)]
        high = [max(t[1][i] + (p[1][i] - 1) * stride[i] + 1 for p in phases for t in p[2]) for i in range(3)]
        pointwise = len(phases) == 1 and len(phases[0][2]) == 1
        few = columns <= 64  # then spreading the rows costs more than it brings
        self.frame = frame = _Frame(channels, size, low, high, planes, not (pointwise and few), every)
        self.columns, self.out = columns, out
        self.order: list[int] = []
        runs = [_runs([t[1] for t in p[2]]) for p in phases]
        run = runs[0] if len(set(runs)) == 1 and frame.apart == channels else 1
        self.depth = _chunk(run * channels) if run * channels <= _DEPTH else _chunk(channels)
        lines: list[Any] = []
        taps: list[int] = []
        table = []
        self.length = max(p[1][2] for p in phases)
        self.narrow = columns <= 4 and self.depth % vector_width() == 0
        if self.narrow:
            rows = -(-self.length // -(-self.length // max(1, min(8, _registers() // (columns + 1) - 1))))
            self.tile, self.width = (rows, columns), columns
        else:
            self.tile = _tile(self.length, columns)
            self.width = self.tile[1] * vector_width()
        for start, count, members in phases:
            first, tap, matrix = len(lines), len(taps), len(self.order)
            reads = []
            for number, position in members:
                self.order.append(number)
                position = [a - b for a, b in zip(position, low)] if frame.framed else position
                reads += [frame.offset(position) + c for c in range(0, channels, self.depth if run == 1 else channels)]
            if run > 1:
                every = run * channels // self.depth
                reads = [r + i * self.depth for r in reads[::run] for i in range(every)]
            for d, h in product(range(count[0]), range(count[1])):
                source = frame.offset((d * stride[0], h * stride[1], 0))
                target = [s + i * t for s, i, t in zip(start, (d, h, 0), step)]
                # lines above and below the input are zero: taps that read only these are left out
                inside = [
                    i
                    for i, (_, p) in enumerate(members)
                    if 0 <= p[0] + d * stride[0] < size[0] and 0 <= p[1] + h * stride[1] < size[1]
                ] or [0]
                lines.append(
                    (
                        source,
                        ((target[0] * out[1] + target[1]) * out[2] + target[2]) * columns,
                        tap + inside[0] * len(reads) // len(members),
                        tap - (-(inside[-1] + 1) * len(reads) // len(members)),
                    )
                )
            taps += reads
            table.append((first, len(lines), *_pieces(count[2], self.tile[0]), tap, len(taps), matrix * channels))
        self.lines, self.taps = np.array(lines, np.int64), np.array(taps, np.int64)
        self.phases = np.array(table, np.int64)
        self.positions = prod(size) if adds else sum(prod(p[1]) for p in phases)
        self.covers = self.positions == prod(out)
        self.samples = max(1, min(256 // self.positions, 2 * _BLOCK // frame.size))
        a_line = max(1, frame.apart * stride[1] * stride[2] * self.length)
        at_once = max(1, 96 // self.length, _BLOCK // a_line // self.samples)
        self.numbers = np.array(
            [
                *frame.numbers(self.samples), prod(out) * columns, self.depth,
                len(taps) if self.narrow else max(1, _DEPTH // self.depth), columns,
                stride[2] * frame.apart, step[2] * columns, -1 if adds else 0, at_once, frame.step,
            ],
            np.int64,
        )  # fmt: skip
        self.with_bias = self.numbers.copy()
        self.with_bias[14] = 1
        self._rows: dict[Any, Any] = {}
        self.work = sum(prod(p[1]) * len(p[2]) for p in phases) * channels * columns

    def rows(self, shape: Any, strides: Any, turned: bool, blocks: int) -> tuple[Any, int, int]:
        """Where the numbers of a weight belong in the panels, in the order in which they lie in memory.

        For each: the row in the first block of columns, -1 if no phase reads it, and how much further the row is in
        each block after that. Then the length of runs without gaps, and the distance from run to run.
        """
        found = self._rows.get((strides, turned, blocks))
        if found is None:
            column, k = (1, 0) if turned else (0, 1)
            depth, taps = shape[k], prod(shape[2:])
            table = np.full((depth, taps, 2), -1, np.int64)
            ends = [*self.phases[1:, 6] // depth, len(self.order)]
            for first, end in zip(self.phases[:, 6] // depth, ends):
                for i, number in enumerate(self.order[first:end]):
                    table[:, number, 0] = (first * blocks + i) * depth + np.arange(depth)
                    table[:, number, 1] = (end - first) * depth
            # all dimensions but that of the columns, as they lie in memory
            others = sorted((i for i in range(len(shape)) if i != column), key=lambda i: -strides[i])
            table = table.reshape(depth, *shape[2:], 2)
            place = {k: 0, **{i: i - 1 for i in range(2, len(shape))}}
            table = np.ascontiguousarray(table.transpose(*[place[i] for i in others], table.ndim - 1)).reshape(-1, 2)
            inside = [i for i in others if strides[i] < strides[column]]
            run = prod(shape[i] for i in inside) if strides[column] != 1 else len(table)
            apart = strides[column] * shape[column]
            self._rows[strides, turned, blocks] = found = (table, run, apart)
        return found


def _runs(positions: Any) -> int:
    """How many neighbours in the last dimension each run of the sorted positions has, if all have as many; else 1."""
    lengths: list[int] = []
    last = None
    for d, h, w in positions:
        if last == (d, h, w - 1):
            lengths[-1] += 1
        else:
            lengths.append(1)
        last = (d, h, w)
    return lengths[0] if len(set(lengths)) == 1 else 1


def _flat(size: Any) -> Any:
    """Positions of a pointwise convolution as lines of some two hundred."""
    total = prod(size)
    line = next(n for n in range(min(total, 256), 0, -1) if total % n == 0)
    return (1, total // line, line) if line >= 14 or total < 14 else size


def _sparse(size: Any, planes: bool, kernel: Any, out: Any, stride: Any, before: Any) -> bool:
    """Whether a pointwise convolution leaves positions out: those that it reads are then copied side by side."""
    inside = not any(before) and all((p - 1) * s < n for p, s, n in zip(out, stride, size))
    return inside and prod(kernel) == 1 and prod(stride) > 1 and not planes


@lru_cache(maxsize=1024)
def _forward_plan(channels, size, planes, columns, kernel, out, stride, dilation, before):
    if prod(kernel) == 1 and prod(stride) == 1 and size == out and not any(before):
        size = out = _flat(size)
    if _sparse(size, planes, kernel, out, stride, before):
        only = ((0, 0, 0), out, [(0, (0, 0, 0))])
        return _Plan(channels, size, planes, columns, out, (1, 1, 1), (1, 1, 1), [only], every=stride)
    taps = [
        (n, tuple([i * d - b for i, d, b in zip(tap, dilation, before)]))
        for n, tap in enumerate(product(*map(range, kernel)))
    ]
    return _Plan(channels, size, planes, columns, out, stride, (1, 1, 1), [((0, 0, 0), out, taps)])


@lru_cache(maxsize=1024)
def _backward_plan(channels, size, planes, columns, kernel, out, stride, dilation, before):
    """`size` are the positions of the gradient that is given, `out` those of the one that is asked for."""
    valid = not any(before) and all(n == p + d * (k - 1) for n, p, d, k in zip(out, size, dilation, kernel))
    if valid and out[2] > 1.2 * size[2] and prod(stride) == 1 and channels >= 32 and columns > 4:
        # each output's share is added where its window lies: nothing is multiplied by a border of zeros
        taps = enumerate(product(*map(range, kernel)))
        phases = [([i * d for i, d in zip(tap, dilation)], size, [(n, (0, 0, 0))]) for n, tap in taps]
        return _Plan(channels, size, planes, columns, out, stride, (1, 1, 1), phases, adds=True)
    if prod(kernel) == 1 and prod(stride) == 1 and size == out and not any(before):
        size = out = _flat(size)
    phases = []
    for residue in product(*map(range, stride)):
        start = [(r - b) % s for r, b, s in zip(residue, before, stride)]
        count = [len(range(a, n, s)) for a, n, s in zip(start, out, stride)]
        taps = []
        for n, tap in enumerate(product(*map(range, kernel))):
            at = [a + b - i * d for a, b, i, d in zip(start, before, tap, dilation)]
            if all(a % s == 0 for a, s in zip(at, stride)):
                taps.append((n, tuple([a // s for a, s in zip(at, stride)])))
        if taps and all(count):
            phases.append((start, count, sorted(taps, key=lambda t: t[1])))
    return _Plan(channels, size, planes, columns, out, (1, 1, 1), stride, phases) if phases else None


# -- calls ------------------------------------------------------------------------------------------------------------

_local = threading.local()


def _scratch(name: str, size: int) -> Any:
    """An array whose content is anything; one that is not large is kept for this thread's next call."""
    if size > _KEPT:
        return empty((size,), np.float32)
    mine = own(_local)
    found = getattr(mine, name, None)
    if found is None or found.size < size:
        found = np.empty(size, np.float32)
        setattr(mine, name, found)
    return found[:size]


def _source(x: Any) -> tuple[Any, bool]:
    """x (N, C, *S) as one run of memory, and whether channels come first in it."""
    last = x.transpose(0, *range(2, x.ndim), 1)
    if last.flags.c_contiguous:
        return last.reshape(-1), False
    if x.flags.c_contiguous:
        return x.reshape(-1), True
    return contiguous(last).reshape(-1), False


def _channels_second(y: Any) -> Any:
    return y.transpose(0, y.ndim - 1, *range(1, y.ndim - 1))


def _flat_weight(w: Any) -> tuple[Any, list[int]]:
    """The weight as one run of memory, and the strides of its dimensions there."""
    order = sorted(range(w.ndim), key=lambda i: -w.strides[i])
    if not w.transpose(order).flags.c_contiguous:
        order = list(range(w.ndim))
        w = contiguous(w)
    strides, step = [0] * w.ndim, 1
    for i in reversed(order):
        strides[i] = step
        step *= w.shape[i]
    return w.transpose(order).reshape(-1), strides


def _narrow_panels(plan: _Plan, weight: Any, turned: bool) -> Any:
    w = weight.reshape(*weight.shape[:2], -1).transpose((2, 0, 1) if turned else (2, 1, 0))[plan.order]
    w = w.reshape(-1, plan.depth, plan.columns).swapaxes(1, 2)
    return np.ascontiguousarray(w).reshape(-1, plan.columns)


def _panels(plan: _Plan, weight: Any, turned: bool) -> Any:
    """The weight's panels, in the order in which a plan reads them."""
    if plan.narrow:
        return made(_narrow_panels, plan, weight, turned)
    flat, strides = _flat_weight(weight)
    depth, across = (weight.shape[0], strides[1]) if turned else (weight.shape[1], strides[0])
    width = plan.width
    blocks = -(-plan.columns // width)
    rows, run, apart = plan.rows(weight.shape, tuple(strides), turned, blocks)
    panels = empty((len(plan.order) * blocks * depth, width), np.float32)
    least = 1 + (1 << 15) // (len(rows) * width)
    if across == 1:
        parallel(_pack_rows, blocks, flat, panels, rows, plan.columns, least=least)
    else:
        stages = np.empty((blocks, vector_width() ** 2), np.float32)
        parallel(_pack, blocks, flat, panels, rows, stages, run, apart, across, plan.columns, least=least)
    return panels


def _cut(total: int, n: int) -> list[tuple[int, int]]:
    """0 .. total in at most n nearly equal ranges."""
    n = max(1, min(n, total))
    return [(total * i // n, total * (i + 1) // n) for i in range(n)]


def _contract(plan: _Plan, x: Any, n: int, weight: Any, bias: Any, turned: bool) -> Any:
    """The sum over a plan's taps, for all samples: memory of channels last."""
    width = plan.width
    blocks = -(-plan.columns // width)
    make = empty if plan.covers else zeros
    y = make((n * prod(plan.out) * plan.columns,), np.float32)
    if not plan.covers:
        note(np.copyto, (y, 0.0))
    panels = _panels(plan, weight, turned)
    start = np.zeros(blocks * width, np.float32)
    if bias is not None:
        do(np.copyto, start[: plan.columns], bias)
    numbers = plan.numbers if bias is None else plan.with_bias
    tile = _code(*plan.tile, plan.narrow)
    size = plan.samples * plan.frame.size if plan.frame.framed else 0
    phases = plan.phases.copy()
    phases[:, 6] *= blocks

    def work(samples: Any, outputs: Any) -> None:
        _sum_over_taps(
            x, panels, start, y, _scratch("frame", size), numbers, plan.frame.table, plan.lines, plan.taps, phases,
            tile, *samples, *outputs,
        )  # fmt: skip

    workers = max(1, min(threads(), plan.work * n // worth(_LEAST)))
    if n >= 2 * workers or (n >= workers and blocks < workers):
        pieces = [(s, (0, blocks)) for s in _cut(n, workers)]
    else:
        pieces = [((0, n), o) for o in _cut(blocks, workers)]
    run(work, pieces)
    return y


def _fits(*arrays: Any) -> bool:
    return all(a is None or a.dtype == _FLOAT32 for a in arrays) and all(a is None or a.size for a in arrays)


def _winograd(kernel: Any, stride: Any, padding: Any, dilation: Any) -> bool:
    """Whether this is a geometry of winograd.py, which says itself where it pays."""
    usual = all(0 <= n <= 2 for pair in padding for n in pair)
    return usual and tuple(kernel) == (3, 3) and prod(stride) == 1 and prod(dilation) == 1


def conv(input: Any, weight: Any, bias: Any = None, stride=(1,), padding=((0, 0),), dilation=(1,), groups=1) -> Any:
    """The op `conv`."""
    if groups != 1:
        return depthwise.forward(input, weight, bias, stride, padding, dilation, groups)
    if not _fits(input, weight, bias):
        return NotImplemented
    if _winograd(weight.shape[2:], stride, padding, dilation):
        found = winograd.forward(input, weight, bias, padding)
        if found is not NotImplemented:
            return found
    size, kernel = input.shape[2:], weight.shape[2:]
    out = [
        (n + b + a - d * (k - 1) - 1) // s + 1 for n, k, s, (b, a), d in zip(size, kernel, stride, padding, dilation)
    ]
    if prod(out) <= 2:
        return NotImplemented  # a matrix product of whole samples
    x, planes = _source(input)
    geometry = [_three(v, f) for v, f in ((kernel, 1), (out, 1), (stride, 1), (dilation, 1))]
    before = _three([b for b, _ in padding], 0)
    plan = _forward_plan(input.shape[1], _three(size, 1), planes, weight.shape[0], *geometry, before)
    y = _contract(plan, x, input.shape[0], weight, bias, turned=False)
    return _channels_second(y.reshape(input.shape[0], *out, weight.shape[0]))


def conv_input(grad: Any, weight: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The op `conv_input`."""
    if groups != 1:
        return depthwise.input_gradient(grad, weight, size, stride, padding, dilation, groups)
    if not _fits(grad, weight) or prod(grad.shape[2:]) <= 2:
        return NotImplemented
    if _winograd(weight.shape[2:], stride, padding, dilation):
        found = winograd.input_gradient(grad, weight, tuple(size), padding)
        if found is not NotImplemented:
            return found
    x, planes = _source(grad)
    geometry = [_three(v, f) for v, f in ((weight.shape[2:], 1), (size, 1), (stride, 1), (dilation, 1))]
    before = _three([b for b, _ in padding], 0)
    plan = _backward_plan(grad.shape[1], _three(grad.shape[2:], 1), planes, weight.shape[1], *geometry, before)
    if plan is None:
        return NotImplemented
    y = _contract(plan, x, grad.shape[0], weight, None, turned=True)
    return _channels_second(y.reshape(grad.shape[0], *size, weight.shape[1]))


@lru_cache(maxsize=1024)
def _weight_plan(channels, size, planes, columns, g_planes, kernel, out, stride, dilation, before):
    if prod(kernel) == 1 and prod(stride) == 1 and size == out and not any(before):
        size = out = _flat(size)
    every = (1, 1, 1)
    if _sparse(size, planes, kernel, out, stride, before):
        every, stride = stride, every
    low = [-b for b in before]
    high = [(p - 1) * s - b + (k - 1) * d + 1 for p, s, b, k, d in zip(out, stride, before, kernel, dilation)]
    frame = _Frame(channels, size, low, high, planes, True, every)
    near = dilation[2] == 1 and frame.apart == channels
    row = channels * kernel[2] if near else channels
    taps = [
        frame.offset([i * d for i, d in zip(tap, dilation)]) + frame.origin
        for tap in product(range(kernel[0]), range(kernel[1]), range(1 if near else kernel[2]))
    ]
    lines = [frame.offset((d * stride[0], h * stride[1], 0)) for d, h in product(range(out[0]), range(out[1]))]
    tile = _tile(row, columns)
    samples = max(1, min(512 // prod(out), 2 * _BLOCK // frame.size))
    at_once = max(1, min(512 // out[2], _BLOCK // max(1, frame.apart * stride[1] * stride[2] * out[2])))
    numbers = [
        *frame.numbers(samples), columns, out[2], stride[2] * frame.apart, at_once, prod(out) if g_planes else 0,
        *_pieces(row, tile[0]), frame.step,
    ]  # fmt: skip
    return (
        frame,
        tile,
        samples,
        samples * min(at_once, len(lines)),
        out[2],
        *[np.array(v, np.int64) for v in (numbers, lines, taps)],
    )


def conv_weight(input: Any, grad: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The op `conv_weight`."""
    if groups != 1:
        return depthwise.weight_gradient(input, grad, kernel, stride, padding, dilation, groups)
    if not _fits(input, grad) or prod(grad.shape[2:]) <= 2:
        return NotImplemented
    if _winograd(kernel, stride, padding, dilation):
        found = winograd.weight_gradient(input, grad, padding)
        if found is not NotImplemented:
            return found
    (n, channels, *size), columns, out, kernel = input.shape, grad.shape[1], grad.shape[2:], tuple(kernel)
    x, planes = _source(input)
    g, g_planes = _source(grad)
    geometry = [_three(v, f) for v, f in ((kernel, 1), (out, 1), (stride, 1), (dilation, 1))]
    before = _three([b for b, _ in padding], 0)
    plan = _weight_plan(channels, _three(size, 1), planes, columns, g_planes, *geometry, before)
    frame, tile, samples, n_lines, line, numbers, lines, taps = plan
    width = tile[1] * vector_width()
    blocks = -(-columns // width)
    rows = prod(kernel) * channels
    workers = max(1, min(threads(), prod(out) * n * rows * columns // _LEAST))
    if (rows * columns > 1 << 17 and blocks >= workers) or n < workers:
        pieces = [(0, (0, n), o) for o in _cut(blocks, workers)]
    else:
        pieces = [(i, s, (0, blocks)) for i, s in enumerate(_cut(n, workers))]
    parts = empty((1 + pieces[-1][0], rows * blocks * width), np.float32)
    code = _code(*tile)

    def work(part: int, some: Any, outputs: Any) -> None:
        scratch = _scratch("frame", samples * frame.size if frame.framed else 0)
        panel = _scratch("panel", min(blocks, 4) * n_lines * line * width).reshape(-1, width)
        reads = np.empty(n_lines, np.int64)
        tables = numbers, frame.table, lines, taps, reads, code
        _sum_over_positions(x, g, parts[part].reshape(rows, -1), scratch, panel, *tables, *some, *outputs)

    run(work, pieces)
    if len(parts) > 1:
        parallel(_add_up, parts.shape[1], parts, least=1 << 15, step=64)
    w = empty((columns, rows), np.float32)
    lanes = vector_width()
    stages = np.empty((-(-columns // lanes), lanes * lanes), np.float32)
    parallel(
        _unpack, columns, parts[0].reshape(rows, -1), w, stages, prod(kernel), least=1 + (1 << 15) // rows, step=lanes
    )
    return w.reshape(columns, channels, *kernel)


SERVES: dict[str, Callable[..., Any]] = {"conv": conv, "conv_input": conv_input, "conv_weight": conv_weight}
