"""The rarer half of `chainrule.linalg`: LU factors, forms with `info` instead of an error, reflectors, tensor systems.

Rule of the LU factors: S. Walter and L. Lehmann, "Algorithmic differentiation of linear algebra functions" (2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import backends
from . import linalg, return_types
from .autocast import listed
from .errors import OpError
from .op import OPS, op
from .ops.decompositions import LinAlgError
from .ops.rearrange import eye_like
from .outs import takes_out
from .tensor import Tensor, wrap

__all__ = [
    "cholesky_ex",
    "householder_product",
    "inv_ex",
    "lu",
    "lu_factor",
    "lu_factor_ex",
    "lu_solve",
    "lu_unpack",
    "solve_ex",
    "tensorinv",
    "tensorsolve",
]

# -- LU ---------------------------------------------------------------------------------------------------------------


@op(outputs=3)
def lu_parts(xp, input, /, pivot=True):
    """(rows, L, U): the order of rows with input[rows] = L U, L with ones on its diagonal. Partial pivoting.

    Square matrices have a gradient. A singular one gives a zero on the diagonal of U.
    """
    if input.ndim < 2:
        raise OpError(f"linalg.lu: The input tensor A must have at least 2 dimensions, got {input.ndim}")
    m, n = input.shape[-2:]
    k = min(m, n)
    a = xp.array(input.reshape((-1, m, n)) if input.size else xp.zeros((0, m, n), input.dtype), copy=True)
    each = xp.arange(a.shape[0])
    rows = xp.array(xp.broadcast_to(xp.arange(m), (a.shape[0], m)), copy=True)
    for j in range(k):
        if pivot and len(each):
            best = j + xp.argmax(xp.abs(a[:, j:, j]), axis=1)
            for table in (a, rows):
                kept = xp.array(table[:, j], copy=True)
                table[:, j] = table[each, best]
                table[each, best] = kept
        head = a[:, j, j][:, None]
        a[:, j + 1 :, j] /= xp.where(head == 0, 1, head)
        a[:, j + 1 :, j + 1 :] -= a[:, j + 1 :, j, None] * a[:, j, None, j + 1 :]
    lead = input.shape[:-2]
    lower = xp.tril(a[:, :, :k], -1) + xp.eye(m, k, dtype=a.dtype)
    return rows.reshape((*lead, m)), lower.reshape((*lead, m, k)), xp.triu(a[:, :k]).reshape((*lead, k, n))


@lu_parts.grad("input")
def _(F, g, out):
    rows, lower, upper = out
    if lower.shape[-2] != upper.shape[-1]:
        raise OpError("linalg.lu: only square matrices have a gradient")

    def turned(x):
        return F.transpose(x, -2, -1)

    inside = F.tril(F.matmul(turned(lower), g[1]), -1) + F.triu(F.matmul(g[2], turned(upper)))
    left = F.solve_triangular(turned(lower), inside, True, True)
    found = turned(F.solve_triangular(upper, turned(left), True))
    back = F.unsqueeze(F.argsort(rows), -1)
    return F.gather(found, -2, F.expand(back, tuple(found.shape)))


def _permutation(rows: Tensor, like: Tensor) -> Tensor:
    """P with P (L U) = A, from rows with A[rows] = L U."""
    n = rows.shape[-1]
    xp = backends.of(rows.array).xp
    return wrap((xp.arange(n)[:, None] == rows.array[..., None, :]).astype(like.array.dtype), None)


def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """A = P L U: a permutation, a lower triangle with ones on its diagonal, an upper triangle. (P, L, U)

    Without `pivot` P is empty. Square matrices have a gradient.
    """
    rows, lower, upper = lu_parts(A, pivot=pivot)
    return return_types.linalg_lu((_permutation(rows, A) if pivot else A.new_zeros((0,)), lower, upper))


@listed
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """(LU, pivots): both triangles in one matrix, and for step i the row (from 1) that was exchanged with row i."""
    found = lu_factor_ex(A, pivot=pivot)
    return return_types.linalg_lu_factor((found.LU, found.pivots))


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(LU, pivots, info): as `lu_factor`; info: 0, or the place (from 1) of the first zero on the diagonal of U."""
    rows, lower, upper = lu_parts(A, pivot=pivot)
    m, n = A.shape[-2:]
    k = min(m, n)
    if m <= n:
        wide = OPS["concat"](lower, A.new_zeros((*A.shape[:-2], m, n - k)), dim=-1) if n > k else lower
        both = wide.tril(-1) + upper
    else:
        both = lower.tril(-1) + OPS["concat"](upper, A.new_zeros((*A.shape[:-2], m - k, n)), dim=-2)
    info = _first_zero(upper.detach().diagonal(dim1=-2, dim2=-1))
    if check_errors and bool(info.any()):
        raise LinAlgError("linalg.lu_factor: U has a zero on its diagonal")
    return return_types.linalg_lu_factor_ex((both, _exchanges(rows, k), info))


def _first_zero(diagonal: Tensor) -> Tensor:
    zero = diagonal.array == 0
    xp = backends.of(zero).xp
    if not zero.shape[-1]:
        return wrap(xp.zeros(zero.shape[:-1], "int32"), None)
    return wrap(xp.asarray(xp.where(zero.any(axis=-1), zero.argmax(axis=-1) + 1, 0)).astype("int32"), None)


def _exchanges(rows: Tensor, k: int) -> Tensor:
    """The exchanges of rows, one after the other, that lead to the order `rows`."""
    host = backends.of(rows.array).to_host(rows.array).reshape(-1, rows.shape[-1])
    found = []
    for wanted in host.tolist():
        order, steps = list(range(len(wanted))), []
        for i in range(k):
            j = order.index(wanted[i])
            order[i], order[j] = order[j], order[i]
            steps.append(j + 1)
        found.append(steps)
    xp = backends.of(rows.array).xp
    return wrap(xp.asarray(found, dtype="int32").reshape((*rows.shape[:-1], k)), None)


