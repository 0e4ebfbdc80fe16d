"""Clipping of gradients."""

from __future__ import annotations

import math
from typing import Any

from ...autograd import FUNCTIONS, Tensor, no_grad
from ...autograd.errors import warn
from ...autograd.op import GRAPH
from ...autograd.storage import scale
from ...autograd.tracking import recording

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _list(tensors: Any) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all `tensors` together, as if they were one vector.

    RuntimeError where it is not finite, if asked to.
    """
    tensors, norm_type = _list(tensors), float(norm_type)
    if not tensors:
        return FUNCTIONS["tensor"](0.0)
    with no_grad():
        norms = [_norm(t, norm_type) for t in tensors]
        total = _norm(FUNCTIONS["stack"]([n.to(norms[0].device) for n in norms]), norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale by it anyway, set `error_if_nonfinite=False`"
        )
    return total


def _norm(t: Any, order: float) -> Any:
    if order == math.inf:
        return t.abs().amax()
    if order == 2.0:
        return GRAPH.vector_norm(t, 2)
    return t.abs().pow(order).sum().pow(1.0 / order)


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None) -> None:
    """Scale the gradients in place by max_norm / total_norm where that is below 1."""
    with no_grad():
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        if factor.device.type == "cpu" and recording() is None and factor.item() == 1.0:
            return  # on a GPU the host would have to wait to learn it, and a recorded step does the same in each replay
        for p in _list(parameters):
            g = p.grad
            if g is None:
                continue
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

    norm_type: the order of the norm; inf is the largest absolute value.
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
    with no_grad():
        for p in _list(parameters):
            if p.grad is not None:
                p.grad.clamp_(-float(clip_value), float(clip_value))
