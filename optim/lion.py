"""Lion: steps by the sign of a momentum."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, check, number, rate

__all__ = ["Lion"]


class Lion(Optimizer):
    """p ← (1 - lr · weight_decay) p - lr sign(β₁ m + (1 - β₁) g), then m ← β₂ m + (1 - β₂) g.

    Every element moves by lr, so lr is 3 to 10 times smaller than Adam's, and weight_decay as much larger. maximize
    climbs. foreach is accepted as elsewhere; differentiable: the step is recorded (its derivative by g is 0 but for m).
    PyTorch has no Lion.

    master_weights: parameters in 16 bits have float32 copies (see `Optimizer`).

    Source: X. Chen et al., "Symbolic discovery of optimization algorithms", 2023.
    """

    kernel = "lion"

    counts = False

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        master_weights: bool = False,
    ) -> None:
        check({"learning rate": lr, "weight_decay value": weight_decay}, betas)
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults, master_weights)

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg",)

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        beta1, beta2 = map(number, group["betas"])
        return {
            "lr": rate(group),
            "beta1": beta1,
            "beta2": beta2,
            "weight_decay": group["weight_decay"],
            "maximize": group["maximize"],
        }

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        mean: Any,
        *,
        lr: float,
        beta1: float,
        beta2: float,
        weight_decay: float,
        maximize: bool,
    ) -> Any:
        if maximize:
            g = -g
        p = (1 - lr * weight_decay) * p - lr * F.sign(beta1 * mean + (1 - beta1) * g)
        return p, beta2 * mean + (1 - beta2) * g
