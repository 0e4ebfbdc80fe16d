"""What is measured, without any engine: the sizes, the data and the initial weights, all NumPy arrays.

An engine gets the same `Data` as every other and builds its own program from it (see `engines/`). Weights carry the
names and the layout of PyTorch's `state_dict`; an engine that likes another layout converts them when it builds its
program. The weights of the larger networks are not listed here: `Data.initial` draws them from name and shape.

To add a workload: a function that makes its `Data`, an entry in `WORKLOADS`, and a method of that name in each engine
that can express it. An engine without the method is reported as such.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass
class Data:
    """Inputs and initial weights of one case.

    With `check` a program leaves out what is random (dropout is 0, noise comes from the batch), so that the losses of
    two engines can be compared; it is timed without.
    """

    weights: dict[str, np.ndarray] = field(default_factory=dict)
    batches: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    x: np.ndarray | None = None
    w: np.ndarray | None = None
    length: int = 0
    params: dict = field(default_factory=dict)
    dtype: str = "float32"
    check: bool = False

    def astype(self, dtype):
        """A copy in another floating dtype, for the reference in float64."""
        convert = lambda a: a if a is None or a.dtype.kind != "f" else a.astype(dtype)
        return replace(
            self,
            weights={name: convert(a) for name, a in self.weights.items()},
            batches=[tuple(map(convert, batch)) for batch in self.batches],
            x=convert(self.x),
            w=convert(self.w),
            dtype=dtype,
        )

    def initial(self, name, shape):
        """The initial weight of that name: gains 1, biases small, matrices and kernels with variance 1 / fan-in.

        The last gain of a bottleneck starts small (Goyal et al., 2017, start at 0): sixteen such blocks with a gain of
        1 amplify rounding so much that the losses of two correct engines differ in the third digit after one step.
        """
        if len(shape) == 1 and "weight" in name:
            return np.full(shape, 0.2 if name.endswith("bn3.weight") else 1, self.dtype)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        scale = 0.02 if len(shape) == 1 else float(np.prod(shape[1:])) ** -0.5
        return (rng.standard_normal(shape, np.float32) * np.float32(scale)).astype(self.dtype)

    def probability(self, p):
        """That of a dropout: `p`, but 0 in the check."""
        return 0.0 if self.check else p


def _chain(rng, size, length=20):
    # Everything is positive: the sums that the check compares do not cancel, and nothing decays to subnormal numbers.
    x, w = rng.uniform(0.5, 1.5, (2, size, size)).astype(np.float32)
    return Data(x=x, w=w, length=length)


def _dense(rng, name, fan_in, *shape):
    bound = fan_in**-0.5
    return {
        f"{name}.weight": rng.uniform(-bound, bound, shape).astype(np.float32),
        f"{name}.bias": rng.uniform(-bound, bound, shape[0]).astype(np.float32),
    }


def _batches(rng, count, shape, classes):
    x = rng.standard_normal((count, *shape)).astype(np.float32)
    y = rng.integers(0, classes, (count, shape[0]))
    return list(zip(x, y))


def _mlp(rng, batch, inputs=784, hidden=128, classes=10):
    weights = _dense(rng, "fc1", inputs, hidden, inputs) | _dense(rng, "fc2", hidden, classes, hidden)
    return Data(weights, _batches(rng, 16, (batch, inputs), classes))


def _lenet(rng, batch):
    weights = (
        _dense(rng, "conv1", 25, 20, 1, 5, 5)
        | _dense(rng, "conv2", 500, 50, 20, 5, 5)
        | _dense(rng, "fc1", 800, 500, 800)
        | _dense(rng, "fc2", 500, 10, 500)
    )
    return Data(weights, _batches(rng, 4, (batch, 1, 28, 28), 10))


def _images(rng, batch, size, classes, **params):
    """Noise with labels."""
    params |= {"size": size, "classes": classes}
    return Data(batches=_batches(rng, 2, (batch, 3, size, size), classes), params=params)


def _segmentation(rng, batch, size, classes, **params):
    """Noise with a label for each pixel."""
    x = rng.standard_normal((2, batch, 3, size, size)).astype(np.float32)
    y = rng.integers(0, classes, (2, batch, size, size))
    return Data(batches=list(zip(x, y)), params=params | {"classes": classes})


def _text(rng, batch, length, vocabulary, **params):
    """Random tokens, of which the next is to be predicted."""
    text = rng.integers(0, vocabulary, (4, batch, length + 1))
    batches = [(t[:, :-1].copy(), t[:, 1:].flatten()) for t in text]
    return Data(batches=batches, params=params | {"length": length, "vocabulary": vocabulary})


def _documents(rng, batch, length, vocabulary, classes, **params):
    """Random tokens with a label for each row."""
    x = rng.integers(0, vocabulary, (4, batch, length))
    y = rng.integers(0, classes, (4, batch))
    params |= {"length": length, "vocabulary": vocabulary, "classes": classes}
    return Data(batches=list(zip(x, y)), params=params)


def _digits(rng, batch, inputs, latent, **params):
    """Grey values, and the noise that the check uses for drawing from the posterior."""
    x = rng.uniform(0, 1, (4, batch, inputs)).astype(np.float32)
    noise = rng.standard_normal((4, batch, latent)).astype(np.float32)
    return Data(batches=list(zip(x, noise)), params=params | {"inputs": inputs, "latent": latent})


def _faces(rng, batch, size, latent, **params):
    """Images in -1 to 1, and the noise from which the generator makes its own in the check."""
    x = rng.uniform(-1, 1, (2, batch, 3, size, size)).astype(np.float32)
    noise = rng.standard_normal((2, batch, latent, 1, 1)).astype(np.float32)
    return Data(batches=list(zip(x, noise)), params=params | {"size": size, "latent": latent})


@dataclass(frozen=True)
class Workload:
    """A program in several sizes (`cases`), and in one that a test can afford (`tiny`)."""

    title: str
    make: Callable[..., Data]
    cases: dict[str, dict]
    tiny: dict[str, dict]
    check_steps: int  # steps whose losses are compared with the reference
    tolerance: float  # largest relative difference of these losses from the reference in float64
    most_steps: int  # per round: training starts anew each round, and must not reach vanishing gradients within it
    references: tuple[str, ...] = ("torch", "chainrule")  # the first that is installed runs in float64
    bars: dict[str, float] = field(default_factory=dict)  # per case: the ratio to PyTorch that is aimed at

    def data(self, params):
        """The same arrays in every process."""
        return self.make(np.random.default_rng(2024), **params)


_BY_HAND = ("numpy",)
_CIFAR = {"size": 32, "classes": 10}
_IMAGENET = {"size": 224, "classes": 1000}
_CHARACTERS = {"batch": 64, "length": 64, "vocabulary": 65}
_FEW = {"batch": 2, "length": 5, "vocabulary": 7}
_GPT = {"batch": 8, "vocabulary": 65, "layers": 4, "width": 256}

WORKLOADS = {
    "chain": Workload(
        "20 x (mul, tanh) on n x n, forward and backward",
        _chain,
        {str(n): {"size": n} for n in (1, 8, 64, 512)},
        {str(n): {"size": n} for n in (1, 3)},
        check_steps=1,
        tolerance=1e-4,
        most_steps=100_000,
        references=_BY_HAND,
        bars={"8": 0.45, "512": 1.0},
    ),
    "mlp": Workload(
        "MLP 784-128-10, Adam, cross entropy: a training step",
        _mlp,
        {"batch 32": {"batch": 32}},
        {"batch 4": {"batch": 4, "inputs": 12, "hidden": 8}},
        check_steps=5,
        tolerance=1e-4,
        most_steps=400,
        references=_BY_HAND,
        bars={"batch 32": 0.40},
    ),
    "lenet": Workload(
        "LeNet 20-50-500-10 on 1 x 28 x 28, Adam, cross entropy: a training step",
        _lenet,
        {"batch 64": {"batch": 64}},
        {"batch 2": {"batch": 2}},
        check_steps=4,
        tolerance=1e-3,
        most_steps=100,
        references=_BY_HAND,
        bars={"batch 64": 0.65},
    ),
    "resnet18": Workload(
        "ResNet-18 on 3 x 32 x 32 with a 3x3 stem, SGD with momentum, cross entropy: a training step",
        _images,
        {"batch 32": {"batch": 32, **_CIFAR}},
        {"width 4": {"batch": 8, "size": 16, "classes": 3, "width": 4}},
        check_steps=3,
        tolerance=2e-3,
        most_steps=20,
        bars={"batch 32": 0.70},
    ),
    "resnet50": Workload(
        "ResNet-50 on 3 x 224 x 224, SGD with momentum, cross entropy: a training step",
        _images,
        {f"batch {n}": {"batch": n, **_IMAGENET} for n in (4, 8)},
        {"width 4": {"batch": 8, "size": 64, "classes": 3, "width": 4}},
        check_steps=2,
        tolerance=1e-3,
        most_steps=10,
        bars={"batch 4": 0.85, "batch 8": 0.85},
    ),
    "char_lstm": Workload(
        "character LSTM, 64 characters, batch 64, vocabulary 65, Adam, cross entropy: a training step",
        _text,
        {f"H {n}": {"hidden": n, **_CHARACTERS} for n in (64, 256, 512)},
        {"H 4": {"hidden": 4, **_FEW}},
        check_steps=3,
        tolerance=1e-4,
        most_steps=100,
        bars={"H 256": 0.95},
    ),
    "char_rnn": Workload(
        "character RNN (tanh), 64 characters, batch 64, vocabulary 65, Adam, cross entropy: a training step",
        _text,
        {"H 64": {"hidden": 64, **_CHARACTERS}},
        {"H 4": {"hidden": 4, **_FEW}},
        check_steps=3,
        tolerance=1e-4,
        most_steps=100,
        bars={"H 64": 0.70},
    ),
    "gpt": Workload(
        "GPT of 4 layers x 256, dropout 0.1, batch 8, vocabulary 65, AdamW, cross entropy: a training step",
        _text,
        {f"T {t}, {h} heads": {"length": t, "heads": h, **_GPT} for t, h in ((128, 4), (256, 4), (256, 8))},
        {"T 6, 2 heads": {"heads": 2, "batch": 2, "length": 6, "vocabulary": 7, "layers": 1, "width": 8}},
        check_steps=3,
        tolerance=1e-4,
        most_steps=50,
        bars={"T 128, 4 heads": 0.90, "T 256, 4 heads": 0.90, "T 256, 8 heads": 0.90},
    ),
    "dcgan": Workload(
        "DCGAN on 3 x 64 x 64, Adam, binary cross entropy: a step of the discriminator and one of the generator",
        _faces,
        {"batch 16": {"batch": 16, "size": 64, "latent": 100}},
        {"batch 2": {"batch": 2, "size": 16, "latent": 5, "width": 4}},
        check_steps=3,
        tolerance=2e-3,
        most_steps=20,
        bars={"batch 16": 0.85},
    ),
    "vae": Workload(
        "variational autoencoder 784-400-20, Adam: a training step",
        _digits,
        {"batch 128": {"batch": 128, "inputs": 784, "latent": 20, "hidden": 400}},
        {"batch 2": {"batch": 2, "inputs": 12, "latent": 3, "hidden": 5}},
        check_steps=3,
        tolerance=1e-4,
        most_steps=200,
    ),
    "unet": Workload(
        "U-Net of 16 to 128 channels on 3 x 64 x 64, Adam, cross entropy: a training step",
        _segmentation,
        {"width 4": {"batch": 8, "size": 64, "classes": 4, "width": 16, "levels": 4}},
        {"batch 2": {"batch": 2, "size": 8, "classes": 3, "width": 4, "levels": 2}},
        check_steps=3,
        tolerance=2e-3,
        most_steps=50,
    ),
    "mobilenet": Workload(
        "MobileNetV2 on 3 x 96 x 96, dropout 0.2, SGD with momentum, cross entropy: a training step",
        _images,
        {"batch 16": {"batch": 16, "size": 96, "classes": 100}},
        {"batch 2": {"batch": 2, "size": 32, "classes": 3, "rows": [[1, 4, 1, 1], [2, 4, 2, 2]], "last": 8}},
        check_steps=3,
        tolerance=5e-3,
        most_steps=20,
    ),
    "encoder": Workload(
        "Transformer encoder of 2 layers x 128, 4 heads, dropout 0.1, 128 tokens, Adam, cross entropy: a training step",
        _documents,
        {
            "batch 32": {
                "batch": 32,
                "length": 128,
                "vocabulary": 1000,
                "classes": 4,
                "layers": 2,
                "width": 128,
                "heads": 4,
            }
        },
        {
            "batch 2": {
                "batch": 2,
                "length": 5,
                "vocabulary": 7,
                "classes": 3,
                "layers": 1,
                "width": 8,
                "heads": 2,
            }
        },
        check_steps=3,
        tolerance=1e-4,
        most_steps=50,
    ),
}
