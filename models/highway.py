"""Highway network: Srivastava, Greff, Schmidhuber, "Training very deep networks", 2015.

y = T(x) · H(x) + (1 - T(x)) · x, with a gate T(x) = σ(W_T x + b_T) whose bias starts negative: at first a layer copies.
"""

from collections.abc import Callable

from .. import nn
from ..autograd import Tensor
from ..nn import functional as F


class HighwayLayer(nn.Module):
    """One layer, (..., features) → the same shape.

    y = T · H + (1 - T) · x, H = activation(W x + b), T = σ(W_T x + b_T), whose bias starts at `gate_bias`. Source:
    R. Srivastava, K. Greff, J. Schmidhuber, "Training very deep networks", 2015.
    """

    def __init__(self, features: int, activation: Callable[[Tensor], Tensor] = F.relu, gate_bias: float = -2.0) -> None:
        super().__init__()
        self.transform = nn.Linear(features, features)
        self.gate = nn.Linear(features, features)
        self.activation = activation
        nn.init.constant_(self.gate.bias, gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x).sigmoid()
        return x + gate * (self.activation(self.transform(x)) - x)


class Highway(nn.Module):
    """Linear to `hidden`, `depth` highway layers, linear: (N, in_features) → (N, out_features).

    gate_bias: see `HighwayLayer`.

    Source: R. Srivastava, K. Greff, J. Schmidhuber, "Training very deep networks", 2015.
    """

    def __init__(
        self, in_features: int, hidden: int, out_features: int, depth: int = 10, gate_bias: float = -2.0
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(in_features, hidden)
        self.layers = nn.Sequential(*[HighwayLayer(hidden, gate_bias=gate_bias) for _ in range(depth)])
        self.leave = nn.Linear(hidden, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.layers(F.relu(self.enter(x))))
