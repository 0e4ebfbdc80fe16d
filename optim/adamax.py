"""Adamax."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, check, descent, number, rate

__all__ = ["Adamax"]


class Adamax(Optimizer):
    """p ← p - lr / (1 - β₁ᵗ) · m / u, with m the moving average of g and u ← max(β₂ u, |g| + eps).

    Adam with the infinity norm in the second moment's place. weight_decay adds weight_decay · p to g; maximize climbs.
    foreach and capturable are PyTorch's choices of an implementation: here there is one. differentiable: the step is
    recorded.

    master_weights: parameters in 16 bits have float32 copies (see `Optimizer`).

    Source: D. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2015, section 7.1.
    """

    kernel = "adamax"

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        master_weights: bool = False,
    ) -> None:
        check({"learning rate": lr, "epsilon value": eps}, betas)
        check({"weight_decay value": weight_decay})
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults, master_weights)

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_inf"

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        beta1, beta2 = map(number, group["betas"])
        return {
            "lr": rate(group) / (1 - beta1**step),
            "beta1": beta1,
            "beta2": beta2,
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
            "maximize": group["maximize"],
        }

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        mean: Any,
        top: Any,
        *,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        maximize: bool,
    ) -> Any:
        g = descent(p, g, weight_decay, maximize)
        mean = beta1 * mean + (1 - beta1) * g
        top = F.maximum(beta2 * top, abs(g) + eps)
        return p - lr * mean / top, mean, top
