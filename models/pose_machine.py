"""Convolutional pose machine: Wei, Ramakrishna, Kanade, Sheikh, "Convolutional pose machines", 2016.

Stage 1 sees the image and gives a belief map for each joint; each later stage sees features of the image beside the
beliefs of the stage before. The loss is the sum over the stages of the squared distance to the wanted maps: gradients
enter at every stage and do not vanish.
"""

from .. import nn
from ..autograd import Tensor
from ..autograd.creation import arange
from ..autograd.ops.joining import cat, stack


def gaussian_maps(points: Tensor, size: tuple[int, int], sigma: float = 1.0) -> Tensor:
    """Joints (N, K, 2) as (x, y) in pixels of the map → wanted beliefs (N, K, *size): exp(-d² / (2 σ²))."""
    y = arange(size[0], dtype=points.dtype).view(1, 1, -1, 1)
    x = arange(size[1], dtype=points.dtype).view(1, 1, 1, -1)
    dx, dy = x - points[..., 0, None, None], y - points[..., 1, None, None]
    return (-(dx * dx + dy * dy) / (2 * sigma * sigma)).exp()


def _stage(in_channels: int, channels: int, out: int, kernel_size: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2), nn.ReLU(inplace=True)]
        in_channels = channels
    layers += [nn.Conv2d(channels, channels, 1), nn.ReLU(inplace=True), nn.Conv2d(channels, out, 1)]
    return nn.Sequential(*layers)


class ConvolutionalPoseMachine(nn.Module):
    """Images (N, 3, H, W) → belief maps (N, stages, joints + 1, H/4, W/4); the last map is the background.

    Args:
        joints: the joints.
        stages: 6 in the paper.
        channels: of the features and inside the stages (128 in the paper).
        kernel_size: of the later stages' convolutions: 11 gives them the reach to see one joint from another.

    in_channels: of the images.

    Source: S. Wei, V. Ramakrishna, T. Kanade, Y. Sheikh, "Convolutional pose machines", 2016.
    """

    def __init__(
        self, joints: int = 14, stages: int = 6, channels: int = 128, kernel_size: int = 11, in_channels: int = 3
    ) -> None:
        super().__init__()
        half = channels // 2
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, half, 9, padding=4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(half, channels, 9, padding=4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, channels, 5, padding=2),
            nn.ReLU(inplace=True),
        )
        self.first = _stage(channels, channels, joints + 1, 9, 1)
        self.later = nn.ModuleList(
            _stage(channels + joints + 1, channels, joints + 1, kernel_size, 3) for _ in range(stages - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        beliefs = [self.first(features)]
        for stage in self.later:
            beliefs.append(stage(cat([features, beliefs[-1]], 1)))
        return stack(*beliefs, dim=1)

    def loss(self, beliefs: Tensor, wanted: Tensor) -> Tensor:
        """Σ over stages of the mean squared distance to `wanted` (N, joints + 1, H/4, W/4)."""
        return ((beliefs - wanted.unsqueeze(1)) ** 2).mean((0, 2, 3, 4)).sum()

    def locate(self, beliefs: Tensor) -> Tensor:
        """Joints (N, joints, 2) as (x, y) in pixels of the map: where the last stage's belief is highest."""
        last = beliefs[:, -1, :-1]
        index = last.flatten(2).argmax(-1)
        width = last.shape[-1]
        return stack(index % width, index // width, dim=-1)
