"""`chainrule.linalg`: linear algebra under the names of `torch.linalg`, for stacks of matrices.

General eigenvalues (`eig`, `eigvals`) are complex numbers. Of complex matrices, where formulas have a transpose, it is
the conjugate one, and the phases of vectors are not determined: what is computed of them must not depend on those.
Degenerate cases and the sources of the rules: see the head of `autograd/ops/decompositions.py`.
"""

from __future__ import annotations

from typing import Any

from .. import backends
from ..backends import np
from . import return_types
from .autocast import listed
from .dims import numpy_names, wrap_dims
from .dtypes import to_numpy_dtype
from .errors import OpError
from .op import OPS
from .ops import decompositions as _d
from .ops import norms as _n
from .ops.decompositions import LinAlgError, det, inv, matrix_exp
from .ops.linalg import _cross_function, matmul, multi_dot
from .ops.linalg import vander as _vander
from .ops.rearrange import diagonal as _diagonal
from .ops.rearrange import eye_like
from .public import api, expose, function
from .tensor import Tensor, method, wrap

__all__ = [
    "LinAlgError",
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "vander",
    "vecdot",
    "vector_norm",
]


# -- products ---------------------------------------------------------------------------------------------------------


@numpy_names
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product along `dim`, which has size 3: (a₂b₃ - a₃b₂, a₃b₁ - a₁b₃, a₁b₂ - a₂b₁).

    Other dimensions broadcast: (..., 3), (..., 3) → (..., 3).
    """
    return _cross_function(input, other, dim)


@numpy_names
@listed
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Σ conj(x)·y along `dim`; other dimensions broadcast: (..., n), (..., n) → (...)."""
    return OPS["sum"](OPS["mul"](x.conj(), y), dim=dim)


@numpy_names
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices, as the last dimension, d[..., i] = A[..., i, i + offset]: a view, (..., min(m, n)).

    offset: 1 is the diagonal above, -1 the one below; dim1, dim2: the matrices' dimensions.
    """
    return _diagonal(A, offset, dim1, dim2)


def vander(x: Tensor, N: int | None = None) -> Tensor:
    """The powers 0 to N - 1 of each element of `x` (..., n), as rows: (..., n, N). N defaults to n."""
    return _vander(x, N)


# -- systems ----------------------------------------------------------------------------------------------------------


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (or X A = B, unless `left`). A (..., n, n), B (..., n, k), or vectors (..., n).

    LinAlgError where A is singular.
    """
    _at_least("solve", A)
    vector = len(B.shape) == 1 or (len(B.shape) == len(A.shape) - 1 and tuple(B.shape) == tuple(A.shape[:-1]))
    if vector:
        if not left:
            raise OpError("linalg.solve: Vector broadcasting of the left hand side is not supported for left=False")
        return _d.solve(A, B.unsqueeze(-1)).squeeze(-1)
    return _d.solve(A, B) if left else _d.solve(A.mT, B.mT).mT


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """X with A X = B (or X A = B, unless `left`), A triangular; the other triangle is not read.

    A (..., n, n), B and X (..., n, k), or (..., k, n) unless `left`. upper: which triangle. unitriangular: the diagonal
    is taken for ones.
    """
    if left:
        return _d.solve_triangular(A, B, upper, unitriangular)
    return _d.solve_triangular(A.mT, B.mT, not upper, unitriangular).mT


@function
@listed
def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """X with A X = b (AᵀX = b, if `transpose`), A triangular; with it, A. The older `linalg.solve_triangular`.

    upper: whether A is an upper triangle; unitriangular: its diagonal is taken for ones.
    """
    used, up = (A.mT, not upper) if transpose else (A, upper)
    found = solve_triangular(used, b, upper=up, unitriangular=unitriangular)
    return return_types.triangular_solve((found, A.clone()))


method(triangular_solve)


@api
@listed
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = B, given the Cholesky factor of A: L with L Lᴴ = A, or its adjoint if `upper`."""
    lower = L.mH if upper else L
    half = solve_triangular(lower, B, upper=False)
    return solve_triangular(lower.mH, half, upper=True)


@api
@listed
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, given its Cholesky factor: L with L Lᴴ = A, or its adjoint if `upper`."""
    return cholesky_solve(eye_like(L), L, upper)


