"""Programs: what kernels note is done again to the same bits, by any number of threads, and stops at what is wrong."""

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import chainrule
from chainrule.autograd.namespaces import OPS
from chainrule.backends import compiled
from chainrule.backends.compiled.listed import Live, made, reshaped
from chainrule.backends.compiled.program import LOWERED, Call, Host, Program, listing
from chainrule.backends.numpy import products
from chainrule.backends.numpy.kernels import KERNELS
from chainrule.backends.numpy.moves import moves
from chainrule.backends.numpy.steps import STEPS

f4 = np.float32
fast = pytest.mark.skipif(not compiled.available(), reason="no compiled kernels")


@pytest.fixture(params=(1, 2, 3))
def threads(request):
    before = chainrule.get_num_threads()
    chainrule.set_num_threads(request.param)
    yield request.param
    chainrule.set_num_threads(before)


def floats(rng, *shape, dtype=f4, last=False):
    """Random numbers; `last`: with the second dimension innermost in memory."""
    if last:
        return np.moveaxis(floats(rng, shape[0], *shape[2:], shape[1], dtype=dtype), -1, 1)
    return rng.standard_normal(shape).astype(dtype)


# -- cases: each gives its arrays, and a call that takes kernels by name ----------------------------------------------

CASES = {}


def case(*names):
    def register(function):
        CASES.setdefault(function.__name__, (function, names))
        return function

    return register


class Kernels:
    """The kernels by name; which of them were called."""

    def __init__(self):
        self.called = set()

    def __call__(self, name, *args, **params):
        self.called.add(name)
        out = KERNELS[name](*args, **params)
        return OPS[name].forward(np, *args, **params) if out is NotImplemented and name in OPS else out


@case("linear", "linear.grad.input", "linear.grad.weight", "linear.grad.bias")
def linear(rng, sizes):
    m, k, n = sizes
    x, w, b, g = floats(rng, m, k), floats(rng, n, k), floats(rng, n), floats(rng, m, n)
    return (x, w, b, g), lambda K: (
        K("linear", x, w, b),
        K("linear.grad.input", g, w),
        K("linear.grad.weight", g, x, w.shape),
        K("linear.grad.bias", g, b.shape),
    )


linear.sizes = [(32, 784, 128), (5, 7, 3), (32, 128, 10), (200, 300, 100), (400, 500, 410)]


@case("matmul")
def matmul(rng, sizes):
    a, b = floats(rng, *sizes[:-1]), floats(rng, *sizes[-2:])
    return (a, b), lambda K: (K("matmul", a, b),)


matmul.sizes = [(150, 300, 128), (4, 32, 96, 64)]


@case("linear", "linear.grad.input", "linear.grad.weight", "linear.grad.bias")
def linear_of_three_dimensions(rng, last):
    x = floats(rng, 9, 8, 64)
    g = floats(rng, 8, 9, 96).transpose(1, 0, 2) if last else floats(rng, 9, 8, 96)
    w, b = floats(rng, 96, 64), floats(rng, 96)
    return (x, w, b, g), lambda K: (
        K("linear", x, w, b),
        K("linear.grad.input", g, w),
        K("linear.grad.weight", g, x, w.shape),
        K("linear.grad.bias", g, b.shape),
    )


linear_of_three_dimensions.sizes = [False, True]


@case("cross_entropy", "cross_entropy.grad")
def cross_entropy(rng, how):
    shape, params = how
    x, y = floats(rng, *shape), rng.integers(0, shape[1], (shape[0], *shape[2:]))
    if "ignore_index" in params:
        y[rng.random(y.shape) < 0.3] = params["ignore_index"]
    g = np.array(rng.random(), f4) if params.get("reduction") != "none" else floats(rng, *y.shape)
    arrays = (x, y, g)
    if params.get("weight"):
        params = params | {"weight": rng.random(shape[1]).astype(f4)}
        arrays += (params["weight"],)

    def call(K):
        loss, residual = K("cross_entropy", x, y, **params)
        return loss, K("cross_entropy.grad", g, residual, (True, False, False))[0]

    return arrays, call


