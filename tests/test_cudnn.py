"""The kernels on cuDNN, without cuDNN: what they describe is computed on NumPy by a stand-in (cudnn_stand_in.py).

Forward and gradients must equal those of the NumPy backend; so arguments, strides, layouts, the order of gradients, and
what is kept in between are proved. That the real library takes these graphs, `make test-cudnn-static` proves.
"""

import itertools
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import cudnn_rnn_stand_in as rnn_stand_in
import cudnn_stand_in as stand_in
import numpy as np
import pytest
from ml_dtypes import bfloat16

import chainrule
from chainrule.autograd.ops.convolution import conv, conv_input, conv_weight
from chainrule.backends import cudnn as settings
from chainrule.backends import windows
from chainrule.backends.cudnn import attention, graphs, layouts, library, normalisation, plans, recurrent
from chainrule.backends.cudnn import convolution as convolution
from chainrule.backends.numpy.attention import ATTENTION as HOST_ATTENTION
from chainrule.backends.numpy.normalisation import NORMALISATION as HOST_NORMALISATION

TOLERANCE = {"float64": 1e-9, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


@pytest.fixture(autouse=True)
def serving(monkeypatch, tmp_path):
    """A fresh runtime on the stand-in, an empty cache folder, and the settings as they were."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    found = plans.Runtime(stand_in.module(), stand_in.HostArrays())
    monkeypatch.setattr(plans, "_PROVIDERS", [(lambda: found, lambda: (None, None))])
    with settings.flags(enabled=True):
        yield found


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def dtype_of(name):
    return np.dtype(bfloat16 if name == "bfloat16" else name)


def random(rng, shape, dtype="float32", last=False):
    x = rng.standard_normal(shape).astype(dtype_of(dtype))
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if last else x


def close(got, expected, dtype="float32", times=1.0):
    assert got.shape == expected.shape
    tolerance = TOLERANCE[dtype] * times
    np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64), tolerance, tolerance)


# -- convolution ------------------------------------------------------------------------------------------------------

# (x, w, stride, padding, dilation, groups)
CONVOLUTIONS = {
    "3x3": ((2, 3, 6, 5), (4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "stride with a rest": ((2, 4, 8, 7), (6, 4, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    "asymmetric": ((2, 3, 6, 7), (4, 3, 2, 4), (1, 1), ((0, 1), (1, 2)), (1, 1), 1),
    "dilated": ((2, 3, 9, 9), (4, 3, 3, 3), (1, 2), ((2, 2), (0, 0)), (2, 3), 1),
    "groups": ((2, 6, 5, 5), (4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
    "depthwise": ((2, 4, 5, 5), (8, 1, 3, 3), (2, 1), ((1, 1), (1, 1)), (1, 1), 4),
    "1x1": ((2, 5, 4, 4), (3, 5, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "7x7 stem": ((1, 3, 14, 14), (4, 3, 7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1), 1),
    "one dimension": ((2, 3, 9), (4, 3, 3), (2,), ((1, 1),), (1,), 1),
    "three dimensions": ((2, 2, 4, 5, 4), (3, 2, 2, 3, 1), (1, 2, 1), ((1, 0), (1, 1), (0, 0)), (1, 1, 1), 1),
    "one channel": ((2, 1, 5, 6), (3, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "cropped": ((2, 3, 9, 8), (4, 3, 3, 3), (1, 1), ((-1, -1), (1, -2)), (1, 1), 1),
}


#: stride, padding, dilation and groups of nothing special
PLAIN = (1, 1), ((0, 0), (0, 0)), (1, 1), 1


def reference(x, w, b, stride, padding, dilation, groups, g):
    """Result and gradients of input and weight, by the ops' own forwards in float64."""
    x, w, g = (None if a is None else a.astype(np.float64) for a in (x, w, g))
    b = None if b is None else b.astype(np.float64)
    y = conv.forward(np, x, w, b, stride, padding, dilation, groups)
    if g is None:
        return y
    dx = conv_input.forward(np, g, w, x.shape[2:], stride, padding, dilation, groups)
    return y, dx, conv_weight.forward(np, x, g, w.shape[2:], stride, padding, dilation, groups)


@pytest.mark.parametrize("last", [False, True], ids=["in order", "channels last"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution(case, last, rng):
    shape, kernel, *geometry = CONVOLUTIONS[case]
    x, w, b = random(rng, shape, last=last), random(rng, kernel), random(rng, kernel[:1])
    y = convolution.conv(x, w, b, *geometry)
    g = random(rng, y.shape, last=last)
    expected, dx, dw = reference(x, w, b, *geometry, g)
    close(y, expected, times=5)
    close(convolution.conv(x, w, None, *geometry), reference(x, w, None, *geometry, None), times=5)
    found = convolution.conv_weight(x, g, kernel[2:], *geometry)
    close(found, dw, times=5)
    if case == "one channel":  # which NumPy finds in either order already
        last = layouts.channels_last(found)
    assert layouts.channels_last(found) == last
    assert case == "one channel" or layouts.channels_last(y) == last
    found = convolution.conv_input(g, w, shape[2:], *geometry)
    if case == "cropped":  # the transpose pads what was cropped: gathered windows do that
        assert found is NotImplemented
        found = windows.conv_input(np, g, w, shape[2:], *geometry)
    else:
        assert layouts.channels_last(found) == last
    close(found, dx, times=5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_convolution_dtypes(dtype, rng):
    shape, kernel, *geometry = CONVOLUTIONS["stride with a rest"]
    x, w, b = random(rng, shape, dtype), random(rng, kernel, dtype), random(rng, kernel[:1], dtype)
    y = convolution.conv(x, w, b, *geometry)
    g = random(rng, y.shape, dtype)
    expected, dx, dw = reference(x, w, b, *geometry, g)
    results = y, convolution.conv_input(g, w, shape[2:], *geometry), convolution.conv_weight(x, g, (3, 3), *geometry)
    for got, wanted in zip(results, (expected, dx, dw)):
        assert got.dtype == x.dtype
        close(got, wanted, dtype, 5)


def test_transposed_convolution(rng):
    # output padding makes the padding behind negative
    for extra, before in itertools.product((0, 1), (0, 1)):
        x, w = random(rng, (2, 4, 5, 5)), random(rng, (4, 3, 3, 3))
        size = tuple((n - 1) * 2 - 2 * before + 3 + extra for n in x.shape[2:])
        geometry = (2, 2), ((before, before - extra),) * 2, (1, 1), 1
        expected = conv_input.forward(np, x.astype(float), w.astype(float), size, *geometry)
        close(convolution.conv_input(x, w, size, *geometry), expected, times=5)


def test_strided_operands_are_copied(rng):
    x, w = random(rng, (2, 3, 12, 7))[:, :, ::2], random(rng, (4, 3, 3, 3))[..., ::-1]
    geometry = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    y = convolution.conv(x, w, None, *geometry)
    close(y, reference(x, w, None, *geometry, None), times=5)
    g = np.broadcast_to(np.float32(2), y.shape)
    _, dx, dw = reference(x, w, None, *geometry, g)
    close(convolution.conv_input(g, w, x.shape[2:], *geometry), dx, times=5)
    close(convolution.conv_weight(x, g, (3, 3), *geometry), dw, times=5)


def test_unaligned_operands_are_copied(rng, serving):
    x, w = random(rng, (3, 1, 3, 3))[1:], random(rng, (2, 1, 1, 1))
    assert serving.pointer(x) % 16
    assert layouts.dense(serving, x) is not x
    close(convolution.conv(x, w, None, *PLAIN), reference(x, w, None, *PLAIN, None))


def test_bias_apart_where_it_is_not_fused(rng, serving):
    shape, kernel, *geometry = CONVOLUTIONS["3x3"]
    x, w, b = random(rng, shape), random(rng, kernel), random(rng, kernel[:1])
    serving.cudnn.pygraph.refuses = {"bias", "conv_fprop", "conv_dgrad", "conv_wgrad"}
    assert convolution.conv(x, w, b, *geometry) is NotImplemented
    assert convolution.conv_input(x[:, [0, 1, 2, 0]], w, (6, 5), *geometry) is NotImplemented
    assert convolution.conv_weight(x, x, (3, 3), *geometry) is NotImplemented
    serving.cudnn.pygraph.refuses = {"bias"}
    assert convolution.conv(x, w, b, *geometry) is NotImplemented  # which is remembered
    serving.plans.clear()
    close(convolution.conv(x, w, b, *geometry), reference(x, w, b, *geometry, None), times=5)


def test_not_served(rng):
    x, w = random(rng, (2, 3, 5, 5)), random(rng, (4, 3, 3, 3))
    assert convolution.conv(x[:0], w, None, *PLAIN) is NotImplemented
    assert convolution.conv(x, w.astype(np.float16), None, *PLAIN) is NotImplemented
    assert convolution.conv(x.astype(np.int64), w.astype(np.int64), None, *PLAIN) is NotImplemented
    with settings.flags(enabled=False):
        assert convolution.conv(x, w, None, *PLAIN) is NotImplemented


def test_room():
    # even size, stride 2: both paddings read the same windows, and the symmetric one is taken
    assert convolution.room((56,), (3,), (28,), (2,), ((1, 1),), (1,)) == ((1, 1),)
    assert convolution.room((6,), (2,), (6,), (1,), ((0, 1),), (1,)) == ((0, 1),)
    assert convolution.room((6,), (3,), (6,), (1,), ((-1, 1),), (1,)) is None


# -- windows: where there is no cuDNN ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scratch", [1, 3000, 1 << 28])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_windows(case, scratch, rng, monkeypatch):
    monkeypatch.setattr(windows, "SCRATCH", scratch)
    shape, kernel, *geometry = CONVOLUTIONS[case]
    x, w, b = random(rng, shape, last=scratch > 1), random(rng, kernel), random(rng, kernel[:1])
    y = windows.conv(np, x, w, b, *geometry)
    g = random(rng, y.shape)
    expected, dx, dw = reference(x, w, b, *geometry, g)
    close(y, expected, times=5)
    close(windows.conv_weight(np, x, g, kernel[2:], *geometry), dw, times=5)
    close(windows.conv_input(np, g, w, shape[2:], *geometry), dx, times=5)


# -- batch norm -------------------------------------------------------------------------------------------------------


class Given(tuple):
    """Gradients of several outputs, of which those in `given` arrived."""

    given = {0}


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 2, 3, 2)], ids=str)
@pytest.mark.parametrize("form", ["plain", "relu", "shortcut", "no weight"])
def test_batch_norm(form, shape, rng):
    last = len(shape) > 2
    x, g = random(rng, shape, last=last), random(rng, shape, last=last)
    x = x * np.float32(0.1) + np.float32(2)
    weight, bias = (None, None) if form == "no weight" else (random(rng, (3,)), random(rng, (3,)))
    name = "batch_norm_relu" if form in ("relu", "shortcut") else "batch_normalised"
    other = (random(rng, shape),) if form == "shortcut" else (None,) if form == "relu" else ()
    needs = (True, weight is not None, weight is not None, form == "shortcut")[: 3 + len(other)]
    kernels = normalisation.BATCH_NORM
    out = kernels[name](x, weight, bias, *other, 1e-3)
    expected = HOST_NORMALISATION[name](
        *(None if v is None else v.astype(float) for v in (x, weight, bias, *other)), 1e-3
    )
    for got, wanted in zip(out, expected, strict=True):
        close(got, wanted, times=5)
    kept = out if other else out[1:]
    found = kernels[f"{name}.grad"](Given((g, None, None)), x, weight, 1e-3, *kept, needs)
    zero = np.zeros(expected[1].shape)
    wide = [None if v is None else v.astype(float) for v in (x, weight)]
    kept = expected if other else expected[1:]
    wanted = HOST_NORMALISATION[f"{name}.grad"]((g.astype(float), zero, zero), *wide, 1e-3, *kept, needs)
    assert len(found) == len(wanted) == len(needs)
    for got, one, need in zip(found, wanted, needs, strict=True):
        assert (got is None) == (not need)
        if need:
            close(got, one, times=20)
    assert layouts.channels_last(found[0]) == last


def test_batch_norm_in_16_bits(rng):
    x, g = random(rng, (4, 8, 3, 3), "float16", last=True), random(rng, (4, 8, 3, 3), "float16")
    weight, bias = random(rng, (8,)), random(rng, (8,))
    out, mean, var = normalisation.batch_normalised(x, weight, bias)
    assert (out.dtype, mean.dtype, var.dtype) == ("float16", "float32", "float32")
    wide = x.astype(float)
    expected = HOST_NORMALISATION["batch_normalised"](wide, weight.astype(float), bias.astype(float))
    close(out, expected[0], "float16", 3)
    close(var, expected[2])
    found = normalisation.batch_normalised_grad(Given((g, None, None)), x, weight, 1e-5, mean, var, (True,) * 3)
    assert [a.dtype.name for a in found] == ["float16", "float32", "float32"]


def test_batch_norm_leaves_gradients_of_its_statistics_to_the_rule(rng):
    x = random(rng, (4, 3, 2, 2), last=True)
    assert normalisation.batch_normalised(x.copy()) is NotImplemented  # in order
    _, mean, var = normalisation.batch_normalised(x)
    g = Given((x, mean, var))
    g.given = {0, 1}
    assert normalisation.batch_normalised_grad(g, x, None, 1e-5, mean, var, (True, False, False)) is NotImplemented
    assert normalisation.batch_normalised(x[:1, :, :1, :1]) is NotImplemented  # no variance
    assert normalisation.batch_norm_relu(x, None, None, x[:1]) is NotImplemented


def test_batch_norm_of_our_own(rng, monkeypatch):
    monkeypatch.setattr(settings, "batch_norm", False)
    assert normalisation.batch_normalised(random(rng, (4, 3, 2, 2), last=True)) is NotImplemented


def test_small_variance(rng):
    x = random(rng, (64, 2, 2, 2), last=True) * np.float32(1e-5)
    _, _, var = normalisation.batch_normalised(x, None, None, 1e-5)
    np.testing.assert_allclose(var.ravel(), x.astype(float).var((0, 2, 3)), 1e-4)


# -- layer and RMS norm -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("parameters", ["both", "weight", "none"])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_rows(name, parameters, dtype, rng, monkeypatch):
    assert normalisation.LAYER_NORM[name](np.zeros((2, 8), np.float32), (8,)) is NotImplemented
    monkeypatch.setattr(settings, "layer_norm", True)
    x, g = random(rng, (2, 5, 4, 6), dtype)[:, ::2], random(rng, (2, 3, 4, 6), dtype)
    weight = None if parameters == "none" else random(rng, (4, 6))
    given = [weight] if name == "rms_norm" else [weight, random(rng, (4, 6)) if parameters == "both" else None]
    needs = (True, *[v is not None for v in given])
    out, residual = normalisation.LAYER_NORM[name](x, (4, 6), *given, 1e-3)
    found = normalisation.LAYER_NORM[f"{name}.grad"](g, residual, needs)
    leaves = [chainrule.tensor(x.astype(float)).requires_grad_()]
    leaves += [None if v is None else chainrule.tensor(v.astype(float)).requires_grad_() for v in given]
    expected = getattr(chainrule.nn.functional, name)(leaves[0], (4, 6), *leaves[1:], 1e-3)
    expected.backward(chainrule.tensor(g.astype(float)))
    close(out, expected.detach().numpy(), dtype, 3)
    assert out.dtype == x.dtype
    for got, leaf in zip(found, leaves, strict=True):
        assert (got is None) == (leaf is None)
        if leaf is not None:
            close(got, leaf.grad.numpy(), dtype, 10)
    assert normalisation.LAYER_NORM[name](x, (5, 6)) is NotImplemented


def test_default_eps_of_rms_norm(rng, monkeypatch):
    monkeypatch.setattr(settings, "layer_norm", True)
    x = (random(rng, (3, 8)) * np.float32(1e-4)).astype(np.float16)
    expected = chainrule.nn.functional.rms_norm(chainrule.tensor(x), (8,)).numpy()
    close(normalisation.rms_norm(x, (8,))[0], expected, "float16", 2)


# -- attention --------------------------------------------------------------------------------------------------------

FORMS = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.3},
    "bool mask": {"mask": ((5, 7), bool)},
    "mask per example": {"mask": ((2, 1, 1, 7), bool)},
    "added": {"mask": ((3, 5, 7), float)},
    "added, of one key row": {"mask": ((1, 7), float)},
    "dropout": {"drop": 0.4, "is_causal": True},
    "groups": {"enable_gqa": True, "heads": 1},
}


