"""Compiled functions of one array: values and gradients against float64, layouts in memory, what is not finite."""

import os

import numpy as np
import pytest
from scipy import special

import chainrule as cr
from chainrule.autograd.op import OPS
from chainrule.backends import compiled
from chainrule.backends.numpy.kernels import KERNELS

pytest.importorskip("numba")

from chainrule.backends.compiled import mathematics

pytestmark = pytest.mark.skipif(os.environ.get("CHAINRULE_FAST") == "0", reason="numba is switched off")

F = cr.nn.functional
#: op -> (as users call it, its parameters, largest relative error, largest absolute error), errors of the forward
CALLS = {
    "relu": (F.relu, {}, 0, 0),
    "abs": (cr.abs, {}, 0, 0),
    "leaky_relu": (F.leaky_relu, {"negative_slope": 0.2}, 1e-7, 0),
    "clamp": (cr.clamp, {"min": -0.5, "max": 1.25}, 1e-7, 0),
    "exp": (cr.exp, {}, 1.3e-7, 0),
    "expm1": (cr.expm1, {}, 2e-7, 0),
    "log": (cr.log, {}, 2e-7, 1e-7),
    "log1p": (cr.log1p, {}, 3e-7, 1e-7),
    "erf": (cr.erf, {}, 4e-7, 0),
    "sigmoid": (cr.sigmoid, {}, 2.5e-7, 0),
    "gelu": (F.gelu, {}, 4e-7, 1e-6),
    "silu": (F.silu, {}, 4e-7, 0),
    "softplus": (F.softplus, {"beta": 1.5, "threshold": 25.0}, 2e-6, 0),
    "logsigmoid": (F.logsigmoid, {}, 4e-7, 0),
    "mish": (F.mish, {}, 1e-6, 0),
    "elu": (F.elu, {"alpha": 0.75}, 4e-7, 0),
    "celu": (F.celu, {"alpha": 1.5}, 4e-7, 0),
    "selu": (F.selu, {}, 4e-7, 0),
    "hardswish": (F.hardswish, {}, 4e-7, 2e-7),
    "hardsigmoid": (F.hardsigmoid, {}, 4e-7, 2e-7),
}
CASES = [(name, params) for name, (_, params, _, _) in CALLS.items()] + [("gelu", {"approximate": "tanh"})]
MOVED = [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)]


def numbers(name, size, seed=0, spread=3.0):
    x = np.random.default_rng(seed).standard_normal(size) * spread
    return np.abs(x) + 1e-3 if name in ("log", "log1p") else x


def both(name, params, x, g):
    """Result and gradient, of float32 and by NumPy's float64."""
    function, found = CALLS[name][0], []
    for dtype in ("float32", "float64"):
        leaf = cr.tensor(x.astype(dtype), requires_grad=True)
        y = function(leaf, **params)
        y.backward(cr.tensor(g.astype(dtype)))
        found += [y.detach().numpy(), leaf.grad.numpy()]
    return found


def test_every_name_is_registered_and_tested():
    from chainrule.backends.compiled import elementwise

    names = {name for name, (module, _) in compiled.TABLE.items() if module == "elementwise"}
    assert names == set(elementwise.SERVES)
    assert {name.split(".")[0] for name in names} == {*CALLS, "glu", "prelu_slope"}
    assert all(name.split(".")[0] in OPS for name in names)


@pytest.mark.parametrize(("name", "params"), CASES, ids=str)
@pytest.mark.parametrize("size", [8192, 65537])
def test_values_and_gradients(name, params, size):
    rng = np.random.default_rng(1)
    x, g = numbers(name, size).astype("float32"), rng.standard_normal(size).astype("float32")
    y, dx, y64, dx64 = both(name, params, x, g)
    _, _, relative, absolute = CALLS[name]
    assert y.dtype == dx.dtype == np.float32
    assert (np.abs(y - y64) <= np.abs(y64) * relative + absolute).all()
    # derivatives go up to about 1.2, times g; where two terms cancel the error is that of the terms
    assert (np.abs(dx - dx64) <= np.abs(dx64) * 1e-6 + np.abs(g) * 1e-6).all()


