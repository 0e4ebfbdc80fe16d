"""Pictures of models in numbers: `summary`, with the counts of the lectures (items 13 to 18), and receptive fields."""

import numpy as np
import pytest
from op_table import TABLE

import chainrule as cr
from chainrule import models, nn
from chainrule.autograd import OPS, Composite
from chainrule.autograd.watch import watched
from chainrule.explain import receptive_field, summary, top_inputs
from chainrule.explain.reach import needed
from chainrule.explain.trace import Call, Value
from chainrule.models.googlenet import Inception
from chainrule.nn import functional as F
from chainrule.testing import calls_of
from chainrule.utils.recorded import tensors

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def host():
    """On the CPU, whatever device the tests are for: large networks take minutes on what stands for a GPU."""
    with cr.device("cpu"):
        yield


@pytest.fixture
def unfilled(host, monkeypatch):
    """Networks of 60 or 140 million weights without their starting values: only shapes are looked at."""
    for init in ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"):
        monkeypatch.setattr(nn.init, init, lambda tensor, *args, **kwargs: tensor)


def shapes(found, *kinds):
    """Output shapes without the batch, of the layers of these kinds, in the order of their calls."""
    return [row.output_shapes[0][1:] for row in found.rows if row.kind in kinds]


# -- 13 to 17: the lectures' counts -----------------------------------------------------------------------------------


def test_13_parameters_of_convolutions():
    """L2: ((P·P·d) + 1)·K; the image of 32x32x3 keeps its size."""
    found = summary(
        nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.Conv2d(8, 16, 5, padding=2), nn.Conv2d(16, 32, 1)),
        (1, 3, 32, 32),
    )
    assert [row.parameters for row in found.rows] == [608 + 3216 + 544, 608, 3216, 544]
    assert shapes(found, "Conv2d") == [(8, 32, 32), (16, 32, 32), (32, 32, 32)]
    assert found.total_params == found.trainable_params == 4368


@pytest.mark.parametrize(
    ("layer", "shape", "parameters"),
    [
        (nn.Conv2d(1, 1, 5), (1, 1, 28, 28), 26),  # L0: one 5x5 filter gives 24x24,
        (nn.Linear(28 * 28, 24 * 24), (1, 784), 452_160),  # as a full layer does; the lecture's "450,000"
        (nn.Conv2d(3, 100, 3, bias=False), (1, 3, 9, 9), 2700),  # L4
        (nn.Linear(1000, 1000, bias=False), (1, 1000), 1_000_000),
        (nn.Linear(512**2, 8), (1, 512**2), 2_097_160),  # L1: an image fully connected to 8 units, or 8 filters
        (nn.Conv2d(1, 8, 5, bias=False), (1, 1, 9, 9), 200),
    ],
)
def test_13_parameters_of_a_layer(layer, shape, parameters):
    found = summary(layer, shape)
    assert found.total_params == found.rows[0].parameters == parameters
    assert found.memory["parameters"] == 4 * parameters
    assert f"{parameters:,} trainable" in str(found)


def test_14_stacked_convolutions():
    """L0: 28x28, 5x5 filters to 24x24x20, 5x5x20 filters to 20x20x30; and a first hidden layer of 3x24x24."""
    found = summary(nn.Sequential(nn.Conv2d(1, 20, 5), nn.Conv2d(20, 30, 5)), (1, 1, 28, 28))
    assert found.rows[0].input_shapes == ((1, 1, 28, 28),)
    assert shapes(found, "Conv2d") == [(20, 24, 24), (30, 20, 20)]
    assert shapes(summary(nn.Conv2d(1, 3, 5), (1, 1, 28, 28)), "Conv2d") == [(3, 24, 24)]


def test_15_alexnet(unfilled):
    found = summary(models.AlexNet2012(), (1, 3, 227, 227))
    assert found.rows[0].input_shapes == ((1, 3, 227, 227),)
    assert shapes(found, "Conv2d", "MaxPool2d") == [
        *((96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13)),
        *((384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)),
    ]
    assert shapes(found, "LocalResponseNorm") == [(96, 55, 55), (256, 27, 27)]  # before the pooling, as in the paper
    assert shapes(found, "Linear") == [(4096,), (4096,), (1000,)]
    assert found.total_params == 60_965_224  # "60 million"
    # kernels 5x5x48 and 3x3x192: each of 256 units meets 48 channels at 27x27 places
    rows = [row for row in found.rows if row.kind == "Conv2d"]
    assert [row.mult_adds for row in rows] == [
        *(55 * 55 * 96 * 363, 27 * 27 * 256 * 25 * 48, 13 * 13 * 384 * 9 * 256),
        *(13 * 13 * 384 * 9 * 192, 13 * 13 * 256 * 9 * 192),
    ]


