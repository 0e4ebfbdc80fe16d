"""Residual networks, in the names of PyTorch's model library, so that its checkpoints load.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2016: y = relu(F(x) + x), with F of two 3x3
convolutions (basic) or 1x1, 3x3, 1x1 (bottleneck; the stride stands in the 3x3, "v1.5").
Xie et al., "Aggregated residual transformations for deep neural networks", 2017 (ResNeXt): the 3x3 in groups.
Zagoruyko, Komodakis, "Wide residual networks", 2016: the 3x3 with twice the channels.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from .. import nn
from ..autograd import Tensor
from ..nn.normalization import batch_norm_relu
from .weights import load_weights


def conv3x3(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    """3x3 convolution that keeps the size, but for its stride."""
    return nn.Conv2d(
        in_planes, out_planes, 3, stride=stride, padding=dilation, groups=groups, bias=False, dilation=dilation
    )


def conv1x1(in_planes: int, out_planes: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution."""
    return nn.Conv2d(in_planes, out_planes, kernel_size=1, stride=stride, bias=False)


class BasicBlock(nn.Module):
    """relu(bn(conv3x3(relu(bn(conv3x3(x))))) + shortcut(x))."""

    expansion: ClassVar[int] = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if groups != 1 or base_width != 64:
            raise ValueError("BasicBlock only supports groups=1 and base_width=64")
        if dilation > 1:
            raise NotImplementedError("Dilation > 1 not supported in BasicBlock")
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm_layer(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = norm_layer(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(batch_norm_relu(self.bn1, self.relu, self.conv1(x)))
        return batch_norm_relu(self.bn2, self.relu, out, lambda: x if self.downsample is None else self.downsample(x))


class Bottleneck(nn.Module):
    """relu(conv1x1 → conv3x3 → conv1x1 of four times the channels, each normalised, + shortcut(x))."""

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = conv1x1(inplanes, width)
        self.bn1 = norm_layer(width)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm_layer(width)
        self.conv3 = conv1x1(width, planes * self.expansion)
        self.bn3 = norm_layer(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = batch_norm_relu(self.bn1, self.relu, self.conv1(x))
        out = self.conv3(batch_norm_relu(self.bn2, self.relu, self.conv2(out)))
        return batch_norm_relu(self.bn3, self.relu, out, lambda: x if self.downsample is None else self.downsample(x))


class ResNet(nn.Module):
    """Images (N, 3, H, W), usually 224 x 224 → scores (N, num_classes).

    Args:
        block: BasicBlock or Bottleneck.
        layers: blocks in each of the four stages.
        num_classes: the classes.
        zero_init_residual: the last normalisation of each block starts at 0, so that the block is the identity.
        groups, width_per_group: of the bottleneck's 3x3 (ResNeXt, Wide ResNet).
        replace_stride_with_dilation: for the last three stages: dilate instead of halving the resolution.
        norm_layer: makes a normalisation from a number of channels.

    Sources: K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", 2016; S. Xie et al.,
    "Aggregated residual transformations for deep neural networks", 2017 (ResNeXt); S. Zagoruyko, N. Komodakis,
    "Wide residual networks", 2016.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self._norm_layer = norm_layer or nn.BatchNorm2d
        self.inplanes = 64
        self.dilation = 1
        self.groups = groups
        self.base_width = width_per_group
        dilate = (False, False, False) if replace_stride_with_dilation is None else replace_stride_with_dilation
        if len(dilate) != 3:
            raise ValueError(f"replace_stride_with_dilation should be None or a 3-element tuple, got {dilate}")
        self.conv1 = nn.Conv2d(3, self.inplanes, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm_layer(self.inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, 64, layers[0])
        self.layer2 = self._make_layer(block, 128, layers[1], stride=2, dilate=dilate[0])
        self.layer3 = self._make_layer(block, 256, layers[2], stride=2, dilate=dilate[1])
        self.layer4 = self._make_layer(block, 512, layers[3], stride=2, dilate=dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
        if zero_init_residual:
            for m in self.modules():
                if isinstance(m, Bottleneck):
                    nn.init.zeros_(m.bn3.weight)
                elif isinstance(m, BasicBlock):
                    nn.init.zeros_(m.bn2.weight)

    def _make_layer(
        self, block: type[BasicBlock | Bottleneck], planes: int, blocks: int, stride: int = 1, dilate: bool = False
    ) -> nn.Sequential:
        before = self.dilation
        if dilate:
            self.dilation *= stride
            stride = 1
        out, downsample = planes * block.expansion, None
        if stride != 1 or self.inplanes != out:
            downsample = nn.Sequential(conv1x1(self.inplanes, out, stride), self._norm_layer(out))
        shared = (self.groups, self.base_width)
        first = block(self.inplanes, planes, stride, downsample, *shared, before, self._norm_layer)
        self.inplanes = out
        rest = [block(out, planes, 1, None, *shared, self.dilation, self._norm_layer) for _ in range(1, blocks)]
        return nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(batch_norm_relu(self.bn1, self.relu, self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _resnet(block: type[BasicBlock | Bottleneck], layers: list[int], weights: Any, kwargs: dict[str, Any]) -> ResNet:
    pretrained = kwargs.pop("pretrained", False)
    return load_weights(ResNet(block, layers, **kwargs), weights, pretrained=pretrained)


def resnet18(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-18 of (2, 2, 2, 2) basic blocks, 11,689,512 parameters; see `ResNet`."""
    return _resnet(BasicBlock, [2, 2, 2, 2], weights, kwargs)


def resnet34(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-34 of (3, 4, 6, 3) basic blocks, 21,797,672 parameters; see `ResNet`."""
    return _resnet(BasicBlock, [3, 4, 6, 3], weights, kwargs)


def resnet50(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-50 of (3, 4, 6, 3) bottlenecks, 25,557,032 parameters; see `ResNet`."""
    return _resnet(Bottleneck, [3, 4, 6, 3], weights, kwargs)


def resnet101(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-101 of (3, 4, 23, 3) bottlenecks, 44,549,160 parameters; see `ResNet`."""
    return _resnet(Bottleneck, [3, 4, 23, 3], weights, kwargs)


def resnet152(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-152 of (3, 8, 36, 3) bottlenecks, 60,192,808 parameters; see `ResNet`."""
    return _resnet(Bottleneck, [3, 8, 36, 3], weights, kwargs)


def resnext50_32x4d(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNeXt-50, the 3x3 in 32 groups of width 4, 25,028,904 parameters; see `ResNet`."""
    return _resnet(Bottleneck, [3, 4, 6, 3], weights, {"groups": 32, "width_per_group": 4, **kwargs})


def resnext101_32x8d(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNeXt-101, the 3x3 in 32 groups of width 8, 88,791,336 parameters; see `ResNet`."""
    return _resnet(Bottleneck, [3, 4, 23, 3], weights, {"groups": 32, "width_per_group": 8, **kwargs})


def resnext101_64x4d(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNeXt-101, the 3x3 in 64 groups of width 4, 83,455,272 parameters; see `ResNet`."""
    return _resnet(Bottleneck, [3, 4, 23, 3], weights, {"groups": 64, "width_per_group": 4, **kwargs})


def wide_resnet50_2(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """Wide ResNet-50-2, the 3x3 of twice the width, 68,883,240 parameters; see `ResNet`."""
    return _resnet(Bottleneck, [3, 4, 6, 3], weights, {"width_per_group": 128, **kwargs})


def wide_resnet101_2(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """Wide ResNet-101-2, the 3x3 of twice the width, 126,886,696 parameters; see `ResNet`."""
    return _resnet(Bottleneck, [3, 4, 23, 3], weights, {"width_per_group": 128, **kwargs})
