"""chainrule.testing finds planted faults, and is content with what is right."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule
from chainrule.autograd import OPS, op
from chainrule.testing import (
    GradcheckError,
    KinkError,
    check_op,
    gradcheck,
    gradgradcheck,
    numeric_gradient,
    properties,
    relative_error,
    samples,
    strategies,
)
from chainrule.testing.calls import Call
from chainrule.testing.records import Sample
from chainrule.testing.samples import floats


@pytest.fixture
def planted():
    """A function that makes an op of a forward and rules; what it made is unregistered in the end."""
    made = []

    def make(forward, *, name="planted", **options):
        rules = options.pop("rules")
        new = op(forward, name=f"test_{name}", **options)
        made.append(new.name)
        for target, rule in rules.items():
            new.grad(*target.split())(rule)
        return new

    yield make
    for name in made:
        OPS.pop(name, None)


def tensor(values, requires_grad=True):
    return chainrule.tensor(np.asarray(values, np.float64), requires_grad=requires_grad)


X = floats((2, 3))
Y = floats((3,), seed=5)


# -- what is right passes ---------------------------------------------------------------------------------------------


def test_right_ops_pass(planted):
    right = planted(
        lambda xp, input: xp.tanh(input), types="float", rules={"input": lambda F, g, out: g * (1 - out * out)}
    )
    assert check_op(right, X, reference=np.tanh)
    assert check_op(right, tensor(X))
    assert gradcheck(right, tensor(X), check_batched_grad=False, check_grad_dtypes=True)
    assert gradcheck(right, (tensor(X),), fast_mode=True)
    assert gradgradcheck(right, tensor(X))
    assert gradgradcheck(right, tensor(X), fast_mode=True, gen_non_contig_grad_outputs=True)


def test_right_functions_pass():
    def f(x, y):
        return (x * y + y) * x, y * y

    assert check_op(f, (X, Y))
    assert gradcheck(f, (tensor(X), tensor(Y)))
    assert gradgradcheck(f, (tensor(X), tensor(Y)))
    assert gradcheck(f, (tensor(X), tensor(Y, requires_grad=False)))


def test_the_callers_tensors_are_left_alone():
    x = tensor(X)
    gradcheck(lambda t: t * t, x)
    assert x.grad is None
    np.testing.assert_array_equal(x.detach().numpy(), X)


# -- planted faults ---------------------------------------------------------------------------------------------------


def square(xp, input):
    return input * input


FAULTS = {
    "sign": lambda F, g, input: -(g * (2 * input)),
    "factor": lambda F, g, input: g * input,
    "small factor": lambda F, g, input: g * (2.0001 * input),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_first_order(planted, fault):
    wrong = planted(square, rules={"input": FAULTS[fault]})
    with pytest.raises(GradcheckError, match="order 1 is wrong"):
        check_op(wrong, X)
    if fault != "small factor":  # below gradcheck's default tolerance, as in PyTorch
        with pytest.raises(GradcheckError, match="Jacobian mismatch"):
            gradcheck(wrong, tensor(X))
        with pytest.raises(GradcheckError):
            gradcheck(wrong, tensor(X), fast_mode=True)
        assert gradcheck(wrong, tensor(X), raise_exception=False) is False


def test_wrong_second_order_alone(planted):
    """Right at first order; its own rule loses half of the second derivative."""
    half = planted(lambda xp, input: 2 * input, name="half", rules={"input": lambda F, g: g})  # value 2x, gradient 1
    wrong = planted(square, rules={"input": lambda F, g, input: g * F.test_half(input)})
    assert half
    assert check_op(wrong, X, order=1)
    with pytest.raises(GradcheckError, match="order 2 is wrong"):
        check_op(wrong, X)
    assert gradcheck(wrong, tensor(X))
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradgradcheck(wrong, tensor(X))


def test_wrong_third_order_alone(planted):
    planted(square, name="quarter", rules={"input": lambda F, g, input: g * F.test_lame(input)})
    planted(lambda xp, input: 2 * input, name="lame", rules={"input": lambda F, g: g})
    wrong = planted(
        lambda xp, input: input * input * input, rules={"input": lambda F, g, input: g * 3 * F.test_quarter(input)}
    )
    assert check_op(wrong, X, order=2)
    with pytest.raises(GradcheckError, match="order 3 is wrong"):
        check_op(wrong, X)


def test_gradient_without_graph(planted):
    """A rule that has no second derivative where there is one."""
    planted(lambda xp, input: 2 * input, name="frozen", rules={})
    wrong = planted(square, rules={"input": lambda F, g, input: g * F.test_frozen(input)})
    with pytest.raises(GradcheckError, match="order 2 is wrong"):
        check_op(wrong, X)


def test_missing_unbroadcast(planted):
    wrong = planted(
        lambda xp, input, other: input * other,
        rules={"input": lambda F, g, other: g * other, "other": lambda F, g, input: g * input},
    )
    assert check_op(wrong, (X, X + 0.01))
    with pytest.raises(RuntimeError, match="broadcast"):
        check_op(wrong, (X, Y))


def test_mutated_input(planted):
    def forward(xp, input):
        out = input * 2
        input[...] = 0
        return out

    wrong = planted(forward, rules={"input": lambda F, g: g * 2})
    with pytest.raises(GradcheckError, match="written into"):
        check_op(wrong, X)


def test_mutated_gradient(planted):
    def rule(F, g):
        g *= 2
        return g

    with pytest.raises(GradcheckError, match="written into"):
        check_op(planted(lambda xp, input: input * 2, rules={"input": rule}), X)


def test_mutated_output(planted):
    def rule(F, g, out):
        if isinstance(out, np.ndarray):
            np.multiply(out, 1.5, out=out)
        return g * out

    with pytest.raises(GradcheckError, match=r"written into|second walk"):
        check_op(planted(lambda xp, input: xp.exp(input), rules={"input": rule}), X)


def test_wrong_dtype(planted):
    wrong = planted(lambda xp, input: input.astype("float64") * 2, rules={"input": lambda F, g: g * 2})
    with pytest.raises(GradcheckError, match="float64 for float32"):
        check_op(wrong, X)
    assert check_op(wrong, X, float32=False)


def test_wrong_shape(planted):
    wrong = planted(lambda xp, input: input * 2, rules={"input": lambda F, g: F.reshape(g * 2, (6,))})
    with pytest.raises(RuntimeError, match="test_planted returned shape"):
        check_op(wrong, X)


def test_wrong_value(planted):
    right = planted(square, rules={"input": lambda F, g, input: g * (2 * input)})
    with pytest.raises(GradcheckError, match="output 0"):
        check_op(right, X, reference=lambda x: x**2 + 1e-6)


def test_raw_differs_from_recorded(planted):
    def rule(F, g, input):
        return g * (2 * input) * (1 + 1e-9 if isinstance(g, np.ndarray) else 1)

    with pytest.raises(GradcheckError, match="raw against recorded"):
        check_op(planted(square, rules={"input": rule}), X)
    with pytest.raises(GradcheckError, match="raw against recorded"):
        check_op(planted(square, name="again", rules={"input": rule}), X, close=True)


def test_layout_matters(planted):
    wrong = planted(
        lambda xp, input: input * (2.0 if input.flags.c_contiguous else 3.0),
        rules={"input": lambda F, g: g * 2},
    )
    with pytest.raises(GradcheckError, match="permuted"):
        check_op(wrong, X)


def test_same_tensor_twice_is_seen(planted):
    def forward(xp, input, other):
        return input * (other if other is not input else 1.0)

    wrong = planted(forward, rules={"input": lambda F, g, other: g * other, "other": lambda F, g, input: g * input})
    with pytest.raises(GradcheckError, match="same tensor"):
        check_op(wrong, (X, X + 0.1))


def test_keeping_too_much_is_seen(planted):
    greedy = planted(lambda xp, input: input * 2, rules={"input": lambda F, g: g * 2})
    call = Call(greedy, Sample(X))
    properties.keeps_only_what_rules_name(call)
    for plan in greedy._plans.values():
        plan.keep = lambda values: tuple(values[:1])
    greedy._unroll()
    with pytest.raises(GradcheckError, match="kept"):
        properties.keeps_only_what_rules_name(call)


def test_lost_input_gradient(planted):
    wrong = planted(lambda xp, input, other: input * other, rules={"input": lambda F, g, other: g * other})
    assert check_op(wrong, (X, X + 0.1))  # no rule: not differentiable, by the op's own word
    with pytest.raises(GradcheckError, match="order 1 is wrong"):
        check_op(wrong, (X, X + 0.1), differentiable=("input", "other"))


def test_wrong_kernels_are_seen():
    call = Call(OPS["tanh"], Sample(X))
    wrong = {"tanh": lambda x: np.tanh(x) + 1e-6, "tanh.grad": lambda g, out: g * (1 - out)}
    for name, kernel in wrong.items():
        with properties.with_kernels(call.backend, {name: kernel}), pytest.raises(GradcheckError, match="with kernels"):
            properties.kernels_match(call, ["tanh", "tanh.grad"])
    assert properties.kernels_match(call, ["tanh", "tanh.grad"]) == {"tanh", "tanh.grad"}
    refuse = lambda *args: NotImplemented
    refuse.partial = True
    with properties.with_kernels(call.backend, {"tanh": refuse}):
        assert properties.kernels_match(call, ["tanh"]) == set()


# -- kinks ------------------------------------------------------------------------------------------------------------


def test_kink_is_reported_as_such(planted):
    relu = planted(
        lambda xp, input: input * (input > 0),
        rules={"input": lambda F, g, input: g * (np_mask(F, input))},
    )
    assert check_op(relu, floats((2, 3), avoid=(0,)))
    with pytest.raises(KinkError, match="one-sided derivatives are"):
        check_op(relu, np.array([0.0, 1.0, -2.0]))
    step = planted(lambda xp, input: (input > 0) * 1.0 + input, name="step", rules={"input": lambda F, g: g * 1.0})
    with pytest.raises(KinkError, match="jumps"):
        check_op(step, np.array([0.0, 1.0]), float32=False)


def np_mask(F, input):
    """1.0 where positive, on raw arrays and tensors."""
    return (F.test_positive if hasattr(F, "test_positive") else _positive(F))(input)


def _positive(F):
    @op(name="test_positive", types="float")
    def positive(xp, input):
        return (input > 0).astype(input.dtype)

    return F.test_positive


@pytest.fixture(autouse=True)
def _forget_positive():
    yield
    OPS.pop("test_positive", None)


def test_a_point_near_a_kink_is_no_fault(planted):
    relu = planted(lambda xp, input: input * (input > 0), rules={"input": lambda F, g, input: g * np_mask(F, input)})
    assert check_op(relu, np.array([1e-4, -2e-4, 1.0]), order=1)


def test_wrong_rule_near_a_kink_is_a_fault(planted):
    wrong = planted(
        lambda xp, input: input * (input > 0), rules={"input": lambda F, g, input: g * np_mask(F, input) * 1.5}
    )
    with pytest.raises(GradcheckError) as caught:
        check_op(wrong, np.array([1e-4, -2e-4, 1.0]), order=1)
    assert not isinstance(caught.value, KinkError)


# -- gradcheck's arguments --------------------------------------------------------------------------------------------


def test_gradcheck_needs_a_tracked_double():
    with pytest.raises(ValueError, match="requires_grad"):
        gradcheck(lambda t: t, tensor(X, requires_grad=False))
    with pytest.raises(GradcheckError, match="float64"):
        gradcheck(lambda t: t * 2, chainrule.tensor(X.astype(np.float32), requires_grad=True))


def test_gradcheck_sees_unrepeatable_gradients(planted):
    noise = iter(range(10**6))
    wrong = planted(square, rules={"input": lambda F, g, input: g * (2 * input) * (1 + 1e-8 * next(noise))})
    with pytest.raises(GradcheckError, match="not repeatable"):
        gradcheck(wrong, tensor(X))
    assert gradcheck(wrong, tensor(X), nondet_tol=1e-2, atol=1e-3)


def test_gradcheck_of_several_outputs_and_empty_tensors():
    assert gradcheck(lambda t: (t * 2, t * t), tensor(X))
    assert gradcheck(lambda t: t * 2, tensor(np.zeros((0, 3))))
    assert gradcheck(lambda t, n: t**n, (tensor(np.abs(X) + 0.1), 3))


# -- numeric gradients (lectures: centred differences, double precision, relative error, h = 1e-5) ---------------------


def test_numeric_gradient_of_the_lecture():
    """ŷ = (2 x1 + 3 x2)² + 3 at (1, 3): 44, and 43.9999 by differences with h = 2·10⁻² in the lecture's digits."""
    g = numeric_gradient(lambda x: (2 * x[0] + 3 * x[1]) ** 2 + 3, [1.0, 3.0])
    assert relative_error(g, [44.0, 66.0]) < 1e-8
    x = tensor([1.0, 3.0])
    first, second = (
        chainrule.tensor([2.0, 0.0], dtype=chainrule.float64),
        chainrule.tensor([0.0, 3.0], dtype=chainrule.float64),
    )
    (((x * first + x * second).sum()) ** 2 + 3).backward()
    assert relative_error(x.grad.numpy(), g) < 1e-8