def test_15_zfnet(unfilled):
    found = summary(models.ZFNet(hidden=8, channels=(96, 256, 512, 1024, 512)), (1, 3, 224, 224))
    assert shapes(found, "Conv2d", "MaxPool2d") == [
        *((96, 110, 110), (96, 55, 55), (256, 26, 26), (256, 13, 13)),
        *((512, 13, 13), (1024, 13, 13), (512, 13, 13), (512, 6, 6)),
    ]


def test_16_a_bottleneck_is_cheaper():
    """L1: 256x3x3x256, about 600k multiply-adds a position, against 16k + 36k + 16k, about 70k."""
    assert summary(nn.Conv2d(256, 256, 3, padding=1), (1, 256, 1, 1)).mult_adds == 589_824
    steps = nn.Sequential(nn.Conv2d(256, 64, 1), nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 256, 1))
    found = summary(steps, (1, 256, 1, 1))
    assert [row.mult_adds for row in found.rows] == [69_632, 16_384, 36_864, 16_384]
    assert found.mult_adds == found.total_mult_adds == 69_632
    assert summary(steps, (2, 256, 7, 5)).mult_adds == 2 * 35 * 69_632
    assert "69,632" in str(found)


def test_16_multiply_adds_of_whole_networks(unfilled):
    """L1: GoogLeNet at most 1.5 billion; VGG-19 19.6 billion against 3.6 of ResNet-34."""
    image = (1, 3, 224, 224)
    assert 1.45e9 < summary(models.googlenet(), image).mult_adds <= 1.5e9
    assert 3.55e9 < summary(models.resnet34(), image).mult_adds < 3.7e9
    vgg = summary(models.vgg19(), image)
    assert 19.55e9 < vgg.mult_adds < 19.65e9
    assert 12 / 13 < sum(row.mult_adds for row in vgg.rows if row.kind == "Conv2d") / vgg.mult_adds < 1


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("vgg16", [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]),
        ("vgg19", [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"]),
    ],
)
def test_17_vgg_layouts(name, layout, unfilled):
    found = summary(getattr(models, name)(), (1, 3, 32, 32))
    layers = [row for row in found.rows if row.kind in ("Conv2d", "MaxPool2d", "Linear")]
    seen = ["M" if row.kind == "MaxPool2d" else row.output_shapes[0][1] for row in layers]
    assert seen == [*layout, 4096, 4096, 1000]
    assert {row.module.kernel_size for row in layers if row.kind == "Conv2d"} == {(3, 3)}
    assert len(layers) - layout.count("M") == int(name[3:])


def test_17_googlenet(unfilled):
    """12 times fewer parameters than AlexNet, 27 times fewer than VGG-16 (no classifier); 22 layers; 1024 x'."""
    found = summary(models.GoogLeNet(aux_logits=False), (1, 3, 224, 224), depth=2)
    features = found.total_params - found.row("fc").parameters
    assert 10.5 < summary(models.AlexNet2012()).total_params / features < 12.5
    assert 24 < summary(models.vgg16()).total_params / features < 28
    assert found.row("fc").input_shapes == ((1, 1024),)

    def layers(row):
        """With weights, on the longest way through."""
        if row.kind in ("Conv2d", "Linear"):
            return 1
        within = [layers(r) for r in row.inner]
        return max(within, default=0) if isinstance(row.module, Inception) else sum(within)

    assert layers(found.rows[0]) == 22


# -- the table --------------------------------------------------------------------------------------------------------


