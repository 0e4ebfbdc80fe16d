"""RAdam: Adam with a rectified variance."""

from __future__ import annotations

import math
from typing import Any

from .optimizer import Optimizer, check, descent, number, rate

__all__ = ["RAdam"]


class RAdam(Optimizer):
    """p ← p - lr m̂ r √(1 - β₂ᵗ) / (√v + eps), and p ← p - lr m̂ while v's variance is not finite (ρ ≤ 5).

    m̂ and v as in Adam; ρ∞ = 2 / (1 - β₂) - 1, ρ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ) and the rectification
    r² = (ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ). weight_decay adds weight_decay · p to g; decoupled_weight_decay
    shrinks p by 1 - lr · weight_decay instead. maximize climbs. foreach and capturable are PyTorch's choices of an
    implementation: here there is one. differentiable: the step is recorded.

    master_weights: parameters in 16 bits have float32 copies (see `Optimizer`).

    Source: L. Liu et al., "On the variance of the adaptive learning rate and beyond", 2020.
    """

    kernel = "radam"

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        master_weights: bool = False,
    ) -> None:
        check({"learning rate": lr, "epsilon value": eps}, betas)
        check({"weight_decay value": weight_decay})
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults, master_weights)

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        beta1, beta2 = map(number, group["betas"])
        lr, correction = rate(group), 1 - beta2**step
        limit = 2 / (1 - beta2) - 1
        rho = limit - 2 * step * beta2**step / correction
        rectified = None
        if rho > 5:
            ratio = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
            rectified = math.sqrt(ratio * correction)
        return {
            "lr": lr / (1 - beta1**step),
            "beta1": beta1,
            "beta2": beta2,
            "eps": group["eps"],
            "shrink": 1 - lr * group["weight_decay"] if group["decoupled_weight_decay"] else 1.0,
            "weight_decay": 0 if group["decoupled_weight_decay"] else group["weight_decay"],
            "maximize": group["maximize"],
            "rectified": rectified,
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
        shrink: float,
        weight_decay: float,
        maximize: bool,
        rectified: float | None,
    ) -> Any:
        g = descent(p, g, weight_decay, maximize)
        mean = beta1 * mean + (1 - beta1) * g
        square = beta2 * square + (1 - beta2) * (g * g)
        step = lr * mean
        if rectified is not None:
            step = step * (rectified / (F.sqrt(square) + eps))
        return shrink * p - step, mean, square
