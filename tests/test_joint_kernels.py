"""A backend's kernel for several gradient rules of one call at once: `op.grads`."""

import numpy as np
import pytest

import chainrule
from chainrule.autograd import OPS
from chainrule.autograd.tensor import wrap
from chainrule.backends import by_name


@pytest.fixture
def calls(monkeypatch):
    """Gives `linear` a joint kernel; what it was called with, and what it serves."""
    linear, made = OPS["linear"], []

    def grads(g, given):
        made.append(given)
        if "bias" not in given:
            return NotImplemented
        rules = {"input": lambda w: g @ w, "weight": lambda x, shape: g.T @ x, "bias": lambda shape: g.sum(0)}
        return [rules[name](*values) for name, values in given.items()]

    monkeypatch.setitem(by_name("numpy").kernels, "linear.grads", grads)
    before = linear._plans
    monkeypatch.setattr(linear, "_plans", {})
    yield made
    linear._plans = before


@pytest.mark.parametrize("needs", [(1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 1, 0)])
def test_gradients(calls, needs):
    values = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate([(3, 4), (2, 4), (2,)])]
    x, w, b = [wrap(v, None).requires_grad_(bool(need)) for v, need in zip(values, needs)]
    out = chainrule.nn.functional.linear(x, w, b)
    (out * out).sum().backward()
    g = 2 * (values[0] @ values[1].T + values[2])
    for t, expected in zip((x, w, b), (g @ values[1], g.T @ values[0], g.sum(0))):
        if t.requires_grad:
            np.testing.assert_allclose(t.grad.numpy(), expected)
    names = [name for name, need in zip(("input", "weight", "bias"), needs) if need]
    assert [list(given) for given in calls] == ([names] if len(names) > 1 else [])


def test_a_graph_of_the_gradient_uses_the_rules(calls):
    x, w, b = (chainrule.ones(*s, requires_grad=True) for s in [(3, 4), (2, 4), (2,)])
    out = chainrule.nn.functional.linear(x, w, b).square().sum()
    (g,) = chainrule.grad(out, x, create_graph=True)
    assert calls == []
    assert chainrule.grad(g.sum(), w)[0].shape == (2, 4)