class Shares(nn.Module):
    """A table of words that also scores the output, a layer called three times, and one that is not called."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.steps = nn.ModuleList([nn.Linear(4, 4), nn.ReLU()])
        self.scores = nn.Linear(4, 10, bias=False)
        self.scores.weight = self.words.weight
        self.aside = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2))
        self.words.requires_grad_(False)

    def forward(self, ids):
        x = self.words(ids)
        for _ in range(3):
            x = self.steps[1](self.steps[0](x))
        return self.scores(x) @ cr.ones(10, 10, device=x.device)


def test_the_whole_table():
    found = summary(Shares(), (2, 5), dtypes=[cr.int64])
    assert str(found).splitlines() == [
        "layer                  output shape     parameters  multiply-adds  trainable",
        "─" * 76,
        "Shares                 [2, 5, 10]               76          1,880  partly",
        "├─ words: Embedding    [2, 5, 4]                40                 no",
        "├─ steps.0: Linear ×3  [2, 5, 4]                20            480  yes",
        "├─ steps.1: ReLU ×3    [2, 5, 4]",
        "├─ scores: Linear      [2, 5, 10]    0 + 40 shared            400  no",
        "└─ aside: Sequential   not called               16                 yes",
        "─" * 76,
        "parameters     76 (36 trainable, 40 not)",
        "multiply-adds  1,880",
        "memory         input 80 B, parameters 304 B, buffers 0 B, activations 1.52 kB; together 1.9 kB",
    ]


def test_rows():
    found = summary(Shares(), cr.zeros(2, 5, dtype=cr.int64))
    scores = found.row("scores")
    assert (scores.parameters, scores.shared, scores.trainable, scores.calls) == (40, 40, 0, 1)
    assert found.row("").mult_adds == found.mult_adds == 3 * 10 * 16 + 10 * 40 + 10 * 100
    assert found.row("steps.1").calls == 3
    assert found.untrainable_params == 40
    assert found.memory == {"input": 80, "parameters": 304, "buffers": 0, "activations": 1520, "total": 1904}
    with pytest.raises(KeyError, match=r"aside\.0 has no row"):
        found.row("aside.0")


def test_activations_leave_out_what_is_in_the_input_s_memory():
    layers = [nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Flatten(), nn.Identity(), nn.Tanh()]
    assert summary(nn.Sequential(*layers), (2, 4)).memory["activations"] == 2 * 48


def test_depth_and_columns():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, (3, 1), groups=1), nn.ReLU()), nn.Flatten())
    names = ("kernel_size", "input_size", "params_percent", "groups")
    lines = str(summary(model, (1, 1, 4, 4), col_names=names, col_width=12, row_settings=("depth",))).splitlines()
    assert [line.split() for line in lines[2:6]] == [
        ["Sequential", "[1,", "1,", "4,", "4]", "100.00%"],
        ["├─", "0:", "Sequential", "[1,", "1,", "4,", "4]", "100.00%"],
        ["│", "├─", "0:", "Conv2d", "[3,", "1]", "[1,", "1,", "4,", "4]", "100.00%", "1"],
        ["│", "└─", "1:", "ReLU", "[1,", "2,", "2,", "4]"],
    ]
    shown = str(summary(model, (1, 1, 4, 4), depth=1))
    assert "Conv2d" not in shown
    assert "1: Flatten" in shown


def test_without_input(host):
    found = summary(models.GoogLeNet(10, init_weights=False), depth=1)
    assert (found.mult_adds, found.memory["activations"], found.rows[0].calls) == (0, 0, 0)
    lines = str(found).splitlines()
    assert lines[0].split() == ["layer", "parameters", "trainable"]
    assert lines[3] == "├─ conv1: BasicConv2d               9,536  yes"
    assert found.row("inception3a.branch1.conv").parameters == 192 * 64


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.image, self.both = nn.Embedding(7, 3), nn.Linear(4, 3), nn.Bilinear(3, 3, 2)

    def forward(self, image, words, scale=1.0):
        return {"out": self.both(self.image(image), self.words(words)) * scale}


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (((cr.zeros(5, 4), cr.zeros(5, dtype=cr.int64)),), {}),
        (([(5, 4), (5,)],), {"dtypes": [cr.float32, cr.long]}),
        ((), {"input_size": [(5, 4), (5,)], "dtypes": [cr.float32, cr.long], "verbose": 0}),
        ((), {"input_data": [cr.zeros(5, 4), cr.zeros(5, dtype=cr.int64)], "scale": 2.0, "device": "cpu"}),
        (({"words": cr.zeros(5, dtype=cr.int64), "image": cr.zeros(5, 4)},), {}),
        (({"words": (), "image": (4,)},), {"dtypes": [cr.int64, cr.float32], "batch_size": 5}),
        ((), {"input_size": [(4,), ()], "batch_dim": 0, "batch_size": 5, "dtypes": [cr.float, cr.int32]}),
    ],
)
def test_forms_of_the_input(args, kwargs):
    found = summary(Two().cpu(), *args, **kwargs)
    assert found.rows[0].output_shapes == ((5, 2),)
    assert [row.name for row in found.rows] == ["", "image", "words", "both"]
    assert found.mult_adds >= 5 * (4 * 3 + 3 * 3 * 2)


def test_torchsummary_s_shapes_are_without_the_batch(capsys):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    for found in (summary(model, (3, 8, 8)), summary(model, (3, 8, 8), -1), summary(model, [(3, 8, 8)], batch_size=1)):
        assert found.rows[0].output_shapes == ((1, 2),)
    assert summary(model, (3, 8, 8), 7, device="cpu" if model[0].weight.device.type == "cpu" else "cuda").mult_adds == (
        7 * (36 * 4 * 27 + 288)
    )
    assert capsys.readouterr().out == ""
    found = summary(model, input_size=(1, 3, 8, 8), verbose=1)
    assert capsys.readouterr().out == f"{found}\n"


def test_the_device_is_that_of_the_input_and_the_model_stays():
    model = nn.Linear(3, 2)
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0].device))
    summary(model, cr.zeros(1, 3, device="cpu"), device=model.weight.device)
    summary(model, (1, 3))
    assert seen == [model.weight.device] * 2


def test_products_of_functional_layers_and_attention_count():
    class Attends(nn.Module):
        def forward(self, q, k, v):
            return F.linear(F.scaled_dot_product_attention(q, k, v), q.new_ones(2, 4))

    shape = (1, 3, 5, 4)
    assert summary(Attends(), [shape] * 3).mult_adds == 3 * (2 * 5 * 5 * 4 + 5 * 2 * 4)
    assert summary(nn.LSTM(4, 8), (5, 1, 4)).mult_adds == 5 * 32 * (4 + 8)


@pytest.mark.parametrize("mode", ["eval", "train", "same"])
def test_everything_is_as_before(mode):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    model.train()
    model[2].eval()
    model[0].requires_grad_(False)
    before = {name: (id(t), t.detach().clone()) for name, t in model.state_dict(keep_vars=True).items()}
    state, modes = cr.get_rng_state(), [m.training for m in model.modules()]
    hooks = [vars(m).get("_cr_hooks") for m in model.modules()]
    found = summary(model, (6, 3), mode=mode)
    assert found.trainable_params == 4 + 4 + 10
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True, True]
    assert [vars(m).get("_cr_hooks") for m in model.modules()] == hooks
    assert cr.equal(cr.get_rng_state(), state)
    for name, t in model.state_dict(keep_vars=True).items():
        assert id(t) == before[name][0]
        assert cr.equal(t, before[name][1])
    assert all(p.grad is None for p in model.parameters())


def test_a_failure_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(5, 2))
    with pytest.raises(RuntimeError, match="linear"):
        summary(model, (6, 3))
    assert all(m.training and "_cr_hooks" not in vars(m) for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_what_is_refused():
    with pytest.raises(TypeError, match="takes a Module, not int"):
        summary(3, (1, 2))
    with pytest.raises(ValueError, match="not 'test'"):
        summary(nn.ReLU(), (1,), mode="test")
    with pytest.raises(ValueError, match="not macs"):
        summary(nn.ReLU(), (1,), col_names=("macs",))
    with pytest.raises(RuntimeError, match="Long") as error:
        summary(nn.Embedding(3, 2), (1, 4))
    assert "give dtypes" in error.value.__notes__[-1]
    with pytest.raises(ValueError, match="a dtype for each"):
        summary(nn.ReLU(), [(1,), (2,)], dtypes=[cr.float32])


# -- receptive fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_18_stacked_and_dilated_filters(layers):
    """L4: i filters of length 3 see 2i + 1 elements, with dilation 2^(i-1) in the i-th 2^(i+1) - 1."""
    plain = nn.Sequential(*[nn.Conv1d(1, 1, 3) for _ in range(layers)])
    dilated = nn.Sequential(*[nn.Conv1d(1, 1, 3, dilation=2**i) for i in range(layers)])
    for model, size in ((plain, 2 * layers + 1), (dilated, 2 ** (layers + 1) - 1)):
        found = receptive_field(model, str(layers - 1), (1, 1, 80))
        assert (found.size, found.stride, found.start) == ((size,), (1,), (0,))
        (centre,) = found.centre
        assert found.box() == found.reached == ((centre, centre + size - 1),)
        assert found.gradient.shape == (80,)
        assert (found.gradient != 0).sum().item() == size


@pytest.mark.parametrize(
    ("make", "layer", "shape", "size", "stride"),
    [
        # Araujo, Norris, Sim: alexnet_v2, vgg_16, inception_v2, inception_v3, mobilenet_v1
        (models.alexnet, "features.12", (1, 3, 224, 224), 195, 32),
        (lambda: models.vgg16(init_weights=False), "features.30", (1, 3, 32, 32), 212, 32),
        (lambda: models.vgg16(init_weights=False), "features.28", (1, 3, 32, 32), 196, 16),
        (models.InceptionV2, "inception5", (1, 3, 64, 64), 699, 32),
        (lambda: models.inception_v3(init_weights=False), "Mixed_7c", (1, 3, 75, 75), 1311, 32),
        (models.mobilenet_v1, "features", (1, 3, 64, 64), 315, 32),
        # 3 + 4 + 6 + 3 blocks, of which the first of a group halves the image in its 3x3 convolution:
        # 7; 11 after pooling; + 3·8; + 8 + 3·16; + 16 + 5·32; + 32 + 2·64
        (models.resnet50, "layer4", (1, 3, 64, 64), 427, 32),
    ],
)
def test_fields_of_known_networks(make, layer, shape, size, stride, unfilled):
    found = receptive_field(make(), layer, shape, samples=0)
    assert (found.size, found.stride) == ((size,) * 2, (stride,) * 2)
    assert found.gradient is found.reached is None


def test_resnet_50_with_its_strides_at_the_ends_of_groups(unfilled):
    """The same paper's resnet_v1_50: the last block of a group halves the image, as in its authors' library."""
    model = models.resnet50()
    for group, following in ((model.layer1, model.layer2), (model.layer2, model.layer3), (model.layer3, model.layer4)):
        following[0].conv2.stride = following[0].downsample[0].stride = (1, 1)
        group[-1].conv2.stride, group[-1].downsample = (2, 2), nn.MaxPool2d(1, 2)
    found = receptive_field(model, model.layer4, (1, 3, 64, 64), samples=0)
    assert (found.size, found.stride) == ((483, 483), (32, 32))


def test_gradients_of_alexnet_fill_its_field(host):
    cr.manual_seed(0)
    model = models.alexnet()
    found = receptive_field(model, model.features[12], (1, 3, 224, 224), samples=1)
    assert found.start == (-66, -66)  # -2 of the first padding, then -2·8 and 3 times -16
    assert found.units == (6, 6)
    assert found.box((0, 0)) == ((0, 128), (0, 128))
    assert found.box((0, 1), clip=False) == ((-66, 128), (-34, 160))
    assert found.box() == found.reached == ((30, 223), (30, 223))
    assert {p.dtype for p in model.parameters()} == {cr.float32}
    assert cr.get_default_dtype() == cr.float32


def layers_at_random(rng):
    """A chain of linear layers: the gradient of a unit is where its window is, exactly."""
    kind = rng.choice(["conv", "pool", "up", "transposed", "pad", "shuffle", "residual", "bilinear"])
    kernel, stride, dilation = (int(rng.integers(1, 4)) for _ in range(3))
    if kind == "conv":
        return nn.Conv2d(4, 4, (kernel, 3), (stride, 1), (1, dilation), (1, dilation), groups=2)
    if kind == "pool":
        return nn.AvgPool2d((kernel, 2), (1, 2), padding=(kernel // 2, 0), ceil_mode=True)
    if kind == "transposed":
        return nn.ConvTranspose2d(4, 4, kernel, 2, padding=kernel // 2)
    if kind == "pad":
        return nn.ZeroPad2d((1, 0, 2, -1))
    if kind == "shuffle":
        return nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(1, 4, 3, 2, 1))
    if kind == "residual":
        return Branches()
    return nn.Upsample(scale_factor=2, mode="nearest" if kind == "up" else "bilinear")


class Branches(nn.Module):
    """Two ways of different width, joined by an addition and by concatenation."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(4, 4, 5, padding=2), nn.Conv2d(4, 2, (1, 3), padding=(0, 1))

    def forward(self, x):
        y = x + self.wide(x)
        return cr.cat([self.narrow(x), y[:, 1:3]], 1).permute(0, 1, 3, 2).transpose(2, 3)


