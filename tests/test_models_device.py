"""Models on the stand-in for a GPU: all that they make for themselves is made where their inputs are."""

import pytest

import chainrule as cr
from chainrule import backends, models, nn
from chainrule.utils import transfer

GPU = "cuda"


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch):
    strict, by_device = backends.by_name("strict"), backends.by_device
    monkeypatch.setattr(backends, "by_device", lambda kind: strict if kind == GPU else by_device(kind))
    with cr.autograd.fork_rng():
        cr.manual_seed(0)
        yield


def noise(*shape):
    return cr.randn(*shape, device=GPU)


def numbers(*shape):
    return cr.ones(*shape, dtype=cr.int64, device=GPU)


#: a small model, and what its forward takes
FORWARDS = {
    "Perceptron": (lambda: models.Perceptron(3), lambda: [noise(2, 3)]),
    "MLP": (lambda: models.MLP([3, 4, 2]), lambda: [noise(2, 3)]),
    "Autoencoder": (lambda: models.Autoencoder([6, 4, 2]), lambda: [noise(2, 6)]),
    "ConvAutoencoder": (lambda: models.ConvAutoencoder(), lambda: [noise(2, 1, 28, 28)]),
    "VAE": (lambda: models.VAE(6, 4, 2), lambda: [noise(2, 6)]),
    "RBM": (lambda: models.RBM(6, 3), lambda: [noise(2, 6).sigmoid()]),
    "LeNet5": (lambda: models.LeNet5(), lambda: [noise(2, 1, 32, 32)]),
    "ZFNet": (lambda: models.ZFNet(2, (2, 2, 2, 2, 2), 4), lambda: [noise(2, 3, 224, 224)]),
    "NiN": (lambda: models.NiN(2), lambda: [noise(2, 3, 16, 16)]),
    "ResNet": (lambda: models.resnet18(num_classes=2), lambda: [noise(2, 3, 32, 32)]),
    "SE-ResNet": (lambda: models.se_resnet18(num_classes=2), lambda: [noise(2, 3, 32, 32)]),
    "pre-activation": (lambda: models.preact_resnet(8), lambda: [noise(2, 3, 16, 16)]),
    "stochastic depth": (lambda: models.stochastic_depth_resnet(8), lambda: [noise(2, 3, 16, 16)]),
    "ResNet of ResNets": (lambda: models.resnet_of_resnets(8), lambda: [noise(2, 3, 16, 16)]),
    "DenseNet": (lambda: models.DenseNet(4, (2, 2), 8), lambda: [noise(2, 3, 32, 32)]),
    "MobileNet v1": (lambda: models.mobilenet_v1(width_mult=0.25), lambda: [noise(2, 3, 32, 32)]),
    "MobileNet v2": (lambda: models.mobilenet_v2(width_mult=0.25), lambda: [noise(2, 3, 32, 32)]),
    "GoogLeNet": (
        lambda: models.GoogLeNet(2, aux_logits=False, transform_input=True, init_weights=False),
        lambda: [noise(2, 3, 32, 32)],
    ),
    "FractalNet": (lambda: models.FractalNet(4, widths=(2, 3)), lambda: [noise(4, 3, 8, 8)]),
    "Highway": (lambda: models.Highway(3, 4, 2), lambda: [noise(2, 3)]),
    "U-Net": (lambda: models.UNet(1, 2, (2, 4)), lambda: [noise(1, 1, 8, 8)]),
    "FCN": (lambda: models.FCN(3, 8, [2, "M", 2, "M", 2, "M", 2, "M", 2, "M"], 4), lambda: [noise(1, 3, 32, 32)]),
    "spatial transformer": (lambda: models.SpatialTransformerNet(), lambda: [noise(2, 1, 28, 28)]),
    "pose machine": (lambda: models.ConvolutionalPoseMachine(2, 2, 4, 3), lambda: [noise(1, 3, 32, 32)]),
    "Siamese": (lambda: models.Siamese(nn.Linear(3, 2), normalize=True), lambda: [noise(4, 3), noise(4, 3)]),
    "Seq2Seq": (lambda: models.Seq2Seq(5, 5, 4, 4), lambda: [numbers(2, 3), numbers(2, 2)]),
    "Transformer": (lambda: models.TranslationTransformer(9, 8, 2, 1, 8), lambda: [numbers(2, 3), numbers(2, 2)]),
    "memory network": (lambda: models.MemoryNetwork(9, 3, 4), lambda: [numbers(2, 3, 2), numbers(2, 2)]),
    "WaveNet": (lambda: models.WaveNet(4, 2, 1, 4, 4, 4), lambda: [numbers(1, 9)]),
    "neural Turing machine": (lambda: models.NeuralTuringMachine(3, 3, 8, 6, 4), lambda: [noise(3, 2, 3)]),
    "DRAW": (lambda: models.DRAW(8, 8, 2, 8, 2, 2, 2), lambda: [noise(2, 64).sigmoid()]),
    "word2vec": (lambda: models.SkipGram(["a", "b", "c", "a", "b"], 4, 2), lambda: [numbers(2), numbers(2)]),
    "recursive": (lambda: models.RecursiveNet(4, 2, 4, "tensor"), lambda: [(0, (1, 2))]),
    "DCGAN": (
        lambda: nn.Sequential(models.Generator(4, 1, 4, 8), models.Discriminator(1, 4, 8)),
        lambda: [noise(2, 4)],
    ),
    "SAGAN": (lambda: nn.Sequential(models.SAGenerator(4, 1, 4), models.SADiscriminator(1, 4)), lambda: [noise(2, 4)]),
    "tomography": (lambda: models.FilteredBackProjection(8, 6, 13), lambda: [noise(1, 6, 13)]),
    "variational network": (
        lambda: models.VariationalNetwork(2, 3, 3),
        lambda: [noise(1, 1, 6, 6), lambda x: x - 1],
    ),
    "QNetwork": (lambda: models.QNetwork(3, 2), lambda: [noise(2, 3)]),
    "ActorCritic": (lambda: models.ActorCritic(3, 2), lambda: [noise(2, 3)]),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_forward_and_backward(name):
    make, inputs = FORWARDS[name]
    model = make().to(GPU)
    out = model(*inputs())
    results = [t for t in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(t, cr.Tensor)]
    assert {t.device.type for t in results} == {GPU}
    sum(t.sum() for t in results if t.requires_grad).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert {g.device.type for g in gradients} == {GPU}


def progressive():
    net = models.ProgressiveNet(4, (8, 8))
    net.add_task(2)
    net.add_task(3)
    return net.to(GPU)(noise(3, 4)).sum()


def perceptual():
    loss = models.PerceptualLoss(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (0,), (1,)).to(GPU)
    return loss(noise(1, 1, 5, 5).requires_grad_(), noise(1, 1, 5, 5))


def yolo():
    model, loss = models.YOLO(3, 2, (4, 4, 4)).to(GPU), models.YOLOLoss(3, 2)
    return loss(model(noise(1, 3, 32, 32)), [[(0, 0.3, 0.4, 0.3, 0.2)]])


def captioner(attention):
    model = models.Captioner(7, annotation=8, embedding=8, hidden=8, attention=attention).to(GPU)
    return model.loss(noise(2, 1, 16, 16), numbers(2, 4))


def gpt():
    model = models.GPT(models.GPTConfig(vocab_size=5, block_size=8, n_layer=1, n_head=1, n_embd=8)).to(GPU)
    assert model.generate(numbers(1, 2), 4, top_k=2, top_p=0.9).device.type == GPU
    return model(numbers(1, 3), numbers(1, 3))[1]


def penalty():
    return models.gradient_penalty(nn.Linear(3, 1).to(GPU), noise(2, 3), noise(2, 3))


LOSSES = {
    "progressive": progressive,
    "perceptual": perceptual,
    "YOLO": yolo,
    "soft attention": lambda: captioner("soft"),
    "hard attention": lambda: captioner("hard"),
    "GPT": gpt,
    "WGAN-GP": penalty,
    "l2": lambda: transfer.soft_sharing([nn.Linear(2, 2).to(GPU) for _ in range(2)]),
    "trace": lambda: transfer.soft_sharing([nn.Linear(2, 2).to(GPU) for _ in range(2)], "trace"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    loss = LOSSES[name]()
    assert loss.device.type == GPU
    loss.backward()


def test_writing_and_recalling():
    text = models.CharRNN("helo").to(GPU)
    assert len(text.greedy("h", 3)) == len(text.sample("h", 3)) == len(text.beam("h", 3, 2)[0][0]) == 4
    translator = models.TranslationTransformer(9, 8, 2, 1, 8).to(GPU)
    assert translator.translate(numbers(1, 3), 1, 3, end=2).device.type == GPU
    memory, patterns = models.Hopfield(10).to(GPU), noise(2, 10).sign()
    memory.store(patterns)
    assert memory.energy(memory(patterns)).device.type == GPU
