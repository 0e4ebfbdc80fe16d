"""The counter-based generator of the CuPy backend, here on NumPy arrays."""

import numpy as np
import pytest

from chainrule.backends.philox import CounterGenerator, philox

# counter, key -> output; the known answers of Philox4x32-10 in Random123, the authors' own library
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter, key, expected):
    words = philox(np, [np.array([c], "uint64") for c in counter], key)
    assert tuple(int(w[0]) for w in words) == expected


def test_each_counter_is_used_once():
    one, two = CounterGenerator(np, 7), CounterGenerator(np, 7)
    np.testing.assert_array_equal(one._words(12), np.concatenate([two._words(8), two._words(4)]))
    assert len(np.unique(CounterGenerator(np, 7)._words(1000))) > 990


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform(dtype):
    x = CounterGenerator(np, 1).random((50, 400), dtype)
    assert x.shape == (50, 400)
    assert x.dtype == dtype
    assert 0 <= x.min() < 1e-3
    assert 1 - 1e-3 < x.max() < 1
    counts = np.histogram(x, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 45.3  # chi-square of 19 degrees: passes 999 seeds of 1000


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal(dtype):
    x = CounterGenerator(np, 2).standard_normal((3, 20001), dtype)
    assert x.dtype == dtype
    assert x.shape == (3, 20001)
    n = x.size
    assert abs(x.mean()) < 4 / n**0.5
    assert abs(x.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((x**4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert abs(np.corrcoef(x[0], x[1])[0, 1]) < 4 / 20001**0.5


def test_integers_and_permutation():
    random = CounterGenerator(np, 3)
    x = random.integers(-3, 4, (7000,))
    assert x.dtype == np.int64
    counts = np.bincount(x + 3, minlength=7)
    assert len(counts) == 7
    assert ((counts - 1000) ** 2 / 1000).sum() < 22.5  # 6 degrees
    wide = random.integers(-(2**63), 2**63 - 1, 1000)
    assert wide.min() < -(2**61)
    assert wide.max() > 2**61
    p = random.permutation(1000)
    assert p.dtype == np.int64
    np.testing.assert_array_equal(np.sort(p), np.arange(1000))
    assert (p != np.arange(1000)).sum() > 950
    with pytest.raises(ValueError, match="high"):
        random.integers(3, 3, 2)


def test_state():
    random = CounterGenerator(np, -5)
    random.random(3)
    state = random.get_state()
    first = random.standard_normal((5,))
    other = CounterGenerator(np, None)
    other.set_state(state)
    np.testing.assert_array_equal(other.standard_normal((5,)), first)
    with pytest.raises(ValueError, match="16 bytes"):
        other.set_state(b"")


@pytest.mark.parametrize("size", [(), 0, (0, 3), 5, (2, 2)])
def test_sizes(size):
    random = CounterGenerator(np, 4)
    shape = np.empty(size).shape
    assert random.random(size).shape == shape
    assert random.standard_normal(size, "float32").shape == shape
    assert random.integers(0, 2, size).shape == shape