cross_entropy.sizes = [
    ((32, 10), {}),
    ((64, 65), {"ignore_index": 3}),
    ((64, 65), {"reduction": "sum", "weight": True}),
    ((40, 33), {"reduction": "none"}),
    ((40, 33), {"label_smoothing": 0.1, "ignore_index": 0, "weight": True}),
    ((3, 5, 17, 19), {}),
]


@case("tanh.grad")
def tanh(rng, shape):
    g, out = floats(rng, *shape), floats(rng, *shape)
    return (g, out), lambda K: (K("tanh.grad", g, out),)


tanh.sizes = [(8, 8), (300, 200)]


@case("softmax", "softmax.grad", "log_softmax", "log_softmax.grad")
def softmax(rng, how):
    shape, dim = how
    x, g = floats(rng, *shape), floats(rng, *shape)

    def call(K):
        a, b = K("softmax", x, dim), K("log_softmax", x, dim)
        return a, b, K("softmax.grad", g, a, dim), K("log_softmax.grad", g, b, dim)

    return (x, g), call


softmax.sizes = [((60, 70), -1), ((6, 70, 60), 1), ((70, 60), 0)]


_UNARY = (
    "abs celu elu erf exp expm1 gelu glu hardsigmoid hardswish leaky_relu log log1p logsigmoid mish relu selu sigmoid"
)
_ACTIVATIONS = [*_UNARY.split(), "silu", "softplus", "clamp"]
_KEEPS_OUT = {"relu", "sigmoid"}
_PARAMS = {"clamp": (-0.5, 0.5), "leaky_relu": (0.1,), "glu": (-1,)}
_GRAD_PARAMS = {"gelu": ("none",), "softplus": (1.0, 20.0), "elu": (1.0,), "celu": (1.0,), "leaky_relu": (0.1,)}


