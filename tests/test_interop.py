"""NumPy's functions and memory, DLPack: recorded where there is a gradient, refused where one would be lost."""

import gc

import numpy as np
import pytest

import chainrule
from chainrule.autograd.interop import NUMPY_FUNCTIONS, NUMPY_UFUNCS
from chainrule.autograd.public import FUNCTIONS


def raises(kind, text=None):
    return pytest.raises(kind, match=text)


def tensor(shape=(2, 3), low=0.2, high=0.9, seed=0):
    values = np.random.default_rng(seed).uniform(low, high, shape)
    return chainrule.tensor(values, requires_grad=True)


def total(result):
    return sum(np.sum(part) for part in (result if isinstance(result, (list, tuple)) else [result]))


def difference(function, x):
    """The gradient of the sum of function(x) by central differences, with NumPy alone."""
    grad, eps = np.zeros_like(x), 1e-6
    for i in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[i] += eps
        down[i] -= eps
        grad[i] = (total(function(up)) - total(function(down))) / (2 * eps)
    return grad


def check(function, x=None):
    """`function` of a Tensor is recorded, has NumPy's value, and the right gradient."""
    x = tensor() if x is None else x
    array = x.detach().numpy().copy()
    result, expected = function(x), function(array)
    parts = result if isinstance(result, (list, tuple)) else [result]
    wanted = expected if isinstance(expected, (list, tuple)) else [expected]
    assert len(parts) == len(wanted)
    for part, want in zip(parts, wanted):
        assert isinstance(part, chainrule.Tensor)
        np.testing.assert_allclose(part.detach().numpy(), want, rtol=1e-12, atol=1e-15)
        assert part.shape == np.shape(want)
    floats = [p for p in parts if p.is_floating_point()]
    if floats and any(p.requires_grad for p in floats):
        (grad,) = chainrule.grad(sum(p.sum() for p in floats), x)
        np.testing.assert_allclose(grad.numpy(), difference(function, array), rtol=1e-5, atol=1e-7)
    return result


# -- ufuncs -----------------------------------------------------------------------------------------------------------

