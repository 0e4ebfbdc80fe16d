"""DCGAN on small squares: transposed convolutions, batch norm, BCELoss on sigmoids, two Adams, weights by apply."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.parallel
import torch.optim as optim
import torch.utils.data as data

Z, WIDTH, SIDE = 8, 8, 16


class Squares(data.Dataset):
    """Dark images with a bright square of random place and size."""

    def __init__(self, count):
        rng = np.random.default_rng(3)
        self.images = np.full((count, 1, SIDE, SIDE), -1.0)
        for image in self.images:
            size = rng.integers(5, 9)
            i, j = rng.integers(2, SIDE - 2 - size, 2)
            image[0, i : i + size, j : j + size] = 1

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return torch.tensor(self.images[i], dtype=torch.get_default_dtype())


def start_small(module):
    name = type(module).__name__
    if "Conv" in name:
        nn.init.normal_(module.weight.data, 0.0, 0.02)
    elif "BatchNorm" in name:
        nn.init.normal_(module.weight.data, 1.0, 0.02)
        nn.init.constant_(module.bias.data, 0)


def up(inside, out, stride, padding):
    return [nn.ConvTranspose2d(inside, out, 4, stride, padding, bias=False), nn.BatchNorm2d(out), nn.ReLU(True)]


class Painter(nn.Module):
    def __init__(self):
        super().__init__()
        last = nn.ConvTranspose2d(WIDTH, 1, 4, stride=2, padding=1, bias=False)
        self.layers = nn.Sequential(*up(Z, 2 * WIDTH, 1, 0), *up(2 * WIDTH, WIDTH, 2, 1), last, nn.Tanh())

    def forward(self, z):
        if z.is_cuda and torch.cuda.device_count() > 1:
            return nn.parallel.data_parallel(self.layers, z)
        return self.layers(z)


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, WIDTH, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * WIDTH),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * WIDTH, 1, 4, 1, 0, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.layers(x).view(-1, 1).squeeze(1)


def build():
    return nn.ModuleDict({"painter": Painter(), "judge": Judge()}).apply(start_small)


def train(network, steps=200):
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    painter, judge = network["painter"].to(device), network["judge"].to(device)
    loader = data.DataLoader(Squares(256), batch_size=32, drop_last=True, num_workers=0)
    measure = nn.BCELoss()
    steps_of = {m: optim.Adam(m.parameters(), lr=5e-4, betas=(0.5, 0.999)) for m in (painter, judge)}
    history = []
    while len(history) < steps:
        for _, real in enumerate(loader):
            if len(history) == steps:
                break
            real = real.to(device)
            # the judge: log D(x) + log(1 - D(G(z))), two backward passes into one gradient
            judge.zero_grad()
            label = torch.full((real.size(0),), 1, dtype=real.dtype, device=device)
            on_real = judge(real)
            loss_real = measure(on_real, label)
            loss_real.backward()
            false = painter(torch.randn(real.size(0), Z, 1, 1).to(device))
            loss_false = measure(judge(false.detach()), label.fill_(0))
            loss_false.backward()
            steps_of[judge].step()
            # the painter: log D(G(z))
            painter.zero_grad()
            loss = measure(judge(false), label.fill_(1))
            loss.backward()
            steps_of[painter].step()
            history.append(((loss_real + loss_false).item(), loss.item(), on_real.mean().item()))
    return history


def evaluate(network):
    """How far the false images' mean brightness is from that of the real ones."""
    painter = network["painter"].eval()
    with torch.no_grad():
        false = painter(torch.randn(64, Z, 1, 1).to(next(painter.parameters()).device)).cpu()
    assert false.shape == (64, 1, SIDE, SIDE)
    return abs(false.mean().item() - Squares(256).images.mean())
