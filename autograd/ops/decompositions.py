"""Matrix factorisations and what is solved by them: inverses, systems, determinants, eigen- and singular values.

All take stacks of matrices. Cholesky, eigh and their kin use the symmetric part (A + Aᵀ)/2 of their input, so the
gradient is symmetric, as PyTorch's is; a matrix that is clearly not symmetric is an error, where PyTorch reads one
triangle.

Degenerate cases: a singular matrix raises `LinAlgError`; `det` has its first derivative there all the same. Where
eigenvalues (or singular values) are equal up to rounding, their vectors are not determined. A gradient that reaches
these vectors raises `LinAlgError`: the same one arrives from V h(λ) Vᵀ, which has a gradient with terms h'(λ) between
the vectors, from the projector on their space, where these terms are 0, and from functions that have none (see
`determined`). The same for a gradient of these values beside one of any vectors. What remains is finite: functions of
the values alone (the nuclear norm, a sum of powers; of one among equal values it is one of its one-sided slopes), and
of the other vectors. An exact zero counts as no gradient: the product of a factor that is 0 at the tie and of the
vectors, such as (V diag(λ) Vᵀ)[0, 1] at λ = 0, is taken for flat, as relu(x) - relu(-x) is at 0. Second derivatives of
functions of equal values depend on their vectors, and raise. Singular vectors of m by n matrices, m ≠ n, are
undetermined on the longer side for σ = 0 too, as are the columns beyond min(m, n).

Sources of the rules: M. Giles, "An extended collection of matrix derivative results for forward and reverse mode
algorithmic differentiation" (2008); I. Murray, "Differentiation of the Cholesky decomposition" (2016); J. Townsend,
"Differentiating the singular value decomposition" (2016); S. Walter and L. Lehmann, "Algorithmic differentiation of
linear algebra functions" (2018); G. Golub and V. Pereyra (1973) for the pseudo-inverse; N. Higham, "The scaling and
squaring method for the matrix exponential revisited" (2005).
"""

from __future__ import annotations

import contextlib

from ...backends import np
from ...backends.base import NoElements
from ..composite import composite
from ..errors import OpError
from ..op import op
from ..public import expose

__all__ = [
    "LinAlgError",
    "cholesky",
    "cofactor",
    "det",
    "determined",
    "eigh",
    "gap_inverse",
    "inv",
    "matrix_exp",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
]


class LinAlgError(RuntimeError):
    """A matrix on which the operation is not possible: singular, not positive definite."""


def _matrices(name, a, square=True):
    """Raise unless `a` is a stack of (square) matrices of floats."""
    if a.dtype.kind in "iub":
        raise OpError(f"linalg.{name}: Expected a floating point tensor as input, got {a.dtype}; use .float()")
    if a.ndim < 2:
        raise OpError(f"linalg.{name}: The input tensor A must have at least 2 dimensions, got {a.ndim}")
    if square and a.shape[-1] != a.shape[-2]:
        raise OpError(
            f"linalg.{name}: A must be batches of square matrices, but they are {a.shape[-2]} by {a.shape[-1]}"
        )


def _try(name, remedy, f, *args, **kwargs):
    try:
        return f(*args, **kwargs)
    except np.linalg.LinAlgError:
        raise LinAlgError(f"linalg.{name}: {remedy}") from None


_SINGULAR = "the input matrix is singular"


def _symmetric(xp, a, name):
    """The symmetric (Hermitian) part of `a`, which must be so up to rounding and small perturbations."""
    whole = a.dtype.kind == "c"
    turned = a.swapaxes(-1, -2).conj() if whole else a.swapaxes(-1, -2)
    with contextlib.suppress(NoElements):
        if a.size and xp.abs(a - turned).max().item() > 0.01 * xp.abs(a).max().item():
            kind = "Hermitian" if whole else "symmetric"
            raise OpError(f"linalg.{name}: the matrix is not {kind}; if one triangle is meant, mirror it first")
    return (a + turned) / 2


def _mT(F, x):
    return F.transpose(x, -2, -1)


def _sym(F, x):
    return (x + _mT(F, x)) / 2


def _half_lower(F, x):
    """The lower triangle, with half of the diagonal."""
    return (F.tril(x) + F.tril(x, -1)) / 2


# -- inverses and systems ---------------------------------------------------------------------------------------------


