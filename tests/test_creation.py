"""Making tensors: values, dtypes, shapes and errors as in PyTorch."""

import numpy as np
import pytest

import chainrule

F32, F64, I64, BOOL = chainrule.float32, chainrule.float64, chainrule.int64, chainrule.bool


def raises(kind, text=None):
    return pytest.raises(kind, match=text)


@pytest.mark.parametrize(
    ("data", "dtype", "values"),
    [
        (3, I64, 3),
        (2.5, F32, 2.5),
        (True, BOOL, True),
        ([1, 2.5], F32, [1, 2.5]),
        ([True, 2], I64, [1, 2]),
        ([[1, 2], [3, 4]], I64, [[1, 2], [3, 4]]),
        ((1.0, 2.0), F32, [1, 2]),
        ([], F32, []),
        ([[], []], F32, [[], []]),
        (range(3), I64, [0, 1, 2]),
        (np.float64(3), F64, 3),
        (np.ones(2), F64, [1, 1]),
        (np.array([1, 2], np.int16), chainrule.int16, [1, 2]),
        ([np.float64(1), 2.0], F64, [1, 2]),
        ([2.0, np.float64(1)], F64, [2, 1]),
        ([np.float32(1)], F32, [1]),
        ([np.int32(1)], chainrule.int32, [1]),
        ([np.array([1.0, 2.0])], F64, [[1, 2]]),
    ],
)
def test_tensor_dtypes(data, dtype, values):
    t = chainrule.tensor(data)
    assert t.dtype == dtype
    np.testing.assert_array_equal(t.numpy(), values)


def test_tensor_of_tensors():
    one, two = chainrule.tensor(1), chainrule.tensor(2.0, dtype=F64)
    assert chainrule.tensor([one, 2.0]).dtype == F32
    assert chainrule.tensor([two, 2.0]).dtype == F64
    assert chainrule.tensor([chainrule.ones(2), chainrule.zeros(2)]).tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ([[1, 2], [3]], ValueError),
        (["a"], (TypeError, ValueError)),
        ("a", TypeError),
        (None, (TypeError, RuntimeError)),
        ([None], (TypeError, RuntimeError)),
        ({1}, (TypeError, RuntimeError)),
        ([2**63], ValueError),
        (2**64, ValueError),
        ([1, [2]], (TypeError, ValueError)),
    ],
)
def test_tensor_refuses(data, kind):
    with raises(kind):
        chainrule.tensor(data)


def test_tensor_with_a_dtype():
    assert chainrule.tensor([1.7, -1.7], dtype=I64).tolist() == [1, -1]
    assert chainrule.tensor([-1], dtype=chainrule.uint8).tolist() == [255]
    assert chainrule.tensor([0.1], dtype=F64).item() == 0.1  # not by way of float32
    with raises(RuntimeError, "without overflow"):
        chainrule.tensor([300], dtype=chainrule.uint8)
    with raises(RuntimeError, "without overflow"):
        chainrule.tensor([float("nan")], dtype=I64)
    with raises(RuntimeError, "floating point"):
        chainrule.tensor([1, 2], requires_grad=True)


def test_tensor_copies_and_as_tensor_shares():
    source = np.ones(3, np.float32)
    copied, shared, lent = chainrule.tensor(source), chainrule.as_tensor(source), chainrule.from_numpy(source)
    source[0] = 5
    assert copied.tolist() == [1, 1, 1]
    assert shared.tolist() == lent.tolist() == [5, 1, 1]
    assert chainrule.as_tensor(lent) is lent
    assert chainrule.as_tensor(source, dtype=F64).dtype == F64


