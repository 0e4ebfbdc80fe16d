"""Factorisations of complex matrices: what stands for those of decompositions.py where the numbers are complex.

Their rules have conjugates in places of their own (Aᴴ for Aᵀ here, and not there), so they are ops by themselves, which
`complexes.INSTEAD` names. Degenerate cases are those of decompositions.py. The phases of eigenvectors and singular
vectors (of a pair uᵢ, vᵢ together) are not determined: what is computed of them must not depend on those.

Sources of the rules: as in decompositions.py; of phases: Z.-Q. Wan, S.-X. Zhang, "Automatic differentiation for complex
valued SVD" (2019).
"""

from __future__ import annotations

from ...backends import np
from ..composite import composite
from ..op import op
from .decompositions import LinAlgError, _matrices, _symmetric, _try, cholesky_gradient, qr_gradient

__all__ = [
    "complex_cholesky",
    "complex_eigh",
    "complex_logdet",
    "complex_pinv",
    "complex_qr",
    "complex_slogdet",
    "complex_svd",
    "no_phase",
]


def _mH(F, x):
    return F.conj(F.transpose(x, -2, -1))


def _herm(F, x):
    return (x + _mH(F, x)) / 2


@op(conjugated=False)
def complex_pinv(xp, input, /, rtol=None, atol=0.0):
    """The Moore-Penrose inverse of complex matrices; see `pinv`."""
    _matrices("pinv", input, square=False)
    if not input.size:
        return xp.zeros((*input.shape[:-2], input.shape[-1], input.shape[-2]), input.dtype)
    u, s, vh = xp.linalg.svd(input, full_matrices=False)
    if rtol is None:
        rtol = 0.0 if atol else float(np.finfo(input.dtype).eps) * max(input.shape[-2:])
    small = s <= xp.maximum(rtol * s[..., :1], atol)
    inverse = xp.where(small, 0, 1 / xp.where(small, 1, s))
    return xp.matmul(vh.swapaxes(-1, -2).conj() * inverse[..., None, :], u.swapaxes(-1, -2).conj())


@complex_pinv.grad("input")
def _(F, g, input, out):
    turned, gt = _mH(F, out), _mH(F, g)
    outer, inner = F.matmul(gt, F.matmul(out, turned)), F.matmul(F.matmul(turned, out), gt)
    left = outer - F.matmul(input, F.matmul(out, outer))
    right = inner - F.matmul(F.matmul(inner, out), input)
    return left + right - F.matmul(F.matmul(turned, g), turned)


@op(outputs=2, conjugated=False)
def complex_slogdet(xp, input):
    """det/|det| and log |det| of complex matrices: the first is complex, the second real."""
    _matrices("slogdet", input)
    return tuple(xp.linalg.slogdet(input))


@complex_slogdet.grad("input")
def _(F, g, input, out):
    turn = F.imaginary_part(g[0] * F.conj(out[0]))  # for the angle of the determinant
    weight = F.unsqueeze(F.unsqueeze(F.complex(g[1], turn), -1), -1)
    return weight * _mH(F, F.inv(input))


@composite
def complex_logdet(F, input):
    """The logarithm of the determinant of complex matrices, with an imaginary part from -π to π."""
    sign, value = F.complex_slogdet(input)
    return F.log(sign) + value


@op(conjugated=False)
def complex_cholesky(xp, input, /, upper=False):
    """L with L·Lᴴ = input, lower triangular with a real diagonal (or Lᴴ, if upper)."""
    _matrices("cholesky", input)
    given = _symmetric(xp, input, "cholesky")
    lower = _try("cholesky", "the input is not positive-definite", xp.linalg.cholesky, given)
    return xp.ascontiguousarray(lower.swapaxes(-1, -2).conj()) if upper else lower


@complex_cholesky.grad("input")
def _(F, g, out, upper):
    return cholesky_gradient(F, g, out, upper, _mH)


@op(outputs=2, conjugated=False)
def complex_qr(xp, input, /, mode="reduced"):
    """Q with orthonormal columns and R upper triangular with a real diagonal, Q·R = input; see `qr`."""
    _matrices("qr", input, square=False)
    return tuple(xp.linalg.qr(input, mode=mode))


@complex_qr.grad("input")
def _(F, g, out, shape, mode):
    return qr_gradient(F, g, out, shape, mode, _mH)


