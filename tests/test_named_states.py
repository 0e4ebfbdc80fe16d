"""distributed.checkpoint.state_dict: states by the names of parameters."""

import pytest

import chainrule
from chainrule import nn
from chainrule.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)


def trained(seed=0):
    chainrule.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = chainrule.optim.Adam(
        [{"params": net[0].parameters(), "lr": 0.1}, {"params": [*net[2].parameters(), *net[1].parameters()]}], lr=0.01
    )
    for _ in range(2):
        optimizer.zero_grad()
        net(chainrule.rand(5, 3)).pow(2).sum().backward()
        optimizer.step()
    return net, optimizer


def test_of_models():
    net, _ = trained()
    state = get_model_state_dict(net)
    assert list(state) == list(net.state_dict())
    other = chainrule.compile(trained(1)[0])
    assert list(get_model_state_dict(other)) == list(state)
    missing, unexpected = set_model_state_dict(other, state)
    assert not missing
    assert not unexpected
    assert all(chainrule.equal(a, b) for a, b in zip(state.values(), get_model_state_dict(other).values()))
    with pytest.raises(RuntimeError, match=r"0\.weight"):
        set_model_state_dict(net, {"0.bias": state["0.bias"]})
    missing, _ = set_model_state_dict(net, {"0.bias": state["0.bias"]}, options=StateDictOptions(strict=False))
    assert "0.weight" in missing
    net[0].weight.requires_grad_(False)
    assert "0.weight" not in get_model_state_dict(net, options=StateDictOptions(ignore_frozen_params=True))
    with pytest.raises(NotImplementedError, match="submodules"):
        get_model_state_dict(net, submodules={net[0]})


def test_of_optimizers():
    net, optimizer = trained()
    state = get_optimizer_state_dict(net, optimizer, options=StateDictOptions(cpu_offload=True))
    assert [group["params"] for group in state["param_groups"]] == [
        ["0.weight", "0.bias"],
        ["2.weight", "2.bias", "1.weight", "1.bias"],
    ]
    assert chainrule.equal(state["state"]["2.bias"]["exp_avg"], optimizer.state[net[2].bias]["exp_avg"])
    # another order and other groups: names decide
    other, _ = trained(1)
    again = chainrule.optim.Adam([*other[1].parameters(), *other[2].parameters()], lr=1.0)
    set_optimizer_state_dict(other, again, state)
    assert again.param_groups[0]["lr"] == 0.01
    for name in ("1.weight", "2.bias"):
        ours = other.get_parameter(name)
        assert chainrule.equal(again.state[ours]["exp_avg_sq"], state["state"][name]["exp_avg_sq"])
        assert again.state[ours]["step"] == 2
    del state["state"]["2.bias"]
    with pytest.raises(RuntimeError, match=r"2\.bias.*strict"):
        set_optimizer_state_dict(other, again, state)
    set_optimizer_state_dict(other, again, state, options=StateDictOptions(strict=False))
    strange = chainrule.optim.SGD([chainrule.ones(1, requires_grad=True)], lr=1.0)
    with pytest.raises(KeyError):
        get_optimizer_state_dict(net, strange)


def test_of_both_in_several_optimizers():
    net, _ = trained()
    pair = [chainrule.optim.SGD(net[i].parameters(), lr=0.1, momentum=0.9) for i in (0, 2)]
    net(chainrule.rand(5, 3)).sum().backward()
    for optimizer in pair:
        optimizer.step()
    model_state, state = get_state_dict(net, pair)
    other, _ = trained(1)
    whole = chainrule.optim.SGD([*other[2].parameters(), *other[0].parameters()], lr=5.0, momentum=0.9)
    set_state_dict(other, whole, model_state_dict=model_state, optim_state_dict=state)
    for a, b in ((net, other),):
        assert chainrule.equal(a[0].weight, b[0].weight)
        assert chainrule.equal(
            pair[0].state[a[0].weight]["momentum_buffer"], whole.state[b[0].weight]["momentum_buffer"]
        )
    assert whole.param_groups[0]["lr"] == 0.1


def test_states_are_nested():
    with pytest.raises(NotImplementedError, match="nested"):
        StateDictOptions(flatten_optimizer_state_dict=True)
