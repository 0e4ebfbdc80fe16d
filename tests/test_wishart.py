"""Wishart's distribution: PyTorch's values, and gradients as differences have them.

`kl_divergence` is compared with means over samples: PyTorch's is negative for some batches.
"""

import numpy as np
import pytest

import chainrule
from chainrule.distributions import Wishart, kl_divergence

V = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, -0.2], [0.1, -0.2, 1.5]])
X = np.stack([V @ V, 3 * np.eye(3) + 0.1])
DF = np.array([5.0, 6.5])
GIVEN = {"covariance_matrix": V, "precision_matrix": np.linalg.inv(V), "scale_tril": np.linalg.cholesky(V)}


@pytest.mark.torch
@pytest.mark.parametrize("name", GIVEN)
def test_values_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    found = []
    for m in (torch, chainrule):
        d = m.distributions.Wishart(m.tensor(DF), **{name: m.tensor(GIVEN[name])})
        values = [d.log_prob(m.tensor(X)), d.entropy(), d.mean, d.mode, d.variance, d.stddev]
        values += [d.scale_tril, d.covariance_matrix, d.precision_matrix]
        values += [d.expand((3, 2)).log_prob(m.tensor(X))]
        found.append(
            [v.detach().numpy() for v in values] + [repr(d).replace("torch", "chainrule"), d.batch_shape, d.event_shape]
        )
    for theirs, ours in zip(*found, strict=True):
        if isinstance(ours, np.ndarray):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9)
        else:
            assert ours == theirs


def test_gradients():
    def symmetric(v):
        return (v + v.mT) / 2

    df, v = chainrule.tensor(DF, requires_grad=True), chainrule.tensor(V, requires_grad=True)
    x = chainrule.tensor(X, requires_grad=True)
    check = chainrule.autograd.gradcheck
    assert check(lambda a, b, c: Wishart(a, symmetric(b)).log_prob(symmetric(c)), (df, v, x))
    assert check(lambda a, b: Wishart(a, symmetric(b)).entropy(), (df, v))
    q = Wishart(chainrule.tensor(7.0), chainrule.tensor(X[0]))
    assert check(lambda a, b: kl_divergence(Wishart(a, symmetric(b)), q), (df, v))
    assert check(lambda a, b: kl_divergence(q, Wishart(a, symmetric(b))), (df, v))


def test_samples():
    chainrule.manual_seed(0)
    v = chainrule.tensor(V, requires_grad=True)
    d = Wishart(chainrule.tensor(5.0), v)
    s = d.rsample((20000,))
    assert s.shape == (20000, 3, 3)
    np.testing.assert_allclose(s.mean(0).detach().numpy(), 5 * V, atol=0.2)
    np.testing.assert_allclose(s.var(0).detach().numpy(), d.variance.detach().numpy(), rtol=0.1, atol=0.5)
    s.sum().backward()
    assert v.grad is not None
    assert not d.sample().requires_grad
    p, q = Wishart(chainrule.tensor(DF), chainrule.tensor(V)), Wishart(chainrule.tensor(7.0), chainrule.tensor(X[0]))
    s = p.sample((20000,))
    found = (p.log_prob(s) - q.log_prob(s)).mean(0)
    np.testing.assert_allclose(kl_divergence(p, q).numpy(), found.numpy(), rtol=0.05)


def test_errors():
    v = chainrule.tensor(V)
    with pytest.raises(ValueError, match="Exactly one"):
        Wishart(chainrule.tensor(5.0))
    with pytest.raises(ValueError, match="greater than ndim - 1"):
        Wishart(chainrule.tensor(1.0), v)
    with pytest.raises(ValueError, match="two-dimensional"):
        Wishart(chainrule.tensor(5.0), chainrule.ones(3))
    with pytest.raises(ValueError, match="different event shapes"):
        kl_divergence(Wishart(chainrule.tensor(5.0), v), Wishart(chainrule.tensor(5.0), chainrule.eye(2)))
