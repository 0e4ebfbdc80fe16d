"""The plans of matrix products, executed by an interpreter of GEMM calls on raw memory, against NumPy."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.backends.matrices import contiguous, matmul

SIZES = st.integers(1, 4)


def execute(gemm, a, b, d):
    """D = op(A) op(B) of column-major matrices in flat memory, element by element as the fields of `gemm` say."""
    m, n, k = gemm.m, gemm.n, gemm.k
    assert gemm.ld_a >= (k if gemm.turn_a else m)  # columns may not overlap
    assert gemm.ld_b >= (n if gemm.turn_b else k)
    assert gemm.ld_d >= m
    for i, row, column in product(range(gemm.batch), range(m), range(n)):
        total = 0.0
        for j in range(k):
            left = j + row * gemm.ld_a if gemm.turn_a else row + j * gemm.ld_a
            right = column + j * gemm.ld_b if gemm.turn_b else j + column * gemm.ld_b
            total += a[i * gemm.step_a + left] * b[i * gemm.step_b + right]
        place = i * gemm.step_d + row + column * gemm.ld_d
        assert np.isnan(d[place])  # written once
        d[place] = total


class Strided:
    """An array in a flat memory that holds nothing else: elements in between are NaN."""

    def __init__(self, values, order, gap=0, repeated=()):
        values = np.asarray(values, float)
        self.shape = values.shape
        sizes = [1 if i in repeated else n for i, n in enumerate(values.shape)]
        steps, step = [0] * values.ndim, 1
        for i in order:
            steps[i] = 0 if i in repeated else step
            step = step * sizes[i] + gap * (i != order[-1])
        self.strides = tuple(steps)
        self.memory = np.full(step + 8, np.nan)
        for at in np.ndindex(*values.shape):
            if not any(at[i] for i in repeated):
                self.memory[sum(i * s for i, s in zip(at, steps))] = values[at]
        first = tuple([slice(1) if i in repeated else slice(None) for i in range(values.ndim)])
        self.values = np.broadcast_to(values[first], values.shape)


def made_contiguous(x, plan, lead):
    shape = (*lead, *x.shape[-2:]) if plan.wide else x.shape
    values = np.broadcast_to(x.values, shape)
    return Strided(values, list(range(len(shape)))[::-1])


def run(x, y, out_strides=None):
    """(the product by its plan, the last plan)."""
    expected = np.matmul(x.values, y.values)
    copies = 0
    while True:
        plan = matmul(x.shape, x.strides, y.shape, y.strides, out_strides)
        assert plan.shape == expected.shape
        if not plan.copy:
            break
        copies += 1
        assert copies <= 3
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x, y = (made_contiguous(x, plan, lead), y) if plan.copy == "left" else (x, made_contiguous(y, plan, lead))
    if plan.gemm is None:
        assert not expected.size or not x.shape[-1]
        return np.zeros(expected.shape), plan, copies
    steps = contiguous(expected.shape) if out_strides is None else out_strides
    room = 1 + sum((n - 1) * s for n, s in zip(expected.shape, steps))
    d = np.full(room, np.nan)
    a, b = (y, x) if plan.swapped else (x, y)
    for at_a, at_b, at_d in plan.offsets:
        execute(plan.gemm, a.memory[at_a:], b.memory[at_b:], d[at_d:])
    return np.lib.stride_tricks.as_strided(d, expected.shape, [8 * s for s in steps]), plan, copies


@st.composite
def factors(draw):
    """Two arrays that matmul takes: any order of dimensions in memory, gaps, repeated and missing ones."""
    m, k, n = draw(SIZES), draw(SIZES), draw(SIZES)
    lead = draw(st.lists(SIZES, max_size=3))
    made = []
    for last in ([m, k], [k, n]):
        own = [draw(st.sampled_from([size, 1])) for size in lead[draw(st.integers(0, len(lead))) :]]
        shape = [*own, *last]
        if draw(st.integers(0, 5)) == 0:
            shape = [k]
        order = draw(st.permutations(range(len(shape))))
        repeated = [i for i in range(len(shape)) if draw(st.integers(0, 7)) == 0]
        values = np.arange(np.prod(shape)).reshape(shape) * draw(st.sampled_from([1, -1])) + 1
        made.append(Strided(values, order, draw(st.sampled_from([0, 0, 0, 3])), repeated))
    return made


@given(factors())
def test_products_of_strided_arrays(pair):
    x, y = pair
    found, _, _ = run(x, y)
    np.testing.assert_array_equal(found, np.matmul(x.values, y.values))


def array(*shape, order=None, gap=0, repeated=()):
    values = np.arange(np.prod(shape)).reshape(shape) % 7 + 1
    return Strided(values, list(range(len(shape)))[::-1] if order is None else order, gap, repeated)


@pytest.mark.parametrize(
    ("x", "y", "calls", "batch", "rows"),
    [
        (array(3, 4), array(4, 5), 1, 1, 3),
        (array(3, 4, order=[0, 1]), array(4, 5, order=[0, 1]), 1, 1, 3),
        (array(3, 4, gap=2), array(4, 5, order=[0, 1], gap=2), 1, 1, 3),
        (array(2, 3, 4), array(4, 5), 1, 1, 6),  # a stack times one matrix: one product
        (array(2, 3, 4, 4), array(4, 5, order=[0, 1]), 1, 1, 24),
        (array(2, 1, 4), array(4, 5), 1, 1, 2),  # rows of length one are a matrix
        (array(3, 2, 4, order=[2, 0, 1]), array(4, 5), 1, 3, 2),  # time first in memory, batch first in the shape
        (array(2, 3, 4, repeated=[0]), array(4, 5), 1, 2, 3),
        (array(2, 3, 4), array(2, 4, 5, order=[1, 2, 0]), 1, 2, 3),
        (array(3, 4), array(2, 4, 5), 1, 2, 3),
        (array(2, 3, 3, 4), array(2, 3, 4, 5), 1, 6, 3),
        (array(2, 3, 5, 4, order=[3, 1, 2, 0]), array(2, 3, 4, 5, order=[2, 1, 3, 0]), 2, 3, 5),  # heads of packed qkv
        (array(2, 4, 3, 4), array(2, 1, 4, 5), 1, 2, 12),  # grouped heads of queries: rows of one product
        (array(2, 3), array(3), 1, 1, 2),
        (array(3), array(3, 2), 1, 1, 1),
        (array(2, 3, 4), array(4), 1, 1, 6),
    ],
)
def test_no_copies(x, y, calls, batch, rows):
    found, plan, copies = run(x, y)
    assert copies == 0
    assert (len(plan.offsets), plan.gemm.batch, plan.gemm.n) == (calls, batch, rows)
    np.testing.assert_array_equal(found, np.matmul(x.values, y.values))


def test_copies():
    found, plan, copies = run(array(3, 4, order=[1, 0], gap=0, repeated=[0]), array(4, 5))
    assert copies == 1
    x = array(9, 10, 2, 2, order=[3, 1, 2, 0], gap=1)  # too many calls for what each does
    found, plan, copies = run(x, array(9, 10, 2, 2))
    assert copies == 1
    assert plan.gemm.batch == 90
    np.testing.assert_array_equal(found, np.matmul(x.values, array(9, 10, 2, 2).values))
    found, plan, copies = run(array(9, 1, 2, 2), array(9, 10, 2, 2))
    assert copies == 1
    steps = array(3, 4), Strided(np.ones((4, 5)), [0, 1])
    steps[1].strides = (2, 10)
    assert matmul(steps[0].shape, steps[0].strides, steps[1].shape, steps[1].strides).copy == "right"
    assert matmul((3, 4), (-4, 1), (4, 5), (5, 1)).copy == "left"


@pytest.mark.parametrize("order", [[1, 0], [0, 1]])
def test_result_in_either_order(order):
    x, y, out = array(3, 4), array(4, 5, order=[0, 1]), array(3, 5, order=order, gap=2)
    found, plan, _ = run(x, y, out.strides)
    assert plan.swapped == (order == [1, 0])
    np.testing.assert_array_equal(found, x.values @ y.values)
    with pytest.raises(ValueError, match="strides"):
        matmul((3, 4), (4, 1), (4, 5), (5, 1), (20, 2))


def test_stacks_into_a_part_of_a_result():
    x, y, out = array(2, 3, 4), array(2, 4, 5), array(2, 3, 5, gap=4)
    found, plan, _ = run(x, y, out.strides)
    assert plan.gemm.step_d == out.strides[0]
    np.testing.assert_array_equal(found, x.values @ y.values)


@pytest.mark.parametrize(("x", "y"), [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((0, 2, 3), (3, 4)), ((0,), (0,))])
def test_nothing_to_do(x, y):
    plan = matmul(x, contiguous(x), y, contiguous(y))
    assert plan.gemm is None
    assert not plan.copy
    assert plan.shape == np.matmul(np.ones(x), np.ones(y)).shape


@pytest.mark.parametrize(("x", "y"), [((2, 3), (4, 5)), ((2, 2, 3), (3, 3, 4)), ((3,), (4,)), ((), (3,)), ((3,), ())])
def test_misfits(x, y):
    with pytest.raises(ValueError, match=r"matmul|multiplied"):
        matmul(x, contiguous(x), y, contiguous(y))


def test_too_large():
    big = 2**31
    assert matmul((big, 2), (2, 1), (2, 2), (2, 1)) is None
    assert matmul((2, 2), (big, 1), (2, 2), (2, 1)) is None
    assert matmul((2, 2), (big - 1, 1), (2, 2), (2, 1)) is not None
