"""Siamese networks: the same network for both inputs, trained by the distance of what it makes of them.

J. Bromley et al., "Signature verification using a 'Siamese' time delay neural network", 1993; the contrastive loss: R.
Hadsell, S. Chopra, Y. LeCun, "Dimensionality reduction by learning an invariant mapping", 2006; triplets: F. Schroff,
D. Kalenichenko, J. Philbin, "FaceNet", 2015.
"""

from .. import nn
from ..autograd import Tensor
from ..nn import functional as F


class Siamese(nn.Module):
    """Two batches of inputs → the distances (N,) of their embeddings; `embed` gives the embeddings.

    Args:
        net: inputs (N, ...) → embeddings (N, size).
        normalize: bring the embeddings to length 1, so that distances are between 0 and 2.

    Source: J. Bromley et al., "Signature verification using a 'Siamese' time delay neural network", 1993.
    """

    def __init__(self, net: nn.Module, normalize: bool = False) -> None:
        super().__init__()
        self.net, self.normalize = net, normalize

    def embed(self, x: Tensor) -> Tensor:
        """The embeddings (N, size)."""
        z = self.net(x)
        return F.normalize(z) if self.normalize else z

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.pairwise_distance(self.embed(a), self.embed(b))

    def triplet_loss(self, anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
        """The mean of max(0, D(anchor, positive) - D(anchor, negative) + margin)."""
        anchor, positive, negative = (self.embed(x) for x in (anchor, positive, negative))
        return F.triplet_margin_loss(anchor, positive, negative, margin)


def contrastive_loss(distance: Tensor, different: Tensor, margin: float = 1.0) -> Tensor:
    """The mean of ½ D² for pairs that belong together (different 0) and ½ max(0, margin - D)² for others (1).

    distance D and different: (N,), the latter of floats or integers. Source: R. Hadsell, S. Chopra, Y. LeCun,
    "Dimensionality reduction by learning an invariant mapping", 2006.
    """
    apart = (margin - distance).clamp(min=0).square()
    return 0.5 * ((1 - different) * distance.square() + different * apart).mean()
