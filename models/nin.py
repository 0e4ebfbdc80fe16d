"""Network in network: Lin, Chen, Yan, "Network in network", 2014.

Each convolution is followed by two 1x1 convolutions, a small network at each place; the last maps, one per class,
are averaged over the image: no linear layer.
"""

from .. import nn
from ..autograd import Tensor


def mlpconv(in_channels: int, channels: tuple[int, int, int], kernel_size: int, padding: int) -> list[nn.Module]:
    """A convolution and two 1x1 convolutions, ReLU after each."""
    a, b, c = channels
    return [
        nn.Conv2d(in_channels, a, kernel_size, padding=padding),
        nn.ReLU(inplace=True),
        nn.Conv2d(a, b, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(b, c, 1),
        nn.ReLU(inplace=True),
    ]


class NiN(nn.Module):
    """The paper's CIFAR-10 network: images (N, 3, 32, 32) → scores (N, num_classes); 966,986 parameters for 10.

    dropout: after the first two poolings.

    Source: M. Lin, Q. Chen, S. Yan, "Network in network", 2014.
    """

    def __init__(self, num_classes: int = 10, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *mlpconv(3, (192, 160, 96), 5, 2),
            nn.MaxPool2d(3, 2, padding=1),
            nn.Dropout(dropout),
            *mlpconv(96, (192, 192, 192), 5, 2),
            nn.AvgPool2d(3, 2, padding=1),
            nn.Dropout(dropout),
            *mlpconv(192, (192, 192, num_classes), 3, 1)[:-1],
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.features(x))