UNARY = [
    *(
        "negative",
        "positive",
        "absolute",
        "fabs",
        "rint",
        "sign",
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
    ),
    *("sqrt", "square", "reciprocal", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan"),
    *("arcsinh", "arctanh", "degrees", "radians", "deg2rad", "rad2deg", "floor", "ceil", "trunc", "isnan", "isinf"),
    *("isfinite", "signbit"),
]
BINARY = [
    *("add", "subtract", "multiply", "divide", "true_divide", "power", "float_power", "arctan2", "hypot", "maximum"),
    *(
        "minimum",
        "fmax",
        "fmin",
        "logaddexp",
        "logaddexp2",
        "copysign",
        "floor_divide",
        "remainder",
        "fmod",
        "heaviside",
    ),
    *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"),
]
INTEGER = ["bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"]
LOGICAL = ["logical_and", "logical_or", "logical_xor"]
REST = ["matmul", "invert", "logical_not", "arccosh"]


def test_every_ufunc_of_the_table_is_tested_and_there():
    tested = {getattr(np, n).__name__ for n in (*UNARY, *BINARY, *INTEGER, *LOGICAL, *REST)}
    assert tested == set(NUMPY_UFUNCS)
    assert [n for n in NUMPY_UFUNCS.values() if n not in FUNCTIONS] == []


@pytest.mark.parametrize("name", UNARY)
def test_unary_ufuncs(name):
    check(getattr(np, name))


def test_other_ufuncs():
    check(np.arccosh, tensor(low=1.5, high=3))
    flags, numbers = chainrule.tensor([True, False]), chainrule.tensor([5, 6])
    assert np.logical_not(flags).tolist() == [False, True]
    assert np.invert(numbers).tolist() == [-6, -7]


@pytest.mark.parametrize("name", BINARY)
def test_binary_ufuncs(name):
    function, other = getattr(np, name), np.random.default_rng(1).uniform(1.1, 1.9, (2, 3))
    check(lambda x: function(x, other))
    check(lambda x: function(other, x))
    check(lambda x: function(x, 1.5))


@pytest.mark.parametrize("name", [*INTEGER, *LOGICAL])
def test_integer_ufuncs(name):
    function = getattr(np, name)
    a, b = (
        (np.array([True, False]), np.array([True, True])) if name in LOGICAL else (np.array([5, 6]), np.array([1, 2]))
    )
    for result in (function(chainrule.tensor(a), b), function(a, chainrule.tensor(b))):
        assert result.tolist() == function(a, b).tolist()


def test_operators_with_arrays():
    array = np.random.default_rng(2).uniform(1, 2, (2, 3))
    for function in (
        lambda x: array * x,
        lambda x: x * array,
        lambda x: array - x,
        lambda x: x / array,
        lambda x: array**x,
        lambda x: np.float64(2) * x,
        lambda x: x + np.float64(2),
        lambda x: array @ x.T,
        lambda x: np.matmul(x, array.T),
        lambda x: array < x,
    ):
        check(function)


def test_dtypes_with_arrays_and_numbers():
    x = chainrule.ones(2, requires_grad=True)
    assert (np.ones(2) * x).dtype == chainrule.float64
    assert (np.ones(2, np.float32) * x).dtype == chainrule.float32
    assert (np.float64(2) * x).dtype == chainrule.float32  # a NumPy scalar is a number
    assert np.add(x, 1.5).dtype == chainrule.float32
    assert np.add(x, x, dtype=np.float64).dtype == chainrule.float64


def test_ufunc_methods():
    check(np.add.reduce)
    check(lambda x: np.add.reduce(x, axis=1, keepdims=True))
    check(lambda x: np.add.reduce(x, axis=None))
    check(lambda x: np.multiply.reduce(x, axis=1))
    check(lambda x: np.maximum.reduce(x, axis=0))
    check(lambda x: np.minimum.reduce(x, axis=-1))
    check(lambda x: np.add.accumulate(x, axis=1))
    check(lambda x: np.multiply.accumulate(x))
    check(lambda x: np.multiply.outer(x, x))
    assert np.logical_and.reduce(chainrule.tensor([True, False])).item() is False
    assert np.logical_or.reduce(chainrule.tensor([True, False])).item() is True


def test_ufuncs_refuse_what_has_no_gradient():
    x, array = tensor(), np.ones((2, 3))
    with raises(TypeError, "out="):
        np.add(x, x, out=array)
    with raises(TypeError, "out="):
        array += x
    assert array.tolist() == [[1, 1, 1], [1, 1, 1]]
    with raises(TypeError, "out="):
        np.add(array, array, out=(x,))
    with raises(TypeError, "where="):
        np.add(x, x, where=array > 0)
    with raises(TypeError, "no gradient"):
        np.cbrt(x)
    with raises(TypeError, "no gradient"):
        np.add.reduceat(x, [0, 1])
    assert isinstance(np.cbrt(x.detach()), np.ndarray)


# -- functions --------------------------------------------------------------------------------------------------------


def square(x):
    """A matrix (2, 2) that is far from singular."""
    return x[:, :2] + np.eye(2)


def singular(parts):
    """U √S Vᵀ, which does not depend on the signs of singular vectors."""
    u, s, vt = parts
    return (u * s**0.5) @ vt


ARRAY = np.random.default_rng(3).uniform(0.2, 0.9, (2, 3))
CALLS = {
    "sum": [lambda x: np.sum(x), lambda x: np.sum(x, axis=0, keepdims=True), lambda x: np.sum(x, (0, 1))],
    "prod": [lambda x: np.prod(x), lambda x: np.prod(x, axis=1), lambda x: np.prod(x, axis=(0, 1), keepdims=True)],
    "mean": [lambda x: np.mean(x), lambda x: np.mean(x, axis=-1, keepdims=True)],
    "var": [lambda x: np.var(x), lambda x: np.var(x, axis=1, ddof=1), lambda x: np.var(x, axis=0, keepdims=True)],
    "std": [lambda x: np.std(x), lambda x: np.std(x, axis=1, ddof=1)],
    "nansum": [lambda x: np.nansum(x, axis=0)],
    "nanmean": [lambda x: np.nanmean(x, axis=0)],
    "max": [lambda x: np.max(x), lambda x: np.max(x, axis=1), lambda x: np.max(x, axis=(0, 1), keepdims=True)],
    "min": [lambda x: np.min(x), lambda x: np.min(x, axis=0, keepdims=True)],
    "amax": [lambda x: np.amax(x, axis=1)],
    "amin": [lambda x: np.amin(x, axis=1)],
    "all": [lambda x: np.all(x > 0.5), lambda x: np.all(x > 0.5, axis=1)],
    "any": [lambda x: np.any(x > 0.5), lambda x: np.any(x > 0.5, axis=1, keepdims=True)],
    "argmax": [lambda x: np.argmax(x), lambda x: np.argmax(x, axis=1)],
    "argmin": [lambda x: np.argmin(x), lambda x: np.argmin(x, axis=0, keepdims=True)],
    "cumsum": [lambda x: np.cumsum(x), lambda x: np.cumsum(x, axis=1)],
    "cumprod": [lambda x: np.cumprod(x), lambda x: np.cumprod(x, axis=0)],
    "concatenate": [
        lambda x: np.concatenate([x, x]),
        lambda x: np.concatenate((x, ARRAY), axis=1),
        lambda x: np.concatenate([x, ARRAY], axis=None),
    ],
    "stack": [lambda x: np.stack([x, ARRAY]), lambda x: np.stack([x, x], axis=-1)],
    "vstack": [lambda x: np.vstack([x, ARRAY])],
    "hstack": [lambda x: np.hstack([x, ARRAY])],
    "dstack": [lambda x: np.dstack([x, x])],
    "column_stack": [lambda x: np.column_stack([x, x])],
    "split": [lambda x: np.split(x, 3, axis=1), lambda x: np.split(x, [1], axis=1)],
    "array_split": [lambda x: np.array_split(x, 2, axis=1)],
    "where": [
        lambda x: np.where(ARRAY > 0.5, x, 0.0),
        lambda x: np.where(x > 0.5, x, ARRAY),
    ],
    "clip": [lambda x: np.clip(x, 0.4, 0.7), lambda x: np.clip(x, None, 0.7), lambda x: np.clip(x, min=0.4)],
    "dot": [lambda x: np.dot(x, ARRAY.T), lambda x: np.dot(x, ARRAY[0]), lambda x: np.dot(x, 2.0)],
    "inner": [lambda x: np.inner(x, ARRAY)],
    "outer": [lambda x: np.outer(x, ARRAY)],
    "tensordot": [lambda x: np.tensordot(x, ARRAY), lambda x: np.tensordot(x, ARRAY, axes=([1], [1]))],
    "einsum": [lambda x: np.einsum("ij,kj->ik", x, ARRAY), lambda x: np.einsum("ij->j", x)],
    "transpose": [lambda x: np.transpose(x), lambda x: np.transpose(x, (1, 0))],
    "permute_dims": [lambda x: np.permute_dims(x, (1, 0))],
    "reshape": [lambda x: np.reshape(x, (3, 2)), lambda x: np.reshape(x, -1)],
    "squeeze": [lambda x: np.squeeze(x[:1]), lambda x: np.squeeze(x[:1], axis=0)],
    "expand_dims": [lambda x: np.expand_dims(x, 1), lambda x: np.expand_dims(x, (0, -1))],
    "repeat": [lambda x: np.repeat(x, 2), lambda x: np.repeat(x, 2, axis=1)],
    "tile": [lambda x: np.tile(x, 2), lambda x: np.tile(x, (2, 1))],
    "roll": [lambda x: np.roll(x, 1), lambda x: np.roll(x, 1, axis=1)],
    "flip": [lambda x: np.flip(x), lambda x: np.flip(x, axis=1), lambda x: np.flip(x, (0, 1))],
    "fliplr": [lambda x: np.fliplr(x)],
    "flipud": [lambda x: np.flipud(x)],
    "sort": [lambda x: np.sort(x), lambda x: np.sort(x, axis=0), lambda x: np.sort(x, axis=None)],
    "argsort": [lambda x: np.argsort(x), lambda x: np.argsort(x, axis=0)],
    "take": [lambda x: np.take(x, [0, 2], axis=1), lambda x: np.take(x, np.array([0, 5]))],
    "take_along_axis": [lambda x: np.take_along_axis(x, np.array([[0, 2], [1, 1]]), axis=1)],
    "copy": [lambda x: np.copy(x)],
    "round": [lambda x: np.round(x), lambda x: np.round(x, 1)],
    "around": [lambda x: np.around(x, 1)],
    "broadcast_to": [lambda x: np.broadcast_to(x, (4, 2, 3))],
    "zeros_like": [lambda x: np.zeros_like(x)],
    "ones_like": [lambda x: np.ones_like(x), lambda x: np.ones_like(x, dtype=np.int64)],
    "full_like": [lambda x: np.full_like(x, 2.5)],
    "swapaxes": [lambda x: np.swapaxes(x, 0, 1)],
    "moveaxis": [lambda x: np.moveaxis(x, 0, 1), lambda x: np.moveaxis(x, source=0, destination=-1)],
    "ravel": [lambda x: np.ravel(x)],
    "tril": [lambda x: np.tril(x), lambda x: np.tril(x, k=-1)],
    "triu": [lambda x: np.triu(x, 1)],
    "diag": [lambda x: np.diag(x[0]), lambda x: np.diag(x, k=1)],
    "trace": [lambda x: np.trace(x[:, :2])],
    "kron": [lambda x: np.kron(x, ARRAY)],
    "diff": [lambda x: np.diff(x), lambda x: np.diff(x, n=2, axis=1), lambda x: np.diff(x, axis=0)],
    "sinc": [lambda x: np.sinc(x)],
    "nan_to_num": [lambda x: np.nan_to_num(x)],
    "atleast_1d": [lambda x: np.atleast_1d(x)],
    "atleast_2d": [lambda x: np.atleast_2d(x[0])],
    "atleast_3d": [lambda x: np.atleast_3d(x)],
    "meshgrid": [lambda x: np.meshgrid(x[0], x[1]), lambda x: np.meshgrid(x[0], ARRAY[0], indexing="ij")],
    "pad": [
        lambda x: np.pad(x, 1),
        lambda x: np.pad(x, (1, 2), constant_values=3.0),
        lambda x: np.pad(x, ((0, 1), (2, 0))),
    ],
    "isclose": [lambda x: np.isclose(x, x + 1e-9), lambda x: np.isclose(x, 0.5, atol=0.2)],
    "linalg.inv": [lambda x: np.linalg.inv(square(x))],
    "linalg.det": [lambda x: np.linalg.det(square(x))],
    "linalg.slogdet": [lambda x: np.linalg.slogdet(square(x))[1]],
    "linalg.solve": [
        lambda x: np.linalg.solve(square(x), ARRAY[:, 0]),
        lambda x: np.linalg.solve(np.eye(2) + ARRAY[:, :2], x),
    ],
    "linalg.norm": [
        lambda x: np.linalg.norm(x),
        lambda x: np.linalg.norm(x, axis=1, keepdims=True),
        lambda x: np.linalg.norm(x, ord=1, axis=0),
        lambda x: np.linalg.norm(x, "nuc"),
    ],
    "linalg.matrix_norm": [lambda x: np.linalg.matrix_norm(x, keepdims=True)],
    "linalg.vector_norm": [lambda x: np.linalg.vector_norm(x, axis=0, ord=3)],
    "linalg.cholesky": [lambda x: np.linalg.cholesky(square(x) @ square(x).T)],
    "linalg.qr": [lambda x: np.linalg.qr(square(x))[1], lambda x: np.linalg.qr(square(x), "r")],
    "linalg.svd": [
        lambda x: np.linalg.svd(x, full_matrices=False)[1],
        lambda x: np.linalg.svd(x, compute_uv=False),
        lambda x: singular(np.linalg.svd(x, full_matrices=False)),
    ],
    "linalg.svdvals": [lambda x: np.linalg.svdvals(x)],
    "linalg.eigh": [lambda x: np.linalg.eigh(x @ x.T)[0]],
    "linalg.eigvalsh": [lambda x: np.linalg.eigvalsh(x @ x.T, UPLO="U")],
    "linalg.pinv": [lambda x: np.linalg.pinv(x)],
    "linalg.matrix_power": [lambda x: np.linalg.matrix_power(square(x), 3)],
    "linalg.matrix_rank": [lambda x: np.linalg.matrix_rank(x)],
    "linalg.cond": [lambda x: np.linalg.cond(square(x))],
    "linalg.multi_dot": [lambda x: np.linalg.multi_dot([x, ARRAY.T, x])],
}


def test_every_function_of_the_table_is_tested():
    others = {"shape", "ndim", "size", "empty_like", "allclose", "array_equal", "real", "imag", "angle"}
    assert set(CALLS) | others == {name for name in NUMPY_FUNCTIONS if not name.startswith("fft.")}


@pytest.mark.parametrize(("name", "number"), [(n, i) for n, calls in CALLS.items() for i in range(len(calls))])
def test_functions(name, number):
    check(CALLS[name][number])


def test_shapes():
    x = tensor()
    assert np.shape(x) == (2, 3)
    assert np.ndim(x) == 2
    assert np.size(x) == 6
    assert np.size(x, 1) == 3
    assert np.empty_like(x).shape == (2, 3)


def turned(x):
    """Complex numbers with the real numbers x."""
    return x * (1 + 0.5j)


@pytest.mark.parametrize("function", [lambda z: np.conj(z) * ARRAY, lambda z: np.conjugate(z).real, np.real, np.imag])
def test_parts_of_complex_numbers(function):
    check(lambda x: parts(function(turned(x))))


def parts(z):
    """Real and imaginary parts, one beside the other."""
    return [np.real(z), np.imag(z)]


def test_angles():
    check(lambda x: np.angle(turned(x) + 0.3j * ARRAY))
    check(lambda x: np.angle(turned(x), deg=True))
    assert np.angle(chainrule.tensor([1.0, -1.0])).tolist() == [0, pytest.approx(np.pi)]
    assert np.imag(tensor()).tolist() == np.zeros((2, 3)).tolist()


SHIFTS = [lambda x: np.fft.fftshift(x), lambda x: np.fft.ifftshift(x, axes=1)]
TRANSFORMS = [f"{i}{r}fft{n}" for i in ("", "i") for r in ("", "r") for n in ("", "2", "n")] + ["hfft", "ihfft"]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_fourier_transforms(name):
    function = getattr(np.fft, name)
    check(lambda x: parts(function(x)))
    check(lambda x: parts(function(x, norm="ortho")))
    if name[-1] in "2n":
        check(lambda x: parts(function(x, s=(2, 4), axes=(1, 0))))
    else:
        check(lambda x: parts(function(x, n=4, axis=0)))
    if "r" not in name and name != "ihfft":
        check(lambda x: parts(function(turned(x))))


def test_fourier_functions_are_all_there():
    found = {name.removeprefix("fft.") for name in NUMPY_FUNCTIONS if name.startswith("fft.")}
    assert found == {*TRANSFORMS, "fftshift", "ifftshift"}
    with raises(TypeError, "out="):
        np.fft.fft(tensor(), out=np.zeros((2, 3), complex))
    for function in SHIFTS:
        check(function)


def test_comparisons_say_yes_or_no():
    x = tensor()
    assert np.allclose(x, x * (1 + 1e-7)) is True
    assert np.allclose(x.detach().numpy(), x, rtol=0, atol=0)
    assert not np.allclose(x, x + 1e-3)
    assert np.array_equal(x, x.detach().numpy())
    assert not np.array_equal(x, x + 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.pad(x, 1, mode="edge"),
        lambda x: np.meshgrid(x[0], x[1], sparse=True),
        lambda x: np.linalg.qr(x, mode="raw"),
    ],
)
def test_options_that_have_no_gradient_are_refused(call):
    with raises(TypeError, "Tensor"):
        call(tensor())


