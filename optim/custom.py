"""What optimizers written outside the library import from `optim.optimizer`: PyTorch's helpers, by their names.

Nothing is compiled or captured here, and tensors are real, so that several of them have nothing to do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import Tensor, float32, float64, get_default_dtype, is_grad_enabled, set_grad_enabled

__all__ = ["group_by_device_and_dtype"]

_params_doc = "params: tensors, (name, tensor) pairs or dicts of groups."
_capturable_doc = "capturable (bool): accepted; nothing is captured in a graph here. Default: False"
_differentiable_doc = "differentiable (bool): whether steps are recorded for backward. Default: False"
_foreach_doc = "foreach (bool): accepted, as PyTorch's choice between two ways of the same step. Default: None"
_fused_doc = "fused (bool): accepted, as PyTorch's choice between two ways of the same step. Default: None"
_maximize_doc = "maximize (bool): ascend instead of descend. Default: False"


def _get_value(x: Any) -> Any:
    """A number: the item of a tensor, anything else as it is."""
    return x.item() if isinstance(x, Tensor) else x


def _to_scalar(x: Any) -> Any:
    """A tensor of one element as one of no dimension; anything else as it is."""
    return x.squeeze() if isinstance(x, Tensor) and len(x.shape) else x


def _get_scalar_dtype(is_fused: bool | None = None) -> Any:
    """The dtype of counters: the default dtype, float32 for fused steps."""
    return float64 if not is_fused and get_default_dtype() is float64 else float32


def _dispatch_sqrt(x: Any) -> Any:
    """The square root of a number or a tensor."""
    return x.sqrt() if isinstance(x, Tensor) else x**0.5


def _stack_if_compiling(x: Any) -> Any:
    """x: nothing is compiled here."""
    return x


def _view_as_real(params: Any, *state_and_grads: Any) -> None:
    """Nothing: the tensors are real."""


def _get_capturable_supported_devices(supports_xla: bool = True) -> list[str]:
    """Device types whose steps PyTorch captures in graphs."""
    return ["cuda", "xpu", "hpu"] + ["xla"] * supports_xla


def _default_to_fused_or_foreach(params: Any, differentiable: bool, use_fused: bool = False) -> tuple[bool, bool]:
    """(fused, foreach) where a program chose neither: foreach for tensors on a GPU, unless the step is recorded."""
    if differentiable:
        return False, False
    given = [p for p in params if p is not None]
    fused = use_fused and all(p.is_floating_point() for p in given)
    return fused, not fused and all(p.device.type == "cuda" for p in given)


def _use_grad_for_differentiable(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of `step`: gradients are recorded in it where the option `differentiable` says so."""

    @functools.wraps(func)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = is_grad_enabled()
        set_grad_enabled(self.defaults["differentiable"])
        try:
            return func(self, *args, **kwargs)
        finally:
            set_grad_enabled(before)

    return call


def _disable_dynamo_if_unsupported(single_tensor_fn: Any = None) -> Callable[[Any], Any]:
    """A decorator that returns the function itself."""
    return lambda func: func


def group_by_device_and_dtype(tensorlistlist: Sequence[Sequence[Any]], with_indices: bool = False) -> dict[Any, Any]:
    """Lists of tensors of one length each, split by the device and dtype of the first list's tensors.

    {(device, dtype): (lists, indices)}: the lists have the members of that group alone, and `indices`, where asked
    for, says which those are; members of the other lists may be None.
    """
    if not tensorlistlist or not tensorlistlist[0]:
        return {}
    groups: dict[Any, tuple[list[list[Any]], list[int]]] = {}
    for i, row in enumerate(zip(*tensorlistlist, strict=True)):
        lists, indices = groups.setdefault((row[0].device, row[0].dtype), ([[] for _ in row], []))
        for members, member in zip(lists, row, strict=True):
            members.append(member)
        if with_indices:
            indices.append(i)
    return groups
