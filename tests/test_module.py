"""Module, containers, parameters, hooks, init and nn.utils."""

import copy
import operator
import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.shift = nn.Parameter(cr.zeros(2))
        self.second = nn.Sequential(nn.ReLU(), nn.Linear(4, 2))
        self.register_buffer("count", cr.tensor(0))
        self.register_buffer("scratch", cr.zeros(1), persistent=False)

    def forward(self, x):
        return self.second(self.first(x)) + self.shift


class Bare(nn.Module):
    """No call of super().__init__(), and none of an __init__ at all."""

    def __init__(self):
        self.register_buffer("b", cr.ones(1))
        self.weight = nn.Parameter(cr.ones(2))
        self.inner = nn.Identity()

    def forward(self, x):
        return self.inner(x) * self.weight + self.b


# -- attributes -------------------------------------------------------------------------------------------------------


def test_names_in_order_of_definition():
    net = Net()
    names = ["shift", "first.weight", "first.bias", "second.1.weight", "second.1.bias"]
    assert [n for n, _ in net.named_parameters()] == names
    assert [n for n, _ in net.named_buffers()] == ["count", "scratch"]
    assert list(net.state_dict()) == ["shift", "count", *names[1:]]
    assert [n for n, _ in net.named_modules()] == ["", "first", "second", "second.0", "second.1"]
    assert [n for n, _ in net.named_children()] == ["first", "second"]
    assert [n for n, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.shift"]


def test_works_without_super_init():
    module = Bare()
    assert [n for n, _ in module.named_parameters()] == ["weight"]
    assert module.training
    assert module(cr.ones(2)).tolist() == [2, 2]
    assert not module.eval().inner.training
    assert list(copy.deepcopy(module).state_dict()) == ["weight", "b"]
    module.register_forward_hook(lambda m, args, out: out * 0)
    assert module(cr.ones(2)).tolist() == [0, 0]


def test_shared_modules_and_parameters_count_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    net.append(net[0])
    assert len(list(net.parameters())) == 3
    assert len(list(net.modules())) == 3
    assert len(list(net.named_parameters(remove_duplicate=False))) == 6
    assert len(list(net.state_dict())) == 6


def test_what_is_assigned_to_a_registered_name():
    net = Net()
    old = net.first.weight
    net.first.weight = None
    assert net.first.weight is None
    assert [n for n, _ in net.first.named_parameters()] == ["bias"]
    with pytest.raises(TypeError, match="cannot assign 'Tensor' as parameter 'weight'"):
        net.first.weight = cr.ones(4, 3)
    net.first.weight = old
    assert [n for n, _ in net.first.named_parameters()] == ["weight", "bias"]
    with pytest.raises(TypeError, match="as child module 'first'"):
        net.first = 3
    with pytest.raises(TypeError, match="as buffer 'count'"):
        net.count = 3
    net.count = cr.tensor(4)
    assert net.state_dict()["count"].item() == 4
    net.count = None
    assert "count" not in net.state_dict()
    net.plain = 3
    net.plain = nn.Parameter(cr.ones(1))
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["shift", "plain"]
    del net.plain
    assert not hasattr(net, "plain")


def test_a_name_that_becomes_a_module_later_comes_last():
    net = nn.Module()
    net.a = None
    net.b = nn.Linear(1, 1)
    net.a = nn.Linear(1, 1)
    assert [n for n, _ in net.named_children()] == ["b", "a"]
    net.register_parameter("late", None)
    net.early = nn.Parameter(cr.ones(1))
    net.late = nn.Parameter(cr.ones(1))
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["late", "early"]


def test_registration_refuses_bad_names():
    net = Net()
    for name, error in (("a.b", KeyError), ("", KeyError), ("first", KeyError), ("forward", KeyError), (3, TypeError)):
        with pytest.raises(error):
            net.register_parameter(name, nn.Parameter(cr.ones(1)))
        with pytest.raises(error):
            net.register_buffer(name, cr.ones(1))
        if name != "first":
            with pytest.raises(error):
                net.add_module(name, nn.Identity())
    with pytest.raises(TypeError):
        net.register_parameter("p", cr.ones(1))
    with pytest.raises(TypeError):
        net.add_module("m", 3)
    p = nn.Parameter(cr.ones(1))
    p.node = (p * 2).node
    with pytest.raises(ValueError, match="non-leaf"):
        net.register_parameter("p", p)


def test_views_of_the_attributes():
    net = Net()
    assert list(net._modules) == ["first", "second"]
    assert list(net._parameters) == ["shift"]
    assert set(net._buffers) == {"count", "scratch"}
    net._modules["first"] = nn.Identity()
    assert isinstance(net.first, nn.Identity)
    net._buffers["more"] = cr.ones(2)
    assert "more" in net.state_dict()
    del net._parameters["shift"]
    assert not hasattr(net, "shift")


def test_getters():
    net = Net()
    assert net.get_submodule("second.1") is net.second[1]
    assert net.get_submodule("") is net
    assert net.get_parameter("second.1.bias") is net.second[1].bias
    assert net.get_buffer("count") is net.count
    for get, path in ((net.get_submodule, "nothing"), (net.get_submodule, "shift"), (net.get_parameter, "count")):
        with pytest.raises(AttributeError):
            get(path)
    net.set_submodule("second.0", nn.Tanh())
    assert isinstance(net.second[0], nn.Tanh)


def test_buffer_class():
    net = nn.Module()
    net.a = nn.Buffer(cr.ones(2))
    net.b = nn.Buffer(cr.ones(2), persistent=False)
    assert [n for n, _ in net.named_buffers()] == ["a", "b"]
    assert list(net.state_dict()) == ["a"]
    assert net.double().a.dtype == cr.float64
    assert isinstance(net.a, nn.Buffer)
    assert [n for n, _ in copy.deepcopy(net).named_buffers()] == ["a", "b"]


# -- parameters -------------------------------------------------------------------------------------------------------


def test_parameter():
    data = cr.ones(2)
    p = nn.Parameter(data)
    assert p.requires_grad
    assert p.is_leaf
    assert isinstance(p, cr.Tensor)
    assert p.array is data.array
    assert repr(p).startswith("Parameter containing:\ntensor([1., 1.]")
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert type(p + 1) is cr.Tensor
    for other in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert type(other) is nn.Parameter
        assert other.requires_grad
        assert other.array is not p.array
        assert other.tolist() == [1, 1]
    with pytest.raises(RuntimeError):
        nn.Parameter(cr.tensor([1, 2]))
    assert not nn.Parameter(cr.tensor([1, 2]), requires_grad=False).requires_grad


def test_lazy_parameters_stay_the_same_objects():
    layer = nn.LazyLinear(3)
    before = list(layer.parameters())
    assert repr(before[0]) == "<UninitializedParameter>"
    layer(cr.ones(2, 5))
    assert type(layer) is nn.Linear
    assert all(a is b for a, b in zip(before, layer.parameters(), strict=True))
    assert type(before[0]) is nn.Parameter
    assert before[0].shape == (3, 5)
    loaded = nn.LazyLinear(3)
    loaded.load_state_dict(layer.state_dict())
    assert loaded(cr.ones(2, 5)).shape == (2, 3)


# -- state ------------------------------------------------------------------------------------------------------------


def test_state_dict_shares_memory_and_loads_into_place():
    net, other = Net(), Net()
    state = net.state_dict()
    assert state["shift"].array is net.shift.array
    assert not state["shift"].requires_grad
    assert net.state_dict(keep_vars=True)["shift"] is net.shift
    weight = other.first.weight
    assert str(other.load_state_dict(state)) == "<All keys matched successfully>"
    assert other.first.weight is weight
    assert weight.tolist() == net.first.weight.tolist()
    assert list(net.state_dict(prefix="net.")) == [f"net.{k}" for k in state]
    with cr.no_grad():
        net.shift.fill_(7)
    assert state["shift"].tolist() == [7, 7]


def test_load_state_dict_says_what_is_wrong():
    net = Net()
    state = net.state_dict()
    del state["shift"], state["second.1.bias"]
    state["extra"] = state["first.weights"] = cr.ones(1)
    state["first.weight"] = cr.ones(3, 4)
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Net:\n"
        '\tMissing key(s) in state_dict: "shift", "second.1.bias". \n'
        '\tUnexpected key(s) in state_dict: "extra", "first.weights". \n'
        "\tsize mismatch for first.weight: copying a param with shape chainrule.Size([3, 4]) from checkpoint, the "
        "shape in current model is chainrule.Size([4, 3])."
    )
    del state["first.weight"]
    report = net.load_state_dict(state, strict=False)
    assert report.missing_keys == ["shift", "first.weight", "second.1.bias"]
    assert report.unexpected_keys == ["extra", "first.weights"]
    with pytest.raises(TypeError, match="dict-like"):
        net.load_state_dict([1])
    with pytest.raises(RuntimeError, match="expected a Tensor"):
        net.load_state_dict({**net.state_dict(), "shift": [0.0, 0.0]})


