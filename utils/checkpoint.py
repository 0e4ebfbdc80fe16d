"""Activation checkpointing: less memory for a second forward."""

from __future__ import annotations

import contextlib
import enum
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..autograd import Tensor
from ..autograd.recompute import recompute

__all__ = [
    "CheckpointFunction",
    "CheckpointPolicy",
    "check_backward_validity",
    "checkpoint",
    "checkpoint_sequential",
    "create_selective_checkpoint_contexts",
    "detach_variable",
    "get_device_states",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
    "set_device_states",
]


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    context_fn: Any = None,
    determinism_check: str = "default",
    debug: bool = False,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)` without keeping its intermediate results: backward computes them again.

    Random numbers are drawn again as they were, unless `preserve_rng_state=False`. `use_reentrant` and the options
    after it are PyTorch's; there is one way here, which serves both. context_fn, determinism_check and debug are
    PyTorch's, without effect.

    Source: T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training deep nets with sublinear memory cost", 2016.
    """
    return recompute(function, args, kwargs, preserve_rng_state)


class CheckpointFunction:
    """`checkpoint` in the form that some libraries call."""

    @staticmethod
    def apply(run_function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        """`checkpoint(run_function, *args, preserve_rng_state=preserve_rng_state)`."""
        return recompute(run_function, args, {}, preserve_rng_state)


def checkpoint_sequential(
    functions: Sequence[Any], segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Run functions (a list, or a module's children) one after another in `segments` checkpointed pieces.

    The last piece is kept as usual. With √n segments of n functions the memory grows as √n. ValueError unless there are
    1 to n. use_reentrant: PyTorch's, without effect. Source: T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training deep nets
    with sublinear memory cost", 2016.
    """
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)
    if not 1 <= segments <= len(steps):
        raise ValueError(
            f"checkpoint_sequential: {segments} segments of {len(steps)} functions; give 1 to {len(steps)}"
        )
    size = len(steps) // segments

    def piece(part: Sequence[Any]) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for step in part:
                x = step(x)
            return x

        return run

    for i in range(segments - 1):
        input = checkpoint(piece(steps[i * size : (i + 1) * size]), input, use_reentrant=use_reentrant, **kwargs)
    return piece(steps[(segments - 1) * size :])(input)


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """UserWarning where none of the tensors among `inputs` requires a gradient."""
    if not any(x.requires_grad for x in inputs if isinstance(x, Tensor)):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


def get_device_states(*args: Any) -> tuple[list[int], list[Any]]:
    """(the GPUs on which tensors among `args` lie, the states of their generators): what a program that recomputes by
    itself keeps, besides the state of the CPU's."""
    found = sorted({x.device.index or 0 for x in args if isinstance(x, Tensor) and x.device.type == "cuda"})
    return found, [_cuda().get_rng_state(index) for index in found]


def set_device_states(devices: Sequence[int], states: Sequence[Any], *, device_type: str | None = None) -> None:
    """Give the generators of these GPUs their states back. device_type: PyTorch's, without effect."""
    for index, state in zip(devices, states, strict=True):
        _cuda().set_rng_state(state, index)


def _cuda() -> Any:
    from ..runtime import cuda

    return cuda


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing: the default of PyTorch's `context_fn`."""
    return contextlib.nullcontext(), contextlib.nullcontext()


class CheckpointPolicy(enum.Enum):
    """What PyTorch's selective checkpoints do with the result of an op."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False
) -> tuple[Any, Any]:
    """A `context_fn` that would choose by op what to keep: here all of a checkpoint is computed again.

    policy_fn_or_list, allow_cache_entry_mutation: PyTorch's, without effect.
    """
    return noop_context_fn()


def set_checkpoint_early_stop(enable: bool) -> Any:
    """A context for checkpoints. enable: PyTorch's, without effect."""
    return contextlib.nullcontext()


def set_checkpoint_debug_enabled(enabled: bool | None) -> Any:
    """A context for checkpoints. enabled: PyTorch's, without effect."""
    return contextlib.nullcontext()


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The tensors of a tuple cut from the graph, as leaves that require what they required."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}")
    return tuple(x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs)
