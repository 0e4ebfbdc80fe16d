"""Recurrent layers: a whole sequence is one op, and one node, for each layer and direction.

The ops take the rows of all steps one after another: input (N, C), with `batch_sizes` saying how many rows each step
has. So a padded batch (T, B, C) is `(B,) * T` after a reshape; and a packed one, whose sequences are sorted from long
to short, needs no padding: those that still run are the first rows of the state. Turned down: masks, which compute what
is thrown away.

Each op is a composition over the time steps, the reference; NumPy's kernels do a layer in one product for all inputs,
one per step for the state, and one per weight gradient. `recurrent` is all layers and directions as one op, for
backends that have a kernel of these (cuDNN).

Sources: Elman 1990; Hochreiter & Schmidhuber 1997 and Gers et al. 2000 (LSTM); Sak et al. 2014 (projection); Cho et al.
2014 (GRU). The order of the gates, the GRU's second bias inside the reset gate, and all names are PyTorch's.
"""

from __future__ import annotations

from itertools import accumulate

from ... import backends
from ..autocast import listed
from ..composite import composite
from ..errors import OpError
from ..op import GRAPH
from ..public import function
from .dropout import dropout

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell"]


# -- one layer, one direction -----------------------------------------------------------------------------------------


def _swept(F, rows, states, batch_sizes, reverse, step):
    """(outputs of all steps (N, H), final states) of `step(rows of a time, *states)`, which gives the new states."""
    starts, full = (0, *accumulate(batch_sizes)), batch_sizes[0]
    outputs = [None] * len(batch_sizes)
    for t in reversed(range(len(outputs))) if reverse else range(len(outputs)):
        n = batch_sizes[t]
        running = states if n == full else [F.narrow(s, 0, 0, n) for s in states]
        new = step(F.narrow(rows, 0, starts[t], n), *running)
        outputs[t] = new[0]
        if n < full:  # the others keep the state in which they ended, or start later
            new = [F.concat(v, F.narrow(s, 0, n, full - n), dim=0) for v, s in zip(new, states)]
        states = new
    return F.concat(*outputs, dim=0), *states


def _start(F, state, input, batch_sizes, size):
    return F.zeros_of(input, (batch_sizes[0], size), input.dtype) if state is None else state


@composite(name="lstm", outputs=3)
def lstm_layer(
    F,
    input,
    h0,
    c0,
    weight_ih,
    weight_hh,
    bias_ih=None,
    bias_hh=None,
    weight_hr=None,
    /,
    batch_sizes=(),
    reverse=False,
):
    """i, f, o = σ(W x + b + W' h + b'), g = tanh(the same), c ← f c + i g, h ← o tanh(c), or h ← W_hr o tanh(c).

    input (N, C), weight_ih (4H, C) in the order i, f, g, o, weight_hh (4H, P), weight_hr (P, H), h0 (B, P), c0 (B, H);
    P = H without a projection, None for zeros. Returns (output (N, P), h_n, c_n).
    """
    size = weight_ih.shape[0] // 4

    def step(rows, h, c):
        gates = rows + F.linear(h, weight_hh, bias_hh)
        i, f, g, o = F.split(gates, (size,) * 4, 1)
        c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
        h = F.sigmoid(o) * F.tanh(c)
        return h if weight_hr is None else F.linear(h, weight_hr), c

    states = [
        _start(F, h0, input, batch_sizes, weight_hh.shape[1]),
        _start(F, c0, input, batch_sizes, size),
    ]
    return _swept(F, F.linear(input, weight_ih, bias_ih), states, batch_sizes, reverse, step)


@composite(name="gru", outputs=2)
def gru_layer(F, input, h0, weight_ih, weight_hh, bias_ih=None, bias_hh=None, /, batch_sizes=(), reverse=False):
    """r, z = σ(W x + b + W' h + b'), n = tanh(W_n x + b_n + r (W'_n h + b'_n)), h ← (1 - z) n + z h.

    input (N, C), weight_ih (3H, C) in the order r, z, n, weight_hh (3H, H), h0 (B, H) or None. Returns (output (N, H),
    h_n). Cho et al. apply r before W'_n, and their z is our 1 - z.
    """
    size = weight_hh.shape[1]

    def step(rows, h):
        r, z, n = F.split(rows, (size,) * 3, 1)
        hr, hz, hn = F.split(F.linear(h, weight_hh, bias_hh), (size,) * 3, 1)
        n = F.tanh(n + F.sigmoid(r + hr) * hn)
        return (n + F.sigmoid(z + hz) * (h - n),)

    states = [_start(F, h0, input, batch_sizes, size)]
    return _swept(F, F.linear(input, weight_ih, bias_ih), states, batch_sizes, reverse, step)