def test_load_state_dict_assign():
    net = Net()
    state = {k: v.double() if v.is_floating_point() else v for k, v in Net().state_dict().items()}
    net.load_state_dict(state, assign=True)
    assert net.first.weight.dtype == cr.float64
    assert isinstance(net.first.weight, nn.Parameter)
    assert net.first.weight.array is state["first.weight"].array


def test_extra_state_and_hooks_of_state_dict():
    class Counting(nn.Linear):
        calls = 0

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    net = nn.Sequential(Counting(2, 2))
    net[0].calls = 5
    state = net.state_dict()
    assert state["0._extra_state"] == {"calls": 5}
    other = nn.Sequential(Counting(2, 2))
    other.load_state_dict(state)
    assert other[0].calls == 5
    with pytest.raises(RuntimeError, match=r'Missing key.*"0._extra_state"'):
        other.load_state_dict({k: v for k, v in state.items() if "extra" not in k})

    seen = []
    net.register_state_dict_pre_hook(lambda module, prefix, keep: seen.append(("pre", prefix, keep)))
    net.register_state_dict_post_hook(lambda module, state, prefix, metadata: seen.append(("post", len(state))))
    net.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.clear())

    def rename(module, state, prefix, metadata, strict, missing, unexpected, errors):
        assert module is net[0]
        state[prefix + "weight"] = state.pop(prefix + "w")

    net[0].register_load_state_dict_pre_hook(rename)
    assert len(net.state_dict()) == 3
    assert seen == [("pre", "", False), ("post", 3)]
    renamed = {"0.w": state["0.weight"], "0._extra_state": {"calls": 1}}  # no bias: the post hook forgives it
    assert net.load_state_dict(renamed).missing_keys == []


