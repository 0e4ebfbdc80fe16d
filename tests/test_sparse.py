"""Sparse tensors: entries, products with gradients for values and dense operands, and what a program on graphs does."""

import copy
import pickle

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.testing import gradcheck, gradgradcheck, samples

AT = [[0, 1, 1, 2, 1], [2, 0, 2, 2, 2]]


def coo(values=None, size=(3, 4), dtype=chainrule.float64):
    values = samples.floats((5,)) if values is None else values
    return chainrule.sparse_coo_tensor(AT, values, size, dtype=dtype)


def dense(values):
    out = np.zeros((3, 4))
    np.add.at(out, tuple(AT), values)
    return out


def test_what_it_is():
    t = coo()
    assert isinstance(t, chainrule.Tensor)
    assert chainrule.is_tensor(t)
    assert t.is_sparse
    assert t.layout is chainrule.sparse_coo
    assert not t.is_coalesced()
    assert t.shape == t.size() == (3, 4)
    assert t.size(1) == 4
    assert t.dim() == t.ndim == 2
    assert t.numel() == 12
    assert (t.sparse_dim(), t.dense_dim(), t._nnz()) == (2, 0, 5)
    assert t.dtype is chainrule.float64
    assert t.float().dtype is chainrule.float32
    assert t.type() == "chainrule.sparse.DoubleTensor"
    assert str(chainrule.eye(2).to_sparse()) == (
        "tensor(indices=tensor([[0, 1],\n                       [0, 1]]),\n       values=tensor([1., 1.]),\n"
        "       size=(2, 2), nnz=2, layout=chainrule.sparse_coo)"
    )


def test_coalesce():
    values = samples.floats((5,))
    t = coo(values)
    with pytest.raises(RuntimeError, match="coalesce"):
        t.indices()
    c = t.coalesce()
    assert c.indices().tolist() == [[0, 1, 1, 2], [2, 0, 2, 2]]
    np.testing.assert_allclose(c.values().numpy(), [values[0], values[1], values[2] + values[4], values[3]])
    for x in (t, c, pickle.loads(pickle.dumps(t)), copy.deepcopy(t), t.to_sparse_csr()):
        np.testing.assert_allclose(x.to_dense().numpy(), dense(values))


def test_from_dense_and_back():
    x = chainrule.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]], requires_grad=True)
    t = x.to_sparse()
    assert t.is_coalesced()
    assert t.indices().tolist() == [[0, 1, 1], [1, 0, 2]]
    (t * 2).to_dense().sum().backward()
    assert x.grad.tolist() == [[0.0, 2.0, 0.0], [2.0, 0.0, 2.0]]
    rows = chainrule.tensor([[0.0, 0.0], [1.0, 0.0]]).to_sparse(1)
    assert rows.dense_dim() == 1
    assert rows.values().tolist() == [[1.0, 0.0]]
    csr = x.detach().to_sparse_csr()
    assert csr.crow_indices().tolist() == [0, 1, 3]
    assert csr.col_indices().tolist() == [1, 0, 2]
    again = chainrule.sparse_csr_tensor(csr.crow_indices(), csr.col_indices(), csr.values(), (2, 3))
    assert chainrule.equal(again.to_dense(), x.detach())


def test_products_are_the_dense_ones():
    values, w = samples.floats((5,)), samples.floats((4, 2), seed=1)
    t, b = coo(values), chainrule.tensor(w)
    forms = [chainrule.spmm, chainrule.mm, chainrule.matmul, chainrule.sparse.mm, lambda a, b: a @ b, chainrule.dsmm]
    for form in (*forms, lambda a, b: a.mm(b), lambda a, b: a.to_sparse_csr() @ b):
        np.testing.assert_allclose(form(t, b).numpy(), dense(values) @ w)
    np.testing.assert_allclose((b.t() @ t.t()).numpy(), w.T @ dense(values).T)
    np.testing.assert_allclose((t @ b[:, 0]).numpy(), dense(values) @ w[:, 0])
    both = chainrule.sparse.mm(t, t.t())
    assert both.is_sparse
    np.testing.assert_allclose(both.to_dense().numpy(), dense(values) @ dense(values).T)
    added = chainrule.sparse.addmm(chainrule.ones(3, 2, dtype=chainrule.float64), t, b, beta=2, alpha=3)
    np.testing.assert_allclose(added.numpy(), 2 + 3 * dense(values) @ w)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        chainrule.spmm(t, b.t())


