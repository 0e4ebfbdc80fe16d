"""In-place ops and shared memory: right gradients, or a clear error before anything is changed (design section 4)."""

import copy

import numpy as np
import pytest

import chainrule as cr


def leaf(*values):
    return cr.tensor(list(values), requires_grad=True)


def same(tensor, values):
    np.testing.assert_allclose(tensor.detach().numpy(), values, rtol=1e-6)


# -- recording --------------------------------------------------------------------------------------------------------


def test_a_recorded_write_leaves_what_nodes_kept_right():
    x = leaf(2.0, 3.0)
    y = x * x
    z = y * y  # keeps y
    y.add_(10)
    (z.sum() + y.sum()).backward()
    same(x.grad, [4 * 8 + 4, 4 * 27 + 6])
    same(y, [14, 19])


def test_operators_in_place():
    x = leaf(2.0, 3.0)
    y = x * 1
    y += x
    y *= x
    y -= 1
    y /= 2
    same(y, [3.5, 8.5])
    y.sum().backward()
    same(x.grad, [4, 6])


def test_a_leaf_that_requires_grad_is_not_written_into_while_recording():
    x = leaf(1.0, 2.0)
    for change in (lambda: x.add_(1), lambda: x.zero_(), lambda: x.__setitem__(0, 5.0), lambda: x[0:1].mul_(2)):
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            change()
    same(x, [1, 2])
    with cr.no_grad():
        x.mul_(3)
        x[0] = 7
    same(x, [7, 6])
    assert x.is_leaf


def test_setitem_routes_gradients():
    x, v = leaf(1.0, 2.0, 3.0), leaf(10.0)
    y = x * 2
    y[1] = v[0] * 3
    same(y, [2, 30, 6])
    (y * cr.tensor([1.0, 10.0, 100.0])).sum().backward()
    same(x.grad, [2, 0, 200])
    same(v.grad, [30])


def test_setitem_into_a_plain_buffer_records():
    x = leaf(1.0, 2.0)
    buffer = cr.zeros(2, 2)
    for i in range(2):
        buffer[i] = x * (i + 1)
    assert buffer.requires_grad
    buffer.sum().backward()
    same(x.grad, [3, 3])


def test_the_view_sees_a_write_to_its_base_with_gradients():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = x * 1
    view = y[1:3]
    y.mul_(x)
    same(view, [4, 9])
    view.sum().backward()
    same(x.grad, [0, 4, 6, 0])


def test_the_base_sees_a_write_to_its_view_with_gradients():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = x * 1
    sibling = y.view(2, 2)
    y[1:3].mul_(10)
    same(y, [1, 20, 30, 4])
    same(sibling, [[1, 20], [30, 4]])
    (sibling * sibling).sum().backward()
    same(x.grad, [2, 2 * 20 * 10, 2 * 30 * 10, 8])


def test_a_write_to_a_view_of_a_view():
    x = cr.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = x * 1
    y.t()[1].add_(x[0, 0] + 100)
    same(y, [[0, 101, 2], [3, 104, 5]])
    y.sum().backward()
    same(x.grad, [[3, 1, 1], [1, 1, 1]])


def test_columns_changed_in_place_by_augmented_assignment():
    x = cr.tensor(np.ones((2, 2)), requires_grad=True)
    y = x * 1
    y[:, 0] += x[:, 1] * 5
    same(y, [[6, 1], [6, 1]])
    y.sum().backward()
    same(x.grad, [[1, 6], [1, 6]])


def test_views_that_several_outputs_gave():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = x * 1
    a, b = y.chunk(2)
    b.mul_(x[:2])
    same(y, [1, 2, 3, 8])
    same(a, [1, 2])
    y.sum().backward()
    same(x.grad, [4, 5, 1, 2])


def test_recorded_value_into_an_untracked_base_reaches_its_views():
    w = leaf(5.0, 6.0)
    base = cr.zeros(4)
    view = base[2:]
    base[1:3] = w
    same(view, [6, 0])
    assert view.requires_grad
    view.sum().backward()
    same(w.grad, [0, 1])


def test_a_detached_alias_sees_a_recorded_write_without_gradients():
    x = leaf(1.0, 2.0)
    y = x * 1
    d = y.detach()
    y.add_(5)
    same(d, [6, 7])
    assert not d.requires_grad


