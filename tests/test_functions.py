"""Functions in front of ops: their forms of call, results and errors. The ops themselves are in the op table."""

import math
import operator

import numpy as np
import pytest
from scipy import special

import chainrule
from chainrule import tensor
from chainrule.testing import gradcheck, gradgradcheck, samples


def check(found, expected, dtype=None):
    """The same values, of the same dtype."""
    np.testing.assert_allclose(found.numpy(force=True), expected, rtol=1e-9)
    if dtype is not None:
        assert found.dtype == dtype


@pytest.fixture
def x():
    return tensor(samples.floats((2, 3, 4)), requires_grad=True)


# -- arithmetic -------------------------------------------------------------------------------------------------------


def test_alpha(x):
    a, y = x.numpy(force=True), samples.floats((4,), seed=1)
    check(chainrule.add(x, tensor(y), alpha=3), a + 3 * y)
    check(x.sub(tensor(y), alpha=0.5), a - 0.5 * y)
    check(chainrule.rsub(x, 2, alpha=3), 2 - 3 * a)
    check(x.detach().clone().add_(1, alpha=4), a + 4)
    with pytest.raises(RuntimeError, match="alpha"):
        chainrule.add(tensor([1]), tensor([1]), alpha=0.5)


@pytest.mark.parametrize(("mode", "reference"), [("floor", np.floor_divide), ("trunc", lambda a, b: np.trunc(a / b))])
def test_rounding_mode(mode, reference):
    for a in (samples.floats((2, 3), -9, 9), samples.integers((2, 3), -9, 9)):
        found = chainrule.div(tensor(a), -4, rounding_mode=mode)
        check(found, reference(a, -4), tensor(a).dtype)
    with pytest.raises(RuntimeError, match="rounding_mode"):
        tensor([1.0]).div(2, rounding_mode="up")


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "fmod"])
def test_integers_divided_by_zero(name):
    with pytest.raises(RuntimeError, match="by zero"):
        getattr(chainrule, name)(tensor([1, 2]), tensor([1, 0]))
    with pytest.raises(RuntimeError, match="by zero"):
        getattr(tensor([1, 2]), name)(0)


