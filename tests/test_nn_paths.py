"""PyTorch's paths below nn, and what stands only there: nn.parallel, nn.grad, nn.modules.utils."""

import importlib
import pkgutil
import types

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

# Private helpers of PyTorch's own files, and what belongs to its compiler.
NOT_OURS = {
    "activation": {"_arg_requires_grad", "_check_arg_device", "_is_make_fx_tracing"},
    "batchnorm": {"_LazyNormBase"},
    "container": {"T", "_V"},
    "conv": {"_ConvTransposeMixin", "_LazyConvXdMixin"},
    "lazy": {"_LazyProtocol"},
    "module": {"T", "_WrappedHook", "_forward_unimplemented", "_has_any_global_hook"},
    "rnn": {"_apply_permutation", "apply_permutation"},
    "transformer": {"_detect_is_causal_mask", "_generate_square_subsequent_mask", "_get_seq_len"},
}


@pytest.mark.torch
def test_names_below_nn_modules_are_torchs(torch):
    assert [name for name in torch.nn.modules.__all__ if not hasattr(nn.modules, name)] == []
    for found in pkgutil.iter_modules(torch.nn.modules.__path__):
        name = found.name
        if name.startswith(("_", "linear_cross_entropy")):  # the steps of one kernel
            continue
        theirs = importlib.import_module(f"torch.nn.modules.{name}")
        ours = importlib.import_module(f"chainrule.nn.modules.{name}")
        own = {k for k, v in vars(theirs).items() if getattr(v, "__module__", "") == theirs.__name__}
        names = {k for k in {*getattr(theirs, "__all__", ()), *own} if not k.startswith("__")}
        assert {k for k in names if not hasattr(ours, k)} <= NOT_OURS.get(name, set()), name
        for key in names & set(nn.__all__):
            assert getattr(ours, key) is getattr(nn, key)


@pytest.mark.torch
def test_names_of_common_types_are_torchs(torch):
    names = [n for n in dir(torch.nn.common_types) if n.endswith("_t")]
    assert [n for n in names if not hasattr(nn.common_types, n)] == []


def test_modules_are_imported_by_pytorchs_paths():
    from chainrule.nn.modules.batchnorm import _BatchNorm
    from chainrule.nn.modules.conv import LazyConv2d, _ConvNd, _ConvTransposeNd
    from chainrule.nn.modules.utils import _ntuple, _pair, _quadruple

    assert isinstance(nn.ConvTranspose1d(1, 1, 1), _ConvTransposeNd)
    assert isinstance(nn.Conv2d(1, 1, 1), _ConvNd)
    assert isinstance(nn.BatchNorm1d(1), _BatchNorm)
    assert LazyConv2d is nn.LazyConv2d
    assert (_pair(3), _quadruple(1), _ntuple(3)((1, 2, 3))) == ((3, 3), (1, 1, 1, 1), (1, 2, 3))
    assert nn.modules.conv.Conv2d is nn.modules.Conv2d is nn.Conv2d


def test_a_prefix_is_taken_off_a_state_dict():
    net = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    state = nn.DataParallel(net).state_dict()
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    assert list(state) == list(net.state_dict())
    assert list(state._metadata) == ["", "", "0", "1"][1:]
    net.load_state_dict(state)


def test_data_parallel_wraps_the_module():
    place = "cuda:0" if cr.cuda.is_available() else "cpu"
    net = nn.Linear(3, 2).to(place)
    wrapped = nn.DataParallel(net)
    assert wrapped.module is net
    assert list(wrapped.state_dict()) == ["module.weight", "module.bias"]
    x = cr.randn(4, 3, device=place)
    assert cr.equal(wrapped(x), net(x))
    assert cr.equal(nn.parallel.data_parallel(net, x), net(x))
    two = nn.Bilinear(3, 3, 1).to(place)
    assert cr.equal(nn.parallel.data_parallel(two, (x, x)), two(x, x))
    assert cr.equal(nn.parallel.data_parallel(net, (), module_kwargs={"input": x}), net(x))
    assert repr(wrapped) == "DataParallel(\n  (module): Linear(in_features=3, out_features=2, bias=True)\n)"
    assert nn.parallel.DataParallel is nn.DataParallel


