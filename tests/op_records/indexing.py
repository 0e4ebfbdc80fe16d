"""Indexing, gathering and scattering, masks, order."""

import numpy as np

from chainrule.autograd import OPS, Tensor
from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import bools, empty, floats, integers, scalar

X = floats((2, 3, 4))
FULL = slice(None)
# indices as records write them: arrays that the check makes tensors of; the ops themselves take arrays
TWICE = (np.array([1, 0, 1]),)
PAIR = (np.array([0, 1, 1]), FULL, np.array([1, 3, 1]))
GRID = (np.array([[0], [1]]), np.array([[0, 2]]))
MASK = (np.array([[True, False, True], [False, False, True]]),)
NEGATIVE = (FULL, np.array([-1, 0, -1, 2]))
MANY = np.arange(60) * 7 % 30


def _arrays(indices):
    return None if indices is None else tuple([i.array if isinstance(i, Tensor) else i for i in indices])


def _index(input, indices):
    return OPS["index"](input, _arrays(indices))


def _index_adjoint(input, size, indices):
    return OPS["index_adjoint"](input, size, _arrays(indices))


def _index_put(input, values, view, indices, accumulate=False):
    return OPS["index_put"](input, values, view, _arrays(indices), accumulate=accumulate)


def _last_put(input, indices):
    return OPS["last_put"](input, _arrays(indices))


def _sliced_into(x, size, index):
    out = np.zeros(size)
    out[index] = x
    return out


def _indexed_into(x, size, indices):
    out = np.zeros(size)
    np.add.at(out, indices, x)
    return out


def _put(x, values, view, indices, accumulate=False):
    out = x.copy()
    part = out[view if ... in view else (*view, ...)]
    where = ... if indices is None else indices
    if accumulate:
        np.add.at(part, where, values)
    else:
        part[where] = values
    return out


def _last(x, indices):
    """The turn at which each place is written last, found by writing one after another."""
    written = np.empty(x.shape, object)
    places = np.arange(x.size).reshape(x.shape)[indices]
    for turn, place in enumerate(places.reshape(-1)):
        written.reshape(-1)[place] = turn
    return np.array([written.flat[p] == t for t, p in enumerate(places.reshape(-1))]).reshape(places.shape)


# -- along a dimension: the references write and read element by element ----------------------------------------------


def _places(index, dim):
    """(position in the index, position in the input) of each element of an index."""
    for at in np.ndindex(*index.shape):
        yield at, (*at[:dim], int(index[at]), *at[dim + 1 :]) if at else ()


def _gather(x, dim, index):
    dim, out = dim % max(x.ndim, 1), np.zeros(index.shape, x.dtype)
    for at, place in _places(index, dim):
        out[at] = x[place] if x.ndim and index.ndim else x.reshape(-1)[int(index.reshape(-1)[at[0] if at else 0])]
    return out


def _scatter(combine):
    def call(x, dim, index, src):
        dim, out = dim % max(x.ndim, 1), x.copy()
        for at, place in _places(index, dim):
            value = src if np.isscalar(src) else src[at]
            out[place] = combine(out[place], value)
        return out

    return call


def _last_scattered(x, dim, index):
    seen = {place: at for at, place in _places(index, dim % x.ndim)}
    out = np.zeros(index.shape, bool)
    for at in seen.values():
        out[at] = True
    return out


COLUMNS = np.array([[1, 0, 1], [2, 2, 0]])


def _along_samples(*rest):
    """Samples of (input, dim, index) with what `rest` makes of the index's shape."""

    def sample(x, dim, index, seed=0):
        return Sample(x, dim, index, *[make(index.shape, seed + 5) for make in rest])

    return [
        sample(floats((2, 4)), 1, COLUMNS),
        sample(floats((3, 3)), 0, COLUMNS),
        sample(X, -1, integers((2, 2, 3), 0, 4)),
        sample(floats((4,)), 0, np.array([3, 3, 0])),
        sample(scalar(), 0, np.array(0)),
        sample(floats((2, 3)), 1, empty((2, 0), np.int64)),
    ]


def _with_larger_source():
    """The source may be larger than the index; what lies beyond it takes no part."""
    return Sample(floats((3, 4)), 1, COLUMNS, floats((3, 3), seed=7))


# -- order ------------------------------------------------------------------------------------------------------------


def _argsort(x, dim=-1, descending=False, stable=False):
    if not x.ndim:
        return np.zeros((), np.int64)
    return np.argsort(-x if descending else x, axis=dim, kind="stable")


def _many(shape):
    """Floats of which many are equal, and some NaN, infinite or -0."""
    values = integers(shape, -40, 40) / 8
    values[values == -3] = np.nan
    values[values == 2] = -np.inf
    values[values == 0] = np.where(integers(int((values == 0).sum()), 0, 2), 0.0, -0.0)
    return values


