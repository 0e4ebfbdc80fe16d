"""Compiled steps of optimizers (the extra `fast`): the same bits as NumPy's, which serve wherever numba does not."""

import importlib.util
import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from optimizer_table import TABLE

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends import compiled
from chainrule.backends.compiled import optimizers
from chainrule.backends.numpy import steps
from chainrule.optim import plan

NUMBA = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason='numba is not installed; pip install "chainrule[fast]" brings it'
)
DTYPES = ["float32", "float64"]

ADAM = [
    ("adam", {"weight_decay": w, "decoupled": d, "maximize": m, "step": step}, 2 + amsgrad)
    for w, d, m, step, amsgrad in product([0, 0.1], [False, True], [False, True], [1, 5], [False, True])
]
SGD = [
    ("sgd", {"momentum": 0.9, "dampening": d, "weight_decay": w, "nesterov": n, "maximize": m, "first": f}, count)
    for d, w, n, m, f, count in product([0, 0.3], [0, 0.1], [False, True], [False, True], [False, True], [0, 1])
]
CASES = pytest.mark.parametrize(("name", "options", "count"), ADAM + SGD, ids=str)


def arrays(size, count, dtype, seed=0):
    """A parameter, its gradient and `count` arrays of state; the second moments are not negative."""
    rng = np.random.default_rng(seed)
    found = [rng.standard_normal(size).astype(dtype) for _ in range(2 + count)]
    return [a if i < 3 else np.abs(a) for i, a in enumerate(found)]


def all_numbers(options):
    return {"lr": 0.05, **({"beta1": 0.9, "beta2": 0.99, "eps": 1e-3} if "step" in options else {}), **options}


def by_numpy(name, given, options):
    given = [a.copy() for a in given]
    steps.PLAIN[name](*given, **all_numbers(options))
    return given


def by_kernel(name, given, options):
    """The step, in place; it fails if there is no kernel for these arrays."""
    assert optimizers.SERVES[name](*given, **all_numbers(options)) is not NotImplemented
    return given


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)  # NaN equals NaN


@NUMBA
@CASES
@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits(name, options, count, threads):
    before = cr.get_num_threads()
    cr.set_num_threads(threads)
    try:
        for dtype, size in product(DTYPES, (0, 1, 37, 5000) if threads == 1 else (300003,)):
            given = arrays(size, count, dtype)
            expected = by_numpy(name, given, options)
            assert_same(by_kernel(name, given, options), expected)
    finally:
        cr.set_num_threads(before)


@NUMBA
@CASES
def test_what_is_not_finite(name, options, count):
    """Each of inf, -inf, NaN, 0, the largest and the smallest number, in each array."""
    special = [np.inf, -np.inf, np.nan, 0.0, 3e38, 1e-45]
    with np.errstate(all="ignore"):
        for position in range(2 + count):
            given = arrays(37, count, np.float32)
            given[position][: len(special)] = special
            given[position][-1] = np.nan
            expected = by_numpy(name, given, options)
            assert_same(by_kernel(name, given, options), expected)