def test_from_numpy():
    with raises(TypeError, "expected np.ndarray"):
        chainrule.from_numpy([1])
    with raises(ValueError, "byte order"):
        chainrule.from_numpy(np.ones(2, ">f4"))
    with raises(TypeError):
        chainrule.from_numpy(np.array(["a"]))
    assert chainrule.from_numpy(np.arange(3)[::-1]).tolist() == [2, 1, 0]
    frozen = np.ones(2)
    frozen.flags.writeable = False
    with raises(RuntimeError, "read-only"):
        chainrule.from_numpy(frozen).zero_()
    assert frozen.tolist() == [1, 1]


def test_asarray():
    source = np.ones(2)
    assert chainrule.asarray(source).data_ptr() == source.ctypes.data
    assert chainrule.asarray(source, copy=True).data_ptr() != source.ctypes.data
    with raises(ValueError, "without a copy"):
        chainrule.asarray(chainrule.ones(2), dtype=F64, copy=False)
    assert chainrule.asarray(b"\0\0\x80?", dtype=F32).tolist() == [1.0]
    assert chainrule.asarray([1.0], requires_grad=True).requires_grad


def test_frombuffer():
    memory = bytearray(8)
    t = chainrule.frombuffer(memory, dtype=F32)
    t.fill_(1.0)
    assert memory == b"\0\0\x80?" * 2
    with raises(ValueError):
        chainrule.frombuffer(bytearray(7), dtype=F32)


@pytest.mark.parametrize("make", [chainrule.zeros, chainrule.ones, chainrule.empty, chainrule.rand, chainrule.randn])
def test_sizes(make):
    for call in (make(2, 3), make((2, 3)), make([2, 3]), make(size=(2, 3)), make(chainrule.Size([2, 3]))):
        assert call.shape == (2, 3)
        assert call.dtype == F32
    assert make(()).shape == ()
    assert make(np.int64(2)).shape == (2,)
    assert make(chainrule.tensor(2)).shape == (2,)
    assert make(0, 3).shape == (0, 3)
    assert make(2, dtype=F64, requires_grad=True).requires_grad
    with raises(TypeError):
        make()
    with raises(TypeError, "not float"):
        make(2.0)
    with raises(TypeError, "not bool"):
        make(True)
    with raises(RuntimeError, "non-negative"):
        make(2, -1)
    with raises(RuntimeError):
        make(2, device="mps")


def test_full():
    assert chainrule.full((2,), 3).dtype == I64
    assert chainrule.full((2,), True).dtype == BOOL
    assert chainrule.full((2,), 1.5).dtype == F32
    assert chainrule.full((2,), chainrule.tensor(3.0)).tolist() == [3, 3]
    assert chainrule.full((2,), -1, dtype=chainrule.uint8).tolist() == [255, 255]
    assert chainrule.full((2,), 2.7, dtype=chainrule.int32).tolist() == [2, 2]
    for value, kind in ((300, chainrule.uint8), (1e40, F32), (float("inf"), chainrule.int32)):
        with raises(RuntimeError, "without overflow"):
            chainrule.full((2,), value, dtype=kind)
    assert chainrule.full((1,), float("inf")).item() == float("inf")
    with raises(TypeError):
        chainrule.full(2, 1.0)


def test_out():
    out = chainrule.zeros(3)
    assert chainrule.ones(3, out=out) is out
    assert out.tolist() == [1, 1, 1]


def test_eye():
    assert chainrule.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    with raises(RuntimeError, "n must be"):
        chainrule.eye(-1)
    with raises(RuntimeError, "m must be"):
        chainrule.eye(2, -1)


@pytest.mark.parametrize(
    ("args", "dtype", "values"),
    [
        ((5,), I64, [0, 1, 2, 3, 4]),
        ((1, 3), I64, [1, 2]),
        ((5, 0, -2), I64, [5, 3, 1]),
        ((3.5,), F32, [0, 1, 2, 3]),
        ((0.0, 1), F32, [0]),
        ((1, 2, 0.5), F32, [1, 1.5]),
        ((1, 0, -0.5), F32, [1, 0.5]),
        ((3, 3), I64, []),
    ],
)
def test_arange(args, dtype, values):
    t = chainrule.arange(*args)
    assert t.dtype == dtype
    assert t.tolist() == values