def _order(pivots: Tensor, m: int) -> Tensor:
    """The inverse of `_exchanges`."""
    host = backends.of(pivots.array).to_host(pivots.array).reshape(-1, pivots.shape[-1])
    found = []
    for steps in host.tolist():
        order = list(range(m))
        for i, j in enumerate(steps):
            order[i], order[j - 1] = order[j - 1], order[i]
        found.append(order)
    xp = backends.of(pivots.array).xp
    return wrap(xp.asarray(found, dtype="int64").reshape((*pivots.shape[:-1], m)), None)


@takes_out
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """(P, L, U) of what `lu_factor` returns; what is not asked for is empty.

    unpack_data: L and U are; unpack_pivots: P is.
    """
    m, n = LU_data.shape[-2:]
    k = min(m, n)
    empty = LU_data.new_zeros((0,))
    parts = (empty, empty)
    if unpack_data:
        lower = LU_data[..., :k].tril(-1) + wrap(
            backends.of(LU_data.array).xp.eye(m, k, dtype=LU_data.array.dtype), None
        )
        parts = (lower, LU_data[..., :k, :].triu())
    P = _permutation(_order(LU_pivots, m), LU_data) if unpack_pivots else empty
    return return_types.lu_unpack((P, *parts))


@listed
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with A X = B (X A = B unless `left`; with Aᵀ, if `adjoint`), from `LU, pivots = lu_factor(A)`."""
    if B.ndim < 2:
        raise OpError("linalg.lu_solve: The input tensor B must have at least 2 dimensions")
    if not left:
        return lu_solve(LU, pivots, B.mT, adjoint=not adjoint).mT
    P = _permutation(_order(pivots, LU.shape[-1]), LU)
    if adjoint:
        half = linalg.solve_triangular(LU.mT, B, upper=False)
        return linalg.matmul(P, linalg.solve_triangular(LU.mT, half, upper=True, unitriangular=True))
    half = linalg.solve_triangular(LU, linalg.matmul(P.mT, B), upper=False, unitriangular=True)
    return linalg.solve_triangular(LU, half, upper=True)


# -- with info --------------------------------------------------------------------------------------------------------


def _with_info(name: str, f: Callable[[Tensor], Any], A: Tensor, check_errors: bool) -> tuple[Any, Tensor]:
    """(f(A), info): matrices for which f raises count as identities, and have an info above 0."""
    xp = backends.of(A.array).xp
    lead = tuple(A.shape[:-2])
    info = xp.zeros(math.prod(lead), "int32")
    try:
        return f(A), wrap(info.reshape(lead), None)
    except LinAlgError:
        if check_errors:
            raise
    n = A.shape[-1]
    for i, matrix in enumerate(A.detach().reshape((-1, n, n)).unbind(0)):
        try:
            f(matrix)
        except LinAlgError:
            info[i] = n
    bad = wrap(info.reshape((*lead, 1, 1)) > 0, None)
    return f(OPS["where"](bad, eye_like(A), A)), wrap(info.reshape(lead), None)


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info): `cholesky`, where info is above 0 (and L means nothing) for a matrix that is not positive definite."""
    found = _with_info("cholesky", lambda a: linalg.cholesky(a, upper=upper), A, check_errors)
    return return_types.linalg_cholesky_ex(found)


def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """(inverse, info): `inv`, where info is above 0 (and the inverse without meaning) for a singular matrix."""
    return return_types.linalg_inv_ex(_with_info("inv", linalg.inv, A, check_errors))


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """(result, info): `solve`, where info is above 0 (and the result without meaning) for a singular matrix."""
    _, info = _with_info("inv", linalg.inv, A.detach(), check_errors)
    bad = info.reshape((*info.shape, 1, 1)) > 0
    sound = OPS["where"](bad, eye_like(A), A) if bool(bad.any()) else A
    return return_types.linalg_solve_ex((linalg.solve(sound, B, left=left), info))


# -- reflectors, tensors ----------------------------------------------------------------------------------------------


@listed
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first n columns of H₁ H₂ ... Hₖ, Hᵢ = 1 - τᵢ vᵢ vᵢᴴ; vᵢ: column i of A (m, n) below its diagonal, 1 on it."""
    m, n = A.shape[-2:]
    eye = wrap(backends.of(A.array).xp.eye(m, n, dtype=A.array.dtype), None)
    v = A.tril(-1) + eye
    found = eye.expand((*A.shape[:-2], m, n))
    for i in reversed(range(tau.shape[-1])):
        column = v[..., i : i + 1]
        found = found - tau[..., i, None, None] * column * linalg.matmul(column.mH, found)
    return found


@listed
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A as a map from its last dimensions to its first `ind`, whose sizes have the same product."""
    if ind <= 0:
        raise OpError(f"Expected a strictly positive integer for 'ind', got {ind}")
    first, last = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if math.prod(first) != math.prod(last):
        raise OpError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{math.prod(last)} != {math.prod(first)}"
        )
    n = math.prod(first)
    return linalg.inv(A.reshape((n, n))).reshape((*last, *first))


@listed
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with Σ A·X = B over the last dimensions of A; `dims` of A are moved to its end before."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(len(A.shape) - len(dims), len(A.shape))))
    rest = tuple(A.shape[len(B.shape) :])
    n = math.prod(rest)
    if n != math.prod(B.shape):
        raise OpError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"but got {n} != {math.prod(B.shape)}"
        )
    return linalg.solve(A.reshape((n, n)), B.reshape((n,))).reshape(rest)
