"""Residual networks of the CIFAR papers: pre-activation, wide, with stochastic depth, of residual networks.

He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", 2016: batch norm and ReLU before each convolution.
Zagoruyko, Komodakis, "Wide residual networks", 2016: the same with `widen` times the channels and dropout between.
Huang et al., "Deep networks with stochastic depth", 2016: in training, block l of L is left out with probability
l/L · drop_prob, the last one thus most often.
Zhang et al., "Residual networks of residual networks", 2017: further shortcuts, over each stage and over all of them.
"""

from typing import Any

from .. import nn
from ..autograd import Tensor
from ..nn import functional as F


class PreActBlock(nn.Module):
    """shortcut(x) + conv(relu(bn(conv(relu(bn(x)))))), with 1x1 convolutions around it where `bottleneck`.

    Where channels or size change, the shortcut is a 1x1 on the activated input. In training the residual is kept with
    probability 1 - drop_prob and divided by it, one draw for each sample.
    """

    def __init__(
        self,
        in_planes: int,
        planes: int,
        stride: int = 1,
        bottleneck: bool = False,
        dropout: float = 0.0,
        drop_prob: float = 0.0,
    ) -> None:
        super().__init__()
        out = planes * (4 if bottleneck else 1)
        if bottleneck:
            steps = [(in_planes, planes, 1, 1), (planes, planes, 3, stride), (planes, out, 1, 1)]
        else:
            steps = [(in_planes, planes, 3, stride), (planes, out, 3, 1)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(a) for a, *_ in steps)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, k, s, k // 2, bias=False) for a, b, k, s in steps)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = nn.StochasticDepth(drop_prob, "row")
        same = stride == 1 and in_planes == out
        self.shortcut = None if same else nn.Conv2d(in_planes, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norms[0](x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        out = self.convs[0](active)
        for norm, conv in zip(self.norms[1:], self.convs[1:], strict=True):
            out = conv(self.dropout(F.relu(norm(out))))
        return shortcut + self.drop_path(out)


class PreActResNet(nn.Module):
    """Images (N, 3, H, W), usually 32 x 32 → scores (N, num_classes).

    Args:
        depth: layers; 6n + 2 with basic blocks (one stage of n blocks for 16, 32 and 64 channels), 9n + 2 with
            bottlenecks. Wide residual networks are named by 6n + 4, whose two more are the shortcuts' 1x1.
        widen: multiplies the channels.
        bottleneck: blocks of three convolutions.
        dropout: between the convolutions of a block.
        drop_prob: stochastic depth of the last block; the others' rise linearly to it.
        multilevel: shortcuts over each stage and over all (residual network of residual networks).
        num_classes: the classes.

    ValueError for other depths. Sources: K. He, X. Zhang, S. Ren, J. Sun, "Identity mappings in deep residual
    networks", 2016, and those of the functions below.
    """

    def __init__(
        self,
        depth: int = 20,
        widen: int = 1,
        bottleneck: bool = False,
        dropout: float = 0.0,
        drop_prob: float = 0.0,
        multilevel: bool = False,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        per_block = 9 if bottleneck else 6
        if (depth - 2) % per_block not in (0, 2) or depth < per_block + 2:
            raise ValueError(f"PreActResNet: depth must be {per_block}n + 2 or {per_block}n + 4, got {depth}")
        n = (depth - 2) // per_block
        expansion = 4 if bottleneck else 1
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.stages = nn.ModuleList()
        self.over_stages = nn.ModuleList()
        channels = 16
        for stage, planes in enumerate((16 * widen, 32 * widen, 64 * widen)):
            blocks = []
            first = channels
            for i in range(n):
                drop = drop_prob * (stage * n + i + 1) / (3 * n)
                stride = 2 if stage and i == 0 else 1
                blocks.append(PreActBlock(channels, planes, stride, bottleneck, dropout, drop))
                channels = planes * expansion
            self.stages.append(nn.Sequential(*blocks))
            if multilevel:
                self.over_stages.append(nn.Conv2d(first, channels, 1, 2 if stage else 1, bias=False))
        self.over_all = nn.Conv2d(16, channels, 1, 4, bias=False) if multilevel else None
        self.norm = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = start = self.conv(x)
        for i, stage in enumerate(self.stages):
            x = stage(x) + self.over_stages[i](x) if self.over_stages else stage(x)
        if self.over_all is not None:
            x = x + self.over_all(start)
        return self.fc(F.adaptive_avg_pool2d(F.relu(self.norm(x)), 1).flatten(1))


def preact_resnet(depth: int = 110, **kwargs: Any) -> PreActResNet:
    """Pre-activation ResNet of `depth` = 6n + 2 layers (or 9n + 2 with bottleneck=True); 1,730,522 parameters at 110.

    Source: K. He, X. Zhang, S. Ren, J. Sun, "Identity mappings in deep residual networks", 2016.
    """
    return PreActResNet(depth, **kwargs)


def wide_resnet(depth: int = 28, widen: int = 10, dropout: float = 0.3, **kwargs: Any) -> PreActResNet:
    """WRN-depth-widen, depth = 6n + 4, with `widen` times the channels; WRN-28-10 has 36.5 million parameters.

    dropout: between the convolutions of a block.

    Source: S. Zagoruyko, N. Komodakis, "Wide residual networks", 2016.
    """
    return PreActResNet(depth, widen, dropout=dropout, **kwargs)


def stochastic_depth_resnet(depth: int = 110, drop_prob: float = 0.5, **kwargs: Any) -> PreActResNet:
    """ResNet whose block l of L survives a training step with probability 1 - l/L · drop_prob; see `PreActResNet`.

    Source: G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Weinberger, "Deep networks with stochastic depth", 2016.
    """
    return PreActResNet(depth, drop_prob=drop_prob, **kwargs)


def resnet_of_resnets(depth: int = 110, **kwargs: Any) -> PreActResNet:
    """RoR-3: shortcuts at three levels; the paper trains it with stochastic depth (drop_prob=0.5).

    Source: K. Zhang et al., "Residual networks of residual networks: multilevel residual networks", 2017.
    """
    return PreActResNet(depth, multilevel=True, **kwargs)