def _sort(x, dim=-1, descending=False, stable=False):
    order = _argsort(x, dim, descending)
    return (np.take_along_axis(x, order, dim), order) if x.ndim else (x, order)


def _leading(x, k, dim=-1, descending=False):
    order = _argsort(x, dim, descending)
    return np.moveaxis(np.moveaxis(order, dim, -1)[..., :k], -1, dim) if x.ndim else order


def _topk(x, k, dim=-1, largest=True, sorted=True):
    values, order = _sort(x, dim, largest)
    kept = range(k)
    return (values.take(kept, dim), order.take(kept, dim)) if x.ndim else (values, order)


def _searchsorted(sequence, x, right=False, out_int32=False):
    """How many elements of the sequence come before the place, counted."""
    before = np.less_equal if right else np.less
    sequence = sequence if sequence.ndim == 1 else sequence[..., None, :]
    return before(sequence, x[..., None]).sum(-1).astype(np.int32 if out_int32 else np.int64)


def _histc(x, bins=100, min=0, max=0):
    low, high = (x.min(), x.max()) if min == max else (min, max)
    inside = x[(low <= x) & (x <= high)]
    places = np.floor((inside - low) / (high - low) * bins).astype(int)
    return np.bincount(np.minimum(places, bins - 1), minlength=bins).astype(x.dtype)


TIED = np.array([[2.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, 5.0]])

