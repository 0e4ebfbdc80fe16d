"""Single operations for chainrule and PyTorch: what a training step is made of, each in a program of its own.

A kernel is built from layers and functions of the public API. Its passes are `forward`, recorded as in training, and
gradients: with respect to the `input`, to the `weight`, or `backward` for all that is differentiable.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engines import Program, networks


@dataclass
class Built:
    """A kernel in an engine: the function, what it is applied to, what gradients may be asked for."""

    call: Callable
    x: object
    weights: list
    multiplications: int = 0  # of a pass; 0: the memory is what counts


@dataclass(frozen=True)
class Kernel:
    """How to build it, and the passes to time."""

    build: Callable
    passes: tuple[str, ...] = ("forward", "backward")
    tolerance: float = 1e-3  # largest relative difference of sums over the result from those in float64


def normal(e, dtype, *shape, seed=0, scale=1.0):
    """Random numbers, the same in every engine."""
    values = np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(scale)
    return e.lib.tensor(values.astype(dtype))


def filled(e, dtype, layer):
    """The layer with weights that are the same in every engine."""
    layer.to(getattr(e.lib, dtype))
    state = layer.state_dict()
    new = {
        name: normal(e, dtype, *w.shape, seed=i, scale=math.prod(w.shape[1:]) ** -0.5)
        for i, (name, w) in enumerate(state.items())
        if "running" not in name and "num" not in name
    }
    layer.load_state_dict(state | new)
    return e.place(layer)


def conv(n, c, o, size, k=3, stride=1, dilation=1, groups=1, padding=None):
    def build(e, dtype):
        pad = dilation * (k // 2) if padding is None else padding
        layer = e.nn.Conv2d(c, o, k, stride, pad, dilation, groups, bias=False)
        out = (size + 2 * pad - dilation * (k - 1) - 1) // stride + 1
        work = n * o * out * out * (c // groups) * k * k
        x = e.native(normal(e, dtype, n, c, size, size))
        return layered(filled(e, dtype, layer), x, work)

    return Kernel(build, ("forward", "weight") if c <= 3 else ("forward", "input", "weight"))


def transposed(n, c, o, size, k=4, stride=2, padding=1):
    def build(e, dtype):
        layer = filled(e, dtype, e.nn.ConvTranspose2d(c, o, k, stride, padding, bias=False))
        return layered(layer, e.native(normal(e, dtype, n, c, size, size)), n * c * size * size * o * k * k)

    return Kernel(build, ("forward", "input", "weight"))


def linear(n, inputs, outputs):
    def build(e, dtype):
        layer = filled(e, dtype, e.nn.Linear(inputs, outputs))
        return layered(layer, normal(e, dtype, n, inputs), n * inputs * outputs)

    return Kernel(build, ("forward", "input", "weight"))


def recurrent(cell, length, batch, hidden, gates):
    def build(e, dtype):
        layer = filled(e, dtype, getattr(e.nn, cell)(hidden, hidden, batch_first=True))
        work = length * batch * 2 * hidden * gates * hidden
        built = layered(layer, normal(e, dtype, batch, length, hidden), work)
        built.call = lambda x: layer(x)[0]
        return built

    return Kernel(build)


def layered(layer, x, multiplications=0):
    return Built(layer, x, list(layer.parameters()), multiplications)


def simple(function, *shape, **options):
    """A function of one array: `function(e)` gives it."""

    def build(e, dtype):
        x = normal(e, dtype, *shape)
        return Built(function(e), e.native(x) if len(shape) == 4 else x, [])

    return Kernel(build, **options)


def norm(make, *shape):
    def build(e, dtype):
        x = normal(e, dtype, *shape)
        layer = make(e.nn).to(getattr(e.lib, dtype))
        return layered(layer, e.native(x) if len(shape) == 4 else x)

    return Kernel(build)


def residual(*shape):
    def build(e, dtype):
        layer = e.nn.BatchNorm2d(shape[1]).to(getattr(e.lib, dtype))
        other = e.native(normal(e, dtype, *shape, seed=1))
        x = e.native(normal(e, dtype, *shape))
        return Built(lambda x: e.F.relu(layer(x) + other), x, [other, *layer.parameters()])

    return Kernel(build)


def cross_entropy(rows, classes):
    def build(e, dtype):
        target = e.lib.tensor(np.random.default_rng(0).integers(0, classes, rows))
        return Built(lambda x: e.F.cross_entropy(x, target), normal(e, dtype, rows, classes), [])

    return Kernel(build)


def embedding(entries, width, tokens):
    def build(e, dtype):
        layer = filled(e, dtype, e.nn.Embedding(entries, width))
        x = e.lib.tensor(np.random.default_rng(0).integers(0, entries, tokens))
        return layered(layer, x)

    return Kernel(build, ("forward", "weight"))


def attention(n, heads, length, width):
    def build(e, dtype):
        q, k, v = (normal(e, dtype, n, heads, length, width, seed=i) for i in range(3))
        call = lambda q: e.F.scaled_dot_product_attention(q, k, v, is_causal=True)
        # Half of the pairs are masked; backward has five products for the two of forward.
        return Built(call, q, [k, v], n * heads * length * length * width)

    return Kernel(build)


def optimizer(make, shapes, streams):
    """A step over parameters of these shapes, of which each element is met `streams` times (reads and writes)."""

    def build(e, dtype):
        params = [e.nn.Parameter(normal(e, dtype, *shape, seed=i)) for i, shape in enumerate(shapes(e))]
        for i, p in enumerate(params):
            p.grad = normal(e, dtype, *p.shape, seed=i + 1000, scale=0.1)
        update = make(e)(params).step
        built = Built(lambda x: update(), None, params)
        built.streams = streams
        return built

    return Kernel(build, ("step",))


def of(network):
    """The shapes of a network's parameters."""
    return lambda e: [tuple(p.shape) for p in network(e).parameters()]