@case(*[n for n in LOWERED if n.removesuffix(".input").removesuffix(".grad") in _ACTIVATIONS])
def elementwise(rng, how):
    name, shape, last = how
    x, g = floats(rng, *shape, last=last), floats(rng, *shape, last=last)
    if name in ("log", "log1p"):
        np.abs(x, x)
    half = (*shape[:-1], shape[-1] // 2)
    g = floats(rng, *half) if name == "glu" else g

    def call(K):
        if name == "abs":
            return (K("abs.grad", g, x),)
        out = K(name, x, *_PARAMS.get(name, ()))
        if name == "clamp":
            return out, K("clamp.grad.input", g, x, -0.5, 0.5)
        if name + ".grad" not in KERNELS:
            return (out,)
        if isinstance(out, tuple):
            out, residual = out
            return out, K(name + ".grad", g, residual, (True,))[0]
        kept = out if name in _KEEPS_OUT else x
        return out, K(name + ".grad", g, kept, *_GRAD_PARAMS.get(name, ()))

    return (x, g), call


elementwise.sizes = [
    *[(name, (96, 100), False) for name in _ACTIVATIONS],
    *[(name, (4, 30, 20, 30), True) for name in ("relu", "gelu", "sigmoid")],
    ("relu", (7, 9), False),
]


@case("conv", "conv_input", "conv_weight", "conv.grad.bias")
def conv(rng, how):
    shape, weight, stride, padding, groups, last = how
    x, w, b = floats(rng, *shape, last=last), floats(rng, *weight), floats(rng, weight[0])
    geometry = (stride,) * 2, ((padding,) * 2,) * 2, (1, 1)
    size = [(n + 2 * padding - k) // stride + 1 for n, k in zip(shape[2:], weight[2:])]
    g = floats(rng, shape[0], weight[0], *size, last=last)
    return (x, w, b, g), lambda K: (
        K("conv", x, w, b, *geometry, groups),
        K("conv_input", g, w, shape[2:], *geometry, groups),
        K("conv_weight", x, g, weight[2:], *geometry, groups),
        K("conv.grad.bias", g),
    )


conv.sizes = [
    ((8, 1, 28, 28), (20, 1, 5, 5), 1, 0, 1, False),
    ((8, 20, 12, 12), (50, 20, 5, 5), 1, 0, 1, True),
    ((4, 32, 16, 16), (48, 32, 3, 3), 1, 1, 1, True),
    ((4, 32, 15, 17), (48, 32, 3, 3), 2, 1, 1, False),
    ((4, 24, 16, 16), (3, 24, 1, 1), 1, 0, 1, True),
    ((2, 32, 20, 20), (32, 1, 3, 3), 1, 1, 32, True),
    ((2, 32, 20, 20), (32, 8, 3, 3), 2, 1, 4, False),
]


@case("max_pool", "window_scatter")
def max_pool(rng, how):
    shape, window, stride, padding, last = how
    x = floats(rng, *shape, last=last)
    size = tuple((n + 2 * padding - window) // stride + 1 for n in shape[2:])
    g = floats(rng, *shape[:2], *size, last=last)
    geometry = (window,) * 2, (stride,) * 2, (padding,) * 2, (1, 1)

    def call(K):
        y, at = K("max_pool", x, *geometry, size)
        return y, at, K("window_scatter", g, at, shape[2:], *geometry)

    return (x, g), call


max_pool.sizes = [((8, 20, 24, 24), 2, 2, 0, True), ((3, 5, 17, 18), 3, 2, 1, False), ((3, 16, 17, 18), 3, 2, 1, True)]


@case("batch_normalised", "batch_normalised.grad", "batch_norm_relu", "batch_norm_relu.grad")
def batch_norm(rng, how):
    shape, last, affine = how
    x, other, g = (floats(rng, *shape, last=last) for _ in range(3))
    w, b = (floats(rng, shape[1]), floats(rng, shape[1])) if affine else (None, None)
    small = (1, shape[1], *(1,) * (len(shape) - 2))
    g1, g2 = floats(rng, *small), floats(rng, *small)

    def call(K):
        y, mean, var = K("batch_normalised", x, w, b, 1e-5)
        dx = K("batch_normalised.grad", (g, g1, g2), x, w, 1e-5, mean, var, (True, affine, affine))
        z, mean2, var2 = K("batch_norm_relu", x, w, b, other, 1e-5)
        dz = K("batch_norm_relu.grad", (g, g1, g2), x, w, 1e-5, z, mean2, var2, (True, affine, affine, True))
        return y, mean, var, *dx, z, *dz

    return [a for a in (x, other, g, w, b, g1, g2) if a is not None], call


batch_norm.sizes = [((8, 20, 10, 12), True, True), ((8, 20, 10, 12), False, True), ((300, 33), False, False)]


@case("layer_norm", "layer_norm.grad", "rms_norm", "rms_norm.grad")
def layer_norm(rng, how):
    shape, dtype = how
    x, g = floats(rng, *shape, dtype=dtype), floats(rng, *shape, dtype=dtype)
    w, b = floats(rng, shape[-1], dtype=dtype), floats(rng, shape[-1], dtype=dtype)

    def call(K):
        y, residual = K("layer_norm", x, shape[-1:], w, b, 1e-5)
        z, kept = K("rms_norm", x, shape[-1:], w, 1e-5)
        return (
            y,
            *K("layer_norm.grad", g, residual, (True, True, True)),
            z,
            *K("rms_norm.grad", g, kept, (True, True))[:2],
        )

    return (x, g, w, b), call


layer_norm.sizes = [((300, 65), f4), ((4, 64, 32), f4), ((150, 40), np.float64)]


@case("scaled_dot_product_attention", "scaled_dot_product_attention.grad")
def attention(rng, how):
    causal, masked = how
    heads = [floats(rng, 2, 50, 3, 16).transpose(0, 2, 1, 3) for _ in range(4)]
    q, k, v, g = heads
    mask = floats(rng, 50, 50) if masked else None

    def call(K):
        out, residual = K("scaled_dot_product_attention", q, k, v, mask, None, 1.0, causal)
        return out, *K("scaled_dot_product_attention.grad", g, residual, (True, True, True, masked, False))[
            : 3 + masked
        ]

    return (*heads, mask) if masked else heads, call


attention.sizes = [(False, False), (True, False), (False, True)]


@case("gru", "gru.grad", "lstm", "lstm.grad", "rnn", "rnn.grad")
def recurrent(rng, how):
    name, sizes, given = how
    gates, n, size = {"gru": 3, "lstm": 4, "rnn": 1}[name], sum(sizes), 24
    x, wi, wh = floats(rng, n, 80), floats(rng, gates * size, 80), floats(rng, gates * size, size)
    bi, bh = floats(rng, gates * size), floats(rng, gates * size)
    states = [floats(rng, sizes[0], size) for _ in range(1 + (name == "lstm"))] if given else [None] * 2
    states = states[: 1 + (name == "lstm")]
    g = [floats(rng, n, size), *[floats(rng, sizes[0], size) for _ in states]]

    def call(K):
        out, residual = K(name, x, *states, wi, wh, bi, bh, batch_sizes=sizes)
        needs = (True, *[given for _ in states], True, True, True, True, False)
        return *out, *K(name + ".grad", tuple(g), residual, needs)

    return [a for a in (x, wi, wh, bi, bh, *states, *g) if a is not None], call


recurrent.sizes = [
    (n, s, given) for n in ("gru", "lstm", "rnn") for s, given in (((8, 8, 5), True), ((8, 8), False), ((8, 8), True))
]


@case("embedding", "embedding_grad", "gather", "index_adjoint", "index_put", "scatter_add")
def rows(rng, dtype):
    table, source = floats(rng, 50, 24, dtype=dtype), floats(rng, 6, 11, 24, dtype=dtype)
    index, across = rng.integers(-50, 50, (6, 11)), rng.integers(-24, 24, (50, 30))
    wide, place = floats(rng, 50, 30, dtype=dtype), rng.integers(0, 50, (7, 9))

    def call(K):
        return (
            K("embedding", place, table),
            K("embedding_grad", source, index, 50),
            K("gather", table, 1, across),
            K("index_adjoint", source, (50, 24), (index,)),
            K("index_put", table, source, False, (index,), True),
            K("scatter_add", table, 1, across, wide),
        )

    return (table, source, index, across, wide, place), call


rows.sizes = [f4, np.float64]


@case("sum", "mean", "vector_norm")
def reductions(rng, how):
    shape, dim = how
    x = floats(rng, *shape)
    whole = floats(rng, 5000)
    return (x, whole), lambda K: (K("sum", x, dim), K("mean", x, dim), K("vector_norm", whole))


reductions.sizes = [
    ((200, 300), 0),
    ((8, 9), None),
    ((8, 9), 1),
    ((8, 9), 0),
    ((200, 300), 1),
    ((20, 60, 50), (0, 2)),
    ((40, 1000), None),
]


@case("dropout_by_seed", "keep_by_seed")
def dropout(rng, last):
    x = floats(rng, 4, 30, 20, 31, last=last)
    return (x,), lambda K: (K("dropout_by_seed", x, 12345678901234, 0.3), K("keep_by_seed", x, x.shape, 99, 0.3))


dropout.sizes = [False, True]


@case("axis_map")
def upsampled(rng, last):
    x = floats(rng, 2, 16, 12, 13, last=last)
    seen = {}

    def spy(*args, **params):
        seen["call"] = args, params
        return kernel(*args, **params)

    kernels = OPS["axis_map"].kernels
    kernel, kernels[np.ndarray] = kernels[np.ndarray], spy
    try:  # the op's tables are made by what calls it
        chainrule.nn.functional.interpolate(chainrule.tensor(x), scale_factor=2, mode="bilinear")
    finally:
        kernels[np.ndarray] = kernel
    (_, *rest), params = seen["call"]
    return (x,), lambda K: (K("axis_map", x, *rest, **params),)


upsampled.sizes = [False, True]


def arrays_of(x):
    if isinstance(x, np.ndarray):
        yield x
    elif isinstance(x, (tuple, list)):
        for v in x:
            yield from arrays_of(v)
    elif hasattr(x, "pieces"):
        yield from arrays_of(x.pieces)
    elif hasattr(x, "flag"):
        yield x.flag


def bits(out):
    return [None if o is None else (o.dtype, o.shape, np.asarray(o).tobytes()) for o in out]


def proved(arrays, call, rng):
    """Listed, then run on other inputs with all that it writes poisoned: as a fresh call, bit for bit."""
    K = Kernels()
    with listing() as calls:
        out = call(K)
    assert not any(o is NotImplemented for o in out)
    if not calls.whole:
        return None
    program = Program(calls)
    inputs = {id(a) for a in arrays}
    held = [a for c in calls for a in arrays_of((c.function, c.args, tuple(c.kwargs.values())))]
    held = [a for a in held if id(a) not in inputs and not any(np.may_share_memory(a, x) for x in arrays)]
    before = [a.copy() for a in held]
    for a in arrays:
        a[...] = rng.permutation(a.reshape(-1)).reshape(a.shape)
    program.run()
    written = [a for a, b in zip(held, before) if a.tobytes() != b.tobytes() and a.dtype.kind == "f"]
    for a in written:
        a[...] = np.nan
    program.run()
    found = bits(out)
    assert found == bits(call(Kernels()))
    return K.called


@fast
@pytest.mark.parametrize(("name", "which"), [(n, i) for n, (f, _) in CASES.items() for i in range(len(f.sizes))])
def test_lowered_kernels(name, which, threads):
    rng = np.random.default_rng(which)
    function, names = CASES[name]
    arrays, call = function(rng, function.sizes[which])
    served = proved(list(arrays), call, rng)
    assert served is None or served <= set(names)
    if not which:  # the first of each family has a size that compiled kernels take
        assert served


@fast
def test_all_lowered_kernels_are_proved():
    covered = {n for _, names in CASES.values() for n in names} | set(STEPS)
    assert covered == LOWERED


# -- steps of optimizers, with numbers that change --------------------------------------------------------------------

_OPTIONS = {"lr": 0.1, "weight_decay": 0.01, "maximize": False}
_STEPS = {
    "adadelta": (2, {"rho": 0.9, "eps": 1e-6}, {}),
    "adagrad": (1, {"eps": 1e-10}, {}),
    "adam": (2, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "decoupled": True}, {"step": 4}),
    "adamax": (2, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}, {}),
    "lion": (1, {"beta1": 0.9, "beta2": 0.99}, {}),
    "nadam": (
        2,
        {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "shrink": 0.9},
        {"ahead": 0.1, "here": 0.2, "correction": 0.5},
    ),
    "radam": (2, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "shrink": 0.9}, {"rectified": 0.7}),
    "rmsprop": (1, {"alpha": 0.9, "eps": 1e-8, "momentum": 0, "centered": False}, {}),
    "sgd": (1, {"momentum": 0.9, "dampening": 0.1, "nesterov": True, "first": False}, {}),
}
_NO_RATE = {"nadam"}


