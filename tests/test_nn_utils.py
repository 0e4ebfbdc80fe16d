"""nn.utils: weight and spectral norm, parametrisations, pruning, fusion, max-norm; PyTorch beside them."""

import copy
import importlib
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.utils import parametrizations, parametrize, prune
from chainrule.testing import gradcheck, gradgradcheck

X = np.random.default_rng(0).normal(size=(5, 4))
IMAGE = np.random.default_rng(1).normal(size=(2, 4, 5, 6))
ORTHOGONAL = ("matrix_exp", "cayley", "householder")
DEPRECATED = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")


def close(a, b, tolerance=1e-9):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


# -- beside PyTorch ---------------------------------------------------------------------------------------------------

LAYERS = {
    "linear": (lambda lib: lib.nn.Linear(4, 3), X),
    "square": (lambda lib: lib.nn.Linear(4, 4), X),
    "wide": (lambda lib: lib.nn.Linear(4, 6), X),
    "conv": (lambda lib: lib.nn.Conv2d(4, 3, 3), IMAGE),
    "transposed": (lambda lib: lib.nn.ConvTranspose2d(4, 3, 3), IMAGE),
}


def old_weight(dim, name="weight"):
    return lambda lib, layer: lib.nn.utils.weight_norm(layer, name, dim)


def new_weight(dim):
    return lambda lib, layer: lib.nn.utils.parametrizations.weight_norm(layer, dim=dim)


def orthogonal(kind, trivialised=True):
    return lambda lib, layer: lib.nn.utils.parametrizations.orthogonal(
        layer, orthogonal_map=kind, use_trivialization=trivialised
    )


CASES = [
    *[(layer, make(dim)) for layer in ("linear", "conv") for make in (old_weight, new_weight) for dim in (0, 1, None)],
    ("linear", old_weight(0, "bias")),
    *[("linear", lambda lib, layer: lib.nn.utils.spectral_norm(layer, n_power_iterations=2))],
    *[(layer, lambda lib, layer: lib.nn.utils.spectral_norm(layer)) for layer in ("conv", "transposed")],
    *[
        (layer, lambda lib, layer: lib.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=2))
        for layer in ("linear", "conv", "transposed")
    ],
    *[
        (layer, orthogonal(kind, trivialised))
        for layer in ("linear", "square", "wide")
        for kind in ORTHOGONAL
        for trivialised in (True, False)
    ],
]