@pytest.mark.parametrize(("name", "params"), CASES, ids=str)
def test_what_is_not_finite_and_the_kinks(name, params, monkeypatch):
    x = np.tile(np.array([np.inf, -np.inf, np.nan, 0, -0.0, 3, -3, 6, 200, -200, 1e-30, -1e-30], "f"), 1000)
    g = np.ones_like(x)
    with np.errstate(all="ignore"):
        y, dx, y64, dx64 = both(name, params, x, g)
        y64, dx64 = y64.astype("f"), dx64.astype("f")
    np.testing.assert_allclose(y, y64, rtol=1e-6, atol=CALLS[name][3] + 1e-37)
    agree = np.ones(len(x), bool)
    if name in ("gelu", "silu", "mish"):  # inf - inf and inf * 0 in the formula of the derivative
        agree = np.isfinite(x)
    np.testing.assert_allclose(dx[agree], dx64[agree], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CALLS)
def test_layouts(name):
    """The result lies in memory like the input, and is the same whatever the order, to the last bit or two."""
    x = numbers(name, 2 * 3 * 41 * 43).astype("f").reshape(2, 3, 41, 43)
    expected = None
    for order in MOVED:
        leaf = cr.tensor(x.transpose(order)).permute(tuple(np.argsort(order))).requires_grad_()
        y = CALLS[name][0](leaf, **CALLS[name][1])
        y.backward(y.detach())
        assert y.array.strides == leaf.grad.array.strides == leaf.array.strides
        found = y.detach().numpy(), leaf.grad.numpy()
        if expected is None:
            expected = found
        np.testing.assert_allclose(found[0], expected[0], rtol=3e-7, atol=1e-6)
        np.testing.assert_allclose(found[1], expected[1], rtol=3e-7, atol=5e-6)


@pytest.mark.parametrize("name", CALLS)
def test_what_is_copied(name):
    """Gaps, other orders for g, negative strides, odd addresses, one number for all."""
    call, params = CALLS[name][:2]
    x = numbers(name, 2 * 90 * 95).astype("f").reshape(2, 90, 95)
    odd = np.frombuffer(bytearray(x.nbytes + 1), "f", x.size, offset=1).reshape(x.shape)
    odd[...] = x
    g = np.random.default_rng(2).standard_normal(x.shape).astype("f")
    for a, b in (
        (x[:, ::2], g[:, ::2]),
        (x, g.transpose(2, 0, 1).copy().transpose(1, 2, 0)),
        (x[:, ::-1], g),
        (odd, g),
        (x, np.broadcast_to(g[0, 0, 0], x.shape)),
    ):
        leaf, plain = cr.from_numpy(a).requires_grad_(), cr.tensor(a.astype("d"), requires_grad=True)
        y, y64 = call(leaf, **params), call(plain, **params)
        y.backward(cr.from_numpy(b))
        y64.backward(cr.tensor(b.astype("d")))
        np.testing.assert_allclose(y.detach().numpy(), y64.detach().numpy(), rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(leaf.grad.numpy(), plain.grad.numpy(), rtol=2e-6, atol=5e-6)


@pytest.mark.parametrize(
    ("shape", "dim"), [((90, 100), 1), ((3, 80, 51), 1), ((8000,), 0), ((64, 0), 1), ((4, 3, 998), -1)]
)
def test_glu(shape, dim):
    x = np.random.default_rng(0).standard_normal(shape).astype("f") * 3
    for a in (x, np.asfortranarray(x)):
        leaf, plain = cr.tensor(a, requires_grad=True), cr.tensor(a.astype("d"), requires_grad=True)
        y, y64 = F.glu(leaf, dim), F.glu(plain, dim)
        y.backward(y.detach())
        y64.backward(y64.detach())
        np.testing.assert_allclose(y.detach().numpy(), y64.detach().numpy(), rtol=4e-7)
        np.testing.assert_allclose(leaf.grad.numpy(), plain.grad.numpy(), rtol=1e-6, atol=1e-5)
        if x.size:
            (first,) = cr.autograd.grad(F.glu(leaf, dim).sum(), leaf, create_graph=True)
            assert first.requires_grad


@pytest.mark.parametrize("slope", [0.25, -0.5, 1.5])
@pytest.mark.parametrize("channels", [1, 6])
def test_prelu(slope, channels):
    x = np.random.default_rng(0).standard_normal((5, 6, 20, 21)).astype("f")
    x[0, 0, 0, :3] = [0, np.inf, -np.inf]
    results = []
    for dtype in "fd":
        leaf = cr.tensor(x.astype(dtype), requires_grad=True)
        weight = cr.full((channels,), slope, dtype=leaf.dtype, requires_grad=True)
        y = F.prelu(leaf, weight)
        y.backward(cr.tensor(np.where(np.isfinite(x), x[::-1, :, ::-1], 0).clip(-9, 9).astype(dtype)))
        results.append([y.detach().numpy(), leaf.grad.numpy(), weight.grad.numpy()])
    for a, b, rtol in zip(*results, (1e-6, 1e-6, 2e-5), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-4 if a.ndim == 1 else 0)


@pytest.mark.parametrize("name", ["gelu", "relu", "selu"])
def test_gradient_of_a_sum_and_second_order(name):
    call = CALLS[name][0]
    x = numbers(name, 9000).astype("f")
    leaf, plain = cr.tensor(x, requires_grad=True), cr.tensor(x.astype("d"), requires_grad=True)
    call(leaf).sum().backward()
    call(plain).sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), plain.grad.numpy(), rtol=2e-6, atol=2e-6)
    if name != "relu":
        twice = []
        for t in (leaf, plain):
            (first,) = cr.autograd.grad(call(t).sum(), t, create_graph=True)
            twice.append(cr.autograd.grad((first * first).sum(), t)[0].numpy())
        np.testing.assert_allclose(*twice, rtol=1e-5, atol=1e-5)


