"""Dropout by hashes: statistics of the masks; NumPy and compiled code make the same, for any layout and threads."""

import importlib.util
import math
import os

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends import hashing
from chainrule.backends.numpy.kernels import KERNELS, PLAIN
from chainrule.backends.numpy.random import HostGenerator
from chainrule.backends.philox import CounterGenerator

NUMBA = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None or os.environ.get("CHAINRULE_FAST") == "0",
    reason='numba is not installed (pip install "chainrule[fast]" brings it), or switched off',
)
F = cr.nn.functional
NAME = "dropout_by_seed"
SEED = 0xFEDCBA9876543210
N = 1 << 18


def mask(seed, p, n=N):
    return hashing.hashed(np.arange(n, dtype="uint32"), seed) >= hashing.limit(p)


def sigmas(x, p):
    """How many standard deviations the mean of products of centred masks is off 0."""
    return abs(x.mean()) * math.sqrt(x.size) / (p * (1 - p))


# -- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 1 << 32, SEED, 0x123456789ABCDEF])
def test_rate_and_neighbours(p, seed):
    m = mask(seed, p) - (1 - p)
    assert abs(m.mean()) * math.sqrt(N / (p * (1 - p))) < 4.5
    for distance in (1, 2, 3, 4, 8, 16, 28, 64, 128, 256, 768, 1024, 4096):
        assert sigmas(m[distance:] * m[:-distance], p) < 4.5


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_counts_in_rows_and_columns(p):
    """Binomial: the variance of the counts is that of independent draws."""
    for axis, shape in ((1, (-1, 256)), (0, (-1, 512)), (1, (-1, 64))):
        counts = mask(SEED, p).reshape(shape).sum(axis)
        n = N // counts.size
        ratio = counts.var() / (n * p * (1 - p))
        assert abs(ratio - 1) < 5 * math.sqrt(2 / counts.size)


def test_successive_calls_are_independent():
    cr.manual_seed(3)
    x = cr.ones(N)
    masks = [(F.dropout(x, 0.3).numpy() > 0) - 0.7 for _ in range(4)]
    for i in range(4):
        for j in range(i):
            for shift in (0, 1, 2, 16):
                a, b = masks[i][shift:], masks[j][: N - shift]
                assert sigmas(a * b, 0.3) < 4.5


def test_p_at_the_ends():
    assert hashing.limit(0.0) == 0
    assert mask(1, 0.0).all()
    assert mask(1, 1 - 2**-40, 1000).sum() == 0
    assert hashing.limit(math.nextafter(1, 0)) == 2**32 - 1


# -- the generator decides --------------------------------------------------------------------------------------------


def test_manual_seed_repeats_and_the_state_goes_on():
    x = cr.ones(1000)
    cr.manual_seed(5)
    first, state, second = F.dropout(x), cr.get_rng_state(), F.dropout(x)
    cr.manual_seed(5)
    assert cr.equal(F.dropout(x), first)
    assert not cr.equal(first, second)
    cr.set_rng_state(state)
    assert cr.equal(F.dropout(x), second)


@pytest.mark.parametrize("source", [HostGenerator(7), CounterGenerator(np, 7)], ids=lambda s: type(s).__name__)
def test_seeds_of_generators(source):
    """64 bits, all used; drawing one uses up what it takes of the state."""
    before = source.get_state()
    seeds = [source.seed_of_hash() for _ in range(200)]
    assert all(type(s) is int and 0 <= s < 2**64 for s in seeds)
    assert len(set(seeds)) == 200
    bits = np.array([[s >> i & 1 for i in range(64)] for s in seeds]).mean(0)
    assert (abs(bits - 0.5) < 5 / math.sqrt(4 * 200)).all()
    uniform = source.random((3,), "float64")
    source.set_state(before)
    assert [source.seed_of_hash() for _ in range(200)] == seeds
    np.testing.assert_array_equal(source.random((3,), "float64"), uniform)


def test_counter_generators_do_not_overlap():
    one, two = CounterGenerator(np, 7), CounterGenerator(np, 7)
    low, high = one._words(4)[:2]
    assert two.seed_of_hash() == int(low) | int(high) << 32
    np.testing.assert_array_equal(one._words(4), two._words(4))


# -- values -----------------------------------------------------------------------------------------------------------


