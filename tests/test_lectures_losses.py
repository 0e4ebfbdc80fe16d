"""The lectures' losses, activations and initialisations, under their numbers in the list of what must be right."""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F

LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772


def leaf(array):
    return cr.tensor(np.asarray(array, dtype=np.float64), requires_grad=True)


def double(array):
    return cr.tensor(np.asarray(array, dtype=np.float64))


def close(tensor, array, **tolerance):
    np.testing.assert_allclose(tensor.detach().numpy(), array, **{"rtol": 1e-9, "atol": 1e-12, **tolerance})


# -- 6 to 9: cross entropy and likelihood -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "p", "value"), [(0, 0.211, 0.237), (1, 0.981, 0.019), (0, 0.723, 1.284), (0, 0.134, 0.144)]
)
def test_06_binary_cross_entropy_of_probabilities_and_of_logits(y, p, value):
    target, logit = double([y]), leaf([math.log(p / (1 - p))])
    loss = nn.BCELoss()(leaf([p]), target)
    assert loss.item() == pytest.approx(value, abs=6e-4)
    from_logits = nn.BCEWithLogitsLoss()(logit, target)
    assert from_logits.item() == pytest.approx(loss.item(), rel=1e-12)
    from_logits.backward()
    close(logit.grad, [p - y])  # what makes the logits' form the better one: no product with p (1 - p)


def test_06_the_logits_form_holds_where_probabilities_end():
    logits = leaf([-800.0, 800.0])
    loss = F.binary_cross_entropy_with_logits(logits, double([1, 0]), reduction="none")
    close(loss, [800, 800])
    loss.sum().backward()
    close(logits.grad, [-1, 1])


@pytest.mark.parametrize(("p", "value"), [(0.6, 0.511), (0.3, 1.20), (0.99, 0.01)])
def test_07_categorical_cross_entropy(p, value):
    y = double([[0, 1, 0]])
    rest = (1 - p) / 2
    log_p = double([[rest, p, rest]]).log()
    for loss in (-(y * log_p).sum(), F.nll_loss(log_p, cr.tensor([1])), F.cross_entropy(log_p, y)):
        assert loss.item() == pytest.approx(value, abs=5e-3)
        assert loss.item() == pytest.approx(-math.log(p))


@pytest.mark.parametrize(
    ("y", "p", "value"),
    [
        ([0, 0, 1], [0.2, 0.4, 0.6], 1.245),
        ([1, 0, 1], [0.3, 0.9, 0.2], 5.116),
        ([0, 1, 0], [0.1, 0.7, 0.1], 0.567),
        ([1, 1, 1], [0.8, 0.9, 0.99], 0.339),
    ],
)
def test_08_several_labels_at_once(y, p, value):
    y, p = double(y), double(p)
    assert F.binary_cross_entropy(p, y, reduction="sum").item() == pytest.approx(value, abs=6e-4)
    mean = F.multilabel_soft_margin_loss((p / (1 - p)).log()[None], y[None])
    assert 3 * mean.item() == pytest.approx(value, abs=6e-4)


def test_09_likelihood_of_an_unfair_coin():
    p, y = double([0.3, 0.7]), double([0, 1])
    assert (p**y).prod().item() == pytest.approx(0.7)
    assert math.exp(-F.nll_loss(p.log(), cr.tensor(1)).item()) == pytest.approx(0.7)


# -- 19: smoothing, temperature, activations --------------------------------------------------------------------------


def test_19_label_smoothing():
    rng = np.random.default_rng(0)
    logits, target, k, eps = leaf(rng.normal(size=(4, 5))), [1, 0, 4, 2], 5, 0.1
    q = (1 - eps) * np.eye(k)[target] + eps / k
    assert q.sum(1) == pytest.approx(np.ones(4))
    expected = -(double(q) * F.log_softmax(logits, 1)).sum(1).mean()
    found = nn.CrossEntropyLoss(label_smoothing=eps)(logits, cr.tensor(target))
    assert found.item() == pytest.approx(expected.item())
    found.backward()
    close(logits.grad, (F.softmax(logits, 1).detach().numpy() - q) / 4)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_19_sampling_temperature(tau):
    p = np.array([0.1, 0.2, 0.7])
    expected = p ** (1 / tau) / (p ** (1 / tau)).sum()
    warm = F.softmax(double(p).log() / tau, 0)
    close(warm, expected)
    cr.manual_seed(0)
    drawn = cr.multinomial(warm, 20000, replacement=True)
    assert np.bincount(drawn.numpy(), minlength=3) / 20000 == pytest.approx(expected, abs=0.012)


