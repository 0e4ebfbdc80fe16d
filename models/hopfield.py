"""Hopfield network: Hopfield, "Neural networks and physical systems with emergent collective computational abilities",
1982. Units of ±1, symmetric weights of Hebb's rule, an energy that no update raises: patterns are its minima.
"""

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import zeros
from ..autograd.random import randperm


class Hopfield(nn.Module):
    """Patterns (..., units) of ±1 → the patterns that they fall into.

    `store` writes patterns into `weight`, W = 1/n Σ x xᵀ without the diagonal. About 0.138 n random patterns can be
    recalled (Amit, Gutfreund, Sompolinsky, 1985). Nothing is trained by gradients.

    Source: J. Hopfield, "Neural networks and physical systems with emergent collective computational abilities",
    1982.
    """

    weight: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        self.register_buffer("weight", zeros(units, units))

    @no_grad()
    def store(self, patterns: Tensor) -> None:
        """Hebb's rule, added to what is stored: patterns (count, units) of ±1."""
        self.weight += patterns.T @ patterns / patterns.shape[-1]
        self.weight.fill_diagonal_(0)

    def energy(self, state: Tensor) -> Tensor:
        """-½ sᵀ W s, (...)."""
        return -0.5 * ((state @ self.weight) * state).sum(-1)

    @no_grad()
    def forward(self, state: Tensor, sweeps: int = 20) -> Tensor:
        """One unit after the other, in random order, takes the sign of its input (0 leaves it), until none changes."""
        state = state.clone()
        for _ in range(sweeps):
            before = state.clone()
            for i in randperm(state.shape[-1]).tolist():
                field = state @ self.weight[i]
                state[..., i] = field.sign().where(field != 0, state[..., i])
            if (state == before).all():
                break
        return state