RECORDS = [
    OpRecord(
        "slicing",
        samples=lambda: [
            Sample(X, (0,)),
            Sample(X, (FULL, slice(None, None, 2), -1)),
            Sample(X, (..., slice(1, 3))),
            Sample(X, (None, 1, ..., None, 2)),
            Sample(X, (slice(None, None, -1), FULL, slice(3, 0, -2))),
            Sample(X, (1, 2, 3)),
            Sample(X, (slice(2, 1),)),
            Sample(scalar(), (None,)),
            Sample(scalar(), ()),
        ],
        reference=lambda x, index: x[index],
    ),
    OpRecord(
        "slicing_adjoint",
        samples=lambda: [
            Sample(floats((3, 4)), (2, 3, 4), (0,)),
            Sample(floats((2, 2)), (2, 3, 4), (FULL, slice(None, None, 2), -1)),
            Sample(floats((1, 2, 1)), (3, 2), (None, slice(2, 0, -1), 1, None)),
            Sample(scalar(), (2,), (1,)),
        ],
        reference=lambda x, size, index: _sliced_into(x.reshape(np.zeros(size)[index].shape), size, index),
    ),
    OpRecord(
        "index",
        samples=lambda: (
            [Sample(X, i) for i in (TWICE, PAIR, GRID, MASK, NEGATIVE)]
            + [Sample(floats((3,)), (np.array([[0, 2], [2, 2]]),)), Sample(X, (empty((0,), np.int64),))]
        ),
        call=_index,
        reference=lambda x, indices: x[indices],
        torch=lambda x, indices: x[indices],
    ),
    OpRecord(
        "index_adjoint",
        samples=lambda: [
            Sample(floats(np.zeros((2, 3, 4))[i].shape, seed=3), (2, 3, 4), i)
            for i in (TWICE, PAIR, GRID, MASK, NEGATIVE)
        ],
        large=lambda: [Sample(floats((60, 40)), (30, 40), (MANY,)), Sample(floats((40, 60)), (40, 30), (FULL, MANY))],
        call=_index_adjoint,
        reference=_indexed_into,
    ),
    OpRecord(
        "index_put",
        samples=lambda: [
            Sample(X, floats((3, 4), seed=1), (1,), None),
            Sample(X, floats((2, 1), seed=1), (FULL, slice(None, None, 2), -1), None),
            Sample(X, scalar(), (..., slice(1, 3)), None),
            Sample(X, 2.5, (0, ..., 1), None),
            Sample(X, floats((4,), seed=1), (), TWICE),
            Sample(X, floats((3, 3), seed=1), (), PAIR),
            Sample(X, floats((3, 1), seed=1), (), MASK),
            Sample(floats((2, 3)), floats((3,), seed=1), (1,), (np.array([2, 0, 2]),)),
            Sample(X, floats((3, 3), seed=1), (), PAIR, accumulate=True),
            Sample(X, floats((3, 4), seed=1), (), (np.array([1, 1, 1]), np.array([0, 0, 2])), accumulate=True),
            Sample(X, floats((4,), seed=1), (), MASK, accumulate=True),
            Sample(X, floats((4,), seed=1), (1, slice(0, 2)), None, accumulate=True),
        ],
        large=lambda: [Sample(floats((30, 40)), floats((60, 40), seed=1), (), (MANY,), accumulate=True)],
        call=_index_put,
        differentiable=("input", "values"),
        reference=_put,
    ),
    OpRecord(
        "last_put",
        samples=lambda: [Sample(X, i) for i in (TWICE, PAIR, GRID, NEGATIVE)],
        call=_last_put,
        reference=_last,
        order=0,
    ),
    OpRecord(
        "narrow",
        samples=lambda: [Sample(X, 1, 1, 2), Sample(X, -1, -3, 2), Sample(X, dim=0, start=2, length=0)],
        reference=lambda x, dim, start, length: x.take(range(start, start + length), dim),
        torch="narrow",
    ),
    OpRecord(
        "select",
        samples=lambda: [Sample(X, 1, 2), Sample(X, -1, -1), Sample(floats((3,)), dim=0, index=1)],
        reference=lambda x, dim, index: x.take(index, dim),
        torch="select",
    ),
    # -- along a dimension
    OpRecord(
        "gather",
        samples=_along_samples,
        large=lambda: [Sample(floats((30, 40)), d, np.stack([MANY[:40]] * 30)) for d in (0, 1)],
        reference=_gather,
        torch="gather",
    ),
    OpRecord(
        "scatter_add",
        samples=lambda: [*_along_samples(lambda shape, seed: floats(shape, seed=seed)), _with_larger_source()],
        large=lambda: [
            Sample(floats((30, 40)), d, np.stack([MANY[:40]] * 30), floats((30, 40), seed=1)) for d in (0, 1)
        ],
        reference=_scatter(lambda old, new: old + new),
        torch="scatter_add",
        torch_order=0,  # PyTorch has no gradient for a source larger than the index
    ),
    OpRecord(
        "scatter",
        samples=lambda: [
            *_along_samples(lambda shape, seed: floats(shape, seed=seed)),
            _with_larger_source(),
            Sample(floats((2, 4)), 1, COLUMNS, 0.5),
        ],
        reference=_scatter(lambda old, new: new),
        torch="scatter",
        torch_order=0,  # PyTorch gives values that were overwritten a gradient
    ),
    OpRecord(
        "last_scattered",
        samples=lambda: [
            Sample(floats((2, 4)), 1, COLUMNS),
            Sample(floats((3, 3)), 0, COLUMNS),
            Sample(floats((4,)), -1, np.array([3, 3, 0])),
        ],
        reference=_last_scattered,
        order=0,
    ),
    OpRecord(
        "index_select",
        samples=lambda: [
            Sample(X, 1, np.array([2, 0, 2])),
            Sample(X, dim=-1, index=np.array([1])),
            Sample(X, 0, empty((0,), np.int64)),
            Sample(scalar(), 0, np.array([0])),
        ],
        reference=lambda x, dim, index: np.take(x, index, dim) if x.ndim else x,
        torch="index_select",
        differentiable=("input",),
    ),
    # -- masks
    OpRecord(
        "where",
        samples=lambda: [
            Sample(bools((2, 3)), floats((2, 3)), floats((2, 3), seed=1)),
            Sample(bools((3,)), floats((2, 1)), scalar()),
            Sample(bools((2, 3)), floats((2, 3)), 0),
            Sample(bools((2, 3)), 1.5, floats((3,))),
            Sample(np.array(True), scalar(), floats((2,))),
            Sample(empty((0, 3), bool), empty(), floats((3,))),
        ],
        reference=np.where,
        torch="where",
    ),
    OpRecord(
        "masked_fill",
        samples=lambda: [
            Sample(floats((2, 3)), bools((3,)), -1.5),
            Sample(floats((2, 3)), bools((2, 3)), scalar()),
            Sample(integers((2, 3)), bools((2, 1)), 7),
            Sample(scalar(), np.array(True), -9),
        ],
        reference=lambda x, mask, value: np.where(mask, value, x),
        torch="masked_fill",
        differentiable=("input", "value"),
    ),
    OpRecord(
        "nonzero",
        samples=lambda: [
            Sample(integers((2, 3), -1, 2)),
            Sample(bools((5,))),
            Sample(floats((2, 2))),
            Sample(scalar()),
            Sample(np.array(0)),
            Sample(empty()),
        ],
        reference=lambda x: np.argwhere(x).astype(np.int64),
        torch="nonzero",
        order=0,
    ),
    OpRecord(
        "one_hot",
        samples=lambda: [
            Sample(integers((2, 3), 0, 4)),
            Sample(np.array(2), 4),
            Sample(np.array([0, 2]), num_classes=3),
        ],
        reference=lambda x, num_classes=-1: np.eye(x.max() + 1 if num_classes == -1 else num_classes, dtype=np.int64)[
            x
        ],
        torch="nn.functional.one_hot",
        order=0,
    ),
    # -- order
    OpRecord(
        "argsort",
        samples=lambda: [
            Sample(X),
            Sample(X, 0),
            Sample(X, dim=1, descending=True),
            Sample(TIED, descending=True, stable=True),
            Sample(TIED, stable=True),
            Sample(scalar()),
            Sample(empty()),
            Sample(integers((6,), 0, 3), stable=True),
        ],
        reference=_argsort,
        large=lambda: [
            Sample(_many((2, 2500))),
            Sample(_many((2100, 3)), 0, descending=True),
            Sample(integers((3000,), 0, 9)),
            Sample(floats((2000,))),
        ],
        torch=lambda x, dim=-1, descending=False, stable=False: x.argsort(dim=dim, descending=descending, stable=True),
        order=0,
    ),
    OpRecord(
        "sort",
        samples=lambda: [
            Sample(X),
            Sample(X, 1, descending=True),
            Sample(floats((5,)), 0, stable=True),
            Sample(scalar()),
            Sample(empty(), 0),
        ],
        reference=_sort,
        torch=lambda x, dim=-1, descending=False, stable=False: tuple(
            x.sort(dim=dim, descending=descending, stable=stable)
        ),
    ),
    OpRecord(
        "leading",
        samples=lambda: [
            Sample(X, k=2),
            Sample(X, k=1, dim=0, descending=True),
            Sample(TIED, k=3, descending=True),
            Sample(TIED, k=3),
            Sample(X, k=0),
            Sample(scalar(), k=1),
            Sample(integers((6,), 0, 3), k=4),
        ],
        reference=_leading,
        large=lambda: [
            Sample(_many((2, 2500)), k=40),
            Sample(_many((2, 2500)), k=40, descending=True),
            Sample(_many((2100, 3)), k=5, dim=0, descending=True),
            Sample(_many((2, 2500)), k=1500),
            Sample(np.full((2, 2500), np.nan), k=3),
            Sample(integers((3000,), 0, 9), k=200),
            Sample(integers((3000,), 0, 9), k=0),
        ],
        order=0,
    ),
    OpRecord(
        "ordered",
        samples=lambda: [
            Sample(X),
            Sample(X, 1),
            Sample(floats((5,)), 0),
            Sample(floats((2, 3, 2)), dim=-2),
            Sample(scalar()),
            Sample(empty(), 0),
            Sample(integers((6,), 0, 3)),
        ],
        reference=lambda x, dim=-1: _sort(x, dim)[0],
        torch=lambda x, dim=-1: x.sort(dim=dim)[0],
    ),
    OpRecord(
        "topk",
        samples=lambda: [
            Sample(X, 2),
            Sample(X, k=1, dim=0, largest=False),
            Sample(X, 3, 1),
            Sample(X, 0),
            Sample(scalar(), 1),
        ],
        reference=_topk,
        torch=lambda x, k, dim=-1, largest=True, sorted=True: tuple(x.topk(k, dim, largest)),
    ),
    OpRecord(
        "searchsorted",
        samples=lambda: [
            Sample(np.array([1.0, 2.0, 2.0, 3.0]), np.array([[0.5, 2.0], [3.0, 9.0]])),
            Sample(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.5, 2.0]), right=True),
            Sample(np.array([[1, 3, 5], [2, 4, 6]]), np.array([[3, 5], [3, 7]]), out_int32=True),
            Sample(np.array([[1, 3, 5], [2, 4, 6]]), np.array([[3, 5], [4, 7]]), right=True),
            Sample(np.array([1.0, 2.0]), scalar(1.5)),
        ],
        reference=_searchsorted,
        torch=lambda s, x, right=False, out_int32=False: __import__("torch").searchsorted(
            s, x, right=right, out_int32=out_int32
        ),
        order=0,
    ),
    OpRecord(
        "bincount",
        samples=lambda: [
            Sample(np.array([1, 1, 3])),
            Sample(np.array([1, 1, 3]), floats((3,))),
            Sample(np.array([1, 0]), minlength=4),
            Sample(empty((0,), np.int64), minlength=2),
        ],
        reference=lambda x, weights=None, minlength=0: np.bincount(x, weights, minlength),
        torch="bincount",
        order=0,
    ),
    OpRecord(
        "histc",
        samples=lambda: [
            Sample(floats((3, 4)), 5),
            Sample(floats((12,)), bins=4, min=-1, max=1),
            Sample(np.array([0.0, 1.0, 2.0, 2.0]), bins=2, min=0, max=2),
        ],
        reference=_histc,
        torch="histc",
        order=0,
    ),
]
