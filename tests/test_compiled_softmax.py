"""Compiled softmax, log_softmax and cross entropy against float64, NumPy's kernels and PyTorch."""

import numpy as np
import pytest

import chainrule
from chainrule.backends import compiled
from chainrule.nn import functional as F

pytestmark = pytest.mark.skipif(not compiled.available(), reason="the extra `fast` is not installed")

SHAPES = [(5, 7), (300, 65), (40, 1), (4, 21, 19, 31), (3, 5, 600), (3, 5, 3), (9, 40)]


def served(name):
    from chainrule.backends.compiled import softmax

    return softmax.SERVES[name]


def last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def logits(shape, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 3).astype("float32")


def log_softmax(x, dim):
    x = x.astype("float64")
    x = x - x.max(dim, keepdims=True)
    return x - np.log(np.exp(x).sum(dim, keepdims=True))


@pytest.mark.parametrize("layout", [np.ascontiguousarray, last, lambda x: np.repeat(x, 2, -1)[..., ::2]])
@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_and_log_softmax_along_any_dimension(shape, layout):
    x, g = layout(logits(shape)), logits(shape, 1)
    for dim in range(-1, len(shape)):
        exact = log_softmax(x, dim)
        p, y = served("softmax")(x, dim), served("log_softmax")(x, dim)
        if p is NotImplemented:
            assert dim != -1
            assert np.prod(shape[dim + 1 :]) < 8
            continue
        assert p.shape == y.shape == shape
        assert p.dtype == y.dtype == np.float32
        np.testing.assert_allclose(p, np.exp(exact), rtol=2e-6, atol=1e-10)
        np.testing.assert_allclose(y, exact, rtol=1e-6, atol=2e-6)
        q = np.exp(exact)
        wanted = q * (g - (g * q).sum(dim, keepdims=True))
        np.testing.assert_allclose(served("softmax.grad")(g, p, dim), wanted, rtol=1e-5, atol=3e-6)
        wanted = g - q * g.astype("float64").sum(dim, keepdims=True)
        np.testing.assert_allclose(served("log_softmax.grad")(g, y, dim), wanted, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("axis", [1, 0])
def test_masks_are_exact_and_slices_without_a_number_are_nan(axis):
    x = np.zeros((4, 30), "float32")
    x[0, 3:] = x[1] = -np.inf
    x[2, 5] = np.nan
    x[3, 7] = np.inf
    x = np.tile(x, (3, 1))
    p, y = (served(name)(np.ascontiguousarray(x if axis else x.T), axis) for name in ("softmax", "log_softmax"))
    p, y = (v[:4] if axis else v.T[:4] for v in (p, y))
    np.testing.assert_allclose(p[0, :3], 1 / 3, rtol=1e-6)
    assert (p[0, 3:] == 0).all()
    assert np.isneginf(y[0, 3:]).all()
    assert np.isnan(p[1:]).all()
    assert np.isnan(y[1:3]).all()


def reference(x, target, weight, reduction, smooth, ignored, g):
    """Loss and gradient in float64, by the formulas."""
    rows = np.moveaxis(log_softmax(x, 1), 1, -1)
    classes = x.shape[1]
    w = np.ones(classes) if weight is None else weight.astype("float64")
    kept = target != ignored
    safe = np.where(kept, target, 0)
    p = (np.eye(classes)[safe] * (1 - smooth) + smooth / classes) * w * kept[..., None]
    loss, slope = -(p * rows).sum(-1), np.exp(rows) * p.sum(-1, keepdims=True) - p
    if reduction == "mean":
        count = (w[safe] * kept).sum()
        loss, slope = loss.sum() / count, slope / count
    loss = loss.sum() if reduction == "sum" else loss
    return loss, np.moveaxis(slope * np.asarray(g)[..., None], -1, 1)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(64, 10), (33, 65), (6, 1), (4, 21, 9, 31), (2, 3, 700), (3, 4, 2)])
