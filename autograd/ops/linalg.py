"""Products of vectors, matrices and tensors. Factorisations are in decompositions.py, einsum in einsum.py.

Rules pass transposes as views, which BLAS takes as they are. Operands of different dtypes are promoted (PyTorch
raises).
"""

from __future__ import annotations

import functools
from itertools import pairwise
from math import prod

from ...backends import np
from ..autocast import listed
from ..composite import composite
from ..dims import numpy_names, wrap_dim
from ..errors import OpError, warn
from ..modes import MODES
from ..op import op
from ..public import api, expose, function, old_order
from ..tensor import Tensor
from .shape import reshape

__all__ = ["cross", "kron", "matmul", "multi_dot", "outer", "tensordot", "vander"]


@op(broadcast=True, types="same")
def matmul(xp, input, other):
    """Σ_k input[..., i, k] other[..., k, j]: (..., m, k), (..., k, n) → (..., m, n); dimensions before these broadcast.

    A 1-d operand is a row on the left and a column on the right, and its dimension is left out of the result.
    """
    return xp.matmul(input, other)


@matmul.grad("input")
def _(F, g, other, shape):
    if len(other.shape) == 1:
        return g * other if len(shape) == 1 else F.unsqueeze(g, -1) * other
    if len(shape) == 1:
        return F.squeeze(F.matmul(other, F.unsqueeze(g, -1)), -1)
    return F.matmul(g, F.transpose(other, -2, -1))


@matmul.grad("other")
def _(F, g, input, shape):
    if len(input.shape) == 1:
        return g * input if len(shape) == 1 else F.unsqueeze(input, -1) * F.unsqueeze(g, -2)
    if len(shape) > 2 or len(shape) == len(input.shape) == 2:
        return F.matmul(F.transpose(input, -2, -1), g)
    # one matrix (or vector) for a whole stack: one product, and nothing is left to be summed
    rows = prod(input.shape[:-1])
    columns = F.transpose(F.reshape(input, (rows, shape[0])), 0, 1)
    return F.matmul(columns, F.reshape(g, (rows, *shape[1:])))


def _shapes(*tensors):
    return " and ".join("x".join(map(str, x.shape)) or "()" for x in tensors)


def _expect(name, *pairs):
    """Raise unless each tensor has the number of dimensions said."""
    for x, ndim in pairs:
        if len(x.shape) != ndim:
            raise OpError(f"{name}: expected a {ndim}-D tensor, but got {len(x.shape)}-D ({list(x.shape)})")


# -- matrices and vectors ---------------------------------------------------------------------------------------------


@api
def mm(input, mat2):
    """The product of two matrices, (n, m) with (m, p)."""
    _expect("mm", (input, 2), (mat2, 2))
    if input.shape[1] != mat2.shape[0]:
        raise OpError(f"mat1 and mat2 shapes cannot be multiplied ({_shapes(input, mat2)})")
    return matmul(input, mat2)


@api
def bmm(input, mat2):
    """The products of the matrices of two stacks, (b, n, m) with (b, m, p)."""
    _expect("bmm", (input, 3), (mat2, 3))
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise OpError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{input.shape[0]}, {input.shape[2]}] but "
            f"got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return matmul(input, mat2)


@api
@listed
def mv(input, vec):
    """The product of a matrix (n, m) and a vector (m,)."""
    _expect("mv", (input, 2), (vec, 1))
    if input.shape[1] != vec.shape[0]:
        raise OpError(f"size mismatch, got input ({_shapes(input)}), vec ({vec.shape[0]})")
    return matmul(input, vec)


@api
@listed
def dot(input, tensor):
    """Σ input·tensor of two vectors of equal length."""
    _expect("dot", (input, 1), (tensor, 1))
    if input.shape != tensor.shape:
        raise OpError(
            f"inconsistent tensor size, expected tensor [{input.shape[0]}] and src [{tensor.shape[0]}] to have the "
            "same number of elements"
        )
    return matmul(input, tensor)


@api
@listed
def vdot(input, other):
    """Σ conj(input)·other of two vectors of equal length."""
    return dot(input.conj(), other)


