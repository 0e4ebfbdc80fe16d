"""Views share memory, in-place transposes, layouts; indexing against NumPy; functions in front of the shape ops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chainrule as cr
from chainrule.testing.samples import floats, permuted


def cube():
    return cr.tensor(floats((2, 3, 4)))


VIEWS = {
    "view": lambda x: x.view(6, 4),
    "reshape": lambda x: x.reshape(-1),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(2, (2, 2)),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "transpose": lambda x: x.transpose(0, 2),
    "permute": lambda x: x.permute(1, 2, 0),
    "movedim": lambda x: x.movedim(0, -1),
    "mT": lambda x: x.mT,
    "narrow": lambda x: x.narrow(1, 1, 2),
    "select": lambda x: x.select(2, 1),
    "index": lambda x: x[0],
    "slice": lambda x: x[..., ::-2],
    "one element": lambda x: x[1, 2, 3],
    "diagonal": lambda x: x.diagonal(0, 1, 2),
    "split": lambda x: x.split(2, 2)[1],
    "chunk": lambda x: x.chunk(2, 2)[0],
    "unbind": lambda x: x.unbind(1)[2],
    "unfold": lambda x: x.unfold(2, 2, 2),
    "as_strided": lambda x: x.as_strided((2, 2), (4, 1), 3),
    "detach": lambda x: x.detach(),
}


@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
def test_a_write_through_a_view_reaches_the_base(make):
    x = cube()
    make(x).fill_(7)
    expected = floats((2, 3, 4))
    places = make(cr.arange(24).view(2, 3, 4)).numpy().reshape(-1)
    expected.reshape(-1)[places] = 7
    np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize("name", [n for n in VIEWS if n != "detach"])
def test_a_recorded_write_through_a_view_has_right_gradients(name):
    make = VIEWS[name]
    x = cr.tensor(floats((2, 3, 4)), requires_grad=True)
    y = x * 2
    view = make(y)
    view *= view.detach().clone() * 0 + 3
    places = make(cr.arange(24).view(2, 3, 4)).numpy().reshape(-1)
    factor = np.full(24, 2.0)
    factor[places] = 6
    np.testing.assert_allclose(y.detach().numpy().reshape(-1), floats((2, 3, 4)).reshape(-1) * factor)
    (y * y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy().reshape(-1), 2 * factor**2 * floats((2, 3, 4)).reshape(-1))


def test_an_expanded_view_refuses_writes():
    x = cr.zeros(3, 1)
    for write in (lambda v: v.fill_(1), lambda v: v.__setitem__(0, 1.0)):
        with pytest.raises(RuntimeError, match=r"single memory location|share one"):
            write(x.expand(3, 4))
    assert float(x.sum()) == 0


def test_copies_are_copies():
    x = cube()
    for copy in (x.clone(), x.flip(0), x.repeat(1, 1, 1), x.roll(0), x[[0, 1]], x[x > -9], x.tril(9), cr.cat([x])):
        copy.fill_(0)
    assert float(x.abs().min()) > 0


@pytest.mark.parametrize(
    ("name", "args"),
    [("t_", ()), ("transpose_", (0, 1)), ("unsqueeze_", (1,)), ("swapdims_", (0, 1)), ("squeeze_", ())],
)
def test_a_tensor_becomes_a_view_of_itself(name, args):
    x = cr.tensor(floats((2, 3)))
    other = x.view(-1)
    expected = getattr(x, name[:-1])(*args).numpy().copy()
    assert getattr(x, name)(*args) is x
    np.testing.assert_array_equal(x.numpy(), expected)
    x.fill_(5)
    assert float(other.min()) == 5  # still the same memory
    leaf = cr.tensor(floats((2, 3)), requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        getattr(leaf, name)(*args)
    y = getattr(leaf * 2, name)(*args)
    (y * y).sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), 8 * floats((2, 3)))


def test_in_place_after_becoming_a_view():
    x = cr.tensor(floats((2, 3)), requires_grad=True)
    y = x * 1
    whole = y.view(-1)
    y.t_()
    y[0] = y[0] * 10
    np.testing.assert_allclose(whole.detach().numpy()[[0, 3]], floats((2, 3))[:, 0] * 10)
    whole.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[10, 1, 1], [10, 1, 1]])


def test_layout():
    x = cr.zeros(2, 3, 4, 5)
    assert x.is_contiguous()
    assert x.stride() == (60, 20, 5, 1)
    assert x.stride(-1) == 1
    assert x[1:, :, 2].storage_offset() == 70
    assert not x.transpose(0, 1).is_contiguous()
    assert x.contiguous() is x
    last = x.contiguous(memory_format=cr.channels_last)
    assert last.shape == x.shape
    assert last.stride() == (60, 1, 15, 3)
    assert last.is_contiguous(memory_format=cr.channels_last)
    assert not last.is_contiguous()
    assert last.clone().stride() == last.stride()
    assert last.clone(memory_format=cr.contiguous_format).is_contiguous()
    assert (x.dim(), x.numel(), x.nelement(), x.element_size(), x.size(-1)) == (4, 120, 120, 4, 5)
    assert x.view(cr.int32).dtype == cr.int32
    assert x.view(cr.uint8).shape == (2, 3, 4, 20)
    with pytest.raises(RuntimeError, match="rank 4"):
        cr.zeros(2).contiguous(memory_format=cr.channels_last)


def test_view_copies_where_strides_cannot_say_it():
    x = cr.tensor(permuted(floats((2, 3))))
    np.testing.assert_array_equal(x.view(6).numpy(), floats((2, 3)).reshape(6))
    with pytest.raises(RuntimeError):
        x.view(4)


# -- indexing ---------------------------------------------------------------------------------------------------------


@given(
    hnp.array_shapes(min_dims=1, max_dims=4, max_side=4).flatmap(
        lambda shape: st.tuples(st.just(shape), hnp.basic_indices(shape, allow_newaxis=True))
    )
)
def test_basic_indices(case):
    shape, index = case
    a = floats(shape)
    x = cr.tensor(a, requires_grad=True)
    found = x[index]
    np.testing.assert_array_equal(found.detach().numpy(), a[index])
    found.sum().backward()
    expected = np.zeros(shape)
    expected[index] = 1
    np.testing.assert_array_equal(x.grad.numpy(), expected)
    y = cr.tensor(a)
    y[index] = 9
    expected = a.copy()
    expected[index] = 9
    np.testing.assert_array_equal(y.numpy(), expected)


@given(
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=4).flatmap(
        lambda shape: st.tuples(st.just(shape), hnp.integer_array_indices(shape))
    )
)
def test_integer_arrays(case):
    shape, index = case
    a = floats(shape)
    x = cr.tensor(a, requires_grad=True)
    found = x[tuple([cr.tensor(i) for i in index])]
    np.testing.assert_array_equal(found.detach().numpy(), a[index])
    weights = floats(found.shape, seed=1)
    (found * cr.tensor(weights)).sum().backward()
    expected = np.zeros(shape)
    np.add.at(expected, index, weights)
    np.testing.assert_allclose(x.grad.numpy(), expected)


def test_numpys_forms():
    a = floats((3, 4))
    x = cr.tensor(a)
    for index in (
        np.s_[np.array([2, 0])],
        np.s_[np.int64(1), np.uint8(2)],
        np.s_[np.array([[0, 1], [1, 0]])],  # the list itself is a tuple of indices, as in PyTorch
        np.s_[a > 0],
        np.s_[range(2)],
        np.s_[::-1, ::-2],
        np.s_[np.array(True)],
        np.s_[cr.tensor(1) : cr.tensor(3)],
        np.s_[np.array([], int)],
    ):
        plain = slice(1, 3) if isinstance(index, slice) and isinstance(index.start, cr.Tensor) else index
        np.testing.assert_array_equal(x[index].numpy(), a[plain])


def test_an_int_beside_an_array_stays_in_its_place():
    """As in PyTorch; NumPy puts the array's dimension first."""
    assert cube()[0, :, [1, 2]].shape == (3, 2)


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (5, IndexError),
        ((0, 0, 0, 0), IndexError),
        ([5], IndexError),
        (1.5, IndexError),
        ("a", TypeError),
        (np.array([0.5]), IndexError),
        (np.array([True, False, True]), IndexError),
        ((..., 0, ...), IndexError),
    ],
)
def test_wrong_indices(index, error):
    x = cube()
    with pytest.raises(error):
        x[index]
    with pytest.raises(error):
        x[index] = 1


