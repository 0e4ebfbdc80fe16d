"""Random programs: values against NumPy, gradients against differences of NumPy's values; both orders."""

import numpy as np
import pytest
from hypothesis import assume, given
from programs_machine import NumpyMachine, TensorMachine, programs, run

import chainrule as cr

FIRST = np.array([[0.3, -0.7, 1.1], [0.9, 0.2, -0.4], [-1.2, 0.6, 0.8]])
SECOND = np.array([0.5, -0.9, 0.1])


def total(program, first, second):
    machine = NumpyMachine()
    return machine.total(run(program, machine, first, second)[1])


def record(program, first=FIRST, second=SECOND):
    machine = TensorMachine(cr)
    leaves, pool = run(program, machine, first, second)
    return leaves, pool, machine.total(pool)


def differentiate(loss, leaves, **options):
    """The gradients; a program that writes into a constant which a node kept is refused, and leaves nothing to test."""
    try:
        return cr.grad(loss, leaves, materialize_grads=True, **options)
    except RuntimeError as error:
        assume("modified by an inplace operation" not in str(error))
        raise


@given(programs())
def test_values_and_aliasing_are_numpys(program):
    _, expected = run(program, NumpyMachine(), FIRST, SECOND)
    _, pool, _ = record(program)
    for t, want in zip(pool, expected, strict=True):
        np.testing.assert_allclose(t.detach().numpy(), want, rtol=1e-12, atol=1e-12)


def directions(seed):
    r = np.random.default_rng(seed)
    return r.standard_normal(FIRST.shape), r.standard_normal(SECOND.shape)


@given(programs())
def test_gradients_are_those_of_the_values(program):
    u, v = directions(0)
    leaves, _, loss = record(program)
    grads = differentiate(loss, leaves)
    got = sum((g.numpy() * d).sum() for g, d in zip(grads, (u, v), strict=True))
    h = 1e-6
    want = (total(program, FIRST + h * u, SECOND + h * v) - total(program, FIRST - h * u, SECOND - h * v)) / (2 * h)
    assert got == pytest.approx(want, rel=1e-5, abs=1e-5 * (1 + abs(total(program, FIRST, SECOND))))


@given(programs())
def test_second_derivatives_are_those_of_the_gradients(program):
    u, v = directions(1)

    def slope(first, second, create_graph=False):
        leaves, _, loss = record(program, first, second)
        grads = differentiate(loss, leaves, create_graph=create_graph)
        return leaves, sum((g * cr.tensor(d)).sum() for g, d in zip(grads, directions(2), strict=True))

    leaves, s = slope(FIRST, SECOND, create_graph=True)
    if not s.requires_grad:
        return
    grads = cr.grad(s, leaves, materialize_grads=True)
    got = sum((g.numpy() * d).sum() for g, d in zip(grads, (u, v), strict=True))
    h = 1e-6
    up, down = slope(FIRST + h * u, SECOND + h * v)[1].item(), slope(FIRST - h * u, SECOND - h * v)[1].item()
    assert got == pytest.approx((up - down) / (2 * h), rel=1e-4, abs=1e-4 * (1 + abs(up)))


@pytest.mark.torch
@given(programs(cuts=True))
def test_programs_with_detach_and_no_grad_agree_with_pytorch(torch, program):
    def outcome(lib):
        """Gradients of order one and two, or None where the program or its gradient is refused."""
        machine = TensorMachine(lib)
        try:
            leaves, pool = run(program, machine, FIRST, SECOND)
        except RuntimeError:
            return None, None
        values = [t.detach().numpy().copy() for t in pool]
        loss = machine.total(pool)
        try:
            first = lib.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
            live = [g for g in first if g is not None and g.requires_grad]
            second = (
                lib.autograd.grad(sum((g * g).sum() for g in live), leaves, allow_unused=True) if live else (None, None)
            )
        except RuntimeError:
            return values, None
        return values, [np.zeros(1) if g is None else g.detach().numpy() for g in (*first, *second)]

    values, grads = outcome(cr)
    want_values, want_grads = outcome(torch)
    if values is not None and want_values is not None:
        for a, b in zip(values, want_values, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    if grads is not None and want_grads is not None:  # either may refuse what the other can do, neither may be wrong
        for a, b in zip(grads, want_grads, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
