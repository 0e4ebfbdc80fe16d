"""The lectures' sequences: recurrence, attention, characters. Numbers as in test_lectures.py."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.models.char_rnn import CharRNN, truncated_bptt
from chainrule.models.seq2seq import Attention
from chainrule.models.wavenet import WaveNet
from chainrule.nn import functional as F

rng = np.random.default_rng


def leaf(array):
    return cr.tensor(np.asarray(array, dtype=np.float64), requires_grad=True)


def close(tensor, array, **tolerance):
    np.testing.assert_allclose(tensor.detach().numpy(), array, **{"rtol": 1e-9, "atol": 1e-12, **tolerance})


# -- 4: backpropagation through time ----------------------------------------------------------------------------------


def recurrence(T, inputs, hidden, outputs):
    """An Elman network's weights, inputs and targets."""
    r = rng(4)
    shapes = {"W_hh": (hidden, hidden), "W_xh": (hidden, inputs), "b_h": (hidden,), "W_hy": (outputs, hidden)}
    shapes |= {"b_y": (outputs,), "h0": (hidden,)}
    return {k: r.normal(0, 0.7, s) for k, s in shapes.items()}, r.normal(size=(T, inputs)), r.integers(0, outputs, T)


def by_hand(w, x, labels):
    """L = Σ_t -log softmax(W_hy h_t + b_y)[label_t], and its gradients by the recursion backwards in time."""
    h, p = [w["h0"]], []
    for x_t in x:
        h.append(np.tanh(w["W_hh"] @ h[-1] + w["W_xh"] @ x_t + w["b_h"]))
        scores = np.exp(w["W_hy"] @ h[-1] + w["b_y"])
        p.append(scores / scores.sum())
    grads, after = {k: np.zeros_like(v) for k, v in w.items()}, np.zeros_like(w["h0"])
    for t in range(len(x), 0, -1):
        o = p[t - 1].copy()
        o[labels[t - 1]] -= 1  # ŷ - y
        grads["W_hy"] += np.outer(o, h[t])
        grads["b_y"] += o
        grad_h = w["W_hy"].T @ o + after  # from the output, and from the next step
        u = (1 - h[t] ** 2) * grad_h
        grads["W_hh"] += np.outer(u, h[t - 1])
        grads["W_xh"] += np.outer(u, x[t - 1])
        grads["b_h"] += u
        after = w["W_hh"].T @ u
    grads["h0"] = after
    return -sum(math.log(p_t[k]) for p_t, k in zip(p, labels, strict=True)), grads


def test_04_bptt_by_the_recursion_is_autograd_step_by_step():
    w, x, labels = recurrence(6, 3, 4, 5)
    leaves = {k: leaf(v) for k, v in w.items()}
    h, loss = leaves["h0"], 0.0
    for x_t, label in zip(cr.tensor(x), labels, strict=True):
        h = (leaves["W_hh"] @ h + leaves["W_xh"] @ x_t + leaves["b_h"]).tanh()
        loss = loss + F.cross_entropy(leaves["W_hy"] @ h + leaves["b_y"], cr.tensor(label))
    loss.backward()
    expected, grads = by_hand(w, x, labels)
    assert loss.item() == pytest.approx(expected)
    for name, g in grads.items():
        close(leaves[name].grad, g)


def test_04_bptt_by_the_recursion_is_the_fused_layer():
    w, x, labels = recurrence(6, 3, 4, 5)
    model, output = nn.RNN(3, 4).double(), nn.Linear(4, 5).double()
    state = {"weight_hh_l0": w["W_hh"], "weight_ih_l0": w["W_xh"], "bias_ih_l0": w["b_h"], "bias_hh_l0": np.zeros(4)}
    model.load_state_dict({k: cr.tensor(v) for k, v in state.items()})
    output.load_state_dict({"weight": cr.tensor(w["W_hy"]), "bias": cr.tensor(w["b_y"])})
    h0 = leaf(w["h0"][None])
    loss = F.cross_entropy(output(model(cr.tensor(x), h0)[0]), cr.tensor(labels), reduction="sum")
    loss.backward()
    expected, grads = by_hand(w, x, labels)
    assert loss.item() == pytest.approx(expected)
    for parameter, name in (
        (model.weight_hh_l0, "W_hh"),
        (model.weight_ih_l0, "W_xh"),
        (model.bias_ih_l0, "b_h"),
        (model.bias_hh_l0, "b_h"),
        (output.weight, "W_hy"),
        (output.bias, "b_y"),
    ):
        close(parameter.grad, grads[name])
    close(h0.grad[0], grads["h0"])


# -- 18: what stacked convolutions see --------------------------------------------------------------------------------


def test_18_receptive_fields():
    for i in range(1, 6):
        dilated = WaveNet(classes=2, layers=i, stacks=1, residual=1, gates=1, skip=1, kernel_size=3)
        assert dilated.receptive_field == 2 ** (i + 1) - 1
        plain = nn.Sequential(*[nn.Conv1d(1, 1, 3, padding=1, bias=False) for _ in range(i)]).double()
        x = leaf(np.zeros((1, 1, 41)))
        plain(x)[0, 0, 20].backward()
        assert (x.grad != 0).sum().item() == 2 * i + 1


# -- 23: attention, and both directions -------------------------------------------------------------------------------


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_23_attention_of_queries_keys_and_values():
    r = rng(23)
    q, k, v = r.normal(size=(4, 6)), r.normal(size=(5, 6)), r.normal(size=(5, 3))
    expected = softmax(q @ k.T / math.sqrt(6)) @ v
    close(F.scaled_dot_product_attention(*map(cr.tensor, (q, k, v))), expected)
    close(F.softmax(cr.tensor(q) @ cr.tensor(k).T / math.sqrt(6), 1) @ cr.tensor(v), expected)


