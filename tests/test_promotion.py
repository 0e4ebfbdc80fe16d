"""dtype promotion: PyTorch's results, as a table. test_torch_promotion.py compares it with PyTorch itself."""

import pytest

import chainrule

NAMES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]

# Row and column: two tensors with dimensions, or two 0-d ones.
TENSORS = """
bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64
uint8 uint8 int16 int16 int32 int64 float16 bfloat16 float32 float64
int8 int16 int8 int16 int32 int64 float16 bfloat16 float32 float64
int16 int16 int16 int16 int32 int64 float16 bfloat16 float32 float64
int32 int32 int32 int32 int32 int64 float16 bfloat16 float32 float64
int64 int64 int64 int64 int64 int64 float16 bfloat16 float32 float64
float16 float16 float16 float16 float16 float16 float16 float32 float32 float64
bfloat16 bfloat16 bfloat16 bfloat16 bfloat16 bfloat16 float32 bfloat16 float32 float64
float32 float32 float32 float32 float32 float32 float32 float32 float32 float64
float64 float64 float64 float64 float64 float64 float64 float64 float64 float64
"""

# Row: a 0-d tensor; column: one with dimensions, which outranks it within a category.
ZERO_DIM = """
bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64
uint8 uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64
int8 uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64
int16 uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64
int32 uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64
int64 uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64
float16 float16 float16 float16 float16 float16 float16 bfloat16 float32 float64
bfloat16 bfloat16 bfloat16 bfloat16 bfloat16 bfloat16 float16 bfloat16 float32 float64
float32 float32 float32 float32 float32 float32 float16 bfloat16 float32 float64
float64 float64 float64 float64 float64 float64 float16 bfloat16 float32 float64
"""

# Row: a Python number; column: a tensor of any number of dimensions.
SCALARS = {
    True: "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64",
    3: "int64 uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64",
    2.5: "float32 float32 float32 float32 float32 float32 float16 bfloat16 float32 float64",
}


def table(text):
    rows = [line.split() for line in text.strip().splitlines()]
    return [(a, b, rows[i][j]) for i, a in enumerate(NAMES) for j, b in enumerate(NAMES)]


def make(name, shape):
    if name == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 needs the extra chainrule[bfloat16]")
    return chainrule.ones(shape, dtype=getattr(chainrule, name))


@pytest.mark.parametrize(("a", "b", "expected"), table(TENSORS))
def test_two_tensors(a, b, expected):
    x, y = make(a, (2,)), make(b, (2,))
    assert str(chainrule.promote_types(x.dtype, y.dtype)) == f"chainrule.{expected}"
    assert str(chainrule.result_type(x, y)) == f"chainrule.{expected}"
    assert str((x + y).dtype) == f"chainrule.{expected}"
    assert str((x * y).dtype) == f"chainrule.{expected}"
    assert str((make(a, ()) + make(b, ())).dtype) == f"chainrule.{expected}"


@pytest.mark.parametrize(("a", "b", "expected"), table(ZERO_DIM))
def test_zero_dim(a, b, expected):
    x, y = make(a, ()), make(b, (2,))
    assert str(chainrule.result_type(x, y)) == f"chainrule.{expected}"
    assert str((x * y).dtype) == f"chainrule.{expected}"
    assert str((y + x).dtype) == f"chainrule.{expected}"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", SCALARS)
@pytest.mark.parametrize("shape", [(2,), ()])
def test_python_numbers(name, number, shape):
    expected = f"chainrule.{SCALARS[number].split()[NAMES.index(name)]}"
    x = make(name, shape)
    assert str((x * number).dtype) == expected
    assert str((number + x).dtype) == expected
    assert str(chainrule.result_type(x, number)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_true_division_is_floating(name):
    x = make(name, (2,))
    expected = x.dtype if x.dtype.is_floating_point else chainrule.float32
    assert (x / x).dtype == (x / 2).dtype == (3 / x).dtype == expected


def test_python_float_follows_the_default_dtype():
    chainrule.set_default_dtype(chainrule.float64)
    try:
        assert (make("int64", (2,)) * 2.5).dtype == chainrule.float64
        assert (make("int64", (2,)) / 2).dtype == chainrule.float64
        assert (make("float32", (2,)) * 2.5).dtype == chainrule.float32
    finally:
        chainrule.set_default_dtype(chainrule.float32)


def test_gradients_keep_each_input_s_dtype():
    x = chainrule.ones(3, dtype=chainrule.float32, requires_grad=True)
    y = chainrule.ones(3, dtype=chainrule.float64, requires_grad=True)
    (x * y * chainrule.ones(3, dtype=chainrule.int64)).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (chainrule.float32, chainrule.float64)


def test_can_cast():
    assert chainrule.can_cast(chainrule.int64, chainrule.float16)
    assert chainrule.can_cast(chainrule.float64, chainrule.float16)
    assert chainrule.can_cast(chainrule.bool, chainrule.uint8)
    assert not chainrule.can_cast(chainrule.float16, chainrule.int64)
    assert not chainrule.can_cast(chainrule.uint8, chainrule.bool)


def test_complex_half_is_an_error_that_says_so():
    with pytest.raises(TypeError, match="complex32 are not supported: take complex64"):
        chainrule.zeros(2, dtype=chainrule.chalf)


def test_dtype_names():
    assert chainrule.float is chainrule.float32
    assert chainrule.double is chainrule.float64
    assert chainrule.half is chainrule.float16
    assert chainrule.long is chainrule.int64
    assert chainrule.int is chainrule.int32
    assert chainrule.short is chainrule.int16
    assert repr(chainrule.bool) == "chainrule.bool"
    assert chainrule.float32.itemsize == 4
    assert chainrule.zeros(1, dtype=float).dtype == chainrule.float64
    assert chainrule.zeros(1, dtype=int).dtype == chainrule.int64
    assert chainrule.zeros(1, dtype=bool).dtype == chainrule.bool