@pytest.mark.parametrize("packed", [False, True], ids=["apart", "packed"])
@pytest.mark.parametrize("form", FORMS)
def test_attention(form, packed, rng):
    options = dict(FORMS[form])
    heads = options.pop("heads", 3)
    (shape, kind), drop = options.pop("mask", (None, None)), options.pop("drop", 0)
    q = random(rng, (2, 5, 3, 8), "float16").transpose(0, 2, 1, 3)
    if packed:
        both = random(rng, (2, 7, 2, heads, 8), "float16")
        k, v = (both[:, :, i].transpose(0, 2, 1, 3) for i in range(2))
    else:
        k, v = random(rng, (2, heads, 7, 8), "float16"), random(rng, (2, heads, 7, 16), "float16")
    mask = None
    if kind is bool:
        mask = rng.random(shape) < 0.6
        mask[..., 0, :] = False  # a query that may attend to nothing
        if shape == (2, 1, 1, 7):
            mask[1, ..., 2] = True
    elif kind is float:
        mask = random(rng, shape, "float16")
        mask[..., 3] = -np.inf
    kept = rng.random((2, 3, 5, 7)) >= drop if drop else None
    arguments = {"keep_scale": 1 / (1 - drop), **options}
    out, residual = attention.attention(q, k, v, mask, kept, **arguments)
    g = random(rng, out.shape, "float16")
    needs = (True, True, True, kind is float, False)
    found = attention.attention_grad(g, residual, needs)

    leaves = [None if x is None else chainrule.tensor(x.astype(float)).requires_grad_() for x in (q, k, v)]
    given = None if mask is None else chainrule.tensor(mask if kind is bool else mask.astype(float))
    if kind is float:
        given.requires_grad_()
        leaves.append(given)
    op = chainrule.autograd.OPS["scaled_dot_product_attention"]
    kept = None if kept is None else chainrule.tensor(kept)
    expected = op.compose([*leaves[:3], given, kept], arguments)
    expected.backward(chainrule.tensor(g.astype(float)))
    close(out, expected.detach().numpy(), "float16", 3)
    for got, leaf in zip(found, leaves):
        assert got.dtype == np.float16
        close(got, leaf.grad.numpy(), "float16", 10)
    assert found[4] is None
    assert out.transpose(0, 2, 1, 3).flags.c_contiguous  # joining heads needs no copy


