"""SAGAN: Zhang, Goodfellow, Metaxas, Odena, "Self-attention generative adversarial networks", 2019.

Between two convolutions each place of an image attends to all places; spectral normalisation of all layers of both
players; the hinge form of the adversarial loss (Lim, Ye, "Geometric GAN", 2017). Adam with betas (0, 0.9), rates 1e-4
for the generator and 4e-4 for the discriminator.
"""

from .. import nn
from ..autograd import Tensor
from ..autograd.creation import zeros
from ..nn import functional as F
from ..nn.utils.parametrizations import spectral_norm


class SelfAttention2d(nn.Module):
    """Images (N, C, H, W) → γ o + x of the same shape: o_j = v(Σ_i β_ij h(x_i)), β = softmax_i(f(x_i)ᵀ g(x_j)).

    f, g and h are 1x1 convolutions to C / `reduction` channels, v one back to C. γ starts at 0: at first the block is
    the identity. The last weights, (N, H·W, H·W), row j over the places i, are kept as `attention`.

    Source: H. Zhang, I. Goodfellow, D. Metaxas, A. Odena, "Self-attention generative adversarial networks", 2019.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = max(channels // reduction, 1)
        self.f, self.g, self.h = (spectral_norm(nn.Conv2d(channels, inner, 1, bias=False)) for _ in range(3))
        self.v = spectral_norm(nn.Conv2d(inner, channels, 1, bias=False))
        self.gamma = nn.Parameter(zeros(1))
        self.attention: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        keys, queries, values = (layer(x).flatten(2) for layer in (self.f, self.g, self.h))  # (N, inner, H·W)
        weights = F.softmax(queries.transpose(1, 2) @ keys, dim=2)
        self.attention = weights.detach()
        context = (values @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.v(context)


class SAGenerator(nn.Module):
    """Noise (N, z) → images (N, channels, 32, 32) in [-1, 1], with self-attention on maps of 16 x 16.

    width: channels of the last maps, of which the earlier ones have multiples.

    Source: H. Zhang, I. Goodfellow, D. Metaxas, A. Odena, "Self-attention generative adversarial networks", 2019.
    """

    def __init__(self, z: int = 128, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.enter = spectral_norm(nn.Linear(z, 4 * width * 4 * 4))
        self.main = nn.Sequential(
            *_up(4 * width, 2 * width),  # 8 x 8
            *_up(2 * width, width),  # 16 x 16
            SelfAttention2d(width),
            *_up(width, width),
            spectral_norm(nn.Conv2d(width, channels, 3, padding=1)),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.main(self.enter(z).view(-1, 4 * self.width, 4, 4))


def _up(in_channels: int, out_channels: int) -> list[nn.Module]:
    conv = spectral_norm(nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=False))
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


class SADiscriminator(nn.Module):
    """Images (N, channels, 32, 32) → scores (N,), with self-attention on maps of 16 x 16.

    width: channels of the first maps, of which the later ones have multiples.

    Source: H. Zhang, I. Goodfellow, D. Metaxas, A. Odena, "Self-attention generative adversarial networks", 2019.
    """

    def __init__(self, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *_down(channels, width),
            SelfAttention2d(width),
            *_down(width, 2 * width),
            *_down(2 * width, 4 * width),
            spectral_norm(nn.Conv2d(4 * width, 1, 4)),
            nn.Flatten(0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


def _down(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [spectral_norm(nn.Conv2d(in_channels, out_channels, 4, 2, 1)), nn.LeakyReLU(0.1, inplace=True)]


def discriminator_hinge_loss(real: Tensor, false: Tensor) -> Tensor:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))) of the scores; the generator's loss is -E D(G(z)).

    Source: J. Lim, J. Ye, "Geometric GAN", 2017.
    """
    return F.relu(1 - real).mean() + F.relu(1 + false).mean()
