"""Methods of Tensor whose work is done elsewhere or seldom: sparse forms, parts of complex numbers, memory by hand."""

from __future__ import annotations

import importlib
from typing import Any

from .. import backends
from . import storage
from .attributes import set_requires_grad
from .creation import empty  # type: ignore[attr-defined]
from .errors import OpError
from .op import OPS
from .public import function, inplace
from .tensor import METHODS, Tensor, method, wrap

__all__: list[str] = []


# -- sparse tensors ---------------------------------------------------------------------------------------------------


@method
def to_sparse(self: Tensor, sparse_dim: int | None = None, *, layout: Any = None, **options: Any) -> Any:
    """The elements that are not zero, as a sparse tensor with positions in the first `sparse_dim` dimensions."""
    from .sparse import from_dense, sparse_csr

    found = from_dense(self, sparse_dim)
    return found.to_sparse_csr() if layout is sparse_csr else found


@method
def to_sparse_coo(self: Tensor) -> Any:
    """The elements that are not zero, as a sparse tensor in the layout COO."""
    return self.to_sparse()


@method
def to_sparse_csr(self: Tensor, dense_dim: int | None = None) -> Any:
    """The elements of a matrix that are not zero, as a sparse tensor in the layout CSR."""
    return self.to_sparse().to_sparse_csr()


@method
def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool = True) -> Tensor:
    """This tensor, which has all its elements."""
    return self if dtype is None else self.to(dtype)


@method
def sparse_mask(self: Tensor, mask: Any) -> Any:
    """The elements of this tensor at the positions of the sparse tensor `mask`."""
    from . import sparse

    return sparse.mask(self, mask)


# -- in-place forms as functions --------------------------------------------------------------------------------------

#: PyTorch has these methods as functions, too: `torch.relu_(x)`
_NAMES = (
    "abs_ acos_ acosh_ addmv_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_ atan_ atanh_ "
    "ceil_ celu_ clamp_ clamp_max_ clamp_min_ clip_ cos_ cosh_ deg2rad_ detach_ erf_ erfc_ exp2_ exp_ expm1_ fill_ "
    "fix_ floor_ frac_ gcd_ index_put_ lcm_ ldexp_ log10_ log1p_ log2_ log_ logit_ nan_to_num_ neg_ negative_ rad2deg_ "
    "reciprocal_ relu_ round_ rsqrt_ selu_ sigmoid_ sin_ sinc_ sinh_ sqrt_ square_ tan_ tanh_ trunc_ xlogy_ zero_"
)
for _name in _NAMES.split():
    function(METHODS[_name], name=_name)


# -- methods whose functions are in late modules ----------------------------------------------------------------------


