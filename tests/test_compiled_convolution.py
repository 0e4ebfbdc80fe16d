"""Compiled kernels of convolution: all geometries and layouts against NumPy's kernels in float64."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.backends.numpy.kernels import PLAIN

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason='numba is not installed; pip install "chainrule[fast]" brings it'
)
#: largest error, in units of the standard deviation of what is asked for, for sums of up to 5000 products
ERROR = 3e-5


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """Winograd's kernels have tests of their own. What decides on them is given back."""
    from chainrule.backends.compiled import convolution

    decides = convolution._winograd
    monkeypatch.setattr(convolution, "_winograd", lambda *_: False)
    return decides


def channels_last(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def strided(a):
    return np.repeat(a, 2, -1)[..., ::2]


LAYOUTS = {"channels last": channels_last, "channels first": np.ascontiguousarray, "strided": strided}


def calls(x, kernel, outputs, stride, padding, dilation, layout="channels last", bias=True, seed=0):
    """(name, arguments) of the three ops for one geometry; x is a shape."""
    rng = np.random.default_rng(seed)
    size = [
        (n + b + a - d * (k - 1) - 1) // s + 1
        for n, k, s, (b, a), d in zip(x[2:], kernel, stride, padding, dilation, strict=True)
    ]

    def array(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    change = LAYOUTS[layout]
    inputs, grad, weight = change(array(*x)), change(array(x[0], outputs, *size)), array(outputs, x[1], *kernel)
    rest = (stride, padding, dilation, 1)
    yield "conv", (inputs, weight, array(outputs) if bias else None, *rest)
    yield "conv_input", (grad, weight, x[2:], *rest)
    yield "conv_weight", (inputs, grad, kernel, *rest)


def served(name, args):
    from chainrule.backends.compiled import convolution

    return convolution.SERVES[name](*args)


def assert_right(name, args):
    found = served(name, args)
    assert found is not NotImplemented
    exact = PLAIN[name](*[a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args])
    assert found.dtype == np.float32
    assert found.shape == exact.shape
    scale = np.sqrt(np.mean(exact**2)) + 1e-6
    assert np.abs(found - exact).max() <= ERROR * scale, (name, np.abs(found - exact).max() / scale)
    return found


# every geometry of the networks that people train, small: one tap, stem, LeNet, strides, dilation, one to three
# dimensions; channels that fill vectors and that do not; spread rows (512 channels)
SHAPES = [
    ((2, 64, 8, 8), (3, 3), 64, (1, 1), ((1, 1), (1, 1)), (1, 1)),
    ((2, 3, 16, 16), (7, 7), 64, (2, 2), ((3, 3), (3, 3)), (1, 1)),
    ((3, 1, 12, 12), (5, 5), 20, (1, 1), ((0, 0), (0, 0)), (1, 1)),
    ((3, 20, 12, 12), (5, 5), 50, (1, 1), ((0, 0), (0, 0)), (1, 1)),
    ((2, 24, 16, 16), (4, 4), 40, (2, 2), ((1, 1), (1, 1)), (1, 1)),
    ((2, 40, 8, 8), (4, 4), 3, (2, 2), ((1, 1), (1, 1)), (1, 1)),
    ((2, 16, 9, 8), (3, 3), 33, (2, 2), ((0, 1), (2, 1)), (1, 1)),
    ((2, 512, 8, 8), (1, 1), 80, (1, 1), ((0, 0), (0, 0)), (1, 1)),
    ((2, 512, 4, 4), (3, 3), 16, (1, 1), ((1, 1), (1, 1)), (1, 1)),
    ((2, 32, 8, 8), (1, 1), 64, (2, 2), ((0, 0), (0, 0)), (1, 1)),
    ((2, 16, 12, 12), (3, 3), 32, (1, 1), ((2, 2), (2, 2)), (2, 2)),
    ((2, 16, 12, 12), (3, 5), 32, (1, 1), ((0, 0), (0, 0)), (2, 1)),
    ((2, 32, 6, 10), (3, 3), 4, (1, 1), ((1, 0), (1, 2)), (1, 1)),
    ((2, 1, 9, 9), (3, 3), 1, (1, 1), ((1, 1), (1, 1)), (1, 1)),
    ((2, 8, 9, 9), (3, 2), 16, (3, 1), ((-1, 1), (1, -1)), (1, 2)),
    ((3, 16, 17), (3,), 8, (2,), ((1, 0),), (2,)),
    ((2, 4, 5, 6, 8), (2, 3, 3), 8, (1, 2, 1), ((0, 1), (1, 1), (1, 1)), (2, 1, 1)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(shape, layout):
    for name, args in calls(*shape, layout, bias=layout != "strided"):
        assert_right(name, args)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3], SHAPES[4], SHAPES[7], SHAPES[-2]], ids=str)
def test_weights_in_any_order_of_memory(shape):
    """Weights as they are, with outputs last, with channels last, and with gaps; and out of order in one dimension."""
    for name, args in list(calls(*shape))[:2]:
        w = args[1]
        for order in ((*range(2, w.ndim), 1, 0), (0, *range(2, w.ndim), 1), (1, 0, *range(2, w.ndim))):
            back = np.argsort(order)
            assert_right(name, (args[0], np.ascontiguousarray(w.transpose(order)).transpose(back), *args[2:]))
        assert_right(name, (args[0], np.repeat(w, 2, 0)[::2], *args[2:]))
        assert_right(name, (args[0], w[..., ::-1], *args[2:]))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_geometry(data):
    n = data.draw(st.integers(1, 3))

    def each(values):
        return tuple([data.draw(st.sampled_from(values)) for _ in range(n)])

    size, kernel, stride, dilation = each((3, 6, 8)), each((1, 2, 3)), each((1, 1, 2, 3)), each((1, 1, 2))
    padding = tuple([(data.draw(st.integers(-1, 2)), data.draw(st.integers(-1, 2))) for _ in range(n)])
    wide = [s + min(b, 0) + min(a, 0) for s, (b, a) in zip(size, padding, strict=True)]
    assume(min(wide) > 0)
    out = [
        (s + b + a - d * (k - 1) - 1) // t + 1
        for s, (b, a), k, d, t in zip(size, padding, kernel, dilation, stride, strict=True)
    ]
    assume(min(out) > 0)
    assume(np.prod(out) > 2)
    x = (data.draw(st.integers(1, 3)), data.draw(st.sampled_from((1, 3, 16))), *size)
    outputs, layout = data.draw(st.sampled_from((2, 16))), data.draw(st.sampled_from(sorted(LAYOUTS)))
    for name, args in calls(x, kernel, outputs, stride, padding, dilation, layout):
        found = served(name, args)
        if found is not NotImplemented or name != "conv_input":  # phases without any tap are left to NumPy
            assert_right(name, args)


def test_what_is_left_to_numpy():
    for name, args in calls(*SHAPES[0]):
        double = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args]
        assert served(name, double) is NotImplemented
        batched = (0,) if name != "conv_weight" else (0, 1)
        empty = [a[:0] if i in batched else a for i, a in enumerate(args)]
        assert served(name, empty) is NotImplemented
        found = cr.backends.numpy.kernels.KERNELS[name](*empty)
        assert not found.size or not found.any()


