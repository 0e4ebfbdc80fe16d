"""Complex tensors: the op table's calls on complex numbers, promotion, views, printing, optimizers, Fourier transforms.

Every op that is served on complex numbers is called with the arguments of its record, to whose live arrays imaginary
parts are added, and its derivatives of orders 1 to 3 are compared with differences in both parts.
"""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from op_table import TABLE

import chainrule as cr
from chainrule import nn
from chainrule.autograd.complexes import INSTEAD, SERVED
from chainrule.autograd.op import OPS
from chainrule.testing import properties
from chainrule.testing.calls import calls_of

#: ops without a gradient, or with one in a real input only
WITHOUT = {name for name in SERVED if not OPS[name].rules or TABLE[name].order == 0}
#: they choose a branch of their own at the numbers of a record, or what they do to dtypes is theirs alone
APART = {"bitcast", "cast", "to_device", "fill"}
HOLOMORPHIC = sorted(SERVED - WITHOUT - APART)


def rng(*seed):
    return np.random.default_rng(seed or 0)


def numbers(*shape, seed=0):
    random = rng(seed, *shape)
    return random.standard_normal(shape) + 1j * random.standard_normal(shape)


def complex_call(call):
    """The same call with imaginary parts in the arrays that want a gradient."""
    for k, i in enumerate(call.live):
        a = call.arrays[i]
        call.arrays[i] = a + 1j * (rng(k, a.size).uniform(-0.5, 0.5, a.shape))
    return call


def live_calls(name):
    found = [complex_call(c) for c in calls_of(TABLE[name]) if c.live and all(c.arrays[i].size for i in c.live)]
    assert found
    return found


# -- every op ---------------------------------------------------------------------------------------------------------


def test_the_list_names_ops():
    assert set(OPS) >= SERVED
    assert set(OPS) >= {*INSTEAD, *INSTEAD.values()}


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_gradient(name, order):
    for call in live_calls(name):
        properties.gradients_match_differences(call, order, 1e-4)


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_raw_equals_recorded(name):
    for call in live_calls(name):
        properties.raw_equals_recorded(call, 1, 1e-12)
        properties.inputs_stay_unchanged(call)


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_dtypes(name):
    for call in live_calls(name):
        properties.shapes_and_dtypes_fit(call)


@pytest.mark.parametrize("name", sorted(set(OPS) - SERVED - set(INSTEAD)))
def test_other_ops_refuse(name):
    op, record = OPS[name], TABLE[name]
    if not op.conjugated or hasattr(op, "compose") or not record.order or record.call:
        return
    for call in calls_of(record):
        if call.live:
            with pytest.raises(NotImplementedError, match="not implemented for 'ComplexDouble'"):
                call.outputs(complex_call(call).tensors(call.arrays))


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (cr.float32, cr.complex64, cr.complex64),
        (cr.float64, cr.complex64, cr.complex128),
        (cr.int64, cr.complex64, cr.complex64),
        (cr.complex64, cr.complex128, cr.complex128),
        (cr.bool, cr.complex128, cr.complex128),
    ],
)
def test_promotion(a, b, expected):
    assert cr.promote_types(a, b) == cr.promote_types(b, a) == expected
    assert (cr.ones(2, dtype=a) + cr.ones(2, dtype=b)).dtype == expected


def test_numbers_are_weak():
    assert (cr.ones(2) * 1j).dtype == cr.complex64
    assert (cr.ones(2, dtype=cr.float64) + 1j).dtype == cr.complex128
    assert (cr.ones(2, dtype=cr.int64) * 1j).dtype == cr.complex64
    assert (cr.ones(2, dtype=cr.complex64) * cr.tensor(2.0, dtype=cr.float64)).dtype == cr.complex64
    assert (cr.ones(2, dtype=cr.float64) * cr.tensor(1j)).dtype == cr.complex128


def test_made_of_python_numbers():
    z = cr.tensor([1 + 2j, 3])
    assert z.dtype == cr.complex64
    assert z.tolist() == [1 + 2j, 3 + 0j]
    assert z[0].item() == 1 + 2j
    assert complex(z[0]) == 1 + 2j
    assert z.is_complex()
    assert not z.is_floating_point()
    assert cr.full((2,), 1j).dtype == cr.complex64
    with pytest.raises(RuntimeError, match="without overflow"):
        cr.full((2,), 1j, dtype=cr.float32)
    with pytest.warns(UserWarning, match="discards the imaginary part"):
        assert z.to(cr.float32).tolist() == [1.0, 3.0]


