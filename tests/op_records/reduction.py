"""Reductions and scans."""

import numpy as np
from scipy import special

from chainrule.testing import OpRecord, Sample, Tie, numpy_names, reduction
from chainrule.testing.samples import bools, empty, floats, integers, scalar

DIMS = ({}, {"dim": 0}, {"dim": -1, "keepdim": True}, {"dim": (0, 2)}, {"dim": [1, -1]}, {"dim": ()})


def _cased(f):
    """A NumPy reduction that takes a list or () for the axis, as ours do."""

    def call(x, axis=None, **kwargs):
        return f(
            x, axis=None if axis is None or axis == () else tuple(axis) if isinstance(axis, list) else axis, **kwargs
        )

    return call


def _with_zeros(shape, *places):
    x = floats(shape, 0.5, 2)
    for p in places:
        x[p] = 0
    return x


def _torch_prod(x, dim=None, keepdim=False, dtype=None):
    """PyTorch's prod takes one dimension at a time."""
    for d in sorted(
        range(x.ndim) if dim is None or dim == () else [i % x.ndim for i in np.atleast_1d(dim)], reverse=True
    ):
        x = x.prod(d, keepdim=keepdim, dtype=dtype)
    return x.prod() if not x.ndim else x


def _spread(f):
    def call(x, dim=None, correction=1, keepdim=False):
        axis = None if dim is None else tuple(np.atleast_1d(dim))
        return f(x, axis=axis, ddof=correction, keepdims=keepdim)

    return call


def _torch_dims(name):
    """PyTorch's function of a name, with () for all dimensions where it wants them spelt out."""

    def call(x, dim=None, keepdim=False, **kwargs):
        import torch

        dim = tuple(range(x.ndim)) if dim is None or dim == () else dim
        return getattr(torch, name)(x, dim, keepdim=keepdim, **kwargs)

    return call


def _torch_bools(name):
    """PyTorch's any and all, which want their dimensions in a tuple or not at all."""

    def call(x, dim=None, keepdim=False):
        import torch

        f = getattr(torch, name)
        return f(x) if dim is None else f(x, tuple(dim) if isinstance(dim, list) else dim, keepdim)

    return call


def _bools(f):
    def call(x, dim=None, keepdim=False):
        return f(x, axis=dim, keepdims=keepdim).astype(np.uint8 if x.dtype == np.uint8 else bool)

    return call


def _argument(f):
    return lambda x, dim=None, keepdim=False: f(x, axis=dim, keepdims=keepdim)


def _linear_scan(x, w, dim, reverse=False):
    x, w = np.moveaxis(x, dim, 0), np.moveaxis(w, dim, 0)
    out, carry = np.zeros_like(x), np.zeros_like(x[0]) if len(x) else 0
    for i in range(len(x))[:: -1 if reverse else 1]:
        out[i] = carry = x[i] + w[i] * carry
    return np.moveaxis(out, 0, dim)


def _torch_linear_scan(x, w, dim, reverse=False):
    import torch

    xs, ws, out, carry = x.unbind(dim), w.unbind(dim), [], 0
    for a, b in list(zip(xs, ws, strict=True))[:: -1 if reverse else 1]:
        carry = a + b * carry
        out.append(carry)
    return torch.stack(out[:: -1 if reverse else 1], dim)


def _shift(x, dim, step=1, fill=0):
    out = np.roll(x, step, dim)
    np.moveaxis(out, dim, 0)[0 if step > 0 else -1] = fill
    return out


def _torch_shift(x, dim, step=1, fill=0):
    import torch

    edge = torch.full_like(x.narrow(dim, 0, 1), fill)
    n = x.shape[dim]
    return torch.cat([edge, x.narrow(dim, 0, n - 1)] if step > 0 else [x.narrow(dim, 1, n - 1), edge], dim)


def _cummax_indices(x, dim, least=False):
    x = np.moveaxis(x, dim, -1)
    out = np.zeros(x.shape, np.int64)
    for row, place in zip(x.reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1]), strict=True):
        best = 0
        for i, v in enumerate(row):
            if np.isnan(v) or (not np.isnan(row[best]) and (v <= row[best] if least else v >= row[best])):
                best = i
            place[i] = best
    return np.moveaxis(out, -1, dim)


