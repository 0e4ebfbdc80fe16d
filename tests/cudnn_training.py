"""Trains small networks on the CPU, and on the CuPy backend over a fake CuPy and stand-ins of cuDNN; prints JSON."""

import json
import sys

import cudnn_rnn_stand_in
import cudnn_served
import fake_cupy
import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.backends.cudnn import library


class Convolutions(nn.Sequential):
    def __init__(self):
        super().__init__(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
            *(nn.Conv2d(8, 8, 3, 2, 1, groups=2, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.ConvTranspose2d(8, 4, 2, 2), nn.Flatten(), nn.Linear(256, 5)),
        )


class Sequence(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.layers, self.out = kind(4, 6, 2, **options), nn.Linear(6 * (1 + bool(options)), 5)

    def forward(self, x):
        return self.out(self.layers(x)[0].mean(0))


def losses(device, model, shape, last=False):
    chainrule.manual_seed(0)
    rng = np.random.default_rng(0)
    model = model().to(device)
    x = chainrule.tensor(rng.standard_normal(shape).astype(np.float32)).to(device)
    y = chainrule.tensor(rng.integers(0, 5, 6)).to(device)
    if last:
        model, x = model.to(memory_format=chainrule.channels_last), x.to(memory_format=chainrule.channels_last)
    optimizer = chainrule.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    found = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    model.eval()
    return [*found, nn.functional.cross_entropy(model(x), y).item()]


def attention():
    """Gradients of attention with dropout in 16 bits reach its inputs."""
    rng = np.random.default_rng(0)
    q, k, v = (chainrule.tensor(rng.standard_normal((2, 3, 4, 8)).astype(np.float16)).to("cuda") for _ in range(3))
    for x in (q, k, v):
        x.requires_grad_()
    out = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
    out.sum().backward()
    assert all(float(abs(x.grad).sum()) > 0 for x in (q, k, v))
    out = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
    with pytest.raises(RuntimeError, match="first derivatives alone"):
        chainrule.autograd.grad(out.sum(), q, create_graph=True)


fake_cupy.install()
cudnn_served.pytest_configure()
recurrent = cudnn_rnn_stand_in.Library()
library.dynamic = lambda: recurrent
CASES = {
    "convolutions": (Convolutions, (6, 3, 8, 8)),
    "channels last": (Convolutions, (6, 3, 8, 8), True),
    "LSTM": (lambda: Sequence(nn.LSTM, bidirectional=True), (5, 6, 4)),
    "GRU": (lambda: Sequence(nn.GRU), (5, 6, 4)),
}
found = {name: [losses(device, *case) for device in ("cpu", "cuda")] for name, case in CASES.items()}
attention()
sys.stdout.write(json.dumps({"losses": found, "ran": sorted(cudnn_served.RAN), "calls": recurrent.log[:3]}))
