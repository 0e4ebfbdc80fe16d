"""Shape, indexing, linear algebra beside PyTorch: each form of call; values, dtypes, two orders of gradients, errors.

An entry is an expression of m (the library) and its tensors x (2, 3, 4), y (2, 3, 4) and v (4,); an assignment is run
on copies, and x is what comes out.
"""

import numpy as np
import pytest

import chainrule
from chainrule.testing.samples import floats

pytestmark = pytest.mark.torch
ARRAYS = {"x": floats((2, 3, 4)), "y": floats((2, 3, 4), seed=1), "v": floats((4,), seed=2)}

SHAPE = """
m.reshape(x, (4, -1)) | x.reshape(4, 6) | x.reshape((2, 12)) | x.view(-1) | x.view((6, 4)) | x.view(5, -1)
x.view(3, 9) | x.view_as(x.reshape(4, 6)) | x.reshape_as(x.reshape(6, 4)) | m.flatten(x, 1) | x.flatten()
x.flatten(0, 1) | x[0, 0, 0].flatten() | x.flatten(2, 1) | x.flatten(0, 5) | x.unflatten(2, (2, -1))
m.unflatten(x, 2, (2, 2)) | m.unflatten(x, 2, (3, 2)) | m.ravel(x) | x[:, :1].squeeze(1) | x[:1, :1].squeeze()
x[:1, :1].squeeze((0, 2)) | x.squeeze(7) | x.unsqueeze(-1) | x.unsqueeze(5) | x.transpose(0, -1) | x.transpose(0, 3)
m.swapaxes(x, 0, 1) | x.swapdims(0, 1) | x[0].t() | x.t() | x[0].T | x.mT | x[0].H | x.permute(2, 0, 1)
m.permute(x, (2, 0, -2)) | x.permute(0, 1) | x.permute(0, 1, 1) | m.movedim(x, 0, 2) | x.movedim((0, 1), (2, 0))
m.moveaxis(x, 1, 0) | x[:, :1].expand(-1, 5, -1) | x.expand(2, 2, 3, 4) | x.expand(2, 2, 4) | x.expand(3, 4)
v.expand_as(x) | m.broadcast_to(x[0], (2, 3, 4)) | m.broadcast_tensors(v, x[:, :1]) | x.repeat(2, 1, 3)
x.repeat(2, 1, 1, 3) | x.repeat(2, 1) | x.repeat(0, 1, 1) | m.tile(x, (2, 2)) | x.tile(2) | m.repeat_interleave(x, 2)
x.repeat_interleave(3, dim=1) | x.repeat_interleave(m.tensor([1, 0, 2]), dim=1)
m.repeat_interleave(m.tensor([0, 2, 1])) | x.flip(0, 2) | m.flip(x, [1]) | m.flip(x, [3]) | m.fliplr(x) | m.flipud(x)
m.roll(x, 2) | x.roll((1, -1), (0, 2)) | x.roll(1, 1) | m.rot90(x) | m.rot90(x, 3, (1, 2)) | m.rot90(x, 2, (1, 2))
m.rot90(x, -1, [2, 0]) | x.narrow(1, 1, 2) | m.narrow(x, 1, -2, 1) | x.narrow(1, 2, 2) | x.select(1, -1)
m.select(x, 1, 3) | m.diagonal(x, 0, 1, 2) | x.diagonal(1, 0, 2) | x.diagonal(-2, 1, 2) | x.diagonal(7, 1, 2)
m.diag(x[0]) | m.diag(v, 1) | x[0].diag(-1) | m.diag(x) | m.diag_embed(x) | m.diag_embed(x, 1, 0, 2)
m.diagflat(x[0], -1) | m.trace(x[0]) | m.tril(x) | x.triu(1) | x.triu(-1) | v.tril() | m.cat([x, x[:, :1]], 1)
m.cat((x, y), -1) | m.cat([x, x[:, :1]], 0) | m.cat([m.zeros(0, dtype=x.dtype), x], 0) | m.concat([x, y])
m.concatenate([x, y], axis=1) | m.stack([x, y], 1) | m.stack([x, y], -1) | m.stack([x, x[0]]) | m.hstack([x, y])
m.hstack([v, v]) | m.vstack([v, x[1]]) | m.dstack([x[0], y[1]]) | m.column_stack([x[0, :, 0], x[1]])
m.row_stack([x[0], x[1]]) | x.split(2, 2) | m.split(x, [1, 3], dim=-1) | x.split(3, -1) | x.split([1, 1], -1)
x.chunk(3, -1) | m.chunk(x, 2, 1) | x.chunk(0) | m.tensor_split(x, 3, 2) | x.tensor_split((1, 3), 2) | m.hsplit(x, 3)
m.vsplit(x, 2) | m.dsplit(x, [1, 2]) | m.hsplit(x, 2) | x.unbind(1) | x.unfold(2, 2, 1) | x.unfold(1, 2, 2)
x.unfold(1, 5, 1) | m.as_strided(x, (3, 2), (2, 1), 3) | x.as_strided((3, 3), (1, 2)) | x.as_strided((30, 3), (1, 2))
m.atleast_1d(x[0, 0, 0]) | m.atleast_2d(v) | m.atleast_3d(v) | m.atleast_3d(x[0]) | x.clone()
x.transpose(0, 1).contiguous() | m.meshgrid(v, x[0, :, 1], indexing="ij") | m.meshgrid(v, x[0, :, 1], indexing="xy")
m.cartesian_prod(v, x[0, :, 1]) | m.combinations(v) | m.combinations(v, 3, True)
m.block_diag(x[0], x[1, 0], x[0, 0, 0]) | x[0].unsqueeze(0).mT.mH | m.tril_indices(3, 4, -1) | m.triu_indices(3, 4, 1)
m.atleast_1d(v, x[0, 0, 0])
"""

