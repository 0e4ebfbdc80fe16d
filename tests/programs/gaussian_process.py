"""A Gaussian process by its marginal likelihood, and logistic regression by Newton's method: plain linear algebra."""

import math

import numpy as np
import torch
from torch import nn


class GP(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_lengthscale = nn.Parameter(torch.zeros(2))
        self.log_amplitude = nn.Parameter(torch.tensor(0.0))
        self.log_noise = nn.Parameter(torch.tensor(-1.0))
        self.mean = nn.Parameter(torch.zeros(()))

    def kernel(self, a, b):
        a, b = a / self.log_lengthscale.exp(), b / self.log_lengthscale.exp()
        square = (a[:, None, :] - b[None, :, :]).pow(2).sum(-1)
        return torch.exp(2 * self.log_amplitude) * torch.exp(-0.5 * square)

    def factor(self, x):
        K = self.kernel(x, x) + self.log_noise.exp() ** 2 * torch.eye(len(x)) + 1e-6 * torch.eye(len(x))
        return torch.linalg.cholesky(K)

    def negative_log_likelihood(self, x, y):
        L = self.factor(x)
        r = (y - self.mean).unsqueeze(-1)
        alpha = torch.cholesky_solve(r, L)
        return (
            0.5 * (r.mT @ alpha).squeeze()
            + L.diagonal(dim1=-2, dim2=-1).log().sum()
            + 0.5 * y.numel() * math.log(2 * math.pi)
        )

    @torch.no_grad()
    def predict(self, x, y, new):
        L = self.factor(x)
        Ks = self.kernel(x, new)
        v = torch.linalg.solve_triangular(L, Ks, upper=False)
        mean = self.mean + Ks.T @ torch.cholesky_solve((y - self.mean)[:, None], L).squeeze(1)
        var = torch.exp(2 * self.log_amplitude) - (v * v).sum(0)
        return mean, var.clamp_min(1e-9)


def newton_logistic(X, y, ridge=1e-2, iterations=6):
    """The weights of the least penalised loss; the Hessian through autograd must be the formula's."""
    w = torch.zeros(X.shape[1])

    def objective(w):
        z = X @ w
        return torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="sum") + 0.5 * ridge * w.dot(w)

    for _ in range(iterations):
        g = torch.autograd.functional.jacobian(objective, w)
        H = torch.autograd.functional.hessian(objective, w)
        p = torch.sigmoid(X @ w)
        formula = X.T @ torch.diag(p * (1 - p)) @ X + ridge * torch.eye(len(w))
        assert torch.allclose(H, formula, rtol=1e-3, atol=1e-4)
        w = w - torch.linalg.solve(H, g)
    return w


def make_data(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, 2))
    y = np.sin(2 * x[:, 0]) + 0.1 * rng.standard_normal(n) + 0.5
    dtype = torch.get_default_dtype()
    return torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype)


def build():
    return GP()


def train(gp, steps=60):
    x, y = make_data(30, 0)
    optimizer = torch.optim.Adam(gp.parameters(), lr=0.05)
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = gp.negative_log_likelihood(x, y)
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    labels = (y > 0.5).to(y.dtype)
    features = torch.cat([torch.ones(len(x), 1), x, x**3], dim=1)
    w = newton_logistic(features, labels)
    history.append(torch.linalg.norm(w).item())
    history.append(torch.linalg.lstsq(features, y[:, None]).solution.abs().sum().item())
    sign, logdet = torch.linalg.slogdet(gp.kernel(x, x).detach() + torch.eye(len(x)))
    assert sign == 1
    history.append(logdet.item())
    return history


def evaluate(gp):
    """The standardised error on unseen points, and the second input found to be of no use."""
    x, y = make_data(30, 0)
    new, truth = make_data(40, 1)
    mean, var = gp.predict(x, y, new)
    z = (truth - mean) / (var + gp.log_noise.detach().exp() ** 2).sqrt()
    assert gp.log_lengthscale[1] > gp.log_lengthscale[0]
    return z.abs().mean().item()
