"""Properties of every optimizer in the optimizer table; the base class; schedules; PyTorch beside them."""

import collections
import copy
import math
import pickle
import warnings

import numpy as np
import pytest
from optimizer_table import (
    MATRICES_ONLY,
    MINIMISING,
    NOT_DIFFERENTIABLE,
    NOT_IN_TORCH,
    OPTIMIZERS,
    ROUNDED_IN_TORCH,
    SPARSE_IN_TORCH,
    TABLE,
    WITH_CLOSURE,
)

import chainrule as cr
from chainrule import nn, optim
from chainrule.autograd.op import raw
from chainrule.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    MultiStepLR,
    ReduceLROnPlateau,
    StepLR,
)

CASES = [(name, options) for name, choices in TABLE.items() for options in choices]
EACH = pytest.mark.parametrize(("name", "options"), CASES, ids=str)
FIRST = pytest.mark.parametrize(("name", "options"), [(name, choices[-1]) for name, choices in TABLE.items()], ids=str)
# small ones, which are gathered; one above the limit; a 0-d one; an empty one
SHAPES = [(3, 4), (4,), (150, 120), (), (0, 2), (7,)]


def for_which(name, shapes):
    """The shapes that the optimizer takes."""
    return [s if len(s) == 2 else (3, 2) for s in shapes] if name in MATRICES_ONLY else shapes


def numbers(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes]


def parameters(arrays, dtype=cr.float64):
    return [nn.Parameter(cr.tensor(a, dtype=dtype)) for a in arrays]


def steps(optimizer, params, count, start=0, skip=True, tensor=cr.tensor):
    """Take steps with given gradients; some parameters have none now and then."""
    for i in range(start, start + count):
        for j, (p, g) in enumerate(zip(params, numbers([tuple(p.shape) for p in params], seed=100 + i), strict=True)):
            p.grad = None if skip and (i + j) % 3 == 1 and j % 2 else tensor(g)
        optimizer.step()


def values(params):
    return [p.detach().numpy().copy() for p in params]


def assert_close(one, two, rtol=1e-12, atol=1e-14):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def test_table_lists_every_optimizer():
    assert set(TABLE) | WITH_CLOSURE == OPTIMIZERS
    assert not set(TABLE) & WITH_CLOSURE


@EACH
def test_kernel_equals_formula(name, options, monkeypatch):
    """The backend's step in place, and the formula, for arrays beyond one block too."""
    results = []
    for with_kernel in (True, False):
        params = parameters(numbers(for_which(name, [*SHAPES, (300, 301)])))
        optimizer = getattr(optim, name)(params, **options)
        if not with_kernel:
            monkeypatch.setattr(raw(params[0].array).backend, "steps", {})
        steps(optimizer, params, 4)
        results.append(
            [*values(params), *[t.numpy() for s in optimizer.state_dict()["state"].values() for t in s.values()]]
        )
    assert_close(*results)


@EACH
def test_gathering_changes_nothing(name, options, monkeypatch):
    results = []
    for limit in (1 << 14, -1):
        monkeypatch.setattr("chainrule.optim.plan._SMALL", limit)
        params = parameters(numbers(for_which(name, SHAPES)))
        steps(getattr(optim, name)(params, **options), params, 4)
        results.append(values(params))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@FIRST
def test_dtypes_and_layouts(name, options):
    arrays = numbers(for_which(name, [(3, 4), (150, 120), (5,)]))
    params = parameters(arrays)
    steps(getattr(optim, name)(params, **options), params, 3, skip=False)
    single = parameters(arrays, cr.float32)
    optimizer = getattr(optim, name)(single, **options)
    steps(optimizer, single, 3, skip=False, tensor=lambda g: cr.tensor(g, dtype=cr.float32))
    assert {p.dtype for p in single} == {cr.float32}
    assert {t.dtype for s in optimizer.state.values() for t in s.values() if isinstance(t, cr.Tensor)} <= {cr.float32}
    assert_close(values(single), values(params), 1e-3, 1e-4)
    turned = [nn.Parameter(cr.tensor(a.T.copy()).t()) if a.ndim == 2 else nn.Parameter(cr.tensor(a)) for a in arrays]
    steps(getattr(optim, name)(turned, **options), turned, 3, skip=False)
    assert_close(values(turned), values(params))


