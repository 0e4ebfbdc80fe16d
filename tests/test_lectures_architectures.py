"""The lectures' architectures in numbers, and what is done with them besides training: items 15, 16, 17 and 26.

Item numbers as in test_lectures.py.
"""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import models, nn, optim
from chainrule.models.googlenet import Inception
from chainrule.nn import functional as F
from chainrule.utils.flop_counter import FlopCounterMode


@pytest.fixture(autouse=True)
def _seed():
    cr.manual_seed(0)


@pytest.fixture
def unfilled(monkeypatch):
    """Networks of 60 or 140 million weights without their starting values: only shapes are looked at."""
    for init in ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"):
        monkeypatch.setattr(nn.init, init, lambda tensor, *args, **kwargs: tensor)


def count(model):
    return sum(p.numel() for p in model.parameters())


def maps(layers, x):
    """(channels, height, width) after each convolution and pooling."""
    found = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            found.append(tuple(x.shape[1:]))
    return found


# -- 15: AlexNet and ZFNet --------------------------------------------------------------------------------------------


def test_15_alexnet_shapes(unfilled):
    model = models.AlexNet2012().eval()
    with cr.no_grad():
        x = cr.zeros(1, 3, 227, 227)
        assert maps(model.features, x) == [
            *((96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13)),
            *((384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)),
        ]
    kinds = [type(m).__name__ for m in model.features if not isinstance(m, nn.ReLU)]
    conv, pool, norm = "Conv2d", "MaxPool2d", "LocalResponseNorm"
    # The lecture draws each normalisation after its pooling; the paper normalises first (section 3.5).
    assert kinds == [conv, norm, pool, conv, norm, pool, conv, conv, conv, pool]
    windows = [(m.kernel_size, m.stride, m.padding) for m in model.features if isinstance(m, nn.Conv2d)]
    assert windows == [((11, 11), (4, 4), (0, 0)), ((5, 5), (1, 1), (2, 2)), *[((3, 3), (1, 1), (1, 1))] * 3]
    assert {(m.kernel_size, m.stride) for m in model.features if isinstance(m, nn.MaxPool2d)} == {(3, 2)}
    linear = [m for m in model.classifier if isinstance(m, nn.Linear)]
    assert [m.in_features for m in linear] + [linear[-1].out_features] == [6 * 6 * 256, 4096, 4096, 1000]


def test_15_alexnet_in_two_halves(unfilled):
    """Grouped kernels see half the channels, 5x5x48 and 3x3x192, but for the third layer; 60 million parameters."""
    model = models.AlexNet2012()
    kernels = [tuple(m.weight.shape[1:]) for m in model.features if isinstance(m, nn.Conv2d)]
    assert kernels == [(3, 11, 11), (48, 5, 5), (256, 3, 3), (192, 3, 3), (192, 3, 3)]
    assert count(model) == 60_965_224
    whole = sum(m.weight.numel() * m.groups for m in model.features if isinstance(m, nn.Conv2d))
    halved = sum(m.weight.numel() for m in model.features if isinstance(m, nn.Conv2d))
    assert whole - halved == 48 * 25 * 256 + 192 * 9 * 384 + 192 * 9 * 256


