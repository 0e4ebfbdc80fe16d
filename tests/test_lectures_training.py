"""The lectures' checks of training (22) and metrics (25), and their advice on practice, under their numbers."""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F
from chainrule.utils import checks, early_stopping, ensemble, metrics, search, significance, validation


def network(classes=10):
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, classes))


def batch(n=128, classes=10):
    cr.manual_seed(1)
    return cr.randn(n, 20), cr.randint(0, classes, (n,))


# -- 22: checks -------------------------------------------------------------------------------------------------------


def test_22_gradient_check_of_a_model_with_the_lectures_steps():
    model = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 10))
    assert checks.check_gradients(model, *batch(16), h=1e-5).ok
    # the step for single precision: in double precision its error is the formula's own, of the order h²
    assert checks.check_gradients(model, *batch(16), h=1e-7 ** (1 / 3), tolerance=1e-2).ok
    # gradients below 1e-9 are rescaled before they are compared
    tiny = checks.check_gradients(model, *batch(16), loss=lambda out, y: 1e-11 * F.cross_entropy(out, y))
    assert tiny.ok


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_22_loss_at_chance(classes):
    report = checks.loss_at_chance(network(classes), *batch(256, classes), num_classes=classes)
    assert report.expected == pytest.approx(math.log(classes))
    assert report.ok


@pytest.mark.parametrize("samples", [5, 20])
def test_22_overfit_5_to_20_samples_to_zero(samples):
    report = checks.overfit(network(), *batch(), samples=samples, target=1e-3)
    assert report.ok
    assert report.losses[-1] < 1e-3


def test_22_update_ratio_is_about_a_thousandth():
    model, (x, y) = network(), batch()
    optimizer = cr.optim.Adam(model.parameters(), lr=1e-4)
    F.cross_entropy(model(x), y).backward()
    report = checks.update_ratios(model, optimizer.step)
    assert report.ok
    assert all(2e-4 < r < 5e-3 for r in report.ratios.values())


def test_22_dead_relu_units_are_counted():
    model, (x, _) = network(), batch()
    assert checks.dead_units(model, x).dead == 0
    with cr.no_grad():
        model[2].bias[:7] = -1e3
    assert checks.dead_units(model, x).counts == {"1": (0, 64), "3": (7, 64)}


# -- 25: metrics ------------------------------------------------------------------------------------------------------


def test_25_accuracy_says_little_about_rare_classes():
    genuine = np.zeros(10_000, int)
    genuine[17] = 1  # one forgery
    assert metrics.accuracy(np.zeros(10_000, int), genuine) == 0.9999
    assert metrics.recall(np.zeros(10_000, int), genuine) == 0
    wrong = np.zeros(100, int)
    wrong[3] = 1
    assert metrics.accuracy(wrong, np.zeros(100, int)) == 0.99


def test_25_the_four_ratios():
    tp, fn, fp, tn = 8, 2, 4, 86
    target = [1] * (tp + fn) + [0] * (fp + tn)
    guess = [1] * tp + [0] * fn + [1] * fp + [0] * tn
    assert metrics.confusion_matrix(guess, target).tolist() == [[tn, fp], [fn, tp]]
    assert metrics.accuracy(guess, target) == pytest.approx((tp + tn) / 100)
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    assert metrics.precision(guess, target) == pytest.approx(precision)
    assert metrics.recall(guess, target) == pytest.approx(recall)
    assert metrics.specificity(guess, target) == pytest.approx(tn / (tn + fp))
    # the lecture prints 2·TPV·TNV / (TPV + TNV)
    assert metrics.f1(guess, target) == pytest.approx(2 * precision * recall / (precision + recall))


def test_25_roc_and_top_k():
    assert metrics.roc_auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    assert metrics.roc_auc([1, 2, 3, 4], [0, 0, 1, 1]) == 1
    assert metrics.roc_auc([1, 1, 1, 1], [0, 0, 1, 1]) == 0.5
    scores, target = cr.eye(8)[[0, 1, 2, 3]] + cr.linspace(0, 0.5, 8), cr.tensor([0, 1, 5, 0])
    assert metrics.top_k_accuracy(scores, target, 1) == 0.5
    assert metrics.top_k_accuracy(scores, target, 5) == 0.75


def test_25_error_of_an_ensemble_falls_with_its_size():
    errors = [ensemble.ensemble_error(n, 0.3) for n in range(1, 42, 2)]
    assert errors[0] == pytest.approx(0.3)
    assert errors[1] == pytest.approx(3 * 0.3**2 * 0.7 + 0.3**3)
    assert all(b < a for a, b in itertools.pairwise(errors))
    assert ensemble.ensemble_error(21, 0.5) == pytest.approx(0.5)
    assert ensemble.ensemble_error(21, 0.6) > 0.6
    rng = np.random.default_rng(0)  # voting members err as the formula says
    right = rng.random((5, 20_000)) > 0.3
    voted = ensemble.majority_vote([cr.tensor(v.astype(np.int64)) for v in right])
    assert 1 - metrics.accuracy(voted, np.ones(20_000, int)) == pytest.approx(ensemble.ensemble_error(5, 0.3), abs=0.01)