@FIRST
def test_state_goes_on_exactly(name, options):
    """state_dict into a new optimizer, deepcopy and pickle: the rest of the run is the same, bit for bit."""
    params = parameters(numbers(for_which(name, SHAPES)))
    optimizer = getattr(optim, name)(params, **options)
    steps(optimizer, params, 4)
    state = copy.deepcopy(optimizer.state_dict())
    others = parameters(values(params))
    fresh = getattr(optim, name)(others, lr=0.7)
    assert len(fresh.state) in (0, len(others))
    fresh.load_state_dict(state)
    packed, both = pickle.loads(pickle.dumps([optimizer, params])), copy.deepcopy([optimizer, params])
    steps(optimizer, params, 4, start=4)
    expected = values(params)
    for other, theirs in ((fresh, others), packed, both):
        steps(other, theirs, 4, start=4)
        for a, b in zip(values(theirs), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert fresh.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


@FIRST
def test_users_may_replace_data_and_gradients(name, options):
    """p.data = ..., p.grad = ..., an alias taken before, a view written into: the step is right for what is there."""
    params, plain = parameters(numbers(for_which(name, SHAPES))), parameters(numbers(for_which(name, SHAPES)))
    mine, theirs = (getattr(optim, name)(ps, **options) for ps in (params, plain))
    aliases = [p.detach() for p in params]
    for i in range(3):
        steps(mine, params, 1, start=i)
        steps(theirs, plain, 1, start=i)
    for alias, p in zip(aliases, params, strict=True):
        np.testing.assert_array_equal(alias.numpy(), p.detach().numpy())  # the memory is the same
    for p, q in zip(params, plain, strict=True):
        p.data = p.data * 0.5  # other memory
        with cr.no_grad():
            q.mul_(0.5)  # the same memory
    steps(mine, params, 2, start=3)
    steps(theirs, plain, 2, start=3)
    assert_close(values(params), values(plain))


@FIRST
def test_state_replaced_by_hand(name, options):
    params = parameters(numbers(for_which(name, [(3,), (4,)])))
    optimizer = getattr(optim, name)(params, **options)
    steps(optimizer, params, 2, skip=False)
    for entry in optimizer.state.values():
        for key, value in entry.items():
            if isinstance(value, cr.Tensor):
                entry[key] = cr.zeros_like(value)
    reference = parameters(values(params))
    other = getattr(optim, name)(reference, **options)
    other.load_state_dict(optimizer.state_dict())
    steps(optimizer, params, 2, start=2, skip=False)
    steps(other, reference, 2, start=2, skip=False)
    assert_close(values(params), values(reference))


@pytest.mark.parametrize(("name", "options"), [c for c in CASES if c[0] not in NOT_DIFFERENTIABLE], ids=str)
def test_differentiable_step(name, options):
    """The step's result as a function of the gradient that went in: against differences."""

    def result(g, h):
        params = [nn.Parameter(cr.tensor([0.3, -0.2], dtype=cr.float64)) * 1]
        optimizer = getattr(optim, name)(params, differentiable=True, **options)
        for gradient in (g, h):
            params[0].grad = gradient
            optimizer.step()
        return params[0]

    g = cr.tensor([0.5, -0.7], dtype=cr.float64, requires_grad=True)
    h = cr.tensor([0.4, 0.9], dtype=cr.float64, requires_grad=True)
    assert cr.testing.gradcheck(result, (g, h))


@FIRST
def test_a_graph_from_before_the_step_is_stale(name, options):
    p = nn.Parameter(cr.tensor([[1.0, 2.0]]))
    loss = (p * p).sum()
    loss.backward(retain_graph=True)
    getattr(optim, name)([p], **options).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@FIRST
def test_all_gradients_are_of_one_point(name, options):
    """The update of one parameter does not see another's new value: the steps commute with splitting into groups."""
    arrays = numbers([(1, 3), (1, 4)])
    together, apart = parameters(arrays), parameters(arrays)
    one, two = (
        getattr(optim, name)(together, **options),
        getattr(optim, name)([{"params": [p]} for p in apart], **options),
    )
    for params, optimizer in ((together, one), (apart, two)):
        for _ in range(3):
            optimizer.zero_grad()
            (params[0].sum() * params[1]).square().sum().backward()
            optimizer.step()
    assert_close(values(together), values(apart))


@FIRST
def test_it_minimises(name, options):
    row, (lr, close) = name in MATRICES_ONLY, MINIMISING.get(name, (0.1, 1e-2))
    x = nn.Parameter(cr.tensor([[3.0, -2.0]] if row else [3.0, -2.0]))
    plain = {"maximize": False, "weight_decay": 0}
    options = {**options, **{k: v for k, v in plain.items() if k in options}, "lr": lr}
    optimizer = getattr(optim, name)([x], **options)

    def closure():
        optimizer.zero_grad()
        loss = ((x - cr.tensor([1.0, 2.0])) ** 2).sum()
        loss.backward()
        return loss

    first = optimizer.step(closure).item()
    for _ in range(200):
        last = optimizer.step(closure).item()
    assert first == pytest.approx(20)
    assert last < close


# -- the base class ---------------------------------------------------------------------------------------------------


def test_groups():
    a, b, c = parameters(numbers([(2,), (2,), (2,)]))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [c], "momentum": 0.9})
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5, 0.1]
    assert [g["momentum"] for g in optimizer.param_groups] == [0, 0, 0.9]
    assert [g["params"] for g in optimizer.state_dict()["param_groups"]] == [[0], [1], [2]]
    before = values([a, b])
    for p in (a, b):
        p.grad = cr.ones(2, dtype=cr.float64)
    optimizer.step()
    assert_close(values([a, b]), [before[0] - 0.1, before[1] - 0.5])
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    assert_close(values([a]), [before[0] - 1.1])
    optimizer.zero_grad(set_to_none=False)
    assert a.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert a.grad is None
    named = optim.SGD([("a", a), ("b", b)])
    assert named.param_groups[0]["param_names"] == ["a", "b"]


