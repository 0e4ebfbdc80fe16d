"""Max-norm regularisation: after each step the weights of every unit are brought back into a ball."""

from __future__ import annotations

import math
from typing import Any

from ...autograd import Tensor, no_grad

__all__ = ["max_norm_"]


def max_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0, dim: int = 0) -> None:
    """Project each slice of the parameters along `dim` onto the ball of radius `max_norm`, in place.

    w_i ← w_i · min(1, max_norm / ‖w_i‖). Slices along dim 0 are the units of Linear (out, in) and of convolutions
    (out, in, ...): call it after `optimizer.step()` on the weights, not on biases. norm_type: 2 is the projection; for
    other norms (inf: the largest magnitude) it is the same scaling. ValueError for a negative max_norm.
    An extra of ours. Source: N. Srivastava et al., "Dropout", 2014, section 5.1.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm_: a norm is not negative, got max_norm={max_norm}")
    with no_grad():
        for p in [parameters] if isinstance(parameters, Tensor) else parameters:
            rows = p.detach().movedim(dim, 0).reshape(p.shape[dim], -1)
            norms = rows.abs().amax(1) if norm_type == math.inf else rows.norm(norm_type, dim=1)
            factor = max_norm / norms.clamp(min=max_norm) if max_norm else norms * 0
            sizes = [-1 if i == dim % p.ndim else 1 for i in range(p.ndim)]
            p.mul_(factor.reshape(sizes))