@DEPRECATED
@pytest.mark.torch
@pytest.mark.parametrize("case", range(len(CASES)))
def test_reparametrised_layers_are_torchs(case, torch):
    name, change = CASES[case]
    make, x = LAYERS[name]
    theirs, ours = (change(lib, make(lib)).double() for lib in (torch, cr))
    assert list(theirs.state_dict()) == list(ours.state_dict())
    ours.load_state_dict({k: cr.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    assert repr(ours) == repr(theirs)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        a, b = ours(cr.tensor(x)), theirs(torch.tensor(x))
        close(a, b)
        for out, module in ((a, ours), (b, theirs)):
            module.zero_grad()
            (out * out).sum().backward()
        for (n, p), (m, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert n == m
            close(p.grad, q.grad, 1e-7)
    for key, value in ours.state_dict().items():
        close(value, theirs.state_dict()[key])
    assert [list(m.items()) for m in ours.state_dict()._metadata.values()] == [
        list(m.items()) for m in theirs.state_dict()._metadata.values()
    ]


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (2, 5, 3), (3, 5)])
def test_householder_inverse_is_torchs(shape, torch):
    found = []
    for lib in (cr, torch):
        module = lib.nn.Module()
        module.w = lib.nn.Parameter(lib.tensor(np.random.default_rng(1).normal(size=shape)))
        lib.nn.utils.parametrizations.orthogonal(module, "w", "householder", use_trivialization=False)
        lower = module.parametrizations.w.original  # above the diagonal stands what is not used
        lower = (lower.mT if shape[-2] < shape[-1] else lower).tril()
        found.append((module.w, lower))
    for a, b in zip(*found, strict=True):
        close(a, b)


def prune_steps(lib):
    prune, f = importlib.import_module(f"{lib.__name__}.nn.utils.prune"), lib.tensor
    weight = f(np.random.default_rng(0).permutation(24).astype(np.float64) / 10 - 1.15)
    scores = f(np.random.default_rng(3).permutation(24).astype(np.float64)).reshape(4, 6)

    def layer():
        made = lib.nn.Linear(6, 4).double()
        made.weight.data = weight.clone().reshape(4, 6)
        made.bias.data = weight[:4].clone()
        return made

    yield prune.l1_unstructured(layer(), "weight", amount=5)
    yield prune.l1_unstructured(layer(), "weight", amount=0.3, importance_scores=scores)
    yield prune.ln_structured(layer(), "weight", amount=2, n=2, dim=0)
    yield prune.ln_structured(layer(), "weight", 0.5, n=float("inf"), dim=-1, importance_scores=scores)
    yield prune.identity(layer(), "bias")
    yield prune.custom_from_mask(layer(), "bias", mask=f(np.array([1.0, 0.0, 1.0, 0.0])))
    twice = prune.l1_unstructured(prune.ln_structured(layer(), "weight", 1, n=1, dim=0), "weight", 4)
    yield twice
    yield prune.ln_structured(prune.l1_unstructured(twice, "weight", 2), "weight", 1, 2, 1)
    net = lib.nn.Sequential(layer(), lib.nn.Tanh(), layer())
    prune.l1_unstructured(net[0], "weight", 3)
    prune.global_unstructured(
        [(net[0], "weight"), (net[2], "weight"), (net[2], "bias")], pruning_method=prune.L1Unstructured, amount=0.4
    )
    yield net
    prune.remove(net[0], "weight")
    yield net


@pytest.mark.torch
def test_pruning_is_torchs(torch):
    theirs_prune = importlib.import_module("torch.nn.utils.prune")
    for ours, theirs in zip(prune_steps(cr), prune_steps(torch), strict=True):
        state, expected = ours.state_dict(), theirs.state_dict()
        assert list(state) == list(expected)
        for key, value in state.items():
            if not key.endswith(("0.bias", "2.weight_orig", "2.bias_orig")):
                close(value, expected[key])
        assert prune.is_pruned(ours) == theirs_prune.is_pruned(theirs)
        for (_, a), (_, b) in zip(ours.named_modules(), theirs.named_modules(), strict=True):
            if isinstance(a, nn.Linear):
                close(a.weight, b.weight)


@pytest.mark.torch
def test_signatures_of_utils_are_torchs(torch):
    import inspect

    from chainrule.nn import utils

    def names(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    for path in ("", "parametrize", "parametrizations", "prune", "fusion", "memory_format", "stateless", "clip_grad"):
        ours = getattr(utils, path) if path else utils
        theirs = importlib.import_module(f"torch.nn.utils.{path}".removesuffix("."))
        for name in ours.__all__:
            target = getattr(ours, name)
            if callable(target) and name != "max_norm_":
                assert names(target) == names(getattr(theirs, name, None) or getattr(torch.nn.utils, name)), name


# -- without it -------------------------------------------------------------------------------------------------------


@DEPRECATED
def test_weight_norm_has_length_and_direction():
    layer = nn.utils.weight_norm(nn.Linear(4, 3))
    assert list(layer.state_dict()) == ["bias", "weight_g", "weight_v"]
    layer.weight_g.data.fill_(2.0)
    layer(cr.tensor(X, dtype=cr.float32))
    close(layer.weight.norm(dim=1), cr.full((3,), 2.0), 1e-6)
    with pytest.raises(RuntimeError, match="two weight_norm hooks"):
        nn.utils.weight_norm(layer)
    before = layer.weight.detach().clone()
    assert nn.utils.remove_weight_norm(layer) is layer
    close(layer.weight, before)
    assert list(layer.state_dict()) == ["bias", "weight"]
    with pytest.raises(ValueError, match="not found"):
        nn.utils.remove_weight_norm(layer)
    with pytest.raises(ValueError, match="uninitialized"):
        nn.utils.weight_norm(nn.LazyLinear(3))
    with pytest.warns(FutureWarning, match="parametrizations.weight_norm"):
        nn.utils.weight_norm(nn.Linear(2, 2))


@pytest.mark.parametrize("change", [nn.utils.spectral_norm, parametrizations.spectral_norm], ids=["hook", "new"])
def test_spectral_norm_brings_the_largest_singular_value_to_one(change):
    cr.manual_seed(0)
    layer = change(nn.Conv2d(4, 3, 3), n_power_iterations=30)
    layer(cr.tensor(IMAGE, dtype=cr.float32))
    assert abs(np.linalg.svd(layer.weight.detach().numpy().reshape(3, -1))[1][0] - 1) < 1e-4
    with pytest.raises(ValueError, match="n_power_iterations"):
        change(nn.Linear(2, 2), n_power_iterations=0)


def test_spectral_norm_by_a_hook_can_be_removed():
    layer = nn.utils.spectral_norm(nn.Linear(4, 3))
    assert list(layer.state_dict()) == ["bias", "weight_orig", "weight_u", "weight_v"]
    value = layer.eval()(cr.tensor(X, dtype=cr.float32))
    assert nn.utils.remove_spectral_norm(layer) is layer
    close(layer(cr.tensor(X, dtype=cr.float32)), value, 1e-6)
    assert list(layer.state_dict()) == ["bias", "weight"]
    assert "spectral_norm" not in layer.state_dict()._metadata[""]
    with pytest.raises(ValueError, match="not found"):
        nn.utils.remove_spectral_norm(layer)


def test_both_directions_of_a_gradient_through_the_former_forward():
    # The second forward moves u and v; the first one's gradient must not notice.
    cr.manual_seed(0)
    layer = nn.utils.spectral_norm(nn.Linear(4, 3))
    x = cr.tensor(X, dtype=cr.float32)
    first = layer(x).sum()
    expected = cr.autograd.grad(first, layer.weight_orig, retain_graph=True)[0]
    layer(x)
    close(cr.autograd.grad(first, layer.weight_orig)[0], expected)


class Symmetric(nn.Module):
    def forward(self, X):
        return X.triu() + X.triu(1).mT


class Exponential(nn.Module):
    def forward(self, X):
        return X.exp()

    def right_inverse(self, A):
        return A.log()


def test_register_and_remove_parametrizations():
    layer = nn.Linear(3, 3)
    weight, data = layer.weight, layer.weight.detach().clone()
    assert parametrize.register_parametrization(layer, "weight", Symmetric()) is layer
    assert type(layer).__name__ == "ParametrizedLinear"
    assert isinstance(layer, nn.Linear)
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    assert parametrize.is_parametrized(layer)
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert layer.parametrizations.weight.original is weight
    close(layer.weight, layer.weight.mT)
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert type(layer) is nn.Linear
    assert layer.weight is weight
    close(layer.weight, data)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    parametrize.remove_parametrizations(layer, "weight")
    assert layer.weight is weight
    close(weight, weight.mT)
    for wrong in (lambda: parametrize.remove_parametrizations(layer, "weight"),):
        with pytest.raises(ValueError, match="does not have a parametrization"):
            wrong()
    with pytest.raises(ValueError, match="parametrized element with name 'nothing'"):
        parametrize.register_parametrization(layer, "nothing", Symmetric())


def test_parametrizations_in_a_row_and_assignment():
    layer = nn.Linear(3, 3)
    layer.weight.data = cr.rand(3, 3) + 0.5
    before = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", Exponential())
    close(layer.weight, before, 1e-6)
    layer.weight = before * 2
    close(layer.weight, before * 2, 1e-6)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert len(layer.parametrizations.weight) == 2
    with pytest.raises(RuntimeError, match="right_inverse"):
        layer.weight = before
    with pytest.raises(ValueError, match="shape"):
        parametrize.register_parametrization(layer, "bias", nn.Linear(3, 2))
    other = parametrize.transfer_parametrizations_and_params(layer, nn.Linear(3, 3))
    close(other.weight, layer.weight)
    assert other.parametrizations.weight.original is layer.parametrizations.weight.original


def test_parametrised_modules_are_copied_and_pickled():
    layer = parametrizations.weight_norm(nn.Linear(3, 2))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(other).__name__ == "ParametrizedLinear"
        assert type(other) is not type(layer)
        close(other.weight, layer.weight)
        other.parametrizations.weight.original0.data.fill_(5.0)
        close(other.weight.norm(dim=1), cr.full((2,), 5.0), 1e-6)
        parametrize.remove_parametrizations(other, "weight")
    assert parametrize.is_parametrized(layer)


def test_cached_computes_once():
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    assert layer.weight is not layer.weight
    with parametrize.cached():
        assert layer.weight is layer.weight
        first = layer.weight
    with parametrize.cached():
        assert layer.weight is not first


@DEPRECATED
def test_checkpoints_of_the_older_weight_norm_load_into_the_newer():
    old, new = nn.utils.weight_norm(nn.Linear(3, 2)), parametrizations.weight_norm(nn.Linear(3, 2))
    new.load_state_dict(old.state_dict())
    close(new.weight, old.weight)


def test_orthogonal_stays_orthogonal_while_it_learns():
    cr.manual_seed(0)
    for shape in ((3, 5), (5, 3), (4, 4)):
        layer = parametrizations.orthogonal(nn.Linear(*shape))
        step = cr.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(3):
            step.zero_grad()
            layer(cr.randn(2, shape[0])).pow(3).sum().backward()
            step.step()
        q = layer.weight.detach()
        q = q if q.shape[0] >= q.shape[1] else q.mT
        close(q.mT @ q, cr.eye(q.shape[1]), 1e-5)
    with pytest.raises(ValueError, match="orthogonal_map"):
        parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="none")
    with pytest.raises(ValueError, match="matrix"):
        parametrizations.orthogonal(nn.Linear(2, 2), "bias")


def test_pruned_elements_stay_zero_and_get_no_gradient():
    layer = prune.l1_unstructured(nn.Linear(4, 3), "weight", amount=5)
    assert list(layer.state_dict()) == ["bias", "weight_orig", "weight_mask"]
    assert isinstance(layer.weight_orig, nn.Parameter)
    assert layer.weight_mask.sum().item() == 7
    layer(cr.tensor(X, dtype=cr.float32)).sum().backward()
    assert (layer.weight_orig.grad[layer.weight_mask == 0] == 0).all().item()
    with cr.no_grad():
        layer.weight_orig += 1
    layer(cr.tensor(X, dtype=cr.float32))
    assert (layer.weight[layer.weight_mask == 0] == 0).all().item()
    assert prune.is_pruned(layer)
    prune.remove(layer, "weight")
    assert not prune.is_pruned(layer)
    assert isinstance(layer.weight, nn.Parameter)
    assert (layer.weight == 0).sum().item() == 5
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(layer, "weight")


def test_random_pruning_counts():
    cr.manual_seed(0)
    layer = prune.random_unstructured(nn.Linear(4, 6), "weight", amount=0.25)
    assert layer.weight_mask.sum().item() == 18
    layer = prune.random_structured(nn.Linear(4, 6), "weight", amount=2, dim=0)
    assert sorted(layer.weight_mask.sum(1).tolist()) == [0, 0, 4, 4, 4, 4]


@pytest.mark.parametrize(
    ("amount", "error"), [("1", TypeError), (-1, ValueError), (1.5, ValueError), (100, ValueError)]
)
def test_pruning_refuses_wrong_amounts(amount, error):
    with pytest.raises(error, match="amount"):
        prune.l1_unstructured(nn.Linear(2, 2), "weight", amount)


FUSED = [
    (nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), (2, 4, 7), False),
    (nn.Conv2d(4, 6, 3, bias=False, groups=2), nn.BatchNorm2d(6), (2, 4, 5, 5), False),
    (nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6, affine=False), (2, 4, 5, 5), True),
    (nn.Linear(4, 6), nn.BatchNorm1d(6), (3, 4), None),
]