def test_cross_entropy(shape, reduction):
    rng = np.random.default_rng(1)
    place = shape[:1] + shape[2:]
    target = rng.integers(0, shape[1], place)
    some = np.where(rng.random(place) < 0.3, -100, target)
    weights = rng.uniform(0.5, 2, shape[1]).astype("float32")
    for layout in (np.ascontiguousarray, last):
        x = layout(logits(shape))
        for t, weight, smooth in ((target, None, 0.0), (some, None, 0.0), (some, weights, 0.0), (some, weights, 0.2)):
            found = served("cross_entropy")(x, t, weight, reduction=reduction, label_smoothing=smooth)
            if found is NotImplemented:
                assert smooth or len(shape) > 2
                continue
            g = rng.standard_normal(place if reduction == "none" else ()).astype("float32")
            loss, slope = reference(x, t, weight, reduction, smooth, -100, g)
            np.testing.assert_allclose(found[0], loss, rtol=2e-6, atol=2e-6)
            assert found[0].dtype == np.float32
            for _ in range(2):  # the same a second time, under retain_graph
                (dx, *rest) = served("cross_entropy.grad")(g, found[1], (True, False, False))
                np.testing.assert_allclose(dx, slope, rtol=1e-5, atol=2e-6)
            assert rest == [None, None]


def test_classes_that_do_not_exist_and_targets_that_are_all_ignored():
    x = logits((64, 10))
    for target in (np.full(64, 10), np.full(64, -1)):
        with pytest.raises(IndexError, match="out of bounds"):
            F.cross_entropy(chainrule.tensor(x), chainrule.tensor(target))
    found, _ = served("cross_entropy")(x, np.full(64, 3), ignore_index=3)
    assert np.isnan(found)
    found, residual = served("cross_entropy")(x, np.full(64, 3), ignore_index=3, reduction="sum")
    assert found == 0
    assert (served("cross_entropy.grad")(np.float32(1), residual, (True, False, False))[0] == 0).all()
    x[3, 2] = np.nan
    found, residual = served("cross_entropy")(x, np.full(64, 3), reduction="none")
    assert np.isnan(found).nonzero()[0].tolist() == [3]


def test_a_gradient_that_a_hook_changed_is_an_error_in_the_second_backward():
    """Backward may hand on the array that it keeps: writing into that is seen."""
    x = chainrule.tensor(logits((64, 100)), requires_grad=True)
    between = x * 1
    between.register_hook(lambda g: g.mul_(2))
    loss = F.cross_entropy(between, chainrule.tensor(np.arange(64)))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_second_derivative_is_the_compositions():
    torch = pytest.importorskip("torch")
    x, t = logits((64, 50)), np.random.default_rng(0).integers(0, 50, 64)
    found = []
    for m, function, grad in (
        (chainrule, F, chainrule.autograd.grad),
        (torch, torch.nn.functional, torch.autograd.grad),
    ):
        leaf = m.tensor(x, requires_grad=True)
        (g,) = grad(function.cross_entropy(leaf, m.tensor(t), label_smoothing=0.1), [leaf], create_graph=True)
        found.append(grad((g * g * 1e4).sum(), [leaf])[0].numpy())
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [5, 10, 14])
def test_where_results_lie_makes_no_difference(classes):
    """A result just behind its input in memory has the same bits as one far away."""
    from chainrule.backends.compiled import softmax

    rng, scales, none = np.random.default_rng(0), np.array([0.25, 0.0]), np.empty(0, "f4")
    for _ in range(50):
        values, target = rng.normal(size=(4, classes)).astype("f4"), rng.integers(0, classes, 4)
        found = set()
        for gap in (0, 16, 64, 96, 4096):
            memory, loss = np.zeros(2048, "f4"), np.zeros(4, "f4")
            x, dx = memory[: values.size].reshape(values.shape), memory[values.size + gap // 4 :][: values.size]
            x[...] = values
            softmax._entropy(x, target, none, dx.reshape(values.shape), loss, scales, 0.0, -100, 0, 4)
            found.add((loss.tobytes(), dx.tobytes()))
        assert len(found) == 1