@NUMBA
@pytest.mark.parametrize(("name", "options", "count"), [ADAM[-1], ADAM[0], SGD[0], SGD[1]], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_at_odd_addresses_and_gradients_that_are_only_read(name, options, count, dtype):
    given = arrays(5000, count, dtype)
    expected = by_numpy(name, given, options)
    given[1].flags.writeable = False
    odd = []
    for a in given:
        view = np.frombuffer(bytearray(a.nbytes + 1), dtype, a.size, offset=1)
        view[:] = a
        assert not view.flags.aligned
        odd.append(view)
    steps.STEPS[name](*odd, **all_numbers(options))
    assert_same(odd, expected)
    assert_same(by_kernel(name, given, options), expected)


@NUMBA
def test_other_arrays_are_left_to_numpy():
    options, sgd = all_numbers(SGD[0][1]), optimizers.SERVES["sgd"]
    p, g = arrays(5000, 0, np.float32)
    wide = np.repeat(g, 2)
    expected = by_numpy("sgd", [p, g], SGD[0][1])
    for others in ((p[::2], g[::2]), (p, wide[::2]), (p, g.astype(np.float64)), (p.reshape(50, 100), g)):
        assert sgd(*others, **options) is NotImplemented
    for dtype in (np.float16, np.complex64, ">f4"):
        assert sgd(p.astype(dtype), g.astype(dtype), **options) is NotImplemented
    fixed = p.copy()
    fixed.flags.writeable = False
    assert sgd(fixed, g, **options) is NotImplemented
    # and the step serves them all
    steps.STEPS["sgd"](p, wide[::2], **options)
    assert_same([p], expected[:1])


@NUMBA
@pytest.mark.parametrize(
    ("name", "options"),
    [(name, o) for name, choices in TABLE.items() if getattr(optim, name).kernel for o in choices],
    ids=str,
)
def test_optimizers_take_the_kernel(name, options, monkeypatch):
    """With and without it the same parameters to the bit, special values among the gradients."""
    results, used = [], []
    kernel = getattr(optim, name).kernel
    compiled_step = optimizers.SERVES[kernel]

    def watched(*args, **numbers):
        found = compiled_step(*args, **numbers)
        used.append(found is None)
        return found

    for step in (watched, steps.PLAIN.get(kernel)):
        monkeypatch.setattr(plan.raw(np.zeros(1)).backend, "steps", {kernel: step} if step else {})
        rng = np.random.default_rng(0)
        # gathered ones, one that goes alone, and one whose memory is transposed
        start = [rng.standard_normal(s).astype("float32") for s in [(60, 70), (7,), (200, 100)]]
        params = [nn.Parameter(cr.tensor(a)) for a in start] + [nn.Parameter(cr.tensor(start[2]).T)]
        optimizer = getattr(optim, name)(params, **options)
        for i in range(3):
            for p in params:
                g = rng.standard_normal(p.shape).astype("float32")
                if i == 1:
                    g.ravel()[:4] = [np.inf, np.nan, 0, -3e38]
                p.grad = cr.tensor(g)
            with np.errstate(all="ignore"):
                optimizer.step()
        results.append([p.detach().numpy() for p in params])
    assert any(used) != options.get("centered", False)
    assert_same(*results)


def test_steps_are_registered():
    names = {c.kernel for c in vars(optim).values() if isinstance(c, type) and issubclass(c, optim.Optimizer)} - {""}
    assert names == set(compiled.STEPS) == set(optimizers.SERVES) == set(steps.STEPS)


TRAIN = """
import sys, warnings
import chainrule as cr
from chainrule import nn, optim

def step(*sizes):
    params = [nn.Parameter(cr.ones(n)) for n in sizes]
    optimizer = optim.Adam(params)
    for p in params:
        p.grad = cr.ones(p.shape)
    optimizer.step()
    assert all(abs(p.detach().numpy() - 0.999).max() < 1e-6 for p in params)
    return sys.modules.get("llvmlite") is not None
"""


def run(code, *flags, **env):
    ran = subprocess.run(
        [sys.executable, *flags, "-c", TRAIN + code],
        env={**os.environ, "CHAINRULE_FAST": "1", **env},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split(), ran.stderr


@NUMBA
def test_the_compiler_is_imported_for_large_steps_alone():
    assert run("print(step(400, 400), step(2000, 2000, 2000), step(10))")[0] == ["False", "True", "True"]
    assert run("print(step(10000))", CHAINRULE_FAST="0")[0] == ["False"]


def test_without_numba():
    """Absence is not worth a word."""
    assert run("sys.modules['numba'] = None; print(step(10000))", "-W", "error")[0] == ["False"]


@NUMBA
@pytest.mark.parametrize(
    "what", ["raise ImportError('Numba needs NumPy 2.4 or less')", "import no_such_part", "from_dtype = void = None"]
)
def test_a_numba_that_does_not_work_is_mentioned_once(what, tmp_path):
    (tmp_path / "numba.py").write_text(what)
    _, said = run("step(10000); step(10000); step(20000, 10)", PYTHONPATH=str(tmp_path), CHAINRULE_CACHE=str(tmp_path))
    assert said.count("numba is installed but does not work") == 1


@NUMBA
def test_machine_code_is_kept(tmp_path):
    code = "step(10000); print('numba' in sys.modules)"
    assert run(code, CHAINRULE_CACHE=str(tmp_path))[0] == ["True"]
    assert run(code, CHAINRULE_CACHE=str(tmp_path))[0] == ["False"]
    # a damaged file is no harm
    for path in tmp_path.rglob("*.o"):
        path.write_bytes(b"damaged")
    assert run(code, "-W", "error", CHAINRULE_CACHE=str(tmp_path))[0] == ["True"]


@NUMBA
def test_no_place_for_machine_code(tmp_path):
    (tmp_path / "file").write_text("")
    assert run("print(step(10000))", "-W", "error", CHAINRULE_CACHE=str(tmp_path / "file" / "folder"))[0] == ["True"]
