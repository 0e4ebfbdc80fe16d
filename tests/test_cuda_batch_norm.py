"""CUDA C kernels of batch norm, by the simulation, against the ops in float64 on NumPy."""

import importlib

import numpy as np
import pytest

pytest.importorskip("cupy", reason="CuPy is not installed; `make test-gpu-static` runs this")
ml_dtypes = pytest.importorskip("ml_dtypes")

from cuda_simulation import simulation  # noqa: E402

import chainrule  # noqa: E402
from chainrule.autograd.namespaces import OPS  # noqa: E402
from chainrule.backends import by_name  # noqa: E402

by_name("cupy")
launch, batch_norm = (importlib.import_module(f"chainrule.backends.cupy.{name}") for name in ("launch", "batch_norm"))

DTYPES = {name: np.dtype(getattr(ml_dtypes, name, None) or name) for name in launch.FLOATS}
ROUNDING = {"float64": 1e-11, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}
pytestmark = pytest.mark.skipif(simulation.COMPILER is None, reason="no g++ to simulate kernels with")
SHAPES = [(6, 3, 5, 7), (4, 8, 4, 4), (2, 16, 9), (30, 20), (2, 8, 3, 2, 4), (1, 1, 5, 5), (3, 40, 2, 2)]


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """The simulation in the GPU's place."""
    made = simulation.Simulation()
    monkeypatch.setattr(launch, "machine", made)
    return made


class Given(tuple):
    """Gradients of three results, and which of them there are."""

    given = (0, 1, 2)


def array(shape, dtype, last=False, seed=0, shift=0.0):
    x = np.random.default_rng(seed).standard_normal(shape) + shift
    x = x.astype(DTYPES[dtype])
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if last else x


def expected(x, weight, bias, other, relu, slopes):
    """Results and gradients of the op in float64."""
    given = [None if a is None else chainrule.tensor(a.astype("float64")) for a in (x, weight, bias, other)]
    wanted = [t.requires_grad_() for t in given if t is not None]
    operands = given if relu else given[:3]
    results = OPS["batch_norm_relu" if relu else "batch_normalised"](*operands, eps=1e-3)
    loss = sum((r * chainrule.tensor(s.astype("float64"))).sum() for r, s in zip(results, slopes, strict=True))
    grads = iter(chainrule.autograd.grad(loss, wanted))
    return [r.detach().numpy() for r in results], [None if t is None else next(grads).numpy() for t in given]


def close(found, wanted, dtype, times=1.0):
    room = times * ROUNDING[dtype]
    scale = max(np.abs(wanted).max(initial=0), 1e-3)
    np.testing.assert_allclose(found.astype("float64"), wanted, rtol=room, atol=room * scale)


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("dtype", launch.FLOATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("what", ["plain", "relu", "add"])
def test_training(shape, dtype, last, what):
    relu, kind = what != "plain", "float64" if dtype == "float64" else "float32"
    x = array(shape, dtype, last, shift=3.0)
    bare = shape == (2, 16, 9) and not relu
    weight, bias = (None if bare else array(shape[1:2], kind, seed=s) for s in (1, 2))
    other = array(shape, dtype, not last, seed=3) if what == "add" else None
    slopes = [array(shape, dtype, last, seed=4), *[array((1, shape[1], *[1] * (len(shape) - 2)), kind, seed=5)] * 2]
    results, grads = expected(x, weight, bias, other, relu, slopes)
    if relu:
        found = batch_norm.batch_norm_relu(x, weight, bias, other, 1e-3)
    else:
        found = batch_norm.batch_normalised(x, weight, bias, 1e-3)
    y, mean, var = found
    assert y.dtype == x.dtype
    assert mean.dtype == var.dtype == kind
    close(y, results[0], dtype)
    for statistic, wanted in ((mean, results[1]), (var, results[2])):
        assert statistic.shape == wanted.shape
        close(statistic, wanted, kind)
    needs = (True, weight is not None, bias is not None, other is not None)
    statistics = [s.astype(kind) for s in results[1:]]
    if relu:
        out = results[0].astype(x.dtype)
        back = batch_norm.batch_norm_relu_grad(Given(slopes), x, weight, 1e-3, out, *statistics, needs)
    else:
        back = batch_norm.batch_normalised_grad(Given(slopes), x, weight, 1e-3, *statistics, needs[:3])
    for found, wanted, need in zip(back, grads, needs, strict=False):
        assert (found is None) == (not need)
        if need:
            close(found, wanted, dtype, 4)


def test_only_the_result_was_used(machine):
    x = array((4, 8, 4, 4), "float32")
    g = Given([array(x.shape, "float32", seed=1), np.full((1, 8, 1, 1), np.nan, "float32"), None])
    g.given = (0,)
    _, mean, var = batch_norm.batch_normalised(x, eps=1e-3)
    dx, dweight, dbias = batch_norm.batch_normalised_grad(g, x, None, 1e-3, mean, var, (True, False, True))
    assert np.isfinite(dx).all()
    assert dweight is None
    close(dbias, g[0].astype("float64").sum((0, 2, 3)), "float32")
    assert len(machine.launches) == 6


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_a_mean_large_beside_the_deviation(last):
    x = array((8, 4, 16, 16), "float32", last, shift=10000.0)
    _, mean, var = batch_norm.batch_normalised(x)
    wide = x.astype("float64")
    np.testing.assert_allclose(mean.reshape(-1), wide.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(var.reshape(-1), wide.var((0, 2, 3)), rtol=1e-3)


def test_shares_of_large_channels(machine):
    x = array((3, 2, 40, 40), "float32")
    for data in (x, np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)):
        _, mean, var = batch_norm.batch_normalised(data)
        close(mean.reshape(-1), x.astype("float64").mean((0, 2, 3)), "float32")
        close(var.reshape(-1), x.astype("float64").var((0, 2, 3)), "float32")
        assert batch_norm._Data(data).parts(1)[2] == 10


@pytest.mark.parametrize("dtype", launch.FLOATS)
def test_evaluation(dtype):
    kind = "float64" if dtype == "float64" else "float32"
    for shape in SHAPES:
        x, along = array(shape, dtype, last=len(shape) == 4), (1, shape[1], *[1] * (len(shape) - 2))
        mean, var, weight, bias = (np.abs(array(along, kind, seed=s)) for s in range(4))
        found = batch_norm.normalised(x, mean, var, weight, bias, 1e-3)
        wide = [a.astype("float64") for a in (x, mean, var, weight, bias)]
        close(found, OPS["normalised"].forward(np, *wide, eps=1e-3), dtype)
    assert batch_norm.normalised(x, mean[..., None], var, eps=1e-3) is NotImplemented
    assert batch_norm.batch_normalised(np.ones((2, 3), "int64")) is NotImplemented
