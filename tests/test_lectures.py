"""The lectures' numbers and worked examples, under their numbers in the list of what the engine must get right.

A test of item 7 is called test_07_... Where they are, test_lectures_<file>.py or, with a dash, this file:

    1  softmax of four scores                   -           16  multiply-adds                 architectures
    2  gradient 44, analytic and numeric        -           17  VGG, GoogLeNet                architectures
    3  fully connected layers by hand           -           18  receptive fields              layers, sequences
    4  backpropagation by hand, through time    -, sequences
    5  squared error per example                -           19  smoothing, temperature, SELU  losses
    6  binary cross-entropy, and of logits      losses      20  optimizers, schedules         optim, layers
    7  categorical cross-entropy                losses      21  initialisation                losses
    8  several labels at once                   losses      22  checks of training            -, training
    9  likelihood of an unfair coin             losses      23  attention, BiLSTM             sequences
    10 mean filter, Sobel, correlation          -           24  characters, TBPTT             sequences
    11 template correlation, pooling            -           25  metrics                       training
    12 output sizes                             -           26  GAN, DeepDream, inversion     architectures
    13 parameters of convolutions               -           27  a step has one point          optim
    14 stacked convolutions                     -           28  hinge, perceptron, slow start -, losses
    15 AlexNet, ZFNet                           architectures

Item 29 lists results of other people's large trainings, which no test can repeat. What the lectures get wrong are
test_errata_... here and in architectures: the right value is asserted, and the wrong one stands in a comment.
"""

import ast
import itertools
import math
import pathlib

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F
from chainrule.testing import numeric_gradient

rng = np.random.default_rng


def leaf(array):
    return cr.tensor(np.asarray(array, dtype=np.float64), requires_grad=True)


def close(tensor, array, **tolerance):
    np.testing.assert_allclose(tensor.detach().numpy(), array, **{"rtol": 1e-9, "atol": 1e-12, **tolerance})


# -- how complete this is ---------------------------------------------------------------------------------------------


