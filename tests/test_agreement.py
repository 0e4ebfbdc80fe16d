"""A device and the CPU agree, for every op of the table: in every precision, and in every layout of the inputs.

What is true is NumPy's result in float64, for the same inputs (rounded to the dtype first). The device, computing in
the dtype, may be off by what TOLERANCE says of the size of the result, and by four times as much as NumPy in it.
Values and first gradients; integers and truth values are equal to NumPy's in that dtype.

Runs under --backend=cupy, strict and fake alone: NumPy always agrees with itself.
"""

import numpy as np
import pytest
from op_table import TABLE

import chainrule
from chainrule import backends
from chainrule.autograd.dtypes import differentiable
from chainrule.backends import cudnn
from chainrule.testing import calls_of
from chainrule.testing.calls import host

pytest.importorskip("ml_dtypes")

#: error relative to the largest element of a result; sums of a few dozen products lie well below
TOLERANCE = {"float32": 2e-5, "tf32": 4e-3, "float16": 1e-2, "bfloat16": 6e-2}
KINDS = {"float32": np.float32, "tf32": np.float32, "float16": np.float16, "bfloat16": chainrule.bfloat16.dtype}


# -- layouts, made on the device: a copy to it may straighten them -----------------------------------------------------


def contiguous(backend, a):
    return backend.asarray(np.array(a, order="C"))


def transposed(backend, a):
    return backend.asarray(np.array(a.T, order="C")).T


def reversed_(backend, a):
    every = (slice(None, None, -1),) * a.ndim
    return backend.asarray(np.array(a[every], order="C"))[every]


def spread(backend, a):
    """Every second element of an array twice as long in each dimension, the rest being something else."""
    wide = np.full([2 * n for n in a.shape], 99, a.dtype)
    every = (slice(None, None, 2),) * a.ndim
    wide[every] = a
    return backend.asarray(wide)[every]


def channels_last(backend, a):
    if a.ndim not in (4, 5):
        return contiguous(backend, a)
    forth, back = (0, *range(2, a.ndim), 1), (0, a.ndim - 1, *range(1, a.ndim - 1))
    return backend.asarray(np.array(a.transpose(forth), order="C")).transpose(back)


LAYOUTS = (contiguous, transposed, reversed_, spread, channels_last)


# -- the comparison ---------------------------------------------------------------------------------------------------


def levels(call, arrays, order):
    """Values (of every dtype) and first gradients, on the host; the error where the call has none in this dtype."""
    try:
        values = [host(t) for t in call.outputs(call.tensors(arrays, []))]
        return values, (call.tower(arrays, 1)[1] if order else [])
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        return error


def wide(x):
    """In double precision."""
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def narrowed(a, kind):
    """In the dtype of a kind; complex numbers have no shorter form than that of float32."""
    return a.astype(np.complex64 if a.dtype.kind == "c" else KINDS[kind])


def size(x):
    x = np.abs(wide(np.asarray(x)))
    return float(x[np.isfinite(x)].max(initial=0.0))


def compare(found, ours, truth, tolerance, what):
    """`found` of the device; `ours` of NumPy in the same dtype; `truth` in float64."""
    if found is None or ours is None:
        other = ours if found is None else found
        assert other is None or size(other) == 0, f"{what}: one is no gradient, the other {other}"
        return
    assert found.shape == ours.shape, what
    assert found.dtype == ours.dtype, what
    if not differentiable(found.dtype):
        np.testing.assert_array_equal(found, ours, err_msg=what)
        return
    a, b = wide(found), wide(ours)
    t = b if truth is None or truth.shape != b.shape else wide(truth)
    unclear = ~np.isfinite(b) | ~np.isfinite(t)  # overflow in the dtype: the device's may come elsewhere
    np.testing.assert_array_equal(np.isnan(a) & unclear, np.isnan(b) & unclear, err_msg=what)
    a, b, t = (np.where(unclear, 0, x) for x in (a, b, t))
    room = tolerance * max(size(t), 1e-30) + 4 * np.abs(b - t).max(initial=0.0)
    assert np.abs(a - t).max(initial=0.0) <= room, f"{what}: off by {np.abs(a - t).max()}, {room} allowed\n{a}\n{t}"


@pytest.fixture(params=KINDS)
def kind(request):
    before = chainrule.get_float32_matmul_precision(), cudnn.allow_tf32
    chainrule.set_float32_matmul_precision("high" if request.param == "tf32" else "highest")
    cudnn.allow_tf32 = request.param == "tf32"
    yield request.param
    chainrule.set_float32_matmul_precision(before[0])
    cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize("name", TABLE)
def test_agreement(name, kind, backend):
    record = TABLE[name]
    if kind == "float32" and record.float32_tolerance is None:
        pytest.skip("its records are for float64")
    order = min(record.order, 1)
    for number, (there, here) in enumerate(zip(calls_of(record, backend), calls_of(record))):
        floating = set(there.floating)
        arrays = [narrowed(a, kind) if i in floating else a for i, a in enumerate(here.arrays)]
        ours = levels(here, arrays, order)
        truth = levels(here, [wide(a) if i in floating else a for i, a in enumerate(arrays)], order)
        layouts = LAYOUTS if kind == "float32" else (contiguous, LAYOUTS[1 + number % (len(LAYOUTS) - 1)])
        for layout in layouts:
            what = f"{there}, {kind}, {layout.__name__}"
            found = levels(there, [layout(backends.by_name(backend), a) for a in arrays], order)
            if isinstance(ours, Exception) or isinstance(found, Exception):
                assert isinstance(found, Exception), f"{what}: NumPy has no such call: {ours!r}"
                assert isinstance(ours, Exception), f"{what}: {found!r}"
                continue
            room = max(TOLERANCE[kind], record.float32_tolerance or 0)
            for level in (0, 1):
                best = [None] * len(ours[level]) if isinstance(truth, Exception) else truth[level]
                for i, (a, b, t) in enumerate(zip(found[level], ours[level], best, strict=True)):
                    compare(a, b, t, room, f"{what}: {'gradient' if level else 'output'} {i}")
