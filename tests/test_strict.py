"""The strict backend refuses what CuPy would refuse."""

import copy

import numpy as np
import pytest

import chainrule
from chainrule import backends
from chainrule.autograd.tensor import wrap

STRICT = backends.by_name("strict")
xp = STRICT.xp


def array(values=((1.0, 2.0), (3.0, 4.0))):
    return STRICT.asarray(np.array(values))


@pytest.mark.parametrize(
    "mix",
    [
        lambda a, n: a + n,
        lambda a, n: n + a,
        lambda a, n: n[0, 0] * a,
        lambda a, n: a == n,
        lambda a, n: xp.add(a, n),
        lambda a, n: xp.where(a > 2, a, n),
        lambda a, n: xp.concatenate([a, n]),
        lambda a, n: a.__setitem__(..., n),
        lambda a, n: a[n > 2],
        lambda a, n: np.add(a, n),
        lambda a, n: np.sum(a),
        lambda a, n: np.asarray(a),
        lambda a, n: np.exp(a),
        lambda a, n: n.__setitem__(..., a),
        lambda a, n: n.__iadd__(a),
    ],
)
def test_mixing_with_numpy_is_refused(mix):
    with pytest.raises(TypeError):
        mix(array(), np.array([[1.0, 2.0], [3.0, 4.0]]))


@pytest.mark.parametrize("read", [bool, int, float, lambda a: [1, 2, 3][a], lambda a: array()[: xp.argmax(a)]])
def test_reading_on_the_host_is_refused(read):
    with pytest.raises(TypeError, match="host"):
        read(array(1.0).sum())
    assert array(1.0).item() == 1.0


@pytest.mark.parametrize("name", ["geomspace", "vecdot", "insert", "errstate", "unstack", "random"])
def test_functions_that_cupy_lacks(name):
    assert hasattr(np, name) or name == "unstack"
    with pytest.raises(AttributeError):
        getattr(xp, name)
    with pytest.raises(AttributeError):
        xp.linalg.vector_norm  # noqa: B018


@pytest.mark.parametrize(
    "call",
    [
        lambda a: xp.sum(a, where=a > 1),
        lambda a: xp.max(a, initial=0.0),
        lambda a: a.max(initial=0.0),
        lambda a: xp.var(a, correction=1),
        lambda a: xp.clip(a, min=0),
        lambda a: xp.take(a, a.astype(int), mode="wrap"),
        lambda a: xp.zeros(3, like=a),
        lambda a: xp.exp(a, where=a > 1),
        lambda a: xp.sort(a, stable=True),
        lambda a: xp.linalg.svd(a, hermitian=True),
    ],
)
def test_keywords_that_cupy_lacks(call):
    with pytest.raises(TypeError, match="CuPy has no keyword"):
        call(array())


def test_what_cupy_has_works():
    a = array()
    n = np.array([[1.0, 2.0], [3.0, 4.0]])
    for found, expected in [
        (xp.sum(a), n.sum()),
        (a.sum(axis=0, keepdims=True), n.sum(0, keepdims=True)),
        (a[:, ::-1], n[:, ::-1]),
        (a[a > 2], n[n > 2]),
        (a[STRICT.asarray(np.array([1, 0]))], n[[1, 0]]),
        (2**a - 1, 2**n - 1),
        (xp.linalg.inv(a), np.linalg.inv(n)),
        (xp.einsum("ij,jk->ik", a, a), n @ n),
        (xp.clip(a, 2, 3), n.clip(2, 3)),
        (xp.concatenate((a, a), axis=1), np.concatenate((n, n), 1)),
        (xp.linalg.qr(a)[1], np.linalg.qr(n)[1]),
        (xp.add.outer(a, a), np.add.outer(n, n)),
        (copy.deepcopy(a), n),
    ]:
        assert type(found).__name__ == "StrictArray"
        np.testing.assert_array_equal(STRICT.to_host(found), expected)
    target = array([0.0, 0.0])
    xp.add.at(target, STRICT.asarray(np.array([1, 1])), 2.0)
    assert target.tolist() == [0.0, 4.0]
    target += 1
    assert target.tolist() == [1.0, 5.0]
    assert a.astype("float64", copy=False) is a
    assert xp.sum(a).ndim == 0


def test_tensors_live_on_it():
    x = wrap(array(), None).requires_grad_()
    y = (chainrule.tanh(x) * x).sum()
    (g,) = chainrule.autograd.grad(y, x, create_graph=True)
    (h,) = chainrule.autograd.grad(g.sum(), x)
    n = np.array([[1.0, 2.0], [3.0, 4.0]])
    t = np.tanh(n)
    np.testing.assert_allclose(STRICT.to_host(g.array), t + n * (1 - t**2), rtol=1e-12)
    np.testing.assert_allclose(STRICT.to_host(h.array), 2 * (1 - t**2) - 2 * n * t * (1 - t**2), rtol=1e-12)
    assert x.tolist() == n.tolist()


def test_views_share_memory():
    a = array()
    assert STRICT.owner(a[0]) is STRICT.owner(a)
    assert STRICT.owner(a[0].copy()) is not STRICT.owner(a)
    assert not STRICT.writable(xp.broadcast_to(a, (3, 2, 2)))


def test_generator_is_the_hosts():
    ours, theirs = STRICT.generator(3), backends.by_name("numpy").generator(3)
    for draw in (lambda g: g.random((2, 3)), lambda g: g.integers(0, 9, 4), lambda g: g.permutation(5)):
        found = draw(ours)
        assert type(found).__name__ == "StrictArray"
        np.testing.assert_array_equal(STRICT.to_host(found), draw(theirs))
    assert ours.get_state() == theirs.get_state()


def test_an_op_that_only_numpy_can_run_is_seen():
    from chainrule.autograd import OPS, op
    from chainrule.testing import check_op
    from chainrule.testing.samples import floats

    @op(name="test_strict_only_numpy")
    def only_numpy(xp, input):
        return np.sinh(input)

    try:
        assert check_op(only_numpy, floats((2, 3)), backend="numpy")
        with pytest.raises(TypeError):
            check_op(only_numpy, floats((2, 3)), backend="strict")
    finally:
        del OPS["test_strict_only_numpy"]