# -- modes and dtypes -------------------------------------------------------------------------------------------------


def test_modes():
    net = Net()
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    with pytest.raises(ValueError, match="boolean"):
        net.train(1)
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Net"]


def test_casts_keep_the_parameter_objects():
    net = Net()
    before = list(net.parameters())
    net(cr.ones(1, 3)).sum().backward()
    assert net.double() is net
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert {p.dtype for p in before} == {p.grad.dtype for p in before} == {cr.float64}
    assert net.count.dtype == cr.int64
    for cast, dtype in ((net.half, cr.float16), (net.float, cr.float32)):
        assert cast().shift.dtype == dtype
    assert net.to(cr.float64).to("cpu").shift.dtype == cr.float64
    assert net.to(cr.ones(1)).shift.dtype == cr.float32
    assert net.type(cr.float64).count.dtype == cr.float64
    with pytest.raises(TypeError, match="floating point"):
        net.to(cr.int64)
    with pytest.raises(TypeError):
        net.to(nonsense=1)


def test_zero_grad():
    net = Net()
    net(cr.ones(1, 3)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.shift.grad.tolist() == [0, 0]
    net.zero_grad()
    assert net.shift.grad is None


def test_copies_are_independent():
    net = Net()
    net.register_forward_hook(double_output)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        x = cr.ones(1, 3)
        assert other(x).tolist() == net(x).tolist()
        with cr.no_grad():
            other.shift.fill_(9)
        assert net.shift.tolist() == [0, 0]


def double_output(module, args, out):
    return out * 2


# -- errors -----------------------------------------------------------------------------------------------------------


def test_errors_say_where_in_the_module():
    net = nn.Sequential(OrderedDict(body=Net(), tail=nn.Identity()))
    with pytest.raises(Exception) as caught:
        net(cr.ones(1, 5))
    notes = [n for n in caught.value.__notes__ if n.startswith("in Sequential")]
    assert notes == ["in Sequential, at body.first (Linear)"]
    with pytest.raises(NotImplementedError, match=r'Module \[Module\] is missing the required "forward" function'):
        nn.Module()(1)
    with pytest.raises(TypeError):
        nn.Module(3)


# -- hooks ------------------------------------------------------------------------------------------------------------


def test_forward_hooks():
    layer = nn.Linear(2, 2)
    x, order = cr.ones(1, 2), []
    plain = layer(x)
    layer.register_forward_pre_hook(lambda m, args: order.append("pre"))
    layer.register_forward_pre_hook(lambda m, args: (args[0] * 0,), prepend=True)
    layer.register_forward_hook(lambda m, args, out: order.append(args[0].tolist()))
    handle = layer.register_forward_hook(lambda m, args, out: out + 1)
    np.testing.assert_allclose(layer(x).detach().numpy(), layer.bias.detach().numpy()[None] + 1)
    assert order == ["pre", [[0, 0]]]
    handle.remove()
    assert layer(x).tolist() == [layer.bias.tolist()]
    assert plain.tolist() != layer(x).tolist()
    with pytest.raises(TypeError):
        layer.register_forward_hook(3)


def test_hooks_with_kwargs_and_always_call():
    class Scale(nn.Module):
        def forward(self, x, factor=1):
            if factor == 0:
                raise ValueError("zero")
            return x * factor

    layer, seen = Scale(), []
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": kwargs["factor"] + 1}), with_kwargs=True)
    layer.register_forward_hook(
        lambda m, args, kwargs, out: seen.append((kwargs, out)), with_kwargs=True, always_call=True
    )
    assert layer(cr.ones(1), factor=2).tolist() == [3]
    assert seen[0][0] == {"factor": 3}
    with pytest.raises(ValueError, match="zero"):
        layer(cr.ones(1), factor=-1)
    assert seen[1] == ({"factor": -1}, None)


def test_full_backward_hooks():
    layer, seen = nn.Linear(2, 3), []
    x = cr.ones(4, 2, requires_grad=True)
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
    handle = layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,))
    layer(x).sum().backward()
    (grad_input,), (grad_output,) = seen[0]
    assert grad_output.tolist() == [[2.0] * 3] * 4
    np.testing.assert_allclose(
        grad_input.numpy(), 2 * layer.weight.detach().numpy().sum(0) * np.ones((4, 1)), rtol=1e-6
    )
    np.testing.assert_allclose(x.grad.numpy(), 10 * grad_input.numpy(), rtol=1e-6)
    assert layer.bias.grad.tolist() == [8, 8, 8]
    handle.remove()
    layer(cr.ones(4, 2)).sum().backward()
    assert seen[1][0] == (None,)


