"""Products of matrices and tensors, factorisations, norms and distances."""

import numpy as np

from chainrule.testing import OpRecord, Sample, Tie
from chainrule.testing.samples import empty, floats, integers, scalar, spd, well_conditioned

WIDE, TALL = floats((2, 3)), floats((3, 2))
REGULAR = [Sample(well_conditioned(3)), Sample(well_conditioned(2, (2,)))]


def _products(*shapes):
    return [Sample(floats(a, seed=1), floats(b, seed=2)) for a, b in shapes]


def _contract(*operands, subscripts, output):
    """The sum as einsum writes it, with one letter per label."""
    letters = {label: chr(97 + i) for i, label in enumerate(dict.fromkeys(v for s in subscripts for v in s))}
    text = ",".join("".join(letters[v] for v in s) for s in subscripts) + "->" + "".join(letters[v] for v in output)
    return np.einsum(text, *operands)


def _torch_contract(*operands, subscripts, output):
    import torch

    letters = {label: chr(97 + i) for i, label in enumerate(dict.fromkeys(v for s in subscripts for v in s))}
    text = ",".join("".join(letters[v] for v in s) for s in subscripts) + "->" + "".join(letters[v] for v in output)
    kind = torch.result_type(operands[0], operands[-1])
    return torch.einsum(text, *[x.to(kind) for x in operands])


def _symmetric(name):
    """PyTorch's function of the symmetric part: it reads one triangle of what it is given."""

    def call(x, **kwargs):
        import torch

        out = getattr(torch.linalg, name)((x + x.mT) / 2, **kwargs)
        return tuple(out) if isinstance(out, tuple) else out

    return call


def _triangle(a, upper, unitriangular):
    keep = int(unitriangular)
    triangle = np.triu(a, keep) if upper else np.tril(a, -keep)
    return triangle + np.eye(a.shape[-1]) if unitriangular else triangle


def _cofactor(a):
    """Signed minors, one by one."""
    n = a.shape[-1]
    out = np.ones(a.shape)
    for at in np.ndindex(*a.shape):
        *stack, i, j = at
        minor = np.delete(np.delete(a[tuple(stack)], i, 0), j, 1)
        out[at] = (-1) ** (i + j) * (np.linalg.det(minor) if n > 1 else 1)
    return out


def _torch_cofactor(a):
    import torch

    return torch.linalg.det(a)[..., None, None] * torch.linalg.inv(a).mT


def _gaps(x):
    gap = x[..., None, :] - x[..., :, None]
    return np.where(gap == 0, 0, 1 / np.where(gap == 0, 1, gap))


def _exp(a):
    """The series, after scaling."""
    a = np.asarray(a) / 2**10
    out = term = np.broadcast_to(np.eye(a.shape[-1]), a.shape)
    for k in range(1, 12):
        term = term @ a / k
        out = out + term
    for _ in range(10):
        out = out @ out
    return out


def _norm(x, ord=2, dim=None, keepdim=False):
    size = np.abs(x)
    over = {"axis": dim if dim is None or isinstance(dim, int) else tuple(dim), "keepdims": keepdim}
    if ord in (np.inf, -np.inf):
        return (np.max if ord > 0 else np.min)(size, **over)
    return np.sum(size != 0, **over).astype(float) if ord == 0 else np.sum(size**ord, **over) ** (1 / ord)


def _torch_norm(x, ord=2, dim=None, keepdim=False):
    import torch

    return torch.linalg.vector_norm(x, ord, dim, keepdim)


def _cdist(a, b, p=2.0, compute_mode=None):
    return _norm(a[..., :, None, :] - b[..., None, :, :], p, -1)


def _pdist(x, p=2.0):
    pairs = [_norm(x[i] - x[j], p) for i in range(len(x)) for j in range(i + 1, len(x))]
    return np.array(pairs, x.dtype).reshape(-1)


def _torch_pdist(x, p=2.0):
    import torch

    first, second = torch.triu_indices(len(x), len(x), 1)
    return torch.linalg.vector_norm(x[first] - x[second], p, -1)


