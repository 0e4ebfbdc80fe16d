"""Checkpoints of PyTorch's model library: the same names and shapes in the same order, and the same outputs."""

import hashlib

import numpy as np
import pytest

import chainrule as cr
from chainrule import models, nn
from chainrule.utils.safetensors import save_file

# Entries of the state dict, and a digest of its lines "name shape", of PyTorch's model library 0.28: facts of the files
# that people have. A checkpoint of one of these loads, and what is saved here loads there.
LAYOUTS = {
    "alexnet": (16, "9c198ebdae1863e4"),
    "densenet121": (727, "aa0fd9923b0003b8"),
    "densenet161": (967, "82d337d48f910d3a"),
    "densenet169": (1015, "e2d0f02d9c0ce650"),
    "densenet201": (1207, "0d234ad7e9a31b95"),
    "googlenet": (364, "7f541ca29410efb1"),
    "inception_v3": (580, "aab0ac2cbaf84aa2"),
    "mobilenet_v2": (314, "37bbbce8932fd0c4"),
    "resnet18": (122, "84fb10d9c6905a1c"),
    "resnet34": (218, "28f9096d51307499"),
    "resnet50": (320, "d7e4f8bb0a536344"),
    "resnet101": (626, "02c0f34f4842751f"),
    "resnet152": (932, "685c66205bc823aa"),
    "resnext50_32x4d": (320, "e3bad165c034e60f"),
    "resnext101_32x8d": (626, "da7dd7525807e2ee"),
    "resnext101_64x4d": (626, "90caac80ae24c51d"),
    "vgg11": (22, "cb3dc23f2a13e182"),
    "vgg11_bn": (62, "8b6717e727c0ecf9"),
    "vgg13": (26, "67c1dc8b57fde74b"),
    "vgg13_bn": (76, "f6b0597d18a7e4d2"),
    "vgg16": (32, "35c4623e0cd4a39d"),
    "vgg16_bn": (97, "347371586a8ea365"),
    "vgg19": (38, "4723255af8f6c485"),
    "vgg19_bn": (118, "fc3ff6fab2b5cc09"),
    "wide_resnet50_2": (320, "41203d1d536c02ed"),
    "wide_resnet101_2": (626, "4f088c0a152b8f5c"),
}