@pytest.mark.parametrize(
    "call",
    [
        lambda v, w: chainrule.spmm(coo(v), w),
        lambda v, w: w.t() @ coo(v).t(),
        lambda v, w: coo(v).coalesce().to_dense() @ w,
        lambda v, w: chainrule.sparse.softmax(coo(v), 1) @ w,
        lambda v, w: chainrule.sparse.log_softmax(coo(v), 0) @ w,
        lambda v, w: (coo(v) * coo(v) + coo(v) * 3) @ w,
        lambda v, w: (coo(v) * w[:, 0]).to_dense(),
        lambda v, w: chainrule.sparse.sum(coo(v), 0).to_dense() @ w,
        lambda v, w: chainrule.sparse.sampled_addmm(coo(v), w[:3], w.t()).to_dense(),
        lambda v, w: coo(v)[1].to_dense() @ w,
        lambda v, w: coo(v).index_select(0, chainrule.tensor([1, 0, 1])) @ w,
    ],
)
def test_gradients(call):
    inputs = [
        chainrule.tensor(samples.floats((5,)), requires_grad=True),
        chainrule.tensor(samples.floats((4, 2), seed=1), requires_grad=True),
    ]
    gradcheck(call, inputs)
    gradgradcheck(call, inputs)


def test_softmax_over_the_entries():
    t = chainrule.sparse_coo_tensor([[0, 0, 1], [0, 2, 1]], [1.0, 2.0, 5.0], (2, 3))
    found = chainrule.sparse.softmax(t, dim=1).to_dense()
    e = np.exp([1.0, 2.0])
    np.testing.assert_allclose(found.numpy(), [[e[0] / e.sum(), 0, e[1] / e.sum()], [0, 1, 0]], rtol=1e-6)


def test_arithmetic():
    v = samples.floats((5,))
    t, d = coo(v), dense(v)
    for found, expected in [
        (t + t, 2 * d),
        (t - t * 0.5, d / 2),
        (-t, -d),
        (t / 4, d / 4),
        (2 * t, 2 * d),
        (t.abs(), np.abs(d)),
        (t.relu(), np.maximum(d, 0)),
        (t.pow(2), d**2),
        (t.transpose(0, 1), d.T),
        (chainrule.sparse.sum(t, 1), d.sum(1)),
    ]:
        assert found.is_sparse
        np.testing.assert_allclose(found.to_dense().numpy(), expected)
    np.testing.assert_allclose((t + chainrule.ones(3, 4)).numpy(), d + 1)
    np.testing.assert_allclose(chainrule.sparse.sum(t).item(), d.sum())
    mask = chainrule.ones(3, 4).sparse_mask(t.coalesce())
    assert mask._nnz() == 4
    assert mask.values().tolist() == [1.0] * 4


def test_what_is_not_there_says_so():
    t = coo()
    for call in (t.exp, lambda: t + 1, lambda: chainrule.cat([t, t]), lambda: t[0:1], lambda: t.reshape(-1)):
        with pytest.raises(RuntimeError, match="to_dense"):
            call()
    with pytest.raises(TypeError, match="to_dense"):
        t.numpy()
    with pytest.raises(RuntimeError, match="same nnz"):
        chainrule.sparse_coo_tensor(AT, [1.0], (3, 4))
    with pytest.raises(RuntimeError, match="size is 2 but found index 2"):
        coo(size=(2, 4))
    with pytest.raises(RuntimeError, match="negative"):
        chainrule.sparse_coo_tensor([[-1]], [1.0])


