"""Sub-pixel super-resolution with an average of the weights, checkpoints in memory and a resumed run."""

import copy
import io
import math
import pickle

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.nn.init as init
import torch.optim as optim
from torch.optim import lr_scheduler


class Net(nn.Module):
    def __init__(self, upscale_factor):
        super(Net, self).__init__()
        self.relu = nn.ReLU()
        self.conv1 = nn.Conv2d(1, 12, (5, 5), (1, 1), (2, 2), padding_mode="replicate")
        self.conv2 = nn.Conv2d(12, 12, (3, 3), (1, 1), (1, 1), groups=3)
        self.conv3 = nn.Conv2d(12, upscale_factor**2, (3, 3), (1, 1), (1, 1))
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)
        self.upscale_factor = upscale_factor
        self._initialize_weights()

    def forward(self, x):
        skip = F.interpolate(x, scale_factor=self.upscale_factor, mode="bicubic", align_corners=False)
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        return skip + self.pixel_shuffle(self.conv3(x))

    def _initialize_weights(self):
        init.orthogonal_(self.conv1.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv2.weight, init.calculate_gain("relu"))
        init.kaiming_normal_(self.conv3.weight, mode="fan_out", nonlinearity="relu")
        self.conv3.weight.data *= 0.1


class EMA:
    def __init__(self, model, decay=0.9):
        self.decay = decay
        self.shadow = copy.deepcopy(model).eval()
        for p in self.shadow.parameters():
            p.requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        for s, p in zip(self.shadow.parameters(), model.parameters()):
            s.mul_(self.decay).add_(p, alpha=1 - self.decay)
        for s, b in zip(self.shadow.buffers(), model.buffers()):
            s.copy_(b)


def images(n=16, size=16):
    """Waves of random direction, whose lower resolution is a mean over 2 x 2."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    angle = torch.linspace(0, math.pi, n)[:, None, None]
    wave = torch.sin((x * angle.cos() + y * angle.sin()) * 1.5) * 0.5 + 0.5
    high = wave.unsqueeze(1).to(torch.get_default_dtype())
    return F.avg_pool2d(high, 2), high


def psnr(a, b):
    return 10 * torch.log10(1 / F.mse_loss(a, b))


def epoch(model, optimizer, ema, low, high, steps):
    losses = []
    for i in range(steps):
        batch = slice(4 * (i % 4), 4 * (i % 4) + 4)
        optimizer.zero_grad()
        loss = F.l1_loss(model(low[batch]), high[batch]) + 1e-4 * sum(p.abs().sum() for p in model.parameters())
        loss.backward()
        optimizer.step()
        ema.update(model)
        losses.append(loss.item())
    return losses


def build():
    return Net(upscale_factor=2)


def train(model, steps=120):
    low, high = images()
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=20, gamma=0.7)
    ema = EMA(model)
    losses = []
    while len(losses) < steps // 2:
        losses += epoch(model, optimizer, ema, low, high, 1)
        scheduler.step()
    # what a checkpoint holds goes through bytes into a new model and a new optimizer
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    state = pickle.load(io.BytesIO(pickle.dumps(state)))
    resumed = Net(upscale_factor=2)
    resumed.load_state_dict(state["model"])
    again = optim.Adam(resumed.parameters(), lr=1.0)
    again.load_state_dict(state["optimizer"])
    schedule = lr_scheduler.StepLR(again, step_size=20, gamma=0.7)
    schedule.load_state_dict(state["scheduler"])
    twin_losses, twin_ema = [], EMA(resumed)
    for _ in range(3):
        twin_losses += epoch(resumed, again, twin_ema, low, high, 1)
        schedule.step()
    while len(losses) < steps:
        losses += epoch(model, optimizer, ema, low, high, 1)
        scheduler.step()
    assert twin_losses == losses[steps // 2 : steps // 2 + 3]
    model.ema = ema.shadow
    return losses


def evaluate(model):
    """The gain in PSNR of the averaged weights over bicubic interpolation."""
    low, high = images(8)
    with torch.no_grad():
        ours = psnr(model.ema(low), high)
        bicubic = psnr(F.interpolate(low, scale_factor=2, mode="bicubic"), high)
    return (ours - bicubic).item()
