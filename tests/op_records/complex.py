"""Complex numbers: parts, sizes, angles, eigenvalues, Fourier transforms. The other ops' calls: test_complex.py."""

import numpy as np

import chainrule.autograd.ops.complex_decompositions  # noqa: F401  defines ops
from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import floats, scalar


def numbers(shape, seed=0):
    """Complex numbers whose parts are distinct."""
    return np.asarray(floats(shape, seed=seed) + 1j * floats(shape, seed=seed + 50))


ANY = [Sample(numbers((2, 3))), Sample(numbers((3,), 1)[::-1]), Sample(numbers(())), Sample(numbers((0, 3)))]
LINES = [numbers((2, 5)), numbers((2, 4), 1), numbers((3, 2, 2), 2)]


def _pairs(z):
    return np.stack([z.real, z.imag], -1)


def _fourier(x, dims, inverse=False, scale="none"):
    for d in dims:
        n = x.shape[d]
        matrix = np.exp((2j if inverse else -2j) * np.pi * np.outer(np.arange(n), np.arange(n)) / n)
        matrix /= {"none": 1, "all": n, "root": n**0.5}[scale]
        x = np.moveaxis(np.tensordot(matrix, x, (1, d)), 0, d)
    return x


def _of_real(x, dim, scale="none"):
    return np.take(_fourier(x, (dim,), False, scale), range(x.shape[dim] // 2 + 1), dim)


def _to_real(x, dim, n, scale="all"):
    norm = {"none": "forward", "all": "backward", "root": "ortho"}[scale]
    return np.fft.irfft(x, n, dim, norm)


def _norm(z, ord=2, dim=None, keepdim=False):
    size = np.abs(z)
    axis = None if dim is None else dim
    if ord == np.inf:
        return size.max(axis=axis, keepdims=keepdim)
    return (size**ord).sum(axis=axis, keepdims=keepdim) ** (1 / ord)


def _ordered(values, vectors):
    """What does not depend on the order of the eigenvalues, nor on the phases of the vectors."""
    return (values**3).sum(-1), ((vectors.conj() * vectors).real * values.real[..., None, :]).sum(-1)


def _hermitian(n, batch=(), seed=3):
    """Positive definite, with eigenvalues that lie apart."""
    z = numbers((*batch, n, n), seed)
    return z @ _turned(z) + np.diag(np.arange(1.0, 2 * n, 2))


def _turned(z):
    return np.swapaxes(z.conj(), -1, -2)


def _square(z):
    return (z.conj() * z).real


SQUARE, TALL, WIDE = numbers((3, 3), 5) + np.diag([3, 2j, -1]), numbers((3, 2), 6), numbers((2, 3), 7)


def _symmetric(name):
    """PyTorch's function of the Hermitian part: it reads one triangle."""

    def call(a, *args, **kwargs):
        found = getattr(__import__("torch").linalg, name)((a + a.mH) / 2, *args, **kwargs)
        return found if name == "cholesky" else tuple(found)

    return call


def _linalg(name):
    return lambda a, *args, **kwargs: tuple(getattr(__import__("torch").linalg, name)(a, *args, **kwargs))


RECORDS = [
    OpRecord(
        "complex_pinv",
        samples=lambda: [Sample(SQUARE), Sample(TALL), Sample(WIDE, 1e-3), Sample(np.zeros((0, 3), complex))],
        reference=lambda a, rtol=None: np.linalg.pinv(a),
        torch=lambda a, rtol=None: __import__("torch").linalg.pinv(a),
    ),
    OpRecord(
        "complex_slogdet",
        samples=lambda: [Sample(SQUARE), Sample(numbers((2, 2, 2), 4))],
        reference=lambda a: tuple(np.linalg.slogdet(a)),
        torch=_linalg("slogdet"),
    ),
    OpRecord(
        "complex_logdet",
        samples=lambda: [Sample(SQUARE), Sample(numbers((2, 2, 2), 4))],
        reference=lambda a: np.log(np.linalg.det(a)),
        torch="logdet",
    ),
    OpRecord(
        "complex_cholesky",
        samples=lambda: [Sample(_hermitian(3)), Sample(_hermitian(2, (2,)), upper=True)],
        reference=lambda a, upper=False: _turned(np.linalg.cholesky(a)) if upper else np.linalg.cholesky(a),
        torch=_symmetric("cholesky"),
    ),
    OpRecord(
        "complex_qr",
        samples=lambda: [Sample(SQUARE), Sample(TALL), Sample(WIDE), Sample(WIDE, mode="complete")],
        reference=lambda a, mode="reduced": tuple(np.linalg.qr(a, mode)),
        torch=_linalg("qr"),
    ),
    OpRecord(
        "complex_eigh",
        samples=lambda: [Sample(_hermitian(3)), Sample(_hermitian(2, (2,)))],
        reference=lambda a: tuple(np.linalg.eigh(a)),
        torch=_symmetric("eigh"),
        observe=lambda w, v: (w, _square(v), v[..., :, :1] * v[..., :1, :1].conj()),
        float32_tolerance=1e-3,
    ),
    OpRecord(
        "no_phase",
        samples=lambda: [
            Sample(_hermitian(3)),
            Sample(SQUARE, -SQUARE, what="svd"),
            Sample(np.zeros((2, 0, 0), complex), None),
        ],
        reference=lambda x, other=None, what="eigh": np.zeros(x.shape[:-1]),
        order=0,
    ),
    OpRecord(
        "complex_svd",
        samples=lambda: [
            Sample(SQUARE),
            Sample(WIDE, full_matrices=False),
            Sample(TALL, False),
            Sample(numbers((2, 2, 2), 4)),
        ],
        reference=lambda a, full_matrices=True: tuple(np.linalg.svd(a, full_matrices)),
        torch=_linalg("svd"),
        observe=lambda u, s, vh: (_square(u), s, _square(vh), u[..., :, :1] * vh[..., :1, :]),
        float32_tolerance=1e-3,
    ),
    OpRecord("real_part", samples=lambda: ANY, reference=np.real, torch="real"),
    OpRecord("imaginary_part", samples=lambda: ANY, reference=np.imag, torch="imag"),
    OpRecord("conj", samples=lambda: [*ANY, Sample(floats((2, 3)))], reference=np.conj, torch="conj_physical"),
    OpRecord(
        "complex",
        samples=lambda: [
            Sample(floats((2, 3)), floats((2, 3), seed=1)),
            Sample(floats((2, 1)), floats((3,), seed=1)),
            Sample(scalar(), scalar(-0.2)),
        ],
        reference=lambda x, y: x + 1j * y,
        torch="complex",
    ),
    OpRecord("view_as_real", samples=lambda: ANY, reference=_pairs, torch="view_as_real", torch_order=0),
    OpRecord(
        "view_as_complex",
        samples=lambda: [Sample(floats((3, 2))), Sample(floats((2, 3, 2)))],
        reference=lambda x: x[..., 0] + 1j * x[..., 1],
        torch="view_as_complex",
        torch_order=0,  # its gradient refuses an incoming one whose pairs do not lie together
    ),
    OpRecord("complex_abs", samples=lambda: ANY, reference=np.abs, torch="abs"),
    OpRecord("complex_angle", samples=lambda: ANY, reference=np.angle, torch="angle"),
    OpRecord("complex_sign", samples=lambda: ANY, reference=lambda z: z / np.abs(z), torch="sgn"),
    OpRecord(
        "complex_norm",
        samples=lambda: [
            Sample(numbers((2, 3))),
            Sample(numbers((2, 3)), 1, 1),
            Sample(numbers((2, 3)), 3, 0, True),
            Sample(numbers((2, 3)), np.inf),
        ],
        reference=_norm,
        torch="linalg.vector_norm",
    ),
    *[
        OpRecord(
            f"complex_{name}",
            samples=lambda: [
                Sample(numbers((2, 3))),
                Sample(numbers((2, 3)), dim=1, correction=0),
                Sample(numbers((2, 3)), dim=(0, 1), keepdim=True),
            ],
            reference=lambda z, dim=None, correction=1, keepdim=False, f=f: f(
                z, axis=dim, ddof=correction, keepdims=keepdim
            ),
            torch=name,
            torch_order=0,  # of complex numbers PyTorch has no derivative there
        )
        for name, f in (("var", np.var), ("std", np.std))
    ],
    OpRecord(
        "eig",
        samples=lambda: [Sample(floats((3, 3))), Sample(numbers((2, 2, 2)))],
        reference=np.linalg.eig,
        observe=_ordered,
        grad_tolerance=1e-4,
        float32_tolerance=1e-3,
    ),
    OpRecord(
        "fourier",
        samples=lambda: [
            Sample(LINES[0], dims=(1,)),
            Sample(LINES[1], dims=(0, 1), inverse=True, scale="all"),
            Sample(LINES[2], dims=(2, 0), scale="root"),
        ],
        reference=_fourier,
    ),
    OpRecord(
        "fourier_of_real",
        samples=lambda: [
            Sample(floats((2, 5)), dim=1),
            Sample(floats((2, 4)), dim=-1, scale="all"),
            Sample(floats((4, 2)), dim=0, scale="root"),
            Sample(floats((2, 1)), dim=1),
        ],
        reference=_of_real,
    ),
    OpRecord(
        "fourier_to_real",
        samples=lambda: [
            Sample(numbers((2, 3)), dim=1, n=5),
            Sample(numbers((2, 3)), dim=-1, n=4, scale="none"),
            Sample(numbers((3, 2)), dim=0, n=4, scale="root"),
            Sample(numbers((2, 1)), dim=1, n=1),
        ],
        reference=_to_real,
    ),
]
