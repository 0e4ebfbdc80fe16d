"""Dropout: what is random is an input."""

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import bools, empty, floats, scalar

RECORDS = [
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
    )
]