@pytest.mark.parametrize(("layer", "norm", "shape", "transpose"), FUSED)
def test_fusion_for_inference(layer, norm, shape, transpose):
    cr.manual_seed(0)
    layer, norm = copy.deepcopy(layer).double(), copy.deepcopy(norm).double()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    for p in norm.parameters():
        nn.init.normal_(p)
    fuse = nn.utils.fuse_linear_bn_eval if transpose is None else nn.utils.fuse_conv_bn_eval
    options = {} if transpose is None else {"transpose": transpose}
    with pytest.raises(AssertionError, match="eval"):
        fuse(layer, norm, **options)
    layer.eval()
    norm.eval()
    x = cr.randn(*shape, dtype=cr.float64)
    fused = fuse(layer, norm, **options)
    close(fused(x), norm(layer(x)))
    assert type(fused) is type(layer)
    assert fused is not layer
    assert isinstance(fused.weight, nn.Parameter)


def test_max_norm_projects_each_unit_into_the_ball():
    weight = cr.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], requires_grad=True)
    nn.utils.max_norm_(weight, 1.0)
    close(weight, cr.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]), 1e-7)
    nn.utils.max_norm_([weight], 0.5, norm_type=float("inf"), dim=1)
    close(weight.abs().amax(0), cr.tensor([0.5, 0.5]), 1e-7)
    nn.utils.max_norm_([weight], 0.0)
    assert (weight == 0).all().item()
    with pytest.raises(ValueError, match="max_norm"):
        nn.utils.max_norm_(weight, -1.0)


