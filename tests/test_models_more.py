"""Models that lectures name in passing: fractal, progressive, recursive and variational networks, SAGAN, Hopfield.

Shapes, numbers of parameters, what the formulas say, and that they learn.
"""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import models, nn, optim
from chainrule.models.fractalnet import FractalBlock
from chainrule.models.variational_network import GaussianActivations
from chainrule.nn import functional as F


@pytest.fixture(autouse=True)
def _seed():
    cr.manual_seed(0)


def count(model):
    return sum(p.numel() for p in model.parameters())


def close(a, b, **tolerance):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), **{"rtol": 1e-5, "atol": 1e-6, **tolerance})


def trained(parameters, loss, steps, lr=1e-2):
    """The losses of some steps of Adam."""
    optimizer, losses = optim.Adam(parameters, lr=lr), []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


# -- FractalNet -------------------------------------------------------------------------------------------------------


def test_fractal_block_is_the_recursion():
    """f_3 = join(f_2 ∘ f_2, layer) with f_2 = join(layer ∘ layer, layer); joins at one place are one mean."""
    block = FractalBlock(2, 3, columns=3).eval()
    a, b, c = block.columns
    assert [len(column) for column in block.columns] == [4, 2, 1]
    x = cr.randn(2, 2, 5, 5)
    half = (a[1](a[0](x)) + b[0](x)) / 2
    close(block(x), (a[3](a[2](half)) + b[1](half) + c[0](x)) / 3)


def test_fractalnet_counts():
    def weights(i, o, columns=3):
        first, others = columns, 2**columns - 1 - columns
        return 9 * (first * i * o + others * o * o) + (first + others) * 2 * o

    widths = (64, 128, 256, 512, 512)
    expected = sum(weights(i, o) for i, o in zip((3, *widths), widths, strict=False))
    small = models.FractalNet(4, widths=(4, 8), columns=4)
    assert count(small) == weights(3, 4, 4) + weights(4, 8, 4) + 9 * 4
    assert expected + 513 * 10 == pytest.approx(33.7e6, rel=0.01)
    assert sum(len(m.columns[0]) for m in small.blocks) == 2 * 8  # layers on the longest way
    assert small(cr.randn(2, 3, 9, 9)).shape == (2, 4)


def test_drop_path_keeps_one_input_or_one_column():
    block = FractalBlock(1, 1, columns=2, drop_prob=0.5)
    inputs = [cr.full((400, 1, 1, 1), float(v)) for v in (1, 3)]
    local = block._join(inputs, cr.full((400,), -1)).flatten()
    assert set(local.tolist()) == {1.0, 2.0, 3.0}
    assert (local == 2).double().mean().item() == pytest.approx(0.25, abs=0.07)  # both; else the one that is left
    kept = cr.arange(400) % 2
    close(block._join(inputs, kept).flatten(), (1 + 2 * kept).float())
    model = models.FractalNet(3, 1, (2,), columns=2).eval()
    x = cr.randn(3, 1, 4, 4)
    a, b = model.blocks[0].columns
    for column, path in enumerate((lambda x: a[1](a[0](x)), b[0])):
        close(model(x, column=column), model.classifier(model.pool(path(x)).mean((2, 3))))


def test_fractalnet_trains():
    model = models.FractalNet(4, widths=(6, 8), drop_prob=0.15)
    x, y = cr.randn(8, 3, 6, 6), cr.arange(8) % 4
    losses = trained(model.parameters(), lambda: F.cross_entropy(model(x), y), 40)
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
    assert all(p.grad is not None for p in model.parameters())


# -- SAGAN ------------------------------------------------------------------------------------------------------------


def test_self_attention_by_hand():
    layer = models.SelfAttention2d(8, reduction=4).double()
    for _ in range(3):
        layer(cr.randn(1, 8, 2, 2, dtype=cr.float64))  # each call improves the spectral norms
    x = cr.randn(2, 8, 3, 4, dtype=cr.float64)
    assert cr.equal(layer(x), x)  # γ = 0
    with cr.no_grad():
        layer.gamma.fill_(0.7)
    layer.eval()
    f, g, h, v = (m.weight.detach().numpy()[:, :, 0, 0] for m in (layer.f, layer.g, layer.h, layer.v))
    found = layer(x).detach().numpy()
    for n, image in enumerate(x.numpy().reshape(2, 8, 12)):
        scores = (f @ image).T @ (g @ image)  # s_ij
        beta = np.exp(scores) / np.exp(scores).sum(0)
        np.testing.assert_allclose(found[n].reshape(8, 12), 0.7 * v @ (h @ image @ beta) + image, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(layer.attention[n].numpy(), beta.T, rtol=1e-9)
    assert count(models.SelfAttention2d(64)) == 4 * 64 * 8 + 1


def test_sagan_plays():
    generator, critic = models.SAGenerator(6, 1, 4), models.SADiscriminator(1, 4)
    assert generator(cr.randn(2, 6)).shape == (2, 1, 32, 32)
    for m in critic.modules():
        if isinstance(m, nn.Conv2d):
            norms = cr.linalg.matrix_norm(m.weight.flatten(1), 2)
            assert norms.item() < 1.5  # of a matrix whose norm the power iteration has only begun to find
    real = cr.ones(4, 1, 32, 32) * cr.tensor([0.8, -0.8, 0.8, -0.8]).view(4, 1, 1, 1)
    players = [
        optim.Adam(critic.parameters(), lr=4e-3, betas=(0.0, 0.9)),
        optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9)),
    ]
    losses = []
    for _ in range(8):
        losses.append(models.discriminator_hinge_loss(critic(real), critic(generator(cr.randn(4, 6)).detach())))
        players[0].zero_grad()
        losses[-1].backward()
        players[0].step()
    assert losses[-1].item() < 0.9 * losses[0].item()
    z = cr.randn(4, 6)
    before = critic(generator(z)).mean().item()
    for _ in range(5):
        players[1].zero_grad()
        (-critic(generator(z)).mean()).backward()
        players[1].step()
    assert critic(generator(z)).mean().item() > before
    assert generator.main[6].gamma.item() != 0