@listed
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """X that makes ‖A X - B‖ least (of those, the smallest X): (solution, residuals, rank, singular_values).

    A (..., m, n), B (..., m, k) or vectors (..., m), X (..., n, k) or (..., n). Computed by the pseudo-inverse,
    whatever the `driver`. residuals: the squared sums of A X - B for each column, where A has more rows than columns
    and full rank; otherwise empty. singular_values: given for the drivers gelsd and gelss. rcond: PyTorch's; values up
    to it times the largest count as zero.
    """
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise OpError(f"linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), got {driver}")
    _at_least("lstsq", A)
    vector = len(B.shape) == len(A.shape) - 1
    m, n = A.shape[-2:]
    right = B.unsqueeze(-1) if vector else B
    if right.shape[-2] != m:
        raise OpError(f"linalg.lstsq: input.size(-2) should match other.size(-2), got {m} and {right.shape[-2]}")
    found = matmul(pinv(A, rtol=rcond), right)
    s = svdvals(A.detach())
    cut = np.finfo(s.array.dtype).eps * max(m, n) if rcond is None else rcond
    rank = wrap((s.array > cut * s.array[..., :1]).sum(-1).astype(np.int64), None)
    residuals = A.new_zeros((0,))
    if m > n and bool((rank.array == n).all()):
        left_over = OPS["sub"](matmul(A, found), right)
        residuals = OPS["sum"](OPS["square"](left_over.abs() if left_over.is_complex() else left_over), dim=-2)
    values = s if driver in ("gelsd", "gelss") else A.new_zeros((0,))
    return return_types.linalg_lstsq((found.squeeze(-1) if vector else found, residuals, rank, values))


def pinv(
    A: Tensor,
    *,
    atol: float | None = None,
    rtol: float | None = None,
    hermitian: bool = False,
    rcond: float | None = None,
) -> Tensor:
    """The Moore-Penrose inverse; singular values up to max(atol, rtol·largest) count as zero. rtol: eps·max(m, n).

    (..., m, n) → (..., n, m). hermitian: A is symmetric. rcond: the older rtol.
    """
    return _d.pinv(A, rtol=rcond if rtol is None else rtol, atol=0.0 if atol is None else atol)


@api
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The Moore-Penrose inverse: an older form of `linalg.pinv`. rcond: see there."""
    return _d.pinv(input, rtol=rcond)


def matrix_power(A: Tensor, n: int) -> Tensor:
    """Aⁿ of square matrices (..., m, m), by repeated squaring; for n < 0 of the inverse. The shape of A."""
    _at_least("matrix_power", A, square=True)
    base, n = (inv(A), -n) if n < 0 else (A, n)
    if n == 0:
        return eye_like(A)
    found: Any = None
    while n:
        if n & 1:
            found = base if found is None else matmul(found, base)
        n >>= 1
        if n:
            base = matmul(base, base)
    return found.clone() if found is A else found


function(matrix_power)
method(matrix_power)


# -- factorisations ---------------------------------------------------------------------------------------------------


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with L Lᵀ = A, lower triangular (or Lᵀ, if `upper`): (..., n, n) → (..., n, n).

    LinAlgError unless A is positive definite.
    """
    return _d.cholesky(A, upper=upper)


@api(name="cholesky")
def _cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """L with L Lᵀ = input (Lᵀ, if `upper`): an older form of `linalg.cholesky`."""
    return _d.cholesky(input, upper=upper)


def qr(A: Tensor, mode: str = "reduced") -> Any:
    """A = Q R, Q with orthonormal columns, R upper triangular. mode: "reduced", "complete", or "r" (Q is empty).

    (..., m, n) → Q (..., m, k), R (..., k, n), k being min(m, n), or m if "complete".
    """
    if mode not in ("reduced", "complete", "r"):
        raise OpError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    q, r = _d.qr(A, mode="reduced" if mode == "r" else mode)
    return return_types.linalg_qr((A.new_zeros((0,)) if mode == "r" else q, r))


@api(name="qr")
def _qr(input: Tensor, some: bool = True) -> Any:
    """input = Q R: an older form of `linalg.qr`. some: Q with as many columns as the smaller size."""
    return return_types.qr(qr(input, "reduced" if some else "complete"))