def test_random_numbers():
    z = cr.randn(20000, dtype=cr.complex64, generator=cr.Generator().manual_seed(0))
    assert z.dtype == cr.complex64
    np.testing.assert_allclose([z.real.var().item(), z.imag.var().item()], 0.5, rtol=0.05)
    u = cr.rand(1000, dtype=cr.complex128)
    assert u.real.min() >= 0
    assert u.imag.max() < 1
    assert u.imag.std() > 0.2


def test_text():
    assert repr(cr.tensor([1 + 2j, 3 - 0.5j])) == "tensor([1.+2.0000j, 3.-0.5000j])"
    assert repr(cr.tensor([1j], dtype=cr.complex128)) == "tensor([0.+1.j], dtype=chainrule.complex128)"


@pytest.mark.torch
@pytest.mark.parametrize("scientific", [None, True])
def test_lines_are_as_long_as_those_of_pytorch(scientific, torch):
    array = numbers(7, 5).astype(np.complex64)
    options = {"sci_mode": scientific}
    torch.set_printoptions(**options)
    cr.set_printoptions(**options)
    try:
        for part in (array, abs(array.real) + 1j * abs(array.imag), array[0], np.arange(1200) * (1 + 0.5j)):
            part = part.astype(np.complex64)
            assert repr(cr.tensor(part)) == repr(torch.tensor(part))
    finally:
        torch.set_printoptions(profile="default")
        cr.set_printoptions(profile="default")


def test_parts_are_views():
    z = cr.tensor([1 + 2j, 3 - 1j])
    z.real[0] = 5
    z.imag.mul_(2)
    cr.view_as_real(z)[1, 0] = 7
    assert z.tolist() == [5 + 4j, 7 - 2j]
    z.imag = cr.zeros(2)
    assert z.tolist() == [5, 7]
    x = cr.zeros(2, 2)
    cr.view_as_complex(x)[0] = 1 + 2j
    assert x.tolist() == [[1, 2], [0, 0]]
    with pytest.raises(RuntimeError, match="non-complex"):
        cr.ones(2).imag  # noqa: B018


def test_parts_are_views_while_recording():
    a = cr.tensor([1 + 2j, 3 - 1j], dtype=cr.complex128, requires_grad=True)
    z = a * 1
    z.real.mul_(3)
    (z.real * z.imag).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), [6 + 3j, -3 + 9j])


def test_a_real_input_gets_a_real_gradient():
    x, z = cr.tensor([1.0, 2.0], requires_grad=True), cr.tensor([1 + 1j, 2 - 1j], requires_grad=True)
    (x * z).abs().pow(2).sum().backward()
    assert x.grad.dtype == cr.float32
    assert z.grad.dtype == cr.complex64
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.array([1, 2]) * np.array([2, 5]))
    np.testing.assert_allclose(z.grad.numpy(), 2 * np.array([1, 4]) * z.detach().numpy())


def test_the_gradient_goes_uphill():
    """∂L/∂x + i ∂L/∂y of L = |z - w|² is 2 (z - w)."""
    z = cr.tensor([1 + 2j], requires_grad=True)
    ((z - (3 - 1j)).abs() ** 2).sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), [2 * (-2 + 3j)], rtol=1e-6)


def test_parts_of_an_infinite_gradient():
    """The part that nobody asked for gets a gradient of 0, whatever the other one's is."""
    for create_graph in (False, True):
        for part, expected in ((lambda z: z.real, [np.inf, 0.0]), (lambda z: z.imag, [0.0, np.inf])):
            z = cr.tensor([0j], dtype=cr.complex128, requires_grad=True)
            (g,) = cr.autograd.grad(part(z), z, cr.tensor([np.inf], dtype=cr.float64), create_graph=create_graph)
            np.testing.assert_array_equal(cr.view_as_real(g.detach()).numpy()[0], expected)


def test_a_complex_result_needs_a_gradient():
    with pytest.raises(RuntimeError, match="only for real scalar outputs"):
        cr.tensor([1j], requires_grad=True).sum().backward()


