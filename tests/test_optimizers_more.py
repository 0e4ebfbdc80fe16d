"""Optimizers beside the table: formulas by hand, names of parameters, hooks of every optimizer, choices that exclude
one another, and groups, errors and defaults beside PyTorch's.
"""

import copy
import inspect
import warnings

import numpy as np
import pytest
from optimizer_table import MATRICES_ONLY, NOT_DIFFERENTIABLE, NOT_IN_TORCH, OPTIMIZERS, SPARSE_IN_TORCH, TABLE

import chainrule as cr
from chainrule import backends, nn, optim
from chainrule.autograd.tensor import wrap
from chainrule.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

ALL = pytest.mark.parametrize("name", sorted(OPTIMIZERS - NOT_IN_TORCH))


def parameter(*values):
    return nn.Parameter(cr.tensor(values, dtype=cr.float64))


def test_lion_by_hand():
    p, m = np.array([1.0, -2.0]), np.zeros(2)
    x = parameter(*p)
    optimizer = optim.Lion([x], lr=0.1, betas=(0.9, 0.8), weight_decay=0.5)
    for g in ([0.3, -0.1], [-0.5, 0.2], [0.0, 3.0]):
        g = np.array(g)
        x.grad = cr.tensor(g)
        optimizer.step()
        p = p * (1 - 0.1 * 0.5) - 0.1 * np.sign(0.9 * m + 0.1 * g)
        m = 0.8 * m + 0.2 * g
        np.testing.assert_allclose(x.detach().numpy(), p, rtol=1e-14)
        np.testing.assert_allclose(optimizer.state[x]["exp_avg"].numpy(), m, rtol=1e-14)
    assert list(optimizer.state[x]) == ["exp_avg"]


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4)])
def test_muon_makes_steps_near_orthogonal(shape):
    """All singular values of the step come near 1: within 0.7 and 1.2 (K. Jordan), with lr √max(1, m / n)."""
    p = nn.Parameter(cr.zeros(shape, dtype=cr.float64))
    p.grad = cr.tensor(np.random.default_rng(0).standard_normal(shape))
    optim.Muon([p], lr=1.0, weight_decay=0.0).step()
    found = np.linalg.svd(p.detach().numpy(), compute_uv=False) / max(1, shape[0] / shape[1]) ** 0.5
    assert found.min() > 0.65
    assert found.max() < 1.25


def test_counters_are_tensors_on_the_state():
    p, q = parameter(1.0), parameter(1.0, 2.0)
    optimizer = optim.NAdam([p, q])
    for _ in range(3):
        p.grad, q.grad = cr.ones_like(p), cr.ones_like(q)
        optimizer.step()
    state = optimizer.state[p]
    assert list(state) == ["step", "mu_product", "exp_avg", "exp_avg_sq"]
    assert state["step"].item() == 3
    assert state["step"].dtype == cr.float32
    assert state["step"].shape == ()
    state["step"].fill_(10)  # one parameter's own count, written by hand
    p.grad, q.grad = cr.ones_like(p), cr.ones_like(q)
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 11
    assert optimizer.state[q]["step"].item() == 4
    old = optimizer.state_dict()
    old["state"][0]["step"] = 7  # older checkpoints have numbers
    optimizer.load_state_dict(old)
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 8


def test_adagrad_has_its_state_at_once():
    p = parameter(1.0, 2.0)
    state = optim.Adagrad([p], initial_accumulator_value=0.5).state_dict()["state"][0]
    assert state["step"].item() == 0
    assert state["sum"].tolist() == [0.5, 0.5]


def test_names_of_parameters():
    net = nn.Linear(2, 1)
    optimizer = optim.AdamW(net.named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="cannot add param group without names"):
        optimizer.add_param_group({"params": [parameter(1.0)]})
    with pytest.raises(ValueError, match="Some param names are missing"):
        optim.SGD([("a", parameter(1.0)), parameter(1.0)])
    plain = optim.AdamW(net.parameters())
    with pytest.raises(ValueError, match="cannot add param group with names"):
        plain.add_param_group({"params": [("b", parameter(1.0))]})
    optimizer.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]


def test_a_parameter_twice_in_a_group():
    p = parameter(1.0)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optimizer = optim.SGD([p, p], lr=0.5)
    p.grad = cr.ones_like(p)
    optimizer.step()
    assert p.item() == 0.5


