"""Compiled kernels of normalisation against wider floats, PyTorch's float64, NumPy's kernels, and from run to run."""

import warnings

import numpy as np
import pytest

import chainrule
from chainrule.backends import compiled
from chainrule.backends.numpy.kernels import PLAIN
from chainrule.nn import functional as F

pytestmark = pytest.mark.skipif(not compiled.available(), reason="the extra `fast` is not installed")
torch = pytest.importorskip("torch")

#: largest error beside the largest value of the result; sums of some thousand numbers
ERROR = {"float32": 3e-6, "float64": 1e-13}
SHAPES = [(9, 17), (300, 70), (5, 3, 1000), (6, 20, 7, 5), (2, 64, 9, 11), (3, 5, 4, 3, 2), (2, 1, 130), (4, 9, 1, 1)]


def served(name):
    from chainrule.backends.compiled import normalisation

    return normalisation.SERVES[name]


def last(x):
    """The same numbers with the channels last in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def strided(x):
    return np.repeat(x, 2, axis=-1)[..., ::2]


def close(found, expected, dtype, share=1.0):
    expected = np.asarray(expected)
    error = np.abs(np.asarray(found, "float64") - expected).max(initial=0)
    assert error <= share * ERROR[dtype] * max(np.abs(expected).max(initial=0), 1), error


def torch_results(function, arrays, g):
    leaves = [torch.tensor(np.asarray(a, "float64"), requires_grad=True) for a in arrays]
    out = function(*leaves)
    out.backward(torch.tensor(np.asarray(g, "float64")))
    return out.detach().numpy(), [t.grad.numpy() for t in leaves]


def batch_norm(x, w, b, other, rectified, g):
    """The formulas in NumPy's widest float: result, and gradients for x, w, b and other."""
    x, w, b, g = (np.asarray(v, "longdouble") for v in (x, w, b, g))
    along, dims = (1, -1, *[1] * (x.ndim - 2)), (0, *range(2, x.ndim))
    scale = 1 / np.sqrt(x.var(dims, keepdims=True) + 1e-5)
    h = (x - x.mean(dims, keepdims=True)) * scale
    y = h * w.reshape(along) + b.reshape(along) + (0 if other is None else other)
    if rectified:
        y, g = np.maximum(y, 0), np.where(y > 0, g, 0)
    total, inner = g.mean(dims, keepdims=True), (g * h).mean(dims, keepdims=True)
    dx = w.reshape(along) * scale * (g - total - h * inner)
    return y, [dx, (g * h).sum(dims), g.sum(dims), None if other is None else g]


@pytest.mark.parametrize("layout", [np.ascontiguousarray, last, strided])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_norm_with_and_without_addition_and_relu(shape, layout, dtype):
    rng = np.random.default_rng(1)
    x, other, g = (layout((rng.standard_normal(shape) + 2).astype(dtype)) for _ in range(3))
    w, b = rng.uniform(0.5, 2, (2, shape[1])).astype(dtype)
    nothing = [np.zeros((1, shape[1], *[1] * (len(shape) - 2)), dtype)] * 2

    y, mean, var = served("batch_normalised")(x, w, b)
    expected, grads = batch_norm(x, w, b, None, False, g)
    close(y, expected, dtype)
    close(mean.ravel(), x.astype("float64").swapaxes(0, 1).reshape(shape[1], -1).mean(1), dtype)
    for kernel, share in ((served("batch_normalised.grad"), 10), (PLAIN["batch_normalised.grad"], 200)):
        found = kernel((g, *nothing), x, w, 1e-5, mean, var, (True,) * 3)
        for ours, exact in zip(found, grads, strict=False):
            close(ours, exact, dtype, share)

    for z in (None, other):
        y, mean, var = served("batch_norm_relu")(x, w, b, z)
        expected, grads = batch_norm(x, w, b, z, True, g)
        close(y, expected, dtype)
        needs = (True, True, True, z is not None)
        found = served("batch_norm_relu.grad")((g, *nothing), x, w, 1e-5, y, mean, var, needs)
        assert (found[3] is None) == (z is None)
        for ours, exact in zip(found, grads, strict=True):
            if exact is not None:
                close(ours, exact, dtype, 10)