def test_bad_arguments():
    (p,) = parameters(numbers([(2,)]))
    for params, error, text in (
        ([], ValueError, "empty parameter list"),
        (p, TypeError, "iterable of Tensors or dicts"),
        ([1], TypeError, "can only optimize Tensors"),
        ([p * 2], ValueError, "non-leaf"),
        ([{"params": {p}}], TypeError, "ordered collections"),
        ([{"params": [p]}, {"params": [p]}], ValueError, "more than one parameter group"),
    ):
        with pytest.raises(error, match=text):
            optim.SGD(params, 0.1)
    for cls, options, text in (
        (optim.SGD, {"lr": -1}, "Invalid learning rate: -1"),
        (optim.SGD, {"lr": math.nan}, "Invalid learning rate"),
        (optim.SGD, {"momentum": -1}, "Invalid momentum value: -1"),
        (optim.SGD, {"nesterov": True}, "Nesterov momentum requires"),
        (optim.Adam, {"betas": (1, 0.9)}, "Invalid beta parameter at index 0: 1"),
        (optim.Adam, {"betas": (0.9, 1.0)}, "Invalid beta parameter at index 1"),
        (optim.Adam, {"eps": -1}, "Invalid epsilon value: -1"),
        (optim.AdamW, {"weight_decay": -1}, "Invalid weight_decay value: -1"),
        (optim.Adam, {"lr": cr.ones(2)}, "1-element"),
    ):
        with pytest.raises(ValueError, match=text):
            cls([p], **options)
    optimizer = optim.SGD([p], 0.1)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
    with pytest.raises(ValueError, match="doesn't match the size"):
        optimizer.load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]})
    p.grad = cr.ones(2, dtype=cr.float64)
    p.data = cr.ones(3, dtype=cr.float64)
    with pytest.raises(RuntimeError, match="gradient has shape"):
        optimizer.step()


def test_an_optimizer_of_ones_own():
    class Signs(optim.Optimizer):
        """Written as PyTorch programs do."""

        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        @cr.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        state = self.state[p]
                        state["steps"] = state.get("steps", 0) + 1
                        p.add_(p.grad.sign(), alpha=-group["lr"])

    p = nn.Parameter(cr.tensor([1.0, -1.0]))
    optimizer = Signs([p])
    p.grad = cr.tensor([3.0, -5.0])
    optimizer.step()
    np.testing.assert_allclose(p.detach().numpy(), [0.9, -0.9])
    assert optimizer.state_dict()["state"] == {0: {"steps": 1}}

    class Slow(optim.Adam):
        """Another formula on the same state: it must not get Adam's kernel."""

        @staticmethod
        def update(F, p, g, mean, square, **numbers):
            return p - numbers["lr"] * g, mean + 1, square

    q = nn.Parameter(cr.tensor([1.0]))
    q.grad = cr.tensor([1.0])
    slow = Slow([q], lr=0.5)
    slow.step()
    assert q.item() == 0.5
    assert slow.state[q]["exp_avg"].item() == 1