def test_every_item_has_a_test():
    names = [
        node.name
        for path in pathlib.Path(__file__).parent.glob("test_lectures*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    ]
    tested = {name.split("_")[1] for name in names if name.startswith("test_")}
    assert {f"{item:02}" for item in range(1, 29)} <= tested
    assert sum(name.startswith("test_errata_") for name in names) >= 16


# -- what the lectures get wrong --------------------------------------------------------------------------------------


def test_errata_scores_of_a_linear_classifier():
    layer = nn.Linear(4, 3)
    weight = [[0.1, -0.25, 0.1, 2.5], [0.0, 0.5, 0.2, -0.6], [2.0, 0.8, 1.8, -0.1]]
    layer.load_state_dict({"weight": cr.tensor(weight), "bias": cr.tensor([-2.0, 1.7, -0.5])})
    scores = layer(cr.tensor([1.0, 73.0, 227.0, 82.0]))
    close(scores, [207.55, 34.4, 460.3], rtol=1e-6)  # printed: -337.3, -38.6 (and then +38.6), 460.3
    assert scores.argmax() == 2


def test_errata_cross_entropy_of_row_three():
    assert -math.log(0.7) == pytest.approx(0.357, abs=5e-4)  # printed: 0.511
    p = cr.tensor([[0.1, 0.7, 0.3]])
    assert F.nll_loss(p.log(), cr.tensor([1])).item() == pytest.approx(0.357, abs=5e-4)


def test_errata_central_difference_of_44():
    def difference(dtype):
        at = [cr.tensor([1 + d, 3], dtype=dtype) for d in (1e-2, -1e-2)]
        up, down = ((2 * x[0] + 3 * x[1]) ** 2 + 3 for x in at)
        return ((up - down) / cr.tensor(2e-2, dtype=dtype)).item()

    assert difference(cr.float64) == pytest.approx(44, abs=1e-11)  # printed: 43.9999, of values with four digits
    assert difference(cr.float32) == pytest.approx(44.001, abs=2e-3)


def test_errata_selu_derivative():
    x = leaf(-1.0)
    y = F.selu(x)
    y.backward()
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    assert x.grad.item() == pytest.approx(scale * alpha * math.exp(-1), rel=1e-9)
    assert x.grad.item() == pytest.approx(y.item() + scale * alpha, rel=1e-9)
    # printed: λ α f(x), which is -1.954; 0.64678 is of the constants with four digits
    assert x.grad.item() == pytest.approx(0.64678, abs=2e-5)


def step(optimizer, parameter, gradient):
    parameter.grad = cr.tensor(gradient, dtype=parameter.dtype)
    optimizer.step()


def test_errata_amsgrad_keeps_the_largest_second_moment():
    p = nn.Parameter(cr.zeros(1, dtype=cr.float64))
    optimizer, first, second, largest = cr.optim.Adam([p], lr=0.1, amsgrad=True), 0.0, 0.0, 0.0
    for t, g in enumerate((5.0, -0.1, 0.1), 1):
        before = p.item()
        step(optimizer, p, [g])
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        largest = max(largest, second)  # printed: the maximum of the first moment
        expected = 0.1 * first / (1 - 0.9**t) / (math.sqrt(largest / (1 - 0.999**t)) + 1e-8)
        assert before - p.item() == pytest.approx(expected, rel=1e-9)
        assert optimizer.state[p]["max_exp_avg_sq"].item() == pytest.approx(largest)


def test_errata_adadelta_leaves_its_start():
    p = nn.Parameter(cr.zeros(1, dtype=cr.float64))
    step(cr.optim.Adadelta([p], lr=1.0, rho=0.95, eps=1e-6), p, [3.0])
    # printed: √h / (√r + ε), which is 0 for the h = 0 of the start, and for ever
    assert p.item() == pytest.approx(-3.0 * math.sqrt(1e-6) / math.sqrt(0.05 * 9 + 1e-6))


def test_errata_rmsprop_adds():
    p = nn.Parameter(cr.zeros(1, dtype=cr.float64))
    optimizer = cr.optim.RMSprop([p], lr=0.1, alpha=0.9)
    for g in (3.0, 1.0):
        step(optimizer, p, [g])
    square = 0.9 * (0.1 * 9) + 0.1 * 1  # printed: with a minus
    assert optimizer.state[p]["square_avg"].item() == pytest.approx(square)


def test_errata_cross_entropy_is_positive():
    y, p = cr.tensor([1.0, 0.0, 1.0]), cr.tensor([0.9, 0.2, 0.4])
    loss = F.binary_cross_entropy(p, y, reduction="sum")
    # printed: without the minus, and 1 - ŷ where 1 - y belongs
    assert loss.item() == pytest.approx(-math.log(0.9) - math.log(0.8) - math.log(0.4))
    assert loss.item() > 0


def test_errata_the_penalty_is_added():
    w = leaf([3.0, -4.0])
    for strength in (0.0, 0.1, 1.0):
        penalised = (w - 1).square().sum() + strength * w.square().sum()  # printed: "1 / (λ R(W))"
        assert penalised.item() == pytest.approx(29 + 25 * strength)
    p = nn.Parameter(cr.tensor([3.0, -4.0]))
    step(cr.optim.SGD([p], lr=0.1, weight_decay=0.5), p, [0.0, 0.0])
    close(p, [3 * 0.95, -4 * 0.95], rtol=1e-6)  # smaller, the larger λ is


def test_errata_f1():
    from chainrule.utils.metrics import f1

    target, found = [1, 1, 1, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0, 0, 0]
    precision, recall, negatives = 1 / 2, 1 / 3, 4 / 6
    assert f1(found, target) == pytest.approx(2 * precision * recall / (precision + recall))
    printed = 2 * precision * negatives / (precision + negatives)  # of the two predictive values
    assert abs(f1(found, target) - printed) > 0.1


def gates(cell, x, h):
    """The parts of W_i x + b_i and of W_h h + b_h, one for each gate."""
    return [
        np.split(w.detach().numpy() @ v + b.detach().numpy(), len(w) // len(h))
        for w, v, b in ((cell.weight_ih, x, cell.bias_ih), (cell.weight_hh, h, cell.bias_hh))
    ]


def test_errata_lstm():
    cr.manual_seed(0)
    cell, r = nn.LSTMCell(3, 2).double(), rng(0)
    x, h, c = r.standard_normal(3), r.standard_normal(2), r.standard_normal(2)
    got_h, got_c = cell(cr.tensor(x), (cr.tensor(h), cr.tensor(c)))
    (xi, xf, xg, xo), (hi, hf, hg, ho) = gates(cell, x, h)
    state = sigmoid(xf + hf) * c + sigmoid(xi + hi) * np.tanh(xg + hg)  # the forget gate has weights of its own
    close(got_c, state)
    close(got_h, sigmoid(xo + ho) * np.tanh(state))  # printed in L4: o x c
    assert not np.allclose(got_h.detach().numpy(), sigmoid(xo + ho) * state, rtol=1e-2)


def test_errata_gru_swaps_the_update_gate():
    cr.manual_seed(0)
    cell, r = nn.GRUCell(3, 2).double(), rng(0)
    x, h = r.standard_normal(3), r.standard_normal(2)
    (xr, xz, xn), (hr, hz, hn) = gates(cell, x, h)
    z, new = sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn)
    close(cell(cr.tensor(x), cr.tensor(h)), (1 - z) * new + z * h)
    swapped = sigmoid(-(xz + hz))  # L1's z is 1 - z: the gate's weights with the other sign
    close(cell(cr.tensor(x), cr.tensor(h)), (1 - swapped) * h + swapped * new)


def test_errata_momentum_with_the_rate_inside_differs_where_the_rate_changes():
    p, w, v = nn.Parameter(cr.zeros(1, dtype=cr.float64)), 0.0, 0.0
    optimizer, gaps = cr.optim.SGD([p], lr=0.1, momentum=0.9), []
    for rate in (0.1, 0.1, 0.1, 0.01):
        optimizer.param_groups[0]["lr"] = rate
        step(optimizer, p, [1.0])
        v = 0.9 * v - rate * 1.0  # L1
        w += v
        gaps.append(abs(p.item() - w))
    assert max(gaps[:3]) < 1e-12
    assert gaps[3] > 0.1


def test_errata_dropout_drops_with_p_and_scales_in_training():
    cr.manual_seed(0)
    x, p = cr.ones(100_000), 0.2
    y = F.dropout(x, p)
    assert sorted(set(y.tolist())) == [0.0, 1.25]  # L1: p is kept, and the test-time output is multiplied by p
    assert (y == 0).double().mean().item() == pytest.approx(p, abs=0.01)
    assert y.mean().item() == pytest.approx(1, abs=0.01)
    assert cr.equal(F.dropout(x, p, training=False), x)
    keep = 1 - p
    lectures = x * (cr.rand(x.shape) < keep)
    assert lectures.mean().item() == pytest.approx((keep * x).mean().item(), abs=0.01)  # their test time
    assert (lectures / keep).mean().item() == pytest.approx(y.mean().item(), abs=0.02)


def test_errata_max_pool_of_the_template_response_needs_ceil_mode():
    pooled = F.max_pool2d(template_response(), 2, ceil_mode=True)[0, 0]
    expected = [[1, 0.33, 0.56, 0.33], [0.33, 1, 0.33, 0.56], [0.56, 0.33, 1, 0.11], [0.33, 0.56, 0.11, 0.78]]
    close(pooled, expected, atol=5e-3)
    assert F.max_pool2d(template_response(), 2).shape[-2:] == (3, 3)


# -- 1 to 5 -----------------------------------------------------------------------------------------------------------


def test_01_softmax():
    x = cr.tensor([-3.44, 1.16, -0.81, 3.91], dtype=cr.float64)
    close(x.exp(), [0.03, 3.19, 0.44, 49.90], atol=5e-3)
    p = F.softmax(x, dim=0)
    close(p, [0.0006, 0.0596, 0.0083, 0.9315], atol=5e-5)
    assert p.sum().item() == pytest.approx(1, abs=1e-15)
    assert (p >= 0).all()


def test_02_gradient_by_backprop_and_by_differences():
    def f(x):
        return (2 * x[0] + 3 * x[1]) ** 2 + 3

    x = leaf([1.0, 3.0])
    f(x).backward()
    assert x.grad[0].item() == 44
    h = 2e-2 / 2
    up, down = (
        f(cr.tensor([1.0 + h, 3.0], dtype=cr.float64)).item(),
        f(cr.tensor([1.0 - h, 3.0], dtype=cr.float64)).item(),
    )
    assert (round(up, 4), round(down, 4)) == (124.4404, 123.5604)
    assert (up - down) / 2e-2 == pytest.approx(44, abs=1e-3)  # printed: 43.9999
    up32, down32 = f(cr.tensor([1.0 + h, 3.0])).item(), f(cr.tensor([1.0 - h, 3.0])).item()
    assert (up32 - down32) / 2e-2 == pytest.approx(44, abs=5e-3)


def test_03_fully_connected_layer():
    r = rng(0)
    W, x, y = leaf(r.standard_normal((3, 4))), leaf(r.standard_normal(4)), r.standard_normal(3)
    loss = 0.5 * ((W @ x - cr.tensor(y)) ** 2).sum()
    loss.backward()
    residual = W.array @ x.array - y
    close(W.grad, np.outer(residual, x.array))
    close(x.grad, W.array.T @ residual)


def test_03_three_linear_layers():
    r = rng(1)
    W1, W2, W3 = (leaf(r.standard_normal(s)) for s in ((5, 4), (3, 5), (2, 3)))
    x, y = r.standard_normal(4), r.standard_normal(2)
    (0.5 * ((W3 @ (W2 @ (W1 @ cr.tensor(x))) - cr.tensor(y)) ** 2).sum()).backward()
    a1 = W1.array @ x
    a2 = W2.array @ a1
    e = W3.array @ a2 - y
    close(W3.grad, np.outer(e, a2))
    close(W2.grad, np.outer(W3.array.T @ e, a1))
    close(W1.grad, np.outer(W2.array.T @ W3.array.T @ e, x))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_04_two_layer_sigmoid_network():
    r = rng(2)
    W1, W2 = leaf(r.standard_normal((4, 3))), leaf(r.standard_normal((1, 4)))
    x, t = r.standard_normal(3), 1.0
    q = cr.sigmoid(W1 @ cr.tensor(x))
    y = cr.sigmoid(W2 @ q)
    (0.5 * (t - y) ** 2).sum().backward()
    qn, yn = q.array, y.array
    delta2 = -(t - yn) * yn * (1 - yn)
    close(W2.grad, delta2[:, None] * qn)
    delta1 = (W2.array.T @ delta2) * qn * (1 - qn)
    close(W1.grad, np.outer(delta1, x))


def test_04_delta_recursion_through_many_layers():
    r = rng(3)
    sizes = [3, 5, 4, 2]
    Ws = [leaf(r.standard_normal((o, i))) for i, o in itertools.pairwise(sizes)]
    x, t = r.standard_normal(3), np.array([0.2, 0.9])
    activations = [cr.tensor(x)]
    for W in Ws:
        activations.append(cr.sigmoid(W @ activations[-1]))
    (0.5 * ((activations[-1] - cr.tensor(t)) ** 2).sum()).backward()
    h = [a.detach().numpy() for a in activations]
    delta = (h[-1] - t) * h[-1] * (1 - h[-1])
    for layer in range(len(Ws) - 1, -1, -1):
        close(Ws[layer].grad, np.outer(delta, h[layer]))
        delta = (Ws[layer].array.T @ delta) * h[layer] * (1 - h[layer])


def test_04_backpropagation_through_time():
    r = rng(4)
    T, n, d, k = 5, 4, 3, 2
    Whh, Wxh, Why = (
        leaf(r.standard_normal((n, n)) * 0.5),
        leaf(r.standard_normal((n, d))),
        leaf(r.standard_normal((k, n))),
    )
    bh, by, h0 = leaf(r.standard_normal(n)), leaf(r.standard_normal(k)), leaf(r.standard_normal(n))
    xs, ts = r.standard_normal((T, d)), r.standard_normal((T, k))
    h, hs, es, loss = h0, [h0.array], [], 0.0
    for x, t in zip(xs, ts, strict=True):
        h = cr.tanh(Whh @ h + Wxh @ cr.tensor(x) + bh)
        y = Why @ h + by
        loss = loss + 0.5 * ((y - cr.tensor(t)) ** 2).sum()
        hs.append(h.array)
        es.append(y.array - t)
    loss.backward()
    gWhh, gWxh, gWhy = np.zeros((n, n)), np.zeros((n, d)), np.zeros((k, n))
    gbh, gby, carried = np.zeros(n), np.zeros(k), np.zeros(n)
    for i in range(T - 1, -1, -1):
        gWhy += np.outer(es[i], hs[i + 1])
        gby += es[i]
        delta = (Why.array.T @ es[i] + carried) * (1 - hs[i + 1] ** 2)
        gWhh += np.outer(delta, hs[i])
        gWxh += np.outer(delta, xs[i])
        gbh += delta
        carried = Whh.array.T @ delta
    for tensor, expected in ((Whh, gWhh), (Wxh, gWxh), (Why, gWhy), (bh, gbh), (by, gby), (h0, carried)):
        close(tensor.grad, expected)


def test_05_squared_error_per_example():
    target, output = (
        cr.tensor([4.2, 2.4, -2.9, 0.0], dtype=cr.float64),
        cr.tensor([4.1, 0.4, -1.4, 1.0], dtype=cr.float64),
    )
    close(F.mse_loss(output, target, reduction="none"), [0.01, 4, 2.25, 1.0])


# -- 10 to 14: convolution --------------------------------------------------------------------------------------------


def test_10_mean_filter_on_the_square_of_90():
    image = np.zeros((10, 10))
    image[2:7, 3:8] = 90
    image[5, 4] = 0
    image[8, 2] = 90
    out = F.conv2d(cr.tensor(image)[None, None], cr.full((1, 1, 3, 3), 1 / 9, dtype=cr.float64))[0, 0]
    expected = [
        [0, 10, 20, 30, 30, 30, 20, 10],
        [0, 20, 40, 60, 60, 60, 40, 20],
        [0, 30, 60, 90, 90, 90, 60, 30],
        [0, 30, 50, 80, 80, 90, 60, 30],
        [0, 30, 50, 80, 80, 90, 60, 30],
        [0, 20, 30, 50, 50, 60, 40, 20],
        [10, 20, 30, 30, 30, 30, 20, 10],
        [10, 10, 10, 0, 0, 0, 0, 0],
    ]
    close(out, expected, atol=1e-9)


def test_10_sobel_masks_respond_to_edges():
    masks = cr.tensor([[[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]], [[[1, 2, 1], [0, 0, 0], [-1, -2, -1]]]])
    step = np.zeros((1, 1, 5, 6), dtype=np.float32)
    step[..., 3:] = 1
    across, along = F.conv2d(cr.tensor(step), masks)[0]
    close(across, np.tile([0, -4, -4, 0], (3, 1)))
    close(along, np.zeros((3, 4)))


def test_10_correlation_is_convolution_with_the_flipped_kernel():
    r = rng(5)
    signal, kernel = r.standard_normal(12), r.standard_normal(4)
    got = F.conv1d(cr.tensor(signal)[None, None], cr.tensor(kernel[::-1].copy())[None, None])[0, 0]
    close(got, np.convolve(signal, kernel, "valid"))


def template_response():
    image = -np.ones((9, 9))
    for i in range(1, 8):
        image[i, i] = image[i, 8 - i] = 1
    template = 2 * np.eye(3) - 1
    return F.conv2d(cr.tensor(image)[None, None], cr.tensor(template / 9)[None, None])


def test_11_template_correlation_and_pooling():
    expected = [
        [0.77, -0.11, 0.11, 0.33, 0.55, -0.11, 0.33],
        [-0.11, 1.00, -0.11, 0.33, -0.11, 0.11, -0.11],
        [0.11, -0.11, 1.00, -0.33, 0.11, -0.11, 0.55],
        [0.33, 0.33, -0.33, 0.55, -0.33, 0.33, 0.33],
        [0.55, -0.11, 0.11, -0.33, 1.00, -0.11, 0.11],
        [-0.11, 0.11, -0.11, 0.33, -0.11, 1.00, -0.11],
        [0.33, -0.11, 0.55, 0.33, 0.11, -0.11, 0.77],
    ]
    close(template_response()[0, 0], expected, atol=0.0101)  # the lecture cuts after two digits


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "out"),
    [(7, 3, 1, 0, 5), (7, 3, 2, 0, 3), (7, 3, 3, 0, 2), (10, 5, 1, 2, 10), (32, 5, 1, 2, 32)],
)
def test_12_output_sizes(size, kernel, stride, padding, out):
    x = cr.zeros(1, 1, size, size)
    y = nn.Conv2d(1, 1, kernel, stride=stride, padding=padding)(x)
    assert y.shape == (1, 1, out, out)  # (7 - 3) / 3 + 1 = 2.33 is cut to 2
    if stride == 1:
        assert nn.Conv2d(1, 1, kernel, padding="same")(x).shape == x.shape
        assert nn.Conv2d(1, 1, kernel, padding=(kernel - 1) // 2)(x).shape == x.shape


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_13_parameter_counts():
    assert count(nn.Conv2d(3, 8, 5)) == 608
    assert count(nn.Conv2d(8, 16, 5)) == 3216
    assert count(nn.Conv2d(16, 32, 1)) == 544
    assert count(nn.Conv2d(1, 1, 5)) == 26
    assert (28 * 28 + 1) * 24 * 24 == 452_160
    assert count(nn.Linear(28 * 28, 24 * 24)) == 452_160
    assert count(nn.Conv2d(3, 100, 3, bias=False)) == 2_700
    assert count(nn.Linear(1000, 1000, bias=False)) == 1_000_000
    assert (512**2 + 1) * 8 == 2_097_160
    assert count(nn.Conv2d(1, 8, 5, bias=False)) == 200


def test_14_stacking():
    x = cr.zeros(1, 1, 28, 28)
    first = nn.Conv2d(1, 20, 5)(x)
    second = nn.Conv2d(20, 30, 5)(first)
    assert (first.shape, second.shape) == ((1, 20, 24, 24), (1, 30, 20, 20))
    assert nn.Conv2d(1, 3, 5)(x).shape == (1, 3, 24, 24)


# -- 22: checks before and while training -----------------------------------------------------------------------------


def test_22_centred_differences_in_double_precision():
    r = rng(6)
    x = r.standard_normal(5)

    def f(t):
        return (cr.tanh(t) * t).sum()

    t = leaf(x)
    f(t).backward()
    for h in (1e-5, 1e-7 ** (1 / 3)):
        numeric = numeric_gradient(lambda a: f(cr.tensor(a)).item(), x, h)
        error = np.abs(numeric - t.grad.numpy()) / np.maximum(np.abs(numeric), np.abs(t.grad.numpy()))
        assert error.max() < 1e-4


def mlp(*sizes, activation=nn.ReLU):
    layers = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), activation()]
    return nn.Sequential(*layers[:-1])


