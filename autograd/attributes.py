"""What a Tensor says of itself: shape, dtype, device, place in the graph; and its way to NumPy and Python."""

from __future__ import annotations

import sys
from numbers import Number
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .. import backends
from ..backends import np
from . import storage, tape
from .device import device_of
from .dtypes import BFLOAT16, differentiable, from_numpy_dtype, is_floating
from .errors import NotDense, OpError
from .modes import MODES
from .public import api, function
from .tensor import Node, Tensor, method, wrap
from .tracking import recording, refused

if TYPE_CHECKING:
    from .typed import UntypedStorage

__all__ = ["Size", "layout", "set_requires_grad", "sparse_coo", "sparse_csr", "strided"]


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple that can count its elements. iterable: the numbers."""

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        total = 1
        for n in self:
            total *= n
        return total

    def __repr__(self) -> str:
        return f"chainrule.Size({list(self)})"

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: Any) -> Size:
        return Size(super().__add__(tuple(other)))

    def __radd__(self, other: Any) -> Size:
        return Size(tuple(other) + tuple(self))

    def __mul__(self, times: Any) -> Size:
        return Size(super().__mul__(times))

    __rmul__ = __mul__


class layout:
    """How a tensor stores its elements: `chainrule.strided` all of them, `sparse_coo` and `sparse_csr` some.

    name: what it prints.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"chainrule.{self.name}"

    def __reduce__(self) -> str:
        return self.name


strided = layout("strided")
sparse_coo, sparse_csr = layout("sparse_coo"), layout("sparse_csr")


def _property(f: Any) -> Any:
    """Decorator: a property that is read only."""
    _define(f.__name__, f)
    return f


def _define(name: str, get: Any, change: Any = None, delete: Any = None, doc: str | None = None) -> None:
    setattr(Tensor, name, property(get, change, delete, doc or get.__doc__))


# -- shape and memory -------------------------------------------------------------------------------------------------


@_property
def shape(self: Tensor) -> Size:
    """The sizes of the dimensions."""
    return Size(self.array.shape)


_define("dtype", lambda self: from_numpy_dtype(self.array.dtype), doc="The element type.")
_define("device", lambda self: device_of(self.array), doc="Where the data lives.")
_define("layout", lambda self: strided, doc="`chainrule.strided`; another one for sparse tensors.")


@_property
def ndim(self: Tensor) -> int:
    """The number of dimensions."""
    return self.array.ndim


@function(name="numel")
def _numel(input: Tensor) -> int:
    """The number of elements of `input`."""
    return int(_tensor(input, "numel").array.size)


@_property
def itemsize(self: Tensor) -> int:
    """Bytes per element."""
    return self.array.itemsize


@_property
def nbytes(self: Tensor) -> int:
    """Bytes of all elements."""
    return self.array.nbytes


@method
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory under this tensor; two tensors share it where their `data_ptr()` are the same."""
    from .typed import UntypedStorage

    storage.as_memory(self)
    return UntypedStorage(backends.of(self.array).owner(self.array))


@_property
def _version(self: Tensor) -> int:
    """How often this tensor's memory was written into. A recorded in-place op takes new memory, and counts none."""
    return 0 if isinstance(self.array, backends.np.generic) else storage.version(self.array)


# -- kinds ------------------------------------------------------------------------------------------------------------


def _tensor(x: Any, name: str) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}")
    return x


@method
def is_floating_point(self: Tensor) -> bool:
    """True for the floating dtypes, which can require grad."""
    return is_floating(self.array.dtype)


@function(name="is_floating_point")
def _is_floating_point(input: Tensor) -> bool:
    """True where `input` has a floating dtype."""
    return is_floating(_tensor(input, "is_floating_point").array.dtype)


@method
def is_complex(self: Tensor) -> bool:
    """True for complex64 and complex128."""
    return self.array.dtype.kind == "c"


@function(name="is_complex")
def _is_complex(input: Tensor) -> bool:
    """True where `input` has a complex dtype."""
    return is_complex(_tensor(input, "is_complex"))


@method
def is_signed(self: Tensor) -> bool:
    """True where the dtype has negative numbers."""
    return from_numpy_dtype(self.array.dtype).is_signed


