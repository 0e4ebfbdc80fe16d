"""Pooling: windows, their maxima and the way back."""

from itertools import product

import numpy as np

from chainrule.testing import OpRecord, Sample, Tie
from chainrule.testing.samples import empty, floats, integers

NAMES = ("kernel", "stride", "padding", "dilation")
# shape, kernel, stride, padding, dilation, number of windows; the last ones stick out, or leave elements over
CASES = [
    ((2, 1, 5), ((2,), (2,), (0,), (1,)), (2,)),
    ((1, 2, 4), ((3,), (2,), (1,), (1,)), (2,)),
    ((1, 1, 4, 4), ((2, 2), (2, 2), (0, 0), (1, 1)), (2, 2)),
    ((1, 2, 3, 4), ((2, 3), (1, 2), (1, 1), (1, 1)), (4, 2)),
    ((1, 1, 5, 4), ((2, 2), (1, 1), (0, 1), (2, 2)), (3, 4)),
    ((1, 1, 3, 5), ((2, 2), (2, 3), (0, 0), (1, 1)), (2, 2)),
    ((1, 1, 2, 3, 3), ((2, 2, 1), (1, 1, 2), (0, 1, 0), (1, 1, 1)), (1, 4, 2)),
    ((0, 2, 4), ((2,), (2,), (0,), (1,)), (2,)),
]
LARGE = [
    ((40, 20, 24, 24), ((2, 2), (2, 2), (0, 0), (1, 1)), (12, 12)),
    ((9, 16, 33, 31), ((3, 3), (2, 2), (1, 1), (1, 1)), (17, 16)),
    ((2, 3, 40, 40), ((17, 17), (17, 17), (0, 0), (1, 1)), (2, 2)),
]
# large windows and few of them: of the whole plane, apart, overlapping, spread over padding
FEW = [
    ((2, 3, 20, 19), ((20, 19), (20, 19), (0, 0), (1, 1)), (1, 1)),
    ((2, 2, 9, 7), ((4, 6), (5, 1), (0, 0), (1, 1)), (2, 2)),
    ((1, 2, 5, 6), ((5, 4), (2, 3), (2, 1), (2, 2)), (1, 1)),
    ((2, 1, 30), ((20,), (7,), (5,), (1,)), (3,)),
    ((1, 2, 4, 5, 6), ((4, 4, 5), (4, 1, 2), (0, 0, 1), (1, 1, 1)), (1, 2, 2)),
]


def _windows(shape, kernel, stride, padding, dilation, size):
    """For each window: its index, and the number and the index of each of its elements inside the input."""
    for p in product(*map(range, size)):
        inside = []
        for t, i in enumerate(product(*map(range, kernel))):
            j = tuple(a * s - q + b * d for a, b, s, q, d in zip(p, i, stride, padding, dilation, strict=True))
            if all(0 <= a < n for a, n in zip(j, shape, strict=True)):
                inside.append((t, (..., *j)))
        yield (..., *p), inside


def _max_pool(x, kernel, stride, padding, dilation, size):
    values = np.zeros((*x.shape[:2], *size), x.dtype)
    index = np.zeros(values.shape, np.uint8 if np.prod(kernel) <= 256 else np.int32)
    for p, inside in _windows(x.shape[2:], kernel, stride, padding, dilation, size):
        found = np.stack([x[j] for _, j in inside])
        values[p] = found.max(0)
        index[p] = np.array([t for t, _ in inside])[found.argmax(0)]
    return values, index


def _window_gather(x, index, kernel, stride, padding, dilation):
    out = np.zeros(index.shape)
    for p, inside in _windows(x.shape[2:], kernel, stride, padding, dilation, index.shape[2:]):
        for t, j in inside:
            out[p] += np.where(index[p] == t, x[j], 0)
    return out


def _window_scatter(g, index, size, kernel, stride, padding, dilation):
    x = np.zeros((*g.shape[:2], *size))
    for p, inside in _windows(size, kernel, stride, padding, dilation, index.shape[2:]):
        for t, j in inside:
            x[j] += np.where(index[p] == t, g[p], 0)
    return x


def _torch_max_pool(x, kernel, stride, padding, dilation, size):
    from torch.nn import functional as F

    ceil = False
    for ceil in (False, True):
        values = getattr(F, f"max_pool{len(size)}d")(x, kernel, stride, padding, dilation, ceil)
        if values.shape[2:] == size:
            break
    return values, ours_index(x, kernel, stride, padding, dilation, size)


def ours_index(x, *geometry):
    """The number in the window, which PyTorch does not give."""
    import torch

    return torch.tensor(_max_pool(x.detach().numpy(), *geometry)[1])


def _forward(cases):
    return [Sample(floats(shape), **dict(zip(NAMES, geometry)), size=size) for shape, geometry, size in cases]


def _indexed(cases):
    for shape, geometry, size in cases:
        _, index = _max_pool(floats(shape, seed=5), *geometry, size)
        yield shape, floats(index.shape, seed=1), index, dict(zip(NAMES, geometry))