@pytest.mark.parametrize("seed", [5, 2**64 - 7, "on the device"])
def test_attention_with_dropout_by_seed(seed, rng):
    q, k, v = (random(rng, (2, 3, n, 8), "float16") for n in (5, 7, 7))
    mask = random(rng, (5, 7), "float16")
    own = []
    given = np.array([2**52 + 3]) if seed == "on the device" else seed
    signed = given if isinstance(given, np.ndarray) else np.array([given]).astype(np.uint64).astype(np.int64)
    out, residual = attention.attention_by_seed(q, k, v, mask, given, 0.25, scale=0.5, own=own)
    g, needs = random(rng, out.shape, "float16"), (True,) * 4
    found = attention.attention_by_seed_grad(g, residual, needs)
    assert own == [True]
    kept = chainrule.tensor(stand_in.by_seed((2, 3, 5, 7), 0.25, signed.item()))
    leaves = [chainrule.tensor(x.astype(float)).requires_grad_() for x in (q, k, v, mask)]
    op = chainrule.autograd.OPS["scaled_dot_product_attention"]
    expected = op.compose([*leaves, kept], {"keep_scale": 1 / 0.75, "scale": 0.5})
    expected.backward(chainrule.tensor(g.astype(float)))
    close(out, expected.detach().numpy(), "float16", 3)
    for got, leaf in zip(found, leaves, strict=True):
        close(got, leaf.grad.numpy(), "float16", 10)
    op = chainrule.autograd.OPS["attention_by_seed"]
    with pytest.raises(RuntimeError, match="first derivatives alone"):
        op.compose(leaves[:3], {"seed": 5, "p": 0.25, "own": own})
    assert attention.attention_by_seed(q, k, v, None, 5, 0.25) is NotImplemented


