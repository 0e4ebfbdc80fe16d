"""The older models and those that learn representations: shapes, counts, what formulas say, and that they learn."""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.models.autoencoder import Autoencoder, ConvAutoencoder, sparsity_penalty
from chainrule.models.mlp import MLP, xor
from chainrule.models.perceptron import Perceptron
from chainrule.models.rbm import RBM, hamming
from chainrule.models.siamese import Siamese, contrastive_loss
from chainrule.models.vae import VAE, vae_loss
from chainrule.models.word2vec import SkipGram
from chainrule.nn import functional as F


@pytest.fixture(autouse=True)
def _seed():
    cr.manual_seed(0)


def count(model):
    return sum(p.numel() for p in model.parameters())


def trained(model, loss, steps, lr=1e-2):
    """The losses at the first and the last of some steps of Adam."""
    optimizer, losses = optim.Adam(model.parameters(), lr=lr), []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses[0], losses[-1]


# -- perceptron and MLP -----------------------------------------------------------------------------------------------


def separable(n=60):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 2))
    side = x @ [2.0, -1.0] + 0.5
    keep = abs(side) > 0.3
    return cr.tensor(x[keep], dtype=cr.float32), cr.tensor(np.sign(side[keep]), dtype=cr.float32)


def test_perceptron_learns_what_a_line_separates():
    x, y = separable()
    model = Perceptron(2)
    mistakes = model.learn(x, y)
    assert mistakes[-1] == 0
    assert cr.equal(model.predict(x), y)
    # Novikoff's bound, with the bias as an input of 1
    rows = np.concatenate([x.numpy(), np.ones((len(x), 1))], 1)
    w = np.array([2.0, -1.0, 0.5])
    margin = (y.numpy() * (rows @ w)).min() / np.linalg.norm(w)
    assert sum(mistakes) <= (np.linalg.norm(rows, axis=1).max() / margin) ** 2
    assert count(model) == 3


