"""Activation checkpointing: less memory for a second forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.recompute import recompute

__all__ = ["checkpoint", "checkpoint_sequential"]


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
    after it are PyTorch's; there is one way here, which serves both.
    """
    return recompute(function, args, kwargs, preserve_rng_state)


def checkpoint_sequential(
    functions: Sequence[Any], segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Run functions one after another in `segments` checkpointed pieces."""
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
