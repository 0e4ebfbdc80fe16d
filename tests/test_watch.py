"""Looking at the calls of ops: of one thread, without changing what they compute."""

import threading

import pytest

import chainrule as cr
from chainrule.autograd.modes import _CHANGED, MODES
from chainrule.autograd.watch import seen, watched
from chainrule.nn import functional as F


def names(function):
    found = []
    with seen(lambda op, inputs, params: found.append(op.name)):
        function()
    return found


def test_seen_shows_inputs_and_a_composite_as_one_op():
    calls = []
    q = cr.randn(2, 3, 4, requires_grad=True)
    with seen(lambda op, inputs, params: calls.append((op.name, inputs[0], params))):
        out = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert [name for name, *_ in calls] == ["scaled_dot_product_attention"]
    assert calls[0][1] is q
    assert calls[0][2]["is_causal"]
    want = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert (out == want).all()
    (found,), (wanted,) = (cr.autograd.grad(y.square().sum(), q) for y in (out, want))
    assert (found == wanted).all()


def test_what_the_function_computes_itself_is_not_shown():
    calls = []

    def look(op, inputs, params):
        calls.append(op.name)
        inputs[0].exp().sum()

    with seen(look):
        cr.ones(3).sin()
    assert calls == ["sin"]


def test_seen_is_of_one_thread_and_blocks_nest():
    inner, here = [], []
    x = cr.ones(3)

    def other():
        with seen(lambda op, *rest: inner.append(op.name)):
            x.cos()

    with seen(lambda op, *rest: here.append(op.name)):
        x.sin()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        other()
        x.tan()
    x.exp()
    assert here == ["sin", "tan"]
    assert inner == ["cos", "cos"]


def test_seen_under_autocast_on_either_side():
    x, dtypes = cr.ones(2, 2), []

    def inside():
        with cr.autocast("cpu", dtype=cr.float16):
            assert (x @ x).dtype == cr.float16
        assert (x @ x).dtype == cr.float32

    assert names(inside).count("matmul") == 2
    with cr.autocast("cpu", dtype=cr.float16):
        assert "matmul" in names(lambda: dtypes.append((x @ x).dtype))
    assert dtypes == [cr.float16]


def test_seen_ends_with_an_exception_and_leaves_nothing():
    modes = MODES.get()
    x = cr.ones(2)
    with pytest.raises(KeyError), seen(lambda *call: {}["no"]):
        x.sin()
    assert MODES.get() is modes
    assert names(lambda: cr.ones(2).sin()) == ["sin"]


@pytest.mark.parametrize("block", [seen, watched])
def test_blocks_do_not_fill_the_table_of_modes(block):
    def go():
        function = (lambda *call: None) if block is seen else (lambda op, inputs, params, call: call())
        with block(function), cr.no_grad():
            F.scaled_dot_product_attention(*[cr.ones(2, 3)] * 3)

    go()
    before = len(_CHANGED)
    for _ in range(5):
        go()
    assert len(_CHANGED) == before