def test_hooks_of_every_optimizer():
    seen = []
    handles = [
        register_optimizer_step_pre_hook(lambda o, args, kwargs: seen.append(("pre", type(o).__name__))),
        register_optimizer_step_post_hook(lambda o, args, kwargs: seen.append(("post", type(o).__name__))),
    ]
    optim.SGD([parameter(1.0)]).step()
    optim.Adafactor([parameter(1.0)]).step()
    for handle in handles:
        handle.remove()
    optim.SGD([parameter(1.0)]).step()
    assert seen == [(when, name) for name in ("SGD", "Adafactor") for when in ("pre", "post")]


def test_choices_that_exclude_one_another():
    p = parameter(1.0)
    for cls in (optim.SGD, optim.Adam, optim.AdamW, optim.Adagrad):
        with pytest.raises(RuntimeError, match="cannot be `True` together"):
            cls([p], foreach=True, fused=True)
        with pytest.raises(RuntimeError, match="does not support `differentiable`"):
            cls([p], fused=True, differentiable=True)
    optimizer = optim.RMSprop([p], foreach=True, differentiable=True)
    p.grad = cr.ones_like(p)
    with pytest.raises(AssertionError, match="don't support autograd"):
        optimizer.step()
    with pytest.raises(ValueError, match="lr as a Tensor"):
        optim.Adam([p], lr=cr.tensor(0.1), foreach=True)
    with pytest.raises(ValueError, match="both floats or both Tensors"):
        optim.Adam([p], betas=(cr.tensor(0.9), 0.9))


@pytest.mark.parametrize("names", ["sgd SGD", "adam Adam", "adamw AdamW", "adagrad Adagrad", "adadelta Adadelta",
                                   "adamax Adamax", "asgd ASGD", "lbfgs LBFGS", "nadam NAdam", "optimizer Optimizer",
                                   "radam RAdam", "rmsprop RMSprop", "rprop Rprop",
                                   "sparse_adam SparseAdam"])  # fmt: skip
def test_module_paths(names):
    module, name = names.split()
    scope = {}
    exec(f"from chainrule.optim.{module} import {name}", scope)
    assert scope[name] is getattr(optim, name)


@pytest.mark.parametrize("name", sorted(TABLE))
@pytest.mark.parametrize("which", [0, -1])
def test_where_the_arrays_live(name, which, backend):
    """The formulas on the backend under test (strict, unless another is named) and on NumPy; state lives there too."""
    other = backends.by_name("strict" if backend == "numpy" else backend)
    shapes = [(3, 2), (2, 2)] if name in MATRICES_ONLY else [(3, 2), (5,), (), (200, 100)]
    found = []
    for place in (backends.by_name("numpy"), other):
        rng = np.random.default_rng(0)
        params = [nn.Parameter(wrap(place.asarray(rng.standard_normal(s)), None)) for s in shapes]
        optimizer = getattr(optim, name)(params, **TABLE[name][which])
        for _ in range(3):
            for p in params:
                p.grad = wrap(place.asarray(rng.standard_normal(tuple(p.shape))), None)
            optimizer.step()
        counters = {"step", "eta", "mu", "mu_product"}
        for state in optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, cr.Tensor):
                    homes = {place.name}
                    if key in counters:  # on the host, unless one kernel updates the group and counts on the GPU
                        homes = {"numpy", place.name} if place.name == "cupy" else {"numpy"}
                    assert backends.of(value.array).name in homes, key
        found.append([place.to_host(p.array) for p in params])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(np.asarray(b), a, rtol=1e-9, atol=1e-12)


# -- PyTorch ----------------------------------------------------------------------------------------------------------

WRONG = [
    {"lr": -1},
    {"eps": -1},
    {"weight_decay": -1},
    {"betas": (1, 0.9)},
    {"betas": (0.9, 2)},
    {"rho": 2},
    {"lr_decay": -1},
    {"initial_accumulator_value": -1},
    {"alpha": -1},
    {"momentum": -1},
    {"momentum_decay": -1},
    {"etas": (2, 1)},
    {"d": 0.1},
    {"beta2_decay": 1},
    {"adjust_lr_fn": "x"},
    {"nesterov": True, "momentum": 0},
    {"lr": [1.0, 2.0]},
]


def outcome(lib, name, shape, options):
    """What a constructor says to options: its defaults, or the error with its text."""
    options = {k: lib.tensor(v) if isinstance(v, list) else v for k, v in options.items()}
    try:
        optimizer = getattr(lib.optim, name)([lib.nn.Parameter(lib.ones(shape))], **options)
    except (ValueError, RuntimeError) as error:
        return type(error).__name__, str(error).replace("chainrule.", "torch.")
    return optimizer.defaults, optimizer.state_dict()["param_groups"], repr(optimizer)


