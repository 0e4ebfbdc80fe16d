"""Random numbers: reproducible, independent between threads, and distributed as they say."""

import asyncio
import copy
import math
import pickle
import threading

import numpy as np
import pytest

import chainrule


def raises(kind, text=None):
    return pytest.raises(kind, match=text)


@pytest.fixture(autouse=True)
def seeded():
    with chainrule.random.fork_rng():
        chainrule.manual_seed(0)
        yield


DRAWS = {
    "rand": lambda g: chainrule.rand(3, generator=g),
    "rand float64": lambda g: chainrule.rand(3, dtype=chainrule.float64, generator=g),
    "rand float16": lambda g: chainrule.rand(3, dtype=chainrule.float16, generator=g),
    "randn": lambda g: chainrule.randn(3, generator=g),
    "randint": lambda g: chainrule.randint(100, (3,), generator=g),
    "randperm": lambda g: chainrule.randperm(9, generator=g),
    "normal": lambda g: chainrule.normal(0.0, 1.0, (3,), generator=g),
    "normal of tensors": lambda g: chainrule.normal(chainrule.zeros(3), chainrule.ones(3), generator=g),
    "bernoulli": lambda g: chainrule.bernoulli(chainrule.full((20,), 0.5), generator=g),
    "multinomial": lambda g: chainrule.multinomial(chainrule.ones(9), 5, generator=g),
    "multinomial with replacement": lambda g: chainrule.multinomial(chainrule.ones(9), 5, True, generator=g),
    "poisson": lambda g: chainrule.poisson(chainrule.full((5,), 20.0), generator=g),
    "rand_like": lambda g: chainrule.rand_like(chainrule.zeros(3), generator=g),
    "randn_like": lambda g: chainrule.randn_like(chainrule.zeros(3), generator=g),
    "randint_like": lambda g: chainrule.randint_like(chainrule.zeros(3), 100, generator=g),
    "uniform_": lambda g: chainrule.zeros(3).uniform_(generator=g),
    "normal_": lambda g: chainrule.zeros(3).normal_(generator=g),
    "log_normal_": lambda g: chainrule.zeros(3).log_normal_(generator=g),
    "bernoulli_": lambda g: chainrule.zeros(20).bernoulli_(generator=g),
    "random_": lambda g: chainrule.zeros(3).random_(generator=g),
    "exponential_": lambda g: chainrule.zeros(3).exponential_(generator=g),
    "cauchy_": lambda g: chainrule.zeros(3).cauchy_(generator=g),
    "geometric_": lambda g: chainrule.zeros(9).geometric_(0.2, generator=g),
}


@pytest.mark.parametrize("name", DRAWS)
def test_reproducible(name):
    draw = DRAWS[name]
    chainrule.manual_seed(7)
    first, second = draw(None).tolist(), draw(None).tolist()
    assert first != second
    chainrule.manual_seed(7)
    assert draw(None).tolist() == first
    own = chainrule.Generator().manual_seed(7)
    assert draw(own).tolist() == first  # the default generator is one like any other
    state = own.get_state()
    assert draw(own).tolist() == second
    own.set_state(state)
    assert draw(own).tolist() == second


def test_an_explicit_generator_leaves_the_default_one_alone():
    before = chainrule.get_rng_state()
    for draw in DRAWS.values():
        draw(chainrule.Generator())
    assert chainrule.get_rng_state().tolist() == before.tolist()


def test_generator():
    g = chainrule.Generator()
    assert g.initial_seed() == chainrule.Generator().initial_seed() == 67280421310721
    assert g.manual_seed(-5) is g
    assert g.initial_seed() == 2**64 - 5
    assert g.device == chainrule.device("cpu")
    assert g.seed() == g.initial_seed()
    assert g.get_state().dtype == chainrule.uint8
    with raises((RuntimeError, ValueError)):
        g.manual_seed(2**64)
    with raises(ValueError):
        g.manual_seed("a")
    with raises(TypeError, "Generator"):
        chainrule.rand(2, generator=5)
    with raises(TypeError):
        g.set_state([1, 2])
    with raises(ValueError):
        g.set_state(chainrule.zeros(3, dtype=chainrule.uint8))


