"""What libraries of language models ask of PyTorch beside layers and losses, in calls of our own."""

import copy
import pickle
import warnings

import pytest

import chainrule

# -- limits of dtypes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bits", "eps", "largest", "smallest_normal"),
    [
        ("float8_e4m3fn", 8, 0.125, 448.0, 2.0**-6),
        ("float8_e4m3fnuz", 8, 0.125, 240.0, 2.0**-7),
        ("float8_e5m2", 8, 0.25, 57344.0, 2.0**-14),
        ("float8_e5m2fnuz", 8, 0.125, 57344.0, 2.0**-15),
        ("bfloat16", 16, 2.0**-7, 3.3895313892515355e38, 2.0**-126),
        ("complex32", 16, 2.0**-10, 65504.0, 2.0**-14),
    ],
)
def test_limits_of_floats_that_numpy_has_not(name, bits, eps, largest, smallest_normal):
    limits = chainrule.finfo(getattr(chainrule, name))
    assert (limits.bits, limits.eps, limits.max, limits.min) == (bits, eps, largest, -largest)
    assert limits.tiny == limits.smallest_normal == smallest_normal
    assert limits.dtype == ("float16" if name == "complex32" else name)


def test_limits_of_powers_of_two():
    limits = chainrule.finfo(chainrule.float8_e8m0fnu)
    assert (limits.min, limits.max) == (2.0**-127, 2.0**127)


def test_limits_are_compared_and_printed():
    assert chainrule.finfo(chainrule.float32) == chainrule.finfo(chainrule.complex64)
    assert chainrule.finfo(chainrule.float32) != chainrule.finfo(chainrule.float64)
    assert repr(chainrule.finfo(chainrule.float32)) == (
        "finfo(resolution=1e-06, min=-3.40282e+38, max=3.40282e+38, eps=1.19209e-07, smallest_normal=1.17549e-38, "
        "tiny=1.17549e-38, dtype=float32)"
    )
    assert repr(chainrule.iinfo(chainrule.uint16)) == "iinfo(min=0, max=65535, dtype=uint16)"
    assert chainrule.iinfo(chainrule.int8) == chainrule.iinfo(chainrule.int8)
    for wrong, kind in ((chainrule.finfo, chainrule.int8), (chainrule.iinfo, chainrule.bool)):
        with pytest.raises(TypeError, match="takes"):
            wrong(kind)


@pytest.mark.parametrize("name", ["float8_e5m2", "uint16", "complex32", "bool", "bfloat16"])
def test_dtypes_are_pickled_by_name(name):
    kind = getattr(chainrule, name)
    assert pickle.loads(pickle.dumps(kind)) is kind


# -- arithmetic of two Python numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "expected", "kind"),
    [
        (lambda: chainrule.add(1, 2), 3, "int64"),
        (lambda: chainrule.add(1, 2, alpha=3), 7, "int64"),
        (lambda: chainrule.sub(2, 1.5), 0.5, "float32"),
        (lambda: chainrule.mul(True, True), True, "bool"),
        (lambda: chainrule.mul(2, 1j), 2j, "complex64"),
        (lambda: chainrule.div(7, 2), 3.5, "float32"),
        (lambda: chainrule.div(-7, 2, rounding_mode="trunc"), -3, "int64"),
        (lambda: chainrule.div(-7, 2, rounding_mode="floor"), -4, "int64"),
        (lambda: chainrule.floor_divide(7, 2), 3, "int64"),
    ],
)
def test_two_python_numbers(call, expected, kind):
    out = call()
    assert (out.item(), out.shape, out.dtype) == (expected, (), getattr(chainrule, kind))


def test_most_functions_refuse_two_python_numbers():
    for function in (chainrule.pow, chainrule.maximum, chainrule.eq, chainrule.atan2, chainrule.matmul):
        with pytest.raises(TypeError, match="needs a Tensor among its inputs"):
            function(1, 2)