def test_backward_hooks_with_several_outputs_and_second_order():
    class Two(nn.Module):
        def forward(self, x, y):
            return x * y, {"sum": x + y}["sum"]

    layer, seen = Two(), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    x, y = cr.tensor(2.0, requires_grad=True), cr.tensor(3.0, requires_grad=True)
    product, _ = layer(x, y)
    (gx,) = cr.autograd.grad(product**2, x, create_graph=True)
    assert gx.item() == 36
    assert [g.item() for g in seen[0][0]] == [36, 24]
    assert cr.autograd.grad(gx, x)[0].item() == 18


# -- containers -------------------------------------------------------------------------------------------------------


def test_an_empty_sequential_gives_its_input_back():
    x = cr.randn(2)
    assert nn.Sequential()(x) is x
    assert nn.Sequential(nn.Sequential(), nn.ReLU())(x).min() >= 0


def test_sequential():
    a, b, c, d = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1), nn.Tanh()
    net = nn.Sequential(a, b, c)
    x = cr.ones(1, 2)
    assert net(x).tolist() == c(b(a(x))).tolist()
    assert (len(net), net[0], net[-1], list(net)) == (3, a, c, [a, b, c])
    assert list(net[1:]._modules) == ["1", "2"]
    assert list(net.append(d)) == [a, b, c, d]
    assert list(net.insert(1, d)) == [a, d, b, c, d]
    assert net.pop(1) is d
    del net[-1]
    assert list(net._modules) == ["0", "1", "2"]
    net[1] = d
    assert list(net) == [a, d, c]
    assert list(net + nn.Sequential(b)) == [a, d, c, b]
    assert list(nn.Sequential(b) * 2) == [b, b]
    net += nn.Sequential(b)
    assert len(net.extend([d])) == 5
    named = nn.Sequential(OrderedDict(one=a, two=b))
    assert list(named.state_dict()) == ["one.weight", "one.bias"]
    assert named.two is b
    del named[0]
    assert list(named.named_children()) == [("0", b)]  # numbered from then on, as in PyTorch
    for index in (3, -4):
        with pytest.raises(IndexError):
            nn.Sequential(a, b, c)[index]