def test_22_the_untrained_network_is_at_chance():
    cr.manual_seed(0)
    x, y = cr.randn(256, 20), cr.randint(0, 10, (256,))
    assert F.cross_entropy(mlp(20, 64, 10)(x), y).item() == pytest.approx(math.log(10), abs=0.15)


def test_22_a_few_samples_are_learned_by_heart():
    cr.manual_seed(0)
    x, y = cr.randn(10, 20), cr.randint(0, 5, (10,))
    model = mlp(20, 64, 5)
    optimizer = cr.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-2
    assert (model(x).argmax(1) == y).all()


def test_22_update_ratio_and_dead_units():
    cr.manual_seed(0)
    model = mlp(20, 64, 64, 10)
    x, y = cr.randn(128, 20), cr.randint(0, 10, (128,))
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(x), y).backward()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    ratios = [
        ((p - b).norm() / b.norm()).item() for p, b in zip(model.parameters(), before, strict=True) if b.ndim == 2
    ]
    assert all(1e-5 < r < 1e-1 for r in ratios)
    hidden = model[:2](x)
    assert not (hidden == 0).all(0).any()  # no unit is dead on the whole batch
    with cr.no_grad():
        model[0].bias.fill_(-100)
    assert (model[:2](x) == 0).all(0).sum().item() == 64


