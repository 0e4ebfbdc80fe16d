"""The compiled norm of a whole array, and clipping of gradients with it."""

import importlib.util
import os

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.backends.numpy.kernels import KERNELS

NUMBA = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None or os.environ.get("CHAINRULE_FAST") == "0",
    reason='numba is not installed (pip install "chainrule[fast]" brings it), or switched off',
)


@NUMBA
@pytest.mark.parametrize("size", [2048, 4096, 12289, 1000003])
def test_error_and_thread_counts(size):
    x = np.random.default_rng(0).standard_normal(size).astype("f")
    expected, before = np.linalg.norm(x.astype("d")), cr.get_num_threads()
    found = []
    try:
        for n in (1, 2, 3):
            cr.set_num_threads(n)
            found.append(KERNELS["vector_norm"](x))
    finally:
        cr.set_num_threads(before)
    assert abs(found[0] - expected) < 5e-7 * expected
    assert found[0].dtype == np.float32
    assert len(set(found)) == 1


@NUMBA
def test_layouts_and_what_is_not_finite():
    from chainrule.backends.compiled.norms import vector_norm

    x = np.random.default_rng(0).standard_normal((40, 50, 60)).astype("f")
    assert vector_norm(x.transpose(2, 0, 1)) == vector_norm(x)
    for other in (x[::2], x.astype("d"), x[:, ::-1]):
        assert vector_norm(other) is NotImplemented
    for options in ({"ord": 1}, {"dim": 0}, {"keepdim": True}):
        assert vector_norm(x, **options) is NotImplemented
    assert vector_norm(np.zeros((0, 3), "f")) == 0
    x[3, 4, 5] = np.inf
    assert vector_norm(x) == np.inf
    x[7, 4, 5] = np.nan
    assert np.isnan(vector_norm(x))


def test_clipping_large_gradients():
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(s).astype("f") for s in [(70, 80), (80,), (64, 3, 5, 5)]]
    params = [nn.Parameter(cr.zeros(g.shape)) for g in grads] + [
        nn.Parameter(cr.tensor(0.0)),
        nn.Parameter(cr.zeros(2)),
    ]
    for p, g in zip(params, [*grads, np.float32(2)]):
        p.grad = cr.tensor(g)
    same = params[0].grad
    total = np.sqrt(sum((g.astype("d") ** 2).sum() for g in grads) + 4)
    assert nn.utils.clip_grad_norm_(params, 1e6).item() == pytest.approx(total, rel=1e-6)
    np.testing.assert_array_equal(same.numpy(), grads[0])
    version = same._version
    nn.utils.clip_grad_norm_(params, 1.5)
    assert params[0].grad is same
    assert same._version > version
    np.testing.assert_allclose(same.numpy(), grads[0] * (1.5 / total), rtol=2e-6)
    assert params[3].grad.item() == pytest.approx(3 / total, rel=1e-5)
    assert nn.utils.clip_grad_norm_(params, 1e6).item() == pytest.approx(1.5, rel=1e-5)
    half = nn.Parameter(cr.zeros(300, dtype=cr.float16))
    half.grad = cr.full((300,), 100.0, dtype=cr.float16)
    nn.utils.clip_grad_norm_(half, 1.0)
    np.testing.assert_allclose(half.grad.numpy(), 300**-0.5, rtol=2e-3)
