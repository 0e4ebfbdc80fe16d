"""The perceptron: F. Rosenblatt, "The perceptron: a probabilistic model for information storage and organization in
the brain", 1958.

Where y (w · x + b) ≤ 0 the example is wrong, and w ← w + y x, b ← b + y. If a unit vector separates the examples by a
margin γ and none is longer than R, at most (R / γ)² corrections are made (A. Novikoff, 1962; bias as an input of 1).
"""

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.ops.scatter import where


class Perceptron(nn.Module):
    """Inputs (N, features) → scores w · x + b (N,); the class is the sign, 1 where the score is 0.

    As a module it also learns by gradients: a step of SGD with batches of one on `nn.functional.perceptron_loss`,
    max(0, -y (w · x + b)), is Rosenblatt's rule, but for scores of 0.

    Source: F. Rosenblatt, "The perceptron: a probabilistic model for information storage and organization in the
    brain", 1958.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).squeeze(-1)

    @no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The classes, -1. or 1."""
        return where(self(x) < 0, -1.0, 1.0)

    @no_grad()
    def learn(self, x: Tensor, y: Tensor, epochs: int = 100, rate: float = 1.0) -> list[int]:
        """Go through the examples x (N, features), y (N,) of -1 or 1, and correct by the rule: mistakes per epoch.

        It ends after an epoch without a mistake, or after `epochs`: examples that no plane separates never end.
        """
        weight, bias = self.linear.weight, self.linear.bias
        mistakes: list[int] = []
        while len(mistakes) < epochs and (not mistakes or mistakes[-1]):
            mistakes.append(0)
            for example, label in zip(x, y):
                if (label * self(example)).item() <= 0:
                    weight += rate * label * example
                    bias += rate * label
                    mistakes[-1] += 1
        return mistakes