@pytest.mark.parametrize("seed", range(12))
def test_gradients_fill_the_field_of_linear_layers(seed):
    rng = np.random.default_rng(seed)
    cr.manual_seed(seed)
    model = nn.Sequential(*[layers_at_random(rng) for _ in range(4)])
    found = receptive_field(model, model[-1], (1, 4, 24, 22), samples=1)
    if not any(isinstance(m, (nn.ConvTranspose2d, nn.Upsample)) for m in model.modules()):
        assert found.reached == found.box()
    elif found.reached is not None:  # a unit that lies between two pixels may see only one of them, or none
        for (a, b), (first, last) in zip(found.reached, found.box()):
            assert first <= a <= first + 2
            assert last - 2 <= b <= last


def test_padding_modes_enlarging_and_steps_by_hand():
    reflected = receptive_field(nn.Conv1d(1, 1, 5, padding=2, padding_mode="reflect"), None, (1, 1, 9))
    assert (reflected.size, reflected.stride, reflected.box((0,)), reflected.box((8,))) == (
        *((5,), (1,)),
        *(((0, 2),), ((6, 8),)),
    )
    up = receptive_field(nn.Upsample(scale_factor=2), None, (1, 1, 6))
    assert (up.stride, [up.box((i,)) for i in range(4)]) == ((0.5,), [((0, 0),), ((0, 0),), ((1, 1),), ((1, 1),)])
    # the output o of a transposed convolution meets the inputs i with 0 <= o - 2 i < 3
    back = receptive_field(nn.ConvTranspose1d(1, 1, 3, 2), None, (1, 1, 6))
    assert [back.box((i,)) for i in range(4)] == [((0, 0),), ((0, 0),), ((0, 1),), ((1, 1),)]
    assert back.stride == (0.5,)


