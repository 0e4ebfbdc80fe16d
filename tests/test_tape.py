"""The walk: order, release, retention, roots and targets, hooks, depth, leaks, threads."""

import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.tensor import Node


def leaf(*values):
    return cr.tensor(list(values), requires_grad=True)


def test_the_gradient_of_a_reused_tensor_is_summed():
    x = leaf(2.0, 3.0)
    y = x * x + x
    (y * x).sum().backward()  # x^3 + x^2
    np.testing.assert_allclose(x.grad.numpy(), 3 * np.array([4, 9]) + 2 * np.array([2, 3]))


def test_gradients_accumulate_over_calls_and_into_the_same_tensor():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    first = x.grad
    (x * 4).sum().backward()
    assert x.grad is first
    np.testing.assert_array_equal(x.grad.numpy(), [7, 7])


def test_leaves_do_not_share_the_memory_of_their_gradients():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = cr.tensor([1.0, 1.0])
    (x + y).backward(seed)
    assert not np.shares_memory(x.grad.array, y.grad.array)
    assert not np.shares_memory(x.grad.array, seed.array)
    x.grad.mul_(5)
    np.testing.assert_array_equal(y.grad.numpy(), [1, 1])
    np.testing.assert_array_equal(seed.numpy(), [1, 1])


def test_results_of_grad_do_not_share_memory():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = cr.tensor([1.0, 1.0])
    for out, vector in (((x + y).sum(), None), (x + y, seed)):
        gx, gy = cr.grad(out, (x, y), vector)
        gx.mul_(5)
        np.testing.assert_array_equal(gy.numpy(), [1, 1])
    np.testing.assert_array_equal(seed.numpy(), [1, 1])


def test_a_second_walk_is_refused_unless_the_graph_is_retained():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [8])
    with pytest.raises(RuntimeError, match=r"second time.*retain_graph=True"):
        y.backward()


def test_what_nodes_keep_is_released_while_walking():
    x = leaf(*np.arange(1.0, 5.0))
    y = cr.tanh(x * 2)
    kept = weakref.ref(y.node.saved[0])
    z = y.sum()
    del y
    assert kept() is not None
    z.backward()
    assert kept() is None


def test_only_what_a_rule_names_is_kept():
    x, w = leaf(1.0, 2.0), cr.tensor([3.0, 4.0])
    assert (x * 2).node.saved == (2,)
    assert (x + w).node.saved == ()
    assert [v is w.array for v in (x * w).node.saved] == [True]  # w wants no gradient, so x is not kept


def test_a_graph_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = cr.tanh(x * x).sum()
        node, array = weakref.ref(y.node), weakref.ref(y.node.parents[0].saved[0])
        del y
        assert node() is None
        assert array() is None
        z = cr.tanh(x * x).sum()
        z.backward(create_graph=False)
        node = weakref.ref(z.node)
        del z
        assert node() is None
    finally:
        gc.enable()


def test_a_chain_of_200_000_ops_is_built_walked_and_freed():
    x = leaf(1.0)
    y = x
    for _ in range(200_000):
        y = y + 1
    y.backward(cr.tensor([1.0]))
    assert x.grad.item() == 1
    del y
    z = x
    for _ in range(200_000):
        z = z * 1.0
    del z  # freed unwalked


def test_backward_needs_a_scalar_or_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match=r"Mismatch in shape"):
        (x * 2).backward(cr.tensor([1.0]))
    with pytest.raises(RuntimeError, match="does not require grad"):
        cr.tensor([1.0]).sum().backward()


def test_backward_into_chosen_inputs_alone():
    x, y = leaf(2.0), leaf(3.0)
    h = x * 2
    (h * y).sum().backward(inputs=[y])
    assert x.grad is None
    assert y.grad.item() == 4
    h = x * 2
    h.retain_grad()
    (h * y).sum().backward(inputs=[x])
    assert x.grad.item() == 6


