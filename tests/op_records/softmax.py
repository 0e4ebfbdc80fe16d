"""Softmax and kin."""

import numpy as np
from scipy import special

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import empty, floats, scalar


def _samples():
    return [
        Sample(floats((2, 3)), 1),
        Sample(floats((2, 3)), dim=0),
        Sample(floats((2, 2, 3), -8, 8), -2),
        Sample(floats(4), 0),
        Sample(scalar(), -1),
        Sample(empty((2, 0)), 1),
        Sample(empty((0, 3)), 1),
        Sample(floats((2, 3)), 1, dtype="float64"),
    ]


def _torch(name):
    def call(x, dim, dtype=None):
        import torch

        return getattr(torch.nn.functional, name)(x, dim)

    return call


def _softmax(x, dim, dtype=None):
    return special.softmax(x, axis=dim) if x.size and x.ndim else np.ones_like(x)


def _log_softmax(x, dim, dtype=None):
    return special.log_softmax(x, axis=dim) if x.size and x.ndim else np.zeros_like(x)


ROUNDING = "the kernel's gradient sums in another order"

RECORDS = [
    OpRecord("softmax", samples=_samples, reference=_softmax, torch=_torch("softmax"), close=ROUNDING),
    OpRecord("log_softmax", samples=_samples, reference=_log_softmax, torch=_torch("log_softmax"), close=ROUNDING),
    OpRecord(
        "softmin",
        samples=_samples,
        reference=lambda x, dim, dtype=None: _softmax(-x, dim),
        torch=_torch("softmin"),
        close=ROUNDING,
    ),
]
