"""group_norm (and with it instance_norm) as one node. It has not run on a GPU yet.

Kept for backward: the input, and mean and 1 / sqrt(var + eps) of each group in float32. Channels-last images are
copied into C order first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .columns import column_sums_of_parts
from .launch import FLOATS, Source, blocks, contiguous, new, new_like, row_blocks, wide_loads

__all__ = ["SERVES"]

_SOURCE = Source("groups.cu", T=FLOATS, W=FLOATS, where=lambda T, W: T == W or (W == "float32" and T != "float64"))
_FORWARD, _BACKWARD, _VECTORS = (_SOURCE.kernel(f"group_{name}") for name in ("forward", "backward", "vectors"))
#: shares of the examples, each with a block for each channel
_SHARES = 16


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """As the composite: (result, what backward needs)."""
    given = [v for v in (weight, bias) if v is not None]
    kind = given[0].dtype if given else input.dtype
    if (
        input.ndim < 2
        or not input.size
        or num_groups < 1
        or input.shape[1] % num_groups
        or any(v.shape != input.shape[1:2] or v.dtype != kind for v in given)
        or (input.dtype.name, kind.name) not in _SOURCE.forms
    ):
        return NotImplemented
    x, w, b = contiguous(input), *[None if v is None else contiguous(v) for v in (weight, bias)]
    sizes = num_groups, x.shape[1] // num_groups, math.prod(x.shape[2:])
    rows, n, sums = x.shape[0] * num_groups, sizes[1] * sizes[2], "float64" if x.itemsize == 8 else "float32"
    y, mean, scale = new_like(x), new((rows,), sums), new((rows,), sums)
    block, form = row_blocks(n, x.itemsize), (x.dtype.name, kind.name)
    grid = blocks(rows, block[1])
    _FORWARD[form](grid, block, x, w, b, y, mean, scale, rows, *sizes, float(eps), wide_loads(x, y))
    return y, (x, w, mean, scale, form, sizes, [None if v is None else v.dtype for v in (weight, bias)])


def group_norm_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients for input, weight and bias."""
    x, w, mean, scale, form, sizes, kinds = residual
    if g.dtype != x.dtype:
        return NotImplemented
    g, dx, rows = contiguous(g), new_like(x), mean.size
    block = row_blocks(sizes[1] * sizes[2], x.itemsize)
    wide = wide_loads(g, x, dx)
    _BACKWARD[form](blocks(rows, block[1]), block, g, x, w, mean, scale, dx, rows, *sizes, wide)
    wanted = [kind is not None and need for kind, need in zip(kinds, needs[1:])]
    if not any(wanted):
        return dx, None, None
    examples, channels = x.shape[:2]
    shares = min(examples, _SHARES)
    parts = [new((shares, channels), mean.dtype) for _ in range(2)]
    _VECTORS[form]((channels, shares), 256, g, x, mean, scale, *parts, examples, *sizes)
    return dx, *[column_sums_of_parts(p, kind) if want else None for p, kind, want in zip(parts, kinds, wanted)]


SERVES: dict[str, Callable[..., Any]] = {"group_norm": group_norm, "group_norm.grad": group_norm_grad}
