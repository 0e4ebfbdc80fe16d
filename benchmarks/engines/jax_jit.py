"""JAX on the CPU: a pure function from state and batch to new state and loss, compiled as a whole by `jax.jit`.

Images are channels-last, as JAX's own libraries have them. Weights keep the names of PyTorch's `state_dict`.
"""

import functools
import itertools
import os

import jax
import jax.numpy as jnp
from jax import lax

from engines import Engine, Program

MOMENTUM, DECAY, EPSILON = 0.9, 1e-4, 1e-5


class Jax(Engine):
    """Programs in the style of JAX's documentation, without a library on top."""

    def __init__(self, threads):
        self.versions = {"jax": jax.__version__, "jaxlib": jax.lib.__version__}
        # XLA has a thread per processor that the process may use.
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])

    def wait(self, result):
        jax.block_until_ready(result)

    def chain(self, data):
        grad = None
        w = jnp.asarray(data.w)

        @jax.jit
        @jax.value_and_grad
        def run(x):
            for _ in range(data.length):
                x = jnp.tanh(x * w)
            return x.sum()

        x = jnp.asarray(data.x)

        def step():
            nonlocal grad
            value, grad = run(x)
            return value, grad

        return Program(step, lambda result: [float(result[0]), float(result[1].sum()), float(result[1].max())])

    def mlp(self, data):
        def predict(p, x):
            return dense(p, "fc2", jax.nn.relu(dense(p, "fc1", x)))

        return training(predict, transposed(data.weights), data.batches, adam())

    def lenet(self, data):
        weights = transposed(data.weights)
        # The image is flattened channels-last here, so the rows of the first dense layer move with it.
        weights["fc1.weight"] = data.weights["fc1.weight"].reshape(500, 50, 16).transpose(2, 1, 0).reshape(800, 500)

        def predict(p, x):
            for name in ("conv1", "conv2"):
                x = max_pool(jax.nn.relu(conv(x, p[f"{name}.weight"]) + p[f"{name}.bias"]))
            return dense(p, "fc2", jax.nn.relu(dense(p, "fc1", x.reshape(len(x), -1))))

        batches = [(x.transpose(0, 2, 3, 1), y) for x, y in data.batches]
        return training(predict, weights, batches, adam())

    def resnet18(self, data):
        width, classes = data.params.get("width", 64), data.params["classes"]
        shapes, blocks, before = {"0.0.weight": (width, 3, 3, 3)} | gains("0.1", width), [], width
        for stage, i in itertools.product(range(4), range(2)):
            name, channels = f"1.{2 * stage + i}", width << stage
            stride = 2 if stage and not i else 1
            shapes |= {
                f"{name}.conv1.weight": (channels, before, 3, 3),
                f"{name}.conv2.weight": (channels, channels, 3, 3),
            }
            shapes |= gains(f"{name}.bn1", channels) | gains(f"{name}.bn2", channels)
            if stride == 2:
                shapes |= {f"{name}.downsample.0.weight": (channels, before, 1, 1)}
                shapes |= gains(f"{name}.downsample.1", channels)
            blocks.append((name, stride))
            before = channels
        shapes |= {"4.weight": (classes, before), "4.bias": (classes,)}
        weights = transposed({name: data.initial(name, shape) for name, shape in shapes.items()})
        # Running means and variances, which training updates and does not use.
        kept = {n: jnp.zeros((2, w.size)).at[1].set(1) for n, w in weights.items() if w.ndim == 1 and n != "4.bias"}

        def predict(p, x, kept):
            new = {}

            def norm(name, x):
                mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
                count = x.size // x.shape[-1]
                seen = jnp.stack([mean, variance * (count / (count - 1))])
                new[f"{name}.weight"] = 0.9 * kept[f"{name}.weight"] + 0.1 * lax.stop_gradient(seen)
                return (x - mean) * (p[f"{name}.weight"] * lax.rsqrt(variance + EPSILON)) + p[f"{name}.bias"]

            x = jax.nn.relu(norm("0.1", conv(x, p["0.0.weight"], 1, 1)))
            for name, stride in blocks:
                out = jax.nn.relu(norm(f"{name}.bn1", conv(x, p[f"{name}.conv1.weight"], stride, 1)))
                out = norm(f"{name}.bn2", conv(out, p[f"{name}.conv2.weight"], 1, 1))
                if stride == 2:
                    x = norm(f"{name}.downsample.1", conv(x, p[f"{name}.downsample.0.weight"], 2, 0))
                x = jax.nn.relu(out + x)
            return dense(p, "4", x.mean((1, 2))), new

        batches = [(x.transpose(0, 2, 3, 1), y) for x, y in data.batches]
        return training(predict, weights, batches, sgd, kept={n: k for n, k in kept.items() if "weight" in n})

    def char_rnn(self, data):
        return self._characters(data, 1, lambda gates, state: (jnp.tanh(gates),))

    def char_lstm(self, data):
        def cell(gates, state):
            i, f, g, o = jnp.split(gates, 4, -1)
            c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
            return jax.nn.sigmoid(o) * jnp.tanh(c), c

        return self._characters(data, 4, cell)

    def _characters(self, data, gates, cell):
        hidden, vocabulary = data.params["hidden"], data.params["vocabulary"]
        many = gates * hidden
        shapes = {
            "embedding.weight": (vocabulary, hidden),
            "cell.weight_ih_l0": (many, hidden),
            "cell.weight_hh_l0": (many, hidden),
            "cell.bias_ih_l0": (many,),
            "cell.bias_hh_l0": (many,),
            "head.weight": (vocabulary, hidden),
            "head.bias": (vocabulary,),
        }
        weights = transposed({name: data.initial(name, shape) for name, shape in shapes.items()})

        def predict(p, x):
            x = p["embedding.weight"][x.T]
            x = x @ p["cell.weight_ih_l0"] + (p["cell.bias_ih_l0"] + p["cell.bias_hh_l0"])

            def step(state, x):
                state = cell(x + state[0] @ p["cell.weight_hh_l0"], state)
                return state, state[0]

            empty = jnp.zeros((x.shape[1], hidden), x.dtype)
            _, out = lax.scan(step, (empty,) if gates == 1 else (empty, empty), x)
            return dense(p, "head", out.transpose(1, 0, 2)).reshape(-1, vocabulary)

        return training(predict, weights, data.batches, adam())

    def gpt(self, data):
        size = data.params
        width, heads, layers = size["width"], size["heads"], size["layers"]
        shapes = {"tokens.weight": (size["vocabulary"], width), "positions.weight": (size["length"], width)}
        for i in range(layers):
            for name, a, b in (("qkv", width, 3), ("out", width, 1), ("wide", width, 4), ("narrow", 4 * width, 1)):
                shapes |= {f"blocks.{i}.{name}.weight": (b * width, a), f"blocks.{i}.{name}.bias": (b * width,)}
            shapes |= gains(f"blocks.{i}.norm1", width) | gains(f"blocks.{i}.norm2", width)
        shapes |= gains("norm", width) | {"head.weight": (size["vocabulary"], width)}
        weights = transposed({name: data.initial(name, shape) for name, shape in shapes.items()})
        p_drop = data.probability(0.1)

        def predict(p, x, key):
            keys = iter(jax.random.split(key, 1 + 3 * layers))

            def dropout(x):
                if not p_drop:
                    return x
                keep = jax.random.bernoulli(next(keys), 1 - p_drop, x.shape)
                return jnp.where(keep, x / (1 - p_drop), 0)

            def norm(name, x):
                mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
                return (x - mean) * lax.rsqrt(variance + EPSILON) * p[f"{name}.weight"] + p[f"{name}.bias"]

            n, t = x.shape
            mask = jnp.tril(jnp.ones((t, t), bool))
            x = dropout(p["tokens.weight"][x] + p["positions.weight"][:t])
            for i in range(layers):
                name = f"blocks.{i}"
                qkv = dense(p, f"{name}.qkv", norm(f"{name}.norm1", x))
                q, k, v = qkv.reshape(n, t, 3, heads, -1).transpose(2, 0, 3, 1, 4)
                scores = jnp.where(mask, q @ k.swapaxes(-1, -2) * (width // heads) ** -0.5, -jnp.inf)
                y = dropout(jax.nn.softmax(scores)) @ v
                x = x + dropout(dense(p, f"{name}.out", y.transpose(0, 2, 1, 3).reshape(n, t, width)))
                h = jax.nn.gelu(dense(p, f"{name}.wide", norm(f"{name}.norm2", x)), approximate=True)
                x = x + dropout(dense(p, f"{name}.narrow", h))
            return (norm("norm", x) @ p["head.weight"]).reshape(n * t, -1)

        return training(predict, weights, data.batches, adam(3e-4, decay=0.01), random=True)


def transposed(weights):
    """Matrices as [in, out], kernels as [h, w, in, out]."""
    order = {2: (1, 0), 4: (2, 3, 1, 0)}
    kept = ("embedding", "tokens", "positions")
    return {
        n: w if w.ndim == 1 or n.startswith(kept) else w.transpose(order[w.ndim]).copy() for n, w in weights.items()
    }


def gains(name, channels):
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def dense(p, name, x):
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def conv(x, kernel, stride=1, padding=0):
    sides = [(padding, padding)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), sides, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def adam(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, decay=0.0):
    """Adam, with decay AdamW: the update of one weight."""

    def update(p, g, slots, count):
        m = betas[0] * slots[0] + (1 - betas[0]) * g
        v = betas[1] * slots[1] + (1 - betas[1]) * g * g
        root = jnp.sqrt(v / (1 - betas[1] ** count)) + eps
        return p * (1 - lr * decay) - lr / (1 - betas[0] ** count) * m / root, (m, v)

    return update


def sgd(p, g, slots, count):
    """With momentum and weight decay; the second slot is not used."""
    velocity = MOMENTUM * slots[0] + g + DECAY * p
    return p - 1e-3 * velocity, (velocity, slots[1])


def training(predict, weights, batches, update, kept=None, random=False):
    """A program: `predict` gets the weights, a batch, and what the network keeps or draws beside."""

    def loss(p, x, y, beside):
        if kept is not None:
            logits, new = predict(p, x, beside)
        else:
            logits, new = predict(p, x, beside) if random else predict(p, x), None
        log_probabilities = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(log_probabilities, y[:, None], 1).mean(), new

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state, x, y):
        p, slots, count, beside = state
        key = None
        if random:
            beside, key = jax.random.split(beside)
        (value, new), grads = jax.value_and_grad(loss, has_aux=True)(p, x, y, key if random else beside)
        count = count + 1
        both = {name: update(p[name], grads[name], slots[name], count) for name in p}
        p, slots = ({name: pair[i] for name, pair in both.items()} for i in range(2))
        return (p, slots, count, beside if random else new), value

    def slot(w):
        return jnp.zeros_like(w), jnp.zeros(() if update is sgd else w.shape, w.dtype)

    p = {name: jnp.array(w) for name, w in weights.items()}
    state = (p, {name: slot(w) for name, w in p.items()}, jnp.zeros(()), jax.random.key(0) if random else kept)
    turns = itertools.cycle([tuple(map(jnp.asarray, batch)) for batch in batches])

    def step():
        nonlocal state
        state, value = advance(state, *next(turns))
        return value

    return Program(step, lambda value: [float(value)])
