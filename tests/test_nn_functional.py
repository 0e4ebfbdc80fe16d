"""What the op table cannot say of nn.functional: randomness, running statistics, warnings, errors, arguments."""

import ast
import inspect
import re
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.random import Generator
from chainrule.nn import functional as F


def leaf(array):
    return cr.tensor(np.asarray(array, dtype=np.float64), requires_grad=True)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# -- softmax ----------------------------------------------------------------------------------------------------------


def test_softmax_of_nothing_is_nan_and_of_something_exact():
    x = leaf([[-np.inf, -np.inf], [-np.inf, 2.0]])
    p = F.softmax(x, 1)
    assert np.isnan(p.array[0]).all()
    assert p.array[1].tolist() == [0.0, 1.0]
    (g,) = cr.autograd.grad(F.softmax(x, 1)[1, 1], [x])
    assert g.array[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_implicit_dim_warns_as_pytorch_does(name):
    for shape, dim in (((3,), 0), ((2, 3), 1), ((2, 2, 3), 0), ((1, 2, 2, 2), 1)):
        x = leaf(random(*shape))
        with pytest.warns(UserWarning, match=f"Implicit dimension choice for {name}") as seen:
            found = getattr(F, name)(x)
        assert seen[0].filename == __file__
        np.testing.assert_array_equal(found.array, getattr(F, name)(x, dim).array)


def test_softmax_errors():
    with pytest.raises(IndexError, match=r"expected to be in range of \[-2, 1\], but got 2"):
        F.softmax(leaf(random(2, 3)), 2)
    with pytest.raises(RuntimeError, match="takes floats"):
        F.softmax(cr.tensor([1, 2]), 0)
    assert F.softmax(cr.tensor([1, 2]), 0, dtype=cr.float32).dtype == cr.float32


def test_softmax_in_16_bits_sums_in_32():
    x = np.zeros(4096, np.float16)
    np.testing.assert_allclose(F.softmax(cr.tensor(x), 0).array, np.full(4096, 1 / 4096), rtol=1e-3)


def test_gumbel_softmax():
    logits = leaf(np.log([[0.2, 0.8]]).repeat(4000, 0))
    hard = F.gumbel_softmax(logits, hard=True, generator=Generator())
    assert set(np.unique(hard.array.round(12))) == {0.0, 1.0}
    assert abs(hard.array[:, 1].mean() - 0.8) < 0.03
    (g,) = cr.autograd.grad(hard[:, 1].sum(), [logits])
    assert np.isfinite(g.array).all()
    assert g.array.any()


# -- losses -----------------------------------------------------------------------------------------------------------


def test_classes_that_do_not_exist():
    for bad in (10, -1):
        with pytest.raises(IndexError, match=f"Target {bad} is out of bounds"):
            F.cross_entropy(leaf(random(2, 10)), cr.tensor([3, bad]))
        with pytest.raises(IndexError, match=f"Target {bad} is out of bounds"):
            F.nll_loss(leaf(random(2, 10)), cr.tensor([3, bad]))


def test_every_target_ignored():
    x = leaf(random(2, 3))
    target = cr.tensor([-100, -100])
    assert np.isnan(F.cross_entropy(x, target).item())
    assert F.cross_entropy(x, target, reduction="sum").item() == 0


def test_lectures_losses():
    """Worked values of a lecture course: squared error, binary and categorical cross entropy."""
    pairs = [((4.2, 4.1), 0.01), ((2.4, 0.4), 4), ((-2.9, -1.4), 2.25), ((0, 1), 1.0)]
    for (a, b), value in pairs:
        assert F.mse_loss(leaf([a]), leaf([b])).item() == pytest.approx(value)
    for (t, p), value in [((0, 0.211), 0.237), ((1, 0.981), 0.019), ((0, 0.723), 1.284), ((0, 0.134), 0.144)]:
        target = leaf([float(t)])
        assert F.binary_cross_entropy(leaf([p]), target).item() == pytest.approx(value, abs=6e-4)
        logit = leaf([np.log(p / (1 - p))])
        assert F.binary_cross_entropy_with_logits(logit, target).item() == pytest.approx(value, abs=6e-4)
    scores = leaf([[3.0, 1.0, 2.5]])
    assert F.multiclass_hinge_loss(scores, cr.tensor([0])).item() == pytest.approx(0.5)
    assert F.perceptron_loss(leaf([-2.0]), cr.tensor([1])).item() == 2.0


def test_losses_do_not_broadcast_silently():
    for loss in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss):
        with pytest.warns(UserWarning, match="that is different to the input size") as seen:
            found = loss(leaf(random(3)), leaf(random(3, 1)), reduction="none")
        assert found.shape == (3, 3)
        assert seen[0].filename == __file__
    for loss in (F.binary_cross_entropy, F.binary_cross_entropy_with_logits):
        with pytest.raises(ValueError, match="same"):
            loss(leaf([0.5]), leaf([[0.5]]))


