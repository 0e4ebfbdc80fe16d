"""The properties of chainrule.testing over the op table: every op, every order, on the backend under test."""

import inspect
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from op_table import TABLE

from chainrule import backends
from chainrule.autograd import OPS, Composite
from chainrule.backends import compiled
from chainrule.backends.numpy.kernels import PLAIN
from chainrule.testing import GradcheckError, Sample, calls_of, properties, strategies
from chainrule.testing.samples import floats

RECORDS = list(TABLE.values())
DIFFERENTIABLE = [r for r in RECORDS if r.order]
ORDERS = [pytest.param(r, k, id=f"{r.name}-{k}") for r in RECORDS for k in range(1, r.order + 1)]


def named(records):
    return [pytest.param(r, id=r.name) for r in records]


def test_every_op_has_a_record():
    ours = {name for name, op in OPS.items() if op.__module__.startswith("chainrule.")}
    assert set(TABLE) == ours
    assert len(TABLE) >= 250
    # What has a rule is checked to the third order; the rule of nextafter passes its gradient on, and there it ends.
    assert {r.name for r in RECORDS if OPS[r.name].rules and r.order < 3} <= {"nextafter"}


@pytest.mark.parametrize("record", named(RECORDS))
def test_record(record):
    """A record tests something: it has samples, an oracle, and input for each gradient that it promises."""
    samples = record.samples()
    assert samples
    assert record.reference is not None or record.torch is not None
    if record.order:
        calls = calls_of(record)
        assert any(sum(call.arrays[i].size for i in call.live) for call in calls)
    if (
        record.order
        and not isinstance(OPS[record.name], Composite)
        and record.differentiable is None
        and not record.call
    ):
        seen = set()
        for call in calls_of(record):
            function = call.function
            inputs, _ = function.bind(call.sample.args, call.sample.kwargs)
            live = {id(call.arrays[i]) for i in call.live}
            names = function.inputs * len(inputs) if function.variadic else function.inputs
            seen |= {n for n, x in zip(names, inputs, strict=False) if id(x) in live}
        assert seen == set(OPS[record.name].rules), "some input with a rule gets a gradient in no sample"


@pytest.mark.parametrize("record", named(r for r in RECORDS if r.reference))
def test_value(record, backend):
    for call in calls_of(record, backend):
        properties.value_matches(call, record.reference, record.tolerance)


@pytest.mark.parametrize(("record", "order"), ORDERS)
def test_gradient(record, order, backend):
    for call in calls_of(record, backend):
        properties.gradients_match_differences(call, order, record.grad_tolerance)


@pytest.mark.parametrize("record", named(r for r in RECORDS if not r.order))
def test_no_gradient(record, backend):
    for call in calls_of(record, backend):
        tensors = call.tensors(call.arrays, call.floating)
        for t in call.outputs(tensors):
            assert not t.requires_grad


@pytest.mark.parametrize("record", named(DIFFERENTIABLE))
def test_raw_equals_recorded(record, backend):
    """Bit for bit where both run the same source; with a kernel in the place of a rule, to rounding."""
    for call in calls_of(record, backend):
        with properties.with_kernels(call.backend, dict.fromkeys(call.backend.kernels)):
            properties.raw_equals_recorded(call, 1, 1e-10 if record.close else 0.0)
        properties.raw_equals_recorded(call, 1, 1e-10)
        if record.order > 1:
            properties.raw_equals_recorded(call, 2, 1e-10)


@pytest.mark.parametrize("record", named(DIFFERENTIABLE))
def test_shapes_and_dtypes(record, backend):
    kinds = [np.float64] if record.float32_tolerance is None else [np.float64, np.float32]
    for call in calls_of(record, backend):
        properties.shapes_and_dtypes_fit(call, kinds)


@pytest.mark.parametrize("record", named(r for r in DIFFERENTIABLE if r.float32_tolerance is not None))
def test_float32(record, backend):
    for call in calls_of(record, backend):
        properties.float32_agrees(call, record.float32_tolerance)


@pytest.mark.parametrize("record", named(RECORDS))
def test_memory_layout(record, backend):
    for call in calls_of(record, backend):
        properties.memory_layout_does_not_matter(call, record.order)


@pytest.mark.parametrize("record", named(RECORDS))
def test_inputs_unchanged(record, backend):
    for call in calls_of(record, backend):
        properties.inputs_stay_unchanged(call, record.order)


@pytest.mark.parametrize("record", named(DIFFERENTIABLE))
def test_same_tensor_twice(record, backend):
    for call in calls_of(record, backend):
        properties.same_tensor_twice(call)


@pytest.mark.parametrize("record", named(DIFFERENTIABLE))
def test_keeps_only_what_rules_name(record, backend):
    for call in calls_of(record, backend):
        properties.keeps_only_what_rules_name(call)


# What the reference's arithmetic in the same dtype may lose, relative to the size of the result.
PRECISION = {"float16": 4e-3, "float32": 1e-5, "float64": 1e-9}