def test_hinge_loss_of_players():
    loss = models.discriminator_hinge_loss(cr.tensor([2.0, 0.5]), cr.tensor([-2.0, 0.0]))
    assert loss.item() == pytest.approx((0 + 0.5) / 2 + (0 + 1) / 2)


# -- progressive networks ---------------------------------------------------------------------------------------------


def test_progressive_networks_forget_nothing():
    x = cr.randn(64, 4)
    first, second = (x[:, 0] * x[:, 1] > 0).long(), (x[:, 0] * x[:, 1] > x[:, 2]).long() + (x[:, 3] > 0)
    net = models.ProgressiveNet(4, (16, 16))
    with pytest.raises(ValueError, match="no task yet"):
        net(x)
    net.add_task(2)
    assert count(net) == 5 * 16 + 17 * 16 + 17 * 2
    losses = trained(net.trainable(), lambda: F.cross_entropy(net(x), first), 60)
    assert losses[-1] < 0.5 * losses[0]
    known = net(x).detach()
    column = net.add_task(3)
    own = 5 * 16 + 17 * 16 + 17 * 3
    assert sum(p.numel() for p in net.trainable()) == own + 2 * (1 + 17 * 8) + 8 * 16 + 8 * 3
    losses = trained(net.trainable(), lambda: F.cross_entropy(net(x), second), 60)
    assert losses[-1] < 0.6 * losses[0]
    assert cr.equal(net(x, task=0), known)
    assert net(x).shape == (64, 3)
    assert all(scale.grad is not None for scale in column.scales)
    net.add_task(2)
    assert [s.numel() for s in net.columns[2].scales] == [2, 2]
    assert net(x).shape == (64, 2)


# -- recursive networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("composition", ["matrix", "tensor"])
def test_recursive_network_learns_to_negate(composition):
    good, bad, neither, really = range(4)
    trees = [(neither, good), (neither, bad), (really, good), (really, bad), (neither, (neither, bad))]
    trees += [(neither, (really, good)), (really, (neither, good)), (neither, (neither, good))]

    def meaning(tree):
        """The class of each node: 0 bad, 1 good, 2 a word that only changes others."""
        if isinstance(tree, int):
            return [{good: 1, bad: 0}.get(tree, 2)]
        left, right = (meaning(child) for child in tree)
        return [*left, *right, right[-1] if tree[0] == really else 1 - right[-1]]

    model = models.RecursiveNet(4, 3, size=10, composition=composition)
    assert count(model) == 4 * 10 + 21 * 10 + 11 * 3 + (10 * 20 * 20 if composition == "tensor" else 0)
    target = cr.tensor([c for tree in trees for c in meaning(tree)])
    assert model(trees[5]).shape == (5, 3)

    def loss():
        return F.cross_entropy(cr.cat([model(tree) for tree in trees]), target)

    losses = trained(model.parameters(), loss, 120, 2e-2)
    assert losses[-1] < 0.15 * losses[0]
    with cr.no_grad():
        assert [model(tree)[-1].argmax().item() for tree in trees] == [meaning(tree)[-1] for tree in trees]


def test_recursive_network_by_hand():
    model = models.RecursiveNet(3, 2, size=2, composition="tensor").double()
    a, b = (w.numpy() for w in model.words.weight.detach()[:2])
    both = np.concatenate([a, b])
    linear = model.compose.weight.detach().numpy() @ both + model.compose.bias.detach().numpy()
    expected = np.tanh(linear + np.array([both @ V @ both for V in model.tensor.detach().numpy()]))
    np.testing.assert_allclose(model.vectors((0, 1))[-1].detach().numpy(), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="composition is"):
        models.RecursiveNet(3, 2, composition="sum")


# -- Hopfield ---------------------------------------------------------------------------------------------------------


