"""Adadelta."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, check, descent, rate

__all__ = ["Adadelta"]


class Adadelta(Optimizer):
    """p ← p - lr Δ with Δ = g √(h + eps) / √(s + eps), s and h moving averages of g² and Δ², which start at 0.

    s ← rho s + (1 - rho) g² comes before Δ, h likewise after it. eps stands within both roots: with √h alone, h and
    so Δ would stay 0 for ever. weight_decay adds weight_decay · p to g; maximize climbs. foreach and capturable are
    PyTorch's choices of an implementation: here there is one. differentiable: the step is recorded.

    master_weights: parameters in 16 bits have float32 copies (see `Optimizer`).

    Source: M. Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
    """

    kernel = "adadelta"

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        master_weights: bool = False,
    ) -> None:
        check({"learning rate": lr})
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check({"epsilon value": eps, "weight_decay value": weight_decay})
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults, master_weights)

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "square_avg", "acc_delta"

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        return {
            "lr": rate(group),
            "rho": group["rho"],
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
            "maximize": group["maximize"],
        }

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        square: Any,
        moved: Any,
        *,
        lr: float,
        rho: float,
        eps: float,
        weight_decay: float,
        maximize: bool,
    ) -> Any:
        g = descent(p, g, weight_decay, maximize)
        square = rho * square + (1 - rho) * (g * g)
        delta = F.sqrt(moved + eps) / F.sqrt(square + eps) * g
        return p - lr * delta, square, rho * moved + (1 - rho) * (delta * delta)