@pytest.mark.parametrize("record", named(r for r in RECORDS if r.dtypes and r.reference))
def test_dtypes(record, backend):
    """In each dtype that a record lists the values are those of the reference in that dtype."""
    for call in calls_of(record, backend):
        for dtype in record.dtypes:
            call.arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in call.arrays]
            call.live = call.live if np.dtype(dtype).kind == "f" else []
            properties.value_matches(call, record.reference, PRECISION.get(dtype, 1e-5), kinds=False)


@pytest.mark.parametrize("record", named(r for r in RECORDS if r.ties))
def test_ties(record, backend):
    for call in calls_of(record, backend, record.ties):
        properties.ties_match(call, call.sample.grads)


# -- kernels ----------------------------------------------------------------------------------------------------------


def kernel_names():
    """Ops of which some backend has kernels: numpy's are compared with the generic forms."""
    return sorted({key.partition(".")[0] for key in backends.by_name("numpy").kernels})


def test_kernels_belong_to_ops():
    assert set(kernel_names()) <= set(OPS)


def large_samples(record):
    """Calls of a size at which kernels take other ways: blocks, threads, scratch memory."""
    ranges = record.domain if isinstance(record.domain[0], (tuple, list)) else [record.domain] * 2
    first = record.samples()[0].kwargs
    one, two = (floats((130, 70), *r, seed=s, avoid=record.avoid, gap=1e-4) for s, r in enumerate(ranges))
    if record.shapes == "broadcast":
        return [Sample(one, two, **first), Sample(one, two[0], **first)]
    if record.shapes:
        return [Sample(one, **first), Sample(one.T, **first)]
    return []


@pytest.mark.parametrize("name", kernel_names())
def test_kernels(name):
    """Each kernel equals the generic form in values and gradients of orders one and two, and serves some call."""
    record, backend = TABLE[name], backends.by_name("numpy")
    keys = {k for k in backend.kernels if k.partition(".")[0] == name}
    kinds = [np.float64] if record.float32_tolerance is None else [np.float64, np.float32]
    served = set()
    for sample in [*record.samples(), *record.large(), *large_samples(record)]:
        (call,) = calls_of(record, samples=[sample])
        served |= properties.kernels_match(call, sorted(keys), min(record.order, 2), max(record.tolerance, 1e-9), kinds)
    if os.environ.get("CHAINRULE_FAST") != "always" or not compiled.available():
        keys &= set(PLAIN)  # compiled kernels wait for larger arrays
    assert served >= keys, "no sample reaches these kernels"


# -- generated inputs -------------------------------------------------------------------------------------------------


@st.composite
def generated(draw, record):
    """A sample by the record's rule for shapes, on any strides."""
    ranges = record.domain if isinstance(record.domain[0], (tuple, list)) else [record.domain] * 2
    parameters = record.samples()[0].kwargs

    def array(shape, domain=ranges[0]):
        return draw(strategies.views(strategies.arrays(shape, domain, record.avoid)))

    if record.shapes == "elementwise":
        return Sample(array(draw(strategies.shapes())), **parameters)
    if record.shapes == "broadcast":
        one, two = draw(strategies.broadcastable())
        return Sample(array(one), array(two, ranges[1]), **parameters)
    assert record.shapes == "reduction"
    flat = any(a.ndim == 0 for s in record.samples() for a in s.args if isinstance(a, np.ndarray))
    shape = draw(strategies.shapes(min_dims=0 if flat else 1, min_side=record.min_side))
    several = any(isinstance(s.kwargs.get("dim"), tuple) for s in record.samples())
    optional = any("dim" not in s.kwargs for s in record.samples())
    dim = draw(strategies.dims(len(shape), several))
    keys = {} if dim is None and optional else {"dim": 0 if dim is None else dim}
    if keys and any("keepdim" in s.kwargs for s in record.samples()):
        keys["keepdim"] = draw(st.booleans())
    return Sample(array(shape), **{**parameters, **keys})


@pytest.mark.parametrize("record", named(r for r in RECORDS if r.shapes))
def test_generated(record, backend):
    @given(generated(record))
    def check(sample):
        (call,) = calls_of(record, backend, [sample])
        if record.reference is not None:
            properties.value_matches(call, record.reference, record.tolerance)
        if record.order:
            properties.gradients_match_differences(call, 1, record.grad_tolerance)
            properties.shapes_and_dtypes_fit(call, [np.float64])

    check()


# -- the table's own assumptions --------------------------------------------------------------------------------------


def test_rules_say_what_they_want():
    """Rules take named values, so that the tape keeps just those: no *args, no defaults."""
    for op in OPS.values():
        for rule in op.rules.values():
            for parameter in list(inspect.signature(rule.function).parameters.values())[2:]:
                assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD, (op.name, parameter)
                assert parameter.default is parameter.empty, (op.name, parameter)


def test_a_wrong_record_is_seen():
    """The properties do fail: a reference that is wrong in one element of the table."""
    record = TABLE["add"]
    call = calls_of(record)[0]
    with pytest.raises(GradcheckError, match="output 0"):
        properties.value_matches(call, lambda a, b: np.add(a, b) + 1e-6, record.tolerance)
