"""DRAW: Gregor, Danihelka, Graves, Rezende, Wierstra, "DRAW: a recurrent neural network for image generation", 2015.

T steps of a variational autoencoder: the encoder reads the image and what is still missing from it through a grid of
Gaussian filters that the decoder has placed; the decoder writes to a canvas through such a grid.
Loss: -log p(x | canvas) + ½ Σ_t Σ (μ² + σ² - log σ² - 1), in nats.
"""

from .. import nn
from ..autograd import Tensor
from ..autograd.creation import arange
from ..autograd.ops.joining import cat
from ..autograd.random import randn
from ..nn import functional as F


class DRAW(nn.Module):
    """Images (N, height·width) in [0, 1] → loss (scalar); `generate` draws new ones.

    Args:
        height, width: of the images.
        steps: T.
        hidden: units of the two LSTMs.
        z: latent numbers per step.
        read_size, write_size: side of the reading and the writing grid.

    Source: K. Gregor et al., "DRAW: a recurrent neural network for image generation", 2015.
    """

    def __init__(
        self,
        height: int = 28,
        width: int = 28,
        steps: int = 10,
        hidden: int = 256,
        z: int = 10,
        read_size: int = 5,
        write_size: int = 5,
    ) -> None:
        super().__init__()
        self.height, self.width, self.steps, self.z = height, width, steps, z
        self.read_size, self.write_size = read_size, write_size
        self.encoder = nn.LSTMCell(2 * read_size**2 + hidden, hidden)
        self.decoder = nn.LSTMCell(z, hidden)
        self.mean, self.log_sigma = nn.Linear(hidden, z), nn.Linear(hidden, z)
        self.read_grid, self.write_grid = nn.Linear(hidden, 5), nn.Linear(hidden, 5)
        self.writer = nn.Linear(hidden, write_size**2)

    def filters(self, params: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Gaussian filterbanks F_Y (N, n, height) and F_X (N, n, width), and the intensity γ (N, 1); section 3.2."""
        gx, gy, log_var, log_delta, log_gamma = params.split(1, 1)
        gx, gy = (self.width + 1) / 2 * (gx + 1), (self.height + 1) / 2 * (gy + 1)
        delta = (max(self.width, self.height) - 1) / (n - 1) * log_delta.exp()
        offset = (arange(n, dtype=params.dtype, device=params.device) - n / 2 - 0.5 + 1).view(1, n)

        def bank(centre: Tensor, size: int) -> Tensor:
            at = arange(size, dtype=params.dtype, device=params.device).view(1, 1, size)
            weights = (-((at - (centre + offset * delta).unsqueeze(2)) ** 2) / (2 * log_var.exp().unsqueeze(2))).exp()
            return weights / (weights.sum(2, keepdim=True) + 1e-8)

        return bank(gy, self.height), bank(gx, self.width), log_gamma.exp()

    def read(self, image: Tensor, missing: Tensor, h: Tensor) -> Tensor:
        """γ [F_Y x F_Xᵀ, F_Y x̂ F_Xᵀ], (N, 2 n²)."""
        fy, fx, gamma = self.filters(self.read_grid(h), self.read_size)
        glimpses = [(fy @ x.view(-1, self.height, self.width) @ fx.mT).flatten(1) for x in (image, missing)]
        return gamma * cat(glimpses, 1)

    def write(self, h: Tensor) -> Tensor:
        """F_Yᵀ w F_X / γ, (N, height·width)."""
        fy, fx, gamma = self.filters(self.write_grid(h), self.write_size)
        patch = self.writer(h).view(-1, self.write_size, self.write_size)
        return (fy.mT @ patch @ fx).flatten(1) / gamma

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[0]
        canvas = x.new_zeros(count, self.height * self.width)
        encoder = decoder = None
        h = x.new_zeros(count, self.decoder.hidden_size)
        divergence = x.new_zeros(())
        for _ in range(self.steps):
            glimpse = self.read(x, x - canvas.sigmoid(), h)
            encoder = self.encoder(cat([glimpse, h], 1), encoder)
            mean, log_sigma = self.mean(encoder[0]), self.log_sigma(encoder[0])
            z = mean + log_sigma.exp() * randn(count, self.z, dtype=x.dtype, device=x.device)
            divergence = divergence + 0.5 * (mean**2 + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum() / count
            decoder = self.decoder(z, decoder)
            h = decoder[0]
            canvas = canvas + self.write(h)
        return F.binary_cross_entropy_with_logits(canvas, x, reduction="sum") / count + divergence

    def generate(self, count: int) -> Tensor:
        """Images (count, height·width) in [0, 1] from z ~ N(0, 1)."""
        weight = self.writer.weight
        canvas = weight.new_zeros(count, self.height * self.width)
        state = None
        for _ in range(self.steps):
            state = self.decoder(randn(count, self.z, dtype=weight.dtype, device=weight.device), state)
            canvas = canvas + self.write(state[0])
        return canvas.sigmoid()