def test_second_order_through_numpy():
    x = tensor()
    (first,) = chainrule.grad(np.sum(np.sin(x) * ARRAY), x, create_graph=True)
    (second,) = chainrule.grad(np.sum(first), x)
    np.testing.assert_allclose(second.numpy(), -np.sin(x.detach().numpy()) * ARRAY)


def test_results_that_nobody_differentiates_are_gathered_in_arrays():
    """As programs written for PyTorch do it after an evaluation."""
    predicted, labels = (
        [chainrule.tensor([0, 1]), chainrule.tensor([1])],
        [chainrule.tensor([0, 1]), chainrule.tensor([0])],
    )
    gathered = np.concatenate(predicted)
    assert type(gathered) is np.ndarray
    assert np.mean(gathered == np.concatenate(labels)) == pytest.approx(2 / 3)
    assert np.stack([chainrule.ones(2, 3)] * 4).transpose(0, 2, 1).astype(int).shape == (4, 3, 2)
    assert np.where(chainrule.tensor([1, 0, 1]) == 1)[0].size == 2
    assert type(np.copy(chainrule.ones(2))) is np.ndarray
    weight = chainrule.ones(2, requires_grad=True)
    assert np.concatenate([weight, chainrule.ones(1)]).requires_grad
    with chainrule.no_grad():
        assert type(np.concatenate([weight, chainrule.ones(1)])) is chainrule.Tensor


