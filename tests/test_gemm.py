"""Products of the CuPy backend, on NumPy's arrays: a simulation carries out what is asked of cuBLASLt.

Needs CuPy (for its package alone) and no GPU: `make test-gpu-static` runs this.
"""

import numpy as np
import pytest

pytest.importorskip("cupy", reason="CuPy is not installed; `make test-gpu-static` runs this")
ml_dtypes = pytest.importorskip("ml_dtypes")

from cublaslt_simulation import Host, Simulated  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from chainrule.backends import cuda  # noqa: E402
from chainrule.backends.cupy import gemm, launch  # noqa: E402
from chainrule.backends.cupy.cublaslt import Compute, Epilogue, Missing, Reduction  # noqa: E402
from chainrule.backends.recorder import CaptureError, Recorder, within  # noqa: E402

DTYPES = ["float64", "float32", "float16", ml_dtypes.bfloat16]
ROUNDING = {"float64": 1e-12, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1e-2}


@pytest.fixture
def executor(monkeypatch):
    made = Simulated()
    monkeypatch.setattr(gemm, "executor", made)
    monkeypatch.setattr(launch, "machine", Host())
    monkeypatch.setattr(gemm, "column_sums", lambda x, dtype: x.astype("float64").sum(0).astype(dtype))
    return made


def array(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(found, expected, dtype):
    assert found.dtype == np.dtype(dtype)
    assert found.shape == expected.shape
    room = ROUNDING[np.dtype(dtype).name]
    np.testing.assert_allclose(
        found.astype("float64"), expected, rtol=room, atol=room * (1 + abs(expected).max(initial=0))
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("left", "right", "calls"),
    [
        ((3, 4), (4, 5), 1),
        ((2, 3, 4), (4, 5), 1),
        ((2, 3, 4), (2, 4, 5), 1),
        ((4,), (2, 4, 5), 1),
        ((2, 3, 4), (4,), 1),
        ((4,), (4,), 1),
        ((2, 1, 3, 4), (1, 3, 4, 5), 2),
        ((0, 4), (4, 5), 0),
        ((3, 0), (0, 5), 0),
    ],
)
def test_matmul(executor, dtype, left, right, calls):
    x, y = array(*left, dtype=dtype), array(*right, dtype=dtype, seed=1)
    found = gemm.matmul(x, y)
    close(found, np.matmul(x.astype("float64"), y.astype("float64")), dtype)
    assert len(executor.calls) == calls


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_views(executor, data):
    """Any order of dimensions, slices with steps, reversed and expanded ones."""
    sizes = [data.draw(st.integers(1, 4)) for _ in range(3)]
    lead = data.draw(st.lists(st.integers(1, 3), max_size=2))
    made = []
    for last in (sizes[:2], sizes[1:]):
        shape = [*lead[data.draw(st.integers(0, len(lead))) :], *last]
        order = data.draw(st.permutations(range(len(shape))))
        steps = [data.draw(st.sampled_from([1, 1, 1, 2, -1, 0])) for _ in shape]
        memory = array(*[shape[i] * max(abs(steps[i]), 1) for i in order], seed=len(made))
        view = memory.transpose(np.argsort(order))
        view = view[tuple([slice(None, None, s) if s else slice(1) for s in steps])]
        made.append(np.broadcast_to(view, shape))
    found = gemm.matmul(*made)
    np.testing.assert_allclose(found, np.matmul(*made), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "calls"), [(3, 3), (20, 1)])
def test_stacks_that_go_backwards(executor, size, calls):
    """A GEMM's batch does not: a few calls, or one after a copy."""
    x, y = array(size, 2, 3), array(size, 3, 4)[::-1]
    np.testing.assert_allclose(gemm.matmul(x, y), np.matmul(x, y), rtol=1e-12, atol=1e-12)
    assert len(executor.calls) == calls


def test_attention_without_copies(executor):
    """Heads of a packed qkv (batch, time, 3, heads, width): strided batches, one call for each sequence."""
    q, k, v = np.moveaxis(array(2, 5, 3, 4, 8), 2, 0).swapaxes(2, 3)
    scores = gemm.matmul(q, k.swapaxes(-1, -2))
    np.testing.assert_allclose(scores, np.einsum("bhqd,bhkd->bhqk", q, k), rtol=1e-12)
    np.testing.assert_allclose(gemm.matmul(scores, v), np.matmul(scores, v), rtol=1e-12)
    assert [(s.gemm.batch, s.gemm.ld_a, s.gemm.ld_b) for s in executor.calls] == [(4, 96, 96)] * 2 + [(4, 96, 5)] * 2