@pytest.mark.torch
@ALL
def test_arguments_defaults_and_errors_are_torchs(name, torch):
    known = list(inspect.signature(getattr(torch.optim, name)).parameters.values())
    ours = list(inspect.signature(getattr(optim, name)).parameters.values())
    more = [p for p in ours if p.name == "master_weights"]  # which PyTorch has not
    assert all(p.kind is p.KEYWORD_ONLY for p in more)
    theirs = [p for p in ours if p not in more]
    assert [(p.name, p.kind, p.default) for p in theirs] == [(p.name, p.kind, p.default) for p in known]
    for options in [{}, *WRONG]:
        if set(options) <= {p.name for p in known}:
            for shape in ((2, 3), (2,)):
                if name == "Adafactor" and "eps" in options:  # there it is a pair
                    continue
                assert outcome(cr, name, shape, options) == outcome(torch, name, shape, options), (shape, options)


def run(lib, name, **options):
    """Two groups, a third one later, gradients missing now and then, a learning rate that changes, other state."""
    rng = np.random.default_rng(1)
    params = [lib.nn.Parameter(lib.tensor(rng.standard_normal(s))) for s in ((3, 2), (4, 1), (1, 2), (2, 2))]
    optimizer = getattr(lib.optim, name)(
        [{"params": params[:2]}, {"params": params[2:3], "lr": 0.03, **options}], lr=0.02
    )
    found = []
    for i in range(50):
        if i == 20 and name != "Adagrad":  # PyTorch's Adagrad makes no state for it
            optimizer.add_param_group({"params": params[3:], "lr": 0.01})
        for j, p in enumerate(params):
            g = lib.tensor(rng.standard_normal(tuple(p.shape)))
            p.grad = None if (i * 7 + j) % 5 == 0 else g
        optimizer.param_groups[0]["lr"] *= 0.97
        optimizer.step()
        if i == 30:
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        found.append([p.detach().numpy().copy() for p in params])
    return found


