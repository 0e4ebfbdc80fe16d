"""Models of sequences: shapes, numbers of parameters, a few steps of training, and what each has of its own."""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.models.char_rnn import CharRNN, truncated_bptt
from chainrule.models.memory_network import MemoryNetwork
from chainrule.models.neural_turing_machine import Head, NeuralTuringMachine
from chainrule.models.seq2seq import Attention, Seq2Seq
from chainrule.models.wavenet import WaveNet, mu_law, mu_law_inverse
from chainrule.nn import functional as F


def count(model):
    return sum(p.numel() for p in model.parameters())


def trained(model, loss, steps, lr=1e-2):
    """The losses before and after some steps of Adam."""
    optimizer = cr.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses[0], losses[-1]


def close(a, b, tolerance=1e-6):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


# -- char-RNN ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_char_rnn_learns_a_text(cell):
    cr.manual_seed(0)
    text = "hello world. " * 3
    model = CharRNN(sorted(set(text)), hidden=24, layers=2, cell=cell, embedding=None if cell == "GRU" else 8)
    x = model.encode(text)[None]
    logits, _ = model(x[:, :-1])
    assert logits.shape == (1, len(text) - 1, 9)
    first, last = trained(model, lambda: F.cross_entropy(model(x[:, :-1])[0][0], x[0, 1:]), 40, 2e-2)
    assert first == pytest.approx(math.log(9), abs=0.2)
    assert last < 0.5
    assert model.greedy("hello w", 20).startswith("hello world. hello")


def test_char_rnn_counts():
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}
    for cell, n in gates.items():
        assert count(CharRNN("abcd", 5, cell=cell)) == n * 5 * (4 + 5 + 2) + 4 * 6
    assert count(CharRNN("abcd", 5, 2, "RNN", embedding=3)) == 4 * 3 + 5 * (3 + 5 + 2) + 5 * (5 + 5 + 2) + 4 * 6


def test_char_rnn_says_what_does_not_fit():
    model = CharRNN("abcd", 4)
    with pytest.raises(KeyError, match="not in the vocabulary: '!', 'e'"):
        model.encode("bee!")
    with pytest.raises(ValueError, match="cell is 'LSTM', 'GRU' or 'RNN', not 'lstm'"):
        CharRNN("abcd", cell="lstm")
    for write in (model.greedy, model.sample, model.beam):
        with pytest.raises(ValueError, match="start is empty"):
            write("", 3)
    with pytest.raises(ValueError, match="at least 1 wide, not 0"):
        model.beam("a", 3, width=0)
    with pytest.raises(ValueError, match="not negative"):
        model.sample("a", 3, temperature=-1.0)


def log_probability(model, text):
    with cr.no_grad():
        logits = F.log_softmax(model(model.encode(text)[None])[0][0], -1)
    return sum(logits[t, model.numbers[c]].item() for t, c in enumerate(text[1:]))


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_beam_search_finds_what_all_texts_have_to_offer(cell):
    cr.manual_seed(1)
    model = CharRNN("abc", 6, cell=cell)
    for p in model.parameters():
        p.data *= 4  # so that the texts differ in probability
    found = model.beam("a", 3, width=27)
    every = sorted(
        (("a" + "".join(t)) for t in itertools.product("abc", repeat=3)), key=lambda t: -log_probability(model, t)
    )
    assert [t for t, _ in found] == every
    for text, value in found[:5]:
        assert value == pytest.approx(log_probability(model, text), abs=1e-5)
    assert model.beam("a", 3, width=1)[0][0] == model.greedy("a", 3)