def test_transposes_conjugate():
    z = cr.tensor(numbers(2, 3))
    np.testing.assert_array_equal(z.mH.numpy(), z.numpy().conj().T)
    np.testing.assert_array_equal(z.H.numpy(), z.numpy().conj().T)
    np.testing.assert_array_equal(z.mT.numpy(), z.numpy().T)
    np.testing.assert_allclose(cr.vdot(z[0], z[1]).item(), np.vdot(*z.numpy()))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: cr.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: cr.optim.Adam(p, lr=0.1),
        lambda p: cr.optim.AdamW(p, lr=0.1, amsgrad=True),
        lambda p: cr.optim.RMSprop(p, lr=0.05),
        lambda p: cr.optim.Adagrad(p, lr=0.1),
        lambda p: cr.optim.Rprop(p, lr=0.1),
    ],
)
def test_optimizers_take_parts_for_numbers(make):
    start = numbers(3, 4)
    z = nn.Parameter(cr.tensor(start))
    pair = nn.Parameter(cr.tensor(np.stack([start.real, start.imag])))
    runs = [
        (make([z]), lambda: (z * z).abs().sum()),
        (make([pair]), lambda: (pair[0] ** 2 + pair[1] ** 2).sum()),
    ]
    for optimizer, loss in runs * 4:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    np.testing.assert_allclose(z.detach().numpy(), pair[0].detach().numpy() + 1j * pair[1].detach().numpy())


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_takes_parts_for_numbers(search):
    start = numbers(3, 4)
    z = nn.Parameter(cr.tensor(start))
    pair = nn.Parameter(cr.tensor(np.stack([start.real, start.imag], -1)))
    for p, loss in ((z, lambda: (z * z + 2j * z).abs().sum()), (pair, lambda: _length_of_pairs(pair))):
        optimizer = cr.optim.LBFGS([p], lr=0.5, max_iter=5, line_search_fn=search)

        def closure(optimizer=optimizer, loss=loss):
            optimizer.zero_grad()
            found = loss()
            found.backward()
            return found

        for _ in range(3):
            optimizer.step(closure)
    assert abs(z.detach().numpy() - start).max() > 0.1
    np.testing.assert_allclose(cr.view_as_real(z.detach()).numpy(), pair.detach().numpy(), rtol=1e-6, atol=1e-8)


def _length_of_pairs(pair):
    """|z² + 2iz| of z = x + iy, summed."""
    x, y = pair[..., 0], pair[..., 1]
    return ((x * x - y * y - 2 * y) ** 2 + (2 * x * y + 2 * x) ** 2).sqrt().sum()


@pytest.mark.parametrize("name", ["Muon", "Adafactor", "SparseAdam"])
def test_optimizers_of_whole_matrices_refuse(name):
    z = nn.Parameter(cr.tensor(numbers(3, 3)))
    optimizer = getattr(cr.optim, name)([z])
    z.abs().sum().backward()
    with pytest.raises(RuntimeError, match="does not support complex parameters"):
        optimizer.step()


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_optimizers_write_into_any_memory(name):
    start = numbers(3, 4)
    found = []
    for p in (cr.tensor(start), cr.tensor(start.T.copy()).T, cr.tensor(np.repeat(start, 2, 1))[:, ::2]):
        z = nn.Parameter(p)
        optimizer = getattr(cr.optim, name)([z], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (z * z).abs().sum().backward()
            optimizer.step()
        found.append(z.detach().numpy().copy())
    assert abs(found[0] - start).max() > 0.1
    np.testing.assert_allclose(found[1], found[0])
    np.testing.assert_allclose(found[2], found[0])


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "RMSprop", "Adagrad", "Lion"])
def test_captured_steps_are_as_eager_ones(name):
    found = []
    for captured in (False, True):
        z, scale = nn.Parameter(cr.tensor(numbers(3, 3))), nn.Parameter(cr.ones(3, dtype=cr.float64))
        optimizer = getattr(cr.optim, name)([z, scale], lr=0.05)

        def step(x, optimizer=optimizer, z=z, scale=scale):
            optimizer.zero_grad()
            loss = (cr.fft.fft(x @ z) * scale).abs().sum()
            loss.backward()
            optimizer.step()
            return loss

        run = cr.capture(step) if captured else step
        losses = [run(cr.tensor(numbers(4, 3, seed=i))).item() for i in range(6)]
        found.append((losses, z.detach().numpy().copy(), scale.detach().numpy().copy()))
    for eager, replayed in zip(*found, strict=True):
        np.testing.assert_allclose(replayed, eager)


def test_jacobians_are_of_real_numbers():
    x, z = cr.ones(2), cr.tensor([1j, 2.0])
    for make in (cr.func.jacrev, cr.func.jacfwd):
        with pytest.raises(RuntimeError, match="inputs to be real"):
            make(lambda a: a.abs())(z)
        with pytest.raises(RuntimeError, match="outputs to be real"):
            make(lambda a: a * 1j)(x)
    with pytest.raises(RuntimeError, match="inputs to be real"):
        cr.func.hessian(lambda a: a.abs().sum())(z)
    with pytest.raises(RuntimeError, match="outputs must be real"):
        cr.autograd.functional.jacobian(lambda a: a * 1j, x)