@op
def inv(xp, input):
    """A⁻¹ of square matrices, A A⁻¹ = I: (..., n, n) → (..., n, n); LinAlgError for a singular one."""
    _matrices("inv", input)
    return _try("inv", _SINGULAR, xp.linalg.inv, input)


@inv.grad("input")
def _(F, g, out):
    turned = _mT(F, out)
    return -F.matmul(F.matmul(turned, g), turned)


@op(broadcast=True, types="same")
def solve(xp, input, other):
    """X with input·X = other: (..., n, n) and (..., n, k); LinAlgError for a singular matrix."""
    _matrices("solve", input)
    if other.ndim < 2 or other.shape[-2] != input.shape[-1]:
        raise OpError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B: {input.shape} and {other.shape}"
        )
    return _try("solve", _SINGULAR, xp.linalg.solve, input, other)


@solve.grad("input", "other")
def _(F, g, input, out):
    back = F.solve(_mT(F, input), g)
    return -F.matmul(back, _mT(F, out)), back


@op(broadcast=True, types="same")
def solve_triangular(xp, input, other, /, upper, unitriangular=False):
    """X with T·X = other, T the upper or lower triangle of `input`; its diagonal counts as ones if unitriangular."""
    _matrices("solve_triangular", input)
    if other.ndim < 2 or other.shape[-2] != input.shape[-1]:
        raise OpError(
            "linalg.solve_triangular: Incompatible shapes of A and B for the equation AX = B: "
            f"{input.shape} and {other.shape}"
        )
    keep = int(unitriangular)
    triangle = xp.triu(input, keep) if upper else xp.tril(input, -keep)
    if unitriangular:
        triangle = triangle + xp.eye(input.shape[-1], dtype=input.dtype)
    return _try("solve_triangular", _SINGULAR, xp.linalg.solve, triangle, other)


@solve_triangular.grad("input", "other")
def _(F, g, input, out, upper, unitriangular):
    back = F.solve_triangular(_mT(F, input), g, not upper, unitriangular)
    full = -F.matmul(back, _mT(F, out))
    keep = int(unitriangular)
    return (F.triu(full, keep) if upper else F.tril(full, -keep)), back


@op
def pinv(xp, input, /, rtol=None, atol=0.0):
    """The Moore-Penrose inverse. Singular values up to max(atol, rtol·largest) count as zero; rtol is by default
    eps·max(m, n). The gradient is that at constant rank.
    """
    _matrices("pinv", input, square=False)
    if not input.size:
        return xp.zeros((*input.shape[:-2], input.shape[-1], input.shape[-2]), input.dtype)
    u, s, vh = xp.linalg.svd(input, full_matrices=False)
    if rtol is None:
        rtol = 0.0 if atol else float(np.finfo(input.dtype).eps) * max(input.shape[-2:])
    small = s <= xp.maximum(rtol * s[..., :1], atol)
    inverse = xp.where(small, 0, 1 / xp.where(small, 1, s))
    return xp.matmul(vh.swapaxes(-1, -2) * inverse[..., None, :], u.swapaxes(-1, -2))


@pinv.grad("input")
def _(F, g, input, out):
    turned, gt = _mT(F, out), _mT(F, g)
    outer, inner = F.matmul(gt, F.matmul(out, turned)), F.matmul(F.matmul(turned, out), gt)
    left = outer - F.matmul(input, F.matmul(out, outer))
    right = inner - F.matmul(F.matmul(inner, out), input)
    return left + right - F.matmul(F.matmul(turned, g), turned)


# -- determinants -----------------------------------------------------------------------------------------------------


@op
def det(xp, input):
    """The determinant: (..., n, n) → (...). ∂det A/∂A = det A · A⁻ᵀ, the cofactors, exists at singular matrices too."""
    _matrices("det", input)
    return xp.linalg.det(input)


@det.grad("input")
def _(F, g, input):
    return F.unsqueeze(F.unsqueeze(g, -1), -1) * F.cofactor(input)