def test_sampling_follows_the_temperature():
    cr.manual_seed(2)
    model = CharRNN("abc", 6)
    with cr.no_grad():
        model.output.weight.zero_()
        model.output.bias[...] = cr.tensor([1.0, 0.0, -1.0])
    generator = cr.Generator().manual_seed(0)
    for temperature in (0.5, 1.0, 2.0):
        text = model.sample("a", 1000, temperature, generator)[1:]
        p = np.exp(np.array([1, 0, -1]) / temperature)
        shares = [text.count(c) / 1000 for c in "abc"]
        np.testing.assert_allclose(shares, p / p.sum(), atol=0.05)
    assert model.sample("a", 20, 1e-3, generator) == model.greedy("a", 20) == model.sample("a", 20, 0)


def test_truncated_bptt_reaches_back_k2_steps():
    cr.manual_seed(0)
    model = CharRNN("abcd", 4, cell="RNN").double()
    x, y = cr.randint(0, 4, (2, 12)), cr.randint(0, 4, (2, 12))
    weights = list(model.parameters())

    def direct(begin, end, first):
        with cr.no_grad():
            state = model(x[:, :first])[1] if first else None
        logits, _ = model(x[:, first:end], state)
        return F.cross_entropy(logits[:, begin - first :].flatten(0, 1), y[:, begin:end].flatten())

    for k1, k2 in ((3, 3), (2, 5), (5, 12), (12, 12), (1, 4)):
        losses = [loss for loss, _ in truncated_bptt(model, x, y, k1, k2)]
        assert len(losses) == math.ceil(12 / k1)
        for n, loss in enumerate(losses):
            begin, end = n * k1, min((n + 1) * k1, 12)
            expected = direct(begin, end, max(0, begin + k1 - k2))
            assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
            for a, b in zip(cr.grad(loss, weights), cr.grad(expected, weights), strict=True):
                close(a, b, 1e-12)
    whole = F.cross_entropy(model(x)[0].flatten(0, 1), y.flatten())
    assert next(truncated_bptt(model, x, y, 12))[0].item() == pytest.approx(whole.item(), abs=1e-12)
    with pytest.raises(ValueError, match="0 < k1 <= k2"):
        next(truncated_bptt(model, x, y, 3, 2))


def test_truncated_bptt_trains():
    cr.manual_seed(0)
    text = "abcd" * 15
    model = CharRNN("abcd", 12)
    x = model.encode(text)[None]
    optimizer = cr.optim.Adam(model.parameters(), lr=2e-2)
    losses, state = [], None
    for _ in range(4):
        for loss, after in truncated_bptt(model, x[:, :-1], x[:, 1:], 5, 10, state):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            assert not after[0].requires_grad
    assert losses[-1] < 0.3 * losses[0]


# -- attention and seq2seq --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", Attention.SCORES)
def test_attention_weights(score):
    cr.manual_seed(0)
    attention = Attention(score, 4, 4, 3 if score == "additive" else None)
    queries, keys = cr.randn(2, 3, 4), cr.randn(2, 5, 4)
    mask = cr.arange(5) < cr.tensor([[3], [5]])
    context, weights = attention(queries, keys, mask)
    assert (context.shape, weights.shape) == ((2, 3, 4), (2, 3, 5))
    close(weights.sum(2), cr.ones(2, 3))
    assert (weights[0, :, 3:] == 0).all()
    close(context[0, 1], weights[0, 1] @ keys[0])
    close(attention(queries[:1], keys[:1, :3])[0], context[:1])
    with pytest.raises(ValueError, match="score is one of"):
        Attention("loud", 4, 4)
    with pytest.raises(ValueError, match="as long as keys"):
        Attention("dot", 3, 4)


@pytest.mark.parametrize("score", Attention.SCORES)
def test_seq2seq_learns_to_reverse(score):
    cr.manual_seed(0)
    model = Seq2Seq(8, 8, embedding=8, hidden=32, score=score)
    source = cr.randint(2, 8, (16, 4))
    target = source.flip(1)
    inputs = cr.cat([cr.ones(16, 1, dtype=cr.int64), target[:, :-1]], 1)
    logits, weights = model(source, inputs)
    assert (logits.shape, weights.shape) == ((16, 4, 8), (16, 4, 4))
    first, last = trained(model, lambda: F.cross_entropy(model(source, inputs)[0].flatten(0, 1), target.flatten()), 40)
    assert last < 0.6 * first
    words, looked = model.translate(source, start=1, length=4)
    assert (words.shape, looked.shape) == ((16, 4), (16, 4, 4))
    assert (words == target).float().mean() > 0.5