# -- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [6, 300])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_stays_in_its_row(rows, bad):
    weight = chainrule.zeros(rows, 3, requires_grad=True)
    seed = chainrule.ones(2, 2, 3)
    seed[0, 1, 0] = bad
    chainrule.nn.functional.embedding(chainrule.tensor([[1, 2], [2, 5]]), weight).backward(seed)
    wrong = chainrule.nonzero(~chainrule.isfinite(weight.grad)).tolist()
    assert wrong == [[2, 0]]
    assert weight.grad[[0, 1, 5]].tolist() == [[0.0] * 3, [1.0] * 3, [1.0] * 3]


# -- names ------------------------------------------------------------------------------------------------------------


def test_convolution_of_time_batch_channels():
    x, weight = chainrule.randn(5, 2, 3, requires_grad=True), chainrule.randn(2, 3, 4, requires_grad=True)
    bias = chainrule.randn(4)
    out = chainrule.conv_tbc(x, weight, bias, 1)
    padded = chainrule.cat([chainrule.zeros(1, 2, 3), x, chainrule.zeros(1, 2, 3)])
    expected = padded[:-1] @ weight[0] + padded[1:] @ weight[1] + bias
    assert out.shape == (6, 2, 4)
    chainrule.testing.assert_close(out, expected)
    given = chainrule.autograd.grad(out.sin().sum(), (x, weight))
    for got, want in zip(given, chainrule.autograd.grad(expected.sin().sum(), (x, weight)), strict=True):
        chainrule.testing.assert_close(got, want)
    with pytest.raises(RuntimeError, match="time, batch"):
        chainrule.conv_tbc(x[0], weight, bias)


def test_the_old_name_of_the_contiguous_format():
    assert chainrule.legacy_contiguous_format is chainrule.contiguous_format
    x = chainrule.ones(2, 3).t()
    assert chainrule.zeros_like(x, memory_format=chainrule.legacy_contiguous_format).is_contiguous()


def test_a_file_is_read_to_the_place_that_a_function_names(tmp_path):
    restore = chainrule.serialization.default_restore_location
    chainrule.save({"x": chainrule.ones(2)}, tmp_path / "x.pt")
    found = chainrule.load(tmp_path / "x.pt", map_location=lambda storage, location: restore(storage, "cpu"))
    assert found["x"].tolist() == [1.0, 1.0]


def test_recomputation_without_anything_to_train_is_warned_of():
    check = chainrule.utils.checkpoint.check_backward_validity
    check([1, chainrule.ones(2, requires_grad=True)])
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        check([1, chainrule.ones(2)])


# -- memory of files --------------------------------------------------------------------------------------------------


def test_memory_of_a_file(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(range(1, 9)))
    memory = chainrule.UntypedStorage.from_file(str(path), False, 8)
    assert memory.untyped() is memory
    assert (len(memory), memory.nbytes(), memory[2], memory[2:4].tolist()) == (8, 8, 3, [3, 4])
    piece = chainrule.asarray(memory[2:6], dtype=chainrule.uint8)
    assert piece.view(dtype=chainrule.int16).tolist() == [3 + 256 * 4, 5 + 256 * 6]
    piece.fill_(0)
    assert path.read_bytes() == bytes(range(1, 9))  # a private mapping
    with pytest.raises(RuntimeError, match="unable to map 9 bytes"):
        chainrule.UntypedStorage.from_file(path, False, 9)
    with pytest.raises(RuntimeError, match="unable to map"):
        chainrule.UntypedStorage.from_file(tmp_path / "none.bin", nbytes=1)
    shared = chainrule.UntypedStorage.from_file(tmp_path / "new.bin", True, 3)
    shared[1] = 7
    assert (tmp_path / "new.bin").read_bytes() == bytes([0, 7, 0])
    assert chainrule.UntypedStorage(2).tolist() == chainrule.zeros(2, dtype=chainrule.uint8).untyped_storage().tolist()


# -- modules ----------------------------------------------------------------------------------------------------------


