"""Every schedule: its formula, its state, and PyTorch's beside it; combinations, momentum, wrong arguments."""

import copy
import math
import pickle
import re
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.optim import lr_scheduler


class Halving:
    """A function with attributes, which the state keeps."""

    def __init__(self, k=0.5):
        self.k = k

    def __call__(self, epoch):
        return self.k**epoch


def shown(value):
    """A test's name: the same in each process, so without the address of a function."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


CASES = [
    ("LambdaLR", {"lr_lambda": [lambda e: 0.9**e, Halving(0.8)]}),
    ("MultiplicativeLR", {"lr_lambda": lambda e: 0.97 if e % 2 else 1.01}),
    ("StepLR", {"step_size": 7, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [4, 9, 9, 30], "gamma": 0.3}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 6}),
    ("ConstantLR", {}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 20}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 30, "power": 1.7}),
    ("CosineAnnealingLR", {"T_max": 13}),
    ("CosineAnnealingLR", {"T_max": 6, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": [0.1, 0.2], "step_size_up": 5}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "step_size_down": 6, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "mode": "exp_range", "gamma": 0.95}),
    (
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "scale_fn": lambda x: 1 / x, "cycle_momentum": False},
    ),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "scale_fn": Halving(), "scale_mode": "cycle"}),
    ("OneCycleLR", {"max_lr": [0.1, 0.3], "total_steps": 61}),
    ("OneCycleLR", {"max_lr": 0.1, "epochs": 4, "steps_per_epoch": 20, "three_phase": True, "pct_start": 0.2}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 70, "anneal_strategy": "linear", "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 60, "base_momentum": 0.6, "div_factor": 5, "final_div_factor": 10}),
    ("ReduceLROnPlateau", {"patience": 2, "factor": 0.6, "cooldown": 1, "min_lr": 0.001}),
    ("ReduceLROnPlateau", {"patience": 1, "mode": "max", "threshold_mode": "abs", "min_lr": [0.01, 0.02]}),
    ("SWALR", {"swa_lr": 0.02}),
    ("SWALR", {"swa_lr": [0.02, 0.5], "anneal_epochs": 0}),
    ("SWALR", {"swa_lr": 0.02, "anneal_epochs": 17, "anneal_strategy": "linear"}),
]


def combined(name):
    """A constructor of schedules made of schedules, with `lib`'s classes."""

    def make(lib, optimizer):
        s = lib.optim.lr_scheduler
        if name == "warm-up, then cosine":
            parts = [s.LinearLR(optimizer, 0.1, total_iters=5), s.CosineAnnealingLR(optimizer, 20)]
            return s.SequentialLR(optimizer, parts, [5])
        if name == "three":
            parts = [s.ConstantLR(optimizer), s.CosineAnnealingWarmRestarts(optimizer, 3, 2), s.StepLR(optimizer, 4)]
            return s.SequentialLR(optimizer, parts, [3, 20])
        if name == "sequence within a sequence":
            inner = s.SequentialLR(optimizer, [s.ExponentialLR(optimizer, 0.9), s.LinearLR(optimizer)], [4])
            return s.SequentialLR(optimizer, [inner, s.PolynomialLR(optimizer, 10)], [9])
        if name == "chain":
            return s.ChainedScheduler([s.ConstantLR(optimizer, 0.1), s.ExponentialLR(optimizer, 0.9)], optimizer)
        return s.ChainedScheduler([s.StepLR(optimizer, 3), s.LinearLR(optimizer), s.MultiStepLR(optimizer, [8])])

    return make


COMBINED = ["warm-up, then cosine", "three", "sequence within a sequence", "chain", "chain of three"]


def started(lib, name, options, cls="SGD"):
    a, b = (lib.nn.Parameter(lib.ones(2)) for _ in range(2))
    kwargs = {"momentum": 0.9} if cls == "SGD" else {}
    optimizer = getattr(lib.optim, cls)([{"params": [a]}, {"params": [b], "lr": 0.2}], lr=0.1, **kwargs)
    if options is None:
        return optimizer, combined(name)(lib, optimizer)
    if name == "SWALR":
        from_ = lib.optim.swa_utils
        return optimizer, from_.SWALR(optimizer, **options)
    return optimizer, getattr(lib.optim.lr_scheduler, name)(optimizer, **copy.deepcopy(options))


