"""autograd.graph: hooks on what nodes keep, edges, hooks on several tensors."""

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.autograd import graph
from chainrule.testing import samples


def network():
    chainrule.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3), nn.LogSoftmax(1))


def gradients(net, **options):
    x = chainrule.tensor(samples.floats((6, 4)).astype("float32"), requires_grad=True)
    loss = -net(x)[:, 0].mean()
    return chainrule.autograd.grad(loss, [x, *net.parameters()], **options)


def test_hooks_see_what_is_kept_and_give_it_back():
    net, seen = network(), []
    expected = gradients(net)

    def pack(t):
        assert not t.requires_grad
        seen.append(t.shape)
        return t.numpy().copy()

    with graph.saved_tensors_hooks(pack, lambda packed: chainrule.from_numpy(packed)):
        x = chainrule.tensor(samples.floats((6, 4)).astype("float32"), requires_grad=True)
        loss = -net(x)[:, 0].mean()
    found = chainrule.autograd.grad(loss, [x, *net.parameters()])
    assert (6, 4) in seen
    assert (6, 5) in seen  # what layer_norm keeps, which is otherwise one node
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)


def test_what_unpack_returns_is_used():
    x = chainrule.tensor([1.0, 2.0], requires_grad=True)
    with chainrule.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t * 10):
        y = x * x
    y.sum().backward()
    assert x.grad.tolist() == [20.0, 40.0]


def test_higher_orders_and_nesting():
    x = chainrule.tensor(3.0, requires_grad=True)
    inner, outer = [], []
    with graph.saved_tensors_hooks(lambda t: outer.append(1) or t, lambda t: t):
        with graph.saved_tensors_hooks(lambda t: inner.append(1) or t, lambda t: t):
            y = x**3
        assert inner
        assert not outer
        z = y.exp() * 0 + y
    assert outer
    (g,) = chainrule.autograd.grad(z, x, create_graph=True)
    assert chainrule.autograd.grad(g, x)[0].item() == pytest.approx(18.0)


def test_save_on_cpu_survives_changes():
    net = network()
    expected = gradients(net)
    with graph.save_on_cpu(pin_memory=True):
        found = gradients(net)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("where", ["around", "inside", "both"])
def test_with_checkpointing(where):
    """What a recomputed region keeps goes through the hooks that were there when it was kept."""
    net, seen = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), []
    expected = gradients(net)

    def region(function):
        def hooked(x):
            if where == "around":
                return function(x)
            with graph.saved_tensors_hooks(lambda t: seen.append(1) or t * 1, lambda t: t):
                return function(x)

        return lambda x: chainrule.utils.checkpoint.checkpoint(hooked, x, use_reentrant=False)

    net[1].forward = region(net[1].forward)
    if where == "inside":
        found = gradients(net)
    else:
        with graph.saved_tensors_hooks(lambda t: seen.append(1) or t * 1, lambda t: t):
            found = gradients(net)
            x = chainrule.tensor([0.5], requires_grad=True)
            out = net[1](x)
        (slope,) = chainrule.autograd.grad(out, x)  # outside of the hooks, which serve none the less
        assert slope.item() == pytest.approx(1 - np.tanh(0.5) ** 2)
    assert seen
    for got, wanted in zip(found, expected, strict=True):
        assert chainrule.equal(got, wanted)


def test_disabled():
    hooks = graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    with graph.disable_saved_tensors_hooks("not here"), pytest.raises(RuntimeError, match="not here"), hooks:
        pass
    x = chainrule.tensor(2.0, requires_grad=True)
    with graph.saved_tensors_hooks(lambda t: t, lambda t: 5):
        y = x * x
    with pytest.raises(TypeError, match="unpack_hook"):
        y.backward()


def test_edges():
    x = chainrule.tensor(2.0, requires_grad=True)
    y = x * 2
    assert graph.get_gradient_edge(y) == (y.grad_fn, 0)
    assert graph.get_gradient_edge(x).node.variable is x
    with pytest.raises(RuntimeError, match="gradient edge"):
        graph.get_gradient_edge(x.detach())
    assert isinstance(y.grad_fn, graph.Node)


def test_hooks_on_several():
    a, b = (chainrule.tensor(v, requires_grad=True) for v in (2.0, 3.0))
    calls = []
    handle = graph.register_multi_grad_hook([a, b], calls.append)
    (a * b).backward()
    assert [g.item() for g in calls[0]] == [3.0, 2.0]
    handle.remove()
    (a * b).backward()
    assert len(calls) == 1


def test_increment_version():
    x = chainrule.ones(2, requires_grad=True)
    w = chainrule.ones(2)
    y = (x * w).sum()
    graph.increment_version(w)
    with pytest.raises(RuntimeError, match="inplace"):
        y.backward()