def test_25_t_test_and_bonferroni():
    a, b = [0.91, 0.93, 0.92, 0.94, 0.92], [0.89, 0.90, 0.91, 0.90, 0.90]
    found = significance.paired_t_test(a, b)
    d = np.subtract(a, b)
    assert found.statistic == pytest.approx(d.mean() / (d.std(ddof=1) / math.sqrt(5)))
    assert found.significant(0.05)
    assert found.significant(0.01) == (found.pvalue < 0.01)
    report = significance.bonferroni([0.001, 0.02, 0.04, 0.2], alpha=0.05)
    assert report.level == 0.05 / 4
    assert report.rejected == (True, False, False, False)
    assert "0.0125" in str(report)
    # false alarms of 20 tests of nothing: 64 % of the time uncorrected, at most 5 % corrected
    p = np.random.default_rng(0).random((2000, 20))
    assert (p < 0.05).any(axis=1).mean() == pytest.approx(1 - 0.95**20, abs=0.03)
    assert np.mean([any(significance.bonferroni(row).rejected) for row in p]) < 0.07


def test_25_k_fold_uses_every_sample_once_for_validation():
    x, y = batch(60, 3)
    seen, scores = [], []
    for train, held in validation.StratifiedKFold(5, shuffle=True, seed=0).split(x, y):
        centres = cr.stack([x[train][y[train] == k].mean(0) for k in range(3)])
        scores.append(metrics.accuracy(-cr.cdist(x[held], centres), y[held]))
        seen += held.tolist()
    assert sorted(seen) == list(range(60))
    assert len(scores) == 5


# -- practice ---------------------------------------------------------------------------------------------------------


def test_early_stopping_ends_before_the_noise_is_learned():
    cr.manual_seed(0)
    x = cr.linspace(-1, 1, 30)[:, None]
    clean = cr.sin(3 * x)
    noisy = clean + 0.4 * cr.randn(30, 1)
    model = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = cr.optim.Adam(model.parameters(), lr=1e-2)
    train, held = slice(0, None, 2), slice(1, None, 2)
    stop = early_stopping.EarlyStopping(patience=40)
    for _ in range(600):
        optimizer.zero_grad()
        F.mse_loss(model(x[train]), noisy[train]).backward()
        optimizer.step()
        with cr.no_grad():
            done = stop.step(F.mse_loss(model(x[held]), noisy[held]), model)
        if done:
            break
    assert stop.stopped
    assert stop.epoch < 599
    with cr.no_grad():
        last = F.mse_loss(model(x[held]), noisy[held]).item()
        stop.restore(model)
        restored = F.mse_loss(model(x[held]), noisy[held]).item()
    assert restored == pytest.approx(stop.best)
    assert restored < last


def test_class_weights_find_the_rare_class():
    cr.manual_seed(0)
    y = (cr.rand(600) < 0.04).long()
    x = cr.randn(600, 2) + y[:, None] * 1.5

    def recall(weight):
        cr.manual_seed(1)
        model = nn.Linear(2, 2)
        optimizer = cr.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(80):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y, weight=weight).backward()
            optimizer.step()
        return metrics.recall(model(x), y)

    assert recall(validation.class_weights(y)) > 0.7 > 0.5 > recall(None)


def test_random_search_on_a_log_scale_finds_the_rate():
    x, y = batch(64, 3)

    def objective(lr):
        cr.manual_seed(2)
        model = nn.Linear(20, 3)
        optimizer = cr.optim.SGD(model.parameters(), lr=lr)
        for _ in range(15):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        return loss.item()

    report = search.coarse_to_fine(objective, {"lr": search.LogUniform(1e-5, 1e2)}, rounds=2, trials=6, seed=0)
    assert 1e-2 < report.best.params["lr"] < 10
    assert report.best.value < objective(1e-3)


def test_the_mean_of_models_is_better_than_each_on_average():
    cr.manual_seed(0)
    x, noise = cr.randn(200, 5), cr.randn(200)
    y = (x.sum(1) + noise > 0).long()
    models = []
    for _ in range(5):
        model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 2))
        optimizer = cr.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            picked = cr.randint(0, 100, (50,))
            optimizer.zero_grad()
            F.cross_entropy(model(x[picked]), y[picked]).backward()
            optimizer.step()
        models.append(model)
    with cr.no_grad():
        alone = [F.cross_entropy(m(x[100:]), y[100:]).item() for m in models]
        together = F.nll_loss(ensemble.Ensemble(models)(x[100:]).log(), y[100:]).item()
    assert together < np.mean(alone)
