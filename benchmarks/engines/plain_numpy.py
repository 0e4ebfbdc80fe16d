"""NumPy alone: forward and backward written by hand, no tape.

It shows what NumPy itself costs. In float64 it is the reference that the losses of every engine are checked against.

The images are channels-last, because a convolution is then one matrix product whose result needs no transposing.
"""

import itertools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from engines import Engine, Program
from engines.numpy_adam import Adam


class PlainNumpy(Engine):
    """Programs without an engine."""

    def __init__(self, threads):
        self.versions = {"numpy": np.__version__}

    def chain(self, data):
        grad = None

        def step():
            nonlocal grad
            outs, h = [], data.x
            for _ in range(data.length):
                h = np.tanh(h * data.w)
                outs.append(h)
            loss = h.sum()
            grad = np.ones_like(h)
            for out in reversed(outs):
                grad = grad * (1 - out * out) * data.w
            return loss

        return Program(step, lambda loss: [float(loss), float(grad.sum()), float(grad.max())])

    def mlp(self, data):
        w1, b1, w2, b2 = params = [np.ascontiguousarray(a.T) for a in data.weights.values()]
        optimizer = Adam(params)
        batches = itertools.cycle(data.batches)

        def step():
            x, y = next(batches)
            h = np.maximum(x @ w1 + b1, 0)
            loss, dz = cross_entropy(h @ w2 + b2, y)
            dh = (dz @ w2.T) * (h > 0)
            optimizer.step([x.T @ dh, dh.sum(0), h.T @ dz, dz.sum(0)])
            return loss

        return Program(step, lambda loss: [float(loss)])

    def lenet(self, data):
        k1, c1, k2, c2, w1, b1, w2, b2 = data.weights.values()
        k1, k2 = (k.transpose(2, 3, 1, 0).copy() for k in (k1, k2))
        w1 = w1.reshape(500, 50, 4, 4).transpose(2, 3, 1, 0).reshape(800, 500)
        c1, c2, w2, b1, b2 = c1.copy(), c2.copy(), w2.T.copy(), b1.copy(), b2.copy()
        optimizer = Adam([k1, c1, k2, c2, w1, b1, w2, b2])
        batches = itertools.cycle([(x.transpose(0, 2, 3, 1).copy(), y) for x, y in data.batches])

        def step():
            x, y = next(batches)
            cols1, a1 = conv(x, k1, c1)
            a1 = np.maximum(a1, 0, out=a1)
            p1 = max_pool(a1)
            cols2, a2 = conv(p1, k2, c2)
            a2 = np.maximum(a2, 0, out=a2)
            p2 = max_pool(a2)
            flat = p2.reshape(len(x), 800)
            h = np.maximum(flat @ w1 + b1, 0)
            loss, dz = cross_entropy(h @ w2 + b2, y)
            dh = (dz @ w2.T) * (h > 0)
            da2 = max_pool_backward((dh @ w1.T).reshape(p2.shape), a2, p2) * (a2 > 0)
            dk2, dc2 = conv_backward_weight(da2, cols2, k2)
            dp1 = conv_backward_input(da2, k2, p1.shape)
            da1 = max_pool_backward(dp1, a1, p1) * (a1 > 0)
            dk1, dc1 = conv_backward_weight(da1, cols1, k1)
            optimizer.step([dk1, dc1, dk2, dc2, flat.T @ dh, dh.sum(0), h.T @ dz, dz.sum(0)])
            return loss

        return Program(step, lambda loss: [float(loss)])


def cross_entropy(logits, y):
    """The mean loss, and its gradient with respect to the logits."""
    rows = np.arange(len(y))
    z = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(z)
    total = p.sum(axis=1, keepdims=True)
    loss = (np.log(total[:, 0]) - z[rows, y]).sum() / len(y)
    p /= total
    p[rows, y] -= 1
    p /= len(y)
    return loss, p


def conv(x, kernel, bias):
    """Valid cross-correlation of [N, H, W, C] with [kh, kw, C, O]: the patches (backward needs them), the result."""
    kh, kw, c, o = kernel.shape
    patches = sliding_window_view(x, (kh, kw), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    n, h, w = patches.shape[:3]
    cols = patches.reshape(n * h * w, kh * kw * c)
    out = cols @ kernel.reshape(-1, o)
    out += bias
    return cols, out.reshape(n, h, w, o)


def conv_backward_weight(dy, cols, kernel):
    dy = dy.reshape(-1, kernel.shape[3])
    return (cols.T @ dy).reshape(kernel.shape), dy.sum(0)


def conv_backward_input(dy, kernel, shape):
    kh, kw, c, o = kernel.shape
    n, h, w, _ = dy.shape
    dcols = (dy.reshape(-1, o) @ kernel.reshape(-1, o).T).reshape(n, h, w, kh, kw, c)
    dx = np.zeros(shape, dy.dtype)
    for i in range(kh):
        for j in range(kw):
            dx[:, i : i + h, j : j + w] += dcols[:, :, :, i, j]
    return dx


def max_pool(x):
    """2 x 2 windows; channels last."""
    return np.maximum(
        np.maximum(x[:, ::2, ::2], x[:, ::2, 1::2]),
        np.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2]),
    )


def max_pool_backward(dy, x, y):
    # Behind a ReLU a tie is a tie of zeros, whose gradient the ReLU drops: every maximum may take it.
    dx = np.empty_like(x)
    for i in range(2):
        for j in range(2):
            dx[:, i::2, j::2] = (x[:, i::2, j::2] == y) * dy
    return dx
