"""Convolution, pooling, padding and resizing through PyTorch's functions: forms of the arguments, sizes, errors.

The ops beneath them are in the op table; PyTorch is compared with where it is installed.
"""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.backends.numpy import convolution
from chainrule.nn import functional as F


def numbers(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def leaf(array):
    return cr.tensor(array, requires_grad=True)


# -- convolution ------------------------------------------------------------------------------------------------------


def test_convolution_keeps_its_input_and_weight_alone():
    x, w, b = leaf(numbers(2, 3, 8, 8)), leaf(numbers(4, 3, 3, 3)), leaf(numbers(4))
    out = F.conv2d(x, w, b, padding=1)
    kept = [v for v in out.grad_fn.saved if hasattr(v, "nbytes")]
    assert {id(v) for v in kept} == {id(x.array), id(w.array)}
    assert not any(hasattr(v, "nbytes") for v in F.conv2d(x.detach(), w.detach(), b).grad_fn.saved)


def test_the_scratch_of_a_convolution_is_bounded(monkeypatch):
    x, w = numbers(4, 8, 40, 40), numbers(8, 8, 3, 3)
    blocks = []
    monkeypatch.setattr(convolution, "SCRATCH", 1 << 16)
    gather = convolution._Windows._gather

    def watched(self, *where):
        blocks.append(gather(self, *where))
        return blocks[-1]

    monkeypatch.setattr(convolution._Windows, "_gather", watched)
    y = F.conv2d(leaf(x), leaf(w), padding=1)
    y.sum().backward()
    assert len(blocks) > 12
    assert max(b.nbytes for b in blocks) <= 1 << 16
    monkeypatch.undo()
    np.testing.assert_allclose(y.detach().numpy(), F.conv2d(cr.tensor(x), cr.tensor(w), padding=1).numpy(), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_convolution_keeps_the_dtype(dtype):
    x, w = leaf(numbers(1, 2, 5, dtype=dtype)), leaf(numbers(3, 2, 3, seed=1, dtype=dtype))
    out = F.conv1d(x, w, padding="same")
    out.sum().backward()
    assert out.dtype == x.grad.dtype == w.grad.dtype == x.dtype
    wide = F.conv1d(cr.tensor(numbers(1, 2, 5).astype(dtype).astype(float)), w.detach().double(), padding="same")
    np.testing.assert_allclose(out.detach().double().numpy(), wide.numpy(), rtol=4 * np.finfo(dtype).eps, atol=1e-3)


def test_padding_same_keeps_the_size():
    x = cr.tensor(numbers(1, 1, 6, 7))
    for kernel, dilation in [((2, 3), 1), ((4, 1), 2), ((3, 2), (2, 3))]:
        assert F.conv2d(x, cr.ones(1, 1, *kernel, dtype=cr.float64), padding="same", dilation=dilation).shape == x.shape
    assert F.conv2d(x, cr.ones(1, 1, 2, 3, dtype=cr.float64), padding="valid").shape == (1, 1, 5, 5)


def test_an_image_without_a_batch():
    x, w = numbers(2, 5, 5), cr.tensor(numbers(3, 2, 3, 3))
    assert F.conv2d(cr.tensor(x), w).shape == (3, 3, 3)
    assert F.conv_transpose2d(cr.tensor(numbers(3, 5, 5)), w).shape == (2, 7, 7)
    assert F.max_pool2d(cr.tensor(x), 2).shape == (2, 2, 2)
    assert F.adaptive_max_pool2d(cr.tensor(x), (None, 2), return_indices=True)[1].shape == (2, 5, 2)


def conv(x=(1, 2, 5, 5), w=(3, 2, 3, 3), **kwargs):
    return F.conv2d(cr.zeros(*x), cr.zeros(*w), **kwargs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv(x=(1, 3, 5, 5)), r"expected input\[1, 3, 5, 5\] to have 2 channels, but got 3 channels"),
        (lambda: conv(x=(1, 2, 2, 5)), r"\(2 x 5\). Kernel size: \(3 x 3\). Kernel size can't be greater"),
        (lambda: conv(x=(2, 5)), r"Expected 3D \(unbatched\) or 4D \(batched\) input"),
        (lambda: conv(w=(3, 2, 3)), "weight should be 4-dimensional"),
        (lambda: conv(groups=2), "divisible by 2|to have 4 channels"),
        (lambda: conv(stride=0), "non-positive stride"),
        (lambda: conv(padding=-1), "negative padding"),
        (lambda: conv(padding=(1, 1, 1)), "padding to be a single integer value or a list of 2"),
        (lambda: conv(padding="full"), "Invalid padding string"),
        (lambda: conv(padding="same", stride=2), "not supported for strided"),
        (lambda: conv(bias=cr.zeros(2)), "bias to be 1-dimensional with 3 elements"),
        (lambda: conv(bias=cr.zeros(3, dtype=cr.float64)), "should be the same"),
        (lambda: F.conv_transpose1d(cr.zeros(1, 2, 3), cr.zeros(2, 1, 2), output_padding=1), "must be smaller"),
        (lambda: F.conv_transpose1d(cr.zeros(1, 2, 1), cr.zeros(2, 1, 2), padding=1), "too small"),
        (lambda: F.max_pool2d(cr.zeros(1, 1, 4, 4), 2, padding=2), "at most half of effective kernel size"),
        (lambda: F.max_pool1d(cr.zeros(1, 1, 2), 3), "Output size is too small"),
        (lambda: F.max_pool2d(cr.zeros(4, 4), 2), "Expected 3D or 4D input"),
        (lambda: F.avg_pool2d(cr.zeros(1, 4, 4), 2, divisor_override=0), "divisor must be not zero"),
        (lambda: F.max_unpool1d(cr.zeros(1, 1, 2), cr.tensor([[[0, 4]]]), 2), "invalid max index"),
        (lambda: F.max_unpool1d(cr.zeros(1, 1, 2), cr.tensor([[[0, 1]]]), 2, output_size=(9,)), "invalid output_size"),
        (lambda: F.fold(cr.zeros(1, 4, 5), (3, 3), 2), "expected input of size"),
        (lambda: F.unfold(cr.zeros(1, 1, 2, 2), 3), "too small"),
        (lambda: F.pad(cr.zeros(3), (1,)), "divisible by 2"),
        (lambda: F.pad(cr.zeros(3), (1, 1, 1, 1)), "at most two times"),
        (lambda: F.pad(cr.zeros(3), (-2, -2)), "negative output size"),
        (lambda: F.pad(cr.zeros(1, 3), (3, 0), "reflect"), "at most 2"),
        (lambda: F.pad(cr.zeros(1, 3), (4, 0), "circular"), "at most 3"),
        (lambda: F.interpolate(cr.zeros(1, 1, 2, 2)), "exactly one of size and scale_factor"),
        (lambda: F.interpolate(cr.zeros(1, 1, 2, 2), size=3, align_corners=True), "align_corners option"),
        (
            lambda: F.grid_sample(cr.zeros(1, 1, 2, 2), cr.zeros(1, 2, 2, 3), align_corners=False),
            "last dimension of size 2",
        ),
        (lambda: F.pixel_shuffle(cr.zeros(1, 3, 2, 2), 2), "divisible by the square"),
        (lambda: F.affine_grid(cr.zeros(1, 2, 2), (1, 1, 2, 2), False), "1x2x3"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises((RuntimeError, ValueError), match=message):
        call()


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match="must be Tensor"):
        F.conv2d(np.zeros((1, 1, 3, 3)), cr.zeros(1, 1, 2, 2))
    with pytest.raises(NotImplementedError):
        F.avg_pool1d(cr.ones(1, 4, dtype=cr.int64), 2)
    with pytest.raises(NotImplementedError):
        F.interpolate(cr.zeros(1, 1, 2, 2), size=3, mode="linear")


# -- pooling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", [True, False])
def test_the_greatest_of_a_window(kernels, monkeypatch):
    """Of equals the first, a NaN before all, and never what is not in the input."""
    if not kernels:
        monkeypatch.delitem(backends.by_name("numpy").kernels, "max_pool")
        cr.autograd.OPS["max_pool"].kernels.clear()
    nan, inf = float("nan"), float("inf")
    x = cr.tensor([[[[1.0, 1.0, -inf, -inf], [1.0, 0.0, -inf, -inf], [nan, 2.0, 3.0, nan], [0.0, 0.0, 0.0, 0.0]]]])
    values, index = F.max_pool2d(x, 2, return_indices=True)
    np.testing.assert_array_equal(values.numpy()[0, 0], [[1, -inf], [nan, nan]])
    np.testing.assert_array_equal(index.numpy()[0, 0], [[0, 2], [8, 11]])
    low = cr.full((1, 1, 3, 3), -inf)
    assert F.max_pool2d(low, 3, 2, 1, return_indices=True)[1].flatten().tolist() == [0, 1, 3, 4]
    cr.autograd.OPS["max_pool"].kernels.clear()


def test_a_max_pool_keeps_a_byte_for_each_window():
    x = leaf(numbers(2, 3, 8, 8, dtype=np.float32))
    out = F.max_pool2d(x, 2)
    (values, index) = out.grad_fn.parents[0].saved[0]
    assert index.dtype == np.uint8
    assert index.shape == values.shape == (2, 3, 4, 4)


def test_an_infinite_gradient_stays_where_it_belongs():
    x = leaf(np.arange(4.0).reshape(1, 1, 2, 2))
    (F.max_pool2d(x, 2) * cr.tensor(float("inf"), dtype=cr.float64)).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[[[0, 0], [0, float("inf")]]]])