def test_a_written_value_is_broadcast_and_cast():
    x = cr.zeros(2, 3)
    x[:, 1] = cr.tensor([1, 2])
    x[0] = np.array([[3.5, 0, 0]])
    x[1, :2] = [7, 8]
    np.testing.assert_array_equal(x.numpy(), [[3.5, 0, 0], [7, 8, 0]])
    with pytest.raises(RuntimeError):
        x[0] = cr.tensor([1.0, 2.0])
    assert x.dtype == cr.float32


def test_of_a_place_written_twice_the_last_value_stays_and_gets_the_gradient():
    v = cr.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for write in (
        lambda x: x.index_put((cr.tensor([0, 0, 1]),), v),
        lambda x: x.scatter(0, cr.tensor([0, 0, 1]), v),
        lambda x: x.index_copy(0, cr.tensor([0, 0, 1]), v),
    ):
        out = write(cr.zeros(2))
        np.testing.assert_array_equal(out.detach().numpy(), [2, 3])
        (g,) = cr.autograd.grad(out.sum(), v)
        np.testing.assert_array_equal(g.numpy(), [0, 1, 1])


def test_x_i_plus_equals():
    x = cr.tensor(floats((2, 3)), requires_grad=True)
    y = x * 1
    y[0] += y[1] * 2
    y[:, [0, 0]] *= 3
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[3, 1, 1], [9, 3, 3]])


