"""The rarer half of chainrule.linalg: LU, forms with info, reflectors, tensor systems."""

import numpy as np
import pytest

import chainrule
from chainrule import linalg, tensor
from chainrule.testing import assert_close, gradcheck, samples

SQUARE = samples.well_conditioned(4)
STACK = samples.floats((2, 3, 3), seed=1)
WIDE, TALL = samples.floats((2, 4), seed=2), samples.floats((4, 2), seed=3)


@pytest.mark.parametrize("a", [SQUARE, STACK, WIDE, TALL], ids=["square", "stack", "wide", "tall"])
def test_lu(a):
    t = tensor(a)
    P, L, U = linalg.lu(t)
    assert_close(P @ L @ U, t)
    factors, pivots = linalg.lu_factor(t)
    assert pivots.dtype is chainrule.int32
    for found, expected in zip(chainrule.lu_unpack(factors, pivots), (P, L, U), strict=True):
        assert_close(found, expected)
    assert linalg.lu_factor_ex(t).info.tolist() == np.zeros(a.shape[:-2], int).tolist()


def test_lu_without_pivots():
    P, L, U = linalg.lu(tensor(SQUARE), pivot=False)
    assert P.numel() == 0
    assert_close(L @ U, tensor(SQUARE))


def test_lu_of_a_singular_matrix():
    found = linalg.lu_factor_ex(tensor([[1.0, 2.0], [2.0, 4.0]]))
    assert found.info.item() == 2
    with pytest.raises(RuntimeError, match="zero"):
        linalg.lu_factor_ex(tensor([[1.0, 2.0], [2.0, 4.0]]), check_errors=True)


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("adjoint", [True, False])
def test_lu_solve(left, adjoint):
    a, b = tensor(SQUARE), tensor(samples.floats((4, 4), seed=4))
    x = linalg.lu_solve(*linalg.lu_factor(a), b, left=left, adjoint=adjoint)
    m = a.T if adjoint else a
    assert_close(m @ x if left else x @ m, b)
    found = linalg.lu_solve(*linalg.lu_factor(tensor(STACK)), tensor(STACK))
    assert_close(found, chainrule.eye(3, dtype=chainrule.float64).expand(2, 3, 3))


def test_names_from_before_linalg():
    a, b = tensor(SQUARE), tensor(samples.floats((4, 2), seed=4))
    with pytest.warns(UserWarning, match="lu is deprecated in favor of linalg.lu_factor"):
        factors, pivots = chainrule.lu(a)
    with pytest.warns(UserWarning, match="linalg.lu_solve"):
        assert_close(a @ chainrule.lu_solve(b, factors, pivots), b)
    with pytest.warns(UserWarning, match="lu_solve"):
        assert_close(a @ b.lu_solve(factors, pivots), b)
    with pytest.raises(RuntimeError, match="solve: This function was deprecated"):
        b.solve(a)
    singular = tensor([[1.0, 2.0], [2.0, 4.0]])
    with pytest.warns(UserWarning, match="lu"), pytest.raises(RuntimeError, match="zero"):
        chainrule.lu(singular)
    with pytest.warns(UserWarning, match="lu"):
        assert chainrule.lu(singular, get_infos=True)[2].item() == 2
    with pytest.warns(UserWarning, match="lu"), pytest.raises(RuntimeError, match="dimensions"):
        chainrule.lu_solve(b[:, 0], factors, pivots)
    from chainrule import eig, lstsq, matrix_rank, solve, symeig  # programs from then import them

    for name in (eig, lstsq, matrix_rank, solve, symeig):
        with pytest.raises(RuntimeError, match=rf"{name.__name__}: This function was deprecated.*linalg"):
            name(b, a)


def test_gradients():
    a = tensor(SQUARE, requires_grad=True)
    gradcheck(lambda a: linalg.lu_solve(*linalg.lu_factor(a), tensor(WIDE.T)), [a])
    gradcheck(lambda a: linalg.tensorinv(a.reshape(2, 2, 4), ind=2), [a])
    with pytest.raises(RuntimeError, match="square"):
        linalg.lu(tensor(TALL, requires_grad=True)).L.sum().backward()


def test_info():
    good, bad = samples.spd(2), -np.eye(2)
    L, info = linalg.cholesky_ex(tensor(np.stack([good, bad])))
    assert info.dtype is chainrule.int32
    assert info[0].item() == 0
    assert info[1].item() > 0
    assert_close(L[0] @ L[0].T, tensor(good))
    inverse, info = linalg.inv_ex(tensor([[1.0, 1.0], [1.0, 1.0]]))
    assert info.item() > 0
    assert inverse.shape == (2, 2)
    with pytest.raises(linalg.LinAlgError):
        linalg.inv_ex(tensor([[1.0, 1.0], [1.0, 1.0]]), check_errors=True)
    b = tensor(samples.floats((4, 2)))
    x, info = linalg.solve_ex(tensor(SQUARE), b)
    assert_close(tensor(SQUARE) @ x, b)
    assert info.item() == 0


def test_tensor_systems():
    a = tensor(samples.well_conditioned(6).reshape(2, 3, 6))
    assert_close(chainrule.tensordot(linalg.tensorinv(a, 2), a, 2), chainrule.eye(6, dtype=a.dtype))
    b = tensor(samples.floats((2, 3)))
    assert_close((a * linalg.tensorsolve(a, b)).sum(-1), b)
    with pytest.raises(RuntimeError, match="prod"):
        linalg.tensorinv(a, 1)


@pytest.mark.torch
def test_as_in_pytorch():
    import torch

    results = []
    for m in (torch, chainrule):
        a, r = m.tensor(SQUARE), m.tensor(TALL)
        tau = m.tensor([1.1, 0.7], dtype=m.float64)
        big = m.tensor(samples.well_conditioned(6).reshape(2, 3, 6))
        results.append(
            [
                *m.linalg.lu(a),
                *m.linalg.lu(m.tensor(STACK)),
                *m.linalg.lu_factor(a),
                *m.linalg.lu_factor(r),
                m.linalg.householder_product(r, tau),
                m.linalg.tensorinv(big),
                m.linalg.tensorsolve(big, m.tensor(samples.floats((2, 3)))),
                m.linalg.tensorsolve(big.movedim(2, 0), m.tensor(samples.floats((2, 3))), dims=(0,)),
                m.linalg.cholesky_ex(m.tensor(samples.spd(3)), upper=True)[0],
            ]
        )
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-10, atol=1e-12)
        assert str(ours.dtype).removeprefix("chainrule.") == str(theirs.dtype).removeprefix("torch.")
