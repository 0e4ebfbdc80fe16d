"""Dropout: what is random is an input or a parameter."""

import numpy as np

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import bools, empty, floats, scalar


def by_seed(x, seed, p):
    """The formula in Python's integers."""
    found = []
    for i, value in enumerate(x.ravel().tolist()):
        h = i * 0x9E3779B1 % 2**32 ^ seed % 2**32
        h = (h ^ h >> 16) * 0x7FEB352D % 2**32 ^ seed >> 32
        h = (h ^ h >> 15) * 0x846CA68B % 2**32
        found.append(value / (1 - p) if h ^ h >> 16 >= p * 2**32 else 0.0)
    return np.array(found).reshape(x.shape)


RECORDS = [
    OpRecord(
        "dropout_by_seed",
        samples=lambda: [
            Sample(floats((2, 3)), 5, 0.5),
            Sample(floats((2, 2, 3)), seed=0xFEDCBA9876543210, p=0.25),
            Sample(scalar(), 2**63, 0.1),
            Sample(empty((0, 3)), 1, 0.5),
        ],
        reference=by_seed,
    ),
    OpRecord(
        "dropout_add",
        samples=lambda: [
            Sample(floats((2, 3)), floats((2, 3), seed=1), 5, 0.5),
            Sample(floats((2, 2, 3)), floats((2, 2, 3), seed=1), seed=0xFEDCBA9876543210, p=0.25),
            Sample(empty((0, 3)), empty((0, 3)), 1, 0.5),
        ],
        reference=lambda x, other, seed, p: by_seed(x, seed, p) + other,
    ),
    OpRecord(
        "keep_by_seed",
        samples=lambda: [Sample(floats((3,)), (2, 5), 5, 0.5), Sample(empty((0,)), (0, 3), seed=1, p=0.1)],
        large=lambda: [Sample(floats((600,)), (40, 50), 0xFEDCBA9876543210, 0.3)],
        reference=lambda x, size, seed, p: by_seed(np.ones(size), seed, p) != 0,
        order=0,
    ),
    OpRecord(
        "dropout",
        samples=lambda: [
            Sample(floats((2, 3)), bools((2, 3)), 2.0),
            Sample(floats((2, 2, 2)), bools((2, 2, 1)), scale=1.25),
            Sample(scalar(), bools(()), 2.0),
            Sample(empty((0, 3)), bools((0, 3)), 2.0),
        ],
        reference=lambda x, mask, scale: x * mask * scale,
        torch=lambda x, mask, scale: x * mask * scale,
    ),
]