@fast
@pytest.mark.parametrize("dtype", [f4, np.float64])
@pytest.mark.parametrize("size", [10, 70_001])
@pytest.mark.parametrize("name", sorted(STEPS))
def test_lowered_steps(name, size, dtype, threads):
    from chainrule.backends.compiled import optimizers
    from chainrule.backends.recorder import within

    states, options, live = _STEPS[name]
    rng = np.random.default_rng(1)
    arrays = [np.abs(floats(rng, size, dtype=dtype)) for _ in range(2 + states)]
    options = {k: v for k, v in _OPTIONS.items() if k != "lr" or name not in _NO_RATE} | options
    cells = {k: Live(v) for k, v in live.items()} | ({"lr": Live(0.1)} if name not in _NO_RATE else {})
    recorder = Followed()
    with within(recorder), listing() as calls:
        assert STEPS[name](*arrays, **options | cells) is not NotImplemented
    assert calls.whole
    program = Program([*recorder.calls, *calls])
    for factor in (1, 2):  # the numbers of now, and others
        for cell in cells.values():
            cell.value *= factor
        other = [np.abs(floats(rng, size, dtype=dtype)) for _ in arrays]
        for a, b in zip(arrays, other):
            a[...] = b
        program.run()
        optimizers.SERVES[name](*other, **options | {k: c.value for k, c in cells.items()})
        assert bits(arrays) == bits(other)