def test_gradients_given_are_of_the_results_kind():
    x = cr.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="same dtype"):
        (x * 2).backward(cr.tensor([1j, 1.0]))
    with pytest.raises(RuntimeError, match="same dtype"):
        (x * 2j).backward(cr.ones(2))


def test_layers():
    layer = nn.Linear(3, 2, dtype=cr.complex64)
    out = layer(cr.randn(4, 3, dtype=cr.complex64))
    assert out.dtype == cr.complex64
    out.abs().sum().backward()
    assert layer.weight.grad.dtype == cr.complex64
    assert layer.to(cr.complex128).weight.dtype == cr.complex128


def test_files():
    buffer, z = io.BytesIO(), cr.tensor(numbers(2, 2))
    cr.save({"z": z}, buffer)
    buffer.seek(0)
    assert cr.equal(cr.load(buffer)["z"], z)


@pytest.mark.torch
def test_files_of_pytorch(torch):
    """It saves conjugates and negatives that it has not computed yet with a note that they are."""
    array, buffer = numbers(2, 3), io.BytesIO()
    z = torch.tensor(array)
    torch.save({"conj": z.conj(), "neg": z.clone().conj().imag, "mH": z.mH, "number": 1j}, buffer)
    buffer.seek(0)
    found = cr.load(buffer)
    np.testing.assert_array_equal(found["conj"].numpy(), array.conj())
    np.testing.assert_array_equal(found["neg"].numpy(), -array.imag)
    np.testing.assert_array_equal(found["mH"].numpy(), array.conj().T)
    assert found["number"] == 1j


def test_real_programs_are_not_slowed():
    """Paths for real numbers look at no complex dtype until a program has made one; both then give the same."""
    x = cr.randn(3, requires_grad=True)
    before = (x * 2).tanh().sum()
    cr.tensor([1j])
    assert cr.equal((x * 2).tanh().sum(), before)


# -- functions made of ops --------------------------------------------------------------------------------------------


def gradient_fits(function, *arrays):
    """`function` of complex arrays has the gradients that differences of it have."""
    weights = cr.tensor(numbers(60, seed=7))

    def loss(*tensors):
        out = function(*tensors).reshape(-1)
        return ((out * weights[: len(out)]).real).sum()

    tensors = [cr.tensor(a, requires_grad=True) for a in arrays]
    assert cr.autograd.gradcheck(loss, tensors)


def test_covariance_conjugates():
    z = numbers(3, 5)
    np.testing.assert_allclose(cr.cov(cr.tensor(z)).numpy(), np.cov(z))
    np.testing.assert_allclose(cr.corrcoef(cr.tensor(z)).numpy(), np.corrcoef(z))
    counts, weights = np.array([1, 2, 1, 3, 1]), np.array([0.1, 0.2, 0.3, 0.2, 0.2])
    found = cr.cov(cr.tensor(z), fweights=cr.tensor(counts), aweights=cr.tensor(weights))
    np.testing.assert_allclose(found.numpy(), np.cov(z, fweights=counts, aweights=weights))
    gradient_fits(cr.cov, z)


def test_slopes_of_complex_numbers():
    z = numbers(4, 3)
    for found, expected in zip(cr.gradient(cr.tensor(z), spacing=0.5), np.gradient(z, 0.5), strict=True):
        np.testing.assert_allclose(found.numpy(), expected)


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_factors_of_hermitian_matrices(upper):
    factor, b = np.tril(numbers(3, 3)) + 2 * np.eye(3), numbers(3, 2, seed=1)
    whole = factor @ factor.conj().T
    given = cr.tensor(factor.conj().T if upper else factor)
    np.testing.assert_allclose(cr.cholesky_solve(cr.tensor(b), given, upper).numpy(), np.linalg.solve(whole, b))
    np.testing.assert_allclose(cr.cholesky_inverse(given, upper).numpy(), np.linalg.inv(whole))


def test_dot_products_conjugate_the_first():
    x, y = numbers(2, 3), numbers(2, 3, seed=1)
    np.testing.assert_allclose(cr.linalg.vecdot(cr.tensor(x), cr.tensor(y)).numpy(), (x.conj() * y).sum(-1))
    gradient_fits(cr.linalg.vecdot, x, y)


def test_reflections_are_unitary():
    """H = 1 - τ v vᴴ with τ = 2 / vᴴv is a reflection."""
    v = np.vstack([np.ones((1, 1)), numbers(3, 1)])
    tau = 2 / (v.conj() * v).sum(0)
    square = np.hstack([v, np.zeros((4, 3))])
    h = cr.linalg.householder_product(cr.tensor(square), cr.tensor(tau)).numpy()
    np.testing.assert_allclose(h, np.eye(4) - tau * v @ v.conj().T)
    np.testing.assert_allclose(h @ h.conj().T, np.eye(4), atol=1e-12)