def _adam(e):
    return lambda params: e.optim.Adam(params, lr=1e-3, **e.optimizer_options)


def _sgd(e):
    return lambda params: e.optim.SGD(params, lr=0.01, momentum=0.9, **e.optimizer_options)


_MILLIONS = (32, 64, 32, 32)
_MLP = lambda e: [(128, 784), (128,), (10, 128), (10,)]
_GPT = of(lambda e: networks.gpt(e.lib, e.nn, e.F, 65, 256, 4, 256, 4, 0.0))
_RESNET = of(lambda e: networks.resnet18(e.nn, e.F, 10))

KERNELS = {
    "conv 3x3, 64 on 32x32 (32)": conv(32, 64, 64, 32),
    "conv 3x3, 128 on 16x16 (64)": conv(64, 128, 128, 16),
    "conv 3x3, 256 on 8x8 (64)": conv(64, 256, 256, 8),
    "conv 3x3, 512 on 4x4 (64)": conv(64, 512, 512, 4),
    "conv 3x3 s2, 64-128 on 32x32 (32)": conv(32, 64, 128, 32, stride=2),
    "conv 3x3, 3-64 on 32x32 (64)": conv(64, 3, 64, 32),
    "conv 7x7 s2, 3-64 on 224x224 (8)": conv(8, 3, 64, 224, 7, 2),
    "conv 3x3, 64 on 56x56 (8)": conv(8, 64, 64, 56),
    "conv 3x3, 128 on 28x28 (8)": conv(8, 128, 128, 28),
    "conv 3x3, 256 on 14x14 (8)": conv(8, 256, 256, 14),
    "conv 3x3, 512 on 7x7 (8)": conv(8, 512, 512, 7),
    "conv 3x3 s2, 128 on 56x56 (8)": conv(8, 128, 128, 56, stride=2),
    "conv 1x1, 64-256 on 56x56 (8)": conv(8, 64, 256, 56, 1),
    "conv 1x1, 256-64 on 56x56 (8)": conv(8, 256, 64, 56, 1),
    "conv 1x1, 1024-256 on 14x14 (8)": conv(8, 1024, 256, 14, 1),
    "conv 1x1, 512-2048 on 7x7 (8)": conv(8, 512, 2048, 7, 1),
    "conv 1x1 s2, 256-512 on 56x56 (8)": conv(8, 256, 512, 56, 1, stride=2),
    "conv 3x3 d2, 256 on 28x28 (8)": conv(8, 256, 256, 28, dilation=2),
    "conv 3x3 depthwise, 96 on 48x48 (16)": conv(16, 96, 96, 48, groups=96),
    "conv 3x3 s2 depthwise, 96 on 48x48 (16)": conv(16, 96, 96, 48, stride=2, groups=96),
    "conv 3x3 32 groups, 128 on 56x56 (8)": conv(8, 128, 128, 56, groups=32),
    "conv 5x5, 1-20 on 28x28 (64)": conv(64, 1, 20, 28, 5, padding=0),
    "conv 5x5, 20-50 on 12x12 (64)": conv(64, 20, 50, 12, 5, padding=0),
    "conv 4x4 s2, 64-128 on 32x32 (16)": conv(16, 64, 128, 32, 4, 2, padding=1),
    "transposed 4x4 s2, 256-128 on 8x8 (16)": transposed(16, 256, 128, 8),
    "max pool 2x2, 32x64x32x32": simple(lambda e: e.nn.MaxPool2d(2), 32, 64, 32, 32),
    "max pool 3x3 s2, 8x64x112x112": simple(lambda e: e.nn.MaxPool2d(3, 2, 1), 8, 64, 112, 112),
    "average pool 2x2, 32x64x32x32": simple(lambda e: e.nn.AvgPool2d(2), 32, 64, 32, 32),
    "batch norm, 32x64x32x32": norm(lambda nn: nn.BatchNorm2d(64), 32, 64, 32, 32),
    "batch norm + add + ReLU, 32x64x32x32": residual(32, 64, 32, 32),
    "group norm, 32x64x32x32": norm(lambda nn: nn.GroupNorm(8, 64), 32, 64, 32, 32),
    "layer norm, 2048x256": norm(lambda nn: nn.LayerNorm(256), 2048, 256),
    "RMS norm, 2048x256": norm(lambda nn: nn.RMSNorm(256), 2048, 256),
    "softmax, 2048x256": simple(lambda e: lambda x: e.F.softmax(x, -1), 2048, 256),
    "cross entropy, 64x10": cross_entropy(64, 10),
    "cross entropy, 2048x65": cross_entropy(2048, 65),
    "cross entropy, 512x10000": cross_entropy(512, 10000),
    "ReLU, 2M": simple(lambda e: e.F.relu, *_MILLIONS),
    "add, 2M": simple(lambda e: lambda x: x + 1, *_MILLIONS),
    "GELU (erf), 2M": simple(lambda e: e.F.gelu, 2048, 1024),
    "GELU (tanh), 2M": simple(lambda e: lambda x: e.F.gelu(x, approximate="tanh"), 2048, 1024),
    "SiLU, 2M": simple(lambda e: e.F.silu, 2048, 1024),
    "tanh, 2M": simple(lambda e: e.lib.tanh, 2048, 1024),
    "sigmoid, 2M": simple(lambda e: e.lib.sigmoid, 2048, 1024),
    "dropout, 2M": simple(lambda e: lambda x: e.F.dropout(x, 0.1), 2048, 1024, tolerance=2e-2),
    "embedding, 10000x256, 2048 tokens": embedding(10000, 256, 2048),
    "causal attention, 8x8x256x32": attention(8, 8, 256, 32),
    "causal attention, 8x8x256x64": attention(8, 8, 256, 64),
    "LSTM, T 64, batch 64, H 64": recurrent("LSTM", 64, 64, 64, 4),
    "LSTM, T 64, batch 64, H 256": recurrent("LSTM", 64, 64, 256, 4),
    "LSTM, T 64, batch 64, H 512": recurrent("LSTM", 64, 64, 512, 4),
    "GRU, T 64, batch 64, H 256": recurrent("GRU", 64, 64, 256, 3),
    "RNN, T 64, batch 64, H 64": recurrent("RNN", 64, 64, 64, 1),
    "linear, 2048x256 to 1024": linear(2048, 256, 1024),
    "linear, 2048x1024 to 256": linear(2048, 1024, 256),
    "linear, 64x512 to 10": linear(64, 512, 10),
    "linear, 32x784 to 128": linear(32, 784, 128),
    "Adam, MLP (0.1 M)": optimizer(_adam, _MLP, 7),
    "Adam, GPT (3.2 M)": optimizer(_adam, _GPT, 7),
    "Adam, ResNet-18 (11 M)": optimizer(_adam, _RESNET, 7),
    "SGD momentum, MLP (0.1 M)": optimizer(_sgd, _MLP, 5),
    "SGD momentum, ResNet-18 (11 M)": optimizer(_sgd, _RESNET, 5),
}
TINY = {
    "conv": conv(2, 4, 6, 5),
    "linear": linear(3, 4, 5),
    "LSTM": recurrent("LSTM", 3, 2, 4, 4),
    "batch norm": norm(lambda nn: nn.BatchNorm2d(3), 2, 3, 4, 4),
    "embedding": embedding(5, 4, 6),
    "Adam": optimizer(_adam, lambda e: [(4, 3), (3,)], 7),
}


