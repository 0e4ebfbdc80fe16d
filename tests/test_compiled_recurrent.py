"""Recurrent layers by compiled kernels, against NumPy's in float64."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import chainrule
from chainrule.backends import compiled
from chainrule.backends.numpy import recurrent as plain

pytestmark = pytest.mark.skipif(
    not compiled.available(), reason='numba is not installed; pip install "chainrule[fast]" brings it'
)

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def wide(x):
    return None if x is None else x.astype(float)


def close(found, exact):
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-6 * (1 + np.abs(exact).max()))


def check(kind, inputs, size, batch_sizes, reverse=False, initial=True, biased=True, nonlinearity=None):
    from chainrule.backends.compiled import recurrent as ours

    rng = np.random.default_rng(size)
    normal = lambda *shape: rng.standard_normal(shape, dtype=np.float32) / np.float32(shape[-1] ** 0.5)
    rows = GATES[kind] * size
    x, states = normal(sum(batch_sizes), inputs), 2 if kind == "lstm" else 1
    given = [normal(batch_sizes[0], size) if initial else None for _ in range(states)]
    weights = [normal(rows, inputs), normal(rows, size), *[normal(rows) if biased else None for _ in range(2)]]
    options = {"batch_sizes": batch_sizes, "reverse": reverse}
    options |= {"nonlinearity": nonlinearity} if nonlinearity else {}
    (out, *last), residual = getattr(ours, kind)(x, *given, *weights, **options)
    (exact, *exact_last), exact_residual = getattr(plain, kind)(
        wide(x), *map(wide, given), *map(wide, weights), **options
    )
    for found, expected in zip((out, *last), (exact, *exact_last), strict=True):
        close(found, expected)
    g = [normal(*a.shape) for a in (out, *last)]
    needs = (True,) * 7 + (False,)
    grads = getattr(ours, f"{kind}_grad")(g, residual, needs)
    again = getattr(ours, f"{kind}_grad")(g, residual, needs)  # what is kept stays as it is
    for found, second, expected in zip(
        grads, again, getattr(plain, f"{kind}_grad")([wide(a) for a in g], exact_residual, needs), strict=True
    ):
        if expected is None:
            assert found is None
        else:
            close(found, expected)
            np.testing.assert_array_equal(found, second)


@pytest.mark.parametrize(("kind", "reverse", "initial"), [*itertools.product(GATES, (False, True), (False, True))])
def test_values_and_gradients(kind, reverse, initial):
    for inputs, size, batch_sizes in [
        (5, 7, (5, 4, 4, 1)),
        (33, 40, (14, 14, 13, 3)),
        (17, 33, (4, 3)),
        (9, 64, (30,)),
    ]:
        for biased in (False, True):
            check(kind, inputs, size, batch_sizes, reverse, initial, biased)


@pytest.mark.parametrize("reverse", [False, True])
def test_relu(reverse):
    check("rnn", 6, 20, (14, 7), reverse, nonlinearity="relu")


@pytest.mark.parametrize("kind", GATES)
def test_threads(kind):
    before = chainrule.get_num_threads()
    try:
        for threads in (1, 2, 3):
            chainrule.set_num_threads(threads)
            check(kind, 64, 96, (50,) * 6 + (31,) * 4)
    finally:
        chainrule.set_num_threads(before)


@pytest.mark.parametrize("width", ["4", "8"])
def test_other_vector_widths(width):
    program = "import test_compiled_recurrent as t\nfor k in t.GATES: t.check(k, 17, 33, (9, 8, 2), True)"
    environment = os.environ | {"CHAINRULE_VECTOR_WIDTH": width}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=os.path.dirname(__file__), check=True)