def test_float_power():
    z, x = numbers(4), np.array([0.5, -1.0, 2.0, 3.0])
    np.testing.assert_allclose(cr.float_power(cr.tensor(z), 2).numpy(), z**2)
    np.testing.assert_allclose(cr.float_power(cr.tensor(z), cr.tensor(x)).numpy(), z**x)
    found = cr.float_power(cr.tensor([0.5, 2.0]), 1j)
    assert found.dtype == cr.complex128
    np.testing.assert_allclose(found.numpy(), np.array([0.5, 2.0]) ** 1j)


def test_rows_of_complex_numbers():
    found = cr.linspace(0, 1 + 1j, 4)
    assert found.dtype == cr.complex64
    np.testing.assert_allclose(found.numpy(), np.linspace(0, 1 + 1j, 4), rtol=1e-6)
    np.testing.assert_allclose(cr.logspace(0, 1j, 4).numpy(), np.logspace(0, 1j, 4), rtol=1e-6)
    with pytest.raises(RuntimeError, match="safely cast"):
        cr.linspace(0, 1j, 4, dtype=cr.float32)


@pytest.mark.parametrize("name", ["asin", "acos", "asinh", "acosh", "atanh", "sqrt", "log"])
def test_slopes_at_branch_cuts(name):
    """On a cut the gradient is that of the side on which the value lies: the sign of the zero says which."""
    points = [complex(a, b) for a in (-2.0, 2.0) for b in (0.0, -0.0)] + [
        complex(a, b) for a in (0.0, -0.0) for b in (-2.0, 2.0)
    ]
    inward = [
        complex(0, np.copysign(1e-6, p.imag)) if p.real else complex(np.copysign(1e-6, p.real), 0) for p in points
    ]
    z = cr.tensor(points, dtype=cr.complex128, requires_grad=True)
    getattr(cr, name)(z).real.sum().backward()
    near = cr.tensor(np.array(points) + np.array(inward), requires_grad=True)
    getattr(cr, name)(near).real.sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), near.grad.numpy(), atol=1e-5)


def test_padding_and_pools():
    x = numbers(1, 2, 5)
    for mode in ("reflect", "replicate", "circular"):
        found = nn.functional.pad(cr.tensor(x), (2, 1), mode=mode)
        parts = [nn.functional.pad(cr.tensor(a.copy()), (2, 1), mode=mode).numpy() for a in (x.real, x.imag)]
        np.testing.assert_array_equal(found.numpy(), parts[0] + 1j * parts[1])
    gradient_fits(lambda z: nn.functional.pad(z, (2, 1), mode="reflect"), x)
    with pytest.raises(NotImplementedError, match="real numbers"):  # no power of z is a power of its size
        nn.functional.lp_pool1d(cr.tensor(x), 2, 2)


def test_no_imaginary_part_is_lost_unsaid():
    x, z, at, mask = cr.ones(3), cr.tensor([1j, 2j]), cr.tensor([0, 1]), cr.tensor([True, False, True])
    for call in (
        lambda: x.masked_fill(mask, 1j),
        lambda: x.masked_fill(mask, z[0]),
        lambda: x.index_add(0, at, z),
        lambda: x.index_copy(0, at, z),
        lambda: x.scatter_add(0, at, z),
        lambda: x.scatter(0, at, z),
        lambda: x.index_fill(0, at, z[0]),
        lambda: x.put(at, z),
        lambda: cr.add(z, 1j, out=cr.zeros(2)),
        lambda: cr.linalg.vector_norm(z, dtype=cr.float64),
        lambda: cr.linalg.norm(z, dtype=cr.float64),
    ):
        with pytest.raises(RuntimeError):
            call()
    for kind in (cr.float32, cr.int64):
        with pytest.raises(TypeError, match="not complex"):
            cr.tensor([1j], dtype=kind)
    with pytest.raises(TypeError, match="not complex"):
        cr.scalar_tensor(1j)


def test_assert_close_looks_at_both_parts():
    z = cr.tensor([1 + 2j, 3])
    cr.testing.assert_close(z, z + 1e-6j)
    cr.testing.assert_close(z.to(cr.complex128), z.to(cr.complex128) + 1e-9j)
    for other in (z + 0.01j, z.conj(), z.real):
        with pytest.raises(AssertionError):
            cr.testing.assert_close(z, other, check_dtype=False)
    cr.testing.assert_close(1 + 2j, 1 + 2j)
    with pytest.raises(AssertionError):
        cr.testing.assert_close(1 + 2j, 1 + 3j)


