"""Losses on the features of a network instead of pixels: content and style.

Gatys, Ecker, Bethge, "A neural algorithm of artistic style", 2015: the style of a layer is the correlations of its
channels. Johnson, Alahi, Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", 2016.
"""

from collections.abc import Sequence

from .. import nn
from ..autograd import Tensor
from ..nn import functional as F


def gram_matrix(features: Tensor) -> Tensor:
    """G = F Fᵀ / (C H W) of features (N, C, H, W), over the places: (N, C, C).

    Source: L. Gatys, A. Ecker, M. Bethge, "A neural algorithm of artistic style", 2015; divided by C H W as in J.
    Johnson, A. Alahi, L. Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", 2016.
    """
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


class PerceptualLoss(nn.Module):
    """Two batches of images → the mean squared distances of features (content) plus those of Gram matrices (style).

    Args:
        network: layers in a row, such as the `features` of a VGG with weights; frozen here, and in evaluation mode.
        content, style: indices of the layers after which to compare.
        style_weight: of the style in the sum.

    The result is a number, differentiable in both batches. Source: J. Johnson, A. Alahi, L. Fei-Fei, "Perceptual
    losses for real-time style transfer and super-resolution", 2016.
    """

    def __init__(
        self, network: nn.Sequential, content: Sequence[int] = (), style: Sequence[int] = (), style_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.content, self.style, self.style_weight = tuple(content), tuple(style), style_weight

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """The network under the loss stays in evaluation mode."""
        self.training = mode
        return self

    def features(self, x: Tensor) -> dict[int, Tensor]:
        """What the layers named give, as far as the last of them."""
        wanted, found = {*self.content, *self.style}, {}
        for i, layer in enumerate(self.network[: max(wanted) + 1]):
            x = layer(x)
            if i in wanted:
                found[i] = x.clone()  # a ReLU in place may follow
        return found

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        found, wanted = self.features(input), self.features(target)
        loss = input.new_zeros(())
        for i in self.content:
            loss = loss + F.mse_loss(found[i], wanted[i])
        for i in self.style:
            loss = loss + self.style_weight * F.mse_loss(gram_matrix(found[i]), gram_matrix(wanted[i]))
        return loss
