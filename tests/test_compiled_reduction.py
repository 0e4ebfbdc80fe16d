"""Compiled sums and means against float64."""

import itertools

import numpy as np
import pytest

from chainrule.backends import compiled

pytestmark = pytest.mark.skipif(not compiled.available(), reason="the extra `fast` is not installed")


def served(name):
    from chainrule.backends.compiled import reduction

    return reduction.SERVES[name]


def last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if x.ndim > 2 else x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5,), (10000,), (300, 17), (17, 300), (3, 5, 7, 11), (2, 1, 40, 1), (9, 12, 33)])
def test_sums_over_all_sets_of_dimensions(shape, dtype):
    rng = np.random.default_rng(0)
    taken = 0
    for layout in (np.ascontiguousarray, last):
        x = layout((rng.standard_normal(shape) + 1).astype(dtype))
        every = range(x.ndim)
        sets = [None, *every, -1, *(c for k in every for c in itertools.combinations(every, k + 1))]
        for dim, keepdim in itertools.product(sets, (False, True)):
            for name, function in (("sum", np.sum), ("mean", np.mean)):
                found = served(name)(x, dim, keepdim)
                if found is NotImplemented:
                    continue
                taken += 1
                exact = function(x.astype("float64"), axis=dim, keepdims=keepdim)
                assert found.dtype == x.dtype
                assert found.shape == exact.shape
                np.testing.assert_allclose(found, exact, rtol=1e-6 if dtype == "float32" else 1e-13, atol=1e-5)
    assert taken >= 16


def test_what_numpy_keeps():
    x = np.ones((4, 6), "float32")
    assert served("sum")(x[:, ::2]) is NotImplemented
    assert served("sum")(x.astype("int64")) is NotImplemented
    assert served("sum")(x[:0]) is NotImplemented
    assert served("sum")(x, 2) is NotImplemented
    assert served("sum")(x, (0, 0)) is NotImplemented
    assert served("mean")(x, dtype="float64") is NotImplemented


def test_large_numbers_small_ones_and_none():
    x = np.full(200_000, 0.1, "float32")
    assert abs(served("sum")(x) - 200_000 * np.float64(np.float32(0.1))) < 6e-3
    x[150_000] = np.inf
    assert served("sum")(x) == np.inf
    x[20] = np.nan
    assert np.isnan(served("mean")(x))
