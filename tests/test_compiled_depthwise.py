"""Compiled depthwise and grouped convolutions against the ops' own forwards in float64."""

import os
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.op import OPS

pytest.importorskip("numba")

from chainrule.backends.compiled import depthwise

SHAPES = {  # batch, groups, inputs and outputs of a group, size, kernel, stride, padding, dilation
    "3x3": (2, 32, 1, 1, (9, 17), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "3x3 step 2, odd channels": (2, 37, 1, 1, (12, 21), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "5x5 step 2": (2, 48, 1, 1, (13, 14), (5, 5), (2, 2), ((2, 2), (2, 2)), (1, 1)),
    "7x7": (1, 20, 1, 1, (7, 7), (7, 7), (1, 1), ((3, 3), (3, 3)), (1, 1)),
    "7x7 on less": (1, 20, 1, 1, (3, 2), (7, 7), (1, 1), ((3, 3), (3, 3)), (1, 1)),
    "uneven, dilated": (2, 37, 1, 1, (9, 21), (3, 5), (3, 1), ((0, 0), (3, 1)), (1, 2)),
    "stride beyond the kernel, cropped": (2, 16, 1, 1, (9, 8), (2, 2), (3, 3), ((0, 0), (-1, 0)), (1, 1)),
    "twice as many": (2, 8, 1, 2, (9, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "three times as many": (2, 9, 1, 3, (6, 7), (3, 3), (2, 1), ((1, 1), (1, 1)), (1, 1)),
    "one dimension": (2, 20, 1, 1, (29,), (3,), (2,), ((1, 1),), (1,)),
    "groups of 4": (2, 8, 4, 4, (9, 9), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "groups of 8, step 2": (1, 4, 8, 8, (9, 10), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "groups of 16": (1, 2, 16, 16, (7, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "groups of 24 to 20": (1, 3, 24, 20, (9, 7), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "groups of 5 to 6": (2, 3, 5, 6, (9, 7), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "groups of 80 to 72": (2, 2, 80, 72, (6, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "two wide groups": (4, 2, 48, 64, (30, 30), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "1x1": (2, 8, 4, 4, (5, 6), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),
}


def last(x):
    """The same values, channels last in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def close(found, exact, terms):
    """To the rounding of a sum of so many products of numbers of size 1."""
    assert found.shape == exact.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=2e-6, atol=3e-6 * terms**0.5)


def check(shape, layout, random):
    n, groups, depth, outputs, size, kernel, *geometry = shape
    geometry = *geometry, groups
    x = layout(random.standard_normal((n, groups * depth, *size)).astype("float32"))
    w = random.standard_normal((groups * outputs, depth, *kernel)).astype("float32")
    bias = random.standard_normal(len(w)).astype("float32")
    exact = OPS["conv"].forward(np, *[a.astype("float64") for a in (x, w, bias)], *geometry)
    taps = int(np.prod(kernel))
    close(depthwise.forward(x, w, bias, *geometry), exact, taps * depth)
    g = layout(random.standard_normal(exact.shape).astype("float32"))
    wide = [a.astype("float64") for a in (x, w, g)]
    dx = OPS["conv_input"].forward(np, wide[2], wide[1], size, *geometry)
    close(depthwise.input_gradient(g, w, size, *geometry), dx, taps * outputs)
    dw = OPS["conv_weight"].forward(np, wide[0], wide[2], kernel, *geometry)
    close(depthwise.weight_gradient(x, g, kernel, *geometry), dw, g.size)


@pytest.mark.parametrize("name", SHAPES)
def test_values_and_gradients(name):
    random = np.random.default_rng(len(name))
    for layout in (last, np.ascontiguousarray):
        check(SHAPES[name], layout, random)


def test_nothing_spreads_from_group_to_group():
    for groups, depth in ((32, 1), (8, 4), (2, 16)):
        x = np.ones((1, groups * depth, 6, 6), "float32")
        x[0, 0, 0, 0], x[0, -1, 5, 5] = np.inf, np.nan
        w = np.ones((groups * depth, depth, 3, 3), "float32")
        geometry = (1, 1), ((1, 1), (1, 1)), (1, 1), groups
        exact = OPS["conv"].forward(np, x, w, None, *geometry)
        np.testing.assert_array_equal(depthwise.forward(last(x), w, None, *geometry), exact)
        exact = OPS["conv_input"].forward(np, x, w, (6, 6), *geometry)
        np.testing.assert_array_equal(depthwise.input_gradient(last(x), w, (6, 6), *geometry), exact)


def test_what_it_leaves_to_others():
    w = np.zeros((4, 1, 3, 3), "float32")
    geometry = (1, 1), ((1, 1), (1, 1)), (1, 1), 4
    assert depthwise.forward(np.zeros((0, 4, 6, 6), "float32"), w, None, *geometry) is NotImplemented
    assert depthwise.forward(np.zeros((1, 4, 6, 6)), w.astype("float64"), None, *geometry) is NotImplemented
    assert depthwise.forward(np.zeros((1, 4, 2, 6, 6), "float32"), w, None, *geometry) is NotImplemented


def test_threads_change_only_the_last_digits():
    random = np.random.default_rng(1)
    x, w = random.standard_normal((3, 64, 40, 41)).astype("float32"), np.ones((64, 1, 5, 5), "float32")
    geometry = (1, 1), ((2, 2), (2, 2)), (1, 1), 64
    before, results = cr.get_num_threads(), []
    try:
        for threads in (1, 2, 2, 3):
            cr.set_num_threads(threads)
            y = depthwise.forward(x, w, None, *geometry)
            dx = depthwise.input_gradient(x, w, (40, 41), *geometry)
            results.append((y, dx, depthwise.weight_gradient(x, x, (5, 5), *geometry)))
    finally:
        cr.set_num_threads(before)
    for y, dx, dw in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(dx, results[0][1])
        np.testing.assert_allclose(dw, results[0][2], rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(results[1][2], results[2][2])


@pytest.mark.parametrize("groups", [32, 8])
def test_second_order(groups):
    random = np.random.default_rng(3)
    arrays = random.standard_normal((2, 32, 9, 9)), random.standard_normal((32, 32 // groups, 3, 3))

    def second(dtype):
        x, w = (cr.tensor(a.astype(dtype), requires_grad=True) for a in arrays)
        y = cr.nn.functional.conv2d(x, w, None, 2, 1, 1, groups)
        gx, gw = cr.grad((y**2).sum(), (x, w), create_graph=True)
        return [t.detach().numpy() for t in cr.grad((gx**2).sum() + (gw**2).sum(), (x, w))]

    for found, exact in zip(second("float32"), second("float64")):
        np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-4 * abs(exact).max())


@pytest.mark.parametrize("width", [4, 8])
def test_narrower_vectors(width):
    """What a processor without AVX-512 runs."""
    program = (
        "import numpy, test_compiled_depthwise as t\n"
        "for name in ('3x3 step 2, odd channels', 'groups of 4'):\n"
        "    t.check(t.SHAPES[name], t.last, numpy.random.default_rng(0))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=os.path.dirname(__file__),
        env=os.environ | {"CHAINRULE_VECTOR_WIDTH": str(width), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
