"""Sine waves continued by two LSTM cells in double precision, trained by L-BFGS with a closure."""

import numpy as np
import torch
from torch import nn, optim

UNITS = 12


class Continue(nn.Module):
    """One number after the other; where the input ends, the output is fed back."""

    def __init__(self):
        super().__init__()
        self.lower = nn.LSTMCell(1, UNITS)
        self.upper = nn.LSTMCell(UNITS, UNITS)
        self.read = nn.Linear(UNITS, 1)

    def step(self, x, low, high):
        low = self.lower(x, low)
        high = self.upper(low[0], high)
        return self.read(high[0]), low, high

    def forward(self, waves, future=0):
        count = waves.size(0)
        low, high = ([torch.zeros(count, UNITS, dtype=torch.double) for _ in range(2)] for _ in range(2))
        out = []
        for x in waves.split(1, dim=1):
            y, low, high = self.step(x, tuple(low), tuple(high))
            out += [y]
        for _ in range(future):
            y, low, high = self.step(y, low, high)
            out.append(y)
        return torch.cat(out, dim=1)


def waves():
    phases = np.random.RandomState(2).randint(-40, 40, (12, 1))
    return np.sin((np.arange(30) + phases) / 4.0).astype("float64")


def build():
    return Continue().double()


def train(network, steps=4):
    data = torch.from_numpy(waves()[3:])
    given, wanted = data[:, :-1], data[:, 1:]
    measure = nn.MSELoss()
    optimizer = optim.LBFGS(network.parameters(), lr=0.8)
    losses = []

    def closure():
        optimizer.zero_grad()
        loss = measure(network(given), wanted)
        losses.append(loss.item())
        loss.backward()
        return loss

    for _ in range(min(steps, 4)):  # each of up to 20 iterations
        optimizer.step(closure)
    return losses


def evaluate(network):
    """The error on waves that were not seen, the last ten steps fed by its own predictions."""
    data = waves()[:3]
    with torch.no_grad():
        found = network(torch.from_numpy(data[:, :-11]), future=10)
        return nn.functional.mse_loss(found, torch.from_numpy(data[:, 1:])).item()
