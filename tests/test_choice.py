"""The NumPy kernel of `where` chooses by bits in large arrays; it must not be seen."""

import numpy as np
import pytest

from chainrule.backends.numpy.kernels import KERNELS

where = KERNELS["where"]


def operands(dtype, layout):
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((64, 48)).astype(dtype) for _ in range(2))
    a[::7], b[::5], a[1], b[2] = np.inf, np.nan, -0.0, 0.0
    return layout(a < b), layout(a), layout(b)


LAYOUTS = {"contiguous": lambda x: x, "transposed": lambda x: x.T, "strided": lambda x: x[:, ::-2]}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats(dtype, layout):
    mask, a, b = operands(dtype, layout)
    kept = mask.copy(), a.copy(), b.copy()
    for x, y in [(a, b), (a, 0), (0, a), (a, 0.0), (1, a), (a, 2.5), (False, a), (a, np.inf), (-0.0, a)]:
        found, expected = where(mask, x, y), np.where(mask, x, y)
        assert found.dtype == expected.dtype == dtype
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    for x, y in zip((mask, a, b), kept, strict=True):
        np.testing.assert_array_equal(x, y)


def test_other_operands():
    """Broadcasting, integers, and floats of two kinds are left to NumPy."""
    mask, a, b = operands("float32", lambda x: x)
    for x, y in [(a, b[0]), (a[:, :1], b), (a, b.astype("float64")), (b > 0, 7), (1, 2), (a > 0, False)]:
        found, expected = where(mask, x, y), np.where(mask, x, y)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(where(mask[0], a, 0), np.where(mask[0], a, 0))
    np.testing.assert_array_equal(where(mask.astype(np.uint8), a, 0), np.where(mask, a, 0))
