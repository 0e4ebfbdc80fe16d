"""The models that look at images, generate them or act: shapes, parameter counts, and a loss that falls.

Sizes are small; what a paper or PyTorch's model library says of the full network stands in `PARAMETERS`.
"""

import math
import pickle
from unittest import mock

import numpy as np
import pytest

import chainrule as cr
from chainrule import models, nn, optim
from chainrule.nn import functional as F


def count(model):
    return sum(p.numel() for p in model.parameters())


def images(n=4, channels=3, size=32, seed=0):
    return cr.tensor(np.random.default_rng(seed).standard_normal((n, channels, size, size)).astype("float32"))


@pytest.fixture(autouse=True)
def _seed():
    cr.manual_seed(0)


# -- parameter counts: those of PyTorch's model library for 1000 classes, or of the paper ------------------------------
PARAMETERS = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnext50_32x4d": 25_028_904,
    "wide_resnet50_2": 68_883_240,
    "densenet121": 7_978_856,
    "mobilenet_v2": 3_504_872,
    "inception_v3": 27_161_264,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name, monkeypatch):
    # starting values do not matter here, and are most of the time
    for init in ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"):
        monkeypatch.setattr(nn.init, init, lambda tensor, *args, **kwargs: tensor)
    assert count(getattr(models, name)()) == PARAMETERS[name]


def test_counts_of_papers():
    assert count(models.LeNet5()) == 61_706
    assert count(models.NiN()) == 966_986
    assert 36.4e6 < count(models.wide_resnet(28, 10)) < 36.6e6  # 36.5M, table 4 of the paper
    assert 1.6e6 < count(models.preact_resnet(110)) < 1.8e6  # 1.7M, table 6 of He et al.
    assert 4.1e6 < count(models.mobilenet_v1()) < 4.3e6  # 4.2M, table 4
    assert count(models.googlenet(aux_logits=False)) == 6_624_904


# -- training: a few steps on a batch that is to be learned by heart ---------------------------------------------------
CLASSIFIERS = {
    "LeNet5": (lambda: models.LeNet5(4), 1, 32),
    "AlexNet": (lambda: _thin(lambda: models.AlexNet(4)), 3, 63),
    "ZFNet": (lambda: models.ZFNet(4, channels=(8, 8, 8, 8, 8), hidden=32), 3, 224),
    "NiN": (lambda: models.NiN(4), 3, 16),
    "VGG": (
        lambda: _thin(lambda: models.VGG(models.vgg.make_layers([8, "M", 8, "M", 512, "M"], True), 4, False)),
        3,
        32,
    ),
    "ResNet-18": (lambda: models.resnet18(num_classes=4), 3, 32),
    "ResNeXt": (
        lambda: models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], 4, groups=4, width_per_group=4),
        3,
        32,
    ),
    "PreActResNet": (lambda: models.preact_resnet(8, num_classes=4), 3, 16),
    "PreActResNet, bottlenecks": (lambda: models.preact_resnet(11, bottleneck=True, num_classes=4), 3, 16),
    "Wide ResNet": (lambda: models.wide_resnet(10, 2, num_classes=4), 3, 16),
    "stochastic depth": (lambda: models.stochastic_depth_resnet(14, num_classes=4), 3, 16),
    "ResNet of ResNets": (lambda: models.resnet_of_resnets(8, num_classes=4), 3, 16),
    "SE-ResNet-18": (lambda: models.se_resnet18(num_classes=4), 3, 32),
    "SE bottleneck": (lambda: models.ResNet(models.senet.SEBottleneck, [1, 1, 1, 1], 4), 3, 32),
    "GoogLeNet": (lambda: models.GoogLeNet(4, aux_logits=False), 3, 64),
    "Inception v2": (lambda: models.InceptionV2(4), 3, 64),
    "Inception v3": (lambda: models.Inception3(4, aux_logits=False, init_weights=False), 3, 75),
    "Inception-ResNet": (lambda: models.InceptionResNetV2(4, blocks=(1, 1, 1)), 3, 75),
    "DenseNet": (lambda: models.DenseNet(8, (2, 2, 2), 16, num_classes=4), 3, 32),
    "DenseNet, recomputed": (lambda: models.DenseNet(8, (2, 2), 16, num_classes=4, memory_efficient=True), 3, 32),
    "MobileNet v1": (lambda: models.mobilenet_v1(num_classes=4, width_mult=0.25), 3, 32),
    "MobileNet v2": (lambda: models.mobilenet_v2(num_classes=4, width_mult=0.25), 3, 32),
    "spatial transformer": (lambda: models.SpatialTransformerNet(4, 3, 16), 3, 16),
}


