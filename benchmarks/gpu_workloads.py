"""What is measured on a GPU: sizes, data, precisions, and the ratio to PyTorch that is aimed at.

The initial weights are drawn from name and shape (`Data.initial`), so all libraries start alike.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import workloads
from workloads import Data


@dataclasses.dataclass
class GpuData(Data):
    """The same, with the probability of dropout outside the check."""

    dropout: float = 0.0

    def replaced(self, **changes):
        """A copy with other fields."""
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class GpuWorkload:
    """A program in several cases, each with its precision."""

    title: str
    program: str  # the engine's method
    make: Callable
    cases: dict  # case -> (precision, params)
    tiny: dict
    aim: float | None  # PyTorch eager's time over ours that is aimed at
    steps: int = 20  # of which the losses are compared

    def data(self, params):
        """The same arrays in every process."""
        return self.make(np.random.default_rng(2024), **params)


def _of(make):
    """A maker of workloads.py, as data of a GPU's."""

    def made(rng, dropout=0.0, **params):
        found = make(rng, **params)
        return GpuData(**{f.name: getattr(found, f.name) for f in dataclasses.fields(found)}, dropout=dropout)

    return made


def _sentences(rng, batch, length, vocabulary, **params):
    """Random tokens, time first, of which the next is to be predicted. Frequent ones are 50 times as frequent."""
    weights = 1 / np.arange(1, vocabulary + 1)
    text = rng.choice(vocabulary, (4, length + 1, batch), p=weights / weights.sum())
    batches = [(t[:-1].copy(), t[1:].flatten()) for t in text]
    return Data(batches=batches, params=params | {"length": length, "vocabulary": vocabulary})


_GPT2 = {"vocabulary": 50257, "layers": 12, "width": 768, "heads": 12, "length": 1024}
_SMALL = {"vocabulary": 13, "layers": 1, "width": 8, "heads": 2, "length": 6, "batch": 2}
_IMAGES = {"size": 224, "classes": 1000}
_LITTLE = {"batch": 8, "size": 64, "classes": 3, "width": 4}
_WORDS = {"vocabulary": 10000, "hidden": 650, "layers": 2, "length": 35}

WORKLOADS = {
    "mlp": GpuWorkload(
        "MLP 784-128-10, Adam, cross entropy",
        "mlp",
        _of(workloads._mlp),
        {"batch 32, TF32": ("tf32", {"batch": 32})},
        {"batch 4": ("tf32", {"batch": 4, "inputs": 12, "hidden": 8})},
        aim=3.0,
    ),
    "lenet": GpuWorkload(
        "LeNet 20-50-500-10 on 1 x 28 x 28, Adam, cross entropy",
        "lenet",
        _of(workloads._lenet),
        {"batch 64, TF32": ("tf32", {"batch": 64})},
        {"batch 2": ("tf32", {"batch": 2})},
        aim=3.0,
    ),
    "gpt2": GpuWorkload(
        "GPT-2 124M, 1024 tokens, AdamW, gradients clipped, autocast",
        "gpt2",
        _of(workloads._text),
        {
            "batch 16, bfloat16": ("bfloat16", {**_GPT2, "batch": 16, "dropout": 0.1}),
            "batch 16, bfloat16, no dropout": ("bfloat16", {**_GPT2, "batch": 16}),
        },
        {"T 6": ("bfloat16", {**_SMALL, "dropout": 0.1})},
        aim=1.2,
    ),
    "resnet50": GpuWorkload(
        "ResNet-50 on 3 x 224 x 224, SGD with momentum, cross entropy",
        "resnet50",
        _of(workloads._images),
        {
            "batch 128, bfloat16": ("bfloat16", {**_IMAGES, "batch": 128}),
            "batch 128, TF32": ("tf32", {**_IMAGES, "batch": 128}),
            "batch 128, float16": ("float16", {**_IMAGES, "batch": 128}),
        },
        {"bfloat16": ("bfloat16", _LITTLE), "TF32": ("tf32", _LITTLE)},
        aim=1.1,
    ),
    "lstm": GpuWorkload(
        "LSTM language model 2 x 650, 35 words, vocabulary 10,000, dropout 0.5, Adam, gradients clipped",
        "lstm",
        _of(_sentences),
        {
            "batch 64, TF32": ("tf32", {**_WORDS, "batch": 64, "dropout": 0.5}),
            "batch 64, bfloat16": ("bfloat16", {**_WORDS, "batch": 64, "dropout": 0.5}),
        },
        {"H 4": ("tf32", {"vocabulary": 7, "hidden": 4, "layers": 2, "length": 3, "batch": 2, "dropout": 0.5})},
        aim=1.0,
    ),
    "dcgan": GpuWorkload(
        "DCGAN on 3 x 64 x 64, Adam: a step of the discriminator and one of the generator",
        "dcgan",
        _of(workloads._faces),
        {"batch 128, TF32": ("tf32", {"batch": 128, "size": 64, "latent": 100})},
        {"batch 2": ("tf32", {"batch": 2, "size": 16, "latent": 5, "width": 4})},
        aim=1.0,
    ),
}