def test_kl_div_warns_of_its_mean():
    with pytest.warns(UserWarning, match="batchmean"):
        F.kl_div(leaf([[0.0]]), leaf([[1.0]]))


def test_older_reduction_arguments():
    x, y = leaf(random(4)), leaf(random(4, seed=1))
    for kwargs, reduction in (
        ({"size_average": True}, "mean"),
        ({"size_average": False}, "sum"),
        ({"reduce": False}, "none"),
        ({"size_average": False, "reduce": True}, "sum"),
    ):
        with pytest.warns(UserWarning, match=f"reduction='{reduction}'"):
            found = F.mse_loss(x, y, **kwargs)
        # the kernel and the composition, which serves the older arguments, add in different orders
        np.testing.assert_allclose(found.array, F.mse_loss(x, y, reduction=reduction).array, rtol=1e-14)
    with pytest.raises(ValueError, match="not a valid value for reduction"):
        F.mse_loss(x, y, reduction="average")


def test_probabilities_outside_the_unit_interval():
    with pytest.raises(RuntimeError, match="all elements of input should be between 0 and 1"):
        F.binary_cross_entropy(leaf([1.5]), leaf([1.0]))


def test_negative_variance():
    with pytest.raises(ValueError, match="negative"):
        F.gaussian_nll_loss(leaf([1.0]), leaf([1.0]), leaf([-1.0]))
    with pytest.raises(ValueError, match="negative"):
        F.gaussian_nll_loss(leaf([1.0]), leaf([1.0]), -1.0)


def test_ctc_of_a_sequence_that_does_not_fit():
    log_p = leaf(random(2, 1, 3))
    args = (cr.tensor([[1, 1]]), cr.tensor([2]), cr.tensor([2]))
    assert F.ctc_loss(log_p, *args).item() == np.inf
    loss = F.ctc_loss(log_p, *args, zero_infinity=True)
    assert loss.item() == 0
    (g,) = cr.autograd.grad(loss, [log_p])
    assert not g.array.any()
    with pytest.raises(ValueError, match="input_lengths"):
        F.ctc_loss(log_p, cr.tensor([[1, 1]]), cr.tensor([3]), cr.tensor([2]))


# -- dropout ----------------------------------------------------------------------------------------------------------


def test_dropout_repeats_and_is_right_on_average():
    x = leaf(np.ones((300, 100)))
    one, two = (F.dropout(x, 0.3, generator=Generator().manual_seed(5)) for _ in range(2))
    np.testing.assert_array_equal(one.array, two.array)
    assert abs((one.array == 0).mean() - 0.3) < 0.01
    assert set(np.unique(one.array)) == {0.0, 1 / 0.7}


def test_dropout_gradients_use_the_same_mask():
    x = leaf(random(20, 5))
    y = F.dropout(x, 0.5, generator=Generator())
    (g,) = cr.autograd.grad((y * y).sum(), [x], create_graph=True)
    (h,) = cr.autograd.grad(g.sum(), [x])
    np.testing.assert_array_equal(h.array, np.where(y.array == 0, 0.0, 8.0))


def test_dropout_outside_training_and_at_the_ends():
    x = leaf(random(4))
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert not F.dropout(x, 1.0).array.any()
    for p in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"dropout probability has to be between 0 and 1, but got {p}"):
            F.dropout(x, p)
    y = x * 1
    assert F.dropout(y, 0.5, inplace=True) is y


