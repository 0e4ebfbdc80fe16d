"""LSTM, GRU and Elman's network over whole sequences: all steps in one call, the batch shared out over the threads.

The inputs of all steps meet their weights in one product, as do the gradients of weights; a step multiplies its states
with the packed recurrent weight on top of that, and goes on to the gates in the same pass. A sequence is one thread's,
from its first step to its last, so that threads need not wait for each other. Formulas and what is kept are those of
backends/numpy/recurrent.py; batches of a row or two, float64 and projections stay there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from ..numpy import products as blas
from ..numpy.memory import empty
from ..numpy.recurrent import _before, _sums
from . import Kept
from .build import inlined, kernel
from .gemm import PANEL, ROWS, aligned, panels, scratch, tiles_of, transposed_panels
from .intrinsics import address, call_at
from .linear import dot
from .listed import contiguous, do, made
from .mathematics import sigmoid, tanh
from .pool import run, threads

__all__ = ["SERVES"]

f4 = np.float32
_FLOAT32 = np.dtype(np.float32)
_call = call_at(15)
#: states' elements that one visit of a tile takes: its panel of weights stays in the first cache
_DEPTH = 256
#: rows of a batch below which matrix-vector products of BLAS are quicker, and multiplications worth a second thread
_FEWEST, _LEAST = 3, 1 << 21


@kernel("f4[:,:] f4[:] i8")
def _pack(weight, packed, transposed):
    if transposed:
        transposed_panels(address(weight), weight.shape[1], weight.shape[0], weight.shape[1], packed)
    else:
        panels(address(weight), weight.shape[1], weight.shape[0], weight.shape[1], packed)


@inlined
def _multiply(a, lda, packed, c, ldc, rows, depth, columns, beta, tiles):
    """C (+)= A B, for states A and a weight B in panels; C at an address. The rows are shared out evenly over tiles."""
    count = (rows + ROWS - 1) // ROWS
    high = (rows + count - 1) // count
    high_ones = rows - count * (high - 1)
    for p in range((columns + PANEL - 1) // PANEL):
        wide = min(PANEL, columns - p * PANEL)
        for k in range(0, depth, _DEPTH):
            b, add = address(packed) + 4 * (p * depth + k) * PANEL, 1 if k else beta
            source, target = address(a) + 4 * k, c + 4 * p * PANEL
            for i in range(count):
                n = high if i < high_ones else high - 1
                _call(
                    tiles[n],
                    (
                        source,
                        b,
                        target,
                        address(tiles),
                        1,
                        min(_DEPTH, depth - k),
                        lda,
                        1,
                        PANEL,
                        0,
                        ldc,
                        add,
                        target,
                        ldc,
                        wide,
                    ),
                )
                source += 4 * n * lda
                target += 4 * n * ldc


# A step t has the rows starts[t] .. starts[t] + sizes[t] of the packed sequences; steps go by `direction`, 1 or -1.


@inlined
def _running(sizes, t, start, stop):
    """How many of this thread's sequences run at step t."""
    return min(sizes[t], stop) - start


@inlined
def _initial(state, h, ld, start, stop):
    for i in range(stop - start):
        a, b = state[start + i], h[i * ld : i * ld + state.shape[1]]
        for j in range(a.size):
            b[j] = a[j]


@kernel("f4[:,:] f4[:] f4[:,:] f4[:,:] f4[:,:] f4[:,:] i8[:] i8[:] f4[:] i8[:] i8 i8 i8", fast=True)
def _lstm(gates, packed, h_last, c_last, output, cells, starts, sizes, memory, tiles, direction, start, stop):
    """h_last and c_last hold the initial states at first."""
    H = h_last.shape[1]
    ld, G = H + 16, 4 * H
    h = memory[: (stop - start) * ld]
    _initial(h_last, h, ld, start, stop)
    for s in range(len(sizes)):
        t = s if direction > 0 else len(sizes) - 1 - s
        n, at = _running(sizes, t, start, stop), starts[t] + start
        if n <= 0:
            continue
        _multiply(h, ld, packed, address(gates) + 4 * at * G, G, n, H, G, 1, tiles)
        for i in range(n):
            a, c, out, kept = gates[at + i], c_last[start + i], output[at + i], cells[at + i]
            into, forget, new, give = a[:H], a[H : 2 * H], a[2 * H : 3 * H], a[3 * H :]
            state, last = h[i * ld : i * ld + H], h_last[start + i]
            for j in range(H):
                x, f, g, o = sigmoid(into[j]), sigmoid(forget[j]), tanh(new[j]), sigmoid(give[j])
                into[j], forget[j], new[j], give[j] = x, f, g, o
                cell = f * c[j] + x * g
                c[j] = cell
                kept[j] = cell
                y = o * tanh(cell)
                out[j] = y
                state[j] = y
                last[j] = y


