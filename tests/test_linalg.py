"""chainrule.linalg beyond its ops: degenerate matrices, results by name, errors. The ops are in the op table."""

import importlib

import numpy as np
import pytest

import chainrule as cr
from chainrule.testing.samples import floats, spd, well_conditioned

grad = cr.autograd.grad


def leaf(a):
    return cr.tensor(np.asarray(a, float), requires_grad=True)


def test_it_is_a_module():
    assert importlib.import_module("chainrule.linalg") is cr.linalg
    assert all(hasattr(cr.linalg, name) for name in cr.linalg.__all__)


@pytest.mark.parametrize("f", [cr.linalg.inv, cr.linalg.cholesky, lambda a: cr.linalg.solve(a, cr.ones(2, 1).double())])
def test_singular_matrices(f):
    with pytest.raises(cr.linalg.LinAlgError, match=r"singular|positive") as caught:
        f(leaf([[1, 1], [1, 1]]))
    assert isinstance(caught.value, RuntimeError)


def test_det_of_singular_matrices():
    for a, cofactors in (
        ([[1, 2], [2, 4]], [[4, -2], [-2, 1]]),
        ([[0, 0], [0, 0]], [[0, 0], [0, 0]]),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 1]]),
    ):
        x = leaf(a)
        (g,) = grad(cr.linalg.det(x), x)
        np.testing.assert_allclose(g.numpy(), cofactors, atol=1e-12)
    x = leaf([[1, 2], [2, 4]])
    (g,) = grad(cr.linalg.det(x), x, create_graph=True)
    with pytest.raises(cr.linalg.LinAlgError, match="singular"):
        grad(g.sum(), x)


def test_equal_eigenvalues():
    x = leaf(np.diag([2.0, 2.0, 5.0]))
    values, vectors = cr.linalg.eigh(x)
    (g,) = grad((values**2).sum(), x)
    np.testing.assert_allclose(g.numpy(), 2 * x.detach().numpy())
    # the projector on the space of the equal values: <W, dP> = 2 sym(P W Q)/(2 - 5) off the blocks
    weights = floats((3, 3), seed=1)
    x = leaf(np.diag([2.0, 2.0, 5.0]))
    values, vectors = cr.linalg.eigh(x)
    plane = vectors[:, :2]
    (g,) = grad((plane @ plane.mT * cr.tensor(weights)).sum(), x)
    p = np.diag([1.0, 1.0, 0.0])
    q, w = np.eye(3) - p, (weights + weights.T) / 2
    np.testing.assert_allclose(g.numpy(), (p @ w @ q + q @ w @ p) / (2 - 5), atol=1e-12)


@pytest.mark.parametrize("a", [np.eye(3) * 2, np.zeros((2, 3)), np.diag([2.0, 2.0, 0.0]), np.ones((3, 2))])
def test_svd_of_degenerate_matrices_has_finite_gradients(a):
    x = leaf(a)
    u, s, vh = cr.linalg.svd(x, full_matrices=False)
    for out in (u, s, vh):
        (g,) = grad(out.sum(), x, retain_graph=True, create_graph=True)
        assert np.isfinite(g.detach().numpy()).all()
    (g,) = grad((s * s).sum(), x)
    np.testing.assert_allclose(g.numpy(), 2 * a, atol=1e-12)


def test_a_matrix_that_is_not_symmetric_is_an_error():
    for f in (cr.linalg.cholesky, cr.linalg.eigh, cr.linalg.eigvalsh):
        with pytest.raises(RuntimeError, match="not symmetric"):
            f(cr.tensor([[2.0, 0.0], [1.0, 2.0]]))
    with pytest.raises(RuntimeError, match="UPLO"):
        cr.linalg.eigh(cr.eye(2), UPLO="X")


def test_symmetric_gradients():
    x = leaf(spd(3))
    for out in (cr.linalg.cholesky(x), cr.linalg.eigh(x)[1]):
        (g,) = grad((out * out * out).sum(), x)
        np.testing.assert_allclose(g.numpy(), g.numpy().T, atol=1e-12)


