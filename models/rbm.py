"""The restricted Boltzmann machine: G. Hinton, "Training products of experts by minimizing contrastive divergence",
2002; semantic hashing: R. Salakhutdinov, G. Hinton, 2009.

E(v, h) = -b · v - c · h - hᵀ W v for binary v and h. Given one side the units of the other are independent:
p(h=1|v) = σ(W v + c), p(v=1|h) = σ(Wᵀ h + b). Summed over h: F(v) = -b · v - Σ ln(1 + exp(W v + c)), p(v) ∝ e^-F(v).
"""

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import zeros
from ..autograd.random import bernoulli, randn
from ..nn import functional as F


class RBM(nn.Module):
    """Visible units (N, visible) in [0, 1] → probabilities of the hidden ones (N, hidden).

    Trained by `loss`: its gradient is contrastive divergence, the data's free energy less that of the chain's end.

    Sources: G. Hinton, "Training products of experts by minimizing contrastive divergence", 2002; persistent: T.
    Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", 2008.
    """

    def __init__(self, visible: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * randn(hidden, visible))
        self.visible_bias = nn.Parameter(zeros(visible))
        self.hidden_bias = nn.Parameter(zeros(hidden))

    def forward(self, v: Tensor) -> Tensor:
        return F.sigmoid(F.linear(v, self.weight, self.hidden_bias))

    def backward_probabilities(self, h: Tensor) -> Tensor:
        """p(v=1|h): (N, visible)."""
        return F.sigmoid(F.linear(h, self.weight.t(), self.visible_bias))

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """E(v, h): (N,)."""
        return -(v @ self.visible_bias) - h @ self.hidden_bias - (F.linear(v, self.weight) * h).sum(-1)

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) = -ln Σ_h exp(-E(v, h)): (N,)."""
        return -(v @ self.visible_bias) - F.softplus(F.linear(v, self.weight, self.hidden_bias)).sum(-1)

    @no_grad()
    def gibbs(self, v: Tensor, steps: int = 1) -> Tensor:
        """Samples (N, visible) after `steps` times to the hidden units and back."""
        for _ in range(steps):
            v = bernoulli(self.backward_probabilities(bernoulli(self(v))))
        return v

    def loss(self, v: Tensor, steps: int = 1, chain: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(mean F(v) - F(v'), v'), v' the end of a chain from v, or from `chain`: the v' before (persistent CD).

        Its value is no measure of progress; `reconstruction_error` is a rough one.
        """
        end = self.gibbs(v if chain is None else chain, steps)
        return self.free_energy(v).mean() - self.free_energy(end).mean(), end

    @no_grad()
    def reconstruction_error(self, v: Tensor) -> float:
        """The mean square between v and its way to the hidden probabilities and back."""
        return (self.backward_probabilities(self(v)) - v).square().mean().item()

    @no_grad()
    def codes(self, v: Tensor) -> Tensor:
        """Semantic hashing: the hidden units as bits (N, hidden), bool, by which similar inputs are near."""
        return self(v) > 0.5


def hamming(a: Tensor, b: Tensor) -> Tensor:
    """How many bits differ: codes (N, bits) and (M, bits) → (N, M).

    int64. Source: R. Salakhutdinov, G. Hinton, "Semantic hashing", 2009.
    """
    return (a.unsqueeze(1) != b.unsqueeze(0)).sum(-1)
