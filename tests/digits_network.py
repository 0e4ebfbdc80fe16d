"""A small convolutional network trained on scikit-learn's digits, once in a process, for tests that look inside one."""

import functools

import numpy as np
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule import nn


class DigitsNet(nn.Module):
    """Images (N, 1, 8, 8) -> scores (N, 10); every layer is a module with a name."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(128, 64)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        return self.fc2(self.relu3(self.fc1(self.flatten(x))))


@functools.cache
def _arrays():
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return (digits.images[order] / 16.0).astype(np.float32)[:, None], digits.target[order].astype(np.int64)


def data():
    """(images, classes) to train on and (images, classes) to test with; pixels from 0 to 1; on the default device."""
    images, classes = (cr.tensor(array) for array in _arrays())
    return (images[:1400], classes[:1400]), (images[1400:], classes[1400:])


@functools.cache
def _weights():
    images, classes = data()[0]
    state = cr.random.get_rng_state()
    cr.manual_seed(0)
    model = DigitsNet()
    optimizer = cr.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(10):
        order = cr.randperm(len(images))
        for start in range(0, len(images), 50):
            index = order[start : start + 50]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[index]), classes[index]).backward()
            optimizer.step()
    cr.random.set_rng_state(state)
    return model.state_dict()


def trained():
    """A trained network of its own for each caller, in evaluation mode; right on 97 % of the test images or more."""
    model = DigitsNet()
    model.load_state_dict(_weights())
    return model.eval()