@kernel("f4[:,:] f4[:,:] f4[:,:] f4[:,:] f4[:,:] f4[:] f4[:,:] f4[:,:] i8[:] i8[:] f4[:] i8[:] i8 i8 i8", fast=True)
def _lstm_grad(d, gates, cells, c0, g, packed, dh, dc, starts, sizes, memory, tiles, direction, start, stop):
    """d: the gradients of the gates before their activations. dh, dc: those of the last states, then of the first."""
    H = dh.shape[1]
    ld = 4 * H + 16
    rows = memory[: (stop - start) * ld]
    for s in range(len(sizes)):
        t = len(sizes) - 1 - s if direction > 0 else s
        n, at = _running(sizes, t, start, stop), starts[t] + start
        if n <= 0:
            continue
        p = t - direction
        for i in range(n):
            a, kept, to_h, to_c, given = gates[at + i], cells[at + i], dh[start + i], dc[start + i], g[at + i]
            into, forget, new, give = a[:H], a[H : 2 * H], a[2 * H : 3 * H], a[3 * H :]
            b, row = d[at + i], rows[i * ld : i * ld + 4 * H]
            ran = p >= 0 and p < len(sizes) and start + i < sizes[p]
            before = cells[starts[p] + start + i] if ran else c0[start + i]
            for j in range(H):
                x, f, n_, o = into[j], forget[j], new[j], give[j]
                through = tanh(kept[j])
                gh = to_h[j] + given[j]
                gc = to_c[j] + gh * o * (f4(1) - through * through)
                to_c[j] = gc * f
                row[j] = gc * n_ * x * (f4(1) - x)
                row[H + j] = gc * before[j] * f * (f4(1) - f)
                row[2 * H + j] = gc * x * (f4(1) - n_ * n_)
                row[3 * H + j] = gh * through * o * (f4(1) - o)
            for j in range(4 * H):
                b[j] = row[j]
        _multiply(rows, ld, packed, address(dh) + 4 * start * H, H, n, 4 * H, H, 0, tiles)


@kernel("f4[:,:] f4[:] f4[:] f4[:,:] f4[:,:] f4[:,:] i8[:] i8[:] f4[:] i8[:] i8 i8 i8", fast=True)
def _gru(gates, packed, bias, h_last, inner, output, starts, sizes, memory, tiles, direction, start, stop):
    """inner: W'_n h + b'_n, `bias` being b'_n."""
    H = h_last.shape[1]
    ld, G, rows = H + 16, 3 * H, stop - start
    h, by_h = memory[: rows * ld], memory[rows * ld : rows * (ld + G)]
    _initial(h_last, h, ld, start, stop)
    for s in range(len(sizes)):
        t = s if direction > 0 else len(sizes) - 1 - s
        n, at = _running(sizes, t, start, stop), starts[t] + start
        if n <= 0:
            continue
        _multiply(h, ld, packed, address(by_h), G, n, H, G, 0, tiles)
        for i in range(n):
            a, b, out, kept = gates[at + i], by_h[i * G : (i + 1) * G], output[at + i], inner[at + i]
            reset, update, new = a[:H], a[H : 2 * H], a[2 * H :]
            by_r, by_z, by_n = b[:H], b[H : 2 * H], b[2 * H :]
            state, last = h[i * ld : i * ld + H], h_last[start + i]
            for j in range(H):
                r, z = sigmoid(reset[j] + by_r[j]), sigmoid(update[j] + by_z[j])
                m = by_n[j] + bias[j]
                c = tanh(new[j] + r * m)
                kept[j] = m
                reset[j], update[j], new[j] = r, z, c
                y = c + z * (state[j] - c)
                out[j] = y
                state[j] = y
                last[j] = y