READING = """
x[0] | x[-1] | x[5] | x[0, 0, 0, 0] | x[..., 1] | x[:, None] | x[1:, ::2] | x[[0, 1]] | x[[1, 0, 0], :, 1]
x[0, :, [1, 2]] | x[:, [0, 1], [1, 2]] | x[[0, 1], :, [1, 2]] | x[x > 0] | x[:, m.tensor([True, False, True])]
x[m.tensor([[0, 1], [1, 0]])] | x[m.tensor(1)] | x[None, ..., None, [1]] | x[True] | x[False] | x[m.tensor(True)]
x[m.tensor([True, False])] | x[m.tensor([True, False, True])] | x[(0, 1)] | x[0][1][2] | x[[5]] | x[1.5] | x[:, []]
x[..., m.tensor([True, False, True, True])] | x[m.tensor([True, True]), [0, 1]] | x[..., [0, 1], None] | x[0:0]
x[m.tensor([0, 1]), None, m.tensor([1, 2])] | x[m.tensor([0.5])] | x["a"] | x[m.zeros(2, 3, dtype=m.bool)]
x[[True, False]] | x[:, 1, m.tensor([0, 2])] | x[m.tensor([1]), ...] | x[1, ..., 2] | x[m.tensor([-1])] | v[[0, 0, 3]]
"""

WRITING = """
x[0] = v | x[:, 1] = v * 2 | x[..., 0] = 1.5 | x[[1, 0], :, 2] = v[:3] | x[x > 0] = 0.0 | x[x > 0] = v[0]
x[0, :, [1, 2]] = v[:2] | x[:] = v | x[None, 0] = v | x[0, 0] = v[None] | x[5] = v | x[0] = v[:3]
x[:, m.tensor([True, False, True])] = v | x[0, 0, 0] = v[1] | x[0] += v | x[:, 1] *= v | x[[0, 1], 1] += v
x[0] = x[1] | x[1:, 0] = 3 | x[m.tensor(True)] = v | x[...] = v | x[:, 0, 1:3] = v[:2] | x[0][1] = v
x[0][1][0] += v[0] | x.t_() | x = x[0] * 1; x.t_() | x.unsqueeze_(0) | x.transpose_(0, 1) | x.tril_() | x.squeeze_()
x.index_add_(1, m.tensor([0, 2, 2]), y) | x.masked_fill_(m.tensor([True, False, True, False]), -1)
x.index_fill_(1, m.tensor([0]), 2.0) | x.index_put_((m.tensor([0]),), y[:1])
x.index_copy_(1, m.tensor([0]), y[:, :1]) | x.masked_scatter_(x > 0, y)
x.scatter_add_(1, m.tensor([[[0] * 4] * 3] * 2), y) | x.put_(m.tensor([3, 5]), v[:2])
"""