def test_arange_forms_and_errors():
    assert chainrule.arange(end=3).tolist() == chainrule.arange(chainrule.tensor(3)).tolist() == [0, 1, 2]
    assert chainrule.arange(start=1, end=3, step=1).tolist() == [1, 2]
    assert chainrule.arange(5, dtype=chainrule.float16).dtype == chainrule.float16
    assert chainrule.arange(0, 1, 0.1).shape == (10,)
    for args in ((5, 2), (-1,), (0, -0.5)):
        with raises(RuntimeError, "inconsistent with step sign"):
            chainrule.arange(*args)
    with raises(RuntimeError, "step must be nonzero"):
        chainrule.arange(0, 1, 0)
    with raises(RuntimeError, "unsupported range"):
        chainrule.arange(0, float("nan"))


def test_linspace():
    assert chainrule.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert chainrule.linspace(0, 10, 4, dtype=I64).tolist() == [0, 3, 6, 10]
    assert chainrule.linspace(-10, 10, 7, dtype=I64).tolist() == [-10, -6, -3, 0, 3, 6, 10]
    assert chainrule.linspace(3, 9, 1).tolist() == [3]
    assert chainrule.linspace(0, 1, 0).shape == (0,)
    assert chainrule.linspace(0, 1, steps=101)[-1].item() == 1
    with raises(RuntimeError, "non-negative"):
        chainrule.linspace(0, 1, -1)
    with raises(TypeError):
        chainrule.linspace(0, 1)


def test_logspace():
    assert chainrule.logspace(0, 2, 3).tolist() == [1, 10, 100]
    assert chainrule.logspace(0, 3, 4, base=2).tolist() == [1, 2, 4, 8]


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like", "rand_like", "randn_like"])
def test_like(name):
    make = getattr(chainrule, name)
    x = chainrule.zeros(2, 3, dtype=F64).t()
    y = make(x)
    assert (y.shape, y.dtype, y.stride()) == ((3, 2), F64, (1, 3))
    assert make(x, memory_format=chainrule.contiguous_format).stride() == (2, 1)
    assert make(x, dtype=F32).dtype == F32
    assert make(x, requires_grad=True).requires_grad
    assert make(chainrule.tensor(2.0)).shape == ()
    images = make(chainrule.zeros(2, 3, 4, 5), memory_format=chainrule.channels_last)
    assert images.stride() == (60, 1, 15, 3)
    with raises(TypeError, "must be Tensor"):
        make(5)


def test_values_of_likes():
    x = chainrule.zeros(2, dtype=I64)
    assert chainrule.ones_like(x).tolist() == [1, 1]
    assert chainrule.full_like(x, 2.5).tolist() == [2, 2]
    assert chainrule.full_like(x, 2.5, dtype=F32).tolist() == [2.5, 2.5]
    assert chainrule.randint_like(x, 3, 4).tolist() == [3, 3]
    for name in ("rand_like", "randn_like"):
        with raises(NotImplementedError):
            getattr(chainrule, name)(x)


def test_new():
    x = chainrule.zeros(2, 3, dtype=F64)
    assert x.new_zeros(4).dtype == x.new_ones((4,)).dtype == x.new_empty(4).dtype == F64
    assert x.new_full((2,), 3).tolist() == [3.0, 3.0]
    assert x.new_tensor([1, 2]).dtype == F64
    assert x.new_zeros(2, dtype=I64, requires_grad=False).dtype == I64
    assert x.new(2, 5).shape == (2, 5)
    assert x.new([1, 2]).dtype == F64


def test_empty_in_channels_last():
    assert chainrule.empty(2, 3, 4, 5, memory_format=chainrule.channels_last).stride() == (60, 1, 15, 3)
    with raises(RuntimeError, "rank 4"):
        chainrule.empty(2, 3, memory_format=chainrule.channels_last)


