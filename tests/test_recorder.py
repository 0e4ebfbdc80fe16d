"""utils.recorder: what it writes down is what is worked out by hand, and where it does not look nothing happens."""

import contextlib
import copy
import io
import itertools
import math
import pickle
import sys
import types

import digits_network
import numpy as np
import pytest

import chainrule as cr
from chainrule import backends, nn
from chainrule.nn import functional as F
from chainrule.utils import checks, measures
from chainrule.utils.history import History
from chainrule.utils.progress import Progress
from chainrule.utils.recorder import Recorder
from chainrule.utils.reports import host

pytestmark = pytest.mark.usefixtures("backend")


def mlp(*sizes, activation=nn.ReLU, seed=0):
    cr.manual_seed(seed)
    layers = [layer for i, o in itertools.pairwise(sizes) for layer in (nn.Linear(i, o), activation())]
    return nn.Sequential(*layers[:-1])


def batch(n=20, features=6, classes=3):
    return cr.randn(n, features), cr.randint(0, classes, (n,))


def train(model, optimizer, recorder, steps, n=20, log=True):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch(n)[0]), cr.randint(0, 3, (n,)))
        loss.backward()
        optimizer.step()
        recorder.step(**({"loss": loss} if log else {}))


def hooks(model, *optimizers):
    """How many hooks hang in a model and in optimizers."""
    found = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return found + sum(len(o._cr_all(kind)) for o in optimizers for kind in ("step_pre", "step_post"))


# -- the numbers ------------------------------------------------------------------------------------------------------