def test_attention_by_the_math_form(rng):
    from chainrule.nn.attention import SDPBackend, sdpa_kernel

    q = random(rng, (2, 3, 5, 8), "float16")
    with sdpa_kernel(SDPBackend.MATH):
        assert attention.attention(q, q, q) is NotImplemented
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
        assert attention.attention(q, q, q) is not NotImplemented


def test_attention_of_fewer_dimensions(rng):
    for lead in ((), (3,)):
        q, k, v = (random(rng, (*lead, n, 8), "float16") for n in (5, 7, 7))
        mask = rng.random((*lead, 5, 7)) < 0.7
        out, residual = attention.attention(q, k, v, mask)
        wide = [x.astype(float) for x in (q, k, v)]
        expected, kept = HOST_ATTENTION["scaled_dot_product_attention"](*wide, mask)
        close(out, expected, "float16", 3)
        found = attention.attention_grad(out, residual, (True,) * 3 + (False, False))
        wanted = HOST_ATTENTION["scaled_dot_product_attention.grad"](expected, kept, (True,) * 3 + (False, False))
        for got, one in zip(found[:3], wanted[:3]):
            close(got, one, "float16", 10)


def test_attention_not_served(rng):
    q, k = random(rng, (2, 3, 5, 8), "float16"), random(rng, (2, 3, 7, 8), "float16")
    assert attention.attention(q.astype(np.float32), *(k.astype(np.float32),) * 2) is NotImplemented
    assert attention.attention(q[..., :6], k[..., :6], k) is NotImplemented
    assert attention.attention(q, k[:1], k[:1]) is NotImplemented
    assert attention.attention(q, k, k, kept=np.zeros((2, 3, 5, 7), bool), keep_scale=0.0) is NotImplemented
    assert attention.attention(q, k, k, np.zeros((5, 7), np.float32)) is NotImplemented


