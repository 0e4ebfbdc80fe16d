"""RMSprop."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, check, descent, rate

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """p ← p - lr b with b ← μ b + g / (√s + eps), s ← α s + (1 - α) g² and μ the momentum.

    centered: s - a² takes the place of s, with a the moving average of g, so that it estimates the variance.
    weight_decay adds weight_decay · p to g; maximize climbs. foreach and capturable are PyTorch's choices of an
    implementation: here there is one. differentiable: the step is recorded.

    master_weights: parameters in 16 bits have float32 copies (see `Optimizer`).

    Sources: T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", 2012; centered: A. Graves, "Generating sequences with
    recurrent neural networks", 2013.
    """

    kernel = "rmsprop"

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        master_weights: bool = False,
    ) -> None:
        check(
            {
                "learning rate": lr,
                "epsilon value": eps,
                "momentum value": momentum,
                "weight_decay value": weight_decay,
                "alpha value": alpha,
            }
        )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults, master_weights)

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if group["momentum"] > 0 else ()
        return "square_avg", *momentum, *(("grad_avg",) if group["centered"] else ())

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        return {
            "lr": rate(group),
            "alpha": group["alpha"],
            "eps": group["eps"],
            "momentum": group["momentum"],
            "centered": group["centered"],
            "weight_decay": group["weight_decay"],
            "maximize": group["maximize"],
        }

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        square: Any,
        *more: Any,
        lr: float,
        alpha: float,
        eps: float,
        momentum: float,
        centered: bool,
        weight_decay: float,
        maximize: bool,
    ) -> Any:
        g = descent(p, g, weight_decay, maximize)
        square = alpha * square + (1 - alpha) * (g * g)
        kept: tuple[Any, ...] = ()
        variance = square
        if centered:
            mean = alpha * more[-1] + (1 - alpha) * g
            kept, variance = (mean,), square - mean * mean
        step = g / (F.sqrt(variance) + eps)
        if momentum > 0:
            step = momentum * more[0] + step
            kept = (step, *kept)
        return p - lr * step, square, *kept
