"""Whole-step capture: a training step is recorded once, and done again without Python and without a tape.

The front (captured.py) is the same for every backend; what is recorded, and how it is done again, is the backend's
(backends/recorder.py); what the step does with tensors from outside is seen by tracking.py.
"""

from __future__ import annotations

from typing import Any

from .public import function
from .tracking import CaptureError

__all__ = ["CaptureError", "capture"]


@function
def capture(step: Any = None, *, strict: bool = False, warmup: int = 2) -> Any:
    """Record a training step once, and from then on do the same again without Python and without a tape.

    `step = chainrule.capture(step)`, or `@chainrule.capture` and `@chainrule.capture(strict=True)` above it. `step` may
    hold all that tensors go through: forward, backward, clipping, optimizers, schedulers, random numbers, changes in
    place. Its first `warmup` calls run as they are, the next is recorded while it runs, and later ones replay the
    recording: the same kernels on the same memory, so results are equal to the last bit.

    Arguments may be tensors, NumPy arrays and anything else, in tuples, lists, dicts and dataclasses. Arrays are copied
    into buffers, so each call may bring others. A call gets a recording of its own where shapes, dtypes, modes
    (`train()`, `no_grad`, autocast, threads) or arguments that are no arrays are others, or where a variable, a module
    or an attribute that the step's code names stands for something else than it did. The last 8 are kept.

    Results are tensors without a graph, whose memory the next call overwrites: take what is to be kept by `item()` or
    `clone()`. The same holds for `p.grad` and all else that the step leaves behind. Parameters, buffers and the
    optimizer's state are the ordinary ones, changed in place; what is done to them between calls (`load_state_dict`, a
    new learning rate, `manual_seed`) holds for the next call.

    At every replay happens what kernels compute, what generators draw, and what counters and rates of optimizers and
    schedulers' `step()` do. While recording, only, happens other Python, such as `print` and hooks; and data made of
    Python's numbers or NumPy's arrays within the step are constants.

    What needs a value on the host (`item()`, `bool()`, `numpy()`, a boolean index, `nonzero`) cannot be captured, nor a
    step that sets a variable or an attribute to another number or tensor, changes an argument in place or leaves a
    gradient in it, returns a float of Python's, or walks back into a graph from outside. Then everything is put back to
    where it was, the call runs as it is, and so do all further ones, after one warning that names what it was and
    where; with `strict=True` it is a `CaptureError`.

    On the CPU a replay takes no memory of its own but for kernels that are NumPy's functions, whose results are copied
    into the buffers; all buffers together are about what the step needs at its peak. An error in a replay, such as an
    index out of range, leaves what was done before it, as in the step itself.

    `print(step)` shows what a replay does, `step.program` is that as a list, `step.recordings` counts them, and
    `step.reset()` forgets them.
    """
    if step is None:
        return lambda f: capture(f, strict=strict, warmup=warmup)
    if not callable(step):
        raise TypeError(f"capture() takes a function, not {type(step).__name__}")
    from .captured import Captured

    return Captured(step, strict, warmup)