def test_hopfield_recalls_what_is_damaged():
    patterns = cr.randint(0, 2, (5, 100)).float() * 2 - 1
    net = models.Hopfield(100)
    net.store(patterns)
    close(net.weight, (patterns.T @ patterns / 100).fill_diagonal_(0))
    assert cr.equal(net(patterns), patterns)
    damaged = patterns.clone()
    damaged[:, cr.randperm(100)[:20]] *= -1
    assert cr.equal(net(damaged), patterns)
    assert cr.equal(net(damaged[2]), patterns[2])
    close(net.energy(patterns), cr.tensor([-0.5 * float(s @ net.weight @ s) for s in patterns]))
    state = damaged[0]
    energies = [net.energy(state).item()]
    for _ in range(4):
        state = net(state, sweeps=1)
        energies.append(net.energy(state).item())
    assert all(b <= a for a, b in itertools.pairwise(energies))


def test_hopfield_has_a_capacity():
    def share(count):
        patterns = cr.randint(0, 2, (count, 100)).float() * 2 - 1
        net = models.Hopfield(100)
        net.store(patterns)
        return (net(patterns, sweeps=5) == patterns).float().mean().item()

    assert share(5) > 0.99  # below 0.138 n
    assert share(60) < 0.9


# -- variational network ----------------------------------------------------------------------------------------------


def test_gaussian_activations_start_nearly_linear():
    layer = GaussianActivations(2)
    x = cr.linspace(-0.8, 0.8, 9).view(1, 1, 3, 3).expand(1, 2, 3, 3)
    y = layer(x)
    slope = y[0, 0].flatten()[-1] / 0.8
    close(y, slope * x, atol=1e-3)
    assert slope.item() == pytest.approx(0.4 * math.sqrt(2 * math.pi), rel=0.01)  # Σ of Gaussians one width apart


def test_variational_step_is_gradient_descent():
    """With linear φ = s x the regulariser is ½ s Σ ‖K x‖²: the step is its gradient, and that of the data's term."""
    net = models.VariationalNetwork(1, filters=3, kernel_size=3).double()
    step = net.steps[0]

    class Linear(nn.Module):
        def forward(self, x):
            return 0.3 * x

    step.activation = Linear()
    with cr.no_grad():
        step.weight.fill_(math.log(0.2))
    x, y = cr.randn(1, 1, 6, 6, dtype=cr.float64, requires_grad=True), cr.randn(1, 1, 6, 6, dtype=cr.float64)
    kernel = step.kernel - step.kernel.mean((2, 3), keepdim=True)
    energy = 0.15 * F.conv2d(x, kernel, padding=1).square().sum() + 0.1 * (x - y).square().sum()
    (g,) = cr.grad(energy, (x,))
    close(net(x, lambda x: x - y), x - g, rtol=1e-10)
    with pytest.raises(ValueError, match="odd kernel_size"):
        models.VariationalNetwork(kernel_size=4)


def test_variational_network_learns_to_reconstruct():
    """Few projections: back-projection alone is poor, and the network, which knows the measurement, does better."""
    beams = models.BackProjection(12, 6)
    image = cr.zeros(4, 12, 12)
    for i in range(4):
        image[i, 2 + i : 7 + i, 3:9] = 1.0
    data = beams.project(image)
    scale = 0.02

    def residual(x):
        return scale * beams(beams.project(x.squeeze(1)) - data).unsqueeze(1)

    net = models.VariationalNetwork(3, filters=4, kernel_size=5, gaussians=9)
    start = (scale * beams(data)).unsqueeze(1)
    losses = trained(net.parameters(), lambda: F.mse_loss(net(start, residual).squeeze(1), image), 40)
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None for p in net.parameters())
    assert models.VariationalNetwork().steps[0].kernel.shape == (24, 1, 13, 13)


# -- losses on features -----------------------------------------------------------------------------------------------


@pytest.fixture
def features():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())


def test_style_does_not_know_places(features):
    x = cr.randn(2, 3, 4, 5)
    g = models.gram_matrix(x)
    close(g, cr.einsum("nchw,ndhw->ncd", x, x) / 60)
    close(models.gram_matrix(x.flatten(2)[:, :, cr.randperm(20)].view(2, 3, 4, 5)), g)
    image = cr.rand(1, 1, 8, 8)
    around = image.roll((3, 2), (2, 3))
    style, content = models.PerceptualLoss(features, style=(0,)), models.PerceptualLoss(features, content=(0,))
    assert style(image, image).item() == content(image, image).item() == 0
    inside = features[:1](image)
    assert content(around, image).item() > 100 * style(around, image).item()
    close(content.features(image)[0], inside)  # not what the ReLU in place makes of it
    assert not content.train().network.training


def test_perceptual_loss_guides_an_image(features):
    loss = models.PerceptualLoss(features, content=(3,), style=(1, 3), style_weight=10.0)
    target = cr.zeros(1, 1, 8, 8)
    target[..., 2:6, 2:6] = 1.0
    x = cr.rand(1, 1, 8, 8).requires_grad_()
    losses = trained([x], lambda: loss(x, target), 60, 0.05)
    assert losses[-1] < 0.1 * losses[0]
    assert all(p.grad is None for p in loss.parameters())