def test_the_older_form():
    i, v = chainrule.LongTensor([[0, 1], [1, 0]]), chainrule.FloatTensor([2, 3])
    t = chainrule.sparse.FloatTensor(i, v, chainrule.Size([2, 2]))
    assert t.to_dense().tolist() == [[0.0, 2.0], [3.0, 0.0]]
    assert t.is_sparse
    empty = chainrule.sparse_coo_tensor(size=(2, 3))
    assert empty._nnz() == 0
    assert empty.to_dense().tolist() == [[0.0] * 3] * 2


class Graph(nn.Module):
    """Two graph convolutions: X' = A (X W) + b. Kipf and Welling (2017)."""

    def __init__(self, features, hidden, classes):
        super().__init__()
        self.first, self.second = nn.Linear(features, hidden, bias=False), nn.Linear(hidden, classes, bias=False)
        self.bias = nn.Parameter(chainrule.zeros(classes))

    def forward(self, x, adjacency):
        x = nn.functional.relu(chainrule.spmm(adjacency, self.first(x)))
        return chainrule.spmm(adjacency, self.second(x)) + self.bias


def test_gradients_that_are_assigned():
    p = chainrule.ones(2, 2, requires_grad=True)
    grad = chainrule.eye(2).to_sparse()
    for optimizer in (optim.SGD([p], 0.5), optim.Adagrad([p], 0.5), optim.SparseAdam([p], 0.5)):
        with chainrule.no_grad():
            p.fill_(1)
        p.grad = grad
        assert p.grad is grad
        optimizer.step()
        chainrule.testing.assert_close(p.detach(), chainrule.tensor([[0.5, 1.0], [1.0, 0.5]]))
    p.grad = grad
    for name in ("Adam", "AdamW", "RMSprop", "NAdam"):
        with pytest.raises(RuntimeError, match=f"{name} does not support sparse gradients"):
            getattr(optim, name)([p]).step()
    with pytest.raises(RuntimeError, match=r"a gradient of size '\[3, 3\]'.*of size '\[2, 2\]'"):
        p.grad = chainrule.eye(3).to_sparse()
    with pytest.raises(RuntimeError, match="float64 to a tensor"):
        p.grad = grad.double()
    q = chainrule.eye(2).to_sparse().requires_grad_()
    q.grad = grad
    optim.SGD([q], 0.1).zero_grad()
    assert q.grad is None


def test_a_graph_network_learns():
    """Two cliques joined by an edge; one labelled vertex of each suffices."""
    chainrule.manual_seed(0)
    n = 10
    a = np.eye(n)
    a[:5, :5] = a[5:, 5:] = 1
    a[4, 5] = a[5, 4] = 1
    a /= a.sum(1, keepdims=True)
    adjacency = chainrule.from_numpy(a.astype("float32")).to_sparse().coalesce()
    x, labels = chainrule.eye(n), chainrule.tensor([0] * 5 + [1] * 5)
    net = Graph(n, 8, 2)
    net.register_buffer("adjacency", adjacency)
    optimizer = optim.Adam(net.parameters(), lr=0.05)
    known = chainrule.tensor([0, 9])
    for _ in range(60):
        optimizer.zero_grad()
        out = net(x, net.adjacency)
        loss = nn.functional.cross_entropy(out[known], labels[known])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert chainrule.equal(net(x, adjacency).argmax(1), labels)


@pytest.mark.torch
def test_as_in_pytorch():
    import torch

    values, w = samples.floats((5,)), samples.floats((4, 2), seed=1)
    results = []
    for lib in (torch, chainrule):
        v = lib.tensor(values, requires_grad=True)
        b = lib.tensor(w, requires_grad=True)
        t = lib.sparse_coo_tensor(lib.tensor(AT), v, (3, 4), check_invariants=True)
        out = lib.sparse.mm(t, b)
        (out**2).sum().backward()
        c = t.detach().coalesce()
        soft = lib.sparse.softmax(c, 1).to_dense()
        results.append([out, v.grad, b.grad, c.values(), c.indices(), soft, c.t().coalesce().values()])
        text = str(c).replace("torch.", "chainrule.")
        results[-1].append(text)
    for expected, found in zip(*results, strict=True):
        if isinstance(found, str):
            assert found == expected
        else:
            np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
