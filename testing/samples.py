"""Small sample arrays for tests of ops: deterministic, distinct, and away from the points that a test names.

All of them are host arrays (NumPy); the checks wrap them as tensors of the backend under test. Floats are float64,
since gradients are checked in double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..backends import np

__all__ = [
    "Fresh",
    "bools",
    "empty",
    "floats",
    "fresh",
    "integers",
    "negative_stride",
    "permuted",
    "positive",
    "scalar",
    "spd",
    "strided",
    "well_conditioned",
]


def floats(
    shape: int | Sequence[int] = (2, 3),
    lo: float = -2.0,
    hi: float = 2.0,
    seed: int = 0,
    avoid: Iterable[float] = (),
    gap: float = 0.05,
) -> Any:
    """Distinct float64 values in [lo, hi] in random order, at least `gap` away from each point of `avoid`.

    shape: an int is that of one dimension. seed: of the order.

    The range is cut into as many cells as there are elements and each gets one value of the middle half of its cell:
    no two values are closer than half a cell, so sort, max and median are away from their ties.
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    count = int(np.prod(shape, dtype=int))
    random = np.random.default_rng([seed, count])
    cells = random.permutation(count)
    values = lo + (hi - lo) * (cells + random.uniform(0.25, 0.75, count)) / max(count, 1)
    for point in avoid:
        near = np.abs(values - point) < gap
        moved = np.where(values >= point, point + gap, point - gap) + (values - point) * 0.5
        values = np.where(near, np.where((moved <= hi) & (moved >= lo), moved, 2 * point - moved), values)
    return values.reshape(shape)


def positive(shape: int | Sequence[int] = (2, 3), lo: float = 0.3, hi: float = 3.0, seed: int = 0) -> Any:
    """Distinct positive float64 values of a `shape` in [lo, hi]; the same for the same `seed`."""
    return floats(shape, lo, hi, seed)


def scalar(value: float = 0.7) -> Any:
    """A 0-d float64 array of this value."""
    return np.array(value, dtype=np.float64)


def empty(shape: Sequence[int] = (0, 3), dtype: Any = np.float64) -> Any:
    """An array without elements, of a shape with a 0 in it."""
    return np.zeros(tuple(shape), dtype)


def integers(
    shape: int | Sequence[int] = (2, 3), lo: int = -4, hi: int = 5, seed: int = 0, dtype: Any = np.int64
) -> Any:
    """Random integers in [lo, hi), of a `shape`; the same for the same `seed`."""
    return np.asarray(np.random.default_rng([seed, 1]).integers(lo, hi, shape), dtype)


def bools(shape: int | Sequence[int] = (2, 3), seed: int = 0) -> Any:
    """Random booleans of a `shape` (from `seed`), both values present where there is room for them."""
    count = int(np.prod(shape, dtype=int))
    values = np.arange(count) % 2 == 0
    return np.random.default_rng([seed, 2]).permutation(values).reshape(shape)


def well_conditioned(n: int = 3, batch: Sequence[int] = (), seed: int = 0) -> Any:
    """Matrices (*batch, n, n) with singular values well apart and away from zero: invertible, and svd has no ties.

    seed: of the singular vectors.
    """
    random = np.random.default_rng([seed, n, 3])
    left, right = (np.linalg.qr(random.standard_normal((*batch, n, n)))[0] for _ in range(2))
    return left * np.linspace(1.0, 2.5, n) @ right


def spd(n: int = 3, batch: Sequence[int] = (), seed: int = 0) -> Any:
    """Symmetric positive definite matrices (*batch, n, n) with eigenvalues 1 to 2.5, well apart.

    seed: of the eigenvectors.
    """
    q = np.linalg.qr(np.random.default_rng([seed, n, 4]).standard_normal((*batch, n, n)))[0]
    a = q * np.linspace(1.0, 2.5, n) @ np.swapaxes(q, -1, -2)
    return (a + np.swapaxes(a, -1, -2)) / 2


# -- memory layouts: the same values on other strides -----------------------------------------------------------------


def permuted(array: Any) -> Any:
    """The same values, with memory in the reversed order of dimensions (Fortran order)."""
    return np.array(array.T, order="C").T


def negative_stride(array: Any) -> Any:
    """The same values, with every dimension walked backwards through memory."""
    flip: Any = (..., *[slice(None, None, -1)] * array.ndim)
    return np.array(array[flip], order="C")[flip]


def strided(array: Any) -> Any:
    """The same values, as every other element of a larger array."""
    wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    every: Any = (..., *[slice(None, None, 2)] * array.ndim)
    wide[every] = array
    return wide[every]


# -- arguments with state ---------------------------------------------------------------------------------------------


class Fresh:
    """An argument that is made anew, by `make`, for each call, e.g. a generator in its first state."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def fresh(make: Callable[[], Any]) -> Fresh:
    """An argument that is made anew for each call: `fresh(lambda: chainrule.Generator().manual_seed(0))`."""
    return Fresh(make)