def test_integers_are_not_ours(executor):
    assert gemm.matmul(np.ones((2, 2), int), np.ones((2, 2), int)) is NotImplemented
    assert gemm.matmul(array(2, 2), array(2, 2, dtype="float32")) is NotImplemented
    assert executor.calls == []


# -- linear -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (2, 2, 3, 6), (0, 6)])
@pytest.mark.parametrize("refused", [(), (Epilogue.BIAS,)])
def test_linear(executor, dtype, shape, refused):
    executor.refused = refused
    x, w, b = array(*shape, dtype=dtype), array(4, 6, dtype=dtype, seed=1), array(4, dtype=dtype, seed=2)
    wide = [a.astype("float64") for a in (x, w, b)]
    close(gemm.linear(x, w), wide[0] @ wide[1].T, dtype)
    biased = gemm.linear(x, w, b)
    close(biased, wide[0] @ wide[1].T + wide[2], dtype)
    if x.size:
        assert [s.epilogue for s in executor.calls] == [
            Epilogue.DEFAULT,
            Epilogue.DEFAULT if refused else Epilogue.BIAS,
        ]


def test_linear_of_others(executor):
    x = array(3, 6)
    assert gemm.linear(x, array(6)) is NotImplemented
    assert gemm.linear(x, array(4, 6), array(1)) is NotImplemented
    assert gemm.linear(x, array(4, 5)) is NotImplemented  # the op's own forward says what does not fit
    strided = array(8)[::2]
    np.testing.assert_allclose(gemm.linear(x, array(4, 6), strided), x @ array(4, 6).T + strided)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(5,), (2, 3), (2, 1, 3), ()])
@pytest.mark.parametrize("refused", [(), (Epilogue.BGRADB,)])
def test_gradients_of_linear(executor, dtype, lead, refused):
    executor.refused = refused
    x, w, g = (array(*s, dtype=dtype, seed=i) for i, s in enumerate([(*lead, 6), (4, 6), (*lead, 4)]))
    wide, rows = [a.astype("float64") for a in (x, w, g)], (-1, 4)
    expected = {
        "input": wide[2] @ wide[1],
        "weight": wide[2].reshape(rows).T @ wide[0].reshape(-1, 6),
        "bias": wide[2].reshape(rows).sum(0),
    }
    close(gemm.input_grad(g, w), expected["input"], dtype)
    close(gemm.weight_grad(g, x, w.shape), expected["weight"], dtype)
    if lead:
        close(gemm.bias_grad(g, (4,)), expected["bias"], dtype)
    given = {"input": (w,), "weight": (x, w.shape), "bias": ((4,),)}
    for names in (["input", "weight", "bias"], ["weight", "bias"]):
        found = gemm.grads(g, {name: given[name] for name in names})
        if refused:
            assert found is NotImplemented
            continue
        for name, value in zip(names, found, strict=True):
            close(value, expected[name], dtype)
    assert gemm.grads(g, {"input": (w,), "weight": (x, w.shape)}) is NotImplemented


def test_a_recurrent_layers_input_is_not_copied(executor):
    x, g = array(7, 2, 6).transpose(1, 0, 2), array(2, 7, 4)
    found = gemm.weight_grad(g, x, (4, 6))
    np.testing.assert_allclose(found, np.einsum("btj,btk->jk", g, x), rtol=1e-12)


def test_gradients_of_others(executor):
    x, g = array(3, 6), array(3, 4)
    assert gemm.input_grad(array(3), array(6)) is NotImplemented
    assert gemm.weight_grad(array(3), x, (6,)) is NotImplemented
    assert gemm.bias_grad(array(4), (4,)) is NotImplemented
    assert gemm.bias_grad(array(0, 4), (4,)) is NotImplemented
    assert gemm.grads(g, {"weight": (x, (4, 6)), "bias": ((),)}) is NotImplemented


# -- two linear maps with a function between them ---------------------------------------------------------------------

