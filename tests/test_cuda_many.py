"""CUDA C kernels over many arrays (backends/cupy/many.py): optimizers, norms, clipping, unscaling, by the simulation.

An optimizer's kernel is compared with its formula in optim/, computed in float64 with the counters on the host.
"""

import importlib

import numpy as np
import pytest

pytest.importorskip("cupy", reason="CuPy is not installed; `make test-gpu-static` runs this")
ml_dtypes = pytest.importorskip("ml_dtypes")

from cuda_simulation import simulation  # noqa: E402
from optimizer_table import TABLE  # noqa: E402

import chainrule  # noqa: E402
from chainrule import optim  # noqa: E402
from chainrule.autograd.op import raw  # noqa: E402
from chainrule.backends import by_name  # noqa: E402

by_name("cupy")
launch, many = (importlib.import_module(f"chainrule.backends.cupy.{name}") for name in ("launch", "many"))

DTYPES = {name: np.dtype(getattr(ml_dtypes, name, None) or name) for name in launch.FLOATS}
ROUNDING = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
pytestmark = pytest.mark.skipif(simulation.COMPILER is None, reason="no g++ to simulate kernels with")
NAMES = sorted(name for name in TABLE if getattr(optim, name).kernel in many.METHODS)


@pytest.fixture
def machine(monkeypatch):
    """The simulation in the GPU's place."""
    made = simulation.Simulation()
    monkeypatch.setattr(launch, "machine", made)
    many._chunks.cache_clear()
    yield made
    many._chunks.cache_clear()


