"""What programs of science, probability, geometry and graphs rely on: each test is a fault that one of them showed."""

import numpy as np
import pytest

import chainrule as cr


def second_walk(f):
    """The gradient after two walks through f(x), each of which frees what it can."""
    x = cr.arange(12.0).reshape(4, 3).requires_grad_()
    y = f(x)
    y.sum().backward()
    y.sum().backward()
    return x.grad


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.reshape(-1).view(2, 6).flatten(),
        lambda x: x.t().unsqueeze(0).permute(2, 0, 1).squeeze(),
        lambda x: x[1:, 0].unbind(0)[1],
        lambda x: cr.cat([x.expand(2, 4, 3), cr.stack([x, x])]).sum(1).mean(),
        lambda x: x.split(2)[1].chunk(2)[0].flip(0).roll(1, 0).cumsum(0),
        lambda x: cr.nn.functional.pad(x.tril().repeat(2, 1), (1, 1)).to(cr.float64).diff(dim=0),
    ],
)
def test_what_keeps_no_array_is_walked_again(f):
    x = cr.arange(12.0).reshape(4, 3).requires_grad_()
    (once,) = cr.autograd.grad(f(x).sum(), x)
    assert np.array_equal(second_walk(f).numpy(), 2 * once.numpy())


@pytest.mark.parametrize("f", [lambda x: x * x, lambda x: x.exp(), lambda x: x[[0, 1]], lambda x: x.max(0)[0]])
def test_arrays_that_were_kept_are_freed_by_the_first_walk(f):
    with pytest.raises(RuntimeError, match="second time"):
        second_walk(f)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_function_is_walked_again_unless_it_saved_tensors(keeps):
    class Reversed(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.factor = factor
            if keeps:
                ctx.save_for_backward(x)
            return x.view_as(x)

        @staticmethod
        def backward(ctx, g):
            return -ctx.factor * g, None

    def f(x):
        return Reversed.apply(x, 0.5)

    if keeps:
        with pytest.raises(RuntimeError, match="second time"):
            second_walk(f)
    else:
        assert second_walk(f).tolist() == [[-1.0] * 3] * 4


def test_random_numbers_give_gradients_of_zero_to_what_they_were_drawn_from():
    m, s = cr.zeros(3, requires_grad=True), cr.ones(2, 3, dtype=cr.float64, requires_grad=True)
    for drawn in (cr.normal(m, s), cr.normal(m, 1.0), cr.bernoulli(m), m.bernoulli(), cr.poisson(m), cr.normal(0.0, s)):
        assert drawn.requires_grad
        for leaf, g in zip((m, s), cr.autograd.grad(drawn.sum(), (m, s), allow_unused=True)):
            assert g is None or (g.shape == leaf.shape and g.dtype == leaf.dtype and not g.any())
    for draw in (cr.normal, cr.bernoulli):
        with pytest.raises(RuntimeError, match="automatic differentiation"):
            draw(m, out=cr.empty(3))
    with cr.no_grad():
        assert not cr.normal(m, s).requires_grad
        assert not cr.normal(m, out=cr.empty(3)).requires_grad
    assert not cr.normal(m.detach(), 1.0).requires_grad


def test_the_prototype_of_vmap():
    from chainrule._vmap_internals import _vmap

    x, unused = cr.tensor([1.0, 2.0], requires_grad=True), cr.ones(2, requires_grad=True)
    y = (x**3).sum()
    (g,) = cr.autograd.grad(y, x, create_graph=True)
    rows = _vmap(lambda v: cr.autograd.grad(g, x, v, retain_graph=True)[0])(cr.eye(2))
    assert rows.tolist() == [[6.0, 0.0], [0.0, 12.0]]
    both = _vmap(
        lambda v: cr.autograd.grad(g, (x, unused), v, retain_graph=True, allow_unused=True),
        allow_none_pass_through=True,
    )(cr.eye(2))
    assert both[0].tolist() == rows.tolist()
    assert both[1] is None
    assert _vmap(lambda v: None, allow_none_pass_through=True)(cr.eye(2)) is None


def test_the_line_search_under_its_older_names():
    from chainrule.optim.lbfgs import _cubic_interpolate, _strong_wolfe

    def objective(x, t, d):
        y = (x + t * d).detach().requires_grad_()
        loss = (y**4).sum() - y.sum()
        loss.backward()
        return float(loss), y.grad

    x = cr.tensor([2.0, -1.0], dtype=cr.float64)
    f, g = objective(x, 0.0, x)
    loss, gradient, t, calls = _strong_wolfe(objective, x, 1.0, -g, f, g, g.dot(-g))
    assert loss <= f - 1e-4 * t * float(g.dot(g))
    assert abs(float(gradient.dot(-g))) <= 0.9 * float(g.dot(g))
    assert loss == pytest.approx(objective(x, t, -g)[0])
    assert calls > 1
    # x³ - x between 0 and 1 has its minimum at 1/√3
    assert _cubic_interpolate(0.0, 0.0, -1.0, 1.0, 0.0, 2.0) == pytest.approx(3**-0.5)
    assert _cubic_interpolate(0.0, 0.0, -1.0, 1.0, cr.tensor(0.0), cr.tensor(2.0), bounds=(0.0, 0.3)) == 0.3


def test_a_basis_for_several_tensors():
    from chainrule.autograd.functional import _construct_standard_basis_for

    first, second = _construct_standard_basis_for((cr.zeros(2, 1), cr.zeros(1, dtype=cr.float64)), (2, 1))
    assert first.tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    assert second.tolist() == [[0.0], [0.0], [1.0]]
    assert second.dtype is cr.float64


def test_helpers_of_functional():
    from chainrule.autograd.functional import _as_tuple, _grad_postprocess, _grad_preprocess, _tuple_postprocess

    x = cr.ones(2, requires_grad=True)
    y = 2 * x
    assert _as_tuple(y) == (False, (y,))
    assert _as_tuple((x, y))[0]
    with pytest.raises(TypeError, match="inputs of jacobian"):
        _as_tuple([x], "inputs", "jacobian")
    inside, outside = (_grad_preprocess((y,), kept, True)[0] for kept in (True, False))
    assert not inside.is_leaf
    assert outside.is_leaf
    assert outside.requires_grad
    assert not _grad_postprocess(((y,),), False)[0][0].requires_grad
    assert _grad_postprocess((y,), True)[0] is y
    assert _tuple_postprocess((y,), False) is y
    assert _tuple_postprocess(((x,), (y,)), (True, False)) == (x, y)
    assert _tuple_postprocess(((x, y),), (False, True)) == (x, y)


A = cr.arange(9.0).reshape(3, 3) - 4 + cr.eye(3)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("angle", (A,)),
        ("chain_matmul", (A, A)),
        ("clamp_max", (A, 1.0)),
        ("clamp_min", (A, 1.0)),
        ("diff", (A,)),
        ("frexp", (A,)),
        ("histogram", (A, 3)),
        ("lu_unpack", tuple(cr.linalg.lu_factor(A))),
        ("msort", (A,)),
        ("narrow_copy", (A, 0, 1, 1)),
        ("norm", (A, 2, -1)),
        ("norm", (A, "nuc")),
        ("qr", (A,)),
        ("renorm", (A, 2, 0, 1.0)),
        ("tensordot", (A, A, 1)),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_out_takes_results(name, args):
    expected = getattr(cr, name)(*args)
    several = isinstance(expected, tuple)
    targets = [cr.empty_like(x) for x in (expected if several else (expected,))]
    result = getattr(cr, name)(*args, out=tuple(targets) if several else targets[0])
    for found, target, wanted in zip(result if several else (result,), targets, expected if several else (expected,)):
        assert found is target
        assert np.array_equal(target.numpy(), wanted.numpy())


def test_operators_of_the_dispatcher():
    aten, x = cr.ops.aten, cr.arange(12.0).reshape(3, 4)
    assert aten.clone.default is cr.ops.aten.clone.default
    assert {aten.add.Tensor: 1}[aten.add.Tensor] == 1
    assert str(aten.add.Tensor) == "aten.add.Tensor"
    assert repr(aten.clone) == "<OpOverloadPacket(op='aten.clone')>"
    assert aten.add.Tensor.name() == "aten::add.Tensor"
    assert aten.clone.default.name() == "aten::clone"
    assert aten.clone.default.overloadpacket is aten.clone
    assert aten.add.Tensor(x, x, alpha=2).tolist() == (3 * x).tolist()
    assert aten.relu.default(x - 5)[0, 0] == 0
    assert aten.add_.Tensor(x.clone(), 1)[0, 0] == 1
    assert aten.slice.Tensor(x, -1, 1, 2**63 - 1, 2).tolist() == x[:, 1::2].tolist()
    assert aten.index.Tensor(x, [None, cr.tensor([0, 2])]).tolist() == x[:, [0, 2]].tolist()
    assert aten.sort.stable(x, stable=True, dim=0, descending=True)[1][0, 0] == 2
    assert aten._to_copy.default(x, dtype=cr.float64).dtype is cr.float64
    assert aten._to_copy.default(x).data_ptr() != x.data_ptr()
    assert aten.alias.default(x).data_ptr() == x.data_ptr()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aten.nothing
    with pytest.raises(AttributeError):
        _ = aten.Linear


def test_text_of_numbers_and_options():
    from chainrule._tensor_str import PRINT_OPTS, _tensor_str

    assert _tensor_str(cr.tensor([[1.0, 2.5], [3.0, 4.0]]), 3) == "[[1.0000, 2.5000],\n    [3.0000, 4.0000]]"
    assert _tensor_str(cr.empty(0), 0) == "[]"
    before = PRINT_OPTS.precision
    try:
        PRINT_OPTS.precision = 2
        assert cr.get_printoptions()["precision"] == 2
        assert _tensor_str(cr.tensor([0.5]), 0) == "[0.50]"
    finally:
        PRINT_OPTS.precision = before
    assert not hasattr(PRINT_OPTS, "nothing")


def test_calls_between_processes_are_not_available():
    from chainrule.distributed import rpc

    assert not rpc.is_available()


def test_modules_of_several_sources_show_their_names():
    from chainrule.nn.modules import activation

    classes = {c.__name__ for c in vars(activation).values() if isinstance(c, type) and issubclass(c, cr.nn.Module)}
    assert {"ReLU", "Tanh", "MultiheadAttention", "Softmax"} <= classes
    assert cr.nn.modules.__dict__["Conv2d"] is cr.nn.Conv2d
    assert "Linear" in dir(cr.nn.modules)


def test_positions_of_sparse_matrices_in_both_forms():
    rows, columns = cr.tensor([0, 0, 2]), cr.tensor([0, 1, 2])
    crow = cr._convert_indices_from_coo_to_csr(rows, 4)
    assert crow.tolist() == [0, 2, 2, 3, 3]
    assert cr._convert_indices_from_coo_to_csr(rows, 4, out_int32=True).dtype is cr.int32
    assert cr._convert_indices_from_csr_to_coo(crow, columns).tolist() == [[0, 0, 2], [0, 1, 2]]
    turned = cr._convert_indices_from_csr_to_coo(crow, columns, out_int32=True, transpose=True)
    assert turned.tolist() == [[0, 1, 2], [0, 0, 2]]
    assert turned.dtype is cr.int32
    a = cr.sparse_coo_tensor(cr.stack([rows, columns]), cr.tensor([1.0, 2.0, 3.0]), (4, 3))
    assert not a.is_coalesced()
    assert a._coalesced_(True).is_coalesced()
    assert a.mT.to_dense().tolist() == a.to_dense().T.tolist()


def test_named_tuples_as_nodes_by_hand():
    from typing import NamedTuple

    from chainrule.utils import _pytree as tree

    class State(NamedTuple):
        v: float
        i: float

    children, context = tree._namedtuple_flatten(State(1.0, 2.0))
    assert tree._namedtuple_unflatten([2 * x for x in children], context) == State(2.0, 4.0)
    assert tree._tuple_unflatten(*tree._tuple_flatten((1, 2))) == (1, 2)
    assert tree._list_unflatten(*tree._list_flatten([1, 2])) == [1, 2]


P = cr.tensor([2.0], requires_grad=True)


@pytest.mark.parametrize("place", [lambda m: m[0].__setitem__(1, P), lambda m: m.__setitem__((0, 1), P)])
def test_a_matrix_is_put_together_from_parameters_of_one_element(place):
    m = cr.ones(2, 2)
    place(m)
    (g,) = cr.autograd.grad((m**3).sum(), P, create_graph=True)
    assert g.tolist() == [12.0]
    assert cr.autograd.grad(g.sum(), P)[0].tolist() == [12.0]


def test_a_block_in_which_a_module_has_other_parameters():
    from chainrule.nn.utils import stateless

    net = cr.nn.Sequential(cr.nn.Linear(2, 2), cr.nn.Linear(2, 1, bias=False))
    own, w = net[1].weight, cr.tensor([[1.0, -1.0]], requires_grad=True)
    with stateless._reparametrize_module(net, {"1.weight": w}):
        assert net[1].weight is w
        out = net(cr.ones(3, 2)).sum()
    assert net[1].weight is own
    assert cr.autograd.grad(out, w)[0].shape == (1, 2)
    with pytest.raises(RuntimeError), stateless._reparametrize_module(net, {"1.weight": w}, strict=True):
        pass
    assert net[1].weight is own


def test_a_value_of_a_compiled_graph_is_a_name_for_annotations():
    from chainrule._C import Value

    assert not isinstance(cr.ones(1), Value)


def test_the_type_of_tensors_is_the_default_dtype():
    mask = cr.ones(2) > 0
    assert mask.type(cr.Tensor).dtype is cr.float32
    cr.set_default_dtype(cr.float64)
    try:
        assert mask.type(cr.Tensor).dtype is cr.float64
        assert mask.type("torch.Tensor").dtype is cr.float64
    finally:
        cr.set_default_dtype(cr.float32)


NAMES = "add_hook assigned cast check_name declare declared declared_as entries get has_extra_state hooks name named"


@pytest.mark.parametrize("name", [f"_{name}" for name in NAMES.split()])
def test_private_names_are_the_programs(name):
    """A subclass may call its own attributes and methods what it likes."""

    class Model(cr.nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, name, ["its own"])
            self.layer = cr.nn.Linear(2, 2)
            self.scale = cr.nn.Parameter(cr.ones(2))
            self.register_buffer("count", cr.zeros(1))

        def forward(self, x):
            return self.layer(x) * self.scale

    model, seen = Model().double(), []
    handle = model.register_forward_hook(lambda *args: seen.append(args))
    model(cr.ones(1, 2, dtype=cr.float64)).sum().backward()
    handle.remove()
    assert len(seen) == 1
    model.load_state_dict(model.state_dict())
    assert [n for n, _ in model.named_parameters()] == ["scale", "layer.weight", "layer.bias"]
    assert model.get_parameter("layer.weight").grad is not None
    assert getattr(model, name) == ["its own"]


OPTIMIZERS = "add_hook all apart hooks inside plan plans stepped"


@pytest.mark.parametrize("name", [f"_{name}" for name in OPTIMIZERS.split()])
@pytest.mark.parametrize("base", [cr.optim.Optimizer, cr.optim.Adam])
def test_private_names_of_optimizers_are_the_programs(base, name):
    class Own(base):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.5}) if base is cr.optim.Optimizer else super().__init__(params, lr=0.5)
            setattr(self, name, ["its own"])

        def step(self, closure=None):
            if base is cr.optim.Adam:
                super().step(closure)
            for p in self.param_groups[0]["params"]:
                p.data.add_(p.grad, alpha=-self.param_groups[0]["lr"])

    w = cr.ones(2, requires_grad=True)
    own, seen = Own([w]), []
    handle = own.register_step_post_hook(lambda *args: seen.append(args))
    schedule = cr.optim.lr_scheduler.StepLR(own, 1)
    (w**2).sum().backward()
    own.step()
    schedule.step()
    handle.remove()
    own.load_state_dict(own.state_dict())
    assert len(seen) == 1
    assert w.max() < 1
    assert getattr(own, name) == ["its own"]