def test_module_list_and_dict():
    items = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    assert list(items.state_dict())[:2] == ["0.weight", "0.bias"]
    items.append(nn.ReLU()).extend([nn.Tanh()])
    items.insert(1, nn.Identity())
    assert [type(m).__name__ for m in items] == ["Linear", "Identity", "Linear", "Linear", "ReLU", "Tanh"]
    assert isinstance(items[2:4], nn.ModuleList)
    assert type(items.pop(-1)) is nn.Tanh
    del items[0:2]
    assert [type(m).__name__ for m in [*items, nn.Tanh()]] == ["Linear", "Linear", "ReLU", "Tanh"]
    assert (
        repr(nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])) == "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n)"
    )

    named = nn.ModuleDict({"fc": nn.Linear(1, 1), "act": nn.ReLU()})
    named["more"] = nn.Tanh()
    assert list(named) == list(named.keys()) == ["fc", "act", "more"]
    assert "fc" in named
    assert len(named) == 3
    assert type(named.pop("act")) is nn.ReLU
    named.update([("x", nn.ReLU())])
    assert [k for k, _ in named.items()] == ["fc", "more", "x"]
    with pytest.raises(KeyError):
        named["keys"] = nn.ReLU()
    with pytest.raises(KeyError):
        named["nothing"]
    named.clear()
    assert not len(named)


def test_parameter_containers():
    row = nn.ParameterList([cr.ones(2), nn.Parameter(cr.zeros(1))])
    row.append(cr.ones(3))
    row += [cr.ones(1)]
    assert len(row) == len(list(row.parameters())) == 4
    assert isinstance(row[0], nn.Parameter)
    assert len(row[1:]) == 3
    row[0] = cr.zeros(5)
    assert list(row.state_dict()["0"].shape) == [5]
    named = nn.ParameterDict({"a": cr.ones(2), "c": cr.ones(1)})
    assert list(named) == ["a", "c"]
    assert len(list(named.parameters())) == 2
    assert named.pop("c").tolist() == [1]
    assert "c" not in named
    with pytest.raises(KeyError, match="already exists"):
        named["values"] = cr.ones(1)
    assert list((named | nn.ParameterDict({"b": cr.ones(1)})).keys()) == ["a", "b"]
    for container in (row, named):
        with pytest.raises(RuntimeError, match="should not be called"):
            container(1)
        assert len(copy.deepcopy(container).state_dict()) == len(container)


def test_repr():
    assert repr(Net()) == (
        "Net(\n  (first): Linear(in_features=3, out_features=4, bias=True)\n  (second): Sequential(\n    (0): ReLU()\n"
        "    (1): Linear(in_features=4, out_features=2, bias=True)\n  )\n)"
    )


def test_functional_call():
    net = Net()
    x, zero = cr.ones(1, 3), {k: v * 0 for k, v in net.named_parameters()}
    assert cr.func.functional_call(net, zero, (x,)).tolist() == [[0, 0]]
    assert net.shift.requires_grad


# -- init -------------------------------------------------------------------------------------------------------------


def test_init_of_layers_is_torchs():
    cr.manual_seed(0)
    layer = nn.Linear(400, 300)
    bound = 1 / 20
    for p in (layer.weight, layer.bias):
        assert p.abs().max().item() <= bound
        assert p.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    conv = nn.Conv2d(16, 32, 5)
    assert conv.weight.abs().max().item() <= 1 / 20
    assert conv.weight.std().item() == pytest.approx(1 / 20 / 3**0.5, rel=0.1)