def test_norms_ratios_and_rates_are_those_worked_out_by_hand():
    model = mlp(6, 16, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = cr.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    expected, losses = [], []
    with Recorder(model, optimizer, every=2) as recorder:
        for step in range(5):
            optimizer.zero_grad()
            x, y = batch()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            before = {n: host(p.detach()).copy() for n, p in model.named_parameters()}
            gradients = {n: host(p.grad).copy() for n, p in model.named_parameters()}
            optimizer.step()
            if step % 2 == 0:
                expected.append((before, gradients, {n: host(p.detach()).copy() for n, p in model.named_parameters()}))
            schedule.step()
            losses.append(loss.item())
            recorder.step(loss=loss, accuracy=step / 10)
            optimizer.zero_grad()  # what a loop does after the step, the recorder does not see
    history = recorder.history
    assert history["loss"].steps.tolist() == history["accuracy"].steps.tolist() == [0, 1, 2, 3, 4]
    assert history["loss"].values.tolist() == losses
    assert history.rates["lr"].steps.tolist() == [0, 2, 4]
    assert history.rates["lr"].values == pytest.approx([0.1, 0.025, 0.00625])
    assert list(history.gradients) == [n for n, _ in model.named_parameters()]
    assert list(history.ratios) == ["0.weight", "2.weight"]
    norm = np.linalg.norm
    for i, (before, gradients, after) in enumerate(expected):
        for name in before:
            assert history.gradients[name].values[i] == pytest.approx(norm(gradients[name]), rel=1e-5)
            assert history.weights[name].values[i] == pytest.approx(norm(before[name]), rel=1e-5)
        for name, series in history.ratios.items():
            ratio = norm(after[name] - before[name]) / norm(before[name])
            assert series.values[i] == pytest.approx(ratio, rel=1e-4)
    assert history.costs["seconds"].values.min() > 0
    assert history.costs["memory"].steps.tolist() == [0, 2, 4]
    if model[0].weight.device.type == "cpu":
        assert history.costs["memory"].values.min() > 1e6


def test_they_are_those_of_the_checks():
    model = mlp(6, 16, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    x, y = batch()
    recorder = Recorder(model, optimizer, every=1)
    with recorder:
        F.cross_entropy(model(x), y).backward()
        norms = checks.gradient_norms(model)
        dead = checks.dead_units(model, x)
        ratios = checks.update_ratios(model, optimizer.step)
        recorder.step()
    history = recorder.history
    assert {n: s.values[0] for n, s in history.gradients.items()} == norms.gradients
    assert {n: s.values[0] for n, s in history.ratios.items()} == ratios.ratios
    assert {n: (s.values[0], history.units[n].values[0]) for n, s in history.dead.items()} == dead.counts


def test_outputs_and_dead_units():
    model = mlp(6, 16, 3)
    with cr.no_grad():
        model[0].bias[:5] = -100.0
    x, y = batch()
    with Recorder(model, every=1) as recorder:
        F.cross_entropy(model(x), y).backward()
        recorder.step()
    history, hidden = recorder.history, host(model[:2](x).detach())
    assert list(history.means) == ["0", "1", "2"]
    dead = int((hidden <= 0).all(0).sum())
    assert dead >= 5
    assert (history.dead["1"].values[0], history.units["1"].values[0]) == (dead, 16)
    assert history.means["1"].values[0] == pytest.approx(hidden.mean(), rel=1e-5)
    assert history.deviations["1"].values[0] == pytest.approx(hidden.std(), rel=1e-5)
    assert history.zeros["1"].values[0] == pytest.approx((hidden == 0).mean())


def test_a_unit_is_dead_where_no_call_of_the_step_wakes_it():
    model = nn.Sequential(nn.ReLU())
    model.register_parameter("scale", nn.Parameter(cr.ones(1)))
    calls = ([[1.0, -1.0, -1.0]], [[-1.0, 2.0, -1.0]])
    with Recorder(model, every=1) as recorder:
        for values in calls:
            model(cr.tensor(values))
        recorder.step()
        model(cr.tensor(calls[0]))
        with cr.no_grad():
            model(cr.tensor(calls[1]))  # an evaluation is not looked at
        recorder.step()
    assert recorder.history.dead["0"].values.tolist() == [1, 2]
    assert recorder.history.zeros["0"].values == pytest.approx([2 / 3, 2 / 3])  # of the first call


@pytest.mark.parametrize("dtype", [cr.float32, cr.float64, cr.float16])
def test_histograms_are_numpys(dtype):
    values = cr.randn(1000, dtype=cr.float64).to(dtype)
    counts, edges = (host(t) for t in measures.histogram(values, 20))
    wide = host(values).astype(np.float64 if dtype == cr.float64 else np.float32)
    expected, limits = np.histogram(wide, 20)
    np.testing.assert_allclose(edges, limits, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(counts, np.histogram(wide, edges)[0])
    if dtype == cr.float64:
        np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize(
    ("values", "counts", "edges"),
    [
        ([2.0, 2.0], [0, 2], [1.5, 2, 2.5]),
        ([0.0, 1.0, 2.0], [1, 2], [0, 1, 2]),
        ([math.nan, 1.0, math.inf, 3.0, -math.inf], [1, 1], [1, 2, 3]),
        ([math.nan], [0, 0], [0, 0.5, 1]),
        ([], [0, 0], [0, 0.5, 1]),
    ],
    ids=["equal", "edge", "infinite", "none", "empty"],
)
def test_histograms_of_odd_values(values, counts, edges):
    found = measures.histogram(cr.tensor(values, dtype=cr.float32), 2)
    assert [host(t).tolist() for t in found] == [counts, edges]


def test_histograms_over_time():
    model = mlp(6, 16, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    with Recorder(model, optimizer, every=2, histograms=4, bins=10) as recorder:
        for _ in range(7):
            x, y = batch()
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            seen.append((host(model[:2](x).detach()), host(model[0].weight.grad).copy()))
            optimizer.step()
            recorder.step()
    history = recorder.history
    assert history.means["1"].steps.tolist() == [0, 2, 4, 6]
    outputs, gradients = history.activations["1"], history.gradient_histograms["0.weight"]
    assert list(history.gradient_histograms) == ["0.weight", "2.weight"]
    assert outputs.steps.tolist() == gradients.steps.tolist() == [0, 4]
    for i, step in enumerate(outputs.steps):
        for found, values in zip((outputs, gradients), seen[step], strict=True):
            np.testing.assert_array_equal(found.counts[i], np.histogram(values, found.edges[i].astype(np.float32))[0])
            np.testing.assert_allclose(found.edges[i], np.histogram(values, 10)[1], rtol=1e-5, atol=1e-7)
    small = Recorder(model, every=1, sample=50)
    with small:
        model(batch()[0])
        small.step()
    counts = small.history.activations["1"].counts[0]
    assert 25 <= counts.sum() <= 50  # 320 elements, of which every 7th


def test_numbers_of_all_kinds():
    recorder = Recorder()
    with recorder:
        for step in range(3):
            recorder.step(loss=cr.tensor([[0.5]]) * step, top=np.float32(step), count=step)
        recorder.log(val_loss=cr.tensor(0.25))
    assert recorder.history["loss"].values.tolist() == [0, 0.5, 1]
    assert recorder.history["top"].values.tolist() == recorder.history["count"].values.tolist() == [0, 1, 2]
    assert recorder.history["val_loss"] == ([2], [0.25])
    with pytest.raises(ValueError, match=r"loss is a number or a tensor of one element, not of shape \(2,\)"):
        recorder.step(loss=cr.zeros(2))
    with pytest.raises(KeyError, match="nothing was recorded of 'acc'; there is loss, top, count, val_loss"):
        recorder.history["acc"]


def test_a_value_is_kept_as_it_was():
    loss = cr.zeros(())
    recorder = Recorder()
    for step in range(3):
        loss.fill_(step)
        recorder.step(loss=loss)
    assert recorder.history["loss"].values.tolist() == [0, 1, 2]


# -- kinds of training ------------------------------------------------------------------------------------------------


def test_accumulated_gradients_and_clipping():
    model = mlp(6, 4, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, optimizer, every=1) as recorder:
        for _ in range(4):
            F.cross_entropy(model(batch()[0]), batch()[1]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        optimizer.step()
        optimizer.zero_grad()
        recorder.step()
    total = math.sqrt(sum(s.values[0] ** 2 for s in recorder.history.gradients.values()))
    assert total == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_are_without_the_scale(fused):
    model = mlp(6, 4, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    device = model[0].weight.device.type
    scaler = cr.amp.GradScaler(device, init_scale=1024.0)
    recorder = Recorder(model, optimizer, every=1)
    with recorder:
        for step in range(2):
            x, y = batch()
            optimizer.zero_grad()
            with cr.autocast(device, cr.bfloat16, enabled=False):
                loss = F.cross_entropy(model(x), y) * (math.inf if step else 1.0)
            if not step:
                plain = cr.autograd.grad(loss, model[0].weight, retain_graph=True)[0].norm().item()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            recorder.step(loss=loss)
    history = recorder.history
    assert history.gradients["0.weight"].values[0] == pytest.approx(plain, rel=1e-4)
    assert history.ratios["0.weight"].values[0] > 0
    assert history.ratios["0.weight"].values[1] == 0  # the scaler left the step out
    assert history.faults["gradient of 0.weight"].steps.tolist() == [1]


def test_autocast():
    model = mlp(6, 16, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    device = model[0].weight.device.type
    with Recorder(model, optimizer, every=1) as recorder:
        x, y = batch()
        with cr.autocast(device, cr.float16):
            out = model(x)
        F.cross_entropy(out.float(), y).backward()
        optimizer.step()
        recorder.step()
    hidden = host(model[:2](x).detach())
    assert recorder.history.deviations["1"].values[0] == pytest.approx(hidden.std(), rel=1e-2)


def test_several_optimizers_groups_and_none():
    generator, critic = mlp(6, 4, 6), mlp(6, 4, 1, seed=1)
    both = nn.ModuleDict({"g": generator, "c": critic})
    first = cr.optim.SGD(generator.parameters(), lr=0.1)
    second = cr.optim.SGD([{"params": critic[0].parameters()}, {"params": critic[2].parameters(), "lr": 0.3}], lr=0.2)
    recorder = Recorder(both, {"g": first, "c": second}, every=1)
    with recorder:
        critic(generator(batch()[0])).sum().backward()
        seen = generator[0].weight.grad.norm().item()
        first.step()
        generator.zero_grad()
        second.step()
        recorder.step()
        both.zero_grad()
        critic(generator(batch()[0])).sum().backward()
        recorder.step()  # nobody made a step
    rates = {n: s.values[0] for n, s in recorder.history.rates.items()}
    assert rates == {"g.lr": 0.1, "c.lr.0": 0.2, "c.lr.1": 0.3}
    assert recorder.history.gradients["g.0.weight"].values[0] == pytest.approx(seen)
    assert recorder.history.gradients["g.0.weight"].values[1] > 0
    assert recorder.history.ratios["c.2.weight"].values[1] == 0
    assert list(Recorder(both, [first, second]).optimizers) == ["0.", "1."]
    with Recorder(both, every=1) as alone:
        critic(generator(batch()[0])).sum().backward()
        with cr.no_grad():
            critic[0].weight.mul_(1.5)
        alone.step()
    assert alone.history.ratios["c.0.weight"].values[0] == pytest.approx(0.5, rel=1e-5)


def test_a_rate_that_is_a_tensor_and_sparse_gradients():
    model = nn.Embedding(5, 3, sparse=True)
    optimizer = cr.optim.SGD(model.parameters(), lr=cr.tensor(0.5))
    with Recorder(model, optimizer, every=1) as recorder:
        model(cr.tensor([1, 1, 2])).sum().backward()
        optimizer.step()
        recorder.step()
    assert recorder.history.rates["lr"].values.tolist() == [0.5]
    assert recorder.history.gradients["weight"].values[0] == pytest.approx(math.sqrt(3 * 4 + 3))


def test_layers_that_give_tuples_and_names_of_layers():
    model = nn.Sequential(nn.LSTM(6, 4, batch_first=True), nn.Identity())
    with Recorder(model, every=1) as recorder:
        out, (h, _) = model(cr.randn(2, 5, 6))
        (out.sum() + h.sum()).backward()
        recorder.step()
    assert list(recorder.history.means) == ["0", "1"]
    assert recorder.history.means["0"].values[0] == pytest.approx(out.mean().item(), rel=1e-4, abs=1e-6)
    model = mlp(6, 4, 4, 3)
    with Recorder(model, every=1, layers=["3"]) as recorder:
        train(model, cr.optim.SGD(model.parameters(), lr=0.1), recorder, 1)
    assert list(recorder.history.means) == ["3"]
    with pytest.raises(ValueError, match="no layer 'fc1'; it has 0, 1, 2"):
        Recorder(model, layers=["fc1"])


@pytest.fixture
def graphs(request):
    """Where steps can be captured: the stand-in for CuPy has no CUDA graphs."""
    stand_in = request.config.getoption("backend") == "fake"
    with cr.device("cpu") if stand_in else contextlib.nullcontext():
        yield


@pytest.mark.parametrize("every", [1, 3])
def test_a_captured_step(every, graphs):
    model, plain = mlp(6, 8, 3), mlp(6, 8, 3)
    optimizers = [cr.optim.SGD(m.parameters(), lr=0.1) for m in (model, plain)]

    def step_of(model, optimizer):
        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    captured = cr.capture(step_of(model, optimizers[0]), strict=True)
    eager = step_of(plain, optimizers[1])
    recorders = [Recorder(model, optimizers[0], every=every), Recorder(plain, optimizers[1], every=every)]
    with recorders[0], recorders[1]:
        for _ in range(12):
            x, y = batch()
            for step, recorder in zip((captured, eager), recorders, strict=True):
                recorder.step(loss=step(x, y))
    assert captured.recordings <= 2
    found, expected = (r.history for r in recorders)
    assert found["loss"].values.tolist() == expected["loss"].values.tolist()
    for field in ("gradients", "ratios", "weights", "rates", "gradient_histograms"):
        mine, theirs = getattr(found, field), getattr(expected, field)
        assert list(mine) == list(theirs)
        for name in mine:
            for a, b in zip(mine[name], theirs[name], strict=True):
                np.testing.assert_array_equal(a, b)
    assert found.means["1"].steps.tolist() == [s for s in expected.means["1"].steps if s < 2]  # the warm-up


def test_a_recorder_inside_a_captured_step_is_refused(graphs):
    recorder = Recorder()

    def step(x):
        loss = (x * 2).sum()
        recorder.step(loss=loss)
        return loss

    with pytest.raises(RuntimeError, match="outside of the captured function"):
        cr.capture(step, warmup=0, strict=True)(cr.ones(3))
    with pytest.warns(UserWarning, match="outside of the captured function"):
        cr.capture(step, warmup=0)(cr.ones(3))  # which goes on as it is
    assert set(recorder.history["loss"].values.tolist()) == {6}


# -- nothing where it does not look -----------------------------------------------------------------------------------


def test_hooks_hang_in_the_model_in_the_steps_it_looks_at_alone():
    model = mlp(6, 4, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(model, optimizer, every=3)
    assert hooks(model, optimizer) == 0
    counts = []
    with recorder:
        for _ in range(7):
            counts.append(hooks(model, optimizer))
            train(model, optimizer, recorder, 1)
    assert counts == [4, 0, 0, 4, 0, 0, 4]
    assert hooks(model, optimizer) == 0
    with pytest.raises(RuntimeError, match="recording already"), recorder, recorder:
        pass
    assert hooks(model, optimizer) == 0


def test_hooks_are_gone_after_an_exception():
    model = mlp(6, 4, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(model, optimizer, every=1)

    def interrupted():
        with recorder:
            train(model, optimizer, recorder, 1)
            assert hooks(model, optimizer) == 4
            model(batch()[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert hooks(model, optimizer) == 0
    assert recorder.history["loss"].steps.tolist() == [0]
    with recorder:  # and it goes on
        train(model, optimizer, recorder, 1)
    assert recorder.history["loss"].steps.tolist() == [0, 1]


def test_copies_of_a_model_that_is_looked_at_are_not():
    model = mlp(6, 4, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, optimizer, every=1) as recorder:
        deep, file = copy.deepcopy(model), io.BytesIO()
        cr.save(model, file)
        file.seek(0)
        loaded = cr.load(file, weights_only=False)
        pickle.loads(pickle.dumps(optimizer))
        for other in (deep, loaded, pickle.loads(pickle.dumps(model))):
            other(batch()[0])
        recorder.step()
    assert len(recorder.history.means) == 0
    x = batch()[0]
    assert cr.equal(loaded(x), model(x))


def test_hooks_are_gone_where_some_could_not_be_hung_in():
    model = mlp(6, 4, 3)
    recorder = Recorder(model, types.SimpleNamespace(param_groups=[{"lr": 0.1, "params": []}]), every=1)
    with pytest.raises(AttributeError), recorder:
        pass
    assert hooks(model) == 0
    assert not recorder._inside


def test_nothing_is_read_between_looks(monkeypatch):
    model = mlp(6, 4, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    reads = []
    original = measures.host

    def counted(x):
        reads.append(recorder.steps)
        return original(x)

    def refused(self, *arguments):
        raise AssertionError("the recorder read a tensor")

    monkeypatch.setattr(measures, "host", counted)
    for name in ("item", "numpy", "tolist", "__bool__", "__float__", "__int__", "__array__"):
        monkeypatch.setattr(cr.Tensor, name, refused)
    recorder = Recorder(model, optimizer, every=4)
    with recorder:
        train(model, optimizer, recorder, 10)
    assert reads == [1, 5, 9, 10]  # one at the end of each step looked at, and one for what was left
    off = Recorder(model, optimizer, every=0)
    with off:
        train(model, optimizer, off, 10)
        assert hooks(model, optimizer) == 0
        assert reads == [1, 5, 9, 10]
    outside = Recorder(model, optimizer)
    train(model, optimizer, outside, 10)
    assert len(reads) == 5  # of `off`, at its end
    monkeypatch.undo()
    assert len(outside.history["loss"].values) == 10
    assert len(outside.history.gradients) == len(off.history.gradients) == 0


def test_a_look_reads_the_device_once(monkeypatch, request):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    optimizer = cr.optim.Adam(model.parameters())
    backend, reads = type(backends.of(model[0].weight.array)), []
    original = backend.to_host
    monkeypatch.setattr(backend, "to_host", lambda *arguments: reads.append(recorder.steps) or original(*arguments))
    if request.config.getoption("backend") == "fake":  # there an array cannot tell its values unseen
        import cupy

        for name in ("get", "item", "tolist", "__bool__", "__int__", "__float__"):
            monkeypatch.setattr(cupy.ndarray, name, lambda *arguments: pytest.fail("an array was read"))
    x, y = cr.randn(5, 1, 8, 8), cr.randint(0, 3, (5,))
    recorder = Recorder(model, optimizer, every=2)
    with recorder:
        for _ in range(4):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    assert reads == [1, 3, 4]  # one for each look, and one for what was left at the end
    assert len(recorder.history.activations) == 5


def test_the_training_is_the_same_with_and_without():
    ends = []
    for looks in (contextlib.nullcontext(), None):
        model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))
        cr.manual_seed(3)
        with cr.no_grad():
            for p in model.parameters():
                p.normal_()
        optimizer = cr.optim.Adam(model.parameters(), lr=0.01)
        recorder = Recorder(model, optimizer, every=1)
        with looks or recorder:
            train(model, optimizer, recorder, 5)
        ends.append([host(p.detach()).copy() for p in model.parameters()])
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)


# -- what is not finite -----------------------------------------------------------------------------------------------


def test_the_first_layer_that_is_not_finite():
    model = nn.Sequential()
    for i in range(1, 4):
        model.add_module(f"fc{i}", nn.Linear(6, 6))
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, optimizer, every=1) as recorder:
        for step in range(4):
            if step == 2:
                with cr.no_grad():
                    model.fc2.weight[0, 0] = math.inf
            optimizer.zero_grad()
            loss = model(cr.ones(2, 6)).square().mean()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    faults = recorder.history.faults
    assert next(iter(faults)) == "output of fc2"
    assert faults["output of fc2"].steps[0] == 2
    assert faults["output of fc2"].values[0] == 2  # one unit, two samples
    assert not np.isfinite(recorder.history["loss"].values[2:]).any()
    assert "output of fc1" not in faults or faults["output of fc1"].steps[0] > 2


def test_gradients_that_are_not_finite_come_in_the_order_of_the_backward_pass():
    model = mlp(6, 4, 3, activation=nn.Tanh)
    with Recorder(model, every=1) as recorder:
        (model(batch()[0]).sum() * math.inf).backward()
        recorder.step()
    assert next(iter(recorder.history.faults)) == "gradient of 2.bias"


# -- files ------------------------------------------------------------------------------------------------------------


def equal(a, b):
    assert (a.steps, a.info) == (b.steps, b.info)
    for field, curves in a.curves().items():
        others = b.curves()[field]
        assert list(curves) == list(others)
        for name in curves:
            for x, y in zip(curves[name], others[name], strict=True):
                np.testing.assert_array_equal(x, y)


def test_save_load_and_resume(tmp_path):
    path = tmp_path / "runs" / "history.npz"
    path.parent.mkdir()
    model = mlp(6, 4, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(model, optimizer, every=2)
    with recorder:
        train(model, optimizer, recorder, 5)
        recorder.log(**{"a name/with <signs>": 1.5})
    recorder.save(path)
    saved = History.load(path)
    equal(saved, recorder.history)
    again = Recorder(model, optimizer, every=2)
    again.load(path, steps=4)  # the checkpoint was of step 4
    assert again.steps == 4
    with again:
        train(model, optimizer, again, 3)
    assert again.history["loss"].steps.tolist() == list(range(7))
    assert again.history.ratios["0.weight"].steps.tolist() == [0, 2, 4, 6]
    assert again.history["loss"].values[:4].tolist() == saved["loss"].values[:4].tolist()
    with pytest.raises(ValueError, match="50 bins"):
        Recorder(bins=10).load(path)
    with pytest.raises(RuntimeError, match="before the"), again:
        again.load(path)
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    with pytest.raises(ValueError, match="no history"):
        History.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError, match="no history at"):
        History.load(tmp_path / "absent.npz")


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    recorder = Recorder()
    recorder.step(loss=1.0)
    recorder.save(tmp_path / "h.npz")
    recorder.step(loss=2.0)

    def fails(file, **arrays):
        file.write(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(np, "savez_compressed", fails)
    with pytest.raises(OSError, match="full"):
        recorder.save(tmp_path / "h.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["h.npz"]
    assert len(History.load(tmp_path / "h.npz")["loss"].values) == 1


def test_settings_that_make_no_sense():
    for wrong in ({"every": -1}, {"bins": 0}, {"sample": 0}):
        with pytest.raises(ValueError, match="every is 0 or more"):
            Recorder(**wrong)
    with pytest.raises(ValueError, match="histograms every 3 steps"):
        Recorder(every=2, histograms=3)


# -- TensorBoard ------------------------------------------------------------------------------------------------------


def read_events(folder):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return module.EventAccumulator(str(folder), {"histograms": 0, "scalars": 0}).Reload()


def test_tensorboard_reads_it(tmp_path):
    pytest.importorskip("tensorboard")
    from chainrule.utils.tensorboard import SummaryWriter

    model = mlp(6, 4, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    with SummaryWriter(tmp_path / "while") as writer:
        recorder = Recorder(model, optimizer, every=2, writer=writer)
        with recorder:
            train(model, optimizer, recorder, 3)
            recorder.log(val_loss=0.5)
            train(model, optimizer, recorder, 2)
    recorder.to_tensorboard(tmp_path / "after")
    history = recorder.history
    for folder in ("while", "after"):
        found = read_events(tmp_path / folder)
        scalars = [(e.step, e.value) for e in found.Scalars("loss")]
        assert scalars == [(s, np.float32(v)) for s, v in zip(*history["loss"], strict=True)]
        assert [(e.step, e.value) for e in found.Scalars("val_loss")] == [(2, 0.5)]
        ratios = [e.value for e in found.Scalars("ratios/0.weight")]
        assert ratios == pytest.approx(history.ratios["0.weight"].values.tolist())
        bars = found.Histograms("activations/1")
        assert [e.step for e in bars] == [0, 2, 4]
        series = history.activations["1"]
        value = bars[1].histogram_value
        assert list(value.bucket)[1:] == series.counts[1].tolist()
        assert list(value.bucket_limit) == series.edges[1].tolist()
        assert value.num == series.counts[1].sum()
        assert (value.min, value.max) == (series.edges[1][0], series.edges[1][-1])


# -- while it runs ----------------------------------------------------------------------------------------------------


def test_lines_where_there_is_no_terminal(capsys):
    with Progress(100) as progress:
        for i in range(100):
            progress.update(val_loss=i)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("10/100 steps, val loss 9, ")
    with Progress(None, "batches") as progress:
        for _ in range(150):
            progress.update()
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == list(
        map(str, (1, 2, 5, 10, 20, 50, 100))
    )


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(3, "steps") as progress:
        progress.update(loss=0.5)
        assert progress.bar.n == 1
    assert "1/3" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm", None)  # not installed
    with Progress(1) as progress:
        progress.update()
    assert capsys.readouterr().err.startswith("1/1 steps")


def test_live_lines(capsys):
    model = mlp(6, 4, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, optimizer, every=10).live(total=20) as recorder:
        train(model, optimizer, recorder, 20)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    losses = recorder.history["loss"].values
    assert lines[-1].startswith(f"20/20 steps, loss {losses[10]:.4g}, ")  # known since the look at step 10
    assert not recorder._waiting


def test_a_live_plot_updates_one_display(monkeypatch):
    pytest.importorskip("matplotlib")
    display = pytest.importorskip("IPython.display")
    shown, handle = [], type("Handle", (), {"update": lambda self, picture: shown.append(picture)})()

    def first(picture, display_id):
        assert display_id
        shown.append(picture)
        return handle

    monkeypatch.setattr(display, "display", first)
    monkeypatch.setattr("chainrule.utils.progress.in_notebook", lambda: True)
    model = mlp(6, 4, 3)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(model, optimizer, every=5).live()
    plot = recorder._watchers[0]
    plot.seconds = 0
    with recorder:
        train(model, optimizer, recorder, 11)
    assert len(shown) == 4  # after steps 0, 5 and 10, and at the end
    assert all(picture.data.startswith(b"\x89PNG") for picture in shown)
    left, right = plot.figure.axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), recorder.history["loss"].values)
    np.testing.assert_array_equal(right.lines[1].get_ydata(), recorder.history.ratios["2.weight"].values)


@pytest.mark.slow
def test_a_live_plot_in_a_notebook():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    code = """
import chainrule as cr
from chainrule import nn
from chainrule.utils.recorder import Recorder
model = nn.Linear(3, 1)
optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
with Recorder(model, optimizer, every=2).live() as recorder:
    for _ in range(6):
        loss = model(cr.ones(2, 3)).square().mean()
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss)
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=60).execute()
    [shown] = notebook.cells[0].outputs
    assert shown.output_type == "display_data"
    assert len(shown.data["image/png"]) > 5000


# -- what the lectures say --------------------------------------------------------------------------------------------


def digits_run(model, steps, rate, **options):
    images, classes = digits_network.data()[0]
    device = next(model.parameters()).device
    images, classes = images.to(device), classes.to(device)
    optimizer = cr.optim.SGD(model.parameters(), lr=rate)
    with Recorder(model, optimizer, **options) as recorder:
        for step in range(steps):
            places = slice(step * 50 % 1400, step * 50 % 1400 + 50)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[places].reshape(50, 64)), classes[places])
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return recorder.history


def test_22_updates_are_a_thousandth_of_the_weights_and_few_units_die():
    history = digits_run(mlp(64, 32, 10), 150, 0.05, every=5)
    assert history["loss"].values[-5:].mean() < history["loss"].values[:5].mean() * 0.8
    for series in history.ratios.values():
        assert 1e-4 < np.median(series.values) < 1e-2
    assert history.dead["1"].values[-1] / history.units["1"].values[-1] < 0.3
    wild = digits_run(mlp(64, 32, 10), 20, 50.0, every=5)
    assert wild.ratios["2.weight"].values[0] > 1e-2
    assert wild.dead["1"].values[-1] / wild.units["1"].values[-1] > 0.5  # a rate too high kills them


def test_28_layer_1_of_4_learns_a_hundred_times_slower():
    model = mlp(64, 30, 30, 30, 30, 10, activation=nn.Sigmoid)
    with cr.no_grad():  # the lecture's initialisation: standard normal, scaled by the fan-in
        for layer in model[::2]:
            layer.weight.normal_(0, layer.in_features**-0.5)
            layer.bias.normal_()
    history = digits_run(model, 20, 0.1, every=5)
    # the gradient of a bias is the sum of the layer's deltas
    deltas = [np.median(history.gradients[f"{i}.bias"].values) for i in (0, 2, 4, 6)]
    assert all(a < b for a, b in itertools.pairwise(deltas))
    assert 30 < deltas[3] / deltas[0] < 1000
    speeds = [np.median(history.ratios[f"{i}.weight"].values) for i in (0, 6)]
    assert speeds[1] / speeds[0] > 30