def test_grad_returns_and_touches_no_grad_field():
    x, y = leaf(2.0), leaf(3.0)
    h = x * y
    out = h * h
    gx, gh = cr.grad(out.sum(), (x, h))
    assert (gx.item(), gh.item()) == (2 * 6 * 3, 12)
    assert x.grad is None


def test_grad_of_what_was_not_used():
    x, y = leaf(2.0), leaf(3.0)
    with pytest.raises(RuntimeError, match="allow_unused"):
        cr.grad((x * 2).sum(), y)
    assert cr.grad((x * 2).sum(), (x, y), allow_unused=True)[1] is None
    assert cr.grad((x * 2).sum(), (x, y), materialize_grads=True)[1].item() == 0


def test_grad_of_several_outputs_and_batched_vectors():
    x = leaf(1.0, 2.0)
    (g,) = cr.grad((x * x, x * 3), x, (cr.tensor([1.0, 1.0]), cr.tensor([1.0, 0.0])))
    np.testing.assert_array_equal(g.numpy(), [5, 4])
    (rows,) = cr.grad(x * x, x, cr.eye(2), is_grads_batched=True)
    np.testing.assert_array_equal(rows.numpy(), [[2, 0], [0, 4]])


def test_orders_one_to_four_of_a_polynomial():
    x = cr.tensor(2.0, dtype=cr.float64, requires_grad=True)
    value, want = x * x * x * x, [32.0, 48.0, 48.0, 24.0]
    for expected in want:
        (value,) = cr.grad(value, x, create_graph=True)
        assert value.item() == expected


def test_backward_with_create_graph_leaves_differentiable_gradients():
    x = leaf(3.0)
    (x * x * x).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    g.sum().backward()
    assert x.grad.item() == 18


def test_hooks_on_leaves_and_on_results():
    x = leaf(1.0, 2.0)
    seen = []
    handle = x.register_hook(lambda g: g * 10)
    y = x * 2
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.sum().backward()
    assert seen == [[1, 1]]
    np.testing.assert_array_equal(x.grad.numpy(), [20, 20])
    handle.remove()
    x.grad = None
    (x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2])


def test_a_hook_sees_the_whole_gradient_once():
    x = leaf(1.0)
    y = x * 2
    calls = []
    y.register_hook(lambda g: calls.append(g.item()))
    (y * 3 + y * 4).sum().backward()
    assert calls == [7]


def test_hooks_under_create_graph_get_tensors_of_the_graph():
    x = leaf(3.0)
    y = x * x
    y.register_hook(lambda g: g * 2)
    (g,) = cr.grad(y.sum(), x, create_graph=True)
    assert g.item() == 12
    assert cr.grad(g.sum(), x)[0].item() == 4


def test_retain_grad_keeps_the_gradient_of_a_result():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), [4, 8])
    assert y.retains_grad
    assert not x.retains_grad


def test_post_accumulate_hook():
    x = leaf(1.0)
    seen = []
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.item()))
    (x * 5).sum().backward()
    assert seen == [5]


def test_watched_leaves_are_served_while_backward_goes_on():
    a, b, c = (cr.tensor([x, x], requires_grad=True) for x in (1.0, 2.0, 3.0))
    events = []
    for name, leaf in (("b", b), ("c", c)):
        leaf.register_post_accumulate_grad_hook(lambda p, name=name: events.append((name, p.grad.tolist())))
    first = a.sin()
    first.register_hook(lambda g: events.append(("first", None)))
    middle = a * b  # b is used below, too: its gradient is complete when this has been walked
    middle.register_hook(lambda g: events.append(("middle", None)))
    (first + middle * c + b).sum().backward()
    assert [name for name, _ in events] == ["c", "middle", "b", "first"]
    assert dict(events)["b"] == [4.0, 4.0]
    assert c.grad.tolist() == [2.0, 2.0]
    assert np.allclose(a.grad.numpy(), np.cos(1) + 6)


