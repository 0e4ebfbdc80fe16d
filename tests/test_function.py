"""`Function`, as PyTorch programs write it, and checkpointing."""

import gc
import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd import Function
from chainrule.autograd.function import once_differentiable
from chainrule.utils.checkpoint import checkpoint, checkpoint_sequential


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        out = x * x * x
        ctx.save_for_backward(x, out)
        return out

    @staticmethod
    def backward(ctx, g):
        x, out = ctx.saved_tensors
        return g * 3 * out / x


class Both(Function):
    @staticmethod
    def forward(ctx, x, y, scale):
        ctx.save_for_backward(x, y)
        ctx.scale = scale
        return x * y * scale, x + y

    @staticmethod
    def backward(ctx, g, h):
        x, y = ctx.saved_tensors
        return g * y * ctx.scale + h, g * x * ctx.scale + h, None


def leaf(*values):
    return cr.tensor(list(values), dtype=cr.float64, requires_grad=True)


def test_a_function_to_the_third_order():
    x = leaf(2.0, 3.0)
    y = Cube.apply(x)
    assert y.grad_fn.name() == "CubeBackward"
    expected = [3 * np.array([4.0, 9]), 6 * np.array([2.0, 3]), np.array([6.0, 6])]
    for want in expected:
        (y,) = cr.grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(y.detach().numpy(), want, rtol=1e-12)


def test_several_outputs_and_arguments_that_are_no_tensors():
    x, y = leaf(2.0), leaf(5.0)
    product, total = Both.apply(x, y, 3)
    (product + 2 * total).sum().backward()
    assert (x.grad.item(), y.grad.item()) == (17, 8)
    product, _ = Both.apply(x, y, 3)
    (gx,) = cr.grad(product.sum(), x)  # nothing came to the other output: zeros
    assert gx.item() == 15


def test_setup_context_form_and_needs_input_grad():
    seen = []

    class Scale(Function):
        @staticmethod
        def forward(x, k):
            return x * k

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.k = inputs[1]

        @staticmethod
        def backward(ctx, g):
            seen.append(ctx.needs_input_grad)
            return g * ctx.k, None

    x = leaf(1.0)
    Scale.apply(x, 4).sum().backward()
    assert x.grad.item() == 4
    assert seen == [(True, False)]


def test_marks():
    class Mixed(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            n = x.round()
            ctx.mark_non_differentiable(n)
            return x * 2, n

        @staticmethod
        def backward(ctx, g, h):
            assert h is None
            return g * 2

    x = leaf(1.4)
    y, n = Mixed.apply(x)
    assert not n.requires_grad
    y.sum().backward()
    assert x.grad.item() == 2


def test_a_wrong_number_of_gradients_is_an_error():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match="incorrect number of gradients"):
        Bad.apply(leaf(1.0), leaf(2.0)).sum().backward()


def test_once_differentiable_gives_constants():
    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 2 * x

    x = leaf(3.0)
    (g,) = cr.grad(Once.apply(x).sum(), x, create_graph=True)
    assert not g.requires_grad


def test_a_stale_saved_tensor_is_noticed():
    w = cr.tensor([2.0], dtype=cr.float64)
    x = leaf(3.0)
    y, _ = Both.apply(x, w, 1)
    w.add_(1)
    with pytest.raises(RuntimeError, match="inplace"):
        y.sum().backward()


def test_saved_outputs_make_no_cycle():
    gc.disable()
    try:
        y = Cube.apply(leaf(2.0))
        node = weakref.ref(y.node)
        del y
        assert node() is None
    finally:
        gc.enable()


# -- checkpoint -------------------------------------------------------------------------------------------------------


def block(w):
    return lambda x: cr.tanh(cr.tanh(x * w) * w)


def test_checkpoint_keeps_the_arguments_alone_and_gives_the_same_gradients():
    x, w = leaf(0.3, 0.7), leaf(1.5, -0.5)
    plain = block(w)(x).sum()
    y = checkpoint(block(w), x, use_reentrant=False)
    kept = [n for n in behind(y.node) if isinstance(n.saved, tuple) and any(hasattr(v, "nbytes") for v in n.saved)]
    assert not kept
    want = cr.grad(plain, (x, w))
    got = cr.grad(y.sum(), (x, w))
    for a, b in zip(want, got, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def behind(node):
    found, stack = set(), [node]
    while stack:
        n = stack.pop()
        if n not in found and hasattr(n, "saved"):
            found.add(n)
            stack += [p for p in n.parents if p is not None]
    return found


def test_checkpoint_to_the_second_order():
    x, w = leaf(0.3, 0.7), leaf(1.5, -0.5)

    def second(y):
        (g,) = cr.grad(y.sum(), x, create_graph=True)
        return cr.grad((g * g).sum(), (x, w))

    for a, b in zip(second(block(w)(x)), second(checkpoint(block(w), x)), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_checkpoint_draws_the_same_random_numbers_again():
    x = cr.ones(1000, requires_grad=True)

    def noisy(t):
        return t * (cr.rand(1000) > 0.5) * 2

    cr.manual_seed(1)
    y = checkpoint(noisy, x)
    after = cr.rand(3)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    cr.manual_seed(1)
    noisy(x)
    np.testing.assert_array_equal(cr.rand(3).numpy(), after.numpy())


def test_checkpoint_of_a_function_that_changes_is_an_error():
    state = [1]

    def fickle(x):
        state[0] += 1
        for _ in range(state[0]):
            x = cr.tanh(x)
        return x

    y = checkpoint(fickle, leaf(1.0))
    with pytest.raises(RuntimeError, match="do the same each time"):
        y.sum().backward()


def test_checkpoint_sequential():
    x, w = leaf(0.3), leaf(1.1)
    steps = [block(w)] * 5
    want = x
    for s in steps:
        want = s(want)
    got = checkpoint_sequential(steps, 2, x)
    np.testing.assert_array_equal(cr.grad(want.sum(), w)[0].numpy(), cr.grad(got.sum(), w)[0].numpy())
    with pytest.raises(ValueError, match="segments"):
        checkpoint_sequential(steps, 9, x)


def test_gradcheck_under_autograds_name():
    from chainrule import testing
    from chainrule.autograd import gradcheck, gradgradcheck

    assert (gradcheck, gradgradcheck) == (testing.gradcheck, testing.gradgradcheck)
    assert gradcheck(Cube.apply, cr.ones(2, dtype=cr.float64, requires_grad=True))
    with pytest.raises(AttributeError, match="no attribute 'gradcheckk'"):
        cr.autograd.gradcheckk  # noqa: B018


def test_variable_is_a_name_of_tensor():
    x = cr.autograd.Variable(cr.ones(2), requires_grad=True)
    assert (type(x), x.requires_grad, x.is_leaf) == (cr.Tensor, True, True)
    assert [isinstance(y, cr.autograd.Variable) for y in (x, [1.0])] == [True, False]
    assert cr.autograd.Variable().shape == (0,)


def test_volatile_is_said_to_have_no_effect():
    with pytest.warns(UserWarning, match="volatile was removed"):
        assert cr.autograd.Variable(cr.ones(2), volatile=True).tolist() == [1, 1]