def test_what_mixes_all_places_sees_all():
    class Gate(nn.Module):
        def forward(self, x):
            return x * x.mean((2, 3), keepdim=True).sigmoid()

    class Attends(nn.Module):
        def forward(self, x):
            y = x.flatten(2).transpose(1, 2)
            return F.scaled_dot_product_attention(y, y, y).transpose(1, 2).reshape(x.shape)

    for mixing in (Gate(), Attends(), nn.InstanceNorm2d(2), nn.Softmax(3), nn.LayerNorm(7), nn.AdaptiveAvgPool2d(1)):
        model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), mixing)
        found = receptive_field(model, "1", (1, 1, 5, 7))
        rows = (1, 3) if isinstance(mixing, (nn.Softmax, nn.LayerNorm)) else (0, 4)
        assert found.box() == found.reached == (rows, (0, 6)), type(mixing).__name__
        if not isinstance(mixing, nn.AdaptiveAvgPool2d):  # which is a window of all, were there another
            assert found.stride == ((1, 0) if rows == (1, 3) else (0, 0))
    flat = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(30, 4), nn.Unflatten(1, (4, 1, 1))
    )
    assert receptive_field(flat, "4", (1, 1, 5, 7)).box() == ((0, 4), (0, 6))
    scores = receptive_field(flat, "3", (1, 1, 5, 7), samples=0)
    assert str(scores) == "size 5 × 7, stride 0 × 0, start 0 × 0; one unit, which sees 0..4 × 0..6"
    assert receptive_field(flat, "1", (1, 1, 5, 7)).size == (3, 3)


