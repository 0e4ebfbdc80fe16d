"""Comparisons, logic and bits."""

import operator

import numpy as np

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import bools, empty, floats, integers, scalar

NUMBERS = np.array([1.0, 2.0, np.nan, np.inf, -np.inf, 0.0])
OTHERS = np.array([1.0, 3.0, np.nan, np.inf, 1.0, -0.0])


def _compare(name):
    return OpRecord(
        name,
        samples=lambda: [
            Sample(NUMBERS, OTHERS),
            Sample(integers((2, 3)), integers((3,), seed=1)),
            Sample(integers((2, 3)), 0.5),
            Sample(floats((2, 3)), 0),
            Sample(bools((2, 3)), bools((2, 1), seed=1)),
            Sample(scalar(1.0), scalar(1.0)),
            Sample(empty((0, 3)), empty((3,))),
        ],
        reference=getattr(operator, name),
        torch=name,
        order=0,
    )


def _logic(name):
    return OpRecord(
        name,
        samples=lambda: [
            Sample(bools((2, 3)), bools((3,), seed=1)),
            Sample(integers((2, 3), -1, 2), integers((2, 3), -1, 2, seed=1)),
            Sample(np.array([0.0, np.nan, 1.0]), np.array([0.0, 0.0, 2.0])),
        ],
        reference=getattr(np, name),
        torch=name,
        order=0,
    )


def _bits(name, torch="", samples=None):
    def both():
        return [
            Sample(bools((2, 3)), bools((3,), seed=1)),
            Sample(integers((2, 3), -9, 9), integers((2, 1), -9, 9, seed=1)),
            Sample(integers((2, 3), 0, 200, dtype=np.uint8), 6),
        ]

    return OpRecord(
        name,
        samples=samples or both,
        reference=getattr(np, name),
        torch=torch or name,
        order=0,
    )


def _shifts():
    return [Sample(integers((2, 3), -9, 9), integers((3,), 0, 4, seed=1)), Sample(integers((2, 3), 0, 9), 2)]


RECORDS = [
    *[_compare(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")],
    OpRecord(
        "isclose",
        samples=lambda: [
            Sample(NUMBERS, OTHERS),
            Sample(NUMBERS, OTHERS, equal_nan=True),
            Sample(floats((2, 3)), floats((2, 3)) * 1.01, rtol=0.02),
            Sample(floats((2, 3)), floats((2, 3)) + 0.01, 0.0, 0.001),
        ],
        reference=np.isclose,
        torch="isclose",
        order=0,
    ),
    OpRecord(
        "isin",
        samples=lambda: [
            Sample(integers((2, 3)), integers((3,), seed=1)),
            Sample(integers((2, 3)), integers((2, 2), seed=1), invert=True),
        ],
        reference=np.isin,
        torch="isin",
        order=0,
    ),
    OpRecord(
        "logical_not",
        samples=lambda: [Sample(bools((2, 3))), Sample(integers((2, 3), -1, 2)), Sample(NUMBERS)],
        reference=np.logical_not,
        torch="logical_not",
        order=0,
    ),
    *[_logic(name) for name in ("logical_and", "logical_or", "logical_xor")],
    _bits("bitwise_not", samples=lambda: [Sample(bools((2, 3))), Sample(integers((2, 3)))]),
    *[_bits(name) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")],
    _bits("bitwise_left_shift", samples=_shifts),
    _bits("bitwise_right_shift", samples=_shifts),
]
