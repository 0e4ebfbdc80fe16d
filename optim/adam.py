"""Adam, and AMSGrad as its option."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Tensor
from .optimizer import Optimizer, check, check_fused, number, rate

__all__ = ["Adam"]


class Adam(Optimizer):
    """p ← p - lr m̂ / (√v̂ + eps), with m and v moving averages of g and g², and m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ).

    m ← β₁ m + (1 - β₁) g and v ← β₂ v + (1 - β₂) g² start at 0; betas = (β₁, β₂). weight_decay adds weight_decay ·
    p to the gradient; decoupled_weight_decay shrinks p by 1 - lr · weight_decay instead (AdamW). amsgrad: the
    largest v so far takes v's place. maximize climbs. foreach, fused and capturable are PyTorch's choices of an
    implementation: here there is one. differentiable: the step is recorded.

    master_weights: parameters in 16 bits have float32 copies (see `Optimizer`).

    Sources: D. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2015; S. Reddi et al., "On the
    convergence of Adam and beyond", 2018 (amsgrad: the maximum is over the second moment).
    """

    kernel = "adam"

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        master_weights: bool = False,
    ) -> None:
        check({"learning rate": lr, "epsilon value": eps}, betas)
        check({"weight_decay value": weight_decay})
        if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
            raise ValueError("betas must be either both floats or both Tensors")
        if foreach and not capturable:
            for name, value in (("lr", lr), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
                if isinstance(value, Tensor):
                    raise ValueError(f"{name} as a Tensor is not supported for capturable=False and foreach=True")
        check_fused(fused, foreach, differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults, master_weights)

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {
            "lr": rate(group),
            "beta1": number(beta1),
            "beta2": number(beta2),
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
            "decoupled": group["decoupled_weight_decay"],
            "maximize": group["maximize"],
            "step": step,
        }

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        mean: Any,
        square: Any,
        largest: Any = None,
        *,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
        maximize: bool,
        step: int,
    ) -> Any:
        if maximize:
            g = -g
        if weight_decay:
            if decoupled:
                p = p * (1 - lr * weight_decay)
            else:
                g = g + weight_decay * p
        mean = beta1 * mean + (1 - beta1) * g
        square = beta2 * square + (1 - beta2) * (g * g)
        top = square if largest is None else F.maximum(largest, square)
        p = p - lr / (1 - beta1**step) * mean / (F.sqrt(top) / math.sqrt(1 - beta2**step) + eps)
        return (p, mean, square) if largest is None else (p, mean, square, top)