def test_numbers_of_numpy():
    z, mask = cr.tensor([1j, 2.0]), cr.tensor([True, False])
    assert cr.where(mask, z, np.complex64(3j)).tolist() == [1j, 3j]
    assert cr.where(mask, np.float64(2), z).tolist() == [2, 2]
    assert z.masked_fill(mask, np.complex64(3j)).tolist() == [3j, 2]
    assert cr.ones(2).masked_fill(mask, np.float64(3)).tolist() == [3, 1]


# -- Fourier transforms -----------------------------------------------------------------------------------------------

NAMES = [f"{i}{kind}fft{n}" for kind in ("", "r", "h") for i in ("", "i") for n in ("", "2", "n")]


@given(
    name=st.sampled_from(NAMES),
    shape=st.lists(st.integers(2, 5), min_size=2, max_size=3),
    norm=st.sampled_from([None, "backward", "forward", "ortho"]),
    change=st.sampled_from([None, -1, 1]),
    seed=st.integers(0, 99),
)
def test_transforms(name, shape, norm, change, seed):
    real = name.startswith(("rfft", "ihfft"))
    x = numbers(*shape, seed=seed)
    x = x.real if real else x
    one = name.endswith("fft")
    last = 2 * (shape[-1] - 1) if name.startswith(("irfft", "hfft")) else shape[-1]
    size = None if change is None else max(last + change, 1)
    if not one and size is not None:
        size = (shape[-2], size)
    found = getattr(cr.fft, name)(cr.tensor(x), size, norm=norm).numpy()
    if not hasattr(np.fft, name):  # NumPy has hfft of one dimension alone
        dims = (-2, -1) if name.endswith("2") or size is not None else tuple(range(len(shape)))
        expected = _hermitian(x, size, dims, norm, name.startswith("i"))
    else:
        expected = getattr(np.fft, name)(x, size, **({} if one or size is None else {"axes": (-2, -1)}), norm=norm)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def _hermitian(x, size, dims, norm, inverse):
    turned = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}[norm]
    size = None if size is None else size
    if inverse:
        return np.fft.rfftn(x, size, dims, turned).conj()
    return np.fft.irfftn(x.conj(), size, dims, turned)


def test_transforms_of_floats_and_integers():
    assert cr.fft.fft(cr.arange(4)).dtype == cr.complex64
    assert cr.fft.rfft(cr.ones(4, dtype=cr.float64)).dtype == cr.complex128
    assert cr.fft.irfft(cr.ones(3, dtype=cr.complex64)).dtype == cr.float32
    with pytest.raises(RuntimeError, match="expects a real input"):
        cr.fft.rfft(cr.ones(4, dtype=cr.complex64))
    with pytest.raises(RuntimeError, match="Invalid normalization mode"):
        cr.fft.fft(cr.ones(4), norm="all")
    with pytest.raises(RuntimeError, match="Invalid number of data points"):
        cr.fft.fft(cr.ones(4), n=0)
    with pytest.raises(RuntimeError, match="unique"):
        cr.fft.fftn(cr.ones(4, 4), dim=(0, 0))


