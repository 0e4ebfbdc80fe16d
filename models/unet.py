"""U-Net: Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015.

Down: two 3x3 convolutions and 2x2 pooling; up: 2x2 transposed convolution, the map of the same level beside it, two
3x3 convolutions; 1x1 to the classes.
"""

from itertools import pairwise

from .. import nn
from ..autograd import Tensor
from ..autograd.ops.joining import cat
from ..nn import functional as F


def double_conv(in_channels: int, out_channels: int, padding: int, batch_norm: bool) -> nn.Sequential:
    """Twice: 3x3 convolution (, batch norm), ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=padding, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def pad_or_crop(x: Tensor, height: int, width: int) -> Tensor:
    """`x` (N, C, H, W) with zeros added, or rows and columns taken away, evenly on both sides."""
    dy, dx = height - x.shape[-2], width - x.shape[-1]
    return F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])  # a negative number crops


class UNet(nn.Module):
    """Images (N, in_channels, H, W) → scores (N, num_classes, H, W).

    Args:
        in_channels: of the images.
        num_classes: maps of the output.
        features: channels at each level, from the finest; the paper's are (64, 128, 256, 512, 1024).
        batch_norm: normalise after each convolution (not in the paper, usual since).
        padding: 1 keeps the size, for any H and W; 0 is the paper's form, in which the skipped maps are cropped and
            an image of 572 x 572 gives scores of 388 x 388.
        bilinear: go up by interpolation and a 1x1 instead of a transposed convolution.

    Source: O. Ronneberger, P. Fischer, T. Brox, "U-Net: convolutional networks for biomedical image segmentation",
    2015.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        features: tuple[int, ...] = (64, 128, 256, 512, 1024),
        batch_norm: bool = True,
        padding: int = 1,
        bilinear: bool = False,
    ) -> None:
        super().__init__()
        levels = list(pairwise(features))
        self.padding = padding
        self.first = double_conv(in_channels, features[0], padding, batch_norm)
        self.downs = nn.ModuleList(double_conv(a, b, padding, batch_norm) for a, b in levels)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.Conv2d(b, a, 1))
            if bilinear
            else nn.ConvTranspose2d(b, a, 2, stride=2)
            for a, b in reversed(levels)
        )
        self.merges = nn.ModuleList(double_conv(2 * a, a, padding, batch_norm) for a, _ in reversed(levels))
        self.last = nn.Conv2d(features[0], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        skipped = []
        for down in self.downs:
            skipped.append(x)
            x = down(F.max_pool2d(x, 2))
        for up, merge in zip(self.ups, self.merges, strict=True):
            x, side = up(x), skipped.pop()
            if self.padding:
                x = pad_or_crop(x, *side.shape[-2:])  # an odd size loses a row in pooling
            else:
                side = pad_or_crop(side, *x.shape[-2:])
            x = merge(cat([side, x], 1))
        return self.last(x)