def test_19_temperature_sharpens_or_flattens():
    logits = double([1.0, 2.0, 4.0])
    entropies = [-(F.softmax(logits / t, 0) * F.log_softmax(logits / t, 0)).sum().item() for t in (0.1, 1, 10, 1000)]
    assert entropies == sorted(entropies)
    assert entropies[0] < 1e-6
    assert entropies[-1] == pytest.approx(math.log(3), abs=1e-4)


def test_19_selu_keeps_mean_and_variance():
    x = leaf([-1.0, 2.0])
    close(F.selu(x), [LAMBDA * ALPHA * (math.exp(-1) - 1), 2 * LAMBDA])
    assert pytest.approx((LAMBDA, ALPHA), abs=5e-5) == (1.0507, 1.6733)
    cr.manual_seed(0)
    h = cr.randn(2000, 64)
    for _ in range(8):
        h = F.selu(h @ (cr.randn(64, 64) / 8))  # weights of variance 1 / n
    assert h.mean().item() == pytest.approx(0, abs=0.15)
    assert h.var().item() == pytest.approx(1, abs=0.25)


def test_19_alpha_dropout():
    p, floor = 0.3, -LAMBDA * ALPHA
    a = ((1 - p) * (1 + p * floor**2)) ** -0.5
    b = -a * p * floor
    cr.manual_seed(0)
    x = cr.randn(100, 100, dtype=cr.float64)
    y = nn.AlphaDropout(p)(x).numpy()
    dropped = np.isclose(y, a * floor + b, atol=1e-9)
    assert dropped.mean() == pytest.approx(p, abs=0.02)
    np.testing.assert_allclose(y[~dropped], (a * x.numpy() + b)[~dropped], rtol=1e-9)
    assert (y.mean(), y.var()) == pytest.approx((0, 1), abs=0.05)


def test_19_activations_by_their_formulas():
    x = leaf(np.linspace(-4, 4, 17))
    v = x.detach().numpy()
    sigma = 1 / (1 + np.exp(-v))
    close(F.leaky_relu(x), np.where(v > 0, v, 0.01 * v))
    close(cr.tanh(x), (2 * cr.sigmoid(2 * x) - 1).detach().numpy())
    close(F.silu(x), v * sigma)
    close(F.softplus(x), np.log1p(np.exp(v)))
    for beta in (0.5, 1.0, 3.0):
        y = x * cr.sigmoid(beta * x)  # Swish
        s = 1 / (1 + np.exp(-beta * v))
        (g,) = cr.grad(y.sum(), (x,))
        close(g, s + beta * v * s * (1 - s))
    (g,) = cr.grad(F.softplus(x).sum(), (x,))
    close(g, sigma)


# -- 21: initialisation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fill", "sigma"),
    [
        (nn.init.xavier_normal_, lambda i, o: math.sqrt(2 / (i + o))),
        (nn.init.xavier_uniform_, lambda i, o: math.sqrt(2 / (i + o))),
        (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), lambda i, o: math.sqrt(2 / i)),
        (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), lambda i, o: math.sqrt(2 / i)),
        (lambda w: nn.init.normal_(w, 0, 0.01), lambda i, o: 0.01),
    ],
)
@pytest.mark.parametrize("shape", [(300, 200), (60, 30, 3, 3)])
def test_21_standard_deviations(fill, sigma, shape):
    cr.manual_seed(0)
    w = fill(cr.empty(*shape, dtype=cr.float64))
    field = math.prod(shape[2:])
    assert w.mean().item() == pytest.approx(0, abs=0.02 * w.std().item())
    assert w.std().item() == pytest.approx(sigma(shape[1] * field, shape[0] * field), rel=0.02)