def run(optimizer, scheduler, epochs, start=0):
    measures = np.random.default_rng(0).random(200)
    found = []
    for i in range(start, start + epochs):
        optimizer.step()
        scheduler.step(*([measures[i]] if type(scheduler).__name__ == "ReduceLROnPlateau" else []))
        found.append(
            [
                (group["lr"], group.get("momentum", 0), group.get("betas", (0, 0))[0], last)
                for group, last in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True)
            ]
        )
    return np.array(found)


EVERY = pytest.mark.parametrize(
    ("name", "options"), [*CASES, *[(name, None) for name in COMBINED], ("InverseTimeLR", {"k": 0.3})], ids=shown
)
# PyTorch starts the sequence within the sequence an epoch late, so that there is no oracle for it.
TORCHS = pytest.mark.parametrize(
    ("name", "options"), [*CASES, *[(name, None) for name in COMBINED if "within" not in name]], ids=shown
)


def test_the_cases_name_every_schedule():
    named = {name for name, _ in CASES} | {"SequentialLR", "ChainedScheduler", "InverseTimeLR", "LRScheduler"}
    assert named == {*lr_scheduler.__all__, "SWALR"}


@EVERY
def test_state_goes_on_exactly(name, options):
    optimizer, scheduler = started(cr, name, options)
    run(optimizer, scheduler, 6)
    state = pickle.loads(pickle.dumps([optimizer.state_dict(), scheduler.state_dict()]))
    other, fresh = started(cr, name, options)
    other.load_state_dict(state[0])
    fresh.load_state_dict(state[1])
    both = copy.deepcopy([optimizer, scheduler])
    expected = run(optimizer, scheduler, 20, 6)
    np.testing.assert_array_equal(run(other, fresh, 20, 6), expected)
    np.testing.assert_array_equal(run(*both, 20, 6), expected)


FORMULAS = {
    "inverse time": ("InverseTimeLR", {"k": 0.3}, lambda e: 1 / (1 + 0.3 * e)),
    "exponential": ("ExponentialLR", {"gamma": math.exp(-0.2)}, lambda e: math.exp(-0.2 * e)),
    "constant": ("ConstantLR", {"factor": 0.5, "total_iters": 4}, lambda e: 0.5 if e < 4 else 1),
    "linear": ("LinearLR", {"start_factor": 0.2, "total_iters": 8}, lambda e: 0.2 + 0.8 * min(e, 8) / 8),
    "polynomial": ("PolynomialLR", {"total_iters": 7, "power": 2}, lambda e: (1 - min(e, 7) / 7) ** 2),
    "cosine": ("CosineAnnealingLR", {"T_max": 5}, lambda e: (1 + math.cos(math.pi * e / 5)) / 2),
    "restarts": ("CosineAnnealingWarmRestarts", {"T_0": 5}, lambda e: (1 + math.cos(math.pi * (e % 5) / 5)) / 2),
    "triangle": (
        *("CyclicLR", {"base_lr": 0, "max_lr": 0.1, "step_size_up": 4, "cycle_momentum": False}),
        lambda e: 1 - abs(e % 8 - 4) / 4,
    ),
    "multiplicative": ("MultiplicativeLR", {"lr_lambda": lambda e: e / (e + 1)}, lambda e: 1 / (e + 1)),
}


@pytest.mark.parametrize(("name", "options", "formula"), FORMULAS.values(), ids=FORMULAS)
def test_formulas(name, options, formula):
    optimizer, scheduler = started(cr, name, options)
    assert scheduler.get_last_lr()[0] == pytest.approx(0.1 * formula(0))
    np.testing.assert_allclose(
        run(optimizer, scheduler, 20)[:, 0, 0], [0.1 * formula(e) for e in range(1, 21)], rtol=1e-12, atol=1e-15
    )


