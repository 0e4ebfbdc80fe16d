"""`chainrule.sparse`: matrices and tensors of few entries, as programs on graphs use them.

A `SparseTensor` holds the positions (n, nnz) of its entries in its first n dimensions and their values (nnz, ...), a
Tensor, through which gradients flow; several entries at one position count as their sum. What is computed with it is a
composition of `embedding` (rows looked up) and `embedding_grad` (rows added up), so it is differentiable for the values
and for dense operands, to any order; a product with a dense matrix costs nnz times the columns. What has no meaning for
few entries raises, and names `to_dense()`.

Layouts: COO, and CSR for matrices: the same entries in the order of rows, with `crow_indices()` and `col_indices()`.
Unlike PyTorch's, the gradient of a sparse leaf is not collected in the sparse tensor: make the values the leaf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import backends
from ..backends import np
from . import printing
from .attributes import Size, layout, sparse_coo, sparse_csr
from .creation import as_tensor
from .device import device_of
from .dims import wrap_dim
from .dtypes import default_dtype, from_numpy_dtype
from .errors import NotDense, OpError
from .op import OPS
from .tensor import Tensor, plain_results, wrap

__all__ = [
    "FloatTensor",
    "SparseTensor",
    "addmm",
    "is_sparse",
    "log_softmax",
    "mm",
    "sampled_addmm",
    "softmax",
    "sparse_coo_tensor",
    "sparse_csr_tensor",
    "spmm",
    "sum",
]


class SparseTensor(Tensor):
    """A tensor of which only some entries are stored. Made by `sparse_coo_tensor`, `sparse_csr_tensor`, `to_sparse`."""

    __slots__ = ("_at", "_held", "_kind", "_size", "_sorted")

    __torch_function__ = plain_results  # type: ignore[assignment]

    _at: Tensor
    _held: Tensor
    _kind: layout
    _size: tuple[int, ...]
    _sorted: bool

    @property
    def array(self) -> Any:  # type: ignore[override]
        """There is none: what asks for it does not know sparse tensors."""
        raise NotDense("this operation is not available for sparse tensors: convert the tensor with to_dense()")

    # -- what it is -----------------------------------------------------------------------------------------------

    shape = property(lambda self: Size(self._size), doc="The sizes of the dimensions.")
    dtype = property(lambda self: self._held.dtype, doc="The type of the values.")
    device = property(lambda self: device_of(self._held.array), doc="Where the entries live.")
    layout = property(lambda self: self._kind, doc="`chainrule.sparse_coo` or `chainrule.sparse_csr`.")
    ndim = property(lambda self: len(self._size), doc="The number of dimensions.")
    grad_fn = property(lambda self: self._held.node, doc="The node that made the values.")
    is_sparse = property(lambda self: self._kind is sparse_coo, doc="True for the layout COO.")
    is_sparse_csr = property(lambda self: self._kind is sparse_csr, doc="True for the layout CSR.")
    is_cuda = property(lambda self: self.device.type == "cuda", doc="True on a GPU.")
    is_leaf = property(lambda self: self._held.node is None, doc="True where no op made the values.")
    T = property(lambda self: self.t(), doc="The transpose.")
    mT = property(lambda self: self.transpose(-2, -1), doc="The last two dimensions exchanged.")

    @property
    def requires_grad(self) -> bool:
        """Whether the values do."""
        return self._held.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._held.requires_grad = value

    def requires_grad_(self, requires_grad: bool = True) -> SparseTensor:
        """Set `requires_grad` of the values and return the tensor."""
        self._held.requires_grad_(requires_grad)
        return self

    def size(self, dim: int | None = None) -> Any:
        """The sizes of all dimensions, or that of `dim`."""
        return self.shape if dim is None else self._size[wrap_dim(dim, len(self._size))]

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self._size)

    ndimension = dim

    def numel(self) -> int:
        """The product of the sizes."""
        return self.shape.numel()

    nelement = numel

    def sparse_dim(self) -> int:
        """How many dimensions the positions have."""
        return self._at.shape[0]

    def dense_dim(self) -> int:
        """How many dimensions each value has."""
        return len(self._held.shape) - 1

    def is_floating_point(self) -> bool:
        """True for the floating dtypes."""
        return self._held.is_floating_point()

    def __len__(self) -> int:
        return self._size[0]

    def __bool__(self) -> bool:
        return bool(self.to_dense())

    def __iter__(self) -> Any:
        return (self[i] for i in range(self._size[0]))

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        kind = "" if self._held.array.dtype in (default_dtype(), np.int64) else f"dtype={self.dtype}"
        indent = len("tensor(")
        entries = [("indices", self._at), ("values", self._held.detach())]
        if self._kind is sparse_csr:
            entries = [("crow_indices", self.crow_indices()), ("col_indices", self.col_indices()), entries[1]]
        parts = []
        for name, t in entries:
            lead = f"{name}=tensor("
            array = backends.of(t.array).to_host(t.array)
            size = "" if array.size else f", size={tuple(array.shape)}"
            parts.append(f"{lead}{printing.numbers_of(array, indent + len(lead))}{size})")
        text = "tensor(" + (",\n" + " " * indent).join(parts)
        notes = [f"size={tuple(self._size)}", f"nnz={self._nnz()}", *filter(None, [kind]), f"layout={self._kind}"]
        if self._held.node is not None:
            notes.append(f"grad_fn=<{self._held.node.name()}>")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return printing.with_notes(text, notes, indent, newline=self._kind is sparse_coo)

    # -- its entries ----------------------------------------------------------------------------------------------

    def _nnz(self) -> int:
        return self._at.shape[1]

    def _indices(self) -> Tensor:
        return self._at

    def _values(self) -> Tensor:
        return self._held

    def is_coalesced(self) -> bool:
        """True where the positions are known to be sorted and different."""
        return self._sorted

    def _coalesced_(self, coalesced: bool) -> SparseTensor:
        """Take the caller's word for it that the positions are sorted and different, or that they are not."""
        self._sorted = coalesced
        return self

    def indices(self) -> Tensor:
        """The positions (sparse dimensions, nnz). RuntimeError before `coalesce()`."""
        self._need_order("indices")
        return self._at

    def values(self) -> Tensor:
        """The values (nnz, ...). RuntimeError before `coalesce()`."""
        if self._kind is sparse_coo:
            self._need_order("values")
        return self._held

    def _need_order(self, what: str) -> None:
        if not self._sorted:
            raise OpError(f"Cannot get {what} on an uncoalesced tensor, please call .coalesce() first")

    def crow_indices(self) -> Tensor:
        """CSR: where each row's entries begin, and the number of all."""
        self._need_csr("crow_indices")
        rows = self._at.array[0]
        xp = backends.of(rows).xp
        counts = xp.bincount(rows, minlength=self._size[0]) if rows.size else xp.zeros(self._size[0], "int64")
        return wrap(xp.concatenate([xp.zeros(1, "int64"), xp.cumsum(counts).astype("int64")]), None)

    def col_indices(self) -> Tensor:
        """CSR: the column of each entry."""
        self._need_csr("col_indices")
        return wrap(self._at.array[1], None)

    def _need_csr(self, name: str) -> None:
        if self._kind is not sparse_csr:
            raise OpError(f"{name} expected sparse row compressed tensor layout but got {self._kind}")

    def _flat(self) -> Tensor:
        """The positions as one number each."""
        found: Any = 0
        for row, n in zip(self._at.array, self._size, strict=False):
            found = found * n + row
        if not self._at.shape[0]:
            found = backends.of(self._at.array).xp.zeros(self._nnz(), "int64")
        return wrap(found, None)

    def coalesce(self) -> SparseTensor:
        """The same tensor with sorted positions, each once; entries at one position are added."""
        if self._sorted:
            return self
        flat = self._flat().array
        xp = backends.of(flat).xp
        unique, inverse = xp.unique(flat, return_inverse=True)
        rows, rest = [], unique
        for n in self._size[: self.sparse_dim()][::-1]:
            rows.append(rest % n if n else rest)
            rest = rest // n if n else rest
        at = xp.stack(rows[::-1]) if rows else xp.zeros((0, unique.size), "int64")
        held = OPS["embedding_grad"](self._held, wrap(inverse.reshape(-1), None), rows=int(unique.size))
        return _made(wrap(at, None), held, self._size, True, self._kind)

    def to_dense(self, dtype: Any = None, **options: Any) -> Tensor:
        """All elements, those that are not stored as zeros."""
        n = 1
        for k in self._size[: self.sparse_dim()]:
            n *= k
        found = OPS["embedding_grad"](self._held, self._flat(), rows=n).reshape(self._size)
        return found if dtype is None else found.to(dtype)

    def to_sparse(self, *args: Any, **options: Any) -> SparseTensor:
        """This tensor in the layout COO."""
        return self if self._kind is sparse_coo else _made(self._at, self._held, self._size, True)

    to_sparse_coo = to_sparse

    def to_sparse_csr(self, dense_dim: int | None = None) -> SparseTensor:
        """This matrix in the layout CSR."""
        if len(self._size) != 2 or self.dense_dim():
            raise OpError(f"to_sparse_csr(): the layout CSR is for matrices here, got {len(self._size)} dimensions")
        ordered = self.coalesce()
        return _made(ordered._at, ordered._held, self._size, True, sparse_csr)

    # -- the same positions with other values ---------------------------------------------------------------------

    def _with(self, values: Tensor) -> SparseTensor:
        return _made(self._at, values, self._size, self._sorted, self._kind)

    def to(self, *args: Any, **kwargs: Any) -> SparseTensor:
        """This tensor in another dtype or on another device."""
        args = tuple([a._held if isinstance(a, SparseTensor) else a for a in args])
        held = self._held.to(*args, **kwargs)
        place = device_of(held.array)
        at = self._at if place == self.device else self._at.to(place)
        return self if held is self._held else _made(at, held, self._size, self._sorted, self._kind)

    def cpu(self, memory_format: Any = None) -> SparseTensor:
        """This tensor in the host's memory."""
        return self.to("cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> SparseTensor:
        """This tensor on a GPU."""
        return self.to("cuda" if device is None else device)

    def detach(self) -> SparseTensor:
        """The same entries, outside the graph."""
        return self._with(self._held.detach())

    data = property(detach, doc="The same entries, outside the graph.")

    def clone(self, *, memory_format: Any = None) -> SparseTensor:
        """A copy."""
        return _made(self._at.clone(), self._held.clone(), self._size, self._sorted, self._kind)

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of the type ('chainrule.sparse.FloatTensor'); with `dtype`, the tensor converted to it."""
        if dtype is not None:
            return self._with(self._held.type(dtype))
        return (
            f"chainrule.{'cuda.' if self.is_cuda else ''}sparse.{from_numpy_dtype(self._held.array.dtype).short}Tensor"
        )

    def float(self, memory_format: Any = None) -> SparseTensor:
        """This tensor in float32."""
        return self.to(dtype="float32")

    def double(self, memory_format: Any = None) -> SparseTensor:
        """This tensor in float64."""
        return self.to(dtype="float64")

    def t(self) -> SparseTensor:
        """The transpose of a matrix."""
        return self.transpose(0, 1)

    def transpose(self, dim0: int, dim1: int) -> SparseTensor:
        """This tensor with two of its sparse dimensions exchanged."""
        a, b = wrap_dim(dim0, len(self._size)), wrap_dim(dim1, len(self._size))
        n = self.sparse_dim()
        if a >= n or b >= n:
            raise OpError("transpose(): of a sparse tensor, only sparse dimensions can be exchanged")
        order, sizes = list(range(n)), list(self._size)
        order[a], order[b] = b, a
        sizes[a], sizes[b] = sizes[b], sizes[a]
        found = _made(wrap(self._at.array[order], None), self._held, tuple(sizes), self._sorted and a == b)
        return found.coalesce() if self._kind is sparse_coo else found.to_sparse_csr()

    def __getitem__(self, index: Any) -> Any:
        """Row `index` of the first dimension: sparse, or dense where it is the only one."""
        if not hasattr(index, "__index__"):
            raise NotDense("sparse tensors are indexed by one integer: convert the tensor with to_dense() for more")
        i = range(self._size[0])[index.__index__()]
        rows = self._at.array
        chosen = backends.of(rows).xp.nonzero(rows[0] == i)[0]
        held = OPS["embedding"](wrap(chosen, None), self._held)
        if self.sparse_dim() == 1:
            return held.sum(0)
        return _made(wrap(rows[1:, chosen], None), held, self._size[1:], self._sorted)

    def index_select(self, dim: int, index: Tensor) -> SparseTensor:
        """The slices at the positions `index` (a vector) along a sparse dimension."""
        d = wrap_dim(dim, len(self._size))
        if d >= self.sparse_dim():
            raise OpError("index_select(): of a sparse tensor, only along a sparse dimension")
        rows = self._at.array
        xp = backends.of(rows).xp
        hits = xp.nonzero(rows[d][None, :] == index.array.reshape(-1)[:, None])
        at = rows[:, hits[1]]
        at[d] = hits[0]
        sizes = (*self._size[:d], int(index.array.size), *self._size[d + 1 :])
        return _made(wrap(at, None), OPS["embedding"](wrap(hits[1], None), self._held), sizes, False)

    def numpy(self, **options: Any) -> Any:
        """TypeError: there is no array of all elements."""
        raise TypeError("can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first.")

    def backward(self, *args: Any, **kwargs: Any) -> None:
        """RuntimeError: backward starts at a dense result."""
        raise OpError("backward() of a sparse tensor: sum it, or multiply it with a dense tensor, and start there")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _made, (self._at, self._held.detach(), self._size, self._sorted, self._kind)

    def __deepcopy__(self, memo: dict[int, Any]) -> SparseTensor:
        return memo.setdefault(id(self), self.detach().clone())


def _made(at: Tensor, held: Tensor, size: Any, ordered: bool, kind: layout = sparse_coo) -> SparseTensor:
    t = object.__new__(SparseTensor)
    t.node, t.leaf, t._grad = None, False, None
    t._at, t._held, t._size, t._sorted, t._kind = at, held, tuple(size), ordered, kind
    return t


# -- making them ------------------------------------------------------------------------------------------------------


def sparse_coo_tensor(
    indices: Any = None,
    values: Any = None,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    check_invariants: bool | None = None,
    is_coalesced: bool | None = None,
) -> SparseTensor:
    """A sparse tensor with `values` (nnz, ...) at the positions `indices` (n, nnz), of shape `size`.

    size: default: the least that has all positions. Entries at one position are added. RuntimeError for a position
    beyond `size`. `sparse_coo_tensor(size=...)` is one without entries. Gradients flow to `values`. is_coalesced: no
    position occurs twice. check_invariants: PyTorch's; positions are always checked.
    """
    if size is None and values is None and isinstance(indices, (tuple, list, Size)):
        size, indices = indices, None
    if indices is None:
        from .creation import empty, zeros

        size = tuple(size)
        at = zeros((len(size), 0), dtype="int64", device=device)
        return _made(at, empty((0,), dtype=dtype, device=device), size, True)
    at = as_tensor(indices, device=device).detach().long()
    held = as_tensor(values, dtype=dtype, device=device)
    if not isinstance(values, Tensor):
        held = held.clone()
    if len(at.shape) != 2:
        raise OpError(f"indices must be sparse_dim x nnz, but got: {list(at.shape)}")
    if not held.shape and at.shape[1] == 1:
        held = held.reshape(1)
    if not held.shape or held.shape[0] != at.shape[1]:
        raise OpError(
            f"indices and values must have same nnz, but got nnz from indices: {at.shape[1]}, nnz from values: "
            f"{held.shape[0] if held.shape else 0}"
        )
    n, array = at.shape[0], at.array
    if array.size and int(array.min()) < 0:
        raise OpError("found negative index in the indices of a sparse tensor")
    most = [int(row.max()) + 1 if row.size else 0 for row in array]
    if size is None:
        size = (*most, *held.shape[1:])
    size = tuple([int(k) for k in size])
    if len(size) != n + len(held.shape) - 1 or size[n:] != tuple(held.shape[1:]):
        raise OpError(
            f"number of dimensions must be sparse_dim ({n}) + dense_dim ({len(held.shape) - 1}), and the values' shape "
            f"{list(held.shape)} must end in the last sizes; got size {list(size)}"
        )
    for d, (found, allowed) in enumerate(zip(most, size, strict=False)):
        if found > allowed:
            raise OpError(
                f"size is inconsistent with indices: for dim {d}, size is {allowed} but found index {found - 1}"
            )
    result = _made(at, held, size, bool(is_coalesced))
    return result.requires_grad_() if requires_grad else result


def sparse_csr_tensor(
    crow_indices: Any,
    col_indices: Any,
    values: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> SparseTensor:
    """A sparse matrix by rows: row i has the entries crow_indices[i] to crow_indices[i + 1] (excluded).

    values[k] stands in column col_indices[k]. size: by default the least that has all. check_invariants: PyTorch's.
    """
    crow = as_tensor(crow_indices, device=device).long().array
    columns = as_tensor(col_indices, device=device).long().array
    xp = backends.of(crow).xp
    if crow.ndim != 1 or columns.ndim != 1 or int(crow[-1]) != columns.size:
        raise OpError(
            f"crow_indices must be a vector that ends in the number of entries, {columns.size}; got "
            f"{crow.tolist()[-3:]} at its end"
        )
    rows = xp.repeat(xp.arange(crow.size - 1), (crow[1:] - crow[:-1]).tolist())
    at = wrap(xp.stack([rows, columns]), None)
    if size is None:
        size = (crow.size - 1, int(columns.max()) + 1 if columns.size else 0)
    coo = sparse_coo_tensor(at, values, size, dtype=dtype, device=device, requires_grad=requires_grad)
    return coo.to_sparse_csr()


def from_dense(input: Tensor, sparse_dims: int | None = None) -> SparseTensor:
    """The elements of `input` that are not zero, with their positions in its first `sparse_dims` dimensions."""
    n = len(input.shape) if sparse_dims is None else sparse_dims
    array = input.array
    xp = backends.of(array).xp
    present = array != 0
    if n < array.ndim:
        present = present.any(axis=tuple(range(n, array.ndim)))
    where = tuple([wrap(p.astype("int64"), None) for p in xp.nonzero(present)])
    held = OPS["index"](input, indices=tuple([w.array for w in where]))
    return _made(wrap(xp.stack([w.array for w in where]), None), held, array.shape, True)


class FloatTensor:
    """The older form of `sparse_coo_tensor`: `sparse.FloatTensor(indices, values, size)`, in float32."""

    kind = "float32"

    def __new__(cls, *args: Any) -> Any:
        if args and isinstance(args[0], int):
            return sparse_coo_tensor(size=args, dtype=cls.kind)
        if not args:
            return sparse_coo_tensor(size=(0,), dtype=cls.kind)
        return sparse_coo_tensor(*args, dtype=cls.kind)


class DoubleTensor(FloatTensor):
    """As `FloatTensor`, in float64."""

    kind = "float64"


class LongTensor(FloatTensor):
    """As `FloatTensor`, in int64."""

    kind = "int64"


# -- computing with them ----------------------------------------------------------------------------------------------


def is_sparse(t: Any) -> bool:
    """True for a sparse tensor of any layout."""
    return isinstance(t, SparseTensor)


def _product(a: SparseTensor, b: Tensor) -> Tensor:
    """A sparse matrix times a dense matrix or vector."""
    if len(a._size) != 2 or a.dense_dim() or len(b.shape) not in (1, 2):
        raise OpError(f"mm(): a sparse matrix and a dense matrix or vector, got {list(a._size)} and {list(b.shape)}")
    if a._size[1] != b.shape[0]:
        raise OpError(f"mat1 and mat2 shapes cannot be multiplied ({list(a._size)} and {list(b.shape)})")
    if a.dtype != b.dtype:
        raise OpError(f"mm(): expected both operands in one dtype, got {a.dtype} and {b.dtype}")
    rows, columns = wrap(a._at.array[0], None), wrap(a._at.array[1], None)
    picked = OPS["embedding"](columns, b)
    weights = a._held if len(b.shape) == 1 else a._held.unsqueeze(-1)
    return OPS["embedding_grad"](weights * picked, rows, rows=a._size[0])


def _convert_indices_from_coo_to_csr(input: Tensor, size: int, *, out_int32: bool = False) -> Tensor:
    """Where each of `size` rows begins among sorted row numbers, and the number of all: (size + 1,), int64 or int32."""
    xp = backends.of(input.array).xp
    starts = xp.searchsorted(input.array, xp.arange(size + 1))
    return wrap(starts.astype("int32" if out_int32 else "int64"), None)


def _convert_indices_from_csr_to_coo(
    crow_indices: Tensor, col_indices: Tensor, *, out_int32: bool = False, transpose: bool = False
) -> Tensor:
    """Positions (2, nnz) from where each row begins and the columns; columns before rows with `transpose`."""
    crow, columns = crow_indices.array, col_indices.array
    xp = backends.of(columns).xp
    rows = xp.searchsorted(crow, xp.arange(columns.size), side="right") - 1
    both = (columns, rows) if transpose else (rows, columns)
    return wrap(xp.stack([x.astype("int32" if out_int32 else "int64") for x in both]), None)


def mm(mat1: Any, mat2: Any, reduce: str = "sum") -> Any:
    """The product of a sparse and a dense matrix (or the other way round): dense; of two sparse ones: sparse.

    Gradients flow to the dense matrix and to the values.
    """
    if reduce != "sum":
        raise OpError(f"sparse.mm(): the entries of a row are combined by 'sum' alone, not {reduce!r}")
    if isinstance(mat1, SparseTensor) and isinstance(mat2, SparseTensor):
        return from_dense(_product(mat1, mat2.to_dense()))
    if isinstance(mat1, SparseTensor):
        return _product(mat1, mat2)
    if isinstance(mat2, SparseTensor):
        return _product(mat2.t(), mat1.t() if len(mat1.shape) == 2 else mat1).t()
    return OPS["matmul"](mat1, mat2)


def spmm(input: Any, mat2: Any) -> Any:
    """The product of a sparse matrix (n, m) and a dense one (m, p)."""
    return mm(input, mat2)


def addmm(input: Tensor, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta·input + alpha·mat1·mat2 with a sparse `mat1`."""
    return beta * input + alpha * mm(mat1, mat2)


def sampled_addmm(input: SparseTensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta·input + alpha·mat1·mat2 at the positions of `input` alone."""
    rows, columns = wrap(input._at.array[0], None), wrap(input._at.array[1], None)
    products = (OPS["embedding"](rows, mat1) * OPS["embedding"](columns, mat2.t())).sum(-1)
    return input._with(beta * input._held + alpha * products)


def sum(input: SparseTensor, dim: Any = None, dtype: Any = None) -> Any:
    """The sum of all elements (0-d, dense), or over the dimensions `dim`: sparse, dense without sparse dimensions."""
    if dim is None:
        return input._held.sum(dtype=dtype)
    dims = {wrap_dim(d, len(input._size)) for d in ((dim,) if isinstance(dim, int) else dim)}
    n = input.sparse_dim()
    held = input._held if dtype is None else input._held.to(dtype)
    inner = tuple([d - n + 1 for d in dims if d >= n])
    if inner:
        held = held.sum(dim=inner)
    left = [d for d in range(n) if d not in dims]
    if not left:
        return held.sum(0)
    sizes = [k for d, k in enumerate(input._size) if d not in dims]
    return _made(wrap(input._at.array[left], None), held, sizes, False).coalesce()


def _normalised(input: SparseTensor, dim: int, logarithm: bool) -> SparseTensor:
    """exp(x - max) / Σ exp(x - max) over the stored entries of each line along `dim`."""
    d = wrap_dim(dim, len(input._size))
    if d >= input.sparse_dim() or input.dense_dim():
        raise OpError("sparse.softmax(): along a sparse dimension of a tensor without dense dimensions")
    t = input.coalesce()
    line: Any = 0
    for k, (row, n) in enumerate(zip(t._at.array, t._size, strict=True)):
        if k != d:
            line = line * n + row
    xp = backends.of(t._at.array).xp
    if isinstance(line, int):
        line = xp.zeros(t._nnz(), "int64")
    kinds, inverse = xp.unique(line, return_inverse=True)
    values = t._held.array
    top = xp.full(kinds.size, -float("inf"), values.dtype)
    xp.maximum.at(top, inverse.reshape(-1), values)
    at = wrap(inverse.reshape(-1), None)
    shifted = t._held - wrap(top[at.array], None)
    total = OPS["embedding_grad"](shifted.exp(), at, rows=int(kinds.size))
    if logarithm:
        return t._with(shifted - OPS["embedding"](at, total.log()))
    return t._with(shifted.exp() / OPS["embedding"](at, total))


def softmax(input: SparseTensor, dim: int, *, dtype: Any = None) -> SparseTensor:
    """The softmax along `dim` over the stored entries: those that are not stored count as -inf."""
    return _normalised(input if dtype is None else input.to(dtype), dim, False)


def log_softmax(input: SparseTensor, dim: int, *, dtype: Any = None) -> SparseTensor:
    """The logarithm of `softmax`."""
    return _normalised(input if dtype is None else input.to(dtype), dim, True)


def _add(a: Any, b: Any, sign: float = 1) -> Any:
    if isinstance(a, SparseTensor) and isinstance(b, SparseTensor):
        if a._size != b._size or a.sparse_dim() != b.sparse_dim():
            raise OpError(f"add(): sparse tensors of different shapes, {list(a._size)} and {list(b._size)}")
        xp = backends.of(a._at.array).xp
        at = wrap(xp.concatenate([a._at.array, b._at.array], 1), None)
        return _made(at, OPS["concat"](a._held, sign * b._held, dim=0), a._size, False).coalesce()
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        raise OpError("add(): a number is added to all elements; convert the sparse tensor with to_dense()")
    return (a.to_dense() if isinstance(a, SparseTensor) else a) + sign * (
        b.to_dense() if isinstance(b, SparseTensor) else b
    )


def _mul(a: Any, b: Any) -> Any:
    if isinstance(a, SparseTensor) and isinstance(b, SparseTensor):
        a = a.coalesce()
        return a._with(a._held * _sampled(b.to_dense(), a))
    if not isinstance(a, SparseTensor):
        a, b = b, a
    if isinstance(b, Tensor) and b.shape:
        return a._with(a._held * _sampled(b.expand(a._size), a))
    return a._with(a._held * b)


def _sampled(dense: Tensor, like: SparseTensor) -> Tensor:
    """The elements of `dense` at the positions of `like`."""
    n = like.sparse_dim()
    flat = dense.reshape((-1, *like._size[n:]))
    return OPS["embedding"](like._flat(), flat)


def mask(dense: Tensor, mask: SparseTensor) -> SparseTensor:
    """The elements of `dense` at the positions of `mask`."""
    return mask._with(_sampled(dense, mask))


def _div(a: Any, b: Any) -> Any:
    if not isinstance(a, SparseTensor) or isinstance(b, SparseTensor):
        raise OpError("div(): a sparse tensor is divided by a number or a dense tensor")
    return _mul(a, 1 / b)


#: ops that know sparse tensors, by name: those that take zero to zero go to the values of each position
_KNOWN: dict[str, Callable[..., Any]] = {
    "matmul": mm,
    "add": _add,
    "sub": lambda a, b: _add(a, b, -1),
    "mul": _mul,
    "div": _div,
    "sum": lambda input, dim=None, keepdim=False, dtype=None: sum(input, dim, dtype),
    "softmax": softmax,
    "log_softmax": log_softmax,
    "transpose": lambda input, dim0, dim1: input.transpose(dim0, dim1),
    "clone": lambda input, memory_format=None: input.clone(),
    "cast": lambda input, dtype: input.to(dtype),
}
_ZERO_TO_ZERO = {
    *("abs", "asin", "asinh", "atan", "atanh", "ceil", "deg2rad", "erf", "erfinv", "expm1", "floor", "frac", "log1p"),
    *("neg", "rad2deg", "relu", "round", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "pow"),
    *("leaky_relu", "dropout", "dropout_by_seed", "nan_to_num", "isnan", "isinf"),
}


def dispatch(op: Any, args: Any, kwargs: dict[str, Any], error: Exception) -> Any:
    """The call of an op that met a sparse tensor; `error` where it does not know them."""
    inputs, params = op.bind(args, kwargs)
    if op.name in _KNOWN:
        return _KNOWN[op.name](*inputs, **params)
    if op.name in _ZERO_TO_ZERO and isinstance(inputs[0], SparseTensor):
        ordered = inputs[0].coalesce()
        return ordered._with(op.apply([ordered._held, *inputs[1:]], params))
    raise NotDense(f"{op.name}(): {error}") from None


hspmm = dsmm = spmm


def smm(input: SparseTensor, mat: Tensor) -> SparseTensor:
    """The product of a sparse and a dense matrix, as a sparse one."""
    return from_dense(mm(input, mat))
