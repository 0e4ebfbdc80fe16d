"""Generative adversarial networks.

Goodfellow et al., "Generative adversarial nets", 2014: min_G max_D E[log D(x)] + E[log(1 - D(G(z)))].
Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional GANs", 2016 (DCGAN).
Gulrajani et al., "Improved training of Wasserstein GANs", 2017 (WGAN-GP): E[D(G(z))] - E[D(x)] +
λ E[(‖∇D(x̂)‖ - 1)²], x̂ between real and false: the penalty's gradient is a second derivative.
"""

from .. import nn
from ..autograd import Tensor, grad
from ..autograd.random import rand


class Generator(nn.Module):
    """Noise (N, z) or (N, z, 1, 1) → images (N, channels, size, size) in [-1, 1]; size a power of 2, at least 8.

    `width` channels before the last layer, twice as many before each doubling. ValueError for other sizes. Source:
    A. Radford, L. Metz, S. Chintala, "Unsupervised representation learning with deep convolutional generative
    adversarial networks", 2016.
    """

    def __init__(self, z: int = 100, channels: int = 3, width: int = 64, size: int = 64) -> None:
        super().__init__()
        self.z = z
        steps = _halvings(size)
        c = width * 2 ** (steps - 1)
        layers: list[nn.Module] = [nn.ConvTranspose2d(z, c, 4, 1, 0, bias=False), nn.BatchNorm2d(c), nn.ReLU(True)]
        for _ in range(steps - 1):
            layers += [nn.ConvTranspose2d(c, c // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(c // 2), nn.ReLU(True)]
            c //= 2
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(c, channels, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        if z.numel() != z.shape[0] * self.z:
            raise ValueError(f"this generator takes noise (N, {self.z}), not {tuple(z.shape)}")
        return self.main(z.view(z.shape[0], self.z, 1, 1))


class Discriminator(nn.Module):
    """Images (N, channels, size, size) → logits (N,), before the sigmoid.

    `norm` makes the normalisation of a number of channels: batch norm in DCGAN. A critic of WGAN-GP takes
    `nn.InstanceNorm2d` or `nn.Identity`: batch norm would mix the samples, whose gradients the penalty takes one by
    one.

    ValueError for images of another size. Source: A. Radford, L. Metz, S. Chintala, 2016 (DCGAN), see `Generator`.
    """

    def __init__(
        self, channels: int = 3, width: int = 64, size: int = 64, norm: type[nn.Module] = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.size = size
        c = width
        layers: list[nn.Module] = [nn.Conv2d(channels, c, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
        for _ in range(_halvings(size) - 1):
            layers += [nn.Conv2d(c, 2 * c, 4, 2, 1, bias=False), norm(2 * c), nn.LeakyReLU(0.2, True)]
            c *= 2
        self.main = nn.Sequential(*layers, nn.Conv2d(c, 1, 4, 1, 0, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.main(x)
        if scores.shape[2:] != (1, 1):
            raise ValueError(f"this discriminator is for images of {self.size} x {self.size}, not {tuple(x.shape)}")
        return scores.view(-1)


def _halvings(size: int) -> int:
    steps = size.bit_length() - 3
    if size < 8 or size != 4 << steps:
        raise ValueError(f"DCGAN: size must be a power of 2 and at least 8, got {size}")
    return steps


def weights_init(module: nn.Module) -> None:
    """For `model.apply`: N(0, 0.02²) for convolutions, N(1, 0.02²) and 0 for batch norm, as in the DCGAN paper."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def gradient_penalty(critic: nn.Module, real: Tensor, false: Tensor) -> Tensor:
    """E[(‖∇_x̂ D(x̂)‖₂ - 1)²] with x̂ = ε x + (1 - ε) G(z), one ε from U[0, 1] for each sample.

    To be multiplied by the paper's λ = 10 and added to the critic's loss; it can be differentiated. ValueError
    where the shapes (N, ...) differ. Source: I. Gulrajani et al., "Improved training of Wasserstein GANs", 2017.
    """
    if real.shape != false.shape:
        raise ValueError(f"real {tuple(real.shape)} and false {tuple(false.shape)} samples must have one shape")
    eps = rand(real.shape[0], *[1] * (real.dim() - 1), dtype=real.dtype, device=real.device)
    between = (eps * real.detach() + (1 - eps) * false.detach()).requires_grad_()
    (slope,) = grad(critic(between).sum(), between, create_graph=True)
    return ((slope.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