# without normalisation the first steps only find the scale
SLOW_TO_START = {"AlexNet", "ZFNet", "NiN"}


def _thin(make):
    """The large hidden layers, narrower, and never filled: what is under test are the convolutions."""
    with mock.patch.object(nn.Linear, "reset_parameters", return_value=None):
        model = make()
    first = next(m for m in model.classifier if isinstance(m, nn.Linear))
    model.classifier = nn.Sequential(nn.Linear(first.in_features, 32), nn.ReLU(), nn.Linear(32, 4))
    return model


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_trains(name):
    make, channels, size = CLASSIFIERS[name]
    model = make()
    x, y = images(4, channels, size), cr.arange(4)
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30 if name in SLOW_TO_START else 8):
        optimizer.zero_grad()
        out = model(x)
        assert out.shape == (4, 4)
        loss = F.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.8 * losses[0], losses
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval()(x).shape == (4, 4)


def test_inception_v3_and_its_auxiliary_head():
    model = models.Inception3(4, init_weights=False)
    x = images(2, size=75).requires_grad_()
    with pytest.raises(RuntimeError):
        model(x)  # the auxiliary head needs a grid of 17 x 17; without it 75 pixels are enough
    assert models.InceptionOutputs._fields == ("logits", "aux_logits")


@pytest.mark.slow
def test_inception_v3_trains_with_its_auxiliary_head():
    model, x, y = models.Inception3(4, init_weights=False, dropout=0.0), images(2, size=299), cr.tensor([0, 1])
    optimizer, losses = optim.Adam(model.parameters(), lr=1e-3), []
    for _ in range(4):
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out.logits, y) + 0.3 * F.cross_entropy(out.aux_logits, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None for p in model.parameters())


def test_googlenet_auxiliary_loss():
    model = models.GoogLeNet(4, init_weights=False)
    out = model(images(2, size=64))
    assert isinstance(out, models.GoogLeNetOutputs)
    y = cr.tensor([0, 1])
    loss = F.cross_entropy(out.logits, y) + 0.3 * sum(F.cross_entropy(aux, y) for aux in out[1:])
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval()(images(2, size=64)).shape == (2, 4)


def test_inception_resnet():
    model = models.InceptionResNetV2(4, blocks=(1, 1, 1))
    out = model(images(2, size=75))
    F.cross_entropy(out, cr.tensor([0, 1])).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert [m.project.out_channels for m in (model.blocks_a[0], model.blocks_b[0], model.blocks_c[0])] == [
        *(320, 1088, 2080)
    ]


def test_stochastic_depth_drops_the_last_blocks_most():
    model = models.stochastic_depth_resnet(20, drop_prob=0.5)
    drops = [block.drop_path.p for stage in model.stages for block in stage]
    np.testing.assert_allclose(drops, [0.5 * (i + 1) / 9 for i in range(9)])


def test_highway_starts_as_a_copy():
    layer = models.HighwayLayer(5, gate_bias=-20.0)
    x = cr.randn(3, 5)
    np.testing.assert_allclose(layer(x).detach().numpy(), x.numpy(), atol=1e-6)
    model = models.Highway(4, 16, 2, depth=20)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    x = cr.randn(32, 4)
    y = (x[:, 0] * x[:, 1] > 0).long()
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.45  # chance is 0.69


# -- weights -----------------------------------------------------------------------------------------------------------
def test_weights_from_a_file(tmp_path):
    model = models.mobilenet_v2(num_classes=3, width_mult=0.25)
    cr.save(model.state_dict(), tmp_path / "weights.pth")
    cr.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pth")
    for given in (tmp_path / "weights.pth", str(tmp_path / "checkpoint.pth"), model.state_dict()):
        loaded = models.mobilenet_v2(weights=given, num_classes=3, width_mult=0.25)
        for a, b in zip(model.parameters(), loaded.parameters(), strict=True):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_nothing_is_downloaded():
    for kwargs in ({"weights": "DEFAULT"}, {"pretrained": True}, {"weights": "IMAGENET1K_V1"}):
        with pytest.raises(ValueError, match="downloads no weights"):
            models.mobilenet_v2(width_mult=0.25, **kwargs)
    with pytest.raises(TypeError, match="unexpected keyword"):
        models.mobilenet_v2(classes=3)


