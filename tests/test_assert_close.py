"""chainrule.testing.assert_close and make_tensor."""

import numpy as np
import pytest

import chainrule
from chainrule.testing import assert_allclose, assert_close, make_tensor


def cases(m):
    """Calls (arguments, keywords) with the tensors of library `m`."""
    x = m.tensor([[1.0, 2.0], [3.0, 4.0]])
    nan = m.tensor([float("nan"), 1.0])
    return {
        "same": ((x, x.clone()), {}),
        "within": ((x, x * (1 + 1e-6)), {}),
        "two off": ((x, x + m.tensor([0, 1e-2])), {}),
        "dtype": ((x, x.double()), {}),
        "dtype unchecked": ((x, x.double()), {"check_dtype": False}),
        "shape": ((x, x[0]), {}),
        "list": (([x, x], [x, x + 1]), {}),
        "nested": (({"a": [x, 1.0]}, {"a": [x, 2.0]}), {}),
        "keys": (({"a": x}, {"b": x}), {}),
        "length": (([x], [x, x]), {}),
        "floats": ((1.0, 1.1), {}),
        "ints": ((1, 2), {}),
        "0-d": ((m.tensor(1.0), m.tensor(2.0)), {}),
        "integers": ((m.tensor([1, 2]), m.tensor([1, 4])), {}),
        "bools": ((m.tensor([True, False]), m.tensor([True, True])), {}),
        "strings": (("a", "a"), {}),
        "tensor and number": ((x, 1.0), {}),
        "tensor and array": ((x, x.numpy()), {}),
        "arrays": ((np.ones(3), np.ones(3)), {}),
        "nan": ((nan, nan), {}),
        "equal nan": ((nan, nan), {"equal_nan": True}),
        "message": ((x, x + 1), {"msg": "hello"}),
        "message of message": ((x, x + 1), {"msg": lambda text: "before: " + text}),
        "one tolerance": ((x, x), {"rtol": 1e-3}),
        "exact": ((x, x + 1), {"rtol": 0, "atol": 0}),
        "loose": ((x, x + 0.5), {"rtol": 0, "atol": 0.5}),
        "none": ((None, None), {}),
        "one none": ((x, None), {}),
        "true and false": ((True, False), {}),
        "stride": ((x, x.t().contiguous().t()), {"check_stride": True}),
        "half": ((x.half(), (x * 1.0004).half()), {}),
        "infinite": ((m.tensor([float("inf")]), m.tensor([float("inf")])), {}),
    }


def outcome(check, args, kwargs):
    try:
        check(*args, **kwargs)
    except (AssertionError, TypeError, ValueError) as error:
        return type(error).__name__, str(error)
    return None


FINE = {"same", "within", "dtype unchecked", "arrays", "equal nan", "loose", "none", "half", "infinite"}


@pytest.mark.parametrize("name", cases(chainrule))
def test_verdicts(name):
    args, kwargs = cases(chainrule)[name]
    assert (outcome(assert_close, args, kwargs) is None) == (name in FINE)


@pytest.mark.torch
@pytest.mark.parametrize("name", cases(chainrule))
def test_as_in_pytorch(name):
    import torch

    theirs = outcome(torch.testing.assert_close, *cases(torch)[name])
    ours = outcome(assert_close, *cases(chainrule)[name])
    if name in ("strings", "tensor and number", "tensor and array", "one none"):  # names of classes in the text
        assert ours[0] == theirs[0]
    elif theirs is None:
        assert ours is None
    else:
        assert ours[0] == theirs[0]
        lines = zip(ours[1].splitlines(), theirs[1].replace("torch.", "chainrule.").splitlines(), strict=True)
        for a, b in lines:
            if a.startswith("Greatest"):  # the largest relative difference is computed in another precision
                assert a.partition(":")[0] == b.partition(":")[0]
                assert float(a.split()[3]) == pytest.approx(float(b.split()[3]), rel=1e-5, nan_ok=True)
            else:
                assert a == b


def test_make_tensor():
    for kind, low, high in (("float32", -9, 9), ("int64", -9, 9), ("uint8", 0, 9), ("bool", 0, 1)):
        t = make_tensor(50, 4, dtype=getattr(chainrule, kind))
        assert t.dtype is getattr(chainrule, kind)
        assert low <= t.double().min().item() < t.double().max().item() <= high
    t = make_tensor((3, 4), dtype=chainrule.float64, low=0, high=1, noncontiguous=True, requires_grad=True)
    assert t.shape == (3, 4)
    assert not t.is_contiguous()
    assert t.requires_grad
    assert (make_tensor(100, dtype=chainrule.int8, low=0, high=2, exclude_zero=True) == 1).all()


def test_assert_allclose_takes_all_dtypes_and_warns():
    x = chainrule.tensor([1.0, float("nan")])
    for pair, options in (
        ((x, x.double() * (1 + 5e-5)), {}),
        (([1.0, 2.0], np.array([1.0, 2.0])), {}),
        ((chainrule.tensor([1, 2]), [1, 2]), {}),
        ((1.0, 1.4), {"atol": 0.5, "rtol": 0}),
    ):
        with pytest.warns(FutureWarning, match="assert_close"):
            assert_allclose(*pair, **options)
    for pair in ((x.double(), x.double() * (1 + 5e-5)), (chainrule.tensor([1, 2]), [1, 3])):
        with pytest.warns(FutureWarning), pytest.raises(AssertionError, match=r"not (close|equal)"):
            assert_allclose(*pair)


def test_the_package_imports_itself():
    assert chainrule.torch.Tensor is chainrule.Tensor
