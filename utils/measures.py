"""What `checks` and `recorder` measure, computed where the tensors lie: numbers reach the host by `read` alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from .. import backends, nn
from ..autograd import FUNCTIONS, Tensor, float32
from ..autograd.tensor import wrap
from ..backends import np
from .reports import host

__all__ = ["HEALTHY", "RECTIFIERS", "active_units", "dense", "histogram", "norm", "read", "trained", "unfinite"]

#: ‖update‖ / ‖weight‖ between which a layer learns well: a decade to either side of 1e-3 (the lectures; A. Karpathy,
#: CS231n "Convolutional Neural Networks for Visual Recognition", Stanford, notes on learning: ratio of weights:updates)
HEALTHY = (1e-4, 1e-2)
#: modules whose units can die
RECTIFIERS = (nn.ReLU, nn.ReLU6)


def trained(model: Any, vectors: bool = True) -> dict[str, Tensor]:
    """The parameters that want a gradient, by name; without `vectors` those of two dimensions or more."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad and (vectors or p.ndim > 1)}


def dense(gradient: Tensor) -> Tensor:
    """A gradient without a graph; of a sparse one the values that it has, each place once."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient.detach()


def norm(x: Tensor) -> Tensor:
    """‖x‖ as a 0-d tensor; sums of float16 and bfloat16 are in float32, and so is their norm."""
    return FUNCTIONS["norm"](x, dtype=float32 if x.element_size() < 4 else None)


def unfinite(x: Tensor) -> Tensor:
    """How many elements are NaN or infinite, as a 0-d tensor."""
    return (~FUNCTIONS["isfinite"](x)).sum()


def active_units(output: Tensor) -> Tensor:
    """Which units of an output are above 0 for any sample or place: bools of shape (units,).

    A unit is a feature (dimension 1; of a vector, an element). One that never is gets no gradient through a rectifier.
    NaN counts as above 0: it is another fault.
    """
    unit = min(1, output.ndim - 1)
    others = tuple(i for i in range(output.ndim) if i != unit)
    active = ~(output <= 0)
    return active.any(others) if others else active


def histogram(x: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Counts (bins,) and edges (bins + 1,) of the finite elements, as `numpy.histogram(x, bins)` has them.

    Bin i holds edges[i] <= x < edges[i + 1], the last one its right edge too. Edges have x's dtype, but at least
    float32. By sorting: nothing waits for the device, where `bincount` and `histc` read the range first.
    """
    x = x.detach().reshape(-1)
    array = (x.to(float32) if x.element_size() < 4 else x).array
    xp = _at(array).xp
    # infinities and NaN come to lie beyond the edges
    ordered = xp.sort(array) if array.size else xp.full(1, float("nan"), array.dtype)
    inside = xp.isfinite(ordered)
    low, high = xp.where(inside, ordered, float("inf")).min(), xp.where(inside, ordered, -float("inf")).max()
    none = low > high  # an array without a finite element has an empty histogram of 0 to 1
    low, high = xp.where(none, 0.0, low), xp.where(none, 1.0, high)
    half = (low == high).astype(array.dtype) / 2
    part = xp.arange(bins + 1, dtype=array.dtype) / bins
    edges = (low - half) * (1 - part) + (high + half) * part
    below = xp.searchsorted(ordered, edges)
    below[-1:] = xp.searchsorted(ordered, edges[-1:], side="right")
    return wrap(below[1:] - below[:-1], None), wrap(edges, None)


def read(tensors: Sequence[Tensor]) -> list[Any]:
    """Tensors as NumPy vectors of float64, in their order; the host waits once for each device that holds some."""
    places: dict[Any, list[int]] = {}
    for i, t in enumerate(tensors):
        places.setdefault(t.device, []).append(i)
    found: list[Any] = [None] * len(tensors)
    for indices in places.values():
        arrays = [tensors[i].array.reshape(-1) for i in indices]
        backend = _at(arrays[0])
        flat = host(wrap(backend.xp.concatenate(arrays, dtype=np.float64), None))  # ten times as quick as `cat`
        for i, end in zip(indices, accumulate(len(a) for a in arrays), strict=True):
            found[i] = flat[end - tensors[i].numel() : end]
    return found


def _at(array: Any) -> Any:
    """An array's backend, with its device made the current one."""
    backend = backends.of(array)
    backend.select(backend.device_of(array)[1])
    return backend
