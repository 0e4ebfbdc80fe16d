"""Worked examples of the lectures on layers, under the items of test_lectures.py, and what layers promise there."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F


def close(a, b, tolerance=1e-6):
    np.testing.assert_allclose(np.asarray(a.tolist()), np.asarray(b), rtol=tolerance, atol=tolerance)


# -- 18: receptive fields ---------------------------------------------------------------------------------------------


def receptive_field(net, length=127):
    """How many elements of the input one output in the middle depends on."""
    x = cr.randn(1, 1, length, dtype=cr.float64, requires_grad=True)
    out = net(x)
    out[0, 0, out.shape[-1] // 2].backward()
    return int((x.grad != 0).sum().item())


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
def test_18_receptive_field_of_stacked_filters(layers):
    cr.manual_seed(layers)
    plain = nn.Sequential(*[nn.Conv1d(1, 1, 3) for _ in range(layers)]).double()
    dilated = nn.Sequential(*[nn.Conv1d(1, 1, 3, dilation=2**i) for i in range(layers)]).double()
    assert receptive_field(plain) == 2 * layers + 1
    assert receptive_field(dilated) == 2 ** (layers + 1) - 1
    assert sum(p.numel() for p in dilated.parameters()) == 4 * layers  # three weights and a bias each


# -- linear layers as products of matrices ----------------------------------------------------------------------------


def test_convolution_is_a_product_with_a_toeplitz_matrix():
    """Each row of the matrix is the kernel, one place further: so the gradient is a product with its transpose."""
    cr.manual_seed(0)
    x, kernel = cr.randn(9, dtype=cr.float64, requires_grad=True), cr.randn(3, dtype=cr.float64)
    matrix = cr.zeros(7, 9, dtype=cr.float64)
    for i in range(7):
        matrix[i, i : i + 3] = kernel
    y = F.conv1d(x[None, None], kernel[None, None])[0, 0]
    close(y, (matrix @ x.detach()).tolist())
    g = cr.randn(7, dtype=cr.float64)
    y.backward(g)
    close(x.grad, (matrix.T @ g).tolist())
    close(F.conv_transpose1d(g[None, None], kernel[None, None])[0, 0], (matrix.T @ g).tolist())
    # in two dimensions, and for several channels: the places side by side, times the kernels as a matrix
    image, kernels = cr.randn(2, 3, 6, 5, dtype=cr.float64), cr.randn(4, 3, 3, 2, dtype=cr.float64)
    product = kernels.flatten(1) @ F.unfold(image, (3, 2))
    close(F.conv2d(image, kernels), product.view(2, 4, 4, 4).tolist())


def test_the_bias_is_the_weight_of_an_input_of_one():
    cr.manual_seed(0)
    layer, x = nn.Linear(3, 2), cr.randn(4, 3)
    joint = cr.cat([layer.weight, layer.bias[:, None]], 1)
    close(layer(x), (cr.cat([x, cr.ones(4, 1)], 1) @ joint.T).tolist())


# -- 20: max-norm -----------------------------------------------------------------------------------------------------


def test_20_max_norm_projection_after_each_step():
    cr.manual_seed(0)
    layer = nn.Linear(5, 3)
    x, y = cr.randn(20, 5), 100 * cr.randn(20, 3)
    for _ in range(5):
        layer.zero_grad()
        F.mse_loss(layer(x), y).backward()
        with cr.no_grad():
            for p in layer.parameters():
                p -= 0.1 * p.grad
            before = layer.weight.clone()
            nn.utils.max_norm_(layer.weight, 3.0)
        norms = before.norm(dim=1)
        # The projection onto the ball: the nearest point of it, so the direction stays, and points inside stay.
        close(layer.weight, (before * (3.0 / norms).clamp(max=1.0).unsqueeze(1)).tolist())
        assert layer.weight.norm(dim=1).max().item() <= 3.0 + 1e-5
    assert norms.max().item() > 3.0


# -- layers and regularisers that the lectures name -------------------------------------------------------------------


def test_maxout_can_be_the_absolute_value_or_relu():
    layer = nn.Maxout(1, 2, pieces=2)
    with cr.no_grad():
        layer.weight.copy_(cr.tensor([[1.0], [-1.0], [1.0], [0.0]]))
        layer.bias.zero_()
    x = cr.tensor([[-2.0], [0.5], [3.0]])
    close(layer(x), [[2.0, 0.0], [0.5, 0.5], [3.0, 3.0]])
    assert repr(layer) == "Maxout(in_features=1, out_features=2, pieces=2, bias=True)"


def test_radial_basis_functions_separate_xor():
    units = nn.RBF(2, 2)
    with cr.no_grad():
        units.centers.copy_(cr.tensor([[0.0, 0.0], [1.0, 1.0]]))
        units.log_width.fill_(math.log(math.sqrt(0.5)))
    x = cr.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    out = units(x)
    e = math.exp(-1)
    close(out, [[1, e**2], [e, e], [e, e], [e**2, 1]])
    assert ((out.sum(1) < 1) == cr.tensor([False, True, True, False])).all().item()


def test_drop_connect_drops_weights_and_keeps_the_mean():
    cr.manual_seed(0)
    layer = nn.DropConnect(4, 3, p=0.3)
    x = cr.eye(4)
    ratios = (layer(x) - layer.bias) / (x @ layer.weight.T)
    assert ((ratios.abs() < 1e-6) | ((ratios - 1 / 0.7).abs() < 1e-3)).all().item()
    mean = cr.stack([layer(x) for _ in range(2000)]).mean(0)
    close(layer.eval()(x), mean.tolist(), 0.05)
    with pytest.raises(ValueError, match="probability"):
        nn.DropConnect(2, 2, p=1.5)


@pytest.mark.parametrize("layer", [nn.StochasticDepth(0.4, "row"), nn.StochasticDepth(0.4, "batch"), nn.DropPath(0.4)])
def test_stochastic_depth_drops_whole_branches(layer):
    cr.manual_seed(0)
    x = cr.ones(500, 2, 3)
    rows = layer(x).flatten(1)
    assert (rows == rows[:, :1]).all().item()
    kept = (rows[:, 0] > 0).double().mean().item()
    if getattr(layer, "mode", "row") == "batch":
        assert kept in (0.0, 1.0)
    else:
        assert abs(kept - 0.6) < 0.08
        close(rows.max(), 1 / 0.6)
    assert layer.eval()(x) is x or cr.equal(layer(x), x)
    layer.train()


def test_stochastic_depth_shows_its_settings_and_checks_them():
    assert repr(nn.StochasticDepth(0.2, "row")) == "StochasticDepth(p=0.2, mode=row)"
    assert repr(nn.DropPath(0.1)) == "DropPath(drop_prob=0.100)"
    cr.manual_seed(0)
    assert set(nn.DropPath(0.5, scale_by_keep=False)(cr.ones(20)).tolist()) == {0.0, 1.0}
    with pytest.raises(ValueError, match="mode"):
        nn.StochasticDepth(0.2, "column")
    with pytest.raises(ValueError, match="probability"):
        nn.StochasticDepth(1.2)


def test_spatial_pyramids_give_one_length_for_all_sizes():
    pool = nn.SpatialPyramidPool((1, 2, 4))
    for size in ((7, 9), (13, 13), (32, 20)):
        assert pool(cr.randn(2, 3, *size)).shape == (2, 3 * (1 + 4 + 16))
    x = cr.randn(1, 2, 5, 6)
    close(nn.SpatialPyramidPool((1,), "avg")(x)[0], x.mean((2, 3))[0].tolist())
    with pytest.raises(ValueError, match="mode"):
        nn.SpatialPyramidPool((1,), "sum")


def test_stochastic_pooling_draws_in_proportion_and_averages_in_evaluation():
    cr.manual_seed(0)
    window = cr.tensor([[1.0, 0.0], [3.0, -5.0]])
    x = window.expand(400, 10, 2, 2)
    pool = nn.StochasticPool2d(2)
    drawn = pool(x)
    assert set(drawn.flatten().tolist()) == {1.0, 3.0}
    assert abs((drawn == 3.0).double().mean().item() - 0.75) < 0.03
    close(pool.eval()(x[:1, :1]).flatten(), [(1 + 9) / 4])
    close(pool(cr.zeros(1, 1, 2, 2)).flatten(), [0.0])
    close(pool.train()(cr.zeros(1, 1, 2, 2)).flatten(), [0.0])
    x = cr.rand(1, 1, 2, 2, requires_grad=True)
    pool(x).sum().backward()
    assert sorted(x.grad.flatten().tolist()) == [0.0, 0.0, 0.0, 1.0]


def test_mixed_pooling_lies_between_average_and_maximum():
    x = cr.randn(2, 3, 4, 4)
    for start, expected in ((0.5, 0.5), (0.9, 0.9)):
        pool = nn.MixedPool2d(2, start=start)
        close(pool(x), (expected * F.max_pool2d(x, 2) + (1 - expected) * F.avg_pool2d(x, 2)).tolist(), 1e-5)
    with pytest.raises(ValueError, match="start"):
        nn.MixedPool2d(2, start=1.0)


def test_lp_pooling_goes_from_the_sum_to_the_maximum():
    x = cr.rand(1, 2, 4, 4) + 0.1
    close(nn.LPPool2d(1, 2)(x), (4 * F.avg_pool2d(x, 2)).tolist(), 1e-5)
    close(nn.LPPool2d(2, 2)(x), (4 * F.avg_pool2d(x * x, 2)).sqrt().tolist(), 1e-5)
    close(nn.LPPool2d(80, 2)(x), F.max_pool2d(x, 2).tolist(), 0.02)


def test_weight_norm_separates_length_from_direction():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    g, v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    close(layer.weight, (g * v / v.norm(dim=1, keepdim=True)).tolist())
    layer(cr.randn(4, 3)).pow(2).sum().backward()
    close((v.grad * v).sum(1), [0.0, 0.0], 1e-5)  # the gradient for v is orthogonal to v (Salimans and Kingma)


def test_synchronised_batch_norm_of_one_process_is_batch_norm():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2, affine=False)))
    x = cr.randn(3, 1, 4, 4)
    expected = net.eval()(x)
    changed = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert type(changed[1]) is type(changed[2][0]) is nn.SyncBatchNorm
    assert list(changed.state_dict()) == [
        *("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"),
        *("2.0.running_mean", "2.0.running_var", "2.0.num_batches_tracked"),
    ]
    close(changed(x), expected.tolist())
    assert not changed[1].training
