"""VGG: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015.

Stacks of 3x3 convolutions between halvings of the resolution. Layers and their names are those of PyTorch's model
library, so its checkpoints load.
"""

from collections.abc import Iterable
from typing import Any

from .. import nn
from ..autograd import Tensor
from .weights import load_weights

# Output channels of each convolution; "M" is a 2x2 pooling. Columns A, B, D and E of table 1.
LAYOUTS: dict[str, list[int | str]] = {
    "A": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "B": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "D": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    "E": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
}


def make_layers(layout: Iterable[int | str], batch_norm: bool = False) -> nn.Sequential:
    """Convolution (, batch norm), ReLU for each number; pooling for each "M"."""
    layers: list[nn.Module] = []
    channels = 3
    for item in layout:
        if isinstance(item, str):
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        layers.append(nn.Conv2d(channels, item, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(item))
        layers.append(nn.ReLU(inplace=True))
        channels = item
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """Images (N, 3, H, W), usually 224 x 224 → scores (N, num_classes); weights by Kaiming's rule, fan out.

    features: images → maps (N, 512, h, w), brought to 7 x 7 by average pooling; then 4096, 4096, num_classes.
    dropout: after the two hidden linear layers. init_weights=False leaves the layers' own. Source: K. Simonyan, A.
    Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015.
    """

    def __init__(
        self, features: nn.Module, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, num_classes),
        )
        if init_weights:
            for m in self.modules():
                if isinstance(m, nn.Conv2d):
                    nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                    if m.bias is not None:
                        nn.init.zeros_(m.bias)
                elif isinstance(m, nn.BatchNorm2d):
                    nn.init.ones_(m.weight)
                    nn.init.zeros_(m.bias)
                elif isinstance(m, nn.Linear):
                    nn.init.normal_(m.weight, 0, 0.01)
                    nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _vgg(layout: str, batch_norm: bool, weights: Any, kwargs: dict[str, Any]) -> VGG:
    pretrained = kwargs.pop("pretrained", False)
    if weights is not None or pretrained:
        kwargs["init_weights"] = False  # half a minute for numbers that the checkpoint replaces
    return load_weights(VGG(make_layers(LAYOUTS[layout], batch_norm), **kwargs), weights, pretrained=pretrained)


def vgg11(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-11 (A), 132,863,336 parameters: images (N, 3, 224, 224) → scores (N, 1000); see `VGG`."""
    return _vgg("A", False, weights, kwargs)


def vgg11_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-11 with batch normalisation after each convolution, 132,868,840 parameters; see `VGG`."""
    return _vgg("A", True, weights, kwargs)


def vgg13(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-13 (B), 133,047,848 parameters: images (N, 3, 224, 224) → scores (N, 1000); see `VGG`."""
    return _vgg("B", False, weights, kwargs)


def vgg13_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-13 with batch normalisation after each convolution, 133,053,736 parameters; see `VGG`."""
    return _vgg("B", True, weights, kwargs)


def vgg16(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-16 (D), 138,357,544 parameters: images (N, 3, 224, 224) → scores (N, 1000); see `VGG`."""
    return _vgg("D", False, weights, kwargs)


def vgg16_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-16 with batch normalisation after each convolution, 138,365,992 parameters; see `VGG`."""
    return _vgg("D", True, weights, kwargs)


def vgg19(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-19 (E), 143,667,240 parameters: images (N, 3, 224, 224) → scores (N, 1000); see `VGG`."""
    return _vgg("E", False, weights, kwargs)


def vgg19_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-19 with batch normalisation after each convolution, 143,678,248 parameters; see `VGG`."""
    return _vgg("E", True, weights, kwargs)
