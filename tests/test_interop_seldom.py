"""NumPy's rarer functions on Tensors: NumPy's values, gradients as differences have them, NumPy's types without one."""

import numpy as np
import pytest

import chainrule
from chainrule.autograd.interop_seldom import WITH_GRADIENT

ARRAY = np.array([[0.3, -1.2, 0.8, 2.1], [1.5, 0.1, -0.4, 0.9], [-0.7, 0.6, 1.1, -1.6]])
HOLES = np.where(ARRAY == 0.1, np.nan, ARRAY)
ROW = ARRAY[0]

#: name -> (array, call) ...
CALLS = {
    "cov": [
        *((ARRAY, np.cov), (ARRAY, lambda x: np.cov(x, rowvar=False)), (ARRAY, lambda x: np.cov(x, bias=True))),
        *((ROW, lambda x: np.cov(x, ARRAY[1])), (ARRAY, lambda x: np.cov(x, aweights=[1.0, 2.0, 1.0, 3.0], ddof=0))),
    ],
    "corrcoef": [(ARRAY, np.corrcoef), (ROW, lambda x: np.corrcoef(x, ARRAY[1]))],
    "quantile": [
        *((ARRAY, lambda x: np.quantile(x, 0.3)), (ARRAY, lambda x: np.quantile(x, [0.1, 0.6], axis=1, keepdims=True))),
        *(
            (ARRAY, lambda x: np.quantile(x, 0.4, axis=0, method="lower")),
            (ARRAY, lambda x: np.quantile(x, 0.2, (0, 1))),
        ),
        (np.stack([ARRAY, 2 * ARRAY]), lambda x: np.quantile(x, [0.2, 0.7], axis=(0, 2), keepdims=True)),
    ],
    "percentile": [(ARRAY, lambda x: np.percentile(x, 30)), (ARRAY, lambda x: np.percentile(x, [5, 75], axis=1))],
    "nanquantile": [(HOLES, lambda x: np.nanquantile(x, 0.3, axis=1))],
    "nanpercentile": [(HOLES, lambda x: np.nanpercentile(x, 30))],
    "median": [(ARRAY, np.median), (ARRAY, lambda x: np.median(x, axis=0)), (ROW[:3], np.median)],
    "nanmedian": [(HOLES, lambda x: np.nanmedian(x, axis=1, keepdims=True))],
    "ptp": [(ARRAY, np.ptp), (ARRAY, lambda x: np.ptp(x, axis=1, keepdims=True))],
    "average": [
        *((ARRAY, np.average), (ARRAY, lambda x: np.average(x, axis=0, weights=[1.0, 2.0, 3.0]))),
        (ARRAY, lambda x: np.average(x, axis=1, weights=ARRAY**2, returned=True)),
        (ROW, lambda x: np.average(ARRAY, axis=1, weights=x**2)),
    ],
    "nanmax": [(HOLES, np.nanmax), (HOLES, lambda x: np.nanmax(x, axis=1))],
    "nanmin": [(HOLES, lambda x: np.nanmin(x, axis=0))],
    "nanprod": [(HOLES, lambda x: np.nanprod(x, axis=1, keepdims=True))],
    "nancumsum": [(HOLES, np.nancumsum), (HOLES, lambda x: np.nancumsum(x, axis=1))],
    "nanvar": [(HOLES, np.nanvar), (HOLES, lambda x: np.nanvar(x, axis=1, ddof=1))],
    "nanstd": [(HOLES, lambda x: np.nanstd(x, axis=0, keepdims=True))],
    "interp": [
        (ROW, lambda x: np.interp(x, [-1.0, 0.0, 2.0], [3.0, 1.0, 2.0])),
        (ROW, lambda f: np.interp([-2.0, 0.5, 1.0, 9.0], [0.0, 1.0, 2.0, 3.0], f)),
        (ROW, lambda x: np.interp(x, [-1.0, 0.0, 2.0], [3.0, 1.0, 2.0], left=-5.0, right=7.0)),
    ],
    "gradient": [
        *((ROW, np.gradient), (ARRAY, np.gradient), (ARRAY, lambda x: np.gradient(x, 0.5, axis=1))),
        (ROW, lambda x: np.gradient(x, [0.0, 1.0, 3.0, 4.0], edge_order=2)),
    ],
    "trapezoid": [
        *((ARRAY, np.trapezoid), (ARRAY, lambda x: np.trapezoid(x, dx=0.1, axis=0))),
        (ROW, lambda x: np.trapezoid(x, [0.0, 1.0, 3.0, 4.0])),
    ]
    if hasattr(np, "trapezoid")
    else [],
    "trapz": [],
    "convolve": [(ROW, lambda x, m=m: np.convolve(x, [1.0, -2.0, 0.5], m)) for m in ("full", "same", "valid")]
    + [(ROW[:2], lambda x: np.convolve(x, ROW, "same")), (ROW, lambda x: np.convolve(x, x))],
    "correlate": [(ROW, lambda x, m=m: np.correlate(x, [1.0, -2.0], m)) for m in ("full", "same", "valid")]
    + [(ROW[:2], lambda x, m=m: np.correlate(x, ROW, m)) for m in ("full", "same", "valid")],
    "polyval": [(ROW, lambda x: np.polyval([1.0, 2.0, 3.0], x)), (ROW, lambda p: np.polyval(p, 1.5))],
    "vander": [(ROW, np.vander), (ROW, lambda x: np.vander(x, 3, increasing=True))],
    "ediff1d": [(ARRAY, np.ediff1d), (ROW, lambda x: np.ediff1d(x, to_end=[1.0], to_begin=2.0))],
    "fix": [(ROW, np.fix)],
    "i0": [(ROW, np.i0)],
    "cross": [(ARRAY[:, :3], lambda x: np.cross(x, ARRAY[:, 1:])), (ARRAY, lambda x: np.cross(x, ARRAY**2, axis=0))],
    "vdot": [(ARRAY, lambda x: np.vdot(x, ARRAY))],
    "diagonal": [(ARRAY, np.diagonal), (ARRAY, lambda x: np.diagonal(x, 1))],
    "linalg.diagonal": [],
    "rot90": [(ARRAY, np.rot90)],
    "append": [(ARRAY, lambda x: np.append(x, 3.0)), (ARRAY, lambda x: np.append(x, ARRAY, axis=0))],
    "delete": [(ROW, lambda x: np.delete(x, 1)), (ARRAY, lambda x: np.delete(x, [0, 2], axis=1))],
    "compress": [(ARRAY, lambda x: np.compress([True, False, True], x, axis=0))],
    "extract": [(ARRAY, lambda x: np.extract(ARRAY > 0, x))],
    "select": [(ARRAY, lambda x: np.select([ARRAY > 1, ARRAY > 0], [x, 2 * x], 3.0))],
    "block": [(ARRAY, lambda x: np.block([[x, ARRAY], [ARRAY, x]])), (ROW, lambda x: np.block([x, 1.0]))],
    "hsplit": [(ARRAY, lambda x: np.hsplit(x, 2))],
    "vsplit": [(ARRAY, lambda x: np.vsplit(x, [1]))],
    "dsplit": [(ARRAY.reshape(3, 2, 2), lambda x: np.dsplit(x, 2))],
    "partition": [(ARRAY, lambda x: np.sort(np.partition(x, 1), axis=1))],
}
ALL = [pytest.param(a, call, id=f"{name}-{i}") for name, calls in CALLS.items() for i, (a, call) in enumerate(calls)]