def test_a_recorded_write_to_a_detached_alias_reaches_the_tensor_and_gives_it_no_gradients():
    x = leaf(1.0, 2.0)
    y = x * 1
    d, other = y.detach(), y.detach()
    d.add_(x)
    same(y, [2, 4])
    same(other, [2, 4])
    assert d.requires_grad
    assert not other.requires_grad
    (10 * d + y).sum().backward()
    same(x.grad, [11, 11])


def test_a_recorded_write_through_data_goes_into_the_memory_of_a_leaf():
    p, w, flat = leaf(4.0, 5.0), leaf(1.0, 2.0), cr.zeros(4)
    kept = p.detach()
    p.data.mul_(0.5).add_(w, alpha=2)
    same(p, [4, 6.5])
    same(kept, [4, 6.5])
    assert not any(t.requires_grad for t in (kept, p.data))
    p.data = flat[1:3]
    d = p.data
    view = d[1:]
    d[0] = w[1] * 3
    same(flat, [0, 6, 0, 0])
    view.add_(w[:1])
    same(flat, [0, 6, 1, 0])
    (d * 2).sum().backward()
    same(w.grad, [2, 6])
    (p * p).sum().backward()
    same(p.grad, [12, 2])


def test_aliases_of_one_tensor_stay_together_without_it():
    w = leaf(1.0, 2.0)
    y = w * 2
    a, b = y.detach(), y.detach()
    del y
    a[0] = w[1]
    same(b, [2, 4])
    c = b.detach()
    c.mul_(w)
    for t in (a, b, c):
        same(t, [2, 8])
    assert [t.requires_grad for t in (a, b, c)] == [True, False, True]


def test_out_may_be_a_parameter_where_nothing_is_recorded():
    p, z = leaf(1.0, 2.0), cr.tensor([3.0, -4.0])
    with cr.no_grad():
        assert cr.sign(z, out=p) is p
        cr.add(z, p, out=p)
        same(p, [4, -5])
        cr.cat([z], out=p)
    same(p, [3, -4])
    assert p.is_leaf
    for call in (lambda: cr.sign(z, out=p), lambda: cr.mul(p, z, out=cr.empty(2))):
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            call()


def test_zero_and_fill_cut_the_gradient_and_keep_the_history():
    x = leaf(1.0, 2.0)
    y = x * 3
    y.zero_()
    assert y.requires_grad
    y.sum().backward()
    same(x.grad, [0, 0])
    z = x * 3
    z[0].fill_(7)
    same(z, [7, 6])
    z.sum().backward()
    same(x.grad, [0, 3])


def test_copy_takes_the_gradient_of_its_source():
    x, s = leaf(1.0, 2.0), leaf(5.0)
    y = x * 3
    y.copy_(s)
    same(y, [5, 5])
    y.sum().backward()
    same(x.grad, [0, 0])
    same(s.grad, [2])


def test_a_write_of_the_wrong_shape_or_category_changes_nothing():
    y = leaf(1.0, 2.0) * 1
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        y.add_(cr.ones(3, 2))
    n = cr.tensor([1, 2])
    with pytest.raises(RuntimeError, match=r"can't be cast to the desired output type Long"):
        n.mul_(1.5)
    same(y, [1, 2])
    assert n.tolist() == [1, 2]


def test_in_place_keeps_the_dtype():
    x = cr.zeros(2)
    x.add_(cr.ones(2, dtype=cr.float64))
    assert x.dtype == cr.float32


def test_second_derivatives_through_writes_in_place():
    x = cr.tensor([1.0, 2.0, 3.0], dtype=cr.float64, requires_grad=True)
    y = x * x
    y[1:].mul_(x[:2])
    (g,) = cr.grad((y * x).sum(), x, create_graph=True)
    # f = x0^3 + x1^3 x0 + x2^3 x1
    same(g, [3 + 8, 3 * 4 * 1 + 27, 3 * 9 * 2])
    (h,) = cr.grad(g.sum(), x)
    same(h, [6 + 12, 12 + 12 * 1 + 27, 27 + 36])


# -- not recording ----------------------------------------------------------------------------------------------------