def test_a_module_is_registered_beside_a_property_of_its_name():
    class Wrapper(chainrule.nn.Module):
        @property
        def inner(self):
            return "property"

    wrapper = Wrapper()
    wrapper.inner = chainrule.nn.Linear(1, 1)
    assert wrapper.inner == "property"
    assert list(wrapper.state_dict()) == ["inner.weight", "inner.bias"]
    assert list(wrapper._modules) == ["inner"]
    wrapper.inner = None
    assert wrapper._modules == {"inner": None}


def test_a_module_is_found_where_the_property_of_its_name_fails():
    class Wrapper(chainrule.nn.Module):
        @property
        def inner(self):
            return self.later.inner

    wrapper = Wrapper()
    child = wrapper.inner = chainrule.nn.Linear(1, 1)
    assert wrapper.inner is child
    with pytest.raises(AttributeError, match="'Wrapper' object has no attribute 'later'"):
        wrapper.later  # noqa: B018


def test_what_is_put_past_the_assignment_is_hidden():
    class Student(chainrule.nn.Module):
        def __init__(self, teacher):
            super().__init__()
            self.__dict__["teacher"] = teacher
            object.__setattr__(self, "weight", chainrule.nn.Parameter(chainrule.zeros(3)))
            self.layer = chainrule.nn.Linear(1, 1)
            object.__setattr__(self.layer, "parent", self)  # a circle, were it a child

    student = Student(chainrule.nn.Linear(2, 2))
    for twin in (student, copy.deepcopy(student)):
        assert list(twin.state_dict()) == ["layer.weight", "layer.bias"]
        assert [name for name, _ in twin.named_modules()] == ["", "layer"]
        assert len(list(twin.parameters())) == 2
        assert twin.teacher.in_features == 2
        assert twin.layer.parent is twin
    student.teacher = chainrule.nn.Linear(1, 1)  # assigned after all
    assert "teacher.weight" in student.state_dict()
    layer = chainrule.nn.Linear(1, 1)
    object.__setattr__(layer, "other", chainrule.nn.Linear(2, 2))
    assert list(pickle.loads(pickle.dumps(layer)).state_dict()) == ["weight", "bias"]


# -- out= -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda out: chainrule.arange(4, out=out), (4,)),
        (lambda out: chainrule.range(0, 3, out=out), (4,)),
        (lambda out: chainrule.linspace(0, 1, 3, out=out), (3,)),
        (lambda out: chainrule.zeros(2, 3, out=out), (2, 3)),
        (lambda out: chainrule.full((2, 2), 7.0, out=out), (2, 2)),
        (lambda out: chainrule.eye(2, out=out), (2, 2)),
        (lambda out: chainrule.rand(2, 3, out=out), (2, 3)),
        (lambda out: chainrule.randperm(4, out=out), (4,)),
        (lambda out: chainrule.bernoulli(chainrule.ones(3), out=out), (3,)),
        (lambda out: chainrule.multinomial(chainrule.ones(3), 2, out=out), (2,)),
    ],
)
@pytest.mark.parametrize("size", [(0,), (1,), (3, 4)])
@pytest.mark.filterwarnings("ignore:range is deprecated")
def test_what_is_made_into_another_tensor_gives_it_its_shape(make, shape, size):
    out = chainrule.full(size, -1.0)
    assert make(out) is out
    assert out.shape == shape
    assert (out >= 0).all()


def test_results_resize_the_tensor_that_takes_them():
    x = chainrule.tensor([[1.0, 2.0], [3.0, 4.0]])
    out, at = chainrule.zeros(3), chainrule.zeros(1, dtype=chainrule.int64)
    for call, expected in (
        (lambda: chainrule.add(x, 1, out=out), x + 1),
        (lambda: chainrule.matmul(x, x[0], out=out), x @ x[0]),
        (lambda: chainrule.cat([x, x], out=out), chainrule.cat([x, x])),
    ):
        with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
            assert call() is out
        assert chainrule.equal(out, expected)
    with pytest.warns(UserWarning, match="resized since it had shape \\[1\\]"):
        chainrule.max(x, 0, out=(chainrule.zeros(0), at))
    assert at.tolist() == [1, 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda out, x: chainrule.add(x, x, out=out),
        lambda out, x: chainrule.exp(x, out=out),
        lambda out, x: chainrule.cat([x, x], out=out),
        lambda out, x: chainrule.masked_select(x, x > 0, out=out),
        lambda out, x: chainrule.where(x > 0, x, x, out=out),
        lambda out, x: chainrule.normal(x, x, out=out),
    ],
)
def test_results_keep_their_category_in_the_tensor_that_takes_them(call):
    x = chainrule.tensor([1.0, 2.5])
    for kind in (chainrule.bool, chainrule.uint8, chainrule.int64):
        with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type"):
            call(chainrule.zeros(2, dtype=kind), x)
    with pytest.raises(TypeError, match="argument 'out' must be Tensor, not int"):
        call(3, x)
    assert call(chainrule.zeros(0, dtype=chainrule.float64), x).dtype == chainrule.float64