@function
def is_tensor(obj: Any) -> bool:
    """True where `obj` is a Tensor."""
    return isinstance(obj, Tensor)


@api
def is_nonzero(input: Tensor) -> bool:
    """Whether the one element of `input` is not zero; RuntimeError if there are more, or none."""
    return bool(input)


_define("is_cuda", lambda self: self.device.type == "cuda", doc="True for a tensor on a GPU.")
_define("is_cpu", lambda self: self.device.type == "cpu", doc="True for a tensor in the host's memory.")
_define("is_meta", lambda self: self.device.type == "meta", doc="True for a tensor without elements.")
for _kind in ("is_sparse", "is_quantized", "is_nested", "is_mkldnn", "is_xpu", "is_mps"):
    _define(_kind, lambda self: False, doc="False: there are no such tensors.")


@method
def get_device(self: Tensor) -> int:
    """The index of the GPU that holds this tensor; -1 on the CPU."""
    where = self.device
    return -1 if where.type == "cpu" else where.index or 0


@method
def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Whether the data lies in page-locked memory of the host (`pin_memory`)."""
    backend = backends.loaded("cupy")
    return backend is not None and isinstance(self.array, backends.np.ndarray) and backend.is_pinned(self.array)


@method
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """A copy in page-locked memory, from which a GPU copies faster; this tensor where it is there already.

    Where there is no GPU it is this tensor, too: nothing would copy from there. RuntimeError for a tensor on a GPU.
    """
    if self.is_cuda:
        raise OpError(f"cannot pin {self.type()!r}: only dense CPU tensors can be pinned")
    try:
        backend = backends.by_device("cuda")
    except (ImportError, RuntimeError):
        return self
    return self if self.is_pinned() else wrap(backend.pinned(self.array), None)


@method
def is_shared(self: Tensor) -> bool:
    """True where other processes can see the memory (`share_memory_`); a GPU's memory counts as such."""
    sharing = sys.modules.get(f"{__package__}.sharing")  # if it is not there, nothing has been shared
    return self.is_cuda or (sharing is not None and sharing.is_shared(self.array))


@method
def share_memory_(self: Tensor) -> Tensor:
    """Move the data into memory that processes share, those forked later and those spawned with this tensor.

    What they write into it, each sees at once; nothing keeps two from writing at the same time. Returns the tensor; a
    GPU's memory stays where it is. Other tensors on the former memory stay there.
    """
    if not self.is_cuda:
        from . import sharing

        storage.as_memory(self)
        self.array = sharing.shared(self.array)
        self.family, self.chain = None, ()
    return self


@api
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """True where both have the same shape."""
    return tuple(input.array.shape) == tuple(other.array.shape)


# -- place in the graph -----------------------------------------------------------------------------------------------


def _requires_grad(self: Tensor) -> bool:
    """True where gradients flow to this tensor. Setting it is for leaves."""
    return self.leaf or self.node is not None


def set_requires_grad(self: Tensor, value: bool) -> None:
    """Let a leaf take gradients, or none."""
    if self.node is not None:
        if not value:
            raise OpError(
                "you can only change requires_grad flags of leaf variables; use detach() for a tensor without history"
            )
        return
    if value and not differentiable(self.array.dtype):
        raise OpError(f"only Tensors of floating point and complex dtype can require gradients, not {self.array.dtype}")
    self.leaf = bool(value)
    if self.family is not None and not self.chain:
        self.family.leaf = self.leaf


_define("requires_grad", _requires_grad, set_requires_grad)


