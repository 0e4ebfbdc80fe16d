"""What a Tensor says of itself, converts to, copies to: names, results and errors as in PyTorch."""

import copy
import gc
import math
import pickle
import weakref

import numpy as np
import pytest

import chainrule

F32, F64, I64 = chainrule.float32, chainrule.float64, chainrule.int64


def raises(kind, text=None):
    return pytest.raises(kind, match=text)


def leaf(*shape, dtype=F32):
    return chainrule.ones(*shape, dtype=dtype, requires_grad=True)


# -- attributes -------------------------------------------------------------------------------------------------------


def test_shape_and_memory():
    x = chainrule.zeros(2, 3, dtype=F64)
    assert isinstance(x.shape, chainrule.Size)
    assert x.shape == x.size() == (2, 3)
    assert (x.size(0), x.size(-1), x.dim(), x.ndimension(), x.ndim) == (2, 3, 2, 2, 2)
    assert x.numel() == x.nelement() == chainrule.numel(x) == 6
    assert (x.itemsize, x.element_size(), x.nbytes) == (8, 8, 48)
    assert (x.stride(), x.stride(0), x.t().stride()) == ((3, 1), 3, (1, 3))
    assert x.is_contiguous()
    assert not x.t().is_contiguous()
    with raises(IndexError, r"\[-2, 1\], but got 5"):
        x.size(5)
    part = x[1, 1:]
    assert part.storage_offset() == 4
    assert part.data_ptr() == x.data_ptr() + 32
    assert part.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() == x.data_ptr()
    assert x.untyped_storage().nbytes() == len(x.untyped_storage()) == 48


def test_address_of_a_number_is_stable():
    x = chainrule.ones(3).sum()
    assert x.data_ptr() == x.data_ptr()
    assert x.untyped_storage().data_ptr() == x.data_ptr()


def test_kinds():
    x = leaf(2)
    assert x.is_floating_point()
    assert chainrule.is_floating_point(x)
    assert not chainrule.zeros(2, dtype=I64).is_floating_point()
    assert not x.is_complex()
    assert not chainrule.is_complex(x)
    assert chainrule.is_tensor(x)
    assert not chainrule.is_tensor(1)
    assert x.is_signed()
    assert not chainrule.zeros(1, dtype=chainrule.uint8).is_signed()
    assert x.is_cpu
    others = ("is_cuda", "is_sparse", "is_quantized", "is_meta", "is_mps", "is_xpu", "is_nested")
    assert [name for name in others if getattr(x, name)] == []
    assert x.get_device() == -1
    assert x.layout is chainrule.strided
    assert repr(x.layout) == "chainrule.strided"
    assert not x.is_pinned()
    assert chainrule.equal(x.pin_memory(), x)
    assert not x.is_shared()
    assert x.share_memory_() is x
    assert x.is_same_size(leaf(2))
    assert not x.is_same_size(leaf(3))
    with raises(TypeError, "must be Tensor"):
        chainrule.is_floating_point(5)


def test_size():
    size = chainrule.Size([2, 3])
    assert repr(size) == "chainrule.Size([2, 3])"
    assert size.numel() == 6
    for other in (size + (1,), size * 2, size[:1], (1,) + size, 2 * size):  # noqa: RUF005
        assert isinstance(other, chainrule.Size)
    assert (1,) + size == (1, 2, 3)  # noqa: RUF005
    assert pickle.loads(pickle.dumps(size)) == size


def test_iteration():
    x = chainrule.tensor([[1.0, 2], [3, 4]], requires_grad=True)
    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    assert [row.tolist() for row in reversed(x)] == [[3, 4], [1, 2]]
    assert 3 in x
    assert 7 not in x
    first, second = x
    (first * second).sum().backward()
    assert x.grad.tolist() == [[3, 4], [1, 2]]
    with raises(TypeError, "iteration over a 0-d tensor"):
        iter(x.sum())
    with raises(TypeError, r"len\(\) of a 0-d tensor"):
        len(x.sum())


def test_item_and_tolist():
    assert chainrule.tensor([[2.5]]).item() == 2.5
    assert isinstance(chainrule.tensor(2).item(), int)
    assert isinstance(chainrule.tensor(True).item(), bool)
    assert chainrule.tensor(3).tolist() == 3
    assert chainrule.ones(2, 0).tolist() == [[], []]
    with raises(RuntimeError, "2 elements cannot be converted to Scalar"):
        chainrule.ones(2).item()


