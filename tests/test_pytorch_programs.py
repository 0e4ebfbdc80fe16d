"""Programs written for PyTorch, in tests/programs: they run when their import lines change and nothing else.

A program has `build()`, the network; `train(network, steps=...)`, a list of losses; `evaluate(network)`, one number.
Here they train under chainrule to the end. Marked `torch`: both libraries start from the same weights, draw the same
random numbers, and must go the same way for 20 steps.
"""

import pathlib
import re
import types

import numpy as np
import pytest

import chainrule

PROGRAMS = pathlib.Path(__file__).with_name("programs")


def first_and_last(losses):
    """Means over the first and the last five steps (of the first number, where a step gives several)."""
    row = np.array([x if isinstance(x, float) else x[0] for x in losses])
    return row[:5].mean(), row[-5:].mean()


def falls_to(share):
    """The loss ends at that share of where it began, or below."""

    def check(losses):
        first, last = first_and_last(losses)
        assert last < share * first, f"the loss went from {first:.4g} to {last:.4g}"

    return check


def falls_by(amount, steps):
    """The loss of the first `steps` numbers falls by an amount; what follows are other figures."""

    def check(numbers):
        first, last = first_and_last(numbers[:steps])
        assert first - last > amount, f"the loss went from {first:.4g} to {last:.4g}"

    return check


def critic_is_fooled(history):
    """The critic first learns to tell real from false, then can do so less and less."""
    gap = np.array(history)[:, 2]
    assert gap.max() > 1
    assert abs(gap[-20:].mean()) < 0.6 * gap.max()


def returns_rise(history):
    returns = np.array(history)[:, 1]
    assert returns[-20:].mean() > returns[:20].mean() + 0.3


def painter_and_judge(history):
    """The judge learns at first, and neither player wins outright."""
    judge = np.array(history)[:, 0]
    assert judge[:40].min() < judge[0]
    assert judge[-40:].mean() > 0.2


# program -> what its losses must do, and the bounds of what evaluate() gives
PROGRAM_TABLE = {
    "clustering": (falls_by(2, 120), 0.95, 1),
    "custom_ops": (falls_by(0.4, 80), 0.8, 1),
    "dcgan": (painter_and_judge, 0, 0.6),
    "fourier_operator": (falls_to(0.5), 0, 0.25),
    "gaussian_process": (falls_by(10, 60), 0.4, 1.4),
    "gpt": (falls_to(0.25), 0.9, 1),
    "graph_net": (falls_to(0.8), 0.75, 1),
    "llama": (falls_to(0.3), 0.5, 1),
    "lstm_by_hand": (falls_to(0.3), 0.9, 1),
    "maml": (falls_to(0.9), 0, 0.9),
    "mnist_cnn": (falls_to(0.3), 0.85, 1),
    "pinn": (falls_to(0.02), 0, 0.05),
    "reinforce": (returns_rise, 0.59, 0.61),
    "super_resolution": (falls_to(0.4), 0.3, 60),
    "time_sequence": (falls_to(0.05), 0, 0.1),
    "translate": (falls_to(0.5), 0.6, 1),
    "unet": (falls_to(0.4), 0.6, 1),
    "vae": (falls_to(0.7), 0, 0.06),
    "wgan_gp": (critic_is_fooled, 1.5, 2.5),
    "word2vec": (falls_to(0.8), 0.9, 1),
    "word_language_model": (falls_to(0.9), 1, 18),
}


def with_other_imports(source, library):
    """The source with `library` in the place of torch, on import lines only."""
    source = re.sub(r"^import torch$", f"import {library} as torch", source, flags=re.M)
    source = re.sub(r"^import torch((?:\.\w+)+)$", rf"import {library}\1", source, flags=re.M)
    return re.sub(r"^(from|import) torch\b", rf"\1 {library}", source, flags=re.M)


