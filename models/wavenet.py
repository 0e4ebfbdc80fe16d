"""WaveNet: van den Oord et al., "WaveNet: a generative model for raw audio", 2016.

p(x_1 ... x_T) = Π_t p(x_t | x_1 ... x_{t-1}), by convolutions that see no later sample. A layer is z = tanh(W_f ∗ x)
σ(W_g ∗ x); 1x1 convolutions of z are added to x and to the skip connections. Dilations double from layer to layer, so i
layers of k taps see 1 + (k - 1)(2^i - 1) samples.
"""

import math
from typing import Any

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.ops.joining import cat
from ..autograd.random import multinomial
from ..nn import functional as F


def mu_law(x: Tensor, classes: int = 256) -> Tensor:
    """Samples in [-1, 1] → their numbers 0 ... classes - 1, by sign(x) ln(1 + μ|x|) / ln(1 + μ), μ = classes - 1."""
    mu = classes - 1
    companded = x.sign() * (mu * x.abs()).log1p() / math.log1p(mu)
    return ((companded + 1) / 2 * mu + 0.5).floor().long()


def mu_law_inverse(number: Tensor, classes: int = 256) -> Tensor:
    """Numbers → samples in [-1, 1]."""
    mu = classes - 1
    companded = 2 * number.float() / mu - 1
    return companded.sign() * (companded.abs() * math.log1p(mu)).expm1() / mu


class CausalConv1d(nn.Conv1d):
    """A convolution of (B, C, T) whose output at t depends on inputs up to t: zeros are put before the first one."""

    def forward(self, input: Tensor) -> Tensor:
        reach = (self.kernel_size[0] - 1) * self.dilation[0]
        return super().forward(F.pad(input, (reach, 0)))


class GatedLayer(nn.Module):
    """x (B, R, T) → (x + W_r z, W_s z), z = tanh(W_f ∗ x) σ(W_g ∗ x)."""

    def __init__(self, residual: int, gates: int, skip: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.filter = CausalConv1d(residual, gates, kernel_size, dilation=dilation)
        self.gate = CausalConv1d(residual, gates, kernel_size, dilation=dilation)
        self.residual, self.skip = nn.Conv1d(gates, residual, 1), nn.Conv1d(gates, skip, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.filter(x).tanh() * self.gate(x).sigmoid()
        return x + self.residual(z), self.skip(z)


class WaveNet(nn.Module):
    """Sample numbers (B, T) → logits of the next ones (B, classes, T).

    Args:
        classes: number of values of a sample.
        layers: per stack, with dilations 1, 2, 4, ...
        stacks: how many.
        residual, gates, skip: channels of the residual path, of the gated units, of the skip connections.
        kernel_size: taps.

    Source: A. van den Oord et al., "WaveNet: a generative model for raw audio", 2016.
    """

    def __init__(
        self,
        classes: int = 256,
        layers: int = 10,
        stacks: int = 3,
        residual: int = 32,
        gates: int = 32,
        skip: int = 256,
        kernel_size: int = 2,
    ) -> None:
        super().__init__()
        self.classes, self.kernel_size = classes, kernel_size
        self.input = CausalConv1d(classes, residual, 1)
        self.dilations = [2**i for i in range(layers)] * stacks
        self.layers = nn.ModuleList([GatedLayer(residual, gates, skip, kernel_size, d) for d in self.dilations])
        self.output = nn.Sequential(nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(), nn.Conv1d(skip, classes, 1))

    @property
    def receptive_field(self) -> int:
        """How many samples an output depends on."""
        return 1 + (self.kernel_size - 1) * sum(self.dilations)

    def forward(self, x: Tensor) -> Tensor:
        h = self.input(F.one_hot(x, self.classes).mT.to(self.output[1].weight.dtype))
        total: Any = 0
        for layer in self.layers:
            h, skip = layer(h)
            total = total + skip
        return self.output(total)

    @no_grad()
    def generate(self, start: Tensor, length: int, temperature: float = 1.0, generator: Any = None) -> Tensor:
        """`start` (B, T) and `length` samples more, drawn one by one; of the past only the receptive field is read."""
        for _ in range(length):
            logits = self(start[:, -self.receptive_field :])[:, :, -1]
            drawn = multinomial(F.softmax(logits / temperature, 1), 1, generator=generator)
            start = cat([start, drawn], 1)
        return start