def test_bools_do_not_subtract():
    t = tensor([True, False])
    for call in (lambda: t - t, lambda: -t, lambda: +t, lambda: t // t, lambda: t % True, lambda: t**t):
        with pytest.raises(RuntimeError):
            call()


def test_powers_at_zero():
    """d(x**p)/dx of every order, at 0 too, and 0**y."""
    for p, expected in [(0, [1, 0, 0, 0]), (1, [0, 1, 0, 0]), (2, [0, 0, 2, 0]), (3, [0, 0, 0, 6])]:
        for exponent in (p, float(p), tensor(float(p))):
            t = tensor(0.0, requires_grad=True)
            y = t**exponent
            for k, value in enumerate(expected):
                assert y.item() == value, (exponent, k)
                if k < 3:
                    (y,) = chainrule.grad(y, t, create_graph=True, materialize_grads=True)
                    y = y if y.requires_grad else y + 0 * t
    for base in (0, tensor([0.0, 0.0])):
        y = tensor([0.0, 2.0], requires_grad=True)
        (base**y).sum().backward()
        assert y.grad.tolist() == [0, 0]


def test_clamp_needs_a_bound(x):
    with pytest.raises(RuntimeError, match="min"):
        x.clamp()
    check(x.clamp_min(0), np.maximum(x.numpy(force=True), 0))
    check(chainrule.clamp_max(x, 0), np.minimum(x.numpy(force=True), 0))


def test_float_power():
    check(chainrule.float_power(tensor([1, 2], dtype=chainrule.int32), 2), [1, 4], chainrule.float64)


# -- operators --------------------------------------------------------------------------------------------------------

BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge", "eq", "ne"]


@pytest.mark.parametrize("name", BINARY)
def test_operators(name):
    f, a, b = getattr(operator, name), samples.positive((2, 3), 1, 4), samples.positive((3,), 1, 3, seed=1)
    check(f(tensor(a), tensor(b)), f(a, b))
    check(f(tensor(a), 2), f(a, 2))
    check(f(3.0, tensor(b)), f(3.0, b))
    check(f(tensor(a), b), f(a, b))
    if hasattr(operator, f"i{name}"):
        t = tensor(a)
        same = t
        t = getattr(operator, f"i{name}")(t, 2)
        assert t is same
        check(t, f(a, 2))


@pytest.mark.parametrize("name", ["and_", "or_", "xor", "lshift", "rshift"])
def test_operators_of_bits(name):
    f, a, b = getattr(operator, name), samples.integers((2, 3), 0, 9), samples.integers((3,), 0, 4, seed=1)
    check(f(tensor(a), tensor(b)), f(a, b))
    check(f(tensor(a), 2), f(a, 2))
    check(f(5, tensor(b)), f(5, b))
    with pytest.raises(RuntimeError):
        f(tensor([1.0]), 1)


def test_unary_operators():
    a = samples.floats((2, 3))
    check(-tensor(a), -a)
    check(abs(tensor(a)), abs(a))
    check(~tensor(a > 0), ~(a > 0))
    check(round(tensor(a), 1), a.round(1))
    assert (math.floor(tensor(2.5)), math.ceil(tensor([2.5]))) == (2, 3)
    for found, expected in zip(divmod(tensor(a), 2), divmod(a, 2), strict=True):
        check(found, expected)


def test_foreign_operands():
    class Foreign:
        def __radd__(self, other):
            return "mine"

    t = tensor([1.0])
    assert t + Foreign() == "mine"
    assert (t == None) is False  # noqa: E711
    assert (t != "a") is True
    for other in ("a", None, [1.0]):
        with pytest.raises(TypeError):
            t + other
        with pytest.raises(TypeError):
            other - t
        with pytest.raises(TypeError):
            t < other  # noqa: B015


def test_tensors_are_keys():
    a, b = tensor([1.0]), tensor([1.0])
    assert {a: 1, b: 2}[a] == 1
    assert len({a, b, a}) == 2


def test_python_numbers():
    assert bool(tensor([2.0])) is True
    assert not tensor(0)
    assert float(tensor([[2.5]])) == 2.5
    assert int(tensor(2.9)) == 2
    assert [10, 20, 30][tensor(1)] == 20
    assert f"{tensor(1.23456):.2f}" == "1.23"
    for bad in (tensor([1.0, 2.0]), tensor([])):
        with pytest.raises(RuntimeError, match="ambiguous"):
            bool(bad)
    with pytest.raises(TypeError):
        range(tensor(1.5))


def test_in_place_without_gradient_keeps_the_graph():
    """What an in-place comparison overwrote gets a gradient of zero, not the gradient of what it held before."""
    x = tensor([1.0, 3.0], requires_grad=True)
    y = x * 2
    y.gt_(3)
    assert y.tolist() == [0, 1]
    (y * x).sum().backward()
    assert x.grad.tolist() == [0, 1]


# -- comparisons ------------------------------------------------------------------------------------------------------


def test_all_at_once():
    a = tensor(samples.floats((2, 3)))
    assert chainrule.equal(a, a.clone())
    assert not a.equal(a[:1])
    assert a.allclose(a + 1e-9)
    assert not chainrule.allclose(a, a + 1e-3)
    assert not chainrule.allclose(tensor([math.nan]), tensor([math.nan]))
    assert chainrule.allclose(tensor([math.nan]), tensor([math.nan]), equal_nan=True)


# -- reductions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max", "min"])
def test_extrema(name, x):
    a = x.numpy(force=True)
    check(getattr(x, name)(), getattr(a, name)())
    for d in (0, 1, -1):
        for keep in (False, True):
            values, indices = found = getattr(chainrule, name)(x, d, keep)
            assert found.values is values
            assert found.indices is indices
            check(values, getattr(a, name)(axis=d, keepdims=keep))
            check(indices, getattr(a, f"arg{name}")(axis=d, keepdims=keep), chainrule.int64)
    check(getattr(x, name)(axis=(0, 2), keepdims=True), getattr(a, name)(axis=(0, 2), keepdims=True))
    other = tensor(samples.floats((4,), seed=3))
    check(getattr(chainrule, name)(x, other), getattr(np, f"{name}imum")(a, other.numpy()))
    values, indices = getattr(tensor(2.0), name)(0)
    assert (values.item(), indices.item()) == (2.0, 0)
    with pytest.raises(IndexError):
        getattr(chainrule.zeros(2, 0), name)(1)
    with pytest.raises(RuntimeError):
        getattr(chainrule.zeros(0), name)()


def test_extrema_with_indices_choose_one():
    x = tensor([[2.0, 1.0, 2.0]], requires_grad=True)
    x.max(1).values.sum().backward()
    assert x.grad.tolist() == [[1, 0, 0]]


def test_aminmax(x):
    found = x.aminmax(dim=1)
    check(found.min, x.numpy(force=True).min(1))
    check(found.max, x.numpy(force=True).max(1))


@pytest.mark.parametrize("name", ["var", "std"])
def test_spread(name, x):
    f, a = getattr(np, name), x.numpy(force=True)
    check(getattr(x, name)(), f(a, ddof=1))
    check(getattr(x, name)(False), f(a))
    check(getattr(x, name)(1, False, True), f(a, 1, keepdims=True))
    check(getattr(chainrule, name)(x, dim=(0, 2), unbiased=False), f(a, (0, 2)))
    check(getattr(chainrule, name)(x, 0, correction=0), f(a, 0))
    both = getattr(chainrule, f"{name}_mean")(x, 2, unbiased=False)
    check(both[0], f(a, 2))
    check(both[1], a.mean(2))
    assert math.isnan(getattr(tensor([1.0]), name)().item())
    with pytest.raises(TypeError):
        getattr(x, name)(0, True, correction=1)
    with pytest.raises(RuntimeError):
        getattr(tensor([1, 2]), name)()


def test_empty_reductions():
    e = chainrule.zeros(2, 0)
    assert e.sum().item() == 0
    assert e.prod().item() == 1
    assert math.isnan(e.mean().item())
    assert math.isnan(e.median().item())
    assert e.sum(1).tolist() == [0, 0]
    assert e.logsumexp(1).tolist() == [-math.inf] * 2
    assert e.all().item() is True
    assert e.any(1).tolist() == [False, False]
    assert e.cumsum(1).shape == (2, 0)


def test_integer_reductions():
    t = tensor([[1, 2], [3, 4]], dtype=chainrule.int32)
    for name in ("sum", "prod", "cumsum", "cumprod"):
        arguments = (0,) if name.startswith("cum") else ()
        assert getattr(t, name)(*arguments).dtype == chainrule.int64
    assert t.sum(dtype=chainrule.float32).dtype == chainrule.float32
    with pytest.raises(RuntimeError):
        t.mean()
    assert t.mean(dtype=chainrule.float64).item() == 2.5


def test_float16_adds_up_in_float32():
    t = chainrule.full((4096,), 0.1, dtype=chainrule.float16)
    exact = 4096 * float(np.float16(0.1))
    for found, expected in [(t.sum(), exact), (t.cumsum(0)[-1], exact), (t.mean(), exact / 4096)]:
        assert found.dtype == chainrule.float16
        assert abs(found.item() - expected) <= 0.001 * expected


def test_dimensions():
    t = chainrule.zeros(2, 3)
    for call in (t.sum, t.mean, t.amax, t.argmax, t.var, t.max, t.median, t.cumsum, t.cummax, t.logsumexp, t.prod):
        with pytest.raises(IndexError, match=r"out of range \(expected to be in range of \[-2, 1\], but got 2\)"):
            call(dim=2)
    with pytest.raises(RuntimeError, match="multiple times"):
        t.sum((0, -2))
    assert t.sum(axis=0, keepdims=True).shape == (1, 3)


@pytest.mark.parametrize("name", ["median", "nanmedian"])
def test_median(name):
    a = samples.floats((3, 5))
    found = getattr(tensor(a), name)(1)
    check(found.values, np.median(a, 1))
    check(found.indices, np.abs(a - np.median(a, 1)[:, None]).argmin(1))
    check(getattr(tensor(a[:, :4]), name)(1, keepdim=True).values, np.sort(a[:, :4], 1)[:, 1:2])
    check(getattr(chainrule, name)(tensor(a)), np.median(a))
    a[0, 1] = a[2] = math.nan
    values, indices = getattr(tensor(a), name)(1)
    if name == "median":
        check(values, [math.nan, np.median(a[1]), math.nan])
        assert indices.tolist()[::2] == [1, 0]
    else:
        check(values, [np.sort(a[0])[1], np.median(a[1]), math.nan])


def test_mode():
    values, indices = tensor([[2.0, 1.0, 2.0, 1.0], [0.0, 3.0, 3.0, 5.0]]).mode()
    assert values.tolist() == [1, 3]
    assert indices.tolist() == [3, 2]
    x = tensor([2.0, 1.0, 2.0], requires_grad=True)
    chainrule.mode(x, 0).values.backward()
    assert x.grad.tolist() == [0, 0, 1]


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantile(interpolation):
    a, q = samples.floats((3, 6)), np.array([0.0, 0.3, 0.5, 1.0])
    rule = {"interpolation": interpolation}
    check(chainrule.quantile(tensor(a), 0.37, **rule), np.quantile(a, 0.37, method=interpolation))
    for keep in (False, True):
        found = tensor(a).quantile(tensor(q), 1, keep, **rule)
        check(found, np.quantile(a, q, 1, keepdims=keep, method=interpolation))
    a[1, 2] = a[2] = math.nan
    check(chainrule.quantile(tensor(a), tensor(q), 0, **rule), np.quantile(a, q, 0, method=interpolation))
    found = chainrule.nanquantile(tensor(a[:2]), tensor(q), 1, **rule)
    check(found, np.nanquantile(a[:2], q, 1, method=interpolation))


def test_gradients_of_values_in_order_go_where_a_stable_sort_took_them():
    x = tensor([2.0, 1.0, 2.0, 1.0, 0.0]).requires_grad_()
    (chainrule.msort(x) * chainrule.arange(5)).sum().backward()
    assert x.grad.tolist() == [3, 1, 4, 2, 0]
    x.grad = None
    x.median().backward()
    assert x.grad.tolist() == chainrule.autograd.grad(x.median(0).values, x)[0].tolist()


def test_quantile_gradient():
    def f(x, q):
        return chainrule.quantile(x, q, dim=1)

    a, q = tensor(samples.floats((2, 5)), requires_grad=True), tensor(np.array([0.2, 0.6]) + 0.03, requires_grad=True)
    assert chainrule.testing.gradcheck(f, (a, q))
    for bad in (1.5, tensor([[0.5]], dtype=chainrule.float64), tensor(0.5)):
        with pytest.raises((RuntimeError, TypeError)):
            f(a, bad)


@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_running_extrema(name):
    a = samples.floats((3, 5))
    f = np.maximum if name == "cummax" else np.minimum
    x = tensor(a, requires_grad=True)
    values, indices = getattr(x, name)(1)
    check(values, f.accumulate(a, 1))
    check(indices, [[int(np.flatnonzero(r[: i + 1] == v)[-1]) for i, v in enumerate(f.accumulate(r))] for r in a])
    values.sum().backward()
    counts = [[row.count(i) for i in range(5)] for row in indices.tolist()]
    assert x.grad.tolist() == counts


def test_diff(x):
    a = x.numpy(force=True)
    for n in (0, 1, 2, 5):
        check(x.diff(n), np.diff(a, n)) if n < 5 else check(x.diff(n), np.diff(a, 4)[..., :0])
    check(x.diff(dim=0, prepend=x[:1], append=x[:1]), np.diff(a, axis=0, prepend=a[:1], append=a[:1]))
    check(tensor([True, True, False]).diff(), [False, True])


def test_trapezoid():
    y, x = samples.floats((2, 5)), np.array([0.0, 1.0, 1.5, 3.0, 4.0])
    check(chainrule.trapezoid(tensor(y)), np.trapezoid(y))
    check(chainrule.trapz(tensor(y), dx=0.3, dim=0), np.trapezoid(y, dx=0.3, axis=0))
    check(chainrule.trapezoid(tensor(y), tensor(x)), np.trapezoid(y, x))
    running = [np.trapezoid(y[:, : i + 1], x[: i + 1]) for i in range(1, 5)]
    check(chainrule.cumulative_trapezoid(tensor(y), tensor(x)), np.stack(running, 1))


def test_sum_to_size(x):
    check(x.sum_to_size(3, 1), x.numpy(force=True).sum((0, 2))[:, None])


# -- special functions ------------------------------------------------------------------------------------------------


def test_mvlgamma():
    a = samples.positive((2, 3), 2, 5)
    for p in (1, 2, 3):
        check(chainrule.mvlgamma(tensor(a), p), [[special.multigammaln(v, p) for v in row] for row in a])


# -- activations ------------------------------------------------------------------------------------------------------


def test_rrelu():
    x = tensor(samples.floats((40, 40)))
    check(chainrule.rrelu(x), np.where(x.numpy() > 0, x.numpy(), x.numpy() * (1 / 8 + 1 / 3) / 2))
    chainrule.manual_seed(3)
    slopes = (chainrule.rrelu(x, 0.2, 0.6, training=True) / x).numpy()
    below = slopes[x.numpy() < 0]
    assert (slopes[x.numpy() > 0] == 1).all()
    assert below.min() >= 0.2 - 1e-6
    assert below.max() <= 0.6 + 1e-6
    assert np.unique(below).size > 0.9 * below.size
    assert abs(below.mean() - 0.4) < 0.02


def test_extreme_activations():
    """Far from 0 and at infinity the smooth ones neither overflow nor become NaN, gradients included."""
    x = tensor([-math.inf, -1e4, -100.0, 100.0, 1e4, math.inf], requires_grad=True)
    for name in ("sigmoid", "logsigmoid", "softplus", "elu", "celu", "selu"):
        y = chainrule.autograd.OPS[name](x)
        assert not y.isnan().any(), name
        (g,) = chainrule.grad(y[1:5].sum(), x)
        assert not g.isnan().any(), name


# -- diagonals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (7, 2), (4, 2), (3, 3, 3), (0, 3)])
def test_fill_diagonal(shape, wrap):
    t, expected = chainrule.zeros(shape), np.zeros(shape, np.float32)
    assert t.fill_diagonal_(5, wrap) is t
    np.fill_diagonal(expected, 5, wrap)
    check(t, expected)


def test_fill_diagonal_is_recorded():
    x = chainrule.ones(2, 3, requires_grad=True)
    (x * 2).fill_diagonal_(7).square().sum().backward()
    check(x.grad, 8 - 8 * np.eye(2, 3))
    with pytest.raises(RuntimeError, match="larger than 1"):
        chainrule.zeros(3).fill_diagonal_(1)
    with pytest.raises(RuntimeError, match="equal length"):
        chainrule.zeros(2, 3, 3).fill_diagonal_(1)


# -- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"correction": 0}, {"fweights": [1, 3, 2, 1]}, {"aweights": [0.5, 1.0, 2.0, 1.5]}]
)
def test_cov(options):
    data = samples.floats((3, 4))
    given = {"ddof": options.get("correction", 1), **{k: v for k, v in options.items() if k != "correction"}}
    weights = {k: v if k == "correction" else tensor(v) for k, v in options.items()}
    check(chainrule.cov(tensor(data), **weights), np.cov(data, **given))
    check(tensor(data[0]).cov(**weights), np.cov(data[0], **given))