@pytest.mark.parametrize("f", [lambda x: x.norm(), lambda x: cr.linalg.norm(x, 3)])
def test_the_norm_of_zeros_is_flat(f):
    x = leaf(np.zeros(3))
    (g,) = grad(f(x), x, create_graph=True)
    (h,) = grad(g.sum(), x, create_graph=True, materialize_grads=True)
    (k,) = grad(h.sum(), x, materialize_grads=True)
    for found in (g, h, k):
        np.testing.assert_array_equal(found.detach().numpy(), np.zeros(3))


def test_cdist_of_equal_points_is_flat():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    (g,) = grad(cr.cdist(x, x).diagonal().sum(), x, create_graph=True)
    (h,) = grad(g.sum(), x, create_graph=True)
    (k,) = grad(h.sum(), x)
    for found in (g, h, k):
        np.testing.assert_array_equal(found.detach().numpy(), np.zeros((2, 2)))


def test_lstsq():
    a, b = floats((4, 2)), floats((4, 3), seed=1)
    found = cr.linalg.lstsq(leaf(a), leaf(b))
    solution, residuals, rank, _ = np.linalg.lstsq(a, b)
    np.testing.assert_allclose(found.solution.detach().numpy(), solution)
    np.testing.assert_allclose(found.residuals.detach().numpy(), residuals)
    assert int(found.rank) == rank
    assert found.singular_values.shape == (0,)
    vector = cr.linalg.lstsq(leaf(a), leaf(b[:, 0]), driver="gelsd")
    np.testing.assert_allclose(vector.solution.detach().numpy(), solution[:, 0])
    assert vector.singular_values.shape == (2,)


def test_names_of_results():
    x = leaf(well_conditioned(3))
    assert cr.linalg.svd(x)._fields == ("U", "S", "Vh")
    assert cr.svd(x)._fields == ("U", "S", "V")
    assert cr.linalg.qr(x)._fields == ("Q", "R")
    assert cr.linalg.eigh(x @ x.mT)._fields == ("eigenvalues", "eigenvectors")
    assert cr.linalg.slogdet(x)._fields == ("sign", "logabsdet")
    assert cr.linalg.qr(x, mode="r").Q.shape == (0,)


def test_gradients_that_are_not_there():
    with pytest.raises(RuntimeError, match="complex"):
        cr.linalg.eig(cr.eye(2))
    with pytest.raises(RuntimeError, match="complex"):
        cr.linalg.eigvals(cr.eye(2))
    x = leaf(floats((3, 2)))
    with pytest.raises(RuntimeError, match="complete"):
        grad(cr.linalg.qr(x, mode="complete").R.sum(), x)


def test_cholesky_solve_and_inverse():
    a, b = spd(3), floats((3, 2))
    for upper in (False, True):
        factor = cr.linalg.cholesky(cr.tensor(a), upper=upper)
        np.testing.assert_allclose(cr.cholesky_solve(cr.tensor(b), factor, upper).numpy(), np.linalg.solve(a, b))
        np.testing.assert_allclose(cr.cholesky_inverse(factor, upper).numpy(), np.linalg.inv(a))


def test_multi_dot_takes_the_cheap_order(monkeypatch):
    from chainrule.autograd.ops import linalg

    done = []
    plain = linalg.matmul
    monkeypatch.setattr(linalg, "matmul", lambda a, b: done.append(a.shape[0] * a.shape[1] * b.shape[1]) or plain(a, b))
    x = [cr.ones(*s) for s in ((10, 2), (2, 10), (10, 2))]
    assert cr.linalg.multi_dot(x).shape == (10, 2)
    assert sum(done) == 2 * 10 * 2 + 10 * 2 * 2


def test_float16_products_add_up_in_float32():
    x = cr.full((1, 4096), 0.1, dtype=cr.float16)
    found = x @ cr.ones(4096, 1, dtype=cr.float16)
    assert found.dtype == cr.float16
    assert abs(float(found) - 4096 * float(np.float16(0.1))) < 0.5


def test_integers_have_no_inverse():
    with pytest.raises(RuntimeError, match="floating"):
        cr.linalg.inv(cr.eye(2).long())
