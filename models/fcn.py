"""FCN: Long, Shelhamer, Darrell, "Fully convolutional networks for semantic segmentation", 2015.

VGG-16 whose linear layers are convolutions; scores at 1/32, and with skips at 1/16 and 1/8 of the resolution, are added
and brought up by transposed convolutions that start as bilinear interpolation.
"""

from itertools import pairwise
from typing import Any

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import tensor
from .vgg import LAYOUTS, make_layers


def bilinear_kernel(channels: int, factor: int) -> Tensor:
    """Weights (channels, channels, 2f, 2f) by which ConvTranspose2d(stride=f, padding=f/2) interpolates bilinearly."""
    line = [1 - abs(i + 0.5 - factor) / factor for i in range(2 * factor)]
    square = [[a * b for b in line] for a in line]
    zero = [[0.0] * len(line)] * len(line)
    return tensor([[square if i == j else zero for j in range(channels)] for i in range(channels)])


class FCN(nn.Module):
    """Images (N, 3, H, W), H and W multiples of 32 → scores (N, num_classes, H, W).

    Args:
        num_classes: the classes, background included.
        stride: 32, 16 or 8: the finest map that is looked at (FCN-32s, FCN-16s, FCN-8s).
        layout: convolutions as in VGG, five poolings; VGG-16's by default, so that its weights fit `features`.
        hidden: channels of the two convolutions that were VGG's linear layers.
        dropout: after each of them.

    Source: J. Long, E. Shelhamer, T. Darrell, "Fully convolutional networks for semantic segmentation", 2015.
    """

    def __init__(
        self, num_classes: int = 21, stride: int = 8, layout: Any = None, hidden: int = 4096, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if stride not in (8, 16, 32):
            raise ValueError(f"FCN: stride must be 8, 16 or 32, got {stride}")
        layout = LAYOUTS["D"] if layout is None else layout
        self.features = make_layers(layout)
        self.poolings = [i for i, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        channels = [c for c, following in pairwise(layout) if following == "M"]
        self.classifier = nn.Sequential(
            nn.Conv2d(channels[4], hidden, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(hidden, num_classes, 1),
        )
        self.skips = nn.ModuleDict()
        self.ups = nn.ModuleDict()
        at = 32
        for level in (3, 2):
            if at > stride:
                self.skips[str(level)] = nn.Conv2d(channels[level], num_classes, 1)
                self.ups[str(level)] = nn.ConvTranspose2d(num_classes, num_classes, 4, 2, 1, bias=False)
                at //= 2
        self.last = nn.ConvTranspose2d(num_classes, num_classes, 2 * at, at, at // 2, bias=False)
        with no_grad():
            for layer in (*self.ups.values(), self.last):
                layer.weight.copy_(bilinear_kernel(num_classes, layer.stride[0]))
        for skip in self.skips.values():  # at first the skips say nothing, as in the paper
            nn.init.zeros_(skip.weight)
            nn.init.zeros_(skip.bias)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(f"FCN: height and width must be multiples of 32, got {height} x {width}: pad the images")
        pooled = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.poolings:
                pooled.append(x)
        scores = self.classifier(x)
        for level, skip in self.skips.items():
            scores = self.ups[level](scores) + skip(pooled[int(level)])
        return self.last(scores)
