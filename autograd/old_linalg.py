"""PyTorch's linear algebra from before `linalg`: LU under its old names; other names that only say where to turn."""

from __future__ import annotations

import warnings
from typing import Any

from . import factors
from .tensor import Tensor

__all__ = ["eig", "lstsq", "lu", "lu_solve", "matrix_rank", "solve", "symeig"]


def _warn(old: str, new: str) -> None:
    message = f"{old} is deprecated in favor of {new} and will be removed in a future release"
    warnings.warn(message, UserWarning, stacklevel=3)


def lu(A: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """(LU, pivots) of `linalg.lu_factor`, and info of `linalg.lu_factor_ex` besides with `get_infos`.

    A: (..., m, n), floating. pivot: whether rows are exchanged. out: takes the results. LinAlgError, without
    `get_infos`, for a zero on U's diagonal.
    """
    _warn("lu", "linalg.lu_factor / linalg.lu_factor_ex")
    found = tuple(factors.lu_factor_ex(A, pivot=pivot, check_errors=not get_infos))[: 3 if get_infos else 2]
    if out is None:
        return found
    from .storage import deliver

    return deliver(found, tuple(out), "lu")


def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X with A X = b, from `LU_data, LU_pivots = linalg.lu_factor(A)`: `linalg.lu_solve`, whose arguments turn round.

    b: (..., n, k). RuntimeError for b of fewer than 2 dimensions.
    """
    _warn("lu_solve", "linalg.lu_solve")
    return factors.lu_solve(LU_data, LU_pivots, b)


def _removed(name: str, instead: str) -> Any:
    def gone(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{name}: This function was deprecated since version 1.9 and is now removed. Use {instead}")

    gone.__name__ = gone.__qualname__ = name
    gone.__doc__ = f"RuntimeError: as in PyTorch since 2.0 there is the name alone. Use {instead}."
    return gone


eig = _removed("eig", "L, V = linalg.eig(A), which are complex")
lstsq = _removed("lstsq", "linalg.lstsq(A, B).solution, whose arguments are turned round")
matrix_rank = _removed("matrix_rank", "linalg.matrix_rank(A)")
solve = _removed("solve", "linalg.solve(A, B), whose arguments are turned round")
symeig = _removed("symeig", "linalg.eigh(A, UPLO='U'), or linalg.eigvalsh")