@composite(name="rnn", outputs=2)
def rnn_layer(
    F,
    input,
    h0,
    weight_ih,
    weight_hh,
    bias_ih=None,
    bias_hh=None,
    /,
    batch_sizes=(),
    reverse=False,
    nonlinearity="tanh",
):
    """h ← tanh(W x + b + W' h + b'), or relu: Elman's network.

    input (N, C), weight_ih (H, C), weight_hh (H, H), h0 (B, H) or None. Returns (output (N, H), h_n).
    """
    activation = F.relu if nonlinearity == "relu" else F.tanh

    def step(rows, h):
        return (activation(rows + F.linear(h, weight_hh, bias_hh)),)

    states = [_start(F, h0, input, batch_sizes, weight_hh.shape[1])]
    return _swept(F, F.linear(input, weight_ih, bias_ih), states, batch_sizes, reverse, step)


# -- layers and directions --------------------------------------------------------------------------------------------

_LAYERS = {
    "LSTM": lambda F, x, hx, w, **o: F.lstm(x, *hx, *w, **o),
    "GRU": lambda F, x, hx, w, **o: F.gru(x, *hx, *w, **o),
    "RNN_TANH": lambda F, x, hx, w, **o: F.rnn(x, *hx, *w, **o),
    "RNN_RELU": lambda F, x, hx, w, **o: F.rnn(x, *hx, *w, **o, nonlinearity="relu"),
}


def _in_turn(F, kind, rows, batch_sizes, hx, params, has_biases, num_layers, bidirectional, between=None):
    """Layer after layer, and one direction after the other; `between` is done to the rows between layers."""
    layer, directions = _LAYERS[kind], 2 if bidirectional else 1
    per_layer, finals = len(params) // (num_layers * directions), []
    for depth in range(num_layers):
        found = []
        for d in range(directions):
            i = depth * directions + d
            state = [None if s is None else F.select(s, 0, i) for s in hx]
            w = list(params[i * per_layer : (i + 1) * per_layer])
            if not has_biases:
                w[2:2] = [None, None]
            found.append(layer(F, rows, state, w, batch_sizes=batch_sizes, reverse=d == 1))
        finals += [final for _, *final in found]
        rows = found[0][0] if directions == 1 else F.concat(found[0][0], found[1][0], dim=1)
        if between is not None and depth < num_layers - 1:
            rows = between(rows)
    return rows, *[F.stack(*states, dim=0) for states in zip(*finals)]


@composite(outputs=None)
def recurrent(F, *tensors, kind="LSTM", batch_sizes=(), has_biases=True, num_layers=1, bidirectional=False):
    """All layers in one: (output (N, D * P), one final state (layers * D, B, size) for each state of the kind).

    tensors: rows (N, C), the states at the start, each (layers * D, B, size) or None, and the parameters of each layer
    and direction. kind: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU". For backends that have a kernel of all layers.
    """
    count = 2 if kind == "LSTM" else 1
    hx, params = tensors[1 : 1 + count], tensors[1 + count :]
    return _in_turn(F, kind, tensors[0], batch_sizes, hx, params, has_biases, num_layers, bidirectional)


def stacked(kind, rows, batch_sizes, hx, params, has_biases, num_layers, dropout_p, train, bidirectional):
    """All layers on rows (N, C): (output (N, D * H), one final state (layers * D, B, H) for each of `hx`).

    hx: states (layers * D, B, H), or None for zeros. Between layers is dropout, in training.
    """
    options = {"has_biases": has_biases, "num_layers": num_layers, "bidirectional": bidirectional}
    if "recurrent" not in backends.of(rows.array).kernels:
        between = lambda rows: dropout(rows, dropout_p, train)
        return _in_turn(GRAPH, kind, rows, batch_sizes, hx, params, **options, between=between)
    if num_layers == 1 or not (train and dropout_p):
        return GRAPH.recurrent(rows, *hx, *params, kind=kind, batch_sizes=batch_sizes, **options)
    directions = 2 if bidirectional else 1
    per_layer, finals = len(params) // num_layers, []
    for depth in range(num_layers):
        state = [None if s is None else GRAPH.narrow(s, 0, depth * directions, directions) for s in hx]
        w = params[depth * per_layer : (depth + 1) * per_layer]
        if depth:
            rows = dropout(rows, dropout_p, train)
        rows, *found = GRAPH.recurrent(
            rows, *state, *w, kind=kind, batch_sizes=batch_sizes, has_biases=has_biases, bidirectional=bidirectional
        )
        finals.append(found)
    return rows, *[GRAPH.concat(*states, dim=0) for states in zip(*finals)]


