"""In-place ReLU and addition that write in place, alone and as one node with a batch norm before them."""

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.autograd import fusion
from chainrule.autograd.tensor import Node
from chainrule.nn.normalization import add_norm


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(fusion, "LEAST", 0)


def ops_behind(t):
    """The names of the ops along the first inputs."""
    node, names = t.node, []
    while type(node) is Node:
        names.append(node.plan.op.name)
        node = node.parents[0]
    return [n for n in names if n != "pick"]


def block(seed=0, channels_last=False):
    """Data, a shortcut, a batch norm and a weight, all in float64."""
    rng = np.random.default_rng(seed)
    x, shortcut, seeds = (rng.standard_normal((4, 3, 5, 6)) for _ in range(3))
    if channels_last:
        x, shortcut = (np.moveaxis(np.ascontiguousarray(np.moveaxis(v, 1, -1)), -1, 1) for v in (x, shortcut))
    norm = nn.BatchNorm2d(3, dtype=chainrule.float64)
    with chainrule.no_grad():
        norm.weight.copy_(chainrule.tensor(rng.uniform(0.5, 2, 3)))
        norm.bias.copy_(chainrule.tensor(rng.standard_normal(3)))
    leaves = [chainrule.tensor(v, requires_grad=True) for v in (x, shortcut)]
    return norm, leaves, chainrule.tensor(seeds)


def results(norm, leaves, seeds, out):
    grads = chainrule.autograd.grad(out, [*leaves, norm.weight, norm.bias], seeds, create_graph=True)
    (second,) = chainrule.autograd.grad(sum((g * g).sum() for g in grads), leaves[:1])
    return [t.detach().numpy() for t in (out, *grads, second)]


@pytest.mark.parametrize("channels_last", [False, True])
def test_batch_norm_addition_and_relu_are_one_node(channels_last):
    found = []
    for inplace in (True, False):
        norm, leaves, seeds = block(channels_last=channels_last)
        out = norm(leaves[0] * 1)
        if inplace:
            out += leaves[1] * 1
            out = nn.ReLU(inplace=True)(out)
            assert ops_behind(out) == ["batch_norm_relu", "mul"]
        else:
            out = nn.functional.relu(out + leaves[1] * 1)
        found.append(results(norm, leaves, seeds, out))
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-9, atol=1e-11)


def test_a_sequence_with_inplace_relu_is_fused_and_writes_in_place():
    norm, (x, _), _ = block()
    before = norm(x)
    place = before.array.__array_interface__["data"][0]
    after = before.relu_()
    assert after is before
    assert after.array.__array_interface__["data"][0] == place
    assert ops_behind(nn.Sequential(norm, nn.ReLU(inplace=True))(x)) == ["batch_norm_relu"]


def held(t):
    return t.grad_fn


def used(t):
    return t * 2


def retained(t):
    t.retain_grad()


def hooked(t):
    t.register_hook(lambda g: g * 3)


