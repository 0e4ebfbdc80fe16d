"""AlexNet, and ZFNet after it.

Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks", 2012: two halves on
two GPUs (groups=2), local response normalisation, overlapping pooling, dropout; 60 million parameters.
Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014: one column, without normalisation;
the form of which PyTorch's library has weights.
Zeiler, Fergus, "Visualizing and understanding convolutional networks", 2013.
"""

from typing import Any

from .. import nn
from ..autograd import Tensor
from .weights import load_weights


class AlexNet(nn.Module):
    """One-column AlexNet (2014): images (N, 3, H, W), H and W at least 63, usually 224 → scores (N, num_classes).

    dropout: before the two hidden linear layers, of 4096 units.

    Source: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, in the form of
    PyTorch's library.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class AlexNet2012(nn.Module):
    """The network of the paper: images (N, 3, 227, 227) → scores (N, num_classes).

    227x227x3 → 55x55x96 → pool 27x27x96 → 27x27x256 → pool 13x13x256 → 13x13x384 → 13x13x384 → 13x13x256 → pool
    6x6x256 → 4096 → 4096 → num_classes. Weights from N(0, 0.01²); the biases of the second, fourth and fifth
    convolution and of the hidden linear layers start at 1, the others at 0 (section 5 of the paper).

    width: channels of the first convolution, of which the others are multiples. dropout: before the two hidden
    linear layers. Source: A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional
    neural networks", 2012.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5, width: int = 96) -> None:
        super().__init__()
        a, b, c = width, 8 * width // 3, 4 * width  # 96, 256, 384
        self.features = nn.Sequential(
            nn.Conv2d(3, a, 11, stride=4),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),  # torch divides alpha by size: 1e-4 in the paper
            nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, padding=2, groups=2),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, c, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, b, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        hidden = 128 * width // 3  # 4096
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(b * 6 * 6, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )
        for index, layer in enumerate(m for m in self.modules() if isinstance(m, (nn.Conv2d, nn.Linear))):
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.constant_(layer.bias, 1.0 if index in (1, 3, 4, 5, 6) else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class ZFNet(nn.Module):
    """ZFNet: images (N, 3, 224, 224) → scores (N, num_classes).

    AlexNet with 7x7 filters at stride 2 in the first layer and stride 2 in the second. `channels` are those of the
    five convolutions: (96, 256, 384, 384, 256) in the paper's figure 3; its larger variant of section 5.1 has 512,
    1024 and 512 in the last three. hidden: units of the two hidden linear layers, with `dropout` after each.

    Source: M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", 2014.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        channels: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256),
        hidden: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        a, b, c, d, e = channels
        self.features = nn.Sequential(
            nn.Conv2d(3, a, 7, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
            nn.LocalResponseNorm(5),
            nn.Conv2d(a, b, 5, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
            nn.LocalResponseNorm(5),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, d, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(d, e, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(e * 6 * 6, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def alexnet(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> AlexNet:
    """AlexNet of 2014, 61,100,840 parameters; `weights` is the path of a checkpoint.

    Source: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.
    """
    pretrained = kwargs.pop("pretrained", False)
    return load_weights(AlexNet(**kwargs), weights, pretrained=pretrained)
