"""The variational autoencoder: D. Kingma, M. Welling, "Auto-encoding variational Bayes", 2014.

q(z|x) = N(μ(x), σ²(x)), p(z) = N(0, 1), p(x|z) Bernoulli. The loss is -ELBO = -E_q[ln p(x|z)] + KL(q ‖ p), with
KL = -½ Σ (1 + ln σ² - μ² - σ²); z = μ + σ ε lets the gradient through the sampling. Layers are named as in PyTorch's
example.
"""

from .. import nn
from ..autograd import Tensor
from ..autograd.random import randn, randn_like
from ..nn import functional as F


class VAE(nn.Module):
    """Inputs (N, inputs) in [0, 1] → (reconstructions of that shape in (0, 1), μ (N, latent), ln σ² (N, latent)).

    One hidden layer of `hidden` units with ReLU on each side.

    Source: D. Kingma, M. Welling, "Auto-encoding variational Bayes", 2014.
    """

    def __init__(self, inputs: int = 784, hidden: int = 400, latent: int = 20) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc21 = nn.Linear(hidden, latent)
        self.fc22 = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, inputs)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """μ and ln σ² of q(z|x), each (N, latent)."""
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """A sample μ + σ ε of N(μ, σ²)."""
        return mu + (0.5 * logvar).exp() * randn_like(mu)

    def decode(self, z: Tensor) -> Tensor:
        """The means of p(x|z), (N, inputs), of z (N, latent)."""
        return F.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encode(x.flatten(1))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar

    def sample(self, n: int) -> Tensor:
        """n means of p(x|z) for z of N(0, 1): (n, inputs)."""
        weight = self.fc3.weight
        return self.decode(randn(n, weight.shape[1], dtype=weight.dtype, device=weight.device))


def vae_loss(reconstruction: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """-ELBO = binary cross entropy of the reconstruction - ½ Σ (1 + ln σ² - μ² - σ²), summed over the batch: a number.

    Source: D. Kingma, M. Welling, "Auto-encoding variational Bayes", 2014, appendix B.
    """
    kl = -0.5 * (1 + logvar - mu * mu - logvar.exp()).sum()
    return F.binary_cross_entropy(reconstruction, x.flatten(1), reduction="sum") + kl