def test_one_cycle():
    """Up to max_lr at 30 % of the steps, down to max_lr / 25 / 10⁴ at the last; the momentum the other way."""
    optimizer, scheduler = started(cr, "OneCycleLR", {"max_lr": 1.0, "total_steps": 101})
    found = run(optimizer, scheduler, 100)[:, 0]
    assert found[:, 0].argmax() in (28, 29)
    assert found[:, 0].max() == pytest.approx(1, rel=1e-3)
    assert found[-1, 0] == pytest.approx(1 / 25e4)
    assert found[:, 1].min() == pytest.approx(0.85, rel=1e-3)
    assert found[-1, 1] == pytest.approx(0.95)
    optimizer.step()
    scheduler.step()
    optimizer.step()
    with pytest.raises(ValueError, match="Tried to step 102 times"):
        scheduler.step()


def test_a_sequence_within_a_sequence():
    found = run(*started(cr, "sequence within a sequence", None), 11)[:, 0, 0] * 10
    inner = [0.9, 0.81, 0.729] + [1 / 3 + e * 2 / 15 for e in range(5)]
    np.testing.assert_allclose(found, [*inner, 1, 0.9, 0.8], rtol=1e-12)


def test_fractions_of_an_epoch():
    _, scheduler = started(cr, "CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2})
    for epoch, cur, period in ((0.5, 0.5, 3), (3.5, 0.5, 6), (9.25, 0.25, 12)):
        scheduler.step(epoch)
        assert (scheduler.T_cur, scheduler.T_i, scheduler.last_epoch) == (cur, period, int(epoch))
        assert scheduler.get_last_lr()[0] == pytest.approx(0.05 * (1 + math.cos(math.pi * cur / period)))


def test_a_rate_that_is_a_tensor():
    p = cr.nn.Parameter(cr.ones(1))
    lr = cr.tensor(0.5)
    optimizer = optim.SGD([p], lr=lr)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    last = scheduler.get_last_lr()[0]
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == 0.125
    assert last.item() == 0.5
    assert optimizer.param_groups[0]["initial_lr"].item() == 0.5


def test_a_schedule_of_ones_own():
    class Warm(lr_scheduler._LRScheduler):
        def get_lr(self):
            if not self._get_lr_called_within_step:
                raise AssertionError
            return [base * min(1, (self.last_epoch + 1) / 4) for base in self.base_lrs]

    optimizer, _ = started(cr, "StepLR", {"step_size": 100})
    scheduler = Warm(optimizer)
    np.testing.assert_allclose(run(optimizer, scheduler, 4)[:, 0, 0], [0.05, 0.075, 0.1, 0.1])


WRONG = [
    ("ConstantLR", {"factor": 2}),
    ("LinearLR", {"start_factor": 0}),
    ("LinearLR", {"end_factor": 2}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1, "mode": "x"}),
    ("CyclicLR", {"base_lr": [0.1], "max_lr": 1}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": [1, 2, 3]}),
    ("CosineAnnealingWarmRestarts", {"T_0": 0}),
    ("CosineAnnealingWarmRestarts", {"T_0": 2.5}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 1.5}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "eta_min": "x"}),
    ("OneCycleLR", {"max_lr": 0.1}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 1.5}),
    ("OneCycleLR", {"max_lr": 0.1, "epochs": 0, "steps_per_epoch": 3}),
    ("OneCycleLR", {"max_lr": 0.1, "epochs": 2, "steps_per_epoch": -1}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 5, "pct_start": 2}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 5, "anneal_strategy": "x"}),
    ("ReduceLROnPlateau", {"factor": 1.0}),
    ("ReduceLROnPlateau", {"min_lr": [1, 2, 3]}),
    ("LambdaLR", {"lr_lambda": [abs] * 3}),
    ("MultiplicativeLR", {"lr_lambda": [abs] * 3}),
    ("SWALR", {"swa_lr": 0.1, "anneal_strategy": "x"}),
    ("SWALR", {"swa_lr": 0.1, "anneal_epochs": -1}),
    ("SWALR", {"swa_lr": [0.1]}),
]


@pytest.mark.parametrize(("name", "options"), WRONG, ids=shown)
def test_wrong_arguments(name, options):
    with pytest.raises(ValueError):
        started(cr, name, options)