def _torch_cdist(a, b, p=2.0, compute_mode=None):
    import torch

    return torch.linalg.vector_norm(a[..., :, None, :] - b[..., None, :, :], p, -1)


NORMS = (2.0, 1.0, 3.0, 0.5, 1.5, -1.0, 0.0, float("inf"), -float("inf"))
AWAY = {"avoid": (0,), "gap": 0.2}

RECORDS = [
    OpRecord(
        "matmul",
        samples=lambda: [
            *_products(
                ((2, 3), (3, 2)),
                ((3,), (3,)),
                ((2, 3), (3,)),
                ((3,), (3, 2)),
                ((2, 2, 3), (3, 2)),
                ((2, 2, 3), (3,)),
                ((3,), (2, 3, 2)),
                ((2, 3), (2, 3, 2)),
                ((2, 1, 2, 2), (3, 2, 1)),
                ((2, 0), (0, 2)),
                ((0, 3), (3, 2)),
                ((2, 0, 3), (3, 2)),
                ((2, 2, 0), (0, 2)),
            ),
            Sample(floats((2, 3)), integers((3, 2))),
            Sample(integers((2, 3)), integers((3, 2))),
        ],
        reference=np.matmul,
        torch=lambda a, b: __import__("torch").matmul(*[x.to(__import__("torch").result_type(a, b)) for x in (a, b)]),
        close="a product over a whole stack adds up in another order than one per matrix",
    ),
    OpRecord(
        "contract",
        samples=lambda: [
            Sample(WIDE, TALL, subscripts=((0, 1), (1, 2)), output=(0, 2)),
            Sample(WIDE, floats((3, 4), seed=1), subscripts=((0, 1), (1, 2)), output=(2, 0)),
            Sample(WIDE, subscripts=((0, 1),), output=(1, 0)),
            Sample(WIDE, subscripts=((0, 1),), output=()),
            Sample(WIDE, floats((2, 3), seed=1), subscripts=((0, 1), (0, 1)), output=(0, 1)),
            Sample(WIDE, floats((2, 3), seed=1), subscripts=((0, 1), (0, 1)), output=(0,)),
            Sample(floats((2,)), floats((3,), seed=1), subscripts=((0,), (1,)), output=(0, 1)),
            Sample(floats((2, 2, 3)), floats((2, 3, 2), seed=1), subscripts=((0, 1, 2), (0, 2, 3)), output=(0, 1, 3)),
            Sample(WIDE, floats((4,), seed=1), subscripts=((0, 1), (2,)), output=(2,)),
            Sample(
                WIDE,
                floats((3, 2), seed=1),
                floats((2, 2), seed=2),
                subscripts=(("a", "b"), ("b", "c"), ("c", "d")),
                output=("a", "d"),
            ),
            Sample(scalar(), WIDE, subscripts=((), (0, 1)), output=(1, 0)),
            Sample(empty((2, 0)), empty((0, 3)), subscripts=((0, 1), (1, 2)), output=(0, 2)),
            Sample(WIDE, integers((3, 2)), subscripts=((0, 1), (1, 2)), output=(0, 2)),
        ],
        reference=_contract,
        torch=_torch_contract,
    ),
    OpRecord(
        "cross",
        samples=lambda: [*_products(((2, 3), (2, 3)), ((1, 3), (2, 3))), Sample(TALL, floats((3, 2), seed=1), dim=0)],
        reference=lambda a, b, dim=-1: np.cross(a, b, axis=dim),
        torch=lambda a, b, dim=-1: __import__("torch").linalg.cross(a, b, dim=dim),
    ),
    # -- inverses and systems
    OpRecord("inv", samples=lambda: [*REGULAR, Sample(empty((0, 0)))], reference=np.linalg.inv, torch="linalg.inv"),
    OpRecord(
        "solve",
        samples=lambda: [
            Sample(well_conditioned(3), TALL),
            Sample(well_conditioned(2, (2,)), floats((2, 1))),
            Sample(well_conditioned(2), floats((2, 2, 3))),
        ],
        reference=np.linalg.solve,
        torch="linalg.solve",
    ),
    OpRecord(
        "solve_triangular",
        samples=lambda: (
            [
                Sample(well_conditioned(3) + 2 * np.eye(3), TALL, upper, one)
                for upper in (True, False)
                for one in (True, False)
            ]
            + [Sample(well_conditioned(2, (2,)) + 2 * np.eye(2), floats((2, 1)), upper=True)]
        ),
        reference=lambda a, b, upper, unitriangular=False: np.linalg.solve(_triangle(a, upper, unitriangular), b),
        torch=lambda a, b, upper, unitriangular=False: __import__("torch").linalg.solve_triangular(
            a, b, upper=upper, unitriangular=unitriangular
        ),
    ),
    OpRecord(
        "pinv",
        samples=lambda: [*REGULAR, Sample(WIDE), Sample(TALL, 1e-3), Sample(empty((0, 3)))],
        reference=lambda a, rtol=None: np.linalg.pinv(a),
        torch=lambda a, rtol=None: __import__("torch").linalg.pinv(a),
    ),
    # -- determinants
    OpRecord(
        "det",
        samples=lambda: [*REGULAR, Sample(floats((1, 1)))],
        reference=np.linalg.det,
        torch="linalg.det",
        ties=[Tie(np.array([[1.0, 2.0], [2.0, 4.0]]), grads=[[[4.0, -2.0], [-2.0, 1.0]]])],
    ),
    OpRecord(
        "cofactor",
        samples=lambda: [*REGULAR, Sample(floats((1, 1)))],
        reference=_cofactor,
        torch=_torch_cofactor,
    ),
    OpRecord(
        "slogdet",
        samples=lambda: REGULAR,
        reference=lambda a: tuple(np.linalg.slogdet(a)),
        torch=lambda a: tuple(__import__("torch").linalg.slogdet(a)),
    ),
    OpRecord(
        "logdet",
        samples=lambda: [Sample(spd(3)), Sample(spd(2, (2,)))],
        reference=lambda a: np.log(np.linalg.det(a)),
        torch="logdet",
    ),
    # -- factorisations
    OpRecord(
        "cholesky",
        samples=lambda: [Sample(spd(3)), Sample(spd(2, (2,)), upper=True), Sample(floats((1, 1), 1, 2))],
        reference=lambda a, upper=False: np.swapaxes(np.linalg.cholesky(a), -1, -2) if upper else np.linalg.cholesky(a),
        torch=_symmetric("cholesky"),
    ),
    OpRecord(
        "qr",
        samples=lambda: [
            Sample(well_conditioned(3)),
            Sample(TALL),
            Sample(WIDE),
            Sample(floats((2, 3, 2))),
            Sample(WIDE, mode="complete"),
        ],
        reference=lambda a, mode="reduced": tuple(np.linalg.qr(a, mode)),
        torch=lambda a, mode="reduced": tuple(__import__("torch").linalg.qr(a, mode)),
        observe=lambda q, r: (q * q, r * r),
    ),
    OpRecord(
        "gap_inverse",
        samples=lambda: [Sample(floats((3,))), Sample(floats((2, 3))), Sample(empty((0,)))],
        reference=_gaps,
        ties=[Tie(np.array([1.0, 1.0, 2.0]), grads=[[0.0, 0.0, 0.0]])],
    ),
    OpRecord(
        "determined",
        samples=lambda: [
            Sample(WIDE, floats((3,)), "eigh"),
            Sample(floats((2, 1, 3)), floats((2, 3)), "svd"),
            Sample(WIDE, floats((3,), 1, 2), "svd", zeros=True),
            Sample(empty((2, 0)), empty((0,)), "eigh"),
        ],
        reference=lambda x, values, what, zeros=False: x,
    ),
    OpRecord(
        "eigh",
        samples=lambda: [Sample(spd(3)), Sample(spd(2, (2,)))],
        reference=lambda a: tuple(np.linalg.eigh(a)),
        torch=_symmetric("eigh"),
        observe=lambda w, v: (w, v * v),
        float32_tolerance=1e-3,
    ),
    OpRecord(
        "svd",
        samples=lambda: [
            Sample(well_conditioned(3)),
            Sample(WIDE, full_matrices=False),
            Sample(TALL, False),
            Sample(well_conditioned(2, (2,))),
        ],
        reference=lambda a, full_matrices=True: tuple(np.linalg.svd(a, full_matrices)),
        torch=lambda a, full_matrices=True: tuple(__import__("torch").linalg.svd(a, full_matrices)),
        observe=lambda u, s, vh: (u * u, s, vh * vh),
        float32_tolerance=1e-3,
    ),
    OpRecord(
        "matrix_exp",
        samples=lambda: [*REGULAR, Sample(floats((2, 2), -6, 6)), Sample(np.zeros((2, 2))), Sample(empty((0, 0)))],
        reference=_exp,
        torch="linalg.matrix_exp",
    ),
    # -- norms and distances
    OpRecord(
        "vector_norm",
        samples=lambda: (
            [Sample(floats((2, 3), **AWAY), ord=p) for p in NORMS]
            + [
                Sample(floats((2, 3, 2), **AWAY), 2, 1),
                Sample(floats((2, 3, 2), **AWAY), 3, dim=(0, -1), keepdim=True),
                Sample(floats((2, 3), **AWAY), float("inf"), -1, True),
                Sample(floats((2, 3), **AWAY), 0.0, 1),
                Sample(scalar()),
                Sample(empty(), 1.0),
            ]
        ),
        large=lambda: [Sample(floats((60, 80), **AWAY)), Sample(floats((60, 80), **AWAY).T)],
        reference=_norm,
        torch=_torch_norm,
        ties=[
            Tie(np.zeros(3), grads=[np.zeros(3)]),
            Tie(np.zeros(3), ord=1, grads=[np.zeros(3)]),
            Tie(np.zeros(3), ord=3, grads=[np.zeros(3)]),
            Tie(np.zeros(3), ord=float("inf"), grads=[np.zeros(3)]),
            Tie(np.array([2.0, -2.0, 1.0]), ord=float("inf"), grads=[[0.5, -0.5, 0.0]]),
            Tie(np.array([2.0, -1.0, 1.0]), ord=-float("inf"), grads=[[0.0, -0.5, 0.5]]),
            Tie(np.array([0.0, 2.0]), ord=1.5, grads=[[0.0, 1.0]]),
        ],
    ),
    OpRecord(
        "cdist",
        samples=lambda: (
            [Sample(floats((3, 2), seed=1), floats((2, 2), 3, 5, seed=2), p=p) for p in (2.0, 1.0, 3.0, float("inf"))]
            + [Sample(floats((2, 2, 1), seed=1), floats((3, 1), 3, 5, seed=2)), Sample(empty((0, 2)), TALL)]
        ),
        reference=_cdist,
        torch=_torch_cdist,
        large=lambda: [
            Sample(floats((40, 7), seed=1), floats((30, 7), 3, 5, seed=2)),
            Sample(floats((2, 3, 21, 2), seed=1), floats((2, 3, 25, 2), 3, 5, seed=2)),
            Sample(floats((3, 9), seed=1), floats((30000, 9), 3, 5, seed=2)),
        ],
        ties=[
            Tie(np.ones((1, 2)), np.ones((1, 2)), p=p, grads=[np.zeros((1, 2)), np.zeros((1, 2))])
            for p in (1.0, 2.0, 3.0, float("inf"))
        ],
    ),
    OpRecord(
        "pdist",
        samples=lambda: [Sample(floats((3, 2)), p=p) for p in (2.0, 1.0, 3.0)] + [Sample(floats((1, 2)))],
        reference=_pdist,
        torch=_torch_pdist,
        ties=[Tie(np.ones((2, 2)), grads=[np.zeros((2, 2))])],
    ),
]
