"""func.vmap over structures, stacked modules, linearize; forward_ad; frequencies and shifts of fft."""

import numpy as np
import pytest

import chainrule
from chainrule import func, nn, tensor
from chainrule.autograd import forward_ad
from chainrule.testing import assert_close, gradcheck, gradgradcheck, samples

X = samples.floats((5, 3)).astype("float32")
Y = samples.floats((5, 2), seed=1).astype("float32")


def test_gradients_of_single_samples():
    """PyTorch's tutorial: vmap of grad over the samples, the parameters held."""
    chainrule.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    params = {k: v.detach() for k, v in net.named_parameters()}

    def loss(params, x, y):
        out = func.functional_call(net, params, (x.unsqueeze(0),))
        return nn.functional.mse_loss(out, y.unsqueeze(0))

    found = func.vmap(func.grad(loss), in_dims=(None, 0, 0))(params, tensor(X), tensor(Y))
    for i in range(len(X)):
        net.zero_grad()
        nn.functional.mse_loss(net(tensor(X[i : i + 1])), tensor(Y[i : i + 1])).backward()
        for name, p in net.named_parameters():
            assert_close(found[name][i], p.grad)


def test_an_ensemble():
    chainrule.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval() for _ in range(3)]
    params, buffers = func.stack_module_state(nets)
    assert params["0.weight"].shape == (3, 2, 3)
    assert params["0.weight"].requires_grad
    assert set(buffers) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}

    def call(params, buffers, x):
        return func.functional_call(nets[0], (params, buffers), (x,))

    found = func.vmap(call, in_dims=(0, 0, None))(params, buffers, tensor(X))
    assert_close(found, chainrule.stack([net(tensor(X)) for net in nets]))
    (found**2).sum().backward()
    assert params["0.weight"].grad.abs().sum() > 0
    with pytest.raises(RuntimeError, match="same class"):
        func.stack_module_state([nn.Linear(1, 1), nn.Tanh()])
    with pytest.raises(RuntimeError, match="at least one"):
        func.stack_module_state([])


def test_vmap_of_structures():
    x, y = tensor(X), tensor(X.T)
    assert_close(chainrule.vmap(lambda a, b: a @ b, in_dims=(0, -1))(x, y), (x * y.t()).sum(1))
    found = func.vmap(lambda p, k=None: {"sum": p[0] + p[1], "pair": (p[0], k)}, in_dims=((0, 1),))((x, y), k=x)
    assert_close(found["sum"], x + y.t())
    assert_close(found["pair"][1], x)
    moved = func.vmap(lambda a: (a, a * 2), out_dims=(1, 0))(x)
    assert_close(moved[0], x.t())
    chainrule.manual_seed(0)
    same = func.vmap(lambda a: a * 0 + chainrule.randn(3), randomness="same")(x)
    assert chainrule.equal(same[0], same[4])
    other = func.vmap(lambda a: a * 0 + chainrule.randn(3), randomness="different")(x)
    assert not chainrule.equal(other[0], other[4])
    for bad in (
        lambda: func.vmap(lambda a, b: a, in_dims=(0,))(x, x),
        lambda: func.vmap(lambda a, b: a + b)(x, tensor(X[:2])),
        lambda: func.vmap(lambda a: 1)(x),
    ):
        with pytest.raises(ValueError, match="vmap"):
            bad()
    with pytest.raises(RuntimeError, match="randomness"):
        func.vmap(lambda a: a, randomness="some")


def test_linearize():
    x = tensor(X).double()
    value, push = func.linearize(lambda x: x.sin() * x[0], x)
    t = chainrule.ones_like(x)
    assert_close(value, x.sin() * x[0])
    assert_close(push(t), func.jvp(lambda x: x.sin() * x[0], (x,), (t,))[1])


def test_dual_numbers():
    x, t = tensor(X).double(), tensor(samples.floats((5, 3), seed=2))
    net = nn.Linear(3, 2).double()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, t)
        primal, tangent = forward_ad.unpack_dual(net(dual).tanh())
        both = forward_ad.unpack_dual(dual)
        linear = forward_ad.unpack_dual(dual * 3)
        alone = forward_ad.unpack_dual(net(x))
        with pytest.raises(RuntimeError, match="Nested"):
            forward_ad.enter_dual_level()
    expected = func.jvp(lambda x: net(x).tanh(), (x,), (t,))
    assert_close(primal, expected[0].detach())
    assert_close(tangent, expected[1].detach())
    assert_close(both.tangent, t)
    assert_close(linear.tangent, 3 * t)
    assert alone.tangent is None
    with pytest.raises(RuntimeError, match="no level"):
        forward_ad.make_dual(x, t)
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="must be like"):
        forward_ad.make_dual(x, t[0])