class Followed:
    """The part of a recorder that works out numbers from live ones."""

    def __init__(self):
        self.calls = []

    def host(self, action, undo=None):
        self.calls.append(Call(Host(action)))
        return action()


# -- NumPy's loops and BLAS -------------------------------------------------------------------------------------------


def _same(function, *args, into, **params):
    """A call of NumPy and the same as a program, into an array that held the same."""
    before = into.copy()
    function(*args, **params)
    expected, into[...] = into.tobytes(), before
    program = Program([Call(function, args, params)])
    program.run()
    assert into.tobytes() == expected
    return program


def _new(function, *args, shape, dtype):
    out = np.full(shape, 1, dtype)
    return _same(function, *args, into=out, out=out)


def _is_machine_code(program):
    return all(type(getattr(part, "__self__", None)).__name__ == "Stretch" for part in program.parts)


@fast
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("shape", [(3,), (17, 5), (64, 128), (300, 301), (4, 5, 6), (30, 50, 2, 7)])
def test_loops_of_numpy(shape, dtype, threads):
    rng = np.random.default_rng(0)
    x, y = ((10 * rng.standard_normal(shape)).astype(dtype) for _ in range(2))
    turned, row = np.ascontiguousarray(x.T).T, y[(0,) * (len(shape) - 1)]
    number = 3 if dtype == "i8" else 0.3
    for function in (np.add, np.multiply, np.subtract, np.maximum):
        for a, b in ((x, y), (x, row), (row, x), (x, number), (x[::-1], y)):
            assert _is_machine_code(_new(function, a, b, dtype=dtype, shape=shape))
        _new(function, turned, y, dtype=dtype, shape=shape)
        out = np.full(shape, 3, dtype)
        assert _is_machine_code(_same(function, out, y, into=out, out=out))
    for function in (np.exp, np.tanh, np.sqrt, np.log) if dtype != "i8" else ():
        assert _is_machine_code(_new(function, np.abs(x), dtype=dtype, shape=shape))
    assert _is_machine_code(_new(np.less_equal, x, y, dtype=bool, shape=shape))
    for source in (x, turned, row, number):
        out = np.full(shape, 3, dtype)
        _same(np.copyto, out, source, into=out)


