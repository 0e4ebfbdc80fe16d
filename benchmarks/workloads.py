"""What is measured, without any engine: the sizes, the data and the initial weights, all NumPy arrays.

An engine gets the same `Data` as every other and builds its own program from it (see `engines/`). Weights carry the
names and the layout of PyTorch's `state_dict`; an engine that likes another layout converts them when it builds its
program.

To add a workload: a function that makes its `Data`, an entry in `WORKLOADS`, and a method of that name in each engine
that can express it. An engine without the method is reported as such.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Data:
    """Inputs and initial weights of one case."""

    weights: dict[str, np.ndarray] = field(default_factory=dict)
    batches: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    x: np.ndarray | None = None
    w: np.ndarray | None = None
    length: int = 0

    def astype(self, dtype):
        """A copy in another floating dtype, for the reference in float64."""
        convert = lambda a: a if a is None else a.astype(dtype)
        return Data(
            {name: convert(a) for name, a in self.weights.items()},
            [(convert(x), y) for x, y in self.batches],
            convert(self.x),
            convert(self.w),
            self.length,
        )


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

    def data(self, params):
        """The same arrays in every process."""
        return self.make(np.random.default_rng(2024), **params)


WORKLOADS = {
    "chain": Workload(
        "20 x (mul, tanh) on n x n, forward and backward",
        _chain,
        {str(n): {"size": n} for n in (1, 8, 64, 512)},
        {str(n): {"size": n} for n in (1, 3)},
        check_steps=1,
        tolerance=1e-4,
        most_steps=100_000,
    ),
    "mlp": Workload(
        "MLP 784-128-10, Adam, cross entropy: a training step",
        _mlp,
        {"batch 32": {"batch": 32}},
        {"batch 4": {"batch": 4, "inputs": 12, "hidden": 8}},
        check_steps=5,
        tolerance=1e-4,
        most_steps=400,
    ),
    "lenet": Workload(
        "LeNet 20-50-500-10 on 1 x 28 x 28, Adam, cross entropy: a training step",
        _lenet,
        {"batch 64": {"batch": 64}},
        {"batch 2": {"batch": 2}},
        check_steps=4,
        tolerance=1e-3,
        most_steps=100,
    ),
}