@pytest.mark.parametrize(
    ("fill", "mean", "std"),
    [
        (lambda t: nn.init.uniform_(t, -1, 3), 1, 4 / 12**0.5),
        (lambda t: nn.init.normal_(t, 1, 2), 1, 2),
        (lambda t: nn.init.xavier_uniform_(t, 2), 0, 2 * (2 / (300 + 200)) ** 0.5),
        (lambda t: nn.init.xavier_normal_(t), 0, (2 / (300 + 200)) ** 0.5),
        (lambda t: nn.init.kaiming_uniform_(t, nonlinearity="relu"), 0, (2 / 200) ** 0.5),
        (lambda t: nn.init.kaiming_normal_(t, 0.5, mode="fan_out"), 0, (2 / 1.25 / 300) ** 0.5),
        (lambda t: nn.init.trunc_normal_(t), 0, 0.8796),
        (lambda t: nn.init.ones_(t), 1, 0),
        (lambda t: nn.init.zeros_(t), 0, 0),
        (lambda t: nn.init.constant_(t, 3), 3, 0),
    ],
)
def test_init_statistics(fill, mean, std):
    cr.manual_seed(1)
    t = nn.Parameter(cr.empty(300, 200))
    assert fill(t) is t
    assert t.requires_grad
    assert t.mean().item() == pytest.approx(mean, abs=0.02)
    assert t.std().item() == pytest.approx(std, rel=0.03, abs=1e-6)


def test_init_structures():
    assert nn.init.eye_(cr.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    w = nn.init.dirac_(cr.empty(4, 2, 3, 3), groups=2)
    x = cr.randn(1, 4, 5, 5)
    np.testing.assert_allclose(nn.functional.conv2d(x, w, padding=1, groups=2).numpy(), x.numpy())
    for shape in ((5, 3), (3, 5), (4, 3, 2)):
        q = nn.init.orthogonal_(cr.empty(*shape, dtype=cr.float64), gain=2).reshape(shape[0], -1).numpy()
        gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)
    s = nn.init.sparse_(cr.empty(10, 6), sparsity=0.25, std=1)
    assert ((s == 0).sum(0) == 3).all()
    t = nn.init.trunc_normal_(cr.empty(1000), a=-0.5, b=0.7)
    assert -0.5 <= t.min().item() < -0.4
    assert 0.6 < t.max().item() <= 0.7


def test_init_errors():
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_uniform_(cr.empty(3))
    with pytest.raises(ValueError, match="not supported"):
        nn.init.kaiming_uniform_(cr.empty(3, 3), mode="fan")
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        nn.init.calculate_gain("sine")
    for fill in (nn.init.eye_, nn.init.dirac_, nn.init.orthogonal_):
        with pytest.raises(ValueError):
            fill(cr.empty(3))
    with pytest.warns(FutureWarning, match="nn.init.uniform_"):
        nn.init.uniform(cr.empty(3))
    with pytest.warns(UserWarning, match="2 std"):
        nn.init.trunc_normal_(cr.empty(3, dtype=cr.float64), mean=4.5)
    with pytest.warns(UserWarning, match="no-op"):
        nn.init.kaiming_uniform_(cr.empty(0, 3))


@pytest.mark.torch
def test_gains_are_torchs(torch):
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert nn.init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


# -- utils ------------------------------------------------------------------------------------------------------------


def with_gradients(*gradients):
    parameters = []
    for g in gradients:
        p = nn.Parameter(cr.zeros(len(g)))
        p.grad = cr.tensor(g)
        parameters.append(p)
    return [*parameters, nn.Parameter(cr.zeros(3))]


def test_clip_grad_norm():
    ps = with_gradients([3.0], [0.0, 4.0])
    assert nn.utils.clip_grad_norm_(ps, 10.0).item() == 5
    assert ps[0].grad.tolist() == [3]
    assert nn.utils.clip_grad_norm_(ps, 1.0).item() == 5
    np.testing.assert_allclose([ps[0].grad.item(), *ps[1].grad.tolist()], [0.6, 0, 0.8], rtol=1e-5)
    assert nn.utils.clip_grad_norm_(ps[1], 1.0, float("inf")).item() == pytest.approx(0.8)
    assert nn.utils.clip_grad_norm_(with_gradients([1.0, 1.0]), 9, 1).item() == 2
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0
    bad = with_gradients([float("nan")])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(bad, 1.0, error_if_nonfinite=True)


def test_clip_grad_value_and_vectors():
    ps = with_gradients([3.0, -9.0])
    nn.utils.clip_grad_value_(ps, 2)
    assert ps[0].grad.tolist() == [2, -2]
    net = Net()
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (2 + 12 + 4 + 8 + 2,)
    nn.utils.vector_to_parameters(cr.arange(28.0), net.parameters())
    assert net.shift.tolist() == [0, 1]
    assert net.first.weight[0].tolist() == [2, 3, 4]
    with pytest.raises(TypeError):
        nn.utils.vector_to_parameters([1.0], net.parameters())