def _call(kind, args):
    """PyTorch's two forms: (input, hx, params, ..., batch_first), and (data, batch_sizes, hx, params, ...)."""
    if isinstance(args[3], (list, tuple)):
        data, sizes, hx, params, *options = args
        hx = hx if isinstance(hx, (list, tuple)) else (hx,)
        return stacked(kind, data, tuple(sizes.tolist()), hx, params, *options)
    input, hx, params, has_biases, num_layers, dropout_p, train, bidirectional, batch_first = args
    hx = hx if isinstance(hx, (list, tuple)) else (hx,)
    return padded(kind, input, hx, params, has_biases, num_layers, dropout_p, train, bidirectional, batch_first)


def padded(kind, input, hx, params, has_biases, num_layers, dropout_p, train, bidirectional, batch_first):
    """`stacked` on input (T, B, C), or (B, T, C): (output (T, B, D * H) or (B, T, D * H), final states)."""
    x = GRAPH.transpose(input, 0, 1) if batch_first else input
    steps, batch, features = x.shape
    if not steps:
        raise OpError("Expected sequence length to be larger than 0 in RNN")
    rows, *finals = stacked(
        kind,
        GRAPH.reshape(x, (steps * batch, features)),
        (batch,) * steps,
        hx,
        params,
        has_biases,
        num_layers,
        dropout_p,
        train,
        bidirectional,
    )
    output = GRAPH.reshape(rows, (steps, batch, rows.shape[1]))
    return GRAPH.transpose(output, 0, 1) if batch_first else output, *finals


@function
def lstm(*args):
    """lstm(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first): (output, h_n, c_n).

    Or with packed rows: lstm(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional).
    hx: (h_0, c_0), each (layers * directions, B, H); params: for each layer and direction weight_ih, weight_hh, and
    where there are some bias_ih, bias_hh, weight_hr.
    """
    return _call("LSTM", args)


@function
def gru(*args):
    """gru(input, hx, params, ...): (output, h_n), with the arguments of `lstm`; hx is h_0 alone."""
    return _call("GRU", args)


@function
def rnn_tanh(*args):
    """rnn_tanh(input, hx, params, ...): (output, h_n), with the arguments of `lstm`; hx is h_0 alone."""
    return _call("RNN_TANH", args)


@function
def rnn_relu(*args):
    """rnn_relu(input, hx, params, ...): (output, h_n), with the arguments of `lstm`; hx is h_0 alone."""
    return _call("RNN_RELU", args)


# -- one step ---------------------------------------------------------------------------------------------------------


def _cell(kind, input, hx, weights):
    """The new states of one step on input (B, C)."""
    return _LAYERS[kind](GRAPH, input, hx, weights, batch_sizes=(input.shape[0],))[1:]


@function
@listed
def lstm_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of an LSTM: (h, c) of input (B, C) and hx = (h, c), each (B, H).

    w_ih (4H, C), w_hh (4H, H), b_ih and b_hh (4H): see `LSTMCell`.
    """
    return _cell("LSTM", input, hx, (w_ih, w_hh, b_ih, b_hh))


@function
@listed
def gru_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of a GRU: the new h (B, H) of input (B, C) and hx (B, H).

    w_ih (3H, C), w_hh (3H, H), b_ih and b_hh (3H): see `GRUCell`.
    """
    return _cell("GRU", input, (hx,), (w_ih, w_hh, b_ih, b_hh))[0]


@function
def rnn_tanh_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of a tanh network: the new h (B, H) of input (B, C) and hx (B, H).

    w_ih (H, C), w_hh (H, H), b_ih and b_hh (H).
    """
    return _cell("RNN_TANH", input, (hx,), (w_ih, w_hh, b_ih, b_hh))[0]


@function
def rnn_relu_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of a relu network: the new h (B, H) of input (B, C) and hx (B, H).

    w_ih (H, C), w_hh (H, H), b_ih and b_hh (H).
    """
    return _cell("RNN_RELU", input, (hx,), (w_ih, w_hh, b_ih, b_hh))[0]