# An element of these has no gradient: it depends on phases that are not determined.
PHASES = {"complex_eigh", "complex_svd"}


@pytest.mark.parametrize(
    "name",
    [n for n, record in TABLE.items() if record.order and not isinstance(OPS[n], Composite) and n not in PHASES],
)
def test_no_op_depends_on_more_than_its_box(name):
    """By the gradients of some of the output's elements, for each sample of the op table."""
    ran = []

    def noted(op, inputs, params, call):
        out = call()
        if op.name == name:
            ran.append((op, inputs, params, tensors(out)))
        return out

    for call in calls_of(TABLE[name]):
        with watched(noted):
            call.outputs(call.tensors(call.arrays, call.live))
    for op, inputs, params, outputs in ran:
        made = Call(name, None, op=op, params=params)
        made.inputs = [Value((), x.shape) if isinstance(x, cr.Tensor) else None for x in inputs]
        made.outputs = [Value((), out.shape) for out in outputs]
        live = [i for i, x in enumerate(inputs) if isinstance(x, cr.Tensor) and x.requires_grad]
        for number, out in enumerate(outputs):
            for place in list(np.ndindex(*out.shape))[:: max(1, out.numel() // 4)]:
                if not live or not out.requires_grad:
                    continue
                boxes = needed(made, number, tuple((i, i) for i in place))
                element = out[place].real if out.is_complex() else out[place]
                for i, g in zip(live, cr.autograd.grad(element, [inputs[i] for i in live], retain_graph=True)):
                    for reached in np.argwhere(g.resolve_conj().numpy() != 0):
                        assert boxes[i] is not None
                        assert all(a <= at <= b for at, (a, b) in zip(reached, boxes[i], strict=True))


def test_windows_rows_and_written_parts_are_followed():
    """Of what is not a layer: the same as the layer that does it."""

    class Windows(nn.Module):
        def forward(self, x):
            columns = F.unfold(x, (3, 2), stride=2, padding=1)
            return columns.sum(1).reshape(1, 1, 4, -1)

    class Slides(nn.Module):
        def forward(self, x):
            return x.unfold(2, 3, 2).amax(-1).flip([3])

    class Rows(nn.Module):
        def forward(self, x):
            y = x.repeat_interleave(2, 3)[:, :, [0, 2, 4, 6]]
            z = cr.zeros_like(y)
            z += y.sum(dim=[1], keepdim=True)
            return z.repeat(1, 3, 1, 1)

    class Folds(nn.Module):
        def forward(self, x):
            return F.fold(F.unfold(x, 3, stride=3), (6, 6), 3, stride=3)

    image = (1, 1, 8, 8)
    windows, layer = (
        receptive_field(Windows(), None, image),
        receptive_field(nn.Conv2d(1, 1, (3, 2), 2, 1), None, image),
    )
    assert windows.units == layer.units == (4, 5)
    assert all(windows.box(unit) == layer.box(unit) for unit in np.ndindex(4, 5))
    assert windows.reached == windows.box()
    slides = receptive_field(Slides(), None, image, samples=0)
    assert (slides.size, slides.stride, slides.box((1, 0))) == ((3, 1), (2, -1), ((2, 4), (7, 7)))
    rows = receptive_field(Rows(), None, image)
    assert (rows.size, rows.stride, rows.box((2, 5))) == ((1, 1), (2, 0.5), ((4, 4), (2, 2)))
    assert rows.reached == rows.box()
    folds = receptive_field(Folds(), None, (1, 1, 6, 6), samples=0)
    assert [folds.box((i, 5)) for i in (0, 2, 3)] == [((0, 2), (3, 5)), ((0, 2), (3, 5)), ((3, 5), (3, 5))]

    class Written(nn.Module):
        def forward(self, x):
            z = x.new_zeros(1, 1, 16, 8)
            z[:, :, 1::2] = x
            return z.roll((2, 3), (2, 3))

    class Looks(nn.Module):
        def forward(self, x):
            return x.gather(2, cr.zeros(1, 1, 4, 8, dtype=cr.int64, device=x.device))

    written = receptive_field(Written(), None, image)
    assert written.box((5, 5)) == ((1, 1), (2, 2))  # row 3 of the image with zeros between its rows
    assert written.box((4, 5)) == ((0, -1),) * 2
    assert written.box((1, 1)) == ((7, 7), (6, 6))
    looks = receptive_field(Looks(), None, image)
    assert looks.box((1, 3)) == ((0, 7), (3, 3))
    assert looks.reached == ((0, 0), (4, 4))

    class Joined(nn.Module):
        def forward(self, x):
            return cr.cat([x.new_zeros(1, 1, 3, 8), x, x.flip([2])], 2)

    joined = receptive_field(Joined(), None, image, samples=0)
    assert [joined.box((i, 2)) for i in (0, 3, 11)] == [((0, -1),) * 2, ((0, 0), (2, 2)), ((7, 7), (2, 2))]
    mixes = receptive_field(nn.BatchNorm2d(2, track_running_stats=False), None, (2, 2, 5, 7))
    assert mixes.box() == mixes.reached == ((0, 4), (0, 6))  # statistics of the image itself


def test_in_place_layers_and_a_given_image():
    cr.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3)).train()
    image = cr.rand(2, 3, 16, 16)
    found = receptive_field(model, "3", image)
    assert (found.size, found.stride, found.start) == ((8, 8), (2, 2), (0, 0))
    assert image[..., *found.window((1, 2))].shape == (2, 3, 8, 8)
    assert found.window((1, 2)) == (slice(2, 10), slice(4, 12))
    (a, b), (c, d) = found.reached
    assert 4 <= a <= b <= 13
    assert 4 <= c <= d <= 13
    pooled = receptive_field(
        nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 1, 3)), None, image[:1, :1].expand(1, 3, 16, 16)
    )
    assert (pooled.size, (pooled.gradient != 0).sum().item()) == ((6, 6), 9)  # one place of each window of 2 x 2
    assert model.training
    assert not image.requires_grad
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert str(found).startswith(
        "size 8 × 8, stride 2 × 2, start 0 × 0; 5 × 5 units, of which 2 × 2 sees 4..11 × 4..11 and"
    )