# -- plans ------------------------------------------------------------------------------------------------------------


def built(serving):
    return serving.cudnn.pygraph.built


def test_plans_are_kept(rng, serving, tmp_path):
    x, w = random(rng, (2, 3, 5, 5)), random(rng, (4, 3, 3, 3))
    first = convolution.conv(x, w, None, *PLAIN)
    assert built(serving) == 1
    convolution.conv(x + 1, w, None, *PLAIN)
    assert built(serving) == 1
    files = list((tmp_path / "cudnn").glob("*"))
    assert [f.suffix for f in files] == [".plan"]
    serving.plans.clear()
    np.testing.assert_array_equal(convolution.conv(x, w, None, *PLAIN), first)
    assert built(serving) == 1  # from disk

    content = files[0].read_bytes()
    for broken in (content[:-1], b"", content[:40] + b"!" + content[41:]):
        files[0].write_bytes(broken)
        serving.plans.clear()
        before = built(serving)
        np.testing.assert_array_equal(convolution.conv(x, w, None, *PLAIN), first)
        assert built(serving) == before + 1
        assert files[0].read_bytes() == content  # and mended

    # whole, but not a plan
    text = serving._text(pickle.loads(pickle.dumps(_description(serving, x, w))))
    plans._write(text, 0, b"nothing that can be loaded")
    serving.plans.clear()
    np.testing.assert_array_equal(convolution.conv(x, w, None, *PLAIN), first)