def test_tangents_are_differentiated_by_parameters():
    net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = tensor([[0.3], [0.7]]).double()
    with forward_ad.dual_level():
        value, slope = forward_ad.unpack_dual(net(forward_ad.make_dual(x, chainrule.ones_like(x))))
        y = net(forward_ad.make_dual(x, chainrule.ones_like(x)))
        with chainrule.no_grad():
            assert not forward_ad.unpack_dual(y).tangent.requires_grad
        assert not forward_ad.unpack_dual(forward_ad.make_dual(x, x).sin()).tangent.requires_grad
    found = chainrule.autograd.grad((slope**2 + value).sum(), list(net.parameters()))
    leaf = x.clone().requires_grad_()
    y = net(leaf)
    (dy,) = chainrule.autograd.grad(y.sum(), leaf, create_graph=True)
    for a, b in zip(found, chainrule.autograd.grad((dy**2 + y).sum(), list(net.parameters())), strict=True):
        assert_close(a, b)


def test_tangents_pass_through_no_grad_around_their_level():
    net, x = nn.Linear(2, 2).double(), chainrule.ones(3, 2).double()
    with chainrule.no_grad():
        with forward_ad.dual_level():
            found = forward_ad.unpack_dual(net(forward_ad.make_dual(x, x)))
        assert not (net(x) * 2).requires_grad
    assert_close(found.tangent, x @ net.weight.detach().T)
    assert not found.tangent.requires_grad
    assert not found.primal.requires_grad
    with pytest.raises(ZeroDivisionError), chainrule.no_grad(), forward_ad.dual_level():
        _ = 1 / 0
    assert chainrule.is_grad_enabled()


def test_frequencies():
    for n in (1, 4, 5):
        np.testing.assert_allclose(chainrule.fft.fftfreq(n, 0.5).numpy(), np.fft.fftfreq(n, 0.5), rtol=1e-6)
        np.testing.assert_allclose(chainrule.fft.rfftfreq(n).numpy(), np.fft.rfftfreq(n), rtol=1e-6)
        a = samples.floats((n, 3))
        for name in ("fftshift", "ifftshift"):
            for dim in (None, 0, (1,)):
                found = getattr(chainrule.fft, name)(tensor(a), dim)
                np.testing.assert_allclose(found.numpy(), getattr(np.fft, name)(a, dim))


class Scaled(chainrule.autograd.Function):
    """(k x y, x + y), with rules for forward mode alone."""

    @staticmethod
    def forward(ctx, x, k, y):
        ctx.save_for_forward(x, y)
        ctx.k = k
        return k * x * y, x + y

    @staticmethod
    def jvp(ctx, dx, dk, dy):
        assert dk is None
        x, y = ctx.saved_tensors
        k = ctx.k
        del ctx.k
        return k * (dx * y + x * dy), dx + dy


def test_forward_mode_takes_a_functions_jvp():
    x, y = chainrule.ones(2).double(), 3 * chainrule.ones(2).double()
    dx, dy = tensor([1.0, 2.0]).double(), tensor([10.0, 0.0])  # of another dtype: cast
    with forward_ad.dual_level():
        a, b = Scaled.apply(forward_ad.make_dual(x, dx), 2, forward_ad.make_dual(y, dy))
        found = [forward_ad.unpack_dual(t).tangent for t in (a, b, a * b, a)]
    assert [t.tolist() for t in found] == [[26, 12], [11, 2], [26 * 4 + 6 * 11, 12 * 4 + 6 * 2], [26, 12]]
    _, (da, db) = func.jvp(lambda x: Scaled.apply(x * x, 2, y), (x,), (dx,))
    assert (da.tolist(), db.tolist()) == ([12, 24], [2, 4])
    J = func.jacfwd(lambda y: Scaled.apply(x, 2, y)[0])(y)
    assert J.tolist() == [[2, 0], [0, 2]]
    leaf = x.clone().requires_grad_()
    with pytest.raises(NotImplementedError, match="You must implement either the backward or vjp"):
        Scaled.apply(leaf, 2, y)[0].sum().backward()
    with pytest.raises(NotImplementedError, match="You must implement"):  # gradients of gradients have values
        chainrule.autograd.grad((Scaled.apply(leaf, 2, y)[0] ** 2).sum(), leaf, create_graph=True)
    inputs = (leaf, 2, y.clone().requires_grad_())
    assert gradcheck(Scaled.apply, inputs, check_forward_ad=True, check_backward_ad=False, check_batched_grad=False)

    class Wrong(Scaled):
        @staticmethod
        def jvp(ctx, dx, dk, dy):
            return dx, dy

    assert not gradcheck(Wrong.apply, inputs, check_forward_ad=True, check_backward_ad=False, raise_exception=False)
    with pytest.raises(ValueError, match="at least one"):
        gradcheck(Scaled.apply, inputs, check_backward_ad=False)
    assert gradcheck(lambda x: (x.sin() * x[0], x.sum()), leaf, check_forward_ad=True)
    assert gradgradcheck(lambda x: x.sin() * x[0], leaf, check_fwd_over_rev=True)


def test_vjp_is_another_name_of_backward():
    class Double(chainrule.autograd.Function):
        @staticmethod
        def forward(x):
            return 2 * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def vjp(ctx, g):
            return 2 * g

    x = chainrule.ones(2, requires_grad=True)
    Double.apply(x).sum().backward()
    assert x.grad.tolist() == [2, 2]
