"""Covariance and correlation of variables, and the distance of two tensors: compositions of ops."""

from __future__ import annotations

from ..autocast import listed
from ..dtypes import get_default_dtype
from ..errors import OpError, warn
from ..op import GRAPH
from ..public import api

__all__ = ["corrcoef", "cov", "dist"]


@api
def cov(input, *, correction=1, fweights=None, aweights=None):
    """Covariance of the variables in the rows of `input`, observations in the columns: a matrix, 0-d for one variable.

    Σ w (x - x̄)(y - ȳ) / N with N = number of observations - correction; of complex numbers the second factor is
    conjugated. `fweights` says how often each was observed
    (integers), `aweights` how much it counts; then x̄ and N are weighted: N = Σw - correction · Σ(w·aweights) / Σw.
    """
    if len(input.shape) > 2:
        raise OpError(f"cov(): expected input to have two or fewer dimensions but got {len(input.shape)} dimensions")
    x = input.reshape(1, -1) if len(input.shape) < 2 else input
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        x = x.to(get_default_dtype())
    count, weight = x.shape[1], None
    kind = x.real.dtype if x.dtype.is_complex else x.dtype
    for name, w in (("fweights", fweights), ("aweights", aweights)):
        if w is None:
            continue
        if tuple(w.shape) != (count,):
            raise OpError(f"cov(): expected {name} to have one element per observation, [{count}], got {list(w.shape)}")
        if w.dtype.is_floating_point == (name == "fweights"):
            wanted = "integers" if name == "fweights" else "floating-point numbers"
            raise OpError(f"cov(): expected {name} to be {wanted}, got {w.dtype}")
        if count and bool((w < 0).any()):
            raise OpError(f"cov(): {name} cannot be negative")
        weight = w.to(kind) if weight is None else weight * w
    if weight is None:
        centred = weighted = x - x.mean(dim=1, keepdim=True)
        total = count - correction
    else:
        mass = weight.sum()
        centred = x - (x * weight).sum(dim=1, keepdim=True) / mass
        weighted = centred * weight
        lost = correction if aweights is None else correction * (weight * aweights).sum() / mass
        total = mass - lost
    if count == 0 or total <= 0:
        warn("cov(): degrees of freedom is <= 0")
        total = 0
    product = GRAPH.matmul(weighted, centred.mH)
    return (product / (x.new_zeros(()) + total)).squeeze()


@api
def corrcoef(input):
    """Pearson's correlation of the variables in the rows of `input`: their covariance over both standard deviations."""
    if len(input.shape) > 2:
        raise OpError(
            f"corrcoef(): expected input to have two or fewer dimensions but got {len(input.shape)} dimensions"
        )
    c = cov(input)
    if not c.shape:
        return c / c
    deviation = c.diagonal().sqrt()
    found = c / deviation[:, None] / deviation
    if found.dtype.is_complex:
        return GRAPH.complex(found.real.clip(-1, 1), found.imag.clip(-1, 1))
    return found.clip(-1, 1)


@api
@listed
def dist(input, other, p=2):
    """The p-norm of `input - other`, which are broadcast: one number."""
    return GRAPH.vector_norm(input - other, ord=p)
