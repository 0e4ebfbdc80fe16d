"""Clipping of gradients.

On a GPU the norm is one pass over all gradients and the scaling another (backends/cupy/many.py), whose coefficient the
host never sees.
"""

from __future__ import annotations

import math
from typing import Any

from ...autograd import FUNCTIONS, Tensor, no_grad
from ...autograd.errors import warn
from ...autograd.op import GRAPH, raw
from ...autograd.storage import dense_order, mark_all_written, scale
from ...autograd.tensor import wrap
from ...autograd.tracking import recording

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _list(tensors: Any) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all `tensors` together, as if they were one vector; norm_type: its order, inf the largest magnitude.

    error_if_nonfinite: RuntimeError where it is NaN or infinite.
    """
    tensors, norm_type = _list(tensors), float(norm_type)
    if not tensors:
        return FUNCTIONS["tensor"](0.0)
    with no_grad():
        step = _together("total_norm", tensors) if norm_type >= 0 else None
        whole = NotImplemented if step is None else step([t.array for t in tensors], norm_type)
        if whole is not NotImplemented:
            total = wrap(whole, None)
        else:
            norms = [_norm(t, norm_type) for t in tensors]
            total = _norm(FUNCTIONS["stack"]([n.to(norms[0].device) for n in norms]), norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale by it anyway, set `error_if_nonfinite=False`"
        )
    return total


def _together(name: str, tensors: list[Tensor]) -> Any:
    """The backend's kernel over many arrays, where it has one, and all fill memory on one device, in one dtype."""
    first = tensors[0]
    step = raw(first.array).backend.steps.get(name)
    if step is None or not first.is_floating_point() or len({(t.dtype, t.device) for t in tensors}) > 1:
        return None
    return None if any(t.requires_grad or dense_order(t.array) is None for t in tensors) else step


def _norm(t: Any, order: float) -> Any:
    if order == math.inf:
        return t.abs().amax()
    if order == 2.0:
        return GRAPH.vector_norm(t, 2)
    return t.abs().pow(order).sum().pow(1.0 / order)


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None) -> None:
    """Scale the gradients in place by max_norm / total_norm where that is below 1."""
    grads = [p.grad for p in _list(parameters) if p.grad is not None]
    with no_grad():
        step = _together("clip_by_norm", [*grads, total_norm]) if grads and isinstance(total_norm, Tensor) else None
        if step is not None:
            arrays = [g.array for g in grads]
            if step(arrays, total_norm.array, float(max_norm)) is not NotImplemented:
                mark_all_written(arrays)
                return
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        if factor.device.type == "cpu" and recording() is None and factor.item() == 1.0:
            return  # on a GPU the host would have to wait to learn it, and a recorded step does the same in each replay
        for g in grads:
            if g.requires_grad:
                g.mul_(factor.to(g.device))
            else:
                scale(g, factor.to(device=g.device, dtype=g.dtype).array)


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients in place so that their norm, as one vector, is at most `max_norm`; returns the norm before.

    norm_type: the order of the norm; inf is the largest absolute value. error_if_nonfinite: RuntimeError where it is
    NaN or infinite. Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural
    networks", 2013.
    """
    parameters = _list(parameters)
    total = get_total_norm([p.grad for p in parameters if p.grad is not None], norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_norm(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The former name of `clip_grad_norm_`, with PyTorch's FutureWarning."""
    warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Clamp each element of the gradients in place to ±clip_value."""
    grads = [p.grad for p in _list(parameters) if p.grad is not None]
    with no_grad():
        step = _together("clip_by_value", grads) if grads else None
        if step is not None:
            arrays = [g.array for g in grads]
            if step(arrays, float(clip_value)) is not NotImplemented:
                mark_all_written(arrays)
                return
        for g in grads:
            g.clamp_(-float(clip_value), float(clip_value))
