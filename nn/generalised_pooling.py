"""Pooling beyond maximum and average: between the two, by chance, over a pyramid. All are extras of ours.

L2 and Lp pooling, which the lectures name besides, are LPPool1d to LPPool3d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..autograd import FUNCTIONS, Tensor
from ..autograd.creation import tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter
from .tuples import ntuple, shown

__all__ = ["MixedPool2d", "SpatialPyramidPool", "StochasticPool2d"]


class MixedPool2d(Module):
    """a·max + (1 - a)·mean of each window of (N, C, H, W), a = σ(mix) learned: between max and average pooling.

    Windows of kernel_size, `stride` and `padding` as in `MaxPool2d`. The parameter `mix` is one number; it starts at
    ln(p / (1 - p)) for a = p = `start`.
    Source: C.-Y. Lee, P. Gallagher, Z. Tu, "Generalizing pooling functions in convolutional neural networks", 2016.
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        start: float = 0.5,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if not 0 < start < 1:
            raise ValueError(f"MixedPool2d: start is between 0 and 1, not {start}")
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.start = padding, start
        self.mix = Parameter(tensor(math.log(start / (1 - start)), device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Start over with a = `start`."""
        init.constant_(self.mix, math.log(self.start / (1 - self.start)))

    def forward(self, input: Tensor) -> Tensor:
        share = self.mix.sigmoid()
        greatest = F.max_pool2d(input, self.kernel_size, self.stride, self.padding)
        return share * greatest + (1 - share) * F.avg_pool2d(input, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return shown(self, "kernel_size", "stride", "padding")


class SpatialPyramidPool(Module):
    """Images of any size as vectors of one length: (N, C, H, W) to (N, C Σ n²), n in `levels`.

    At each level the image is pooled to n × n by `mode` "max" or "avg", and all is put behind one another, level by
    level. Source: K. He et al., "Spatial pyramid pooling in deep convolutional networks", 2014.
    """

    def __init__(self, levels: Sequence[int] = (1, 2, 4), mode: str = "max") -> None:
        super().__init__()
        if mode not in ("max", "avg"):
            raise ValueError(f'SpatialPyramidPool: mode is "max" or "avg", not {mode!r}')
        self.levels, self.mode = tuple(levels), mode

    def forward(self, input: Tensor) -> Tensor:
        pool = F.adaptive_max_pool2d if self.mode == "max" else F.adaptive_avg_pool2d
        return FUNCTIONS["cat"]([pool(input, n).flatten(-3) for n in self.levels], -1)

    def extra_repr(self) -> str:
        return shown(self, "levels", "mode")


class StochasticPool2d(Module):
    """In training an element of each window, drawn with a probability in proportion to it; otherwise the mean of them.

    aᵢ = max(xᵢ, 0), pᵢ = aᵢ / Σ a over a window of (N, C, H, W): training gives a_l, l ~ p, evaluation Σ pᵢ aᵢ; where
    nothing is above 0, both give 0. Windows of kernel_size, `stride` and `padding` as in `MaxPool2d`.
    Source: M. Zeiler, R. Fergus, "Stochastic pooling for regularization of deep convolutional neural networks", 2013.
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride = ntuple(kernel_size, 2), ntuple(kernel_size if stride is None else stride, 2)
        self.padding = ntuple(padding, 2)

    def forward(self, input: Tensor) -> Tensor:
        batch, channels, *sizes = input.shape
        out = [
            (n + 2 * p - k) // s + 1
            for n, k, s, p in zip(sizes, self.kernel_size, self.stride, self.padding, strict=True)
        ]
        columns = F.unfold(input.relu(), self.kernel_size, padding=self.padding, stride=self.stride)
        a = columns.reshape(batch, channels, math.prod(self.kernel_size), *out)
        if self.training:
            with_sums = a.detach().cumsum(2)
            drawn = FUNCTIONS["rand"](batch, channels, 1, *out, dtype=a.dtype, device=a.device) * with_sums[:, :, -1:]
            place = (with_sums <= drawn).sum(2, keepdim=True).clamp(max=a.shape[2] - 1)
            return a.gather(2, place).squeeze(2)
        total = a.sum(2)
        return (a * a).sum(2) / FUNCTIONS["where"](total > 0, total, 1.0)

    def extra_repr(self) -> str:
        return shown(self, "kernel_size", "stride", "padding")