def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """A = V diag(L) Vᵀ of symmetric matrices: eigenvalues, rising, and orthonormal eigenvectors (columns).

    (..., n, n) → L (..., n), V (..., n, n). UPLO makes no difference: RuntimeError for a matrix that is not symmetric.
    A gradient for the vectors of equal eigenvalues raises LinAlgError: they are not determined.
    """
    _check_uplo(UPLO)
    return return_types.linalg_eigh(_d.eigh(A))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues, rising, of symmetric matrices: (..., n, n) → (..., n). UPLO, RuntimeError: as of `eigh`."""
    _check_uplo(UPLO)
    return _d.eigh(A)[0]


def _check_uplo(UPLO: str) -> None:
    if str(UPLO).upper() not in ("L", "U"):
        raise OpError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")


def eig(A: Tensor) -> Any:
    """Eigenvalues and eigenvectors (columns, of length 1) of general square matrices, complex: A V = V diag(L).

    (..., n, n) → L (..., n), V (..., n, n). The phases of the vectors are not determined: what is computed of them must
    not depend on those. Equal eigenvalues give a gradient of NaN.
    """
    return return_types.linalg_eig(OPS["eig"](A))


def eigvals(A: Tensor) -> Tensor:
    """The eigenvalues of general square matrices, complex, in no order: (..., n, n) → (..., n)."""
    return OPS["eig"](A)[0]


def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """A = U diag(S) Vh, S falling. With `full_matrices` U and Vh are square, else min(m, n) columns or rows.

    A gradient for the vectors of equal singular values, or for those beyond min(m, n), raises LinAlgError: they are not
    determined. driver: PyTorch's choice of an algorithm; here there is one.
    """
    return return_types.linalg_svd(_d.svd(A, full_matrices=full_matrices))


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values of A, falling: (..., m, n) → (..., min(m, n)), the diagonal of `svd`'s A = U diag(S) Vh.

    driver: PyTorch's choice of an algorithm; here there is one.
    """
    return _d.svd(A, full_matrices=False)[1]


@api(name="svd")
def _svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """input = U diag(S) Vᴴ: an older form of `linalg.svd`, which gives V, not its transpose.

    some: of U and V min(m, n) columns; compute_uv=False: S alone, U and V are zeros.
    """
    u, s, vh = _d.svd(input, full_matrices=not some)
    if not compute_uv:
        u, vh = u.detach() * 0, vh.detach() * 0
    return return_types.svd((u, s, vh.mH))


def slogdet(A: Tensor) -> Any:
    """(sign det A, log |det A|) of square matrices: (..., n, n) → two tensors (...); (0, -inf) for a singular one."""
    return return_types.linalg_slogdet(_d.slogdet(A))


@api(name="slogdet")
def _slogdet(input: Tensor) -> Any:
    """The sign of the determinant, and the logarithm of its absolute value."""
    return return_types.slogdet(_d.slogdet(input))


@listed
def matrix_rank(
    A: Tensor,
    *,
    atol: float | None = None,
    rtol: float | None = None,
    hermitian: bool = False,
    tol: float | None = None,
) -> Tensor:
    """How many singular values are above max(atol, rtol·largest); rtol: eps·max(m, n), or 0 where atol is given.

    (..., m, n) → (...), int64. hermitian: A is symmetric. tol: the older atol.
    """
    atol = tol if atol is None else atol
    s = svdvals(A.detach()).array
    if rtol is None:
        rtol = 0.0 if atol else float(np.finfo(s.dtype).eps) * max(A.shape[-2:])
    xp = backends.of(s).xp
    cut = xp.maximum(rtol * (s[..., :1] if s.shape[-1] else 0), atol or 0.0)
    return wrap(xp.asarray((s > cut).sum(-1)).astype(np.int64), None)


# -- norms ------------------------------------------------------------------------------------------------------------


@numpy_names
def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """(Σ |x|ᵖ)^(1/p) over `dim` (default: all), p = ord; ±inf: the largest or smallest |x|; 0: how many are not 0.

    The shape of x without `dim`, or with 1 in their places (keepdim).
    """
    return _n.vector_norm(_as(x, dtype), ord=float(ord), dim=_some(dim), keepdim=keepdim)