def test_each_function_is_called():
    assert set(CALLS) == set(WITH_GRADIENT)


def parts(x):
    return list(x) if isinstance(x, (tuple, list)) else [x]


@pytest.mark.parametrize(("array", "call"), ALL)
def test_values_and_gradients(array, call):
    x = chainrule.tensor(array, requires_grad=True)
    found, expected = parts(call(x)), parts(call(array))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert isinstance(ours, chainrule.Tensor)
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-10, atol=1e-12)
    there = ~np.isnan(array)

    def at(values):
        full = chainrule.tensor(array).index_put((chainrule.tensor(there),), values)
        return tuple(t for t in parts(call(full)) if t.requires_grad)

    assert chainrule.autograd.gradcheck(at, (chainrule.tensor(array[there], requires_grad=True),))


@pytest.mark.parametrize(("array", "call"), ALL)
def test_without_a_gradient_they_give_what_numpy_gives(array, call):
    found, expected = parts(call(chainrule.tensor(array))), parts(call(array))
    for ours, theirs in zip(found, expected, strict=True):
        if not isinstance(ours, chainrule.Tensor):
            np.testing.assert_array_equal(ours, theirs)


def test_positions_and_counts_need_no_gradient():
    x = chainrule.tensor(ROW, requires_grad=True)
    assert np.count_nonzero(x) == 4
    assert np.searchsorted([0.0, 1.0], x).tolist() == [1, 0, 1, 2]
    assert np.digitize(x, [0.0]).tolist() == [1, 0, 1, 1]
    assert np.argwhere(x > 0).ravel().tolist() == [0, 2, 3]


def test_what_cannot_be_done():
    x = chainrule.tensor(ROW, requires_grad=True)
    with pytest.raises(TypeError, match="period"):
        np.interp(x, [0.0, 1.0], [1.0, 2.0], period=3)
    with pytest.raises(ValueError, match="modes full"):
        np.convolve(x, x, "other")
    with pytest.raises(TypeError, match="weights"):
        np.quantile(x, 0.3, weights=[1, 2, 3, 4], method="inverted_cdf")
    with pytest.raises(TypeError, match="no gradient"):
        np.unwrap(x)


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_of_nothing_but_nan_is_nan():
    holes = np.where(np.arange(4) == 1, np.nan, ARRAY)
    x = chainrule.tensor(holes, requires_grad=True)
    for function in (np.nanmax, np.nanmin):
        found = function(x, axis=0)
        np.testing.assert_array_equal(found.detach().numpy(), function(holes, axis=0))
        (g,) = chainrule.autograd.grad(found[::2].sum(), x)
        assert g.sum() == 2


def test_dtypes_of_covariances():
    x = chainrule.tensor(ARRAY, requires_grad=True)
    for function in (np.cov, np.corrcoef):
        assert function(x, dtype=np.float32).dtype == chainrule.float32