def test_functions_of_positions_take_out():
    x, at = chainrule.arange(4.0), chainrule.tensor([2])
    assert chainrule.take(x, at, out=chainrule.zeros(0)).tolist() == [2.0]
    for function in (chainrule.scatter, chainrule.scatter_add, chainrule.index_add, chainrule.index_copy):
        out = chainrule.zeros(0)
        assert function(x, 0, at, x[3:], out=out) is out
        assert chainrule.equal(out, function(x, 0, at, x[3:]))
    assert chainrule.scatter_reduce(x, 0, at, x[3:], "amax", out=out.resize_(0)).tolist() == [0.0, 1.0, 3.0, 3.0]


# -- losses -----------------------------------------------------------------------------------------------------------


def test_the_first_name_of_the_mean():
    scores, target = chainrule.randn(3, 4), chainrule.tensor([0, 1, 2])
    for loss, args in (
        (chainrule.nn.functional.cross_entropy, (scores, target)),
        (chainrule.nn.functional.mse_loss, (scores, scores + 1)),
        (chainrule.nn.functional.kl_div, (scores, scores.softmax(1))),
    ):
        with pytest.warns(UserWarning, match="'elementwise_mean' is deprecated"):
            found = loss(*args, reduction="elementwise_mean")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chainrule.testing.assert_close(found, loss(*args, reduction="mean"))


def test_shapes_as_tensors():
    import chainrule.onnx.operators as operators

    x = chainrule.zeros(2, 3)
    shape = operators.shape_as_tensor(x)
    assert (shape.tolist(), shape.dtype) == ([2, 3], chainrule.int64)
    assert operators.reshape_from_tensor_shape(x, chainrule.tensor([-1, 2])).shape == (3, 2)


def test_other_forms_of_checkpoints():
    from chainrule.utils import checkpoint as checkpoints

    x = chainrule.tensor([1.0, 2.0], requires_grad=True)
    calls = []

    def cube(x):
        calls.append(1)
        return x**3

    checkpoints.CheckpointFunction.apply(cube, True, x).sum().backward()
    assert (x.grad.tolist(), len(calls)) == ([3.0, 12.0], 2)

    def contexts():
        return checkpoints.create_selective_checkpoint_contexts(lambda *_: checkpoints.CheckpointPolicy.MUST_SAVE)

    with checkpoints.set_checkpoint_early_stop(False), checkpoints.set_checkpoint_debug_enabled(None):
        out = checkpoints.checkpoint(cube, x, use_reentrant=False, context_fn=contexts)
    (given,) = chainrule.autograd.grad(out.sum(), x)
    assert given.tolist() == [3.0, 12.0]


def test_extensions_are_not_built():
    from chainrule.utils import cpp_extension

    with pytest.raises(RuntimeError, match="Error building extension 'ops'"):
        cpp_extension.load(name="ops", sources=["ops.cpp"], verbose=True)
    with pytest.raises(RuntimeError, match="Error building extension 'ops'"):
        cpp_extension.load_inline("ops", "int x;", functions=["f"])
    assert cpp_extension.CUDA_HOME is None
    assert not cpp_extension.is_ninja_available()
    assert cpp_extension.include_paths(cuda=True) == []
