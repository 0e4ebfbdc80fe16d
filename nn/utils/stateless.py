"""`functional_call` under its former path."""

from __future__ import annotations

from typing import Any

from ...autograd import func
from ...autograd.errors import warn
from ..module import Module

__all__ = ["functional_call"]


def functional_call(
    module: Module,
    parameters_and_buffers: Any,
    args: Any = None,
    kwargs: Any = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`chainrule.func.functional_call`; this path is deprecated in PyTorch, hence the FutureWarning.

    tie_weights, strict: as there.
    """
    warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be removed in a future "
        "version of PyTorch. Please use `torch.func.functional_call` instead which is a drop-in replacement.",
        FutureWarning,
    )
    return func.functional_call(module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict)


def _reparametrize_module(
    module: Module,
    parameters_and_buffers: Any,
    tie_weights: bool = False,
    strict: bool = False,
    stack_weights: bool = False,
) -> Any:
    """A block in which a module has these parameters and buffers: `with` it, libraries call the module themselves.

    tie_weights, strict: as of `chainrule.func.functional_call`. stack_weights: PyTorch's, without effect.
    """
    return func.replaced(module, parameters_and_buffers, tie_weights, strict)
