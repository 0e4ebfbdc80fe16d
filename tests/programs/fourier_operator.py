"""A Fourier neural operator learns what the heat equation does to a profile, and a filter of spectra to denoise."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class SpectralConv1d(nn.Module):
    def __init__(self, in_channels, out_channels, modes):
        super().__init__()
        self.modes = modes
        scale = 1 / (in_channels * out_channels)
        self.weights = nn.Parameter(scale * torch.view_as_complex(torch.randn(in_channels, out_channels, modes, 2)))

    def forward(self, x):
        spectrum = torch.fft.rfft(x)
        out = torch.zeros(
            x.shape[0], self.weights.shape[1], x.shape[-1] // 2 + 1, dtype=spectrum.dtype, device=x.device
        )
        out[:, :, : self.modes] = torch.einsum("bix,iox->box", spectrum[:, :, : self.modes], self.weights)
        return torch.fft.irfft(out, n=x.shape[-1])


class FNO1d(nn.Module):
    def __init__(self, modes=8, width=12, depth=3):
        super().__init__()
        self.lift = nn.Linear(2, width)
        self.spectral = nn.ModuleList([SpectralConv1d(width, width, modes) for _ in range(depth)])
        self.pointwise = nn.ModuleList([nn.Conv1d(width, width, 1) for _ in range(depth)])
        self.project = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, 1))
        self.log_gain = nn.Parameter(torch.zeros(17))

    def forward(self, u):
        grid = torch.linspace(0, 1, u.shape[-1], dtype=u.dtype, device=u.device).expand_as(u)
        x = self.lift(torch.stack((u, grid), dim=-1)).permute(0, 2, 1)
        for i, (spectral, pointwise) in enumerate(zip(self.spectral, self.pointwise)):
            x = spectral(x) + pointwise(x)
            if i < len(self.spectral) - 1:
                x = F.gelu(x)
        return self.project(x.permute(0, 2, 1)).squeeze(-1)

    def denoise(self, signal):
        window = torch.hann_window(32, dtype=signal.dtype, device=signal.device)
        z = torch.stft(signal, n_fft=32, hop_length=8, window=window, return_complex=True)
        magnitude, phase = z.abs(), z.angle()
        magnitude = magnitude * torch.sigmoid(self.log_gain)[:, None]
        return torch.istft(
            torch.polar(magnitude, phase), n_fft=32, hop_length=8, window=window, length=signal.shape[-1]
        )


def heat(u, time=0.002):
    k = 2 * math.pi * torch.fft.rfftfreq(u.shape[-1], d=1 / u.shape[-1], dtype=u.dtype)
    return torch.fft.irfft(torch.fft.rfft(u) * torch.exp(-(k**2) * time), n=u.shape[-1])


def make_data(n, seed, size=64):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, size, endpoint=False)
    u = sum(rng.normal(size=(n, 1)) * np.sin(2 * np.pi * (k * t + rng.uniform(size=(n, 1)))) / k for k in range(1, 7))
    clean = np.sin(2 * np.pi * (4 * t + rng.uniform(size=(n, 1))))
    noisy = clean + 0.5 * rng.normal(size=clean.shape)
    dtype = torch.get_default_dtype()
    return tuple(torch.tensor(x, dtype=dtype) for x in (u, clean, noisy))


def build():
    return FNO1d()


def relative_error(found, expected):
    return (torch.linalg.vector_norm(found - expected, dim=-1) / torch.linalg.vector_norm(expected, dim=-1)).mean()


def train(model, steps=120):
    u, clean, noisy = make_data(128, 0)
    target = heat(u)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    losses = []
    while len(losses) < steps:
        for batch in torch.randperm(len(u)).split(32):
            optimizer.zero_grad()
            loss = relative_error(model(u[batch]), target[batch]) + F.mse_loss(
                model.denoise(noisy[batch]), clean[batch]
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return losses


@torch.no_grad()
def evaluate(model):
    """The relative error on unseen profiles, on a grid twice as fine."""
    model.eval()
    u, _, _ = make_data(32, 1, size=128)
    return relative_error(model(u), heat(u)).item()
