"""A small U-Net that finds discs: skip connections, two kinds of up-sampling, Dice and cross-entropy."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class DoubleConv(nn.Module):
    """(convolution => [BN] => SiLU) * 2"""

    def __init__(self, in_channels, out_channels, mid_channels=None):
        super().__init__()
        if not mid_channels:
            mid_channels = out_channels
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.SiLU(inplace=True),
            nn.Conv2d(mid_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.SiLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, in_channels, out_channels, bilinear=True):
        super().__init__()
        self.bilinear = bilinear
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.conv = DoubleConv(in_channels, out_channels, in_channels // 2)
        else:
            self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
            self.conv = DoubleConv(in_channels, out_channels)

    def forward(self, x1, x2):
        x1 = self.up(x1)
        diffY = x2.size()[2] - x1.size()[2]
        diffX = x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [diffX // 2, diffX - diffX // 2, diffY // 2, diffY - diffY // 2])
        return self.conv(torch.cat([x2, x1], dim=1))


class UNet(nn.Module):
    def __init__(self, n_channels=1, n_classes=2, width=6):
        super().__init__()
        self.inc = DoubleConv(n_channels, width)
        self.down1 = Down(width, 2 * width)
        self.down2 = Down(2 * width, 2 * width)
        self.up1 = Up(4 * width, width, bilinear=True)
        self.up2 = Up(2 * width, width, bilinear=False)
        self.up2.up = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.outc = nn.Conv2d(width, n_classes, kernel_size=1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x = self.up1(x3, x2)
        x = self.up2(x, x1)
        return self.outc(x)


def dice_coeff(input, target, reduce_batch_first=False, epsilon=1e-6):
    sum_dim = (-1, -2) if input.dim() == 2 or not reduce_batch_first else (-1, -2, -3)
    inter = 2 * (input * target).sum(dim=sum_dim)
    sets_sum = input.sum(dim=sum_dim) + target.sum(dim=sum_dim)
    sets_sum = torch.where(sets_sum == 0, inter, sets_sum)
    return ((inter + epsilon) / (sets_sum + epsilon)).mean()


def dice_loss(input, target):
    return 1 - dice_coeff(input.flatten(0, 1), target.flatten(0, 1), reduce_batch_first=True)


def discs(n, seed, size=18):
    """Noisy images with one or two discs, and their masks; a border of the masks is unknown (255)."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:size, :size]
    masks = np.zeros((n, size, size), np.int64)
    for m in masks:
        for _ in range(rng.integers(1, 3)):
            cy, cx, r = rng.uniform(4, size - 4), rng.uniform(4, size - 4), rng.uniform(2, 4)
            m[(yy - cy) ** 2 + (xx - cx) ** 2 < r * r] = 1
    images = masks + 0.4 * rng.standard_normal(masks.shape)
    return torch.as_tensor(images, dtype=torch.get_default_dtype()).unsqueeze(1), torch.as_tensor(masks)


def build():
    return UNet()


def train(model, steps=40, batch_size=8):
    images, masks = discs(32, 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[20, 30], gamma=0.3)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]), ignore_index=255)
    model.train()
    losses = []
    for step in range(steps):
        idx = torch.arange(step * batch_size, (step + 1) * batch_size) % len(images)
        x, y = images[idx], masks[idx]
        unsure = y.clone()
        unsure[:, 0, :] = 255
        logits = model(x)
        loss = criterion(logits, unsure)
        onehot = F.one_hot(y, 2).permute(0, 3, 1, 2).to(logits.dtype)
        loss = loss + dice_loss(F.softmax(logits, dim=1), onehot)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    assert abs(scheduler.get_last_lr()[0] - 0.1 * 0.3 ** ((steps >= 20) + (steps >= 30))) < 1e-12
    return losses


@torch.inference_mode()
def evaluate(model):
    """Intersection over union on unseen images."""
    model.eval()
    images, masks = discs(16, 1)
    pred = model(images).argmax(dim=1)
    inter = ((pred == 1) & (masks == 1)).sum()
    union = ((pred == 1) | (masks == 1)).sum()
    return (inter / union.clamp(min=1)).item()
