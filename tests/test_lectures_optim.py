"""The lectures on optimisation: methods and schedules by the formulas on the slides, with the errors put right."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.optim import lr_scheduler

GRADIENTS = np.random.default_rng(0).standard_normal((20, 3))
START = np.array([1.0, -2.0, 0.5])


def quadratic(w):
    """The gradient of ½ wᵀ A w: one that depends on the point."""
    return np.array([1.0, 4.0, 0.3]) * w


def iterates(make, gradient=None, steps=20, start=START):
    """The parameter after each step, by given gradients or by the gradient at the point."""
    w = nn.Parameter(cr.tensor(start, dtype=cr.float64))
    optimizer, found = make([w]), []
    for g in GRADIENTS[:steps]:
        w.grad = cr.tensor(gradient(w.detach().numpy()) if gradient else g)
        optimizer.step()
        found.append(w.detach().numpy().copy())
    return np.array(found), optimizer


@pytest.mark.parametrize("mu", [0.9, 0.95, 0.99])
def test_20_momentum_with_the_rate_inside(mu):
    """L1 has v = μv - ηg, w = w + v; here v has no η: the same at a constant rate."""
    eta, w, v = 0.05, START, np.zeros(3)
    found, _ = iterates(lambda p: optim.SGD(p, lr=eta, momentum=mu))
    for g, got in zip(GRADIENTS, found, strict=True):
        v = mu * v - eta * g
        w = w + v
        np.testing.assert_allclose(got, w, rtol=1e-12)


@pytest.mark.parametrize("mu", [0.9, 0.95, 0.99])
def test_20_nesterov_rewritten_is_the_look_ahead(mu):
    """The look-ahead takes the gradient at w + μv. L1 rewrites it: w = w - μ v₋₁ + (1 + μ) v. Our w is that point."""
    eta = 0.02
    found, _ = iterates(lambda p: optim.SGD(p, lr=eta, momentum=mu, nesterov=True), quadratic)
    w, v = START, np.zeros(3)  # the look-ahead form, w + μv where the gradient is taken
    rewritten, velocity = START, np.zeros(3)
    for got in found:
        v = mu * v - eta * quadratic(w + mu * v)
        w = w + v
        before, velocity = velocity, mu * velocity - eta * quadratic(rewritten)
        rewritten = rewritten - mu * before + (1 + mu) * velocity
        np.testing.assert_allclose(rewritten, w + mu * v, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(got, w + mu * v, rtol=1e-10, atol=1e-14)


def test_20_adagrad():
    w, s = START, np.zeros(3)
    found, _ = iterates(lambda p: optim.Adagrad(p, lr=0.1, eps=1e-8))
    for g, got in zip(GRADIENTS, found, strict=True):
        s = s + g * g
        w = w - 0.1 * g / (np.sqrt(s) + 1e-8)
        np.testing.assert_allclose(got, w, rtol=1e-12)


def test_20_rmsprop():
    """ρ = 0.9, η = 0.001 (L1); the average is ρ r + (1 - ρ) g² (L4 has a minus there)."""
    w, r = START, np.zeros(3)
    found, _ = iterates(lambda p: optim.RMSprop(p, lr=0.001, alpha=0.9))
    for g, got in zip(GRADIENTS, found, strict=True):
        r = 0.9 * r + 0.1 * g * g
        w = w - 0.001 * g / (np.sqrt(r) + 1e-8)
        np.testing.assert_allclose(got, w, rtol=1e-12)
    # with a minus r is below 0 from the first step on, and has no root
    assert (0.9 * np.zeros(3) - 0.1 * GRADIENTS[0] ** 2 < 0).all()


def test_20_adadelta_and_the_form_that_never_starts():
    """ρ = 0.95. L1 has Δ = -√h / (√r + ε) g with h = 0 at first: that stays 0; it takes √(h + ε) / √(r + ε)."""
    rho, eps = 0.95, 1e-6
    found, optimizer = iterates(lambda p: optim.Adadelta(p, lr=1.0, rho=rho, eps=eps))
    w, r, h = START, np.zeros(3), np.zeros(3)
    slides, r_slides, h_slides = START, np.zeros(3), np.zeros(3)
    for g, got in zip(GRADIENTS, found, strict=True):
        r = rho * r + (1 - rho) * g * g
        delta = -np.sqrt(h + eps) / np.sqrt(r + eps) * g
        h = rho * h + (1 - rho) * delta * delta
        w = w + delta
        np.testing.assert_allclose(got, w, rtol=1e-12)
        r_slides = rho * r_slides + (1 - rho) * g * g
        step = -np.sqrt(h_slides) / (np.sqrt(r_slides) + eps) * g
        h_slides = rho * h_slides + (1 - rho) * step * step
        slides = slides + step
    np.testing.assert_array_equal(slides, START)
    assert (np.abs(found[-1] - START) > 1e-4).all()
    assert (optimizer.state[optimizer.param_groups[0]["params"][0]]["acc_delta"].numpy() > 0).all()


@pytest.mark.parametrize("amsgrad", [False, True])
def test_20_adam_and_amsgrad(amsgrad):
    """μ = 0.9, ρ = 0.999, η = 0.001, corrected for the start at 0. AMSGrad's maximum is over r, the second moment."""
    w, v, r, top = START, np.zeros(3), np.zeros(3), np.zeros(3)
    found, _ = iterates(lambda p: optim.Adam(p, lr=0.001, betas=(0.9, 0.999), amsgrad=amsgrad))
    for t, (g, got) in enumerate(zip(GRADIENTS, found, strict=True), 1):
        v = 0.9 * v + 0.1 * g
        r = 0.999 * r + 0.001 * g * g
        top = np.maximum(top, r) if amsgrad else r
        w = w - 0.001 * (v / (1 - 0.9**t)) / (np.sqrt(top / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(got, w, rtol=1e-12)


def test_20_amsgrads_maximum_is_over_the_second_moment():
    """After a large gradient small ones follow: the state's maximum stays what the second moment was at its largest."""
    p = nn.Parameter(cr.zeros(1, dtype=cr.float64))
    optimizer, squares = optim.Adam([p], lr=0.1, betas=(0.5, 0.5), amsgrad=True), []
    for g in (10.0, 1e-3, -1e-3, 1e-3):
        p.grad = cr.tensor([g], dtype=cr.float64)
        optimizer.step()
        squares.append(optimizer.state[p]["exp_avg_sq"].item())
    assert optimizer.state[p]["max_exp_avg_sq"].item() == max(squares) == 50
    assert optimizer.state[p]["exp_avg"].item() < 1  # the first moment would be another


def test_20_weight_decay():
    """w = (1 - ηλ) w - ηg, with SGD by either form of the penalty."""
    eta, decay = 0.1, 0.05
    found, _ = iterates(lambda p: optim.SGD(p, lr=eta, weight_decay=decay))
    w = START
    for g, got in zip(GRADIENTS, found, strict=True):
        w = (1 - eta * decay) * w - eta * g
        np.testing.assert_allclose(got, w, rtol=1e-12)
    # the factor alone, decoupled from Adam's scaling: AdamW at a gradient of 0
    found, _ = iterates(lambda p: optim.AdamW(p, lr=eta, weight_decay=decay), lambda w: 0 * w)
    np.testing.assert_allclose(found[-1], START * (1 - eta * decay) ** 20, rtol=1e-12)


def test_20_l1_penalty():
    """w = w - ηλ sign(w) - ηg, by λ Σ|w| in the loss; at 0 the subgradient is 0."""
    eta, penalty = 0.1, 0.5
    w = nn.Parameter(cr.tensor([1.0, -2.0, 0.0], dtype=cr.float64))
    optimizer, expected = optim.SGD([w], lr=eta), w.detach().numpy().copy()
    for g in GRADIENTS:
        optimizer.zero_grad()
        ((w * cr.tensor(g)).sum() + penalty * w.abs().sum()).backward()
        optimizer.step()
        expected = expected - eta * penalty * np.sign(expected) - eta * g
        np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-12, atol=1e-15)


def test_20_max_norm_projection():
    """After a step the rows that are longer than c are put back to the length c; the others stay."""
    layer = nn.Linear(4, 3)
    with cr.no_grad():
        layer.weight.copy_(cr.tensor([[3.0, 0, 0, 0], [0, 4, 3, 0], [0.1, 0.2, 0, 0]]))
    nn.utils.max_norm_(layer.weight, 2.0)
    np.testing.assert_allclose(
        layer.weight.detach().numpy(), [[2, 0, 0, 0], [0, 1.6, 1.2, 0], [0.1, 0.2, 0, 0]], rtol=1e-6
    )


ETA, K = 0.1, 0.3
SCHEDULES = {
    "÷10 every 5 epochs": (lambda o: lr_scheduler.StepLR(o, 5, 0.1), lambda e: ETA / 10 ** (e // 5)),
    "×0.5 every 3 epochs": (lambda o: lr_scheduler.StepLR(o, 3, 0.5), lambda e: ETA * 0.5 ** (e // 3)),
    "η₀ e^(-kt)": (lambda o: lr_scheduler.ExponentialLR(o, math.exp(-K)), lambda e: ETA * math.exp(-K * e)),
    "η₀ / (1 + kt)": (lambda o: lr_scheduler.InverseTimeLR(o, K), lambda e: ETA / (1 + K * e)),
    "cyclic": (
        lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.05, step_size_up=4),
        lambda e: 0.01 + 0.04 * (1 - abs(e % 8 - 4) / 4),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_20_schedules(name):
    make, formula = SCHEDULES[name]
    optimizer = optim.SGD([nn.Parameter(cr.zeros(1))], lr=ETA, momentum=0.9)
    scheduler = make(optimizer)
    for epoch in range(25):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(formula(epoch), rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_20_on_plateau():
    """The rate falls to a tenth where the loss on the validation set stays for more than two epochs."""
    optimizer = optim.SGD([nn.Parameter(cr.zeros(1))], lr=ETA)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=2)
    rates = []
    for loss in (1.0, 0.8, 0.6, 0.6, 0.6, 0.6, 0.5, 0.5):
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates, [ETA] * 5 + [ETA / 10] * 3)


def test_20_settings_of_l3():
    """Batches of 128, momentum 0.9, rate 10⁻² ÷ 10, dropout 0.5: a network with these learns."""
    cr.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((512, 4)).astype("f4")
    y = (x[:, 0] * x[:, 1] > 0).astype("i8")
    x, y = cr.tensor(x), cr.tensor(y)
    net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 2))
    optimizer = optim.SGD(net.parameters(), lr=1e-2, momentum=0.9, weight_decay=5e-4)
    scheduler = lr_scheduler.MultiStepLR(optimizer, [60], gamma=0.1)

    def loss_of(net):
        return nn.functional.cross_entropy(net.eval()(x), y).item()

    first = loss_of(net)
    for _ in range(80):
        net.train()
        for batch in cr.randperm(512).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)
    assert loss_of(net) < 0.6 * first


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, lr=0.1), lambda p: optim.Adam(p, lr=0.1)])
def test_27_a_step_uses_gradients_of_one_point(make):
    """Updates one by one, each gradient taken anew at weights that have moved, give another result: a step does not."""
    start = np.array([1.0, 2.0])

    def loss(a, b):
        return (a * b - 3).square() + a * b

    def gradients(a, b):
        return np.array([2 * (a * b - 3) * b + b, 2 * (a * b - 3) * a + a])

    a, b = (nn.Parameter(cr.tensor(v, dtype=cr.float64)) for v in start)
    optimizer = make([a, b])
    loss(a, b).backward()
    optimizer.step()
    one = nn.Parameter(cr.tensor(start, dtype=cr.float64))  # both numbers in one parameter: certainly one point
    single = make([one])
    one.grad = cr.tensor(gradients(*start))
    single.step()
    np.testing.assert_allclose([a.item(), b.item()], one.detach().numpy(), rtol=1e-14)
    if isinstance(optimizer, optim.SGD):
        moved = start[0] - 0.1 * gradients(*start)[0]
        wrong = start[1] - 0.1 * gradients(moved, start[1])[1]
        assert abs(b.item() - wrong) > 0.05


def test_polyak_average_of_the_weights():
    """Section 3: the moving average of w is closer to the minimum than the last iterate, where gradients are noisy."""
    rng = np.random.default_rng(0)
    w = nn.Linear(1, 1, bias=False).double()
    with cr.no_grad():
        w.weight.fill_(1.0)
    optimizer, mean = optim.SGD(w.parameters(), lr=0.5), optim.swa_utils.AveragedModel(w)
    last = []
    for i in range(400):
        w.weight.grad = w.weight.detach() + cr.tensor(rng.standard_normal((1, 1)))
        optimizer.step()
        if i >= 20:
            mean.update_parameters(w)
            last.append(w.weight.item())
    assert abs(mean.module.weight.item()) < 0.3 * np.sqrt(np.mean(np.square(last)))