def test_functions_without_a_counterpart():
    x = tensor()
    with raises(TypeError, r"np.unwrap has no gradient here"):
        np.unwrap(x)
    with raises(TypeError, "out="):
        np.sum(x, out=np.zeros(()))
    with raises(TypeError, "initial="):
        np.sum(x, initial=1.0)
    assert isinstance(np.percentile(x.detach(), 50), np.floating)
    assert np.allclose(x.detach(), x.detach().numpy())
    np.testing.assert_array_equal(x.detach(), x.detach().numpy())


# -- shared memory ----------------------------------------------------------------------------------------------------


def test_asarray():
    x = chainrule.ones(2, 3)
    assert np.asarray(x).ctypes.data == x.data_ptr()
    assert np.array(x).ctypes.data != x.data_ptr()
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.asarray(chainrule.tensor(2.0)).shape == ()
    with raises(RuntimeError, "requires grad"):
        np.asarray(tensor())
    with raises(RuntimeError, "requires grad"):
        np.array(tensor())
    with raises(ValueError, "without a copy"):
        np.asarray(x, dtype=np.float64, copy=False)


def test_numpy_shares_memory():
    x = chainrule.ones(3)
    x.numpy()[0] = 5
    assert x.tolist() == [5, 1, 1]
    x.zero_()
    assert x.numpy().tolist() == [0, 0, 0]
    with raises(RuntimeError, "detach"):
        tensor().numpy()
    assert isinstance(tensor().numpy(force=True), np.ndarray)


