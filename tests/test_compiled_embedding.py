"""Compiled sums and picks of rows: the same as NumPy's, to the bit; indices out of range, of any kind and layout."""

import importlib.util
import os

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.op import OPS
from chainrule.backends import compiled

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None or os.environ.get("CHAINRULE_FAST") == "0",
    reason='numba is not installed (pip install "chainrule[fast]" brings it), or switched off',
)
RNG = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def floats(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)


def generic(name, *args, **params):
    """The op's own forward, on NumPy."""
    return OPS[name].forward(np, *args, **params)


def served(name):
    from chainrule.backends.compiled import embedding

    return embedding.SERVES[name]


def test_every_name_is_registered():
    from chainrule.backends.compiled import embedding

    assert {n for n, (module, _) in compiled.TABLE.items() if module == "embedding"} == set(embedding.SERVES)


@DTYPES
@pytest.mark.parametrize(("rows", "width", "shape"), [(1, 3, (5,)), (37, 16, (8, 9)), (300, 7, (1000,)), (5, 4, (0,))])
@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
def test_embedding_grad(rows, width, shape, dtype, kind):
    index = RNG.integers(0, min(rows, 255), shape).astype(kind)
    g = floats(*shape, width, dtype=dtype)
    expected = generic("embedding_grad", g, index, rows=rows)
    np.testing.assert_array_equal(served("embedding_grad")(g, index, rows), expected)
    np.testing.assert_array_equal(served("embedding_grad")(np.asfortranarray(g), index[::1], rows), expected)
    signed = np.where(index.astype("int64") % 2, index.astype("int64") - rows, index)  # counted from the end
    np.testing.assert_array_equal(served("embedding_grad")(g, signed, rows), expected)


SIZES = [
    ((50, 6), (np.array([3, 0, 3, -1, 49]),)),
    ((50, 6), (slice(None), np.array([[5, 0], [-6, 0]]))),
    ((4, 30, 5), (slice(None), np.array([7, 7, 2]))),
    ((40, 30, 5), (np.arange(40), np.arange(40) % 30)),
    ((8, 9, 3), (np.arange(8)[:, None], np.array([[0, -1, 0, 8]]))),
    ((8, 9), (np.arange(8), np.array([0, 1, 2, 3, 3, 3, -1, -9]))),
    ((20,), (np.array([], "int64"),)),
    ((0, 3), (np.array([], "int64"),)),
]


@DTYPES
@pytest.mark.parametrize(("size", "indices"), SIZES, ids=str)
def test_index_adjoint_and_put(size, indices, dtype):
    x = floats(*size, dtype=dtype)
    g = floats(*x[indices].shape, dtype=dtype)
    np.testing.assert_array_equal(
        served("index_adjoint")(g, size, indices), generic("index_adjoint", g, size=size, indices=indices)
    )
    expected = generic("index_put", x, g, (), indices, True)
    before = x.copy()
    np.testing.assert_array_equal(served("index_put")(x, g, (), indices, True), expected)
    np.testing.assert_array_equal(served("index_put")(np.asfortranarray(x), g, (), indices, True), expected)
    np.testing.assert_array_equal(x, before)


def test_indices_that_are_left_to_numpy():
    g = floats(5, 6)
    for indices in (
        (np.array([0, 50, 1, 2, 3]),),
        (np.array([0, -51, 1, 2, 3]),),
        (np.array([True] * 5 + [False] * 45),),
        (slice(1, 6),),
        (np.arange(5), slice(None)),
    ):
        assert served("index_adjoint")(g, (50, 6), indices) is NotImplemented
    assert served("index_adjoint")(g.astype("float16"), (50, 6), (np.arange(5),)) is NotImplemented
    assert served("index_put")(floats(50, 6), g, (), (np.arange(5),), False) is NotImplemented
    assert served("index_put")(floats(50, 6), g[0], (), (np.arange(5),), True) is NotImplemented
    assert served("index_put")(floats(50, 6), g, (slice(1, 9),), (np.arange(5),), True) is NotImplemented
    assert served("embedding_grad")(g, np.array([0, 1, 2, 3, 9]), 9) is NotImplemented