def test_a_wrapper_hands_on_what_it_does_not_have():
    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__("inner"), name)

    net = Wrapper(nn.Linear(3, 2))
    assert (net.in_features, net.weight.shape, net.inner.out_features) == (3, (2, 3), 2)
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'absent'"):
        _ = net.absent
    assert not hasattr(nn.Linear(1, 1), "absent")


def test_a_property_says_what_it_misses():
    class Net(nn.Module):
        @property
        def broken(self):
            return self.nowhere

    with pytest.raises(AttributeError, match="nowhere"):
        _ = Net().broken


def test_modules_of_an_older_version_are_read():
    """Their private names had no `_cr_`; see CONTRIBUTING.md."""
    net, calls = nn.BatchNorm1d(3), []
    net.register_buffer("mask", cr.ones(3), persistent=False)
    net.register_forward_hook(lambda *args: calls.append(args))
    state = {name.replace("_cr_", "_"): value for name, value in vars(net).items() if name != "_cr_assigned"}
    back = nn.BatchNorm1d.__new__(nn.BatchNorm1d)
    back.__setstate__(state)
    assert list(back.state_dict()) == list(net.state_dict())
    assert [name for name, _ in back.named_buffers()] == [name for name, _ in net.named_buffers()]
    assert vars(back).keys() == vars(net).keys()
    back(cr.randn(4, 3))
    assert len(calls) == 1

    optimizer = cr.optim.SGD(net.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *args: calls.append(args))
    state = {name.replace("_cr_", "_"): value for name, value in vars(optimizer).items()}
    again = cr.optim.SGD.__new__(cr.optim.SGD)
    again.__setstate__(state)
    assert vars(again).keys() == vars(optimizer).keys()
    again.step()
    assert len(calls) == 2


def test_attributes_of_modules_are_found_the_fast_way_until_a_class_needs_more():
    """With a `__getattr__` Python finds them more slowly, and finds out much more slowly that one is missing."""
    program = """
import chainrule as cr, chainrule.models, chainrule.explain, chainrule.distributed
fast = lambda: "__getattr__" not in vars(cr.nn.Module)
class Net(cr.nn.Module):
    def forward(self, x): return x
assert fast()
class WithDevice(cr.nn.Module):
    @property
    def device(self): return next(self.parameters()).device
assert fast() and "__getattr__" in vars(WithDevice)
class Below(WithDevice): pass
assert fast()
class Wrapper(cr.nn.Module):
    def __getattr__(self, name): return super().__getattr__(name)
assert not fast()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "args"),
    [
        *[("Module", ()), ("Sequential", ()), ("ModuleList", ()), ("ModuleDict", ()), ("ParameterDict", ())],
        *[("Linear", (1, 1)), ("Conv2d", (1, 1, 1)), ("ConvTranspose2d", (1, 1, 1)), ("BatchNorm2d", (1,))],
        *[("LSTM", (1, 1)), ("GRUCell", (1, 1)), ("MaxPool2d", (2,)), ("AvgPool2d", (2,)), ("Embedding", (1, 1))],
        *[("TransformerEncoderLayer", (4, 2)), ("MultiheadAttention", (4, 2)), ("CrossEntropyLoss", ())],
        *[("optim.SGD", ()), ("optim.Adam", ()), ("optim.lr_scheduler.ExponentialLR", (0.9,))],
        *[("optim.lr_scheduler.ReduceLROnPlateau", ()), ("optim.lr_scheduler.CosineAnnealingLR", (3,))],
    ],
)
def test_private_names_of_what_programs_derive_from_are_pytorchs(torch, name, args):
    """All others are the program's: a subclass may have an attribute `_hooks`."""

    def private(lib):
        kind = operator.attrgetter(name if "." in name else f"nn.{name}")(lib)
        given = args
        if "." in name:
            given = ([lib.nn.Parameter(lib.ones(1))],) if "lr_" not in name else (private_optimizer(lib), *args)
        return {n for n in dir(kind(*given)) if n.startswith("_") and not n.startswith(("__", "_cr_"))}

    def private_optimizer(lib):
        return lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=0.1)

    assert private(cr) - private(torch) <= {"_step_supports_amp_scaling"}  # of PyTorch's fused optimizers