def test_skip_init_draws_nothing():
    cr.manual_seed(0)
    expected = cr.rand(3)
    cr.manual_seed(0)
    layer = nn.utils.skip_init(nn.Conv2d, 3, 4, kernel_size=3)
    assert type(layer) is nn.Conv2d
    assert layer.weight.shape == (4, 3, 3, 3)
    close(cr.rand(3), expected)
    with pytest.raises(RuntimeError, match="Expected a Module"):
        nn.utils.skip_init(dict)
    with pytest.raises(RuntimeError, match="device"):
        nn.utils.skip_init(nn.ReLU)


def test_a_module_walks_over_what_functional_call_lends_it():
    class Cast(nn.Linear):
        def forward(self, x):
            seen.append([n for n, _ in self.named_parameters()])
            return super().forward(x.to(next(self.parameters()).dtype))

    net, seen = Cast(2, 2), []
    double = {n: p.detach().double() for n, p in net.named_parameters()}
    assert cr.func.functional_call(net, double, cr.ones(1, 2)).dtype is cr.float64
    slopes = cr.func.grad(lambda p: cr.func.functional_call(net, p, cr.ones(1, 2)).sum())(double)
    assert seen == [["weight", "bias"]] * 2
    assert slopes["weight"].tolist() == [[1, 1], [1, 1]]
    assert [type(p) for p in net.parameters()] == [nn.Parameter] * 2
    net.weight = None
    assert [n for n, _ in net.named_parameters()] == ["bias"]


