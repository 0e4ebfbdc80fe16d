"""chainrule.linalg beyond its ops: degenerate matrices, results by name, errors. The ops are in the op table."""

import importlib

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.autograd.tensor import wrap
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


@pytest.fixture(params=[False, True], ids=["raw", "recorded"])
def recorded(request):
    return request.param


def at(a, backend):
    """A leaf on the backend under test."""
    return wrap(backends.by_name(backend).asarray(np.asarray(a, float)), None).requires_grad_()


def numbers(t):
    return backends.of(t.array).to_host(t.detach().array)


ROTATED = np.linalg.qr(floats((3, 3), seed=5))[0]
TIED = [np.eye(3), np.zeros((3, 3)), np.diag([2.0, 2.0, 5.0]), ROTATED * [1.0, 4.0, 4.0] @ ROTATED.T]


@pytest.mark.parametrize("a", TIED)
def test_functions_of_equal_eigenvalues(a, backend, recorded):
    """The gradient of V h(λ) Vᵀ has terms h'(λ) between the equal vectors, which the op cannot know: it raises."""
    for f in (lambda w, v: (v * (-w).exp().unsqueeze(-2)) @ v.mT, lambda w, v: (v * w.unsqueeze(-2)) @ v.mT):
        x = at(a, backend)
        with pytest.raises(cr.linalg.LinAlgError, match=r"linalg.eigh: .* eigenvalue .* equal to another.*matrix_exp"):
            grad(f(*cr.linalg.eigh(x)).sum(), x, create_graph=recorded)
    x = at(a, backend)
    (g,) = grad(cr.matrix_exp(-x).sum(), x, create_graph=recorded)  # what the message advises
    step = 1e-6
    direction = floats((3, 3), seed=2)
    ends = [numbers(cr.matrix_exp(-at(a + s * direction, backend))).sum() for s in (step, -step)]
    np.testing.assert_allclose((numbers(g) * direction).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize("a", TIED)
def test_the_values_alone_have_gradients_at_ties(a, backend, recorded):
    x = at(a, backend)
    for f, expected in (
        (lambda x: cr.linalg.eigvalsh(x).sum(), np.eye(3)),
        (lambda x: (cr.linalg.eigh(x)[0] ** 2).sum(), 2 * a),
        (lambda x: (cr.linalg.svdvals(x) ** 2).sum(), 2 * a),
        (lambda x: (cr.linalg.svd(x)[1] ** 4).sum(), 4 * a @ a @ a),
    ):
        (g,) = grad(f(x), x, create_graph=recorded)
        np.testing.assert_allclose(numbers(g), expected, atol=1e-12)
    if np.linalg.det(a):
        (g,) = grad(cr.linalg.matrix_norm(x, "nuc"), x, create_graph=recorded)
        np.testing.assert_allclose(numbers(g), np.eye(3), atol=1e-12)
        (g,) = grad(cr.linalg.cond(x), x, create_graph=recorded)
        assert np.isfinite(numbers(g)).all()


def test_second_derivatives_at_ties(backend):
    x = at(np.diag([2.0, 2.0, 5.0]), backend)
    for f in (lambda x: (cr.linalg.eigvalsh(x) ** 2).sum(), lambda x: cr.linalg.matrix_norm(x, "nuc")):
        (g,) = grad(f(x), x, create_graph=True)
        with pytest.raises(cr.linalg.LinAlgError, match="not determined"):
            grad((g * g).sum(), x)
    # the simple value above the tie: d²λ = 2 Σ_k (v_kᵀ W v)²/(λ - λ_k)
    for last in (lambda x: cr.linalg.eigvalsh(x)[-1], lambda x: cr.linalg.matrix_norm(x, 2)):
        (g,) = grad(last(x), x, create_graph=True)
        (h,) = grad(g[0, 2], x, create_graph=True)
        found = numbers(h)
        np.testing.assert_allclose(found[0, 2] + found[2, 0], 1 / 3, atol=1e-12)
        np.testing.assert_allclose(found[:2, :2], 0, atol=1e-12)
        with pytest.raises(cr.linalg.LinAlgError, match="not determined"):
            grad(h[0, 2] * h[0, 2] + (h * h).sum(), x)


def test_tangents_at_ties():
    x = leaf(np.eye(2))
    with pytest.raises(cr.linalg.LinAlgError, match="not determined"):
        cr.func.jvp(lambda x: (lambda w, v: (v * w.exp()) @ v.mT)(*cr.linalg.eigh(x)), (x,), (cr.ones(2, 2).double(),))


def test_vectors_of_simple_values_have_gradients_beside_ties(backend, recorded):
    weights = floats((3,), seed=3)
    a = np.diag([2.0, 2.0, 5.0])
    x = at(a, backend)
    values, vectors = cr.linalg.eigh(x)
    top, w = vectors[:, 2], wrap(backends.by_name(backend).asarray(weights), None)
    (g,) = grad((top * w).sum() ** 2 + values[2], x, create_graph=recorded)
    expected = np.zeros((3, 3))
    expected[2, 2] = 1
    expected[:2, 2] = expected[2, :2] = weights[:2] * weights[2] / 3
    np.testing.assert_allclose(numbers(g), expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("values", [(2.0, 2.0), (0.0, 0.0)])
def test_functions_of_equal_singular_values(shape, values, backend, recorded):
    a = np.zeros(shape)
    np.fill_diagonal(a, values)
    for f in (
        lambda u, s, vh: (u * s.unsqueeze(-2)) @ vh,
        lambda u, s, vh: u,
        lambda u, s, vh: vh,
        lambda u, s, vh: u @ vh,
    ):
        x = at(a, backend)
        with pytest.raises(cr.linalg.LinAlgError, match=r"linalg.svd: .*singular value.*not determined"):
            grad(f(*cr.linalg.svd(x, full_matrices=False)).sum(), x, create_graph=recorded)


def test_a_singular_value_of_zero(backend, recorded):
    weights = floats((4, 3), seed=4)
    for a in (np.diag([3.0, 2.0, 0.0]), np.eye(4, 3) * [3.0, 2.0, 0.0], (np.eye(4, 3) * [3.0, 2.0, 0.0]).T):
        x = at(a, backend)
        u, s, vh = cr.linalg.svd(x, full_matrices=False)
        w = weights if a.shape == weights.shape else weights.T if a.shape == (3, 4) else weights[:3]
        out = ((u * s.unsqueeze(-2)) @ vh * wrap(backends.by_name(backend).asarray(w), None)).sum()
        if a.shape == (3, 3):
            (g,) = grad(out, x, create_graph=recorded)
            np.testing.assert_allclose(numbers(g), w, atol=1e-12)
        else:  # the longer side's vector could be any of those that A does not reach
            with pytest.raises(cr.linalg.LinAlgError, match="not square to 0"):
                grad(out, x, create_graph=recorded)


def test_singular_vectors_beyond_the_values(backend, recorded):
    for shape, part in (((3, 2), 0), ((2, 3), 2)):
        x = at(floats(shape, seed=2), backend)
        outs = cr.linalg.svd(x)
        with pytest.raises(cr.linalg.LinAlgError, match="beyond the first 2"):
            grad((outs[part] ** 3).sum(), x, create_graph=recorded)
        other = at(floats(shape, seed=2), backend)
        inside = [o[..., :2] if i == 0 else o[:2] for i, o in enumerate(cr.linalg.svd(other))]
        thin = cr.linalg.svd(x, full_matrices=False)
        (g,) = grad((inside[part] ** 2 * inside[part][0, 0] ** 2).sum(), other, create_graph=recorded)
        (h,) = grad((thin[part] ** 2 * thin[part][0, 0] ** 2).sum(), x, create_graph=recorded)
        np.testing.assert_allclose(numbers(g), numbers(h), atol=1e-12)


def test_small_singular_values_are_told_apart():
    weights = floats((3, 3), seed=6)
    a = floats((3, 3), seed=7)
    u, _, vh = np.linalg.svd(a)
    x = leaf(u * [1.0, 2e-9, 1e-9] @ vh)
    u, s, vh = cr.linalg.svd(x)
    (g,) = grad(((u * s) @ vh * cr.tensor(weights)).sum(), x)
    np.testing.assert_allclose(g.numpy(), weights, atol=1e-5)


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


def test_cdist_of_near_points_has_exact_gradients():
    points = floats((60, 4)).astype("f4")
    near = (points + 1e-5 * floats((60, 4), seed=1)).astype("f4")
    found = []
    for kind in ("f4", "f8"):
        x, y = (cr.tensor(p.astype(kind), requires_grad=True) for p in (points, near))
        found.append(grad(cr.cdist(x, y).diagonal().sum(), [x, y]))
    for single, double in zip(*found, strict=True):
        np.testing.assert_allclose(single.numpy(), double.numpy(), atol=1e-6)


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
    assert cr.linalg.svd(x).__match_args__ == ("U", "S", "Vh")
    assert cr.svd(x).__match_args__ == ("U", "S", "V")
    assert cr.linalg.qr(x).__match_args__ == ("Q", "R")
    assert cr.linalg.eigh(x @ x.mT).__match_args__ == ("eigenvalues", "eigenvectors")
    assert cr.linalg.slogdet(x).__match_args__ == ("sign", "logabsdet")
    assert cr.linalg.qr(x, mode="r").Q.shape == (0,)


def test_gradients_that_are_not_there():
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


def test_cross_without_a_dimension_takes_the_first_of_size_3_and_warns():
    a, b = cr.ones(3, 2), cr.arange(6.0).view(3, 2)
    with pytest.warns(UserWarning, match="without specifying the dim"):
        found = cr.cross(a, b)
    assert cr.equal(found, cr.cross(a, b, dim=0))