def borrowed():
    memory = np.array([1.0, 2.0, 3.0])
    return memory, chainrule.from_numpy(memory)


def viewed():
    t = chainrule.tensor([1.0, 2.0, 3.0], dtype=chainrule.float64)
    return t.numpy(), t


def as_array():
    t = chainrule.tensor([1.0, 2.0, 3.0], dtype=chainrule.float64)
    return np.asarray(t), t


def through_dlpack():
    memory = np.array([1.0, 2.0, 3.0])
    return memory, chainrule.from_dlpack(memory)


def to_dlpack():
    t = chainrule.tensor([1.0, 2.0, 3.0], dtype=chainrule.float64)
    memory = np.from_dlpack(t)
    return memory if memory.flags.writeable else pytest.skip("this NumPy imports DLPack read-only"), t


def adopted():
    memory = np.array([1.0, 2.0, 3.0])
    return memory, chainrule.as_tensor(memory)


SHARING = [borrowed, viewed, as_array, through_dlpack, to_dlpack, adopted]


@pytest.mark.parametrize("share", SHARING)
@pytest.mark.parametrize("view", [lambda t: t, lambda t: t[:], lambda t: t.detach()])
def test_a_change_by_numpy_after_recording_leaves_the_gradient_right(share, view):
    memory, t = share()
    w = chainrule.ones(3, dtype=chainrule.float64, requires_grad=True)
    product = (w * view(t)).sum()
    squares = (w * view(t) * view(t)).exp().sum()
    before = (memory.copy(), np.exp(memory**2) * memory**2)
    memory[:] = 100.0
    product.backward()
    np.testing.assert_allclose(w.grad.numpy(), before[0])
    w.grad = None
    squares.backward()
    np.testing.assert_allclose(w.grad.numpy(), before[1])