def test_15_a_grouped_convolution_is_two_side_by_side():
    both = nn.Conv2d(6, 4, 3, groups=2)
    x = cr.randn(1, 6, 5, 5)
    halves = [
        F.conv2d(x[:, 3 * i : 3 * i + 3], both.weight[2 * i : 2 * i + 2], both.bias[2 * i : 2 * i + 2]) for i in (0, 1)
    ]
    np.testing.assert_allclose(both(x).detach().numpy(), cr.cat(halves, 1).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_errata_alexnet_takes_227_pixels():
    """(224 - 11) / 4 + 1 = 54.25 leaves pixels over; (227 - 11) / 4 + 1 = 55 does not."""
    assert (224 - 11) % 4 != 0
    assert (227 - 11) % 4 == 0
    first = nn.Conv2d(3, 1, 11, stride=4)
    assert first(cr.zeros(1, 3, 224, 224)).shape[-1] == 54  # not the 55 of the lecture
    x = cr.zeros(1, 3, 227, 227, requires_grad=True)
    out = first(x)
    assert out.shape[-1] == 55
    out.sum().backward()
    assert (x.grad[..., -1] != 0).any()  # the last column is seen


def test_15_zfnet(unfilled):
    """7x7 at stride 2 in the first layer; conv3 to conv5 with 512, 1024, 512 channels in the larger form."""
    model = models.ZFNet(channels=(96, 256, 512, 1024, 512), hidden=8)
    convolutions = [m for m in model.features if isinstance(m, nn.Conv2d)]
    assert (convolutions[0].kernel_size, convolutions[0].stride) == ((7, 7), (2, 2))
    assert [m.out_channels for m in convolutions[2:]] == [512, 1024, 512]
    with cr.no_grad():
        assert maps(models.ZFNet(hidden=8).eval().features, cr.zeros(1, 3, 224, 224)) == [
            *((96, 110, 110), (96, 55, 55), (256, 26, 26), (256, 13, 13)),
            *((384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)),
        ]


def test_errata_lenet_has_61706_parameters():
    """The lecture says 90K parameters; widely cited are 60K. Counted: what stands in the network, all weights free."""
    assert count(models.LeNet5()) == 61_706


# -- 16: multiply-adds ------------------------------------------------------------------------------------------------


def multiply_adds(model, *shape):
    with cr.no_grad(), FlopCounterMode() as counter:
        model.eval()(cr.zeros(*shape))
    return counter.get_total_flops() // 2  # two operations each


def test_16_a_bottleneck_is_cheaper():
    """Per position: 256x3x3x256 = 589,824 directly; 16,384 + 36,864 + 16,384 = 69,632 through 64 channels."""
    one = nn.Conv2d(256, 256, 3, padding=1, bias=False)
    steps = [nn.Conv2d(256, 64, 1), nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 256, 1)]
    assert multiply_adds(one, 1, 256, 1, 1) == 589_824
    shapes = [(256, 1, 1), (64, 1, 1), (64, 1, 1)]
    assert [multiply_adds(m, 1, *s) for m, s in zip(steps, shapes, strict=True)] == [16_384, 36_864, 16_384]
    assert multiply_adds(nn.Sequential(*steps), 1, 256, 1, 1) == 69_632
    assert multiply_adds(nn.Sequential(*steps), 2, 256, 7, 5) == 2 * 35 * 69_632


@pytest.mark.parametrize(
    ("name", "billions"), [("vgg19", (19.55, 19.65)), ("resnet34", (3.55, 3.7)), ("googlenet", (1.45, 1.5))]
)
def test_16_multiply_adds_of_whole_networks(name, billions, unfilled):
    """VGG-19 19.6 against ResNet-34 3.6; GoogLeNet's budget was 1.5: billions of multiply-adds for 224 x 224."""
    low, high = billions
    assert low < multiply_adds(getattr(models, name)(), 1, 3, 224, 224) / 1e9 <= high


def test_16_backward_costs_twice_as_much():
    layer, x = nn.Conv2d(3, 4, 3), cr.randn(2, 3, 6, 6, requires_grad=True)
    with FlopCounterMode() as counter:
        layer(x).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * (2 * 4 * 16 * 27)