def test_hooks():
    p = nn.Parameter(cr.ones(1))
    p.grad = cr.ones(1)
    optimizer, seen = optim.SGD([p], 0.1), []
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("pre")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("post")),
        optimizer.register_state_dict_pre_hook(lambda o: seen.append("state")),
        optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1}),
        optimizer.register_load_state_dict_pre_hook(lambda o, state: seen.append(state["more"])),
        optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded")),
    ]
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == ["pre", "post", "state", 1, "loaded"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(seen) == 5


def test_an_optimizer_that_wraps_another_one_without_its_init_has_hooks():
    class Wrapper(optim.Optimizer):
        def __init__(self, inner):
            self._optimizer_step_pre_hooks = collections.OrderedDict()
            self._optimizer_step_post_hooks = collections.OrderedDict()
            self._patch_step_function()
            self.optimizer, self.param_groups = inner, inner.param_groups

        def step(self, closure=None):
            return self.optimizer.step(closure)

    p, seen = nn.Parameter(cr.ones(1)), []
    p.grad = cr.ones(1)
    wrapper = Wrapper(optim.SGD([p], 0.5))
    handle = wrapper.register_step_pre_hook(lambda o, args, kwargs: seen.append(o))
    wrapper._optimizer_step_post_hooks[0] = lambda o, args, kwargs: seen.append("post")
    wrapper.step()
    assert seen == [wrapper, "post"]
    assert p.item() == 0.5
    assert list(wrapper._optimizer_step_pre_hooks) == [handle.id]
    assert not wrapper.optimizer._optimizer_step_pre_hooks


def test_learning_rate_as_tensor():
    p = nn.Parameter(cr.ones(1))
    p.grad = cr.ones(1)
    optimizer = optim.SGD([p], lr=cr.tensor(0.5))
    optimizer.step()
    assert p.item() == 0.5
    StepLR(optimizer, 1)
    assert isinstance(optimizer.param_groups[0]["lr"], cr.Tensor)


# -- schedules --------------------------------------------------------------------------------------------------------


def falling(epoch):
    return 1 / (1 + epoch)


SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.8}),
    ("CosineAnnealingLR", {"T_max": 5}),
    ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.01}),
    ("LambdaLR", {"lr_lambda": falling}),
]
EACH_SCHEDULE = pytest.mark.parametrize(
    ("name", "options"), SCHEDULES, ids=[f"{name}{i}" for i, (name, _) in enumerate(SCHEDULES)]
)
CLOSED = {
    "StepLR": lambda o, e: o["gamma"] ** (e // o["step_size"]),
    "MultiStepLR": lambda o, e: o["gamma"] ** sum(m <= e for m in o["milestones"]),
    "ExponentialLR": lambda o, e: o["gamma"] ** e,
    "LambdaLR": lambda o, e: o["lr_lambda"](e),
    "CosineAnnealingLR": lambda o, e: (
        o.get("eta_min", 0) + (1 - o.get("eta_min", 0)) * (1 + math.cos(math.pi * e / o["T_max"])) / 2
    ),
}


def scheduled(lib, name, options, lr=1.0):
    p = nn.Parameter(cr.ones(1)) if lib is cr else lib.nn.Parameter(lib.ones(1))
    optimizer = lib.optim.SGD([{"params": [p]}], lr=lr)
    return optimizer, getattr(lib.optim.lr_scheduler, name)(optimizer, **options)


def rates(optimizer, scheduler, epochs):
    found = []
    for _ in range(epochs):
        assert scheduler.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@EACH_SCHEDULE
def test_schedules(name, options):
    optimizer, scheduler = scheduled(cr, name, options)
    expected = [CLOSED[name](options, e) for e in range(12)]
    np.testing.assert_allclose(rates(optimizer, scheduler, 12), expected, rtol=1e-12, atol=1e-15)
    optimizer, scheduler = scheduled(cr, name, options)
    rates(optimizer, scheduler, 5)
    state, rest = copy.deepcopy([scheduler.state_dict(), optimizer.state_dict()]), rates(optimizer, scheduler, 6)
    other, fresh = scheduled(cr, name, options)
    fresh.load_state_dict(state[0])
    other.load_state_dict(state[1])
    assert rates(other, fresh, 6) == rest
    with pytest.warns(UserWarning, match="epoch parameter"):
        fresh.step(2)
    assert other.param_groups[0]["lr"] == pytest.approx(expected[2])


@pytest.mark.torch
@EACH_SCHEDULE
def test_schedules_are_torchs(name, options, torch):
    assert rates(*scheduled(cr, name, options, 0.3), 15) == pytest.approx(
        rates(*scheduled(torch, name, options, 0.3), 15), rel=1e-12, abs=1e-16
    )


def test_plateau():
    optimizer, scheduler = scheduled(
        cr, "ReduceLROnPlateau", {"patience": 1, "factor": 0.5, "cooldown": 1, "min_lr": 0.2}
    )
    found = []
    for measure in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        scheduler.step(cr.tensor(measure))
        found.append(optimizer.param_groups[0]["lr"])
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2]


