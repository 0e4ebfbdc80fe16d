"""Pooling: windows of the input reduced to one number each."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor
from . import functional as F
from .module import Module
from .tuples import ntuple, shown, single

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]


class _MaxPoolNd(Module):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def _cr_pool(self, function: Any, input: Tensor) -> Any:
        return function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )

    def extra_repr(self) -> str:
        return shown(self, "kernel_size", "stride", "padding", "dilation", "ceil_mode")


class MaxPool1d(_MaxPoolNd):
    """The largest element of each window; stride defaults to kernel_size, the padding counts as -∞.

    Shapes: (N, C, L) or (C, L) to L' = ⌊(L + 2 padding - dilation (kernel_size - 1) - 1) / stride⌋ + 1 (⌈·⌉ under
    ceil_mode). return_indices: (output, indices of the elements taken), for MaxUnpool1d.
    """

    def forward(self, input: Tensor) -> Any:
        return self._cr_pool(F.max_pool1d, input)


class MaxPool2d(_MaxPoolNd):
    """The largest element of each window of (N, C, H, W) or (C, H, W); see MaxPool1d."""

    def forward(self, input: Tensor) -> Any:
        return self._cr_pool(F.max_pool2d, input)


class MaxPool3d(_MaxPoolNd):
    """The largest element of each window of (N, C, D, H, W) or (C, D, H, W); see MaxPool1d."""

    def forward(self, input: Tensor) -> Any:
        return self._cr_pool(F.max_pool3d, input)


class _MaxUnpoolNd(Module):
    dims = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = ntuple(kernel_size, self.dims)
        self.stride = self.kernel_size if stride is None else ntuple(stride, self.dims)
        self.padding = ntuple(padding, self.dims)

    def extra_repr(self) -> str:
        return shown(self, "kernel_size", "stride", "padding")


class MaxUnpool1d(_MaxUnpoolNd):
    """The values back where `MaxPool1d` (with return_indices) took them, zeros elsewhere; its kernel_size, stride,
    padding.

    `forward(x, indices, output_size)`: (N, C, L') or (C, L') to (N, C, L) or (C, L), L = (L' - 1) stride - 2 padding +
    kernel_size unless output_size says otherwise.
    """

    dims = 1

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return F.max_unpool1d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpoolNd):
    """The values back where `MaxPool2d` (with return_indices) took them, zeros elsewhere; see `MaxUnpool1d`.

    `forward(x, indices, output_size)`: (N, C, H', W') or (C, H', W') to (N, C, H, W) or (C, H, W).
    """

    dims = 2

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return F.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpoolNd):
    """The values back where `MaxPool3d` (with return_indices) took them, zeros elsewhere; see `MaxUnpool1d`.

    `forward(x, indices, output_size)`: (N, C, D', H', W') or (C, D', H', W') to (N, C, D, H, W) or (C, D, H, W).
    """

    dims = 3

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return F.max_unpool3d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _AvgPoolNd(Module):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def _cr_pool(self, function: Any, input: Tensor) -> Tensor:
        return function(
            *(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad),
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return shown(self, "kernel_size", "stride", "padding")


class AvgPool1d(_AvgPoolNd):
    """The mean of each window of kernel_size elements, a window every `stride` (by default kernel_size).

    Shapes: (N, C, L) or (C, L) to (N, C, L') or (C, L'), L' = ⌊(L + 2 padding - kernel_size) / stride⌋ + 1; ceil_mode
    rounds up.
    count_include_pad: the zeros of the padding count.
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        stride = None if stride is None else single(stride)
        super().__init__(single(kernel_size), stride, single(padding), ceil_mode, count_include_pad)

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_AvgPoolNd):
    """The mean of each window of (N, C, H, W) or (C, H, W), or its sum over divisor_override; see AvgPool1d."""

    def forward(self, input: Tensor) -> Tensor:
        return self._cr_pool(F.avg_pool2d, input)


class AvgPool3d(_AvgPoolNd):
    """The mean of each window of (N, C, D, H, W) or (C, D, H, W), or its sum over divisor_override; see AvgPool1d."""

    def forward(self, input: Tensor) -> Tensor:
        return self._cr_pool(F.avg_pool3d, input)


class _LPPoolNd(Module):
    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def extra_repr(self) -> str:
        return shown(self, "norm_type", "kernel_size", "stride", "ceil_mode")


class LPPool1d(_LPPoolNd):
    """(Σ xᵖ)^(1/p) of each window, p = norm_type: 1 is the sum, ∞ would be the maximum.

    Shapes: (N, C, L) or (C, L); kernel_size, stride and ceil_mode as in `AvgPool1d`, without padding.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool1d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool2d(_LPPoolNd):
    """(Σ xᵖ)^(1/p) of each window of (N, C, H, W) or (C, H, W), p = norm_type; see LPPool1d."""

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool2d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool3d(_LPPoolNd):
    """(Σ xᵖ)^(1/p) of each window of (N, C, D, H, W) or (C, D, H, W), p = norm_type; see LPPool1d."""

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool3d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class _AdaptiveAvgPoolNd(Module):
    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        return shown(self, "output_size")


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Means over windows chosen such that the output has `output_size` L': window i is ⌊iL/L'⌋ to ⌈(i+1)L/L'⌉.

    Shapes: (N, C, L) or (C, L) to (N, C, L') or (C, L').
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Means over windows chosen such that the output has `output_size` (H', W'); None keeps that size.

    Shapes: (N, C, H, W) or (C, H, W) to (N, C, H', W') or (C, H', W').
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Means over windows chosen such that the output has `output_size` (D', H', W'); None keeps that size.

    Shapes: (N, C, D, H, W) or (C, D, H, W) to (N, C, D', H', W') or (C, D', H', W').
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool3d(input, self.output_size)


class _AdaptiveMaxPoolNd(Module):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def extra_repr(self) -> str:
        return shown(self, "output_size")


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """Maxima over windows chosen such that the output has `output_size` L', as those of `AdaptiveAvgPool1d`.

    Shapes: (N, C, L) or (C, L) to (N, C, L') or (C, L'). return_indices: the positions of the maxima as well, in L.
    """

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """Maxima over windows chosen such that the output has `output_size` (H', W'); None keeps that size.

    Shapes: (N, C, H, W) or (C, H, W). return_indices: see `AdaptiveMaxPool1d`; positions are those in the flattened
    plane.
    """

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """Maxima over windows chosen such that the output has `output_size` (D', H', W'); None keeps that size.

    Shapes: (N, C, D, H, W) or (C, D, H, W). return_indices: see `AdaptiveMaxPool1d`; positions in the flattened volume.
    """

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool3d(input, self.output_size, self.return_indices)
