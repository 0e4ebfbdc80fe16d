"""Linear maps along a dimension, and padding."""

import numpy as np

from chainrule.autograd.ops.resampling import AxisMap, WindowSum
from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import empty, floats


def _matrix(table):
    """A map as a matrix (n_out, n_in), from its definition."""
    if isinstance(table, WindowSum):
        matrix = np.zeros((table.n_out, table.n_in))
        for j in range(table.n_out):
            for k in range(table.kernel):
                i = j * table.stride - table.before + k
                if 0 <= i < table.n_in:
                    matrix[j, i] += np.broadcast_to(table.scale, table.n_out)[j]
        return matrix.T if table.backward else matrix
    matrix = np.zeros((table.n_out, table.n_in))
    for k, row in enumerate(table.index):
        for j, i in enumerate(row):
            matrix[j, i] += 1 if table.weight is None else table.weight[k, j]
    return matrix


def _axis_map(x, dim, table):
    if isinstance(dim, tuple):
        for d, t in zip(dim, table):
            x = _axis_map(x, d, t)
        return x
    return np.moveaxis(np.moveaxis(x, dim, -1) @ _matrix(table).T, -1, dim)


def _random_map(taps, n_out, n_in, weighted=True):
    random = np.random.default_rng(taps)
    index = random.integers(0, n_in, (taps, n_out))
    return AxisMap(index, random.uniform(0.5, 1, index.shape) if weighted else None, n_in)


def _maps():
    yield (2, 4), 1, _random_map(2, 3, 4)
    yield (4, 2), 0, _random_map(1, 5, 4, weighted=False)
    yield (1, 3, 2), -2, _random_map(10, 2, 3)
    yield (2, 6), 1, WindowSum(6, 3, 2, 2, 0, 0.5)
    yield (2, 5, 2), 1, WindowSum(5, 3, 3, 2, 1, np.array([0.5, 0.25, 0.2]))
    yield (7,), 0, WindowSum(7, 2, 2, 4, 0, 1.0)
    yield (18,), 0, WindowSum(18, 2, 9, 9, 0, 1 / 9)
    yield (3, 2), 0, WindowSum(6, 3, 2, 2, 0, 0.5, backward=True)
    yield (0, 4), 1, WindowSum(4, 2, 2, 2, 0, 0.5)
    yield (2, 4, 3, 2), (1, 2), (WindowSum(4, 2, 2, 2, 0, 0.5), _random_map(2, 2, 3))
    yield (3, 2, 4), (-1, 0), (_random_map(3, 2, 4), WindowSum(3, 3, 3, 1, 1, 1 / 3))


def _large_maps():
    yield (40, 21, 5), 1, _random_map(3, 8, 21)
    yield (4, 30, 31), (1, 2), (WindowSum(30, 15, 3, 2, 1, 0.25), _random_map(2, 40, 31))
    yield (30, 4, 31), (2, 0), (WindowSum(31, 31, 3, 1, 1, 1 / 3), _random_map(2, 12, 30))


def _pad(x, pad, mode="constant", value=None):
    dims = [(x.ndim - 1 - i // 2, pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    for dim, before, after in dims:
        edges = [(0, 0)] * x.ndim
        edges[dim] = (max(before, 0), max(after, 0))
        names = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
        x = np.pad(x, edges, names[mode], **({"constant_values": value or 0} if mode == "constant" else {}))
        x = np.take(x, range(max(-before, 0), x.shape[dim] - max(-after, 0)), axis=dim)
    return x


RECORDS = [
    OpRecord(
        "axis_map",
        samples=lambda: [Sample(floats(shape), dim=dim, table=table) for shape, dim, table in _maps()],
        large=lambda: [Sample(floats(shape), dim=dim, table=table) for shape, dim, table in _large_maps()],
        reference=_axis_map,
    ),
    OpRecord(
        "constant_pad_nd",
        samples=lambda: [
            Sample(floats((2, 3)), pad=(1, 2)),
            Sample(floats((2, 3)), pad=(1, -1, -1, 2), value=0.5),
            Sample(floats(3), pad=(-1, -1)),
            Sample(empty((0, 2)), pad=(1, 1)),
            Sample(empty((0, 2)), pad=(1, 0, 1, 1), value=2.0),
        ],
        reference=lambda x, pad, value=0: _pad(x, pad, "constant", value),
        torch="constant_pad_nd",
    ),
    OpRecord(
        "pad",
        samples=lambda: [
            Sample(floats((2, 3)), (1, 2)),
            Sample(floats((2, 3)), (1, 0, 2, -1), "constant", 1.5),
            Sample(floats((1, 2, 4)), (2, 3), mode="reflect"),
            Sample(floats((2, 3, 2)), (1, 1, 1, 2), mode="reflect"),
            Sample(floats((1, 1, 2, 3)), (2, 3, 1, 0), mode="replicate"),
            Sample(floats((1, 1, 2, 2, 2)), (1, 0, 0, 1, 1, 1), mode="replicate"),
            Sample(floats((2, 3)), (3, 1), mode="circular"),
            Sample(floats((1, 1, 2, 3)), (0, 2, 2, 1), mode="circular"),
        ],
        reference=_pad,
        torch="nn.functional.pad",
    ),
]
