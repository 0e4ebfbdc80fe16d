"""tinygrad on the CPU: lazy tensors, a step captured and replayed by TinyJit, in the style of its own examples.

It compiles with clang, which has to be installed.
"""

import importlib.metadata
import itertools
import os
import shutil

from engines import Engine, Program

if not shutil.which("clang"):
    raise ModuleNotFoundError("tinygrad needs clang", name="clang")
os.environ.setdefault("DEV", "CPU")

from tinygrad import Context, Tensor, TinyJit, nn  # it reads the environment


class TinyGrad(Engine):
    """Programs in the style of tinygrad's examples."""

    def __init__(self, threads):
        self.versions = {"tinygrad": importlib.metadata.version("tinygrad")}

    def chain(self, data):
        x, w = Tensor(data.x), Tensor(data.w)

        @TinyJit
        def run(x):
            h = x
            for _ in range(data.length):
                h = (h * w).tanh()
            loss = h.sum()
            (grad,) = loss.gradient(x)
            return loss.realize(), grad.realize()

        return Program(lambda: run(x), lambda out: [out[0].item(), out[1].sum().item(), out[1].max().item()])

    def mlp(self, data):
        w = weights(data)

        def predict(x):
            return x.linear(w["fc1.weight"].T, w["fc1.bias"]).relu().linear(w["fc2.weight"].T, w["fc2.bias"])

        return training(predict, w, data.batches)

    def lenet(self, data):
        w = weights(data)

        def predict(x):
            for name in ("conv1", "conv2"):
                x = x.conv2d(w[f"{name}.weight"], w[f"{name}.bias"]).relu().max_pool2d((2, 2))
            x = x.flatten(1).linear(w["fc1.weight"].T, w["fc1.bias"]).relu()
            return x.linear(w["fc2.weight"].T, w["fc2.bias"])

        return training(predict, w, data.batches)


def weights(data):
    # A copy: a tensor may share the memory of the array, and every program starts from the same arrays.
    return {name: Tensor(w.copy()).realize() for name, w in data.weights.items()}


def training(predict, weights, batches):
    optimizer = nn.optim.Adam(list(weights.values()), lr=1e-3)

    @TinyJit
    @Context(TRAINING=1)
    def advance(x, y):
        optimizer.zero_grad()
        loss = predict(x).sparse_categorical_crossentropy(y)
        loss.backward()
        return loss.realize(*optimizer.schedule_step())

    turns = itertools.cycle([(Tensor(x).realize(), Tensor(y.astype("int32")).realize()) for x, y in batches])
    return Program(lambda: advance(*next(turns)), lambda loss: [loss.item()])