def test_views_share_memory_without_recording():
    x = cr.zeros(2, 3)
    row, flat = x[0], x.view(6)
    x.add_(1)
    row.mul_(5)
    same(flat, [5, 5, 5, 1, 1, 1])
    x.t()[2] = cr.tensor([8.0, 9.0])
    same(flat, [5, 5, 8, 1, 1, 9])


def test_a_stale_kept_value_is_an_error_and_not_a_wrong_gradient():
    w = cr.tensor([1.0, 2.0])
    x = leaf(3.0, 4.0)
    y = (x * w).sum()
    w.add_(1)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: mul kept.*test_inplace\.py"):
        y.backward()


def test_a_write_through_a_view_or_data_is_noticed():
    for change in (lambda w: w[0:1].zero_(), lambda w: w.data.zero_(), lambda w: w.detach().view(2, 1).zero_()):
        w, x = cr.tensor([1.0, 2.0]), leaf(3.0, 4.0)
        y = (x * w).sum()
        change(w)
        with pytest.raises(RuntimeError, match="inplace"):
            y.backward()


def test_a_write_to_memory_that_no_node_kept_is_no_error():
    w, x = cr.tensor([1.0, 2.0]), leaf(3.0, 4.0)
    y = (x + w).sum()
    w.zero_()
    y.backward()
    same(x.grad, [1, 1])


def test_an_optimizer_step_between_forward_and_backward_is_noticed():
    w, x = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (x * w).sum()
    with cr.no_grad():
        w -= 0.1
    with pytest.raises(RuntimeError, match="inplace"):
        y.backward()


def test_setting_data_gives_other_data_and_graphs_keep_theirs():
    w, x = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (x * w).sum()
    w.data = cr.tensor([10.0, 20.0])
    y.backward()
    same(x.grad, [1, 2])
    same(w, [10, 20])


def test_expanded_memory_is_not_written_into():
    x = cr.zeros(1, 3).expand(2, 3)
    with pytest.raises(RuntimeError, match="expanded"):
        x.add_(1)


def test_scalars_are_written_into_too():
    x = cr.ones(3).sum()
    view = x.view(1)
    x.add_(4)
    assert x.item() == 7
    same(view, [7])


# -- memory shared with NumPy -----------------------------------------------------------------------------------------


def test_from_numpy_shares_and_a_change_there_spoils_no_gradient():
    a = np.array([1.0, 2.0], dtype=np.float32)
    t, x = cr.from_numpy(a), leaf(3.0, 4.0)
    y = (x * t).sum()
    a[0] = 100
    same(t, [100, 2])
    y.backward()
    same(x.grad, [1, 2])


def test_views_of_shared_memory_are_protected_too():
    a = np.arange(4, dtype=np.float32)
    t, x = cr.from_numpy(a), leaf(3.0, 4.0)
    y = (x * t[1:3]).sum()
    a[:] = 100
    y.backward()
    same(x.grad, [1, 2])


def test_recorded_writes_reach_numpys_memory():
    a = np.zeros(2, dtype=np.float32)
    t, x = cr.from_numpy(a), leaf(3.0, 4.0)
    t.add_(x)
    assert a.tolist() == [3, 4]
    t.sum().backward()
    same(x.grad, [1, 1])


def test_memory_handed_out_by_numpy_and_changed_there_is_noticed():
    w, x = cr.tensor([1.0, 2.0]), leaf(3.0, 4.0)
    y = (x * w).sum()
    w.numpy()[0] = 100
    with pytest.raises(RuntimeError, match=r"handed out by numpy\(\)"):
        y.backward()
    w, x = cr.tensor([1.0, 2.0]), leaf(3.0, 4.0)
    y = (x * w).sum()
    w.numpy()
    y.backward()  # looked at, not changed
    same(x.grad, [1, 2])


def test_deepcopy_and_clone_share_nothing():
    x = cr.tensor([1.0, 2.0])
    a, b = copy.deepcopy(x), x.clone()
    x.zero_()
    same(a, [1, 2])
    same(b, [1, 2])


@pytest.mark.parametrize("value", [None, "1", [None], {"a": 1}, object()])
@pytest.mark.parametrize("index", [0, slice(None), [0], [True, False]])
def test_what_is_no_number_is_not_assigned(index, value):
    x = cr.zeros(2)
    with pytest.raises(TypeError, match="can't assign a"):
        x[index] = value
    assert x.tolist() == [0, 0]
