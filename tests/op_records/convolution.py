"""Convolutions."""

from itertools import product

import numpy as np

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import empty, floats


def _reads(kernel, size, stride, padding, dilation, shape):
    """(output position, tap, input position) for all that lie inside the input."""
    for p in product(*map(range, size)):
        for i in product(*map(range, kernel)):
            j = tuple(
                a * s - before + b * d for a, b, s, (before, _), d in zip(p, i, stride, padding, dilation, strict=True)
            )
            if all(0 <= a < n for a, n in zip(j, shape, strict=True)):
                yield p, i, j


def _grouped(groups, channels, outputs):
    """(slice of the input channels, slice of the output channels) of each group."""
    c, o = channels // groups, outputs // groups
    return [(slice(g * c, g * c + c), slice(g * o, g * o + o)) for g in range(groups)]


def _conv(x, w, b=None, stride=(1,), padding=((0, 0),), dilation=(1,), groups=1):
    geometry = zip(x.shape[2:], w.shape[2:], stride, padding, dilation, strict=True)
    size = [(n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in geometry]
    y = np.zeros((len(x), len(w), *size))
    for p, i, j in _reads(w.shape[2:], size, stride, padding, dilation, x.shape[2:]):
        for c, o in _grouped(groups, x.shape[1], len(w)):
            y[(slice(None), o, *p)] += x[(slice(None), c, *j)] @ w[(o, slice(None), *i)].T
    return y if b is None else y + b.reshape(-1, *(1,) * len(size))


def _conv_input(y, w, size, stride, padding, dilation, groups):
    x = np.zeros((len(y), w.shape[1] * groups, *size))
    for p, i, j in _reads(w.shape[2:], y.shape[2:], stride, padding, dilation, size):
        for c, o in _grouped(groups, x.shape[1], len(w)):
            x[(slice(None), c, *j)] += y[(slice(None), o, *p)] @ w[(o, slice(None), *i)]
    return x


def _conv_weight(x, y, kernel, stride, padding, dilation, groups):
    w = np.zeros((y.shape[1], x.shape[1] // groups, *kernel))
    for p, i, j in _reads(kernel, y.shape[2:], stride, padding, dilation, x.shape[2:]):
        for c, o in _grouped(groups, x.shape[1], len(w)):
            w[(o, slice(None), *i)] += y[(slice(None), o, *p)].T @ x[(slice(None), c, *j)]
    return w


def _torch_conv(x, w, b=None, stride=(1,), padding=((0, 0),), dilation=(1,), groups=1):
    from torch.nn import functional as F

    x = F.pad(x, [n for pair in reversed(padding) for n in pair])
    return getattr(F, f"conv{len(stride)}d")(x, w, b, stride, 0, dilation, groups)


def _torch_conv_input(y, w, size, stride, padding, dilation, groups):
    from torch.nn import functional as F

    x = getattr(F, f"conv_transpose{len(stride)}d")(y, w, None, stride, 0, 0, groups, dilation)
    have = x.shape[2:]
    edges = [(-before, n - m + before) for (before, _), n, m in zip(padding, size, have, strict=True)]
    return F.pad(x, [n for pair in reversed(edges) for n in pair])


# x, w, and (stride, padding, dilation, groups): one to three dimensions; strides that leave a rest, padding that
# differs before and behind or crops, dilation, groups, depthwise, one tap, an empty batch
CASES = [
    ((2, 1, 4), (2, 1, 3), ((1,), ((0, 0),), (1,), 1)),
    ((1, 2, 5), (1, 2, 2), ((3,), ((1, 1),), (1,), 1)),
    ((1, 2, 3, 3), (2, 2, 2, 2), ((1, 1), ((1, 0), (0, 0)), (1, 1), 1)),
    ((1, 2, 4, 3), (2, 1, 2, 2), ((2, 1), ((1, 1), (0, 1)), (1, 2), 2)),
    ((1, 4, 2, 2), (4, 1, 2, 2), ((1, 1), ((1, 0), (1, 0)), (1, 1), 4)),
    ((1, 2, 3, 4), (2, 1, 2, 2), ((2, 2), ((1, 1), (0, 0)), (1, 1), 2)),
    ((2, 3, 2, 2), (2, 3, 1, 1), ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)),
    ((1, 1, 4, 4), (1, 1, 2, 2), ((1, 1), ((-1, 0), (0, -1)), (1, 1), 1)),
    ((1, 1, 2, 3, 2), (1, 1, 2, 1, 2), ((1, 2, 1), ((0, 1), (0, 0), (1, 0)), (1, 1, 1), 1)),
    ((0, 2, 3), (1, 2, 2), ((1,), ((0, 0),), (1,), 1)),
]
# for the kernels: several blocks, long and short runs in memory, the gradient as a convolution and as a scatter
LARGE = [
    ((3, 20, 9, 8), (12, 20, 3, 3), ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)),
    ((3, 20, 9, 8), (12, 20, 5, 5), ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)),
    ((2, 24, 12, 11), (16, 12, 3, 3), ((2, 2), ((1, 1), (1, 1)), (1, 1), 2)),
    ((3, 1, 28, 28), (20, 1, 5, 5), ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)),
    ((2, 16, 20, 20), (16, 1, 3, 3), ((1, 1), ((1, 1), (1, 1)), (1, 1), 16)),
    ((2, 16, 20, 20), (16, 1, 3, 3), ((2, 2), ((1, 1), (1, 1)), (1, 1), 16)),
    ((2, 32, 48, 48), (8, 32, 3, 3), ((1, 1), ((2, 2), (2, 2)), (2, 2), 1)),
]
NAMES = ("stride", "padding", "dilation", "groups")


def _out(x, w, params):
    return _conv(np.zeros((x[0], x[1], *x[2:])), np.zeros(w), None, *params).shape


def _forward(cases):
    found = [Sample(floats(x), floats(w, seed=1), floats(w[0], seed=2), **dict(zip(NAMES, p))) for x, w, p in cases]
    x, w, p = cases[2]
    return [*found, Sample(floats(x), floats(w, seed=1), **dict(zip(NAMES, p)))]


def _backward(cases, make):
    return [make(x, w, _out(x, w, p), dict(zip(NAMES, p))) for x, w, p in cases]


def _for_input(x, w, y, params):
    return Sample(floats(y), floats(w, seed=1), size=x[2:], **params)


def _for_weight(x, w, y, params):
    return Sample(floats(x), floats(y, seed=1), kernel=w[2:], **params)


RECORDS = [
    OpRecord(
        "conv",
        samples=lambda: [*_forward(CASES), Sample(empty((0, 1, 2)), floats((1, 1, 1)), floats(1))],
        reference=_conv,
        torch=_torch_conv,
        close="the bias is summed by a matrix product",
        large=lambda: _forward(LARGE),
    ),
    OpRecord(
        "conv_input",
        samples=lambda: _backward(CASES, _for_input),
        reference=_conv_input,
        torch=_torch_conv_input,
        large=lambda: _backward(LARGE, _for_input),
    ),
    OpRecord(
        "conv_weight",
        samples=lambda: _backward(CASES, _for_weight),
        reference=_conv_weight,
        large=lambda: _backward(LARGE, _for_weight),
    ),
]
