"""Words after words by recurrent networks and a Transformer: columns of text, states cut off, clipped steps by hand."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import clip_grad_norm_

STORY = """
the cat sat on the mat . the dog sat on the log . the cat saw the dog . the dog saw the cat .
the bird sang in the tree . the cat heard the bird . the dog heard the cat . the bird saw the dog .
a cat and a dog and a bird sat in the tree . the mat lay on the log . the tree heard the bird .
"""
WINDOW, COLUMNS, CLIP = 8, 4, 0.25


def number_words(text):
    """A dictionary of the words, and the text in its numbers, an end mark after each line."""
    numbers, lines = {}, []
    for line in text.splitlines():
        words = [*line.split(), "<end>"]
        for word in words:
            numbers.setdefault(word, len(numbers))
        lines.append(torch.LongTensor([numbers[w] for w in words]))
    return numbers, torch.cat(lines)


VOCABULARY, IDS = number_words(STORY)


def columns(ids, count):
    """(length, count): the text goes on downwards in each column."""
    rows = ids.numel() // count
    return ids.narrow(0, 0, rows * count).view(count, -1).t().contiguous()


def windows(table):
    for start in range(0, table.size(0) - 1, WINDOW):
        stop = min(start + WINDOW, table.size(0) - 1)
        yield table[start:stop], table[start + 1 : stop + 1].reshape(-1)


def cut(state):
    """The state without its history, whatever it consists of."""
    return state.detach() if isinstance(state, torch.Tensor) else tuple(cut(s) for s in state)


class Recurrent(nn.Module):
    def __init__(self, kind, words, width, units, layers, p=0.5, tied=False):
        super().__init__()
        self.kind, self.units, self.layers = kind, units, layers
        self.embed = nn.Embedding(words, width)
        self.dropout = nn.Dropout(p)
        if kind in ("LSTM", "GRU"):
            self.cells = getattr(nn, kind)(width, units, layers, dropout=p)
        else:
            self.cells = nn.RNN(width, units, layers, nonlinearity=kind.lower(), dropout=p)
        self.scores = nn.Linear(units, words)
        if tied:
            assert width == units, "tied weights need embeddings as wide as the hidden layer"
            self.scores.weight = self.embed.weight
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        nn.init.uniform_(self.scores.weight, -0.1, 0.1)
        nn.init.zeros_(self.scores.bias)

    def start(self, count):
        some = next(self.parameters())
        h = some.new_zeros(self.layers, count, self.units)
        return (h, h.clone()) if self.kind == "LSTM" else h

    def forward(self, ids, state):
        seen, state = self.cells(self.dropout(self.embed(ids)), state)
        return F.log_softmax(self.scores(self.dropout(seen)).view(-1, self.scores.out_features), dim=1), state


class Attentive(nn.Transformer):
    """The encoder of a Transformer under a causal mask; the decoder's place is taken by one linear layer."""

    def __init__(self, words, width, heads, hidden, layers, p=0.5):
        super().__init__(width, heads, num_encoder_layers=layers, dim_feedforward=hidden, dropout=p)
        self.embed = nn.Embedding(words, width)
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        self.decoder = nn.Linear(width, words)
        at = torch.arange(64, dtype=torch.float)[:, None]
        rate = torch.exp(torch.arange(0, width, 2).float() * (-math.log(1e4) / width))
        table = torch.zeros(64, 1, width)
        table[:, 0, 0::2] = torch.sin(at * rate)
        table[:, 0, 1::2] = torch.cos(at * rate)
        self.register_buffer("table", table)

    def forward(self, ids, state=None):
        x = self.embed(ids) * math.sqrt(self.d_model) + self.table[: len(ids)]
        mask = self.generate_square_subsequent_mask(len(ids))
        return F.log_softmax(self.decoder(self.encoder(x, mask=mask.to(x))), dim=-1).flatten(0, 1), None


def build():
    words = len(VOCABULARY)
    return nn.ModuleDict(
        {
            "lstm": Recurrent("LSTM", words, 16, 16, 2, p=0.0, tied=True),
            "gru": Recurrent("GRU", words, 12, 16, 1, p=0.0),
            "elman": Recurrent("RELU", words, 12, 16, 1, p=0.0),
            "attentive": Attentive(words, 16, 2, 32, 1, p=0.0),
        }
    )


def learn(model, table, rate, steps):
    losses, measure = [], nn.NLLLoss()
    while len(losses) < steps:
        state = model.start(COLUMNS) if isinstance(model, Recurrent) else None
        for ids, wanted in windows(table):
            if len(losses) == steps:
                break
            model.train()
            model.zero_grad()
            found, state = model(ids, state if state is None else cut(state))
            loss = measure(found, wanted)
            loss.backward()
            clip_grad_norm_(model.parameters(), CLIP)
            for p in model.parameters():
                if p.grad is not None:  # the decoder's own layers, which the linear layer replaced
                    p.data.add_(p.grad, alpha=-rate)
            losses.append(loss.item())
    return losses


def train(network, steps=100):
    table = columns(IDS, COLUMNS)
    runs = [learn(model, table, 0.5 if name == "attentive" else 4.0, steps) for name, model in network.items()]
    return [list(step) for step in zip(*runs)]


@torch.no_grad()
def evaluate(network):
    """The highest perplexity of the four, on the text itself."""
    table, worst = columns(IDS, COLUMNS), 0.0
    for model in network.values():
        model.eval()
        total, count = 0.0, 0
        state = model.start(COLUMNS) if isinstance(model, Recurrent) else None
        for ids, wanted in windows(table):
            found, state = model(ids, state)
            total += F.nll_loss(found, wanted, reduction="sum").item()
            count += wanted.numel()
        worst = max(worst, math.exp(total / count))
    return worst
