"""The multilayer perceptron: D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating
errors", 1986.

x → activation(W₁ x + b₁) → … → W_L h + b_L. One hidden layer of two units computes exclusive or, which no perceptron
does (M. Minsky, S. Papert, "Perceptrons", 1969).
"""

from collections.abc import Sequence
from itertools import pairwise

from .. import nn
from ..autograd import Tensor
from ..autograd.creation import tensor


class MLP(nn.Sequential):
    """Inputs (..., sizes[0]) → outputs (..., sizes[-1]), without an activation at the end.

    Args:
        sizes: the numbers of units, from the inputs to the outputs.
        activation: makes the nonlinearity after each hidden layer.
        dropout: the probability with which a hidden unit is dropped, before the next layer.

    Source: D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating errors", 1986.
    """

    def __init__(self, sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for n, m in pairwise(sizes):
            if layers:
                layers += [activation(), *([nn.Dropout(dropout)] if dropout else [])]
            layers.append(nn.Linear(n, m))
        super().__init__(*layers)


def xor() -> tuple[Tensor, Tensor]:
    """The four inputs (4, 2) and their exclusive or (4, 1)."""
    return tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), tensor([[0.0], [1.0], [1.0], [0.0]])