# -- functions in front of ops ----------------------------------------------------------------------------------------


def test_numpys_names():
    x = cube()
    assert cr.cat([x, x], axis=1).shape == (2, 6, 4)
    assert cr.stack([x, x], axis=-1).shape == (2, 3, 4, 2)
    assert x.squeeze(axis=0).shape == x.shape
    np.testing.assert_array_equal(cr.sort(x, axis=0).values.numpy(), np.sort(floats((2, 3, 4)), 0))


def test_scatter_reduce_shares_ties_evenly():
    x = cr.tensor([1.0, 5.0], requires_grad=True)
    src = cr.tensor([1.0, 1.0, 2.0], requires_grad=True)
    out = x.scatter_reduce(0, cr.tensor([0, 0, 1]), src, "amax")
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1 / 3, 1])
    np.testing.assert_allclose(src.grad.numpy(), [1 / 3, 1 / 3, 0])


def test_scatter_reduce_by_products_with_zeros_to_the_third_order():
    src = cr.tensor([0.0, 2.0, 0.0, 3.0], requires_grad=True, dtype=cr.float64)
    out = cr.ones(2, dtype=cr.float64).scatter_reduce(0, cr.tensor([0, 0, 0, 1]), src, "prod")
    (g,) = cr.autograd.grad(out.sum(), src, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), [0, 0, 0, 1])
    (h,) = cr.autograd.grad(g[0], src, create_graph=True)
    np.testing.assert_allclose(h.detach().numpy(), [0, 0, 2, 0])
    (k,) = cr.autograd.grad(h[2], src)
    np.testing.assert_allclose(k.numpy(), [0, 1, 0, 0])


