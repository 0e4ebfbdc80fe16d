"""Norms and distances. The norm has gradient 0 at 0, to every order; so have distances between equal points."""

from __future__ import annotations

from ... import backends
from ...backends import np
from ..composite import composite
from ..errors import OpError
from ..op import op

__all__ = ["cdist", "pdist", "vector_norm"]

_INF = float("inf")


@op(types="float")
def vector_norm(xp, input, /, ord=2, dim=None, keepdim=False):
    """(Σ |x|ᵖ)^(1/p) over `dim`, p = ord: any number; ±inf give the largest and the smallest |x|, 0 counts x ≠ 0.

    Gradient 0 where the norm is 0; ties of ±inf share evenly.
    """
    wide = input.astype(np.float32) if input.dtype.itemsize == 2 else input
    dim = dim if dim is None or isinstance(dim, int) else tuple(dim) or None
    over = {"axis": dim, "keepdims": keepdim}
    if ord == 2:
        out = xp.sqrt(xp.sum(wide * wide, **over))
    elif ord == _INF:
        out = xp.max(xp.abs(wide), **over)
    elif ord == -_INF:
        out = xp.min(xp.abs(wide), **over)
    elif ord == 0:
        out = xp.sum((wide != 0).astype(wide.dtype), **over)
    elif ord == 1:
        out = xp.sum(xp.abs(wide), **over)
    else:
        out = xp.sum(xp.abs(wide) ** ord, **over) ** (1 / ord)
    return out.astype(input.dtype, copy=False)


@vector_norm.grad("input")
def _(F, g, input, out, shape, ord, dim, keepdim):
    kept = tuple(out.shape) if keepdim else _kept(shape, dim)
    g, out = F.reshape(g, kept), F.reshape(out, kept)
    if ord == 0:
        return F.zeros_of(input, tuple(shape), input.dtype)
    if ord == 1:
        return g * F.sign(input)
    if ord in (_INF, -_INF):
        hit = F.abs(input) == out
        count = F.sum(F.cast(hit, dtype=input.dtype), dim=dim if dim != () else None, keepdim=True)
        return F.where(hit, g / F.reshape(count, kept), 0) * F.sign(input)
    zero = out == 0
    safe = F.where(zero, 1, out)
    if ord == 2:
        return F.where(zero, 0, g / safe) * input
    gone = input == 0
    size = F.where(gone, 1, F.abs(input)) / safe
    return F.where(zero, 0, g) * F.where(gone, 0, F.sign(input) * size ** (ord - 1))


def _kept(shape, dim):
    """The shape of a reduction's result under keepdim."""
    if dim is None or dim == ():
        return (1,) * len(shape)
    dims = {d % max(len(shape), 1) for d in ((dim,) if isinstance(dim, int) else dim)}
    return tuple([1 if i in dims else n for i, n in enumerate(shape)])


@composite
def cdist(F, x1, x2, /, p=2.0, compute_mode=None):
    """The p-norm distance of each row of x1 (..., n, d) to each row of x2 (..., m, d): (..., n, m).

    Gradient 0 between equal points. All `compute_mode`s are computed from differences, which is exact for close points.
    """
    if len(x1.shape) < 2 or len(x2.shape) < 2 or x1.shape[-1] != x2.shape[-1]:
        raise OpError(
            "cdist takes two tensors of at least two dimensions with an equal last one, got "
            f"{list(x1.shape)} and {list(x2.shape)}"
        )
    if p < 0:
        raise OpError(f"cdist only supports non-negative p values, got {p}")
    return F.vector_norm(F.unsqueeze(x1, -2) - F.unsqueeze(x2, -3), ord=p, dim=-1)


@composite
def pdist(F, input, /, p=2.0):
    """The p-norm distance of each pair of rows of a matrix, in the order of `combinations`: a vector of n(n-1)/2."""
    if len(input.shape) != 2:
        raise OpError(f"pdist only supports 2D tensors, got: {len(input.shape)}D")
    backend = backends.of(getattr(input, "array", input))
    first, second = [backend.asarray(i) for i in np.triu_indices(input.shape[0], 1)]
    return F.vector_norm(F.index_select(input, 0, first) - F.index_select(input, 0, second), ord=p, dim=-1)
