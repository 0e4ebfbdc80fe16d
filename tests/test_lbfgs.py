"""L-BFGS: minimises, its line search fulfils the strong Wolfe conditions, its state goes on, and is PyTorch's."""

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.optim.lbfgs import _cubic, _Point, _search

OPTIONS = [
    {},
    {"lr": 0.5, "max_iter": 7},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "history_size": 3, "lr": 0.7},
    {"line_search_fn": "strong_wolfe", "max_iter": 4, "max_eval": 6},
    {"max_iter": 3, "history_size": 2, "lr": 0.1},
]


def problem(lib, options, kind="rosenbrock"):
    """Parameters in two tensors, a loss of them, and an optimizer."""
    x = lib.nn.Parameter(lib.tensor([-1.2, 1.0], dtype=lib.float64))
    y = lib.nn.Parameter(lib.tensor([[0.5], [-0.3]], dtype=lib.float64))
    unused = lib.nn.Parameter(lib.ones(2, dtype=lib.float64))
    optimizer = lib.optim.LBFGS([x, y, unused], **options)

    def loss():
        z = lib.cat([x, y.reshape(-1)])
        if kind == "rosenbrock":
            return (10 * (z[1:] - z[:-1] ** 2) ** 2).sum() + ((1 - z[:-1]) ** 2).sum()
        return ((z - 1) ** 2 * lib.tensor([1.0, 3.0, 10.0, 30.0], dtype=lib.float64)).sum()

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return (x, y, unused), optimizer, closure


def test_it_minimises():
    (x, y, unused), optimizer, closure = problem(cr, {"line_search_fn": "strong_wolfe"})
    losses = [optimizer.step(closure).item() for _ in range(6)]
    assert losses[-1] < 1e-9
    np.testing.assert_allclose(x.tolist() + y.reshape(-1).tolist(), np.ones(4), atol=1e-4)
    assert unused.tolist() == [1, 1]
    state = optimizer.state[x]
    assert state["func_evals"] >= state["n_iter"]


def test_quadratic_in_few_iterations():
    _, optimizer, closure = problem(cr, {"line_search_fn": "strong_wolfe"}, "quadratic")
    optimizer.step(closure)
    assert closure().item() < 1e-9


@pytest.mark.parametrize("t", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("f", [lambda t: (t - 2) ** 2, lambda t: -np.sin(t) + 0.01 * t**2, lambda t: np.exp(t) - 9 * t])
def test_wolfe_conditions(f, t):
    def at(t):
        return float(f(t)), cr.tensor([(f(t + 1e-6) - f(t - 1e-6)) / 2e-6], dtype=cr.float64)

    loss, gradient = at(0.0)
    slope = gradient.item()
    d = cr.ones(1, dtype=cr.float64)
    t, found, gradient = _search(at, t, _Point(0.0, loss, gradient, slope), d)
    assert found <= loss + 1e-4 * t * slope
    assert abs(gradient.item()) <= 0.9 * abs(slope)


def test_cubic_finds_the_minimum_of_a_cubic():
    def point(t):
        return _Point(t, t**3 - 3 * t, cr.zeros(1), 3 * t**2 - 3)

    assert _cubic(point(0.2), point(1.7), 0, 5) == pytest.approx(1)
    assert _cubic(point(1.7), point(0.2), 0, 5) == pytest.approx(1)
    assert _cubic(point(0.2), point(1.7), 1.5, 5) == 1.5


def test_state_goes_on_exactly():
    params, optimizer, closure = problem(cr, {"max_iter": 5})
    optimizer.step(closure)
    others, fresh, again = problem(cr, {"max_iter": 5, "lr": 0.5})
    with cr.no_grad():
        for p, q in zip(others, params, strict=True):
            p.copy_(q)
    fresh.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    losses = [[o.step(c).item() for _ in range(3)] for o, c in ((optimizer, closure), (fresh, again))]
    assert losses[0] == losses[1]


def test_errors():
    a, b = nn.Parameter(cr.ones(1)), nn.Parameter(cr.ones(1))
    with pytest.raises(ValueError, match="parameter groups"):
        optim.LBFGS([{"params": [a]}, {"params": [b]}])
    _, optimizer, closure = problem(cr, {"line_search_fn": "wolfe"})
    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        optimizer.step(closure)
    with pytest.raises(TypeError):
        optimizer.step()


@pytest.mark.torch
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["rosenbrock", "quadratic"])
def test_steps_are_torchs(options, kind, torch):
    if kind == "rosenbrock" and not options.get("line_search_fn"):
        options = {**options, "lr": 0.05}
    ours, one, mine = problem(cr, options, kind)
    theirs, two, yours = problem(torch, options, kind)

    def compare(count):
        for _ in range(count):
            a, b = one.step(mine).item(), two.step(yours).item()
            assert a == pytest.approx(b, rel=1e-8, abs=1e-14)
            for p, q in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-8, atol=1e-8)
            state, expected = (o.state_dict()["state"][0] for o in (one, two))
            assert (state["n_iter"], state["func_evals"]) == (expected["n_iter"], expected["func_evals"])

    compare(3)
    state, expected = one.state_dict(), two.state_dict()
    assert set(state["state"][0]) == set(expected["state"][0])
    assert state["param_groups"] == expected["param_groups"]

    def convert(tree, kind, tensor):
        if isinstance(tree, dict):
            return {k: convert(v, kind, tensor) for k, v in tree.items()}
        if isinstance(tree, list):
            return [convert(v, kind, tensor) for v in tree]
        return tensor(tree.numpy().copy()) if isinstance(tree, kind) else tree

    state, expected = convert(state, cr.Tensor, torch.tensor), convert(expected, torch.Tensor, cr.tensor)
    one.load_state_dict(copy.deepcopy(expected))
    two.load_state_dict(copy.deepcopy(state))
    compare(2)