def _as(x: Tensor, dtype: Any) -> Tensor:
    if dtype is not None and x.is_complex() and to_numpy_dtype(dtype).kind != "c":
        raise OpError(f"linalg.norm: dtype should be complex for complex inputs, but got {dtype}")
    return x if dtype is None else OPS["cast"](x, dtype=to_numpy_dtype(dtype))


def _some(dim: Any) -> Any:
    return dim if dim is None or isinstance(dim, int) else tuple(dim) or None


@numpy_names
@listed
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """A norm of matrices: "fro" √Σx², "nuc" Σσ, 2 and -2 largest and smallest σ, ±1 column sums, ±inf row sums.

    ord: which of them. (..., m, n) → (...), the matrices being in the two dimensions `dim`.
    """
    A = _as(A, dtype)
    _at_least("matrix_norm", A)
    rows, columns = wrap_dims(dim, len(A.shape))
    if ord == "fro":
        return _n.vector_norm(A, ord=2.0, dim=(rows, columns), keepdim=keepdim)
    if ord in (1, -1, float("inf"), -float("inf")):
        inner, outer = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = A.abs().sum(dim=inner, keepdim=True)
        found = OPS["amax" if ord > 0 else "amin"](sums, dim=outer, keepdim=True)
    elif ord in ("nuc", 2, -2):
        s = svdvals(A.movedim((rows, columns), (-2, -1)))
        found = s.sum(-1) if ord == "nuc" else OPS["amax" if ord == 2 else "amin"](s, dim=-1)
        found = found.unsqueeze(-1).unsqueeze(-1).movedim((-2, -1), (rows, columns))
    else:
        raise OpError(f"linalg.matrix_norm: Order {ord} not supported.")
    return found if keepdim else found.squeeze((rows, columns))


@numpy_names
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """A vector norm (see `vector_norm`), or, with a text for `ord` or two dimensions and an `ord`, a matrix norm.

    (Σ |x|²)^½ over all elements, or over `dim`, without an `ord`. Shapes as of `vector_norm` and `matrix_norm`.
    """
    matrices = isinstance(ord, str) or (ord is not None and (len(A.shape) if dim is None else len(_tuple(dim))) == 2)
    if ord is not None and dim is None and len(A.shape) not in (1, 2):
        raise OpError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {len(A.shape)}D."
        )
    if matrices:
        return matrix_norm(A, ord, (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


def _tuple(dim: Any) -> tuple[int, ...]:
    return (dim,) if isinstance(dim, int) else tuple(dim)


@api(name="norm")
@numpy_names
def _norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The p-norm over `dim`; "fro" is p = 2, "nuc" the sum of a matrix's singular values."""
    if p == "nuc":
        return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    if isinstance(p, str) and p != "fro":
        raise OpError(f"norm(): p must be a number, 'fro' or 'nuc', got {p!r}")
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


@listed
def cond(A: Tensor, p: Any = None) -> Tensor:
    """‖A‖·‖A⁻¹‖ in the matrix norm p; by default the ratio of the largest and the smallest singular value.

    (..., n, n) → (...); by default also (..., m, n).
    """
    _at_least("cond", A)
    if p in (None, 2, -2):
        s: Any = svdvals(A)
        return s[..., 0] / s[..., -1] if p != -2 else s[..., -1] / s[..., 0]
    _at_least("cond", A, square=True)
    return OPS["mul"](matrix_norm(A, p), matrix_norm(inv(A), p))


def _at_least(name: str, A: Tensor, square: bool = False) -> None:
    if len(A.shape) < 2:
        raise OpError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if square and A.shape[-1] != A.shape[-2]:
        raise OpError(
            f"linalg.{name}: A must be batches of square matrices, but they are {A.shape[-2]} by {A.shape[-1]}"
        )


expose(_n.cdist, methods=False)

_RARE = {
    *("cholesky_ex", "householder_product", "inv_ex", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "solve_ex"),
    *("tensorinv", "tensorsolve"),
}


def __getattr__(name: str) -> Any:
    if name in _RARE:
        from . import factors

        return getattr(factors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
