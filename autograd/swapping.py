"""`chainrule.utils.swap_tensors`: two tensors change places under their names."""

from __future__ import annotations

from .tensor import WATCHED, Tensor

__all__ = ["swap_tensors"]

_SLOTS = ("array", "node", "leaf", "_grad")


def swap_tensors(t1: Tensor, t2: Tensor) -> None:
    """Swap two tensors: who holds `t1` then sees what was `t2`, its class, data, gradient and hooks, and vice versa.

    The objects stay where they are, in optimizers and modules. TypeError for what is no Tensor.
    """
    for t in (t1, t2):
        if not isinstance(t, Tensor):
            raise TypeError(f"swap_tensors takes two Tensors, not {type(t).__name__}")
    hooked = t1.after_hooks is not None, t2.after_hooks is not None
    t1.__class__, t2.__class__ = t2.__class__, t1.__class__
    t1.__dict__, t2.__dict__ = t2.__dict__, t1.__dict__
    for slot in _SLOTS:
        one, two = getattr(t1, slot), getattr(t2, slot)
        setattr(t1, slot, two)
        setattr(t2, slot, one)
    for t, has in ((t1, hooked[1]), (t2, hooked[0])):
        if has and not any(t is w for w in WATCHED):
            WATCHED.add(t)
