"""MyGrad: tensors with `backward`, layers as functions; its users bring their own optimizer."""

import importlib.metadata
import itertools

import mygrad as mg
from mygrad.nnet.activations import relu
from mygrad.nnet.layers import conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy

from engines import Engine, Program
from engines.numpy_adam import Adam


class MyGrad(Engine):
    """Programs in the style of MyGrad's documentation."""

    def __init__(self, threads):
        self.versions = {"mygrad": importlib.metadata.version("mygrad")}

    def chain(self, data):
        x = mg.tensor(data.x)

        def step():
            h = x
            for _ in range(data.length):
                h = mg.tanh(h * data.w)
            loss = h.sum()
            loss.backward()
            return loss

        return Program(step, lambda loss: [loss.item(), float(x.grad.sum()), float(x.grad.max())])

    def mlp(self, data):
        w1, b1, w2, b2 = params = [mg.tensor(a.T, copy=True) for a in data.weights.values()]

        def predict(x):
            return relu(x @ w1 + b1) @ w2 + b2

        return training(params, predict, data.batches)

    def lenet(self, data):
        k1, c1, k2, c2, w1, b1, w2, b2 = data.weights.values()
        c1, c2 = c1.reshape(1, -1, 1, 1), c2.reshape(1, -1, 1, 1)
        params = [mg.tensor(a) for a in (k1, c1, k2, c2, w1.T, b1, w2.T, b2)]
        k1, c1, k2, c2, w1, b1, w2, b2 = params

        def predict(x):
            x = max_pool(relu(conv_nd(x, k1, stride=1) + c1), (2, 2), 2)
            x = max_pool(relu(conv_nd(x, k2, stride=1) + c2), (2, 2), 2)
            x = x.reshape(len(x), 800)
            return relu(x @ w1 + b1) @ w2 + b2

        return training(params, predict, data.batches)


def training(params, predict, batches):
    optimizer = Adam([p.data for p in params])
    batches = itertools.cycle(batches)

    def step():
        x, y = next(batches)
        loss = softmax_crossentropy(predict(x), y)
        loss.backward()
        optimizer.step([p.grad for p in params])
        return loss

    return Program(step, lambda loss: [loss.item()])