def test_23_six_stacked_blocks():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 6)
    assert len(encoder.layers) == 6
    assert encoder(cr.randn(2, 5, 8)).shape == (2, 5, 8)


def test_23_scores_and_context():
    r = rng(5)
    s, h = r.normal(size=4), r.normal(size=(6, 4))
    modules = {name: Attention(name, 4, 4).double() for name in Attention.SCORES}
    additive, general = modules["additive"], modules["general"]
    # vᵀ tanh(W [s, h]): one matrix for both is two, side by side
    W = np.concatenate([additive.query.weight.detach().numpy(), additive.key.weight.detach().numpy()], 1)
    joint = np.stack([np.tanh(W @ np.concatenate([s, h_j]) + additive.query.bias.detach().numpy()) for h_j in h])
    expected = {
        "additive": joint @ additive.v.weight.detach().numpy()[0],
        "general": np.array([s @ general.key.weight.detach().numpy() @ h_j for h_j in h]),
        "dot": h @ s,
        "scaled_dot": h @ s / 2,
        "cosine": h @ s / np.linalg.norm(h, axis=1) / np.linalg.norm(s),
    }
    assert set(expected) == set(modules)
    for name, scores in expected.items():
        query, keys = cr.tensor(s[None, None]), cr.tensor(h[None])
        close(modules[name].scores(query, keys)[0, 0], scores)
        context, alpha = modules[name](query, keys)
        close(alpha[0, 0], softmax(scores))
        close(context[0, 0], sum(a * h_j for a, h_j in zip(softmax(scores), h, strict=True)))


def test_23_both_directions_side_by_side():
    cr.manual_seed(0)
    both = nn.LSTM(3, 4, bidirectional=True).double()
    forward, backward = nn.LSTM(3, 4).double(), nn.LSTM(3, 4).double()
    state = both.state_dict()
    forward.load_state_dict({k: v for k, v in state.items() if not k.endswith("_reverse")})
    backward.load_state_dict({k.removesuffix("_reverse"): v for k, v in state.items() if k.endswith("_reverse")})
    x = cr.randn(7, 2, 3, dtype=cr.float64)
    h = cr.cat([forward(x)[0], backward(x.flip(0))[0].flip(0)], 2)
    close(both(x)[0], h.detach().numpy())


# -- 24: characters ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hello():
    """A network of three units that has learned "hello"."""
    cr.manual_seed(3)
    model = CharRNN("helo", hidden=3, cell="RNN")
    x, y = model.encode("hell")[None], model.encode("ello")
    assert F.one_hot(x[0], 4).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    optimizer = cr.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(model(x)[0][0], y).backward()
        optimizer.step()
    return model


def test_24_hello_from_h(hello):
    assert hello.greedy("h", 4) == "hello"  # after the same l comes l, and then o: the state knows


def test_24_hello_by_beam_search(hello):
    (best, p), (second, q) = hello.beam("h", 4, width=2)
    assert best == "hello"
    assert second != "hello"
    assert p > q
    assert p > math.log(0.8)


def test_24_hello_by_chance(hello):
    generator = cr.Generator().manual_seed(0)
    counts = {t: sum(hello.sample("h", 4, t, generator) == "hello" for _ in range(30)) for t in (0.3, 1.0, 10.0)}
    assert counts[0.3] == 30
    assert counts[0.3] >= counts[1.0] > counts[10.0]


def test_24_the_temperature_is_a_power_of_the_probabilities():
    p = softmax(rng(0).normal(size=5))
    for t in (0.5, 1.0, 3.0):
        close(F.softmax(cr.tensor(np.log(p)) / t, 0), p ** (1 / t) / (p ** (1 / t)).sum())


def test_24_greedy_misses_what_beam_search_finds():
    """The best first character need not begin the best text."""

    class Table(CharRNN):
        def forward(self, x, state=None):
            state = cr.zeros(1, x.shape[0], 1) if state is None else state
            p = cr.tensor([[0.0, 0.6, 0.4], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.1, 0.9]])
            return (p + 1e-9).log()[x], state

    table = Table("abc", 1, cell="RNN")
    assert table.greedy("a", 2)[:2] == "ab"
    (best, p), _ = table.beam("a", 2, width=2)
    assert best == "acc"
    assert math.exp(p) == pytest.approx(0.36, abs=1e-6)


def test_24_truncated_bptt_every_k1_steps_for_k2_steps():
    """The gradient of the loss at step t reaches the inputs of the last k2 steps, and no others."""
    cr.manual_seed(0)
    model = CharRNN("helo", hidden=3, cell="RNN", embedding=2).double()
    x, y = cr.arange(12).unsqueeze(0) % 4, cr.arange(1, 13).unsqueeze(0) % 4
    for k1, k2 in ((2, 2), (2, 6), (3, 4), (4, 12)):
        read = []
        hook = model.rnn.register_forward_pre_hook(lambda module, args, read=read: read.append(args[0]))
        ends = []
        for loss, state in truncated_bptt(model, x, y, k1, k2):
            grads = cr.autograd.grad(loss, read, retain_graph=True, allow_unused=True)
            steps = sum(g.shape[1] for g in grads if g is not None and (g != 0).any())
            ends.append(steps)
            assert not state.requires_grad
        hook.remove()
        assert ends == [min(k2, k1 * (n + 1)) for n in range(12 // k1)]
