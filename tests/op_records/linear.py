"""Linear and bilinear maps."""

import numpy as np

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import empty, floats, scalar


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


RECORDS = [
    OpRecord(
        "linear",
        samples=_linear_samples,
        reference=_linear,
        torch=_linear,
        close="the kernel's products and sums go through other BLAS calls",
    ),
    OpRecord("bilinear", samples=_bilinear_samples, reference=_bilinear, torch="nn.functional.bilinear"),
]