def load(name, library):
    path = PROGRAMS / f"{name}.py"
    module = types.ModuleType(f"{name}_under_{library}")
    source = path.read_text()
    exec(compile(source if library == "torch" else with_other_imports(source, library), path, "exec"), vars(module))
    return module


def test_every_program_is_listed():
    assert sorted(p.stem for p in PROGRAMS.glob("*.py")) == sorted(PROGRAM_TABLE)


# what PyTorch says of a Transformer built without batch_first, and so do we
NESTED = pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")


@NESTED
@pytest.mark.parametrize("name", PROGRAM_TABLE)
def test_program_trains(name):
    check, low, high = PROGRAM_TABLE[name]
    chainrule.manual_seed(0)
    program = load(name, "chainrule")
    network = program.build()
    check(program.train(network))
    assert low <= program.evaluate(network) <= high


class SameNumbers:
    """The random functions of a library, drawing from NumPy."""

    def __init__(self, library):
        self.library, self.rng = library, np.random.default_rng(7)

    def patched(self, monkeypatch):
        for name in ("rand", "randn", "randn_like", "randint", "randperm", "multinomial"):
            monkeypatch.setattr(self.library, name, getattr(self, name))

    def tensor(self, x, dtype=None):
        return self.library.tensor(x, dtype=dtype or self.library.get_default_dtype())

    def rand(self, *size):
        return self.tensor(self.rng.random(size))

    def randn(self, *size):
        return self.tensor(self.rng.standard_normal(size))

    def randn_like(self, t):
        return self.tensor(self.rng.standard_normal(tuple(t.shape)))

    def randint(self, *bounds, size=None, dtype=None):
        if size is None:
            *bounds, size = bounds
        return self.tensor(self.rng.integers(*bounds, size=size), self.library.int64)

    def randperm(self, n):
        return self.tensor(self.rng.permutation(n), self.library.int64)

    def multinomial(self, p, num_samples, replacement=False):
        p = p.detach().numpy().astype(np.float64)
        rows = p.reshape(-1, p.shape[-1])
        drawn = [self.rng.choice(len(r), num_samples, replacement, r / r.sum()) for r in rows]
        return self.tensor(np.reshape(drawn, (*p.shape[:-1], num_samples)), self.library.int64)


@pytest.fixture(params=["float32", "float64"])
def precision(request, torch):
    """The name of the default dtype of both libraries."""
    before = torch.get_default_dtype()
    for library in (torch, chainrule):
        library.set_default_dtype(getattr(library, request.param))
    yield request.param
    torch.set_default_dtype(before)
    chainrule.set_default_dtype(chainrule.float32)


def run(name, library, weights, monkeypatch, steps):
    """What 20 steps give from these weights: all losses, and the weights afterwards."""
    with monkeypatch.context() as patch:
        program = load(name, library.__name__)
        library.manual_seed(0)
        network = program.build()
        if weights is not None:
            network.load_state_dict({k: library.from_numpy(v.copy()) for k, v in weights.items()})
        before = {k: v.detach().numpy().copy() for k, v in network.state_dict().items()}
        SameNumbers(library).patched(patch)
        losses = np.concatenate([np.ravel(x) for x in program.train(network, steps=steps)])
    return before, losses, {k: v.detach().numpy() for k, v in network.state_dict().items()}


@NESTED
@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::FutureWarning:torch")
@pytest.mark.parametrize("name", PROGRAM_TABLE)
def test_program_goes_the_same_way(name, torch, precision, monkeypatch):
    tolerance = {"float32": 1e-4, "float64": 1e-9}[precision]
    weights, expected, after = run(name, torch, None, monkeypatch, 20)
    same, found, after_found = run(name, chainrule, weights, monkeypatch, 20)
    assert list(same) == list(weights)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).mean())
    assert list(after_found) == list(after)
    for key, value in after.items():
        assert (after_found[key].shape, after_found[key].dtype) == (value.shape, value.dtype), key
