"""Averages of weights: Polyak's mean, exponential, buffers, batch normalisation, and PyTorch's beside them."""

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.optim import swa_utils
from chainrule.optim.swa_utils import AveragedModel


def network(lib=cr, seed=0):
    rng = np.random.default_rng(seed)
    net = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.BatchNorm1d(3), lib.nn.Linear(3, 1))
    with lib.no_grad():
        for p in net.parameters():
            p.copy_(lib.tensor(rng.standard_normal(tuple(p.shape))))
    return net


def test_polyak_average_is_the_mean_of_the_iterates():
    p, iterates = nn.Linear(3, 1).double(), []
    optimizer, averaged = optim.SGD(p.parameters(), lr=0.1), AveragedModel(p)
    rng = np.random.default_rng(0)
    for _ in range(10):
        x = cr.tensor(rng.standard_normal((4, 3)))
        optimizer.zero_grad()
        (p(x) - 1).square().mean().backward()
        optimizer.step()
        averaged.update_parameters(p)
        iterates.append(p.weight.detach().numpy().copy())
    np.testing.assert_allclose(averaged.module.weight.detach().numpy(), np.mean(iterates, 0), rtol=1e-12)
    assert averaged.n_averaged == 10


@pytest.mark.parametrize("multi", [False, True])
def test_exponential_average(multi):
    net = nn.Linear(1, 1, bias=False).double()
    options = (
        {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9)} if multi else {"avg_fn": swa_utils.get_ema_avg_fn(0.9)}
    )
    averaged, expected = AveragedModel(net, **options), None
    for value in (1.0, 2.0, 5.0, -3.0):
        with cr.no_grad():
            net.weight.fill_(value)
        averaged.update_parameters(net)
        expected = value if expected is None else 0.9 * expected + 0.1 * value
        assert averaged.module.weight.item() == pytest.approx(expected)
    assert averaged.module.weight.requires_grad


def test_keys_copies_and_errors():
    net = network()
    averaged = AveragedModel(net)
    keys = [f"module.{k}" for k in net.state_dict()]
    assert list(averaged.state_dict()) == ["n_averaged", *keys]
    x = cr.ones(2, 2)
    assert cr.equal(averaged.eval()(x), net.eval()(x))
    averaged.update_parameters(network(seed=1))
    other = AveragedModel(network(seed=2))
    other.load_state_dict(averaged.state_dict())
    assert other.n_averaged == 1
    assert copy.deepcopy(averaged).n_averaged == 1
    assert pickle.loads(pickle.dumps(averaged)).n_averaged == 1
    with pytest.raises(AssertionError, match="Only one"):
        AveragedModel(net, avg_fn=min, multi_avg_fn=min)
    for make in (swa_utils.get_ema_avg_fn, swa_utils.get_ema_multi_avg_fn):
        with pytest.raises(ValueError, match="Invalid decay value 2"):
            make(2)


def test_update_bn_gives_the_statistics_of_the_data():
    net, rng = network(), np.random.default_rng(0)
    data = rng.standard_normal((5, 8, 2)).astype("f4")
    net.eval()
    swa_utils.update_bn([(cr.tensor(x), 0) for x in data], net)
    hidden = net[0](cr.tensor(data.reshape(-1, 2))).detach().numpy().reshape(5, 8, 3)
    np.testing.assert_allclose(net[1].running_mean.numpy(), hidden.mean((0, 1)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(net[1].running_var.numpy(), hidden.var(1, ddof=1).mean(0), rtol=1e-4)
    assert net[1].momentum == 0.1
    assert not net.training
    swa_utils.update_bn([], nn.Linear(1, 1))


@pytest.mark.torch
@pytest.mark.parametrize(
    ("kind", "use_buffers"),
    # PyTorch's "swa multi" raises an error for the integer among the buffers
    [
        (k, b)
        for k in (None, "ema", "ema multi", "swa", "swa multi")
        for b in (False, True)
        if not (k == "swa multi" and b)
    ],
)
def test_averages_are_torchs(kind, use_buffers, torch):
    found = []
    for lib in (cr, torch):
        utils, options = lib.optim.swa_utils, {}
        if kind:
            name, _, multi = kind.partition(" ")
            make = getattr(utils, f"get_{name}_{'multi_' if multi else ''}avg_fn")
            options = {"multi_avg_fn" if multi else "avg_fn": make(*([0.7] if name == "ema" else []))}
        net = network(lib)
        averaged = utils.AveragedModel(net, use_buffers=use_buffers, **options)
        rng = np.random.default_rng(0)
        for i in range(6):
            net(lib.tensor(rng.standard_normal((8, 2)).astype("f4")))
            with lib.no_grad():
                for p, q in zip(net.parameters(), network(lib, i).parameters(), strict=True):
                    p.copy_(q)
            averaged.update_parameters(net)
        loader = [lib.tensor(rng.standard_normal((8, 2)).astype("f4")) for _ in range(3)]
        before = {k: v.numpy().copy() for k, v in averaged.state_dict().items()}
        utils.update_bn(loader, averaged)
        after = {k: v.numpy().copy() for k, v in averaged.state_dict().items()}
        found.append((before, after, repr(averaged)))
    for ours, theirs in zip(found[0][:2], found[1][:2], strict=True):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            np.testing.assert_allclose(ours[key], value, rtol=1e-5, atol=1e-6)
            assert ours[key].dtype == value.dtype
    assert found[0][2] == found[1][2]
