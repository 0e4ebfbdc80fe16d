"""Compiled linear maps along dimensions: pools of averages, padding and interpolation against float64."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.ops.resampling import AxisMap, WindowSum

pytest.importorskip("numba")

from chainrule.backends.compiled import resampling

F = cr.nn.functional
RANDOM = np.random.default_rng(0)


def last(x):
    """The same values, channels last in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


LAYOUTS = [last, np.ascontiguousarray, lambda x: np.repeat(x, 2, 1)[:, ::2]]
CALLS = {
    "average": lambda x: F.avg_pool2d(x, 2),
    "average 3x3": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "average 1d": lambda x: F.avg_pool1d(x[:, :, 0], 3, 2),
    "mean": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (5, 7)),
    "reflect": lambda x: F.pad(x, (2, 1, 3, 0), mode="reflect"),
    "circular, cropped": lambda x: F.pad(x, (2, -1, 0, 0), mode="circular"),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, size=(31, 17), mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, size=(13, 40), mode="bicubic", align_corners=True),
    "volume": lambda x: F.avg_pool3d(x.reshape(2, 17, 2, 10, 23), (2, 3, 2)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_to_the_second_order(name, layout):
    x = layout(RANDOM.standard_normal((2, 17, 20, 23)))

    def all_of(dtype):
        t = cr.tensor(layout(x.astype(dtype)), requires_grad=True)
        y = CALLS[name](t)
        (g,) = cr.grad((y**3).sum(), t, create_graph=True)
        (h,) = cr.grad((g**2).sum(), t)
        return [a.detach().numpy() for a in (y, g, h)]

    with pytest.MonkeyPatch.context() as patch:
        exact = all_of("float64")
        patch.setattr(resampling, "_FLOATS", frozenset({np.dtype("float32")}))
        plain = all_of("float64")
    for found, generic in zip(exact, plain):
        np.testing.assert_allclose(found, generic, rtol=1e-11, atol=1e-11)
    for found, wide in zip(all_of("float32"), exact):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wide, rtol=1e-5, atol=1e-5 * abs(wide).max())


def test_the_layout_is_kept():
    maps = WindowSum(8, 4, 2, 2, 0, 0.5), WindowSum(6, 3, 2, 2, 0, 0.5)
    x = RANDOM.standard_normal((2, 16, 8, 6)).astype("float32")
    assert resampling.axis_map(last(x), (2, 3), maps).transpose(0, 2, 3, 1).flags.c_contiguous
    assert resampling.axis_map(x, (2, 3), maps).flags.c_contiguous
    one = np.ones((2, 16, 1, 1), "float32")  # may be either
    spread = resampling.axis_map(one, (2, 3), tuple([AxisMap(np.zeros((1, n), int), None, 1) for n in (3, 4)]))
    assert spread.transpose(0, 2, 3, 1).flags.c_contiguous


def test_an_infinite_element_stays_in_its_windows():
    x = np.ones((1, 16, 6, 6), "float32")
    x[0, 3, 2, 2] = np.inf
    for layout in (last, np.ascontiguousarray):
        y = resampling.axis_map(layout(x), (2, 3), (WindowSum(6, 3, 2, 2, 0, 0.5),) * 2)
        expected = np.ones((1, 16, 3, 3))
        expected[0, 3, 1, 1] = np.inf
        np.testing.assert_array_equal(y, expected)


def test_threads_change_nothing():
    x = last(RANDOM.standard_normal((4, 32, 33, 34)).astype("float32"))
    maps = (WindowSum(33, 17, 3, 2, 1, 1 / 3), WindowSum(34, 17, 3, 2, 1, 1 / 3))
    before, results = cr.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            cr.set_num_threads(threads)
            results.append(resampling.axis_map(x, (2, 3), maps))
    finally:
        cr.set_num_threads(before)
    for y in results[1:]:
        np.testing.assert_array_equal(y, results[0])
