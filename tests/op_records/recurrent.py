"""Recurrent layers, each a whole sequence."""

import numpy as np

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import floats

KERNEL = "the kernel sums in another order"


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _sequence(batch_sizes, reverse, rows, states, step):
    """One sequence after the other, each by itself: (outputs in the rows' order, final states)."""
    starts = np.cumsum([0, *batch_sizes])
    outputs, finals = [None] * len(rows), [[] for _ in states]
    for b in range(batch_sizes[0]):
        own = [starts[t] + b for t, n in enumerate(batch_sizes) if b < n]
        now = [s[b] for s in states]
        for row in own[::-1] if reverse else own:
            now = step(rows[row], *now)
            outputs[row] = now[0]
        for final, s in zip(finals, now, strict=True):
            final.append(s)
    return np.stack(outputs), *map(np.stack, finals)


def _affine(weight, bias, x):
    return weight @ x + (0 if bias is None else bias)


def _lstm(x, h0, c0, w, v, b=None, d=None, p=None, batch_sizes=(), reverse=False):
    def step(row, h, c):
        i, f, g, o = np.split(_affine(w, b, row) + _affine(v, d, h), 4)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        return h if p is None else p @ h, c

    h0 = np.zeros((batch_sizes[0], v.shape[1])) if h0 is None else h0
    c0 = np.zeros((batch_sizes[0], len(w) // 4)) if c0 is None else c0
    return _sequence(batch_sizes, reverse, x, (h0, c0), step)


def _gru(x, h0, w, v, b=None, d=None, batch_sizes=(), reverse=False):
    def step(row, h):
        r, z, n = np.split(_affine(w, b, row), 3)
        hr, hz, hn = np.split(_affine(v, d, h), 3)
        z, n = _sigmoid(z + hz), np.tanh(n + _sigmoid(r + hr) * hn)
        return ((1 - z) * n + z * h,)

    return _sequence(batch_sizes, reverse, x, (np.zeros((batch_sizes[0], v.shape[1])) if h0 is None else h0,), step)


def _rnn(x, h0, w, v, b=None, d=None, batch_sizes=(), reverse=False, nonlinearity="tanh"):
    def step(row, h):
        a = _affine(w, b, row) + _affine(v, d, h)
        return (np.maximum(a, 0) if nonlinearity == "relu" else np.tanh(a),)

    return _sequence(batch_sizes, reverse, x, (np.zeros((batch_sizes[0], v.shape[1])) if h0 is None else h0,), step)


def _samples(gates, **options):
    """Steps of equal and of falling numbers of rows, both directions, with and without states and biases."""

    def weights(features, size, biases=True):
        shapes = [(gates * size, features), (gates * size, size), *[(gates * size,)] * 2 * biases]
        return [floats(s, -0.9, 0.9, seed=k) for k, s in enumerate(shapes)]

    def states(batch, size):
        return [floats((batch, size), -1, 1, seed=5 + k) for k in range(2 if gates == 4 else 1)]

    none = [None] * (2 if gates == 4 else 1)
    return [
        Sample(floats((4, 2)), *states(2, 1), *weights(2, 1), batch_sizes=(2, 2), **options),
        Sample(floats((4, 1)), *states(2, 1), *weights(1, 1), batch_sizes=(2, 1, 1), **options),
        Sample(floats((3, 1)), *states(2, 2), *weights(1, 2, False), batch_sizes=(2, 1), reverse=True, **options),
        Sample(floats((2, 1)), *none, *weights(1, 2), batch_sizes=(1, 1), reverse=True, **options),
        Sample(floats((2, 2)), *none, *weights(2, 1, False), batch_sizes=(2,), **options),
    ]


def _large(gates, **options):
    def sample(batch_sizes, features, size, **more):
        rows = sum(batch_sizes)
        states = [floats((batch_sizes[0], size), -1, 1, seed=k) for k in range(2 if gates == 4 else 1)]
        shapes = [(gates * size, features), (gates * size, size), (gates * size,), (gates * size,)]
        weights = [floats(s, -0.4, 0.4, seed=9 + k) for k, s in enumerate(shapes)]
        return Sample(floats((rows, features)), *states, *weights, batch_sizes=batch_sizes, **options, **more)

    return [sample((4,) * 6, 5, 8), sample((5, 5, 4, 2, 2, 1), 3, 7, reverse=True), sample((3, 2, 1, 1), 9, 4)]


def _projected():
    shapes = [(8, 2), (8, 1), (8,), (8,), (1, 2)]
    weights = [floats(s, -0.9, 0.9, seed=k) for k, s in enumerate(shapes)]
    states = [floats((2, 1), seed=6), floats((2, 2), seed=7)]
    return Sample(floats((3, 2)), *states, *weights, batch_sizes=(2, 1))


def _stacked(x, *tensors, kind, batch_sizes, has_biases=True, num_layers=1, bidirectional=False):
    """Layer on layer, of the functions above."""
    count, directions = 2 if kind == "LSTM" else 1, 1 + bidirectional
    hx, params = tensors[:count], tensors[count:]
    per, finals = len(params) // (num_layers * directions), []
    layer = {"LSTM": _lstm, "GRU": _gru}.get(kind, _rnn)
    options = {"nonlinearity": "relu"} if kind == "RNN_RELU" else {}
    for depth in range(num_layers):
        outputs = []
        for d in range(directions):
            i = depth * directions + d
            w = list(params[i * per : (i + 1) * per])
            if not has_biases:
                w[2:2] = [None, None]
            state = [None if s is None else s[i] for s in hx]
            out, *final = layer(x, *state, *w, batch_sizes=batch_sizes, reverse=bool(d), **options)
            outputs.append(out)
            finals.append(final)
        x = np.concatenate(outputs, 1)
    return x, *map(np.stack, zip(*finals))


def _stacks():
    """Two layers, both directions, a projection, packed rows."""

    def sample(kind, gates, layers, directions, batch_sizes, biases=True, states=True, projection=None):
        size, out = 2, projection or 2
        lead = (layers * directions, batch_sizes[0])
        given = [floats((sum(batch_sizes), 2))]
        widths = (out, size)[: 2 if kind == "LSTM" else 1]
        given += [floats((*lead, n), -1, 1, seed=4 + n) if states else None for n in widths]
        for depth in range(layers):
            for d in range(directions):
                shapes = [(gates * size, 2 if not depth else out * directions), (gates * size, out)]
                shapes += [(gates * size,)] * 2 * biases + [(projection, size)] * bool(projection)
                given += [floats(s, -0.9, 0.9, seed=9 * depth + 5 * d + k) for k, s in enumerate(shapes)]
        return Sample(
            *given,
            kind=kind,
            batch_sizes=batch_sizes,
            has_biases=biases,
            num_layers=layers,
            bidirectional=directions == 2,
        )

    return [
        sample("LSTM", 4, 2, 1, (1, 1), False, projection=1),
        sample("GRU", 3, 1, 2, (2, 1), False, states=False),
        sample("RNN_TANH", 1, 2, 2, (2, 1)),
        sample("RNN_RELU", 1, 2, 1, (1, 1), False),
    ]


RECORDS = [
    OpRecord("recurrent", samples=_stacks, reference=_stacked, close=KERNEL),
    OpRecord(
        "lstm", samples=lambda: [*_samples(4), _projected()], reference=_lstm, large=lambda: _large(4), close=KERNEL
    ),
    OpRecord("gru", samples=lambda: _samples(3), reference=_gru, large=lambda: _large(3), close=KERNEL),
    OpRecord(
        "rnn",
        samples=lambda: [*_samples(1), *_samples(1, nonlinearity="relu")],
        reference=_rnn,
        large=lambda: [*_large(1), *_large(1, nonlinearity="relu")],
        close=KERNEL,
    ),
]
