"""`chainrule._C`: the few questions that model libraries ask PyTorch's core directly."""

from __future__ import annotations

from ..autograd import Generator, Tensor
from ..autograd.overrides import DisableTorchFunction, DisableTorchFunctionSubclass, current_modes, enabled
from ..autograd.tensor import plain_results as _disabled_torch_function_impl

#: the class of the class of tensors
_TensorMeta = type(Tensor)

__all__ = [
    "DisableTorchFunction",
    "DisableTorchFunctionSubclass",
    "Generator",
    "_disabled_torch_function_impl",
    "_get_tracing_state",
    "_is_tracing",
]


def _is_torch_function_enabled() -> bool:
    """Whether classes take over functions here; see `chainrule.overrides`."""
    return enabled()


def _is_torch_function_mode_enabled() -> bool:
    """Whether a mode that takes over functions holds."""
    return bool(current_modes())


def _len_torch_function_stack() -> int:
    """How many modes hold that take over functions."""
    return len(current_modes())


def _get_tracing_state() -> None:
    """None: nothing is being traced."""


def _is_tracing() -> bool:
    """False: nothing is being traced."""
    return False


def _jit_set_profiling_executor(mode: bool) -> bool:
    """False: there is no such executor."""
    return False


_jit_set_profiling_mode = _jit_set_profiling_executor


def _log_api_usage_once(*args: str) -> None:
    """Nothing: no use is logged."""


def _are_functorch_transforms_active() -> bool:
    """False: `func.vmap` and kin show themselves to nobody."""
    return False


class Value:
    """A value in a graph of TorchScript's. There are none here: programs name the class in annotations."""
