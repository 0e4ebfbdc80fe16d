"""Adagrad."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, check, check_fused, descent, rate

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """p ← p - lrₜ g / (√s + eps), with s the sum of all g² so far and lrₜ = lr / (1 + (t - 1) lr_decay).

    initial_accumulator_value: what s starts with; the state is there from the constructor on. weight_decay adds
    weight_decay · p to g; maximize climbs. foreach and fused are PyTorch's choices of an implementation: here there is
    one. differentiable: the step is recorded.

    master_weights: parameters in 16 bits have float32 copies (see `Optimizer`).

    Source: J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", 2011.
    """

    kernel = "adagrad"
    takes_sparse = True

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        master_weights: bool = False,
    ) -> None:
        check(
            {
                "learning rate": lr,
                "lr_decay value": lr_decay,
                "weight_decay value": weight_decay,
                "initial_accumulator_value value": initial_accumulator_value,
                "epsilon value": eps,
            }
        )
        check_fused(fused, foreach, differentiable)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults, master_weights)
        for group in self.param_groups:
            for p in group["params"]:
                self.started(p, group)

    def share_memory(self) -> None:
        """Nothing: PyTorch's processes share the state's memory, here each has its own."""

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def init(self, xp: Any, p: Any, group: dict[str, Any]) -> tuple[Any, ...]:
        return (xp.full(p.shape, group["initial_accumulator_value"], p.dtype),)

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        return {
            "lr": rate(group) / (1 + (step - 1) * group["lr_decay"]),
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
            "maximize": group["maximize"],
        }

    @staticmethod
    def update(
        F: Any, p: Any, g: Any, total: Any, *, lr: float, eps: float, weight_decay: float, maximize: bool
    ) -> Any:
        g = descent(p, g, weight_decay, maximize)
        total = total + g * g
        return p - lr * g / (F.sqrt(total) + eps), total