def digest(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@pytest.fixture
def unfilled(monkeypatch):
    """No starting values, which are most of the time."""
    for init in ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"):
        monkeypatch.setattr(nn.init, init, lambda tensor, *args, **kwargs: tensor)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_of_checkpoints(name, unfilled):
    state = getattr(models, name)().state_dict()
    assert (len(state), digest(f"{k} {tuple(v.shape)}" for k, v in state.items())) == LAYOUTS[name]


def resnet18_layout(classes=1000):
    """Names and shapes of ResNet-18, written out from the paper's table 1 in the library's names."""

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{part}", (channels,)
        yield f"{name}.num_batches_tracked", ()

    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    before = 64
    for stage, channels in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            yield f"{name}.conv1.weight", (channels, before, 3, 3)
            yield from norm(f"{name}.bn1", channels)
            yield f"{name}.conv2.weight", (channels, channels, 3, 3)
            yield from norm(f"{name}.bn2", channels)
            if before != channels:
                yield f"{name}.downsample.0.weight", (channels, before, 1, 1)
                yield from norm(f"{name}.downsample.1", channels)
            before = channels
    yield "fc.weight", (classes, 512)
    yield "fc.bias", (classes,)


def test_the_written_layout_is_that_of_the_files():
    assert digest(f"{k} {s}" for k, s in resnet18_layout()) == LAYOUTS["resnet18"][1]


def checkpoint(torch, classes):
    """Weights under which signals neither vanish nor explode."""
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in resnet18_layout(classes):
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif len(shape) > 1:
            state[name] = torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5
        elif name.endswith(("running_var", "weight")):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            state[name] = 0.1 * torch.randn(shape, generator=generator)
    return state


def resnet18_of_pytorch(torch, state, x):
    """The network in evaluation, by PyTorch's functions on the entries of a state dict."""
    F = torch.nn.functional

    def norm(name, x):
        parts = (state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    x = F.max_pool2d(F.relu(norm("bn1", F.conv2d(x, state["conv1.weight"], stride=2, padding=3))), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.relu(norm(f"{name}.bn1", F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)))
            y = norm(f"{name}.bn2", F.conv2d(y, state[f"{name}.conv2.weight"], padding=1))
            if stride == 2:
                x = norm(f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2))
            x = F.relu(x + y)
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


@pytest.mark.torch
@pytest.mark.parametrize("form", ["state dict", "checkpoint", "half", "before 1.6"])
def test_a_file_of_pytorch_gives_pytorchs_outputs(torch, tmp_path, form):
    state = checkpoint(torch, 10)
    if form == "half":
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    torch.save(
        {"state_dict": state, "epoch": 90} if form == "checkpoint" else state,
        tmp_path / "resnet18.pth",
        _use_new_zipfile_serialization=form != "before 1.6",  # the files that PyTorch's library gives for ResNet-18
    )
    model = models.resnet18(weights=tmp_path / "resnet18.pth", num_classes=10).eval()
    assert {p.dtype for p in model.parameters()} == {cr.float32}
    assert model.bn1.num_batches_tracked == 7
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype("f4")
    expected = resnet18_of_pytorch(torch, {k: v.float() for k, v in state.items()}, torch.tensor(x)).numpy()
    with cr.no_grad():
        found = model(cr.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-4 * abs(expected).max())


@pytest.mark.torch
def test_pytorch_reads_what_is_saved_here(torch, tmp_path):
    cr.manual_seed(0)
    model = models.resnet18(num_classes=10).eval()
    cr.save(model.state_dict(), tmp_path / "ours.pth")
    state = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert [(k, tuple(v.shape)) for k, v in state.items()] == list(resnet18_layout(10))
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype("f4")
    expected = resnet18_of_pytorch(torch, state, torch.tensor(x)).numpy()
    with cr.no_grad():
        np.testing.assert_allclose(model(cr.tensor(x)).numpy(), expected, rtol=2e-4, atol=1e-4 * abs(expected).max())


def test_weights_in_safetensors(tmp_path):
    cr.manual_seed(0)
    model = models.mobilenet_v2(num_classes=3, width_mult=0.25).eval()
    save_file(model.state_dict(), tmp_path / "mobilenet.safetensors")
    again = models.mobilenet_v2(weights=str(tmp_path / "mobilenet.safetensors"), num_classes=3, width_mult=0.25).eval()
    x = cr.randn(1, 3, 32, 32)
    assert cr.equal(model(x), again(x))


@pytest.mark.parametrize(("name", "heads"), [("googlenet", ("aux1", "aux2")), ("inception_v3", ("AuxLogits",))])
def test_auxiliary_heads_are_loaded_and_left_out(name, heads, unfilled):
    """A checkpoint has them; without `aux_logits` the model that takes it has none, as in PyTorch's library."""
    state = {k: cr.zeros(v.shape, dtype=v.dtype) for k, v in getattr(models, name)().state_dict().items()}
    model = getattr(models, name)(weights=state, aux_logits=False)
    assert all(getattr(model, head) is None for head in heads)
    assert model.transform_input
    with_heads = getattr(models, name)(weights=state, aux_logits=True)
    assert all(not any(p.any() for p in getattr(with_heads, head).parameters()) for head in heads)


def test_a_checkpoint_of_another_number_of_classes_is_refused():
    state = models.mobilenet_v2(num_classes=3, width_mult=0.25).state_dict()
    with pytest.raises(RuntimeError, match=r"size mismatch for classifier.1.weight"):
        models.mobilenet_v2(weights=state, num_classes=4, width_mult=0.25)
