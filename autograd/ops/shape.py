"""Shape: views and copies that move elements without changing them."""

from __future__ import annotations

from ..op import op
from ..public import expose

__all__ = ["alias", "cast", "clone", "expand", "permute", "reshape", "view_assign", "zeros_of"]


@op(view=True)
def alias(xp, input):
    """The same values on the same memory: a new vertex of the graph."""
    return input[...] if input.ndim else input.reshape(())


@alias.grad("input")
def _(F, g):
    return g


@op
def clone(xp, input):
    """A copy, with its gradient."""
    return xp.array(input, copy=True)


@clone.grad("input")
def _(F, g):
    return g


@op(view=True)
def cast(xp, input, /, dtype):
    """`input` in another dtype (itself where it has it). Gradients come back in the input's."""
    return input.astype(dtype, copy=False)


@cast.grad("input")
def _(F, g):
    return g


@op
def zeros_of(xp, input, /, shape, dtype):
    """Zeros of a shape and dtype, where `input` lives."""
    return xp.zeros(shape, dtype)


@op(view=True)
def reshape(xp, input, /, shape):
    """`input` with another shape, of as many elements; -1 stands for what is left."""
    return input.reshape(shape)


@reshape.grad("input")
def _(F, g, shape):
    return F.reshape(g, shape)


@op(view=True)
def permute(xp, input, /, dims):
    """`input` with its dimensions in the order `dims`."""
    return input.transpose(dims)


@permute.grad("input")
def _(F, g, dims):
    n = len(dims)
    order = [0] * n
    for i, d in enumerate(dims):
        order[d % n] = i
    return F.permute(g, tuple(order))


@op(view=True)
def expand(xp, input, /, shape):
    """`input` broadcast to `shape`, without a copy."""
    return xp.broadcast_to(input, shape)


@expand.grad("input")
def _(F, g, shape):
    extra = len(g.shape) - len(shape)
    dims = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    return F.reshape(F.sum(g, dims), shape) if dims else g


@op
def view_assign(xp, input, value, /, chain):
    """A copy of `input` whose view by `chain` (view ops one after another) holds `value`."""
    out = xp.array(input, copy=True)
    _view(out, chain)[...] = value
    return out


@view_assign.grad("input")
def _(F, g, chain, value_shape):
    return F.view_assign(g, F.zeros_of(g, value_shape, g.dtype), chain)


@view_assign.grad("value")
def _(F, g, chain):
    for step, params, index in chain:
        g = getattr(F, step.name)(g, **params)
        g = g if index is None else g[index]
    return g


def _view(array, chain):
    for step, params, index in chain:
        array = step.kernels[type(array)](array, **params)
        array = array if index is None else array[index]
    return array


expose(clone)