def test_wrong_combinations():
    optimizer, first = started(cr, "StepLR", {"step_size": 2})
    _, foreign = started(cr, "StepLR", {"step_size": 2})
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer)
    for make, error, text in (
        (lambda: lr_scheduler.SequentialLR(optimizer, [], []), ValueError, "at least one"),
        (lambda: lr_scheduler.SequentialLR(optimizer, [first], [1]), ValueError, "one more than"),
        (lambda: lr_scheduler.SequentialLR(optimizer, [first, foreign], [1]), ValueError, "same optimizer"),
        (lambda: lr_scheduler.SequentialLR(optimizer, [first, plateau], [1]), ValueError, "ReduceLROnPlateau"),
        (lambda: lr_scheduler.SequentialLR(optimizer, [first, 3], [1]), TypeError, "attribute"),
        (lambda: lr_scheduler.ChainedScheduler([]), ValueError, "at least one"),
        (lambda: lr_scheduler.ChainedScheduler([first, foreign]), ValueError, "same optimizer"),
        (lambda: lr_scheduler.ChainedScheduler([first, plateau]), ValueError, "ReduceLROnPlateau"),
        (lambda: lr_scheduler.CyclicLR(optim.Adagrad([cr.ones(1)]), 0.1, 1), ValueError, "momentum or beta1"),
        (lambda: lr_scheduler.CyclicLR(3, 0.1, 1), TypeError, "not an Optimizer"),
        (lambda: lr_scheduler.InverseTimeLR(optimizer, -1), ValueError, "k should"),
    ):
        with pytest.raises(error, match=text):
            make()
    with pytest.warns(UserWarning, match="get_last_lr"):
        first.get_lr()


# -- PyTorch ----------------------------------------------------------------------------------------------------------


def plain(tree):
    """A state without functions, numbers of NumPy as Python's."""
    if isinstance(tree, dict):
        return {k: plain(v) for k, v in tree.items() if k != "_scale_fn_ref"}
    return [plain(v) for v in tree] if isinstance(tree, list) else tree


def same(a, b):
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == pytest.approx(b, rel=1e-9) if isinstance(a, float) else a == b


@pytest.mark.torch
@TORCHS
@pytest.mark.parametrize("cls", ["SGD", "Adam"])
def test_epochs_are_torchs(name, options, cls, torch):
    (one, mine), (two, theirs) = (started(lib, name, options, cls) for lib in (cr, torch))
    tolerance = {"rtol": 1e-10, "atol": 1e-15}
    assert mine.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12)
    np.testing.assert_allclose(run(one, mine, 25), run(two, theirs, 25), **tolerance)
    state, expected = plain(mine.state_dict()), plain(theirs.state_dict())
    assert same(state, expected), (state, expected)
    mine.load_state_dict(copy.deepcopy(theirs.state_dict()))
    theirs.load_state_dict(copy.deepcopy(state))
    np.testing.assert_allclose(run(one, mine, 30, 25), run(two, theirs, 30, 25), **tolerance)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "options"), [c for c in CASES if c[0] not in ("SWALR", "ReduceLROnPlateau")], ids=shown
)
def test_given_epochs_are_torchs(name, options, torch):
    found = []
    for lib in (cr, torch):
        optimizer, scheduler = started(lib, name, options)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rates = []
            for epoch in (3, 1, 12, 40):
                scheduler.step(epoch)
                rates += scheduler.get_last_lr()
            found.append(rates)
    assert found[0] == pytest.approx(found[1], rel=1e-12)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "options"), [c for c in CASES if c[0] != "ReduceLROnPlateau"], ids=shown)
def test_resuming_is_torchs(name, options, torch):
    found = []
    for lib in (cr, torch):
        optimizer, scheduler = started(lib, name, options)
        run(optimizer, scheduler, 7)
        again = type(scheduler)(optimizer, **copy.deepcopy(options), last_epoch=scheduler.last_epoch)
        found.append(run(optimizer, again, 10))
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-15)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "options"), WRONG, ids=shown)
def test_wrong_arguments_are_torchs(name, options, torch):
    texts = []
    for lib in (cr, torch):
        with pytest.raises(ValueError) as caught:
            started(lib, name, options)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_a_plateau_whose_reduction_is_another():
    class Counted(lr_scheduler.ReduceLROnPlateau):
        def _reduce_lr(self, epoch):
            epochs.append(epoch)
            super()._reduce_lr(epoch)

    epochs = []
    optimizer = optim.SGD([cr.ones(1, requires_grad=True)], lr=1.0)
    scheduler = Counted(optimizer, patience=1)
    for _ in range(4):
        scheduler.step(1.0)
    assert epochs == [3]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