I = "m.tensor([[[0, 2, 1, 1], [1, 1, 0, 2], [2, 0, 0, 1]], [[1, 1, 1, 0], [0, 2, 2, 1], [2, 0, 1, 2]]])"
PICKING = f"""
m.gather(x, 1, {I}) | x.gather(-1, {I}) | x.gather(0, {I}) | x.gather(1, {I}[0])
m.gather(x[0, 0, 0], 0, m.tensor(0)) | x.scatter(2, {I}[:, :, :1], y[:, :, :1]) | x.scatter(1, {I}, 2.5)
m.scatter_add(x, 1, {I}, y) | x.detach().scatter(1, {I}, y.detach(), reduce="add")
x.detach().scatter(1, {I}, y.detach(), reduce="multiply") | x.scatter_reduce(1, {I} % 2, y, "sum")
x.scatter_reduce(1, {I} % 2, y, "prod") | x.scatter_reduce(1, {I} % 2, y, "mean")
x.scatter_reduce(1, {I} % 2, y, "amax") | x.scatter_reduce(1, {I} % 2, y, "amin")
x.scatter_reduce(1, {I} % 2, y, "sum", include_self=False)
x.scatter_reduce(1, {I} % 2, y, "prod", include_self=False)
x.scatter_reduce(1, {I} % 2, y, "mean", include_self=False)
x.scatter_reduce(1, {I} % 2, y, "amax", include_self=False) | m.index_select(x, 1, m.tensor([0, 2, 2]))
m.index_select(x, 1, m.tensor([5])) | m.index_add(x, 1, m.tensor([0, 2, 2]), y, alpha=2)
x.index_copy(1, m.tensor([2, 0, 1]), y) | x.index_fill(1, m.tensor([2, 0]), 3.0)
x.index_fill(1, m.tensor([2, 0]), v[0]) | m.index_put(x, (m.tensor([0, 1]), m.tensor([1, 1])), y[0, :2])
m.index_put(x, (m.tensor([0, 0]), m.tensor([1, 1])), y[0, :2], accumulate=True)
x.masked_fill(m.tensor([True, False, True, False]), -1) | x.masked_fill(m.tensor([True, False, True, False]), v[0])
x.masked_fill(m.tensor([1, 0, 1, 0]), 1.0) | m.masked_select(x, m.tensor([True, False, True, False]))
x.masked_scatter(m.tensor([True, False, True, False]), y) | m.take(x, m.tensor([[0, 5], [23, 5]]))
m.take_along_dim(x, m.tensor([[[0, 1]]]), 2) | m.take_along_dim(x, m.argsort(x, dim=1), 1)
m.take_along_dim(x, m.tensor([3, 3])) | m.where(x > 0, x, y) | m.where(x > 0, x, 0.5) | m.where(x > 0, 1, v)
x.where(x > 0, y) | m.where(x > 0) | m.where(x > 0, 1.0, 0.0) | m.where(x > 0, 1, 0) | m.sort(x, 1)
x.sort(descending=True) | x.argsort(0, True) | x.topk(2) | m.topk(x, 2, 1, False) | x.topk(9) | x.kthvalue(2, 1)
x.kthvalue(2, 1, True) | x.kthvalue(9) | m.msort(x) | m.nonzero(x > 0) | m.nonzero(x > 0, as_tuple=True)
m.argwhere(x > 0) | m.unique({I}, return_inverse=True, return_counts=True) | m.unique({I}[0])
m.nonzero(m.tensor(3.0))
m.unique(m.tensor([[1, 2], [1, 2], [0, 3]]), dim=0, return_inverse=True, return_counts=True) | m.sort(x[0, 0, 0])
m.unique_consecutive(m.tensor([1, 1, 2, 2, 1]), return_inverse=True, return_counts=True)
m.unique_consecutive(m.tensor([[1, 1, 2], [1, 1, 2]]), dim=1) | m.unique(m.tensor([float("nan"), 1.0, float("nan")]))
m.searchsorted(m.tensor([1.0, 2, 3]), m.tensor([[0.0, 1], [2.5, 3]]))
m.bucketize(m.tensor([0.0, 1, 9]), m.tensor([1.0, 2]))
m.searchsorted(m.tensor([[1.0, 2, 3], [4, 5, 6]]), m.tensor([[0.0, 1], [5, 9]]), side="right")
m.searchsorted(m.tensor([2.0, 1, 3]), m.tensor([1.5]), sorter=m.tensor([1, 0, 2]), out_int32=True)
m.bincount(m.tensor([1, 1, 3])) | m.bincount(m.tensor([1, 1, 3]), m.tensor([1.0, 2, 3]), minlength=6)
m.bincount(m.tensor([-1])) | m.histc(x.detach(), 5, -1, 1) | m.histc(x.detach(), 5)
m.select_scatter(x, y[:, 0], 1, 2) | m.slice_scatter(x, y[:, :2], 1, 0, 2)
m.diagonal_scatter(x, y[:, 0, :3], 0, 1, 2) | m.sort(m.tensor([float("nan"), 1.0, 2.0])).indices
m.sort(m.tensor([1.0, float("nan"), 2.0]), descending=True).indices
"""