@pytest.mark.parametrize(
    ("name", "shape", "dims"),
    [
        ("dropout1d", (50, 4, 6), (2,)),
        ("dropout1d", (200, 6), (1,)),
        ("dropout2d", (50, 4, 3, 3), (2, 3)),
        ("dropout3d", (50, 4, 2, 2, 2), (2, 3, 4)),
        ("dropout3d", (200, 2, 2, 2), (1, 2, 3)),
    ],
)
def test_dropout_of_channels(name, shape, dims):
    dropped = getattr(F, name)(leaf(np.ones(shape)), 0.5, generator=Generator()).array
    assert (dropped.min(dims) == dropped.max(dims)).all()
    assert 0.3 < (dropped == 0).mean() < 0.7


def test_alpha_dropout_keeps_mean_and_variance():
    x = F.alpha_dropout(leaf(random(300, 300)), 0.3, training=True, generator=Generator()).array
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02


# -- normalisation ----------------------------------------------------------------------------------------------------


def test_batch_norm_moves_its_running_statistics():
    x = random(6, 3, 4)
    mean, var = cr.tensor(np.zeros(3)), cr.tensor(np.ones(3))
    F.batch_norm(leaf(x), mean, var, training=True, momentum=0.2)
    np.testing.assert_allclose(mean.array, 0.2 * x.mean((0, 2)))
    np.testing.assert_allclose(var.array, 0.8 + 0.2 * x.var((0, 2), ddof=1))
    assert not mean.requires_grad
    kept = mean.array.copy()
    F.batch_norm(leaf(x), mean, var, training=False)
    np.testing.assert_array_equal(mean.array, kept)


def test_batch_norm_in_channels_last_memory():
    x = random(4, 3, 2, 2)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    found = []
    for array in (x, last):
        t = leaf(array)
        t.array = array
        y = F.batch_norm(t, None, None, leaf([1.0, 2, 3]), leaf([0.1, 0.2, 0.3]), training=True)
        found.append((y.array, cr.autograd.grad((y * y * y).sum(), [t])[0].array))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_normalisation_errors():
    x = leaf(random(1, 3))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        F.batch_norm(x, None, None, training=True)
    with pytest.raises(ValueError, match="Expected running_mean and running_var"):
        F.batch_norm(x, None, None, training=False)
    with pytest.raises(ValueError, match="weight should contain 3 elements"):
        F.batch_norm(x, cr.tensor(np.zeros(3)), cr.tensor(np.ones(3)), leaf([1.0]))
    with pytest.raises(RuntimeError, match="normalized_shape"):
        F.layer_norm(x, (4,))
    with pytest.raises(ValueError, match="divisible by num_groups"):
        F.group_norm(leaf(random(2, 3)), 2)


def test_instance_norm_with_running_statistics():
    x = random(2, 3, 5)
    mean, var = cr.tensor(np.zeros(3)), cr.tensor(np.ones(3))
    F.instance_norm(leaf(x), mean, var)
    np.testing.assert_allclose(mean.array, 0.1 * x.mean(2).mean(0))
    np.testing.assert_allclose(var.array, 0.9 + 0.1 * x.var(2, ddof=1).mean(0))
    y = F.instance_norm(leaf(x), mean, var, use_input_stats=False).array
    np.testing.assert_allclose(y, (x - mean.array[:, None]) / np.sqrt(var.array[:, None] + 1e-5))


# -- embedding --------------------------------------------------------------------------------------------------------


def test_embedding_errors():
    table = leaf(random(3, 2))
    for bad in (3, -1):
        with pytest.raises(IndexError, match="index out of range in self"):
            F.embedding(cr.tensor([0, bad]), table)
    with pytest.raises(RuntimeError, match="'indices' to have one of the following scalar types: Long, Int"):
        F.embedding(cr.tensor([0.5]), table)
    with pytest.raises(AssertionError, match="Padding_idx"):
        F.embedding(cr.tensor([0]), table, padding_idx=3)


