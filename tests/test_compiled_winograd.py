"""Winograd's convolutions against sums of products in float64: any size, padding, number of channels and threads."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule
from chainrule.backends import mkldnn
from chainrule.backends.compiled import available

if not available():
    pytest.skip("the extra `fast` is not installed", allow_module_level=True)

from chainrule.backends.compiled import winograd

#: largest error over the standard deviation of the result
BOUND = {2: 5e-6, 4: 5e-5}


@pytest.fixture(autouse=True)
def threads_as_before():
    before = chainrule.get_num_threads()
    yield
    chainrule.set_num_threads(before)


def data(n, c, o, size, padding, seed=0):
    rng = np.random.default_rng(seed)
    (t, b), (l, r) = padding
    x = rng.standard_normal((n, c, *size)).astype(np.float32)
    w = rng.standard_normal((o, c, 3, 3)).astype(np.float32)
    g = rng.standard_normal((n, o, size[0] + t + b - 2, size[1] + l + r - 2)).astype(np.float32)
    return x, w, g, rng.standard_normal(o).astype(np.float32)


def windows(x, padding):
    framed = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *padding))
    return np.lib.stride_tricks.sliding_window_view(framed, (3, 3), (2, 3))


def exact(x, w, g, bias, padding):
    """Result, gradient for the input and gradient for the weight, in float64."""
    some = windows(x, padding)
    y = np.einsum("nchwij,ocij->nohw", some, w.astype(np.float64), optimize=True)
    dw = np.einsum("nchwij,nohw->ocij", some, g.astype(np.float64), optimize=True)
    around = [(max(2 - low, 0), max(2 - high, 0)) for low, high in padding]
    turned = windows(g, around)
    dx = np.einsum("nohwij,ocij->nchw", turned, w[:, :, ::-1, ::-1].astype(np.float64), optimize=True)
    cut = [slice(max(low - 2, 0), max(low - 2, 0) + n) for (low, _), n in zip(padding, x.shape[2:])]
    return y + bias.reshape(-1, 1, 1), dx[:, :, cut[0], cut[1]], dw


def last(a):
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1))


def computed(x, w, g, bias, padding, m):
    (t, _), (l, _) = padding
    y = winograd._convolve(last(x), w, bias, (t, l), g.shape[2:], False, m)
    dx = winograd._convolve(last(g), w, None, (2 - t, 2 - l), x.shape[2:], True, m)
    dw = winograd._correlate(last(x), last(g), (t, l), m)
    return y.transpose(0, 3, 1, 2), dx.transpose(0, 3, 1, 2), dw.reshape(w.shape)


def close(found, expected, bound):
    """To the standard deviation of sums of as many products of standard normal numbers."""
    (o, c), outputs = expected[2].shape[:2], expected[0][:, 0].size
    for name, terms, a, b in zip(("result", "input", "weight"), (9 * c, 9 * o, outputs), found, expected):
        assert a.shape == b.shape
        assert a.dtype == np.float32
        error = abs(a - b).max() / terms**0.5
        assert error < bound, f"{name}: {error:.1e} of the standard deviation"


@pytest.mark.parametrize("m", [2, 4])
def test_matrices_make_a_convolution(m):
    at, g, bt = map(np.array, winograd.matrices(m))
    rng = np.random.default_rng(0)
    d, k = rng.standard_normal(m + 2), rng.standard_normal(3)
    found = at @ ((g @ k) * (bt @ d))
    np.testing.assert_allclose(found, [d[i : i + 3] @ k for i in range(m)], rtol=1e-12)
    # numbers of A and B are exact in float32: rounding comes from sums and from G only
    assert (at.astype(np.float32) == at).all()
    assert (bt.astype(np.float32) == bt).all()


SIDES = st.integers(0, 3)


@settings(max_examples=20, deadline=None)
@given(
    m=st.sampled_from([2, 4]),
    n=st.integers(1, 3),
    c=st.integers(1, 40),
    o=st.integers(1, 40),
    size=st.tuples(st.integers(3, 14), st.integers(3, 14)),
    padding=st.tuples(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES)),
    panels=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_geometry(m, n, c, o, size, padding, panels, seed):
    given_arrays = data(n, c, o, size, padding, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "KEPT", 0 if panels else 1 << 30)
        patch.setattr(winograd, "SUMS", 0 if panels else 1 << 30)
        found = computed(*given_arrays, padding, m)
    close(found, exact(*given_arrays, padding), BOUND[m])


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize(
    ("n", "c", "o", "side"), [(4, 64, 64, 16), (2, 96, 160, 11), (3, 256, 64, 7), (8, 300, 290, 4)]
)
def test_stated_errors(m, n, c, o, side):
    padding = (1, 1), (1, 1)
    given_arrays = data(n, c, o, (side, side), padding)
    found = computed(*given_arrays, padding, m)
    close(found, exact(*given_arrays, padding), BOUND[m])


def test_many_blocks_of_tiles(monkeypatch):
    """Blocks that end in the midst of a sample, and mapped tiles that do not fit at once."""
    padding = (1, 1), (0, 2)
    given_arrays = data(3, 33, 70, (21, 19), padding)
    expected = exact(*given_arrays, padding)
    monkeypatch.setattr(winograd, "BLOCK", 14)
    close(computed(*given_arrays, padding, 4), expected, BOUND[4])
    monkeypatch.setattr(winograd, "SUMS", 0)
    monkeypatch.setattr(winograd, "KEPT", 0)
    monkeypatch.setattr(winograd, "MAPPED", 36 * 128 * 7)
    close(computed(*given_arrays, padding, 4), expected, BOUND[4])


@pytest.mark.parametrize("per_panel", [False, True])
@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (2, 3, 1, 0), (0, 2, 3, 1), (1, 0, 2, 3)])
def test_memory_of_weights(axes, per_panel, monkeypatch):
    monkeypatch.setattr(winograd, "KEPT", 0 if per_panel else 1 << 30)
    padding = (1, 1), (1, 1)
    x, w, g, bias = data(2, 48, 50, (9, 10), padding)
    laid = np.ascontiguousarray(w.transpose(axes)).transpose(np.argsort(axes))
    for a, b in zip(computed(x, laid, g, bias, padding, 4), computed(x, w, g, bias, padding, 4)):
        np.testing.assert_array_equal(a, b)


def test_functions_and_layouts():
    padding = (1, 1), (1, 1)
    x, w, g, bias = data(8, 64, 70, (15, 17), padding)
    expected = exact(x, w, g, bias, padding)
    for lay in (lambda a: a, lambda a: last(a).transpose(0, 3, 1, 2), lambda a: np.repeat(a, 2, axis=1)[:, ::2]):
        y = winograd.forward(lay(x), lay(w), bias, padding)
        dx = winograd.input_gradient(lay(g), lay(w), x.shape[2:], padding)
        dw = winograd.weight_gradient(lay(x), lay(g), padding)
        close((y, dx, dw), expected, BOUND[4])
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous
        assert dx.transpose(0, 2, 3, 1).flags.c_contiguous
        assert dw.flags.c_contiguous


@pytest.mark.parametrize("side", [16, 13])
def test_conv2d_takes_them(side, monkeypatch):
    """The public function and both of its gradients; in float64 it has none of this."""
    calls = []
    for name in ("forward", "input_gradient", "weight_gradient"):
        function = getattr(winograd, name)
        monkeypatch.setattr(winograd, name, lambda *a, f=function, name=name: calls.append(name) or f(*a))
    padding = (1, 1), (1, 1)
    arrays = x, w, g, bias = data(4, 48, 40, (side, side), padding)
    results = {}
    for dtype in (np.float32, np.float64):
        inputs = [chainrule.tensor(a.astype(dtype), requires_grad=True) for a in (x, w, bias)]
        y = chainrule.nn.functional.conv2d(*inputs, padding=1)
        y.backward(chainrule.tensor(g.astype(dtype)))
        results[dtype] = [y.detach().numpy(), *(t.grad.numpy() for t in inputs[:2])]
    close(results[np.float32], results[np.float64], BOUND[4])
    assert sorted(set(calls)) == ["forward", "input_gradient", "weight_gradient"]
    assert len(calls) == 3
    np.testing.assert_allclose(results[np.float64][0], exact(*arrays, padding)[0], rtol=1e-9, atol=1e-9)


def test_what_is_left_to_others():
    padding = (1, 1), (1, 1)
    x, w, g, _ = data(8, 64, 64, (16, 16), padding)
    double = [a.astype(np.float64) for a in (x, w, g)]
    assert winograd.forward(double[0], double[1], None, padding) is NotImplemented
    assert winograd.input_gradient(double[2], double[1], (16, 16), padding) is NotImplemented
    assert winograd.weight_gradient(double[0], double[2], padding) is NotImplemented
    assert winograd.forward(x[:0], w, None, padding) is NotImplemented
    assert winograd.forward(x[:, :3], w[:, :3], None, padding) is NotImplemented
    assert winograd.forward(x[..., :1, :1], w, None, ((0, 0), (0, 0))) is NotImplemented
    assert winograd.forward(x[:1, :, :1, :1], w, None, padding) is NotImplemented
    assert winograd.forward(x, w[..., :2], None, padding) is NotImplemented


def test_precision_switch():
    padding = (1, 1), (1, 1)
    given_arrays = x, w, _, bias = data(8, 64, 64, (16, 16), padding)
    expected = exact(*given_arrays, padding)
    assert mkldnn.conv.fp32_precision == "none"
    loose = abs(winograd.forward(x, w, bias, padding) - expected[0]).max()
    mkldnn.conv.fp32_precision = "ieee"
    try:
        found = winograd.forward(x, w, bias, padding)
    finally:
        mkldnn.conv.fp32_precision = "none"
    assert abs(found - expected[0]).max() < BOUND[2] * (9 * 64) ** 0.5
    assert abs(found - expected[0]).max() < loose / 2


@pytest.mark.parametrize("sums", [0, 1 << 30])
def test_threads(sums, monkeypatch):
    monkeypatch.setattr(winograd, "LEAST", 1)
    monkeypatch.setattr(winograd, "SUMS", sums)
    monkeypatch.setattr(winograd, "KEPT", sums)
    padding = (1, 1), (1, 1)
    given_arrays = data(5, 70, 66, (13, 9), padding)
    chainrule.set_num_threads(1)
    alone = computed(*given_arrays, padding, 4)
    for n in (2, 3, 7):
        chainrule.set_num_threads(n)
        first = computed(*given_arrays, padding, 4)
        for a, b, c in zip(first, computed(*given_arrays, padding, 4), alone):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, c, atol=2e-5 * c.std(), rtol=0)


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import test_compiled_winograd as t
from chainrule.backends.compiled.intrinsics import vector_width
assert vector_width() == int(sys.argv[2])
padding = (1, 1), (0, 2)
given = t.data(2, 21, 38, (9, 7), padding)
expected = t.exact(*given, padding)
t.close(t.computed(*given, padding, 4), expected, t.BOUND[4])
t.winograd.KEPT = t.winograd.SUMS = 0
t.close(t.computed(*given, padding, 4), expected, t.BOUND[4])
"""


@pytest.mark.parametrize("width", [4, 8])
def test_narrower_vectors(width):
    environment = {**os.environ, "CHAINRULE_VECTOR_WIDTH": str(width)}
    folder = os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", PROGRAM, folder, str(width)], env=environment, check=True, timeout=300)