@fast
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(3,), (17, 5), (64, 128), (300, 301), (2, 1000), (1000, 2), (1, 7), (7, 1)])
def test_sums_of_numpy(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for axis in (None, *range(len(shape))):
        into = np.ones([n for i, n in enumerate(shape) if i != axis] if axis is not None else (), dtype)
        before = into.copy()
        np.add.reduce(x, axis=axis, out=into)
        expected, into[...] = into.tobytes(), before
        Program([Call(np.add.reduce, (x,), {"axis": axis, "out": into})]).run()
        assert into.tobytes() == expected


@fast
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "sizes",
    [
        (32, 128, 10),
        (10, 32, 128),
        (2, 2, 2),
        (7, 300, 3),
        (1, 20, 30),
        (20, 30, 1),
        (300, 200, 90),
        (900, 700, 60),
        (60, 700, 900),
    ],
)
def test_products_of_blas(sizes, dtype, threads):
    rng, (m, k, n) = np.random.default_rng(0), sizes
    for a in (rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, m)).astype(dtype).T):
        for b in (rng.standard_normal((k, n)).astype(dtype), rng.standard_normal((n, k)).astype(dtype).T):
            out = np.ones((m, n), dtype)
            _same(products.into, a, b, out, into=out)
    out = np.ones(n, dtype)
    _same(products.into, np.ones(k, dtype), rng.standard_normal((k, n)).astype(dtype), out, into=out)


