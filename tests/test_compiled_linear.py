"""Matrix products by our own kernel, against float64: every order of memory, sizes around the edges of its blocks."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule
from chainrule.backends import compiled

pytestmark = pytest.mark.skipif(
    not compiled.available(),
    reason='numba is not installed; pip install "chainrule[fast]" brings it',
)


def products():
    from chainrule.backends.compiled import gemm

    return gemm


def check(m, k, n, transposed_a, transposed_b, biased, seed=0):
    gemm, rng = products(), np.random.default_rng(seed)
    a = rng.standard_normal((k, m) if transposed_a else (m, k), dtype=np.float32)
    b = rng.standard_normal((n, k) if transposed_b else (k, n), dtype=np.float32)
    bias = rng.standard_normal(n if biased else 0, dtype=np.float32)
    out = np.full((m, n), np.nan, np.float32)
    gemm.product(a, b, out, transposed_a, transposed_b, bias)
    left, right = (a.T if transposed_a else a).astype(float), (b.T if transposed_b else b).astype(float)
    expected = left @ right + (bias if biased else 0)
    # at most k u |A||B| (u = 6e-8) and, as errors are random, far below it
    bound = 1e-6 * (np.abs(left) @ np.abs(right) + 1)
    assert (np.abs(out - expected) <= bound).all()
    again = np.empty_like(out)
    gemm.product(a, b, again, transposed_a, transposed_b, bias)
    np.testing.assert_array_equal(out, again)


@given(
    st.integers(0, 150), st.integers(0, 300), st.integers(0, 150), st.integers(0, 1), st.integers(0, 1), st.booleans()
)
def test_products(m, k, n, transposed_a, transposed_b, biased):
    check(m, k, n, transposed_a, transposed_b, biased)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("m", "k", "n"), [(203, 515, 1100), (1100, 257, 40), (97, 512, 96)])
def test_blocks_and_threads(m, k, n, threads, thread_count):
    thread_count(threads)
    for transposed_a in (0, 1):
        for transposed_b in (0, 1):
            check(m, k, n, transposed_a, transposed_b, transposed_a)


@pytest.fixture
def thread_count():
    before = chainrule.get_num_threads()
    yield chainrule.set_num_threads
    chainrule.set_num_threads(before)


def test_infinities_stay_in_their_row():
    gemm = products()
    a, b = np.ones((40, 64), np.float32), np.ones((64, 70), np.float32)
    a[3, 5], a[7, 9] = np.inf, np.nan
    out = gemm.product(a, b, np.empty((40, 70), np.float32), 0, 0)
    assert np.isinf(out[3]).all()
    assert np.isnan(out[7]).all()
    assert (np.delete(out, [3, 7], 0) == 64).all()


def test_linear_and_its_gradients():
    rng = np.random.default_rng(1)
    for shape in [(70, 300), (3, 30, 300)]:
        x = chainrule.tensor(rng.standard_normal(shape, dtype=np.float32), requires_grad=True)
        w = chainrule.tensor(rng.standard_normal((130, 300), dtype=np.float32), requires_grad=True)
        b = chainrule.tensor(rng.standard_normal(130, dtype=np.float32), requires_grad=True)
        exact = [t.detach().double().requires_grad_() for t in (x, w, b)]
        out, expected = chainrule.nn.functional.linear(x, w, b), chainrule.nn.functional.linear(*exact)
        np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-4)
        (out * out).sum().backward()
        (expected * expected).sum().backward()
        for t, e in zip((x, w, b), exact):
            np.testing.assert_allclose(t.grad.numpy(), e.grad.numpy(), rtol=1e-4, atol=2e-2)


@pytest.mark.parametrize("outputs", [20, 96])
def test_weight_gradient_of_a_transposed_batch(outputs):
    rng = np.random.default_rng(2)
    x = chainrule.tensor(rng.standard_normal((30, 40, 128), dtype=np.float32)).transpose(0, 1)
    w = chainrule.tensor(rng.standard_normal((outputs, 128), dtype=np.float32), requires_grad=True)
    g = rng.standard_normal((40, 30, outputs), dtype=np.float32)
    out = chainrule.nn.functional.linear(x, w)
    assert out.is_contiguous()
    out.backward(chainrule.tensor(g))
    expected = np.einsum("bto,bti->oi", g.astype(float), x.numpy().astype(float))
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("width", ["4", "8"])
def test_other_vector_widths(width):
    program = "import test_compiled_linear as t\nfor n in (33, 100):\n"
    program += "    t.check(70, 300, n, 0, 1, True)\n    t.check(70, 300, n, 1, 0, False)"
    environment = os.environ | {"CHAINRULE_VECTOR_WIDTH": width}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=os.path.dirname(__file__), check=True)