def test_who_is_asked_first(direct, monkeypatch):
    """3 x 3 kernels go to Winograd's functions, which may decline."""
    from chainrule.backends.compiled import convolution, winograd

    asked = []
    for name in ("forward", "input_gradient", "weight_gradient"):
        monkeypatch.setattr(winograd, name, lambda *_, name=name: asked.append(name) or NotImplemented)
    monkeypatch.setattr(convolution, "_winograd", direct)
    for shape in SHAPES:
        for name, args in calls(*shape):
            asked.clear()
            assert_right(name, args)
            _, kernel, _, stride, _, dilation = shape
            assert len(asked) == (kernel == (3, 3) and stride == dilation == (1, 1))


def test_results_do_not_depend_on_the_threads(monkeypatch):
    from chainrule.backends.compiled import convolution

    monkeypatch.setattr(convolution, "_LEAST", 1)
    for shape in (SHAPES[0], SHAPES[4], SHAPES[7], ((1, 32, 8, 8), *SHAPES[0][1:])):
        for name, args in calls(*shape):
            monkeypatch.setattr(convolution, "threads", lambda: 1)
            alone = served(name, args)
            for n in (2, 3):
                monkeypatch.setattr(convolution, "threads", lambda n=n: n)
                together = assert_right(name, args)
                np.testing.assert_array_equal(together, served(name, args))
                if name != "conv_weight":
                    np.testing.assert_array_equal(together, alone)


def test_what_is_not_finite():
    """NaN and infinity reach exactly the outputs that read them, and nothing else."""
    (_, args), *_ = calls((1, 16, 8, 8), (3, 3), 16, (1, 1), ((1, 1), (1, 1)), (1, 1))
    x = args[0].copy()
    x[0, 3, 2, 5] = np.nan
    found = served("conv", (x, *args[1:]))
    expected = np.zeros((8, 8), bool)
    expected[1:4, 4:7] = True
    np.testing.assert_array_equal(np.isnan(found[0]), np.broadcast_to(expected, (16, 8, 8)))


def test_gradients_through_the_public_functions(monkeypatch):
    """Values and all gradients, of a convolution and a transposed one, against the same in float64."""
    rng = np.random.default_rng(1)
    x, w, v = [rng.standard_normal(s) for s in ((4, 16, 8, 8), (32, 16, 4, 4), (32, 16, 4, 4))]
    results = []
    for dtype in ("float32", "float64"):
        leaves = [cr.tensor(a.astype(dtype), requires_grad=True) for a in (x, w, v, v[:, 0, 0, 0])]
        y = cr.nn.functional.conv2d(leaves[0], leaves[1], leaves[3], stride=2, padding=1)
        y = cr.nn.functional.conv_transpose2d(y.relu(), leaves[2], stride=2, padding=1)
        (y * y).sum().backward()
        results.append([y.detach().numpy(), *[leaf.grad.numpy() for leaf in leaves]])
    for single, double in zip(*results, strict=True):
        assert np.abs(single - double).max() <= ERROR * 3 * double.std()


@pytest.mark.parametrize("width", [4, 8])
def test_other_vector_widths(width):
    """The code for processors with narrower vectors runs here, too."""
    program = (
        "import test_compiled_convolution as t\n"
        f"assert __import__('chainrule').backends.compiled.intrinsics.vector_width() == {width}\n"
        "for shape in (t.SHAPES[4], t.SHAPES[5], t.SHAPES[6]):\n"
        "    for name, args in t.calls(*shape):\n"
        "        t.assert_right(name, args)\n"
    )
    environment = os.environ | {"CHAINRULE_VECTOR_WIDTH": str(width), "PYTHONPATH": os.path.dirname(__file__)}
    program = "import chainrule.backends.compiled.intrinsics\n" + program
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
