"""chainrule.func: transforms of trees, within one another, over what closures hold."""

import collections

import numpy as np
import pytest

import chainrule as cr
from chainrule import func, nn

Pair = collections.namedtuple("Pair", "first second")


def cube(x):
    return x**3


X = [1.0, 2.0, -0.5]


def test_hessian_of_a_vector_is_the_jacobian_of_its_jacobian():
    x = cr.tensor(X, dtype=cr.float64)
    H = func.hessian(cube)(x)
    expected = np.zeros((3, 3, 3))
    expected[range(3), range(3), range(3)] = 6 * np.array(X)
    np.testing.assert_allclose(H.numpy(), expected)
    assert not H.requires_grad
    for outer in (func.jacrev, func.jacfwd):
        for inner in (func.jacrev, func.jacfwd):
            np.testing.assert_allclose(outer(inner(cube))(x).numpy(), expected)


def test_hessian_of_several_arguments():
    (aa, ab), (ba, bb) = func.hessian(lambda a, b: (a * a * b).sum(), argnums=(0, 1))(cr.ones(2), 2 * cr.ones(2))
    np.testing.assert_array_equal(aa.numpy(), 4 * np.eye(2))
    np.testing.assert_array_equal(ab.numpy(), 2 * np.eye(2))
    np.testing.assert_array_equal(ba.numpy(), 2 * np.eye(2))
    np.testing.assert_array_equal(bb.numpy(), np.zeros((2, 2)))


