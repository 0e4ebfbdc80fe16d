"""`chainrule.autograd.forward_ad`: dual numbers under PyTorch's names.

A dual tensor is recorded like one that requires a gradient, and its tangent is worked out when `unpack_dual` asks: the
gradient vᵀJ is linear in v, and its derivative for v in the direction t is J t (two backward passes). So what is
computed is forward-mode's value at reverse-mode's memory, and levels do not nest. `no_grad()` may stand around a level,
and results are then not recorded; inside of one it would stop the tangents.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .errors import OpError
from .func import own_leaf, reaches_out
from .function import pushing
from .modes import MODES, enable_grad, with_modes
from .op import GRAPH
from .tape import grad
from .tensor import Tensor

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]

#: the dual tensors of the present level with their tangents; None outside of a level
_level: list[tuple[Tensor, Tensor]] | None = None
#: what restores the modes at the end of the level, and whether ops were recorded before it
_outside: Any = None


class _Done:
    """The transform that dual tensors and seeds are leaves of: what depends on them alone is not recorded."""

    open = False


class UnpackedDualTensor(NamedTuple):
    """What `unpack_dual` returns."""

    primal: Any
    tangent: Any


def enter_dual_level() -> int:
    """Begin a level; RuntimeError inside another."""
    global _level, _outside
    if _level is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    recorded = MODES.get().grad
    _level, _outside = [], (with_modes(grad=True), recorded)  # tangents pass through no_grad() around the level
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: its tangents are gone."""
    global _level, _outside
    if _level is None:
        raise RuntimeError("Trying to exit a forward AD level but no level is entered")
    MODES.reset(_outside[0])
    _level = _outside = None


class dual_level:
    """Context in which `make_dual` and `unpack_dual` work."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exc: Any) -> None:
        exit_dual_level()


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """`tensor` with a tangent of its shape; one of another dtype is cast. level: PyTorch's, without effect."""
    if _level is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    if tuple(tensor.shape) != tuple(tangent.shape):
        raise OpError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor: the tangent, "
            f"of shape {list(tangent.shape)}, must be like the tensor, of shape {list(tensor.shape)}"
        )
    if tensor.dtype != tangent.dtype:
        tangent = tangent.to(tensor.dtype)
    with enable_grad():
        dual = GRAPH.alias(tensor) if tensor.requires_grad else own_leaf(tensor, _Done)
    _level.append((dual, tangent))
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """(primal, tangent) of a result; the tangent is None where it depends on no dual tensor.

    level: PyTorch's, without effect.
    """
    if not _level or not tensor.requires_grad:
        return UnpackedDualTensor(tensor, None)
    for dual, tangent in _level:
        if dual is tensor:
            return UnpackedDualTensor(tensor.detach(), tangent)
    duals = [dual for dual, _ in _level]
    records = MODES.get().grad and _outside[1] and reaches_out([tensor, *[t for _, t in _level if t.requires_grad]])
    primal = tensor if records else tensor.detach()
    with enable_grad():
        v = own_leaf(tensor.detach().new_zeros(tensor.shape), _Done)
        with pushing():
            found = grad(tensor, duals, v, retain_graph=True, create_graph=True, allow_unused=True)
        pairs = [(g, t) for g, (_, t) in zip(found, _level, strict=True) if g is not None]
        if not pairs:
            return UnpackedDualTensor(tensor, None)
        live = [(g, t) for g, t in pairs if g.requires_grad]
        if not live:
            return UnpackedDualTensor(primal, tensor.detach() * 0)
        roots, directions = [g for g, _ in live], [t if records else t.detach() for _, t in live]
        (tangent,) = grad(roots, v, directions, retain_graph=True, create_graph=records, materialize_grads=True)
    return UnpackedDualTensor(primal, tangent)
