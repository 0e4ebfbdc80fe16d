"""Hooks on all modules, hooks of the state dict, and the rest of Module's machinery, as PyTorch has it."""

import copy
import inspect

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.hooks import Hooks
from chainrule.nn.modules import module as machinery


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 1)

    def forward(self, x):
        return self.second(self.first(x).tanh())


def test_forward_hooks_on_all_modules_run_before_the_modules_own():
    seen = []
    net = Net()
    net.first.register_forward_hook(lambda m, args, out: seen.append("own"))
    with (
        machinery.register_module_forward_pre_hook(lambda m, args: seen.append(("pre", type(m).__name__))),
        machinery.register_module_forward_hook(lambda m, args, out: seen.append(type(m).__name__)),
    ):
        net(cr.ones(1, 2))
    assert seen == [("pre", "Net"), ("pre", "Linear"), "Linear", "own", ("pre", "Linear"), "Linear", "Net"]
    seen.clear()
    assert nn.Module._cr_hooks is None  # modules without hooks are called, and joined, as before
    net(cr.ones(1, 2))
    assert seen == ["own"]


def test_forward_hooks_on_all_modules_may_replace():
    net = Net()
    with machinery.register_module_forward_hook(
        lambda m, args, kwargs, out: out * 0 if isinstance(m, nn.Linear) else None, with_kwargs=True
    ):
        assert (net(cr.ones(3, 2)) == 0).all().item()
    with machinery.register_module_forward_pre_hook(lambda m, args: (args[0] * 0,)):
        assert cr.allclose(net(cr.ones(1, 2)), net.second.bias)


def test_a_hook_that_is_always_called_sees_the_failed_forward():
    seen = []
    with (
        machinery.register_module_forward_hook(lambda m, args, out: seen.append(out), always_call=True),
        pytest.raises(RuntimeError),
    ):
        nn.Linear(2, 2)(cr.ones(3))
    assert seen == [None]


@pytest.mark.parametrize("register", ["register_module_full_backward_hook", "register_module_backward_hook"])
def test_backward_hooks_on_all_modules(register):
    net, seen = Net(), []
    with (
        machinery.register_module_full_backward_pre_hook(lambda m, out: seen.append("pre")),
        getattr(machinery, register)(lambda m, given, out: seen.append((type(m).__name__, out[0].shape))),
    ):
        net(cr.ones(3, 2, requires_grad=True)).sum().backward()
    assert seen == ["pre", "pre", ("Linear", (3, 1)), "pre", ("Linear", (3, 2)), ("Net", (3, 1))]


def test_registration_hooks():
    seen = []

    def note(module, name, value):
        seen.append(name)

    with (
        machinery.register_module_parameter_registration_hook(note),
        machinery.register_module_buffer_registration_hook(note),
        machinery.register_module_module_registration_hook(note),
    ):
        nn.Sequential(nn.BatchNorm1d(2))
    assert seen == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked", "0"]
    with machinery.register_module_parameter_registration_hook(lambda m, name, p: nn.Parameter(p.detach() * 0)):
        net = nn.Module()
        net.scale = nn.Parameter(cr.ones(2))
    assert net.scale.tolist() == [0.0, 0.0]


def test_state_dict_hooks():
    net = Net()

    def without_bias(module, state, prefix, local):
        del state[f"{prefix}bias"]

    net.first.register_state_dict_post_hook(without_bias)
    net.second.register_state_dict_pre_hook(lambda m, prefix, keep: m.register_buffer("extra", cr.ones(1)))
    assert list(net.state_dict()) == ["first.weight", "second.weight", "second.bias", "second.extra"]
    handle = net._register_state_dict_hook(lambda m, state, prefix, local: {"all": 1})
    assert net.state_dict() == {"all": 1}
    handle.remove()
    net.register_state_dict_post_hook(lambda m, state, prefix, local: {})
    with pytest.raises(RuntimeError, match="must return None"):
        net.state_dict()


def test_dictionaries_of_hooks_can_be_read_and_replaced():
    net = Net()
    assert not net._forward_hooks
    handle = net.register_forward_hook(lambda m, args, out: out * 0)
    assert list(net._forward_hooks) == [handle.id]
    copied = copy.deepcopy(net)
    net._forward_hooks = {}
    assert not (net(cr.ones(1, 2)) == 0).all().item()
    assert (copied(cr.ones(1, 2)) == 0).all().item()


def test_attributes_of_one_kind_can_be_copied_and_replaced():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    kept = net._modules.copy()
    net._modules = {"b": kept["1"], "a": kept["0"]}
    assert [name for name, _ in net.named_children()] == ["b", "a"]
    twin = type(net).__new__(type(net))
    twin.__dict__ = dict(net.__dict__)
    twin._modules = {"only": nn.Tanh()}
    assert list(twin._modules) == ["only"]
    assert list(net._modules) == ["b", "a"]
    net[1]._parameters = {"weight": nn.Parameter(cr.ones(2, 2)), "bias": None}
    assert list(net.state_dict()) == ["a.weight"]