@pytest.mark.torch
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_plateau_is_torchs(mode, threshold_mode, cooldown, torch):
    options = {"mode": mode, "threshold_mode": threshold_mode, "cooldown": cooldown, "patience": 2, "threshold": 0.1}
    measures = np.random.default_rng(0).random(40).tolist()
    results = []
    for lib in (cr, torch):
        optimizer, scheduler = scheduled(lib, "ReduceLROnPlateau", {**options, "factor": 0.7})
        found = []
        for m in measures:
            scheduler.step(m)
            found.append((optimizer.param_groups[0]["lr"], scheduler.get_last_lr(), scheduler.num_bad_epochs))
        results.append(found)
    assert results[0] == results[1]


def test_order_of_steps_is_watched():
    optimizer, scheduler = scheduled(cr, "StepLR", {"step_size": 1})
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        scheduler.step()


def test_schedule_errors_and_chaining():
    with pytest.raises(TypeError, match="is not an Optimizer"):
        StepLR(nn.Linear(1, 1), 1)
    optimizer, _ = scheduled(cr, "ExponentialLR", {"gamma": 0.5})
    del optimizer.param_groups[0]["initial_lr"]
    with pytest.raises(KeyError, match="initial_lr"):
        ExponentialLR(optimizer, 0.5, last_epoch=3)
    with pytest.raises(ValueError, match="Expected 1 lr_lambdas"):
        LambdaLR(optimizer, [abs, abs])
    for options, text in (({"factor": 1.0}, "Factor"), ({"mode": "mid"}, "mode mid"), ({"min_lr": [0, 0]}, "min_lrs")):
        with pytest.raises(ValueError, match=text):
            ReduceLROnPlateau(optimizer, **options)
    optimizer, first = scheduled(cr, "ExponentialLR", {"gamma": 0.5})
    second = MultiStepLR(optimizer, [1], 0.1)
    optimizer.step()
    first.step()
    second.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert isinstance(second, LRScheduler)
    resumed, _ = scheduled(cr, "ExponentialLR", {"gamma": 1.0})
    assert CosineAnnealingLR(resumed, 4, last_epoch=1).get_last_lr() == [1]  # as the optimizer's state has it


# -- PyTorch as the second oracle -------------------------------------------------------------------------------------


def test_defaults_and_repr():
    (p,) = parameters(numbers([(2,)]))
    text = repr(optim.SGD([p], 0.1))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n")
    assert text.endswith("weight_decay: 0\n)")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "options"),
    [c for c in CASES if c[0] not in NOT_IN_TORCH | ROUNDED_IN_TORCH | SPARSE_IN_TORCH],
    ids=str,
)
def test_fifty_steps_like_torch(name, options, torch):
    arrays = numbers([s for s in SHAPES if 0 not in s or name != "Adafactor"])  # its PyTorch divides by 0
    ours, theirs = parameters(arrays), [torch.nn.Parameter(torch.tensor(a)) for a in arrays]
    one, two = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    steps(one, ours, 25)
    steps(two, theirs, 25, tensor=torch.tensor)
    assert_close(values(ours), values(theirs), 1e-11, 1e-13)
    state, expected = one.state_dict(), two.state_dict()
    assert state["param_groups"] == expected["param_groups"]
    assert {k: list(v) for k, v in state["state"].items()} == {k: list(v) for k, v in expected["state"].items()}
    for key, entry in expected["state"].items():
        assert_close([t.numpy() for t in state["state"][key].values()], [t.numpy() for t in entry.values()])
        assert [t.numpy().dtype for t in state["state"][key].values()] == [t.numpy().dtype for t in entry.values()]
    assert repr(one) == repr(two)

    # each goes on with the other's state
    def convert(tree, kind, tensor):
        if isinstance(tree, dict):
            return {k: convert(v, kind, tensor) for k, v in tree.items()}
        return tensor(tree.numpy().copy()) if isinstance(tree, kind) else tree

    one.load_state_dict(convert(expected, torch.Tensor, cr.tensor))
    two.load_state_dict(convert(state, cr.Tensor, torch.tensor))
    steps(one, ours, 25, start=25)
    steps(two, theirs, 25, start=25, tensor=torch.tensor)
    assert_close(values(ours), values(theirs), 1e-10, 1e-12)


def test_groups_are_printed_apart():
    groups = [{"params": [cr.ones(1, requires_grad=True)], "lr": lr} for lr in (0.1, 0.2)]
    first, second = str(cr.optim.SGD(groups)).split("\n\n")
    assert first.startswith("SGD (\nParameter Group 0\n    dampening: 0\n")
    assert "    lr: 0.1\n" in first
    assert second.startswith("Parameter Group 1\n")
    assert second.endswith("    weight_decay: 0\n)")
