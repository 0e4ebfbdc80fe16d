"""A physics-informed network solves u'' + u = 0, u'(0) = 1 and the heat equation: first and second derivatives."""

import numpy as np
import torch
from torch import nn
from torch.autograd import grad


class Sine(nn.Module):
    def __init__(self, w0=1.0):
        super().__init__()
        self.w0 = w0

    def forward(self, x):
        return torch.sin(self.w0 * x)

    def extra_repr(self):
        return f"w0={self.w0}"


class MLP(nn.Module):
    def __init__(self, layers, activation=nn.Tanh):
        super().__init__()
        depth = len(layers) - 1
        modules = []
        for i in range(depth):
            modules.append(nn.Linear(layers[i], layers[i + 1]))
            if i < depth - 1:
                modules.append(activation())
        self.layers = nn.Sequential(*modules)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, *coordinates):
        return self.scale * self.layers(torch.cat(coordinates, dim=-1))


def derivative(y, x, order=1):
    for _ in range(order):
        y = grad(y, x, grad_outputs=torch.ones_like(y), create_graph=True, retain_graph=True)[0]
    return y


def oscillator_loss(net, t):
    u = net(t)
    residual = derivative(u, t, 2) + u
    t0 = torch.zeros(1, 1, requires_grad=True)
    u0 = net(t0)
    start = u0.squeeze() ** 2 + (derivative(u0, t0).squeeze() - 1.0) ** 2
    return residual.square().mean() + 5 * start


def heat_loss(net, x, t, kappa=0.1):
    u = net(x, t)
    u_t, u_x = grad(u.sum(), (t, x), create_graph=True)
    (u_xx,) = torch.autograd.grad(u_x.sum(), x, create_graph=True)
    residual = (u_t - kappa * u_xx).pow(2).mean()
    initial = (net(x, torch.zeros_like(t)) - torch.sin(torch.pi * x)).pow(2).mean()
    sides = net(torch.zeros_like(x), t).pow(2).mean() + net(torch.ones_like(x), t).pow(2).mean()
    return residual + initial + sides


def build():
    return nn.ModuleDict({"oscillator": MLP([1, 20, 20, 1], Sine), "heat": MLP([2, 16, 16, 1])})


def train(nets, steps=400):
    t = torch.linspace(0, np.pi, 20).reshape(-1, 1).requires_grad_(True)
    xs, ts = torch.meshgrid(torch.linspace(0, 1, 7), torch.linspace(0, 1, 5), indexing="ij")
    x = xs.flatten()[:, None].clone().requires_grad_()
    tt = ts.flatten()[:, None].clone().requires_grad_()
    optimizer = torch.optim.Adam(
        [
            {"params": nets["oscillator"].parameters(), "lr": 1e-2},
            {"params": [p for n, p in nets["heat"].named_parameters() if n != "scale"]},
            {"params": [nets["heat"].scale], "lr": 1e-3, "betas": (0.8, 0.99)},
        ],
        lr=5e-3,
    )
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.996)
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        first, second = oscillator_loss(nets["oscillator"], t), heat_loss(nets["heat"], x, tt)
        (first + second).backward()
        optimizer.step()
        scheduler.step()
        history.append([first.item(), second.item()])
    assert x.grad is not None
    assert len(scheduler.get_last_lr()) == 3
    return history


def evaluate(nets):
    """The largest distance from sin t."""
    t = torch.linspace(0, np.pi, 50)[:, None]
    with torch.no_grad():
        return (nets["oscillator"](t) - t.sin()).abs().max().item()