def _torch_cummax_indices(x, dim, least=False):
    return (x.cummin(dim) if least else x.cummax(dim)).indices


def _mode_indices(x, dim):
    def last(row):
        values, counts = np.unique(row, return_counts=True)
        return np.flatnonzero(row == values[counts.argmax()])[-1]

    return np.apply_along_axis(last, dim, x)[(slice(None),) * (dim % x.ndim) + (None,)]


RECORDS = [
    reduction("sum", _cased(np.sum), kwargs=DIMS),
    reduction("mean", _cased(np.mean), kwargs=DIMS, empties=False),
    OpRecord(
        "nansum",
        samples=lambda: [
            Sample(np.where(bools((2, 3)), np.nan, floats((2, 3)))),
            Sample(floats((2, 3)), dim=1, keepdim=True),
            Sample(empty((2, 0)), dim=1),
        ],
        reference=numpy_names(np.nansum),
        torch="nansum",
        ties=[Tie(np.array([np.nan, 2.0]), grads=[[0, 1]])],
    ),
    OpRecord(
        "nanmean",
        samples=lambda: [
            Sample(np.where(bools((2, 4)), np.nan, floats((2, 4)))),
            Sample(floats((2, 3)), dim=1, keepdim=True),
        ],
        reference=numpy_names(np.nanmean),
        torch="nanmean",
    ),
    OpRecord(
        "count_nonzero",
        samples=lambda: [Sample(integers((2, 3), -1, 2)), Sample(integers((2, 3), -1, 2), dim=1), Sample(scalar(2.0))],
        reference=numpy_names(np.count_nonzero),
        torch="count_nonzero",
        order=0,
    ),
    reduction(
        "logsumexp",
        _cased(lambda x, axis=None, keepdims=False: special.logsumexp(x, axis=axis, keepdims=keepdims)),
        kwargs=DIMS,
        empties=False,
        torch=_torch_dims("logsumexp"),
        ties=[Tie(np.array([-np.inf, -np.inf]), grads=[[0, 0]]), Tie(np.array([-np.inf, 1.0]), grads=[[0, 1]])],
    ),
    OpRecord(
        "prod",
        samples=lambda: [
            Sample(floats((2, 3), avoid=(0,))),
            Sample(_with_zeros((4,), 1)),
            Sample(_with_zeros((4,), 0, 3)),
            Sample(_with_zeros((2, 3, 2), (0, 1, 1)), dim=1, keepdim=True),
            Sample(_with_zeros((2, 3, 2), (0, 1, 1), (1, 0, 1)), dim=(0, 2)),
            Sample(empty((2, 0)), dim=1),
            Sample(empty((0,))),
            Sample(scalar(1.5)),
            Sample(integers((2, 3))),
        ],
        reference=numpy_names(np.prod),
        torch=_torch_prod,
        ties=[
            Tie(np.array([0.0, 0.0, 2.0, 0.0]), grads=[[0, 0, 0, 0]]),
            Tie(np.array([0.0, 3.0, 2.0]), grads=[[6, 0, 0]]),
        ],
    ),
    reduction(
        "amax",
        _cased(np.max),
        kwargs=DIMS,
        empties=False,
        torch=_torch_dims("amax"),
        ties=[
            Tie(np.array([1.0, 2.0, 2.0]), grads=[[0, 0.5, 0.5]]),
            Tie(np.zeros((2, 2)), dim=1, grads=[np.full((2, 2), 0.5)]),
        ],
    ),
    reduction(
        "amin",
        _cased(np.min),
        kwargs=DIMS,
        empties=False,
        torch=_torch_dims("amin"),
        ties=[Tie(np.array([1.0, 2.0, 1.0]), grads=[[0.5, 0, 0.5]])],
    ),
    *[
        OpRecord(
            name,
            samples=lambda: [
                Sample(floats((2, 3))),
                Sample(floats((2, 3)), dim=1, keepdim=True),
                Sample(integers((3, 3), 0, 2), 0),
                Sample(np.array([1.0, np.nan, 3.0, np.nan]), dim=0),
                Sample(scalar(), keepdim=True),
            ],
            reference=_argument(getattr(np, name)),
            torch=name,
            order=0,
        )
        for name in ("argmax", "argmin")
    ],
    *[
        OpRecord(
            name,
            samples=lambda: [
                Sample(bools((2, 3))),
                Sample(integers((2, 3), 0, 2), dim=1),
                Sample(integers((2, 3), 0, 2, dtype=np.uint8), 0, keepdim=True),
                Sample(floats((2, 3)), dim=(0, 1)),
                Sample(empty((2, 0)), dim=1),
                Sample(np.array([np.nan, 0.0])),
            ],
            reference=_bools(getattr(np, name)),
            torch=_torch_bools(name),
            order=0,
        )
        for name in ("any", "all")
    ],
    *[
        OpRecord(
            name,
            samples=lambda: [
                Sample(floats((2, 3))),
                Sample(floats((2, 3, 2)), dim=1, keepdim=True),
                Sample(floats((2, 3, 2)), dim=(0, 2), correction=0),
                Sample(floats((5,)), correction=1.5),
            ],
            reference=_spread(getattr(np, name)),
            torch=name,
            ties=[] if name == "var" else [Tie(np.ones(3), grads=[[0, 0, 0]])],
        )
        for name in ("var", "std")
    ],
    OpRecord(
        "shift",
        samples=lambda: [
            Sample(floats((2, 3)), dim=1),
            Sample(floats((3, 2)), dim=0, step=-1, fill=1),
            Sample(floats((1,)), -1),
        ],
        reference=_shift,
        torch=_torch_shift,
    ),
    OpRecord(
        "linear_scan",
        samples=lambda: [
            Sample(floats((2, 5)), floats((2, 5), seed=1), dim=1),
            Sample(floats((4, 2)), floats((4, 2), seed=1), dim=0, reverse=True),
            Sample(floats((1,)), floats((1,), seed=1), dim=0),
        ],
        reference=_linear_scan,
        torch=_torch_linear_scan,
    ),
    OpRecord(
        "cumsum",
        samples=lambda: [
            Sample(floats((2, 3)), dim=0),
            Sample(floats((2, 3)), dim=-1),
            Sample(scalar(), dim=0),
            Sample(empty((2, 0)), dim=1),
            Sample(bools((2, 3)), dim=1),
        ],
        reference=lambda x, dim: np.cumsum(x, dim) if x.ndim else x,
        torch="cumsum",
    ),
    OpRecord(
        "cumprod",
        samples=lambda: [
            Sample(floats((2, 3)), dim=0),
            Sample(_with_zeros((2, 4), (0, 1), (1, 0), (1, 2)), dim=-1),
            Sample(_with_zeros((5,), 0, 1, 4), dim=0),
            Sample(scalar(), dim=0),
            Sample(integers((2, 3)), dim=1),
        ],
        reference=lambda x, dim: np.cumprod(x, dim) if x.ndim else x,
        torch="cumprod",
    ),
    OpRecord(
        "logcumsumexp",
        samples=lambda: [
            Sample(floats((2, 5)), dim=1),
            Sample(floats((3, 2), -200, 200), dim=0),
            Sample(scalar(), dim=0),
        ],
        reference=lambda x, dim: np.logaddexp.accumulate(x, dim) if x.ndim else x,
        torch="logcumsumexp",
        ties=[Tie(np.array([-np.inf, -np.inf, 1.0, 1.0]), dim=0, grads=[[0, 0, 1.5, 0.5]])],
    ),
    OpRecord(
        "cummax_indices",
        samples=lambda: [
            Sample(floats((2, 5)), dim=1),
            Sample(integers((5, 2), 0, 3), dim=0),
            Sample(integers((5, 2), 0, 3), dim=0, least=True),
            Sample(np.array([1.0, np.nan, 3.0, np.nan, 5.0]), dim=0),
            Sample(np.array([1.0, np.nan, 3.0, np.nan, 5.0]), dim=0, least=True),
        ],
        reference=_cummax_indices,
        torch=_torch_cummax_indices,
        order=0,
    ),
    OpRecord(
        "mode_indices",
        samples=lambda: [Sample(integers((3, 7), 0, 3), dim=1), Sample(integers((7, 2), 0, 3), dim=0)],
        reference=_mode_indices,
        torch=lambda x, dim: x.mode(dim, keepdim=True).indices,
        order=0,
    ),
]
