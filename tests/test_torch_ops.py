"""PyTorch as a second oracle: values and gradients of orders one and two for every record with a counterpart."""

import functools
import re

import numpy as np
import pytest
from op_table import TABLE

from chainrule.testing import calls_of
from chainrule.testing.calls import host as ours

# what PyTorch advises its users is not a fault of ours
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::UserWarning")]

RECORDS = [pytest.param(r, id=r.name) for r in TABLE.values() if r.torch]


def counterpart(torch, record):
    if callable(record.torch):
        return record.torch
    return functools.reduce(getattr, record.torch.split("."), torch)


def tensors_of(x, torch, made, numbers, tracked):
    """The sample with torch's tensors for arrays (collected in `made`), and for numbers if `numbers` says so."""
    if numbers and isinstance(x, (int, float)):
        return torch.tensor(x, dtype=torch.float64)
    if isinstance(x, np.ndarray):
        made.append(torch.tensor(x.copy(), requires_grad=tracked and x.dtype.kind in "fc"))
        return made[-1]
    if isinstance(x, (list, tuple)):
        return type(x)([tensors_of(v, torch, made, numbers, tracked) for v in x])
    return x


def flat(x, torch):
    if isinstance(x, torch.Tensor):
        return [x]
    return [t for v in x for t in flat(v, torch)] if isinstance(x, (list, tuple)) else []


def host(t):
    return None if t is None else t.detach().resolve_conj().numpy(force=True)


def torch_tower(torch, record, call, order):
    """What Call.tower gives, by PyTorch: outputs, then gradients of <the level below, the same random weights>."""

    def run(numbers):
        made = []
        args = tensors_of(call.sample.args, torch, made, numbers, order > 0)
        kwargs = {k: tensors_of(v, torch, made, False, order > 0) for k, v in call.sample.kwargs.items()}
        return made, counterpart(torch, record)(*args, **kwargs)

    try:
        made, out = run(numbers=False)
    except TypeError as error:
        if not re.search(r"must be Tensor, not|got \((float|int), Tensor", str(error)):
            raise
        made, out = run(numbers=True)  # a binary function that takes no numbers there
    if record.observe is not None:
        out = record.observe(*out) if isinstance(out, (list, tuple)) else record.observe(out)
    every = flat(out, torch)
    level = [t for t in every if t.is_floating_point() or t.is_complex()]
    levels, live = [[host(t) for t in level]], [made[i] for i in call.live]
    for k in range(1, order + 1):
        present = [t for t in level if t is not None]
        weights = call.weights([host(t) for t in present], k)
        pairs = [(t, torch.tensor(w)) for t, w in zip(present, weights, strict=True) if t.requires_grad]
        if not pairs or not live:
            levels.append([None] * len(live))
            level = []
            continue
        level = torch.autograd.grad(
            *map(list, [[t for t, _ in pairs], live]), [w for _, w in pairs], create_graph=True, allow_unused=True
        )
        levels.append([host(t) for t in level])
    return [host(t) for t in every], levels


def size(x):
    finite = x[np.isfinite(x)] if x.dtype.kind in "fc" else x
    return float(np.abs(finite.astype(complex)).max()) if finite.size else 0.0


def same(found, expected, tolerance, what, noise=0.0):
    if found is None or expected is None:
        other = expected if found is None else found
        assert other is None or size(other) <= noise, what
        return
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * size(expected) + noise, err_msg=what)


def oracle(torch, record, call):
    """PyTorch's tower up to order two, or as high as PyTorch's derivatives go."""
    for order in range(min(record.order, record.torch_order), -1, -1):
        try:
            return order, *torch_tower(torch, record, call, order)
        except (NotImplementedError, RuntimeError) as error:
            if not order or ("derivative for" not in str(error) and "not implemented" not in str(error)):
                raise
    raise AssertionError("unreachable")


@pytest.mark.parametrize("record", RECORDS)
def test_value_and_gradients(record, torch):
    for call in calls_of(record):
        order, values, expected = oracle(torch, record, call)
        found = [ours(t) for t in call.outputs(call.tensors(call.arrays))]
        assert len(found) == len(values), call
        for i, (a, b) in enumerate(zip(found, values, strict=True)):
            assert a.shape == b.shape, f"{call}: output {i}"
            assert a.dtype == b.dtype, f"{call}: output {i}"
            same(a, b, max(record.tolerance, 1e-9), f"{call}: output {i}")
        levels = call.tower(call.arrays, order)
        for k in range(1, order + 1):
            # what cancels to zero in one of the two is rounding of the numbers one order below
            noise = 1e-13 * max([size(x) for level in expected[:k] for x in level if x is not None], default=0.0)
            for i, (a, b) in enumerate(zip(levels[k], expected[k], strict=True)):
                same(a, b, 1e-2 * record.grad_tolerance, f"{call}: gradient {i} of order {k}", noise)


def test_most_ops_have_a_counterpart():
    without = sorted(r.name for r in TABLE.values() if not r.torch)
    assert len(without) <= 0.15 * len(TABLE), f"records without a PyTorch counterpart: {without}"