def _late(module: str, names: str, inplace_names: str = "") -> None:
    """Methods that import `module` when they are called."""

    def define(name: str, changes: bool) -> None:
        def bound(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            target = getattr(importlib.import_module(f".{module}", __package__), name)
            return inplace(self, target, *args, **kwargs) if changes else target(self, *args, **kwargs)

        bound.__name__ = f"{name}_" if changes else name
        bound.__qualname__, bound.__module__ = f"Tensor.{bound.__name__}", Tensor.__module__
        bound.__doc__ = f"In-place form of `{name}`." if changes else f"`chainrule.{name}` of this tensor."
        method(bound)

    for name in names.split():
        define(name, False)
    for name in inplace_names.split():
        define(name, True)


_late("spectra", "istft stft")
_late("old_linalg", "eig lstsq lu lu_solve solve symeig")
_late("special", "i0 igamma igammac", "i0 igamma igammac")
_late(
    "seldom",
    "angle as_strided_scatter conj conj_physical frexp histogram index_reduce isreal narrow_copy nonzero_static renorm "
    "resolve_conj resolve_neg split_with_sizes unsafe_chunk unsafe_split unsafe_split_with_sizes",
    "conj_physical index_reduce renorm",
)


def _read_only(name: str, get: Any, doc: str) -> None:
    setattr(Tensor, name, property(get, doc=doc))


def _part(name: str, doc: str) -> None:
    def get(self: Tensor) -> Tensor:
        return getattr(importlib.import_module(".seldom", __package__), name)(self)

    def assign(self: Tensor, value: Any) -> None:
        get(self)[...] = value

    setattr(Tensor, name, property(get, assign, doc=doc))


_part("real", "The real parts, as a view; a real tensor itself.")
_part("imag", "The imaginary parts, as a view. RuntimeError for real tensors.")
for _name in ("is_sparse_csr", "is_vulkan", "is_maia", "is_xla", "is_mtia", "is_ipu"):
    if not hasattr(Tensor, _name):
        _read_only(_name, lambda self: False, "False: this tensor is not of that kind.")
_read_only("name", lambda self: None, "None: tensors have no names.")
_read_only("volatile", lambda self: False, "False: a flag of old versions of PyTorch.")
_read_only("output_nr", lambda self: 0, "Which output of its node this tensor is, as a number that programs print.")
_read_only("_base", lambda self: _base_of(self), "The tensor that this one is a view of, as far as it still exists.")


def _base_of(self: Tensor) -> Tensor | None:
    if not self.chain or self.family is None:
        return None
    return next((t for t in self.family.living() if not t.chain), None)


@method
def _is_view(self: Tensor) -> bool:
    """True where the tensor is a view of another."""
    return bool(self.chain)


for _name in ("is_conj", "is_neg", "is_distributed", "is_coalesced"):

    def _false(self: Tensor) -> bool:
        """False: this tensor is not of that kind."""
        return False

    _false.__qualname__, _false.__module__ = f"Tensor.{_name}", Tensor.__module__
    method(_false, name=_name)


@method
def is_inference(self: Tensor) -> bool:
    """False: tensors made in inference mode are ordinary ones."""
    return False


for _name in ("coalesce", "indices", "values", "_indices", "_values", "_nnz", "crow_indices", "col_indices"):

    def _refused(self: Tensor, _name: str = _name) -> Any:
        """RuntimeError: for sparse tensors."""
        raise OpError(f"{_name} expected sparse tensor layout but got Strided; to_sparse() makes a sparse tensor")

    method(_refused, name=_name)


# -- memory by hand ---------------------------------------------------------------------------------------------------


@method(name="storage")
def _storage(self: Tensor) -> Any:
    """The memory under this tensor, element by element. See `untyped_storage` for its bytes."""
    from .typed import TypedStorage

    return TypedStorage(self)


@method
def dim_order(self: Tensor, ambiguity_check: Any = False) -> tuple[int, ...]:
    """The dimensions in the order of memory, the one of the largest stride first."""
    return tuple(sorted(range(self.array.ndim), key=lambda d: -self.array.strides[d]))


@method
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """True where both see the same elements of the same memory."""
    same = self.shape == tensor.shape and self.stride() == tensor.stride()
    return bool(same and self.data_ptr() == tensor.data_ptr() and self.dtype == tensor.dtype)


@method
def record_stream(self: Tensor, stream: Any) -> None:
    """Keep the memory until a stream of a GPU, another one than it was made on, has done what it was given so far."""
    if self.is_cuda and hasattr(stream, "handle"):
        backends.of(self.array).streams.hold(self.array, stream.handle)


@method
def set_(self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None) -> Tensor:
    """Let this tensor be a view of the memory of `source` (a tensor); without one, empty."""
    if source is None:
        other = self.new_empty((0,))
    else:
        other = source if isinstance(source, Tensor) else source._view()
        if size is not None:
            other = other.detach().as_strided(size, _steps(size) if stride is None else stride, storage_offset)
    if other.array.dtype != self.array.dtype:
        raise OpError(f"set_(): the tensor is of {self.dtype} and the source of {other.dtype}; they must be the same")
    self.data = other
    return self


def _steps(size: Any) -> tuple[int, ...]:
    steps, step = [], 1
    for n in reversed(tuple(size)):
        steps.append(step)
        step *= n
    return tuple(reversed(steps))


@method
def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Change the shape in place, keeping the elements in their order in memory; new ones are not initialised."""
    shape = tuple(sizes[0]) if len(sizes) == 1 and not hasattr(sizes[0], "__index__") else sizes
    if self.requires_grad:
        raise OpError("cannot resize variables that require grad")
    wanted = 1
    for n in shape:
        wanted *= n
    if tuple(self.array.shape) == shape:
        return self
    flat = self.detach().reshape(-1)
    if wanted > flat.array.size:
        grown = self.new_zeros((wanted,))
        grown[: flat.array.size] = flat
        flat = grown
    self.data = flat[:wanted].reshape(shape)
    return self


@method
def resize_as_(self: Tensor, the_template: Tensor, memory_format: Any = None) -> Tensor:
    """`resize_` to the shape of another tensor."""
    return resize_(self, tuple(the_template.shape))


@method
def new_empty_strided(
    self: Tensor, size: Any, stride: Any, dtype: Any = None, device: Any = None, **options: Any
) -> Any:
    """`chainrule.empty_strided` with this tensor's dtype and device unless given."""
    return empty_strided(size, stride, dtype=dtype or self.dtype, device=device or self.device, **options)


@function
def empty_strided(size: Any, stride: Any, **options: Any) -> Tensor:
    """A tensor that is not initialised, with the given steps in memory, counted in elements."""
    last = sum([(n - 1) * s for n, s in zip(size, stride, strict=True)]) if all(size) else -1
    requires_grad = options.pop("requires_grad", False)
    found = empty((last + 1,), **options).as_strided(tuple(size), tuple(stride)).detach()
    return found.requires_grad_() if requires_grad else found


@function
def empty_permuted(size: Any, physical_layout: Any, **options: Any) -> Tensor:
    """A tensor that is not initialised and lies in memory with its dimensions in the order `physical_layout`."""
    order = list(physical_layout)
    back = [order.index(d) for d in range(len(order))]
    return empty([size[d] for d in order], **options).permute(back).detach()


@method
def as_subclass(self: Tensor, cls: Any) -> Any:
    """A tensor of the class `cls` on the same memory, made from this one: gradients come back to it.

    What ops make of it are tensors of that class again, as its `__torch_function__` has it.
    """
    return _of_class(cls, OPS["alias"].apply([self], {}))


def _of_class(cls: Any, t: Tensor) -> Any:
    """A tensor of the class `cls` in the place of `t`, which nobody else holds."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"as_subclass() takes a subclass of Tensor, not {cls!r}")
    found = object.__new__(cls)
    found.array, found.node, found.leaf, found._grad = t.array, t.node, t.leaf, None
    if t.family is not None:
        found.chain = t.chain
        t.family.add(found)
    return found


def _make_subclass(cls: Any, data: Tensor, require_grad: bool = False) -> Any:
    """A tensor of the class `cls` on the memory of `data`, outside the graph: for `__new__` of subclasses."""
    storage.as_memory(data)
    alias = wrap(data.array, None)
    storage.link_detached(data, alias)
    found = _of_class(cls, alias)
    set_requires_grad(found, require_grad)
    return found


Tensor._make_subclass = staticmethod(_make_subclass)  # type: ignore[attr-defined]


def _cuda_array_interface(self: Tensor) -> Any:
    if not self.is_cuda:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()}. If CUDA data is required use "
            "tensor.cuda() to copy tensor to device memory."
        )
    return self.detach().array.__cuda_array_interface__


_read_only("__cuda_array_interface__", _cuda_array_interface, "Numba's and CuPy's description of memory on a GPU.")


@method
def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Any) -> Tensor:
    """Replace each element by `callable(element, element of x, element of y)`. On the CPU, and slow."""
    parts = [t.expand(self.shape).flatten().tolist() for t in (self, x, y)]
    return self.copy_(self.new_tensor([callable(*v) for v in zip(*parts, strict=True)]).reshape(self.shape))


@method
def module_load(self: Tensor, other: Tensor, assign: bool = False) -> Tensor:
    """What `load_state_dict` puts in this tensor's place for `other`: it with the new data, or `other` itself."""
    return other.detach() if assign else self.copy_(other).detach()


@method
def polygamma_(self: Tensor, n: int) -> Tensor:
    """In-place form of `polygamma`: the n-th derivative of digamma."""
    return inplace(self, lambda t: OPS["polygamma"](n, t))


@method
def as_strided_(self: Tensor, size: Any, stride: Any, storage_offset: Any = None) -> Tensor:
    """Let this tensor be the view `as_strided` of itself."""
    self.data = self.detach().as_strided(size, stride, storage_offset)
    return self


@method
def __delitem__(self: Tensor, index: Any) -> None:
    raise TypeError("Tensor does not support deleting items")


@function
def get_device(input: Tensor) -> int:
    """The index of the GPU that holds `input`; -1 on the CPU."""
    return input.get_device()


@function
def is_signed(input: Tensor) -> bool:
    """True where the dtype has negative numbers."""
    return input.is_signed()


for _name in (
    "is_conj",
    "is_neg",
    "is_inference",
    "is_distributed",
    "resize_as_",
    "as_strided_",
    "i0_",
    "conj_physical_",
):
    function(METHODS[_name], name=_name)