def test_convolution_theorem():
    """A circular convolution is a product of transforms; its gradients agree, too."""
    x, k = (cr.tensor(rng(i).standard_normal(6), requires_grad=True) for i in (1, 2))
    fast = cr.fft.irfft(cr.fft.rfft(x) * cr.fft.rfft(k), n=6)
    index = (cr.arange(6)[:, None] - cr.arange(6)) % 6
    slow = (x * k[index]).sum(1)
    np.testing.assert_allclose(fast.detach().numpy(), slow.detach().numpy(), atol=1e-12)
    weights = cr.arange(6, dtype=cr.float64)
    for a, b in zip(*(cr.autograd.grad((y * weights).sum(), (x, k)) for y in (fast, slow)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-12)


def _frames(x, n, hop, window):
    return np.stack([np.fft.rfft(x[..., s : s + n] * window) for s in range(0, x.shape[-1] - n + 1, hop)], -1)


def test_short_time_transform():
    x, window = rng(3).standard_normal((2, 30)), np.hanning(9)[:8]
    found = cr.stft(cr.tensor(x), 8, 3, window=cr.tensor(window), center=False, return_complex=True)
    np.testing.assert_allclose(found.numpy(), _frames(x, 8, 3, window), atol=1e-12)
    padded = np.pad(x, ((0, 0), (4, 4)), mode="reflect")
    found = cr.stft(cr.tensor(x), 8, 3, window=cr.tensor(window), return_complex=True)
    np.testing.assert_allclose(found.numpy(), _frames(padded, 8, 3, window), atol=1e-12)
    pairs = cr.stft(cr.tensor(x), 8, 3, window=cr.tensor(window), return_complex=False)
    np.testing.assert_allclose(cr.view_as_complex(pairs.contiguous()).numpy(), found.numpy())


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("onesided", [False, True])
def test_short_time_transform_and_back(normalized, onesided):
    x = cr.tensor(rng(4).standard_normal((2, 40)), requires_grad=True)
    options = {"hop_length": 2, "win_length": 6, "window": cr.hann_window(6, dtype=cr.float64)}
    options |= {"normalized": normalized, "onesided": onesided}
    back = cr.istft(cr.stft(x, 8, **options, return_complex=True), 8, **options, length=40)
    np.testing.assert_allclose(back.detach().numpy(), x.detach().numpy(), atol=1e-12)
    (g,) = cr.autograd.grad((back * x.detach()).sum(), x)
    np.testing.assert_allclose(g.numpy(), x.detach().numpy(), atol=1e-12)


def test_short_time_transform_refuses():
    x = cr.ones(20)
    with pytest.raises(RuntimeError, match="return_complex"):
        cr.stft(x, 8)
    with pytest.raises(RuntimeError, match="win_length"):
        cr.stft(x, 8, window=cr.ones(5), return_complex=True)
    with pytest.raises(RuntimeError, match="requires a complex-valued input"):
        cr.istft(cr.ones(5, 4), 8)
    with pytest.raises(RuntimeError, match="window overlap add"):
        cr.istft(cr.ones(5, 4, dtype=cr.complex64), 8, hop_length=8, win_length=4)


def test_eigenvalues_of_a_rotation():
    turn = cr.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=cr.float64)
    values, vectors = cr.linalg.eig(turn)
    np.testing.assert_allclose(sorted(values.tolist(), key=lambda z: z.imag), [-1j, 1j], atol=1e-12)
    np.testing.assert_allclose((turn.to(cr.complex128) @ vectors).numpy(), (vectors * values).numpy(), atol=1e-12)


# -- what is refused, and what is lost ------------------------------------------------------------------------------


def test_nothing_is_lost_in_silence():
    x = cr.ones(2)
    with pytest.raises(RuntimeError, match="without overflow"):
        x[0] = 1j
    with pytest.raises(RuntimeError, match="without overflow"):
        x.fill_(1j)
    with pytest.raises(RuntimeError, match="can't be cast"):
        x.mul_(1j)
    for write in (lambda z: x.copy_(z), lambda z: x.__setitem__(slice(None), z)):
        with pytest.warns(UserWarning, match="discards the imaginary part"):
            write(cr.tensor([1 + 2j, 3 + 4j]))
        assert x.tolist() == [1, 3]
    z = cr.zeros(2, dtype=cr.complex64)
    z[0] = 1j
    z[1:] = cr.tensor([2.0])
    assert z.tolist() == [1j, 2]
    assert z.copy_(2j).tolist() == [2j, 2j]


@pytest.mark.parametrize(
    "call",
    [
        lambda z: z > z,
        lambda z: z.max(),
        lambda z: cr.relu(z),
        lambda z: z.softmax(0),
        lambda z: z.sort(),
        lambda z: nn.functional.mse_loss(z, z),
        lambda z: nn.functional.layer_norm(z, (2,)),
    ],
)
def test_refused(call):
    with pytest.raises(NotImplementedError, match="not implemented for 'ComplexFloat'"):
        call(cr.tensor([1 + 2j, 3 + 4j]))


@pytest.mark.parametrize("fast", [False, True])
def test_gradcheck(fast):
    z = cr.tensor(numbers(2, 3), requires_grad=True)
    w = cr.tensor(numbers(3), requires_grad=True)

    def wrong(z):
        return z.detach().conj() * z  # a gradient of half of it

    check = cr.autograd.gradcheck
    assert check(lambda z, w: (z @ w).exp(), (z, w), fast_mode=fast)
    assert check(lambda z: (z.abs(), z * z), z, fast_mode=fast)
    assert cr.autograd.gradgradcheck(lambda z, w: z @ w * w.sum(), (z, w), fast_mode=fast)
    assert not check(wrong, z, fast_mode=fast, raise_exception=False)


# -- a program --------------------------------------------------------------------------------------------------------


