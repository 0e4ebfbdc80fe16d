"""`out=` for the public functions that stand before several ops: what they return is put into the tensors given.

Functions that are one op take `out` by themselves (see `Op.general`). A wrapper, so that neither the functions nor the
methods of the same name, which have no `out` in PyTorch, know of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from . import linalg, storage
from .modes import uncast
from .public import FUNCTIONS, findable, signed

__all__ = ["takes_out"]

_FUNCTIONS = """addbmm addmm addmv addr aminmax baddbmm bmm bucketize cat chain_matmul cholesky cholesky_inverse
    cholesky_solve clamp_max clamp_min column_stack concat concatenate cross cummax cummin diag diff dot dstack
    float_power ger hstack index_add index_copy inner kron kthvalue masked_select matrix_power max median min mm
    mode msort mv mvlgamma nanmedian nanquantile nonzero norm outer qr quantile row_stack scatter scatter_add
    scatter_reduce searchsorted sort stack std std_mean svd take take_along_dim tensordot topk triangular_solve var
    var_mean vdot vstack where"""
_LINALG = """cholesky cholesky_ex cond cross eigh eigvalsh householder_product inv_ex lu lu_factor lu_factor_ex
    matrix_norm matrix_power matrix_rank multi_dot norm pinv qr slogdet solve solve_ex solve_triangular svd svdvals
    tensorinv tensorsolve vecdot vector_norm"""


def takes_out(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` with the keyword `out`: one tensor, or one per result, which take the results and are returned."""

    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is None:
            return f(*args, **kwargs)
        result = uncast(f, *args, **kwargs)
        storage.deliver(result, out, f.__name__)
        return type(result)(out) if isinstance(result, tuple) else out

    def build() -> inspect.Signature:
        plain = inspect.signature(f)
        last = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
        return plain.replace(parameters=[*plain.parameters.values(), last])

    signed(call, f, build)
    return call


_made: dict[Any, Callable[..., Any]] = {}
for _name in _FUNCTIONS.split():
    _f = FUNCTIONS[_name]
    if _f not in _made:
        _made[_f] = findable(takes_out(_f), _f)
    FUNCTIONS[_name] = _made[_f]  # one of `cat` and its other names
for _name in _LINALG.split():
    _f = getattr(linalg, _name)
    setattr(linalg, _name, takes_out(_f))
    if _f.__module__ != linalg.__name__:
        findable(getattr(linalg, _name), _f)