@op
def cofactor(xp, input):
    """The matrix of cofactors, det(A)·A⁻ᵀ; of a singular matrix, by its singular values. A rule for regular ones."""
    _matrices("cofactor", input)
    if not input.size:
        return xp.zeros(input.shape, input.dtype)
    try:
        inverse = xp.linalg.inv(input)
        size = xp.abs(input).sum(axis=-1).max(axis=-1) * xp.abs(inverse).sum(axis=-1).max(axis=-1)
        if size.max().item() * float(np.finfo(input.dtype).eps) < 1e-4:
            return xp.linalg.det(input)[..., None, None] * inverse.swapaxes(-1, -2)
    except np.linalg.LinAlgError:
        pass
    u, s, vh = xp.linalg.svd(input)
    n = s.shape[-1]
    without = xp.where(xp.eye(n, dtype=bool), 1, xp.broadcast_to(s[..., None, :], (*s.shape, n)))
    sign = xp.linalg.det(u) * xp.linalg.det(vh)
    return xp.matmul(u * (sign[..., None] * without.prod(axis=-1))[..., None, :], vh)


@cofactor.grad("input")
def _(F, g, input):
    turned = _mT(F, F.inv(input))
    scale = F.sum(g * turned, dim=(-2, -1), keepdim=True)
    d = F.unsqueeze(F.unsqueeze(F.det(input), -1), -1)
    return d * (scale * turned - F.matmul(F.matmul(turned, _mT(F, g)), turned))


@op(outputs=2)
def slogdet(xp, input):
    """The sign of the determinant, and the logarithm of its absolute value."""
    _matrices("slogdet", input)
    return tuple(xp.linalg.slogdet(input))


@slogdet.grad("input")
def _(F, g, input):
    return F.unsqueeze(F.unsqueeze(g[1], -1), -1) * _mT(F, F.inv(input))


@composite
def logdet(F, input):
    """The logarithm of the determinant; NaN where it is negative."""
    sign, value = F.slogdet(input)
    return F.where(sign < 0, float("nan"), value)


# -- factorisations ---------------------------------------------------------------------------------------------------


@op
def cholesky(xp, input, /, upper=False):
    """L with L·Lᵀ = input, lower triangular (or Lᵀ, if upper); LinAlgError unless it is positive definite."""
    _matrices("cholesky", input)
    given = _symmetric(xp, input, "cholesky")
    lower = _try("cholesky", "the input is not positive-definite", xp.linalg.cholesky, given)
    return xp.ascontiguousarray(lower.swapaxes(-1, -2)) if upper else lower


@cholesky.grad("input")
def _(F, g, out, upper):
    return cholesky_gradient(F, g, out, upper, _mT)


def cholesky_gradient(F, g, out, upper, turn):
    """The rule of `cholesky`; `turn` transposes, and conjugates complex numbers."""
    lower, g = (turn(F, out), turn(F, g)) if upper else (out, g)
    turned = turn(F, lower)
    half = F.solve_triangular(turned, _half_lower(F, F.matmul(turned, g)), True)
    found = F.solve_triangular(turned, turn(F, half), True)
    return (found + turn(F, found)) / 2


@op(outputs=2)
def qr(xp, input, /, mode="reduced"):
    """Q with orthonormal columns and R upper triangular, Q·R = input. mode: "reduced" or "complete"."""
    _matrices("qr", input, square=False)
    return tuple(xp.linalg.qr(input, mode=mode))


@qr.grad("input")
def _(F, g, out, shape, mode):
    return qr_gradient(F, g, out, shape, mode, _mT)


def qr_gradient(F, g, out, shape, mode, turn):
    """The rule of `qr`; `turn` transposes, and conjugates complex numbers."""
    (gq, gr), (q, r) = g, out
    m, n = shape[-2:]
    if m >= n:
        if mode == "complete" and m > n:
            raise OpError(
                "the derivative of linalg.qr is not implemented for mode='complete' and more rows than columns"
            )
        return _square_qr_gradient(F, q, r, gq, gr, turn)
    left, right = (..., slice(0, m)), (..., slice(m, n))
    gy = F.slicing(gr, right)
    gq = gq + F.matmul(F.matmul(q, F.slicing(r, right)), turn(F, gy))
    first = _square_qr_gradient(F, q, F.slicing(r, left), gq, F.slicing(gr, left), turn)
    return F.concat(first, F.matmul(q, gy), dim=-1)


def _square_qr_gradient(F, q, r, gq, gr, turn):
    """Where R is square."""
    inside = _half_lower(F, F.matmul(r, turn(F, gr)) - F.matmul(turn(F, gq), q))
    inside = inside + turn(F, inside)
    return turn(F, F.solve_triangular(r, turn(F, gq + F.matmul(q, inside)), True))


def _rounding(xp, values):
    """Up to where differences of eigen- or singular values count as none: 8·n·eps·max|λ|, as (..., 1)."""
    return 8 * values.shape[-1] * float(np.finfo(values.dtype).eps) * xp.abs(values).max(axis=-1)[..., None]


