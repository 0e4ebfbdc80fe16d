"""Convolutions (cross-correlations, as everywhere in deep learning) and their transposes, in 1 to 3 dimensions."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Tensor
from ..autograd.creation import empty
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter
from .tuples import ntuple

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

_PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class _ConvNd(Module):
    """What convolutions and their transposes share: settings, parameters, text."""

    dims = 0
    transposed = False

    def _cr_set_up(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        output_padding: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        n = self.dims
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = ntuple(kernel_size, n), ntuple(stride, n), ntuple(dilation, n)
        self.output_padding = ntuple(output_padding, n)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of same, valid")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {', '.join(_PADDING_MODES)}, but got padding_mode={padding_mode!r}"
            )
        self.padding: Any = padding if isinstance(padding, str) else ntuple(padding, n)
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._cr_edges()
        channels = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(empty(*channels, *self.kernel_size, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in:
                init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def _cr_edges(self) -> list[int]:
        """The padding at both ends of each dimension, last dimension first, for `F.pad`."""
        edges: list[int] = []
        for i in reversed(range(self.dims)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                edges += [total // 2, total - total // 2]
            else:
                edges += [0, 0] if self.padding == "valid" else [self.padding[i]] * 2
        return edges

    def extra_repr(self) -> str:
        zeros, ones = (0,) * self.dims, (1,) * self.dims
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != zeros:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if self.output_padding != zeros:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class _Conv(_ConvNd):
    _cr_function: Any = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._cr_set_up(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # With other weights than its own: subclasses that work on them call this one.
        padding = self.padding
        if self.padding_mode != "zeros":
            edges = self._reversed_padding_repeated_twice
            input, padding = F.pad(input, edges, mode=_PADDING_MODES[self.padding_mode]), 0
        return self._cr_function(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """y[n, o, t] = b[o] + Σ_{i,k} W[o, i, k] x[n, i, stride·t + dilation·k - padding].

    Shapes: x (N, C_in, L) or (C_in, L), weight (C_out, C_in / groups, K), y (N, C_out, L') with L' = ⌊(L + 2 padding -
    dilation (K - 1) - 1) / stride⌋ + 1, where C_in is in_channels, C_out out_channels, K kernel_size. padding: a
    number, "same" or "valid"; padding_mode: zeros, reflect, replicate or circular. Parameters start uniform in
    ±1/√(C_in K / groups).
    """

    dims = 1
    _cr_function = staticmethod(F.conv1d)


class Conv2d(_Conv):
    """y[n, o, t, u] = b[o] + Σ_{i,k,l} W[o, i, k, l] x[n, i, stride·t + dilation·k - padding, ...].

    Shapes: x (N, C_in, H, W) or (C_in, H, W), weight (C_out, C_in / groups, K_h, K_w), y (N, C_out, H', W'); sizes and
    options as in `Conv1d`, for each dimension: a number, or a pair (height, width).
    Source: Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """

    dims = 2
    _cr_function = staticmethod(F.conv2d)


class Conv3d(_Conv):
    """`Conv2d` with a third dimension: x (N, C_in, D, H, W), weight (C_out, C_in / groups, K_d, K_h, K_w)."""

    dims = 3
    _cr_function = staticmethod(F.conv3d)


class _ConvTransposeNd(_ConvNd):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        self._cr_set_up(
            *(in_channels, out_channels, kernel_size, stride, padding, dilation),
            *(output_padding, groups, bias, padding_mode, device, dtype),
        )

    def _output_padding(
        self,
        input: Tensor,
        output_size: Any,
        stride: Any = None,
        padding: Any = None,
        kernel_size: Any = None,
        num_spatial_dims: int | None = None,
        dilation: Any = None,
    ) -> Any:
        """What is missing between the smallest output and `output_size`; settings not given are the layer's own."""
        if output_size is None:
            return self.output_padding
        stride, padding = self.stride if stride is None else stride, self.padding if padding is None else padding
        kernel_size = self.kernel_size if kernel_size is None else kernel_size
        dilation = self.dilation if dilation is None else dilation
        n, spatial = self.dims, input.shape[-self.dims :]
        if len(output_size) not in (n, input.ndim):
            raise ValueError(
                f"{type(self).__name__}: for {input.ndim}D input, output_size must have {n} or {input.ndim} elements "
                f"(got {len(output_size)})"
            )
        extra = []
        for i, wanted in enumerate(output_size[-n:]):
            span = dilation[i] * (kernel_size[i] - 1) + 1
            least = (spatial[i] - 1) * stride[i] - 2 * padding[i] + span
            if not least <= wanted < least + stride[i]:
                raise ValueError(
                    f"requested an output size of {list(output_size)}, but in dimension {i} it can be "
                    f"{least} to {least + stride[i] - 1} (for an input of {list(spatial)})"
                )
            extra.append(wanted - least)
        return tuple(extra)

    def _cr_transpose(self, function: Any, input: Tensor, output_size: Any) -> Tensor:
        output_padding = self._output_padding(input, output_size)
        return function(
            input, self.weight, self.bias, self.stride, self.padding, output_padding, self.groups, self.dilation
        )


class ConvTranspose1d(_ConvTransposeNd):
    """The transpose of `Conv1d` (its gradient for the input), as a layer: it enlarges.

    Shapes: x (N, C_in, L), weight (C_in, C_out / groups, K), y (N, C_out, L') with L' = (L - 1) stride - 2 padding +
    dilation (K - 1) + output_padding + 1. `forward(x, output_size)` chooses output_padding.
    """

    dims = 1

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return self._cr_transpose(F.conv_transpose1d, input, output_size)


class ConvTranspose2d(_ConvTransposeNd):
    """The transpose of `Conv2d`: (N, C_in, H, W) to (N, C_out, H', W'); see `ConvTranspose1d`.

    The weight is (C_in, C_out / groups, K_h, K_w).
    """

    dims = 2

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return self._cr_transpose(F.conv_transpose2d, input, output_size)


class ConvTranspose3d(_ConvTransposeNd):
    """The transpose of `Conv3d`: (N, C_in, D, H, W) to (N, C_out, D', H', W'); see `ConvTranspose1d`.

    The weight is (C_in, C_out / groups, K_d, K_h, K_w).
    """

    dims = 3

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return self._cr_transpose(F.conv_transpose3d, input, output_size)