@api
def inner(input, other):
    """out[..., j...] = Σ_k input[..., k]·other[j..., k]: sums of products over the last dimensions."""
    if not input.shape or not other.shape:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise OpError(
            f"inner() the last dimension must match on both input tensors but got shapes {_shapes(input, other)}"
        )
    return tensordot(input, other, ([-1], [-1]))


@api
def outer(input, vec2):
    """out[i, j] = input[i]·vec2[j] of two vectors."""
    _expect("outer", (input, 1), (vec2, 1))
    return reshape(input, (input.shape[0], 1)) * vec2


@api
def ger(input, vec2):
    """out[i, j] = input[i]·vec2[j] of two vectors: another name of `outer`."""
    return outer(input, vec2)


def _added(input, product, beta, alpha):
    """beta·input + alpha·product; a beta of 0 leaves `input` out, whatever it holds."""
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    if np.broadcast_shapes(tuple(input.shape), tuple(product.shape)) != tuple(product.shape):
        raise OpError(f"the input of shape {list(input.shape)} does not expand to the product's, {list(product.shape)}")
    if MODES.get().autocast is not None:
        input = input.to(product.dtype)
    return product + (input if beta == 1 else input * beta)


def _also_old(function):
    """Decorator: PyTorch's old order too: addmm(beta, input, alpha, mat1, mat2), where numbers may be absent."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        if len(args) > 3:
            beta, alpha, *args = old_order(function.__name__, args, ("beta", "alpha"), 3)
            kwargs = {"beta": beta, "alpha": alpha, **kwargs}
        return function(*args, **kwargs)

    return call


@api(inplace=True)
@_also_old
def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta·input + alpha·(mat1 @ mat2)."""
    return _added(input, mm(mat1, mat2), beta, alpha)


@api(inplace=True)
@_also_old
@listed
def addmv(input, mat, vec, *, beta=1, alpha=1):
    """beta·input + alpha·(mat @ vec)."""
    return _added(input, mv(mat, vec), beta, alpha)


@api(inplace=True)
@_also_old
@listed
def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """beta·input + alpha·outer(vec1, vec2)."""
    return _added(input, outer(vec1, vec2), beta, alpha)


@api(inplace=True)
@_also_old
def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta·input + alpha·(batch1 @ batch2), for stacks of matrices."""
    return _added(input, bmm(batch1, batch2), beta, alpha)


@api(inplace=True)
@_also_old
@listed
def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta·input + alpha·Σ_b batch1[b] @ batch2[b]."""
    return _added(input, bmm(batch1, batch2).sum(0), beta, alpha)


# -- several matrices -------------------------------------------------------------------------------------------------


def multi_dot(tensors):
    """A₁ A₂ ··· A_k, matrices of shapes (n₀, n₁), (n₁, n₂), ..., in the order of least work: (n₀, n_k).

    The first and the last may be vectors, whose dimensions are left out of the result. The order is found by dynamic
    programming (Cormen et al., Introduction to Algorithms, section 15.2).
    """
    tensors = list(tensors)
    if len(tensors) < 2:
        raise OpError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    row, column = len(tensors[0].shape) == 1, len(tensors[-1].shape) == 1
    if row:
        tensors[0] = tensors[0].unsqueeze(0)
    if column:
        tensors[-1] = tensors[-1].unsqueeze(1)
    _expect("multi_dot", *[(x, 2) for x in tensors])
    for a, b in pairwise(tensors):
        if a.shape[1] != b.shape[0]:
            raise OpError(f"multi_dot(): tensors cannot be multiplied ({_shapes(a, b)})")
    n = len(tensors)
    size = [tensors[0].shape[0], *[x.shape[1] for x in tensors]]
    cost = {(i, i): (0, i) for i in range(n)}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            ways = [(cost[i, k][0] + cost[k + 1, j][0] + size[i] * size[k + 1] * size[j + 1], k) for k in range(i, j)]
            cost[i, j] = min(ways)

    def product(i, j):
        return tensors[i] if i == j else matmul(product(i, cost[i, j][1]), product(cost[i, j][1] + 1, j))

    found = product(0, n - 1)
    if row:
        found = found.squeeze(0)
    return found.squeeze(-1) if column else found