S = "(x[:, :, :3] @ x[:, :, :3].mT + m.eye(3, dtype=x.dtype))"
PRODUCTS = f"""
m.einsum("bij,bij->b", x, y) | m.einsum("bij,bkj->bik", x, y) | m.einsum("...j,j", x, v)
m.einsum("ii->i", x[0, :, :3]) | m.einsum("ii", x[0, :, :3]) | m.einsum("i,j->ij", v, v) | m.einsum("bij->jb", x)
m.einsum("bij->", x) | m.einsum("bij,bij,j->bi", x, y, v) | m.einsum("ij,jk", x[0], y[1].mT)
m.einsum("...ij,...kj->...ik", x, y[:1]) | m.einsum("i...->...", x) | m.einsum(x[0], [0, 1], y[0], [2, 1], [0, 2])
m.einsum("ij,jk->iz", x[0], v) | m.einsum("ij,kj->ik", x[0], v) | m.einsum("ij,i->j", x[0], v) | m.mm(x[0], y[0].T)
m.mm(x[0], y[0]) | m.mm(x, y) | m.bmm(x, y.mT) | m.bmm(x, y) | m.mv(x[0], v) | m.mv(x[0], v[:2]) | m.dot(v, v)
m.dot(v, v[:2]) | m.vdot(v, v) | m.inner(x, v) | m.inner(x, y[0]) | m.outer(v, v) | m.ger(v, v)
m.addmm(v[:3], x[0], y[0].T, beta=0.5, alpha=2) | m.addmv(v[:3], x[0], v) | m.addr(x[0], v[:3], v)
m.baddbmm(v[:3], x, y.mT) | m.addbmm(v[:3], x, y.mT, beta=0) | m.kron(x[0], y[1]) | m.kron(v, x)
m.tensordot(x, y, dims=([2, 0], [2, 0])) | m.tensordot(x, v, 1) | m.tensordot(x, y, 2)
m.cross(x[:, :, :3], y[:, :, :3], dim=2) | m.cross(x[..., :2], y[..., :2], dim=2) | m.vander(v).detach()
m.linalg.multi_dot([v, x[0].T, x[1], v]) | m.linalg.vecdot(x, y) | m.linalg.cross(x[..., :3], y[..., :3])
m.linalg.diagonal(x) | m.linalg.vander(x, N=3).detach() | m.matmul(x, v[:3]) | v @ v | x @ v | x @ y.mT | x[0] @ y.mT
m.linalg.inv({S}) | m.inverse({S}) | m.linalg.det({S}) | m.det(x) | m.linalg.slogdet({S}) | m.logdet({S})
m.linalg.cholesky({S}) | m.linalg.cholesky({S}, upper=True) | m.cholesky({S}) | m.linalg.eigvalsh({S})
m.linalg.eigh({S})[1] ** 2 | m.linalg.solve({S}, x) | m.linalg.solve({S}, x[..., 0])
m.linalg.solve({S}, x.mT, left=False) | m.linalg.pinv(x) | m.pinverse(x) | m.linalg.svdvals(x)
m.linalg.svd(x, full_matrices=False)[1] | m.linalg.svd(x, full_matrices=False)[0] ** 2 | m.svd(x)[2] ** 2
m.linalg.qr(x) | m.linalg.qr(x.mT) | m.qr(x) | m.linalg.matrix_exp({S}) | m.linalg.matrix_power({S}, 3)
m.linalg.matrix_power({S}, -2) | m.linalg.lstsq(x.mT, y.mT).solution | m.linalg.lstsq(x.mT, y.mT).rank
m.linalg.matrix_rank(x) | m.linalg.cond({S}) | m.linalg.cond({S}, -2)
m.linalg.solve_triangular(x[:, :, :3], y, upper=True)
m.linalg.solve_triangular(x[..., :3], y.mT, upper=False, left=False)
m.triangular_solve(y[0], x[0, :, :3], upper=False, transpose=True)[0] | m.linalg.inv(x) | m.linalg.inv(v)
m.linalg.inv({S}.long()) | m.linalg.det(x[..., :2]) | m.linalg.inv({S} * 0) | m.linalg.cholesky(-{S})
m.linalg.solve({S} * 0, x) | m.linalg.norm(x) | m.linalg.norm(x[0], "nuc") | m.linalg.norm(x, 2, dim=1)
m.linalg.norm(x, 1, dim=(1, 2)) | m.linalg.norm(x, 3) | m.norm(x) | m.norm(x, 1) | m.norm(x, 2, dim=1, keepdim=True)
x.norm(dim=(0, 2)) | m.norm(x[0], "nuc") | m.linalg.vector_norm(x, 1.5, dim=(0, 1))
m.linalg.vector_norm(x, float("inf"), 2) | m.linalg.matrix_norm(x) | m.linalg.matrix_norm(x, "nuc")
m.linalg.matrix_norm(x, 2) | m.linalg.matrix_norm(x, -2) | m.linalg.matrix_norm(x, 1)
m.linalg.matrix_norm(x, -1, dim=(2, 0)) | m.linalg.matrix_norm(x, float("inf"), keepdim=True)
m.linalg.matrix_norm(x, "no")
"""


