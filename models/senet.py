"""SE-ResNet: Hu, Shen, Sun, "Squeeze-and-excitation networks", 2018.

s = σ(W₂ relu(W₁ z)) with z_c the mean of channel c; channel c of a block's residual is multiplied by s_c.
"""

from collections.abc import Callable
from typing import Any

from .. import nn
from ..autograd import Tensor
from .resnet import BasicBlock, Bottleneck, ResNet
from .weights import load_weights


class SqueezeExcitation(nn.Module):
    """x · σ(W₂ relu(W₁ mean(x))), channel by channel: (N, C, H, W) → the same; C / `reduction` hidden units."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc1(x.mean((2, 3), keepdim=True)).relu()
        return x * self.fc2(scale).sigmoid()


class SEBasicBlock(BasicBlock):
    """Basic residual block whose residual passes through SqueezeExcitation."""

    def __init__(self, inplanes: int, planes: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(inplanes, planes, *args, **kwargs)
        self.se = SqueezeExcitation(planes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.se(self.bn2(self.conv2(out)))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class SEBottleneck(Bottleneck):
    """Bottleneck block whose residual passes through SqueezeExcitation."""

    def __init__(self, inplanes: int, planes: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(inplanes, planes, *args, **kwargs)
        self.se = SqueezeExcitation(planes * self.expansion)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.se(self.bn3(self.conv3(out)))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


def _make(block: Callable[..., Any], layers: list[int], weights: Any, kwargs: dict[str, Any]) -> ResNet:
    return load_weights(ResNet(block, layers, **kwargs), weights)  # type: ignore[arg-type]


def se_resnet18(*, weights: Any = None, **kwargs: Any) -> ResNet:
    """ResNet-18 with squeeze-and-excitation in each block, 11,778,592 parameters; see `ResNet`.

    Source: J. Hu, L. Shen, G. Sun, "Squeeze-and-excitation networks", 2018.
    """
    return _make(SEBasicBlock, [2, 2, 2, 2], weights, kwargs)


def se_resnet50(*, weights: Any = None, **kwargs: Any) -> ResNet:
    """ResNet-50 with squeeze-and-excitation in each block, 28,088,024 parameters, 10 % more than without.

    Source: J. Hu, L. Shen, G. Sun, "Squeeze-and-excitation networks", 2018.
    """
    return _make(SEBottleneck, [3, 4, 6, 3], weights, kwargs)