@function
def chain_matmul(*matrices):
    """The product of matrices in the order of least work."""
    matrices = matrices[0] if len(matrices) == 1 and not isinstance(matrices[0], Tensor) else matrices
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


# -- tensors ----------------------------------------------------------------------------------------------------------


@function
@numpy_names
@listed
def tensordot(a, b, dims=2):
    """Sums of products over dimensions of `a` and `b`: the last `dims` of a with the first of b, or two lists."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    n, m = len(a.shape), len(b.shape)
    if isinstance(dims, int):
        if dims < 0 or dims > min(n, m):
            raise OpError(f"tensordot expects dims >= 0 and at most the number of dimensions, but got dims={dims}")
        left, right = list(range(n - dims, n)), list(range(dims))
    else:
        left, right = [
            [wrap_dim(d, k) for d in (ds if hasattr(ds, "__iter__") else (ds,))] for ds, k in zip(dims, (n, m))
        ]
    if len(left) != len(right):
        raise OpError(f"both dimension lists should have same length, got {left} and {right}")
    for i, j in zip(left, right):
        if a.shape[i] != b.shape[j]:
            raise OpError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and second has size "
                f"{b.shape[j]} in dim {j}"
            )
    rows, columns = [d for d in range(n) if d not in left], [d for d in range(m) if d not in right]
    inside = prod([a.shape[d] for d in left])
    x = reshape(a.permute((*rows, *left)), (prod([a.shape[d] for d in rows]), inside))
    y = reshape(b.permute((*right, *columns)), (inside, prod([b.shape[d] for d in columns])))
    return reshape(matmul(x, y), (*[a.shape[d] for d in rows], *[b.shape[d] for d in columns]))


@api
def kron(input, other):
    """The Kronecker product: each element of `input` times all of `other`, as a block; sizes missing in front are 1."""
    n = max(len(input.shape), len(other.shape))
    a = (*(1,) * (n - len(input.shape)), *input.shape)
    b = (*(1,) * (n - len(other.shape)), *other.shape)
    left = reshape(input, tuple([k for size in a for k in (size, 1)]))
    right = reshape(other, tuple([k for size in b for k in (1, size)]))
    return reshape(left * right, tuple([i * j for i, j in zip(a, b)]))


@composite
def cross(F, input, other, /, dim=-1):
    """The vector product along `dim`, which has size 3; other dimensions broadcast."""
    if len(input.shape) != len(other.shape):
        raise OpError(f"linalg.cross: inputs must have the same number of dimensions, got {_shapes(input, other)}")
    d = wrap_dim(dim, len(input.shape))
    if input.shape[d] != 3 or other.shape[d] != 3:
        raise OpError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[d]} and {other.shape[d]}"
        )
    return F.roll(input, -1, d) * F.roll(other, -2, d) - F.roll(input, -2, d) * F.roll(other, -1, d)


@api(name="cross")
@numpy_names
def _cross_function(input, other, dim=None):
    """The vector product along `dim` (default: the first of size 3, with a warning); other dimensions broadcast."""
    if dim is None:
        warn("Using cross without specifying the dim arg is deprecated. Pass dim, or call linalg.cross, whose is -1")
        dim = next((i for i, n in enumerate(input.shape) if n == 3), -1)
    return cross(input, other, dim=dim)


def vander(x, N=None):
    """The powers 0 to N - 1 of each element of `x`, as rows: (..., n) gives (..., n, N). N defaults to n."""
    if not x.shape:
        raise OpError("vander: x must have at least one dimension")
    count = x.shape[-1] if N is None else N
    if count < 2 and N is not None:
        raise OpError(f"N must be greater than 1, got {N}")
    from .joining import stack

    powers = [x * 0 + 1, x][:count]
    while len(powers) < count:
        powers.append(powers[-1] * x)
    return stack(*powers, dim=-1) if powers else reshape(x, (*x.shape, 0))


@function(name="vander")
def _vander_function(x, N=None, increasing=False):
    """The Vandermonde matrix of a vector: N (len(x)) columns of its powers, falling unless `increasing`."""
    _expect("vander", (x, 1))
    rising = vander(x, x.shape[0] if N is None else N)
    return rising if increasing else rising.flip(-1)


expose(matmul)
