"""Methods of Tensor whose work is done elsewhere or seldom: sparse forms, parts of complex numbers, memory by hand."""

from __future__ import annotations

import importlib
from typing import Any

from .public import function, inplace
from .tensor import METHODS, Tensor, method

__all__: list[str] = []


# -- sparse tensors ---------------------------------------------------------------------------------------------------


@method
def to_sparse(self: Tensor, sparse_dim: int | None = None, *, layout: Any = None, **options: Any) -> Any:
    """The elements that are not zero, as a sparse tensor with positions in the first `sparse_dim` dimensions."""
    from .sparse import from_dense, sparse_csr

    found = from_dense(self, sparse_dim)
    return found.to_sparse_csr() if layout is sparse_csr else found


@method
def to_sparse_coo(self: Tensor) -> Any:
    """The elements that are not zero, as a sparse tensor in the layout COO."""
    return self.to_sparse()


@method
def to_sparse_csr(self: Tensor, dense_dim: int | None = None) -> Any:
    """The elements of a matrix that are not zero, as a sparse tensor in the layout CSR."""
    return self.to_sparse().to_sparse_csr()


@method
def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool = True) -> Tensor:
    """This tensor, which has all its elements."""
    return self if dtype is None else self.to(dtype)


@method
def sparse_mask(self: Tensor, mask: Any) -> Any:
    """The elements of this tensor at the positions of the sparse tensor `mask`."""
    from . import sparse

    return sparse.mask(self, mask)


# -- in-place forms as functions --------------------------------------------------------------------------------------

#: PyTorch has these methods as functions, too: `torch.relu_(x)`
_NAMES = (
    "abs_ acos_ acosh_ addmv_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_ atan_ atanh_ "
    "ceil_ celu_ clamp_ clamp_max_ clamp_min_ clip_ cos_ cosh_ deg2rad_ detach_ erf_ erfc_ exp2_ exp_ expm1_ fill_ "
    "fix_ floor_ frac_ gcd_ index_put_ lcm_ ldexp_ log10_ log1p_ log2_ log_ logit_ nan_to_num_ neg_ negative_ rad2deg_ "
    "reciprocal_ relu_ round_ rsqrt_ selu_ sigmoid_ sin_ sinc_ sinh_ sqrt_ square_ tan_ tanh_ trunc_ xlogy_ zero_"
)
for _name in _NAMES.split():
    function(METHODS[_name], name=_name)


# -- methods whose functions are in late modules ----------------------------------------------------------------------


def _late(module: str, names: str, inplace_names: str = "") -> None:
    """Methods that import `module` when they are called."""

    def define(name: str, changes: bool) -> None:
        def bound(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            target = getattr(importlib.import_module(f".{module}", __package__), name)
            return inplace(self, target, *args, **kwargs) if changes else target(self, *args, **kwargs)

        bound.__name__ = bound.__qualname__ = f"{name}_" if changes else name
        bound.__doc__ = f"In-place form of `{name}`." if changes else f"`chainrule.{name}` of this tensor."
        method(bound)

    for name in names.split():
        define(name, False)
    for name in inplace_names.split():
        define(name, True)


_late("special", "i0 igamma igammac", "i0 igamma igammac")