def test_embedding_padding_frequency_and_norm():
    index = cr.tensor([0, 2, 2, 1])
    table = leaf(random(3, 2))
    (g,) = cr.autograd.grad(F.embedding(index, table, padding_idx=-3).sum(), [table])
    np.testing.assert_array_equal(g.array, [[0, 0], [1, 1], [2, 2]])
    (g,) = cr.autograd.grad(F.embedding(index, table, scale_grad_by_freq=True).sum(), [table])
    np.testing.assert_array_equal(g.array, np.ones((3, 2)))
    small = cr.tensor(np.array([[3.0, 4.0], [0.3, 0.4], [30.0, 40.0]]))
    F.embedding(cr.tensor([0, 1]), small, max_norm=1.0)
    np.testing.assert_allclose(small.array, [[0.6, 0.8], [0.3, 0.4], [30, 40]], rtol=1e-6)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(mode):
    table = random(5, 2)
    bags = [[0, 2, 2], [], [4, 1]]
    offsets = cr.tensor([0, 3, 3])
    flat = cr.tensor([i for bag in bags for i in bag])
    found = F.embedding_bag(flat, leaf(table), offsets, mode=mode).array
    expected = [getattr(table[bag], mode)(0) if bag else np.zeros(2) for bag in bags]
    np.testing.assert_allclose(found, expected)
    skipped = F.embedding_bag(flat, leaf(table), offsets, mode=mode, padding_idx=2).array
    np.testing.assert_allclose(skipped[0], table[0])


# -- attention --------------------------------------------------------------------------------------------------------


def test_a_query_with_nothing_to_attend_to():
    q, k, v = (leaf(random(2, 3, seed=s)) for s in range(3))
    mask = cr.tensor([[False, False], [True, True]])
    out = F.scaled_dot_product_attention(q, k, v, mask)
    assert not out.array[0].any()
    grads = cr.autograd.grad(out.sum(), [q, k, v], create_graph=True)
    assert all(np.isfinite(g.array).all() for g in grads)
    second = cr.autograd.grad(sum((g * g).sum() for g in grads), [q, k, v])
    assert all(np.isfinite(g.array).all() for g in second)


def test_attention_arguments():
    q = leaf(random(2, 3))
    with pytest.raises(ValueError, match="is_causal"):
        F.scaled_dot_product_attention(q, q, q, cr.tensor([[True]]), is_causal=True)
    with pytest.raises(ValueError, match="takes"):
        F.scaled_dot_product_attention(q, leaf(random(2, 4)), q)
    v = leaf(np.ones((2, 400)))
    dropped = F.scaled_dot_product_attention(q, q, v, dropout_p=0.5, generator=Generator())
    assert (dropped.array[0] == dropped.array[0, 0]).all()


# -- the namespace ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "hardtanh", "threshold", "silu"])
def test_inplace(name):
    parameters = {"threshold": (0.1, 20.0), "leaky_relu": (0.2,), "hardtanh": (-0.5, 0.5)}.get(name, ())
    if name == "elu":
        parameters = (1.0,)
    x = leaf(random(5))
    y = x * 1
    assert getattr(F, name)(y, *parameters, True) is y
    np.testing.assert_array_equal(y.array, getattr(F, name)(x, *parameters).array)
    (g,) = cr.autograd.grad(y.sum(), [x])
    assert g.array.shape == (5,)


@pytest.mark.torch
def test_signatures_are_pytorchs():
    """Every function takes PyTorch's arguments by name and in order; extras of ours come after them."""
    import torch

    reference = torch.nn.functional
    for name in F.__all__:
        theirs = getattr(reference, name, None)
        try:
            wanted = [p.name for p in inspect.signature(theirs).parameters.values() if p.kind is not p.VAR_KEYWORD]
        except (TypeError, ValueError):
            continue
        if not wanted or wanted == ["args"]:
            continue
        ours = [p.name for p in inspect.signature(getattr(F, name)).parameters.values()]
        missing = [n for n in wanted if n not in ours and n not in ("out",)]
        assert not missing, f"{name} lacks {missing}"
        assert [n for n in ours if n in wanted] == [n for n in wanted if n in ours], name


def test_no_warning_without_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.cross_entropy(leaf(random(2, 3)), cr.tensor([0, 1]))
        F.mse_loss(leaf([1.0]), leaf([2.0]))


# -- the rarer functions ----------------------------------------------------------------------------------------------


def test_conv_tbc_is_conv1d():
    x, w, b = leaf(random(5, 2, 3)), leaf(random(2, 3, 4, seed=1)), leaf(random(4, seed=2))
    found = F.conv_tbc(x, w, b, 1)
    expected = F.conv1d(x.permute(1, 2, 0), w.permute(2, 1, 0), b, padding=1).permute(2, 0, 1)
    assert found.shape == (6, 2, 4)
    np.testing.assert_array_equal(found.array, expected.array)
    with pytest.raises(RuntimeError, match="conv_tbc takes"):
        F.conv_tbc(x, w, leaf(random(3)))