def test_functional_call_ties_and_is_strict():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    x, eye = cr.tensor([[1.0, 2.0]]), cr.eye(2) * 2
    close(cr.func.functional_call(net, {"0.weight": eye}, x), x * 4)
    kept = net[1].weight.detach()
    close(cr.func.functional_call(net, {"0.weight": eye}, x, tie_weights=False), x * 2 @ kept.T, 1e-6)
    with pytest.raises(RuntimeError, match="Missing"):
        cr.func.functional_call(net, {"0.weight": eye}, x, tie_weights=False, strict=True)
    with pytest.raises(ValueError, match="multiple values"):
        cr.func.functional_call(net, {"0.weight": eye, "1.weight": eye * 1}, x)
    with pytest.warns(FutureWarning, match="torch.func.functional_call"):
        close(nn.utils.stateless.functional_call(net, {"0.weight": eye}, x), x * 4)


def test_convolution_weights_change_their_order_of_memory():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 3, 3))
    before = copy.deepcopy(net.state_dict())
    assert nn.utils.convert_conv2d_weight_memory_format(net, cr.channels_last) is net
    assert net[0].weight.is_contiguous(memory_format=cr.channels_last)
    for key, value in net.state_dict().items():
        close(value, before[key])
    cube = nn.utils.convert_conv3d_weight_memory_format(nn.Conv3d(2, 2, 3), cr.channels_last_3d)
    assert cube.weight.is_contiguous(memory_format=cr.channels_last_3d)


def test_paths_of_pytorch():
    from chainrule.nn.utils.clip_grad import clip_grad_norm_
    from chainrule.nn.utils.convert_parameters import parameters_to_vector
    from chainrule.nn.utils.fusion import fuse_conv_bn_eval

    assert clip_grad_norm_ is nn.utils.clip_grad_norm_
    assert parameters_to_vector is nn.utils.parameters_to_vector
    assert fuse_conv_bn_eval is nn.utils.fuse_conv_bn_eval
    with pytest.warns(FutureWarning, match="clip_grad_norm_"):
        nn.utils.clip_grad_norm([cr.nn.Parameter(cr.ones(1))], 1.0)


@pytest.mark.parametrize(
    "change",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        *[lambda layer, kind=kind: parametrizations.orthogonal(layer, orthogonal_map=kind) for kind in ORTHOGONAL],
    ],
    ids=["weight_norm", "spectral_norm", *ORTHOGONAL],
)
def test_parametrisations_are_differentiable_twice(change):
    cr.manual_seed(0)
    layer = change(nn.Linear(3, 3)).double().eval()
    x = cr.randn(2, 3, dtype=cr.float64)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def forward(*values):
        return cr.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert gradcheck(forward, list(parameters))
    assert gradgradcheck(forward, list(parameters))
