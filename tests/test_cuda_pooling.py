"""CUDA C kernels of pooling and of maps along dimensions, by the simulation, against the ops' forwards on NumPy."""

import importlib

import numpy as np
import pytest

pytest.importorskip("cupy", reason="CuPy is not installed; `make test-gpu-static` runs this")
ml_dtypes = pytest.importorskip("ml_dtypes")

from cuda_simulation import simulation  # noqa: E402

import chainrule  # noqa: E402
from chainrule.autograd.namespaces import OPS  # noqa: E402
from chainrule.autograd.ops import pooling as ops  # noqa: E402
from chainrule.autograd.ops.resampling import AxisMap, WindowSum  # noqa: E402
from chainrule.autograd.watch import watched  # noqa: E402
from chainrule.backends import by_name  # noqa: E402
from chainrule.nn import functional as F  # noqa: E402

by_name("cupy")
launch, pooling = (importlib.import_module(f"chainrule.backends.cupy.{name}") for name in ("launch", "pooling"))

DTYPES = {name: np.dtype(getattr(ml_dtypes, name, None) or name) for name in launch.FLOATS}
ROUNDING = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
pytestmark = pytest.mark.skipif(simulation.COMPILER is None, reason="no g++ to simulate kernels with")


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """The simulation in the GPU's place."""
    made = simulation.Simulation()
    monkeypatch.setattr(launch, "machine", made)
    for held in (pooling._TABLES, pooling._ONE):
        held.clear()
    yield made
    for held in (pooling._TABLES, pooling._ONE):
        held.clear()


def array(shape, dtype, last=False, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape).astype(DTYPES[dtype])
    if last:
        order = (0, *range(2, x.ndim), 1)
        x = np.moveaxis(np.ascontiguousarray(x.transpose(order)), -1, 1)
    return x


# sizes of the input, kernel, stride, padding, dilation, ceil mode
WINDOWS = [
    ((7,), 3, 2, 1, 1, False),
    ((8, 6), 2, 2, 0, 1, False),
    ((7, 9), 3, 2, 1, 1, True),
    ((9, 8), (3, 2), (1, 2), (1, 0), (2, 3), False),
    ((5, 4, 6), 2, 2, 0, 1, False),
    ((5, 5, 4), (3, 2, 3), (2, 1, 1), 1, 1, False),
    ((40, 3), (33, 1), (2, 1), (16, 0), 1, False),
    ((20, 20), 17, 1, 8, 1, False),
]


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("dtype", launch.FLOATS)
@pytest.mark.parametrize("case", range(len(WINDOWS)))
def test_max_pool(case, dtype, last):
    sizes, kernel, stride, padding, dilation, ceil = WINDOWS[case]
    n = len(sizes)
    shape = (2, 8, *sizes)
    x = array(shape, dtype, last)
    x[0, 0].flat[::3] = np.nan
    x[1, 1].flat[:5] = -np.inf
    x[1, 2] = 1.0  # ties
    kernel, stride, padding, dilation, size = ops._windows("pool", n, shape, kernel, stride, padding, dilation, ceil)
    geometry = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    best, index = OPS["max_pool"].forward(np, x, **geometry, size=size)
    y, places = pooling.max_pool(x, **geometry, size=size)
    assert y.dtype == x.dtype
    assert places.dtype == index.dtype
    np.testing.assert_array_equal(y.astype("float64"), best.astype("float64"))
    np.testing.assert_array_equal(places, index)
    assert n == 1 or (y.strides[1] == y.itemsize) == last
    g = array(y.shape, dtype, not last, seed=1)
    room = 4 * ROUNDING[dtype]
    grad = pooling.window_scatter(g, places, sizes, **geometry)
    expected = OPS["window_scatter"].forward(np, g.astype("float64"), index, sizes, **geometry)
    np.testing.assert_allclose(grad.astype("float64"), expected, rtol=room, atol=room * 4)
    again = pooling.window_gather(grad, places, **geometry)
    np.testing.assert_array_equal(again, OPS["window_gather"].forward(np, grad, index, **geometry))


def test_what_is_not_served():
    geometry = {"kernel": (2,), "stride": (2,), "padding": (0,), "dilation": (1,)}
    assert pooling.max_pool(np.ones((1, 1, 4), "int32"), **geometry, size=(2,)) is NotImplemented
    assert pooling.axis_map(np.ones((1, 4), "int64"), 1, WindowSum(4, 2, 2, 2, 0, 0.5)) is NotImplemented


def windows():
    """Calls of PyTorch's functions that are maps along dimensions."""
    return {
        "avg_pool1d": lambda x: F.avg_pool1d(x[:, :, 0], 3, 2, 1),
        "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        "avg_pool2d of all": lambda x: F.avg_pool2d(x, (9, 10)),
        "adaptive": lambda x: F.adaptive_avg_pool2d(x, (4, 3)),
        "one": lambda x: F.adaptive_avg_pool2d(x, 1),
        "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        "bicubic": lambda x: F.interpolate(x, size=(5, 13), mode="bicubic"),
        "reflect": lambda x: F.pad(x, (2, 1, 0, 3), "reflect"),
        "avg_pool3d": lambda x: F.avg_pool3d(x[:, :, None].repeat(1, 1, 4, 1, 1), 2, 2),
        "trilinear": lambda x: F.interpolate(x[:, :, None].repeat(1, 1, 3, 1, 1), scale_factor=2, mode="trilinear"),
    }


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("name", windows())
def test_maps(name, last):
    """What F's functions hand to the op, with its gradient, goes to the kernel too and is compared."""
    seen, op = [], OPS["axis_map"]

    def around(called, given, params, call):
        if called is op:
            seen.append((given, params))
        return call()

    x = chainrule.tensor(array((2, 8, 9, 10), "float64", last))
    with watched(around):
        windows()[name](x)
    ((given, params),) = seen
    for dtype in launch.FLOATS:
        a = given[0].array.astype(DTYPES[dtype])
        if last and a.ndim > 3:
            a = np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
        dims, table = params["dim"], params["table"]
        back = (
            (dims[::-1], tuple([t.transposed for t in table[::-1]]))
            if isinstance(dims, tuple)
            else (dims, table.transposed)
        )
        for where, which in ((dims, table), back):
            found = pooling.axis_map(a, where, which)
            expected = op.forward(np, a.astype("float64"), where, which)
            room = 8 * ROUNDING[dtype]
            assert found.dtype == a.dtype
            np.testing.assert_allclose(found.astype("float64"), expected, rtol=room, atol=room)
            a = found


def test_launches(machine):
    x = array((2, 8, 8, 8), "float32")
    pair = tuple(WindowSum(8, 4, 2, 2, 0, 0.5) for _ in range(2))
    pooling.axis_map(x, (-2, -1), pair)
    assert len(machine.launches) == 1  # both dimensions at once
    pooling.axis_map(x, (-1, -2), pair)
    assert len(machine.launches) == 2
    wide = tuple(WindowSum(8, 1, 8, 8, 0, 0.125) for _ in range(3))
    pooling.axis_map(x, (1, 2, 3), wide)
    assert len(machine.launches) == 4  # 64 terms and 8
    pooling.axis_map(x, (1, 3), wide[:2])
    assert len(machine.launches) == 6  # they do not follow one another
    table = AxisMap(np.array([[0, 2]]), None, 8)
    np.testing.assert_array_equal(pooling.axis_map(x, 0 - 1, table), x[..., [0, 2]])