def test_random_numbers_are_given_or_kept():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    seeded = lambda seed: cr.Generator(device=model[0].weight.device).manual_seed(seed)
    found = [receptive_field(model, "1", (1, 1, 9, 9), generator=seeded(s)).gradient for s in (1, 1, 2)]
    assert cr.equal(found[0], found[1])
    assert not cr.equal(found[0], found[2])
    state = cr.get_rng_state()
    found = [receptive_field(model, "1", (1, 1, 9, 9)).gradient for _ in range(2)]
    assert cr.equal(found[0], found[1])
    assert cr.equal(cr.get_rng_state(), state)


def test_what_a_unit_answered_to_is_cut_out():
    """A spot is somewhere in each image; the strongest unit is the one that sees all of it."""
    model = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, bias=False))
    with cr.no_grad():
        model[1].weight.fill_(1.0)
    images = cr.zeros(3, 1, 16, 16)
    for i, (y, x) in enumerate([(2, 8), (6, 4), (8, 10)]):
        images[i, 0, y : y + 6, x : x + 6] = 1 + i
    top = top_inputs(model, images, k=3)
    field = receptive_field(model, None, images)
    assert top.indices.tolist() == [2, 1, 0]
    for image, place, brightness in zip(top.inputs, top.places, (3, 2, 1)):
        assert (image[..., *field.window(place)] == brightness).all()


def test_receptive_fields_that_are_refused():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    with pytest.raises(ValueError, match="no layer '2'"):
        receptive_field(model, "2", (1, 1, 8, 8))
    with pytest.raises(ValueError, match="input_size is"):
        receptive_field(model, "1", (8, 8))
    with pytest.raises(TypeError, match="a tensor of floats, not"):
        receptive_field(model, "1", cr.zeros(1, 1, 8, 8, dtype=cr.int64))
    with pytest.raises(IndexError, match=r"no unit \(9, 0\)"):
        receptive_field(model, "1", (1, 1, 8, 8), samples=0).box((9, 0))

    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle, self.constant = nn.ReLU(), nn.ReLU(), nn.Identity()

        def forward(self, x):
            return self.used(x) + self.constant(x.new_ones(1, 1, 8, 8))

    with pytest.raises(ValueError, match="does not call this layer"):
        receptive_field(Aside(), "idle", (1, 1, 8, 8))
    with pytest.raises(ValueError, match="does not depend on the input"):
        receptive_field(Aside(), "constant", (1, 1, 8, 8))
