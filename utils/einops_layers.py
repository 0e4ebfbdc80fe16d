"""Layers of einops: `einops.layers.chainrule`, which has `Rearrange`, `Reduce` and `EinMix`.

from einops.layers.chainrule import Rearrange
nn.Sequential(nn.Conv2d(3, 6, 5), Rearrange("n c h w -> n (c h w)"), nn.Linear(...))
"""

from __future__ import annotations

from typing import Any

from einops.layers import RearrangeMixin, ReduceMixin
from einops.layers._einmix import _EinmixMixin

from .. import nn
from ..autograd import FUNCTIONS, Tensor

__all__ = ["EinMix", "Rearrange", "Reduce"]


class Rearrange(RearrangeMixin, nn.Module):  # type: ignore[misc]
    """`einops.rearrange` as a layer: Rearrange(pattern, **axes_lengths).

    pattern: from which dimensions to which. axes_lengths: sizes that the input's shape does not tell.
    """

    def forward(self, input: Tensor) -> Tensor:
        return self._apply_recipe(input)


class Reduce(ReduceMixin, nn.Module):  # type: ignore[misc]
    """`einops.reduce` as a layer: Reduce(pattern, reduction, **axes_lengths).

    pattern: from which dimensions to which; those that are missing on the right are reduced. reduction: "sum", "mean",
    "max", "min", "prod", "any" or "all". axes_lengths: sizes that the input's shape does not tell.
    """

    def forward(self, input: Tensor) -> Tensor:
        return self._apply_recipe(input)


class EinMix(_EinmixMixin, nn.Module):  # type: ignore[misc]
    """A linear layer written as a pattern: EinMix("b t c -> b t d", weight_shape="c d", bias_shape="d", c=3, d=4).

    pattern: the input's and the output's dimensions. weight_shape, bias_shape: the parameters', in the same names; no
    bias without the latter. Weights are drawn from U(-sqrt(3/n), sqrt(3/n)), n the terms of a sum, and biases from
    U(-sqrt(1/n), sqrt(1/n)), as einops.layers.torch does. axes_lengths: the sizes of the weight's dimensions.
    """

    def _create_parameters(self, weight_shape: Any, weight_bound: float, bias_shape: Any, bias_bound: float) -> None:
        def drawn(shape: Any, bound: float) -> nn.Parameter:
            return nn.Parameter(FUNCTIONS["empty"](tuple(shape)).uniform_(-bound, bound))

        self.weight = drawn(weight_shape, weight_bound)
        self.register_parameter("bias", drawn(bias_shape, bias_bound) if bias_shape is not None else None)

    def _create_rearrange_layers(self, before: Any, before_lengths: Any, after: Any, after_lengths: Any) -> None:
        self.pre_rearrange = None if before is None else Rearrange(before, **before_lengths)
        self.post_rearrange = None if after is None else Rearrange(after, **after_lengths)

    def forward(self, input: Tensor) -> Tensor:
        if self.pre_rearrange is not None:
            input = self.pre_rearrange(input)
        out: Tensor = FUNCTIONS["einsum"](self.einsum_pattern, input, self.weight)
        if self.bias is not None:
            out = out + self.bias
        return out if self.post_rearrange is None else self.post_rearrange(out)