def test_watched_leaves_in_every_kind_of_backward():
    seen = []
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.tolist()))
    x.backward(cr.ones(2))
    (x * x).sum().backward()
    (x * x).sum().backward(create_graph=True)
    x.grad = None
    (x * x).sum().backward(inputs=[x])
    assert seen == [[1, 1], [3, 5], [5, 9], [2, 4]]


def test_calls_at_the_end_of_backward():
    from chainrule.autograd.tape import when_done

    events = []
    x, y = cr.ones(1, requires_grad=True), cr.ones(1, requires_grad=True)
    y.register_post_accumulate_grad_hook(lambda p: when_done(lambda: events.append(x.grad.tolist())))
    (x.sin() * 0 + x + y).sum().backward()
    assert events == [[1.0]]
    bad = (x * 2).exp() * y
    bad.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bad.sum().backward()
    assert events == [[1.0]]


def test_grad_fn_and_next_functions():
    x = leaf(1.0)
    y = (x * 2).sum()
    assert y.grad_fn.name() == "SumBackward0"
    inner = y.grad_fn.next_functions[0][0]
    assert isinstance(inner, Node)
    assert inner.next_functions[0][0].variable is x
    assert x.grad_fn is None
    assert x.is_leaf
    assert not y.is_leaf


def test_requires_grad_is_for_floating_leaves():
    with pytest.raises(RuntimeError, match="floating"):
        cr.tensor([1, 2], requires_grad=True)
    y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="leaf"):
        y.requires_grad = False


def test_modes_record_or_do_not():
    x = leaf(1.0)
    with cr.no_grad():
        assert not (x * 2).requires_grad
        with cr.enable_grad():
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad
    with cr.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    cr.set_grad_enabled(False)
    assert not cr.is_grad_enabled()
    cr.set_grad_enabled(True)

    @cr.no_grad()
    def decorated():
        return x * 2

    @cr.no_grad
    def bare():
        return x * 2

    @cr.inference_mode()
    def inferred():
        assert cr.is_inference_mode_enabled()
        return x * 2

    for f in (decorated, bare, inferred):
        assert not f().requires_grad
        assert cr.is_grad_enabled()


def test_a_decorated_generator_holds_the_mode_only_while_it_runs():
    x = leaf(1.0)

    @cr.no_grad()
    def produce():
        for _ in range(2):
            yield (x * 2).requires_grad

    for recorded in produce():
        assert not recorded
        assert cr.is_grad_enabled()


def test_threads_have_their_own_modes():
    x, result = leaf(1.0), []
    with cr.no_grad():
        t = threading.Thread(target=lambda: result.append((x * 2).requires_grad))
        t.start()
        t.join()
    assert result == [True]


def test_threads_differentiate_independently():
    x = cr.tensor(np.linspace(0, 1, 50), requires_grad=True)
    expected = 1 - np.tanh(np.linspace(0, 1, 50)) ** 2
    errors = []

    def work():
        for _ in range(50):
            (g,) = cr.grad(cr.tanh(x).sum(), x)
            if not np.allclose(g.numpy(), expected):
                errors.append(g)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_anomaly_mode_names_the_op_and_the_line_in_forward():
    x = leaf(-1.0)
    with cr.autograd.detect_anomaly(), pytest.raises(RuntimeError, match=r"log.*NaN in forward.*test_tape\.py"):
        cr.log(x)


def test_anomaly_mode_names_the_op_and_the_line_in_backward():
    x = leaf(0.0)
    with cr.autograd.detect_anomaly():
        y = (x * 0) ** 0.5 * 0
        with pytest.raises(
            RuntimeError, match=r"Function 'PowBackward0' returned nan values in its 0th.*test_tape\.py"
        ):
            y.sum().backward()