def test_memory_of_results_lies_as_that_of_the_input():
    x = np.random.default_rng(0).standard_normal((4, 24, 6, 5), dtype="float32")
    for layout in (np.ascontiguousarray, last):
        y, *_ = served("batch_normalised")(layout(x))
        assert y.strides == layout(x).strides
        out, kept = served("group_norm")(layout(x), 3)
        assert out.strides == layout(x).strides
        (dx, *_) = served("group_norm.grad")(layout(x), kept, (True, False, False))
        assert dx.strides == layout(x).strides


@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
def test_a_mean_far_from_zero_beside_a_small_deviation(layout):
    """Statistics are summed from the first number on: the error is that of the data, mean / deviation * 6e-8."""
    x = layout((1000 + 0.01 * np.random.default_rng(0).standard_normal((8, 20, 40, 3))).astype("float32"))
    y, _, var = served("batch_normalised")(x)
    exact = x.astype("float64")
    centred = exact - exact.mean((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(var.ravel(), (centred**2).mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(y, centred / np.sqrt((centred**2).mean((0, 2, 3), keepdims=True) + 1e-5), atol=1e-4)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
def test_constant_data_and_numbers_that_are_none(layout):
    x = np.full((4, 5, 30, 2), 7, "float32")
    x[:, 1] = 0.1
    x[2, 2, 3, 1] = np.nan
    x[1, 3, 2, 0] = np.inf
    y, mean, var = served("batch_norm_relu")(layout(x), None, np.full(5, 0.5, "float32"))
    assert (y[:, (0, 1, 4)] == 0.5).all()
    assert (var.ravel()[[0, 1, 4]] == 0).all()
    np.testing.assert_array_equal(mean.ravel()[[0, 1, 4]], np.array([7, 0.1, 7], "float32"))
    assert np.isnan(y[:, 2:4]).all()
    g = np.ones_like(x)
    zeros = np.zeros_like(mean)
    dx, *_ = served("batch_normalised.grad")((g, zeros, zeros), layout(x), None, 1e-5, mean, var, (True, False, False))
    assert np.isfinite(dx[:, (0, 1, 4)]).all()
    assert np.isnan(dx[:, 2]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(300, 17), (4, 3000), (7, 20, 64), (129, 1), (1, 33)])
def test_layer_and_rms_norm(shape, dtype):
    rng = np.random.default_rng(2)
    x, g = (strided((rng.standard_normal(shape) + 1).astype(dtype)) for _ in range(2))
    w, b = rng.uniform(0.5, 2, (2, shape[-1])).astype(dtype)
    sizes = shape[-1:]
    for name, arrays, function in (
        ("layer_norm", (x, w, b), lambda x, w=None, b=None: torch.nn.functional.layer_norm(x, sizes, w, b)),
        ("layer_norm", (x,), lambda x: torch.nn.functional.layer_norm(x, sizes)),
        ("rms_norm", (x, w), lambda x, w: torch.nn.functional.rms_norm(x, sizes, w, 1e-5)),
    ):
        rest = {"weight": w} if len(arrays) > 1 else {}
        rest |= {"bias": b} if len(arrays) > 2 else {}
        out, kept = served(name)(x, normalized_shape=sizes, eps=1e-5, **rest)
        expected, grads = torch_results(function, arrays, g)
        close(out, expected, dtype)
        found = served(f"{name}.grad")(g, kept, (True,) * len(arrays))
        for ours, theirs in zip(found, grads, strict=False):
            close(ours, theirs, dtype, 40 if shape[-1] == 1 else 5)
    assert served("layer_norm.grad")(g, kept, (True, False, False))[1:] == (None, None)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
@pytest.mark.parametrize(
    ("shape", "groups"), [((3, 12, 7, 9), 4), ((2, 36, 130), 36), ((5, 6), 2), ((2, 5, 3, 4, 6), 1)]
)
def test_group_and_instance_norm(shape, groups, layout):
    rng = np.random.default_rng(3)
    x, g = (layout((rng.standard_normal(shape) + 1).astype("float32")) for _ in range(2))
    w, b = rng.uniform(0.5, 2, (2, shape[1])).astype("float32")
    out, kept = served("group_norm")(x, groups, w, b)
    expected, grads = torch_results(lambda x, w, b: torch.nn.functional.group_norm(x, groups, w, b), (x, w, b), g)
    close(out, expected, "float32")
    for ours, theirs in zip(served("group_norm.grad")(g, kept, (True,) * 3), grads, strict=True):
        close(ours, theirs, "float32", 5)
    if len(shape) > 2:
        ours = F.instance_norm(chainrule.tensor(np.tile(x, (1, 8, *[1] * (len(shape) - 2)))))
        theirs = torch.nn.functional.instance_norm(torch.tensor(np.tile(x, (1, 8, *[1] * (len(shape) - 2))).copy()))
        close(ours.numpy(), theirs.numpy(), "float32", 2)


def test_the_same_from_run_to_run_and_close_for_other_numbers_of_threads():
    rng = np.random.default_rng(4)
    x, g = (last(rng.standard_normal((16, 48, 20, 10), dtype="float32")) for _ in range(2))
    rows = rng.standard_normal((3000, 70), dtype="float32")
    before, found = chainrule.get_num_threads(), {}
    try:
        for threads in (1, 2, 2):
            chainrule.set_num_threads(threads)
            y, mean, var = served("batch_normalised")(x)
            zeros = np.zeros_like(mean)
            dx, *_ = served("batch_normalised.grad")((g, zeros, zeros), x, None, 1e-5, mean, var, (True, False, False))
            out, kept = served("layer_norm")(rows, (70,), np.ones(70, "float32"))
            grads = served("layer_norm.grad")(rows, kept, (True, True, True))
            now = [y, mean, var, dx, out, *grads]
            if threads in found:
                for a, b in zip(now, found[threads], strict=True):
                    np.testing.assert_array_equal(a, b)
            found[threads] = now
    finally:
        chainrule.set_num_threads(before)
    for a, b in zip(found[1], found[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_second_derivatives_are_those_of_the_composition(monkeypatch):
    """Under create_graph the composition is differentiated, from what the compiled forward kept."""
    monkeypatch.setenv("CHAINRULE_FAST", "always")
    rng = np.random.default_rng(5)
    x = rng.standard_normal((40, 8, 20))
    for call in (
        lambda m, t: m.batch_norm(t, None, None, training=True),
        lambda m, t: m.group_norm(t, 2),
        lambda m, t: m.layer_norm(t, (20,)),
        lambda m, t: m.rms_norm(t, (20,), eps=1e-3),
    ):
        ours, theirs = chainrule.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        found = []
        for t, m, grad in ((ours, F, chainrule.autograd.grad), (theirs, torch.nn.functional, torch.autograd.grad)):
            (g,) = grad((call(m, t) ** 3).sum(), [t], create_graph=True)
            found.append(grad((g**2).sum(), [t])[0].numpy())
        np.testing.assert_allclose(*found, rtol=1e-8, atol=1e-8)


def test_what_is_not_served_goes_to_numpy():
    x = np.ones((0, 4, 3), "float32")
    assert served("batch_normalised")(x) is NotImplemented
    assert served("batch_normalised")(np.ones((2, 4, 3), "float16")) is NotImplemented
    assert served("group_norm")(np.ones((2, 4, 3), "float32"), 3) is NotImplemented
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = F.batch_norm(chainrule.tensor(x), None, None, training=True)
    assert out.shape == x.shape
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        F.batch_norm(chainrule.ones(1, 5000), None, None, training=True)


def test_writing_into_the_first_argument():
    from chainrule.backends.compiled.into import SERVES

    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((2, 3, 20, 33, 5), dtype="float32")
    for layout in (np.ascontiguousarray, last):
        a, b = layout(x).copy(order="K"), layout(y)
        assert SERVES["add"](a, b)
        np.testing.assert_array_equal(a, x + y)
        assert SERVES["relu"](a)
        np.testing.assert_array_equal(a, np.maximum(x + y, 0))
    assert not SERVES["add"](x.copy(), last(y))
    assert not SERVES["relu"](x[:, ::2])
    a = np.array([np.nan, -np.inf, np.inf, -0.0], "float32")
    assert SERVES["relu"](a)
    np.testing.assert_array_equal(a, np.array([np.nan, 0, np.inf, 0], "float32"))
