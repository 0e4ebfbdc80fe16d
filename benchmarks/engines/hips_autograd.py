"""HIPS autograd: a NumPy function and its gradient, in the style of the library's own examples.

Means are written as sums times a Python float: the library's gradient of `np.mean` turns float32 into float64.
"""

import importlib.metadata
import itertools

import autograd.numpy as np
import numpy
from autograd import value_and_grad
from autograd.scipy.signal import convolve
from autograd.scipy.special import logsumexp

from engines import Engine, Program
from engines.numpy_adam import Adam


class HipsAutograd(Engine):
    """Programs as in the examples of HIPS autograd."""

    def __init__(self, threads):
        self.versions = {"autograd": importlib.metadata.version("autograd")}

    def chain(self, data):
        grad = None

        def loss(x):
            for _ in range(data.length):
                x = np.tanh(x * data.w)
            return np.sum(x)

        run = value_and_grad(loss)

        def step():
            nonlocal grad
            value, grad = run(data.x)
            return value

        return Program(step, lambda value: [float(value), float(grad.sum()), float(grad.max())])

    def mlp(self, data):
        params = [numpy.ascontiguousarray(a.T) for a in data.weights.values()]

        def predict(params, x):
            w1, b1, w2, b2 = params
            return np.maximum(np.dot(x, w1) + b1, 0) @ w2 + b2

        return training(params, predict, data.batches, classes=params[3].size)

    def lenet(self, data):
        k1, c1, k2, c2, w1, b1, w2, b2 = data.weights.values()
        # `convolve` is a true convolution, so the kernels are kept mirrored; it wants them as [C, O, kh, kw].
        k1, k2 = (k[:, :, ::-1, ::-1].transpose(1, 0, 2, 3).copy() for k in (k1, k2))
        c1, c2 = (c.reshape(1, -1, 1, 1).copy() for c in (c1, c2))
        params = [k1, c1, k2, c2, w1.T.copy(), b1.copy(), w2.T.copy(), b2.copy()]

        def conv(x, kernel, bias):
            return convolve(x, kernel, axes=([2, 3], [2, 3]), dot_axes=([1], [0]), mode="valid") + bias

        def max_pool(x):
            n, c, h, w = x.shape
            return np.max(np.max(x.reshape(n, c, h // 2, 2, w // 2, 2), axis=3), axis=4)

        def predict(params, x):
            k1, c1, k2, c2, w1, b1, w2, b2 = params
            x = max_pool(np.maximum(conv(x, k1, c1), 0))
            x = max_pool(np.maximum(conv(x, k2, c2), 0))
            x = x.reshape(len(x), 800)
            return np.dot(np.maximum(np.dot(x, w1) + b1, 0), w2) + b2

        return training(params, predict, data.batches, classes=10)


def training(params, predict, batches, classes):
    def loss(params, x, targets):
        logits = predict(params, x)
        log_probabilities = logits - logsumexp(logits, axis=1, keepdims=True)
        return -np.sum(log_probabilities * targets) * (1 / len(x))

    gradient = value_and_grad(loss)
    optimizer = Adam(params)
    one_hot = numpy.eye(classes, dtype=params[0].dtype)
    batches = itertools.cycle([(x, one_hot[y]) for x, y in batches])

    def step():
        value, grads = gradient(params, *next(batches))
        optimizer.step(grads)
        return value

    return Program(step, lambda value: [float(value)])
