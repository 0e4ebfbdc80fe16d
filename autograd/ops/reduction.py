"""Reductions: sums, means, extrema and what is built on them."""

from __future__ import annotations

from ..op import op
from ..public import expose

__all__ = ["sum"]


@op
def sum(xp, input, dim=None, keepdim=False, dtype=None):
    """Sum over `dim` (a number, a tuple, or None for all); integers and bools add up in int64."""
    if dtype is None and input.dtype.kind in "biu":
        dtype = "int64"
    return xp.sum(input, axis=dim, keepdims=keepdim, dtype=dtype)


@sum.grad("input")
def _(F, g, shape, dim, keepdim):
    return F.expand(_unreduced(F, g, shape, dim, keepdim), shape)


def _unreduced(F, g, shape, dim, keepdim):
    """A reduction's gradient with the reduced dimensions back in, of size 1."""
    if keepdim or not shape:
        return g
    if dim is None:
        kept = (1,) * len(shape)
    else:
        dims = {d % len(shape) for d in ((dim,) if isinstance(dim, int) else dim)}
        kept = tuple(1 if i in dims else n for i, n in enumerate(shape))
    return F.reshape(g, kept)


expose(sum)