@pytest.mark.parametrize("clone", [lambda g: g.clone_state(), copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_copies_of_a_generator_go_on_from_the_same_state(clone):
    g = chainrule.Generator().manual_seed(3)
    chainrule.randint(10, (3,), generator=g)
    other = clone(g)
    assert chainrule.randn(4, generator=g).tolist() == chainrule.randn(4, generator=other).tolist()
    assert other.initial_seed() == 3


def test_rng_state_and_seeds():
    state = chainrule.get_rng_state()
    first = chainrule.randn(3).tolist()
    chainrule.set_rng_state(state)
    assert chainrule.randn(3).tolist() == first
    assert chainrule.initial_seed() == 0
    assert chainrule.seed() == chainrule.initial_seed() == chainrule.default_generator.initial_seed()
    assert chainrule.random.default_generator is chainrule.default_generator
    chainrule.random.default_generator.manual_seed(3)
    first = chainrule.rand(2)
    assert chainrule.equal(chainrule.manual_seed(3) and chainrule.rand(2), first)
    with pytest.raises(AttributeError, match="no attribute 'generator_of_mine'"):
        _ = chainrule.random.generator_of_mine


def test_fork_rng():
    chainrule.manual_seed(1)
    expected = chainrule.rand(3).tolist()
    chainrule.manual_seed(1)
    with chainrule.random.fork_rng():
        assert chainrule.rand(3).tolist() == expected
        chainrule.manual_seed(99)
        chainrule.rand(10)
    assert chainrule.rand(3).tolist() == expected
    with chainrule.random.fork_rng(enabled=False):
        chainrule.manual_seed(1)
        chainrule.rand(3)
    assert chainrule.rand(3).tolist() != expected


def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_threads():
    chainrule.manual_seed(5)
    mine = chainrule.rand(4).tolist()
    chainrule.manual_seed(5)
    first = in_thread(lambda: chainrule.rand(4).tolist())
    second = in_thread(lambda: chainrule.rand(4).tolist())
    assert chainrule.rand(4).tolist() == mine  # the threads took nothing from it
    assert len({tuple(x) for x in (mine, first, second)}) == 3
    chainrule.manual_seed(5)
    assert in_thread(lambda: chainrule.rand(4).tolist()) == first
    assert in_thread(lambda: chainrule.rand(4).tolist()) == second

    def seeded():
        chainrule.manual_seed(5)
        return chainrule.rand(4).tolist()

    assert in_thread(seeded) == mine
    assert chainrule.rand(4).tolist() == mine  # and a seed set there stays there


def test_context_copied_into_a_thread_does_not_share_its_generator():
    chainrule.manual_seed(5)
    mine = chainrule.rand(4).tolist()
    chainrule.manual_seed(5)
    theirs = asyncio.run(_to_thread())
    assert theirs != mine
    assert chainrule.rand(4).tolist() == mine


async def _to_thread():
    return await asyncio.to_thread(lambda: chainrule.rand(4).tolist())


def test_async_tasks_with_seeds_of_their_own():
    async def task(seed):
        chainrule.manual_seed(seed)
        found = []
        for _ in range(3):
            found += chainrule.rand(2).tolist()
            await asyncio.sleep(0)
        return found

    async def both():
        return await asyncio.gather(task(1), task(2))

    together = asyncio.run(both())
    assert together == [asyncio.run(task(1)), asyncio.run(task(2))]


@pytest.mark.parametrize("dtype", [chainrule.float16, chainrule.float32, chainrule.float64])
def test_uniform(dtype):
    x = chainrule.rand(20000, dtype=dtype)
    assert x.dtype == dtype
    values = x.numpy().astype(float)
    assert values.min() >= 0
    assert values.max() < 1
    assert values.mean() == pytest.approx(0.5, abs=0.01)
    assert values.var() == pytest.approx(1 / 12, abs=0.005)


def sample(t):
    return t.numpy().astype(float)


# name -> (draw, mean, standard deviation)
MOMENTS = {
    "randn": (lambda: chainrule.randn(20000), 0, 1),
    "normal_": (lambda: chainrule.zeros(20000).normal_(3, 2), 3, 2),
    "normal of tensors": (lambda: chainrule.normal(chainrule.full((20000,), 3.0), 2.0), 3, 2),
    "uniform_": (lambda: chainrule.zeros(20000).uniform_(-1, 3), 1, 4 / math.sqrt(12)),
    "log_normal_": (lambda: chainrule.zeros(20000).log_normal_(0, 0.5).log(), 0, 0.5),
    "exponential_": (lambda: chainrule.zeros(20000).exponential_(4), 0.25, 0.25),
    "geometric_": (lambda: chainrule.zeros(20000).geometric_(0.25), 4, math.sqrt(12)),
    "bernoulli": (lambda: chainrule.bernoulli(chainrule.full((20000,), 0.3)), 0.3, math.sqrt(0.21)),
    "bernoulli of p": (lambda: chainrule.bernoulli(chainrule.zeros(20000), 0.3), 0.3, math.sqrt(0.21)),
    "bernoulli_": (lambda: chainrule.zeros(20000).bernoulli_(0.3), 0.3, math.sqrt(0.21)),
    "poisson": (lambda: chainrule.poisson(chainrule.full((20000,), 9.0)), 9, 3),
    "randint": (lambda: chainrule.randint(-3, 4, (20000,)), 0, 2),
    "random_": (lambda: chainrule.zeros(20000).random_(-3, 4), 0, 2),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name):
    draw, mean, deviation = MOMENTS[name]
    values = sample(draw())
    assert values.mean() == pytest.approx(mean, abs=5 * deviation / math.sqrt(20000))
    assert values.std() == pytest.approx(deviation, rel=0.06)


def test_cauchy_quartiles():
    values = sample(chainrule.zeros(20000).cauchy_(2, 3))
    np.testing.assert_allclose(np.quantile(values, [0.25, 0.5, 0.75]), [-1, 2, 5], atol=0.25)


def test_randint():
    assert set(chainrule.randint(3, (200,)).tolist()) == {0, 1, 2}
    assert chainrule.randint(low=1, high=2, size=(2,)).tolist() == [1, 1]
    assert chainrule.randint(1, 2, size=(2, 2)).shape == (2, 2)
    assert chainrule.randint(5, size=(2,)).dtype == chainrule.int64
    assert chainrule.randint(0, 2, (3,), dtype=chainrule.bool).dtype == chainrule.bool
    assert chainrule.randint(0, 2, (3,), dtype=chainrule.float32).dtype == chainrule.float32
    with raises(RuntimeError, "'from' to be less than 'to'"):
        chainrule.randint(3, 3, (2,))
    with raises(RuntimeError, "out of bounds"):
        chainrule.randint(0, 300, (2,), dtype=chainrule.uint8)
    with raises(TypeError):
        chainrule.randint((2,))


def test_randperm():
    assert sorted(chainrule.randperm(50).tolist()) == list(range(50))
    assert chainrule.randperm(0).shape == (0,)
    assert chainrule.randperm(3, dtype=chainrule.float32).dtype == chainrule.float32
    with raises(RuntimeError, "non-negative"):
        chainrule.randperm(-1)
    with raises(RuntimeError, "without overflow"):
        chainrule.randperm(300, dtype=chainrule.uint8)


def test_multinomial():
    weights = chainrule.tensor([[1.0, 0.0, 3.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
    picked = chainrule.multinomial(weights, 4000, replacement=True)
    assert (picked.shape, picked.dtype) == ((2, 4000), chainrule.int64)
    assert set(picked[0].tolist()) == {0, 2}
    assert set(picked[1].tolist()) == {1}
    assert (picked[0] == 2).numpy().mean() == pytest.approx(0.75, abs=0.04)
    firsts = [chainrule.multinomial(chainrule.tensor([1.0, 0.0, 3.0]), 2)[0].item() for _ in range(500)]
    assert sum(f == 2 for f in firsts) / 500 == pytest.approx(0.75, abs=0.08)
    assert sorted(chainrule.ones(5).multinomial(5).tolist()) == [0, 1, 2, 3, 4]
    assert chainrule.multinomial(chainrule.tensor([0.0, 1.0]), 2).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("weights", "count", "replacement"),
    [
        ([0.0, 0.0], 1, True),
        ([1.0, -1.0], 1, True),
        ([1.0, float("inf")], 1, True),
        ([1.0, float("nan")], 1, True),
        ([1.0, 1.0], 3, False),
        ([1.0, 1.0], 0, True),
        ([[[1.0]]], 1, True),
    ],
)
def test_multinomial_refuses(weights, count, replacement):
    with raises(RuntimeError):
        chainrule.multinomial(chainrule.tensor(weights), count, replacement)


def test_normal_forms():
    mean, deviation = chainrule.zeros(2, 1), chainrule.ones(3)
    assert chainrule.normal(mean, deviation).shape == (2, 3)
    assert chainrule.normal(1.0, deviation).shape == (3,)
    assert chainrule.normal(mean).shape == (2, 1)
    assert chainrule.normal(0, 1, (2,)).dtype == chainrule.float32
    assert chainrule.normal(0.0, 1.0, size=(2,), dtype=chainrule.float64, requires_grad=True).requires_grad
    assert chainrule.normal(5.0, 0.0, (2,)).tolist() == [5, 5]
    with raises(RuntimeError, "std >= 0"):
        chainrule.normal(0.0, -1.0, (2,))
    with raises(RuntimeError, "std >= 0"):
        chainrule.normal(mean, -deviation)
    with raises(RuntimeError, "do not broadcast"):
        chainrule.normal(chainrule.zeros(2), deviation)
    with raises(NotImplementedError):
        chainrule.normal(chainrule.zeros(2, dtype=chainrule.int64), 1.0)
    with raises(TypeError):
        chainrule.normal(0.0, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.uniform_(2, 1),
        lambda x: x.normal_(0, -1),
        lambda x: x.log_normal_(0, 0),
        lambda x: x.bernoulli_(2),
        lambda x: x.exponential_(0),
        lambda x: x.geometric_(0),
        lambda x: x.geometric_(1),
        lambda x: x.cauchy_(0, 0),
        lambda x: x.random_(5, 5),
        lambda x: chainrule.bernoulli(x + 2),
        lambda x: chainrule.poisson(x - 1),
    ],
)
def test_parameters_out_of_range(call):
    with raises(RuntimeError):
        call(chainrule.zeros(3))


@pytest.mark.parametrize("name", ["uniform_", "normal_", "log_normal_", "exponential_", "cauchy_"])
def test_continuous_distributions_need_floats(name):
    with raises(NotImplementedError):
        getattr(chainrule.zeros(3, dtype=chainrule.int64), name)()


@pytest.mark.parametrize("name", ["rand", "randn"])
def test_makers_need_floats(name):
    with raises(NotImplementedError):
        getattr(chainrule, name)(2, dtype=chainrule.int64)


def test_random_without_bounds():
    assert chainrule.zeros(500, dtype=chainrule.uint8).random_().numpy().max() > 200
    assert chainrule.zeros(500).random_().numpy().max() > 2**23
    assert chainrule.zeros(500, dtype=chainrule.int64).random_().numpy().max() > 2**60
    assert set(chainrule.zeros(50, dtype=chainrule.bool).random_().tolist()) == {False, True}
    assert set(chainrule.zeros(50).random_(2).tolist()) == {0, 1}


def test_in_place_keeps_dtype_memory_and_views():
    x = chainrule.zeros(4, 4, dtype=chainrule.float16)
    row, address = x[1], x.data_ptr()
    assert x.uniform_(1, 2) is x
    assert (x.dtype, x.data_ptr()) == (chainrule.float16, address)
    assert row.tolist() == x[1].tolist()
    row.zero_()
    assert x[1].tolist() == [0] * 4


def test_in_place_under_recording():
    leaf = chainrule.ones(3, requires_grad=True)
    before = chainrule.get_rng_state()
    with raises(RuntimeError, "leaf"):
        leaf.uniform_()
    assert chainrule.get_rng_state().tolist() == before.tolist()
    with chainrule.no_grad():
        leaf.uniform_()
    y = leaf * 2
    y.normal_()
    assert y.requires_grad
    y.sum().backward()
    assert leaf.grad.tolist() == [0, 0, 0]


def test_draws_are_constants():
    p = chainrule.full((3,), 0.5, requires_grad=True)
    for made in (chainrule.bernoulli(p), chainrule.poisson(p), chainrule.normal(p, 1.0)):
        (g,) = chainrule.autograd.grad(made.sum(), p)
        assert not g.any()
    assert not chainrule.rand_like(p).requires_grad
