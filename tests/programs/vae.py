"""A variational autoencoder on blurred bars, in the style of the oldest examples: functional calls."""

import numpy as np
import torch
import torch.utils.checkpoint
from torch import nn, optim
from torch.nn import functional as F

SIDE = 8
BATCH = 32


def make_images(n, seed):
    rng = np.random.default_rng(seed)
    images = np.zeros((n, 1, SIDE, SIDE))
    for image in images:
        row, col = rng.integers(1, SIDE - 1, 2)
        image[0, row - 1 : row + 1, :] = 0.9
        image[0, :, col] = 0.9
    return torch.from_numpy(images + 0.05).to(torch.get_default_dtype())


class VAE(nn.Module):
    def __init__(self):
        super(VAE, self).__init__()
        self.fc1 = nn.Linear(SIDE * SIDE, 48)
        self.fc21 = nn.Linear(48, 6)
        self.fc22 = nn.Linear(48, 6)
        self.fc3 = nn.Linear(6, 48)
        self.fc4 = nn.Linear(48, SIDE * SIDE)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return mu + eps * std

    def decode(self, z):
        h3 = F.relu(self.fc3(z))
        return torch.sigmoid(self.fc4(h3))

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, SIDE * SIDE))
        z = self.reparameterize(mu, logvar)
        return self.decode(z), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, SIDE * SIDE), reduction="sum")
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return BCE + KLD


def build():
    return VAE()


def train(model, steps=300):
    device = torch.device("cpu")
    model = model.to(device)
    data = make_images(256, 1)
    optimizer = optim.Adam(model.parameters(), lr=3e-3, amsgrad=True)
    history, step = [], 0
    while step < steps:
        order = torch.randperm(len(data))
        for start in range(0, len(data) - BATCH + 1, BATCH):
            if step == steps:
                break
            batch = data[order[start : start + BATCH]].to(device)
            optimizer.zero_grad()
            recon_batch, mu, logvar = model(batch)
            loss = loss_function(recon_batch, batch, mu, logvar)
            loss.backward()
            optimizer.step()
            history.append(loss.item() / len(batch))
            step += 1
    return history


def evaluate(model):
    """The error of the mean reconstruction on unseen images; samples are images in 0..1."""
    model.eval()
    test = make_images(64, 2)
    with torch.no_grad():
        mu, _ = model.encode(test.flatten(1))
        recon = model.decode(mu).view_as(test)
        error = F.mse_loss(recon, test).item()
        sample = model.decode(torch.randn(16, 6)).cpu()
        grid = torch.cat([test[:8], recon[:8]]).numpy()
    assert grid.shape == (16, 1, SIDE, SIDE)
    low, high = sample.min().item(), sample.max().item()
    assert 0 <= low < high <= 1
    assert sample.var(dim=0).mean() > 0
    return error
