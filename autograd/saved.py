"""`chainrule.autograd.graph`: what nodes keep, in other hands; edges of the graph; hooks on several tensors.

Inside `saved_tensors_hooks(pack, unpack)` every array that an op keeps goes through `pack` as a Tensor, what it returns
is kept instead, and `unpack` must give the Tensor back when backward asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from itertools import zip_longest
from typing import Any

from .. import backends
from . import storage
from .edges import GradientEdge
from .errors import OpError
from .hooks import RemovableHandle
from .modes import MODES, with_modes
from .plan import Plan
from .tensor import AccumulateGrad, Node, Tensor, wrap

__all__ = [
    "GradientEdge",
    "Node",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]

#: the hooks of this context, the innermost last
HOOKS: ContextVar[tuple[Any, ...]] = ContextVar("chainrule_saved_tensors_hooks", default=())
_REFUSED: ContextVar[str | None] = ContextVar("chainrule_saved_tensors_refused", default=None)


class saved_tensors_hooks:
    """Context: what ops keep goes through `pack_hook(tensor)`, and comes back by `unpack_hook(packed)`.

    Of nested contexts the innermost one serves. The hooks run without recording.
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook
        self._tokens: list[tuple[Token[Any], Token[Any]]] = []

    def __enter__(self) -> Any:
        message = _REFUSED.get()
        if message is not None:
            raise RuntimeError(message)
        self._tokens.append((HOOKS.set((*HOOKS.get(), self)), with_modes(packing=True)))
        return self

    def __exit__(self, *exc: Any) -> None:
        hooks, modes = self._tokens.pop()
        MODES.reset(modes)
        HOOKS.reset(hooks)


class save_on_cpu(saved_tensors_hooks):
    """Context: what ops keep is moved to the host's memory, and back when backward asks for it.

    device_type: PyTorch's, without effect.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(t: Tensor) -> Any:
            return t.device, t.clone() if t.device.type == "cpu" else t.cpu()

        super().__init__(pack, lambda packed: packed[1].to(packed[0]))


class disable_saved_tensors_hooks:
    """Context in which entering `saved_tensors_hooks` raises RuntimeError with `error_message`."""

    def __init__(self, error_message: str) -> None:
        self.message = error_message
        self._tokens: list[Any] = []

    def __enter__(self) -> None:
        self._tokens.append(_REFUSED.set(self.message))

    def __exit__(self, *exc: Any) -> None:
        _REFUSED.reset(self._tokens.pop())


class allow_mutation_on_saved_tensors(saved_tensors_hooks):
    """Context: what ops keep may be written into, and backward uses the values that it had. Each is copied."""

    def __init__(self) -> None:
        super().__init__(lambda t: t.detach().clone(), lambda t: t)


class _Packed:
    """In place of what a node kept: the same tuple with packed arrays."""

    __slots__ = ("hooks", "values")

    def __init__(self, node: Node, hooks: saved_tensors_hooks) -> None:
        self.hooks = hooks
        places = node.plan.sources if type(node.plan) is Plan else ()
        token = with_modes(grad=False, packing=False)
        try:
            self.values = tuple(
                [
                    self._pack(value, node.parents[k] if k < len(node.parents) else None)
                    for value, k in zip_longest(node.saved, places, fillvalue=len(node.parents))
                ]
            )
        finally:
            MODES.reset(token)

    def _pack(self, value: Any, parent: Any = None) -> Any:
        """parent: the vertex of the input that the value is, if it is one."""
        if type(value) is tuple:
            return tuple([self._pack(v) for v in value])
        if not _is_array(value):
            return value
        if type(parent) is Node and parent.shape == value.shape and parent.dtype == value.dtype:
            return _Slot(self.hooks.pack_hook(wrap(value, parent)))
        leaf = isinstance(parent, Tensor) and parent.array is value
        return _Slot(self.hooks.pack_hook(parent if leaf else wrap(value, None)))

    def restore(self, node: Node) -> Any:
        """What the node kept."""
        token = with_modes(grad=False, packing=False)
        try:
            return self._unpack(self.values)
        finally:
            MODES.reset(token)

    def _unpack(self, value: Any) -> Any:
        if type(value) is tuple:
            return tuple([self._unpack(v) for v in value])
        if type(value) is _Slot:
            found = self.hooks.unpack_hook(value.packed)
            if not isinstance(found, Tensor):
                raise TypeError(
                    f"Output of saved tensor unpack_hook expected to be a Tensor, got {type(found).__name__}"
                )
            return found.array
        return value


class _Slot:
    __slots__ = ("packed",)

    def __init__(self, packed: Any) -> None:
        self.packed = packed


def _is_array(value: Any) -> bool:
    if isinstance(value, (Tensor, int, float, str)) or not hasattr(value, "nbytes"):
        return False
    return hasattr(value, "dtype") and hasattr(value, "strides") and type(value) is not backends.np.dtype


def pack(result: Any) -> None:
    """Hand what the node of `result` keeps to the hooks of this context."""
    first = result if isinstance(result, Tensor) else next((t for t in result if t.node is not None), None)
    node = None if first is None else first.node
    if node is not None and not isinstance(result, Tensor):
        node = node.parents[0]  # the op's node, behind the one that picks an output
    if type(node) is Node and type(node.saved) is tuple and node.saved:
        node.saved = _Packed(node, HOOKS.get()[-1])


# -- edges and hooks --------------------------------------------------------------------------------------------------


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where the gradient of `tensor` arrives: its node, or the end of the path for a leaf."""
    if not tensor.requires_grad:
        raise OpError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    from .vertices import node_of_op

    if tensor.node is None:
        return GradientEdge(AccumulateGrad(tensor), 0)
    return GradientEdge(tensor.grad_fn, node_of_op(tensor.node)[1])


class Handles:
    """Several hooks' handles as one."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Take the hooks out."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> Handles:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


def register_multi_grad_hook(tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all") -> Any:
    """Call `fn` when the gradients of all `tensors` are there, with the list of them; of "any", with the first one.

    mode: "all" or "any".
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    found: dict[int, Any] = {}

    def arrived(index: int) -> Callable[[Any], None]:
        def hook(g: Any) -> None:
            if mode == "any":
                if not found:
                    found[index] = g
                    fn(g)
            else:
                found[index] = g
                if len(found) == len(tensors):
                    grads = [found[i] for i in range(len(tensors))]
                    found.clear()
                    fn(grads)

        return hook

    return Handles([t.register_hook(arrived(i)) for i, t in enumerate(tensors)])


def increment_version(tensor: Any) -> None:
    """Note that the memory of a tensor (or of several) was written into by other means."""
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        storage.mark_written(t.array, storage.user_place())
