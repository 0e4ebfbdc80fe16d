"""Linear and bilinear maps."""

import numpy as np

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import empty, floats, scalar


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _linear(x, w, b=None):
    out = x @ (w.T if w.ndim > 1 else w)
    return out if b is None else out + b


def _linear_samples():
    x, w, b = floats((4, 3)), floats((2, 3), seed=1), floats(2, seed=2)
    return [
        Sample(x, w, b),
        Sample(x, w),
        Sample(floats((2, 2, 3)), w, b),
        Sample(floats(3), w, b),
        Sample(x, floats(3, seed=1)),
        Sample(floats(3), floats(3, seed=1)),
        Sample(floats((2, 2, 3)), floats(3, seed=1)),
        Sample(floats(3), floats(3, seed=1), scalar()),
        Sample(x, w, floats(1)),
        Sample(floats((20, 1)), floats((1, 1), seed=1), floats(1, seed=2)),
        Sample(empty((0, 3)), w, b),
        Sample(empty((2, 0)), empty((2, 0)), b),
    ]


def _bilinear(x1, x2, w, b=None):
    out = np.einsum("...i,kij,...j->...k", x1, w, x2)
    return out if b is None else out + b


def _bilinear_samples():
    w = floats((2, 3, 2), seed=3)
    return [
        Sample(floats((2, 3)), floats((2, 2), seed=1), w, floats(2, seed=4)),
        Sample(floats((1, 2, 3)), floats((1, 2, 2), seed=1), w),
        Sample(floats(3), floats(2, seed=1), w, floats(2, seed=4)),
    ]


def _between(x, w1, w2, b1=None, b2=None, activation="relu"):
    hidden = _linear(x, w1, b1)
    hidden = np.maximum(hidden, 0) if activation == "relu" else gelu_tanh(hidden)
    return _linear(hidden, w2, b2)


def _feed_forward_samples():
    x, w1, w2 = floats((2, 3)), floats((4, 3), seed=1), floats((2, 4), seed=2)
    biases = floats(4, seed=3), floats(2, seed=4)
    return [
        Sample(x, w1, w2, *biases),
        Sample(x, w1, w2, *biases, activation="gelu_tanh"),
        Sample(floats((2, 1, 3)), w1, w2, activation="gelu_tanh"),
        Sample(floats(3), w1, w2, biases[0]),
        Sample(empty((0, 3)), w1, w2, *biases),
    ]


RECORDS = [
    OpRecord("feed_forward", samples=_feed_forward_samples, reference=_between),
    OpRecord(
        "linear",
        samples=_linear_samples,
        reference=_linear,
        torch=_linear,
        close="the kernel's products and sums go through other BLAS calls",
    ),
    OpRecord("bilinear", samples=_bilinear_samples, reference=_bilinear, torch="nn.functional.bilinear"),
]