@DTYPES
@pytest.mark.parametrize(("shape", "dim"), [((70,), 0), ((30, 40), 1), ((30, 40), -2), ((6, 7, 8), 1), ((0, 4), 1)])
def test_gather_and_scatter_add(shape, dim, dtype):
    x, places = floats(*shape, dtype=dtype), list(shape)
    places[dim] = 11
    index = RNG.integers(-shape[dim], shape[dim], places)
    np.testing.assert_array_equal(served("gather")(x, dim, index), generic("gather", x, dim, index))
    src = floats(*places, dtype=dtype)
    expected = generic("scatter_add", x, dim, index, src)
    before = x.copy()
    np.testing.assert_array_equal(served("scatter_add")(x, dim, index, src), expected)
    moved = np.asfortranarray(x), dim, np.asfortranarray(index).astype("int32"), np.asfortranarray(src)
    np.testing.assert_array_equal(served("scatter_add")(*moved), expected)
    np.testing.assert_array_equal(x, before)


def test_what_gather_leaves_to_numpy():
    x, index = floats(30, 40), np.zeros((30, 5), "int64")
    assert served("gather")(x, 2, index) is NotImplemented
    assert served("gather")(x, 1, index[:20]) is NotImplemented
    assert served("gather")(x, 1, index + 40) is NotImplemented
    assert served("gather")(x, 1, index - 41) is NotImplemented
    assert served("gather")(x, 1, index.astype("float32")) is NotImplemented
    assert served("scatter_add")(x, 1, index, floats(30, 6)) is NotImplemented
    assert served("scatter_add")(x, 1, index, 1.0) is NotImplemented


def test_large_calls_through_tensors_and_thread_counts():
    before, found = cr.get_num_threads(), []
    table, index = floats(3000, 64), RNG.integers(0, 3000, (40, 50))
    columns, g = RNG.integers(0, 64, (3000, 20)), floats(40, 50, 64)
    try:
        for n in (1, 2, 3):
            cr.set_num_threads(n)
            w = cr.tensor(table, requires_grad=True)
            (cr.nn.functional.embedding(cr.tensor(index), w) * cr.tensor(g)).sum().backward()
            v = cr.tensor(table, requires_grad=True)
            v[cr.tensor(index)].backward(cr.tensor(g))
            u = cr.tensor(table, requires_grad=True)
            picked = u.gather(1, cr.tensor(columns))
            picked.backward(picked.detach())
            found.append([w.grad.numpy(), v.grad.numpy(), picked.detach().numpy(), u.grad.numpy()])
    finally:
        cr.set_num_threads(before)
    expected = np.zeros_like(table)
    np.add.at(expected, index, g)
    adjoint = np.zeros_like(table)
    np.add.at(adjoint, (np.arange(3000)[:, None], columns), np.take_along_axis(table, columns, 1))
    right = [expected, expected, np.take_along_axis(table, columns, 1), adjoint]
    for results in found:
        for a, b in zip(results, right, strict=True):
            np.testing.assert_array_equal(a, b)


def test_errors_are_those_of_numpy():
    x = cr.tensor(floats(100, 40), requires_grad=True)
    with pytest.raises(IndexError):
        x.gather(1, cr.tensor(np.full((100, 30), 40)))
    with pytest.raises(IndexError):
        x[cr.tensor(np.full((90,), 100))]


def test_one_hot():
    index = RNG.integers(0, 7, (3, 4))
    np.testing.assert_array_equal(
        cr.nn.functional.one_hot(cr.tensor(index), 9).numpy(), np.eye(9, dtype="int64")[index]
    )
    assert cr.nn.functional.one_hot(cr.tensor(3)).tolist() == [0, 0, 0, 1]
    assert cr.nn.functional.one_hot(cr.tensor(np.zeros((0, 2), "int64")), 4).shape == (0, 2, 4)
