"""Variational network for reconstruction: an unrolled gradient descent whose regulariser is learned.

Hammernik, Würfl, Pock, Maier, "A deep learning architecture for limited-angle computed tomography reconstruction",
2017; Hammernik et al., "Learning a variational network for reconstruction of accelerated MRI data", 2018:
x_{t+1} = x_t - Σ_i K_iᵀ φ_i(K_i x_t) - λ_t Aᵀ(A x_t - y). The K_i are convolutions of mean 0, the φ_i,
derivatives of potentials, weighted sums of Gaussians; A is the measurement.
"""

from collections.abc import Callable
from math import prod

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import empty, linspace, zeros
from ..nn import functional as F


class GaussianActivations(nn.Module):
    """φ_c(x) = Σ_j w_cj exp(-(x - μ_j)² / 2σ²) for each channel c of (N, channels, H, W): μ from -reach to reach."""

    centers: Tensor

    def __init__(self, channels: int, count: int = 31, reach: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("centers", linspace(-reach, reach, count))
        self.width = 2 * reach / (count - 1)
        self.weight = nn.Parameter(empty(channels, count))
        with no_grad():
            self.weight.copy_(0.4 * self.centers.expand(channels, count))  # nearly linear at first

    def forward(self, x: Tensor) -> Tensor:
        bumps = (-0.5 * ((x.unsqueeze(-1) - self.centers) / self.width).square()).exp()
        return (bumps * self.weight[:, None, None]).sum(-1)


class VariationalStep(nn.Module):
    """One step of descent, images (N, 1, H, W) → images; `residual(x)` is Aᵀ(A x - y)."""

    def __init__(self, filters: int = 24, kernel_size: int = 13, gaussians: int = 31, reach: float = 1.0) -> None:
        super().__init__()
        self.kernel = nn.Parameter(nn.init.normal_(empty(filters, 1, kernel_size, kernel_size)))
        with no_grad():
            self.kernel /= (prod(self.kernel.shape[1:]) * filters) ** 0.5
        self.activation = GaussianActivations(filters, gaussians, reach)
        self.weight = nn.Parameter(zeros(1))  # log λ

    def forward(self, x: Tensor, residual: Callable[[Tensor], Tensor]) -> Tensor:
        kernel = self.kernel - self.kernel.mean((2, 3), keepdim=True)
        pad = kernel.shape[-1] // 2
        regulariser = F.conv_transpose2d(self.activation(F.conv2d(x, kernel, padding=pad)), kernel, padding=pad)
        return x - regulariser - self.weight.exp() * residual(x)


class VariationalNetwork(nn.Module):
    """A first image (N, 1, H, W) and the residual Aᵀ(A x - y) of its data → the image after `steps` steps.

    Args:
        steps: of gradient descent, each with parameters of its own.
        filters, kernel_size: of each step's convolutions.
        gaussians, reach: of its activations.

    Source: K. Hammernik et al., "Learning a variational network for reconstruction of accelerated MRI data", 2018.
    """

    def __init__(
        self, steps: int = 5, filters: int = 24, kernel_size: int = 13, gaussians: int = 31, reach: float = 1.0
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"VariationalNetwork needs an odd kernel_size, got {kernel_size}")
        self.steps = nn.ModuleList(VariationalStep(filters, kernel_size, gaussians, reach) for _ in range(steps))

    def forward(self, x: Tensor, residual: Callable[[Tensor], Tensor]) -> Tensor:
        for step in self.steps:
            x = step(x, residual)
        return x
