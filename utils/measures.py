"""What `checks` and `recorder` measure, computed where the tensors lie: numbers reach the host by `read` alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor, float32, float64, no_grad
from .reports import host

__all__ = ["RECTIFIERS", "active_units", "dense", "histogram", "norm", "read", "trained", "unfinite"]

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
    """
    unit = min(1, output.ndim - 1)
    others = tuple(i for i in range(output.ndim) if i != unit)
    active = output > 0
    return active.any(others) if others else active


def histogram(x: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Counts (bins,) and edges (bins + 1,) of the finite elements, as `numpy.histogram(x, bins)` has them.

    Bin i holds edges[i] <= x < edges[i + 1], the last one its right edge too. Edges have x's dtype, but at least
    float32. By sorting, so that nothing waits for the device (`bincount` and `histc` read the range first).
    """
    where, full, searchsorted = FUNCTIONS["where"], FUNCTIONS["full_like"], FUNCTIONS["searchsorted"]
    x = x.detach().reshape(-1) if x.numel() else x.new_full((1,), float("nan"))
    if x.element_size() < 4:
        x = x.to(float32)
    finite = FUNCTIONS["isfinite"](x)
    low = where(finite, x, full(x, float("inf"))).min()
    high = where(finite, x, full(x, float("-inf"))).max()
    none = low > high  # no element is finite: an empty histogram of 0 to 1
    low, high = where(none, high.new_zeros(()), low), where(none, high.new_ones(()), high)
    one_value = (low == high).to(x.dtype) * 0.5
    low, high = low - one_value, high + one_value
    part = FUNCTIONS["arange"](bins + 1, dtype=x.dtype, device=x.device) / bins
    edges = low * (1 - part) + high * part
    ordered = x.sort()[0]  # infinities and NaN come to lie beyond the edges
    below = searchsorted(ordered, edges)
    below[-1:] = searchsorted(ordered, edges[-1:], right=True)
    return below[1:] - below[:-1], edges


def read(tensors: Sequence[Tensor]) -> list[Any]:
    """Tensors as NumPy vectors of float64, in their order; the host waits once for each device that holds some."""
    places: dict[Any, list[int]] = {}
    for i, t in enumerate(tensors):
        places.setdefault(t.device, []).append(i)
    found: list[Any] = [None] * len(tensors)
    with no_grad():
        for indices in places.values():
            flat = host(FUNCTIONS["cat"]([tensors[i].detach().reshape(-1).to(float64) for i in indices]))
            ends = accumulate(tensors[i].numel() for i in indices)
            for i, end in zip(indices, ends, strict=True):
                found[i] = flat[end - tensors[i].numel() : end]
    return found