@pytest.mark.torch
@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_convolutions_are_torchs(n, torch):
    rng = np.random.default_rng(n)
    x, w = rng.normal(size=(2, 4, *[5, 6, 4][:n])), rng.normal(size=(6, 2, *[3, 2, 2][:n]))
    settings = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
    g = rng.normal(size=getattr(torch.nn.functional, f"conv{n}d")(*map(torch.tensor, (x, w)), **settings).shape)
    for which, first, second in (("input", x.shape, w), ("weight", x, w.shape)):
        found = []
        for lib in (cr, torch):
            arguments = [a if isinstance(a, tuple) else lib.tensor(a) for a in (first, second)]
            function = getattr(importlib.import_module(f"{lib.__name__}.nn.grad"), f"conv{n}d_{which}")
            found.append(function(*arguments, lib.tensor(g), **settings).numpy())
        np.testing.assert_allclose(*found, rtol=1e-10, atol=1e-12)


def test_gradients_of_convolutions_can_be_differentiated():
    w = cr.randn(1, 1, 3, dtype=cr.float64, requires_grad=True)
    g = cr.randn(1, 1, 3, dtype=cr.float64, requires_grad=True)
    assert cr.autograd.gradcheck(lambda w, g: nn.grad.conv1d_input((1, 1, 5), w, g), (w, g))


def test_paths_are_modules():
    for path in ("nn.parallel", "nn.modules", "nn.common_types", "nn.grad", "nn.parameter", "nn.utils.prune"):
        assert isinstance(importlib.import_module(f"chainrule.{path}"), types.ModuleType)


def test_distributed_data_parallel_in_a_world_of_one():
    net = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="process group has not been initialized"):
        nn.parallel.DistributedDataParallel(net)
    distributed = importlib.import_module("chainrule.distributed")
    distributed.init_process_group("gloo", rank=0, world_size=1, init_method="tcp://127.0.0.1:29500")
    try:
        wrapped = nn.parallel.DistributedDataParallel(net, device_ids=None, find_unused_parameters=True)
        x = cr.randn(4, 3)
        assert cr.equal(wrapped(x), net(x))
        assert list(wrapped.state_dict()) == ["module.weight", "module.bias"]
        with wrapped.no_sync():
            wrapped(x).sum().backward()
        assert cr.equal(net.bias.grad, cr.full((2,), 4.0))
        with pytest.raises(RuntimeError, match="require a gradient"):
            nn.parallel.DistributedDataParallel(nn.ReLU())
    finally:
        distributed.destroy_process_group()
    from chainrule.nn.parallel.distributed import DistributedDataParallel

    assert DistributedDataParallel is nn.parallel.DistributedDataParallel


def test_methods_that_subclasses_of_layers_call():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            spread, mean = cr.std_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
            return self._conv_forward(x, (self.weight - mean) / (spread + 1e-5), self.bias)

    x = cr.randn(1, 2, 5, 5)
    layer = Standardised(2, 3, 3, padding=1, padding_mode="reflect")
    plain = nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")
    plain.load_state_dict(layer.state_dict())
    assert layer._reversed_padding_repeated_twice == [1, 1, 1, 1]
    scaled = (plain.weight - plain.weight.mean((1, 2, 3), keepdim=True)).detach()
    plain.weight.data = scaled / (plain.weight.detach().std((1, 2, 3), keepdim=True, correction=0) + 1e-5)
    assert cr.allclose(layer(x), plain(x), atol=1e-5)
    up = nn.ConvTranspose2d(2, 3, 3, stride=2)
    assert up._output_padding(x, [12, 12], up.stride, up.padding, up.kernel_size, 2, up.dilation) == (1, 1)
    table = nn.Embedding(3, 2, padding_idx=1)
    nn.init.ones_(table.weight)
    table._fill_padding_idx_with_zero()
    assert table.weight.tolist() == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]


def test_containers_repeat_and_reverse():
    row = nn.Sequential(nn.ReLU(), nn.Tanh())
    kept = row
    row *= 2
    assert row is kept
    assert [type(m).__name__ for m in row] == ["ReLU", "Tanh", "ReLU", "Tanh"]
    assert list(reversed(nn.ParameterDict({"a": cr.ones(1), "b": cr.ones(1)}))) == ["b", "a"]
