"""`chainrule.return_types`: the named tuples that functions of several results return, `max(values=..., indices=...)`.

As in PyTorch each function has a type of its own, made of one sequence: `return_types.max((values, indices))`. The
types are made when they are first used.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

__all__ = ["FIELDS"]

_ORDER = "values indices"
#: function -> the names of its results
FIELDS = {
    **dict.fromkeys(
        ("cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk"), _ORDER
    ),
    "aminmax": "min max",
    "frexp": "mantissa exponent",
    "geqrf": "a tau",
    "histogram": "hist bin_edges",
    "histogramdd": "hist bin_edges",
    "linalg_cholesky_ex": "L info",
    "linalg_eig": "eigenvalues eigenvectors",
    "linalg_eigh": "eigenvalues eigenvectors",
    "linalg_inv_ex": "inverse info",
    "linalg_lstsq": "solution residuals rank singular_values",
    "linalg_lu": "P L U",
    "linalg_lu_factor": "LU pivots",
    "linalg_lu_factor_ex": "LU pivots info",
    "linalg_qr": "Q R",
    "linalg_slogdet": "sign logabsdet",
    "linalg_solve_ex": "result info",
    "linalg_svd": "U S Vh",
    "lu_unpack": "P L U",
    "qr": "Q R",
    "slogdet": "sign logabsdet",
    "svd": "U S V",
    "triangular_solve": "solution cloned_coefficient",
}


class _Results(tuple[Any, ...]):
    """Results by position and by name."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = ",\n".join([f"{n}={v!r}" for n, v in zip(self.__match_args__, self, strict=True)])
        return f"chainrule.return_types.{type(self).__name__}(\n{shown})"

    def __reduce__(self) -> Any:
        return type(self), (tuple(self),)


def __getattr__(name: str) -> Any:
    if name not in FIELDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    fields = tuple(FIELDS[name].split())
    doc = f"The results of `{name.replace('linalg_', 'linalg.')}`: {', '.join(fields)}."
    body: dict[str, Any] = {n: property(itemgetter(i)) for i, n in enumerate(fields)}
    body |= {"__slots__": (), "__match_args__": fields, "__doc__": doc, "__module__": __name__}
    body |= {"n_fields": len(fields), "n_sequence_fields": len(fields), "n_unnamed_fields": 0}
    made = globals()[name] = type(name, (_Results,), body)
    return made