# -- 17: VGG and GoogLeNet --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "depth", "layout"),
    [
        ("D", 16, [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]),
        ("E", 19, [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"]),
    ],
)
def test_17_vgg_layouts(letter, depth, layout, unfilled):
    features = models.vgg.make_layers(models.vgg.LAYOUTS[letter])
    found = ["M" if isinstance(m, nn.MaxPool2d) else m.out_channels for m in features if not isinstance(m, nn.ReLU)]
    assert found == layout
    convolutions = [m for m in features if isinstance(m, nn.Conv2d)]
    assert {(m.kernel_size, m.stride, m.padding) for m in convolutions} == {((3, 3), (1, 1), (1, 1))}
    model = getattr(models, f"vgg{depth}")()
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [4096, 4096, 1000]
    assert len(convolutions) + len(linear) == depth


def test_17_googlenet_has_far_fewer_parameters(unfilled):
    """12 times fewer than AlexNet, 27 times fewer than VGG-16: so 5 million, the classifier's million left out.

    Batch norm, and a 3x3 for the 5x5, as in the published weights, change that by a tenth.
    """
    model = models.GoogLeNet(aux_logits=False)
    features = count(model) - count(model.fc)
    assert 10.5 < count(models.AlexNet2012()) / features < 12.5
    assert 24 < count(models.vgg16()) / features < 28


def test_17_googlenet_is_22_layers_deep():
    model = models.GoogLeNet(aux_logits=False, init_weights=False)

    def depth(module):
        """Layers with weights on the longest way through."""
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            return 1
        within = [depth(m) for m in module.children()]
        return max(within, default=0) if isinstance(module, Inception) else sum(within)

    assert depth(model) == 22
    assert model.fc.in_features == 1024  # the code x'
    with cr.no_grad():
        seen = []
        model.avgpool.register_forward_hook(lambda module, args, out: seen.append((args[0].shape, out.shape)))
        model.eval()(cr.zeros(1, 3, 224, 224))
    assert seen == [((1, 1024, 7, 7), (1, 1024, 1, 1))]


def test_17_auxiliary_losses_weigh_three_tenths():
    model = models.GoogLeNet(4, init_weights=False, dropout=0.0, dropout_aux=0.0)
    y = cr.tensor([0, 1])
    out = model(cr.randn(2, 3, 64, 64))
    (F.cross_entropy(out.logits, y) + 0.3 * sum(F.cross_entropy(aux, y) for aux in out[1:])).backward()
    for logits, bias, weight in (
        (out.logits, model.fc.bias, 1.0),
        (out.aux_logits1, model.aux1.fc2.bias, 0.3),
        (out.aux_logits2, model.aux2.fc2.bias, 0.3),
    ):
        expected = weight * (F.softmax(logits, 1) - F.one_hot(y, 4)).mean(0)
        np.testing.assert_allclose(bias.grad.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-6)
    assert model.inception4a.branch1.conv.weight.grad.any()


# -- 26: generative adversarial networks ------------------------------------------------------------------------------


def objective(real_logits, false_logits):
    """E log D(x) + E log(1 - D(G(z)))"""
    return F.logsigmoid(real_logits).mean() + F.logsigmoid(-false_logits).mean()


def test_26_best_discriminator_and_value_of_the_game():
    """For fixed G the best D is p / (p + q), the value 2 JSD(p, q) - log 4: -log 4 where G has found the data."""
    p, q = cr.tensor([0.5, 0.3, 0.2, 0.0]), cr.tensor([0.1, 0.2, 0.3, 0.4])
    logits = nn.Parameter(cr.zeros(4))
    optimizer = optim.Adam([logits], lr=0.3)
    for _ in range(150):
        optimizer.zero_grad()
        value = (p * F.logsigmoid(logits) + q * F.logsigmoid(-logits)).sum()
        (-value).backward()
        optimizer.step()
    middle = (p + q) / 2
    jsd = 0.5 * ((p[:3] * (p[:3] / middle[:3]).log()).sum() + (q * (q / middle).log()).sum())
    np.testing.assert_allclose(cr.sigmoid(logits).detach().numpy(), (p / (p + q)).numpy(), atol=5e-3)
    assert value.item() == pytest.approx((2 * jsd).item() - math.log(4), abs=2e-3)
    assert objective(cr.zeros(5), cr.zeros(5)).item() == pytest.approx(-math.log(4))


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (3, 1), (2, 2)])
def test_26_discriminator_for_k1_then_generator_for_k2_steps(k1, k2):
    generator = nn.Linear(1, 1)
    discriminator = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    with cr.no_grad():
        generator.weight.fill_(1.0)
        generator.bias.fill_(0.0)
    players = {
        "D": (discriminator, optim.Adam(discriminator.parameters(), lr=2e-2), k1, -1),
        "G": (generator, optim.Adam(generator.parameters(), lr=2e-2), k2, 1),
    }
    moved = []
    for _ in range(150):
        for name, (player, optimizer, steps, sign) in players.items():
            for _ in range(steps):
                before = [p.detach().clone() for m in (discriminator, generator) for p in m.parameters()]
                real, z = 2 + 0.5 * cr.randn(32, 1), cr.randn(32, 1)
                optimizer.zero_grad()
                (sign * objective(discriminator(real), discriminator(generator(z)))).backward()
                optimizer.step()
                if len(moved) < 2 * (k1 + k2):
                    after = [p for m in (discriminator, generator) for p in m.parameters()]
                    changed = [not cr.equal(a, b) for a, b in zip(after, before, strict=True)]
                    assert changed == [player is discriminator] * 4 + [player is generator] * 2
                    moved.append(name)
    assert moved == (["D"] * k1 + ["G"] * k2) * 2
    assert 0.6 < generator(cr.randn(500, 1)).mean().item() < 3  # from 0 on the way to 2; the two circle about the end