def test_requires_grad():
    x = chainrule.ones(2)
    assert x.is_leaf
    assert x.requires_grad_() is x
    assert x.requires_grad
    y = x * 2
    assert not y.is_leaf
    assert y.grad_fn.name() == "MulBackward0"
    with raises(RuntimeError, "leaf variables"):
        y.requires_grad_(False)
    with raises(RuntimeError, "floating point"):
        chainrule.ones(2, dtype=I64).requires_grad_()
    x.requires_grad = False
    assert not x.requires_grad


def test_grad_is_checked():
    x = leaf(2, 3)
    x.grad = chainrule.ones(2, 3)
    x.grad = None
    for wrong, kind in (
        (5, TypeError),
        (chainrule.ones(2), RuntimeError),
        (chainrule.ones(2, 3, dtype=F64), RuntimeError),
    ):
        with raises(kind):
            x.grad = wrong
    assert x.grad is None
    x.sum().backward()
    del x.grad
    assert x.grad is None


def test_integers_are_outside_the_graph():
    x = leaf(2)
    for ints in (x.long(), x.to(chainrule.uint8), x.bool(), chainrule.zeros(2, dtype=I64).copy_(x)):
        assert not ints.requires_grad


def test_detach():
    x = leaf(3)
    y = x * 2
    d = y.detach()
    assert not d.requires_grad
    assert d.data_ptr() == y.data_ptr()
    assert y.data.data_ptr() == y.data_ptr()
    assert y.detach_() is y
    assert y.is_leaf
    assert not y.requires_grad
    with raises(RuntimeError, "Can't detach views in-place"):
        (x * 2)[0].detach_()


def test_detach_in_place_leaves_views_right():
    x = leaf(3)
    y = x * 2
    part = y[:2]
    y.detach_()
    (part * part).sum().backward()
    assert x.grad.tolist() == [8, 8, 0]
    with chainrule.no_grad():
        y.fill_(5)
    assert part.tolist() == [5, 5]


def test_views_made_before_requires_grad():
    base = chainrule.ones(3)
    part = base[:2]
    base.requires_grad_()
    w = leaf(2)
    with raises(RuntimeError, "leaf"):
        part.add_(w)
    assert base.tolist() == [1, 1, 1]


def test_data_can_be_replaced():
    x = leaf(2)
    x.data = chainrule.tensor([5.0, 6.0, 7.0])
    assert x.tolist() == [5, 6, 7]
    assert x.requires_grad
    with raises(TypeError):
        x.data = 5


def test_version_counts_writes():
    x = chainrule.ones(3)
    before, view = x._version, x[:1]
    x.add_(1)
    view.zero_()
    assert x._version == view._version == before + 2


# -- conversion -------------------------------------------------------------------------------------------------------


def test_to():
    x = leaf(2, 3)
    for same in (
        x.to("cpu"),
        x.to(F32),
        x.to(None),
        x.to(),
        x.to(x),
        x.to(device="cpu"),
        x.to(chainrule.device("cpu"), F32),
    ):
        assert same is x
    assert x.to(F32, copy=True) is not x
    for converted in (
        x.to(F64),
        x.to("cpu", F64),
        x.to(device="cpu", dtype=F64),
        x.to(dtype=F64),
        x.to(chainrule.ones(1, dtype=F64)),
        x.to(other=chainrule.ones(1, dtype=F64)),
        x.to(F64, True, True),
        x.to(float),
    ):
        assert converted.dtype == F64
        assert converted.requires_grad
    assert x.to(I64).requires_grad is False
    images = chainrule.zeros(2, 3, 4, 5)
    assert images.to(memory_format=chainrule.channels_last).stride() == (60, 1, 15, 3)
    for wrong in ("float32", "cuda:x"):
        with raises(RuntimeError):
            x.to(wrong)
    with raises(TypeError):
        x.to(F32, dtyp=5)


def test_gradient_through_to():
    x = leaf(3)
    (x.to(F64) * chainrule.tensor([1.0, 2, 3], dtype=F64)).sum().backward()
    assert x.grad.dtype == F32
    assert x.grad.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float", "float32"),
        ("double", "float64"),
        ("half", "float16"),
        ("long", "int64"),
        ("int", "int32"),
        ("short", "int16"),
        ("char", "int8"),
        ("byte", "uint8"),
        ("bool", "bool"),
    ],
)
def test_short_forms(name, dtype):
    assert getattr(chainrule.ones(2, dtype=I64), name)().dtype == getattr(chainrule, dtype)


