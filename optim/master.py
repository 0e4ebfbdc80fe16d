"""Master weights: float32 copies of parameters in 16 bits, which an optimizer updates and writes the parameters from.

A step that is small beside a parameter is lost where the parameter itself, with 8 or 11 bits of precision, takes it; in
the copy it adds up. With `master_weights=True` state is in float32 too, and `state[p]["master_param"]` is the copy,
which `state_dict` keeps. A parameter that was changed otherwise (weights loaded, say) is noticed, and its copy follows,
element by element, where the two differ by more than rounding.

Source: Micikevicius et al., Mixed Precision Training (2018), section 3.1. PyTorch's own optimizers have none.
"""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor, float32
from ..autograd.op import raw
from ..autograd.storage import version
from ..autograd.tensor import wrap

__all__ = ["MASTER", "fresh_master", "keeps_master", "refreshed"]

#: the name in a parameter's state
MASTER = "master_param"


def keeps_master(p: Tensor, group: dict[str, Any]) -> bool:
    """Whether this parameter has a float32 copy."""
    return bool(group.get("master_weights")) and p.is_floating_point() and p.element_size() == 2


def fresh_master(p: Tensor) -> Tensor:
    """A float32 copy of a parameter."""
    return wrap(p.array.astype(float32.dtype), None)


def refreshed(params: list[Tensor], masters: list[Tensor], versions: list[int]) -> None:
    """Let the copies follow the parameters that were written into since, where more than rounding differs."""
    for p, master, seen in zip(params, masters, versions):
        if version(p.array) != seen:
            xp, copy = raw(p.array).backend.xp, master.array
            copy[...] = xp.where(copy.astype(p.array.dtype) == p.array, copy, p.array.astype(copy.dtype))
