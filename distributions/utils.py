"""What the distributions share: broadcasting of parameters, and the way between probabilities and logits."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

from ..autograd import Tensor, enable_grad, finfo, get_default_dtype
from ._functions import F

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "euler_constant",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "sum_rightmost",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]

euler_constant = 0.57721566490153286


def broadcast_all(*values: Any) -> tuple[Any, ...]:
    """The values as tensors of one shape.

    Numbers take dtype and device of the first tensor, or the default dtype. ValueError for anything else.
    """
    first = next((v for v in values if isinstance(v, Tensor)), None)
    made = []
    for v in values:
        if not isinstance(v, Tensor):
            if not isinstance(v, Number):
                raise ValueError("Input arguments must all be instances of Number or Tensor.")
            if first is None:
                v = F.tensor(v, dtype=get_default_dtype())
            else:
                v = F.tensor(v, dtype=first.dtype, device=first.device)
        made.append(v)
    if len(made) == 1 or all(v.shape == made[0].shape for v in made):
        return tuple(made)
    return tuple(F.broadcast_tensors(*made))


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """softmax(logits) over the last dimension, or sigmoid(logits) where each stands for itself.

    is_binary: the latter.
    """
    return F.sigmoid(logits) if is_binary else F.softmax(logits, -1)


def _standard_normal(shape: Any, dtype: Any, device: Any) -> Tensor:
    """Standard normal noise; programs import it from here for normal distributions of their own."""
    return F.randn(shape, dtype=dtype, device=device)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept eps away from 0 and 1 (the dtype's eps), so that logarithms stay finite."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """log p, or log(p / (1 - p)) where each stands for itself, of clamped probabilities.

    is_binary: the latter.
    """
    p = clamp_probs(probs)
    return p.log() - (-p).log1p() if is_binary else p.log()


def sum_rightmost(value: Any, dims: int) -> Any:
    """The sum over the last `dims` dimensions."""
    if dims == 0:
        return value
    return value.reshape((*value.shape[: value.ndim - dims], -1)).sum(-1)


_sum_rightmost = sum_rightmost  # PyTorch's name of it, which libraries import


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """A vector (..., k) as lower triangles (..., n, n), filled row by row up to the diagonal `diag`, zeros above.

    ValueError where no n has k elements there; for diag = 0 k = n (n + 1) / 2.
    """
    k = vec.shape[-1]
    n = round((-(1 + 2 * diag) + ((1 + 2 * diag) ** 2 + 8 * k + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2)
    if _triangle(n, diag) != k:
        raise ValueError(f"The size of last dimension is {k} which cannot be expressed as the lower triangular part.")
    made = F.zeros((*vec.shape[:-1], n, n), dtype=vec.dtype, device=vec.device)
    rows, columns = F.tril_indices(n, n, diag, device=vec.device)
    made[..., rows, columns] = vec
    return made


def _triangle(n: int, diag: int) -> int:
    return sum(min(max(i + 1 + diag, 0), n) for i in range(n))


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The elements of a matrix (..., n, n) on and below the diagonal `diag`, row by row, as a vector (..., k).

    ValueError for a diagonal outside the matrix.
    """
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = F.tril_indices(n, n, diag, device=mat.device)
    return mat[..., rows, columns]


class lazy_property:
    """A property that is worked out once, when it is first asked for, recorded whatever the mode is, and then kept.

    wrapped: the method that works it out.
    """

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped, self.__doc__, self.__name__ = wrapped, wrapped.__doc__, wrapped.__name__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with enable_grad():  # what `sample` asks for first may be differentiated later
            value = vars(instance)[self.__name__] = self.wrapped(instance)
        return value
