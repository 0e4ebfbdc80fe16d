"""einops on tensors, against einops on NumPy's arrays; its layers."""

import subprocess
import sys

import einops
import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.testing import samples

X = samples.floats((2, 6, 4)).astype("float32")
PATTERNS = {
    "rearrange": [("a b c -> c (b a)", {}), ("a (b d) c -> a b (d c)", {"d": 2}), ("a ... -> ... a", {})],
    "repeat": [("a b c -> a b c d", {"d": 3}), ("a b c -> (a d) b e c", {"d": 2, "e": 2})],
    "reduce": [
        *(("a b c -> b", {"reduction": r}) for r in ("sum", "mean", "max", "min", "prod")),
        ("a (b d) c -> a b 1", {"d": 3, "reduction": "max"}),
        ("a b c ->", {"reduction": "sum"}),
    ],
}


@pytest.mark.parametrize(("name", "pattern", "options"), [(n, *p) for n, ps in PATTERNS.items() for p in ps])
def test_values_and_gradients(name, pattern, options):
    x = chainrule.tensor(X, requires_grad=True)
    out, expected = (getattr(einops, name)(a, pattern, **options) for a in (x, X))
    assert type(out) is chainrule.Tensor
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-6)
    chainrule.testing.gradcheck(
        lambda t: getattr(einops, name)(t, pattern, **options), (x.detach().double().requires_grad_(),)
    )


def test_einsum_pack_parse_and_masks():
    x = chainrule.tensor(X)
    y = einops.einsum(x, x, "batch time c, batch other c -> batch time other")
    np.testing.assert_allclose(y.numpy(), np.einsum("btc,boc->bto", X, X), rtol=1e-5)
    packed, shapes = einops.pack([x, x[:, 0]], "a * c")
    assert packed.shape == (2, 7, 4)
    assert [tuple(t.shape) for t in einops.unpack(packed, shapes, "a * c")] == [(2, 6, 4), (2, 4)]
    assert einops.rearrange([x, x], "n a b c -> (n a) b c").shape == (4, 6, 4)
    assert einops.parse_shape(x, "a _ c") == {"a": 2, "c": 4}
    assert type(einops.asnumpy(x)) is np.ndarray
    assert einops.reduce(x > 0, "a b c -> a", "any").tolist() == (X > 0).any((1, 2)).tolist()
    with pytest.raises(NotImplementedError):
        einops.reduce(chainrule.arange(4), "(a b) -> a", "mean", a=2)
    assert einops.repeat(x[0, 0], "c -> n c", n=1000).untyped_storage().nbytes() <= 4000 * 4


def test_layers():
    from einops.layers.chainrule import EinMix, Rearrange, Reduce

    chainrule.manual_seed(0)
    mix = EinMix("b t c -> b t d", weight_shape="c d", bias_shape="d", c=4, d=5)
    model = nn.Sequential(Rearrange("b t c -> b c t"), Rearrange("b c t -> b t c"), mix, Reduce("b t d -> b d", "max"))
    x = chainrule.tensor(X)
    expected = (X @ mix.weight.detach().numpy() + mix.bias.detach().numpy().reshape(-1)).max(1)
    np.testing.assert_allclose(model(x).detach().numpy(), expected, rtol=1e-5)
    assert sorted(model.state_dict()) == ["2.bias", "2.weight"]
    model(x).sum().backward()
    assert mix.weight.grad.shape == (4, 5)
    assert "Rearrange('b t c -> b c t')" in repr(model)
    split = EinMix("b (t u) c -> b t (u d)", weight_shape="u c d", t=3, u=2, c=4, d=5)
    assert split(x).shape == (2, 3, 10)
    assert split.bias is None


@pytest.mark.parametrize("first", ["einops", "chainrule", "einops.layers.chainrule"])
def test_in_any_order(first):
    program = f"import {first}, einops, chainrule; print(einops.rearrange(chainrule.ones(2, 3), 'a b -> b a').shape)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if first == "einops.layers.chainrule":  # einops alone knows nothing of it
        assert "No module named" in ran.stderr
    else:
        assert ran.stdout == "chainrule.Size([3, 2])\n", ran.stderr