def test_fractional_pools_draw_their_windows():
    x = leaf(random(2, 3, 9, 8))
    cr.manual_seed(1)
    one, places = F.fractional_max_pool2d(x, 2, output_size=(5, 6), return_indices=True)
    cr.manual_seed(1)
    two = F.fractional_max_pool2d(x, 2, (5, 6))
    np.testing.assert_array_equal(one.array, two.array)
    flat = x.array.reshape(2, 3, -1)
    np.testing.assert_array_equal(
        np.take_along_axis(flat, places.array.reshape(2, 3, -1), -1), one.array.reshape(2, 3, -1)
    )
    assert F.fractional_max_pool3d(leaf(random(2, 6, 7, 8)), 2, output_ratio=0.5).shape == (2, 3, 3, 4)
    assert any((F.fractional_max_pool2d(x, 2, (5, 6)).array != one.array).any() for _ in range(3))
    with pytest.raises(ValueError, match="requires specifying either an output_size or an output_ratio"):
        F.fractional_max_pool2d(x, 2)
    with pytest.raises(ValueError, match="output_ratio to either be"):
        F.fractional_max_pool2d(x, 2, output_ratio=(0.5, 0.5, 0.5))
    with pytest.raises(RuntimeError, match="pool height 2 too large relative to input height 9"):
        F.fractional_max_pool2d(x, 2, 9)
    with pytest.raises(RuntimeError, match="Expected 3D or 4D"):
        F.fractional_max_pool2d(x[0, 0], 2, 3)


def test_normalize_into_a_tensor():
    x, out = leaf(random(2, 3)), cr.zeros(2, 3, dtype=cr.float64)
    assert F.normalize(x, out=out) is out
    np.testing.assert_array_equal(out.array, F.normalize(x).array)
    assert not out.requires_grad


def test_defaults_that_warn():
    image, grid, theta = leaf(random(1, 1, 3, 3)), leaf(random(1, 2, 2, 2)), leaf(random(1, 2, 3))
    with pytest.warns(UserWarning, match="align_corners=False since 1.3.0") as seen:
        found = F.grid_sample(image, grid)
    assert seen[0].filename == __file__
    np.testing.assert_array_equal(found.array, F.grid_sample(image, grid, align_corners=False).array)
    with pytest.warns(UserWarning, match="align_corners=False since 1.3.0"):
        F.affine_grid(theta, (1, 1, 2, 2))
    for name in ("upsample", "upsample_nearest", "upsample_bilinear"):
        with pytest.warns(UserWarning, match=f"`nn.functional.{name}` is deprecated"):
            assert getattr(F, name)(image, scale_factor=2).shape == (1, 1, 6, 6)


def test_cosine_similarity_of_different_ranks():
    a, b = leaf(random(3, 4)), leaf(random(4, seed=1))
    np.testing.assert_allclose(F.cosine_similarity(a, b).array, F.cosine_similarity(a, b.expand(3, 4)).array)
    with pytest.raises(ValueError, match="anchor 1D, positive 2D, and negative 2D"):
        F.triplet_margin_loss(b, a, a)


#: public names of torch.nn.functional that do not exist here, and why
LEFT_OUT = {
    "assert_int_or_pair": "a check behind PyTorch's own functions",
    "boolean_dispatch": "makes PyTorch's own functions scriptable",
    "handle_torch_function": "belongs to torch.overrides",
    "has_torch_function": "belongs to torch.overrides",
    "has_torch_function_unary": "belongs to torch.overrides",
    "has_torch_function_variadic": "belongs to torch.overrides",
    "grouped_mm": "a kernel of some GPUs for bfloat16",
    "scaled_grouped_mm": "a kernel of some GPUs for 8-bit floats",
    "scaled_mm": "a kernel of some GPUs for 8-bit floats",
}


def _torchs_functions(torch):
    named = vars(torch.nn.functional).items()
    return {
        n: f for n, f in named if n[0] != "_" and callable(f) and not inspect.isclass(f) and f.__module__ != "typing"
    }