def test_perceptrons_rule_is_a_gradient_step():
    """L1: w += y x where the example is wrong is SGD with rate 1 on max(0, -y ŷ)."""
    x, y = separable()
    by_rule, by_gradient = Perceptron(2), Perceptron(2)
    for model in (by_rule, by_gradient):
        with cr.no_grad():
            model.linear.weight.copy_(cr.tensor([[-1.0, 0.3]]))
    by_rule.learn(x, y, epochs=2)
    optimizer = optim.SGD(by_gradient.parameters(), lr=1.0)
    for example, label in itertools.chain(zip(x, y, strict=True), zip(x, y, strict=True)):
        optimizer.zero_grad()
        F.perceptron_loss(by_gradient(example[None]), label[None]).backward()
        optimizer.step()
    for p, q in zip(by_rule.parameters(), by_gradient.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_xor_needs_a_hidden_layer():
    x, y = xor()
    assert Perceptron(2).learn(x, 2 * y.squeeze(1) - 1, epochs=50)[-1] > 0
    cr.manual_seed(1)
    model = MLP([2, 4, 1], nn.Tanh)
    _, last = trained(model, lambda: F.binary_cross_entropy_with_logits(model(x), y), 200, 0.05)
    assert last < 0.05
    assert cr.equal((model(x) > 0).float(), y)


def test_mlp():
    model = MLP([784, 30, 20, 10], nn.Sigmoid, dropout=0.5)
    assert count(model) == 785 * 30 + 31 * 20 + 21 * 10
    assert model(cr.rand(5, 784)).shape == (5, 10)
    assert [type(m).__name__ for m in model] == [*["Linear", "Sigmoid", "Dropout"] * 2, "Linear"]


# -- autoencoders -----------------------------------------------------------------------------------------------------


def test_linear_autoencoder_finds_the_principal_components():
    """With mean squared error and no nonlinearity, the best code of 2 numbers is PCA's: so is the error."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((64, 2)) @ rng.standard_normal((2, 6)) + 0.1 * rng.standard_normal((64, 6))
    data -= data.mean(0)
    x = cr.tensor(data, dtype=cr.float32)
    model = Autoencoder([6, 2])
    assert count(model) == 7 * 2 + 3 * 6
    _, last = trained(model, lambda: F.mse_loss(model(x)[0], x), 600, 0.03)
    best = (np.linalg.svd(data, compute_uv=False)[2:] ** 2).sum() / data.size
    assert best * 0.999 < last < best * 1.05


@pytest.mark.parametrize("options", [{}, {"noise": 0.1}, {"masking": 0.2}, {"code": nn.Sigmoid}])
def test_autoencoders_learn(options):
    x = cr.rand(16, 8)
    model = Autoencoder([8, 16, 4], **options)
    output, code = model(x)
    assert output.shape == (16, 8)
    assert code.shape == (16, 4)
    first, last = trained(model, lambda: F.mse_loss(model(x)[0], x), 60)
    assert last < 0.5 * first
    model.eval()
    assert cr.equal(model(x)[0], model(x)[0])


def test_masking_and_sparsity():
    model = Autoencoder([1000, 2], masking=0.3)
    assert abs((model.corrupt(cr.ones(10, 1000)) == 0).float().mean().item() - 0.3) < 0.02
    code = cr.full((5, 3), 0.05)
    assert sparsity_penalty(code).item() == pytest.approx(0, abs=1e-6)
    assert sparsity_penalty(cr.full((5, 3), 0.5)).item() == pytest.approx(
        3 * (0.05 * math.log(0.1) + 0.95 * math.log(1.9)), rel=1e-4
    )
    x = cr.rand(16, 8)
    model = Autoencoder([8, 6], code=nn.Sigmoid)
    trained(model, lambda: F.mse_loss(model(x)[0], x) + sparsity_penalty(model(x)[1], 0.1), 200, 0.05)
    assert model(x)[1].mean().item() == pytest.approx(0.1, abs=0.02)


def test_conv_autoencoder():
    model, x = ConvAutoencoder(1, 8, 2), cr.rand(2, 1, 8, 12)
    output, code = model(x)
    assert output.shape == x.shape
    assert code.shape == (2, 2, 2, 3)
    assert count(model) == (9 + 1) * 8 + (72 + 1) * 2 + (2 * 16 * 8 + 8) + (8 * 16 + 1)
    first, last = trained(model, lambda: F.mse_loss(model(x)[0], x), 40)
    assert last < 0.5 * first


# -- VAE --------------------------------------------------------------------------------------------------------------


def test_vae():
    model = VAE()
    assert count(model) == 785 * 400 + 2 * 401 * 20 + 21 * 400 + 401 * 784
    assert list(model.state_dict())[::2] == [f"fc{i}.weight" for i in ("1", "21", "22", "3", "4")]
    model = VAE(36, 16, 2)
    x = (cr.rand(8, 1, 6, 6) < 0.3).float()
    output, mu, logvar = model(x)
    assert output.shape == (8, 36)
    assert mu.shape == logvar.shape == (8, 2)
    first, last = trained(model, lambda: vae_loss(model(x)[0], x, *model(x)[1:]), 80)
    assert last < 0.8 * first
    assert model.sample(3).shape == (3, 36)


def test_vae_loss_is_the_closed_divergence():
    mu, logvar = cr.randn(3, 4), cr.randn(3, 4)
    q = cr.distributions.Normal(mu, (0.5 * logvar).exp())
    kl = cr.distributions.kl_divergence(q, cr.distributions.Normal(0.0, 1.0)).sum()
    x = cr.ones(3, 2)
    assert vae_loss(x, x, mu, logvar).item() == pytest.approx(kl.item(), rel=1e-5)


def test_vae_samples_have_its_mean_and_spread():
    mu, logvar = cr.full((20000,), 2.0), cr.full((20000,), math.log(0.25))
    z = VAE(4, 4, 2).reparameterize(mu, logvar)
    assert z.mean().item() == pytest.approx(2, abs=0.02)
    assert z.std().item() == pytest.approx(0.5, abs=0.02)


# -- RBM --------------------------------------------------------------------------------------------------------------


def states(n):
    return cr.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=cr.float64)


def small_rbm():
    model = RBM(4, 3).double()
    with cr.no_grad():
        for p in model.parameters():
            p.copy_(cr.randn(p.shape))
    return model


def test_rbm_free_energy_and_conditionals_by_all_states():
    model, v, h = small_rbm(), states(4), states(3)
    energies = model.energy(v[:, None].expand(16, 8, 4).reshape(-1, 4), h.repeat(16, 1)).view(16, 8)
    np.testing.assert_allclose(
        model.free_energy(v).detach().numpy(), -np.log(np.exp(-energies.detach().numpy()).sum(1)), rtol=1e-10
    )
    weights = np.exp(-energies.detach().numpy())
    np.testing.assert_allclose(
        model(v).detach().numpy(), weights @ h.numpy() / weights.sum(1, keepdims=True), rtol=1e-10
    )
    np.testing.assert_allclose(
        model.backward_probabilities(h).detach().numpy(), weights.T @ v.numpy() / weights.T.sum(1, keepdims=True)
    )


def test_rbm_samples_its_distribution():
    model, v = small_rbm(), states(4)
    expected = F.softmax(-model.free_energy(v), 0).detach().numpy()
    found = model.gibbs(cr.zeros(20000, 4, dtype=cr.float64), 30)
    index = (found @ cr.tensor([8.0, 4, 2, 1], dtype=cr.float64)).long()
    np.testing.assert_allclose(np.bincount(index.numpy(), minlength=16) / 20000, expected, atol=0.015)


def test_contrastive_divergence_is_the_difference_of_correlations():
    """∂/∂W of the loss: -(⟨h vᵀ⟩ of the data - ⟨h vᵀ⟩ of the chain's end), with probabilities for h."""
    model, v = small_rbm(), states(4)[3:9]
    loss, end = model.loss(v, steps=2)
    loss.backward()
    with cr.no_grad():
        expected = -(model(v).t() @ v - model(end).t() @ end) / len(v)
    np.testing.assert_allclose(model.weight.grad.numpy(), expected.numpy(), rtol=1e-10, atol=1e-14)


def test_rbm_learns_and_its_codes_tell_groups_apart():
    prototypes = cr.tensor(np.random.default_rng(0).integers(0, 2, (3, 24)), dtype=cr.float32)
    v = prototypes.repeat_interleave(10, 0)
    v = cr.where(cr.rand(v.shape) < 0.05, 1 - v, v)
    model = RBM(24, 10)
    optimizer, first = optim.SGD(model.parameters(), lr=0.3, momentum=0.5), model.reconstruction_error(v)
    chain = None
    for _ in range(200):
        optimizer.zero_grad()
        loss, chain = model.loss(v, chain=chain)
        loss.backward()
        optimizer.step()
    assert model.reconstruction_error(v) < 0.4 * first
    codes = model.codes(v)
    distances = hamming(codes, codes).float()
    same = cr.arange(30)[:, None] // 10 == cr.arange(30) // 10
    assert distances[same].mean() < 0.5 * distances[~same].mean()
    assert hamming(codes[:2], codes).shape == (2, 30)


# -- word2vec ---------------------------------------------------------------------------------------------------------


def family():
    """A text whose words stand beside words of what they mean: man or woman, and which relation."""
    relations = {"man": "adult", "woman": "adult", "uncle": "relative", "aunt": "relative", "boy": "child"}
    relations |= {"girl": "child", "king": "royal", "queen": "royal"}
    sex = dict(zip(relations, ["he", "she"] * 4, strict=True))
    rng = np.random.default_rng(0)
    text = []
    for word in rng.permutation(list(relations) * 40):
        text += ["#", sex[word], word, relations[word], "#"]
    return text


def test_word2vec_answers_analogies():
    text = family()
    model = SkipGram(text, size=12, negatives=6)
    centres, neighbours = model.pairs(text, window=1)
    assert len(centres) == 2 * (len(text) - 1)
    first, last = trained(model, lambda: model(centres, neighbours), 150, 0.05)
    assert first == pytest.approx(7 * math.log(2), rel=1e-3)
    assert last < 0.75 * first
    assert model.analogy("man", "woman", "uncle") == ["aunt"]
    assert model.analogy("boy", "girl", "king") == ["queen"]
    assert set(model.nearest(model.centre.weight[model.numbers["man"]], 3)) >= {"man"}


def test_word2vec_vocabulary_and_noise():
    model = SkipGram(["a", "a", "a", "a", "b", "b", "c"], size=3, least=2)
    assert model.words == ["a", "b"]
    np.testing.assert_allclose(model.noise.numpy(), [4**0.75, 2**0.75], rtol=1e-6)
    centres, neighbours = model.pairs(["a", "b", "c", "a"], window=1)
    assert list(zip(centres.tolist(), neighbours.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 0), (0, 1)]
    assert count(model) == 2 * 2 * 3


# -- Siamese ----------------------------------------------------------------------------------------------------------


def test_contrastive_loss():
    distance = cr.tensor([0.5, 0.5, 2.0, 2.0])
    different = cr.tensor([0.0, 1.0, 0.0, 1.0])
    assert contrastive_loss(distance, different).item() == pytest.approx((0.125 + 0.125 + 2 + 0) / 4)


@pytest.mark.parametrize("triplets", [False, True])
def test_siamese_network_brings_classes_together(triplets):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 8)
    centres = rng.standard_normal((3, 6))
    x = cr.tensor(centres[labels] + 0.8 * rng.standard_normal((24, 6)), dtype=cr.float32)
    model = Siamese(MLP([6, 16, 2]), normalize=triplets)
    pairs = np.array(list(itertools.combinations(range(24), 2)))
    different = cr.tensor((labels[pairs[:, 0]] != labels[pairs[:, 1]]).astype("f4"))
    a, b = x[cr.tensor(pairs[:, 0])], x[cr.tensor(pairs[:, 1])]
    assert model(a, b).shape == (len(pairs),)
    if triplets:
        near = [next(j for j in range(24) if labels[j] == labels[i] and j != i) for i in range(24)]
        far = [next(j for j in np.roll(range(24), -i) if labels[j] != labels[i]) for i in range(24)]

        def loss():
            return model.triplet_loss(x, x[cr.tensor(near)], x[cr.tensor(far)], margin=0.5)
    else:

        def loss():
            return contrastive_loss(model(a, b), different)

    first, last = trained(model, loss, 60)
    assert last < 0.5 * first
    with cr.no_grad():
        distances = model(a, b)
    assert distances[different == 0].mean() < 0.6 * distances[different == 1].mean()