# -- 28: binary classification, kinks, and who learns slowly ----------------------------------------------------------


def test_28_hinge_losses_and_their_kinks():
    score, y = leaf([0.3, 1.0, 2.0, -0.5]), cr.tensor([1.0, 1.0, 1.0, 1.0], dtype=cr.float64)
    loss = F.hinge_loss(score, y, reduction="none")
    close(loss, [0.7, 0, 0, 1.5])
    loss.sum().backward()
    close(score.grad, [-1, 0, 0, -1])  # at the kink, 1, the least element: 0
    close(F.squared_hinge_loss(score, y, reduction="none"), [0.49, 0, 0, 2.25])
    scores = cr.tensor([[2.0, 1.5, -1.0]], dtype=cr.float64)
    assert F.multiclass_hinge_loss(scores, cr.tensor([0])).item() == pytest.approx(0.5)
    assert F.multiclass_hinge_loss(scores, cr.tensor([2])).item() == pytest.approx((1 + 1 + 2) + (1 + 1 + 1.5))
    assert F.multiclass_hinge_loss(scores, cr.tensor([0]), p=2).item() == pytest.approx(0.25)


def test_28_the_perceptron_moves_by_y_times_x():
    x, y = np.array([1.0, -2.0, 0.5]), -1.0
    w = leaf([0.5, -0.1, 0.2])
    assert (w.array @ x) * y < 0  # misclassified
    F.perceptron_loss((w * cr.tensor(x)).sum()[None], cr.tensor([y], dtype=cr.float64), reduction="sum").backward()
    close(-w.grad, y * x)