def test_an_array_operand_may_change_after_recording():
    memory = np.array([1.0, 2.0, 3.0])
    w = chainrule.ones(3, dtype=chainrule.float64, requires_grad=True)
    for call in (
        lambda: w * memory,
        lambda: memory * w,
        lambda: np.multiply(memory, w),
        lambda: chainrule.mul(w, memory),
    ):
        memory[:] = [1, 2, 3]
        result = call().sum()
        memory[:] = 100
        w.grad = None
        result.backward()
        assert w.grad.tolist() == [1, 2, 3]


@pytest.mark.parametrize("hand_out", [lambda t: t.numpy(), np.asarray, np.from_dlpack])
def test_memory_handed_out_after_recording_and_changed_is_an_error(hand_out):
    t = chainrule.tensor([1.0, 2.0, 3.0])
    w = chainrule.ones(3, requires_grad=True)
    result = (w * t).sum()
    memory = hand_out(t)
    if not memory.flags.writeable:
        pytest.skip("this NumPy imports DLPack read-only")
    memory[0] = 7.0
    with raises(RuntimeError, "changed since"):
        result.backward()
    again = (w * t).sum()
    again.backward()
    assert w.grad.tolist() == [7, 2, 3]


def test_a_leaf_on_borrowed_memory():
    memory = np.array([1.0, 2.0])
    x = chainrule.from_numpy(memory).requires_grad_()
    y = (x * x).sum()
    memory[:] = 50
    y.backward()
    assert x.grad.tolist() == [2, 4]