E = Epilogue


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(5,), (2, 3), ()])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(
    ("activation", "forward", "backward"),
    [
        ("relu", (E.RELU, E.RELU_BIAS), (E.DEFAULT, E.DEFAULT)),
        ("gelu_tanh", (E.GELU_AUX, E.GELU_AUX_BIAS), (E.DGELU, E.DGELU_BGRAD)),
    ],
)
def test_feed_forward(executor, dtype, lead, biased, activation, forward, backward):
    shapes = [(*lead, 6), (10, 6), (4, 10), (10,), (4,), (*lead, 4)]
    x, w1, w2, b1, b2, g = (array(*s, dtype=dtype, seed=i) for i, s in enumerate(shapes))
    biases = (b1, b2) if biased else (None, None)
    out, kept = gemm.feed_forward(x, w1, w2, *biases, activation)
    needs = (True, True, True, biased, biased)
    found = gemm.feed_forward_grad(g, kept, needs)
    used = [s.epilogue for s in executor.calls]
    assert used == [
        *(forward[biased], E.BIAS if biased else E.DEFAULT),
        *(E.BGRADB if biased else E.DEFAULT, backward[biased]),
        *(E.BGRADB if biased and activation == "relu" else E.DEFAULT, E.DEFAULT),
    ]

    x, w1, w2, b1, b2, g = (a.astype("float64") for a in (x, w1, w2, b1, b2, g))
    before = x @ w1.T + b1 * biased
    t = np.tanh(np.sqrt(2 / np.pi) * (before + 0.044715 * before**3))
    hidden = np.maximum(before, 0) if activation == "relu" else 0.5 * before * (1 + t)
    slope = 0.5 * (1 + t) + 0.5 * before * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 0.134145 * before**2)
    slope = before > 0 if activation == "relu" else slope
    inner = (g @ w2) * slope
    rows = lambda a: a.reshape(-1, a.shape[-1])
    expected = [inner @ w1, rows(inner).T @ rows(x), rows(g).T @ rows(hidden), rows(inner).sum(0), rows(g).sum(0)]
    near = dict(zip(["float64", "float32", "float16", "bfloat16"], [1e-12, 2e-6, 8e-3, 5e-2]))[np.dtype(dtype).name]
    for value, true, need in zip([out, *found], [hidden @ w2.T + b2 * biased, *expected], [True, *needs], strict=True):
        assert (value is None) == (not need)
        if need:
            assert (value.dtype, value.shape) == (np.dtype(dtype), true.shape)
            assert abs(value.astype("float64") - true).max() <= near * (1 + abs(true).max())


@pytest.mark.parametrize("activation", ["relu", "gelu_tanh"])
@pytest.mark.parametrize(
    "needs", [(1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1), (0, 1, 0, 1, 1)]
)
def test_only_the_gradients_that_are_wanted(executor, activation, needs):
    arrays = [array(*s, seed=i) for i, s in enumerate([(3, 6), (8, 6), (4, 8), (8,), (4,)])]
    _, kept = gemm.feed_forward(*arrays, activation)
    found = gemm.feed_forward_grad(array(3, 4), kept, needs)
    every = gemm.feed_forward_grad(array(3, 4), kept, (1,) * 5)
    for value, need, true in zip(found, needs, every, strict=True):
        assert (value is not None) == bool(need)
        if need:
            np.testing.assert_allclose(value, true)


def test_feed_forward_of_others(executor):
    x, w1, w2 = array(3, 6), array(8, 6), array(4, 8)
    assert gemm.feed_forward(x[:0], w1, w2) is NotImplemented
    assert gemm.feed_forward(x, w1, w2, array(1)) is NotImplemented
    executor.refused = (E.RELU, E.DGELU, E.DGELU_BGRAD)
    assert gemm.feed_forward(x, w1, w2) is NotImplemented
    _, kept = gemm.feed_forward(x, w1, w2, activation="gelu_tanh")
    assert gemm.feed_forward_grad(array(3, 4), kept, (1, 1, 1, 0, 0)) is NotImplemented
    assert gemm.feed_forward_grad(array(3, 4), kept, (0, 0, 1, 0, 0)) is not NotImplemented


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "changes", "compute", "reduction"),
    [
        ("float64", {}, Compute.F64, Reduction.MASK),
        ("float32", {}, Compute.F32, Reduction.MASK),
        ("float32", {"allow_tf32": True}, Compute.F32_FAST_TF32, Reduction.MASK),
        ("float32", {"fp32_precision": "tf32"}, Compute.F32_FAST_TF32, Reduction.MASK),
        ("float64", {"allow_tf32": True}, Compute.F64, Reduction.MASK),
        ("float16", {"allow_tf32": True}, Compute.F32, Reduction.MASK),
        ("float16", {"allow_fp16_reduced_precision_reduction": False}, Compute.F32, Reduction.COMPUTE_TYPE),
        ("float16", {"allow_fp16_accumulation": True}, Compute.F16, Reduction.MASK),
        (ml_dtypes.bfloat16, {"allow_bf16_reduced_precision_reduction": False}, Compute.F32, Reduction.COMPUTE_TYPE),
        (ml_dtypes.bfloat16, {"allow_fp16_accumulation": True}, Compute.F32, Reduction.MASK),
    ],
)
def test_precision(executor, monkeypatch, dtype, changes, compute, reduction):
    monkeypatch.setattr(cuda, "matmul", type(cuda.matmul)())
    for name, value in changes.items():
        setattr(cuda.matmul, name, value)
    gemm.matmul(array(2, 2, dtype=dtype), array(2, 2, dtype=dtype))
    assert (executor.calls[0].compute, executor.calls[0].reduction) == (compute, reduction)


