"""GoogLeNet (Inception v1) and Inception v2.

Szegedy et al., "Going deeper with convolutions", 2015: nine inception modules, 22 layers, two auxiliary heads whose
loss is added with weight 0.3 in training. Layers and names are those of PyTorch's model library (batch norm after each
convolution; a 3x3 in the place of the 5x5), so its checkpoints load.
Ioffe, Szegedy, "Batch normalization", 2015 (BN-Inception, called Inception v2): the 5x5 becomes two 3x3.
"""

from collections import namedtuple
from typing import Any

from .. import nn
from ..autograd import Tensor
from ..autograd.ops.joining import concat
from ..nn import functional as F
from .weights import load_weights

GoogLeNetOutputs = namedtuple("GoogLeNetOutputs", ["logits", "aux_logits2", "aux_logits1"])
GoogLeNetOutputs.__doc__ = "What GoogLeNet gives in training: scores (N, num_classes) and those of its auxiliary heads."


class BasicConv2d(nn.Module):
    """relu(batch_norm(conv(x)))."""

    def __init__(self, in_channels: int, out_channels: int, **kwargs: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 → 3x3; 1x1 → 3x3; 3x3 pooling → 1x1; their channels are joined."""

    def __init__(
        self, in_channels: int, ch1x1: int, ch3x3red: int, ch3x3: int, ch5x5red: int, ch5x5: int, pool_proj: int
    ) -> None:
        super().__init__()
        conv = BasicConv2d
        self.branch1 = conv(in_channels, ch1x1, kernel_size=1)
        self.branch2 = nn.Sequential(
            conv(in_channels, ch3x3red, kernel_size=1), conv(ch3x3red, ch3x3, kernel_size=3, padding=1)
        )
        # The paper's 5x5 is a 3x3 in the library whose weights are to load.
        self.branch3 = nn.Sequential(
            conv(in_channels, ch5x5red, kernel_size=1), conv(ch5x5red, ch5x5, kernel_size=3, padding=1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True),
            conv(in_channels, pool_proj, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return concat(self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x), dim=1)


class InceptionAux(nn.Module):
    """Auxiliary classifier on a feature map in the middle: average pooling to 4x4, 1x1, two linear layers."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.7) -> None:
        super().__init__()
        self.conv = BasicConv2d(in_channels, 128, kernel_size=1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x), inplace=True)))


class GoogLeNet(nn.Module):
    """Images (N, 3, H, W), usually 224 x 224 → scores (N, num_classes).

    In training with `aux_logits` the result is GoogLeNetOutputs(logits, aux_logits2, aux_logits1); the loss is
    loss(logits) + 0.3 (loss(aux_logits1) + loss(aux_logits2)). In evaluation it is the scores alone.

    transform_input: bring images normalised as PyTorch's library does it back to [-1, 1]. Source: C. Szegedy et
    al., "Going deeper with convolutions", 2015, in the form of PyTorch's library (batch norm, 3x3 for the 5x5).

    aux_logits: with two auxiliary heads. init_weights: normal ones of deviation 0.01 (None too); False leaves the
    layers' own. dropout, dropout_aux: before the last layers.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        init_weights: bool | None = None,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
    ) -> None:
        super().__init__()
        self.aux_logits = aux_logits
        self.transform_input = transform_input
        self.conv1 = BasicConv2d(3, 64, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, kernel_size=1)
        self.conv3 = BasicConv2d(64, 192, kernel_size=3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = InceptionAux(512, num_classes, dropout_aux) if aux_logits else None
        self.aux2 = InceptionAux(528, num_classes, dropout_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(p=dropout)
        self.fc = nn.Linear(1024, num_classes)
        if init_weights is not False:
            for m in self.modules():
                if isinstance(m, (nn.Conv2d, nn.Linear)):
                    nn.init.trunc_normal_(m.weight, mean=0.0, std=0.01, a=-2, b=2)

    def forward(self, x: Tensor) -> Any:
        if self.transform_input:
            x = _to_half_range(x)
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = middle1 = self.inception4a(x)
        x = middle2 = self.inception4d(self.inception4c(self.inception4b(x)))
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return GoogLeNetOutputs(logits, self.aux2(middle2), self.aux1(middle1))
        return logits


def _to_half_range(x: Tensor) -> Tensor:
    """From ImageNet's means and deviations to (x - 0.5) / 0.5, in which the published weights were trained."""
    stats = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
    channels = [x[:, i : i + 1] * (s / 0.5) + (m - 0.5) / 0.5 for i, (m, s) in enumerate(stats)]
    return concat(*channels, dim=1)