def test_cov_of_integers_and_of_too_few():
    assert tensor([[0, 1, 2], [2, 1, 0]]).cov().dtype == chainrule.float32
    with np.errstate(all="ignore"), pytest.warns(UserWarning, match="degrees of freedom"):
        assert tensor([[1.0], [2.0]]).cov().isnan().all()
    with pytest.raises(RuntimeError, match="two or fewer"):
        chainrule.zeros(1, 1, 1).cov()
    with pytest.raises(RuntimeError, match="fweights to be integers"):
        chainrule.zeros(2, 2).cov(fweights=chainrule.ones(2))
    with pytest.raises(RuntimeError, match="one element per observation"):
        chainrule.zeros(2, 3).cov(aweights=chainrule.ones(2))


def test_corrcoef():
    data = samples.floats((3, 4))
    check(chainrule.corrcoef(tensor(data)), np.corrcoef(data))
    check(tensor(data[0]).corrcoef(), 1.0)


def test_statistics_have_gradients(x):
    other = tensor(samples.floats((3, 4), seed=1))
    for f in (chainrule.cov, chainrule.corrcoef, lambda t: chainrule.dist(t, other, 3)):
        assert gradcheck(f, [x[0].detach().requires_grad_()])
        assert gradgradcheck(f, [x[0].detach().requires_grad_()])


