"""Inception v3 and Inception-ResNet-v2.

Szegedy et al., "Rethinking the inception architecture for computer vision", 2016: 7x7 factorised into 1x7 and 7x1,
grids reduced by convolution and pooling side by side, a batch-normalised auxiliary head. Layers and names are those of
PyTorch's model library, so its checkpoints load.
Szegedy et al., "Inception-v4, Inception-ResNet and the impact of residual connections on learning", 2017.
"""

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

from .. import nn
from ..autograd import Tensor
from ..autograd.ops.joining import concat
from ..nn import functional as F
from .googlenet import BasicConv2d, _to_half_range
from .weights import load_weights

InceptionOutputs = namedtuple("InceptionOutputs", ["logits", "aux_logits"])
InceptionOutputs.__doc__ = "What Inception3 gives in training: scores (N, num_classes) and those of its auxiliary head."
Branch = Sequence[tuple[int, int | tuple[int, int]]]  # (out_channels, kernel_size) of convolutions in a row


class InceptionA(nn.Module):
    """35x35: 1x1; 1x1 → 5x5; 1x1 → 3x3 → 3x3; average pooling → 1x1."""

    def __init__(self, in_channels: int, pool_features: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 64, kernel_size=1)
        self.branch5x5_1 = BasicConv2d(in_channels, 48, kernel_size=1)
        self.branch5x5_2 = BasicConv2d(48, 64, kernel_size=5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 64, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, padding=1)
        self.branch_pool = BasicConv2d(in_channels, pool_features, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return concat(self.branch1x1(x), five, three, pool, dim=1)


class InceptionB(nn.Module):
    """35x35 → 17x17: 3x3 at stride 2; 1x1 → 3x3 → 3x3 at stride 2; pooling at stride 2."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = BasicConv2d(in_channels, 384, kernel_size=3, stride=2)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 64, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return concat(self.branch3x3(x), double, F.max_pool2d(x, kernel_size=3, stride=2), dim=1)


class InceptionC(nn.Module):
    """17x17: 1x1; 1x1 → 1x7 → 7x1; 1x1 → twice (7x1 → 1x7); average pooling → 1x1. The lecture's n = 7."""

    def __init__(self, in_channels: int, channels_7x7: int) -> None:
        super().__init__()
        c = channels_7x7
        self.branch1x1 = BasicConv2d(in_channels, 192, kernel_size=1)
        self.branch7x7_1 = BasicConv2d(in_channels, c, kernel_size=1)
        self.branch7x7_2 = BasicConv2d(c, c, kernel_size=(1, 7), padding=(0, 3))
        self.branch7x7_3 = BasicConv2d(c, 192, kernel_size=(7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = BasicConv2d(in_channels, c, kernel_size=1)
        self.branch7x7dbl_2 = BasicConv2d(c, c, kernel_size=(7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = BasicConv2d(c, c, kernel_size=(1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = BasicConv2d(c, c, kernel_size=(7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = BasicConv2d(c, 192, kernel_size=(1, 7), padding=(0, 3))
        self.branch_pool = BasicConv2d(in_channels, 192, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return concat(self.branch1x1(x), seven, double, pool, dim=1)


class InceptionD(nn.Module):
    """17x17 → 8x8: 1x1 → 3x3 at stride 2; 1x1 → 1x7 → 7x1 → 3x3 at stride 2; pooling at stride 2."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = BasicConv2d(in_channels, 192, kernel_size=1)
        self.branch3x3_2 = BasicConv2d(192, 320, kernel_size=3, stride=2)
        self.branch7x7x3_1 = BasicConv2d(in_channels, 192, kernel_size=1)
        self.branch7x7x3_2 = BasicConv2d(192, 192, kernel_size=(1, 7), padding=(0, 3))
        self.branch7x7x3_3 = BasicConv2d(192, 192, kernel_size=(7, 1), padding=(3, 0))
        self.branch7x7x3_4 = BasicConv2d(192, 192, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return concat(three, seven, F.max_pool2d(x, kernel_size=3, stride=2), dim=1)


class InceptionE(nn.Module):
    """8x8: 1x1; 1x1 → (1x3 beside 3x1); 1x1 → 3x3 → (1x3 beside 3x1); average pooling → 1x1."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 320, kernel_size=1)
        self.branch3x3_1 = BasicConv2d(in_channels, 384, kernel_size=1)
        self.branch3x3_2a = BasicConv2d(384, 384, kernel_size=(1, 3), padding=(0, 1))
        self.branch3x3_2b = BasicConv2d(384, 384, kernel_size=(3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 448, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(448, 384, kernel_size=3, padding=1)
        self.branch3x3dbl_3a = BasicConv2d(384, 384, kernel_size=(1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = BasicConv2d(384, 384, kernel_size=(3, 1), padding=(1, 0))
        self.branch_pool = BasicConv2d(in_channels, 192, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return concat(
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)),
            dim=1,
        )


class InceptionAux(nn.Module):
    """Auxiliary classifier on the 17x17 grid."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv0 = BasicConv2d(in_channels, 128, kernel_size=1)
        self.conv1 = BasicConv2d(128, 768, kernel_size=5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.conv0(F.avg_pool2d(x, kernel_size=5, stride=3)))
        return self.fc(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


class Inception3(nn.Module):
    """Images (N, 3, 299, 299) → scores; in training with `aux_logits`, InceptionOutputs(logits, aux_logits).

    transform_input: bring images normalised as PyTorch's library does it back to [-1, 1]. init_weights: normal ones
    of deviation 0.1, less in the auxiliary head (None too); False leaves the layers' own. dropout: before the last
    layer. Source: C. Szegedy et al., "Rethinking the inception architecture for computer vision", 2016.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        init_weights: bool | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.aux_logits = aux_logits
        self.transform_input = transform_input
        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, kernel_size=3, padding=1)
        self.maxpool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, kernel_size=3)
        self.maxpool2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.Mixed_5b = InceptionA(192, pool_features=32)
        self.Mixed_5c = InceptionA(256, pool_features=64)
        self.Mixed_5d = InceptionA(288, pool_features=64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, channels_7x7=128)
        self.Mixed_6c = InceptionC(768, channels_7x7=160)
        self.Mixed_6d = InceptionC(768, channels_7x7=160)
        self.Mixed_6e = InceptionC(768, channels_7x7=192)
        self.AuxLogits = InceptionAux(768, num_classes) if aux_logits else None
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(p=dropout)
        self.fc = nn.Linear(2048, num_classes)
        if init_weights is not False:
            for name, m in self.named_modules():
                if isinstance(m, (nn.Conv2d, nn.Linear)):
                    std = {"AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}.get(name, 0.1)
                    nn.init.trunc_normal_(m.weight, mean=0.0, std=std, a=-2, b=2)

    def forward(self, x: Tensor) -> Any:
        if self.transform_input:
            x = _to_half_range(x)
        x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = middle = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        logits = self.fc(self.dropout(self.avgpool(x)).flatten(1))
        if self.training and self.AuxLogits is not None:
            return InceptionOutputs(logits, self.AuxLogits(middle))
        return logits


class InceptionResidual(nn.Module):
    """relu(x + scale · conv1x1(join of branches)): blocks A, B and C of Inception-ResNet, by their branches.

    Each branch is a sequence of (out_channels, kernel_size); sizes are kept. `scale` (0.1 to 0.3) keeps training stable
    (section 3.3).
    """

    def __init__(
        self,
        channels: int,
        branches: Sequence[Branch],
        scale: float = 0.1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.scale, self.activation = scale, activation
        self.branches = nn.ModuleList(_chain(channels, branch) for branch in branches)
        self.project = nn.Conv2d(sum(branch[-1][0] for branch in branches), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = x + self.scale * self.project(concat(*[branch(x) for branch in self.branches], dim=1))
        return F.relu(out) if self.activation else out


def _chain(channels: int, steps: Branch, last_stride: int = 1) -> nn.Sequential:
    """Convolutions in a row; the last one, where it has a stride, without padding."""
    layers = []
    for i, (out, kernel) in enumerate(steps):
        sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
        stride = last_stride if i == len(steps) - 1 else 1
        padding = (0, 0) if stride > 1 else (sizes[0] // 2, sizes[1] // 2)
        layers.append(BasicConv2d(channels, out, kernel_size=sizes, stride=stride, padding=padding))
        channels = out
    return nn.Sequential(*layers)


class InceptionReduction(nn.Module):
    """Halve the grid: each branch ends at stride 2, beside 3x3 max pooling at stride 2."""

    def __init__(self, channels: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_chain(channels, branch, last_stride=2) for branch in branches)

    def forward(self, x: Tensor) -> Tensor:
        return concat(*[branch(x) for branch in self.branches], F.max_pool2d(x, 3, stride=2), dim=1)


class InceptionResNetV2(nn.Module):
    """Images (N, 3, 299, 299) → scores (N, num_classes).

    Stem to 35x35x320; `blocks` = (10, 20, 10) residual blocks at 35x35 (320 channels), 17x17 (1088) and 8x8 (2080); 1x1
    to 1536 features; 55.8 million parameters. dropout: before the last layer.

    Source: C. Szegedy et al., "Inception-v4, Inception-ResNet and the impact of residual connections on learning",
    2017.
    """

    def __init__(
        self, num_classes: int = 1000, blocks: tuple[int, int, int] = (10, 20, 10), dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            BasicConv2d(3, 32, kernel_size=3, stride=2),
            BasicConv2d(32, 32, kernel_size=3),
            BasicConv2d(32, 64, kernel_size=3, padding=1),
            nn.MaxPool2d(3, stride=2),
            BasicConv2d(64, 80, kernel_size=1),
            BasicConv2d(80, 192, kernel_size=3),
            nn.MaxPool2d(3, stride=2),
        )
        self.mixed = _Mixed5b()
        a: list[Branch] = [[(32, 1)], [(32, 1), (32, 3)], [(32, 1), (48, 3), (64, 3)]]
        b: list[Branch] = [[(192, 1)], [(128, 1), (160, (1, 7)), (192, (7, 1))]]
        c: list[Branch] = [[(192, 1)], [(192, 1), (224, (1, 3)), (256, (3, 1))]]
        self.blocks_a = nn.Sequential(*[InceptionResidual(320, a, 0.17) for _ in range(blocks[0])])
        self.reduce_a = InceptionReduction(320, [[(384, 3)], [(256, 1), (256, 3), (384, 3)]])
        self.blocks_b = nn.Sequential(*[InceptionResidual(1088, b, 0.10) for _ in range(blocks[1])])
        self.reduce_b = InceptionReduction(
            1088, [[(256, 1), (384, 3)], [(256, 1), (288, 3)], [(256, 1), (288, 3), (320, 3)]]
        )
        last = blocks[2] - 1
        self.blocks_c = nn.Sequential(
            *[InceptionResidual(2080, c, 0.20 if i < last else 1.0, activation=i < last) for i in range(blocks[2])]
        )
        self.features = BasicConv2d(2080, 1536, kernel_size=1)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(1536, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce_a(self.blocks_a(self.mixed(self.stem(x))))
        x = self.blocks_c(self.reduce_b(self.blocks_b(x)))
        return self.classifier(self.features(x))


class _Mixed5b(nn.Module):
    """192 → 320 channels at 35x35: 1x1; 1x1 → 5x5; 1x1 → 3x3 → 3x3; pooling → 1x1."""

    def __init__(self) -> None:
        super().__init__()
        paths: list[Branch] = [
            [(96, 1)],
            [(48, 1), (64, 5)],
            [(64, 1), (96, 3), (96, 3)],
        ]
        self.branches = nn.ModuleList(_chain(192, path) for path in paths)
        self.pool = BasicConv2d(192, 64, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False))
        return concat(*[branch(x) for branch in self.branches], pooled, dim=1)


def inception_v3(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> Inception3:
    """Inception v3: 27,161,264 parameters with its auxiliary head; `weights` is the path of a checkpoint.

    As in PyTorch's library, a checkpoint means transform_input=True, and an auxiliary head unless aux_logits=False. See
    `Inception3`.
    """
    pretrained = kwargs.pop("pretrained", False)
    wanted = kwargs.get("aux_logits", True)
    if weights is not None:
        kwargs.update(aux_logits=True, init_weights=False)
        kwargs.setdefault("transform_input", True)
    model = load_weights(Inception3(**kwargs), weights, pretrained=pretrained)
    if not wanted:
        model.aux_logits, model.AuxLogits = False, None
    return model