def test_seq2seq_ignores_padding_and_stops():
    cr.manual_seed(0)
    model = Seq2Seq(8, 8, embedding=4, hidden=6)
    assert count(model.encoder) == 2 * 3 * 3 * (4 + 3 + 2)
    assert count(model) == 2 * 8 * 4 + 162 + (3 + 1) * 6 + (42 + 36 + 6) + 18 * (10 + 6 + 2) + 8 * 17
    source, inputs = cr.randint(2, 8, (2, 5)), cr.randint(2, 8, (2, 3))
    logits, weights = model(source, inputs, [3, 5])
    close(logits[:1], model(source[:1, :3], inputs[:1])[0])
    assert (weights[0, :, 3:] == 0).all()
    word = model.translate(source, 1, 1)[0][0, 0].item()
    assert model.translate(source[:1], 1, 9, end=word)[0].shape == (1, 1)
    with pytest.raises(ValueError, match="even"):
        Seq2Seq(8, 8, hidden=7)


# -- WaveNet ----------------------------------------------------------------------------------------------------------


def test_wavenet_sees_its_receptive_field_and_no_future():
    cr.manual_seed(0)
    model = WaveNet(classes=4, layers=3, stacks=2, residual=5, gates=6, skip=7).double()
    assert model.receptive_field == 1 + 2 * (1 + 2 + 4)
    layer = 2 * (5 * 6 * 2 + 6) + (6 * 5 + 5) + (6 * 7 + 7)
    assert count(model) == (4 * 5 + 5) + 6 * layer + (7 * 7 + 7) + (7 * 4 + 4)
    x = cr.randint(0, 4, (1, 24))
    one_hot = []
    model.input.register_forward_pre_hook(
        lambda module, args: one_hot.append(args[0].detach().requires_grad_()) or one_hot[-1]
    )
    logits = model(x)
    assert logits.shape == (1, 4, 24)
    logits[0, :, 20].sum().backward()
    seen = one_hot[0].grad[0].abs().sum(0) != 0
    assert seen.nonzero().flatten().tolist() == list(range(20 - model.receptive_field + 1, 21))


def test_wavenet_learns_and_generates():
    cr.manual_seed(0)
    model = WaveNet(classes=8, layers=3, stacks=1, residual=12, gates=12, skip=16)
    wave = cr.sin(cr.arange(60) * (2 * math.pi / 12))
    x = mu_law(wave, 8)[None]
    first, last = trained(model, lambda: F.cross_entropy(model(x[:, :-1]), x[:, 1:]), 40)
    assert first > 1.5
    assert last < 0.6
    written = model.generate(x[:, :24], 6, temperature=0.1)
    assert written.shape == (1, 30)
    assert (written[:, :24] == x[:, :24]).all()


def test_mu_law():
    x = cr.linspace(-1, 1, 101)
    numbers = mu_law(x)
    assert (numbers.min().item(), numbers.max().item()) == (0, 255)
    assert (mu_law_inverse(numbers) - x).abs().max() < 0.03
    assert (mu_law(mu_law_inverse(cr.arange(256))) == cr.arange(256)).all()


# -- machines with a memory -------------------------------------------------------------------------------------------