def _description(serving, x, w):
    found = []
    find, serving._find = serving._find, lambda description, operands: found.append(description)
    serving.plans.clear()
    convolution.conv(x, w, None, *PLAIN)
    serving._find = find
    serving.plans.clear()
    return found[0]


def test_keys_tell_everything_apart(rng, serving, monkeypatch):
    x, w = random(rng, (2, 4, 5, 5)), random(rng, (4, 4, 3, 3))
    description = _description(serving, x, w)
    texts = {serving._text(description)}

    def new(text):
        assert text not in texts
        texts.add(text)

    for name, value in (("allow_tf32", False), ("deterministic", True), ("benchmark", True)):
        with settings.flags(**{"enabled": True, name: value}):
            new(serving._text(description))
    for change in (
        {"stride": (1, 2)},
        {"padding": ((0, 0), (1, 0))},
        {"dilation": (2, 1)},
        {"kind": "other"},
    ):
        options = tuple((k, change.get(k, v)) for k, v in description.options)
        new(serving._text(description._replace(options=options, kind=change.get("kind", "conv"))))
    new(serving._text(_description(serving, random(rng, x.shape, last=True), w)))
    new(serving._text(_description(serving, x.astype(np.float16), w.astype(np.float16))))
    new(serving._text(_description(serving, x, w[:2])))
    monkeypatch.setattr(serving.arrays, "device", lambda: "another 9.0 x132#0")
    new(serving._text(description))
    monkeypatch.setattr(serving.cudnn, "backend_version", lambda: 92000)
    new(serving._text(description))
    one = serving._text(description)
    monkeypatch.setattr(serving.arrays, "device", lambda: "another 9.0 x132#1")
    assert serving._text(description) == one  # devices of one kind share plans


def test_settings_reach_the_graph(rng, serving):
    x, w = random(rng, (2, 3, 5, 5)), random(rng, (4, 3, 3, 3))
    description, notes = _description(serving, x, w), serving.cudnn.numerical_note

    def filters(**given):
        with settings.flags(enabled=True, **given):
            return plans.planned(serving.cudnn, description, handle=serving.handle()).filters

    assert filters() == [notes.DOWN_CONVERT_INPUTS, plans.LIMIT]
    assert notes.TENSOR_CORE in filters(allow_tf32=False)
    assert notes.NONDETERMINISTIC in filters(deterministic=True)
    half = _description(serving, x.astype(np.float16), w.astype(np.float16))
    with settings.flags(enabled=True, allow_tf32=False):
        assert notes.TENSOR_CORE not in plans.planned(serving.cudnn, half, handle=serving.handle()).filters