@op(conjugated=False)
def no_phase(xp, input, other=None, /, what="eigh"):
    """Zeros for the diagonals of matrices Vᴴ g, whose imaginary parts are the gradients for the phases of vectors V.

    LinAlgError where one of them (with `other` the sum of both, whose vectors turn together) is above a hundredth of
    the largest element and above √eps: rounding does not make it.
    """
    turning = xp.diagonal(input if other is None else input + other, 0, -2, -1).imag
    least = float(np.finfo(input.dtype).eps) ** 0.5  # what sums of rounding errors may be, where all else cancels
    if turning.size and xp.abs(turning).max().item() > 0.01 * xp.abs(input).max().item() + least:
        raise LinAlgError(
            f"linalg.{what}: the gradient depends on the phases of the vectors, which are not determined; write a "
            "function that does not change when a vector is multiplied by a number of size 1, as |v|² or V f(λ) Vᴴ"
        )
    return xp.zeros(turning.shape, turning.dtype)


@op(outputs=2, conjugated=False)
def complex_eigh(xp, input):
    """Eigenvalues, real and rising, and orthonormal eigenvectors (columns) of Hermitian matrices; see `eigh`."""
    _matrices("eigh", input)
    return tuple(_try("eigh", "the algorithm failed to converge", xp.linalg.eigh, _symmetric(xp, input, "eigh")))


@complex_eigh.grad("input")
def _(F, g, out):
    (values, vectors), (g_values, g_vectors) = out, g
    turned = _mH(F, vectors)
    g_vectors = F.determined(g_vectors, values, "eigh")
    turn = F.matmul(turned, g_vectors)
    g_values = g_values + F.no_phase(turn)
    inside = F.diagonal_adjoint(g_values, tuple(vectors.shape), 0, -2, -1) + turn * F.gap_inverse(values)
    return _herm(F, F.matmul(F.matmul(vectors, inside), turned))


@op(outputs=3, conjugated=False)
def complex_svd(xp, input, /, full_matrices=True):
    """U, the singular values (real, falling), and Vᴴ; see `svd`."""
    _matrices("svd", input, square=False)
    return tuple(_try("svd", "the algorithm failed to converge", xp.linalg.svd, input, full_matrices=full_matrices))


@complex_svd.grad("input")
def _(F, g, out, shape):
    (u, s, vh), (gu, gs, gvh) = out, g
    m, n = shape[-2:]
    k = min(m, n)
    v, gv, columns = _mH(F, vh), _mH(F, gvh), (..., slice(0, k))
    gu, gv = F.determined(gu, s, "svd", m > k), F.determined(gv, s, "svd", n > k)
    if u.shape[-1] > k:
        u, gu = F.slicing(u, columns), F.slicing(gu, columns)
    if v.shape[-1] > k:
        v, gv = F.slicing(v, columns), F.slicing(gv, columns)
    vh = _mH(F, v)
    row, column = F.unsqueeze(s, -2), F.unsqueeze(s, -1)
    both = row + column
    gap = F.gap_inverse(s) / F.where(both == 0, 1, both)  # 1/(sⱼ² - sᵢ²), with small values told apart
    turn_u, turn_v = F.matmul(_mH(F, u), gu), F.matmul(vh, gv)
    zero = s == 0
    inverse = F.where(zero, 0, 1 / F.where(zero, 1, s))
    gs = gs + F.no_phase(turn_u, turn_v, "svd")  # of uᵢ and vᵢ together
    turn = F.imaginary_part(F.diagonal(turn_u, 0, -2, -1)) * inverse  # of the one against the other
    inside = F.diagonal_adjoint(F.complex(gs, turn), (*shape[:-2], k, k), 0, -2, -1)
    inside = inside + gap * (turn_u - _mH(F, turn_u)) * row + column * (gap * (turn_v - _mH(F, turn_v)))
    found = F.matmul(F.matmul(u, inside), vh)
    inverse = F.unsqueeze(inverse, -2)
    if m > k:  # what turns U out of its column space
        return found + F.matmul((gu - F.matmul(u, turn_u)) * inverse, vh)
    if n > k:
        return found + F.matmul(u, _mH(F, (gv - F.matmul(v, turn_v)) * inverse))
    return found
