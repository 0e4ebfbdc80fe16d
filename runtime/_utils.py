"""`chainrule._utils`: lists of tensors as one flat tensor, as older programs for several processes make them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..autograd import FUNCTIONS, Tensor

__all__ = ["_element_size", "_flatten_dense_tensors", "_take_tensors", "_unflatten_dense_tensors"]


def _flatten_dense_tensors(tensors: Iterable[Tensor]) -> Tensor:
    """All elements of tensors of one dtype, in their order: (Σ numel,)."""
    return FUNCTIONS["cat"]([t.reshape(-1) for t in tensors])


def _unflatten_dense_tensors(flat: Tensor, tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Views of `flat` in the shapes of the tensors that were flattened."""
    views, start = [], 0
    for t in tensors:
        views.append(flat.narrow(0, start, t.numel()).view(t.shape))
        start += t.numel()
    return tuple(views)


def _take_tensors(tensors: Iterable[Tensor], size_limit: float) -> Iterator[Sequence[Tensor]]:
    """Lists of tensors of one dtype and device, each of at most `size_limit` bytes or a single tensor."""
    waiting: dict[Any, list[Tensor]] = {}
    for t in tensors:
        kept = waiting.setdefault((t.dtype, t.device), [])
        if kept and sum(k.nbytes for k in kept) + t.nbytes > size_limit:
            yield waiting.pop((t.dtype, t.device))
            kept = waiting.setdefault((t.dtype, t.device), [])
        kept.append(t)
    yield from (kept for kept in waiting.values() if kept)


def _element_size(dtype: Any) -> int:
    """Bytes per element of a dtype."""
    return int(dtype.itemsize)