def test_the_gradient_of_a_norm_of_zeros_is_zero():
    x = leaf(np.zeros((1, 1, 4)))
    F.lp_pool1d(x, 2, 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.zeros((1, 1, 4)))


def test_unpooling_inverts_pooling():
    x = cr.tensor(numbers(2, 3, 6, 8))
    values, index = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(values, index, 2)
    assert back.shape == x.shape
    np.testing.assert_array_equal(F.max_pool2d(back.abs(), 2).numpy(), values.abs().numpy())
    assert F.max_unpool2d(values, index, 2, output_size=(2, 3, 7, 9)).shape == (2, 3, 7, 9)


# -- PyTorch ----------------------------------------------------------------------------------------------------------


def agree(name, arrays, *args, **kwargs):
    """The function of that name in both libraries: values and first gradients."""
    torch = pytest.importorskip("torch")
    a, b = [leaf(x) for x in arrays], [torch.tensor(x, requires_grad=True) for x in arrays]
    ours, theirs = getattr(F, name)(*a, *args, **kwargs), getattr(torch.nn.functional, name)(*b, *args, **kwargs)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-11)
    seed = numbers(*ours.shape, seed=9)
    ours.backward(cr.tensor(seed))
    theirs.backward(torch.tensor(seed))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_convolutions_equal_pytorch(n):
    x, w = numbers(2, 4, *(6, 5, 4)[:n]), numbers(6, 2, *(3, 2, 3)[:n], seed=1)
    agree(f"conv{n}d", [x, w, numbers(6)], stride=2, padding=1, groups=2)
    agree(f"conv{n}d", [x, w], padding="same", dilation=1, groups=2)
    turned = numbers(4, 3, *(3, 2, 3)[:n], seed=1)
    agree(f"conv_transpose{n}d", [x, turned, numbers(6)], stride=2, padding=1, output_padding=1, groups=2)
    agree(f"conv_transpose{n}d", [x, turned], dilation=3, output_padding=2)