@kernel("f4[:,:] f4[:,:] f4[:,:] f4[:,:] f4[:,:] f4[:,:] f4[:] f4[:,:] i8[:] i8[:] f4[:] i8[:] i8 i8 i8", fast=True)
def _gru_grad(d, gates, inner, output, h0, g, packed, dh, starts, sizes, memory, tiles, direction, start, stop):
    """d: the gradients of r and z before their activations, of W'_n h + b'_n, and of n before its activation."""
    H = dh.shape[1]
    ld, G, height = 3 * H + 16, 3 * H, stop - start
    rows, by_h = memory[: height * ld], memory[height * ld : height * (ld + H)]
    for s in range(len(sizes)):
        t = len(sizes) - 1 - s if direction > 0 else s
        n, at = _running(sizes, t, start, stop), starts[t] + start
        if n <= 0:
            continue
        p = t - direction
        for i in range(n):
            a, kept, to_h, given = gates[at + i], inner[at + i], dh[start + i], g[at + i]
            reset, update, new = a[:H], a[H : 2 * H], a[2 * H :]
            row, b = rows[i * ld : i * ld + G], d[at + i]
            ran = p >= 0 and p < len(sizes) and start + i < sizes[p]
            before = output[starts[p] + start + i] if ran else h0[start + i]
            for j in range(H):
                r, z, c = reset[j], update[j], new[j]
                gh = to_h[j] + given[j]
                gn = gh * (f4(1) - z) * (f4(1) - c * c)
                row[j] = gn * kept[j] * r * (f4(1) - r)
                row[H + j] = gh * (before[j] - c) * z * (f4(1) - z)
                row[2 * H + j] = gn * r
                b[3 * H + j] = gn
                to_h[j] = gh * z
            for j in range(G):
                b[j] = row[j]
        _multiply(rows, ld, packed, address(by_h), H, n, G, H, 0, tiles)
        for i in range(n):
            to_h, b = dh[start + i], by_h[i * H : (i + 1) * H]
            for j in range(H):
                to_h[j] += b[j]


@kernel("f4[:,:] f4[:] f4[:,:] i8[:] i8[:] f4[:] i8[:] i8 i8 i8 i8", fast=True)
def _rnn(output, packed, h_last, starts, sizes, memory, tiles, relu, direction, start, stop):
    H = h_last.shape[1]
    ld = H + 16
    h = memory[: (stop - start) * ld]
    _initial(h_last, h, ld, start, stop)
    for s in range(len(sizes)):
        t = s if direction > 0 else len(sizes) - 1 - s
        n, at = _running(sizes, t, start, stop), starts[t] + start
        if n <= 0:
            continue
        _multiply(h, ld, packed, address(output) + 4 * at * H, H, n, H, H, 1, tiles)
        for i in range(n):
            a, state, last = output[at + i], h[i * ld : i * ld + H], h_last[start + i]
            if relu:
                for j in range(H):
                    a[j] = max(a[j], f4(0))
            else:
                for j in range(H):
                    a[j] = tanh(a[j])
            for j in range(H):
                state[j] = a[j]
                last[j] = a[j]


@kernel("f4[:,:] f4[:,:] f4[:,:] f4[:] f4[:,:] i8[:] i8[:] f4[:] i8[:] i8 i8 i8 i8", fast=True)
def _rnn_grad(d, output, g, packed, dh, starts, sizes, memory, tiles, relu, direction, start, stop):
    H = dh.shape[1]
    ld = H + 16
    rows = memory[: (stop - start) * ld]
    for s in range(len(sizes)):
        t = len(sizes) - 1 - s if direction > 0 else s
        n, at = _running(sizes, t, start, stop), starts[t] + start
        if n <= 0:
            continue
        for i in range(n):
            a, to_h, given, b = output[at + i], dh[start + i], g[at + i], d[at + i]
            row = rows[i * ld : i * ld + H]
            if relu:
                for j in range(H):
                    row[j] = to_h[j] + given[j] if a[j] > f4(0) else f4(0)
            else:
                for j in range(H):
                    row[j] = (to_h[j] + given[j]) * (f4(1) - a[j] * a[j])
            for j in range(H):
                b[j] = row[j]
        _multiply(rows, ld, packed, address(dh) + 4 * start * H, H, n, H, H, 0, tiles)


# -- around the kernels -----------------------------------------------------------------------------------------------


def _served(batch_sizes: Any, input: Any, *others: Any) -> bool:
    return (
        input.size > 0 and batch_sizes[0] >= _FEWEST and all(x is None or x.dtype == _FLOAT32 for x in (input, *others))
    )


def _product(a: Any, b: Any, bias: Any = None) -> Any:
    out = dot(a, b, bias)
    if out is None:
        out = blas.dot(a, b)
        if bias is not None:
            do(np.add, out, bias, out=out)
    return out


def _sum(*biases: Any) -> Any:
    given = [b for b in biases if b is not None]
    return made(np.add, *given) if len(given) > 1 else given[0] if given else None


