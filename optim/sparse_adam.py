"""SparseAdam: Adam that leaves alone what has no gradient."""

from __future__ import annotations

import math
from typing import Any

from .optimizer import Optimizer, check, number, rate

__all__ = ["SparseAdam"]


class SparseAdam(Optimizer):
    """Adam on the rows whose gradient is not 0; in all others parameters and moments stay as they are.

    For embeddings, of which a batch meets few rows. p ← p - lr √(1 - β₂ᵗ) / (1 - β₁ᵗ) · m / (√v + eps), where t
    counts all steps and m, v are Adam's; a row is p[i], an element where p is a vector. Gradients are dense here,
    with `Embedding(sparse=True)` too: a row that was looked up and has a gradient of 0 counts as absent. PyTorch
    takes sparse gradients alone. ValueError for lr or eps that are not positive.

    Source: D. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2015, in PyTorch's sparse form.
    """

    elementwise = False
    takes_sparse = True

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        if getattr(lr, "ndim", 0) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not number(lr) > 0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps > 0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check({}, betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        beta1, beta2 = map(number, group["betas"])
        return {
            "lr": rate(group) * math.sqrt(1 - beta2**step) / (1 - beta1**step),
            "beta1": beta1,
            "beta2": beta2,
            "eps": group["eps"],
            "maximize": group["maximize"],
        }

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        mean: Any,
        square: Any,
        *,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        maximize: bool,
    ) -> Any:
        if maximize:
            g = -g
        size = abs(g)
        if len(g.shape) > 1 and math.prod(g.shape):
            size = F.amax(size, dim=tuple(range(1, len(g.shape))), keepdim=True)
        here = size > 0
        mean = F.where(here, beta1 * mean + (1 - beta1) * g, mean)
        square = F.where(here, beta2 * square + (1 - beta2) * g * g, square)
        return F.where(here, p - lr * mean / (F.sqrt(square) + eps), p), mean, square
