"""Tensors as text: PyTorch's form. test_torch_printing.py compares many with PyTorch itself."""

import pytest

import chainrule


@pytest.fixture(autouse=True)
def default_options():
    yield
    chainrule.set_printoptions(profile="default", linewidth=80)


def lines(*parts):
    return "\n".join(parts)


def shown(*args, **kwargs):
    return str(chainrule.tensor(*args, **kwargs))


def test_numbers():
    assert shown([[1.0, 2], [3, 4]], requires_grad=True) == lines(
        "tensor([[1., 2.],", "        [3., 4.]], requires_grad=True)"
    )
    assert shown([1.5, -22.25]) == "tensor([  1.5000, -22.2500])"
    assert shown([1, -22]) == "tensor([  1, -22])"
    assert shown([True, False]) == "tensor([ True, False])"
    assert shown(3) == "tensor(3)"
    assert shown(3.5) == "tensor(3.5000)"
    assert shown([0.0, 0.0]) == "tensor([0., 0.])"
    assert shown([1.0, float("nan"), float("-inf")]) == "tensor([1., nan, -inf])"


def test_scientific():
    assert shown([1e-5, 1.0]) == "tensor([1.0000e-05, 1.0000e+00])"
    assert shown([1.5, 2000.0]) == "tensor([1.5000e+00, 2.0000e+03])"
    assert shown([1e9]) == "tensor([1.0000e+09])"
    assert shown([100000.0]) == "tensor([100000.])"


def test_notes():
    assert shown([1], dtype=chainrule.int32) == "tensor([1], dtype=chainrule.int32)"
    assert shown([1.0], dtype=chainrule.float64) == "tensor([1.], dtype=chainrule.float64)"
    assert shown([]) == "tensor([])"
    assert str(chainrule.zeros(0, 3)) == "tensor([], size=(0, 3))"
    assert str(chainrule.zeros(0, dtype=chainrule.int64)) == "tensor([], dtype=chainrule.int64)"
    x = chainrule.ones(2, requires_grad=True)
    assert str(x * 2) == "tensor([2., 2.], grad_fn=<MulBackward0>)"
    long = chainrule.ones(12, dtype=chainrule.float64)
    assert str(long) == lines(
        "tensor([1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.],", "       dtype=chainrule.float64)"
    )


def test_lines_and_blocks():
    assert shown(list(range(30))) == lines(
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,",
        "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29])",
    )
    assert str(chainrule.ones(2, 1, 2)) == lines("tensor([[[1., 1.]],", "", "        [[1., 1.]]])")


def test_long_tensors_are_cut():
    assert str(chainrule.arange(1001)) == "tensor([   0,    1,    2,  ...,  998,  999, 1000])"
    assert str(chainrule.zeros(40, 40)) == lines(
        "tensor([[0., 0., 0.,  ..., 0., 0., 0.],",
        "        [0., 0., 0.,  ..., 0., 0., 0.],",
        "        [0., 0., 0.,  ..., 0., 0., 0.],",
        "        ...,",
        "        [0., 0., 0.,  ..., 0., 0., 0.],",
        "        [0., 0., 0.,  ..., 0., 0., 0.],",
        "        [0., 0., 0.,  ..., 0., 0., 0.]])",
    )


def test_options():
    x = chainrule.tensor([1.0 / 3, 1e4])
    assert str(x) == "tensor([3.3333e-01, 1.0000e+04])"
    chainrule.set_printoptions(precision=2, sci_mode=False)
    assert str(x) == "tensor([    0.33, 10000.00])"
    assert chainrule.get_printoptions()["precision"] == 2
    chainrule.set_printoptions(threshold=5, edgeitems=1)
    assert str(chainrule.arange(6)) == "tensor([0,  ..., 5])"
    chainrule.set_printoptions(profile="full")
    assert "..." not in str(chainrule.arange(2000))
    with pytest.raises(ValueError, match="profile"):
        chainrule.set_printoptions(profile="wide")


def test_the_default_dtype_is_not_named():
    chainrule.set_default_dtype(chainrule.float64)
    try:
        assert shown([1.0]) == "tensor([1.])"
        assert shown([1.0], dtype=chainrule.float32) == "tensor([1.], dtype=chainrule.float32)"
    finally:
        chainrule.set_default_dtype(chainrule.float32)


def test_formats():
    loss = chainrule.tensor(1.23456, requires_grad=True)
    assert f"{loss:.3f}" == "1.235"
    assert f"{chainrule.tensor(1.5)}" == "1.5"
    assert f"{chainrule.tensor([1.5])}" == "tensor([1.5000])"
    with pytest.raises(TypeError, match="format"):
        f"{chainrule.ones(2):.2f}"


def test_bfloat16():
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs the extra chainrule[bfloat16]")
    assert shown([1.0, 2.5], dtype=chainrule.bfloat16) == "tensor([1.0000, 2.5000], dtype=chainrule.bfloat16)"


def test_a_profile_sets_all_options():
    before = chainrule.get_printoptions()
    chainrule.set_printoptions(precision=2, linewidth=60, sci_mode=False, edgeitems=1, threshold=10)
    chainrule.set_printoptions(profile="default")
    assert chainrule.get_printoptions() == before
    chainrule.set_printoptions(profile="short", linewidth=70)
    assert chainrule.get_printoptions() == {**before, "precision": 2, "edgeitems": 2, "linewidth": 70}
    chainrule.set_printoptions(profile="default")