def _packed(weight: Any, transposed: bool) -> Any:
    weight = contiguous(weight)
    depth, columns = weight.shape[::-1] if transposed else weight.shape
    packed = aligned(-(-columns // PANEL) * PANEL * depth)
    _pack(weight, packed, int(transposed))
    return packed


@functools.lru_cache(maxsize=256)
def _layout(batch_sizes: tuple[int, ...]) -> tuple[Any, Any]:
    """Where each step's rows begin, and how many they are."""
    return (
        np.array((0, *accumulate(batch_sizes)), np.int64)[:-1].copy(),
        np.array(batch_sizes, np.int64),
    )


def _run(kernel: Any, arrays: Any, batch_sizes: Any, width: int, work: int, *numbers: int) -> None:
    """The kernel over all sequences, which are cut among the threads; `width`: floats of scratch for each."""
    starts, sizes = _layout(tuple(batch_sizes))
    count = batch_sizes[0]

    def piece(start: int, stop: int) -> None:
        heights = frozenset(min(n, stop) - start for n in set(batch_sizes) if n > start)
        kernel(*arrays, starts, sizes, scratch((stop - start) * width), tiles_of(heights), *numbers, start, stop)

    n = min(threads(), count) if work > _LEAST else 1
    step = -(-count // n)
    run(piece, [(i, min(i + step, count)) for i in range(0, count, step)])


def _states(state: Any, batch_sizes: Any, size: int) -> Any:
    """A copy of the state, which kernels go on from; zeros for none."""
    out = np.empty((batch_sizes[0], size), np.float32)
    do(np.copyto, out, 0.0 if state is None else state)
    return out


def _earlier(states: Any, initial: Any, batch_sizes: Any, reverse: bool) -> Any:
    """The state before each step, for all rows: that after the step before it, or the initial one."""
    n = batch_sizes[0]
    if len(set(batch_sizes)) > 1:
        return made(_before, states, initial, batch_sizes, reverse)
    out = empty(states.shape, _FLOAT32)
    first, rest, source = (out[-n:], out[:-n], states[n:]) if reverse else (out[:n], out[n:], states[:-n])
    do(np.copyto, first, 0.0 if initial is None else initial)
    do(np.copyto, rest, source)
    return out


def lstm(
    input: Any,
    h0: Any,
    c0: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    weight_hr: Any = None,
    batch_sizes: Any = (),
    reverse: bool = False,
) -> Any:
    if weight_hr is not None or not _served(batch_sizes, input, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh):
        return NotImplemented
    size = weight_hh.shape[1]
    gates = _product(input, weight_ih.T, _sum(bias_ih, bias_hh))
    h, c = (_states(s, batch_sizes, size) for s in (h0, c0))
    output, cells = empty((len(input), size), _FLOAT32), empty((len(input), size), _FLOAT32)
    arrays = (gates, _packed(weight_hh, True), h, c, output, cells)
    _run(_lstm, arrays, batch_sizes, size + 16, gates.size * size, -1 if reverse else 1)
    return (output, h, c), Kept((input, h0, c0, weight_ih, weight_hh, gates, cells, output, batch_sizes, reverse))


def lstm_grad(g: Any, residual: Any, needs: Any) -> Any:
    if type(residual) is not Kept:
        return NotImplemented
    input, h0, c0, weight_ih, weight_hh, gates, cells, output, batch_sizes, reverse = residual
    size = output.shape[1]
    dh, dc = (_states(x, batch_sizes, size) for x in g[1:])
    d = empty(gates.shape, _FLOAT32)
    arrays = (d, gates, cells, _states(c0, batch_sizes, size), contiguous(g[0]))
    _run(
        _lstm_grad,
        (*arrays, _packed(weight_hh, False), dh, dc),
        batch_sizes,
        4 * size + 16,
        gates.size * size,
        -1 if reverse else 1,
    )
    bias = _sums(d) if needs[5] or needs[6] else None
    return (
        _product(d, weight_ih) if needs[0] else None,
        dh if needs[1] else None,
        dc if needs[2] else None,
        _product(d.T, input) if needs[3] else None,
        _product(d.T, _earlier(output, h0, batch_sizes, reverse)) if needs[4] else None,
        bias if needs[5] else None,
        bias if needs[6] else None,
        None,
    )


def _first_biases(bias_ih: Any, bias_hh: Any, size: int) -> Any:
    first = np.zeros(3 * size, np.float32) if bias_ih is None else bias_ih.copy()
    first[: 2 * size] += bias_hh[: 2 * size]
    return first


def gru(
    input: Any,
    h0: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    batch_sizes: Any = (),
    reverse: bool = False,
) -> Any:
    if not _served(batch_sizes, input, h0, weight_ih, weight_hh, bias_ih, bias_hh):
        return NotImplemented
    size = weight_hh.shape[1]
    first = bias_ih
    if bias_hh is not None:
        first = made(_first_biases, bias_ih, bias_hh, size)
    gates = _product(input, weight_ih.T, first)
    last = np.zeros(size, np.float32) if bias_hh is None else contiguous(bias_hh[2 * size :])
    h = _states(h0, batch_sizes, size)
    output, inner = empty((len(input), size), _FLOAT32), empty((len(input), size), _FLOAT32)
    arrays = (gates, _packed(weight_hh, True), last, h, inner, output)
    _run(_gru, arrays, batch_sizes, 4 * size + 16, gates.size * size, -1 if reverse else 1)
    return (output, h), Kept((input, h0, weight_ih, weight_hh, gates, inner, output, batch_sizes, reverse))


def gru_grad(g: Any, residual: Any, needs: Any) -> Any:
    if type(residual) is not Kept:
        return NotImplemented
    input, h0, weight_ih, weight_hh, gates, inner, output, batch_sizes, reverse = residual
    size = output.shape[1]
    dh, d = _states(g[1], batch_sizes, size), empty((len(input), 4 * size), _FLOAT32)
    arrays = (d, gates, inner, output, _states(h0, batch_sizes, size), contiguous(g[0]))
    _run(
        _gru_grad,
        (*arrays, _packed(weight_hh, False), dh),
        batch_sizes,
        4 * size + 16,
        gates.size * size,
        -1 if reverse else 1,
    )
    by_x = made(_without_third, d, size) if needs[0] or needs[2] else None
    sums = _sums(d) if needs[4] or needs[5] else None
    before = _earlier(output, h0, batch_sizes, reverse) if needs[3] else None
    return (
        _product(by_x, weight_ih) if needs[0] else None,
        dh if needs[1] else None,
        _product(by_x.T, input) if needs[2] else None,  # type: ignore[union-attr]
        _product(contiguous(d[:, : 3 * size]).T, before) if needs[3] else None,
        made(_without_third, sums, size) if needs[4] else None,
        sums[: 3 * size] if needs[5] else None,  # type: ignore[index]
    )


def _without_third(x: Any, size: int) -> Any:
    """The last dimension without the third of four parts of `size`."""
    return np.concatenate([x[..., : 2 * size], x[..., 3 * size :]], axis=-1)


def rnn(
    input: Any,
    h0: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    batch_sizes: Any = (),
    reverse: bool = False,
    nonlinearity: str = "tanh",
) -> Any:
    if not _served(batch_sizes, input, h0, weight_ih, weight_hh, bias_ih, bias_hh):
        return NotImplemented
    size, relu = weight_hh.shape[1], nonlinearity == "relu"
    output = _product(input, weight_ih.T, _sum(bias_ih, bias_hh))
    h = _states(h0, batch_sizes, size)
    arrays = (output, _packed(weight_hh, True), h)
    _run(_rnn, arrays, batch_sizes, size + 16, output.size * size, int(relu), -1 if reverse else 1)
    return (output, h), Kept((input, h0, weight_ih, weight_hh, output, batch_sizes, reverse, relu))


def rnn_grad(g: Any, residual: Any, needs: Any) -> Any:
    if type(residual) is not Kept:
        return NotImplemented
    input, h0, weight_ih, weight_hh, output, batch_sizes, reverse, relu = residual
    size = output.shape[1]
    dh, d = _states(g[1], batch_sizes, size), empty(output.shape, _FLOAT32)
    arrays = (d, output, contiguous(g[0]), _packed(weight_hh, False), dh)
    _run(_rnn_grad, arrays, batch_sizes, size + 16, output.size * size, int(relu), -1 if reverse else 1)
    bias = _sums(d) if needs[4] or needs[5] else None
    return (
        _product(d, weight_ih) if needs[0] else None,
        dh if needs[1] else None,
        _product(d.T, input) if needs[2] else None,
        _product(d.T, _earlier(output, h0, batch_sizes, reverse)) if needs[3] else None,
        bias if needs[4] else None,
        bias if needs[5] else None,
    )


SERVES: dict[str, Callable[..., Any]] = {
    "gru": gru,
    "gru.grad": gru_grad,
    "lstm": lstm,
    "lstm.grad": lstm_grad,
    "rnn": rnn,
    "rnn.grad": rnn_grad,
}