def test_old_constructors():
    assert chainrule.Tensor(2, 3).shape == chainrule.FloatTensor(2, 3).shape == (2, 3)
    assert chainrule.Tensor().shape == (0,)
    assert chainrule.Tensor((2, 3)).tolist() == [2.0, 3.0]
    assert chainrule.Tensor(chainrule.Size([2, 3])).shape == (2, 3)
    assert chainrule.Tensor([1, 2]).dtype == F32
    assert chainrule.LongTensor([1.5, 2]).tolist() == [1, 2]
    assert chainrule.ByteTensor([1]).dtype == chainrule.uint8
    assert isinstance(chainrule.ones(1), chainrule.FloatTensor)
    assert not isinstance(chainrule.ones(1), chainrule.LongTensor)
    assert not isinstance(1.0, chainrule.FloatTensor)
    with raises(TypeError):
        chainrule.FloatTensor(chainrule.ones(2, dtype=F64))
    with raises(TypeError):
        chainrule.Tensor(5.0)


def test_default_dtype():
    chainrule.set_default_dtype(F64)
    try:
        assert chainrule.tensor([1.0]).dtype == chainrule.zeros(1).dtype == chainrule.arange(1.0).dtype == F64
        assert chainrule.Tensor([1]).dtype == chainrule.rand(1).dtype == F64
    finally:
        chainrule.set_default_dtype(F32)
    with raises(TypeError, "floating-point"):
        chainrule.set_default_dtype(I64)


def test_default_device():
    assert chainrule.get_default_device() == chainrule.device("cpu")
    with chainrule.device("cpu") as place:
        assert chainrule.get_default_device() == place
        chainrule.set_default_device("cpu")
    with raises(RuntimeError, "no device of type 'mps'"):
        chainrule.set_default_device("mps")
    with chainrule.device("mps"), raises(RuntimeError, "no device of type 'mps'"):
        chainrule.zeros(1)
    assert chainrule.zeros(1).device == chainrule.device("cpu")


@pytest.mark.skipif(chainrule.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said_clearly():
    for call in (
        lambda: chainrule.zeros(1, device="cuda"),
        chainrule.zeros(1).cuda,
        lambda: chainrule.zeros(1).to("cuda:0"),
    ):
        with raises(RuntimeError, "CuPy|GPU|CUDA"):
            call()
    assert chainrule.cuda.device_count() == 0
    chainrule.cuda.manual_seed_all(0)
    chainrule.cuda.empty_cache()


@pytest.mark.parametrize("text", ["foo", "cuda:x", "cpu:", ""])
def test_device_names(text):
    with raises(RuntimeError):
        chainrule.device(text)


def test_device():
    assert chainrule.device("cuda", 1) == chainrule.device("cuda:1") == chainrule.device(1)
    assert str(chainrule.device("cuda:1")) == "cuda:1"
    assert repr(chainrule.device("cuda:1")) == "device(type='cuda', index=1)"
    assert chainrule.zeros(1, device="cpu:0").device == chainrule.device("cpu")
    with raises(RuntimeError, "does not exist"):
        chainrule.zeros(1, device="cpu:1")


def test_bfloat16():
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs the extra chainrule[bfloat16]")
    x = chainrule.tensor([1.0, 2.0, 3.0], dtype=chainrule.bfloat16, requires_grad=True)
    y = x * 2.5 + x / 3 - x.sum()
    assert y.dtype == chainrule.bfloat16
    y.sum().backward()
    assert x.grad.dtype == chainrule.bfloat16
    assert x.grad.float().tolist() == pytest.approx([-1 / 6] * 3, abs=0.02)
    assert chainrule.full((2,), 1.5, dtype=chainrule.bfloat16).tolist() == [1.5, 1.5]
    assert chainrule.rand(500, dtype=chainrule.bfloat16).float().max().item() < 1