@pytest.mark.parametrize("look", [held, used, retained, hooked])
def test_what_looks_at_the_value_between_keeps_its_node(look):
    """Gradients are those of the composition: hooks and retained gradients see the one before the ReLU."""
    norm, (x, _), seeds = block()
    between = norm(x)
    seen = look(between)
    out = between.relu_()
    assert ops_behind(out)[:2] == ["relu", "batch_normalised"]
    total = (out * seeds).sum() + (0 if look is not used else seen.sum())
    total.backward()
    plain_norm, (plain, _), _ = block()
    value = plain_norm(plain)
    mark = value * 1
    if look is hooked:
        mark.register_hook(lambda g: g * 3)
    reference = (nn.functional.relu(mark) * seeds).sum() + (value.sum() * 2 if look is used else 0)
    reference.backward()
    np.testing.assert_allclose(x.grad.numpy(), plain.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_a_value_that_a_node_keeps_is_not_overwritten():
    x = chainrule.tensor(np.linspace(-2, 2, 12), requires_grad=True)
    y = x * 3
    square = y * y  # keeps y
    y.relu_()
    (square.sum() + y.sum()).backward()
    np.testing.assert_allclose(x.grad.numpy(), 18 * np.linspace(-2, 2, 12) + 3 * (np.linspace(-2, 2, 12) > 0))


def test_an_array_in_other_hands_is_not_overwritten():
    x = chainrule.tensor([-1.0, 2.0], requires_grad=True)
    y = x * 3
    array = y.array
    y.relu_()
    assert array.tolist() == [-3, 6]
    assert y.tolist() == [0, 6]
    z = x * 3
    z += chainrule.tensor([1.0, 1.0])
    alias = z.detach()
    z.relu_()
    assert alias.tolist() == z.tolist() == [0, 7]


def test_an_input_changed_before_the_relu_is_still_an_error():
    norm, (x, _), _ = block()
    data = x * 1
    out = norm(data)
    data.detach().zero_()
    out.relu_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_a_shortcut_that_broadcasts_is_not_fused():
    norm, (x, _), _ = block()
    row = chainrule.tensor(np.ones((1, 3, 1, 1)), requires_grad=True)
    out = norm(x)
    out += row
    out.relu_()
    out.sum().backward()
    np.testing.assert_allclose(row.grad.numpy().ravel(), (out.detach().numpy() > 0).sum((0, 2, 3)))


def test_large_arrays_by_the_backends_own_functions():
    rng = np.random.default_rng(0)
    x, y = (chainrule.tensor(rng.standard_normal((6, 7, 20, 30)), requires_grad=True) for _ in range(2))
    for _ in range(2):
        out = x * 2
        out += y * 3
        out.relu_()
        np.testing.assert_allclose(out.detach().numpy(), np.maximum(x.array * 2 + y.array * 3, 0))
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2.0 * (out.detach().numpy() > 0))


def test_a_sequence_and_a_block_are_joined_unless_somebody_looks():
    from chainrule import models

    x = chainrule.tensor(np.random.default_rng(0).standard_normal((3, 4, 6, 6)), requires_grad=True)
    sequence = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Tanh()).double()
    assert ops_behind(sequence(x)) == ["tanh", "batch_norm_relu"]
    block = models.resnet.BasicBlock(4, 4).double()
    out = block(x)
    assert ops_behind(out)[:2] == ["batch_norm_relu", "conv"]
    seen = []
    for module in (sequence[0], block.bn2):
        module.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    assert ops_behind(sequence(x))[:3] == ["tanh", "relu", "batch_normalised"]
    again = block(x)
    assert len(seen) == 2
    np.testing.assert_allclose(again.detach().numpy(), out.detach().numpy(), rtol=1e-12)
    sequence[0].eval()
    assert sequence(x).shape == x.shape


def test_an_error_in_a_joined_batch_norm_says_where_it_is():
    model = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())
    with pytest.raises(RuntimeError) as caught:
        model(chainrule.ones(2, 3, 4, 4))
    assert "BatchNorm2d" in "".join(caught.value.__notes__)


# -- a residual branch and its norm ----------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [False, True], ids=["fused", "watched"])
def test_a_norm_after_a_residual_branch(watched):
    chainrule.manual_seed(0)
    norm, seen = nn.LayerNorm(6), []
    with chainrule.no_grad():
        norm.weight.uniform_()
    if watched:
        norm.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    x, y = (chainrule.randn(4, 6, requires_grad=True) for _ in range(2))
    out, total = add_norm(norm, x, y)
    assert len(seen) == watched
    (out * total).sum().backward()
    found = x.grad, y.grad, norm.weight.grad
    x.grad = y.grad = norm.weight.grad = norm.bias.grad = None
    total = x + y
    (chainrule.nn.functional.layer_norm(total, (6,), norm.weight, norm.bias) * total).sum().backward()
    for got, want in zip(found, (x.grad, y.grad, norm.weight.grad)):
        chainrule.testing.assert_close(got, want)


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("training", [True, False])
def test_dropout_where_a_branch_is_added(p, training):
    x, y = chainrule.randn(4, 6), chainrule.randn(4, 6)
    norm, dropout = nn.LayerNorm(6), nn.Dropout(p).train(training)
    for run in (
        lambda: (nn.functional.dropout_add(y, x, p, training),),
        lambda: add_norm(norm, x, y, dropout),
    ):
        chainrule.manual_seed(1)
        found = run()
        chainrule.manual_seed(1)
        total = x + dropout(y)
        for got, want in zip(found, (norm(total), total) if len(found) == 2 else (total,)):
            chainrule.testing.assert_close(got, want)
    with pytest.raises(ValueError, match="probability"):
        nn.functional.dropout_add(y, x, 1.5)