def state_of(optimizer, group, arrays, dtype):
    """Flat state as a plan lays it out: each parameter from a multiple of 8 on."""
    starts = np.cumsum([0, *[-(-a.size // 8) * 8 for a in arrays]])
    flat = [np.zeros(starts[-1], dtype) for _ in optimizer.slots(group)]
    for i, first in enumerate(starts[:-1]):
        part = arrays[i]
        for row, value in zip(flat, optimizer.init(np, part.astype(dtype), group)):
            row[first : first + part.size] = value.reshape(-1)
    return flat, starts[:-1]


def reference(name, options, arrays, rounds):
    """The parameters after these rounds of gradients, by the formula in float64."""
    params = [chainrule.tensor(a.astype("float64")) for a in arrays]
    optimizer = getattr(optim, name)(params, **options)
    group = optimizer.param_groups[0]
    out = []
    for p in params:
        value = p.array.copy()
        state = optimizer.init(np, value, group)
        rows = [np.full(1, v) for v in list(optimizer.counters(group).values())[1:]]
        for step, grads in enumerate(rounds, 1):
            numbers = optimizer.numbers(group, step, *rows)
            g = grads[len(out)].astype("float64").reshape(value.shape)
            new = optimizer.update(raw(value), value, g, *state, **numbers)
            value, *state = new if isinstance(new, tuple) else (new,)
        out.append(value)
    return optimizer, group, out


def run(name, options, dtype, master=False, shapes=((3, 7), (16,), (1,), (130,)), steps=3, skipped=(), scale=None):
    """(parameters after some steps of the kernel, the expected ones, the group)."""
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(s).astype(DTYPES[dtype]) for s in shapes]
    rounds = [[random.standard_normal(s).astype(DTYPES[dtype]) for s in shapes] for _ in range(steps)]
    optimizer, group, expected = reference(name, options, arrays, [r for i, r in enumerate(rounds) if i not in skipped])
    kept = np.dtype("float32") if master else DTYPES[dtype]
    flat, starts = state_of(optimizer, group, arrays, kept)
    copies = None
    if master:
        copies = np.zeros(len(flat[0]) if flat else starts[-1] + 256, "float32")
        for a, first in zip(arrays, starts):
            copies[first : first + a.size] = a.reshape(-1)
    counts = optimizer.counters(group) or group.get("momentum")
    counters = np.zeros(len(arrays), "float32") if counts else None
    products = np.ones(len(arrays), "float32") if name == "NAdam" else None
    made = many.Group(arrays, flat, copies, counters, products, starts)
    for i, grads in enumerate(rounds):
        found = np.full(1, float(i in skipped), "float32")
        given = [g * scale for g in grads] if scale else [g.copy() for g in grads]
        factor = np.full(1, scale, "float32") if scale else None
        made.update(optimizer.kernel, arrays, given, lambda: group, found, factor)
        if scale and i not in skipped:
            for got, g in zip(given, grads):
                np.testing.assert_array_equal(got, g)
    if counters is not None:
        assert counters.tolist() == [steps - len(skipped)] * len(arrays)
        assert made.ticket[0] == 0
    return arrays, expected, copies


def close(arrays, expected, dtype, times=4.0):
    room = times * ROUNDING[dtype]
    for a, e in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(a.astype("float64"), e, rtol=room, atol=room)


CASES = [(name, i) for name in NAMES for i in range(len(TABLE[name]))]


@pytest.mark.parametrize(("name", "index"), CASES)
def test_optimizers(machine, name, index):
    arrays, expected, _ = run(name, TABLE[name][index], "float32")
    close(arrays, expected, "float32", 20)
    assert len(machine.launches) == 3


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_dtypes_of_optimizers(machine, name, dtype):
    arrays, expected, _ = run(name, TABLE[name][0], dtype, steps=1)
    close(arrays, expected, dtype, 40 if dtype == "float64" else 8)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_master_weights(machine, name, dtype):
    arrays, expected, copies = run(name, TABLE[name][-1], dtype, master=True)
    close([copies[: arrays[0].size].reshape(arrays[0].shape)], expected[:1], "float32", 50)
    np.testing.assert_array_equal(arrays[0].reshape(-1), copies[: arrays[0].size].astype(DTYPES[dtype]))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_left_out(machine, name):
    close(*run(name, TABLE[name][0], "float32", steps=3, skipped=(0, 2), scale=4.0)[:2], "float32", 20)


def test_large_parameters_take_several_blocks_and_many_several_launches(machine):
    close(*run("AdamW", {}, "float32", shapes=((40000,), (5,)), steps=1)[:2], "float32")
    assert len(machine.launches) == 1
    close(*run("AdamW", {}, "float32", shapes=((3,),) * 250, steps=2)[:2], "float32")
    assert len(machine.launches) == 5


def test_parameters_that_lie_anywhere(machine):
    memory, grads = np.arange(300, dtype="float32"), np.ones(300, "float32")
    arrays, given = [memory[1:100], memory[101:280]], [grads[2:101], grads[103:282]]
    expected = memory - 0.5
    expected[[0, 100]] += 0.5
    expected[280:] += 0.5
    made = many.Group(arrays, [], None, None, None, [0, 0])
    options = {"lr": 0.5, "momentum": 0, "dampening": 0, "weight_decay": 0, "maximize": False}
    made.update("sgd", arrays, given, lambda: options)
    np.testing.assert_array_equal(memory, expected)


def test_numbers_on_the_device(machine):
    options = {"momentum": 0, "dampening": 0, "weight_decay": 0, "maximize": False}
    for lr in (np.full((), 0.25, "float32"), 0.25):
        p = np.ones(5, "float32")
        given = {"lr": lr, **options}
        many.Group([p], [], None, None, None, [0]).update("sgd", [p], [np.ones(5, "float32")], lambda o=given: o)
        np.testing.assert_array_equal(p, 0.75)
    table = np.array([0.5, 0, 0, 0, 0, 0])
    cells = [table[i : i + 1].reshape(()) for i in range(6)]
    assert many._together(cells)[0] is cells[0]
    assert many._together(cells[::-1])[0].tolist() == [0, 0, 0, 0, 0, 0.5]
    assert many._together([1, 2, 3, 4, 5, 6]) == (None, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0))


# -- gradients ---------------------------------------------------------------------------------------------------------


def gradients(dtype, shapes=((3, 7), (16,), (), (40000,))):
    random = np.random.default_rng(0)
    return [np.asarray(random.standard_normal(s)).astype(DTYPES[dtype]) for s in shapes]


@pytest.mark.parametrize("dtype", launch.FLOATS)
def test_unscale(machine, dtype):
    grads = gradients(dtype)
    expected = [g * DTYPES[dtype].type(0.25) for g in grads]
    found, inverse = np.zeros((), "float32"), np.full((), 0.25, "float32")
    many.unscale([*grads, np.ones(0, DTYPES[dtype])], found, inverse)
    assert found == 0
    for g, e in zip(grads, expected, strict=True):
        np.testing.assert_array_equal(g, e)
    for bad in (np.inf, -np.inf, np.nan):
        again = [g.copy() for g in grads]
        again[3][39999] = bad
        found[...] = 0
        many.unscale(again, found, None)
        assert found == 1
        np.testing.assert_array_equal(again[0], grads[0])
    assert len(machine.launches) == 4


@pytest.mark.parametrize("dtype", launch.FLOATS)
@pytest.mark.parametrize("order", [2.0, 1.0, 0.0, 3.0, np.inf])
def test_total_norm(machine, dtype, order):
    grads = gradients(dtype)
    whole = np.concatenate([g.reshape(-1).astype("float64") for g in grads])
    norm = many.total_norm(grads, order)
    assert norm.shape == ()
    assert norm.dtype == DTYPES[dtype]
    np.testing.assert_allclose(float(norm), np.linalg.norm(whole, order), rtol=3 * ROUNDING[dtype])
    grads[1][3] = np.nan
    assert np.isnan(float(many.total_norm(grads, order))) or order == 0
    assert many.total_norm([np.ones(0, DTYPES[dtype])], order) == 0


@pytest.mark.parametrize("dtype", launch.FLOATS)
def test_clipping(machine, dtype):
    kind = DTYPES[dtype]
    for most in (0.5, 1e4):
        grads, before = gradients(dtype), gradients(dtype)
        norm = many.total_norm(grads, 2.0)
        many.clip_by_norm(grads, norm, most)
        factor = min(most / (float(norm) + 1e-6), 1.0)
        for g, b in zip(grads, before, strict=True):
            np.testing.assert_allclose(
                g.astype("float64"), b.astype("float64") * factor, rtol=4 * ROUNDING[dtype], atol=1e-7
            )
    grads, before = gradients(dtype), gradients(dtype)
    many.clip_by_value(grads, 0.25)
    for g, b in zip(grads, before, strict=True):
        np.testing.assert_array_equal(g, np.clip(b, kind.type(-0.25), kind.type(0.25)))


def test_update_scale(machine):
    scale, rounds = np.full((), 8.0, "float32"), np.zeros((), "int32")
    seen = []
    for bad in (0, 0, 1, 0, 0):
        many.update_scale(scale, rounds, np.full((), bad, "float32"), 2.0, 0.5, 2)
        seen.append((float(scale), int(rounds)))
    assert seen == [(8, 1), (16, 0), (8, 0), (8, 1), (16, 0)]
    scale[...] = 2.0**127
    rounds[...] = 1
    many.update_scale(scale, rounds, np.zeros((), "float32"), 2.0, 0.5, 2)
    assert scale == 2.0**127
    assert rounds == 0
