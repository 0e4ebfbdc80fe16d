"""Derivatives of functions: vjp, jvp, jacobian, hessian, vhp, hvp, and torch.func's forms of them."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import func
from chainrule.autograd import functional as AF

A = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def f(x):
    """R^2 -> R^3, nonlinear."""
    return cr.tanh(cr.tensor(A) @ x) * x[0]


def numeric_jacobian(function, x, h=1e-6):
    columns = []
    for i in range(x.size):
        step = np.zeros_like(x)
        step.flat[i] = h
        columns.append((function(cr.tensor(x + step)).numpy() - function(cr.tensor(x - step)).numpy()) / (2 * h))
    return np.stack(columns, -1)


X = np.array([0.1, -0.2])


def test_vjp_and_jvp_are_products_with_the_jacobian():
    J = numeric_jacobian(f, X)
    v, u = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.7])
    value, pulled = AF.vjp(f, cr.tensor(X), cr.tensor(v))
    np.testing.assert_allclose(value.numpy(), f(cr.tensor(X)).numpy())
    np.testing.assert_allclose(pulled.numpy(), v @ J, atol=1e-8)
    value, pushed = AF.jvp(f, cr.tensor(X), cr.tensor(u))
    np.testing.assert_allclose(value.numpy(), f(cr.tensor(X)).numpy())
    np.testing.assert_allclose(pushed.numpy(), J @ u, atol=1e-8)


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_jacobian_by_either_strategy(strategy):
    J = AF.jacobian(f, cr.tensor(X), strategy=strategy)
    np.testing.assert_allclose(J.numpy(), numeric_jacobian(f, X), atol=1e-8)
    assert not J.requires_grad


def test_jacobian_of_several_inputs_and_outputs():
    def g(x, y):
        return x * y, (x.sum() * y).sum()

    x, y = cr.tensor([1.0, 2.0]), cr.tensor([3.0, 4.0])
    (a, b), (c, d) = AF.jacobian(g, (x, y))
    np.testing.assert_array_equal(a.numpy(), np.diag([3, 4]))
    np.testing.assert_array_equal(b.numpy(), np.diag([1, 2]))
    np.testing.assert_array_equal(c.numpy(), [7, 7])
    np.testing.assert_array_equal(d.numpy(), [3, 3])


def test_hessian_and_its_products():
    def energy(x):
        return (x**3).sum() + x[0] * x[1] * x[1]

    x = np.array([1.5, -0.5])
    H = np.array([[6 * 1.5, 2 * -0.5], [2 * -0.5, 6 * -0.5 + 2 * 1.5]])
    np.testing.assert_allclose(AF.hessian(energy, cr.tensor(x)).numpy(), H)
    v = np.array([0.3, 2.0])
    for product in (AF.hvp, AF.vhp):
        np.testing.assert_allclose(product(energy, cr.tensor(x), cr.tensor(v))[1].numpy(), H @ v)
    np.testing.assert_allclose(func.hessian(energy)(cr.tensor(x)).numpy(), H)


def test_create_graph_makes_results_differentiable():
    x = cr.tensor([2.0], dtype=cr.float64, requires_grad=True)
    J = AF.jacobian(lambda t: t**3, x, create_graph=True)
    (g,) = cr.grad(J.sum(), x)
    assert g.item() == 12


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(RuntimeError, match="single element"):
        AF.hessian(lambda x: x * 2, cr.tensor([1.0, 2.0]))
    with pytest.raises(RuntimeError, match="can only be None"):
        AF.vjp(lambda x: x * 2, cr.tensor([1.0, 2.0]))
    with pytest.raises(RuntimeError, match="v has shapes"):
        AF.jvp(lambda x: x * 2, cr.tensor([1.0, 2.0]), cr.tensor([1.0]))
    with pytest.raises(RuntimeError, match="does not depend"):
        AF.vjp(lambda x: cr.ones(2), cr.tensor([1.0]), cr.ones(2), strict=True)
    with pytest.raises(ValueError, match="strategy"):
        AF.jacobian(f, cr.tensor(X), strategy="sideways")


def test_func_grad_composes_with_itself():
    def cube(x):
        return x * x * x

    x = cr.tensor(2.0, dtype=cr.float64)
    assert func.grad(cube)(x).item() == 12
    assert func.grad(func.grad(cube))(x).item() == 12
    assert func.grad(func.grad(func.grad(cube)))(x).item() == 6
    g, value = func.grad_and_value(cube)(x)
    assert (g.item(), value.item()) == (12, 8)


def test_func_grad_of_chosen_arguments_and_trees():
    def loss(params, x):
        return ((params["w"] * x + params["b"]) ** 2).sum()

    params = {"w": cr.tensor([2.0]), "b": cr.tensor([1.0])}
    g = func.grad(loss)(params, cr.tensor([3.0]))
    assert (g["w"].item(), g["b"].item()) == (2 * 7 * 3, 14)
    gx, gy = func.grad(lambda x, y: (x * y).sum(), argnums=(0, 1))(cr.tensor([2.0]), cr.tensor([5.0]))
    assert (gx.item(), gy.item()) == (5, 2)


def test_func_vjp_jvp_jacrev_jacfwd():
    J = numeric_jacobian(f, X)
    _, pull = func.vjp(f, cr.tensor(X))
    np.testing.assert_allclose(pull(cr.tensor([1.0, 0.0, 0.0], dtype=cr.float64))[0].numpy(), J[0], atol=1e-8)
    np.testing.assert_allclose(
        func.jvp(f, (cr.tensor(X),), (cr.tensor([1.0, 0.0], dtype=cr.float64),))[1].numpy(), J[:, 0], atol=1e-8
    )
    for make in (func.jacrev, func.jacfwd):
        np.testing.assert_allclose(make(f)(cr.tensor(X)).numpy(), J, atol=1e-8)


def test_vmap_maps_over_a_dimension():
    x, y = cr.tensor(np.arange(6.0).reshape(3, 2)), cr.tensor([1.0, 2.0], dtype=cr.float64)
    np.testing.assert_array_equal(func.vmap(lambda a, b: (a * b).sum(), in_dims=(0, None))(x, y).numpy(), [2, 8, 14])
    per_sample = func.vmap(func.grad(lambda w, a: (w * a).sum() ** 2), in_dims=(None, 0))(y, x)
    np.testing.assert_array_equal(per_sample.numpy(), 2 * np.array([[2], [8], [14]]) * np.arange(6.0).reshape(3, 2))
    with pytest.raises(ValueError, match="one size"):
        func.vmap(lambda a, b: a + b)(cr.ones(2), cr.ones(3))
