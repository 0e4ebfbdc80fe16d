"""Compiled pooling against NumPy's kernels and the ops' own forwards, on generated shapes and awkward values."""

import os
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.op import OPS
from chainrule.autograd.ops.pooling import _count
from chainrule.backends.numpy.kernels import PLAIN

pytest.importorskip("numba")

from chainrule.backends.compiled import pooling

GEOMETRIES = [  # shape, window, stride, padding, dilation, ceil_mode
    ((2, 5, 9, 11), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((2, 17, 9, 12), (3, 3), (2, 2), (1, 1), (1, 1), True),
    ((1, 16, 12, 11), (3, 2), (1, 2), (1, 0), (2, 3), True),
    ((2, 20, 7, 10), (3, 3), (3, 3), (0, 0), (1, 1), False),
    ((3, 8, 6, 6), (2, 3), (3, 4), (0, 1), (1, 1), False),
    ((8, 8, 3, 3), (2, 2), (2, 2), (0, 0), (1, 1), True),
    ((2, 16, 7, 8), (3, 3), (3, 3), (0, 0), (1, 1), True),
    ((2, 17, 12), (3,), (2,), (1,), (1,), True),
    ((2, 9, 5, 6, 7), (3, 2, 2), (2, 1, 2), (1, 0, 1), (1, 1, 1), True),
    ((2, 3, 16, 16), (16, 16), (1, 1), (0, 0), (1, 1), False),
]


def last(x):
    """The same values, channels last in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def sized(shape, window, stride, padding, dilation, ceil):
    return tuple(_count(*a, ceil) for a in zip(shape[2:], window, stride, padding, dilation))


def awkward(random, shape, dtype):
    """Ties everywhere, NaN and infinities."""
    x = random.integers(-2, 3, shape).astype(dtype)
    x.flat[random.integers(0, x.size, x.size // 3)] = -np.inf
    x.flat[random.integers(0, x.size, x.size // 9)] = np.nan
    x.flat[random.integers(0, x.size, 3)] = np.inf
    return x


@pytest.mark.parametrize("layout", [last, np.ascontiguousarray, lambda x: np.repeat(x, 2, -1)[..., ::2]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_maxima_and_their_places(geometry, dtype, layout):
    shape, *window, _ = geometry
    size = sized(*geometry)
    random = np.random.default_rng(len(shape) + sum(shape))
    for x in (random.standard_normal(shape).astype(dtype), awkward(random, shape, dtype)):
        x = layout(x)
        values, found = pooling.max_pool(x, *window, size)
        expected, places = PLAIN["max_pool"](x, *window, size)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(found, places)
        assert (values.dtype, found.dtype) == (x.dtype, np.uint8)
        g = layout(random.standard_normal(values.shape).astype(dtype))
        dx = pooling.window_scatter(g, found, shape[2:], *window)
        exact = OPS["window_scatter"].forward(np, g.astype("float64"), places, shape[2:], *window)
        np.testing.assert_allclose(dx, exact, rtol=1e-6 if dtype == "float32" else 1e-14, atol=1e-6)
        assert (dx.dtype, dx.shape) == (x.dtype, x.shape)


def test_the_layout_of_the_input_is_kept():
    x = np.random.default_rng(0).standard_normal((2, 16, 8, 8)).astype("float32")
    for given, axes in ((x, (0, 1, 2, 3)), (last(x), (0, 2, 3, 1))):
        values, found = pooling.max_pool(given, (2, 2), (2, 2), (0, 0), (1, 1), (4, 4))
        dx = pooling.window_scatter(values, found, (8, 8), (2, 2), (2, 2), (0, 0), (1, 1))
        for a in (values, found, dx):
            assert a.transpose(axes).flags.c_contiguous


def test_an_infinite_gradient_stays_where_it_belongs():
    x = last(np.arange(2 * 16 * 6 * 6, dtype="float32").reshape(2, 16, 6, 6))
    values, found = pooling.max_pool(x, (3, 3), (2, 2), (1, 1), (1, 1), (3, 3))
    g = np.full(values.shape, np.inf, "float32")
    for index, grad in ((found, last(g)), (np.ascontiguousarray(found), g)):
        dx = pooling.window_scatter(grad, index, (6, 6), (3, 3), (2, 2), (1, 1), (1, 1))
        assert set(np.unique(dx)) == {0.0, np.inf}


def test_what_it_leaves_to_others():
    x = np.zeros((0, 4, 6, 6), "float32")
    assert pooling.max_pool(x, (2, 2), (2, 2), (0, 0), (1, 1), (3, 3)) is NotImplemented
    x = np.zeros((1, 1, 20, 20), "float32")
    assert pooling.max_pool(x, (17, 17), (1, 1), (0, 0), (1, 1), (4, 4)) is NotImplemented
    assert pooling.max_pool(x.astype("int32"), (2, 2), (2, 2), (0, 0), (1, 1), (10, 10)) is NotImplemented


def test_threads_change_nothing():
    x = np.random.default_rng(1).standard_normal((4, 32, 33, 31)).astype("float32")
    before, results = cr.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            cr.set_num_threads(threads)
            for given in (x, last(x)):
                values, found = pooling.max_pool(given, (3, 3), (2, 2), (1, 1), (1, 1), (17, 16))
                dx = pooling.window_scatter(values, found, (33, 31), (3, 3), (2, 2), (1, 1), (1, 1))
                results.append((values, found, dx))
    finally:
        cr.set_num_threads(before)
    for values, found, dx in results[1:]:
        np.testing.assert_array_equal(values, results[0][0])
        np.testing.assert_array_equal(found, results[0][1])
        np.testing.assert_allclose(dx, results[0][2], rtol=1e-6)


def test_second_order_through_a_large_pool():
    x = np.random.default_rng(2).standard_normal((2, 16, 24, 24)).astype("float32")
    t = cr.tensor(last(x), requires_grad=True)
    y = cr.nn.functional.max_pool2d(t, 3, 2, 1)
    (g,) = cr.grad((y**3).sum(), t, create_graph=True)
    (h,) = cr.grad((g**2).sum(), t)
    flat = x.astype("float64")
    best, places = OPS["max_pool"].forward(np, flat, (3, 3), (2, 2), (1, 1), (1, 1), (12, 12))

    def back(v):
        return OPS["window_scatter"].forward(np, v, places, (24, 24), (3, 3), (2, 2), (1, 1), (1, 1))

    first = back(3 * best**2)
    gathered = OPS["window_gather"].forward(np, 2 * first, places, (3, 3), (2, 2), (1, 1), (1, 1))
    np.testing.assert_allclose(g.detach().numpy(), first, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(h.numpy(), back(6 * best * gathered), rtol=1e-4, atol=1e-3)


def test_the_op_table_through_the_kernels():
    """The records of the ops with arrays of any size sent to the kernels."""
    run = subprocess.run(
        [
            sys.executable,
            *["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_ops.py", "-k"],
            "max_pool or window_scatter",
        ],
        cwd=os.path.dirname(os.path.dirname(__file__)),
        env=os.environ | {"CHAINRULE_FAST": "always", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-2000:]