def test_alignment(executor):
    x = np.zeros(200, np.float32)
    x = x[-(x.ctypes.data // 4) % 64 :]  # from a multiple of 256 bytes on
    gemm.matmul(x[:4].reshape(2, 2), x[9:13].reshape(2, 2))
    a, b, _, bias, aux = executor.calls[0].alignments  # A is the right factor
    assert (a, b, bias, aux) == (4, 256, 256, 256)


# -- the executor -----------------------------------------------------------------------------------------------------


def test_without_the_library(monkeypatch):
    def missing(major):
        raise Missing("there is no libcublasLt")

    monkeypatch.setattr(gemm, "load", missing)
    executor = gemm.Executor()
    with pytest.warns(RuntimeWarning, match="cannot be captured: there is no libcublasLt"):
        assert not executor.serves()
    assert not executor.serves()  # told once
    with within(Recorder()), pytest.raises(CaptureError, match="libcublasLt"):
        executor.serves()


class Chosen:
    """What `Executor` asks of a Prepared."""

    def __init__(self, library, setup):
        self.library, self.setup, self.ran = library, setup, []
        self.workspace = 0

    def candidates(self, handle, count):
        self.asked = count
        return [(f"algorithm {i}", 0) for i in range(count)] if self.setup != "unknown" else []

    def choose(self, algorithm, workspace):
        self.algorithm = algorithm

    def run(self, handle, *places):
        self.ran.append((self.algorithm, places))


@pytest.fixture
def device(monkeypatch):
    """An executor on a library and a runtime that only note."""
    from types import SimpleNamespace

    stream = SimpleNamespace(ptr=77)
    runtime = SimpleNamespace(getDevice=lambda: 1)
    cuda = SimpleNamespace(runtime=runtime, get_current_stream=lambda: stream)
    monkeypatch.setattr(gemm, "cupy", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(gemm, "Prepared", Chosen)
    made = gemm.Executor()
    made.library = SimpleNamespace(handle=lambda device: f"handle {device}")
    return made


def test_an_algorithm_is_chosen_once(device):
    assert device.run("setup", 1, 2, 3, 4, 5)
    assert device.run("setup", 6, 7, 8)
    (prepared,) = device._prepared.values()
    assert prepared.asked == 1
    assert prepared.ran == [("algorithm 0", (1, 2, 3, 77, 0, 4, 5)), ("algorithm 0", (6, 7, 8, 77, 0, 0, 0))]
    assert not device.run("unknown", 1, 2, 3)
    assert list(device._prepared) == [(1, "setup"), (1, "unknown")]


def test_tuning(device, monkeypatch):
    import chainrule

    times = iter([5.0, 2.0, 1.0, *[3.0] * 5])
    monkeypatch.setattr(device, "_time", lambda *args: next(times))
    monkeypatch.setattr(cuda, "tuning", False)
    chainrule.cuda.tunable.enable()
    try:
        assert chainrule.cuda.tunable.is_enabled()
        device.run("setup", 1, 2, 3)
        assert device._prepared[1, "setup"].algorithm == "algorithm 2"
        with within(Recorder()):
            device.run("while recording", 1, 2, 3)
        assert device._prepared[1, "while recording"].asked == 1
        chainrule.cuda.tunable.tuning_enable(False)
        device.run("later", 1, 2, 3)
        assert device._prepared[1, "later"].asked == 1
    finally:
        chainrule.cuda.tunable.enable(False)
        chainrule.cuda.tunable.tuning_enable()