def test_submodules_are_set_by_path():
    net = nn.Sequential(Net())
    net.set_submodule("0.first", nn.Identity())
    assert isinstance(net[0].first, nn.Identity)
    net.set_submodule("0.third", nn.ReLU())
    assert isinstance(net[0].third, nn.ReLU)
    with pytest.raises(AttributeError, match="fourth"):
        net.set_submodule("0.fourth", nn.ReLU(), strict=True)
    with pytest.raises(AttributeError, match=r"not an nn\.Module"):
        net.set_submodule("0.first.training", nn.ReLU())
    with pytest.raises(ValueError, match=r"not an nn\.Module"):
        net.set_submodule("0.first", cr.ones(1))
    with pytest.raises(ValueError, match="target"):
        net.set_submodule("", nn.ReLU())


def test_compile_leaves_the_module_as_it_is():
    net = Net()
    before = net(cr.ones(1, 2))
    net.compile(mode="max-autotune")
    assert cr.equal(net(cr.ones(1, 2)), before)
    assert cr.equal(net._call_impl(cr.ones(1, 2)), before)


def test_keys_of_transient_buffers_are_unexpected():
    net = Net()
    net.register_buffer("scratch", cr.ones(1), persistent=False)
    found = net.load_state_dict({**net.state_dict(), "scratch": cr.ones(1)}, strict=False)
    assert found.unexpected_keys == ["scratch"]
    assert repr(found) == "_IncompatibleKeys(missing_keys=[], unexpected_keys=['scratch'])"
    assert repr(net.load_state_dict(net.state_dict())) == "<All keys matched successfully>"


def test_a_lazy_layer_of_ones_own():
    class LazyScale(nn.modules.lazy.LazyModuleMixin, nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.UninitializedParameter()

        def initialize_parameters(self, x):
            if self.has_uninitialized_params():
                self.scale.materialize((x.shape[-1],))
                nn.init.constant_(self.scale, 2.0)

        def forward(self, x):
            return x * self.scale

    layer = LazyScale()
    assert layer.has_uninitialized_params()
    assert layer(cr.ones(3)).tolist() == [2.0, 2.0, 2.0]
    assert not layer.has_uninitialized_params()


def test_a_lazy_layer_that_was_loaded_knows_its_size():
    full = nn.Linear(3, 2)
    layer = nn.LazyLinear(2)
    layer.load_state_dict(full.state_dict())
    assert not layer.has_uninitialized_params()
    assert cr.equal(layer(cr.ones(1, 3)), full(cr.ones(1, 3)))
    assert (type(layer), layer.in_features) == (nn.Linear, 3)


def test_parameters_without_a_size_are_not_counted():
    with pytest.raises(ValueError, match="uninitialized"):
        sum(p.numel() for p in nn.LazyConv2d(3, 3).parameters())


def test_warnings_of_layers():
    with pytest.warns(FutureWarning, match="Container"):
        assert repr(nn.Container(a=nn.ReLU())) == "Container(\n  (a): ReLU()\n)"
    with pytest.warns(UserWarning, match="does not match num_features"):
        nn.InstanceNorm1d(3)(cr.ones(2, 4, 5))


# -- PyTorch beside it ------------------------------------------------------------------------------------------------

NOT_OURS = {"T_destination", "_compiled_call_impl", "_get_backward_hooks", "_get_backward_pre_hooks", "_slow_forward"}
NOT_OURS |= {"_maybe_warn_non_full_backward_hook", "_replicate_for_data_parallel"}
NOT_OURS |= {"ipu", "mtia", "xpu"}  # devices that there are no backends for


@pytest.mark.torch
def test_methods_of_module_are_torchs(torch):
    # `super().__getattr__(name)` raises AttributeError here as there: all that exists was found before.
    missing = {n for n in dir(torch.nn.Module) if not hasattr(nn.Module, n)}
    assert missing - {"__annotations__", "__getattr__"} == NOT_OURS

    def parameters(cls, name):
        return [(p.name, p.kind, p.default) for p in inspect.signature(getattr(cls, name)).parameters.values()]

    for name in dir(torch.nn.Module):
        if (
            not name.startswith("__")
            and name not in NOT_OURS | {"forward"}
            and callable(getattr(torch.nn.Module, name))
        ):
            assert parameters(nn.Module, name) == parameters(torch.nn.Module, name), name


@pytest.mark.torch
@pytest.mark.parametrize(
    "state",
    [
        {"weight": (2, 2)},
        {"weight": (2, 2), "bias": (2,), "more": (1,), "deep.er": (1,)},
        {"weight": (3, 2), "bias": (1,)},
        {"w": (2, 2), "bias": (3,)},
    ],
)
def test_messages_of_load_state_dict_are_torchs(state, torch):
    texts = []
    for lib in (cr, torch):
        with pytest.raises(RuntimeError) as caught:
            lib.nn.Linear(2, 2).load_state_dict({k: lib.zeros(s) for k, s in state.items()})
        texts.append(str(caught.value).replace("torch.Size(", "").replace("])", "]"))
    ours = texts[0].replace("chainrule.Size(", "").replace("Size(", "")
    assert ours == texts[1]


def test_the_last_hook_is_taken_out_while_the_module_is_called():
    """As another thread may do it between the module's look for hooks and their calls."""

    class Racing(nn.Identity):
        def __init__(self):
            super().__init__()
            self.found = [Hooks()]

        @property
        def _cr_hooks(self):
            return self.found.pop() if self.found else None

    assert Racing()(cr.ones(1)).item() == 1.0
