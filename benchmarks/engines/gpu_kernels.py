"""Single operations on a GPU, and the least that each has to do: bytes through memory, or operations.

What they come to of the device's measured ceilings says how much is left; PyTorch's time beside ours, what is usual.
Inputs are larger than a cache of 50 MB, so that a repeated call measures the memory.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Built(NamedTuple):
    """A kernel's call, what it is differentiated by, and the least work of both passes."""

    call: Callable[[], Any]
    asked: list[Any]
    bytes: tuple[float, float] = (0, 0)  # forward, backward
    operations: tuple[float, float] = (0, 0)


def _normal(e, shape, dtype="bfloat16", grad=True, scale=1.0, seed=0):
    values = np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(scale)
    t = e.place(e.lib.tensor(values)).to(getattr(e.lib, dtype))
    return t.requires_grad_(grad)


def _whole(e, high, shape):
    return e.place(e.lib.tensor(np.random.default_rng(0).integers(0, high, shape)))


def _cross_entropy(e, rows, vocabulary):
    x, y = _normal(e, (rows, vocabulary)), _whole(e, vocabulary, (rows,))
    n = 2 * rows * vocabulary
    return Built(lambda: e.F.cross_entropy(x, y), [x], (n, 2 * n))


def _adam(e, width, layers, vocabulary):
    shapes = [(vocabulary, width), (1024, width)]
    for _ in range(layers):
        shapes += [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width), (width,), (width,)]
    weights = [_normal(e, shape, "float32", seed=i) for i, shape in enumerate(shapes)]
    for w in weights:
        w.grad = e.lib.ones_like(w) * 1e-3
    optimizer = e.optim.AdamW(weights, lr=1e-4, **e.optimizer_options)
    return Built(optimizer.step, [], (28 * sum(math.prod(s) for s in shapes), 0))


def _add_norm(e, rows, width):
    x, r = _normal(e, (rows, width)), _normal(e, (rows, width), seed=1)
    w, b = (_normal(e, (width,), "float32", seed=i) for i in (2, 3))
    n = 2 * rows * width

    def call():
        s = x + r
        with e.lib.autocast(e.device.type, e.lib.bfloat16):
            y = e.F.layer_norm(s, (width,), w, b)
        return s, y

    return Built(call, [x, r, w, b], (4 * n, 4 * n))


def _dropout_add(e, rows, width):
    x, r = _normal(e, (rows, width)), _normal(e, (rows, width), seed=1)
    n = 2 * rows * width
    return Built(lambda: x + e.F.dropout(r, 0.1, True), [x, r], (3 * n, 2 * n))


def _linear_gelu(e, rows, width):
    x, w, b = _normal(e, (rows, width)), _normal(e, (4 * width, width), scale=width**-0.5), _normal(e, (4 * width,))
    work = 2 * rows * width * 4 * width
    return Built(lambda: e.F.gelu(e.F.linear(x, w, b), approximate="tanh"), [x, w, b], operations=(work, 2 * work))


def _embedding(e, vocabulary, width, tokens):
    w, i = _normal(e, (vocabulary, width), "float32"), _whole(e, vocabulary, (tokens,))
    rows = 4 * tokens * width
    return Built(lambda: e.F.embedding(i, w), [w], (2 * rows, 4 * vocabulary * width + 2 * rows))


def _batch_norm(e, batch, channels, size):
    x, r = (_normal(e, (batch, channels, size, size), seed=i) for i in (0, 1))
    w, b = (_normal(e, (channels,), "float32", seed=i) for i in (2, 3))
    mean, var = (_normal(e, (channels,), "float32", grad=False).abs() for _ in range(2))
    n = 2 * batch * channels * size * size
    call = lambda: e.F.relu(e.F.batch_norm(x, mean, var, w, b, training=True) + r)
    return Built(call, [x, r, w, b], (4 * n, 5 * n))


def _pool(e, batch, channels, size):
    x = _normal(e, (batch, channels, size, size))
    n = 2 * batch * channels * size * size
    return Built(lambda: e.F.max_pool2d(x, 3, 2, 1), [x], (n * 5 / 4, n * 5 / 4))


def _matmul(e, n, dtype):
    a, b = (_normal(e, (n, n), dtype, seed=i) for i in (0, 1))
    work = 2 * n**3
    return Built(lambda: a @ b, [a, b], operations=(work, 2 * work))