def entries(text):
    return [e.strip() for line in text.strip().splitlines() for e in line.split(" | ")]


def outcome(library, text, tensors):
    """The tensors that come out of an entry, or the error."""
    names = {"m": library, **tensors}
    try:
        try:
            code = compile(text, "entry", "eval")
        except SyntaxError:
            names["x"] = tensors["x"] * 1
            exec(text, names)
            found = names["x"]
        else:
            names["x"] = names["x"] * 1 if "_(" in text else names["x"]
            found = eval(code, names)
    except Exception as error:
        return error
    return list(found) if isinstance(found, (tuple, list)) else [found]


def weighted(outputs, make):
    """A sum over all outputs with a weight of its own for each element."""
    total = 0
    for t in outputs:
        if t.requires_grad:
            total = total + (t * make(np.cos(np.arange(t.numel())).reshape(tuple(t.shape)))).sum()
    return total


def gradients(grad, total, tensors, make):
    """First and second gradients for each tensor, zeros where there are none."""
    leaves = list(tensors.values())
    first = grad(total, leaves, create_graph=True, materialize_grads=True)
    curved = sum((g * g).sum() for g in first if g.requires_grad)
    if not hasattr(curved, "requires_grad") or not curved.requires_grad:
        return first, [make(np.zeros(tuple(t.shape))) for t in leaves]
    return first, grad(curved, leaves, materialize_grads=True)


def array(t):
    """A tensor of either library as an array, whatever it is."""
    return t.numpy(force=True)


def compare(torch, text):
    with np.errstate(all="ignore"):
        tensors = {k: chainrule.tensor(a, requires_grad=True) for k, a in ARRAYS.items()}
        oracle = {k: torch.tensor(a, requires_grad=True) for k, a in ARRAYS.items()}
        found, expected = outcome(chainrule, text, tensors), outcome(torch, text, oracle)
    if isinstance(expected, Exception):
        kind = RuntimeError if isinstance(expected, RuntimeError) else type(expected)
        assert isinstance(found, kind), f"{found!r} where PyTorch raises {expected!r}"
        return
    assert not isinstance(found, Exception), repr(found)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert tuple(a.shape) == tuple(b.shape)
        assert str(a.dtype).rpartition(".")[2] == str(b.dtype).rpartition(".")[2]
        np.testing.assert_allclose(array(a), array(b), rtol=1e-8, atol=1e-9)
    total, wanted = weighted(found, chainrule.tensor), weighted(expected, torch.tensor)
    assert hasattr(total, "backward") == hasattr(wanted, "backward")
    if hasattr(wanted, "backward"):
        ours = gradients(chainrule.autograd.grad, total, tensors, chainrule.tensor)
        theirs = gradients(torch.autograd.grad, wanted, oracle, torch.tensor)
        for order in (0, 1):
            for a, b in zip(ours[order], theirs[order]):
                scale = np.abs(array(b)).max() + 1
                np.testing.assert_allclose(
                    array(a), array(b), rtol=1e-7, atol=1e-8 * scale, err_msg=f"order {order + 1}"
                )


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("text", [e for t in (SHAPE, READING, WRITING, PICKING, PRODUCTS) for e in entries(t)])
def test_form(torch, text):
    compare(torch, text)