def test_21_variance_of_a_sum():
    """Var(Σ w x) = N Var(w) Var(x) for independent w and x of mean 0."""
    cr.manual_seed(0)
    n = 100
    w, x = 0.3 * cr.randn(200, n), 2 * cr.randn(n, 500)
    assert (w @ x).var().item() == pytest.approx(n * 0.3**2 * 2**2, rel=0.03)
    layer = nn.Linear(n, 400, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    assert layer(x.T).var().item() == pytest.approx(x.var().item(), rel=0.05)


@pytest.mark.parametrize(("init", "kept"), [("he", True), ("small", False)])
def test_21_signals_through_many_relu_layers(init, kept):
    cr.manual_seed(0)
    h = cr.randn(200, 100)
    start = (h * h).mean().item()
    for _ in range(15):
        layer = nn.Linear(100, 100)
        nn.init.zeros_(layer.bias)
        if init == "he":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        else:
            nn.init.normal_(layer.weight, 0, 0.01)
        h = F.relu(layer(h))
    ratio = (h * h).mean().item() / start
    assert 0.1 < ratio < 10 if kept else ratio < 1e-20


def test_21_zeros_give_no_gradient_and_constants_no_difference():
    x, y = cr.randn(8, 5), cr.randint(0, 3, (8,))
    for value in (0.0, 0.1):
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
        for p in model.parameters():
            nn.init.constant_(p, value)
        F.cross_entropy(model(x), y).backward()
        first, last = model[0].weight.grad, model[2].weight.grad
        close(first, np.broadcast_to(first[:1].numpy(), (4, 5)), atol=1e-7)  # all units of a layer stay alike
        if value == 0:
            assert not first.any()
            assert not last.any()
            assert model[2].bias.grad.any()  # the only one that learns
    relu = nn.Linear(3, 2)
    nn.init.zeros_(relu.weight)
    nn.init.constant_(relu.bias, 0.1)  # the bias that keeps a ReLU alive at the start
    F.relu(relu(x[:, :3])).sum().backward()
    assert relu.weight.grad.any()


# -- 28: the perceptron, and who learns slowly ------------------------------------------------------------------------


def test_28_the_perceptron_separates_what_can_be_separated():
    x = double([[1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]])
    y = double([-1, -1, -1, 1])
    w, loss = leaf([0.0, 0.0, 0.0]), nn.PerceptronLoss("sum")
    for epoch, i in itertools.product(range(20), range(4)):
        score = (x[i] * w).sum()
        if (score * y[i]).item() <= 0:
            by_rule = y[i] * x[i]
            if score.item():  # at the kink the gradient is 0, and the rule moves nevertheless
                (g,) = cr.grad(loss(score[None], y[i : i + 1]), (w,))
                close(-g, by_rule.numpy())
            with cr.no_grad():
                w += by_rule
            last = epoch
    assert last < 19  # no mistake in the last rounds
    assert ((x @ w) * y > 0).all()


@pytest.mark.parametrize(("loss", "factor"), [("squares", True), ("entropy", False)])
def test_28_the_sigmoids_slope_slows_squares_alone(loss, factor):
    z = leaf([4.0])  # target 0: badly wrong
    a = cr.sigmoid(z)
    value = 0.5 * (a * a).sum() if loss == "squares" else F.binary_cross_entropy_with_logits(z, double([0]))
    value.backward()
    s = a.item()
    close(z.grad, [s * s * (1 - s) if factor else s])
    assert (abs(z.grad.item()) < 0.02) == factor


def test_28_deltas_fall_from_layer_to_layer():
    cr.manual_seed(1)
    layers = [nn.Linear(i, o) for i, o in itertools.pairwise([20, 30, 30, 30, 30, 5])]
    h, pre = cr.rand(32, 20), []
    for layer in layers:
        z = layer(h)
        z.retain_grad()
        pre.append(z)
        h = cr.sigmoid(z)
    ((h - 0.5) ** 2).sum().backward()
    norms = [z.grad.norm().item() for z in pre[:4]]
    assert all(b / a > 2 for a, b in itertools.pairwise(norms))  # no weight is above 4 / sqrt(n), no slope above 1/4
    # with rectifiers the same net has no such ladder
    h, pre = cr.rand(32, 20), []
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        z = layer(h)
        z.retain_grad()
        pre.append(z)
        h = F.relu(z)
    ((h - 0.5) ** 2).sum().backward()
    norms = [z.grad.norm().item() for z in pre[:4]]
    assert max(norms) / min(norms) < 5