# -- 26: images from networks -----------------------------------------------------------------------------------------


@pytest.fixture
def network():
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
    )
    return net.double().requires_grad_(False)


def variation(x):
    """Total variation: the sum of the differences between neighbours."""
    return (x[..., 1:, :] - x[..., :-1, :]).abs().sum() + (x[..., :, 1:] - x[..., :, :-1]).abs().sum()


@pytest.mark.parametrize("steps", [10, 20])
def test_26_deep_dream(network, steps):
    """Ascent on ‖activation‖² for 10 to 20 steps from the image itself, each of a length that does not depend on it."""
    image = cr.rand(1, 1, 12, 12, dtype=cr.float64)
    x, strengths = image.clone().requires_grad_(), []
    for _ in range(steps):
        strength = network(x).square().sum()
        (g,) = cr.grad(strength, (x,))
        with cr.no_grad():
            x += 0.02 * g / g.abs().mean()
        strengths.append(strength.item())
    assert all(b > a for a, b in itertools.pairwise(strengths))
    assert strengths[-1] > 1.5 * strengths[0]
    assert all(p.grad is None for p in network.parameters())
    resemblance = np.corrcoef(x.detach().numpy().ravel(), image.numpy().ravel())[0, 1]
    assert 0.2 < resemblance < 1  # the image is still in it


def inverted(network, y, penalty, weight, steps=150):
    """min ‖f(x) - y‖² + λ r(x)"""
    cr.manual_seed(1)
    x = (0.5 * cr.randn(1, 1, 12, 12, dtype=cr.float64)).requires_grad_()
    optimizer, first = optim.Adam([x], lr=0.05), None
    for _ in range(steps):
        optimizer.zero_grad()
        misfit = (network(x) - y).square().sum()
        (misfit + weight * penalty(x)).backward()
        optimizer.step()
        first = misfit.item() if first is None else first
    return x.detach(), misfit.item() / first


def test_26_inversion_with_l2_and_total_variation(network):
    image = cr.zeros(1, 1, 12, 12, dtype=cr.float64)
    image[..., 3:9, 4:10] = 1.0
    y = network(image)
    penalties = {"l2": lambda x: x.square().sum(), "tv": variation}
    plain, misfit = inverted(network, y, penalties["l2"], 0.0)
    assert misfit < 0.03
    for name, penalty in penalties.items():
        values = [penalty(plain).item()]
        for weight in (0.003, 0.01, 0.03):
            x, misfit = inverted(network, y, penalty, weight)
            assert misfit < 0.4
            values.append(penalty(x).item())
        assert all(b < a for a, b in itertools.pairwise(values)), name
        assert values[2] < 0.9 * values[0]