@pytest.mark.parametrize("dims", [(0, 1, 2), (1, 0, 1), (-1, 2, 0)])
def test_diagonal_scatter_and_its_gradients(dims):
    array = floats((2, 3, 4))
    place = np.diagonal(array, *dims)
    x, src = cr.tensor(array, requires_grad=True), cr.tensor(floats(place.shape, seed=1), requires_grad=True)
    out = x.diagonal_scatter(src, *dims)
    (out**2).sum().backward()
    expected = array.copy()
    view = np.diagonal(expected, *dims)
    view.flags.writeable = True  # NumPy hands it out read-only
    view[...] = src.detach().numpy()
    np.testing.assert_array_equal(out.detach().numpy(), expected)
    np.testing.assert_allclose(src.grad.numpy(), 2 * src.detach().numpy())
    np.testing.assert_allclose(np.diagonal(x.grad.numpy(), *dims), 0)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("dim", [-3, -1, 0, 1])
def test_extrema_along_a_dimension_to_the_second_order(dim, keep):
    array = floats((2, 3, 4))
    x = cr.tensor(array, requires_grad=True)
    values, indices = x.max(dim, keepdim=keep)
    np.testing.assert_array_equal(values.detach().numpy(), array.max(dim, keepdims=keep))
    np.testing.assert_array_equal(indices.numpy(), array.argmax(dim, keepdims=keep))
    (slope,) = cr.autograd.grad((values**3).sum(), x, create_graph=True)
    (bend,) = cr.autograd.grad((slope**2).sum(), x)
    here = array == array.max(dim, keepdims=True)
    np.testing.assert_allclose(slope.detach().numpy(), np.where(here, 3 * array**2, 0))
    np.testing.assert_allclose(bend.numpy(), np.where(here, 36 * array**3, 0))


def test_named_results():
    values, indices = cr.topk(cr.tensor([1.0, 3.0, 2.0]), 2)
    assert values.tolist() == [3, 2]
    assert indices.tolist() == [1, 2]
    found = cr.sort(cr.tensor([2, 1]), stable=True)
    assert found.values.tolist() == [1, 2]
    assert found.indices.dtype == cr.int64


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.reshape(5),
        lambda x: x.expand(3, 3),
        lambda x: cr.cat([]),
        lambda x: cr.cat([x, x[0]]),
        lambda x: cr.stack([x, x[0]]),
        lambda x: x.split([1]),
        lambda x: x.permute(0, 0, 1),
        lambda x: x.t(),
        lambda x: cr.repeat_interleave(x, cr.tensor([1, -1]), 0),
        lambda x: x.as_strided((9,), (9,)),
        lambda x: x.gather(0, cr.tensor([0])),
        lambda x: x.gather(0, cr.tensor([[[9]]])),
        lambda x: x.scatter(0, cr.tensor([[[0]]]), 1.0, reduce="no"),
        lambda x: x.index_add(0, cr.tensor([0]), x),
        lambda x: x.topk(9),
        lambda x: cr.meshgrid(x),
        lambda x: x.masked_fill(x, 0),
    ],
)
def test_errors(call):
    with pytest.raises(RuntimeError):
        call(cube())


@pytest.mark.parametrize("call", [lambda x: x.squeeze(3), lambda x: x.transpose(0, 3), lambda x: x.unsqueeze(-5)])
def test_dimensions_out_of_range(call):
    with pytest.raises(IndexError, match=r"Dimension out of range|out of bounds"):
        call(cube())


def test_sizes_come_one_by_one_or_by_name():
    x = cr.ones(3, requires_grad=True)
    for wide in (
        x.broadcast_to(2, 3),
        x.broadcast_to((2, 3)),
        x.broadcast_to(size=(2, 3)),
    ):
        assert wide.shape == (2, 3)
        assert wide.grad_fn.name() == "ExpandBackward0"
    assert wide.view(size=(3, 2)).shape == (3, 2)
