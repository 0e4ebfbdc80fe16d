"""A convolutional network on scanned digits: Dataset, DataLoader, NLL loss, Adadelta, StepLR, a test loop."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, Subset


class Digits(Dataset):
    """8 x 8 scans, with a transform for each image and each label."""

    def __init__(self, transform=None, target_transform=None):
        raw = load_digits()
        self.images, self.targets = raw.images, raw.target
        self.transform, self.target_transform = transform, target_transform

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        image, target = self.images[index], int(self.targets[index])
        if self.transform:
            image = self.transform(image)
        if self.target_transform:
            target = self.target_transform(target)
        return image, target


def normalise(image):
    return (torch.from_numpy(image).to(torch.get_default_dtype()).unsqueeze(0) / 16 - 0.3) / 0.38


class Net(nn.Module):
    def __init__(self, p):
        super(Net, self).__init__()
        self.first = nn.Conv2d(1, 16, 3, 1)
        self.second = nn.Conv2d(16, 32, 3, 1)
        self.drop = nn.Dropout2d(p)
        self.hidden = nn.Linear(128, 64)
        self.scores = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        x = torch.flatten(self.drop(x), 1)
        x = F.dropout(F.relu(self.hidden(x)), p=self.drop.p, training=self.training)
        return F.log_softmax(self.scores(x), dim=1)


def options():
    parser = argparse.ArgumentParser(description="digits")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N")
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--gamma", type=float, default=0.7)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--no-accel", action="store_true")
    args = parser.parse_args([])
    wanted = torch.accelerator.is_available() and not args.no_accel
    args.device = torch.accelerator.current_accelerator() if wanted else torch.device("cpu")
    args.loader = {"num_workers": 1, "pin_memory": True} if args.device.type == "cuda" else {}
    return args


def build():
    return Net(options().dropout)


def train(model, steps=120):
    args = options()
    loader = DataLoader(
        Subset(Digits(normalise), torch.arange(1400).tolist()), batch_size=args.batch_size, **args.loader
    )
    model = model.to(args.device)
    optimizer = optim.Adadelta(model.parameters(), lr=args.rate)
    schedule = StepLR(optimizer, step_size=1, gamma=args.gamma)
    losses = []
    while len(losses) < steps:
        model.train()
        for image, label in loader:
            if len(losses) == steps:
                break
            image, label = image.to(args.device), label.to(args.device)
            optimizer.zero_grad()
            loss = F.nll_loss(model(image), label)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        schedule.step()
    return losses


def evaluate(model):
    """The share of the last digits that are read right."""
    args = options()
    scans = Digits(normalise, target_transform=torch.tensor)
    loader = DataLoader(Subset(scans, range(1400, len(scans))), batch_size=200)
    model.eval()
    loss = right = 0
    with torch.no_grad():
        for image, label in loader:
            image, label = image.to(args.device), label.to(args.device)
            found = model(image)
            loss += F.nll_loss(found, label, reduction="sum").item()
            guess = found.max(1, keepdim=True)[1]
            right += guess.eq(label.view_as(guess)).sum().item()
    assert loss / len(loader.dataset) < 1
    return right / len(loader.dataset)