def test_dist():
    a, b = samples.floats((2, 3)), samples.floats((3,), seed=1)
    check(chainrule.dist(tensor(a), tensor(b)), np.linalg.norm(a - b))
    check(tensor(a).dist(tensor(b), p=1), np.abs(a - b).sum())


# -- small names ------------------------------------------------------------------------------------------------------


def test_unravel_index():
    places = np.array([[0, 5], [7, 23]])
    for found, expected in zip(chainrule.unravel_index(tensor(places), (2, 3, 4)), np.unravel_index(places, (2, 3, 4))):
        check(found, expected, chainrule.int64)
    with pytest.raises(RuntimeError, match="out of bounds"):
        chainrule.unravel_index(tensor(24), (2, 3, 4))
    with pytest.raises(RuntimeError, match="integers"):
        chainrule.unravel_index(tensor(1.0), (2, 3))


def test_predicates(x):
    assert chainrule.is_nonzero(tensor([0.5]))
    assert not tensor(0).is_nonzero()
    assert chainrule.is_same_size(x, x + 1)
    assert not x.is_same_size(x[0])
    with pytest.raises(RuntimeError, match="ambiguous"):
        chainrule.is_nonzero(x)


def test_forms_of_methods(x):
    assert chainrule.detach(x).requires_grad is False
    assert chainrule.detach(x).data_ptr() == x.data_ptr()
    check(chainrule.scalar_tensor(3), 3, chainrule.float32)
    check(chainrule.vmap(chainrule.sum)(x.detach()), x.detach().sum((1, 2)).numpy())