def test_benchmark_takes_the_quickest(rng, serving, tmp_path):
    x, w = random(rng, (2, 3, 5, 5)), random(rng, (4, 3, 3, 3))
    expected = convolution.conv(x, w, None, *PLAIN)
    with settings.flags(enabled=True, benchmark=True):
        np.testing.assert_array_equal(convolution.conv(x, w, None, *PLAIN), expected)
        (plan,) = [p for key, p in serving.plans.items() if key[3]]
        assert plan.graph.stage[-1] == ("built", 2)  # plan 0 does not run, and later ones are quicker
    with settings.flags(enabled=True, benchmark=True, benchmark_limit=1):
        np.testing.assert_array_equal(convolution.conv(x[:1], w, None, *PLAIN), expected[:1])
        assert list(serving.plans.values())[-1].graph.stage[-1] == ("built", 1)
    with settings.flags(enabled=True, benchmark=True):
        # in a capture nothing can be timed, and the plan that is taken instead is not kept for the tuned one
        files = len(list((tmp_path / "cudnn").iterdir()))
        serving.arrays.captured = True
        convolution.conv(x[:, :, :4], w, None, *PLAIN)
        assert len(list((tmp_path / "cudnn").iterdir())) == files


def test_workspace(serving):
    small, large = serving.workspace(10), serving.workspace(1000)
    assert small.nbytes == 10
    assert serving.workspace(500) is large
    assert serving.workspace(0) is None
    serving.arrays.captured = True
    assert serving.workspace(500) is not large  # a captured graph keeps its own


def test_constants(serving):
    assert serving.constant(1.0, (3,)) is serving.constant(1.0, (3,))
    serving.arrays.captured = True
    assert serving.constant(2.0, (3,)) is not serving.constant(2.0, (3,))


def test_steps():
    assert layouts.steps((2, 3, 4, 5)) == (60, 20, 5, 1)
    assert layouts.steps((2, 3, 4, 5), last=True) == (60, 1, 15, 3)
    assert graphs.number(3).host


@pytest.mark.parametrize(
    ("shape", "last"), [((2, 1, 3, 3), True), ((2, 5, 1, 1), True), ((2, 5, 3, 3), True), ((2, 1, 3, 3), False)]
)
def test_layout_of_sizes_of_one(shape, last):
    assert layouts.channels_last(stand_in.HostArrays().empty(shape, "float32", last)) == last
    assert not layouts.channels_last(np.zeros(shape, np.float32))


def test_library_says_why(monkeypatch):
    library._found.cache_clear()
    try:
        if library.library() is None:
            assert "chainrule[cudnn" in library.why_not()
            assert settings.version() is None
        assert not settings.is_available()
        assert not settings.is_acceptable(chainrule.zeros(3))
    finally:
        library._found.cache_clear()


# -- recurrent layers -------------------------------------------------------------------------------------------------


@pytest.fixture
def rnn(monkeypatch):
    """The library's own interface, for recurrent layers."""
    dll, arrays = rnn_stand_in.Library(), stand_in.HostArrays()
    monkeypatch.setattr(plans, "_PROVIDERS", [(lambda: None, lambda: (dll, arrays))])
    monkeypatch.setattr(recurrent, "_OWNERS", {})
    return dll


NETWORKS = {
    "LSTM": {"kind": "LSTM"},
    "LSTM of two layers": {"kind": "LSTM", "layers": 2},
    "both directions": {"kind": "LSTM", "layers": 2, "bidirectional": True},
    "packed": {"kind": "LSTM", "layers": 2, "bidirectional": True, "sizes": (3, 3, 2, 1)},
    "no biases": {"kind": "LSTM", "biases": False},
    "projection": {"kind": "LSTM", "layers": 2, "projection": 2},
    "GRU": {"kind": "GRU", "layers": 2, "sizes": (2, 1, 1)},
    "GRU, both directions": {"kind": "GRU", "bidirectional": True, "states": False},
    "tanh": {"kind": "RNN_TANH", "layers": 2},
    "relu, no states": {"kind": "RNN_RELU", "states": False},
}


