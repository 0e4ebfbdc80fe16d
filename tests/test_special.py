"""chainrule.special: accuracy over the whole line, ends and poles, names. Gradients are in the op table."""

import numpy as np
import pytest
from scipy import special as reference

import chainrule
from chainrule import special, tensor
from chainrule.autograd import polynomials

LINE = np.concatenate([np.linspace(-60, 60, 481), [1e-300, 1e-8, -1e-8, 700.0]])
INSIDE = np.concatenate([np.linspace(0, 1, 101), [1e-300, 1e-12, 1 - 1e-12]])


@pytest.mark.parametrize(
    ("name", "x", "expected", "tolerance"),
    [
        ("erfcx", LINE[LINE > -20], reference.erfcx, 1e-14),
        ("log_ndtr", LINE[LINE < 30], reference.log_ndtr, 1e-11),
        ("ndtri", INSIDE, reference.ndtri, 1e-13),
        ("i0", LINE, reference.i0, 1e-13),
        ("i0e", LINE, reference.i0e, 1e-14),
        ("i1e", LINE, reference.i1e, 1e-14),
        ("entr", INSIDE, reference.entr, 1e-14),
        ("expit", LINE, reference.expit, 1e-14),
        ("psi", LINE[LINE > 0.1], reference.psi, 1e-12),
        ("gammaln", LINE[LINE > 3], reference.gammaln, 1e-13),
        ("spherical_bessel_j0", LINE, lambda x: reference.spherical_jn(0, x), 1e-9),
    ],
)
def test_accuracy(name, x, expected, tolerance):
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(getattr(special, name)(tensor(x)).numpy(), expected(x), rtol=tolerance, atol=1e-300)


@pytest.mark.parametrize(("name", "expected"), [("bessel_j0", reference.j0), ("bessel_j1", reference.j1)])
def test_bessel_functions_that_swing(name, expected):
    np.testing.assert_allclose(getattr(special, name)(tensor(LINE)).numpy(), expected(LINE), atol=1e-14)


def test_incomplete_gamma():
    a, x = np.meshgrid(np.array([0.1, 1.0, 7.5, 90.0, 800.0]), np.array([0.0, 0.2, 3.0, 80.0, 850.0, np.inf]))
    np.testing.assert_allclose(special.gammainc(tensor(a), tensor(x)).numpy(), reference.gammainc(a, x), atol=1e-11)
    np.testing.assert_allclose(special.gammaincc(tensor(a), tensor(x)).numpy(), reference.gammaincc(a, x), atol=1e-11)
    for bad in ((-1.0, 1.0), (1.0, -1.0)):
        assert chainrule.igamma(tensor(bad[0]), tensor(bad[1])).isnan()
    t = tensor([1.0, 2.0])
    assert chainrule.equal(t.igamma(t), chainrule.igamma(t, t))
    assert chainrule.equal(t.clone().igammac_(t), special.gammaincc(t, t))


def test_zeta():
    s, q = np.meshgrid(np.array([1.1, 2.0, 9.0]), np.array([0.1, 1.0, 30.0]))
    np.testing.assert_allclose(special.zeta(tensor(s), tensor(q)).numpy(), reference.zeta(s, q), rtol=1e-13)
    assert special.zeta(tensor([1.0, 2.0]), tensor([2.0, -1.0])).tolist() == [np.inf, np.inf]


def test_ends_and_zeros():
    assert special.ndtri(tensor([0.0, 1.0])).tolist() == [-np.inf, np.inf]
    assert special.ndtri(tensor([-0.1])).isnan()
    assert special.entr(tensor([0.0, -1.0])).tolist() == [0.0, -np.inf]
    assert special.xlog1py(tensor([0.0, 0.0]), tensor([-1.0, 3.0])).tolist() == [0.0, 0.0]
    for name, slope in (("i0", 0.0), ("i1", 0.5), ("i0e", 0.0), ("i1e", 0.5), ("bessel_j0", 0.0), ("bessel_j1", 0.5)):
        x = tensor(0.0, dtype=chainrule.float64, requires_grad=True)
        getattr(special, name)(x).backward()
        assert x.grad.item() == pytest.approx(slope, abs=1e-15)


def test_names():
    assert special.expit is chainrule.sigmoid
    assert chainrule.i0(tensor(1.0)) == tensor(1.0).i0() == special.i0(tensor(1.0))
    t = tensor(1.0)
    assert t.i0_() is t
    with pytest.raises(AttributeError, match="airy"):
        special.airy_ai  # noqa: B018
    with pytest.raises(AttributeError, match="no_polynomial_x"):
        special.no_polynomial_x  # noqa: B018
    missing = {n for n in special.__all__ if not hasattr(special, n)}
    assert not missing


@pytest.mark.torch
@pytest.mark.parametrize("name", polynomials.__all__)
def test_polynomials(name):
    import torch

    ours, theirs, x = getattr(special, name), getattr(torch.special, name), np.linspace(-1.4, 2, 7)
    for n in (-1, 0, 1, 2, 5, np.arange(7) % 4, np.arange(7) % 4 * 1.0):
        given = (n, n) if isinstance(n, int) else (tensor(n), torch.tensor(n))
        expected = theirs(torch.tensor(x), given[1]).numpy()
        np.testing.assert_allclose(ours(tensor(x), given[0]).numpy(), expected, rtol=1e-10, atol=1e-10)
    assert chainrule.autograd.gradcheck(lambda t: ours(t, 4), (tensor(x, requires_grad=True),))
    assert ours(0.5, tensor([1, 2])).shape == (2,)
    assert ours(tensor([1, 2]), 3).dtype == chainrule.float32
    with pytest.raises(TypeError, match="needs a Tensor"):
        ours(0.5, 2)
    out = chainrule.zeros(2)
    assert ours(chainrule.ones(2), 2, out=out) is out


@pytest.mark.torch
def test_names_are_pytorchs():
    import torch

    theirs = set(torch.special.__all__)
    absent = ("airy", "bessel_y", "polynomial", "modified_bessel_k", "scaled_modified")
    assert {n for n in theirs - set(special.__all__) if not any(a in n for a in absent)} == set()
    assert set(special.__all__) - theirs == {"igamma", "igammac"}