def test_relative_error():
    assert relative_error([1.0, 2.0], [1.0, 2.0]) == 0
    assert relative_error([0.0], [0.0]) == 0
    assert relative_error([1e-12], [2e-12]) == 0.5
    assert relative_error([], []) == 0
    assert np.isclose(relative_error([1.0, 100.0], [1.1, 100.0]), 0.1 / 1.1)


# -- samples and strategies -------------------------------------------------------------------------------------------


@given(strategies.shapes(), st.integers(0, 100), st.sampled_from([(), (0.0,), (0.0, 1.0)]))
def test_floats_are_distinct_and_keep_away(shape, seed, avoid):
    x = floats(shape, -2, 2, seed, avoid)
    assert x.shape == shape
    assert x.dtype == np.float64
    assert ((x >= -2) & (x <= 2)).all()
    assert len(np.unique(x)) == x.size
    for point in avoid:
        assert (np.abs(x - point) >= 0.049).all()


@given(strategies.broadcastable(count=3))
def test_broadcastable_shapes_do(shapes):
    np.broadcast_shapes(*shapes)


@given(strategies.views(strategies.arrays(strategies.shapes())))
def test_views_are_arrays(x):
    assert isinstance(x, np.ndarray)


@given(st.data())
def test_layouts_keep_values(data):
    x = data.draw(strategies.arrays())
    for layout in (samples.permuted, samples.negative_stride, samples.strided):
        np.testing.assert_array_equal(layout(x), x)
    dim = data.draw(strategies.dims(x.ndim))
    np.sum(x, axis=dim)
    assert data.draw(strategies.dtypes("fhib")) in (
        ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    )


def test_layouts_differ():
    x = floats((3, 4))
    assert samples.permuted(x).strides == (8, 24)
    assert samples.negative_stride(x).strides == (-32, -8)
    assert samples.strided(x).strides == (128, 16)


def test_matrices():
    assert np.linalg.eigvalsh(samples.spd(3, (2,))).min() > 0.9
    assert np.linalg.cond(samples.well_conditioned(4)) < 3


def test_hypothesis_is_not_needed():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import chainrule, chainrule.testing\n"
        "try:\n    chainrule.testing.strategies\n"
        "except ImportError: pass\nelse: raise SystemExit('strategies came without hypothesis')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