def program(e, kernel, which, dtype="float32"):
    """A pass of a kernel, and what it has to do at least: operations, bytes moved."""
    built = (KERNELS | TINY)[kernel].build(e, dtype)
    if which == "step":
        size = sum(math.prod(p.shape) for p in built.weights) * np.dtype(dtype).itemsize
        return Program(lambda: built.call(None), lambda _: numbers(built.weights)), 0, size * built.streams
    integers = not built.x.is_floating_point()
    asked = {
        "forward": [] if integers else [built.x],
        "input": [built.x],
        "weight": built.weights,
        "backward": [built.x, *built.weights],
    }[which]
    for tensor in (built.x, *built.weights):
        if not integers or tensor is not built.x:
            tensor.requires_grad_(which == "forward" or any(tensor is a for a in asked))
    out = built.call(built.x)
    size = lambda tensors: sum(math.prod(t.shape) * np.dtype(str(t.dtype).split(".")[-1]).itemsize for t in tensors)
    moved = size([built.x, *built.weights, out])
    work = 2 * built.multiplications
    if which == "forward":
        return Program(lambda: built.call(built.x), lambda result: numbers([result])), work, moved
    if which == "backward":
        work *= 2.5 if "attention" in kernel else 2
    g = normal(e, dtype, *out.shape, seed=99) if out.ndim else e.lib.ones_like(out)
    if out.ndim == 4 and "attention" not in kernel:
        g = e.native(g)
    grad = e.lib.autograd.grad
    step = lambda: grad(out, asked, g, retain_graph=True)
    return Program(step, numbers), work, moved + size(asked)


def numbers(tensors):
    """A few sums that show a wrong result, in float64: the largest, and one in which each place counts differently."""
    values = []
    for tensor in tensors:
        array = np.abs(np.asarray(tensor.detach().double().numpy()))
        ramp = np.linspace(0.5, 1.5, array.size).reshape(array.shape)
        values += [float((array * ramp).mean()), float(array.max())]
    return values