@pytest.mark.torch
@pytest.mark.parametrize("name", sorted(OPTIMIZERS - NOT_IN_TORCH - SPARSE_IN_TORCH - {"LBFGS", "Muon"}))
def test_groups_are_torchs(name, torch):
    options = {} if name == "Rprop" else {"weight_decay": 0.1}
    # after its state was loaded PyTorch has mu_product, eta and mu in float64, which were float32 before
    tolerance = 1e-6 if name in ("NAdam", "ASGD") else 1e-10
    for ours, theirs in zip(run(cr, name, **options), run(torch, name, **options), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.torch
@pytest.mark.parametrize("options", [{}, {"nesterov": False}, {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_muon_is_torchs(options, shape, torch):
    """PyTorch makes the momentum orthogonal in bfloat16, which has 8 bits: within 8 % of a step's length."""
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(shape), rng.standard_normal((50, *shape))
    found = []
    for lib in (cr, torch):
        p = lib.nn.Parameter(lib.tensor(start))
        optimizer = lib.optim.Muon([p], lr=1e-2, **options)
        steps = []
        for g in gradients:
            before = p.detach().numpy().copy()
            p.grad = lib.tensor(g)
            optimizer.step()
            steps.append(p.detach().numpy() - before)
        buffer = optimizer.state_dict()["state"][0]
        assert list(buffer) == ["momentum_buffer"]
        found.append((steps, buffer["momentum_buffer"].numpy()))
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12)
    for a, b in zip(found[0][0], found[1][0], strict=True):
        assert np.linalg.norm(a - b) < 0.08 * np.linalg.norm(b)


@pytest.mark.parametrize("name", sorted(set(TABLE) - NOT_DIFFERENTIABLE - {"ASGD", "Rprop"}))
def test_a_learning_rate_that_learns(name):
    """Recorded steps are functions of the rate: what a run comes to has a derivative by it."""

    def run(lr):
        p = cr.tensor([1.0, -2.0], dtype=cr.float64, requires_grad=True) * 1
        optimizer = getattr(optim, name)([p], lr=lr, differentiable=True)
        for _ in range(3):
            (p.grad,) = cr.autograd.grad((p**2).sum(), p, create_graph=True)
            optimizer.step()
        return p

    assert cr.testing.gradcheck(run, (cr.tensor(0.05, dtype=cr.float64, requires_grad=True),))


def test_a_rate_of_numpy():
    results = []
    for kind in (float, np.float64):
        p = nn.Parameter(cr.tensor([1.0, 2.0]))
        p.grad = cr.tensor([0.3, 0.7])
        optim.AdamW([p], lr=kind(0.1)).step()
        results.append(p.detach().numpy())
    np.testing.assert_array_equal(*results)


def test_zero_grad_in_place():
    p = parameter(1.0, 2.0)
    p.grad = alias = cr.ones_like(p.detach())
    optimizer = optim.SGD([p], lr=1.0)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is alias
    assert alias.tolist() == [0, 0]
    q = parameter(1.0)
    cr.autograd.backward((q**3).sum(), create_graph=True)
    optim.SGD([q]).zero_grad(set_to_none=False)
    assert q.grad.item() == 0
    assert not q.grad.requires_grad


def lookups(lib, count, dtype):
    """Steps on the rows of an embedding that a batch names, as word2vec takes them."""
    rng = np.random.default_rng(0)
    table = lib.nn.Embedding(9, 3, sparse=True, dtype=dtype)
    with lib.no_grad():
        table.weight.copy_(lib.tensor(rng.standard_normal((9, 3))))
    optimizer = lib.optim.SparseAdam(list(table.parameters()), lr=0.05)
    for _ in range(count):
        optimizer.zero_grad()
        words, target = rng.integers(0, 8, 4), rng.standard_normal((4, 3))
        ((table(lib.tensor(words)) - lib.tensor(target)) ** 2).sum().backward()
        optimizer.step()
    return table.weight.detach().numpy(), optimizer.state[table.weight]


def test_sparse_adam_leaves_rows_alone():
    table = nn.Embedding(5, 2, sparse=True)
    before = table.weight.detach().clone()
    optimizer = optim.SparseAdam(table.parameters(), lr=0.1)
    for words in ([1, 3], [3]):
        optimizer.zero_grad()
        table(cr.tensor(words)).sum().backward()
        optimizer.step()
    moved = (table.weight - before).detach()
    np.testing.assert_array_equal(moved[[0, 2, 4]].numpy(), 0)
    np.testing.assert_allclose(moved[1].numpy(), -0.1, rtol=1e-4)  # the first step has the length lr
    adam = optim.Adam([p := parameter(0.0, 0.0)], lr=0.1)
    for g in (1.0, 0.0):
        p.grad = cr.tensor([g, 1.0], dtype=cr.float64)
        adam.step()
    assert p[0].item() < -0.15  # Adam goes on without a gradient
    np.testing.assert_allclose(moved[3].numpy(), p[1].item(), rtol=1e-5)
    for bad in ({"lr": 0.0}, {"eps": 0.0}, {"betas": (1.0, 0.9)}):
        with pytest.raises(ValueError, match="Invalid"):
            optim.SparseAdam([p], **bad)


@pytest.mark.torch
def test_sparse_adam_like_torch(torch):
    (ours, one), (theirs, two) = lookups(cr, 50, cr.float64), lookups(torch, 50, torch.float64)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
    for name in ("exp_avg", "exp_avg_sq"):
        np.testing.assert_allclose(one[name].numpy(), two[name].numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.torch
def test_names_and_duplicates_as_in_torch(torch):
    for lib in (cr, torch):
        a, b = (lib.nn.Parameter(lib.ones(1)) for _ in range(2))
        groups = [{"params": [("a", a)]}, {"params": [("b", b)], "lr": 3}]
        expected = lib.optim.SGD(groups).state_dict()["param_groups"]
        assert [(g["param_names"], g["lr"], g["params"]) for g in expected] == [(["a"], 1e-3, [0]), (["b"], 3, [1])]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lib.optim.SGD([a, a])
        assert [w.category for w in caught] == [UserWarning]


def test_a_number_in_the_state_of_an_optimizer_written_outside_stays_one():
    class Counting(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1})

        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                self.state[p]["step"] = self.state[p].get("step", 0) + 1

    p = cr.nn.Parameter(cr.ones(2))
    one, other = Counting([p]), Counting([p])
    one.step()
    other.load_state_dict(one.state_dict())
    assert other.state[p]["step"] == 1
    assert isinstance(other.state[p]["step"], int)
    adam = optim.Adam([p])  # a checkpoint of old, whose counter is a number
    adam.load_state_dict(
        {**adam.state_dict(), "state": {0: {"step": 3, "exp_avg": cr.ones(2), "exp_avg_sq": cr.ones(2)}}}
    )
    p.grad = cr.ones(2)
    adam.step()
    assert adam.state[p]["step"].item() == 4
