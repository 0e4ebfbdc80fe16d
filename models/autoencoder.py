"""Autoencoders: an input through a narrow code and back.

G. Hinton, R. Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006; denoising: P. Vincent et
al., "Extracting and composing robust features with denoising autoencoders", 2008; sparse: A. Ng, "Sparse autoencoder",
2011, with the penalty Σ_j KL(ρ ‖ ρ̂_j) on the mean activation ρ̂_j of each unit of the code.
"""

from collections.abc import Sequence

from .. import nn
from ..autograd import Tensor
from ..autograd.ops.scatter import where
from ..autograd.random import rand_like, randn_like
from .mlp import MLP


class Autoencoder(nn.Module):
    """Inputs (N, sizes[0]) → (reconstructions of that shape, codes (N, sizes[-1])).

    Args:
        sizes: units from the input to the code; the decoder has them the other way round.
        activation: makes the hidden layers' nonlinearity.
        code: makes the nonlinearity of the code; a sigmoid for a sparse one.
        noise: in training, the standard deviation of normal noise on the input (denoising).
        masking: in training, the probability with which an input is set to 0 (denoising).

    Sources: G. Hinton, R. Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006; P.
    Vincent et al., "Extracting and composing robust features with denoising autoencoders", 2008.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: type[nn.Module] = nn.ReLU,
        code: type[nn.Module] = nn.Identity,
        noise: float = 0.0,
        masking: float = 0.0,
    ) -> None:
        super().__init__()
        self.noise, self.masking = noise, masking
        self.encoder = nn.Sequential(MLP(sizes, activation), code())
        self.decoder = MLP(sizes[::-1], activation)

    def corrupt(self, x: Tensor) -> Tensor:
        """The input as the encoder gets it in training."""
        if self.noise:
            x = x + self.noise * randn_like(x)
        return where(rand_like(x) < self.masking, 0.0, x) if self.masking else x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(self.corrupt(x) if self.training else x)
        return self.decoder(code), code


class ConvAutoencoder(nn.Module):
    """Images (N, channels, H, W) → (reconstructions of that shape, codes (N, code, H / 4, W / 4)), 4 | H, W.

    Two strided convolutions, to `width` and to `code` channels, and two transposed ones back. Source: J. Masci, U.
    Meier, D. Cireşan, J. Schmidhuber, "Stacked convolutional auto-encoders for hierarchical feature extraction", 2011.
    """

    def __init__(self, channels: int = 1, width: int = 16, code: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, code, 3, stride=2, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(code, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return self.decoder(code), code


def sparsity_penalty(code: Tensor, rho: float = 0.05, eps: float = 1e-7) -> Tensor:
    """Σ_j ρ ln(ρ / ρ̂_j) + (1 - ρ) ln((1 - ρ) / (1 - ρ̂_j)) of codes (N, J) in (0, 1), ρ̂_j the mean over the batch.

    eps keeps the logarithms finite. Source: A. Ng, "Sparse autoencoder", 2011.
    """
    mean = code.mean(0).clamp(eps, 1 - eps)
    return (rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()).sum()