@fast
def test_what_overlaps_is_left_to_numpy():
    x = np.arange(100.0)
    _same(np.add, x[1:], x[:-1], into=x, out=x[1:])
    _same(np.copyto, x[1:], x[:-1], into=x)
    x = np.arange(100.0).reshape(10, 10)
    _same(np.add, x, x.T, into=x, out=x)


# -- runs -------------------------------------------------------------------------------------------------------------


def _stages(n, size, parts):
    """A chain of n additions over `size` numbers, each in so many pieces; what it adds to."""
    from chainrule.backends.compiled.into import _add
    from chainrule.backends.compiled.listed import Pieces

    x, one = np.zeros(size, f4), np.ones(size, f4)
    cuts = [(size * i // parts, size * (i + 1) // parts) for i in range(parts)]
    call = Call(Pieces(tuple((Call(_add, (x, one, *c)),) for c in cuts)))
    return x, [call] * n


@fast
@pytest.mark.parametrize("parts", [1, 2, 3, 16])
def test_stages_wait_for_one_another(parts):
    x, calls = _stages(40, 1000, parts)
    program = Program(calls)
    for run in range(1, 60):
        program.run()
        assert (x == 40 * run).all()


@fast
def test_several_threads_run_several_programs():
    made = [_stages(30, 2000, 3) for _ in range(4)]
    programs = [Program(calls) for _, calls in made]

    def work(i):
        for _ in range(50):
            programs[i % 4].run()  # each is run by two threads

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for x, _ in made:
        assert (x == 30 * 50 * 2).all()


@fast
def test_a_program_dies_while_helpers_look_for_work():
    for _ in range(200):
        x, calls = _stages(3, 100, 2)
        Program(calls).run()
        assert (x == 3).all()
        del x, calls
    gc.collect()


@fast
def test_a_program_keeps_what_it_works_on():
    x, calls = _stages(2, 100_000, 2)
    program = Program(calls)
    one = calls[0].function.pieces[0][0].args[1]
    references = sys.getrefcount(one)
    del calls
    gc.collect()
    assert sys.getrefcount(one) >= references - 1
    with pytest.raises(ValueError, match="resize"):
        x.resize(200_000)
    del one
    gc.collect()
    program.run()
    assert (x == 2).all()


@fast
def test_an_array_that_has_changed_is_an_error_and_not_a_crash():
    x, calls = _stages(2, 100, 2)
    program = Program(calls)
    program.run()
    x.resize(10, 10, refcheck=False)
    with pytest.raises(TypeError, match="argument 0 must be a C-contiguous"):
        program.run()
    x.resize(100, refcheck=False)
    before = x.copy()
    program.run()
    assert (x == before + 2).all()


@fast
def test_targets_are_looked_at_in_each_run():
    x, y, after = floats(np.random.default_rng(0), 40, 30), np.zeros(40, np.int64), np.zeros(4, f4)
    with listing() as calls:
        loss, _ = KERNELS["cross_entropy"](x, y)
    program = Program([*calls, Call(np.add, (after, f4(1)), {"out": after})])
    program.run()
    first = loss.copy()
    y[7] = 30
    with pytest.raises(IndexError, match="Target 30 is out of bounds"):
        program.run()
    assert (after == 1).all()  # nothing was done after the check
    y[7] = 0
    program.run()
    assert loss == first
    assert (after == 2).all()


@fast
def test_indices_are_looked_at_in_each_run():
    x, index = floats(np.random.default_rng(0), 40, 30), np.zeros(40, np.int64)
    with listing() as calls:
        KERNELS["embedding_grad"](x, index, 5)
    program = Program(calls)
    index[3] = -6
    with pytest.raises(IndexError, match="index -6 is out of bounds for dimension with size 5"):
        program.run()


@fast
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_runs_programs():
    x, calls = _stages(20, 1000, 2)
    program = Program(calls)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            program.run()

    busy = threading.Thread(target=work)
    busy.start()
    try:
        for _ in range(5):
            child = os.fork()
            if not child:
                x[...] = 0
                for _ in range(20):
                    program.run()
                os._exit(0 if (x == 400).all() else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        busy.join()


@fast
def test_more_threads_than_processors():
    script = """if True:
        import numpy as np, chainrule
        from chainrule.backends.compiled.program import Program, listing
        from chainrule.backends.numpy.kernels import KERNELS
        chainrule.set_num_threads(13)
        x = np.random.default_rng(0).standard_normal((300, 5000), dtype=np.float32)
        with listing() as calls:
            y = KERNELS["gelu"](x)
        first, program = y.copy(), Program(calls)
        for _ in range(30):
            y[...] = np.nan
            program.run()
            assert (y == first).all()
    """
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@fast
def test_the_process_ends_while_helpers_look_for_work():
    script = """if True:
        import numpy as np, chainrule
        from chainrule.backends.compiled.program import Program, listing
        from chainrule.backends.numpy.kernels import KERNELS
        chainrule.set_num_threads(4)
        x = np.ones((300, 5000), np.float32)
        with listing() as calls:
            y = KERNELS["relu"](x)
        program = Program(calls)
        for _ in range(5):
            program.run()
    """
    for _ in range(4):
        subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_what_is_made_again_goes_into_the_same_array():
    x = np.arange(12.0).reshape(3, 4)
    with listing() as calls:
        y = made(np.cumsum, x.T)
        z = reshaped(x.T, 12)
        w = made(np.multiply, y, z)
    before = w.copy()
    x += 1
    Program(calls).run()
    assert (y == np.cumsum(x.T)).all()
    assert (z == x.T.reshape(-1)).all()
    assert (w == y * z).all()
    assert (w != before).any()


@pytest.mark.parametrize(
    ("name", "args", "params"),
    [
        ("reshape", (np.arange(24.0).reshape(4, 6).T, (3, 8)), {}),
        ("flatten", (np.arange(24.0).reshape(2, 3, 4).transpose(0, 2, 1),), {"start_dim": 1}),
        ("stack", tuple(np.arange(6.0).reshape(2, 3) + i for i in range(4)), {"dim": 1}),
        ("concat", tuple(np.arange(6.0).reshape(2, 3)[:, :i] + i for i in range(4)), {"dim": 1}),
    ],
)
def test_ops_that_move_elements_are_copies(name, args, params):
    out = OPS[name].forward(np, *args, **params)
    calls = moves(name, args, params, out)
    expected, out[...] = out.copy(), np.nan
    Program(calls).run()
    assert (out == expected).all()


@fast
def test_python_runs_what_the_driver_cannot(monkeypatch):
    from chainrule.backends.compiled import lockstep

    def missing(*_):
        raise compiled.Unavailable("no driver")

    monkeypatch.setattr(lockstep, "Stretch", missing)
    x, calls = _stages(3, 100, 2)
    rate = Live(0.5)
    Program([*calls, Call(np.multiply, (x, rate), {"out": x})]).run()
    assert (x == 1.5).all()
