"""Many random tensors, printed as PyTorch prints them."""

import re

import numpy as np
import pytest

import chainrule

pytestmark = pytest.mark.torch

KINDS = ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]
LARGE = [(1001,), (40, 40), (10, 11, 12), (3, 1000), (1001, 1), (7, 7, 7, 7)]


def arrays(seed, count=100):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        shape = tuple(rng.choice([0, 1, 2, 3, 5, 7, 8, 20], rng.integers(0, 4)))
        if rng.random() < 0.1:
            shape = LARGE[rng.integers(len(LARGE))]
        values = rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 10)
        values = [
            lambda x: x,
            np.round,
            lambda x: np.where(rng.random(x.shape) < 0.3, np.nan, x),
            lambda x: np.where(rng.random(x.shape) < 0.3, np.inf, np.round(x)),
            lambda x: x * 0,
            lambda x: x * 10.0 ** rng.integers(-5, 5, x.shape),
        ][rng.integers(6)](values)
        kind = KINDS[rng.integers(len(KINDS))]
        with np.errstate(all="ignore"):
            if not kind.startswith("float"):
                values = np.clip(np.nan_to_num(values), 0 if kind == "uint8" else -100, 100)
            yield np.asarray(values).astype(kind)


def normal(text):
    """The text without the line break that the longer name of the package moves."""
    return re.sub(r",\s+(dtype|grad_fn|requires_grad|size)=", r", \1=", text.replace("torch.", "chainrule."))


@pytest.mark.parametrize("seed", range(10))
def test_printing(torch, seed):
    for i, array in enumerate(arrays(seed)):
        wants = array.dtype.kind == "f" and i % 3 == 0
        ours, theirs = chainrule.tensor(array, requires_grad=wants), torch.tensor(array, requires_grad=wants)
        if wants and i % 2 == 0:
            ours, theirs = ours * 2, theirs * 2
        assert normal(str(ours)) == normal(str(theirs))


@pytest.mark.parametrize(
    "options", [{"precision": 2}, {"linewidth": 40}, {"edgeitems": 1, "threshold": 4}, {"sci_mode": True}]
)
def test_options(torch, options):
    try:
        torch.set_printoptions(**options)
        chainrule.set_printoptions(**options)
        for array in arrays(99, 50):
            assert normal(str(chainrule.tensor(array))) == normal(str(torch.tensor(array)))
    finally:
        torch.set_printoptions(profile="default", linewidth=80)
        chainrule.set_printoptions(profile="default", linewidth=80)


@pytest.mark.parametrize("shape", [(3, 4), (5, 6), (31, 129), (2, 0)])
@pytest.mark.parametrize("form", ["to_sparse", "to_sparse_csr"])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse(torch, shape, form):
    array = np.linspace(-2, 3, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    ours, theirs = (getattr(t, form)() for t in (chainrule.tensor(array), torch.tensor(array)))
    assert str(ours).replace("chainrule.", "torch.") == str(theirs)
    if form == "to_sparse":
        assert str(ours * 2).replace("chainrule.", "torch.") == str(theirs * 2)