def _arguments(f, name):
    """Names and defaults of a function's arguments: from its signature, or from the first line of its docstring."""
    try:
        found = list(inspect.signature(f).parameters.values())
        if [p.name for p in found] != ["args", "kwargs"]:
            return [(p.name, p.default) for p in found]
    except ValueError:
        pass
    line = re.search(rf"^\s*{name}\((.*?)\)\s*->", f.__doc__ or "", re.MULTILINE | re.DOTALL)
    if line is None:
        return None
    found = [a.strip() for a in re.split(r",(?![^(]*\))", line[1])]
    return [(a.partition("=")[0].strip("* "), _value(a.partition("=")[2])) for a in found if a not in ("*", "/")]


def _value(text):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return inspect.Parameter.empty


@pytest.mark.torch
def test_every_function_of_pytorch_exists(torch):
    assert {n for n in _torchs_functions(torch) if not hasattr(F, n)} == set(LEFT_OUT)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("options", [{}, {"antialias": True}, {"align_corners": True}], ids=str)
def test_images_of_bytes_are_resized_as_floats_are(mode, options):
    pixels = cr.tensor(np.random.default_rng(0).integers(0, 256, (2, 3, 7, 9)).astype("uint8"))
    for size in ((4, 5), (14, 18), (7, 12)):
        found = F.interpolate(pixels, size, mode=mode, **options)
        exact = F.interpolate(pixels.double(), size, mode=mode, **options).clamp(0, 255)
        assert found.dtype is cr.uint8
        # each of the two dimensions is rounded, and cut off at 0 and 255; cubic weights have a sum of magnitudes of 1.4
        assert (found.double() - exact).abs().mean() < 0.6
        one = F.interpolate(pixels, (7, size[1]), mode=mode, **options)
        exact = F.interpolate(pixels.double(), (7, size[1]), mode=mode, **options).clamp(0, 255)
        assert (one.double() - exact).abs().max() <= 0.5 + 1e-4
    half = cr.tensor([[[[0, 1], [0, 1]]]], dtype=cr.uint8)
    assert F.interpolate(half, (2, 1), mode="bilinear").tolist() == [[[[1], [1]]]]  # ½ goes up
    for kind in ("int32", "bool", "int8"):
        with pytest.raises(NotImplementedError, match=f'upsample_{mode}" not implemented for {kind}'):
            F.interpolate(pixels.to(getattr(cr, kind)), (4, 5), mode=mode, **options)
        assert F.interpolate(pixels.to(getattr(cr, kind)), (4, 5)).shape == (2, 3, 4, 5)


def test_a_size_of_other_dimensions_is_a_value_error():
    with pytest.raises(ValueError, match="same number of spatial dimensions"):  # though bilinear takes images alone
        F.interpolate(cr.ones(1, 1, 3, 3, 3), (2, 2), mode="bilinear")
    with pytest.raises(NotImplementedError, match="Got 5D input, but bilinear mode needs 4D input"):
        F.interpolate(cr.ones(1, 1, 3, 3, 3), 2, mode="bilinear")


@pytest.mark.torch
def test_images_of_bytes_are_resized_as_in_pytorch(torch):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 11, 13)).astype("uint8")
    for mode in ("bilinear", "bicubic"):
        for options in ({}, {"antialias": True}, {"align_corners": True}):
            for size in ((5, 6), (22, 26), (11, 20)):
                ours = F.interpolate(cr.tensor(pixels), size, mode=mode, **options).numpy().astype(int)
                theirs = torch.nn.functional.interpolate(torch.from_numpy(pixels), size, mode=mode, **options).numpy()
                assert np.abs(ours - theirs).max() <= 1  # PyTorch's weights are fixed-point numbers of 8 to 15 bits
                assert (ours != theirs).mean() < 0.1


@pytest.mark.torch
def test_arguments_are_pytorchs(torch):
    compared = 0
    for name, f in _torchs_functions(torch).items():
        if name in LEFT_OUT:
            continue
        theirs = _arguments(f, name)
        indexed = getattr(torch.nn.functional, f"{name}_with_indices", None)
        if theirs is None and indexed is not None:
            theirs = _arguments(indexed, name)
        if theirs is None:
            assert name == "conv_tbc"  # which PyTorch neither shows nor writes down
            continue
        ours = [(n, d) for n, d in _arguments(getattr(F, name), name) if n != "generator"]
        assert [n for n, _ in ours] == [n for n, _ in theirs], name
        for (n, mine), (_, its) in zip(ours, theirs, strict=True):
            assert its is inspect.Parameter.empty or mine == its, (name, n)
        compared += 1
    assert compared > 120
