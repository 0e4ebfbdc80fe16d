"""LeNet-5: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998.

32 x 32 → C1 6@28x28 → S2 6@14x14 → C3 16@10x10 → S4 16@5x5 → C5 120 → F6 84 → 10

The network of the paper has trainable subsampling, a hand-made table of connections from S2 to C3 (60,000 parameters)
and radial basis functions at its end. This is the form in which it is taught: average or maximum pooling, all
connections in C3, a linear output: 61,706 parameters.
"""

from .. import nn
from ..autograd import Tensor


class LeNet5(nn.Module):
    """Images (N, in_channels, 32, 32) → scores (N, num_classes).

    Args:
        num_classes: the classes.
        in_channels: 1 for grey images.
        activation: makes the nonlinearity; the paper's is a scaled tanh.
        pooling: makes the subsampling; `nn.MaxPool2d` is the usual one today.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
    1998.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        activation: type[nn.Module] = nn.Tanh,
        pooling: type[nn.Module] = nn.AvgPool2d,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5),
            activation(),
            pooling(2),
            nn.Conv2d(6, 16, 5),
            activation(),
            pooling(2),
            nn.Conv2d(16, 120, 5),
            activation(),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(120, 84), activation(), nn.Linear(84, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