@op
def gap_inverse(xp, input):
    """1/(λⱼ - λᵢ) as a matrix of i and j, 0 where the two are equal up to 8·n·eps·max|λ|."""
    gap = input[..., None, :] - input[..., :, None]
    if not gap.size:
        return gap
    equal = xp.abs(gap) <= _rounding(xp, input)[..., None]
    return xp.where(equal, 0, 1 / xp.where(equal, 1, gap))


@gap_inverse.grad("input")
def _(F, g, out):
    moved = g * out * out
    return F.sum(moved, dim=-1) - F.sum(moved, dim=-2)


@op
def determined(xp, input, values, /, what, zeros=False):
    """`input` as it is: gradients (..., m, n) in columns that belong to `values` (..., n), columns beyond to none.

    LinAlgError where such a column is not 0 and its value equals another one (or 0, if `zeros`) up to 8·n·eps·max|λ|,
    or there is no value. In the derivative the same holds for what comes back. `what`: "eigh" or "svd".
    """
    k = values.shape[-1]
    if (input[..., k:] != 0).any().item():
        raise LinAlgError(
            f"linalg.{what}: a gradient arrived for vectors beyond the first {k}, which are not determined; use "
            "full_matrices=False"
        )
    if not input.size or not values.size:
        return xp.array(input, copy=True)
    close = _rounding(xp, values)
    loose = (xp.abs(values[..., None, :] - values[..., :, None]) <= close[..., None]).sum(axis=-1) > 1
    if zeros:
        loose = loose | (values <= close)
    wrong = (input[..., :k] != 0) & loose[..., None, :]
    if wrong.any().item():
        stack, column = divmod(int(wrong.any(axis=-2).reshape(-1).argmax().item()), k)
        value = values.reshape(-1, k)[stack, column].item()
        kind, alone = ("eigenvalue", "eigvalsh") if what == "eigh" else ("singular value", "svdvals")
        other = "another one, or for a matrix that is not square to 0," if what == "svd" else "another one"
        raise LinAlgError(
            f"linalg.{what}: a gradient arrived for the vectors of {kind} {column} ({value:.6g}), or for it beside one "
            f"for vectors, but it is equal to {other} up to rounding, so its vectors are not determined, and only the "
            f"gradient of the values alone is. Take values from linalg.{alone}, write a function of the matrix as "
            "matrix_exp, matrix_power, inv or solve, or perturb the matrix so that its values differ"
        )
    return xp.array(input, copy=True)


@determined.grad("input")
def _(F, g, values, what, zeros):
    return F.determined(g, values, what, zeros)


def _determined_values(F, g, values, what, zeros=False):
    """The same for gradients of the values themselves, which stand beside gradients of vectors."""
    return F.squeeze(F.determined(F.unsqueeze(g, -2), values, what, zeros), -2)


@op(outputs=2)
def eigh(xp, input):
    """Eigenvalues, rising, and orthonormal eigenvectors (columns) of symmetric matrices.

    LinAlgError for a gradient of the vectors of equal eigenvalues (see the head of this file).
    """
    _matrices("eigh", input)
    return tuple(_try("eigh", "the algorithm failed to converge", xp.linalg.eigh, _symmetric(xp, input, "eigh")))


@eigh.grad("input")
def _(F, g, out):
    (values, vectors), (g_values, g_vectors) = out, g
    turned = _mT(F, vectors)
    if 1 in g.given and 0 in g.given:
        g_values = _determined_values(F, g_values, values, "eigh")
    inside = F.diagonal_adjoint(g_values, tuple(vectors.shape), 0, -2, -1)
    if 1 in g.given:
        g_vectors = F.determined(g_vectors, values, "eigh")
        inside = inside + F.matmul(turned, g_vectors) * F.gap_inverse(values)
    return _sym(F, F.matmul(F.matmul(vectors, inside), turned))


@op(outputs=3)
def svd(xp, input, /, full_matrices=True):
    """U, the singular values (falling), and Vᵀ.

    LinAlgError for a gradient of the vectors of equal singular values, or of columns of U and V beyond min(m, n) (see
    the head of this file).
    """
    _matrices("svd", input, square=False)
    return tuple(_try("svd", "the algorithm failed to converge", xp.linalg.svd, input, full_matrices=full_matrices))