def test_type():
    x = chainrule.ones(2)
    assert x.type() == "chainrule.FloatTensor" == str(x.type())
    assert x.type() == "torch.FloatTensor"
    assert x.type() != "torch.DoubleTensor"
    assert {"torch.FloatTensor": 1}[x.type()] == 1
    assert type(pickle.loads(pickle.dumps(x.type()))) is str
    assert chainrule.typename(x) == "chainrule.FloatTensor"
    assert chainrule.typename(5) == "int"
    assert x.type("torch.DoubleTensor").dtype == x.type("chainrule.DoubleTensor").dtype == F64
    assert x.type(chainrule.LongTensor).dtype == x.type(I64).dtype == I64
    assert x.type_as(chainrule.ones(1, dtype=F64)).dtype == F64
    assert x.cpu() is x
    with raises(ValueError, "invalid type"):
        x.type("foo")


def test_set_default_tensor_type():
    chainrule.set_default_tensor_type("chainrule.DoubleTensor")
    try:
        assert chainrule.ones(1).dtype == F64
    finally:
        chainrule.set_default_tensor_type(chainrule.FloatTensor)
    assert chainrule.ones(1).dtype == F32


# -- copy_, fill_, zero_ ----------------------------------------------------------------------------------------------


def test_copy():
    x = chainrule.ones(2, 3)
    address = x.data_ptr()
    assert x.copy_(chainrule.tensor([1, 2, 3])) is x
    assert x.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert (x.dtype, x.data_ptr()) == (F32, address)
    x.copy_(5)
    assert x.tolist() == [[5, 5, 5], [5, 5, 5]]
    ints = chainrule.zeros(2, dtype=I64)
    assert ints.copy_(chainrule.tensor([1.7, -1.7])).tolist() == [1, -1]
    for source in (chainrule.ones(2), chainrule.ones(1, 2, 3)):
        with raises(RuntimeError, "broadcast shape"):
            x.copy_(source)
    with raises(TypeError, "must be Tensor"):
        x.copy_([1, 2, 3])


def test_copy_is_recorded():
    x, source = leaf(3), leaf(1, dtype=F64)
    y = x * 2
    y.copy_(source * 3)
    (y * chainrule.tensor([1.0, 2, 3])).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]
    assert source.grad.tolist() == [18]
    assert source.grad.dtype == F64
    plain = chainrule.zeros(3)
    plain[1:].copy_(source.float() * 2)
    assert plain.requires_grad
    assert chainrule.autograd.grad(plain.sum(), source)[0].tolist() == [4]


def test_fill_and_zero():
    x = chainrule.ones(3, dtype=chainrule.uint8)
    assert x.fill_(-1).tolist() == [255, 255, 255]
    assert x.fill_(chainrule.tensor(7.0)).tolist() == [7, 7, 7]
    assert x.zero_().tolist() == [0, 0, 0]
    with raises(RuntimeError, "without overflow"):
        x.fill_(300)
    with raises(RuntimeError, "0-dimension"):
        x.fill_(chainrule.ones(2))
    assert chainrule.ones(2, dtype=chainrule.int32).fill_(2.7).tolist() == [2, 2]
    assert chainrule.fill(chainrule.ones(2), 3).tolist() == [3, 3]


def test_fill_and_zero_are_recorded():
    for change in (lambda y: y.zero_(), lambda y: y.fill_(3.0), lambda y: y.copy_(chainrule.ones(3))):
        x = leaf(3)
        y = x * 2
        z = y * y
        change(y)
        assert y.requires_grad
        (y.sum() + z.sum()).backward()
        assert x.grad.tolist() == [8, 8, 8]  # from z alone, and with the values that it was made of
    value = leaf(())
    chainrule.fill(chainrule.ones(3), value).sum().backward()
    assert value.grad.item() == 3
    value.grad = None
    chainrule.zeros(3).fill_(value).sum().backward()
    assert value.grad.item() == 3


@pytest.mark.parametrize("change", [lambda x: x.zero_(), lambda x: x.fill_(1), lambda x: x.copy_(chainrule.ones(3))])
def test_leaves_are_not_overwritten_under_recording(change):
    x = leaf(3)
    with raises(RuntimeError, "leaf"):
        change(x)
    with chainrule.no_grad():
        change(x)
    assert x.requires_grad


def test_apply_and_map():
    x = chainrule.tensor([[1, 2], [3, 4]])
    assert x.apply_(lambda v: v * 10).tolist() == [[10, 20], [30, 40]]
    assert x.map_(chainrule.tensor([1, 2]), lambda a, b: a + b).tolist() == [[11, 22], [31, 42]]
    with raises(RuntimeError, "record"):
        leaf(2).apply_(lambda v: v)