def test_shared_memory_is_forgotten_with_its_owner():
    from chainrule.autograd.storage import SHARED

    gc.collect()
    before = len(SHARED)
    memory = np.ones(3)
    t = chainrule.from_numpy(memory)
    exported = np.from_dlpack(chainrule.ones(3))
    assert len(SHARED) > before
    del memory, t, exported
    gc.collect()
    assert len(SHARED) == before


# -- DLPack -----------------------------------------------------------------------------------------------------------


def test_dlpack():
    x = chainrule.arange(6).reshape(2, 3).t()
    array = np.from_dlpack(x)
    assert array.tolist() == x.tolist()
    assert array.ctypes.data == x.data_ptr()
    assert x.__dlpack_device__() == (1, 0)
    back = chainrule.from_dlpack(array)
    assert back.data_ptr() == x.data_ptr()
    assert chainrule.from_dlpack(x).data_ptr() == x.data_ptr()
    assert chainrule.from_dlpack(array, copy=True).data_ptr() != x.data_ptr()
    assert chainrule.from_dlpack(x.__dlpack__()).tolist() == x.tolist()
    with raises(BufferError, "require gradient"):
        tensor().__dlpack__()
    with raises(TypeError, "__dlpack__"):
        chainrule.from_dlpack([1, 2])


@pytest.mark.torch
def test_dlpack_with_torch(torch):
    theirs = torch.arange(6.0).reshape(2, 3)
    ours = chainrule.from_dlpack(theirs)
    theirs[0, 0] = 9
    assert ours[0, 0].item() == 9
    back = torch.from_dlpack(ours)
    back[1, 1] = -1
    assert ours[1, 1].item() == theirs[1, 1].item() == -1
    w = chainrule.ones(2, 3, requires_grad=True)
    result = (w * ours).sum()
    expected = ours.tolist()
    theirs.zero_()
    result.backward()
    assert w.grad.tolist() == expected


@pytest.mark.torch
def test_data_of_torch(torch):
    assert chainrule.tensor(torch.ones(2)).tolist() == [1, 1]
    assert chainrule.as_tensor(torch.ones(2, dtype=torch.int16)).dtype == chainrule.int16
