"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, check, descent, number, rate

__all__ = ["NAdam"]


class NAdam(Optimizer):
    """p ← p - lr m̂ / (√v̂ + eps), where m̂ looks ahead: μₜ₊₁ m / (1 - Πᵗ⁺¹μ) + (1 - μₜ) g / (1 - Πᵗμ).

    m and v̂ as in Adam; μₜ = β₁ (1 - 0.96^(t · momentum_decay) / 2). weight_decay adds weight_decay · p to g;
    decoupled_weight_decay shrinks p by 1 - lr · weight_decay instead. maximize climbs. foreach and capturable are
    PyTorch's choices of an implementation: here there is one. differentiable: the step is recorded.

    master_weights: parameters in 16 bits have float32 copies (see `Optimizer`).

    Source: T. Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """

    kernel = "nadam"

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        master_weights: bool = False,
    ) -> None:
        check({"learning rate": lr, "epsilon value": eps}, betas)
        check({"weight_decay value": weight_decay, "momentum_decay value": momentum_decay})
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults, master_weights)

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def counters(self, group: dict[str, Any]) -> dict[str, float]:
        return {"step": 0.0, "mu_product": 1.0}

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        beta1, beta2 = map(number, group["betas"])
        lr, decay = rate(group), group["momentum_decay"]
        now, following = (beta1 * (1.0 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
        (products,) = rows
        products *= now  # in the row's precision, which PyTorch's state has too
        product = products[0].item()
        return {
            "ahead": lr * following / (1 - product * following),
            "here": lr * (1 - now) / (1 - product),
            "beta1": beta1,
            "beta2": beta2,
            "eps": group["eps"],
            "shrink": 1 - lr * group["weight_decay"] if group["decoupled_weight_decay"] else 1.0,
            "weight_decay": 0 if group["decoupled_weight_decay"] else group["weight_decay"],
            "maximize": group["maximize"],
            "correction": 1 - beta2**step,
        }

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        mean: Any,
        square: Any,
        *,
        ahead: float,
        here: float,
        beta1: float,
        beta2: float,
        eps: float,
        shrink: float,
        weight_decay: float,
        maximize: bool,
        correction: float,
    ) -> Any:
        g = descent(p, g, weight_decay, maximize)
        mean = beta1 * mean + (1 - beta1) * g
        square = beta2 * square + (1 - beta2) * (g * g)
        scale = F.sqrt(square / correction) + eps
        return shrink * p - (here * g + ahead * mean) / scale, mean, square
