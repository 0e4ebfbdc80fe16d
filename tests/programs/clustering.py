"""k-means, PCA and a soft mixture by gradient: cdist, scatter and index updates, svd and eigh, NumPy there and back."""

import numpy as np
import torch
from torch import nn


def blobs(n=90, k=3, d=5, seed=0):
    rng = np.random.RandomState(seed)
    centres = rng.randn(k, d) * 4
    labels = np.arange(n) % k
    x = centres[labels] + rng.randn(n, d) * 0.5
    return torch.from_numpy(x).to(torch.get_default_dtype()), torch.from_numpy(labels)


def kmeans(x, k, iterations=10):
    centres = x[:k].clone()
    for _ in range(iterations):
        labels = torch.cdist(x, centres).argmin(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, labels, x)
        counts = torch.zeros(k, dtype=x.dtype).scatter_add_(0, labels, torch.ones_like(labels, dtype=x.dtype))
        centres = torch.where((counts > 0)[:, None], sums / counts[:, None].clamp(min=1), centres)
    inertia = (x - centres[labels]).pow(2).sum()
    return labels, centres, inertia


def pca(x, n_components):
    centred = x - x.mean(dim=0, keepdim=True)
    U, S, Vh = torch.linalg.svd(centred, full_matrices=False)
    values, vectors = torch.linalg.eigh(centred.T @ centred / (len(x) - 1))
    explained = S**2 / (len(x) - 1)
    assert torch.allclose(values.flip(0), explained, rtol=1e-3, atol=1e-4)
    top = vectors[:, -n_components:].flip(1)
    scores = centred @ Vh[:n_components].mT
    assert torch.allclose((centred @ top).abs(), scores.abs(), rtol=1e-2, atol=1e-3)
    assert torch.allclose(U[:, :n_components] * S[:n_components], scores, rtol=1e-3, atol=1e-3)
    return scores, explained / explained.sum()


class Mixture(nn.Module):
    """Gaussians of one variance each; the E step is a softmax, the M step is Adam."""

    def __init__(self, k, d):
        super().__init__()
        self.means = nn.Parameter(torch.empty(k, d))
        self.log_scale = nn.Parameter(torch.zeros(k))
        self.logits = nn.Parameter(torch.zeros(k))
        nn.init.normal_(self.means, std=2.0)

    def log_prob(self, x):
        d = x.shape[-1]
        square = ((x.unsqueeze(1) - self.means) ** 2).sum(-1)
        normal = -0.5 * square * torch.exp(-2 * self.log_scale) - d * self.log_scale - 0.5 * d * np.log(2 * np.pi)
        return normal + torch.log_softmax(self.logits, 0)

    def forward(self, x):
        return -torch.logsumexp(self.log_prob(x), dim=1).mean()


def build():
    return Mixture(3, 5)


def train(model, steps=120):
    x, labels = blobs()
    _, _, inertia = kmeans(x, 3)
    scores, ratio = pca(x, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    history = []
    for _ in range(steps):
        loss = model(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    history += [inertia.item(), *ratio.tolist(), *scores.abs().mean(0).tolist()]
    order = torch.argsort(scores[:, 0].abs(), descending=True)[:5]
    ranked, where = torch.sort(scores[:, 0].abs(), descending=True)
    assert torch.equal(order, where[:5])
    history += ranked[:5].numpy().tolist()
    return history


def purity(found, labels):
    """The share of the most frequent true label within each cluster."""
    table = torch.zeros(3, 3, dtype=torch.long)
    table.index_put_((found, labels), torch.ones_like(labels), accumulate=True)
    assert table.sum() == len(labels)
    return table.max(dim=1).values.sum().item() / len(labels)


def evaluate(model):
    """Purity of k-means' clusters; the mixture's assignment agrees with itself through NumPy."""
    x, labels = blobs()
    found, centres, _ = kmeans(x, 3)
    values, inverse, counts = torch.unique(found, return_inverse=True, return_counts=True)
    assert counts.sum() == len(x)
    assert (values[inverse] == found).all()
    soft = model.log_prob(x).softmax(dim=1)
    hard = np.argmax(soft.detach().numpy(), axis=1)
    assert torch.equal(torch.from_numpy(hard), soft.argmax(1))
    np.testing.assert_allclose(
        np.stack([x[found == i].mean(0).numpy() for i in range(3)]), centres.numpy(), rtol=1e-4, atol=1e-5
    )
    return purity(found, labels)
