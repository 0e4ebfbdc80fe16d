"""Spatial transformer: Jaderberg, Simonyan, Zisserman, Kavukcuoglu, "Spatial transformer networks", 2015.

A small network looks at the input and gives a matrix θ (2 x 3); the input is sampled, bilinearly, at the points
θ (x, y, 1)ᵀ of the output's grid.
"""

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import tensor
from ..nn import functional as F


class SpatialTransformer(nn.Module):
    """Images (N, C, H, W) → images (N, C, *size), resampled by the affine map that `localisation` finds.

    Args:
        localisation: (N, C, H, W) → (N, features).
        features: what `localisation` gives; a linear layer makes the six numbers of θ of it, the identity at first.
        size: height and width of the output; None keeps them.

    Source: M. Jaderberg, K. Simonyan, A. Zisserman, K. Kavukcuoglu, "Spatial transformer networks", 2015.
    """

    def __init__(self, localisation: nn.Module, features: int, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.localisation = localisation
        self.theta = nn.Linear(features, 6)
        self.size = size
        with no_grad():
            self.theta.weight.zero_()
            self.theta.bias.copy_(tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        theta = self.theta(self.localisation(x)).view(-1, 2, 3)
        shape = [*x.shape[:2], *(self.size or x.shape[-2:])]
        return F.grid_sample(x, F.affine_grid(theta, shape, align_corners=False), align_corners=False)


class SpatialTransformerNet(nn.Module):
    """A digit classifier behind a spatial transformer: images (N, in_channels, size, size) → scores (N, num_classes).

    Source: M. Jaderberg, K. Simonyan, A. Zisserman, K. Kavukcuoglu, "Spatial transformer networks", 2015.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, size: int = 28) -> None:
        super().__init__()
        look = nn.Sequential(
            nn.Conv2d(in_channels, 8, 7, padding=3),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(8, 10, 5, padding=2),
            nn.AdaptiveMaxPool2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(160, 32),
            nn.ReLU(),
        )
        self.transformer = SpatialTransformer(look, 32)
        self.classifier = nn.Sequential(
            nn.Conv2d(in_channels, 10, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(10, 20, 5, padding=2),
            nn.AdaptiveMaxPool2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(320, 50),
            nn.ReLU(),
            nn.Linear(50, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.transformer(x))
