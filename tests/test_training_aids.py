"""Checks of training, early stopping, checkpoints, splits, search and ensembles."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F
from chainrule.utils import checks, early_stopping, ensemble, search, transfer, validation


def mlp():
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def data(n=40):
    cr.manual_seed(1)
    return cr.randn(n, 6), cr.randint(0, 3, (n,))


def test_loss_at_chance():
    report = checks.loss_at_chance(mlp(), *data(), num_classes=3)
    assert report.ok
    assert report.expected == math.log(3)
    assert "at chance" in str(report)
    assert checks.loss_at_chance(mlp(), *data()) == report
    x, y = data()
    two = checks.loss_at_chance(
        nn.Linear(6, 1), x, (y[:, None] > 0).float(), loss=F.binary_cross_entropy_with_logits, tolerance=0.5
    )
    assert two.expected == math.log(2)
    model = mlp()
    with cr.no_grad():
        model[2].weight.mul_(100)
    report = checks.loss_at_chance(model, *data(), num_classes=3)
    assert not report.ok
    assert "initialisation" in str(report)


def test_overfit_leaves_the_model_alone():
    model = mlp()
    before = [p.detach().clone() for p in model.parameters()]
    report = checks.overfit(model, *data())
    assert report.ok
    assert report.samples == 10
    assert "yes" in str(report)
    assert all(cr.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    broken = nn.Sequential(nn.Linear(6, 3), nn.Hardtanh(0.0, 1e-9))
    report = checks.overfit(broken, *data(), steps=5)
    assert not report.ok
    assert len(report.losses) == 6
    assert "fault" in str(report)


def test_update_ratios():
    model, (x, y) = mlp(), data()
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(x), y).backward()
    expected = 0.1 * model[0].weight.grad.norm().item() / model[0].weight.detach().norm().item()
    report = checks.update_ratios(model, optimizer.step)
    assert list(report.ratios) == ["0.weight", "2.weight"]
    assert report.ratios["0.weight"] == pytest.approx(expected, rel=1e-3)
    assert not checks.RatiosReport({"w": 0.5}).ok
    assert "large" in str(checks.RatiosReport({"w": 0.5}))


def test_dead_units():
    model, (x, _) = mlp(), data()
    with cr.no_grad():
        model[0].bias[:5] = -100.0
    report = checks.dead_units(model, x)
    assert report.counts["1"][1] == 16
    assert report.dead >= 5
    assert not model[1]._forward_hooks
    convolution = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    with cr.no_grad():
        convolution[0].bias[1] = -100.0
    assert checks.dead_units(convolution, cr.randn(8, 1, 6, 6)).counts["1"] == (1, 4)
    with pytest.raises(ValueError, match=r"no nn.ReLU"):
        checks.dead_units(nn.Linear(2, 2), cr.ones(1, 2))


def test_gradient_norms():
    model, (x, y) = mlp(), data()
    with pytest.raises(RuntimeError, match="backward"):
        checks.gradient_norms(model)
    F.cross_entropy(model(x), y).backward()
    report = checks.gradient_norms(model)
    assert report.gradients["2.bias"] == pytest.approx(model[2].bias.grad.norm().item())
    assert report.total == pytest.approx(nn.utils.get_total_norm([p.grad for p in model.parameters()]).item(), rel=1e-5)
    assert "|gradient|" in str(report)


class Wrong(cr.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 3


class WithWrong(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.second(Wrong.apply(self.first(x)))


def test_check_gradients():
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    report = checks.check_gradients(model, *data())
    assert report.ok
    assert report.errors["0.weight"][0] == 20
    assert model[0].weight.dtype == cr.float32

    def tiny(out, y):
        return F.cross_entropy(out, y) * 1e-12

    assert checks.check_gradients(model, *data(), loss=tiny).ok
    assert not checks.check_gradients(WithWrong(), *data(), loss=tiny).ok  # rescaled, so it is not lost in rounding
    report = checks.check_gradients(WithWrong(), *data())
    assert not report.ok
    assert report.errors["second.weight"][1] < 1e-4
    assert report.errors["first.weight"][1] == pytest.approx(1 / 3, rel=1e-3)
    assert "differs" in str(report)


def test_early_stopping_restores_the_best():
    model = mlp()
    stop = early_stopping.EarlyStopping(patience=2, min_delta=0.01)
    answers = []
    for value in (1.0, 0.5, 0.495, math.nan, 0.2):
        answers.append(stop.step(value, model))
        with cr.no_grad():
            model[0].bias.fill_(value)
        if answers[-1]:
            break
    assert answers == [False, False, False, True]
    assert (stop.best, stop.best_epoch, stop.waited) == (0.5, 1, 2)
    assert "stopped" in str(stop)
    stop.restore(model)
    assert (model[0].bias == 1.0).all()  # as it was when 0.5 was measured
    again = early_stopping.EarlyStopping(patience=2)
    again.load_state_dict(stop.state_dict())
    assert again.stopped
    assert again.step(0.1) is False
    with pytest.raises(RuntimeError, match="no weights"):
        early_stopping.EarlyStopping().restore(model)
    with pytest.raises(ValueError, match="mode"):
        early_stopping.EarlyStopping(mode="least")


def test_best_checkpoint(tmp_path, monkeypatch):
    keeper = early_stopping.BestCheckpoint(tmp_path / "runs" / "best.pth", mode="max")
    assert [keeper(v, {"value": v}) for v in (0.3, 0.2, 0.5)] == [True, False, True]
    assert keeper.load() == {"value": 0.5}

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        keeper(0.9, {"value": 0.9})
    assert keeper.best == 0.5
    assert keeper.load() == {"value": 0.5}
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["best.pth"]


def test_k_fold():
    folds = list(validation.KFold(4, shuffle=True, seed=0).split(range(10)))
    assert sorted(i for _, val in folds for i in val.tolist()) == list(range(10))
    assert all(sorted(train.tolist() + val.tolist()) == list(range(10)) for train, val in folds)
    labels = np.array([0] * 12 + [1] * 6 + [2] * 7)
    for train, val in validation.StratifiedKFold(3, shuffle=True, seed=0).split(labels, labels):
        counts = np.bincount(labels[val.numpy()])
        assert counts[0] == 4
        assert counts[1] == 2
        assert counts[2] in (2, 3)
        assert not set(train.tolist()) & set(val.tolist())
    with pytest.raises(ValueError, match="fewer than"):
        next(validation.StratifiedKFold(3).split(range(4), [0, 0, 0, 1]))
    with pytest.raises(ValueError, match="do not fill"):
        next(validation.KFold(3).split(range(2)))


def test_holdout_split():
    labels = np.array([0] * 80 + [1] * 20)
    parts = validation.train_val_test_split(labels, labels=labels, seed=0)
    assert [len(p) for p in parts] == [70, 15, 15]
    assert sorted(i for p in parts for i in p.tolist()) == list(range(100))
    assert [int(labels[p.numpy()].sum()) for p in parts] == [14, 3, 3]
    cr.manual_seed(3)
    first = validation.train_val_test_split(range(10))[0]
    cr.manual_seed(3)
    assert cr.equal(first, validation.train_val_test_split(range(10))[0])
    with pytest.raises(ValueError, match="sum to 1"):
        validation.train_val_test_split(range(10), (0.5, 0.6))


def test_class_weights_balance_the_loss():
    labels = cr.tensor([0, 0, 0, 1, 3, 3])
    weights = validation.class_weights(labels, num_classes=4)
    assert weights[2] == 0
    totals = [(weights[labels] * (labels == k)).sum().item() for k in (0, 1, 3)]
    assert totals == pytest.approx([1.5] * 3)
    from sklearn.utils.class_weight import compute_class_weight

    y = np.array([0, 0, 1, 2, 2, 2])
    np.testing.assert_allclose(
        validation.class_weights(y).numpy(), compute_class_weight("balanced", classes=np.unique(y), y=y), rtol=1e-6
    )


def test_searches():
    def objective(lr, momentum):
        return (math.log10(lr) + 3) ** 2 + (momentum - 0.9) ** 2

    space = {"lr": search.LogUniform(1e-6, 1.0), "momentum": search.Uniform(0.0, 0.99)}
    coarse = search.random_search(objective, space, trials=30, seed=0)
    values = [t.value for t in coarse.trials]
    assert values == sorted(values)
    assert coarse.best == coarse.trials[0]
    fine = search.coarse_to_fine(objective, space, rounds=3, trials=10, seed=0)
    assert len(fine.trials) == 30
    assert fine.best.value < 0.1
    grid = search.grid_search(objective, {"lr": search.log_grid(1e-5, 1e-1, 5), "momentum": [0.0, 0.9]})
    assert len(grid.trials) == 10
    assert grid.best.params["lr"] == pytest.approx(1e-3)
    assert grid.best.params["momentum"] == 0.9
    assert "lr" in str(grid).splitlines()[0]
    rates = [search.LogUniform(1e-4, 1.0).sample(np.random.default_rng(i)) for i in range(400)]
    per_decade = np.histogram(np.log10(rates), bins=[-4, -3, -2, -1, 0])[0]
    assert per_decade.min() > 70
    widths = {search.Uniform(1, 9, integer=True).sample(np.random.default_rng(i)) for i in range(60)}
    assert widths == set(range(1, 10))
    maxed = search.random_search(lambda c: math.nan if c == "b" else 1.0, {"c": search.Choice("a", "b")}, 20, "max", 0)
    assert maxed.best.params == {"c": "a"}
    assert math.isnan(maxed.trials[-1].value)
    with pytest.raises(ValueError, match="is empty"):
        search.LogUniform(0.0, 1.0)


def test_ensembles(tmp_path):
    votes = [cr.tensor([0, 1, 2]), cr.tensor([0, 1, 1]), cr.tensor([1, 2, 1])]
    assert ensemble.majority_vote(votes).tolist() == [0, 1, 1]
    models = [nn.Linear(6, 3) for _ in range(3)]
    x, _ = data(5)
    mean = ensemble.Ensemble(models)(x)
    expected = sum(F.softmax(m(x), 1) for m in models) / 3
    assert cr.allclose(mean, expected)
    assert ensemble.Ensemble(models, vote=True)(x).shape == (5,)
    assert len(list(ensemble.Ensemble(models).parameters())) == 6
    cr.save(models[0].state_dict(), tmp_path / "0.pth")
    averaged = ensemble.average_checkpoints([tmp_path / "0.pth", models[1].state_dict(), models[2].state_dict()])
    assert cr.allclose(averaged["weight"], sum(m.weight for m in models) / 3, atol=1e-6)
    norm = nn.BatchNorm1d(2)
    assert ensemble.average_checkpoints([norm.state_dict()] * 2)["num_batches_tracked"].item() == 0
    with pytest.raises(ValueError, match="differ in their entries: bias"):
        ensemble.average_checkpoints([models[0].state_dict(), nn.Linear(6, 3, bias=False).state_dict()])
    with pytest.raises(ValueError, match="weight has different shapes"):
        ensemble.average_checkpoints([models[0].state_dict(), nn.Linear(5, 3).state_dict()])


def test_frozen_layers_stay():
    model, (x, y) = mlp(), data()
    transfer.freeze(model[0])
    before, head = model[0].weight.detach().clone(), model[2].weight.detach().clone()
    optimizer = cr.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    assert cr.equal(model[0].weight, before)
    assert not cr.equal(model[2].weight, head)
    assert not model[0].training
    transfer.unfreeze(model[0])
    assert model[0].weight.requires_grad
    assert model[0].training