WINDOWS = [
    ((2,), {}),
    ((3,), {"stride": 2, "padding": 1}),
    ((2,), {"stride": 3}),
    ((3,), {"stride": 2, "ceil_mode": True}),
    ((2,), {"stride": 3, "padding": 1, "ceil_mode": True}),
    ((3,), {"stride": 4, "padding": 1, "ceil_mode": True}),
]


@pytest.mark.torch
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(("args", "kwargs"), WINDOWS)
def test_pools_equal_pytorch(n, args, kwargs):
    torch = pytest.importorskip("torch")
    x = numbers(2, 3, *(7, 8, 6)[:n])
    agree(f"max_pool{n}d", [x], *args, **kwargs)
    agree(f"avg_pool{n}d", [x], *args, **kwargs)
    agree(f"avg_pool{n}d", [x], *args, count_include_pad=False, **kwargs)
    if n > 1:
        agree(f"avg_pool{n}d", [x], *args, divisor_override=3, **kwargs)
    for y in (x, np.round(x), np.where(x > 1, np.nan, x)):
        found = getattr(F, f"max_pool{n}d")(cr.tensor(y), *args, return_indices=True, **kwargs)
        expected = getattr(torch.nn.functional, f"max_pool{n}d")(torch.tensor(y), *args, return_indices=True, **kwargs)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.torch
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_adaptive_and_norm_pools_equal_pytorch(n, size):
    x = numbers(2, 3, *(7, 5, 4)[:n])
    agree(f"adaptive_avg_pool{n}d", [x], size)
    agree(f"adaptive_max_pool{n}d", [x], size)
    agree(f"lp_pool{n}d", [np.abs(x)], 3.0, 2)


@pytest.mark.torch
@pytest.mark.parametrize("target", [{"size": (7, 3)}, {"size": 5}, {"scale_factor": 2}, {"scale_factor": (1.7, 0.6)}])
def test_resizing_equals_pytorch(target):
    x = numbers(2, 2, 5, 6)
    for mode in ("nearest", "nearest-exact", "area"):
        agree("interpolate", [x], mode=mode, **target)
    for mode in ("bilinear", "bicubic"):
        for align in (True, False):
            agree("interpolate", [x], mode=mode, align_corners=align, **target)
            agree("interpolate", [x], mode=mode, align_corners=align, antialias=True, **target)
    agree("interpolate", [numbers(2, 3, 7)], size=12, mode="linear")
    agree("interpolate", [numbers(1, 2, 3, 4, 5)], size=(5, 3, 7), mode="trilinear", align_corners=True)


@pytest.mark.torch
def test_grids_are_pytorchs_to_the_last_bit(torch):
    """At the identity each point is a kink of grid_sample, and its last bit chooses the slope."""
    kinds = ("float32", "float64") if np.finfo(np.longdouble).nmant > 60 else ("float32",)
    for m, kind, align in itertools.product((*range(2, 40), 127, 224), kinds, (False, True)):
        maps = np.array([[[1, 0, 0], [0, 1, 0]]], kind)
        ours = F.affine_grid(cr.tensor(maps), (1, 1, m, 3), align_corners=align)
        theirs = torch.nn.functional.affine_grid(torch.tensor(maps), (1, 1, m, 3), align_corners=align)
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