def test_anomaly_mode_lets_infinities_and_unrecorded_nans_pass():
    x = leaf(0.0, 1.0)
    with cr.autograd.detect_anomaly():
        (x.masked_fill(cr.tensor([True, False]), -np.inf).softmax(0).sum() + x[1]).backward()
        assert x.log().exp().tolist() == [0, 1]
        assert (x.detach() / 0)[0].isnan()
        with cr.no_grad():
            assert (x / x)[0].isnan()
        with pytest.raises(RuntimeError, match="NaN in forward"):
            x / x
    assert x.grad.tolist()[1] == 1


def test_a_node_of_another_graph_stays_valid_after_pickling_values():
    x = leaf(1.0, 2.0)
    y = pickle.loads(pickle.dumps(x))
    assert y.requires_grad
    np.testing.assert_array_equal(y.detach().numpy(), [1, 2])


def test_float32_stays_float32_and_mixed_dtypes_come_back_in_their_own():
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    w = cr.tensor([1.0, 2.0], dtype=cr.float64, requires_grad=True)
    y = x * w
    assert y.dtype == cr.float64
    y.sum().backward()
    assert (x.grad.dtype, w.grad.dtype) == (cr.float32, cr.float64)


def test_gradients_are_summed_to_the_shape_of_a_broadcast_input():
    x, b = cr.ones(3, 4, requires_grad=True), cr.ones(4, requires_grad=True)
    c = cr.ones(3, 1, requires_grad=True)
    (x * b * c).sum().backward()
    assert b.grad.tolist() == [3] * 4
    assert c.grad.tolist() == [[4]] * 3


def test_a_large_gradient_in_another_order_of_memory_is_not_copied():
    x = cr.randn(4, 8, 64, 64).to(memory_format=cr.channels_last).requires_grad_()
    seen = []
    x.register_hook(lambda g: seen.append((g.data_ptr(), g.stride())))
    cr.nn.functional.leaky_relu(x, 0.5).backward(cr.ones(4, 8, 64, 64).to(memory_format=cr.channels_last))
    assert (x.grad.data_ptr(), x.grad.stride()) == seen[0]
    assert np.array_equal(x.grad.numpy(), np.where(x.detach().numpy() > 0, 1, 0.5))
    # a view of a part of its memory, or one that runs backwards, is
    for view in (lambda t: t[:2], lambda t: t.flip(0)):
        y = cr.randn(4, 8, 64, 64, requires_grad=True)
        view(y).backward(cr.ones(view(y).shape))
        assert y.grad.is_contiguous()


def test_several_hooks_for_one_finished_gradient():
    w, events = leaf(1.0, 2.0, 3.0), []
    first = w.register_post_accumulate_grad_hook(lambda p: events.append("first"))
    w.register_post_accumulate_grad_hook(lambda p: events.append(p.grad.tolist()))
    w.sum().backward()
    first.remove()
    w.sum().backward()
    assert events == ["first", [1, 1, 1], [2, 2, 2]]


def test_hooks_of_one_tensor_get_one_object():
    seen = []

    def mark(g):
        g.mark = "here"

    def triple(g):
        tripled = 3 * g
        tripled.mark = "there"
        return tripled

    for x in (cr.ones(2, requires_grad=True), 1 * cr.ones(2, requires_grad=True)):
        for hook in (mark, lambda g: seen.append(g.mark), triple, lambda g: seen.append(g.mark)):
            x.register_hook(hook)
        (x * x).sum().backward()
    assert seen == ["here", "there"] * 2


def test_a_map_in_one_thread_leaves_walks_of_others_as_they_are():
    begun, done = threading.Event(), threading.Event()

    def slow(row):
        begun.set()
        assert done.wait(10)
        return row * 2

    mapped = threading.Thread(target=cr.vmap(slow), args=(cr.ones(2, 3),))
    mapped.start()
    assert begun.wait(10)
    try:
        x = leaf(1.0, 2.0)
        y = (x * x).sum()
        y.backward()
        with pytest.raises(RuntimeError, match="second time"):
            y.backward()
    finally:
        done.set()
        mapped.join()