def test_values_gradients_and_what_is_kept():
    cr.manual_seed(0)
    x = cr.randn(300, 70, requires_grad=True)
    y = F.dropout(x, 0.25)
    g = cr.randn(300, 70)
    y.backward(g)
    kept = y.detach().numpy() != 0
    np.testing.assert_allclose(y.detach().numpy(), np.where(kept, x.detach().numpy() / 0.75, 0), rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), np.where(kept, g.numpy() / 0.75, 0), rtol=1e-6)
    again = F.dropout(x, 0.25)
    assert not any(hasattr(v, "nbytes") and v.nbytes > 64 for v in again.node.saved)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_dtypes_and_in_place(dtype):
    x = cr.ones(5000, dtype=getattr(cr, dtype))
    y = F.dropout(x, 0.5, generator=cr.Generator().manual_seed(1))
    assert y.dtype == x.dtype
    assert set(y.tolist()) == {0.0, 2.0}
    F.dropout(x, 0.5, inplace=True, generator=cr.Generator().manual_seed(1))
    assert cr.equal(x, y)


@pytest.mark.parametrize("kernels", [PLAIN, pytest.param(KERNELS, marks=NUMBA)], ids=["numpy", "compiled"])
def test_what_is_not_finite(kernels):
    x = np.tile(np.array([np.inf, -np.inf, np.nan, 1.0], "f"), 5000)
    y = kernels[NAME](x, seed=SEED, p=0.5)
    keep = mask(SEED, 0.5, x.size)
    np.testing.assert_array_equal(y, np.where(keep, x * 2, 0))


def test_checkpoints_drop_the_same():
    from chainrule.utils.checkpoint import checkpoint

    x = cr.randn(200, 100, requires_grad=True)
    grads = []
    for run in (lambda f: f(x), lambda f: checkpoint(f, x, use_reentrant=False)):
        cr.manual_seed(11)
        x.grad = None
        run(lambda t: F.dropout(F.dropout(t, 0.3).tanh(), 0.4)).sum().backward()
        grads.append(x.grad.numpy())
    np.testing.assert_array_equal(*grads)


@pytest.mark.parametrize("kernels", [PLAIN, pytest.param(KERNELS, marks=NUMBA)], ids=["numpy", "compiled"])
@pytest.mark.parametrize("size", [(), (0, 3), (7,), (3, 100003)])
def test_masks(kernels, size):
    found = kernels["keep_by_seed"](np.ones(1000, "f"), size, SEED, 0.3)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, mask(SEED, 0.3, math.prod(size)).reshape(size))


LAYOUTS = [((8, 6, 30, 20), (0, 3, 1, 2)), ((40, 30, 50), (2, 0, 1)), ((40, 30, 50), (1, 2, 0)), ((300, 40), (1, 0))]
LAYOUTS += [((1, 60, 1, 70), (0, 2, 3, 1)), ((9, 8, 7, 6), (3, 1, 0, 2)), ((0, 3), (1, 0)), ((5001,), (0,)), ((), ())]


@NUMBA
@pytest.mark.parametrize(("shape", "order"), LAYOUTS)
def test_any_layout_drops_the_same(shape, order, monkeypatch):
    from chainrule.backends.compiled.dropout import dropout_by_seed

    x = np.asarray(np.random.default_rng(0).standard_normal(shape), "f").transpose(order)
    expected = np.where(mask(SEED, 0.3, x.size).reshape(x.shape), x * np.float32(1 / 0.7), np.float32(0))
    np.testing.assert_array_equal(PLAIN[NAME](x, SEED, 0.3), expected)
    np.testing.assert_array_equal(KERNELS[NAME](x, SEED, 0.3), expected)
    found = dropout_by_seed(x, SEED, 0.3)
    if len(shape) < 4 or order == (0, 3, 1, 2):
        np.testing.assert_array_equal(found, expected)
        assert found.strides == x.strides or not x.size
    else:
        assert found is NotImplemented or np.array_equal(found, expected)


@NUMBA
def test_thread_counts_agree():
    before = cr.get_num_threads()
    x = np.random.default_rng(0).standard_normal((200, 300, 13)).astype("f")
    moved = np.ascontiguousarray(x.transpose(0, 2, 1)).transpose(0, 2, 1)
    try:
        for n in (1, 2, 3):
            cr.set_num_threads(n)
            for a in (x, moved):
                np.testing.assert_array_equal(KERNELS[NAME](a, SEED, 0.2), PLAIN[NAME](x, SEED, 0.2))
    finally:
        cr.set_num_threads(before)
