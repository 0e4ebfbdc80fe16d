"""Kernel pairs of recurrent layers: a sequence of steps is one product for the inputs, one per step for the state.

σ(x) = (1 + tanh(x / 2)) / 2, so that all gates of a step are one tanh. In the backward sweep everything is linear in
the gradients of h and c: the factors are computed for all steps at once, a step only multiplies, and the gradients of
weights are one product each.

The states of a batch are one buffer, of which a step changes the first rows, those of the sequences that run. It starts
as the initial states and ends as the final ones; backward, it starts as the gradients of these, and ends as those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import numpy as np

from .products import dot

__all__ = ["RECURRENT"]

_FLOATS = (np.dtype("float32"), np.dtype("float64"))


def _served(input: Any, *others: Any) -> bool:
    return input.dtype in _FLOATS and input.size > 0 and all(x is None or x.dtype == input.dtype for x in others)


def _steps(batch_sizes: Any, reverse: bool) -> Iterator[tuple[int, slice]]:
    """(number of rows, where they are) of each step, in the order of the recursion."""
    starts = (0, *accumulate(batch_sizes))
    for t in range(len(batch_sizes))[:: -1 if reverse else 1]:
        yield batch_sizes[t], slice(starts[t], starts[t + 1])


def _before(states: Any, initial: Any, batch_sizes: Any, reverse: bool) -> Any:
    """The state before each step, for all rows: that after the step before it, or the initial one."""
    if initial is None:
        initial = np.zeros((batch_sizes[0], states.shape[1]), states.dtype)
    found, last = [], slice(0, 0)
    for n, rows in _steps(batch_sizes, reverse):
        ran = min(n, last.stop - last.start)
        found.append((states[last.start : last.start + ran], initial[ran:n]))
        last = rows
    return np.concatenate([part for pair in (found[::-1] if reverse else found) for part in pair])


def _initial(state: Any, batch_sizes: Any, size: int, dtype: Any) -> Any:
    return np.zeros((batch_sizes[0], size), dtype) if state is None else np.array(state, order="C")


def _projected(input: Any, weight: Any, *biases: Any) -> Any:
    rows = dot(input, weight.T)
    given = [b for b in biases if b is not None]
    if given:
        rows += sum(given[1:], given[0])
    return rows


def _sums(rows: Any) -> Any:
    return dot(np.ones(len(rows), rows.dtype), rows)


# -- LSTM -------------------------------------------------------------------------------------------------------------


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
    """Keeps the gates and c of every step, and the output."""
    if not _served(input, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr):
        return NotImplemented
    dtype, size = input.dtype, weight_ih.shape[0] // 4
    half = np.full((4, size), 0.5, dtype)
    half[2] = 1  # g is a tanh as it stands
    shift = (1 - half).ravel()
    half = half.ravel()
    gates, recurrent = _projected(input, weight_ih, bias_ih, bias_hh), weight_hh.T
    h, c = (_initial(s, batch_sizes, n, dtype) for s, n in ((h0, weight_hh.shape[1]), (c0, size)))
    output, cells = np.empty((len(input), h.shape[1]), dtype), np.empty((len(input), size), dtype)
    product, scratch = np.empty((len(h), 4 * size), dtype), np.empty(c.shape, dtype)
    for n, rows in _steps(batch_sizes, reverse):
        a, t, out = gates[rows], scratch[:n], output[rows]
        a += dot(h[:n], recurrent, out=product[:n])
        a *= half
        np.tanh(a, out=a)
        a *= half
        a += shift
        cell = c[:n]
        cell *= a[:, size : 2 * size]
        cell += np.multiply(a[:, :size], a[:, 2 * size : 3 * size], out=t)
        cells[rows] = cell
        np.tanh(cell, out=t)
        t *= a[:, 3 * size :]
        if weight_hr is None:
            out[...] = t
        else:
            dot(t, weight_hr.T, out=out)
        h[:n] = out
    residual = (input, h0, c0, weight_ih, weight_hh, weight_hr, gates, cells, output, batch_sizes, reverse)
    return (output, h, c), residual


def lstm_grad(g: Any, residual: Any, needs: Any) -> Any:
    input, h0, c0, weight_ih, weight_hh, weight_hr, gates, cells, output, batch_sizes, reverse = residual
    size, g_output = cells.shape[1], g[0]
    dh, dc = np.array(g[1], order="C"), np.array(g[2], order="C")
    i, f, n, o = (gates[:, k * size : (k + 1) * size] for k in range(4))
    d = gates * gates  # to become the gradients of the gates before their activations
    np.subtract(gates[:, : 2 * size], d[:, : 2 * size], out=d[:, : 2 * size])
    np.subtract(1, d[:, 2 * size : 3 * size], out=d[:, 2 * size : 3 * size])
    np.subtract(o, d[:, 3 * size :], out=d[:, 3 * size :])
    through = np.tanh(cells)
    d[:, 3 * size :] *= through
    hidden = o * through if weight_hr is not None and needs[7] else None
    through *= through
    np.subtract(1, through, out=through)
    through *= o  # of h by c
    d[:, :size] *= n
    d[:, size : 2 * size] *= _before(cells, c0, batch_sizes, reverse)
    d[:, 2 * size : 3 * size] *= i
    by_c = d.reshape(-1, 4, size)[:, :3]
    projected = None if weight_hr is None else np.empty(output.shape, output.dtype)
    scratch = np.empty((len(dc), size), d.dtype)
    for count, rows in reversed(list(_steps(batch_sizes, reverse))):
        to_h, to_c, t = dh[:count], dc[:count], scratch[:count]
        to_h += g_output[rows]
        if projected is not None:
            projected[rows] = to_h
            hidden_g = dot(to_h, weight_hr)
        else:
            hidden_g = to_h
        to_c += np.multiply(hidden_g, through[rows], out=t)
        by_c[rows] *= to_c[:, None]
        d[rows, 3 * size :] *= hidden_g
        to_c *= f[rows]
        dot(d[rows], weight_hh, out=to_h)
    bias = _sums(d) if needs[5] or needs[6] else None
    return (
        dot(d, weight_ih) if needs[0] else None,
        dh if needs[1] else None,
        dc if needs[2] else None,
        dot(d.T, input) if needs[3] else None,
        dot(d.T, _before(output, h0, batch_sizes, reverse)) if needs[4] else None,
        bias if needs[5] else None,
        bias if needs[6] else None,
        None if projected is None or hidden is None else dot(projected.T, hidden),
    )


# -- GRU --------------------------------------------------------------------------------------------------------------


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
    """Keeps the gates and W'_n h + b'_n of every step, and the output."""
    if not _served(input, h0, weight_ih, weight_hh, bias_ih, bias_hh):
        return NotImplemented
    dtype, size = input.dtype, weight_hh.shape[1]
    gates = _projected(input, weight_ih, bias_ih)
    if bias_hh is not None:
        gates[:, : 2 * size] += bias_hh[: 2 * size]
    h = _initial(h0, batch_sizes, size, dtype)
    output, inner = np.empty((len(input), size), dtype), np.empty((len(input), size), dtype)
    product = np.empty((len(h), 3 * size), dtype)
    for n, rows in _steps(batch_sizes, reverse):
        a, state, new = gates[rows], h[:n], output[rows]
        by_h = dot(state, weight_hh.T, out=product[:n])
        rz, candidate = a[:, : 2 * size], a[:, 2 * size :]
        rz += by_h[:, : 2 * size]
        rz *= 0.5
        np.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        reset = by_h[:, 2 * size :]
        if bias_hh is not None:
            reset += bias_hh[2 * size :]
        inner[rows] = reset
        reset *= a[:, :size]
        candidate += reset
        np.tanh(candidate, out=candidate)
        state -= candidate
        state *= a[:, size : 2 * size]
        state += candidate
        new[...] = state
    return (output, h), (input, h0, weight_ih, weight_hh, gates, inner, output, batch_sizes, reverse)


def gru_grad(g: Any, residual: Any, needs: Any) -> Any:
    input, h0, weight_ih, weight_hh, gates, inner, output, batch_sizes, reverse = residual
    size, g_output = output.shape[1], g[0]
    dh = np.array(g[1], order="C")
    r, z, n = (gates[:, k * size : (k + 1) * size] for k in range(3))
    before = _before(output, h0, batch_sizes, reverse)
    # to become the gradients of r and z before their activations, of W'_n h + b'_n, and of n before its activation
    d = np.empty((len(input), 4, size), dh.dtype)
    dr, dz, d_inner, dn = (d[:, k] for k in range(4))
    np.subtract(1, n * n, out=dn)
    keep = 1 - z
    dn *= keep
    np.multiply(dn, r, out=d_inner)
    np.subtract(1, r, out=dr)
    dr *= d_inner
    dr *= inner
    np.subtract(before, n, out=dz)
    keep *= z
    dz *= keep
    scratch = np.empty(dh.shape, dh.dtype)
    for count, rows in reversed(list(_steps(batch_sizes, reverse))):
        to_h, now = dh[:count], d[rows]
        to_h += g_output[rows]
        now *= to_h[:, None]
        to_h *= z[rows]
        to_h += dot(now.reshape(count, -1)[:, : 3 * size], weight_hh, out=scratch[:count])
    flat = d.reshape(len(input), 4 * size)
    gates_h, rz, n_ = flat[:, : 3 * size], flat[:, : 2 * size], flat[:, 3 * size :]
    g_input = g_ih = None
    if needs[0]:
        g_input = dot(rz, weight_ih[: 2 * size])
        g_input += dot(n_, weight_ih[2 * size :])
    if needs[2]:
        g_ih = np.empty(weight_ih.shape, d.dtype)
        dot(rz.T, input, out=g_ih[: 2 * size])
        dot(n_.T, input, out=g_ih[2 * size :])
    sums = _sums(flat) if needs[4] or needs[5] else None
    return (
        g_input,
        dh if needs[1] else None,
        g_ih,
        dot(gates_h.T, before) if needs[3] else None,
        np.concatenate([sums[: 2 * size], sums[3 * size :]]) if needs[4] else None,  # type: ignore[index]
        sums[: 3 * size] if needs[5] else None,  # type: ignore[index]
    )


# -- Elman's network --------------------------------------------------------------------------------------------------


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
    """Keeps the output."""
    if not _served(input, h0, weight_ih, weight_hh, bias_ih, bias_hh):
        return NotImplemented
    output = _projected(input, weight_ih, bias_ih, bias_hh)
    h = _initial(h0, batch_sizes, weight_hh.shape[1], input.dtype)
    product = np.empty(h.shape, h.dtype)
    for n, rows in _steps(batch_sizes, reverse):
        a = output[rows]
        a += dot(h[:n], weight_hh.T, out=product[:n])
        if nonlinearity == "relu":
            np.maximum(a, 0, out=a)
        else:
            np.tanh(a, out=a)
        h[:n] = a
    return (output, h), (input, h0, weight_ih, weight_hh, output, batch_sizes, reverse, nonlinearity)


def rnn_grad(g: Any, residual: Any, needs: Any) -> Any:
    input, h0, weight_ih, weight_hh, output, batch_sizes, reverse, nonlinearity = residual
    g_output, dh = g[0], np.array(g[1], order="C")
    d = (output > 0).astype(output.dtype) if nonlinearity == "relu" else 1 - output * output
    for n, rows in reversed(list(_steps(batch_sizes, reverse))):
        to_h, now = dh[:n], d[rows]
        to_h += g_output[rows]
        now *= to_h
        dot(now, weight_hh, out=to_h)
    bias = _sums(d) if needs[4] or needs[5] else None
    return (
        dot(d, weight_ih) if needs[0] else None,
        dh if needs[1] else None,
        dot(d.T, input) if needs[2] else None,
        dot(d.T, _before(output, h0, batch_sizes, reverse)) if needs[3] else None,
        bias if needs[4] else None,
        bias if needs[5] else None,
    )


RECURRENT: dict[str, Callable[..., Any]] = {
    "gru": gru,
    "gru.grad": gru_grad,
    "lstm": lstm,
    "lstm.grad": lstm_grad,
    "rnn": rnn,
    "rnn.grad": rnn_grad,
}