# -- copies and pickles -----------------------------------------------------------------------------------------------


def test_deepcopy():
    x = leaf(2)
    x.grad = chainrule.tensor([3.0, 4.0])
    x.note = ["mine"]
    other = copy.deepcopy({"a": x, "b": x, "view": x.detach()})
    assert other["a"] is other["b"]
    assert other["a"].requires_grad
    assert other["a"].grad.tolist() == [3, 4]
    assert other["a"].note == ["mine"]
    assert other["a"].note is not x.note
    assert other["a"].data_ptr() != x.data_ptr()
    with raises(RuntimeError, "graph leaves"):
        copy.deepcopy(x * 2)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    x = leaf(2, 3)
    x.note = "mine"
    hook = x.register_hook(lambda g: g)
    for t in (x, x * 2, x[0], chainrule.tensor(2), chainrule.ones(2, 3).t(), x.sum().detach()):
        back = pickle.loads(pickle.dumps(t, protocol))
        assert back.tolist() == t.tolist()
        assert (back.dtype, back.shape, back.requires_grad) == (t.dtype, t.shape, t.requires_grad)
        assert back.is_leaf
    assert pickle.loads(pickle.dumps(x, protocol)).note == "mine"
    hook.remove()


class Named(chainrule.Tensor):
    """A subclass of a user's own, as Parameter is one."""


def test_subclasses_come_back_as_such():
    x = chainrule.autograd.tensor.Tensor.__new__(Named)
    x.array, x.node, x.leaf, x.grad = np.ones(2, np.float32), None, True, None
    for back in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(back) is Named
        assert back.tolist() == [1, 1]
        assert back.requires_grad


def test_dtypes_devices_and_formats_come_back():
    for x in (F32, chainrule.bool, chainrule.device("cuda:1"), chainrule.channels_last, chainrule.strided):
        back = pickle.loads(pickle.dumps(x))
        assert back == x
        assert copy.deepcopy(x) == x


def test_a_tensor_goes_without_the_garbage_collector():
    gc.disable()
    try:
        x = leaf(3)
        y = x * 2
        y.zero_()
        made = [x.to(F64), x.numpy(force=True), y, copy.deepcopy(x)]
        watch = [weakref.ref(t) for t in (x, y, *made) if isinstance(t, chainrule.Tensor)]
        del x, y, made
        assert [w() for w in watch] == [None] * len(watch)
    finally:
        gc.enable()


# -- the package ------------------------------------------------------------------------------------------------------


def test_public_names():
    assert chainrule.__all__ == sorted(chainrule.__all__)
    for name in ("float", "int", "bool", "long", "tensor", "matmul", "no_grad", "pi", "inf", "device", "Size"):
        assert name in chainrule.__all__
    for name in ("cuda", "nn", "optim", "jit", "distributions", "tensor", "autocast"):
        assert name in dir(chainrule)
    assert chainrule.nan != chainrule.nan
    assert chainrule.newaxis is None
    with raises(AttributeError, "no attribute 'tensr'"):
        _ = chainrule.tensr


def test_modules_by_name():
    import chainrule.cuda
    import chainrule.nn as nn
    from chainrule.cuda import is_available

    assert nn is chainrule.nn
    assert is_available() == chainrule.cuda.is_available()


def test_threads_of_the_processor():
    before = chainrule.get_num_threads()
    assert before >= 1
    try:
        chainrule.set_num_threads(1)
        assert chainrule.get_num_threads() <= before
    finally:
        chainrule.set_num_threads(before)
    assert chainrule.get_num_threads() == before
    with raises(RuntimeError, "positive"):
        chainrule.set_num_threads(0)


def test_in_asks_for_a_number_or_a_tensor():
    x = chainrule.tensor([1.0, 2.0])
    assert [element in x for element in (2.0, chainrule.tensor(1), np.float32(1), np.array(3.0))] == [True] * 3 + [
        False
    ]
    with pytest.raises(RuntimeError, match="does not take <class 'str'>"):
        "a" in x  # noqa: B015


def test_math_takes_a_tensor_for_a_number():
    x = chainrule.tensor(2.5)
    assert [math.floor(x), math.ceil(x), math.sqrt(x * 10)] == [2, 3, 5]
    assert list(range(math.ceil(x))) == [0, 1, 2]
    assert {type(f(x)) for f in (math.floor, math.ceil)} == {int}
