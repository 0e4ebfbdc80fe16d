"""nn.init: every name of PyTorch's, and generators."""

import inspect

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import init

RANDOM = {
    "uniform_": (-1, 2),
    "normal_": (1, 2),
    "trunc_normal_": (),
    "xavier_uniform_": (),
    "xavier_normal_": (2,),
    "kaiming_uniform_": (0.2,),
    "kaiming_normal_": (0, "fan_out", "relu"),
    "orthogonal_": (2,),
    "sparse_": (0.3,),
}


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_decides(name):
    def drawn(seed):
        generator = cr.Generator()
        generator.manual_seed(seed)
        return getattr(init, name)(cr.empty(6, 5), *RANDOM[name], generator=generator).numpy()

    cr.manual_seed(0)
    before = cr.get_rng_state()
    one, two, three = drawn(1), drawn(1), drawn(2)
    np.testing.assert_array_equal(one, two)
    assert (one != three).any()
    assert (cr.get_rng_state() == before).all()  # the generator of the program is not touched


@pytest.mark.parametrize("name", ["uniform", "normal", "xavier_uniform", "xavier_normal", "kaiming_uniform"])
def test_former_names_warn_and_do_the_same(name):
    cr.manual_seed(0)
    expected = getattr(init, f"{name}_")(cr.empty(3, 4)).numpy()
    cr.manual_seed(0)
    with pytest.warns(FutureWarning, match=f"`nn.init.{name}` is now deprecated in favor of `nn.init.{name}_`"):
        found = getattr(init, name)(cr.empty(3, 4)).numpy()
    np.testing.assert_array_equal(found, expected)


def test_nothing_is_recorded():
    w = cr.nn.Parameter(cr.empty(3, 4))
    for fill in (init.kaiming_normal_, init.orthogonal_, init.trunc_normal_, init.eye_, init.zeros_):
        assert fill(w) is w
        assert w.is_leaf
        assert w.requires_grad


@pytest.mark.torch
def test_names_and_arguments_are_pytorchs(torch):
    theirs = {n: f for n, f in vars(torch.nn.init).items() if inspect.isfunction(f)}
    theirs = {n: f for n, f in theirs.items() if n != "_make_deprecate"}  # which makes the former names there
    assert [n for n in theirs if not hasattr(init, n)] == []
    for name, f in theirs.items():
        expected = list(inspect.signature(f).parameters)
        if expected != ["args", "kwargs"]:
            assert list(inspect.signature(getattr(init, name)).parameters) == expected