@pytest.mark.parametrize("make", [func.jacrev, func.jacfwd])
def test_jacobians_of_trees_and_what_comes_with_them(make):
    def f(params, x):
        y = params["w"] @ x + params["b"]
        return {"y": y, "pair": Pair(y.sum(), x)}, y * 2

    params = collections.OrderedDict(w=cr.ones(2, 3), b=cr.zeros(2))
    J, aux = make(f, has_aux=True)(params, cr.arange(3.0))
    assert list(J) == ["y", "pair"]
    assert list(J["y"]) == ["w", "b"]
    assert type(J["pair"]) is Pair
    np.testing.assert_array_equal(J["y"]["w"].numpy(), np.einsum("ij,k->ijk", np.eye(2), np.arange(3)))
    np.testing.assert_array_equal(J["y"]["b"].numpy(), np.eye(2))
    np.testing.assert_array_equal(J["pair"].first["w"].numpy(), [[0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(J["pair"].second["w"].numpy(), np.zeros((3, 2, 3)))
    assert aux.tolist() == [6, 6]
    assert not aux.requires_grad
    by_x, by_w = make(lambda x, w: w @ x, argnums=(0, 1))(cr.ones(3), cr.ones(2, 3))
    assert by_x.shape == (2, 3)
    assert by_w.shape == (2, 2, 3)
    assert func.jacrev(cube, chunk_size=2)(cr.ones(2)).shape == func.jacfwd(cube, randomness="same")(cr.ones(2)).shape


def test_products_of_trees_and_what_comes_with_them():
    def f(params):
        return Pair(params["a"] * params["b"], params["a"].sum()), params["b"] + 1

    params = {"a": cr.tensor([1.0, 2.0]), "b": cr.tensor([3.0, 4.0])}
    value, pull, aux = func.vjp(f, params, has_aux=True)
    assert type(value) is Pair
    assert value.first.tolist() == [3, 8]
    assert aux.tolist() == [4, 5]
    (g,) = pull(Pair(cr.ones(2), cr.tensor(10.0)))
    assert g["a"].tolist() == [13, 14]
    assert g["b"].tolist() == [1, 2]
    tangents = {"a": cr.ones(2), "b": cr.zeros(2)}
    value, pushed, aux = func.jvp(f, (params,), (tangents,), has_aux=True)
    assert pushed.first.tolist() == [3, 4]
    assert pushed.second.item() == 2
    assert aux.tolist() == [4, 5]
    value, push = func.linearize(lambda p: f(p)[0], params)
    for _ in range(2):
        assert push(tangents).first.tolist() == [3, 4]
    assert not any(t.requires_grad for t in (*value, *pushed, *g.values()))


def test_what_a_closure_holds_gets_gradients_too():
    net = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    x = cr.tensor([[0.3], [-0.7]], dtype=cr.float64)

    def value(t):
        return net(t).squeeze()

    slopes = func.vmap(func.grad(value))(x)
    inputs = x.clone().requires_grad_()
    (expected,) = cr.autograd.grad(net(inputs).sum(), inputs, create_graph=True)
    found = cr.autograd.grad((slopes**2).sum(), list(net.parameters()), allow_unused=True)
    for a, b in zip(
        found, cr.autograd.grad((expected**2).sum(), list(net.parameters()), allow_unused=True), strict=True
    ):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy())
    w = cr.tensor(2.0, requires_grad=True)
    results = [
        func.grad(lambda t: w * t * t)(cr.tensor(3.0)),
        func.jacrev(lambda t: w * t * t)(cr.tensor(3.0)),
        func.jacfwd(lambda t: w * t * t)(cr.tensor(3.0)),
        func.vjp(lambda t: w * t * t, cr.tensor(3.0))[1](cr.tensor(1.0))[0],
        func.jvp(lambda t: w * t * t, (cr.tensor(3.0),), (cr.tensor(1.0),))[1],
        func.linearize(lambda t: w * t * t, cr.tensor(3.0))[1](cr.tensor(1.0)),
        func.vjp(lambda t: w * t * 6, cr.tensor(3.0))[0] / 3,
    ]
    for r in results:
        assert r.item() == 12
        assert cr.autograd.grad(r, w)[0].item() == 6
    with cr.no_grad():
        assert not func.grad(lambda t: w * t * t)(cr.tensor(3.0)).requires_grad
    assert not func.grad(lambda t: 2 * t * t)(cr.tensor(3.0)).requires_grad


def test_products_are_linear_in_vectors_that_are_differentiated():
    x = cr.tensor(X, dtype=cr.float64)
    slope = np.diag(3 * np.array(X) ** 2)
    np.testing.assert_allclose(func.jacrev(lambda v: func.vjp(cube, x)[1](v)[0])(cr.ones_like(x)).numpy(), slope)
    np.testing.assert_allclose(func.jacrev(lambda v: func.jvp(cube, (x,), (v,))[1])(cr.ones_like(x)).numpy(), slope)
    # Hessian times vector, forward over reverse
    _, product = func.jvp(func.grad(lambda t: cube(t).sum()), (x,), (cr.ones_like(x),))
    np.testing.assert_allclose(product.numpy(), 6 * np.array(X))


def test_the_tangent_kernel_of_a_network_by_two_ways():
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    params = {k: v.detach() for k, v in net.named_parameters()}
    a, b = cr.randn(3, 4, dtype=cr.float64), cr.randn(2, 4, dtype=cr.float64)

    def at(params, x):
        return func.functional_call(net, params, (x.unsqueeze(0),)).squeeze(0)

    def kernel(x, y):
        _, pull = func.vjp(lambda p: at(p, x), params)
        return func.vmap(lambda v: func.jvp(lambda p: at(p, y), (params,), pull(v))[1])(cr.eye(2, dtype=cr.float64))

    by_products = func.vmap(func.vmap(kernel, (None, 0)), (0, None))(a, b)
    rows = [func.vmap(func.jacrev(at), (None, 0))(params, x) for x in (a, b)]
    by_jacobians = sum(cr.einsum("naf,mbf->nmab", p.flatten(2), q.flatten(2)) for p, q in zip(*map(dict.values, rows)))
    np.testing.assert_allclose(by_products.numpy(), by_jacobians.numpy(), rtol=1e-10)


def test_wrong_trees_are_refused():
    with pytest.raises(RuntimeError, match="only tensors"):
        func.jacrev(lambda x: (x, 1))(cr.ones(2))
    with pytest.raises(RuntimeError, match="tuple of two"):
        func.vjp(lambda x: x, cr.ones(2), has_aux=True)
    with pytest.raises(RuntimeError, match="to be tuples"):
        func.jvp(cube, cr.ones(2), cr.ones(2))
    with pytest.raises(RuntimeError, match="built like the primals"):
        func.jvp(cube, (cr.ones(2),), (cr.ones(2), cr.ones(2)))
    with pytest.raises(RuntimeError, match="should have"):
        func.jvp(cube, (cr.ones(2),), (cr.ones(3),))
    with pytest.raises(RuntimeError, match="built like the output"):
        func.vjp(cube, cr.ones(2))[1]((cr.ones(2), cr.ones(2)))
    with pytest.raises(ValueError, match="in_dim=2"):
        func.vmap(cube, in_dims=2)(cr.ones(2))


def test_maps_walk_through_one_graph_again_and_again():
    """The Jacobian of what was recorded outside, a row for each vector."""
    x = cr.tensor(X, dtype=cr.float64, requires_grad=True)
    y = cube(x)
    rows = func.vmap(lambda v: cr.autograd.grad(y, x, v)[0])(cr.eye(3, dtype=cr.float64))
    np.testing.assert_allclose(rows.numpy(), np.diag(3 * np.array(X) ** 2))
    with pytest.raises(RuntimeError, match="second time"):  # the last row frees the graph, as one walk does
        cr.autograd.grad(y.sum(), x)
    z = cube(x).sum()
    with pytest.raises(ZeroDivisionError):
        func.vmap(lambda v: 1 / 0)(x)
    cr.autograd.grad(z, x)
    with pytest.raises(RuntimeError, match="second time"):
        cr.autograd.grad(z, x)