def _coordinates(size, kernel, stride):
    return tuple(tuple(range(p * stride, p * stride + kernel)) for p in range(size))


def _plane_index(index, size, tables):
    out = np.zeros(index.shape, np.int64)
    for p in product(*map(range, index.shape[2:])):
        taps = np.unravel_index(index[(..., *p)], [len(t[0]) for t in tables])
        where = [np.array(t)[a][i] for t, a, i in zip(tables, p, taps, strict=True)]
        out[(..., *p)] = np.ravel_multi_index(where, size)
    return out


def _im2col(x, kernel, dilation, padding, stride):
    x = np.pad(x, ((0, 0), (0, 0), *[(p, p) for p in padding]))
    counts = zip(x.shape[2:], kernel, dilation, stride, strict=True)
    count = [(n - d * (k - 1) - 1) // s + 1 for n, k, d, s in counts]
    columns = []
    for p in product(*map(range, count)):
        cut = [slice(a * s, a * s + d * (k - 1) + 1, d) for a, s, d, k in zip(p, stride, dilation, kernel, strict=True)]
        columns.append(x[(..., *cut)].reshape(len(x), x.shape[1] * int(np.prod(kernel))))
    return np.stack(columns, -1)


def _col2im(columns, size, kernel, dilation, padding, stride):
    channels = columns.shape[1] // int(np.prod(kernel))
    shape = (len(columns), channels, *size)
    unit = np.eye(int(np.prod(shape[1:]))).reshape(-1, *shape[1:])
    matrix = _im2col(unit, kernel, dilation, padding, stride).reshape(len(unit), -1)
    return (columns.reshape(len(columns), matrix.shape[1]) @ matrix.T).reshape(shape)


COLUMNS = [
    ((1, 1, 3, 3), ((2, 2), (1, 1), (0, 0), (1, 1))),
    ((1, 2, 2, 4), ((2, 1), (1, 2), (1, 0), (2, 3))),
    ((2, 1, 3, 2), ((2, 2), (2, 1), (1, 1), (1, 2))),
    ((0, 1, 3, 3), ((2, 2), (1, 1), (0, 0), (1, 1))),
]
COLUMN_NAMES = ("kernel", "dilation", "padding", "stride")


def _torch_columns(name):
    def call(x, *args, **kwargs):
        import torch

        function = getattr(torch.nn.functional, name)
        kwargs["kernel_size"] = kwargs.pop("kernel")
        if "size" in kwargs:
            kwargs["output_size"] = kwargs.pop("size")
        return function(x, *args, **kwargs)

    return call


PLAIN = dict(zip(NAMES, ((2,), (2,), (0,), (1,))))

RECORDS = [
    OpRecord(
        "max_pool",
        samples=lambda: _forward(CASES),
        reference=_max_pool,
        torch=_torch_max_pool,
        large=lambda: [
            *_forward(LARGE + FEW),
            Sample(np.full((2, 2, 4, 4), np.nan), **dict(zip(NAMES, CASES[2][1])), size=(2, 2)),
            Sample(np.full((2, 2, 4, 4), np.nan), **dict(zip(NAMES, ((4, 3), (1, 1), (0, 0), (1, 1)))), size=(1, 2)),
        ],
        ties=[Tie(np.array([[[1.0, 1.0, 0.0, 0.0]]]), **PLAIN, size=(2,), grads=[[[[1, 0, 1, 0]]]])],
    ),
    OpRecord(
        "window_scatter",
        samples=lambda: [Sample(g, i, size=shape[2:], **kw) for shape, g, i, kw in _indexed(CASES)],
        reference=_window_scatter,
        large=lambda: [Sample(g, i, size=shape[2:], **kw) for shape, g, i, kw in _indexed(LARGE + FEW)],
    ),
    OpRecord(
        "window_gather",
        samples=lambda: [Sample(floats(shape), i, **kw) for shape, _, i, kw in _indexed(CASES)],
        reference=_window_gather,
        large=lambda: [Sample(floats(shape), i, **kw) for shape, _, i, kw in _indexed(FEW)],
    ),
    OpRecord(
        "plane_index",
        samples=lambda: [
            Sample(integers((1, 2, 3), 0, 2, dtype=np.uint8), size=(6,), tables=(_coordinates(3, 2, 2),)),
            Sample(
                integers((2, 1, 2, 3), 0, 6, dtype=np.uint8),
                size=(4, 7),
                tables=(_coordinates(2, 2, 2), _coordinates(3, 3, 2)),
            ),
        ],
        reference=_plane_index,
        order=0,
    ),
    OpRecord(
        "im2col",
        samples=lambda: [Sample(floats(x), **dict(zip(COLUMN_NAMES, p))) for x, p in COLUMNS],
        reference=_im2col,
        torch=_torch_columns("unfold"),
    ),
    OpRecord(
        "col2im",
        samples=lambda: [
            Sample(floats(_im2col(empty(x), *p).shape), size=x[2:], **dict(zip(COLUMN_NAMES, p))) for x, p in COLUMNS
        ],
        reference=_col2im,
        torch=_torch_columns("fold"),
    ),
]
