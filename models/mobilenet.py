"""MobileNets: convolutions that are separated into one filter per channel and a 1x1.

Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications", 2017 (v1).
Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018; its layers and names are those of
PyTorch's model library, so its checkpoints load.
"""

from collections.abc import Sequence
from typing import Any

from .. import nn
from ..autograd import Tensor
from .weights import load_weights


def _init(model: nn.Module) -> None:
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out")
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.ones_(m.weight)
            nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, 0, 0.01)
            nn.init.zeros_(m.bias)


def conv_bn(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, groups: int = 1) -> list[Any]:
    """Convolution, batch norm, ReLU."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


class MobileNetV1(nn.Module):
    """Images (N, 3, H, W) → scores (N, num_classes); `width_mult` is the paper's α. 4.2 million parameters at α = 1.

    Each layer is a 3x3 per channel and a 1x1. dropout: before the last layer. Source: A. Howard et al.,
    "MobileNets: efficient convolutional neural networks for mobile vision applications", 2017.
    """

    # channels and stride of each separable convolution, table 1
    LAYOUT = (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *(((512, 1),) * 5),
        *((1024, 2), (1024, 1)),
    )

    def __init__(self, num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.001) -> None:
        super().__init__()
        channels = int(32 * width_mult)
        layers = conv_bn(3, channels, stride=2)
        for out, stride in self.LAYOUT:
            layers += conv_bn(channels, channels, stride=stride, groups=channels)
            layers += conv_bn(channels, int(out * width_mult), kernel_size=1)
            channels = int(out * width_mult)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, num_classes)
        )
        _init(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def _make_divisible(v: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to v, at least `divisor` and at least 0.9 v."""
    new = max(divisor, int(v + divisor / 2) // divisor * divisor)
    return new + divisor if new < 0.9 * v else new


class _ConvBNReLU6(nn.Sequential):
    def __init__(self, in_planes: int, out_planes: int, kernel_size: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_planes, out_planes, kernel_size, stride, (kernel_size - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_planes),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """x + project(depthwise(expand(x))): narrow, `expand_ratio` times as wide, narrow again without nonlinearity."""

    def __init__(self, inp: int, oup: int, stride: int, expand_ratio: float) -> None:
        super().__init__()
        hidden = round(inp * expand_ratio)
        self.use_res_connect = stride == 1 and inp == oup
        layers: list[nn.Module] = [] if expand_ratio == 1 else [_ConvBNReLU6(inp, hidden, kernel_size=1)]
        self.conv = nn.Sequential(
            *layers,
            _ConvBNReLU6(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, oup, 1, 1, 0, bias=False),
            nn.BatchNorm2d(oup),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """Images (N, 3, H, W) → scores (N, num_classes).

    Args:
        num_classes: the classes.
        width_mult: multiplies the channels.
        inverted_residual_setting: rows (expand ratio, channels, blocks, stride of the first), table 2 of the paper.
        round_nearest: channels are multiples of it.
        dropout: before the last layer.

    Source: M. Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None,
        round_nearest: int = 8,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        rows = inverted_residual_setting or (
            *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
            *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
        )
        channels = _make_divisible(32 * width_mult, round_nearest)
        self.last_channel = _make_divisible(1280 * max(1.0, width_mult), round_nearest)
        features: list[nn.Module] = [_ConvBNReLU6(3, channels, stride=2)]
        for t, c, n, s in rows:
            out = _make_divisible(c * width_mult, round_nearest)
            for i in range(n):
                features.append(InvertedResidual(channels, out, s if i == 0 else 1, expand_ratio=t))
                channels = out
        features.append(_ConvBNReLU6(channels, self.last_channel, kernel_size=1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout), nn.Linear(self.last_channel, num_classes))
        _init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(nn.functional.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


def mobilenet_v1(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> MobileNetV1:
    """MobileNet of 2017: images (N, 3, H, W) → scores (N, 1000); 4,231,976 parameters; see `MobileNetV1`."""
    pretrained = kwargs.pop("pretrained", False)
    return load_weights(MobileNetV1(**kwargs), weights, pretrained=pretrained)


def mobilenet_v2(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> MobileNetV2:
    """MobileNetV2: images (N, 3, H, W) → scores (N, 1000); 3,504,872 parameters; see `MobileNetV2`."""
    pretrained = kwargs.pop("pretrained", False)
    return load_weights(MobileNetV2(**kwargs), weights, pretrained=pretrained)