def test_densenet_reads_names_of_before_2018():
    model = models.DenseNet(4, (2,), 8, num_classes=2)
    old = {
        k.replace("norm1", "norm.1").replace("conv2", "conv.2") if "denselayer" in k else k: v
        for k, v in model.state_dict().items()
    }
    assert any("norm.1" in k for k in old)
    models.DenseNet(4, (2,), 8, num_classes=2).load_state_dict(old)


def test_models_pickle():
    model = models.resnet18(num_classes=2)
    again = pickle.loads(pickle.dumps(model))
    x = images(1)
    np.testing.assert_array_equal(model.eval()(x).detach().numpy(), again.eval()(x).detach().numpy())


# -- images to images --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bilinear", [False, True])
def test_unet(bilinear):
    model = models.UNet(1, 2, (4, 8, 16), bilinear=bilinear)
    x = images(2, 1, 21)  # an odd size
    y = (x[:, 0] > 0).long()
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        out = model(x)
        assert out.shape == (2, 2, 21, 21)
        loss = F.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_unet_of_the_paper():
    model = models.UNet(1, 2, (2, 2, 2, 2, 2), batch_norm=False, padding=0)
    with cr.no_grad():
        assert model(images(1, 1, 572)).shape == (1, 2, 388, 388)
    assert 31.0e6 < count(models.UNet(1, 2, batch_norm=False, padding=0)) < 31.1e6


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn(stride):
    layout = [4, "M", 4, "M", 6, "M", 6, "M", 8, "M"]
    model = models.FCN(3, stride, layout, hidden=8, dropout=0.0)
    x = images(1, size=64)
    y = (x[:, 0] > 0).long()
    assert model(x).shape == (1, 3, 64, 64)
    assert len(model.skips) == {32: 0, 16: 1, 8: 2}[stride]
    optimizer = optim.Adam(model.parameters(), lr=3e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    with pytest.raises(ValueError, match="multiples of 32"):
        model(images(1, size=40))


def test_bilinear_kernel_interpolates():
    up = nn.ConvTranspose2d(1, 1, 4, 2, 1, bias=False)
    with cr.no_grad():
        up.weight.copy_(models.fcn.bilinear_kernel(1, 2))
    x = images(1, 1, 6)
    wanted = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(
        up(x).detach().numpy()[..., 1:-1, 1:-1], wanted.numpy()[..., 1:-1, 1:-1], rtol=1e-5, atol=1e-6
    )


def test_spatial_transformer_starts_as_the_identity():
    look = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    layer = models.SpatialTransformer(look, 5)
    x = images(2, size=8)
    np.testing.assert_allclose(layer(x).detach().numpy(), x.numpy(), atol=1e-5)
    assert models.SpatialTransformer(look, 5, size=(4, 6))(x).shape == (2, 3, 4, 6)


def test_pose_machine():
    model = models.ConvolutionalPoseMachine(joints=2, stages=3, channels=8, kernel_size=5)
    x = images(2, size=32)
    points = cr.tensor([[[2.0, 3.0], [5.0, 1.0]], [[4.0, 4.0], [1.0, 6.0]]])
    wanted = models.pose_machine.gaussian_maps(points, (8, 8))
    wanted = cr.cat([wanted, 1 - wanted.max(1, keepdim=True).values], 1)
    assert (
        models.pose_machine.gaussian_maps(points, (8, 8)).flatten(2).argmax(-1) == points[..., 1] * 8 + points[..., 0]
    ).all()
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        beliefs = model(x)
        loss = model.loss(beliefs, wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert beliefs.shape == (2, 3, 3, 8, 8)
    assert losses[-1] < 0.3 * losses[0]
    np.testing.assert_allclose(model.locate(wanted.unsqueeze(1)).numpy(), points.numpy())


# -- detection ---------------------------------------------------------------------------------------------------------
def test_box_iou_by_hand():
    a = cr.tensor([[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    b = cr.tensor([[0.5, 0.5, 1.0, 1.0], [1.0, 0.5, 1.0, 1.0], [5.0, 5.0, 1.0, 1.0]])
    np.testing.assert_allclose(models.yolo.box_iou(a, b).numpy(), [1, 1 / 3, 0], rtol=1e-6)


def test_nms_keeps_the_best_of_those_that_overlap():
    boxes = cr.tensor([[0.5, 0.5, 1.0, 1.0], [0.55, 0.5, 1.0, 1.0], [3.0, 3.0, 1.0, 1.0]])
    assert models.yolo.nms(boxes, cr.tensor([0.8, 0.9, 0.7]), 0.5).tolist() == [1, 2]


def test_yolo_finds_what_it_was_shown():
    model = models.YOLO(num_classes=3, boxes=2, channels=(8, 16, 16))
    x = images(2, size=32)
    targets = [[(0, 0.3, 0.4, 0.3, 0.2), (2, 0.8, 0.8, 0.2, 0.2)], [(1, 0.6, 0.1, 0.4, 0.15)]]
    loss_of, optimizer = models.YOLOLoss(3, 2), optim.Adam(model.parameters(), lr=2e-2)
    assert model(x).shape == (2, 4, 4, 13)
    for _ in range(150):
        optimizer.zero_grad()
        loss = loss_of(model(x), targets)
        loss.backward()
        optimizer.step()
    found = models.yolo.decode(model(x), 2, threshold=0.4)
    for image, wanted in zip(found, targets, strict=True):
        assert sorted(c for c, _, _ in image) == sorted(t[0] for t in wanted)
        for c, _, box in image:
            (truth,) = (t[1:] for t in wanted if t[0] == c)
            assert float(models.yolo.box_iou(cr.tensor(box), cr.tensor(truth))) > 0.6


# -- generation --------------------------------------------------------------------------------------------------------
def test_dcgan_shapes():
    generator, discriminator = models.Generator(10, 1, 4, 32), models.Discriminator(1, 4, 32)
    generator.apply(models.gan.weights_init)
    x = generator(cr.randn(3, 10, 1, 1))
    assert x.shape == (3, 1, 32, 32)
    assert x.abs().max() <= 1
    assert discriminator(x).shape == (3,)
    with pytest.raises(ValueError, match="power of 2"):
        models.Generator(size=28)
    with pytest.raises(ValueError, match=r"noise \(N, 10\), not \(3, 9\)"):
        generator(cr.randn(3, 9))
    with pytest.raises(ValueError, match=r"images of 32 x 32, not \(3, 1, 64, 64\)"):
        discriminator(cr.randn(3, 1, 64, 64))
    assert abs(generator.main[0].weight.std().item() - 0.02) < 2e-3
    # PyTorch's DCGAN tutorial has these numbers for 64 x 64 and three channels
    assert count(models.Generator()) == 3_576_704
    assert count(models.Discriminator()) == 2_765_568


def test_gan_objective_moves_both_players():
    """min_G max_D E[log D(x)] + E[log(1 - D(G(z)))]: a step of D raises it, a step of G lowers it."""
    generator, discriminator = models.Generator(4, 1, 4, 8), models.Discriminator(1, 4, 8, nn.Identity)
    real, z = cr.rand(8, 1, 8, 8), cr.randn(8, 4)

    def objective():
        return F.logsigmoid(discriminator(real)).mean() + F.logsigmoid(-discriminator(generator(z))).mean()

    for player, sign in ((discriminator, -1), (generator, 1)):
        optimizer = optim.SGD(player.parameters(), lr=1e-2)
        optimizer.zero_grad()
        before = objective()
        (sign * before).backward()
        optimizer.step()
        assert sign * (objective().item() - before.item()) < 0


def test_gradient_penalty_of_a_linear_critic():
    """For D(x) = w·x the gradient is w everywhere: the penalty is (‖w‖ - 1)², its gradient 2 (‖w‖ - 1) w / ‖w‖."""
    critic = nn.Sequential(nn.Flatten(), nn.Linear(12, 1, bias=False))
    w = critic[1].weight
    penalty = models.gradient_penalty(critic, cr.randn(5, 3, 2, 2), cr.randn(5, 3, 2, 2))
    with pytest.raises(ValueError, match="must have one shape"):
        models.gradient_penalty(critic, cr.randn(5, 3, 2, 2), cr.randn(4, 3, 2, 2))
    norm = w.detach().norm().item()
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)
    penalty.backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * (norm - 1) / norm * w.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_wgan_gp_learns_a_point():
    """The false samples come to lie where the real ones do."""
    generator = nn.Linear(2, 2)
    critic = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
    g_step = optim.Adam(generator.parameters(), lr=5e-2, betas=(0.0, 0.9))
    c_step = optim.Adam(critic.parameters(), lr=1e-2, betas=(0.0, 0.9))
    target = cr.tensor([2.0, -1.0])
    for _ in range(250):
        for _ in range(5):
            real, false = target + 0.1 * cr.randn(16, 2), generator(cr.randn(16, 2)).detach()
            loss = critic(false).mean() - critic(real).mean() + 10 * models.gradient_penalty(critic, real, false)
            c_step.zero_grad()
            loss.backward()
            c_step.step()
        g_step.zero_grad()
        (-critic(generator(cr.randn(16, 2))).mean()).backward()
        g_step.step()
    assert (generator(cr.randn(200, 2)).mean(0) - target).norm().item() < 0.35 * target.norm().item()


def test_draw():
    model = models.DRAW(8, 8, steps=3, hidden=32, z=4, read_size=3, write_size=3)
    x = cr.zeros(4, 8, 8)
    for i in range(4):  # a bar at one of four places
        x[i, :, 2 * i : 2 * i + 2] = 1
    x = x.flatten(1)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = model(x)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(64 * math.log(2), rel=0.2)  # at first each pixel is a coin
    assert losses[-1] < 0.7 * losses[0]
    out = model.generate(5)
    assert out.shape == (5, 64)
    assert 0 <= out.min().item() <= out.max().item() <= 1
    fy, fx, gamma = model.filters(cr.zeros(1, 5), 3)
    np.testing.assert_allclose(fy.sum(2).numpy(), 1, rtol=1e-5)
    assert fy.shape == fx.shape == (1, 3, 8)
    assert gamma.item() == 1


# -- computed tomography -----------------------------------------------------------------------------------------------
def disc(size, radius):
    line = np.arange(size) - (size - 1) / 2
    return cr.tensor((line[:, None] ** 2 + line[None] ** 2 < radius**2)[None].astype("float32"))


def test_projection_of_a_disc():
    """A line at distance s from the centre of a disc of radius r crosses it over 2 sqrt(r² - s²)."""
    layer = models.BackProjection(64, 16)
    sinogram = layer.project(disc(64, 20))
    assert sinogram.shape == (1, 16, layer.detectors)
    s = np.arange(layer.detectors) - (layer.detectors - 1) / 2
    wanted = 2 * np.sqrt(np.maximum(20**2 - s**2, 0))
    error = np.abs(sinogram.numpy()[0] - wanted)
    assert error.mean() < 0.5
    np.testing.assert_allclose(sinogram.sum(2).numpy(), disc(64, 20).sum().item(), rtol=2e-2)  # mass is kept


def test_projection_is_the_adjoint():
    layer = models.BackProjection(9, 5).double()
    rng = np.random.default_rng(0)
    p, x = cr.tensor(rng.standard_normal((2, 5, layer.detectors))), cr.tensor(rng.standard_normal((2, 9, 9)))
    left, right = (layer(p) * x).sum().item(), (p * layer.project(x)).sum().item() * math.pi / 5
    assert left == pytest.approx(right, rel=1e-6)


def test_filtered_back_projection_reconstructs_and_trains():
    model = models.FilteredBackProjection(48, 60)
    image = disc(48, 14)
    sinogram = model.backproject.project(image)
    out = model(sinogram)
    inside, outside = disc(48, 10) > 0, (disc(48, 20) == 0) & (disc(48, 23) > 0)
    assert out[inside].mean().item() == pytest.approx(1, abs=0.05)
    assert out[outside].abs().mean().item() < 0.1
    before = F.mse_loss(out, image)
    optimizer = optim.Adam(model.parameters(), lr=1e-5)
    for _ in range(5):
        optimizer.zero_grad()
        F.mse_loss(model(sinogram), image).backward()
        optimizer.step()
    assert F.mse_loss(model(sinogram), image).item() < before.item()


# -- acting ------------------------------------------------------------------------------------------------------------
def test_cart_pole_is_the_physics():
    env = models.CartPole()
    first, _ = env.reset(seed=3)
    assert env.reset(seed=3)[0] == first
    env.state = [0.0, 0.0, 0.0, 0.0]
    state, reward, terminated, truncated, _ = env.step(1)
    # From upright rest: θ'' = -(F / M) / (l (4/3 - m / M)), x'' = F / M - m l θ'' / M with M = 1.1
    turn = -(10 / 1.1) / (0.5 * (4 / 3 - 0.1 / 1.1))
    np.testing.assert_allclose(state, [0, 0.02 * (10 / 1.1 - 0.05 * turn / 1.1), 0, 0.02 * turn], rtol=1e-12)
    assert (reward, terminated, truncated) == (1.0, False, False)
    with pytest.raises(ValueError, match="0 or 1"):
        env.step(2)


def test_dqn_finds_the_way():
    env = models.GridWorld(3)
    agent = models.DQN(
        models.QNetwork(env.observation_size, env.actions, (32,)),
        env.actions,
        gamma=0.9,
        batch_size=32,
        target_every=25,
        epsilon=(1.0, 0.1, 400),
        double=True,
        seed=0,
    )
    assert agent.learn() is None
    for _ in range(80):
        observation, _ = env.reset()
        done = False
        while not done:
            action = agent.act(observation)
            following, reward, terminated, truncated, _ = env.step(action)
            agent.remember(observation, action, reward, following, terminated)
            observation, done = following, terminated or truncated
            agent.learn()
    observation, _ = env.reset()
    done, steps = False, 0
    while not done:
        observation, _, done, truncated, _ = env.step(agent.act(observation, greedy=True))
        done, steps = done or truncated, steps + 1
    assert steps == 4


def test_dqn_target_by_hand():
    agent = models.DQN(nn.Linear(1, 2), 2, gamma=0.5, batch_size=2)
    with cr.no_grad():
        agent.network.weight.copy_(cr.tensor([[1.0], [2.0]]))
        agent.network.bias.zero_()
        agent.target.load_state_dict(agent.network.state_dict())
    batch = [
        models.dqn.Transition([1.0], 0, 1.0, [3.0], False),  # Q = 1, wanted 1 + 0.5 · 6 = 4: Huber 2.5
        models.dqn.Transition([1.0], 1, 1.5, [3.0], True),  # Q = 2, wanted 1.5: 0.125
    ]
    assert agent.loss(batch).item() == pytest.approx((2.5 + 0.125) / 2)


def test_dqn_brings_observations_to_the_network(monkeypatch):
    """Every tensor that it makes asks for the network's device, so that a network on a GPU can learn."""
    agent, asked = models.DQN(nn.Linear(1, 2), 2, epsilon=(0.0, 0.0, 1), batch_size=1), []
    tensor = models.dqn.tensor

    def recording(data, **options):
        asked.append(options.get("device"))
        return tensor(data, **options)

    monkeypatch.setattr(models.dqn, "tensor", recording)
    agent.act([1.0])
    agent.remember([1.0], 0, 1.0, [3.0], False)
    agent.learn()
    assert asked == [agent.network.weight.device] * 6


def test_discounted_returns():
    assert models.policy_gradient.discounted_returns([1.0, 0.0, 2.0], 0.5) == [1.5, 1.0, 2.0]


@pytest.mark.parametrize("kind", ["reinforce", "actor-critic"])
def test_policy_gradient_balances_longer(kind):
    env = models.CartPole(max_steps=120)
    model = (models.Policy if kind == "reinforce" else models.ActorCritic)(4, 2, 32)
    optimizer = optim.Adam(model.parameters(), lr=2e-2)
    lengths = []
    for episode in range(70):
        log_probs, values, rewards = models.run_episode(model, env, seed=episode)
        assert len(log_probs) == len(rewards)
        if kind == "reinforce":
            loss = models.reinforce_loss(log_probs, rewards)
        else:
            loss = models.actor_critic_loss(log_probs, values, rewards)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lengths.append(len(rewards))
    assert np.mean(lengths[-15:]) > 1.5 * np.mean(lengths[:15])
