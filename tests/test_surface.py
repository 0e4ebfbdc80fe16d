"""Names of PyTorch beyond the ops: types of results, functions in place, second forms, seldom used methods."""

import pickle

import numpy as np
import pytest

import chainrule
from chainrule import nn, tensor
from chainrule.testing import samples


@pytest.fixture
def x():
    return tensor(samples.floats((3, 4)), requires_grad=True)


# -- types of results -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("max", lambda x: x.max(1)),
        ("min", lambda x: chainrule.min(x, dim=0)),
        ("sort", lambda x: x.sort()),
        ("topk", lambda x: x.topk(2)),
        ("median", lambda x: x.median(0)),
        ("nanmedian", lambda x: x.nanmedian(0)),
        ("mode", lambda x: x.mode()),
        ("kthvalue", lambda x: x.kthvalue(2)),
        ("cummax", lambda x: x.cummax(0)),
        ("cummin", lambda x: x.cummin(0)),
        ("aminmax", lambda x: x.aminmax(dim=0)),
        ("svd", lambda x: x.svd()),
        ("qr", lambda x: x.qr()),
        ("slogdet", lambda x: (x @ x.t()).slogdet()),
        ("linalg_slogdet", lambda x: chainrule.linalg.slogdet(x @ x.t())),
        ("linalg_svd", lambda x: chainrule.linalg.svd(x)),
        ("linalg_eigh", lambda x: chainrule.linalg.eigh(x @ x.t())),
        ("linalg_qr", chainrule.linalg.qr),
        ("linalg_lstsq", lambda x: chainrule.linalg.lstsq(x, x)),
    ],
)
def test_types_of_results(name, call, x):
    found = call(x.detach())
    kind = getattr(chainrule.return_types, name)
    assert type(found) is kind
    assert isinstance(found, tuple)
    again = pickle.loads(pickle.dumps(found))
    assert type(again) is kind
    for i, field in enumerate(kind.__match_args__):
        assert chainrule.equal(getattr(again, field), found[i])
    text = repr(found)
    assert text.startswith(f"chainrule.return_types.{name}(\n{kind.__match_args__[0]}=tensor(")


def test_a_result_prints_as_in_pytorch():
    assert repr(tensor([[1.0, 3.0]]).max(1)) == (
        "chainrule.return_types.max(\nvalues=tensor([3.]),\nindices=tensor([1]))"
    )
    with pytest.raises(AttributeError):
        chainrule.return_types.nothing  # noqa: B018


# -- faults that were -------------------------------------------------------------------------------------------------


def test_batch_norm_far_from_zero():
    """float32 data with |mean| = 200 std: the weight's gradient is not the difference of two large sums."""
    a = (100 + samples.floats((64, 3, 2, 2))).astype("float32")
    up = samples.floats(a.shape, seed=1)
    found = []
    for kind in ("float32", "float64"):
        x = tensor(a.astype(kind), requires_grad=True)
        w = chainrule.ones(3, dtype=x.dtype, requires_grad=True)
        b = chainrule.zeros(3, dtype=x.dtype, requires_grad=True)
        nn.functional.batch_norm(x, None, None, w, b, training=True).backward(tensor(up.astype(kind)))
        found.append([x.grad.numpy(), w.grad.numpy(), b.grad.numpy()])
    for single, double in zip(*found, strict=True):
        assert np.abs(single - double).max() < 1.5e-6 * np.abs(double).max()


def test_binary_cross_entropy_speaks_of_itself():
    with pytest.raises(RuntimeError, match=r"^binary_cross_entropy\(float32\[1\]\): all elements of input should be"):
        nn.functional.binary_cross_entropy(tensor([2.0]), tensor([1.0]))


def test_numpy_numbers_are_numbers():
    x = tensor([1.0, 2.0])
    for number in (np.float64(3), np.float32(3), np.int64(3)):
        for found in (x * number, number * x, number - x, x / number, x**number, chainrule.clamp(x, max=number)):
            assert type(found) is chainrule.Tensor
            assert found.dtype is chainrule.float32
    assert chainrule.full((np.int64(2),), np.float64(3)).dtype is chainrule.float32
    assert chainrule.zeros(np.int64(3)).shape == (3,)