def test_rotary_embedding_by_complex_numbers():
    """Queries turned by complex numbers are those turned by 2 x 2 matrices, gradients included."""
    x = cr.tensor(rng(5).standard_normal((2, 4, 3, 6)), requires_grad=True)
    angles = cr.outer(cr.arange(4, dtype=cr.float64), 10000.0 ** (-cr.arange(0, 6, 2, dtype=cr.float64) / 6))
    turns = cr.polar(cr.ones_like(angles), angles)[None, :, None]
    turned = cr.view_as_real(cr.view_as_complex(x.reshape(2, 4, 3, 3, 2)) * turns).flatten(3)
    c, s = angles.cos()[None, :, None], angles.sin()[None, :, None]
    a, b = x.reshape(2, 4, 3, 3, 2).unbind(-1)
    expected = cr.stack([a * c - b * s, a * s + b * c], -1).flatten(3)
    np.testing.assert_allclose(turned.detach().numpy(), expected.detach().numpy(), atol=1e-12)
    for f, g in [[cr.autograd.grad(y.cos().sum(), x)[0].numpy() for y in (turned, expected)]]:
        np.testing.assert_allclose(f, g, atol=1e-12)


# -- matrices ---------------------------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.linalg.svdvals(x),
        lambda m, x: (lambda u, s, v: (u * s) @ v.mH)(*m.svd(x)),
        lambda m, x: (lambda u, s, vh: (u * s.sin()) @ vh)(*m.linalg.svd(x, full_matrices=False)),
        lambda m, x: (lambda u, s, v: (u * s) @ v.mH * 1j)(*m.svd(x)) + x,
        lambda m, x: m.linalg.qr(x)[0],
        lambda m, x: m.linalg.pinv(x),
        lambda m, x: m.linalg.lstsq(x, 2 * x.detach()[:, :1]).solution,
        lambda m, x: m.linalg.matrix_norm(x, "nuc"),
        lambda m, x: m.linalg.cond(x),
        lambda m, x: m.logdet(x.mH @ x),
        lambda m, x: m.linalg.slogdet(x[:2] + 1)[0],
        lambda m, x: m.linalg.lu(x[:2])[2],
        lambda m, x: m.linalg.cholesky(x.mH @ x, upper=True),
        lambda m, x: m.linalg.eigvalsh(x.mH @ x),
        lambda m, x: (lambda w, v: (v * w.sin()) @ v.mH)(*m.linalg.eigh(x.mH @ x)),
    ],
)
def test_matrices_as_in_pytorch(call):
    torch, a = pytest.importorskip("torch"), numbers(3, 2, seed=8)
    found = []
    for m in (torch, cr):
        x = m.tensor(a, requires_grad=True)
        y = call(m, x)
        (first,) = m.autograd.grad((y.abs() ** 3).sum() + (y * (1 + 0.5j)).sum().real, x, create_graph=True)
        (second,) = m.autograd.grad((first.abs() ** 3).sum(), x)
        found.append([np.asarray(t.detach().resolve_conj().numpy()) for t in (y, first, second)])
    for theirs, ours in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


def test_matrices_that_are_not_hermitian_and_equal_values():
    with pytest.raises(RuntimeError, match="not Hermitian"):
        cr.linalg.eigh(cr.tensor(numbers(2, 2)))
    with pytest.raises(RuntimeError, match="not Hermitian"):
        cr.linalg.cholesky(cr.tensor(numbers(2, 2)))
    x = cr.eye(2, dtype=cr.complex128).requires_grad_()
    (g,) = cr.autograd.grad(cr.linalg.svdvals(x).sum(), x)
    np.testing.assert_allclose(g.numpy(), np.eye(2))
    with pytest.raises(RuntimeError, match="not determined"):
        cr.linalg.eigh(x)[1][0].abs().sum().backward()
    x = cr.tensor(numbers(3, 3), requires_grad=True)
    for vectors in (cr.linalg.svd(x)[0], cr.linalg.svd(x)[2], cr.linalg.eigh(x + x.mH)[1]):
        with pytest.raises(RuntimeError, match="phases"):
            vectors.imag.sum().backward()


def test_dtypes_know_their_complex_and_real_ones():
    assert [d.to_complex() for d in (cr.float32, cr.float64, cr.complex64)] == [
        cr.complex64,
        cr.complex128,
        cr.complex64,
    ]
    assert [d.to_real() for d in (cr.complex64, cr.complex128, cr.float16, cr.int32)] == [
        *(cr.float32, cr.float64, cr.float16, cr.int32)
    ]
    with pytest.raises(RuntimeError, match="Unknown Complex"):
        cr.int32.to_complex()
