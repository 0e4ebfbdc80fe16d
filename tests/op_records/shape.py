"""Views, joining, taking apart, and elements moved about."""

import numpy as np

from chainrule.autograd import OPS
from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import bools, empty, floats, integers, permuted, scalar

CUBE = floats((2, 3, 4))
RAGGED = [floats((2, n), seed=n) for n in (1, 3, 2)]


def _of(*calls, x=CUBE):
    """Samples of one array, each with its parameters."""
    return lambda: [Sample(x, *args) for args in calls]


def _tupled(f):
    return lambda *args, **kwargs: tuple(f(*args, **kwargs))


def _dims(dim, ndim):
    return tuple(d % ndim for d in ((dim,) if isinstance(dim, int) else dim))


def _squeeze(x, dim=None):
    dims = range(x.ndim) if dim is None else _dims(dim, max(x.ndim, 1))
    return x.reshape([n for i, n in enumerate(x.shape) if n != 1 or i not in dims])


def _torch_squeeze(x, dim=None):
    return x.squeeze() if dim is None else x.squeeze(dim)


def _unflatten(x, dim, sizes):
    dim %= x.ndim
    return x.reshape((*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


def _flatten(x, start_dim=0, end_dim=-1):
    if not x.ndim:
        return x.reshape(1)
    start, end = start_dim % x.ndim, end_dim % x.ndim
    return x.reshape((*x.shape[:start], int(np.prod(x.shape[start : end + 1])), *x.shape[end + 1 :]))


def _diagonal_into(x, size, offset=0, dim1=0, dim2=1):
    """Zeros with x on a diagonal, element by element."""
    out = np.zeros(size)
    places = np.arange(out.size).reshape(size).diagonal(offset, dim1, dim2)
    out.reshape(-1)[places] = x
    return out


def _torch_diagonal_into(x, size, offset=0, dim1=0, dim2=1):
    import torch

    return torch.diagonal_scatter(torch.zeros(size, dtype=x.dtype), x, offset, dim1, dim2)


def _windows(x, dimension, size, step):
    if not x.ndim:
        return x.reshape(1)[:size]
    starts = range(0, x.shape[dimension] - size + 1, step)
    parts = [np.moveaxis(np.take(x, range(s, s + size), axis=dimension), dimension, -1) for s in starts]
    return np.stack(parts, axis=dimension % x.ndim)


def _from_windows(x, full, dimension, size, step):
    out = np.zeros(full)
    if not full:
        return out + x.sum()
    places = _windows(np.arange(out.size).reshape(full), dimension, size, step)
    np.add.at(out.reshape(-1), places.reshape(-1), x.reshape(-1))
    return out


def _torch_from_windows(x, full, dimension, size, step):
    import torch

    places = torch.arange(int(np.prod(full))).reshape(full).unfold(dimension, size, step).reshape(-1)
    return torch.zeros(int(np.prod(full)), dtype=x.dtype).index_add(0, places, x.reshape(-1)).reshape(full)


def _strided_places(size, stride, start, shape, memory):
    """Flat positions (of a tensor of `shape` and strides `memory`) that a strided view shows, one by one."""
    owner = {sum(i * s for i, s in zip(at, memory)): n for n, at in enumerate(np.ndindex(*shape))}
    cells = [start + sum(i * s for i, s in zip(at, stride)) for at in np.ndindex(*size)]
    return np.array([owner[c] for c in cells], np.int64).reshape(size)


def _strided(x, size, stride, start, memory):
    return x.reshape(-1)[_strided_places(size, stride, start, x.shape, memory)]


def _torch_strided(x, size, stride, start, memory):
    return (
        x.as_strided(size, stride, start) if x.stride() == memory else x.mT.contiguous().as_strided(size, stride, start)
    )


def _from_strided(x, size, stride, start, full, memory):
    out = np.zeros(full)
    np.add.at(out.reshape(-1), _strided_places(size, stride, start, full, memory).reshape(-1), x.reshape(-1))
    return out


def _chain(*steps):
    """A chain of views as `storage` notes it: (op, parameters, number of the output)."""
    return tuple((OPS[name], params, None) for name, params in steps)


ROW = _chain(("slicing", ((1,),)))
TURNED = _chain(("permute", ((1, 0),)), ("slicing", ((slice(None, 2), 1),)))


def _view_assign(x, value, chain):
    out = x.copy()
    if len(chain) == 1:
        out[1] = value
    else:
        out.T[:2, 1] = value
    return out


def _torch_view_assign(x, value, chain):
    import torch

    if len(chain) == 1:
        return torch.select_scatter(x, value, 0, 1)
    return torch.select_scatter(x, torch.slice_scatter(x[1], value, 0, 0, 2), 0, 1)


# strides of a contiguous (2, 3) tensor, and of its transpose's kind
PLAIN, TURNED_MEMORY = (3, 1), (1, 2)

RECORDS = [
    OpRecord(
        "alias",
        samples=lambda: [Sample(CUBE), Sample(scalar()), Sample(empty())],
        reference=lambda x: x,
        torch=lambda x: x.view_as(x),
    ),
    OpRecord(
        "clone",
        samples=lambda: [
            Sample(CUBE),
            Sample(scalar()),
            Sample(permuted(floats((2, 3)))),
            Sample(floats((1, 2, 3, 2)), memory_format="channels_last"),
            Sample(permuted(floats((2, 3))), memory_format="contiguous_format"),
        ],
        reference=lambda x, memory_format=None: x,
        torch=lambda x, memory_format=None: x.clone(),
    ),
    OpRecord(
        "cast",
        samples=lambda: [
            Sample(floats((2, 3)), np.dtype("float64")),
            Sample(integers((2, 3)), np.dtype("float64")),
            Sample(bools((2, 3)), np.dtype("int64")),
            Sample(floats((2, 3)), np.dtype("int32")),
            Sample(floats((2, 3)), np.dtype("bool")),
        ],
        reference=lambda x, dtype: x.astype(dtype),
        torch=lambda x, dtype: x.to(getattr(__import__("torch"), dtype.name)),
    ),
    OpRecord(
        "bitcast",
        samples=lambda: [
            Sample(floats((2, 3)), np.dtype("int64")),
            Sample(floats((2, 3)), np.dtype("int32")),
            Sample(integers((3,), dtype=np.int32), np.dtype("float32")),
        ],
        reference=lambda x, dtype: x.view(dtype),
        torch=lambda x, dtype: x.view(getattr(__import__("torch"), dtype.name)),
        order=0,
    ),
    OpRecord(
        "zeros_of",
        samples=lambda: [Sample(CUBE, (2, 2), np.dtype("float32")), Sample(scalar(), (), np.dtype("int64"))],
        reference=lambda x, shape, dtype: np.zeros(shape, dtype),
        order=0,
    ),
    OpRecord(
        "reshape",
        samples=lambda: [
            *_of(((4, 6),), ((-1,),), ((3, -1, 2),))(),
            Sample(scalar(), (1, 1)),
            Sample(floats((1,)), ()),
            Sample(empty(), (3, 0)),
            Sample(permuted(floats((2, 3))), (6,)),
        ],
        reference=lambda x, shape: x.reshape(shape),
        torch="reshape",
    ),
    OpRecord(
        "unsqueeze",
        samples=lambda: [*_of((0,), (3,), (-1,), (-2,))(), Sample(scalar(), 0), Sample(empty(), 1)],
        reference=np.expand_dims,
        torch="unsqueeze",
    ),
    OpRecord(
        "squeeze",
        samples=lambda: [
            Sample(floats((1, 3, 1))),
            Sample(floats((1, 3, 1)), 0),
            Sample(floats((1, 3, 1)), dim=(0, -1)),
            Sample(floats((1, 3, 1)), 1),
            Sample(scalar()),
            Sample(scalar(), -1),
        ],
        reference=_squeeze,
        torch=_torch_squeeze,
    ),
    OpRecord(
        "flatten",
        samples=lambda: [*_of((), (1,), (0, 1), (-2, -1), (1, 1))(), Sample(scalar()), Sample(empty())],
        reference=_flatten,
        torch="flatten",
    ),
    OpRecord(
        "unflatten",
        samples=lambda: [*_of((2, (2, 2)), (-1, (-1, 2)), (0, (2, 1)))(), Sample(empty(), 0, (0, 2))],
        reference=_unflatten,
        torch=lambda x, dim, sizes: x.unflatten(dim, sizes),
    ),
    OpRecord(
        "permute",
        samples=lambda: [*_of(((2, 0, 1),), ((-1, 0, -2),), ((0, 1, 2),))(), Sample(scalar(), ())],
        reference=np.transpose,
        torch="permute",
    ),
    OpRecord(
        "transpose",
        samples=lambda: [*_of((0, 2), (-1, -2), (1, 1))(), Sample(scalar(), 0, -1), Sample(empty(), 0, 1)],
        reference=lambda x, a, b: np.swapaxes(x, a, b) if x.ndim else x,
        torch="transpose",
    ),
    OpRecord(
        "expand",
        samples=lambda: [
            Sample(floats((3, 1)), (2, 3, 2)),
            Sample(floats((3,)), (3,)),
            Sample(scalar(), (2, 2)),
            Sample(scalar(), ()),
            Sample(floats((1,)), (0,)),
            Sample(floats((2, 1)), (2, 0)),
        ],
        reference=np.broadcast_to,
        torch="broadcast_to",
        close="the kernel makes the same values by another way",
    ),
    OpRecord(
        "view_assign",
        samples=lambda: [
            Sample(floats((2, 3)), floats((3,), seed=1), ROW),
            Sample(floats((2, 3)), floats((2,), seed=1), TURNED),
        ],
        reference=_view_assign,
        torch=_torch_view_assign,
    ),
    # -- joining and taking apart
    OpRecord(
        "concat",
        samples=lambda: [
            Sample(*RAGGED, dim=1),
            Sample(floats((2, 3)), floats((1, 3), seed=1)),
            Sample(floats((2, 3)), floats((2, 3), seed=1), dim=-1),
            Sample(floats((2, 3)), empty((0, 3))),
            Sample(floats((2, 2)), integers((2, 2)), dim=0),
        ],
        reference=lambda *xs, dim=0: np.concatenate(xs, dim),
        torch=lambda *xs, dim=0: __import__("torch").cat(xs, dim),
    ),
    OpRecord(
        "stack",
        samples=lambda: [
            Sample(floats((2, 3)), floats((2, 3), seed=1), dim=1),
            Sample(floats((2, 3)), floats((2, 3), seed=1), dim=-1),
            Sample(scalar(), scalar(1.5)),
            Sample(floats((2,)), integers((2,))),
            Sample(empty(), empty()),
        ],
        reference=lambda *xs, dim=0: np.stack(xs, dim),
        torch=lambda *xs, dim=0: __import__("torch").stack(xs, dim),
    ),
    OpRecord(
        "split",
        samples=lambda: [
            Sample(CUBE, (1, 3), dim=2),
            Sample(CUBE, (2, 0, 1), -2),
            Sample(floats((4,)), (4,)),
            Sample(empty(), (0,)),
        ],
        reference=lambda x, sizes, dim=0: tuple(np.split(x, np.cumsum(sizes)[:-1], dim)),
        torch=lambda x, sizes, dim=0: x.split(sizes, dim),
    ),
    OpRecord(
        "unbind",
        samples=lambda: [Sample(CUBE, 1), Sample(CUBE, dim=-1), Sample(floats((3,)))],
        reference=lambda x, dim=0: tuple(np.moveaxis(x, dim, 0)),
        torch="unbind",
    ),
    # -- moved about
    OpRecord(
        "flip",
        samples=lambda: [*_of(((0,),), ((0, -1),), (1,), ((),))(), Sample(empty(), (1,)), Sample(scalar(), ())],
        reference=np.flip,
        torch=lambda x, dims: x.flip(dims),
    ),
    OpRecord(
        "roll",
        samples=lambda: [
            *_of((2,), (1, 1), ((1, -2), (0, -1)), (5, -1), ((1, 1), (0, 0)))(),
            Sample(empty(), 1, 0),
            Sample(scalar(), 1),
        ],
        reference=np.roll,
        torch=lambda x, shifts, dims=(): x.roll(shifts, dims),
    ),
    OpRecord(
        "repeat",
        samples=lambda: [
            Sample(floats((2, 3)), (2, 1)),
            Sample(floats((3,)), (2, 2)),
            Sample(scalar(), (2,)),
            Sample(scalar(), ()),
            Sample(floats((2,)), (0,)),
        ],
        reference=np.tile,
        torch=lambda x, sizes: x.repeat(sizes),
    ),
    OpRecord(
        "diagonal",
        samples=lambda: [
            Sample(floats((3, 3))),
            *_of((1, 1, 2), (-1, 0, 2), (0, -1, -2), (-3, 1, 2), (9, 1, 2))(),
            Sample(empty()),
        ],
        reference=np.diagonal,
        torch="diagonal",
    ),
    OpRecord(
        "diagonal_adjoint",
        samples=lambda: [
            Sample(floats((3,)), (3, 3)),
            Sample(floats((2, 3)), (2, 3, 4), 1, 1, 2),
            Sample(floats((3, 2)), (2, 3, 4), -1, 2, 0),
        ],
        reference=_diagonal_into,
        torch=_torch_diagonal_into,
    ),
    OpRecord(
        "tril",
        samples=lambda: [Sample(floats((3, 4))), *_of((1,), (-1,))(), Sample(empty()), Sample(bools((3, 3)))],
        reference=np.tril,
        torch="tril",
    ),
    OpRecord(
        "triu",
        samples=lambda: [Sample(floats((3, 4))), *_of((1,), (-1,))(), Sample(empty()), Sample(bools((3, 3)))],
        reference=np.triu,
        torch="triu",
    ),
    OpRecord(
        "windows",
        samples=lambda: [*_of((2, 2, 1), (1, 3, 1), (-1, 2, 3))(), Sample(scalar(), 0, 1, 1)],
        reference=_windows,
        torch=lambda x, dimension, size, step: x.unfold(dimension, size, step),
    ),
    OpRecord(
        "windows_adjoint",
        samples=lambda: [
            Sample(floats((2, 3, 2)), (2, 4), 1, 2, 1),
            Sample(floats((2, 2, 2)), (6, 2), 0, 2, 3),
            Sample(floats((2, 3, 3)), (2, 5), -1, 3, 1),
            Sample(floats((1,)), (), 0, 1, 1),
        ],
        reference=_from_windows,
        torch=_torch_from_windows,
    ),
    OpRecord(
        "as_strided",
        samples=lambda: [
            Sample(floats((2, 3)), (2, 2), (1, 2), 1, PLAIN),
            Sample(floats((6,)), (3, 3), (1, 1), 0, (1,)),
            Sample(floats((6,)), (2,), (0,), 3, (1,)),
            Sample(floats((2, 3)), (4,), (1,), 2, TURNED_MEMORY),
        ],
        reference=_strided,
        torch=_torch_strided,
    ),
    OpRecord(
        "as_strided_adjoint",
        samples=lambda: [
            Sample(floats((2, 2)), (2, 2), (1, 1), 1, (2, 3), PLAIN),
            Sample(floats((4,)), (4,), (1,), 2, (2, 3), TURNED_MEMORY),
        ],
        reference=_from_strided,
    ),
]