def test_thread_counts_agree():
    x = numbers("gelu", 600003).astype("f")
    before, found = cr.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            cr.set_num_threads(n)
            found.append(KERNELS["gelu"](x))
    finally:
        cr.set_num_threads(before)
    for y in found[1:]:
        np.testing.assert_array_equal(y, found[0])


REFERENCES = {
    "exp": (np.exp, (-87, 88), 1.2e-7),
    "expm1": (np.expm1, (-87, 88), 2.2e-7),
    "tanh": (np.tanh, (-12, 12), 3e-7),
    "sigmoid": (special.expit, (-86, 40), 2.5e-7),
    "erf": (special.erf, (-5, 5), 4e-7),
    "log": (np.log, (1e-30, 1e5), 2e-7),
    "log1p": (np.log1p, (-0.9999, 1e4), 3e-7),
    "softplus": (lambda x: np.logaddexp(0, x), (-80, 80), 4e-7),
}


@pytest.mark.parametrize("name", sorted(set(mathematics.__all__) - {"hashed"}))
def test_elementary_functions(name):
    from chainrule.backends.compiled.build import kernel

    function, (reference, (low, high), error) = getattr(mathematics, name), REFERENCES[name]

    def probe(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    run = kernel("f4[:] f4[:]", fast=True)(probe)
    rng = np.random.default_rng(0)
    small = 10.0 ** rng.uniform(-30, 0, 50000) * rng.choice([-1, 1], 50000)
    x = np.concatenate([rng.uniform(low, high, 100000), rng.uniform(-1, 1, 50000), small])
    if name == "log":
        x = np.abs(np.concatenate([x, 1 + x[100000:150000] / 2, 10.0 ** rng.uniform(-38, 38, 50000)]))
    x = x[x > -0.9999].astype("f") if name == "log1p" else x.astype("f")
    y = np.empty_like(x)
    run(x, y)
    expected = reference(x.astype("d"))
    scale = np.maximum(np.abs(expected), 1) if name == "log" else np.abs(expected)
    assert (np.abs(y - expected) <= error * scale + 1e-45).all()
    ends = np.array([0, np.inf, -np.inf, np.nan, 1e-45], "f")
    found = np.empty_like(ends)
    run(ends, found)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found, reference(ends.astype("d")).astype("f"), rtol=2e-7)
