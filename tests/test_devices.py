"""Tensors on two devices: the way from one to the other with its gradient, and what happens when they meet.

The strict backend stands in for a GPU; tests/test_fake_cupy.py does the same with the CuPy backend itself.
"""

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends, nn

STRICT = backends.by_name("strict")


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch):
    by_device = backends.by_device
    monkeypatch.setattr(backends, "by_device", lambda kind: STRICT if kind == "cuda" else by_device(kind))


def leaf(*shape, device="cpu", seed=0):
    return cr.tensor(np.random.default_rng(seed).standard_normal(shape), device=device, requires_grad=True)


# -- from one to the other --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_gradient_comes_back(create_graph):
    """Through cpu -> cuda -> cpu -> cuda, with branches that meet on both."""
    x, w = leaf(3, 4), leaf(4, 2, device="cuda", seed=1)

    def f(move):
        a = (x * 2).tanh()
        b = move(a) @ (w if move is there else w.detach().cpu())
        c = b.softmax(1)
        d = c.cpu() if move is there else c
        values, _ = (d + a[:, :2]).sort(1)
        e = values * d
        return (move(e) * b + c).sum() if move is there else (e * b + c).sum()

    there = lambda t: t.to("cuda")
    here = lambda t: t
    loss = f(there)
    assert loss.is_cuda
    grads = cr.autograd.grad(loss, (x, w), create_graph=create_graph)
    assert [g.device for g in grads] == [cr.device("cpu"), cr.device("cuda:0")]
    (expected,) = cr.autograd.grad(f(here), x)
    np.testing.assert_allclose(grads[0].detach().numpy(), expected.numpy(), rtol=1e-12)
    if create_graph:
        (second,) = cr.autograd.grad(grads[0].square().sum(), x)
        (first,) = cr.autograd.grad(f(here), x, create_graph=True)
        (expected,) = cr.autograd.grad(first.square().sum(), x)
        np.testing.assert_allclose(second.numpy(), expected.numpy(), rtol=1e-10)


def test_backward_fills_grad_on_each_device():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2).to("cuda")
    x = cr.randn(5, 3)
    loss = second(first(x).relu().cuda()).square().mean()
    loss.backward()
    for p in first.parameters():
        assert p.grad.device == cr.device("cpu")
        assert p.grad.abs().sum() > 0
    for p in second.parameters():
        assert p.grad.device == cr.device("cuda:0")
    loss.detach().cpu().numpy()


@pytest.mark.parametrize("there", ["cuda", "cuda:0", cr.device("cuda")])
def test_the_ways_to_go(there):
    x, other = leaf(2), leaf(1).to(there)
    for t in (x.to(there), x.to(there, non_blocking=True), x.cuda(), x.cuda(non_blocking=True), x.to(other)):
        assert str(t.device) == "cuda:0"
        assert t.requires_grad
        assert t.to("cuda") is t
        assert t.cuda() is t
        assert str(t.cpu().device) == "cpu"
    assert x.cpu() is x
    assert x.to("cpu") is x
    assert x.to("cuda", cr.float32).dtype == cr.float32


# -- when they meet ---------------------------------------------------------------------------------------------------

MEETINGS = {
    "add": lambda a, b: a + b,
    "matmul": lambda a, b: a @ b,
    "linear": lambda a, b: nn.functional.linear(a, b),
    "cat": lambda a, b: cr.cat([a, b]),
    "where": lambda a, b: cr.where(a > 0, a, b),
    "mse": lambda a, b: nn.functional.mse_loss(a, b),
    "layer norm": lambda a, b: nn.functional.layer_norm(a, (3,), b[0]),
    "addmm": lambda a, b: cr.addmm(a, b, b),
    "inplace": lambda a, b: a.detach().add_(b),
}


@pytest.mark.parametrize("name", MEETINGS)
@pytest.mark.parametrize("order", ["cpu first", "cuda first"])
def test_mixing_names_both_devices_and_the_op(name, order):
    pair = (leaf(3, 3), leaf(3, 3, device="cuda"))
    text = r"\w+\(.*Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
    with pytest.raises(RuntimeError, match=text):
        MEETINGS[name](*(pair if order == "cpu first" else pair[::-1]))


@pytest.mark.parametrize("order", ["number first", "number last"])
@pytest.mark.parametrize("number", [lambda: leaf(), lambda: leaf(4).sum(), lambda: cr.tensor(2.0)])
def test_a_number_of_the_cpu_goes_with_any_device(number, order):
    """A 0-d tensor, as in PyTorch; be it a 0-d array or one of NumPy's scalars inside."""
    s, x = number(), leaf(2, 3, device="cuda")
    y = s * x if order == "number first" else x * s
    assert y.is_cuda
    y.sum().backward()
    assert x.grad.is_cuda
    np.testing.assert_allclose(x.grad.cpu().numpy(), np.full((2, 3), s.item()))
    if s.requires_grad and s.is_leaf:
        assert s.grad.device == cr.device("cpu")
        np.testing.assert_allclose(s.grad.numpy(), x.detach().cpu().numpy().sum())


def test_numbers_in_other_ops():
    x, s = leaf(2, 3, device="cuda"), cr.tensor(0.5, dtype=cr.float64)
    host = x.detach().cpu()
    for f in (
        lambda x, s: cr.where(x > 0, x, s),
        lambda x, s: cr.lerp(x, x * 2, s),
        lambda x, s: x.clamp(min=s),
        lambda x, s: x.pow(s.int() + 2),
        lambda x, s: cr.addcmul(x, x, s),
        lambda x, s: x > s,
        lambda x, s: x.detach().clone().mul_(s),
        lambda x, s: x.detach().clone().fill_(s),
    ):
        out = f(x, s)
        assert out.is_cuda
        np.testing.assert_allclose(out.detach().cpu().numpy(), f(host, s).numpy(), rtol=1e-6)


def test_numpy_numbers_are_numbers():
    x = leaf(2, device="cuda")
    assert (x * np.float64(2)).is_cuda
    assert (np.float32(2) * x).is_cuda
    assert (x + np.array(1.0)).is_cuda
    for f in (lambda: np.ones(2) * x, lambda: x * np.ones(2), lambda: np.maximum(x, np.ones(2))):
        with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
            f()
    with pytest.raises(TypeError, match=r"can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu\(\)"):
        x.detach().numpy()


def test_a_number_on_the_gpu_does_not_go_with_the_cpu():
    with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
        leaf(2) * leaf(device="cuda")
    with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
        cr.tensor(1.0).add_(leaf(device="cuda").detach())


def test_indices_may_be_on_the_cpu():
    x, index = leaf(4, 3, device="cuda"), cr.tensor([2, 0])
    out = x[index]
    assert out.is_cuda
    np.testing.assert_array_equal(out.detach().cpu().numpy(), x.detach().cpu().numpy()[[2, 0]])
    assert x[index > 1].is_cuda if index.shape == (4,) else True
    y = x.detach().clone()
    y[index] = 1.0
    assert y.cpu()[0, 0] == 1
    with pytest.raises((RuntimeError, IndexError), match="cuda:0"):
        leaf(4)[index.cuda()]
