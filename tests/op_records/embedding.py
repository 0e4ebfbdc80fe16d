"""Rows of a table."""

import numpy as np

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import empty, floats, integers


def _lookup(index, table, padding_idx=None, scale_grad_by_freq=False):
    return table[index]


def _lookup_samples():
    table = floats((5, 2))
    return [
        Sample(integers((2, 3), 0, 5), table),
        Sample(np.array([1, 1, 3]), table),
        Sample(np.array(2), floats((3, 4))),
        Sample(integers((3,), 0, 3), floats((3, 2, 2))),
        Sample(integers((2, 3), 0, 5, dtype=np.int32), table),
        Sample(empty((0,), np.int64), table),
    ]


def _added(x, index, rows):
    out = np.zeros((rows, *x.shape[index.ndim :]))
    np.add.at(out, index, x)
    return out


def _torch_added(x, index, rows):
    import torch

    flat = x.reshape(index.numel(), *x.shape[index.ndim :])
    return torch.zeros(rows, *flat.shape[1:], dtype=x.dtype).index_add(0, index.reshape(-1).long(), flat)


def _members(bag, kept, bags):
    lists = [[i for i in range(len(bag)) if kept[i] and bag[i] == b] for b in range(bags)]
    longest = max([1, *map(len, lists)])
    return np.array([row + [-1] * (longest - len(row)) for row in lists]).reshape(bags, longest)


RECORDS = [
    OpRecord("embedding", samples=_lookup_samples, reference=_lookup, torch=lambda index, table: table[index.long()]),
    OpRecord(
        "embedding_grad",
        samples=lambda: [
            Sample(floats((2, 3, 2)), integers((2, 3), 0, 4), 4),
            Sample(floats((4,)), np.array([1, 1, 0, 1]), rows=3),
            Sample(floats((3, 2, 2)), np.array([2, 0, 2]), 3),
            Sample(floats((5, 2)), np.array([0, 0, 2, 2, 2]), 4),
            Sample(floats((5, 2)), np.array([0, 299, 2, 299, 2]), 300),
            Sample(empty((0, 2)), empty((0,), np.int64), 3),
        ],
        reference=_added,
        torch=_torch_added,
    ),
    OpRecord(
        "occurrences",
        samples=lambda: [Sample(np.array([[3, 0, 3], [3, 1, 0]])), Sample(empty((0,), np.int64))],
        reference=lambda x: np.array([np.count_nonzero(x == v) for v in x.flat], np.int64).reshape(x.shape),
        order=0,
    ),
    OpRecord(
        "bag_numbers",
        samples=lambda: [
            Sample(np.array([0, 2, 2, 5]), 7),
            Sample(np.array([0]), 2),
            Sample(np.array([0, 0]), total=0),
        ],
        reference=lambda offsets, total: np.array(
            [max(b for b in range(len(offsets)) if offsets[b] <= i) for i in range(total)], np.int64
        ),
        order=0,
    ),
    OpRecord(
        "bag_members",
        samples=lambda: [
            Sample(np.array([0, 0, 2, 2, 2]), np.array([True, True, True, False, True]), 3),
            Sample(np.array([0, 1]), np.array([False, False]), bags=2),
        ],
        reference=_members,
        order=0,
    ),
]
