"""Hypothesis strategies for arrays and shapes. Importing this module needs hypothesis; importing chainrule does not.

@given(strategies.arrays(strategies.shapes(max_dims=3)))
def test_tanh(x): ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from ..backends import np
from .samples import floats, negative_stride, permuted, strided

__all__ = ["arrays", "broadcastable", "dims", "dtypes", "shapes", "views"]


def shapes(min_dims: int = 0, max_dims: int = 4, min_side: int = 0, max_side: int = 4) -> Any:
    """Shapes as tuples, small ones first; with sides of 0 unless `min_side` says otherwise.

    min_dims, max_dims: how many dimensions; min_side, max_side: their sizes.
    """
    return st.lists(st.integers(min_side, max_side), min_size=min_dims, max_size=max_dims).map(tuple)


@st.composite
def broadcastable(draw: Any, count: int = 2, max_dims: int = 4, max_side: int = 4) -> Any:
    """`count` shapes that broadcast to one another: of one shape, with sides cut to 1 and leading ones left out.

    The shape has up to max_dims dimensions, none larger than max_side.
    """
    whole = draw(shapes(max_dims=max_dims, max_side=max_side))
    found = []
    for _ in range(count):
        start = draw(st.integers(0, len(whole)))
        found.append(tuple([1 if draw(st.booleans()) else n for n in whole[start:]]))
    return tuple(found)


def dtypes(kinds: str = "f") -> Any:
    """Names of dtypes: `kinds` of "f" (float32, float64), "h" (float16), "i" (integers), "b" (bool)."""
    named = {
        "f": ["float64", "float32"],
        "h": ["float16"],
        "i": ["int64", "int32", "int16", "int8", "uint8"],
        "b": ["bool"],
    }
    return st.sampled_from([name for k in kinds for name in named[k]])


@st.composite
def arrays(
    draw: Any,
    shape: Any = None,
    domain: tuple[float, float] = (-2.0, 2.0),
    avoid: Sequence[float] = (),
    dtype: str = "float64",
) -> Any:
    """Distinct values in `domain`, away from the points of `avoid`. `shape`: a tuple or a strategy for one."""
    if shape is None:
        shape = shapes()
    where = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    values = floats(where, *domain, seed=draw(st.integers(0, 2**16)), avoid=avoid)
    return values.astype(dtype)


def _contiguous(array: Any) -> Any:
    return np.array(array, order="C")


def _sliced(array: Any) -> Any:
    """The same values, in the inside of a larger array."""
    wide = np.zeros(tuple(n + 2 for n in array.shape), array.dtype)
    inside: Any = (..., *[slice(1, -1)] * array.ndim)
    wide[inside] = array
    return wide[inside]


@st.composite
def views(draw: Any, array: Any) -> Any:
    """The values of `array` (an array or a strategy for one) on other strides: permuted, reversed, strided, a slice."""
    values = draw(array) if isinstance(array, st.SearchStrategy) else array
    layouts = draw(st.lists(st.sampled_from([_contiguous, permuted, negative_stride, strided, _sliced]), max_size=1))
    for layout in layouts:
        values = layout(values)
    return values


@st.composite
def dims(draw: Any, ndim: int, several: bool = True) -> Any:
    """A `dim` argument for `ndim` dimensions: one (counted from either end), a tuple of them, or None for all.

    several=False: always one. None for 0 dimensions.
    """
    if not ndim:
        return None
    one = st.integers(-ndim, ndim - 1)
    if not several:
        return draw(one)
    some = st.lists(one, min_size=1, max_size=ndim, unique_by=lambda d: d % ndim).map(tuple)
    return draw(st.one_of(st.none(), one, some))