def test_28_a_saturated_sigmoid_neuron_learns_faster_with_cross_entropy():
    def after(loss, steps=100, rate=0.15):
        w, b = leaf(2.0), leaf(2.0)
        for _ in range(steps):
            gw, gb = cr.grad(loss(cr.sigmoid(w * 1.0 + b)), (w, b))
            with cr.no_grad():
                w -= rate * gw
                b -= rate * gb
        return cr.sigmoid(w + b).item()

    quadratic = after(lambda a: a * a / 2)
    cross_entropy = after(lambda a: -(1 - a).log())
    assert quadratic > 0.7  # still near its bad start of 0.98
    assert cross_entropy < 0.2


def test_28_the_first_of_four_sigmoid_layers_learns_about_100_times_slower():
    cr.manual_seed(0)
    sizes = [784, 30, 30, 30, 30, 10]
    model = mlp(*sizes, activation=nn.Sigmoid)
    with cr.no_grad():  # the lecture's initialisation: standard normal, scaled by the fan-in
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(0, layer.in_features**-0.5)
                layer.bias.normal_()
    x, target = cr.rand(64, 784), F.one_hot(cr.randint(0, 10, (64,)), 10).float()
    deltas = []
    h = x
    for layer in model:
        h = layer(h)
        if isinstance(layer, nn.Linear):
            h.retain_grad()
            deltas.append(h)
    (0.5 * ((cr.sigmoid(h) - target) ** 2).sum()).backward()
    norms = [d.grad.norm().item() for d in deltas]
    assert norms[3] / norms[0] > 30
    assert all(a < b for a, b in itertools.pairwise(norms[:4]))