def _batched(e, batch, n, d):
    a, b = _normal(e, (batch, n, d)), _normal(e, (batch, n, d), seed=1)
    work = 2 * batch * n * n * d
    return Built(lambda: a @ b.transpose(1, 2), [a, b], operations=(work, 2 * work))


def _attention(e, batch, heads, length, d):
    q, k, v = (_normal(e, (batch, heads, length, d), seed=i) for i in range(3))
    work = 4 * batch * heads * length**2 * d / 2
    call = lambda: e.F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return Built(call, [q, k, v], operations=(work, 2.5 * work))


def _conv(e, batch, inputs, outputs, size, kernel, stride=1):
    x = _normal(e, (batch, inputs, size, size))
    w = _normal(e, (outputs, inputs, kernel, kernel), scale=(inputs * kernel * kernel) ** -0.5)
    out = -(-size // stride)
    work = 2 * batch * outputs * out * out * inputs * kernel * kernel
    return Built(lambda: e.F.conv2d(x, w, None, stride, kernel // 2), [x, w], operations=(work, 2 * work))


def _lstm(e, batch, length, hidden):
    cell = e.place(e.nn.LSTM(hidden, hidden))
    with e.lib.no_grad():
        for i, p in enumerate(cell.parameters()):
            p.copy_(_normal(e, tuple(p.shape), "float32", False, hidden**-0.5, seed=i))
    x = _normal(e, (length, batch, hidden), "float32")
    work = 2 * batch * length * 8 * hidden * hidden
    return Built(lambda: cell(x)[0], [x, *cell.parameters()], operations=(work, 2 * work))


#: name -> (maker, sizes, sizes that a test can afford)
KERNELS = {
    "matmul bfloat16, 8192": (_matmul, (8192, "bfloat16"), (8, "bfloat16")),
    "matmul TF32, 8192": (_matmul, (8192, "float32"), (8, "float32")),
    "batched matmul bfloat16, 192 x 1024 x 64": (_batched, (192, 1024, 64), (2, 4, 3)),
    "linear + GELU, 16384 x 768 -> 3072": (_linear_gelu, (16384, 768), (4, 8)),
    "attention causal, 16 x 12 x 1024 x 64": (_attention, (16, 12, 1024, 64), (1, 2, 4, 8)),
    "cross entropy, 8192 x 50257": (_cross_entropy, (8192, 50257), (4, 11)),
    "AdamW, 124M in 74 tensors": (_adam, (768, 12, 50257), (8, 1, 11)),
    "add + layer norm, 65536 x 768": (_add_norm, (65536, 768), (4, 8)),
    "dropout + add, 65536 x 768": (_dropout_add, (65536, 768), (4, 8)),
    "embedding, 50257 x 768, 16384 tokens": (_embedding, (50257, 768, 16384), (11, 8, 5)),
    "batch norm + add + ReLU, 256 x 256 x 28": (_batch_norm, (256, 256, 28), (2, 4, 3)),
    "max pool, 256 x 64 x 112": (_pool, (256, 64, 112), (2, 4, 6)),
    "conv 3x3, 256 x 256 x 14": (_conv, (256, 256, 256, 14, 3), (2, 4, 4, 5, 3)),
    "conv 1x1, 256 x 64 -> 256 x 56": (_conv, (256, 64, 256, 56, 1), (2, 4, 4, 5, 1)),
    "conv 7x7 stride 2, 256 x 3 x 224": (_conv, (256, 3, 64, 224, 7, 2), (2, 3, 4, 8, 7, 2)),
    "LSTM, 64 x 128 x 512": (_lstm, (64, 128, 512), (2, 3, 4)),
}


def program(e, kernel, which, tiny=False):
    """(what to call, operations, bytes, a number of its result) of a pass; None where the kernel has no backward."""
    make, sizes, small = KERNELS[kernel]
    e.precise("tf32")
    built = make(e, *(small if tiny else sizes))
    index = 0 if which == "forward" else 1
    if which == "backward" and not built.asked:
        return None
    call = built.call
    if which == "backward":
        out = built.call()
        out = out if isinstance(out, tuple) else (out,)
        ones = tuple(e.lib.ones_like(o) for o in out)
        call = lambda: e.lib.autograd.grad(out, built.asked, ones, retain_graph=True)

    def number():
        found = call()
        found = found if isinstance(found, (tuple, list)) else (found,)
        found = [t for t in found if t is not None]
        return [float(t.detach().float().abs().mean().item()) for t in found]

    return call, built.operations[index], built.bytes[index], number