def network(
    rng, kind, layers=1, bidirectional=False, biases=True, projection=None, sizes=(3,) * 4, states=True, dtype="float32"
):
    features, hidden = 5, 4
    spec = recurrent.Spec(kind, dtype, features, hidden, projection or hidden, layers, bidirectional, biases)
    lead = (layers * spec.directions, sizes[0])
    tensors = [random(rng, (sum(sizes), features), dtype)]
    widths = (spec.projection, hidden)[: 2 if kind == "LSTM" else 1]
    tensors += [random(rng, (*lead, width), dtype) if states else None for width in widths]
    for depth in range(layers):
        for _ in range(spec.directions):
            tensors += [random(rng, shape, dtype) * dtype_of(dtype).type(0.4) for _, shape, _, _ in spec.pieces(depth)]
    options = {"kind": kind, "batch_sizes": sizes, "has_biases": biases, "num_layers": layers}
    return tensors, {**options, "bidirectional": bidirectional}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("case", NETWORKS)
def test_recurrent(case, dtype, rng, rnn):
    tensors, options = network(rng, **NETWORKS[case], dtype=dtype)
    (output, *finals), residual = recurrent.recurrent(*tensors, **options)
    leaves = [None if x is None else chainrule.tensor(x.astype(float)).requires_grad_() for x in tensors]
    expected = chainrule.autograd.OPS["recurrent"].compose(leaves, options)
    for got, wanted in zip((output, *finals), expected, strict=True):
        assert got.dtype == tensors[0].dtype
        close(got, wanted.detach().numpy(), dtype, 3)
    g = [random(rng, x.shape, dtype) for x in (output, *finals)]
    needs = tuple(x is not None for x in tensors)
    wanted = chainrule.autograd.grad(
        expected, [leaf for leaf in leaves if leaf is not None], [chainrule.tensor(v.astype(float)) for v in g]
    )
    for _ in range(2):  # a graph may be walked twice
        found = recurrent.recurrent_grad(g, residual, needs)
        assert [d is not None for d in found] == list(needs)
        for got, one in zip([d for d in found if d is not None], wanted, strict=True):
            close(got, one.numpy(), dtype, 20)
    assert rnn.log == ["forward", *("data", "weights") * 2]
    found = recurrent.recurrent_grad(g, residual, (True, *(False,) * (len(tensors) - 1)))
    assert rnn.log[-1] == "data"
    assert [d is not None for d in found] == [True] + [False] * (len(tensors) - 1)


def test_descriptors_of_batches_are_given_back(rng, rnn):
    for rows in range(2, 71):
        tensors, options = network(rng, "GRU", sizes=(rows, 1))
        recurrent.recurrent(*tensors, **options)
    assert len(rnn.kept) == 1 + 1 + 64 * 4  # a handle, a network, and four for each batch


def test_recurrent_not_served(rng, rnn):
    tensors, options = network(rng, "GRU")
    rnn.refuses = {"GRU"}
    assert recurrent.recurrent(*tensors, **options) is NotImplemented
    tensors, options = network(rng, "LSTM")
    assert recurrent.recurrent(tensors[0].astype(np.float64), *tensors[1:], **options) is NotImplemented
    with settings.flags(enabled=False):
        assert recurrent.recurrent(*tensors, **options) is NotImplemented
    assert recurrent.recurrent(*tensors, **options) is not NotImplemented


def test_precision_of_recurrent_layers(rng, rnn):
    for allowed, math in ((True, recurrent.DEFAULT_MATH), (False, recurrent.FMA_MATH)):
        tensors, options = network(rng, "RNN_TANH")
        with settings.flags(enabled=True, allow_tf32=allowed):
            recurrent.recurrent(*tensors, **options)
        assert [d["math"] for d in rnn.kept.values() if "math" in d][-1] == math


# -- whole networks ---------------------------------------------------------------------------------------------------


def test_training(tmp_path):
    """Training on the CuPy backend, over the fake CuPy and both stand-ins, gives the losses of the CPU."""
    program = Path(__file__).with_name("cudnn_training.py")
    environment = os.environ | {"CHAINRULE_CACHE": str(tmp_path), "CHAINRULE_FAST": "0"}
    ran = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    for name, (cpu, gpu) in found["losses"].items():
        np.testing.assert_allclose(gpu, cpu, 1e-5, err_msg=name)
    nodes = {
        "conv_fprop",
        "conv_dgrad",
        "conv_wgrad",
        "bias",
        "batchnorm",
        "cmp_gt",
        "batchnorm_backward",
        "sdpa_backward",
    }
    assert nodes <= set(found["ran"])
    assert found["calls"] == ["forward", "data", "weights"]
