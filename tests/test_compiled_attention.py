"""Attention by compiled kernels, against NumPy's in float64."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule
from chainrule.backends import compiled
from chainrule.backends.numpy.attention import attention, attention_grad

pytestmark = pytest.mark.skipif(
    not compiled.available(), reason='numba is not installed; pip install "chainrule[fast]" brings it'
)


def check(batch, heads, queries, keys, size, values, causal=False, mask=None, dropped=False, threads=1):
    from chainrule.backends.compiled import attention as ours

    rng = np.random.default_rng(queries + keys)
    normal = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
    # heads as layers cut them out of one array: (batch, length, heads, size) seen as (batch, heads, length, size)
    q, k = normal(batch, queries, heads, size).swapaxes(1, 2), normal(batch, keys, heads, size).swapaxes(1, 2)
    v, g = normal(batch, heads, keys, values), normal(batch, heads, queries, values)
    mask = {
        None: lambda: None,
        "bool": lambda: rng.random((queries, keys)) > 0.3,
        "float": lambda: normal(batch, 1, queries, keys),
    }[mask]()
    if mask is not None and mask.dtype == bool:
        mask[0] = False  # nothing to attend to
    kept = rng.random((batch, heads, queries, keys)) > 0.2 if dropped else None
    wide = lambda a: a.astype(float) if a is not None and a.dtype != bool else a
    needs = (True, True, True, mask is not None and mask.dtype != bool, False)
    before = chainrule.get_num_threads()
    chainrule.set_num_threads(threads)
    try:
        out, kept_back = ours.attention(q, k, v, mask, kept, 1.25, causal)
        grads = ours.attention_grad(g, kept_back, needs)
    finally:
        chainrule.set_num_threads(before)
    expected, residual = attention(wide(q), wide(k), wide(v), wide(mask), kept, 1.25, causal)
    np.testing.assert_allclose(out, expected, rtol=0, atol=5e-6)
    for found, exact in zip(grads, attention_grad(wide(g), residual, needs), strict=True):
        if exact is None:
            assert found is None
        else:
            np.testing.assert_allclose(found, exact, rtol=0, atol=4e-5)


@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 110), st.integers(1, 110), st.integers(1, 70),
    st.integers(1, 70), st.sampled_from([(True, None), (False, None), (False, "bool"), (False, "float")]),
    st.booleans(),
)  # fmt: skip
def test_values_and_gradients(batch, heads, queries, keys, size, values, how, dropped):
    check(batch, heads, queries, keys, size, values, *how, dropped)


@pytest.mark.parametrize("causal", [True, False])
def test_threads(causal):
    check(3, 5, 130, 130, 64, 64, causal, threads=2)


def test_the_scores_are_not_kept():
    shape = (1, 2, 600, 16)
    q, k, v = (chainrule.randn(shape, requires_grad=True) for _ in range(3))
    out = chainrule.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    kept = out.node.saved
    sizes = [a.size for part in kept if isinstance(part, tuple) for a in part if isinstance(a, np.ndarray)]
    assert sizes
    assert max(sizes) <= out.numel()


@pytest.mark.parametrize("width", ["4", "8"])
def test_other_vector_widths(width):
    program = "import test_compiled_attention as t; t.check(2, 2, 70, 90, 33, 40, True); t.check(1, 2, 9, 70, 64, 7)"
    environment = os.environ | {"CHAINRULE_VECTOR_WIDTH": width}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=os.path.dirname(__file__), check=True)