def test_heads_address_by_content_and_by_place():
    memory = cr.eye(4)[None] + 0.1
    last = cr.tensor([[0.0, 1.0, 0.0, 0.0]])
    one, key = cr.ones(1, 1), cr.tensor([[0.0, 0.0, 1.0, 0.0]])

    def address(strength, gate, shift, sharpness):
        return Head.address(memory, last, key, one * strength, one * gate, cr.tensor([shift]), one * sharpness)

    still = [0.0, 1.0, 0.0]
    close(address(200, 1, still, 1), cr.eye(4)[2:3], 1e-5)  # the row like the key
    close(address(200, 0, still, 1), last, 1e-5)  # where it was
    close(address(200, 0, [0.0, 0.0, 1.0], 1), cr.eye(4)[2:3], 1e-5)  # one row on
    close(address(200, 0, [1.0, 0.0, 0.0], 1), cr.eye(4)[:1], 1e-5)  # one row back
    close(address(200, 0, [0.5, 0.5, 0.0], 2), cr.tensor([[0.5, 0.5, 0, 0]]), 1e-5)
    close(address(200, 0, [0.2, 0.8, 0.0], 2), cr.tensor([[0.04, 0.64, 0, 0]]) / 0.68, 1e-5)  # sharpened
    close(address(0, 1, still, 1), cr.full((1, 4), 0.25), 1e-5)


def test_neural_turing_machine_learns_to_copy():
    cr.manual_seed(0)
    model = NeuralTuringMachine(4, 3, hidden=16, rows=8, width=5)
    head = 5 + 1 + 1 + 3 + 1
    assert count(model) == 4 * 16 * (9 + 16 + 2) + 17 * (head + head + 10) + 3 * 22
    bits = (cr.rand(3, 8, 3) > 0.5).float()
    blank = cr.zeros(4, 8, 4)
    inputs = cr.cat([cr.cat([bits, cr.zeros(3, 8, 1)], 2), blank])
    inputs[3, :, 3] = 1  # now recall
    outputs, state = model(inputs)
    assert (outputs.shape, state.memory.shape) == ((7, 8, 3), (8, 8, 5))
    close(state.reading.sum(1), cr.ones(8), 1e-5)
    first, last = trained(model, lambda: F.binary_cross_entropy_with_logits(model(inputs)[0][4:], bits), 30, 3e-2)
    assert last < 0.8 * first
    halves = model(inputs[:3])[1]
    close(model(inputs[3:], halves)[0], model(inputs)[0][3:], 1e-5)


def test_memory_network_learns_where_somebody_is():
    cr.manual_seed(0)
    persons, places = range(1, 4), range(4, 8)  # "person place", and the question: a person
    model = MemoryNetwork(8, sentences=4, size=12, hops=2)
    assert count(model) == 3 * (8 * 12 + 4 * 12)
    who = cr.stack([cr.randperm(3)[:2] + 1 for _ in range(64)])
    where = cr.randint(4, 8, (64, 2))
    story = cr.stack([who, where], 2)
    asked = cr.randint(0, 2, (64,))
    question, answer = who[cr.arange(64), asked][:, None], where[cr.arange(64), asked]
    assert set(question.flatten().tolist()) <= set(persons)
    assert set(answer.tolist()) <= set(places)
    logits, weights = model(story, question)
    assert (logits.shape, weights.shape) == ((64, 8), (64, 2, 2))
    close(weights.sum(2), cr.ones(64, 2))
    first, last = trained(model, lambda: F.cross_entropy(model(story, question)[0], answer), 60, 3e-2)
    assert last < 0.5 * first
    with pytest.raises(ValueError, match="longer than the 4"):
        model(cr.ones(1, 5, 2, dtype=cr.int64), question[:1])


def test_memory_network_knows_the_order_of_words():
    close(MemoryNetwork.positions(2, 2), cr.tensor([[0.5, 0.5], [0.5, 1.0]]))
    model = MemoryNetwork(8, 4)
    table = model.embeddings[0]
    one, two = model.sentence(table, cr.tensor([2, 5])), model.sentence(table, cr.tensor([5, 2]))
    assert (one - two).abs().max() > 1e-3
    assert (table.weight[0] == 0).all()
    assert isinstance(table, nn.Embedding)