@method
def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Set `requires_grad` and return the tensor."""
    set_requires_grad(self, requires_grad)
    return self


#: True once a gradient that is sparse was assigned: only then does an optimizer look for one
sparse_gradients = False


def _set_grad(self: Tensor, value: Any) -> None:
    global sparse_gradients
    if value is not None:
        if not isinstance(value, Tensor):
            raise TypeError(
                f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
            )
        try:
            fits = value.array.shape == self.array.shape and value.array.dtype == self.array.dtype
        except NotDense:  # a sparse tensor says what it is like
            sparse_gradients = True
            fits = value.shape == self.shape and value.dtype == self.dtype
        if not fits:
            raise OpError(
                f"attempting to assign a gradient of size '{list(value.shape)}' and {value.dtype} to a tensor of size "
                f"'{list(self.shape)}' and {self.dtype}. Please ensure that the gradient and the tensor are the same "
                "size and dtype"
            )
    self._grad = value


def _del_grad(self: Tensor) -> None:
    self._grad = None


_define(
    "grad", attrgetter("_grad"), _set_grad, _del_grad, "The accumulated gradient; None before the first backward()."
)


@_property
def is_leaf(self: Tensor) -> bool:
    """True where no op made this tensor from others that require grad."""
    return self.node is None


@_property
def grad_fn(self: Tensor) -> Node | None:
    """The node that made this tensor."""
    if self.node is not None:
        from .vertices import show_what_nodes_keep

        show_what_nodes_keep()
    return self.node


@api
def detach(input: Tensor) -> Tensor:
    """The same memory, outside the graph."""
    storage.as_memory(input)
    result = wrap(input.array, None)
    storage.link_detached(input, result)
    return result


@method
def detach_(self: Tensor) -> Tensor:
    """Take this tensor out of the graph. RuntimeError for a view: its base could not tell."""
    if self.chain and self.requires_grad:
        raise OpError("Can't detach views in-place. Use detach() instead")
    if self.requires_grad and self.family is not None:
        storage.link_detached(self, self)  # its views stay in the graph, and it is a detached alias of theirs
    self.node, self.leaf = None, False
    return self


def _data(self: Tensor) -> Tensor:
    """This tensor's memory outside the graph; setting it gives the tensor other data."""
    return detach(self)


def _set_data(self: Tensor, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
    storage.as_memory(value)
    self.array = value.array
    self.family, self.chain = None, ()


_define("data", _data, _set_data)


@method
def backward(
    self: Tensor,
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate gradients into `.grad` of the leaves behind this tensor. See `chainrule.autograd.backward`."""
    tape.backward((self,), None if gradient is None else (gradient,), retain_graph, create_graph, inputs)


# -- to NumPy and Python ----------------------------------------------------------------------------------------------


@method
def numpy(self: Tensor, *, force: bool = False) -> Any:
    """The data as a NumPy array on the same memory.

    RuntimeError where the tensor requires grad and ops are being recorded (no `no_grad()` around), unless `force`.
    """
    if self.requires_grad and not force and MODES.get().grad:
        raise OpError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    if recording() is not None:
        raise refused("numpy()")
    backend = backends.of(self.array)
    if backend.device_of(self.array)[0] != "cpu":
        if not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                "memory first."
            )
        return backend.to_host(self.array)
    storage.as_memory(self)
    storage.share(self.array, kept=True)
    return self.array[...]


def _plain(array: Any) -> Any:
    """`array` on the host, in a dtype whose elements have Python counterparts."""
    array = backends.of(array).to_host(array)
    return array.astype("float32") if array.dtype in BFLOAT16 else array


@method
def item(self: Tensor) -> Any:
    """The one element as a Python number."""
    array = self.array
    if array.size != 1:
        raise OpError(f"a Tensor with {array.size} elements cannot be converted to Scalar")
    if array.dtype in BFLOAT16:
        return _plain(array).item()
    return array.item()


@method
def tolist(self: Tensor) -> Any:
    """The data as nested lists of Python numbers."""
    return _plain(self.array).tolist()


@method
def __len__(self: Tensor) -> int:
    if self.array.ndim == 0:
        raise TypeError("len() of a 0-d tensor")
    return self.array.shape[0]


@method
def __iter__(self: Tensor) -> Any:
    if self.array.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))


@method
def __reversed__(self: Tensor) -> Tensor:
    """The tensor with its first dimension reversed."""
    return self if self.array.ndim == 0 else self.flip(0)


@method
def __contains__(self: Tensor, element: Any) -> bool:
    if not isinstance(element, (Tensor, Number, np.ndarray)):
        raise OpError(f"`in` a tensor asks for a Tensor or a number; Tensor.__contains__ does not take {type(element)}")
    return bool((self == element).any())