@svd.grad("input")
def _(F, g, out, shape):
    (u, s, vh), (gu, gs, gvh) = out, g
    m, n = shape[-2:]
    k = min(m, n)
    v, gv, columns = _mT(F, vh), _mT(F, gvh), (..., slice(0, k))
    for_u, for_v = 0 in g.given, 2 in g.given
    null_u, null_v = for_u and m > k, for_v and n > k  # σ = 0 leaves these vectors undetermined too
    if 1 in g.given and (for_u or for_v):
        gs = _determined_values(F, gs, s, "svd", null_u or null_v)
    if for_u:
        gu = F.determined(gu, s, "svd", null_u)
    if for_v:
        gv = F.determined(gv, s, "svd", null_v)
    if u.shape[-1] > k:
        u, gu = F.slicing(u, columns), F.slicing(gu, columns)
    if v.shape[-1] > k:
        v, gv = F.slicing(v, columns), F.slicing(gv, columns)
    vh, inside = _mT(F, v), F.diagonal_adjoint(gs, (*shape[:-2], k, k), 0, -2, -1)
    if not (for_u or for_v):
        return F.matmul(F.matmul(u, inside), vh)
    row, column = F.unsqueeze(s, -2), F.unsqueeze(s, -1)
    both = row + column
    gap = F.gap_inverse(s) / F.where(both == 0, 1, both)  # 1/(sⱼ² - sᵢ²), with small values told apart
    turn_u, turn_v = F.matmul(_mT(F, u), gu), F.matmul(vh, gv)
    inside = inside + gap * (turn_u - _mT(F, turn_u)) * row + column * (gap * (turn_v - _mT(F, turn_v)))
    found = F.matmul(F.matmul(u, inside), vh)
    if not (null_u or null_v):
        return found
    zero = s == 0
    inverse = F.unsqueeze(F.where(zero, 0, 1 / F.where(zero, 1, s)), -2)
    if null_u:  # what turns U out of its column space
        return found + F.matmul((gu - F.matmul(u, turn_u)) * inverse, vh)
    return found + F.matmul(u, _mT(F, (gv - F.matmul(v, turn_v)) * inverse))


# -- functions of matrices --------------------------------------------------------------------------------------------

# Numerators of the [13/13] Padé approximant of exp, and the norm up to which double precision sees no error (Higham).
_PADE = (
    64764752532480000.0,
    32382376266240000.0,
    7771770303897600.0,
    1187353796428800.0,
    129060195264000.0,
    10559470521600.0,
    670442572800.0,
    33522128640.0,
    1323241920.0,
    40840800.0,
    960960.0,
    16380.0,
    182.0,
    1.0,
)
_REACH = 5.371920351148152


@op
def matrix_exp(xp, input):
    """exp A = Σ Aᵏ/k! of square matrices (..., n, n), by scaling, a Padé approximant, and squaring."""
    _matrices("matrix_exp", input)
    if not input.size:
        return xp.array(input, copy=True)
    norm = xp.abs(input).sum(axis=-2).max().item()
    squarings = max(0, int(np.ceil(np.log2(norm / _REACH)))) if np.isfinite(norm) and norm else 0
    a = input / 2**squarings
    b, eye = _PADE, xp.eye(a.shape[-1], dtype=a.dtype)
    a2 = xp.matmul(a, a)
    a4 = xp.matmul(a2, a2)
    a6 = xp.matmul(a4, a2)
    high_u, high_v = b[13] * a6 + b[11] * a4 + b[9] * a2, b[12] * a6 + b[10] * a4 + b[8] * a2
    u = xp.matmul(a, xp.matmul(a6, high_u) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * eye)
    v = xp.matmul(a6, high_v) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * eye
    out = xp.linalg.solve(v - u, v + u)
    for _ in range(squarings):
        out = xp.matmul(out, out)
    return out


@matrix_exp.grad("input")
def _(F, g, input):
    # exp of [[Aᵀ, g], [0, Aᵀ]] holds the derivative of exp at Aᵀ in direction g, which is the gradient
    n, turned = input.shape[-1], _mT(F, input)
    zeros = F.zeros_of(input, tuple(input.shape), input.dtype)
    block = F.concat(F.concat(turned, g, dim=-1), F.concat(zeros, turned, dim=-1), dim=-2)
    return F.slicing(F.matrix_exp(block), (..., slice(0, n), slice(n, 2 * n)))


expose(det, logdet, matrix_exp)
expose(inverse=inv)