class InceptionV2Block(nn.Module):
    """Inception module of BN-Inception: 1x1; 1x1 → 3x3; 1x1 → 3x3 → 3x3; pooling → 1x1.

    With stride 2 the first branch is absent and the pooling has no projection, as in its layers 3c and 4e.
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch_double_red: int,
        ch_double: int,
        pool_proj: int,
        pool: str = "avg",
        stride: int = 1,
    ) -> None:
        super().__init__()
        conv = BasicConv2d
        branches: list[nn.Module] = []
        if stride == 1:
            branches.append(conv(in_channels, ch1x1, kernel_size=1))
        branches.append(
            nn.Sequential(
                conv(in_channels, ch3x3red, kernel_size=1),
                conv(ch3x3red, ch3x3, kernel_size=3, stride=stride, padding=1),
            )
        )
        branches.append(
            nn.Sequential(
                conv(in_channels, ch_double_red, kernel_size=1),
                conv(ch_double_red, ch_double, kernel_size=3, padding=1),
                conv(ch_double, ch_double, kernel_size=3, stride=stride, padding=1),
            )
        )
        pooling: nn.Module = nn.AvgPool2d(3, stride, 1) if pool == "avg" else nn.MaxPool2d(3, stride, 1)
        branches.append(nn.Sequential(pooling, conv(in_channels, pool_proj, kernel_size=1)) if stride == 1 else pooling)
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return concat(*[branch(x) for branch in self.branches], dim=1)


class InceptionV2(nn.Module):
    """BN-Inception: images (N, 3, 224, 224) → scores (N, num_classes); figure 5 of the paper.

    dropout: before the last layer.

    Source: S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", 2015.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        block = InceptionV2Block
        self.stem = nn.Sequential(
            BasicConv2d(3, 64, kernel_size=7, stride=2, padding=3),
            nn.MaxPool2d(3, 2, padding=1),
            BasicConv2d(64, 64, kernel_size=1),
            BasicConv2d(64, 192, kernel_size=3, padding=1),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.inception3 = nn.Sequential(
            block(192, 64, 64, 64, 64, 96, 32),
            block(256, 64, 64, 96, 64, 96, 64),
            block(320, 0, 128, 160, 64, 96, 0, "max", 2),
        )
        self.inception4 = nn.Sequential(
            block(576, 224, 64, 96, 96, 128, 128),
            block(576, 192, 96, 128, 96, 128, 128),
            block(576, 160, 128, 160, 128, 160, 96),
            block(576, 96, 128, 192, 160, 192, 96),
            block(576, 0, 128, 192, 192, 256, 0, "max", 2),
        )
        self.inception5 = nn.Sequential(
            block(1024, 352, 192, 320, 160, 224, 128),
            block(1024, 352, 192, 320, 192, 224, 128, "max"),
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(1024, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.inception5(self.inception4(self.inception3(self.stem(x)))))


def googlenet(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> GoogLeNet:
    """GoogLeNet: 6,624,904 parameters without its auxiliary heads; `weights` is the path of a checkpoint.

    As in PyTorch's library, a checkpoint means the form in which its numbers were trained: transform_input=True, and
    auxiliary heads only if they are asked for. See `GoogLeNet`.
    """
    pretrained = kwargs.pop("pretrained", False)
    wanted = kwargs.get("aux_logits", weights is None)
    if weights is not None:
        kwargs.update(aux_logits=True, init_weights=False)
        kwargs.setdefault("transform_input", True)
    model = load_weights(GoogLeNet(**kwargs), weights, pretrained=pretrained)
    if not wanted:
        model.aux_logits, model.aux1, model.aux2 = False, None, None
    return model
